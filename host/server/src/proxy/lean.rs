//! A request without what makes it long: what an adapter is given to remember of a request for its answer, in place of
//! the request that it has translated. Memory of an instance never shrinks, so the one that has read a long
//! conversation would keep several times its length for as long as the answer streams.
//!
//! Only strings of the conversation are cut. Tools, instructions, limits and metadata, which an answer may repeat, stay
//! as they are.

use memchr::{memchr, memchr2};
use tollgate_core::json::{self, Value};
use tollgate_core::protocol::Protocol;

/// Longer strings of a conversation are cut; names and ids are shorter.
const STRING_BYTES_MAX: usize = 512;
/// What is left of them.
const LEFT_BYTES: usize = 64;

/// The request with its conversation cut short; `None` where it has none.
pub(super) fn lean(protocol: Protocol, body: &[u8]) -> Option<Vec<u8>> {
    conversation(protocol, body).map(|conversation| cut(body, conversation))
}

/// Where the conversation of a request is.
pub(super) fn conversation(protocol: Protocol, body: &[u8]) -> Option<Value> {
    let name = match protocol {
        Protocol::OpenaiChat | Protocol::AnthropicMessages => "messages",
        Protocol::OpenaiResponses => "input",
        Protocol::Gemini => "contents",
    };
    json::find(body, &[name])
}

fn cut(body: &[u8], conversation: Value) -> Vec<u8> {
    let mut lean = body[..conversation.start].to_vec();
    let mut rest = &body[conversation.start..conversation.end];
    // The body has been read as JSON, so every quote begins or ends a string.
    while let Some(open) = memchr(b'"', rest) {
        let string = &rest[open + 1..];
        let length = string_length(string);
        lean.extend_from_slice(&rest[..=open]);
        lean.extend_from_slice(shortened(&string[..length]));
        rest = &string[length..];
        if let Some((quote, behind)) = rest.split_first() {
            lean.push(*quote);
            rest = behind;
        }
    }
    lean.extend_from_slice(rest);
    lean.extend_from_slice(&body[conversation.end..]);
    lean
}

/// The length of a string, up to its closing quote or the end of the bytes.
pub(super) fn string_length(string: &[u8]) -> usize {
    let mut at = 0;
    while let Some(next) = memchr2(b'"', b'\\', &string[at..]) {
        if string[at + next] == b'"' {
            return at + next;
        }
        at = (at + next + 2).min(string.len());
    }
    string.len()
}

/// The beginning of a long string, up to its first escape at most.
fn shortened(string: &[u8]) -> &[u8] {
    if string.len() <= STRING_BYTES_MAX {
        return string;
    }
    let beginning = &string[..LEFT_BYTES];
    let mut end = memchr(b'\\', beginning).unwrap_or(LEFT_BYTES);
    while end > 0 && string[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &string[..end]
}

#[cfg(test)]
mod tests {
    use super::lean;
    use serde_json::{Value, json};
    use tollgate_core::protocol::Protocol;

    #[test]
    fn only_long_strings_of_the_conversation_are_cut() {
        let long = "é\"\\ long ".repeat(1000);
        let body = json!({
            "model": "m", "instructions": long, "tools": [{"description": long}],
            "messages": [
                {"role": "user", "content": long},
                {"role": "user", "content": [{"type": "text", "text": "short \"and\" \\ sweet"}, {"data": "A".repeat(9999)}]},
                {"role": "assistant", "tool_calls": [{"id": "call_1", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
            ],
            "metadata": {"a": long},
        });
        let cut = lean(Protocol::OpenaiChat, body.to_string().as_bytes()).unwrap();
        let mut read: Value = serde_json::from_slice(&cut).unwrap();
        assert!(cut.len() < body.to_string().len());
        let mut expected = body.clone();
        expected["messages"][0]["content"] = json!("é");
        expected["messages"][1]["content"][1]["data"] = json!("A".repeat(64));
        assert_eq!(read, expected);
        read["messages"] = Value::Null;
        assert_eq!(lean(Protocol::OpenaiResponses, body.to_string().as_bytes()), None);
    }

    #[test]
    fn what_is_cut_is_json_wherever_the_cut_is() {
        for shift in 0..140 {
            for filler in ["é", "\\", "\u{1F600}", "\"", "\u{1}"] {
                let text = format!("{}{}", "x".repeat(shift), filler.repeat(700));
                let body = json!({"contents": [{"parts": [{"text": text}]}]}).to_string();
                let cut = lean(Protocol::Gemini, body.as_bytes()).unwrap();
                let read: Value = serde_json::from_slice(&cut).unwrap();
                let left = read["contents"][0]["parts"][0]["text"].as_str().unwrap();
                assert!(text.starts_with(left) && cut.len() < body.len(), "{shift} {filler:?}");
            }
        }
    }
}
