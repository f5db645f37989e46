//! What it costs to look for a key in all that comes back: nothing is found in nearly all of it.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use tollgate_core::secret::Secret;

/// Events of one stream.
const EVENTS: usize = 300;
/// What one read from a socket brings when events come in a burst: a segment of Ethernet.
const SEGMENT_BYTES: usize = 1448;
/// Values of a provider's head.
const HEAD: [&str; 12] = [
    "application/json",
    "Mon, 30 Nov 2026 07:00:00 GMT",
    "req_011CVfhJZkq3tM2sDGH8aJxN",
    "2026-11-30T07:00:01Z",
    "4000",
    "3999",
    "0s",
    "chunked",
    "cloudflare",
    "8f1a2b3c4d5e6f70-FRA",
    "0f6ae41a-8b0c-4a4e-8f0a-5d3d5ad8e7ab",
    "max-age=31536000; includeSubDomains; preload",
];

fn bench_chunks(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, chunks: &[Vec<u8>]) {
    let secret =
        Secret::new("sk-proj-Ab9x_y-z0123456789abcdefGHIJklmnopQRSTuvwx_0123456789-ABCDEF".to_owned());
    let mask = secret.mask();
    group.throughput(Throughput::Bytes(chunks.iter().map(|chunk| chunk.len() as u64).sum()));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let look = |chunk: &Vec<u8>| {
                mask.begins_in(black_box(chunk)) + usize::from(mask.is_in(black_box(chunk)))
            };
            chunks.iter().map(look).sum::<usize>()
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("mask");
    let events = tollgate_benches::chat_stream(EVENTS);
    let one_each: Vec<Vec<u8>> = events.iter().map(|event| event.clone().into_bytes()).collect();
    let segments: Vec<Vec<u8>> =
        events.concat().as_bytes().chunks(SEGMENT_BYTES).map(<[u8]>::to_vec).collect();
    bench_chunks(&mut group, "event_per_chunk", &one_each);
    bench_chunks(&mut group, "segments", &segments);
    bench_chunks(&mut group, "head", &HEAD.map(|value| value.as_bytes().to_vec()));
    group.bench_function("make", |bencher| {
        bencher.iter(|| {
            let text = "sk-proj-Ab9x_y-z0123456789abcdefGHIJklmnopQRSTuvwx_0123456789-ABCDEF";
            Secret::new(black_box(text).to_owned()).mask().is_in(b"")
        });
    });
    group.finish();
    criterion.final_summary();
}
