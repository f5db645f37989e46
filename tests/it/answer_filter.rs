//! The content filter on answers: a window that no word slips through, in every protocol, whatever the events' cut.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::usage::Class;
use tollgate_tests::client::{Connection, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::{Gate, Script};

use crate::content_filter::filtered;

const MASK: &str = "action = \"mask\"\nwords = [\"falcon\", \"敏感词\"]\nresponses = { window_chars = 64 }";
const BLOCK: &str = "words = [\"falcon\", \"敏感词\"]\nresponses = { window_chars = 64 }";
const OFF: &str = "words = [\"falcon\", \"敏感词\"]";

/// One protocol: how a stream is asked for, how a text is an event, and what ends the stream.
struct Wire {
    path: &'static str,
    body: Value,
    event: fn(&str) -> String,
    end: &'static str,
    /// What an error event begins with, and what names the filter in it.
    error: (&'static str, &'static str),
}

fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

fn wires() -> [Wire; 4] {
    [
        Wire {
            path: "/v1/chat/completions",
            body: json!({"model": "gpt-4o", "stream": true, "messages": [], "stream_options": {"include_usage": true}}),
            event: |text| {
                format!(
                    "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{}}}}}],\"usage\":null}}\n\n",
                    literal(text)
                )
            },
            end: "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n",
            error: ("data: {\"error\"", "content_filter"),
        },
        Wire {
            path: "/v1/responses",
            body: json!({"model": "gpt-4o", "stream": true, "input": "x"}),
            event: |text| {
                format!(
                    "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"delta\":{}}}\n\n",
                    literal(text)
                )
            },
            end: "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":5}}}\n\n",
            error: ("event: error\ndata: {\"type\":\"error\"", "content_filter"),
        },
        Wire {
            path: "/v1/messages",
            body: json!({"model": "claude-sonnet-4-5", "max_tokens": 99, "stream": true, "messages": []}),
            event: |text| {
                format!(
                    "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":{}}}}}\n\n",
                    literal(text)
                )
            },
            end: "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"input_tokens\":10,\"output_tokens\":5}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            error: ("event: error\ndata: {\"type\":\"error\"", "invalid_request_error"),
        },
        Wire {
            path: "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            body: json!({"contents": []}),
            event: |text| {
                format!(
                    "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":{}}}]}}}}]}}\r\n\r\n",
                    literal(text)
                )
            },
            end: "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":5}}\r\n\r\n",
            error: ("data: {\"error\"", "INVALID_ARGUMENT"),
        },
    ]
}

impl Wire {
    /// The events of these texts, then the end.
    fn stream(&self, texts: &[&str]) -> String {
        let events: String = texts.iter().map(|text| (self.event)(text)).collect();
        events + self.end
    }

    /// Plays `chunks` upstream and reads the whole answer.
    async fn play(&self, rig: &Rig, chunks: &[&str]) -> Reply {
        let script = chunks.iter().fold(Script::sse(), |script, chunk| script.chunk(chunk)).end();
        rig.upstream.enqueue(script);
        rig.call(Request::post(self.path, &self.body)).await
    }
}

/// Texts whose joining has the word twice, once over four events and once within one.
const TEXTS: [&str; 8] = ["Hello ", "fa", "l", "c", "on ", "and a 敏感词 or 敏", "感", "词."];
const COVERED: [&str; 8] = ["Hello ", "**", "*", "*", "** ", "and a *** or *", "*", "*."];

#[tokio::test]
async fn a_word_split_over_events_is_covered_in_every_protocol_and_all_else_is_to_the_byte() {
    let rig = filtered(MASK).await;
    for wire in wires() {
        let reply = wire.play(&rig, &[&wire.stream(&TEXTS)]).await;
        assert_eq!((reply.status, reply.text()), (200, wire.stream(&COVERED)), "{}", wire.path);
    }
    for record in rig.records(4).await {
        assert_eq!(
            (record.outcome, record.usage[Class::Input], record.usage[Class::Output]),
            (Outcome::Ok, 10, 5)
        );
    }
    rig.stop().await;
}

#[tokio::test]
async fn it_does_not_matter_where_the_network_cuts_a_filtered_stream() {
    let rig = filtered(MASK).await;
    let wire = &wires()[0];
    let (sent, covered) = (wire.stream(&TEXTS), wire.stream(&COVERED));
    for at in (1..sent.len()).step_by(7) {
        rig.upstream.enqueue(Script::sse().split(&sent, at).end());
        let reply = rig.call(Request::post(wire.path, &wire.body)).await;
        assert_eq!(reply.text(), covered, "cut at {at}");
    }
    rig.upstream.enqueue(Script::sse().bytewise(&sent).end());
    assert_eq!(rig.call(Request::post(wire.path, &wire.body)).await.text(), covered);
    rig.stop().await;
}

#[tokio::test]
async fn clean_answers_pass_a_window_to_the_byte() {
    let rig = filtered(MASK).await;
    let odd = ": comment\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\ndata: not json\n\nid: 7\nretry: 9\n\n";
    for wire in wires() {
        let long: Vec<String> = (0..60).map(|n| format!("word {n} \u{1F600} ")).collect();
        let texts: Vec<&str> = long.iter().map(String::as_str).collect();
        let stream = format!("{odd}{}", wire.stream(&texts));
        let (first, second) = stream.split_at(stream.floor_char_boundary(stream.len() / 3));
        assert_eq!(wire.play(&rig, &[first, second]).await.text(), stream, "{}", wire.path);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_window_holds_back_no_more_than_it_is_wide() {
    let rig = filtered(MASK).await;
    let (wire, gate) = (&wires()[0], Gate::new());
    let (early, late) = ("early words ".repeat(3), "x".repeat(64));
    let (early, late) = ((wire.event)(&early), (wire.event)(&late));
    rig.upstream.enqueue(Script::sse().chunk(early.clone() + &late).gate(&gate).chunk(wire.end).end());
    let mut connection = Connection::open(rig.addr()).await;
    connection.send(&Request::post(wire.path, &wire.body).bearer(rig.key("alice"))).await;
    connection.head().await;
    // Text followed by 64 characters comes while the upstream waits; the rest comes at the end.
    assert_eq!(connection.read_until("\n\n").await, early);
    gate.open();
    assert_eq!(connection.body().await.expect("a whole stream"), (late + wire.end).into_bytes());
    rig.stop().await;
}

#[tokio::test]
async fn a_block_in_a_stream_ends_it_with_the_protocols_error_and_settles_what_passed() {
    let rig = filtered(BLOCK).await;
    let clean =
        "clean text that has gone by long before the rest comes along, as it is long enough for that. ";
    let mut known = None;
    for (n, wire) in wires().iter().enumerate() {
        let (before, wide) = ((wire.event)(clean), (wire.event)(&"y".repeat(64)));
        let blocked: String = ["a fal", "con!"].map(wire.event).concat();
        let script =
            Script::sse().chunk(before.clone() + &wide).chunk(blocked).chunk((wire.event)("more")).hang();
        rig.upstream.enqueue(script);
        let reply = rig.call(Request::post(wire.path, &wire.body)).await;
        let id = reply.header("x-tollgate-request-id").expect("an id").to_owned();
        let text = reply.text();
        let after = text.strip_prefix(&before).unwrap_or_else(|| panic!("{}: {text}", wire.path));
        let (start, word) = wire.error;
        assert!(
            after.starts_with(start) && after.contains(word) && after.ends_with("}\n\n"),
            "{}: {after}",
            wire.path
        );
        assert!(!text.contains("fal") && !text.contains("more"), "{text}");
        rig.upstream.next().await.closed().await;
        let record = rig
            .records(n + 1)
            .await
            .into_iter()
            .find(|record| record.request.to_string() == id)
            .expect("its record");
        assert_eq!(record.outcome, Outcome::Partial, "{}", wire.path);
        assert!(record.charge.get() > 0, "{}: what passed is paid", wire.path);
        // All found the same word by the same rule.
        let kept = (record.filter_hash.clone(), record.decisions.screened.rule);
        assert!(kept.0.is_some() && kept.1 == Some(0), "{}", wire.path);
        assert_eq!(*known.get_or_insert_with(|| kept.clone()), kept, "{}", wire.path);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_word_that_ends_with_the_stream_is_still_seen() {
    let rig = filtered(BLOCK).await;
    for wire in wires() {
        // The last event lacks the blank line that would end it.
        let unfinished = (wire.event)("falcon").trim_end().to_owned();
        let reply = wire.play(&rig, &[&unfinished]).await;
        assert!(!reply.text().contains("falcon"), "{}: {}", wire.path, reply.text());
        assert!(reply.text().contains(wire.error.1), "{}: {}", wire.path, reply.text());
    }
    rig.stop().await;
}

/// Whole answers of each protocol, the word in a text and in a tool's arguments.
fn answers() -> Vec<(&'static str, Value, String)> {
    let (chat, responses) =
        (json!({"model": "gpt-4o", "messages": []}), json!({"model": "gpt-4o", "input": "x"}));
    let messages = json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": []});
    let gemini = "/v1beta/models/gemini-2.5-flash:generateContent";
    let usage = r#""usage":{"input_tokens":1,"output_tokens":1}"#;
    let of = |path, body: &Value, answer: String| (path, body.clone(), answer);
    vec![
        of("/v1/chat/completions", &chat, r#"{ "choices":[{"message":{"content":"a f\u0061lcon"}}],"usage":{"prompt_tokens":1,"completion_tokens":1} }"#.replace("f\\u0061lcon", "falcon")),
        of("/v1/chat/completions", &chat, r#"{"choices":[{"message":{"tool_calls":[{"function":{"arguments":"{\"q\":\"falcon\"}"}}]}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#.to_owned()),
        of("/v1/responses", &responses, format!(r#"{{"output":[{{"content":[{{"type":"output_text","text":"a falcon"}}]}}],{usage}}}"#)),
        of("/v1/messages", &messages, format!(r#"{{"content":[{{"type":"text","text":"a falcon"}}],{usage}}}"#)),
        of("/v1/messages", &messages, format!(r#"{{"content":[{{"type":"tool_use","input":{{"q":["falcon"]}}}}],{usage}}}"#)),
        of(gemini, &json!({"contents": []}), r#"{"candidates":[{"content":{"parts":[{"text":"a falcon"}]}}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1}}"#.to_owned()),
    ]
}

#[tokio::test]
async fn a_whole_answer_is_covered_refused_or_left_alone_as_the_filter_says() {
    for config in [MASK, BLOCK, OFF] {
        let rig = filtered(config).await;
        for (path, body, answer) in &answers() {
            rig.upstream.enqueue(Script::json(200, answer));
            let reply = rig.call(Request::post(path, body)).await;
            match config {
                BLOCK => {
                    assert_eq!(reply.status, 400, "{path}: {}", reply.text());
                    assert!(
                        reply.json()["error"].is_object() && !reply.text().contains("falcon"),
                        "{}",
                        reply.text()
                    );
                }
                MASK => assert_eq!(
                    (reply.status, reply.text()),
                    (200, answer.replace("falcon", "******")),
                    "{path}"
                ),
                _ => assert_eq!((reply.status, &reply.text()), (200, answer), "{path}"),
            }
        }
        let (outcome, rule) = if config == BLOCK { (Outcome::Partial, Some(0)) } else { (Outcome::Ok, None) };
        for record in rig.records(answers().len()).await {
            assert_eq!((record.outcome, record.decisions.screened.rule), (outcome, rule), "{config}");
            assert_eq!(record.filter_hash.is_some(), rule.is_some(), "{config}");
            assert!(record.charge.get() > 0, "the provider has answered, and is paid");
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn without_a_window_streams_pass_at_once_and_untouched() {
    let rig = filtered(OFF).await;
    for wire in wires() {
        let (stream, gate) = (wire.stream(&TEXTS), Gate::new());
        let (first, rest) = stream.split_at(20);
        rig.upstream.enqueue(Script::sse().chunk(first).gate(&gate).chunk(rest).end());
        let mut connection = Connection::open(rig.addr()).await;
        connection.send(&Request::post(wire.path, &wire.body).bearer(rig.key("alice"))).await;
        connection.head().await;
        assert_eq!(connection.read_until(first).await, first, "not even half an event waits");
        gate.open();
        assert_eq!(connection.body().await.expect("a whole stream"), rest.as_bytes());
    }
    rig.stop().await;
}
