//! Calls into the first-party components, as the road makes them: on a thread's own instance that is already warm.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use tollgate_core::hold::Quote;
use tollgate_core::outcome::Outcome;
use tollgate_core::price::Rates;
use tollgate_core::protocol::{Operation, Owner, Protocol};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Quality, Usage};
use tollgate_runtime::{
    Adapter, Bill, Binding, CallError, Candidate, Choice, Direction, Embedded, FaultKind, Filter, Found,
    Generation, Health, Kind, Limits, Policies, Pricing, Probation, Refusal, Runtime, SelectRequest,
    Selector, Settings, Variant,
};

/// Bytes of the larger payloads.
const PAYLOAD_BYTES: usize = 1024;
const FILTER_CONFIG: &str = r#"{"words":["falcon","keeper"],"patterns":["\\d{16}"],"action":"mask"}"#;
const ADMITTED: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const RATES: Rates = Rates::of(
    0,
    &[
        (Class::Input, 150_000),
        (Class::CacheRead, 75_000),
        (Class::CacheWriteShort, 150_000),
        (Class::CacheWriteLong, 150_000),
        (Class::Output, 600_000),
    ],
);

fn start() -> Result<Runtime, tollgate_runtime::StartError> {
    let components = tollgate_components::COMPONENTS.iter();
    let embedded = components.map(|it| Embedded { name: it.name.to_owned(), bytes: it.bytes }).collect();
    let settings = Settings {
        plugins_dir: None,
        cache_dir: None,
        archive: None,
        versions_file: None,
        embedded,
        workers: 1,
        probation: Probation::DEFAULT,
        limits: Limits::DEFAULT,
        filter_check: |_| Ok(()),
    };
    let filter = Variant::new("content-filter", FILTER_CONFIG);
    let bindings = vec![
        Binding::new("openai", "openai", Kind::ProviderAdapter),
        Binding::new("key-selection", "key-selection", Kind::KeySelector),
        Binding::new("discount-points", "discount-points", Kind::PricingPolicy),
        Binding::of("content-filter", Kind::ContentFilter, vec![filter]),
    ];
    Runtime::start(settings, bindings, |_| {})
}

/// The components of one generation.
struct Components<'a> {
    adapter: &'a Adapter,
    selector: &'a Selector,
    pricing: &'a Pricing,
    filter: &'a Filter,
}

impl<'a> Components<'a> {
    fn of(generation: &'a Generation, policies: &'a Policies) -> Option<Self> {
        Some(Self {
            adapter: generation.adapter("openai")?,
            selector: policies.selector.as_ref()?,
            pricing: policies.pricing.as_ref()?,
            filter: policies.filter.as_ref()?,
        })
    }

    fn read_usage(&self, samples: &[u8]) -> Result<Usage, CallError> {
        self.adapter.read_usage(Protocol::OpenaiChat, Operation::Generate, samples)
    }
}

/// One tapped value per line, in the order of the plan's taps: the chat usage in its own, nothing in the others.
fn samples(adapter: &Adapter, usage: &str) -> Vec<u8> {
    let taps = &adapter.plan().usage_taps;
    let line = |stated: bool| if stated { usage } else { "" };
    let lines: Vec<&str> =
        taps.iter().map(|tap| line(tap.protocol == Protocol::OpenaiChat && tap.path == "usage")).collect();
    lines.join("\n").into_bytes()
}

const CHAT_USAGE: &str = r#"{"prompt_tokens":220,"completion_tokens":180,"total_tokens":400,
    "prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":0}}"#;

fn candidates(count: u32) -> Vec<Candidate> {
    let candidate = |handle: u32| Candidate {
        handle,
        owner: if handle.is_multiple_of(3) { Owner::User } else { Owner::Platform },
        health: Health::Available,
        weight: 100,
        in_flight: handle % 5,
        failures: 0,
        idle_ms: u64::from(handle) * 17,
        affinity: 0,
    };
    (1..=count).map(candidate).collect()
}

const fn quote() -> Quote {
    Quote {
        rates: RATES,
        input_tokens: 300,
        output_tokens_max: 256,
        own_credential: true,
        platform_credential: true,
        at: ADMITTED,
    }
}

const fn bill(usage: Usage) -> Bill {
    Bill { rates: RATES, usage, outcome: Outcome::Ok, owner: Owner::Platform, at: ADMITTED }
}

/// A text and `count` places in it, as the host's search would report them.
fn text_with(count: u32) -> (String, Vec<Found>) {
    let text: String = "a keeper of the gate ".chars().cycle().take(PAYLOAD_BYTES).collect();
    let found = |(start, word): (usize, &str)| {
        let start = u32::try_from(start).ok()?;
        Some(Found { rule: 1, start, end: start + u32::try_from(word.len()).ok()? })
    };
    let places = text.match_indices("keeper").take(count as usize).filter_map(found).collect();
    (text, places)
}

fn bench_adapter(group: &mut BenchmarkGroup<'_, WallTime>, components: &Components<'_>) {
    let Components { adapter, .. } = *components;
    let nothing = samples(adapter, "");
    group.bench_function("read_usage/empty", |b| b.iter(|| components.read_usage(black_box(&nothing))));
    let stated = samples(adapter, &CHAT_USAGE.replace('\n', ""));
    group.bench_function("read_usage/chat", |b| b.iter(|| components.read_usage(black_box(&stated))));
    // A provider that states much more than is read.
    let filler = "x".repeat(PAYLOAD_BYTES - stated.len());
    let padded = CHAT_USAGE.replacen('{', &format!("{{\"note\":\"{filler}\","), 1).replace('\n', "");
    let large = samples(adapter, &padded);
    group.bench_function("read_usage/1KiB", |b| b.iter(|| components.read_usage(black_box(&large))));
    let refusal = |status, body| Refusal { status, retry_after_ms: None, kind: "", body };
    group.bench_function("classify/empty", |b| b.iter(|| adapter.classify(black_box(&refusal(503, b"")))));
    let error = r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"MESSAGE"}}"#;
    let error = error.replace("MESSAGE", &"m".repeat(PAYLOAD_BYTES - error.len() + "MESSAGE".len()));
    group.bench_function("classify/1KiB", |b| {
        b.iter(|| adapter.classify(black_box(&refusal(429, error.as_bytes()))));
    });
}

fn bench_selector(group: &mut BenchmarkGroup<'_, WallTime>, selector: &Selector) {
    for count in [1, 8, 64] {
        let candidates = candidates(count);
        group.bench_function(format!("select/{count}"), |b| {
            b.iter(|| selector.select(SelectRequest { seed: 7, attempt: 0 }, black_box(&candidates)));
        });
    }
}

fn bench_pricing(group: &mut BenchmarkGroup<'_, WallTime>, pricing: &Pricing) {
    // Natively: the first-party policy declares its rule.
    group.bench_function("hold", |b| b.iter(|| pricing.hold(black_box(&quote()))));
    let usage =
        Usage::of(Quality::Exact, &[(Class::Input, 156), (Class::CacheRead, 64), (Class::Output, 180)]);
    group.bench_function("settle", |b| b.iter(|| pricing.settle(black_box(&bill(usage)))));
}

fn bench_filter(group: &mut BenchmarkGroup<'_, WallTime>, filter: &Filter) {
    group.bench_function("inspect/empty", |b| {
        b.iter(|| filter.inspect(Direction::Request, black_box(""), &[]));
    });
    for count in [0, 1, 16] {
        let (text, found) = text_with(count);
        group.bench_function(format!("inspect/1KiB_{count}_matches"), |b| {
            b.iter(|| filter.inspect(Direction::Request, black_box(&text), black_box(&found)));
        });
    }
}

/// Everything that one passthrough request does inside components; its hold is not included.
fn bench_request(group: &mut BenchmarkGroup<'_, WallTime>, components: &Components<'_>) {
    let Components { adapter, selector, pricing, filter } = *components;
    let (text, found) = text_with(1);
    let candidates = candidates(8);
    let samples = samples(adapter, &CHAT_USAGE.replace('\n', ""));
    let rest = || -> Result<i64, CallError> {
        let chosen = selector.select(SelectRequest { seed: 7, attempt: 0 }, black_box(&candidates))?;
        let usage = components.read_usage(black_box(&samples))?;
        let charge = pricing.settle(&bill(usage))?;
        Ok(charge.amount.get() + i64::from(chosen.unwrap_or(0)))
    };
    // The mark: the filter is called here, while with these rules the road calls it only for matches.
    group.bench_function("all_wasm_work_of_a_request", |b| {
        b.iter(|| {
            let verdict = filter.inspect(Direction::Request, black_box(&text), black_box(&found));
            (verdict.map(|verdict| verdict.action), rest())
        });
    });
    group.bench_function("all_wasm_work_of_a_request_without_a_match", |b| b.iter(rest));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = start()?;
    Runtime::prepare_thread();
    let generation = runtime.current();
    let policies = generation.choose(Choice::default());
    let components = Components::of(&generation, &policies).ok_or("a world has no component")?;
    let mut group = criterion.benchmark_group("plugin_call");
    bench_adapter(&mut group, &components);
    bench_selector(&mut group, components.selector);
    bench_pricing(&mut group, components.pricing);
    bench_filter(&mut group, components.filter);
    bench_request(&mut group, &components);
    group.finish();
    criterion.final_summary();
    // A component that failed answers faster than one that worked.
    match runtime.status().iter().find(|row| row.faults != [0; FaultKind::ALL.len()]) {
        Some(row) => Err(format!("component {} failed while it was measured", row.name).into()),
        None => Ok(()),
    }
}
