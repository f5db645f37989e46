//! Retention of the request log: records go, oldest first, a few at a time, so that the ledger's commits never wait
//! long.
//!
//! Their part of the counters stays (`usage_removed`), and so do their receipts, which belong to the ledger, and every
//! transfer. A caller archives each batch before it removes it: a crash in between archives it twice, and never loses
//! it.

use async_trait::async_trait;
use tollgate_core::id::RequestId;

use crate::entry::RequestRecord;
use crate::error::StoreError;
use crate::log::filter::{Expiry, Retention};
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{readable, stored};
use crate::sqlite::sums::{added, sum};

/// Adds the batch's part of the counters to what was removed before.
const REMOVE_COUNTED: &str = concat!(
    "INSERT INTO usage_removed SELECT kind, subject, day, api_key, model, COUNT(*), SUM(failed), ",
    sum!("charge"),
    ", MAX(started_at) FROM counted_record WHERE request <= ? GROUP BY 1, 2, 3, 4, 5 \
    ON CONFLICT (kind, subject, day, api_key, model) DO UPDATE SET ",
    added!("requests"),
    ", ",
    added!("failed"),
    ", ",
    added!("charge"),
    ", last_at = MAX(last_at, excluded.last_at)"
);

/// Its units.
const REMOVE_UNITS: &str = concat!(
    "INSERT INTO usage_removed_units SELECT kind, subject, day, api_key, model, class, ",
    sum!("units"),
    " FROM counted_units WHERE request <= ? GROUP BY 1, 2, 3, 4, 5, 6 \
    ON CONFLICT (kind, subject, day, api_key, model, class) DO UPDATE SET ",
    added!("units")
);

/// The steps of a removal, in their order; each takes the last request of the batch.
const REMOVE: [&str; 6] = [
    REMOVE_COUNTED,
    REMOVE_UNITS,
    "INSERT INTO kept_receipt SELECT request, receipt FROM request_record WHERE request <= ? AND receipt IS NOT NULL \
     ON CONFLICT DO NOTHING",
    "DELETE FROM request_attempt WHERE request <= ?",
    "UPDATE request_horizon SET request = MAX(request, ?1), \
     removed = removed + (SELECT COUNT(*) FROM request_record WHERE request <= ?1)",
    "DELETE FROM request_record WHERE request <= ?",
];

#[async_trait]
impl Expiry for Database {
    async fn expired(&self, rule: &Retention, limit: u32) -> Result<Vec<RequestRecord>, StoreError> {
        let (first, mut expired) = (self.oldest(limit).await?, 0);
        if let Some(before) = rule.before {
            let bound = RequestId::new(before, [0; 10]);
            expired = first.iter().take_while(|request| **request < bound).count();
        }
        if let Some(records_max) = rule.records_max {
            let excess = self.records_kept().await?.saturating_sub(records_max);
            expired = expired.max(usize::try_from(excess).unwrap_or(usize::MAX).min(first.len()));
        }
        let mut records = self.records(&first[..expired]).await?;
        records.reverse();
        Ok(records)
    }

    async fn remove_records(&self, last: RequestId) -> Result<(), StoreError> {
        const DOING: &str = "removing old records";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        for step in REMOVE {
            sqlx::query(step).bind(last.as_bytes().as_slice()).execute(&mut *tx).await.doing(DOING)?;
        }
        tx.commit().await.doing(DOING)
    }
}

impl Database {
    /// How many records there are: those that were counted and not removed.
    async fn records_kept(&self) -> Result<u64, StoreError> {
        let kept: i64 = sqlx::query_scalar(
            "SELECT COALESCE((SELECT SUM(requests) FROM usage_counter WHERE kind = 3), 0) - removed FROM request_horizon",
        )
        .fetch_one(self.pool())
        .await
        .doing("counting records")?;
        Ok(crate::sqlite::row::loaded(kept))
    }

    async fn oldest(&self, limit: u32) -> Result<Vec<RequestId>, StoreError> {
        let rows = sqlx::query("SELECT request FROM request_record ORDER BY request LIMIT ?")
            .bind(stored(u64::from(limit)))
            .fetch_all(self.pool())
            .await
            .doing("reading old records")?;
        Ok(readable("record", &rows, |row| row.bytes().map(RequestId::from_bytes)))
    }
}
