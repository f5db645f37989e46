//! Which variant of each binding serves a request: picked once, at admission, by a number that the caller derives from
//! whoever must not flip from one variant to another.

use std::sync::Arc;

use crate::binding::{Kind, WHOLE_PPM};
use crate::policy::{Filter, Pricing, Selector};

/// Offset basis and prime of FNV-1a, 64 bits.
const FNV: (u64, u64) = (0xcbf2_9ce4_8422_2325, 0x0000_0100_0000_01b3);

/// What a request is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choice {
    /// Equal for all requests that must meet the same variants, on every node and after every restart.
    pub key: u64,
}

impl Choice {
    /// A choice by these bytes: the id of a user or a conversation.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { key: fnv(bytes) }
    }
}

/// The policies that serve one request, from admission to settlement.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// The key selector, where one is bound.
    pub selector: Option<Arc<Selector>>,
    /// The pricing policy, where one is bound.
    pub pricing: Option<Arc<Pricing>>,
    /// The content filter, where one is bound.
    pub filter: Option<Arc<Filter>>,
    /// A kind of policy that is bound and could not be loaded, so that no request may be served.
    pub lacks: Option<Kind>,
}

/// The variants of one binding, each with a part of all keys.
pub(crate) struct Split<T> {
    /// Makes the splits of two bindings independent of each other.
    salt: u64,
    /// By the end of their part, in millionths. Those without a share are not among them.
    parts: Vec<(u32, Arc<T>)>,
}

impl<T> Split<T> {
    /// A split without parts.
    pub(crate) const fn empty() -> Self {
        Self { salt: 0, parts: Vec::new() }
    }

    /// Gives a variant of `binding` the next part. A variant that grows at the end of the list keeps the keys that it
    /// had.
    pub(crate) fn add(&mut self, binding: &str, share_ppm: u32, variant: Arc<T>) {
        self.salt = fnv(binding.as_bytes());
        if share_ppm > 0 {
            let end = self.parts.last().map_or(0, |(end, _)| *end) + share_ppm;
            self.parts.push((end, variant));
        }
    }

    /// Whose part the key is in.
    #[inline]
    pub(crate) fn choose(&self, choice: Choice) -> Option<&Arc<T>> {
        match self.parts.as_slice() {
            [] => None,
            [(_, only)] => Some(only),
            parts => {
                let point = point(choice.key ^ self.salt);
                parts.iter().find(|(end, _)| point < u64::from(*end)).map(|(_, variant)| variant)
            }
        }
    }

    /// All that can be chosen.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<T>> {
        self.parts.iter().map(|(_, variant)| variant)
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV.1))
}

/// A number below [`WHOLE_PPM`] in which every bit of the key has a say (the finish of SplitMix64).
fn point(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (key ^ (key >> 31)) % u64::from(WHOLE_PPM)
}

#[cfg(test)]
mod tests {
    use super::{Choice, Split};
    use std::sync::Arc;

    fn split(binding: &str, shares: &[u32]) -> Split<usize> {
        let mut split = Split::empty();
        shares.iter().enumerate().for_each(|(at, share)| split.add(binding, *share, Arc::new(at)));
        split
    }

    fn served(split: &Split<usize>, user: u32) -> usize {
        **split.choose(Choice::of(&user.to_le_bytes())).unwrap()
    }

    #[test]
    fn a_key_stays_where_it_is_from_one_version_of_the_gateway_to_the_next() {
        assert_eq!(Choice::of(b"a user").key, 0xa11f_cad5_e1c0_59a7);
        let split = split("pricing", &[900_000, 100_000]);
        let canary: Vec<u32> = (0..60).filter(|user| served(&split, *user) == 1).collect();
        assert_eq!(canary, [16, 19, 20, 28, 32, 42]);
    }

    #[test]
    fn a_variant_that_grows_keeps_the_keys_that_it_had() {
        let (before, after) = (split("pricing", &[900_000, 100_000]), split("pricing", &[800_000, 200_000]));
        assert!((0..10_000).all(|user| served(&before, user) <= served(&after, user)));
    }

    #[test]
    fn bindings_split_apart_from_each_other() {
        let (one, other) = (split("pricing", &[500_000; 2]), split("key-selection", &[500_000; 2]));
        let both = (0..10_000).filter(|user| served(&one, *user) == 1 && served(&other, *user) == 1).count();
        assert!((2400..2600).contains(&both), "{both}");
    }

    #[test]
    fn what_has_no_share_is_not_chosen() {
        let split = split("pricing", &[0, 1_000_000, 0]);
        assert!((0..10_000).all(|user| served(&split, user) == 1));
        assert!(Split::<usize>::empty().choose(Choice { key: 0 }).is_none());
    }
}
