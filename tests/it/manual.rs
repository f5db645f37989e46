//! The commands of the documents, run as a reader would: in the order of the pages, in one folder, beside a server.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::json;
use tollgate_tests::client::{self, Request};
use tollgate_tests::process::Process;
use tollgate_tests::upstream::{Script, Upstream};

/// In the order in which they are read.
const PAGES: [&str; 7] = [
    "README.md",
    "docs/operators/configuration.md",
    "docs/operators/accounts.md",
    "docs/operators/credentials.md",
    "docs/operators/money.md",
    "docs/operators/operation.md",
    "docs/plugins/operation.md",
];
/// Beginnings of blocks that are run elsewhere, or that build.
const ELSEWHERE: [&str; 4] = ["cargo ", "curl ", "export ", "target/release/"];
/// A completion that costs something.
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The shell blocks of a page that are run here.
fn blocks(page: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).expect("the page reads");
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| !ELSEWHERE.iter().any(|word| block.starts_with(word))).map(str::to_owned).collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// The files that the documents name, and `tollgate` on the path.
fn furnish(dir: &Path, upstream: &Upstream) {
    let put = |name: &str, content: &[u8]| fs::write(dir.join(name), content).expect("a file");
    for key in ["openai", "anthropic", "alice", "azure"] {
        put(&format!("{key}.key"), format!("key-of-{key}").as_bytes());
    }
    put("password.txt", b"correct horse battery staple");
    put("aws.json", br#"{"access_key_id": "AKIDEXAMPLE", "secret_access_key": "example"}"#);
    let pem = fs::read_to_string(root().join("host/server/testdata/service-account.pem")).expect("a key");
    let account = json!({"type": "service_account", "client_email": "a@b.example", "private_key": pem});
    put("account.json", account.to_string().as_bytes());
    fs::copy(root().join("host/server/prices.toml"), dir.join("prices.toml")).expect("a price list");
    let listed = json!({"gpt-4o": {
        "litellm_provider": "openai", "mode": "chat", "max_output_tokens": 16384,
        "input_cost_per_token": 2.5e-6, "output_cost_per_token": 1e-5,
    }});
    put("model_prices.json", listed.to_string().as_bytes());
    let component = tollgate_components::find("discount-points").expect("the built-in policy");
    for name in ["discount-points.wasm", "new.wasm"] {
        put(name, component.bytes);
    }
    put("lumen.wasm", tollgate_components::find("openai").expect("a built-in adapter").bytes);
    fs::create_dir(dir.join("bin")).expect("a folder");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tollgate-under-test"), dir.join("bin/tollgate"))
        .expect("a link");
    let (url, data) = (upstream.base_url(), dir.join("tollgate-data"));
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:{}\"\nadmin_listen = \"127.0.0.1:{}\"\nworkers = 1\ndata_dir = {data:?}\n\
         [log]\nlevel = \"error\"\n[providers.openai]\nbase_url = \"{url}\"\n\
         [providers.anthropic]\nbase_url = \"{url}\"\n[providers.google]\nbase_url = \"{url}\"\n\
         [providers.local]\nadapter = \"openai\"\nbase_url = \"{url}\"\n",
        free_port(),
        free_port(),
    );
    put("tollgate.toml", config.as_bytes());
}

/// Runs a block in the reader's folder; its output.
fn run(dir: &Path, block: &str, variables: &[(&str, &str)]) -> String {
    let path = format!("{}:{}", dir.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-e", "-c", block]).current_dir(dir).env("PATH", path).envs(variables.iter().copied());
    let output = shell.env_remove("TOLLGATE_CONFIG").output().expect("a shell runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{block}\n{}\n{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

/// The value that stands after a name in a command's output.
fn shown(output: &str, name: &str) -> String {
    let line = output.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no `{name}` in {output}")).trim().to_owned()
}

/// A call with an API key; its request's id.
async fn called(process: &Process, key: &str) -> String {
    let request = Request::new("POST", "/v1/chat/completions").body(r#"{"model":"gpt-4o"}"#).bearer(key);
    let reply = client::call(process.addr, &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("x-tollgate-request-id").expect("every answer names its request").to_owned()
}

#[tokio::test]
async fn every_command_of_the_documents_works_as_it_stands() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let upstream = Upstream::start().await;
    upstream.respond(|_| Script::json(200, ANSWER));
    furnish(dir.path(), &upstream);
    // What the first page creates before a server runs.
    let (first, rest) = PAGES.split_first().expect("pages");
    let mut made = String::new();
    for block in blocks(first) {
        made += &run(dir.path(), &block, &[]);
    }
    let key = shown(&made, "key ");
    let config = dir.path().join("tollgate.toml");
    let mut process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &config).await;
    let secret = shown(&process.says().await, "Admin secret (shown once):");
    let request = called(&process, &key).await;
    let keys: serde_json::Value =
        serde_json::from_str(&run(dir.path(), "tollgate --json key list", &[])).expect("JSON");
    let id = keys[0]["id"].as_str().expect("an id").to_owned();
    let variables = [("REQUEST_ID", &*request), ("KEY_ID", &*id), ("ADMIN_SECRET", &*secret)];
    let mut count = 0;
    for block in rest.iter().flat_map(|page| blocks(page)) {
        run(dir.path(), &block, &variables);
        count += 1;
    }
    assert!(count >= 12, "{count} blocks were run");
    drop(process);
}
