//! An exchange has an instance to itself, gives it back, and is refused rather than served beyond the bound.

use std::sync::Arc;

use tollgate_core::protocol::{Operation, Protocol};
use tollgate_runtime::{
    Adapter, Begun, Binding, CallError, Exchange, FaultKind, Kind, Limits, Refusal, Settings, Terms,
};

use crate::harness::{Bench, settings};

const TERMS: Terms<'_> = Terms {
    client: Protocol::OpenaiChat,
    upstream: Protocol::AnthropicMessages,
    operation: Operation::Generate,
    model: "claude-sonnet-4-5",
    request_id: "r1",
    now_s: 1,
    streaming: true,
    json_array: false,
    output_limit: u64::MAX,
    strict: false,
};
const REQUEST: &[u8] = br#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

fn bench(component: &str, exchanges_max: usize) -> (Bench, Arc<Adapter>) {
    let limits = Limits { exchanges_max, ..Limits::DEFAULT };
    let binding = Binding {
        memory_bytes_max: 64 << 20,
        deadline_ms: 500,
        ..Binding::new("adapter", component, Kind::ProviderAdapter)
    };
    let bench = Bench::try_start(|dir| Settings { limits, ..settings(dir) }, vec![binding]).unwrap();
    let adapter = Arc::clone(bench.runtime.current().adapter("adapter").unwrap());
    (bench, adapter)
}

fn begin(adapter: &Adapter) -> Result<Exchange, CallError> {
    match adapter.begin(&TERMS, REQUEST)? {
        Begun::Translated(exchange, _) => Ok(exchange),
        other => panic!("{other:?}"),
    }
}

fn event(text: &str) -> String {
    let delta = format!(
        r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
    );
    format!("event: content_block_delta\ndata: {delta}\n\n")
}

#[test]
fn exchanges_that_overlap_keep_their_own_state_and_their_instances_are_used_again() {
    let (bench, adapter) = bench("claude", 8);
    let before = bench.runtime.instances_live();
    for _ in 0..3 {
        let (mut one, mut two) = (begin(&adapter).unwrap(), begin(&adapter).unwrap());
        let (first, second) = (event("first"), event("second"));
        // Half an event in each, and then the rest: whoever mixed them up would not find the end of either.
        let half = first.len() / 2;
        assert_eq!(one.part(&first.as_bytes()[..half]).unwrap(), b"");
        assert_eq!(two.part(&second.as_bytes()[..half]).unwrap(), b"");
        let ended =
            |exchange: &mut Exchange, rest: &[u8]| String::from_utf8(exchange.part(rest).unwrap()).unwrap();
        assert!(ended(&mut two, &second.as_bytes()[half..]).contains("second"));
        assert!(ended(&mut one, &first.as_bytes()[half..]).contains("first"));
    }
    assert_eq!(bench.runtime.instances_live() - before, 2, "the two of the first round served all");
}

#[test]
fn an_exchange_beyond_the_bound_is_refused_and_no_fault_of_the_component() {
    let (bench, adapter) = bench("claude", 2);
    let kept = [begin(&adapter).unwrap(), begin(&adapter).unwrap()];
    assert_eq!(begin(&adapter).unwrap_err().kind, FaultKind::Unavailable);
    assert_eq!(bench.status().faults.iter().sum::<u64>(), 0);
    drop(kept);
    assert!(begin(&adapter).is_ok());
}

#[test]
fn a_large_body_has_the_time_and_the_room_that_it_needs() {
    let (_bench, adapter) = bench("claude", 2);
    let text = "x".repeat(6 << 20);
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
    let begun = adapter.begin(&TERMS, body.as_bytes()).unwrap();
    let Begun::Translated(_, translated) = begun else { panic!("{begun:?}") };
    assert!(translated.len() > text.len());
}

#[test]
fn an_exchange_that_faulted_says_nothing_more_and_its_instance_is_gone() {
    let (bench, adapter) = bench("babel", 2);
    let before = bench.runtime.instances_live();
    let mut exchange = begin(&adapter).unwrap();
    assert_eq!(exchange.part(b"some").unwrap(), b"some");
    assert_eq!(exchange.part(b"shibboleth").unwrap_err().kind, FaultKind::Trap);
    assert!(!exchange.is_sound());
    assert!(exchange.part(b"some").is_err() && exchange.end().is_err());
    drop(exchange);
    assert_eq!(bench.runtime.instances_live() - before, 1, "the one that was asked whether it is well");
    assert_eq!(begin(&adapter).unwrap().part(b"some").unwrap(), b"some");
}

#[test]
fn answers_that_break_the_component_end_their_own_exchanges_alone() {
    let (bench, adapter) = bench("babel", 2);
    for _ in 0..6 {
        assert_eq!(begin(&adapter).unwrap().part(b"shibboleth").unwrap_err().kind, FaultKind::Trap);
        let whole = begin(&adapter).unwrap().answer(b"shibboleth");
        assert_eq!(whole.unwrap_err().kind, FaultKind::Trap);
    }
    assert_eq!(begin(&adapter).unwrap().part(b"some").unwrap(), b"some");
    assert_eq!(bench.status().faults.iter().sum::<u64>(), 12, "counted all the same");
}

#[test]
fn usage_and_failures_that_break_the_component_keep_nobody_else_from_it() {
    let (bench, adapter) = bench("babel", 2);
    let usage = |samples: &[u8]| {
        adapter
            .read_usage(Protocol::AnthropicMessages, Operation::Generate, samples)
            .map_err(|error| error.kind)
    };
    let class = |body: &[u8]| {
        let refusal = Refusal { status: 500, retry_after_ms: None, kind: "", body };
        adapter.classify(&refusal).map(drop).map_err(|error| error.kind)
    };
    for _ in 0..6 {
        assert_eq!(usage(b"shibboleth").unwrap_err(), FaultKind::Trap);
        assert_eq!(class(b"shibboleth"), Err(FaultKind::Trap));
    }
    assert!(usage(b"{}").is_ok() && class(b"{}").is_ok() && begin(&adapter).is_ok());
    assert_eq!(bench.status().faults.iter().sum::<u64>(), 12, "counted all the same");
}

#[test]
fn a_component_that_fails_over_any_stream_is_left_alone() {
    let (_bench, adapter) = bench("babel", 2);
    let terms = Terms { model: "mute", ..TERMS };
    for _ in 0..5 {
        let begun = adapter.begin(&terms, REQUEST).unwrap();
        let Begun::Translated(mut exchange, _) = begun else { panic!("{begun:?}") };
        assert_eq!(exchange.part(b"some").unwrap_err().kind, FaultKind::Trap);
    }
    assert_eq!(begin(&adapter).unwrap_err().kind, FaultKind::Tripped);
}

#[test]
fn a_request_that_is_too_much_is_its_own_fault_and_the_next_is_served() {
    let (bench, adapter) = bench("claude", 2);
    let turns = vec![r#"{"role":"user","content":[{"type":"text","text":""}]}"#; 400_000].join(",");
    let heavy = format!(r#"{{"model":"m","messages":[{turns}]}}"#);
    // More than the breaker takes.
    for _ in 0..6 {
        let begun = adapter.begin(&TERMS, heavy.as_bytes()).unwrap();
        assert!(matches!(begun, Begun::TooMuch), "{begun:?}");
    }
    assert!(begin(&adapter).is_ok());
    assert_eq!(bench.status().faults.iter().sum::<u64>(), 6, "counted all the same");
}

#[test]
fn a_request_that_breaks_the_component_fails_alone_where_others_do_not() {
    let (_bench, adapter) = bench("babel", 2);
    for _ in 0..6 {
        assert_eq!(adapter.begin(&TERMS, b"shibboleth").unwrap_err().kind, FaultKind::Trap);
    }
    assert!(begin(&adapter).is_ok());
}

#[test]
fn a_component_that_fails_over_any_request_is_left_alone() {
    let (_bench, adapter) = bench("babel", 2);
    let terms = Terms { model: "shibboleth", ..TERMS };
    for _ in 0..5 {
        assert_eq!(adapter.begin(&terms, REQUEST).unwrap_err().kind, FaultKind::Trap);
    }
    assert_eq!(begin(&adapter).unwrap_err().kind, FaultKind::Tripped);
}

#[test]
fn what_is_told_as_a_failure_must_be_one() {
    let (_bench, adapter) = bench("babel", 2);
    assert_eq!(begin(&adapter).unwrap().failure(400, b"{}").unwrap_err().kind, FaultKind::Guest);
}
