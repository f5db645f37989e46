//! A reload is seen by new requests only, and leaves nothing behind.

use std::fs;

use tollgate_runtime::{Binding, ComponentState, Runtime, Source};

use crate::harness::{
    Bench, chosen, component, digest, eventually, guest, hold, price, pricing, rebuilt, select, selector,
};

#[test]
fn a_request_keeps_the_configuration_it_began_with() {
    let bench = Bench::start(vec![pricing("discount-points", r#"{"platform_ppm":1000000}"#)]);
    let pinned = bench.runtime.current();
    let full = price(&pinned, 100).unwrap();
    assert_eq!(full, 100_000);

    let next = bench.runtime.apply(vec![pricing("discount-points", r#"{"platform_ppm":500000}"#)]).unwrap();
    assert_eq!((pinned.id(), next.id(), bench.runtime.current().id()), (1, 2, 2));
    for _ in 0..3 {
        assert_eq!(price(&pinned, 100).unwrap(), full);
        assert_eq!(price(&next, 100).unwrap(), full / 2);
    }
    let receipt = |generation: &tollgate_runtime::Generation| {
        let pricing = chosen(generation).pricing.unwrap();
        (pricing.digest(), pricing.config_digest())
    };
    assert_eq!(receipt(&pinned).0, receipt(&next).0);
    assert_ne!(receipt(&pinned).1, receipt(&next).1);
}

#[test]
fn a_request_keeps_the_component_it_began_with() {
    let bench = Bench::start(vec![pricing("discount-points", "{}")]);
    let pinned = bench.runtime.current();
    bench.install("discount-points", guest("refund"));
    let next = bench.runtime.rescan().unwrap();
    for _ in 0..3 {
        assert_eq!(hold(&pinned, 100).unwrap(), 100_000);
        assert_eq!(hold(&next, 100).unwrap(), 1);
    }
    assert_eq!(bench.status().source, Source::File(bench.file("discount-points")));

    // Without the file, the embedded component serves again.
    fs::remove_file(bench.file("discount-points")).unwrap();
    let last = bench.runtime.rescan().unwrap();
    assert_eq!((last.id(), hold(&last, 100).unwrap()), (3, 100_000));
    assert_eq!(bench.status().source, Source::Embedded);
}

#[test]
fn what_did_not_change_is_not_loaded_again() {
    let bench = Bench::start(vec![selector("key-selection"), pricing("discount-points", "{}")]);
    bench.select(0).unwrap();
    assert_eq!(bench.runtime.rescan().unwrap().id(), 1);
    bench.install("key-selection", component("key-selection"));
    assert_eq!(bench.runtime.rescan().unwrap().id(), 1, "the bytes are the same");

    bench.install("discount-points", &rebuilt(component("discount-points"), 1));
    assert_eq!(bench.runtime.rescan().unwrap().id(), 2);
    let [selector, pricing] = bench.runtime.status().try_into().unwrap();
    assert_eq!((selector.generation, selector.calls, selector.instances), (1, 1, 1));
    assert_eq!((pricing.generation, pricing.calls), (2, 0));
}

#[test]
fn bindings_can_be_added_and_taken_away() {
    let bench = Bench::start(vec![selector("key-selection")]);
    let both = vec![pricing("discount-points", "{}"), selector("key-selection")];
    let generation = bench.runtime.apply(both).unwrap();
    let policies = chosen(&generation);
    assert!(policies.pricing.is_some() && policies.selector.is_some());
    let generation = bench.runtime.apply(Vec::new()).unwrap();
    let policies = chosen(&generation);
    assert!(policies.pricing.is_none() && policies.selector.is_none());
    assert!(bench.runtime.status().is_empty());
}

#[test]
fn a_thread_lets_go_of_what_no_longer_serves() {
    let bench = Bench::start(vec![selector("liar")]);
    bench.select(0).unwrap();
    let renamed = Binding { name: "another".to_owned(), ..selector("liar") };
    bench.runtime.apply(vec![renamed]).unwrap();
    assert_eq!(bench.runtime.instances_live(), 1);
    eventually("the old instance to go", || {
        bench.select(0).unwrap();
        bench.runtime.instances_live() == 1
    });

    bench.runtime.apply(Vec::new()).unwrap();
    eventually("the last instance to go", || {
        Runtime::sweep_thread();
        bench.runtime.instances_live() == 0
    });
}

#[test]
fn a_thread_that_keeps_calling_moves_on_to_each_generation() {
    let bench = Bench::start(vec![selector("liar")]);
    for note in 0..20 {
        let bytes = rebuilt(guest("liar"), note);
        bench.install("liar", &bytes);
        let generation = bench.runtime.rescan().unwrap();
        assert_eq!(select(&generation, 0).unwrap(), Some(9));
        assert_eq!(chosen(&generation).selector.unwrap().digest(), digest(&bytes));
    }
    eventually("old generations to go", || bench.runtime.generations_live() == 1);
    assert_eq!(bench.status().state, ComponentState::Active);
    assert_eq!(bench.status().instances, 1);
}
