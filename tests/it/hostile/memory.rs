//! Memory: nothing that a client or a provider sends without end is held without end, and what all of them hold
//! together has a bound.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tollgate_core::points::Micropoints;
use tollgate_server::config::{Attempts, Millis};
use tollgate_tests::client::{Connection, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::patiently;
use tollgate_tests::upstream::{Gate, Script};

use crate::bad_input::{ANSWER, CHAT, GOOD};

const MIB: usize = 1 << 20;
/// A provider's stream with one event of text, in Anthropic's words.
const FIRST_EVENTS: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",",
    "\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[],\"stop_reason\":null,",
    "\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,",
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,",
    "\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n",
);

/// So many bytes in pieces, and then silence.
fn flood(head: Script, bytes: usize, piece: &str) -> Script {
    (0..bytes / piece.len()).fold(head, |script, _| script.write(piece)).hang()
}

/// The same in chunks.
fn chunks(head: Script, bytes: usize, piece: &str) -> Script {
    (0..bytes / piece.len()).fold(head, |script, _| script.chunk(piece)).hang()
}

/// A rig that filters answers, and takes small ones only where it must see them whole.
async fn rig(change: impl FnOnce(&mut Setup)) -> Rig {
    Rig::with(|setup| {
        setup.config.limits.answer_bytes_max = MIB;
        setup.users = vec![("alice", Micropoints::from_points(100_000_000))];
        change(setup);
    })
    .await
}

fn filters(setup: &mut Setup) {
    let config = "words = [\"falcon\"]\nresponses = { window_chars = 32 }";
    setup.config.policies.content_filter.config = toml::from_str(config).expect("a table");
}

fn chat(model: &str, stream: bool, text: &str) -> Request {
    let messages = json!([{"role": "user", "content": text}]);
    Request::post(CHAT, &json!({"model": model, "stream": stream, "max_tokens": 9, "messages": messages}))
}

#[tokio::test]
async fn an_endless_answer_that_must_be_seen_whole_is_a_502_and_ends_upstream() {
    for (screened, model) in [(false, "claude-sonnet-4-5"), (false, "gemini-2.5-flash"), (true, "gpt-4o")] {
        let rig = rig(|setup| {
            if screened {
                filters(setup)
            }
        })
        .await;
        let piece = "x".repeat(64 << 10);
        let raw = |head: &str| {
            Script::raw(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{head}\r\n"))
        };
        for (what, script) in [
            ("chunks without an end", chunks(Script::chunked(200, &[]), 4 * MIB, &piece)),
            ("no length and no end", flood(raw(""), 4 * MIB, &piece)),
            (
                "a length past the bound",
                flood(raw(&format!("content-length: {}\r\n", 1_u64 << 40)), MIB / 2, &piece),
            ),
            (
                "a million small chunks",
                Script::chunked(200, &[]).chunk("{").write("1\r\nx\r\n".repeat(2 * MIB)).hang(),
            ),
            ("white space", chunks(Script::chunked(200, &[]), 4 * MIB, &" ".repeat(64 << 10))),
            ("an open array", chunks(Script::chunked(200, &[]), 4 * MIB, &"[".repeat(64 << 10))),
        ] {
            rig.upstream.enqueue(script);
            let reply = rig.call(chat(model, false, "hi")).await;
            assert_eq!(reply.status, 502, "{what} of {model}: {}", reply.text());
            assert!(reply.json()["error"]["message"].is_string(), "{what} of {model}");
            patiently(what, rig.upstream.next().await.closed()).await;
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn endless_words_of_a_provider_beside_its_answers_are_bounded() {
    let rig = rig(|setup| {
        let limits = &mut setup.config.limits;
        limits.attempts_max = Attempts(1);
        limits.upstream_first_byte_timeout_ms = Millis::try_from(3000).expect("a time within bounds");
        setup.credentials = vec![("openai", None, "platform-openai", 100); 20];
    })
    .await;
    let piece = "x".repeat(64 << 10);
    let head = |status: &str| Script::raw(format!("HTTP/1.1 {status} X\r\n"));
    for (what, script) in [
        ("an error body in chunks", chunks(Script::chunked(500, &[]), 4 * MIB, &piece)),
        ("an error body without a length", flood(head("503").write("\r\n"), 4 * MIB, &piece)),
        ("a head without an end", flood(head("200"), 4 * MIB, &"x-a: b\r\n".repeat(100))),
        ("a header without an end", flood(head("200").write("x: "), 4 * MIB, &piece)),
        ("hints without an end", flood(Script::default(), 4 * MIB, &"HTTP/1.1 103 X\r\n\r\n".repeat(100))),
        ("a status line without an end", flood(Script::raw("HTTP/1.1 200 "), 4 * MIB, &piece)),
    ] {
        rig.upstream.enqueue(script);
        let reply = rig.call(chat("gpt-4o", false, "hi")).await;
        assert!(matches!(reply.status, 500..), "{what}: {}", reply.status);
        patiently(what, rig.upstream.next().await.closed()).await;
    }
    rig.upstream.enqueue(Script::json(200, ANSWER));
    assert_eq!(rig.call(chat("gpt-4o", false, "hi")).await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn what_a_filter_holds_back_has_a_bound() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"short\"}}]}\n\n";
    let silent = format!("data: {{\"choices\":[],\"pad\":\"{}\"}}\n\n", "x".repeat(64 << 10));
    let unread = "\\u200b".repeat(10_000);
    let unread = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{unread}\"}}}}]}}\n\n");
    let piece = "x".repeat(64 << 10);
    let rig = rig(filters).await;
    for (what, script) in [
        ("events without text", chunks(Script::sse().chunk(text), 40 * MIB, &silent)),
        ("text that takes no room", chunks(Script::sse().chunk(text), 40 * MIB, &unread)),
        ("an event without an end", chunks(Script::sse().chunk("data: {\"a\":\""), 40 * MIB, &piece)),
        ("a comment without an end", chunks(Script::sse().chunk(": "), 40 * MIB, &piece)),
        ("lines of one event", chunks(Script::sse(), 40 * MIB, &format!("data: {piece}\n"))),
    ] {
        rig.upstream.enqueue(script);
        let reply = rig.call(chat("gpt-4o", true, "hi")).await;
        assert!(
            reply.text().contains("content_filter"),
            "{what}: {}",
            reply.text().get(..300).unwrap_or(&reply.text())
        );
        patiently(what, rig.upstream.next().await.closed()).await;
    }
    rig.stop().await;
}

/// Begins a call with a body of this length, and waits until the provider has it.
async fn under_way(rig: &Rig, gate: &Gate, length: usize) -> Connection {
    rig.upstream.enqueue(Script::default().gate(gate).write(whole(ANSWER)));
    let mut connection = Connection::open(rig.addr()).await;
    connection.send(&chat("gpt-4o", false, &"x".repeat(length)).bearer(rig.key("alice"))).await;
    rig.upstream.next().await;
    connection
}

fn whole(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Checks that a call found no room, in its protocol's words.
fn is_full(what: &str, reply: &Reply) {
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{what}: {}", reply.text());
    assert!(reply.json()["error"]["message"].is_string(), "{what}: {}", reply.text());
}

#[tokio::test]
async fn what_all_requests_hold_together_has_a_bound_and_small_ones_pass() {
    let rig = rig(|setup| setup.config.limits.memory_bytes_max = MIB).await;
    let gate = Gate::new();
    let mut first = under_way(&rig, &gate, 600 << 10).await;
    let large = "x".repeat(600 << 10);
    let messages = json!([{"role": "user", "content": large}]);
    for (what, request) in [
        ("chat", chat("gpt-4o", false, &large)),
        ("a stream", chat("gpt-4o", true, &large)),
        ("responses", Request::post("/v1/responses", &json!({"model": "gpt-4o", "input": large}))),
        (
            "messages",
            Request::post(
                "/v1/messages",
                &json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": messages}),
            ),
        ),
        (
            "gemini",
            Request::post(
                "/v1beta/models/gemini-2.5-flash:generateContent",
                &json!({"contents": [{"parts": [{"text": large}]}]}),
            ),
        ),
        ("a translation", chat("claude-sonnet-4-5", false, &large)),
        ("no JSON", Request::new("POST", CHAT).body(large.clone())),
    ] {
        is_full(what, &rig.call(request).await);
    }
    // In chunks, and without an end: refused once it is too much.
    let mut endless = Connection::open(rig.addr()).await;
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        rig.key("alice")
    );
    endless.send_raw(head.as_bytes()).await;
    endless.send_raw(format!("{:x}\r\n{large}\r\n", large.len()).as_bytes()).await;
    is_full("chunks", &endless.reply().await);
    rig.upstream.enqueue(Script::json(200, ANSWER));
    assert_eq!(rig.call(Request::new("POST", CHAT).body(GOOD)).await.status, 200, "a small one");
    gate.open();
    assert_eq!(first.reply().await.text(), ANSWER);
    rig.upstream.enqueue(Script::json(200, ANSWER));
    assert_eq!(rig.call(chat("gpt-4o", false, &large)).await.status, 200, "there is room again");
    rig.stop().await;
}

#[tokio::test]
async fn bodies_that_are_being_read_and_answers_that_are_collected_count() {
    let rig = rig(|setup| setup.config.limits.memory_bytes_max = MIB).await;
    // An announced length is no byte yet; what has come is.
    let head = |length: usize| {
        let key = rig.key("alice");
        format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let (mut announced, mut half) = (Connection::open(rig.addr()).await, Connection::open(rig.addr()).await);
    announced.send_raw(head(900 << 10).as_bytes()).await;
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let large = "x".repeat(600 << 10);
    assert_eq!(rig.call(chat("gpt-4o", false, &large)).await.status, 200, "an announcement takes no room");
    half.send_raw(head(900 << 10).as_bytes()).await;
    half.send_raw(&vec![b'x'; 800 << 10]).await;
    patiently("half a body to be read", async {
        loop {
            rig.upstream.enqueue(Script::json(200, ANSWER));
            if rig.call(chat("gpt-4o", false, &large)).await.status == 503 {
                break;
            }
        }
    })
    .await;
    drop((announced, half));
    // An answer that is being collected is held twice: until its end, its usage may stand anywhere in it.
    let gate = Gate::new();
    let script = Script::chunked(200, &[("content-type", "application/json")]);
    patiently("the room to be given back", async {
        rig.upstream.respond(|_| Script::json(200, ANSWER));
        while rig.call(chat("gpt-4o", false, &large)).await.status != 200 {}
    })
    .await;
    let script = (0..7).fold(script, |script, _| script.chunk("x".repeat(64 << 10))).gate(&gate).end();
    rig.upstream.respond(move |request| {
        if request.target.contains("messages") { script.clone() } else { Script::json(200, ANSWER) }
    });
    let mut collecting = Connection::open(rig.addr()).await;
    collecting.send(&chat("claude-sonnet-4-5", false, "hi").bearer(rig.key("alice"))).await;
    gate.reached().await;
    patiently("an answer to be collected", async {
        while rig.call(chat("gpt-4o", false, &large)).await.status != 503 {}
    })
    .await;
    gate.open();
    assert_eq!(collecting.reply().await.status, 502, "it is no answer of its protocol");
    rig.stop().await;
}

#[tokio::test]
async fn a_translated_stream_keeps_nothing_of_a_large_request() {
    let rig = rig(|setup| setup.config.limits.memory_bytes_max = 8 * MIB).await;
    rig.upstream.respond(|_| Script::sse().chunk(FIRST_EVENTS).hang());
    let mut open = Vec::new();
    // Each grows its adapter's instance by some MiB: together they would hold many times the budget.
    for n in 0..12 {
        let mut connection = Connection::open(rig.addr()).await;
        let question = chat("claude-sonnet-4-5", true, &"a word and \"more\" of it ".repeat(20 << 10));
        connection.send(&question.bearer(rig.key("alice"))).await;
        let head = connection.head().await;
        assert_eq!(head.word(1), "200", "stream {n}");
        connection.read_until("hello").await;
        open.push(connection);
    }
    drop(open);
    rig.stop().await;
}

/// The reply of a call on a connection of its own.
async fn large(addr: SocketAddr, request: Request) -> Reply {
    let mut connection = Connection::open(addr).await;
    connection.send(&request).await;
    connection.reply().await
}

#[tokio::test]
async fn others_are_served_while_a_large_body_is_translated() {
    let rig = rig(|_| {}).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let text = "a word and \"more\" of it ".repeat(MIB);
    let request = chat("claude-sonnet-4-5", false, &text).bearer(rig.key("alice"));
    let mut answer = std::pin::pin!(large(rig.addr(), request));
    let mut served = 0;
    let reply = loop {
        tokio::select! {
            biased;
            reply = &mut answer => break reply,
            small = rig.call(Request::new("POST", CHAT).body(GOOD)) => {
                assert_eq!(small.status, 200);
                served += 1;
            }
        }
    };
    assert!(matches!(reply.status, 200 | 413 | 502), "{}", reply.text());
    assert!(served > 2, "{served} calls were served beside it");
    rig.stop().await;
}

/// The gaps between the events of a stream that has one every 5 ms.
async fn gaps(rig: &Rig) -> Vec<u128> {
    let mut connection = Connection::open(rig.addr()).await;
    connection.send(&chat("gpt-4o", true, "hi").bearer(rig.key("alice"))).await;
    connection.head().await;
    let (mut gaps, mut last) = (Vec::new(), Instant::now());
    while let Ok(Some(_)) = connection.chunk().await {
        gaps.push(last.elapsed().as_micros());
        last = Instant::now();
    }
    gaps.sort_unstable();
    gaps
}

#[expect(clippy::print_stdout, reason = "who measures reads it")]
fn tell(what: &str, gaps: &[u128]) {
    let at = |part: usize| gaps[gaps.len() * part / 1000];
    println!("{what}: p50 {} us, p99 {} us, p99.9 {} us", at(500), at(990), at(999));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: benches/README.md says how to read it"]
async fn measured_gaps_between_events_beside_large_events() {
    let rig = rig(|_| {}).await;
    let gemini = |parts: serde_json::Value| {
        let content = json!({"role": "model", "parts": parts});
        format!("data: {}\n\n", json!({"candidates": [{"index": 0, "content": content}]}))
    };
    let picture =
        gemini(json!([{"inlineData": {"mimeType": "image/png", "data": "iVBORw0K".repeat(MIB / 4)}}]));
    let text = gemini(json!([{"text": "a word and \"more\" of it ".repeat(3 * MIB / 24)}]));
    let many = gemini(json!([{"text": "word "}])).repeat(5000);
    let end = concat!(
        "data: {\"candidates\":[{\"index\":0,\"finishReason\":\"STOP\"}],",
        "\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":9,\"totalTokenCount\":18}}\n\n",
    );
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    for (what, large) in
        [("pictures of 2 MiB", picture), ("texts of 3 MiB", text), ("5,000 events at once", many)]
    {
        rig.upstream.respond(move |request| {
            let paced = |script: Script, _| script.pause(Duration::from_millis(5)).chunk(event);
            match request.target.contains("gemini") {
                true => Script::sse().chunk(&large).chunk(end).end(),
                false => (0..600).fold(Script::sse(), paced).end(),
            }
        });
        let request = chat("gemini-2.5-flash", true, "hi").bearer(rig.key("alice"));
        tell("alone", &gaps(&rig).await);
        let mut beside = std::pin::pin!(gaps(&rig));
        let mut streams = 0;
        let gaps = loop {
            tokio::select! {
                gaps = &mut beside => break gaps,
                reply = self::large(rig.addr(), request.clone()) => {
                    assert_eq!(reply.status, 200, "{}", reply.text());
                    streams += 1;
                }
            }
        };
        tell(&format!("beside {streams} streams with {what}"), &gaps);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: benches/README.md says how to read it"]
async fn measured_gaps_between_events_beside_large_translations() {
    let rig = rig(|_| {}).await;
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    rig.upstream.respond(move |request| {
        let paced = |script: Script, _| script.pause(Duration::from_millis(5)).chunk(event);
        match request.target.contains("messages") {
            true => Script::json(200, ANSWER),
            false => (0..600).fold(Script::sse(), paced).end(),
        }
    });
    let text = "a word and \"more\" of it ".repeat(MIB + (MIB >> 3));
    let large = chat("claude-sonnet-4-5", false, &text).bearer(rig.key("alice"));
    tell("alone", &gaps(&rig).await);
    let mut beside = std::pin::pin!(gaps(&rig));
    let mut translations = 0;
    let gaps = loop {
        tokio::select! {
            gaps = &mut beside => break gaps,
            reply = self::large(rig.addr(), large.clone()) => {
                assert!(matches!(reply.status, 200 | 413 | 502), "{}", reply.text());
                translations += 1;
            }
        }
    };
    tell(&format!("beside {translations} translations of {} MiB", text.len() / MIB), &gaps);
}
