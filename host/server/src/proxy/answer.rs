//! The beginning of step 8: an upstream's answer becomes the client's, as a stream or, where something must see it whole, at once.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use tollgate_core::ending::Ending;
use tollgate_core::outcome::Outcome;
use tollgate_runtime::Exchange;

use super::adapt::ResponsePath;
use super::charge::Ticket;
use super::error::ProxyError;
use super::forward::{self, Reply};
use super::lane::Lane;
use super::meter::Meter;
use super::read::Inbound;
use super::relay::{self, Outgoing, Relay};
use super::select::Lease;
use super::window::{Passed, Window};
use crate::routing::snapshot::RoutingSnapshot;

/// Turns an upstream's answer into the client's.
pub(super) async fn begin(
    lane: &Rc<Lane>,
    snapshot: &Rc<RoutingSnapshot>,
    inbound: &Inbound,
    response_path: ResponsePath,
    reply: Reply,
    lease: Lease,
    mut ticket: Ticket,
) -> Result<Response<Outgoing>, ProxyError> {
    let Reply { head, first, body } = reply;
    let ResponsePath { withhold, mut exchange } = response_path;
    let events = forward::is_event_stream(&head.headers);
    let taps = Rc::clone(lease.upstream.taps(lease.upstream_call.protocol));
    let (mut window, unchanged) = (Window::new(snapshot), withhold.is_none());
    let streams = inbound.streaming && inbound.operation.generates();
    let ending = streams.then(|| Ending::new(lease.upstream_call.protocol, lease.upstream_call.operation));
    let meter = if events { Meter::events(taps, withhold) } else { Meter::whole(taps) }.until(ending);
    if let Some(pending) = ticket.pending() {
        pending.lease = Some(lease);
    }
    ticket.answered(head.status, meter);
    let told_events = if exchange.is_some() { inbound.streaming && !inbound.wants_array() } else { events };
    let headers = match exchange {
        None => client_headers(&head.headers, unchanged && window.is_none()),
        Some(_) => translated_headers(told_events),
    };
    let limits = &lane.shared.settings.limits;
    let deadline = ticket.started() + limits.request_timeout_ms.duration();
    let mut relay = Relay::new(body, first, ticket, told_events, limits, deadline);
    if inbound.streaming {
        relay.translate(exchange.take());
    }
    if told_events {
        relay.screen(window.take());
    }
    // What is left needs the answer as a whole.
    let collects = exchange.is_some() || window.is_some();
    let outgoing =
        if collects { collected(relay, exchange, window).await? } else { Outgoing::Relay(Box::new(relay)) };
    let mut response = Response::new(outgoing);
    *response.status_mut() = head.status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// An answer that must be seen as a whole, to be translated or told apart by the filter before the client sees a byte.
async fn collected(
    mut relay: Relay,
    exchange: Option<Exchange>,
    window: Option<Window>,
) -> Result<Outgoing, ProxyError> {
    let mut collected = BytesMut::new();
    relay.settle_later();
    let mut body = Outgoing::Relay(Box::new(relay));
    while let Some(frame) = body.frame().await {
        let data = frame.ok().and_then(|frame| frame.into_data().ok());
        let Some(data) = data else { return Err(ProxyError::UpstreamTimeout) };
        collected.extend_from_slice(&data);
    }
    let Outgoing::Relay(mut relay) = body else { return Err(ProxyError::Internal) };
    let answer = match exchange {
        None => collected.freeze(),
        Some(exchange) => match translated_whole(exchange, &collected) {
            Ok(answer) => answer,
            Err(error) => {
                relay.spoil(&error);
                return Err(error);
            }
        },
    };
    let passed = match window {
        None => Passed::On(answer),
        Some(mut window) => window.whole(answer),
    };
    match passed {
        Passed::On(bytes) => {
            relay.settle(Outcome::Ok);
            Ok(Outgoing::from(bytes))
        }
        Passed::Blocked { hash, .. } => {
            relay.refuse(hash);
            Err(ProxyError::Filtered)
        }
    }
}

/// A whole answer in the client's protocol.
fn translated_whole(mut exchange: Exchange, answer: &[u8]) -> Result<Bytes, ProxyError> {
    // What went wrong with the component has been logged where it happened.
    let translated = exchange.answer(answer).map_err(|_| ProxyError::Internal)?;
    translated.map(Bytes::from).map_err(|words| {
        tracing::warn!(words, "an upstream's answer is not of its protocol");
        relay::UPSTREAM_BROKE
    })
}

/// Headers of an answer that was translated: none of the provider's fits it.
fn translated_headers(events: bool) -> HeaderMap {
    let kind = if events { "text/event-stream" } else { "application/json" };
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
}

/// What of an upstream's headers the client sees: nothing about the connection, the operator's account or cookies.
pub(super) fn client_headers(upstream: &HeaderMap, unchanged: bool) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(upstream.len() + 2);
    for (name, value) in upstream {
        if !stopped(name, unchanged) {
            headers.append(name.clone(), value.clone());
        }
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
            name == "keep-alive" || name.contains("organization") || name.contains("project")
        }
    }
}
