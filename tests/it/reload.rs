//! Policies change while traffic flows: requests end under the policy they began with, later ones use the new one, and
//! a bad file changes nothing.

use std::collections::HashSet;

use serde_json::json;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::patiently;
use tollgate_tests::upstream::{Gate, Script};

const STREAMS: usize = 50;
const EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n";
const END: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n";

fn discount_points() -> &'static [u8] {
    tollgate_components::find("discount-points").expect("the first-party component").bytes
}

/// The same component with another digest: it has one more custom section, which means nothing.
fn rebuilt(component: &[u8], mark: u8) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend([0, 3, 1, b'v', mark]);
    bytes
}

/// A gateway whose user can pay for all requests of these tests.
async fn rich() -> Rig {
    Rig::with(|setup| setup.users = vec![("alice", Micropoints::from_points(1_000_000))]).await
}

fn chat(streaming: bool) -> Request {
    Request::post("/v1/chat/completions", &json!({"model": "gpt-4o", "stream": streaming, "messages": []}))
}

#[tokio::test]
async fn streams_end_under_the_pricing_that_they_began_with_and_new_ones_get_the_new() {
    let rig = rich().await;
    let old_digest = rig.plugin("pricing").await["digest"].clone();
    let gate = Gate::new();
    for _ in 0..STREAMS {
        rig.upstream.enqueue(Script::sse().chunk(EVENT).gate(&gate).chunk(END).end());
    }
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut connection = Connection::open(rig.addr()).await;
        connection.send(&chat(true).bearer(rig.key("alice"))).await;
        assert_eq!(connection.head().await.word(1), "200");
        connection.read_until("hi").await;
        streams.push(connection);
    }
    let reloaded = rig.install("discount-points", &rebuilt(discount_points(), 1)).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let new_digest = rig.plugin("pricing").await["digest"].clone();
    assert_ne!(old_digest, new_digest);
    rig.upstream.respond(|_| Script::sse().chunk(EVENT).chunk(END).end());
    for _ in 0..STREAMS {
        assert_eq!(rig.call(chat(true)).await.status, 200);
    }
    for _ in 0..STREAMS {
        gate.open();
    }
    for mut connection in streams {
        let rest = connection.body().await.expect("the stream ends in order");
        assert!(String::from_utf8_lossy(&rest).ends_with("data: [DONE]\n\n"));
    }
    let records = rig.records(2 * STREAMS).await;
    assert!(records.iter().all(|record| record.outcome == Outcome::Ok && record.charge.get() == 75_000));
    let hex = |record: &tollgate_store::RequestRecord| {
        let digest = record.components.pricing.expect("a priced request");
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let of = |range: std::ops::Range<usize>| records[range].iter().map(hex).collect::<HashSet<_>>();
    assert_eq!(of(0..STREAMS), HashSet::from([old_digest.as_str().expect("hex").to_owned()]));
    assert_eq!(of(STREAMS..2 * STREAMS), HashSet::from([new_digest.as_str().expect("hex").to_owned()]));
    rig.stop().await;
}

#[tokio::test]
async fn two_hundred_reloads_under_load_fail_no_request_and_leave_no_generation_behind() {
    let rig = rich().await;
    rig.upstream.respond(|_| Script::sse().chunk(EVENT).chunk(END).end());
    let (addr, key) = (rig.addr(), rig.key("alice").to_owned());
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (key, stopping) = (key.clone(), stopping.clone());
        load.spawn(async move {
            let mut served = 0_usize;
            while !*stopping.borrow() {
                let reply = tollgate_tests::client::call(addr, &chat(true).bearer(&key)).await;
                assert_eq!(reply.status, 200, "{}", reply.text());
                served += 1;
            }
            served
        });
    }
    let component = discount_points();
    let mut memory = Vec::new();
    for round in 0..200_u16 {
        // Five builds in turn: the first of each is compiled, the others come from the cache.
        let mark = u8::try_from(round % 5).expect("below 5");
        let reply = rig.install("discount-points", &rebuilt(component, mark)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        if round % 100 == 99 {
            memory.push(resident_bytes());
        }
    }
    stop.send_replace(true);
    let mut served = 0;
    while let Some(count) = load.join_next().await {
        served += count.expect("no request failed");
    }
    assert!(served > 0);
    let records = rig.records(served).await;
    assert!(records.iter().all(|record| record.outcome == Outcome::Ok));
    // The second hundred must not cost as much as the first: a reload gives back what it needs.
    let growth = memory[1].saturating_sub(memory[0]);
    assert!(growth < 48 << 20, "the second hundred reloads took {} MiB", growth >> 20);
    rig.stop().await;
}

/// Resident memory of this process.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("a Linux system");
    let pages: usize =
        status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}

#[tokio::test]
async fn a_broken_a_torn_and_a_wrong_file_change_nothing_but_the_status() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::sse().chunk(EVENT).chunk(END).end());
    let before = rig.plugin("pricing").await;
    let good = discount_points();
    let selector = tollgate_components::find("key-selection").expect("the first-party component").bytes;
    let bad: [(&str, &[u8]); 4] = [
        ("empty", b""),
        ("garbage", b"\0asm but not quite"),
        ("torn", &good[..good.len() / 2]),
        ("wrong world", selector),
    ];
    for (name, bytes) in bad {
        let reply = rig.install("discount-points", bytes).await;
        assert_eq!(reply.status, 422, "{name}: {}", reply.text());
        let now = rig.plugin("pricing").await;
        assert_eq!((&now["digest"], &now["state"]), (&before["digest"], &json!("refused")), "{name}");
        assert!(now["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{name}");
        assert_eq!(rig.call(chat(true)).await.status, 200, "{name}");
    }
    assert_eq!(rig.install("discount-points", &rebuilt(good, 9)).await.status, 200);
    let healed = rig.plugin("pricing").await;
    assert_eq!(healed["state"], "active");
    assert_ne!(healed["digest"], before["digest"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_taken_up_without_being_told() {
    let rig = Rig::start().await;
    let before = rig.plugin("pricing").await["digest"].clone();
    std::fs::write(rig.config.plugins_dir().join("discount-points.wasm"), rebuilt(discount_points(), 7))
        .expect("a file");
    patiently("the new component", async {
        while rig.plugin("pricing").await["digest"] == before {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    std::fs::remove_file(rig.config.plugins_dir().join("discount-points.wasm")).expect("the file is there");
    patiently("the loss of the file", async {
        while rig.plugin("pricing").await["state"] != "file-missing" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_ne!(rig.plugin("pricing").await["digest"], before, "what the file held serves on");
    assert_eq!(rig.admin("POST", "/management/v1/plugins/discount-points/forget").await.status, 200);
    assert_eq!(rig.plugin("pricing").await["digest"], before, "the built-in one serves again");
    rig.stop().await;
}

#[tokio::test]
async fn a_torn_component_does_not_prevent_a_start_and_is_told_of() {
    let torn = discount_points()[..1000].to_vec();
    let rig = Rig::with(|setup| setup.plugins = vec![("discount-points", torn)]).await;
    rig.upstream.respond(|_| Script::sse().chunk(EVENT).chunk(END).end());
    assert_eq!(rig.call(chat(true)).await.status, 200);
    let plugin = rig.plugin("pricing").await;
    assert_eq!((&plugin["source"], &plugin["state"]), (&json!("embedded"), &json!("refused")));
    assert!(plugin["reason"].as_str().is_some_and(|reason| reason.contains("WebAssembly")), "{plugin}");
    let ready = rig.admin("GET", "/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(ready.text().starts_with("ready\npricing: refused, "), "{}", ready.text());
    assert_eq!(rig.install("discount-points", discount_points()).await.status, 200);
    assert_eq!(rig.admin("GET", "/readyz").await.text(), "ready\n");
    rig.stop().await;
}

#[tokio::test]
async fn a_policy_that_nothing_can_stand_in_for_refuses_calls_until_it_is_there() {
    let rig = Rig::with(|setup| {
        setup.plugins = vec![("own-filter", b"garbage".to_vec())];
        setup.config.policies.content_filter.component = "own-filter".to_owned();
    })
    .await;
    rig.upstream.respond(|_| Script::sse().chunk(EVENT).chunk(END).end());
    let refused = rig.call(chat(true)).await;
    assert_eq!((refused.status, rig.upstream.count()), (503, 0), "{}", refused.text());
    assert_eq!(rig.admin("GET", "/readyz").await.status, 503);
    let filter = tollgate_components::find("content-filter").expect("the first-party component").bytes;
    assert_eq!(rig.install("own-filter", filter).await.status, 200);
    assert_eq!(rig.call(chat(true)).await.status, 200);
    assert_eq!(rig.admin("GET", "/readyz").await.text(), "ready\n");
    rig.stop().await;
}
