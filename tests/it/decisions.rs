//! What is kept of each call's decisions: why this credential, what the filter said, what the hold followed from.
//! Always, with the record, for whoever looks later.

use serde_json::{Value, json};
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::managed;
use tollgate_tests::upstream::Script;

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const PASSWORD: &str = "correct horse battery";

fn filtered(setup: &mut Setup) {
    setup.config.policies.content_filter.config =
        "words = [\"falcon\"]\naction = \"block\"".parse().expect("a configuration");
}

async fn chat(rig: &Rig, model: &str, words: &str) -> u16 {
    let body = json!({"model": model, "messages": [{"role": "user", "content": words}]});
    let request = Request::post("/v1/chat/completions", &body).bearer(rig.key("alice"));
    client::call(rig.addr(), &request).await.status
}

/// The last call as an admin sees it.
async fn last(rig: &Rig, calls: usize) -> Value {
    rig.records(calls).await;
    let page = rig.admin("GET", "/management/v1/requests?limit=1").await.json();
    let request = page["data"][0]["request"].as_str().expect("an id").to_owned();
    rig.admin("GET", &format!("/management/v1/requests/{request}")).await.json()
}

#[tokio::test]
async fn a_call_says_why_it_got_its_credential_and_what_its_hold_followed_from() {
    let rig = Rig::with(|setup| {
        setup.credentials.push(("openai", None, "second-openai", 100));
        setup.credentials.push(("openai", Some("alice"), "alices-own", 100));
    })
    .await;
    rig.upstream.enqueue(Script::json(200, ANSWER));
    assert_eq!(chat(&rig, "gpt-4o", "Hi.").await, 200);
    let call = last(&rig, 1).await;
    let decided = &call["decisions"];
    let seen = &decided["choice"]["seen"];
    assert_eq!(decided["choice"]["because"], json!("owner"), "{call}");
    assert_eq!((&seen["fit"], &seen["unfit"], &seen["weight"]), (&json!(3), &json!(0), &json!(100)));
    let others = seen["others"].as_array().expect("others");
    assert!(others.len() == 2 && others.iter().all(|other| other["name"].is_string()), "{others:?}");
    assert!(others.iter().all(|other| other["credential"] != call["credential"]));
    assert!(decided["hold"]["input_tokens"].as_u64() > Some(0), "{decided}");
    assert!(decided["hold"]["output_tokens"].as_u64() > Some(0), "{decided}");
    assert_eq!((&decided["hold"]["price"], &decided["stand_in"]), (&json!("model"), &json!(0)));
    // Her own meets a limit: it rests, and one of two that nothing else tells apart serves.
    rig.upstream.enqueue(Script::json(429, "{}"));
    rig.upstream.enqueue(Script::json(200, ANSWER));
    assert_eq!(chat(&rig, "gpt-4o", "Hi.").await, 200);
    let call = last(&rig, 2).await;
    let choice = &call["decisions"]["choice"];
    assert_eq!(choice["seen"]["fit"], json!(2), "{call}");
    assert_ne!(choice["because"], json!("owner"), "{call}");
    rig.upstream.enqueue(Script::json(200, ANSWER));
    assert_eq!(chat(&rig, "gpt-4o", "Hi again.").await, 200);
    let call = last(&rig, 3).await;
    assert_eq!(call["decisions"]["choice"]["seen"]["unfit"], json!(1), "hers still rests: {call}");
    rig.stop().await;
}

#[tokio::test]
async fn a_call_says_what_the_filter_said_and_a_user_is_told_no_rule() {
    let rig = Rig::with(filtered).await;
    rig.upstream.enqueue(Script::json(200, ANSWER));
    assert_eq!(chat(&rig, "gpt-4o", "Hi.").await, 200);
    let clean = last(&rig, 1).await["decisions"]["filter"].clone();
    assert_eq!(
        (&clean["verdict"], &clean["rule"], &clean["matches"]),
        (&json!("clean"), &Value::Null, &json!(0))
    );
    assert!(chat(&rig, "gpt-4o", "A falcon and a FALCON.").await >= 400);
    let call = last(&rig, 2).await;
    let blocked = &call["decisions"]["filter"];
    assert_eq!((&blocked["verdict"], &blocked["matches"]), (&json!("blocked"), &json!(2)), "{call}");
    assert!(blocked["rule"].is_u64(), "{call}");
    assert!(call["decisions"]["choice"].is_null() && call["decisions"]["hold"].is_null(), "{call}");
    let desk = rig.desk().await;
    managed::set_password(&desk, "alice", Secret::new(PASSWORD.to_owned())).await.expect("a password");
    desk.close().await;
    let body = json!({"name": "alice", "password": PASSWORD});
    let token = client::call(rig.admin_addr(), &Request::post("/management/v1/login", &body)).await.json();
    let token = token["access_token"].as_str().expect("a token");
    let path = format!("/management/v1/requests/{}", call["request"].as_str().expect("an id"));
    let own = client::call(rig.admin_addr(), &Request::get(&path).bearer(token)).await.json();
    assert_eq!(own["decisions"]["filter"]["verdict"], json!("blocked"));
    assert!(own["decisions"]["filter"]["rule"].is_null(), "{own}");
    rig.stop().await;
}

#[tokio::test]
async fn a_model_that_stands_in_is_said_to() {
    let rig = Rig::with(|setup| {
        let model = r#"name = "fast"
            provider = "openai"
            model = "gpt-4o"
            fallbacks = ["gpt-4o-mini"]"#;
        setup.config.models.push(toml::from_str(model).expect("a model"));
        setup.config.limits.attempts_max = tollgate_server::config::Attempts(1);
    })
    .await;
    rig.upstream.enqueue(Script::json(500, "{}"));
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let status = chat(&rig, "fast", "Hi.").await;
    let call = last(&rig, 1).await;
    assert_eq!(status, 200, "{call}");
    assert_eq!(call["decisions"]["stand_in"], json!(1), "{call}");
    rig.stop().await;
}
