//! A client in a long silence hears something that its protocol knows, in every cell, and never within an event.

use serde_json::{Value, json};
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::{Gate, Script};

use crate::translation::events;

const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
const COMMENT: &str = ": ping\n";

const MODELS: [&str; 3] = ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"];

/// A streamed call to a model.
fn request(client: Protocol, model: &str) -> Request {
    let turns = json!([{"role": "user", "content": "hi"}]);
    let (target, body) = match client {
        OpenaiChat => (
            "/v1/chat/completions".to_owned(),
            json!({"model": model, "messages": turns, "stream": true, "stream_options": {"include_usage": true}}),
        ),
        OpenaiResponses => {
            ("/v1/responses".to_owned(), json!({"model": model, "input": "hi", "stream": true}))
        }
        AnthropicMessages => (
            "/v1/messages".to_owned(),
            json!({"model": model, "max_tokens": 50, "messages": turns, "stream": true}),
        ),
        Gemini => (
            format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
        ),
    };
    Request::post(&target, &body)
}

/// The protocol in which the provider is called.
fn upstream_protocol(target: &str) -> Protocol {
    match target {
        _ if target.contains("/chat/completions") => OpenaiChat,
        _ if target.contains("/responses") => OpenaiResponses,
        _ if target.contains("/messages") => AnthropicMessages,
        _ => Gemini,
    }
}

/// A stream that stops before its first event, behind it, and in the middle of the third.
fn halting(protocol: Protocol, gate: &Gate) -> Script {
    let events = events(protocol);
    let (half, rest) = events[2].split_at(events[2].len() / 2);
    let script = Script::sse().gate(gate).chunk(&events[0]).gate(gate).chunk(&events[1]);
    let script = script.chunk(half).gate(gate).chunk(rest);
    events[3..].iter().fold(script, |script, event| script.chunk(event)).end()
}

/// What is left without what was said in silence, and how often that was.
fn without(text: &str, words: &str) -> (String, usize) {
    (text.replace(words, ""), text.matches(words).count())
}

fn check(client: Protocol, text: &str, context: &str) -> String {
    let (left, spoken) = match client {
        AnthropicMessages => without(text, PING),
        OpenaiChat | OpenaiResponses => without(text, COMMENT),
        Gemini => (text.to_owned(), 1),
    };
    assert!(spoken > 0, "{context} heard nothing: {text}");
    for line in left.lines().filter(|line| !line.is_empty()) {
        let data = line.strip_prefix("data:").map(str::trim);
        match data {
            Some("[DONE]") => {}
            Some(data) => {
                drop(serde_json::from_str::<Value>(data).unwrap_or_else(|_| panic!("{context}: {line}")))
            }
            None => assert!(client != Gemini && line.starts_with("event: "), "{context}: {line}"),
        }
    }
    left
}

#[tokio::test]
async fn every_client_is_kept_awake_in_its_own_words_and_never_within_an_event() {
    let rig = Rig::with(|setup| setup.config.limits.stream_keep_alive_ms = 20).await;
    // A clock: while it has heard so much more, the other has had silence for as long.
    rig.upstream.enqueue(Script::sse().hang());
    let mut clock = Connection::open(rig.addr()).await;
    clock.send(&request(AnthropicMessages, "claude-sonnet-4-5").bearer(rig.key("alice"))).await;
    clock.head().await;
    for client in Protocol::ALL {
        for model in MODELS {
            let gate = Gate::new();
            let held = gate.clone();
            rig.upstream.respond(move |seen| halting(upstream_protocol(&seen.target), &held));
            let mut waiting = Connection::open(rig.addr()).await;
            waiting.send(&request(client, model).bearer(rig.key("alice"))).await;
            for _ in 0..3 {
                gate.reached().await;
                clock.read_until(&PING.repeat(4)).await;
                gate.open();
            }
            let context = format!("{} to {model}", client.name());
            assert_eq!(waiting.head().await.word(1), "200", "{context}");
            let text = String::from_utf8(waiting.body().await.expect("a whole answer")).expect("a text");
            let left = check(client, &text, &context);
            let target = rig.upstream.requests().last().expect("a call").target.clone();
            if upstream_protocol(&target) == client {
                assert_eq!(left, events(client).concat(), "{context}");
            }
        }
    }
    drop(clock);
    rig.stop().await;
}
