//! Every official SDK, in Python and in JavaScript, to every provider: questions and answers, tools included, and every
//! way in which a call can fail. The provider is scripted, the gateway is the real binary, and each language is one
//! process.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Mutex;

use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_core::limits::{KeyLimits, RateLimits};
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_core::secret::Secret;
use tollgate_server::config::Config;
use tollgate_server::manage::{Management, NewCredential};
use tollgate_tests::managed;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::sdk;
use tollgate_tests::upstream::{self, Script, Upstream};

use crate::translation::{answer, events};

/// Answers when the call's result has come back, and only then.
const RESULT: &str = "18 degrees";
/// The credential of calls that are meant to work.
const GOOD: &str = "good";
/// How long a provider asks to wait, in seconds: where a script checks that this is passed on, and where it waits.
const LONG_S: &str = "77";
const SHORT_S: &str = "1";

/// The ways in which a provider can fail, and which statuses the providers of each family give them.
const FAILURES: [(&str, [Option<u16>; 3]); 9] = [
    ("invalid-key", [Some(401), Some(401), Some(401)]),
    ("permission", [Some(403), Some(403), Some(403)]),
    ("not-found", [Some(404), Some(404), Some(404)]),
    ("bad-request", [Some(400), Some(400), Some(400)]),
    ("context", [Some(400), Some(400), Some(400)]),
    ("too-large", [None, Some(413), None]),
    ("rate-limited", [Some(429), Some(429), Some(429)]),
    ("overloaded", [Some(503), Some(529), Some(503)]),
    ("server-error", [Some(500), Some(500), Some(500)]),
];
/// Fails once with 429 and answers then.
const BUSY_ONCE: &str = "busy-once";

/// The provider that speaks a protocol and no other, and a model of it.
const fn provider(upstream: Protocol) -> (&'static str, &'static str) {
    match upstream {
        OpenaiChat => ("chat", "gpt-4o"),
        OpenaiResponses => ("responses", "gpt-4o"),
        AnthropicMessages => ("anthropic", "claude-sonnet-4-5"),
        Gemini => ("google", "gemini-2.5-flash"),
    }
}

/// A provider of another protocol, a different one for each client.
const fn foreign(client: Protocol) -> Protocol {
    match client {
        OpenaiChat => AnthropicMessages,
        OpenaiResponses => Gemini,
        AnthropicMessages => OpenaiChat,
        Gemini => OpenaiResponses,
    }
}

const fn family(upstream: Protocol) -> usize {
    match upstream {
        OpenaiChat | OpenaiResponses => 0,
        AnthropicMessages => 1,
        Gemini => 2,
    }
}

/// A model that fails in one way, with a separate credential, whose state affects no other model.
struct Failing {
    model: String,
    failure: &'static str,
    client: Protocol,
    upstream: Protocol,
}

fn failing() -> Vec<Failing> {
    let ways = FAILURES.iter().copied().chain([(BUSY_ONCE, [Some(429); 3])]);
    let mut all = Vec::new();
    for (failure, statuses) in ways {
        for client in Protocol::ALL {
            let upstreams = [client, foreign(client)].into_iter();
            for upstream in upstreams.filter(|upstream| statuses[family(*upstream)].is_some()) {
                let model = format!("{failure}.{}.{}", client.name(), upstream.name());
                all.push(Failing { model, failure, client, upstream });
            }
        }
    }
    all
}

/// A provider's failures, as it documents them.
fn refusal(failure: &str, upstream: Protocol) -> Script {
    let family = family(upstream);
    let known = FAILURES.iter().find(|(name, _)| *name == failure);
    let status = known.and_then(|(_, statuses)| statuses[family]).unwrap_or(429);
    let message = match (failure, family) {
        ("context", 0) => "This model's maximum context length is 128000 tokens.",
        ("context", 1) => "prompt is too long: 210000 tokens > 200000 maximum",
        ("context", _) => {
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
        }
        ("invalid-key", 2) => "API key not valid. Please pass a valid API key.",
        _ => "The provider says no.",
    };
    let body = match upstream {
        OpenaiChat | OpenaiResponses => {
            let code = match failure {
                "invalid-key" => json!("invalid_api_key"),
                "not-found" => json!("model_not_found"),
                "context" => json!("context_length_exceeded"),
                "rate-limited" | BUSY_ONCE => json!("rate_limit_exceeded"),
                _ => Value::Null,
            };
            let kind = if status >= 500 { "server_error" } else { "invalid_request_error" };
            json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
        }
        AnthropicMessages => {
            let kind = match status {
                401 => "authentication_error",
                403 => "permission_error",
                404 => "not_found_error",
                413 => "request_too_large",
                429 => "rate_limit_error",
                500 => "api_error",
                529 => "overloaded_error",
                _ => "invalid_request_error",
            };
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
        }
        Gemini => {
            let name = match status {
                401 => "UNAUTHENTICATED",
                403 => "PERMISSION_DENIED",
                404 => "NOT_FOUND",
                429 => "RESOURCE_EXHAUSTED",
                500 => "INTERNAL",
                503 => "UNAVAILABLE",
                _ => "INVALID_ARGUMENT",
            };
            json!({"error": {"code": status, "message": message, "status": name}})
        }
    };
    let mut headers = vec![("content-type", "application/json")];
    match failure {
        "rate-limited" => headers.push(("retry-after", LONG_S)),
        BUSY_ONCE => headers.push(("retry-after", SHORT_S)),
        _ => {}
    }
    Script::whole(status, &headers, body.to_string())
}

/// The protocol of a path.
fn spoken(target: &str) -> Protocol {
    match target {
        "/v1/chat/completions" => OpenaiChat,
        "/v1/responses" => OpenaiResponses,
        "/v1/messages" => AnthropicMessages,
        _ => Gemini,
    }
}

/// A good answer: text and a call, streamed where that is asked for. A second turn has to bring the call and its
/// result.
fn served(request: &upstream::Request) -> Script {
    let upstream = spoken(&request.target);
    let body = request.json();
    if !is_whole(&body.to_string()) {
        return Script::json(400, r#"{"error":{"message":"a second turn without its call or its result"}}"#);
    }
    if body["stream"] == true || request.target.contains("streamGenerateContent") {
        return events(upstream).iter().fold(Script::sse(), Script::chunk).end();
    }
    Script::json(200, answer(upstream))
}

/// Whether a request is a first turn, or contains everything of that turn.
fn is_whole(body: &str) -> bool {
    let has = |texts: &[&str]| texts.iter().any(|text| body.contains(text));
    let second = has(&["functionResponse", "tool_result", "call_output", "\"role\":\"tool\""]);
    // Arguments that travel as text keep their spelling.
    !second || has(&[RESULT]) && has(&["Köln", "u00f6ln"])
}

/// The secret that an upstream request came with.
fn secret(request: &upstream::Request) -> String {
    let names = ["authorization", "x-api-key", "x-goog-api-key"];
    let value = names.into_iter().find_map(|name| request.header(name)).unwrap_or_default();
    value.trim_start_matches("Bearer ").to_owned()
}

/// Answers by the secret: the good one is served, every other one names how it fails.
fn respond(upstream: &Upstream) {
    let seen: Mutex<HashSet<String>> = Mutex::default();
    upstream.respond(move |request| {
        let secret = secret(request);
        let first = seen.lock().expect("no panic").insert(secret.clone());
        match secret.split('.').next() {
            Some(GOOD) => served(request),
            Some(BUSY_ONCE) if !first => served(request),
            failure => refusal(failure.unwrap_or_default(), spoken(&request.target)),
        }
    });
}

fn configuration(upstream: &Upstream) -> String {
    let url = upstream.base_url();
    let mut text = String::new();
    for (name, protocol) in [("chat", OpenaiChat), ("responses", OpenaiResponses)] {
        let _ = writeln!(
            text,
            "[providers.{name}]\nadapter = \"openai\"\nbase_url = \"{url}\"\nconfig = {{ protocol = \"{}\" }}",
            protocol.name()
        );
    }
    let mut entry = |name: &str, upstream: Protocol, credential: &str| {
        let (provider, model) = provider(upstream);
        let _ = writeln!(
            text,
            "[[models]]\nname = \"{name}\"\ntargets = [{{ provider = \"{provider}\", model = \"{model}\", \
             credentials = [\"{credential}\"] }}]"
        );
    };
    for upstream in Protocol::ALL {
        entry(&format!("on.{}", upstream.name()), upstream, GOOD);
    }
    for Failing { model, upstream, .. } in failing() {
        entry(&model, upstream, &model);
    }
    text
}

/// Three users: one with points, one with none, and one whose key is good for another model only.
async fn provision(config: &Config) -> anyhow::Result<HashMap<&'static str, String>> {
    let desk = Management::open(config).await?;
    let mut keys = HashMap::new();
    for (variable, points) in [("API_KEY", 1_000_000), ("POOR_KEY", 0), ("BOUND_KEY", 1_000)] {
        managed::add_user(&desk, variable, Micropoints::from_points(points)).await?;
        let models = if variable == "BOUND_KEY" { vec!["another".to_owned()] } else { Vec::new() };
        let limits = KeyLimits { models, ..KeyLimits::default() };
        let (_, key) = desk.create_key(variable, "test", None, limits).await?;
        keys.insert(variable, key.expose().to_owned());
    }
    let good = Protocol::ALL.map(|upstream| (upstream, GOOD.to_owned()));
    let bad = failing().into_iter().map(|failing| (failing.upstream, failing.model));
    for (upstream, label) in good.into_iter().chain(bad) {
        let (provider, secret) = (provider(upstream).0.to_owned(), Secret::new(label.clone()));
        let (user, limits) = (None, RateLimits::default());
        desk.add_credential(NewCredential {
            provider,
            user,
            label,
            weight: 100,
            secret,
            limits,
            place: None,
        })
        .await?;
    }
    desk.close().await;
    Ok(keys)
}

/// The real binary, with everything that a script asks for.
struct Road {
    process: Process,
    keys: HashMap<&'static str, String>,
    _upstream: Upstream,
    _dir: TempDir,
}

impl Road {
    async fn start() -> Self {
        let upstream = Upstream::start().await;
        respond(&upstream);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = config_file(dir.path(), &upstream, &configuration(&upstream));
        let config = Config::read(&path).expect("a configuration");
        let keys = provision(&config).await.expect("an empty database");
        let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &path).await;
        Self { process, keys, _upstream: upstream, _dir: dir }
    }

    /// The variables of a script.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let cells: Vec<Value> =
            Protocol::ALL.iter().map(|upstream| json!(format!("on.{}", upstream.name()))).collect();
        let failing = failing().into_iter().map(|Failing { model, failure, client, .. }| {
            json!({"model": model, "failure": failure, "client": client.name()})
        });
        let failing: Vec<Value> = failing.collect();
        let mut variables: Vec<(&str, String)> =
            self.keys.iter().map(|(name, key)| (*name, key.clone())).collect();
        variables.push(("BASE_URL", format!("http://{}", self.process.addr)));
        variables.push(("MODELS", Value::from(cells).to_string()));
        variables.push(("FAILURES", Value::from(failing).to_string()));
        variables
    }
}

#[tokio::test]
async fn every_python_sdk_works_with_every_provider_and_raises_its_own_errors() {
    let road = Road::start().await;
    let variables = road.variables();
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    sdk::run_python("every_provider.py", &variables).await.expect_passed();
}

#[tokio::test]
async fn every_javascript_sdk_works_with_every_provider_and_raises_its_own_errors() {
    let road = Road::start().await;
    let variables = road.variables();
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    sdk::run_javascript("every_provider.mjs", &variables).await.expect_passed();
}
