//! Hosts that secrets may be sent to, as an operator allows them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The port of an address that names none.
const HTTPS: u16 = 443;
/// Longest name of a host.
const HOST_BYTES_MAX: usize = 253;
/// Longest part of it between two dots.
const LABEL_BYTES_MAX: usize = 63;
/// So many parts at the end of a name stand without a star: whoever owns `example.com` owns all below it.
const FIXED_LABELS: usize = 2;

/// A host, or several that differ within some parts of their name: `api.example.com`, `bedrock.*.amazonaws.com`,
/// `api.example.com:8443`. A star stands for one or more signs, and never for a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    host: String,
    port: u16,
}

/// Why a text names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no host: lower-case letters, digits, `-` and dots, perhaps a port; stars before the last two parts"
)]
pub struct NoHost(String);

impl HostPattern {
    /// Whether it is this host at this port. Case does not count.
    #[must_use]
    pub fn is(&self, host: &str, port: Option<u16>) -> bool {
        let (mut own, mut given) = (self.host.split('.'), host.split('.'));
        let same = |(own, given): (Option<&str>, Option<&str>)| match (own, given) {
            (Some(own), Some(given)) => fits(own.as_bytes(), given.to_ascii_lowercase().as_bytes()),
            (own, given) => own.is_none() && given.is_none(),
        };
        let count = self.host.split('.').count().max(host.split('.').count());
        port.unwrap_or(HTTPS) == self.port && (0..count).all(|_| same((own.next(), given.next())))
    }

    /// Whether every host of the other is one of these.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        // A star of the other is a sign that only a star can match.
        self.is(&other.host, Some(other.port))
    }
}

/// Whether a part of a name fits, of which stars stand for signs.
fn fits(pattern: &[u8], part: &[u8]) -> bool {
    match pattern.split_first() {
        None => part.is_empty(),
        Some((b'*', rest)) => {
            let signs = part.iter().take_while(|sign| is_label_byte(**sign)).count();
            (1..=signs).any(|taken| fits(rest, &part[taken..]))
        }
        Some((sign, rest)) => part.first() == Some(sign) && fits(rest, &part[1..]),
    }
}

const fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'*')
}

impl FromStr for HostPattern {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Self, NoHost> {
        let refused = || NoHost(text.escape_default().to_string());
        let (host, port) = match text.split_once(':') {
            None => (text, HTTPS),
            Some((host, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, digits.parse().map_err(|_| refused())?)
            }
            Some(_) => return Err(refused()),
        };
        let labels: Vec<&str> = host.split('.').collect();
        let label = |label: &&str| {
            let edges = label.starts_with('-') || label.ends_with('-') || label.contains("**");
            (1..=LABEL_BYTES_MAX).contains(&label.len()) && !edges && label.bytes().all(is_label_byte)
        };
        let starred = labels.iter().rposition(|label| label.contains('*'));
        let fixed = starred.is_none_or(|at| labels.len() - 1 - at >= FIXED_LABELS);
        if host.len() > HOST_BYTES_MAX || port == 0 || !fixed || !labels.iter().all(label) {
            return Err(refused());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for HostPattern {
    type Error = NoHost;

    fn try_from(text: String) -> Result<Self, NoHost> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if self.port == HTTPS { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[cfg(test)]
mod tests {
    use super::HostPattern;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_host_is_itself_and_no_other() {
        let own = pattern("api.example.com");
        assert!(own.is("api.example.com", None) && own.is("API.Example.com", Some(443)));
        for other in [
            "api.example.com.",
            "api.example.com.evil.com",
            "xapi.example.com",
            "example.com",
            "api-example.com",
            "evil.com/api.example.com",
            "api.example.com@evil.com",
            ".api.example.com",
            "api..example.com",
            "",
        ] {
            assert!(!own.is(other, None), "{other}");
        }
        assert!(!own.is("api.example.com", Some(8443)));
        assert!(pattern("api.example.com:8443").is("api.example.com", Some(8443)));
        assert!(
            pattern("127.0.0.1:80").is("127.0.0.1", Some(80)) && pattern("localhost").is("localhost", None)
        );
    }

    #[test]
    fn a_star_stands_for_signs_within_one_part() {
        let own = pattern("bedrock-runtime.*.amazonaws.com");
        assert!(own.is("bedrock-runtime.eu-central-1.amazonaws.com", None));
        for other in [
            "bedrock-runtime..amazonaws.com",
            "bedrock-runtime.amazonaws.com",
            "bedrock-runtime.x.evil.com.amazonaws.com",
            "bedrock-runtime.a/b.amazonaws.com",
            "bedrock-runtime.eu.amazonaws.com.evil.com",
        ] {
            assert!(!own.is(other, None), "{other}");
        }
        let own = pattern("*-aiplatform.googleapis.com");
        assert!(own.is("europe-west1-aiplatform.googleapis.com", None));
        assert!(
            !own.is("-aiplatform.googleapis.com", None) && !own.is("x.y-aiplatform.googleapis.com", None)
        );
    }

    #[test]
    fn one_that_says_less_covers_one_that_says_more() {
        assert!(pattern("*.example.com").covers(&pattern("api.example.com")));
        assert!(pattern("*.example.com").covers(&pattern("*.example.com")));
        assert!(pattern("*.example.com").covers(&pattern("a-*.example.com")));
        assert!(!pattern("api.example.com").covers(&pattern("*.example.com")));
        assert!(!pattern("a-*.example.com").covers(&pattern("*.example.com")));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.com",
            "a.*",
            "*.*",
            "a.*.com",
            "https://a.example.com",
            "a.example.com/",
            "user@a.example.com",
            "a.example.com.",
            ".a.example.com",
            "a..example.com",
            "A.example.com",
            "é.example.com",
            "a b.example.com",
            "a.example.com:",
            "a.example.com:0",
            "a.example.com:65536",
            "a.example.com:+80",
            "a.example.com:80:80",
            "[::1]",
            "-a.example.com",
            "a-.example.com",
            "a\n.example.com",
            "a%2eb.example.com",
            "a_b.example.com",
            "{region}.example.com",
            "**.example.com",
            &"a".repeat(64),
            &["a"; 200].join("."),
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
        assert_eq!(pattern("a.example.com:443").to_string(), "a.example.com");
        assert_eq!(pattern("a.example.com:8443").to_string(), "a.example.com:8443");
    }
}
