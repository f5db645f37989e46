//! Connections and descriptors: whoever holds connections open, in whatever way, keeps nobody else out, and nothing
//! that is short here makes a provider's key look bad.

use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tollgate_server::config::Millis;
use tollgate_tests::client::{self, Connection, Request};
use tollgate_tests::http2::Http2;
use tollgate_tests::patiently;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Gate, Script, Upstream};

use crate::bad_input::{ANSWER, ANSWER_COSTS, CHAT, GOOD, rig, unharmed};

/// The beginning of every HTTP/2 connection, with empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

fn millis(ms: u64) -> Millis {
    Millis::try_from(ms).expect("a time within bounds")
}

/// Connections that have sent `first` and no more.
async fn hold(to: std::net::SocketAddr, count: usize, first: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(to).await.expect("a listener");
        // One that is closed already was refused.
        let _sent = stream.write_all(first).await;
        held.push(stream);
    }
    held
}

#[tokio::test]
async fn whoever_only_holds_connections_open_keeps_nobody_out() {
    let rig = rig(|setup| {
        setup.config.limits.connections_max = 8;
        setup.config.limits.admin_connections_max = NonZeroUsize::new(4).expect("a number");
    })
    .await;
    let calls = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
    let ways: [(&str, Vec<u8>); 7] = [
        ("nothing", Vec::new()),
        ("a byte", b"P".to_vec()),
        ("half a head", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n".to_vec()),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("a call, and then nothing", calls),
        ("an idle HTTP/2 connection", PREFACE.to_vec()),
        ("half a head of HTTP/2", [PREFACE, b"\x00\x00\x05\x01\x00\x00\x00\x00\x01\x82"].concat()),
    ];
    for (way, first) in &ways {
        let held = hold(rig.addr(), 20, first).await;
        let reply = rig.call(Request::new("POST", CHAT).body(GOOD)).await;
        assert_eq!(reply.status, 200, "{way}: {}", reply.text());
        let held_too = hold(rig.admin_addr(), 20, first).await;
        assert_eq!(rig.admin("GET", "/management/v1/users").await.status, 200, "{way}");
        drop((held, held_too));
    }
    unharmed(rig, 7 * ANSWER_COSTS, 7).await;
}

#[tokio::test]
async fn where_all_are_busy_the_next_is_told_so_and_served_when_one_is_done() {
    let gate = Gate::new();
    let rig = rig(|setup| setup.config.limits.connections_max = 4).await;
    let mut busy = Vec::new();
    for _ in 0..4 {
        rig.upstream.enqueue(Script::sse().chunk("data: {}\n\n").gate(&gate).end());
        let mut connection = Connection::open(rig.addr()).await;
        let stream = r#"{"model":"gpt-4o","messages":[],"stream":true}"#;
        connection.send(&Request::new("POST", CHAT).bearer(rig.key("alice")).body(stream)).await;
        assert_eq!(connection.head().await.word(1), "200");
        busy.push(connection);
    }
    for first in ["", "POST", "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut turned_away = Connection::open(rig.addr()).await;
        turned_away.send_raw(first.as_bytes()).await;
        let reply = turned_away.reply().await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
        assert_eq!(reply.json()["error"]["type"], "overloaded_error");
        turned_away.closed().await;
    }
    // Operators come in by a door of their own.
    assert_eq!(client::call(rig.admin_addr(), &Request::get("/healthz")).await.status, 200);
    for mut connection in busy {
        gate.open();
        assert_eq!(connection.body().await.expect("a whole answer"), b"data: {}\n\n");
    }
    assert_eq!(rig.call(Request::new("POST", CHAT).body(GOOD)).await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn a_body_that_trickles_in_is_not_waited_for_as_long_as_it_trickles() {
    let rig = rig(|setup| {
        setup.config.limits.body_read_timeout_ms = millis(300);
        setup.config.limits.client_rate_bytes_min = 1_000_000;
    })
    .await;
    let key = rig.key("alice").to_owned();
    let head = |framing: &str| {
        format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{framing}\r\n\r\n")
    };
    for (framing, piece) in [
        ("content-length: 60000", "x"),
        ("transfer-encoding: chunked", "1\r\nx\r\n"),
        ("transfer-encoding: chunked", "1;extension=\"of no use\"\r\nx\r\n"),
        ("transfer-encoding: chunked", "00000001\r\nx\r\n"),
        ("expect: 100-continue\r\ncontent-length: 60000", "xxxx"),
    ] {
        let mut connection = Connection::open(rig.addr()).await;
        connection.send_raw(head(framing).as_bytes()).await;
        let trickling = async {
            loop {
                connection.send_raw(piece.as_bytes()).await;
                if let Ok(head) = tokio::time::timeout(Duration::from_millis(20), connection.head()).await
                    && head.word(1) != "100"
                {
                    return head;
                }
            }
        };
        let told = patiently("the gateway to lose its patience", trickling).await;
        assert_eq!(told.word(1), "408", "{framing}");
    }
    unharmed(rig, 0, 0).await;
}

#[tokio::test]
async fn a_reader_that_trickles_is_cut_off_and_its_call_ended() {
    let rig = rig(|setup| {
        setup.config.limits.client_write_timeout_ms = millis(500);
        setup.config.limits.client_rate_bytes_min = 1 << 30;
    })
    .await;
    let chunk = "x".repeat(1 << 20);
    rig.upstream
        .respond(move |_| (0..64).fold(Script::chunked(200, &[]), |script, _| script.chunk(&chunk)).end());
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut slow = socket.connect(rig.addr()).await.expect("a listener");
    let call = Request::new("POST", CHAT).bearer(rig.key("alice")).body(GOOD);
    slow.write_all(&call.encode("x")).await.expect("a call");
    let upstream = rig.upstream.next().await;
    // It reads on and on, so that no single write waits for long.
    let reading = async {
        let mut some = vec![0; 64 << 10];
        while upstream.is_open() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if !matches!(slow.read(&mut some).await, Ok(1..)) {
                break;
            }
        }
        upstream.closed().await;
    };
    patiently("the gateway to lose its patience", reading).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    assert_eq!(rig.call(Request::new("POST", CHAT).body(GOOD)).await.status, 200);
    rig.stop().await;
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head that HPACK says in few bytes: `POST /` with `:scheme http` and an authority.
const TINY_HEAD: &[u8] = b"\x83\x84\x86\x41\x01x";

/// The bytes of the piece of a number.
type Frames = Box<dyn Fn(u32) -> Vec<u8>>;

/// What floods a peer with little on the wire, each a piece that is sent again and again.
fn floods() -> Vec<(&'static str, Frames)> {
    let stream = |n: u32| n * 2 + 1;
    vec![
        (
            "rapid resets",
            Box::new(move |n| {
                let head = frame(1, 5, stream(n), TINY_HEAD);
                [head, frame(3, 0, stream(n), &[0, 0, 0, 8])].concat()
            }),
        ),
        ("settings", Box::new(|_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]))),
        ("pings", Box::new(|_| frame(6, 0, 0, &[7; 8]))),
        (
            "heads without an end",
            Box::new(|n| if n == 0 { frame(1, 0, 1, TINY_HEAD) } else { frame(9, 0, 1, b"\x00\x01y\x01z") }),
        ),
        (
            "empty pieces of a body",
            Box::new(|n| if n == 0 { frame(1, 4, 1, TINY_HEAD) } else { frame(0, 0, 1, b"") }),
        ),
        ("windows", Box::new(|_| frame(8, 0, 0, &[0, 0, 0, 1]))),
        ("priorities", Box::new(|n| frame(2, 0, n * 2 + 1, &[0, 0, 0, 0, 16]))),
        ("unknown frames", Box::new(|_| frame(0xfa, 0, 0, &[0; 16]))),
    ]
}

#[tokio::test]
async fn a_flood_on_one_http2_connection_leaves_the_others_served() {
    let rig = rig(|setup| setup.config.limits.head_read_timeout_ms = millis(2000)).await;
    for (what, piece) in floods() {
        let stream = TcpStream::connect(rig.addr()).await.expect("a listener");
        let (mut read, mut write) = stream.into_split();
        write.write_all(PREFACE).await.expect("a connection");
        // What the gateway says is read, or it would only wait for that.
        let reading = tokio::spawn(async move {
            let mut some = [0; 4096];
            while matches!(read.read(&mut some).await, Ok(1..)) {}
        });
        let flooding = async {
            for n in 0..20_000 {
                if write.write_all(&piece(n)).await.is_err() {
                    break;
                }
            }
        };
        let calls = async {
            for _ in 0..3 {
                let reply = rig.call(Request::new("POST", CHAT).body(GOOD)).await;
                assert_eq!(reply.status, 200, "{what}");
            }
        };
        patiently(what, async { tokio::join!(flooding, calls) }).await;
        reading.abort();
    }
    unharmed(rig, 24 * ANSWER_COSTS, 24).await;
}

#[tokio::test]
async fn streams_whose_windows_stay_shut_end_and_leave_the_connection() {
    let rig = rig(|setup| setup.config.limits.client_write_timeout_ms = millis(300)).await;
    let chunk = "x".repeat(1 << 16);
    rig.upstream
        .respond(move |_| (0..8).fold(Script::chunked(200, &[]), |script, _| script.chunk(&chunk)).end());
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(10);
    let mut http2 = Http2::with(rig.addr(), &builder).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        let call = http::Request::post(format!("http://x{CHAT}"))
            .header("authorization", format!("Bearer {}", rig.key("alice")))
            .body(bytes::Bytes::from_static(GOOD.as_bytes()));
        let stream = http2.send(call.expect("a request")).await;
        let answer = stream.head().await;
        assert_eq!(answer.status(), StatusCode::OK);
        held.push((answer, rig.upstream.next().await));
    }
    for (_answer, upstream) in &held {
        patiently("the gateway to give up", upstream.closed()).await;
    }
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    assert_eq!(rig.call(Request::new("POST", CHAT).body(GOOD)).await.status, 200);
    rig.stop().await;
}

/// A gateway of its own process that may have so many descriptors: soft, hard.
async fn confined(dir: &std::path::Path, upstream: &Upstream, soft: u32, hard: u32) -> Process {
    let script = dir.join("confined");
    let binary = env!("CARGO_BIN_EXE_tollgate-under-test");
    let text = format!("#!/bin/sh\nulimit -S -n {soft}\nulimit -H -n {hard}\nexec {binary} \"$@\"\n");
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("a script that runs");
    let config = config_file(dir, upstream, "");
    Process::start(script.to_str().expect("a path"), &config).await
}

/// Soft and hard limit of a process, as the system tells them.
fn limits_of(process: &Process) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.id())).expect("a process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let mut words = line.split_whitespace().skip(3).map(str::to_owned);
    (words.next().expect("soft"), words.next().expect("hard"))
}

#[tokio::test]
async fn the_soft_limit_of_descriptors_is_raised_and_clients_leave_enough_of_them() {
    let upstream = Upstream::start().await;
    upstream.respond(|_| Script::json(200, ANSWER));
    let dir = tempfile::tempdir().expect("a directory");
    let process = confined(dir.path(), &upstream, 100, 300).await;
    assert_eq!(limits_of(&process), ("300".to_owned(), "300".to_owned()));
    // More connections than there are descriptors, of clients and of operators.
    let held = hold(process.addr, 400, b"POST /v1/messages HTTP/1.1\r\n").await;
    let held_too = hold(process.admin_addr, 200, b"GET /").await;
    let unknown = Request::new("POST", CHAT).bearer("tg_unknown").body(GOOD);
    assert_eq!(client::call(process.addr, &unknown).await.status, 401);
    assert_eq!(client::call(process.admin_addr, &Request::get("/healthz")).await.status, 200);
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.id())).expect("a process").count();
    assert!(open < 270, "{open} of 300 descriptors are open: nothing is kept in reserve");
    drop((held, held_too));
    assert_eq!(client::call(process.addr, &unknown).await.status, 401);
    process.kill().await;
}
