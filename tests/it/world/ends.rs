//! After the last event nothing that befalls a connection matters; before it, a stream that breaks says so in order.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, OpenaiChat, OpenaiResponses};
use tollgate_core::usage::{Class, Quality};
use tollgate_server::config::Millis;
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

use crate::translation::{events, foreign, model, rig, with_usage};

/// What a client of a protocol knows the end of a stream by.
const fn last_word(client: Protocol) -> &'static str {
    match client {
        OpenaiChat => "[DONE]",
        OpenaiResponses => "\"response.completed\"",
        AnthropicMessages => "\"message_stop\"",
        Protocol::Gemini => "\"finishReason\":\"STOP\"",
    }
}

/// Reads a stream up to its last word, and leaves.
async fn read_and_leave(rig: &Rig, request: Request, until: &str) {
    let mut client = Connection::open(rig.addr()).await;
    client.send(&request.bearer(rig.key("alice"))).await;
    client.head().await;
    client.read_until(until).await;
}

async fn finished(rig: &Rig, count: usize, upstream: Protocol, what: &str) {
    let records = rig.records(count).await;
    let record = records.last().expect("a record");
    let (_, charge) = model(upstream);
    let found = (record.outcome, record.charge.get(), record.usage.quality);
    assert_eq!(found, (Outcome::Ok, charge, Quality::Exact), "{what}: {record:?}");
    assert_eq!(record.error, None, "{what}");
}

#[tokio::test]
async fn a_client_that_leaves_after_the_last_event_has_had_the_answer() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let (model, _) = model(upstream);
        let clients: Vec<Protocol> = std::iter::once(upstream).chain(foreign(upstream)).collect();
        for (at, client) in clients.into_iter().enumerate() {
            // The provider does not close its connection, as Codex does not wait for.
            let script = events(upstream).iter().fold(Script::sse(), Script::chunk).hang();
            rig.upstream.enqueue(script);
            read_and_leave(&rig, with_usage(client, model), last_word(client)).await;
            finished(&rig, at + 1, upstream, &format!("{client:?} of {upstream:?}")).await;
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_last_event_broke_nothing() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let (model, _) = model(upstream);
        let mut count = 0;
        for client in std::iter::once(upstream).chain(foreign(upstream)) {
            let whole = || events(upstream).iter().fold(Script::sse(), Script::chunk);
            for (how, script) in [("no last chunk", whole().close()), ("a reset", whole().reset())] {
                rig.upstream.enqueue(script);
                let reply = rig.call(with_usage(client, model)).await;
                assert!(reply.text().contains(last_word(client)), "{client:?} of {upstream:?}, {how}");
                assert!(
                    !reply.text().contains("\"error\":{"),
                    "{client:?} of {upstream:?}: {}",
                    reply.text()
                );
                count += 1;
                let records = rig.records(count).await;
                let record = records.last().expect("a record");
                // A reset may overtake what came before it.
                if how == "no last chunk" || record.outcome == Outcome::Ok {
                    finished(&rig, count, upstream, &format!("{client:?} of {upstream:?}, {how}")).await;
                }
            }
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_provider_that_does_not_hang_up_keeps_nobody_waiting() {
    let rig = Rig::with(|setup| {
        setup.config.limits.upstream_idle_timeout_ms =
            Millis::try_from(60_000).expect("a time within bounds");
    })
    .await;
    for client in [AnthropicMessages, OpenaiChat] {
        let script = events(AnthropicMessages).iter().fold(Script::sse(), Script::chunk).hang();
        rig.upstream.enqueue(script);
        let reply = rig.call(with_usage(client, "claude-sonnet-4-5")).await;
        assert!(reply.text().contains(last_word(client)));
    }
    finished(&rig, 2, AnthropicMessages, "a provider that does not hang up").await;
    rig.stop().await;
}

#[tokio::test]
async fn usage_that_comes_after_the_reason_for_the_end_is_waited_for() {
    let rig = Rig::start().await;
    let body =
        json!({"model": "gpt-4o", "stream": true, "stream_options": {"include_usage": true}, "messages": []});
    let said = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    );
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":500}}\n\n";
    let gate = tollgate_tests::upstream::Gate::new();
    rig.upstream.enqueue(Script::sse().chunk(said).gate(&gate).chunk(usage).hang());
    read_and_leave(&rig, Request::post("/v1/chat/completions", &body), "\"finish_reason\":\"stop\"").await;
    gate.open();
    let record = rig.record().await;
    let found = (record.outcome, record.usage[Class::Output], record.usage.quality);
    assert_eq!(found, (Outcome::Ok, 500, Quality::Exact), "what was hidden is paid for: {record:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_last_event_has_cancelled() {
    let rig = rig(AnthropicMessages).await;
    let events = events(AnthropicMessages);
    let before = &events[..events.len() - 2];
    rig.upstream.enqueue(before.iter().fold(Script::sse(), Script::chunk).hang());
    read_and_leave(&rig, with_usage(AnthropicMessages, "claude-sonnet-4-5"), "look. ").await;
    assert_eq!(rig.record().await.outcome, Outcome::CancelledAfterFirstByte);
    rig.stop().await;
}

/// The numbers of a stream's events.
fn numbers(stream: &str) -> Vec<u64> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let parsed = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    parsed.map(|event| event["sequence_number"].as_u64().expect("a number")).collect()
}

#[tokio::test]
async fn a_stream_of_responses_that_breaks_counts_on_to_its_end() {
    let rig = rig(OpenaiResponses).await;
    let numbered: Vec<String> = [
        json!({"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}}),
        json!({"type": "response.output_text.delta", "sequence_number": 41, "delta": "\"sequence_number\":900"}),
        json!({"type": "response.output_text.delta", "delta": "x".repeat(4000), "sequence_number": 142}),
    ]
    .iter()
    .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type")))
    .collect();
    let stream = numbered.concat();
    let ask = || {
        let body = json!({"model": "gpt-4o", "stream": true, "input": "Hi"});
        Request::post("/v1/responses", &body)
    };
    // However the bytes are cut, and wherever the stream ends.
    let first = numbered[0].len() + numbered[1].len();
    for cut in [3, first - 20, stream.len() - 3, stream.len() - 12] {
        rig.upstream.enqueue(Script::sse().split(&stream, cut).close());
        let text = rig.call(ask()).await.text();
        assert!(text.contains("\"type\":\"error\""), "{text}");
        assert_eq!(numbers(&text), [0, 41, 142, 143], "{cut}: {text}");
    }
    for upstream in [OpenaiChat, AnthropicMessages, Protocol::Gemini] {
        let rig = crate::translation::rig(upstream).await;
        let half: Vec<String> = events(upstream).into_iter().take(2).collect();
        rig.upstream.enqueue(half.iter().fold(Script::sse(), Script::chunk).close());
        let text = rig.call(with_usage(OpenaiResponses, model(upstream).0)).await.text();
        let numbers = numbers(&text);
        assert!(text.contains("\"type\":\"error\""), "{text}");
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}: {text}");
        rig.stop().await;
    }
    rig.stop().await;
}
