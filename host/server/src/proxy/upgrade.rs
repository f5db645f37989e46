//! A client that asks for a WebSocket on its connection: whether there is one at its path, and the handshake
//! (RFC 6455, section 4). What is spoken then is a [`session`](super::session).

use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};

use super::authenticate;
use super::error::ProxyError;
use super::lane::Lane;
use super::relay::Outgoing;
use super::session::{Opened, Switched};
use crate::transport::websocket::{Kind, accept};

/// A subprotocol in which the browser of a page brings its key, because it can set no header.
const KEY_PROTOCOL: &str = "openai-insecure-api-key.";
/// The subprotocol of OpenAI's that a browser is told was chosen.
const REALTIME_PROTOCOL: &str = "realtime";

/// Whether a request asks for one. Other upgrades are offers that may be passed over (RFC 9110, section 7.8): Java's
/// client sends `h2c` with its first request, and is content with an answer.
pub(super) fn asks(head: &Parts) -> bool {
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && head.headers.contains_key(header::UPGRADE)
        && lists(&head.headers, &header::UPGRADE, "websocket")
        && lists(&head.headers, &header::CONNECTION, "upgrade")
}

/// The words of a header that is a list.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    words(headers, name).any(|named| named.eq_ignore_ascii_case(word))
}

/// What is spoken at a path, where its client asks for a WebSocket and there is one.
pub(super) fn path(head: &Parts) -> Option<Kind> {
    if !asks(head) {
        return None;
    }
    match head.uri.path().trim_end_matches('/') {
        "/v1/responses" | "/responses" => Some(Kind::Responses),
        "/v1/realtime" | "/realtime" => Some(Kind::Realtime),
        _ => None,
    }
}

/// The answer to a handshake, and what serves the connection behind it; or the refusal of a call without which there is
/// no session.
pub(super) type Shaken = Result<(Response<Outgoing>, Switched), Response<Outgoing>>;

/// Answers a handshake.
///
/// # Errors
/// Why there is no session, for the client to be told.
pub(super) async fn shake(lane: &Rc<Lane>, head: &mut Parts, kind: Kind) -> Result<Shaken, ProxyError> {
    let bad = |words: &str| ProxyError::bad_request(words, None);
    if !lists(&head.headers, &header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(bad("`Sec-WebSocket-Version` has to be 13."));
    }
    let key = head.headers.get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| bad("`Sec-WebSocket-Key` is missing."))?;
    let accepted = HeaderValue::try_from(accept(key.as_bytes())).map_err(|_| ProxyError::Internal)?;
    let realtime = lists(&head.headers, &header::SEC_WEBSOCKET_PROTOCOL, REALTIME_PROTOCOL);
    take_key_protocol(&mut head.headers);
    // Who calls? Each call of the session is asked again.
    let (mut headers, mut query) = (head.headers.clone(), head.uri.query().unwrap_or_default().to_owned());
    let keys = authenticate::take_keys(&mut headers, &mut query);
    authenticate::caller(&lane.shared.directory.load(), &keys, lane.date())?;
    let opened = match Opened::new(lane, of_session(head), kind).await? {
        Ok(opened) => opened,
        Err(refused) => return Ok(Err(refused)),
    };
    let mut response = Response::new(Outgoing::from(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let told = response.headers_mut();
    told.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    told.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    told.insert(header::SEC_WEBSOCKET_ACCEPT, accepted);
    if realtime {
        told.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(REALTIME_PROTOCOL));
    }
    Ok(Ok((response, Box::new(move |wire, read, stop| Box::pin(opened.serve(wire, read, stop))))))
}

/// Puts a key that came as a subprotocol where keys are looked for.
fn take_key_protocol(headers: &mut HeaderMap) {
    let key =
        words(headers, &header::SEC_WEBSOCKET_PROTOCOL).find_map(|word| word.strip_prefix(KEY_PROTOCOL));
    let bearer = key.and_then(|key| HeaderValue::try_from(format!("Bearer {key}")).ok());
    if let Some(mut bearer) = bearer {
        bearer.set_sensitive(true);
        headers.append(header::AUTHORIZATION, bearer);
    }
}

/// The head that each call of a session has: what the client said once, without the handshake.
fn of_session(head: &Parts) -> Parts {
    let mut request = http::Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    let (mut head, ()) = request.into_parts();
    let shaking = [
        header::UPGRADE,
        header::CONNECTION,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_PROTOCOL,
        header::SEC_WEBSOCKET_EXTENSIONS,
    ];
    for name in shaking {
        head.headers.remove(name);
    }
    head
}

#[cfg(test)]
mod tests {
    use super::{asks, take_key_protocol};

    fn check(method: &str, headers: &[(&str, &str)], expected: bool) {
        let mut request = http::Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        assert_eq!(asks(&request.body(()).unwrap().into_parts().0), expected, "{method} {headers:?}");
    }

    #[test]
    fn a_websocket_is_asked_for_by_both_headers() {
        let [upgrade, connection] = [("upgrade", "websocket"), ("connection", "Upgrade")];
        check("GET", &[upgrade, connection], true);
        check("GET", &[("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")], true);
        check("POST", &[upgrade, connection], false);
        check("GET", &[upgrade], false);
        check("GET", &[connection], false);
        check("GET", &[("upgrade", "h2c"), ("connection", "Upgrade, HTTP2-Settings")], false);
    }

    #[test]
    fn a_browser_brings_its_key_as_a_subprotocol() {
        let mut headers = http::HeaderMap::new();
        let offered = "realtime, openai-insecure-api-key.tg_one, openai-beta.realtime-v1";
        headers.insert("sec-websocket-protocol", offered.parse().unwrap());
        take_key_protocol(&mut headers);
        assert_eq!(headers["authorization"], "Bearer tg_one");
    }
}
