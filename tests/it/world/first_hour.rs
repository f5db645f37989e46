//! The first hour: from a binary and a local server to a call that is served, paid and explained, and a demonstration
//! that leaves real data alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tollgate_core::points::Micropoints;
use tollgate_server::config::Config;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{self, Rig};
use tollgate_tests::patiently;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
/// What a local server answers: no `usage` that OpenAI would not state, no price anywhere.
const ANSWER: &str = r#"{"object":"chat.completion","model":"llama","choices":[{"index":0,"message":{"role":"assistant",
    "content":"Moin"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;

/// A house with a local server: Ollama, vLLM or LM Studio, as the README has it.
struct House {
    dir: TempDir,
    config: PathBuf,
    upstream: Upstream,
    process: Process,
    /// Keys of alice, a user, and of root, an admin.
    keys: [String; 2],
}

impl House {
    async fn open() -> Self {
        let upstream = Upstream::start().await;
        upstream.respond(|_| Script::json(200, ANSWER));
        let dir = tempfile::tempdir().expect("a directory");
        let more = format!(
            "[providers.local]\nadapter = \"openai\"\nbase_url = \"{}\"\n[[models]]\nname = \"llama-*\"\n\
             provider = \"local\"\n[log.files]\ndir = \"{}\"\n",
            upstream.base_url(),
            dir.path().join("logs").display(),
        );
        let config = config_file(dir.path(), &upstream, &more);
        let users = ["alice", "root"].map(|name| (name, Micropoints::from_points(1000))).to_vec();
        let read = Config::read(&config).expect("a configuration");
        let keys = gateway::provision(&read, users, vec![("local", None, "unused", 100)]).await;
        let keys = keys.expect("users");
        let keys = ["alice", "root"].map(|name| keys[name].clone());
        told(&config, &["user", "role", "root", "admin"]).await;
        let process = Process::start_more(BINARY, &config, &["--log-level", "warn"]).await;
        Self { dir, config, upstream, process, keys }
    }

    /// A command beside the server, which has to succeed.
    async fn told(&self, args: &[&str]) -> Value {
        told(&self.config, args).await
    }

    async fn ask(&self, who: usize, model: &str) -> Reply {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Moin"}]});
        let request = Request::post("/v1/chat/completions", &body).bearer(&self.keys[who]);
        client::call(self.process.addr, &request).await
    }

    /// The same once a change has come to the server.
    async fn served(&self, model: &str) -> Reply {
        patiently("the price to come into force", async {
            loop {
                let reply = self.ask(0, model).await;
                if reply.status == 200 {
                    break reply;
                }
                assert_eq!(reply.status, 404, "{}", reply.text());
            }
        })
        .await
    }

    /// The receipt of a request, once it has been written.
    async fn receipt(&self, reply: &Reply) -> Value {
        let id = reply.header("x-tollgate-request-id").expect("an id");
        patiently("the receipt", async {
            loop {
                let output = run(&self.config, &["receipt", "show", id]).await;
                if output.status.success() {
                    break serde_json::from_slice(&output.stdout).expect("JSON");
                }
            }
        })
        .await
    }
}

async fn run(config: &Path, args: &[&str]) -> std::process::Output {
    let mut command = Command::new(BINARY);
    command.arg("--json").arg("--config").arg(config).args(args).stdin(Stdio::null());
    command.output().await.expect("the binary runs")
}

async fn told(config: &Path, args: &[&str]) -> Value {
    let output = run(config, args).await;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[tokio::test]
async fn a_model_without_a_price_is_told_as_that_to_who_runs_the_gateway_alone() {
    let house = House::open().await;
    for (model, leads, command) in [
        ("llama-3", "of `local`", "tollgate price set 'llama-3' --provider local"),
        ("local/phi-4", "of `local`", "tollgate price set 'phi-4' --provider local"),
        ("mistral-x", "no model route", "tollgate price set 'mistral-x' --provider NAME"),
        // Nothing that a client calls a model becomes a part of a command.
        ("llama-'; reboot", "of `local`", "tollgate price set NAME --provider local"),
    ] {
        let [alice, root] = [house.ask(0, model).await, house.ask(1, model).await];
        assert_eq!([alice.status, root.status], [404, 404], "{model}");
        let (alice, root) = (alice.text(), root.text());
        assert!(alice.contains("not offered here") && !alice.contains("price"), "{alice}");
        let message = serde_json::from_str::<Value>(&root).expect("JSON")["error"]["message"].to_string();
        assert!(message.contains("has no price") && message.contains(leads), "{root}");
        assert!(message.contains(command), "{root}");
    }
    assert_eq!(house.upstream.count(), 0);
    let log = house.dir.path().join("logs/application.log");
    patiently("the log", async {
        loop {
            let log = fs::read_to_string(&log).unwrap_or_default();
            if log.matches("The model `llama-3` of `local` has no price").count() >= 2 {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_local_server_is_priced_in_a_command_for_a_model_or_for_all_of_them() {
    let house = House::open().await;
    // Routed: its provider is known. Prompt and answer cost what was said, and nothing else is asked for.
    let set = house.told(&["price", "set", "llama-3", "--input", "1", "--output", "2.5"]).await;
    assert_eq!((&set["provider"], &set["changes"]), (&json!("local"), &json!(1)));
    let receipt = house.receipt(&house.served("llama-3").await).await;
    // 10 x 1,000 + 5 x 2,500 micro-points.
    assert_eq!((&receipt["charge"], &receipt["default_price"]), (&json!("0.0225"), &Value::Null));

    assert_eq!(house.ask(0, "llama-4").await.status, 404, "the others still have none");
    let set = house.told(&["price", "set", "local/*", "--free"]).await;
    assert_eq!((&set["name"], &set["provider_configured"]), (&json!("local/*"), &json!(true)));
    for model in ["llama-4", "local/whatever:7b"] {
        let receipt = house.receipt(&house.served(model).await).await;
        assert_eq!(
            (&receipt["charge"], &receipt["default_price"]),
            (&json!("0"), &json!("local/*")),
            "{model}"
        );
        assert_eq!(
            house.upstream.requests().last().expect("one").json()["model"],
            model.trim_start_matches("local/")
        );
    }
    let again = house.receipt(&house.served("llama-3").await).await;
    assert_eq!(again["charge"], "0.0225", "a price of its own comes first");
    assert_eq!(house.ask(0, "mistral-x").await.status, 404, "a default leads nobody anywhere");
    house.told(&["receipt", "verify"]).await;
    house.told(&["ledger", "verify"]).await;
}

#[tokio::test]
async fn prices_are_exported_as_a_list_that_says_the_same_when_it_is_published() {
    let house = House::open().await;
    let small = ["--price", "cache_read=0.000000001", "--price", "web_search=0.01", "--tier", "flex=0.5"];
    let set =
        [&["price", "set", "phi", "--provider", "local", "--input", "0.07", "--output", "0.3"], &small[..]];
    house.told(&set.concat()).await;
    house.told(&["price", "set", "local/*", "--free"]).await;
    let output = run(&house.config, &["price", "export"]).await;
    let list = house.dir.path().join("list.toml");
    fs::write(&list, &output.stdout).expect("a file");
    let list = list.to_str().expect("a path");
    let changes = house.told(&["price", "publish", list, "--dry-run"]).await;
    assert_eq!(changes, json!([]), "{}", String::from_utf8_lossy(&output.stdout));
    let some = run(&house.config, &["price", "export", "--model", "phi"]).await;
    let text = String::from_utf8(some.stdout).expect("text");
    assert!(
        text.contains("cache_read = \"0.000000001\"") && text.matches("[[model]]").count() == 1,
        "{text}"
    );

    for (args, complaint) in [
        (&["price", "set", "nobodys", "--free"][..], "say which provider"),
        (&["price", "set", "llama-9", "--input", "1"], "`output`"),
        (&["price", "set", "llama-*", "--free"], "PROVIDER/*"),
        (&["price", "set", "local/*", "--provider", "openai", "--free"], "`local`"),
        (&["price", "set", "llama-9", "--input", "1", "--output", "1e3"], "output"),
        (&["price", "set", "llama-9", "--free", "--price", "colour=1"], "colour"),
    ] {
        let output = run(&house.config, args).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(complaint), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn the_management_api_sets_and_exports_prices_too() {
    let rig = Rig::start().await;
    let send = async |method: &str, path: &str, body: Value| {
        let request = Request::new(method, &format!("/management/v1{path}")).body(body.to_string());
        client::call(rig.admin_addr(), &request.bearer(rig.admin_secret())).await
    };
    let set =
        send("PATCH", "/prices", json!({"name": "openai/*", "prices": {"input": "1", "output": "2"}})).await;
    assert_eq!(set.status, 200, "{}", set.text());
    let version = set.json()["version"].to_string();
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let body = json!({"model": "openai/unheard-of", "messages": []});
    let reply = patiently("the price", async {
        loop {
            let reply = rig.call(Request::post("/v1/chat/completions", &body)).await;
            if reply.status == 200 {
                break reply;
            }
        }
    })
    .await;
    let id = reply.header("x-tollgate-request-id").expect("an id").to_owned();
    let receipt = patiently("the receipt", async {
        loop {
            let receipt = send("GET", &format!("/receipts/{id}"), Value::Null).await;
            if receipt.status == 200 {
                break receipt.json();
            }
        }
    })
    .await;
    assert_eq!((&receipt["default_price"], &receipt["total"]), (&json!("openai/*"), &json!("0.02")));
    let exported = send("GET", &format!("/prices/{version}/list"), Value::Null).await.json();
    let list = exported["list"].as_str().expect("a list");
    assert!(list.contains("name = \"openai/*\""), "{list}");
    let again = send("POST", "/prices", json!({"list": list})).await;
    assert_eq!(again.status, 201, "{}", again.text());
    let wrong = send("PATCH", "/prices", json!({"name": "nobodys", "free": true})).await;
    assert!(wrong.status == 400 && wrong.text().contains("provider"), "{}", wrong.text());
    rig.stop().await;
}

/// Starts a demonstration in a directory where a configuration and the environment name real data; what it says on
/// standard output until it has said where its data is, and where its log goes.
async fn demonstration(dir: &Path, more: &[&str]) -> (tokio::process::Child, Vec<String>, PathBuf) {
    let log = dir.join("stderr.log");
    let mut child = Command::new(BINARY)
        .current_dir(dir)
        .env("TOLLGATE_DATA_DIR", dir.join("real-by-environment"))
        .args(["serve", "--demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&log).expect("a file"))
        .kill_on_drop(true)
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut said = Vec::new();
    while !said.last().is_some_and(|line: &String| line.contains("data is kept in")) {
        let line = patiently("a line of the demonstration", lines.next_line()).await;
        said.push(line.expect("its output reads").expect("it says where its data is"));
    }
    (child, said, log)
}

#[tokio::test]
async fn a_demonstration_keeps_its_own_data_whatever_else_is_configured_and_says_where() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = std::env::temp_dir().join("tollgate-test-cache");
    let config = format!(
        "[server]\ndata_dir = \"real-by-file\"\nworkers = 1\n[log]\nlevel = \"error\"\n[plugins]\ncache_dir = \"{}\"\n",
        cache.display()
    );
    fs::write(dir.path().join("tollgate.toml"), config).expect("a file");
    let (_child, said, _) = demonstration(dir.path(), &[]).await;
    let demo = dir.path().join("tollgate-demo-data");
    let last = said.last().expect("a line");
    assert!(last.ends_with(&demo.canonicalize().expect("it is there").display().to_string()), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("Demo API key")), "{said:?}");
    for real in ["real-by-file", "real-by-environment"] {
        assert!(!dir.path().join(real).exists(), "{real}");
    }
    // Only what stands beside `--demo` is meant for it.
    let other = tempfile::tempdir().expect("a directory");
    let there = other.path().join("there");
    let (_child, said, _) =
        demonstration(other.path(), &["--data-dir", there.to_str().expect("a path")]).await;
    assert!(there.exists() && said.last().expect("a line").ends_with("there"), "{said:?}");
}

#[tokio::test]
async fn a_first_start_tells_what_it_compiles_and_debug_is_of_tollgate_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_child, said, log) = demonstration(dir.path(), &["--log-level", "debug"]).await;
    let url = said[0].split("http://").nth(1).and_then(|rest| rest.split_whitespace().next());
    let address = url.and_then(|url| url.parse().ok()).expect("where it serves");
    let key = said.iter().find_map(|line| line.strip_prefix("Demo API key (shown once): ")).expect("a key");
    let body = json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Good morning"}]});
    let served = client::call(address, &Request::post("/v1/chat/completions", &body).bearer(key)).await;
    assert_eq!(served.status, 200, "{}", served.text());
    let log = patiently("a line about a call that went well", async {
        loop {
            let log = fs::read_to_string(&log).expect("a log");
            if log.lines().any(|line| line.contains("DEBUG") && line.contains("tollgate")) {
                break log;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let starting = log.lines().next().unwrap_or_default();
    assert!(starting.contains("starting") && starting.contains("tollgate-demo-data"), "{starting}");
    let compiled: Vec<&str> = log.lines().filter(|line| line.contains("compiling component ")).collect();
    let of = |at: usize| format!("compiling component {at} of {}", compiled.len());
    assert!(compiled.len() > 3, "{log}");
    for (at, line) in compiled.iter().enumerate() {
        assert!(line.contains(&of(at + 1)), "{line}");
    }
    for foreign in ["cranelift", "wasmtime", "regalloc"] {
        assert!(!log.contains(&format!(" {foreign}")), "{foreign}");
    }
    assert!(log.lines().count() < 1000, "{} lines", log.lines().count());
}
