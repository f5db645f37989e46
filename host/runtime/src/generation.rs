//! One immutable set of loaded components. A request pins one from start to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::adapter::Adapter;
use crate::binding::{Kind, OnError};
use crate::choice::{Choice, Policies, Split};
use crate::policy::{Filter, Pricing, Selector};
use crate::spec::Spec;
use crate::vitals::Vitals;

/// One component in its typed form.
#[derive(Clone)]
pub(crate) enum Loaded {
    Adapter(Arc<Adapter>),
    Selector(Arc<Selector>),
    Pricing(Arc<Pricing>),
    Filter(Arc<Filter>),
}

impl Loaded {
    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        match self {
            Self::Adapter(adapter) => &adapter.unit.vitals,
            Self::Selector(selector) => &selector.unit.vitals,
            Self::Pricing(pricing) => &pricing.unit.vitals,
            Self::Filter(filter) => &filter.unit.vitals,
        }
    }
}

/// One variant of a binding, loaded.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) loaded: Loaded,
    /// The binding that it is a variant of.
    pub(crate) binding: Arc<str>,
    /// Its share, in millionths.
    pub(crate) share_ppm: u32,
    /// Whether it never serves.
    pub(crate) shadow: bool,
}

impl Member {
    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        self.loaded.vitals()
    }

    /// What tells two generations of the same components apart.
    pub(crate) fn place(&self) -> (&str, u32, bool) {
        (&self.vitals().name, self.share_ppm, self.shadow)
    }
}

/// All components and their configuration at one moment.
pub struct Generation {
    id: u64,
    /// In the order of the bindings and their variants.
    members: Vec<Member>,
    /// What is bound, but could not be loaded at the start, nor anything in its place.
    lacking: Vec<Spec>,
    adapters: Vec<Arc<Adapter>>,
    selectors: Split<Selector>,
    pricing: Split<Pricing>,
    filters: Split<Filter>,
    live: Arc<AtomicUsize>,
}

impl Generation {
    /// `live` counts the generations that exist.
    pub(crate) fn new(id: u64, members: Vec<Member>, lacking: Vec<Spec>, live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::Relaxed);
        let mut generation = Self {
            id,
            members: Vec::new(),
            lacking,
            adapters: Vec::new(),
            selectors: Split::empty(),
            pricing: Split::empty(),
            filters: Split::empty(),
            live: Arc::clone(live),
        };
        for member in &members {
            member.vitals().generation.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed).ok();
            if !member.shadow {
                generation.serve(member);
            }
        }
        generation.members = members;
        generation
    }

    /// Lets a member serve its share.
    fn serve(&mut self, member: &Member) {
        let (binding, share_ppm) = (&*member.binding, member.share_ppm);
        match member.loaded.clone() {
            Loaded::Adapter(adapter) => self.adapters.push(adapter),
            Loaded::Selector(selector) => self.selectors.add(binding, share_ppm, selector),
            Loaded::Pricing(pricing) => self.pricing.add(binding, share_ppm, pricing),
            Loaded::Filter(filter) => self.filters.add(binding, share_ppm, filter),
        }
    }

    /// Counts up from 1.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The adapter bound by this name.
    #[must_use]
    pub fn adapter(&self, name: &str) -> Option<&Arc<Adapter>> {
        self.adapters.iter().find(|adapter| adapter.name() == name)
    }

    /// All adapters, in the order of the bindings.
    #[must_use]
    pub fn adapters(&self) -> &[Arc<Adapter>] {
        &self.adapters
    }

    /// Picks the policies of a request: the same ones for the same key, as long as the shares stay.
    #[must_use]
    #[inline]
    pub fn choose(&self, choice: Choice) -> Policies {
        Policies {
            selector: self.selectors.choose(choice).cloned(),
            pricing: self.pricing.choose(choice).cloned(),
            filter: self.filters.choose(choice).cloned(),
            lacks: self.lacks(),
        }
    }

    /// The kind of a policy without which no request may be served.
    #[inline]
    fn lacks(&self) -> Option<Kind> {
        let needed = |spec: &&Spec| match spec.kind {
            Kind::ProviderAdapter => false,
            Kind::PricingPolicy => true,
            Kind::KeySelector | Kind::ContentFilter => spec.on_error == OnError::Closed,
        };
        self.lacking.iter().find(needed).map(|spec| spec.kind)
    }

    /// All content filters that may be chosen, for whoever prepares their plans.
    pub fn filters(&self) -> impl Iterator<Item = &Arc<Filter>> {
        self.filters.all()
    }

    pub(crate) fn lacking(&self) -> &[Spec] {
        &self.lacking
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Loaded> {
        self.members.iter().find(|member| *member.vitals().name == *name).map(|member| &member.loaded)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.members.iter().map(|member| &member.vitals().name);
        write!(f, "generation {} of ", self.id)?;
        f.debug_list().entries(names).finish()
    }
}
