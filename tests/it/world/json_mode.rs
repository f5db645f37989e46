//! JSON without a schema, asked of Claude: it is asked for in words, and only the object reaches the client.

use serde_json::{Value, json};
use tollgate_tests::client::{Reply, Request};
use tollgate_tests::upstream::Script;

use super::requests::{CLAUDE, answering, ask, left_out};

/// What models make of such a question, in the pieces in which it may come, and what is passed on.
const ANSWERS: [(&[&str], &str); 5] = [
    (&["{\"a\"", ": 1}"], "{\"a\": 1}"),
    (&["```", "json\n{\"a\": {\"b\": \"}`", "``\"}}\n", "```"], "{\"a\": {\"b\": \"}```\"}}"),
    (&["Here", " you are:\n\n{", "}", "\nAnything else?"], "{}"),
    (&["\n ", "{\"é\": \"😀\"}"], "{\"é\": \"😀\"}"),
    (&["I cannot ", "do that."], "I cannot do that."),
];

fn stream(pieces: &[&str]) -> Script {
    let named = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().expect("a type"));
    let delta = |text: &&str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
    let mut events = vec![
        json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": CLAUDE,
            "content": [], "stop_reason": null, "usage": {"input_tokens": 10, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ];
    events.extend(pieces.iter().map(delta));
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ]);
    events.into_iter().map(named).fold(Script::sse(), |script, event| script.chunk(&event)).end()
}

fn message(pieces: &[&str]) -> Script {
    let content = json!([{"type": "text", "text": pieces.concat()}]);
    let body = json!({"id": "m", "type": "message", "role": "assistant", "model": CLAUDE, "stop_reason": "end_turn",
        "content": content, "usage": {"input_tokens": 10, "output_tokens": 5}});
    Script::json(200, body.to_string())
}

/// Each client's question, streamed or not, and the place of the text in a whole answer.
fn asked(client: &str, streamed: bool) -> (Request, &'static str) {
    let object = json!({"type": "json_object"});
    match client {
        "chat" => (
            ask("chat", CLAUDE, &json!({"response_format": object, "stream": streamed})),
            "/choices/0/message/content",
        ),
        "responses" => (
            ask("responses", CLAUDE, &json!({"text": {"format": object}, "stream": streamed})),
            "/output/0/content/0/text",
        ),
        _ => {
            let action = if streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}],
                "generationConfig": {"responseMimeType": "application/json"}});
            let path = format!("/v1beta/models/{CLAUDE}:{action}");
            (Request::post(&path, &body), "/candidates/0/content/parts/0/text")
        }
    }
}

/// The pieces of text of a stream, of whichever client.
fn streamed_text(reply: &Reply) -> String {
    let text = reply.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let events = data.map(|data| serde_json::from_str::<Value>(data).expect("JSON"));
    let piece = |event: Value| {
        let places = ["/choices/0/delta/content", "/candidates/0/content/parts/0/text"];
        let delta = (event["type"] == "response.output_text.delta").then(|| event["delta"].clone());
        let found = delta.or_else(|| places.iter().find_map(|place| event.pointer(place).cloned()));
        found.and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    };
    events.map(piece).collect()
}

#[tokio::test]
async fn json_without_a_schema_works_on_claude_for_every_client() {
    let rig = answering().await;
    for client in ["chat", "responses", "gemini"] {
        for (pieces, expected) in ANSWERS {
            rig.upstream.enqueue(message(pieces));
            let (request, place) = asked(client, false);
            let reply = rig.call(request).await;
            assert_eq!(reply.status, 200, "{client}: {}", reply.text());
            assert!(!left_out(&reply).is_empty(), "it is told that the format is not enforced");
            assert_eq!(reply.json().pointer(place), Some(&json!(expected)), "{client}: {}", reply.text());
            let sent = rig.upstream.next().await.json();
            assert!(sent["system"].to_string().contains("JSON object"), "{sent}");
            rig.upstream.enqueue(stream(pieces));
            let reply = rig.call(asked(client, true).0).await;
            assert_eq!(streamed_text(&reply), expected, "{client}: {}", reply.text());
            rig.upstream.next().await;
        }
    }
    rig.stop().await;
}
