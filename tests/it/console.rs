//! The console as it is served: a page that is asked for again, files that are kept for ever, the strict policy, and
//! logins whose refresh token no script can read.

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_server::app::{Gateway, Options};
use tollgate_server::config::{Config, LogFilter};
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;

const PASSWORD: &str = "correct horse battery";
const SESSION: &str = "/management/v1/session";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

async fn get(rig: &Rig, target: &str) -> Reply {
    client::call(rig.admin_addr(), &Request::get(target)).await
}

/// The path of a file that the page names.
fn named(page: &str, file: &str) -> String {
    let before = page.split(file).next().expect("the page names it");
    let digest = before.rsplit('"').next().expect("a quote");
    format!("/console/{digest}{file}")
}

#[tokio::test]
async fn the_page_is_asked_for_again_and_its_files_are_kept_for_ever() {
    let rig = Rig::start().await;
    for above in ["/", "/console"] {
        let reply = get(&rig, above).await;
        assert_eq!((reply.status, reply.header("location")), (307, Some("console/")), "{above}");
    }
    let page = get(&rig, "/console/").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert_eq!(page.header("content-security-policy"), Some(POLICY));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let tag = page.header("etag").expect("a tag").to_owned();
    let again = Request::get("/console/").header("if-none-match", &tag);
    let again = client::call(rig.admin_addr(), &again).await;
    assert_eq!((again.status, again.text().as_str()), (304, ""));
    let text = page.text();
    for (file, kind) in
        [("/app.js", "text/javascript; charset=utf-8"), ("/style.css", "text/css; charset=utf-8")]
    {
        let path = named(&text, file);
        let plain = get(&rig, &path).await;
        assert_eq!((plain.status, plain.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!(plain.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(plain.header("content-security-policy"), Some(POLICY));
        assert_eq!(plain.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(plain.header("content-encoding"), None);
        let packed = Request::get(&path).header("accept-encoding", "br, gzip");
        let packed = client::call(rig.admin_addr(), &packed).await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert!(packed.body.len() < plain.body.len(), "{path}");
        let not_packed = Request::get(&path).header("accept-encoding", "gzip;q=0");
        assert_eq!(client::call(rig.admin_addr(), &not_packed).await.header("content-encoding"), None);
    }
    let other = named(&text, "/app.js").replace("/console/", "/console/0");
    for missing in [other.as_str(), "/console/app.js", "/console/../healthz", "/console/x/"] {
        assert_ne!(get(&rig, missing).await.status, 200, "{missing}");
    }
    let post = client::call(rig.admin_addr(), &Request::new("POST", "/console/")).await;
    assert_ne!(post.status, 200);
    rig.stop().await;
}

/// A browser's cookie for the session's routes, as its last answer has set it.
fn cookie(reply: &Reply) -> String {
    let set = reply.header("set-cookie").expect("a cookie");
    assert!(set.contains("; HttpOnly; SameSite=Strict"), "{set}");
    assert!(!set.to_lowercase().contains("path="), "it goes to what is beside the route alone: {set}");
    set.split(';').next().expect("a pair").to_owned()
}

async fn post(rig: &Rig, path: &str, cookie: &str, body: Value) -> Reply {
    let request = Request::post(&format!("{SESSION}{path}"), &body).header("cookie", cookie);
    client::call(rig.admin_addr(), &request).await
}

async fn status(rig: &Rig, token: &str) -> u16 {
    client::call(rig.admin_addr(), &Request::get("/management/v1/me").bearer(token)).await.status
}

fn token(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    let said = reply.json();
    assert_eq!(said.get("refresh_token"), None, "the cookie has it");
    said["access_token"].as_str().expect("a token").to_owned()
}

async fn with_user() -> Rig {
    let rig = Rig::start().await;
    let desk = rig.desk().await;
    let password = Some(Secret::new(PASSWORD.to_owned()));
    managed::add_account(&desk, "carol", Role::User, password, Micropoints::from_points(1))
        .await
        .expect("a user");
    desk.close().await;
    rig
}

#[tokio::test]
async fn two_tabs_refresh_together_and_a_stolen_cookie_ends_the_login() {
    let rig = with_user().await;
    let entered = post(&rig, "/login", "", json!({"name": "carol", "password": PASSWORD})).await;
    let (first, access) = (cookie(&entered), token(&entered));
    assert_eq!(status(&rig, &access).await, 200);
    let one = post(&rig, "/refresh", &first, json!({})).await;
    let other = post(&rig, "/refresh", &first, json!({})).await;
    let (second, both) = (cookie(&one), [token(&one), token(&other)]);
    assert_eq!(other.header("set-cookie"), None, "the first tab has the next cookie");
    for access in &both {
        assert_eq!(status(&rig, access).await, 200);
    }
    let third = cookie(&post(&rig, "/refresh", &second, json!({})).await);
    let stolen = post(&rig, "/refresh", &first, json!({})).await;
    assert_eq!((stolen.status, stolen.json()["error"]["code"].as_str()), (401, Some("invalid_token")));
    assert_eq!(post(&rig, "/refresh", &third, json!({})).await.status, 401, "its login is over");
    assert_eq!(status(&rig, &both[0]).await, 401);
    rig.stop().await;
}

#[tokio::test]
async fn logging_out_ends_both_tokens_and_other_sites_cannot_ask() {
    let rig = with_user().await;
    let entered = post(&rig, "/login", "", json!({"name": "carol", "password": PASSWORD})).await;
    let (first, access) = (cookie(&entered), token(&entered));
    for (path, body) in
        [("/refresh", json!({})), ("/logout", json!({})), ("/login", json!({"name": "carol"}))]
    {
        for site in ["cross-site", "same-site"] {
            let request = Request::post(&format!("{SESSION}{path}"), &body).header("cookie", &first);
            let reply = client::call(rig.admin_addr(), &request.header("sec-fetch-site", site)).await;
            assert_ne!(reply.status, 200, "{path} from {site}");
            assert_ne!(reply.status, 204, "{path} from {site}");
        }
    }
    assert_eq!(status(&rig, &access).await, 200, "nothing has happened");
    let left = post(&rig, "/logout", &first, json!({})).await;
    assert_eq!(left.status, 204);
    assert!(left.header("set-cookie").expect("a cookie").contains("Max-Age=0"));
    assert_eq!(status(&rig, &access).await, 401);
    assert_eq!(post(&rig, "/refresh", &first, json!({})).await.status, 401);
    assert_eq!(
        post(&rig, "/logout", "", json!({})).await.status,
        204,
        "without a login there is none to end"
    );
    assert_eq!(post(&rig, "/login", "", json!({"name": "carol", "password": "wrong"})).await.status, 401);
    rig.stop().await;
}

#[tokio::test]
async fn a_log_in_link_is_good_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut config = Config::default();
    config.server.data_dir = dir.path().to_owned();
    config.server.listen = "127.0.0.1:0".parse().expect("an address");
    config.server.admin_listen = config.server.listen;
    config.log.level = LogFilter("error".to_owned());
    let start = || Gateway::start(Options { config, demo: true, ..Options::default() });
    let gateway = tokio::task::spawn_blocking(start).await.expect("no panic").expect("it starts");
    let link = gateway.first_start.demo_link.as_ref().expect("a link").expose();
    let follow = async |token: &str| {
        let request = Request::post(&format!("{SESSION}/link"), &json!({"token": token}));
        client::call(gateway.admin_address, &request).await
    };
    let entered = follow(link).await;
    assert_eq!(entered.json()["user"]["role"], json!("admin"), "{}", entered.text());
    let list = Request::get("/management/v1/users").bearer(&token(&entered));
    assert_eq!(client::call(gateway.admin_address, &list).await.status, 200);
    for used in [link, "", "tgr_x"] {
        assert_eq!(follow(used).await.status, 401);
    }
    tokio::task::spawn_blocking(|| gateway.stop()).await.expect("no panic").expect("it stops well");
}
