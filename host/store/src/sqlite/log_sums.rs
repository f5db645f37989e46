//! Sums of the request log: of the records that a filter found, whatever it was. What is asked of all records of a day
//! or a year, the usage counters answer (`usage.rs`).

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;
use tollgate_core::id::RequestId;
use tollgate_core::points::Micropoints;
use tollgate_core::time::{DAY_MS, Timestamp};
use tollgate_core::usage::{Class, Usage};

use crate::error::StoreError;
use crate::log::filter::{Pace, Percentiles, SumBy, SumLabel};
use crate::log::usage::Used;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{IN_LIST, Row, fields, list, loaded};
use crate::sqlite::sums::sum;

const DOING: &str = "summing up the request log";
/// What of a record's units counts: those of billed operations, as the usage counters have it.
const BILLED: &str = "operation NOT IN ('', 'count-tokens', 'list-models')";
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

impl SumBy {
    /// What rows are told apart by, in SQL.
    fn label(self) -> String {
        let began = |step: u64| format!("started_at / {step} * {step}");
        match self {
            Self::Total => "NULL".to_owned(),
            Self::Minute => began(MINUTE_MS),
            Self::Hour => began(HOUR_MS),
            Self::Day => began(DAY_MS),
            Self::Outcome => "outcome".to_owned(),
            Self::Status => "CAST(status AS TEXT)".to_owned(),
            Self::Provider => "provider".to_owned(),
            Self::Model => "model".to_owned(),
            Self::User => "user_id".to_owned(),
            Self::Key => "api_key".to_owned(),
            Self::Credential => "credential".to_owned(),
        }
    }

    fn read(self, row: &mut Row<'_>) -> Option<SumLabel> {
        let label = match self {
            Self::Total => row.get::<Option<i64>>()?.map(|_| SumLabel::None),
            Self::Minute | Self::Hour | Self::Day => {
                row.get::<Option<i64>>()?.map(|at| SumLabel::At(Timestamp::from_millis(loaded(at))))
            }
            Self::Outcome | Self::Status | Self::Provider | Self::Model => {
                row.get::<Option<String>>()?.map(SumLabel::Name)
            }
            Self::User | Self::Key | Self::Credential => row.bytes_or_null()?.map(SumLabel::Id),
        };
        Some(label.unwrap_or(SumLabel::None))
    }
}

impl Database {
    /// The sums of these records, in the order of their labels.
    pub(crate) async fn summed(
        &self,
        found: &[RequestId],
        by: SumBy,
    ) -> Result<Vec<(SumLabel, Used)>, StoreError> {
        let (label, found) = (by.label(), list(found.iter().map(RequestId::as_bytes)));
        let counted = format!(
            "SELECT {label}, COUNT(*), SUM(outcome NOT IN ('ok', 'empty')), {}, MAX(started_at) \
             FROM request_record WHERE request {IN_LIST} GROUP BY 1 ORDER BY 1",
            sum!("charge")
        );
        let units = format!(
            "SELECT {label}, used.key, {} FROM request_record CROSS JOIN json_each(usage) AS used \
             WHERE request {IN_LIST} AND {BILLED} GROUP BY 1, 2 ORDER BY 1",
            sum!("used.value")
        );
        let counted = sqlx::query(AssertSqlSafe(counted)).bind(&found).fetch_all(self.pool()).await;
        let read = |row: &mut Row<'_>| Some((by.read(row)?, used(row)?));
        let rows = counted.doing(DOING)?;
        let mut rows = rows.iter().map(|row| fields("record", row, read)).collect::<Result<Vec<_>, _>>()?;
        let units = sqlx::query(AssertSqlSafe(units)).bind(&found).fetch_all(self.pool()).await;
        let mut at = 0;
        for row in &units.doing(DOING)? {
            let read = |row: &mut Row<'_>| Some((by.read(row)?, Class::named(row.get()?)?, row.u64()?));
            let (label, class, units) = fields("record", row, read)?;
            // Both have the same order.
            while rows.get(at).is_some_and(|(other, _)| *other != label) {
                at += 1;
            }
            if let Some((_, used)) = rows.get_mut(at) {
                used.usage[class] = units;
            }
        }
        Ok(rows)
    }
}

/// What some records took.
#[derive(Default)]
struct Times {
    requests: u64,
    failed: u64,
    latency: Vec<u64>,
    ttft: Vec<u64>,
}

impl Database {
    /// How long these records took, in the order of their labels.
    pub(crate) async fn paces(
        &self,
        found: &[RequestId],
        by: SumBy,
        every: Option<SumBy>,
    ) -> Result<Vec<Pace>, StoreError> {
        let (label, span) = (by.label(), every.map_or_else(|| "NULL".to_owned(), SumBy::label));
        let query = format!(
            "SELECT {label}, {span}, outcome NOT IN ('ok', 'empty'), latency_ms, ttft_ms \
             FROM request_record WHERE request {IN_LIST}"
        );
        let found = list(found.iter().map(RequestId::as_bytes));
        let rows = sqlx::query(AssertSqlSafe(query)).bind(found).fetch_all(self.pool()).await;
        let mut times: BTreeMap<(SumLabel, Option<Timestamp>), Times> = BTreeMap::new();
        for row in &rows.doing(DOING)? {
            let read = |row: &mut Row<'_>| {
                let of =
                    (by.read(row)?, row.get::<Option<i64>>()?.map(|at| Timestamp::from_millis(loaded(at))));
                let (failed, latency) = (row.get::<bool>()?, row.u64()?);
                Some((of, failed, latency, row.get::<Option<i64>>()?.map(loaded)))
            };
            let (of, failed, latency, ttft) = fields("record", row, read)?;
            let times = times.entry(of).or_default();
            times.requests += 1;
            times.failed += u64::from(failed);
            times.latency.push(latency);
            times.ttft.extend(ttft);
        }
        let pace = |(of, times): (_, Times)| {
            let Times { requests, failed, latency, ttft } = times;
            let latency = Percentiles::of(latency)?;
            Some(Pace { of, requests, failed, latency, ttft: Percentiles::of(ttft) })
        };
        Ok(times.into_iter().filter_map(pace).collect())
    }
}

fn used(row: &mut Row<'_>) -> Option<Used> {
    let (requests, failed) = (row.u64()?, row.u64()?);
    let charge = Micropoints::new(row.get::<Option<i64>>()?.unwrap_or_default());
    let last_at = Timestamp::from_millis(loaded(row.get::<Option<i64>>()?.unwrap_or_default()));
    Some(Used { requests, failed, usage: Usage::default(), charge, last_at })
}
