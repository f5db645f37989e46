//! What was used, by the counters: never a sum over records, so that a year costs as much as a day.
//!
//! `tally.rs` writes them; migration 11 says what they count.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection};
use tollgate_core::id::ApiKeyId;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Usage};

use crate::error::StoreError;
use crate::log::usage::{
    UsageAfter, UsageBy, UsageCounters, UsageLabel, UsageOf, UsageQuery, UsageRow, UsageTable, Used,
};
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, fields, loaded, stored};
use crate::sqlite::sums::sum;
use crate::sqlite::tally::Kind;

#[async_trait]
impl UsageCounters for Database {
    async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
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
        const WHICH: &str = "WHERE kind = ? AND subject = ? AND day BETWEEN ? AND ? \
             AND (?5 IS NULL OR api_key = ?5)";
        let after = query.after.as_ref().map(UsageAfter::bytes);
        let which = Which { kind, subject, days: [query.from_day, query.until_day], key, after, until: None };
        let page = format!(
            "AND (?6 IS NULL OR CAST({label} AS BLOB) > ?6) AND (?7 IS NULL OR CAST({label} AS BLOB) <= ?7)"
        );
        let mut tx = self.pool().begin().await.doing(DOING)?;
        let counted = format!(
            "SELECT {label}, {}, {}, {}, MAX(last_at) FROM usage_counter {WHICH} {page} GROUP BY 1 ORDER BY 1 \
             LIMIT {}",
            sum!("requests"),
            sum!("failed"),
            sum!("charge"),
            stored(query.limit as u64)
        );
        let counted = read(&mut tx, counted, &which).await?;
        let Some(last) = counted.last() else { return Ok(Vec::new()) };
        let until = fields("counter", last, |row| label_of(query.by, row))?;
        let which = which.until(query.by, until);
        let units = format!(
            "SELECT {label}, class, {} FROM usage_counter_units {WHICH} {page} GROUP BY 1, 2 ORDER BY 1",
            sum!("units")
        );
        let units = read(&mut tx, units, &which).await?;
        let read = |row: &_| fields("counter", row, |row| usage_row(query.by, row));
        let mut rows = counted.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        for row in &units {
            let (of, class, units) = fields("counter", row, |row| {
                Some((label_of(query.by, row)?, Class::named(row.get()?)?, row.u64()?))
            })?;
            // Both have the same order; units without a counter are damage that `verify` names.
            if let Some(row) = rows.iter_mut().find(|row| of == (row.day, row.model.clone(), row.api_key)) {
                row.used.usage[class] = units;
            }
        }
        Ok(rows)
    }

    async fn usage_table(&self, table: &UsageTable) -> Result<Vec<(Vec<UsageLabel>, Used)>, StoreError> {
        self.table(table).await
    }
}

const DOING: &str = "reading usage";

/// Which counters to read.
struct Which<'a> {
    kind: Kind,
    subject: &'a [u8],
    days: [u64; 2],
    key: Option<&'a [u8]>,
    /// Models or keys after this one.
    after: Option<Vec<u8>>,
    /// Models or keys up to this one.
    until: Option<Vec<u8>>,
}

impl Which<'_> {
    /// The same up to the last row of a page.
    fn until(mut self, by: UsageBy, (day, model, api_key): Label) -> Self {
        self.days[1] = day.unwrap_or(self.days[1]);
        self.until = match by {
            UsageBy::Model => Some(model.unwrap_or_default().into_bytes()),
            UsageBy::Key => Some(UsageAfter::Key(api_key).bytes()),
            UsageBy::Total | UsageBy::Day => None,
        };
        self
    }
}

impl UsageAfter {
    /// As the database compares it.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Model(model) => model.as_bytes().to_vec(),
            Self::Key(key) => key.map_or_else(Vec::new, |key| key.as_bytes().to_vec()),
        }
    }
}

async fn read(
    connection: &mut SqliteConnection,
    text: String,
    which: &Which<'_>,
) -> Result<Vec<SqliteRow>, StoreError> {
    let [from, until] = which.days.map(stored);
    sqlx::query(AssertSqlSafe(text))
        .bind(which.kind as i64)
        .bind(which.subject)
        .bind(from)
        .bind(until)
        .bind(which.key)
        .bind(which.after.as_deref())
        .bind(which.until.as_deref())
        .fetch_all(connection)
        .await
        .doing(DOING)
}

type Label = (Option<u64>, Option<String>, Option<ApiKeyId>);

fn label_of(by: UsageBy, row: &mut Row<'_>) -> Option<Label> {
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
    Some((day, model, api_key))
}

fn usage_row(by: UsageBy, row: &mut Row<'_>) -> Option<UsageRow> {
    let (day, model, api_key) = label_of(by, row)?;
    let (requests, failed) = (row.u64()?, row.u64()?);
    let charge = Micropoints::new(row.get()?);
    let last_at = Timestamp::from_millis(loaded(row.get()?));
    let used = Used { requests, failed, usage: Usage::default(), charge, last_at };
    Some(UsageRow { day, model, api_key, used })
}
