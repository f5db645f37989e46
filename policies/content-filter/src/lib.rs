//! Blocks or masks words and patterns in requests and, where switched on, in answers.
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `words` | `[]` | strings that are looked for as they stand, also inside longer words |
//! | `patterns` | `[]` | regular expressions (Rust `regex` syntax); `\bword\b` finds whole words only |
//! | `action` | `"block"` | what a match leads to: `"block"` or `"mask"` |
//! | `ignore_case` | `true` | whether `Word` matches `word` |
//! | `rules` | `[]` | more of these four, each list with its own `action` and `ignore_case` |
//! | `responses.window_chars` | `0` | characters of an answer held back so that matches may span events; 0: requests only |
//!
//! A block outweighs every mask. The gateway reports at most 256 matches of a text: where that many would be masked,
//! the text is blocked instead, since more may have gone unreported.

use serde::Deserialize;
use tollgate_plugin::config;
use tollgate_plugin::filtering::{
    Action, ContentFilter, Direction, Found, MATCHES_MAX, Plan, Rule, Syntax, Trigger, Verdict,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    words: Vec<String>,
    patterns: Vec<String>,
    action: OnMatch,
    ignore_case: bool,
    rules: Vec<Rules>,
    responses: Responses,
}

impl Default for Config {
    fn default() -> Self {
        let Rules { words, patterns, action, ignore_case } = Rules::default();
        Self { words, patterns, action, ignore_case, rules: Vec::new(), responses: Responses::default() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rules {
    words: Vec<String>,
    patterns: Vec<String>,
    action: OnMatch,
    ignore_case: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { words: Vec::new(), patterns: Vec::new(), action: OnMatch::Block, ignore_case: true }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnMatch {
    Block,
    Mask,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Responses {
    window_chars: u32,
}

/// The policy. Rules are numbered in the order of the configuration, words before patterns.
#[derive(Debug)]
pub struct WordFilter {
    plan: Plan,
    /// What rule number *i* leads to.
    actions: Vec<OnMatch>,
}

impl ContentFilter for WordFilter {
    fn configure(config: &str) -> Result<Self, String> {
        let Config { words, patterns, action, ignore_case, rules, responses } = config::parse(config)?;
        let trigger = Trigger::OnMatch;
        let plan = Plan { rules: Vec::new(), trigger, response_window_chars: responses.window_chars };
        let mut filter = Self { plan, actions: Vec::new() };
        let first = Rules { words, patterns, action, ignore_case };
        for rules in std::iter::once(first).chain(rules) {
            filter.add(rules)?;
        }
        Ok(filter)
    }

    fn plan(&self) -> Plan {
        self.plan.clone()
    }

    fn inspect(&self, _direction: Direction, _text: &str, matches: &[Found]) -> Verdict {
        let block = |found: &Found| Verdict { action: Action::Block, rule: found.rule, mask: Vec::new() };
        if let Some(found) = matches.iter().find(|found| self.blocks(found.rule)) {
            return block(found);
        }
        match matches.first() {
            None => Verdict::ALLOW,
            Some(found) if matches.len() >= MATCHES_MAX => block(found),
            Some(found) => {
                Verdict { action: Action::Mask, rule: found.rule, mask: (0..).take(matches.len()).collect() }
            }
        }
    }
}

impl WordFilter {
    /// # Errors
    /// When a word or pattern is empty: it would match between all characters.
    fn add(&mut self, rules: Rules) -> Result<(), String> {
        let words = rules.words.into_iter().map(|word| (Syntax::Literal, word));
        let patterns = rules.patterns.into_iter().map(|pattern| (Syntax::Regex, pattern));
        for (syntax, pattern) in words.chain(patterns) {
            if pattern.is_empty() {
                return Err("configuration: an empty word or pattern would match everywhere".to_owned());
            }
            let id = u32::try_from(self.actions.len()).map_err(|_| "configuration: too many rules")?;
            self.plan.rules.push(Rule { id, syntax, pattern, ignore_case: rules.ignore_case });
            self.actions.push(rules.action);
        }
        Ok(())
    }

    /// Whether this rule blocks. A rule that was never declared does: nothing allows it to pass.
    fn blocks(&self, rule: u32) -> bool {
        let action = usize::try_from(rule).ok().and_then(|rule| self.actions.get(rule));
        action != Some(&OnMatch::Mask)
    }
}

tollgate_plugin::export_content_filter!(WordFilter);

#[cfg(test)]
mod tests {
    use super::{Action, ContentFilter, Direction, Found, MATCHES_MAX, Syntax, Trigger, Verdict, WordFilter};

    const MIXED: &str = r#"{
        "words": ["Falcon"],
        "rules": [
            {"patterns": ["\\d{16}"], "action": "mask"},
            {"words": ["alice"], "action": "mask", "ignore_case": false}
        ],
        "responses": {"window_chars": 120}
    }"#;
    const FALCON: u32 = 0;
    const CARD: u32 = 1;
    const ALICE: u32 = 2;

    fn found(rules: &[u32]) -> Vec<Found> {
        (0..).zip(rules).map(|(start, &rule)| Found { rule, start, end: start + 1 }).collect()
    }

    fn inspect(rules: &[u32]) -> Verdict {
        let filter = WordFilter::configure(MIXED).unwrap();
        filter.inspect(Direction::Request, "text", &found(rules))
    }

    #[test]
    fn the_plan_lists_every_word_and_pattern_with_its_own_settings() {
        let plan = WordFilter::configure(MIXED).unwrap().plan();
        let rules: Vec<_> = plan
            .rules
            .iter()
            .map(|rule| (rule.id, rule.syntax, rule.pattern.as_str(), rule.ignore_case))
            .collect();
        let expected = [
            (FALCON, Syntax::Literal, "Falcon", true),
            (CARD, Syntax::Regex, r"\d{16}", true),
            (ALICE, Syntax::Literal, "alice", false),
        ];
        assert_eq!(rules, expected);
        assert_eq!((plan.trigger, plan.response_window_chars), (Trigger::OnMatch, 120));
    }

    #[test]
    fn a_blocked_word_outweighs_masked_ones() {
        let blocked = Verdict { action: Action::Block, rule: FALCON, mask: vec![] };
        assert_eq!(inspect(&[FALCON]), blocked);
        assert_eq!(inspect(&[CARD, ALICE, FALCON, CARD]), blocked);
    }

    #[test]
    fn every_match_of_masking_rules_is_masked() {
        assert_eq!(inspect(&[ALICE, CARD]), Verdict { action: Action::Mask, rule: ALICE, mask: vec![0, 1] });
        assert_eq!(inspect(&[]), Verdict::ALLOW);
    }

    #[test]
    fn a_text_with_more_matches_than_can_be_reported_is_blocked() {
        assert_eq!(inspect(&[CARD; MATCHES_MAX - 1]).action, Action::Mask);
        assert_eq!(inspect(&[CARD; MATCHES_MAX]).action, Action::Block);
    }

    #[test]
    fn a_rule_that_was_never_declared_blocks() {
        assert_eq!(inspect(&[CARD, 99]), Verdict { action: Action::Block, rule: 99, mask: vec![] });
    }

    #[test]
    fn the_action_can_be_set_for_all() {
        let filter = WordFilter::configure(r#"{"words":["x"],"action":"mask","ignore_case":false}"#).unwrap();
        assert_eq!(filter.inspect(Direction::Response, "x", &found(&[0])).action, Action::Mask);
        assert!(!filter.plan().rules[0].ignore_case);
        assert_eq!(filter.plan().response_window_chars, 0);
    }

    #[test]
    fn a_mistake_in_the_configuration_is_named() {
        let refused = |config: &str| WordFilter::configure(config).unwrap_err();
        assert!(refused(r#"{"words":[""]}"#).contains("empty word"));
        assert!(refused(r#"{"action":"allow"}"#).contains("`allow`"));
        assert!(refused(r#"{"rules":[{"word":"x"}]}"#).contains("`word`"));
        assert!(WordFilter::configure("{}").unwrap().plan().rules.is_empty());
    }
}
