//! What the gateway costs compared with nginx: direct, nginx and Tollgate in turn, in one run, on the same cores.
//!
//! The proxy under test has the first core to itself; the load generator and the scripted upstream share the last one,
//! in this process and on one thread, so that they cost as little as they can. Only loopback is used. Everything that
//! is started is stopped at the end, and every file lies in a directory that is removed.
#![expect(clippy::print_stdout, reason = "a report is what this program is for")]

mod callgrind;
mod client;
mod counted;
mod http;
mod phase;
mod process;
mod report;
mod target;
mod upstream;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::LocalSet;

use crate::counted::{Budget, Of};
use crate::phase::{Plan, Round};
use crate::target::Target;
use crate::upstream::Script;

const HELP: &str = "\
Options (after `--`):
  --tollgate FILE    the binary to measure (default: built from this checkout in release mode)
  --rounds N         times that every target is measured; medians are reported (default 3)
  --requests N       requests of one round at one target (default 30000)
  --only TEXT        only targets whose name holds TEXT, beside nginx
  --instructions N   instead of all that: count the instructions of N exchanges, with valgrind
  --of TEXT          for each `request` (default), `chunk` of a stream, or chunk that is `translated`
  --keep DIR         where to leave what callgrind writes, for other tools
  --at-most N,N,N    fail where a request costs its worker more instructions, L1i misses or allocations";

/// The arguments of the command line.
struct Options {
    tollgate: Option<PathBuf>,
    rounds: usize,
    requests: u64,
    only: String,
    instructions: Option<u64>,
    of: Of,
    at_most: Option<Budget>,
    keep: Option<PathBuf>,
}

impl Options {
    fn read() -> anyhow::Result<Self> {
        let mut options = Self {
            tollgate: None,
            rounds: 3,
            requests: 30_000,
            only: String::new(),
            instructions: None,
            of: Of::Request,
            at_most: None,
            keep: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value\n{HELP}"));
            match word.as_str() {
                // Cargo passes this to every bench.
                "--bench" => {}
                "--tollgate" => options.tollgate = Some(value()?.into()),
                "--rounds" => options.rounds = value()?.parse()?,
                "--requests" => options.requests = value()?.parse()?,
                "--only" => options.only = value()?,
                "--instructions" => options.instructions = Some(value()?.parse()?),
                "--of" => options.of = value()?.parse()?,
                "--keep" => options.keep = Some(value()?.into()),
                "--at-most" => options.at_most = Some(value()?.parse()?),
                _ => bail!("unknown option {word}\n{HELP}"),
            }
        }
        Ok(options)
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::read()?;
    let tollgate = match &options.tollgate {
        Some(path) => path.clone(),
        None => target::build()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    if let Some(requests) = options.instructions {
        return tasks.block_on(
            &runtime,
            counted::run(&tollgate, requests, options.of, options.at_most, options.keep.as_deref()),
        );
    }
    process::pin_to_last_core()?;
    tasks.block_on(&runtime, measure(&options, &tollgate))
}

async fn measure(options: &Options, tollgate: &std::path::Path) -> anyhow::Result<()> {
    let script = Rc::new(Script::new());
    let upstream = upstream::start(&script).await?;
    let dir = tempfile::tempdir()?;
    let mut targets = vec![Target::direct(upstream), Target::nginx(upstream, &dir.path().join("nginx"))?];
    for sync in ["full", "normal"] {
        targets.push(Target::tollgate(upstream, tollgate, &dir.path().join(sync), sync, &[])?);
    }
    targets.retain(|target| target.is_baseline() || target.name.contains(&options.only));
    for target in &mut targets {
        target.ready().await?;
    }
    // By then, a process has finished what it does once at its start.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for target in &mut targets {
        target.note_idle_memory()?;
        target.note_image_memory().await?;
    }
    let plan = Plan::new(options.requests);
    let mut rounds: Vec<Vec<Round>> = targets.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (target, rounds) in targets.iter().zip(&mut rounds) {
            rounds.push(phase::round(&plan, target, &script).await?);
        }
    }
    report::print(&plan, &targets, &rounds)?;
    targets.iter().try_for_each(Target::verify)
}
