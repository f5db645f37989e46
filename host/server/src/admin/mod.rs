//! The operators' listener: health, readiness, metrics, and the first part of the management API. Knows nothing of the road.

mod plugins;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

use crate::shared::Shared;

/// What the admin listener answers from.
pub(crate) struct Admin {
    /// The gateway's state.
    pub(crate) shared: Arc<Shared>,
    /// SHA-256 of the admin secret.
    pub(crate) secret: [u8; 32],
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
        let Ok((stream, _)) = listener.accept().await else { continue };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, Infallible>(answer(&admin, &request).await) }
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

async fn answer(admin: &Arc<Admin>, request: &Request<Incoming>) -> Answer {
    let path = request.uri().path();
    match (request.method(), path) {
        (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n"),
        (&Method::GET, "/readyz") if admin.ready.load(Ordering::Relaxed) => text(StatusCode::OK, "ready\n"),
        (&Method::GET, "/readyz") => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        (&Method::GET, "/metrics") => metrics(admin),
        _ if !path.starts_with("/management/v1/") => {
            problem(StatusCode::NOT_FOUND, "There is nothing at this path.")
        }
        _ if !authorised(admin, request.headers()) => {
            problem(StatusCode::UNAUTHORIZED, "Pass the admin secret as `Authorization: Bearer`.")
        }
        (&Method::GET, "/management/v1/plugins") => plugins::list(admin),
        (&Method::POST, "/management/v1/plugins/reload") => plugins::reload(admin).await,
        _ => problem(StatusCode::NOT_FOUND, "There is nothing at this path."),
    }
}

fn authorised(admin: &Admin, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(secret) = given.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
    Sha256::digest(secret.trim().as_bytes()).as_slice().ct_eq(&admin.secret).into()
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

/// An error in the one shape of the management API.
fn problem(status: StatusCode, message: &str) -> Answer {
    respond(status, &json!({"error": {"status": status.as_u16(), "message": message}}))
}
