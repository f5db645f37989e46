//! What a component may import, and what it finds there.

use tollgate_runtime::{Binding, Kind};

use crate::harness::{Bench, chosen, selector};

#[test]
fn a_program_of_the_standard_library_runs_and_finds_nothing() {
    // It refuses its configuration when it sees a file, the time, an environment or a network.
    let bench = Bench::start(vec![Binding { deadline_ms: 100, ..selector("tourist") }]);
    assert_eq!(bench.select(0).unwrap(), Some(4));
}

#[test]
fn first_party_components_load_as_they_are() {
    let adapter = |name: &str| Binding::new(name, name, Kind::ProviderAdapter);
    let bench = Bench::start(vec![
        adapter("openai"),
        adapter("claude"),
        adapter("gemini"),
        selector("key-selection"),
        Binding::new("pricing", "discount-points", Kind::PricingPolicy),
        Binding::new("filter", "content-filter", Kind::ContentFilter),
    ]);
    let generation = bench.runtime.current();
    assert_eq!(generation.id(), 1);
    assert_eq!(generation.adapters().len(), 3);
    assert!(generation.adapter("claude").is_some_and(|adapter| !adapter.plan().endpoints.is_empty()));
    assert!(generation.adapter("nobody").is_none());
    let policies = chosen(&generation);
    assert!(policies.selector.is_some() && policies.pricing.is_some() && policies.filter.is_some());
}
