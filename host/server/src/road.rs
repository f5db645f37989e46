//! A generation made ready for the road: its adapters' plans joined with the configured providers, every template parsed.
//!
//! Each worker keeps the newest and a request pins the one it began with, so that a reload never reaches into a request.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use memchr::memmem::Finder;
use tollgate_core::price::ModelPrice;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_runtime::{Adapter, AdapterPlan, Filter, Generation, HeaderTemplate, Translation};

use crate::config::{Provider, Upstreams};
use crate::matcher::{self, Matcher};
use crate::model_routes::ModelRoutes;
use crate::net::pool::Origin;

/// Everything that requests of one generation share on one worker.
pub(crate) struct Road {
    /// The components.
    pub(crate) generation: Arc<Generation>,
    /// The configuration that the upstreams came of.
    configured: Arc<Upstreams>,
    /// Enabled providers in the order of their names.
    pub(crate) upstreams: Vec<Rc<Upstream>>,
    models: ModelRoutes,
    matcher: Option<Arc<Matcher>>,
}

/// Who may serve a call.
pub(crate) struct Destination<'a> {
    /// Where it is looked for.
    pub(crate) road: &'a Road,
    /// What the client asks for.
    pub(crate) call: Shape,
    /// The only provider that may; `None` for any that speaks the client's protocol.
    provider: Option<&'a Rc<Upstream>>,
    /// The model's name there, where it is another than the client's.
    pub(crate) model: Option<&'a Arc<str>>,
}

impl<'a> Destination<'a> {
    /// The upstream of a provider, where it may serve the call, and what is said to it: the call itself, or what the adapter
    /// translates it to. Only a provider that the model names is worth a translation.
    pub(crate) fn upstream(&self, provider: &str) -> Option<(&'a Rc<Upstream>, Shape)> {
        match self.provider {
            Some(only) if *only.name == *provider => Some((only, only.spoken(self.call)?)),
            Some(_) => None,
            None => Some((self.road.upstream(provider, self.call)?, self.call)),
        }
    }

    /// Whether any provider takes the call, whatever its credentials.
    pub(crate) fn exists(&self) -> bool {
        match self.provider {
            Some(only) => only.spoken(self.call).is_some(),
            None => self.road.upstreams.iter().any(|upstream| upstream.endpoint(self.call).is_some()),
        }
    }

    /// Whether the model has one provider, and that takes no such calls in the client's protocol.
    pub(crate) fn is_foreign(&self) -> bool {
        self.provider.is_some() && !self.exists()
    }
}

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

impl Road {
    /// Joins a generation with the configured providers. A provider whose adapter is not loaded is left out: the
    /// generation could not have been published without it.
    pub(crate) fn new(generation: Arc<Generation>, configured: Arc<Upstreams>) -> Rc<Self> {
        let upstreams = configured
            .providers
            .iter()
            .filter(|(_, provider)| provider.enabled)
            .filter_map(|(name, provider)| {
                Some(Rc::new(Upstream::new(name, provider, generation.adapter(name)?)))
            })
            .collect();
        // The rules were compiled when the generation was loaded, which would have failed with them.
        let matcher = generation.filter().and_then(|filter| matcher::compiled(filter.plan()).ok());
        let models = ModelRoutes::new(&configured.models);
        Rc::new(Self { generation, configured, upstreams, models, matcher })
    }

    /// The content filter with its compiled rules, where there is one.
    pub(crate) fn filter(&self) -> Option<(&Filter, &Matcher)> {
        Some((self.generation.filter()?, self.matcher.as_deref()?))
    }

    /// Whether this is still what generation and configuration say.
    pub(crate) fn current(&self, generation: &Arc<Generation>, configured: &Arc<Upstreams>) -> bool {
        Arc::ptr_eq(&self.generation, generation) && Arc::ptr_eq(&self.configured, configured)
    }

    /// Who serves a model: whom the configuration names, else the provider of its price where there is such a one. `None`
    /// where the configuration names a provider that is switched off.
    pub(crate) fn destination(
        &self,
        call: Shape,
        model: &str,
        price: Option<&ModelPrice>,
    ) -> Option<Destination<'_>> {
        let named = |name: &str| self.upstreams.iter().find(|upstream| *upstream.name == *name);
        let (provider, model) = match self.models.find(model) {
            Some(route) => (Some(named(&route.provider)?), route.model.as_ref()),
            None => (price.and_then(|price| named(&price.provider)), None),
        };
        Some(Destination { road: self, call, provider, model })
    }

    /// The provider's own name for a model, where the configuration has one.
    pub(crate) fn renamed(&self, model: &str) -> Option<&str> {
        self.models.find(model)?.model.as_deref()
    }

    /// The upstream of a provider, where it takes such calls.
    pub(crate) fn upstream(&self, provider: &str, call: Shape) -> Option<&Rc<Upstream>> {
        self.upstreams
            .iter()
            .find(|upstream| *upstream.name == *provider && upstream.endpoint(call).is_some())
    }
}

/// What tells one endpoint from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The wire format.
    pub(crate) protocol: Protocol,
    /// What is asked.
    pub(crate) operation: Operation,
    /// Whether the answer streams.
    pub(crate) streaming: bool,
}

impl Upstream {
    fn new(name: &str, provider: &Provider, adapter: &Arc<Adapter>) -> Self {
        let plan = adapter.plan();
        let base = &provider.base_url;
        let origin = Origin { scheme: base.scheme.clone(), authority: base.authority.clone() };
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
        Self {
            name: name.into(),
            adapter: Arc::clone(adapter),
            // An authority that was parsed out of a URL is a header value.
            host: HeaderValue::from_str(origin.authority.as_str()).unwrap_or(HeaderValue::from_static("")),
            origin: Rc::new(origin),
            prefix: base.prefix.clone(),
            endpoints: plan.endpoints.iter().map(endpoint).collect(),
            auth: plan.auth.iter().filter_map(Template::new).collect(),
            defaults: plan.defaults.iter().filter_map(Template::new).collect(),
            taps: Protocol::ALL.map(|protocol| Rc::new(Taps::new(plan, protocol))),
            stream_options: plan
                .stream_options
                .iter()
                .map(|option| StreamOption {
                    protocol: option.protocol,
                    object: option.object.clone(),
                    member: option.member.clone(),
                    withhold_when_empty: option.withhold_when_empty.clone(),
                })
                .collect(),
            translates: plan.translates.clone(),
        }
    }

    fn endpoint(&self, call: Shape) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| {
            (endpoint.protocol, endpoint.operation, endpoint.streaming)
                == (call.protocol, call.operation, call.streaming)
        })
    }

    /// What is said upstream when a client makes this call: the same where the provider speaks the client's protocol.
    fn spoken(&self, call: Shape) -> Option<Shape> {
        if self.endpoint(call).is_some() {
            return Some(call);
        }
        let fits = |offer: &&Translation| (offer.client, offer.operation) == (call.protocol, call.operation);
        let spoken =
            self.translates.iter().filter(fits).map(|offer| Shape { protocol: offer.upstream, ..call });
        spoken.into_iter().find(|spoken| self.endpoint(*spoken).is_some())
    }

    /// Path and query of a call.
    pub(crate) fn target(&self, call: Shape, model: &str, query: &str) -> Option<String> {
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
        &self.auth
    }

    /// Headers written where the client sent none.
    pub(crate) fn defaults(&self) -> &[Template] {
        &self.defaults
    }

    /// What to look for in answers of this protocol.
    pub(crate) fn taps(&self, protocol: Protocol) -> &Rc<Taps> {
        // The array has one entry for each protocol, in the order of the enum.
        &self.taps[protocol as usize]
    }

    /// The option that streams of this protocol need.
    pub(crate) fn stream_option(&self, protocol: Protocol) -> Option<&StreamOption> {
        self.stream_options.iter().find(|option| option.protocol == protocol)
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
