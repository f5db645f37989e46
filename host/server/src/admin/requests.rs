//! The request log over HTTP: a user's own, and everyone's for an admin.

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{self, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tollgate_core::id::RequestId;
use tollgate_core::time::Timestamp;

use super::answer::Answer;
use super::ask::{Ask, Nothing, Page, window};
use super::error::Problem;
use super::log_filter::{Filter, With};
use super::reply::Reply;
use super::usage::Amounts;
use crate::manage::{
    self, LogCall, LogEntry, LogShape, Pace, Percentiles, RequestFilter, SumName, SumSlice, Used, Window,
};

/// What sums are told apart by.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sliced {
    /// What rows are told apart by; without it there is one row.
    #[serde(default)]
    by: SumSlice,
}

/// What times are told apart by.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Paced {
    /// What rows are told apart by; without it they are of all calls.
    #[serde(default)]
    by: SumSlice,
    /// Spans of time by which they are told apart too: `minute`, `hour` or `day` (UTC).
    every: Option<SumSlice>,
}

/// How long the calls of one row took.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PaceRow {
    /// What they have in common, as in the sums.
    name: Option<String>,
    /// The id of a user, a key or a credential.
    id: Option<String>,
    /// When the span of time began.
    at_ms: Option<u64>,
    /// Calls, refused ones too.
    requests: u64,
    /// Those that ended otherwise than with a whole answer.
    failed: u64,
    /// To the end.
    latency_ms: Times,
    /// To the first byte; null where none came.
    ttft_ms: Option<Times>,
}

/// What so many of a hundred took at most, in milliseconds.
#[derive(Debug, Serialize, JsonSchema)]
struct Times {
    p50: u64,
    p90: u64,
    p95: u64,
    p99: u64,
}

impl From<Percentiles> for Times {
    fn from(Percentiles { p50, p90, p95, p99 }: Percentiles) -> Self {
        Self { p50, p90, p95, p99 }
    }
}

/// How long calls took.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Paces {
    /// A row for each name and span of time.
    data: Vec<PaceRow>,
    /// Where they go on, as `cursor`: not null where there are more calls than are looked at at once.
    next_cursor: Option<String>,
}

/// The calls of one row, added up.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SumRow {
    /// What they have in common: a name, a status, or when a minute, an hour or a day began (UTC). Null where they have
    /// nothing of the kind.
    name: Option<String>,
    /// The id of a user, a key or a credential.
    id: Option<String>,
    /// When a minute, an hour or a day began.
    at_ms: Option<u64>,
    #[serde(flatten)]
    used: Amounts,
}

/// Calls, added up.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Sums {
    /// A row for each name.
    data: Vec<SumRow>,
    /// All rows together.
    total: Amounts,
    /// Where the sums go on, as `cursor`: not null where there are more calls than are looked at at once. Sums of all
    /// calls of a day or a year are those of `/usage`.
    next_cursor: Option<String>,
}

/// `GET /management/v1/requests`
pub(super) async fn list(ask: Ask<Nothing, Filter>) -> Result<Page<LogEntry>, Problem> {
    let Window { after: before, limit } = window(ask.query.cursor.as_deref(), ask.query.limit)?;
    let filter = ask.query.read(&ask.caller).await?;
    let filter = RequestFilter { before, limit: u32::try_from(limit).unwrap_or(u32::MAX), ..filter };
    let page = ask.caller.management.log(&filter, ask.caller.actor.reader()?).await?;
    Ok(Page::shown(page, |entry| entry))
}

/// `GET /management/v1/requests/sums`
pub(super) async fn sums(ask: Ask<Nothing, With<Sliced>>) -> Result<Sums, Problem> {
    let With { filter, other: Sliced { by } } = ask.query;
    let filter = filter.read(&ask.caller).await?;
    let (rows, next) = ask.caller.management.log_sums(&filter, by, ask.caller.actor.reader()?).await?;
    let mut total = Used::default();
    rows.iter().for_each(|(_, used)| total.add(used));
    let data = rows.iter().map(|(label, used)| SumRow {
        name: label.name.clone(),
        id: label.id.clone(),
        at_ms: label.at.map(Timestamp::millis),
        used: used.into(),
    });
    Ok(Sums { data: data.collect(), total: (&total).into(), next_cursor: next.map(|next| next.to_string()) })
}

/// `GET /management/v1/requests/latency`
pub(super) async fn latency(ask: Ask<Nothing, With<Paced>>) -> Result<Paces, Problem> {
    let With { filter, other: Paced { by, every } } = ask.query;
    let filter = filter.read(&ask.caller).await?;
    let reader = ask.caller.actor.reader()?;
    let (rows, next) = ask.caller.management.log_paces(&filter, by, every, reader).await?;
    let row = |(label, pace): (SumName, Pace)| PaceRow {
        name: label.name,
        id: label.id,
        at_ms: label.at.or(pace.of.1).map(Timestamp::millis),
        requests: pace.requests,
        failed: pace.failed,
        latency_ms: pace.latency.into(),
        ttft_ms: pace.ttft.map(Into::into),
    };
    Ok(Paces { data: rows.into_iter().map(row).collect(), next_cursor: next.map(|next| next.to_string()) })
}

/// `GET /management/v1/requests/{request}`
pub(super) async fn show(ask: Ask<RequestId>) -> Result<LogCall, Problem> {
    let actor = &ask.caller.actor;
    let found = ask.caller.management.request(ask.path, actor.reader()?).await;
    Ok(actor.own(found, |(user, _)| *user)?.1)
}

/// `GET /management/v1/requests/export.jsonl`
pub(super) async fn export_jsonl(ask: Ask<Nothing, Filter>) -> Result<Lines<Jsonl>, Problem> {
    export(ask).await
}

/// `GET /management/v1/requests/export.csv`
pub(super) async fn export_csv(ask: Ask<Nothing, Filter>) -> Result<Lines<Csv>, Problem> {
    export(ask).await
}

async fn export<S: Written>(ask: Ask<Nothing, Filter>) -> Result<Lines<S>, Problem> {
    let filter = ask.query.read(&ask.caller).await?;
    let export = ask.caller.management.export(filter, S::SHAPE, ask.caller.actor.reader()?);
    Ok(Lines(export, std::marker::PhantomData))
}

/// How an export is written.
pub(super) trait Written {
    const SHAPE: LogShape;
    const MEDIA_TYPE: &'static str;
}

/// One JSON object a line.
pub(super) struct Jsonl;

impl Written for Jsonl {
    const SHAPE: LogShape = LogShape::Jsonl;
    const MEDIA_TYPE: &'static str = "application/x-ndjson";
}

/// Values between commas.
pub(super) struct Csv;

impl Written for Csv {
    const SHAPE: LogShape = LogShape::Csv;
    const MEDIA_TYPE: &'static str = "text/csv";
}

/// An export: read from the database as fast as the caller takes it, and no faster.
pub(super) struct Lines<S>(manage::Export, std::marker::PhantomData<S>);

impl<S: Written> Reply for Lines<S> {
    fn answer(self) -> Result<Answer, Problem> {
        let frames = stream::unfold(self.0, |mut export| async move {
            let lines = export.next().await.transpose()?;
            Some((lines.map(|lines| Frame::data(Bytes::from(lines))), export))
        });
        let mut answer = Answer::new(StreamBody::new(frames).boxed_unsync());
        *answer.status_mut() = StatusCode::OK;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(S::MEDIA_TYPE));
        Ok(answer)
    }

    fn schema(_: &mut SchemaGenerator) -> Option<(&'static str, Schema)> {
        Some((S::MEDIA_TYPE, json_schema!({"type": "string"})))
    }
}
