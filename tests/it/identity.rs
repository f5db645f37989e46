//! Pass-through changes nothing: where client and provider speak the same protocol, requests go up and answers come
//! down to the byte, however oddly they are written.
//!
//! Each case is generated from its number. A failed one names it, and `TOLLGATE_IDENTITY_SEED=<number>` runs only that
//! one.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use tempfile::TempDir;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_server::config::Config;
use tollgate_tests::client::{Connection, Reply, Request};
use tollgate_tests::gateway;
use tollgate_tests::odd::{Member, Object, Odd};
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

/// Cases of each of the four protocols: 1,000 in all.
const CASES: RangeInclusive<u64> = 1..=250;
/// Levels of a generated value, except for rare deep ones.
const DEPTH: usize = 3;
/// The gateway reads no more of an error answer.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Bytes shown around a difference.
const AROUND: usize = 40;
/// A model that another name stands for.
const ALIAS: &str = "[[models]]\nname = \"odd\"\ntargets = [{ provider = \"openai\", model = \"gpt-4o\" }]\n";

fn cases() -> RangeInclusive<u64> {
    match std::env::var("TOLLGATE_IDENTITY_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("a number");
            seed..=seed
        }
        Err(_) => CASES,
    }
}

fn member(name: &'static str, value: impl Into<String>) -> Member {
    Member { name, value: value.into() }
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Whole,
    /// A status that blames the request: the provider's own words go to the client.
    Refused,
    Events,
    /// What Gemini's clients get unless they ask for events.
    Array,
}

impl Shape {
    fn of(odd: &mut Odd, protocol: Protocol) -> Self {
        match odd.below(8) {
            0 => Self::Refused,
            1..=3 => Self::Whole,
            4 if protocol == Gemini => Self::Array,
            _ => Self::Events,
        }
    }

    const fn streams(self) -> bool {
        matches!(self, Self::Events | Self::Array)
    }
}

/// A request and its answer.
struct Case {
    target: &'static str,
    shape: Shape,
    request: Object,
    answer: String,
    odd: Odd,
}

impl Case {
    fn new(protocol: Protocol, model: &str, seed: u64) -> Self {
        let mut odd = Odd::new(seed);
        let shape = Shape::of(&mut odd, protocol);
        let members = question(&mut odd, protocol, model, shape.streams());
        let request = odd.plain_object(&members, DEPTH);
        let request = odd.document(request);
        let answer = match shape {
            Shape::Whole => whole(&mut odd, protocol),
            Shape::Refused => refusal(&mut odd, protocol),
            Shape::Events => {
                let events = events(&mut odd, protocol);
                odd.events(&events)
            }
            Shape::Array => {
                let events: Vec<String> =
                    events(&mut odd, protocol).into_iter().map(|(_, data)| data).collect();
                odd.array(&events)
            }
        };
        Self { target: target(protocol, shape), shape, request, answer, odd }
    }

    fn script(&mut self) -> Script {
        let (status, kind) = match self.shape {
            Shape::Events => (200, "text/event-stream"),
            Shape::Whole | Shape::Array => (200, "application/json"),
            Shape::Refused => (400, "application/json"),
        };
        let headers = [("content-type", kind)];
        if !self.shape.streams() && self.odd.once_in(2) {
            return Script::whole(status, &headers, &self.answer);
        }
        let pieces = self.odd.cut(self.answer.as_bytes());
        pieces.into_iter().fold(Script::chunked(status, &headers), Script::chunk).end()
    }

    /// Sends the request in a few writes, cut anywhere, and reads the answer.
    async fn play(&mut self, connection: &mut Connection, key: &str) -> Reply {
        let request = Request::new("POST", self.target).bearer(key);
        let request = request.header("content-type", "application/json").body(self.request.text.as_bytes());
        let bytes = request.encode("gateway");
        for piece in self.odd.cut(&bytes) {
            connection.send_raw(piece).await;
        }
        connection.reply().await
    }
}

fn target(protocol: Protocol, shape: Shape) -> &'static str {
    match (protocol, shape) {
        (OpenaiChat, _) => "/v1/chat/completions",
        (OpenaiResponses, _) => "/v1/responses",
        (AnthropicMessages, _) => "/v1/messages",
        (Gemini, Shape::Events) => "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        (Gemini, Shape::Array) => "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        (Gemini, _) => "/v1beta/models/gemini-2.5-flash:generateContent",
    }
}

/// The members that the gateway looks at, which must follow the protocol; the rest may be anything.
fn question(odd: &mut Odd, protocol: Protocol, model: &str, streams: bool) -> Vec<Member> {
    let said = odd.string();
    let limit = odd.below(5000).to_string();
    let turn = odd.object(&[member("role", "\"user\""), member("content", said)], DEPTH).text;
    let rest = odd.value(DEPTH);
    let turns = odd.array(&[turn, rest]);
    let (turns_name, limit_name) = match protocol {
        OpenaiChat => ("messages", "max_tokens"),
        OpenaiResponses => ("input", "max_output_tokens"),
        AnthropicMessages => ("messages", "max_tokens"),
        Gemini => {
            let config = odd.plain_object(&[member("maxOutputTokens", limit)], DEPTH).text;
            return vec![member("contents", turns), member("generationConfig", config)];
        }
    };
    let mut members =
        vec![member("model", format!("\"{model}\"")), member(turns_name, turns), member(limit_name, limit)];
    if streams {
        members.push(member("stream", "true"));
    }
    if streams && protocol == OpenaiChat {
        // Without it the gateway asks for the usage itself, and removes the event that this causes.
        let options = odd.plain_object(&[member("include_usage", "true")], DEPTH).text;
        members.push(member("stream_options", options));
    }
    members
}

fn usage(odd: &mut Odd, input: &'static str, output: &'static str) -> String {
    odd.object(&[member(input, "10"), member(output, "5")], DEPTH).text
}

/// The usage in a protocol's own words: the member's name and its value.
fn usage_member(odd: &mut Odd, protocol: Protocol) -> Member {
    match protocol {
        OpenaiChat => member("usage", usage(odd, "prompt_tokens", "completion_tokens")),
        OpenaiResponses | AnthropicMessages => member("usage", usage(odd, "input_tokens", "output_tokens")),
        Gemini => member("usageMetadata", usage(odd, "promptTokenCount", "candidatesTokenCount")),
    }
}

fn whole(odd: &mut Odd, protocol: Protocol) -> String {
    let said = odd.value(DEPTH);
    let content = match protocol {
        OpenaiChat => "choices",
        OpenaiResponses => "output",
        AnthropicMessages => "content",
        Gemini => "candidates",
    };
    let members = [member(content, odd.array(&[said])), usage_member(odd, protocol)];
    let object = odd.object(&members, DEPTH);
    odd.document(object).text
}

/// A provider's error, of a size that the gateway passes on.
fn refusal(odd: &mut Odd, protocol: Protocol) -> String {
    let mut refusals = std::iter::repeat_with(|| any_refusal(odd, protocol));
    refusals.find(|text| text.len() <= REFUSAL_BYTES_MAX).expect("most are small")
}

/// The members by which a client recognises an error are at its beginning, plainly written; the rest may be anything.
fn any_refusal(odd: &mut Odd, protocol: Protocol) -> String {
    let message = odd.string();
    let (start, name, kind) = match protocol {
        OpenaiChat | OpenaiResponses => ("", "type", "\"invalid_request_error\""),
        AnthropicMessages => ("\"type\":\"error\", ", "type", "\"invalid_request_error\""),
        Gemini => ("", "status", "\"INVALID_ARGUMENT\""),
    };
    let error = odd.object(&[member(name, kind), member("message", message)], DEPTH).text;
    let rest = odd.object(&[], DEPTH).text;
    let rest = rest.trim_start_matches('{');
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    let text = format!("{{\n {start}\"error\" :{error}{comma}{rest}");
    odd.document(Object { text, values: Vec::new() }).text
}

/// Names and data of a stream with some text, then its usage, then its end.
fn events(odd: &mut Odd, protocol: Protocol) -> Vec<(&'static str, String)> {
    let (name, text_name, content) = match protocol {
        OpenaiChat => ("", "content", "choices"),
        OpenaiResponses => ("response.output_text.delta", "delta", "part"),
        AnthropicMessages => ("content_block_delta", "text", "delta"),
        Gemini => ("", "text", "candidates"),
    };
    let mut events = Vec::new();
    for _ in 0..1 + odd.below(12) {
        let said = odd.string();
        let said = odd.object(&[member(text_name, said)], DEPTH).text;
        let said = if matches!(protocol, OpenaiChat | Gemini) { odd.array(&[said]) } else { said };
        let kind = member("type", format!("\"{name}\""));
        events.push((name, odd.object(&[kind, member(content, said)], DEPTH).text));
    }
    let usage = usage_member(odd, protocol);
    let last = |odd: &mut Odd, name: &'static str, members: Vec<Member>| {
        let kind = member("type", format!("\"{name}\""));
        (name, odd.object(&[members, vec![kind]].concat(), DEPTH).text)
    };
    match protocol {
        OpenaiChat => {
            events.push(("", odd.object(&[member("choices", "[ ]"), usage], DEPTH).text));
            events.push(("", "[DONE]".to_owned()));
        }
        OpenaiResponses => {
            let response = member("response", odd.object(&[usage], DEPTH).text);
            events.push(last(odd, "response.completed", vec![response]));
        }
        AnthropicMessages => {
            events.push(last(odd, "message_delta", vec![usage]));
            events.push(last(odd, "message_stop", Vec::new()));
        }
        Gemini => {
            let done = odd.object(&[member("finishReason", "\"STOP\"")], DEPTH).text;
            let done = odd.array(&[done]);
            events.push(("", odd.object(&[usage, member("candidates", done)], DEPTH).text));
        }
    }
    events
}

/// Where two texts differ, or `None` where they are the same to the byte.
fn difference(expected: &[u8], seen: &[u8]) -> Option<String> {
    if expected == seen {
        return None;
    }
    let at = expected.iter().zip(seen).take_while(|(one, other)| one == other).count();
    let show = |bytes: &[u8]| {
        let range = at.saturating_sub(AROUND)..bytes.len().min(at + AROUND);
        String::from_utf8_lossy(bytes.get(range).unwrap_or_default()).into_owned()
    };
    let (lengths, expected, seen) = ((expected.len(), seen.len()), show(expected), show(seen));
    Some(format!("differs at byte {at} (lengths {lengths:?}): expected {expected:?}, saw {seen:?}"))
}

/// Names the case of a test that panics anywhere.
struct Named(Protocol, u64);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "says with which seed a failed test is run again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(protocol, seed) = self;
            eprintln!("case of {}: TOLLGATE_IDENTITY_SEED={seed}", protocol.name());
        }
    }
}

/// The real binary between the two ends.
struct Road {
    upstream: Upstream,
    process: Process,
    keys: HashMap<&'static str, String>,
    _dir: TempDir,
}

impl Road {
    async fn start() -> Self {
        let upstream = Upstream::start().await;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = config_file(dir.path(), &upstream, ALIAS);
        let config = Config::read(&path).expect("a configuration");
        let users = vec![("alice", Micropoints::from_points(1_000_000))];
        let credentials = ["openai", "anthropic", "google"].map(|provider| (provider, None, "platform", 100));
        let keys = gateway::provision(&config, users, credentials.to_vec()).await.expect("an empty database");
        let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &path).await;
        Self { upstream, process, keys, _dir: dir }
    }

    /// Plays the cases one after the other; `expected` says what of the request the provider is to see.
    async fn check(&self, protocol: Protocol, model: &str, expected: impl Fn(&Object) -> String) {
        let mut connection = Connection::open(self.process.addr).await;
        for seed in cases() {
            let _named = Named(protocol, seed);
            let mut case = Case::new(protocol, model, seed);
            let script = case.script();
            self.upstream.enqueue(script);
            let reply = case.play(&mut connection, &self.keys["alice"]).await;
            let status = if case.shape == Shape::Refused { 400 } else { 200 };
            assert_eq!(reply.status, status, "{}", reply.text());
            let seen = self.upstream.next().await;
            let upstream = difference(expected(&case.request).as_bytes(), &seen.body);
            assert_eq!(upstream, None, "the request that the provider saw");
            assert_eq!(difference(case.answer.as_bytes(), &reply.body), None, "the answer");
        }
    }
}

async fn check_untouched(protocol: Protocol) {
    let model = match protocol {
        OpenaiChat | OpenaiResponses => "gpt-4o",
        AnthropicMessages => "claude-sonnet-4-5",
        Gemini => "gemini-2.5-flash",
    };
    Road::start().await.check(protocol, model, |request| request.text.clone()).await;
}

#[tokio::test]
async fn odd_chats_and_their_answers_pass_to_the_byte() {
    check_untouched(OpenaiChat).await;
}

#[tokio::test]
async fn odd_responses_and_their_answers_pass_to_the_byte() {
    check_untouched(OpenaiResponses).await;
}

#[tokio::test]
async fn odd_messages_and_their_answers_pass_to_the_byte() {
    check_untouched(AnthropicMessages).await;
}

#[tokio::test]
async fn odd_gemini_calls_and_their_answers_pass_to_the_byte() {
    check_untouched(Gemini).await;
}

/// What is declared to change does change, which also shows that these tests notice changes: in the same bodies only
/// the model's name differs.
#[tokio::test]
async fn an_alias_changes_the_models_name_and_no_other_byte() {
    let renamed = |request: &Object| {
        let mut text = request.text.clone();
        text.replace_range(request.values[0].clone(), "\"gpt-4o\"");
        assert!(difference(request.text.as_bytes(), text.as_bytes()).is_some());
        text
    };
    Road::start().await.check(OpenaiResponses, "odd", renamed).await;
}

#[test]
fn one_changed_byte_is_a_difference() {
    let case = Case::new(OpenaiChat, "gpt-4o", 1);
    let bytes = case.request.text.as_bytes();
    for at in (0..bytes.len()).step_by(bytes.len().div_ceil(2000)) {
        let mut other = bytes.to_vec();
        other[at] ^= 1;
        let told = difference(bytes, &other).expect("a difference");
        assert!(told.contains(&format!("at byte {at} ")), "{told}");
    }
    assert!(difference(bytes, &bytes[..bytes.len() - 1]).is_some());
    assert_eq!(difference(bytes, bytes), None);
}
