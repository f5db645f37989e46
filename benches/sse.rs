//! Streams: framing on bytes, and the scan for usage and output text that the meter makes of every event.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use memchr::memmem::Finder;
use tollgate_core::json;
use tollgate_core::sse::{self, Framer};

/// Events of one stream.
const EVENTS: usize = 300;
/// What one read from a socket brings when events come in a burst: a segment of Ethernet.
const SEGMENT_BYTES: usize = 1448;

/// What an adapter's plan makes the meter look for.
struct Needles {
    usage: Finder<'static>,
    text: Finder<'static>,
}

impl Needles {
    fn new() -> Self {
        Self { usage: Finder::new("\"usage\":"), text: Finder::new("\"content\":") }
    }

    /// Looks into one event as the meter does: where text is, and whether usage is stated. The only event that states
    /// it is searched as JSON.
    fn scan(&self, event: &[u8]) -> usize {
        let text = self.text.find(event).unwrap_or(0);
        let Some(_) = self.usage.find(event) else { return text };
        let data = sse::data(event).unwrap_or_default();
        let usage = json::find(&data, &["usage"]).map_or(0, |value| value.end - value.start);
        text + usage
    }
}

fn pass(chunks: &[Vec<u8>], mut see: impl FnMut(&[u8]) -> usize) -> usize {
    let mut framer = Framer::new(32 << 20);
    let mut seen = 0;
    for chunk in chunks {
        let framed = framer.push(black_box(chunk), |frame| seen += see(frame.bytes()));
        assert!(framed.is_ok());
    }
    seen
}

fn bench_chunks(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, chunks: &[Vec<u8>]) {
    let needles = Needles::new();
    group.bench_function(format!("frame/{name}"), |bencher| {
        bencher.iter(|| pass(chunks, <[u8]>::len));
    });
    group.bench_function(format!("frame_and_scan/{name}"), |bencher| {
        bencher.iter(|| pass(chunks, |event| needles.scan(event)));
    });
}

/// A provider that repeats `"usage":null` in every event makes the meter look into each; most do not.
fn without_null_usage(events: &[String]) -> Vec<String> {
    events.iter().map(|event| event.replace(",\"usage\":null", "")).collect()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("sse");
    let stated = tollgate_benches::chat_stream(EVENTS);
    group.throughput(Throughput::Elements(stated.len() as u64));
    let one_each = |events: &[String]| -> Vec<Vec<u8>> {
        events.iter().map(|event| event.clone().into_bytes()).collect()
    };
    let segments = |events: &[String]| -> Vec<Vec<u8>> {
        events.concat().as_bytes().chunks(SEGMENT_BYTES).map(<[u8]>::to_vec).collect()
    };
    let plain = without_null_usage(&stated);
    bench_chunks(&mut group, "event_per_chunk", &one_each(&plain));
    bench_chunks(&mut group, "segments", &segments(&plain));
    bench_chunks(&mut group, "event_per_chunk_with_null_usage", &one_each(&stated));
    group.finish();
    criterion.final_summary();
}
