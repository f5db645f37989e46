//! Which entry of a list a name belongs to, however long the list is, and which of several takes the next turn.
//!
//! Exact names are found by hash. Names with stars are kept by what stands before their first star and after their
//! last, so that a lookup takes one hash for each *length* that such a part has, and none for each entry.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use memchr::memmem::Finder;

/// A list of names, prepared for lookups. Of several entries that match, the first counts.
#[derive(Debug, Default)]
pub struct NameIndex {
    exact: HashMap<Box<str>, usize>,
    prefixes: Parts<Parts<Vec<Middle>>>,
}

/// A name that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameMatch<'a> {
    /// The entry's place in the list.
    pub at: usize,
    /// What its star stands for, where it has exactly one.
    pub star: Option<&'a str>,
}

/// Values by a part of a name, with the lengths that such parts have, shortest first.
#[derive(Debug)]
struct Parts<V> {
    by_part: HashMap<Box<[u8]>, V>,
    lengths: Vec<usize>,
}

impl<V> Default for Parts<V> {
    fn default() -> Self {
        Self { by_part: HashMap::new(), lengths: Vec::new() }
    }
}

impl<V: Default> Parts<V> {
    fn enter(&mut self, part: &str) -> &mut V {
        if let Err(at) = self.lengths.binary_search(&part.len()) {
            self.lengths.insert(at, part.len());
        }
        self.by_part.entry(part.as_bytes().into()).or_default()
    }

    /// The values of all parts with which `name` may begin or end; `cut` takes a part of a length off it.
    fn all<'s>(
        &'s self,
        name: &'s [u8],
        cut: fn(&[u8], usize) -> &[u8],
    ) -> impl Iterator<Item = (usize, &'s V)> {
        let fitting = self.lengths.iter().copied().take_while(move |length| *length <= name.len());
        fitting.filter_map(move |length| Some((length, self.by_part.get(cut(name, length))?)))
    }
}

/// What stands between the first star and the last.
#[derive(Debug)]
struct Middle {
    at: usize,
    /// Whether there is only one star.
    single: bool,
    parts: Vec<Finder<'static>>,
}

impl Middle {
    fn matches(&self, mut rest: &[u8]) -> bool {
        self.parts.iter().all(|part| {
            let Some(at) = part.find(rest) else { return false };
            rest = &rest[at + part.needle().len()..];
            true
        })
    }
}

impl NameIndex {
    /// Builds the index from names, each with its place. In a name each `*` stands for any characters, none included.
    pub fn new<'n>(names: impl IntoIterator<Item = (&'n str, usize)>) -> Self {
        let mut index = Self::default();
        for (name, at) in names {
            index.insert(name, at);
        }
        index
    }

    fn insert(&mut self, name: &str, at: usize) {
        let Some((prefix, rest)) = name.split_once('*') else {
            match self.exact.entry(name.into()) {
                Entry::Vacant(free) => drop(free.insert(at)),
                Entry::Occupied(mut known) => *known.get_mut() = at.min(*known.get()),
            }
            return;
        };
        let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
        let parts = middle.split('*').filter(|part| !part.is_empty());
        let parts = parts.map(|part| Finder::new(part).into_owned()).collect();
        let single = !rest.contains('*');
        self.prefixes.enter(prefix).enter(suffix).push(Middle { at, single, parts });
    }

    /// The first entry that matches a name.
    #[must_use]
    pub fn find<'n>(&self, name: &'n str) -> Option<NameMatch<'n>> {
        let mut first = self.exact.get(name).map(|at| NameMatch { at: *at, star: None });
        let bytes = name.as_bytes();
        for (prefix, ends) in self.prefixes.all(bytes, |name, length| &name[..length]) {
            for (suffix, middles) in ends.all(&bytes[prefix..], |rest, length| &rest[rest.len() - length..]) {
                let end = bytes.len() - suffix;
                for middle in middles {
                    let earlier = first.is_none_or(|first| middle.at < first.at);
                    if earlier && middle.matches(&bytes[prefix..end]) {
                        // Both ends are whole strings, so what is between them is one as well.
                        let star = if middle.single { name.get(prefix..end) } else { None };
                        first = Some(NameMatch { at: middle.at, star });
                    }
                }
            }
        }
        first
    }
}

/// Which of several takes turn number `turn`: each as often as its weight says, evenly mixed, without chance. In as
/// many turns as the weights add up to (divided by their common factor), each has exactly its share. `None` where no
/// weight is above 0.
#[must_use]
pub fn spread(turn: u64, weights: impl Iterator<Item = u32> + Clone) -> Option<usize> {
    let common = weights.clone().fold(0, |all, weight| gcd(all, u64::from(weight)));
    let parts = weights.map(|weight| u64::from(weight).checked_div(common).unwrap_or(0));
    let total: u64 = parts.clone().sum();
    // A step near the golden section of the total meets each place once, and neighbouring places far apart.
    let step = (total * 618 / 1000..=total).find(|step| gcd(*step, total) == 1).unwrap_or(1);
    let place = turn.checked_rem(total)? * step % total;
    let mut passed = 0;
    parts.enumerate().find_map(|(at, part)| {
        passed += part;
        (place < passed).then_some(at)
    })
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::{NameIndex, NameMatch, spread};
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    fn matches(pattern: &str, name: &str) -> bool {
        NameIndex::new([(pattern, 0)]).find(name).is_some()
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        let check = |pattern: &str, name: &str, yes: bool| {
            assert_eq!(matches(pattern, name), yes, "{pattern} {name}")
        };
        check("gpt-*", "gpt-4o", true);
        check("gpt-*", "gpt-", true);
        check("gpt-*", "a-gpt-4o", false);
        check("*", "", true);
        check("*-mini", "gpt-4o-mini", true);
        check("*-mini", "gpt-4o-mini-2", false);
        check("a*a", "a", false);
        check("a*a", "aa", true);
        check("a*b*c*d", "a-c-b-c-d", true);
        check("a*b*c*d", "a-c-b-d", false);
        check("模*型", "模 型", true);
        check("gpt-4o", "gpt-4o", true);
        check("gpt-4o", "gpt-4", false);
    }

    #[test]
    fn the_first_entry_that_matches_counts() {
        let names = ["gpt-4o", "gpt-4*", "gpt-4o", "gpt-4.1", "gpt-*", "*o"];
        let index = NameIndex::new(names.into_iter().zip(0..));
        let at = |name| index.find(name).map(|found| found.at);
        assert_eq!(at("gpt-4o"), Some(0));
        assert_eq!(at("gpt-4o-mini"), Some(1));
        assert_eq!(at("gpt-4.1"), Some(1));
        assert_eq!(at("gpt-5"), Some(4));
        assert_eq!(at("gpt-5o"), Some(4));
        assert_eq!(at("o"), Some(5));
        assert_eq!(at("claude"), None);
    }

    #[test]
    fn one_star_tells_what_it_stands_for() {
        let index = NameIndex::new([("openai/*", 0), ("a*b*c", 1), ("模*型", 2)]);
        assert_eq!(index.find("openai/gpt-4o"), Some(NameMatch { at: 0, star: Some("gpt-4o") }));
        assert_eq!(index.find("a-b-c"), Some(NameMatch { at: 1, star: None }));
        assert_eq!(index.find("模é型"), Some(NameMatch { at: 2, star: Some("é") }));
    }

    #[test]
    fn turns_are_shared_out_exactly_by_weight_and_mixed() {
        let turns = |weights: &[u32], count: u64| -> Vec<usize> {
            (0..count).map(|turn| spread(turn, weights.iter().copied()).unwrap()).collect()
        };
        assert_eq!(turns(&[100, 100], 4), [0, 1, 0, 1]);
        for first in 0..8_usize {
            let window = &turns(&[300, 100], 16)[first..first + 4];
            assert_eq!(window.iter().filter(|at| **at == 0).count(), 3, "{window:?}");
        }
        assert_eq!(turns(&[0, 7], 3), [1, 1, 1]);
        assert_eq!(turns(&[5], 2), [0, 0]);
        assert_eq!(spread(3, [0, 0].into_iter()), None);
        assert_eq!(spread(3, std::iter::empty::<u32>()), None);
    }

    /// What the index is held against: every entry asked in turn.
    fn plainly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|at| plainly(rest, &name[at..])),
            Some((sign, rest)) => {
                name.split_first().is_some_and(|(first, name)| first == sign && plainly(rest, name))
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_index_finds_what_a_look_at_every_entry_finds(
            entries in proptest::collection::vec("[ab*é]{0,5}", 0..12),
            name in "[abé]{0,6}",
        ) {
            let index = NameIndex::new(entries.iter().map(String::as_str).zip(0..));
            let first = entries.iter().position(|entry| plainly(entry.as_bytes(), name.as_bytes()));
            prop_assert_eq!(index.find(&name).map(|found| found.at), first);
        }
    }
}
