//! Who may serve a call: the targets of its model, in the order in which they are tried, each with what it costs.

use std::rc::Rc;
use std::sync::Arc;

use tollgate_core::names::spread;
use tollgate_core::price::{ModelPrice, PriceTable};

use crate::routing::snapshot::RoutingSnapshot;
use crate::routing::table::{Rank, Target};
use crate::state::directory::Credential;
use crate::upstream::{Shape, Upstream};

/// Everyone who may serve a call.
pub(crate) struct Destination<'a> {
    /// In the order in which they are tried; one at least.
    pub(crate) stages: Vec<Stage<'a>>,
}

/// Those who are tried before all others are.
pub(crate) struct Stage<'a> {
    /// What is paid and recorded: the client's name for the model, or the fallback that stands in for it.
    pub(crate) model: Arc<str>,
    /// 0 for the model asked for, then counting its fallbacks.
    pub(crate) order: usize,
    /// One at least.
    pub(crate) legs: Vec<Leg<'a>>,
    rank: Option<&'a Rank>,
}

/// One who may serve.
pub(crate) struct Leg<'a> {
    /// Where it is looked for.
    pub(crate) snapshot: &'a RoutingSnapshot,
    /// What the client asks for.
    pub(crate) call: Shape,
    /// The provider, with what is said to it; `None` for any that speaks the client's protocol.
    upstream: Option<(&'a Rc<Upstream>, Shape)>,
    /// The model's name there, where it is another than the one that the client's body has.
    pub(crate) model: Option<Arc<str>>,
    /// What the model costs, where it is billed.
    pub(crate) price: Option<&'a ModelPrice>,
    target: Option<&'a Target>,
}

/// Why nobody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unserved {
    /// Nobody could say what it costs.
    Unpriced,
    /// By a provider that is switched off.
    SwitchedOff,
    /// By a provider that takes no such calls in the client's protocol.
    Foreign,
}

impl Leg<'_> {
    /// The upstream that a credential is good for, where it may serve, and what is said to it.
    pub(crate) fn upstream(&self, credential: &Credential) -> Option<(Rc<Upstream>, Shape)> {
        let provider = match self.upstream {
            Some((only, _)) => Some(only).filter(|only| *only.name == *credential.provider),
            None => self.snapshot.upstream(&credential.provider, self.call),
        }?;
        let own = self.target.and_then(|target| target.owns(credential));
        if !own.unwrap_or_else(|| !self.snapshot.routes().reserves(credential)) {
            return None;
        }
        let upstream = self.snapshot.place(provider, credential)?;
        let spoken = match self.upstream {
            Some(_) => upstream.spoken(self.call),
            None => upstream.takes(self.call).then_some(self.call),
        }?;
        Some((upstream, spoken))
    }

    /// Whether any provider takes the call, whatever its credentials.
    fn exists(&self) -> bool {
        self.upstream.is_some() || self.snapshot.upstreams.iter().any(|upstream| upstream.takes(self.call))
    }

    /// The provider's name, where it is a certain one.
    pub(crate) fn provider(&self) -> Option<&str> {
        self.upstream.map(|(upstream, _)| &*upstream.name)
    }
}

impl Stage<'_> {
    /// The number of this request among those that have come here.
    pub(crate) fn turn(&self) -> u64 {
        self.rank.map_or(0, Rank::turn)
    }

    /// Which of the legs that are `open` is next.
    pub(crate) fn next(&self, turn: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        let weight = |leg: &Leg<'_>| leg.target.map_or(1, |target| target.weight);
        let weights = self.legs.iter().enumerate();
        spread(turn, weights.map(|(at, leg)| if open(at) { weight(leg) } else { 0 }))
    }
}

impl<'a> Destination<'a> {
    /// Who may serve a model, its fallbacks included. What is not billed needs no price.
    ///
    /// # Errors
    /// Why neither the model nor any of its fallbacks can be served.
    pub(crate) fn find(
        snapshot: &'a RoutingSnapshot,
        prices: &'a PriceTable,
        call: Shape,
        model: &str,
    ) -> Result<Self, Unserved> {
        let mut search =
            Search { snapshot, prices, call, stages: Vec::with_capacity(1), missed: Unserved::Unpriced };
        search.model(model, 0);
        let fallbacks = snapshot.routes().find(model).map_or(&[][..], |(route, _)| &route.fallbacks);
        for (fallback, order) in fallbacks.iter().zip(1..) {
            search.model(fallback, order);
        }
        if search.stages.is_empty() { Err(search.missed) } else { Ok(Self { stages: search.stages }) }
    }

    /// Who is first in line.
    pub(crate) fn first(&self) -> Option<(&Stage<'a>, &Leg<'a>)> {
        let stage = self.stages.first()?;
        Some((stage, stage.legs.first()?))
    }

    /// Everyone, in the order of the stages.
    pub(crate) fn legs(&self) -> impl Iterator<Item = &Leg<'a>> {
        self.stages.iter().flat_map(|stage| &stage.legs)
    }

    /// Whether any provider takes the call, whatever its credentials.
    pub(crate) fn exists(&self) -> bool {
        self.legs().any(Leg::exists)
    }
}

struct Search<'a> {
    snapshot: &'a RoutingSnapshot,
    prices: &'a PriceTable,
    call: Shape,
    stages: Vec<Stage<'a>>,
    missed: Unserved,
}

impl<'a> Search<'a> {
    /// The stages of one model: by its route, else by its price, else by the provider that its name begins with.
    fn model(&mut self, name: &str, order: usize) {
        let snapshot = self.snapshot;
        let model: Arc<str> = name.into();
        // The client's body names the model asked for.
        let renamed = (order > 0).then(|| Arc::clone(&model));
        if let Some((route, star)) = snapshot.routes().find(name) {
            for rank in &route.ranks {
                let legs = rank.targets.iter().filter_map(|target| {
                    let there = target.model(star);
                    let price = self.price(name, there.as_deref());
                    let Some(upstream) = snapshot.site(target.site) else {
                        self.missed = self.missed.max(Unserved::SwitchedOff);
                        return None;
                    };
                    self.leg(Some(upstream), there.or_else(|| renamed.clone()), price, Some(target))
                });
                let legs: Vec<_> = legs.collect();
                self.stage(&model, order, legs, Some(rank));
            }
            return;
        }
        let price = self.prices.find(name);
        let of_price = price.and_then(|price| snapshot.provider(&price.provider));
        let prefixed =
            || name.split_once('/').and_then(|(provider, rest)| Some((snapshot.provider(provider)?, rest)));
        let leg = match (price, of_price) {
            (None, _) if let Some((upstream, rest)) = prefixed() => {
                self.leg(Some(upstream), Some(rest.into()), self.prices.find(rest), None)
            }
            (price, upstream) => self.leg(upstream, renamed, price, None),
        };
        self.stage(&model, order, leg.into_iter().collect(), None);
    }

    /// The price of a model: by the client's name for it, or else by the provider's.
    fn price(&self, name: &str, there: Option<&str>) -> Option<&'a ModelPrice> {
        self.prices.find(name).or_else(|| self.prices.find(there?))
    }

    fn leg(
        &mut self,
        upstream: Option<&'a Rc<Upstream>>,
        model: Option<Arc<str>>,
        price: Option<&'a ModelPrice>,
        target: Option<&'a Target>,
    ) -> Option<Leg<'a>> {
        let &mut Self { snapshot, call, .. } = self;
        let price = price.filter(|_| call.operation.billed());
        if price.is_none() && call.operation.billed() {
            return None;
        }
        let upstream = match upstream.map(|upstream| Some((upstream, upstream.spoken(call)?))) {
            Some(None) => {
                self.missed = self.missed.max(Unserved::Foreign);
                return None;
            }
            found => found.flatten(),
        };
        Some(Leg { snapshot, call, upstream, model, price, target })
    }

    fn stage(&mut self, model: &Arc<str>, order: usize, legs: Vec<Leg<'a>>, rank: Option<&'a Rank>) {
        if !legs.is_empty() {
            self.stages.push(Stage { model: Arc::clone(model), order, legs, rank });
        }
    }
}
