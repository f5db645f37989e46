//! Whose key serves whose call, what an operator changes while the gateway runs, and where no secret may ever appear.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tollgate_core::limits::RateLimits;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_server::config::OnError;
use tollgate_server::manage::NewCredential;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const LIMITED: &str = r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;

/// What the answer costs on a platform's key: 10 x 2,500 + 5 x 10,000 micro-points; a tenth of it on one's own.
const LIST_PRICE: i64 = 75_000;

/// Alice and bob, and these keys for OpenAI: whose, and the secret.
fn keys(setup: &mut Setup, keys: &[(Option<&'static str>, &'static str)]) {
    setup.users.push(("bob", Micropoints::from_points(1000)));
    setup.credentials = keys.iter().map(|&(user, secret)| ("openai", user, secret, 100)).collect();
}

async fn chat(rig: &Rig, user: &str, stream: bool) -> Reply {
    let body = json!({"model": "gpt-4o", "messages": [], "stream": stream});
    client::call(rig.addr(), &Request::post(CHAT, &body).bearer(rig.key(user))).await
}

/// The secrets that went up, in order.
fn used(rig: &Rig) -> Vec<String> {
    let secret = |bearer: &str| bearer.strip_prefix("Bearer ").unwrap_or(bearer).to_owned();
    rig.upstream
        .requests()
        .iter()
        .map(|seen| secret(seen.header("authorization").unwrap_or("none")))
        .collect()
}

/// Calls until the answer is as expected: a running gateway takes up changes within half a second.
async fn until(what: &str, rig: &Rig, user: &str, status: u16) {
    patiently(what, async {
        while chat(rig, user, false).await.status != status {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn ones_own_key_comes_first_at_its_own_price_and_the_platforms_steps_in_when_it_fails() {
    let rig = Rig::with(|setup| keys(setup, &[(None, "sk-platform"), (Some("alice"), "sk-alice")])).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    assert_eq!(chat(&rig, "alice", false).await.status, 200);
    assert_eq!(rig.record().await.charge.get(), LIST_PRICE / 10);
    rig.upstream.enqueue(Script::json(429, LIMITED));
    assert_eq!(chat(&rig, "alice", false).await.text(), ANSWER);
    assert_eq!(used(&rig), ["sk-alice", "sk-alice", "sk-platform"]);
    let charges: i64 = rig.records(2).await.iter().map(|record| record.charge.get()).sum();
    assert_eq!(charges, LIST_PRICE / 10 + LIST_PRICE);
    rig.stop().await;
}

#[tokio::test]
async fn no_call_ever_goes_up_with_another_users_key() {
    for platform in [true, false] {
        let rig = Rig::with(|setup| {
            let platforms: &[_] =
                if platform { &[(None, "sk-platform"), (None, "sk-platform-2")] } else { &[] };
            keys(setup, &[platforms, &[(Some("alice"), "sk-alice"), (Some("alice"), "sk-alice-2")]].concat());
        })
        .await;
        // Every other answer is a failure that is tried elsewhere, until all keys rest.
        let count = std::sync::atomic::AtomicUsize::new(0);
        rig.upstream.respond(move |_| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 {
            0 => Script::json(429, LIMITED),
            _ => Script::sse().chunk("data: [DONE]\n\n").end(),
        });
        for stream in [false, true, false, true, false] {
            let reply = chat(&rig, "bob", stream).await;
            assert!(platform || reply.status == 503, "{}", reply.text());
        }
        assert!(used(&rig).iter().all(|secret| secret.starts_with("sk-platform")), "{:?}", used(&rig));
        assert_eq!(used(&rig).is_empty(), !platform);
        if !platform {
            assert_eq!(chat(&rig, "bob", false).await.json()["error"]["code"], "no_credential");
            assert!(rig.records(6).await.iter().all(|record| record.charge.get() == 0));
            assert_eq!(rig.balance("bob").await, Micropoints::from_points(1000));
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_selector_that_names_what_it_was_not_offered_reaches_no_key_of_others() {
    for (on_error, status) in [(OnError::Fallback, 200), (OnError::Closed, 503)] {
        let rig = Rig::with(|setup| {
            let bobs = (Some("bob"), "sk-bob");
            keys(
                setup,
                &[bobs, (Some("alice"), "sk-alice"), (None, "sk-platform"), (Some("bob"), "sk-bob-2")],
            );
            setup.config.policies.key_selection.component = "liar".to_owned();
            setup.config.policies.key_selection.on_error = on_error;
            let liar = tollgate_components::find_guest("liar").expect("the guest is built");
            setup.plugins.push(("liar", liar.bytes.to_vec()));
        })
        .await;
        rig.upstream.respond(|_| Script::json(200, ANSWER));
        // The guest lies from the second attempt on.
        rig.upstream.enqueue(Script::json(429, LIMITED));
        let reply = chat(&rig, "alice", false).await;
        let failed_closed = reply.json()["error"]["code"] == "rate_limit_exceeded";
        assert!(reply.status == status || (on_error == OnError::Closed && failed_closed), "{}", reply.text());
        assert!(used(&rig).iter().all(|secret| !secret.contains("bob")), "{:?}", used(&rig));
        assert_eq!(used(&rig).len(), if on_error == OnError::Fallback { 2 } else { 1 });
        assert!(
            rig.plugin("key-selection").await["faults"].as_object().is_some_and(|faults| !faults.is_empty())
        );
        rig.stop().await;
    }
}

#[tokio::test]
async fn what_an_operator_changes_is_taken_up_by_a_running_gateway() {
    let rig = Rig::with(|setup| {
        keys(setup, &[]);
        setup.users.push(("carol", Micropoints::ZERO));
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    assert_eq!(chat(&rig, "alice", false).await.status, 503, "no credential yet");
    let desk = rig.desk().await;
    let new = |user: Option<&str>, secret: &str| NewCredential {
        provider: "openai".to_owned(),
        user: user.map(str::to_owned),
        label: secret.to_owned(),
        weight: 100,
        secret: Secret::new(secret.to_owned()),
        limits: RateLimits::default(),
        place: None,
    };
    let own = desk.add_credential(new(Some("alice"), "sk-alice")).await.expect("a credential");
    until("the new credential", &rig, "alice", 200).await;
    assert_eq!(chat(&rig, "bob", false).await.status, 503, "it is alice's alone");
    desk.set_credential_enabled(own, false).await.expect("to disable it");
    until("the credential to be gone", &rig, "alice", 503).await;
    let platform = desk.add_credential(new(None, "sk-platform")).await.expect("a credential");
    until("the platform's credential", &rig, "bob", 200).await;

    assert_eq!(chat(&rig, "carol", false).await.status, 402, "no points yet");
    managed::grant(&desk, "carol", Micropoints::from_points(500), "welcome").await.expect("a grant");
    until("the grant", &rig, "carol", 200).await;

    let bobs = managed::keys(&desk)
        .await
        .expect("the keys")
        .into_iter()
        .find(|key| key.user == "bob")
        .expect("bob's key");
    desk.revoke_key(bobs.id).await.expect("to revoke it");
    until("the key to be refused", &rig, "bob", 401).await;
    managed::set_user_enabled(&desk, "carol", false).await.expect("to disable carol");
    until("carol to be refused", &rig, "carol", 401).await;
    desk.remove_credential(platform).await.expect("to remove it");
    until("the platform's credential to be gone", &rig, "alice", 503).await;
    let owners: Vec<_> =
        managed::credentials(&desk).await.expect("a list").iter().map(|row| row.owner).collect();
    assert_eq!(owners, [Owner::User]);
    desk.close().await;
    rig.stop().await;
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}

#[tokio::test]
async fn no_secret_and_no_api_key_stands_in_a_file_a_metric_or_an_operators_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let secrets = ["sk-plain-platform-secret", "sk-plain-alice-secret"];
    let rig = Rig::with(|setup| {
        setup.config.server.data_dir.clone_from(&data);
        keys(setup, &[(None, secrets[0]), (Some("alice"), secrets[1])]);
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    // Answers, failures, and keys at every place that takes one.
    let refused = r#"{"error":{"message":"Incorrect API key provided: sk-plain-alice-secret","code":"invalid_api_key"}}"#;
    rig.upstream.enqueue(Script::json(401, refused));
    let reply = chat(&rig, "alice", false).await;
    assert_eq!(reply.status, 200);
    let key = rig.key("alice").to_owned();
    let by_query = Request::new("POST", &format!("{CHAT}?key={key}")).body("{}");
    assert_eq!(client::call(rig.addr(), &by_query).await.status, 400);
    let told = [
        client::call(rig.admin_addr(), &Request::get("/metrics")).await,
        rig.admin("GET", "/management/v1/plugins").await,
        rig.admin("GET", "/management/v1/nothing").await,
        reply,
    ];
    let admin = rig.admin_secret().to_owned();
    let forbidden = [secrets[0], secrets[1], &key, rig.key("bob"), &admin].map(str::to_owned);
    for told in &told {
        let everything = format!("{:?} {}", told.head, told.text());
        assert!(forbidden.iter().all(|secret| !everything.contains(secret)), "{everything}");
    }
    rig.records(1).await;
    rig.stop().await;
    let files = files(&data);
    assert!(files.iter().any(|path| path.ends_with("tollgate.db")));
    for path in files {
        let bytes = std::fs::read(&path).expect("a file");
        for secret in &forbidden {
            let found = memchr::memmem::find(&bytes, secret.as_bytes());
            assert!(found.is_none(), "{secret} is in {}", path.display());
        }
    }
}
