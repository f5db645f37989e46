//! Points that management puts on an account: grants, top-ups, redeemed codes and refunds all go through [`book`]. And
//! how a running server learns of them.

use async_trait::async_trait;
use serde_json::json;
use sqlx::SqliteConnection;
use tollgate_core::id::{RequestId, TransferId, UserId};
use tollgate_core::points::{MOVEMENT_MAX, Micropoints};
use tollgate_core::time::Timestamp;

use crate::catalogue::audit::Note;
use crate::error::StoreError;
use crate::ledger::booking::{Credit, Granted, Grants};
use crate::sqlite::balance;
use crate::sqlite::error::Doing;
use crate::sqlite::feed::tell_of_points;
use crate::sqlite::open::{Database, random};
use crate::sqlite::row::{Row, fields, readable, stored};
use crate::sqlite::sql::{Code, Kind, Origin, account};

/// The most that an account may hold after a booking: a hundred times what is booked at once, and far from 64 bits.
const BALANCE_MAX: Micropoints = Micropoints::new(100 * MOVEMENT_MAX.get());
/// Bytes of a reason, an actor or a reference.
const TEXT_BYTES_MAX: usize = 512;

/// Points to put on an account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Booking<'a> {
    /// What it is.
    pub(crate) code: Code,
    /// Whose account gets them.
    pub(crate) user: UserId,
    /// The account that they come from.
    pub(crate) from: i64,
    /// How many: above 0.
    pub(crate) amount: Micropoints,
    /// The request that it is about.
    pub(crate) request: Option<RequestId>,
    /// Why.
    pub(crate) reason: &'a str,
    /// Who did it.
    pub(crate) actor: &'a str,
    /// Makes it happen once: a second booking of the same code and reference is the first one.
    pub(crate) reference: Option<&'a str>,
}

#[async_trait]
impl Grants for Database {
    async fn grant(
        &self,
        user: UserId,
        amount: Micropoints,
        reason: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        let (code, from) = (Code::Grant, account::ISSUANCE);
        let booking = Booking { code, user, from, amount, request: None, reason, actor, reference: None };
        self.book_alone(&booking, now).await
    }

    async fn top_up(
        &self,
        user: UserId,
        amount: Micropoints,
        reference: &str,
        reason: &str,
        actor: &str,
        now: Timestamp,
    ) -> Result<Granted, StoreError> {
        if reference.is_empty() {
            return Err(StoreError::Invalid("a top-up needs the reference of its payment".to_owned()));
        }
        let (code, from, reference) = (Code::TopUp, account::ISSUANCE, Some(reference));
        let booking = Booking { code, user, from, amount, request: None, reason, actor, reference };
        self.book_alone(&booking, now).await
    }
}

impl Database {
    async fn book_alone(&self, booking: &Booking<'_>, now: Timestamp) -> Result<Granted, StoreError> {
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing("booking points")?;
        let granted = book(&mut tx, booking, now).await?;
        if !granted.repeated {
            let action = if booking.code == Code::TopUp { "user.top-up" } else { "user.grant" };
            let detail = json!({
                "points": booking.amount.to_string(), "reason": booking.reason, "reference": booking.reference,
            });
            let note = Note { action, kind: "user", target: booking.user.to_string(), detail };
            self.note(&mut tx, note, now).await?;
        }
        tx.commit().await.doing("booking points")?;
        Ok(granted)
    }

    /// What management moved on users' accounts after transfer `seq`, in order.
    pub(crate) async fn transfers_since(&self, seq: i64) -> Result<Vec<Credit>, StoreError> {
        // The index holds only what did not come from the writer. Its condition must stand here for it to be used.
        let rows = sqlx::query(
            "SELECT transfer.seq, account.owner, \
             CASE WHEN account.id = transfer.credit THEN transfer.amount ELSE -transfer.amount END \
             FROM transfer JOIN account ON account.id IN (transfer.debit, transfer.credit) AND account.kind = 'user' \
             WHERE transfer.origin <> 0 AND transfer.seq > ? AND transfer.kind = 4 \
             AND transfer.amount <= 10000000000000000 ORDER BY transfer.seq",
        )
        .bind(seq)
        .fetch_all(self.pool())
        .await
        .doing("reading grants")?;
        Ok(readable("transfer", &rows, credit))
    }
}

/// Books it, within the caller's transaction (`BEGIN IMMEDIATE`), and tells a running server.
///
/// # Errors
/// [`StoreError::NotFound`] without such a user, [`StoreError::Invalid`] for an amount or a text that makes no sense,
/// and [`StoreError::Exists`] where the reference stands for something else (invariant I8).
pub(crate) async fn book(
    connection: &mut SqliteConnection,
    booking: &Booking<'_>,
    now: Timestamp,
) -> Result<Granted, StoreError> {
    check(booking)?;
    if let Some(granted) = booked(connection, booking).await? {
        return Ok(granted);
    }
    let balances = balance::of(connection, &[booking.user]).await?;
    if balances
        .iter()
        .any(|balance| balance.posted.checked_add(booking.amount).is_none_or(|sum| sum > BALANCE_MAX))
    {
        return Err(StoreError::Invalid(format!("an account holds {BALANCE_MAX} points at most")));
    }
    let transfer = TransferId::new(now, random()?);
    let inserted = sqlx::query(
        "INSERT INTO transfer (id, kind, debit, credit, amount, request, code, memo, origin, at_ms, actor, reference) \
         SELECT ?, ?, ?, account.id, ?, ?, ?, ?, ?, ?, ?, ? FROM account WHERE owner = ?",
    )
    .bind(transfer.as_bytes().as_slice())
    .bind(Kind::Single as i64)
    .bind(booking.from)
    .bind(booking.amount.get())
    .bind(booking.request.as_ref().map(|request| request.as_bytes().as_slice()))
    .bind(booking.code as i64)
    .bind(booking.reason)
    .bind(Origin::Management as i64)
    .bind(stored(now.millis()))
    .bind(booking.actor)
    .bind(booking.reference)
    .bind(booking.user.as_bytes().as_slice())
    .execute(&mut *connection)
    .await
    .doing("booking points")?;
    if inserted.rows_affected() == 0 {
        return Err(StoreError::NotFound("user"));
    }
    tell_of_points(connection, booking.user).await?;
    Ok(Granted { seq: inserted.last_insert_rowid(), transfer, amount: booking.amount, repeated: false })
}

fn check(booking: &Booking<'_>) -> Result<(), StoreError> {
    let refuse = |text: &str| Err(StoreError::Invalid(text.to_owned()));
    if booking.amount <= Micropoints::ZERO {
        return refuse("an amount is above 0 points");
    }
    if booking.amount > MOVEMENT_MAX {
        return refuse("no more than ten thousand million points are booked at once");
    }
    let texts = [booking.reason, booking.actor, booking.reference.unwrap_or_default()];
    if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control)) {
        return refuse("a reason or a reference is at most 512 bytes long, without control characters");
    }
    Ok(())
}

/// What was booked under the same reference.
async fn booked(
    connection: &mut SqliteConnection,
    booking: &Booking<'_>,
) -> Result<Option<Granted>, StoreError> {
    let Some(reference) = booking.reference else { return Ok(None) };
    let row = sqlx::query(
        "SELECT transfer.seq, transfer.id, transfer.amount, account.owner, transfer.request \
         FROM transfer JOIN account ON account.id = transfer.credit WHERE transfer.code = ? AND transfer.reference = ?",
    )
    .bind(booking.code as i64)
    .bind(reference)
    .fetch_optional(connection)
    .await
    .doing("looking for a booking")?;
    let Some(row) = row else { return Ok(None) };
    let (granted, user, request) = fields("transfer", &row, |row| {
        let (seq, transfer) = (row.get()?, TransferId::from_bytes(row.bytes()?));
        let amount = Micropoints::new(row.get()?);
        let user = UserId::from_bytes(row.bytes()?);
        let request = row.bytes_or_null()?.map(RequestId::from_bytes);
        Some((Granted { seq, transfer, amount, repeated: true }, user, request))
    })?;
    if (granted.amount, user, request) == (booking.amount, booking.user, booking.request) {
        Ok(Some(granted))
    } else {
        Err(StoreError::Exists("booking of this reference"))
    }
}

fn credit(row: &mut Row<'_>) -> Option<Credit> {
    Some(Credit {
        seq: row.get()?,
        user: UserId::from_bytes(row.bytes()?),
        amount: Micropoints::new(row.get()?),
    })
}
