//! What a client can say of the operator's keys: nothing, in no header, no parameter and no word.

use serde_json::json;
use tollgate_server::manage::Place;
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

const CHAT_ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const MESSAGE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"x","stop_reason":"end_turn","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":10,"output_tokens":5}}"#;
const CANDIDATE: &str = r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}}"#;

fn ask(client: &str) -> Request {
    let turns = json!([{"role": "user", "content": "hi"}]);
    match client {
        "openai" => Request::new("POST", "/v1/chat/completions")
            .body(json!({"model": "gpt-4o", "messages": turns}).to_string()),
        "anthropic" => Request::new("POST", "/v1/messages")
            .body(json!({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": turns}).to_string()),
        _ => google(""),
    }
}

/// A call of Gemini's with this query.
fn google(query: &str) -> Request {
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    let target = format!("/v1beta/models/gemini-2.5-flash:generateContent{query}");
    Request::new("POST", &target).body(contents.to_string())
}

fn answer(target: &str) -> Script {
    match target {
        _ if target.starts_with("/v1/chat") => Script::json(200, CHAT_ANSWER),
        _ if target.contains("generateContent") => Script::json(200, CANDIDATE),
        _ => Script::json(200, MESSAGE),
    }
}

async fn answering() -> Rig {
    let rig = Rig::start().await;
    rig.upstream.respond(|request| answer(&request.target));
    rig
}

#[tokio::test]
async fn no_header_goes_up_that_names_a_key_an_account_or_a_mask() {
    let rig = answering().await;
    let tried = [
        "x-goog-user-project",
        "x-goog-fieldmask",
        "x-goog-api-client",
        "x-amz-security-token",
        "x-amz-content-sha256",
        "x-amzn-bedrock-guardrailidentifier",
        "x-ms-client-principal",
        "openai-organization",
        "openai-project",
        "anthropic-workspace-id",
        "x-http-method-override",
        "cookie",
        "proxy-authorization",
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "content-location",
        "x-anything-else",
    ];
    for provider in ["openai", "anthropic", "google"] {
        let request = tried.iter().fold(ask(provider), |request, name| request.header(name, "of-the-client"));
        assert_eq!(rig.call(request).await.status, 200, "{provider}");
        let head = format!("{:?}", rig.upstream.next().await.head);
        assert!(!head.contains("of-the-client"), "{provider}: {head}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_header_goes_up_in_its_own_alphabet_only() {
    let rig = answering().await;
    let words = "credit balance is too low";
    for name in
        ["anthropic-beta", "anthropic-version", "x-app", "idempotency-key", "x-stainless-os", "traceparent"]
    {
        assert_eq!(rig.call(ask("anthropic").header(name, words)).await.status, 200, "{name}");
        let head = format!("{:?}", rig.upstream.next().await.head);
        assert!(!head.contains(words), "{name}: {head}");
    }
    for kind in ["spend limit", "application/json; charset=credit balance is too low", "text/plain"] {
        let request = ask("anthropic").header("content-type", kind).header("accept", kind);
        assert_eq!(rig.call(request).await.status, 200, "{kind}");
        let seen = rig.upstream.next().await;
        let sent = ["content-type", "accept"].map(|name| seen.header(name));
        assert_eq!(sent, [Some("application/json"); 2], "{kind}");
    }
    let mixed = "context-1m-2025-08-07, credit balance is too low,claude-code-20250219";
    assert_eq!(rig.call(ask("anthropic").header("anthropic-beta", mixed)).await.status, 200);
    let sent = rig.upstream.next().await;
    assert_eq!(sent.header("anthropic-beta"), Some("context-1m-2025-08-07,claude-code-20250219"));
    rig.stop().await;
}

#[tokio::test]
async fn a_query_names_no_credential_and_no_project() {
    let rig = answering().await;
    for query in [
        "access_token=x",
        "oauth_token=x",
        "%61ccess_token=x",
        "ACCESS_TOKEN=x",
        "bearer_token=x",
        "api_key=x",
        "quotaUser=x&userProject=x",
        "$.xgafv=2&prettyPrint=false&upload_protocol=raw",
        "x=1&uploadType=media&user=x",
    ] {
        let reply = rig.call(google(&format!("?{query}"))).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        assert_eq!(
            rig.upstream.next().await.target,
            "/v1beta/models/gemini-2.5-flash:generateContent",
            "{query}"
        );
    }
    let key = "key=x";
    let reply = rig.call(google(&format!("?alt=sse&{key}"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(rig.upstream.next().await.target, "/v1beta/models/gemini-2.5-flash:generateContent?alt=sse");
    rig.stop().await;
}

#[tokio::test]
async fn a_token_of_the_clients_is_not_signed_with_the_operators_key() {
    let rig = Rig::with(|setup| {
        setup.credentials.clear();
        let base_url = String::from(setup.config.providers["anthropic"].base_url.clone());
        let settings = [("region".to_owned(), "eu-central-1".to_owned()), ("base_url".to_owned(), base_url)];
        let place = Place { platform: "bedrock".to_owned(), settings: settings.into() };
        let secret = json!({"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalr"}).to_string();
        setup.elsewhere.push(("anthropic", place, secret));
    })
    .await;
    rig.upstream.respond(|request| answer(&request.target));
    for name in ["x-amz-security-token", "x-amz-date", "x-amz-target", "authorization2", "x-amzn-trace-id"] {
        let reply = rig.call(ask("anthropic").header(name, "of-the-client")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let seen = rig.upstream.next().await;
        let signed = seen.header("authorization").unwrap_or_default().to_owned();
        assert!(signed.contains("SignedHeaders=content-type;host;x-amz-date, "), "{name}: {signed}");
        assert!(!format!("{:?}", seen.head).contains("of-the-client"), "{name}");
    }
    rig.stop().await;
}
