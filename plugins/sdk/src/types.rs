//! Types that every kind of plugin shares. Documented, with units, in `wit/types.wit`.

use std::ops::{Index, IndexMut};

use crate::bindings::provider_adapter::tollgate::plugin::types as wit;

#[path = "../../../wit/class.rs"]
mod class;

pub use class::{Class, ServiceTier, Side, Unit, Unpriced};
pub use wit::{Operation, Outcome, Owner, Protocol, Quality};

/// What was used: units of each [`Class`]. A unit is counted in one class only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    units: [u64; Class::COUNT],
    /// How far the figures can be trusted.
    pub quality: Quality,
    /// How the request was served.
    pub tier: ServiceTier,
}

impl Usage {
    /// Nothing is known, which is not the same as no tokens.
    pub const MISSING: Self = Self::of(Quality::Missing, &[]);

    /// These units, and none of the classes that are not named.
    #[must_use]
    pub const fn of(quality: Quality, amounts: &[(Class, u64)]) -> Self {
        let mut units = [0; Class::COUNT];
        let mut at = 0;
        while at < amounts.len() {
            units[amounts[at].0.index()] = amounts[at].1;
            at += 1;
        }
        Self { units, quality, tier: ServiceTier::Standard }
    }

    /// The same with other units of one class.
    #[must_use]
    pub const fn with(mut self, class: Class, units: u64) -> Self {
        self.units[class.index()] = units;
        self
    }

    /// The same, served in another tier.
    #[must_use]
    pub const fn at_tier(mut self, tier: ServiceTier) -> Self {
        self.tier = tier;
        self
    }

    /// The same, exact only where `odd` is false: not all that was stated could be read.
    #[must_use]
    pub fn estimated_if(mut self, odd: bool) -> Self {
        if odd && self.quality == Quality::Exact {
            self.quality = Quality::Estimated;
        }
        self
    }

    /// All tokens of this side.
    #[must_use]
    pub fn tokens_of(&self, side: Side) -> u64 {
        let classes = Class::ALL.into_iter().filter(|class| class.is_tokens_of(side));
        classes.fold(0, |sum, class| sum.saturating_add(self[class]))
    }
}

impl Index<Class> for Usage {
    type Output = u64;

    fn index(&self, class: Class) -> &u64 {
        &self.units[class.index()]
    }
}

impl IndexMut<Class> for Usage {
    fn index_mut(&mut self, class: Class) -> &mut u64 {
        &mut self.units[class.index()]
    }
}

impl From<Usage> for wit::Usage {
    fn from(usage: Usage) -> Self {
        let some = Class::ALL.into_iter().zip(usage.units).filter(|(_, units)| *units > 0);
        Self {
            amounts: some.map(|(class, units)| wit::Amount { class: class.code(), units }).collect(),
            quality: usage.quality,
            service_tier: usage.tier.code(),
        }
    }
}
