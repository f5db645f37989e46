//! Asks a provider whether a credential is good: the cheap call that its adapter declares, with nothing in it but the
//! key.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::UserId;
use tollgate_core::points::Micropoints;
use tollgate_core::secret::Secret;
use tollgate_core::shape::Shape;
use tollgate_runtime::{Choice, Generation, Refusal, Runtime};
use tollgate_store::CheckResult;

use super::authorize::{Authorized, authorize};
use super::envelope::Message;
use super::issue::{self, First};
use super::{Probe, Upstream, wire};
use crate::clock::now;
use crate::config::{Grants, Provider};
use crate::state::credentials::Credential;
use crate::state::platform::Place;
use crate::state::tokens::{TokenError, Tokens};
use crate::transport::body::Chained;
use crate::transport::{Answer, AnswerBody, Settings, Transports, alone};

/// The longest time of a check: someone waits for it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer that an adapter sees.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What a check found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The provider's answer; `None` where it was not asked.
    pub(crate) result: Option<CheckResult>,
    /// Why it was not asked.
    pub(crate) unasked: Option<String>,
    /// The provider's name for the account.
    pub(crate) account: Option<String>,
    /// The secret to keep, where the check has changed it: a used refresh token may no longer be valid.
    pub(crate) renewed: Option<Secret>,
}

impl Found {
    fn unasked(why: impl Into<String>) -> Self {
        Self { unasked: Some(why.into()), ..Self::default() }
    }

    fn said(status: Option<u16>, failure: Option<FailureClass>) -> Self {
        Self { result: Some(CheckResult { at: now(), failure, status }), ..Self::default() }
    }

    /// Whether the provider accepted the key.
    pub(crate) fn is_good(&self) -> bool {
        self.result.is_some_and(|result| result.failure.is_none())
    }

    /// Whether the provider said that there is no such key.
    pub(crate) fn is_invalid(&self) -> bool {
        self.result.is_some_and(|result| result.failure == Some(FailureClass::InvalidCredential))
    }
}

/// The credential to check.
#[derive(Clone)]
pub(crate) struct Subject {
    /// The configured provider.
    pub(crate) provider: String,
    /// Where it is valid, if not at the provider itself.
    pub(crate) place: Option<Place>,
    /// The key.
    pub(crate) secret: Secret,
}

/// What the pricing policies in force grant for the first credential of a provider account.
pub(crate) struct FirstCredential(Arc<Generation>);

impl FirstCredential {
    /// What those in force now grant.
    pub(crate) fn of(runtime: &Runtime) -> Self {
        Self(runtime.current())
    }

    /// What the user who brings it gets.
    pub(crate) fn reward(&self, user: UserId) -> Micropoints {
        let policies = self.0.choose(Choice::of(user.as_bytes()));
        policies.pricing.map_or(Micropoints::ZERO, |pricing| pricing.plan().rewards.first_credential)
    }
}

/// A check, with everything that it needs.
pub(crate) struct Check {
    /// The components.
    pub(crate) runtime: Runtime,
    /// The subject's provider, where one is configured.
    pub(crate) provider: Option<Provider>,
    /// Where the operator lets components send keys.
    pub(crate) grants: Arc<Grants>,
    /// How the call is carried.
    pub(crate) transport: Settings,
    /// The subject.
    pub(crate) subject: Subject,
    /// The serving credential with this secret, and where its access tokens are kept.
    pub(crate) serving: Option<(Arc<Tokens>, Arc<Credential>)>,
}

impl Check {
    /// Asks the provider, on a thread that ends with the check.
    pub(crate) async fn run(self) -> Found {
        let asked = alone::run(move || async move {
            Runtime::prepare_thread();
            self.ask().await
        });
        asked.await.unwrap_or_else(|| Found::unasked("no thread could be had for it"))
    }

    async fn ask(&self) -> Found {
        let Subject { provider, place, secret } = &self.subject;
        let generation = self.runtime.current();
        let configured = self.provider.as_ref().filter(|provider| provider.enabled);
        let Some((configured, adapter)) = configured.zip(generation.adapter(provider)) else {
            return Found::unasked("the provider is not in use");
        };
        let upstream = Upstream::new(provider, &configured.base_url, wire(configured), adapter, &self.grants);
        let upstream = match place.as_ref().map(|place| upstream.on(place)) {
            None => upstream,
            Some(Ok(there)) => there,
            Some(Err(why)) => return Found::unasked(why),
        };
        let Some(probe) = &upstream.probe else {
            return Found::unasked("the adapter knows no call that would tell");
        };
        if let Some(missing) = probe.endpoint.missing.clone().or_else(|| upstream.missing()) {
            return Found::unasked(missing.to_string());
        }
        let transports = Transports::new(&self.transport);
        let (token, renewed) = match self.token(&transports, &upstream).await {
            Ok(had) => had,
            Err(error) => return Found::said(None, Some(error.class())),
        };
        let secret = token.as_deref().unwrap_or(secret);
        let Some(request) = request(&upstream, probe, secret) else {
            return Found { renewed, ..Found::unasked("the key cannot be sent as it is") };
        };
        let found = match timeout(PATIENCE, send(&transports, &upstream, probe, request)).await {
            Ok(found) => found,
            Err(_) => Found::said(None, Some(FailureClass::Transient)),
        };
        Found { renewed, ..found }
    }

    /// The access token for the secret, if its platform needs one, and the secret to keep after that.
    async fn token(
        &self,
        transports: &Transports,
        upstream: &Upstream,
    ) -> Result<(Option<Arc<Secret>>, Option<Secret>), TokenError> {
        // Where the secret may not go for a token, nobody has come this far.
        let Some(Ok(scheme)) = upstream.terms.as_ref().map(|terms| terms.scheme()) else {
            return Ok((None, None));
        };
        match &self.serving {
            Some((tokens, credential)) => Ok((tokens.bearer(credential, scheme, now()).await?, None)),
            None => {
                let first = issue::first(transports, scheme, &self.subject.secret).await?;
                Ok(first.map_or((None, None), |First { token, renewed }| (Some(token), renewed)))
            }
        }
    }
}

/// The call; `None` where the adapter's templates do not give a valid request, or the secret lacks what its platform
/// needs.
fn request(upstream: &Upstream, probe: &Probe, secret: &Secret) -> Option<Authorized> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let message = Message {
        method: Method::GET,
        target: probe.target.clone(),
        model: None,
        headers,
        body: Chained::default(),
    };
    let envelope = upstream.envelope(&probe.endpoint, message).ok()?;
    authorize(envelope, secret, now()).ok()
}

async fn send(transports: &Transports, upstream: &Upstream, probe: &Probe, request: Authorized) -> Found {
    let Ok(answer) = request.send(transports).await else {
        return Found::said(None, Some(FailureClass::Transient));
    };
    let Answer { head, body } = answer;
    let status = head.status.as_u16();
    let body = begin(body, &head.headers).await;
    if head.status.is_success() {
        // A network in between may let everyone in to a page of its own.
        let failure = (Shape::of(&body) == Some(Shape::Page)).then_some(FailureClass::Unknown);
        let account = account(probe, &head.headers).filter(|_| failure.is_none());
        return Found { account, ..Found::said(Some(status), failure) };
    }
    let kind = upstream.adapter.plan().error_header.as_ref();
    let kind = kind.and_then(|name| head.headers.get(name)?.to_str().ok()).unwrap_or_default();
    let refusal = Refusal { status, retry_after_ms: None, kind, body: &body };
    let failure = upstream.adapter.classify(&refusal);
    Found::said(Some(status), Some(failure.map_or(FailureClass::Unknown, |failure| failure.class)))
}

/// The first bytes of an answer, as far as they come.
async fn begin(mut body: AnswerBody, headers: &HeaderMap) -> Vec<u8> {
    body.look_inside(headers, true);
    let mut begin = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let data = frame.into_data().unwrap_or_default();
        begin.extend_from_slice(&data[..data.len().min(BODY_BYTES_MAX - begin.len())]);
        if begin.len() == BODY_BYTES_MAX {
            break;
        }
    }
    begin
}

fn account(probe: &Probe, headers: &HeaderMap) -> Option<String> {
    let value = headers.get(probe.account_header.as_deref()?)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}
