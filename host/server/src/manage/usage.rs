//! What was used, by the counters.

use tollgate_core::time::{DAY_MS, Timestamp};
use tollgate_store::{UsageAfter, UsageBy, UsageQuery, UsageRow, Violation};

pub use tollgate_store::{UsageOf, Used};

use super::{ManageError, Management, Page, Window};
use crate::clock::now;

/// What rows of usage are grouped by.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Slice {
    /// A row for each day, `2027-01-31`.
    #[default]
    Day,
    /// A row for each month, `2027-01`.
    Month,
    /// A row for each model; empty for what was refused before any attempt.
    Model,
    /// A row for each API key.
    Key,
}

impl Slice {
    const fn by(self) -> UsageBy {
        match self {
            Self::Day | Self::Month => UsageBy::Day,
            Self::Model => UsageBy::Model,
            Self::Key => UsageBy::Key,
        }
    }

    /// Makes rows begin after the one of this name.
    fn begin_after(self, query: &mut UsageQuery, name: &str) -> Result<(), ManageError> {
        let wrong = || ManageError::invalid("cursor", "there is no such row");
        let day = |date: &str| Timestamp::parse_date(date).map(Timestamp::day).ok_or_else(wrong);
        match self {
            Self::Day => query.from_day = query.from_day.max(day(name)? + 1),
            Self::Month => {
                let later = (day(&format!("{name}-01"))?..).find(|day| month(*day) != name);
                query.from_day = query.from_day.max(later.unwrap_or_default());
            }
            Self::Model => query.after = Some(UsageAfter::Model(name.to_owned())),
            Self::Key if name.is_empty() => query.after = Some(UsageAfter::Key(None)),
            Self::Key => query.after = Some(UsageAfter::Key(Some(name.parse().map_err(|_| wrong())?))),
        }
        Ok(())
    }
}

/// Days since the epoch (UTC), both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first.
    pub from: u64,
    /// The last.
    pub until: u64,
}

impl Days {
    /// All of them.
    pub const ALL: Self = Self { from: 0, until: u64::MAX };

    /// Reads two dates (`2027-01-31`), either of which may be left out.
    ///
    /// # Errors
    /// For an invalid date.
    pub fn parse(from: Option<&str>, until: Option<&str>) -> Result<Self, String> {
        let day = |text: &str| {
            let date = Timestamp::parse_date(text).map(Timestamp::day);
            date.ok_or_else(|| format!("`{text}` is no date such as 2027-01-31"))
        };
        let from = from.map_or(Ok(Self::ALL.from), day)?;
        Ok(Self { from, until: until.map_or(Ok(Self::ALL.until), day)? })
    }
}

/// What was used today, in this month, and since the beginning (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageSummary {
    /// Since midnight.
    pub today: Used,
    /// Since the first of the month.
    pub month: Used,
    /// Since the beginning.
    pub total: Used,
}

impl Management {
    /// What was used, row by row, with the name of each: in the order of days, months, models or keys.
    ///
    /// # Errors
    /// By key without a user, for an invalid name of the page before, and when the database fails.
    pub async fn usage(
        &self,
        of: UsageOf,
        days: Days,
        slice: Slice,
        window: Window<String>,
    ) -> Result<Page<(String, Used), String>, ManageError> {
        if slice == Slice::Key && matches!(of, UsageOf::Everyone | UsageOf::Credential(_)) {
            let words =
                "usage is told apart by key for one user; all keys with their totals are the list of keys";
            return Err(ManageError::invalid("by", words));
        }
        let mut query =
            UsageQuery { from_day: days.from, until_day: days.until, ..UsageQuery::all(of, slice.by()) };
        query.limit = window.limit_and_one();
        if slice == Slice::Month {
            query.limit = query.limit.saturating_mul(31);
        }
        if let Some(after) = &window.after {
            slice.begin_after(&mut query, after)?;
        }
        let mut rows: Vec<(String, Used)> = Vec::new();
        for row in self.store.log.usage(&query).await? {
            let name = label(&row, slice);
            match rows.last_mut() {
                Some((last, used)) if *last == name => used.add(&row.used),
                _ => rows.push((name, row.used)),
            }
        }
        Ok(Page::new(rows, window.limit, |(name, _)| name.clone()))
    }

    /// What was used today, in this month, and since the beginning.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn usage_summary(&self, of: UsageOf) -> Result<UsageSummary, ManageError> {
        let (today, month) = (now().day(), month(now().day()));
        let mut summary = UsageSummary::default();
        let query = UsageQuery::all(of, UsageBy::Day);
        for UsageRow { day, used, .. } in self.store.log.usage(&query).await? {
            let day = day.unwrap_or_default();
            summary.total.add(&used);
            if self::month(day) == month {
                summary.month.add(&used);
            }
            if day == today {
                summary.today.add(&used);
            }
        }
        Ok(summary)
    }

    /// Recomputes the counters from the records.
    ///
    /// # Errors
    /// When the database fails; what is wrong with the counters is in the answer.
    pub async fn verify_usage(&self) -> Result<Vec<Violation>, ManageError> {
        Ok(self.store.ledger.verify_usage().await?)
    }
}

fn label(row: &UsageRow, slice: Slice) -> String {
    match slice {
        Slice::Day => date(row.day.unwrap_or_default()),
        Slice::Month => month(row.day.unwrap_or_default()),
        Slice::Model => row.model.clone().unwrap_or_default(),
        Slice::Key => row.api_key.map(|key| key.to_string()).unwrap_or_default(),
    }
}

fn date(day: u64) -> String {
    let mut text = Timestamp::from_millis(day.saturating_mul(DAY_MS)).rfc3339();
    text.truncate("2027-01-31".len());
    text
}

fn month(day: u64) -> String {
    let mut text = date(day);
    text.truncate("2027-01".len());
    text
}
