//! The turns of a session: what a message asks, as the body of a call, and what is remembered of the last answer.

use std::ops::ControlFlow;

use bytes::Bytes;
use tollgate_core::json::{self, Kind, Value};

use super::refused;
use crate::proxy::error::ProxyError;
use crate::proxy::members::{Member, last, members_of};
use crate::proxy::read::without;
use crate::state::memory::Share;
use crate::transport::body::{Chained, Splice};

/// What a message has beside a call's body.
const OWN_MEMBERS: [&str; 4] = ["type", "stream", "background", "generate"];

/// How the names of answers begin that nobody has made.
const KEPT: &str = "resp_kept_";

/// What a message asks.
pub(super) enum Asked {
    /// Nothing that is answered.
    Nothing,
    /// What is kept for the next turn and not sent; the client hears these events.
    Kept(Vec<String>),
    /// A call with this body.
    Call(Bytes),
}

/// What is remembered of the turns of a session.
pub(super) struct Turns {
    bytes_max: usize,
    /// Room for what is remembered.
    share: Share,
    /// What the turn under way has asked: items, parted by commas.
    asked: Vec<u8>,
    /// The last answer, and all that had been said by then.
    last: Option<(String, Vec<u8>)>,
    kept: u64,
    /// Tokens of the prompt of the last answer.
    prompt_tokens: Option<u64>,
}

impl Turns {
    /// Remembers so many bytes at most.
    pub(super) const fn new(bytes_max: usize, share: Share) -> Self {
        Self { bytes_max, share, asked: Vec::new(), last: None, kept: 0, prompt_tokens: None }
    }

    /// Tokens of the prompt of the last answer, where it said how many.
    pub(super) const fn prompt_tokens(&self) -> Option<u64> {
        self.prompt_tokens
    }

    /// What a message asks of a provider that may have `remembered` what was said.
    ///
    /// # Errors
    /// 400 for what is no message of a client's.
    pub(super) fn ask(&mut self, message: &Bytes, remembered: bool) -> Result<Asked, ProxyError> {
        let members = members_of(message, &mut ())?;
        let text = |name| json::string(message, last(&members, name)?);
        match text("type").as_deref() {
            Some("response.create") => {}
            // Codex says that it has read an answer.
            Some("response.processed") => return Ok(Asked::Nothing),
            Some(other) => {
                return Err(refused(format!("A `{}` is not taken here.", other.escape_default()), "type"));
            }
            None => return Err(refused("`type` is missing.", "type")),
        }
        if last(&members, "stream_id").is_some_and(|value| value.kind != Kind::Null) {
            return Err(refused("There is one stream here: leave `stream_id` out.", "stream_id"));
        }
        let mut splices = without(message, &members, &OWN_MEMBERS);
        let previous = text("previous_response_id");
        let before = match (&previous, &self.last) {
            (Some(previous), Some((id, said))) if **previous == **id => Some(said.clone()),
            _ => None,
        };
        self.asked = before.clone().unwrap_or_default();
        if let Some(input) = last(&members, "input") {
            add_items(&mut self.asked, message, input);
        }
        if last(&members, "generate").and_then(|value| json::boolean(message, value)) == Some(false) {
            return Ok(Asked::Kept(self.keep(&text("model").unwrap_or_default())));
        }
        // What was kept here is known to nobody else.
        let whole = before.is_some() && !(remembered && previous.is_some_and(|id| !id.starts_with(KEPT)));
        if whole {
            splices =
                without(message, &members, &[&OWN_MEMBERS[..], &["previous_response_id", "input"]].concat());
        }
        Ok(Asked::Call(self.body(message, &members, splices, whole)))
    }

    /// The body of a call: the message without what is a message's, as a stream, with all of its input.
    fn body(&self, message: &Bytes, members: &[Member], mut splices: Vec<Splice>, whole: bool) -> Bytes {
        let mut first = "\"stream\":true,".to_owned().into_bytes();
        if whole {
            first.extend_from_slice(b"\"input\":[");
            first.extend_from_slice(&self.asked);
            first.extend_from_slice(b"],");
        }
        let others = members.iter().any(|member| {
            let name = &*member.name;
            let own = OWN_MEMBERS.iter().any(|own| own.as_bytes() == name);
            !(own || whole && matches!(name, b"previous_response_id" | b"input"))
        });
        if !others {
            first.pop();
        }
        let open = memchr::memchr(b'{', message).map_or(0, |at| at + 1);
        splices.push(Splice { range: open..open, with: first.into() });
        Chained::spliced(message, &mut splices).joined()
    }

    /// Keeps what was said for the next turn: what a client sends ahead so that a provider may read it early.
    fn keep(&mut self, model: &str) -> Vec<String> {
        self.kept += 1;
        let id = format!("{KEPT}{}", self.kept);
        let said = std::mem::take(&mut self.asked);
        self.remember(id.clone(), said);
        let response = |status: &str| {
            format!(
                r#"{{"id":"{id}","object":"response","created_at":0,"model":{},"status":"{status}","error":null,"incomplete_details":null,"output":[],"parallel_tool_calls":true,"tool_choice":"auto","tools":[],"usage":{{"input_tokens":0,"input_tokens_details":{{"cached_tokens":0}},"output_tokens":0,"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":0}}}}"#,
                json::quote(model)
            )
        };
        let event = |kind: &str, number: u8, status: &str| {
            format!(r#"{{"type":"{kind}","sequence_number":{number},"response":{}}}"#, response(status))
        };
        vec![event("response.created", 0, "in_progress"), event("response.completed", 1, "completed")]
    }

    /// Looks at an event of the answer under way.
    pub(super) fn see(&mut self, event: &[u8]) {
        let kind = json::find(event, &["type"]).and_then(|value| json::string(event, value));
        if kind.as_deref() == Some("response.done") {
            let prompt = json::find(event, &["response", "usage", "input_tokens"]);
            self.prompt_tokens = prompt.and_then(|value| json::unsigned(event, value)).or(self.prompt_tokens);
        } else if matches!(kind.as_deref(), Some("response.completed" | "response.incomplete")) {
            let id = json::find(event, &["response", "id"]).and_then(|value| json::string(event, value));
            let id = id.map(|id| id.into_owned());
            self.answered(id, event, json::find(event, &["response", "output"]));
        }
    }

    /// The last event of an answer that came whole.
    pub(super) fn completed(&mut self, answer: &[u8]) -> String {
        let id = json::find(answer, &["id"]).and_then(|value| json::string(answer, value));
        self.answered(id.map(|id| id.into_owned()), answer, json::find(answer, &["output"]));
        let answer = String::from_utf8_lossy(answer);
        format!(r#"{{"type":"response.completed","sequence_number":0,"response":{answer}}}"#)
    }

    fn answered(&mut self, id: Option<String>, event: &[u8], output: Option<Value>) {
        let mut said = std::mem::take(&mut self.asked);
        let (Some(id), Some(output)) = (id, output.filter(|output| output.kind == Kind::Array)) else {
            return;
        };
        add_items(&mut said, event, output);
        self.remember(id, said);
    }

    fn remember(&mut self, id: String, said: Vec<u8>) {
        let fits = said.len() <= self.bytes_max && self.share.grow_to(said.len()).is_ok();
        self.last = fits.then_some((id, said));
    }
}

/// Adds what `input` says to a list of items. Thoughts that nobody but their provider can read, and only by a name that
/// it has forgotten, are left out.
fn add_items(items: &mut Vec<u8>, body: &[u8], input: Value) {
    let mut add = |item: &[u8]| {
        if !items.is_empty() {
            items.push(b',');
        }
        items.extend_from_slice(item);
    };
    match input.kind {
        Kind::String => {
            let text = String::from_utf8_lossy(&body[input.range()]);
            add(format!(r#"{{"type":"message","role":"user","content":{text}}}"#).as_bytes());
        }
        Kind::Array => {
            // The whole message has been validated, so its parts cannot fail.
            let _valid = json::elements_of(body, input, |item| {
                let item = &body[item.range()];
                if !is_forgotten(item) {
                    add(item);
                }
                ControlFlow::Continue(())
            });
        }
        _ => {}
    }
}

fn is_forgotten(item: &[u8]) -> bool {
    let kind = json::find(item, &["type"]).and_then(|value| json::string(item, value));
    let sealed = json::find(item, &["encrypted_content"]).filter(|value| value.kind == Kind::String);
    kind.is_some_and(|kind| kind == "reasoning") && sealed.is_none()
}

#[cfg(test)]
mod tests {
    use super::{Asked, Turns};
    use crate::state::memory::Memory;
    use serde_json::{Value, json};

    fn turns() -> Turns {
        Turns::new(1 << 20, Memory::new(1 << 30).share())
    }

    fn call(turns: &mut Turns, message: &Value) -> Value {
        let asked = turns.ask(&message.to_string().into(), false).unwrap();
        let Asked::Call(body) = asked else { panic!("{message} is no call") };
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn a_message_is_a_call_without_what_is_a_messages() {
        let asked = json!({"type": "response.create", "model": "m", "input": "hi", "stream": false});
        assert_eq!(call(&mut turns(), &asked), json!({"model": "m", "input": "hi", "stream": true}));
        assert_eq!(call(&mut turns(), &json!({"type": "response.create"})), json!({"stream": true}));
        for wrong in [json!({"type": "session.update"}), json!({"model": "m"}), json!([])] {
            assert!(turns().ask(&wrong.to_string().into(), false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_goes_on_from_the_last_answer_is_asked_with_all_that_was_said() {
        let mut turns = turns();
        call(&mut turns, &json!({"type": "response.create", "model": "m", "input": "one"}));
        let output = json!([{"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "reasoning", "encrypted_content": "x"}, {"type": "message", "role": "assistant"}]);
        let completed = json!({"type": "response.completed", "response": {"id": "resp_1", "output": output}});
        turns.see(completed.to_string().as_bytes());
        let next = json!({"type": "response.create", "model": "m", "previous_response_id": "resp_1",
            "input": [{"role": "user", "content": "two"}]});
        let whole = json!([{"type": "message", "role": "user", "content": "one"},
            {"type": "reasoning", "encrypted_content": "x"}, {"type": "message", "role": "assistant"},
            {"role": "user", "content": "two"}]);
        assert_eq!(call(&mut turns, &next), json!({"model": "m", "stream": true, "input": whole}));
        // Another answer is the provider's to remember.
        let other = json!({"type": "response.create", "previous_response_id": "resp_0", "input": "three"});
        let sent = json!({"previous_response_id": "resp_0", "input": "three", "stream": true});
        assert_eq!(call(&mut turns, &other), sent);
    }

    #[test]
    fn what_is_sent_ahead_is_kept_and_costs_nothing() {
        let mut turns = turns();
        let ahead =
            json!({"type": "response.create", "model": "m", "input": [{"role": "user"}], "generate": false});
        let Asked::Kept(events) = turns.ask(&ahead.to_string().into(), false).unwrap() else {
            panic!("it was sent")
        };
        let last: Value = serde_json::from_str(&events[1]).unwrap();
        let id = &last["response"]["id"];
        let next =
            json!({"type": "response.create", "previous_response_id": id, "input": [{"role": "tool"}]});
        let whole = json!({"stream": true, "input": [{"role": "user"}, {"role": "tool"}]});
        assert_eq!(call(&mut turns, &next), whole);
    }
}
