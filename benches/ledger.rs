//! Ledger writes as the road makes them: each caller waits for its hold to be durable, and then hands over the
//! settlement with the request's record, for which it does not wait. First a load without pause: charges a second, and
//! how long a commit takes. `-- sustained` runs only that.

#![expect(clippy::print_stdout, reason = "what the sustained phase measured is what it prints")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tollgate_core::id::{RequestId, UserId};
use tollgate_core::ledger::Settlement;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{ModelPrice, PriceRate, Rates, TierFactors};
use tollgate_core::protocol::{Operation, Owner, Protocol};
use tollgate_core::receipt::{Reason, Receipt};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Quality, Usage};
use tollgate_store::{Durability, Entry, Options, RequestRecord, Store, WriteError, Writer};

const HELD: Micropoints = Micropoints::new(200);
const CHARGED: Micropoints = Micropoints::new(130);
/// Micro-points for a million tokens of each class.
const RATES: Rates = Rates::of(
    0,
    &[
        (Class::Input, 100_000),
        (Class::CacheRead, 100_000),
        (Class::CacheWriteShort, 100_000),
        (Class::CacheWriteLong, 100_000),
        (Class::Output, 600_000),
        (Class::AudioInput, 100_000),
        (Class::AudioOutput, 600_000),
    ],
);
/// Callers of the load without pause, and how long it lasts.
const SUSTAINED_CALLERS: u64 = 256;
const SUSTAINED: Duration = Duration::from_secs(5);
/// How long a caller waits after the ledger has refused a hold.
const PAUSE: Duration = Duration::from_millis(10);
/// Charges a second that SQLite is to sustain.
const MARK: u128 = 10_000;

/// Entries for requests that each have an id of their own.
struct Requests {
    user: UserId,
    model: Arc<str>,
    price_version: u64,
    count: AtomicU64,
}

impl Requests {
    fn new(user: UserId, price_version: u64) -> Self {
        Self { user, model: Arc::from(tollgate_benches::MODEL), price_version, count: AtomicU64::new(0) }
    }

    /// Ids grow with time, as those of requests do.
    fn next(&self) -> (RequestId, Timestamp) {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let at = Timestamp::from_millis(1_700_000_000_000 + count / 16);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&count.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        (RequestId::new(at, random), at)
    }

    fn hold(&self, request: RequestId, at: Timestamp) -> Entry {
        Entry::Hold { request, user: self.user, amount: HELD, model: Arc::clone(&self.model), at }
    }

    fn settle(&self, request: RequestId, at: Timestamp) -> Entry {
        let usage = Usage::of(Quality::Exact, &[(Class::Input, 220), (Class::Output, 180)]);
        let record = RequestRecord {
            protocol: Some(Protocol::OpenaiChat),
            operation: Some(Operation::Generate),
            model: Some(Arc::clone(&self.model)),
            outcome: Outcome::Ok,
            status: Some(200),
            attempts: 1,
            usage,
            hold: HELD,
            charge: CHARGED,
            price_version: Some(self.price_version),
            receipt: Some(self.receipt(request, at, usage).canonical_bytes()),
            ..RequestRecord::new(request, self.user, at)
        };
        let settlement = Settlement { posted: CHARGED, ..Settlement::default() };
        Entry::Settle { request, user: self.user, held: HELD, settlement, at, record: Box::new(record) }
    }

    fn receipt(&self, request: RequestId, at: Timestamp, usage: Usage) -> Receipt {
        Receipt {
            default_price: None,
            request,
            user: self.user,
            model: self.model.to_string(),
            price_version: self.price_version,
            pricing_component: [1; 32],
            config_digest: [2; 32],
            owner: Owner::Platform,
            rates: RATES,
            usage,
            outcome: Outcome::Ok,
            admitted_at: at,
            charge: CHARGED,
            price_rate: PriceRate::FULL,
            tier_ppm: 1_000_000,
            held: Some(HELD),
            reason: Some(Reason::Full),
        }
    }
}

/// A database in a directory of its own, with a user who can pay.
async fn open(sync: Durability) -> Result<(TempDir, Store, Arc<Requests>), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(&dir.path().join("ledger.db"), Options { sync, ..Options::default() }).await?;
    let now = Timestamp::from_millis(1_700_000_000_000);
    let user = store.catalogue.create_user("bench", now).await?;
    store.ledger.grant(user, Micropoints::from_points(1_000_000), "bench", "bench", now).await?;
    let price = ModelPrice {
        provider: "openai".to_owned(),
        base: RATES,
        long_prompt: None,
        output_tokens_max: 4096,
        tiers: TierFactors::default(),
    };
    let models = HashMap::from([(tollgate_benches::MODEL.to_owned(), price)]);
    let version = store.catalogue.publish_prices(&models, now).await?;
    Ok((dir, store, Arc::new(Requests::new(user, version))))
}

/// `rounds` requests by each of `waiters` callers at once, until all of it is durable.
async fn run(writer: &Writer, requests: &Arc<Requests>, waiters: u64, rounds: u64) -> Duration {
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for _ in 0..waiters {
        let (writer, requests) = (writer.clone(), Arc::clone(requests));
        tasks.spawn(async move {
            for _ in 0..rounds {
                let (request, at) = requests.next();
                writer.commit(requests.hold(request, at)).await?;
                writer.post(requests.settle(request, at))?;
            }
            writer.flush().await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        assert!(matches!(ended, Ok(Ok(()))), "the ledger took no entry: {ended:?}");
    }
    start.elapsed()
}

/// The observations of one caller of the load without pause.
#[derive(Debug, Default)]
struct Seen {
    /// How long each hold took to be durable, refusals and all.
    waits: Vec<Duration>,
    /// How often a hold was refused because too many entries waited for the tables.
    refused: u64,
}

/// One caller who charges without pause until `end`. A refused hold is tried again, as a client would.
async fn charge_until(writer: Writer, requests: Arc<Requests>, end: Instant) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    while Instant::now() < end {
        let (request, at) = requests.next();
        let asked = Instant::now();
        while let Err(error) = writer.commit(requests.hold(request, at)).await {
            anyhow::ensure!(error == WriteError::Unavailable, "the ledger took no hold: {error}");
            seen.refused += 1;
            tokio::time::sleep(PAUSE).await;
        }
        seen.waits.push(asked.elapsed());
        writer.post(requests.settle(request, at))?;
    }
    writer.flush().await?;
    Ok(seen)
}

/// Charges a second over some seconds, counted until the last of them is in the tables, and the waits for a commit.
async fn sustain(name: &str, writer: &Writer, requests: &Arc<Requests>) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..SUSTAINED_CALLERS {
        callers.spawn(charge_until(writer.clone(), Arc::clone(requests), start + SUSTAINED));
    }
    let (mut waits, mut refused) = (Vec::new(), 0);
    while let Some(ended) = callers.join_next().await {
        let seen = ended??;
        waits.extend(seen.waits);
        refused += seen.refused;
    }
    let took = start.elapsed();
    waits.sort_unstable();
    let rate = waits.len() as u128 * 1_000_000_000 / took.as_nanos().max(1);
    let at = |percent: usize| waits.get(waits.len() * percent / 100).copied().unwrap_or_default();
    println!(
        "ledger/sustained/sync_{name}: {rate} charges a second over {took:.1?} ({}), commit p50 {:.2?}, p99 {:.2?}, \
         {refused} holds refused and asked for again",
        if rate >= MARK { "mark of 10,000 reached" } else { "mark of 10,000 MISSED" },
        at(50),
        at(99),
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    for (name, sync) in [("full", Durability::Full), ("normal", Durability::Normal)] {
        let (_dir, store, requests) = runtime.block_on(open(sync))?;
        let writer = runtime.block_on(store.ledger.writer())?;
        runtime.block_on(sustain(name, &writer, &requests))?;
        let mut group = criterion.benchmark_group(format!("ledger/hold_settle_record/sync_{name}"));
        for waiters in [1, 16, 64, 256] {
            group.throughput(Throughput::Elements(waiters));
            group.bench_function(waiters.to_string(), |bencher| {
                bencher.iter_custom(|rounds| runtime.block_on(run(&writer, &requests, waiters, rounds)));
            });
        }
        group.finish();
        let report = runtime.block_on(async {
            let report = store.ledger.verify().await;
            store.close().await;
            report
        })?;
        assert!(report.violations.is_empty(), "a fast ledger that is wrong: {:?}", report.violations);
    }
    criterion.final_summary();
    Ok(())
}
