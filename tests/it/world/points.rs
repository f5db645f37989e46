//! A user with few points can use a coding agent, whose requests ask for far more than they use, until the points end.

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

/// What Claude Code sends with a short question: 85 KB, long answers and long thoughts allowed.
fn asked(question: &str) -> Value {
    let system = "You are an agent that helps with software. ".repeat(1_600);
    let tool = |n: usize| {
        json!({"name": format!("Tool{n}"), "description": "Reads a file. ".repeat(50),
            "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}})
    };
    json!({"model": "claude-haiku-4-5", "max_tokens": 32_000, "stream": true,
        "thinking": {"type": "enabled", "budget_tokens": 31_999},
        "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
        "tools": (0..18).map(tool).collect::<Value>(), "messages": [{"role": "user", "content": question}]})
}

/// A short answer, whose prompt came from the provider's cache: 24,000 x 100 + 400 x 1,250 + 300 x 5,000 micro-points.
fn answer() -> Script {
    let usage = json!({"input_tokens": 0, "cache_read_input_tokens": 24_000, "cache_creation_input_tokens": 400,
        "output_tokens": 1});
    let delta = json!({"type": "text_delta", "text": "Good morning."});
    let events = [
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
            "model": "claude-haiku-4-5", "content": [], "usage": usage}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 300}}),
        json!({"type": "message_stop"}),
    ];
    let event =
        |event: Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
    events.into_iter().map(event).fold(Script::sse(), Script::chunk).end()
}

const COSTS: i64 = 24_000 * 100 + 400 * 1_250 + 300 * 5_000;

async fn ask(rig: &Rig, question: &str) -> Reply {
    client::call(rig.addr(), &Request::post("/v1/messages", &asked(question)).bearer(rig.key("twenty"))).await
}

#[tokio::test]
async fn twenty_points_are_enough_for_a_coding_agent_until_they_end() {
    let rig = Rig::with(|setup| setup.users.push(("twenty", Micropoints::from_points(20)))).await;
    rig.upstream.respond(|_| answer());
    let mut calls = 0;
    let refused = loop {
        let reply = ask(&rig, "Say good morning.").await;
        if reply.status != 200 {
            break reply;
        }
        assert!(reply.text().contains("message_stop"), "{}", reply.text());
        calls += 1;
        rig.records(calls).await;
    };
    // 4.4 points a call: what is left is too little for another, with a short answer and a short thought.
    assert!(calls >= 2, "{calls}: {}", refused.text());
    assert_eq!(
        (refused.status, refused.header("x-should-retry")),
        (402, Some("false")),
        "{}",
        refused.text()
    );
    let words = refused.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(words.contains("balance") && words.contains("points"), "{words}");
    let spent = Micropoints::from_points(20).get() - rig.balance("twenty").await.get();
    assert_eq!(spent, COSTS * i64::try_from(calls).expect("a few calls"));
    // Each was asked for no more than the balance carries, and for less thought than that.
    for request in rig.upstream.requests() {
        let body = request.json();
        let [limit, thought] = [&body["max_tokens"], &body["thinking"]["budget_tokens"]]
            .map(|value| value.as_u64().expect("a number"));
        assert!(limit < 32_000 && (1_024..limit).contains(&thought), "{limit} {thought}");
    }
    rig.stop().await;
}
