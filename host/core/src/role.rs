//! What a user may do beyond their own things.

/// A user's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Everything, to everyone's things, and to the gateway's.
    Admin,
    /// Their own things only.
    #[default]
    User,
}

impl Role {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Admin, Self::User];

    /// The name used in the database, the API and the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}
