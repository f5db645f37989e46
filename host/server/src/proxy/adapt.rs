//! Step 6: the request as the upstream wants it. Same protocol in and out, so this is data work alone: the client's bytes
//! with declared splices, its headers without what must not travel, and the credential put in by the host.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use tollgate_core::json::{self, Kind, Value};

use super::error::ProxyError;
use super::read::Inbound;
use super::select::Lease;
use crate::body::{Chained, Splice};
use crate::road::{Shape, StreamOption};

/// A request ready to go, and what its answer must be rid of.
pub(crate) struct Outbound {
    /// The request.
    pub(crate) request: Request<Chained>,
    /// Top-level member that is empty in the event that the client did not ask for, where one is caused.
    pub(crate) withhold: Option<String>,
}

/// Headers that end at the gateway: hop-by-hop ones, those it writes itself, and those that tell of the client's way here.
const STOPPED: [HeaderName; 22] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::HOST,
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
    header::COOKIE,
    header::ORIGIN,
    header::REFERER,
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Removes what must not travel from the client's headers: once per request, before the first attempt.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        named.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in STOPPED.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Builds the request of one attempt.
///
/// # Errors
/// [`ProxyError::Internal`] when the adapter's templates give no valid request.
pub(crate) fn request(inbound: &Inbound, call: Shape, lease: &Lease) -> Result<Outbound, ProxyError> {
    let upstream = &lease.upstream;
    let target = upstream.target(call, &inbound.model, &inbound.query).ok_or(ProxyError::NoCredential)?;
    let uri: Uri = target
        .parse()
        .map_err(|_| ProxyError::bad_request("The model's name or the query is not valid.", Some("model")))?;
    let mut splices = inbound.splices.clone();
    let mut withhold = None;
    if let Some(option) = upstream.stream_option(inbound.protocol).filter(|_| inbound.streaming)
        && let Some(splice) = splice_option(inbound, option)
    {
        splices.push(splice);
        withhold = Some(option.withhold_when_empty.clone());
    }
    let body = Chained::spliced(&inbound.body, &mut splices);
    let mut headers = inbound.headers.clone();
    for template in upstream.defaults() {
        if !headers.contains_key(&template.name) {
            insert(&mut headers, template.name.clone(), template.value(""))?;
        }
    }
    for template in upstream.auth() {
        insert(&mut headers, template.name.clone(), template.value(lease.credential().secret.expose()))?;
    }
    headers.insert(header::HOST, upstream.host.clone());
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(Outbound { request, withhold })
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) -> Result<(), ProxyError> {
    headers.insert(name, value.ok_or(ProxyError::Internal)?);
    Ok(())
}

/// The splice that sets `object.member` to true, or `None` when the client already did.
fn splice_option(inbound: &Inbound, option: &StreamOption) -> Option<Splice> {
    let StreamOption { object, member, .. } = option;
    let Some(value) = inbound.member(object) else {
        let end = memchr::memrchr(b'}', &inbound.body)?;
        let comma = if inbound.members.is_empty() { "" } else { "," };
        return Some(insertion(end..end, format!(r#"{comma}"{object}":{{"{member}":true}}"#)));
    };
    if value.kind != Kind::Object {
        return Some(insertion(value.start..value.end, format!(r#"{{"{member}":true}}"#)));
    }
    let (mut present, mut any): (Option<Value>, bool) = (None, false);
    // The whole body has been validated, so its parts cannot fail.
    let _valid = json::members_of(&inbound.body, value, |name, value| {
        any = true;
        if name == member.as_bytes() {
            present = Some(value);
        }
    });
    match present {
        Some(value) if json::boolean(&inbound.body, value) == Some(true) => None,
        Some(value) => Some(insertion(value.start..value.end, "true".to_owned())),
        None => {
            let comma = if any { "," } else { "" };
            Some(insertion(value.end - 1..value.end - 1, format!(r#"{comma}"{member}":true"#)))
        }
    }
}

fn insertion(range: std::ops::Range<usize>, with: String) -> Splice {
    Splice { range, with: Bytes::from(with) }
}
