//! The request log, filtered.

use async_trait::async_trait;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;

use crate::entry::{Attempt, Digest, PluginEvent, RequestRecord};
use crate::error::StoreError;
use crate::log::usage::Used;

/// Which records may be removed. The default keeps all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Records of requests that arrived before this moment may be removed.
    pub before: Option<Timestamp>,
    /// Where there are more records than this, the oldest may be removed.
    pub records_max: Option<u64>,
}

/// Which records to read, newest first. Where a list names several values, one of them is enough; an empty one allows
/// all.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Only those of these users.
    pub users: Vec<UserId>,
    /// None of these users'.
    pub not_users: Vec<UserId>,
    /// Only those called with these API keys.
    pub api_keys: Vec<ApiKeyId>,
    /// Only those that these credentials served last.
    pub credentials: Vec<CredentialId>,
    /// Only those whose clients spoke these protocols.
    pub protocols: Vec<Protocol>,
    /// Only those that asked for these operations.
    pub operations: Vec<Operation>,
    /// Only those that went to these providers.
    pub providers: Vec<String>,
    /// Only those of these models, where they were known.
    pub models: Vec<String>,
    /// Only those whose model, where it was known, has this in its name, in any case.
    pub model_part: Option<String>,
    /// Only those with these outcomes.
    pub outcomes: Vec<Outcome>,
    /// Only those that were answered with these statuses.
    pub statuses: Vec<u16>,
    /// Only those in which an attempt failed so.
    pub failures: Vec<FailureClass>,
    /// Only those in which one of these components took part.
    pub components: Vec<Digest>,
    /// Only those with at least this many attempts.
    pub attempts_min: Option<u32>,
    /// Only those that took at least this long, in milliseconds.
    pub latency_ms_min: Option<u64>,
    /// Only those whose first byte took at least this long, in milliseconds.
    pub ttft_ms_min: Option<u64>,
    /// Only those with at least this many tokens, prompt and output together.
    pub tokens_min: Option<u64>,
    /// Only those that cost at least this much.
    pub charge_min: Option<Micropoints>,
    /// Only those that arrived at this moment or later.
    pub from: Option<Timestamp>,
    /// Only those that arrived before this moment.
    pub until: Option<Timestamp>,
    /// Only those older than this one: where the page before ended.
    pub before: Option<RequestId>,
    /// At most this many.
    pub limit: u32,
}

/// Some records of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPage {
    /// Newest first.
    pub records: Vec<RequestRecord>,
    /// Where the next page begins ([`RequestFilter::before`]); `None` when this was the last.
    pub next: Option<RequestId>,
}

/// What records are told apart by where they are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumBy {
    /// Nothing: one row.
    Total,
    /// The minute in which they arrived (UTC).
    Minute,
    /// The hour.
    Hour,
    /// The day.
    Day,
    /// How they ended.
    Outcome,
    /// The status that the client saw.
    Status,
    /// Who served them.
    Provider,
    /// The model.
    Model,
    /// The user.
    User,
    /// The API key.
    Key,
    /// The credential of the last attempt.
    Credential,
}

/// What the records of one row have in common; [`SumLabel::None`] where they have nothing of the kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SumLabel {
    /// Nothing.
    None,
    /// When a minute, hour or day began.
    At(Timestamp),
    /// A name, or a status.
    Name(String),
    /// An id.
    Id([u8; 16]),
}

/// Some records, summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestSums {
    /// A row for each label.
    pub rows: Vec<(SumLabel, Used)>,
    /// Where the sums go on ([`RequestFilter::before`]), where there were more records than are looked at at once.
    pub next: Option<RequestId>,
}

/// How long some records took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// What they have in common, and when the span of time began, where they are told apart by that too.
    pub of: (SumLabel, Option<Timestamp>),
    /// How many there are.
    pub requests: u64,
    /// Those that ended without a whole answer.
    pub failed: u64,
    /// To the end.
    pub latency: Percentiles,
    /// To the first byte; `None` where none came.
    pub ttft: Option<Percentiles>,
}

/// What so many of a hundred took at most, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// Half of them.
    pub p50: u64,
    /// Nine of ten.
    pub p90: u64,
    /// Nineteen of twenty.
    pub p95: u64,
    /// All but one of a hundred.
    pub p99: u64,
}

impl Percentiles {
    /// Those of some times, by the nearest rank; `None` for none.
    #[must_use]
    pub fn of(mut times: Vec<u64>) -> Option<Self> {
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self { p50: at(50)?, p90: at(90)?, p95: at(95)?, p99: at(99)? })
    }
}

/// Records, receipts, attempts and plugin events.
#[async_trait]
pub trait Requests: Send + Sync {
    /// Records of requests, newest first: as many as the filter's limit, where there are as many.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<RequestRecord>, StoreError>;

    /// The attempts of a request. Empty for one that succeeded at once: its record says everything.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn attempts(&self, request: RequestId) -> Result<Vec<Attempt>, StoreError>;

    /// The record of one request.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, or not yet.
    async fn request(&self, request: RequestId) -> Result<RequestRecord, StoreError>;

    /// Canonical bytes of a request's receipt; `None` for a request that nothing priced.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such request.
    async fn receipt(&self, request: RequestId) -> Result<Option<Vec<u8>>, StoreError>;

    /// What was held for requests after `after` that were priced, and the canonical bytes of their receipts: oldest
    /// first, at most `limit`. Ids begin with the time of the request, so that a moment can be made into one.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn receipts(&self, after: RequestId, limit: u32)
    -> Result<Vec<(Micropoints, Vec<u8>)>, StoreError>;

    /// Plugin events with their numbers, newest first: those before the event `before`, at most `limit`.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn plugin_events(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, PluginEvent)>, StoreError>;
}

/// The request log, filtered.
#[async_trait]
pub trait RequestPages: Send + Sync {
    /// A page of the log, of a thousand records at most. What a running server wrote in the last quarter of a second
    /// may be missing.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn request_page(&self, filter: &RequestFilter) -> Result<RequestPage, StoreError>;

    /// The sums of the newest records that a filter lets through. Its limit has no meaning here: so many records are
    /// looked at as take a moment.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn request_sums(&self, filter: &RequestFilter, by: SumBy) -> Result<RequestSums, StoreError>;

    /// How long the newest records took that a filter lets through: by what they have in common, and by spans of time
    /// where `every` is one. The second value is where they go on.
    ///
    /// # Errors
    /// As for the sums.
    async fn request_paces(
        &self,
        filter: &RequestFilter,
        by: SumBy,
        every: Option<SumBy>,
    ) -> Result<(Vec<Pace>, Option<RequestId>), StoreError>;
}

/// Records that may be removed.
#[async_trait]
pub trait Expiry: Send + Sync {
    /// The next records that may be removed, oldest first, at most `limit`. Empty when the rest stays.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn expired(&self, rule: &Retention, limit: u32) -> Result<Vec<RequestRecord>, StoreError>;

    /// Removes all records up to and including that of `last`, which need not exist.
    ///
    /// # Errors
    /// When the database fails; then nothing is removed.
    async fn remove_records(&self, last: RequestId) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::Percentiles;

    #[test]
    fn a_percentile_is_the_time_that_so_many_took_at_most() {
        let check = |times: &[u64], expected: [u64; 4]| {
            let Percentiles { p50, p90, p95, p99 } = Percentiles::of(times.to_vec()).unwrap();
            assert_eq!([p50, p90, p95, p99], expected, "{times:?}");
        };
        assert_eq!(Percentiles::of(Vec::new()), None);
        check(&[7], [7; 4]);
        check(&[9, 1], [1, 9, 9, 9]);
        check(&Vec::from_iter((1..=100).rev()), [50, 90, 95, 99]);
        check(&Vec::from_iter(1..=200), [100, 180, 190, 198]);
    }
}
