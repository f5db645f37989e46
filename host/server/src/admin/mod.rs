//! The operators' listener: health, readiness, metrics, the console and the management API; and the users' one, which
//! has what of these is theirs. Knows nothing of the road.
//!
//! Start with `routes.rs`, which is the API as a table. `route.rs` says what a row is, `ask.rs` and `reply.rs` what a
//! handler takes and gives, `dispatch.rs` how a call reaches its handler; `openapi.rs` writes the table down for
//! programs. The rest is one file per resource.

mod about;
mod accounts;
mod answer;
mod ask;
mod audience;
mod audit;
mod bodies;
mod configuration;
mod console;
mod credentials;
mod dispatch;
mod dry_run;
mod error;
mod events;
mod idempotency;
mod key_preview;
mod keys;
mod lending;
mod log_filter;
mod models;
mod platforms;
mod plugin_events;
mod plugin_versions;
mod plugins;
mod points;
mod prices;
mod receipts;
mod reply;
mod requests;
mod route;
mod routes;
mod schema;
mod sessions;
mod tail;
mod usage;
mod users;
mod version;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::Incoming;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tollgate_core::id::RequestId;
use tollgate_runtime::{Choice, ComponentState, Source};

pub(crate) use self::about::Clients;
use self::answer::bytes;
pub(crate) use self::answer::{Answer, Body};
pub(crate) use self::audience::Audience;
use self::events::OpenStreams;
pub(crate) use self::routes::openapi::openapi;
use crate::clock::{now, random};
use crate::config::client_address;
use crate::manage::login::Logins;
use crate::shared::Shared;
use crate::upstream::permission::{Word, permissions};

/// The header in which every answer names its request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-tollgate-request-id");
/// What is known of the house from its start on.
pub(crate) struct House {
    /// Where clients call.
    pub(crate) clients: Clients,
    /// Whether providers are simulated.
    pub(crate) demo: bool,
    /// Streams of events that are open.
    streams: OpenStreams,
}

impl House {
    /// At the start.
    pub(crate) fn new(clients: Clients, demo: bool) -> Self {
        Self { clients, demo, streams: OpenStreams::default() }
    }
}

/// What the admin listener answers from.
pub(crate) struct Admin {
    /// The gateway's state.
    pub(crate) shared: Arc<Shared>,
    /// SHA-256 of the admin secret.
    pub(crate) secret: [u8; 32],
    /// Who may manage what, by password or token.
    pub(crate) logins: Logins,
    /// Tells this run of the gateway from others.
    pub(crate) boot: [u8; 16],
    /// Leads to the clients' listener from within the process.
    pub(crate) clients: mpsc::Sender<DuplexStream>,
    /// What is known of the house from its start on.
    pub(crate) house: House,
    /// Whether clients are being served: false while starting and while draining.
    pub(crate) ready: AtomicBool,
}

/// Answers one request of an operator or, at their own listener, of a user.
pub(crate) async fn answer(
    admin: &Arc<Admin>,
    audience: Audience,
    from: IpAddr,
    head: Parts,
    body: &mut Incoming,
) -> Answer {
    let operators = audience == Audience::Operators;
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n"),
        (&Method::GET, "/readyz") if operators => ready(admin),
        (&Method::GET, "/metrics") if operators => metrics(admin),
        _ => {
            if let Some(file) = console::answer(&head) {
                return file;
            }
            let server = &admin.shared.settings.server;
            let (trusted, header) = (&server.trusted_proxies, &server.client_address_header);
            let from = client_address(trusted, header, from, &head.headers);
            managed(admin, audience, from, head, body).await
        }
    }
}

/// Whether requests are served, and which components are not those that were asked for.
fn ready(admin: &Admin) -> Answer {
    let runtime = &admin.shared.runtime;
    let lacks = runtime.current().choose(Choice::default()).lacks;
    let mut words = match (admin.ready.load(Ordering::Relaxed), lacks) {
        (false, _) => "not ready\n".to_owned(),
        (true, Some(kind)) => format!("not ready: no {} could be loaded\n", kind.name()),
        (true, None) => "ready\n".to_owned(),
    };
    match admin.shared.quarantined {
        0 => {}
        count => words += &format!("ledger: {count} movements cannot be, and no balance counts them\n"),
    }
    words += &file_and_clock(admin);
    let status = if words.starts_with("ready") { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    words += &keys_kept(admin);
    for component in runtime.status() {
        let (name, digest) = (component.name, component.digest);
        match component.state {
            ComponentState::Refused { .. } if component.source == Source::Nowhere => {
                words += &format!("{name}: refused, and nothing serves in its place\n");
            }
            ComponentState::Refused { .. } => words += &format!("{name}: refused, {digest} serves\n"),
            ComponentState::RolledBack { .. } => words += &format!("{name}: rolled back, {digest} serves\n"),
            ComponentState::FileMissing => words += &format!("{name}: its file is gone, {digest} serves\n"),
            ComponentState::Active | ComponentState::Tripped => {}
        }
    }
    text(status, words)
}

/// Which components may not send keys to a host that they name.
fn keys_kept(admin: &Admin) -> String {
    let grants = &admin.shared.upstreams.load().grants;
    let generation = admin.shared.runtime.current();
    let missing = generation.adapters().iter().flat_map(|adapter| {
        let missing = permissions(adapter, adapter.component(), grants).into_iter();
        let missing = missing.filter(|permission| permission.word == Word::Missing);
        missing.map(|permission| format!("{}: may not send keys to {}\n", adapter.name(), permission.host))
    });
    missing.collect()
}

/// What the configuration file and the clock lack, line by line.
fn file_and_clock(admin: &Admin) -> String {
    let (standing, at) = (admin.shared.configuration.standing(), now());
    let mut words = String::new();
    if !standing.held_back.is_empty() {
        words += &format!("configuration: held back, for it removes {}\n", standing.held_back.join(", "));
    }
    if standing.refused.is_some() {
        words += "configuration: refused, the one before it is in force\n";
    }
    if let Some(first) = admin.shared.directory.load().prices.still_to_come(at) {
        let (at, first) = (at.rfc3339(), first.rfc3339());
        words += &format!("clock: it says {at}, before the first prices ({first}): no model can be priced\n");
    }
    words
}

/// Refuses a request whose head is not as it should be.
pub(crate) fn refuse(words: &'static str) -> Answer {
    let id = RequestId::new(now(), random());
    error::Problem::bad_request(words).answer(&id.to_string())
}

async fn managed(
    admin: &Arc<Admin>,
    audience: Audience,
    from: IpAddr,
    head: Parts,
    body: &mut Incoming,
) -> Answer {
    let id = RequestId::new(now(), random());
    let answer = dispatch::call(admin, audience, from, id, head, body).await;
    let mut answer = answer.unwrap_or_else(|problem| problem.answer(&id.to_string()));
    let headers = answer.headers_mut();
    // Answers are about now, and some hold what is shown once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A UUID is always a header value.
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    answer
}

fn metrics(admin: &Admin) -> Answer {
    admin.shared.metrics.count_credentials(&admin.shared.directory.load(), now());
    let body = admin.shared.metrics.text(&admin.shared.runtime.status());
    bytes(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    bytes(status, "text/plain; charset=utf-8", body)
}
