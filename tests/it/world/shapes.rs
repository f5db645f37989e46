//! An answer is what its bytes are, whatever its head says, and one odd member of it spoils nothing else.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_core::usage::{Class, Quality};
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

use crate::translation::{
    answer, ask, events, expected, foreign, model, rig, understood, understood_stream, with_usage,
};

/// What servers and relays call what they send.
const LABELS: [&str; 7] = [
    "application/json",
    "text/plain; charset=utf-8",
    "text/event-stream",
    "application/octet-stream",
    "text/html",
    "application/x-ndjson",
    "",
];

fn labelled(kind: &str, body: &[u8]) -> Script {
    let headers = [("content-type", kind)];
    let headers = if kind.is_empty() { &headers[..0] } else { &headers[..] };
    body.chunks(97).fold(Script::chunked(200, headers), Script::chunk).end()
}

async fn billed(rig: &Rig, count: usize, upstream: Protocol, what: &str) {
    let records = rig.records(count).await;
    let record = records.last().expect("a record");
    let found = (record.outcome, record.charge.get(), record.usage.quality);
    assert_eq!(found, (Outcome::Ok, model(upstream).1, Quality::Exact), "{what}: {record:?}");
}

#[tokio::test]
async fn events_are_events_whatever_they_are_called_and_whatever_was_asked_for() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let (model, _) = model(upstream);
        let stream = events(upstream).concat();
        let mut count = 0;
        for label in LABELS {
            for client in std::iter::once(upstream).chain(foreign(upstream)) {
                for streams in [true, false] {
                    let what = format!(
                        "{client:?} of {upstream:?}, called `{label}`, asked for a stream: {streams}"
                    );
                    rig.upstream.enqueue(labelled(label, stream.as_bytes()));
                    let request = if streams { with_usage(client, model) } else { ask(client, model, false) };
                    let reply = rig.call(request).await;
                    assert_eq!(reply.status, 200, "{what}: {}", reply.text());
                    if client == upstream {
                        assert_eq!(reply.text(), stream, "{what}");
                        assert_eq!(
                            reply.header("content-type"),
                            Some(if label == "text/event-stream" { label } else { "text/event-stream" }),
                            "{what}"
                        );
                    } else if streams {
                        assert_eq!(understood_stream(client, &reply.text()), expected(), "{what}");
                    } else {
                        assert_eq!(understood(client, &reply.json()), expected(), "{what}: {}", reply.text());
                    }
                    count += 1;
                    billed(&rig, count, upstream, &what).await;
                }
            }
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_whole_answer_is_whole_whatever_it_is_called_and_whatever_was_asked_for() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let (model, _) = model(upstream);
        let whole = answer(upstream);
        let mut count = 0;
        for label in LABELS {
            for client in std::iter::once(upstream).chain(foreign(upstream)) {
                for streams in [true, false] {
                    let what = format!(
                        "{client:?} of {upstream:?}, called `{label}`, asked for a stream: {streams}"
                    );
                    // Blank lines come from servers that think for long.
                    let body = [if streams { "\n\r\n" } else { "" }, &whole].concat();
                    rig.upstream.enqueue(labelled(label, body.as_bytes()));
                    let request = if streams { with_usage(client, model) } else { ask(client, model, false) };
                    let reply = rig.call(request).await;
                    assert_eq!(reply.status, 200, "{what}: {}", reply.text());
                    if client == upstream {
                        assert_eq!(reply.text(), body, "{what}");
                    } else if streams {
                        assert_eq!(understood_stream(client, &reply.text()), expected(), "{what}");
                    } else {
                        assert_eq!(understood(client, &reply.json()), expected(), "{what}: {}", reply.text());
                    }
                    count += 1;
                    billed(&rig, count, upstream, &what).await;
                }
            }
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn what_is_no_answer_of_the_protocol_is_told_as_that_and_one_that_failed_costs_nothing() {
    for upstream in [OpenaiChat, AnthropicMessages, Gemini] {
        let rig = rig(upstream).await;
        let failed = r#"{"error":{"message":"The model is on holiday.","code":502,"type":"error"}}"#;
        for stream in [false, true] {
            let client = foreign(upstream).next().expect("another protocol");
            rig.upstream.enqueue(Script::json(200, failed));
            let reply = rig.call(ask(client, model(upstream).0, stream)).await;
            let told = if stream { reply.text().contains("on holiday") } else { reply.status == 502 };
            assert!(told, "{upstream:?}: {} {}", reply.status, reply.text());
            rig.upstream.enqueue(Script::json(200, failed));
            let reply = rig.call(ask(upstream, model(upstream).0, stream)).await;
            assert_eq!(reply.text(), failed);
        }
        for record in rig.records(4).await {
            assert_eq!(record.charge.get(), 0, "{record:?}");
            assert_ne!(record.outcome, Outcome::Ok, "{record:?}");
        }
        rig.stop().await;
    }
}

/// An answer of the chat protocol whose usage is `usage`.
fn counted(usage: &Value) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Good morning"},
        "finish_reason": "stop"}], "usage": usage})
}

#[tokio::test]
async fn one_odd_count_spoils_no_other() {
    let rig = Rig::start().await;
    // The usage, prompt and output tokens, and whether that is exact. `Good morning` is three tokens by its bytes.
    let cases = [
        (json!({"prompt_tokens": 7000.0, "completion_tokens": 5}), 7000, 5, true),
        (json!({"prompt_tokens": "7000", "completion_tokens": "5.0"}), 7000, 5, true),
        (json!({"prompt_tokens": 7000, "completion_tokens": -1}), 7000, 3, false),
        (
            json!({"prompt_tokens": 7000, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -1}}),
            7000,
            5,
            false,
        ),
        (
            json!({"prompt_tokens": 7000, "completion_tokens": 5, "prompt_tokens_details": "none", "completion_tokens_details": 7}),
            7000,
            5,
            true,
        ),
        (json!({"prompt_tokens": 7000, "completion_tokens": {"all": 5}}), 7000, 3, false),
        (json!({"prompt_tokens": 7000, "completion_tokens": null, "total_tokens": true}), 7000, 3, false),
    ];
    for (at, (usage, input, output, exact)) in cases.iter().enumerate() {
        let body = counted(usage).to_string();
        rig.upstream.enqueue(Script::json(200, &body));
        let reply = rig.call(ask(OpenaiChat, "gpt-4o", false)).await;
        assert_eq!(reply.text(), body);
        let records = rig.records(at + 1).await;
        let record = records.last().expect("a record");
        let found =
            (record.usage[Class::Input], record.usage[Class::Output], record.usage.quality == Quality::Exact);
        assert_eq!(found, (*input, *output, *exact), "{usage}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn counts_are_found_where_servers_state_them_and_do_not_fall_to_nothing() {
    let rig = Rig::start().await;
    let text = json!({"index": 0, "delta": {"content": "Good morning"}});
    let good = json!({"prompt_tokens": 10, "completion_tokens": 5});
    let none = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
    let end = |usage: Option<&Value>| {
        let mut choice = json!({"index": 0, "delta": {}, "finish_reason": "stop"});
        if let Some(usage) = usage {
            choice["usage"] = usage.clone();
        }
        json!({"choices": [choice]})
    };
    let said = json!({"choices": [text]});
    let usage = |usage: &Value| json!({"choices": [], "usage": usage});
    let streams: [Vec<Value>; 5] = [
        vec![said.clone(), end(Some(&good))],
        vec![said.clone(), end(Some(&good)), usage(&none)],
        vec![said.clone(), end(None), usage(&good), usage(&none)],
        vec![said.clone(), end(Some(&none)), usage(&good)],
        vec![
            said.clone(),
            usage(&good),
            end(None),
            usage(&json!({"prompt_tokens": 10, "completion_tokens": 0})),
        ],
    ];
    let mut count = 0;
    for stream in &streams {
        let stream: String = stream.iter().map(|data| format!("data: {data}\n\n")).collect();
        for client in [OpenaiChat, AnthropicMessages, Gemini] {
            rig.upstream.enqueue(Script::sse().chunk(format!("{stream}data: [DONE]\n\n")).end());
            let request = if client == OpenaiChat {
                let body = json!({"model": "gpt-4o", "stream": true, "messages": [], "stream_options": {"include_usage": true}});
                Request::post("/v1/chat/completions", &body)
            } else {
                with_usage(client, "gpt-4o")
            };
            let reply = rig.call(request).await;
            assert_eq!(reply.status, 200);
            count += 1;
            let records = rig.records(count).await;
            let record = records.last().expect("a record");
            let found = (record.usage[Class::Input], record.usage[Class::Output], record.usage.quality);
            assert_eq!(found, (10, 5, Quality::Exact), "{client:?}: {stream}");
            if client == AnthropicMessages {
                assert!(reply.text().contains("\"output_tokens\":5"), "{}", reply.text());
            }
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_that_tells_of_its_failure_in_any_shape_is_no_whole_answer() {
    let rig = Rig::start().await;
    let said = r#"data: {"choices":[{"index":0,"delta":{"content":"Good morning"}}]}"#;
    let failures = [
        r#"data: {"object":"error","message":"The engine is dead","type":"InternalServerError","param":null,"code":500}"#,
        r#"data: {"error":{"message":"The engine is dead","code":500}}"#,
        r#"data: {"error":"The engine is dead"}"#,
        "event: error\ndata: {\"message\":\"The engine is dead\",\"code\":500}",
        "event: error\ndata: The engine is dead",
        r#"data: [{"error":{"message":"The engine is dead","code":500}}]"#,
    ];
    for (at, failure) in failures.into_iter().enumerate() {
        let stream = format!("{said}\n\n{failure}\n\ndata: [DONE]\n\n");
        for (more, client) in [OpenaiChat, AnthropicMessages, OpenaiResponses].into_iter().enumerate() {
            rig.upstream.enqueue(Script::sse().chunk(&stream).end());
            let provider_speaks_chat = client != OpenaiResponses;
            let request = if provider_speaks_chat {
                ask(client, "gpt-4o", true)
            } else {
                ask(AnthropicMessages, "gpt-4o", true)
            };
            let reply = rig.call(request).await;
            assert!(reply.text().contains("The engine is dead"), "{failure}: {}", reply.text());
            let records = rig.records(3 * at + more + 1).await;
            let record = records.last().expect("a record");
            assert_eq!(record.outcome, Outcome::Partial, "{failure} {client:?}");
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn odd_members_are_read_as_far_as_they_can_be() {
    let rig = rig(OpenaiChat).await;
    let odd = json!({"id": 7, "created": "1700000000.5", "model": null, "choices": [{"index": "0", "finish_reason": "tool_calls",
        "logprobs": "none", "message": {"role": "assistant", "annotations": {}, "refusal": null,
            "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Let me look. "},
                {"type": "reference", "reference_ids": [1]}],
            "tool_calls": [{"id": 12, "function": {"name": "weather", "arguments": {"city": "Köln"}}}]}}],
        "usage": {"prompt_tokens": 10.0, "completion_tokens": "5", "prompt_tokens_details": null}});
    for client in foreign(OpenaiChat) {
        rig.upstream.enqueue(Script::json(200, odd.to_string()));
        let reply = rig.call(ask(client, "gpt-4o", false)).await;
        assert_eq!(reply.status, 200, "{client:?}: {}", reply.text());
        let text = reply.text();
        for part in ["Let me look. ", "weather", "Köln", "Hm."] {
            assert!(text.contains(part), "{client:?} lacks {part}: {text}");
        }
    }
    rig.stop().await;
}
