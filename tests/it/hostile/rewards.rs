//! Points come from operators. Nobody makes some of nothing: not with a key that is lent, and not with keys that are
//! brought.

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::price::PriceRate;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_server::manage::CONSENT_VERSION;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
use tollgate_tests::upstream::Script;

const CHAT: &str = "/v1/chat/completions";
const CREDENTIALS: &str = "/management/v1/credentials";
const PASSWORD: &str = "correct horse battery";
/// 10 prompt and 5 output tokens: 75,000 micro-points on gpt-4o.
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
/// 1,000 output tokens, whatever was asked for: 10,025,000 micro-points.
const LONG: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":1000}}"#;
const EMPTY: &str = r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":0}}"#;

/// A gateway that lends carol's key to alice, who has so many points and pays so much of the prices.
async fn lent(points: i64, ppm: u32) -> Rig {
    let mut rig = Rig::with(|setup| {
        setup.config.lending.enabled = true;
        setup.users = vec![("alice", Micropoints::new(points)), ("carol", Micropoints::ZERO)];
        setup.credentials = vec![("openai", Some("carol"), "sk-carol", 100)];
    })
    .await;
    let desk = rig.desk().await;
    let credential = managed::credentials(&desk).await.expect("the database reads").remove(0).id;
    desk.share_credential(credential, 1000, CONSENT_VERSION).await.expect("carol agrees");
    let rate = PriceRate::of_ppm(ppm).expect("a rate");
    desk.set_price_rate(Some(&["alice".to_owned()]), rate).await.expect("a rate");
    desk.close().await;
    rig.restart().await;
    rig
}

/// What alice paid for one call, and what carol earned by it.
async fn paid_and_earned(rig: Rig, points: i64, answer: &str) -> (i64, i64) {
    rig.upstream.enqueue(Script::json(200, answer));
    let request = Request::new("POST", CHAT).body(r#"{"model":"gpt-4o","max_tokens":1}"#);
    assert_eq!(rig.call(request).await.status, 200);
    rig.records(1).await;
    let paid = points - rig.balance("alice").await.get();
    let earned = rig.balance("carol").await.get();
    rig.stop().await;
    (paid, earned)
}

#[tokio::test]
async fn no_lender_earns_more_than_a_part_of_what_was_paid() {
    const POINTS: i64 = 1_000_000_000;
    for (name, ppm, points, answer, paid, earned) in [
        ("the whole price", 1_000_000, POINTS, ANSWER, 75_000, 37_500),
        ("a tenth of it", 100_000, POINTS, ANSWER, 7_500, 3_750),
        ("nearly nothing", 1, POINTS, ANSWER, 1, 0),
        ("nothing", 0, POINTS, ANSWER, 0, 0),
        ("three times as much", 3_000_000, POINTS, ANSWER, 225_000, 37_500),
        ("less than was charged", 1_000_000, 80_000, LONG, 80_000, 40_000),
        ("a tenth, and less than that", 100_000, 80_000, LONG, 80_000, 40_000),
        // Its prompt is paid for.
        ("an empty answer", 1_000_000, POINTS, EMPTY, 25_000, 12_500),
    ] {
        let rig = lent(points, ppm).await;
        assert_eq!(paid_and_earned(rig, points, answer).await, (paid, earned), "{name}");
    }
}

#[tokio::test]
async fn two_users_of_one_person_only_lose_by_lending_to_each_other() {
    let rig = lent(1_000_000_000, 100_000).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let mut sum = 1_000_000_000;
    for count in 1..=5 {
        assert_eq!(rig.call(Request::new("POST", CHAT).body(r#"{"model":"gpt-4o"}"#)).await.status, 200);
        rig.records(count).await;
        let now = rig.balance("alice").await.get() + rig.balance("carol").await.get();
        assert!(now < sum, "{now} after {sum}");
        sum = now;
    }
    rig.stop().await;
}

/// Two users who bring provider keys, each of which is worth a point the first time. No provider names its accounts.
struct Office {
    rig: Rig,
    tokens: [String; 2],
}

impl Office {
    async fn open() -> Self {
        let rig = Rig::with(|setup| {
            setup.credentials.clear();
            setup.config.policies.pricing.config =
                toml::from_str("first_credential_reward = 1000000").expect("a table");
        })
        .await;
        rig.upstream.respond(|_| Script::json(200, r#"{"data":[],"models":[]}"#));
        let desk = rig.desk().await;
        let mut tokens = Vec::new();
        for name in ["carol", "dave"] {
            let password = Some(Secret::new(PASSWORD.to_owned()));
            managed::add_account(&desk, name, Role::User, password, Micropoints::ZERO).await.expect("a user");
            let login = Request::post("/management/v1/login", &json!({"name": name, "password": PASSWORD}));
            let reply = client::call(rig.admin_addr(), &login).await;
            tokens.push(reply.json()["access_token"].as_str().expect("a token").to_owned());
        }
        desk.close().await;
        Self { rig, tokens: tokens.try_into().expect("two tokens") }
    }

    async fn ask(&self, who: usize, method: &str, target: &str, body: &Value) -> Reply {
        let request = Request::new(method, target).bearer(&self.tokens[who]);
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        client::call(self.rig.admin_addr(), &request).await
    }

    /// Adds a key, and returns where it is and whether it was worth anything.
    async fn bring(&self, who: usize, provider: &str, secret: &str) -> (String, bool) {
        let reply =
            self.ask(who, "POST", CREDENTIALS, &json!({"provider": provider, "secret": secret})).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        let made = reply.json();
        (format!("{CREDENTIALS}/{}", made["id"].as_str().expect("an id")), !made["reward"].is_null())
    }
}

#[tokio::test]
async fn keys_of_one_project_earn_one_reward() {
    const CAROL: usize = 0;
    const DAVE: usize = 1;
    let office = Office::open().await;
    let (first, rewarded) = office.bring(CAROL, "google", "AIza-1").await;
    assert!(rewarded);
    for number in 2..=5 {
        assert!(!office.bring(CAROL, "google", &format!("AIza-{number}")).await.1, "key {number}");
    }
    // Taken away and brought again; brought by somebody else; checked again.
    assert_eq!(office.ask(CAROL, "DELETE", &first, &Value::Null).await.status, 204);
    let (again, rewarded) = office.bring(CAROL, "google", "AIza-1").await;
    assert!(!rewarded);
    assert!(!office.bring(DAVE, "google", "AIza-1").await.1);
    assert!(!office.bring(DAVE, "google", "AIza-3").await.1);
    let checked = office.ask(CAROL, "POST", &format!("{again}/check"), &Value::Null).await;
    assert!(checked.json()["reward"].is_null(), "{}", checked.text());
    // Neither does another provider name its accounts here.
    assert!(office.bring(CAROL, "openai", "sk-1").await.1);
    assert!(!office.bring(CAROL, "openai", "sk-2").await.1);
    assert_eq!(office.rig.balance("carol").await, Micropoints::from_points(2));
    assert_eq!(office.rig.balance("dave").await, Micropoints::ZERO);
    office.rig.stop().await;
}
