//! Calls from web pages (Fetch, section 3.2): which pages may call is the operator's word, and what they may read of an
//! answer is all of it, errors too.
//!
//! No answer allows credentials of the browser's own, such as cookies: a page sends its API key itself, or none.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::Outgoing;
use crate::config::Origin;
use bytes::Bytes;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
/// How long a browser remembers that it may: for as long as any of them does, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const ANY: HeaderValue = HeaderValue::from_static("*");
const YES: HeaderValue = HeaderValue::from_static("true");
const ASKED: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
const PRIVATE: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");
/// Longest list of headers that is repeated to a browser.
const LIST_BYTES_MAX: usize = 4096;

/// What a browser is told of an answer.
pub(super) enum Page {
    /// Nothing: no page may call.
    None,
    /// Nothing, because another page might be told more.
    Other,
    /// That the page of this origin may read it.
    Of(HeaderValue),
}

/// What a browser is told of the answer to a request.
pub(super) fn page(origins: &[Origin], headers: &HeaderMap) -> Page {
    if origins.is_empty() {
        return Page::None;
    }
    if origins.iter().any(Origin::is_any) {
        return Page::Of(ANY);
    }
    let named = headers.get(header::ORIGIN);
    let admitted = |origin: &&HeaderValue| {
        origin.to_str().is_ok_and(|origin| origins.iter().any(|known| known.admits(origin)))
    };
    named.filter(admitted).map_or(Page::Other, |origin| Page::Of(origin.clone()))
}

impl Page {
    /// The answer to a browser that asks before it calls; `None` where nobody asks, or may not call.
    pub(super) fn preflight(&self, parts: &Parts) -> Option<Response<Outgoing>> {
        let asks = parts.method == Method::OPTIONS
            && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let (true, Self::Of(_)) = (asks, self) else { return None };
        let mut response = Response::new(Outgoing::from(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        headers.insert(header::VARY, ASKED);
        let wanted = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(wanted) = wanted.filter(|wanted| is_list(wanted)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        if parts.headers.get(PRIVATE).is_some_and(|value| *value == YES) {
            headers.insert(ALLOW_PRIVATE, YES);
        }
        Some(response)
    }

    /// Tells the browser.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        match self {
            Self::None => {}
            Self::Other => {
                headers.append(header::VARY, HeaderValue::from_static("origin"));
            }
            Self::Of(origin) => {
                let exposed: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
                if let Ok(exposed) = HeaderValue::try_from(exposed.join(", ")) {
                    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
                }
                if *origin != ANY && headers.get(header::VARY) != Some(&ASKED) {
                    headers.append(header::VARY, HeaderValue::from_static("origin"));
                }
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            }
        }
    }
}

/// Whether it is a list of names of headers.
fn is_list(value: &HeaderValue) -> bool {
    let sign = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, ".contains(byte);
    value.len() <= LIST_BYTES_MAX && value.as_bytes().iter().all(sign)
}
