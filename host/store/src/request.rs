//! Reads what requests left behind: records, receipts and plugin events.

use std::sync::Arc;

use sqlx::AssertSqlSafe;
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Quality, Usage};

use crate::entry::{Components, Digest, PluginEvent, RequestRecord};
use crate::error::{Doing, StoreError};
use crate::open::Store;
use crate::row::{Row, fields};
use crate::sql::loaded;

/// Which records to read, newest first.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Only those with this outcome.
    pub outcome: Option<Outcome>,
    /// Only those older than this one: the last of the page before.
    pub before: Option<RequestId>,
    /// At most so many.
    pub limit: u32,
}

const SELECT: &str = "SELECT request, user_id, api_key, protocol, operation, provider, model, credential, outcome, status, \
    attempts, latency_ms, ttft_ms, streamed, input, cache_read, cache_write_short, cache_write_long, output, reasoning, \
    audio_input, audio_output, quality, hold, charge, price_version, adapter, selector, pricing, filter, receipt, \
    filter_hash, error, started_at \
    FROM request_record LEFT JOIN component_set ON component_set.id = request_record.components";

impl Store {
    /// Records of requests, newest first.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    pub async fn requests(&self, filter: &RequestFilter) -> Result<Vec<RequestRecord>, StoreError> {
        // SQLite walks the primary key backward, which is time backward, until it has enough.
        let query = format!(
            "{SELECT} WHERE (?1 IS NULL OR user_id = ?1) AND (?2 IS NULL OR outcome = ?2) \
             AND request < COALESCE(?3, x'ffffffffffffffffffffffffffffffff') ORDER BY request DESC LIMIT ?4"
        );
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(filter.user.as_ref().map(|user| user.as_bytes().as_slice()))
            .bind(filter.outcome.map(Outcome::name))
            .bind(filter.before.as_ref().map(|request| request.as_bytes().as_slice()))
            .bind(filter.limit)
            .fetch_all(self.pool())
            .await
            .doing("reading records")?;
        rows.iter().map(|row| fields("record", row, record)).collect()
    }

    /// The record of one request.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, or not yet.
    pub async fn request(&self, request: RequestId) -> Result<RequestRecord, StoreError> {
        let row = sqlx::query(AssertSqlSafe(format!("{SELECT} WHERE request = ?")))
            .bind(request.as_bytes().as_slice())
            .fetch_optional(self.pool())
            .await
            .doing("reading a record")?;
        fields("record", &row.ok_or(StoreError::NotFound("request"))?, record)
    }

    /// Canonical bytes of a request's receipt; `None` for a request that nothing priced.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such request.
    pub async fn receipt(&self, request: RequestId) -> Result<Option<Vec<u8>>, StoreError> {
        sqlx::query_scalar("SELECT receipt FROM request_record WHERE request = ?")
            .bind(request.as_bytes().as_slice())
            .fetch_optional(self.pool())
            .await
            .doing("reading a receipt")?
            .ok_or(StoreError::NotFound("request"))
    }

    /// The last plugin events, newest first.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    pub async fn plugin_events(&self, limit: u32) -> Result<Vec<PluginEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT at_ms, component, kind, digest, event, detail FROM plugin_event ORDER BY id DESC LIMIT ?",
        )
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .doing("reading plugin events")?;
        rows.iter().map(|row| fields("plugin event", row, event)).collect()
    }
}

fn event(row: &mut Row<'_>) -> Option<PluginEvent> {
    Some(PluginEvent {
        at: Timestamp::from_millis(row.u64()?),
        component: row.get()?,
        kind: row.get()?,
        digest: row.bytes_or_null()?,
        event: row.get()?,
        detail: row.get()?,
    })
}

fn record(row: &mut Row<'_>) -> Option<RequestRecord> {
    Some(RequestRecord {
        request: RequestId::from_bytes(row.bytes()?),
        user: UserId::from_bytes(row.bytes()?),
        api_key: row.bytes_or_null()?.map(ApiKeyId::from_bytes),
        protocol: named(row, Protocol::ALL, Protocol::name)?,
        operation: named(row, OPERATIONS, Operation::name)?,
        provider: row.get::<Option<String>>()?.map(Arc::from),
        model: row.get::<Option<String>>()?.map(Arc::from),
        credential: row.bytes_or_null()?.map(CredentialId::from_bytes),
        outcome: named(row, Outcome::ALL, Outcome::name)??,
        status: row.get()?,
        attempts: row.get()?,
        latency_ms: row.u64()?,
        ttft_ms: row.get::<Option<i64>>()?.map(loaded),
        streamed: row.get()?,
        usage: usage(row)?,
        hold: Micropoints::new(row.get()?),
        charge: Micropoints::new(row.get()?),
        price_version: row.get::<Option<i64>>()?.map(loaded),
        components: Components {
            adapter: digest(row)?,
            selector: digest(row)?,
            pricing: digest(row)?,
            filter: digest(row)?,
        },
        receipt: row.get()?,
        filter_hash: row.get()?,
        error: row.get()?,
        started_at: Timestamp::from_millis(row.u64()?),
    })
}

fn usage(row: &mut Row<'_>) -> Option<Usage> {
    Some(Usage {
        input: row.u64()?,
        cache_read: row.u64()?,
        cache_write_short: row.u64()?,
        cache_write_long: row.u64()?,
        output: row.u64()?,
        reasoning: row.u64()?,
        audio_input: row.u64()?,
        audio_output: row.u64()?,
        quality: named(row, [Quality::Exact, Quality::Estimated, Quality::Missing], Quality::name)??,
    })
}

const OPERATIONS: [Operation; 5] = [
    Operation::Generate,
    Operation::CountTokens,
    Operation::Embed,
    Operation::EmbedBatch,
    Operation::ListModels,
];

/// A value by its name; the outer `None` is a damaged column, the inner one NULL.
#[expect(clippy::option_option, reason = "the outer one is a column that is damaged")]
fn named<T: Copy, const N: usize>(
    row: &mut Row<'_>,
    all: [T; N],
    name: fn(T) -> &'static str,
) -> Option<Option<T>> {
    match row.get::<Option<&str>>()? {
        Some(text) => all.into_iter().find(|value| name(*value) == text).map(Some),
        None => Some(None),
    }
}

/// A digest of a component set: NULL without a set, empty where it has none.
#[expect(clippy::option_option, reason = "the outer one is a column that is damaged")]
fn digest(row: &mut Row<'_>) -> Option<Option<Digest>> {
    match row.get::<Option<&[u8]>>()? {
        None | Some([]) => Some(None),
        Some(bytes) => bytes.try_into().ok().map(Some),
    }
}
