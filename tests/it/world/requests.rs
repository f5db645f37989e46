//! Requests as they come, for a provider of another protocol: what is a hint is left out and named, what the provider
//! demands is supplied, and what would change the meaning is refused.

use serde_json::{Value, json};
use tollgate_core::limits::{KeyLimits, Translation};
use tollgate_server::manage::KeyEdit;
use tollgate_tests::client::{Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

pub(super) const GPT: &str = "gpt-4o";
pub(super) const CLAUDE: &str = "claude-sonnet-4-5";
pub(super) const GEMINI: &str = "gemini-2.5-flash";

const CHAT: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;
const MESSAGE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"x","stop_reason":"end_turn","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":10,"output_tokens":5}}"#;
const CANDIDATE: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}}"#;

/// A gateway whose providers answer in their own protocols; OpenAI's models are at a server of chats alone.
pub(super) async fn answering() -> Rig {
    let rig = Rig::with(|setup| {
        let openai = setup.config.providers.get_mut("openai").expect("a provider");
        openai.config.insert("protocol".to_owned(), "openai-chat".into());
    })
    .await;
    rig.upstream.respond(|request| match &*request.target {
        target if target.starts_with("/v1/chat") => Script::json(200, CHAT),
        target if target.contains("Content") => Script::json(200, CANDIDATE),
        _ => Script::json(200, MESSAGE),
    });
    rig
}

/// A request of a client with these members beside what each request has.
pub(super) fn ask(client: &str, model: &str, members: &Value) -> Request {
    let (path, mut body) = match client {
        "chat" => ("/v1/chat/completions".to_owned(), json!({"model": model, "messages": said()})),
        "responses" => ("/v1/responses".to_owned(), json!({"model": model, "input": "hi", "store": false})),
        "messages" => {
            ("/v1/messages".to_owned(), json!({"model": model, "max_tokens": 4096, "messages": said()}))
        }
        _ => {
            let contents = json!([{"role": "user", "parts": [{"text": "hi"}]}]);
            (format!("/v1beta/models/{model}:generateContent"), json!({"contents": contents}))
        }
    };
    for (name, value) in members.as_object().expect("members") {
        body[name] = value.clone();
    }
    Request::post(&path, &body)
}

fn said() -> Value {
    json!([{"role": "user", "content": "hi"}])
}

pub(super) fn left_out(reply: &Reply) -> &str {
    reply.header("x-tollgate-left-out").unwrap_or_default()
}

/// What each client says, to whom, and what of it is named.
type Hint = (&'static str, &'static str, Value, &'static str);

fn hints() -> Vec<Hint> {
    [hints_of_chats(), hints_of_openai_and_claude(), hints_of_gemini()].concat()
}

fn hints_of_chats() -> Vec<Hint> {
    vec![
        ("chat", CLAUDE, json!({"seed": 7}), "seed"),
        (
            "chat",
            CLAUDE,
            json!({"frequency_penalty": 0.5, "presence_penalty": 1}),
            "frequency_penalty, presence_penalty",
        ),
        ("chat", CLAUDE, json!({"logit_bias": {"50256": -100}}), "logit_bias"),
        ("chat", GEMINI, json!({"logit_bias": {"1": 1}, "user": "u-1"}), "logit_bias, user"),
        (
            "chat",
            CLAUDE,
            json!({"messages": [{"role": "user", "name": "ann", "content": "hi"},
            {"role": "user", "name": "bob", "content": "ho"}]}),
            "messages[0].name",
        ),
        ("chat", CLAUDE, json!({"metadata": {"a": "b"}, "verbosity": "low"}), "metadata, verbosity"),
        (
            "chat",
            CLAUDE,
            json!({"min_p": 0.1, "prediction": {"type": "content", "content": "x"}}),
            "min_p, prediction",
        ),
        ("chat", CLAUDE, json!({"web_search_options": {"search_context_size": "low"}}), "web_search_options"),
        (
            "chat",
            GEMINI,
            json!({"parallel_tool_calls": false, "tools": [{"type": "function",
            "function": {"name": "f", "parameters": {"type": "object"}}}]}),
            "parallel_tool_calls",
        ),
    ]
}

fn hints_of_openai_and_claude() -> Vec<Hint> {
    let anthropics = json!([{"name": "f", "input_schema": {"type": "object"}, "defer_loading": true,
        "input_examples": [{}]}]);
    let scoped = json!([{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "scope": "global"}}]);
    vec![
        (
            "responses",
            CLAUDE,
            json!({"client_metadata": {"session": "s"}, "prompt_cache_key": "k",
            "text": {"verbosity": "high"}}),
            "client_metadata, text.verbosity, prompt_cache_key",
        ),
        ("responses", GPT, json!({"top_k": 5}), "top_k"),
        ("messages", GPT, json!({"top_k": 40}), "top_k"),
        ("messages", GPT, json!({"tools": anthropics}), "tools[0].defer_loading, tools[0].input_examples"),
        (
            "messages",
            GPT,
            json!({"system": scoped}),
            "system[0].cache_control.scope, system[0].cache_control",
        ),
        (
            "messages",
            GEMINI,
            json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}, "metadata": {"user_id": "u"}}),
            "tool_choice.disable_parallel_tool_use, metadata.user_id",
        ),
        (
            "messages",
            GPT,
            json!({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
            "context_management",
        ),
    ]
}

fn hints_of_gemini() -> Vec<Hint> {
    let function = json!({"name": "f", "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
        "responseJsonSchema": {"type": "object"}});
    vec![
        (
            "gemini",
            CLAUDE,
            json!({"generationConfig": {"seed": 3, "presencePenalty": 1}}),
            "generationConfig.presencePenalty, generationConfig.seed",
        ),
        (
            "gemini",
            GPT,
            json!({"generationConfig": {"topK": 3, "mediaResolution": "MEDIA_RESOLUTION_LOW"}}),
            "generationConfig.mediaResolution, generationConfig.topK",
        ),
        (
            "gemini",
            GPT,
            json!({"tools": [{"functionDeclarations": [function]}], "labels": {"team": "a"}}),
            "labels, tools[0].functionDeclarations[0].responseJsonSchema",
        ),
    ]
}

#[tokio::test]
async fn a_hint_that_the_other_protocol_lacks_is_left_out_and_named() {
    let rig = answering().await;
    let hints = hints();
    for (client, model, members, names) in &hints {
        let reply = rig.call(ask(client, model, members)).await;
        assert_eq!(reply.status, 200, "{client} to {model} {members}: {}", reply.text());
        assert_eq!(left_out(&reply), *names, "{client} to {model} {members}");
        let seen = rig.upstream.next().await;
        assert!(seen.json().is_object());
    }
    // Calls of one tick of the clock are in no order.
    let records = rig.records(hints.len()).await;
    let mut kept: Vec<&str> = records.iter().filter_map(|record| record.left_out.as_deref()).collect();
    let mut told: Vec<&str> = hints.iter().map(|(.., names)| *names).collect();
    kept.sort_unstable();
    told.sort_unstable();
    assert_eq!(kept, told);
    let seed = records.iter().find(|record| record.left_out.as_deref() == Some("seed")).expect("its record");
    let id = seed.request.to_string();
    let shown = rig.admin("GET", &format!("/management/v1/requests/{id}")).await.json();
    assert_eq!(shown["left_out"], "seed", "{shown}");
    let plain =
        rig.call(ask("chat", CLAUDE, &json!({"seed": null, "logit_bias": {}, "frequency_penalty": 0}))).await;
    assert_eq!((plain.status, left_out(&plain)), (200, ""));
    rig.stop().await;
}

#[tokio::test]
async fn what_changes_the_meaning_is_refused_by_its_name() {
    let rig = answering().await;
    for (client, model, members, name) in [
        ("chat", CLAUDE, json!({"logprobs": true}), "logprobs"),
        ("chat", CLAUDE, json!({"n": 2}), "n"),
        ("chat", CLAUDE, json!({"modalities": ["text", "audio"]}), "modalities[1]"),
        ("chat", CLAUDE, json!({"service_tier": "flex"}), "service_tier"),
        ("chat", GEMINI, json!({"unheard_of": 1}), "unheard_of"),
        ("responses", CLAUDE, json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        ("responses", GEMINI, json!({"background": true}), "background"),
        ("messages", GPT, json!({"speed": "fast"}), "speed"),
        ("gemini", CLAUDE, json!({"cachedContent": "cachedContents/1"}), "cachedContent"),
    ] {
        let reply = rig.call(ask(client, model, &members)).await;
        assert_eq!(reply.status, 400, "{client} to {model} {members}: {}", reply.text());
        assert!(reply.text().contains(name), "{members}: {}", reply.text());
    }
    assert_eq!(rig.upstream.count(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_key_with_strict_translation_refuses_hints_and_nothing_more() {
    let rig = answering().await;
    let desk = rig.desk().await;
    let [key] = &*desk_keys(&desk).await else { panic!("one key") };
    let limits = KeyLimits { translation: Translation::Strict, ..KeyLimits::default() };
    let edit = KeyEdit { name: None, enabled: None, expires_at: None, limits: Some(limits) };
    desk.change_key(*key, edit).await.expect("it changes");
    desk.close().await;
    tollgate_tests::patiently("the change", async {
        while rig.call(ask("chat", CLAUDE, &json!({"seed": 7}))).await.status != 400 {}
    })
    .await;
    for (client, model, members, word) in [
        ("chat", CLAUDE, json!({"seed": 7}), "seed: Anthropic has no seed"),
        ("messages", GPT, json!({"top_k": 40}), "top_k: OpenAI has no top-k"),
        ("responses", CLAUDE, json!({"client_metadata": {"a": "b"}}), "client_metadata: "),
        ("responses", CLAUDE, json!({"tools": [{"type": "web_search"}]}), "tools[0]"),
        (
            "gemini",
            CLAUDE,
            json!({"generationConfig": {"responseMimeType": "application/json"}}),
            "json_schema",
        ),
    ] {
        let reply = rig.call(ask(client, model, &members)).await;
        assert!(reply.status == 400 && reply.text().contains(word), "{members}: {}", reply.text());
    }
    for (client, model, members) in [
        ("chat", CLAUDE, json!({"metadata": {"a": "b"}, "user": "u"})),
        (
            "messages",
            GPT,
            json!({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}),
        ),
        ("chat", GPT, json!({"seed": 7, "logit_bias": {"1": 1}})),
    ] {
        let reply = rig.call(ask(client, model, &members)).await;
        assert_eq!(reply.status, 200, "{members}: {}", reply.text());
    }
    rig.stop().await;
}

async fn desk_keys(desk: &tollgate_server::manage::Management) -> Vec<tollgate_core::id::ApiKeyId> {
    let keys = tollgate_tests::managed::keys(desk).await.expect("the database reads");
    keys.into_iter().map(|key| key.id).collect()
}

/// What goes in, and what the provider must be sent for it: a pointer into its body, and the value there.
type Demand = (&'static str, &'static str, Value, &'static str, Value, &'static str);

fn demands() -> Vec<Demand> {
    [of_schemas(), of_thinking(), of_turns(), of_media()].concat()
}

fn of_schemas() -> Vec<Demand> {
    let bare = |schema: Value| json!({"tools": [{"name": "f", "input_schema": schema}]});
    let chat_tool = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let object = json!({"type": "object", "properties": {}});
    vec![
        (
            "messages",
            GPT,
            bare(json!({"type": "object"})),
            "/tools/0/function/parameters",
            object.clone(),
            "",
        ),
        ("messages", GPT, bare(json!({})), "/tools/0/function/parameters", object.clone(), ""),
        ("chat", CLAUDE, json!({"tools": chat_tool}), "/tools/0/input_schema", object, ""),
    ]
}

fn of_thinking() -> Vec<Demand> {
    let forced = json!({"reasoning_effort": "high", "max_tokens": 9000, "tool_choice": "required",
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    vec![
        (
            "chat",
            CLAUDE,
            json!({"reasoning_effort": "high", "max_tokens": 9000, "temperature": 0.2}),
            "/temperature",
            Value::Null,
            "temperature",
        ),
        (
            "chat",
            CLAUDE,
            json!({"reasoning_effort": "high", "max_tokens": 9000, "top_p": 0.5}),
            "/top_p",
            Value::Null,
            "top_p",
        ),
        ("chat", CLAUDE, forced.clone(), "/thinking", Value::Null, "reasoning_effort"),
        ("chat", CLAUDE, forced, "/tool_choice/type", json!("any"), "reasoning_effort"),
        ("chat", CLAUDE, json!({"temperature": 0.2, "top_p": 0.5}), "/top_p", Value::Null, "top_p"),
        ("chat", CLAUDE, json!({"temperature": 1.7}), "/temperature", json!(1), "temperature"),
    ]
}

fn of_turns() -> Vec<Demand> {
    vec![
        (
            "chat",
            CLAUDE,
            json!({"messages": [{"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Once \n"}]}),
            "/messages/1/content/0/text",
            json!("Once"),
            "messages[1].content",
        ),
        (
            "chat",
            CLAUDE,
            json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": ""},
            {"role": "user", "content": " \n"}, {"role": "user", "content": "ho"}]}),
            "/messages",
            json!([{"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "ho"}]}]),
            "",
        ),
        (
            "chat",
            CLAUDE,
            json!({"messages": [{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "hi"}]}),
            "/messages/0/role",
            json!("user"),
            "messages[0].content",
        ),
    ]
}

fn of_media() -> Vec<Demand> {
    vec![
        (
            "chat",
            CLAUDE,
            picture("data:image/jpg;base64,/9j/4AAQ"),
            "/messages/0/content/0/source/media_type",
            json!("image/jpeg"),
            "messages[0].content[0]",
        ),
        (
            "chat",
            GEMINI,
            picture("data:image/png;base64,/9j/4AAQ"),
            "/contents/0/parts/0/inlineData/mimeType",
            json!("image/jpeg"),
            "messages[0].content[0]",
        ),
        (
            "gemini",
            CLAUDE,
            inline("image/jpeg", "_9j_4AAQSkY"),
            "/messages/0/content/0/source/data",
            json!("/9j/4AAQSkY="),
            "",
        ),
        (
            "gemini",
            GPT,
            inline("audio/wav", "UklG_-A"),
            "/messages/0/content/0/input_audio/data",
            json!("UklG/+A="),
            "",
        ),
        (
            "gemini",
            GPT,
            inline("application/pdf", "JVBERi0-Pg"),
            "/messages/0/content/0/file/file_data",
            json!("data:application/pdf;base64,JVBERi0+Pg=="),
            "",
        ),
        (
            "gemini",
            CLAUDE,
            inline("text/csv", "YSxiCg"),
            "/messages/0/content/0/source/data",
            json!("a,b\n"),
            "",
        ),
    ]
}

fn picture(url: &str) -> Value {
    json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]})
}

fn inline(media: &str, data: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": media, "data": data}}]}]})
}

#[tokio::test]
async fn what_a_provider_demands_is_supplied_and_named() {
    let rig = answering().await;
    for (client, model, members, place, expected, names) in demands() {
        let reply = rig.call(ask(client, model, &members)).await;
        assert_eq!(reply.status, 200, "{client} to {model} {members}: {}", reply.text());
        let sent = rig.upstream.next().await.json();
        assert_eq!(*sent.pointer(place).unwrap_or(&Value::Null), expected, "{members}: {sent}");
        assert_eq!(left_out(&reply), names, "{members}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn half_a_character_reaches_no_provider() {
    let rig = answering().await;
    let body = r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":"a\ud83d b \ud83d\ude00"},
        {"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":
            {"name":"f","arguments":"{\"a\":\"\\ud83d\"}"}}]},
        {"role":"tool","tool_call_id":"c","content":"ok"}]}"#;
    let request = Request::new("POST", "/v1/chat/completions").header("content-type", "application/json");
    let reply = rig.call(request.body(body)).await;
    assert_eq!((reply.status, left_out(&reply)), (200, "messages[0].content"), "{}", reply.text());
    let sent = rig.upstream.next().await.json();
    assert_eq!(sent["messages"][0]["content"][0]["text"], "a\u{fffd} b 😀");
    assert_eq!(sent["messages"][1]["content"][0]["input"]["a"], "\u{fffd}");
    rig.stop().await;
}

#[tokio::test]
async fn a_call_without_an_answer_gets_one_and_an_answer_without_a_call_is_refused() {
    let rig = answering().await;
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let open = json!([{"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [call("a"), call("b")]},
        {"role": "tool", "tool_call_id": "b", "content": "2"}, {"role": "user", "content": "stop"}]);
    let reply = rig.call(ask("chat", CLAUDE, &json!({"messages": open}))).await;
    assert_eq!((reply.status, left_out(&reply)), (200, "messages[1].tool_calls[0]"), "{}", reply.text());
    let sent = rig.upstream.next().await.json();
    let told: Vec<&Value> = sent["messages"][2]["content"].as_array().expect("parts").iter().collect();
    assert_eq!(told.len(), 3, "{sent}");
    assert!(told[..2].iter().all(|part| part["type"] == "tool_result"), "{sent}");
    let stray =
        json!([{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "z", "content": "2"}]);
    for model in [CLAUDE, GEMINI] {
        let reply = rig.call(ask("chat", model, &json!({"messages": stray}))).await;
        assert!(reply.status == 400 && reply.text().contains("messages[1]"), "{}", reply.text());
    }
    rig.stop().await;
}
