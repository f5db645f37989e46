//! Large values do not go through a component: pictures, documents, prompts, files in arguments, in every translated
//! cell, there and back.

use std::path::PathBuf;

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_tests::client::{self, Request};
use tollgate_tests::gateway::{self, Rig};
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

use crate::translation::{answer, events, foreign, model, rig_with, understood, understood_stream};

const MIB: usize = 1 << 20;
/// What a component may be given of a call with large values.
const SMALL_BYTES: u64 = 32 << 10;

/// Bytes copied into components so far.
async fn copied(rig: &Rig) -> u64 {
    let metrics = rig.admin("GET", "/metrics").await.text();
    let lines = metrics.lines().filter(|line| line.starts_with("tollgate_plugin_bytes{"));
    lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a number")).sum()
}

async fn rig(upstream: Protocol) -> Rig {
    rig_with(upstream, |setup| setup.users = vec![("alice", Micropoints::from_points(1_000_000))]).await
}

/// Base64 of about so many bytes, which repeats nothing soon.
fn base64(bytes: usize) -> String {
    let mut state = 7_u32;
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(letters[(state >> 26) as usize])
    };
    (0..bytes / 4 * 4 - 2).map(letter).chain("==".chars()).collect()
}

/// A prompt with everything that is escaped.
fn prompt(bytes: usize) -> String {
    "Zeile \"eins\",\n\tzwei \\ drei \u{1F600} é\u{7f}. ".repeat(bytes / 40)
}

/// A question with a picture, a document and a long text.
fn ask(client: Protocol, model: &str, picture: &str, document: &str, text: &str) -> Request {
    let (png, pdf) =
        (format!("data:image/png;base64,{picture}"), format!("data:application/pdf;base64,{document}"));
    match client {
        OpenaiChat => Request::post(
            "/v1/chat/completions",
            &json!({"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": png}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
                {"type": "text", "text": text}]}]}),
        ),
        OpenaiResponses => Request::post(
            "/v1/responses",
            &json!({"model": model, "max_output_tokens": 99, "store": false, "input": [{"role": "user", "content": [
                {"type": "input_image", "image_url": png, "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": pdf},
                {"type": "input_text", "text": text}]}]}),
        ),
        AnthropicMessages => Request::post(
            "/v1/messages",
            &json!({"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": document}},
                {"type": "text", "text": text}]}]}),
        )
        .header("anthropic-version", "2023-06-01"),
        Gemini => Request::post(
            &format!("/v1beta/models/{model}:generateContent"),
            &json!({"generationConfig": {"maxOutputTokens": 99}, "contents": [{"role": "user", "parts": [
                {"inlineData": {"mimeType": "image/png", "data": picture}},
                {"inlineData": {"mimeType": "application/pdf", "data": document}},
                {"text": text}]}]}),
        ),
    }
}

/// Every string of a document.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().flat_map(strings).collect(),
        Value::Object(object) => object.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn a_picture_a_document_and_a_prompt_of_megabytes_reach_every_provider_and_no_component() {
    let (picture, document, text) = (base64(10 * MIB), base64(3 * MIB), prompt(MIB));
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        rig.upstream.respond(move |_| Script::json(200, answer(upstream)));
        for client in foreign(upstream) {
            let cell = format!("{client:?} to {upstream:?}");
            let before = copied(&rig).await;
            let reply = rig.call(ask(client, model(upstream).0, &picture, &document, &text)).await;
            assert_eq!(reply.status, 200, "{cell}: {}", reply.text());
            let sent = rig.upstream.next().await.json();
            let strings = strings(&sent);
            for value in [&picture, &document, &text] {
                assert!(strings.iter().any(|string| string.ends_with(value.as_str())), "{cell}");
            }
            let entered = copied(&rig).await - before;
            assert!(entered < SMALL_BYTES, "{cell}: {entered} bytes");
        }
        rig.stop().await;
    }
}

/// An answer whose call has this argument.
fn calling(upstream: Protocol, stream: bool, city: &str) -> Vec<String> {
    let small = r#"{"city":"Köln"}"#;
    let large = json!({"city": city}).to_string();
    let quoted = |text: &str| Value::from(text).to_string();
    let all = if stream { events(upstream) } else { vec![answer(upstream)] };
    let mended = |event: String| event.replace(&quoted(small), &quoted(&large)).replace(small, &large);
    all.into_iter().map(mended).collect()
}

#[tokio::test]
async fn a_file_in_the_arguments_of_a_call_reaches_every_client() {
    let file = prompt(MIB);
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        for client in foreign(upstream) {
            let cell = format!("{client:?} to {upstream:?}");
            let before = copied(&rig).await;
            rig.upstream.enqueue(Script::json(200, calling(upstream, false, &file).concat()));
            let reply = rig.call(crate::translation::ask(client, model(upstream).0, false)).await;
            assert_eq!(reply.status, 200, "{cell}");
            let understood = understood(client, &reply.json());
            assert!(understood.2 == json!({"city": file}), "{cell}");
            assert!(copied(&rig).await - before < SMALL_BYTES, "{cell}");
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_call_that_comes_whole_in_a_stream_may_hold_a_file() {
    let file = prompt(MIB);
    let rig = rig(Gemini).await;
    for client in foreign(Gemini) {
        let script = calling(Gemini, true, &file).iter().fold(Script::sse(), Script::chunk).end();
        rig.upstream.enqueue(script);
        let before = copied(&rig).await;
        let reply = rig.call(crate::translation::ask(client, model(Gemini).0, true)).await;
        let understood = understood_stream(client, &reply.text());
        assert!(understood.2 == json!({"city": file}), "{client:?}");
        assert!(copied(&rig).await - before < SMALL_BYTES, "{client:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_call_and_a_tools_answer_of_a_conversation_may_hold_a_file() {
    let file = prompt(MIB);
    let arguments = json!({"path": "a", "content": file});
    for upstream in [AnthropicMessages, Gemini, OpenaiResponses] {
        let rig = rig(upstream).await;
        rig.upstream.enqueue(Script::json(200, answer(upstream)));
        let call = json!({"id": "call_1", "type": "function",
            "function": {"name": "write", "arguments": arguments.to_string()}});
        let request = Request::post(
            "/v1/chat/completions",
            &json!({"model": model(upstream).0, "messages": [
            {"role": "user", "content": "Write it."},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": file}]}),
        );
        let before = copied(&rig).await;
        let reply = rig.call(request).await;
        assert_eq!(reply.status, 200, "{upstream:?}: {}", reply.text());
        let sent = rig.upstream.next().await.json();
        let found = strings(&sent).into_iter().filter(|string| {
            **string == file || serde_json::from_str::<Value>(string).is_ok_and(|inside| inside == arguments)
        });
        assert_eq!(found.count(), 2, "{upstream:?}");
        assert!(copied(&rig).await - before < SMALL_BYTES, "{upstream:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn instructions_that_an_answer_repeats_are_whole_in_it() {
    let instructions = prompt(64 << 10);
    for (stream, upstream) in [(false, AnthropicMessages), (true, AnthropicMessages), (true, Gemini)] {
        let rig = rig(upstream).await;
        let script = events(upstream).iter().fold(Script::sse(), Script::chunk).end();
        rig.upstream.enqueue(if stream { script } else { Script::json(200, answer(upstream)) });
        let request = Request::post(
            "/v1/responses",
            &json!({"model": model(upstream).0, "store": false,
            "stream": stream, "instructions": instructions, "input": "Weather?"}),
        );
        let reply = rig.call(request).await;
        let last = match stream {
            false => reply.json(),
            true => {
                let text = reply.text();
                let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
                let event: Value = serde_json::from_str(data.expect("an event")).expect("JSON");
                event["response"].clone()
            }
        };
        assert!(last["instructions"] == instructions.as_str(), "{upstream:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_text_of_megabytes_is_one_event_and_costs_what_is_stated() {
    let text = prompt(3 * MIB);
    let piece = Value::from(text.as_str()).to_string();
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let events: Vec<String> =
            events(upstream).iter().map(|event| event.replace("look. ", piece.trim_matches('"'))).collect();
        for client in foreign(upstream) {
            let cell = format!("{client:?} to {upstream:?}");
            let records = rig.records(0).await.len();
            rig.upstream.enqueue(events.iter().fold(Script::sse(), Script::chunk).end());
            let before = copied(&rig).await;
            let reply = rig.call(crate::translation::ask(client, model(upstream).0, true)).await;
            let understood = understood_stream(client, &reply.text());
            assert_eq!(understood.0.len(), "Let me ".len() + text.len(), "{cell}");
            assert!(understood.0.ends_with(&text), "{cell}");
            assert!(copied(&rig).await - before < SMALL_BYTES, "{cell}");
            let record = rig.records(records + 1).await.pop().expect("a record");
            assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, model(upstream).1), "{cell}");
        }
        rig.stop().await;
    }
}

/// The most memory that a process has had, in bytes.
fn peak(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a Linux system");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
}

/// A provider, and how a gateway before it is started, again and again, with a key for it.
async fn street() -> (Upstream, tempfile::TempDir, PathBuf, String) {
    let upstream = Upstream::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = config_file(dir.path(), &upstream, "");
    let config = tollgate_server::config::Config::read(&path).expect("a configuration");
    let credentials =
        ["openai", "anthropic", "google"].map(|provider| (provider, None, "platform", 100)).to_vec();
    let users = vec![("alice", Micropoints::from_points(1_000_000))];
    let keys = gateway::provision(&config, users, credentials).await.expect("an empty database takes users");
    (upstream, dir, path, keys["alice"].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_of_twenty_megabytes_takes_a_third_more_than_itself_at_most() {
    let (upstream, _dir, path, key) = street().await;
    let picture = base64(20 * MIB);
    for (client, provider) in
        [(OpenaiChat, AnthropicMessages), (AnthropicMessages, Gemini), (Gemini, OpenaiChat)]
    {
        let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &path).await;
        upstream.respond(move |_| Script::json(200, answer(provider)));
        let ask = |picture: &str| ask(client, model(provider).0, picture, picture, "hi").bearer(&key);
        // What is made once is made.
        assert_eq!(client::call(process.addr, &ask(&base64(MIB / 4))).await.status, 200);
        let before = peak(&process);
        // Both together are the picture.
        assert_eq!(client::call(process.addr, &ask(&picture[..10 * MIB])).await.status, 200, "{client:?}");
        let taken = peak(&process) - before;
        assert!(taken <= 20 * MIB * 13 / 10, "{client:?} to {provider:?}: {} KiB", taken >> 10);
        process.end().await;
    }
}

/// An answer in which a text of so many bytes stands.
fn saying(upstream: Protocol, bytes: usize) -> Script {
    let text = Value::from(prompt(bytes)).to_string();
    Script::json(200, answer(upstream).replace("look. ", text.trim_matches('"')))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_twenty_megabytes_takes_a_third_more_than_itself_at_most() {
    let (upstream, _dir, path, key) = street().await;
    for (client, provider) in
        [(AnthropicMessages, OpenaiChat), (Gemini, AnthropicMessages), (OpenaiResponses, Gemini)]
    {
        let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &path).await;
        let ask = || crate::translation::ask(client, model(provider).0, false).bearer(&key);
        upstream.enqueue(saying(provider, MIB / 4));
        assert_eq!(client::call(process.addr, &ask()).await.status, 200);
        let before = peak(&process);
        upstream.enqueue(saying(provider, 20 * MIB));
        let reply = client::call(process.addr, &ask()).await;
        assert!(reply.status == 200 && reply.body.len() > 20 * MIB, "{client:?} to {provider:?}");
        let taken = peak(&process) - before;
        assert!(taken <= 20 * MIB * 13 / 10, "{client:?} to {provider:?}: {} KiB", taken >> 10);
        process.end().await;
    }
}
