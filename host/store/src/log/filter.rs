//! The request log, filtered.

use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;

use crate::entry::{Digest, RequestRecord};

/// Which records may go. The default keeps all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Records of requests that arrived before this moment go.
    pub before: Option<Timestamp>,
    /// Of more records than so many, the oldest go.
    pub records_max: Option<u64>,
}

/// Which records to read, newest first.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Only those called with this API key.
    pub api_key: Option<ApiKeyId>,
    /// Only those that this credential served last.
    pub credential: Option<CredentialId>,
    /// Only those of clients that spoke this.
    pub protocol: Option<Protocol>,
    /// Only those that asked for this.
    pub operation: Option<Operation>,
    /// Only those that went to this provider.
    pub provider: Option<String>,
    /// Only those of this model, where anything was known of it.
    pub model: Option<String>,
    /// Only those with this outcome.
    pub outcome: Option<Outcome>,
    /// Only those that were answered with this status.
    pub status: Option<u16>,
    /// Only those in which this component took part.
    pub component: Option<Digest>,
    /// Only those with at least so many attempts.
    pub attempts_min: Option<u32>,
    /// Only those that took at least so long, in milliseconds.
    pub latency_ms_min: Option<u64>,
    /// Only those whose first byte took at least so long, in milliseconds.
    pub ttft_ms_min: Option<u64>,
    /// Only those with at least so many tokens, prompt and output together.
    pub tokens_min: Option<u64>,
    /// Only those that cost at least so much.
    pub charge_min: Option<Micropoints>,
    /// Only those that arrived at this moment or later.
    pub from: Option<Timestamp>,
    /// Only those that arrived before this moment.
    pub until: Option<Timestamp>,
    /// Only those older than this one: where the page before ended.
    pub before: Option<RequestId>,
    /// At most so many.
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
