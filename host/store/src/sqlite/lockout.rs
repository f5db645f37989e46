//! Wrong passwords, so that a restart does not forget them. The counting is [`tollgate_core::lockout`].

use async_trait::async_trait;
use tollgate_core::time::{DAY_MS, Timestamp};

use crate::error::StoreError;
use crate::sessions::{Guessed, LockOuts, WrongTries};
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, loaded, readable, stored};

/// Rows of one kind that are kept.
const KEPT_MAX: i64 = 20_000;

#[async_trait]
impl LockOuts for Database {
    async fn lockouts(&self, kind: Guessed, now: Timestamp) -> Result<Vec<WrongTries>, StoreError> {
        let rows = sqlx::query("SELECT guessed, wrong, last_at FROM lockout WHERE kind = ? AND last_at > ?")
            .bind(kind as i64)
            .bind(stored(now.millis().saturating_sub(DAY_MS)))
            .fetch_all(self.pool())
            .await
            .doing("reading lock-outs")?;
        let read = |row: &mut Row<'_>| {
            let (guessed, wrong) = (row.bytes()?, row.get().map(loaded)?);
            Some((guessed, u32::try_from(wrong).ok()?, Timestamp::from_millis(row.u64()?)))
        };
        Ok(readable("lock-out", &rows, read))
    }

    async fn keep_lockout(&self, kind: Guessed, tries: WrongTries) -> Result<(), StoreError> {
        const DOING: &str = "keeping a lock-out";
        let (guessed, wrong, last) = tries;
        if guessed[0] == 0 {
            // Now and then: there may be as many addresses as somebody likes.
            self.trim_lockouts(kind).await?;
        }
        sqlx::query("DELETE FROM lockout WHERE (kind = ? AND guessed = ?) OR last_at <= ?")
            .bind(kind as i64)
            .bind(guessed.as_slice())
            .bind(stored(last.millis().saturating_sub(DAY_MS)))
            .execute(self.pool())
            .await
            .doing(DOING)?;
        if wrong == 0 {
            return Ok(());
        }
        sqlx::query("INSERT OR REPLACE INTO lockout (kind, guessed, wrong, last_at) VALUES (?, ?, ?, ?)")
            .bind(kind as i64)
            .bind(guessed.as_slice())
            .bind(wrong)
            .bind(stored(last.millis()))
            .execute(self.pool())
            .await
            .doing(DOING)?;
        Ok(())
    }
}

impl Database {
    /// Forgets the oldest of too many.
    async fn trim_lockouts(&self, kind: Guessed) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM lockout WHERE kind = ?1 AND last_at < \
             (SELECT last_at FROM lockout WHERE kind = ?1 ORDER BY last_at DESC LIMIT 1 OFFSET ?2)",
        )
        .bind(kind as i64)
        .bind(KEPT_MAX)
        .execute(self.pool())
        .await
        .doing("trimming lock-outs")
        .map(drop)
    }
}
