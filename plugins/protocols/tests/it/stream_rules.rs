//! What a client of each protocol relies on in a stream.

use serde_json::Value;
use tollgate_plugin::types::Protocol;

/// The data of each event.
pub(crate) fn events(client: Protocol, stream: &str) -> Vec<Value> {
    let end = if client == Protocol::Gemini { "\r\n\r\n" } else { "\n\n" };
    let mut events = Vec::new();
    for event in stream.split_terminator(end) {
        let data = event.lines().find_map(|line| line.strip_prefix("data: "));
        let data = data.unwrap_or_else(|| panic!("{stream:?}"));
        if data == "[DONE]" {
            continue;
        }
        let data: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
        if let Some(name) = event.strip_prefix("event: ") {
            assert_eq!(name.lines().next(), data["type"].as_str());
        }
        events.push(data);
    }
    events
}

/// Panics when the stream breaks a rule of its protocol.
pub(crate) fn check(client: Protocol, stream: &str) {
    let events = events(client, stream);
    match client {
        Protocol::OpenaiChat => check_chat(stream, &events),
        Protocol::OpenaiResponses => check_responses(&events),
        Protocol::AnthropicMessages => check_messages(&events),
        Protocol::Gemini => assert!(!stream.is_empty()),
    }
}

fn check_chat(stream: &str, events: &[Value]) {
    let failed = events.last().is_some_and(|event| event.get("error").is_some());
    assert_eq!(stream.ends_with("data: [DONE]\n\n"), !failed, "{stream}");
    let chunks = &events[..events.len() - usize::from(failed)];
    for chunk in chunks {
        assert_eq!((&chunk["id"], &chunk["created"]), (&chunks[0]["id"], &chunks[0]["created"]));
    }
    if let Some(first) = chunks.first() {
        assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    }
}

/// Blocks are open one at a time, their indices are dense, and the message ends once.
fn check_messages(events: &[Value]) {
    let mut open = false;
    let mut next = 0;
    for (at, event) in events.iter().enumerate() {
        match event["type"].as_str().unwrap() {
            "message_start" => assert_eq!(at, 0),
            "content_block_start" => {
                assert!(!std::mem::replace(&mut open, true));
                assert_eq!(event["index"], next);
                next += 1;
            }
            "content_block_delta" => assert!(open && event["index"] == next - 1),
            "content_block_stop" => {
                assert!(std::mem::replace(&mut open, false));
                assert_eq!(event["index"], next - 1);
            }
            "message_delta" => assert!(!open && at == events.len() - 2),
            "message_stop" | "error" => assert_eq!(at, events.len() - 1),
            other => panic!("{other}"),
        }
    }
}

/// Events are numbered, items open and close once, and the end repeats what was done.
fn check_responses(events: &[Value]) {
    let mut done: Vec<(u64, &Value)> = Vec::new();
    let mut added = 0;
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number as u64);
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(event["output_index"], added);
                added += 1;
            }
            "response.output_item.done" => {
                done.push((event["output_index"].as_u64().unwrap(), &event["item"]));
            }
            "response.completed" => {
                done.sort_by_key(|(index, _)| *index);
                let output: Vec<&Value> = done.iter().map(|(_, item)| *item).collect();
                assert_eq!(
                    event["response"]["output"].as_array().unwrap().iter().collect::<Vec<_>>(),
                    output
                );
                assert_eq!(number, events.len() - 1);
            }
            _ => {}
        }
    }
}
