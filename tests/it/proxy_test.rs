//! `POST /management/v1/proxy/test`: one request through the whole road, with a report of each step, and without a
//! charge.

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
use tollgate_tests::upstream::Script;

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const PATH: &str = "/management/v1/proxy/test";

async fn rig() -> Rig {
    Rig::with(|setup| setup.credentials.push(("openai", None, "second-openai", 100))).await
}

async fn order(rig: &Rig, order: Value) -> Reply {
    let request = Request::post(PATH, &order).bearer(rig.admin_secret());
    client::call(rig.admin_addr(), &request).await
}

fn step<'r>(report: &'r Value, name: &str) -> &'r Value {
    let steps = report["steps"].as_array().expect("steps");
    let found = steps.iter().find(|step| step["step"] == name);
    &found.unwrap_or_else(|| panic!("no step {name} in {report}"))["detail"]
}

fn names(report: &Value) -> Vec<&str> {
    let steps = report["steps"].as_array().expect("steps").iter();
    steps.map(|step| step["step"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn a_dry_run_goes_the_whole_way_of_a_call_and_tells_what_each_step_decided() {
    let rig = rig().await;
    let before = rig.balance("alice").await;
    rig.upstream.enqueue(Script::json(429, "{}"));
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let reply = order(&rig, json!({"model": "gpt-4o"})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let report = reply.json();
    assert_eq!((&report["status"], report["answer"].as_str()), (&json!(200), Some(ANSWER)));
    let expected = [
        "authenticate",
        "limit",
        "read",
        "filter",
        "reserve",
        "select",
        "adapt",
        "forward",
        "select",
        "adapt",
        "forward",
        "relay",
        "meter",
        "charge",
    ];
    assert_eq!(names(&report), expected);
    let candidates = step(&report, "select")["candidates"].as_array().expect("candidates");
    assert_eq!(candidates.len(), 2);
    assert_eq!(candidates[0]["weight"], json!(100));
    assert_eq!(step(&report, "forward")["failure"], "rate-limited");
    assert_eq!(
        (&step(&report, "meter")["prompt"], &step(&report, "meter")["output"]),
        (&json!(10), &json!(5))
    );
    assert_eq!(step(&report, "charge")["points"], "0.075");
    assert_eq!(step(&report, "charge")["account"], "proxy-test");
    assert_eq!(rig.balance("alice").await, before, "nobody else pays");
    for secret in ["platform-openai", "second-openai", rig.key("alice"), rig.admin_secret()] {
        assert!(!reply.text().contains(secret), "{}", reply.text());
    }
    let record = rig.record().await;
    assert_eq!((Some(record.request.to_string().as_str()), record.attempts), (report["request"].as_str(), 2));
    let desk = rig.desk().await;
    assert_eq!(desk.verify().await.expect("a report").violations, []);
    desk.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_dry_run_asks_the_credential_that_it_names_and_no_other() {
    let rig = rig().await;
    let desk = rig.desk().await;
    let credentials = managed::credentials(&desk).await.expect("credentials");
    desk.close().await;
    let openai: Vec<_> = credentials.iter().filter(|credential| credential.provider == "openai").collect();
    for credential in &openai {
        let id = credential.id.to_string();
        rig.upstream.enqueue(Script::json(200, ANSWER));
        let report = order(&rig, json!({"model": "gpt-4o", "credential": id, "stream": false})).await.json();
        assert_eq!(step(&report, "select")["chosen"], json!(id));
        assert_eq!(step(&report, "select")["candidates"].as_array().map(Vec::len), Some(1));
    }
    let other = credentials.iter().find(|credential| credential.provider == "google").expect("one of google");
    let report = order(&rig, json!({"model": "gpt-4o", "credential": other.id.to_string()})).await.json();
    assert_eq!((&report["status"], &step(&report, "select")["candidates"]), (&json!(503), &json!([])));
    rig.stop().await;
}

#[tokio::test]
async fn a_dry_run_in_the_place_of_a_key_meets_its_limits() {
    let rig = rig().await;
    let desk = rig.desk().await;
    let limits =
        tollgate_core::limits::KeyLimits { models: vec!["claude-*".to_owned()], ..Default::default() };
    let (key, _) = desk.create_key("alice", "narrow", None, limits).await.expect("a key");
    desk.close().await;
    let dry_run = json!({"model": "gpt-4o", "key": key.to_string()});
    let report = tollgate_tests::patiently("the key to be known", async {
        loop {
            let reply = order(&rig, dry_run.clone()).await;
            if reply.status == 200 {
                break reply.json();
            }
            assert_eq!(reply.status, 404, "{}", reply.text());
        }
    })
    .await;
    assert_eq!(report["status"], json!(403));
    assert_eq!(step(&report, "limit")["limited"], json!(true));
    assert!(!names(&report).contains(&"forward"));
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_tried_is_refused_with_the_reason() {
    let rig = rig().await;
    for wrong in [
        json!({}),
        json!({"model": "gpt-4o", "protocol": "morse"}),
        json!({"model": "gpt-4o", "credential": "x"}),
        json!({"model": "gpt-4o", "key": "x"}),
        json!({"model": "gpt-4o", "colour": "red"}),
    ] {
        assert_eq!(order(&rig, wrong.clone()).await.status, 400, "{wrong}");
    }
    let unknown = order(&rig, json!({"model": "none"})).await.json();
    assert_eq!(unknown["status"], json!(404));
    let forged = Request::post("/v1/chat/completions", &json!({"model": "gpt-4o"}));
    let forged = forged.header("x-tollgate-dry-run", "0".repeat(64).as_str());
    assert_eq!(client::call(rig.addr(), &forged).await.status, 401, "a token is made here");
    assert_eq!(rig.balance("alice").await, Micropoints::from_points(1000));
    rig.stop().await;
}
