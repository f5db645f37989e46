//! Calls as they end, for those who look on: the rows of the list, by the filter of the list.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::ask::{Ask, Nothing};
use super::error::Problem;
use super::events::{Events, Source, event};
use super::log_filter::Filter;
use crate::manage::{Ended, EndedCalls, LogNames, LogReader, Management, RequestFilter, RequestRecord};

/// Calls of a quarter of a second that a viewer is shown; others are counted.
const CALLS_MAX: usize = 100;
/// How long names are believed to be what they were.
const NAMES: Duration = Duration::from_secs(60);

/// `GET /management/v1/requests/tail`
pub(super) async fn tail(ask: Ask<Nothing, Filter>) -> Result<Events, Problem> {
    let caller = &ask.caller;
    let reader = caller.actor.reader()?;
    let filter = ask.query.read(caller).await?;
    let ended = caller.admin.shared.writer.ended();
    let (names, named_at) = (LogNames::new(reader), Instant::now());
    let source = Tail { management: caller.management.clone(), reader, filter, ended, names, named_at };
    Events::of(&caller.admin, &caller.actor, source)
}

struct Tail {
    management: Management,
    reader: LogReader,
    filter: RequestFilter,
    ended: Ended,
    names: LogNames,
    named_at: Instant,
}

impl Source for Tail {
    type News = EndedCalls;

    async fn wait(&mut self) -> Option<EndedCalls> {
        self.ended.next(&self.filter, CALLS_MAX).await
    }

    async fn write(&mut self, text: &mut Vec<u8>, news: EndedCalls) -> bool {
        if news.skipped > 0 {
            event(text, "skipped", &json!({"calls": news.skipped}));
        }
        if self.named_at.elapsed() >= NAMES {
            (self.names, self.named_at) = (LogNames::new(self.reader), Instant::now());
        }
        let records: Vec<RequestRecord> = news.calls.into_iter().map(|call| *call.record).collect();
        match self.management.named_entries(&mut self.names, &records).await {
            Ok(entries) => {
                entries.iter().for_each(|entry| event(text, "call", entry));
                true
            }
            Err(error) => {
                tracing::error!(%error, "a tail of the request log ends");
                false
            }
        }
    }
}
