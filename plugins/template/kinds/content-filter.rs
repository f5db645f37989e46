//! A content filter: covers addresses of e-mail, and refuses texts that name what is secret.

use serde::Deserialize;
use tollgate_plugin::config;
use tollgate_plugin::filtering::{
    Action, ContentFilter, Direction, Found, MATCHES_MAX, Plan, Rule, Syntax, Trigger, Verdict,
};

/// The rule for addresses; secrets have the numbers after it.
const MAIL: u32 = 0;

/// The filter is its configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discreet {
    /// Names that no request may hold.
    #[serde(default)]
    secrets: Vec<String>,
}

impl ContentFilter for Discreet {
    fn configure(config: &str) -> Result<Self, String> {
        config::parse(config)
    }

    /// The gateway searches for these, and asks only where it finds one.
    fn plan(&self) -> Plan {
        let rule =
            |id, syntax, pattern: &str| Rule { id, syntax, pattern: pattern.to_owned(), ignore_case: true };
        let mail = rule(MAIL, Syntax::Regex, r"[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}");
        let secrets = (1..).zip(&self.secrets).map(|(id, name)| rule(id, Syntax::Literal, name));
        Plan {
            rules: std::iter::once(mail).chain(secrets).collect(),
            trigger: Trigger::OnMatch,
            response_window_chars: 0,
        }
    }

    fn inspect(&self, _direction: Direction, _text: &str, matches: &[Found]) -> Verdict {
        let secret = matches.iter().find(|found| found.rule != MAIL);
        // Where so many are listed there may be more.
        let too_many = matches.first().filter(|_| matches.len() >= MATCHES_MAX);
        match secret.or(too_many) {
            Some(found) => Verdict { action: Action::Block, rule: found.rule, mask: Vec::new() },
            None => Verdict { action: Action::Mask, rule: MAIL, mask: (0..).take(matches.len()).collect() },
        }
    }
}

tollgate_plugin::export_content_filter!(Discreet);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_covered_and_secrets_refused() {
        let filter = Discreet::configure(r#"{"secrets": ["falcon"]}"#).unwrap();
        assert_eq!(filter.plan().rules.len(), 2);
        let inspect = |rules: &[u32]| {
            let found: Vec<_> =
                (0..).zip(rules).map(|(start, &rule)| Found { rule, start, end: start + 1 }).collect();
            filter.inspect(Direction::Request, "", &found)
        };
        let covered = inspect(&[MAIL, MAIL]);
        assert_eq!((covered.action, covered.mask), (Action::Mask, vec![0, 1]));
        assert_eq!((inspect(&[MAIL, 1]).action, inspect(&[MAIL, 1]).rule), (Action::Block, 1));
    }
}
