//! What is measured of one target in one round.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::client::{self, Exchange};
use crate::target::Target;
use crate::upstream::{EVENTS, Pace, Script};

/// Longest that one phase may take.
const PHASE_MAX: Duration = Duration::from_secs(120);
/// Time in which the last requests of a phase are settled.
const SETTLING: Duration = Duration::from_millis(50);
/// Connections under full load.
pub(crate) const CONNECTIONS: usize = 16;
/// Streams at once that are written at the pace of a model.
pub(crate) const PACED_STREAMS: usize = 64;
/// How many of them one after the other.
const PACED_STREAMS_IN_ALL: u64 = 2 * PACED_STREAMS as u64;
/// The pace of each.
pub(crate) const PACE: Duration = Duration::from_millis(5);
/// Requests per millisecond when latency is measured.
pub(crate) const REQUESTS_PER_MS: usize = 2;

/// The sizes of all phases.
pub(crate) struct Plan {
    pub(crate) requests: u64,
    warm_up: u64,
    latency_ms: usize,
    pub(crate) streams: u64,
}

impl Plan {
    pub(crate) const fn new(requests: u64) -> Self {
        Self { requests, warm_up: requests / 10, latency_ms: 3000, streams: requests / 60 }
    }
}

/// CPU time and wall time of this many things.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) count: u64,
    pub(crate) wall: Duration,
    /// Of the proxy; zero where there is none.
    pub(crate) cpu: Duration,
    /// Calls into components; zero where there are none.
    pub(crate) calls: u64,
}

/// The results of one round.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// Each connection busy all the time.
    pub(crate) requests: Sample,
    /// This many per millisecond, the same for every target.
    pub(crate) paced_requests: Sample,
    /// Of these, sorted.
    pub(crate) latencies: Vec<Duration>,
    /// Of each stream's chunks, as fast as they go.
    pub(crate) burst: Sample,
    /// And at a model's pace.
    pub(crate) paced: Sample,
    /// The first of the two for a client of another protocol, where the target translates.
    pub(crate) translated: Option<Sample>,
    /// And the second.
    pub(crate) translated_paced: Option<Sample>,
}

/// Measures one target.
pub(crate) async fn round(plan: &Plan, target: &Target, script: &Script) -> anyhow::Result<Round> {
    let plain = target.plain();
    timeout(PHASE_MAX, client::closed(&plain, CONNECTIONS, plan.warm_up)).await??;
    let requests = sample(target, plan.requests, client::closed(&plain, CONNECTIONS, plan.requests)).await?;
    let (paced_requests, latencies) = open(plan, target).await?;
    script.pace.set(Pace::Burst);
    let stream = target.stream();
    let burst = streams(target, &stream, CONNECTIONS, plan.streams).await?;
    let translated = match target.translated() {
        Some(stream) => Some(streams(target, &stream, CONNECTIONS, plan.streams).await?),
        None => None,
    };
    script.pace.set(Pace::Every(PACE));
    let paced = streams(target, &stream, PACED_STREAMS, PACED_STREAMS_IN_ALL).await?;
    let translated_paced = match target.translated() {
        Some(stream) => Some(streams(target, &stream, PACED_STREAMS, PACED_STREAMS_IN_ALL).await?),
        None => None,
    };
    Ok(Round { requests, paced_requests, latencies, burst, paced, translated, translated_paced })
}

/// Counts chunks: what the upstream wrote, however it arrives.
async fn streams(
    target: &Target,
    exchange: &Rc<Exchange>,
    connections: usize,
    count: u64,
) -> anyhow::Result<Sample> {
    sample(target, count * EVENTS as u64, client::closed(exchange, connections, count)).await
}

/// Requests at a rate that leaves every target time to spare: what they cost there, and how long each took.
async fn open(plan: &Plan, target: &Target) -> anyhow::Result<(Sample, Vec<Duration>)> {
    let mut latencies = Vec::new();
    let plain = target.plain();
    let load = async {
        let start = Instant::now();
        latencies = client::open(&plain, CONNECTIONS, REQUESTS_PER_MS, plan.latency_ms).await?;
        Ok(start.elapsed())
    };
    let sample = sample(target, (plan.latency_ms * REQUESTS_PER_MS) as u64, load).await?;
    latencies.sort_unstable();
    Ok((sample, latencies))
}

async fn sample(
    target: &Target,
    count: u64,
    load: impl Future<Output = anyhow::Result<Duration>>,
) -> anyhow::Result<Sample> {
    let (cpu, calls) = (target.cpu()?, target.component_calls().await?);
    let wall = timeout(PHASE_MAX, load).await??;
    // Settlements follow their answers, and a request's cost includes its own.
    tokio::time::sleep(SETTLING).await;
    let cpu = target.cpu()?.saturating_sub(cpu);
    let calls = target.component_calls().await?.saturating_sub(calls);
    Ok(Sample { count, wall, cpu, calls })
}
