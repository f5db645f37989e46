//! The output limit of a request: where it stands in the body, and the splices that put another one in.

use bytes::Bytes;
use tollgate_core::json::{self, Kind, Value};
use tollgate_core::protocol::{Operation, Protocol};

use super::read::Inbound;
use super::reserve::{SHORT_ANSWER, SHORT_THOUGHT};
use crate::transport::body::Splice;

impl Inbound {
    /// Puts in that each answer may have so many tokens: in place of the limits that are there, or as a new member.
    pub(super) fn limit_output(&mut self, tokens: u64) {
        let mut splices = match self.protocol {
            Protocol::Gemini => self.in_generation_config(tokens),
            // Completions know the older name alone.
            Protocol::OpenaiChat if self.operation == Operation::Complete => {
                self.in_members(&["max_tokens"], "max_tokens", tokens)
            }
            Protocol::OpenaiChat => {
                self.in_members(&["max_completion_tokens", "max_tokens"], "max_completion_tokens", tokens)
            }
            Protocol::OpenaiResponses => self.in_members(&["max_output_tokens"], "max_output_tokens", tokens),
            Protocol::AnthropicMessages => self.in_members(&["max_tokens"], "max_tokens", tokens),
        };
        splices.extend(self.thought_within(tokens));
        self.splices.append(&mut splices);
    }

    /// Less thought, where a request to Claude allows for as much as the whole answer may have.
    fn thought_within(&self, tokens: u64) -> Option<Splice> {
        self.member("thinking").filter(|_| self.protocol == Protocol::AnthropicMessages)?;
        let budget = json::find(&self.body, &["thinking", "budget_tokens"])?;
        let asked = json::unsigned(&self.body, budget)?;
        let left = tokens.saturating_sub(SHORT_ANSWER).max(SHORT_THOUGHT);
        (asked > left).then(|| in_place(budget, left))
    }

    /// Among the body's own members: in all of these, or else in `new`.
    fn in_members(&self, known: &[&str], new: &str, tokens: u64) -> Vec<Splice> {
        let named = |name: &[u8]| known.iter().any(|known| known.as_bytes() == name);
        let there: Vec<Splice> = self
            .members
            .iter()
            .filter(|member| named(&member.name))
            .map(|member| in_place(member.value, tokens))
            .collect();
        if there.is_empty() { self.first_member(&format!("\"{new}\":{tokens}")) } else { there }
    }

    fn in_generation_config(&self, tokens: u64) -> Vec<Splice> {
        let interacts = self.operation == Operation::Interact;
        let name = if interacts { "max_output_tokens" } else { "maxOutputTokens" };
        let member = format!("\"{name}\":{tokens}");
        let config = self.member("generationConfig").or_else(|| self.member("generation_config"));
        let Some(config) = config.filter(|config| config.kind == Kind::Object) else {
            let object = if interacts { "generation_config" } else { "generationConfig" };
            return self.first_member(&format!("\"{object}\":{{{member}}}"));
        };
        let (mut there, mut any) = (Vec::new(), false);
        // The whole body has been validated, so its parts cannot fail.
        let _valid = json::members_of(&self.body, config, |name, value| {
            any = true;
            if matches!(name, b"maxOutputTokens" | b"max_output_tokens") {
                there.push(in_place(value, tokens));
            }
        });
        if there.is_empty() {
            there.push(insertion(config.start + 1, &member, any));
        }
        there
    }

    /// A new member before all others.
    fn first_member(&self, member: &str) -> Vec<Splice> {
        let Some(open) = memchr::memchr(b'{', &self.body) else { return Vec::new() };
        vec![insertion(open + 1, member, !self.members.is_empty())]
    }
}

fn in_place(value: Value, tokens: u64) -> Splice {
    Splice { range: value.range(), with: Bytes::from(tokens.to_string()) }
}

fn insertion(at: usize, member: &str, followed: bool) -> Splice {
    let comma = if followed { "," } else { "" };
    Splice { range: at..at, with: Bytes::from(format!("{member}{comma}")) }
}

#[cfg(test)]
mod tests {
    use crate::proxy::read::peek;
    use crate::proxy::router::{Route, route};
    use crate::transport::body::Chained;
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    fn check(path: &str, body: &str, limited: &str) {
        let Route::Call(call) = route(&Method::POST, path) else { panic!("{path}") };
        let body = Bytes::copy_from_slice(body.as_bytes());
        let mut inbound = peek(call, HeaderMap::new(), String::new(), body).unwrap();
        inbound.limit_output(9);
        let sent = Chained::spliced(&inbound.body, &mut inbound.splices).joined();
        assert_eq!(String::from_utf8_lossy(&sent), limited, "{path}");
    }

    #[test]
    fn a_limit_is_put_in_where_the_protocol_has_it_and_nothing_else_changes() {
        let chat = "/v1/chat/completions";
        check(chat, r#"{"model":"m"}"#, r#"{"max_completion_tokens":9,"model":"m"}"#);
        check(chat, r#"{"model":"m","max_tokens": 70 }"#, r#"{"model":"m","max_tokens": 9 }"#);
        check(
            chat,
            r#"{"max_tokens":null,"model":"m","max_completion_tokens":70}"#,
            r#"{"max_tokens":9,"model":"m","max_completion_tokens":9}"#,
        );
        check("/v1/completions", r#"{"model":"m"}"#, r#"{"max_tokens":9,"model":"m"}"#);
        check("/v1/messages", r#"{"max_tokens":70,"model":"m"}"#, r#"{"max_tokens":9,"model":"m"}"#);
        let thought = |limit: u64, budget: u64| {
            format!(
                r#"{{"max_tokens":{limit},"thinking":{{"type":"enabled","budget_tokens":{budget}}},"model":"m"}}"#
            )
        };
        check("/v1/messages", &thought(70, 31_999), &thought(9, 1_024));
        check("/v1/messages", &thought(70, 1_000), &thought(9, 1_000));
        check("/v1/responses", r#"{"model":"m"}"#, r#"{"max_output_tokens":9,"model":"m"}"#);
        let flash = "/v1beta/models/f:generateContent";
        check(flash, r#"{"contents":[]}"#, r#"{"generationConfig":{"maxOutputTokens":9},"contents":[]}"#);
        check(flash, "{}", r#"{"generationConfig":{"maxOutputTokens":9}}"#);
        check(
            flash,
            r#"{"generation_config":{"topK":1}}"#,
            r#"{"generation_config":{"maxOutputTokens":9,"topK":1}}"#,
        );
        check(flash, r#"{"generationConfig":{}}"#, r#"{"generationConfig":{"maxOutputTokens":9}}"#);
        check(
            flash,
            r#"{"generationConfig":{"max_output_tokens":70}}"#,
            r#"{"generationConfig":{"max_output_tokens":9}}"#,
        );
        check(
            "/v1/interactions",
            r#"{"model":"m","input":"a"}"#,
            r#"{"generation_config":{"max_output_tokens":9},"model":"m","input":"a"}"#,
        );
    }
}
