//! One immutable set of loaded components. A request pins one from start to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::adapter::Adapter;
use crate::policy::{Filter, Pricing, Selector};
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

/// All components and their configuration at one moment.
pub struct Generation {
    id: u64,
    /// In the order of the bindings.
    loaded: Vec<Loaded>,
    adapters: Vec<Arc<Adapter>>,
    selector: Option<Arc<Selector>>,
    pricing: Option<Arc<Pricing>>,
    filter: Option<Arc<Filter>>,
    live: Arc<AtomicUsize>,
}

impl Generation {
    /// `live` counts the generations that exist.
    pub(crate) fn new(id: u64, loaded: Vec<Loaded>, live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::Relaxed);
        let mut generation = Self {
            id,
            loaded,
            adapters: Vec::new(),
            selector: None,
            pricing: None,
            filter: None,
            live: Arc::clone(live),
        };
        for component in &generation.loaded {
            component.vitals().generation.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed).ok();
            match component.clone() {
                Loaded::Adapter(adapter) => generation.adapters.push(adapter),
                Loaded::Selector(selector) => generation.selector = Some(selector),
                Loaded::Pricing(pricing) => generation.pricing = Some(pricing),
                Loaded::Filter(filter) => generation.filter = Some(filter),
            }
        }
        generation
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

    /// The key selector, where one is bound.
    #[must_use]
    pub const fn selector(&self) -> Option<&Arc<Selector>> {
        self.selector.as_ref()
    }

    /// The pricing policy, where one is bound.
    #[must_use]
    pub const fn pricing(&self) -> Option<&Arc<Pricing>> {
        self.pricing.as_ref()
    }

    /// The content filter, where one is bound.
    #[must_use]
    pub const fn filter(&self) -> Option<&Arc<Filter>> {
        self.filter.as_ref()
    }

    pub(crate) fn loaded(&self) -> &[Loaded] {
        &self.loaded
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Loaded> {
        self.loaded.iter().find(|component| component.vitals().binding.name == name)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.loaded.iter().map(|component| &component.vitals().binding.name);
        write!(f, "generation {} of ", self.id)?;
        f.debug_list().entries(names).finish()
    }
}
