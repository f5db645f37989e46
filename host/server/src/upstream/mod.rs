//! An upstream: where a provider is, with what its adapter said about how to speak to it, every template parsed.

pub(crate) mod access_token;
pub(crate) mod check;
pub(crate) mod platform;
pub(crate) mod secret;
pub(crate) mod sigv4;

use std::rc::Rc;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use memchr::memmem::Finder;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_runtime::{Adapter, AdapterPlan, BodyEdits, Framing, HeaderTemplate, Scheme, Translation};

use crate::config::BaseUrl;
use crate::transport::http1::Origin;
use crate::upstream::platform::Place;

/// A provider with what its adapter said.
pub(crate) struct Upstream {
    /// The configured name.
    pub(crate) name: Arc<str>,
    /// The component.
    pub(crate) adapter: Arc<Adapter>,
    /// Where it is.
    pub(crate) origin: Rc<Origin>,
    /// The `Host` header.
    pub(crate) host: HeaderValue,
    prefix: String,
    profile: Rc<WireProfile>,
    /// Where a model route says that it is, whatever its configuration says.
    elsewhere: Option<BaseUrl>,
    /// What is particular about its platform, where it is one.
    pub(crate) terms: Option<Rc<Terms>>,
    /// The call that tells a good credential from a bad one, where the adapter knows one.
    pub(crate) probe: Option<Rc<Probe>>,
}

/// The call by which a credential is checked: a GET.
pub(crate) struct Probe {
    /// Where it goes.
    pub(crate) origin: Rc<Origin>,
    /// The `Host` header.
    pub(crate) host: HeaderValue,
    /// Path and query.
    pub(crate) target: String,
    /// The response header that names the credential's account.
    pub(crate) account_header: Option<String>,
}

impl Probe {
    fn new(base: &BaseUrl, path: &str, account_header: Option<&String>) -> Rc<Self> {
        let (origin, host, prefix) = place_of(base);
        Rc::new(Self { origin, host, target: prefix + path, account_header: account_header.cloned() })
    }

    fn of(plan: &AdapterPlan, base: &BaseUrl) -> Option<Rc<Self>> {
        let check = plan.check.as_ref()?;
        Some(Self::new(base, &check.path, check.account_header.as_ref()))
    }
}

/// What a platform wants besides addresses and headers.
pub(crate) struct Terms {
    /// How it is shown who calls, its addresses filled in.
    pub(crate) scheme: Scheme,
    /// The region that signatures are for.
    pub(crate) region: String,
    /// How streams are framed.
    pub(crate) framing: Framing,
    /// What becomes of a body.
    pub(crate) edits: BodyEdits,
    /// Headers whose value is added to the client's list.
    pub(crate) added: Vec<(HeaderName, String)>,
}

/// How to speak to a provider, wherever it is.
struct WireProfile {
    endpoints: Vec<Endpoint>,
    auth: Vec<Template>,
    defaults: Vec<Template>,
    taps: [Rc<Taps>; 4],
    stream_options: Vec<StreamOption>,
    translates: Vec<Translation>,
}

struct Endpoint {
    protocol: Protocol,
    operation: Operation,
    streaming: bool,
    before_model: String,
    after_model: Option<String>,
}

/// A header whose value may hold a credential.
pub(crate) struct Template {
    /// Name.
    pub(crate) name: HeaderName,
    before: String,
    after: Option<String>,
}

impl Template {
    fn new(template: &HeaderTemplate) -> Option<Self> {
        let name = HeaderName::from_bytes(template.name.as_bytes()).ok()?;
        let (before, after) = match template.value.split_once("{credential}") {
            Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
            None => (template.value.clone(), None),
        };
        Some(Self { name, before, after })
    }

    /// The header's value with the secret in its place. Marked sensitive, so that no debug output shows it.
    pub(crate) fn value(&self, secret: &str) -> Option<HeaderValue> {
        let text = match &self.after {
            Some(after) => [self.before.as_str(), secret, after].concat(),
            None => self.before.clone(),
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(self.after.is_some());
        Some(value)
    }
}

/// A member that a stream request must carry.
#[derive(Debug, Clone)]
pub(crate) struct StreamOption {
    /// Whose requests.
    pub(crate) protocol: Protocol,
    /// Top-level object.
    pub(crate) object: String,
    /// Its member.
    pub(crate) member: String,
    /// The member that is an empty array in the event that this causes.
    pub(crate) withhold_when_empty: String,
}

/// What to look for in the passing bytes of one protocol.
pub(crate) struct Taps {
    /// All usage taps of the plan, in its order; those of other protocols stay silent.
    pub(crate) usage: Vec<UsageTap>,
    /// Members that hold output text.
    pub(crate) text: Vec<Finder<'static>>,
}

/// Where usage is stated.
pub(crate) struct UsageTap {
    /// Whether the tap is of the protocol at hand.
    pub(crate) active: bool,
    /// The last name of the path, quoted.
    pub(crate) needle: Finder<'static>,
    /// Member names from the top.
    pub(crate) path: Vec<String>,
}

impl Taps {
    fn new(plan: &AdapterPlan, protocol: Protocol) -> Self {
        let usage = plan.usage_taps.iter().map(|tap| {
            let path: Vec<String> = tap.path.split('.').map(str::to_owned).collect();
            let last = path.last().map_or("", String::as_str);
            UsageTap { active: tap.protocol == protocol, needle: quoted(last), path }
        });
        let text =
            plan.text_taps.iter().filter(|tap| tap.protocol == protocol).map(|tap| quoted(&tap.member));
        Self { usage: usage.collect(), text: text.collect() }
    }
}

fn quoted(name: &str) -> Finder<'static> {
    Finder::new(&format!("\"{name}\"")).into_owned()
}

/// Where a base URL leads: origin, `Host` header and path prefix.
fn place_of(base: &BaseUrl) -> (Rc<Origin>, HeaderValue, String) {
    let origin = Origin { scheme: base.scheme.clone(), authority: base.authority.clone() };
    // An authority that was parsed out of a URL is a header value.
    let host = HeaderValue::from_str(origin.authority.as_str()).unwrap_or(HeaderValue::from_static(""));
    (Rc::new(origin), host, base.prefix.clone())
}

/// What tells one endpoint from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallKind {
    /// The wire format.
    pub(crate) protocol: Protocol,
    /// What is asked.
    pub(crate) operation: Operation,
    /// Whether the answer streams.
    pub(crate) streaming: bool,
}

impl WireProfile {
    fn new(plan: &AdapterPlan, endpoints: &[tollgate_runtime::Endpoint], auth: &[HeaderTemplate]) -> Self {
        let endpoint = |endpoint: &tollgate_runtime::Endpoint| {
            let (before, after) = match endpoint.path.split_once("{model}") {
                Some((before, after)) => (before.to_owned(), Some(after.to_owned())),
                None => (endpoint.path.clone(), None),
            };
            Endpoint {
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
        Self {
            endpoints: endpoints.iter().map(endpoint).collect(),
            auth: auth.iter().filter_map(Template::new).collect(),
            defaults: plan.defaults.iter().filter_map(Template::new).collect(),
            taps: Protocol::ALL.map(|protocol| Rc::new(Taps::new(plan, protocol))),
            stream_options: plan.stream_options.iter().map(option).collect(),
            translates: plan.translates.clone(),
        }
    }
}

impl Upstream {
    /// A provider where its configuration says that it is.
    pub(crate) fn new(name: &str, base: &BaseUrl, adapter: &Arc<Adapter>) -> Self {
        let plan = adapter.plan();
        let profile = WireProfile::new(plan, &plan.endpoints, &plan.auth);
        let (origin, host, prefix) = place_of(base);
        let probe = Probe::of(plan, base);
        let adapter = Arc::clone(adapter);
        let profile = Rc::new(profile);
        Self {
            name: name.into(),
            adapter,
            origin,
            host,
            prefix,
            profile,
            elsewhere: None,
            terms: None,
            probe,
        }
    }

    /// The same provider elsewhere.
    pub(crate) fn at(&self, base: &BaseUrl) -> Self {
        let (origin, host, prefix) = place_of(base);
        Self {
            name: Arc::clone(&self.name),
            adapter: Arc::clone(&self.adapter),
            origin,
            host,
            prefix,
            profile: Rc::clone(&self.profile),
            elsewhere: Some(base.clone()),
            terms: self.terms.clone(),
            probe: Probe::of(self.adapter.plan(), base),
        }
    }

    /// The same provider on the platform that a credential is for.
    ///
    /// # Errors
    /// The adapter knows no such platform, or the credential does not say all that it needs.
    pub(crate) fn on(&self, place: &Place) -> Result<Self, String> {
        let plan = self.adapter.plan();
        let found = plan.platforms.iter().find(|platform| platform.name == place.platform);
        let platform = found.ok_or_else(|| format!("there is no platform `{}`", place.platform))?;
        let missing = |name: String| format!("platform `{}` needs the setting `{name}`", platform.name);
        let fill = |text: &str| place.fill(platform, text).map_err(missing);
        let base = match &self.elsewhere {
            Some(base) => base.clone(),
            None => place.address(platform, "base_url", &platform.base_url).map_err(missing)?.try_into()?,
        };
        let endpoint = |endpoint: &tollgate_runtime::Endpoint| {
            Ok::<_, String>(tollgate_runtime::Endpoint { path: fill(&endpoint.path)?, ..endpoint.clone() })
        };
        let endpoints = platform.endpoints.iter().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        let mut scheme = platform.scheme.clone();
        if let Scheme::OauthRefresh { token_url, .. } | Scheme::ServiceAccountJwt { token_url, .. } =
            &mut scheme
        {
            *token_url = place.address(platform, "token_url", token_url).map_err(missing)?;
        }
        let region = if matches!(scheme, Scheme::Sigv4(_)) { fill("{region}")? } else { String::new() };
        let added = platform.added.iter().filter_map(|added| {
            Some((HeaderName::from_bytes(added.name.as_bytes()).ok()?, added.value.clone()))
        });
        let added = added.collect();
        let terms = Terms { scheme, region, framing: platform.framing, edits: platform.edits.clone(), added };
        let profile = Rc::new(WireProfile::new(plan, &endpoints, &platform.headers));
        let probe = match &platform.check {
            Some(check) => {
                let usual = platform.check_base_url.as_deref().unwrap_or(&platform.base_url);
                let base = match &self.elsewhere {
                    Some(base) => base.clone(),
                    None => place.address(platform, "base_url", usual).map_err(missing)?.try_into()?,
                };
                Some(Probe::new(&base, &fill(&check.path)?, check.account_header.as_ref()))
            }
            None => None,
        };
        Ok(Self { profile, terms: Some(Rc::new(terms)), probe, ..self.at(&base) })
    }

    /// Whether calls of this shape can be made here, as they are.
    pub(crate) fn takes(&self, call: CallKind) -> bool {
        self.endpoint(call).is_some()
    }

    fn endpoint(&self, call: CallKind) -> Option<&Endpoint> {
        self.profile.endpoints.iter().find(|endpoint| {
            (endpoint.protocol, endpoint.operation, endpoint.streaming)
                == (call.protocol, call.operation, call.streaming)
        })
    }

    /// What is said upstream when a client makes this call: the same where the provider speaks the client's protocol.
    pub(crate) fn upstream_call(&self, call: CallKind) -> Option<CallKind> {
        if self.endpoint(call).is_some() {
            return Some(call);
        }
        let fits = |offer: &&Translation| (offer.client, offer.operation) == (call.protocol, call.operation);
        let upstream_call = self.profile.translates.iter().filter(fits).map(|offer| CallKind {
            protocol: offer.upstream,
            operation: offer.upstream_operation,
            ..call
        });
        upstream_call.into_iter().find(|upstream_call| self.endpoint(*upstream_call).is_some())
    }

    /// Path and query of a call.
    pub(crate) fn target(&self, call: CallKind, model: &str, query: &str) -> Option<String> {
        let endpoint = self.endpoint(call)?;
        let mut target = String::with_capacity(128);
        target.push_str(&self.prefix);
        target.push_str(&endpoint.before_model);
        if let Some(after) = &endpoint.after_model {
            target.extend(percent_encoding::utf8_percent_encode(model, SEGMENT));
            target.push_str(after);
        }
        if !query.is_empty() {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(query);
        }
        Some(target)
    }

    /// Headers that carry the credential.
    pub(crate) fn auth(&self) -> &[Template] {
        &self.profile.auth
    }

    /// Headers written where the client sent none.
    pub(crate) fn defaults(&self) -> &[Template] {
        &self.profile.defaults
    }

    /// What to look for in answers of this protocol.
    pub(crate) fn taps(&self, protocol: Protocol) -> &Rc<Taps> {
        // The array has one entry for each protocol, in the order of the enum.
        &self.profile.taps[protocol as usize]
    }

    /// The option that streams of this protocol need.
    pub(crate) fn stream_option(&self, protocol: Protocol) -> Option<&StreamOption> {
        self.profile.stream_options.iter().find(|option| option.protocol == protocol)
    }
}

/// What is encoded in a path segment. Model names keep their dots, colons and at signs.
const SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@');
