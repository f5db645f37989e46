//! What the management API says of the gateway itself, so that a page need not know it: where keys are kept, where
//! clients call, and what a provider key of each place consists of.

use serde_json::{Map, Value, json};
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;

const PASSWORD: &str = "correct horse battery";

async fn ask(rig: &Rig, method: &str, path: &str, token: &str, body: &Value) -> Reply {
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

#[tokio::test]
async fn anyone_is_told_what_this_gateway_is_and_where_clients_call() {
    let rig = Rig::with(|setup| {
        setup.config.lending.enabled = true;
        setup.config.limits.api_keys_per_user = 7;
        setup.config.server.point_name = "credits".to_owned();
    })
    .await;
    let about = client::call(rig.admin_addr(), &Request::get("/management/v1/about")).await;
    assert_eq!(about.status, 200);
    let about = about.json();
    assert_eq!((&about["storage"], &about["point_name"]), (&json!("database"), &json!("credits")));
    assert_eq!(about["version"], json!(env!("CARGO_PKG_VERSION")));
    assert_eq!(
        about["clients"],
        json!({"url": format!("http://{}", rig.addr()), "port": rig.addr().port(), "tls": false})
    );
    assert_eq!((&about["features"]["lending"], &about["features"]["demo"]), (&json!(true), &json!(false)));
    assert_eq!(about["keys_per_user_max"], json!(7));
    rig.stop().await;
    let named = Rig::with(|setup| {
        let url = "https://llm.example.com/gate/".to_owned();
        setup.config.server.public_url = Some(url.try_into().expect("an address"));
    })
    .await;
    let about = client::call(named.admin_addr(), &Request::get("/management/v1/about")).await.json();
    assert_eq!(about["clients"]["url"], json!("https://llm.example.com/gate"));
    named.stop().await;
}

/// A key for a place, made of nothing but what the place says of itself.
fn filled(place: &Value) -> Value {
    let mut settings = Map::new();
    for setting in place["settings"].as_array().expect("settings") {
        if setting["required"] == json!(true) {
            let value =
                if setting["kind"] == json!("address") { "https://relay.example.com" } else { "eu-1" };
            settings.insert(setting["name"].as_str().expect("a name").to_owned(), json!(value));
        }
    }
    let parts = place["secret"]["parts"].as_array().expect("parts").iter();
    let parts = parts.filter(|part| part["required"] == json!(true));
    let parts: Map<String, Value> = parts
        .map(|part| (part["name"].as_str().expect("a name").to_owned(), json!("part-of-a-secret")))
        .collect();
    let secret = match place["secret"]["form"].as_str() {
        Some("text") => "sk-0123456789abcdef".to_owned(),
        _ => Value::Object(parts).to_string(),
    };
    let mut body = json!({"provider": place["provider"], "secret": secret, "check": "deferred"});
    if place["platform"].is_string() {
        body["platform"] = place["platform"].clone();
        body["settings"] = Value::Object(settings);
    }
    body
}

#[tokio::test]
async fn a_key_for_every_platform_can_be_made_of_what_the_list_says_of_it() {
    let rig = Rig::start().await;
    let alice = log_in(&rig, "alice").await;
    let everyones = ask(&rig, "GET", "/platforms", rig.admin_secret(), &Value::Null).await.json();
    let places = everyones["data"].as_array().expect("a list");
    let named =
        |name: &str| places.iter().find(|place| place["platform"] == json!(name)).expect("a platform");
    assert_eq!(named("bedrock")["scheme"], json!("sigv4"));
    assert_eq!(named("vertex")["secret"]["form"], json!("file"));
    assert_eq!(places.iter().filter(|place| place["platform"].is_null()).count(), 3, "{places:?}");
    for place in places {
        let made = ask(&rig, "POST", "/credentials", rig.admin_secret(), &filled(place)).await;
        assert_eq!(made.status, 201, "{place}: {}", made.text());
    }
    let own = ask(&rig, "GET", "/platforms", &alice, &Value::Null).await.json();
    for place in own["data"].as_array().expect("a list") {
        assert!(place["base_url"].is_null(), "addresses are for operators: {place}");
        let made = ask(&rig, "POST", "/credentials", &alice, &filled(place)).await;
        if place["allowed"] == json!(true) {
            assert_eq!(made.status, 201, "{place}: {}", made.text());
        }
    }
    let relay = |list: &Value| {
        let mut places = list["data"].as_array().expect("a list").iter();
        places.find(|place| place["platform"] == json!("relay")).expect("a relay").clone()
    };
    assert_eq!((&relay(&own)["allowed"], &relay(&everyones)["allowed"]), (&json!(false), &json!(true)));
    let refused = ask(&rig, "POST", "/credentials", &alice, &filled(&relay(&everyones))).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    rig.stop().await;
}
