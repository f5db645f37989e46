//! Logins: what a refresh token stands for. Only the hash of the newest one is stored.

use async_trait::async_trait;
use tollgate_core::id::{SessionId, UserId};
use tollgate_core::time::Timestamp;

use crate::entry::Digest;
use crate::error::StoreError;
use crate::sessions::{Logins, Rotated, TokenChange};
use crate::sqlite::error::Doing;
use crate::sqlite::open::{Database, random};
use crate::sqlite::row::{fields, stored};

#[async_trait]
impl Logins for Database {
    async fn begin_session(
        &self,
        user: UserId,
        token: Digest,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<SessionId, StoreError> {
        const DOING: &str = "beginning a session";
        let session = SessionId::new(now, random()?);
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        sqlx::query("DELETE FROM session WHERE user_id = ? AND expires_at <= ?")
            .bind(user.as_bytes().as_slice())
            .bind(stored(now.millis()))
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        sqlx::query(
            "INSERT INTO session (id, user_id, token, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(session.as_bytes().as_slice())
        .bind(user.as_bytes().as_slice())
        .bind(token.as_slice())
        .bind(stored(now.millis()))
        .bind(stored(expires_at.millis()))
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        Ok(session)
    }

    async fn session_user(&self, session: SessionId, now: Timestamp) -> Result<Option<UserId>, StoreError> {
        let query = "SELECT user_id FROM session WHERE id = ? AND ended_at IS NULL AND expires_at > ?";
        let row = sqlx::query(query)
            .bind(session.as_bytes().as_slice())
            .bind(stored(now.millis()))
            .fetch_optional(self.pool())
            .await
            .doing("reading a session")?;
        row.map(|row| fields("session", &row, |row| Some(UserId::from_bytes(row.bytes()?)))).transpose()
    }

    async fn rotate_session(
        &self,
        session: SessionId,
        change: TokenChange,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotated, StoreError> {
        let Some(user) = self.session_user(session, now).await? else { return Ok(Rotated::Unknown) };
        // One statement decides: of two callers with the same token, one finds it replaced.
        let replaced = sqlx::query(
            "UPDATE session SET token = ?, expires_at = ?, previous = token, rotated_at = ?
             WHERE id = ? AND token = ? AND ended_at IS NULL",
        )
        .bind(change.next.as_slice())
        .bind(stored(expires_at.millis()))
        .bind(stored(now.millis()))
        .bind(session.as_bytes().as_slice())
        .bind(change.token.as_slice())
        .execute(self.pool())
        .await
        .doing("refreshing a session")?;
        if replaced.rows_affected() == 1 {
            return Ok(Rotated::Replaced(user));
        }
        if self.replaced_lately(session, change, now).await? {
            return Ok(Rotated::Lately(user));
        }
        self.end_session(session, now).await?;
        Ok(Rotated::Reused)
    }

    async fn end_session(&self, session: SessionId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query("UPDATE session SET ended_at = ? WHERE id = ? AND ended_at IS NULL")
            .bind(stored(now.millis()))
            .bind(session.as_bytes().as_slice())
            .execute(self.pool())
            .await
            .doing("ending a session")?;
        Ok(())
    }
}

impl Database {
    /// Whether a token is the one before the newest, and was replaced within its grace. Where the clock was set back
    /// there is none.
    async fn replaced_lately(
        &self,
        session: SessionId,
        change: TokenChange,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let query =
            "SELECT 1 FROM session WHERE id = ? AND previous = ? AND rotated_at <= ? AND rotated_at > ?";
        let row = sqlx::query(query)
            .bind(session.as_bytes().as_slice())
            .bind(change.token.as_slice())
            .bind(stored(now.millis()))
            .bind(stored(now.millis().saturating_sub(change.grace_ms)))
            .fetch_optional(self.pool())
            .await
            .doing("refreshing a session")?;
        Ok(row.is_some())
    }
}
