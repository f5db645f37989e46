//! Whose call this is. The key is taken out of the request here and goes no further.

use http::header::{self, HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tollgate_core::time::Timestamp;

use super::error::ProxyError;
use crate::state::directory::{Caller, Directory};
use crate::state::trace::{Detail, detail};

const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("api-key"),
];

/// Takes the API key out of headers and query, wherever it stands, and leaves neither with one.
///
/// `Authorization: Bearer` comes first, then `x-api-key`, `x-goog-api-key`, `api-key` and `?key=`. All of them are
/// removed whichever is used, so that none can go upstream.
pub(crate) fn take_key(headers: &mut HeaderMap, query: &mut String) -> Option<String> {
    let bearer =
        headers.remove(header::AUTHORIZATION).and_then(|value| value.to_str().ok().and_then(bearer_token));
    let mut found = bearer;
    for name in HEADERS {
        if let Some(value) = headers.remove(name) {
            found = found.or_else(|| value.to_str().ok().map(str::to_owned));
        }
    }
    let from_query = take_query_key(query);
    found.or(from_query).filter(|key| !key.is_empty())
}

fn bearer_token(value: &str) -> Option<String> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Removes `key=…` from a query and returns its value.
fn take_query_key(query: &mut String) -> Option<String> {
    if query.is_empty() {
        return None;
    }
    let mut key = None;
    let mut kept = String::with_capacity(query.len());
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if percent_encoding::percent_decode_str(name).eq(b"key".iter().copied()) {
            key = Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned());
            continue;
        }
        if !kept.is_empty() {
            kept.push('&');
        }
        kept.push_str(pair);
    }
    *query = kept;
    key
}

/// The caller whose key this is.
///
/// # Errors
/// [`ProxyError::MissingKey`] without one; [`ProxyError::InvalidKey`] for every other reason, so that an answer tells
/// nothing about which keys exist.
pub(crate) fn caller(
    directory: &Directory,
    key: Option<&str>,
    now: Timestamp,
) -> Result<Arc<Caller>, ProxyError> {
    let key = key.ok_or(ProxyError::MissingKey)?;
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let caller = directory.caller(&digest).ok_or(ProxyError::InvalidKey)?;
    if caller.expires_at.is_some_and(|at| at <= now) {
        return Err(ProxyError::InvalidKey);
    }
    Ok(Arc::clone(caller))
}

/// What an admin is told of a caller.
pub(crate) fn told(caller: &Caller) -> Detail {
    detail!({"user": caller.user.to_string(), "key": caller.api_key.to_string()})
}

#[cfg(test)]
mod tests {
    use super::take_key;
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn check(headers: &[(&'static str, &'static str)], query: &str, key: Option<&str>, query_left: &str) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut left = query.to_owned();
        assert_eq!(take_key(&mut map, &mut left).as_deref(), key);
        assert_eq!(left, query_left);
        assert!(map.is_empty(), "a key stayed behind: {map:?}");
    }

    #[test]
    fn a_key_is_found_wherever_a_client_puts_it_and_never_stays() {
        check(&[("authorization", "Bearer tg_a")], "", Some("tg_a"), "");
        check(&[("authorization", "bearer  tg_a")], "", Some("tg_a"), "");
        check(&[("x-api-key", "tg_b")], "", Some("tg_b"), "");
        check(&[("x-goog-api-key", "tg_c")], "alt=sse", Some("tg_c"), "alt=sse");
        check(&[("api-key", "tg_d")], "", Some("tg_d"), "");
        check(&[], "alt=sse&key=tg_e&x=1", Some("tg_e"), "alt=sse&x=1");
        check(&[], "k%65y=tg%5Fe", Some("tg_e"), "");
        check(&[("authorization", "Bearer tg_a"), ("x-api-key", "tg_b")], "key=tg_e", Some("tg_a"), "");
        check(&[("authorization", "Basic dXNlcg==")], "", None, "");
        check(&[("x-api-key", "")], "keys=1", None, "keys=1");
    }
}
