//! A refusal arrives, whatever stands between, and says what it is: that no other try can mend it, or how long to wait.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tollgate_core::limits::{KeyLimits, RateLimits};
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol;
use tollgate_tests::client::{self, Connection, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

use crate::bad_input::{ANSWER, CHAT, GOOD};
use crate::hostile::refusals::{Refusal, junk, lost, times};

const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const GEMINI: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

/// The longest body that is taken, below the smallest that is refused.
const BODY_MAX: usize = 20 << 10;

/// A gateway with somebody who has nothing.
async fn rig(change: impl FnOnce(&mut Setup)) -> Rig {
    let rig = Rig::with(|setup| {
        setup.users.push(("poor", Micropoints::ZERO));
        change(setup);
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    rig
}

/// A key of alice's with these limits, known to the gateway.
async fn limited(rig: &Rig, name: &str, limits: KeyLimits) -> String {
    let desk = rig.desk().await;
    let (_, key) = desk.create_key("alice", name, None, limits).await.expect("a key");
    desk.close().await;
    let key = key.expose().to_owned();
    patiently("the gateway to know the key", async {
        while client::call(rig.addr(), &Request::get("/v1/models").bearer(&key)).await.status == 401 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    key
}

fn only(protocol: Protocol) -> KeyLimits {
    KeyLimits { protocols: vec![protocol], ..KeyLimits::default() }
}

fn calls(model: &str) -> KeyLimits {
    KeyLimits { models: vec![model.to_owned()], ..KeyLimits::default() }
}

/// What a client's SDK looks at: status, whether to try again by itself, and the seconds to wait.
fn told(reply: &Reply) -> (u16, Option<&str>, Option<&str>) {
    (reply.status, reply.header("x-should-retry"), reply.header("retry-after"))
}

fn message(model: &str) -> Value {
    json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]})
}

#[tokio::test]
async fn a_refusal_that_no_other_try_can_mend_says_so() {
    let rig = rig(|setup| setup.config.limits.request_body_bytes_max = BODY_MAX).await;
    let (gemini, other) =
        (limited(&rig, "gemini", only(Protocol::Gemini)).await, limited(&rig, "other", calls("o3*")).await);
    let good = |target: &str| Request::new("POST", target).bearer(rig.key("alice"));
    let poor = |request: Request| request.bearer(rig.key("poor"));
    let mut cases: Vec<(u16, Request)> = Vec::new();
    for target in [CHAT, RESPONSES, MESSAGES, GEMINI] {
        cases.extend([
            (401, Request::new("POST", target).body(GOOD)),
            (401, Request::new("POST", target).bearer("tg_wrong").body(GOOD)),
            (400, good(target).body("[]")),
            (405, Request::new("PUT", target).bearer(rig.key("alice")).body(GOOD)),
            (413, good(target).body(junk(2 * BODY_MAX))),
            (415, good(target).header("content-encoding", "zip").body(GOOD)),
        ]);
    }
    cases.extend([
        (402, poor(Request::new("POST", CHAT).body(GOOD))),
        (402, poor(Request::post(MESSAGES, &message("claude-sonnet-4-5")))),
        (402, poor(Request::post(GEMINI, &json!({"contents": []})))),
        (403, Request::new("POST", CHAT).bearer(&gemini).body(GOOD)),
        (403, Request::new("POST", CHAT).bearer(&other).body(GOOD)),
        (404, good("/v1/nothing").body(GOOD)),
        (404, good(CHAT).body(r#"{"model":"no-such-model","messages":[]}"#)),
        (404, good("/v1beta/models/no-such-model:generateContent").body(r#"{"contents":[]}"#)),
        (401, Request::get("/v1/models")),
    ]);
    for (status, request) in cases {
        let reply = client::call(rig.addr(), &request).await;
        assert_eq!(told(&reply), (status, Some("false"), None), "{request:?}: {}", reply.text());
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_providers_own_refusal_of_a_request_says_so_where_the_provider_does_not() {
    let rig = rig(|_| {}).await;
    let own = r#"{"error":{"message":"No.","type":"invalid_request_error","param":null,"code":null}}"#;
    let chat = || Request::new("POST", CHAT).bearer(rig.key("alice")).body(GOOD);
    let translated = || Request::post(MESSAGES, &message("gpt-4o")).bearer(rig.key("alice"));
    for status in [400, 404, 413, 422] {
        for request in [chat(), translated()] {
            rig.upstream.enqueue(Script::json(status, own));
            let reply = client::call(rig.addr(), &request).await;
            let (seen, again, wait) = told(&reply);
            assert!((400..=422).contains(&seen), "{status}: {}", reply.text());
            assert_eq!((again, wait), (Some("false"), None), "{status} {request:?}");
        }
    }
    // What the provider says of it goes before what its status says.
    rig.upstream.enqueue(Script::whole(400, &[("x-should-retry", "true")], own));
    assert_eq!(told(&client::call(rig.addr(), &chat()).await), (400, Some("true"), None));
    rig.stop().await;
}

#[tokio::test]
async fn a_refusal_that_another_try_may_mend_says_how_long_to_wait() {
    let rig = rig(|_| {}).await;
    let once = RateLimits { requests_per_minute: Some(1), ..RateLimits::default() };
    let busy = limited(&rig, "busy", KeyLimits { rates: once, ..KeyLimits::default() }).await;
    let chat = || Request::new("POST", CHAT).body(GOOD);
    let overloaded = r#"{"error":{"message":"busy","type":"server_error","code":"server_is_overloaded"}}"#;
    for (status, script) in
        [(502, Script::json(500, "{}")), (503, Script::json(503, overloaded)), (502, Script::raw("").close())]
    {
        rig.upstream.enqueue(script);
        let reply = client::call(rig.addr(), &chat().bearer(rig.key("alice"))).await;
        assert_eq!(told(&reply), (status, None, Some("1")), "{}", reply.text());
        assert_eq!(rig.call(chat()).await.status, 200, "and is in order then");
    }
    client::call(rig.addr(), &chat().bearer(&busy)).await;
    let reply = client::call(rig.addr(), &chat().bearer(&busy)).await;
    let (status, again, wait) = told(&reply);
    assert_eq!((status, again), (429, None));
    assert!(wait.is_some_and(|seconds| (1..=60).contains(&seconds.parse::<u64>().expect("seconds"))));
    rig.stop().await;
}

/// A request for a WebSocket.
fn websocket(target: &str) -> Request {
    Request::new("GET", target)
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn an_upgrade_that_is_not_served_is_426_at_once() {
    let rig = rig(|_| {}).await;
    let mut connection = Connection::open(rig.addr()).await;
    for target in [CHAT, MESSAGES, "/v1/models", "/v1/nothing", "/v1beta/live", "/ws/BidiGenerateContent"] {
        for request in [websocket(target), websocket(target).bearer(rig.key("alice"))] {
            connection.send(&request).await;
            let reply = connection.reply().await;
            assert_eq!(told(&reply), (426, Some("false"), None), "{target}: {}", reply.text());
            assert!(reply.header("upgrade").is_some() && reply.json()["error"]["message"].is_string());
        }
    }
    // The connection is as good as before, and an offer of another protocol is passed over.
    let offer = Request::new("POST", CHAT).bearer(rig.key("alice")).body(GOOD);
    let offer = offer.header("connection", "Upgrade, HTTP2-Settings").header("upgrade", "h2c");
    connection.send(&offer.header("http2-settings", "AAMAAABkAAQAAP__")).await;
    assert_eq!(connection.reply().await.status, 200);
    rig.stop().await;
}

/// A request in JSON of that many bytes.
fn request_of(size: usize) -> Vec<u8> {
    let text = "lorem ipsum ".repeat(size / 12);
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}).to_string().into_bytes()
}

fn unknown_model(size: usize) -> Vec<u8> {
    String::from_utf8(request_of(size)).expect("a text").replacen("gpt-4o", "no-such", 1).into_bytes()
}

/// A refusal of each status that a coding agent meets.
async fn refusals(rig: &Rig, to: SocketAddr) -> Vec<Refusal> {
    let gemini = limited(rig, "gemini", only(Protocol::Gemini)).await;
    let rates = RateLimits { tokens_per_day: Some(1), ..RateLimits::default() };
    let spent = limited(rig, "spent", KeyLimits { rates, ..KeyLimits::default() }).await;
    patiently("the key to be spent", async {
        let call = || Request::new("POST", CHAT).bearer(&spent).body(GOOD);
        while client::call(rig.addr(), &call()).await.status != 429 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let case = |what, key: &str, body, status| Refusal {
        what,
        to,
        head: format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"),
        body,
        status,
    };
    vec![
        case("no such key", "tg_wrong", junk, 401),
        case("no points", rig.key("poor"), request_of, 402),
        case("not this protocol", &gemini, junk, 403),
        case("no such model", rig.key("alice"), unknown_model, 404),
        case("a limit", &spent, junk, 429),
    ]
}

#[tokio::test]
async fn no_refusal_of_any_status_is_lost() {
    let rig = rig(|_| {}).await;
    let cases = refusals(&rig, rig.addr()).await;
    assert_eq!(lost(cases, times()).await, "");
    rig.stop().await;
    let small = self::rig(|setup| setup.config.limits.request_body_bytes_max = BODY_MAX).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n", small.key("alice"));
    let too_large = Refusal { what: "too large", to: small.addr(), head, body: junk, status: 413 };
    assert_eq!(lost(vec![too_large], times()).await, "");
    small.stop().await;
}

/// haproxy in front of the gateway, in three ways: as it comes, with a connection for each request, and with bodies
/// looked at first.
fn haproxy(dir: &Path, gateway: SocketAddr) -> Option<(Child, [SocketAddr; 3])> {
    let free = || TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("a port");
    let ports = [free(), free(), free()];
    let ways = ["option http-keep-alive", "option httpclose", "option http-buffer-request"];
    let mut text =
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n".to_owned();
    for (port, way) in ports.iter().zip(ways) {
        text.push_str(&format!("listen way_{}\n bind {port}\n {way}\n server gate {gateway}\n", port.port()));
    }
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, text).expect("a configuration");
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("haproxy");
    command.env("PATH", path).arg("-db").arg("-f").arg(file).stdin(Stdio::null());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().ok()?;
    Some((child, ports))
}

#[tokio::test]
async fn no_refusal_is_lost_behind_haproxy() {
    let rig = rig(|_| {}).await;
    let Some((haproxy, ports)) = haproxy(&rig.dir(), rig.addr()) else {
        eprintln!("skipped: haproxy does not run here");
        return;
    };
    let first = refusals(&rig, ports[0]).await;
    for port in ports {
        patiently("haproxy", async {
            while tokio::net::TcpStream::connect(port).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let cases = first.iter().map(|case| Refusal { to: port, head: case.head.clone(), ..*case });
        assert_eq!(lost(cases.collect(), times()).await, "", "{port} of {ports:?}");
    }
    drop(haproxy);
    rig.stop().await;
}
