//! Log files: a line for each call, without secrets, besides what happens to the gateway.

use std::path::Path;

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_server::config::Config;
use tollgate_tests::client::{self, Request};
use tollgate_tests::gateway;
use tollgate_tests::patiently;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

const ANSWER: &str = r#"{"choices":[{"message":{"content":"a secret answer"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

async fn lines(path: &Path, count: usize) -> Vec<Value> {
    let read = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.lines().count() >= count && text.ends_with('\n') {
                break text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = patiently("the lines of a log file", read).await;
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn each_call_is_a_line_of_the_transactions_without_secrets_and_without_content() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let logs = dir.path().join("logs");
    let more = format!("[log.files]\ndir = \"{}\"\ndebug = true\nrotate = \"never\"\n", logs.display());
    let file = config_file(dir.path(), &upstream, &more);
    let config = Config::read(&file).expect("a configuration");
    let users = vec![("alice", Micropoints::from_points(1000))];
    let credentials = vec![("openai", None, "sk-very-secret", 100)];
    let keys = gateway::provision(&config, users, credentials).await.expect("users");
    let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &file).await;
    upstream.enqueue(Script::json(200, ANSWER));
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "a secret question"}]});
    let request = Request::post("/v1/chat/completions", &body).bearer(&keys["alice"]);
    let reply = client::call(process.addr, &request).await;
    let refused = Request::post("/v1/chat/completions", &json!({"model": "none"})).bearer(&keys["alice"]);
    assert_eq!(client::call(process.addr, &refused).await.status, 404);
    let told = lines(&logs.join("transactions.log"), 2).await;
    let (paid, refused) = (&told[0], &told[1]);
    assert_eq!(paid["request"].as_str(), reply.header("x-tollgate-request-id"));
    assert_eq!(
        (&paid["model"], &paid["outcome"], &paid["status"]),
        (&json!("gpt-4o"), &json!("ok"), &json!(200))
    );
    assert_eq!((&paid["input"], &paid["output"], &paid["points"]), (&json!(10), &json!(5), &json!("0.075")));
    assert!(paid["user"].is_string() && paid["key"].is_string() && paid["latency_ms"].is_number());
    assert_eq!((&refused["outcome"], &refused["status"]), (&json!("refused"), &json!(404)));
    let metrics = client::call(process.admin_addr, &Request::get("/metrics")).await.text();
    assert!(metrics.contains("tollgate_log_lines_lost{stream=\"transactions\"} 0"), "{metrics}");
    process.kill().await;
    for name in ["transactions.log", "application.log", "debug.log"] {
        let text = std::fs::read_to_string(logs.join(name)).expect("a log file");
        for secret in ["a secret", "sk-very-secret", &keys["alice"]] {
            assert!(!text.contains(secret), "{name} holds {secret}: {text}");
        }
    }
    assert!(!std::fs::read_to_string(logs.join("debug.log")).expect("a file").is_empty());
}

#[tokio::test]
async fn what_a_component_says_and_does_wrong_is_told_by_its_request() {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let logs = dir.path().join("logs");
    let more = format!("[log.files]\ndir = \"{}\"\ndebug = true\nrotate = \"never\"\n", logs.display());
    let file = config_file(dir.path(), &upstream, &more);
    let config = Config::read(&file).expect("a configuration");
    // It panics when it is asked a second time.
    let trap = tollgate_components::find_guest("trap").expect("a guest").bytes;
    std::fs::create_dir_all(config.plugins_dir()).expect("a directory");
    std::fs::write(config.plugins_dir().join("key-selection.wasm"), trap).expect("a component");
    let users = vec![("alice", Micropoints::from_points(1000))];
    let credentials = vec![("openai", None, "first", 100), ("openai", None, "second", 100)];
    let keys = gateway::provision(&config, users, credentials).await.expect("users");
    let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &file).await;
    upstream.enqueue(Script::json(500, "{}"));
    upstream.enqueue(Script::json(200, ANSWER));
    let body = json!({"model": "gpt-4o", "messages": []});
    let request = Request::post("/v1/chat/completions", &body).bearer(&keys["alice"]);
    let reply = client::call(process.addr, &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let path = logs.join("debug.log");
    let told = async {
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if text.contains("component fault") && text.ends_with('\n') {
                break text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = patiently("the fault in the log", told).await;
    let words: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|line| if line["fields"].is_object() { line["fields"].clone() } else { line })
        .filter(|line| line["request"].as_str() == reply.header("x-tollgate-request-id"))
        .map(|line| line["message"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(words.iter().any(|words| words.contains("asked at attempt 1")), "its own words: {text}");
    assert!(words.iter().any(|words| words == "component fault"), "{text}");
    process.kill().await;
}
