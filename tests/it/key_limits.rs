//! What an API key is limited to: refused in the caller's own protocol, before anything is sent, held or charged.

use serde_json::{Value, json};
use tollgate_core::id::ApiKeyId;
use tollgate_core::limits::{ContextLimit, KeyLimits, RateLimits};
use tollgate_core::protocol::Protocol;
use tollgate_core::time::DAY_MS;
use tollgate_server::manage::KeyEdit;
use tollgate_tests::client::{self, Connection, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::upstream::{Gate, Script};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const FLASH: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
/// 15 tokens.
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

/// A gateway in which Alice has one more key, made before the start.
struct Limited {
    rig: Rig,
    id: ApiKeyId,
    key: String,
}

impl Limited {
    async fn start(limits: KeyLimits) -> Self {
        let rig = Rig::start().await;
        rig.upstream.respond(|_| Script::json(200, ANSWER));
        let desk = rig.desk().await;
        let (id, key) = desk.create_key("alice", "limited", None, limits).await.expect("a key");
        desk.close().await;
        let limited = Self { rig, id, key: key.expose().to_owned() };
        limited.until("the key to be known", async |reply| reply.status != 401).await;
        limited
    }

    async fn of(rates: RateLimits) -> Self {
        Self::start(KeyLimits { rates, ..KeyLimits::default() }).await
    }

    async fn call(&self, target: &str, body: &Value) -> Reply {
        client::call(self.rig.addr(), &Request::post(target, body).bearer(&self.key)).await
    }

    async fn chat(&self) -> Reply {
        self.call(CHAT, &json!({"model": "gpt-4o"})).await
    }

    /// Asks for the list of models, which no limit counts, until the answer has this status.
    async fn until(&self, what: &str, ready: impl AsyncFn(Reply) -> bool) {
        let list = Request::get("/v1/models").bearer(&self.key);
        patiently(what, async {
            while !ready(client::call(self.rig.addr(), &list).await).await {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Changes the limits and waits until the running server has noticed, which a key that ends shows.
    async fn change(&self, limits: KeyLimits) {
        let desk = self.rig.desk().await;
        let edit =
            |enabled| KeyEdit { enabled: Some(enabled), limits: Some(limits.clone()), ..KeyEdit::default() };
        desk.change_key(self.id, edit(false)).await.expect("a change");
        self.until("the key to be refused", async |reply| reply.status == 401).await;
        desk.change_key(self.id, edit(true)).await.expect("a change");
        self.until("the key to be taken", async |reply| reply.status == 200).await;
        desk.close().await;
    }
}

#[tokio::test]
async fn a_key_calls_only_the_protocols_and_models_that_it_may() {
    let limits = KeyLimits {
        protocols: vec![Protocol::OpenaiChat, Protocol::Gemini],
        models: vec!["gpt-4o*".to_owned(), "gemini-*-pro".to_owned()],
        ..KeyLimits::default()
    };
    let limited = Limited::start(limits).await;
    assert_eq!(limited.chat().await.status, 200);
    assert_eq!(limited.call(CHAT, &json!({"model": "gpt-4o-mini"})).await.status, 200);
    let protocol = limited.call(MESSAGES, &json!({"model": "gpt-4o", "max_tokens": 9})).await;
    assert_eq!((protocol.status, &protocol.json()["error"]["type"]), (403, &json!("permission_error")));
    let model = limited.call(CHAT, &json!({"model": "gpt-4.1"})).await;
    assert_eq!((model.status, &model.json()["error"]["code"]), (403, &json!("permission_denied")));
    assert_eq!(model.json()["error"]["param"], "model");
    let in_path = limited.call(FLASH, &json!({})).await;
    assert_eq!((in_path.status, &in_path.json()["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
    let list = client::call(limited.rig.addr(), &Request::get("/v1/models").bearer(&limited.key)).await;
    let listed = list.json()["data"].as_array().expect("a list").clone();
    let named = |name: &str| listed.iter().any(|model| model["id"] == name);
    assert!(named("gpt-4o") && !named("gpt-4.1"), "the list holds what the key may call");
    assert_eq!(limited.rig.upstream.count(), 2, "nothing else was sent");
    limited.rig.stop().await;
}

#[tokio::test]
async fn requests_a_minute_are_bounded_and_clients_are_told_in_their_protocol() {
    let limited = Limited::of(RateLimits { requests_per_minute: Some(3), ..RateLimits::default() }).await;
    let first = limited.chat().await;
    let told = |reply: &Reply, name: &str| reply.header(name).map(str::to_owned);
    assert_eq!(told(&first, "x-ratelimit-limit-requests").as_deref(), Some("3"));
    assert_eq!(told(&first, "x-ratelimit-remaining-requests").as_deref(), Some("2"));
    assert_eq!(told(&first, "x-ratelimit-reset-requests").as_deref(), Some("20s"));
    let messages = json!({"model": "claude-sonnet-4-5", "max_tokens": 9});
    let second = limited.call(MESSAGES, &messages).await;
    assert_eq!(told(&second, "anthropic-ratelimit-requests-remaining").as_deref(), Some("1"));
    assert!(told(&second, "anthropic-ratelimit-requests-reset").is_some_and(|at| at.ends_with('Z')));
    assert_eq!(limited.chat().await.status, 200);
    // The refusal does not wait for a body that never comes.
    let mut connection = Connection::open(limited.rig.addr()).await;
    let announced = Request::new("POST", CHAT).bearer(&limited.key).header("content-length", "1000");
    connection.send(&announced).await;
    let refused = connection.reply().await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    let retry: u64 = told(&refused, "retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..=20).contains(&retry), "{retry}");
    assert_eq!(told(&refused, "x-ratelimit-remaining-requests").as_deref(), Some("0"));
    let refused = limited.call(MESSAGES, &messages).await;
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (429, &json!("rate_limit_error")));
    assert_eq!(told(&refused, "anthropic-ratelimit-requests-remaining").as_deref(), Some("0"));
    let refused = limited.call(FLASH, &json!({})).await;
    assert_eq!((refused.status, &refused.json()["error"]["status"]), (429, &json!("RESOURCE_EXHAUSTED")));
    // Alice's other key is counted separately.
    assert_eq!(limited.rig.call(Request::post(CHAT, &json!({"model": "gpt-4o"}))).await.status, 200);
    limited.rig.stop().await;
}

#[tokio::test]
async fn tokens_count_as_they_were_used_and_not_as_they_were_estimated() {
    let limited = Limited::of(RateLimits { tokens_per_minute: Some(6_000), ..RateLimits::default() }).await;
    let answer = json!({"choices": [{"message": {"content": "hi"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 18_000}});
    limited.rig.upstream.enqueue(Script::json(200, answer.to_string()));
    assert_eq!(limited.chat().await.status, 200);
    limited.rig.records(1).await;
    let refused = limited.chat().await;
    assert_eq!(refused.status, 429);
    // 12,010 too many and one to take, at 6,000 a minute.
    let retry: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((110..=121).contains(&retry), "{retry}");
    assert_eq!(refused.header("x-ratelimit-limit-tokens"), Some("6000"));
    assert_eq!(refused.header("x-ratelimit-remaining-tokens"), Some("0"));
    limited.rig.stop().await;
}

#[tokio::test]
async fn a_days_tokens_are_counted_from_the_records_of_the_day() {
    let limited = Limited::start(KeyLimits::default()).await;
    assert_eq!(limited.chat().await.status, 200);
    limited.rig.records(1).await;
    let day = |tokens| KeyLimits {
        rates: RateLimits { tokens_per_day: Some(tokens), ..RateLimits::default() },
        ..KeyLimits::default()
    };
    // 15 were used before there was a limit.
    limited.change(day(16)).await;
    assert_eq!(limited.chat().await.status, 200);
    limited.rig.records(2).await;
    let refused = limited.chat().await;
    assert_eq!(refused.status, 429);
    let retry: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..=DAY_MS / 1000).contains(&retry), "{retry}");
    limited.change(day(31)).await;
    assert_eq!(limited.chat().await.status, 200, "30 of 31 are used");
    limited.rig.stop().await;
}

#[tokio::test]
async fn calls_at_one_time_are_bounded_and_a_client_that_leaves_makes_room() {
    let limited = Limited::of(RateLimits { concurrency: Some(1), ..RateLimits::default() }).await;
    let gate = Gate::new();
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n";
    limited.rig.upstream.enqueue(Script::sse().chunk(event).gate(&gate).chunk("data: [DONE]\n\n").end());
    let mut stream = Connection::open(limited.rig.addr()).await;
    let body = json!({"model": "gpt-4o", "stream": true});
    stream.send(&Request::post(CHAT, &body).bearer(&limited.key)).await;
    assert_eq!(stream.head().await.word(1), "200");
    let refused = limited.chat().await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    drop(stream);
    patiently("room", async { while limited.chat().await.status != 200 {} }).await;
    // One after the other, each on a connection of its own, never meets the limit.
    for _ in 0..50 {
        assert_eq!(limited.chat().await.status, 200);
    }
    // A refused body releases its place too.
    assert_eq!(limited.call(CHAT, &json!({"model": 7})).await.status, 400);
    assert_eq!(limited.chat().await.status, 200);
    limited.rig.stop().await;
}

#[tokio::test]
async fn a_running_server_takes_up_new_limits_and_keeps_what_was_counted() {
    let minute = |requests| KeyLimits {
        rates: RateLimits { requests_per_minute: Some(requests), ..RateLimits::default() },
        ..KeyLimits::default()
    };
    let limited = Limited::start(minute(2)).await;
    assert_eq!(limited.chat().await.status, 200);
    assert_eq!(limited.chat().await.status, 200);
    limited.change(KeyLimits { models: vec!["*".to_owned()], ..minute(2) }).await;
    assert_eq!(limited.chat().await.status, 429, "what was counted still counts");
    limited.change(KeyLimits::default()).await;
    let free = limited.chat().await;
    assert_eq!((free.status, free.header("x-ratelimit-limit-requests")), (200, None));
    limited.rig.stop().await;
}

#[tokio::test]
async fn what_was_used_with_a_key_is_shown_to_the_micro_point() {
    let limited = Limited::of(RateLimits { concurrency: Some(5), ..RateLimits::default() }).await;
    for _ in 0..3 {
        assert_eq!(limited.chat().await.status, 200);
    }
    limited.rig.records(3).await;
    let desk = limited.rig.desk().await;
    let keys = managed::keys(&desk).await.expect("the database reads");
    let used = keys.iter().find(|key| key.id == limited.id).and_then(|key| key.used).expect("it was used");
    assert_eq!((used.requests, used.tokens, used.charge.get()), (3, 45, 225_000));
    assert!(keys.iter().any(|key| key.id != limited.id && key.used.is_none()));
    desk.close().await;
    limited.rig.stop().await;
}

#[tokio::test]
async fn a_user_may_have_ten_keys_and_no_more() {
    let rig = Rig::start().await;
    let desk = rig.desk().await;
    let create = async || desk.create_key("alice", "more", None, KeyLimits::default()).await;
    for _ in 1..10 {
        create().await.expect("a key");
    }
    let refused = create().await.expect_err("the eleventh");
    assert!(refused.to_string().contains("no more than 10"), "{refused}");
    desk.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_key_is_served_by_the_providers_that_it_may_use_and_no_other() {
    let limits = KeyLimits { providers: vec!["google".to_owned()], ..KeyLimits::default() };
    let limited = Limited::start(limits).await;
    let refused = limited.chat().await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (403, &json!("permission_denied")));
    assert!(limited.rig.upstream.requests().is_empty(), "nothing was sent");
    let list =
        client::call(limited.rig.addr(), &Request::get("/v1/models").bearer(&limited.key)).await.text();
    assert!(list.contains("gemini") && !list.contains("gpt-4o"), "the list holds what the key may call");
    assert_eq!(limited.call(FLASH, &json!({})).await.status, 200);
    limited.change(KeyLimits { providers: vec!["openai".to_owned()], ..KeyLimits::default() }).await;
    assert_eq!(limited.chat().await.status, 200);
    limited.rig.stop().await;
}

/// What the upstream gets of a conversation in one protocol when the key's window has room for its last turn.
async fn check_window(target: &str, body: &str, kept: &str) {
    let context = ContextLimit { enabled: true, window: Some(30) };
    let limited = Limited::start(KeyLimits { context, ..KeyLimits::default() }).await;
    let request = Request::new("POST", target).header("content-type", "application/json").body(body);
    let reply = client::call(limited.rig.addr(), &request.bearer(&limited.key)).await;
    assert_eq!(
        (reply.status, reply.header("x-tollgate-turns-dropped")),
        (200, Some("1")),
        "{}",
        reply.text()
    );
    let sent = limited.rig.upstream.requests();
    assert_eq!(String::from_utf8_lossy(&sent[0].body), kept);
    // A conversation that fits is sent unchanged, without a header.
    let request = Request::new("POST", target).header("content-type", "application/json").body(kept);
    let reply = client::call(limited.rig.addr(), &request.bearer(&limited.key)).await;
    assert_eq!((reply.status, reply.header("x-tollgate-turns-dropped")), (200, None));
    let sent = limited.rig.upstream.requests();
    assert_eq!(String::from_utf8_lossy(&sent[1].body), kept);
    limited.rig.stop().await;
}

/// Forty tokens of text.
fn long() -> String {
    "long ago ".repeat(18)
}

#[tokio::test]
async fn a_context_window_leaves_out_the_oldest_turns_of_openai_chats() {
    let system = r#"{"role":"system","content":"be brief"}"#;
    let kept =
        format!(r#"{{ "model":"gpt-4o",  "messages":[ {system} , {{"role":"user","content":"now"}}] }}"#);
    let old = format!(
        r#"{{"role":"user","content":"{}"}}, {{"role":"assistant","tool_calls":[{{"id":"c1","type":"function","function":{{"name":"f","arguments":"{{}}"}}}}]}},{{"role":"tool","tool_call_id":"c1","content":"1"}},"#,
        long()
    );
    let body = kept.replacen(r#"{"role":"user""#, &format!(r#"{old}{{"role":"user""#), 1);
    check_window(CHAT, &body, &kept).await;
}

#[tokio::test]
async fn a_context_window_leaves_out_the_oldest_items_of_openai_responses() {
    let kept = r#"{"model":"gpt-4o","instructions":"be brief","input":[ {"role":"user","content":"now"}]}"#;
    let old = format!(
        r#"{{"role":"user","content":"{}"}},{{"type":"function_call","call_id":"k","name":"f","arguments":"{{}}"}},{{"type":"function_call_output","call_id":"k","output":"1"}},"#,
        long()
    );
    let body = kept.replacen(r#"{"role""#, &format!(r#"{old}{{"role""#), 1);
    check_window("/v1/responses", &body, kept).await;
}

#[tokio::test]
async fn a_context_window_leaves_out_the_oldest_turns_of_anthropic_messages() {
    let kept = r#"{"model":"claude-haiku-4-5","max_tokens":9,"system":"be brief","messages":[{"role":"user","content":"now"}]}"#;
    let old = format!(
        r#"{{"role":"user","content":"{}"}},{{"role":"assistant","content":[{{"type":"tool_use","id":"t1","name":"f","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"t1","content":"1"}}]}},{{"role":"assistant","content":"done"}},"#,
        long()
    );
    let body = kept.replacen(r#"{"role""#, &format!(r#"{old}{{"role""#), 1);
    check_window(MESSAGES, &body, kept).await;
}

#[tokio::test]
async fn a_context_window_leaves_out_the_oldest_contents_of_gemini() {
    let kept = r#"{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"now"}]}]}"#;
    let old = format!(
        r#"{{"role":"user","parts":[{{"text":"{}"}}]}},{{"role":"model","parts":[{{"functionCall":{{"name":"f","args":{{}}}}}}]}},{{"role":"user","parts":[{{"functionResponse":{{"name":"f","response":{{"x":"1"}}}}}}]}},"#,
        long()
    );
    let body = kept.replacen(
        r#"{"role":"user","parts":[{"text":"now"#,
        &format!(r#"{old}{{"role":"user","parts":[{{"text":"now"#),
        1,
    );
    check_window(FLASH, &body, kept).await;
}
