//! A component that cannot serve changes nothing but the status.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use tollgate_runtime::{
    Binding, ComponentState, Event, FaultKind, Kind, Limits, LoadError, ReloadError, Settings, StartError,
    Variant,
};

use crate::harness::{
    Bench, chosen, component, digest, guest, price, pricing, rebuilt, select, selector, settings,
};

/// Why a reload was refused.
fn cause(refused: Result<impl Sized, ReloadError>) -> LoadError {
    match refused {
        Err(ReloadError::Load { cause, .. }) => cause,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was loaded"),
    }
}

/// Puts `bytes` in the place of a selector that serves, and looks that it goes on serving.
fn check(bytes: &[u8], fits: impl Fn(&LoadError) -> bool) {
    let bench = Bench::start(vec![selector("key-selection")]);
    let before = bench.runtime.current();
    bench.install("key-selection", bytes);

    let error = cause(bench.runtime.rescan());
    assert!(fits(&error), "{error}");
    assert_eq!(bench.runtime.current().id(), before.id());
    assert!(bench.select(0).is_ok());
    let status = bench.status();
    let refused = ComponentState::Refused { digest: Some(digest(bytes)), reason: error.to_string() };
    assert_eq!(status.state, refused);
    assert_eq!(status.digest, digest(component("key-selection")));

    // A later look at the same file reports nothing new.
    cause(bench.runtime.rescan());
    let refusals = bench.events().iter().filter(|event| matches!(event, Event::Refused { .. })).count();
    assert_eq!(refusals, 1);

    // The file is repaired.
    bench.install("key-selection", &rebuilt(component("key-selection"), 1));
    assert_eq!(bench.runtime.rescan().unwrap().id(), before.id() + 1);
    assert_eq!(bench.status().state, ComponentState::Active);
}

#[test]
fn a_file_that_is_cut_short_changes_nothing() {
    let whole = component("key-selection");
    for length in [1, 7, 9, 100, whole.len() / 2, whole.len() - 1] {
        check(&whole[..length], |error| matches!(error, LoadError::Malformed(_)));
    }
    // Eight bytes are a complete component that holds nothing.
    check(&whole[..8], |error| matches!(error, LoadError::World { .. }));
}

#[test]
fn an_empty_file_changes_nothing() {
    check(b"", |error| matches!(error, LoadError::Malformed(_)));
}

#[test]
fn garbage_changes_nothing() {
    check(b"#!/bin/sh\nrm -rf /\n", |error| matches!(error, LoadError::Malformed(_)));
    let mut damaged = component("key-selection").to_vec();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    check(&damaged, |error| matches!(error, LoadError::Malformed(_) | LoadError::Compile(_)));
}

#[test]
fn a_core_module_changes_nothing() {
    check(b"\0asm\x01\0\0\0", |error| {
        matches!(error, LoadError::CoreModule) && error.to_string().contains("wasm32-wasip2")
    });
}

#[test]
fn a_component_of_another_kind_changes_nothing() {
    check(component("content-filter"), |error| matches!(error, LoadError::World { .. }));
}

#[test]
fn a_component_that_fails_its_trial_run_changes_nothing() {
    let bench = Bench::start(vec![selector("key-selection")]);
    let starved = Binding { memory_bytes_max: 64 << 10, ..selector("key-selection") };
    let error = cause(bench.runtime.apply(vec![starved]));
    assert!(matches!(error, LoadError::Canary { kind: FaultKind::Memory, .. }), "{error}");
    assert_eq!(bench.runtime.current().id(), 1);
    assert!(bench.select(0).is_ok());
}

#[test]
fn an_import_that_is_not_granted_is_named() {
    let bench = Bench::start(vec![pricing("discount-points", "{}")]);
    let error = cause(bench.runtime.apply(vec![pricing("gossip", "{}")]));
    assert_eq!(error.to_string(), "a pricing-policy may not import `tollgate:plugin/host@0.2.0`");

    // (component (import "read-secrets" (func)))
    let thief = [
        b"\0asm\x0d\0\x01\0".as_slice(),
        &[7, 5, 1, 0x40, 0, 1, 0],
        &[10, 17, 1, 0, 12],
        b"read-secrets",
        &[1, 0],
    ]
    .concat();
    bench.install("discount-points", &thief);
    let error = cause(bench.runtime.rescan());
    assert_eq!(error.to_string(), "a pricing-policy may not import `read-secrets`");
}

/// Starts with a selector under these limits.
fn limited(limits: Limits, binding: Binding) -> Result<Bench, LoadError> {
    Bench::try_start(|dir| Settings { limits, ..settings(dir) }, vec![binding]).map_err(|error| match error {
        StartError::Load(error) => cause(Err::<(), _>(error)),
        other => panic!("{other}"),
    })
}

#[test]
fn a_component_made_to_exhaust_the_compiler_is_refused() {
    let try_with = |limits| limited(limits, selector("key-selection")).err().unwrap();
    let few = try_with(Limits { functions_max: 3, ..Limits::DEFAULT });
    assert!(matches!(few, LoadError::TooComplex(_)), "{few}");
    let short = try_with(Limits { function_bytes_max: 16, ..Limits::DEFAULT });
    assert!(matches!(short, LoadError::TooComplex(_)), "{short}");
    let slow = try_with(Limits { compile: Duration::ZERO, ..Limits::DEFAULT });
    assert!(matches!(slow, LoadError::CompileTimeout { .. }), "{slow}");
}

#[test]
fn a_file_that_is_too_large_is_not_even_read() {
    let limits = Limits { file_bytes_max: 1 << 20, ..Limits::DEFAULT };
    let bench = limited(limits, selector("key-selection")).unwrap();
    fs::File::create(bench.file("key-selection")).unwrap().set_len(1 << 40).unwrap();
    let error = cause(bench.runtime.rescan());
    assert!(matches!(error, LoadError::TooLarge { size, .. } if size == 1 << 40), "{error}");
}

#[test]
fn a_pipe_in_the_place_of_a_file_stops_nobody() {
    let bench = Bench::start(vec![selector("key-selection")]);
    symlink("/dev/zero", bench.file("key-selection")).unwrap();
    let error = cause(bench.runtime.rescan());
    assert!(matches!(error, LoadError::Read { .. }), "{error}");
}

#[test]
fn a_configuration_that_is_refused_says_why_and_changes_nothing() {
    let with = |config: &str| Binding::of("selector", Kind::KeySelector, vec![Variant::new("stall", config)]);
    let bench = Bench::start(vec![with("{}")]);
    let apply = |config: &str| cause(bench.runtime.apply(vec![with(config)]));

    let words = apply(r#"{"mode":"refuse"}"#);
    assert!(
        matches!(&words, LoadError::Configure(text) if text == "mode: this one is not to my liking"),
        "{words}"
    );
    let spin = apply(r#"{"mode":"spin"}"#);
    assert!(matches!(spin, LoadError::Canary { kind: FaultKind::Deadline, .. }), "{spin}");
    let grow = apply(r#"{"mode":"grow"}"#);
    assert!(matches!(grow, LoadError::Canary { kind: FaultKind::Memory, .. }), "{grow}");

    assert_eq!(bench.runtime.current().id(), 1);
    assert_eq!(bench.select(1).unwrap(), Some(4));
    assert!(matches!(bench.status().state, ComponentState::Refused { .. }));
}

#[test]
fn bindings_come_into_force_together_or_not_at_all() {
    let bench = Bench::start(vec![selector("key-selection"), pricing("discount-points", "{}")]);
    let half = vec![selector("liar"), pricing("discount-points", r#"{"no_such_option":1}"#)];
    assert!(matches!(cause(bench.runtime.apply(half)), LoadError::Configure(_)));
    let generation = bench.runtime.current();
    assert_eq!(generation.id(), 1);
    assert_eq!(chosen(&generation).selector.unwrap().digest(), digest(component("key-selection")));
}

#[test]
fn files_come_into_force_each_by_itself() {
    let bench = Bench::start(vec![selector("key-selection"), pricing("discount-points", "{}")]);
    bench.install("key-selection", guest("liar"));
    bench.install("discount-points", b"garbage");
    cause(bench.runtime.rescan());
    let generation = bench.runtime.current();
    assert_eq!(generation.id(), 2);
    assert_eq!(select(&generation, 0).unwrap(), Some(9));
    assert_eq!(chosen(&generation).pricing.unwrap().digest(), digest(component("discount-points")));
}

#[test]
fn a_plan_that_the_data_path_cannot_run_is_refused() {
    let binding = Binding::new("filter", "oversize", Kind::ContentFilter);
    let started = Bench::try_start(
        |dir| Settings { filter_check: |plan| Err(plan.rules[0].pattern.clone()), ..settings(dir) },
        vec![binding],
    );
    let Err(StartError::Load(error)) = started.map(drop) else { panic!("it started") };
    assert!(matches!(cause(Err::<(), _>(error)), LoadError::Plan(text) if text == "more"));
}

#[test]
fn a_rule_that_would_hold_less_than_nothing_is_refused() {
    let bench = Bench::start(vec![pricing("refund", r#"{"hold":"rated"}"#)]);
    let error = cause(bench.runtime.apply(vec![pricing("refund", r#"{"hold":"negative"}"#)]));
    let words = "its plan cannot be run: a minimum hold of -1 micro-points is negative";
    assert_eq!((error.to_string().as_str(), bench.runtime.current().id()), (words, 1));
}

#[test]
fn a_pricing_policy_that_remembers_is_refused() {
    let bench = Bench::start(vec![pricing("discount-points", "{}")]);
    let error = cause(bench.runtime.apply(vec![pricing("refund", r#"{"counts":"always"}"#)]));
    assert!(matches!(error, LoadError::Impure { first: 0, other: 23 }), "{error}");
    assert!(error.to_string().contains("depend on earlier requests"), "{error}");
    assert_eq!(price(&bench.runtime.current(), 100).unwrap(), 100_000);
}

#[test]
fn one_that_remembers_for_longer_is_found_while_it_serves() {
    let bench = Bench::start(vec![pricing("refund", r#"{"counts":"later"}"#)]);
    let generation = bench.runtime.current();
    let (found, error) =
        (1..5000).find_map(|call| Some((call, price(&generation, 1).err()?))).expect("it is never found");
    assert!(error.detail.contains("with a fresh memory"), "{error}");
    assert!(found <= 2048, "only at call {found}");
}
