//! What a translation leaves out of a request, by the places at which the client said it.

use std::borrow::Cow;
use std::cell::RefCell;

use super::Refused;

/// Kinds of things that are named; no request has more.
const KINDS_MAX: usize = 64;

/// Notes of one translation: the first place of each kind, which is its path without the numbers in it.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    strict: bool,
    places: RefCell<Vec<String>>,
}

impl LeftOut {
    /// With `strict`, hints are refused.
    pub(crate) const fn new(strict: bool) -> Self {
        Self { strict, places: RefCell::new(Vec::new()) }
    }

    /// Notes what says nothing to the upstream, what it does anyway, or what was adjusted to what it demands.
    pub(crate) fn mention(&self, path: &str) {
        let mut places = self.places.borrow_mut();
        let known = places.iter().any(|place| kind(place).eq(kind(path)));
        if !known && places.len() < KINDS_MAX {
            places.push(path.to_owned());
        }
    }

    /// Leaves out a wish without which the answer is one as well.
    ///
    /// # Errors
    /// Nothing may be left out.
    pub(crate) fn hint(&self, path: &str, why: impl Into<Cow<'static, str>>) -> Result<(), Refused> {
        if self.strict {
            return Err(Refused::new(path.to_owned(), why));
        }
        self.mention(path);
        Ok(())
    }

    /// The places, with commas between them.
    pub(crate) fn into_names(self) -> String {
        self.places.into_inner().join(", ")
    }
}

fn kind(path: &str) -> impl Iterator<Item = char> {
    path.chars().filter(|symbol| !symbol.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::LeftOut;

    #[test]
    fn the_first_of_each_kind_is_named() {
        let notes = LeftOut::default();
        for path in ["seed", "messages[2].name", "messages[10].name", "messages[2].content[1].name"] {
            assert!(notes.hint(path, "no").is_ok());
        }
        notes.mention("seed");
        assert_eq!(notes.into_names(), "seed, messages[2].name, messages[2].content[1].name");
    }

    #[test]
    fn a_strict_translation_refuses_hints_and_nothing_else() {
        let notes = LeftOut::new(true);
        notes.mention("store");
        assert_eq!(notes.hint("seed", "has no seed").unwrap_err().to_string(), "seed: has no seed");
        assert_eq!(notes.into_names(), "store");
    }
}
