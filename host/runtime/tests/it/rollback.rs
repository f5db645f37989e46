//! A new version that faults at once is taken back.

use std::sync::Arc;

use tollgate_core::id::{RequestId, UserId};
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_runtime::{
    Adapter, Behalf, Binding, ComponentState, Event, FaultKind, Kind, Probation, Refusal, Settings, Terms,
};

use crate::harness::{Bench, chosen, component, digest, eventually, guest, rebuilt, selector, settings};

/// A selector that served well was replaced by one that traps.
fn replaced() -> Bench {
    let bench = Bench::start(vec![selector("key-selection")]);
    bench.select(1).unwrap();
    bench.install("key-selection", guest("trap"));
    bench.runtime.rescan().unwrap();
    bench
}

fn rolled_back(event: &Event) -> bool {
    matches!(event, Event::RolledBack { .. })
}

#[test]
fn the_last_good_version_serves_again() {
    let bench = replaced();
    let pinned = bench.runtime.current();
    for _ in 0..3 {
        bench.select(1).unwrap_err();
    }
    bench.await_event(rolled_back);
    let (good, bad) = (digest(component("key-selection")), digest(guest("trap")));
    assert_eq!(bench.runtime.current().id(), pinned.id() + 1);
    assert_eq!(chosen(&bench.runtime.current()).selector.unwrap().digest(), good);
    assert!(bench.select(1).is_ok());
    assert!(matches!(bench.status().state, ComponentState::RolledBack { from, .. } if from == bad));

    // The file that failed is not tried again, neither by a poll nor by an operator's reload of other things.
    assert_eq!(bench.runtime.rescan().unwrap().id(), pinned.id() + 1);
    assert_eq!(bench.runtime.apply(vec![selector("key-selection")]).unwrap().id(), pinned.id() + 1);
    // A changed one is.
    bench.install("key-selection", &rebuilt(guest("trap"), 1));
    assert_eq!(bench.runtime.rescan().unwrap().id(), pinned.id() + 2);
    assert_eq!(bench.status().state, ComponentState::Active);
}

#[test]
fn other_bounds_are_another_chance() {
    let bench = replaced();
    (0..3).for_each(|_| drop(bench.select(1).unwrap_err()));
    bench.await_event(rolled_back);
    let roomier = Binding { deadline_ms: 100, ..selector("key-selection") };
    let generation = bench.runtime.apply(vec![roomier]).unwrap();
    assert_eq!(chosen(&generation).selector.unwrap().digest(), digest(guest("trap")));
}

#[test]
fn the_old_file_put_back_ends_the_matter() {
    let bench = replaced();
    (0..3).for_each(|_| drop(bench.select(1).unwrap_err()));
    bench.await_event(rolled_back);
    bench.install("key-selection", component("key-selection"));
    bench.runtime.rescan().unwrap();
    assert_eq!(bench.status().state, ComponentState::Active);
}

#[test]
fn rare_faults_do_not_roll_back() {
    let bench = replaced();
    let id = bench.runtime.current().id();
    for call in 0..200 {
        // Four faults among two hundred calls: fewer than a tenth, and too few for the breaker.
        let attempt = u32::from(call % 50 == 49);
        let _ = bench.select(attempt);
    }
    eventually("the supervisor", || bench.runtime.generations_live() == 1);
    assert_eq!(bench.runtime.current().id(), id);
    assert!(!bench.events().iter().any(rolled_back));
}

#[test]
fn after_the_trial_nothing_is_rolled_back() {
    let few = |dir: &std::path::Path| {
        let probation = Probation { calls: 10, window: Probation::DEFAULT.window };
        Settings { probation, ..settings(dir) }
    };
    let bench = Bench::try_start(few, vec![selector("key-selection")]).unwrap();
    bench.install("key-selection", guest("trap"));
    let id = bench.runtime.rescan().unwrap().id();
    (0..10).for_each(|_| assert!(bench.select(0).is_ok()));
    (0..5).for_each(|_| drop(bench.select(1).unwrap_err()));
    eventually("the supervisor", || bench.runtime.generations_live() == 1);
    assert_eq!(bench.runtime.current().id(), id);
    assert_eq!(bench.status().state, ComponentState::Tripped);
}

#[test]
fn a_second_bad_version_rolls_back_to_the_good_one() {
    let bench = replaced();
    bench.select(1).unwrap_err();
    bench.install("key-selection", &rebuilt(guest("trap"), 2));
    bench.runtime.rescan().unwrap();
    (0..3).for_each(|_| drop(bench.select(1).unwrap_err()));
    bench.await_event(rolled_back);
    assert_eq!(
        chosen(&bench.runtime.current()).selector.unwrap().digest(),
        digest(component("key-selection"))
    );
}

/// An adapter that served well was replaced by one that cannot say "shibboleth".
fn adapter_replaced() -> Bench {
    let binding = Binding {
        memory_bytes_max: 64 << 20,
        deadline_ms: 500,
        ..Binding::new("adapter", "babel", Kind::ProviderAdapter)
    };
    let bench = Bench::start(vec![binding]);
    bench.install("babel", &rebuilt(guest("babel"), 1));
    bench.runtime.rescan().unwrap();
    bench
}

/// Has callers bring what the adapter cannot say, one after the other.
fn bring(bench: &Bench, callers: impl IntoIterator<Item = u8>, work: impl Fn(&Adapter)) {
    let adapter = Arc::clone(bench.runtime.current().adapter("adapter").unwrap());
    for caller in callers {
        let request = RequestId::from_bytes([9; 16]);
        Behalf::of(request).by(UserId::from_bytes([caller; 16])).work(|| work(&adapter));
    }
}

fn say(adapter: &Adapter) {
    let terms = Terms {
        client: Protocol::OpenaiChat,
        upstream: Protocol::AnthropicMessages,
        operation: Operation::Generate,
        model: "m",
        request_id: "r",
        now_s: 1,
        streaming: false,
        json_array: false,
        output_limit: u64::MAX,
        strict: false,
    };
    adapter.begin(&terms, b"shibboleth").unwrap_err();
}

fn classify(adapter: &Adapter) {
    adapter
        .classify(&Refusal { status: 400, retry_after_ms: None, kind: "", body: b"shibboleth" })
        .unwrap_err();
}

#[test]
fn what_one_caller_brings_takes_no_version_back() {
    let bench = adapter_replaced();
    let id = bench.runtime.current().id();
    bring(&bench, [1; 20], say);
    // Nor what two bring, whatever the component is called for.
    bring(&bench, [1, 2].repeat(10), classify);
    assert_eq!(bench.status().faults_of(FaultKind::Trap), 40, "counted all the same");
    eventually("the supervisor", || bench.runtime.generations_live() == 1);
    assert_eq!((bench.runtime.current().id(), bench.status().state), (id, ComponentState::Active));
    assert!(!bench.events().iter().any(rolled_back));
}

#[test]
fn what_several_callers_meet_is_the_new_versions_own() {
    let bench = adapter_replaced();
    bring(&bench, [1, 2, 3], say);
    bench.await_event(rolled_back);
    assert!(matches!(bench.status().state, ComponentState::RolledBack { .. }));
}

#[test]
fn what_several_callers_rarely_meet_is_not() {
    let bench = adapter_replaced();
    let id = bench.runtime.current().id();
    let fine = |adapter: &Adapter| {
        adapter.classify(&Refusal { status: 400, retry_after_ms: None, kind: "", body: b"{}" }).unwrap();
    };
    bring(&bench, [7; 60], fine);
    bring(&bench, [1, 2, 3, 4], say);
    assert_eq!(bench.status().faults_of(FaultKind::Trap), 4);
    eventually("the supervisor", || bench.runtime.generations_live() == 1);
    assert_eq!(bench.runtime.current().id(), id);
}
