//! How a provider is shown who calls: as the adapter's plan says it, without the secret.

use http::header::{HeaderName, HeaderValue};
use tollgate_runtime::HeaderTemplate;

/// How a provider is shown who calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proof {
    /// Headers that carry the secret.
    pub(crate) headers: Vec<Template>,
    /// What else the secret does.
    pub(crate) manner: Manner,
}

/// What a secret does beside standing in headers.
#[derive(Debug, Clone, Default)]
pub(crate) enum Manner {
    /// No more.
    #[default]
    Headers,
    /// It stands in the query, under this name.
    Query(String),
    /// It signs the request.
    Sigv4 {
        /// The service that the signature is for.
        service: String,
        /// Its region.
        region: String,
    },
    /// Its refresh token is what the body says.
    RefreshToken {
        /// Who asks, where the secret does not say.
        client_id: String,
    },
    /// A signature of its private key is what the body says (RFC 7523).
    Assertion {
        /// The address of the authorization server.
        audience: String,
        /// What is asked for.
        scope: String,
    },
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
    /// Parses one; `None` where its name is none.
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
