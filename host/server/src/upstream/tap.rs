//! What is searched for in passing answers: the names of the members by which a plan says where usage and text stand.

use aho_corasick::packed::Searcher;
use memchr::memmem::Finder;
use tollgate_core::protocol::Protocol;
use tollgate_runtime::AdapterPlan;

/// In a tap's path, after a name: each element of an array.
pub(crate) const EACH: &str = "[]";

/// The member without which no answer tells of a failure in JSON.
const ERROR: &str = "error";

/// What to search for in the passing bytes of one protocol.
pub(crate) struct Taps {
    /// All usage taps of the plan, in its order; those of other protocols stay silent.
    pub(crate) usage: Vec<UsageTap>,
    /// All names that count for this protocol, quoted, each once. The first is [`ERROR`].
    names: Vec<Finder<'static>>,
    /// Finds any of them, many bytes at a time; `None` where the machine has no instructions for it.
    together: Option<Searcher>,
    /// Those of them whose members hold output text.
    texts: Seen,
}

/// Where usage is stated.
pub(crate) struct UsageTap {
    /// Whether the tap is of this protocol.
    pub(crate) active: bool,
    /// The names of the path, quoted, the last one first: if one of them is missing, nothing has to be parsed.
    pub(crate) needles: Vec<Finder<'static>>,
    /// Member names from the top.
    pub(crate) path: Vec<String>,
    /// Whether the path leads through arrays, so that its value is a list.
    pub(crate) many: bool,
    /// The same names among those that are looked for.
    names: Seen,
}

/// Which of the names were seen: a bit for each. Those beyond the last bit share it, and are taken for seen together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl Seen {
    const fn of(name: usize) -> Self {
        Self(1 << if name < 63 { name } else { 63 })
    }

    /// Both.
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of these are among them.
    pub(crate) const fn has_all(self, of: Self) -> bool {
        of.0 & !self.0 == 0
    }

    /// Whether there was a member, or a text, that is called `error`.
    pub(crate) const fn error(self) -> bool {
        self.has_all(Self::of(0))
    }
}

impl Taps {
    pub(super) fn new(plan: &AdapterPlan, protocol: Protocol) -> Self {
        let usage = plan.usage_taps.iter().map(|tap| UsageTap::new(&tap.path, tap.protocol == protocol));
        let text = plan.text_taps.iter().filter(|tap| tap.protocol == protocol).map(|tap| &*tap.member);
        Self::of(usage.collect(), text)
    }

    /// These taps, and these members that hold output text.
    pub(crate) fn of<'t>(usage: Vec<UsageTap>, text: impl IntoIterator<Item = &'t str>) -> Self {
        let mut taps = Self { usage: Vec::new(), names: vec![quoted(ERROR)], together: None, texts: Seen(0) };
        for member in text {
            taps.texts = taps.texts.with(taps.add(quoted(member)));
        }
        for mut tap in usage {
            if tap.active {
                let names = tap.needles.iter().map(|needle| taps.add(needle.clone()));
                tap.names = names.fold(Seen(0), Seen::with);
            }
            taps.usage.push(tap);
        }
        taps.together = Searcher::new(taps.names.iter().map(Finder::needle));
        taps
    }

    fn add(&mut self, name: Finder<'static>) -> Seen {
        let known = self.names.iter().position(|known| known.needle() == name.needle());
        Seen::of(known.unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        }))
    }

    /// Looks for all names on one pass. `text` is told of each whose member holds output text: the name, and what
    /// follows it.
    pub(crate) fn look<'b>(&self, bytes: &'b [u8], mut text: impl FnMut(Seen, &'b [u8])) -> Seen {
        let mut seen = Seen(0);
        let mut found = |name: usize, end: usize| {
            let name = Seen::of(name);
            seen = seen.with(name);
            if self.texts.has_all(name) {
                text(name, bytes.get(end..).unwrap_or_default());
            }
        };
        match &self.together {
            Some(together) => {
                together.find_iter(bytes).for_each(|at| found(at.pattern().as_usize(), at.end()));
            }
            None => {
                for (name, finder) in self.names.iter().enumerate() {
                    finder.find_iter(bytes).for_each(|at| found(name, at + finder.needle().len()));
                }
            }
        }
        seen
    }
}

impl UsageTap {
    /// A tap of names joined by dots; `[]` after one stands for each element of an array.
    pub(crate) fn new(path: &str, active: bool) -> Self {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let needles = path.iter().rev().map(|name| quoted(name.strip_suffix(EACH).unwrap_or(name))).collect();
        let many = path.iter().any(|name| name.ends_with(EACH));
        Self { active, needles, path, many, names: Seen(0) }
    }

    /// Whether one of its names was not seen.
    pub(crate) const fn is_absent(&self, seen: Seen) -> bool {
        !seen.has_all(self.names)
    }
}

fn quoted(name: &str) -> Finder<'static> {
    Finder::new(&format!("\"{name}\"")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Seen, Taps, UsageTap};

    #[test]
    fn one_pass_finds_what_each_search_would() {
        let members: Vec<String> = (0..70).map(|at| format!("m{at}")).collect();
        let tap = |path: &str| UsageTap::new(path, true);
        let few = || Taps::of(vec![tap("a.usage"), tap("usage"), tap("list[].b")], ["text", "usage"]);
        let many = Taps::of(vec![tap("m69.m1"), tap("x")], members.iter().map(String::as_str));
        let mut slow = few();
        slow.together = None;
        let body = br#"{"text":"\"usage\" and text","usage":{"b":1,"usage":2},"error":0,"list":"#;
        for taps in [few(), slow] {
            let mut told = Vec::new();
            let seen = taps.look(body, |name, rest| told.push((name, rest.len())));
            told.sort_unstable_by_key(|(_, left)| std::cmp::Reverse(*left));
            let text = taps.look(b"\"text\"", |_, _| {});
            let left = |name: &str, from: usize| {
                let at = memchr::memmem::find(&body[from..], name.as_bytes()).unwrap();
                body.len() - from - at - name.len()
            };
            let (first, second) = (left("\"usage\":{", 0) + 2, left("\"usage\":2", 0) + 2);
            let usage = taps.look(b"\"usage\"", |_, _| {});
            assert_eq!(told, [(text, left("\"text\"", 0)), (usage, first), (usage, second)]);
            assert!(seen.error() && !text.error());
            let absent: Vec<bool> = taps.usage.iter().map(|tap| tap.is_absent(seen)).collect();
            assert_eq!(absent, [true, false, false]);
        }
        // Beyond the last bit, names are taken for seen together, and none that was seen is taken for absent.
        let absent = |text: &[u8]| {
            let seen = many.look(text, |_, _| {});
            many.usage.iter().map(|tap| tap.is_absent(seen)).collect::<Vec<bool>>()
        };
        assert_eq!(absent(b"\"m1\",\"m69\""), [false, false]);
        assert_eq!(absent(b"\"m69\""), [true, false]);
        assert_eq!((absent(b"").as_slice(), Seen::default()), ([true, true].as_slice(), Seen(0)));
    }
}
