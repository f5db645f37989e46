//! A provider that the gateway has never heard of: a component from `plugins/examples/lumen`, some lines of
//! configuration and a price. Everything is done as `docs/plugins/adapters.md` says, by the commands that it names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::usage::Class;
use tollgate_server::config::Config;
use tollgate_server::manage::Management;
use tollgate_store::RequestRecord;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway;
use tollgate_tests::install::{both, output, target_directory};
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/examples/lumen");
const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
/// The first build makes the SDK's tools as well.
const BUILD_TIME_MAX: Duration = Duration::from_secs(900);
/// The most lines of an adapter for a provider like OpenAI, comments and blank lines included.
const LINES_MAX: usize = 99;
const KEY: &str = "lumen-secret";
const USAGE: &str = r#"{"prompt_tokens":10,"cached_prompt_tokens":90,"completion_tokens":5}"#;
/// By `prices.toml`: 10 x 1,000 + 90 x 100 + 5 x 4,000 micro-points.
const CHARGE: i64 = 39_000;

/// The example, copied to where an author would have it, with the path of the SDK set as the README says. The README's
/// own adapter is one of its tests.
fn copied() -> PathBuf {
    let copy = target_directory().join("lumen");
    for folder in ["src", "tests"] {
        fs::create_dir_all(copy.join(folder)).expect("a directory");
    }
    fs::write(copy.join("tests/readme.rs"), readme_adapter()).expect("a test");
    for file in ["src/lib.rs", "src/tests.rs"] {
        fs::copy(Path::new(EXAMPLE).join(file), copy.join(file)).expect("a source of the example");
    }
    let plugins = Path::new(REPOSITORY).join("plugins").canonicalize().expect("the plugins");
    let manifest = fs::read_to_string(Path::new(EXAMPLE).join("Cargo.toml")).expect("its manifest");
    let manifest = manifest.replace("../../", &format!("{}/", plugins.display()));
    fs::write(copy.join("Cargo.toml"), manifest).expect("a manifest");
    // The versions that are here already: the suite asks no registry for others.
    fs::copy(Path::new(REPOSITORY).join("Cargo.lock"), copy.join("Cargo.lock")).expect("a lock file");
    copy
}

/// The adapter that the README shows, and a test that it configures.
fn readme_adapter() -> String {
    let readme =
        fs::read_to_string(Path::new(REPOSITORY).join("docs/plugins/adapters.md")).expect("the guide");
    let mut blocks = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let adapter = blocks.find(|block| block.contains("impl Adapter")).expect("an adapter in the guide");
    format!(
        "{adapter}\n#[test]\nfn it_is_reached_by_its_own_path() {{\n    \
         let plan = Lumen::configure(\"{{}}\").unwrap().plan();\n    \
         assert_eq!(plan.endpoints[0].path, \"/serving/v3/chat/completions\");\n}}\n"
    )
}

async fn cargo(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).args(["--release", "--offline", "--target-dir"]).arg(directory.join("target"));
    // For the tests, building fast matters more than fast code.
    command.envs([("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")]);
    command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    command.env_remove("RUSTFLAGS").env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
    let run = output(command.current_dir(directory), BUILD_TIME_MAX).await.expect("cargo runs");
    assert!(run.status.success(), "cargo {arguments:?}: {}", both(&run));
}

/// Tests the adapter natively, then makes it a component.
async fn component() -> Vec<u8> {
    let directory = copied();
    cargo(&directory, &["test"]).await;
    cargo(&directory, &["build", "--target", "wasm32-wasip2"]).await;
    fs::read(directory.join("target/wasm32-wasip2/release/lumen.wasm")).expect("a component")
}

/// A gateway with the example, as an operator sets it up.
struct Office {
    lumen: Upstream,
    process: Process,
    config: Config,
    key: String,
    _dir: TempDir,
    _others: Upstream,
}

impl Office {
    async fn open() -> Self {
        let component = component().await;
        let (lumen, others) = (Upstream::start().await, Upstream::start().await);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let entry = fs::read_to_string(Path::new(EXAMPLE).join("tollgate.toml")).expect("its configuration");
        let entry = entry.replace("https://api.lumen.example", &lumen.base_url());
        let path = config_file(dir.path(), &others, &entry);
        let config = Config::read(&path).expect("a configuration");
        fs::create_dir_all(config.plugins_dir()).expect("a plugins directory");
        fs::write(config.plugins_dir().join("lumen.wasm"), component).expect("a plugin file");
        let users = vec![("alice", Micropoints::from_points(1_000))];
        let mut keys = gateway::provision(&config, users, Vec::new()).await.expect("an empty database");
        let prices = Path::new(EXAMPLE).join("prices.toml").display().to_string();
        tollgate(&path, &["price", "publish", &prices], "").await;
        lumen.enqueue(Script::json(200, r#"{"data":[]}"#));
        tollgate(&path, &["credential", "add", "--provider", "lumen", "--check"], KEY).await;
        let process = Process::start(BINARY, &path).await;
        let key = keys.remove("alice").expect("a key");
        Self { lumen, process, config, key, _dir: dir, _others: others }
    }

    async fn call(&self, request: Request) -> Reply {
        client::call(self.process.addr, &request.bearer(&self.key)).await
    }

    /// The record of the latest of so many requests.
    async fn record(&self, count: usize) -> RequestRecord {
        let desk = Management::open(&self.config).await.expect("the database opens");
        let record = patiently("a record", async {
            loop {
                let mut records = managed::requests(&desk, u32::MAX).await.expect("the database reads");
                if records.len() == count {
                    return records.remove(0);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let record = record.await;
        desk.close().await;
        record
    }
}

/// A command of the gateway's, with this on its input.
async fn tollgate(config: &Path, arguments: &[&str], input: &str) {
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(config).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("its input");
    // A command that does not read its input may have ended already.
    let _unread = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let run = patiently("a command", child.wait_with_output()).await.expect("it ends");
    assert!(run.status.success(), "{arguments:?}: {}", both(&run));
}

fn answer() -> String {
    format!(
        r#"{{"id":"l1", "choices":[{{"index":0,"message":{{"role":"assistant","content":"hi"}},"finish_reason":"stop"}}],"usage":{USAGE}}}"#
    )
}

fn stream() -> Script {
    let events = [
        r#"{"id":"l1","choices":[{"index":0,"delta":{"role":"assistant","content":"h"},"finish_reason":null}]}"#.to_owned(),
        r#"{"id":"l1","choices":[{"index":0,"delta":{"content":"i"},"finish_reason":"stop"}]}"#.to_owned(),
        format!(r#"{{"id":"l1","choices":[],"usage":{USAGE}}}"#),
        "[DONE]".to_owned(),
    ];
    events.iter().fold(Script::sse(), |script, event| script.chunk(format!("data: {event}\n\n"))).end()
}

#[tokio::test]
async fn a_provider_nobody_knew_serves_after_its_component_its_configuration_and_its_price() {
    let office = Office::open().await;
    let checked = office.lumen.next().await;
    assert_eq!((checked.method.as_str(), checked.target.as_str()), ("GET", "/serving/v3/catalog"));
    assert_eq!(checked.header("x-lumen-key"), Some(KEY));

    let models = office.call(Request::get("/v1/models")).await.json();
    let listed: Vec<(&Value, &Value)> = models["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|model| (&model["id"], &model["owned_by"]))
        .collect();
    assert_eq!(listed, [(&json!("lumen-large"), &json!("lumen"))]);

    // Its own protocol: to the byte, with its key where it expects it.
    office.lumen.enqueue(Script::json(200, answer()));
    let body = "{ \"model\":\"lumen-large\", \"messages\" :[ ],\"seed\":1e2}";
    let reply = office.call(Request::new("POST", "/v1/chat/completions").body(body)).await;
    assert_eq!((reply.status, reply.text()), (200, answer()));
    let seen = office.lumen.next().await;
    assert_eq!(
        (seen.target.as_str(), seen.body.as_slice()),
        ("/serving/v3/chat/completions", body.as_bytes())
    );
    assert_eq!((seen.header("x-lumen-key"), seen.header("authorization")), (Some(KEY), None));
    let record = office.record(1).await;
    assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, CHARGE), "{record:?}");
    assert_eq!(
        (record.usage[Class::Input], record.usage[Class::CacheRead], record.usage[Class::Output]),
        (10, 90, 5)
    );

    // A client of another provider's, streaming.
    office.lumen.enqueue(stream());
    let question = json!({"model": "lumen-large", "max_tokens": 9, "stream": true,
        "messages": [{"role": "user", "content": "hi"}]});
    let reply = office.call(Request::post("/v1/messages", &question)).await;
    let told = reply.text();
    assert!(told.contains("event: message_start") && told.contains("event: message_stop"), "{told}");
    assert_eq!(office.lumen.next().await.target, "/serving/v3/chat/completions");
    let record = office.record(2).await;
    assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, CHARGE), "{record:?}");

    // Its own word for a rate limit is understood like every provider's.
    office.lumen.enqueue(Script::json(420, r#"{"retry_in_s":77}"#));
    let reply = office.call(Request::new("POST", "/v1/chat/completions").body(body)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("77")), "{}", reply.text());
}

#[test]
fn an_adapter_for_a_provider_like_openai_is_short_and_the_host_knows_nothing_of_it() {
    let source = fs::read_to_string(Path::new(EXAMPLE).join("src/lib.rs")).expect("its source");
    let lines = source.lines().count();
    assert!(lines <= LINES_MAX, "{lines} lines");
    let mut folders = vec![Path::new(REPOSITORY).join("host")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if let Ok(text) = fs::read_to_string(&entry) {
                assert!(!text.to_lowercase().contains("lumen"), "{}", entry.display());
            }
        }
    }
}
