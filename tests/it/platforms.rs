//! Platforms that serve a provider's models: what goes over the wire there, and what comes back.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tollgate_core::eventstream::{Message, encode};
use tollgate_server::config::{Model, Target};
use tollgate_server::manage::Place;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

const CHAT_ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const MESSAGE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"x","stop_reason":"end_turn",
    "content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":10,"output_tokens":5}}"#;

/// No credential except the one that the test adds.
fn bare(setup: &mut Setup) {
    setup.credentials.clear();
}

/// Adds a credential of a platform whose addresses are those of the upstream.
fn at(setup: &mut Setup, provider: &'static str, platform: &str, settings: &[(&str, &str)], secret: &str) {
    let base_url = String::from(setup.config.providers["openai"].base_url.clone());
    let given = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let addresses =
        [("token_url".to_owned(), format!("{base_url}/token")), ("base_url".to_owned(), base_url)];
    let place = Place { platform: platform.to_owned(), settings: given.chain(addresses).collect() };
    setup.elsewhere.push((provider, place, secret.to_owned()));
}

/// A gateway whose only credential is such a one.
async fn only(provider: &'static str, platform: &str, settings: &[(&str, &str)], secret: &str) -> Rig {
    Rig::with(|setup| {
        bare(setup);
        at(setup, provider, platform, settings, secret);
    })
    .await
}

/// An entry under which a model has another name upstream.
fn renamed(name: &str, provider: &str, there: &str) -> Model {
    let targets = vec![Target::new(provider, Some(there))];
    Model { name: name.to_owned(), aliases: Vec::new(), targets, fallbacks: Vec::new() }
}

fn messages(model: &str, stream: bool) -> Request {
    let body = json!({"model": model, "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
    Request::post("/v1/messages", &body)
}

fn chat(model: &str) -> Request {
    Request::post("/v1/chat/completions", &json!({"model": model, "messages": []}))
}

#[tokio::test]
async fn a_deployment_stands_in_the_path_and_its_key_in_a_header_of_its_own() {
    let rig = Rig::with(|setup| {
        bare(setup);
        at(setup, "openai", "azure", &[("resource", "mine")], "azure-key");
        setup.config.models = vec![renamed("gpt-4o", "openai", "my-deployment")];
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, CHAT_ANSWER));
    assert_eq!(rig.call(chat("gpt-4o")).await.status, 200);
    let seen = rig.upstream.next().await;
    assert_eq!(seen.target, "/openai/deployments/my-deployment/chat/completions?api-version=2024-10-21");
    assert_eq!((seen.header("api-key"), seen.header("authorization")), (Some("azure-key"), None));
    rig.stop().await;
}

#[tokio::test]
async fn a_relay_gets_its_key_where_it_wants_it() {
    for (platform, name, value) in
        [("relay", "x-api-key", "relay-key"), ("relay-bearer", "authorization", "Bearer relay-key")]
    {
        let rig = only("anthropic", platform, &[], "relay-key").await;
        rig.upstream.respond(|_| Script::json(200, MESSAGE));
        let request =
            messages("claude-haiku-4-5", false).header("anthropic-beta", "a,b").header("x-app", "cli");
        assert_eq!(rig.call(request).await.status, 200, "{platform}");
        let seen = rig.upstream.next().await;
        assert_eq!((seen.target.as_str(), seen.header(name)), ("/v1/messages", Some(value)));
        assert_eq!((seen.header("anthropic-beta"), seen.header("x-app")), (Some("a,b"), Some("cli")));
        rig.stop().await;
    }
}

#[tokio::test]
async fn headers_of_the_client_pass_but_for_those_of_the_connection_and_its_credentials() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, MESSAGE));
    let passed = [
        "anthropic-beta",
        "anthropic-version",
        "x-app",
        "x-stainless-lang",
        "traceparent",
        "idempotency-key",
    ];
    let stopped = [
        "cookie",
        "te",
        "forwarded",
        "x-forwarded-for",
        "origin",
        "proxy-authorization",
        "x-goog-api-key",
        "x-own",
    ];
    let mut request = messages("claude-haiku-4-5", false).header("connection", "x-own");
    for name in passed.into_iter().chain(stopped) {
        request = request.header(name, "v1");
    }
    assert_eq!(rig.call(request).await.status, 200);
    let seen = rig.upstream.next().await;
    for name in passed {
        assert_eq!(seen.header(name), Some("v1"), "{name}");
    }
    for name in stopped {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-api-key"), Some("platform-anthropic"));
    assert_eq!(seen.header("authorization"), None);
    rig.stop().await;
}

const AWS_SECRET: &str =
    r#"{"access_key_id":"AKIDEXAMPLE","secret_access_key":"aws-secret-key","session_token":"session-1"}"#;

/// One event in the framing of Amazon.
fn framed(kind: (&str, &str), payload: &Value) -> Vec<u8> {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = vec![header(":message-type", kind.0), header(kind.1, "throttlingException")];
    encode(&Message { headers, payload: payload.to_string().into_bytes() })
}

fn event(json: &Value) -> Vec<u8> {
    framed(("event", ":event-type"), &json!({"bytes": STANDARD.encode(json.to_string()), "p": "abc"}))
}

fn started() -> Vec<u8> {
    let message = json!({"id": "m", "type": "message", "role": "assistant", "model": "x", "content": [],
        "usage": {"input_tokens": 10, "output_tokens": 1}});
    let block =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let text =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}});
    [json!({"type": "message_start", "message": message}), block, text].iter().flat_map(event).collect()
}

fn finished() -> Vec<u8> {
    let end =
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}});
    [json!({"type": "content_block_stop", "index": 0}), end, json!({"type": "message_stop"})]
        .iter()
        .flat_map(event)
        .collect()
}

fn stream(pieces: &[Vec<u8>]) -> Script {
    let script = Script::chunked(200, &[("content-type", "application/vnd.amazon.eventstream")]);
    pieces.iter().fold(script, |script, piece| script.chunk(piece)).end()
}

async fn on_bedrock(platform: &str, secret: &str) -> Rig {
    Rig::with(|setup| {
        bare(setup);
        at(setup, "anthropic", platform, &[("region", "eu-central-1")], secret);
        setup.config.models =
            vec![renamed("claude-haiku-4-5", "anthropic", "anthropic.claude-haiku-4-5-v1:0")];
    })
    .await
}

#[tokio::test]
async fn a_signed_stream_in_binary_messages_comes_back_as_events_and_is_billed() {
    let rig = on_bedrock("bedrock", AWS_SECRET).await;
    let bytes = [started(), finished()].concat();
    let pieces: Vec<Vec<u8>> = bytes.chunks(37).map(<[u8]>::to_vec).collect();
    rig.upstream.respond(move |_| stream(&pieces));
    let request = messages("claude-haiku-4-5", true).header("anthropic-beta", "x-1, y-2");
    let reply = rig.call(request).await;
    let text = reply.text();
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert!(
        text.starts_with("event: message_start\ndata: {") && text.contains("event: message_stop"),
        "{text}"
    );
    let seen = rig.upstream.next().await;
    assert_eq!(seen.target, "/model/anthropic.claude-haiku-4-5-v1:0/invoke-with-response-stream");
    let body = seen.json();
    assert_eq!(
        (&body["anthropic_version"], &body["anthropic_beta"]),
        (&json!("bedrock-2023-05-31"), &json!(["x-1", "y-2"]))
    );
    assert!(body.get("model").is_none() && body.get("stream").is_none(), "{body}");
    assert_eq!((seen.header("anthropic-beta"), seen.header("x-api-key")), (None, None));
    assert_eq!(seen.header("x-amz-security-token"), Some("session-1"));
    let authorization = seen.header("authorization").unwrap();
    let day = &seen.header("x-amz-date").unwrap()[..8];
    let scope = format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{day}/eu-central-1/bedrock/aws4_request, ");
    assert!(authorization.starts_with(&scope), "{authorization}");
    assert!(
        authorization.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=")
    );
    assert_eq!(
        authorization.rsplit('=').next().unwrap(),
        signature(&seen, day),
        "as the other side computes it"
    );
    let record = rig.record().await;
    // claude-haiku-4-5: 10 x 1,000 + 5 x 5,000 micro-points.
    assert_eq!(record.charge.get(), 35_000);
    rig.stop().await;
}

/// An independent implementation of the signature, by the specification.
fn signature(seen: &tollgate_tests::upstream::Request, day: &str) -> String {
    use hmac::{Hmac, Mac};
    use sha2::{Digest, Sha256};
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let names = ["content-type", "host", "x-amz-date", "x-amz-security-token"];
    let headers: String = names
        .iter()
        .map(|name| format!("{name}:{}\n", seen.header(name).expect("a signed header")))
        .collect();
    let path = seen.target.replace(':', "%3A");
    let (names, body) = (names.join(";"), hex(&Sha256::digest(&seen.body)));
    let canonical = format!("POST\n{path}\n\n{headers}\n{names}\n{body}");
    let (date, scope) =
        (seen.header("x-amz-date").expect("a date"), format!("{day}/eu-central-1/bedrock/aws4_request"));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let parts = [day, "eu-central-1", "bedrock", "aws4_request"];
    let key = parts.iter().fold(b"AWS4aws-secret-key".to_vec(), |key, part| mac(&key, part));
    hex(&mac(&key, &text))
}

#[tokio::test]
async fn an_exception_within_a_stream_is_an_error_of_the_clients_protocol_and_the_rest_is_billed() {
    let rig = on_bedrock("bedrock-key", "bedrock-api-key").await;
    let broken = framed(("exception", ":exception-type"), &json!({"message": "slow down"}));
    rig.upstream.respond(move |_| stream(&[started(), broken.clone()]));
    let reply = rig.call(messages("claude-haiku-4-5", true)).await;
    let text = reply.text();
    assert!(text.contains("text_delta") && text.contains("event: error\n"), "{text}");
    assert_eq!(rig.upstream.next().await.header("authorization"), Some("Bearer bedrock-api-key"));
    let record = rig.record().await;
    assert_eq!(record.outcome.name(), "partial");
    assert!(record.charge.get() > 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_client_of_another_protocol_reaches_a_platform_too() {
    let rig = on_bedrock("bedrock-key", "bedrock-api-key").await;
    rig.upstream.respond(|_| stream(&[started(), finished()]));
    let body =
        json!({"model": "claude-haiku-4-5", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let reply = rig.call(Request::post("/v1/chat/completions", &body)).await;
    let text = reply.text();
    assert!(text.contains(r#""content":"hi""#) && text.contains("[DONE]"), "{text}");
    let body = rig.upstream.next().await.json();
    assert!(body.get("model").is_none() && body.get("anthropic_version").is_some(), "{body}");
    rig.stop().await;
}

/// Answers token requests with tokens that are counted, and everything else with a message.
fn with_tokens(rig: &Rig, refused: &'static str) {
    let made = std::sync::atomic::AtomicUsize::new(0);
    rig.upstream.respond(move |request| match request.target.as_str() {
        "/token" => {
            let number = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            let token = format!("token-{number}");
            let token = json!({"access_token": token, "refresh_token": format!("refresh-{number}"), "expires_in": 3600});
            Script::json(200, token.to_string())
        }
        _ if request.header("authorization") == Some(refused) => {
            Script::json(401, r#"{"type":"error","error":{"type":"authentication_error","message":"expired"}}"#)
        }
        _ => Script::json(200, MESSAGE),
    });
}

fn tokens_asked_for(rig: &Rig) -> Vec<String> {
    let requests = rig.upstream.requests();
    let asked = requests.iter().filter(|request| request.target == "/token");
    asked.map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
}

#[tokio::test]
async fn a_login_is_refreshed_once_for_many_calls_and_again_after_a_refusal() {
    let rig = only("anthropic", "oauth", &[], r#"{"refresh_token":"refresh-0","client_id":"me"}"#).await;
    with_tokens(&rig, "Bearer token-1");
    let request = || messages("claude-haiku-4-5", false).header("anthropic-beta", "mine");
    // The first token is refused by the provider: the gateway gets another one, and the client does not notice.
    assert_eq!(rig.call(request()).await.status, 200);
    let (one, two, three) = tokio::join!(rig.call(request()), rig.call(request()), rig.call(request()));
    assert_eq!([one.status, two.status, three.status], [200; 3]);
    assert_eq!(
        tokens_asked_for(&rig),
        [
            "grant_type=refresh_token&refresh_token=refresh-0&client_id=me",
            "grant_type=refresh_token&refresh_token=refresh-1&client_id=me"
        ]
    );
    let last = rig.upstream.requests().last().unwrap().clone();
    assert_eq!(last.header("authorization"), Some("Bearer token-2"));
    assert_eq!(
        (last.header("anthropic-beta"), last.header("x-api-key")),
        (Some("mine,oauth-2025-04-20"), None)
    );
    rig.stop().await;
}

#[tokio::test]
async fn calls_at_one_time_share_one_refresh() {
    let rig = only("anthropic", "oauth", &[], r#"{"refresh_token":"refresh-0"}"#).await;
    with_tokens(&rig, "");
    let request = || messages("claude-haiku-4-5", false);
    let all =
        tokio::join!(rig.call(request()), rig.call(request()), rig.call(request()), rig.call(request()));
    assert_eq!([all.0.status, all.1.status, all.2.status, all.3.status], [200; 4]);
    assert_eq!(tokens_asked_for(&rig), ["grant_type=refresh_token&refresh_token=refresh-0"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_refreshed_login_survives_a_restart() {
    let mut rig = only("anthropic", "oauth", &[], r#"{"refresh_token":"refresh-0"}"#).await;
    with_tokens(&rig, "");
    assert_eq!(rig.call(messages("claude-haiku-4-5", false)).await.status, 200);
    rig.restart().await;
    assert_eq!(rig.call(messages("claude-haiku-4-5", false)).await.status, 200);
    assert_eq!(tokens_asked_for(&rig).len(), 1, "the stored token is still good");
    rig.stop().await;
}

#[tokio::test]
async fn a_lasting_token_needs_no_refresh() {
    let rig = only("anthropic", "oauth", &[], "setup-token-1").await;
    rig.upstream.respond(|_| Script::json(200, MESSAGE));
    assert_eq!(rig.call(messages("claude-haiku-4-5", false)).await.status, 200);
    let seen = rig.upstream.next().await;
    assert_eq!(seen.header("authorization"), Some("Bearer setup-token-1"));
    assert_eq!(seen.header("anthropic-beta"), Some("oauth-2025-04-20"));
    rig.stop().await;
}

#[tokio::test]
async fn a_service_account_buys_a_token_for_both_kinds_of_models() {
    let key = include_str!("../../host/server/testdata/service-account.pem");
    let account = json!({"client_email": "robot@project.example", "private_key": key}).to_string();
    for (provider, request, target) in [
        (
            "anthropic",
            messages("claude-haiku-4-5", false),
            "/v1/projects/p-1/locations/eu-west1/publishers/anthropic/models/claude-haiku-4-5:rawPredict",
        ),
        (
            "google",
            Request::post("/v1beta/models/gemini-2.5-flash:generateContent", &json!({"contents": []})),
            "/v1/projects/p-1/locations/eu-west1/publishers/google/models/gemini-2.5-flash:generateContent",
        ),
    ] {
        let rig = only(provider, "vertex", &[("project", "p-1"), ("region", "eu-west1")], &account).await;
        with_tokens(&rig, "");
        let token_url = format!("{}/token", rig.upstream.base_url());
        assert_eq!(rig.call(request).await.status, 200, "{provider}");
        let last = rig.upstream.requests().last().unwrap().clone();
        assert_eq!((last.target.as_str(), last.header("authorization")), (target, Some("Bearer token-1")));
        assert_eq!(last.header("x-goog-api-key"), None);
        if provider == "anthropic" {
            assert_eq!(last.json()["anthropic_version"], "vertex-2023-10-16");
        }
        let asked = tokens_asked_for(&rig);
        assert_eq!(asked.len(), 1);
        let assertion = asked[0].split_once("&assertion=").unwrap().1;
        let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!("robot@project.example"), &json!(token_url)));
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_key_may_stand_in_the_query_and_a_missing_setting_keeps_a_credential_from_serving() {
    let rig = Rig::with(|setup| {
        bare(setup);
        at(setup, "google", "vertex", &[("region", "eu-west1")], "{}");
        at(setup, "google", "query-key", &[], "AIza/key");
    })
    .await;
    rig.upstream
        .respond(|_| Script::json(200, r#"{"candidates":[],"usageMetadata":{"promptTokenCount":1}}"#));
    let request = Request::post("/v1beta/models/gemini-2.5-flash:generateContent", &json!({"contents": []}));
    assert_eq!(rig.call(request).await.status, 200);
    assert_eq!(
        rig.upstream.next().await.target,
        "/v1beta/models/gemini-2.5-flash:generateContent?key=AIza%2Fkey"
    );
    rig.stop().await;
}

/// Adds a credential of a platform over HTTP, for the platform unless for a user.
async fn add(
    rig: &Rig,
    provider: &str,
    platform: &str,
    settings: Value,
    secret: &str,
    user: Option<&str>,
) -> Reply {
    let body = json!({"provider": provider, "platform": platform, "settings": settings, "secret": secret,
        "owner": if user.is_some() { "user" } else { "platform" }, "user": user});
    let request = Request::post("/management/v1/credentials", &body).bearer(rig.admin_secret());
    client::call(rig.admin_addr(), &request).await
}

/// The same with the upstream's addresses and every setting of any platform.
async fn add_here(rig: &Rig, provider: &str, platform: &str, secret: &str) -> Reply {
    let base_url = rig.upstream.base_url();
    let settings = json!({"token_url": format!("{base_url}/token"), "base_url": base_url,
        "resource": "mine", "region": "eu-west1", "project": "p-1"});
    add(rig, provider, platform, settings, secret, None).await
}

fn account() -> String {
    let key = include_str!("../../host/server/testdata/service-account.pem");
    json!({"client_email": "robot@project.example", "private_key": key}).to_string()
}

#[tokio::test]
async fn a_platforms_credential_is_asked_about_where_it_is_good_and_as_its_calls_are_made() {
    let vertex = "/v1/projects/p-1/locations/eu-west1/endpoints?pageSize=1";
    let bedrock = "/foundation-models?byProvider=anthropic";
    let (account, bearer) = (account(), "Bearer k-1234");
    for (provider, platform, secret, target, header, value) in [
        ("openai", "azure", "k-1234", "/openai/models?api-version=2024-10-21", "api-key", "k-1234"),
        ("openai", "azure-v1", "k-1234", "/openai/v1/models", "api-key", "k-1234"),
        ("openai", "relay", "k-1234", "/v1/models", "authorization", bearer),
        ("anthropic", "console", "k-1234", "/v1/models", "x-api-key", "k-1234"),
        ("anthropic", "relay-bearer", "k-1234", "/v1/models", "authorization", bearer),
        ("anthropic", "oauth", "k-1234", "/v1/models", "authorization", bearer),
        ("anthropic", "bedrock-key", "k-1234", bedrock, "authorization", bearer),
        ("anthropic", "bedrock", AWS_SECRET, bedrock, "x-amz-security-token", "session-1"),
        ("anthropic", "vertex", account.as_str(), vertex, "authorization", "Bearer token-1"),
        ("google", "vertex", account.as_str(), vertex, "authorization", "Bearer token-1"),
        ("google", "query-key", "k-1234", "/v1beta/models?key=k%2D1234", "accept", "application/json"),
    ] {
        let rig = Rig::with(bare).await;
        with_tokens(&rig, "");
        let added = add_here(&rig, provider, platform, secret).await;
        let check = added.json()["check"].clone();
        assert_eq!((added.status, &check["result"]), (201, &json!("good")), "{platform}: {}", added.text());
        let seen = rig.upstream.requests().last().expect("a question").clone();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", target), "{platform}");
        assert_eq!(seen.header(header), Some(value), "{platform}");
        if platform == "bedrock" {
            let authorization = seen.header("authorization").expect("a signature");
            assert!(authorization.contains("/eu-west1/bedrock/aws4_request, "), "{authorization}");
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_platforms_credential_that_is_refused_is_not_added() {
    let rig = Rig::with(bare).await;
    let refused = [("x-amzn-errortype", "UnrecognizedClientException")];
    rig.upstream.respond(move |request| match request.target.as_str() {
        "/token" => Script::json(400, r#"{"error":"invalid_grant"}"#),
        _ => Script::whole(
            403,
            &refused,
            r#"{"message":"The security token included in the request is invalid."}"#,
        ),
    });
    for (provider, platform, secret) in [
        ("anthropic", "bedrock", AWS_SECRET),
        ("anthropic", "oauth", r#"{"refresh_token":"spent"}"#),
        ("google", "vertex", account().as_str()),
    ] {
        let answer = add_here(&rig, provider, platform, secret).await;
        assert_eq!(answer.status, 422, "{platform}: {}", answer.text());
    }
    let listed = rig.admin("GET", "/management/v1/credentials").await.json();
    assert_eq!(listed["data"], json!([]));
    rig.stop().await;
}

#[tokio::test]
async fn a_key_that_may_call_models_but_list_none_is_added_and_what_it_lacks_is_shown() {
    let rig = Rig::with(bare).await;
    let denied = [("x-amzn-errortype", "AccessDeniedException")];
    let words = r#"{"message":"User is not authorized to perform: bedrock:ListFoundationModels"}"#;
    rig.upstream.respond(move |_| Script::whole(403, &denied, words));
    let added = add_here(&rig, "anthropic", "bedrock", AWS_SECRET).await.json();
    assert_eq!((&added["check"]["result"], &added["state"]), (&json!("permission"), &json!("available")));
    rig.stop().await;
}

#[tokio::test]
async fn a_login_that_was_checked_is_kept_as_the_check_left_it() {
    let rig = Rig::with(bare).await;
    with_tokens(&rig, "");
    let added = add_here(&rig, "anthropic", "oauth", r#"{"refresh_token":"refresh-0"}"#).await;
    assert_eq!(added.status, 201, "{}", added.text());
    let check = format!("/management/v1/credentials/{}/check", added.json()["id"].as_str().expect("an id"));
    assert_eq!(rig.admin("POST", &check).await.json()["check"]["result"], json!("good"));
    patiently("the login to serve", async {
        while rig.call(messages("claude-haiku-4-5", false)).await.status != 200 {}
    })
    .await;
    // A refresh token is good once: the first one was not used twice, and the token that it bought still serves.
    assert_eq!(tokens_asked_for(&rig), ["grant_type=refresh_token&refresh_token=refresh-0"]);
    assert_eq!(
        rig.upstream.requests().last().expect("a call").header("authorization"),
        Some("Bearer token-1")
    );
    rig.stop().await;
}

#[tokio::test]
async fn an_answer_says_why_nobody_was_asked() {
    let rig = Rig::with(bare).await;
    for (platform, why) in [
        ("azure", "platform `azure` needs the setting `resource`"),
        ("elsewhere", "there is no platform `elsewhere`"),
    ] {
        let added = add(&rig, "openai", platform, json!({}), "k-1234", None).await.json();
        assert_eq!((&added["check"], &added["unchecked"]), (&Value::Null, &json!(why)), "{added}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_users_key_leads_a_check_to_no_address_of_his() {
    let rig = Rig::with(bare).await;
    let settings = json!({"base_url": rig.upstream.base_url()});
    let answer = add(&rig, "openai", "relay", settings, "k-1234", Some("alice")).await;
    assert_eq!((answer.status, rig.upstream.requests().len()), (400, 0), "{}", answer.text());
    rig.stop().await;
}
