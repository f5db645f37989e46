//! A process may die at any moment: what was settled stays settled, nothing is charged twice, and the ledger is right.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::json;
use tollgate_core::id::RequestId;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_server::config::Config;
use tollgate_server::manage::Management;
use tollgate_store::RequestRecord;
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway;
use tollgate_tests::managed;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

/// Rounds of kills, unless `TOLLGATE_CRASH_ROUNDS` says otherwise.
const ROUNDS: usize = 50;
const CALLERS: usize = 8;
/// Records that are read just before a kill.
const RECENT: u32 = 500;
const POINTS: Micropoints = Micropoints::from_points(1_000_000);
/// 10 prompt and 5 output tokens of gpt-4o at the platform's price.
const PRICE: i64 = 75_000;
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

/// Calls in a loop until the gateway dies; the ids of the requests whose answers came whole.
async fn call_until_it_dies(addr: std::net::SocketAddr, key: String) -> Vec<RequestId> {
    let body = json!({"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    let request = Request::post("/v1/chat/completions", &body).bearer(&key);
    let mut seen = Vec::new();
    let mut connection = Connection::open(addr).await;
    loop {
        connection.send(&request).await;
        let Ok(Some(head)) = connection.try_head().await else { return seen };
        assert_eq!(head.word(1), "200");
        let id = head.header("x-tollgate-request-id").expect("every answer names its request").parse();
        if connection.body().await.is_err() {
            return seen;
        }
        seen.push(id.expect("a request id"));
    }
}

/// The last `limit` records.
async fn records(desk: &Management, limit: u32) -> HashMap<RequestId, RequestRecord> {
    let records = managed::requests(desk, limit).await.expect("the database reads");
    let count = records.len();
    let by_id: HashMap<_, _> = records.into_iter().map(|record| (record.request, record)).collect();
    assert_eq!(by_id.len(), count, "a request was recorded twice");
    by_id
}

/// Compares the ledger with what the client saw: every answer is recorded, at its price or as unknown and free; the
/// account paid what the records say; and every rule of the ledger holds.
async fn check_books(desk: &Management, answered: &[RequestId], settled: &HashMap<RequestId, RequestRecord>) {
    let all = records(desk, u32::MAX).await;
    for (id, record) in settled {
        assert_eq!(all.get(id), Some(record), "a settled charge was lost or changed");
    }
    for id in answered {
        let record = all.get(id).expect("an answered request has a record");
        match record.outcome {
            Outcome::Ok => assert_eq!(record.charge.get(), PRICE),
            Outcome::Unknown => assert_eq!(record.charge, Micropoints::ZERO),
            other => panic!("an answered request ended as {other:?}"),
        }
    }
    let charged: i64 = all.values().map(|record| record.charge.get()).sum();
    let balance = managed::users(desk).await.expect("the database reads")[0].balance;
    assert_eq!(POINTS.get() - balance.get(), charged, "the account paid what the records say");
    let report = desk.verify().await.expect("the database reads");
    assert!(report.violations.is_empty(), "{:?}", report.violations);
}

fn rounds() -> usize {
    let asked = std::env::var("TOLLGATE_CRASH_ROUNDS").ok();
    asked.map_or(ROUNDS, |text| text.parse().expect("a number of rounds"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_lose_no_settled_charge_and_double_none() {
    let upstream = Upstream::start().await;
    upstream.respond(|_| Script::json(200, ANSWER));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = config_file(dir.path(), &upstream, "");
    let config = Config::read(&path).expect("a configuration");
    let keys =
        gateway::provision(&config, vec![("alice", POINTS)], vec![("openai", None, "platform-openai", 100)])
            .await
            .expect("an empty database takes users");
    let mut answered: Vec<RequestId> = Vec::new();
    let mut settled: HashMap<RequestId, RequestRecord> = HashMap::new();
    for round in 0..rounds() {
        let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &path).await;
        // What the last kill left is resolved by now.
        let desk = Management::open(&config).await.expect("the database opens beside the gateway");
        check_books(&desk, &answered, &settled).await;
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| tokio::spawn(call_until_it_dies(process.addr, keys["alice"].clone())))
            .collect();
        // Each round kills later, so that kills happen everywhere between two requests.
        let until = upstream.count() + 20 + round % ROUNDS;
        while upstream.count() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Few enough to be read at once, while the load goes on.
        settled = records(&desk, RECENT).await;
        process.kill().await;
        for caller in callers {
            answered.extend(caller.await.expect("no caller panicked"));
        }
        desk.close().await;
    }
    // One more start resolves what the last kill left.
    let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &path).await;
    let desk = Management::open(&config).await.expect("the database opens");
    check_books(&desk, &answered, &settled).await;
    // Only what was answered in the last few milliseconds before a kill may be free.
    let all = records(&desk, u32::MAX).await;
    let paid = answered.iter().filter(|id| all[*id].outcome == Outcome::Ok).count();
    assert!(paid > answered.len() / 2, "{paid} of {} answers are paid", answered.len());
    desk.close().await;
    drop(process);
}
