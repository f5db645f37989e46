//! The master key is changed without loss: neither an interruption at any point nor a running server loses anything.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tollgate_tests::client::{self, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

fn command(config: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["--json", "--config"]).arg(config).args(args).stdin(Stdio::null());
    command.env_remove("TOLLGATE_MASTER_KEY").env_remove("TOLLGATE_MASTER_KEY_NEW");
    command.envs(variables.iter().copied());
    command.output().expect("the binary runs")
}

fn resealed(config: &Path) -> Value {
    let output = command(config, &["credential", "reseal"], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A data directory whose server has run and stopped: its configuration file, and alice's key.
async fn books(dir: &Path, upstream: &Upstream) -> (std::path::PathBuf, String) {
    upstream.respond(|_| Script::json(200, ANSWER));
    let config = tollgate_tests::gateway::config(upstream, dir.join("data"));
    let users = vec![("alice", tollgate_core::points::Micropoints::from_points(1000))];
    let keys = vec![("openai", None, "sk-platform", 100), ("openai", Some("alice"), "sk-alice", 100)];
    let keys = tollgate_tests::gateway::provision(&config, users, keys).await.expect("an empty database");
    (config_file(dir, upstream, ""), keys["alice"].clone())
}

/// Checks that a server starts and serves with alice's own credential.
async fn check_serves(config: &Path, key: &str, upstream: &Upstream) {
    let gateway = Process::start(BINARY, config).await;
    let body = json!({"model": "gpt-4o", "messages": []});
    let reply = client::call(gateway.addr, &Request::post("/v1/chat/completions", &body).bearer(key)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let requests = upstream.requests();
    let last = requests.last().expect("a request");
    assert_eq!(last.header("authorization"), Some("Bearer sk-alice"));
    gateway.kill().await;
}

#[tokio::test]
async fn everything_is_sealed_anew_and_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let upstream = Upstream::start().await;
    let (config, key) = books(dir.path(), &upstream).await;
    let file = dir.path().join("data/master.key");
    let old = std::fs::read(&file).expect("a key");
    let told = resealed(&config);
    assert_eq!(told["credentials"], json!(2));
    assert!(told["settings"].as_u64().is_some_and(|count| count >= 2), "{told}");
    assert_ne!(std::fs::read(&file).expect("a key"), old);
    assert!(!dir.path().join("data/master.key.new").exists());
    check_serves(&config, &key, &upstream).await;
    // The old key is of no use any more.
    std::fs::write(&file, &old).expect("a file");
    let refused = command(&config, &["credential", "list"], &[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another master key"), "{refused:?}");
}

#[tokio::test]
async fn what_interrupts_it_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let upstream = Upstream::start().await;
    let (config, key) = books(dir.path(), &upstream).await;
    let (file, next) = (dir.path().join("data/master.key"), dir.path().join("data/master.key.new"));
    let old = std::fs::read(&file).expect("a key");
    // Before the transaction: the next key is there, and nothing is sealed with it.
    resealed(&config);
    let new = std::fs::read(&file).expect("a key");
    std::fs::copy(&file, &next).expect("a file");
    check_serves(&config, &key, &upstream).await;
    assert_eq!(std::fs::read(&next).expect("it is left for the next time"), new);
    std::fs::remove_file(&next).expect("a file");
    // Behind it: everything is sealed with the next key, and the files are as before.
    std::fs::rename(&file, &next).expect("a file");
    std::fs::write(&file, &old).expect("a file");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    check_serves(&config, &key, &upstream).await;
    assert_eq!(std::fs::read(&file).expect("a key"), new);
    assert!(!next.exists());
}

#[tokio::test]
async fn a_key_of_the_environment_is_followed_by_the_next_one_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let upstream = Upstream::start().await;
    let config = config_file(dir.path(), &upstream, "");
    let (one, other) = ("1".repeat(64), "2".repeat(64));
    let list = |key: &str| command(&config, &["credential", "list"], &[("TOLLGATE_MASTER_KEY", key)]);
    let made = command(&config, &["user", "add", "alice"], &[("TOLLGATE_MASTER_KEY", one.as_str())]);
    assert!(made.status.success() && list(&one).status.success());
    let alone = command(&config, &["credential", "reseal"], &[("TOLLGATE_MASTER_KEY", one.as_str())]);
    assert!(String::from_utf8_lossy(&alone.stderr).contains("TOLLGATE_MASTER_KEY_NEW"), "{alone:?}");
    let both = [("TOLLGATE_MASTER_KEY", one.as_str()), ("TOLLGATE_MASTER_KEY_NEW", other.as_str())];
    assert!(command(&config, &["credential", "reseal"], &both).status.success());
    assert!(!list(&one).status.success());
    assert!(list(&other).status.success());
}

#[tokio::test]
async fn it_waits_for_no_server_and_changes_nothing_beside_one() {
    let rig = Rig::start().await;
    let file = rig.config.server.data_dir.join("master.key");
    let before = std::fs::read(&file).expect("a key");
    let config = config_file(&rig.dir(), &rig.upstream, "");
    let refused = command(&config, &["credential", "reseal"], &[]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another process serves"), "{refused:?}");
    assert_eq!(std::fs::read(&file).expect("a key"), before);
    rig.stop().await;
}
