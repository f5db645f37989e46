//! A user's statement: everything that was taken from an account or put on it, newest first.

use async_trait::async_trait;
use tollgate_core::id::{RequestId, TransferId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::error::StoreError;
use crate::ledger::account::{StatementLine, Statements};
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, readable};
use crate::sqlite::sql::Code;

#[async_trait]
impl Statements for Database {
    async fn statement(
        &self,
        user: UserId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<StatementLine>, StoreError> {
        // Each part walks its own index backward. The user whose request earned something is not named. The conditions
        // of the indexes must be repeated here for the indexes to be used.
        let rows = sqlx::query(
            "WITH mine AS (SELECT id FROM account WHERE owner = ?1) \
             SELECT seq, id, code, delta, request, memo, actor, at_ms FROM (\
             SELECT * FROM (SELECT seq, id, code, -amount AS delta, COALESCE(request, resolves) AS request, \
             NULL AS memo, actor, at_ms FROM transfer \
             WHERE debit = (SELECT id FROM mine) AND kind IN (2, 4) AND amount > 0 AND seq < ?2 ORDER BY seq DESC LIMIT ?3) \
             UNION ALL SELECT * FROM (SELECT seq, id, code, amount, request, memo, actor, at_ms FROM transfer \
             WHERE credit = (SELECT id FROM mine) AND origin <> 0 AND seq < ?2 ORDER BY seq DESC LIMIT ?3) \
             UNION ALL SELECT * FROM (SELECT seq, id, code, amount, NULL, memo, actor, at_ms FROM transfer \
             WHERE credit = (SELECT id FROM mine) AND code = 21 AND seq < ?2 ORDER BY seq DESC LIMIT ?3)) \
             ORDER BY seq DESC LIMIT ?3",
        )
        .bind(user.as_bytes().as_slice())
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .doing("reading a statement")?;
        Ok(readable("transfer", &rows, line))
    }
}

fn line(row: &mut Row<'_>) -> Option<StatementLine> {
    Some(StatementLine {
        seq: row.get()?,
        transfer: TransferId::from_bytes(row.bytes()?),
        kind: kind(row.get()?),
        amount: Micropoints::new(row.get()?),
        request: row.bytes_or_null()?.map(RequestId::from_bytes),
        reason: row.get()?,
        actor: row.get()?,
        at: Timestamp::from_millis(row.u64()?),
    })
}

fn kind(code: i64) -> &'static str {
    const NAMES: [(Code, &str); 8] = [
        (Code::Request, "charge"),
        (Code::Overrun, "charge"),
        (Code::Grant, "grant"),
        (Code::TopUp, "top-up"),
        (Code::Redeem, "code"),
        (Code::Refund, "refund"),
        (Code::Reward, "reward"),
        (Code::Earning, "earning"),
    ];
    NAMES.into_iter().find(|(known, _)| *known as i64 == code).map_or("other", |(_, name)| name)
}
