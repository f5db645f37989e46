//! The users' listener: the console and the API of what is theirs, and nothing of operators', by the whole table of
//! routes.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;

const ROOT: &str = "/management/v1";
const PASSWORD: &str = "correct horse battery";

struct House {
    rig: Rig,
    users: SocketAddr,
}

impl House {
    async fn start() -> Self {
        let rig = Rig::with(|setup| {
            setup.config.server.users_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        })
        .await;
        let desk = rig.desk().await;
        for (name, role) in [("carol", Role::User), ("dave", Role::User), ("root", Role::Admin)] {
            let password = Some(Secret::new(PASSWORD.to_owned()));
            let points = Micropoints::from_points(1);
            managed::add_account(&desk, name, role, password, points).await.expect("a user");
        }
        desk.close().await;
        let users = rig.users_addr();
        Self { rig, users }
    }

    async fn ask(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Reply {
        let target = format!("{ROOT}{path}");
        let request = match method {
            "GET" => Request::get(&target),
            "POST" => Request::post(&target, body),
            method => Request::new(method, &target),
        };
        client::call(self.users, &token.iter().fold(request, |request, token| request.bearer(token))).await
    }

    async fn log_in(&self, name: &str) -> Value {
        let reply = self.ask("POST", "/login", None, &json!({"name": name, "password": PASSWORD})).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }
}

/// A path with something in the place of each parameter.
fn filled(path: &str) -> String {
    let part = |part: &str| match part.starts_with('{') {
        true => "01a22cc7-2790-7cc4-b80e-40b030a98968".to_owned(),
        false => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn no_route_of_operators_is_there_whoever_asks() {
    let house = House::start().await;
    let admin = house.log_in("root").await;
    let user = house.log_in("carol").await;
    let secret = house.rig.admin_secret().to_owned();
    let token = |login: &Value| login["access_token"].as_str().expect("a token").to_owned();
    let everyone = [None, Some(secret), Some(token(&admin)), Some(token(&user))];
    let document = client::call(house.users, &Request::get(&format!("{ROOT}/openapi.json"))).await.json();
    let (mut hidden, mut open) = (0, 0);
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let path = filled(path.strip_prefix(ROOT).expect("a path below the root"));
        for (method, says) in methods.as_object().expect("methods") {
            let (method, access) = (method.to_uppercase(), says["x-access"].as_str().expect("x-access"));
            if access != "admin" {
                let nobody = house.ask(&method, &path, None, &json!({})).await;
                assert!(![404, 405].contains(&nobody.status), "{method} {path}: {}", nobody.text());
                assert!(access == "anyone" || nobody.status == 401, "{method} {path}: {}", nobody.text());
                open += 1;
                continue;
            }
            for token in &everyone {
                let reply = house.ask(&method, &path, token.as_deref(), &json!({})).await;
                assert!([401, 404, 405].contains(&reply.status), "{method} {path}: {}", reply.text());
                assert!(token.is_none() || reply.status != 401 || *token == everyone[1], "{method} {path}");
            }
            hidden += 1;
        }
    }
    assert!(hidden > 20 && open > 20, "{hidden} and {open}");
    house.rig.stop().await;
}

#[tokio::test]
async fn an_admin_is_a_user_there_and_the_admin_secret_opens_nothing() {
    let house = House::start().await;
    let admin = house.log_in("root").await;
    assert_eq!(admin["user"]["role"], json!("user"));
    let token = admin["access_token"].as_str().expect("a token");
    assert_eq!(house.ask("GET", "/me", Some(token), &json!({})).await.json()["role"], json!("user"));
    let login = json!({"name": "root", "password": PASSWORD});
    let browser = house.ask("POST", "/session/login", None, &login).await;
    assert_eq!(browser.json()["user"]["role"], json!("user"));
    let carol = house.log_in("carol").await;
    let carol = carol["user"]["id"].as_str().expect("an id");
    for path in [format!("/users/{carol}"), format!("/users/{carol}/keys"), format!("/requests?user={carol}")]
    {
        assert_eq!(house.ask("GET", &path, Some(token), &json!({})).await.status, 404, "{path}");
    }
    let made = house.ask("POST", "/keys", Some(token), &json!({"name": "k", "user": "carol"})).await;
    assert_eq!(made.status, 403, "{}", made.text());
    let keys = house.ask("GET", "/keys", Some(token), &json!({})).await.json();
    assert_eq!(keys["data"], json!([]), "alice's key is not the admin's");
    let secret = house.rig.admin_secret();
    for path in ["/keys", "/requests", "/me", "/usage/summary"] {
        assert_eq!(house.ask("GET", path, Some(secret), &json!({})).await.status, 401, "{path}");
    }
    let at_home = Request::get(&format!("{ROOT}/users")).bearer(token);
    assert_eq!(client::call(house.rig.admin_addr(), &at_home).await.status, 200, "the login is an admin's");
    house.rig.stop().await;
}

#[tokio::test]
async fn the_console_is_there_and_metrics_are_not() {
    let house = House::start().await;
    let status = async |target: &str| client::call(house.users, &Request::get(target)).await.status;
    assert_eq!(status("/console/").await, 200);
    assert_eq!(status("/healthz").await, 200);
    for target in
        ["/metrics", "/readyz", "/v1/models", "/management/v1/plugins", "/management/v1/plugins/events"]
    {
        let secret = house.rig.admin_secret();
        let reply = client::call(house.users, &Request::get(target).bearer(secret)).await;
        assert!([401, 404].contains(&reply.status), "{target}: {}", reply.text());
    }
    house.rig.stop().await;
}
