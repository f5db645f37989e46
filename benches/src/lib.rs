//! What the benches send: bodies shaped like a real client's, of the sizes for which the marks are stated.

use std::fmt::Write as _;

/// Words that fill prompts and answers.
const PROSE: &str = "The keeper of the gate counts every cart that passes, notes whose it is and what it carries, and \
    lets none wait longer than the counting takes. ";

/// The model that every body names; it is in the built-in price table.
pub const MODEL: &str = "gpt-4o-mini";

/// An OpenAI chat request of exactly `bytes` bytes (at least 300), with a system prompt, two turns and an escape.
#[must_use]
pub fn chat_request(bytes: usize, stream: bool) -> String {
    let body = |fill: &str| {
        let mut body = format!(r#"{{"model":"{MODEL}","messages":["#);
        body.push_str(r#"{"role":"system","content":"You answer in one sentence."},"#);
        body.push_str(r#"{"role":"user","content":"Say \"hello\" in three languages.\n"},"#);
        body.push_str(r#"{"role":"assistant","content":"Hello, bonjour, 你好."},"#);
        let _ = write!(body, r#"{{"role":"user","content":"{fill}"}}],"#);
        let _ = write!(body, r#""temperature":0.7,"max_tokens":256,"stream":{stream}}}"#);
        body
    };
    body(&prose(bytes.saturating_sub(body("").len())))
}

/// An Anthropic request of exactly `bytes` bytes (at least 300) for a stream of the same model, so that it has to be
/// translated.
#[must_use]
pub fn messages_request(bytes: usize) -> String {
    let body = |fill: &str| {
        let mut body = format!(r#"{{"model":"{MODEL}","system":"You answer in one sentence.","messages":["#);
        body.push_str(r#"{"role":"user","content":"Say \"hello\" in three languages.\n"},"#);
        body.push_str(r#"{"role":"assistant","content":"Hello, bonjour, 你好."},"#);
        let _ = write!(body, r#"{{"role":"user","content":"{fill}"}}],"#);
        body.push_str(r#""temperature":0.7,"max_tokens":256,"stream":true}"#);
        body
    };
    body(&prose(bytes.saturating_sub(body("").len())))
}

/// A chat request of exactly `bytes` bytes (at least 300), nearly all of them an image.
#[must_use]
pub fn image_request(bytes: usize) -> String {
    let body = |fill: &str| {
        let mut body = format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":["#);
        body.push_str(r#"{"type":"text","text":"What is in this picture?"},"#);
        let _ = write!(
            body,
            r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{fill}"}}}}]}}],"#
        );
        body.push_str(r#""max_tokens":256,"stream":false}"#);
        body
    };
    body(&"iVBORw0KGgo".chars().cycle().take(bytes.saturating_sub(body("").len())).collect::<String>())
}

/// A chat completion of exactly `bytes` bytes (at least 400), usage at its end.
#[must_use]
pub fn chat_answer(bytes: usize) -> String {
    let body = |fill: &str| {
        let mut body = r#"{"id":"chatcmpl-0001","object":"chat.completion","created":1700000000,"#.to_owned();
        let _ = write!(body, r#""model":"{MODEL}","choices":[{{"index":0,"finish_reason":"stop","#);
        let _ = write!(body, r#""message":{{"role":"assistant","content":"{fill}"}}}}],"#);
        let _ = write!(body, r#""usage":{}}}"#, usage(180));
        body
    };
    body(&prose(bytes.saturating_sub(body("").len())))
}

/// The events of a chat stream as OpenAI sends it: `deltas` of one word each, the end, the usage, and `[DONE]`.
#[must_use]
pub fn chat_stream(deltas: usize) -> Vec<String> {
    let event = |choices: &str, usage: &str| {
        let head = r#"{"id":"chatcmpl-0001","object":"chat.completion.chunk","created":1700000000,"model":"#;
        format!("data: {head}\"{MODEL}\",\"choices\":[{choices}],\"usage\":{usage}}}\n\n")
    };
    let delta = |word: &str| {
        event(&format!(r#"{{"index":0,"delta":{{"content":" {word}"}},"finish_reason":null}}"#), "null")
    };
    let mut events: Vec<String> = PROSE.split_whitespace().cycle().take(deltas).map(delta).collect();
    events.push(event(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, "null"));
    events.push(event("", &usage(deltas)));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn usage(output: usize) -> String {
    let details =
        r#""prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":0}"#;
    let total = 220 + output;
    format!(r#"{{"prompt_tokens":220,"completion_tokens":{output},"total_tokens":{total},{details}}}"#)
}

fn prose(bytes: usize) -> String {
    PROSE.chars().cycle().take(bytes).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn bodies_have_the_size_that_was_asked_for() {
        assert_eq!(super::chat_request(1024, true).len(), 1024);
        assert_eq!(super::messages_request(1024).len(), 1024);
        assert_eq!(super::image_request(1 << 20).len(), 1 << 20);
        assert_eq!(super::chat_answer(1024).len(), 1024);
        assert_eq!(super::chat_stream(300).len(), 303);
    }
}
