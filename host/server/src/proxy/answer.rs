//! The beginning of an answer: what an upstream says becomes the client's, as a stream or, where something must see it
//! whole, at once; or the client is told why there is none.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body as _;
use tollgate_core::ending::Ending;
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::Operation;

use super::adapt::ResponsePath;
use super::dialect::ErrorDialect;
use super::error::{ENCODINGS, ProxyError, is_final};
use super::exchange::{self, Translation};
use super::files::kept::Kept;
use super::flow::Flow;
use super::forward::Reply;
use super::limit;
use super::meter::Meter;
use super::read::Inbound;
use super::relay::{Outgoing, Relay};
use super::select::Lease;
use super::states::{Answered, Attempting};
use super::ticket::Ticket;
use super::window::{Passed, Window};
use crate::config::Limits;
use crate::state::memory::Memory;

/// Clients that wait for as long as they are told would seem to hang for longer than this.
const PATIENCE_MS_MAX: u64 = 60_000;

/// By this header, OpenAI and Anthropic tell their clients whether to try again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

const NO: HeaderValue = HeaderValue::from_static("false");

/// Names what of the request its translation has left out.
const LEFT_OUT: HeaderName = HeaderName::from_static("x-tollgate-left-out");

/// Turns an upstream's answer into the client's.
pub(super) async fn begin(
    (limits, memory): (&Limits, &Arc<Memory>),
    inbound: &Inbound,
    response_path: ResponsePath,
    reply: Reply,
    lease: Lease,
    ticket: Ticket<Attempting>,
) -> Result<Response<Outgoing>, ProxyError> {
    let Reply { head, first, body, events, legible, came } = reply;
    let ResponsePath { withhold, mut exchange, held, left_out } = response_path;
    let mut window = ticket.request().screen().filter(|_| has_words(inbound)).and_then(Window::new);
    // Into what is passed on within its packing no word can be put.
    let packed = exchange.is_none() && head.headers.contains_key(header::CONTENT_ENCODING);
    let told_events =
        if exchange.is_some() { inbound.streaming && !inbound.wants_array() } else { events && !packed };
    let mut headers = match exchange {
        None => client_headers(head.headers, withhold.is_none() && window.is_none()),
        Some(_) => translated_headers(told_events),
    };
    if let Some(names) = left_out {
        headers.insert(LEFT_OUT, names);
    }
    let list = inbound.kept.as_deref().inspect(|kept| kept.tell(&mut headers)).filter(|kept| kept.is_list());
    if list.is_some() {
        headers.remove(header::CONTENT_LENGTH);
    }
    let meter = meter(inbound, &lease, (events, legible), withhold).within(memory.share());
    let ticket = ticket.answer(lease, (head.status, came), meter);
    let mut flow = Flow::new(body, first, ticket, (events, told_events), limits);
    if inbound.streaming {
        flow.translate(exchange.take(), held);
    }
    if told_events {
        flow.screen(window.take());
    }
    // What is left needs the answer as a whole.
    let collects = exchange.is_some() || window.is_some() || list.is_some();
    let outgoing = match collects {
        // In a box: it would be the largest part of every request's future, and few have need of it.
        true => {
            Box::pin(collected(flow, (limits.answer_bytes_max, memory), (exchange, list), window)).await?
        }
        false => Relay::new(flow).into(),
    };
    let mut response = Response::new(outgoing);
    *response.status_mut() = head.status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Whether an answer has any words in it: a picture has none, and neither has speech, or what is said of a file.
pub(super) fn has_words(inbound: &Inbound) -> bool {
    let silent =
        matches!(inbound.operation, Operation::MakeImages | Operation::EditImages | Operation::Speak);
    !silent && inbound.kept.is_none()
}

/// What looks at the bytes of an answer.
fn meter(
    inbound: &Inbound,
    lease: &Lease,
    (events, legible): (bool, bool),
    withhold: Option<String>,
) -> Meter {
    let call = lease.upstream_call;
    let taps = Rc::clone(lease.upstream.taps(call.protocol));
    let streams = (inbound.streaming || events) && inbound.operation.generates();
    let ending = streams.then(|| Ending::new(call.protocol, call.operation));
    let meter = if events { Meter::events(taps, withhold) } else { Meter::whole(taps) };
    let meter = if inbound.is_realtime() { meter.sounding() } else { meter };
    if legible { meter.until(ending) } else { meter.until(ending).illegible() }
}

/// An answer that must be seen as a whole, to be translated or told apart by the filter before the client sees a byte.
async fn collected(
    flow: Flow,
    (bytes_max, memory): (usize, &Arc<Memory>),
    (translation, list): (Option<Translation>, Option<&Kept>),
    window: Option<Window>,
) -> Result<Outgoing, ProxyError> {
    let mut share = memory.share();
    let (answer, ticket) = flow.collect(bytes_max, &mut share).await?;
    let operation = ticket.request().call.operation;
    let answer = match translation {
        None if let Some(list) = list => list.own(&answer).into(),
        None => answer.into(),
        Some(translation) => match exchange::whole(translation, operation, answer, ticket.request().id).await
        {
            Ok(answer) => answer,
            Err(error) => {
                let mut ticket = ticket;
                ticket.undelivered(0);
                return Err(replaced(ticket, error));
            }
        },
    };
    let Some(mut window) = window else {
        ticket.finish(Outcome::Ok);
        return Ok(Outgoing::Chained(answer));
    };
    match window.whole(answer.joined()) {
        Passed::On(bytes) => {
            ticket.finish(Outcome::Ok);
            Ok(Outgoing::from(bytes))
        }
        Passed::Blocked { hash, .. } => {
            let mut ticket = ticket;
            if hash.is_none() {
                // It is the policy that failed.
                ticket.undelivered(0);
            }
            ticket.filtered(hash);
            Err(replaced(ticket, ProxyError::Filtered))
        }
    }
}

/// The answer came, but the client gets this error in its place.
fn replaced(ticket: Ticket<Answered>, error: ProxyError) -> ProxyError {
    ticket.replace(&error, Outcome::Partial);
    error
}

/// The answer to a client that gets none of a provider.
pub(super) fn refusal(error: &ProxyError, dialect: ErrorDialect, request_id: &str) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::from(Bytes::from(error.body(dialect, request_id))));
    *response.status_mut() = error.status(dialect.protocol);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let wait = error.try_again_ms();
    if let Some(ms) = wait {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
    }
    if wait.is_none_or(|ms| ms > PATIENCE_MS_MAX) {
        headers.insert(SHOULD_RETRY, NO);
    }
    if let ProxyError::LimitReached(reached) = error {
        limit::tell(headers, &reached.standing, dialect.protocol, reached.at);
    }
    match error {
        ProxyError::MethodNotAllowed(allowed) => {
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        ProxyError::UnsupportedEncoding => {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ENCODINGS));
        }
        ProxyError::UpgradeNotServed => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
        }
        _ => {}
    }
    if matches!(error, ProxyError::MissingKey | ProxyError::InvalidKey) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The answer to whoever wants to know whether anybody is here.
pub(super) fn greeting() -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::from(Bytes::from_static(b"ok\n")));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The answer to whoever asks what a path takes.
pub(super) fn options(allowed: &'static str) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::from(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The same answer, of which the client wants the head alone.
pub(super) fn without_body(response: Response<Outgoing>) -> Response<Outgoing> {
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_| Outgoing::from(Bytes::new()));
    if let Some(length) = length.filter(|_| response.status() != StatusCode::NO_CONTENT) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// The headers of a provider's own refusal, which says whether another try can fare better: as the provider does, or
/// by its status where that is certain.
pub(super) fn refusal_headers(upstream: &HeaderMap, status: StatusCode) -> HeaderMap {
    let mut headers = client_headers(upstream.clone(), false);
    if is_final(status.as_u16()) {
        headers.entry(SHOULD_RETRY).or_insert(NO);
    }
    headers
}

/// Headers of an answer that was translated: none of the provider's fits it.
fn translated_headers(events: bool) -> HeaderMap {
    let kind = if events { "text/event-stream" } else { "application/json" };
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
}

/// What of an upstream's headers the client sees: nothing about the connection, the operator's account or cookies.
pub(super) fn client_headers(upstream: HeaderMap, unchanged: bool) -> HeaderMap {
    let stopped: Vec<HeaderName> = upstream.keys().filter(|name| stopped(name, unchanged)).cloned().collect();
    let mut headers = upstream;
    for name in stopped {
        headers.remove(name);
    }
    headers
}

fn stopped(name: &HeaderName, unchanged: bool) -> bool {
    match *name {
        header::CONTENT_LENGTH => !unchanged,
        header::CONNECTION
        | header::TRANSFER_ENCODING
        | header::TRAILER
        | header::UPGRADE
        | header::SET_COOKIE
        | header::ALT_SVC
        | header::STRICT_TRANSPORT_SECURITY
        | header::WWW_AUTHENTICATE
        | header::PROXY_AUTHENTICATE => true,
        _ => {
            let name = name.as_str();
            // Few names have a `z` or a `j`: to look for one letter is a fifth of the work.
            let operators = memchr::memchr2(b'z', b'j', name.as_bytes()).is_some()
                && (name.contains("organization") || name.contains("project"));
            // Which pages may read an answer is not the provider's to say.
            name == "keep-alive" || name.starts_with("access-control-") || operators
        }
    }
}
