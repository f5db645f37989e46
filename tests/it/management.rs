//! The management API: users see and change their own things, an admin everything, and things of others do not exist
//! for them.

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
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
    // None of these calls has changed anything.
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
    // An operator is no user, so the call must say whose the key is to be.
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

#[tokio::test]
async fn a_call_that_comes_twice_with_one_key_makes_one_thing_and_gets_one_answer() {
    let mut office = Office::open().await;
    let send = async |office: &Office, token: &str, key: &str, body: Value| {
        let request = Request::post(KEYS, &body).header("idempotency-key", key).bearer(token);
        client::call(office.rig.admin_addr(), &request).await
    };
    let create = async |office: &Office, token: &str, key: &str, name: &str| {
        send(office, token, key, json!({"name": name})).await
    };
    let carol = office.carol.clone();
    let first = create(&office, &carol, "k-1", "laptop").await;
    let second = create(&office, &carol, "k-1", "laptop").await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.json(), second.json(), "the key that was shown once is shown to the same call again");
    assert_eq!(
        (first.header("idempotency-replayed"), second.header("idempotency-replayed")),
        (None, Some("true"))
    );
    let other = create(&office, &carol, "k-1", "phone").await;
    assert_eq!((other.status, &other.json()["error"]["code"]), (422, &json!("idempotency_reused")));
    assert_eq!(create(&office, &office.dave, "k-1", "laptop").await.status, 201, "keys are the caller's own");
    for wrong in ["", &"x".repeat(256)] {
        assert_eq!(create(&office, &carol, wrong, "laptop").await.status, 400, "{wrong}");
    }
    // A refused call has created nothing, so its key may be used again.
    let gift = json!({"name": "gift", "user": "frank"});
    assert_eq!(send(&office, &office.root, "k-2", gift.clone()).await.status, 404);
    office.ask("POST", "/management/v1/users", &office.root, &json!({"name": "frank"})).await;
    assert_eq!(send(&office, &office.root, "k-2", gift).await.status, 201);
    let secret = first.json()["key"].as_str().expect("the key").to_owned();
    office.rig.restart().await;
    assert_eq!(
        create(&office, &carol, "k-1", "laptop").await.json(),
        first.json(),
        "a restart forgets nothing"
    );
    assert_eq!(office.names(&carol, "").await.0.iter().filter(|name| *name == "laptop").count(), 1);
    for file in
        std::fs::read_dir(&office.rig.config.server.data_dir).expect("a directory").filter_map(Result::ok)
    {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        let path = file.path();
        assert!(memchr::memmem::find(&bytes, secret.as_bytes()).is_none(), "{}", path.display());
    }
    office.rig.stop().await;
}

#[tokio::test]
async fn of_calls_with_one_key_that_come_at_one_time_one_is_made() {
    let office = Office::open().await;
    let request = Request::post(KEYS, &json!({"name": "race"})).header("idempotency-key", "k");
    let request = request.bearer(&office.carol);
    let call = || client::call(office.rig.admin_addr(), &request);
    let (a, b, c, d) = tokio::join!(call(), call(), call(), call());
    for reply in [a, b, c, d] {
        let running = reply.status == 409 && reply.json()["error"]["code"] == "idempotency_running";
        assert!(reply.status == 201 || running, "{}", reply.text());
    }
    assert_eq!(office.names(&office.carol, "").await.0, [json!("race")]);
    office.rig.stop().await;
}

#[tokio::test]
async fn every_change_is_in_the_audit_log_with_who_made_it_and_without_secrets() {
    let office = Office::open().await;
    let made = office.create(&office.carol, json!({"name": "laptop"})).await;
    let id = made["id"].as_str().expect("an id");
    office.ask("PATCH", &format!("{KEYS}/{id}"), &office.root, &json!({"name": "desk"})).await;
    office.ask("DELETE", &format!("{KEYS}/{id}"), office.rig.admin_secret(), &Value::Null).await;
    let desk = office.rig.desk().await;
    managed::set_user_enabled(&desk, "dave", false).await.expect("a change");
    desk.close().await;
    office.ask("POST", "/management/v1/plugins/reload", &office.root, &Value::Null).await;
    let audit = async |query: &str| {
        let reply =
            office.ask("GET", &format!("/management/v1/audit{query}"), &office.root, &Value::Null).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let of_key = audit(&format!("?target={id}")).await;
    let rows = of_key["data"].as_array().expect("rows");
    let said: Vec<_> = rows.iter().map(|row| row["action"].as_str().expect("an action")).collect();
    assert_eq!(said, ["key.revoke", "key.change", "key.create"]);
    assert_eq!((&rows[0]["actor"], &rows[0]["address"]), (&json!("operator"), &json!("127.0.0.1")));
    let me = office.ask("GET", "/management/v1/me", &office.carol, &Value::Null).await.json();
    assert_eq!(rows[2]["actor"], me["id"]);
    assert!(rows[2]["request_id"].is_string());
    let by_name = audit("?actor=carol&action=key.create").await;
    assert_eq!(by_name["data"][0], rows[2]);
    let disabled = audit("?actor=cli&action=user.change&limit=1").await;
    assert_eq!(disabled["data"][0]["detail"], json!({"enabled": false}));
    assert_eq!(audit("?action=plugin.reload").await["data"].as_array().map(Vec::len), Some(1));
    let older = audit(&format!("?limit=1&cursor={}", rows[0]["seq"])).await;
    assert_eq!(older["data"][0]["seq"], rows[1]["seq"]);
    let everything = audit("").await.to_string();
    for secret in [PASSWORD, made["key"].as_str().expect("the key"), office.rig.admin_secret()] {
        assert!(!everything.contains(secret));
    }
    office.rig.stop().await;
}

#[tokio::test]
async fn an_admin_makes_finds_and_changes_users_and_the_last_admin_stays() {
    let office = Office::open().await;
    const USERS: &str = "/management/v1/users";
    let root = office.root.as_str();
    let new = json!({"name": "Erin", "password": PASSWORD, "points": "12.5", "floor": "-3"});
    let made = office.ask("POST", USERS, root, &new).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let erin = made.json();
    assert_eq!(
        (&erin["points"], &erin["floor"], &erin["role"]),
        (&json!("12.5"), &json!("-3"), &json!("user"))
    );
    assert_eq!(office.ask("POST", USERS, root, &new).await.status, 409);
    for wrong in [
        json!({"name": "x", "points": "-1"}),
        json!({"name": "x", "floor": "1"}),
        json!({"name": "x", "password": "short"}),
    ] {
        assert_eq!(office.ask("POST", USERS, root, &wrong).await.status, 400, "{wrong}");
    }
    let found = office.ask("GET", &format!("{USERS}?search=eri"), root, &Value::Null).await.json();
    assert_eq!(found["data"], json!([erin]));
    let first = office.ask("GET", &format!("{USERS}?limit=1"), root, &Value::Null).await.json();
    let next = format!("{USERS}?limit=1&cursor={}", first["next_cursor"].as_str().expect("a cursor"));
    assert_ne!(office.ask("GET", &next, root, &Value::Null).await.json()["data"], first["data"]);

    let login = json!({"name": "Erin", "password": PASSWORD});
    let log_in =
        async || client::call(office.rig.admin_addr(), &Request::post("/management/v1/login", &login)).await;
    let token = log_in().await.json()["access_token"].as_str().expect("a token").to_owned();
    let one = format!("{USERS}/{}", erin["id"].as_str().expect("an id"));
    assert_eq!(office.ask("GET", &one, &token, &Value::Null).await.json(), erin, "each sees himself");
    assert_eq!(office.ask("PATCH", &one, &token, &json!({"role": "admin"})).await.status, 403);
    let disabled = office.ask("PATCH", &one, root, &json!({"enabled": false, "floor": "0"})).await.json();
    assert_eq!((&disabled["enabled"], &disabled["floor"]), (&json!(false), &json!("0")));
    assert_eq!(office.ask("GET", &one, &token, &Value::Null).await.status, 401, "at once");
    assert_eq!(log_in().await.status, 401);
    office.ask("PATCH", &one, root, &json!({"enabled": true})).await;
    assert_eq!(
        office.ask("GET", &one, &token, &Value::Null).await.status,
        401,
        "a login that ended stays ended"
    );
    assert_eq!(log_in().await.status, 200);

    let me = office.ask("GET", "/management/v1/me", root, &Value::Null).await.json();
    let myself = format!("{USERS}/{}", me["id"].as_str().expect("an id"));
    for last in [json!({"enabled": false}), json!({"role": "user"})] {
        let refused = office.ask("PATCH", &myself, office.rig.admin_secret(), &last).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (409, &json!("last_admin")));
    }
    office.rig.stop().await;
}

#[tokio::test]
async fn a_user_sets_his_own_password_by_the_one_before_and_keeps_only_this_login() {
    let office = Office::open().await;
    const TARGET: &str = "/management/v1/me/password";
    let log_in = async |password: &str| {
        let body = json!({"name": "carol", "password": password});
        client::call(office.rig.admin_addr(), &Request::post("/management/v1/login", &body)).await
    };
    let elsewhere = log_in(PASSWORD).await.json()["access_token"].as_str().expect("a token").to_owned();
    let change = async |old: &str, new: &str| {
        let body = json!({"old_password": old, "new_password": new});
        office.ask("POST", TARGET, &office.carol, &body).await
    };
    let wrong = change("not the password", "staple horse battery").await;
    assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (403, &json!("wrong_password")));
    assert_eq!(change(PASSWORD, "short").await.status, 400);
    assert_eq!(change(PASSWORD, "staple horse battery").await.status, 204);
    let me = async |token: &str| office.ask("GET", "/management/v1/me", token, &Value::Null).await.status;
    assert_eq!((me(&office.carol).await, me(&elsewhere).await), (200, 401));
    assert_eq!((log_in(PASSWORD).await.status, log_in("staple horse battery").await.status), (401, 200));
    office.rig.stop().await;
}
