//! What a provider's failure means decides what is tried next, which credential rests and what the client is told in
//! its own protocol, and nothing is charged for it.

use serde_json::{Value, json};
use tollgate_core::eventstream::{Message, encode};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_server::config::Attempts;
use tollgate_server::manage::Place;
use tollgate_tests::client::{Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

/// What an upstream fails with.
#[derive(Clone, Copy)]
struct Failure {
    status: u16,
    retry_after: Option<&'static str>,
    body: &'static str,
}

impl Failure {
    const fn new(status: u16, body: &'static str) -> Self {
        Self { status, retry_after: None, body }
    }

    const fn after(self, seconds: &'static str) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    fn script(self) -> Script {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(self.retry_after.map(|seconds| ("retry-after", seconds)));
        Script::whole(self.status, &headers, self.body)
    }
}

/// The four protocols of clients.
const CLIENTS: [&str; 4] = ["chat", "responses", "messages", "gemini"];

fn ask(client: &str, model: &str, stream: bool) -> Request {
    let turns = json!([{"role": "user", "content": "hi"}]);
    match client {
        "chat" => Request::post(
            "/v1/chat/completions",
            &json!({"model": model, "stream": stream, "messages": turns}),
        ),
        "responses" => {
            Request::post("/v1/responses", &json!({"model": model, "stream": stream, "input": "hi"}))
        }
        "messages" => Request::post(
            "/v1/messages",
            &json!({"model": model, "stream": stream, "max_tokens": 9, "messages": turns}),
        ),
        _ => {
            let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
            Request::post(&format!("/v1beta/models/{model}:{method}"), &body)
        }
    }
}

/// Each provider's failure of a class, and its model.
struct Providers {
    class: &'static str,
    openai: Failure,
    anthropic: Failure,
    google: Failure,
}

impl Providers {
    fn all(&self) -> [(&'static str, Failure); 3] {
        [("gpt-4o", self.openai), ("claude-haiku-4-5", self.anthropic), ("gemini-2.5-flash", self.google)]
    }
}

const FAILURES: [Providers; 10] = [
    Providers {
        class: "invalid-credential",
        openai: Failure::new(
            401,
            r#"{"error":{"message":"Incorrect API key provided: sk-abc***xyz.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
        ),
        anthropic: Failure::new(
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key sk-abc***xyz"}}"#,
        ),
        google: Failure::new(
            400,
            r#"{"error":{"code":400,"message":"API key not valid: sk-abc***xyz.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
        ),
    },
    Providers {
        class: "permission",
        openai: Failure::new(
            403,
            r#"{"error":{"code":"unsupported_country_region_territory","message":"not supported","param":null,"type":"request_forbidden"}}"#,
        ),
        anthropic: Failure::new(
            403,
            r#"{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission."}}"#,
        ),
        google: Failure::new(
            403,
            r#"{"error":{"code":403,"message":"Permission denied on resource.","status":"PERMISSION_DENIED"}}"#,
        ),
    },
    Providers {
        class: "quota-exhausted",
        openai: Failure::new(
            429,
            r#"{"error":{"message":"You exceeded your current quota.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
        ),
        anthropic: Failure::new(
            402,
            r#"{"type":"error","error":{"type":"billing_error","message":"Payment required."}}"#,
        ),
        google: Failure::new(
            429,
            r#"{"error":{"code":429,"message":"Quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel"}]}]}}"#,
        ),
    },
    Providers {
        class: "rate-limited",
        openai: Failure::new(
            429,
            r#"{"error":{"message":"Rate limit reached. Please try again in 6.4s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
        ),
        anthropic: Failure::new(
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"Slow down."}}"#,
        )
        .after("6.4"),
        google: Failure::new(
            429,
            r#"{"error":{"code":429,"message":"Quota.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"6.4s"}]}}"#,
        ),
    },
    Providers {
        class: "overloaded",
        openai: Failure::new(
            503,
            r#"{"error":{"message":"Busy.","type":"server_error","code":"server_is_overloaded"}}"#,
        ),
        anthropic: Failure::new(
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        ),
        google: Failure::new(
            503,
            r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#,
        ),
    },
    Providers {
        class: "transient",
        openai: Failure::new(
            500,
            r#"{"error":{"message":"Sorry about that!","type":"server_error","code":null}}"#,
        ),
        anthropic: Failure::new(
            500,
            r#"{"type":"error","error":{"type":"api_error","message":"Internal server error"}}"#,
        ),
        google: Failure::new(
            500,
            r#"{"error":{"code":500,"message":"An internal error.","status":"INTERNAL"}}"#,
        ),
    },
    Providers {
        class: "bad-request",
        openai: Failure::new(
            400,
            r#"{"error":{"message":"The provider's words.","type":"invalid_request_error","param":"x","code":"unknown_parameter"}}"#,
        ),
        anthropic: Failure::new(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"The provider's words."}}"#,
        ),
        google: Failure::new(
            400,
            r#"{"error":{"code":400,"message":"The provider's words.","status":"INVALID_ARGUMENT"}}"#,
        ),
    },
    Providers {
        class: "context-too-long",
        openai: Failure::new(
            400,
            r#"{"error":{"message":"The provider's words.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        ),
        anthropic: Failure::new(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"The provider's words. prompt is too long: 3 tokens > 2 maximum"}}"#,
        ),
        google: Failure::new(
            400,
            r#"{"error":{"code":400,"message":"The provider's words. The input token count (3) exceeds the maximum number of tokens allowed (2).","status":"INVALID_ARGUMENT"}}"#,
        ),
    },
    Providers {
        class: "content-refused",
        openai: Failure::new(
            400,
            r#"{"error":{"message":"The provider's words.","type":"invalid_request_error","param":"prompt","code":"content_filter"}}"#,
        ),
        anthropic: Failure::new(
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"The provider's words. Output blocked by content filtering policy"}}"#,
        ),
        google: Failure::new(
            400,
            r#"{"error":{"code":400,"message":"The provider's words. They violate Google's Responsible AI practices.","status":"INVALID_ARGUMENT"}}"#,
        ),
    },
    Providers {
        class: "not-found",
        openai: Failure::new(
            404,
            r#"{"error":{"message":"The provider's words.","type":"invalid_request_error","param":"input","code":null}}"#,
        ),
        anthropic: Failure::new(
            404,
            r#"{"type":"error","error":{"type":"not_found_error","message":"The provider's words."}}"#,
        ),
        google: Failure::new(
            404,
            r#"{"error":{"code":404,"message":"The provider's words.","status":"NOT_FOUND"}}"#,
        ),
    },
];

/// What a client is told of each class: a status, by which its SDK knows what to raise, and the word for it.
fn told(client: &str, class: &str) -> (u16, &'static str) {
    let openai = matches!(client, "chat" | "responses");
    let words = |status, for_openai, for_anthropic, for_google| {
        let word = match client {
            _ if openai => for_openai,
            "messages" => for_anthropic,
            _ => for_google,
        };
        (status, word)
    };
    const INVALID: &str = "invalid_request_error";
    match class {
        "permission" => words(403, "permission_denied", "permission_error", "PERMISSION_DENIED"),
        "quota-exhausted" | "rate-limited" => {
            words(429, "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED")
        }
        "overloaded" if client == "messages" => (529, "overloaded_error"),
        "overloaded" => words(503, "server_is_overloaded", "", "UNAVAILABLE"),
        "invalid-credential" | "transient" => words(502, "upstream_error", "api_error", "UNAVAILABLE"),
        "context-too-long" => words(400, "context_length_exceeded", INVALID, "INVALID_ARGUMENT"),
        "content-refused" => words(400, "content_filter", INVALID, "INVALID_ARGUMENT"),
        "not-found" => words(404, INVALID, "not_found_error", "NOT_FOUND"),
        _ => words(400, INVALID, INVALID, "INVALID_ARGUMENT"),
    }
}

fn check_told(reply: &Reply, client: &str, class: &str, context: &str) {
    let (status, word) = told(client, class);
    let body = reply.json();
    let error = &body["error"];
    let said = ["type", "code", "status"].map(|name| error[name].as_str().unwrap_or_default().to_owned());
    assert_eq!(reply.status, status, "{context}: {body}");
    assert!(said.iter().any(|said| said == word), "{context}: {body} does not say {word}");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty() && !message.contains("sk-abc"), "{context}: {body}");
    let blamed = message.contains("The provider's words.");
    assert_eq!(blamed, matches!(status, 400 | 404), "{context}: {body}");
    // 6.4 seconds, rounded up.
    let wait = match class {
        "rate-limited" => Some("7"),
        "permission" | "bad-request" | "context-too-long" | "content-refused" | "not-found" => None,
        _ => Some("1"),
    };
    assert_eq!(reply.header("retry-after"), wait, "{context}");
    if client == "gemini" && class == "rate-limited" {
        assert_eq!(error["details"][0]["retryDelay"], "6.400s", "{context}");
    }
}

#[tokio::test]
async fn every_client_is_told_of_every_failure_in_its_own_protocol() {
    for providers in &FAILURES {
        let class = providers.class;
        // Each request finds a credential that no other has spoilt.
        let secrets = ["1", "2", "3", "4", "5", "6", "7", "8"];
        let rig = Rig::with(|setup| {
            let names = ["openai", "anthropic", "google"].iter();
            setup.credentials =
                names.flat_map(|name| secrets.map(|secret| (*name, None, secret, 100))).collect();
            setup.config.limits.attempts_max = Attempts(1);
        })
        .await;
        let mut calls = 0;
        for (model, failure) in providers.all() {
            rig.upstream.respond(move |_| failure.script());
            for (client, stream) in CLIENTS.into_iter().flat_map(|client| [(client, false), (client, true)]) {
                let reply = rig.call(ask(client, model, stream)).await;
                check_told(&reply, client, class, &format!("{class}: {client}, {model}, stream {stream}"));
                calls += 1;
            }
        }
        for record in rig.records(calls).await {
            assert_eq!((record.outcome, record.charge.get()), (Outcome::UpstreamError, 0), "{class}");
            let noted = record.error.as_deref().unwrap_or_default();
            assert!(noted.ends_with(class), "{class}: {noted}");
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn the_class_decides_who_is_tried_and_which_credential_rests() {
    // Attempts, and the state and its reason that each credential has afterwards.
    let effects = |class: &str| match class {
        "invalid-credential" => (2, "disabled", Some("invalid-key")),
        "quota-exhausted" => (2, "disabled", Some("quota-gone")),
        "rate-limited" => (2, "cooling", Some("rate-limited")),
        // A single failure of the provider is no reason to rest.
        "permission" | "overloaded" | "transient" => (2, "available", None),
        _ => (1, "available", None),
    };
    for Providers { class, openai, .. } in FAILURES {
        let rig = Rig::with(|setup| {
            setup.credentials = vec![("openai", None, "first", 100), ("openai", None, "second", 100)];
        })
        .await;
        let before = rig.balance("alice").await;
        rig.upstream.respond(move |_| openai.script());
        rig.call(ask("chat", "gpt-4o", false)).await;
        let (attempts, state, reason) = effects(class);
        let record = rig.record().await;
        assert_eq!((record.attempts, record.charge.get()), (attempts, 0), "{class}");
        assert_eq!(rig.balance("alice").await, before, "{class}: the hold is given back");
        let calls = rig.upstream.requests().iter().filter(|request| request.method == "POST").count();
        assert_eq!(calls, attempts as usize, "{class}");
        // What the provider refused is checked, and the check meets the same.
        patiently(class, async {
            while !states(&rig).await.iter().all(|found| *found == (json!(state), json!(reason))) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        rig.stop().await;
    }
}

/// What each credential is doing, and why.
async fn states(rig: &Rig) -> Vec<(Value, Value)> {
    let credentials = rig.admin("GET", "/management/v1/credentials").await.json();
    let rows = credentials["data"].as_array().expect("a list").iter();
    rows.map(|row| (row["state"].clone(), row["reason"].clone())).collect()
}

#[tokio::test]
async fn a_model_that_a_key_lacks_is_sought_with_another_and_not_found_where_all_lack_it() {
    let lacks = r#"{"error":{"message":"The model `x` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#;
    let rig = Rig::with(|setup| {
        setup.credentials = vec![("openai", None, "first", 100), ("openai", None, "second", 100)];
    })
    .await;
    rig.upstream.respond(move |_| Script::json(404, lacks));
    let reply = rig.call(ask("chat", "gpt-4o", false)).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(rig.record().await.attempts, 2);
    rig.stop().await;
}

#[tokio::test]
async fn of_several_failures_the_rate_limit_is_told_that_is_lifted_first() {
    let (limited, invalid) = (FAILURES[3].openai, FAILURES[0].openai);
    for other in [Failure { retry_after: Some("40"), ..limited }, invalid] {
        let rig = Rig::with(|setup| {
            setup.credentials = vec![("openai", None, "first", 100), ("openai", None, "second", 100)];
        })
        .await;
        let first = Failure { retry_after: Some("30"), ..limited };
        rig.upstream.respond(move |request| {
            let is_first = request.header("authorization") == Some("Bearer first");
            if is_first { first.script() } else { other.script() }
        });
        let reply = rig.call(ask("chat", "gpt-4o", false)).await;
        assert_eq!((reply.status, reply.header("retry-after")), (429, Some("30")), "{}", reply.text());
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_user_is_told_that_the_quota_of_his_own_key_is_gone() {
    let rig = Rig::with(|setup| setup.credentials = vec![("openai", Some("alice"), "of alice", 100)]).await;
    let gone = FAILURES[2].openai;
    rig.upstream.respond(move |_| gone.script());
    let reply = rig.call(ask("chat", "gpt-4o", false)).await;
    let error = reply.json()["error"].clone();
    assert_eq!((reply.status, &error["code"]), (429, &json!("insufficient_quota")));
    assert_eq!(error["message"], "The quota of your own credential is used up.");
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_would_wait_for_long_is_told_not_to_try_again_by_itself() {
    for (seconds, told) in [("60", None), ("61", Some("false"))] {
        let rig = Rig::start().await;
        let limited = Failure { retry_after: Some(seconds), ..FAILURES[3].openai };
        rig.upstream.respond(move |_| limited.script());
        let reply = rig.call(ask("chat", "gpt-4o", false)).await;
        assert_eq!((reply.header("retry-after"), reply.header("x-should-retry")), (Some(seconds), told));
        rig.stop().await;
    }
}

/// A gateway whose credentials are two of Bedrock's.
async fn on_bedrock() -> Rig {
    Rig::with(|setup| {
        setup.credentials.clear();
        let base_url = String::from(setup.config.providers["openai"].base_url.clone());
        let settings = [("region".to_owned(), "eu-central-1".to_owned()), ("base_url".to_owned(), base_url)];
        let place = Place { platform: "bedrock-key".to_owned(), settings: settings.into() };
        for secret in ["first", "second"] {
            setup.elsewhere.push(("anthropic", place.clone(), secret.to_owned()));
        }
    })
    .await
}

fn named(status: u16, name: &str, message: &str) -> Script {
    let headers = [("content-type", "application/json"), ("x-amzn-errortype", name)];
    Script::whole(status, &headers, json!({"message": message}).to_string())
}

#[tokio::test]
async fn what_a_platform_calls_a_failure_beside_its_body_counts() {
    let found = async |rig: &Rig| {
        let states = states(rig).await;
        let mut states: Vec<String> =
            states.into_iter().map(|(state, _)| state.as_str().unwrap_or_default().to_owned()).collect();
        states.sort();
        states
    };
    for (name, status, expected) in [
        ("ServiceQuotaExceededException:http://internal", 400, ["available", "disabled"]),
        ("ModelNotReadyException", 429, ["available", "available"]),
        ("ThrottlingException", 429, ["available", "cooling"]),
    ] {
        let rig = on_bedrock().await;
        rig.upstream.enqueue(named(status, name, "x"));
        let message = r#"{"id":"m","type":"message","role":"assistant","model":"x","stop_reason":"end_turn","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":10,"output_tokens":5}}"#;
        rig.upstream.respond(move |request| match request.method.as_str() {
            "GET" => named(status, name, "x"),
            _ => Script::json(200, message),
        });
        assert_eq!(rig.call(ask("messages", "claude-haiku-4-5", false)).await.status, 200, "{name}");
        assert_eq!(rig.record().await.attempts, 2, "{name}");
        patiently(name, async {
            while found(&rig).await != expected {
                tokio::task::yield_now().await;
            }
        })
        .await;
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_platforms_own_shape_of_an_error_is_not_the_clients() {
    let rig = on_bedrock().await;
    for (name, message, kind) in [
        ("ValidationException", "Malformed input request: x", "invalid_request_error"),
        ("ValidationException", "Input is too long for requested model.", "invalid_request_error"),
    ] {
        rig.upstream.enqueue(named(400, name, message));
        let reply = rig.call(ask("messages", "claude-haiku-4-5", false)).await;
        let body = reply.json();
        assert_eq!((reply.status, &body["type"]), (400, &json!("error")), "{body}");
        assert_eq!((&body["error"]["type"], &body["error"]["message"]), (&json!(kind), &json!(message)));
    }
    assert_eq!(rig.upstream.requests().len(), 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_that_begins_with_a_failure_is_tried_elsewhere() {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let frame = |kind: &str| {
        let headers = vec![header(":message-type", "exception"), header(":exception-type", kind)];
        encode(&Message { headers, payload: json!({"message": "said the model"}).to_string().into_bytes() })
    };
    let stream = |bytes: &[u8]| {
        Script::chunked(200, &[("content-type", "application/vnd.amazon.eventstream")]).chunk(bytes).end()
    };
    let rig = on_bedrock().await;
    let (throttled, invalid) = (frame("throttlingException"), frame("validationException"));
    rig.upstream.enqueue(stream(&throttled));
    rig.upstream.enqueue(stream(&invalid));
    let reply = rig.call(ask("messages", "claude-haiku-4-5", true)).await;
    let body = reply.json();
    assert_eq!((reply.status, &body["error"]["message"]), (400, &json!("said the model")), "{body}");
    assert_eq!(rig.upstream.requests().len(), 2, "the second blames the request");
    let credentials = rig.admin("GET", "/management/v1/credentials").await.json();
    let resting = credentials["data"].as_array().expect("a list").iter();
    assert_eq!(resting.filter(|credential| credential["reason"] == "rate-limited").count(), 1);
    rig.stop().await;
}

/// A body of this many megabytes whose translation takes more memory than an adapter has.
fn heavy(megabytes: usize) -> String {
    let turn = r#"{"role":"user","content":[{"type":"text","text":""}]},"#;
    let turns = turn.repeat((megabytes << 20) / turn.len());
    format!(r#"{{"model":"claude-haiku-4-5","messages":[{}]}}"#, turns.trim_end_matches(','))
}

#[tokio::test]
async fn bodies_that_are_too_much_to_translate_are_refused_and_the_adapter_serves_everyone_else() {
    let rig = Rig::with(|setup| setup.users = vec![("alice", Micropoints::from_points(1_000_000))]).await;
    let message = r#"{"id":"m","type":"message","role":"assistant","model":"x","stop_reason":"end_turn","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":10,"output_tokens":5}}"#;
    rig.upstream.respond(move |_| Script::json(200, message));
    let heavy = heavy(30);
    // More than the breaker takes within its ten seconds.
    for _ in 0..6 {
        let request = Request::new("POST", "/v1/chat/completions").body(heavy.clone());
        let reply = rig.call(request).await;
        assert_eq!((reply.status, &reply.json()["error"]["type"]), (413, &json!("invalid_request_error")));
        assert_eq!(rig.call(ask("chat", "claude-haiku-4-5", false)).await.status, 200);
    }
    let plugin = rig.plugin("anthropic").await;
    let faults: u64 = plugin["faults"].as_object().expect("counts").values().filter_map(Value::as_u64).sum();
    assert_eq!(faults, 6, "they are counted all the same: {plugin}");
    for record in rig.records(12).await {
        assert!(matches!(record.outcome, Outcome::Ok | Outcome::Refused), "{record:?}");
    }
    rig.stop().await;
}
