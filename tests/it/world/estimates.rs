//! A call that is cut costs what the same call costs that finishes.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::usage::{Class, Quality};
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::{Gate, Script};

/// The words that a provider counts, by whatever its tokenizer makes of them.
const ENGLISH: &str = "The quick brown fox jumps over the lazy dog, and the lazy dog sleeps on. ";
const CHINESE: &str = "敏捷的棕色狐狸跳过了懒狗，而懒狗继续睡觉。";
const CODE: &str = "fn main() {\n    let x = vec![1, 2, 3];\n    println!(\"{x:?}\");\n}\n";

/// Tools as a coding agent sends them.
fn tools(count: usize) -> Value {
    let tool = |n: usize| {
        json!({"type": "function", "function": {"name": format!("tool_{n}"), "description": ENGLISH.repeat(4),
            "parameters": {"type": "object", "required": ["path"], "properties": {
                "path": {"type": "string", "description": "The absolute path of the file to read."},
                "offset": {"type": "integer", "minimum": 0}, "limit": {"type": "integer", "minimum": 1}}}}})
    };
    (0..count).map(tool).collect()
}

struct Case {
    what: &'static str,
    body: Value,
    /// Tokens of the prompt, as the provider states them.
    stated: u64,
}

fn chat(model: &str, text: &str, tools: Option<Value>) -> Value {
    let mut body = json!({"model": model, "stream": true, "messages": [{"role": "user", "content": text}]});
    if let Some(tools) = tools {
        body["tools"] = tools;
    }
    body
}

/// A stream of a few words that states what the prompt had, and stops before it does so where there is a gate.
fn stream(stated: u64, gate: Option<&Gate>) -> Script {
    let words =
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Good morning.\"}}]}\n\n";
    let usage = format!(
        "data: {{\"id\":\"c\",\"choices\":[],\"usage\":{{\"prompt_tokens\":{stated},\"completion_tokens\":4}}}}\n\n"
    );
    let script = Script::sse().chunk(words);
    match gate {
        Some(gate) => script.gate(gate).hang(),
        None => script.chunk(usage).chunk("data: [DONE]\n\n").end(),
    }
}

async fn finish(rig: &Rig, user: &str, case: &Case) {
    rig.upstream.enqueue(stream(case.stated, None));
    let request = Request::post("/v1/chat/completions", &case.body).bearer(rig.key(user));
    assert_eq!(tollgate_tests::client::call(rig.addr(), &request).await.status, 200, "{}", case.what);
}

async fn cut(rig: &Rig, user: &str, case: &Case) {
    let gate = Gate::new();
    rig.upstream.enqueue(stream(case.stated, Some(&gate)));
    let mut client = Connection::open(rig.addr()).await;
    client.send(&Request::post("/v1/chat/completions", &case.body).bearer(rig.key(user))).await;
    client.head().await;
    client.read_until("Good morning.").await;
    drop(client);
}

/// The charge of the last of so many calls, and how it ended.
async fn last(rig: &Rig, count: usize) -> (i64, Outcome, Quality, u64) {
    let records = rig.records(count).await;
    let record = records.last().expect("a record");
    (record.charge.get(), record.outcome, record.usage.quality, record.usage[Class::Input])
}

fn within(estimate: u64, stated: u64, what: &str) {
    assert!(estimate.abs_diff(stated) * 100 <= stated * 15, "{what}: {estimate} for {stated}");
}

async fn rig() -> Rig {
    Rig::with(|setup| {
        setup.users = vec![
            ("alice", Micropoints::from_points(1_000_000)),
            ("bob", Micropoints::from_points(1_000_000)),
        ];
    })
    .await
}

#[tokio::test]
async fn a_cut_call_costs_what_a_finished_one_does_whatever_its_text_is() {
    let cases = [
        Case { what: "english", body: chat("gpt-4o", &ENGLISH.repeat(100), None), stated: 1_610 },
        Case { what: "chinese", body: chat("gpt-4o", &CHINESE.repeat(100), None), stated: 2_700 },
        Case { what: "code", body: chat("gpt-4o", &CODE.repeat(100), None), stated: 2_700 },
        Case { what: "tools", body: chat("gpt-4o", "hi", Some(tools(30))), stated: 4_300 },
    ];
    for case in &cases {
        let rig = rig().await;
        for _ in 0..3 {
            finish(&rig, "alice", case).await;
        }
        let (finished, ..) = last(&rig, 3).await;
        cut(&rig, "alice", case).await;
        let (charge, outcome, quality, input) = last(&rig, 4).await;
        assert_eq!(
            (outcome, quality),
            (Outcome::CancelledAfterFirstByte, Quality::Estimated),
            "{}",
            case.what
        );
        within(input, case.stated, case.what);
        within(charge.unsigned_abs(), finished.unsigned_abs(), case.what);
        rig.stop().await;
    }
}

#[tokio::test]
async fn what_a_model_is_known_by_serves_other_users_and_its_family() {
    let rig = rig().await;
    let of = |model, stated| Case { what: model, body: chat(model, &ENGLISH.repeat(100), None), stated };
    let known = of("gpt-4o", 2_300);
    finish(&rig, "alice", &known).await;
    for (count, other) in [known, of("gpt-4o-mini", 2_300)].iter().enumerate() {
        cut(&rig, "bob", other).await;
        let (_, _, _, input) = last(&rig, 2 + count).await;
        within(input, other.stated, other.what);
    }
    rig.stop().await;
}

#[tokio::test]
async fn four_bytes_of_text_are_a_token_where_nothing_is_known() {
    let rig = rig().await;
    let text = ENGLISH.repeat(100);
    let tokens = text.len() as u64 / 4;
    // Escapes and the protocol's own words are no text.
    let escaped: String = text.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect();
    let plain = chat("gpt-4o", &text, None);
    let body = plain.to_string().replace(&text, &escaped);
    let turns: Vec<Value> = ENGLISH.repeat(100).split_inclusive(". ").map(turn).collect();
    let many = json!({"model": "gpt-4o", "stream": true, "messages": turns});
    for (count, body) in [plain.to_string(), body, many.to_string()].into_iter().enumerate() {
        let gate = Gate::new();
        rig.upstream.enqueue(stream(0, Some(&gate)));
        let mut client = Connection::open(rig.addr()).await;
        let request = Request::new("POST", "/v1/chat/completions").body(body);
        client.send(&request.bearer(rig.key("alice"))).await;
        client.head().await;
        client.read_until("Good morning.").await;
        drop(client);
        let (_, _, _, input) = last(&rig, 1 + count).await;
        within(input, tokens, "four bytes a token");
    }
    rig.stop().await;
}

fn turn(text: &str) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": text}]})
}

#[tokio::test]
async fn a_picture_is_not_read_as_a_text() {
    let rig = rig().await;
    let picture = format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(40_000));
    let content = json!([{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": picture}}]);
    let body = json!({"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": content}]});
    cut(&rig, "alice", &Case { what: "a picture", body, stated: 0 }).await;
    let (_, _, _, input) = last(&rig, 1).await;
    assert!((1_000..3_000).contains(&input), "{input}");
    rig.stop().await;
}
