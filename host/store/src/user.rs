//! Users: who owns API keys and an account.

use tollgate_core::id::UserId;
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::time::Timestamp;

use crate::error::{Doing, StoreError, is_duplicate};
use crate::open::{Store, random};
use crate::row::{Row, fields};
use crate::sql::stored;

/// A person or team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name, unique.
    pub name: String,
    /// Whether its API keys work.
    pub enabled: bool,
    /// What it may do by the management API.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
}

pub(crate) const SELECT: &str = "SELECT id, name, enabled, role, created_at FROM users ORDER BY id";
/// The same without an end, for a condition or a join to follow.
pub(crate) const COLUMNS: &str =
    "SELECT users.id, users.name, users.enabled, users.role, users.created_at FROM users";

pub(crate) fn user(row: &mut Row<'_>) -> Option<User> {
    Some(User {
        id: UserId::from_bytes(row.bytes()?),
        name: row.get()?,
        enabled: row.get()?,
        role: Role::named(row.get()?)?,
        created_at: Timestamp::from_millis(row.u64()?),
    })
}

impl Store {
    /// Makes a user with an empty account, whose balance holds may not take below 0.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken.
    pub async fn create_user(&self, name: &str, now: Timestamp) -> Result<UserId, StoreError> {
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
        tx.commit().await.doing("creating a user")?;
        Ok(id)
    }

    /// All users, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_users(&self) -> Result<Vec<User>, StoreError> {
        let rows = sqlx::query(SELECT).fetch_all(self.pool()).await.doing("listing users")?;
        rows.iter().map(|row| fields("user", row, user)).collect()
    }

    /// The user of this name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when nobody has it.
    pub async fn find_user(&self, name: &str) -> Result<User, StoreError> {
        let row = sqlx::query("SELECT id, name, enabled, role, created_at FROM users WHERE name = ?")
            .bind(name)
            .fetch_optional(self.pool())
            .await
            .doing("finding a user")?;
        fields("user", &row.ok_or(StoreError::NotFound("user"))?, user)
    }

    /// Lets a user's API keys work, or not.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_user_enabled(&self, user: UserId, enabled: bool) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE users SET enabled = ? WHERE id = ?")
            .bind(enabled)
            .bind(user.as_bytes().as_slice())
            .execute(self.pool())
            .await
            .doing("changing a user")?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("user")) } else { Ok(()) }
    }

    /// Makes a user an admin, or no longer one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn set_role(&self, user: UserId, role: Role) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE users SET role = ? WHERE id = ?")
            .bind(role.name())
            .bind(user.as_bytes().as_slice())
            .execute(self.pool())
            .await
            .doing("changing a user")?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("user")) } else { Ok(()) }
    }

    /// Sets the least balance that a user's holds may leave: 0, or a negative overdraft.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::Invalid`] for a floor above 0.
    pub async fn set_floor(&self, user: UserId, floor: Micropoints) -> Result<(), StoreError> {
        if floor > Micropoints::ZERO {
            return Err(StoreError::Invalid("the floor of an account is 0 or less".to_owned()));
        }
        let done = sqlx::query("UPDATE account SET floor = ? WHERE owner = ?")
            .bind(floor.get())
            .bind(user.as_bytes().as_slice())
            .execute(self.pool())
            .await
            .doing("changing an account")?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("user")) } else { Ok(()) }
    }
}
