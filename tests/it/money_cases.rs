//! Money problems that users of other gateways report, one promise each. The numbers are those of the list that the
//! gateway was designed by: nine ways to lose money or to charge too much.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{ModelPrice, PriceRate, Rates, TierFactors};
use tollgate_core::receipt::Receipt;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_core::usage::{Class, Quality};
use tollgate_server::manage::{Management, PriceList};
use tollgate_store::{Durability, Options, Refund, Store, StoreError};
use tollgate_tests::client::{self, Connection, Reply, Request};
use tollgate_tests::gateway::{self, Rig};
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Gate, Script, Upstream};

const CHAT: &str = "/v1/chat/completions";
/// 10 prompt and 5 output tokens: 75,000 micro-points on gpt-4o.
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const CHARGE: i64 = 75_000;
/// Eight bytes of text: two tokens by estimate.
const EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n";

fn chat() -> Request {
    Request::new("POST", CHAT).body(r#"{"model":"gpt-4o"}"#)
}

fn streamed() -> Request {
    Request::new("POST", CHAT).body(r#"{"model":"gpt-4o","stream":true}"#)
}

async fn store(rig: &Rig) -> Store {
    let path = rig.config.server.data_dir.join("tollgate.db");
    Store::open(&path, Options { sync: Durability::Normal, ..Options::default() })
        .await
        .expect("the database opens")
}

/// Item 1: a client that leaves ends the upstream call, so that no one pays for unread tokens.
#[tokio::test]
async fn a_client_that_leaves_ends_the_upstream_call() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::sse().chunk(EVENT).hang());
    let mut client = Connection::open(rig.addr()).await;
    client.send(&streamed().bearer(rig.key("alice"))).await;
    let upstream = rig.upstream.next().await;
    client.head().await;
    client.read_until(EVENT).await;
    drop(client);
    upstream.closed().await;
    assert_eq!(rig.record().await.outcome, Outcome::CancelledAfterFirstByte);
    rig.stop().await;
}

/// Item 2: a client that leaves pays for exactly what came; one that leaves before anything came pays for its prompt.
#[tokio::test]
async fn who_leaves_pays_for_what_came_and_nothing_else() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::silence());
    let mut client = Connection::open(rig.addr()).await;
    client.send(&streamed().bearer(rig.key("alice"))).await;
    let upstream = rig.upstream.next().await;
    drop(client);
    upstream.closed().await;
    let before = rig.records(1).await.remove(0);
    // A prompt without a text has four tokens around it, at 2,500.
    assert_eq!((before.outcome, before.charge.get()), (Outcome::CancelledBeforeFirstByte, 4 * 2_500));

    rig.upstream.enqueue(Script::sse().chunk(EVENT).hang());
    let mut client = Connection::open(rig.addr()).await;
    client.send(&streamed().bearer(rig.key("alice"))).await;
    let upstream = rig.upstream.next().await;
    client.head().await;
    client.read_until(EVENT).await;
    drop(client);
    upstream.closed().await;
    let after = rig.records(2).await.pop().expect("a record");
    // Those four at 2,500, and two came at 10,000.
    assert_eq!((after.usage[Class::Input], after.usage[Class::Output]), (4, 2));
    assert_eq!((after.usage.quality, after.charge.get()), (Quality::Estimated, 4 * 2_500 + 2 * 10_000));
    rig.stop().await;
}

/// Item 3: the usage of an answer that does not state it is estimated from what passed, and a stated zero is not
/// missing.
#[tokio::test]
async fn usage_that_an_ending_lost_is_estimated_and_a_stated_zero_is_not() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::sse().chunk(EVENT).close());
    rig.call(streamed()).await;
    let lost = rig.records(1).await.remove(0);
    assert_eq!((lost.usage.quality, lost.usage[Class::Output]), (Quality::Estimated, 2));
    assert!(lost.charge > Micropoints::ZERO);

    let zero = r#"{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}"#;
    rig.upstream.enqueue(Script::json(200, zero));
    rig.call(chat()).await;
    let stated = rig.records(2).await.pop().expect("a record");
    assert_eq!((stated.usage.quality, stated.usage.output_total()), (Quality::Exact, 0));
    assert_eq!((stated.outcome, stated.charge), (Outcome::Empty, Micropoints::ZERO));
    rig.stop().await;
}

/// Item 4: an answer without content costs what its provider bills, the prompt, and an operator may give that away.
#[tokio::test]
async fn an_empty_answer_costs_its_prompt_and_no_output() {
    let rig = Rig::start().await;
    let before = rig.balance("alice").await.get();
    let empty = r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":0}}"#;
    rig.upstream.enqueue(Script::json(200, empty));
    assert_eq!(rig.call(chat()).await.status, 200);
    assert_eq!(rig.record().await.outcome, Outcome::Empty);
    assert_eq!(before - rig.balance("alice").await.get(), 10 * 2_500);
    rig.stop().await;
}

/// Item 5: tokens of a cache are priced once, at the cache's price, and a class without a price cannot be published.
#[tokio::test]
async fn a_cached_token_is_priced_once_and_no_class_is_free_by_omission() {
    let rig = Rig::start().await;
    let usage = json!({"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 900}});
    rig.upstream.enqueue(Script::json(200, json!({"choices": [], "usage": usage}).to_string()));
    rig.call(chat()).await;
    // 100 x 2,500 + 900 x 1,250 + 10 x 10,000: the cached 900 are not among the 100.
    let record = rig.record().await;
    assert_eq!(record.charge.get(), 100 * 2_500 + 900 * 1_250 + 10 * 10_000);
    let desk = rig.desk().await;
    let lines = desk.receipt(record.request).await.expect("a receipt").lines();
    let lines: Vec<_> = lines.iter().map(|line| (line.class, line.units, line.amount.get())).collect();
    assert_eq!(lines, [("input", 100, 250_000), ("cache_read", 900, 1_125_000), ("output", 10, 100_000)]);
    desk.close().await;
    rig.stop().await;
}

/// Item 6: a reservation is resolved once, and a charge is refunded once, however often and by however many it is
/// requested.
#[tokio::test]
async fn nothing_is_refunded_twice_and_never_more_than_was_paid() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let before = rig.balance("alice").await.get();
    rig.call(chat()).await;
    let request = rig.record().await.request;
    let store = store(&rig).await;
    let now = tollgate_core::time::Timestamp::from_millis(1_800_000_000_000);
    let refund = |amount: Option<i64>, key: Option<&'static str>| Refund {
        request,
        amount: amount.map(Micropoints::new),
        reason: "sorry",
        actor: "test",
        key,
    };
    let first = store.ledger.refund(&refund(Some(30_000), Some("a")), now).await.expect("a part");
    let again = store.ledger.refund(&refund(Some(30_000), Some("a")), now).await.expect("the same part");
    assert_eq!((again.transfer, again.repeated), (first.transfer, true));
    let other = store.ledger.refund(&refund(Some(30_001), Some("a")), now).await;
    assert!(matches!(other, Err(StoreError::Exists(_))), "{other:?}");
    let more = store.ledger.refund(&refund(Some(45_001), None), now).await;
    assert!(matches!(more, Err(StoreError::Refused(_))), "{more:?}");
    let mut racers = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        let rest = Refund { request, amount: None, reason: "the rest", actor: "test", key: None };
        racers.spawn(async move { store.ledger.refund(&rest, now).await.is_ok() });
    }
    let won = racers.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1, "the rest is given back once");
    assert_eq!(rig.balance("alice").await.get(), before);
    store.close().await;
    rig.stop().await;
}

/// Item 7: 64 clients spend from one account at once, through the real binary: holds and charges never pass the floor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_spenders_never_pass_the_floor() {
    const SPENDERS: usize = 64;
    let upstream = Upstream::start().await;
    upstream.respond(|_| Script::json(200, ANSWER));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = config_file(dir.path(), &upstream, "");
    let config = tollgate_server::config::Config::read(&path).expect("a configuration");
    let body = r#"{"model":"gpt-4o","max_tokens":5}"#;
    // Enough for 200 calls, one after the other: 34 bytes are 12 tokens, held with 5 of output.
    let points = Micropoints::new(200 * CHARGE + 12 * 2_500 + 5 * 10_000 - CHARGE);
    let users = vec![("alice", points)];
    let keys = gateway::provision(&config, users, vec![("openai", None, "platform-openai", 100)])
        .await
        .expect("an empty database takes users");
    let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &path).await;
    let request = Request::new("POST", CHAT).body(body).bearer(&keys["alice"]);
    let mut spenders = JoinSet::new();
    for _ in 0..SPENDERS {
        let (addr, request) = (process.addr, request.clone());
        spenders.spawn(async move {
            let mut paid = 0;
            // A refused client may have met the others' holds: it goes on until it is refused with nothing held.
            for _ in 0..100 {
                match client::call(addr, &request).await.status {
                    200 => paid += 1,
                    402 => {}
                    other => panic!("answered with {other}"),
                }
            }
            paid
        });
    }
    let paid: i64 = spenders.join_all().await.into_iter().sum();
    assert_eq!(paid, 200, "all that could be paid for was, and no more");
    let desk = Management::open(&config).await.expect("the database opens");
    let charged = patiently("the last settlement", async {
        loop {
            let records = managed::requests(&desk, u32::MAX).await.expect("the database reads");
            let charged: i64 = records.iter().map(|record| record.charge.get()).sum();
            if charged == paid * CHARGE {
                return charged;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let balance = managed::users(&desk).await.expect("the database reads")[0].balance;
    assert_eq!(balance.get(), points.get() - charged);
    assert!(balance >= Micropoints::ZERO);
    assert_eq!(desk.verify().await.expect("the database reads").violations, []);
    desk.close().await;
    drop(process);
}

/// Item 8: a request is settled at the prices and the rate of its admission, whatever is published while it is under
/// way.
#[tokio::test]
async fn a_price_that_changes_on_the_way_changes_no_charge() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    rig.upstream.enqueue(Script::default().gate(&gate).write(answer));
    let (addr, request) = (rig.addr(), chat().bearer(rig.key("alice")));
    let under_way = tokio::spawn(async move { client::call(addr, &request).await.status });
    gate.reached().await;
    let desk = rig.desk().await;
    let base = Rates::of(0, &[(Class::Input, 5_000_000_000), (Class::Output, 20_000_000_000)]);
    let price = ModelPrice {
        provider: "openai".into(),
        base,
        long_prompt: None,
        output_tokens_max: 100,
        tiers: TierFactors::default(),
    };
    let list = PriceList {
        models: HashMap::from([("gpt-4o".to_owned(), price)]),
        effective_at: None,
        note: Some("doubled".to_owned()),
    };
    let version = desk.publish_prices(&list).await.expect("a version");
    let half = PriceRate::of_ppm(500_000).expect("a rate");
    desk.set_price_rate(None, half).await.expect("a rate for all");
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    // The new prices at half the rate are the old ones; their version tells which were used.
    let mut count = 1;
    patiently("the new prices to be in force", async {
        loop {
            count += 1;
            rig.call(chat()).await;
            let last = rig.records(count - 1).await.pop().expect("a record");
            if last.price_version == Some(version) && last.charge.get() == CHARGE {
                return;
            }
        }
    })
    .await;
    gate.open();
    assert_eq!(under_way.await.expect("no panic"), 200);
    let records = rig.records(count).await;
    let first = records.iter().min_by_key(|record| record.request).expect("a record");
    assert_eq!((first.price_version, first.charge.get()), (Some(1), CHARGE));
    let receipt = desk.receipt(first.request).await.expect("a receipt");
    assert_eq!((receipt.price_rate, receipt.rates[Class::Input]), (PriceRate::FULL, 2_500_000_000));
    desk.close().await;
    rig.stop().await;
}

/// Item 9: balance, statement, records and receipts are sums of the same movements.
#[tokio::test]
async fn every_page_is_a_sum_of_one_ledger() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let granted = rig.balance("alice").await.get();
    for _ in 0..7 {
        rig.call(chat()).await;
    }
    let records = rig.records(7).await;
    let store = store(&rig).await;
    let user = store.catalogue.find_user("alice").await.expect("alice").id;
    let (mut lines, mut before) = (Vec::new(), None);
    loop {
        let page = store.ledger.statement(user, before, 3).await.expect("a page");
        let Some(last) = page.last() else { break };
        before = Some(last.seq);
        lines.extend(page);
    }
    let stated: i64 = lines.iter().map(|line| line.amount.get()).sum();
    let recorded: i64 = records.iter().map(|record| record.charge.get()).sum();
    let receipted: i64 = records
        .iter()
        .map(|record| Receipt::decode(record.receipt.as_deref().expect("a receipt")).expect("a receipt"))
        .flat_map(|receipt| receipt.lines())
        .map(|line| line.amount.get())
        .sum();
    assert_eq!((recorded, receipted), (7 * CHARGE, 7 * CHARGE));
    assert_eq!(stated, granted - recorded);
    assert_eq!(rig.balance("alice").await.get(), stated);
    assert_eq!(lines.iter().filter(|line| line.kind == "charge").count(), 7);
    store.close().await;
    rig.stop().await;
}

/// All numbers in a JSON value; decimal strings count, in millionths.
fn numbers(value: &Value, found: &mut Vec<i128>) {
    match value {
        Value::Number(number) => found.extend(number.as_i64().map(i128::from)),
        Value::String(text) => {
            found.extend(Micropoints::parse_points(text).map(|points| i128::from(points.get())));
        }
        Value::Array(list) => list.iter().for_each(|value| numbers(value, found)),
        Value::Object(members) => members.values().for_each(|value| numbers(value, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// A user's price rate is in what they are charged and in nothing that they are told.
#[tokio::test]
async fn no_answer_to_a_user_tells_his_price_rate_nor_lets_him_compute_it() {
    const PPM: u32 = 1_370_000;
    const PASSWORD: &str = "correct horse battery";
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let desk = rig.desk().await;
    let password = || Some(Secret::new(PASSWORD.to_owned()));
    managed::add_account(&desk, "carol", Role::User, password(), Micropoints::from_points(9))
        .await
        .expect("a user");
    let (_, key) = desk.create_key("carol", "k", None, Default::default()).await.expect("a key");
    let rate = PriceRate::of_ppm(PPM).expect("a rate");
    desk.set_price_rate(Some(&["carol".to_owned()]), rate).await.expect("a rate");
    let mut texts = Vec::new();
    let charged = CHARGE * i64::from(PPM) / 1_000_000;
    let call = Request::new("POST", CHAT).body(r#"{"model":"gpt-4o","max_tokens":5}"#).bearer(key.expose());
    patiently("the key and the rate to be in force", async {
        loop {
            let reply: Reply = client::call(rig.addr(), &call).await;
            texts.push(reply.text());
            if reply.status != 200 {
                continue;
            }
            let records = rig.records(1).await;
            if records.iter().any(|record| record.charge.get() == charged) {
                return;
            }
        }
    })
    .await;
    let records = rig.records(1).await;
    let record = records.iter().find(|record| record.charge.get() == charged).expect("the charge");
    let receipt = desk.receipt(record.request).await.expect("a receipt");
    assert_eq!(
        (receipt.price_rate, receipt.rates[Class::Input]),
        (rate, 2_500_000_000),
        "operators see both"
    );
    let body = json!({"name": "carol", "password": PASSWORD});
    let login = client::call(rig.admin_addr(), &Request::post("/management/v1/login", &body)).await;
    let token = login.json()["access_token"].as_str().expect("a token").to_owned();
    let id = record.request.to_string();
    let receipt = format!("/management/v1/receipts/{id}");
    for target in ["/management/v1/me", "/management/v1/keys", "/management/v1/transfers", &receipt] {
        let reply = client::call(rig.admin_addr(), &Request::get(target).bearer(&token)).await;
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        texts.push(reply.text());
    }
    for target in ["/management/v1/price-rates", "/management/v1/prices", &format!("{receipt}/inputs")] {
        let reply = client::call(rig.admin_addr(), &Request::get(target).bearer(&token)).await;
        assert_eq!(reply.status, 403, "{target}");
        texts.push(reply.text());
    }
    // What the prompt's estimate costs at most, in the words of a refusal.
    let dear = Request::new("POST", CHAT).body(r#"{"model":"gpt-4o","max_tokens":16000,"n":128}"#);
    let refused = client::call(rig.addr(), &dear.bearer(key.expose())).await;
    assert_eq!(refused.status, 402);
    texts.push(refused.text());
    let mut found = Vec::new();
    for text in &texts {
        for word in ["1370000", "1.37", "370000", "price_rate", "ppm"] {
            assert!(!text.contains(word), "`{word}` in {text}");
        }
        if let Ok(value) = serde_json::from_str(text) {
            numbers(&value, &mut found);
        }
    }
    assert!(found.contains(&i128::from(charged)), "the charge itself is shown");
    for a in &found {
        for b in found.iter().filter(|b| **b > 100) {
            let off = (a * 1_000_000 - b * i128::from(PPM)).abs();
            assert!(off > *b, "{a} to {b} is the rate");
        }
    }
    desk.close().await;
    rig.stop().await;
}
