//! WebSockets of OpenAI's: Realtime sessions are passed on and paid by their answers; Responses are calls like any, to
//! providers that have a WebSocket and to those that have none.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::usage::{Class, Quality};
use tollgate_server::config::BaseUrl;
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::upstream::Script;
use tollgate_tests::websocket::{self, Provider, Socket, Visit};

use crate::translation::events;

const REALTIME: &str = "/v1/realtime?model=gpt-4o";
const RESPONSES: &str = "/v1/responses";

/// A gateway whose OpenAI has WebSockets.
async fn rig(provider: &Provider, change: impl FnOnce(&mut Setup)) -> Rig {
    Rig::with(|setup| {
        setup.users.push(("poor", Micropoints::ZERO));
        let openai = setup.config.providers.get_mut("openai").expect("a provider");
        openai.base_url = BaseUrl::try_from(provider.base_url()).expect("a loopback URL");
        change(setup);
    })
    .await
}

async fn open(rig: &Rig, target: &str, user: &str) -> Result<Socket, (u16, String)> {
    let bearer = format!("Bearer {}", rig.key(user));
    websocket::open(rig.addr(), target, &[("authorization", &bearer), ("openai-beta", "realtime=v1")]).await
}

/// An answer of a Realtime session, and what it used.
fn done(number: u32) -> Value {
    json!({"type": "response.done", "event_id": format!("event_{number}"), "response": {"id": format!("resp_{number}"),
        "status": "completed", "usage": {"total_tokens": 150, "input_tokens": 100, "output_tokens": 50,
            "input_token_details": {"text_tokens": 40, "audio_tokens": 60, "cached_tokens": 30,
                "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 10}},
            "output_token_details": {"text_tokens": 10, "audio_tokens": 40}}}})
}

/// Has the provider answer, and the client hear it to the byte.
async fn answer(provider: &mut Socket, client: &mut Socket, number: u32) {
    let sound = "UklGR".repeat(100_000);
    for message in [
        json!({"type": "response.created", "response": {"id": format!("resp_{number}")}}),
        json!({"type": "response.output_audio_transcript.delta", "delta": "Good morning."}),
        json!({"type": "response.output_audio.delta", "delta": sound}),
        done(number),
    ] {
        let text = serde_json::to_string_pretty(&message).expect("JSON");
        provider.say_text(&text).await;
        assert_eq!(client.hear_text().await, text);
    }
}

#[tokio::test]
async fn a_realtime_session_is_passed_on_and_paid_by_its_answers() {
    let provider = Provider::start().await;
    let rig = rig(&provider, |_| {}).await;
    let mut client = open(&rig, REALTIME, "alice").await.expect("a session");
    let Visit { target, headers, mut socket } = provider.next().await;
    assert_eq!(target, "/v1/realtime?model=gpt-4o");
    assert_eq!(headers["authorization"], "Bearer platform-openai");
    assert_eq!(headers["openai-beta"], "realtime=v1");
    assert!(!format!("{headers:?}").contains(rig.key("alice")), "{headers:?}");
    // Each hears the other before any answer.
    let created = json!({"type": "session.created", "session": {"id": "sess_1"}});
    socket.say(&created).await;
    assert_eq!(client.hear().await, created);
    let update = r#"{ "type":"session.update", "session": {"voice":"ash"} }"#;
    client.say_text(update).await;
    assert_eq!(socket.hear_text().await, update);
    for number in 1..=2 {
        answer(&mut socket, &mut client, number).await;
        let record = rig.records(number as usize).await.pop().expect("a record");
        assert_eq!((record.outcome, record.usage.quality), (Outcome::Ok, Quality::Exact), "{record:?}");
        let count = |class: Class| record.usage[class];
        assert_eq!([count(Class::Input), count(Class::CacheRead), count(Class::AudioInput)], [20, 30, 50]);
        assert_eq!([count(Class::Output), count(Class::AudioOutput)], [10, 40]);
    }
    let paid = rig.balance("alice").await;
    client.close().await;
    socket.closed().await;
    // What had begun behind the last answer costs nothing.
    let records = rig.records(3).await;
    assert_eq!(records[2].charge, Micropoints::ZERO, "{:?}", records[2]);
    assert_eq!(rig.balance("alice").await, paid);
    rig.stop().await;
}

#[tokio::test]
async fn a_session_that_is_not_had_is_refused_by_its_status() {
    let provider = Provider::start().await;
    let rig = rig(&provider, |_| {}).await;
    for (target, user, status, code) in [
        ("/v1/realtime", "alice", 400, "`model` is missing"),
        ("/v1/realtime?model=no-such-model", "alice", 404, "no-such-model"),
        ("/v1/realtime?model=claude-sonnet-4-5", "alice", 400, "Realtime"),
        (REALTIME, "poor", 402, "insufficient_quota"),
    ] {
        let (seen, body) = open(&rig, target, user).await.err().expect("a refusal");
        assert_eq!(seen, status, "{target}: {body}");
        assert!(body.contains(code), "{target}: {body}");
    }
    for target in [REALTIME, RESPONSES] {
        let (seen, _) = websocket::open(rig.addr(), target, &[]).await.err().expect("a refusal");
        assert_eq!(seen, 401, "{target}");
        let wrong = [("authorization", "Bearer tg_wrong")];
        let (seen, _) = websocket::open(rig.addr(), target, &wrong).await.err().expect("a refusal");
        assert_eq!(seen, 401, "{target}");
    }
    assert_eq!(rig.balance("alice").await, Micropoints::from_points(1000));
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_that_refuses_the_session_is_told_as_over_http() {
    let rig = Rig::start().await;
    let refusal = r#"{"error":{"message":"No.","type":"invalid_request_error","code":"model_not_found"}}"#;
    rig.upstream.respond(move |_| Script::json(404, refusal));
    let (status, body) = open(&rig, REALTIME, "alice").await.err().expect("a refusal");
    assert!(matches!(status, 403 | 404), "{status} {body}");
    let asked = rig.upstream.next().await;
    assert_eq!((asked.method.as_str(), asked.header("upgrade")), ("GET", Some("websocket")));
    rig.stop().await;
}

#[tokio::test]
async fn a_browser_brings_its_key_as_a_subprotocol() {
    let provider = Provider::start().await;
    let rig = rig(&provider, |_| {}).await;
    let offered = format!("realtime, openai-insecure-api-key.{}, openai-beta.realtime-v1", rig.key("alice"));
    let client = websocket::open(rig.addr(), REALTIME, &[("sec-websocket-protocol", &offered)]).await;
    let Visit { headers, socket, .. } = provider.next().await;
    assert_eq!(headers["authorization"], "Bearer platform-openai");
    assert!(!headers.contains_key("sec-websocket-protocol"), "{headers:?}");
    drop(socket);
    client.expect("a session").closed().await;
    rig.stop().await;
}

#[tokio::test]
async fn points_that_end_end_the_session_in_its_own_words_on_both_sides() {
    let provider = Provider::start().await;
    // The prompt of the second answer is not covered.
    let rig = rig(&provider, |setup| setup.users.push(("bob", Micropoints::new(6_000_000)))).await;
    let mut client = open(&rig, REALTIME, "bob").await.expect("a session");
    let Visit { mut socket, .. } = provider.next().await;
    let mut used = done(1);
    let usage = json!({"input_tokens": 1_500, "output_tokens": 150, "total_tokens": 1_650});
    used["response"]["usage"] = usage;
    socket.say(&used).await;
    assert_eq!(client.hear().await, used);
    let told = client.hear().await;
    assert_eq!(
        (&told["type"], &told["error"]["code"]),
        (&json!("error"), &json!("insufficient_quota")),
        "{told}"
    );
    assert_eq!(client.closed().await.expect("a reason").0, 1008);
    socket.closed().await;
    rig.stop().await;
}

#[tokio::test]
async fn a_gateway_that_stops_says_so_on_both_sides() {
    let provider = Provider::start().await;
    let rig = rig(&provider, |_| {}).await;
    let mut session = open(&rig, REALTIME, "alice").await.expect("a session");
    let mut responses = open(&rig, RESPONSES, "alice").await.expect("a session");
    let Visit { mut socket, .. } = provider.next().await;
    let stopping = tokio::spawn(rig.stop());
    for client in [&mut session, &mut responses] {
        assert_eq!(client.closed().await.expect("a reason").0, 1001);
    }
    socket.closed().await;
    stopping.await.expect("it stops well");
}

/// The events of an answer in the Responses protocol, as messages.
fn response(id: &str) -> Vec<Value> {
    let item = json!({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": "Good morning.", "annotations": []}]});
    let usage = json!({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15});
    vec![
        json!({"type": "response.created", "sequence_number": 0, "response": {"id": id, "usage": null}}),
        json!({"type": "response.output_text.delta", "sequence_number": 1, "delta": "Good morning."}),
        json!({"type": "response.completed", "sequence_number": 2, "response": {"id": id, "object": "response",
            "status": "completed", "output": [item], "usage": usage}}),
    ]
}

fn create(input: &Value) -> Value {
    json!({"type": "response.create", "model": "gpt-4o", "input": input, "store": false})
}

#[tokio::test]
async fn responses_go_to_a_provider_that_has_a_websocket_over_one_and_are_paid_each() {
    let provider = Provider::start().await;
    let rig = rig(&provider, |_| {}).await;
    let mut client = open(&rig, RESPONSES, "alice").await.expect("a session");
    client.say(&create(&json!("hi"))).await;
    let Visit { target, headers, mut socket } = provider.next().await;
    assert_eq!(target, "/v1/responses");
    assert_eq!(headers["authorization"], "Bearer platform-openai");
    let asked = socket.hear().await;
    let said = [&asked["type"], &asked["model"], &asked["input"], &asked["store"]];
    assert_eq!(said, [&json!("response.create"), &json!("gpt-4o"), &json!("hi"), &json!(false)]);
    for event in response("resp_1") {
        socket.say(&event).await;
        assert_eq!(client.hear().await, event);
    }
    // The next turn is what is new alone, on the same connection.
    let mut next = create(&json!([{"role": "user", "content": "and now?"}]));
    next["previous_response_id"] = json!("resp_1");
    client.say(&next).await;
    let asked = socket.hear().await;
    assert_eq!((&asked["previous_response_id"], &asked["input"]), (&json!("resp_1"), &next["input"]));
    for event in response("resp_2") {
        socket.say(&event).await;
        assert_eq!(client.hear().await, event);
    }
    for record in rig.records(2).await {
        assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, 75_000), "{record:?}");
    }
    // A refusal of the provider's is one of the call's, with its status.
    client.say(&create(&json!("too much"))).await;
    socket.hear().await;
    let error = json!({"type": "invalid_request_error", "code": "context_length_exceeded", "message": "No.", "param": null});
    socket.say(&json!({"type": "error", "status": 400, "error": error})).await;
    assert_eq!(client.hear().await, json!({"type": "error", "status": 400, "error": error}));
    client.close().await;
    socket.closed().await;
    assert_eq!(rig.records(3).await[2].charge, Micropoints::ZERO);
    rig.stop().await;
}

/// Hears an answer to its end.
async fn hear_all(client: &mut Socket) -> Vec<Value> {
    let mut heard = Vec::new();
    loop {
        let event = client.hear().await;
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        heard.push(event);
        if ["response.completed", "response.incomplete", "response.failed", "error"].contains(&&*kind) {
            return heard;
        }
    }
}

#[tokio::test]
async fn responses_reach_providers_without_a_websocket_and_of_other_protocols() {
    let rig = Rig::start().await;
    rig.upstream.respond(|request| match request.target.as_str() {
        _ if request.method == "GET" => Script::json(405, r#"{"error":{"message":"No."}}"#),
        target if target.contains("/messages") => {
            let all = events(tollgate_core::protocol::Protocol::AnthropicMessages).concat();
            Script::sse().chunk(all).end()
        }
        _ => {
            let all = response("resp_1").iter().map(|event| format!("data: {event}\n\n")).collect::<String>();
            Script::sse().chunk(all).end()
        }
    });
    for model in ["gpt-4o", "claude-sonnet-4-5"] {
        let mut client = open(&rig, RESPONSES, "alice").await.expect("a session");
        let mut first = create(&json!("the first question"));
        first["model"] = json!(model);
        client.say(&first).await;
        let heard = hear_all(&mut client).await;
        let completed = heard.last().expect("an answer");
        assert_eq!(completed["type"], "response.completed", "{model}: {completed}");
        // The next turn is what is new alone; the provider is asked the whole.
        let mut next = first.clone();
        next["input"] = json!([{"type": "message", "role": "user", "content": "the second question"}]);
        next["previous_response_id"] = completed["response"]["id"].clone();
        client.say(&next).await;
        assert_eq!(
            hear_all(&mut client).await.last().expect("an answer")["type"],
            "response.completed",
            "{model}"
        );
        let asked =
            String::from_utf8(rig.upstream.requests().last().expect("a call").body.clone()).expect("a text");
        assert!(
            asked.contains("the first question") && asked.contains("the second question"),
            "{model}: {asked}"
        );
        assert!(!asked.contains("previous_response_id"), "{model}: {asked}");
        client.close().await;
    }
    assert_eq!(rig.records(4).await.iter().filter(|record| record.outcome == Outcome::Ok).count(), 4);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_no_call_is_an_error_and_the_session_goes_on() {
    let provider = Provider::start().await;
    let rig = rig(&provider, |_| {}).await;
    let mut client = open(&rig, RESPONSES, "alice").await.expect("a session");
    for (message, status) in [
        (json!({"type": "session.update"}), 400),
        (json!({"type": "response.create", "input": "hi"}), 400),
        (json!({"type": "response.create", "model": "no-such-model", "input": "hi"}), 404),
        (json!({"model": "gpt-4o"}), 400),
    ] {
        client.say(&message).await;
        let told = client.hear().await;
        assert_eq!((&told["type"], &told["status"]), (&json!("error"), &json!(status)), "{message}: {told}");
        assert!(told["error"]["message"].is_string(), "{told}");
    }
    // What is sent ahead costs nothing, and the next turn goes on from it.
    let mut ahead = create(&json!([{"role": "user", "content": "ahead"}]));
    ahead["generate"] = json!(false);
    client.say(&ahead).await;
    let kept = hear_all(&mut client).await.pop().expect("an answer")["response"]["id"].clone();
    let mut next = create(&json!([{"role": "user", "content": "behind"}]));
    next["previous_response_id"] = kept;
    client.say(&next).await;
    let Visit { mut socket, .. } = provider.next().await;
    let asked = socket.hear().await;
    assert_eq!(asked["input"].as_array().map(Vec::len), Some(2), "{asked}");
    drop((client, socket));
    rig.stop().await;
}
