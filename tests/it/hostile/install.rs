//! An installation on disk, as an operator has one: a configuration, a data directory, and the binary.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;
use tollgate_tests::client::{self, Request};
use tollgate_tests::patiently;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

pub(super) const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
/// 10 prompt and 5 output tokens.
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
/// What the environment of whoever runs the tests must not decide.
const VARIABLES: [&str; 5] =
    ["TOLLGATE_CONFIG", "TOLLGATE_DATA_DIR", "TOLLGATE_LOG", "TOLLGATE_MASTER_KEY", "TOLLGATE_ADMIN_SECRET"];

/// An installation, with one user and the keys of one provider.
pub(super) struct Install {
    pub(super) dir: TempDir,
    pub(super) config: PathBuf,
    pub(super) upstream: Upstream,
}

impl Install {
    /// Nothing but a configuration, `more` at its end.
    pub(super) async fn empty(more: &str) -> Self {
        let upstream = Upstream::start().await;
        upstream.respond(|_| Script::json(200, ANSWER));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = config_file(dir.path(), &upstream, more);
        Self { dir, config, upstream }
    }

    /// With the user `alice`, who has points, and a provider key. Returns her API key, too.
    pub(super) async fn with_alice(more: &str) -> (Self, String) {
        let install = Self::empty(more).await;
        install.ok(&["user", "add", "alice", "--points", "1000"]);
        let added = install.run(&["credential", "add", "--provider", "openai"], "sk-platform-openai\n");
        assert!(added.status.success(), "{}", text(&added.stderr));
        let key = install.ok(&["--json", "key", "create", "--user", "alice"]);
        let key: serde_json::Value = serde_json::from_str(&key).expect("JSON");
        let key = key["key"].as_str().expect("a key").to_owned();
        (install, key)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A file of the data directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// The command with this configuration.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.current_dir(self.dir.path()).arg("--config").arg(&self.config).args(args);
        for name in VARIABLES {
            command.env_remove(name);
        }
        command
    }

    pub(super) fn run(&self, args: &[&str], input: &str) -> Output {
        finished(self.command(args), input)
    }

    /// Runs a command that must succeed; its output.
    pub(super) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args, "");
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must fail; what it complains of.
    pub(super) fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args, "");
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    pub(super) async fn start(&self) -> Process {
        Process::start(BINARY, &self.config).await
    }

    /// A start that must fail; what it complains of.
    pub(super) async fn refused_start(&self) -> String {
        let command = self.command(&["serve"]);
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let ended = patiently("the end of a server that must not serve", command.output()).await;
        let ended = ended.expect("the binary runs");
        assert_eq!(ended.status.code(), Some(1), "{}", text(&ended.stdout));
        text(&ended.stderr)
    }

    /// A start that goes on with what is left.
    pub(super) async fn start_accepting_loss(&self) -> Process {
        Process::start_more(BINARY, &self.config, &["--accept-loss"]).await
    }

    /// Another installation with the same data, as it is now, and the same upstream.
    pub(super) async fn copied(&self) -> Self {
        let copy = Self::empty("").await;
        copy_all(&self.data(), &copy.data());
        copy
    }
}

/// Calls so often, and sees each answered.
pub(super) async fn call(process: &Process, key: &str, times: usize) {
    let body = json!({"model": "gpt-4o", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
    let request = Request::post("/v1/chat/completions", &body).bearer(key);
    for _ in 0..times {
        assert_eq!(client::call(process.addr, &request).await.status, 200);
    }
}

/// Runs a command to its end.
pub(super) fn finished(mut command: Command, input: &str) -> Output {
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().expect("the binary runs");
    // A command that reads nothing may be gone already.
    let _unread = child.stdin.take().expect("its input").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn copy_all(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}
