//! The data path, its files in the order in which a request meets them:
//!
//! `read` → `authenticate` → `limit` → `filter` → `charge` (reserve) → (`select` → `adapt` → `forward`)* → `answer` → `relay` ⇒
//! `meter` → `charge` (settle) → `record`.
//!
//! What stands in parentheses is `dispatch`, in the order of `attempts`. Nothing here reads a database or knows a provider by
//! name.

pub(crate) mod adapt;
mod answer;
pub(crate) mod attempts;
pub(crate) mod authenticate;
pub(crate) mod charge;
pub(crate) mod context;
mod dispatch;
pub(crate) mod error;
pub(crate) mod filter;
pub(crate) mod forward;
pub(crate) mod lane;
pub(crate) mod limit;
pub(crate) mod meter;
pub(crate) mod models;
pub(crate) mod platform;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod relay;
pub(crate) mod router;
pub(crate) mod select;
pub(crate) mod window;

use std::rc::Rc;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use tollgate_core::id::RequestId;
use tollgate_core::outcome::Outcome;
use tollgate_core::time::Timestamp;

pub(crate) use self::relay::Outgoing;

use self::charge::{Pending, Ticket};
use self::dispatch::Dispatch;
use self::error::{ErrorDialect, ProxyError};
use self::lane::Lane;
use self::limit::KeyPermit;
use self::read::Inbound;
use self::router::{Call, Route};
use crate::bodies::Copying;
use crate::routing::plan::{Destination, Unserved};
use crate::routing::snapshot::RoutingSnapshot;
use crate::state::concurrency::Permit;
use crate::state::directory::{Caller, Directory};
use crate::state::trace::{self, detail};
use crate::upstream::CallKind;

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
pub(crate) async fn handle(lane: Rc<Lane>, request: Request<Incoming>) -> Response<Outgoing> {
    let arrival = lane.arrival();
    let id = arrival.id.to_string();
    let (mut parts, body) = request.into_parts();
    let mut copying = None;
    let (dialect, answer) = match router::route(&parts.method, parts.uri.path()) {
        Route::Call(call) => {
            let dialect = ErrorDialect::of(call.protocol, call.operation);
            let trial = lane.shared.trials.take(&mut parts.headers);
            let answer = match trial {
                None => proxy(&lane, arrival, call, parts, body, &mut copying).await,
                // In a box, so that every other call's future is no larger for it.
                Some(trial) => {
                    let tried = proxy(&lane, arrival, call, parts, body, &mut copying);
                    Box::pin(trace::scope(trial, tried)).await
                }
            };
            (dialect, answer)
        }
        Route::Models(name) => {
            let (protocol, answer) = models::answer(&lane, arrival.at, parts, name);
            (protocol.into(), answer)
        }
        Route::WrongMethod { protocol, allowed } => {
            (protocol.into(), Err(ProxyError::MethodNotAllowed(allowed)))
        }
        Route::Unknown(protocol) => (protocol.into(), Err(ProxyError::UnknownPath)),
    };
    let mut response = answer.unwrap_or_else(|error| error.response(dialect, &id));
    lane.shared.metrics.answered(dialect.protocol, response.status());
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
    lane: &Rc<Lane>,
    arrival: Arrival,
    call: Call,
    parts: Parts,
    body: Incoming,
    copying: &mut Option<Box<Copying>>,
) -> Result<Response<Outgoing>, ProxyError> {
    let (mut headers, mut query) = (parts.headers, parts.uri.query().unwrap_or_default().to_owned());
    let key = authenticate::take_key(&mut headers, &mut query);
    let directory = lane.shared.directory.load_full();
    let caller = match trace::caller() {
        Some(caller) => caller,
        None => authenticate::caller(&directory, key.as_deref(), arrival.at)?,
    };
    trace::note(
        "authenticate",
        || detail!({"user": caller.user.to_string(), "key": caller.api_key.to_string()}),
    );
    let (protocol, at) = (call.protocol, arrival.at);
    let (key_permit, standing) = limit::admit(&caller, &call, at)?.unzip();
    trace::note("limit", || limit::told(&caller, standing.as_ref()));
    adapt::strip(&mut headers);
    let inbound = read::inbound(call, headers, query, body, &lane.shared.settings.limits).await?;
    if caller.keep_bodies {
        *copying = Some(lane.shared.bodies.begin(arrival.id, caller.api_key, &inbound.body));
    }
    let (inbound, turns_dropped) = context::fit(&caller, inbound, arrival.id)?;
    let patience = lane.shared.settings.limits.concurrency_timeout_ms.duration();
    let permit = lane.shared.gates.enter(arrival.started + patience).await;
    let permit = permit.map_err(|_| ProxyError::Busy)?;
    trace::note("read", || inbound.told());
    let snapshot = lane.snapshot();
    let (inbound, destination, mut ticket) =
        admit(lane, arrival, &snapshot, &directory, &caller, key_permit, inbound).await?;
    if let Some(pending) = ticket.pending() {
        pending.permit = permit;
    }
    let (directory, caller) = (&*directory, &*caller);
    let dispatch = Dispatch {
        lane,
        snapshot: &snapshot,
        directory,
        caller,
        inbound: &inbound,
        destination: &destination,
    };
    let mut answer = dispatch.run(ticket).await?;
    if let Some(standing) = standing {
        limit::tell(answer.headers_mut(), &standing, protocol, at);
    }
    context::tell(answer.headers_mut(), turns_dropped);
    Ok(answer)
}

/// Filter and reservation: what must be decided before anything is sent.
async fn admit<'r>(
    lane: &Lane,
    arrival: Arrival,
    snapshot: &'r Rc<RoutingSnapshot>,
    directory: &'r Directory,
    caller: &Arc<Caller>,
    key_permit: Option<KeyPermit>,
    mut inbound: Inbound,
) -> Result<(Inbound, Destination<'r>, Ticket), ProxyError> {
    let mut pending = Pending {
        id: arrival.id,
        started: arrival.started,
        admitted_at: arrival.at,
        caller: Arc::clone(caller),
        key_permit,
        snapshot: Rc::clone(snapshot),
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
        permit: Permit::default(),
        status: 0,
        first_byte: None,
        meter: None,
        filter_hash: None,
        error: None,
        trial: trace::current(),
        outcome: Outcome::Refused,
    };
    let admitted = (|| {
        limit::model(caller, &inbound.model)?;
        let destination = destination(snapshot, directory, caller, arrival.at, &inbound)?;
        if let Some((tier, target)) = destination.first() {
            pending.serve_by(directory, tier, target);
        }
        filter::screen(snapshot, &mut inbound).map_err(|refusal| {
            pending.filter_hash = refusal.hash;
            refusal.error
        })?;
        trace::note(
            "filter",
            || detail!({"passed": true, "component": snapshot.generation.filter().is_some()}),
        );
        if pending.priced.is_none() {
            return Ok(destination);
        }
        let owners = select::owners(&destination, directory, caller);
        let default_max = lane.shared.settings.limits.default_output_tokens_max;
        let pricing = snapshot.generation.pricing().ok_or(ProxyError::Policy("pricing"))?;
        let (rate, at) = (caller.price_rate, arrival.at);
        let amount = charge::dearest(pricing, &destination, rate, &inbound, owners, default_max, at)?;
        charge::reserve(caller, amount)?;
        pending.hold = Some(amount);
        if let Some(key_permit) = &mut pending.key_permit {
            key_permit.expect(pending.input_estimate);
        }
        Ok(destination)
    })();
    let (hold, model) = (pending.hold, Arc::clone(&pending.model));
    let ticket = Ticket::new(pending, lane.ended.clone());
    let destination = match admitted {
        Ok(destination) => destination,
        Err(error) => {
            ticket.fail(&error, Outcome::Refused);
            return Err(error);
        }
    };
    // The ticket exists before the wait: a client that leaves during it gets its hold voided.
    if let Some(amount) = hold
        && let Err(error) = record::hold(lane, &model, caller, arrival.id, amount, arrival.at).await
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
    snapshot: &'r RoutingSnapshot,
    directory: &'r Directory,
    caller: &Caller,
    at: Timestamp,
    inbound: &Inbound,
) -> Result<Destination<'r>, ProxyError> {
    let Inbound { protocol, operation, streaming, .. } = *inbound;
    let call = CallKind { protocol, operation, streaming };
    let found = Destination::find(snapshot, directory.prices.at(at), call, &inbound.model);
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
    destination.tiers.retain(|tier| limit::model(caller, &tier.model).is_ok());
    limit::providers(caller, &mut destination)?;
    if destination.tiers.is_empty() { Err(ProxyError::NoCredential) } else { Ok(destination) }
}
