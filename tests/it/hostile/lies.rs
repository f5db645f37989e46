//! Providers that lie in their counts and repeat the caller's words, at random, in every protocol: no bill passes what
//! the call could use, no key is lost by it, and the books are right afterwards.
//!
//! Each round comes from its number. `TOLLGATE_LIES_SECONDS=600` goes on that long for each protocol.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::odd::Odd;
use tollgate_tests::patiently;
use tollgate_tests::upstream::{Request as Seen, Script};

/// Rounds of a protocol, unless seconds are asked for.
const ROUNDS: u64 = 60;
/// An honest call comes after so many lies.
const LIES: u64 = 6;
/// What a lie may cost at most: the dearest model here writes 100 tokens for 3 points; what is hidden is bounded by the
/// model's own maximum, 128,000 tokens at 0.02 points.
const CHARGE_MAX: Micropoints = Micropoints::from_points(128_000 / 50);
const POINTS: Micropoints = Micropoints::from_points(10_000_000);
/// Who asks, and for which model: each protocol's own, and one of another provider.
const CALLS: [(&str, [&str; 2]); 4] = [
    ("chat", ["gpt-4o", "claude-sonnet-4-5"]),
    ("responses", ["gpt-5.6", "gemini-2.5-flash"]),
    ("messages", ["claude-sonnet-4-5", "gpt-4o"]),
    ("gemini", ["gemini-2.5-flash", "gpt-4o"]),
];
/// Words that mean something to somebody.
const WORDS: [&str; 12] = [
    "credit balance is too low",
    "spend limit",
    "insufficient_quota",
    "invalid_api_key",
    "API_KEY_INVALID",
    "authentication_error",
    "billing_hard_limit_reached",
    "exceeded your current quota",
    "account is not active",
    "permission_denied",
    "rate limit",
    "[DONE]",
];
const COUNTS: [&str; 20] = [
    "4611686018427387904",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "4294967295",
    "1e18",
    "1e400",
    "-1",
    "-9223372036854775808",
    "7000.0",
    "0.5",
    "\"17\"",
    "null",
    "true",
    "[1]",
    "{}",
    "0",
    "12",
    "123456789012345678901234567890",
];
/// Members that state usage, of all protocols.
const MEMBERS: [&str; 22] = [
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "ephemeral_5m_input_tokens",
    "ephemeral_1h_input_tokens",
    "web_search_requests",
    "image_tokens",
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
    "accepted_prediction_tokens",
    "service_tier",
];
const NESTED: [&str; 8] = [
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "output_tokens_details",
    "cache_creation",
    "server_tool_use",
    "promptTokensDetails",
    "candidatesTokensDetails",
];

/// How the provider answers now.
struct Liar {
    odd: Odd,
    honest: bool,
    /// What the caller wrote into its headers.
    words: String,
}

fn one<'a>(odd: &mut Odd, list: &[&'a str]) -> &'a str {
    list[odd.below(list.len())]
}

/// An object of counts that nobody counted.
fn counts(odd: &mut Odd, depth: usize) -> String {
    let mut members = Vec::new();
    for _ in 0..1 + odd.below(8) {
        members.push(format!("\"{}\":{}", one(odd, &MEMBERS), one(odd, &COUNTS)));
    }
    if depth > 0 {
        for _ in 0..odd.below(3) {
            members.push(format!("\"{}\":{}", one(odd, &NESTED), counts(odd, depth - 1)));
        }
    }
    format!("{{{}}}", members.join(","))
}

/// The protocol of a provider's path.
fn protocol_of(target: &str) -> &'static str {
    match target {
        path if path.contains("chat/completions") => "chat",
        path if path.contains("responses") => "responses",
        path if path.contains("messages") => "messages",
        _ => "gemini",
    }
}

/// Events of a stream of this protocol that says some words and states `usage`.
fn events(protocol: &str, text: &str, usage: &str) -> Vec<String> {
    let text = json!(text);
    match protocol {
        "chat" => vec![
            format!(r#"{{"choices":[{{"index":0,"delta":{{"content":{text}}}}}]}}"#),
            format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}],"usage":{usage}}}"#),
            "[DONE]".to_owned(),
        ],
        "responses" => vec![
            format!(r#"{{"type":"response.output_text.delta","delta":{text}}}"#),
            format!(r#"{{"type":"response.completed","response":{{"status":"completed","usage":{usage}}}}}"#),
        ],
        "messages" => vec![
            format!(r#"{{"type":"message_start","message":{{"content":[],"usage":{usage}}}}}"#),
            format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":{text}}}}}"#
            ),
            format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{usage}}}"#),
            r#"{"type":"message_stop"}"#.to_owned(),
        ],
        _ => vec![format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":{text}}}]}},"finishReason":"STOP"}}],"usageMetadata":{usage}}}"#
        )],
    }
}

fn whole(protocol: &str, text: &str, usage: &str) -> String {
    let text = json!(text);
    match protocol {
        "chat" => format!(
            r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":{text}}},"finish_reason":"stop"}}],"usage":{usage}}}"#
        ),
        "responses" => format!(
            r#"{{"status":"completed","output":[{{"type":"message","role":"assistant","content":[{{"type":"output_text","text":{text}}}]}}],"usage":{usage}}}"#
        ),
        "messages" => format!(
            r#"{{"type":"message","role":"assistant","content":[{{"type":"text","text":{text}}}],"stop_reason":"end_turn","usage":{usage}}}"#
        ),
        _ => format!(
            r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":{text}}}]}},"finishReason":"STOP"}}],"usageMetadata":{usage}}}"#
        ),
    }
}

const fn honest_usage(protocol: &str) -> &'static str {
    match protocol.as_bytes() {
        b"chat" => r#"{"prompt_tokens":10,"completion_tokens":5}"#,
        b"gemini" => r#"{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}"#,
        _ => r#"{"input_tokens":10,"output_tokens":5}"#,
    }
}

impl Liar {
    fn answer(&mut self, request: &Seen) -> Script {
        if request.method == "GET" {
            return Script::json(200, r#"{"data":[],"models":[]}"#);
        }
        let protocol = protocol_of(&request.target);
        let streams = request.target.contains("stream") || contains(&request.body, b"\"stream\":true");
        if self.honest {
            return Self::send(protocol, streams, "hi", honest_usage(protocol));
        }
        match self.odd.below(6) {
            0 => self.refusal(),
            1 => self.cut(protocol),
            _ => {
                let usage = counts(&mut self.odd, 2);
                let text = self.words.clone();
                // What it sends need not be what it was asked for.
                let streams = streams ^ self.odd.once_in(6);
                Self::send(protocol, streams, &text, &usage)
            }
        }
    }

    fn send(protocol: &str, streams: bool, text: &str, usage: &str) -> Script {
        if !streams {
            return Script::json(200, whole(protocol, text, usage));
        }
        let events = events(protocol, text, usage);
        events.iter().fold(Script::sse(), |script, event| script.chunk(format!("data: {event}\n\n"))).end()
    }

    /// An error that repeats what the caller wrote, without a type that the provider defines for it.
    fn refusal(&mut self) -> Script {
        let said = format!("bad header: {}", self.words);
        match self.odd.below(3) {
            0 => Script::json(
                400,
                json!({"error": {"type": "invalid_request_error", "message": said}}).to_string(),
            ),
            1 => Script::json(
                400,
                json!({"error": {"status": "INVALID_ARGUMENT", "message": said}}).to_string(),
            ),
            _ => Script::whole(400, &[("content-type", "text/html")], format!("<html>{said}</html>")),
        }
    }

    /// A stream that breaks off anywhere.
    fn cut(&mut self, protocol: &str) -> Script {
        let usage = counts(&mut self.odd, 2);
        let stream: String =
            events(protocol, &self.words, &usage).iter().map(|event| format!("data: {event}\n\n")).collect();
        let end = self.odd.below(stream.len());
        let end = (0..=end).rev().find(|at| stream.is_char_boundary(*at)).unwrap_or_default();
        let script = Script::sse();
        if end == 0 { script.close() } else { script.chunk(&stream[..end]).close() }
    }
}

fn contains(body: &[u8], what: &[u8]) -> bool {
    body.windows(what.len()).any(|window| window == what)
}

fn ask(protocol: &str, model: &str, streams: bool, words: &str) -> Request {
    let turn = json!([{"role": "user", "content": words}]);
    let request = match protocol {
        "chat" => Request::post(
            "/v1/chat/completions",
            &json!({"model": model, "stream": streams, "max_tokens": 100, "messages": turn}),
        ),
        "responses" => Request::post(
            "/v1/responses",
            &json!({"model": model, "stream": streams, "max_output_tokens": 100, "input": turn}),
        ),
        "messages" => Request::post(
            "/v1/messages",
            &json!({"model": model, "stream": streams, "max_tokens": 100, "messages": turn}),
        ),
        _ => {
            let method = if streams { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let contents = json!([{"role": "user", "parts": [{"text": words}]}]);
            let config = json!({"maxOutputTokens": 100});
            Request::post(
                &format!("/v1beta/models/{model}:{method}"),
                &json!({"contents": contents, "generationConfig": config}),
            )
        }
    };
    ["anthropic-beta", "openai-beta", "user-agent", "x-request-id", "idempotency-key"]
        .iter()
        .fold(request, |request, name| request.header(name, words))
}

/// One call to a liar: read to the end, or left at the head.
async fn be_lied_to(rig: &Rig, request: Request, leaves: bool) {
    let mut connection = Connection::open(rig.addr()).await;
    connection.send(&request.bearer(rig.key("alice"))).await;
    let head = connection.head().await;
    let status: u16 = head.word(1).parse().expect("a status");
    assert!(status < 500 || matches!(status, 502..=504), "{status}");
    if !leaves {
        // A stream that was cut may end without its last chunk.
        let _ = connection.body().await;
    }
}

async fn lies(protocol: &'static str) {
    let (_, models) = CALLS.iter().find(|(name, _)| *name == protocol).expect("a protocol of the table");
    let seconds = std::env::var("TOLLGATE_LIES_SECONDS").ok().map(|text| text.parse().expect("seconds"));
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut rig = Rig::with(|setup| setup.users = vec![("alice", POINTS)]).await;
    let liar = Arc::new(Mutex::new(Liar { odd: Odd::new(1), honest: true, words: String::new() }));
    let answers = Arc::clone(&liar);
    rig.upstream.respond(move |request| answers.lock().expect("no liar panics").answer(request));
    let mut round = 0;
    while until.map_or(round < ROUNDS, |until| Instant::now() < until) {
        round += 1;
        let mut odd = Odd::new(round);
        let words = format!("{} {}", one(&mut odd, &WORDS), one(&mut odd, &WORDS));
        let (streams, leaves) = (odd.once_in(2), odd.once_in(8));
        let model = one(&mut odd, models);
        let honest = round % LIES == 0;
        let request = ask(protocol, model, streams, &words);
        *liar.lock().expect("no liar panics") = Liar { odd, honest, words };
        if honest {
            be_served(&rig, &request, round).await;
        } else {
            be_lied_to(&rig, request, leaves).await;
        }
    }
    check_pages(&rig).await;
    check_charges(&rig).await;
    rig.restart().await;
    check_pages(&rig).await;
    liar.lock().expect("no liar panics").honest = true;
    be_served(&rig, &ask(protocol, models[0], false, "hello"), round).await;
    rig.stop().await;
}

/// An honest call is answered, at once or after a short rest.
async fn be_served(rig: &Rig, request: &Request, round: u64) {
    let served = async {
        loop {
            let reply = rig.call(request.clone()).await;
            if reply.status == 200 {
                return;
            }
            assert!(matches!(reply.status, 429 | 503), "round {round}: {} {}", reply.status, reply.text());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    patiently(&format!("an honest call after round {round}"), served).await;
}

async fn check_pages(rig: &Rig) {
    for page in ["users", "requests", "usage", "credentials", "keys", "plugins"] {
        let reply = rig.admin("GET", &format!("/management/v1/{page}")).await;
        assert_eq!(reply.status, 200, "{page}: {}", reply.text());
    }
    let credentials = rig.admin("GET", "/management/v1/credentials").await.json();
    for credential in credentials["data"].as_array().expect("a list") {
        assert_ne!(credential["enabled"], Value::Bool(false), "{credential}");
    }
}

async fn check_charges(rig: &Rig) {
    let records = rig.records(1).await;
    for record in &records {
        assert!(record.charge >= Micropoints::ZERO && record.charge <= CHARGE_MAX, "{record:?}");
    }
}

#[tokio::test]
async fn liars_in_chat_take_nothing() {
    lies("chat").await;
}

#[tokio::test]
async fn liars_in_responses_take_nothing() {
    lies("responses").await;
}

#[tokio::test]
async fn liars_in_messages_take_nothing() {
    lies("messages").await;
}

#[tokio::test]
async fn liars_in_gemini_take_nothing() {
    lies("gemini").await;
}
