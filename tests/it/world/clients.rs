//! What people use: each client through the real binary to a scripted provider, by every scenario of the table in
//! `docs/users.md`, to a model of its own protocol and to others.
//!
//! The ai SDK and LangChain always run; the large ones are in `agents`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tollgate_core::outcome::Outcome as Ended;
use tollgate_core::points::Micropoints;
use tollgate_server::config::Config;
use tollgate_server::manage::Management;
use tollgate_tests::install::{Outcome, both, node, output, python};
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::Upstream;
use tollgate_tests::{gateway, managed, patiently};

use super::scripted;

/// Longer than any of them takes.
const TIME_MAX: Duration = Duration::from_secs(180);

/// A gateway before a scripted provider, with a key of somebody who has points, and one of somebody who has none.
pub(super) struct Street {
    pub(super) dir: TempDir,
    pub(super) url: String,
    pub(super) key: String,
    pub(super) no_points: String,
    config: Config,
    process: Process,
    upstream: Upstream,
}

impl Street {
    pub(super) async fn open() -> Self {
        let upstream = Upstream::start().await;
        upstream.respond(scripted::respond);
        let dir = tempfile::tempdir().expect("a directory");
        let path = config_file(dir.path(), &upstream, "");
        let config = Config::read(&path).expect("a configuration");
        let users = vec![("alice", Micropoints::from_points(1_000_000)), ("poor", Micropoints::ZERO)];
        let credentials =
            ["openai", "anthropic", "google"].map(|provider| (provider, None, "unused", 100)).to_vec();
        let keys = gateway::provision(&config, users, credentials).await.expect("users");
        let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &path).await;
        let url = format!("http://{}", process.addr);
        let (key, no_points) = (keys["alice"].clone(), keys["poor"].clone());
        Self { dir, url, key, no_points, config, process, upstream }
    }

    fn variables(&self) -> [(&'static str, &str); 3] {
        [
            ("BASE_URL", self.url.as_str()),
            ("API_KEY", self.key.as_str()),
            ("NO_POINTS", self.no_points.as_str()),
        ]
    }

    /// Lets a client see nothing of this machine's environment but its path, and what it was given.
    fn enclose(&self, command: &mut Command) {
        let given: Vec<_> = command
            .as_std()
            .get_envs()
            .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
            .collect();
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).envs(self.variables());
        command.envs(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    }

    /// Starts a client with a question whose answer has no end, and interrupts it, as a person does, once it has come
    /// to the provider.
    pub(super) async fn leave(&self, mut command: Command) {
        self.enclose(&mut command);
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().expect("it starts");
        let group = format!("-{}", child.id().expect("it runs"));
        let asked = async { while !self.upstream.next().await.json().to_string().contains("Endlessly") {} };
        patiently("the question", asked).await;
        for signal in ["-INT", "-TERM"] {
            let told = Command::new("kill").args([signal, "--", &group]).status().await;
            let _gone = told.expect("kill runs");
        }
        let _ended = patiently("its end", child.wait()).await;
        self.ends(1).await;
    }

    /// Runs a client; nothing of this machine's environment but its path is seen there.
    pub(super) async fn run(&self, mut command: Command) -> Outcome {
        self.enclose(&mut command);
        match output(&mut command, TIME_MAX).await {
            Ok(run) if run.status.success() => Outcome::Passed(both(&run)),
            Ok(run) => Outcome::Failed(both(&run)),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// How often calls ended so, once this many have been cancelled.
    async fn ends(&self, cancelled: usize) -> BTreeMap<&'static str, usize> {
        let desk = Management::open(&self.config).await.expect("the database opens");
        let ends = patiently("the records", async {
            loop {
                let mut ends = BTreeMap::new();
                for record in managed::requests(&desk, u32::MAX).await.expect("the database reads") {
                    *ends.entry(record.outcome.name()).or_insert(0) += 1;
                }
                if ends.get(Ended::CancelledAfterFirstByte.name()).copied().unwrap_or(0) >= cancelled {
                    break ends;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        desk.close().await;
        ends
    }

    pub(super) async fn close(self) {
        self.process.end().await;
    }
}

/// Where the lists of packages are.
pub(super) fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/clients")
}

/// Each client leaves one stream alone before its end, and is refused twice; all else ends well.
async fn check(street: Street, outcome: Outcome, clients: usize) {
    let passed = matches!(outcome, Outcome::Passed(_));
    outcome.expect_passed();
    if passed {
        let ends = street.ends(clients).await;
        assert_eq!(ends.get("cancelled-after-first-byte"), Some(&clients), "{ends:?}");
        // Without points each is refused; without a key nobody is known.
        assert_eq!(ends.get("refused"), Some(&clients), "{ends:?}");
        assert_eq!(ends.keys().copied().collect::<Vec<_>>(), ["cancelled-after-first-byte", "ok", "refused"]);
    }
    street.close().await;
}

#[tokio::test]
async fn the_ai_sdk_works_with_every_provider_in_every_scenario() {
    let street = Street::open().await;
    let outcome = match node("clients-node", &manifests().join("package.json")).await {
        Ok(folder) => {
            let script = folder.join("ai_sdk.mjs");
            std::fs::copy(manifests().join("ai_sdk.mjs"), &script).expect("the script is copied");
            let mut command = Command::new("node");
            command.arg(script);
            street.run(command).await
        }
        Err(outcome) => outcome,
    };
    check(street, outcome, 4).await;
}

#[tokio::test]
async fn langchain_works_with_every_provider_in_every_scenario() {
    let street = Street::open().await;
    let outcome = match python("clients-venv", &manifests().join("requirements.txt")).await {
        Ok(python) => {
            let mut command = Command::new(python);
            command.arg(manifests().join("langchain_clients.py"));
            command.env("PYTHONUTF8", "1");
            street.run(command).await
        }
        Err(outcome) => outcome,
    };
    check(street, outcome, 4).await;
}
