//! What a client can say of the operator's keys: nothing, in no header, no parameter and no word.

use serde_json::{Value, json};
use tollgate_core::health::Condition;
use tollgate_core::points::Micropoints;
use tollgate_server::manage::Place;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

const CHAT_ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const MESSAGE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"x","stop_reason":"end_turn","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":10,"output_tokens":5}}"#;
const CANDIDATE: &str = r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}}"#;

/// What is asked of a provider in its own protocol.
fn body(provider: &str) -> Value {
    let turns = json!([{"role": "user", "content": "hi"}]);
    match provider {
        "openai" => json!({"model": "gpt-4o", "messages": turns}),
        "anthropic" => json!({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": turns}),
        _ => json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
    }
}

fn post(provider: &str, body: &Value) -> Request {
    let path = match provider {
        "openai" => "/v1/chat/completions",
        "anthropic" => "/v1/messages",
        _ => "/v1beta/models/gemini-2.5-flash:generateContent",
    };
    Request::new("POST", path).body(body.to_string())
}

fn ask(provider: &str) -> Request {
    post(provider, &body(provider))
}

/// A call of Gemini's with this query.
fn google(query: &str) -> Request {
    let target = format!("/v1beta/models/gemini-2.5-flash:generateContent{query}");
    Request::new("POST", &target).body(body("google").to_string())
}

fn answer(target: &str) -> Script {
    match target {
        _ if target.contains("count_tokens") => Script::json(200, r#"{"input_tokens":3}"#),
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

/// Users alice and bob, and one platform key for each provider.
async fn shared() -> Rig {
    let rig = Rig::with(|setup| {
        setup.users =
            ["alice", "bob"].into_iter().map(|name| (name, Micropoints::from_points(1000))).collect();
    })
    .await;
    rig.upstream.respond(|request| answer(&request.target));
    rig
}

async fn as_bob(rig: &Rig, request: Request) -> Reply {
    client::call(rig.addr(), &request.bearer(rig.key("bob"))).await
}

/// What is said of the credentials of a provider.
async fn conditions(rig: &Rig, provider: &str) -> Vec<Condition> {
    let desk = rig.desk().await;
    let rows = managed::credentials(&desk).await.expect("a list");
    desk.close().await;
    rows.iter().filter(|row| row.provider == provider).map(|row| row.state.condition).collect()
}

fn checks(rig: &Rig) -> usize {
    rig.upstream.requests().iter().filter(|request| request.method == "GET").count()
}

#[tokio::test]
async fn an_error_that_repeats_the_clients_words_blames_the_request_alone() {
    let rig = shared().await;
    let echoes = |words: &str| {
        [
            (
                "openai",
                400,
                json!({"error": {"message": words, "type": "invalid_request_error", "param": words, "code": null}}),
            ),
            (
                "anthropic",
                400,
                json!({"type": "error", "error": {"type": "invalid_request_error", "message": words}}),
            ),
            (
                "anthropic",
                404,
                json!({"type": "error", "error": {"type": "not_found_error", "message": words}}),
            ),
            ("google", 400, json!({"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}})),
            ("google", 403, json!({"error": {"code": 403, "message": words, "status": "PERMISSION_DENIED"}})),
        ]
    };
    for words in [
        "anthropic-beta: Unexpected value(s) `credit balance is too low`",
        "Your credit balance is too low to access the Anthropic API.: Extra inputs are not permitted",
        "Content type 'spend limit' is not supported",
        "messages.0.content: This organization has been disabled.",
        "API key",
        "OAuth token has been revoked: Extra inputs are not permitted",
        "credits are depleted, spending cap, call volume quota, per day",
    ] {
        for (provider, status, body) in echoes(words) {
            rig.upstream.enqueue(Script::json(status, body.to_string()));
            let reply = rig.call(ask(provider)).await;
            assert!((400..500).contains(&reply.status), "{provider} {words}: {}", reply.text());
            let next = as_bob(&rig, ask(provider)).await;
            assert_eq!(next.status, 200, "{provider} {words}: {}", next.text());
            let own = rig.call(ask(provider)).await;
            assert_eq!(own.status, 200, "{provider} {words}: {}", own.text());
        }
    }
    assert_eq!(checks(&rig), 0, "nothing gave cause for one");
    rig.stop().await;
}

/// A request that fails wherever it goes: see [`fail_bad_ones`].
fn bad(provider: &str) -> Request {
    let mut body = body(provider);
    body["metadata"] = json!({"bad": true});
    post(provider, &body)
}

/// Has the upstream fail what [`bad`] asks, and answer all else.
fn fail_bad_ones(rig: &Rig, status: u16, failure: String) {
    rig.upstream.respond(move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if body["metadata"]["bad"] == true { Script::json(status, &failure) } else { answer(&request.target) }
    });
}

/// Failures that say of the key what a check of the host's own contradicts.
fn accusations() -> [(&'static str, u16, Value); 7] {
    let google = |code: u16, status: &str, reason: &str| {
        json!({"error": {"code": code, "message": "x", "status": status,
        "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]}})
    };
    [
        (
            "openai",
            401,
            json!({"error": {"message": "x", "type": "invalid_request_error", "code": "invalid_api_key"}}),
        ),
        (
            "openai",
            429,
            json!({"error": {"message": "x", "type": "insufficient_quota", "code": "insufficient_quota"}}),
        ),
        (
            "anthropic",
            401,
            json!({"type": "error", "error": {"type": "authentication_error", "message": "x"}}),
        ),
        ("anthropic", 402, json!({"type": "error", "error": {"type": "billing_error", "message": "x"}})),
        (
            "anthropic",
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API."}}),
        ),
        ("google", 400, google(400, "INVALID_ARGUMENT", "API_KEY_INVALID")),
        ("google", 403, google(403, "PERMISSION_DENIED", "BILLING_DISABLED")),
    ]
}

#[tokio::test]
async fn a_failure_that_one_callers_requests_meet_disables_nothing_that_a_check_finds_good() {
    for (provider, status, body) in accusations() {
        let rig = shared().await;
        fail_bad_ones(&rig, status, body.to_string());
        for round in 0..4 {
            let reply = rig.call(bad(provider)).await;
            assert_ne!(reply.status, 200, "{provider} {status}");
            let next = as_bob(&rig, ask(provider)).await;
            assert_eq!(next.status, 200, "{provider} {status}, round {round}: {}", next.text());
        }
        assert_eq!(conditions(&rig, provider).await, [Condition::Good], "{provider} {status}");
        assert_eq!(as_bob(&rig, ask(provider)).await.status, 200, "{provider} {status}");
        assert!(checks(&rig) <= 1, "one check, however often it fails");
        rig.stop().await;
    }
}

#[tokio::test]
async fn what_a_check_confirms_is_disabled_for_everyone() {
    for (provider, status, body) in accusations() {
        let rig = shared().await;
        let body = body.to_string();
        rig.upstream.respond(move |_| Script::json(status, &body));
        assert_ne!(rig.call(ask(provider).header("user-agent", "of-the-client")).await.status, 200);
        patiently("the check", async {
            while !matches!(conditions(&rig, provider).await[..], [Condition::Disabled { .. }]) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let check = rig.upstream.requests().into_iter().find(|request| request.method == "GET");
        let check = check.expect("a check");
        assert!(check.body.is_empty() && check.header("user-agent").is_none(), "{:?}", check.head);
        let calls = rig.upstream.count();
        assert_eq!(as_bob(&rig, ask(provider)).await.status, 503, "{provider} {status}");
        assert_eq!(rig.upstream.count(), calls, "nobody asks a provider in vain");
        rig.stop().await;
    }
}

#[tokio::test]
async fn the_last_key_is_not_taken_from_everyone_by_one_users_failures() {
    let page = "<html><body>Sign in to the network</body></html>";
    let failures = [
        ("openai", 500, "{}"),
        ("openai", 503, "{}"),
        ("openai", 429, r#"{"error":{"message":"x","type":"tokens","code":"rate_limit_exceeded"}}"#),
        ("anthropic", 429, r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#),
        ("anthropic", 529, "{}"),
        ("anthropic", 401, page),
        ("google", 403, page),
        ("openai", 402, page),
    ];
    for (provider, status, body) in failures {
        let rig = shared().await;
        fail_bad_ones(&rig, status, body.to_owned());
        let mut failed = 0;
        for round in 0..10 {
            let calls = rig.upstream.count();
            assert_ne!(rig.call(bad(provider)).await.status, 200, "{provider} {status}, round {round}");
            failed += rig.upstream.count() - calls;
            assert_eq!(as_bob(&rig, ask(provider)).await.status, 200, "{provider} {status}, round {round}");
        }
        // What a network in between says is no reason to rest it, for her either.
        let rests = if body == page { 10..11 } else { 1..10 };
        assert!(rests.contains(&failed), "{provider} {status}: it rests for alice after {failed}");
        assert_eq!(checks(&rig), 0, "{provider} {status}: nothing was said of the key");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_limit_of_what_is_free_or_of_one_model_rests_nothing_else() {
    let limited = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "x"}}).to_string();
    let count = |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        Request::new("POST", "/v1/messages/count_tokens").body(body.to_string())
    };
    let message = |model: &str| {
        let body = json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        Request::new("POST", "/v1/messages").body(body.to_string())
    };
    let (haiku, sonnet) = ("claude-haiku-4-5", "claude-sonnet-4-5");
    let limit = || Script::whole(429, &[("retry-after", "60")], &limited);
    type Row = (Request, Vec<Request>, Vec<Request>);
    let rows: [Row; 3] = [
        (count(haiku), vec![message(haiku), message(sonnet), count(sonnet)], vec![count(haiku)]),
        (message(haiku), vec![message(sonnet), count(haiku), count(sonnet)], vec![message(haiku)]),
        (message(sonnet), vec![message(haiku), count(sonnet)], vec![message(sonnet)]),
    ];
    for (first, free, resting) in rows {
        let rig = shared().await;
        rig.upstream.enqueue(limit());
        assert_eq!(rig.call(first).await.status, 429);
        for request in free {
            let reply = as_bob(&rig, request).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
        }
        for request in resting {
            let reply = rig.call(request.clone()).await;
            assert_eq!((reply.status, reply.header("retry-after")), (429, Some("60")), "{}", reply.text());
            // A second caller finds out whether it was one prompt's; then it is everyone's.
            rig.upstream.enqueue(limit());
            for _ in 0..2 {
                let calls = rig.upstream.count();
                assert_eq!(as_bob(&rig, request.clone()).await.status, 429);
                assert!(rig.upstream.count() <= calls + 1);
            }
        }
        rig.stop().await;
    }
}
