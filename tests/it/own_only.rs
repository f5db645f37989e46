//! Calls that their caller's own provider keys alone may serve: by the choice of a key, or of a user for all of theirs.
//! What they cannot serve is refused, and never paid in full.

use serde_json::{Value, json};
use tollgate_core::limits::KeyLimits;
use tollgate_core::points::Micropoints;
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const PASSWORD: &str = "correct horse battery";

async fn rig() -> Rig {
    let rig = Rig::with(|setup| {
        setup.credentials.push(("openai", Some("alice"), "alices-own", 100));
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    rig
}

async fn chat(rig: &Rig, key: &str, model: &str) -> Reply {
    let body = json!({"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi."}]});
    client::call(rig.addr(), &Request::post("/v1/chat/completions", &body).bearer(key)).await
}

/// The keys that went up with calls.
fn sent(rig: &Rig) -> Vec<String> {
    let calls = rig.upstream.requests().into_iter().filter(|request| request.method == "POST");
    calls.filter_map(|call| call.header("authorization").map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_key_that_wants_it_so_is_never_served_by_anothers_credential() {
    let rig = rig().await;
    let desk = rig.desk().await;
    let limits = KeyLimits { own_only: true, ..KeyLimits::default() };
    let (_, key) = desk.create_key("alice", "own", None, limits).await.expect("a key");
    desk.close().await;
    let known = async { while chat(&rig, key.expose(), "gpt-4o").await.status == 401 {} };
    patiently("the key to be known", known).await;
    assert!(sent(&rig).iter().all(|key| key == "Bearer alices-own"), "{:?}", sent(&rig));
    // No credential of hers is for Anthropic: the operator's is not asked.
    let refused = chat(&rig, key.expose(), "claude-opus-5").await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("own provider keys"), "{}", refused.text());
    // Hers meets a limit: the call fails, and costs nothing, where another key of hers would have gone on.
    rig.upstream.respond(|request| match request.header("authorization") {
        Some("Bearer alices-own") => Script::whole(429, &[("retry-after", "60")], "{}"),
        _ => Script::json(200, ANSWER),
    });
    let before = rig.records(1).await.len();
    for _ in 0..3 {
        let refused = chat(&rig, key.expose(), "gpt-4o").await;
        assert!(matches!(refused.status, 429 | 503), "{}", refused.text());
    }
    assert_eq!(chat(&rig, rig.key("alice"), "gpt-4o").await.status, 200, "the operator's step in");
    let records = rig.records(before + 4).await;
    let charged =
        records.iter().filter(|record| record.charge > Micropoints::ZERO && record.status == Some(429));
    assert_eq!(charged.count(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_user_chooses_it_for_all_of_their_keys_and_takes_it_back() {
    let rig = rig().await;
    let desk = rig.desk().await;
    managed::set_password(&desk, "alice", Secret::new(PASSWORD.to_owned())).await.expect("a password");
    desk.close().await;
    let body = json!({"name": "alice", "password": PASSWORD});
    let token = client::call(rig.admin_addr(), &Request::post("/management/v1/login", &body)).await.json();
    let token = token["access_token"].as_str().expect("a token").to_owned();
    let ask = async |method: &str, path: &str, body: Value| {
        let request = Request::new(method, &format!("/management/v1{path}")).bearer(&token);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        client::call(rig.admin_addr(), &request).await.json()
    };
    let claude = async || chat(&rig, rig.key("alice"), "claude-opus-5").await.status;
    assert_eq!(claude().await, 200);
    assert_eq!(ask("PUT", "/me/own-only", json!({"own_only": true})).await["own_only"], json!(true));
    assert_eq!(ask("GET", "/me", Value::Null).await["own_only"], json!(true));
    patiently("the choice to be in force", async { while claude().await != 403 {} }).await;
    let may = ask("GET", "/keys/dry-run?model=claude-opus-5&model=gpt-4o", Value::Null).await;
    assert_eq!(
        (&may["data"][0]["served"], &may["data"][1]["served"]),
        (&json!(false), &json!(true)),
        "{may}"
    );
    assert_eq!(chat(&rig, rig.key("alice"), "gpt-4o").await.status, 200);
    assert_eq!(sent(&rig).last().map(String::as_str), Some("Bearer alices-own"));
    ask("PUT", "/me/own-only", json!({"own_only": false})).await;
    patiently("the choice to be taken back", async { while claude().await != 200 {} }).await;
    rig.stop().await;
}
