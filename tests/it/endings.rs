//! A stream whose connection ends in order, but before its protocol's last word, is recorded as cut.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

/// A call, and the complete stream that answers it.
struct Wire {
    target: &'static str,
    body: Value,
    events: Vec<String>,
    /// How many of the last events may be missing with the stream still whole.
    spare: usize,
}

fn named(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().expect("a type"))
}

fn plain(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn chat() -> Wire {
    let chunk = |delta: Value, finish: Value| {
        plain(
            &json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": null}),
        )
    };
    Wire {
        target: "/v1/chat/completions",
        body: json!({"model": "gpt-4o", "messages": [], "stream": true, "stream_options": {"include_usage": true}}),
        events: vec![
            chunk(json!({"content": "Good "}), Value::Null),
            chunk(json!({"content": "morning"}), Value::Null),
            chunk(json!({}), json!("stop")),
            plain(&json!({"id": "c", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})),
            "data: [DONE]\n\n".to_owned(),
        ],
        // Some servers never send `[DONE]`, and some no usage either.
        spare: 2,
    }
}

fn responses() -> Wire {
    let usage = json!({"input_tokens": 10, "output_tokens": 5});
    Wire {
        target: "/v1/responses",
        body: json!({"model": "gpt-4o", "input": "Hi", "stream": true}),
        events: vec![
            named(&json!({"type": "response.created", "response": {"usage": null}})),
            named(&json!({"type": "response.output_text.delta", "delta": "Good morning"})),
            named(&json!({"type": "response.output_text.done", "text": "Good morning"})),
            named(&json!({"type": "response.completed", "response": {"usage": usage}})),
        ],
        spare: 0,
    }
}

fn messages() -> Wire {
    let text = json!({"type": "text_delta", "text": "Good morning"});
    Wire {
        target: "/v1/messages",
        body: json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [], "stream": true}),
        events: vec![
            named(
                &json!({"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}),
            ),
            named(&json!({"type": "content_block_delta", "index": 0, "delta": text})),
            named(
                &json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
            ),
            named(&json!({"type": "message_stop"})),
        ],
        spare: 0,
    }
}

fn gemini_chunk(candidate: &Value, output: u32) -> Value {
    json!({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": output}})
}

fn gemini() -> Wire {
    let said = |text: &str| json!({"content": {"parts": [{"text": text}]}});
    Wire {
        target: "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        body: json!({"contents": []}),
        events: vec![
            plain(&gemini_chunk(&said("Good "), 1)),
            plain(&gemini_chunk(&said("morning"), 2)),
            plain(&gemini_chunk(&json!({"finishReason": "STOP"}), 5)),
        ],
        spare: 0,
    }
}

async fn check(rig: &Rig, wire: &Wire, count: usize, left_out: usize) {
    let sent = &wire.events[..wire.events.len() - left_out];
    rig.upstream.enqueue(sent.iter().fold(Script::sse(), Script::chunk).end());
    let reply = rig.call(Request::post(wire.target, &wire.body)).await;
    assert_eq!(reply.text(), sent.concat(), "what passes is passed as it is");
    let records = rig.records(count).await;
    let expected = if left_out > wire.spare { Outcome::Partial } else { Outcome::Ok };
    let record = records.last().expect("a record");
    assert_eq!(record.outcome, expected, "{} without its last {left_out}", wire.target);
    let told = record.error.as_deref().unwrap_or_default();
    assert_eq!(told.contains("ended early"), expected == Outcome::Partial, "{told}");
}

#[tokio::test]
async fn an_event_stream_without_its_last_event_is_recorded_as_cut() {
    for wire in [chat(), responses(), messages(), gemini()] {
        let rig = Rig::start().await;
        for left_out in 0..wire.events.len() {
            check(&rig, &wire, left_out + 1, left_out).await;
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn an_array_stream_that_ends_early_is_recorded_as_cut() {
    let said = gemini_chunk(&json!({"content": {"parts": [{"text": "Good morning"}]}}), 3).to_string();
    let end = gemini_chunk(&json!({"finishReason": "STOP"}), 5).to_string();
    let cases = [
        (format!("[{said}\n,\r\n{end}\n]"), Outcome::Ok),
        (format!("[{said}\n,\r\n{end}\n"), Outcome::Partial),
        (format!("[{said}\n]"), Outcome::Partial),
        (format!("[{said}\n"), Outcome::Partial),
    ];
    let rig = Rig::start().await;
    for (at, (body, expected)) in cases.iter().enumerate() {
        let head = Script::chunked(200, &[("content-type", "application/json")]);
        rig.upstream.enqueue(head.chunk(body).end());
        let target = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
        let reply = rig.call(Request::post(target, &json!({"contents": []}))).await;
        assert_eq!(reply.text(), *body);
        let records = rig.records(at + 1).await;
        let record = records.last().expect("a record");
        assert_eq!(record.outcome, *expected, "{body}");
        assert!(record.charge.get() > 0);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_translated_stream_that_ends_early_is_recorded_as_cut_and_says_so() {
    // A Gemini client of Anthropic's stream without `message_stop`, as events and as an array.
    let wire = messages();
    let sent = &wire.events[..3];
    let rig = Rig::start().await;
    for (at, query) in ["?alt=sse", ""].into_iter().enumerate() {
        rig.upstream.enqueue(sent.iter().fold(Script::sse(), Script::chunk).end());
        let target = format!("/v1beta/models/claude-sonnet-4-5:streamGenerateContent{query}");
        let body = json!({"contents": [{"parts": [{"text": "Hi"}]}]});
        let reply = rig.call(Request::post(&target, &body)).await;
        assert!(reply.text().contains("\"error\""), "{}", reply.text());
        let records = rig.records(at + 1).await;
        assert_eq!(records.last().expect("a record").outcome, Outcome::Partial, "{}", reply.text());
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_answer_that_a_server_does_not_stream_is_whole() {
    let rig = Rig::start().await;
    let answer = json!({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5}});
    rig.upstream.enqueue(Script::json(200, answer.to_string()));
    let reply = rig.call(Request::post("/v1/chat/completions", &chat().body)).await;
    assert_eq!(reply.text(), answer.to_string());
    assert_eq!(rig.record().await.outcome, Outcome::Ok);
    rig.stop().await;
}
