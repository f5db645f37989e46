//! The data path, its files in the order in which a request meets them:
//!
//! `read` → `authenticate` → `limit` → `filter` → `charge` (reserve) → (`select` → `adapt` → `forward`)* → `relay` ⇒ `meter` →
//! `charge` (settle) → `record`.
//!
//! Nothing here reads a database or knows a provider by name.

pub(crate) mod adapt;
pub(crate) mod authenticate;
pub(crate) mod charge;
pub(crate) mod context;
pub(crate) mod course;
pub(crate) mod error;
pub(crate) mod filter;
pub(crate) mod forward;
pub(crate) mod limit;
pub(crate) mod meter;
pub(crate) mod models;
mod platform;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod relay;
pub(crate) mod select;
pub(crate) mod window;

use std::rc::Rc;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::RequestId;
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::Protocol;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_runtime::Exchange;

pub(crate) use self::relay::Outgoing;

use self::adapt::Passage;
use self::charge::{Pending, Ticket};
use self::course::{Course, Step};
use self::error::ProxyError;
use self::forward::{Failed, Reply};
use self::limit::Permit;
use self::meter::Meter;
use self::read::Inbound;
use self::relay::Relay;
use self::select::{Lease, Wanted};
use self::window::{Passed, Window};
use crate::bodies::Copying;
use crate::destination::{Destination, Leg, Stage, Unserved};
use crate::directory::{Caller, Directory};
use crate::gates::{Full, Place};
use crate::road::Road;
use crate::router::{self, Call, Route};
use crate::tokens::TokenError;
use crate::trial::{self, detail};
use crate::upstream::Shape;
use crate::worker::Worker;

/// The header in which every answer names its request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-tollgate-request-id");

/// One call of a client, from its head to its answer's first byte.
pub(crate) struct Arrival {
    /// Its id.
    pub(crate) id: RequestId,
    /// By the clock that cannot jump.
    pub(crate) started: Instant,
    /// By the calendar.
    pub(crate) at: Timestamp,
}

/// Answers one request, whatever it is.
pub(crate) async fn handle(worker: Rc<Worker>, request: Request<Incoming>) -> Response<Outgoing> {
    let arrival = worker.arrival();
    let id = arrival.id.to_string();
    let (mut parts, body) = request.into_parts();
    let mut copying = None;
    let (protocol, answer) = match router::route(&parts.method, parts.uri.path()) {
        Route::Call(call) => {
            let (protocol, trial) = (call.protocol, worker.shared.trials.take(&mut parts.headers));
            let answer = match trial {
                None => proxy(&worker, arrival, call, parts, body, &mut copying).await,
                // In a box, so that every other call's future is no larger for it.
                Some(trial) => {
                    let tried = proxy(&worker, arrival, call, parts, body, &mut copying);
                    Box::pin(trial::scope(trial, tried)).await
                }
            };
            (protocol, answer)
        }
        Route::Models(name) => models::answer(&worker, arrival.at, parts, name),
        Route::WrongMethod { protocol, allowed } => (protocol, Err(ProxyError::MethodNotAllowed(allowed))),
        Route::Unknown(protocol) => (protocol, Err(ProxyError::UnknownPath)),
    };
    let mut response = answer.unwrap_or_else(|error| error.response(protocol, &id));
    worker.shared.metrics.answered(protocol, response.status());
    // A UUID is always a header value.
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    match copying {
        None => response,
        Some(copying) => copied(response, copying),
    }
}

/// The same answer; its bytes are copied as they go.
fn copied(response: Response<Outgoing>, mut copying: Box<Copying>) -> Response<Outgoing> {
    copying.answer(forward::is_event_stream(response.headers()));
    response.map(|body| Outgoing::Copied(Box::new(relay::Copied { body, copying })))
}

/// One call, in order. The caller is known before his body is read, so that a stranger's is not.
async fn proxy(
    worker: &Rc<Worker>,
    arrival: Arrival,
    call: Call,
    parts: Parts,
    body: Incoming,
    copying: &mut Option<Box<Copying>>,
) -> Result<Response<Outgoing>, ProxyError> {
    let (mut headers, mut query) = (parts.headers, parts.uri.query().unwrap_or_default().to_owned());
    let key = authenticate::take_key(&mut headers, &mut query);
    let directory = worker.shared.directory.load_full();
    let caller = match trial::caller() {
        Some(caller) => caller,
        None => authenticate::caller(&directory, key.as_deref(), arrival.at)?,
    };
    trial::note(
        "authenticate",
        || detail!({"user": caller.user.to_string(), "key": caller.api_key.to_string()}),
    );
    let (protocol, at) = (call.protocol, arrival.at);
    let (permit, standing) = limit::admit(&caller, &call, at)?.unzip();
    trial::note("limit", || limit::told(&caller, standing.as_ref()));
    adapt::strip(&mut headers);
    let inbound = read::inbound(call, headers, query, body, &worker.shared.settings.limits).await?;
    if caller.keep_bodies {
        *copying = Some(worker.shared.bodies.begin(arrival.id, caller.api_key, &inbound.body));
    }
    let (inbound, turns_dropped) = context::fit(&caller, inbound, arrival.id)?;
    let patience = worker.shared.settings.limits.concurrency_timeout_ms.duration();
    let place = worker.shared.gates.enter(arrival.started + patience).await;
    let place = place.map_err(|_| ProxyError::Busy)?;
    trial::note("read", || inbound.told());
    let road = worker.road();
    let (inbound, destination, mut ticket) =
        admit(worker, arrival, &road, &directory, &caller, permit, inbound).await?;
    if let Some(pending) = ticket.pending() {
        pending.place = place;
    }
    let mut answer = dispatch(worker, &road, &directory, &caller, &inbound, &destination, ticket).await?;
    if let Some(standing) = standing {
        limit::tell(answer.headers_mut(), &standing, protocol, at);
    }
    context::tell(answer.headers_mut(), turns_dropped);
    Ok(answer)
}

/// Filter and reservation: what must be decided before anything is sent.
async fn admit<'r>(
    worker: &Worker,
    arrival: Arrival,
    road: &'r Rc<Road>,
    directory: &'r Directory,
    caller: &Arc<Caller>,
    permit: Option<Permit>,
    mut inbound: Inbound,
) -> Result<(Inbound, Destination<'r>, Ticket), ProxyError> {
    let mut pending = Pending {
        id: arrival.id,
        started: arrival.started,
        admitted_at: arrival.at,
        caller: Arc::clone(caller),
        permit,
        road: Rc::clone(road),
        protocol: inbound.protocol,
        operation: inbound.operation,
        model: Arc::from(inbound.model.as_str()),
        streaming: inbound.streaming,
        priced: None,
        hold: None,
        input_estimate: charge::input_estimate(&inbound),
        attempts: 0,
        tries: Vec::new(),
        lease: None,
        place: Place::default(),
        status: 0,
        first_byte: None,
        meter: None,
        filter_hash: None,
        error: None,
        trial: trial::current(),
        outcome: Outcome::Refused,
    };
    let admitted = (|| {
        limit::model(caller, &inbound.model)?;
        let destination = destination(road, directory, caller, arrival.at, &inbound)?;
        if let Some((stage, leg)) = destination.first() {
            pending.serve_by(directory, stage, leg);
        }
        filter::screen(road, &mut inbound).map_err(|refusal| {
            pending.filter_hash = refusal.hash;
            refusal.error
        })?;
        trial::note("filter", || detail!({"passed": true, "component": road.generation.filter().is_some()}));
        if pending.priced.is_none() {
            return Ok(destination);
        }
        let owners = select::owners(&destination, directory, caller);
        let default_max = worker.shared.settings.limits.default_output_tokens_max;
        let pricing = road.generation.pricing().ok_or(ProxyError::Policy("pricing"))?;
        let amount = charge::dearest(
            pricing,
            &destination,
            caller.price_rate,
            &inbound,
            owners,
            default_max,
            arrival.at,
        )?;
        charge::reserve(caller, amount)?;
        pending.hold = Some(amount);
        if let Some(permit) = &mut pending.permit {
            permit.expect(pending.input_estimate);
        }
        Ok(destination)
    })();
    let (hold, model) = (pending.hold, Arc::clone(&pending.model));
    let ticket = Ticket::new(pending, worker.ended.clone());
    let destination = match admitted {
        Ok(destination) => destination,
        Err(error) => {
            ticket.fail(&error, Outcome::Refused);
            return Err(error);
        }
    };
    // The ticket exists before the wait: a client that leaves during it gets its hold voided.
    if let Some(amount) = hold
        && let Err(error) = record::hold(worker, &model, caller, arrival.id, amount, arrival.at).await
    {
        tracing::error!(%error, request = %arrival.id, "a hold could not be written");
        ticket.fail(&ProxyError::Unavailable, Outcome::Refused);
        return Err(ProxyError::Unavailable);
    }
    Ok((inbound, destination, ticket))
}

/// Who may serve a request that came `at` this moment: of the models that may stand in, those that the caller's key may call.
///
/// # Errors
/// 404 for a model without a price, 503 where its provider is switched off, 400 where it takes no such calls in the client's
/// protocol.
fn destination<'r>(
    road: &'r Road,
    directory: &'r Directory,
    caller: &Caller,
    at: Timestamp,
    inbound: &Inbound,
) -> Result<Destination<'r>, ProxyError> {
    let Inbound { protocol, operation, streaming, .. } = *inbound;
    let call = Shape { protocol, operation, streaming };
    let found = Destination::find(road, directory.prices.at(at), call, &inbound.model);
    let mut destination = found.map_err(|unserved| match unserved {
        Unserved::Unpriced => ProxyError::UnknownModel(inbound.model.clone()),
        Unserved::SwitchedOff => ProxyError::NoCredential,
        Unserved::Foreign => {
            let (model, operation) = (&inbound.model, operation.name());
            let words =
                format!("`{model}` cannot be called so: its provider has no {operation} for this protocol.");
            ProxyError::bad_request(words, Some("model"))
        }
    })?;
    destination.stages.retain(|stage| limit::model(caller, &stage.model).is_ok());
    limit::providers(caller, &mut destination)?;
    if destination.stages.is_empty() { Err(ProxyError::NoCredential) } else { Ok(destination) }
}

/// Tries who may serve until one answers, or nobody is left, or the failure is the request's own.
async fn dispatch(
    worker: &Rc<Worker>,
    road: &Rc<Road>,
    directory: &Directory,
    caller: &Caller,
    inbound: &Inbound,
    destination: &Destination<'_>,
    mut ticket: Ticket,
) -> Result<Response<Outgoing>, ProxyError> {
    let id = ticket.id();
    let limits = &worker.shared.settings.limits;
    let conversations = &worker.shared.conversations;
    let conversation =
        conversations.name(caller.user, &inbound.headers, &inbound.body, |name| inbound.member(name));
    let deadline = ticket.started() + limits.request_timeout_ms.duration();
    let mut course = Course::new(destination, limits.attempts_max.0);
    let mut failure: Option<ProxyError> = None;
    loop {
        let now = worker.now();
        let wanted = Wanted {
            known: conversation.and_then(|conversation| conversations.recall(conversation, now)),
            tokens: charge::input_estimate(inbound),
            request_ms: limits.request_timeout_ms.get(),
            now,
        };
        let Step { stage, leg, mut lease } = match course.next(directory, caller, &wanted) {
            Ok(step) => step,
            Err(error @ ProxyError::Policy(_)) => return Err(give_up(ticket, error)),
            // What the last attempt met says more than that no other is left.
            Err(error) => return Err(give_up(ticket, failure.unwrap_or(error))),
        };
        let until = deadline.min(Instant::now() + limits.concurrency_timeout_ms.duration());
        match worker.shared.gates.enter_provider(&lease.upstream.name, until).await {
            Ok(place) => lease.place = place,
            Err(Full) => return Err(give_up(ticket, failure.unwrap_or(ProxyError::Busy))),
        }
        if let Some(pending) = ticket.pending() {
            pending.attempts += 1;
            pending.serve_by(directory, stage, leg);
            if !record::borrow(worker, pending, &mut lease) {
                return Err(give_up(ticket, ProxyError::Unavailable));
            }
        }
        let token = token(worker, &lease).await;
        let begun = Instant::now();
        let made = attempt(worker, inbound, (stage, leg), &lease, &token, id, deadline).await;
        let (sent, passage) = match made {
            Ok(made) => made,
            Err(error) => return Err(unmade(ticket, error)),
        };
        match sent {
            Ok(reply) => {
                lease.succeed();
                record::note_attempt(&mut ticket, &lease, Some(reply.head.status.as_u16()), None, begun);
                if let Some(conversation) = conversation {
                    conversations.note(conversation, lease.credential().id, worker.now());
                }
                return answer(worker, road, inbound, passage, reply, lease, ticket).await;
            }
            Err(failed)
                if failed.failure.class == FailureClass::InvalidCredential
                    && stale(worker, &lease, &token) =>
            {
                // Only the token was refused: the credential has another chance with the next one.
                course.again();
                record::note_attempt(&mut ticket, &lease, failed.status, Some(failed.failure.class), begun);
                note_failure(worker, &mut ticket, lease, &failed.detail);
                failure = Some(failed.error);
            }
            Err(failed) => {
                lease.fail(failed.failure.class, failed.failure.retry_after_ms, worker.now());
                course.failed(failed.failure.class);
                record::note_attempt(&mut ticket, &lease, failed.status, Some(failed.failure.class), begun);
                note_failure(worker, &mut ticket, lease, &failed.detail);
                if let Some((head, body)) = failed.answer {
                    return match passage.exchange {
                        None => Ok(refusal_of_upstream(&head, body, ticket)),
                        Some(exchange) => Err(give_up(ticket, in_other_words(exchange, &head, &body))),
                    };
                }
                if !failed.retry {
                    return Err(give_up(ticket, failed.error));
                }
                failure = Some(failed.error);
            }
        }
    }
}

/// Makes the upstream request and sends it.
///
/// # Errors
/// When the request cannot be made at all: no other credential would change that.
async fn attempt(
    worker: &Worker,
    inbound: &Inbound,
    (stage, leg): (&Stage<'_>, &Leg<'_>),
    lease: &Lease,
    token: &Token,
    id: RequestId,
    deadline: Instant,
) -> Result<(Result<Reply, Failed>, Passage), ProxyError> {
    let bearer = match token {
        Ok(bearer) => bearer.as_deref(),
        Err(error) => return Ok((Err(forward::tokenless(*error)), Passage::default())),
    };
    let mut attempt = adapt::request(inbound, leg, lease, bearer, id, worker.now())?;
    let passage = std::mem::take(&mut attempt.passage);
    trial::note("adapt", || {
        detail!({
            "provider": &*lease.upstream.name, "model": &*stage.model,
            "protocol": lease.spoken.protocol.name(), "translated": passage.exchange.is_some(),
        })
    });
    let limits = &worker.shared.settings.limits;
    Ok((forward::send(&worker.pool, attempt, lease, limits, deadline).await, passage))
}

type Token = Result<Option<Arc<Secret>>, TokenError>;

/// The access token that stands for a credential, where its platform wants one.
async fn token(worker: &Worker, lease: &Lease) -> Token {
    let Some(terms) = &lease.upstream.terms else { return Ok(None) };
    worker.shared.tokens.bearer(lease.credential(), &terms.scheme, worker.now()).await
}

/// Whether a refused token can be replaced. Each is given up once, by the first whom it failed.
fn stale(worker: &Worker, lease: &Lease, token: &Token) -> bool {
    let Ok(Some(token)) = token else { return false };
    worker.shared.tokens.refused(lease.credential(), token)
}

/// Ends a request that cannot be said to its provider, or whose adapter failed.
fn unmade(ticket: Ticket, error: ProxyError) -> ProxyError {
    let refused = matches!(error, ProxyError::Translated { .. });
    ticket.fail(&error, if refused { Outcome::Refused } else { Outcome::UpstreamError });
    error
}

fn give_up(ticket: Ticket, error: ProxyError) -> ProxyError {
    ticket.fail(&error, Outcome::UpstreamError);
    error
}

fn note_failure(worker: &Worker, ticket: &mut Ticket, lease: Lease, detail: &str) {
    let credential = lease.credential();
    worker.shared.metrics.attempt_failed();
    if let Some(pending) = ticket.pending() {
        tracing::warn!(
            request = %pending.id, attempt = pending.attempts, provider = credential.provider,
            credential = %credential.id, detail, "attempt failed"
        );
        pending.error = Some(detail.to_owned());
        pending.lease = Some(lease);
    }
}

/// The provider's own answer to a request that is at fault, word for word.
fn refusal_of_upstream(
    head: &http::response::Parts,
    body: bytes::Bytes,
    mut ticket: Ticket,
) -> Response<Outgoing> {
    if let Some(pending) = ticket.pending() {
        pending.status = head.status.as_u16();
    }
    ticket.finish(Outcome::UpstreamError);
    let mut response = Response::new(Outgoing::from(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = client_headers(&head.headers, false);
    response
}

/// The provider's answer to a request that is at fault, in the client's protocol.
fn in_other_words(mut exchange: Exchange, head: &http::response::Parts, body: &[u8]) -> ProxyError {
    exchange.failure(head.status.as_u16(), body).map_or(ProxyError::Internal, ProxyError::from)
}

/// Turns an upstream's answer into the client's.
async fn answer(
    worker: &Rc<Worker>,
    road: &Rc<Road>,
    inbound: &Inbound,
    passage: Passage,
    reply: Reply,
    lease: Lease,
    mut ticket: Ticket,
) -> Result<Response<Outgoing>, ProxyError> {
    let Reply { head, first, body } = reply;
    let Passage { withhold, mut exchange } = passage;
    let events = forward::is_event_stream(&head.headers);
    let taps = Rc::clone(lease.upstream.taps(lease.spoken.protocol));
    let (mut window, unchanged) = (Window::new(road), withhold.is_none());
    let meter = if events { Meter::events(taps, withhold) } else { Meter::whole(taps) };
    if let Some(pending) = ticket.pending() {
        pending.lease = Some(lease);
    }
    ticket.answered(head.status, meter);
    let told_events = if exchange.is_some() { inbound.streaming && !inbound.wants_array() } else { events };
    let headers = match exchange {
        None => client_headers(&head.headers, unchanged && window.is_none()),
        Some(_) => translated_headers(told_events),
    };
    let limits = &worker.shared.settings.limits;
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
    let mut collected = bytes::BytesMut::new();
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
fn translated_whole(mut exchange: Exchange, answer: &[u8]) -> Result<bytes::Bytes, ProxyError> {
    // What went wrong with the component has been logged where it happened.
    let translated = exchange.answer(answer).map_err(|_| ProxyError::Internal)?;
    translated.map(bytes::Bytes::from).map_err(|words| {
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
fn client_headers(upstream: &HeaderMap, unchanged: bool) -> HeaderMap {
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

/// The protocol of a model list, by what the client's headers show.
pub(crate) fn listing_protocol(parts: &Parts) -> Protocol {
    let has = |name: &str| parts.headers.contains_key(name);
    let query_key =
        parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("key=")));
    let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    if has("anthropic-version") || (has("x-api-key") && !has(header::AUTHORIZATION.as_str())) {
        Protocol::AnthropicMessages
    } else if has("x-goog-api-key")
        || query_key
        || agent.contains("google-genai")
        || parts.uri.path().starts_with("/v1beta")
    {
        Protocol::Gemini
    } else {
        Protocol::OpenaiChat
    }
}
