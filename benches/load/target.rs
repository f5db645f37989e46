//! What is measured: no proxy, nginx, or Tollgate, each a separate process that ends with its value.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{self, Exchange};
use crate::process::{Family, PROXY_CORE};
use crate::upstream::{ANSWER_BYTES, EVENTS};

/// How long a process may take to start or stop, also where every instruction is counted.
const PATIENCE: Duration = Duration::from_secs(240);
/// Platform credentials; with the user's own one, these are the key selector's candidates.
const PLATFORM_CREDENTIALS: usize = 7;
const CHAT: &str = "/v1/chat/completions";
/// Bytes of an ordinary request's body.
const REQUEST_BYTES: usize = 1024;
/// The least number of bytes of a translated event.
const DELTA_BYTES_MIN: usize = 100;
/// A body that is nearly all an image.
pub(crate) const IMAGE_BYTES: usize = 10 << 20;
/// How often it is sent in a row, after one alone, and what is sent before that.
const IMAGES: u64 = 5;
const IMAGE_WARM_UP: u64 = 200;
/// Syllables of the content filter's words: a hundred of them, none of which is in any body.
const SYLLABLES: [&str; 10] = ["bar", "cho", "dru", "fen", "gil", "hov", "jax", "kem", "lun", "mip"];

/// One row of the report.
pub(crate) struct Target {
    pub(crate) name: String,
    address: SocketAddr,
    api_key: String,
    process: Option<Process>,
    gateway: Option<Gateway>,
    pub(crate) idle_kib: u64,
    pub(crate) image: Image,
}

/// What a request with a large image costs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Image {
    /// By how much resident memory rose at most.
    pub(crate) risen_kib: u64,
    /// By how much it rose when several came one after the other: memory of one is not returned before the next one
    /// comes.
    pub(crate) row_risen_kib: u64,
    /// Bytes that were copied into components, for one request.
    pub(crate) copied_bytes: u64,
}

/// A Tollgate's listeners and keys.
struct Gateway {
    command: Tollgate,
    admin: SocketAddr,
}

impl Target {
    /// No proxy at all.
    pub(crate) fn direct(upstream: SocketAddr) -> Self {
        let api_key = "k".repeat(40);
        Self {
            name: "direct".to_owned(),
            address: upstream,
            api_key,
            process: None,
            gateway: None,
            idle_kib: 0,
            image: Image::default(),
        }
    }

    /// nginx as it is deployed for streams: connections kept on both sides, no buffering, no log.
    pub(crate) fn nginx(upstream: SocketAddr, dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir(dir)?;
        let address = free_address()?;
        let config = nginx_config(dir, address, upstream);
        let file = dir.join("nginx.conf");
        fs::write(&file, config)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir).arg("-c").arg(&file).arg("-e").arg(dir.join("error.log"));
        let process = Process::start(&command, dir, "is nginx installed?")?;
        let base = Self::direct(address);
        Ok(Self { name: "nginx".to_owned(), process: Some(process), ..base })
    }

    /// Tollgate with everything on, its ledger written as `sync` says, started by the command `runner` where there is
    /// one.
    pub(crate) fn tollgate(
        upstream: SocketAddr,
        binary: &Path,
        dir: &Path,
        sync: &str,
        runner: &[String],
    ) -> anyhow::Result<Self> {
        fs::create_dir(dir)?;
        let (address, admin) = (free_address()?, free_address()?);
        let file = dir.join("tollgate.toml");
        fs::write(&file, tollgate_config(dir, address, admin, upstream, sync))?;
        let tollgate = Tollgate { binary: binary.to_owned(), config: file };
        tollgate.run(&["user", "add", "load", "--points", "1000000"], "")?;
        let key = tollgate.run(&["key", "create", "--user", "load"], "")?;
        let api_key = key["key"].as_str().context("no key was made")?.to_owned();
        tollgate.run(&["credential", "add", "--provider", "openai", "--user", "load"], "sk-own")?;
        for at in 0..PLATFORM_CREDENTIALS {
            let label = format!("platform-{at}");
            let secret = format!("sk-platform-{at}");
            tollgate.run(&["credential", "add", "--provider", "openai", "--label", &label], &secret)?;
        }
        let mut command = tollgate.command();
        command.arg("serve");
        // A first start compiles the components; every other one, and so the usual process, finds them compiled.
        let first = Process::start(&command, dir, "does the binary exist?")?;
        wait_until_open(address)?;
        drop(first);
        let process = Process::start(&below(runner, &command), dir, "does the binary exist?")?;
        Ok(Self {
            name: format!("tollgate, sync={sync}"),
            address,
            api_key,
            process: Some(process),
            gateway: Some(Gateway { command: tollgate, admin }),
            idle_kib: 0,
            image: Image::default(),
        })
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    /// Whether the others are compared with it.
    pub(crate) const fn is_baseline(&self) -> bool {
        self.gateway.is_none()
    }

    /// A request with an answer of 1 KiB.
    pub(crate) fn plain(&self) -> Rc<Exchange> {
        self.exchange(CHAT, &tollgate_benches::chat_request(REQUEST_BYTES, false), ANSWER_BYTES)
    }

    fn exchange(&self, path: &str, body: &str, body_bytes_min: usize) -> Rc<Exchange> {
        Rc::new(Exchange::new(self.address, &self.api_key, path, body, body_bytes_min))
    }

    /// A request with a stream for an answer.
    pub(crate) fn stream(&self) -> Rc<Exchange> {
        let deltas = tollgate_benches::chat_stream(EVENTS).into_iter().take(EVENTS);
        let bytes = deltas.map(|event| event.len()).sum();
        self.exchange(CHAT, &tollgate_benches::chat_request(REQUEST_BYTES, true), bytes)
    }

    /// The same stream for a client of another protocol; `None` where the target does not translate.
    pub(crate) fn translated(&self) -> Option<Rc<Exchange>> {
        self.gateway.as_ref()?;
        let body = tollgate_benches::messages_request(REQUEST_BYTES);
        Some(self.exchange("/v1/messages", &body, EVENTS * DELTA_BYTES_MIN))
    }

    /// Waits until it takes connections.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            if let Some(process) = &mut self.process {
                process.check_running()?;
            }
            if start.elapsed() > PATIENCE {
                bail!("{} does not serve", self.name);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if let Some(process) = &mut self.process {
            process.family = Family::of(process.child.id())?;
        }
        Ok(())
    }

    pub(crate) fn note_idle_memory(&mut self) -> anyhow::Result<()> {
        self.idle_kib = self.resident_kib()?;
        Ok(())
    }

    /// Sends a large image, once and then a few times, to a process that has served before.
    pub(crate) async fn note_image_memory(&mut self) -> anyhow::Result<()> {
        client::closed(&self.plain(), 1, IMAGE_WARM_UP).await?;
        let Some(process) = &self.process else { return Ok(()) };
        let image = self.exchange(CHAT, &tollgate_benches::image_request(IMAGE_BYTES), ANSWER_BYTES);
        let (before, copied) = (self.resident_kib()?, self.component_bytes().await?);
        process.family.forget_peak()?;
        let risen_kib = async |images| {
            client::closed(&image, 1, images).await?;
            anyhow::Ok(process.family.peak_kib()?.saturating_sub(before))
        };
        let (risen_kib, row_risen_kib) = (risen_kib(1).await?, risen_kib(IMAGES).await?);
        let copied_bytes = (self.component_bytes().await? - copied) / (IMAGES + 1);
        self.image = Image { risen_kib, row_risen_kib, copied_bytes };
        Ok(())
    }

    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        self.process.as_ref().map_or(Ok(0), |process| process.family.resident_kib())
    }

    /// CPU time of the proxy so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.process.as_ref().map_or(Ok(Duration::ZERO), |process| process.family.cpu())
    }

    /// Calls into components so far.
    pub(crate) async fn component_calls(&self) -> anyhow::Result<u64> {
        self.metric("tollgate_plugin_calls{").await
    }

    /// Bytes of requests and answers copied into components so far.
    async fn component_bytes(&self) -> anyhow::Result<u64> {
        self.metric("tollgate_plugin_bytes{").await
    }

    /// The sum of a metric over its labels; 0 for what is no gateway.
    async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let Some(Gateway { admin, .. }) = &self.gateway else { return Ok(0) };
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let lines = answer.lines().filter(|line| line.starts_with(name));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// Verifies the gateway's ledger: speed counts only if no charge is lost.
    pub(crate) fn verify(&self) -> anyhow::Result<()> {
        let Some(Gateway { command, .. }) = &self.gateway else { return Ok(()) };
        let report = command.run(&["ledger", "verify"], "")?;
        println!(
            "{}: ledger verify: {} transfers, {} violations",
            self.name, report["transfers"], report["violations"]
        );
        Ok(())
    }
}

/// A child on the proxy's core. Dropping it stops it.
struct Process {
    child: Child,
    family: Family,
    log: PathBuf,
}

impl Process {
    fn start(command: &Command, dir: &Path, hint: &str) -> anyhow::Result<Self> {
        let log = dir.join("stderr.log");
        let child = Command::new("taskset")
            .args(["-c", PROXY_CORE])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(File::create(dir.join("stdout.log"))?)
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("starting {} ({hint})", command.get_program().display()))?;
        let family = Family::of(child.id())?;
        Ok(Self { child, family, log })
    }

    fn check_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended with {status}:\n{}", fs::read_to_string(&self.log)?),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let asked = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = asked.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let start = Instant::now();
        while asked && start.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // It did not react, or has ended already.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// The binary as a command line.
struct Tollgate {
    binary: PathBuf,
    config: PathBuf,
}

impl Tollgate {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(&self.config);
        command
    }

    /// Runs one command with `input` and returns the object that it printed.
    fn run(&self, words: &[&str], input: &str) -> anyhow::Result<serde_json::Value> {
        let mut command = self.command();
        command.args(words).arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {}", self.binary.display()))?;
        child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("`tollgate {}` ended with {}", words.join(" "), output.status);
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Builds the binary that is measured, and says where it is.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").context("run this with cargo, or name a binary with --tollgate")?;
    let built = Command::new(cargo).args(["build", "--release", "-p", "tollgate-server"]).status()?;
    if !built.success() {
        bail!("the gateway does not build");
    }
    // This program is `<target>/release/deps/load-…`.
    let own = std::env::current_exe()?;
    let release = own.ancestors().nth(2).context("not in a target directory")?;
    Ok(release.join("tollgate"))
}

/// The same command, started by another one.
fn below(runner: &[String], command: &Command) -> Command {
    let words = runner.iter().map(AsRef::as_ref).chain([command.get_program()]);
    let mut words = words.chain(command.get_args());
    let mut below = Command::new(words.next().unwrap_or_default());
    below.args(words);
    below
}

fn wait_until_open(address: SocketAddr) -> anyhow::Result<()> {
    let start = Instant::now();
    while std::net::TcpStream::connect(address).is_err() {
        if start.elapsed() > PATIENCE {
            bail!("nothing serves at {address}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn nginx_config(dir: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        "daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    client_max_body_size 64m;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    upstream provider {{
        server {upstream};
        keepalive 128;
        keepalive_timeout 1h;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
        }}
    }}
}}
"
    )
}

fn tollgate_config(
    dir: &Path,
    address: SocketAddr,
    admin: SocketAddr,
    upstream: SocketAddr,
    sync: &str,
) -> String {
    let pairs = SYLLABLES.iter().flat_map(|first| SYLLABLES.iter().map(move |second| (first, second)));
    let words: Vec<String> = pairs.map(|(first, second)| format!("\"{first}{second}on\"")).collect();
    let words = words.join(", ");
    let data = dir.join("data");
    let data = data.display();
    format!(
        "[server]
listen = \"{address}\"
admin_listen = \"{admin}\"
data_dir = \"{data}\"
workers = 1

[store]
sync = \"{sync}\"

[providers.openai]
base_url = \"http://{upstream}\"

[policies.content_filter]
config = {{ words = [{words}, \"禁词\"], patterns = [\"sk-[A-Za-z0-9]{{20,}}\", \"[0-9]{{16}}\"], action = \"block\" }}
"
    )
}
