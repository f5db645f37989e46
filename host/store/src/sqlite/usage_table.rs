//! Tables of usage: what the counters say, told apart by one slice or two.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;
use sqlx::sqlite::{Sqlite, SqliteRow};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Usage};

use crate::error::StoreError;
use crate::log::usage::{UsageLabel, UsageOf, UsageSlice, UsageTable, Used};
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, fields, loaded, stored};
use crate::sqlite::sums::sum;
use crate::sqlite::tally::Kind;

const DOING: &str = "reading usage";
const HOURS: u64 = 24;

impl UsageSlice {
    /// The label, in SQL.
    const fn column(self) -> &'static str {
        match self {
            Self::Hour | Self::Day => "day",
            Self::Month => "strftime('%Y-%m', day * 86400, 'unixepoch')",
            Self::Model => "model",
            Self::Key => "api_key",
            Self::User | Self::Credential => "subject",
        }
    }

    fn read(self, row: &mut Row<'_>) -> Option<UsageLabel> {
        Some(match self {
            Self::Hour | Self::Day => UsageLabel::Time(row.u64()?),
            Self::Month | Self::Model => UsageLabel::Name(row.get()?),
            Self::Key | Self::User | Self::Credential => UsageLabel::Id(row.get::<&[u8]>()?.try_into().ok()),
        })
    }
}

/// Which counters a table is made of.
struct Counters<'a> {
    kind: Kind,
    subject: Option<&'a [u8]>,
    api_key: Option<&'a [u8]>,
    /// What `day` counts in a day.
    times: u64,
}

impl UsageTable {
    fn counters(&self) -> Result<Counters<'_>, StoreError> {
        let has = |slice| self.by.contains(&slice);
        let wrong = |words: &str| Err(StoreError::Invalid(words.to_owned()));
        let everyones = self.of == UsageOf::Everyone;
        if self.by.is_empty() || self.by.len() > 2 || self.by.first() == self.by.get(1) {
            return wrong("usage is told apart by one slice, or by two that differ");
        }
        if !everyones && (has(UsageSlice::Hour) || has(UsageSlice::User) || has(UsageSlice::Credential)) {
            return wrong(
                "by hour, user and credential everyone's usage is counted; of one user, key or credential, \
                 the sums of the request log tell them",
            );
        }
        if has(UsageSlice::Credential) && (has(UsageSlice::User) || has(UsageSlice::Key)) {
            return wrong("usage is not counted by credential and user together");
        }
        let hours = has(UsageSlice::Hour);
        if hours && self.by.iter().any(|slice| !matches!(slice, UsageSlice::Hour | UsageSlice::Model)) {
            return wrong("by hour, usage is told apart by model alone");
        }
        if matches!(self.of, UsageOf::Credential(_)) && has(UsageSlice::Key) {
            return wrong("usage is not counted by credential and key together");
        }
        let counters = |kind, subject| Counters { kind, subject, api_key: None, times: 1 };
        Ok(match &self.of {
            UsageOf::User(user) => counters(Kind::User, Some(user.as_bytes())),
            UsageOf::Key(user, key) => {
                Counters { api_key: Some(key.as_bytes()), ..counters(Kind::User, Some(user.as_bytes())) }
            }
            UsageOf::Credential(credential) => counters(Kind::Credential, Some(credential.as_bytes())),
            UsageOf::Everyone if hours => Counters { times: HOURS, ..counters(Kind::Hour, None) },
            UsageOf::Everyone if has(UsageSlice::Credential) => counters(Kind::Credential, None),
            UsageOf::Everyone if has(UsageSlice::User) || has(UsageSlice::Key) => counters(Kind::User, None),
            UsageOf::Everyone => counters(Kind::Everyone, None),
        })
    }

    fn labels(&self) -> String {
        self.by.iter().map(|slice| slice.column()).collect::<Vec<_>>().join(", ")
    }

    fn read(&self, row: &mut Row<'_>) -> Option<Vec<UsageLabel>> {
        self.by.iter().map(|slice| slice.read(row)).collect()
    }

    fn places(&self) -> &'static str {
        if self.by.len() == 1 { "1" } else { "1, 2" }
    }
}

impl Database {
    pub(crate) async fn table(&self, table: &UsageTable) -> Result<Vec<(Vec<UsageLabel>, Used)>, StoreError> {
        let counters = table.counters()?;
        let mut tx = self.pool().begin().await.doing(DOING)?;
        let labels = table.labels();
        let mut query = QueryBuilder::<Sqlite>::new(format!(
            "SELECT {labels}, {}, {}, {}, MAX(last_at) FROM usage_counter",
            sum!("requests"),
            sum!("failed"),
            sum!("charge")
        ));
        counters.conditions(&mut query, table);
        query.push(format!(" GROUP BY {0} ORDER BY {0} LIMIT ", table.places()));
        query.push_bind(stored(table.limit as u64)).push(" OFFSET ").push_bind(stored(table.offset as u64));
        let rows = query.build().fetch_all(&mut *tx).await.doing(DOING)?;
        let read = |row: &SqliteRow| fields("counter", row, |row| Some((table.read(row)?, used(row)?)));
        let mut rows = rows.iter().map(read).collect::<Result<BTreeMap<_, _>, _>>()?;
        let (Some((first, _)), Some((last, _))) = (rows.first_key_value(), rows.last_key_value()) else {
            return Ok(Vec::new());
        };
        let mut query = QueryBuilder::<Sqlite>::new(format!(
            "SELECT {labels}, class, {} FROM usage_counter_units",
            sum!("units")
        ));
        counters.conditions(&mut query, table);
        for (sign, bound) in [(">=", first), ("<=", last)] {
            query.push(format!(" AND ({labels}) {sign} ("));
            bind(&mut query, bound);
            query.push(")");
        }
        query.push(format!(" GROUP BY {}, class", table.places()));
        for row in &query.build().fetch_all(&mut *tx).await.doing(DOING)? {
            let read = |row: &mut Row<'_>| Some((table.read(row)?, Class::named(row.get()?)?, row.u64()?));
            let (labels, class, units) = fields("counter", row, read)?;
            if let Some(used) = rows.get_mut(&labels) {
                used.usage[class] = units;
            }
        }
        Ok(rows.into_iter().collect())
    }
}

impl Counters<'_> {
    fn conditions(&self, query: &mut QueryBuilder<Sqlite>, table: &UsageTable) {
        query.push(" WHERE kind = ").push_bind(self.kind as i64);
        if let Some(subject) = self.subject {
            query.push(" AND subject = ").push_bind(subject.to_vec());
        }
        let until = table.until_day.saturating_add(1).saturating_mul(self.times) - 1;
        query.push(" AND day BETWEEN ").push_bind(stored(table.from_day.saturating_mul(self.times)));
        query.push(" AND ").push_bind(stored(until));
        if let Some(key) = self.api_key {
            query.push(" AND api_key = ").push_bind(key.to_vec());
        }
    }
}

fn bind(query: &mut QueryBuilder<Sqlite>, labels: &[UsageLabel]) {
    for (at, label) in labels.iter().enumerate() {
        query.push(if at == 0 { "" } else { ", " });
        match label {
            UsageLabel::Time(time) => query.push_bind(stored(*time)),
            UsageLabel::Name(name) => query.push_bind(name.clone()),
            UsageLabel::Id(id) => query.push_bind(id.map(Vec::from).unwrap_or_default()),
        };
    }
}

fn used(row: &mut Row<'_>) -> Option<Used> {
    let (requests, failed) = (row.u64()?, row.u64()?);
    let charge = Micropoints::new(row.get()?);
    let last_at = Timestamp::from_millis(loaded(row.get()?));
    Some(Used { requests, failed, usage: Usage::default(), charge, last_at })
}
