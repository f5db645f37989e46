//! Which web pages may call, by their origin.

use serde::Deserialize;

/// An origin (RFC 6454) as browsers write it, or a pattern: `*` for any, `http://localhost:*` for any port,
/// `https://*.example.com` for any host below one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(String);

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = |part: &str| {
            let sign = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
            !part.is_empty() && part.bytes().all(sign) && !part.bytes().any(|byte| byte.is_ascii_uppercase())
        };
        let host = |rest: &str| {
            let rest = rest.strip_suffix(":*").unwrap_or(rest);
            plain(rest.strip_prefix("*.").unwrap_or(rest))
        };
        let named = text.split_once("://").is_some_and(|(scheme, rest)| plain(scheme) && host(rest));
        if named || text == "*" || text == "null" {
            return Ok(Self(text));
        }
        Err(format!("`{text}` is no origin such as https://chat.example.com, http://localhost:* or *"))
    }
}

impl Origin {
    /// Whether it is all of them.
    pub(crate) fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// Whether a page of this origin may call.
    pub(crate) fn admits(&self, origin: &str) -> bool {
        if self.is_any() || self.0 == origin {
            return true;
        }
        let (Some((scheme, pattern)), Some((other, rest))) =
            (self.0.split_once("://"), origin.split_once("://"))
        else {
            return false;
        };
        let (pattern, rest) = match pattern.strip_suffix(":*") {
            Some(host) => (host, without_port(rest)),
            None => (pattern, rest),
        };
        let fits = match pattern.strip_prefix('*') {
            Some(below) => rest.strip_suffix(below).is_some_and(|name| !name.is_empty()),
            None => pattern == rest,
        };
        scheme == other && fits
    }
}

/// A host without the port behind it.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;

    #[test]
    fn a_pattern_admits_what_it_names_and_nothing_that_looks_like_it() {
        let check = |pattern: &str, origin: &str, admitted: bool| {
            let pattern = Origin::try_from(pattern.to_owned()).unwrap();
            assert_eq!(pattern.admits(origin), admitted, "{pattern:?} {origin}");
        };
        check("*", "https://a.example", true);
        check("https://a.example", "https://a.example", true);
        check("https://a.example", "http://a.example", false);
        check("https://a.example", "https://a.example.evil", false);
        check("https://a.example", "https://a.example:8443", false);
        check("http://localhost:*", "http://localhost:5173", true);
        check("http://localhost:*", "http://localhost", true);
        check("http://localhost:*", "http://localhost.evil:80", false);
        check("http://localhost:*", "http://localhost:80evil", false);
        check("https://*.a.example", "https://b.a.example", true);
        check("https://*.a.example", "https://.a.example", false);
        check("https://*.a.example", "https://a.example", false);
        check("https://*.a.example", "https://evila.example", false);
        check("https://*.a.example:*", "https://c.b.a.example:1", true);
        check("app://obsidian.md", "app://obsidian.md", true);
        check("http://[::1]:*", "http://[::1]:3000", true);
        check("null", "null", true);
        check("https://a.example", "null", false);
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in
            ["", "a.example", "https://", "https://a.example/", "https://a.example/x", "https://*", "**"]
        {
            assert!(Origin::try_from(text.to_owned()).is_err(), "{text}");
        }
        for text in
            ["https://A.example", "https://a.*.example", "https://a b", "*://a.example", "https://*.*"]
        {
            assert!(Origin::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
