//! One attempt at one upstream, up to the first byte of its answer. What goes wrong until then may be tried
//! elsewhere; nothing after it is.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use http::response::Parts;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};
use tollgate_core::failure::FailureClass;
use tollgate_core::protocol::{Operation, Owner};
use tollgate_core::retry::Phase;
use tollgate_core::shape::Shape;
use tollgate_core::time::Timestamp;
use tollgate_core::wait::{RetryAfter, wait_ms};
use tollgate_runtime::{Failure, Framing, Refusal};

use super::carried::{EVENTS, JSON};
use super::error::{ProxyError, Rejected};
use super::select::Lease;
use crate::clock::{before, now};
use crate::config::Limits;
use crate::state::tokens::TokenError;
use crate::transport::{Answer, AnswerBody, AnswerError, SendError, Transports};
use crate::upstream::authorize::Authorized;
use crate::upstream::permission::Missing;

/// Most bytes of an error answer that are read and passed on.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of it that the adapter sees.
const CLASSIFIED_BYTES_MAX: usize = 16 * 1024;

/// Media type of a stream in binary messages.
const FRAMED: &str = "application/vnd.amazon.eventstream";

/// An upstream that answers.
pub(crate) struct Reply {
    /// Status and headers.
    pub(crate) head: Parts,
    /// The first piece of the body; `None` when the wait for it was given up to keep the client's connection alive.
    pub(crate) first: Option<Bytes>,
    /// The rest.
    pub(crate) body: AnswerBody,
    /// Whether it is a stream of events.
    pub(crate) events: bool,
    /// Whether text can be found in it.
    pub(crate) legible: bool,
    /// When that was known.
    pub(crate) came: Instant,
}

/// An attempt that gave no answer to relay.
pub(crate) struct Failed {
    /// What it means.
    pub(crate) class: FailureClass,
    /// How long the provider asks to wait.
    pub(crate) retry_after: Option<RetryAfter>,
    /// How far it had come.
    pub(crate) phase: Phase,
    /// The status of the answer, where there was one.
    pub(crate) status: Option<u16>,
    /// What the caller is told if this was the last attempt.
    pub(crate) error: ProxyError,
    /// The provider's own answer, for the caller to see where the request is at fault.
    pub(crate) answer: Option<(Parts, Bytes)>,
    /// For the log and the record. Holds no secret: provider bodies are not part of it.
    pub(crate) detail: String,
}

/// Sends one attempt and waits for the first byte of the answer, for no longer than `deadline`, nor than is waited for
/// a first byte of an attempt that has `begun` then. Where it `opens` the answer, that is handed out plain, however it
/// came packed.
///
/// # Errors
/// [`Failed`] for everything that is no answer: no connection, silence, an error status, an empty body.
pub(crate) async fn send(
    transports: &Transports,
    request: Authorized,
    lease: &Lease,
    limits: &Limits,
    (opens, begun, deadline): (bool, Instant, Instant),
) -> Result<Reply, Failed> {
    let deadline = deadline.min(begun + limits.upstream_first_byte_timeout_ms.duration());
    let Answer { mut head, mut body } = match timeout_at(deadline, request.send(transports)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error @ SendError::NoRoom { .. })) => {
            return Err(Failed { error: ProxyError::Busy, ..transient(error.to_string()) });
        }
        Ok(Err(error)) => return Err(unsent(&error)),
        Err(_) => return Err(silent()),
    };
    if head.status.is_client_error() || head.status.is_server_error() {
        return Err(refused(head, body, lease).await);
    }
    if !head.status.is_success() {
        let status = head.status.as_u16();
        return Err(Failed { status: Some(status), ..transient(format!("status {status}")) });
    }
    let framed = lease.upstream.terms.as_ref().is_some_and(|terms| terms.framing == Framing::AwsEventStream);
    body.look_inside(&head.headers, opens || framed);
    if framed && kind(&head.headers).starts_with(FRAMED) {
        body.unframe();
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        head.headers.remove(header::CONTENT_LENGTH);
    }
    first_piece(head, body, lease, deadline, limits).await
}

/// Waits for the first piece of a good answer, but for a stream no longer than a client waits in silence.
async fn first_piece(
    mut head: Parts,
    mut body: AnswerBody,
    lease: &Lease,
    deadline: Instant,
    limits: &Limits,
) -> Result<Reply, Failed> {
    let patience = Duration::from_millis(limits.stream_keep_alive_ms);
    let give_up = is_event_stream(&head.headers) && !patience.is_zero();
    let until = if give_up { deadline.min(Instant::now() + patience) } else { deadline };
    loop {
        let frame = before(|| until, pin!(body.frame())).await;
        match frame {
            None if give_up && until < deadline => {
                body.settle(&mut head.headers);
                let came = Instant::now();
                return Ok(Reply { head, first: None, body, events: true, legible: true, came });
            }
            None => return Err(silent()),
            // Of a file that goes up there is nothing to say.
            Some(None) if lease.upstream_call.operation.keeps_files() => {
                let (legible, came) = (is_legible(kind(&head.headers), &head.headers), Instant::now());
                return Ok(Reply { head, first: None, body, events: false, legible, came });
            }
            Some(None) => return Err(transient("an empty answer".to_owned())),
            Some(Some(Err(AnswerError::Said { kind, words }))) => {
                return Err(broken_off(lease, &kind, &words));
            }
            Some(Some(Err(error))) => {
                return Err(transient(format!("the answer broke before its first byte: {error}")));
            }
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if !data.is_empty() || body.peek().is_some_and(|seen| !seen.is_empty()) => {
                    let status = Some(head.status.as_u16());
                    let page = || Failed { status, ..unreadable("a page in place of an answer") };
                    return begun(head, data, body, lease).ok_or_else(page);
                }
                _ => {}
            },
        }
    }
}

/// An answer that has begun with `first`. What that is counts more than what the head says of it; `None` for a page.
fn begun(mut head: Parts, first: Bytes, body: AnswerBody, lease: &Lease) -> Option<Reply> {
    body.settle(&mut head.headers);
    let shape = Shape::of(body.peek().filter(|seen| !seen.is_empty()).unwrap_or(&first));
    // What is spoken or written down may begin with anything.
    let shape = shape.filter(|_| !is_media(lease.upstream_call.operation));
    if shape == Some(Shape::Page) {
        return None;
    }
    let kind = kind(&head.headers);
    let (legible, events) = (shape.is_some() || is_legible(kind, &head.headers), is_events(kind));
    let (events, kind) = match shape {
        Some(Shape::Events) if !events => (true, Some(EVENTS)),
        Some(Shape::Json) if events || is_vague(kind) => (false, Some(JSON)),
        _ => (events, None),
    };
    if let Some(kind) = kind {
        head.headers.insert(header::CONTENT_TYPE, kind);
    }
    Some(Reply { head, first: Some(first), body, events, legible, came: Instant::now() })
}

const fn is_media(operation: Operation) -> bool {
    matches!(operation, Operation::Speak | Operation::Transcribe | Operation::TranslateSpeech)
}

/// Whether an answer does not say what it is, or what anything may be.
fn is_vague(kind: &str) -> bool {
    matches!(kind.split(';').next(), Some("" | "text/plain" | "text/html"))
}

/// Whether an answer says that it is a stream of events.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    is_events(kind(headers))
}

fn is_events(kind: &str) -> bool {
    kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
}

/// Whether an answer says that it is of a kind in which text can be found, and not encoded in another way.
fn is_legible(kind: &str, headers: &HeaderMap) -> bool {
    let kind = kind.trim_start();
    let named = |name: &str| kind.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
    let plain = || headers.get(header::CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    (kind.is_empty() || ["application/json", "text/"].into_iter().any(named)) && plain()
}

fn kind(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// An attempt that could not be made for want of an access token.
pub(crate) fn tokenless(error: TokenError) -> Failed {
    let class = error.class();
    let failed = transient(error.to_string());
    Failed { class, error: ProxyError::Upstream { class, retry_after_ms: None, own: false }, ..failed }
}

/// An attempt that was not made: its component names a host that nobody has allowed it to send keys to.
pub(crate) fn not_permitted(missing: &Missing) -> Failed {
    let (class, error) = (FailureClass::Permission, ProxyError::NotPermitted);
    Failed { class, error, ..transient(missing.to_string()) }
}

/// An error status: read, classified by the adapter, and weighed.
async fn refused(mut head: Parts, mut body: AnswerBody, lease: &Lease) -> Failed {
    body.look_inside(&head.headers, true);
    let body = error_body(body, &mut head.headers).await;
    let status = head.status.as_u16();
    let plan = lease.upstream.adapter.plan();
    let header = |name: &String| head.headers.get(name)?.to_str().ok();
    let refusal = Refusal {
        status,
        retry_after_ms: retry_after_ms(&head, &plan.reset_headers, now()),
        kind: plan.error_header.as_ref().and_then(header).unwrap_or_default(),
        body: &body[..body.len().min(CLASSIFIED_BYTES_MAX)],
    };
    let of_network = if Shape::of(&body) == Some(Shape::Page) { of_page(status) } else { None };
    let (class, retry_after) = match of_network {
        Some(class) => (class, None),
        None => classified(lease, &refusal),
    };
    Failed {
        class,
        retry_after,
        phase: Phase::Unanswered,
        status: Some(status),
        error: told(lease, status, class, retry_after),
        // A model that one credential lacks is one that there is not, if no other has it.
        answer: (class.blames_request() || status == 404).then_some((head, body)),
        detail: format!("status {status}: {}", class.name()),
    }
}

/// What a page of such a status means. It is of a network in between, and tells that there is no way to the provider,
/// but nothing of a key, and how long it asks to wait is nobody's limit.
const fn of_page(status: u16) -> Option<FailureClass> {
    match status {
        401..=403 => Some(FailureClass::Unknown),
        429 | 500..=599 => Some(FailureClass::Transient),
        _ => None,
    }
}

/// A stream that began with a failure: nothing of it has gone anywhere.
fn broken_off(lease: &Lease, kind: &str, words: &[u8]) -> Failed {
    let body = &words[..words.len().min(CLASSIFIED_BYTES_MAX)];
    let (class, retry_after) = classified(lease, &Refusal { status: 0, retry_after_ms: None, kind, body });
    let error = if class.blames_request() {
        ProxyError::Rejected(Rejected::new(class, 400, body))
    } else {
        told(lease, 0, class, retry_after)
    };
    let detail = format!("the stream began with a failure: {}", class.name());
    Failed { class, retry_after, error, ..transient(detail) }
}

/// What the adapter makes of a refusal.
fn classified(lease: &Lease, refusal: &Refusal<'_>) -> (FailureClass, Option<RetryAfter>) {
    let unknown = Failure { class: FailureClass::Unknown, retry_after_ms: refusal.retry_after_ms };
    let Failure { class, retry_after_ms } = lease.upstream.adapter.classify(refusal).unwrap_or(unknown);
    (class, retry_after_ms.map(RetryAfter::from_ms))
}

/// What the caller is told of a failure that is not the request's: a model that a credential lacks is not found, where
/// its provider says so.
fn told(lease: &Lease, status: u16, class: FailureClass, retry_after: Option<RetryAfter>) -> ProxyError {
    let own = lease.credential().owner == Owner::User;
    let class = match class {
        FailureClass::Permission if status == 404 => FailureClass::NotFound,
        class => class,
    };
    ProxyError::Upstream { class, retry_after_ms: retry_after.map(RetryAfter::ms), own }
}

/// Reads an error body as far as it is wanted, without patience for a slow one.
async fn error_body(mut body: AnswerBody, headers: &mut HeaderMap) -> Bytes {
    let mut read = BytesMut::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                read.extend_from_slice(&data[..data.len().min(ERROR_BODY_BYTES_MAX - read.len())]);
            }
            if read.len() == ERROR_BODY_BYTES_MAX {
                break;
            }
        }
    };
    // As much as came in time.
    let _in_time = timeout(Duration::from_secs(5), reading).await;
    body.settle(headers);
    read.freeze()
}

/// How long the provider asks to wait: `retry-after-ms`, or `retry-after`, or, of a rate limit, the latest of the
/// moments at which `resets` say that one is lifted.
fn retry_after_ms(head: &Parts, resets: &[String], now: Timestamp) -> Option<u64> {
    let value = |name: &str| head.headers.get(name)?.to_str().ok();
    let exact = value("retry-after-ms").and_then(|ms| ms.trim().parse().ok());
    let told = exact.or_else(|| wait_ms(value("retry-after")?, now));
    let limited = head.status == StatusCode::TOO_MANY_REQUESTS;
    let lifted = || resets.iter().filter_map(|name| wait_ms(value(name)?, now)).max();
    told.or_else(|| if limited { lifted() } else { None })
}

fn unsent(error: &SendError) -> Failed {
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    transient(format!("{error}{cause}"))
}

fn transient(detail: String) -> Failed {
    let class = FailureClass::Transient;
    Failed {
        class,
        retry_after: None,
        phase: Phase::Unanswered,
        status: None,
        error: ProxyError::Upstream { class, retry_after_ms: None, own: false },
        answer: None,
        detail,
    }
}

/// An answer that is none of a provider.
fn unreadable(detail: &str) -> Failed {
    let class = FailureClass::Unknown;
    let error = ProxyError::Upstream { class, retry_after_ms: None, own: false };
    Failed { class, error, ..transient(detail.to_owned()) }
}

fn silent() -> Failed {
    let detail = "no first byte in time".to_owned();
    Failed { error: ProxyError::UpstreamTimeout, phase: Phase::Silent, ..transient(detail) }
}
