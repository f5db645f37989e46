//! A provider of every protocol that answers what a client of people's asks: a text, a call of whatever tool the client
//! has for it, what it makes of the result, or an answer without an end.

use serde_json::{Value, json};
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_tests::upstream::{Request, Script};

/// What a tool answers; the second turn of a loop has it.
const RESULT: &str = "18 degrees";
/// How every picture begins that the scripts send.
const PICTURE: &str = "iVBORw0KGgo";

/// What is answered.
enum Part {
    Text(&'static str),
    Call(String, Value),
    /// A text, and then nothing.
    Endless(&'static str),
}

/// Answers by what was asked.
pub(super) fn respond(request: &Request) -> Script {
    let Some(protocol) = spoken(&request.target) else {
        return Script::json(404, r#"{"error":{"message":"no such path","type":"invalid_request_error"}}"#);
    };
    let body = request.json();
    if request.target.contains("count_tokens") || request.target.contains(":countTokens") {
        return Script::json(200, r#"{"input_tokens":10,"totalTokens":10}"#);
    }
    let part = part(&body);
    if body["stream"] == true || request.target.contains("streamGenerateContent") {
        let events = events(protocol, &part);
        let script = events.iter().fold(Script::sse(), Script::chunk);
        return if matches!(part, Part::Endless(_)) { script.hang() } else { script.end() };
    }
    Script::json(200, whole(protocol, &part).to_string())
}

fn spoken(target: &str) -> Option<Protocol> {
    let path = target.split('?').next().unwrap_or_default();
    Some(match path {
        "/v1/chat/completions" => OpenaiChat,
        "/v1/responses" => OpenaiResponses,
        "/v1/messages" | "/v1/messages/count_tokens" => AnthropicMessages,
        path if path.starts_with("/v1beta/models/") => Gemini,
        _ => return None,
    })
}

fn part(body: &Value) -> Part {
    let text = body.to_string();
    if text.contains(RESULT) {
        return Part::Text("It is mild");
    }
    match tool(body) {
        Some((name, arguments)) if text.contains("Which weather?") => Part::Call(name, arguments),
        _ if text.contains("Endlessly") => Part::Endless("Good morning"),
        _ if text.contains(PICTURE) => Part::Text("A picture"),
        _ => Part::Text("Good morning"),
    }
}

/// A tool of the client's that answers the question, with its arguments: its own, or a shell that says so.
fn tool(body: &Value) -> Option<(String, Value)> {
    let command = format!("echo {RESULT}");
    let names = names(body);
    let known = [
        ("weather", json!({"city": "Berlin"})),
        ("Bash", json!({"command": command, "description": "Says the weather"})),
        ("bash", json!({"command": command, "description": "Says the weather"})),
        ("run_shell_command", json!({"command": command, "description": "Says the weather"})),
        ("exec_command", json!({"cmd": command})),
        ("shell_command", json!({"command": command})),
        ("shell", json!({"command": ["bash", "-lc", command]})),
    ];
    let mut known = known.into_iter();
    known
        .find(|(name, _)| names.iter().any(|own| own == name))
        .map(|(name, arguments)| (name.to_owned(), arguments))
}

/// The names of a request's tools, whatever the protocol.
fn names(body: &Value) -> Vec<String> {
    let tools = body["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let declared = tools.iter().filter_map(|tool| {
        tool["functionDeclarations"].as_array().or_else(|| tool["function_declarations"].as_array())
    });
    let all = tools.iter().chain(declared.flatten());
    let name =
        |tool: &Value| tool["name"].as_str().or_else(|| tool["function"]["name"].as_str()).map(str::to_owned);
    all.filter_map(name).collect()
}

fn whole(protocol: Protocol, part: &Part) -> Value {
    let (text, call) = match part {
        Part::Text(text) | Part::Endless(text) => (Some(*text), None),
        Part::Call(name, arguments) => (None, Some((name, arguments))),
    };
    match protocol {
        OpenaiChat => {
            let calls = call.map(|(name, arguments)| {
                json!([{"id": "call_1", "type": "function", "index": 0,
                    "function": {"name": name, "arguments": arguments.to_string()}}])
            });
            let finish = if calls.is_some() { "tool_calls" } else { "stop" };
            json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
                "choices": [{"index": 0, "finish_reason": finish,
                    "message": {"role": "assistant", "content": text, "tool_calls": calls}}],
                "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}})
        }
        OpenaiResponses => {
            let item = match call {
                Some((name, arguments)) => json!({"id": "fc_1", "type": "function_call", "call_id": "call_1",
                    "name": name, "arguments": arguments.to_string(), "status": "completed"}),
                None => json!({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": text, "annotations": []}]}),
            };
            json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "error": null,
                "incomplete_details": null, "model": "gpt-4o", "output": [item], "tools": [], "metadata": {},
                "parallel_tool_calls": true, "tool_choice": "auto",
                "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
                    "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15}})
        }
        AnthropicMessages => {
            let (block, stop) = match call {
                Some((name, arguments)) => (
                    json!({"type": "tool_use", "id": "toolu_1", "name": name, "input": arguments}),
                    "tool_use",
                ),
                None => (json!({"type": "text", "text": text}), "end_turn"),
            };
            json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
                "content": [block], "stop_reason": stop, "stop_sequence": null,
                "usage": {"input_tokens": 10, "output_tokens": 5}})
        }
        Gemini => {
            let part = match call {
                Some((name, arguments)) => json!({"functionCall": {"name": name, "args": arguments}}),
                None => json!({"text": text}),
            };
            json!({"candidates": [{"index": 0, "finishReason": "STOP",
                    "content": {"role": "model", "parts": [part]}}],
                "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
                "modelVersion": "gemini-2.5-flash", "responseId": "r1"})
        }
    }
}

/// The same in events; an endless one stops after its text.
fn events(protocol: Protocol, part: &Part) -> Vec<String> {
    let all = whole(protocol, part);
    let (events, ends) = match protocol {
        OpenaiChat => chat(&all),
        OpenaiResponses => responses(&all),
        AnthropicMessages => messages(&all),
        Gemini => (vec![all.clone()], 0),
    };
    let events = match (part, protocol) {
        (Part::Endless(text), Gemini) => {
            vec![
                json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}]}),
            ]
        }
        (Part::Endless(_), _) => events[..events.len() - ends].to_vec(),
        _ => events,
    };
    let named = |event: &Value| match (protocol, event["type"].as_str()) {
        (OpenaiResponses | AnthropicMessages, Some(name)) => format!("event: {name}\ndata: {event}\n\n"),
        _ => format!("data: {event}\n\n"),
    };
    let mut lines: Vec<String> = events.iter().map(named).collect();
    if protocol == OpenaiChat && !matches!(part, Part::Endless(_)) {
        lines.push("data: [DONE]\n\n".to_owned());
    }
    lines
}

/// A chat's chunks, and how many of them end it.
fn chat(all: &Value) -> (Vec<Value>, usize) {
    let chunk = |delta: &Value, finish: &Value| {
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": null})
    };
    let choice = &all["choices"][0];
    let mut usage = chunk(&json!({}), &Value::Null);
    (usage["choices"], usage["usage"]) = (json!([]), all["usage"].clone());
    (vec![chunk(&choice["message"], &Value::Null), chunk(&json!({}), &choice["finish_reason"]), usage], 2)
}

fn responses(all: &Value) -> (Vec<Value>, usize) {
    let mut begun = all.clone();
    (begun["status"], begun["output"], begun["usage"]) = (json!("in_progress"), json!([]), Value::Null);
    let item = &all["output"][0];
    let mut open = item.clone();
    open["status"] = json!("in_progress");
    let at = json!({"item_id": item["id"], "output_index": 0});
    let with = |kind: &str, more: Value| {
        let mut event = at.clone();
        let members = event.as_object_mut().expect("an object");
        members.insert("type".to_owned(), json!(kind));
        members.extend(more.as_object().expect("an object").clone());
        event
    };
    let mut events = vec![json!({"type": "response.created", "response": begun})];
    let ends = if item["type"] == "message" {
        let content = &item["content"][0];
        let empty = json!({"type": "output_text", "text": "", "annotations": []});
        open["content"] = json!([]);
        events.push(with("response.output_item.added", json!({"item": open})));
        events.push(with("response.content_part.added", json!({"content_index": 0, "part": empty})));
        events
            .push(with("response.output_text.delta", json!({"content_index": 0, "delta": content["text"]})));
        events.push(with("response.output_text.done", json!({"content_index": 0, "text": content["text"]})));
        events.push(with("response.content_part.done", json!({"content_index": 0, "part": content})));
        4
    } else {
        open["arguments"] = json!("");
        events.push(with("response.output_item.added", json!({"item": open})));
        events.push(with("response.function_call_arguments.delta", json!({"delta": item["arguments"]})));
        events.push(with("response.function_call_arguments.done", json!({"arguments": item["arguments"]})));
        3
    };
    events.push(with("response.output_item.done", json!({"item": item})));
    events.push(json!({"type": "response.completed", "response": all}));
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    (events, ends)
}

fn messages(all: &Value) -> (Vec<Value>, usize) {
    let mut begun = all.clone();
    (begun["content"], begun["stop_reason"]) = (json!([]), Value::Null);
    let block = &all["content"][0];
    let (open, delta) = if block["type"] == "text" {
        (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": block["text"]}))
    } else {
        let mut open = block.clone();
        open["input"] = json!({});
        (open, json!({"type": "input_json_delta", "partial_json": block["input"].to_string()}))
    };
    let events = vec![
        json!({"type": "message_start", "message": begun}),
        json!({"type": "content_block_start", "index": 0, "content_block": open}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": all["stop_reason"], "stop_sequence": null},
            "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    (events, 3)
}
