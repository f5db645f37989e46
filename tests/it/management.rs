//! The management API: each sees and changes what is his, an admin everything, and what is somebody else's is not there.

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::patiently;

const KEYS: &str = "/management/v1/keys";
const PASSWORD: &str = "correct horse battery";

/// A gateway at which an admin and two users have logged in.
struct Office {
    rig: Rig,
    root: String,
    carol: String,
    dave: String,
}

impl Office {
    async fn open() -> Self {
        let rig = Rig::start().await;
        let desk = rig.desk().await;
        for (name, role) in [("root", Role::Admin), ("carol", Role::User), ("dave", Role::User)] {
            let password = Some(Secret::new(PASSWORD.to_owned()));
            desk.add_account(name, role, password, Micropoints::from_points(1)).await.expect("a user");
        }
        desk.close().await;
        let log_in = async |name: &str| {
            let body = json!({"name": name, "password": PASSWORD});
            let reply = client::call(rig.admin_addr(), &Request::post("/management/v1/login", &body)).await;
            reply.json()["access_token"].as_str().expect("a token").to_owned()
        };
        let (root, carol, dave) = (log_in("root").await, log_in("carol").await, log_in("dave").await);
        Self { rig, root, carol, dave }
    }

    async fn ask(&self, method: &str, target: &str, token: &str, body: &Value) -> Reply {
        let request = if body.is_null() {
            Request::new(method, target)
        } else {
            Request::new(method, target).header("content-type", "application/json").body(body.to_string())
        };
        client::call(self.rig.admin_addr(), &request.bearer(token)).await
    }

    async fn create(&self, token: &str, body: Value) -> Value {
        let reply = self.ask("POST", KEYS, token, &body).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()
    }

    async fn names(&self, token: &str, query: &str) -> (Vec<Value>, Value) {
        let page = self.ask("GET", &format!("{KEYS}{query}"), token, &Value::Null).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        let data = page["data"].as_array().expect("a list");
        (data.iter().map(|key| key["name"].clone()).collect(), page["next_cursor"].clone())
    }
}

#[tokio::test]
async fn a_key_that_a_user_makes_calls_within_its_limits_until_it_is_revoked() {
    let office = Office::open().await;
    let limits = json!({"protocols": ["openai-chat"], "models": ["gpt-4o*"], "requests_per_minute": 60});
    let made = office.create(&office.carol, json!({"name": "laptop", "limits": limits})).await;
    let key = made["key"].as_str().expect("the key, this once").to_owned();
    let target = format!("{KEYS}/{}", made["id"].as_str().expect("an id"));
    let shown = office.ask("GET", &target, &office.carol, &Value::Null).await.json();
    assert_eq!(
        (&shown["key"], &shown["user"], &shown["enabled"]),
        (&Value::Null, &json!("carol"), &json!(true))
    );
    assert_eq!(shown["limits"]["models"], json!(["gpt-4o*"]));
    let status = async || {
        let list = Request::get("/v1/models").bearer(&key);
        client::call(office.rig.addr(), &list).await.status
    };
    patiently("the key to be taken", async { while status().await != 200 {} }).await;
    let changed =
        json!({"limits": {"concurrency": 2}, "name": "desk", "expires_at_ms": 4_000_000_000_000_u64});
    let changed = office.ask("PATCH", &target, &office.carol, &changed).await.json();
    assert_eq!((&changed["name"], &changed["limits"]["concurrency"]), (&json!("desk"), &json!(2)));
    assert_eq!(changed["limits"]["models"], json!([]), "limits change as a whole");
    let kept = office.ask("PATCH", &target, &office.carol, &json!({"enabled": true})).await.json();
    assert_eq!(kept["expires_at_ms"], json!(4_000_000_000_000_u64), "what is left out stays");
    let lifted = office.ask("PATCH", &target, &office.carol, &json!({"expires_at_ms": null})).await.json();
    assert_eq!((&lifted["expires_at_ms"], &lifted["limits"]["concurrency"]), (&Value::Null, &json!(2)));
    assert_eq!(office.ask("DELETE", &target, &office.carol, &Value::Null).await.status, 204);
    patiently("the key to be refused", async { while status().await != 401 {} }).await;
    office.rig.stop().await;
}

#[tokio::test]
async fn every_route_of_keys_asks_who_one_is_and_whose_the_key_is() {
    let office = Office::open().await;
    let made = office.create(&office.carol, json!({"name": "laptop"})).await;
    let one = format!("{KEYS}/{}", made["id"].as_str().expect("an id"));
    let nobodys = format!("{KEYS}/00000000-0000-7000-8000-000000000000");
    let routes = [("GET", Value::Null), ("PATCH", json!({"name": "x"})), ("DELETE", Value::Null)];
    for (method, body) in &routes {
        let status = async |target: &str, token: &str| office.ask(method, target, token, body).await.status;
        for stranger in ["", "x", office.rig.key("alice")] {
            assert_eq!(status(&one, stranger).await, 401, "{method} {stranger}");
        }
        assert_eq!(status(&one, &office.dave).await, 404, "{method} by another user");
        for missing in [nobodys.as_str(), "/management/v1/keys/x", "/management/v1/keys/"] {
            assert_eq!(status(missing, &office.root).await, 404, "{method} {missing}");
        }
    }
    assert_eq!(office.ask("GET", KEYS, "", &Value::Null).await.status, 401);
    assert_eq!(office.ask("POST", KEYS, "", &json!({"name": "x"})).await.status, 401);
    // Nothing of all that has changed anything.
    assert_eq!(office.names(&office.carol, "").await.0, [json!("laptop")]);
    assert!(office.names(&office.dave, "").await.0.is_empty());
    for (method, body) in &routes {
        let done = office.ask(method, &one, &office.root, body).await.status;
        assert!(matches!(done, 200 | 204), "{method} by an admin: {done}");
    }
    let wrong = office.ask("PUT", KEYS, &office.root, &json!({})).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, POST")));
    office.rig.stop().await;
}

#[tokio::test]
async fn only_an_admin_makes_a_key_for_another_and_the_admin_secret_is_one() {
    let office = Office::open().await;
    let body = |user: &str| json!({"name": "gift", "user": user});
    assert_eq!(office.ask("POST", KEYS, &office.dave, &body("carol")).await.status, 403);
    assert_eq!(office.create(&office.dave, body("dave")).await["user"], "dave");
    assert_eq!(office.create(&office.root, body("carol")).await["user"], "carol");
    assert_eq!(office.ask("POST", KEYS, &office.root, &body("nobody")).await.status, 404);
    let secret = office.rig.admin_secret();
    assert_eq!(office.create(secret, body("carol")).await["user"], "carol");
    assert_eq!(office.names(secret, "").await.0.len(), office.names(&office.root, "").await.0.len());
    // It is nobody's, so it has to say whose the key shall be.
    assert_eq!(office.ask("POST", KEYS, secret, &json!({"name": "x"})).await.status, 400);
    for wrong in [
        json!({}),
        json!({"name": 7}),
        json!({"name": "x", "nonsense": 1}),
        json!({"name": "x", "limits": {"concurrency": 0}}),
        json!({"name": "x", "limits": {"protocols": ["soap"]}}),
    ] {
        let refused = office.ask("POST", KEYS, &office.carol, &wrong).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]["code"]),
            (400, &json!("bad_request")),
            "{wrong}"
        );
    }
    office.rig.stop().await;
}

#[tokio::test]
async fn keys_come_in_pages_and_stop_at_ten() {
    let office = Office::open().await;
    for n in 0..10 {
        office.create(&office.carol, json!({"name": n.to_string()})).await;
    }
    let refused = office.ask("POST", KEYS, &office.carol, &json!({"name": "more"})).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (409, &json!("too_many")));
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let (names, next) = office.names(&office.carol, &format!("?limit=4{cursor}")).await;
        assert!(names.len() <= 4);
        all.extend(names);
        let Some(next) = next.as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    all.sort_by_key(|name| name.as_str().map(str::to_owned));
    assert_eq!(all, (0..10).map(|n| json!(n.to_string())).collect::<Vec<_>>());
    for wrong in ["?limit=0", "?limit=x", "?limit=101", "?cursor=x"] {
        assert_eq!(
            office.ask("GET", &format!("{KEYS}{wrong}"), &office.carol, &Value::Null).await.status,
            400
        );
    }
    office.rig.stop().await;
}
