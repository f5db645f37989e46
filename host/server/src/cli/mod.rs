//! The command line. Every command works on the data directory alone, so that it needs no running server; a running one
//! notices what changed within half a second.

mod audit;
mod code;
mod credential;
mod key;
mod ledger;
mod openapi;
mod output;
mod plugin;
mod price;
mod receipt;
mod reload;
mod requests;
mod serve;
mod usage;
mod user;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use rustix::fs::Mode;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use self::output::Output;
use crate::config::Config;
use crate::manage::{ManageError, Page, Window};

/// A gateway for large language models: one address for every provider, paid in points, ruled by components that are
/// replaced while traffic flows.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    /// Configuration file. Without it `tollgate.toml` is read where it exists, else the defaults apply.
    #[arg(long, short, global = true, env = "TOLLGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory, over what the configuration says.
    #[arg(long, global = true, env = "TOLLGATE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients (the default).
    Serve(serve::Serve),
    /// People and teams: each has one account.
    #[command(subcommand)]
    User(user::User),
    /// API keys that users call with.
    #[command(subcommand)]
    Key(key::Key),
    /// Provider keys, the operator's and the users' own.
    #[command(subcommand)]
    Credential(credential::Credential),
    /// Components: check a file, see what runs, reload.
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Have the running server look at its configuration file now.
    Reload(reload::Reload),
    /// What models cost.
    #[command(subcommand)]
    Price(price::Price),
    /// What charges rest on: show it, and prove that it gives the same charge again.
    #[command(subcommand)]
    Receipt(receipt::Receipt),
    /// Codes that are worth points.
    #[command(subcommand)]
    Code(code::Code),
    /// Balances, grants, requests, receipts, and the proof that the ledger is right.
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// What was changed, by whom, newest first.
    Audit(audit::Audit),
    /// What was used: by day, month, model or key.
    #[command(subcommand)]
    Usage(usage::Usage),
    /// The request log: find, show, export, remove what is old.
    #[command(subcommand)]
    Requests(requests::Requests),
    /// Print the OpenAPI document of the management API.
    Openapi,
}

/// The status of a program that writes to a reader who has left: what a shell shows for SIGPIPE.
const UNREAD: u8 = 128 + 13;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // Whatever is made is for its owner alone: the database, keys, logs, archives, and what commands make of them.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let matches = Cli::command().get_matches();
    // What the environment says is said of every command, so it is not what somebody wants of this one.
    let dir_given = matches.value_source("data_dir") == Some(ValueSource::CommandLine);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match run(cli, dir_given) {
        Ok(code) => code,
        Err(error) if error.is::<output::Unread>() => ExitCode::from(UNREAD),
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, dir_given: bool) -> anyhow::Result<ExitCode> {
    let (path, config) = cli.common.read()?;
    let output = Output::new(cli.common.json);
    let command = cli.command.unwrap_or_else(|| Command::Serve(serve::Serve::default()));
    if let Command::Serve(serve) = command {
        return serve.run(path, config, dir_given);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Serve(_) => unreachable!("served above"),
            Command::User(user) => user.run(&config, &output).await,
            Command::Key(key) => key.run(&config, &output).await,
            Command::Credential(credential) => credential.run(&config, &output).await,
            Command::Plugin(plugin) => plugin.run(&config, &output).await,
            Command::Reload(reload) => reload.run(&config, &output).await,
            Command::Price(price) => price.run(&config, &output).await,
            Command::Receipt(receipt) => receipt.run(&config, &output).await,
            Command::Code(code) => code.run(&config, &output).await,
            Command::Ledger(ledger) => ledger.run(&config, &output).await,
            Command::Audit(audit) => audit.run(&config, &output).await,
            Command::Usage(usage) => usage.run(&config, &output).await,
            Command::Requests(requests) => requests.run(&config, &output).await,
            Command::Openapi => openapi::print(),
        }
    })
}

impl Common {
    /// The configuration, and the file that it came from.
    fn read(&self) -> anyhow::Result<(Option<PathBuf>, Config)> {
        let standard = PathBuf::from(STANDARD_CONFIG);
        let path = self.config.clone().or_else(|| standard.symlink_metadata().is_ok().then_some(standard));
        let mut config = path.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        if let Some(dir) = &self.data_dir {
            config.server.data_dir.clone_from(dir);
        }
        Ok((path, config))
    }
}

/// Where a configuration is looked for that nobody names.
const STANDARD_CONFIG: &str = "tollgate.toml";
/// Rows that a command reads at once.
const PAGE: usize = 500;

/// Reads a list to its end, page by page.
async fn all<T, I, F>(mut read: impl FnMut(Window<I>) -> F) -> Result<Vec<T>, ManageError>
where
    F: Future<Output = Result<Page<T, I>, ManageError>>,
{
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = read(Window { after, limit: PAGE }).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return Ok(rows);
        }
    }
}

/// Reads an amount of points.
fn points(text: &str) -> Result<Micropoints, String> {
    Micropoints::parse_points(text)
        .filter(|points| points.get() >= 0)
        .ok_or_else(|| "give a decimal number that is not negative, with at most six places".to_owned())
}

/// Reads a moment: a day, which begins at midnight UTC, or a day and a time.
fn moment(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == "2026-12-01".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time = humantime::parse_rfc3339(&whole).map_err(|error| error.to_string())?;
    let since = time.duration_since(std::time::UNIX_EPOCH).map_err(|_| "that was before 1970".to_owned())?;
    u64::try_from(since.as_millis()).map(Timestamp::from_millis).map_err(|error| error.to_string())
}

/// A moment as people read it.
fn shown(at: Timestamp) -> String {
    // Beyond the year 9999 there is no such form.
    let at = at.millis().min(253_402_300_799_999);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(at);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Reads how long ago something began: `30d`, `12h`.
fn ago(text: &str) -> Result<Timestamp, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Ok(Timestamp::from_millis(crate::clock::now().millis().saturating_sub(ms)))
}
