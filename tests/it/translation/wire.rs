//! One question and one answer in the words of every protocol, whole and streamed, and what is understood of them.

use serde_json::{Value, json};
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_tests::client::Request;
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::upstream::Script;

/// What each answer says.
pub(super) const TEXT: &str = "Let me look. ";
pub(super) const TOOL: &str = "weather";

fn arguments() -> Value {
    json!({"city": "Köln"})
}

/// A model of an upstream protocol, and what 10 prompt and 5 output tokens of it cost in micro-points.
pub(crate) const fn model(upstream: Protocol) -> (&'static str, i64) {
    match upstream {
        // 2.5 and 10 USD a million tokens.
        OpenaiChat | OpenaiResponses => ("gpt-4o", 75_000),
        // 3 and 15 USD.
        AnthropicMessages => ("claude-sonnet-4-5", 105_000),
        // 0.3 and 2.5 USD.
        Gemini => ("gemini-2.5-flash", 15_500),
    }
}

/// A rig in which the provider of OpenAI's models speaks `upstream` only, where that is one of its protocols.
pub(crate) async fn rig(upstream: Protocol) -> Rig {
    rig_with(upstream, |_| {}).await
}

pub(crate) async fn rig_with(upstream: Protocol, change: impl FnOnce(&mut Setup)) -> Rig {
    Rig::with(|setup| {
        if matches!(upstream, OpenaiChat | OpenaiResponses) {
            let openai = setup.config.providers.get_mut("openai").expect("a provider");
            openai.config.insert("protocol".to_owned(), upstream.name().into());
        }
        change(setup);
    })
    .await
}

/// Every client that needs a translation to reach an upstream.
pub(crate) fn foreign(upstream: Protocol) -> impl Iterator<Item = Protocol> {
    Protocol::ALL.into_iter().filter(move |client| *client != upstream)
}

/// A question with a tool, in a client's protocol.
pub(crate) fn ask(client: Protocol, model: &str, stream: bool) -> Request {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    match client {
        OpenaiChat => Request::post(
            "/v1/chat/completions",
            &json!({"model": model, "stream": stream, "max_tokens": 99,
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather?"}],
                "tools": [{"type": "function", "function": {"name": TOOL, "parameters": schema}}]}),
        ),
        OpenaiResponses => Request::post(
            "/v1/responses",
            &json!({"model": model, "stream": stream, "max_output_tokens": 99, "store": false,
                "instructions": "Be brief.", "input": "Weather?",
                "tools": [{"type": "function", "name": TOOL, "parameters": schema, "strict": false}]}),
        ),
        AnthropicMessages => Request::post(
            "/v1/messages",
            &json!({"model": model, "stream": stream, "max_tokens": 99, "system": "Be brief.",
                "messages": [{"role": "user", "content": "Weather?"}],
                "tools": [{"name": TOOL, "input_schema": schema}]}),
        )
        .header("anthropic-version", "2023-06-01"),
        Gemini => {
            let action = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            Request::post(
                &format!("/v1beta/models/{model}:{action}"),
                &json!({"generationConfig": {"maxOutputTokens": 99},
                    "systemInstruction": {"parts": [{"text": "Be brief."}]},
                    "contents": [{"role": "user", "parts": [{"text": "Weather?"}]}],
                    "tools": [{"functionDeclarations": [{"name": TOOL, "parameters": schema}]}]}),
            )
        }
    }
}

/// Where a question arrives.
pub(super) fn target(upstream: Protocol, stream: bool) -> &'static str {
    match (upstream, stream) {
        (OpenaiChat, _) => "/v1/chat/completions",
        (OpenaiResponses, _) => "/v1/responses",
        (AnthropicMessages, _) => "/v1/messages",
        (Gemini, false) => "/v1beta/models/gemini-2.5-flash:generateContent",
        (Gemini, true) => "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
    }
}

/// A provider's whole answer: text, a call, 10 and 5 tokens.
pub(crate) fn answer(upstream: Protocol) -> String {
    let call = arguments().to_string();
    let body = match upstream {
        OpenaiChat => {
            json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": TEXT,
                "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": TOOL, "arguments": call}}]}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}})
        }
        OpenaiResponses => {
            json!({"id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
            "error": null, "incomplete_details": null, "model": "gpt-4o", "output": [
                {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
                    "content": [{"type": "output_text", "text": TEXT, "annotations": []}]},
                {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": TOOL, "arguments": call,
                    "status": "completed"}],
            "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}})
        }
        AnthropicMessages => json!({"id": "msg_1", "type": "message", "role": "assistant",
            "model": "claude-sonnet-4-5", "stop_reason": "tool_use", "stop_sequence": null, "content": [
                {"type": "text", "text": TEXT},
                {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": arguments()}],
            "usage": {"input_tokens": 10, "output_tokens": 5}}),
        Gemini => {
            json!({"candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [
                {"text": TEXT}, {"functionCall": {"name": TOOL, "args": arguments()}}]}}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
            "modelVersion": "gemini-2.5-flash", "responseId": "r1"})
        }
    };
    body.to_string()
}

/// One event of a protocol that names them.
fn named(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().expect("a type"))
}

/// A text in two pieces, and a call's arguments in two.
fn responses_events(one: &str, two: &str, half: &str, rest: &str) -> Vec<String> {
    let whole: Value = serde_json::from_str(&answer(OpenaiResponses)).expect("JSON");
    let mut begun = whole.clone();
    (begun["status"], begun["output"], begun["usage"]) = (json!("in_progress"), json!([]), Value::Null);
    let (message, called) = (&whole["output"][0], &whole["output"][1]);
    let mut open = (message.clone(), called.clone());
    (open.0["status"], open.0["content"]) = (json!("in_progress"), json!([]));
    (open.1["status"], open.1["arguments"]) = (json!("in_progress"), json!(""));
    let all = [
        json!({"type": "response.created", "response": begun}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": open.0}),
        json!({"type": "response.content_part.added", "item_id": "msg_1", "output_index": 0, "content_index": 0,
            "part": {"type": "output_text", "text": "", "annotations": []}}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": one}),
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": two}),
        json!({"type": "response.output_text.done", "item_id": "msg_1", "output_index": 0, "content_index": 0, "text": TEXT}),
        json!({"type": "response.content_part.done", "item_id": "msg_1", "output_index": 0, "content_index": 0,
            "part": message["content"][0]}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": message}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": open.1}),
        json!({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 1, "delta": half}),
        json!({"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 1, "delta": rest}),
        json!({"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 1, "arguments": format!("{half}{rest}")}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": called}),
        json!({"type": "response.completed", "response": whole}),
    ];
    all.iter().map(named).collect()
}

/// The same as a stream: one event each.
pub(crate) fn events(upstream: Protocol) -> Vec<String> {
    let (one, two) = TEXT.split_at(7);
    let call = arguments().to_string();
    let (half, rest) = call.split_at(6);
    match upstream {
        OpenaiChat => {
            let chunk = |delta: Value, finish: Value| {
                let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
                let data = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1,
                    "model": "gpt-4o", "choices": [choice], "usage": null});
                format!("data: {data}\n\n")
            };
            let called = |call: Value| chunk(json!({"tool_calls": [call]}), Value::Null);
            vec![
                chunk(json!({"role": "assistant", "content": one}), Value::Null),
                chunk(json!({"content": two}), Value::Null),
                called(json!({"index": 0, "id": "call_1", "type": "function",
                    "function": {"name": TOOL, "arguments": half}})),
                called(json!({"index": 0, "function": {"arguments": rest}})),
                chunk(json!({}), json!("tool_calls")),
                "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o\",\"choices\":[],\
                 \"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}\n\n"
                    .to_owned(),
                "data: [DONE]\n\n".to_owned(),
            ]
        }
        OpenaiResponses => responses_events(one, two, half, rest),
        AnthropicMessages => {
            let delta = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
            let all = [
                json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
                    "model": "claude-sonnet-4-5", "content": [], "stop_reason": null, "stop_sequence": null,
                    "usage": {"input_tokens": 10, "output_tokens": 1}}}),
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                delta(0, json!({"type": "text_delta", "text": one})),
                delta(0, json!({"type": "text_delta", "text": two})),
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "content_block_start", "index": 1,
                    "content_block": {"type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {}}}),
                delta(1, json!({"type": "input_json_delta", "partial_json": half})),
                delta(1, json!({"type": "input_json_delta", "partial_json": rest})),
                json!({"type": "content_block_stop", "index": 1}),
                json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
                    "usage": {"output_tokens": 5}}),
                json!({"type": "message_stop"}),
            ];
            all.iter().map(named).collect()
        }
        Gemini => {
            let chunk = |part: Value, finish: Value, output: u32| {
                let candidate = json!({"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": finish});
                let data = json!({"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": "r1",
                    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": output, "totalTokenCount": 10 + output}});
                format!("data: {data}\r\n\r\n")
            };
            vec![
                chunk(json!({"text": one}), Value::Null, 1),
                chunk(json!({"text": two}), Value::Null, 2),
                chunk(json!({"functionCall": {"name": TOOL, "args": arguments()}}), json!("STOP"), 5),
            ]
        }
    }
}

pub(super) fn stream(upstream: Protocol) -> Script {
    events(upstream).iter().fold(Script::sse(), Script::chunk).end()
}

/// An answer as a client understands it: text, the tool's name and its arguments, prompt and output tokens.
pub(crate) type Understood = (String, String, Value, (u64, u64));

pub(crate) fn expected() -> Understood {
    (TEXT.to_owned(), TOOL.to_owned(), arguments(), (10, 5))
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn parsed(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap_or_default()).unwrap_or_default()
}

fn tokens(usage: &Value, input: &str, output: &str) -> (u64, u64) {
    (usage[input].as_u64().unwrap_or_default(), usage[output].as_u64().unwrap_or_default())
}

/// Reads a whole answer as the client's SDK does.
pub(crate) fn understood(client: Protocol, body: &Value) -> Understood {
    match client {
        OpenaiChat => {
            let message = &body["choices"][0]["message"];
            let call = &message["tool_calls"][0]["function"];
            let usage = tokens(&body["usage"], "prompt_tokens", "completion_tokens");
            (text(&message["content"]), text(&call["name"]), parsed(&call["arguments"]), usage)
        }
        OpenaiResponses => {
            let items = body["output"].as_array().cloned().unwrap_or_default();
            let find =
                |kind: &str| items.iter().find(|item| item["type"] == kind).cloned().unwrap_or_default();
            let (message, call) = (find("message"), find("function_call"));
            let usage = tokens(&body["usage"], "input_tokens", "output_tokens");
            (text(&message["content"][0]["text"]), text(&call["name"]), parsed(&call["arguments"]), usage)
        }
        AnthropicMessages => {
            let (said, call) = (&body["content"][0], &body["content"][1]);
            let usage = tokens(&body["usage"], "input_tokens", "output_tokens");
            (text(&said["text"]), text(&call["name"]), call["input"].clone(), usage)
        }
        Gemini => {
            let parts = &body["candidates"][0]["content"]["parts"];
            let call = &parts[1]["functionCall"];
            let usage = tokens(&body["usageMetadata"], "promptTokenCount", "candidatesTokenCount");
            (text(&parts[0]["text"]), text(&call["name"]), call["args"].clone(), usage)
        }
    }
}

/// The data of a stream's events.
pub(super) fn data(stream: &str) -> Vec<Value> {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.filter(|line| *line != "[DONE]").map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Reads a stream as the client's SDK does.
pub(crate) fn understood_stream(client: Protocol, stream: &str) -> Understood {
    let events = data(stream);
    let joined =
        |pick: &dyn Fn(&Value) -> &Value| events.iter().map(|event| text(pick(event))).collect::<String>();
    match client {
        OpenaiChat => {
            assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
            let call = |event: &Value| event["choices"][0]["delta"]["tool_calls"][0]["function"].clone();
            let name = events.iter().map(|event| text(&call(event)["name"])).collect();
            let arguments: String = events.iter().map(|event| text(&call(event)["arguments"])).collect();
            let last = events.iter().rfind(|event| event["usage"].is_object()).cloned().unwrap_or_default();
            let usage = tokens(&last["usage"], "prompt_tokens", "completion_tokens");
            (
                joined(&|event| &event["choices"][0]["delta"]["content"]),
                name,
                parsed(&json!(arguments)),
                usage,
            )
        }
        OpenaiResponses => {
            let last = events.last().expect("an event");
            assert_eq!(last["type"], "response.completed", "{stream}");
            let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
            let said: String = deltas.map(|event| text(&event["delta"])).collect();
            let whole = understood(client, &last["response"]);
            assert_eq!(said, whole.0);
            whole
        }
        AnthropicMessages => {
            assert_eq!(events.last().expect("an event")["type"], "message_stop", "{stream}");
            let start = events.iter().find(|event| event["content_block"]["type"] == "tool_use");
            let name = text(&start.expect("a call")["content_block"]["name"]);
            let arguments = joined(&|event| &event["delta"]["partial_json"]);
            let end = events.iter().rfind(|event| event["type"] == "message_delta").expect("an end");
            let usage = tokens(&end["usage"], "input_tokens", "output_tokens");
            (joined(&|event| &event["delta"]["text"]), name, parsed(&json!(arguments)), usage)
        }
        Gemini => {
            let parts = |event: &Value| {
                event["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default()
            };
            let parts: Vec<Value> = events.iter().flat_map(parts).collect();
            let said = parts.iter().map(|part| text(&part["text"])).collect();
            let call =
                parts.iter().find(|part| part["functionCall"].is_object()).expect("a call")["functionCall"]
                    .clone();
            let usage = tokens(
                &events.last().expect("an event")["usageMetadata"],
                "promptTokenCount",
                "candidatesTokenCount",
            );
            (said, text(&call["name"]), call["args"].clone(), usage)
        }
    }
}

/// A chat client sees the usage of a stream where it asks for it.
pub(crate) fn with_usage(client: Protocol, model: &str) -> Request {
    if client != OpenaiChat {
        return ask(client, model, true);
    }
    let body = json!({"model": model, "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "Weather?"}]});
    Request::post("/v1/chat/completions", &body)
}
