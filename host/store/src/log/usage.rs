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
    /// A user's, with all of their keys.
    User(UserId),
    /// That of one key of a user.
    Key(UserId, ApiKeyId),
    /// What a credential served in its last attempts.
    Credential(CredentialId),
    /// Everyone's.
    Everyone,
}

/// What rows of usage are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// By nothing: one row.
    Total,
    /// A row for each day with any usage.
    Day,
    /// A row for each model; requests that were refused before any attempt have a row without one.
    Model,
    /// A row for each API key.
    Key,
}

/// Where a page of usage begins, by model or key: after this one. By day it begins with a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageAfter {
    /// A model; the empty one is that of requests without one.
    Model(String),
    /// An API key; `None` is that of requests without one.
    Key(Option<ApiKeyId>),
}

/// Which usage to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// Whose.
    pub of: UsageOf,
    /// The first day, since the epoch (UTC): the day on which requests arrived.
    pub from_day: u64,
    /// The last day.
    pub until_day: u64,
    /// What rows are grouped by.
    pub by: UsageBy,
    /// After which of them to begin.
    pub after: Option<UsageAfter>,
    /// At most this many.
    pub limit: usize,
}

impl UsageQuery {
    /// All usage of this.
    #[must_use]
    pub const fn all(of: UsageOf, by: UsageBy) -> Self {
        Self { of, from_day: 0, until_day: u64::MAX, by, after: None, limit: usize::MAX }
    }
}

/// What requests used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Requests, refused ones too.
    pub requests: u64,
    /// Those that ended without a whole answer.
    pub failed: u64,
    /// Units of billed operations. The quality has no meaning here.
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

/// What was used, and the group of the row: at most one of the first three is set.
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

/// What rows of a table of usage are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageSlice {
    /// The hour (UTC), since the epoch; of everyone's usage alone.
    Hour,
    /// The day, since the epoch.
    Day,
    /// The month, `2027-01`.
    Month,
    /// The model; empty for what was refused before any attempt.
    Model,
    /// The API key; of a user's, or of everyone's.
    Key,
    /// The user; of everyone's.
    User,
    /// The credential of the last attempt; of everyone's.
    Credential,
}

/// A table of usage: its rows are told apart by one slice or two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageTable {
    /// Whose.
    pub of: UsageOf,
    /// The first day, since the epoch (UTC).
    pub from_day: u64,
    /// The last day.
    pub until_day: u64,
    /// One or two.
    pub by: Vec<UsageSlice>,
    /// Rows that are passed over.
    pub offset: usize,
    /// At most this many.
    pub limit: usize,
}

/// What a row of usage has of a slice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsageLabel {
    /// An hour or a day, since the epoch.
    Time(u64),
    /// A month or a model.
    Name(String),
    /// A user, a key or a credential; `None` where there was none.
    Id(Option<[u8; 16]>),
}

/// What was used, by the counters.
#[async_trait]
pub trait UsageCounters: Send + Sync {
    /// What was used, by the counters in the tables: a server's last quarter of a second may be missing. They come in
    /// the order of their days, models or keys, and there is no row where there was no usage.
    ///
    /// # Errors
    /// When the database fails.
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError>;

    /// A table of usage, in the order of its labels.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for slices that are not counted together, and when the database fails.
    async fn usage_table(&self, table: &UsageTable) -> Result<Vec<(Vec<UsageLabel>, Used)>, StoreError>;
}
