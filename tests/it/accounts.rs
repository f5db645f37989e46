//! Logins: a password for tokens that end, rotate and can be taken back; guessing gets slow; roles say who may do what.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::{Guessed, Options, Store};
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;

const LOGIN: &str = "/management/v1/login";
const REFRESH: &str = "/management/v1/refresh";
const LOGOUT: &str = "/management/v1/logout";
const ME: &str = "/management/v1/me";
const PLUGINS: &str = "/management/v1/plugins";
const PASSWORD: &str = "correct horse battery";

/// A gateway with `root`, an admin, and `carol`, who is not; both have the same password.
async fn rig() -> Rig {
    let rig = Rig::start().await;
    let desk = rig.desk().await;
    for (name, role) in [("root", Role::Admin), ("carol", Role::User)] {
        let password = Some(Secret::new(PASSWORD.to_owned()));
        managed::add_account(&desk, name, role, password, Micropoints::ZERO).await.expect("a user");
    }
    desk.close().await;
    rig
}

async fn post(rig: &Rig, target: &str, body: &Value) -> Reply {
    client::call(rig.admin_addr(), &Request::post(target, body)).await
}

async fn get(rig: &Rig, target: &str, token: &str) -> Reply {
    client::call(rig.admin_addr(), &Request::get(target).bearer(token)).await
}

async fn log_in(rig: &Rig, name: &str, password: &str) -> Reply {
    post(rig, LOGIN, &json!({"name": name, "password": password})).await
}

/// The pair of tokens of an answer that has one: access, refresh.
fn tokens(reply: &Reply) -> (String, String) {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    let text = |name: &str| body[name].as_str().expect("a token").to_owned();
    (text("access_token"), text("refresh_token"))
}

async fn refresh(rig: &Rig, token: &str) -> Reply {
    post(rig, REFRESH, &json!({"refresh_token": token})).await
}

#[tokio::test]
async fn a_password_is_good_for_tokens_that_say_who_one_is() {
    let rig = rig().await;
    let reply = log_in(&rig, "carol", PASSWORD).await;
    assert_eq!((&reply.json()["expires_in"], &reply.json()["token_type"]), (&json!(900), &json!("Bearer")));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let (access, _) = tokens(&reply);
    let me = get(&rig, ME, &access).await;
    assert_eq!((me.status, &me.json()["name"], &me.json()["role"]), (200, &json!("carol"), &json!("user")));
    // A user without a password cannot log in, and neither can an unknown user; the answers are the same.
    let wrong = [("carol", "correct horse batter"), ("alice", PASSWORD), ("nobody", PASSWORD), ("", "")];
    for (name, password) in wrong {
        let refused = log_in(&rig, name, password).await;
        let error = refused.json()["error"].clone();
        assert_eq!((refused.status, &error["code"]), (401, &json!("wrong_credentials")), "{name}");
        assert_eq!(error["request_id"].as_str(), refused.header("x-tollgate-request-id"));
    }
    for body in [json!({}), json!({"name": "carol"}), json!({"name": "carol", "password": 7}), json!([])] {
        assert_eq!(post(&rig, LOGIN, &body).await.status, 400, "{body}");
    }
    let long = json!({"name": "carol", "password": "x".repeat(100_000)});
    assert_eq!(post(&rig, LOGIN, &long).await.status, 413);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_no_access_token_of_this_gateway_is_refused() {
    let rig = rig().await;
    let (access, other) = tokens(&log_in(&rig, "root", PASSWORD).await);
    let unsigned = format!("{}.", access.rsplit_once('.').expect("a token of three parts").0);
    let wrong = [other.as_str(), unsigned.as_str(), "", "x", rig.key("alice")];
    for token in wrong {
        assert_eq!(get(&rig, ME, token).await.status, 401, "{token}");
    }
    assert_eq!(get(&rig, ME, rig.admin_secret()).await.status, 403, "the admin secret is no user");
    let basic = Request::get(ME).header("authorization", &format!("Basic {access}"));
    assert_eq!(client::call(rig.admin_addr(), &basic).await.status, 401);
    rig.stop().await;
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_a_second_use_ends_the_login() {
    let rig = rig().await;
    let (_, first) = tokens(&log_in(&rig, "carol", PASSWORD).await);
    let (elsewhere, _) = tokens(&log_in(&rig, "carol", PASSWORD).await);
    let (access, second) = tokens(&refresh(&rig, &first).await);
    assert_eq!(get(&rig, ME, &access).await.status, 200);
    let (_, third) = tokens(&refresh(&rig, &second).await);
    // The holder of the first token is not the holder of the third.
    let reused = refresh(&rig, &first).await;
    assert_eq!((reused.status, &reused.json()["error"]["code"]), (401, &json!("invalid_token")));
    assert_eq!(refresh(&rig, &third).await.status, 401, "the whole login is over");
    assert_eq!(get(&rig, ME, &access).await.status, 401, "its access tokens too, at once");
    assert_eq!(get(&rig, ME, &elsewhere).await.status, 200, "another login is not touched");
    for wrong in ["", ".", "tgr_x.y", &first.replace("tgr_", "tgr-")] {
        assert_eq!(refresh(&rig, wrong).await.status, 401, "{wrong}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn of_two_that_refresh_at_one_time_only_one_is_served() {
    let rig = rig().await;
    let (_, token) = tokens(&log_in(&rig, "carol", PASSWORD).await);
    let (one, other) = tokio::join!(refresh(&rig, &token), refresh(&rig, &token));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    rig.stop().await;
}

#[tokio::test]
async fn a_logout_a_new_password_and_a_disabled_user_end_logins_at_once() {
    let rig = rig().await;
    let desk = rig.desk().await;
    let (access, token) = tokens(&log_in(&rig, "carol", PASSWORD).await);
    let logout = Request::post(LOGOUT, &json!({})).bearer(&access);
    assert_eq!(client::call(rig.admin_addr(), &logout).await.status, 204);
    assert_eq!((get(&rig, ME, &access).await.status, refresh(&rig, &token).await.status), (401, 401));

    let (access, token) = tokens(&log_in(&rig, "carol", PASSWORD).await);
    managed::set_password(&desk, "carol", Secret::new("another password".to_owned()))
        .await
        .expect("a password");
    assert_eq!((get(&rig, ME, &access).await.status, refresh(&rig, &token).await.status), (401, 401));
    assert_eq!(log_in(&rig, "carol", PASSWORD).await.status, 401);

    let (access, token) = tokens(&log_in(&rig, "carol", "another password").await);
    managed::set_user_enabled(&desk, "carol", false).await.expect("a change");
    assert_eq!((get(&rig, ME, &access).await.status, refresh(&rig, &token).await.status), (401, 401));
    assert_eq!(log_in(&rig, "carol", "another password").await.status, 401);
    desk.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn guessing_is_slowed_down_by_name_whether_or_not_there_is_such_a_user() {
    let mut rig = rig().await;
    for name in ["carol", "nobody"] {
        for _ in 0..5 {
            assert_eq!(log_in(&rig, name, "a wrong password").await.status, 401);
        }
        let locked = log_in(&rig, name, PASSWORD).await;
        assert_eq!((locked.status, &locked.json()["error"]["code"]), (429, &json!("locked")), "{name}");
        assert!(locked.header("retry-after").is_some());
    }
    tokens(&log_in(&rig, "root", PASSWORD).await);
    let store = Store::open(&rig.config.server.data_dir.join("tollgate.db"), Options::default()).await;
    let store = store.expect("the database opens");
    let carol: [u8; 32] = Sha256::digest("127.0.0.1 carol").into();
    let known = store.sessions.lockouts(Guessed::Name, Timestamp::default()).await.expect("lock-outs");
    assert_eq!(known.iter().find(|tries| tries.0 == carol).map(|tries| tries.1), Some(5));
    // So many that the wait is the longest.
    let last = Timestamp::from_millis(known[0].2.millis());
    store.sessions.keep_lockout(Guessed::Name, (carol, 30, last)).await.expect("a lock-out");
    store.close().await;
    rig.restart().await;
    assert_eq!(log_in(&rig, "carol", PASSWORD).await.status, 429, "a restart forgets nothing");
    rig.stop().await;
}

#[tokio::test]
async fn components_are_for_the_admin_secret_and_for_admins() {
    let rig = rig().await;
    let (admin, _) = tokens(&log_in(&rig, "root", PASSWORD).await);
    let (user, _) = tokens(&log_in(&rig, "carol", PASSWORD).await);
    let reload = "/management/v1/plugins/reload";
    let ask = async |method: &str, target: &str, token: &str| {
        client::call(rig.admin_addr(), &Request::new(method, target).bearer(token)).await.status
    };
    for (token, status) in [(admin.as_str(), 200), (rig.admin_secret(), 200), (user.as_str(), 403)] {
        assert_eq!((ask("GET", PLUGINS, token).await, ask("POST", reload, token).await), (status, status));
    }
    // A revoked role ends at once, and so does what it allowed.
    let desk = rig.desk().await;
    managed::set_role(&desk, "root", Role::User).await.expect_err("the last admin stays one");
    managed::set_role(&desk, "carol", Role::Admin).await.expect("a change");
    managed::set_role(&desk, "root", Role::User).await.expect("a change");
    assert_eq!(ask("GET", PLUGINS, &admin).await, 403);
    desk.close().await;
    assert_eq!(ask("DELETE", PLUGINS, rig.admin_secret()).await, 405);
    rig.stop().await;
}

#[tokio::test]
async fn neither_passwords_nor_tokens_are_in_the_database() {
    let rig = rig().await;
    let (access, token) = tokens(&log_in(&rig, "carol", PASSWORD).await);
    let secret = token.split('.').next().expect("a secret").to_owned();
    for file in std::fs::read_dir(&rig.config.server.data_dir).expect("a directory").filter_map(Result::ok) {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        for word in [PASSWORD, &access, &secret] {
            assert!(memchr::memmem::find(&bytes, word.as_bytes()).is_none(), "{}", file.path().display());
        }
    }
    rig.stop().await;
}
