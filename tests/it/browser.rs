//! The console in a browser: the real binary with its simulated provider, and a headless Chromium that opens every page
//! and does what people do there. The scripts are in `tests/console/`.

use std::path::Path;

use tempfile::TempDir;
use tollgate_tests::browser::{self, Outcome};
use tollgate_tests::process::Process;

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
/// The console's files.
const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../host/console/web");

/// A demonstration in a process of its own, and what the scripts must know of it.
struct Demonstration {
    dir: TempDir,
    process: Process,
    admin_secret: String,
    demo_key: String,
}

impl Demonstration {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (config, data) = (dir.path().join("tollgate.toml"), dir.path().join("data"));
        let cache = std::env::temp_dir().join("tollgate-test-cache");
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nworkers = 1\ndata_dir = {data:?}\n\
             [log]\nlevel = \"error\"\n[plugins]\ncache_dir = {cache:?}\n[lending]\nenabled = true\n"
        );
        std::fs::write(&config, text).expect("a configuration file");
        let data = data.to_str().expect("a path that is text");
        let mut process = Process::start_more(BINARY, &config, &["--demo", "--data-dir", data]).await;
        let admin_secret = told(&mut process, "Admin secret").await;
        let demo_key = told(&mut process, "Demo API key").await;
        Self { dir, process, admin_secret, demo_key }
    }

    async fn run(self, script: &str) -> Outcome {
        let (admin, clients) =
            (format!("http://{}", self.process.admin_addr), format!("http://{}", self.process.addr));
        let config = self.dir.path().join("tollgate.toml");
        let variables = [
            ("ADMIN_URL", admin.as_str()),
            ("CLIENT_URL", &clients),
            ("ADMIN_SECRET", &self.admin_secret),
            ("DEMO_KEY", &self.demo_key),
            ("TOLLGATE", BINARY),
            ("CONFIG", config.to_str().expect("a path that is text")),
        ];
        let outcome = browser::run(script, &variables).await;
        self.process.end().await;
        outcome
    }
}

/// What the gateway says once, behind these words.
async fn told(process: &mut Process, words: &str) -> String {
    let line = process.says().await;
    let (before, secret) = line.rsplit_once(' ').expect("words and a secret");
    assert!(before.starts_with(words), "{before}");
    secret.to_owned()
}

#[tokio::test]
async fn every_page_is_light_readable_by_all_and_asks_nobody_else() {
    Demonstration::start().await.run("pages.mjs").await.expect_passed();
}

#[tokio::test]
async fn people_log_in_make_keys_and_lose_nothing_on_the_way() {
    Demonstration::start().await.run("flows.mjs").await.expect_passed();
}

#[tokio::test]
async fn a_users_numbers_agree_and_no_answer_tells_what_operators_hide() {
    Demonstration::start().await.run("sums.mjs").await.expect_passed();
}

#[tokio::test]
async fn the_modules_have_types_and_no_long_functions() {
    assert!(Path::new(WEB).is_dir(), "{WEB}");
    browser::run("sources.mjs", &[("WEB", WEB)]).await.expect_passed();
}
