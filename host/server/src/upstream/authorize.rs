//! Puts the secret into an envelope, which makes it a request: into headers, the query, a signature, or the form that
//! buys a token. It needs only these two, so the holder of the key can do it on any machine.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Uri};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::json;
use sha2::{Digest, Sha256};
use tollgate_core::mask::Mask;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;

use super::envelope::Envelope;
use super::permission::Missing;
use super::proof::{Manner, Proof};
use super::sigv4::{self, Signed, Signer, hex};
use crate::state::secret::{has_parts, part};
use crate::transport::body::Chained;
use crate::transport::websocket::Session;
use crate::transport::{Answer, Request, SendError, Transports};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SESSION: HeaderName = HeaderName::from_static("x-amz-security-token");
/// How long a token lives if its issuer does not say, and how long an assertion is valid.
pub(super) const USUAL_LIFE_S: u64 = 3600;

/// Why a secret and an envelope do not make a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorizeError {
    /// The adapter's template and the secret do not make a valid header.
    #[error("no header {0} can be made of the secret")]
    Header(HeaderName),
    /// Nobody has allowed the secret to go there.
    #[error(transparent)]
    Missing(Arc<Missing>),
    /// The secret lacks what the provider's scheme needs.
    #[error("the secret has no {0} that serves")]
    Part(&'static str),
}

/// A request with a secret in it.
pub(crate) struct Authorized {
    request: Request,
    /// Knows the secret again.
    mask: Arc<Mask>,
}

impl Authorized {
    /// Sends it and waits for the head of its answer, in which the secret stands nowhere, nor in what follows.
    ///
    /// # Errors
    /// [`SendError`]. Dropping the future tells the provider that nobody waits any more.
    pub(crate) async fn send(self, transports: &Transports) -> Result<Answer, SendError> {
        let Self { request, mask } = self;
        Ok(transports.send(request).await?.covered(mask))
    }

    /// The same, as a call of a session.
    pub(crate) fn within(mut self, session: Option<Session>) -> Self {
        if let Some(session) = session {
            self.request.message.extensions_mut().insert(session);
        }
        self
    }

    /// The same for an answer that holds secrets of its own, and goes no further than who asks.
    ///
    /// # Errors
    /// As [`Authorized::send`].
    pub(super) async fn buy(self, transports: &Transports) -> Result<Answer, SendError> {
        transports.send(self.request).await
    }
}

/// Makes an envelope a request. An access token stands for the secret where the provider needs one.
///
/// # Errors
/// [`AuthorizeError`], where secret and envelope do not fit.
pub(crate) fn authorize(
    envelope: Envelope,
    secret: &Secret,
    at: Timestamp,
) -> Result<Authorized, AuthorizeError> {
    let Envelope { endpoint, method, target, mut headers, mut body, .. } = envelope;
    if let Some(missing) = &endpoint.missing {
        return Err(AuthorizeError::Missing(Arc::clone(missing)));
    }
    let proof = &endpoint.proof;
    // A secret of several parts is for what signs or buys, and none of its parts for a place of their own.
    if proof.shows_secret() && has_parts(secret) {
        return Err(AuthorizeError::Part("single text"));
    }
    for template in &proof.headers {
        let value = template.value(secret.expose());
        let value = value.ok_or_else(|| AuthorizeError::Header(template.name.clone()))?;
        headers.insert(template.name.clone(), value);
    }
    let target = proof.target(target, secret)?;
    if let Some(form) = proof.form(secret, at)? {
        body = form;
    }
    headers.insert(header::HOST, endpoint.host.clone());
    if method != Method::GET {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    proof.sign(&mut headers, (&method, &target), &body, secret, at)?;
    let mut message = http::Request::new(body);
    *message.method_mut() = method;
    *message.uri_mut() = Uri::from(target);
    *message.headers_mut() = headers;
    let request = Request { origin: endpoint.origin.clone(), wire: endpoint.wire, message };
    Ok(Authorized { request, mask: Arc::clone(secret.mask()) })
}

impl Proof {
    /// The target, with the secret in its query if it belongs there.
    fn target(&self, target: PathAndQuery, secret: &Secret) -> Result<PathAndQuery, AuthorizeError> {
        let Manner::Query(name) = &self.manner else { return Ok(target) };
        let key = percent_encoding::utf8_percent_encode(secret.expose(), percent_encoding::NON_ALPHANUMERIC);
        let sign = if target.query().is_some() { '&' } else { '?' };
        PathAndQuery::try_from(format!("{target}{sign}{name}={key}")).map_err(|_| AuthorizeError::Part("key"))
    }

    /// The form that buys a token, where one is asked for.
    fn form(&self, secret: &Secret, at: Timestamp) -> Result<Option<Chained>, AuthorizeError> {
        let form = match &self.manner {
            Manner::RefreshToken { client_id } => refresh(secret, client_id)?,
            Manner::Assertion { audience, scope } => {
                let jwt = assertion(secret, audience, scope, at);
                let jwt = jwt.ok_or(AuthorizeError::Part("service account"))?;
                vec![
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
                    ("assertion", jwt),
                ]
            }
            Manner::Headers | Manner::Query(_) | Manner::Sigv4 { .. } => return Ok(None),
        };
        let form = serde_html_form::to_string(&form).map_err(|_| AuthorizeError::Part("form"))?;
        Ok(Some(Bytes::from(form).into()))
    }

    /// Signs the request, if it has to be signed. Everything that is signed is in place by now.
    fn sign(
        &self,
        headers: &mut HeaderMap,
        (method, target): (&Method, &PathAndQuery),
        body: &Chained,
        secret: &Secret,
        at: Timestamp,
    ) -> Result<(), AuthorizeError> {
        let Manner::Sigv4 { service, region } = &self.manner else { return Ok(()) };
        let needed = |name| part(secret, name).ok_or(AuthorizeError::Part(name));
        let (id, key) = (needed("access_key_id")?, needed("secret_access_key")?);
        let date = sigv4::date(at);
        let value = |name, text: &str| HeaderValue::from_str(text).map_err(|_| AuthorizeError::Part(name));
        headers.insert(DATE, value("date", &date)?);
        if let Some(session) = part(secret, "session_token") {
            let mut session = value("session_token", session.expose())?;
            session.set_sensitive(true);
            headers.insert(SESSION, session);
        }
        let mut sum = Sha256::new();
        body.pieces().for_each(|piece| sum.update(piece));
        // In the order of their names. Others may be changed on the way.
        let names = [header::CONTENT_TYPE, header::HOST, DATE, SESSION];
        let signed: Vec<(&str, &str)> = names
            .iter()
            .filter_map(|name| Some((name.as_str(), headers.get(name)?.to_str().ok()?)))
            .collect();
        let signer = Signer { access_key_id: id.expose(), secret_access_key: key.expose(), region, service };
        let request = Signed {
            method: method.as_str(),
            path: target.path(),
            query: target.query().unwrap_or(""),
            headers: &signed,
            body_sha256: &hex(&sum.finalize()),
        };
        let mut authorization = value("access_key_id", &signer.authorization(&date, &request))?;
        authorization.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, authorization);
        Ok(())
    }
}

/// The form that exchanges a refresh token for an access token.
fn refresh(secret: &Secret, client_id: &str) -> Result<Vec<(&'static str, String)>, AuthorizeError> {
    let refresh = part(secret, "refresh_token").ok_or(AuthorizeError::Part("refresh_token"))?;
    let own = part(secret, "client_id").map(|id| id.expose().to_owned());
    let client_id = own.unwrap_or_else(|| client_id.to_owned());
    let mut form =
        vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", refresh.expose().to_owned())];
    if !client_id.is_empty() {
        form.push(("client_id", client_id));
    }
    Ok(form)
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

/// A private key from its PEM (PKCS #8).
fn key_pair(pem: &Secret) -> Option<RsaKeyPair> {
    let lines = pem.expose().lines().filter(|line| !line.starts_with("-----"));
    let text: String = lines.flat_map(str::chars).filter(|sign| !sign.is_whitespace()).collect();
    RsaKeyPair::from_pkcs8(&zeroize::Zeroizing::new(STANDARD.decode(text).ok()?)).ok()
}

#[cfg(test)]
mod tests;
