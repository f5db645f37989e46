//! What was used, by the counters.

use tollgate_core::id::{ApiKeyId, CredentialId, UserId};
use tollgate_core::time::{DAY_MS, Timestamp};
use tollgate_store::{
    UsageAfter, UsageBy, UsageLabel, UsageQuery, UsageRow, UsageSlice, UsageTable, Violation,
};

pub use tollgate_store::{UsageOf, Used};

use super::log_names::{LogNames, LogReader, Unnamed};
use super::{ManageError, Management, Page, Window};
use crate::clock::now;

/// An hour.
const HOUR_MS: u64 = 3_600_000;

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
    /// A row for each hour (UTC); of everyone's usage.
    Hour,
    /// A row for each user; of everyone's.
    User,
    /// A row for each credential; of everyone's.
    Credential,
}

impl Slice {
    const fn by(self) -> UsageBy {
        match self {
            Self::Day | Self::Month => UsageBy::Day,
            Self::Model => UsageBy::Model,
            Self::Key | Self::Hour | Self::User | Self::Credential => UsageBy::Key,
        }
    }

    /// The slices that a text names: one, or two with a comma between them.
    ///
    /// # Errors
    /// For what is none.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let slice = |name: &str| {
            let known = <Self as clap::ValueEnum>::from_str(name, false);
            known.map_err(|_| format!("`{name}` is nothing by which usage is told apart"))
        };
        text.split(',').map(slice).collect()
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Model => "model",
            Self::Key => "key",
            Self::Hour => "hour",
            Self::User => "user",
            Self::Credential => "credential",
        }
    }

    const fn counted(self) -> UsageSlice {
        match self {
            Self::Day => UsageSlice::Day,
            Self::Month => UsageSlice::Month,
            Self::Model => UsageSlice::Model,
            Self::Key => UsageSlice::Key,
            Self::Hour => UsageSlice::Hour,
            Self::User => UsageSlice::User,
            Self::Credential => UsageSlice::Credential,
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
            Self::Hour | Self::User | Self::Credential => return Err(wrong()),
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

    /// A table of what was used, told apart by one slice or two, in the order of their labels.
    ///
    /// # Errors
    /// For slices that are not counted together, and when the database fails.
    pub async fn usage_table(
        &self,
        of: UsageOf,
        days: Days,
        by: &[Slice],
        window: Window<usize>,
        reader: LogReader,
    ) -> Result<Page<UsageCells, usize>, ManageError> {
        let offset = window.after.unwrap_or_default();
        let table = UsageTable {
            of,
            from_day: days.from,
            until_day: days.until,
            by: by.iter().map(|slice| slice.counted()).collect(),
            offset,
            limit: window.limit_and_one(),
        };
        let rows = self.store.log.usage_table(&table).await?;
        let mut names = LogNames::new(reader);
        self.learn_names(&mut names, unnamed(by, &rows)).await?;
        let cell = |(slice, label): (&Slice, &UsageLabel)| cell(*slice, label, &names);
        let row = |(labels, used): (Vec<UsageLabel>, Used)| UsageCells {
            cells: by.iter().zip(&labels).map(cell).collect(),
            used,
        };
        Ok(Page::new(rows, window.limit, |_| offset.saturating_add(window.limit)).map(row))
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

/// A row of a table of usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageCells {
    /// What it has of each slice.
    pub cells: Vec<UsageCell>,
    /// What was used.
    pub used: Used,
}

/// What a row has of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageCell {
    /// A date, an hour, a month, a model, or an id; empty where there was none.
    pub name: String,
    /// What an id is called.
    pub title: Option<String>,
    /// When an hour or a day began.
    pub at: Option<Timestamp>,
}

/// The ids in a table that want names.
fn unnamed(by: &[Slice], rows: &[(Vec<UsageLabel>, Used)]) -> Unnamed {
    let mut unnamed = Unnamed::default();
    for (slice, label) in rows.iter().flat_map(|(labels, _)| by.iter().zip(labels)) {
        let UsageLabel::Id(Some(id)) = label else { continue };
        match slice {
            Slice::User => drop(unnamed.users.insert(UserId::from_bytes(*id))),
            Slice::Key => drop(unnamed.keys.insert(ApiKeyId::from_bytes(*id))),
            _ => drop(unnamed.credentials.insert(CredentialId::from_bytes(*id))),
        }
    }
    unnamed
}

fn cell(slice: Slice, label: &UsageLabel, names: &LogNames) -> UsageCell {
    match label {
        UsageLabel::Name(name) => UsageCell { name: name.clone(), ..UsageCell::default() },
        UsageLabel::Time(hour) if slice == Slice::Hour => {
            let at = Timestamp::from_millis(hour.saturating_mul(HOUR_MS));
            let mut name = at.rfc3339();
            name.truncate("2027-01-31T12".len());
            UsageCell { name, title: None, at: Some(at) }
        }
        UsageLabel::Time(day) => {
            let at = Timestamp::from_millis(day.saturating_mul(DAY_MS));
            UsageCell { name: date(*day), title: None, at: Some(at) }
        }
        UsageLabel::Id(None) => UsageCell::default(),
        UsageLabel::Id(Some(id)) => {
            let (name, title) = match slice {
                Slice::User => {
                    let id = UserId::from_bytes(*id);
                    (id.to_string(), names.user(id))
                }
                Slice::Key => {
                    let id = ApiKeyId::from_bytes(*id);
                    (id.to_string(), names.key(id))
                }
                _ => {
                    let id = CredentialId::from_bytes(*id);
                    (id.to_string(), names.credential(id))
                }
            };
            UsageCell { name, title, at: None }
        }
    }
}

fn label(row: &UsageRow, slice: Slice) -> String {
    match slice {
        Slice::Day => date(row.day.unwrap_or_default()),
        Slice::Month => month(row.day.unwrap_or_default()),
        Slice::Model => row.model.clone().unwrap_or_default(),
        Slice::Key | Slice::Hour | Slice::User | Slice::Credential => {
            row.api_key.map(|key| key.to_string()).unwrap_or_default()
        }
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
