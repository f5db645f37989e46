//! The operators' listener: health, readiness, metrics, and the management API. Knows nothing of the road.

mod accounts;
mod error;
mod keys;
mod plugins;

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tollgate_core::id::RequestId;
use tollgate_core::role::Role;

use self::error::Problem;
use crate::login::{Logins, Visitor};
use crate::shared::{Shared, now, random};

/// The header in which every answer names its request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-tollgate-request-id");
/// Bytes of a body; none that is taken is near it.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Time to send a body.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// What the admin listener answers from.
pub(crate) struct Admin {
    /// The gateway's state.
    pub(crate) shared: Arc<Shared>,
    /// SHA-256 of the admin secret.
    pub(crate) secret: [u8; 32],
    /// Who may manage what, by password or token.
    pub(crate) logins: Logins,
    /// Whether clients are being served: false while starting and while draining.
    pub(crate) ready: AtomicBool,
}

type Answer = Response<Full<Bytes>>;

/// Serves operators for ever.
///
/// # Errors
/// When the listener is not usable.
pub(crate) async fn serve(admin: Arc<Admin>, listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(answer(&admin, peer.ip(), request).await) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = serving.await {
                tracing::debug!(%error, "an admin connection ended early");
            }
        });
    }
}

async fn answer(admin: &Arc<Admin>, from: IpAddr, request: Request<Incoming>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n"),
        (&Method::GET, "/readyz") if admin.ready.load(Ordering::Relaxed) => text(StatusCode::OK, "ready\n"),
        (&Method::GET, "/readyz") => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        (&Method::GET, "/metrics") => metrics(admin),
        _ => {
            let id = RequestId::new(now(), random()).to_string();
            let mut response =
                managed(admin, from, request).await.unwrap_or_else(|problem| problem.answer(&id));
            // A UUID is always a header value.
            if let Ok(id) = HeaderValue::try_from(id) {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            response
        }
    }
}

/// Who calls the management API.
enum Guest {
    /// Someone with the admin secret: components are his.
    Operator,
    /// Someone who has logged in.
    Visitor(Visitor),
}

/// One call of the management API. What is not open is not even said to exist before it is known who asks.
async fn managed(admin: &Arc<Admin>, from: IpAddr, request: Request<Incoming>) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().strip_prefix("/management/v1/").ok_or_else(Problem::not_found)?;
    let post = parts.method == Method::POST;
    match path {
        "login" if post => return accounts::log_in(admin, from, &read(body).await?).await,
        "refresh" if post => return accounts::refresh(admin, &read(body).await?).await,
        "login" | "refresh" => return Err(Problem::method_not_allowed()),
        _ => {}
    }
    let guest = guest(admin, &parts.headers).await?;
    match (&parts.method, path, guest) {
        (&Method::GET, "plugins", guest) => operator(&guest).map(|()| plugins::list(admin)),
        (&Method::POST, "plugins/reload", guest) => {
            operator(&guest)?;
            plugins::reload(admin).await
        }
        (method, _, Guest::Visitor(visitor)) if path == "keys" || path.starts_with("keys/") => {
            let desk = admin.logins.desk();
            let id = path.strip_prefix("keys/");
            match (method, id) {
                (&Method::GET, None) => keys::list(desk, &visitor, parts.uri.query().unwrap_or("")).await,
                (&Method::POST, None) => keys::create(desk, &visitor, &read(body).await?).await,
                (&Method::GET, Some(id)) => keys::show(desk, &visitor, id).await,
                (&Method::PATCH, Some(id)) => keys::change(desk, &visitor, id, &read(body).await?).await,
                (&Method::DELETE, Some(id)) => keys::revoke(desk, &visitor, id).await,
                _ => Err(Problem::method_not_allowed()),
            }
        }
        (&Method::GET, "me", Guest::Visitor(visitor)) => Ok(accounts::me(&visitor)),
        (&Method::POST, "logout", Guest::Visitor(visitor)) => accounts::log_out(admin, &visitor).await,
        (_, "me" | "logout" | "keys", Guest::Operator) => Err(Problem::unauthorized()),
        (_, _, Guest::Operator) if path.starts_with("keys/") => Err(Problem::unauthorized()),
        (_, "me" | "logout" | "plugins" | "plugins/reload", _) => Err(Problem::method_not_allowed()),
        _ => Err(Problem::not_found()),
    }
}

/// Who asks: the admin secret or an access token says it.
async fn guest(admin: &Admin, headers: &HeaderMap) -> Result<Guest, Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        given.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(Problem::unauthorized)?.trim();
    if Sha256::digest(token.as_bytes()).as_slice().ct_eq(&admin.secret).into() {
        return Ok(Guest::Operator);
    }
    let visitor = admin.logins.visitor(token, now()).await?;
    visitor.map(Guest::Visitor).ok_or_else(Problem::unauthorized)
}

/// Components are for operators and admins.
fn operator(guest: &Guest) -> Result<(), Problem> {
    match guest {
        Guest::Visitor(visitor) if visitor.user.role != Role::Admin => Err(Problem::forbidden()),
        Guest::Operator | Guest::Visitor(_) => Ok(()),
    }
}

/// A body in JSON. What is wrong with it is said without quoting it: it may hold a password.
fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::bad_request(format!("The body is not what this path takes (line {line}, column {column})."))
    })
}

/// Done, and nothing to say.
fn nothing() -> Answer {
    let mut response = Answer::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Collects a body of bounded size and slowness.
async fn read(body: Incoming) -> Result<Bytes, Problem> {
    match timeout(BODY_PATIENCE, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(_)) => Err(Problem::too_large()),
        Err(_) => Err(Problem::bad_request("The body did not arrive in time.")),
    }
}

fn metrics(admin: &Admin) -> Answer {
    let body = admin.shared.metrics.text(&admin.shared.runtime.status());
    let mut response = text(StatusCode::OK, "");
    *response.body_mut() = Full::from(body);
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn respond(status: StatusCode, body: &Value) -> Answer {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
