//! What fails before the first byte is tried elsewhere, once with each credential; what is the request's own fault, or
//! might be paid for twice, is not.

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tollgate_core::outcome::Outcome;
use tollgate_server::config::{Attempts, BaseUrl, Config, Millis, Provider};
use tollgate_tests::client::{Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::patiently;
use tollgate_tests::upstream::{self, Script};

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
/// 10 x 2,500 + 5 x 10,000 micro-points.
const CHARGE: i64 = 75_000;

/// A rig whose platform has these credentials for OpenAI, and the same for the others.
async fn rig_with(secrets: &'static [&'static str], change: impl FnOnce(&mut Config)) -> Rig {
    Rig::with(|setup| {
        let providers = ["openai", "anthropic", "google"].iter();
        setup.credentials = providers
            .flat_map(|provider| secrets.iter().map(|secret| (*provider, None, *secret, 100)))
            .collect();
        change(&mut setup.config);
    })
    .await
}

async fn pair() -> Rig {
    rig_with(&["first", "second"], |_| {}).await
}

fn chat() -> Request {
    Request::new("POST", "/v1/chat/completions").body(r#"{"model":"gpt-4o"}"#)
}

fn messages() -> Request {
    let body = r#"{"model":"claude-sonnet-4-5","max_tokens":10}"#;
    Request::new("POST", "/v1/messages").body(body)
}

fn gemini() -> Request {
    Request::new("POST", "/v1beta/models/gemini-2.5-flash:generateContent").body("{}")
}

/// The secret that an upstream request came with.
fn secret(request: &upstream::Request) -> String {
    let names = ["authorization", "x-api-key", "x-goog-api-key"];
    let value = names.into_iter().find_map(|name| request.header(name)).expect("a credential");
    value.trim_start_matches("Bearer ").to_owned()
}

/// The secrets of all calls so far, in their order, without those of checks.
fn secrets(rig: &Rig) -> Vec<String> {
    let requests = rig.upstream.requests();
    requests.iter().filter(|request| request.method == "POST").map(|request| secret(request)).collect()
}

fn sorted(mut secrets: Vec<String>) -> Vec<String> {
    secrets.sort();
    secrets
}

/// Checks that a first attempt of this kind is followed by another, and that the client sees only the second.
async fn check_tried_elsewhere(rig: Rig, first: Script) {
    rig.upstream.enqueue(first);
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let reply = rig.call(chat()).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, ANSWER));
    let record = rig.record().await;
    assert_eq!(
        (record.outcome, record.attempts, record.charge.get()),
        (Outcome::Ok, 2, CHARGE),
        "{record:?}"
    );
    assert_eq!(sorted(secrets(&rig)), ["first", "second"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_failure_of_the_provider_is_tried_with_another_credential_and_charged_once() {
    for status in [500, 502, 503, 504, 529, 408, 409] {
        check_tried_elsewhere(pair().await, Script::json(status, r#"{"error":{"message":"no"}}"#)).await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_but_tried_elsewhere() {
    let elsewhere = [("location", "http://127.0.0.1:1/")];
    check_tried_elsewhere(pair().await, Script::whole(302, &elsewhere, "")).await;
}

#[tokio::test]
async fn an_empty_answer_is_a_failure_that_is_tried_elsewhere() {
    check_tried_elsewhere(pair().await, Script::json(200, "")).await;
    check_tried_elsewhere(pair().await, Script::sse().end()).await;
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_first_byte_is_tried_elsewhere() {
    check_tried_elsewhere(pair().await, Script::default().reset()).await;
    check_tried_elsewhere(pair().await, Script::default().close()).await;
    check_tried_elsewhere(pair().await, Script::raw("HTTP/1.1 20").close()).await;
    check_tried_elsewhere(pair().await, Script::raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").reset())
        .await;
    check_tried_elsewhere(pair().await, Script::raw("no http at all\r\n\r\n").close()).await;
}

#[tokio::test]
async fn a_provider_that_refuses_connections_is_left_for_one_that_takes_them() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let rig = Rig::with(|setup| {
        let config = &mut setup.config;
        // The model's price names none of the two, so both may serve it.
        let sound = config.providers.remove("openai").unwrap();
        let dead = Provider { base_url: BaseUrl::try_from(url).unwrap(), ..sound.clone() };
        config.providers.extend([("dead".to_owned(), dead), ("sound".to_owned(), sound)]);
        setup.credentials = vec![("dead", Some("alice"), "first", 100), ("sound", None, "second", 100)];
    })
    .await;
    rig.upstream.enqueue(Script::json(200, ANSWER));
    // The caller's own comes first.
    assert_eq!(rig.call(chat()).await.text(), ANSWER);
    assert_eq!(secrets(&rig), ["second"]);
    let record = rig.record().await;
    assert_eq!((record.attempts, record.charge.get()), (2, CHARGE));
    assert_eq!(record.provider.as_deref(), Some("sound"));
    rig.stop().await;
}

#[tokio::test]
async fn no_credential_is_tried_twice_for_one_request() {
    let rig = pair().await;
    rig.upstream.respond(|_| Script::json(500, "{}"));
    let reply = rig.call(chat()).await;
    assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (502, Some("upstream_error")));
    assert_eq!(sorted(secrets(&rig)), ["first", "second"]);
    let record = rig.record().await;
    assert_eq!((record.outcome, record.attempts, record.charge.get()), (Outcome::UpstreamError, 2, 0));
    rig.stop().await;
}

#[tokio::test]
async fn attempts_are_bounded() {
    let change = |config: &mut Config| config.limits.attempts_max = Attempts(2);
    let rig = rig_with(&["a", "b", "c", "d"], change).await;
    rig.upstream.respond(|_| Script::json(500, "{}"));
    assert_eq!(rig.call(chat()).await.status, 502);
    assert_eq!(secrets(&rig).len(), 2);
    assert_eq!(rig.record().await.attempts, 2);
    rig.stop().await;
}

fn limited() -> Script {
    let headers = [("content-type", "application/json"), ("retry-after", "77")];
    Script::whole(429, &headers, r#"{"error":{"message":"slow","type":"requests"}}"#)
}

#[tokio::test]
async fn a_rate_limited_credential_rests_and_the_next_request_goes_to_the_other_at_once() {
    let rig = pair().await;
    rig.upstream.enqueue(limited());
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    for _ in 0..6 {
        assert_eq!(rig.call(chat()).await.status, 200);
    }
    let secrets = secrets(&rig);
    assert_eq!(secrets.len(), 7);
    assert!(secrets[1..].iter().all(|secret| *secret != secrets[0]), "{secrets:?}");
    // Records of one millisecond are in no order.
    let mut attempts: Vec<u32> = rig.records(6).await.iter().map(|record| record.attempts).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 1, 1, 1, 1, 2]);
    rig.stop().await;
}

/// Checks that an answer says when to come back.
fn check_limited(reply: &Reply, seconds: std::ops::RangeInclusive<u64>) {
    assert_eq!(reply.status, 429, "{}", reply.text());
    let wait: u64 =
        reply.header("retry-after").expect("a time to wait").parse().expect("a number of seconds");
    assert!(seconds.contains(&wait), "{wait} s");
}

#[tokio::test]
async fn when_all_credentials_rest_the_caller_is_told_for_how_long_in_the_protocols_words() {
    let rig = pair().await;
    rig.upstream.respond(|_| limited());
    let protocols = [
        (chat as fn() -> Request, [json!("rate_limit_exceeded"), json!("rate_limit_error"), Value::Null]),
        (messages, [Value::Null, json!("rate_limit_error"), Value::Null]),
        (gemini, [json!(429), Value::Null, json!("RESOURCE_EXHAUSTED")]),
    ];
    for (request, words) in protocols {
        // The first answer gives the last attempt's reason, the second comes without any attempt.
        for resting in [false, true] {
            let before = rig.upstream.count();
            let reply = rig.call(request()).await;
            check_limited(&reply, if resting { 1..=77 } else { 77..=77 });
            assert_eq!(rig.upstream.count() - before, if resting { 0 } else { 2 });
            let error = &reply.json()["error"];
            assert_eq!(["code", "type", "status"].map(|name| error[name].clone()), words);
        }
    }
    for record in rig.records(6).await {
        assert_eq!((record.outcome, record.charge.get()), (Outcome::UpstreamError, 0));
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_overloaded_anthropic_is_told_as_anthropic_tells_it() {
    let rig = pair().await;
    let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    rig.upstream.respond(move |_| Script::json(529, body));
    let reply = rig.call(messages()).await;
    let json = reply.json();
    assert_eq!(
        (reply.status, &json["type"], &json["error"]["type"]),
        (529, &"error".into(), &"overloaded_error".into())
    );
    assert_eq!(json["request_id"].as_str(), reply.header("x-tollgate-request-id"));
    assert_eq!(secrets(&rig).len(), 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_platform_key_that_the_provider_refuses_is_never_the_callers_fault_and_serves_no_more() {
    let rig = pair().await;
    let refused = r#"{"error":{"message":"Incorrect API key provided: sk-***","code":"invalid_api_key"}}"#;
    rig.upstream.respond(move |_| Script::json(401, refused));
    let reply = rig.call(chat()).await;
    assert_eq!(reply.status, 502);
    assert!(!reply.text().contains("sk-***") && !reply.text().contains("key"), "{}", reply.text());
    assert_eq!(secrets(&rig).len(), 2);
    // Checks confirm it: both are disabled then, which is no rate limit, and nobody knows until when.
    patiently("the checks", async {
        let disabled = |row: &Value| row["provider"] != "openai" || row["state"] == "disabled";
        while !rig.admin("GET", "/management/v1/credentials").await.json()["data"]
            .as_array()
            .is_some_and(|rows| rows.iter().all(disabled))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let reply = rig.call(chat()).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, None), "{}", reply.text());
    assert_eq!(secrets(&rig).len(), 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_fault_of_the_request_is_told_in_the_providers_words_and_tried_nowhere_else() {
    let rig = pair().await;
    let before = rig.balance("alice").await;
    let body = "{\n  \"error\": {\"message\": \"Unknown parameter: 'x'.\", \"type\": \"invalid_request_error\"}\n}\n";
    for (count, status) in [400, 404, 413, 422].into_iter().enumerate() {
        rig.upstream.enqueue(Script::whole(
            status,
            &[("content-type", "application/json"), ("x-odd", "1")],
            body,
        ));
        let reply = rig.call(chat()).await;
        assert_eq!((reply.status, reply.text().as_str(), reply.header("x-odd")), (status, body, Some("1")));
        let records = rig.records(count + 1).await;
        let record = records.last().unwrap();
        assert_eq!((record.outcome, record.attempts, record.charge.get()), (Outcome::UpstreamError, 1, 0));
        assert_eq!(
            (record.status, record.error.as_deref().map(|text| text.contains("Unknown"))),
            (Some(status), Some(false))
        );
    }
    assert_eq!(secrets(&rig).len(), 4);
    assert_eq!(rig.balance("alice").await, before);
    // No credential rests for it.
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    assert_eq!([rig.call(chat()).await.status, rig.call(chat()).await.status], [200, 200]);
    assert_eq!(sorted(secrets(&rig)[4..].to_vec()), ["first", "second"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_that_takes_too_long_is_not_asked_twice_for_what_may_be_paid_for_twice() {
    let change =
        |config: &mut Config| config.limits.upstream_first_byte_timeout_ms = Millis::try_from(50).unwrap();
    let rig = rig_with(&["first", "second"], change).await;
    rig.upstream.respond(|_| Script::silence());
    for (request, word) in [
        (chat as fn() -> Request, "upstream_timeout"),
        (messages, "timeout_error"),
        (gemini, "DEADLINE_EXCEEDED"),
    ] {
        let reply = rig.call(request()).await;
        assert_eq!(reply.status, 504);
        assert!(reply.text().contains(word), "{}", reply.text());
        rig.upstream.next().await.closed().await;
    }
    for record in rig.records(3).await {
        assert_eq!((record.outcome, record.attempts, record.charge.get()), (Outcome::UpstreamError, 1, 0));
    }
    rig.stop().await;
}

#[tokio::test]
async fn nothing_is_tried_again_after_the_first_byte() {
    let rig = pair().await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
    rig.upstream.enqueue(Script::sse().chunk(event).close());
    let reply = rig.call(chat().body(r#"{"model":"gpt-4o","stream":true}"#)).await;
    assert!(reply.text().starts_with(event), "{}", reply.text());
    let record = rig.record().await;
    assert_eq!((record.outcome, record.attempts), (Outcome::Partial, 1));
    assert_eq!(secrets(&rig).len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn the_callers_own_key_comes_first_and_another_users_never() {
    let rig = Rig::with(|setup| {
        setup.users.push(("bob", tollgate_core::points::Micropoints::from_points(1000)));
        setup.credentials = vec![
            ("openai", None, "platform", 1000),
            ("openai", Some("alice"), "of alice", 1),
            ("openai", Some("bob"), "of bob", 1000),
        ];
    })
    .await;
    rig.upstream.respond(
        |request| {
            if secret(request) == "of alice" { limited() } else { Script::json(200, ANSWER) }
        },
    );
    assert_eq!(rig.call(chat()).await.status, 200);
    assert_eq!(rig.call(chat()).await.status, 200);
    assert_eq!(secrets(&rig), ["of alice", "platform", "platform"]);
    rig.stop().await;
}
