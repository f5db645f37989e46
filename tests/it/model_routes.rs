//! Which provider serves a model: whom the configuration names, else whom its price names, and nobody else.

use serde_json::json;
use tollgate_server::config::{Config, Model};
use tollgate_tests::client::{Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::upstream::Script;

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

fn entry(name: &str, provider: &str, model: Option<&str>) -> Model {
    Model { name: name.to_owned(), provider: provider.to_owned(), model: model.map(str::to_owned) }
}

/// Adds a second provider that speaks as OpenAI does, with a credential of the platform's, `platform-relay`.
fn with_relay(setup: &mut Setup) {
    let relay = setup.config.providers["openai"].clone();
    setup.config.providers.insert("relay".to_owned(), relay);
    setup.credentials.push(("relay", None, "platform-relay", 1000));
}

async fn chat(rig: &Rig, model: &str) -> Reply {
    rig.call(Request::post("/v1/chat/completions", &json!({"model": model, "messages": []}))).await
}

/// The credential and the model that the next upstream request came with.
async fn seen(rig: &Rig) -> (String, String) {
    let request = rig.upstream.next().await;
    let model = request.json()["model"].as_str().unwrap_or_default().to_owned();
    (request.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned(), model)
}

#[tokio::test]
async fn a_model_goes_to_the_provider_of_its_price_though_others_speak_the_protocol_too() {
    let rig = Rig::with(with_relay).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    for _ in 0..4 {
        assert_eq!(chat(&rig, "gpt-4o").await.status, 200);
        assert_eq!(seen(&rig).await, ("platform-openai".to_owned(), "gpt-4o".to_owned()));
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_first_entry_that_matches_names_the_provider() {
    let rig = Rig::with(|setup| {
        with_relay(setup);
        setup.config.models = vec![entry("gpt-4o", "openai", None), entry("gpt-*", "relay", None)];
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    for (model, credential) in [("gpt-4o", "platform-openai"), ("gpt-4o-mini", "platform-relay")] {
        assert_eq!(chat(&rig, model).await.status, 200);
        assert_eq!(seen(&rig).await, (credential.to_owned(), model.to_owned()));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_model_may_have_another_name_upstream_and_is_priced_by_it_where_its_own_has_no_price() {
    let rig = Rig::with(|setup| {
        setup.config.models =
            vec![entry("fast", "openai", Some("gpt-4o")), entry("quick", "google", Some("gemini-2.5-flash"))];
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let body = "{ \"messages\" : [],\n\"model\" :\"fast\" , \"seed\":1e2}";
    let reply = rig.call(Request::new("POST", "/v1/chat/completions").body(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let request = rig.upstream.next().await;
    assert_eq!(
        String::from_utf8_lossy(&request.body),
        body.replace("fast", "gpt-4o"),
        "nothing else changed"
    );
    let record = rig.record().await;
    // gpt-4o: 10 x 2,500 + 5 x 10,000 micro-points.
    assert_eq!((record.model.as_deref(), record.charge.get()), (Some("fast"), 75_000));
    let gemini = "/v1beta/models/quick:generateContent";
    assert_eq!(rig.call(Request::post(gemini, &json!({"contents": []}))).await.status, 200);
    assert_eq!(rig.upstream.next().await.target, "/v1beta/models/gemini-2.5-flash:generateContent");
    rig.stop().await;
}

#[tokio::test]
async fn a_model_whose_provider_is_switched_off_is_not_served_by_another() {
    let rig = Rig::with(|setup| {
        with_relay(setup);
        setup.config.models = vec![entry("gpt-*", "relay", None)];
        setup.config.providers.get_mut("relay").unwrap().enabled = false;
    })
    .await;
    let reply = chat(&rig, "gpt-4o").await;
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (503, Some("no_credential")));
    assert!(rig.upstream.requests().is_empty());
    let record = rig.record().await;
    assert_eq!((record.charge.get(), record.hold.get()), (0, 0));
    rig.stop().await;
}

#[test]
fn an_entry_for_a_provider_that_is_not_there_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tollgate.toml");
    std::fs::write(&path, "[[models]]\nname = \"gpt-*\"\nprovider = \"nobody\"\n").unwrap();
    let error = Config::read(&path).unwrap_err().to_string();
    assert!(error.contains("tollgate.toml") && error.contains("`nobody`"), "{error}");
}
