//! Platforms of a provider, as its adapter declares them: data that the host runs, checked when the component is
//! loaded.

use tollgate_core::host::HostPattern;

use super::endpoint::{Check, Endpoint, HeaderTemplate};
use super::place::{self, KeyPlace};

/// Longest value of a setting, in bytes.
const VALUE_BYTES_MAX: usize = 128;

/// Another place where a provider's models are served. See `platform` in `wit/provider.wit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Its name, which credentials refer to.
    pub name: String,
    /// Where it is, with settings in braces; empty where each credential names an address.
    pub base_url: String,
    /// Addresses below it.
    pub endpoints: Vec<Endpoint>,
    /// What credentials say of themselves.
    pub settings: Vec<Setting>,
    /// How it is shown who calls.
    pub scheme: Scheme,
    /// Headers that are always written.
    pub headers: Vec<HeaderTemplate>,
    /// Headers whose value is added to the client's list.
    pub added: Vec<HeaderTemplate>,
    /// How streams are framed.
    pub framing: Framing,
    /// What becomes of a body.
    pub edits: BodyEdits,
    /// How a credential is checked, where it can be.
    pub check: Option<Check>,
    /// Where, if not below `base_url`.
    pub check_base_url: Option<String>,
}

/// What a credential says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value where a credential names none.
    pub default: Option<String>,
}

/// How a platform is shown who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// In headers.
    Header,
    /// In this parameter of the query.
    Query(String),
    /// By a signature (AWS, version 4) for this service.
    Sigv4(String),
    /// By an access token that a refresh token buys.
    OauthRefresh {
        /// Where.
        token_url: String,
        /// The client that the refresh token was given to.
        client_id: String,
    },
    /// By an access token that a signed JWT buys.
    ServiceAccountJwt {
        /// Where.
        token_url: String,
        /// What it is for.
        scope: String,
    },
}

/// How streams are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As the protocol has it.
    Plain,
    /// In binary messages, each with one event.
    AwsEventStream,
}

/// What becomes of a body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BodyEdits {
    /// Top-level members that go out.
    pub without: Vec<String>,
    /// Top-level members, by name and JSON, that come in where there are none.
    pub members: Vec<(String, String)>,
    /// Headers, by name, whose lists become top-level members.
    pub moved: Vec<(String, String)>,
}

impl BodyEdits {
    /// Whether bodies stay as they are.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.without.is_empty() && self.members.is_empty() && self.moved.is_empty()
    }
}

/// Whether a setting may have this value: nothing that could lead to another host or path.
#[must_use]
pub fn is_value(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let begins = value.starts_with(|sign: char| sign.is_ascii_alphanumeric());
    begins && value.len() <= VALUE_BYTES_MAX && value.bytes().all(plain)
}

impl Platform {
    /// The first thing in it that cannot be run, in words for the operator.
    pub(crate) fn check(&self, named: &KeyPlace) -> Result<(), String> {
        let said = |what: &str| Err(format!("platform `{}` {what}", self.name));
        let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(name) {
            return said("has no lower-case name");
        }
        if self.endpoints.is_empty() {
            return said("names no endpoint");
        }
        let said = |why: String| format!("platform `{}`: {why}", self.name);
        self.addresses()
            .try_for_each(|url| place::hosts(url, &self.setting_names()).map(drop))
            .map_err(said)?;
        self.check_scheme().map_err(said)?;
        self.check.iter().try_for_each(Check::check)?;
        let said = |what: &str| Err(format!("platform `{}` {what}", self.name));
        let known = |Setting { name, default }: &Setting| {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            let taken = matches!(name.as_str(), "" | "model" | "credential" | "base_url" | "token_url");
            !taken && name.bytes().all(plain) && default.as_deref().is_none_or(is_value)
        };
        if !self.settings.iter().all(known) {
            return said("has a setting that cannot be");
        }
        if matches!(self.scheme, Scheme::Sigv4(_))
            && !self.settings.iter().any(|setting| setting.name == "region")
        {
            return said("signs for a region that no setting names");
        }
        let moved = self.edits.moved.iter().map(|(_, member)| member);
        let members = self.edits.members.iter().flat_map(|(name, value)| [name, value]);
        members.chain(moved).try_for_each(|text| place::check_text("a member", text))?;
        self.endpoints.iter().try_for_each(Endpoint::check)?;
        self.added.iter().try_for_each(HeaderTemplate::check_plain)?;
        self.headers.iter().try_for_each(|header| header.check(named))
    }

    /// What the host does with a secret it does in the ways that it knows.
    fn check_scheme(&self) -> Result<(), String> {
        match &self.scheme {
            Scheme::Header => Ok(()),
            Scheme::Query(name) => place::check_parameter(name),
            Scheme::Sigv4(service) => {
                let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                let is_service = !service.is_empty() && service.bytes().all(plain);
                if is_service { Ok(()) } else { Err("it signs for a service that has no name".to_owned()) }
            }
            Scheme::OauthRefresh { client_id: text, .. } | Scheme::ServiceAccountJwt { scope: text, .. } => {
                place::check_text("the call for a token", text)
            }
        }
    }

    /// Every address that it names.
    fn addresses(&self) -> impl Iterator<Item = &str> {
        let token = match &self.scheme {
            Scheme::OauthRefresh { token_url, .. } | Scheme::ServiceAccountJwt { token_url, .. } => {
                Some(token_url.as_str())
            }
            Scheme::Header | Scheme::Query(_) | Scheme::Sigv4(_) => None,
        };
        let base = Some(self.base_url.as_str()).filter(|url| !url.is_empty());
        base.into_iter().chain(self.check_base_url.as_deref()).chain(token)
    }

    fn setting_names(&self) -> Vec<&str> {
        self.settings.iter().map(|setting| setting.name.as_str()).collect()
    }

    /// The hosts that one of its addresses may lead to, a star standing for what its settings bring.
    #[must_use]
    pub fn hosts_of(&self, url: &str) -> Option<HostPattern> {
        place::hosts(url, &self.setting_names()).ok()
    }

    /// All hosts that it names.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = HostPattern> {
        self.addresses().filter_map(|url| self.hosts_of(url))
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::{Check, Endpoint, HeaderTemplate};
    use super::{BodyEdits, Framing, KeyPlace, Platform, Scheme, Setting, is_value};
    use tollgate_core::protocol::{Operation, Protocol};

    fn platform() -> Platform {
        let endpoint = Endpoint {
            protocol: Protocol::OpenaiChat,
            operation: Operation::Generate,
            streaming: false,
            path: "/v1/{region}/{model}".to_owned(),
        };
        Platform {
            name: "there".to_owned(),
            base_url: "https://{region}.example.com".to_owned(),
            endpoints: vec![endpoint],
            settings: vec![Setting { name: "region".to_owned(), default: None }],
            scheme: Scheme::Sigv4("s".to_owned()),
            headers: Vec::new(),
            added: Vec::new(),
            framing: Framing::Plain,
            edits: BodyEdits::default(),
            check: Some(Check { path: "/v1/{region}".to_owned(), account_header: None }),
            check_base_url: Some("https://checks.{region}.example.com".to_owned()),
        }
    }

    #[test]
    fn a_platform_that_cannot_be_run_is_refused() {
        assert_eq!(platform().check(&KeyPlace::default()), Ok(()));
        let header = HeaderTemplate { name: "a b".to_owned(), value: String::new() };
        let token_url = "http://tokens.example.com".to_owned();
        let keyed = |name: &str| HeaderTemplate { name: name.to_owned(), value: "{credential}".to_owned() };
        let setting = |name: &str| vec![Setting { name: name.to_owned(), default: None }];
        for broken in [
            Platform { name: "The".to_owned(), ..platform() },
            Platform { endpoints: Vec::new(), ..platform() },
            Platform { base_url: "http://{region}.example.com".to_owned(), ..platform() },
            Platform { settings: Vec::new(), ..platform() },
            Platform { settings: setting("model"), scheme: Scheme::Header, ..platform() },
            Platform { scheme: Scheme::OauthRefresh { token_url, client_id: String::new() }, ..platform() },
            Platform { headers: vec![header], ..platform() },
            Platform {
                check: Some(Check { path: "//evil.example".to_owned(), account_header: None }),
                ..platform()
            },
            Platform { check_base_url: Some("http://checks.example.com".to_owned()), ..platform() },
            Platform { scheme: Scheme::Query("prompt".to_owned()), ..platform() },
            Platform { scheme: Scheme::Sigv4("s/x".to_owned()), ..platform() },
            Platform { added: vec![keyed("authorization")], ..platform() },
            Platform { headers: vec![keyed("x-request-id")], ..platform() },
            Platform {
                edits: BodyEdits {
                    members: vec![("a".into(), "\"{credential}\"".into())],
                    ..BodyEdits::default()
                },
                ..platform()
            },
        ] {
            assert!(broken.check(&KeyPlace::default()).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_setting_cannot_lead_elsewhere() {
        assert!(is_value("eu-central-1") && is_value("2024-10-21") && is_value("my_project.1"));
        for value in
            ["", "..", ".a", "-a", "a/b", "evil.example/x", "a?b", "a b", "a@b", "a:1", &"x".repeat(129)]
        {
            assert!(!is_value(value), "{value}");
        }
    }
}
