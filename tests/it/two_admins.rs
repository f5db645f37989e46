//! Two admins who edit the same thing: the second is told, and nothing of the first one's is overwritten.

use serde_json::{Value, json};
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

async fn ask(rig: &Rig, method: &str, path: &str, tag: Option<&str>, body: &Value) -> Reply {
    let request = Request::new(method, &format!("/management/v1{path}")).bearer(rig.admin_secret());
    let request = if body.is_null() { request } else { request.body(body.to_string()) };
    let request = if let Some(tag) = tag { request.header("if-match", tag) } else { request };
    client::call(rig.admin_addr(), &request).await
}

fn tag(reply: &Reply) -> String {
    reply.header("etag").expect("a version").to_owned()
}

/// Everything with a `PATCH`: its path, and two changes of it.
async fn things(rig: &Rig) -> Vec<(String, Value, Value)> {
    let made = async |path: &str, body: Value| {
        let reply = ask(rig, "POST", path, None, &body).await;
        assert_eq!(reply.status, 201, "{path}: {}", reply.text());
        let body = reply.json();
        body["id"].as_str().or_else(|| body["batch"].as_str()).expect("an id").to_owned()
    };
    let user = made("/users", json!({"name": "carol"})).await;
    let key = made("/keys", json!({"name": "call", "user": "carol"})).await;
    let new = json!({"provider": "openai", "secret": "sk-0123456789abcdef", "check": "deferred"});
    let credential = made("/credentials", new).await;
    let batch = made("/codes", json!({"label": "made", "points": "1", "count": 1})).await;
    let route = made("/models/routes", json!({"name": "fast", "targets": [{"provider": "openai"}]})).await;
    vec![
        (format!("/users/{user}"), json!({"enabled": false}), json!({"enabled": true})),
        (format!("/keys/{key}"), json!({"name": "desk"}), json!({"name": "lap"})),
        (format!("/credentials/{credential}"), json!({"label": "spare"}), json!({"weight": 7})),
        (format!("/codes/{batch}"), json!({"enabled": false}), json!({"enabled": true})),
        (format!("/models/routes/{route}"), json!({"aliases": ["quick"]}), json!({"aliases": ["swift"]})),
    ]
}

#[tokio::test]
async fn a_change_that_rests_on_an_older_version_is_refused_and_changes_nothing() {
    let rig = Rig::start().await;
    for (path, one, other) in things(&rig).await {
        let shows = !path.starts_with("/codes");
        let first = ask(&rig, "PATCH", &path, Some("*"), &one).await;
        assert_eq!(first.status, 200, "{path}: {}", first.text());
        let seen = tag(&first);
        if shows {
            assert_eq!(tag(&ask(&rig, "GET", &path, None, &Value::Null).await), seen, "{path}");
        }
        // The second admin changes it, by what the first one has seen too.
        let second = ask(&rig, "PATCH", &path, Some(&seen), &other).await;
        assert_eq!(second.status, 200, "{path}: {}", second.text());
        assert_ne!(tag(&second), seen, "{path}");
        let stale = ask(&rig, "PATCH", &path, Some(&seen), &one).await;
        assert_eq!(
            (stale.status, &stale.json()["error"]["code"]),
            (412, &json!("changed_meanwhile")),
            "{path}"
        );
        if shows {
            let now = ask(&rig, "GET", &path, None, &Value::Null).await;
            let same = |name: &str| now.json()[name] == second.json()[name];
            assert!(
                other.as_object().expect("members").keys().all(|name| same(name)),
                "{path}: {}",
                now.text()
            );
            assert_eq!(tag(&now), tag(&second), "{path}");
        }
        // Either of several will do, and whoever says none takes what comes.
        let either = format!("\"1\", {}", tag(&second));
        assert_eq!(ask(&rig, "PATCH", &path, Some(&either), &one).await.status, 200, "{path}");
        assert_eq!(ask(&rig, "PATCH", &path, None, &other).await.status, 200, "{path}");
        assert_eq!(ask(&rig, "PATCH", &path, Some("seen"), &one).await.status, 400, "{path}");
        assert_eq!(ask(&rig, "DELETE", &path, Some(&seen), &Value::Null).await.status, {
            if path.starts_with("/users") || path.starts_with("/codes") { 405 } else { 412 }
        });
    }
    rig.stop().await;
}

#[tokio::test]
async fn use_of_a_key_is_no_change_of_it() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let keys = ask(&rig, "GET", "/keys", None, &Value::Null).await.json();
    let path = format!("/keys/{}", keys["data"][0]["id"].as_str().expect("an id"));
    let before = ask(&rig, "GET", &path, None, &Value::Null).await;
    let body = json!({"model": "gpt-4o", "messages": []});
    let call = Request::post("/v1/chat/completions", &body).bearer(rig.key("alice"));
    assert_eq!(client::call(rig.addr(), &call).await.status, 200);
    rig.records(1).await;
    let after = ask(&rig, "GET", &path, None, &Value::Null).await;
    assert_ne!(before.json()["requests"], after.json()["requests"]);
    assert_eq!(tag(&before), tag(&after));
    assert_eq!(ask(&rig, "PATCH", &path, Some(&tag(&before)), &json!({"name": "new"})).await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn of_two_changes_at_one_time_one_is_made() {
    let rig = Rig::start().await;
    let made = ask(&rig, "POST", "/users", None, &json!({"name": "carol"})).await.json();
    let path = format!("/users/{}", made["id"].as_str().expect("an id"));
    let seen = tag(&ask(&rig, "GET", &path, None, &Value::Null).await);
    let (off, on) = (json!({"enabled": false}), json!({"enabled": true}));
    let both = tokio::join!(
        ask(&rig, "PATCH", &path, Some(&seen), &off),
        ask(&rig, "PATCH", &path, Some(&seen), &on),
    );
    let mut statuses = [both.0.status, both.1.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    rig.stop().await;
}
