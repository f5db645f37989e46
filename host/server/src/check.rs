//! Asks a provider whether a credential is good: the cheap call that its adapter declares, with nothing in it but the key.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;
use tollgate_core::failure::FailureClass;
use tollgate_core::points::Micropoints;
use tollgate_core::secret::Secret;
use tollgate_runtime::Runtime;
use tollgate_store::CheckResult;

use crate::body::Chained;
use crate::config::Config;
use crate::model_routes::Upstreams;
use crate::net::pool::Pool;
use crate::road::Road;
use crate::shared::{Shared, now};
use crate::upstream::Upstream;

/// Longest check: someone waits for it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer that an adapter sees.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What a check found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// What the provider said; `None` where its adapter knows no such call.
    pub(crate) result: Option<CheckResult>,
    /// The provider's name for the account.
    pub(crate) account: Option<String>,
}

impl Found {
    /// Whether the provider took the key.
    pub(crate) fn is_good(&self) -> bool {
        self.result.is_some_and(|result| result.failure.is_none())
    }

    /// Whether the provider said that there is no such key.
    pub(crate) fn is_invalid(&self) -> bool {
        self.result.is_some_and(|result| result.failure == Some(FailureClass::InvalidCredential))
    }
}

/// Checks a credential with the components and providers of a running gateway.
pub(crate) async fn check(shared: &Shared, provider: &str, secret: &Secret) -> Found {
    let connect = shared.settings.limits.upstream_connect_timeout_ms.duration();
    ask(shared.runtime.clone(), shared.upstreams.load_full(), connect, provider, secret).await
}

/// What the pricing policy in force grants for the first credential of a provider account.
pub(crate) fn reward(runtime: &Runtime) -> Micropoints {
    runtime.current().pricing().map_or(Micropoints::ZERO, |pricing| pricing.plan().rewards.first_credential)
}

/// Checks a credential from the command line: with components that are started for it. Returns what they would grant for it
/// as well.
///
/// # Errors
/// When a component cannot be started.
pub(crate) async fn check_once(
    config: &Config,
    provider: &str,
    secret: &Secret,
) -> anyhow::Result<(Found, Micropoints)> {
    let (settings, bindings) = (crate::components::settings(config, 1), crate::components::bindings(config));
    let starting = tokio::task::spawn_blocking(move || Runtime::start(settings, bindings, |_| {}));
    let connect = config.limits.upstream_connect_timeout_ms.duration();
    let runtime = starting.await??;
    let reward = reward(&runtime);
    Ok((ask(runtime, Upstreams::new(config, Vec::new()), connect, provider, secret).await, reward))
}

/// The road is one thread's: so a check has its own, which ends with it.
async fn ask(
    runtime: Runtime,
    upstreams: Arc<Upstreams>,
    connect: Duration,
    provider: &str,
    secret: &Secret,
) -> Found {
    let (provider, secret) = (provider.to_owned(), secret.clone());
    let asked = tokio::task::spawn_blocking(move || {
        let thread = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        let Ok(thread) = thread else { return Found::default() };
        Runtime::prepare_thread();
        thread.block_on(async {
            let road = Road::new(runtime.current(), upstreams);
            let Some(upstream) = road.upstreams.iter().find(|upstream| *upstream.name == *provider) else {
                return Found::default();
            };
            let Some(request) = request(upstream, &secret) else { return Found::default() };
            let pool = Pool::new(connect);
            match timeout(PATIENCE, send(&pool, upstream, request)).await {
                Ok(found) => found,
                Err(_) => said(None, Some(FailureClass::Transient)),
            }
        })
    });
    asked.await.unwrap_or_default()
}

fn said(status: Option<u16>, failure: Option<FailureClass>) -> Found {
    Found { result: Some(CheckResult { at: now(), failure, status }), account: None }
}

/// The call; `None` where the adapter declares none, or its templates give no valid request.
fn request(upstream: &Upstream, secret: &Secret) -> Option<Request<Chained>> {
    let uri: Uri = upstream.check_target()?.parse().ok()?;
    let mut request = Request::new(Chained::from(Bytes::new()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    for template in upstream.defaults() {
        headers.insert(template.name.clone(), template.value("")?);
    }
    for template in upstream.auth() {
        headers.insert(template.name.clone(), template.value(secret.expose())?);
    }
    headers.insert(header::HOST, upstream.host.clone());
    headers.insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    Some(request)
}

async fn send(pool: &Rc<Pool>, upstream: &Upstream, request: Request<Chained>) -> Found {
    let Ok(response) = pool.send(&upstream.origin, request).await else {
        return said(None, Some(FailureClass::Transient));
    };
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    let account = account(upstream, &head.headers);
    if head.status.is_success() {
        return Found { account, ..said(Some(status), None) };
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let failure = upstream.adapter.classify(status, None, &body);
    said(Some(status), Some(failure.map_or(FailureClass::Unknown, |failure| failure.class)))
}

fn account(upstream: &Upstream, headers: &HeaderMap) -> Option<String> {
    let name = upstream.adapter.plan().check.as_ref()?.account_header.as_deref()?;
    let value = headers.get(name)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}
