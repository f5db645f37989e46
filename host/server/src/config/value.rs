//! Values that check themselves while they are read, each with its unit.

use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use serde::{Deserialize, Serialize};

/// A time of 1 ms to 1 day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Millis(pub(super) u64);

impl Millis {
    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Millis {
    type Error = &'static str;

    fn try_from(value: u64) -> Result<Self, Self::Error> {
        if (1..=86_400_000).contains(&value) {
            Ok(Self(value))
        } else {
            Err("must be between 1 and 86400000 milliseconds")
        }
    }
}

/// Attempts per request: 1 to 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct Attempts(pub u32);

impl TryFrom<u32> for Attempts {
    type Error = &'static str;

    fn try_from(value: u32) -> Result<Self, Self::Error> {
        if (1..=16).contains(&value) { Ok(Self(value)) } else { Err("must be between 1 and 16") }
    }
}

/// Bytes of a request head: 8 KiB to 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct HeadBytes(pub usize);

impl TryFrom<usize> for HeadBytes {
    type Error = &'static str;

    fn try_from(value: usize) -> Result<Self, Self::Error> {
        if (8192..=1 << 20).contains(&value) {
            Ok(Self(value))
        } else {
            Err("must be between 8192 and 1048576 bytes")
        }
    }
}

/// Bytes of a body that is kept: 1 KiB to 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct BodyBytes(pub usize);

impl TryFrom<usize> for BodyBytes {
    type Error = &'static str;

    fn try_from(value: usize) -> Result<Self, Self::Error> {
        if (1024..=1 << 20).contains(&value) {
            Ok(Self(value))
        } else {
            Err("must be between 1024 and 1048576 bytes")
        }
    }
}

/// A filter that `tracing` understands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogFilter(pub String);

impl TryFrom<String> for LogFilter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match tracing_subscriber::EnvFilter::try_new(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(format!("not a log filter: {error}")),
        }
    }
}

/// Scheme, authority and path prefix of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// Path prefix without its last slash; often empty.
    pub prefix: String,
}

impl BaseUrl {
    pub(super) fn https(host: &'static str) -> Self {
        Self { scheme: Scheme::HTTPS, authority: Authority::from_static(host), prefix: String::new() }
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let uri: Uri = text.parse().map_err(|error| format!("not a URL: {error}"))?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err("needs a scheme and a host, as in https://api.example.com".to_owned());
        };
        let path = parts.path_and_query.as_ref();
        if path.is_some_and(|path| path.query().is_some()) {
            return Err("must have no query".to_owned());
        }
        if authority.as_str().contains('@') {
            return Err("must hold no user or password".to_owned());
        }
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err("must begin with http:// or https://".to_owned());
        }
        let prefix = path.map_or("", |path| path.path()).trim_end_matches('/').to_owned();
        Ok(Self { scheme, authority, prefix })
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        format!("{}://{}{}", url.scheme, url.authority, url.prefix)
    }
}
