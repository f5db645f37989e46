//! What every protocol can express comes back from each unchanged: generated conversations, through each of the others.

use crate::cases::{PROTOCOLS, target};
use serde_json::{Value, json};
use tollgate_plugin::types::Protocol;
use tollgate_protocols::translate::Pair;

const WORDS: [&str; 10] =
    ["Hé", "😀", "\"quoted\"", "\\back\\", "line\nend", "\u{1}", "</s>", "data: [DONE]", "{\"a\":1}", " "];

fn words(random: &mut fastrand::Rng) -> String {
    let count = random.usize(1..5);
    (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect::<String>() + "x"
}

fn arguments(random: &mut fastrand::Rng) -> Value {
    match random.u8(..3) {
        0 => json!({}),
        1 => json!({"text": words(random), "n": random.i32(..)}),
        _ => json!({"deep": [{"deeper": [words(random), null, true, 0.5]}]}),
    }
}

/// What the user says: words, or words and a picture.
fn question(random: &mut fastrand::Rng) -> Value {
    if random.bool() {
        return json!({"role": "user", "content": words(random)});
    }
    json!({"role": "user", "content": [{"type": "text", "text": words(random)},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]})
}

/// A conversation as a chat request.
fn conversation(random: &mut fastrand::Rng) -> Value {
    let mut messages = Vec::new();
    if random.bool() {
        messages.push(json!({"role": "system", "content": words(random)}));
    }
    let mut made = 0;
    for _ in 0..random.usize(1..4) {
        messages.push(question(random));
        let calls: Vec<Value> = (0..random.usize(..4))
            .map(|_| {
                made += 1;
                json!({"id": format!("call_{made}"), "type": "function", "function":
                    {"name": format!("f{}", random.u8(..3)), "arguments": arguments(random).to_string()}})
            })
            .collect();
        let mut said = json!({"role": "assistant", "content": words(random)});
        if !calls.is_empty() {
            said["tool_calls"] = json!(calls);
        }
        messages.push(said);
        for call in &calls {
            messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": words(random)}));
        }
        if !calls.is_empty() {
            messages.push(json!({"role": "assistant", "content": words(random)}));
        }
    }
    messages.push(question(random));
    let tools: Vec<Value> = (0..3)
        .map(|number| {
            json!({"type": "function", "function": {"name": format!("f{number}"), "description": words(random),
                "parameters": {"type": "object", "properties": {"text": {"type": ["string", "null"]}}}}})
        })
        .collect();
    json!({"model": "m", "messages": messages, "tools": tools, "max_completion_tokens": random.u16(1..)})
}

fn said(client: Protocol, upstream: Protocol, body: &[u8]) -> Vec<u8> {
    let translated = Pair { client, upstream }.request(body, &target(upstream));
    translated.unwrap_or_else(|refused| panic!("{refused}: {}", String::from_utf8_lossy(body))).body
}

/// The content of a chat, without its ids and the spelling of its arguments.
fn meant(chat: &[u8]) -> Value {
    let chat: Value = serde_json::from_slice(chat).unwrap();
    let mut messages = chat["messages"].as_array().unwrap().clone();
    let mut ids: Vec<Value> = Vec::new();
    for message in &mut messages {
        for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
            ids.push(call["id"].take());
            let text = call["function"]["arguments"].take();
            call["function"]["arguments"] = serde_json::from_str(text.as_str().unwrap()).unwrap();
        }
        if message["role"] == "tool" {
            let id = message["tool_call_id"].take();
            message["tool_call_id"] = json!(ids.iter().position(|known| *known == id));
        }
        for part in message["content"].as_array_mut().into_iter().flatten() {
            // The detail of an image is left to the model, whether stated or not.
            if let Some(image) = part["image_url"].as_object_mut() {
                image.retain(|name, value| name != "detail" || value != "auto");
            }
        }
        if let Some(message) = message.as_object_mut() {
            message.retain(|_, value| !value.is_null());
        }
    }
    let function = |tool: &Value| {
        let function = &tool["function"];
        json!([function["name"], function["description"], function["parameters"]])
    };
    let tools: Vec<Value> = chat["tools"].as_array().unwrap().iter().map(function).collect();
    json!({"messages": messages, "tools": tools, "limit": chat["max_completion_tokens"]})
}

#[test]
fn a_conversation_comes_back_from_every_protocol_as_it_went() {
    let chat = Protocol::OpenaiChat;
    for seed in 0..300 {
        let body = conversation(&mut fastrand::Rng::with_seed(seed)).to_string();
        let expected = meant(&said(chat, chat, body.as_bytes()));
        for (other, name) in PROTOCOLS {
            let there = said(chat, other, body.as_bytes());
            let back = said(other, chat, &there);
            assert_eq!(meant(&back), expected, "{name} {seed}: {}", String::from_utf8_lossy(&there));
        }
    }
}

#[test]
fn what_was_printed_once_is_printed_alike_again() {
    for seed in 0..300 {
        let body = conversation(&mut fastrand::Rng::with_seed(seed)).to_string();
        for (other, name) in PROTOCOLS {
            let once = said(Protocol::OpenaiChat, other, body.as_bytes());
            let twice = said(other, other, &once);
            assert_eq!(String::from_utf8_lossy(&twice), String::from_utf8_lossy(&once), "{name} {seed}");
        }
    }
}
