//! Whom a listener for management is for.

use tollgate_core::role::Role;

use crate::manage::login::User;

/// Whom a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Operators, and whoever else reaches it.
    Operators,
    /// Users, for what is theirs. An admin is a user here, and the admin secret opens nothing.
    Users,
}

impl Audience {
    /// As whom someone who has logged in is seen.
    pub(super) fn sees(self, user: &User) -> User {
        match self {
            Self::Operators => user.clone(),
            Self::Users => User { role: Role::User, ..user.clone() },
        }
    }
}
