//! What was called: pages of the request log, and its entries as they are shown, exported and archived.

use std::error::Error;

use schemars::JsonSchema;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use tollgate_core::id::{RequestId, UserId};
use tollgate_core::receipt::Receipt;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Class;
use tollgate_store::{Attempt, Digest};

pub use tollgate_store::{RequestFilter, RequestRecord, Retention};

use super::amounts::Units;
use super::cells;
use super::error::Which;
use super::log_decisions::LogDecisions;
use super::log_names::LogReader;
use super::{ManageError, Management, Page};

/// Entries of one read of an export.
const EXPORT_PAGE: u32 = 500;

/// A call, as the request log shows it: the units of each class are members of their own.
#[derive(Debug, Clone, JsonSchema)]
pub struct LogEntry {
    /// Its id, as in the header `x-tollgate-request-id` of its answer.
    pub request: String,
    /// When it arrived (UTC, RFC 3339).
    pub started_at: String,
    /// The same in milliseconds.
    pub started_at_ms: u64,
    /// Its user.
    pub user_id: String,
    /// The user's name.
    pub user: Option<String>,
    /// The API key's id.
    pub key: Option<String>,
    /// What the key is called, or was when it was revoked.
    pub key_name: Option<String>,
    /// The client's protocol.
    pub protocol: Option<&'static str>,
    /// The operation.
    pub operation: Option<&'static str>,
    /// The provider that served it.
    pub provider: Option<String>,
    /// The model that it named.
    pub model: Option<String>,
    /// The credential of the last attempt.
    pub credential: Option<String>,
    /// What the credential is called, or was when it was removed. A user is told the names of their own.
    pub credential_name: Option<String>,
    /// Whose that credential was, where something was priced: `user` for the caller's own, `shared` or `platform`.
    pub owner: Option<&'static str>,
    /// How it ended.
    pub outcome: &'static str,
    /// The HTTP status that the client saw.
    pub status: Option<u16>,
    /// Attempts at an upstream.
    pub attempts: u32,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// To its end.
    pub latency_ms: u64,
    /// To the first byte of its answer.
    pub ttft_ms: Option<u64>,
    /// Units of each class.
    #[schemars(flatten)]
    pub usage: Units,
    /// How it was served, where that changes its price: `standard`, `batch`, `flex`, `priority`, `fast` or `ultrafast`.
    pub service_tier: &'static str,
    /// Whether the tokens are `exact`, `estimated` or `missing`.
    pub quality: &'static str,
    /// Points that were reserved.
    pub held_points: String,
    /// Points that it cost.
    pub points: String,
    /// The price table in force.
    pub price_version: Option<u64>,
    /// SHA-256 of the adapter that took part.
    pub adapter: Option<String>,
    /// SHA-256 of the key selector.
    pub selector: Option<String>,
    /// SHA-256 of the pricing policy.
    pub pricing: Option<String>,
    /// SHA-256 of the content filter.
    pub filter: Option<String>,
    /// What went wrong; only for admins.
    pub error: Option<String>,
    /// What of the request its translation left out, as in the header `x-tollgate-left-out` of its answer.
    pub left_out: Option<String>,
}

/// Written by hand, because a line of a CSV file cannot hold maps.
impl Serialize for LogEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entry = serializer.serialize_struct("LogEntry", 32 + Class::COUNT)?;
        macro_rules! members {
            ($($name:ident)+) => { $(entry.serialize_field(stringify!($name), &self.$name)?;)+ };
        }
        members!(request started_at started_at_ms user_id key protocol operation provider model credential owner);
        members!(outcome status attempts streamed latency_ms ttft_ms);
        for class in Class::ALL {
            entry.serialize_field(class.name(), &self.usage.0[class])?;
        }
        members!(quality held_points points price_version adapter selector pricing filter error service_tier left_out);
        members!(user key_name credential_name);
        entry.end()
    }
}

impl LogEntry {
    /// The entry of a record, still without names.
    pub(super) fn unnamed(record: &RequestRecord) -> Self {
        let (usage, components) = (&record.usage, &record.components);
        Self {
            request: record.request.to_string(),
            started_at: record.started_at.rfc3339(),
            started_at_ms: record.started_at.millis(),
            user_id: record.user.to_string(),
            user: None,
            key_name: None,
            credential_name: None,
            key: record.api_key.map(|key| key.to_string()),
            protocol: record.protocol.map(|protocol| protocol.name()),
            operation: record.operation.map(|operation| operation.name()),
            provider: record.provider.as_deref().map(str::to_owned),
            model: record.model.as_deref().map(str::to_owned),
            credential: record.credential.map(|credential| credential.to_string()),
            owner: owner(record),
            outcome: record.outcome.name(),
            status: record.status,
            attempts: record.attempts,
            streamed: record.streamed,
            latency_ms: record.latency_ms,
            ttft_ms: record.ttft_ms,
            usage: Units(*usage),
            service_tier: usage.tier.name(),
            quality: usage.quality.name(),
            held_points: record.hold.to_string(),
            points: record.charge.to_string(),
            price_version: record.price_version,
            adapter: components.adapter.map(hex),
            selector: components.selector.map(hex),
            pricing: components.pricing.map(hex),
            filter: components.filter.map(hex),
            error: record.error.clone(),
            left_out: record.left_out.clone(),
        }
    }
}

/// One try at one upstream.
#[derive(Debug, Clone, serde::Serialize, JsonSchema)]
pub struct LogTry {
    /// With which credential.
    pub credential: Option<String>,
    /// What it is called, or was when it was removed. A user is told the names of their own.
    pub credential_name: Option<String>,
    /// What the upstream answered.
    pub status: Option<u16>,
    /// Why it failed; null for one that did not.
    pub failure: Option<&'static str>,
    /// To the first byte of its answer, or to its failure.
    pub took_ms: Option<u64>,
}

impl From<&Attempt> for LogTry {
    fn from(attempt: &Attempt) -> Self {
        Self {
            credential: Some(attempt.credential.to_string()),
            credential_name: None,
            status: attempt.status,
            failure: attempt.failure.map(|class| class.name()),
            took_ms: Some(attempt.took_ms),
        }
    }
}

/// A call with its attempts.
#[derive(Debug, Clone, serde::Serialize, JsonSchema)]
pub struct LogCall {
    /// The call.
    #[serde(flatten)]
    pub entry: LogEntry,
    /// The attempts, in order.
    pub tries: Vec<LogTry>,
    /// What was decided about it on its way; null for calls of an older Tollgate.
    pub decisions: Option<LogDecisions>,
}

impl LogCall {
    fn new(entry: LogEntry, record: &RequestRecord, attempts: &[Attempt]) -> Self {
        let mut tries: Vec<LogTry> = attempts.iter().map(LogTry::from).collect();
        if tries.is_empty() && record.attempts > 0 {
            // The record itself describes a single attempt that succeeded.
            let (credential, status) = (entry.credential.clone(), entry.status);
            let (credential_name, failure) = (entry.credential_name.clone(), None);
            tries.push(LogTry { credential, credential_name, status, failure, took_ms: record.ttft_ms });
        }
        Self { entry, tries, decisions: None }
    }
}

/// Whose credential served, which the receipt says.
pub(crate) fn owner(record: &RequestRecord) -> Option<&'static str> {
    let receipt = Receipt::decode(record.receipt.as_deref()?).ok()?;
    Some(receipt.owner.name())
}

/// How a log is written to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogShape {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values, with their names in the first line.
    Csv,
}

impl LogShape {
    /// The entries as lines; `first` says that they begin the file.
    ///
    /// # Errors
    /// Never for entries that were read from the database.
    pub fn lines(self, entries: &[LogEntry], first: bool) -> Result<Vec<u8>, ManageError> {
        let mut lines = Vec::new();
        match self {
            Self::Jsonl => {
                for entry in entries {
                    serde_json::to_writer(&mut lines, entry).map_err(unwritable)?;
                    lines.push(b'\n');
                }
            }
            Self::Csv => {
                let mut plain = csv::WriterBuilder::new().has_headers(first).from_writer(Vec::new());
                entries.iter().try_for_each(|entry| plain.serialize(entry)).map_err(unwritable)?;
                let plain = plain.into_inner().map_err(unwritable)?;
                cells::harmless(&plain, &mut lines).map_err(unwritable)?;
            }
        }
        Ok(lines)
    }
}

/// A log that is read piece by piece, so that it may be of any length.
pub struct Export {
    management: Management,
    filter: RequestFilter,
    shape: LogShape,
    reader: LogReader,
    first: bool,
    done: bool,
}

impl Export {
    /// The next lines, newest entries first; `None` at the end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ManageError> {
        while !self.done {
            let page = self.management.log(&self.filter, self.reader).await?;
            self.filter.before = page.next;
            self.done = page.next.is_none();
            let lines = self.shape.lines(&page.rows, self.first)?;
            self.first &= page.rows.is_empty();
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
        Ok(None)
    }
}

impl Management {
    /// A page of the request log, newest first. It may be short, even empty, while there is a next one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn requests(
        &self,
        filter: &RequestFilter,
    ) -> Result<Page<RequestRecord, RequestId>, ManageError> {
        let page = self.store.log.request_page(filter).await?;
        Ok(Page { rows: page.records, next: page.next })
    }

    /// A page of the request log as its reader sees it, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log(
        &self,
        filter: &RequestFilter,
        reader: LogReader,
    ) -> Result<Page<LogEntry, RequestId>, ManageError> {
        let page = self.requests(filter).await?;
        Ok(Page { rows: self.entries(&page.rows, reader).await?, next: page.next })
    }

    /// Records as entries with names, as their reader sees them.
    pub(crate) async fn entries(
        &self,
        records: &[RequestRecord],
        reader: LogReader,
    ) -> Result<Vec<LogEntry>, ManageError> {
        let names = self.log_names(records, &[], reader).await?;
        Ok(records.iter().map(|record| names.entry(record)).collect())
    }

    /// One call with its attempts, and whose it was.
    ///
    /// # Errors
    /// When there is no such call, or not yet.
    pub async fn request(
        &self,
        request: RequestId,
        reader: LogReader,
    ) -> Result<(UserId, LogCall), ManageError> {
        let record = self.store.log.request(request).await.which(request)?;
        Ok((record.user, self.with_attempts(&record, reader).await?))
    }

    /// A call with its attempts.
    pub(crate) async fn with_attempts(
        &self,
        record: &RequestRecord,
        reader: LogReader,
    ) -> Result<LogCall, ManageError> {
        let attempts = self.store.log.attempts(record.request).await?;
        let names = self.log_names(std::slice::from_ref(record), &attempts, reader).await?;
        let mut call = LogCall::new(names.entry(record), record, &attempts);
        for (tried, attempt) in call.tries.iter_mut().zip(&attempts) {
            tried.credential_name = names.credential(attempt.credential);
        }
        call.decisions = LogDecisions::of(record, &names);
        Ok(call)
    }

    /// The log as a file.
    #[must_use]
    pub fn export(&self, filter: RequestFilter, shape: LogShape, reader: LogReader) -> Export {
        let filter = RequestFilter { limit: EXPORT_PAGE, ..filter };
        Export { management: self.clone(), filter, shape, reader, first: true, done: false }
    }

    /// The oldest records that a rule allows to remove, at most `limit`.
    pub(crate) async fn expired_requests(
        &self,
        rule: &Retention,
        limit: u32,
    ) -> Result<Vec<RequestRecord>, ManageError> {
        Ok(self.store.log.expired(rule, limit).await?)
    }

    /// Removes the records up to `last`.
    pub(crate) async fn remove_requests(&self, last: RequestId) -> Result<(), ManageError> {
        Ok(self.store.log.remove_records(last).await?)
    }
}

/// A moment in the form of [`Timestamp::rfc3339`], a date, or milliseconds since the epoch.
///
/// # Errors
/// For what is none of them.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    let millis = || text.parse().ok().map(Timestamp::from_millis);
    let found = Timestamp::parse_date(text).or_else(millis);
    found.ok_or_else(|| format!("`{text}` is neither a date such as 2027-01-31 nor milliseconds since 1970"))
}

fn unwritable(error: impl Into<Box<dyn Error + Send + Sync>>) -> ManageError {
    ManageError::unwritable("the request log", error)
}

fn hex(digest: Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
