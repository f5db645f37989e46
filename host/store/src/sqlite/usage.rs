//! What was used, by the counters: never a sum over records, so that a year costs what a day does.
//!
//! `tally.rs` writes them; migration 11 says what they count.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use tollgate_core::id::ApiKeyId;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Usage};

use crate::error::StoreError;
use crate::log::usage::{UsageBy, UsageCounters, UsageOf, UsageQuery, UsageRow, Used};
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, fields, loaded, stored};
use crate::sqlite::tally::Kind;

/// All classes of tokens, each once.
macro_rules! tokens {
    () => {
        "(input + cache_read + cache_write_short + cache_write_long + output + reasoning + audio_input + audio_output)"
    };
}

pub(crate) use tokens;

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
    let usage = units(row)?;
    let charge = Micropoints::new(row.get()?);
    Some(Used { requests, failed, usage, charge, last_at: Timestamp::from_millis(loaded(row.get()?)) })
}

/// The columns of the classes, in their order.
pub(crate) fn units(row: &mut Row<'_>) -> Option<Usage> {
    let mut usage = Usage::default();
    for class in Class::ALL {
        usage[class] = row.u64()?;
    }
    Some(usage)
}
