//! How to reach a server that speaks a provider's protocol at another address or takes its key in another header.

use serde::Deserialize;
use tollgate_plugin::adapter::{Check, ClientHeader, Endpoint, HeaderForm, HeaderTemplate};
use tollgate_plugin::config;
use tollgate_plugin::types::{Operation, Protocol};

/// The header whose value begins with a scheme unless told otherwise.
const AUTHORIZATION: &str = "authorization";

/// What the SDKs of OpenAI and Anthropic say of themselves.
const TELEMETRY: [&str; 14] = [
    "idempotency-key",
    "x-client-request-id",
    "x-stainless-arch",
    "x-stainless-async",
    "x-stainless-helper",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
];

/// Headers of clients that may go upstream.
#[must_use]
pub fn client_headers(headers: &[(&str, HeaderForm)]) -> Vec<ClientHeader> {
    headers.iter().map(|&(name, form)| ClientHeader { name: name.to_owned(), form }).collect()
}

/// The same, with what the SDKs of OpenAI and Anthropic say of themselves.
#[must_use]
pub fn client_headers_and_telemetry(headers: &[(&str, HeaderForm)]) -> Vec<ClientHeader> {
    let telemetry = TELEMETRY.map(|name| (name, HeaderForm::Word));
    [client_headers(headers), client_headers(&telemetry)].concat()
}

/// What every adapter's configuration may change.
///
/// | option | meaning |
/// |---|---|
/// | `auth_header` | lower-case name of the header that carries the credential |
/// | `auth_scheme` | word before the credential; `Bearer` in `authorization`, none elsewhere, `""` for none |
/// | `path_prefix` | what stands in place of the version (`/v1`) in every path; `""` for nothing |
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connection {
    auth_header: Option<String>,
    auth_scheme: Option<String>,
    path_prefix: Option<String>,
}

impl Connection {
    /// Reads the configuration of an adapter.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn configure(config: &str) -> Result<Self, String> {
        let connection: Self = config::parse(config)?;
        if let Some(name) = &connection.auth_header {
            let token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || !name.bytes().all(token) {
                return Err(format!("configuration: auth_header `{name}` is no lower-case header name"));
            }
        }
        if let Some(prefix) = &connection.path_prefix {
            let absolute = prefix.is_empty() || prefix.starts_with('/') && !prefix.starts_with("//");
            if !absolute || prefix.ends_with('/') {
                return Err(format!(
                    "configuration: path_prefix `{prefix}` must begin with / and not end with it"
                ));
            }
        }
        Ok(connection)
    }

    /// The header that carries the credential; `usual` is the provider's own.
    #[must_use]
    pub fn auth(&self, usual: &str) -> HeaderTemplate {
        let name = self.auth_header.as_deref().unwrap_or(usual);
        let usual_scheme = if name == AUTHORIZATION { "Bearer" } else { "" };
        let value = match self.auth_scheme.as_deref().unwrap_or(usual_scheme) {
            "" => "{credential}".to_owned(),
            scheme => format!("{scheme} {{credential}}"),
        };
        HeaderTemplate { name: name.to_owned(), value }
    }

    /// The call that tells whether a credential is good: reading `path` below the version is free.
    #[must_use]
    pub fn check(&self, version: &str, path: &str, account_header: Option<&str>) -> Check {
        let prefix = self.path_prefix.as_deref().unwrap_or(version);
        Check { path: format!("{prefix}{path}"), account_header: account_header.map(str::to_owned) }
    }

    /// An address below the version; `version` is the provider's own prefix.
    #[must_use]
    pub fn endpoint(&self, version: &str, route: &Route) -> Endpoint {
        let prefix = self.path_prefix.as_deref().unwrap_or(version);
        let &Route { protocol, operation, streaming, path } = route;
        Endpoint { protocol, operation, streaming, path: format!("{prefix}{path}") }
    }
}

/// An [`Endpoint`] whose path lacks the version.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The protocol that is spoken there.
    pub protocol: Protocol,
    /// What is asked there.
    pub operation: Operation,
    /// Whether the answer streams.
    pub streaming: bool,
    /// The path after the version, beginning with a slash.
    pub path: &'static str,
}

#[cfg(test)]
mod tests {
    use super::{Connection, Operation, Protocol, Route};

    fn auth(config: &str, usual: &str) -> (String, String) {
        let header = Connection::configure(config).unwrap().auth(usual);
        (header.name, header.value)
    }

    #[test]
    fn the_credential_goes_where_the_provider_or_the_operator_wants_it() {
        let check = |config: &str, usual: &str, name: &str, value: &str| {
            assert_eq!(auth(config, usual), (name.to_owned(), value.to_owned()), "{config}");
        };
        check("{}", "authorization", "authorization", "Bearer {credential}");
        check("{}", "x-api-key", "x-api-key", "{credential}");
        check(r#"{"auth_header":"api-key"}"#, "authorization", "api-key", "{credential}");
        check(r#"{"auth_header":"authorization"}"#, "x-api-key", "authorization", "Bearer {credential}");
        check(r#"{"auth_scheme":"Token"}"#, "authorization", "authorization", "Token {credential}");
        check(r#"{"auth_scheme":""}"#, "authorization", "authorization", "{credential}");
    }

    #[test]
    fn a_prefix_stands_in_place_of_the_version() {
        let route = Route {
            protocol: Protocol::OpenaiChat,
            operation: Operation::Embed,
            streaming: false,
            path: "/embeddings",
        };
        let path = |config: &str| Connection::configure(config).unwrap().endpoint("/v1", &route).path;
        assert_eq!(path("{}"), "/v1/embeddings");
        assert_eq!(path(r#"{"path_prefix":"/openai/v1"}"#), "/openai/v1/embeddings");
        assert_eq!(path(r#"{"path_prefix":""}"#), "/embeddings");
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for config in [
            r#"{"auth_header":"Authorization"}"#,
            r#"{"auth_header":""}"#,
            r#"{"path_prefix":"v1"}"#,
            r#"{"path_prefix":"/v1/"}"#,
            r#"{"path_prefix":"//elsewhere"}"#,
            r#"{"base_url":"/v1"}"#,
        ] {
            assert!(Connection::configure(config).is_err(), "{config}");
        }
    }
}
