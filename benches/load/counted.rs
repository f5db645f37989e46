//! What a passthrough request costs in instructions: the same on a busy machine as on an idle one, and on any.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::callgrind::{self, Cost, Function, Thread};
use crate::client;
use crate::target::Target;
use crate::upstream::{self, Script};

/// Connections that requests come on: what belongs to a connection is shared by many.
const CONNECTIONS: usize = 4;
/// Requests before anything is counted.
const WARM_UP: u64 = 200;
/// Time for the last settlements.
const SETTLING: Duration = Duration::from_secs(1);
/// Functions below so many instructions a request are not listed.
const LISTED_MIN: u64 = 700;
/// The function that the worker alone calls.
const ROAD: &str = "tollgate_server::proxy::handle";
/// What is counted by its calls: name in the table, and what a function's name begins with.
const COUNTED: [(&str, &[&str]); 6] = [
    ("allocations", &["mi_malloc", "mi_zalloc", "mi_theap_malloc", "mi_heap_malloc", "mi_realloc"]),
    ("copies by function", &["memcpy", "__memcpy", "memmove", "__memmove"]),
    ("clock readings", &["clock_gettime"]),
    (
        "timers registered",
        &["tokio::runtime::time::entry::TimerEntry::reset", "tokio::runtime::time::Handle"],
    ),
    ("calls into components", &["tollgate_runtime::unit::"]),
    ("polls of connections", &["tollgate_server::listen::connection"]),
];

/// Counts `requests` requests and prints the tables. What callgrind wrote stays in the directory `keep`.
///
/// # Errors
/// Where the worker needs more than `at_most` instructions for one of them.
pub(crate) async fn run(
    tollgate: &Path,
    requests: u64,
    at_most: Option<u64>,
    keep: Option<&Path>,
) -> anyhow::Result<()> {
    if !callgrind::is_there() {
        println!("SKIPPED: valgrind is not installed, so no instructions were counted");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let threads = count(tollgate, requests, dir.path(), keep.unwrap_or(dir.path())).await?;
    let worker = threads.iter().find(|thread| thread.called(ROAD)).context("no thread served a request")?;
    print_threads(&threads, worker, requests);
    print_functions(worker, requests);
    print_crates(worker, requests);
    print_counts(worker, requests);
    match at_most {
        Some(at_most) if worker.total().instructions / requests > at_most => {
            bail!("a request costs more than {at_most} instructions of its worker")
        }
        _ => Ok(()),
    }
}

async fn count(tollgate: &Path, requests: u64, dir: &Path, counts: &Path) -> anyhow::Result<Vec<Thread>> {
    let script = Rc::new(Script::new());
    let upstream = upstream::start(&script).await?;
    let runner = callgrind::under(counts);
    let mut target = Target::tollgate(upstream, tollgate, &dir.join("normal"), "normal", &runner)?;
    target.ready().await?;
    let plain = target.plain();
    client::closed(&plain, CONNECTIONS, WARM_UP).await?;
    let pid = target.pid().context("nothing runs")?;
    callgrind::count(pid)?;
    client::closed(&plain, CONNECTIONS, requests).await?;
    tokio::time::sleep(SETTLING).await;
    callgrind::write(pid)?;
    callgrind::threads(counts)
}

fn each(count: u64, requests: u64) -> u64 {
    count / requests.max(1)
}

fn print_threads(threads: &[Thread], worker: &Thread, requests: u64) {
    println!("| thread | user instructions a request | L1i misses |\n|---|---|---|");
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
    let own = |name: &str| name.contains("tollgate_");
    let mut rows: Vec<(&String, &Function)> = worker.functions.iter().filter(|(name, _)| own(name)).collect();
    rows.sort_by_key(|(_, function)| std::cmp::Reverse(function.with_calls.instructions));
    for (name, Function { with_calls, calls, .. }) in rows {
        let instructions = each(with_calls.instructions, requests);
        if instructions >= LISTED_MIN {
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
        let name = name.trim_start_matches(['<', '&', '(', '*']);
        let name = name.strip_prefix("dyn ").unwrap_or(name);
        let first = name.split("::").next().unwrap_or(name);
        *crates.entry(first.split(['<', ' ']).next().unwrap_or(first)).or_default() += function.own;
    }
    let mut rows: Vec<(&str, Cost)> = crates.into_iter().collect();
    rows.sort_by_key(|(_, cost)| std::cmp::Reverse(cost.instructions));
    println!("| crate, or function of C | own instructions | L1i misses |\n|---|---|---|");
    for (name, cost) in rows.into_iter().filter(|(_, cost)| each(cost.instructions, requests) >= LISTED_MIN) {
        println!("| {name} | {} | {} |", each(cost.instructions, requests), each(cost.code_misses, requests));
    }
    println!();
}

fn print_counts(worker: &Thread, requests: u64) {
    println!("| what | a request |\n|---|---|");
    for (what, names) in COUNTED {
        let counted = |name: &str| names.iter().any(|begin| name.starts_with(begin));
        let calls =
            worker.functions.iter().filter(|(name, _)| counted(name)).map(|(_, function)| function.calls);
        println!("| {what} | {} |", per_request(calls.sum(), requests));
    }
}

/// With one digit after the point.
fn per_request(calls: u64, requests: u64) -> String {
    let tenths = each(calls * 10, requests);
    format!("{}.{}", tenths / 10, tenths % 10)
}
