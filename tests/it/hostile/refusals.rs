//! A refusal arrives: a client that sends a large body, and is answered before it was read, sees the answer and no
//! reset.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tokio::process::{Child, Command};
use tollgate_core::limits::{KeyLimits, RateLimits};
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::http2::Http2;
use tollgate_tests::{managed, patiently};

use crate::bad_input::{ANSWER_COSTS, CHAT, GOOD, rig, unharmed};

/// What a call of a coding agent has, and what pictures make of it.
pub(crate) const SIZES: [usize; 4] = [30 << 10, 125 << 10, 2 << 20, 8 << 20];

/// A call that is refused, mostly before its body is read.
pub(crate) struct Refusal {
    pub(crate) what: &'static str,
    pub(crate) to: SocketAddr,
    pub(crate) head: String,
    /// Makes the body of that many bytes.
    pub(crate) body: fn(usize) -> Vec<u8>,
    pub(crate) status: u16,
}

/// Bytes that are no JSON.
pub(crate) fn junk(size: usize) -> Vec<u8> {
    vec![b'x'; size]
}

/// One of each kind, of both listeners.
fn refusals(rig: &Rig, busy: &str) -> Vec<Refusal> {
    let case = |what, to, line: &str, key: &str, status| Refusal {
        what,
        to,
        head: format!("{line} HTTP/1.1\r\nhost: x\r\n{key}"),
        body: junk,
        status,
    };
    let good = format!("authorization: Bearer {}\r\n", rig.key("alice"));
    let busy = format!("x-api-key: {busy}\r\n");
    let (clients, operators) = (rig.addr(), rig.admin_addr());
    vec![
        case("no key", clients, "POST /v1/chat/completions", "", 401),
        case("a wrong key", clients, "POST /v1/messages", "x-api-key: tg_wrong\r\n", 401),
        case("no such path", clients, "POST /v1/nothing", &good, 404),
        case("a method that is not served", clients, "PUT /v1/chat/completions", &good, 405),
        case("an encoding", clients, "POST /v1/responses", &format!("{good}content-encoding: zip\r\n"), 415),
        case("a limit", clients, "POST /v1/chat/completions", &busy, 429),
        case("a list with a body", clients, "GET /v1/models", &good, 200),
        case("no admin", operators, "POST /management/v1/users", "", 401),
        case("nothing for operators", operators, "POST /metrics/x", "", 404),
    ]
}

/// A gateway, and a key that may not call now.
async fn refusing(change: impl FnOnce(&mut Setup)) -> (Rig, String) {
    let rig = rig(change).await;
    let desk = rig.desk().await;
    let rates = RateLimits { tokens_per_day: Some(1), ..RateLimits::default() };
    let limits = KeyLimits { rates, ..KeyLimits::default() };
    let (_, key) = desk.create_key("alice", "busy", None, limits).await.expect("a key");
    desk.close().await;
    let busy = key.expose().to_owned();
    patiently("the gateway to know the key", async {
        // The first call that is let in uses the day up.
        let call = || Request::new("POST", CHAT).bearer(&busy).body(GOOD);
        while tollgate_tests::client::call(rig.addr(), &call()).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    rig.records(1).await;
    (rig, busy)
}

/// Sends all of a call before it looks at the answer, as most clients do, and says which status it saw: 0 for none.
fn status_of(to: SocketAddr, head: &str, framing: &str, body: &[u8]) -> u16 {
    let sent = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(format!("{head}{framing}\r\n\r\n").as_bytes())?;
        stream.write_all(body)?;
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer)?;
        answer.truncate(read);
        Ok(answer)
    };
    let answer = sent().unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A body in chunks of 64 KiB.
fn in_chunks(body: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::with_capacity(body.len() + body.len() / 1000);
    for chunk in body.chunks(64 << 10) {
        chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    chunks
}

/// How often each refusal is tried, in each size, both framings together: `TOLLGATE_REFUSALS` says how often where the
/// count matters.
pub(crate) fn times() -> usize {
    let told = std::env::var("TOLLGATE_REFUSALS").ok().and_then(|times| times.parse().ok());
    told.unwrap_or(6_usize).div_ceil(2)
}

/// Calls that did not see their status, of `times` for each kind, size and framing.
pub(crate) async fn lost(refusals: Vec<Refusal>, times: usize) -> String {
    let lost = tokio::task::spawn_blocking(move || {
        let mut lost = String::new();
        for size in SIZES {
            for Refusal { what, to, head, body, status } in &refusals {
                let body = body(size);
                let chunks = in_chunks(&body);
                let length = format!("content-length: {}", body.len());
                for (framing, body) in [(length.as_str(), &body), ("transfer-encoding: chunked", &chunks)] {
                    for _ in 0..times {
                        let seen = status_of(*to, head, framing, body);
                        if seen != *status {
                            let _ = writeln!(lost, "{what}, {size} bytes, {framing}: {seen}");
                        }
                    }
                }
            }
        }
        lost
    });
    lost.await.expect("the clients do not panic")
}

#[tokio::test]
async fn no_refusal_of_a_large_body_is_lost() {
    let (rig, busy) = refusing(|_| {}).await;
    let cases = refusals(&rig, &busy);
    assert_eq!(lost(cases, times()).await, "");
    unharmed(rig, ANSWER_COSTS, 1).await;
}

#[tokio::test]
async fn a_body_past_its_bound_is_told_that_and_not_reset() {
    let (rig, _) = refusing(|_| {}).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n", rig.key("alice"));
    let too_large = Refusal { what: "a body past its bound", to: rig.addr(), head, body: junk, status: 413 };
    // The first size is within the bound, and is no JSON.
    let within = status_of(rig.addr(), &too_large.head, "content-length: 1000", &[b'x'; 1000]);
    assert_eq!(within, 400);
    let told = tokio::task::spawn_blocking(move || {
        [125 << 10, 2 << 20, 8 << 20, 40 << 20].map(|size| {
            let body = vec![b'x'; size];
            let length = format!("content-length: {size}");
            let whole = status_of(too_large.to, &too_large.head, &length, &body);
            (whole, status_of(too_large.to, &too_large.head, "transfer-encoding: chunked", &in_chunks(&body)))
        })
    });
    assert_eq!(told.await.expect("the clients do not panic"), [(413, 413); 4]);
    unharmed(rig, ANSWER_COSTS, 1).await;
}

#[tokio::test]
async fn a_head_that_cannot_be_taken_is_answered_though_a_body_follows() {
    let (rig, _) = refusing(|_| {}).await;
    let (to, long) = (rig.addr(), "y".repeat(40 << 10));
    let told = tokio::task::spawn_blocking(move || {
        let body = vec![b'x'; 2 << 20];
        [
            format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nx: {long}\r\n"),
            format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nno colon\r\n"),
            format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: ten\r\n"),
            format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n"),
            format!("POST {CHAT} HTTP/7.3\r\nhost: x\r\n"),
        ]
        .map(|head| status_of(to, &head, "x-last: 1", &body))
    });
    assert_eq!(told.await.expect("the clients do not panic"), [431, 400, 400, 400, 400]);
    unharmed(rig, ANSWER_COSTS, 1).await;
}

#[tokio::test]
async fn a_refused_body_that_ends_leaves_the_connection_for_the_next_call() {
    let (rig, _) = refusing(|_| {}).await;
    let mut connection = Connection::open(rig.addr()).await;
    for size in [30 << 10, 125 << 10, 2 << 20] {
        connection.send(&Request::new("POST", CHAT).body(vec![b'x'; size])).await;
        assert_eq!(connection.reply().await.status, 401, "{size}");
    }
    connection.send(&Request::new("POST", CHAT).bearer(rig.key("alice")).body(GOOD)).await;
    assert_eq!(connection.reply().await.status, 200);
    unharmed(rig, 2 * ANSWER_COSTS, 2).await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_not_told_to_send_what_nobody_wants() {
    let (rig, busy) = refusing(|_| {}).await;
    for case in refusals(&rig, &busy) {
        let mut connection = Connection::open(case.to).await;
        let head = format!("{}expect: 100-continue\r\ncontent-length: 100000\r\n\r\n", case.head);
        connection.send_raw(head.as_bytes()).await;
        let told = connection.reply().await.status;
        assert_eq!(told, case.status, "{}: the first word is the last", case.what);
        connection.closed().await;
    }
    // One that does not wait sees the answer all the same, and one that may send is told so.
    let head = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n";
    let to = rig.addr();
    let told = tokio::task::spawn_blocking(move || {
        SIZES.map(|size| status_of(to, head, &format!("content-length: {size}"), &vec![b'x'; size]))
    });
    assert_eq!(told.await.expect("the clients do not panic"), [401; 4]);
    let mut connection = Connection::open(rig.addr()).await;
    let asks =
        Request::new("POST", CHAT).bearer(rig.key("alice")).header("expect", "100-continue").body(GOOD);
    connection.send(&asks).await;
    assert_eq!(connection.head().await.word(1), "100");
    assert_eq!(connection.reply().await.status, 200);
    unharmed(rig, 2 * ANSWER_COSTS, 2).await;
}

#[tokio::test]
async fn what_a_refused_client_sends_is_read_within_bounds() {
    let (rig, _) = refusing(|setup| setup.config.limits.refused_body_bytes_max = 100_000).await;
    // It is answered, and then cut off at the bound, however much it announced.
    let mut connection = Connection::open(rig.addr()).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 900000000000\r\n\r\n");
    connection.send_raw(head.as_bytes()).await;
    assert_eq!(connection.reply().await.status, 401);
    let piece = vec![b'x'; 64 << 10];
    patiently("the connection to be cut", async { while connection.try_send_raw(&piece).await.is_ok() {} })
        .await;
    unharmed(rig, ANSWER_COSTS, 1).await;
}

#[tokio::test]
async fn a_refusal_over_http2_leaves_the_other_streams_alone() {
    let (rig, _) = refusing(|setup| setup.config.limits.refused_body_bytes_max = 1 << 20).await;
    let mut http2 = Http2::open(rig.addr()).await;
    for size in [0, 30 << 10, 125 << 10, 2 << 20, 8 << 20] {
        let refused = http::Request::post(format!("http://x{CHAT}")).body(Bytes::from(vec![b'x'; size]));
        let stream = http2.send(refused.expect("a request")).await;
        assert_eq!(stream.head().await.status().as_u16(), 401, "{size}");
        let good = http::Request::post(format!("http://x{CHAT}"))
            .header("authorization", format!("Bearer {}", rig.key("alice")))
            .body(Bytes::from_static(GOOD.as_bytes()));
        let stream = http2.send(good.expect("a request")).await;
        assert_eq!(stream.head().await.status().as_u16(), 200, "{size}");
    }
    unharmed(rig, 6 * ANSWER_COSTS, 6).await;
}

/// What Node.js sees of refusals, by both of its clients: `ok`, or what it saw instead.
const NODE: &str = r#"
const http = require('http');
const url = process.argv[1], times = Number(process.argv[2]);
const byFetch = async body => (await fetch(url, { method: 'POST', body })).status;
const byHttp = body => new Promise(done => {
  const request = http.request(url, { method: 'POST' }, answer => {
    answer.resume();
    answer.on('end', () => done(answer.statusCode));
    answer.on('error', error => done(error.code));
  });
  request.on('error', error => done(error.code));
  request.end(body);
});
(async () => {
  const seen = {};
  for (const size of [30 << 10, 125 << 10, 2 << 20, 8 << 20]) {
    const body = Buffer.alloc(size, 'x');
    for (const [name, call] of [['fetch', byFetch], ['http', byHttp]]) {
      for (let n = 0; n < times; n++) {
        const status = await call(body).catch(error => error.cause?.code ?? String(error));
        if (status !== 401) seen[`${name} ${size} ${status}`] = (seen[`${name} ${size} ${status}`] ?? 0) + 1;
      }
    }
  }
  console.log(JSON.stringify(seen));
})();
"#;

#[tokio::test]
async fn node_sees_every_refusal() {
    let (rig, _) = refusing(|_| {}).await;
    let url = format!("http://{}{CHAT}", rig.addr());
    let mut command = Command::new("node");
    command.args(["-e", NODE, &url, "20"]).stdin(Stdio::null()).kill_on_drop(true);
    match patiently("Node.js", command.output()).await {
        Err(error) => eprintln!("skipped: Node.js does not run here: {error}"),
        Ok(run) => assert_eq!(String::from_utf8_lossy(&run.stdout).trim(), "{}", "{run:?}"),
    }
    unharmed(rig, ANSWER_COSTS, 1).await;
}

/// nginx in front of the gateway, in three ways: with the body collected first, handed on as it comes, and with
/// connections that it keeps.
fn nginx(dir: &Path, gateway: SocketAddr) -> Option<(Child, [SocketAddr; 3])> {
    let free = || TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("a port");
    let ports = [free(), free(), free()];
    let server = |port: SocketAddr, more: &str| {
        format!("server {{ listen {port}; location / {{ proxy_pass http://gate; {more} }} }}\n")
    };
    let kept = "proxy_http_version 1.1; proxy_set_header Connection '';";
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {};\n", dir.join(kind).display()))
        .concat();
    let text = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/log warn;\nevents {{}}\nhttp {{\n\
         {temporary}access_log off; client_max_body_size 0;\n\
         upstream gate {{ server {gateway}; keepalive 8; }}\n{}{}{}}}\n",
        server(ports[0], ""),
        server(ports[1], &format!("proxy_request_buffering off; {kept}")),
        server(ports[2], kept),
        dir = dir.display(),
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, text).expect("a configuration");
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("nginx");
    command.env("PATH", path).arg("-p").arg(dir).arg("-c").arg(file).stdin(Stdio::null());
    let child = command.stderr(Stdio::null()).kill_on_drop(true).spawn().ok()?;
    Some((child, ports))
}

#[tokio::test]
async fn no_refusal_is_lost_behind_nginx() {
    let (rig, busy) = refusing(|_| {}).await;
    let Some((nginx, ports)) = nginx(&rig.dir(), rig.addr()) else {
        eprintln!("skipped: nginx does not run here");
        return;
    };
    for port in ports {
        patiently("nginx", async {
            while tokio::net::TcpStream::connect(port).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let behind = |case: Refusal| Refusal { to: port, ..case };
        let cases = refusals(&rig, &busy).into_iter().filter(|case| case.to == rig.addr());
        assert_eq!(lost(cases.map(behind).collect(), times()).await, "", "{port} of {ports:?}");
    }
    drop(nginx);
    let users = managed::users(&rig.desk().await).await.expect("the database reads");
    assert_eq!(users.len(), 1, "nobody was made by a stranger");
    unharmed(rig, ANSWER_COSTS, 1).await;
}
