//! Refunds: points of a request that go back to the user who paid them, never more than was paid.

use async_trait::async_trait;
use serde_json::json;
use sqlx::SqliteConnection;
use tollgate_core::id::{RequestId, UserId};
use tollgate_core::points::{MOVEMENT_MAX, Micropoints};
use tollgate_core::time::Timestamp;

use crate::catalogue::audit::Note;
use crate::entry::{Movement, transfer_id};
use crate::error::StoreError;
use crate::ledger::booking::{Granted, Refund, Refunds};
use crate::sqlite::error::Doing;
use crate::sqlite::grant::{Booking, book};
use crate::sqlite::open::Database;
use crate::sqlite::row::fields;
use crate::sqlite::sql::{Code, account};
use crate::sqlite::sums::sum;

/// What a user paid for a request.
struct Paid {
    user: UserId,
    paid: i64,
    refunded: i64,
}

#[async_trait]
impl Refunds for Database {
    async fn refund(&self, refund: &Refund<'_>, now: Timestamp) -> Result<Granted, StoreError> {
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing("refunding")?;
        let Paid { user, paid, refunded } = paid(&mut tx, refund.request).await?;
        let reference = refund.key.map(|key| format!("{}:{key}", refund.request));
        let before = match &reference {
            Some(reference) => under(&mut tx, reference).await?,
            None => None,
        };
        let left = paid.saturating_sub(refunded);
        let amount = match (refund.amount, before) {
            (None, Some(amount)) => amount,
            (Some(amount), Some(_)) => amount.get(),
            (amount, None) => checked(amount, left, refunded)?,
        };
        let booking = Booking {
            code: Code::Refund,
            user,
            from: account::REVENUE,
            amount: Micropoints::new(amount),
            request: Some(refund.request),
            reason: refund.reason,
            actor: refund.actor,
            reference: reference.as_deref(),
        };
        let granted = book(&mut tx, &booking, now).await?;
        if !granted.repeated {
            let detail = json!({"points": granted.amount.to_string(), "reason": refund.reason});
            let target = refund.request.to_string();
            self.note(&mut tx, Note { action: "request.refund", kind: "request", target, detail }, now)
                .await?;
        }
        tx.commit().await.doing("refunding")?;
        Ok(granted)
    }
}

/// The amount of a new refund.
fn checked(asked: Option<Micropoints>, left: i64, refunded: i64) -> Result<i64, StoreError> {
    let amount = asked.map_or(left, Micropoints::get);
    if left > 0 && amount <= left {
        return Ok(amount);
    }
    let points = Micropoints::new;
    Err(StoreError::Refused(match (left, refunded) {
        (0, 0) => "nothing was charged for this request".to_owned(),
        (0, _) => format!("all of this request has been refunded: {} points", points(refunded)),
        _ => format!("{} points of this request are left to refund", points(left)),
    }))
}

async fn paid(connection: &mut SqliteConnection, request: RequestId) -> Result<Paid, StoreError> {
    let row = sqlx::query(concat!(
        "SELECT account.owner, post.amount, COALESCE(overrun.amount, 0), (SELECT COALESCE(",
        sum!("amount"),
        ", 0) FROM transfer WHERE code = 7 AND request = ?1) \
             FROM transfer AS post JOIN account ON account.id = post.debit \
             LEFT JOIN transfer AS overrun ON overrun.id = ?2 WHERE post.resolves = ?1"
    ))
    .bind(request.as_bytes().as_slice())
    .bind(transfer_id(request, Movement::Overrun).as_bytes().as_slice())
    .fetch_optional(connection)
    .await
    .doing("reading what was paid")?;
    let row = row.ok_or(StoreError::NotFound("settled request"))?;
    fields("transfer", &row, |row| {
        let user = UserId::from_bytes(row.bytes()?);
        let (posted, overrun): (i64, i64) = (row.get()?, row.get()?);
        // What no balance counts was not paid.
        let counted = |amount: i64| if amount > MOVEMENT_MAX.get() { 0 } else { amount };
        Some(Paid { user, paid: counted(posted) + counted(overrun), refunded: row.get()? })
    })
}

/// What was refunded under a reference.
async fn under(connection: &mut SqliteConnection, reference: &str) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar("SELECT amount FROM transfer WHERE code = ? AND reference = ?")
        .bind(Code::Refund as i64)
        .bind(reference)
        .fetch_optional(connection)
        .await
        .doing("looking for a refund")
}
