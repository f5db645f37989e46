//! Which provider serves a model, as the configuration says: exact names by hash, patterns precompiled, and of several
//! entries that match the first one in the file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use memchr::memmem;

use crate::config::Model;

/// The entries of `[[models]]`, made ready for lookups.
#[derive(Debug, Default)]
pub(crate) struct ModelRoutes {
    /// In the order of the file.
    targets: Vec<ModelRoute>,
    /// Entries whose name has no star.
    exact: HashMap<Box<str>, usize>,
    /// Entries whose name has one, in the order of the file.
    patterns: Vec<(Pattern, usize)>,
}

/// Where an entry leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelRoute {
    /// The configured provider.
    pub(crate) provider: Box<str>,
    /// The model's name there, where it is another than the client's.
    pub(crate) model: Option<Arc<str>>,
}

impl ModelRoutes {
    /// Takes the entries in.
    pub(crate) fn new(models: &[Model]) -> Self {
        let mut routes = Self::default();
        for (at, model) in models.iter().enumerate() {
            let Model { name, provider, model } = model;
            let provider = provider.as_str().into();
            routes.targets.push(ModelRoute { provider, model: model.as_deref().map(Arc::from) });
            match Pattern::new(name) {
                Some(pattern) => routes.patterns.push((pattern, at)),
                None => {
                    if let Entry::Vacant(free) = routes.exact.entry(name.as_str().into()) {
                        free.insert(at);
                    }
                }
            }
        }
        routes
    }

    /// The first entry that matches.
    pub(crate) fn find(&self, model: &str) -> Option<&ModelRoute> {
        let exact = self.exact.get(model).copied();
        let before = exact.unwrap_or(usize::MAX);
        let earlier = self.patterns.iter().take_while(|(_, at)| *at < before);
        let first = earlier.filter(|(pattern, _)| pattern.matches(model)).map(|(_, at)| *at).next();
        self.targets.get(first.or(exact)?)
    }
}

/// A name in which each `*` stands for any characters, none included.
#[derive(Debug)]
struct Pattern {
    prefix: Box<str>,
    middle: Vec<memmem::Finder<'static>>,
    suffix: Box<str>,
}

impl Pattern {
    /// `None` for a name without a star.
    fn new(name: &str) -> Option<Self> {
        let (prefix, rest) = name.split_once('*')?;
        let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|part| !part.is_empty());
        let middle = middle.map(|part| memmem::Finder::new(part).into_owned()).collect();
        Some(Self { prefix: prefix.into(), middle, suffix: suffix.into() })
    }

    fn matches(&self, name: &str) -> bool {
        let inside = name.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_suffix(&*self.suffix));
        let Some(mut rest) = inside.map(str::as_bytes) else { return false };
        self.middle.iter().all(|part| {
            let Some(at) = part.find(rest) else { return false };
            rest = &rest[at + part.needle().len()..];
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ModelRoutes, Pattern};
    use crate::config::Model;

    #[test]
    fn a_star_stands_for_any_characters() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(Pattern::new(pattern).unwrap().matches(name), expected, "{pattern} and {name}");
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
        assert!(Pattern::new("gpt-4o").is_none());
    }

    #[test]
    fn the_first_entry_that_matches_counts() {
        let entry = |name: &str, provider: &str| Model {
            name: name.to_owned(),
            provider: provider.to_owned(),
            model: None,
        };
        let routes = ModelRoutes::new(&[
            entry("gpt-4o", "first"),
            entry("gpt-4*", "second"),
            entry("gpt-4o", "never"),
            entry("gpt-4.1", "never"),
            entry("gpt-*", "third"),
        ]);
        let provider = |model| routes.find(model).map(|route| &*route.provider);
        assert_eq!(provider("gpt-4o"), Some("first"));
        assert_eq!(provider("gpt-4o-mini"), Some("second"));
        assert_eq!(provider("gpt-4.1"), Some("second"));
        assert_eq!(provider("gpt-5"), Some("third"));
        assert_eq!(provider("claude"), None);
    }
}
