//! What users pay of the price table: one row for each user who does not pay it in full. Operators write it; a server
//! reads it into its directory, and nothing that answers a user reads it.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::json;
use sqlx::{AssertSqlSafe, SqliteConnection};
use tollgate_core::id::UserId;
use tollgate_core::price::PriceRate;
use tollgate_core::time::Timestamp;

use crate::catalogue::audit::Note;
use crate::catalogue::price::{Payers, PriceRates};
use crate::error::StoreError;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{IN_LIST, Row, list, readable, stored};

#[async_trait]
impl PriceRates for Database {
    async fn set_price_rate(
        &self,
        payers: Payers<'_>,
        rate: PriceRate,
        actor: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing("setting price rates")?;
        let count = match payers {
            Payers::All => set(&mut tx, None, rate, actor, now).await?,
            Payers::Some(users) => {
                for user in users {
                    if set(&mut tx, Some(*user), rate, actor, now).await? == 0 {
                        return Err(StoreError::NotFound("user"));
                    }
                }
                users.len() as u64
            }
        };
        let target = match payers {
            Payers::All => "all".to_owned(),
            Payers::Some(users) => users.iter().map(UserId::to_string).collect::<Vec<_>>().join(" "),
        };
        let detail = json!({"ppm": rate.ppm(), "users": count});
        self.note(&mut tx, Note { action: "price-rate.set", kind: "user", target, detail }, now).await?;
        tx.commit().await.doing("setting price rates")?;
        Ok(count)
    }

    async fn price_rates_of(&self, users: &[UserId]) -> Result<HashMap<UserId, PriceRate>, StoreError> {
        let query = format!("SELECT user_id, ppm FROM price_rate WHERE user_id {IN_LIST}");
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(list(users.iter().map(UserId::as_bytes)))
            .fetch_all(self.pool())
            .await
            .doing("reading price rates")?;
        Ok(readable("price rate", &rows, price_rate))
    }
}

/// Sets the rate of one user or of all, and returns the number of users.
async fn set(
    connection: &mut SqliteConnection,
    user: Option<UserId>,
    rate: PriceRate,
    actor: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "INSERT INTO price_rate (user_id, ppm, changed_at, actor) \
         SELECT id, ?1, ?2, ?3 FROM users WHERE ?4 IS NULL OR id = ?4 \
         ON CONFLICT (user_id) DO UPDATE SET ppm = excluded.ppm, changed_at = excluded.changed_at, actor = excluded.actor",
    )
    .bind(i64::from(rate.ppm()))
    .bind(stored(now.millis()))
    .bind(actor)
    .bind(user.as_ref().map(|user| user.as_bytes().as_slice()))
    .execute(connection)
    .await
    .doing("setting price rates")?;
    Ok(done.rows_affected())
}

pub(crate) async fn all(connection: &mut SqliteConnection) -> Result<HashMap<UserId, PriceRate>, StoreError> {
    let rows = sqlx::query("SELECT user_id, ppm FROM price_rate WHERE ppm <> 1000000")
        .fetch_all(connection)
        .await
        .doing("reading price rates")?;
    Ok(readable("price rate", &rows, price_rate))
}

/// The rates of the users whose ids are in the list.
pub(crate) async fn of(
    connection: &mut SqliteConnection,
    users: Option<&str>,
) -> Result<HashMap<UserId, PriceRate>, StoreError> {
    let Some(users) = users else { return Ok(HashMap::new()) };
    let query = format!("SELECT user_id, ppm FROM price_rate WHERE ppm <> 1000000 AND user_id {IN_LIST}");
    let rows = sqlx::query(AssertSqlSafe(query))
        .bind(users)
        .fetch_all(connection)
        .await
        .doing("reading price rates")?;
    Ok(readable("price rate", &rows, price_rate))
}

fn price_rate(row: &mut Row<'_>) -> Option<(UserId, PriceRate)> {
    let user = UserId::from_bytes(row.bytes()?);
    Some((user, PriceRate::of_ppm(u32::try_from(row.get::<i64>()?).ok()?)?))
}
