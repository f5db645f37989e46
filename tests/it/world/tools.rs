//! Coding agents, as Codex 0.171, Claude Code 2.1 and opencode 1.18 write their requests: each of them reaches a model
//! of every provider, with all of its tools, and gets its calls back as it knows them.

use serde_json::{Value, json};
use tollgate_tests::client::{Reply, Request};
use tollgate_tests::upstream::Script;

use super::requests::{CLAUDE, GEMINI, GPT, answering, ask, left_out};

/// What each provider is sent for a list of tools: where it stands, and where the name of one is.
const PROVIDERS: [(&str, &str, &str); 3] = [
    (GPT, "/tools", "/function/name"),
    (CLAUDE, "/tools", "/name"),
    (GEMINI, "/tools/0/functionDeclarations", "/name"),
];

/// A request of Codex: tools of its own and of an MCP server, a search that OpenAI runs, and a tool that takes a patch.
fn codex(model: &str, input: &Value) -> Request {
    let function = |name: &str, schema: Value| json!({"type": "function", "name": name, "description": "d", "strict": false, "parameters": schema});
    let city = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    Request::post(
        "/v1/responses",
        &json!({"model": model, "stream": true, "store": false, "input": input, "tool_choice": "auto",
            "parallel_tool_calls": true, "reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "01a2", "client_metadata": {"thread_id": "t", "x-codex-window-id": "t:0"},
            "tools": [
                function("exec_command", json!({"type": "object", "properties": {"cmd": {"type": "string"}}})),
                {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format":
                    {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch"}},
                {"type": "namespace", "name": "mcp__demo", "description": "Tools in the mcp__demo namespace.", "tools": [
                    function("lookup_the_weather", city),
                    function("now", json!({"type": "object", "properties": {}}))]},
                {"type": "web_search", "external_web_access": false}]}),
    )
}

fn asked() -> Value {
    json!([
        {"type": "message", "id": "msg_1", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"type": "message", "id": "msg_2", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]}])
}

fn names(sent: &Value, list: &str, name: &str) -> Vec<String> {
    let tools = sent.pointer(list).and_then(Value::as_array).cloned().unwrap_or_default();
    tools
        .iter()
        .map(|tool| tool.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned())
        .collect()
}

/// A stream of each provider that calls one tool with these arguments.
fn calling(model: &str, tool: &str, arguments: &Value) -> Script {
    let text = arguments.to_string();
    let (half, rest) = text.split_at(text.len() / 2);
    let events: Vec<String> = match model {
        GPT => {
            let chunk = |delta: Value, finish: Value| {
                format!(
                    "data: {}\n\n",
                    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": GPT,
                    "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
                )
            };
            let more = |text: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]});
            vec![
                chunk(
                    json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                    "function": {"name": tool, "arguments": ""}}]}),
                    Value::Null,
                ),
                chunk(more(half), Value::Null),
                chunk(more(rest), Value::Null),
                chunk(json!({}), json!("tool_calls")),
                "data: [DONE]\n\n".to_owned(),
            ]
        }
        CLAUDE => {
            let named =
                |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().expect("a type"));
            let more = |text: &str| {
                json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": text}})
            };
            [
                json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant",
                    "model": CLAUDE, "content": [], "stop_reason": null, "usage": {"input_tokens": 10, "output_tokens": 1}}}),
                json!({"type": "content_block_start", "index": 0,
                    "content_block": {"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}}}),
                more(half),
                more(rest),
                json!({"type": "content_block_stop", "index": 0}),
                json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}),
                json!({"type": "message_stop"}),
            ]
            .into_iter()
            .map(named)
            .collect()
        }
        _ => vec![format!(
            "data: {}\r\n\r\n",
            json!({"candidates": [{"index": 0, "finishReason": "STOP",
            "content": {"role": "model", "parts": [{"functionCall": {"name": tool, "args": arguments}}]}}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}})
        )],
    };
    events.iter().fold(Script::sse(), Script::chunk).end()
}

fn events(reply: &Reply) -> Vec<Value> {
    let text = reply.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).expect("JSON")).collect()
}

/// The first item of this kind that a stream of Responses completes; the last event has the same.
fn item(reply: &Reply, kind: &str) -> Value {
    let events = events(reply);
    let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
    let item = done.map(|event| event["item"].clone()).find(|item| item["type"] == kind);
    let item = item.unwrap_or_else(|| panic!("no {kind} in {}", reply.text()));
    let last = &events.last().expect("an event")["response"]["output"];
    assert!(last.as_array().expect("items").contains(&item), "{last}");
    item
}

#[tokio::test]
async fn codex_reaches_every_provider_with_the_tools_of_its_servers() {
    let rig = answering().await;
    for (model, list, name) in PROVIDERS {
        rig.upstream.enqueue(calling(model, "mcp__demo__lookup_the_weather", &json!({"city": "Köln"})));
        let reply = rig.call(codex(model, &asked())).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        for left in ["tools[3]", "client_metadata", "tools[1].format"] {
            assert!(left_out(&reply).split(", ").any(|name| name == left), "{model}: {}", left_out(&reply));
        }
        let sent = rig.upstream.next().await.json();
        let expected = ["exec_command", "apply_patch", "mcp__demo__lookup_the_weather", "mcp__demo__now"];
        assert_eq!(names(&sent, list, name), expected, "{model}");
        assert!(sent.to_string().contains("start: begin_patch"), "{model}: the rules of a patch are told");
        let call = item(&reply, "function_call");
        assert_eq!((&call["namespace"], &call["name"]), (&json!("mcp__demo"), &json!("lookup_the_weather")));
        assert_eq!(
            call["arguments"].as_str().map(serde_json::from_str::<Value>).expect("text").expect("JSON"),
            json!({"city": "Köln"})
        );
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_tool_that_takes_a_text_gets_one_back() {
    let rig = answering().await;
    let patch = "*** Begin Patch\n\"é\" \\ 😀\n*** End Patch";
    for (model, ..) in PROVIDERS {
        rig.upstream.enqueue(calling(model, "apply_patch", &json!({"input": patch})));
        let reply = rig.call(codex(model, &asked())).await;
        let call = item(&reply, "custom_tool_call");
        assert_eq!((&call["name"], &call["input"]), (&json!("apply_patch"), &json!(patch)), "{model}");
        let all = events(&reply);
        let delta = all.iter().find(|event| event["type"] == "response.custom_tool_call_input.delta");
        assert_eq!(delta.expect("a delta")["delta"], patch, "{model}");
        rig.upstream.next().await;
    }
    let custom = json!({"tools": [{"type": "custom", "custom": {"name": "apply_patch"}}]});
    let call = json!({"type": "tool_use", "id": "t", "name": "apply_patch", "input": {"input": patch}});
    let answer = json!({"id": "m", "type": "message", "role": "assistant", "model": "x", "stop_reason": "tool_use",
        "content": [call], "usage": {"input_tokens": 1, "output_tokens": 1}});
    rig.upstream.enqueue(Script::json(200, answer.to_string()));
    let reply = rig.call(ask("chat", CLAUDE, &custom)).await.json();
    let call = &reply["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["custom"], json!({"name": "apply_patch", "input": patch}), "{reply}");
    rig.stop().await;
}

#[tokio::test]
async fn the_history_of_codex_is_understood_by_every_provider() {
    let rig = answering().await;
    let mut input = asked();
    let found = json!([{"type": "namespace", "name": "mcp__late", "tools": [
        {"type": "function", "name": "find", "parameters": {"type": "object", "properties": {}}}]}]);
    for item in [
        json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": null}),
        json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}),
        json!({"type": "function_call", "id": "fc_1", "call_id": "c1", "namespace": "mcp__demo", "name": "now", "arguments": "{}"}),
        json!({"type": "custom_tool_call", "status": "completed", "call_id": "c2", "name": "apply_patch", "input": "*** Begin"}),
        json!({"type": "tool_search_call", "call_id": "c3", "execution": "client", "arguments": {"query": "find"}}),
        json!({"type": "function_call_output", "call_id": "c1", "output": "noon"}),
        json!({"type": "custom_tool_call_output", "call_id": "c2", "output": "Done"}),
        json!({"type": "tool_search_output", "call_id": "c3", "status": "completed", "execution": "client", "tools": found}),
    ] {
        input.as_array_mut().expect("items").push(item);
    }
    for (model, list, name) in PROVIDERS {
        rig.upstream.enqueue(calling(model, "mcp__late__find", &json!({})));
        let reply = rig.call(codex(model, &input)).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        let sent = rig.upstream.next().await.json();
        assert!(names(&sent, list, name).contains(&"mcp__late__find".to_owned()), "{model}: {sent}");
        for said in ["mcp__demo__now", "*** Begin", "noon", "Done", "mcp__late__find"] {
            assert!(sent.to_string().contains(said), "{model} lacks {said}: {sent}");
        }
        assert_eq!(item(&reply, "function_call")["namespace"], "mcp__late");
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_only_its_provider_runs_can_be_left_out_and_not_be_forced() {
    let rig = answering().await;
    let hosted = [
        ("responses", CLAUDE, json!([{"type": "web_search"}]), json!({"type": "web_search"})),
        ("responses", GEMINI, json!([{"type": "file_search", "vector_store_ids": ["v"]}]), json!("required")),
        (
            "messages",
            GPT,
            json!([{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]),
            json!({"type": "tool", "name": "web_search"}),
        ),
        (
            "messages",
            GEMINI,
            json!([{"type": "code_execution_20250825", "name": "code_execution"}]),
            json!({"type": "any"}),
        ),
    ];
    for (client, model, tools, choice) in hosted {
        let reply = rig.call(ask(client, model, &json!({"tools": tools}))).await;
        assert_eq!((reply.status, left_out(&reply)), (200, "tools[0]"), "{tools}: {}", reply.text());
        assert!(rig.upstream.next().await.json().get("tools").is_none());
        let forced = rig.call(ask(client, model, &json!({"tools": tools, "tool_choice": choice}))).await;
        assert!(forced.status == 400 && forced.text().contains("tool_choice"), "{tools}: {}", forced.text());
    }
    let searching = json!({"tools": [{"googleSearch": {}}, {"functionDeclarations": [{"name": "f"}]}]});
    let reply = rig.call(ask("gemini", CLAUDE, &searching)).await;
    assert_eq!((reply.status, left_out(&reply)), (200, "tools[0].googleSearch"), "{}", reply.text());
    rig.stop().await;
}

#[tokio::test]
async fn claude_code_reaches_every_provider_with_the_tools_that_it_runs() {
    let rig = answering().await;
    let long = format!("mcp__a_server_with_quite_a_long_name__{}", "tool_".repeat(10));
    let tools = json!([
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 10000},
        {"type": "memory_20250818", "name": "memory"},
        {"name": long, "description": "d", "input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object", "properties": {}}},
        {"type": "web_search_20250305", "name": "web_search"}]);
    let body = json!({"tools": tools, "stream": true, "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "metadata": {"user_id": "{\"device_id\":\"0d\",\"session_id\":\"8f\"}"},
        "system": [{"type": "text", "text": "You are a Claude agent.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
            {"role": "system", "content": "Agent types."}]});
    for (model, list, name) in PROVIDERS.into_iter().filter(|provider| provider.0 != CLAUDE) {
        let plain = rig.call(ask("messages", model, &json!({"tools": tools}))).await;
        assert_eq!((plain.status, left_out(&plain)), (200, "tools[4]"), "{}", plain.text());
        let sent = names(&rig.upstream.next().await.json(), list, name);
        assert_eq!(sent[..3], ["bash", "str_replace_based_edit_tool", "memory"], "{model}");
        rig.upstream.enqueue(calling(model, &sent[3], &json!({})));
        let reply = rig.call(ask("messages", model, &body)).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        rig.upstream.next().await;
        let all = events(&reply);
        let begun = all.iter().find(|event| event["content_block"]["type"] == "tool_use").expect("a call");
        assert_eq!(begun["content_block"]["name"], long.as_str(), "{model}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn marks_of_caches_in_a_chat_become_anthropics_and_are_left_out_elsewhere() {
    let rig = answering().await;
    let mark = json!({"type": "ephemeral"});
    let shapes = [
        json!({"role": "user", "content": "hi", "cache_control": mark}),
        json!({"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": mark}]}),
        json!({"role": "user", "content": [{"type": "text", "text": "ho"}, {"type": "text", "text": "hi"}], "cache_control": mark}),
    ];
    for message in shapes {
        let members = json!({"messages": [message]});
        let reply = rig.call(ask("chat", CLAUDE, &members)).await;
        assert_eq!((reply.status, left_out(&reply)), (200, ""), "{members}: {}", reply.text());
        let sent = rig.upstream.next().await.json();
        let parts = sent["messages"][0]["content"].as_array().expect("parts").clone();
        assert_eq!(parts.last().expect("a part")["cache_control"], mark, "{sent}");
        let reply = rig.call(ask("chat", GEMINI, &members)).await;
        assert!(reply.status == 200 && left_out(&reply).ends_with(".cache_control"), "{}", left_out(&reply));
        assert!(!rig.upstream.next().await.json().to_string().contains("cache_control"));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_mark_of_a_cache_is_no_stumbling_block_wherever_a_client_puts_it() {
    let rig = answering().await;
    let mark = json!({"type": "ephemeral"});
    // opencode marks the last call and the last answer of a tool.
    let marked = |at: &str| {
        let mut call =
            json!({"id": "call_1", "type": "function", "function": {"name": "sh", "arguments": "{}"}});
        let mut answer = json!({"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"});
        match at {
            "call" => call["cache_control"] = mark.clone(),
            "function" => call["function"]["cache_control"] = mark.clone(),
            "answer" => answer["cache_control"] = mark.clone(),
            _ => {}
        }
        let mut message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        if at == "thought" {
            let thought = json!({"type": "reasoning.text", "text": "hm", "cache_control": mark});
            message["reasoning_details"] = json!([thought]);
        }
        let mut members = json!({"messages": [{"role": "user", "content": "hi"}, message, answer]});
        if at == "body" {
            members["cache_control"] = mark.clone();
        }
        members
    };
    for at in ["call", "function", "answer", "thought", "body"] {
        for model in [CLAUDE, GEMINI] {
            let reply = rig.call(ask("chat", model, &marked(at))).await;
            assert_eq!(reply.status, 200, "{at} of {model}: {}", reply.text());
            let sent = rig.upstream.next().await.json().to_string();
            let kept = model == CLAUDE && !matches!(at, "thought" | "body");
            assert_eq!(sent.contains("cache_control"), kept, "{at} of {model}: {sent}");
            let told = left_out(&reply).contains("cache_control");
            assert!(at == "thought" || told != kept, "{at} of {model}: {}", left_out(&reply));
        }
    }
    let call = json!({"type": "function_call", "call_id": "c", "name": "sh", "arguments": "{}", "cache_control": mark});
    let output =
        json!({"type": "function_call_output", "call_id": "c", "output": "18", "cache_control": mark});
    let said = json!({"role": "user", "content": "hi", "cache_control": mark});
    let input = json!({"input": [said, call, output], "store": false});
    let reply = rig.call(ask("responses", CLAUDE, &input)).await;
    assert_eq!((reply.status, left_out(&reply)), (200, ""), "{}", reply.text());
    assert_eq!(rig.upstream.next().await.json().to_string().matches("cache_control").count(), 3);
    rig.stop().await;
}

#[tokio::test]
async fn a_reference_to_a_kept_item_is_refused_with_the_way_out() {
    let rig = answering().await;
    for model in [CLAUDE, GEMINI, GPT] {
        for reference in [
            json!({"type": "item_reference", "id": "msg_1"}),
            json!({"id": "msg_1"}),
            json!({"type": null, "id": "rs_1"}),
            json!({"id": "fc_1", "type": "item_reference", "status": "completed"}),
        ] {
            let input = json!([{"role": "user", "content": "hi"}, reference]);
            let reply = rig.call(ask("responses", model, &json!({"input": input}))).await;
            let (text, again) = (reply.text(), reply.header("x-should-retry"));
            assert!(reply.status == 400 && again == Some("false"), "{again:?} {text}");
            assert!(text.contains("input[1]") && text.contains("`store` to false"), "{reference}: {text}");
        }
    }
    assert_eq!(rig.upstream.count(), 0, "nobody was asked");
    rig.stop().await;
}
