//! An upstream: where a provider is, and its adapter's plan with every template parsed.

pub(crate) mod authorize;
pub(crate) mod check;
pub(crate) mod envelope;
pub(crate) mod issue;
pub(crate) mod permission;
mod proof;
mod sigv4;
mod site;
mod tap;

use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderName;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_runtime::{
    Adapter, AdapterPlan, BodyEdits, ClientHeader, ClientParameter, Framing, HeaderForm, HeaderTemplate,
    Scheme, Translation,
};

use self::envelope::Endpoint;
use self::permission::Missing;
use self::proof::{Manner, Proof, Template};
use self::site::Site;
pub(crate) use self::tap::{EACH, Seen, Taps, UsageTap};
use crate::config::{BaseUrl, Grants, Provider};
use crate::state::platform::Place;
use crate::transport::Wire;

/// A provider with its adapter's plan.
pub(crate) struct Upstream {
    /// The configured name.
    pub(crate) name: Arc<str>,
    /// The component.
    pub(crate) adapter: Arc<Adapter>,
    /// Where it is.
    pub(crate) endpoint: Arc<Endpoint>,
    prefix: String,
    profile: Rc<WireProfile>,
    /// The address of a model route, in place of the configured one.
    elsewhere: Option<BaseUrl>,
    /// Where the operator lets components send keys.
    grants: Arc<Grants>,
    /// What is particular about its platform, if it is on one.
    pub(crate) terms: Option<Rc<Terms>>,
    /// The call that tells a good credential from a bad one, if the adapter knows one.
    pub(crate) probe: Option<Rc<Probe>>,
}

/// The call by which a credential is checked: a GET.
pub(crate) struct Probe {
    /// Where it goes.
    pub(crate) endpoint: Arc<Endpoint>,
    /// Path and query.
    pub(crate) target: String,
    /// The response header that names the credential's account.
    pub(crate) account_header: Option<String>,
}

impl Probe {
    fn new(
        (endpoint, prefix): (Arc<Endpoint>, String),
        path: &str,
        account_header: Option<&String>,
    ) -> Rc<Self> {
        Rc::new(Self { endpoint, target: prefix + path, account_header: account_header.cloned() })
    }

    fn of(plan: &AdapterPlan, endpoint: &Arc<Endpoint>, prefix: &str) -> Option<Rc<Self>> {
        let check = plan.check.as_ref()?;
        let at = (Arc::clone(endpoint), prefix.to_owned());
        Some(Self::new(at, &check.path, check.account_header.as_ref()))
    }
}

/// What a platform needs besides addresses and headers.
pub(crate) struct Terms {
    /// How calls are authorized, with the addresses filled in.
    scheme: Scheme,
    /// What keeps the secret from going where tokens are had.
    missing: Option<Arc<Missing>>,
    /// How streams are framed.
    pub(crate) framing: Framing,
    /// Changes to the body.
    pub(crate) edits: BodyEdits,
    /// Headers whose value is added to the client's list.
    pub(crate) added: Vec<(HeaderName, String)>,
}

impl Terms {
    /// How it is shown who calls.
    ///
    /// # Errors
    /// Where that takes a call for a token which the secret may not go into.
    pub(crate) fn scheme(&self) -> Result<&Scheme, Arc<Missing>> {
        self.missing.as_ref().map_or(Ok(&self.scheme), |missing| Err(Arc::clone(missing)))
    }
}

/// How to speak to a provider at any of its addresses.
struct WireProfile {
    paths: Vec<Path>,
    defaults: Vec<Template>,
    client_headers: Vec<(HeaderName, HeaderForm)>,
    client_parameters: Vec<ClientParameter>,
    taps: [Rc<Taps>; 4],
    stream_options: Vec<StreamOption>,
    translates: Vec<Translation>,
}

struct Path {
    protocol: Protocol,
    operation: Operation,
    streaming: bool,
    before_model: String,
    after_model: Option<String>,
}

/// A member that a stream request must carry.
#[derive(Debug, Clone)]
pub(crate) struct StreamOption {
    /// The protocol of the requests.
    pub(crate) protocol: Protocol,
    /// Top-level object.
    pub(crate) object: String,
    /// Its member.
    pub(crate) member: String,
    /// The member that is an empty array in the event that this causes.
    pub(crate) withhold_when_empty: String,
}

/// The protocol that a provider is configured to speak.
pub(crate) const fn wire(provider: &Provider) -> Wire {
    if provider.http2 { Wire::Http2 } else { Wire::Http1 }
}

/// Where a base URL leads: the endpoint, and the prefix of every path.
fn reached(base: &BaseUrl, wire: Wire, proof: Proof) -> (Endpoint, String) {
    let endpoint = Endpoint::new(base.scheme.clone(), base.authority.clone(), wire, proof);
    (endpoint, base.prefix.clone())
}

fn templates(headers: &[HeaderTemplate]) -> Vec<Template> {
    headers.iter().filter_map(Template::new).collect()
}

/// The key of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallKind {
    /// The wire format.
    pub(crate) protocol: Protocol,
    /// The operation.
    pub(crate) operation: Operation,
    /// Whether the answer streams.
    pub(crate) streaming: bool,
}

impl WireProfile {
    fn new(plan: &AdapterPlan, endpoints: &[tollgate_runtime::Endpoint]) -> Self {
        let path = |endpoint: &tollgate_runtime::Endpoint| {
            let (before, after) = match endpoint.path.split_once("{model}") {
                Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
                None => (endpoint.path.clone(), None),
            };
            Path {
                protocol: endpoint.protocol,
                operation: endpoint.operation,
                streaming: endpoint.streaming,
                before_model: before,
                after_model: after,
            }
        };
        let option = |option: &tollgate_runtime::StreamOption| StreamOption {
            protocol: option.protocol,
            object: option.object.clone(),
            member: option.member.clone(),
            withhold_when_empty: option.withhold_when_empty.clone(),
        };
        let header =
            |header: &ClientHeader| Some((HeaderName::from_bytes(header.name.as_bytes()).ok()?, header.form));
        Self {
            paths: endpoints.iter().map(path).collect(),
            defaults: templates(&plan.defaults),
            client_headers: plan.client_headers.iter().filter_map(header).collect(),
            client_parameters: plan.client_parameters.clone(),
            taps: Protocol::ALL.map(|protocol| Rc::new(Taps::new(plan, protocol))),
            stream_options: plan.stream_options.iter().map(option).collect(),
            translates: plan.translates.clone(),
        }
    }
}

impl Upstream {
    /// A provider at its configured address. `grants` lists where else its component may send keys.
    pub(crate) fn new(
        name: &str,
        base: &BaseUrl,
        wire: Wire,
        adapter: &Arc<Adapter>,
        grants: &Arc<Grants>,
    ) -> Self {
        let plan = adapter.plan();
        let proof = Proof { headers: templates(&plan.auth), manner: Manner::Headers };
        let (endpoint, prefix) = reached(base, wire, proof);
        let endpoint = Arc::new(endpoint);
        Self {
            name: name.into(),
            adapter: Arc::clone(adapter),
            probe: Probe::of(plan, &endpoint, &prefix),
            endpoint,
            prefix,
            profile: Rc::new(WireProfile::new(plan, &plan.endpoints)),
            elsewhere: None,
            grants: Arc::clone(grants),
            terms: None,
        }
    }

    /// The same provider elsewhere, by an operator's word.
    pub(crate) fn at(&self, base: &BaseUrl) -> Self {
        let (endpoint, prefix) = reached(base, self.endpoint.wire, self.endpoint.proof.clone());
        let endpoint = Arc::new(endpoint);
        Self {
            name: Arc::clone(&self.name),
            adapter: Arc::clone(&self.adapter),
            probe: Probe::of(self.adapter.plan(), &endpoint, &prefix),
            endpoint,
            prefix,
            profile: Rc::clone(&self.profile),
            elsewhere: Some(base.clone()),
            grants: Arc::clone(&self.grants),
            terms: self.terms.clone(),
        }
    }

    /// The same provider on the platform that a credential is for.
    ///
    /// # Errors
    /// The adapter does not know the platform, or the credential lacks a setting that it needs.
    pub(crate) fn on(&self, place: &Place) -> Result<Self, String> {
        let plan = self.adapter.plan();
        let found = plan.platforms.iter().find(|platform| platform.name == place.platform);
        let platform = found.ok_or_else(|| format!("there is no platform `{}`", place.platform))?;
        let site = Site { upstream: self, place, platform };
        let endpoint = |endpoint: &tollgate_runtime::Endpoint| {
            Ok::<_, String>(tollgate_runtime::Endpoint {
                path: site.fill(&endpoint.path)?,
                ..endpoint.clone()
            })
        };
        let endpoints = platform.endpoints.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        let terms = site.terms()?;
        let manner = match &terms.scheme {
            Scheme::Query(name) => Manner::Query(name.clone()),
            Scheme::Sigv4(service) => {
                Manner::Sigv4 { service: service.clone(), region: site.fill("{region}")? }
            }
            Scheme::Header | Scheme::OauthRefresh { .. } | Scheme::ServiceAccountJwt { .. } => {
                Manner::Headers
            }
        };
        let proof = Proof { headers: templates(&platform.headers), manner };
        let reached = |usual: &str| {
            let (base, missing) = site.base(usual)?;
            let (endpoint, prefix) = reached(&base, self.endpoint.wire, proof.clone());
            Ok::<_, String>((base, (Arc::new(endpoint.lacking(missing)), prefix)))
        };
        let probe = match &platform.check {
            Some(check) => {
                let (_, at) = reached(platform.check_base_url.as_deref().unwrap_or(&platform.base_url))?;
                Some(Probe::new(at, &site.fill(&check.path)?, check.account_header.as_ref()))
            }
            None => None,
        };
        let (base, (endpoint, prefix)) = reached(&platform.base_url)?;
        let profile = Rc::new(WireProfile::new(plan, &endpoints));
        Ok(Self { endpoint, prefix, profile, terms: Some(Rc::new(terms)), probe, ..self.at(&base) })
    }

    /// What keeps a call with a secret from being made here.
    pub(crate) fn missing(&self) -> Option<Arc<Missing>> {
        let of_terms = || self.terms.as_ref()?.scheme().err();
        self.endpoint.missing.clone().or_else(of_terms)
    }

    /// Whether calls of this kind can be made here, untranslated.
    pub(crate) fn takes(&self, call: CallKind) -> bool {
        self.path(call).is_some()
    }

    fn path(&self, call: CallKind) -> Option<&Path> {
        self.profile.paths.iter().find(|path| {
            (path.protocol, path.operation, path.streaming) == (call.protocol, call.operation, call.streaming)
        })
    }

    /// The upstream call for a client's call: the same where the provider speaks the client's protocol.
    pub(crate) fn upstream_call(&self, call: CallKind) -> Option<CallKind> {
        if self.path(call).is_some() {
            return Some(call);
        }
        let fits = |offer: &&Translation| (offer.client, offer.operation) == (call.protocol, call.operation);
        let upstream_call = self.profile.translates.iter().filter(fits).map(|offer| CallKind {
            protocol: offer.upstream,
            operation: offer.upstream_operation,
            ..call
        });
        upstream_call.into_iter().find(|upstream_call| self.path(*upstream_call).is_some())
    }

    /// Path and query of a call.
    pub(crate) fn target(&self, call: CallKind, model: &str, query: &str) -> Option<String> {
        let path = self.path(call)?;
        let mut target = String::with_capacity(128);
        target.push_str(&self.prefix);
        target.push_str(&path.before_model);
        if let Some(after) = &path.after_model {
            target.extend(percent_encoding::utf8_percent_encode(model, SEGMENT));
            target.push_str(after);
        }
        if !query.is_empty() {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(query);
        }
        Some(target)
    }

    /// What of a client's headers goes upstream where it speaks the provider's protocol.
    pub(crate) fn client_headers(&self) -> &[(HeaderName, HeaderForm)] {
        &self.profile.client_headers
    }

    /// What of a client's query does, in calls of this operation.
    pub(crate) fn client_parameters(&self, operation: Operation) -> impl Iterator<Item = &ClientParameter> {
        self.profile.client_parameters.iter().filter(move |parameter| parameter.operation == operation)
    }

    /// Headers written where the client sent none.
    fn defaults(&self) -> &[Template] {
        &self.profile.defaults
    }

    /// What to search for in answers of this protocol.
    pub(crate) fn taps(&self, protocol: Protocol) -> &Rc<Taps> {
        // The array has one entry for each protocol, in the order of the enum.
        &self.profile.taps[protocol as usize]
    }

    /// The option that streams of this protocol need.
    pub(crate) fn stream_option(&self, protocol: Protocol) -> Option<&StreamOption> {
        self.profile.stream_options.iter().find(|option| option.protocol == protocol)
    }
}

/// Characters to encode in a path segment. Model names keep their dots, colons and at signs.
const SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@');
