//! SIGHUP is nobody's end, and a configuration that is not taken up is said to be that.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tollgate_tests::patiently;

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");

/// A server in a directory of its own that follows no file; what it logs.
struct Apart {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Apart {
    async fn start(dir: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .current_dir(dir)
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(more)
            .env_remove("TOLLGATE_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary runs");
        let stderr = child.stderr.take().expect("its log is ours");
        let mut it = Self { child, log: BufReader::new(stderr).lines() };
        it.says("serving").await;
        it
    }

    /// Waits for a line with these words.
    async fn says(&mut self, words: &str) -> String {
        patiently("a line of the log", async {
            loop {
                let line = self.log.next_line().await.expect("its log reads").expect("it goes on");
                if line.contains(words) {
                    break line;
                }
            }
        })
        .await
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let told = Command::new("kill").args([name, &id]).status().await;
        assert!(told.expect("kill runs").success());
    }

    /// Sends SIGHUP until the server has taken notice: it may not listen yet when it begins to serve.
    async fn hang_up(&mut self) -> String {
        loop {
            self.signal("-HUP").await;
            let told = self.says("no configuration is taken up");
            if let Ok(line) = tokio::time::timeout(Duration::from_millis(500), told).await {
                return line;
            }
        }
    }

    /// Ends it as an operator does.
    async fn end(mut self) {
        self.signal("-TERM").await;
        self.says("stopped").await;
        let ended = patiently("its end", self.child.wait()).await.expect("it is our child");
        assert!(ended.success(), "{ended}");
    }
}

#[tokio::test]
async fn a_server_without_a_file_outlives_a_hangup_and_says_that_it_takes_up_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Apart::start(dir.path(), &["--data-dir", "data"]).await;
    for _ in 0..2 {
        let line = server.hang_up().await;
        assert!(line.contains("without a configuration file"), "{line}");
    }
    fs::write(dir.path().join("tollgate.toml"), "[log]\nlevel = \"warn\"\n").expect("a file");
    server.says("no configuration is taken up").await;
    server.end().await;
}

#[tokio::test]
async fn a_demonstration_outlives_a_hangup_and_tells_of_changes_that_it_ignores() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tollgate.toml");
    fs::write(&file, "[limits]\nattempts_max = 3\n").expect("a file");
    let mut server = Apart::start(dir.path(), &["--demo"]).await;
    let line = server.hang_up().await;
    assert!(line.contains("a demonstration takes its configuration at its start alone"), "{line}");
    fs::write(&file, "[limits]\nattempts_max = 4\n").expect("a file");
    server.says("no configuration is taken up").await;
    server.end().await;
}
