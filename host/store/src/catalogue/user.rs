//! Users: who owns API keys and an account.

use async_trait::async_trait;
use serde_json::Value;
use tollgate_core::id::{SessionId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::time::Timestamp;

use crate::error::StoreError;

/// A person or team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name, unique.
    pub name: String,
    /// Whether its API keys work.
    pub enabled: bool,
    /// What it may do through the management API.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether its own credentials alone may serve its calls.
    pub own_only: bool,
}

/// Changes to a user; `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserChange {
    /// Whether calls and logins are accepted.
    pub enabled: Option<bool>,
    /// What the user may do.
    pub role: Option<Role>,
    /// The hash of a new password, which ends all logins.
    pub password: Option<String>,
    /// The least balance that holds may leave: 0, or a negative overdraft.
    pub floor: Option<Micropoints>,
    /// Whether its own credentials alone may serve its calls.
    pub own_only: Option<bool>,
}

impl UserChange {
    /// What the audit log says of it.
    pub(crate) fn detail(&self) -> Value {
        let mut detail = serde_json::Map::new();
        if let Some(enabled) = self.enabled {
            detail.insert("enabled".to_owned(), enabled.into());
        }
        if let Some(role) = self.role {
            detail.insert("role".to_owned(), role.name().into());
        }
        if self.password.is_some() {
            detail.insert("password".to_owned(), "changed".into());
        }
        if let Some(floor) = self.floor {
            detail.insert("floor".to_owned(), floor.to_string().into());
        }
        if let Some(own_only) = self.own_only {
            detail.insert("own_only".to_owned(), own_only.into());
        }
        Value::Object(detail)
    }
}

/// Users and their passwords.
#[async_trait]
pub trait Users: Send + Sync {
    /// Creates a user with an empty account, whose holds may not take the balance below 0.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken.
    async fn create_user(&self, name: &str, now: Timestamp) -> Result<UserId, StoreError>;

    /// The user of this name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when nobody has it.
    async fn find_user(&self, name: &str) -> Result<User, StoreError>;

    /// The user of this id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when nobody has it.
    async fn user(&self, id: UserId) -> Result<User, StoreError>;

    /// The users of these ids, oldest first; an id that nobody has is left out.
    ///
    /// # Errors
    /// When the database fails.
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, StoreError>;

    /// Users after `after` whose name contains `search`, in any case, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    async fn find_users(
        &self,
        search: &str,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<User>, StoreError>;

    /// Changes a user, all of it or nothing. Disabling a user or setting a password ends all of their logins.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::LastAdmin`] when no enabled admin would be left, and
    /// [`StoreError::Invalid`] for a floor above 0.
    async fn change_user(&self, id: UserId, change: &UserChange, now: Timestamp) -> Result<(), StoreError>;

    /// Enables or disables a user's API keys and logins.
    ///
    /// # Errors
    /// As [`Users::change_user`].
    async fn set_user_enabled(&self, user: UserId, enabled: bool, now: Timestamp) -> Result<(), StoreError>;

    /// Sets the least balance that a user's holds may leave: 0, or a negative overdraft. It may be above the balance:
    /// nothing is taken then, and new holds are refused until the balance is above it again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::Invalid`] for a floor above 0.
    async fn set_floor(&self, user: UserId, floor: Micropoints, now: Timestamp) -> Result<(), StoreError>;

    /// The password hash of a user who may log in.
    ///
    /// # Errors
    /// When the database fails.
    async fn password(&self, name: &str) -> Result<Option<(User, String)>, StoreError>;

    /// Sets the hash of a user's password at the user's own request, and ends all of their sessions except the one that
    /// asks.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn change_own_password(
        &self,
        user: UserId,
        hash: &str,
        session: SessionId,
        now: Timestamp,
    ) -> Result<(), StoreError>;
}
