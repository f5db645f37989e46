//! `tollgate plugin bench`: what a call of a component costs, beside the built-in one of its kind.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};
use tollgate_runtime::{Considered, Kind};

use super::calls::Call;
use super::look::Tried;
use crate::cli::output::Output;
use crate::config::Config;

/// What is told of each call.
const COLUMNS: [&str; 7] = ["component", "call", "calls", "us_p50", "us_p99", "us_max", "memory_bytes_peak"];
/// Longest that one kind of call is repeated.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Calls before those that are timed.
const WARM: u32 = 50;

/// A file to time.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    tried: Tried,
    /// How often each call is made, five seconds at most.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
}

impl Bench {
    pub(super) fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let bench = self.tried.bench(config)?;
        let begun = Instant::now();
        let own = bench.consider(self.tried.settings())?;
        let loaded = begun.elapsed();
        let mut rows = timed("this", &own, self.calls)?;
        if let Some(built_in) = bench.built_in() {
            rows.extend(timed("built-in", &built_in?, self.calls)?);
        }
        if output.is_json() {
            let rows = rows.into_iter().map(|row| COLUMNS.iter().copied().zip(row).collect::<Value>());
            return output
                .one(&[
                    ("kind", bench.kind().name().into()),
                    ("bytes", bench.bytes().into()),
                    ("load_ms", u64::try_from(loaded.as_millis()).unwrap_or(u64::MAX).into()),
                    ("rows", rows.collect()),
                ])
                .map(|()| ExitCode::SUCCESS);
        }
        output.many(&COLUMNS, &rows)?;
        let kind = bench.kind().name();
        crate::cli::output::line(&format!(
            "{kind} of {} bytes, compiled and tried in {} ms",
            bench.bytes(),
            loaded.as_millis()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Times each call that a component of its kind gets.
fn timed(name: &str, considered: &Considered, calls: u32) -> anyhow::Result<Vec<Vec<Value>>> {
    let mut rows = Vec::new();
    for call in ordinary(considered) {
        let mut times = times(considered, &call, calls)?;
        times.sort_unstable();
        let at = |permille: usize| micros(times[(times.len() - 1) * permille / 1000]);
        rows.push(vec![
            name.into(),
            call.name().into(),
            times.len().into(),
            at(500),
            at(990),
            at(1000),
            considered.status().memory_bytes_peak.into(),
        ]);
    }
    Ok(rows)
}

fn times(considered: &Considered, call: &Call, calls: u32) -> anyhow::Result<Vec<Duration>> {
    let begun = Instant::now();
    let mut times = Vec::new();
    let ready = call.ready(considered)?;
    for round in 0..calls.saturating_add(WARM) {
        let start = Instant::now();
        let answer = ready.make(considered);
        let took = start.elapsed();
        if let Err(error) = answer {
            bail!("{}: {error}", call.name());
        }
        if round >= WARM {
            times.push(took);
        }
        if begun.elapsed() > TIME_MAX && !times.is_empty() {
            break;
        }
    }
    Ok(times)
}

/// Microseconds, with the tenths.
fn micros(took: Duration) -> Value {
    let tenths = took.as_nanos() / 100;
    json!(format!("{}.{}", tenths / 10, tenths % 10))
}

/// The calls of an ordinary request, as the gateway makes them.
fn ordinary(considered: &Considered) -> Vec<Call> {
    let cases = match considered.kind() {
        Kind::ProviderAdapter => ADAPTER,
        Kind::KeySelector => SELECTOR,
        Kind::PricingPolicy => PRICING,
        Kind::ContentFilter => FILTER,
    };
    // They are written below, and a test reads them.
    cases.iter().filter_map(|case| toml::from_str(case).ok()).collect()
}

const ADAPTER: &[&str] = &[
    "usage = { samples = '{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}' }",
    "failure = { status = 429, body = '{\"error\":{\"type\":\"rate_limit\",\"message\":\"slow down\"}}' }",
];
const SELECTOR: &[&str] = &[
    "select = { seed = 7, candidates = [{ handle = 1 }, { handle = 2 }, { handle = 3, in_flight = 4 }, { handle = 4, weight = 300 }] }",
];
const PRICING: &[&str] = &[
    "bill = { units = { input = 1200, cache_read = 800, output = 340 }, rates = { input = 2500000000, cache_read = 1250000000, output = 10000000000 } }",
];
const FILTER: &[&str] = &[
    "text = { text = 'The falcon cannot hear the falconer.', found = [{ rule = 0, start = 4, end = 10 }] }",
];

#[cfg(test)]
mod tests {
    use super::{ADAPTER, Call, FILTER, PRICING, SELECTOR};

    #[test]
    fn what_is_timed_can_be_asked() {
        for case in [ADAPTER, SELECTOR, PRICING, FILTER].concat() {
            let call: Call = toml::from_str(case).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert!(!call.name().is_empty());
        }
    }
}
