//! The simulator on the wire: raw requests in, raw responses out.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Simulator, fault::Fault, reply::Reply};

/// Sends one request with the credential header given and reads until the connection closes.
async fn send(method: &str, target: &str, headers: &str, body: &Value) -> String {
    let simulator = Simulator::start(Duration::ZERO).unwrap();
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    let body = body.to_string();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(simulator.requests(), 1);
    String::from_utf8_lossy(&answer).into_owned()
}

const OPENAI: &str = "authorization: Bearer demo-key";
const ANTHROPIC: &str = "x-api-key: demo-key\r\nanthropic-version: 2023-06-01";
const GOOGLE: &str = "x-goog-api-key: demo-key";

fn chat(text: &str, stream: bool) -> Value {
    json!({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": text}]})
}

fn message(text: &str, stream: bool) -> Value {
    json!({"model": "claude-haiku-4-5", "max_tokens": 99, "stream": stream,
           "messages": [{"role": "user", "content": text}]})
}

fn contents(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

/// A message that asks for `fault`, to each provider, streamed.
async fn spoilt(fault: &str) -> [String; 4] {
    let text = format!("say [[{fault}]]");
    let responses = json!({"model": "gpt-4o", "stream": true, "input": text});
    [
        send("POST", "/v1/chat/completions", OPENAI, &chat(&text, true)).await,
        send("POST", "/v1/responses", OPENAI, &responses).await,
        send("POST", "/v1/messages", ANTHROPIC, &message(&text, true)).await,
        send(
            "POST",
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
            GOOGLE,
            &contents(&text),
        )
        .await,
    ]
}

fn status(answer: &str) -> &str {
    &answer[9..12]
}

#[tokio::test]
async fn the_answer_says_the_last_user_message_back() {
    let whole = send("POST", "/v1/chat/completions", OPENAI, &chat("good morning 你好", false)).await;
    assert!(whole.contains("Hello from the simulated provider. You said: good morning 你好"), "{whole}");
}

#[tokio::test]
async fn usage_is_streamed_only_to_those_who_ask() {
    let plain = send("POST", "/v1/chat/completions", OPENAI, &chat("hi", true)).await;
    assert!(!plain.contains("usage"), "{plain}");
    let mut body = chat("hi", true);
    body["stream_options"] = json!({"include_usage": true});
    let asked = send("POST", "/v1/chat/completions", OPENAI, &body).await;
    assert!(asked.contains(r#""usage":null"#), "{asked}");
    assert!(asked.contains(r#""choices":[]"#), "{asked}");
    assert!(asked.contains(r#""completion_tokens":8"#), "{asked}");
}

#[tokio::test]
async fn a_bounded_answer_ends_at_the_bound() {
    let mut body = chat("hi", false);
    body["max_completion_tokens"] = json!(3);
    let answer = send("POST", "/v1/chat/completions", OPENAI, &body).await;
    assert!(answer.contains(r#""finish_reason":"length""#), "{answer}");
    assert!(answer.contains(r#""completion_tokens":3"#), "{answer}");
}

#[tokio::test]
async fn a_stream_of_events_has_the_documented_order() {
    let answer = send("POST", "/v1/messages", ANTHROPIC, &message("hi", true)).await;
    let mut names: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    names.dedup();
    let order = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, order);
}

#[tokio::test]
async fn a_gemini_stream_without_sse_is_one_json_array() {
    let target = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
    let answer = send("POST", target, GOOGLE, &contents("hi")).await;
    let array: String = answer.lines().filter(|line| line.starts_with(['[', '{', ']', ','])).collect();
    let array: Value = serde_json::from_str(&array).unwrap();
    let last = array.as_array().unwrap().last().unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    assert_eq!(last["usageMetadata"]["candidatesTokenCount"], 8);
}

#[tokio::test]
async fn a_foreign_credential_is_refused_as_each_provider_refuses_it() {
    let openai = send("POST", "/v1/chat/completions", "authorization: Bearer sk-1", &chat("hi", false)).await;
    assert_eq!(status(&openai), "401");
    assert!(openai.contains("invalid_api_key"), "{openai}");
    let headers = "x-api-key: sk-1\r\nanthropic-version: 2023-06-01";
    let anthropic = send("POST", "/v1/messages", headers, &message("hi", false)).await;
    assert_eq!(status(&anthropic), "401");
    assert!(anthropic.contains("authentication_error"), "{anthropic}");
    let target = "/v1/models/gemini-2.5-flash:generateContent";
    let gemini = send("POST", target, "x-goog-api-key: AIza1", &contents("hi")).await;
    assert_eq!(status(&gemini), "400");
    assert!(gemini.contains("API_KEY_INVALID"), "{gemini}");
}

#[tokio::test]
async fn a_message_can_ask_for_every_refusal() {
    for (fault, expected) in [
        ("401", ["401", "401", "401", "400"]),
        ("429", ["429", "429", "429", "429"]),
        ("500", ["500", "500", "500", "500"]),
        ("529", ["503", "503", "529", "503"]),
        ("quota", ["429", "429", "402", "429"]),
        ("context", ["400", "400", "400", "400"]),
    ] {
        let answers = spoilt(fault).await;
        assert_eq!(answers.each_ref().map(|answer| status(answer)), expected, "{fault}");
    }
}

#[tokio::test]
async fn gemini_refuses_an_array_stream_in_an_array() {
    let target = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
    let answer = send("POST", target, GOOGLE, &contents("[[429]]")).await;
    let body: Value = serde_json::from_str(answer.lines().last().unwrap()).unwrap();
    assert_eq!(body[0]["error"]["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(body[0]["error"]["details"][0]["retryDelay"], "2s");
}

#[tokio::test]
async fn a_model_name_can_ask_for_a_fault_as_well() {
    let mut body = chat("hi", false);
    body["model"] = json!("gpt-demo-429");
    let answer = send("POST", "/v1/chat/completions", OPENAI, &body).await;
    assert_eq!(status(&answer), "429");
    assert!(answer.contains("\r\nretry-after: 2\r\n"), "{answer}");
}

#[tokio::test]
async fn a_cut_answer_stops_half_way_and_is_not_ended() {
    for answer in spoilt("cut").await {
        assert_eq!(status(&answer), "200");
        assert!(answer.contains("data: {"), "{answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_mid_stream_error_is_the_last_event() {
    for answer in spoilt("midstream-error").await {
        assert_eq!(status(&answer), "200");
        let last = answer.lines().rfind(|line| line.starts_with("data: ")).unwrap();
        assert!(last.contains("error"), "{answer}");
    }
}

#[tokio::test]
async fn garbage_arrives_under_status_200() {
    for answer in spoilt("garbage").await {
        assert_eq!(status(&answer), "200");
        assert!(answer.contains("this is not the answer") && !answer.contains("Hello"), "{answer}");
    }
}

#[test]
fn a_hanging_answer_never_has_a_head() {
    let reply = Reply::status(StatusCode::OK).spoil(Some(Fault::Hang), Bytes::new());
    assert!(reply.into_response(Duration::ZERO).now_or_never().is_none());
}

#[tokio::test]
async fn an_empty_answer_is_whole_and_has_no_text() {
    for answer in spoilt("empty").await {
        assert_eq!(status(&answer), "200");
        assert!(!answer.contains("Hello"), "{answer}");
        assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn dropping_the_simulator_closes_its_connections() {
    let simulator = Simulator::start(Duration::ZERO).unwrap();
    let mut stream = TcpStream::connect(simulator.addr()).await.unwrap();
    drop(simulator);
    let mut rest = Vec::new();
    // A reset counts as an end; this only must not wait for ever.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
