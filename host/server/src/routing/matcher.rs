//! A content filter's rules, compiled: searched natively, so that the component is called only about matches.

use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::packed::Searcher;
use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use tollgate_core::fold;
use tollgate_runtime::{FilterPlan, FilterRule, Found, Syntax};

/// Most matches that a component is shown.
pub(super) const FOUND_MAX: usize = 256;
/// Bytes that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Bytes of all words of a list that is compiled to the fastest form, which takes most memory.
const DENSE_BYTES_MAX: usize = 32 << 10;
/// Words that are looked for sixteen bytes at a time by one search.
const QUICK_WORDS: usize = 64;
/// Most such searches: for more words, one that goes byte by byte is faster.
const QUICK_MAX: usize = 3;

/// Compiled rules.
#[derive(Debug)]
pub(crate) struct Matcher {
    /// Literals by letter, then literals whose ASCII letters match in either case.
    literals: [Option<Literals>; 2],
    quick: Quick,
    regexes: Vec<(u32, Regex)>,
}

/// A first look for the words, many bytes at a time, in either case of their letters. Nearly every text has none of
/// them.
#[derive(Debug)]
struct Quick {
    /// Empty where there is no such look: too many words, or no instructions for it.
    searchers: Vec<Searcher>,
    folds: bool,
}

impl Quick {
    fn new(literals: &[&FilterRule]) -> Self {
        let folds = literals.iter().any(|rule| rule.ignore_case);
        let folded = |rule: &&FilterRule| {
            if folds { rule.pattern.to_ascii_lowercase() } else { rule.pattern.clone() }
        };
        let words: Vec<String> = literals.iter().map(folded).collect();
        let groups = words.chunks(QUICK_WORDS);
        let searchers = (groups.len() <= QUICK_MAX).then(|| groups.map(Searcher::new).collect::<Option<_>>());
        Self { searchers: searchers.flatten().unwrap_or_default(), folds }
    }

    /// Whether none of the words is in the text.
    fn rules_out(&self, text: &str) -> bool {
        if self.searchers.is_empty() {
            return false;
        }
        let folded;
        let text = if self.folds {
            folded = text.to_ascii_lowercase();
            &folded
        } else {
            text
        };
        self.searchers.iter().all(|searcher| searcher.find(text).is_none())
    }
}

/// Rule sets kept compiled: those of the generations that may still be in use.
const KEPT: usize = 4;

/// The compiled rules of the plans last loaded, shared by all workers: rules are a pure function of their plan.
static COMPILED: Mutex<Vec<(FilterPlan, Arc<Matcher>)>> = Mutex::new(Vec::new());

/// The compiled form of a plan: made when its component is loaded, found when a worker begins to use it.
///
/// # Errors
/// See [`Matcher::new`].
pub(crate) fn compiled(plan: &FilterPlan) -> Result<Arc<Matcher>, String> {
    let known = |kept: &[(FilterPlan, Arc<Matcher>)]| {
        kept.iter().find(|(known, _)| known == plan).map(|(_, matcher)| Arc::clone(matcher))
    };
    if let Some(matcher) = known(&COMPILED.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(matcher);
    }
    let matcher = Arc::new(Matcher::new(plan)?);
    let mut kept = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() == KEPT {
        kept.remove(0);
    }
    kept.push((plan.clone(), Arc::clone(&matcher)));
    Ok(matcher)
}

#[derive(Debug)]
struct Literals {
    automaton: AhoCorasick,
    rules: Vec<u32>,
}

impl Literals {
    fn new(rules: &[&FilterRule], ignore_case: bool) -> Result<Option<Self>, String> {
        let of_this_kind: Vec<_> = rules.iter().filter(|rule| rule.ignore_case == ignore_case).collect();
        if of_this_kind.is_empty() {
            return Ok(None);
        }
        // Overlapping search needs standard matching: no rule may be hidden by another's match.
        let bytes: usize = of_this_kind.iter().map(|rule| rule.pattern.len()).sum();
        let automaton = AhoCorasickBuilder::new()
            .match_kind(MatchKind::Standard)
            .kind((bytes <= DENSE_BYTES_MAX).then_some(AhoCorasickKind::DFA))
            .ascii_case_insensitive(ignore_case)
            .build(of_this_kind.iter().map(|rule| &rule.pattern))
            .map_err(|error| format!("the word list cannot be compiled: {error}"))?;
        Ok(Some(Self { automaton, rules: of_this_kind.iter().map(|rule| rule.id).collect() }))
    }
}

impl Matcher {
    /// Compiles a plan.
    ///
    /// # Errors
    /// The rule that cannot be compiled, and why: the generation is refused with it.
    pub(crate) fn new(plan: &FilterPlan) -> Result<Self, String> {
        let mut literals = Vec::new();
        let mut regexes = Vec::new();
        // A word of a list is read as a text is.
        let read = plan.rules.iter().filter(|rule| rule.syntax == Syntax::Literal).filter_map(|rule| {
            let pattern = fold::read(&rule.pattern).filter(|pattern| !pattern.is_empty())?;
            Some(FilterRule { pattern, ..rule.clone() })
        });
        let read: Vec<FilterRule> = read.collect();
        for rule in plan.rules.iter().chain(&read) {
            if rule.pattern.is_empty() {
                return Err(format!("rule {} is empty and would match everywhere", rule.id));
            }
            match rule.syntax {
                // ASCII letters fold in the automaton; others need the tables of the regex engine.
                Syntax::Literal if !rule.ignore_case || rule.pattern.chars().all(folds_plainly) => {
                    literals.push(rule)
                }
                Syntax::Literal => regexes.push((rule.id, regex(rule, &escape(&rule.pattern))?)),
                Syntax::Regex => regexes.push((rule.id, regex(rule, &rule.pattern)?)),
            }
        }
        Ok(Self {
            quick: Quick::new(&literals),
            literals: [Literals::new(&literals, false)?, Literals::new(&literals, true)?],
            regexes,
        })
    }

    /// Whether there are no rules.
    pub(crate) fn is_empty(&self) -> bool {
        self.regexes.is_empty() && self.literals.iter().all(Option::is_none)
    }

    /// All matches in order, at most 256.
    pub(crate) fn find(&self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        let literals = self.literals.iter().flatten();
        let none = self.quick.rules_out(text);
        for literals in literals.take(if none { 0 } else { usize::MAX }) {
            let matches = literals.automaton.find_overlapping_iter(text).take(FOUND_MAX);
            found.extend(
                matches.filter_map(|m| place(literals.rules[m.pattern().as_usize()], m.start(), m.end())),
            );
        }
        for (rule, regex) in &self.regexes {
            found.extend(
                regex.find_iter(text).take(FOUND_MAX).filter_map(|m| place(*rule, m.start(), m.end())),
            );
        }
        found.sort_by_key(|found| (found.start, found.end));
        found.truncate(FOUND_MAX);
        found
    }
}

/// A match that covers something and lies within 4 GiB.
fn place(rule: u32, start: usize, end: usize) -> Option<Found> {
    if start == end {
        return None;
    }
    Some(Found { rule, start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
}

/// Whether a character has no other case, or an ASCII one only. The long s and the Kelvin sign fold to ASCII letters,
/// which word lists do not need.
fn folds_plainly(c: char) -> bool {
    c.is_ascii() || !(c.is_lowercase() || c.is_uppercase())
}

fn escape(literal: &str) -> String {
    let mut escaped = String::with_capacity(literal.len() * 2);
    for c in literal.chars() {
        if c.is_ascii_punctuation() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn regex(rule: &FilterRule, pattern: &str) -> Result<Regex, String> {
    Regex::builder()
        .syntax(syntax::Config::new().case_insensitive(rule.ignore_case))
        .configure(Regex::config().nfa_size_limit(Some(PATTERN_BYTES_MAX)))
        .build(pattern)
        .map_err(|error| format!("rule {} cannot be compiled: {error}", rule.id))
}

#[cfg(test)]
mod tests {
    use super::Matcher;
    use tollgate_runtime::{FilterPlan, FilterRule, Syntax, Trigger};

    fn matcher(rules: &[(Syntax, &str, bool)]) -> Result<Matcher, String> {
        let rule = |(id, (syntax, pattern, ignore_case)): (usize, &(Syntax, &str, bool))| FilterRule {
            id: u32::try_from(id).unwrap(),
            syntax: *syntax,
            pattern: (*pattern).to_owned(),
            ignore_case: *ignore_case,
        };
        Matcher::new(&FilterPlan {
            rules: rules.iter().enumerate().map(rule).collect(),
            trigger: Trigger::OnMatch,
            response_window_chars: 0,
        })
    }

    fn check(rules: &[(Syntax, &str, bool)], text: &str, expected: &[(u32, &str)]) {
        let found = matcher(rules).unwrap().find(text);
        let found: Vec<_> = found.iter().map(|f| (f.rule, &text[f.start as usize..f.end as usize])).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn words_of_every_script_are_found_and_none_hides_another() {
        use Syntax::Literal;
        check(&[(Literal, "敏感词", true)], "这是敏感词吗", &[(0, "敏感词")]);
        check(&[(Literal, "Secret", true)], "a sEcReT b", &[(0, "sEcReT")]);
        check(&[(Literal, "Secret", false)], "a secret b", &[]);
        check(&[(Literal, "ПРИВЕТ", true)], "скажи Привет", &[(0, "Привет")]);
        check(&[(Literal, "a.b", true), (Literal, "É+", true)], "axb a.b é+", &[(0, "a.b"), (1, "é+")]);
        check(&[(Literal, "foo", false), (Literal, "oobar", false)], "foobar", &[(0, "foo"), (1, "oobar")]);
    }

    #[test]
    fn each_word_of_a_list_of_any_length_is_found_wherever_it_stands() {
        for count in [1, 63, 64, 65, 200, 3000] {
            let words: Vec<String> = (0..count).map(|at| format!("Wörd{at:04}x")).collect();
            for ignore_case in [false, true] {
                let rules: Vec<_> =
                    words.iter().map(|word| (Syntax::Literal, word.as_str(), ignore_case)).collect();
                let matcher = matcher(&rules).unwrap();
                for (rule, word) in words.iter().enumerate().step_by(words.len().div_ceil(40)) {
                    let spelt = if ignore_case { word.to_ascii_uppercase() } else { word.clone() };
                    for before in [0, 1, 15, 16, 17, 70] {
                        let text = format!("{}{spelt} and so on", "é".repeat(before));
                        let found: Vec<u32> = matcher.find(&text).iter().map(|found| found.rule).collect();
                        assert_eq!(found, [u32::try_from(rule).unwrap()], "{count} words: {text}");
                    }
                    let other = if ignore_case { "Word0000x".to_owned() } else { word.to_ascii_uppercase() };
                    assert!(matcher.find(&other).is_empty(), "{count} words: {other}");
                }
            }
        }
    }

    #[test]
    fn patterns_are_linear_and_bad_ones_are_refused_by_rule() {
        use Syntax::Regex;
        check(&[(Regex, r"\b\d{3}-\d{4}\b", false)], "call 555-1234 now", &[(0, "555-1234")]);
        check(&[(Regex, r"x*", false)], "aaa", &[]);
        assert!(matcher(&[(Regex, "ok", false), (Regex, "(", false)]).unwrap_err().contains("rule 1"));
        assert!(matcher(&[(Regex, r"\w{5000}\w{5000}", false)]).unwrap_err().contains("rule 0"));
        assert!(matcher(&[(Syntax::Literal, "", false)]).unwrap_err().contains("empty"));
    }
}
