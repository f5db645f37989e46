//! A client that asks for a WebSocket on its connection.

use http::header::{self, HeaderMap, HeaderName};
use http::request::Parts;
use http::{Method, Version};

/// Whether a request asks for one. Other upgrades are offers that may be passed over (RFC 9110, section 7.8): Java's
/// client sends `h2c` with its first request, and is content with an answer.
pub(super) fn asks(head: &Parts) -> bool {
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && head.headers.contains_key(header::UPGRADE)
        && names(&head.headers, header::UPGRADE, "websocket")
        && names(&head.headers, header::CONNECTION, "upgrade")
}

/// Whether a header that lists words has this one.
fn names(headers: &HeaderMap, header: HeaderName, word: &str) -> bool {
    let lines = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|named| named.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::asks;

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
}
