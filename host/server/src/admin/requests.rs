//! The request log over HTTP: a user's own, and everyone's for an admin.

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{self, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use tollgate_core::id::RequestId;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};

use super::answer::Answer;
use super::ask::{Ask, Caller, Nothing, Page, window};
use super::error::Problem;
use super::reply::Reply;
use super::usage::named;
use crate::manage::{self, LogCall, LogEntry, LogShape, RequestFilter, RequestRecord, Window, moment};

/// Which calls. What is left out does not matter.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// A user's, by name or id. One's own without it; for an admin, everyone's.
    user: Option<String>,
    /// Called with this API key, by its id.
    key: Option<String>,
    /// Served last by this credential, by its id.
    credential: Option<String>,
    /// The wire format of the client.
    protocol: Option<String>,
    /// What was asked for, such as `generate`.
    operation: Option<String>,
    /// Who served it.
    provider: Option<String>,
    /// The model that was named.
    model: Option<String>,
    /// How it ended, such as `ok`.
    outcome: Option<String>,
    /// The HTTP status of the answer.
    status: Option<u16>,
    /// A component that took part, by its SHA-256.
    component: Option<String>,
    /// At least so many attempts.
    attempts_min: Option<u32>,
    /// At least so many milliseconds to the end.
    latency_ms_min: Option<u64>,
    /// At least so many milliseconds to the first byte.
    ttft_ms_min: Option<u64>,
    /// At least so many tokens.
    tokens_min: Option<u64>,
    /// At least so many points.
    points_min: Option<String>,
    /// Since this date (UTC), or moment in milliseconds.
    from: Option<String>,
    /// Before this date, or moment in milliseconds.
    until: Option<String>,
    /// `next_cursor` of the page before. A page may be short, even empty, and still have a next one.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default. An export has no pages.
    limit: Option<usize>,
}

/// `GET /management/v1/requests`
pub(super) async fn list(ask: Ask<Nothing, Filter>) -> Result<Page<LogEntry>, Problem> {
    let Window { after: before, limit } = window(ask.query.cursor.as_deref(), ask.query.limit)?;
    let filter = filter(&ask.caller, ask.query).await?;
    let filter = RequestFilter { before, limit: u32::try_from(limit).unwrap_or(u32::MAX), ..filter };
    let page = ask.caller.management.requests(&filter).await?;
    let admin = ask.caller.actor.is_admin();
    Ok(Page::shown(page, |record: RequestRecord| shown(LogEntry::from(&record), admin)))
}

/// `GET /management/v1/requests/{request}`
pub(super) async fn show(ask: Ask<RequestId>) -> Result<LogCall, Problem> {
    let actor = &ask.caller.actor;
    let found = ask.caller.management.request(ask.path).await;
    let (_, LogCall { entry, tries }) = actor.own(found, |(user, _)| *user)?;
    Ok(LogCall { entry: shown(entry, actor.is_admin()), tries })
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
    let filter = filter(&ask.caller, ask.query).await?;
    let export = ask.caller.management.export(filter, S::SHAPE, ask.caller.actor.is_admin());
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

/// What only operators are to know stays away from others.
fn shown(entry: LogEntry, admin: bool) -> LogEntry {
    if admin { entry } else { LogEntry { error: None, ..entry } }
}

/// The filter that a query means; a user's covers that user's own calls.
async fn filter(caller: &Caller, query: Filter) -> Result<RequestFilter, Problem> {
    let everyone = query.user.is_none() && caller.actor.is_admin();
    let user = match everyone {
        true => None,
        false => Some(named(&caller.management, &caller.actor, query.user.as_deref()).await?),
    };
    let points = query.points_min.as_deref().map(|text| {
        Micropoints::parse_points(text)
            .ok_or_else(|| Problem::bad_request("`points_min` is a decimal number."))
    });
    Ok(RequestFilter {
        user,
        api_key: read(query.key.as_deref(), "key", |text| text.parse().ok())?,
        credential: read(query.credential.as_deref(), "credential", |text| text.parse().ok())?,
        protocol: read(query.protocol.as_deref(), "protocol", |text| {
            Protocol::ALL.into_iter().find(|it| it.name() == text)
        })?,
        operation: read(query.operation.as_deref(), "operation", |text| {
            Operation::ALL.into_iter().find(|it| it.name() == text)
        })?,
        provider: query.provider,
        model: query.model,
        outcome: read(query.outcome.as_deref(), "outcome", |text| {
            Outcome::ALL.into_iter().find(|it| it.name() == text)
        })?,
        status: query.status,
        component: read(query.component.as_deref(), "component", digest)?,
        attempts_min: query.attempts_min,
        latency_ms_min: query.latency_ms_min,
        ttft_ms_min: query.ttft_ms_min,
        tokens_min: query.tokens_min,
        charge_min: points.transpose()?,
        from: read(query.from.as_deref(), "from", |text| moment(text).ok())?,
        until: read(query.until.as_deref(), "until", |text| moment(text).ok())?,
        ..RequestFilter::default()
    })
}

/// A member of the query by its reader.
fn read<T>(
    text: Option<&str>,
    name: &str,
    reader: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    reader(text).map(Some).ok_or_else(|| Problem::bad_request(format!("`{name}` is not one.")))
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}
