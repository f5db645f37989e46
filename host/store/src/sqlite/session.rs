//! Logins: what a refresh token stands for. Only its hash is stored, and only that of the newest one.

use serde_json::Value;
use sqlx::AssertSqlSafe;
use tollgate_core::id::{SessionId, UserId};
use tollgate_core::time::Timestamp;

use crate::catalogue::audit::Note;
use crate::catalogue::user::User;
use crate::entry::Digest;
use crate::error::StoreError;
use crate::sessions::Rotated;
use crate::sqlite::error::Doing;
use crate::sqlite::open::{Store, random};
use crate::sqlite::row::{Row, fields};
use crate::sqlite::sql::stored;
use crate::sqlite::user::{COLUMNS, end_sessions, user};

const OPEN: &str = "session.ended_at IS NULL AND session.expires_at > ? AND users.enabled = 1";

impl Store {
    /// Begins a session of a user; `token` is the SHA-256 of its first refresh token. Sessions of the user that are over are
    /// removed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_session(
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

    /// The user of a session that is not over. The management API asks at each call, so that an end takes effect at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session_user(&self, session: SessionId, now: Timestamp) -> Result<Option<User>, StoreError> {
        let query =
            format!("{COLUMNS} JOIN session ON session.user_id = users.id WHERE session.id = ? AND {OPEN}");
        let row = sqlx::query(AssertSqlSafe(query))
            .bind(session.as_bytes().as_slice())
            .bind(stored(now.millis()))
            .fetch_optional(self.pool())
            .await
            .doing("reading a session")?;
        row.map(|row| fields("user", &row, user)).transpose()
    }

    /// Replaces a refresh token by the next one, or ends its session when it had been replaced before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rotate_session(
        &self,
        session: SessionId,
        token: Digest,
        next: Digest,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotated, StoreError> {
        const DOING: &str = "refreshing a session";
        let Some(user) = self.session_user(session, now).await? else { return Ok(Rotated::Unknown) };
        // One statement decides: of two that hand in the same token, one finds it replaced.
        let replaced = sqlx::query(
            "UPDATE session SET token = ?, expires_at = ? WHERE id = ? AND token = ? AND ended_at IS NULL",
        )
        .bind(next.as_slice())
        .bind(stored(expires_at.millis()))
        .bind(session.as_bytes().as_slice())
        .bind(token.as_slice())
        .execute(self.pool())
        .await
        .doing(DOING)?;
        if replaced.rows_affected() == 1 {
            return Ok(Rotated::Replaced(user));
        }
        self.end_session(session, now).await?;
        Ok(Rotated::Reused)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_session(&self, session: SessionId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query("UPDATE session SET ended_at = ? WHERE id = ? AND ended_at IS NULL")
            .bind(stored(now.millis()))
            .bind(session.as_bytes().as_slice())
            .execute(self.pool())
            .await
            .doing("ending a session")?;
        Ok(())
    }

    /// The password hash of a user who may log in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn password(&self, name: &str) -> Result<Option<(User, String)>, StoreError> {
        let query = "SELECT id, name, enabled, role, created_at, password FROM users \
                     WHERE name = ? AND enabled = 1 AND password IS NOT NULL";
        let row =
            sqlx::query(query).bind(name).fetch_optional(self.pool()).await.doing("reading a password")?;
        let read = |row: &mut Row<'_>| Some((user(row)?, row.get()?));
        row.map(|row| fields("user", &row, read)).transpose()
    }

    /// Sets the hash of a user's password, as he does it himself, and ends his sessions but for the one that he does it in.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn change_own_password(
        &self,
        user: UserId,
        hash: &str,
        session: SessionId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "setting a password";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let done = sqlx::query("UPDATE users SET password = ? WHERE id = ?")
            .bind(hash)
            .bind(user.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("user"));
        }
        end_sessions(&mut tx, user, Some(session), now).await?;
        let (target, detail) = (user.to_string(), Value::Null);
        let note = Note { action: "user.password", kind: "user", target, detail };
        self.note(&mut tx, note, now).await?;
        tx.commit().await.doing(DOING)
    }
}
