//! Leaving early is not free: the prompt is charged once a provider has it, and what it made is charged as it says or
//! else as answers of that model usually are.

use std::time::Duration;

use serde_json::json;
use tollgate_core::outcome::Outcome;
use tollgate_core::usage::{Class, Quality};
use tollgate_server::config::OnLeave;
use tollgate_store::RequestRecord;
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::{Gate, Script};

const CHAT: &str = "/v1/chat/completions";
/// Eight bytes of text.
const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n";
/// 20,000 hidden tokens and two that showed.
const USAGE: &str = concat!(
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":20002,",
    "\"completion_tokens_details\":{\"reasoning_tokens\":20000}}}\n\ndata: [DONE]\n\n"
);

fn ask(rig: &Rig, body: &str) -> Request {
    Request::new("POST", CHAT).body(body).bearer(rig.key("alice"))
}

/// At 2 and 8 USD a million tokens.
const STREAMED: &str = r#"{"model":"o3","stream":true,"max_tokens":30000,"reasoning_effort":"high"}"#;

/// A client that reads as far as `until`, or sends its request alone, and leaves.
async fn leave(rig: &Rig, body: &str, until: Option<&str>) {
    let mut client = Connection::open(rig.addr()).await;
    client.send(&ask(rig, body)).await;
    let upstream = rig.upstream.next().await;
    if let Some(text) = until {
        client.head().await;
        client.read_until(text).await;
    }
    drop(client);
    upstream.closed().await;
}

async fn last(rig: &Rig, count: usize) -> RequestRecord {
    rig.records(count).await.pop().expect("a record")
}

#[tokio::test]
async fn hidden_output_that_is_stated_at_once_is_charged_though_the_client_has_left() {
    let rig = Rig::with(|setup| setup.config.limits.leave_grace_ms = 10_000).await;
    let gate = Gate::new();
    rig.upstream.enqueue(Script::sse().chunk(TEXT).gate(&gate).chunk(USAGE).end());
    let mut client = Connection::open(rig.addr()).await;
    client.send(&ask(&rig, STREAMED)).await;
    client.head().await;
    client.read_until(TEXT).await;
    drop(client);
    gate.reached().await;
    gate.open();
    let record = last(&rig, 1).await;
    assert_eq!((record.outcome, record.usage.quality), (Outcome::CancelledAfterFirstByte, Quality::Exact));
    assert_eq!(record.charge.get(), 10 * 2_000 + 20_002 * 8_000);
    rig.stop().await;
}

#[tokio::test]
async fn what_a_model_usually_hides_is_charged_where_nothing_says_how_much_it_was() {
    let rig = Rig::with(|setup| setup.config.limits.leave_grace_ms = 0).await;
    rig.upstream.respond(|_| Script::sse().chunk(TEXT).chunk(USAGE).end());
    for _ in 0..4 {
        assert_eq!(rig.call(ask(&rig, STREAMED)).await.status, 200);
    }
    rig.records(4).await;
    rig.upstream.respond(|_| Script::sse().chunk(TEXT).hang());
    leave(&rig, STREAMED, Some(TEXT)).await;
    let record = last(&rig, 5).await;
    assert_eq!(record.usage.quality, Quality::Estimated);
    assert_eq!((record.usage[Class::Output], record.usage[Class::Reasoning]), (2, 20_000));
    // No more than the request allows.
    let short = r#"{"model":"o3","stream":true,"max_tokens":1000}"#;
    leave(&rig, short, Some(TEXT)).await;
    let record = last(&rig, 6).await;
    assert_eq!((record.usage[Class::Output], record.usage[Class::Reasoning]), (2, 998));
    rig.stop().await;
}

#[tokio::test]
async fn the_prompt_is_charged_once_a_provider_has_it() {
    let rig = Rig::start().await;
    let long = format!(r#"{{"model":"gpt-4o","max_tokens":5,"stream":true,"x":"{}"}}"#, "a ".repeat(5_000));
    let whole = r#"{"model":"gpt-4o","max_tokens":5}"#;
    // Four bytes of text a token, wherever a provider may find it, and four tokens around it.
    for (count, (body, tokens)) in [(&*long, 2_504), (STREAMED, 4), (whole, 4)].into_iter().enumerate() {
        rig.upstream.enqueue(Script::silence());
        leave(&rig, body, None).await;
        let record = last(&rig, count + 1).await;
        assert_eq!(record.outcome, Outcome::CancelledBeforeFirstByte);
        assert_eq!(record.usage[Class::Input], tokens, "{body:.40}");
        assert!(record.charge.get() >= i64::try_from(record.usage[Class::Input]).unwrap() * 2_000);
    }
    let spent: i64 = rig.records(3).await.iter().map(|record| record.charge.get()).sum();
    assert_eq!(1_000_000_000 - rig.balance("alice").await.get(), spent);
    rig.stop().await;
}

#[tokio::test]
async fn the_prompt_is_charged_though_nothing_that_came_of_the_answer_says_anything() {
    let rig = Rig::with(|setup| setup.config.limits.leave_grace_ms = 0).await;
    let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n";
    let whole = r#"{"model":"gpt-4o","max_tokens":5}"#;
    let head = [("content-type", "application/json")];
    let cases = [
        (STREAMED, Script::sse().chunk(role).hang(), role),
        (STREAMED, Script::sse().chunk("data: {}\n\n").hang(), "data: {}"),
        (STREAMED, Script::sse().chunk(": a comment\n\n").hang(), "comment"),
        (whole, Script::chunked(200, &head).chunk("{\"id\":\"c1\",").hang(), "c1"),
        (whole, Script::chunked(200, &head).chunk(" ").hang(), " "),
    ];
    for (count, (body, script, until)) in cases.into_iter().enumerate() {
        rig.upstream.enqueue(script);
        leave(&rig, body, Some(until)).await;
        let record = last(&rig, count + 1).await;
        assert_eq!(record.outcome, Outcome::CancelledAfterFirstByte, "{until}");
        assert_eq!(record.usage[Class::Input], 4, "{until}");
        assert!(record.charge.get() > 0, "{until}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_empty_answer_costs_its_prompt_and_a_failure_of_the_provider_nothing() {
    let rig = Rig::start().await;
    let empty = json!({"choices": [], "usage": {"prompt_tokens": 200_000, "completion_tokens": 0}});
    rig.upstream.enqueue(Script::json(200, empty.to_string()));
    rig.call(ask(&rig, r#"{"model":"gpt-4o","max_tokens":5}"#)).await;
    assert_eq!(last(&rig, 1).await.charge.get(), 200_000 * 2_500);
    for (count, status) in [400, 404, 413, 422].into_iter().enumerate() {
        rig.upstream.enqueue(Script::json(status, r#"{"error":{"message":"no"}}"#));
        rig.call(ask(&rig, r#"{"model":"gpt-4o","max_tokens":5}"#)).await;
        assert_eq!(last(&rig, count + 2).await.charge.get(), 0, "{status}");
    }
    rig.upstream.respond(|_| Script::json(500, "{}"));
    rig.call(ask(&rig, r#"{"model":"gpt-4o","max_tokens":5}"#)).await;
    assert_eq!(last(&rig, 6).await.charge.get(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_that_bills_whoever_listens_is_read_to_its_end() {
    let rig = Rig::with(|setup| {
        setup.config.limits.on_leave.insert("openai".to_owned(), OnLeave::Drain);
        setup.config.limits.leave_grace_ms = 0;
    })
    .await;
    let gate = Gate::new();
    rig.upstream.enqueue(Script::sse().chunk(TEXT).gate(&gate).chunk(TEXT).gate(&gate).chunk(USAGE).end());
    let mut client = Connection::open(rig.addr()).await;
    client.send(&ask(&rig, STREAMED)).await;
    client.head().await;
    client.read_until(TEXT).await;
    drop(client);
    for _ in 0..2 {
        gate.reached().await;
        gate.open();
    }
    assert_eq!(last(&rig, 1).await.charge.get(), 10 * 2_000 + 20_002 * 8_000);
    rig.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_read_for_no_longer_than_was_said() {
    for (on_leave, grace_ms) in [(OnLeave::Cancel, 60_000), (OnLeave::Settle, 0), (OnLeave::Settle, 20)] {
        let rig = Rig::with(|setup| {
            setup.config.limits.on_leave.insert("openai".to_owned(), on_leave);
            setup.config.limits.leave_grace_ms = grace_ms;
        })
        .await;
        rig.upstream.enqueue(Script::sse().chunk(TEXT).pause(Duration::from_millis(1)).hang());
        // Waits until the upstream is left.
        leave(&rig, STREAMED, Some(TEXT)).await;
        let record = last(&rig, 1).await;
        assert_eq!((record.outcome, record.usage[Class::Output]), (Outcome::CancelledAfterFirstByte, 2));
        rig.stop().await;
    }
}
