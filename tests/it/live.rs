//! What the management API tells as it happens: calls as they end, to those who may see them, and no longer than they
//! may.

use serde_json::{Value, json};
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
use tollgate_tests::upstream::Script;

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const PASSWORD: &str = "correct horse battery";

async fn rig() -> Rig {
    let rig = Rig::with(|setup| {
        setup.users.push(("bob", tollgate_core::points::Micropoints::from_points(1000)));
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    rig
}

async fn chat(rig: &Rig, user: &str, model: &str) -> u16 {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi."}]});
    let request = Request::post("/v1/chat/completions", &body).bearer(rig.key(user));
    client::call(rig.addr(), &request).await.status
}

async fn log_in(rig: &Rig, name: &str) -> String {
    let desk = rig.desk().await;
    managed::set_password(&desk, name, Secret::new(PASSWORD.to_owned())).await.expect("a password");
    desk.close().await;
    let body = json!({"name": name, "password": PASSWORD});
    let reply = client::call(rig.admin_addr(), &Request::post("/management/v1/login", &body)).await;
    reply.json()["access_token"].as_str().expect("a token").to_owned()
}

/// Someone who looks on.
struct Viewer(Connection);

impl Viewer {
    async fn open(rig: &Rig, path: &str, token: &str) -> Self {
        let mut connection = Connection::open(rig.admin_addr()).await;
        connection.send(&Request::get(&format!("/management/v1{path}")).bearer(token)).await;
        let head = connection.head().await;
        assert_eq!((head.word(1), head.header("content-type")), ("200", Some("text/event-stream")));
        connection.read_until("retry: ").await;
        Self(connection)
    }

    /// What is told until this many calls have come.
    async fn calls(&mut self, count: usize) -> Vec<Value> {
        self.until("call", |calls| calls.len() >= count).await
    }

    /// The events of a name, until enough have come.
    async fn until(&mut self, name: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let (mut seen, begins) = (String::new(), format!("event: {name}\ndata: "));
        loop {
            let events: Vec<Value> = seen
                .split("\n\n")
                .filter_map(|event| event.trim_start().strip_prefix(&begins))
                .filter_map(|data| serde_json::from_str(data).ok())
                .collect();
            if enough(&events) {
                return events;
            }
            let chunk = self.0.chunk().await.expect("a stream").expect("a stream that goes on");
            seen.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
}

#[tokio::test]
async fn a_tail_tells_the_rows_of_the_list_by_its_filter_to_whom_they_belong() {
    let rig = rig().await;
    let alice = log_in(&rig, "alice").await;
    let mut everyones = Viewer::open(&rig, "/requests/tail", rig.admin_secret()).await;
    let mut minis = Viewer::open(&rig, "/requests/tail?model_part=MINI&status=200", rig.admin_secret()).await;
    let mut own = Viewer::open(&rig, "/requests/tail", &alice).await;
    for (user, model) in [("bob", "gpt-4o"), ("alice", "gpt-4o"), ("bob", "gpt-4o-mini"), ("alice", "none")] {
        chat(&rig, user, model).await;
    }
    let told = everyones.calls(4).await;
    let listed = rig.admin("GET", "/management/v1/requests").await.json();
    let mut listed: Vec<Value> = listed["data"].as_array().expect("rows").clone();
    listed.reverse();
    assert_eq!(told, listed, "the rows of the list, names and all");
    assert_eq!(told[0]["user"], json!("bob"));
    let minis = minis.calls(1).await;
    assert_eq!((minis.len(), &minis[0]["model"]), (1, &json!("gpt-4o-mini")));
    let own = own.calls(2).await;
    assert!(own.len() == 2 && own.iter().all(|call| call["user"] == json!("alice")), "{own:?}");
    assert!(own.iter().all(|call| call["error"].is_null() && call["credential_name"].is_null()), "{own:?}");
    for wrong in ["/requests/tail?status=x", "/requests/tail?user=nobody"] {
        let status = rig.admin("GET", &format!("/management/v1{wrong}")).await.status;
        assert!(matches!(status, 400 | 404), "{wrong}: {status}");
    }
    let others = Request::get("/management/v1/requests/tail?user=bob").bearer(&alice);
    assert_eq!(client::call(rig.admin_addr(), &others).await.status, 404);
    rig.stop().await;
}

#[tokio::test]
async fn a_tail_ends_with_the_login_that_asked_for_it_and_with_the_gateway() {
    let rig = rig().await;
    let alice = log_in(&rig, "alice").await;
    let mut own = Viewer::open(&rig, "/requests/tail", &alice).await;
    let mut operators = Viewer::open(&rig, "/requests/tail", rig.admin_secret()).await;
    let out = Request::new("POST", "/management/v1/logout").bearer(&alice);
    assert_eq!(client::call(rig.admin_addr(), &out).await.status, 204);
    let rest = own.0.body().await.expect("an orderly end");
    assert!(!String::from_utf8_lossy(&rest).contains("event: call"));
    chat(&rig, "bob", "gpt-4o").await;
    operators.calls(1).await;
    let (ended, ()) = tokio::join!(operators.0.body(), rig.stop());
    assert!(ended.is_ok(), "the stop does not wait for those who look on, nor cut them off: {ended:?}");
}

#[tokio::test]
async fn so_many_look_on_at_one_time_and_no_more() {
    let rig = rig().await;
    let alice = log_in(&rig, "alice").await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(Viewer::open(&rig, "/requests/tail", &alice).await);
    }
    let fifth = Request::get("/management/v1/requests/tail").bearer(&alice);
    let refused = client::call(rig.admin_addr(), &fifth).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("too_many_streams")));
    open.push(Viewer::open(&rig, "/requests/tail", rig.admin_secret()).await);
    chat(&rig, "alice", "gpt-4o").await;
    for viewer in &mut open {
        assert_eq!(viewer.calls(1).await.len(), 1);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_key_that_rests_is_told_of_and_so_is_its_return() {
    let rig = rig().await;
    let bob = log_in(&rig, "bob").await;
    let new = json!({"provider": "openai", "secret": "sk-0123456789abcdef", "check": "deferred"});
    let own = Request::post("/management/v1/credentials", &new).bearer(&bob);
    let own = client::call(rig.admin_addr(), &own).await.json()["id"].clone();
    let mut admins = Viewer::open(&rig, "/events", rig.admin_secret()).await;
    let mut bobs = Viewer::open(&rig, "/events", &bob).await;
    let is = |id: Value, state: &'static str| {
        move |events: &[Value]| events.iter().any(|it| it["credential"] == id && it["state"] == json!(state))
    };
    let seen = bobs.until("credential", is(own.clone(), "available")).await;
    assert!(seen.iter().all(|it| it["credential"] == own), "his own alone: {seen:?}");
    admins.until("credential", is(own.clone(), "available")).await;
    rig.upstream.enqueue(Script::whole(429, &[("retry-after", "2")], "{}"));
    assert_eq!(chat(&rig, "bob", "gpt-4o").await, 200, "another one serves");
    let told = bobs.until("credential", is(own.clone(), "cooling")).await;
    let cooling = told.iter().find(|it| it["state"] == json!("cooling")).expect("the rest");
    assert_eq!(cooling["reason"], json!("rate-limited"));
    assert!(cooling["until_ms"].is_u64(), "{cooling}");
    admins.until("credential", is(own.clone(), "cooling")).await;
    // It comes back by itself, and is removed.
    bobs.until("credential", |events| {
        events.iter().any(|it| matches!(it["state"].as_str(), Some("half-open" | "available")))
    })
    .await;
    let path = format!("/management/v1/credentials/{}", own.as_str().expect("an id"));
    client::call(rig.admin_addr(), &Request::new("DELETE", &path).bearer(&bob)).await;
    bobs.until("credential_gone", |events| events.iter().any(|it| it["credential"] == own)).await;
    rig.stop().await;
}

#[tokio::test]
async fn what_happens_to_components_and_to_the_file_is_for_admins() {
    let rig = rig().await;
    let bob = log_in(&rig, "bob").await;
    let mut admins = Viewer::open(&rig, "/events", rig.admin_secret()).await;
    let mut bobs = Viewer::open(&rig, "/events", &bob).await;
    let first = admins.until("configuration", |events| !events.is_empty()).await;
    assert_eq!(first[0]["refused"], Value::Null);
    let dir = rig.config.plugins_dir();
    std::fs::write(dir.join("discount-points.wasm"), b"no component").expect("a file");
    let reload = Request::new("POST", "/management/v1/plugins/reload").bearer(rig.admin_secret());
    assert_eq!(client::call(rig.admin_addr(), &reload).await.status, 422);
    admins.until("component", |events| events.iter().any(|event| event["event"] == json!("refused"))).await;
    chat(&rig, "bob", "gpt-4o").await;
    drop(admins);
    let rest = tokio::join!(bobs.0.body(), rig.stop()).0.expect("an orderly end");
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(!rest.contains("event: component") && !rest.contains("event: configuration"), "{rest}");
}
