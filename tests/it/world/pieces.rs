//! One client's odd answer hurts nobody, and nobody pays for what the gateway broke.

use serde_json::json;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_tests::client::{self, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

use crate::translation::{ask, events, foreign, model, rig, rig_with, understood_stream};

/// Output tokens that [`ask`] allows.
const LIMIT: u64 = 99;

/// The stream up to its last word, in which a piece of the text or of a call's arguments is this one.
fn cut(upstream: Protocol, from: &str, piece: &str) -> Script {
    let mut all = events(upstream);
    let at = all.iter().position(|event| event.contains(from)).expect("such an event");
    all.truncate(at + 1);
    all[at] = all[at].replace(from, piece);
    all.iter().fold(Script::sse(), Script::chunk).close()
}

/// What is charged for a stream that was cut is an estimate within the request's limit.
async fn check_estimate(upstream: Protocol, from: &str, piece: &str) {
    let rig = rig(upstream).await;
    for (calls, client) in Protocol::ALL.into_iter().enumerate() {
        rig.upstream.enqueue(cut(upstream, from, piece));
        let reply = rig.call(ask(client, model(upstream).0, true)).await;
        assert_eq!(reply.status, 200, "{client:?} to {upstream:?}");
        let records = rig.records(calls + 1).await;
        let usage = records.last().expect("a record").usage;
        assert!((1..=LIMIT).contains(&usage.output_total()), "{client:?} to {upstream:?}: {usage:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_estimate_never_passes_the_output_limit_however_much_came() {
    for upstream in Protocol::ALL {
        check_estimate(upstream, "look. ", &"word ".repeat(12_000)).await;
    }
}

#[tokio::test]
async fn the_arguments_of_a_call_that_was_cut_cost_no_more_than_the_limit_allows() {
    // The first half of the arguments in `events`.
    let half = r#"{\"city"#;
    let escapes = r#"{\"c\":\""#.to_owned() + &r"\\u00e9".repeat(9_000);
    for upstream in [OpenaiChat, OpenaiResponses, AnthropicMessages] {
        check_estimate(upstream, half, &escapes).await;
    }
    let object = r#"{"city":"Köln"}"#;
    check_estimate(Gemini, object, &format!(r#"{{"c":"{}"}}"#, r"\u00e9".repeat(9_000))).await;
}

#[tokio::test]
async fn an_escape_costs_what_the_character_does() {
    let rig = rig(OpenaiChat).await;
    for piece in ["é".repeat(40), r"\u00e9".repeat(40)] {
        rig.upstream.enqueue(cut(OpenaiChat, "look. ", &piece));
        assert_eq!(rig.call(ask(OpenaiChat, "gpt-4o", true)).await.status, 200);
    }
    let records = rig.records(2).await;
    assert_eq!(records[0].usage.output_total(), 22, "7 and 80 bytes of text, four a token");
    assert_eq!(records[0].charge, records[1].charge);
    rig.stop().await;
}

/// A gateway whose adapter of Anthropic fails on one word, and otherwise says what it is told.
async fn babel() -> Rig {
    let guest = tollgate_components::find_guest("babel").expect("a guest of that name");
    Rig::with(|setup| {
        setup.plugins = vec![("claude", guest.bytes.to_vec())];
        setup.users.push(("bob", Micropoints::from_points(1000)));
    })
    .await
}

fn claude(stream: bool) -> Request {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": "claude-sonnet-4-5", "stream": stream, "max_tokens": 9, "messages": messages});
    Request::post("/v1/chat/completions", &body)
}

#[tokio::test]
async fn answers_that_a_component_fails_over_cost_nothing_and_keep_nobody_else_from_it() {
    let rig = babel().await;
    // A new version that fails in a tenth of its first calls is taken back: that is another matter.
    rig.upstream.respond(|_| Script::json(200, "{}"));
    for _ in 0..100 {
        assert_eq!(rig.call(claude(false)).await.status, 200);
    }
    rig.records(100).await;
    let before = rig.balance("alice").await;
    // More than the breaker takes.
    for _ in 0..4 {
        rig.upstream.enqueue(Script::sse().chunk("data: {\"shibboleth\":1}\n\n").end());
        let reply = rig.call(claude(true)).await;
        assert!(reply.text().contains("error"), "{}", reply.text());
        rig.upstream.enqueue(Script::json(200, r#"{"shibboleth":1}"#));
        let reply = rig.call(claude(false)).await;
        assert_eq!(reply.status, 500, "{}", reply.text());
    }
    let records = rig.records(108).await;
    assert!(records.iter().skip(100).all(|record| record.charge == Micropoints::ZERO), "{records:?}");
    assert_eq!(rig.balance("alice").await, before, "nothing is kept back either");

    rig.upstream.enqueue(Script::sse().chunk("data: {\"fine\":1}\n\n").end());
    let other = client::call(rig.addr(), &claude(true).bearer(rig.key("bob"))).await;
    assert_eq!((other.status, other.text().contains("fine")), (200, true), "{}", other.text());
    assert_eq!(rig.plugin("anthropic").await["faults"], json!({"trap": 8}), "each is counted");
    rig.stop().await;
}

#[tokio::test]
async fn a_text_that_a_filter_fails_over_keeps_nobody_else_from_it() {
    let guest = tollgate_components::find_guest("oversize").expect("a guest of that name");
    let rig = Rig::with(|setup| setup.plugins = vec![("content-filter", guest.bytes.to_vec())]).await;
    rig.upstream.respond(|_| Script::json(200, crate::translation::answer(OpenaiChat)));
    let chat =
        |text: &str| Request::post("/v1/chat/completions", &json!({"model": "gpt-4o", "messages": [text]}));
    // More than the breaker takes.
    for _ in 0..6 {
        assert_eq!(rig.call(chat("millions")).await.status, 503);
        assert_eq!(rig.call(chat("few")).await.status, 200);
    }
    rig.stop().await;
}

/// The end of a text.
fn end(text: &str) -> &str {
    &text[text.floor_char_boundary(text.len().saturating_sub(900))..]
}

/// A picture in one event, in Gemini's words, then its end.
fn picture(bytes: usize) -> [String; 2] {
    let part = json!({"inlineData": {"mimeType": "image/png", "data": "QUJD".repeat(bytes / 4)}});
    let data = json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}], "responseId": "r1"});
    let end = json!({"candidates": [{"index": 0, "content": {"parts": [{"text": "done"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}});
    [data, end].map(|data| format!("data: {data}\r\n\r\n"))
}

#[tokio::test]
async fn a_picture_of_megabytes_in_one_event_is_no_fault_of_the_adapter() {
    let rig = rig(Gemini).await;
    for bytes in [2 << 20, 20 << 20] {
        for client in foreign(Gemini) {
            rig.upstream.enqueue(picture(bytes).iter().fold(Script::sse(), Script::chunk).end());
            let reply = rig.call(ask(client, model(Gemini).0, true)).await;
            let text = reply.text();
            assert!(
                reply.status == 200 && text.contains("done"),
                "{client:?}: {}",
                &text[..text.len().min(999)]
            );
        }
    }
    let records = rig.records(6).await;
    assert!(records.iter().all(|record| record.charge.get() == model(Gemini).1), "{records:?}");
    assert_eq!(rig.plugin("google").await["faults"], json!({}));
    rig.stop().await;
}

#[tokio::test]
async fn five_thousand_small_events_in_one_write_reach_every_client() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let said = "Let me ".to_owned() + &"look. ".repeat(5000);
        let mut all: Vec<String> =
            events(upstream).iter().map(|event| event.replace("Let me look. ", &said)).collect();
        let at =
            all.iter().position(|event| event.contains("look. ") && !event.contains("Let me")).expect("it");
        all[at] = all[at].repeat(5000);
        for (calls, client) in foreign(upstream).enumerate() {
            rig.upstream.enqueue(Script::sse().chunk(all.concat()).end());
            let reply = rig.call(ask(client, model(upstream).0, true)).await;
            let record = rig.records(calls + 1).await.pop().expect("a record");
            let understood = understood_stream(client, &reply.text());
            assert!(understood.0 == said, "{client:?} to {upstream:?}: {}", end(&reply.text()));
            assert_eq!(record.charge.get(), model(upstream).1, "{client:?} to {upstream:?}");
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn one_event_of_many_small_values_is_translated_beside_the_worker() {
    let rig = rig_with(AnthropicMessages, |setup| {
        setup.users = vec![("alice", Micropoints::from_points(1_000_000))];
    })
    .await;
    let mut all = events(AnthropicMessages);
    let at = all.iter().position(|event| event.contains("input_json_delta")).expect("it");
    let numbers = (0..200_000).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    all[at] = all[at].replace(r#"{\"city"#, &format!(r#"{{\"numbers\":[{numbers}],\"city"#));
    for client in foreign(AnthropicMessages) {
        rig.upstream.enqueue(all.iter().fold(Script::sse(), Script::chunk).end());
        let reply = rig.call(ask(client, model(AnthropicMessages).0, true)).await;
        let called = understood_stream(client, &reply.text()).2;
        let numbers = called["numbers"].as_array().map(Vec::len);
        assert_eq!(numbers, Some(200_000), "{client:?}: {}", end(&reply.text()));
    }
    assert_eq!(rig.plugin("anthropic").await["faults"], json!({}));
    rig.stop().await;
}
