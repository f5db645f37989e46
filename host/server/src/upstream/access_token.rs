//! Access tokens: had for a refresh token or for a service account's signature, kept until shortly before they end.
//!
//! Workers ask for them; one task on the control thread has them made, so that of many requests that need the same token one
//! makes the gateway ask for it. A refresh token that was replaced is sealed and stored before the new one is used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::CredentialId;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_runtime::Scheme;

use crate::clock::now;
use crate::manage::Management;
use crate::state::directory::Credential;
use crate::telemetry::chain;
use crate::upstream::secret::{has_parts, number, part, with};

/// A token that ends sooner than this is replaced while it still serves …
const RENEWED_BEFORE_MS: u64 = 120_000;
/// … and one that ends sooner than this serves no more.
const GOOD_BEFORE_MS: u64 = 30_000;
/// How long a token lives whose maker does not say.
const USUAL_LIFE_S: u64 = 3600;
/// How long a token may take to be made.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// The secret is not taken, or not one for this.
    #[error("the secret buys no access token")]
    Refused,
    /// Another try may help.
    #[error("no access token could be had now")]
    Unavailable,
}

impl TokenError {
    /// What it means for the credential.
    pub(crate) const fn class(self) -> FailureClass {
        match self {
            Self::Refused => FailureClass::InvalidCredential,
            Self::Unavailable => FailureClass::Transient,
        }
    }
}

/// All tokens of this gateway.
pub(crate) struct Tokens {
    slots: Mutex<HashMap<CredentialId, Arc<Slot>>>,
    wanted: UnboundedSender<Arc<Slot>>,
    issued: Arc<Issued>,
}

/// Every token that may still be good: what must be in no body that is kept.
#[derive(Default)]
pub(crate) struct Issued {
    tokens: Mutex<Vec<(Arc<Secret>, Timestamp)>>,
    count: AtomicU64,
}

impl Issued {
    fn add(&self, token: &Arc<Secret>, until: Timestamp, at: Timestamp) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|(_, until)| *until > at);
        tokens.push((Arc::clone(token), until));
        self.count.fetch_add(1, Ordering::Release);
    }

    /// A number that grows with each token.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Secret>> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.iter().map(|(token, _)| Arc::clone(token)).collect()
    }
}

/// The token of one credential.
pub(crate) struct Slot {
    credential: CredentialId,
    scheme: Scheme,
    state: watch::Sender<State>,
    issued: Arc<Issued>,
}

struct State {
    /// The newest secret, and all that it has come from: a request may still hold an older one.
    secret: Secret,
    earlier: Vec<Secret>,
    token: Option<(Arc<Secret>, Timestamp)>,
    failed: Option<TokenError>,
    making: bool,
}

impl State {
    fn new(secret: &Secret) -> Self {
        let until = number(secret, "expires_at_ms").map_or(u64::MAX, |ms| ms);
        let token = part(secret, "access_token")
            .filter(|_| until < u64::MAX || part(secret, "refresh_token").is_none())
            .map(|token| (Arc::new(token), Timestamp::from_millis(until)));
        Self { secret: secret.clone(), earlier: Vec::new(), token, failed: None, making: false }
    }

    fn good(&self, at: Timestamp, for_ms: u64) -> Option<&Arc<Secret>> {
        let (token, until) = self.token.as_ref()?;
        (until.since_ms(at) > for_ms).then_some(token)
    }
}

impl Tokens {
    /// None yet, and the receiving end for [`serve`].
    pub(crate) fn new() -> (Self, UnboundedReceiver<Arc<Slot>>) {
        let (wanted, receiver) = unbounded_channel();
        (Self { slots: Mutex::default(), wanted, issued: Arc::default() }, receiver)
    }

    /// The tokens that may still be good.
    pub(crate) fn issued(&self) -> &Issued {
        &self.issued
    }

    /// What stands for a credential where its platform wants an access token; `None` where it is the secret itself.
    ///
    /// # Errors
    /// When no token can be had.
    pub(crate) async fn bearer(
        &self,
        credential: &Credential,
        scheme: &Scheme,
        at: Timestamp,
    ) -> Result<Option<Arc<Secret>>, TokenError> {
        if !buys(scheme, &credential.secret) {
            return Ok(None);
        }
        let slot = self.slot(credential, scheme);
        let mut seen = slot.state.subscribe();
        if let Some(token) = seen.borrow().good(at, RENEWED_BEFORE_MS) {
            return Ok(Some(Arc::clone(token)));
        }
        self.ask(&slot, at);
        if let Some(token) = seen.borrow().good(at, GOOD_BEFORE_MS) {
            return Ok(Some(Arc::clone(token)));
        }
        match timeout(PATIENCE, seen.wait_for(|state| !state.making)).await {
            Ok(Ok(state)) => match state.good(at, 0) {
                Some(token) => Ok(Some(Arc::clone(token))),
                None => Err(state.failed.unwrap_or(TokenError::Unavailable)),
            },
            Ok(Err(_)) | Err(_) => Err(TokenError::Unavailable),
        }
    }

    /// A token was refused: it is not used again. `false` where it was another's or is none that could be replaced.
    pub(crate) fn refused(&self, credential: &Credential, token: &Arc<Secret>) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get(&credential.id) else { return false };
        slot.state.send_if_modified(|state| {
            let same = state.token.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, token));
            if same {
                state.token = None;
            }
            same
        })
    }

    fn slot(&self, credential: &Credential, scheme: &Scheme) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let knows = |slot: &&Arc<Slot>| {
            let state = slot.state.borrow();
            let same = state.secret == credential.secret || state.earlier.contains(&credential.secret);
            same && slot.scheme == *scheme
        };
        if let Some(slot) = slots.get(&credential.id).filter(knows) {
            return Arc::clone(slot);
        }
        let state = State::new(&credential.secret);
        if let Some((token, until)) = &state.token {
            self.issued.add(token, *until, now());
        }
        let (state, _) = watch::channel(state);
        let issued = Arc::clone(&self.issued);
        let slot = Arc::new(Slot { credential: credential.id, scheme: scheme.clone(), state, issued });
        slots.insert(credential.id, Arc::clone(&slot));
        slot
    }

    /// Has a token made, unless that is under way.
    fn ask(&self, slot: &Arc<Slot>, at: Timestamp) {
        let begins = slot.state.send_if_modified(|state| {
            let begins = !state.making && state.good(at, RENEWED_BEFORE_MS).is_none();
            state.making |= begins;
            begins
        });
        if begins && self.wanted.send(Arc::clone(slot)).is_err() {
            slot.state.send_modify(|state| state.making = false);
        }
    }
}

/// Whether a secret buys tokens, or is what goes over the wire itself.
fn buys(scheme: &Scheme, secret: &Secret) -> bool {
    matches!(scheme, Scheme::OauthRefresh { .. } | Scheme::ServiceAccountJwt { .. }) && has_parts(secret)
}

/// A token for a secret that no request uses yet.
pub(crate) struct First {
    /// The token.
    pub(crate) token: Arc<Secret>,
    /// The secret as it has to be kept, where having the token has changed it.
    pub(crate) renewed: Option<Secret>,
}

/// Has a token made for a secret that this gateway does not hold, or not yet; `None` where it is the secret itself.
///
/// # Errors
/// When no token can be had.
pub(crate) async fn first(scheme: &Scheme, secret: &Secret) -> Result<Option<First>, TokenError> {
    if !buys(scheme, secret) {
        return Ok(None);
    }
    if let Some(token) = State::new(secret).good(now(), GOOD_BEFORE_MS) {
        return Ok(Some(First { token: Arc::clone(token), renewed: None }));
    }
    let making = timeout(PATIENCE, make(&client(), scheme, secret)).await;
    let made = making.unwrap_or(Err(TokenError::Unavailable))?;
    let renewed = matches!(scheme, Scheme::OauthRefresh { .. }).then(|| made.renews(secret, made.until()));
    Ok(Some(First { token: Arc::new(Secret::new(made.access_token)), renewed }))
}

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client() -> Https {
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Makes tokens for ever, as they are wanted.
pub(crate) async fn serve(management: Management, mut wanted: UnboundedReceiver<Arc<Slot>>) {
    let client = client();
    while let Some(slot) = wanted.recv().await {
        let (client, management) = (client.clone(), management.clone());
        tokio::spawn(async move {
            let secret = slot.state.borrow().secret.clone();
            let made = match timeout(PATIENCE, make(&client, &slot.scheme, &secret)).await {
                Ok(made) => made,
                Err(_) => Err(TokenError::Unavailable),
            };
            if let Err(error) = &made {
                tracing::warn!(credential = %slot.credential, %error, "a token could not be had");
            }
            let made = match made {
                Ok(made) => Ok(kept(&management, &slot, secret, made).await),
                Err(error) => Err(error),
            };
            slot.state.send_modify(|state| {
                state.making = false;
                state.failed = made.as_ref().err().copied();
                if let Ok((token, until)) = made {
                    let token = Arc::new(token);
                    slot.issued.add(&token, until, now());
                    state.token = Some((token, until));
                }
            });
        });
    }
}

/// What an authorization server says.
#[derive(Deserialize)]
struct Made {
    access_token: String,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

impl Made {
    fn until(&self) -> Timestamp {
        now().plus_ms(self.expires_in.unwrap_or(USUAL_LIFE_S).saturating_mul(1000))
    }

    /// A secret of which a refresh has replaced parts.
    fn renews(&self, old: &Secret, until: Timestamp) -> Secret {
        let changed = [("access_token", json!(self.access_token)), ("expires_at_ms", json!(until.millis()))];
        let rotated = self.refresh_token.as_ref().map(|token| ("refresh_token", json!(token)));
        with(old, changed.into_iter().chain(rotated))
    }
}

/// Stores what a refresh has changed, so that a restart begins with it.
async fn kept(management: &Management, slot: &Slot, old: Secret, made: Made) -> (Secret, Timestamp) {
    let until = made.until();
    if matches!(slot.scheme, Scheme::OauthRefresh { .. }) {
        let new = made.renews(&old, until);
        slot.state.send_modify(|state| {
            state.earlier.push(old);
            state.secret = new.clone();
        });
        if let Err(error) = management.renew_credential(slot.credential, &new).await {
            tracing::error!(credential = %slot.credential, error = chain(&error), "a new token was not stored");
        }
    }
    (Secret::new(made.access_token), until)
}

async fn make(client: &Https, scheme: &Scheme, secret: &Secret) -> Result<Made, TokenError> {
    let (url, form) = match scheme {
        Scheme::OauthRefresh { token_url, client_id } => {
            let refresh = part(secret, "refresh_token").ok_or(TokenError::Refused)?;
            let own = part(secret, "client_id").map(|id| id.expose().to_owned());
            let client_id = own.unwrap_or_else(|| client_id.clone());
            let mut form = vec![("grant_type", "refresh_token".to_owned())];
            form.push(("refresh_token", refresh.expose().to_owned()));
            if !client_id.is_empty() {
                form.push(("client_id", client_id));
            }
            (token_url, form)
        }
        Scheme::ServiceAccountJwt { token_url, scope } => {
            let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned();
            let jwt = assertion(secret, token_url, scope, now()).ok_or(TokenError::Refused)?;
            (token_url, vec![("grant_type", grant), ("assertion", jwt)])
        }
        Scheme::Header | Scheme::Query(_) | Scheme::Sigv4(_) => return Err(TokenError::Refused),
    };
    let body = serde_html_form::to_string(&form).map_err(|_| TokenError::Refused)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(Full::from(body))
        .map_err(|_| TokenError::Refused)?;
    let (head, body) = client.request(request).await.map_err(|_| TokenError::Unavailable)?.into_parts();
    if matches!(head.status.as_u16(), 400 | 401 | 403) {
        return Err(TokenError::Refused);
    }
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| TokenError::Unavailable)?;
    let made = head.status.is_success().then(|| serde_json::from_slice(&body.to_bytes()).ok()).flatten();
    made.ok_or(TokenError::Unavailable)
}

/// A JWT by which a service account asks for a token (RFC 7523), signed by RS256.
fn assertion(secret: &Secret, audience: &str, scope: &str, at: Timestamp) -> Option<String> {
    let issuer = part(secret, "client_email")?;
    let seconds = at.millis() / 1000;
    let mut head = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = part(secret, "private_key_id") {
        head["kid"] = id.expose().into();
    }
    let claims = json!({"iss": issuer.expose(), "scope": scope, "aud": audience, "iat": seconds,
        "exp": seconds + USUAL_LIFE_S});
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(head.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let key = key_pair(&part(secret, "private_key")?)?;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
    Some(format!("{signed}.{}", encode(&signature)))
}

/// A private key out of its PEM (PKCS #8).
fn key_pair(pem: &Secret) -> Option<RsaKeyPair> {
    let lines = pem.expose().lines().filter(|line| !line.starts_with("-----"));
    let text: String = lines.flat_map(str::chars).filter(|sign| !sign.is_whitespace()).collect();
    RsaKeyPair::from_pkcs8(&zeroize::Zeroizing::new(STANDARD.decode(text).ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::{State, Timestamp, URL_SAFE_NO_PAD, assertion, key_pair};
    use base64::Engine;
    use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use serde_json::{Value, json};
    use tollgate_core::secret::Secret;

    const PEM: &str = include_str!("../../testdata/service-account.pem");

    #[test]
    fn an_assertion_is_signed_by_the_accounts_key_and_says_what_it_asks() {
        let account =
            json!({"client_email": "robot@project.example", "private_key": PEM, "private_key_id": "k1"});
        let at = Timestamp::from_millis(1_700_000_000_999);
        let secret = Secret::new(account.to_string());
        let jwt = assertion(&secret, "https://tokens.example/token", "everything", at).unwrap();
        let (signed, signature) = jwt.rsplit_once('.').unwrap();
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let key = key_pair(&Secret::new(PEM.to_owned())).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
        public.verify(signed.as_bytes(), &decode(signature)).unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        let read = |text: &str| serde_json::from_slice::<Value>(&decode(text)).unwrap();
        assert_eq!(read(head), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
        let expected = json!({"iss": "robot@project.example", "scope": "everything",
            "aud": "https://tokens.example/token", "iat": 1_700_000_000, "exp": 1_700_003_600});
        assert_eq!(read(claims), expected);
    }

    #[test]
    fn a_stored_token_serves_until_shortly_before_its_end() {
        let at = Timestamp::from_millis(1_000_000);
        let state = |secret: Value| State::new(&Secret::new(secret.to_string()));
        let stored = json!({"access_token": "a", "refresh_token": "r", "expires_at_ms": 1_060_000});
        assert!(state(stored.clone()).good(at, 30_000).is_some());
        assert!(state(stored).good(at, 120_000).is_none());
        assert!(state(json!({"access_token": "a"})).good(at, 120_000).is_some(), "it lasts");
        let unknown = json!({"access_token": "a", "refresh_token": "r"});
        assert!(state(unknown).good(at, 0).is_none(), "who knows how old it is");
    }
}
