//! A call to a provider as a plain value: where it goes and what it says, without the secret. The holder of the secret
//! makes it a request ([`authorize`](super::authorize::authorize)), here or on another machine.

use std::sync::Arc;

use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};

use super::Upstream;
use super::permission::Missing;
use super::proof::Proof;
use crate::transport::body::Chained;
use crate::transport::{Origin, Wire};

/// A call without its secret.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// Where it goes.
    pub(crate) endpoint: Arc<Endpoint>,
    /// `POST`, or `GET` for a check.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: PathAndQuery,
    /// The provider's name of the model; `None` for calls without a model.
    pub(crate) model: Option<Box<str>>,
    /// All headers except those of the secret and of the body.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Chained,
}

/// Where calls go, and how they are authorized.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Scheme, host and port.
    pub(crate) origin: Arc<Origin>,
    /// The `Host` header.
    pub(crate) host: HeaderValue,
    /// The protocol there.
    pub(crate) wire: Wire,
    /// How the secret is used.
    pub(crate) proof: Proof,
    /// What keeps the secret from going there.
    pub(crate) missing: Option<Arc<Missing>>,
}

impl Endpoint {
    /// An endpoint at this address.
    pub(crate) fn new(scheme: Scheme, authority: Authority, wire: Wire, proof: Proof) -> Self {
        // An authority that was parsed out of a URL is a header value.
        let host = HeaderValue::from_str(authority.as_str()).unwrap_or(HeaderValue::from_static(""));
        Self { origin: Arc::new(Origin { scheme, authority }), host, wire, proof, missing: None }
    }

    /// The same where something may be missing for a secret to go there.
    pub(crate) fn lacking(self, missing: Option<Arc<Missing>>) -> Self {
        Self { missing, ..self }
    }
}

/// Why a call cannot be put into an envelope.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvelopeError {
    /// The model's name or the query does not fit into a target.
    #[error("the target is not valid")]
    Target,
    /// A header of the adapter's plan is not valid.
    #[error("the header {0} is not valid")]
    Header(HeaderName),
}

/// The content of a call.
pub(crate) struct Message {
    /// `POST`, or `GET` for a check.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    /// The provider's name of the model.
    pub(crate) model: Option<Box<str>>,
    /// The caller's own headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Chained,
}

impl Upstream {
    /// Addresses a call to one of the provider's endpoints, with the headers that the provider expects of every call.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub(crate) fn envelope(
        &self,
        endpoint: &Arc<Endpoint>,
        message: Message,
    ) -> Result<Envelope, EnvelopeError> {
        let Message { method, target, model, mut headers, body } = message;
        let target = PathAndQuery::try_from(target).map_err(|_| EnvelopeError::Target)?;
        if let Some(terms) = &self.terms {
            add(&mut headers, &terms.added)?;
        }
        for template in self.defaults() {
            if !headers.contains_key(&template.name) {
                let value = template.value("").ok_or_else(|| EnvelopeError::Header(template.name.clone()))?;
                headers.insert(template.name.clone(), value);
            }
        }
        Ok(Envelope { endpoint: Arc::clone(endpoint), method, target, model, headers, body })
    }
}

/// Adds the platform's entries to the caller's lists, each only once.
fn add(headers: &mut HeaderMap, added: &[(HeaderName, String)]) -> Result<(), EnvelopeError> {
    for (name, entry) in added {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut entries: Vec<&str> = values
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|known| !known.is_empty())
            .collect();
        if !entries.contains(&entry.as_str()) {
            entries.push(entry);
        }
        let value = HeaderValue::from_str(&entries.join(","));
        let value = value.map_err(|_| EnvelopeError::Header(name.clone()))?;
        headers.insert(name.clone(), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{HeaderMap, add};

    #[test]
    fn a_list_keeps_the_clients_entries_and_gets_the_platforms_once() {
        let added = [("x-beta".parse().unwrap(), "own".to_owned())];
        let mut headers = HeaderMap::new();
        for expected in ["own", "own"] {
            add(&mut headers, &added).unwrap();
            assert_eq!(headers["x-beta"], expected);
        }
        headers.insert("x-beta", "a, b".parse().unwrap());
        add(&mut headers, &added).unwrap();
        assert_eq!(headers["x-beta"], "a,b,own");
    }
}
