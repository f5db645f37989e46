//! Calls as they end, for whoever looks on: told by the thread that has brought them into the tables, and only while
//! somebody does.
//!
//! What is told is bounded, whoever looks on and however slowly: [`AHEAD`] batches of [`BATCH_MAX`] calls. Calls have
//! numbers, so that those that went by unseen are counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::RequestId;

use crate::entry::{Entry, RequestRecord};
use crate::log::filter::RequestFilter;

/// Batches that may wait for one who looks on.
const AHEAD: usize = 8;
/// Calls of a batch that are told: the newest.
const BATCH_MAX: usize = 512;

/// A call that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedCall {
    /// Its record.
    pub record: Box<RequestRecord>,
    /// How its attempts failed.
    pub failures: Vec<FailureClass>,
}

/// Calls that ended at about the same time.
#[derive(Debug)]
pub(crate) struct Told {
    /// The number of the first.
    first: u64,
    calls: Vec<EndedCall>,
}

/// Tells of calls.
#[derive(Debug)]
pub(crate) struct Teller {
    sender: broadcast::Sender<Arc<Told>>,
    /// Calls that were told of, or left out, so far.
    count: AtomicU64,
}

impl Default for Teller {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(AHEAD), count: AtomicU64::new(0) }
    }
}

impl Teller {
    /// Tells of the calls that these entries end, and takes them out; does nothing while nobody looks on.
    pub(crate) fn tell(&self, entries: &mut Vec<Entry>) {
        if self.sender.receiver_count() == 0 || entries.is_empty() {
            return;
        }
        let (mut calls, mut failures) = (Vec::new(), HashMap::new());
        for entry in entries.drain(..) {
            if let Entry::Attempts { request, attempts } = entry {
                let failed = attempts.iter().filter_map(|attempt| attempt.failure);
                failures.insert(request, failed.collect::<Vec<_>>());
            } else if let Some(record) = into_record(entry) {
                let failures = failures.remove(&record.request).unwrap_or_default();
                calls.push(EndedCall { record, failures });
            }
        }
        let count = calls.len() as u64;
        let before = self.count.fetch_add(count, Ordering::AcqRel);
        let unsaid = calls.len().saturating_sub(BATCH_MAX);
        calls.drain(..unsaid);
        // Whoever looked on may have left.
        let _told = self.sender.send(Arc::new(Told { first: before + unsaid as u64, calls }));
    }

    /// From now on.
    pub(crate) fn ended(&self) -> Ended {
        let receiver = self.sender.subscribe();
        Ended { receiver, next: self.count.load(Ordering::Acquire) }
    }
}

fn into_record(entry: Entry) -> Option<Box<RequestRecord>> {
    match entry {
        Entry::Settle { record, .. } | Entry::Void { record, .. } | Entry::Record(record) => Some(record),
        Entry::Lent { settle, .. } => into_record(*settle),
        Entry::Hold { .. } | Entry::Event(_) | Entry::Attempts { .. } | Entry::Borrow(_) => None,
    }
}

/// The calls that end from a moment on.
#[derive(Debug)]
pub struct Ended {
    receiver: broadcast::Receiver<Arc<Told>>,
    /// The number of the next call.
    next: u64,
}

/// The next calls that ended.
#[derive(Debug, Default)]
pub struct EndedCalls {
    /// Those that a filter lets through, at most so many as were asked for: the newest.
    pub calls: Vec<EndedCall>,
    /// Calls that were not looked at, or not told.
    pub skipped: u64,
}

impl Ended {
    /// Waits for the next calls; `None` when the ledger has ended. Cancel-safe.
    pub async fn next(&mut self, filter: &RequestFilter, calls_max: usize) -> Option<EndedCalls> {
        let told = loop {
            match self.receiver.recv().await {
                Ok(told) => break told,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        };
        let mut skipped = told.first.saturating_sub(self.next);
        self.next = told.first + told.calls.len() as u64;
        let wanted: Vec<&EndedCall> = told.calls.iter().filter(|call| filter.lets_through(call)).collect();
        let unsaid = wanted.len().saturating_sub(calls_max);
        skipped += unsaid as u64;
        Some(EndedCalls { calls: wanted.into_iter().skip(unsaid).cloned().collect(), skipped })
    }
}

impl RequestFilter {
    /// Whether a call is one of those that a page of the log has with this filter.
    #[must_use]
    pub fn lets_through(&self, call: &EndedCall) -> bool {
        let record = &*call.record;
        let at_least = |least: Option<u64>, has: Option<u64>| least.is_none_or(|least| has >= Some(least));
        let tokens = record.usage.prompt_total().saturating_add(record.usage.output_total());
        self.named(record)
            && any(&self.failures, |class| call.failures.contains(class))
            && at_least(self.attempts_min.map(u64::from), Some(u64::from(record.attempts)))
            && at_least(self.latency_ms_min, Some(record.latency_ms))
            && at_least(self.ttft_ms_min, record.ttft_ms)
            && at_least(self.tokens_min, Some(tokens))
            && self.charge_min.is_none_or(|least| record.charge >= least)
            && self.from.is_none_or(|from| record.request > RequestId::new(from, [0; 10]))
            && self.until.is_none_or(|until| record.request < RequestId::new(until, [0; 10]))
            && self.before.is_none_or(|before| record.request < before)
    }

    fn named(&self, record: &RequestRecord) -> bool {
        let is = |known: Option<&str>, name: &String| known == Some(name.as_str());
        let (provider, model) = (record.provider.as_deref(), known_model(record));
        let components = &record.components;
        let took_part = [components.adapter, components.selector, components.pricing, components.filter];
        any(&self.users, |user| record.user == *user)
            && !self.not_users.contains(&record.user)
            && any(&self.api_keys, |key| record.api_key == Some(*key))
            && any(&self.credentials, |credential| record.credential == Some(*credential))
            && any(&self.protocols, |protocol| record.protocol == Some(*protocol))
            && any(&self.operations, |operation| record.operation == Some(*operation))
            && any(&self.providers, |name| is(provider, name))
            && any(&self.models, |name| is(model, name))
            && self.model_part.as_ref().is_none_or(|part| {
                let part = part.to_ascii_lowercase();
                model.is_some_and(|model| model.to_ascii_lowercase().contains(&part))
            })
            && any(&self.outcomes, |outcome| record.outcome == *outcome)
            && any(&self.statuses, |status| record.status == Some(*status))
            && any(&self.components, |digest| took_part.contains(&Some(*digest)))
    }
}

/// The model of a record, where it was known: anyone can name one that is not.
fn known_model(record: &RequestRecord) -> Option<&str> {
    let known = record.attempts > 0 || record.price_version.is_some();
    record.model.as_deref().filter(|_| known)
}

/// Whether one of the values is right, or there are none.
fn any<T>(values: &[T], right: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(right)
}

#[cfg(test)]
mod tests {
    use super::{AHEAD, BATCH_MAX, Teller};
    use crate::entry::{Entry, RequestRecord};
    use crate::log::filter::RequestFilter;
    use tollgate_core::id::{RequestId, UserId};
    use tollgate_core::time::Timestamp;

    fn records(count: usize) -> Vec<Entry> {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let (request, user) = (RequestId::new(at, [1; 10]), UserId::new(at, [2; 10]));
        vec![Entry::Record(Box::new(RequestRecord::new(request, user, at))); count]
    }

    #[tokio::test]
    async fn what_goes_by_unseen_is_counted_and_nothing_is_kept_for_nobody() {
        let (teller, all) = (Teller::default(), RequestFilter::default());
        let mut unheard = records(3);
        teller.tell(&mut unheard);
        assert_eq!(unheard.len(), 3, "they are not even looked at");
        let mut ended = teller.ended();
        let mut news = async |count: usize, calls_max: usize| {
            teller.tell(&mut records(count));
            let news = ended.next(&all, calls_max).await.unwrap();
            (news.calls.len(), news.skipped)
        };
        assert_eq!(news(3, 9).await, (3, 0));
        assert_eq!(news(5, 2).await, (2, 3), "a viewer takes no more than it asks for");
        assert_eq!(news(BATCH_MAX + 7, BATCH_MAX).await, (BATCH_MAX, 7), "a batch is bounded");
        for _ in 0..AHEAD + 2 {
            teller.tell(&mut records(10));
        }
        let mut seen = (0, 0);
        for _ in 0..AHEAD {
            let news = ended.next(&all, 100).await.unwrap();
            seen = (seen.0 + news.calls.len(), seen.1 + news.skipped);
        }
        assert_eq!(seen, (10 * AHEAD, 20), "one who is slow misses the oldest, and is told how many");
    }
}
