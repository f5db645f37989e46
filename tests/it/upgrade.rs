//! Data of version 0.1.0 is taken over completely: `fixtures/data-0.1.0.tar.gz` is a data directory that it wrote,
//! killed with `kill -9` amid traffic of four protocols. It holds two users, three keys of the platform and one of a
//! user's own, a redeemed code, a refund, kept bodies, receipts, a pricing component, and a journal whose last 21
//! entries are not in the tables yet.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tollgate_tests::client::{self, Request};
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

/// The key of its user `demo`.
const KEY: &str = "tg_Zf38bt6XoFyMU3yLibg3k8z8tu69";
/// 10 prompt and 5 output tokens: 75,000 micro-points on gpt-4o.
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

/// The old data directory below `dir`, where [`config_file`] looks for one.
fn unpack(dir: &Path) {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/data-0.1.0.tar.gz");
    let tar = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(dir).status().expect("tar runs");
    assert!(tar.success());
}

/// Runs a command beside the server and reads what it says.
fn said(config: &Path, args: &[&str]) -> (bool, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"));
    let output =
        command.arg("--config").arg(config).arg("--json").args(args).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{args:?}: {error} in {text:?}, {}", String::from_utf8_lossy(&output.stderr))
    });
    (output.status.success(), value)
}

fn proved(config: &Path, args: &[&str]) -> Value {
    let (holds, value) = said(config, args);
    assert!(holds, "{args:?}: {value}");
    value
}

fn balances(config: &Path) -> Value {
    proved(config, &["ledger", "balance"])
}

/// A server on the old directory, with a scripted provider behind it.
async fn taken_over(dir: &Path, upstream: &Upstream) -> (Process, PathBuf) {
    unpack(dir);
    // The files get old, and must not be pruned for that.
    let kept = "[requests]\nkeep_days = 0\n[requests.bodies]\nretention_days = 36500\n";
    let config = config_file(dir, upstream, kept);
    (Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &config).await, config)
}

#[tokio::test]
async fn a_data_directory_of_the_first_version_opens_serves_verifies_and_re_prices() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let upstream = Upstream::start().await;
    upstream.respond(|_| Script::json(200, ANSWER));
    let (process, config) = taken_over(dir.path(), &upstream).await;

    // The entries of the journal are in the tables, and the stream that the kill cut is free: version 0.1.0 itself
    // comes to these sums.
    let expected = json!([
        {"points": "999998.0102", "user": "demo"},
        {"points": "5023.8285", "user": "alice"},
    ]);
    assert_eq!(balances(&config), expected);
    assert_eq!(proved(&config, &["ledger", "verify"])["violations"], 0);
    assert_eq!(proved(&config, &["usage", "verify"])["violations"], 0);
    let receipts = proved(&config, &["receipt", "verify"]);
    assert_eq!((&receipts["receipts"], &receipts["differ"]), (&json!(32), &json!(0)), "{receipts}");

    // It serves with the old keys, credentials and prices.
    let request = Request::new("POST", "/v1/chat/completions").body(r#"{"model":"gpt-4o"}"#).bearer(KEY);
    assert_eq!(client::call(process.addr, &request).await.status, 200);
    let served = |config: &Path| {
        let requests = proved(config, &["requests", "list", "--limit", "1"]);
        requests[0].clone()
    };
    let paid = tollgate_tests::patiently("the record of the new call", async {
        loop {
            let newest = served(&config);
            if newest["points"] == "0.075" {
                return newest;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(paid["model"], "gpt-4o");
    assert_eq!(balances(&config)[0]["points"], "999997.9352");
    assert_eq!(proved(&config, &["receipt", "verify"])["receipts"], 33);
    drop(process);
}

#[tokio::test]
async fn bodies_that_the_first_version_kept_are_read_and_its_calls_priced_again() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let upstream = Upstream::start().await;
    let (process, config) = taken_over(dir.path(), &upstream).await;
    let bodies = proved(&config, &["requests", "bodies", "01a22a6f-25d4-7b20-b609-1b6d9ad9924e"]);
    assert!(bodies.to_string().contains("Good morning"), "{bodies}");
    let refunded = proved(&config, &["ledger", "receipt", "01a22a6f-25d4-7b20-b609-1b6d9ad9924e"]);
    assert!(refunded.to_string().contains("0.0231"), "{refunded}");
    let components = dir.path().join("data/components");
    let kept = std::fs::read_dir(&components).expect("components are kept").flatten().map(|file| file.path());
    let kept: Vec<PathBuf> = kept.filter(|path| path.extension().is_some_and(|end| end == "wasm")).collect();
    let component = kept[0].to_str().expect("a name");
    let twice = r#"{"platform_ppm": 2000000}"#;
    let replay = ["price", "replay", "--component", component, "--config-json", twice, "--since", "36500d"];
    let replayed = proved(&config, &replay);
    let rows = replayed.as_array().expect("rows");
    let demo = rows.iter().find(|row| row["name"] == "demo").expect("a row of the user `demo`");
    assert_eq!((&demo["charged"], &demo["replayed"]), (&json!("1.9998"), &json!("3.9996")), "{replayed}");
    drop(process);
}
