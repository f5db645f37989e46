//! Users who bring a key pay the discounted price, those who bring none the platform's, and nobody ever calls with
//! another's key: on every route, streamed or not, through failures, and whatever the selecting component says.

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_server::config::OnError;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::upstream::{self, Script};

/// The models, one of each provider.
const MODELS: [&str; 3] = ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"];

/// Every route that is billed: path and body, distinguished by `word`.
fn routes(word: &str) -> Vec<(String, Value)> {
    let turn = json!([{"role": "user", "content": word}]);
    let parts = json!([{"role": "user", "parts": [{"text": word}]}]);
    let mut all = Vec::new();
    for model in MODELS {
        for stream in [false, true] {
            let mut add = |path: &str, body: Value| all.push((path.to_owned(), body));
            add("/v1/chat/completions", json!({"model": model, "stream": stream, "messages": turn}));
            add("/v1/responses", json!({"model": model, "stream": stream, "input": word}));
            add("/v1/messages", json!({"model": model, "stream": stream, "max_tokens": 9, "messages": turn}));
            let action = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            add(&format!("/v1beta/models/{model}:{action}"), json!({"contents": parts}));
        }
    }
    all.push(("/v1/embeddings".to_owned(), json!({"model": "text-embedding-3-small", "input": word})));
    let embed = json!({"content": {"parts": [{"text": word}]}});
    all.push(("/v1beta/models/gemini-embedding-001:embedContent".to_owned(), embed));
    all
}

/// What a provider answers at this address: ten tokens in, five out.
fn provider(request: &upstream::Request) -> Script {
    let path = request.target.as_str();
    let streamed =
        path.contains("stream") || String::from_utf8_lossy(&request.body).contains(r#""stream":true"#);
    let events = |events: &[&str]| {
        events.iter().fold(Script::sse(), |script, event| script.chunk(format!("{event}\n\n"))).end()
    };
    match (path, streamed) {
        ("/v1/chat/completions", false) => Script::json(
            200,
            r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#,
        ),
        ("/v1/chat/completions", true) => events(&[
            r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}]}"#,
            r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
            r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#,
            "data: [DONE]",
        ]),
        ("/v1/responses", false) => Script::json(
            200,
            r#"{"id":"r","object":"response","status":"completed","output":[],"usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15}}"#,
        ),
        ("/v1/responses", true) => events(&[
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":10,\"output_tokens\":5,\"total_tokens\":15}}}",
        ]),
        ("/v1/messages", false) => Script::json(
            200,
            r#"{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":5}}"#,
        ),
        ("/v1/messages", true) => events(&[
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}",
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}",
        ]),
        ("/v1/embeddings", _) => Script::json(
            200,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":10,"total_tokens":10}}"#,
        ),
        (path, _) if path.ends_with(":embedContent") => {
            Script::json(200, r#"{"embedding":{"values":[0.5]}}"#)
        }
        (_, false) => Script::json(200, GEMINI),
        (_, true) => events(&[&format!("data: {GEMINI}")]),
    }
}

const GEMINI: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}}"#;

/// Alice with two keys of her own for each provider, bob with none, carol with keys of her own, and two keys of the
/// platform.
async fn rig(change: impl FnOnce(&mut Setup)) -> Rig {
    Rig::with(|setup| {
        let points = Micropoints::from_points(100_000);
        setup.users = vec![("alice", points), ("bob", points), ("carol", points)];
        let owners = [
            (Some("carol"), "sk-carol-1"),
            (Some("alice"), "sk-alice-1"),
            (None, "sk-platform-1"),
            (Some("alice"), "sk-alice-2"),
            (None, "sk-platform-2"),
            (Some("carol"), "sk-carol-2"),
        ];
        let providers = ["openai", "anthropic", "google"];
        setup.credentials = providers
            .into_iter()
            .flat_map(|provider| owners.map(|(user, secret)| (provider, user, secret, 100)))
            .collect();
        change(setup);
    })
    .await
}

async fn call(rig: &Rig, user: &str, (path, body): &(String, Value)) -> Reply {
    client::call(rig.addr(), &Request::post(path, body).bearer(rig.key(user))).await
}

/// The keys that went up since the last call, without their prefixes.
fn used(rig: &Rig, seen: &mut usize) -> Vec<String> {
    let requests = rig.upstream.requests();
    let key = |request: &upstream::Request| {
        let names = ["authorization", "x-api-key", "x-goog-api-key"];
        let value = names.into_iter().find_map(|name| request.header(name)).expect("a credential");
        value.trim_start_matches("Bearer ").to_owned()
    };
    let keys = requests[*seen..].iter().map(|request| key(request)).collect();
    *seen = requests.len();
    keys
}

/// Calls every route as alice and as bob, each after this many failures of the provider. Checks whose keys went up, and
/// what each of the two paid.
async fn check_all(rig: &Rig, failures: usize) {
    rig.upstream.respond(provider);
    let (mut seen, mut done) = (0, 0);
    for (at, route) in routes("hi").iter().enumerate() {
        let mut charges = Vec::new();
        for (user, owner) in [("alice", "sk-alice"), ("bob", "sk-platform")] {
            // Another conversation each time.
            let route = routes(&format!("{user} {at:02}")).swap_remove(at);
            for _ in 0..failures {
                rig.upstream.enqueue(Script::json(500, r#"{"error":{"message":"no"}}"#));
            }
            let reply = call(rig, user, &route).await;
            assert_eq!(reply.status, 200, "{user} {}: {}", route.0, reply.text());
            let keys = used(rig, &mut seen);
            assert_eq!(keys.len(), failures + 1, "{user} {}", route.0);
            assert!(keys.iter().all(|key| key.starts_with(owner)), "{user} {}: {keys:?}", route.0);
            done += 1;
            let records = rig.records(done).await;
            let newest = records.iter().max_by_key(|record| record.request).expect("a record");
            charges.push(newest.charge.get());
        }
        let [own, platform] = charges[..] else { panic!("two charges") };
        assert!(platform > 0, "{}", route.0);
        // The two words differ in length by two letters, which counts where the input is estimated.
        let (least, most) = ((platform + 9) / 10, (platform + 9) / 10 * 3 / 2);
        let estimated = route.0.ends_with(":embedContent");
        assert!(if estimated { own <= most } else { own == least }, "{}: {own} {platform}", route.0);
    }
}

fn choose(setup: &mut Setup, guest: &'static str, on_error: OnError) {
    setup.config.policies.key_selection.component = guest.to_owned();
    setup.config.policies.key_selection.on_error = on_error;
    let bytes = tollgate_components::find_guest(guest).expect("the guest is built").bytes.to_vec();
    setup.plugins.push((guest, bytes));
}

#[tokio::test]
async fn on_every_route_ones_own_key_is_cheaper_and_anothers_is_never_used() {
    let rig = rig(|_| {}).await;
    check_all(&rig, 0).await;
    rig.stop().await;
}

#[tokio::test]
async fn on_every_route_a_failure_is_tried_with_another_key_of_the_same_owner_at_the_same_price() {
    let rig = rig(|_| {}).await;
    check_all(&rig, 1).await;
    rig.stop().await;
}

#[tokio::test]
async fn on_every_route_a_component_that_names_foreign_handles_gets_nobody_elses_key() {
    let open = rig(|setup| choose(setup, "burglar", OnError::Fallback)).await;
    check_all(&open, 0).await;
    let faults = open.plugin("key-selection").await["faults"].clone();
    assert!(faults.as_object().is_some_and(|faults| !faults.is_empty()), "{faults}");
    open.stop().await;
    let closed = rig(|setup| choose(setup, "burglar", OnError::Closed)).await;
    closed.upstream.respond(provider);
    for route in routes("hi") {
        let reply = call(&closed, "alice", &route).await;
        assert_eq!(reply.status, 503, "{}: {}", route.0, reply.text());
    }
    assert!(closed.upstream.requests().is_empty());
    closed.stop().await;
}

#[tokio::test]
async fn where_all_own_keys_fail_the_platforms_serve_at_their_price() {
    for route in routes("hi").iter().filter(|(path, _)| !path.contains("embed")) {
        let rig = rig(|_| {}).await;
        rig.upstream.respond(provider);
        for _ in 0..2 {
            rig.upstream.enqueue(Script::json(500, r#"{"error":{"message":"no"}}"#));
        }
        assert_eq!(call(&rig, "alice", route).await.status, 200, "{}", route.0);
        let keys = used(&rig, &mut 0);
        assert!(keys[..2].iter().all(|key| key.starts_with("sk-alice")), "{keys:?}");
        assert!(keys[2].starts_with("sk-platform") && keys.len() == 3, "{keys:?}");
        let dear = rig.record().await.charge.get();
        assert_eq!(call(&rig, "alice", route).await.status, 200);
        let total: i64 = rig.records(2).await.iter().map(|record| record.charge.get()).sum();
        assert_eq!(total - dear, (dear + 9) / 10, "{}", route.0);
        rig.stop().await;
    }
}
