//! The writing side of the usage counters: what the records of one commit add to them, one row for each counter that
//! they touch, however many records there are.
//!
//! The rule exists in SQL too, as the view `counted` of migration 11: it adds up the records to what `usage_counter`
//! must hold, and `verify.rs` compares the two.
//!

use std::collections::HashMap;

use foldhash::quality::RandomState;
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::Operation;
use tollgate_core::usage::Usage;

use crate::entry::RequestRecord;
use crate::sqlite::row::stored;

/// An hour.
const HOUR_MS: u64 = 3_600_000;

/// What a counter counts: see the migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A user, by day, API key and model.
    User = 1,
    /// A credential, by day and model.
    Credential = 2,
    /// Everyone, by day and model.
    Everyone = 3,
    /// An API key, since it was made.
    ApiKey = 4,
    /// Everyone, by hour and model.
    Hour = 5,
}

/// The primary key of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Counter<'a> {
    pub(crate) kind: Kind,
    pub(crate) subject: &'a [u8],
    pub(crate) day: u64,
    pub(crate) api_key: &'a [u8],
    pub(crate) model: &'a str,
}

/// What is added to a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) requests: i64,
    pub(crate) failed: i64,
    /// Units of billed operations.
    pub(crate) usage: Usage,
    pub(crate) charge: i64,
    /// When the last of the requests arrived.
    pub(crate) last_at: i64,
}

/// What records add to counters.
#[derive(Debug, Default)]
pub(crate) struct Tally<'a>(HashMap<Counter<'a>, Counts, RandomState>);

impl<'a> Tally<'a> {
    /// Adds a record to each of its counters.
    pub(crate) fn add(&mut self, record: &'a RequestRecord) {
        let counts = counts(record);
        let day = record.started_at.day();
        let model = record.model.as_deref().filter(|_| record.attempts > 0).unwrap_or("");
        let api_key = record.api_key.as_ref().map(|key| key.as_bytes().as_slice());
        let user = record.user.as_bytes().as_slice();
        let by_day = |kind, subject| Counter { kind, subject, day, api_key: &[], model };
        self.count(Counter { api_key: api_key.unwrap_or_default(), ..by_day(Kind::User, user) }, &counts);
        self.count(by_day(Kind::Everyone, &[]), &counts);
        self.count(Counter { day: record.started_at.millis() / HOUR_MS, ..by_day(Kind::Hour, &[]) }, &counts);
        if let Some(credential) = &record.credential {
            self.count(by_day(Kind::Credential, credential.as_bytes()), &counts);
        }
        if let Some(subject) = api_key {
            let all_time = Counter { kind: Kind::ApiKey, subject, day: 0, api_key: &[], model: "" };
            self.count(all_time, &counts);
        }
    }

    fn count(&mut self, counter: Counter<'a>, add: &Counts) {
        let counts = self.0.entry(counter).or_default();
        counts.requests += add.requests;
        counts.failed += add.failed;
        counts.usage.add(&add.usage);
        counts.charge = counts.charge.saturating_add(add.charge);
        counts.last_at = counts.last_at.max(add.last_at);
    }

    /// The rows, in the order of their primary key, so that neighbours are written together.
    pub(crate) fn rows(self) -> Vec<(Counter<'a>, Counts)> {
        let mut rows: Vec<_> = self.0.into_iter().collect();
        rows.sort_unstable_by_key(|(counter, _)| *counter);
        rows
    }
}

fn counts(record: &RequestRecord) -> Counts {
    let billed = record.operation.is_some_and(Operation::billed);
    Counts {
        requests: 1,
        failed: i64::from(!matches!(record.outcome, Outcome::Ok | Outcome::Empty)),
        usage: if billed { record.usage } else { Usage::default() },
        charge: record.charge.get(),
        last_at: stored(record.started_at.millis()),
    }
}
