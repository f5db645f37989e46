//! Users: who owns API keys and an account.

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, SqliteConnection};
use tollgate_core::id::{SessionId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::time::Timestamp;

use crate::catalogue::audit::Note;
use crate::catalogue::user::{User, UserChange, Users};
use crate::error::StoreError;
use crate::sqlite::error::{Doing, is_duplicate};
use crate::sqlite::open::{Database, random};
use crate::sqlite::row::{IN_LIST, Row, fields, list, readable, stored};

/// A condition or a join follows.
pub(crate) const COLUMNS: &str =
    "SELECT users.id, users.name, users.enabled, users.role, users.created_at, users.own_only FROM users";

pub(crate) fn user(row: &mut Row<'_>) -> Option<User> {
    Some(User {
        id: UserId::from_bytes(row.bytes()?),
        name: row.get()?,
        enabled: row.get()?,
        role: Role::named(row.get()?)?,
        created_at: Timestamp::from_millis(row.u64()?),
        own_only: row.get()?,
    })
}

#[async_trait]
impl Users for Database {
    async fn create_user(&self, name: &str, now: Timestamp) -> Result<UserId, StoreError> {
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(StoreError::Invalid("a user needs a name without control characters".to_owned()));
        }
        let id = UserId::new(now, random()?);
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing("creating a user")?;
        let inserted = sqlx::query("INSERT INTO users (id, name, created_at) VALUES (?, ?, ?)")
            .bind(id.as_bytes().as_slice())
            .bind(name)
            .bind(stored(now.millis()))
            .execute(&mut *tx)
            .await;
        match inserted {
            Err(error) if is_duplicate(&error) => return Err(StoreError::Exists("user")),
            inserted => inserted.doing("creating a user")?,
        };
        sqlx::query("INSERT INTO account (kind, owner) VALUES ('user', ?)")
            .bind(id.as_bytes().as_slice())
            .execute(&mut *tx)
            .await
            .doing("creating an account")?;
        let detail = json!({"name": name});
        let note = Note { action: "user.create", kind: "user", target: id.to_string(), detail };
        self.note(&mut tx, note, now).await?;
        tx.commit().await.doing("creating a user")?;
        Ok(id)
    }

    async fn find_user(&self, name: &str) -> Result<User, StoreError> {
        let row =
            sqlx::query("SELECT id, name, enabled, role, created_at, own_only FROM users WHERE name = ?")
                .bind(name)
                .fetch_optional(self.pool())
                .await
                .doing("finding a user")?;
        fields("user", &row.ok_or(StoreError::NotFound("user"))?, user)
    }

    async fn user(&self, id: UserId) -> Result<User, StoreError> {
        let row = sqlx::query("SELECT id, name, enabled, role, created_at, own_only FROM users WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.pool())
            .await
            .doing("finding a user")?;
        fields("user", &row.ok_or(StoreError::NotFound("user"))?, user)
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(format!("{COLUMNS} WHERE id {IN_LIST} ORDER BY id")))
            .bind(list(ids.iter().map(UserId::as_bytes)))
            .fetch_all(self.pool())
            .await
            .doing("finding users")?;
        Ok(readable("user", &rows, user))
    }

    async fn find_users(
        &self,
        search: &str,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<User>, StoreError> {
        let query = "SELECT id, name, enabled, role, created_at, own_only FROM users \
                     WHERE id > ? AND instr(lower(name), lower(?)) > 0 ORDER BY id LIMIT ?";
        let after = after.as_ref().map_or(&[][..], |id| id.as_bytes().as_slice());
        let rows = sqlx::query(query)
            .bind(after)
            .bind(search)
            .bind(stored(limit as u64))
            .fetch_all(self.pool())
            .await
            .doing("finding users")?;
        Ok(readable("user", &rows, user))
    }

    async fn change_user(&self, id: UserId, change: &UserChange, now: Timestamp) -> Result<(), StoreError> {
        const DOING: &str = "changing a user";
        if change.floor.is_some_and(|floor| floor > Micropoints::ZERO) {
            return Err(StoreError::Invalid("the floor of an account is 0 or less".to_owned()));
        }
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let admins = enabled_admins(&mut tx).await?;
        let done = sqlx::query(
            "UPDATE users SET enabled = COALESCE(?, enabled), role = COALESCE(?, role), \
             password = COALESCE(?, password), own_only = COALESCE(?, own_only) WHERE id = ?",
        )
        .bind(change.enabled)
        .bind(change.role.map(Role::name))
        .bind(change.password.as_deref())
        .bind(change.own_only)
        .bind(id.as_bytes().as_slice())
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("user"));
        }
        if admins > 0 && enabled_admins(&mut tx).await? == 0 {
            return Err(StoreError::LastAdmin);
        }
        if let Some(floor) = change.floor {
            set_floor(&mut tx, id, floor).await?;
        }
        if change.password.is_some() || change.enabled == Some(false) {
            end_sessions(&mut tx, id, None, now).await?;
        }
        let note =
            Note { action: "user.change", kind: "user", target: id.to_string(), detail: change.detail() };
        self.note(&mut tx, note, now).await?;
        tx.commit().await.doing(DOING)
    }

    async fn set_user_enabled(&self, user: UserId, enabled: bool, now: Timestamp) -> Result<(), StoreError> {
        let change = UserChange { enabled: Some(enabled), ..UserChange::default() };
        self.change_user(user, &change, now).await
    }

    async fn set_floor(&self, user: UserId, floor: Micropoints, now: Timestamp) -> Result<(), StoreError> {
        let change = UserChange { floor: Some(floor), ..UserChange::default() };
        self.change_user(user, &change, now).await
    }

    async fn password(&self, name: &str) -> Result<Option<(User, String)>, StoreError> {
        let query = "SELECT id, name, enabled, role, created_at, own_only, password FROM users \
                     WHERE name = ? AND enabled = 1 AND password IS NOT NULL";
        let row =
            sqlx::query(query).bind(name).fetch_optional(self.pool()).await.doing("reading a password")?;
        let read = |row: &mut Row<'_>| Some((user(row)?, row.get()?));
        row.map(|row| fields("user", &row, read)).transpose()
    }

    async fn change_own_password(
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

async fn enabled_admins(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar("SELECT COUNT(*) FROM users WHERE enabled = 1 AND role = 'admin'")
        .fetch_one(connection)
        .await
        .doing("counting admins")
}

async fn set_floor(
    connection: &mut SqliteConnection,
    user: UserId,
    floor: Micropoints,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE account SET floor = ?1, floor_least = MIN(floor_least, ?1) WHERE owner = ?2")
        .bind(floor.get())
        .bind(user.as_bytes().as_slice())
        .execute(connection)
        .await
        .doing("changing an account")?;
    Ok(())
}

/// Ends a user's sessions, except the one to keep, if any.
pub(crate) async fn end_sessions(
    connection: &mut SqliteConnection,
    user: UserId,
    but: Option<SessionId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let but = but.as_ref().map_or(&[][..], |session| session.as_bytes().as_slice());
    sqlx::query("UPDATE session SET ended_at = ? WHERE user_id = ? AND ended_at IS NULL AND id <> ?")
        .bind(stored(now.millis()))
        .bind(user.as_bytes().as_slice())
        .bind(but)
        .execute(connection)
        .await
        .doing("ending sessions")?;
    Ok(())
}
