//! How a credential rests, returns and is shared: what a client sees of it, and what survives a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_core::limits::RateLimits;
use tollgate_core::secret::Secret;
use tollgate_server::app::{Gateway, Options};
use tollgate_server::config::Millis;
use tollgate_server::manage::NewCredential;
use tollgate_tests::client::{self, Connection, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::upstream::{Gate, Script};

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const INVALID: &str = r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}"#;
const BROKE: &str = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
const LIMITED: &str = r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;

fn body(text: &str) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]})
}

async fn chat(rig: &Rig, text: &str) -> Reply {
    rig.call(Request::post(CHAT, &body(text))).await
}

fn keys(setup: &mut Setup, secrets: &[&'static str]) {
    setup.credentials = secrets.iter().map(|secret| ("openai", None, *secret, 100)).collect();
}

/// The keys of the calls so far, without those of checks.
fn used(rig: &Rig) -> Vec<String> {
    let mut requests = rig.upstream.requests();
    requests.retain(|request| request.method == "POST");
    let bearer = |at: usize| requests[at].header("authorization").unwrap_or("none").replace("Bearer ", "");
    (0..requests.len()).map(bearer).collect()
}

#[tokio::test]
async fn what_the_provider_refuses_is_503_and_only_a_rate_limit_is_429() {
    for (answer, status, retry) in [
        (Script::json(401, INVALID), 503, 1..=2),
        (Script::whole(429, &[("retry-after", "77")], BROKE), 503, 76..=77),
        (Script::whole(429, &[("retry-after", "9")], LIMITED), 429, 9..=9),
    ] {
        let rig = Rig::with(|setup| keys(setup, &["one"])).await;
        // Checks find nothing out.
        rig.upstream.respond(|request| match request.method.as_str() {
            "GET" => Script::json(500, "{}"),
            _ => Script::json(200, ANSWER),
        });
        rig.upstream.enqueue(answer);
        assert_ne!(chat(&rig, "a").await.status, 200);
        let reply = chat(&rig, "a").await;
        assert_eq!(reply.status, status, "{}", reply.text());
        let told: u64 = reply.header("retry-after").expect("a time to wait").parse().expect("seconds");
        assert!(retry.contains(&told), "{told}");
        assert_eq!(used(&rig).len(), 1, "nobody asks a provider in vain");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_state_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let rig = Rig::with(|setup| {
        keys(setup, &["one"]);
        setup.config.server.data_dir.clone_from(&data);
    })
    .await;
    rig.upstream.respond(|_| Script::json(401, INVALID));
    chat(&rig, "a").await;
    let disabled = async || {
        let desk = rig.desk().await;
        let rows = managed::credentials(&desk).await.expect("a list");
        desk.close().await;
        matches!(rows[0].state.condition, tollgate_core::health::Condition::Disabled { .. })
    };
    patiently("the state to be kept", async { while !disabled().await {} }).await;
    let (config, key) = (rig.config.clone(), rig.key("alice").to_owned());
    rig.stop().await;
    let start = move || Gateway::start(Options { config, ..Options::default() });
    let gateway = tokio::task::spawn_blocking(start).await.expect("no panic").expect("a start");
    let reply = client::call(gateway.address, &Request::post(CHAT, &body("a")).bearer(&key)).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(reply.json()["error"]["code"], "no_credential");
    tokio::task::spawn_blocking(move || gateway.stop()).await.expect("no panic").expect("a stop");
}

/// Gives alice a key with limits of its own.
async fn add_narrow(rig: &Rig, limits: RateLimits) {
    let desk = rig.desk().await;
    desk.add_credential(NewCredential {
        provider: "openai".to_owned(),
        user: Some("alice".to_owned()),
        label: "narrow".to_owned(),
        weight: 100,
        secret: Secret::new("narrow".to_owned()),
        limits,
        place: None,
    })
    .await
    .expect("a credential");
    desk.close().await;
}

#[tokio::test]
async fn a_credential_serves_no_more_than_its_limits_and_others_take_what_is_left() {
    let rig = Rig::with(|setup| keys(setup, &["wide"])).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    add_narrow(&rig, RateLimits { requests_per_minute: Some(2), ..RateLimits::default() }).await;
    patiently("the new credential", async {
        while !used(&rig).contains(&"narrow".to_owned()) {
            assert_eq!(chat(&rig, "a").await.status, 200);
        }
    })
    .await;
    for _ in 0..4 {
        assert_eq!(chat(&rig, "a").await.status, 200);
    }
    let used = used(&rig);
    assert_eq!(used.iter().filter(|secret| *secret == "narrow").count(), 2, "{used:?}");
    assert_eq!(used.last().map(String::as_str), Some("wide"));
    rig.stop().await;
}

#[tokio::test]
async fn the_tokens_of_an_answer_count_against_its_credential() {
    // Its answer uses far more than was estimated, and nothing is left for the day.
    const LARGE: &str =
        r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5000}}"#;
    let rig = Rig::with(|setup| setup.credentials.clear()).await;
    rig.upstream.respond(|_| Script::json(200, LARGE));
    add_narrow(&rig, RateLimits { tokens_per_day: Some(1000), ..RateLimits::default() }).await;
    patiently("the new credential", async { while chat(&rig, "a").await.status != 200 {} }).await;
    // It is counted a moment after its end.
    let refused = patiently("the limit to be reached", async {
        loop {
            let reply = chat(&rig, "a").await;
            if reply.status != 200 {
                return reply;
            }
        }
    })
    .await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    rig.stop().await;
}

#[tokio::test]
async fn a_conversation_stays_with_its_credential_while_that_is_healthy() {
    let rig = Rig::with(|setup| keys(setup, &["a", "b", "c", "d"])).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let mut served: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..6 {
        for talk in ["one", "two", "three", "four", "five"] {
            assert_eq!(chat(&rig, talk).await.status, 200);
            let secret = used(&rig).pop().expect("a request");
            assert_eq!(served.entry(talk.to_owned()).or_insert_with(|| secret.clone()), &secret, "{talk}");
        }
    }
    let keys: std::collections::BTreeSet<_> = served.values().collect();
    assert!(keys.len() > 1, "conversations are spread: {served:?}");
    // Never a reason to fail: its first credential is unavailable, so another serves.
    rig.upstream.enqueue(Script::json(401, INVALID));
    assert_eq!(chat(&rig, "one").await.status, 200);
    assert_eq!(chat(&rig, "one").await.status, 200);
    assert_ne!(used(&rig).last(), served.get("one"));
    rig.stop().await;
}

#[tokio::test]
async fn who_finds_no_place_waits_in_line_and_is_told_when_it_takes_too_long() {
    for provider in [true, false] {
        let rig = Rig::with(|setup| {
            keys(setup, &["one"]);
            let limits = &mut setup.config.limits;
            if provider {
                limits.provider_concurrency_max.insert("openai".to_owned(), 1);
            } else {
                limits.concurrency_max = 1;
            }
            limits.concurrency_timeout_ms = Millis::try_from(300).expect("a time");
        })
        .await;
        let gate = Gate::new();
        rig.upstream.respond(|_| Script::json(200, ANSWER));
        rig.upstream.enqueue(Script::default().gate(&gate).write(whole()));
        let mut first = Connection::open(rig.addr()).await;
        first.send(&Request::post(CHAT, &body("a")).bearer(rig.key("alice"))).await;
        patiently("the first to be there", async {
            while used(&rig).is_empty() {
                tokio::task::yield_now().await
            }
        })
        .await;
        let late = chat(&rig, "b").await;
        assert_eq!((late.status, late.header("retry-after")), (503, Some("1")), "{}", late.text());
        assert_eq!(late.json()["error"]["code"], "server_is_overloaded");
        // A client that leaves while it waits takes no other's place.
        let mut gone = Connection::open(rig.addr()).await;
        gone.send(&Request::post(CHAT, &body("c")).bearer(rig.key("alice"))).await;
        drop(gone);
        gate.open();
        assert_eq!(first.reply().await.status, 200);
        assert_eq!(chat(&rig, "d").await.status, 200);
        rig.stop().await;
    }
}

/// The bytes of a whole good answer.
fn whole() -> String {
    let length = ANSWER.len();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{ANSWER}")
}

#[tokio::test]
async fn a_request_ends_when_its_time_is_over_streamed_or_not() {
    let rig = Rig::with(|setup| {
        keys(setup, &["one"]);
        setup.config.limits.request_timeout_ms = Millis::try_from(200).expect("a time");
    })
    .await;
    rig.upstream.enqueue(Script::silence());
    assert_eq!(chat(&rig, "a").await.status, 504);
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
    let endless =
        (0..200).fold(Script::sse(), |script, _| script.chunk(event).pause(Duration::from_millis(20)));
    rig.upstream.enqueue(endless);
    let mut streamed = body("a");
    streamed["stream"] = true.into();
    let reply = rig.call(Request::post(CHAT, &streamed)).await;
    assert!(reply.text().contains("upstream_timeout"), "{}", reply.text());
    rig.stop().await;
}

#[tokio::test]
async fn a_rate_limit_lasts_as_long_as_the_providers_own_headers_say() {
    let rig = Rig::with(|setup| keys(setup, &["one"])).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let headers = [("x-ratelimit-reset-requests", "1s"), ("x-ratelimit-reset-tokens", "6m0s")];
    rig.upstream.enqueue(Script::whole(429, &headers, LIMITED));
    for _ in 0..2 {
        let reply = chat(&rig, "a").await;
        let wait: u64 = reply.header("retry-after").expect("a time to wait").parse().expect("seconds");
        assert!(reply.status == 429 && (300..=360).contains(&wait), "{} {wait}", reply.status);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_key_that_a_request_makes_suspect_is_checked_once_and_comes_back_by_itself() {
    let rig = Rig::with(|setup| keys(setup, &["one"])).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    rig.upstream.enqueue(Script::whole(429, &[("retry-after", "1")], BROKE));
    assert_ne!(chat(&rig, "a").await.status, 200);
    patiently("the key to be back", async { while chat(&rig, "a").await.status != 200 {} }).await;
    let requests = rig.upstream.requests();
    let checks = requests.iter().filter(|request| request.method == "GET").count();
    assert_eq!(checks, 1, "one check, at once");
    rig.stop().await;
}
