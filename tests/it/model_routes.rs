//! Which provider serves a model: the one that the configuration names, else the one that its price names, and no
//! other.

use serde_json::json;
use tollgate_core::limits::KeyLimits;
use tollgate_server::config::{Config, Model, Target};
use tollgate_tests::client;
use tollgate_tests::client::{Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::patiently;
use tollgate_tests::upstream::{Script, Upstream};

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

fn entry(name: &str, provider: &str, model: Option<&str>) -> Model {
    to(name, vec![Target::new(provider, model)])
}

fn to(name: &str, targets: Vec<Target>) -> Model {
    Model { name: name.to_owned(), aliases: Vec::new(), targets, fallbacks: Vec::new() }
}

/// Adds a second, OpenAI-compatible provider, with a credential of the platform's, `platform-relay`.
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

#[tokio::test]
async fn targets_share_the_requests_by_weight_exactly() {
    let rig = Rig::with(|setup| {
        with_relay(setup);
        let share = |provider, weight| Target { weight, ..Target::new(provider, None) };
        setup.config.models = vec![to("gpt-4o", vec![share("openai", 100), share("relay", 300)])];
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let mut by_relay = 0;
    for _ in 0..8 {
        assert_eq!(chat(&rig, "gpt-4o").await.status, 200);
        by_relay += u32::from(seen(&rig).await.0 == "platform-relay");
    }
    assert_eq!(by_relay, 6);
    rig.stop().await;
}

#[tokio::test]
async fn the_next_priority_comes_when_the_first_has_failed() {
    let rig = Rig::with(|setup| {
        with_relay(setup);
        let later = Target { priority: 1, ..Target::new("relay", Some("gpt-4o-mini")) };
        setup.config.models = vec![to("gpt-4o", vec![later, Target::new("openai", None)])];
    })
    .await;
    rig.upstream.enqueue(Script::json(503, "{}"));
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    assert_eq!(chat(&rig, "gpt-4o").await.status, 200);
    assert_eq!(seen(&rig).await, ("platform-openai".to_owned(), "gpt-4o".to_owned()));
    assert_eq!(seen(&rig).await, ("platform-relay".to_owned(), "gpt-4o-mini".to_owned()));
    rig.stop().await;
}

/// `gpt-4o-mini` at OpenAI, then `gpt-4o` there, which costs more.
fn with_fallback(setup: &mut Setup) {
    let mut model = entry("gpt-4o-mini", "openai", None);
    model.fallbacks = vec!["gpt-4o".to_owned()];
    setup.config.models = vec![model];
}

#[tokio::test]
async fn a_fallback_is_paid_as_the_model_that_served_and_the_hold_covers_the_dearest() {
    let plain = Rig::start().await;
    plain.upstream.respond(|_| Script::json(200, ANSWER));
    assert_eq!(chat(&plain, "gpt-4o").await.status, 200);
    let dearest = plain.record().await.hold;
    plain.stop().await;

    let rig = Rig::with(with_fallback).await;
    rig.upstream.enqueue(Script::json(503, "{}"));
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    assert_eq!(chat(&rig, "gpt-4o-mini").await.status, 200);
    assert_eq!([seen(&rig).await.1, seen(&rig).await.1], ["gpt-4o-mini", "gpt-4o"]);
    let record = rig.record().await;
    assert!(record.hold >= dearest, "{} is less than {dearest}", record.hold);
    // gpt-4o: 10 x 2,500 + 5 x 10,000 micro-points.
    assert_eq!((record.model.as_deref(), record.charge.get(), record.attempts), (Some("gpt-4o"), 75_000, 2));
    let desk = rig.desk().await;
    assert_eq!(desk.receipt(record.request).await.unwrap().model, "gpt-4o");
    desk.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_fallback_serves_while_all_credentials_of_the_model_rest() {
    let rig = Rig::with(|setup| {
        let mut model = entry("gpt-4o-mini", "openai", None);
        model.fallbacks = vec!["claude-haiku-4-5".to_owned()];
        setup.config.models = vec![model];
    })
    .await;
    rig.upstream.enqueue(Script::json(401, r#"{"error":{"code":"invalid_api_key"}}"#));
    let message = json!({"type": "message", "id": "m", "role": "assistant", "model": "x", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 1, "output_tokens": 1}});
    // The check that the refusal gives cause for finds nothing out.
    rig.upstream.respond(move |request| match request.method.as_str() {
        "GET" => Script::json(500, "{}"),
        _ => Script::json(200, message.to_string()),
    });
    let ask = || {
        let messages = json!([{"role": "user", "content": "hi"}]);
        rig.call(Request::post(
            "/v1/chat/completions",
            &json!({"model": "gpt-4o-mini", "messages": messages}),
        ))
    };
    assert_eq!(ask().await.status, 200);
    assert_eq!(ask().await.status, 200, "without an attempt at the credential that rests");
    let mut calls = rig.upstream.requests();
    calls.retain(|request| request.method == "POST");
    let targets: Vec<_> = calls.iter().map(|request| request.target.clone()).collect();
    assert_eq!(targets, ["/v1/chat/completions", "/v1/messages", "/v1/messages"]);
    let models: Vec<_> = calls.iter().map(|request| request.json()["model"].clone()).collect();
    assert_eq!(models, ["gpt-4o-mini", "claude-haiku-4-5", "claude-haiku-4-5"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_request_at_fault_goes_to_no_fallback() {
    let rig = Rig::with(with_fallback).await;
    rig.upstream
        .respond(|_| Script::json(400, r#"{"error":{"message":"no","type":"invalid_request_error"}}"#));
    assert_eq!(chat(&rig, "gpt-4o-mini").await.status, 400);
    assert_eq!(rig.upstream.count(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_key_is_not_served_by_a_fallback_that_it_may_not_call() {
    let rig = Rig::with(with_fallback).await;
    rig.upstream.respond(|_| Script::json(503, "{}"));
    let desk = rig.desk().await;
    let limits = KeyLimits { models: vec!["*-mini".to_owned()], ..KeyLimits::default() };
    let (_, key) = desk.create_key("alice", "mini", None, limits).await.unwrap();
    desk.close().await;
    let request = Request::post("/v1/chat/completions", &json!({"model": "gpt-4o-mini", "messages": []}));
    let request = request.bearer(key.expose());
    patiently("the new key", async {
        while client::call(rig.addr(), &request).await.status == 401 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let asked: Vec<_> =
        rig.upstream.requests().iter().map(|request| request.json()["model"].clone()).collect();
    assert!(!asked.is_empty() && asked.iter().all(|model| model == "gpt-4o-mini"), "{asked:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_credential_that_is_set_aside_serves_its_target_and_nothing_else() {
    let rig = Rig::with(|setup| {
        let aside = Target { credentials: vec!["batch".to_owned()], ..Target::new("openai", Some("gpt-4o")) };
        setup.config.models = vec![to("nightly", vec![aside])];
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let desk = rig.desk().await;
    desk.add_credential(tollgate_server::manage::NewCredential {
        provider: "openai".to_owned(),
        user: None,
        label: "batch".to_owned(),
        weight: 1000,
        secret: tollgate_core::secret::Secret::new("set-aside".to_owned()),
        limits: tollgate_core::limits::RateLimits::default(),
        place: None,
    })
    .await
    .unwrap();
    desk.close().await;
    patiently("the new credential", async {
        while chat(&rig, "nightly").await.status == 503 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(seen(&rig).await.0, "set-aside");
    for _ in 0..3 {
        assert_eq!(chat(&rig, "nightly").await.status, 200);
        assert_eq!(seen(&rig).await.0, "set-aside");
        assert_eq!(chat(&rig, "gpt-4o").await.status, 200);
        assert_eq!(seen(&rig).await.0, "platform-openai");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_target_may_be_elsewhere() {
    let elsewhere = Upstream::start().await;
    elsewhere.respond(|_| Script::json(200, ANSWER));
    let url = format!("{}/eu", elsewhere.base_url());
    let rig = Rig::with(|setup| {
        let away = Target { base_url: Some(url.try_into().unwrap()), ..Target::new("openai", None) };
        setup.config.models = vec![to("gpt-4o", vec![away])];
    })
    .await;
    assert_eq!(chat(&rig, "gpt-4o").await.status, 200);
    assert_eq!(elsewhere.next().await.target, "/eu/v1/chat/completions");
    assert!(rig.upstream.requests().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_name_may_begin_with_its_provider_and_a_pattern_may_rename() {
    let rig = Rig::with(|setup| {
        with_relay(setup);
        setup.config.models = vec![entry("cheap/*", "relay", Some("*-mini"))];
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    for (model, credential, upstream) in [
        ("openai/gpt-4o", "platform-openai", "gpt-4o"),
        ("relay/gpt-4o", "platform-relay", "gpt-4o"),
        ("cheap/gpt-4o", "platform-relay", "gpt-4o-mini"),
    ] {
        assert_eq!(chat(&rig, model).await.status, 200, "{model}");
        assert_eq!(seen(&rig).await, (credential.to_owned(), upstream.to_owned()));
    }
    assert_eq!(chat(&rig, "nobody/gpt-4o").await.status, 404);
    rig.stop().await;
}

#[tokio::test]
async fn a_route_of_the_database_is_taken_up_and_given_up_while_traffic_flows() {
    let rig = Rig::with(with_relay).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    assert_eq!(chat(&rig, "house").await.status, 404);
    let desk = rig.desk().await;
    let mut model = entry("house", "relay", Some("gpt-4o"));
    model.aliases = vec!["maison".to_owned()];
    let id = desk.add_route(&model).await.unwrap();
    desk.add_route(&entry("maison", "openai", None)).await.unwrap_err();
    let until = async |status: u16| {
        patiently("the change", async {
            while chat(&rig, "maison").await.status != status {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    until(200).await;
    assert_eq!(seen(&rig).await, ("platform-relay".to_owned(), "gpt-4o".to_owned()));
    let list = rig.call(Request::new("GET", "/v1/models")).await.json();
    let names: Vec<_> =
        list["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str()).collect();
    assert!(names.contains(&"house") && names.contains(&"maison") && names.contains(&"gpt-4o"), "{names:?}");
    let one = rig.call(Request::new("GET", "/v1/models/house")).await.json();
    assert_eq!(one["owned_by"], "relay");
    desk.remove_route(id).await.unwrap();
    desk.close().await;
    until(404).await;
    rig.stop().await;
}

#[tokio::test]
async fn the_management_api_adds_changes_and_removes_routes_and_leaves_the_files_alone() {
    let rig = Rig::with(|setup| {
        with_relay(setup);
        setup.config.models = vec![entry("gpt-*", "openai", None)];
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let routes = "/management/v1/models/routes";
    let send = async |method: &str, path: &str, body: serde_json::Value| {
        let request = Request::new(method, path).body(body.to_string()).bearer(rig.admin_secret());
        client::call(rig.admin_addr(), &request).await
    };
    let target = json!([{"provider": "relay", "model": "gpt-4o"}]);
    let made = send("POST", routes, json!({"name": "house", "targets": target})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let path = format!("{routes}/{}", made.json()["id"].as_str().unwrap());
    let served = async |model: &str, status: u16| {
        patiently("the change", async {
            while chat(&rig, model).await.status != status {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    served("house", 200).await;
    assert_eq!(seen(&rig).await, ("platform-relay".to_owned(), "gpt-4o".to_owned()));
    assert_eq!(
        send("PATCH", &path, json!({"name": "maison"})).await.json()["targets"][0]["provider"],
        "relay"
    );
    served("maison", 200).await;
    served("house", 404).await;

    let list = rig.admin("GET", routes).await.json();
    let shown: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|route| (&route["name"], &route["source"])).collect();
    assert_eq!(json!(shown), json!([["gpt-*", "file"], ["maison", "database"]]));
    let first = rig.admin("GET", &format!("{routes}?limit=1")).await.json();
    let next = rig.admin("GET", &format!("{routes}?cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!(next.json()["data"][0]["name"], "maison");

    let refused = |name: &str, provider: &str| json!({"name": name, "targets": [{"provider": provider}]});
    for (method, path, body, status) in [
        ("POST", routes, refused("maison", "openai"), 409),
        ("POST", routes, refused("other", "nobody"), 400),
        ("POST", routes, refused("a b", "openai"), 400),
        ("POST", routes, refused("gpt-4*", "openai"), 422),
        ("PATCH", &format!("{routes}/file-1"), json!({"name": "x"}), 422),
        ("PATCH", &path, json!({"targets": []}), 400),
        ("DELETE", &format!("{routes}/file-1"), json!({}), 422),
        ("DELETE", &format!("{routes}/file-2"), json!({}), 422),
        ("DELETE", &path, json!({}), 204),
        ("DELETE", &path, json!({}), 404),
    ] {
        let reply = send(method, path, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
    }
    served("maison", 404).await;
    assert_eq!(client::call(rig.admin_addr(), &Request::new("GET", routes)).await.status, 401);
    rig.stop().await;
}
