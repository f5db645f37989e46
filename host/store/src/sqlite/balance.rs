//! Balances: sums of transfers, with a snapshot so that a start adds up minutes, not years.

use sqlx::{AssertSqlSafe, Connection, SqliteConnection, SqlitePool};
use tollgate_core::id::UserId;
use tollgate_core::points::Micropoints;

use crate::error::StoreError;
use crate::ledger::account::Balance;
use crate::sqlite::error::Doing;
use crate::sqlite::row::{IN_LIST, Row, list, readable};
use crate::sqlite::sums::{added, moved, sum};

/// What transfers after the snapshot moved: one signed row per transfer and side.
macro_rules! moved_after_snapshot {
    () => {
        concat!(
            "SELECT debit AS account, -amount AS delta FROM transfer \
             WHERE seq > (SELECT seq FROM balance_snapshot) AND ",
            moved!(),
            " UNION ALL SELECT credit, amount FROM transfer \
             WHERE seq > (SELECT seq FROM balance_snapshot) AND ",
            moved!()
        )
    };
}

/// Holds that are not resolved.
macro_rules! open_holds {
    () => {
        "SELECT hold.* FROM transfer AS hold \
         WHERE hold.kind = 1 AND hold.seq >= (SELECT holds_from FROM balance_snapshot) \
         AND NOT EXISTS (SELECT 1 FROM transfer AS resolution WHERE resolution.resolves = hold.id)"
    };
}

pub(crate) use open_holds;

/// The balances of all users.
pub(crate) async fn all(connection: &mut SqliteConnection) -> Result<Vec<Balance>, StoreError> {
    let rows = sqlx::query(concat!(
        "SELECT account.owner, account.floor, COALESCE(moved.posted, 0), COALESCE(held.amount, 0) FROM account \
         LEFT JOIN (SELECT account, ",
        sum!("delta"),
        " AS posted FROM (SELECT account, posted AS delta FROM balance UNION ALL ",
        moved_after_snapshot!(),
        ") AS moves GROUP BY account) AS moved ON moved.account = account.id \
         LEFT JOIN (SELECT debit, ",
        sum!("amount"),
        " AS amount FROM (",
        open_holds!(),
        ") AS open GROUP BY debit) AS held ON held.debit = account.id \
         WHERE account.kind = 'user'",
    ))
    .fetch_all(connection)
    .await
    .doing("summing up balances")?;
    Ok(readable("balance", &rows, balance))
}

/// The balances of these users. Reads only movements since the snapshot: those that took from these users, and all that
/// gave to anyone.
pub(crate) async fn of(
    connection: &mut SqliteConnection,
    users: &[UserId],
) -> Result<Vec<Balance>, StoreError> {
    let query = format!(
        "WITH wanted AS MATERIALIZED (SELECT id, owner, floor FROM account WHERE owner {IN_LIST}), \
         moved AS (SELECT account, {posted} AS posted FROM (\
         SELECT account, posted AS delta FROM wanted JOIN balance ON balance.account = wanted.id UNION ALL \
         SELECT debit, -amount FROM wanted CROSS JOIN transfer ON debit = wanted.id \
         WHERE seq > (SELECT seq FROM balance_snapshot) AND {moved} UNION ALL \
         SELECT credit, amount FROM transfer WHERE seq > (SELECT seq FROM balance_snapshot) AND {moved} \
         AND credit IN (SELECT id FROM wanted)) GROUP BY account), \
         held AS (SELECT debit, {held} AS amount FROM ({open_holds}) WHERE debit IN (SELECT id FROM wanted) \
         GROUP BY debit) SELECT wanted.owner, wanted.floor, COALESCE(moved.posted, 0), COALESCE(held.amount, 0) \
         FROM wanted LEFT JOIN moved ON moved.account = wanted.id LEFT JOIN held ON held.debit = wanted.id \
         ORDER BY wanted.owner",
        posted = sum!("delta"),
        moved = moved!(),
        held = sum!("amount"),
        open_holds = open_holds!()
    );
    let rows = sqlx::query(AssertSqlSafe(query))
        .bind(list(users.iter().map(UserId::as_bytes)))
        .fetch_all(connection)
        .await
        .doing("summing up balances")?;
    Ok(readable("balance", &rows, balance))
}

fn balance(row: &mut Row<'_>) -> Option<Balance> {
    Some(Balance {
        user: UserId::from_bytes(row.bytes()?),
        floor: Micropoints::new(row.get()?),
        posted: Micropoints::new(row.get()?),
        pending: Micropoints::new(row.get()?),
    })
}

/// Brings the snapshot up to the last transfer.
///
/// The sums are made while others write; storing them takes a moment. If another process did the same meanwhile, its
/// snapshot stays.
pub(crate) async fn refresh(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await.doing("summing up balances")?;
    let Some(sums) = sum(&mut connection).await.doing("summing up balances")? else { return Ok(()) };
    store(&mut connection, &sums).await.doing("storing balances")
}

struct Sums {
    /// The snapshot that these add to.
    since: i64,
    /// The last transfer that they contain.
    until: i64,
    holds_from: i64,
    moved: Vec<(i64, i64)>,
}

async fn sum(connection: &mut SqliteConnection) -> Result<Option<Sums>, sqlx::Error> {
    let mut read = connection.begin().await?;
    let (since, until): (i64, i64) =
        sqlx::query_as("SELECT seq, COALESCE((SELECT MAX(seq) FROM transfer), 0) FROM balance_snapshot")
            .fetch_one(&mut *read)
            .await?;
    if until <= since {
        return Ok(None);
    }
    let moved = sqlx::query_as(concat!(
        "SELECT account, ",
        sum!("delta"),
        " FROM (",
        moved_after_snapshot!(),
        ") GROUP BY account"
    ))
    .fetch_all(&mut *read)
    .await?;
    let first_open: Option<i64> = sqlx::query_scalar(concat!("SELECT MIN(seq) FROM (", open_holds!(), ")"))
        .fetch_one(&mut *read)
        .await?;
    read.rollback().await?;
    Ok(Some(Sums { since, until, holds_from: first_open.unwrap_or(until + 1), moved }))
}

async fn store(connection: &mut SqliteConnection, sums: &Sums) -> Result<(), sqlx::Error> {
    let mut write = connection.begin_with("BEGIN IMMEDIATE").await?;
    let moved_on = sqlx::query("UPDATE balance_snapshot SET seq = ?, holds_from = ? WHERE seq = ?")
        .bind(sums.until)
        .bind(sums.holds_from)
        .bind(sums.since)
        .execute(&mut *write)
        .await?;
    if moved_on.rows_affected() == 0 {
        return write.rollback().await;
    }
    for (account, delta) in &sums.moved {
        sqlx::query(concat!(
            "INSERT INTO balance (account, posted) VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET ",
            added!("posted")
        ))
        .bind(account)
        .bind(delta)
        .execute(&mut *write)
        .await?;
    }
    write.commit().await
}
