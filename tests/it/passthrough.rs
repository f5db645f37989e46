//! Same protocol on both sides: the client's bytes go up, the provider's come down, and keys stay where they belong.

use serde_json::json;
use tollgate_core::outcome::Outcome;
use tollgate_core::usage::Class;
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

/// An OpenAI answer of 10 prompt and 5 output tokens.
const ANSWER: &str = r#"{"id":"x", "choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;

#[tokio::test]
async fn the_clients_bytes_go_up_and_the_providers_come_down_untouched() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let body = "{ \"model\" :\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9 \u{1F600}\"}],\n\"seed\":1e2,\"seed\":12345678901234567890}";
    let reply = rig.call(Request::new("POST", "/v1/chat/completions").body(body)).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, ANSWER));
    let seen = rig.upstream.next().await;
    assert_eq!(String::from_utf8_lossy(&seen.body), body);
    assert_eq!(seen.target, "/v1/chat/completions");
    rig.stop().await;
}

#[tokio::test]
async fn the_callers_key_stays_and_the_platforms_goes_up() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let key = rig.key("alice").to_owned();
    let body = json!({"model": "gpt-4o", "messages": []});
    for (name, value) in
        [("authorization", format!("Bearer {key}")), ("x-api-key", key.clone()), ("api-key", key.clone())]
    {
        let request =
            Request::post("/v1/chat/completions", &body).header(name, &value).header("cookie", "a=b");
        let reply = tollgate_tests::client::call(rig.addr(), &request).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.header("x-tollgate-request-id").is_some());
        let seen = rig.upstream.next().await;
        assert_eq!(seen.header("authorization"), Some("Bearer platform-openai"));
        let everything = format!("{:?}", seen.head);
        assert!(!everything.contains(&key) && !everything.contains("cookie"), "{everything}");
    }
    let by_query = format!("/v1beta/models/gemini-2.5-flash:generateContent?key={key}&alt=sse&x=1");
    let reply =
        tollgate_tests::client::call(rig.addr(), &Request::post(&by_query, &json!({"contents": []}))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let seen = rig.upstream.next().await;
    assert_eq!(seen.target, "/v1beta/models/gemini-2.5-flash:generateContent?alt=sse");
    assert_eq!(seen.header("x-goog-api-key"), Some("platform-google"));
    rig.stop().await;
}

/// Bytes copied into components so far.
async fn copied(rig: &Rig) -> u64 {
    let metrics = rig.admin("GET", "/metrics").await.text();
    let lines = metrics.lines().filter(|line| line.starts_with("tollgate_plugin_bytes{"));
    lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<u64>().ok()).expect(line)).sum()
}

#[tokio::test]
async fn an_image_enters_no_component_translated_or_not() {
    let rig = Rig::start().await;
    let image = "iVBORw0KGgo".repeat(1 << 14);
    let source = json!({"type": "base64", "media_type": "image/png", "data": image});
    let content = json!([{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]);
    let turns = json!([{"role": "user", "content": content}]);
    let ask = |model: &str| {
        Request::post("/v1/messages", &json!({"model": model, "max_tokens": 9, "messages": turns}))
    };

    rig.upstream
        .enqueue(Script::json(200, r#"{"content":[{}],"usage":{"input_tokens":10,"output_tokens":5}}"#));
    assert_eq!(rig.call(ask("claude-sonnet-4-5")).await.status, 200);
    assert_eq!(rig.record().await.outcome, Outcome::Ok);
    let passed = copied(&rig).await;
    assert!((1..1024).contains(&passed), "{passed} bytes: the usage and no more");

    rig.upstream.enqueue(Script::json(200, ANSWER));
    assert_eq!(rig.call(ask("gpt-4o")).await.status, 200);
    let translated = copied(&rig).await - passed;
    assert!((1..4096).contains(&translated), "{translated} bytes: all but the image, and counted");
    rig.stop().await;
}

#[tokio::test]
async fn a_whole_answer_is_charged_at_the_platforms_price_and_recorded() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let before = rig.balance("alice").await;
    rig.call(Request::post("/v1/chat/completions", &json!({"model": "gpt-4o", "messages": []}))).await;
    let record = rig.record().await;
    // gpt-4o: 2.5 USD in and 10 USD out a million tokens, 1,000 points a USD: 10 x 2,500 + 5 x 10,000 micro-points.
    assert_eq!(record.charge.get(), 75_000);
    assert_eq!(
        (record.outcome, record.usage[Class::Input], record.usage[Class::Output]),
        (Outcome::Ok, 10, 5)
    );
    assert_eq!(before.get() - rig.balance("alice").await.get(), 75_000);
    rig.stop().await;
}
