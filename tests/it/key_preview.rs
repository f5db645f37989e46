//! What a key may do, told before anyone calls with it, and the same that the road finds when they do.

use serde_json::{Value, json};
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const PASSWORD: &str = "correct horse battery";

async fn ask(rig: &Rig, method: &str, path: &str, token: &str, body: &Value) -> client::Reply {
    let request = Request::new(method, &format!("/management/v1{path}")).bearer(token);
    let request = if body.is_null() { request } else { request.body(body.to_string()) };
    client::call(rig.admin_addr(), &request).await
}

async fn log_in(rig: &Rig, name: &str) -> String {
    let desk = rig.desk().await;
    managed::set_password(&desk, name, Secret::new(PASSWORD.to_owned())).await.expect("a password");
    desk.close().await;
    let body = json!({"name": name, "password": PASSWORD});
    let reply = client::call(rig.admin_addr(), &Request::post("/management/v1/login", &body)).await;
    reply.json()["access_token"].as_str().expect("a token").to_owned()
}

async fn may(rig: &Rig, token: &str, query: &str) -> Vec<Value> {
    let reply = ask(rig, "GET", &format!("/keys/dry-run?{query}"), token, &Value::Null).await;
    assert_eq!(reply.status, 200, "{query}: {}", reply.text());
    reply.json()["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn what_is_told_of_a_key_is_what_the_road_does_with_its_calls() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let alice = log_in(&rig, "alice").await;
    let limits =
        json!({"models": ["gpt-4o*", "claude-*"], "providers": ["openai"], "protocols": ["openai-chat"]});
    let made = ask(&rig, "POST", "/keys", &alice, &json!({"name": "narrow", "limits": limits})).await.json();
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    let models = ["gpt-4o", "gpt-4o-mini", "claude-opus-5", "o3", "gemini-2.5-pro", "gpt-4o-none"];
    let query = models.map(|model| format!("&model={model}")).concat();
    let told = may(&rig, rig.admin_secret(), &format!("key={id}{query}")).await;
    assert_eq!(told.len(), models.len());
    for model in &told {
        let name = model["model"].as_str().expect("a name");
        let body = json!({"model": name, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi."}]});
        let call = Request::post("/v1/chat/completions", &body).bearer(key);
        let status = patiently("the key to be known", async {
            loop {
                match client::call(rig.addr(), &call).await.status {
                    401 => {}
                    status => break status,
                }
            }
        })
        .await;
        assert_eq!(status == 200, model["served"] == json!(true), "{status}: {model}");
        assert_eq!(model["served"] == json!(true), model["why_not"].is_null(), "{model}");
    }
    let of = |name: &str| told.iter().find(|model| model["model"] == json!(name)).expect("a model");
    assert_eq!(of("o3")["why_not"], json!("model-not-allowed"));
    assert_eq!(of("claude-opus-5")["why_not"], json!("provider-not-allowed"));
    assert_eq!(of("gpt-4o-none")["why_not"], json!("unknown-model"));
    let place = &of("gpt-4o")["places"][0];
    assert_eq!(
        (&place["provider"], &place["credentials"]["platform"]["count"]),
        (&json!("openai"), &json!(1))
    );
    assert_eq!(of("gpt-4o")["protocols"], json!(["openai-chat"]));
    assert!(of("gpt-4o")["price"]["prices"]["input"].is_string(), "{}", of("gpt-4o"));
    rig.stop().await;
}

#[tokio::test]
async fn a_user_sees_what_limits_would_mean_without_prices_and_of_their_own_alone() {
    let rig = Rig::with(|setup| {
        setup.users.push(("bob", tollgate_core::points::Micropoints::from_points(10)));
    })
    .await;
    let alice = log_in(&rig, "alice").await;
    let all = may(&rig, &alice, "").await;
    assert!(all.len() > 1 && all.iter().all(|model| model["price"].is_null()), "no prices for users");
    let counts = all.iter().flat_map(|model| model["places"].as_array().expect("places").clone());
    assert!(counts.into_iter().all(|place| place["credentials"]["platform"]["count"].is_null()));
    let narrow = may(&rig, &alice, "allow_model=gpt-4o&model=gpt-4o&model=gpt-4o-mini").await;
    assert_eq!((&narrow[0]["why_not"], &narrow[1]["why_not"]), (&Value::Null, &json!("model-not-allowed")));
    let other = may(&rig, &alice, "allow_protocol=gemini&model=gpt-4o").await;
    assert_eq!(other[0]["protocols"], json!(["gemini"]), "{other:?}");
    // Pages, in the order of names.
    let first = ask(&rig, "GET", "/keys/dry-run?limit=2", &alice, &Value::Null).await.json();
    let next = first["next_cursor"].as_str().expect("a next page").to_owned();
    let second = may(&rig, &alice, &format!("limit=2&cursor={next}")).await;
    assert_eq!(
        (&second[0]["model"], next.as_str()),
        (&all[2]["model"], all[1]["model"].as_str().expect("a name"))
    );
    let desk = rig.desk().await;
    let (bobs, _) = desk.create_key("bob", "call", None, Default::default()).await.expect("a key");
    desk.close().await;
    for (query, status) in [
        (format!("key={bobs}"), 404),
        ("user=bob".to_owned(), 404),
        ("key=x".to_owned(), 400),
        ("allow_protocol=x".to_owned(), 400),
        ("limit=0".to_owned(), 400),
    ] {
        let reply = ask(&rig, "GET", &format!("/keys/dry-run?{query}"), &alice, &Value::Null).await;
        assert_eq!(reply.status, status, "{query}: {}", reply.text());
    }
    let off = ask(&rig, "GET", "/credentials", rig.admin_secret(), &Value::Null).await.json();
    for credential in off["data"].as_array().expect("a list") {
        let path = format!("/credentials/{}", credential["id"].as_str().expect("an id"));
        ask(&rig, "DELETE", &path, rig.admin_secret(), &Value::Null).await;
    }
    patiently("nobody to be left who serves", async {
        while may(&rig, &alice, "model=gpt-4o").await[0]["why_not"] != json!("no-credential") {}
    })
    .await;
    rig.stop().await;
}
