//! Lent credentials: whose key serves whom, for how long and how often, and what that earns.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_core::limits::KeyLimits;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::price::PriceRate;
use tollgate_core::protocol::Owner;
use tollgate_core::receipt::Receipt;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_server::config::{Config, OnError};
use tollgate_server::manage::{CONSENT_VERSION, Management, Window};
use tollgate_tests::client::{self, Connection, Reply, Request};
use tollgate_tests::gateway::{self, Rig, Setup};
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

const CHAT: &str = "/v1/chat/completions";
const CREDENTIALS: &str = "/management/v1/credentials";
const PASSWORD: &str = "correct horse battery";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const LIMITED: &str = r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;
/// What the answer costs on a key that is not the caller's own, and the half of it that the lender earns.
const LIST_PRICE: i64 = 75_000;
const EARNED: i64 = 37_500;
/// The points that every user begins with.
const POINTS: Micropoints = Micropoints::from_points(1000);

/// A gateway whose only keys are users' own: carol's, dave's, and what a test adds. Alice calls with an API key alone.
struct Lending {
    rig: Rig,
    tokens: BTreeMap<&'static str, String>,
}

impl Lending {
    async fn open(enabled: bool) -> Self {
        Self::with(|setup| setup.config.lending.enabled = enabled).await
    }

    async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let rig = Rig::with(|setup| {
            setup.credentials.clear();
            setup.config.lending.enabled = true;
            change(setup);
        })
        .await;
        rig.upstream.respond(|_| Script::json(200, ANSWER));
        let desk = rig.desk().await;
        for (name, role) in
            [("root", Role::Admin), ("carol", Role::User), ("dave", Role::User), ("erin", Role::User)]
        {
            let password = Some(Secret::new(PASSWORD.to_owned()));
            managed::add_account(&desk, name, role, password, POINTS).await.expect("a user");
        }
        desk.close().await;
        let mut house = Self { rig, tokens: BTreeMap::new() };
        house.log_in().await;
        house
    }

    async fn log_in(&mut self) {
        for name in ["root", "carol", "dave", "erin"] {
            let body = json!({"name": name, "password": PASSWORD});
            let login = Request::post("/management/v1/login", &body);
            let reply = client::call(self.rig.admin_addr(), &login).await;
            self.tokens.insert(name, reply.json()["access_token"].as_str().expect("a token").to_owned());
        }
    }

    async fn ask(&self, who: &str, method: &str, target: &str, body: &Value) -> Reply {
        let request = Request::new(method, target);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        client::call(self.rig.admin_addr(), &request.bearer(&self.tokens[who])).await
    }

    async fn add(&self, who: &str, secret: &str) -> String {
        let body = json!({"provider": "openai", "secret": secret, "check": "deferred"});
        let reply = self.ask(who, "POST", CREDENTIALS, &body).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()["id"].as_str().expect("an id").to_owned()
    }

    async fn share(&self, who: &str, id: &str, requests_per_day: u64) -> Reply {
        let body = json!({"consent": CONSENT_VERSION, "requests_per_day": requests_per_day});
        self.ask(who, "POST", &format!("{CREDENTIALS}/{id}/share"), &body).await
    }

    async fn unshare(&self, who: &str, id: &str) {
        let reply = self.ask(who, "DELETE", &format!("{CREDENTIALS}/{id}/share"), &Value::Null).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
    }

    async fn show(&self, who: &str, id: &str) -> Value {
        self.ask(who, "GET", &format!("{CREDENTIALS}/{id}"), &Value::Null).await.json()
    }

    /// An API key of a user who has none.
    async fn key(&self, user: &str) -> String {
        let reply = self.ask(user, "POST", "/management/v1/keys", &json!({"name": "test"})).await;
        reply.json()["key"].as_str().unwrap_or_else(|| panic!("a key: {}", reply.text())).to_owned()
    }

    /// Calls as alice, each time with another conversation.
    async fn call(&self) -> Reply {
        self.call_with(self.rig.key("alice")).await
    }

    async fn call_with(&self, key: &str) -> Reply {
        let word = self.rig.upstream.count().to_string();
        let body =
            json!({"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": word}]});
        client::call(self.rig.addr(), &Request::post(CHAT, &body).bearer(key)).await
    }

    /// Waits until the running gateway lends this many keys.
    async fn lends(&self, keys: usize) {
        patiently("the lent keys", async {
            loop {
                let metrics = self.rig.admin("GET", "/metrics").await.text();
                let lent = metrics.lines().filter(|line| {
                    line.starts_with("tollgate_credentials{") && line.contains(r#"owner="shared""#)
                });
                let count =
                    |line: &str| line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
                if lent.map(count).sum::<usize>() == keys {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// The keys that went up, in order.
    fn used(&self) -> Vec<String> {
        let requests = self.rig.upstream.requests();
        let key = |bearer: &str| bearer.trim_start_matches("Bearer ").to_owned();
        requests.iter().map(|seen| key(seen.header("authorization").expect("a credential"))).collect()
    }

    async fn uses(&self, who: &str, id: &str) -> Vec<Value> {
        let page = self.ask(who, "GET", &format!("{CREDENTIALS}/{id}/uses"), &Value::Null).await;
        assert_eq!(page.status, 200, "{}", page.text());
        page.json()["data"].as_array().expect("a list").clone()
    }

    /// What a user has earned, in micro-points.
    async fn earned(&self, user: &str) -> i64 {
        self.rig.balance(user).await.get() - POINTS.get()
    }
}

#[tokio::test]
async fn a_key_serves_others_only_while_the_operator_and_its_owner_agree() {
    let off = Lending::open(false).await;
    let id = off.add("carol", "sk-carol").await;
    let refused = off.share("carol", &id, 9).await;
    assert_eq!((refused.status, off.call().await.status), (422, 503), "{}", refused.text());
    off.rig.stop().await;

    let house = Lending::open(true).await;
    let id = house.add("carol", "sk-carol").await;
    let path = format!("{CREDENTIALS}/{id}/share");
    let old = json!({"consent": "0", "requests_per_day": 9});
    assert_eq!(house.ask("carol", "POST", &path, &old).await.status, 400);
    assert_eq!(house.share("carol", &id, 0).await.status, 400);
    assert_eq!(house.share("root", &id, 9).await.status, 422, "nobody agrees for somebody else");
    assert_eq!(house.share("dave", &id, 9).await.status, 404);
    assert_eq!(house.call().await.status, 503, "nobody has agreed yet");
    assert_eq!(house.share("carol", &id, 9).await.json()["shared"]["requests_per_day"], 9);
    house.lends(1).await;
    assert_eq!(house.call().await.status, 200);
    // The very next one, without waiting.
    house.unshare("carol", &id).await;
    assert_eq!(house.call().await.status, 503);
    house.lends(0).await;
    assert_eq!(house.share("carol", &id, 9).await.status, 200);
    house.lends(1).await;
    assert_eq!(house.call().await.status, 200);
    let gone = house.ask("carol", "DELETE", &format!("{CREDENTIALS}/{id}"), &Value::Null).await;
    assert_eq!((gone.status, house.call().await.status), (204, 503), "a key that is removed is withdrawn");
    assert_eq!(house.used(), ["sk-carol", "sk-carol"]);
    let audit = house.ask("root", "GET", "/management/v1/audit?action=credential.share", &Value::Null).await;
    let rows = audit.json()["data"].as_array().expect("a list").clone();
    assert_eq!(rows.len(), 2, "{}", audit.text());
    assert_eq!(rows[0]["detail"]["consent"], CONSENT_VERSION);
    house.rig.stop().await;
}

#[tokio::test]
async fn a_key_of_a_disabled_user_serves_nobody() {
    let house = Lending::open(true).await;
    let id = house.add("carol", "sk-carol").await;
    assert_eq!(house.share("carol", &id, 9).await.status, 200);
    house.lends(1).await;
    let carol = house.ask("carol", "GET", "/management/v1/me", &Value::Null).await.json();
    let path = format!("/management/v1/users/{}", carol["id"].as_str().expect("an id"));
    assert_eq!(house.ask("root", "PATCH", &path, &json!({"enabled": false})).await.status, 200);
    house.lends(0).await;
    assert_eq!(house.call().await.status, 503);
    house.rig.stop().await;
}

#[tokio::test]
async fn the_cap_is_exact_under_concurrency_and_outlasts_withdrawal_and_restart() {
    let mut house = Lending::open(true).await;
    let id = house.add("carol", "sk-carol").await;
    assert_eq!(house.share("carol", &id, 5).await.status, 200);
    house.lends(1).await;
    let calls: Vec<_> = (0..24).map(|_| house.call()).collect();
    let mut statuses = BTreeMap::new();
    for reply in futures(calls).await {
        *statuses.entry(reply.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(200, 5), (429, 19)]));
    assert_eq!((house.used().len(), &house.show("carol", &id).await["shared"]["used_today"]), (5, &json!(5)));
    house.unshare("carol", &id).await;
    assert_eq!(house.share("carol", &id, 6).await.status, 200);
    patiently("the new cap", async {
        while house.call().await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(house.call().await.status, 429);
    house.rig.restart().await;
    house.log_in().await;
    assert_eq!(house.call().await.status, 429);
    assert_eq!(house.used().len(), 6);
    // The owner's own calls are no part of it.
    let key = house.key("carol").await;
    patiently("carol's key", async {
        while house.call_with(&key).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(house.uses("carol", &id).await.len(), 6);
    house.rig.stop().await;
}

/// Polls all at once.
async fn futures<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in waiting.iter_mut().zip(&mut done) {
            if result.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *result = Some(output);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn both_sides_see_their_side_of_a_use_and_the_owner_earns_by_it() {
    let house = Lending::open(true).await;
    let id = house.add("carol", "sk-carol").await;
    assert_eq!(house.share("carol", &id, 9).await.status, 200);
    house.lends(1).await;
    let answer = house.call().await;
    assert_eq!(answer.status, 200);
    let record = house.rig.record().await;
    assert_eq!(record.charge.get(), LIST_PRICE);
    let receipt = Receipt::decode(record.receipt.as_deref().expect("a receipt")).expect("a whole one");
    assert_eq!(receipt.owner, Owner::Shared);
    let log = house.rig.admin("GET", "/management/v1/requests").await.json();
    assert_eq!(log["data"][0]["owner"], "shared", "{log}");
    let statement = house.ask("carol", "GET", "/management/v1/transfers", &Value::Null).await;
    let booked = &statement.json()["data"][0];
    assert_eq!((&booked["kind"], &booked["points"]), (&json!("earning"), &json!("0.0375")), "{booked}");
    assert_eq!(booked["request"], Value::Null, "whose request it was is not told");
    let uses = house.uses("carol", &id).await;
    assert_eq!(uses.len(), 1);
    let (seen, text) = (&uses[0], uses[0].to_string());
    assert_eq!(
        (&seen["model"], &seen["outcome"], &seen["earned"]),
        (&json!("gpt-4o"), &json!("ok"), &json!("0.0375"))
    );
    assert_eq!((&seen["prompt_tokens"], &seen["output_tokens"]), (&json!(10), &json!(5)));
    for hidden in ["alice", &record.user.to_string(), &record.request.to_string()] {
        assert!(!text.contains(hidden), "{text}");
    }
    let foreign = house.ask("dave", "GET", &format!("{CREDENTIALS}/{id}/uses"), &Value::Null).await;
    assert_eq!(foreign.status, 404);
    assert_eq!(house.earned("carol").await, EARNED);
    // They are points like any other: she spends them at once.
    let spent = POINTS.get() + EARNED;
    assert_eq!(house.rig.balance("carol").await.get(), spent);
    house.rig.stop().await;
}

#[tokio::test]
async fn a_lender_earns_a_part_of_what_was_paid_and_no_more_where_a_payer_pays_more() {
    let house = Lending::open(true).await;
    let id = house.add("carol", "sk-carol").await;
    assert_eq!(house.share("carol", &id, 1000).await.status, 200);
    house.lends(1).await;
    let desk = house.rig.desk().await;
    for ppm in [0, 400_000, 3_000_000] {
        let rate = PriceRate::of_ppm(ppm).expect("a rate");
        desk.set_price_rate(Some(&["alice".to_owned()]), rate).await.expect("a rate");
        patiently("the rate to be in force", async {
            loop {
                assert_eq!(house.call().await.status, 200);
                let records = house.rig.records(1).await;
                if records
                    .last()
                    .is_some_and(|last| last.charge.get() == LIST_PRICE * i64::from(ppm) / 1_000_000)
                {
                    return;
                }
            }
        })
        .await;
    }
    let uses = patiently("every use to be settled", async {
        loop {
            let uses = house.uses("carol", &id).await;
            if uses.iter().all(|used| used["outcome"] == "ok") {
                return uses;
            }
        }
    })
    .await;
    assert!(uses.len() >= 3, "{uses:?}");
    // Nothing of a price of nothing, half of what two fifths are, and half of the published price of who pays three
    // times as much.
    let earned = |points: &str| uses.iter().filter(|used| used["earned"] == points).count();
    assert!(["0", "0.015", "0.0375"].iter().all(|points| earned(points) > 0), "{uses:?}");
    assert_eq!(earned("0") + earned("0.015") + earned("0.0375"), uses.len(), "{uses:?}");
    let report = desk.verify().await.expect("the database reads");
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    desk.close().await;
    house.rig.stop().await;
}

#[tokio::test]
async fn a_use_that_fails_earns_nothing_and_the_next_lender_serves() {
    let house = Lending::open(true).await;
    let (carols, daves) = (house.add("carol", "sk-carol").await, house.add("dave", "sk-dave").await);
    for (who, id) in [("carol", &carols), ("dave", &daves)] {
        assert_eq!(house.share(who, id, 9).await.status, 200);
    }
    house.lends(2).await;
    house.rig.upstream.enqueue(Script::json(429, LIMITED));
    assert_eq!(house.call().await.status, 200);
    let _settled = house.rig.record().await;
    let uses = [house.uses("carol", &carols).await, house.uses("dave", &daves).await].concat();
    let mut earned: Vec<_> =
        uses.iter().map(|used| (used["outcome"].to_string(), used["earned"].to_string())).collect();
    earned.sort();
    let expected =
        [(r#""ok""#, r#""0.0375""#), ("null", r#""0""#)].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(earned, expected);
    assert_eq!(house.earned("carol").await + house.earned("dave").await, EARNED);
    house.rig.stop().await;
}

#[tokio::test]
async fn ones_own_key_comes_before_lent_ones_and_these_before_the_platforms() {
    let house = Lending::with(|setup| {
        setup.credentials =
            vec![("openai", None, "sk-platform", 1000), ("openai", Some("alice"), "sk-alice", 1)];
    })
    .await;
    let id = house.add("carol", "sk-carol").await;
    assert_eq!(house.share("carol", &id, 9).await.status, 200);
    house.lends(1).await;
    assert_eq!(house.call().await.status, 200);
    for _ in 0..2 {
        house.rig.upstream.enqueue(Script::json(429, LIMITED));
    }
    assert_eq!(house.call().await.status, 200);
    assert_eq!(house.used(), ["sk-alice", "sk-alice", "sk-carol", "sk-platform"]);
    let _settled = house.rig.records(2).await;
    assert_eq!(house.earned("carol").await, 0);
    // Lenders still pay the price of an own key for it, and earn nothing by their own calls.
    let key = house.key("carol").await;
    house.unshare("carol", &id).await;
    let own = house.add("carol", "sk-carol-2").await;
    assert_eq!(house.share("carol", &own, 9).await.status, 200);
    house.lends(1).await;
    assert_eq!(house.call_with(&key).await.status, 200);
    assert_eq!(house.used().last().map(String::as_str), Some("sk-carol-2"));
    let newest = house.rig.records(3).await.into_iter().max_by_key(|record| record.request);
    assert_eq!(newest.expect("a record").charge.get(), LIST_PRICE / 10);
    assert!(house.uses("carol", &own).await.is_empty());
    house.rig.stop().await;
}

#[tokio::test]
async fn a_key_is_lent_once_whoever_has_it() {
    let house = Lending::open(true).await;
    let (carols, daves) = (house.add("carol", "sk-common").await, house.add("dave", "sk-common").await);
    assert_eq!(house.share("carol", &carols, 9).await.status, 200);
    assert_eq!(house.share("dave", &daves, 9).await.status, 409);
    assert_eq!(house.share("carol", &carols, 7).await.status, 200, "her own cap she may change");
    house.unshare("carol", &carols).await;
    assert_eq!(house.share("dave", &daves, 9).await.status, 200);
    house.rig.stop().await;
}

#[tokio::test]
async fn lenders_take_turns_whatever_weight_they_give_themselves() {
    let house = Lending::open(true).await;
    for (who, weight) in [("carol", 1000), ("dave", 100), ("erin", 1)] {
        let id = house.add(who, &format!("sk-{who}")).await;
        let path = format!("{CREDENTIALS}/{id}");
        assert_eq!(house.ask(who, "PATCH", &path, &json!({"weight": weight})).await.status, 200);
        assert_eq!(house.share(who, &id, 99).await.status, 200);
    }
    house.lends(3).await;
    for _ in 0..30 {
        assert_eq!(house.call().await.status, 200);
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for key in house.used() {
        *counts.entry(key).or_default() += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|count| *count >= 7), "{counts:?}");
    house.rig.stop().await;
}

#[tokio::test]
async fn a_hostile_selector_reaches_no_key_that_is_not_lent() {
    for (on_error, served) in [(OnError::Fallback, true), (OnError::Closed, false)] {
        let house = Lending::with(|setup| {
            setup.config.policies.key_selection.component = "burglar".to_owned();
            setup.config.policies.key_selection.on_error = on_error;
            let bytes =
                tollgate_components::find_guest("burglar").expect("the guest is built").bytes.to_vec();
            setup.plugins.push(("burglar", bytes));
        })
        .await;
        for who in ["carol", "dave", "erin"] {
            let id = house.add(who, &format!("sk-{who}")).await;
            if who == "dave" {
                assert_eq!(house.share(who, &id, 99).await.status, 200);
            }
        }
        house.lends(1).await;
        for _ in 0..20 {
            assert_eq!(house.call().await.status == 200, served);
        }
        assert!(house.used().iter().all(|key| key == "sk-dave"), "{:?}", house.used());
        assert_eq!(house.used().len(), if served { 20 } else { 0 });
        house.rig.stop().await;
    }
}

/// Calls in a loop until the gateway dies.
async fn call_until_it_dies(addr: std::net::SocketAddr, key: String) {
    let body = json!({"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    let request = Request::post(CHAT, &body).bearer(&key);
    let mut connection = Connection::open(addr).await;
    loop {
        connection.send(&request).await;
        let Ok(Some(_)) = connection.try_head().await else { return };
        if connection.body().await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_double_no_earning_and_forget_no_use() {
    let upstream = Upstream::start().await;
    upstream.respond(|_| Script::json(200, ANSWER));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = config_file(dir.path(), &upstream, "[lending]\nenabled = true\n");
    let config = Config::read(&path).expect("a configuration");
    let users = vec![("alice", Micropoints::from_points(100_000)), ("carol", Micropoints::ZERO)];
    let keys = gateway::provision(&config, users, vec![("openai", Some("carol"), "sk-carol", 100)])
        .await
        .expect("an empty database takes users");
    let desk = Management::open(&config).await.expect("the database opens");
    let credential = managed::credentials(&desk).await.expect("the database reads")[0].id;
    desk.share_credential(credential, 1_000_000, CONSENT_VERSION).await.expect("carol agrees");
    for round in 0..12 {
        let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &path).await;
        let callers: Vec<_> =
            (0..8).map(|_| tokio::spawn(call_until_it_dies(process.addr, keys["alice"].clone()))).collect();
        let until = upstream.count() + 20 + round;
        while upstream.count() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        process.kill().await;
        for caller in callers {
            caller.await.expect("no caller panicked");
        }
    }
    // One more start resolves what the last kill left.
    let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &path).await;
    let uses =
        desk.credential_uses(credential, Window::first(1_000_000)).await.expect("the database reads").rows;
    assert!(uses.len() >= upstream.count(), "{} {}", uses.len(), upstream.count());
    let records = managed::requests(&desk, u32::MAX).await.expect("the database reads");
    let paid = records.iter().filter(|record| record.outcome == Outcome::Ok);
    let due: i64 = paid.map(|record| record.charge.get() / 2).sum();
    let earned: i64 = uses.iter().map(|used| used.earned.get()).sum();
    let users = managed::users(&desk).await.expect("the database reads");
    let balance = users.iter().find(|user| user.name == "carol").expect("carol").balance.get();
    assert!(due > 0);
    assert_eq!((earned, balance), (due, due));
    let report = desk.verify().await.expect("the database reads");
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    desk.close().await;
    drop(process);
}

#[tokio::test]
async fn the_command_line_lends_a_key_only_by_a_text_that_is_named() {
    let rig = Rig::with(|setup| {
        setup.config.lending.enabled = true;
        setup.credentials = vec![("openai", Some("alice"), "sk-alice", 100)];
    })
    .await;
    let desk = rig.desk().await;
    let row = managed::credentials(&desk).await.expect("the database reads").remove(0);
    desk.share_credential(row.id, 3, "0").await.expect_err("an old text");
    assert_eq!(desk.share_credential(row.id, 3, CONSENT_VERSION).await.expect("a loan").actor, "cli");
    assert!(desk.unshare_credential(row.id).await.expect("the database writes").is_some());
    assert!(desk.unshare_credential(row.id).await.expect("the database reads").is_none());
    let _key = desk.create_key("alice", "other", None, KeyLimits::default()).await.expect("a key");
    desk.close().await;
    rig.stop().await;
}
