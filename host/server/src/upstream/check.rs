//! Asks a provider whether a credential is good: the cheap call that its adapter declares, with nothing in it but the key.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::CredentialId;
use tollgate_core::points::Micropoints;
use tollgate_core::secret::Secret;
use tollgate_runtime::{Refusal, Runtime, StartError};
use tollgate_store::CheckResult;

use crate::clock::now;
use crate::config::Config;
use crate::proxy::platform;
use crate::routing::snapshot::RoutingSnapshot;
use crate::routing::table::Upstreams;
use crate::shared::Shared;
use crate::state::directory::Credential;
use crate::transport::body::Chained;
use crate::transport::http1::Pool;
use crate::upstream::access_token::{self, First, TokenError};
use crate::upstream::platform::Place;
use crate::upstream::{Probe, Upstream};

/// Longest check: someone waits for it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer that an adapter sees.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What a check found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// What the provider said; `None` where nobody was asked.
    pub(crate) result: Option<CheckResult>,
    /// Why nobody was asked.
    pub(crate) unasked: Option<String>,
    /// The provider's name for the account.
    pub(crate) account: Option<String>,
    /// The secret as it has to be kept, where the check has changed it: a refresh token that was used may be good no more.
    pub(crate) renewed: Option<Secret>,
}

impl Found {
    fn unasked(why: impl Into<String>) -> Self {
        Self { unasked: Some(why.into()), ..Self::default() }
    }

    fn said(status: Option<u16>, failure: Option<FailureClass>) -> Self {
        Self { result: Some(CheckResult { at: now(), failure, status }), ..Self::default() }
    }

    /// Whether the provider took the key.
    pub(crate) fn is_good(&self) -> bool {
        self.result.is_some_and(|result| result.failure.is_none())
    }

    /// Whether the provider said that there is no such key.
    pub(crate) fn is_invalid(&self) -> bool {
        self.result.is_some_and(|result| result.failure == Some(FailureClass::InvalidCredential))
    }
}

/// A credential that somebody asks about.
#[derive(Clone)]
pub(crate) struct Subject {
    /// The configured provider.
    pub(crate) provider: String,
    /// Where it is good, if not at the provider itself.
    pub(crate) place: Option<Place>,
    /// The key.
    pub(crate) secret: Secret,
}

/// Checks a credential with the components and providers of a running gateway. One that serves there shares the access tokens of
/// the requests that use it.
pub(crate) async fn check(shared: &Arc<Shared>, subject: Subject, id: Option<CredentialId>) -> Found {
    let directory = shared.directory.load_full();
    let serving = id.and_then(|id| directory.all().find(|credential| credential.id == id).cloned());
    let asking = Asking {
        runtime: shared.runtime.clone(),
        upstreams: shared.upstreams.load_full(),
        connect: shared.settings.limits.upstream_connect_timeout_ms.duration(),
        subject,
        serving: serving.map(|credential| (Arc::clone(shared), credential)),
    };
    asking.run().await
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
    subject: Subject,
) -> Result<(Found, Micropoints), StartError> {
    let (settings, bindings) =
        (crate::routing::components::settings(config, 1), crate::routing::components::bindings(config));
    let starting = tokio::task::spawn_blocking(move || Runtime::start(settings, bindings, |_| {}));
    let connect = config.limits.upstream_connect_timeout_ms.duration();
    // Whoever cannot wait for a thread's end has no thread to be told of.
    let runtime = starting.await.map_err(io::Error::other)??;
    let reward = reward(&runtime);
    let upstreams = Upstreams::new(config, Vec::new());
    Ok((Asking { runtime, upstreams, connect, subject, serving: None }.run().await, reward))
}

/// A check, with all that it takes.
struct Asking {
    runtime: Runtime,
    upstreams: Arc<Upstreams>,
    connect: Duration,
    subject: Subject,
    /// The gateway in which the credential serves, and the credential there.
    serving: Option<(Arc<Shared>, Arc<Credential>)>,
}

impl Asking {
    /// The road is one thread's: so a check has its own, which ends with it.
    async fn run(self) -> Found {
        let asked = tokio::task::spawn_blocking(move || {
            let thread = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default());
            let Ok(thread) = thread else { return Found::unasked("no thread could be had for it") };
            Runtime::prepare_thread();
            thread.block_on(self.ask())
        });
        asked.await.unwrap_or_default()
    }

    async fn ask(&self) -> Found {
        let Subject { provider, place, secret } = &self.subject;
        let snapshot = RoutingSnapshot::new(self.runtime.current(), Arc::clone(&self.upstreams));
        let Some(upstream) = snapshot.upstreams.iter().find(|upstream| *upstream.name == **provider) else {
            return Found::unasked("the provider is not in use");
        };
        let there = match place.as_ref().map(|place| upstream.on(place)) {
            None => None,
            Some(Ok(there)) => Some(there),
            Some(Err(why)) => return Found::unasked(why),
        };
        let upstream = there.as_ref().unwrap_or(upstream);
        let Some(probe) = &upstream.probe else {
            return Found::unasked("the adapter knows no call that would tell");
        };
        let (token, renewed) = match self.token(upstream).await {
            Ok(had) => had,
            Err(error) => return Found::said(None, Some(error.class())),
        };
        let secret = token.as_deref().unwrap_or(secret);
        let Some(request) = request(upstream, probe, secret) else {
            return Found { renewed, ..Found::unasked("the key cannot be sent as it is") };
        };
        let pool = Pool::new(self.connect);
        let found = match timeout(PATIENCE, send(&pool, upstream, probe, request)).await {
            Ok(found) => found,
            Err(_) => Found::said(None, Some(FailureClass::Transient)),
        };
        Found { renewed, ..found }
    }

    /// The access token that stands for the secret where its platform wants one, and the secret that having it has left.
    async fn token(&self, upstream: &Upstream) -> Result<(Option<Arc<Secret>>, Option<Secret>), TokenError> {
        let Some(terms) = &upstream.terms else { return Ok((None, None)) };
        match &self.serving {
            Some((shared, credential)) => {
                Ok((shared.tokens.bearer(credential, &terms.scheme, now()).await?, None))
            }
            None => {
                let first = access_token::first(&terms.scheme, &self.subject.secret).await?;
                Ok(first.map_or((None, None), |First { token, renewed }| (Some(token), renewed)))
            }
        }
    }
}

/// The call; `None` where the adapter's templates give no valid request, or the secret lacks what its platform wants.
fn request(upstream: &Upstream, probe: &Probe, secret: &Secret) -> Option<Request<Chained>> {
    let terms = upstream.terms.as_deref();
    let target = match terms {
        Some(terms) => platform::keyed(probe.target.clone(), terms, secret),
        None => probe.target.clone(),
    };
    let uri: Uri = target.parse().ok()?;
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
    headers.insert(header::HOST, probe.host.clone());
    headers.insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    if let Some(terms) = terms {
        platform::add(headers, &terms.added).ok()?;
        platform::sign(headers, ("GET", &target), &Chained::from(Bytes::new()), terms, secret, now()).ok()?;
    }
    Some(request)
}

async fn send(pool: &Rc<Pool>, upstream: &Upstream, probe: &Probe, request: Request<Chained>) -> Found {
    let Ok(response) = pool.send(&probe.origin, request).await else {
        return Found::said(None, Some(FailureClass::Transient));
    };
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    if head.status.is_success() {
        return Found { account: account(probe, &head.headers), ..Found::said(Some(status), None) };
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let kind = upstream.adapter.plan().error_header.as_ref();
    let kind = kind.and_then(|name| head.headers.get(name)?.to_str().ok()).unwrap_or_default();
    let refusal = Refusal { status, retry_after_ms: None, kind, body: &body };
    let failure = upstream.adapter.classify(&refusal);
    Found::said(Some(status), Some(failure.map_or(FailureClass::Unknown, |failure| failure.class)))
}

fn account(probe: &Probe, headers: &HeaderMap) -> Option<String> {
    let value = headers.get(probe.account_header.as_deref()?)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}
