//! Calls other than for an answer, between protocols: embeddings and token counts.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::usage::Quality;
use tollgate_tests::client::{Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

/// Asks the only provider, which gives this answer, and returns what it was sent, where, and what the client got.
async fn exchanged(rig: &Rig, target: &str, body: &Value, answer: &Value) -> (String, Value, Reply) {
    rig.upstream.enqueue(Script::json(200, answer.to_string()));
    let reply = rig.call(Request::post(target, body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = rig.upstream.next().await;
    (seen.target.clone(), seen.json(), reply)
}

#[tokio::test]
async fn an_openai_client_gets_embeddings_of_gemini_in_its_own_encoding_and_pays_for_its_input() {
    let rig = Rig::start().await;
    let body = json!({"model": "gemini-embedding-001", "input": ["one", "two"], "dimensions": 2,
        "encoding_format": "base64"});
    let answer = json!({"embeddings": [{"values": [1, -2]}, {"values": [0.5, 0]}],
        "usageMetadata": {"promptTokenCount": 8}});
    let (target, sent, reply) = exchanged(&rig, "/v1/embeddings", &body, &answer).await;
    assert_eq!(target, "/v1beta/models/gemini-embedding-001:batchEmbedContents");
    let request = |text: &str| {
        json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]},
            "outputDimensionality": 2})
    };
    assert_eq!(sent, json!({"requests": [request("one"), request("two")]}));
    // 1.0 and -2.0, 0.5 and 0.0 as little-endian 32-bit floats.
    let embedding =
        |index: u32, bytes: &str| json!({"object": "embedding", "index": index, "embedding": bytes});
    let expected = json!({"object": "list", "model": "gemini-embedding-001",
        "data": [embedding(0, "AACAPwAAAMA="), embedding(1, "AAAAPwAAAAA=")],
        "usage": {"prompt_tokens": 8, "total_tokens": 8}});
    assert_eq!(reply.json(), expected);
    let record = rig.record().await;
    // 8 tokens at 150 micro-points.
    assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, 8 * 150));
    assert_eq!((record.operation, record.usage.quality), (Some(Operation::Embed), Quality::Exact));
    rig.stop().await;
}

#[tokio::test]
async fn a_gemini_client_gets_embeddings_of_openai_in_either_of_its_forms() {
    let rig = Rig::start().await;
    let content = |text: &str| json!({"content": {"parts": [{"text": text}]}, "outputDimensionality": 2});
    let entry =
        |index: u32, first: f32| json!({"object": "embedding", "index": index, "embedding": [first, 0.25]});
    let usage = json!({"prompt_tokens": 8, "total_tokens": 8});
    let at = |method: &str| format!("/v1beta/models/text-embedding-3-small:{method}");

    let answer = json!({"object": "list", "data": [entry(1, 2.0), entry(0, 1.0)], "usage": usage});
    let batch = json!({"requests": [content("one"), content("two")]});
    let (target, sent, reply) = exchanged(&rig, &at("batchEmbedContents"), &batch, &answer).await;
    assert_eq!(target, "/v1/embeddings");
    let expected = json!({"model": "text-embedding-3-small", "input": ["one", "two"], "encoding_format": "float",
        "dimensions": 2});
    assert_eq!(sent, expected);
    let embeddings = json!([{"values": [1.0, 0.25]}, {"values": [2.0, 0.25]}]);
    let expected = json!({"embeddings": embeddings, "usageMetadata": {"promptTokenCount": 8}});
    assert_eq!(reply.json(), expected);

    let answer = json!({"object": "list", "data": [entry(0, 1.0)], "usage": usage});
    let (_, sent, reply) = exchanged(&rig, &at("embedContent"), &content("one"), &answer).await;
    assert_eq!(sent["input"], json!(["one"]));
    assert_eq!(reply.json()["embedding"], json!({"values": [1.0, 0.25]}));
    for record in rig.records(2).await {
        assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, 8 * 20), "{record:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn embeddings_without_stated_usage_are_estimated_for_the_client_and_for_the_bill() {
    let rig = Rig::start().await;
    let body = json!({"model": "gemini-embedding-001", "input": "twelve bytes"});
    let answer = json!({"embeddings": [{"values": [1]}]});
    let (_, _, reply) = exchanged(&rig, "/v1/embeddings", &body, &answer).await;
    assert_eq!(reply.json()["usage"], json!({"prompt_tokens": 4, "total_tokens": 4}));
    let record = rig.record().await;
    assert_eq!((record.outcome, record.usage.quality), (Outcome::Ok, Quality::Estimated));
    assert!(record.charge.get() > 0 && record.charge <= record.hold);
    rig.stop().await;
}

#[tokio::test]
async fn what_embeddings_cannot_say_is_a_400_that_names_the_field_and_costs_nothing() {
    let rig = Rig::start().await;
    let gemini = |method: &str| format!("/v1beta/models/text-embedding-3-small:{method}");
    let task = json!({"requests": [{"content": {"parts": [{"text": "x"}]}, "taskType": "RETRIEVAL_QUERY"}]});
    let title = json!({"content": {"parts": [{"text": "x"}]}, "title": "X"});
    let tokens = json!({"model": "gemini-embedding-001", "input": [1, 2]});
    let cases = [
        (gemini("batchEmbedContents"), task, "requests[0].taskType"),
        (gemini("embedContent"), title, "title"),
        ("/v1/embeddings".to_owned(), tokens, "input[0]"),
    ];
    for (target, body, field) in cases {
        let reply = rig.call(Request::post(&target, &body)).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
    // Anthropic has no models for embeddings.
    let reply =
        rig.call(Request::post("/v1/embeddings", &json!({"model": "claude-sonnet-4-5", "input": "x"}))).await;
    assert_eq!(
        (reply.status, reply.json()["error"]["param"].clone()),
        (400, json!("model")),
        "{}",
        reply.text()
    );
    assert!(rig.upstream.requests().is_empty());
    assert_eq!(rig.balance("alice").await, Micropoints::from_points(1000));
    rig.stop().await;
}

#[tokio::test]
async fn embeddings_of_another_number_than_asked_for_are_a_bad_gateway() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::json(200, r#"{"embeddings":[{"values":[1]}]}"#));
    let body = json!({"model": "gemini-embedding-001", "input": ["one", "two"]});
    let reply = rig.call(Request::post("/v1/embeddings", &body)).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    rig.stop().await;
}

/// The question whose tokens are counted, in a client's words.
fn counting(client: Protocol, model: &str) -> Request {
    let messages = json!([{"role": "user", "content": "How long is this?"}]);
    match client {
        Protocol::AnthropicMessages => Request::post(
            "/v1/messages/count_tokens",
            &json!({"model": model, "system": "Be brief.", "messages": messages}),
        ),
        Protocol::Gemini => Request::post(
            &format!("/v1beta/models/{model}:countTokens"),
            &json!({"generateContentRequest": {"model": format!("models/{model}"),
                "systemInstruction": {"parts": [{"text": "Be brief."}]},
                "contents": [{"role": "user", "parts": [{"text": "How long is this?"}]}]}}),
        ),
        _ => Request::post(
            "/v1/responses/input_tokens",
            &json!({"model": model, "instructions": "Be brief.", "input": "How long is this?"}),
        ),
    }
}

#[tokio::test]
async fn every_client_counts_tokens_with_every_provider_that_counts_and_pays_nothing() {
    let counters = [
        (Protocol::AnthropicMessages, "claude-sonnet-4-5", "/v1/messages/count_tokens", "input_tokens"),
        (Protocol::Gemini, "gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:countTokens", "totalTokens"),
        (Protocol::OpenaiResponses, "gpt-4o", "/v1/responses/input_tokens", "input_tokens"),
    ];
    let rig = Rig::start().await;
    let mut count = 0;
    for (upstream, model, target, member) in counters {
        for (client, _, _, own_member) in counters {
            rig.upstream.enqueue(Script::json(200, json!({member: 42}).to_string()));
            let reply = rig.call(counting(client, model)).await;
            assert_eq!(reply.status, 200, "{client:?} to {upstream:?}: {}", reply.text());
            assert_eq!(reply.json()[own_member], 42, "{client:?} to {upstream:?}");
            let seen = rig.upstream.next().await;
            assert_eq!(seen.target, target, "{client:?}");
            let sent = seen.json().to_string();
            assert!(sent.contains("Be brief.") && sent.contains("How long is this?"), "{sent}");
            assert!(!sent.contains("max_tokens") && !sent.contains("store"), "{sent}");
            count += 1;
        }
    }
    for record in rig.records(count).await {
        assert_eq!((record.operation, record.outcome), (Some(Operation::CountTokens), Outcome::Ok));
        assert_eq!((record.hold, record.charge), (Micropoints::ZERO, Micropoints::ZERO));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_that_cannot_count_is_a_clear_400() {
    let rig = Rig::with(|setup| {
        let openai = setup.config.providers.get_mut("openai").expect("a provider");
        openai.config.insert("protocol".to_owned(), "openai-chat".into());
    })
    .await;
    for client in [Protocol::AnthropicMessages, Protocol::Gemini, Protocol::OpenaiResponses] {
        let reply = rig.call(counting(client, "gpt-4o")).await;
        assert_eq!(reply.status, 400, "{client:?}: {}", reply.text());
        assert!(reply.text().contains("count-tokens"), "{}", reply.text());
    }
    assert!(rig.upstream.requests().is_empty());
    rig.stop().await;
}
