//! Who may serve a call: the targets of its model, in the order in which they are tried, each with what it costs.

use std::rc::Rc;
use std::sync::Arc;

use tollgate_core::names::spread;
use tollgate_core::price::{ModelPrice, PriceTable};

use crate::routing::snapshot::RoutingSnapshot;
use crate::routing::table::{PriorityGroup, RouteTarget};
use crate::state::credentials::Credential;
use crate::upstream::{CallKind, Upstream};

/// All targets that may serve a call.
pub(crate) struct Destination<'a> {
    /// In the order in which they are tried; at least one.
    pub(crate) tiers: Vec<Tier<'a>>,
}

/// The targets that are tried before those of the next tier.
pub(crate) struct Tier<'a> {
    /// What is paid and recorded: the client's name for the model, or the fallback that stands in for it.
    pub(crate) model: Arc<str>,
    /// 0 for the model asked for, then counting its fallbacks.
    pub(crate) order: usize,
    /// At least one.
    pub(crate) targets: Vec<Target<'a>>,
    group: Option<&'a PriorityGroup>,
}

/// A target that may serve.
pub(crate) struct Target<'a> {
    /// Where its upstream is found.
    pub(crate) snapshot: &'a RoutingSnapshot,
    /// What the client asks for.
    pub(crate) call: CallKind,
    /// The provider, with the upstream call; `None` for any that speaks the client's protocol.
    upstream: Option<(&'a Rc<Upstream>, CallKind)>,
    /// The model's name there, where it is another than the one that the client's body has.
    pub(crate) model: Option<Arc<str>>,
    /// What the model costs, where it is billed.
    pub(crate) price: Option<&'a ModelPrice>,
    /// The entry of the price list that says so, where it is the provider's default and no price of the model's own.
    pub(crate) default_price: Option<&'a str>,
    configured: Option<&'a RouteTarget>,
}

/// What an entry of the price list says, with its name where it is a provider's default.
type Price<'a> = (Option<&'a str>, &'a ModelPrice);

/// Why no target may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unserved<'a> {
    /// It has no price, and nothing leads to a provider of it.
    Unknown,
    /// It has no price at this provider, to which it would go under this name.
    Unpriced(&'a str),
    /// Its provider is switched off.
    SwitchedOff,
    /// Its provider does not take such calls in the client's protocol.
    Foreign,
}

impl Target<'_> {
    /// The upstream for which a credential is valid, if it may serve, and the upstream call.
    pub(crate) fn upstream(&self, credential: &Credential) -> Option<(Rc<Upstream>, CallKind)> {
        let provider = match self.upstream {
            Some((only, _)) => Some(only).filter(|only| *only.name == *credential.provider),
            None => self.snapshot.upstream(&credential.provider, self.call),
        }?;
        let own = self.configured.and_then(|target| target.owns(credential));
        if !own.unwrap_or_else(|| !self.snapshot.routes().reserves(credential)) {
            return None;
        }
        let upstream = self.snapshot.place(provider, credential)?;
        let upstream_call = match self.upstream {
            Some(_) => upstream.upstream_call(self.call),
            None => upstream.takes(self.call).then_some(self.call),
        }?;
        Some((upstream, upstream_call))
    }

    /// Whether the client's own words go there.
    pub(crate) fn is_in_own_words(&self) -> bool {
        self.upstream.is_none_or(|(_, call)| call.protocol == self.call.protocol)
    }

    /// The provider's name, where it is a certain one.
    pub(crate) fn provider(&self) -> Option<&str> {
        self.upstream.map(|(upstream, _)| &*upstream.name)
    }
}

impl Tier<'_> {
    /// The number of this request among those that have come here.
    pub(crate) fn turn(&self) -> u64 {
        self.group.map_or(0, PriorityGroup::turn)
    }

    /// Which of the targets that are `open` is next.
    pub(crate) fn next(&self, turn: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        let weight = |target: &Target<'_>| target.configured.map_or(1, |target| target.weight);
        let weights = self.targets.iter().enumerate();
        spread(turn, weights.map(|(at, target)| if open(at) { weight(target) } else { 0 }))
    }
}

impl<'a> Destination<'a> {
    /// The targets that may serve a model, its fallbacks included. A call that is not billed needs no price.
    ///
    /// # Errors
    /// Why neither the model nor any of its fallbacks can be served.
    pub(crate) fn find(
        snapshot: &'a RoutingSnapshot,
        prices: &'a PriceTable,
        call: CallKind,
        model: &str,
    ) -> Result<Self, Unserved<'a>> {
        let mut search =
            Search { snapshot, prices, call, tiers: Vec::with_capacity(1), missed: Unserved::Unknown };
        search.model(model, 0);
        let fallbacks = snapshot.routes().find(model).map_or(&[][..], |(route, _)| &route.fallbacks);
        for (fallback, order) in fallbacks.iter().zip(1..) {
            search.model(fallback, order);
        }
        if search.tiers.is_empty() { Err(search.missed) } else { Ok(Self { tiers: search.tiers }) }
    }

    /// The first target.
    pub(crate) fn first(&self) -> Option<(&Tier<'a>, &Target<'a>)> {
        let tier = self.tiers.first()?;
        Some((tier, tier.targets.first()?))
    }

    /// All targets, in the order of the tiers.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target<'a>> {
        self.tiers.iter().flat_map(|tier| &tier.targets)
    }
}

struct Search<'a> {
    snapshot: &'a RoutingSnapshot,
    prices: &'a PriceTable,
    call: CallKind,
    tiers: Vec<Tier<'a>>,
    missed: Unserved<'a>,
}

impl<'a> Search<'a> {
    /// The tiers of one model: by its route, else by its price, else by the provider that its name begins with.
    fn model(&mut self, name: &str, order: usize) {
        let snapshot = self.snapshot;
        let model: Arc<str> = name.into();
        // The client's body names the model asked for.
        let renamed = (order > 0).then(|| Arc::clone(&model));
        if let Some((route, star)) = snapshot.routes().find(name) {
            for group in &route.groups {
                let targets = group.targets.iter().filter_map(|target| {
                    let there = target.model(star);
                    let Some(upstream) = snapshot.site(target.site) else {
                        self.missed = self.missed.max(Unserved::SwitchedOff);
                        return None;
                    };
                    let price = self.price(name, there.as_deref(), upstream);
                    self.target(Some(upstream), there.or_else(|| renamed.clone()), price, Some(target))
                });
                let targets: Vec<_> = targets.collect();
                self.tier(&model, order, targets, Some(group));
            }
            return;
        }
        let price = self.prices.find(name);
        let of_price = price.and_then(|price| snapshot.provider(&price.provider));
        let prefixed =
            || name.split_once('/').and_then(|(provider, rest)| Some((snapshot.provider(provider)?, rest)));
        let target = match (price, of_price) {
            (None, _) if let Some((upstream, rest)) = prefixed() => {
                self.target(Some(upstream), Some(rest.into()), self.price(rest, None, upstream), None)
            }
            (price, upstream) => self.target(upstream, renamed, price.map(|price| (None, price)), None),
        };
        self.tier(&model, order, target.into_iter().collect(), None);
    }

    /// The price of a model: by the client's name for it, or by the provider's, or else the provider's default.
    fn price(&self, name: &str, there: Option<&str>, upstream: &Upstream) -> Option<Price<'a>> {
        let own = self.prices.find(name).or_else(|| self.prices.find(there?));
        let default = || self.prices.default_of(&upstream.name).map(|(entry, price)| (Some(entry), price));
        own.map(|price| (None, price)).or_else(default)
    }

    fn target(
        &mut self,
        upstream: Option<&'a Rc<Upstream>>,
        model: Option<Arc<str>>,
        price: Option<Price<'a>>,
        configured: Option<&'a RouteTarget>,
    ) -> Option<Target<'a>> {
        let &mut Self { snapshot, call, .. } = self;
        let price = price.filter(|_| call.operation.billed());
        if price.is_none() && call.operation.billed() {
            let missed = upstream.map_or(Unserved::Unknown, |upstream| Unserved::Unpriced(&upstream.name));
            self.missed = self.missed.max(missed);
            return None;
        }
        let (default_price, price) = price.map_or((None, None), |(entry, price)| (entry, Some(price)));
        let upstream = match upstream.map(|upstream| Some((upstream, upstream.upstream_call(call)?))) {
            Some(None) => {
                self.missed = self.missed.max(Unserved::Foreign);
                return None;
            }
            found => found.flatten(),
        };
        Some(Target { snapshot, call, upstream, model, price, default_price, configured })
    }

    fn tier(
        &mut self,
        model: &Arc<str>,
        order: usize,
        targets: Vec<Target<'a>>,
        group: Option<&'a PriorityGroup>,
    ) {
        if !targets.is_empty() {
            self.tiers.push(Tier { model: Arc::clone(model), order, targets, group });
        }
    }
}
