//! The way of a request; [`proxy`] is the walk itself, in these steps:
//!
//! 1. [`router`] finds the call that a path stands for, or which of the [`doors`] was meant, [`authenticate`] who
//!    calls, and [`limit`] whether they may, now. What the browser of a web page is told of all that is [`cors`].
//! 2. [`read`] takes the body in and finds the [`members`] that decide something (numbers in their plain [`spelling`])
//!    and the [`prompt`], and [`context`] shortens a conversation where the key has a window. What is said of kept
//!    [`files`] is read there.
//! 3. [`admit`] decides whether the request is sent: somebody serves it, the [`filter`] passes it, all of its
//!    [`extras`] have a price, and the account carries what [`reserve`] claims of it, with a limit to its [`output`]
//!    where it carries less than all. From here on the request has a [`ticket`], which ends once, and goes from one of
//!    its [`states`] to the next.
//! 4. [`dispatch`] makes attempts until one is answered: [`attempts`] names the target, [`select`] the credential,
//!    [`adapt`] makes the request, with what may be [`carried`] of the client's own and what its [`platform`] wants,
//!    and [`forward`] sends it and waits for the first byte.
//! 5. [`answer`] begins the client's answer and [`relay`] carries it, past the [`meter`] and through the filter's
//!    [`window`]; holds [`grow`] with it. Where the client
//!    [`leave`]s, what it used is still asked for.
//! 6. [`settle`] says what was used and what it costs, and [`record`] writes it down, after the connection.
//!
//! Nothing here reads a database or knows a provider by name.

pub(crate) mod adapt;
mod admit;
mod answer;
mod aside;
pub(crate) mod attempts;
pub(crate) mod authenticate;
mod carried;
pub(crate) mod context;
mod cors;
mod counted;
pub(crate) mod dialect;
mod dispatch;
mod doors;
pub(crate) mod error;
mod exchange;
pub(crate) mod extras;
mod files;
pub(crate) mod filter;
mod flow;
mod form;
pub(crate) mod forward;
mod grow;
mod guess;
pub(crate) mod lane;
mod lean;
mod leave;
pub(crate) mod limit;
mod mark;
pub(crate) mod members;
pub(crate) mod meter;
pub(crate) mod models;
mod numbers;
mod output;
mod pieces;
pub(crate) mod platform;
pub(crate) mod prompt;
pub(crate) mod read;
pub(crate) mod record;
mod refusal;
pub(crate) mod relay;
pub(crate) mod request;
mod reserve;
mod restore;
pub(crate) mod router;
pub(crate) mod select;
mod session;
pub(crate) mod settle;
mod spelling;
pub(crate) mod states;
pub(crate) mod taps;
mod ticket;
mod unpack;
mod upgrade;
mod values;
pub(crate) mod window;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response};
use http_body::Body;
use tokio::time::Instant;
use tollgate_core::decisions::Screened;
use tollgate_core::id::RequestId;
use tollgate_core::protocol::Protocol;
use tollgate_core::time::Timestamp;
use tollgate_runtime::{Behalf, Choice};

pub(crate) use self::relay::Outgoing;
pub(crate) use self::session::Switched;

use self::cors::Page;
use self::dialect::ErrorDialect;
use self::dispatch::Dispatch;
use self::error::ProxyError;
use self::files::Listing;
use self::files::kept::Found;
use self::lane::Lane;
use self::request::Request;
use self::router::{Call, FileCall, Route};
use crate::bodies::Copying;
use crate::state::trace::{self, DryRun};

/// The header in which every answer names its request.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-tollgate-request-id");

/// One call of a client, from its head to its answer's first byte.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    /// Its id.
    pub(crate) id: RequestId,
    /// By the clock that cannot jump.
    pub(crate) started: Instant,
    /// By the calendar.
    pub(crate) at: Timestamp,
}

/// Answers one request, whatever it is.
pub(crate) async fn handle(
    lane: &Rc<Lane>,
    mut parts: Parts,
    body: &mut (impl Body<Data = Bytes> + Unpin),
) -> Response<Outgoing> {
    let arrival = lane.arrival();
    let id = arrival.id;
    let bodiless = parts.method == Method::HEAD;
    let page = cors::page(&lane.shared.settings.server.cors_origins, &parts.headers);
    if let Some(response) = page.preflight(&parts) {
        return signed(lane, response, Protocol::OpenaiChat.into(), (id, &page));
    }
    let mut copying = None;
    let (dialect, answer) = match router::route(&parts.method, parts.uri.path()) {
        // Who asks for a WebSocket goes on over HTTP as soon as there is none.
        route if upgrade::asks(&parts) => (route.dialect(), Err(ProxyError::UpgradeNotServed)),
        Route::Call(call) if call.file == Some(FileCall::List) => {
            (Protocol::Gemini.into(), Box::pin(listed(lane, arrival, &call, parts, body)).await)
        }
        Route::Call(call) => {
            let dialect = ErrorDialect::of(call.protocol, call.operation);
            let dry_run = lane.shared.dry_runs.take(&mut parts.headers);
            let answer = pin!(proxy(lane, arrival, dry_run, call, parts, body, &mut copying));
            (dialect, on_behalf_of(Behalf::of(arrival.id), answer).await)
        }
        Route::Models(listing) => {
            let (protocol, answer) = models::answer(lane, arrival.at, parts, listing);
            (protocol.into(), answer)
        }
        Route::Greeting => (Protocol::OpenaiChat.into(), Ok(answer::greeting())),
        Route::Options { protocol, allowed } => (protocol.into(), Ok(answer::options(allowed))),
        Route::WrongMethod { protocol, allowed } => {
            (protocol.into(), Err(ProxyError::MethodNotAllowed(allowed)))
        }
        Route::Unknown { protocol, meant } => (protocol.into(), Err(ProxyError::UnknownPath(meant))),
    };
    let response = answer.unwrap_or_else(|error| answer::refusal(&error, dialect, &id.to_string()));
    let response = signed(lane, response, dialect, (id, &page));
    if bodiless {
        return answer::without_body(response);
    }
    match copying {
        None => response,
        Some(copying) => copied(response, copying),
    }
}

/// Switches a connection whose client asks for a WebSocket at a path that has one, or says why it is not switched.
/// `None` for any other request.
pub(crate) async fn switch(
    lane: &Rc<Lane>,
    head: &mut Parts,
) -> Option<(Response<Outgoing>, Option<Switched>)> {
    let path = upgrade::path(head)?;
    let (dialect, id) = (Protocol::OpenaiResponses.into(), lane.arrival().id);
    let page = cors::page(&lane.shared.settings.server.cors_origins, &head.headers);
    let (response, switched) = match upgrade::shake(lane, head, path).await {
        Ok(Ok((response, switched))) => (response, Some(switched)),
        // It was asked on the road, and signed there.
        Ok(Err(refused)) => return Some((refused, None)),
        Err(error) => (answer::refusal(&error, dialect, &id.to_string()), None),
    };
    Some((signed(lane, response, dialect, (id, &page)), switched))
}

/// Refuses a request whose head is not as it should be, in these words.
pub(crate) fn refuse(lane: &Lane, head: &Parts, words: &'static str) -> Response<Outgoing> {
    let id = lane.arrival().id;
    let dialect = match router::route(&head.method, head.uri.path()) {
        Route::Models(listing) => models::listing_protocol(head, &listing).into(),
        route => route.dialect(),
    };
    let response = answer::refusal(&ProxyError::bad_request(words, None), dialect, &id.to_string());
    let page = cors::page(&lane.shared.settings.server.cors_origins, &head.headers);
    signed(lane, response, dialect, (id, &page))
}

/// The same answer with the request's id and what the browser of a page is told, counted.
fn signed(
    lane: &Lane,
    mut response: Response<Outgoing>,
    dialect: ErrorDialect,
    (id, page): (RequestId, &Page),
) -> Response<Outgoing> {
    lane.shared.metrics.answered(dialect.protocol, response.status());
    // A UUID is always a header value.
    if let Ok(id) = HeaderValue::from_str(id.text(&mut [0; 36])) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    page.tell(response.headers_mut());
    response
}

/// Works on a request. Whatever components are called meanwhile say so by its id. The work stays where it is pinned: a
/// future that is handed on by value lies twice in the one that awaits it, and all of that is copied with it.
fn on_behalf_of<T>(
    mut behalf: Behalf,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = T> {
    poll_fn(move |cx| behalf.work(|| work.as_mut().poll(cx)))
}

/// A list of kept files, of all its pages.
async fn listed(
    lane: &Rc<Lane>,
    mut arrival: Arrival,
    call: &Call,
    mut parts: Parts,
    body: &mut (impl Body<Data = Bytes> + Unpin),
) -> Result<Response<Outgoing>, ProxyError> {
    let mut listing = Listing::default();
    loop {
        let mut copying = None;
        let page = pin!(proxy(lane, arrival, None, call.clone(), parts.clone(), body, &mut copying));
        let mut response = on_behalf_of(Behalf::of(arrival.id), page).await?;
        let Some(found) = response.extensions_mut().remove::<Found>() else { return Ok(response) };
        if let Some(whole) = listing.take(&found, &mut parts)? {
            return Ok(response.map(|_| Outgoing::from(whole)));
        }
        arrival = lane.arrival();
    }
}

/// The same answer; its bytes are copied as they go.
fn copied(response: Response<Outgoing>, mut copying: Box<Copying>) -> Response<Outgoing> {
    copying.answer(forward::is_event_stream(response.headers()));
    response.map(|body| Outgoing::Copied(Box::new(relay::Copied { body, copying })))
}

/// One call, step by step. The caller is known before the body is read, so that a stranger's is not. What fails before
/// the request is admitted leaves no record; from there on a ticket sees to it that it ends once.
async fn proxy(
    lane: &Rc<Lane>,
    arrival: Arrival,
    dry_run: Option<DryRun>,
    mut call: Call,
    parts: Parts,
    body: &mut (impl Body<Data = Bytes> + Unpin),
    copying: &mut Option<Box<Copying>>,
) -> Result<Response<Outgoing>, ProxyError> {
    let Arrival { id, started, at } = arrival;
    let (shared, limits) = (&lane.shared, &lane.shared.settings.limits);
    let directory = shared.directory.load_full();
    let (mut headers, mut query) = (parts.headers, parts.uri.query().unwrap_or_default().to_owned());
    // Who calls?
    let keys = authenticate::take_keys(&mut headers, &mut query);
    let (caller, trace) = match dry_run {
        None => (files::caller(&directory, &mut call, (&keys, query.as_str()), at)?, None),
        Some(DryRun { caller, trace }) => (caller, Some(trace)),
    };
    tollgate_runtime::caller_is(caller.user);
    trace::note(trace.as_deref(), "authenticate", || authenticate::told(&caller));
    // May they, now?
    let protocol = call.protocol;
    let (key_permit, standing) = limit::admit(&shared.limiter, &caller, &call, at).await?.unzip();
    trace::note(trace.as_deref(), "limit", || limit::told(&caller, standing.as_ref()));
    // What do they ask for?
    carried::strip(&mut headers);
    carried::check_query(&query)?;
    let inbound = match call.file.take() {
        None => read::inbound(call, headers, query, body, (limits, &shared.memory), id).await?,
        Some(asked) => {
            let sent = files::Sent { headers, query, uri: &parts.uri };
            let by = (&**lane, &*directory, &*caller);
            Box::pin(files::inbound(by, (call, asked), sent, body, id)).await?
        }
    };
    let caller = files::bound(&directory, caller, &inbound)?;
    if caller.keep_bodies {
        *copying = Some(shared.bodies.begin(id, caller.api_key, &inbound.body));
    }
    let (inbound, turns_dropped) = context::fit(&caller, inbound, id)?;
    let permit = shared.gates.enter(started + limits.concurrency_timeout_ms.duration()).await;
    let permit = permit.map_err(|_| ProxyError::Busy)?;
    trace::note(trace.as_deref(), "read", || inbound.told());
    // May it be sent, and who may serve it?
    let snapshot = lane.snapshot();
    let inbound = inbound.unmarked(|name| {
        snapshot.routes().find(name).is_some() || directory.prices.at(at).find(name).is_some()
    });
    let policies = snapshot.generation.choose(Choice::of(caller.user.as_bytes()));
    let request = Request {
        id,
        started,
        at,
        caller,
        call: inbound.call(),
        input_estimate: admit::input_estimate(&inbound),
        prompt: inbound.prompt,
        body_bytes: inbound.body.len() as u64,
        output_limit: inbound.output_tokens_max,
        counted: inbound.extras.counted(),
        searches: inbound.extras.searches(),
        key_permit,
        permit,
        snapshot: Rc::clone(&snapshot),
        policies,
        screened: Screened::default(),
        trace,
    };
    let admit::Admission { inbound, destination, ticket, output_limit } =
        admit::admit(lane, &snapshot, &directory, request, inbound).await?;
    // Who does?
    let dispatch = Dispatch { lane, directory: &directory, inbound: &inbound, destination: &destination };
    let mut answer = dispatch.run(ticket).await?;
    if let Some(standing) = standing {
        limit::tell(answer.headers_mut(), &standing, protocol, at);
    }
    if let Some(found) = inbound.kept.as_ref().and_then(|kept| kept.found()) {
        answer.extensions_mut().insert(found.clone());
    }
    context::tell(answer.headers_mut(), turns_dropped);
    admit::tell(answer.headers_mut(), output_limit);
    Ok(answer)
}
