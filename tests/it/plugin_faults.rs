//! A component that misbehaves costs its own request what its binding says, is counted, and leaves its neighbours
//! alone.
//!
//! The selectors here fail on the second attempt of a request, so the upstream fails the first attempt of requests that
//! say `unlucky`.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tollgate_server::config::{Millis, OnError};
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::upstream::{self, Script};

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const NEIGHBOURS: usize = 8;

fn guest(name: &str) -> Vec<u8> {
    tollgate_components::find_guest(name).expect("a guest of that name").bytes.to_vec()
}

fn chat(text: &str) -> Request {
    let messages = json!([{"role": "user", "content": text}]);
    Request::post("/v1/chat/completions", &json!({"model": "gpt-4o", "messages": messages}))
}

/// Fails the first attempt of the first unlucky request, and nothing else.
fn unlucky() -> impl Fn(&upstream::Request) -> Script {
    let failed = AtomicBool::new(false);
    move |request| {
        let unlucky = String::from_utf8_lossy(&request.body).contains("unlucky");
        let fail = unlucky && !failed.swap(true, Ordering::Relaxed);
        if fail { Script::json(500, "{}") } else { Script::json(200, ANSWER) }
    }
}

async fn with_selector(name: &'static str, on_error: OnError) -> Rig {
    let rig = Rig::with(|setup: &mut Setup| {
        setup.credentials = vec![("openai", None, "first", 100), ("openai", None, "second", 100)];
        setup.plugins = vec![("key-selection", guest(name))];
        setup.config.policies.key_selection.on_error = on_error;
        // Long enough to touch 16 MiB in an unoptimised build: a deadline must not come before the memory's bound.
        if name == "bloat" {
            setup.config.policies.key_selection.deadline_ms = Millis::try_from(1000).expect("a time");
        }
    })
    .await;
    rig.upstream.respond(unlucky());
    rig
}

/// Sends an unlucky request in the middle of ordinary ones, and expects these to be served.
async fn among_neighbours(rig: &Rig) -> Reply {
    let (addr, key) = (rig.addr(), rig.key("alice").to_owned());
    let neighbours: Vec<_> = (0..NEIGHBOURS)
        .map(|_| {
            let request = chat("lucky").bearer(&key);
            tokio::spawn(async move { client::call(addr, &request).await })
        })
        .collect();
    let reply = rig.call(chat("unlucky")).await;
    for neighbour in neighbours {
        assert_eq!(neighbour.await.expect("no panic").status, 200, "a neighbour was hurt");
    }
    reply
}

async fn faults(rig: &Rig, plugin: &str) -> Value {
    rig.plugin(plugin).await["faults"].clone()
}

/// The guest's faults hurt one request each: refused where the binding says closed, served by the gateway's own choice
/// where it says fallback.
async fn check_selector(name: &'static str, fault: &str) {
    let closed = with_selector(name, OnError::Closed).await;
    let refused = among_neighbours(&closed).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("policy_failed")), "{name}");
    assert_eq!(faults(&closed, "key-selection").await, json!({fault: 1}), "{name}");
    assert_eq!(closed.call(chat("lucky")).await.status, 200, "{name}: the next request has a fresh instance");
    closed.stop().await;

    let fallback = with_selector(name, OnError::Fallback).await;
    let served = among_neighbours(&fallback).await;
    assert_eq!(served.status, 200, "{name}: {}", served.text());
    assert_eq!(faults(&fallback, "key-selection").await, json!({fault: 1}), "{name}");
    fallback.stop().await;
}

#[tokio::test]
async fn a_selector_that_traps_hurts_only_its_own_request() {
    check_selector("trap", "trap").await;
}

#[tokio::test]
async fn a_selector_that_spins_for_ever_is_stopped() {
    check_selector("spin", "deadline").await;
}

#[tokio::test]
async fn a_selector_that_takes_memory_without_end_is_stopped() {
    check_selector("bloat", "memory").await;
}

#[tokio::test]
async fn a_selector_that_overflows_its_stack_is_stopped() {
    check_selector("overflow", "stack").await;
}

#[tokio::test]
async fn a_selector_that_names_what_it_was_not_offered_is_not_believed() {
    check_selector("liar", "guest").await;
}

#[tokio::test]
async fn a_selector_that_floods_the_log_serves_and_its_lines_are_dropped() {
    let rig = with_selector("chatter", OnError::Closed).await;
    for _ in 0..3 {
        assert_eq!(rig.call(chat("lucky")).await.status, 200);
    }
    assert_eq!(faults(&rig, "key-selection").await, json!({}));
    rig.stop().await;
}

#[tokio::test]
async fn a_filter_that_answers_too_much_is_answered_as_its_binding_says() {
    for (on_error, status) in [(OnError::Closed, 503), (OnError::Open, 200)] {
        let rig = Rig::with(|setup: &mut Setup| {
            setup.plugins = vec![("content-filter", guest("oversize"))];
            setup.config.policies.content_filter.on_error = on_error;
        })
        .await;
        rig.upstream.respond(|_| Script::json(200, ANSWER));
        assert_eq!(rig.call(chat("few")).await.status, 200);
        // The filter sees every string: the guest must go by the text only.
        let request =
            Request::post("/v1/chat/completions", &json!({"model": "gpt-4o", "messages": ["millions"]}));
        assert_eq!(rig.call(request).await.status, status);
        assert_eq!(rig.call(chat("few")).await.status, 200);
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_price_below_nothing_is_refused_before_dispatch_and_never_paid_after() {
    let rig = Rig::with(|setup: &mut Setup| setup.plugins = vec![("discount-points", guest("refund"))]).await;
    rig.upstream.respond(|_| Script::json(200, r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":2000,"completion_tokens":5}}"#));
    let large = rig.call(chat(&"x".repeat(10_000))).await;
    assert_eq!((large.status, rig.upstream.count()), (503, 0));
    let before = rig.balance("alice").await;
    assert_eq!(rig.call(chat("small")).await.status, 200);
    let records = rig.records(2).await;
    // No component could price it, so it costs the list price, bounded by the hold of one micro-point.
    assert_eq!(records[1].charge.get(), 1);
    assert_eq!(before.get() - rig.balance("alice").await.get(), 1);
    rig.stop().await;
}

/// The value of a series whose labels contain `label`.
fn series(metrics: &str, name: &str, label: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    let line = line.unwrap_or_else(|| panic!("there is no {name} of {label}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[tokio::test]
async fn metrics_tell_of_each_component_what_it_did_and_how_near_it_came_to_its_limits() {
    let rig = with_selector("trap", OnError::Fallback).await;
    assert_eq!(among_neighbours(&rig).await.status, 200);
    // Settlements follow the answers.
    rig.records(NEIGHBOURS + 1).await;
    let plugin = rig.plugin("key-selection").await;
    let metrics = rig.admin("GET", "/metrics").await.text();
    let of = "component=\"key-selection\"";
    for name in ["calls", "bytes", "faults", "log_lines_dropped"] {
        assert!(
            metrics.contains(&format!("# TYPE tollgate_component_{name} counter\n")),
            "{name}: {metrics}"
        );
    }
    let calls = series(&metrics, "tollgate_component_calls_total", of);
    assert_eq!(Some(calls), plugin["calls"].as_f64());
    assert!(calls >= 9.0, "{calls}");
    let digest = plugin["digest"].as_str().expect("a digest");
    let fault = |kind: &str| format!("digest=\"{digest}\",fault=\"{kind}\"");
    assert_eq!(series(&metrics, "tollgate_component_faults_total", &fault("trap")), 1.0);
    assert_eq!(series(&metrics, "tollgate_component_faults_total", &fault("memory")), 0.0);
    let peak = series(&metrics, "tollgate_component_memory_peak_bytes", of);
    let limit = series(&metrics, "tollgate_component_memory_limit_bytes", of);
    assert!(0.0 < peak && peak < limit, "{peak} of {limit}");
    assert_eq!(plugin["memory_bytes_peak"].as_f64(), Some(peak));
    let timed = series(&metrics, "tollgate_component_call_duration_seconds_count", of);
    assert!(0.0 < timed && timed <= calls, "{timed} of {calls}");
    let all = format!("{of},kind=\"key-selector\",digest=\"{digest}\"");
    assert_eq!(series(&metrics, "tollgate_component_share_ppm", &all), 1e6);
    assert_eq!(metrics.matches("# EOF").count(), 1);
    assert!(metrics.ends_with("# EOF\n"));
    rig.stop().await;
}
