//! A generation made ready for requests: its adapters' plans joined with the configured providers, every template
//! parsed.
//!
//! Each worker keeps the newest and a request pins the one it began with, so that a reload never reaches into a
//! request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tollgate_core::id::CredentialId;
use tollgate_core::secret::Secret;
use tollgate_runtime::{Filter, Found, Generation, Policies};

use crate::routing::matcher::{self, Matcher};
use crate::routing::reading;
use crate::routing::table::{ModelRoutes, Site, Upstreams};
use crate::state::credentials::Credential;
use crate::state::platform::Place;
use crate::upstream::{CallKind, Upstream, wire};

/// Everything that requests of one generation share on one worker.
pub(crate) struct RoutingSnapshot {
    /// The components.
    pub(crate) generation: Arc<Generation>,
    /// The configuration that the upstreams were made from.
    configured: Arc<Upstreams>,
    /// Enabled providers in the order of their names.
    pub(crate) upstreams: Vec<Rc<Upstream>>,
    /// Where targets of model routes are, in the order of [`ModelRoutes::sites`].
    sites: Vec<Option<Rc<Upstream>>>,
    /// Platforms that credentials are for, made when they are first used; by upstream and credential.
    platforms: RefCell<HashMap<(*const Upstream, CredentialId), OnPlatform>>,
    /// Each content filter that may be chosen, with its compiled rules.
    screens: Vec<Screen>,
}

/// A content filter with its compiled rules.
#[derive(Clone)]
pub(crate) struct Screen {
    /// The policy that decides.
    pub(crate) filter: Arc<Filter>,
    /// Finds the matches to decide about.
    pub(crate) matcher: Arc<Matcher>,
    /// Whether it looks at texts as a person reads them, too.
    pub(crate) folds: bool,
    /// Goes into the hashes of what is refused.
    pub(crate) text_key: Arc<Secret>,
}

impl Screen {
    /// What the rules find in a text; see [`reading::find`].
    pub(crate) fn find(&self, text: &str, joins: &[usize]) -> Vec<Found> {
        reading::find(&self.matcher, text, joins, self.folds)
    }
}

/// What a filter's rules find in one text, as a person reads it, too: for whoever looks at a filter beside traffic.
pub(crate) fn found_in(matcher: &Matcher, text: &str) -> Vec<Found> {
    reading::find(matcher, text, &[], true)
}

/// An upstream on a platform; `None` where that is impossible, which has been logged.
struct OnPlatform {
    place: Place,
    upstream: Option<Rc<Upstream>>,
}

impl RoutingSnapshot {
    /// Joins a generation with the configured providers. A provider whose adapter is not loaded is left out: the
    /// generation could not have been published without it.
    pub(crate) fn new(generation: Arc<Generation>, configured: Arc<Upstreams>) -> Rc<Self> {
        let enabled = configured.providers.iter().filter(|(_, provider)| provider.enabled);
        let upstreams: Vec<Rc<Upstream>> = enabled
            .filter_map(|(name, provider)| {
                Some(Rc::new(Upstream::new(
                    name,
                    &provider.base_url,
                    wire(provider),
                    generation.adapter(name)?,
                    &configured.grants,
                )))
            })
            .collect();
        let site = |site: &Site| {
            let upstream = upstreams.iter().find(|upstream| *upstream.name == *site.provider)?;
            Some(match &site.base_url {
                Some(elsewhere) => Rc::new(upstream.at(elsewhere)),
                None => Rc::clone(upstream),
            })
        };
        let sites = configured.routes.sites().iter().map(site).collect();
        // The rules were compiled when the generation was loaded, which would have failed with them.
        let screen = |filter: &Arc<Filter>| {
            let matcher = matcher::compiled(filter.plan()).ok()?;
            let (folds, text_key) = (configured.folds, Arc::clone(&configured.text_key));
            Some(Screen { filter: Arc::clone(filter), matcher, folds, text_key })
        };
        let screens = generation.filters().filter_map(screen).collect();
        Rc::new(Self { generation, configured, upstreams, sites, platforms: RefCell::default(), screens })
    }

    /// The content filter of a request with its compiled rules, where there is one.
    pub(crate) fn screen(&self, policies: &Policies) -> Option<&Screen> {
        let filter = policies.filter.as_ref()?;
        self.screens.iter().find(|screen| Arc::ptr_eq(&screen.filter, filter))
    }

    /// Whether generation and configuration are still these.
    pub(crate) fn current(&self, generation: &Arc<Generation>, configured: &Arc<Upstreams>) -> bool {
        Arc::ptr_eq(&self.generation, generation) && Arc::ptr_eq(&self.configured, configured)
    }

    /// Which providers serve which model.
    pub(crate) fn routes(&self) -> &ModelRoutes {
        &self.configured.routes
    }

    /// Where a target is; `None` where its provider is switched off.
    pub(crate) fn site(&self, at: usize) -> Option<&Rc<Upstream>> {
        self.sites.get(at)?.as_ref()
    }

    /// A provider, unless it is switched off.
    pub(crate) fn provider(&self, name: &str) -> Option<&Rc<Upstream>> {
        self.upstreams.iter().find(|upstream| *upstream.name == *name)
    }

    /// The upstream of a provider, if it takes such calls untranslated.
    pub(crate) fn upstream(&self, provider: &str, call: CallKind) -> Option<&Rc<Upstream>> {
        self.provider(provider).filter(|upstream| upstream.takes(call))
    }

    /// The upstream for which a credential is valid: the given one, or its platform.
    pub(crate) fn place(&self, upstream: &Rc<Upstream>, credential: &Credential) -> Option<Rc<Upstream>> {
        let Some(place) = &credential.place else { return Some(Rc::clone(upstream)) };
        let mut platforms = self.platforms.borrow_mut();
        let key = (Rc::as_ptr(upstream), credential.id);
        match platforms.get(&key) {
            Some(known) if known.place == *place => known.upstream.clone(),
            _ => {
                let made = upstream.on(place);
                if let Err(why) = &made {
                    tracing::error!(credential = %credential.id, why, "a credential cannot serve");
                }
                let made = OnPlatform { place: place.clone(), upstream: made.ok().map(Rc::new) };
                platforms.entry(key).insert_entry(made).get().upstream.clone()
            }
        }
    }
}
