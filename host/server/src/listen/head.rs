//! What may stand in a head, whichever version of HTTP brought it, beyond what makes it readable.

use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Version};

use super::framing::Fault;
use super::strict::FAULT;

/// Headers whose names have an underscore and that clients send all the same: Codex names its sessions so.
pub(super) const UNDERSCORED: [&str; 3] = ["session_id", "conversation_id", "thread_id"];

const UNDERSCORE: &str = "A header's name has no underscore: others would take it for a hyphen.";
const NO_HOST: &str = "A request has one `Host`.";
const OTHER_HOST: &str = "`Host` is not the host that the request is for.";

/// What a client is told of a head that is refused.
pub(super) fn refused(head: &Parts) -> Option<&'static str> {
    named(&head.headers).or_else(|| hosted(head))
}

/// An underscore is what gateways and scripts of old make of a hyphen: `content_length` would be a second
/// `content-length` to one of two readers, and `x_api_key` a second key.
fn named(headers: &HeaderMap) -> Option<&'static str> {
    let odd = headers
        .keys()
        .map(HeaderName::as_str)
        .find(|name| memchr::memchr(b'_', name.as_bytes()).is_some() && !UNDERSCORED.contains(name))?;
    let told = headers.get(FAULT).filter(|_| odd == FAULT);
    let fault =
        told.and_then(|told| Fault::ALL.into_iter().find(|fault| fault.name().as_bytes() == told.as_bytes()));
    Some(fault.map_or(UNDERSCORE, Fault::words))
}

/// A request is for one host (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
fn hosted(head: &Parts) -> Option<&'static str> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && head.version == Version::HTTP_11) {
        return Some(NO_HOST);
    }
    let authority = head.uri.authority()?;
    let differs =
        host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
    differs.then_some(OTHER_HOST)
}

#[cfg(test)]
mod tests {
    use super::{NO_HOST, OTHER_HOST, UNDERSCORE, refused};
    use http::{Request, Version};

    #[test]
    fn what_two_readers_would_name_differently_is_refused() {
        let told = |uri: &str, version, headers: &[(&str, &str)]| {
            let mut request = Request::get(uri).version(version);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            refused(&request.body(()).unwrap().into_parts().0)
        };
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        assert_eq!(told("/", one, &[("host", "x")]), None);
        assert_eq!(told("/", Version::HTTP_10, &[]), None);
        assert_eq!(told("http://x/", two, &[]), None);
        assert_eq!(told("http://X/", one, &[("host", "x")]), None);
        assert_eq!(told("/", one, &[("host", "x"), ("session_id", "7")]), None);
        for name in ["x_api_key", "content_length", "transfer_encoding", "a_b", "_", "x-a_b"] {
            assert_eq!(told("/", one, &[("host", "x"), (name, "1")]), Some(UNDERSCORE), "{name}");
            assert_eq!(told("http://x/", two, &[(name, "1")]), Some(UNDERSCORE), "{name}");
        }
        assert_eq!(told("/", one, &[]), Some(NO_HOST));
        assert_eq!(told("/", one, &[("host", "x"), ("host", "x")]), Some(NO_HOST));
        assert_eq!(told("http://x/", one, &[("host", "y")]), Some(OTHER_HOST));
        assert_eq!(told("http://x/", two, &[("host", "x:80")]), Some(OTHER_HOST));
    }
}
