//! What was used, by the counters: never a sum over records, so that a year costs what a day does.
//!
//! `tally.rs` writes them; migration 11 says what they count.

use sqlx::AssertSqlSafe;
use tollgate_core::id::{ApiKeyId, CredentialId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Quality, Usage};

use crate::error::{Doing, StoreError};
use crate::open::Store;
use crate::row::{Row, fields};
use crate::sql::{loaded, stored};
use crate::tally::Kind;

/// All classes of tokens, each once.
macro_rules! tokens {
    () => {
        "(input + cache_read + cache_write_short + cache_write_long + output + reasoning + audio_input + audio_output)"
    };
}

pub(crate) use tokens;

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
        let (mine, more) = (&mut self.usage, &other.usage);
        mine.input += more.input;
        mine.cache_read += more.cache_read;
        mine.cache_write_short += more.cache_write_short;
        mine.cache_write_long += more.cache_write_long;
        mine.output += more.output;
        mine.reasoning += more.reasoning;
        mine.audio_input += more.audio_input;
        mine.audio_output += more.audio_output;
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

impl Store {
    /// What was used, by the counters in the tables: a server's last quarter of a second may be missing. Days and models come
    /// in their order, and where there was nothing there is no row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let label = match query.by {
            UsageBy::Total => "NULL",
            UsageBy::Day => "day",
            UsageBy::Model => "model",
            UsageBy::Key => "api_key",
        };
        let (kind, subject, key): (_, &[u8], _) = match &query.of {
            UsageOf::User(user) => (Kind::User, user.as_bytes(), None),
            UsageOf::Key(user, key) => (Kind::User, user.as_bytes(), Some(key.as_bytes().as_slice())),
            UsageOf::Credential(credential) => (Kind::Credential, credential.as_bytes(), None),
            UsageOf::Everyone => (Kind::Everyone, &[], None),
        };
        let text = format!(
            "SELECT {label}, SUM(requests), SUM(failed), SUM(input), SUM(cache_read), SUM(cache_write_short), \
             SUM(cache_write_long), SUM(output), SUM(reasoning), SUM(audio_input), SUM(audio_output), SUM(charge), \
             MAX(last_at) FROM usage_counter WHERE kind = ? AND subject = ? AND day BETWEEN ? AND ? \
             AND (?5 IS NULL OR api_key = ?5) GROUP BY 1 ORDER BY 1"
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(kind as i64)
            .bind(subject)
            .bind(stored(query.from_day))
            .bind(stored(query.until_day))
            .bind(key)
            .fetch_all(self.pool())
            .await
            .doing("reading usage")?;
        rows.iter().map(|row| fields("counter", row, |row| usage_row(query.by, row))).collect()
    }
}

fn usage_row(by: UsageBy, row: &mut Row<'_>) -> Option<UsageRow> {
    let (mut day, mut model, mut api_key) = (None, None, None);
    match by {
        UsageBy::Total => drop(row.get::<Option<i64>>()?),
        UsageBy::Day => day = Some(row.u64()?),
        UsageBy::Model => model = Some(row.get::<String>()?).filter(|model| !model.is_empty()),
        UsageBy::Key => {
            let bytes = row.get::<&[u8]>()?;
            api_key = <[u8; 16]>::try_from(bytes).ok().map(ApiKeyId::from_bytes);
        }
    }
    Some(UsageRow { day, model, api_key, used: used(row)? })
}

fn used(row: &mut Row<'_>) -> Option<Used> {
    let (requests, failed) = (row.u64()?, row.u64()?);
    let usage = Usage {
        input: row.u64()?,
        cache_read: row.u64()?,
        cache_write_short: row.u64()?,
        cache_write_long: row.u64()?,
        output: row.u64()?,
        reasoning: row.u64()?,
        audio_input: row.u64()?,
        audio_output: row.u64()?,
        quality: Quality::default(),
    };
    let charge = Micropoints::new(row.get()?);
    Some(Used { requests, failed, usage, charge, last_at: Timestamp::from_millis(loaded(row.get()?)) })
}
