//! Access tokens: fetched with a refresh token or a service account's signature, kept until shortly before they end.
//!
//! Workers ask for them; one task on the control thread fetches them, so that many requests that need the same token
//! cause one call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::CredentialId;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_runtime::Scheme;

use crate::clock::now;
use crate::state::credentials::Credential;
use crate::state::secret::{has_parts, number, part};

/// A token that ends sooner than this is replaced while it still serves …
const RENEWED_BEFORE_MS: u64 = 120_000;
/// … and one that ends sooner than this is not used any more.
const GOOD_BEFORE_MS: u64 = 30_000;
/// How long fetching a token may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// The secret is refused, or of the wrong kind.
    #[error("the secret buys no access token")]
    Refused,
    /// Another attempt may succeed.
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

/// Every token that may still be valid: none may be in a body that is kept.
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
    /// Which one.
    pub(crate) credential: CredentialId,
    /// How its tokens are fetched.
    pub(crate) scheme: Scheme,
    state: watch::Sender<State>,
    issued: Arc<Issued>,
}

struct State {
    /// The newest secret, and all those before it: a request may still hold an older one.
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
    /// No tokens yet, and the receiving end for the task that fetches them.
    pub(crate) fn new() -> (Self, UnboundedReceiver<Arc<Slot>>) {
        let (wanted, receiver) = unbounded_channel();
        (Self { slots: Mutex::default(), wanted, issued: Arc::default() }, receiver)
    }

    /// The tokens that may still be valid.
    pub(crate) fn issued(&self) -> &Issued {
        &self.issued
    }

    /// The access token for a credential whose platform needs one; `None` where the secret itself is used.
    ///
    /// # Errors
    /// When no token can be fetched.
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

    /// A token was refused: it is not used again. `false` where it was another's or cannot be replaced.
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

    /// Has a token fetched, unless that is under way.
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

impl Slot {
    /// The secret for fetching the next token.
    pub(crate) fn secret(&self) -> Secret {
        self.state.borrow().secret.clone()
    }

    /// The next token is fetched with another secret. Requests that hold the old one still find their token here.
    pub(crate) fn renew(&self, old: Secret, new: Secret) {
        self.state.send_modify(|state| {
            state.earlier.push(old);
            state.secret = new;
        });
    }

    /// A token was fetched, valid until that time, or could not be. Notifies everyone who waits for it.
    pub(crate) fn made(&self, made: Result<(Secret, Timestamp), TokenError>) {
        self.state.send_modify(|state| {
            state.making = false;
            state.failed = made.as_ref().err().copied();
            if let Ok((token, until)) = made {
                let token = Arc::new(token);
                self.issued.add(&token, until, now());
                state.token = Some((token, until));
            }
        });
    }
}

/// The token that is a part of a secret, while it is valid.
pub(crate) fn stored(secret: &Secret, at: Timestamp) -> Option<Arc<Secret>> {
    State::new(secret).good(at, GOOD_BEFORE_MS).cloned()
}

/// Whether a secret is exchanged for tokens, or sent itself.
pub(crate) fn buys(scheme: &Scheme, secret: &Secret) -> bool {
    matches!(scheme, Scheme::OauthRefresh { .. } | Scheme::ServiceAccountJwt { .. }) && has_parts(secret)
}

#[cfg(test)]
mod tests {
    use super::{State, Timestamp};
    use serde_json::{Value, json};
    use tollgate_core::secret::Secret;

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
