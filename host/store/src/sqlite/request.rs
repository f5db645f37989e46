//! Reads what requests left behind: records, receipts and plugin events.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use tollgate_core::decisions::Decisions;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Quality, ServiceTier, Usage};

use crate::entry::{Attempt, Components, Digest, PluginEvent, RequestRecord};
use crate::error::StoreError;
use crate::log::filter::{RequestFilter, RequestPages, Requests};
use crate::sqlite::amounts::units_of;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, fields, loaded, readable, stored};

pub(crate) const COLUMNS: &str = "SELECT request, user_id, api_key, protocol, operation, provider, model, credential, outcome, status, \
    attempts, latency_ms, ttft_ms, streamed, usage, quality, service_tier, hold, charge, price_version, adapter, \
    selector, pricing, filter, receipt, filter_hash, error, started_at, left_out, decisions \
    FROM request_record LEFT JOIN component_set ON component_set.id = request_record.components";

#[async_trait]
impl Requests for Database {
    async fn requests(&self, filter: &RequestFilter) -> Result<Vec<RequestRecord>, StoreError> {
        let wanted = filter.limit as usize;
        let mut filter = filter.clone();
        let mut records = Vec::new();
        loop {
            let page = self.request_page(&filter).await?;
            filter.limit -= u32::try_from(page.records.len()).unwrap_or(filter.limit).min(filter.limit);
            records.extend(page.records);
            match page.next {
                Some(next) if records.len() < wanted => filter.before = Some(next),
                _ => return Ok(records),
            }
        }
    }

    async fn attempts(&self, request: RequestId) -> Result<Vec<Attempt>, StoreError> {
        let rows = sqlx::query(
            "SELECT credential, status, failure, took_ms FROM request_attempt WHERE request = ? ORDER BY number",
        )
        .bind(request.as_bytes().as_slice())
        .fetch_all(self.pool())
        .await
        .doing("reading attempts")?;
        Ok(readable("attempt", &rows, attempt))
    }

    async fn request(&self, request: RequestId) -> Result<RequestRecord, StoreError> {
        let row = sqlx::query(AssertSqlSafe(format!("{COLUMNS} WHERE request = ?")))
            .bind(request.as_bytes().as_slice())
            .fetch_optional(self.pool())
            .await
            .doing("reading a record")?;
        fields("record", &row.ok_or(StoreError::NotFound("request"))?, record)
    }

    async fn receipt(&self, request: RequestId) -> Result<Option<Vec<u8>>, StoreError> {
        // Retention removes records, never receipts.
        sqlx::query_scalar(
            "SELECT receipt FROM request_record WHERE request = ?1 \
             UNION ALL SELECT receipt FROM kept_receipt WHERE request = ?1",
        )
        .bind(request.as_bytes().as_slice())
        .fetch_optional(self.pool())
        .await
        .doing("reading a receipt")?
        .ok_or(StoreError::NotFound("request"))
    }

    async fn receipts(
        &self,
        after: RequestId,
        limit: u32,
    ) -> Result<Vec<(Micropoints, Vec<u8>)>, StoreError> {
        let rows = sqlx::query(
            "SELECT hold, receipt FROM request_record WHERE request > ? AND receipt IS NOT NULL ORDER BY request LIMIT ?",
        )
        .bind(after.as_bytes().as_slice())
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .doing("reading receipts")?;
        rows.iter()
            .map(|row| fields("record", row, |row| Some((Micropoints::new(row.get()?), row.get()?))))
            .collect()
    }

    async fn plugin_events(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, PluginEvent)>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, at_ms, component, kind, digest, event, detail FROM plugin_event WHERE id < ? \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(before.map_or(i64::MAX, stored))
        .bind(stored(limit as u64))
        .fetch_all(self.pool())
        .await
        .doing("reading plugin events")?;
        Ok(readable("plugin event", &rows, |row| Some((row.u64()?, event(row)?))))
    }
}

impl Database {
    /// The records of these requests, newest first; missing ones are left out.
    pub(crate) async fn records(&self, requests: &[RequestId]) -> Result<Vec<RequestRecord>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let places = vec!["?"; requests.len()].join(",");
        let text = format!("{COLUMNS} WHERE request IN ({places}) ORDER BY request DESC");
        let mut query = sqlx::query(AssertSqlSafe(text));
        for request in requests {
            query = query.bind(request.as_bytes().as_slice());
        }
        let rows = query.fetch_all(self.pool()).await.doing("reading records")?;
        Ok(readable("record", &rows, record))
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

fn attempt(row: &mut Row<'_>) -> Option<Attempt> {
    Some(Attempt {
        credential: CredentialId::from_bytes(row.bytes()?),
        status: row.get()?,
        failure: named(row, FailureClass::ALL, FailureClass::name)?,
        took_ms: row.u64()?,
    })
}

pub(crate) fn record(row: &mut Row<'_>) -> Option<RequestRecord> {
    Some(RequestRecord {
        request: RequestId::from_bytes(row.bytes()?),
        user: UserId::from_bytes(row.bytes()?),
        api_key: row.bytes_or_null()?.map(ApiKeyId::from_bytes),
        protocol: named(row, Protocol::ALL, Protocol::name)?,
        operation: named(row, Operation::ALL, Operation::name)?,
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
        left_out: row.get()?,
        decisions: match row.get::<Option<&[u8]>>()? {
            Some(bytes) => Decisions::unpacked(bytes).unwrap_or_default(),
            None => Decisions::default(),
        },
    })
}

fn usage(row: &mut Row<'_>) -> Option<Usage> {
    let mut usage = units_of(row.get()?)?;
    usage.quality = named(row, [Quality::Exact, Quality::Estimated, Quality::Missing], Quality::name)??;
    usage.tier = named(row, ServiceTier::ALL, ServiceTier::name)??;
    Some(usage)
}

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
