//! What a passthrough request, or a chunk of a stream, costs in instructions: the same on a busy machine as on an idle
//! one, and on any.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::callgrind::{self, Cost, Function, Thread};
use crate::client::{self, Exchange};
use crate::target::Target;
use crate::upstream::{self, EVENTS, Script};

/// Connections that requests come on: what belongs to a connection is shared by many.
const CONNECTIONS: usize = 4;
/// Requests before anything is counted.
const WARM_UP: u64 = 200;
/// Time for the last settlements.
const SETTLING: Duration = Duration::from_secs(1);
/// Functions below this share of all instructions, in parts of a thousand, are not listed.
const LISTED_MIN_PPT: u64 = 4;
/// The function that the worker alone calls.
const ROAD: &str = "tollgate_server::proxy::handle";
/// What is counted by calls: what a row is called, and how the names of its functions begin.
const COUNTED: [(&str, &[&str]); 7] = [
    (ALLOCATIONS, &["mi_malloc_aligned", "mi_zalloc_aligned", "mi_realloc_aligned"]),
    ("copies by `memcpy`", &["__memcpy", "memcpy", "__memmove", "memmove"]),
    ("system calls", &["recv", "send", "readv", "writev", "pwrite", "epoll_wait", "syscall", "nanosleep"]),
    ("clock readings", &["clock_gettime"]),
    ("timers registered", &["tokio::runtime::time::wheel::Wheel::insert"]),
    ("calls into components", &["tollgate_runtime::instance::Instance<W>::enter"]),
    ("polls of the connection", &["tollgate_server::listen::connection::http1::{{closure}}"]),
];
const ALLOCATIONS: &str = "allocations";

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Of {
    /// A request whose answer is not a stream.
    Request,
    /// A chunk of a stream that passes as it is.
    Chunk,
    /// A chunk of a stream that is translated.
    Translated,
}

impl std::str::FromStr for Of {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "request" => Ok(Self::Request),
            "chunk" => Ok(Self::Chunk),
            "translated" => Ok(Self::Translated),
            _ => bail!("`{text}` is neither `request`, `chunk` nor `translated`"),
        }
    }
}

impl Of {
    fn exchange(self, target: &Target) -> anyhow::Result<Rc<Exchange>> {
        match self {
            Self::Request => Ok(target.plain()),
            Self::Chunk => Ok(target.stream()),
            Self::Translated => target.translated().context("nothing translates"),
        }
    }

    /// Things in one exchange.
    const fn in_one(self) -> u64 {
        match self {
            Self::Request => 1,
            Self::Chunk | Self::Translated => EVENTS as u64,
        }
    }
}

/// What a request may cost its worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    instructions: u64,
    code_misses: u64,
    allocations: u64,
}

impl std::str::FromStr for Budget {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let figures: Vec<u64> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let [instructions, code_misses, allocations] = figures[..] else { bail!("three figures are needed") };
        Ok(Self { instructions, code_misses, allocations })
    }
}

/// Counts the things of `exchanges` exchanges and prints the tables. What callgrind wrote stays in `keep`.
///
/// # Errors
/// Where one of them costs its worker more than the budget.
pub(crate) async fn run(
    tollgate: &Path,
    exchanges: u64,
    of: Of,
    budget: Option<Budget>,
    keep: Option<&Path>,
) -> anyhow::Result<()> {
    if !callgrind::is_there() {
        println!("SKIPPED: valgrind is not installed, so no instructions were counted");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let threads = count(tollgate, exchanges, of, dir.path(), keep.unwrap_or(dir.path())).await?;
    let requests = exchanges * of.in_one();
    let worker = threads.iter().find(|thread| thread.called(ROAD)).context("no thread served a request")?;
    print_threads(&threads, worker, requests);
    print_functions(worker, requests);
    print_crates(worker, requests);
    print_counts(worker, requests);
    budget.map_or(Ok(()), |budget| hold(budget, worker, requests))
}

fn hold(budget: Budget, worker: &Thread, requests: u64) -> anyhow::Result<()> {
    let total = worker.total();
    let figures = [
        ("instructions", each(total.instructions, requests), budget.instructions),
        ("L1i misses", each(total.code_misses, requests), budget.code_misses),
        (ALLOCATIONS, each(calls(worker, ALLOCATIONS), requests), budget.allocations),
    ];
    for (what, found, most) in figures {
        println!("{what}: {found} of {most}");
    }
    match figures.into_iter().find(|(_, found, most)| found > most) {
        Some((what, found, most)) => bail!("each costs its worker {found} {what}, and may cost {most}"),
        None => Ok(()),
    }
}

async fn count(
    tollgate: &Path,
    exchanges: u64,
    of: Of,
    dir: &Path,
    counts: &Path,
) -> anyhow::Result<Vec<Thread>> {
    let script = Rc::new(Script::new());
    let upstream = upstream::start(&script).await?;
    let runner = callgrind::under(counts);
    let mut target = Target::tollgate(upstream, tollgate, &dir.join("normal"), "normal", &runner)?;
    target.ready().await?;
    let exchange = of.exchange(&target)?;
    client::closed(&exchange, CONNECTIONS, WARM_UP / of.in_one().min(WARM_UP)).await?;
    let pid = target.pid().context("nothing runs")?;
    callgrind::count(pid)?;
    client::closed(&exchange, CONNECTIONS, exchanges).await?;
    tokio::time::sleep(SETTLING).await;
    callgrind::write(pid)?;
    callgrind::threads(counts)
}

fn each(count: u64, requests: u64) -> u64 {
    count / requests.max(1)
}

fn least_listed(worker: &Thread, requests: u64) -> u64 {
    each(worker.total().instructions * LISTED_MIN_PPT / 1000, requests)
}

fn print_threads(threads: &[Thread], worker: &Thread, requests: u64) {
    println!("| thread | user instructions for each | L1i misses |\n|---|---|---|");
    let row = |name: &str, cost: Cost| {
        println!("| {name} | {} | {} |", each(cost.instructions, requests), each(cost.code_misses, requests));
    };
    row("worker", worker.total());
    let mut others = Cost::default();
    threads.iter().filter(|thread| !std::ptr::eq(*thread, worker)).for_each(|other| others += other.total());
    row("all others (ledger, SQLite, clock)", others);
    println!();
}

fn print_functions(worker: &Thread, requests: u64) {
    println!(
        "| function of the worker, with what it calls | instructions | L1i misses | calls |\n|---|---|---|---|"
    );
    let least = least_listed(worker, requests);
    let own = |name: &str| name.contains("tollgate_");
    let mut rows: Vec<(&String, &Function)> = worker.functions.iter().filter(|(name, _)| own(name)).collect();
    rows.sort_by_key(|(_, function)| std::cmp::Reverse(function.with_calls.instructions));
    for (name, Function { with_calls, calls, .. }) in rows {
        let instructions = each(with_calls.instructions, requests);
        if instructions >= least {
            let misses = each(with_calls.code_misses, requests);
            println!("| `{name}` | {instructions} | {misses} | {} |", per_request(*calls, requests));
        }
    }
    println!();
}

/// Own instructions by crate; a function of a library of C stands under its own name.
fn print_crates(worker: &Thread, requests: u64) {
    let mut crates: BTreeMap<&str, Cost> = BTreeMap::new();
    for (name, function) in &worker.functions {
        *crates.entry(origin(name)).or_default() += function.own;
    }
    let mut rows: Vec<(&str, Cost)> = crates.into_iter().collect();
    rows.sort_by_key(|(_, cost)| std::cmp::Reverse(cost.instructions));
    println!("| crate, or function of C | own instructions | L1i misses |\n|---|---|---|");
    let least = least_listed(worker, requests);
    for (name, cost) in rows.into_iter().filter(|(_, cost)| each(cost.instructions, requests) >= least) {
        println!("| {name} | {} | {} |", each(cost.instructions, requests), each(cost.code_misses, requests));
    }
    println!();
}

/// The crate that a function is of. What was compiled from a component has no name.
fn origin(name: &str) -> &str {
    if name.starts_with("0x") {
        return "(components)";
    }
    let name = name.trim_start_matches(['<', '&', '(', '*', '[']);
    let name = ["dyn ", "mut "].iter().find_map(|word| name.strip_prefix(word)).unwrap_or(name);
    let first = name.split("::").next().unwrap_or(name);
    first.split(['<', ' ', '@']).next().unwrap_or(first)
}

fn print_counts(worker: &Thread, requests: u64) {
    println!("| what | for each |\n|---|---|");
    for (what, _) in COUNTED {
        println!("| {what} | {} |", per_request(calls(worker, what), requests));
    }
    println!();
}

/// Calls of what stands in [`COUNTED`] under this name.
fn calls(worker: &Thread, what: &str) -> u64 {
    let names = COUNTED.iter().find(|(known, _)| *known == what).map_or(&[][..], |(_, names)| names);
    let counted = |name: &str| names.iter().any(|begin| name.starts_with(begin));
    worker.functions.iter().filter(|(name, _)| counted(name)).map(|(_, function)| function.calls).sum()
}

/// With one digit after the point.
fn per_request(calls: u64, requests: u64) -> String {
    let tenths = each(calls * 10, requests);
    format!("{}.{}", tenths / 10, tenths % 10)
}
