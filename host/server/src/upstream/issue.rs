//! Fetches an access token: the call to an authorization server with a refresh token or a service account's signature.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Uri};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_runtime::Scheme;

use super::authorize::{USUAL_LIFE_S, authorize};
use super::envelope::{Endpoint, Envelope};
use super::proof::{Manner, Proof};
use crate::clock::now;
use crate::state::secret::with;
use crate::state::tokens::{self, PATIENCE, TokenError, buys};
use crate::transport::body::Chained;
use crate::transport::{Answer, Settings, Transports, Wire, alone};

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A new token for a secret.
pub(crate) struct First {
    /// The token.
    pub(crate) token: Arc<Secret>,
    /// The secret to keep, where fetching the token has changed it.
    pub(crate) renewed: Option<Secret>,
}

/// Fetches a token for a secret that this gateway does not hold yet; `None` where the secret itself is used.
///
/// # Errors
/// When no token can be fetched.
pub(crate) async fn first(
    transports: &Transports,
    scheme: &Scheme,
    secret: &Secret,
) -> Result<Option<First>, TokenError> {
    if !buys(scheme, secret) {
        return Ok(None);
    }
    if let Some(token) = tokens::stored(secret, now()) {
        return Ok(Some(First { token, renewed: None }));
    }
    let made = patiently(transports, scheme, secret).await?;
    let renewed =
        matches!(scheme, Scheme::OauthRefresh { .. }).then(|| made.renews(secret, made.until(now())));
    Ok(Some(First { token: Arc::new(made.token()), renewed }))
}

/// Fetches a token, on a separate thread.
///
/// # Errors
/// When no token can be fetched.
pub(crate) async fn issue(settings: Settings, scheme: Scheme, secret: Secret) -> Result<Made, TokenError> {
    let made = alone::run(move || async move {
        let transports = Transports::new(&settings);
        patiently(&transports, &scheme, &secret).await
    });
    made.await.unwrap_or(Err(TokenError::Unavailable))
}

/// The answer of an authorization server.
#[derive(Deserialize)]
pub(crate) struct Made {
    access_token: String,
    refresh_token: Option<String>,
    expires_in: Option<u64>,
}

/// Its error.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "error")]
    _error: serde::de::IgnoredAny,
}

impl Made {
    /// The token itself.
    pub(crate) fn token(&self) -> Secret {
        Secret::new(self.access_token.clone())
    }

    /// When a token that was made at `at` ends.
    pub(crate) fn until(&self, at: Timestamp) -> Timestamp {
        at.plus_ms(self.expires_in.unwrap_or(USUAL_LIFE_S).saturating_mul(1000))
    }

    /// A secret after a refresh has replaced parts of it.
    pub(crate) fn renews(&self, old: &Secret, until: Timestamp) -> Secret {
        let changed = [("access_token", json!(self.access_token)), ("expires_at_ms", json!(until.millis()))];
        let rotated = self.refresh_token.as_ref().map(|token| ("refresh_token", json!(token)));
        with(old, changed.into_iter().chain(rotated))
    }
}

async fn patiently(transports: &Transports, scheme: &Scheme, secret: &Secret) -> Result<Made, TokenError> {
    timeout(PATIENCE, make(transports, scheme, secret)).await.unwrap_or(Err(TokenError::Unavailable))
}

async fn make(transports: &Transports, scheme: &Scheme, secret: &Secret) -> Result<Made, TokenError> {
    let envelope = envelope(scheme).ok_or(TokenError::Refused)?;
    let request = authorize(envelope, secret, now()).map_err(|_| TokenError::Refused)?;
    let answer = request.buy(transports).await.map_err(|_| TokenError::Unavailable)?;
    let Answer { head, mut body } = answer;
    let status = head.status;
    body.look_inside(&head.headers, true);
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|_| TokenError::Unavailable)?.to_bytes();
    // Only an authorization server's own word (RFC 6749, section 5.2) counts, not a page of a network in between.
    if matches!(status.as_u16(), 400 | 401 | 403) && serde_json::from_slice::<Refusal>(&body).is_ok() {
        return Err(TokenError::Refused);
    }
    let made = status.is_success().then(|| serde_json::from_slice(&body).ok()).flatten();
    made.ok_or(TokenError::Unavailable)
}

/// The call without its body, which is made from the secret.
fn envelope(scheme: &Scheme) -> Option<Envelope> {
    let (url, manner) = match scheme {
        Scheme::OauthRefresh { token_url, client_id } => {
            (token_url, Manner::RefreshToken { client_id: client_id.clone() })
        }
        Scheme::ServiceAccountJwt { token_url, scope } => {
            (token_url, Manner::Assertion { audience: token_url.clone(), scope: scope.clone() })
        }
        Scheme::Header | Scheme::Query(_) | Scheme::Sigv4(_) => return None,
    };
    let parts = url.parse::<Uri>().ok()?.into_parts();
    let endpoint =
        Endpoint::new(parts.scheme?, parts.authority?, Wire::Http1, Proof { headers: Vec::new(), manner });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Some(Envelope {
        endpoint: Arc::new(endpoint),
        method: Method::POST,
        target: parts.path_and_query?,
        model: None,
        headers,
        body: Chained::default(),
    })
}
