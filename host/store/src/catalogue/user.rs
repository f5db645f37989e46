//! Users: who owns API keys and an account.

use serde_json::Value;
use tollgate_core::id::UserId;
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::time::Timestamp;

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

/// What changes of a user: `None` for what stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserChange {
    /// Whether calls and logins are taken.
    pub enabled: Option<bool>,
    /// What the user may do.
    pub role: Option<Role>,
    /// The hash of a new password, which ends all logins.
    pub password: Option<String>,
    /// The least balance that holds may leave: 0, or a negative overdraft.
    pub floor: Option<Micropoints>,
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
        Value::Object(detail)
    }
}
