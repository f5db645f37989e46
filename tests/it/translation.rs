//! A client of any protocol reaches a model of any provider: questions and answers are in the client's protocol, and
//! metered in the provider's.

use serde_json::json;
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_core::usage::{Class, Quality};
use tollgate_tests::client::{Connection, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::upstream::{Gate, Script};

mod wire;

use self::wire::{TEXT, TOOL, data, stream, target, text};
pub(crate) use self::wire::{
    answer, ask, events, expected, foreign, model, rig, rig_with, understood, understood_stream, with_usage,
};

/// Sets the content filter's action.
fn filter(setup: &mut Setup, config: &str) {
    setup.config.policies.content_filter.config = toml::from_str(config).expect("a table");
}

#[tokio::test]
async fn every_client_gets_whole_answers_of_every_provider_metered_and_charged_exactly() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let (model, charge) = model(upstream);
        for (count, client) in foreign(upstream).enumerate() {
            rig.upstream.enqueue(Script::json(200, answer(upstream)));
            let reply = rig.call(ask(client, model, false)).await;
            assert_eq!(reply.status, 200, "{client:?} to {upstream:?}: {}", reply.text());
            assert_eq!(reply.header("content-type"), Some("application/json"));
            assert_eq!(understood(client, &reply.json()), expected(), "{client:?} to {upstream:?}");
            let seen = rig.upstream.next().await;
            assert_eq!(seen.target, target(upstream, false), "{client:?}");
            assert_eq!(seen.header("content-type"), Some("application/json"));
            assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
            for said in ["Be brief.", "Weather?", TOOL] {
                assert!(seen.json().to_string().contains(said), "{client:?} to {upstream:?} lacks {said}");
            }
            let records = rig.records(count + 1).await;
            let record = records.iter().find(|record| record.protocol == Some(client)).expect("its record");
            assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, charge), "{record:?}");
            let usage = (record.usage[Class::Input], record.usage[Class::Output], record.usage.quality);
            assert_eq!(usage, (10, 5, Quality::Exact));
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn every_client_gets_streams_of_every_provider_metered_and_charged_exactly() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let (model, charge) = model(upstream);
        for (count, client) in foreign(upstream).enumerate() {
            rig.upstream.enqueue(stream(upstream));
            let reply = rig.call(with_usage(client, model)).await;
            assert_eq!(reply.status, 200, "{client:?} to {upstream:?}: {}", reply.text());
            assert_eq!(reply.header("content-type"), Some("text/event-stream"));
            assert_eq!(
                understood_stream(client, &reply.text()),
                expected(),
                "{client:?} to {upstream:?}: {}",
                reply.text()
            );
            assert_eq!(rig.upstream.next().await.target, target(upstream, true), "{client:?}");
            let records = rig.records(count + 1).await;
            let record = records.iter().find(|record| record.protocol == Some(client)).expect("its record");
            assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, charge), "{record:?}");
            assert_eq!(record.usage.quality, Quality::Exact);
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn the_first_translated_event_leaves_while_the_provider_still_thinks() {
    let rig = rig(AnthropicMessages).await;
    let (gate, events) = (Gate::new(), events(AnthropicMessages).concat());
    let at = events.find("event: content_block_stop").unwrap();
    rig.upstream.enqueue(Script::sse().chunk(&events[..at]).gate(&gate).chunk(&events[at..]).end());
    let mut client = Connection::open(rig.addr()).await;
    client.send(&ask(OpenaiChat, "claude-sonnet-4-5", true).bearer(rig.key("alice"))).await;
    assert_eq!(client.head().await.word(1), "200");
    let seen = client.read_until("look. ").await;
    assert!(!seen.contains(TOOL), "{seen}");
    gate.open();
    client.read_until("[DONE]").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_gemini_client_that_does_not_ask_for_events_gets_one_array() {
    let rig = rig(AnthropicMessages).await;
    rig.upstream.enqueue(stream(AnthropicMessages));
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Weather?"}]}]});
    let path = "/v1beta/models/claude-sonnet-4-5:streamGenerateContent";
    let reply = rig.call(Request::post(path, &body)).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let array = reply.json();
    let said: String = array
        .as_array()
        .unwrap()
        .iter()
        .map(|piece| text(&piece["candidates"][0]["content"]["parts"][0]["text"]))
        .collect();
    assert_eq!(said, TEXT);
    rig.stop().await;
}

#[tokio::test]
async fn headers_of_one_protocol_do_not_reach_another_and_keys_neither() {
    let rig = rig(OpenaiChat).await;
    rig.upstream.enqueue(Script::json(200, answer(OpenaiChat)));
    let request = ask(AnthropicMessages, "gpt-4o", false)
        .header("anthropic-beta", "x")
        .header("x-stainless-lang", "python")
        .header("user-agent", "Anthropic/Python")
        .header("traceparent", "00-1-2-01");
    let reply = rig.call(request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = rig.upstream.next().await;
    let all = format!("{:?}", seen.head).to_ascii_lowercase();
    assert!(
        !all.contains("anthropic-version") && !all.contains("anthropic-beta") && !all.contains("stainless")
    );
    assert!(!all.contains(&rig.key("alice").to_ascii_lowercase()));
    assert_eq!(seen.header("authorization"), Some("Bearer platform-openai"));
    assert_eq!(
        (seen.header("user-agent"), seen.header("traceparent")),
        (Some("Anthropic/Python"), Some("00-1-2-01"))
    );
    assert_eq!(seen.header("accept"), Some("application/json"));
    rig.stop().await;
}

/// The class, or type, of an error body in a client's protocol.
fn class(client: Protocol, reply: &Reply) -> String {
    let error = reply.json()["error"].clone();
    match client {
        OpenaiChat | OpenaiResponses | AnthropicMessages => text(&error["type"]),
        Gemini => text(&error["status"]),
    }
}

#[tokio::test]
async fn a_field_that_the_other_protocol_has_no_words_for_is_refused_by_name_and_costs_nothing() {
    let rig = rig(AnthropicMessages).await;
    let before = rig.balance("alice").await;
    let body = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "hi"}], "logprobs": true});
    let reply = rig.call(Request::post("/v1/chat/completions", &body)).await;
    assert_eq!((reply.status, class(OpenaiChat, &reply).as_str()), (400, "invalid_request_error"));
    assert!(reply.text().contains("logprobs"), "{}", reply.text());
    assert_eq!(reply.json()["error"]["param"], "logprobs");
    assert!(reply.header("x-tollgate-request-id").is_some());
    let record = rig.record().await;
    assert_eq!((record.outcome, record.status, record.charge.get()), (Outcome::Refused, Some(400), 0));
    assert!(record.hold.get() > 0);
    assert!(rig.upstream.requests().is_empty());
    assert_eq!(rig.balance("alice").await, before);
    rig.stop().await;
}

#[tokio::test]
async fn what_a_provider_has_no_operation_for_is_refused_before_anything_is_reserved() {
    let rig = Rig::start().await;
    let calls = [
        ("/v1/embeddings", json!({"model": "claude-sonnet-4-5", "input": "hi"})),
        ("/v1beta/models/claude-sonnet-4-5:embedContent", json!({"content": {"parts": []}})),
        ("/v1/interactions", json!({"model": "gpt-4o", "input": "hi"})),
    ];
    for (path, body) in &calls {
        let reply = rig.call(Request::post(path, body)).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
        assert!(reply.text().contains("cannot be called so"), "{}", reply.text());
    }
    for record in rig.records(calls.len()).await {
        assert_eq!((record.outcome, record.hold.get()), (Outcome::Refused, 0));
    }
    assert!(rig.upstream.requests().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_failure_of_the_provider_is_told_in_the_clients_words() {
    let anthropic = |kind: &str| {
        json!({"type": "error", "error": {"type": kind, "message": "No such thing."}}).to_string()
    };
    let clients = [OpenaiChat, OpenaiResponses, Gemini];
    // The provider's answer; what the client is told: status, and its own protocol's word.
    let cases = [
        (400, "invalid_request_error", 400, "invalid_request_error", "INVALID_ARGUMENT", 1),
        (404, "not_found_error", 404, "invalid_request_error", "NOT_FOUND", 1),
        (429, "rate_limit_error", 429, "rate_limit_error", "RESOURCE_EXHAUSTED", 0),
        (401, "authentication_error", 502, "server_error", "UNAVAILABLE", 0),
        (500, "api_error", 502, "server_error", "UNAVAILABLE", 0),
    ];
    for (status, kind, told, openai, google, says) in cases {
        for client in clients {
            let rig = rig(AnthropicMessages).await;
            rig.upstream.enqueue(Script::json(status, anthropic(kind)));
            let reply = rig.call(ask(client, "claude-sonnet-4-5", true)).await;
            let word = if client == Gemini { google } else { openai };
            assert_eq!(
                (reply.status, class(client, &reply).as_str()),
                (told, word),
                "{status}: {}",
                reply.text()
            );
            assert_eq!(reply.text().contains("No such thing."), says == 1, "{status}: {}", reply.text());
            assert_eq!(reply.header("content-type"), Some("application/json"));
            let record = rig.record().await;
            assert_eq!((record.outcome, record.charge.get()), (Outcome::UpstreamError, 0));
            rig.stop().await;
        }
    }
}

/// Whether a stream's last event tells of a failure in the client's protocol.
fn ends_with_error(client: Protocol, stream: &str) -> bool {
    let last = data(stream).pop().unwrap_or_default();
    match client {
        OpenaiChat | Gemini => last["error"].is_object(),
        OpenaiResponses => last["type"] == "error" || last["type"] == "response.failed",
        AnthropicMessages => last["type"] == "error" && last["error"]["type"].is_string(),
    }
}

#[tokio::test]
async fn a_stream_that_breaks_ends_in_the_clients_own_error_and_is_settled_in_part() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        for (count, client) in foreign(upstream).enumerate() {
            let events = events(upstream);
            let told = events.iter().take(events.len() / 2).fold(Script::sse(), Script::chunk);
            // The connection breaks in one case, and ends in order too early in the other.
            rig.upstream.enqueue(told.clone().reset());
            rig.upstream.enqueue(told.end());
            for _ in 0..2 {
                let reply = rig.call(ask(client, model(upstream).0, true)).await;
                assert_eq!(reply.status, 200);
                assert!(reply.text().contains("Let me"), "{}", reply.text());
                assert!(
                    ends_with_error(client, &reply.text()),
                    "{client:?} to {upstream:?}: {}",
                    reply.text()
                );
            }
            let records = rig.records(2 * count + 2).await;
            for record in records.iter().filter(|record| record.protocol == Some(client)) {
                assert_eq!(record.outcome, Outcome::Partial, "{client:?} to {upstream:?}: {record:?}");
                assert!(record.charge.get() > 0 && record.charge < record.hold, "{record:?}");
            }
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_of_its_protocol_is_a_bad_gateway_in_the_clients_words() {
    let rig = rig(AnthropicMessages).await;
    rig.upstream.enqueue(Script::json(200, "{\"status\":\"ok\"}"));
    let reply = rig.call(ask(OpenaiChat, "claude-sonnet-4-5", false)).await;
    assert_eq!((reply.status, class(OpenaiChat, &reply).as_str()), (502, "server_error"), "{}", reply.text());
    assert_eq!(rig.record().await.outcome, Outcome::Partial);
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_upstream_with_it_and_gives_its_instance_back() {
    let rig = rig(AnthropicMessages).await;
    let events = events(AnthropicMessages);
    for count in 1..=8 {
        rig.upstream.enqueue(events.iter().take(4).fold(Script::sse(), Script::chunk).hang());
        let mut client = Connection::open(rig.addr()).await;
        client.send(&ask(OpenaiChat, "claude-sonnet-4-5", true).bearer(rig.key("alice"))).await;
        client.head().await;
        client.read_until("look. ").await;
        let upstream = rig.upstream.next().await;
        drop(client);
        upstream.closed().await;
        let records = rig.records(count).await;
        assert_eq!(records.last().unwrap().outcome, Outcome::CancelledAfterFirstByte);
    }
    let instances = rig.plugin("anthropic").await["instances"].as_u64();
    assert!(instances.is_some_and(|count| count <= 2), "{instances:?} after eight exchanges, one at a time");
    rig.stop().await;
}

#[tokio::test]
async fn exchanges_that_overlap_do_not_hear_each_other() {
    let rig = rig(AnthropicMessages).await;
    let gate = Gate::new();
    let count = 6;
    for name in 0..count {
        let events = events(AnthropicMessages).concat().replace("look. ", &format!("look {name}. "));
        let at = events.find("event: content_block_stop").unwrap();
        rig.upstream.enqueue(Script::sse().chunk(&events[..at]).gate(&gate).chunk(&events[at..]).end());
    }
    let mut clients = Vec::new();
    for name in 0..count {
        let mut client = Connection::open(rig.addr()).await;
        client.send(&ask(OpenaiChat, "claude-sonnet-4-5", true).bearer(rig.key("alice"))).await;
        client.head().await;
        client.read_until(&format!("look {name}. ")).await;
        clients.push(client);
    }
    (0..count).for_each(|_| gate.open());
    for mut client in clients {
        let rest = client.read_until("[DONE]").await;
        assert!(rest.contains(TOOL) && !rest.contains("look"), "{rest}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_filter_sees_what_the_client_would() {
    let block = "words = [\"look\"]\nresponses = { window_chars = 64 }";
    let rig = rig_with(AnthropicMessages, |setup| filter(setup, block)).await;
    rig.upstream.enqueue(stream(AnthropicMessages));
    let reply = rig.call(ask(OpenaiChat, "claude-sonnet-4-5", true)).await;
    assert!(reply.text().contains("content_filter") && !reply.text().contains("look"), "{}", reply.text());
    rig.upstream.enqueue(Script::json(200, answer(AnthropicMessages)));
    let reply = rig.call(ask(OpenaiChat, "claude-sonnet-4-5", false)).await;
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (400, Some("content_filter")));
    rig.stop().await;
}

#[tokio::test]
async fn words_that_the_filter_covers_in_a_request_stay_covered_in_its_translation() {
    let mask = "action = \"mask\"\nwords = [\"brief\"]";
    let rig = rig_with(AnthropicMessages, |setup| filter(setup, mask)).await;
    rig.upstream.enqueue(Script::json(200, answer(AnthropicMessages)));
    assert_eq!(rig.call(ask(OpenaiChat, "claude-sonnet-4-5", false)).await.status, 200);
    let seen = rig.upstream.next().await.json().to_string();
    assert!(seen.contains("Be *****.") && !seen.contains("brief"), "{seen}");
    rig.stop().await;
}

#[tokio::test]
async fn a_model_that_is_named_otherwise_upstream_is_asked_for_by_that_name() {
    let rig = rig_with(AnthropicMessages, |setup| {
        let entry = "name = \"smart-*\"\nprovider = \"anthropic\"\nmodel = \"claude-sonnet-4-5\"";
        setup.config.models = vec![toml::from_str(entry).unwrap()];
    })
    .await;
    rig.upstream.enqueue(Script::json(200, answer(AnthropicMessages)));
    let reply = rig.call(ask(OpenaiChat, "smart-one", false)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(rig.upstream.next().await.json()["model"], "claude-sonnet-4-5");
    assert_eq!(rig.record().await.charge.get(), 105_000);
    rig.stop().await;
}

#[tokio::test]
async fn every_client_finds_every_model_that_generates_in_its_list() {
    let rig = Rig::start().await;
    let lists = [
        ("x-test", "/v1/models", "data", "id"),
        ("anthropic-version", "/v1/models", "data", "id"),
        ("x-test", "/v1beta/models", "models", "name"),
    ];
    for (header, path, list, name) in lists {
        let reply = rig.call(Request::get(path).header(header, "2023-06-01")).await;
        let names: Vec<String> =
            reply.json()[list].as_array().unwrap().iter().map(|entry| text(&entry[name])).collect();
        for model in ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"] {
            assert!(
                names.iter().any(|name| name.trim_start_matches("models/") == model),
                "{path}: {names:?}"
            );
        }
    }
    rig.stop().await;
}

/// A rig whose adapter for Anthropic echoes what it is to translate, and fails on one word.
async fn babel() -> Rig {
    Rig::with(|setup| {
        let bytes = tollgate_components::find_guest("babel").expect("a guest").bytes.to_vec();
        setup.plugins = vec![("claude", bytes)];
    })
    .await
}

#[tokio::test]
async fn an_adapter_that_faults_in_a_stream_ends_it_with_the_clients_own_error() {
    let rig = babel().await;
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
    rig.upstream.enqueue(Script::sse().chunk(event).chunk("data: shibboleth\n\n").hang());
    let reply = rig.call(ask(OpenaiChat, "claude-sonnet-4-5", true)).await;
    let text = reply.text();
    assert!(text.starts_with(event) && ends_with_error(OpenaiChat, &text), "{text}");
    assert!(!text.contains("shibboleth"));
    rig.upstream.next().await.closed().await;
    assert_eq!(rig.record().await.outcome, Outcome::Partial);
    rig.stop().await;
}

#[tokio::test]
async fn an_adapter_that_faults_before_dispatch_or_on_a_whole_answer_is_the_gateways_fault() {
    let rig = babel().await;
    let body = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "shibboleth"}]});
    let reply = rig.call(Request::post("/v1/chat/completions", &body)).await;
    assert_eq!((reply.status, class(OpenaiChat, &reply).as_str()), (503, "server_error"), "{}", reply.text());
    assert!(rig.upstream.requests().is_empty());
    rig.upstream.enqueue(Script::json(200, r#"{"say":"shibboleth"}"#));
    let reply = rig.call(ask(OpenaiChat, "claude-sonnet-4-5", false)).await;
    assert_eq!((reply.status, class(OpenaiChat, &reply).as_str()), (500, "server_error"), "{}", reply.text());
    let records = rig.records(2).await;
    assert!(records.iter().all(|record| record.charge.get() == 0 || record.outcome == Outcome::Partial));
    rig.stop().await;
}
