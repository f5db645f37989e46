//! A gateway as a separate process that can be killed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::patiently;
use crate::upstream::Upstream;

/// A running `tollgate serve`. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Where clients connect.
    pub addr: SocketAddr,
    /// Where operators connect.
    pub admin_addr: SocketAddr,
    /// Its output after the first line; kept so that its writes do not fail.
    stdout: Lines<BufReader<ChildStdout>>,
}

/// Writes a configuration for a process: free ports, one worker, every provider at `upstream`, `more` at the end.
///
/// # Panics
/// When the file cannot be written.
#[must_use]
pub fn config_file(dir: &Path, upstream: &Upstream, more: &str) -> PathBuf {
    let path = dir.join("tollgate.toml");
    let url = upstream.base_url();
    let cache = std::env::temp_dir().join("tollgate-test-cache");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nworkers = 1\ndata_dir = \"{}\"\n\
         [log]\nlevel = \"error\"\n[plugins]\ncache_dir = \"{}\"\n\
         [providers.openai]\nbase_url = \"{url}\"\n[providers.anthropic]\nbase_url = \"{url}\"\n\
         [providers.google]\nbase_url = \"{url}\"\n{more}",
        dir.join("data").display(),
        cache.display(),
    );
    std::fs::write(&path, text).expect("a configuration file");
    path
}

impl Process {
    /// Starts `binary` with a configuration file and waits until it serves.
    ///
    /// # Panics
    /// When it does not come to serve.
    pub async fn start(binary: &str, config: &Path) -> Self {
        Self::start_with(binary, config, &[]).await
    }

    /// The same with these variables in its environment.
    ///
    /// # Panics
    /// When it does not come to serve.
    pub async fn start_with(binary: &str, config: &Path, variables: &[(&str, &str)]) -> Self {
        Self::run(binary, config, &[], variables).await
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// When it does not come to serve.
    pub async fn start_more(binary: &str, config: &Path, more: &[&str]) -> Self {
        Self::run(binary, config, more, &[]).await
    }

    async fn run(binary: &str, config: &Path, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(binary)
            .args(["serve", "--config"])
            .arg(config)
            .args(more)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary runs");
        let stdout = child.stdout.take().expect("its output is ours");
        let mut lines = BufReader::new(stdout).lines();
        let first = patiently("the gateway's first line", lines.next_line()).await;
        let first = first.expect("its output reads").expect("it says where it serves");
        let mut addrs = first.split("://").skip(1).map(|rest| {
            let address = rest.split_whitespace().next().unwrap_or_default();
            address.parse().expect("an address")
        });
        let (addr, admin_addr) = (addrs.next().expect("two addresses"), addrs.next().expect("two addresses"));
        Self { child, addr, admin_addr, stdout: lines }
    }

    /// Its next line on standard output.
    ///
    /// # Panics
    /// When it says nothing more.
    pub async fn says(&mut self) -> String {
        let line = patiently("another line of the gateway", self.stdout.next_line()).await;
        line.expect("its output reads").expect("it says something")
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Ends it as an operator does, and waits until it has ended well.
    ///
    /// # Panics
    /// When it ends badly.
    pub async fn end(mut self) {
        let id = self.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(told.expect("kill runs").success());
        let ended = patiently("the end of the gateway", self.child.wait()).await.expect("it is our child");
        assert!(ended.success(), "{ended}");
    }

    /// Kills it as a power cut would: by SIGKILL, without warning.
    ///
    /// # Panics
    /// When it had ended by itself.
    pub async fn kill(mut self) {
        assert!(self.child.try_wait().expect("it is our child").is_none(), "it ended before it was killed");
        self.child.kill().await.expect("it can be killed");
    }
}
