//! HTTP/2 without TLS, stream by stream: each promise about a connection holds for each of its streams, and none of
//! them delays another.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use h2::client::Builder;
use http::{Request, StatusCode};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::usage::Class;
use tollgate_server::config::{HeadBytes, Millis};
use tollgate_tests::client::{self, Connection};
use tollgate_tests::curl::curl;
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::http2::{Http2, Stream, chunk, read_until, rest};
use tollgate_tests::patiently;
use tollgate_tests::upstream::{Gate, Script};

const CHAT: &str = "/v1/chat/completions";
/// 40 bytes, which stand for 14 prompt tokens.
const BODY: &str = r#"{"model":"gpt-4o","stream":true,"n": 1 }"#;
/// 8 bytes of text, which stand for 2 output tokens.
const EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
/// A connection's beginning: the preface, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// Type of the frame that ends a connection, its code for a peer without fault, and the one for a peer that asks too
/// much.
const GOAWAY: u8 = 7;
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;
const HEAD_MAX: usize = 8192;

fn request(rig: &Rig) -> Request<Bytes> {
    head(rig).map(|()| Bytes::from_static(BODY.as_bytes()))
}

fn head(rig: &Rig) -> Request<()> {
    let uri = format!("http://{}{CHAT}", rig.addr());
    let bearer = format!("Bearer {}", rig.key("alice"));
    Request::post(uri).header("authorization", bearer).body(()).expect("a request")
}

fn millis(ms: u64) -> Millis {
    Millis::try_from(ms).expect("a time within bounds")
}

/// A rig with short timeouts for its clients, which accepts only small heads.
async fn impatient_rig() -> Rig {
    Rig::with(|setup: &mut Setup| {
        let limits = &mut setup.config.limits;
        limits.head_read_timeout_ms = millis(100);
        limits.body_read_timeout_ms = millis(100);
        limits.client_write_timeout_ms = millis(200);
        limits.request_head_bytes_max = HeadBytes(HEAD_MAX);
    })
    .await
}

/// More than the peer's window lets through: `events` of 1 KiB each.
fn long(events: usize) -> Script {
    let comment = format!(": {}\n\n", "x".repeat(1021));
    (0..events).fold(Script::sse().chunk(EVENT), |script, _| script.chunk(&comment))
}

#[tokio::test]
async fn curl_speaks_http2_by_prior_knowledge_and_falls_back_where_it_asks_for_an_upgrade() {
    let rig = Rig::start().await;
    let bearer = format!("authorization: Bearer {}", rig.key("alice"));
    let (clients, operators) =
        (format!("http://{}{CHAT}", rig.addr()), format!("http://{}", rig.admin_addr()));
    let versions = [("--http2-prior-knowledge", "2"), ("--http2", "1.1"), ("--http1.1", "1.1")];
    for (option, version) in versions {
        rig.upstream.enqueue(Script::sse().chunk(EVENT).chunk(DONE).end());
        let call = [option, "--header", &bearer, "--data", BODY, &clients];
        let Some(answer) = curl(&call).await else { return };
        assert_eq!(
            (answer.body, &*answer.http_version),
            (format!("{EVENT}{DONE}"), version),
            "{}",
            answer.error
        );
        let seen = rig.upstream.next().await;
        for hop in ["upgrade", "http2-settings", "connection"] {
            assert!(seen.header(hop).is_none_or(|value| value == "keep-alive"), "{option}: {hop} went on");
        }
        let healthy = curl(&[option, &format!("{operators}/healthz")]).await.expect("as before");
        assert_eq!((&*healthy.body, &*healthy.http_version), ("ok\n", version), "{}", healthy.error);
    }
    rig.stop().await;
}

#[tokio::test]
async fn events_go_out_as_they_come_and_no_header_of_a_connection_does() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let headers = [
        ("content-type", "text/event-stream"),
        ("connection", "keep-alive, x-hop"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("x-request-id", "theirs"),
    ];
    rig.upstream.enqueue(Script::chunked(200, &headers).chunk(EVENT).gate(&gate).chunk(DONE).end());
    let mut client = Http2::open(rig.addr()).await;
    let mut asked = request(&rig);
    asked.headers_mut().insert("te", "trailers".parse().expect("a value"));
    let (head, mut body) = client.send(asked).await.head().await.into_parts();
    assert_eq!((head.status, head.version), (StatusCode::OK, http::Version::HTTP_2));
    for hop in ["connection", "keep-alive", "transfer-encoding", "upgrade", "te"] {
        assert!(!head.headers.contains_key(hop), "{hop} in {:?}", head.headers);
    }
    assert!(head.headers.contains_key("x-tollgate-request-id") && head.headers.contains_key("date"));
    gate.reached().await;
    assert_eq!(
        read_until(&mut body, EVENT).await,
        EVENT,
        "the first event is out while the second is held back"
    );
    gate.open();
    assert_eq!(rest(&mut body).await.expect("an answer to its end"), DONE);
    let seen = rig.upstream.next().await;
    assert_eq!((seen.header("te"), seen.header("x-hop")), (None, None));
    assert!(seen.body.starts_with(&BODY.as_bytes()[..BODY.len() - 1]));
    assert_eq!(seen.header("host"), Some(&*rig.upstream.addr().to_string()));
    assert_eq!(rig.record().await.outcome, Outcome::Ok);
    rig.stop().await;
}

#[tokio::test]
async fn a_request_that_is_taken_back_leaves_the_upstream_within_50_ms_and_disturbs_no_other() {
    let rig = Rig::start().await;
    let before = rig.balance("alice").await;
    rig.upstream.respond(|_| Script::sse().chunk(EVENT).hang());
    let mut client = Http2::open(rig.addr()).await;
    let staying = client.send(request(&rig)).await;
    let mut staying = staying.head().await.into_body();
    let kept = rig.upstream.next().await;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let Stream { answer, mut body } = client.send(request(&rig)).await;
        let mut answer = answer.await.expect("an answer").into_body();
        read_until(&mut answer, EVENT).await;
        let left = rig.upstream.next().await;
        let began = Instant::now();
        body.send_reset(Reason::CANCEL);
        left.closed().await;
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
    for record in rig.records(5).await {
        assert_eq!(record.outcome, Outcome::CancelledAfterFirstByte);
        assert_eq!(record.charge.get(), 4 * 2_500 + 2 * 10_000);
    }
    assert!(kept.is_open());
    read_until(&mut staying, EVENT).await;
    // Closing the connection takes back all that is left.
    drop(client);
    kept.closed().await;
    let records = rig.records(6).await;
    let spent = before.get() - rig.balance("alice").await.get();
    assert_eq!(spent, records.iter().map(|record| record.charge.get()).sum::<i64>());
    rig.stop().await;
}

#[tokio::test]
async fn a_request_that_is_taken_back_before_the_first_byte_costs_its_prompt() {
    let rig = Rig::start().await;
    let before = rig.balance("alice").await.get();
    rig.upstream.enqueue(Script::silence());
    let mut client = Http2::open(rig.addr()).await;
    let mut stream = client.send(request(&rig)).await;
    let upstream = rig.upstream.next().await;
    stream.reset();
    upstream.closed().await;
    let record = rig.record().await;
    assert_eq!(record.outcome, Outcome::CancelledBeforeFirstByte);
    assert_eq!(record.charge.get(), i64::try_from(record.usage[Class::Input]).unwrap() * 2_500);
    assert!(record.charge.get() > 0 && record.usage.output_total() == 0);
    assert_eq!(before - rig.balance("alice").await.get(), record.charge.get());
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_reset_and_settled_while_the_others_go_on() {
    let rig = impatient_rig().await;
    let gate = Gate::new();
    rig.upstream.enqueue(long(4096).hang());
    rig.upstream.enqueue(Script::sse().chunk(EVENT).gate(&gate).chunk(DONE).end());
    let mut client = Http2::with(
        rig.addr(),
        Builder::new().initial_window_size(64 * 1024).initial_connection_window_size(1 << 20),
    )
    .await;
    // Its answer's beginning fills the window; nothing gives the server room again.
    let unread = client.send(request(&rig)).await.head().await.into_body();
    let left = rig.upstream.next().await;
    let mut other = client.send(request(&rig)).await.head().await.into_body();
    gate.reached().await;
    left.closed().await;
    let record = rig.record().await;
    assert_eq!(record.outcome, Outcome::CancelledAfterFirstByte);
    gate.open();
    assert_eq!(rest(&mut other).await.expect("an answer to its end"), format!("{EVENT}{DONE}"));
    let mut unread = unread;
    let error = rest(&mut unread).await.expect_err("the stream was reset");
    assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
    assert_eq!(rig.records(2).await[1].outcome, Outcome::Ok);
    rig.stop().await;
}

#[tokio::test]
async fn an_answer_for_which_there_is_no_room_is_reset_however_short() {
    let rig = impatient_rig().await;
    let mut client = Http2::with(rig.addr(), Builder::new().initial_window_size(0)).await;
    let mut refused = request(&rig);
    *refused.body_mut() = Bytes::from_static(br#"{"model":"nobody's"}"#);
    rig.upstream.enqueue(Script::json(200, format!("{{\"x\":\"{}\"}}", "y".repeat(1 << 20))));
    for (asked, status) in [(refused, StatusCode::NOT_FOUND), (request(&rig), StatusCode::OK)] {
        let (head, mut body) = client.send(asked).await.head().await.into_parts();
        assert_eq!(head.status, status);
        let error = rest(&mut body).await.expect_err("the stream was reset");
        assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
    }
    let mut operator = Http2::with(rig.admin_addr(), Builder::new().initial_window_size(0)).await;
    let metrics = Request::get(format!("http://{}/metrics", rig.admin_addr())).body(Bytes::new());
    let mut body = operator.send(metrics.expect("a request")).await.head().await.into_body();
    let error = rest(&mut body).await.expect_err("the stream was reset");
    assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
    rig.stop().await;
}

#[tokio::test]
async fn an_operator_that_stops_reading_is_cut_off() {
    let rig = impatient_rig().await;
    let mut socket = TcpStream::connect(rig.admin_addr()).await.expect("a listener");
    // Answers to all of these are more than the buffers of any system hold between two sockets.
    let ask = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let pushed = async {
        while socket.write_all(ask).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    patiently("the listener to close", pushed).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_head_past_its_bound_is_refused_and_the_connection_goes_on() {
    let rig = impatient_rig().await;
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let mut client = Http2::open(rig.addr()).await;
    let mut large = request(&rig);
    large.headers_mut().insert("x-large", "y".repeat(HEAD_MAX).parse().expect("a value"));
    assert_eq!(client.send(large).await.reply().await.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let good = client.send(request(&rig)).await.reply().await;
    assert_eq!((good.status, good.text.as_str()), (StatusCode::OK, ANSWER));
    // The operators' listener has the same bound, in both protocols.
    let mut operators = Http2::open(rig.admin_addr()).await;
    let health = |size: usize| {
        let uri = format!("http://{}/healthz", rig.admin_addr());
        let request = Request::get(uri).header("x-large", "y".repeat(size)).body(Bytes::new());
        request.expect("a request")
    };
    let refused = operators.send(health(HEAD_MAX)).await.reply().await;
    assert_eq!(refused.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(operators.send(health(9)).await.reply().await.text, "ok\n");
    let large = client::Request::get("/healthz").header("x-large", &"y".repeat(HEAD_MAX));
    assert_eq!(client::call(rig.admin_addr(), &large).await.status, 431);
    rig.stop().await;
}

#[tokio::test]
async fn half_a_body_and_then_nothing_is_answered_with_408_and_disturbs_no_other() {
    let rig = impatient_rig().await;
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let mut client = Http2::open(rig.addr()).await;
    let mut half = client.begin(head(&rig)).await;
    half.body
        .send_data(Bytes::from_static(b"{\"model\":\"gpt-4o\","), false)
        .expect("a stream that takes a body");
    let good = client.send(request(&rig)).await.reply().await;
    assert_eq!(good.text, ANSWER);
    let Stream { answer, body: _body } = half;
    let (head, mut body) = answer.await.expect("an answer").into_parts();
    assert_eq!(head.status, StatusCode::REQUEST_TIMEOUT);
    assert!(rest(&mut body).await.expect("a body").contains("request_timeout"));
    assert_eq!(rig.record().await.outcome, Outcome::Ok);
    rig.stop().await;
}

#[tokio::test]
async fn a_peer_that_comes_to_no_request_is_closed_in_time_by_both_listeners() {
    let rig = impatient_rig().await;
    // A head of which the end never comes: HEADERS without END_HEADERS.
    let half_a_head = [PREFACE, b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x83"].concat();
    let beginnings: [&[u8]; 6] = [b"", b"P", &PREFACE[..18], &PREFACE[..24], PREFACE, &half_a_head];
    for addr in [rig.addr(), rig.admin_addr()] {
        for beginning in beginnings.into_iter().chain([&b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "[..]]) {
            let mut connection = Connection::open(addr).await;
            connection.send_raw(beginning).await;
            connection.closed().await;
        }
        // One that says nothing more is told before it is left.
        let mut idle = Connection::open(addr).await;
        idle.send_raw(PREFACE).await;
        assert_eq!(farewell(&idle.everything().await.expect("a close in order")), Some(NO_ERROR));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_cut_off() {
    let rig = Rig::with(|setup| setup.config.limits.client_write_timeout_ms = millis(100)).await;
    rig.upstream.enqueue(Script::sse().chunk(EVENT).hang());
    let mut client = Http2::open(rig.addr()).await;
    let mut body = client.send(request(&rig)).await.head().await.into_body();
    read_until(&mut body, EVENT).await;
    let upstream = rig.upstream.next().await;
    assert!(upstream.is_open());
    client.freeze();
    upstream.closed().await;
    assert_eq!(rig.record().await.outcome, Outcome::CancelledAfterFirstByte);
    rig.stop().await;
}

/// What the server said in its last words, by their code.
fn farewell(mut frames: &[u8]) -> Option<u32> {
    let mut code = None;
    while let Some((head, rest)) = frames.split_first_chunk::<9>() {
        let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).expect("a length");
        let (payload, rest) = rest.split_at_checked(length)?;
        if head[3] == GOAWAY {
            code = payload[4..].first_chunk().map(|code| u32::from_be_bytes(*code));
        }
        frames = rest;
    }
    code
}

#[tokio::test]
async fn a_flood_of_requests_that_are_taken_back_at_once_ends_the_connection() {
    let rig = Rig::start().await;
    for addr in [rig.addr(), rig.admin_addr()] {
        let mut flood = PREFACE.to_vec();
        for id in (1_u32..999).step_by(2).map(u32::to_be_bytes) {
            // GET / without a body, and RST_STREAM with CANCEL.
            flood.extend([&b"\x00\x00\x03\x01\x05"[..], &id, b"\x82\x86\x84"].concat());
            flood.extend([&b"\x00\x00\x04\x03\x00"[..], &id, b"\x00\x00\x00\x08"].concat());
        }
        let mut connection = Connection::open(addr).await;
        connection.send_raw(&flood).await;
        let said = connection.everything().await.unwrap_or_default();
        assert_eq!(farewell(&said), Some(ENHANCE_YOUR_CALM), "{said:?}");
    }
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let mut another = Http2::open(rig.addr()).await;
    assert_eq!(another.send(request(&rig)).await.reply().await.text, ANSWER);
    rig.stop().await;
}

#[tokio::test]
async fn no_more_streams_are_served_at_once_than_the_configuration_says() {
    let rig = Rig::with(|setup| setup.config.limits.http2_streams_max = NonZeroU32::MIN).await;
    let gate = Gate::new();
    let gated = gate.clone();
    rig.upstream.respond(move |_| Script::sse().gate(&gated).chunk(EVENT).chunk(DONE).end());
    let mut client = Http2::open(rig.addr()).await;
    let first = client.send(request(&rig)).await;
    gate.reached().await;
    assert_eq!(client.requests().current_max_send_streams(), 1);
    let second = client.send(request(&rig)).await;
    for stream in [first, second] {
        gate.open();
        assert_eq!(stream.reply().await.text, format!("{EVENT}{DONE}"));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_stop_lets_streams_finish_and_takes_no_more_of_them() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.upstream.enqueue(Script::sse().chunk(EVENT).gate(&gate).chunk(EVENT).chunk(DONE).end());
    let mut client = Http2::open(rig.addr()).await;
    let mut body = client.send(request(&rig)).await.head().await.into_body();
    read_until(&mut body, EVENT).await;
    gate.reached().await;
    // A connection without open requests closes at once.
    let mut idle = Http2::open(rig.addr()).await;
    let stopping = tokio::spawn(rig.stop());
    idle.ended().await.expect("a farewell");
    client.told_to_go().await;
    gate.open();
    assert_eq!(rest(&mut body).await.expect("an answer to its end"), format!("{EVENT}{DONE}"));
    client.ended().await.expect("a farewell");
    patiently("the end of the gateway", stopping).await.expect("it stops well");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_resets_the_stream_alone() {
    let rig = Rig::start().await;
    let head = [("content-type", "application/json")];
    rig.upstream.enqueue(Script::chunked(200, &head).chunk("{\"choices\":[").close());
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let mut client = Http2::open(rig.addr()).await;
    let mut body = client.send(request(&rig)).await.head().await.into_body();
    assert_eq!(chunk(&mut body).await.expect("what came").as_deref(), Some(&b"{\"choices\":["[..]));
    let error = rest(&mut body).await.expect_err("half an answer passes for a whole one");
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{error}");
    assert_eq!(client.send(request(&rig)).await.reply().await.text, ANSWER);
    rig.stop().await;
}

#[tokio::test]
async fn many_streams_of_one_connection_are_answered_each_with_its_own() {
    let rig = Rig::with(|setup| setup.users = vec![("alice", Micropoints::from_points(100_000))]).await;
    rig.upstream.respond(|request| {
        let model = &request.json()["user"];
        Script::sse()
            .chunk(EVENT)
            .chunk(format!("data: {{\"choices\":[],\"for\":{model}}}\n\n"))
            .chunk(DONE)
            .end()
    });
    let mut client = Http2::open(rig.addr()).await;
    let mut streams = JoinSet::new();
    for n in 0..100 {
        let mut asked = request(&rig);
        *asked.body_mut() = Bytes::from(json!({"model": "gpt-4o", "stream": true, "user": n}).to_string());
        let stream = client.send(asked).await;
        streams.spawn(async move { (n, stream.reply().await.text) });
    }
    for (n, text) in streams.join_all().await {
        assert!(text.contains(&format!("\"for\":{n}}}")) && text.ends_with(DONE), "{n}: {text}");
    }
    assert!(rig.records(100).await.iter().all(|record| record.outcome == Outcome::Ok));
    rig.stop().await;
}
