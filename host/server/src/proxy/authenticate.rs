//! Whose call this is. The key is taken out of the request here and goes no further.

use http::header::{self, HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tollgate_core::time::Timestamp;

use super::error::ProxyError;
use crate::state::directory::{Caller, Directory};
use crate::state::trace::{Detail, detail};

static HEADERS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("api-key"),
];

/// The keys that came with a request, each once, in the order of their places.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    first: Option<Sent>,
    /// Others than the first: a stale one that a client's settings have left in another place.
    others: Vec<Sent>,
}

/// A key, and where it stood.
#[derive(Debug, PartialEq, Eq)]
struct Sent {
    key: String,
    place: &'static str,
}

impl Keys {
    fn add(&mut self, key: String, place: &'static str) {
        let known = self.first.iter().chain(&self.others).any(|sent| sent.key == key);
        if key.is_empty() || known || self.others.len() >= KEYS_MAX {
            return;
        }
        match &mut self.first {
            Some(_) => self.others.push(Sent { key, place }),
            first => *first = Some(Sent { key, place }),
        }
    }
}

/// As many keys beside the first are looked at.
const KEYS_MAX: usize = 7;

/// Takes the API keys out of headers and query, wherever they stand, and leaves neither with one.
///
/// `Authorization: Bearer` comes first, then `x-api-key`, `x-goog-api-key`, `api-key` and `?key=`. All of them are
/// removed whichever is used, so that none can go upstream.
pub(crate) fn take_keys(headers: &mut HeaderMap, query: &mut String) -> Keys {
    let mut keys = Keys::default();
    for name in &HEADERS {
        if !headers.contains_key(name) {
            continue;
        }
        for text in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
            let key = if *name == header::AUTHORIZATION { bearer_token(text) } else { Some(text.trim()) };
            keys.add(key.unwrap_or_default().to_owned(), name.as_str());
        }
        headers.remove(name);
    }
    take_query_keys(query, &mut keys);
    keys
}

/// The token behind `Bearer`; one that stands there alone is taken for it.
fn bearer_token(value: &str) -> Option<&str> {
    match value.trim().split_once(' ') {
        Some((scheme, token)) => scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()),
        None => Some(value.trim()).filter(|value| !value.eq_ignore_ascii_case("bearer")),
    }
}

/// Removes `key=…` from a query.
fn take_query_keys(query: &mut String, keys: &mut Keys) {
    if query.is_empty() {
        return;
    }
    let mut kept = String::with_capacity(query.len());
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if percent_encoding::percent_decode_str(name).eq(b"key".iter().copied()) {
            let key = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            keys.add(key, "?key=");
            continue;
        }
        if !kept.is_empty() {
            kept.push('&');
        }
        kept.push_str(pair);
    }
    *query = kept;
}

/// The caller whose key this is. Of several the one that is valid counts, whatever stands beside it.
///
/// # Errors
/// [`ProxyError::MissingKey`] without one; [`ProxyError::InvalidKey`] for every other reason, so that an answer tells
/// nothing about which keys exist; 400 where two are valid: who pays is not to be guessed.
pub(crate) fn caller(directory: &Directory, keys: &Keys, now: Timestamp) -> Result<Arc<Caller>, ProxyError> {
    let first = keys.first.as_ref().ok_or(ProxyError::MissingKey)?;
    let mut found = valid(directory, first, now).map(|caller| (caller, first));
    for other in &keys.others {
        match (valid(directory, other, now), found) {
            (Some(_), Some((_, known))) => {
                return Err(ProxyError::TwoKeys(known.place, other.place));
            }
            (Some(caller), None) => found = Some((caller, other)),
            (None, _) => {}
        }
    }
    found.map(|(caller, _)| Arc::clone(caller)).ok_or(ProxyError::InvalidKey)
}

fn valid<'d>(directory: &'d Directory, sent: &Sent, now: Timestamp) -> Option<&'d Arc<Caller>> {
    let digest: [u8; 32] = Sha256::digest(sent.key.as_bytes()).into();
    directory.caller(&digest).filter(|caller| caller.expires_at.is_none_or(|at| at > now))
}

/// What an admin is told of a caller.
pub(crate) fn told(caller: &Caller) -> Detail {
    detail!({"user": caller.user.to_string(), "key": caller.api_key.to_string()})
}

#[cfg(test)]
mod tests {
    use super::take_keys;
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn check(headers: &[(&'static str, &'static str)], query: &str, keys: &[&str], query_left: &str) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut left = query.to_owned();
        let taken = take_keys(&mut map, &mut left);
        let taken: Vec<&str> = taken.first.iter().chain(&taken.others).map(|sent| &*sent.key).collect();
        assert_eq!(taken, keys);
        assert_eq!(left, query_left);
        assert!(map.is_empty(), "a key stayed behind: {map:?}");
    }

    #[test]
    fn keys_are_found_wherever_a_client_puts_them_and_never_stay() {
        check(&[("authorization", "Bearer tg_a")], "", &["tg_a"], "");
        check(&[("authorization", "bearer  tg_a")], "", &["tg_a"], "");
        check(&[("authorization", "tg_a")], "", &["tg_a"], "");
        check(&[("authorization", "Bearer ")], "", &[], "");
        check(&[("x-api-key", "tg_b")], "", &["tg_b"], "");
        check(&[("x-goog-api-key", "tg_c")], "alt=sse", &["tg_c"], "alt=sse");
        check(&[("api-key", "tg_d")], "", &["tg_d"], "");
        check(&[], "alt=sse&key=tg_e&x=1", &["tg_e"], "alt=sse&x=1");
        check(&[], "k%65y=tg%5Fe", &["tg_e"], "");
        let all = [("authorization", "Bearer tg_a"), ("x-api-key", "tg_b")];
        check(&all, "key=tg_e&key=tg_f", &["tg_a", "tg_b", "tg_e", "tg_f"], "");
        check(&[("authorization", "Bearer tg_a"), ("x-api-key", "tg_a")], "key=tg_a", &["tg_a"], "");
        check(
            &[("authorization", "Bearer tg_a"), ("authorization", "Bearer tg_b")],
            "",
            &["tg_a", "tg_b"],
            "",
        );
        check(&[("authorization", "Basic dXNlcg==")], "", &[], "");
        check(&[("x-api-key", "")], "keys=1", &[], "keys=1");
    }
}
