//! Framing: what two readers of a connection could take in two ways is refused in the caller's words, and nothing
//! behind it is believed.

use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::Rig;

use crate::bad_input::{ANSWER, ANSWER_COSTS, CHAT, GOOD, check, rig, unharmed};

const PATHS: [&str; 4] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1beta/models/gemini-2.5-flash:generateContent",
];

/// The word for a bad request in each path's protocol.
const fn word(path: &str) -> &'static str {
    if path.len() > 25 { "INVALID_ARGUMENT" } else { "invalid_request_error" }
}

/// What is wrong, and a whole call in which it is.
fn cases(key: &str, path: &str) -> Vec<(&'static str, String)> {
    let length = GOOD.len();
    let with = |lines: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{lines}\r\n\r\n{GOOD}")
    };
    let own = |line: &str| with(&format!("{line}\r\ncontent-length: {length}"));
    let chunks = format!("{length:x}\r\n{GOOD}\r\n0\r\n\r\n");
    let coded = |lines: &str| with(lines).replace(GOOD, &chunks);
    vec![
        ("another encoding", coded("transfer-encoding: gzip")),
        ("chunks in another encoding", coded("transfer-encoding: gzip, chunked")),
        ("another encoding behind chunks", coded("transfer-encoding: chunked, identity")),
        ("chunks twice", coded("transfer-encoding: chunked\r\ntransfer-encoding: chunked")),
        ("chunks with a parameter", coded("transfer-encoding: chunked;q=1")),
        ("an odd name for chunks", coded("transfer-encoding: xchunked")),
        ("an empty encoding", coded("transfer-encoding:")),
        ("a length before chunks", coded(&format!("content-length: {length}\r\ntransfer-encoding: chunked"))),
        ("a length behind chunks", coded(&format!("transfer-encoding: chunked\r\ncontent-length: {length}"))),
        ("a length twice", own(&format!("content-length: {length}"))),
        ("a length in a list", with(&format!("content-length: {length}, {length}"))),
        ("a length with a sign", with(&format!("content-length: +{length}"))),
        ("a length in hexadecimal", with(&format!("content-length: {length:#x}"))),
        ("a bare line feed", own("x-a: b\nx-c: d")),
        ("a bare line feed at the end", own("x-a: b").replace("\r\n\r\n", "\r\n\n")),
        ("bare line feeds alone", own("x-a: b").replace("\r\n", "\n")),
        ("a bare line feed behind the request line", own("x-a: b").replacen("\r\n", "\n", 1)),
        ("a bare carriage return", own("x-a: b\rx-c: d")),
        ("a folded line", own("x-a: b\r\n c")),
        ("a folded length", with(&format!("content-length:\r\n {length}"))),
        ("a space before the colon", own("x-a : b")),
        ("a tab before the colon", with(&format!("content-length\t: {length}"))),
        ("no name", own(": b")),
        ("no colon", own("nonsense")),
        ("a NUL", own("x-a: b\0")),
        ("a control character", own("x-a: \u{1}b")),
        ("a delete character", own("x-a: b\u{7f}")),
        ("an underscore", own("x_a: b")),
        ("a key with an underscore", own(&format!("x_api_key: {key}"))),
        ("a length with an underscore", own("content_length: 3")),
        ("a forged word of the gateway", own("x_tollgate_fault: line")),
        ("two hosts", own("host: y")),
        ("no host", own("x-a: b").replace("host: x\r\n", "")),
        ("another host in the target", own("x-a: b").replace(path, &format!("http://other{path}"))),
    ]
}

#[tokio::test]
async fn what_two_readers_could_take_in_two_ways_is_400_in_the_callers_words_and_the_connections_end() {
    let rig = rig(|_| {}).await;
    for path in PATHS {
        for (what, bytes) in cases(rig.key("alice"), path) {
            // As one piece, in pieces, and with a call behind it that must not be answered.
            for pieces in [bytes.len(), 40, 7] {
                let mut connection = Connection::open(rig.addr()).await;
                for piece in bytes.as_bytes().chunks(pieces) {
                    connection.send_raw(piece).await;
                }
                let behind = Request::new("POST", CHAT).bearer(rig.key("alice")).body(GOOD);
                connection.send(&behind).await;
                check(&rig, what, path, &connection.reply().await, 400, word(path));
                connection.closed().await;
            }
        }
    }
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    unharmed(rig, 0, 0).await;
}

#[tokio::test]
async fn calls_that_are_right_are_answered_in_turn_before_one_that_is_not() {
    let rig = rig(|_| {}).await;
    let key = rig.key("alice").to_owned();
    let right = |framing: &str, body: &str| {
        format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n{framing}\r\n\r\n{body}")
    };
    let plain = right(&format!("content-length: {}", GOOD.len()), GOOD);
    let half = GOOD.len() / 2;
    let chunks = format!(
        "{half:X};a=\"b\"\r\n{}\r\n{:x}\r\n{}\r\n0\r\ntrailer: content-length\r\n\r\n",
        &GOOD[..half],
        GOOD.len() - half,
        &GOOD[half..]
    );
    let chunked = right("Transfer-Encoding: Chunked", &chunks);
    let wrong = right("transfer-encoding: gzip, chunked", "0\r\n\r\n");
    let bytes = [plain.as_str(), &chunked, &chunked, &plain, &wrong, &plain].concat();
    let mut calls = 0;
    for pieces in [bytes.len(), 100, 33, 5] {
        let mut connection = Connection::open(rig.addr()).await;
        for piece in bytes.as_bytes().chunks(pieces) {
            connection.send_raw(piece).await;
        }
        for _ in 0..4 {
            assert_eq!(connection.reply().await.text(), ANSWER, "in pieces of {pieces}");
            assert_eq!(rig.upstream.next().await.body, GOOD.as_bytes());
            calls += 1;
        }
        assert_eq!(connection.reply().await.status, 400, "in pieces of {pieces}");
        connection.closed().await;
    }
    unharmed(rig, calls * ANSWER_COSTS, usize::try_from(calls).expect("few")).await;
}

#[tokio::test]
async fn a_body_whose_chunks_are_none_is_400_and_what_follows_is_not_believed() {
    let rig = rig(|_| {}).await;
    let key = rig.key("alice").to_owned();
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\r\n");
    let hidden =
        String::from_utf8(Request::new("POST", CHAT).bearer(&key).body(GOOD).encode("x")).expect("text");
    for (what, body) in [
        ("a size in words", "zz\r\n".to_owned()),
        ("a bare line feed behind a size", format!("{:x}\n{GOOD}\r\n0\r\n\r\n", GOOD.len())),
        ("a bare line feed behind a chunk", format!("{:x}\r\n{GOOD}\n0\r\n\r\n", GOOD.len())),
        ("a bare line feed in an extension", format!("{:x};a\nb\r\n{GOOD}\r\n0\r\n\r\n", GOOD.len())),
        ("an extension without an end", format!("{:x};{}", GOOD.len(), "x".repeat(200_000))),
        ("a chunk longer than its size", format!("2\r\n{GOOD}\r\n0\r\n\r\n")),
        ("a size past 64 bits", format!("FFFFFFFFFFFFFFFFF\r\n{GOOD}")),
        ("a trailer that ends in a bare line feed", format!("{:x}\r\n{GOOD}\r\n0\r\na: b\n\r\n", GOOD.len())),
        (
            "trailers without an end",
            format!("{:x}\r\n{GOOD}\r\n0\r\n{}", GOOD.len(), "a: b\r\n".repeat(9999)),
        ),
    ] {
        let mut connection = Connection::open(rig.addr()).await;
        connection.send_raw(format!("{head}{body}{hidden}").as_bytes()).await;
        check(&rig, what, CHAT, &connection.reply().await, 400, "invalid_request_error");
        connection.closed().await;
    }
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    unharmed(rig, 0, 0).await;
}

#[tokio::test]
async fn operators_are_guarded_alike() {
    let rig = rig(|_| {}).await;
    let secret = rig.admin_secret().to_owned();
    for lines in [
        "transfer-encoding: gzip, chunked",
        "x_a: b",
        "x-a: b\nx-c: d",
        "content-length: 0\r\ncontent-length: 0",
    ] {
        let mut connection = Connection::open(rig.admin_addr()).await;
        let head =
            format!("GET /management/v1/users HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n");
        connection.send_raw(format!("{head}{lines}\r\n\r\n").as_bytes()).await;
        let reply = connection.reply().await;
        assert_eq!(
            (reply.status, reply.json()["error"]["code"].as_str()),
            (400, Some("bad_request")),
            "{lines}"
        );
        connection.closed().await;
    }
    unharmed(rig, 0, 0).await;
}

/// What a known client sends, though its name has an underscore.
async fn codex(rig: &Rig) {
    for name in ["session_id", "conversation_id", "thread_id"] {
        let reply = rig.call(Request::new("POST", CHAT).header(name, "0199").body(GOOD)).await;
        assert_eq!(reply.status, 200, "{name}");
    }
}

#[tokio::test]
async fn what_honest_clients_send_is_served() {
    let rig = rig(|_| {}).await;
    codex(&rig).await;
    let key = rig.key("alice");
    let length = GOOD.len();
    for head in [
        format!(
            "\r\n\r\nPOST {CHAT} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\nContent-Length: {length}\r\n\r\n"
        ),
        format!("POST {CHAT} HTTP/1.1\r\nhost:x\r\nx-api-key:{key}\r\ncontent-length:   {length}  \r\n\r\n"),
        format!(
            "POST http://x{CHAT} HTTP/1.1\r\nhost: X\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n"
        ),
        format!("POST {CHAT} HTTP/1.0\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n"),
        format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-title: caf\u{e9}\t\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n"
        ),
    ] {
        let mut connection = Connection::open(rig.addr()).await;
        connection.send_raw(format!("{head}{GOOD}").as_bytes()).await;
        let reply = connection.reply().await;
        assert_eq!(reply.text(), ANSWER, "{head}");
    }
    unharmed(rig, 8 * ANSWER_COSTS, 8).await;
}
