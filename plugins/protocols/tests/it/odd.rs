//! Answers as local servers and relays send them: what is readable is read, calls are told apart by what they are, and
//! a stream and a whole answer are each made of the other.

use serde_json::{Value, json};
use tollgate_plugin::types::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_protocols::translate::Pair;

use crate::calls::collected;
use crate::cases::{PROTOCOLS, context};
use crate::stream_rules;

fn translated(client: Protocol, upstream: Protocol, stream: &str) -> String {
    let mut translation = Pair { client, upstream }.stream(&context(client));
    let mut out = Vec::new();
    for piece in stream.as_bytes().chunks(13) {
        out.extend(translation.feed(piece));
    }
    out.extend(translation.finish());
    String::from_utf8(out).unwrap()
}

fn whole(client: Protocol, upstream: Protocol, body: &str) -> Result<Value, String> {
    let translated = Pair { client, upstream }.response(body.as_bytes(), &context(client));
    translated.map(|body| serde_json::from_slice(&body).unwrap()).map_err(|refused| refused.to_string())
}

/// A chat of these deltas.
fn chat(deltas: &[Value]) -> String {
    let mut stream = String::new();
    for delta in deltas {
        stream += &format!("data: {}\n\n", json!({"id": "c", "choices": [{"index": 0, "delta": delta}]}));
    }
    stream
        + "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n"
}

fn check_calls(what: &str, deltas: &[Value], expected: &[(&str, &str)]) {
    for (client, name) in PROTOCOLS {
        let stream = translated(client, OpenaiChat, &chat(deltas));
        stream_rules::check(client, &stream);
        let calls = collected(client, &stream);
        let calls: Vec<(&str, Value)> = calls
            .iter()
            .map(|(name, text)| {
                (&**name, serde_json::from_str(if text.is_empty() { "{}" } else { text }).unwrap())
            })
            .collect();
        let expected: Vec<(&str, Value)> =
            expected.iter().map(|(name, text)| (*name, serde_json::from_str(text).unwrap())).collect();
        assert_eq!(calls, expected, "{what}, for {name}: {stream}");
    }
}

fn call(name: &str, arguments: &str) -> Value {
    json!({"function": {"name": name, "arguments": arguments}})
}

fn more(arguments: &str) -> Value {
    json!({"function": {"arguments": arguments}})
}

/// The same piece with other members.
fn with(mut piece: Value, more: &Value) -> Value {
    let more = more.as_object().unwrap().clone();
    piece.as_object_mut().unwrap().extend(more);
    piece
}

fn delta(pieces: &[Value]) -> Value {
    json!({"tool_calls": pieces})
}

const TWO: [(&str, &str); 2] = [("f", r#"{"a":1}"#), ("f", r#"{"a":2}"#)];
const ONE: [(&str, &str); 1] = [("f", r#"{"a":"x"}"#)];

#[test]
fn calls_are_told_apart_by_what_they_are() {
    check_calls(
        "two whole calls in one delta",
        &[delta(&[call("f", r#"{"a":1}"#), call("g", r#"{"b":"}"}"#)])],
        &[("f", r#"{"a":1}"#), ("g", r#"{"b":"}"}"#)],
    );
    check_calls("two of one function", &[delta(&[call("f", r#"{"a":1}"#), call("f", r#"{"a":2}"#)])], &TWO);
    check_calls(
        "two in two deltas, all with the index 0",
        &[
            delta(&[with(call("f", r#"{"a":1}"#), &json!({"index": 0, "id": "x"}))]),
            delta(&[with(call("f", r#"{"a":2}"#), &json!({"index": 0, "id": "y"}))]),
        ],
        &TWO,
    );
    check_calls(
        "two whose ids are empty",
        &[
            delta(&[with(call("f", r#"{"a":1}"#), &json!({"index": 0, "id": ""}))]),
            delta(&[with(call("f", r#"{"a":2}"#), &json!({"index": 0, "id": ""}))]),
        ],
        &TWO,
    );
    check_calls(
        "two whose ids are the same",
        &[
            delta(&[with(call("f", r#"{"a":1}"#), &json!({"index": 0, "id": "call_0"}))]),
            delta(&[with(call("f", r#"{"a":2}"#), &json!({"index": 1, "id": "call_0"}))]),
        ],
        &TWO,
    );
}

#[test]
fn pieces_of_one_call_stay_together_however_they_are_named() {
    check_calls(
        "an id of its own for each piece",
        &[
            delta(&[with(call("f", ""), &json!({"index": 0, "id": "a"}))]),
            delta(&[with(more(r#"{"a":"#), &json!({"index": 0, "id": "b"}))]),
            delta(&[with(more(r#""x"}"#), &json!({"index": 0, "id": "c"}))]),
        ],
        &ONE,
    );
    check_calls(
        "an id of its own and the name for each piece",
        &[
            delta(&[with(call("f", r#"{"a":"#), &json!({"index": 0, "id": "a"}))]),
            delta(&[with(call("f", r#""x"}"#), &json!({"index": 0, "id": "b"}))]),
        ],
        &ONE,
    );
    check_calls("no index and no id", &[delta(&[call("f", r#"{"a""#)]), delta(&[more(r#":"x"}"#)])], &ONE);
    check_calls(
        "the name in each piece, and once more in the end",
        &[
            delta(&[with(call("f", r#"{"a":"#), &json!({"index": 0, "id": "a"}))]),
            delta(&[with(call("f", r#""x"}"#), &json!({"index": 0, "id": "a"}))]),
            delta(&[with(call("f", ""), &json!({"index": 0, "id": "a"}))]),
        ],
        &ONE,
    );
    check_calls(
        "an index that counts pieces",
        &[
            delta(&[with(call("f", r#"{"a""#), &json!({"index": 0, "id": "a"}))]),
            delta(&[with(more(r#":"x"}"#), &json!({"index": 1}))]),
        ],
        &ONE,
    );
}

#[test]
fn calls_of_other_shapes_are_calls() {
    check_calls(
        "an index as a text, arguments as an object, a numeric id",
        &[delta(&[
            json!({"index": "0", "id": 7, "function": {"name": "f", "arguments": {"a": 1}}}),
            json!({"index": "1.0", "id": 8, "function": {"name": "f", "arguments": {"a": 2}}}),
        ])],
        &TWO,
    );
    check_calls(
        "without the object around it",
        &[delta(&[json!({"name": "f", "arguments": {"a": "x"}})])],
        &ONE,
    );
    check_calls("one in place of a list", &[json!({"tool_calls": call("f", r#"{"a":"x"}"#)})], &ONE);
    check_calls(
        "an older member",
        &[json!({"function_call": {"name": "f", "arguments": r#"{"a":"x"}"#}})],
        &ONE,
    );
    check_calls(
        "two that take turns",
        &[
            delta(&[with(call("f", ""), &json!({"index": 0, "id": "a"}))]),
            delta(&[with(call("f", ""), &json!({"index": 1, "id": "b"}))]),
            delta(&[
                with(more(r#"{"a":"#), &json!({"index": 0})),
                with(more(r#"{"a":2"#), &json!({"index": 1})),
            ]),
            delta(&[with(more("1}"), &json!({"index": 0})), with(more("}"), &json!({"index": 1}))]),
        ],
        &TWO,
    );
}

/// All text that a client of this protocol sees.
fn text(client: Protocol, stream: &str) -> String {
    let pick = |event: &Value| match client {
        OpenaiChat => event["choices"][0]["delta"]["content"].clone(),
        OpenaiResponses if event["type"] == "response.output_text.delta" => event["delta"].clone(),
        OpenaiResponses => Value::Null,
        AnthropicMessages => event["delta"]["text"].clone(),
        Gemini => event["candidates"][0]["content"]["parts"][0]["text"].clone(),
    };
    let texts = stream_rules::events(client, stream);
    texts.iter().map(|event| pick(event).as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn odd_pieces_of_a_stream_are_understood() {
    let end =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let messages = |piece: &str| format!("event: content_block_delta\ndata: {piece}\n\n");
    let stop = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n";
    let completed = "data: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"Hi!\"}]}],\"usage\":null}}\n\n";
    let cases: [(Protocol, String); 19] = [
        (OpenaiChat, format!("data: {{\"choices\":[{{\"message\":{{\"content\":\"Hi!\"}}}}]}}\n\n{end}")),
        (OpenaiChat, format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"Hi!\"}}}}]}}\n\ndata: {{\"choices\":[{{\"message\":{{\"content\":\"Hi!\"}},\"finish_reason\":\"stop\"}}]}}\n\n{end}")),
        (OpenaiChat, format!("data: {{\"choices\":[{{\"delta\":{{\"content\":[{{\"type\":\"text\",\"text\":\"Hi\"}},\"!\"]}}}}]}}\n\n{end}")),
        (OpenaiChat, format!("data: {{\"choices\":[{{\"text\":\"Hi!\"}}]}}\n\n{end}")),
        (OpenaiChat, format!("data: {{\"id\":7,\"created\":\"x\",\"choices\":[null,{{\"index\":null,\"logprobs\":7,\"delta\":{{\"content\":\"Hi!\",\"tool_calls\":null}}}}]}}\n\n{end}")),
        (OpenaiChat, format!("data: {{\"choices\":{{\"delta\":{{\"content\":\"Hi!\"}}}}}}\n\n{end}")),
        (OpenaiChat, format!(": ping\n\ndata:\n\ndata: ping\n\ndata: null\n\ndata: {{\"error\":{{}},\"choices\":[{{\"delta\":{{\"content\":\"Hi!\"}}}}]}}\n\n{end}")),
        (OpenaiChat, "{\"id\":\"c\",\"choices\":[{\"message\":{\"content\":\"Hi!\"},\"finish_reason\":\"stop\"}]}".to_owned()),
        (OpenaiChat, "{\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n{\"choices\":[{\"delta\":{\"content\":\"!\"},\"finish_reason\":\"stop\"}]}\n".to_owned()),
        (AnthropicMessages, messages("{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi!\"}}") + stop),
        (AnthropicMessages, messages("{\"type\":\"content_block_delta\",\"index\":\"0\",\"delta\":{\"text\":\"Hi!\"}}") + stop),
        (AnthropicMessages, messages("{\"index\":0,\"delta\":{\"text\":\"Hi!\"}}") + stop),
        (AnthropicMessages, format!("data: {{\"type\":\"message_start\",\"message\":null}}\n\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"Hi!\"}}}}\n\n{stop}data: [DONE]\n\n")),
        (AnthropicMessages, "{\"type\":\"message\",\"content\":\"Hi!\",\"stop_reason\":\"end_turn\"}".to_owned()),
        (Gemini, "data: {\"candidates\":[{\"index\":\"0\",\"content\":{\"parts\":{\"text\":\"Hi!\"}},\"finishReason\":\"STOP\"}]}\r\n\r\ndata: [DONE]\r\n\r\n".to_owned()),
        (Gemini, "[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"Hi\"}]}}]},\r\n{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"!\"}]},\"finishReason\":\"STOP\"}]}]".to_owned()),
        (OpenaiResponses, completed.to_owned()),
        (OpenaiResponses, format!("data: {{\"type\":\"response.created\",\"response\":null}}\n\ndata: {{\"type\":\"response.output_text.delta\",\"delta\":\"Hi!\",\"logprobs\":null}}\n\n{completed}")),
        (OpenaiResponses, format!("data: {{\"type\":\"response.output_item.added\",\"item\":{{\"id\":\"m\",\"type\":\"message\"}}}}\n\n{completed}")),
    ];
    for (upstream, stream) in cases {
        for (client, name) in PROTOCOLS {
            let translated = translated(client, upstream, &stream);
            stream_rules::check(client, &translated);
            assert_eq!(text(client, &translated), "Hi!", "{name} of {stream}: {translated}");
            assert!(!translated.contains("\"error\":{"), "{name} of {stream}: {translated}");
        }
    }
}

#[test]
fn a_call_of_responses_without_places_or_a_beginning_is_whole() {
    let done = json!({"type": "response.output_item.done", "item": {"id": "i", "type": "function_call", "call_id": "c",
        "name": "f", "arguments": "{\"a\":1}"}});
    let end = json!({"type": "response.completed", "response": {"output": []}});
    let added = json!({"type": "response.output_item.added", "item": {"id": "i", "type": "function_call", "call_id": "c", "name": "f", "arguments": ""}});
    let piece = json!({"type": "response.function_call_arguments.delta", "item_id": "i", "delta": {"a": 1}});
    for events in [vec![&done, &end], vec![&added, &done, &end], vec![&added, &piece, &done, &end]] {
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        for (client, name) in PROTOCOLS {
            let translated = translated(client, OpenaiResponses, &stream);
            assert_eq!(
                collected(client, &translated),
                [("f".to_owned(), "{\"a\":1}".to_owned())],
                "{name} of {stream}"
            );
        }
    }
}

#[test]
fn an_end_that_says_calls_without_any_is_an_ordinary_end() {
    let chats = [
        json!({"choices": [{"message": {"content": "Hi!"}, "finish_reason": "tool_calls"}]}).to_string(),
        json!({"choices": [{"message": {"content": "Hi!", "tool_calls": []}, "finish_reason": "function_call"}]}).to_string(),
        json!({"choices": [{"message": {"content": "Hi!", "tool_calls": null}, "finish_reason": "tool_use"}]}).to_string(),
    ];
    for body in chats {
        assert_eq!(whole(AnthropicMessages, OpenaiChat, &body).unwrap()["stop_reason"], "end_turn", "{body}");
        assert_eq!(whole(OpenaiResponses, OpenaiChat, &body).unwrap()["status"], "completed", "{body}");
        assert_eq!(
            whole(Gemini, OpenaiChat, &body).unwrap()["candidates"][0]["finishReason"],
            "STOP",
            "{body}"
        );
    }
    let message = r#"{"type":"message","content":[{"type":"text","text":"Hi!"}],"stop_reason":"tool_use"}"#;
    assert_eq!(whole(OpenaiChat, AnthropicMessages, message).unwrap()["choices"][0]["finish_reason"], "stop");
    let stream = translated(
        OpenaiChat,
        AnthropicMessages,
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    assert!(stream.contains("\"finish_reason\":\"stop\"") && !stream.contains("tool_calls"), "{stream}");
    let stream = translated(AnthropicMessages, OpenaiChat, &chat(&[json!({"content": "Hi!"})]));
    assert!(stream.contains("\"stop_reason\":\"end_turn\""), "{stream}");
}

#[test]
fn an_answer_of_gemini_without_candidates_is_empty_or_a_refusal() {
    let usage = r#""usageMetadata":{"promptTokenCount":4,"totalTokenCount":4}"#;
    let empty = [
        "{}".to_owned(),
        format!("{{{usage}}}"),
        format!("{{\"candidates\":[],{usage}}}"),
        format!("{{\"candidates\":null,\"promptFeedback\":{{}},{usage}}}"),
    ];
    for body in &empty {
        assert_eq!(whole(OpenaiChat, Gemini, body).unwrap()["choices"][0]["finish_reason"], "stop", "{body}");
        assert_eq!(whole(AnthropicMessages, Gemini, body).unwrap()["stop_reason"], "end_turn", "{body}");
        assert_eq!(whole(OpenaiResponses, Gemini, body).unwrap()["status"], "completed", "{body}");
    }
    for body in &empty[1..] {
        for (client, name) in PROTOCOLS {
            let stream = translated(client, Gemini, &format!("data: {body}\r\n\r\n"));
            stream_rules::check(client, &stream);
            assert!(!stream.contains("\"error\":{"), "{name} of {body}: {stream}");
        }
    }
    let refused = format!("{{\"promptFeedback\":{{\"blockReason\":\"SAFETY\"}},{usage}}}");
    assert_eq!(whole(OpenaiChat, Gemini, &refused).unwrap()["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(whole(AnthropicMessages, Gemini, &refused).unwrap()["stop_reason"], "refusal");
    assert!(whole(OpenaiChat, Gemini, r#"{"status":"ok"}"#).is_err(), "no answer at all");
    assert!(
        whole(OpenaiChat, Gemini, r#"{"error":{"code":500,"message":"Sorry"}}"#)
            .unwrap_err()
            .contains("Sorry")
    );
}

#[test]
fn odd_members_of_whole_answers_are_read_as_far_as_they_can_be() {
    let cases = [
        (
            OpenaiChat,
            json!({"id": 7, "choices": [{"index": "0", "message": {"content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}],
            "tool_calls": [{"id": 9, "function": {"name": "f", "arguments": {"a": 1}}}]}}]}),
        ),
        (
            OpenaiChat,
            json!({"choices": {"delta": {"content": "Hi!", "tool_calls": {"name": "f", "arguments": "{\"a\":1}"}}}}),
        ),
        (
            OpenaiChat,
            json!({"choices": [null, {"message": {"content": "Hi!", "annotations": {}, "refusal": {}, "function_call": {"name": "f", "arguments": {"a": 1}}}, "logprobs": [], "finish_reason": {"x": 1}}]}),
        ),
        (
            AnthropicMessages,
            json!({"type": "message", "content": ["Hi!", {"type": "tool_use", "id": 9, "name": "f", "input": "{\"a\":1}"}], "usage": null, "stop_reason": 7}),
        ),
        (
            AnthropicMessages,
            json!({"content": [{"text": "Hi!", "citations": "none"}, {"name": "f", "input": {"a": 1}}, null, {"type": "new"}]}),
        ),
        (
            Gemini,
            json!({"candidates": [{"index": "0", "content": {"parts": [{"text": "Hi!"}, {"functionCall": {"name": "f", "args": "{\"a\":1}", "id": 9}}, null]}, "citationMetadata": [], "logprobsResult": 7}], "usageMetadata": "none"}),
        ),
        (
            Gemini,
            json!({"candidates": {"content": [{"text": "Hi!"}, {"functionCall": {"name": "f", "args": {"a": 1}}}]}}),
        ),
        (
            OpenaiResponses,
            json!({"output": [{"type": "message", "content": "Hi!"}, {"type": "function_call", "id": 9, "name": "f", "arguments": {"a": 1}}], "created_at": "soon", "incomplete_details": "none"}),
        ),
        (
            OpenaiResponses,
            json!({"output": [{"content": [{"text": ["Hi", "!"]}]}, {"type": "reasoning", "summary": 7}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"a\":1}"}], "error": null}),
        ),
    ];
    for (upstream, body) in cases {
        for (client, name) in PROTOCOLS {
            let read = whole(client, upstream, &body.to_string())
                .unwrap_or_else(|why| panic!("{name} of {body}: {why}"));
            let told = read.to_string();
            let arguments = [r#""input":{"a":1}"#, r#""args":{"a":1}"#, r#""arguments":"{\"a\":1}""#];
            assert!(told.contains("Hi") && told.contains("\"f\""), "{name} of {body}: {told}");
            assert!(arguments.iter().any(|spelt| told.contains(spelt)), "{name} of {body}: {told}");
        }
    }
}

#[test]
fn a_stream_in_place_of_a_whole_answer_is_put_together() {
    let chat = chat(&[
        json!({"reasoning": "Hm."}),
        json!({"content": "Hi"}),
        json!({"content": "!"}),
        json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{\"a\""}}]}),
        json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
    ]);
    let chat = chat.replace(
        "data: [DONE]",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\ndata: [DONE]",
    );
    let message = whole(AnthropicMessages, OpenaiChat, &chat).unwrap();
    assert_eq!(message["content"][0]["thinking"], "Hm.");
    assert_eq!(message["content"][1]["text"], "Hi!");
    assert_eq!(message["content"][2]["input"], json!({"a": 1}));
    assert_eq!(
        (&message["stop_reason"], &message["usage"]["output_tokens"]),
        (&json!("tool_use"), &json!(2))
    );
    let cut = chat.split("data: {\"choices\":[{\"index\":0,\"delta\":{},").next().unwrap();
    assert!(whole(AnthropicMessages, OpenaiChat, cut).unwrap_err().contains("ended early"));
    let failed = "data: {\"error\":{\"message\":\"Sorry\"}}\n\n";
    assert!(whole(AnthropicMessages, OpenaiChat, failed).unwrap_err().contains("Sorry"));
    let array = r#"[{"candidates":[{"content":{"parts":[{"text":"Hi"}]}}]},{"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP"}]}]"#;
    assert_eq!(whole(OpenaiChat, Gemini, array).unwrap()["choices"][0]["message"]["content"], "Hi!");
}

#[test]
fn a_stream_that_fails_in_any_shape_fails_in_the_clients_words() {
    let said = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    for failure in [
        "data: {\"object\":\"error\",\"message\":\"Sorry\",\"code\":500}\n\n",
        "data: {\"error\":\"Sorry\"}\n\n",
        "data: {\"error\":{\"message\":\"Sorry\",\"code\":\"500\",\"type\":7}}\n\n",
        "event: error\ndata: {\"message\":\"Sorry\"}\n\n",
        "event:error\ndata: Sorry\n\n",
        "data: [{\"error\":{\"message\":\"Sorry\"}}]\n\n",
    ] {
        for (client, name) in PROTOCOLS {
            let stream = translated(client, OpenaiChat, &format!("{said}{failure}data: [DONE]\n\n"));
            stream_rules::check(client, &stream);
            assert!(stream.contains("Sorry"), "{name} of {failure}: {stream}");
        }
    }
}
