//! Like `bad_input`, below JSON: bytes that are not HTTP, or lie about their length, from a client or from a provider.

use tollgate_core::outcome::Outcome;
use tollgate_server::config::{Attempts, Millis};
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

use crate::bad_input::{
    ANSWER, ANSWER_COSTS, BODY_MAX, CHAT, GOOD, HEAD_MAX, check, discreet, rig, unharmed,
};

/// The head of a good call whose framing is `framing`.
fn head(rig: &Rig, framing: &str) -> String {
    format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n{framing}\r\n\r\n",
        rig.key("alice")
    )
}

/// Sends bytes and returns everything that is answered until the gateway closes.
async fn answered(rig: &Rig, bytes: &[u8]) -> String {
    let mut connection = Connection::open(rig.addr()).await;
    connection.send_raw(bytes).await;
    let answer = connection.everything().await.unwrap_or_default();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_is_no_http_is_refused_or_cut_and_never_answered_as_a_call() {
    let rig = rig(|_| {}).await;
    let good = head(&rig, &format!("content-length: {}", GOOD.len()));
    let with = |line: &str| {
        format!("{}{line}\r\n\r\n{GOOD}", good.trim_end_matches("\r\n\r\n").to_owned() + "\r\n").into_bytes()
    };
    let raw = |text: &str| text.as_bytes().to_vec();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("noise", (0..=255).collect()),
        ("a line of text", raw("hello\r\n\r\n")),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh\r\n\r\n".to_vec()),
        ("a broken preface of HTTP/2", raw("PRI * HTTP/2.0\r\n\r\nSM?\r\n\r\n")),
        ("HTTP/0.9", raw("GET /v1/models\r\n\r\n")),
        ("HTTP/3.7", raw("GET /v1/models HTTP/3.7\r\n\r\n")),
        ("a header without a colon", with("nonsense")),
        ("a space before the colon", with("x-a : b")),
        ("a NUL in a header", with("x-a: \0")),
        ("a bare CR in a header", with("x-a: a\rx-b: c")),
        ("a folded header", with("x-a: a\r\n folded")),
        ("a header without a name", with(": a")),
        ("two lengths", with("content-length: 3")),
        ("a length below nothing", raw(&format!("{}{GOOD}", head(&rig, "content-length: -1")))),
        ("a length in words", raw(&format!("{}{GOOD}", head(&rig, "content-length: ten")))),
        (
            "a length past 64 bits",
            raw(&format!("{}{GOOD}", head(&rig, "content-length: 99999999999999999999"))),
        ),
        ("an unknown framing", raw(&format!("{}{GOOD}", head(&rig, "transfer-encoding: gzip")))),
        (
            "chunks that are not last",
            raw(&format!("{}{GOOD}", head(&rig, "transfer-encoding: chunked, gzip"))),
        ),
        (
            "a chunk size in words",
            raw(&format!("{}zz\r\n{GOOD}\r\n0\r\n\r\n", head(&rig, "transfer-encoding: chunked"))),
        ),
        (
            "a chunk size past 64 bits",
            raw(&format!("{}FFFFFFFFFFFFFFFFF\r\n{GOOD}", head(&rig, "transfer-encoding: chunked"))),
        ),
        (
            "a negative chunk size",
            raw(&format!("{}-2\r\n{GOOD}\r\n0\r\n\r\n", head(&rig, "transfer-encoding: chunked"))),
        ),
        (
            "a chunk longer than its size",
            raw(&format!("{}2\r\n{GOOD}\r\n0\r\n\r\n", head(&rig, "transfer-encoding: chunked"))),
        ),
    ];
    for (what, bytes) in &cases {
        let answer = answered(&rig, bytes).await;
        let status = answer.split(' ').nth(1).unwrap_or("cut");
        assert!(matches!(status, "400" | "505" | "cut"), "{what}: {answer}");
        discreet(&rig, what, &answer);
    }
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("half a head", raw(&good[..good.len() - 3])),
        (
            "chunks without an end",
            raw(&format!("{}{:x}\r\n{GOOD}\r\n", head(&rig, "transfer-encoding: chunked"), GOOD.len())),
        ),
        ("a body shorter than its length", raw(&format!("{}{GOOD}", head(&rig, "content-length: 500")))),
    ] {
        let mut connection = Connection::open(rig.addr()).await;
        connection.send_raw(&bytes).await;
        connection.finish_sending().await;
        let answer = connection.everything().await.unwrap_or_default();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{what}");
    }
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    unharmed(rig, 0, 0).await;
}

#[tokio::test]
async fn a_head_past_its_bound_is_refused_whatever_makes_it_long() {
    let rig = rig(|_| {}).await;
    let long = "x".repeat(HEAD_MAX + 1);
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    for (what, bytes) in [
        ("a long header", head(&rig, &format!("x-long: {long}\r\ncontent-length: 0"))),
        ("a long name", head(&rig, &format!("{long}: x\r\ncontent-length: 0"))),
        ("many headers", head(&rig, &format!("{many}content-length: 0"))),
        ("a long target", format!("POST {CHAT}?{long} HTTP/1.1\r\nhost: x\r\n\r\n")),
    ] {
        let answer = answered(&rig, bytes.as_bytes()).await;
        let status = answer.split(' ').nth(1).unwrap_or("cut");
        assert!(matches!(status, "431" | "414"), "{what}: {answer}");
        discreet(&rig, what, &answer);
    }
    unharmed(rig, 0, 0).await;
}

#[tokio::test]
async fn a_body_past_its_bound_is_refused_by_its_announcement_and_by_its_bytes() {
    let rig = rig(|_| {}).await;
    // Announced: refused before a byte of it is sent, and a client that asks first is not told to go on.
    for more in ["", "expect: 100-continue\r\n"] {
        let mut connection = Connection::open(rig.addr()).await;
        connection.send_raw(head(&rig, &format!("{more}content-length: {}", BODY_MAX + 1)).as_bytes()).await;
        check(&rig, "an announced length", CHAT, &connection.reply().await, 413, "invalid_request_error");
    }
    // In chunks: refused once they are too many.
    let mut connection = Connection::open(rig.addr()).await;
    connection.send_raw(head(&rig, "transfer-encoding: chunked").as_bytes()).await;
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    for _ in 0..=BODY_MAX / 0x4000 {
        connection.send_raw(chunk.as_bytes()).await;
    }
    check(&rig, "chunks", CHAT, &connection.reply().await, 413, "invalid_request_error");
    // Exactly at the bound it is accepted.
    let exact = format!("{GOOD}{}", " ".repeat(BODY_MAX - GOOD.len()));
    assert_eq!(rig.call(Request::new("POST", CHAT).body(exact)).await.status, 200);
    unharmed(rig, ANSWER_COSTS, 1).await;
}

#[tokio::test]
async fn a_client_that_stops_in_its_head_or_body_is_not_waited_for_for_ever() {
    let rig = rig(|setup| {
        setup.config.limits.body_read_timeout_ms = Millis::try_from(100).expect("a time within bounds");
        setup.config.limits.head_read_timeout_ms = Millis::try_from(100).expect("a time within bounds");
    })
    .await;
    let mut connection = Connection::open(rig.addr()).await;
    connection.send_raw(head(&rig, "content-length: 500").as_bytes()).await;
    connection.send_raw(&GOOD.as_bytes()[..9]).await;
    check(&rig, "half a body", CHAT, &connection.reply().await, 408, "request_timeout");
    for start in ["", "POST /v1/chat/comple", "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"] {
        let mut connection = Connection::open(rig.addr()).await;
        connection.send_raw(start.as_bytes()).await;
        connection.closed().await;
    }
    unharmed(rig, 0, 0).await;
}

#[tokio::test]
async fn old_and_unusual_but_right_http_is_served() {
    let rig = rig(|_| {}).await;
    let (key, length) = (rig.key("alice").to_owned(), GOOD.len());
    let one_zero =
        format!("POST {CHAT} HTTP/1.0\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n{GOOD}");
    let absolute = format!(
        "POST http://gate{CHAT} HTTP/1.1\r\nhost: gate\r\nx-api-key: {key}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{GOOD}"
    );
    let bytewise: String = GOOD.chars().map(|c| format!("1;x=y\r\n{c}\r\n")).collect();
    let chunked = format!(
        "{}{bytewise}0\r\ntrailer: x\r\n\r\n",
        head(&rig, "connection: close\r\ntransfer-encoding: chunked")
    );
    for (what, bytes) in
        [("HTTP/1.0", &one_zero), ("an absolute target", &absolute), ("a chunk a byte", &chunked)]
    {
        let answer = answered(&rig, bytes.as_bytes()).await;
        assert!(answer.split(' ').nth(1) == Some("200") && answer.contains(ANSWER), "{what}: {answer}");
        assert_eq!(rig.upstream.next().await.body, GOOD.as_bytes(), "{what}");
    }
    // A refused body leaves the connection usable: the next call on it is answered.
    let mut connection = Connection::open(rig.addr()).await;
    let call = |body: &str| format!("{}{body}", head(&rig, &format!("content-length: {}", body.len())));
    connection.send_raw(format!("{}{}", call("[1,2]"), call(GOOD)).as_bytes()).await;
    check(&rig, "an array", CHAT, &connection.reply().await, 400, "invalid_request_error");
    assert_eq!(connection.reply().await.text(), ANSWER);
    unharmed(rig, 4 * ANSWER_COSTS, 4).await;
}

#[tokio::test]
async fn a_length_beside_chunks_hides_no_second_request() {
    let rig = rig(|_| {}).await;
    let hidden = format!("{}{GOOD}", head(&rig, &format!("content-length: {}", GOOD.len())));
    let framing = format!("content-length: {}\r\ntransfer-encoding: chunked", 5 + hidden.len());
    let mut connection = Connection::open(rig.addr()).await;
    connection.send_raw(format!("{}0\r\n\r\n{hidden}", head(&rig, &framing)).as_bytes()).await;
    // The chunks count, and after such a head nothing else on the connection is trusted.
    check(&rig, "no body", CHAT, &connection.reply().await, 400, "invalid_request_error");
    connection.closed().await;
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    unharmed(rig, 0, 0).await;
}

/// What a provider may do wrong before its first byte: each is a 502, and costs nothing.
fn broken_before_the_first_byte() -> Vec<(&'static str, Script)> {
    let raw = |text: String| Script::raw(text).close();
    let many: String = (0..300).map(|n| format!("x-{n}: y\r\n")).collect();
    vec![
        ("noise", raw("\u{1}\u{2}hello\r\n\r\n".to_owned())),
        ("an answer of another protocol", raw("220 smtp.example ESMTP\r\n".to_owned())),
        ("a status that is none", raw("HTTP/1.1 99999 X\r\n\r\n".to_owned())),
        ("HTTP/2 frames", Script::raw([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 0, 0]).close()),
        ("half a head", raw("HTTP/1.1 200 OK\r\ncontent-le".to_owned())),
        ("a header without a colon", raw("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n".to_owned())),
        ("a NUL in a header", raw("HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 0\r\n\r\n".to_owned())),
        ("a head past every bound", raw(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)))),
        ("headers past every bound", raw(format!("HTTP/1.1 200 OK\r\n{many}\r\n{ANSWER}"))),
        (
            "two lengths",
            raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n{ANSWER}")),
        ),
        ("a length in words", raw(format!("HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n{ANSWER}"))),
        (
            "a chunk size in words",
            raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned()),
        ),
        ("an empty answer", Script::json(200, "")),
        ("an empty answer in chunks", Script::chunked(200, &[]).end()),
        ("no content", raw("HTTP/1.1 204 No Content\r\n\r\n".to_owned())),
        (
            "another address",
            Script::whole(302, &[("location", "http://127.0.0.1:1/platform-openai")], "moved"),
        ),
        (
            "a switch of protocols",
            raw("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned()),
        ),
        ("not modified", raw("HTTP/1.1 304 Not Modified\r\n\r\n".to_owned())),
        (
            "a page about a fault",
            Script::whole(500, &[("content-type", "text/html")], "<h1>platform-openai at /src/x</h1>"),
        ),
        ("a fault without a body", Script::json(500, "")),
        ("a fault in half a JSON", Script::json(500, "{\"error\":{\"message\":\"platform-openai")),
        ("a close at once", Script::default().close()),
        ("a reset at once", Script::default().reset()),
    ]
}

/// A rig whose upstream may fail many times: each failure puts one credential to rest.
async fn fragile() -> Rig {
    rig(|setup| {
        setup.config.limits.attempts_max = Attempts(1);
        setup.credentials = vec![("openai", None, "platform-openai", 100); 40];
    })
    .await
}

#[tokio::test]
async fn a_provider_that_breaks_before_the_first_byte_is_one_free_502_in_the_callers_words() {
    let rig = fragile().await;
    let cases = broken_before_the_first_byte();
    for (what, script) in &cases {
        rig.upstream.enqueue(script.clone());
        let reply = rig.call(Request::new("POST", CHAT).body(GOOD)).await;
        check(&rig, what, CHAT, &reply, 502, "upstream_error");
        assert_eq!(reply.header("location"), None, "{what}");
    }
    for record in rig.records(cases.len()).await {
        assert_eq!((record.outcome, record.charge.get()), (Outcome::UpstreamError, 0), "{:?}", record.error);
    }
    unharmed(rig, 0, cases.len()).await;
}

#[tokio::test]
async fn a_provider_that_talks_before_its_answer_is_understood() {
    let rig = fragile().await;
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let late = Script::raw(early)
        .write(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len()));
    let unframed =
        Script::raw(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{ANSWER}")).close();
    let longer = Script::raw(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}HTTP/1.1 200 smuggled",
        ANSWER.len()
    ));
    for (what, script) in [("hints", late), ("no length", unframed), ("more than its length", longer)] {
        rig.upstream.enqueue(script);
        let reply = rig.call(Request::new("POST", CHAT).body(GOOD)).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, ANSWER), "{what}");
    }
    unharmed(rig, 3 * ANSWER_COSTS, 3).await;
}

#[tokio::test]
async fn an_answer_that_breaks_after_its_first_byte_is_cut_for_the_client_too_and_partly_paid() {
    let rig = fragile().await;
    let half = &ANSWER[..40];
    let scripts = [
        ("a close within its length", Script::json(200, ANSWER).cut(Script::json(200, ANSWER).bytes() - 20)),
        ("a bad chunk", Script::chunked(200, &[]).chunk(half).write("zz\r\n").close()),
        ("chunks without an end", Script::chunked(200, &[]).chunk(half).close()),
    ];
    let mut charged = 0;
    for (n, (what, script)) in scripts.iter().enumerate() {
        rig.upstream.enqueue(script.clone());
        let mut connection = Connection::open(rig.addr()).await;
        connection.send(&Request::new("POST", CHAT).bearer(rig.key("alice")).body(GOOD)).await;
        let head = connection.head().await;
        assert_eq!(head.word(1), "200", "{what}");
        let id = head.header("x-tollgate-request-id").expect("an id");
        assert!(connection.body().await.is_err(), "{what}: half an answer passes for a whole one");
        let records = rig.records(n + 1).await;
        let record = records.iter().find(|record| record.request.to_string() == id).expect("its record");
        assert_eq!(record.outcome, Outcome::Partial, "{what}");
        assert!((1..ANSWER_COSTS).contains(&record.charge.get()), "{what}: {}", record.charge);
        charged += record.charge.get();
    }
    unharmed(rig, charged, scripts.len()).await;
}

#[tokio::test]
async fn who_leaves_before_the_last_byte_of_a_whole_answer_pays_for_what_came() {
    let rig = fragile().await;
    let (all, most) = (ANSWER.len(), &ANSWER[..ANSWER.len() - 1]);
    rig.upstream
        .enqueue(Script::raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {all}\r\n\r\n{most}")).hang());
    let mut connection = Connection::open(rig.addr()).await;
    connection.send(&Request::new("POST", CHAT).bearer(rig.key("alice")).body(GOOD)).await;
    connection.head().await;
    connection.read_until("completion_tokens\":5").await;
    drop(connection);
    let record = rig.record().await;
    assert_eq!(record.charge.get(), ANSWER_COSTS, "{:?}", record.outcome);
    unharmed(rig, ANSWER_COSTS, 1).await;
}

#[tokio::test]
async fn an_embedding_whose_usage_is_not_stated_is_paid_by_the_size_of_its_input() {
    let rig = rig(|_| {}).await;
    rig.upstream.enqueue(Script::json(200, r#"{"embedding":{"values":[0.1]}}"#));
    let body = r#"{"content":{"parts":[{"text":"0123456789"}]}}"#;
    let path = "/v1beta/models/gemini-embedding-001:embedContent";
    assert_eq!(rig.call(Request::new("POST", path).body(body)).await.status, 200);
    let record = rig.record().await;
    // Ten bytes of text, four bytes a token; 0.15 USD a million tokens.
    let charge = 3 * 150;
    assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, charge));
    unharmed(rig, charge, 1).await;
}

#[tokio::test]
async fn an_answer_that_is_not_what_its_type_says_passes_as_it_is() {
    let rig = fragile().await;
    let (json, events) = ("application/json", "text/event-stream");
    let sse = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n";
    let answers = [
        ("JSON called events", events, ANSWER),
        ("events called JSON", json, sse),
        ("words", "text/html", "hi"),
        ("a type that is none", "?", ANSWER),
        ("JSON cut short", json, &ANSWER[..30]),
        (
            "usage that is no number",
            json,
            r#"{"choices":[],"usage":{"prompt_tokens":"many","completion_tokens":-3}}"#,
        ),
    ];
    for (what, kind, body) in answers {
        rig.upstream.enqueue(Script::whole(200, &[("content-type", kind)], body));
        let reply = rig.call(Request::new("POST", CHAT).body(GOOD)).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, body), "{what}");
    }
    let charges: Vec<i64> =
        rig.records(answers.len()).await.iter().map(|record| record.charge.get()).collect();
    assert!(charges.iter().all(|charge| (0..=ANSWER_COSTS).contains(charge)), "{charges:?}");
    let total = charges.iter().sum();
    unharmed(rig, total, answers.len()).await;
}

#[tokio::test]
async fn a_provider_that_falls_silent_before_its_first_byte_is_a_504_and_free() {
    let rig = rig(|setup| {
        setup.config.limits.upstream_first_byte_timeout_ms =
            Millis::try_from(150).expect("a time within bounds");
        setup.credentials = vec![("openai", None, "platform-openai", 100); 5];
    })
    .await;
    rig.upstream.enqueue(Script::silence());
    let reply = rig.call(Request::new("POST", CHAT).body(GOOD)).await;
    check(&rig, "silence", CHAT, &reply, 504, "upstream_timeout");
    assert_eq!(rig.record().await.attempts, 1, "a request that may be at work is not sent twice");
    unharmed(rig, 0, 1).await;
}
