//! HTTP/2 to providers: many requests share a connection, and nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::usage::Class;
use tollgate_server::config::{BaseUrl, Millis};
use tollgate_tests::client::{Connection, Reply, Request};
use tollgate_tests::frames::{Kind, Provider, Session};
use tollgate_tests::gateway::{Rig, Setup};

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n";
const LAST: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n";
const EVENTS: &str = "text/event-stream";
/// Reasons of RFC 9113, section 7.
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

async fn rig_with(provider: &Provider, change: impl FnOnce(&mut Setup)) -> Rig {
    Rig::with(|setup| {
        let openai = setup.config.providers.get_mut("openai").expect("a provider of the house");
        openai.base_url = BaseUrl::try_from(provider.base_url()).expect("a loopback URL");
        openai.http2 = true;
        change(setup);
    })
    .await
}

async fn rig(provider: &Provider) -> Rig {
    rig_with(provider, |_| {}).await
}

fn body(stream: bool) -> Value {
    json!({"model": "gpt-4o", "stream": stream, "messages": []})
}

/// Asks for a stream and leaves it open.
async fn ask(rig: &Rig) -> Connection {
    let mut client = Connection::open(rig.addr()).await;
    client.send(&Request::post(CHAT, &body(true)).bearer(rig.key("alice"))).await;
    client
}

/// Answers a stream to its end.
async fn finish(session: &mut Session, stream: u32) {
    session.head(stream, EVENTS).await;
    session.data(stream, EVENT, false).await;
    session.data(stream, LAST, true).await;
}

fn millis(ms: u64) -> Millis {
    Millis::try_from(ms).expect("a time within bounds")
}

/// Calls, while the provider does what `plays` says.
async fn call(rig: &Rig, stream: bool, plays: impl Future<Output = ()>) -> Reply {
    tokio::join!(rig.call(Request::post(CHAT, &body(stream))), plays).0
}

#[tokio::test]
async fn calls_and_streams_are_served_and_billed_over_one_connection() {
    let provider = Provider::start().await;
    let rig = rig(&provider).await;
    let (whole, mut session) = tokio::join!(rig.call(Request::post(CHAT, &body(false))), async {
        let mut session = provider.session(100).await;
        let stream = session.request().await;
        assert_eq!(session.body(stream), body(false).to_string());
        session.head(stream, "application/json").await;
        session.data(stream, ANSWER, true).await;
        session
    });
    assert_eq!((whole.status, whole.text().as_str()), (200, ANSWER));
    let streamed = call(&rig, true, async {
        let stream = session.request().await;
        assert_eq!(stream, 3, "the second request of this connection");
        finish(&mut session, stream).await;
    });
    assert!(streamed.await.text().starts_with(EVENT));
    for record in rig.records(2).await {
        let usage = (record.usage[Class::Input], record.usage[Class::Output]);
        assert_eq!((record.outcome, usage), (Outcome::Ok, (10, 5)));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_hundred_requests_share_a_connection_and_the_next_has_its_own() {
    let provider = Provider::start().await;
    let rich = |setup: &mut Setup| setup.users = vec![("alice", Micropoints::from_points(100_000))];
    let rig = rig_with(&provider, rich).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(ask(&rig).await);
    }
    // More than the gateway uses at a time.
    let mut first = provider.session(250).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(first.request().await);
    }
    clients.push(ask(&rig).await);
    let mut second = provider.session(250).await;
    let stream = second.request().await;
    finish(&mut second, stream).await;
    for stream in streams {
        finish(&mut first, stream).await;
    }
    for mut client in clients {
        assert_eq!(client.reply().await.status, 200);
    }
    assert!(!provider.is_wanted().await, "a third connection");
    rig.records(101).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_has_its_stream_reset_at_once_and_no_other() {
    let provider = Provider::start().await;
    let rig = rig(&provider).await;
    let mut staying = ask(&rig).await;
    let mut session = provider.session(100).await;
    let stays = session.request().await;
    session.head(stays, EVENTS).await;
    staying.head().await;
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let mut leaving = ask(&rig).await;
        let leaves = session.request().await;
        session.head(leaves, EVENTS).await;
        session.data(leaves, EVENT, false).await;
        leaving.head().await;
        leaving.read_until(EVENT).await;
        let left = Instant::now();
        drop(leaving);
        let reset = session.next(Kind::Reset).await;
        fastest = fastest.min(left.elapsed());
        assert_eq!((reset.stream, reset.reason()), (leaves, CANCEL));
    }
    // The fastest of five: other tests have their turns on the same processors.
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
    session.data(stays, EVENT, false).await;
    session.data(stays, LAST, true).await;
    assert!(staying.body().await.expect("a whole answer").starts_with(EVENT.as_bytes()));
    rig.records(6).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_has_its_stream_reset() {
    let provider = Provider::start().await;
    let rig = rig(&provider).await;
    let client = ask(&rig).await;
    let mut session = provider.session(100).await;
    let stream = session.request().await;
    drop(client);
    let reset = session.next(Kind::Reset).await;
    assert_eq!((reset.stream, reset.reason()), (stream, CANCEL));
    assert_eq!(rig.record().await.outcome, Outcome::CancelledBeforeFirstByte);
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_that_goes_away_ends_what_it_has_begun_and_gets_the_rest_anew() {
    let provider = Provider::start().await;
    let rig = rig(&provider).await;
    let mut begun = ask(&rig).await;
    let mut first = provider.session(100).await;
    let goes_on = first.request().await;
    first.head(goes_on, EVENTS).await;
    begun.head().await;
    let mut late = ask(&rig).await;
    assert!(first.request().await > goes_on);
    first.go_away(goes_on).await;
    let mut second = provider.session(100).await;
    let again = second.request().await;
    finish(&mut second, again).await;
    assert_eq!(late.reply().await.status, 200);
    first.data(goes_on, EVENT, false).await;
    first.data(goes_on, LAST, true).await;
    assert!(begun.body().await.expect("a whole answer").starts_with(EVENT.as_bytes()));
    first.closed().await;
    for record in rig.records(2).await {
        assert_eq!(record.outcome, Outcome::Ok);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_refused_request_is_sent_again_and_one_that_was_seen_is_not() {
    let provider = Provider::start().await;
    let rig = rig(&provider).await;
    let mut client = ask(&rig).await;
    let mut first = provider.session(100).await;
    let refused = first.request().await;
    first.reset(refused, REFUSED_STREAM).await;
    let mut second = provider.session(100).await;
    let again = second.request().await;
    finish(&mut second, again).await;
    assert_eq!(client.reply().await.status, 200);
    let reply = call(&rig, true, async {
        let seen = first.request().await;
        first.reset(seen, INTERNAL_ERROR).await;
    });
    assert_eq!(reply.await.status, 502);
    assert!(!provider.is_wanted().await, "a request that was seen went out again");
    rig.records(2).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_that_takes_fewer_requests_at_a_time_gets_no_more() {
    let provider = Provider::start().await;
    let rig = rig(&provider).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(ask(&rig).await);
    }
    let mut first = provider.session(2).await;
    let streams = [first.request().await, first.request().await];
    let mut second = provider.session(2).await;
    let stream = second.request().await;
    // It changes its setting: from now on one at a time, which affects only later requests.
    first.settings(1).await;
    for stream in streams {
        finish(&mut first, stream).await;
    }
    rig.records(2).await;
    clients.extend([ask(&rig).await, ask(&rig).await]);
    let alone = first.request().await;
    let other = second.request().await;
    finish(&mut first, alone).await;
    finish(&mut second, stream).await;
    finish(&mut second, other).await;
    for mut client in clients {
        assert_eq!(client.reply().await.status, 200);
    }
    rig.records(5).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_silent_stream_is_given_up_and_reset() {
    let provider = Provider::start().await;
    let impatient = |setup: &mut Setup| setup.config.limits.upstream_idle_timeout_ms = millis(100);
    let rig = rig_with(&provider, impatient).await;
    let mut client = ask(&rig).await;
    let mut session = provider.session(100).await;
    let stream = session.request().await;
    session.head(stream, EVENTS).await;
    session.data(stream, EVENT, false).await;
    client.head().await;
    let told = client.body().await.expect("an end that is told");
    assert!(String::from_utf8_lossy(&told).contains("error"), "{}", String::from_utf8_lossy(&told));
    assert_eq!(session.next(Kind::Reset).await.stream, stream);
    assert_eq!(rig.record().await.outcome, Outcome::Partial);
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_that_says_nothing_is_given_up_and_its_stream_reset() {
    let provider = Provider::start().await;
    let impatient = |setup: &mut Setup| setup.config.limits.upstream_first_byte_timeout_ms = millis(100);
    let rig = rig_with(&provider, impatient).await;
    let reply = call(&rig, false, async {
        let mut session = provider.session(100).await;
        let stream = session.request().await;
        assert_eq!(session.next(Kind::Reset).await.stream, stream);
    });
    assert_eq!(reply.await.status, 504);
    rig.stop().await;
}

#[tokio::test]
async fn an_answer_whose_end_comes_late_is_whole_and_its_stream_is_not_reset() {
    let provider = Provider::start().await;
    let rig = rig(&provider).await;
    let mut client = Connection::open(rig.addr()).await;
    let request = Request::post(CHAT, &body(false)).bearer(rig.key("alice"));
    client.send(&request).await;
    let mut session = provider.session(100).await;
    let stream = session.request().await;
    session.head_of(stream, "application/json", ANSWER.len()).await;
    session.data(stream, ANSWER, false).await;
    assert_eq!(client.reply().await.text(), ANSWER);
    assert_eq!(rig.record().await.outcome, Outcome::Ok);
    session.data(stream, "", true).await;
    client.send(&request).await;
    while let Some(frame) = session.frame().await {
        assert_ne!(frame.kind, Kind::Reset, "of stream {}", frame.stream);
        if frame.kind == Kind::Headers {
            session.head(frame.stream, "application/json").await;
            session.data(frame.stream, ANSWER, true).await;
            break;
        }
    }
    assert_eq!(client.reply().await.status, 200);
    rig.stop().await;
}

/// h2 by itself ends a connection on which so many small frames wait.
#[tokio::test]
async fn a_client_that_does_not_read_holds_up_no_other() {
    let provider = Provider::start().await;
    let rig = rig(&provider).await;
    let mut slow = ask(&rig).await;
    let mut session = provider.session(100).await;
    let waits = session.request().await;
    session.head(waits, EVENTS).await;
    let comment = format!(": {}\n\n", "x".repeat(16));
    let frames = 240 * 1024 / comment.len();
    for _ in 0..frames {
        session.data(waits, &comment, false).await;
    }
    let quick = call(&rig, true, async {
        let stream = session.request().await;
        finish(&mut session, stream).await;
    });
    assert_eq!(quick.await.status, 200);
    session.data(waits, LAST, true).await;
    slow.head().await;
    let body = slow.body().await.expect("a whole answer");
    // The event that only the gateway has asked for is not the client's.
    assert_eq!(body.len(), frames * comment.len() + "data: [DONE]\n\n".len());
    rig.records(2).await;
    rig.stop().await;
}

/// A server that knows HTTP/1.1 alone, and what it says to a beginning of HTTP/2.
async fn old_server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let addr = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut preface = [0; 24];
            if socket.read_exact(&mut preface).await.is_ok() {
                let _gone = socket.write_all(answer).await;
            }
        }
    });
    addr
}

#[tokio::test]
async fn a_provider_without_http2_in_the_clear_is_a_502_that_names_the_setting_and_costs_nothing() {
    let old: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 505 HTTP Version Not Supported\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"",
    ];
    for answer in old {
        let addr = old_server(answer).await;
        let rig = Rig::with(|setup| {
            let openai = setup.config.providers.get_mut("openai").expect("a provider of the house");
            openai.base_url = BaseUrl::try_from(format!("http://{addr}")).expect("a loopback URL");
            openai.http2 = true;
        })
        .await;
        let reply = rig.call(Request::post(CHAT, &body(false))).await;
        let record = rig.record().await;
        let told = record.error.unwrap_or_default();
        assert_eq!((reply.status, record.charge), (502, Micropoints::ZERO), "{}", reply.text());
        assert!(told.contains("no HTTP/2 is spoken there") && told.contains("`http2 = true`"), "{told}");
        rig.stop().await;
    }
}
