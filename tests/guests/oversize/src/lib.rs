//! A content filter that returns more than a call may, as the text asks it to.

use tollgate_plugin::filtering::{
    Action, ContentFilter, Direction, Found, Plan, Rule, Syntax, Trigger, Verdict,
};

/// Takes any configuration.
#[derive(Debug)]
pub struct Oversize;

impl ContentFilter for Oversize {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn plan(&self) -> Plan {
        let rule = Rule { id: 1, syntax: Syntax::Literal, pattern: "more".to_owned(), ignore_case: false };
        Plan { rules: vec![rule], trigger: Trigger::Always, response_window_chars: 0 }
    }

    fn inspect(&self, _direction: Direction, text: &str, _matches: &[Found]) -> Verdict {
        let mask = match text {
            "millions" => vec![0; 2_000_000],
            "one more" => vec![0, 0],
            "out of range" => vec![1],
            _ => return Verdict::ALLOW,
        };
        Verdict { action: Action::Mask, rule: 1, mask }
    }
}

tollgate_plugin::export_content_filter!(Oversize);
