//! What a request used, in disjoint classes.

use std::ops::{Index, IndexMut};

#[path = "../../../wit/class.rs"]
mod class;

pub use class::{Class, ServiceTier, Side, Unit, Unpriced};

/// How far a usage figure can be trusted. Missing is never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Quality {
    /// Stated by the provider.
    Exact,
    /// Part is derived from the bytes that were forwarded.
    Estimated,
    /// Nothing is known.
    #[default]
    Missing,
}

impl Quality {
    /// The name used in records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Estimated => "estimated",
            Self::Missing => "missing",
        }
    }
}

/// What one request used: units of each class, by [`Class`]. A unit is counted in one class only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    units: [u64; Class::COUNT],
    /// How far the figures can be trusted.
    pub quality: Quality,
    /// How the request was served.
    pub tier: ServiceTier,
}

impl Usage {
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

    /// The same usage, served in another tier.
    #[must_use]
    pub const fn at_tier(mut self, tier: ServiceTier) -> Self {
        self.tier = tier;
        self
    }

    /// The same with other units of one class.
    #[must_use]
    pub const fn with(mut self, class: Class, units: u64) -> Self {
        self.units[class.index()] = units;
        self
    }

    /// The classes with units, and how many.
    pub fn amounts(&self) -> impl Iterator<Item = (Class, u64)> + '_ {
        Class::ALL.into_iter().map(|class| (class, self[class])).filter(|(_, units)| *units > 0)
    }

    /// Adds the units of others, class by class; the quality stays.
    pub fn add(&mut self, other: &Self) {
        for class in Class::ALL {
            self[class] = self[class].saturating_add(other[class]);
        }
    }

    /// All prompt tokens, cached ones included: what long-prompt tiers look at.
    #[must_use]
    pub fn prompt_total(&self) -> u64 {
        self.tokens_of(Side::Prompt)
    }

    /// All output tokens, hidden ones included.
    #[must_use]
    pub fn output_total(&self) -> u64 {
        self.tokens_of(Side::Output)
    }

    fn tokens_of(&self, side: Side) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::{Class, Quality, ServiceTier, Unpriced, Usage};

    #[test]
    fn no_number_and_no_name_stands_for_two_classes() {
        for class in Class::ALL {
            assert_eq!(Class::of_code(class.code()), Some(class));
            assert_eq!(Class::named(class.name()), Some(class));
            assert_eq!(Class::ALL[class.index()], class);
            assert!(class.code() > 0 && class.description().ends_with('.'), "{class:?}");
        }
        assert_eq!((Class::of_code(0), Class::named("")), (None, None));
        for tier in ServiceTier::ALL {
            assert_eq!(
                (ServiceTier::of_code(tier.code()), ServiceTier::named(tier.name())),
                (Some(tier), Some(tier))
            );
        }
    }

    #[test]
    fn numbers_and_names_never_change() {
        let known = Class::ALL.map(|class| (class.code(), class.name()));
        let first = [
            (1, "input"),
            (2, "cache_read"),
            (3, "cache_write_short"),
            (4, "cache_write_long"),
            (5, "output"),
            (6, "reasoning"),
            (7, "audio_input"),
            (8, "audio_output"),
        ];
        assert_eq!(known[..first.len()], first);
        let tiers = ServiceTier::ALL.map(|tier| (tier.code(), tier.name()));
        let first =
            [(0, "standard"), (1, "batch"), (2, "flex"), (3, "priority"), (4, "fast"), (5, "ultrafast")];
        assert_eq!(tiers[..first.len()], first);
    }

    #[test]
    fn a_class_that_is_priced_like_another_comes_after_it() {
        for class in Class::ALL {
            if let Unpriced::Like(other) = class.unpriced() {
                assert!(other < class && other.unit() == class.unit(), "{class:?}");
            }
        }
    }

    #[test]
    fn totals_are_of_tokens_on_their_side() {
        let mut usage =
            Usage::of(Quality::Exact, &[(Class::Input, 1), (Class::AudioInput, 20), (Class::Output, 300)]);
        usage.add(&Usage::of(Quality::Missing, &[(Class::Reasoning, 4000), (Class::CacheRead, u64::MAX)]));
        assert_eq!((usage.prompt_total(), usage.output_total()), (u64::MAX, 4300));
        assert_eq!(usage.amounts().count(), 5);
    }
}
