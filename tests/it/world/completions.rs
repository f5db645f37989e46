//! OpenAI's older completions, at providers that have conversations alone.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::Operation;
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::sdk;
use tollgate_tests::upstream::{Request as Sent, Script};

const PATH: &str = "/v1/completions";
const MODELS: [&str; 3] = ["gpt-4o", "claude-haiku-4-5", "gemini-2.5-flash"];

/// An answer of `Once`, ` upon`, with seven tokens in and two out.
pub(super) fn answer(sent: &Sent) -> Script {
    let streams = sent.target.contains("stream") || sent.json()["stream"] == true;
    match (sent.target.as_str(), streams) {
        (target, false) if target.contains("chat") => Script::json(
            200,
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"gpt-4o-2024","choices":[{"index":0,"message":{"role":"assistant","content":"Once upon"},"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#,
        ),
        (target, true) if target.contains("chat") => {
            let chunk = |choices: &str, more: &str| {
                format!(
                    "data: {{\"id\":\"chatcmpl-1\",\"created\":7,\"model\":\"gpt-4o-2024\",\"choices\":[{choices}]{more}}}\n\n"
                )
            };
            let delta = |text: &str| {
                chunk(&format!(r#"{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}"#), "")
            };
            let end = chunk(r#"{"index":0,"delta":{},"finish_reason":"length"}"#, "");
            let usage = chunk("", r#","usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}"#);
            Script::sse()
                .chunk(delta("Once"))
                .chunk(delta(" upon"))
                .chunk(end)
                .chunk(usage)
                .chunk("data: [DONE]\n\n")
                .end()
        }
        (target, false) if target.contains("messages") => Script::json(
            200,
            r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"Once"},{"type":"text","text":" upon"}],"stop_reason":"max_tokens","usage":{"input_tokens":7,"output_tokens":2}}"#,
        ),
        (target, true) if target.contains("messages") => {
            let event =
                |kind: &str, rest: &str| format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n");
            let delta = |text: &str| {
                event(
                    "content_block_delta",
                    &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#),
                )
            };
            let events = [
                event(
                    "message_start",
                    r#","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[],"usage":{"input_tokens":7,"output_tokens":1}}"#,
                ),
                event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
                delta("Once"),
                delta(" upon"),
                event("content_block_stop", r#","index":0"#),
                event(
                    "message_delta",
                    r#","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":2}"#,
                ),
                event("message_stop", ""),
            ];
            events.iter().fold(Script::sse(), |script, event| script.chunk(event)).end()
        }
        (_, streams) => {
            let part = |text: &str, end: &str| {
                format!(
                    r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{text}"}}]}}{end}}}],"usageMetadata":{{"promptTokenCount":7,"candidatesTokenCount":2,"totalTokenCount":9}},"modelVersion":"gemini"}}"#
                )
            };
            let end = r#","finishReason":"MAX_TOKENS","index":0"#;
            match streams {
                false => Script::json(200, part("Once upon", end)),
                true => Script::sse()
                    .chunk(format!("data: {}\r\n\r\n", part("Once", "")))
                    .chunk(format!("data: {}\r\n\r\n", part(" upon", end)))
                    .end(),
            }
        }
    }
}

async fn answering() -> Rig {
    let rig = Rig::start().await;
    rig.upstream.respond(answer);
    rig
}

#[tokio::test]
async fn a_completion_is_a_conversation_of_one_turn_and_comes_back_as_a_completion() {
    let rig = answering().await;
    for model in MODELS {
        let body = json!({"model": model, "prompt": ["It was"], "max_tokens": 2, "stop": "END", "best_of": 1,
            "logprobs": null, "echo": false, "suffix": "", "n": 1, "user": "u", "logit_bias": {}});
        let reply = rig.call(Request::post(PATH, &body)).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        let answer = reply.json();
        let choice = json!({"text": "Once upon", "index": 0, "logprobs": null, "finish_reason": "length"});
        assert_eq!((&answer["object"], &answer["choices"]), (&json!("text_completion"), &json!([choice])));
        assert_eq!(answer["usage"]["total_tokens"], json!(9), "{model}");
        let sent = rig.upstream.next().await.json().to_string();
        assert!(sent.contains("It was") && sent.contains("END"), "{sent}");
    }
    for record in rig.records(3).await {
        assert_eq!((record.outcome, record.operation), (Outcome::Ok, Some(Operation::Generate)));
        assert!(record.charge.get() > 0, "{record:?}");
    }
    rig.stop().await;
}

/// What a client reads of a stream of completions: the text, the reason and the usage.
fn read(stream: &str) -> (String, Vec<Value>, Value) {
    let (mut text, mut reasons, mut usage) = (String::new(), Vec::new(), Value::Null);
    for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]")
    {
        let piece: Value = serde_json::from_str(data).expect("a piece is JSON");
        assert_eq!(piece["object"], "text_completion", "{piece}");
        for choice in piece["choices"].as_array().expect("choices") {
            text += choice["text"].as_str().expect("a text");
            reasons.extend(Some(choice["finish_reason"].clone()).filter(|reason| !reason.is_null()));
        }
        if !piece["usage"].is_null() {
            usage = piece["usage"]["total_tokens"].clone();
        }
    }
    (text, reasons, usage)
}

#[tokio::test]
async fn a_stream_of_a_completion_comes_back_in_pieces_of_one() {
    let rig = answering().await;
    for model in MODELS {
        for wanted in [true, false] {
            let body = json!({"model": model, "prompt": "It was", "max_tokens": 2, "stream": true,
                "stream_options": {"include_usage": wanted}});
            let reply = rig.call(Request::post(PATH, &body)).await;
            assert_eq!(reply.status, 200, "{model}: {}", reply.text());
            assert!(reply.text().ends_with("data: [DONE]\n\n"), "{model}: {}", reply.text());
            let usage = if wanted { json!(9) } else { Value::Null };
            assert_eq!(
                read(&reply.text()),
                ("Once upon".to_owned(), vec![json!("length")], usage),
                "{model}"
            );
        }
    }
    let records = rig.records(6).await;
    assert!(records.iter().all(|record| record.outcome == Outcome::Ok && record.charge.get() > 0));
    rig.stop().await;
}

#[tokio::test]
async fn what_a_conversation_has_no_words_for_is_refused_by_its_name() {
    let rig = answering().await;
    for (member, value) in [
        ("prompt", json!([1, 2, 3])),
        ("prompt", json!(["one", "two"])),
        ("prompt", json!([[1, 2]])),
        ("prompt", Value::Null),
        ("suffix", json!("the end")),
        ("echo", json!(true)),
        ("logprobs", json!(3)),
        ("best_of", json!(4)),
        ("messages", json!([])),
    ] {
        let mut body = json!({"model": "gpt-4o", "prompt": "It was"});
        body[member] = value;
        let reply = rig.call(Request::post(PATH, &body)).await;
        let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(reply.status == 400 && message.starts_with(member), "{member}: {}", reply.text());
    }
    assert_eq!(rig.upstream.count(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_server_that_takes_completions_gets_them_as_they_are() {
    let rig = Rig::with(|setup| {
        let provider = setup.config.providers.get_mut("openai").expect("a provider");
        provider.config.insert("completions".to_owned(), toml::Value::Boolean(true));
    })
    .await;
    let own = r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"gpt-4o","choices":[{"text":"Once","index":0,"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"#;
    rig.upstream.respond(move |_| Script::json(200, own));
    let body = r#"{ "model":"gpt-4o", "prompt":[1,2], "echo":true, "logprobs":2 }"#;
    let reply = rig.call(Request::new("POST", PATH).body(body)).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, own));
    let sent = rig.upstream.next().await;
    assert_eq!((sent.target.as_str(), String::from_utf8_lossy(&sent.body).as_ref()), (PATH, body));
    let record = rig.record().await;
    assert_eq!((record.usage.prompt_total(), record.usage.output_total()), (7, 2));
    rig.stop().await;
}

#[tokio::test]
async fn the_openai_sdk_completes_at_every_provider() {
    let rig = answering().await;
    let url = format!("http://{}", rig.addr());
    sdk::run("completions.py", &url, rig.key("alice")).await.expect_passed();
    rig.stop().await;
}
