//! What depends on the model or the client, besides the protocol.

use crate::cases::{REQUEST_ID, context, target};
use tollgate_plugin::types::Protocol;
use tollgate_protocols::target::{Abilities, Context, Target};
use tollgate_protocols::translate::Pair;

const CHAT_TO_CLAUDE: Pair = Pair { client: Protocol::OpenaiChat, upstream: Protocol::AnthropicMessages };

fn request(pair: Pair, target: &Target<'_>, body: &str) -> String {
    String::from_utf8(pair.request(body.as_bytes(), target).unwrap().body).unwrap()
}

/// Translates for a Claude that can do what `change` says.
fn to_claude(change: impl Fn(&mut Abilities), body: &str) -> String {
    let mut target = target(Protocol::AnthropicMessages);
    change(&mut target.abilities);
    request(CHAT_TO_CLAUDE, &target, body)
}

#[test]
fn a_model_that_takes_no_sampling_gets_none() {
    let body = r#"{"messages":[{"role":"user","content":"Hi"}],"temperature":1.7,"frequency_penalty":1}"#;
    let sent = to_claude(|abilities| abilities.sampling = false, body);
    assert!(!sent.contains("temperature") && !sent.contains("penalty"), "{sent}");
}

#[test]
fn a_model_that_takes_no_budget_is_told_in_words() {
    let adaptive = |abilities: &mut Abilities| abilities.thinking_budget = false;
    let check = |effort: &str, expected: &str| {
        let head = r#"{"messages":[{"role":"user","content":"Hi"}],"reasoning_effort":""#;
        let sent = to_claude(adaptive, &format!("{head}{effort}\"}}"));
        assert!(sent.ends_with(expected), "{sent}");
    };
    check("high", r#""thinking":{"type":"adaptive"},"output_config":{"effort":"high"}}"#);
    check("minimal", r#""thinking":{"type":"adaptive"},"output_config":{"effort":"low"}}"#);
    check("none", r#""thinking":{"type":"disabled"}}"#);
}

#[test]
fn a_budget_leaves_room_for_the_answer() {
    let with = |limit: &str| {
        let head = r#"{"messages":[{"role":"user","content":"Hi"}],"reasoning_effort":"high","max_tokens":"#;
        to_claude(|_| (), &format!("{head}{limit}}}"))
    };
    assert!(with("4096").contains(r#""budget_tokens":2048"#));
    assert!(!with("2000").contains("thinking"));
    assert!(with("100000").contains(r#""budget_tokens":24576"#));
}

#[test]
fn instructions_stay_in_the_middle_where_the_model_takes_them() {
    let body = r#"{"messages":[{"role":"user","content":"Hi"},{"role":"system","content":"Now be rude."}]}"#;
    let sent = to_claude(|abilities| abilities.system_turns = true, body);
    let expected = r#"{"role":"system","content":[{"type":"text","text":"Now be rude."}]}]"#;
    assert!(sent.contains(expected), "{sent}");
}

#[test]
fn gemini_before_three_counts_tokens_and_needs_no_signatures() {
    let pair = Pair { client: Protocol::OpenaiChat, upstream: Protocol::Gemini };
    let body = r#"{"reasoning_effort":"low","messages":[{"role":"user","content":"Hi"},
        {"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"a","content":"1"}]}"#;
    let old = request(pair, &Target::new("gemini-2.5-pro"), body);
    assert!(old.contains(r#""thinkingConfig":{"thinkingBudget":1024}"#), "{old}");
    assert!(!old.contains("thoughtSignature"), "{old}");
    let new = request(pair, &Target::new("gemini-3.8-flash"), body);
    assert!(new.contains(r#""thinkingConfig":{"thinkingLevel":"LOW"}"#), "{new}");
    assert!(new.contains("thoughtSignature"), "{new}");
}

const TOOL_LOOP: &str = r#""messages":[{"role":"user","content":"Hi"},
    {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""},
        {"type":"tool_use","id":"t","name":"f","input":{}}]},
    {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"1"}]}]"#;

#[test]
fn thoughts_go_back_to_servers_of_open_models() {
    let pair = Pair { client: Protocol::AnthropicMessages, upstream: Protocol::OpenaiChat };
    let sent = |model: &str, thoughts_back, body: &str| {
        let mut target = Target::new(model);
        target.abilities.thoughts_back = thoughts_back;
        let body: serde_json::Value = serde_json::from_str(&request(pair, &target, body)).unwrap();
        body["messages"][1].get("reasoning_content").cloned()
    };
    let thought = format!("{{{TOOL_LOOP}}}");
    let thoughtless = thought.replace(r#"{"type":"thinking","thinking":"hm","signature":""},"#, "");
    assert_eq!(sent("glm-5", true, &thought), Some("hm".into()));
    assert_eq!(sent("gpt-5", false, &thought), None);
    assert_eq!(sent("deepseek-v4-pro", true, &thoughtless), Some("".into()));
    assert_eq!(sent("moonshot/kimi-k3", true, &thoughtless), Some("".into()));
    assert_eq!(sent("glm-5", true, &thoughtless), None);
}

#[test]
fn claude_thinks_where_it_may() {
    let own = Pair { client: Protocol::AnthropicMessages, upstream: Protocol::AnthropicMessages };
    let thinks = |members: &str, body: &str, budget| {
        let mut target = target(Protocol::AnthropicMessages);
        target.abilities.thinking_budget = budget;
        let thinking = r#""thinking":{"type":"enabled","budget_tokens":2000},"max_tokens":9000"#;
        let body = format!("{{{thinking},{members}{body}}}");
        let translated = own.request(body.as_bytes(), &target).unwrap();
        let thinks = String::from_utf8(translated.body).unwrap().contains(r#""thinking":{"#);
        assert_eq!(thinks, !translated.left_out.contains("thinking"), "{body}");
        thinks
    };
    let asked = r#""messages":[{"role":"user","content":"Hi"}]"#;
    let tools = r#""tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any"},"#;
    let begun = r#""messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Well"}]"#;
    let proven = TOOL_LOOP.replace(r#""signature":"""#, r#""signature":"proof""#);
    assert!(thinks("", asked, true) && thinks("", &proven, true) && thinks("", TOOL_LOOP, false));
    assert!(!thinks(tools, asked, true) && !thinks(tools, asked, false));
    assert!(!thinks("", begun, true) && !thinks("", TOOL_LOOP, true));
}

#[test]
fn a_chat_may_have_its_arguments_as_an_object_and_a_tool_no_answer() {
    let call = |function: &str| {
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"Hi"}},
            {{"role":"assistant","tool_calls":[{{"id":"a","type":"function","function":{function}}}]}},
            {{"role":"tool","tool_call_id":"a","content":null}}]}}"#
        );
        let sent: serde_json::Value = serde_json::from_str(&to_claude(|_| (), &body)).unwrap();
        assert_eq!(sent["messages"][2]["content"][0]["tool_use_id"], "a");
        sent["messages"][1]["content"][0]["input"].to_string()
    };
    assert_eq!(call(r#"{"name":"f","arguments":{"a":[1]}}"#), r#"{"a":[1]}"#);
    assert_eq!(call(r#"{"name":"f","arguments":"{\"a\":1}"}"#), r#"{"a":1}"#);
    assert_eq!(call(r#"{"name":"f","arguments":null}"#), "{}");
    assert_eq!(call(r#"{"name":"f"}"#), "{}");
}

#[test]
fn no_more_is_asked_for_than_a_model_writes() {
    let sent = |limit| {
        let mut target = target(Protocol::AnthropicMessages);
        target.output_limit = limit;
        let body = r#"{"messages":[{"role":"user","content":"Hi"}],"max_tokens":64000}"#;
        let translated = CHAT_TO_CLAUDE.request(body.as_bytes(), &target).unwrap();
        (String::from_utf8(translated.body).unwrap().contains(r#""max_tokens":16384,"#), translated.left_out)
    };
    assert_eq!(sent(16_384), (true, "max_tokens".to_owned()));
    assert_eq!(sent(64_000), (false, String::new()));
}

#[test]
fn models_of_openai_that_do_not_think_are_not_asked_to() {
    let pair = Pair { client: Protocol::AnthropicMessages, upstream: Protocol::OpenaiChat };
    let body = r#"{"messages":[{"role":"user","content":"Hi"}],"thinking":{"type":"adaptive"},"output_config":{"effort":"high"}}"#;
    for (reasoning, thoughts_back, asked) in [(true, false, true), (false, false, false), (false, true, true)]
    {
        let mut target = target(Protocol::OpenaiChat);
        (target.abilities.reasoning, target.abilities.thoughts_back) = (reasoning, thoughts_back);
        let translated = pair.request(body.as_bytes(), &target).unwrap();
        assert_eq!(String::from_utf8(translated.body).unwrap().contains("reasoning_effort"), asked);
        assert_eq!(translated.left_out.contains("effort"), !asked);
    }
}

const CHAT_STREAM: &str = "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\
    \"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n";

fn streamed(client: Protocol, body: &str, json_array: bool) -> String {
    let pair = Pair { client, upstream: Protocol::OpenaiChat };
    let target = Target { json_array, streaming: json_array, ..target(Protocol::OpenaiChat) };
    let translated = pair.request(body.as_bytes(), &target).unwrap();
    let mut stream = pair.stream(&translated.context);
    let mut out = stream.feed(CHAT_STREAM.as_bytes());
    out.extend(stream.finish());
    String::from_utf8(out).unwrap()
}

#[test]
fn a_chat_client_sees_usage_only_where_it_asked() {
    let quiet = streamed(Protocol::OpenaiChat, r#"{"messages":[],"stream":true}"#, false);
    assert!(!quiet.contains("usage"), "{quiet}");
    let asked = r#"{"messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
    let loud = streamed(Protocol::OpenaiChat, asked, false);
    assert_eq!(loud.matches(r#""usage":null"#).count(), 3, "{loud}");
    assert_eq!(loud.matches(r#""choices":[],"usage":{"prompt_tokens":5"#).count(), 1, "{loud}");
}

#[test]
fn a_gemini_client_without_events_gets_one_array() {
    let array = streamed(Protocol::Gemini, r#"{"contents":[]}"#, true);
    let chunks: Vec<serde_json::Value> = serde_json::from_str(&array).unwrap();
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[1]["candidates"][0]["content"]["parts"][0]["text"], "Hi");
    let pair = Pair { client: Protocol::Gemini, upstream: Protocol::OpenaiChat };
    let target = Target { json_array: true, ..target(Protocol::OpenaiChat) };
    let context = pair.request(br#"{"contents":[]}"#, &target).unwrap().context;
    let mut cut = pair.stream(&context);
    let failed: Vec<serde_json::Value> = serde_json::from_slice(&cut.finish()).unwrap();
    assert_eq!(failed[0]["error"]["status"], "INTERNAL");
}

#[test]
fn a_gemini_client_says_by_its_path_that_it_wants_a_stream() {
    let pair = Pair { client: Protocol::Gemini, upstream: Protocol::OpenaiChat };
    let target = Target { streaming: true, ..target(Protocol::OpenaiChat) };
    let translated = pair.request(br#"{"contents":[]}"#, &target).unwrap();
    assert!(translated.streaming);
    let body = String::from_utf8(translated.body).unwrap();
    assert!(body.contains(r#""stream":true,"stream_options":{"include_usage":true}"#), "{body}");
}

#[test]
fn an_answer_to_a_responses_client_repeats_its_request() {
    let pair = Pair { client: Protocol::OpenaiResponses, upstream: Protocol::OpenaiChat };
    let body = r#"{"input":"Hi","instructions":"Be brief.","temperature":0.30,"metadata":{"a":"b"}}"#;
    let context = pair.request(body.as_bytes(), &target(Protocol::OpenaiChat)).unwrap().context;
    let answer = br#"{"choices":[{"message":{"content":"Yes"},"finish_reason":"stop"}]}"#;
    let answer = String::from_utf8(pair.response(answer, &context).unwrap()).unwrap();
    for member in [r#""instructions":"Be brief.""#, r#""temperature":0.30"#, r#""metadata":{"a":"b"}"#] {
        assert!(answer.contains(member), "{answer}");
    }
}

#[test]
fn the_context_of_an_answer_can_be_kept_as_text() {
    let pair = Pair { client: Protocol::OpenaiResponses, upstream: Protocol::Gemini };
    let body = r#"{"input":"Hi","instructions":"\"Hé\" \ud83d\ude00","tools":[]}"#;
    let context = pair.request(body.as_bytes(), &target(Protocol::Gemini)).unwrap().context;
    assert_eq!(Context::from_json(&context.to_json()).unwrap(), context);
    assert!(Context::from_json("{}").is_err());
}

#[test]
fn a_refusal_is_a_bad_request_in_the_clients_own_words() {
    let body = br#"{"messages":[],"seed":1,"contents":[],"input":"","max_tokens":1}"#;
    let refused = CHAT_TO_CLAUDE.request(body, &target(Protocol::AnthropicMessages)).unwrap_err();
    let told = |client| {
        let failure = Pair { client, ..CHAT_TO_CLAUDE }.refuse(&refused, REQUEST_ID);
        (failure.status, String::from_utf8(failure.body).unwrap())
    };
    let chat = r#"{"error":{"message":"contents: has no equivalent in the upstream's protocol","type":"invalid_request_error","param":"contents","code":null}}"#;
    assert_eq!(told(Protocol::OpenaiChat), (400, chat.into()));
    let (status, claude) = told(Protocol::AnthropicMessages);
    assert!(status == 400 && claude.contains(r#""type":"invalid_request_error","message":"contents: "#));
    let (status, gemini) = told(Protocol::Gemini);
    assert!(status == 400 && gemini.contains(r#""status":"INVALID_ARGUMENT""#));
}

#[test]
fn nothing_follows_a_failure() {
    let pair = Pair { client: Protocol::AnthropicMessages, upstream: Protocol::OpenaiChat };
    let mut stream = pair.stream(&context(Protocol::AnthropicMessages));
    assert!(!stream.feed(b"data: {\"error\":{\"message\":\"no\"}}\n\n").is_empty());
    assert!(stream.feed(CHAT_STREAM.as_bytes()).is_empty());
    assert!(stream.finish().is_empty());
}
