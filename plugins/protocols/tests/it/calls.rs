//! However pieces of calls are mixed, each call arrives whole.

use crate::cases::{PROTOCOLS, context};
use crate::stream_rules;
use serde_json::{Value, json};
use tollgate_plugin::types::Protocol;
use tollgate_protocols::translate::Pair;

pub(crate) const ARGUMENTS: [&str; 3] =
    [r#"{"a":"}{\"\\","b":[1.50,{}]}"#, r#"{"text":"Hé 😀 \n"}"#, r#"{"deep":{"deeper":[[{"x":null}]]}}"#];

/// Chunks of a chat whose calls begin in order and continue in any order.
fn mixed(random: &mut fastrand::Rng) -> String {
    let mut rest: Vec<&str> = ARGUMENTS.to_vec();
    let mut stream = String::new();
    let mut begun = 0;
    while begun < ARGUMENTS.len() || rest.iter().any(|rest| !rest.is_empty()) {
        let index = random.usize(0..=begun.min(ARGUMENTS.len() - 1));
        let piece = if index == begun {
            begun += 1;
            json!({"index": index, "id": format!("call_{index}"), "type": "function",
                "function": {"name": format!("f{index}"), "arguments": ""}})
        } else {
            let mut end = random.usize(0..=rest[index].len().min(9));
            while !rest[index].is_char_boundary(end) {
                end += 1;
            }
            let (piece, after) = rest[index].split_at(end);
            rest[index] = after;
            json!({"index": index, "function": {"arguments": piece}})
        };
        let chunk = json!({"id": "c", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": null}]});
        stream.push_str(&format!("data: {chunk}\n\n"));
    }
    stream.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n");
    stream
}

/// Names and arguments, in the order in which a client of this protocol sees the calls.
pub(crate) fn collected(client: Protocol, stream: &str) -> Vec<(String, String)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for event in stream_rules::events(client, stream) {
        match client {
            Protocol::OpenaiChat => {
                for piece in event["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
                    let at = usize::try_from(piece["index"].as_u64().unwrap()).unwrap();
                    if at == calls.len() {
                        calls.push((text(&piece["function"]["name"]), String::new()));
                    }
                    calls[at].1 += &text(&piece["function"]["arguments"]);
                }
            }
            Protocol::AnthropicMessages => {
                if event["content_block"]["type"] == "tool_use" {
                    calls.push((text(&event["content_block"]["name"]), String::new()));
                } else if let Some(json) = event["delta"]["partial_json"].as_str() {
                    calls.last_mut().unwrap().1 += json;
                }
            }
            Protocol::OpenaiResponses => {
                for item in event["response"]["output"].as_array().into_iter().flatten() {
                    calls.push((text(&item["name"]), text(&item["arguments"])));
                }
            }
            Protocol::Gemini => {
                let call = &event["candidates"][0]["content"]["parts"][0]["functionCall"];
                if call.is_object() {
                    calls.push((text(&call["name"]), call["args"].to_string()));
                }
            }
        }
    }
    calls
}

#[test]
fn any_mix_of_pieces_gives_the_same_calls() {
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for seed in 0..300 {
        let stream = mixed(&mut fastrand::Rng::with_seed(seed));
        for (client, name) in PROTOCOLS {
            let mut translated = Pair { client, upstream: Protocol::OpenaiChat }.stream(&context(client));
            let mut out = translated.feed(stream.as_bytes());
            out.extend(translated.finish());
            let out = String::from_utf8(out).unwrap();
            stream_rules::check(client, &out);
            let calls = collected(client, &out);
            assert_eq!(calls.len(), ARGUMENTS.len(), "{name} {seed}: {out}");
            for (index, (function, arguments)) in calls.iter().enumerate() {
                assert_eq!(*function, format!("f{index}"), "{name} {seed}");
                assert_eq!(value(arguments), value(ARGUMENTS[index]), "{name} {seed}");
            }
        }
    }
}

#[test]
fn a_call_that_waits_begins_when_the_one_before_it_is_complete() {
    let client = Protocol::AnthropicMessages;
    let mut stream = Pair { client, upstream: Protocol::OpenaiChat }.stream(&context(client));
    let mut feed = |pieces: &str| {
        let event =
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"tool_calls\":[{pieces}]}}}}]}}\n\n");
        String::from_utf8(stream.feed(event.as_bytes())).unwrap()
    };
    let both = feed(
        r#"{"index":0,"id":"a","function":{"name":"f","arguments":""}},
           {"index":1,"id":"b","function":{"name":"g","arguments":"{"}}"#
            .replace('\n', "")
            .as_str(),
    );
    assert!(both.contains(r#""name":"f""#) && !both.contains(r#""name":"g""#), "{both}");
    let first = feed(r#"{"index":0,"function":{"arguments":"{}"}}"#);
    assert!(first.contains(r#""name":"g""#), "{first}");
}
