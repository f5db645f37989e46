//! Calls that must happen once, however often they are sent: an `Idempotency-Key` and what became of its first call.
//! Answers are sealed, because they may show a secret once.

use async_trait::async_trait;
use tollgate_core::secret::Secret;
use tollgate_core::time::{DAY_MS, Timestamp};

use crate::entry::Digest;
use crate::error::StoreError;
use crate::seal::MasterKey;
use crate::sessions::{Keyed, KeyedCalls, Known};
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, fields, stored};

/// How long the answer to a key is kept.
const KEPT_MS: u64 = DAY_MS;

type Kept = (Digest, [u8; 16], Option<u32>, Option<String>);

#[async_trait]
impl KeyedCalls for Database {
    async fn begin_call(
        &self,
        master: &MasterKey,
        call: &Keyed<'_>,
        now: Timestamp,
    ) -> Result<Known, StoreError> {
        const DOING: &str = "taking a call with an idempotency key";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        sqlx::query("DELETE FROM idempotency WHERE created_at <= ?")
            .bind(stored(now.millis().saturating_sub(KEPT_MS)))
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        let found =
            sqlx::query("SELECT digest, boot, status, answer FROM idempotency WHERE actor = ? AND key = ?")
                .bind(call.actor)
                .bind(call.key)
                .fetch_optional(&mut *tx)
                .await
                .doing(DOING)?;
        if let Some(row) = found {
            return Ok(known(master, call, fields("call", &row, kept)?));
        }
        sqlx::query("INSERT INTO idempotency (actor, key, digest, boot, created_at) VALUES (?, ?, ?, ?, ?)")
            .bind(call.actor)
            .bind(call.key)
            .bind(call.digest.as_slice())
            .bind(call.boot.as_slice())
            .bind(stored(now.millis()))
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        Ok(Known::New)
    }

    async fn keep_answer(
        &self,
        master: &MasterKey,
        call: &Keyed<'_>,
        status: u16,
        body: &Secret,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE idempotency SET status = ?, answer = ? WHERE actor = ? AND key = ?")
            .bind(status)
            .bind(master.seal_setting(&place(call), body)?)
            .bind(call.actor)
            .bind(call.key)
            .execute(self.pool())
            .await
            .doing("keeping the answer to an idempotency key")?;
        Ok(())
    }

    async fn forget_call(&self, call: &Keyed<'_>) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM idempotency WHERE actor = ? AND key = ? AND status IS NULL")
            .bind(call.actor)
            .bind(call.key)
            .execute(self.pool())
            .await
            .doing("forgetting an idempotency key")?;
        Ok(())
    }
}

/// What an answer is sealed for: it opens nowhere else.
fn place(call: &Keyed<'_>) -> String {
    place_of(call.actor, call.key)
}

pub(crate) fn place_of(actor: &str, key: &str) -> String {
    format!("idempotency/{actor}/{key}")
}

fn kept(row: &mut Row<'_>) -> Option<Kept> {
    Some((row.bytes()?, row.bytes()?, row.get()?, row.get()?))
}

fn known(master: &MasterKey, call: &Keyed<'_>, (digest, boot, status, answer): Kept) -> Known {
    if digest != call.digest {
        return Known::Other;
    }
    match (status.and_then(|status| u16::try_from(status).ok()), answer) {
        (Some(status), Some(sealed)) => match master.open_setting(&place(call), &sealed) {
            Ok(body) => Known::Answered(status, body),
            // The master key has changed since: the call was made, and its answer cannot be read any more.
            Err(_) => Known::CutOff,
        },
        _ if boot == call.boot => Known::Running,
        _ => Known::CutOff,
    }
}
