//! What a provider adapter says of its provider, and of an upstream's failure.

use tollgate_core::failure::FailureClass;
use tollgate_core::host::HostPattern;
use tollgate_core::protocol::{Operation, Protocol};

use super::client::{ClientHeader, ClientParameter};
use super::endpoint::{Check, Endpoint, HeaderTemplate, check_header, check_name};
use super::place::{self, KeyPlace};
use super::platform::{Platform, Scheme};

/// Most entries of one list of a plan.
const PLAN_ENTRIES_MAX: usize = 256;

/// Where a response states its usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageTap {
    /// The wire format this is for.
    pub protocol: Protocol,
    /// Object member names from the top, joined by dots.
    pub path: String,
}

/// A member whose string value is model output in a stream event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTap {
    /// The wire format this is for.
    pub protocol: Protocol,
    /// The member's name.
    pub member: String,
}

/// A member that a streaming request must carry for the usage to be stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOption {
    /// The wire format this is for.
    pub protocol: Protocol,
    /// The top-level object.
    pub object: String,
    /// Its member, set to `true`.
    pub member: String,
    /// Top-level member that is an empty array in the event to withhold.
    pub withhold_when_empty: String,
}

/// A call that a client can make in one protocol although the provider speaks another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// What the client speaks.
    pub client: Protocol,
    /// What is spoken upstream.
    pub upstream: Protocol,
    /// What the client asks.
    pub operation: Operation,
    /// What is asked upstream.
    pub upstream_operation: Operation,
}

/// Everything about the provider that is data. Checked when the component is loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdapterPlan {
    /// Addresses, at least one.
    pub endpoints: Vec<Endpoint>,
    /// Headers that carry the credential.
    pub auth: Vec<HeaderTemplate>,
    /// Headers written only where the client sent none of that name.
    pub defaults: Vec<HeaderTemplate>,
    /// What of the client's headers goes upstream.
    pub client_headers: Vec<ClientHeader>,
    /// What of its query does.
    pub client_parameters: Vec<ClientParameter>,
    /// Where usage is stated, in the order of the samples that a reading of usage is given.
    pub usage_taps: Vec<UsageTap>,
    /// Where output text is, to estimate a stream that was cut.
    pub text_taps: Vec<TextTap>,
    /// What a streaming request must ask for.
    pub stream_options: Vec<StreamOption>,
    /// What clients of other protocols can ask for; the first that fits counts.
    pub translates: Vec<Translation>,
    /// How a credential is checked, where it can be.
    pub check: Option<Check>,
    /// Response headers that say when a rate limit is lifted.
    pub reset_headers: Vec<String>,
    /// The response header that names the kind of a failure.
    pub error_header: Option<String>,
    /// Where else the same models are served.
    pub platforms: Vec<Platform>,
}

impl AdapterPlan {
    /// The first thing in the plan that cannot be run, in words for the operator. `named` is the header in which they
    /// say that the provider takes its secret, where it is none of the usual.
    pub(crate) fn check(&self, named: &KeyPlace) -> Result<(), String> {
        let lengths = [
            self.endpoints.len(),
            self.auth.len(),
            self.defaults.len(),
            self.client_headers.len(),
            self.client_parameters.len(),
            self.usage_taps.len(),
            self.text_taps.len(),
            self.stream_options.len(),
            self.translates.len(),
            self.reset_headers.len(),
            self.platforms.len(),
        ];
        if lengths.into_iter().any(|length| length > PLAN_ENTRIES_MAX) {
            return Err(format!("a list has more than {PLAN_ENTRIES_MAX} entries"));
        }
        if self.endpoints.is_empty() {
            return Err("it names no endpoint".to_owned());
        }
        self.endpoints.iter().try_for_each(Endpoint::check)?;
        self.auth.iter().try_for_each(|header| header.check(named))?;
        self.defaults.iter().try_for_each(HeaderTemplate::check_plain)?;
        self.client_headers.iter().try_for_each(ClientHeader::check)?;
        self.client_parameters.iter().try_for_each(ClientParameter::check)?;
        self.platforms.iter().try_for_each(|platform| platform.check(named))?;
        self.check.iter().try_for_each(Check::check)?;
        self.reset_headers.iter().chain(&self.error_header).try_for_each(|name| check_header(name))?;
        let members = self.stream_options.iter().flat_map(|option| [&option.object, &option.member]);
        let names = self.usage_taps.iter().map(|tap| &tap.path);
        let names = names.chain(self.text_taps.iter().map(|tap| &tap.member)).chain(members);
        names.into_iter().try_for_each(|name| check_name(name))
    }

    /// The hosts that it names for secrets, in their order: an operator allows each.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostPattern> {
        let mut hosts: Vec<HostPattern> = self.platforms.iter().flat_map(Platform::hosts).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// Where it puts secrets, in words: `authorization`, `query: key`.
    #[must_use]
    pub fn key_places(&self) -> Vec<String> {
        let headers = self.auth.iter().chain(self.platforms.iter().flat_map(|platform| &platform.headers));
        let headers = headers.filter(|header| header.value.contains(place::CREDENTIAL));
        let schemes = self.platforms.iter().filter_map(|platform| match &platform.scheme {
            Scheme::Header => None,
            Scheme::Query(name) => Some(format!("query: {name}")),
            Scheme::Sigv4(service) => Some(format!("signature: {service}")),
            Scheme::OauthRefresh { .. } | Scheme::ServiceAccountJwt { .. } => Some("token call".to_owned()),
        });
        let mut places: Vec<String> = headers.map(|header| header.name.clone()).chain(schemes).collect();
        places.sort();
        places.dedup();
        places
    }

    /// The address of an operation, in the form asked for.
    #[must_use]
    pub fn endpoint(&self, protocol: Protocol, operation: Operation, streaming: bool) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| {
            endpoint.protocol == protocol
                && endpoint.operation == operation
                && endpoint.streaming == streaming
        })
    }
}

/// What an upstream said instead of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// HTTP status, 400 to 599; 0 for a failure that a stream began with.
    pub status: u16,
    /// Milliseconds that the standard headers ask to wait.
    pub retry_after_ms: Option<u64>,
    /// The kind of the failure, where something beside the body named it.
    pub kind: &'a str,
    /// At most the first 16 KiB.
    pub body: &'a [u8],
}

/// What an upstream failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub class: FailureClass,
    /// Milliseconds until the credential may be tried again, when the provider said so.
    pub retry_after_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::{AdapterPlan, Endpoint, HeaderTemplate, KeyPlace, Operation, Protocol};

    fn plan(path: &str) -> AdapterPlan {
        let endpoint = Endpoint {
            protocol: Protocol::OpenaiChat,
            operation: Operation::Generate,
            streaming: false,
            path: path.to_owned(),
        };
        AdapterPlan { endpoints: vec![endpoint], ..AdapterPlan::default() }
    }

    #[test]
    fn a_plan_cannot_leave_its_provider() {
        assert_eq!(plan("/v1/models/{model}:generate?alt=sse").check(&KeyPlace::default()), Ok(()));
        for path in
            ["", "v1", "//evil.example/v1", "http://evil.example/", "/v1 HTTP/1.1\r\nx: y", "/a\\b", "/a#b"]
        {
            assert!(plan(path).check(&KeyPlace::default()).is_err(), "{path}");
        }
        assert!(AdapterPlan::default().check(&KeyPlace::default()).is_err());
    }

    #[test]
    fn a_plan_cannot_smuggle_headers() {
        let check = |name: &str, value: &str| {
            let header = HeaderTemplate { name: name.to_owned(), value: value.to_owned() };
            AdapterPlan { auth: vec![header], ..plan("/") }.check(&KeyPlace::default()).is_ok()
        };
        assert!(check("authorization", "Bearer {credential}"));
        assert!(!check("Authorization", "x"));
        assert!(!check("", "x"));
        assert!(!check("a b", "x"));
        assert!(!check("a", "x\r\nb: c"));
    }
}
