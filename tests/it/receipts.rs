//! A charge can be computed again: by the archived component that made it, and by another one, to see what users would
//! pay.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

/// 10 prompt and 5 output tokens: 75,000 micro-points on gpt-4o.
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

/// Runs a command on the data directory of a gateway that serves from it.
fn tollgate(rig: &Rig, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"));
    command
        .current_dir(rig.dir())
        .arg("--data-dir")
        .arg(&rig.config.server.data_dir)
        .arg("--json")
        .args(args);
    command.env_remove("TOLLGATE_CONFIG").output().expect("the binary runs")
}

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error} in {text:?}, {}", String::from_utf8_lossy(&output.stderr)))
}

async fn called(count: usize) -> Rig {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    for _ in 0..count {
        rig.call(Request::new("POST", "/v1/chat/completions").body(r#"{"model":"gpt-4o"}"#)).await;
    }
    rig.records(count).await;
    rig
}

/// The kept component of the built-in policy.
fn kept(rig: &Rig) -> PathBuf {
    let dir = rig.config.server.data_dir.join("components");
    let files = std::fs::read_dir(dir).expect("components are kept");
    let mut wasm = files.map(|file| file.expect("a file").path());
    wasm.find(|path| path.extension().is_some_and(|end| end == "wasm")).expect("a component")
}

#[tokio::test]
async fn every_charge_is_computed_again_and_a_forged_one_is_found() {
    let rig = called(3).await;
    let verified = tollgate(&rig, &["receipt", "verify"]);
    assert_eq!(
        json_of(&verified),
        json!({"receipts": 3, "equal": 3, "differ": 0, "not_computable": 0, "differing": [], "uncomputed": []})
    );
    assert!(verified.status.success());
    let id = rig.records(3).await[0].request.to_string();
    assert_eq!(json_of(&tollgate(&rig, &["receipt", "verify", &id]))["receipts"], 1);
    assert_eq!(json_of(&tollgate(&rig, &["receipt", "verify", "--since", "1h"]))["receipts"], 3);
    let shown = json_of(&tollgate(&rig, &["receipt", "show", &id]));
    assert_eq!((&shown["charge"], &shown["price_rate_ppm"]), (&json!("0.075"), &json!(1_000_000)));
    assert_eq!(shown["lines"][0], json!({"class": "input", "units": 10, "points": "0.025"}));

    // Someone changes the archived component: it cannot prove anything any more.
    let path = kept(&rig);
    let bytes = std::fs::read(&path).expect("the component");
    std::fs::write(&path, b"\0asm").expect("it can be written");
    let doubted = tollgate(&rig, &["receipt", "verify"]);
    let found = json_of(&doubted);
    let counts = (&found["equal"], &found["differ"], &found["not_computable"]);
    assert_eq!((doubted.status.code(), counts), (Some(1), (&json!(0), &json!(0), &json!(3))));
    let why = found["uncomputed"][0]["why"].as_str().expect("a reason");
    assert!(why.contains("not what it was"), "{why}");
    std::fs::write(&path, bytes).expect("it can be written");
    assert!(tollgate(&rig, &["receipt", "verify"]).status.success());
    rig.stop().await;
}

#[tokio::test]
async fn a_replay_shows_who_would_pay_what_and_changes_nothing() {
    let rig = called(2).await;
    let component = kept(&rig).display().to_string();
    let before = rig.balance("alice").await;
    let config = r#"{"platform_ppm": 3000000}"#;
    let replay = ["price", "replay", "--component", &component, "--config-json", config, "--since", "1h"];
    let rows = json_of(&tollgate(&rig, &replay));
    let row = |what: &str, name: &str| json!({"what": what, "name": name, "requests": 2, "equal": 0, "differ": 2, "not_computable": 0, "charged": "0.15", "replayed": "0.45", "difference": "0.3"});
    assert_eq!(rows, json!([row("user", "alice"), row("model", "gpt-4o"), row("total", "all")]));
    let same = json_of(&tollgate(&rig, &["price", "replay", "--component", &component]));
    assert_eq!(same[2]["difference"], "0", "with the running configuration nothing differs");
    assert_eq!((&same[2]["equal"], &same[2]["differ"]), (&json!(2), &json!(0)));
    assert_eq!(rig.balance("alice").await, before);
    assert!(tollgate(&rig, &["receipt", "verify"]).status.success());
    rig.stop().await;
}

#[tokio::test]
async fn a_refund_at_the_command_line_gives_back_what_was_paid_and_no_more() {
    let rig = called(1).await;
    let after = rig.balance("alice").await;
    let id = rig.record().await.request.to_string();
    let refund =
        |more: &[&str]| tollgate(&rig, &[&["ledger", "refund", &id, "--reason", "cut off"], more].concat());
    let part = ["0.03", "--key", "ticket-1"];
    let first = json_of(&refund(&part));
    assert_eq!(first["refunded"], "0.03");
    assert_eq!(json_of(&refund(&part))["transfer"], first["transfer"], "the same key is the same refund");
    let more = refund(&["0.045001"]);
    assert_eq!(more.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&more.stderr).contains("0.045 points of this request are left"));
    assert_eq!(json_of(&refund(&[]))["refunded"], "0.045", "the rest");
    assert_eq!(refund(&[]).status.code(), Some(1), "nothing is left");
    let unknown = "01890000-0000-7000-8000-000000000000";
    let missing = tollgate(&rig, &["ledger", "refund", unknown, "--reason", "?"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no such settled request"));
    assert_eq!(rig.balance("alice").await.get(), after.get() + 75_000);
    assert_eq!(json_of(&tollgate(&rig, &["ledger", "verify"]))["violations"], 0);
    let noted = json_of(&tollgate(&rig, &["audit", "--target", &id]));
    assert_eq!(noted.as_array().map(Vec::len), Some(2), "each refund once: {noted}");
    rig.stop().await;
}
