//! What reading a request costs: the members of its body, and the text that a filter looks at.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tollgate_core::json;
use tollgate_core::text::{self, Scope};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("json");
    for bytes in [1024, 16 * 1024] {
        let body = tollgate_benches::chat_request(bytes, true);
        let body = body.as_bytes();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("members/{bytes}"), |bencher| {
            bencher.iter(|| {
                let mut count = 0;
                let read = json::members(black_box(body), |name, value| count += name.len() + value.end);
                assert!(read.is_ok());
                count
            });
        });
        group.bench_function(format!("extract/{bytes}"), |bencher| {
            bencher.iter(|| text::extract(black_box(body), Scope::Request).map(|extract| extract.text.len()));
        });
    }
    group.finish();
    criterion.final_summary();
}
