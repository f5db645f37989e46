//! What was used, added up.

use async_trait::async_trait;
use tollgate_core::id::{ApiKeyId, CredentialId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Usage;

use crate::error::StoreError;

/// Whose usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageOf {
    /// A user's, with all of his keys.
    User(UserId),
    /// That of one key of a user.
    Key(UserId, ApiKeyId),
    /// What a credential served in its last attempts.
    Credential(CredentialId),
    /// Everyone's.
    Everyone,
}

/// What rows of usage are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// By nothing: one row.
    Total,
    /// A row for each day on which there was anything.
    Day,
    /// A row for each model; that of what was refused before any attempt has none.
    Model,
    /// A row for each API key.
    Key,
}

/// Which usage to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageQuery {
    /// Whose.
    pub of: UsageOf,
    /// The first day, since the epoch (UTC): the day on which requests arrived.
    pub from_day: u64,
    /// The last day.
    pub until_day: u64,
    /// What rows are told apart by.
    pub by: UsageBy,
}

/// What requests used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Requests, refused ones too.
    pub requests: u64,
    /// Those that ended otherwise than with a whole answer.
    pub failed: u64,
    /// Tokens of billed operations. The quality says nothing.
    pub usage: Usage,
    /// What they cost.
    pub charge: Micropoints,
    /// When the last one arrived.
    pub last_at: Timestamp,
}

impl Used {
    /// Adds what others used.
    pub fn add(&mut self, other: &Self) {
        self.usage.add(&other.usage);
        self.requests += other.requests;
        self.failed += other.failed;
        self.charge = self.charge.checked_add(other.charge).unwrap_or(Micropoints::new(i64::MAX));
        self.last_at = self.last_at.max(other.last_at);
    }
}

/// What was used, and what tells the row apart: all but one of the first three are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The day, since the epoch.
    pub day: Option<u64>,
    /// The model.
    pub model: Option<String>,
    /// The API key.
    pub api_key: Option<ApiKeyId>,
    /// What was used.
    pub used: Used,
}

/// What was used, by the counters.
#[async_trait]
pub trait UsageCounters: Send + Sync {
    /// What was used, by the counters in the tables: a server's last quarter of a second may be missing. Days and
    /// models come in their order, and where there was nothing there is no row.
    ///
    /// # Errors
    /// When the database fails.
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError>;
}
