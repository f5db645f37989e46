//! Bodies that two readers would take for two requests.

use tollgate_tests::client::{Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const FLASH: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const INTERACTIONS: &str = "/v1/interactions";

/// The words of a refusal, in the protocol of who asked.
fn refusal(path: &str, reply: &Reply) -> String {
    let body = reply.json();
    let error = &body["error"];
    let shaped = match path {
        CHAT | RESPONSES => error["type"] == "invalid_request_error",
        MESSAGES => body["type"] == "error" && error["type"] == "invalid_request_error",
        INTERACTIONS => error["code"] == "invalid_request",
        _ => error["status"] == "INVALID_ARGUMENT" && error["code"] == 400,
    };
    assert!(reply.status == 400 && shaped, "{path}: {} {body}", reply.status);
    error["message"].as_str().unwrap_or_default().to_owned()
}

/// Each body is refused by the name that is at fault, and nobody upstream hears of it.
async fn refused(rows: &[(&str, &str, &str)]) {
    let rig = Rig::start().await;
    let before = rig.balance("alice").await;
    for (path, body, name) in rows {
        let reply = rig.call(Request::new("POST", path).body(*body)).await;
        let words = refusal(path, &reply);
        assert!(words.contains(&format!("`{name}`")), "{path} {body}: {words}");
    }
    assert_eq!(rig.upstream.requests().len(), 0);
    assert_eq!(rig.balance("alice").await, before);
    rig.stop().await;
}

#[tokio::test]
async fn a_model_that_is_named_twice_is_refused_by_name() {
    refused(&[
        (CHAT, r#"{"model":"gpt-4o-mini","messages":[],"MODEL":"gpt-4o"}"#, "model"),
        (CHAT, r#"{"model":"gpt-4o-mini","messages":[],"model":"gpt-4o"}"#, "model"),
        (CHAT, r#"{"model":"gpt-4o-mini","messages":[],"mod\u0065l":"gpt-4o"}"#, "model"),
        (CHAT, r#"{"Model":"gpt-4o","messages":[]}"#, "model"),
        (MESSAGES, r#"{"mODEL":"claude-opus-4-1","model":"claude-haiku-4-5","max_tokens":9}"#, "model"),
        (FLASH, r#"{"model":"models/gemini-2.5-pro","contents":[]}"#, "model"),
        (FLASH, r#"{"Model":"models/gemini-2.5-pro","contents":[]}"#, "model"),
        ("/gemini/v1/chat", r#"{"model":"gemini-2.5-flash","Model":"gemini-2.5-pro"}"#, "model"),
        (INTERACTIONS, r#"{"model":"gemini-2.5-flash","agent":"deep-research","input":"x"}"#, "agent"),
        (INTERACTIONS, r#"{"model":"gemini-2.5-flash","AGENT":"deep-research","input":"x"}"#, "agent"),
        (RESPONSES, r#"{"model":"gpt-4o","agent":{"name":"x"},"input":"x"}"#, "agent"),
    ])
    .await;
}

#[tokio::test]
async fn a_limit_that_is_stated_twice_is_refused_by_name() {
    refused(&[
        (CHAT, r#"{"model":"gpt-4o","max_tokens":1,"max_tokens":9000}"#, "max_tokens"),
        (CHAT, r#"{"model":"gpt-4o","max_tokens":1,"Max_Tokens":9000}"#, "max_tokens"),
        (CHAT, r#"{"model":"gpt-4o","max_tokens":1,"max_completion_tokens":9000}"#, "max_tokens"),
        (CHAT, r#"{"model":"gpt-4o","max_tokens":1,"maxTokens":9000}"#, "max_tokens"),
        (CHAT, r#"{"model":"gpt-4o","max_tokens":"9000"}"#, "max_tokens"),
        (CHAT, r#"{"model":"gpt-4o","n":"9"}"#, "n"),
        (CHAT, r#"{"model":"gpt-4o","n":1,"N":9}"#, "n"),
        (CHAT, r#"{"model":"gpt-4o","n":2.5}"#, "n"),
        (MESSAGES, "{\"model\":\"claude-haiku-4-5\",\"max_tokens\":1,\"max_to\u{212a}ens\":9}", "max_tokens"),
        (RESPONSES, r#"{"model":"gpt-4o","max_output_tokens":1,"max_output_tokens":9}"#, "max_output_tokens"),
        (FLASH, r#"{"generationConfig":{},"generation_config":{"maxOutputTokens":9}}"#, "generationConfig"),
        (FLASH, r#"{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}"#, "maxOutputTokens"),
        (FLASH, r#"{"generationConfig":{"candidateCount":1,"CandidateCount":8}}"#, "candidateCount"),
        (FLASH, r#"{"generationConfig":[{"maxOutputTokens":9}]}"#, "generationConfig"),
    ])
    .await;
}

#[tokio::test]
async fn a_switch_of_the_wrong_type_or_said_twice_is_refused_by_name() {
    refused(&[
        (RESPONSES, r#"{"model":"gpt-4o","input":"x","background":1}"#, "background"),
        (RESPONSES, r#"{"model":"gpt-4o","input":"x","background":"true"}"#, "background"),
        (RESPONSES, r#"{"model":"gpt-4o","input":"x","background":false,"Background":true}"#, "background"),
        (INTERACTIONS, r#"{"model":"gemini-2.5-flash","input":"x","background":[true]}"#, "background"),
        (CHAT, r#"{"model":"gpt-4o","stream":1}"#, "stream"),
        (CHAT, r#"{"model":"gpt-4o","stream":false,"stream":true}"#, "stream"),
        (CHAT, r#"{"model":"gpt-4o","STREAM":true}"#, "stream"),
        (CHAT, "{\"model\":\"gpt-4o\",\"\u{17f}tream\":true}", "stream"),
        (CHAT, r#"{"model":"gpt-4o","service_tier":["priority"]}"#, "service_tier"),
        (CHAT, r#"{"model":"gpt-4o","service_tier":"flex","serviceTier":"priority"}"#, "service_tier"),
        (CHAT, r#"{"model":"gpt-4o","stream":true,"stream_options":7}"#, "stream_options"),
    ])
    .await;
}

#[tokio::test]
async fn what_is_read_by_the_gateway_stands_there_once() {
    refused(&[
        (CHAT, r#"{"model":"gpt-4o","messages":[],"messages":[{"role":"user","content":"x"}]}"#, "messages"),
        (RESPONSES, r#"{"model":"gpt-4o","input":"x","Input":"y"}"#, "input"),
        (FLASH, r#"{"contents":[],"Contents":[]}"#, "contents"),
        (FLASH, r#"{"systemInstruction":{},"system_instruction":{}}"#, "systemInstruction"),
        (MESSAGES, r#"{"model":"claude-haiku-4-5","max_tokens":9,"system":"x","SYSTEM":"y"}"#, "system"),
        (CHAT, r#"{"model":"gpt-4o","tools":[],"tool\u0073":[]}"#, "tools"),
        (FLASH, r#"{"cachedContent":"a","cached_content":"b"}"#, "cachedContent"),
    ])
    .await;
}

#[tokio::test]
async fn what_decides_nothing_passes_as_it_was_written() {
    let rig = Rig::start().await;
    let answer =
        r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    for body in [
        r#"{"mod\u0065l":"gpt-4o","messages":[]}"#,
        r#"{"model":"gpt-4o","messages":[],"seed":1,"Seed":2,"seed":3}"#,
        r#"{"model":"gpt-4o","messages":[],"max_tokens":9,"max_completion_tokens":9,"stream":null}"#,
        r#"{ "model" : "gpt-4o","messages":[ ],"metadata":{"model":"x","MODEL":"y","model":"z"}}"#,
        r#"{"model":"gpt-4o","messages":[],"models":["x"],"n":1,"background":false,"agent":null}"#,
    ] {
        rig.upstream.enqueue(Script::json(200, answer));
        let reply = rig.call(Request::new("POST", CHAT).body(body)).await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
        assert_eq!(String::from_utf8_lossy(&rig.upstream.next().await.body), body);
    }
    assert_eq!(rig.upstream.requests().len(), 5);
    rig.stop().await;
}
