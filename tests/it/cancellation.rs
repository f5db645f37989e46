//! A client that leaves, stops reading or stops sending: the upstream call ends too, and what passed until then is
//! settled once.

use serde_json::json;
use tollgate_core::outcome::Outcome;
use tollgate_core::usage::{Class, Quality};
use tollgate_server::config::Millis;
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::upstream::Script;

const CHAT: &str = "/v1/chat/completions";
/// No text, with four prompt tokens around it.
const BODY: &str = r#"{"model":"gpt-4o","stream":true,"n": 1 }"#;
/// 8 bytes of text, which stand for 2 output tokens.
const EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n";
/// At 2.5 and 10 USD a million tokens.
const CHARGE: i64 = 4 * 2_500 + 2 * 10_000;

fn request(rig: &Rig) -> Request {
    Request::new("POST", CHAT).body(BODY).bearer(rig.key("alice"))
}

async fn ask(rig: &Rig) -> Connection {
    let mut client = Connection::open(rig.addr()).await;
    client.send(&request(rig)).await;
    client
}

fn millis(ms: u64) -> Millis {
    Millis::try_from(ms).expect("a time within bounds")
}

/// Checks that a client who left before the first byte paid for the prompt and took the upstream with it.
async fn check_cancelled_before(rig: Rig, client: Connection) {
    let before = rig.balance("alice").await.get();
    let upstream = rig.upstream.next().await;
    drop(client);
    upstream.closed().await;
    let record = rig.record().await;
    assert_eq!((record.outcome, record.charge.get()), (Outcome::CancelledBeforeFirstByte, 4 * 2_500));
    assert!(record.hold.get() > 0, "the request was held for");
    assert_eq!(before - rig.balance("alice").await.get(), 4 * 2_500);
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_while_the_upstream_thinks_leaves_it_too_and_pays_its_prompt() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::silence());
    let client = ask(&rig).await;
    check_cancelled_before(rig, client).await;
}

#[tokio::test]
async fn a_head_without_an_event_is_no_first_byte() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::sse().hang());
    let client = ask(&rig).await;
    check_cancelled_before(rig, client).await;
}

#[tokio::test]
async fn what_is_left_of_a_hold_can_be_held_again() {
    // 51 bytes, which are 17 prompt tokens: enough for one request at a time, and for the prompts of two before it.
    let body = r#"{"model":"gpt-4o","stream":true,"max_tokens": 100 }"#;
    let points = tollgate_core::points::Micropoints::new(3 * 17 * 2_500 + 100 * 10_000);
    let rig = Rig::with(|setup| setup.users = vec![("alice", points)]).await;
    for count in 1..=3 {
        rig.upstream.enqueue(Script::silence());
        let mut client = Connection::open(rig.addr()).await;
        client.send(&Request::new("POST", CHAT).body(body).bearer(rig.key("alice"))).await;
        let upstream = rig.upstream.next().await;
        let refused = rig.call(Request::new("POST", CHAT).body(body)).await;
        assert_eq!(refused.status, 402, "{}", refused.text());
        drop(client);
        upstream.closed().await;
        rig.records(2 * count).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_mid_stream_leaves_the_upstream_and_pays_for_what_passed() {
    let rig = Rig::start().await;
    let before = rig.balance("alice").await;
    rig.upstream.enqueue(Script::sse().chunk(EVENT).hang());
    let mut client = ask(&rig).await;
    client.head().await;
    client.read_until(EVENT).await;
    let upstream = rig.upstream.next().await;
    assert!(upstream.is_open());
    drop(client);
    upstream.closed().await;
    let record = rig.record().await;
    assert_eq!(record.outcome, Outcome::CancelledAfterFirstByte);
    let usage = (record.usage[Class::Input], record.usage[Class::Output], record.usage.quality);
    assert_eq!(usage, (4, 2, Quality::Estimated));
    assert_eq!(record.charge.get(), CHARGE);
    assert_eq!(before.get() - rig.balance("alice").await.get(), CHARGE);
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_an_unstreamed_answer_half_read_leaves_the_upstream() {
    let rig = Rig::start().await;
    let head = [("content-type", "application/json")];
    rig.upstream.enqueue(
        Script::chunked(200, &head).chunk("{\"choices\":[{\"message\":{\"content\":\"12345678\"").hang(),
    );
    let mut client = ask(&rig).await;
    client.head().await;
    client.read_until("12345678").await;
    let upstream = rig.upstream.next().await;
    drop(client);
    upstream.closed().await;
    assert_eq!(rig.record().await.outcome, Outcome::CancelledAfterFirstByte);
    rig.stop().await;
}

#[tokio::test]
async fn one_client_that_leaves_disturbs_no_other() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::sse().chunk(EVENT).hang());
    let mut leaving = ask(&rig).await;
    leaving.head().await;
    let left = rig.upstream.next().await;
    let mut staying = ask(&rig).await;
    staying.head().await;
    let kept = rig.upstream.next().await;
    drop(leaving);
    left.closed().await;
    rig.record().await;
    assert!(kept.is_open());
    drop(staying);
    kept.closed().await;
    rig.records(2).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off_and_settled() {
    let rig = Rig::with(|setup| setup.config.limits.client_write_timeout_ms = millis(100)).await;
    // More than the buffers of any system hold between two sockets.
    let comment = format!(": {}\n\n", "x".repeat(1 << 20));
    let script = (0..64).fold(Script::sse().chunk(EVENT), |script, _| script.chunk(&comment));
    rig.upstream.enqueue(script.hang());
    let mut client = ask(&rig).await;
    client.head().await;
    client.read_until(EVENT).await;
    rig.upstream.next().await.closed().await;
    let record = rig.record().await;
    assert_eq!((record.outcome, record.charge.get()), (Outcome::CancelledAfterFirstByte, CHARGE));
    drop(client);
    rig.stop().await;
}

/// A rig with short timeouts for its clients.
async fn impatient_rig() -> Rig {
    Rig::with(|setup: &mut Setup| {
        setup.config.limits.head_read_timeout_ms = millis(100);
        setup.config.limits.body_read_timeout_ms = millis(100);
    })
    .await
}

#[tokio::test]
async fn half_a_body_and_then_nothing_is_answered_with_408_and_costs_nothing() {
    let rig = impatient_rig().await;
    let calls = [
        (CHAT, json!({"type": "invalid_request_error", "code": "request_timeout"})),
        ("/v1/messages", json!({"type": "invalid_request_error"})),
        (
            "/v1beta/models/gemini-2.5-flash:generateContent",
            json!({"code": 408, "status": "DEADLINE_EXCEEDED"}),
        ),
    ];
    for (target, expected) in calls {
        let request = Request::new("POST", target).bearer(rig.key("alice")).header("content-length", "1000");
        let mut client = Connection::open(rig.addr()).await;
        client.send(&request.body(r#"{"model":"gpt-4o","#)).await;
        let reply = client.reply().await;
        assert_eq!(reply.status, 408, "{}", reply.text());
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&reply.json()["error"][name], value, "{}", reply.text());
        }
        client.closed().await;
    }
    assert_eq!(rig.upstream.count(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn half_a_head_and_then_nothing_is_closed() {
    let rig = impatient_rig().await;
    let mut client = Connection::open(rig.addr()).await;
    client.send_raw(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
    client.closed().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_its_body_was_never_a_request() {
    let rig = Rig::start().await;
    let request = Request::new("POST", CHAT).bearer(rig.key("alice")).header("content-length", "1000");
    let mut client = Connection::open(rig.addr()).await;
    client.send(&request.body(r#"{"model":"gpt-4o","#)).await;
    drop(client);
    rig.upstream.enqueue(Script::sse().chunk(EVENT).chunk("data: [DONE]\n\n").end());
    rig.call(Request::new("POST", CHAT).body(BODY)).await;
    assert_eq!(rig.record().await.outcome, Outcome::Ok);
    assert_eq!(rig.upstream.count(), 1);
    rig.stop().await;
}
