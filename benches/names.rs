//! What finding a model's route costs, with few routes and with very many: exact names, prefixes and names without a
//! route.

use std::hint::black_box;

use criterion::Criterion;
use tollgate_core::names::{NameIndex, spread};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("names");
    for routes in [10_usize, 1_000, 10_000] {
        // Half of them exact, half with a star: `vendor-7/model-35`, `vendor-7/family-35-*`.
        let name = |at: usize| match at % 2 {
            0 => format!("vendor-{}/model-{at}", at % 7),
            _ => format!("vendor-{}/family-{at}-*", at % 7),
        };
        let names: Vec<String> = (0..routes).map(name).collect();
        let index = NameIndex::new(names.iter().map(String::as_str).zip(0..));
        let middle = routes / 2 / 2 * 2;
        let exact = name(middle);
        let prefixed = name(middle + 1).replace('*', "large");
        for (what, model) in
            [("exact", exact.as_str()), ("prefix", &prefixed), ("none", "gpt-4o-mini-2024-07-18")]
        {
            assert_eq!(index.find(model).is_none(), what == "none", "{model}");
            group.bench_function(format!("{what}/{routes}"), |bencher| {
                bencher.iter(|| index.find(black_box(model)));
            });
        }
    }
    group.bench_function("spread/4", |bencher| {
        let mut turn = 0;
        bencher.iter(|| {
            turn += 1;
            spread(black_box(turn), [100, 300, 100, 700].into_iter())
        });
    });
    group.finish();
    criterion.final_summary();
}
