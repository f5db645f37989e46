//! The call as the upstream wants it, in an envelope that holds no secret.
//!
//! Same protocol in and out is data work alone: the client's bytes with declared splices, and of its headers and query
//! what the adapter's plan lets pass ([`carried`](super::carried)). Otherwise the adapter translates the body.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use tollgate_core::json::{self, Kind, Value};
use tollgate_core::price::ModelPrice;
use tollgate_core::time::Timestamp;

use super::carried::{self, EVENTS, JSON};
use super::error::ProxyError;
use super::exchange::{self, Asked, Translation};
use super::mark;
use super::platform;
use super::read::{Inbound, own_query};
use super::request::Request;
use super::select::Lease;
use crate::routing::plan::Target;
use crate::state::memory::{Memory, Share, Spent};
use crate::transport::body::{Chained, Splice};
use crate::upstream::envelope::{Envelope, EnvelopeError};
use crate::upstream::{CallKind, StreamOption, envelope};

/// A call ready to be sent by whoever holds the secret.
pub(crate) struct Outbound {
    /// The call.
    pub(crate) envelope: Envelope,
    /// Room for its body until it is sent, where it needs some.
    pub(crate) sending: Option<Share>,
    /// How its answer comes back.
    pub(crate) response_path: ResponsePath,
}

/// What an answer goes through on its way to the client.
#[derive(Default)]
pub(crate) struct ResponsePath {
    /// Top-level member that is empty in the event that the client did not ask for, where one is caused.
    pub(crate) withhold: Option<String>,
    /// What translates it, where client and upstream speak different protocols.
    pub(crate) exchange: Option<Translation>,
    /// Room for what that holds.
    pub(crate) held: Option<Share>,
    /// What of the request it has left out.
    pub(crate) left_out: Option<HeaderValue>,
}

/// What an attempt sends, but for what every attempt sends.
struct Message {
    headers: HeaderMap,
    query: Cow<'static, str>,
    body: Chained,
    /// Room for the body, where it is not the client's own.
    sending: Option<Share>,
    response_path: ResponsePath,
}

/// Puts the call of one attempt, made at `now` for the client's `request`, into an envelope.
///
/// # Errors
/// What the client is told of a request that cannot be translated; [`ProxyError::Unavailable`] when nobody can
/// translate it now, and [`ProxyError::Internal`] when the adapter's templates give no valid request.
pub(crate) async fn request(
    memory: &Arc<Memory>,
    inbound: &Inbound,
    target: &Target<'_>,
    lease: &Lease,
    request: &Request,
    now: Timestamp,
) -> Result<Outbound, ProxyError> {
    let upstream = &lease.upstream;
    let model = target.model.as_deref().unwrap_or(&inbound.model);
    if matches!(model, "." | "..") {
        // As a segment of a path, these lead to another one.
        return Err(ProxyError::bad_request("The model's name is not valid.", Some("model")));
    }
    let (own, session) = (lease.upstream_call == target.call, inbound.is_realtime());
    let no_session =
        || ProxyError::bad_request(format!("`{model}` has no Realtime sessions here."), Some("model"));
    let Message { mut headers, query, mut body, sending, response_path } = match own {
        true => passed(inbound, target, lease),
        false if session => return Err(no_session()),
        false => translated(memory, inbound, lease, (model, target.price, request, now)).await?,
    };
    if let Some(terms) = &upstream.terms {
        body = platform::edited(body, &mut headers, &terms.edits);
    }
    let (method, target) = match &inbound.kept {
        None => (Method::POST, upstream.target(lease.upstream_call, model, &query)),
        Some(kept) => kept.addressed((upstream, lease.upstream_call), &inbound.headers, &mut headers),
    };
    let mut path = target.ok_or(ProxyError::NoCredential)?;
    if session {
        path = mark::realtime_path(&path, model).ok_or_else(no_session)?;
    }
    let message = envelope::Message { method, target: path, model: Some(model.into()), headers, body };
    let envelope = upstream.envelope(&upstream.endpoint, message).map_err(|error| match error {
        EnvelopeError::Target => {
            ProxyError::bad_request("The model's name or the query is not valid.", Some("model"))
        }
        EnvelopeError::Header(_) => ProxyError::Internal,
    })?;
    Ok(Outbound { envelope, sending, response_path })
}

/// The client's own bytes.
fn passed(inbound: &Inbound, target: &Target<'_>, lease: &Lease) -> Message {
    let mut splices = inbound.splices.clone();
    let other = target.model.as_deref().or(inbound.renamed.then_some(&*inbound.model));
    splices.extend(other.and_then(|model| rename(inbound, model)));
    let mut response_path = ResponsePath::default();
    if let Some(option) = lease.upstream.stream_option(inbound.protocol).filter(|_| inbound.streaming)
        && let Some(splice) = splice_option(inbound, option)
    {
        splices.push(splice);
        response_path.withhold = Some(option.withhold_when_empty.clone());
    }
    let body = Chained::spliced(&inbound.body, &mut splices);
    let mut headers = carried::headers(&inbound.headers, lease.upstream.client_headers(), inbound.accepted());
    if let Some(form) = &inbound.form {
        headers.insert(header::CONTENT_TYPE, form.content_type.clone());
    }
    Message {
        headers,
        query: carried::query(&inbound.query, lease.upstream.client_parameters(inbound.operation)).into(),
        body,
        sending: None,
        response_path,
    }
}

/// The same request in the upstream's protocol.
async fn translated(
    memory: &Arc<Memory>,
    inbound: &Inbound,
    lease: &Lease,
    (model, price, request, now): (&str, Option<&ModelPrice>, &Request, Timestamp),
) -> Result<Message, ProxyError> {
    let CallKind { protocol, streaming, .. } = lease.upstream_call;
    let asked = Asked {
        client: inbound.protocol,
        upstream: protocol,
        operation: inbound.operation,
        model: model.to_owned(),
        id: request.id,
        now_s: now.millis() / 1000,
        streaming,
        json_array: inbound.wants_array(),
        output_limit: price.map_or(u64::MAX, |price| price.output_tokens_max.max(1)),
        strict: request.caller.wants_strict_translation(),
    };
    let adapter = &lease.upstream.adapter;
    let (exchange, body) = exchange::begin(adapter, asked, &inbound.body, &inbound.splices).await?;
    let (mut held, mut sending) = (memory.share(), memory.share());
    let weight = exchange.held_bytes();
    held.grow_to(weight).and_then(|()| sending.grow_to(body.len())).map_err(|Spent| ProxyError::Full)?;
    let accepted = if streaming { EVENTS } else { JSON };
    let left_out = exchange::left_out(&exchange);
    let response_path = ResponsePath { withhold: None, exchange: Some(exchange), held: Some(held), left_out };
    Ok(Message {
        headers: carried::headers(&inbound.headers, &[], accepted),
        query: own_query(protocol, streaming).into(),
        body,
        sending: Some(sending),
        response_path,
    })
}

/// The splice that gives the model the provider's own name for it, where the body names it at all.
fn rename(inbound: &Inbound, model: &str) -> Option<Splice> {
    if let Some(form) = &inbound.form {
        let (range, _) = form.text(&inbound.body, "model")?;
        return Some(insertion(range, model.to_owned()));
    }
    let value = inbound.member("model")?;
    Some(insertion(value.start..value.end, json::quote(model)))
}

/// The splice that sets `object.member` to true, or `None` when the client already did.
fn splice_option(inbound: &Inbound, option: &StreamOption) -> Option<Splice> {
    let StreamOption { object, member, .. } = option;
    let Some(value) = inbound.member(object) else {
        let end = memchr::memrchr(b'}', &inbound.body)?;
        let comma = if inbound.members.is_empty() { "" } else { "," };
        return Some(insertion(end..end, format!(r#"{comma}"{object}":{{"{member}":true}}"#)));
    };
    if value.kind != Kind::Object {
        return Some(insertion(value.start..value.end, format!(r#"{{"{member}":true}}"#)));
    }
    let (mut present, mut any): (Option<Value>, bool) = (None, false);
    // The whole body has been validated, so its parts cannot fail.
    let _valid = json::members_of(&inbound.body, value, |name, value| {
        any = true;
        if name == member.as_bytes() {
            present = Some(value);
        }
    });
    match present {
        Some(value) if json::boolean(&inbound.body, value) == Some(true) => None,
        Some(value) => Some(insertion(value.start..value.end, "true".to_owned())),
        None => {
            let comma = if any { "," } else { "" };
            Some(insertion(value.end - 1..value.end - 1, format!(r#"{comma}"{member}":true"#)))
        }
    }
}

fn insertion(range: std::ops::Range<usize>, with: String) -> Splice {
    Splice { range, with: Bytes::from(with) }
}
