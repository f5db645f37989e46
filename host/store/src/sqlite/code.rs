//! Codes that are worth points, made in batches and redeemed once by each user. Only their hashes are stored.

use async_trait::async_trait;
use serde_json::json;
use sqlx::SqliteConnection;
use tollgate_core::id::{BatchId, CodeId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::catalogue::audit::Note;
use crate::entry::Digest;
use crate::error::StoreError;
use crate::ledger::booking::Granted;
use crate::ledger::code::{CODES_MAX, CodeBatch, Codes, NewBatch};
use crate::sqlite::error::Doing;
use crate::sqlite::grant::{Booking, book};
use crate::sqlite::open::{Database, random};
use crate::sqlite::row::{Row, fields, loaded, readable, stored};
use crate::sqlite::sql::{Code, account};

/// Batches with what was redeemed of them; a condition and the grouping follow.
macro_rules! batches {
    ($rest:literal) => {
        concat!(
            "SELECT code_batch.id, label, points, uses_max, expires_at, code_batch.disabled_at, created_at, actor, \
             COUNT(redeem_code.id), COALESCE(SUM(redeem_code.uses), 0) \
             FROM code_batch LEFT JOIN redeem_code ON redeem_code.batch = code_batch.id ",
            $rest
        )
    };
}

#[async_trait]
impl Codes for Database {
    async fn create_codes(&self, new: &NewBatch<'_>, now: Timestamp) -> Result<BatchId, StoreError> {
        check(new, now)?;
        let id = BatchId::new(now, random()?);
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing("making codes")?;
        sqlx::query(
            "INSERT INTO code_batch (id, label, points, uses_max, expires_at, created_at, actor) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.as_bytes().as_slice())
        .bind(new.label)
        .bind(new.points.get())
        .bind(new.uses_max)
        .bind(new.expires_at.map(|at| stored(at.millis())))
        .bind(stored(now.millis()))
        .bind(new.actor)
        .execute(&mut *tx)
        .await
        .doing("making codes")?;
        for (sha256, hint) in new.codes {
            sqlx::query("INSERT INTO redeem_code (id, batch, sha256, hint) VALUES (?, ?, ?, ?)")
                .bind(CodeId::new(now, random()?).as_bytes().as_slice())
                .bind(id.as_bytes().as_slice())
                .bind(sha256.as_slice())
                .bind(hint)
                .execute(&mut *tx)
                .await
                .doing("making codes")?;
        }
        let detail = json!({"label": new.label, "points": new.points.to_string(), "codes": new.codes.len()});
        let note = Note { action: "code.create", kind: "code", target: id.to_string(), detail };
        self.note(&mut tx, note, now).await?;
        tx.commit().await.doing("making codes")?;
        Ok(id)
    }

    async fn find_code_batches(
        &self,
        after: Option<BatchId>,
        limit: usize,
    ) -> Result<Vec<CodeBatch>, StoreError> {
        let rows = sqlx::query(batches!(
            "WHERE code_batch.id > ? GROUP BY code_batch.id ORDER BY code_batch.id LIMIT ?"
        ))
        .bind(after.as_ref().map_or(&[][..], |id| id.as_bytes().as_slice()))
        .bind(stored(limit as u64))
        .fetch_all(self.pool())
        .await
        .doing("listing codes")?;
        Ok(readable("batch of codes", &rows, batch))
    }

    async fn code_batch(&self, id: BatchId) -> Result<CodeBatch, StoreError> {
        let row = sqlx::query(batches!("WHERE code_batch.id = ? GROUP BY code_batch.id"))
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.pool())
            .await
            .doing("finding codes")?;
        fields("batch of codes", &row.ok_or(StoreError::NotFound("batch of codes"))?, batch)
    }

    async fn set_codes_enabled(
        &self,
        batch: BatchId,
        enabled: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "changing codes";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let done = sqlx::query("UPDATE code_batch SET disabled_at = ? WHERE id = ?")
            .bind((!enabled).then(|| stored(now.millis())))
            .bind(batch.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("batch of codes"));
        }
        let (target, detail) = (batch.to_string(), json!({"enabled": enabled}));
        self.note(&mut tx, Note { action: "code.change", kind: "code", target, detail }, now).await?;
        tx.commit().await.doing(DOING)
    }

    async fn redeem(&self, user: UserId, sha256: Digest, now: Timestamp) -> Result<Granted, StoreError> {
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing("redeeming a code")?;
        let offer = offer(&mut tx, sha256, user).await?;
        offer.check(now)?;
        let actor = user.to_string();
        let booking = Booking {
            code: Code::Redeem,
            user,
            from: account::ISSUANCE,
            amount: offer.points,
            request: None,
            reason: &offer.label,
            actor: &actor,
            reference: Some(&format!("{}:{actor}", offer.code)),
        };
        let granted = book(&mut tx, &booking, now).await?;
        let detail = json!({"points": granted.amount.to_string()});
        let note = Note { action: "code.redeem", kind: "code", target: offer.code.to_string(), detail };
        self.note(&mut tx, note, now).await?;
        use_up(&mut tx, &offer, user, &granted, now).await.doing("redeeming a code")?;
        tx.commit().await.doing("redeeming a code")?;
        Ok(granted)
    }
}

fn check(new: &NewBatch<'_>, now: Timestamp) -> Result<(), StoreError> {
    let refuse = |text: String| Err(StoreError::Invalid(text));
    if new.points <= Micropoints::ZERO || new.uses_max == 0 {
        return refuse("a code is worth more than 0 points, at least once".to_owned());
    }
    if new.expires_at.is_some_and(|at| at <= now) {
        return refuse("these codes would be over before they are made".to_owned());
    }
    if new.codes.is_empty() || new.codes.len() > CODES_MAX {
        return refuse(format!("a batch has between 1 and {CODES_MAX} codes"));
    }
    if new.label.len() > 200 || new.label.chars().any(char::is_control) {
        return refuse("a label is at most 200 bytes long, without control characters".to_owned());
    }
    Ok(())
}

/// What a code offers to one user.
struct Offer {
    code: CodeId,
    label: String,
    points: Micropoints,
    uses: i64,
    uses_max: i64,
    expires_at: Option<i64>,
    disabled: bool,
    redeemed: bool,
}

impl Offer {
    fn check(&self, now: Timestamp) -> Result<(), StoreError> {
        let refuse = |text: &str| Err(StoreError::Refused(text.to_owned()));
        if self.redeemed {
            return refuse("you have redeemed this code");
        }
        if self.disabled {
            return refuse("this code is not taken any more");
        }
        if self.expires_at.is_some_and(|at| at <= stored(now.millis())) {
            return refuse("this code is over");
        }
        if self.uses >= self.uses_max {
            return refuse("this code is used up");
        }
        Ok(())
    }
}

async fn offer(connection: &mut SqliteConnection, sha256: Digest, user: UserId) -> Result<Offer, StoreError> {
    let row = sqlx::query(
        "SELECT redeem_code.id, label, points, uses, uses_max, expires_at, \
         code_batch.disabled_at IS NOT NULL, \
         EXISTS (SELECT 1 FROM redemption WHERE redemption.code = redeem_code.id AND user_id = ?) \
         FROM redeem_code JOIN code_batch ON code_batch.id = redeem_code.batch WHERE sha256 = ?",
    )
    .bind(user.as_bytes().as_slice())
    .bind(sha256.as_slice())
    .fetch_optional(connection)
    .await
    .doing("looking for a code")?;
    let row = row.ok_or_else(|| StoreError::Refused("there is no such code".to_owned()))?;
    fields("code", &row, |row| {
        Some(Offer {
            code: CodeId::from_bytes(row.bytes()?),
            label: row.get()?,
            points: Micropoints::new(row.get()?),
            uses: row.get()?,
            uses_max: row.get()?,
            expires_at: row.get()?,
            disabled: row.get()?,
            redeemed: row.get()?,
        })
    })
}

/// Notes a redemption, within the transaction that saw the offer.
async fn use_up(
    connection: &mut SqliteConnection,
    offer: &Offer,
    user: UserId,
    granted: &Granted,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE redeem_code SET uses = uses + 1 WHERE id = ?")
        .bind(offer.code.as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO redemption (code, user_id, transfer, at_ms) VALUES (?, ?, ?, ?)")
        .bind(offer.code.as_bytes().as_slice())
        .bind(user.as_bytes().as_slice())
        .bind(granted.transfer.as_bytes().as_slice())
        .bind(stored(now.millis()))
        .execute(&mut *connection)
        .await?;
    Ok(())
}

fn batch(row: &mut Row<'_>) -> Option<CodeBatch> {
    Some(CodeBatch {
        id: BatchId::from_bytes(row.bytes()?),
        label: row.get()?,
        points: Micropoints::new(row.get()?),
        uses_max: row.get()?,
        expires_at: moment(row)?,
        disabled_at: moment(row)?,
        created_at: Timestamp::from_millis(row.u64()?),
        actor: row.get()?,
        codes: row.u64()?,
        redeemed: row.u64()?,
    })
}

#[expect(clippy::option_option, reason = "the outer one is a column that is damaged")]
fn moment(row: &mut Row<'_>) -> Option<Option<Timestamp>> {
    Some(row.get::<Option<i64>>()?.map(|at| Timestamp::from_millis(loaded(at))))
}
