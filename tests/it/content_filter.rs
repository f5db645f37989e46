//! The content filter on requests: what is refused, masked or skipped, and what is recorded of it.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tollgate_core::outcome::Outcome;
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const GEMINI: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

/// A rig whose filter has this configuration; the upstream answers everything.
pub(crate) async fn filtered(config: &str) -> Rig {
    filtered_in(config, None).await
}

/// The same, with a data directory that outlives the rig.
async fn filtered_in(config: &str, data_dir: Option<PathBuf>) -> Rig {
    let rig = Rig::with(|setup| {
        if let Some(dir) = data_dir {
            setup.config.server.data_dir = dir;
        }
        setup.config.policies.content_filter.config = toml::from_str(config).expect("a table");
    })
    .await;
    rig.upstream.respond(|_| {
        Script::json(200, r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#)
    });
    rig
}

/// Words that block, a pattern that blocks, and the same to be masked.
const BLOCK: &str = r#"
words = ["falcon", "敏感词", "ПРИВЕТ", "a/b", "\U0001F600"]
patterns = ['\b\d{4}-\d{4}\b']
"#;
const MASK: &str = r#"
action = "mask"
words = ["falcon", "敏感词", "ПРИВЕТ", "a/b", "\U0001F600"]
patterns = ['\b\d{4}-\d{4}\b']
"#;

/// The text of a JSON string literal, as a client may write it, and what the filter finds in it.
const SPELLINGS: [(&str, &str); 11] = [
    ("the falcon flies", "falcon"),
    ("a FaLcOn", "FaLcOn"),
    ("gyrfalcons", "falcon"),
    (r"f\u0061lcon", "falcon"),
    (r"\u0066\u0061\u006c\u0063\u006F\u006E", "falcon"),
    ("这是敏感词吗", "敏感词"),
    (r"\u654f\u611F词", "敏感词"),
    ("скажи Привет всем", "Привет"),
    (r"x a\/b y", "a/b"),
    (r"smile \ud83D\uDe00!", "\u{1F600}"),
    ("call 5555-1234 now", "5555-1234"),
];

/// A chat whose user says `literal`, a JSON string without its quotes.
fn chat(literal: &str) -> String {
    format!(r#"{{ "model":"gpt-4o" , "messages":[{{"role":"user","content":"{literal}"}}],"seed":1e2 }}"#)
}

#[tokio::test]
async fn a_blocked_text_is_refused_however_it_is_spelt_and_only_its_hash_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let rig = filtered_in(BLOCK, Some(dir.path().to_owned())).await;
    let before = rig.balance("alice").await;
    let mut ids = Vec::new();
    for (literal, _) in SPELLINGS {
        let reply = rig.call(Request::new("POST", CHAT).body(chat(literal))).await;
        assert_eq!(reply.status, 400, "{literal}");
        assert_eq!(reply.json()["error"]["code"], "content_filter", "{literal}");
        assert!(!reply.text().contains("falcon"), "{}", reply.text());
        ids.push(reply.header("x-tollgate-request-id").expect("an id").to_owned());
    }
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    let records = rig.records(SPELLINGS.len()).await;
    let mut hashes = HashMap::new();
    for (id, (literal, found)) in ids.iter().zip(SPELLINGS) {
        let record = records.iter().find(|record| record.request.to_string() == *id).expect("a record");
        let hash = record.filter_hash.clone().expect("a hash");
        assert_ne!(hash, Sha256::digest(found).to_vec(), "{literal}: everyone could guess it");
        assert_eq!(
            *hashes.entry(found).or_insert_with(|| hash.clone()),
            hash,
            "{literal}: equal for equal texts"
        );
        // Words first, each with the number of its place, then patterns.
        let rule = ["falcon", "敏感词", "привет", "a/b", "\u{1F600}", "5555-1234"];
        let rule =
            rule.iter().position(|word| *word == found.to_lowercase()).and_then(|at| at.try_into().ok());
        assert_eq!(record.decisions.screened.rule, rule, "{literal}");
        assert_eq!((record.outcome, record.status), (Outcome::Refused, Some(400)), "{literal}");
        assert_eq!((record.hold.get(), record.charge.get(), record.attempts), (0, 0, 0), "{literal}");
        assert!(record.components.filter.is_some());
    }
    assert_eq!(hashes.len(), 7, "and others for others");
    assert_eq!(rig.balance("alice").await, before);
    rig.stop().await;
    for file in std::fs::read_dir(dir.path()).expect("a data directory") {
        let path = file.expect("a file").path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for (_, found) in SPELLINGS {
            let kept = memchr::memmem::find(&bytes, found.as_bytes()).is_some();
            assert!(!kept, "{found} is in {}", path.display());
        }
    }
}

/// What is kept of a refused text here.
async fn kept_of(word: &str) -> Vec<u8> {
    let rig = filtered(BLOCK).await;
    let reply = rig.call(Request::new("POST", CHAT).body(chat(word))).await;
    assert_eq!(reply.status, 400);
    let record = rig.records(1).await.remove(0);
    let hash = record.filter_hash.expect("a hash");
    rig.stop().await;
    hash
}

#[tokio::test]
async fn what_is_kept_of_a_refused_text_means_nothing_elsewhere() {
    assert_ne!(kept_of("falcon").await, kept_of("falcon").await);
}

#[tokio::test]
async fn a_block_is_told_in_each_protocols_own_words() {
    let rig = filtered(BLOCK).await;
    let user = json!([{"role": "user", "content": "falcon"}]);
    let contents = json!([{"role": "user", "parts": [{"text": "falcon"}]}]);
    for (path, body, member, word) in [
        (CHAT, json!({"model": "gpt-4o", "messages": user}), "code", "content_filter"),
        (RESPONSES, json!({"model": "gpt-4o", "input": "falcon"}), "code", "content_filter"),
        (
            MESSAGES,
            json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": user}),
            "type",
            "invalid_request_error",
        ),
        (GEMINI, json!({"contents": contents}), "status", "INVALID_ARGUMENT"),
        (
            "/gemini/v1/chat",
            json!({"model": "gemini-2.5-flash", "contents": contents}),
            "status",
            "INVALID_ARGUMENT",
        ),
        (
            "/v1/embeddings",
            json!({"model": "text-embedding-3-small", "input": ["x", "falcon"]}),
            "code",
            "content_filter",
        ),
        (
            "/v1/messages/count_tokens",
            json!({"model": "claude-sonnet-4-5", "messages": user}),
            "type",
            "invalid_request_error",
        ),
    ] {
        let reply = rig.call(Request::post(path, &body)).await;
        assert_eq!((reply.status, &reply.json()["error"][member]), (400, &json!(word)), "{path}");
        let message = reply.json()["error"]["message"].as_str().expect("a text").to_owned();
        assert_eq!(message, "The request was refused by the content filter.");
    }
    assert!(rig.upstream.requests().is_empty(), "nothing went up");
    rig.stop().await;
}

#[tokio::test]
async fn a_masked_text_goes_up_with_a_star_for_each_sign_and_all_else_to_the_byte() {
    let rig = filtered(MASK).await;
    for (literal, found) in SPELLINGS {
        let reply = rig.call(Request::new("POST", CHAT).body(chat(literal))).await;
        assert_eq!(reply.status, 200, "{literal}: {}", reply.text());
        let seen = rig.upstream.next().await;
        let text: String = serde_json::from_str(&format!("\"{literal}\"")).expect("a JSON string");
        let covered = text.replace(found, &"*".repeat(found.chars().count()));
        // What lies around the match has no escapes here, so the covered text is its own literal.
        assert_eq!(String::from_utf8_lossy(&seen.body), chat(&covered), "{literal}");
        assert!(seen.json().is_object());
    }
    let spotless = chat(r"nothing \u0074o see, \/ fal con");
    assert_eq!(rig.call(Request::new("POST", CHAT).body(spotless.as_str())).await.status, 200);
    assert_eq!(String::from_utf8_lossy(&rig.upstream.next().await.body), spotless);
    assert!(rig.records(1).await.iter().all(|record| record.filter_hash.is_none()), "a mask keeps nothing");
    rig.stop().await;
}

/// Places where a model reads what it finds, one body each; `falcon` stands there.
fn places() -> Vec<(&'static str, Value)> {
    let claude = |member: &str, value: Value| {
        let mut body = json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": []});
        body[member] = value;
        (MESSAGES, body)
    };
    let message = |content: Value| json!([{"role": "user", "content": content}]);
    let chat = |messages: Value| (CHAT, json!({"model": "gpt-4o", "messages": messages}));
    vec![
        chat(json!([{"role": "system", "content": "the falcon"}])),
        chat(json!([{"role": "user", "content": [{"type": "text", "text": "the falcon"}]}])),
        chat(
            json!([{"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"q\":\"the falcon\"}"}}]}]),
        ),
        chat(json!([{"role": "tool", "tool_call_id": "c", "content": "the falcon"}])),
        (
            CHAT,
            json!({"model": "gpt-4o", "messages": [], "tools": [{"type": "function", "function": {"name": "f", "description": "the falcon"}}]}),
        ),
        claude("system", json!("the falcon")),
        claude("system", json!([{"type": "text", "text": "the falcon"}])),
        claude(
            "messages",
            message(
                json!([{"type": "tool_use", "id": "t", "name": "f", "input": {"deep": [{"q": "the falcon"}]}}]),
            ),
        ),
        claude(
            "messages",
            message(
                json!([{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "the falcon"}]}]),
            ),
        ),
        claude(
            "tools",
            json!([{"name": "f", "input_schema": {"properties": {"q": {"description": "the falcon"}}}}]),
        ),
        claude(
            "messages",
            message(
                json!([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "falcon"}}]),
            ),
        ),
        (RESPONSES, json!({"model": "gpt-4o", "instructions": "the falcon", "input": []})),
        (
            RESPONSES,
            json!({"model": "gpt-4o", "input": [{"type": "function_call_output", "call_id": "c", "output": "the falcon"}]}),
        ),
        (GEMINI, json!({"systemInstruction": {"parts": [{"text": "the falcon"}]}, "contents": []})),
        (
            GEMINI,
            json!({"contents": [{"parts": [{"functionCall": {"name": "f", "args": {"q": "the falcon"}}}]}]}),
        ),
        (
            GEMINI,
            json!({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {"q": "the falcon"}}}]}]}),
        ),
    ]
}

#[tokio::test]
async fn prompts_tools_and_their_arguments_and_results_are_looked_into() {
    let rig = filtered(MASK).await;
    for (path, body) in places() {
        let text = body.to_string();
        let reply = rig.call(Request::new("POST", path).body(text.as_str())).await;
        assert_eq!(reply.status, 200, "{text}: {}", reply.text());
        let seen = rig.upstream.next().await;
        assert_eq!(String::from_utf8_lossy(&seen.body), text.replace("falcon", "******"));
        assert!(seen.json().is_object());
    }
    rig.stop().await;
}

#[tokio::test]
async fn media_and_names_are_passed_over() {
    let rig = filtered(BLOCK).await;
    let picture = "iVBORfalconw0KGgo=";
    let url = format!("data:image/png;base64,{picture}");
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    for (path, body) in [
        (
            CHAT,
            json!({"model": "gpt-4o", "messages": user(json!([{"type": "image_url", "image_url": {"url": url}}]))}),
        ),
        (
            CHAT,
            json!({"model": "gpt-4o", "messages": user(json!([{"type": "input_audio", "input_audio": {"data": picture, "format": "wav"}}]))}),
        ),
        (
            RESPONSES,
            json!({"model": "gpt-4o", "input": user(json!([{"type": "input_image", "image_url": url}]))}),
        ),
        (
            MESSAGES,
            json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": user(json!([
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}}]))}),
        ),
        (
            GEMINI,
            json!({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": picture}}]}]}),
        ),
        (
            CHAT,
            json!({"model": "gpt-4o", "messages": [{"role": "tool", "tool_call_id": "call_falcon_1", "content": "x"}]}),
        ),
        (CHAT, json!({"model": "gpt-4o", "messages": [], "metadata": {"falcon": 1}})),
    ] {
        let reply = rig.call(Request::post(path, &body)).await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
        assert_eq!(rig.upstream.next().await.json().to_string().matches("falcon").count(), 1);
    }
    // Prose in the same place is searched.
    let prose = json!({"model": "gpt-4o", "messages": user(json!([{"type": "image_url", "image_url": {"url": "see the falcon"}}]))});
    assert_eq!(rig.call(Request::post(CHAT, &prose)).await.status, 400);
    rig.stop().await;
}

#[tokio::test]
async fn what_the_gateway_changes_itself_and_what_the_filter_covers_do_not_collide() {
    let rig = filtered(MASK).await;
    rig.upstream.respond(|_| Script::sse().chunk("data: [DONE]\n\n").end());
    // Members that the gateway takes out, around a text that is covered.
    let body = r#"{"model":"gemini-2.5-flash","contents":[{"parts":[{"text":"a falcon"}]}],"stream":true}"#;
    assert_eq!(rig.call(Request::new("POST", "/gemini/v1/chat").body(body)).await.status, 200);
    let seen = rig.upstream.next().await;
    assert_eq!(seen.json(), json!({"contents": [{"parts": [{"text": "a ******"}]}]}));
    // A member that the gateway replaces, with a text that is covered.
    for options in [r#"{"x":"a falcon"}"#, r#"{"include_usage":false,"x":"a falcon"}"#] {
        let body = format!(r#"{{"model":"gpt-4o","stream":true,"messages":[],"stream_options":{options}}}"#);
        assert_eq!(rig.call(Request::new("POST", CHAT).body(body)).await.status, 200, "{options}");
        let seen = rig.upstream.next().await.json();
        assert_eq!(seen["stream_options"]["include_usage"], true, "{options}");
        assert!(!seen.to_string().contains("falcon"), "{seen}");
    }
    rig.stop().await;
}
