//! The request log, added up: what a filter lets through, by what the calls have in common.

use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::time::Timestamp;
use tollgate_store::{RequestFilter, SumBy, SumLabel, Used};

pub use tollgate_store::{Pace, Percentiles};

use super::log_names::{LogNames, LogReader, Unnamed};
use super::{ManageError, Management};

/// What the sums of calls are told apart by.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum SumSlice {
    /// Nothing: one row.
    #[default]
    Total,
    /// The minute in which they arrived (UTC).
    Minute,
    /// The hour.
    Hour,
    /// The day.
    Day,
    /// How they ended.
    Outcome,
    /// The HTTP status of the answer.
    Status,
    /// Who served them.
    Provider,
    /// The model.
    Model,
    /// The user.
    User,
    /// The API key.
    Key,
    /// The credential of the last attempt.
    Credential,
}

impl SumSlice {
    const fn by(self) -> SumBy {
        match self {
            Self::Total => SumBy::Total,
            Self::Minute => SumBy::Minute,
            Self::Hour => SumBy::Hour,
            Self::Day => SumBy::Day,
            Self::Outcome => SumBy::Outcome,
            Self::Status => SumBy::Status,
            Self::Provider => SumBy::Provider,
            Self::Model => SumBy::Model,
            Self::User => SumBy::User,
            Self::Key => SumBy::Key,
            Self::Credential => SumBy::Credential,
        }
    }
}

/// What the calls of a row have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SumName {
    /// A name, a status, or when a span of time began.
    pub name: Option<String>,
    /// The id of what has the name.
    pub id: Option<String>,
    /// When a span of time began.
    pub at: Option<Timestamp>,
}

/// Rows, and where the sums go on.
pub type LogSums = (Vec<(SumName, Used)>, Option<RequestId>);

/// The same of how long calls took.
pub type LogPaces = (Vec<(SumName, Pace)>, Option<RequestId>);

impl Management {
    /// The sums of the newest calls that a filter lets through, as a reader of the log sees them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_sums(
        &self,
        filter: &RequestFilter,
        by: SumSlice,
        reader: LogReader,
    ) -> Result<LogSums, ManageError> {
        let sums = self.store.log.request_sums(filter, by.by()).await?;
        let names = self.names_of(sums.rows.iter().map(|(label, _)| label), by, reader).await?;
        let rows = sums.rows.into_iter().map(|(label, used)| (named(label, by, &names), used));
        Ok((rows.collect(), sums.next))
    }

    /// How long the newest calls took that a filter lets through, told apart by one slice and, where `every` is one, by
    /// spans of time.
    ///
    /// # Errors
    /// When `every` is no span of time, and when the database fails.
    pub async fn log_paces(
        &self,
        filter: &RequestFilter,
        by: SumSlice,
        every: Option<SumSlice>,
        reader: LogReader,
    ) -> Result<LogPaces, ManageError> {
        let is_span = |every| matches!(every, SumSlice::Minute | SumSlice::Hour | SumSlice::Day);
        if every.is_some_and(|every| !is_span(every)) {
            return Err(ManageError::invalid("every", "`every` is `minute`, `hour` or `day`"));
        }
        let (paces, next) = self.store.log.request_paces(filter, by.by(), every.map(SumSlice::by)).await?;
        let names = self.names_of(paces.iter().map(|pace| &pace.of.0), by, reader).await?;
        let row = |pace: Pace| (named(pace.of.0.clone(), by, &names), pace);
        Ok((paces.into_iter().map(row).collect(), next))
    }

    /// The names of the ids among some labels.
    async fn names_of(
        &self,
        labels: impl Iterator<Item = &SumLabel>,
        by: SumSlice,
        reader: LogReader,
    ) -> Result<LogNames, ManageError> {
        let ids = labels.filter_map(|label| match label {
            SumLabel::Id(id) => Some(*id),
            SumLabel::None | SumLabel::At(_) | SumLabel::Name(_) => None,
        });
        let ids: Vec<[u8; 16]> = ids.collect();
        let ids = ids.into_iter();
        let unnamed = match by {
            SumSlice::User => Unnamed { users: ids.map(UserId::from_bytes).collect(), ..Unnamed::default() },
            SumSlice::Key => Unnamed { keys: ids.map(ApiKeyId::from_bytes).collect(), ..Unnamed::default() },
            _ => Unnamed { credentials: ids.map(CredentialId::from_bytes).collect(), ..Unnamed::default() },
        };
        let mut names = LogNames::new(reader);
        self.learn_names(&mut names, unnamed).await?;
        Ok(names)
    }
}

fn named(label: SumLabel, by: SumSlice, names: &LogNames) -> SumName {
    match (label, by) {
        (SumLabel::None, _) => SumName::default(),
        (SumLabel::Name(name), _) => SumName { name: Some(name), ..SumName::default() },
        (SumLabel::At(at), _) => SumName { name: Some(at.rfc3339()), at: Some(at), id: None },
        (SumLabel::Id(id), SumSlice::Key) => {
            let id = ApiKeyId::from_bytes(id);
            SumName { name: names.key(id), id: Some(id.to_string()), at: None }
        }
        (SumLabel::Id(id), SumSlice::Credential) => {
            let id = CredentialId::from_bytes(id);
            SumName { name: names.credential(id), id: Some(id.to_string()), at: None }
        }
        (SumLabel::Id(id), _) => {
            let id = UserId::from_bytes(id);
            SumName { name: names.user(id), id: Some(id.to_string()), at: None }
        }
    }
}
