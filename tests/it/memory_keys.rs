//! Provider keys that come from the environment and live in memory: they serve, can be changed, say that they are
//! temporary, and are in no file.

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_server::manage::Management;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway;
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
const CREDENTIALS: &str = "/management/v1/credentials";
const PASSWORD: &str = "correct horse battery";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

/// A data directory with alice, root, and these credentials in its database.
struct Place {
    dir: tempfile::TempDir,
    upstream: Upstream,
    key: String,
}

impl Place {
    async fn new(stored: Vec<(&'static str, Option<&'static str>, &'static str, u32)>) -> Self {
        let (dir, upstream) = (tempfile::tempdir().expect("a directory"), Upstream::start().await);
        upstream.respond(|_| Script::json(200, ANSWER));
        let config = gateway::config(&upstream, dir.path().join("data"));
        let users = vec![("alice", Micropoints::from_points(1000))];
        let keys = gateway::provision(&config, users, stored).await.expect("an empty database");
        let desk = Management::open(&config).await.expect("the books");
        let password = Some(Secret::new(PASSWORD.to_owned()));
        managed::add_account(&desk, "root", Role::Admin, password, Micropoints::ZERO)
            .await
            .expect("an admin");
        desk.close().await;
        Self { dir, upstream, key: keys["alice"].clone() }
    }

    async fn start(&self, variables: &[(&str, &str)]) -> Process {
        let config = config_file(self.dir.path(), &self.upstream, "");
        Process::start_with(BINARY, &config, variables).await
    }

    async fn chat(&self, gateway: &Process) -> u16 {
        let body = json!({"model": "gpt-4o", "messages": []});
        let request = Request::post("/v1/chat/completions", &body).bearer(&self.key);
        client::call(gateway.addr, &request).await.status
    }

    /// The key that went up last.
    fn last(&self) -> String {
        let requests = self.upstream.requests();
        let last = requests.iter().rev().find(|request| request.method == "POST").expect("a call");
        last.header("authorization").expect("a key").replace("Bearer ", "")
    }
}

async fn token(gateway: &Process) -> String {
    let body = json!({"name": "root", "password": PASSWORD});
    let reply = client::call(gateway.admin_addr, &Request::post("/management/v1/login", &body)).await;
    reply.json()["access_token"].as_str().expect("a token").to_owned()
}

async fn ask(gateway: &Process, token: &str, method: &str, target: &str, body: &Value) -> Reply {
    let request = Request::new(method, target).header("content-type", "application/json");
    let request = if body.is_null() { request } else { request.body(body.to_string()) };
    client::call(gateway.admin_addr, &request.bearer(token)).await
}

#[tokio::test]
async fn keys_of_the_environment_serve_and_every_edit_says_that_it_is_temporary() {
    let place = Place::new(Vec::new()).await;
    let variables = [("OPENAI_API_KEYS", "sk-environment-one"), ("GEMINI_API_KEYS", "g-environment")];
    let gateway = place.start(&variables).await;
    assert_eq!(place.chat(&gateway).await, 200);
    assert_eq!(place.last(), "sk-environment-one");
    let about = client::call(gateway.admin_addr, &Request::get("/management/v1/about")).await.json();
    assert_eq!(about["storage"], json!("memory"), "known before anyone logs in, and without a key");
    let token = token(&gateway).await;
    let list = ask(&gateway, &token, "GET", CREDENTIALS, &Value::Null).await;
    assert!(!list.text().contains("sk-environment-one"), "{}", list.text());
    let list = list.json();
    let list = list["data"].as_array().expect("a list");
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|row| row["temporary"] == true && row["owner"] == "platform"), "{list:?}");
    let id = |row: &Value| format!("{CREDENTIALS}/{}", row["id"].as_str().expect("an id"));
    let openai = list.iter().find(|row| row["provider"] == "openai").expect("OpenAI's");
    let off = ask(&gateway, &token, "PATCH", &id(openai), &json!({"enabled": false})).await.json();
    assert_eq!((&off["temporary"], &off["state"]), (&json!(true), &json!("off")));
    patiently("it to serve no more", async { while place.chat(&gateway).await != 503 {} }).await;
    let body = json!({"provider": "openai", "secret": "sk-added-later", "owner": "platform"});
    let added = ask(&gateway, &token, "POST", CREDENTIALS, &body).await;
    assert_eq!((added.status, &added.json()["temporary"]), (201, &json!(true)), "{}", added.text());
    assert_eq!(added.json()["check"]["result"], "good");
    patiently("the added one to serve", async { while place.chat(&gateway).await != 200 {} }).await;
    assert_eq!(place.last(), "sk-added-later");
    let removed = ask(&gateway, &token, "DELETE", &id(openai), &Value::Null).await.status;
    assert_eq!(removed, 204);
    gateway.kill().await;
    // Added keys are gone, those of the environment are back, and neither is in a file.
    let gateway = place.start(&variables).await;
    assert_eq!(place.chat(&gateway).await, 200);
    assert_eq!(place.last(), "sk-environment-one");
    gateway.kill().await;
    for file in std::fs::read_dir(place.dir.path().join("data")).expect("a directory") {
        let path = file.expect("an entry").path();
        let bytes = if path.is_file() { std::fs::read(&path).expect("a file") } else { Vec::new() };
        for secret in ["sk-environment-one", "sk-added-later", "g-environment"] {
            assert!(memchr::memmem::find(&bytes, secret.as_bytes()).is_none(), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn the_mode_is_as_the_environment_says_and_a_wrong_word_means_the_default() {
    let place = Place::new(vec![("openai", None, "sk-database", 100)]).await;
    let given = ("OPENAI_API_KEYS", "sk-environment");
    let mode = |mode| [given, ("KEY_STORAGE_MODE", mode)];
    for (variables, key) in [
        (&mode("database")[..], "sk-database"),
        (&mode("memory"), "sk-environment"),
        (&mode("disk"), "sk-database"),
        (&[given], "sk-database"),
    ] {
        let gateway = place.start(variables).await;
        assert_eq!(place.chat(&gateway).await, 200);
        assert_eq!(place.last(), key, "{variables:?}");
        gateway.kill().await;
    }
}
