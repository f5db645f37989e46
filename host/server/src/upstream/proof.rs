//! How calls are authorized: as the adapter's plan says, without the secret.

use http::header::{HeaderName, HeaderValue};
use tollgate_runtime::HeaderTemplate;

/// How calls are authorized.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proof {
    /// Headers that carry the secret.
    pub(crate) headers: Vec<Template>,
    /// Other uses of the secret.
    pub(crate) manner: Manner,
}

/// What a secret does besides being in headers.
#[derive(Debug, Clone, Default)]
pub(crate) enum Manner {
    /// Nothing else.
    #[default]
    Headers,
    /// It is in the query, under this name.
    Query(String),
    /// It signs the request.
    Sigv4 {
        /// The service that the signature is for.
        service: String,
        /// Its region.
        region: String,
    },
    /// The body is made from its refresh token.
    RefreshToken {
        /// The client, if the secret does not name one.
        client_id: String,
    },
    /// The body contains a signature by its private key (RFC 7523).
    Assertion {
        /// The address of the authorization server.
        audience: String,
        /// The scope.
        scope: String,
    },
}

impl Proof {
    /// Whether the secret itself stands in what is sent.
    pub(super) fn shows_secret(&self) -> bool {
        matches!(self.manner, Manner::Query(_)) || self.headers.iter().any(|header| header.after.is_some())
    }
}

/// A header whose value may hold a secret.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// Name.
    pub(crate) name: HeaderName,
    before: String,
    after: Option<String>,
}

impl Template {
    /// Parses one; `None` where its name is not valid.
    pub(super) fn new(template: &HeaderTemplate) -> Option<Self> {
        let name = HeaderName::from_bytes(template.name.as_bytes()).ok()?;
        let (before, after) = match template.value.split_once("{credential}") {
            Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
            None => (template.value.clone(), None),
        };
        Some(Self { name, before, after })
    }

    /// The header's value with the secret in its place. Marked sensitive, so that no debug output shows it.
    pub(super) fn value(&self, secret: &str) -> Option<HeaderValue> {
        let text = match &self.after {
            Some(after) => [self.before.as_str(), secret, after].concat(),
            None => self.before.clone(),
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(self.after.is_some());
        Some(value)
    }
}
