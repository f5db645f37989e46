//! `tollgate serve`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::STANDARD_CONFIG;
use super::output::line;
use crate::app::{Gateway, Options};
use crate::config::{Config, LogFilter, LogFormat};
use crate::telemetry;

/// Where a demonstration keeps its data, apart from real data: neither a configuration file nor the environment, which
/// name the real ones, say otherwise.
const DEMO_DATA_DIR: &str = "tollgate-demo-data";

/// Serves clients until SIGTERM or SIGINT, then lets what is under way finish.
#[derive(Debug, Default, Args)]
pub(super) struct Serve {
    /// Start a simulated provider as well, and a user with points to try the gateway with. Needs no provider key. Its
    /// data is kept in `tollgate-demo-data`, whatever the configuration says; only `--data-dir` beside it names another
    /// directory.
    #[arg(long)]
    demo: bool,
    /// Go on with what is left where a part of the data is missing: a journal, a write-ahead log, rows of the database.
    #[arg(long)]
    accept_loss: bool,
    /// Where clients connect, over what the configuration says.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where operators connect, over what the configuration says.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Log level or filter, over what the configuration says.
    #[arg(long, value_name = "FILTER", env = "TOLLGATE_LOG", value_parser = filter)]
    log_level: Option<LogFilter>,
    /// Shape of log lines, over what the configuration says.
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
}

fn filter(text: &str) -> Result<LogFilter, String> {
    LogFilter::try_from(text.to_owned())
}

impl Serve {
    pub(super) fn run(
        self,
        path: Option<PathBuf>,
        mut config: Config,
        dir_given: bool,
    ) -> anyhow::Result<ExitCode> {
        if self.demo && !dir_given {
            config.server.data_dir = PathBuf::from(DEMO_DATA_DIR);
        }
        let demo_dir = self.demo.then(|| absolute(&config.server.data_dir));
        config.server.listen = self.listen.unwrap_or(config.server.listen);
        config.server.admin_listen = self.admin_listen.unwrap_or(config.server.admin_listen);
        config.log.level = self.log_level.unwrap_or(config.log.level);
        config.log.format = self.log_format.unwrap_or(config.log.format);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // SIGHUP, too, is nobody's end: who follows a configuration hears of it, at any moment from here on.
        let (mut terminate, mut interrupt, _hangup) = {
            let _entered = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            )
        };
        let apart = path.clone().unwrap_or_else(|| PathBuf::from(STANDARD_CONFIG));
        let gateway = Gateway::start(Options {
            config,
            config_path: path,
            config_apart: Some(apart),
            demo: self.demo,
            accept_loss: self.accept_loss,
            ..Options::default()
        })?;
        if let Err(error) = announce(&gateway, demo_dir.as_deref()) {
            tracing::warn!("the greeting could not be printed, and is not repeated: {error:#}");
        }
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        tracing::info!("stopping: no more connections, requests under way may finish");
        let stopped = gateway.stop();
        telemetry::finish();
        stopped?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A path that says where it is to whoever reads it elsewhere.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Says where the gateway is, and the secrets of a first start: they are printed here once and stored as hashes.
fn announce(gateway: &Gateway, demo_dir: Option<&Path>) -> anyhow::Result<()> {
    line(&format!("Tollgate serves clients at {} and operators at {}", gateway.url(), gateway.admin_url()))?;
    if let Some(secret) = &gateway.first_start.admin_secret {
        line(&format!("Admin secret (shown once): {}", secret.expose()))?;
    }
    if let Some(key) = &gateway.first_start.demo_key {
        line(&format!("Demo API key (shown once): {}", key.expose()))?;
    }
    if let Some(link) = &gateway.first_start.demo_link {
        let (url, link) = (gateway.admin_url(), link.expose());
        line(&format!("Console, by a link that is good once: {url}/console/#/login?link={link}"))?;
    } else {
        line(&format!("Console: {}/console/", gateway.admin_url()))?;
    }
    if let Some(url) = gateway.users_url() {
        line(&format!("Console for users: {url}/console/"))?;
    }
    if let Some(dir) = demo_dir {
        line(&format!("This is a demonstration: its data is kept in {}", dir.display()))?;
    }
    Ok(())
}
