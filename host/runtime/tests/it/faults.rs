//! A component that misbehaves loses its own call and nothing else.

use tollgate_runtime::{Binding, ComponentState, Direction, Event, FaultKind, Found, Kind, OnError};

use crate::harness::{Bench, bill, chosen, digest, guest, hold, price, pricing, selector};

/// A selector that goes wrong at `attempt`: the call fails as `kind` and is counted, the neighbour on the same thread
/// does not notice, and the next call is served.
fn check(name: &str, attempt: u32, kind: FaultKind) {
    // Time enough to fill the memory on a busy machine.
    let binding = Binding { deadline_ms: 200, ..selector(name) };
    let bench = Bench::start(vec![binding, pricing("discount-points", "{}")]);
    assert!(bench.select(0).unwrap().is_some());
    let before = price(&bench.runtime.current(), 100).unwrap();

    let error = bench.select(attempt).unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert_eq!((&*error.name, error.digest), ("selector", digest(guest(name))));
    assert_eq!(error.on_error, OnError::Fallback);

    let status = bench.status();
    assert_eq!((status.faults_of(kind), status.faults.iter().sum::<u64>()), (1, 1), "{status:?}");
    assert_eq!(status.instances, 0, "the instance is used again");
    assert_eq!(price(&bench.runtime.current(), 100).unwrap(), before);
    assert_eq!(bench.select(0).unwrap(), Some(4).filter(|_| name != "liar").or(Some(9)));
    assert_eq!(bench.status().instances, 1);
    assert!(bench.events().iter().any(|event| matches!(event, Event::Fault(fault) if fault.kind == kind)));
}

#[test]
fn a_panic_costs_one_call() {
    check("trap", 1, FaultKind::Trap);
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    check("spin", 1, FaultKind::Deadline);
}

#[test]
fn memory_is_bounded() {
    check("bloat", 1, FaultKind::Memory);
}

#[test]
fn endless_recursion_ends() {
    check("overflow", 1, FaultKind::Stack);
}

#[test]
fn a_credential_that_was_not_offered_cannot_be_chosen() {
    check("liar", 1, FaultKind::Guest);
}

#[test]
fn a_component_that_exits_ends_nobody_else() {
    check("tourist", 1, FaultKind::Trap);
}

#[test]
fn the_reason_of_a_panic_reaches_the_operator() {
    let bench = Bench::start(vec![selector("trap")]);
    bench.select(1).unwrap_err();
    let words = bench.status().last_error.unwrap();
    assert!(words.contains("unreachable"), "{words}");
}

#[test]
fn nobody_can_earn_points_with_a_request() {
    let bench = Bench::start(vec![pricing("refund", "{}")]);
    let generation = bench.runtime.current();
    assert_eq!((hold(&generation, 10).unwrap(), price(&generation, 10).unwrap()), (1, 1));
    assert_eq!(hold(&generation, 2000).unwrap_err().kind, FaultKind::Guest);
    assert_eq!(price(&generation, 2000).unwrap_err().kind, FaultKind::Guest);
    assert_eq!(price(&generation, 10).unwrap(), 1);
}

#[test]
fn nothing_that_one_call_cannot_cost_is_held_or_charged() {
    const MOST: i64 = 1_000_000_000_000_000;
    for (takes, charged) in [("most", Some(MOST)), ("more", None), ("all", None)] {
        let bench = Bench::start(vec![pricing("refund", &format!(r#"{{"takes":"{takes}"}}"#))]);
        let generation = bench.runtime.current();
        assert_eq!(hold(&generation, 2000).unwrap(), MOST, "{takes}");
        match price(&generation, 2000) {
            Ok(amount) => assert_eq!(Some(amount), charged, "{takes}"),
            Err(error) => assert_eq!((error.kind, charged), (FaultKind::Guest, None), "{takes}"),
        }
    }
}

#[test]
fn a_hold_that_is_a_rule_costs_no_call() {
    let bench = Bench::start(vec![pricing("refund", r#"{"hold":"rated"}"#)]);
    let generation = bench.runtime.current();
    // The same for any request, though the component would ask for something else.
    assert_eq!((hold(&generation, 10).unwrap(), hold(&generation, 2000).unwrap()), (7, 7));
    assert_eq!((bench.status().calls, bench.status().instances), (0, 0));
    assert_eq!((price(&generation, 10).unwrap(), bench.status().calls), (1, 1));

    let asked = bench.runtime.apply(vec![pricing("refund", "{}")]).unwrap();
    assert_eq!((hold(&asked, 10).unwrap(), bench.status().calls), (1, 1));
    assert_eq!(hold(&generation, 10).unwrap(), 7, "what has begun keeps its rule");
}

#[test]
fn nothing_is_held_for_a_policy_that_is_left_alone_after_faults() {
    let bench = Bench::start(vec![pricing("refund", r#"{"hold":"rated"}"#)]);
    let generation = bench.runtime.current();
    for _ in 0..5 {
        assert_eq!(hold(&generation, 2000).unwrap(), 7);
        assert_eq!(price(&generation, 2000).unwrap_err().kind, FaultKind::Guest);
    }
    assert_eq!(hold(&generation, 10).unwrap_err().kind, FaultKind::Tripped);

    // After its rest requests are let through, and the first that is settled finds out that it works again.
    crate::harness::eventually("the end of its rest", || hold(&generation, 10).is_ok());
    assert_eq!(bench.status().state, ComponentState::Tripped);
    assert_eq!(price(&generation, 10).unwrap(), 1);
    assert_eq!(bench.status().state, ComponentState::Active);
}

#[test]
fn an_answer_is_never_larger_than_the_question_allows() {
    let roomy = Binding {
        memory_bytes_max: 64 << 20,
        deadline_ms: 1000,
        ..Binding::new("filter", "oversize", Kind::ContentFilter)
    };
    let bench = Bench::start(vec![roomy]);
    let generation = bench.runtime.current();
    let filter = chosen(&generation).filter.unwrap();
    let inspect = |text: &str| {
        let found = [Found { rule: 1, start: 0, end: 3 }];
        filter.inspect(Direction::Request, text, &found).map_err(|error| error.kind)
    };
    assert!(inspect("nothing").unwrap().mask.is_empty());
    assert_eq!(inspect("millions"), Err(FaultKind::Oversize));
    assert_eq!(inspect("one more"), Err(FaultKind::Oversize));
    assert_eq!(inspect("out of range"), Err(FaultKind::Guest));
    assert!(inspect("nothing").is_ok());
}

#[test]
fn a_flood_of_log_lines_is_dropped() {
    let patient = Binding { deadline_ms: 1000, ..selector("chatter") };
    let bench = Bench::start(vec![patient]);
    (0..5).for_each(|_| assert_eq!(bench.select(0).unwrap(), Some(4)));
    // Five thousand lines and the thousand of the trial run; a slow machine may take some seconds for them.
    let dropped = bench.status().log_lines_dropped;
    assert!(dropped > 5000, "{dropped} of 6000");
}

#[test]
fn an_instance_that_has_grown_is_replaced() {
    let bench = Bench::start(vec![selector("bloat")]);
    assert!(bench.select(0).is_ok());
    assert_eq!(bench.status().instances, 1);
    for _ in 0..20 {
        assert!(bench.select(2).is_ok(), "what leaks adds up");
    }
    assert_eq!(bench.status().instances, 0);
}

#[test]
fn an_instance_is_replaced_after_many_calls() {
    let bench = Bench::start(vec![selector("liar")]);
    for _ in 1..50_000 {
        bench.select(0).unwrap();
    }
    assert_eq!(bench.status().instances, 1);
    bench.select(0).unwrap();
    assert_eq!(bench.status().instances, 0);
}

#[test]
fn after_repeated_faults_a_component_is_left_alone() {
    let bench = Bench::start(vec![selector("trap")]);
    for _ in 0..5 {
        assert_eq!(bench.select(1).unwrap_err().kind, FaultKind::Trap);
    }
    assert_eq!(bench.select(0).unwrap_err().kind, FaultKind::Tripped);
    let status = bench.status();
    assert_eq!(status.state, ComponentState::Tripped);
    assert_eq!((status.calls, status.faults_of(FaultKind::Tripped)), (5, 1));
    assert!(bench.events().iter().any(|event| matches!(event, Event::Tripped { .. })));

    // After its rest a single call finds out that it works again.
    crate::harness::eventually("the probe", || bench.select(0).is_ok());
    assert_eq!(bench.status().state, ComponentState::Active);
    assert!(bench.events().iter().any(|event| matches!(event, Event::Recovered { .. })));
}

#[test]
fn a_trap_tells_what_the_component_said_and_where_it_was() {
    let bench = Bench::start(vec![selector("trap")]);
    let detail = bench.select(1).unwrap_err().detail;
    assert!(detail.contains("asked at attempt 1"), "{detail}");
    assert!(detail.contains("; in ") && detail.contains(" < "), "{detail}");
    assert!(!detail.contains('\n'), "{detail}");
}

#[test]
fn a_charge_that_is_computed_again_meets_no_breaker() {
    let bench = Bench::start(vec![pricing("refund", "{}")]);
    let policies = chosen(&bench.runtime.current());
    let pricing = policies.pricing.unwrap();
    let kind = |tokens| pricing.recompute(&bill(tokens)).map_err(|error| error.kind);
    for _ in 0..20 {
        assert_eq!(kind(1_000_000), Err(FaultKind::Guest));
    }
    assert!(kind(1).is_ok());
    assert_eq!(bench.status().state, ComponentState::Active, "traffic is not told");

    // Nor does the breaker of traffic stand in its way.
    (0..5).for_each(|_| drop(pricing.settle(&bill(1_000_000)).unwrap_err()));
    assert_eq!(pricing.settle(&bill(1)).unwrap_err().kind, FaultKind::Tripped);
    assert!(kind(1).is_ok());
}
