//! A stream passes as it comes: each event at once and to the byte, metered on the way, and ended in its protocol when
//! the upstream does not end it.

use serde_json::Value;
use tollgate_core::outcome::Outcome;
use tollgate_core::usage::{Class, Quality};
use tollgate_server::config::{Millis, Sync};
use tollgate_store::RequestRecord;
use tollgate_tests::client::{self, Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::{Gate, Script};

/// One wire format: a call and a stream of 10 prompt and 5 output tokens.
struct Wire {
    target: &'static str,
    body: &'static str,
    events: &'static [&'static str],
    /// At list price, in micro-points: 1 USD a million tokens are 1,000 micro-points a token.
    charge: i64,
    /// The beginning of an event that reports a failure.
    error: &'static str,
}

const CHAT: Wire = Wire {
    target: "/v1/chat/completions",
    body: r#"{"model":"gpt-4o","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#,
    events: &[
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"Gr\u{fc}\u{df} \"}}],\"usage\":null}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"Gott\\n\"}}],\"usage\":null}\n\n",
        "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\n",
        "data: [DONE]\n\n",
    ],
    // 10 x 2,500 + 5 x 10,000.
    charge: 75_000,
    error: "data: {\"error\":{\"message\":",
};

const RESPONSES: Wire = Wire {
    target: "/v1/responses",
    body: r#"{"model":"gpt-4o","input":"hi","stream":true}"#,
    events: &[
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Hello\"}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":5}}}\n\n",
    ],
    charge: 75_000,
    error: "event: error\ndata: {\"type\":\"error\",\"code\":",
};

const MESSAGES: Wire = Wire {
    target: "/v1/messages",
    body: r#"{"model":"claude-sonnet-4-5","max_tokens":100,"messages":[],"stream":true}"#,
    events: &[
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":5}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ],
    // 10 x 3,000 + 5 x 15,000.
    charge: 105_000,
    error: "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":",
};

const GEMINI: Wire = Wire {
    target: "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    body: r#"{"contents":[]}"#,
    events: &[
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"He\"}]}}],\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":1}}\r\n\r\n",
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"llo\"}]}}],\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":2}}\r\n\r\n",
        "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":5}}\r\n\r\n",
    ],
    // 10 x 300 + 5 x 2,500.
    charge: 15_500,
    error: "data: {\"error\":{\"code\":",
};

const WIRES: [&Wire; 4] = [&CHAT, &RESPONSES, &MESSAGES, &GEMINI];

impl Wire {
    fn request(&self) -> Request {
        Request::new("POST", self.target).body(self.body)
    }

    fn stream(&self) -> String {
        self.events.concat()
    }
}

/// A chat stream request without the option, for which an event must be withheld.
fn silent_chat() -> Request {
    Request::new("POST", CHAT.target).body(r#"{"model":"gpt-4o","messages":[],"stream":true}"#)
}

/// What a client that did not ask for usage sees.
fn silent_chat_stream() -> String {
    CHAT.stream().replace(CHAT.events[2], "")
}

/// A rig for hundreds of requests, without waiting for the disk.
async fn quick_rig() -> Rig {
    Rig::with(|setup| setup.config.store.sync = Sync::Normal).await
}

fn millis(ms: u64) -> Millis {
    Millis::try_from(ms).expect("a time within bounds")
}

async fn open(rig: &Rig, request: Request) -> Connection {
    let mut client = Connection::open(rig.addr()).await;
    client.send(&request.bearer(rig.key("alice"))).await;
    client
}

fn check_exact(record: &RequestRecord, charge: i64) {
    let seen =
        (record.outcome, record.usage[Class::Input], record.usage[Class::Output], record.usage.quality);
    assert_eq!(seen, (Outcome::Ok, 10, 5, Quality::Exact), "{record:?}");
    assert_eq!(record.charge.get(), charge);
}

#[tokio::test]
async fn each_event_reaches_the_client_before_the_next_is_sent_and_to_the_byte() {
    let rig = Rig::start().await;
    for (count, wire) in WIRES.into_iter().enumerate() {
        let gate = Gate::new();
        let script = wire.events.iter().fold(Script::sse(), |script, event| script.chunk(event).gate(&gate));
        rig.upstream.enqueue(script.end());
        let mut client = open(&rig, wire.request()).await;
        assert_eq!(client.head().await.header("content-type"), Some("text/event-stream"));
        for event in wire.events {
            assert_eq!(client.read_until(event).await, *event);
            gate.open();
        }
        assert_eq!(client.body().await.unwrap(), b"");
        check_exact(rig.records(count + 1).await.last().unwrap(), wire.charge);
    }
    rig.stop().await;
}

/// Calls into components so far.
async fn component_calls(rig: &Rig) -> u64 {
    let metrics = client::call(rig.admin_addr(), &Request::get("/metrics")).await.text();
    let series = metrics.lines().filter(|line| line.starts_with("tollgate_plugin_calls{"));
    let calls = series.map(|line| line.rsplit(' ').next().and_then(|calls| calls.parse::<u64>().ok()));
    calls.map(|calls| calls.expect("a number of calls")).sum()
}

#[tokio::test]
async fn a_stream_of_three_hundred_events_costs_three_calls_into_components() {
    let rig = Rig::start().await;
    for (count, wire) in WIRES.into_iter().enumerate() {
        let [first, middle, rest @ ..] = wire.events else { panic!("a first, a middle and an end") };
        let script = (0..300).fold(Script::sse().chunk(first), |script, _| script.chunk(middle));
        rig.upstream.enqueue(rest.iter().fold(script, |script, event| script.chunk(event)).end());
        let before = component_calls(&rig).await;
        assert_eq!(rig.call(wire.request()).await.text().matches(middle).count(), 300);
        check_exact(rig.records(count + 1).await.last().unwrap(), wire.charge);
        // `select`, `read-usage`, `settle`.
        assert_eq!(component_calls(&rig).await - before, 3, "{}", wire.target);
    }
    rig.stop().await;
}

#[tokio::test]
async fn withholding_an_event_holds_up_no_other() {
    let (rig, gate) = (Rig::start().await, Gate::new());
    let script = CHAT.events.iter().fold(Script::sse(), |script, event| script.chunk(event).gate(&gate));
    rig.upstream.enqueue(script.end());
    let mut client = open(&rig, silent_chat()).await;
    client.head().await;
    for event in [CHAT.events[0], CHAT.events[1]] {
        assert_eq!(client.read_until(event).await, event);
        gate.open();
    }
    gate.open();
    assert_eq!(client.read_until(CHAT.events[3]).await, CHAT.events[3]);
    gate.open();
    assert_eq!(client.body().await.unwrap(), b"");
    rig.stop().await;
}

#[tokio::test]
async fn usage_is_asked_for_in_the_clients_own_bytes_and_withheld_where_the_client_did_not_ask() {
    let rig = Rig::start().await;
    let cases = [
        (
            r#"{"stream":true,"model":"gpt-4o" }"#,
            r#"{"stream":true,"model":"gpt-4o" ,"stream_options":{"include_usage":true}}"#,
        ),
        (
            "{\"model\":\"gpt-4o\",\"stream\":true,\"x\":\"\\u00e9}\"}\r\n",
            "{\"model\":\"gpt-4o\",\"stream\":true,\"x\":\"\\u00e9}\",\"stream_options\":{\"include_usage\":true}}\r\n",
        ),
        (
            r#"{"model":"gpt-4o","stream_options":{"include_usage":false},"stream":true}"#,
            r#"{"model":"gpt-4o","stream_options":{"include_usage":true},"stream":true}"#,
        ),
        (
            r#"{"model":"gpt-4o","stream_options":{"include_obfuscation": false },"stream":true}"#,
            r#"{"model":"gpt-4o","stream_options":{"include_obfuscation": false ,"include_usage":true},"stream":true}"#,
        ),
        (
            r#"{"model":"gpt-4o","stream":true,"stream_options":{}}"#,
            r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"model":"gpt-4o","stream":true,"stream_options":null}"#,
            r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
    ];
    for (count, (sent, expected)) in cases.into_iter().enumerate() {
        rig.upstream.enqueue(Script::sse().chunk(CHAT.stream()).end());
        let reply = rig.call(Request::new("POST", CHAT.target).body(sent)).await;
        assert_eq!(String::from_utf8_lossy(&rig.upstream.next().await.body), expected);
        assert_eq!(reply.text(), silent_chat_stream(), "{sent}");
        check_exact(rig.records(count + 1).await.last().unwrap(), CHAT.charge);
    }
    rig.upstream.enqueue(Script::sse().chunk(CHAT.stream()).end());
    assert_eq!(rig.call(CHAT.request()).await.text(), CHAT.stream());
    assert_eq!(String::from_utf8_lossy(&rig.upstream.next().await.body), CHAT.body);
    rig.stop().await;
}

/// Sends `request` once for each place where `stream` can be cut in two, and once byte by byte.
async fn check_cut_everywhere(request: Request, stream: &str, expected: &str, charge: i64) {
    let rig = quick_rig().await;
    let request = request.bearer(rig.key("alice"));
    let mut scripts: Vec<Script> =
        (0..=stream.len()).map(|at| Script::sse().split(stream, at).end()).collect();
    scripts.push(Script::sse().bytewise(stream).end());
    let count = scripts.len();
    let mut client = Connection::open(rig.addr()).await;
    for (at, script) in scripts.into_iter().enumerate() {
        rig.upstream.enqueue(script);
        client.send(&request).await;
        assert_eq!(client.reply().await.text(), expected, "cut at {at}");
    }
    rig.records(count).await.iter().for_each(|record| check_exact(record, charge));
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_the_same_stream_with_the_same_bill() {
    check_cut_everywhere(MESSAGES.request(), &MESSAGES.stream(), &MESSAGES.stream(), MESSAGES.charge).await;
}

#[tokio::test]
async fn the_unasked_event_is_withheld_wherever_the_stream_is_cut() {
    check_cut_everywhere(silent_chat(), &CHAT.stream(), &silent_chat_stream(), CHAT.charge).await;
}

#[tokio::test]
async fn a_stream_with_crlf_can_be_cut_between_cr_and_lf() {
    check_cut_everywhere(GEMINI.request(), &GEMINI.stream(), &GEMINI.stream(), GEMINI.charge).await;
}

#[tokio::test]
async fn a_gemini_stream_without_sse_is_one_array_and_metered() {
    let (rig, gate) = (Rig::start().await, Gate::new());
    let parts = [
        "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"He\"}]}}],\"usageMetadata\":{\"promptTokenCount\":10,\"candidatesTokenCount\":1}}\n",
        ",\r\n{\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\": {\n\"promptTokenCount\":10,\"candidatesTokenCount\":5}}\n",
        "]",
    ];
    let head = Script::chunked(200, &[("content-type", "application/json")]);
    rig.upstream.enqueue(parts.iter().fold(head, |script, part| script.chunk(part).gate(&gate)).end());
    let target = GEMINI.target.trim_end_matches("?alt=sse");
    let mut client = open(&rig, Request::new("POST", target).body(GEMINI.body)).await;
    client.head().await;
    for part in parts {
        assert_eq!(client.read_until(part).await, part);
        gate.open();
    }
    assert_eq!(client.body().await.unwrap(), b"");
    assert_eq!(rig.upstream.next().await.target, target);
    check_exact(&rig.record().await, GEMINI.charge);
    rig.stop().await;
}

/// Checks that `text` is `delivered` and then one event that tells of a failure in the wire's own words.
fn check_told(wire: &Wire, text: &str, delivered: &str) -> Value {
    let told = text
        .strip_prefix(delivered)
        .unwrap_or_else(|| panic!("{text:?} begins otherwise than {delivered:?}"));
    assert!(told.starts_with(wire.error) && told.ends_with("}\n\n"), "{told:?}");
    let data = told.split_once("data: ").expect("an event with data").1;
    serde_json::from_str(data).expect("an event of JSON")
}

/// Checks the record of a stream that broke after its first two events.
fn check_partial(record: &RequestRecord, wire: &Wire) {
    // Where nothing was stated, four bytes of text stand for a token, with four tokens around a prompt. Anthropic and
    // Gemini have stated the prompt by then, and less output than was seen.
    let (input, output, rates) = match wire.target {
        "/v1/messages" => (10, 2, (3_000, 15_000)),
        "/v1/responses" => (5, 2, (2_500, 10_000)),
        "/v1/chat/completions" => (4, 3, (2_500, 10_000)),
        _ => (10, 2, (300, 2_500)),
    };
    assert_eq!((record.usage[Class::Input], record.usage[Class::Output]), (input, output), "{record:?}");
    assert_eq!(record.charge.get().unsigned_abs(), input * rates.0 + output * rates.1);
    assert_eq!((record.outcome, record.streamed), (Outcome::Partial, true));
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_in_its_protocols_words_and_costs_what_passed() {
    let rig = Rig::start().await;
    let mut count = 0;
    for wire in WIRES {
        let delivered = wire.events[..2].concat();
        let begun = Script::sse().chunk(wire.events[0]).chunk(wire.events[1]);
        for script in [begun.clone().close(), begun.write("zz\r\n")] {
            rig.upstream.enqueue(script);
            let reply = rig.call(wire.request()).await;
            assert_eq!(reply.status, 200);
            check_told(wire, &reply.text(), &delivered);
            count += 1;
            check_partial(rig.records(count).await.last().unwrap(), wire);
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_error_is_an_event_of_its_own_wherever_the_stream_breaks() {
    let rig = quick_rig().await;
    for wire in WIRES {
        let (first, second) = (wire.events[0], wire.events[1]);
        for at in (1..second.len()).filter(|at| second.is_char_boundary(*at)) {
            rig.upstream.enqueue(Script::sse().chunk(first).chunk(&second[..at]).close());
            let text = rig.call(wire.request()).await.text();
            let last = text.trim_end().rsplit("\n\n").next().unwrap();
            assert!(last.starts_with(wire.error), "cut at {at}: {text:?}");
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn half_an_event_is_not_shown_to_a_client_from_whom_events_are_withheld() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::sse().chunk(CHAT.events[0]).chunk(&CHAT.events[1][..30]).close());
    let reply = rig.call(silent_chat()).await;
    check_told(&CHAT, &reply.text(), CHAT.events[0]);
    rig.stop().await;
}

#[tokio::test]
async fn an_unstreamed_answer_that_breaks_cannot_be_taken_for_a_whole_one() {
    let rig = Rig::start().await;
    let body =
        r#"{"choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
    let whole = Script::json(200, body);
    rig.upstream.enqueue(whole.clone().cut(whole.bytes() - 10));
    let mut client = open(&rig, Request::new("POST", CHAT.target).body(r#"{"model":"gpt-4o"}"#)).await;
    client.head().await;
    client.body().await.unwrap_err();
    let record = rig.record().await;
    assert_eq!(record.outcome, Outcome::Partial, "{record:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_that_never_states_its_usage_is_charged_by_estimate() {
    let rig = Rig::start().await;
    let stream = [CHAT.events[0], CHAT.events[1], CHAT.events[3]].concat();
    rig.upstream.enqueue(Script::sse().chunk(&stream).end());
    assert_eq!(rig.call(CHAT.request()).await.text(), stream);
    let record = rig.record().await;
    assert_eq!((record.outcome, record.usage.quality), (Outcome::Ok, Quality::Estimated));
    // A prompt without text has four tokens around it; "Grüß " and "Gott\n" are 7 and 5 bytes, so 3 tokens.
    assert_eq!((record.usage[Class::Input], record.usage[Class::Output]), (4, 3));
    assert_eq!(record.charge.get(), 4 * 2_500 + 3 * 10_000);
    rig.stop().await;
}

#[tokio::test]
async fn a_client_in_silence_gets_pings_between_events_and_never_within_one() {
    const PING: &str = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    let rig = Rig::with(|setup| setup.config.limits.stream_keep_alive_ms = 30).await;
    let (within, between) = (Gate::new(), Gate::new());
    let (first, second) = MESSAGES.events[1].split_at(40);
    rig.upstream
        .enqueue(Script::sse().chunk(MESSAGES.events[0]).chunk(first).gate(&within).chunk(second).end());
    let mut halfway = open(&rig, MESSAGES.request()).await;
    halfway.head().await;
    let mut seen = halfway.read_until(first).await;
    let head = MESSAGES.events[0];
    rig.upstream
        .enqueue(Script::sse().gate(&between).chunk(head).gate(&between).chunk(MESSAGES.events[3]).end());
    let mut resting = open(&rig, MESSAGES.request()).await;
    // The other client has had silence for at least as long when this one has got its pings.
    resting.head().await;
    let mut calm = resting.read_until(&PING.repeat(3)).await;
    between.open();
    calm += &resting.read_until(head).await;
    calm += &resting.read_until(&PING.repeat(3)).await;
    within.open();
    between.open();
    calm += &String::from_utf8(resting.body().await.unwrap()).unwrap();
    seen += &String::from_utf8(halfway.body().await.unwrap()).unwrap();
    assert!(seen.contains(MESSAGES.events[1]), "a ping inside an event: {seen:?}");
    assert_eq!(calm.replace(PING, ""), [head, MESSAGES.events[3]].concat());
    rig.stop().await;
}

#[tokio::test]
async fn an_upstream_that_falls_silent_is_left_and_the_client_is_told() {
    let rig = Rig::with(|setup| setup.config.limits.upstream_idle_timeout_ms = millis(50)).await;
    for (count, wire) in WIRES.into_iter().enumerate() {
        rig.upstream.enqueue(Script::sse().chunk(wire.events[0]).chunk(wire.events[1]).hang());
        let text = rig.call(wire.request()).await.text();
        let told = check_told(wire, &text, &wire.events[..2].concat());
        assert!(told.to_string().contains("did not answer in time"), "{told}");
        rig.upstream.next().await.closed().await;
        check_partial(rig.records(count + 1).await.last().unwrap(), wire);
    }
    rig.stop().await;
}
