//! Provider keys over HTTP: checked before they are added, never shown again, and worth points once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

const CREDENTIALS: &str = "/management/v1/credentials";
const PASSWORD: &str = "correct horse battery";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const INVALID: &str = r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}"#;
const BROKE: &str = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
/// What the first good key of an account is worth here: 25 points.
const REWARD: i64 = 25_000_000;

/// A gateway with an admin, two users who have logged in, and a provider whose answer to a check the test sets.
struct Office {
    rig: Rig,
    root: String,
    carol: String,
    dave: String,
    said: Arc<AtomicU16>,
}

impl Office {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let rig = Rig::with(|setup| {
            setup.credentials.clear();
            setup.config.policies.pricing.config =
                toml::from_str(&format!("first_credential_reward = {REWARD}")).expect("a table");
            change(setup);
        })
        .await;
        let desk = rig.desk().await;
        for (name, role) in [("root", Role::Admin), ("carol", Role::User), ("dave", Role::User)] {
            let password = Some(Secret::new(PASSWORD.to_owned()));
            managed::add_account(&desk, name, role, password, Micropoints::from_points(1))
                .await
                .expect("a user");
        }
        desk.close().await;
        let log_in = async |name: &str| {
            let body = json!({"name": name, "password": PASSWORD});
            let reply = client::call(rig.admin_addr(), &Request::post("/management/v1/login", &body)).await;
            reply.json()["access_token"].as_str().expect("a token").to_owned()
        };
        let (root, carol, dave) = (log_in("root").await, log_in("carol").await, log_in("dave").await);
        let said = Arc::new(AtomicU16::new(200));
        let says = Arc::clone(&said);
        rig.upstream.respond(move |request| match (request.method.as_str(), says.load(Ordering::Relaxed)) {
            ("GET", 200) => account(request.header("authorization").unwrap_or_default()),
            ("GET", 429) => Script::json(429, BROKE),
            ("GET", status) => Script::json(status, INVALID),
            _ => Script::json(200, ANSWER),
        });
        Self { rig, root, carol, dave, said }
    }

    fn says(&self, status: u16) {
        self.said.store(status, Ordering::Relaxed);
    }

    async fn ask(&self, method: &str, target: &str, token: &str, body: &Value) -> Reply {
        let request = if body.is_null() {
            Request::new(method, target)
        } else {
            Request::new(method, target).header("content-type", "application/json").body(body.to_string())
        };
        client::call(self.rig.admin_addr(), &request.bearer(token)).await
    }

    async fn add(&self, token: &str, secret: &str) -> Value {
        let body = json!({"provider": "openai", "secret": secret});
        let reply = self.ask("POST", CREDENTIALS, token, &body).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        assert!(!reply.text().contains(secret), "{}", reply.text());
        reply.json()
    }

    async fn balance(&self, user: &str) -> i64 {
        self.rig.balance(user).await.get()
    }
}

/// A good answer to a check, which names the account that stands before the key's dash.
fn account(bearer: &str) -> Script {
    let key = bearer.trim_start_matches("Bearer ");
    match key.split_once("-of-") {
        Some((_, account)) => Script::whole(200, &[("openai-organization", account)], r#"{"data":[]}"#),
        None => Script::json(200, r#"{"data":[]}"#),
    }
}

fn target(credential: &Value) -> String {
    format!("{CREDENTIALS}/{}", credential["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn a_key_is_checked_before_it_is_added_and_shown_by_its_last_signs_alone() {
    let office = Office::open().await;
    let made = office.add(&office.carol, "sk-carols-own-key").await;
    let shown = ["owner", "user", "hint", "state"].map(|member| made[member].clone());
    assert_eq!(shown, ["user", "carol", "-key", "available"]);
    assert_eq!((&made["check"]["result"], &made["check"]["status"]), (&json!("good"), &json!(200)));
    let seen = office.rig.upstream.requests();
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("GET", "/v1/models"));
    assert_eq!(seen[0].header("authorization"), Some("Bearer sk-carols-own-key"));
    office.says(401);
    let refused = json!({"provider": "openai", "secret": "sk-wrong"});
    let reply = office.ask("POST", CREDENTIALS, &office.carol, &refused).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (422, &json!("refused")));
    assert!(!reply.text().contains("sk-wrong"));
    let deferred = json!({"provider": "openai", "secret": "sk-wrong-later", "check": "deferred"});
    let later = office.ask("POST", CREDENTIALS, &office.carol, &deferred).await.json();
    assert_eq!((&later["check"], &later["reward"]), (&Value::Null, &Value::Null));
    let checked = office.ask("POST", &format!("{}/check", target(&later)), &office.carol, &Value::Null).await;
    assert_eq!(checked.json()["check"]["result"], json!("invalid-credential"), "{}", checked.text());
    let list = office.ask("GET", CREDENTIALS, &office.carol, &Value::Null).await;
    assert_eq!(list.json()["data"].as_array().map(Vec::len), Some(2));
    assert!(!list.text().contains("sk-"), "{}", list.text());
    office.rig.stop().await;
}

#[tokio::test]
async fn each_sees_and_changes_his_own_and_admins_the_platforms_too() {
    let office = Office::open().await;
    let made = office.add(&office.carol, "sk-carols-own-key").await;
    let one = target(&made);
    for (method, path, body) in [
        ("GET", one.clone(), Value::Null),
        ("PATCH", one.clone(), json!({"label": "x"})),
        ("DELETE", one.clone(), Value::Null),
        ("POST", format!("{one}/check"), Value::Null),
    ] {
        assert_eq!(office.ask(method, &path, &office.dave, &body).await.status, 404, "{method} {path}");
        assert_eq!(office.ask(method, &path, "", &body).await.status, 401, "{method} {path}");
    }
    let platform = json!({"provider": "openai", "secret": "sk-platform-key", "owner": "platform"});
    assert_eq!(office.ask("POST", CREDENTIALS, &office.carol, &platform).await.status, 403);
    let platform = office.ask("POST", CREDENTIALS, &office.root, &platform).await.json();
    assert_eq!((&platform["owner"], &platform["user"]), (&json!("platform"), &Value::Null));
    assert_eq!(office.ask("GET", &target(&platform), &office.carol, &Value::Null).await.status, 404);
    let patch = json!({"label": "spare", "weight": 7, "enabled": false, "limits": {"concurrency": 2}});
    let changed = office.ask("PATCH", &one, &office.carol, &patch).await.json();
    assert_eq!(
        (&changed["label"], &changed["weight"], &changed["state"]),
        (&json!("spare"), &json!(7), &json!("off"))
    );
    assert_eq!(changed["limits"]["concurrency"], json!(2));
    for wrong in [json!({"weight": 0}), json!({"label": ""}), json!({"limits": {"concurrency": 0}})] {
        let status = office.ask("PATCH", &one, &office.carol, &wrong).await.status;
        assert!([400, 422].contains(&status), "{wrong} gave {status}");
    }
    for wrong in [
        json!({"provider": "nobody", "secret": "sk-1"}),
        json!({"provider": "openai", "secret": "a b"}),
        json!({"provider": "openai", "secret": ""}),
    ] {
        assert_eq!(office.ask("POST", CREDENTIALS, &office.carol, &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(office.ask("DELETE", &one, &office.carol, &Value::Null).await.status, 204);
    assert_eq!(office.ask("GET", &one, &office.carol, &Value::Null).await.status, 404);
    office.rig.stop().await;
}

#[tokio::test]
async fn the_first_good_key_of_an_account_is_worth_points_once_whoever_brings_it_again() {
    let office = Office::open().await;
    let before = (office.balance("carol").await, office.balance("dave").await);
    let made = office.add(&office.carol, "sk-1-of-acme").await;
    assert_eq!(made["reward"], json!(Micropoints::new(REWARD).to_string()));
    // Removed and added again, renamed, by another user, and another key of the account.
    assert_eq!(office.ask("DELETE", &target(&made), &office.carol, &Value::Null).await.status, 204);
    let again = office.add(&office.carol, "sk-1-of-acme").await;
    assert_eq!(again["reward"], Value::Null);
    let renamed = office.ask("PATCH", &target(&again), &office.carol, &json!({"label": "new"})).await;
    assert_eq!(renamed.status, 200);
    for (user, key) in
        [(&office.dave, "sk-1-of-acme"), (&office.dave, "sk-2-of-acme"), (&office.carol, "sk-2-of-acme")]
    {
        let added = office.add(user, key).await;
        assert_eq!(added["reward"], Value::Null, "{key}");
        let check = office.ask("POST", &format!("{}/check", target(&added)), user, &Value::Null).await.json();
        assert_eq!(check["reward"], Value::Null, "{key}");
    }
    // A platform's key earns nothing, and neither does a bad key.
    let platform = json!({"provider": "openai", "secret": "sk-of-nobody", "owner": "platform"});
    let platform = office.ask("POST", CREDENTIALS, &office.root, &platform).await.json();
    assert_eq!(platform["reward"], Value::Null);
    office.says(429);
    assert_eq!(office.add(&office.dave, "sk-3-of-broke").await["reward"], Value::Null);
    assert_eq!(office.balance("carol").await, before.0 + REWARD);
    assert_eq!(office.balance("dave").await, before.1);
    office.rig.stop().await;
}

#[tokio::test]
async fn thirty_two_at_once_are_rewarded_once() {
    let office = Office::open().await;
    let before = office.balance("carol").await + office.balance("dave").await;
    let body = json!({"provider": "openai", "secret": "sk-7-of-acme"});
    let mut calls = tokio::task::JoinSet::new();
    for turn in 0..32 {
        let token = if turn % 2 == 0 { &office.carol } else { &office.dave };
        let (address, request) = (office.rig.admin_addr(), Request::post(CREDENTIALS, &body).bearer(token));
        calls.spawn(async move { client::call(address, &request).await });
    }
    let replies = calls.join_all().await;
    assert!(replies.iter().all(|reply| reply.status == 201));
    let rewarded = replies.iter().filter(|reply| !reply.json()["reward"].is_null()).count();
    assert_eq!(rewarded, 1);
    assert_eq!(office.balance("carol").await + office.balance("dave").await, before + REWARD);
    office.rig.stop().await;
}

#[tokio::test]
async fn a_restart_does_not_make_a_key_new_and_its_points_can_be_spent_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let office = Office::with(|setup| setup.config.server.data_dir.clone_from(&data)).await;
    office.add(&office.carol, "sk-1-of-acme").await;
    let config = office.rig.config.clone();
    office.rig.stop().await;
    let desk = tollgate_server::manage::Management::open(&config).await.expect("the books");
    let users = managed::users(&desk).await.expect("users");
    let carol = users.iter().find(|user| user.name == "carol").expect("carol");
    assert_eq!(carol.balance.get(), Micropoints::from_points(1).get() + REWARD);
    desk.close().await;
    let gateway = tokio::task::spawn_blocking(move || {
        let options = tollgate_server::app::Options { config, ..Default::default() };
        tollgate_server::app::Gateway::start(options)
    });
    let gateway = gateway.await.expect("no panic").expect("a start");
    let body = json!({"name": "carol", "password": PASSWORD});
    let login = client::call(gateway.admin_address, &Request::post("/management/v1/login", &body)).await;
    let token = login.json()["access_token"].as_str().expect("a token").to_owned();
    let body = json!({"provider": "openai", "secret": "sk-1-of-acme"});
    let added = client::call(gateway.admin_address, &Request::post(CREDENTIALS, &body).bearer(&token)).await;
    // The provider of the first run ended with it: the key is added nevertheless, unchecked.
    assert_eq!((added.status, &added.json()["reward"]), (201, &Value::Null), "{}", added.text());
    tokio::task::spawn_blocking(move || gateway.stop()).await.expect("no panic").expect("a stop");
}

#[tokio::test]
async fn a_key_that_a_check_finds_good_again_serves_at_once() {
    let office = Office::open().await;
    let platform = json!({"provider": "openai", "secret": "sk-platform-key", "owner": "platform"});
    let platform = office.ask("POST", CREDENTIALS, &office.root, &platform).await.json();
    let chat = async || {
        let body = json!({"model": "gpt-4o", "messages": []});
        let request = Request::post("/v1/chat/completions", &body).bearer(office.rig.key("alice"));
        client::call(office.rig.addr(), &request).await.status
    };
    patiently("the key to serve", async { while chat().await != 200 {} }).await;
    // The call is refused, and so is the check that it gives cause for.
    office.rig.upstream.enqueue(Script::json(401, INVALID));
    office.rig.upstream.enqueue(Script::json(401, INVALID));
    assert_ne!(chat().await, 200);
    patiently("the check", async {
        let state = async || office.ask("GET", &target(&platform), &office.root, &Value::Null).await.json();
        while state().await["reason"] != json!("invalid-key") {}
    })
    .await;
    assert_eq!(chat().await, 503, "all that there is was refused");
    let shown = office.ask("GET", &target(&platform), &office.root, &Value::Null).await.json();
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("disabled"), &json!("invalid-key")));
    let metrics = client::call(office.rig.admin_addr(), &Request::get("/metrics")).await.text();
    let line = r#"tollgate_credentials{provider="openai",owner="platform",state="disabled"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    let checked =
        office.ask("POST", &format!("{}/check", target(&platform)), &office.root, &Value::Null).await;
    assert_eq!(checked.json()["state"], json!("available"), "{}", checked.text());
    assert_eq!(chat().await, 200);
    office.rig.stop().await;
}
