//! Whatever is sent, by a client or by a provider: the right status in the caller's protocol, no charge for what was
//! not delivered, no secret revealed, no panic, and the next request is served normally.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tollgate_core::limits::KeyLimits;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_server::config::HeadBytes;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

pub(crate) const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const GEMINI: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const GEMINI_CHAT: &str = "/gemini/v1/chat";
/// One path of each protocol.
const PATHS: [&str; 5] = [CHAT, RESPONSES, MESSAGES, GEMINI, GEMINI_CHAT];

pub(crate) const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
/// What the answer above costs: 10 x 2,500 + 5 x 10,000 micro-points.
pub(crate) const ANSWER_COSTS: i64 = 75_000;
pub(crate) const GOOD: &str = r#"{"model":"gpt-4o","messages":[]}"#;

pub(crate) const BODY_MAX: usize = 64 * 1024;
pub(crate) const HEAD_MAX: usize = 16 * 1024;

/// Panics on the threads of any gateway of this process.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A gateway with small bounds. A task that panics closes its connection, which could look like a refusal, so panics
/// are counted.
pub(crate) async fn rig(change: impl FnOnce(&mut Setup)) -> Rig {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name().is_some_and(|name| name.starts_with("tollgate-")) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            before(panic);
        }));
    });
    let rig = Rig::with(|setup| {
        setup.config.limits.request_body_bytes_max = BODY_MAX;
        setup.config.limits.request_head_bytes_max = HeadBytes(HEAD_MAX);
        change(setup);
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    rig
}

/// The end of every test: a good request is answered, `charged` micro-points and its own price are gone, the ledger is
/// right, and nothing panicked.
pub(crate) async fn unharmed(rig: Rig, charged: i64, records: usize) {
    let reply = rig.call(Request::new("POST", CHAT).body(GOOD)).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, ANSWER));
    rig.records(records + 1).await;
    let spent = Micropoints::from_points(1000).get() - rig.balance("alice").await.get();
    assert_eq!(spent, charged + ANSWER_COSTS, "only what was delivered is paid");
    rig.stop().await;
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "a gateway panicked");
}

/// Checks status and shape of a refusal. `word` is the member that tells the protocol's clients what happened: the code
/// (or, without one, the type) of OpenAI, the type of Anthropic, the status of Gemini.
pub(crate) fn check(rig: &Rig, what: &str, path: &str, reply: &Reply, status: u16, word: &str) {
    assert_eq!(reply.status, status, "{what} at {path}: {}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"), "{what} at {path}");
    let body = reply.json();
    let error = &body["error"];
    let told = match path {
        MESSAGES => {
            assert_eq!(body["type"], "error", "{what}: {body}");
            &error["type"]
        }
        GEMINI | GEMINI_CHAT => {
            assert_eq!(error["code"], status, "{what}: {body}");
            &error["status"]
        }
        _ if error["code"].is_null() => &error["type"],
        _ => &error["code"],
    };
    assert_eq!(told, word, "{what} at {path}: {body}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{what}: {body}");
    discreet(rig, what, &format!("{:?} {}", reply.head, reply.text()));
}

/// A client must not read anything of the operator's.
pub(crate) fn discreet(rig: &Rig, what: &str, told: &str) {
    let (address, dir) = (rig.upstream.addr().to_string(), rig.dir().display().to_string());
    for secret in [rig.key("alice"), "platform-", &address, &dir, "/src/", "panicked"] {
        assert!(!told.contains(secret), "{what} tells {secret}: {told}");
    }
}

/// How each of [`PATHS`] says that a request is at fault.
fn bad_request(path: &str) -> &'static str {
    if matches!(path, GEMINI | GEMINI_CHAT) { "INVALID_ARGUMENT" } else { "invalid_request_error" }
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused_in_every_protocol() {
    let rig = rig(|_| {}).await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    let bodies: &[(&str, &[u8])] = &[
        ("nothing", b""),
        ("white space", b" \r\n\t"),
        ("a truncated object", br#"{"model":"gpt-4o","messages":["#),
        ("a string without an end", br#"{"model":"gpt-4o"#),
        ("half an escape", br#"{"model":"gpt-4o","a":"\"#),
        ("a trailing comma", br#"{"model":"gpt-4o",}"#),
        ("a leading comma", br#"{,"model":"gpt-4o"}"#),
        ("a trailing comma in an array", br#"{"model":"gpt-4o","a":[1,]}"#),
        ("a missing comma", br#"{"model":"gpt-4o" "a":1}"#),
        ("a missing colon", br#"{"model" "gpt-4o"}"#),
        ("a missing value", br#"{"model":}"#),
        ("a name without quotes", br#"{model:"gpt-4o"}"#),
        ("single quotes", br#"{'model':'gpt-4o'}"#),
        ("a comment", br#"{"model":"gpt-4o"/* why */}"#),
        ("NaN", br#"{"model":"gpt-4o","a":NaN}"#),
        ("Infinity", br#"{"model":"gpt-4o","a":-Infinity}"#),
        ("a bare word", br#"{"model":"gpt-4o","a":nul}"#),
        ("True", br#"{"model":"gpt-4o","a":True}"#),
        ("a hexadecimal number", br#"{"model":"gpt-4o","a":0x10}"#),
        ("a leading zero", br#"{"model":"gpt-4o","a":01}"#),
        ("a lone minus", br#"{"model":"gpt-4o","a":-}"#),
        ("a point without digits", br#"{"model":"gpt-4o","a":1.}"#),
        ("an exponent without digits", br#"{"model":"gpt-4o","a":1e}"#),
        ("an unknown escape", br#"{"model":"gpt-4o","a":"\x41"}"#),
        ("a short unicode escape", br#"{"model":"gpt-4o","a":"\u12"}"#),
        ("a line feed in a string", b"{\"model\":\"gpt-4o\",\"a\":\"x\ny\"}"),
        ("a NUL in a string", b"{\"model\":\"gpt-4o\",\"a\":\"\0\"}"),
        ("a stray byte", b"{\"model\":\"gpt-4o\",\"a\":\"\xff\"}"),
        ("UTF-8 cut in two", b"{\"model\":\"gpt-4o\",\"a\":\"\xe6\x95\"}"),
        ("an overlong slash", b"{\"model\":\"gpt-4o\",\"a\":\"\xc0\xaf\"}"),
        ("a surrogate in UTF-8", b"{\"model\":\"gpt-4o\",\"a\":\"\xed\xa0\x80\"}"),
        ("two byte order marks", b"\xef\xbb\xbf\xef\xbb\xbf{\"model\":\"gpt-4o\"}"),
        ("UTF-16", b"\xff\xfe{\0\"\0m\0\"\0"),
        ("nesting past every bound", deep.as_bytes()),
        ("brackets that do not match", br#"{"model":"gpt-4o","a":[}]"#),
        ("an array", br#"[{"model":"gpt-4o"}]"#),
        ("a string", br#""gpt-4o""#),
        ("a number", b"12"),
        ("null", b"null"),
        ("two objects", br#"{"model":"gpt-4o"}{"model":"gpt-4o"}"#),
        ("something behind", br#"{"model":"gpt-4o"}x"#),
        ("a form", b"model=gpt-4o&messages="),
        ("markup", b"<html><body>gpt-4o</body></html>"),
    ];
    for path in PATHS {
        for (what, body) in bodies {
            let reply = rig.call(Request::new("POST", path).body(*body)).await;
            check(&rig, what, path, &reply, 400, bad_request(path));
        }
    }
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    unharmed(rig, 0, 0).await;
}

#[tokio::test]
async fn a_member_of_the_wrong_kind_is_refused_by_name() {
    let rig = rig(|_| {}).await;
    let huge = "9".repeat(400);
    let cases: Vec<(&str, String, &str)> = [
        (CHAT, r#"{"messages":[]}"#, "model"),
        (CHAT, r#"{"model":null}"#, "model"),
        (CHAT, r#"{"model":""}"#, "model"),
        (CHAT, r#"{"model":4}"#, "model"),
        (CHAT, r#"{"model":["gpt-4o"]}"#, "model"),
        (CHAT, r#"{"model":{"id":"gpt-4o"}}"#, "model"),
        (CHAT, r#"{"model":"gpt-4o","model":true}"#, "model"),
        (CHAT, r#"{"model":"gpt-4o","stream":"true"}"#, "stream"),
        (CHAT, r#"{"model":"gpt-4o","stream":1}"#, "stream"),
        (CHAT, r#"{"model":"gpt-4o","max_tokens":"5"}"#, "max_tokens"),
        (CHAT, r#"{"model":"gpt-4o","max_tokens":-5}"#, "max_tokens"),
        (CHAT, r#"{"model":"gpt-4o","max_tokens":1.5}"#, "max_tokens"),
        (CHAT, r#"{"model":"gpt-4o","max_completion_tokens":[]}"#, "max_completion_tokens"),
        (CHAT, r#"{"model":"gpt-4o","n":"2"}"#, "`n`"),
        (RESPONSES, r#"{"model":"gpt-4o","max_output_tokens":true}"#, "max_output_tokens"),
        (RESPONSES, r#"{"input":"hi"}"#, "model"),
        (MESSAGES, r#"{"max_tokens":5}"#, "model"),
        (MESSAGES, r#"{"model":"claude-sonnet-4-5","max_tokens":{}}"#, "max_tokens"),
        (MESSAGES, r#"{"model":"claude-sonnet-4-5","stream":null,"max_tokens":"x"}"#, "max_tokens"),
        (GEMINI, r#"{"generationConfig":{"maxOutputTokens":"many"}}"#, "maxOutputTokens"),
        (GEMINI, r#"{"generation_config":{"candidate_count":-1}}"#, "candidateCount"),
        (GEMINI_CHAT, r#"{"contents":[]}"#, "model"),
        (GEMINI_CHAT, r#"{"model":"gemini-2.5-flash","stream":"yes"}"#, "stream"),
        (GEMINI_CHAT, r#"{"model":"models/"}"#, "model"),
    ]
    .into_iter()
    .map(|(path, body, field)| (path, body.to_owned(), field))
    .chain([(CHAT, format!(r#"{{"model":"gpt-4o","max_tokens":{huge}}}"#), "max_tokens")])
    .collect();
    for (path, body, field) in &cases {
        let reply = rig.call(Request::new("POST", path).body(body.as_str())).await;
        check(&rig, body, path, &reply, 400, bad_request(path));
        let message = reply.json()["error"]["message"].as_str().expect("a text").to_owned();
        assert!(message.contains(field), "{body}: {message}");
    }
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    unharmed(rig, 0, 0).await;
}

#[tokio::test]
async fn what_is_odd_but_legal_goes_up_as_it_came() {
    let rig = rig(|_| {}).await;
    let nested = format!(r#"{{"model":"gpt-4o","a":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    let bodies = [
        r#"{"model":"gpt-4o","a":"\ud800 alone"}"#,
        r#"{"model":"gpt-4o","a":1e999,"b":123456789012345678901234567890,"c":-0.0}"#,
        r#"{"seed":"none","messages":[],"model":"gpt-4o","seed":1}"#,
        "\n{\t\"model\" : \"gpt\\u002d4o\" , \"stream\" : null , \"max_tokens\" : null }\r\n",
        r#"{"model":"gpt-4o","":{"":""},"a\u0000b":"\u0000"}"#,
        &nested,
    ];
    for body in bodies {
        let reply = rig.call(Request::new("POST", CHAT).body(body)).await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
        assert_eq!(String::from_utf8_lossy(&rig.upstream.next().await.body), body);
    }
    unharmed(rig, bodies.len() as i64 * ANSWER_COSTS, bodies.len()).await;
}

#[tokio::test]
async fn a_model_without_a_price_and_a_limit_past_all_points_are_refused_before_anything_is_sent() {
    let rig = rig(|_| {}).await;
    let unknown = json!({"model": "gpt-99 <b>\"x\"", "messages": []});
    let gemini = "/v1beta/models/gemini-99:generateContent";
    for (path, body, word) in [
        (CHAT, &unknown, "model_not_found"),
        (RESPONSES, &unknown, "model_not_found"),
        (MESSAGES, &unknown, "not_found_error"),
        (GEMINI_CHAT, &unknown, "NOT_FOUND"),
    ] {
        check(&rig, "an unknown model", path, &rig.call(Request::post(path, body)).await, 404, word);
    }
    let reply = rig.call(Request::post(gemini, &json!({}))).await;
    assert_eq!((reply.status, &reply.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
    let most = json!({"model": "gpt-4o", "max_tokens": u64::MAX, "n": u64::MAX});
    check(&rig, "all tokens", CHAT, &rig.call(Request::post(CHAT, &most)).await, 402, "insufficient_quota");
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    unharmed(rig, 0, 6).await;
}

#[tokio::test]
async fn every_bad_key_is_refused_alike_wherever_it_is_sent() {
    let rig = rig(|setup| setup.users.push(("mallory", Micropoints::from_points(5)))).await;
    let desk = rig.desk().await;
    let mut made = Vec::new();
    for (name, ends) in [("revoked", None), ("expired", Some(Timestamp::from_millis(1))), ("canary", None)] {
        made.push(desk.create_key("alice", name, ends, KeyLimits::default()).await.expect("a key"));
    }
    desk.revoke_key(made[0].0).await.expect("a key to revoke");
    managed::set_user_enabled(&desk, "mallory", false).await.expect("a user to disable");
    desk.close().await;
    // When mallory is refused, the last change has arrived; the canary shows that good keys work at that time.
    patiently("the gateway to take the changes up", async {
        loop {
            let asked = Request::get("/v1/models");
            let canary = client::call(rig.addr(), &asked.clone().bearer(made[2].1.expose())).await.status;
            let mallory = client::call(rig.addr(), &asked.bearer(rig.key("mallory"))).await.status;
            if (canary, mallory) == (200, 401) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let good = rig.key("alice");
    let keys = [
        ("an unknown key", "tg_AAAAAAAAAAAAAAAAAAAAAAaaaaaa"),
        ("no key of ours", "sk-proj-abc"),
        ("a platform's credential", "platform-openai"),
        ("a revoked key", made[0].1.expose()),
        ("an expired key", made[1].1.expose()),
        ("a disabled user's key", rig.key("mallory")),
        ("half a key", &good[..12]),
        ("a key in upper case", &good.to_uppercase()),
    ];
    for path in PATHS {
        let word = match path {
            MESSAGES => "authentication_error",
            GEMINI | GEMINI_CHAT => "UNAUTHENTICATED",
            _ => "invalid_api_key",
        };
        let request = || Request::new("POST", path).body(GOOD);
        check(&rig, "no key", path, &client::call(rig.addr(), &request()).await, 401, word);
        let basic = request().header("authorization", &format!("Basic {good}"));
        check(&rig, "another scheme", path, &client::call(rig.addr(), &basic).await, 401, word);
        for (what, key) in keys {
            let by_query = Request::new("POST", &format!("{path}?key={key}")).body(GOOD);
            let headers = ["x-api-key", "x-goog-api-key", "api-key"].map(|name| request().header(name, key));
            for request in headers.into_iter().chain([request().bearer(key), by_query]) {
                let reply = client::call(rig.addr(), &request).await;
                check(&rig, what, path, &reply, 401, word);
                assert_eq!(reply.json()["error"]["message"], "The API key is not valid.", "{what}");
                assert!(!reply.text().contains(key), "{what} comes back: {}", reply.text());
            }
        }
    }
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    unharmed(rig, 0, 0).await;
}

#[tokio::test]
async fn unknown_paths_wrong_methods_and_encodings_have_their_statuses() {
    let rig = rig(|_| {}).await;
    for path in ["/", "/v1", "/v2/chat/completions", "/v1/chat/completionsx", "/V1/responses"] {
        let reply = rig.call(Request::new("POST", path).body(GOOD)).await;
        check(&rig, "an unknown path", path, &reply, 404, "unknown_url");
    }
    let reply = rig.call(Request::new("POST", "/v1/messages/batches").body(GOOD)).await;
    assert_eq!((reply.status, &reply.json()["error"]["type"]), (404, &json!("not_found_error")));
    let reply = rig.call(Request::new("POST", "/v1beta/models/m:run").body(GOOD)).await;
    assert_eq!((reply.status, &reply.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
    for path in PATHS {
        let word = match path {
            MESSAGES => "invalid_request_error",
            GEMINI | GEMINI_CHAT => "UNIMPLEMENTED",
            _ => "method_not_supported",
        };
        for method in ["GET", "PUT", "DELETE", "PATCH", "BREW", "post"] {
            let reply = rig.call(Request::new(method, path).body(GOOD)).await;
            check(&rig, method, path, &reply, 405, word);
            assert_eq!(reply.header("allow"), Some("POST"), "{method} {path}");
        }
        for (encoding, status) in [("x-unknown", 415), ("gzip", 400), ("br", 400), ("zstd", 400)] {
            let request = Request::new("POST", path).header("content-encoding", encoding).body(GOOD);
            check(&rig, encoding, path, &rig.call(request).await, status, bad_request(path));
        }
    }
    let reply = rig.call(Request::new("DELETE", "/v1/models").body("")).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    unharmed(rig, 0, 0).await;
}
