//! The console's files over HTTP. They are the same for everyone, hold nothing of anybody's, and need no login: what a
//! page shows it asks of the management API.
//!
//! Addresses are relative all the way, so that the console works below any path of a proxy.

use std::io::Read;

use ::bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use tollgate_console::{DIGEST, File, PAGE, find};

use super::answer::{Answer, bytes, whole};

/// Where the page is.
const ROOT: &str = "/console/";
/// The same from `/` and from `/console`.
const FROM_ABOVE: HeaderValue = HeaderValue::from_static("console/");
/// Under one digest a file never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The page names the digest.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// What every file says beside its policy.
const GUARDS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The answer to a request for the console; none for any other.
pub(super) fn answer(head: &Parts) -> Option<Answer> {
    let path = head.uri.path();
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    if path == "/" || path == ROOT.trim_end_matches('/') {
        return Some(redirect());
    }
    let path = path.strip_prefix(ROOT)?;
    if path.is_empty() {
        return Some(page(&head.headers));
    }
    let (digest, path) = path.split_once('/')?;
    let file = find(path).filter(|_| digest == DIGEST)?;
    Some(sent(file, &head.headers, FOR_EVER))
}

fn redirect() -> Answer {
    let mut answer = whole(Bytes::new());
    *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    answer.headers_mut().insert(header::LOCATION, FROM_ABOVE);
    answer
}

/// The page, or word that the browser has it already.
fn page(asked: &HeaderMap) -> Answer {
    let tag = format!("\"{DIGEST}\"");
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut answer = match known.is_some_and(|known| known.contains(&tag)) {
        true => not_modified(),
        false => sent(&PAGE, asked, ASK_AGAIN),
    };
    // A digest is always a header value.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

fn not_modified() -> Answer {
    let mut answer = whole(Bytes::new());
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    answer
}

fn sent(file: &'static File, asked: &HeaderMap, kept: HeaderValue) -> Answer {
    let packed = takes_gzip(asked);
    let body = if packed { Bytes::from_static(file.gzip) } else { unpacked(file.gzip).into() };
    let mut answer = bytes(StatusCode::OK, file.media_type, body);
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, kept);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(file.policy()));
    for (name, value) in GUARDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if packed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// Whether a client says that it reads gzip.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let named = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        name.eq_ignore_ascii_case("gzip") && !refused
    })
}

fn unpacked(gzip: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    // The build packed it.
    let _read = GzDecoder::new(gzip).read_to_end(&mut text);
    text
}
