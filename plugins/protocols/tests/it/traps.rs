//! The traps of `TRAPS.md`: each has a test, and tests without a better place are here.

use std::path::Path;

use serde_json::{Value, json};
use tollgate_plugin::types::Protocol;
use tollgate_protocols::translate::Pair;

use crate::calls::{ARGUMENTS, collected};
use crate::cases::{Case, Kind, PROTOCOLS, context, target};
use crate::stream_rules;

/// What is in backticks in the second column.
fn named(document: &str) -> Vec<&str> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    rows.filter(|(trap, _)| *trap != "trap")
        .flat_map(|(_, shown)| shown.split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn every_trap_has_a_test_that_is_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(here.join("TRAPS.md")).unwrap();
    let names = named(&document);
    assert!(names.len() > 100, "{} names", names.len());
    for name in names {
        let Some((file, test)) = name.split_once('#') else {
            assert!(here.join("testdata").join(format!("{name}.txt")).is_file(), "there is no case {name}");
            continue;
        };
        let source = std::fs::read_to_string(here.join("../..").join(file)).unwrap_or_default();
        let at = source.find(&format!("fn {test}("));
        let marked = at.is_some_and(|at| {
            source[..at].trim_end().trim_end_matches("async").trim_end().ends_with("test]")
        });
        assert!(marked, "{file} has no test {test}");
    }
}

#[test]
fn every_trap_is_shown_by_something() {
    let document = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("TRAPS.md")).unwrap();
    for line in document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| trap ")) {
        assert!(!named(line).is_empty(), "{line}");
    }
}

fn requests() -> impl Iterator<Item = Case> {
    Case::all().into_iter().filter(|case| case.kind == Kind::Request)
}

/// Every request of a case that can be translated for `upstream`.
fn said_to(upstream: Protocol) -> Vec<(Case, Value)> {
    let said = requests().filter_map(|case| {
        let pair = Pair { client: case.protocol, upstream };
        let body = pair.request(case.input().as_bytes(), &target(upstream)).ok()?.body;
        Some((case, serde_json::from_slice(&body).ok()?))
    });
    said.collect()
}

#[test]
fn stream_options_go_with_streams_only() {
    let mut streams = 0;
    for (case, body) in said_to(Protocol::OpenaiChat) {
        let streamed = body["stream"] == true;
        assert_eq!(body["stream_options"]["include_usage"] == true, streamed, "{}", case.path.display());
        streams += usize::from(streamed);
    }
    assert!(streams > 1);
}

#[test]
fn no_choice_goes_up_without_tools() {
    let choices = [
        (
            Protocol::OpenaiChat,
            json!({"messages": [{"role": "user", "content": "x"}], "tool_choice": "auto", "parallel_tool_calls": false}),
        ),
        (
            Protocol::OpenaiResponses,
            json!({"input": "x", "tool_choice": "none", "parallel_tool_calls": false}),
        ),
        (
            Protocol::AnthropicMessages,
            json!({"messages": [{"role": "user", "content": "x"}],
            "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
        ),
        (
            Protocol::Gemini,
            json!({"contents": [{"parts": [{"text": "x"}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}}}),
        ),
    ];
    for (client, body) in choices {
        for (upstream, name) in PROTOCOLS {
            let out = Pair { client, upstream }.request(body.to_string().as_bytes(), &target(upstream));
            let out: Value = serde_json::from_slice(&out.unwrap().body).unwrap();
            for member in ["tool_choice", "parallel_tool_calls", "toolConfig"] {
                assert!(out.get(member).is_none(), "{client:?} to {name}: {out}");
            }
        }
    }
}

#[test]
fn every_stream_keeps_the_rules_of_its_client() {
    for case in Case::all().into_iter().filter(|case| case.kind == Kind::Stream) {
        for (client, _) in PROTOCOLS {
            let mut stream = Pair { client, upstream: case.protocol }.stream(&context(client));
            let mut out = stream.feed(case.input().as_bytes());
            out.extend(stream.finish());
            stream_rules::check(client, &String::from_utf8(out).unwrap());
        }
    }
}

#[test]
fn geminis_events_are_spelled_as_its_sdks_read_them() {
    for case in Case::all().into_iter().filter(|case| case.kind == Kind::Stream) {
        let client = Protocol::Gemini;
        let mut stream = Pair { client, upstream: case.protocol }.stream(&context(client));
        let mut out = stream.feed(case.input().as_bytes());
        out.extend(stream.finish());
        let out = String::from_utf8(out).unwrap();
        for event in out.split_terminator("\r\n\r\n") {
            assert!(event.starts_with("data: {") && !event.contains('\n'), "{event:?}");
        }
    }
}

/// Prompt tokens, the cached ones among them, output and reasoning, as a client of this protocol reads them.
fn counted(client: Protocol, answer: &Value) -> [u64; 4] {
    let at = |path: &str| answer.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    match client {
        Protocol::OpenaiChat => [
            at("/usage/prompt_tokens"),
            at("/usage/prompt_tokens_details/cached_tokens"),
            at("/usage/completion_tokens"),
            at("/usage/completion_tokens_details/reasoning_tokens"),
        ],
        Protocol::OpenaiResponses => [
            at("/usage/input_tokens"),
            at("/usage/input_tokens_details/cached_tokens"),
            at("/usage/output_tokens"),
            at("/usage/output_tokens_details/reasoning_tokens"),
        ],
        Protocol::AnthropicMessages => {
            let (read, written) =
                (at("/usage/cache_read_input_tokens"), at("/usage/cache_creation_input_tokens"));
            let thought = at("/usage/output_tokens_details/thinking_tokens");
            [at("/usage/input_tokens") + read + written, read, at("/usage/output_tokens"), thought]
        }
        Protocol::Gemini => {
            let thought = at("/usageMetadata/thoughtsTokenCount");
            let prompt = at("/usageMetadata/promptTokenCount") + at("/usageMetadata/toolUsePromptTokenCount");
            let output = at("/usageMetadata/candidatesTokenCount") + thought;
            [prompt, at("/usageMetadata/cachedContentTokenCount"), output, thought]
        }
    }
}

/// An answer of this protocol with random usage.
fn answer(upstream: Protocol, random: &mut fastrand::Rng) -> Value {
    let (cached, fresh) = (random.u64(..9000), random.u64(..9000));
    let (thought, said) = (random.u64(..900), random.u64(1..900));
    let (input, output) = (cached + fresh, thought + said);
    match upstream {
        Protocol::OpenaiChat => json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
                "prompt_tokens_details": {"cached_tokens": cached},
                "completion_tokens_details": {"reasoning_tokens": thought}}}),
        Protocol::OpenaiResponses => json!({"status": "completed", "output": [{"type": "message",
                "role": "assistant", "content": [{"type": "output_text", "text": "x", "annotations": []}]}],
            "usage": {"input_tokens": input, "output_tokens": output, "total_tokens": input + output,
                "input_tokens_details": {"cached_tokens": cached},
                "output_tokens_details": {"reasoning_tokens": thought}}}),
        Protocol::AnthropicMessages => {
            json!({"content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn",
            "usage": {"input_tokens": fresh, "cache_read_input_tokens": cached, "output_tokens": output,
                "output_tokens_details": {"thinking_tokens": thought}}})
        }
        Protocol::Gemini => {
            json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": input, "cachedContentTokenCount": cached,
                "candidatesTokenCount": said, "thoughtsTokenCount": thought, "totalTokenCount": input + output}})
        }
    }
}

#[test]
fn usage_keeps_its_sums_in_every_protocol() {
    for seed in 0..200 {
        for (upstream, from) in PROTOCOLS {
            let answer = answer(upstream, &mut fastrand::Rng::with_seed(seed));
            for (client, to) in PROTOCOLS {
                let pair = Pair { client, upstream };
                let body = pair.response(answer.to_string().as_bytes(), &context(client)).unwrap();
                let told: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(
                    counted(client, &told),
                    counted(upstream, &answer),
                    "{from} to {to}: {answer} {told}"
                );
            }
        }
    }
}

fn item_event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap())
}

/// Events of Responses whose calls begin in order, and go on and end in any.
fn mixed_items(random: &mut fastrand::Rng) -> String {
    let response = json!({"id": "r", "created_at": 1, "model": "m", "output": [], "status": "in_progress"});
    let mut stream = item_event(&json!({"type": "response.created", "response": response}));
    let mut rest: Vec<Option<&str>> = ARGUMENTS.iter().map(|text| Some(*text)).collect();
    let item = |index: usize, arguments: &str| {
        json!({"type": "function_call", "id": format!("fc_{index}"), "call_id": format!("call_{index}"),
            "name": format!("f{index}"), "arguments": arguments})
    };
    let mut begun = 0;
    while begun < ARGUMENTS.len() || rest.iter().any(Option::is_some) {
        let index = random.usize(0..=begun.min(ARGUMENTS.len() - 1));
        if index == begun {
            begun += 1;
            stream += &item_event(&json!({"type": "response.output_item.added", "output_index": index,
                "item": item(index, "")}));
        } else if let Some("") = rest[index] {
            rest[index] = None;
            stream += &item_event(&json!({"type": "response.output_item.done", "output_index": index,
                "item": item(index, ARGUMENTS[index])}));
        } else if let Some(text) = rest[index] {
            let mut end = random.usize(1..=text.len().min(9));
            while !text.is_char_boundary(end) {
                end += 1;
            }
            rest[index] = Some(&text[end..]);
            stream +=
                &item_event(&json!({"type": "response.function_call_arguments.delta", "output_index": index,
                "item_id": format!("fc_{index}"), "delta": &text[..end]}));
        }
    }
    stream
        + &item_event(
            &json!({"type": "response.completed", "response": {"id": "r", "created_at": 1, "model": "m",
        "status": "completed", "output": [], "usage": {"input_tokens": 1, "output_tokens": 1}}}),
        )
}

#[test]
fn any_mix_of_items_of_responses_gives_the_same_calls() {
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for seed in 0..300 {
        let stream = mixed_items(&mut fastrand::Rng::with_seed(seed));
        for (client, name) in PROTOCOLS {
            let mut translated =
                Pair { client, upstream: Protocol::OpenaiResponses }.stream(&context(client));
            let mut out = translated.feed(stream.as_bytes());
            out.extend(translated.finish());
            let out = String::from_utf8(out).unwrap();
            stream_rules::check(client, &out);
            // Gemini's calls come whole, in the order in which they are complete.
            let mut calls = collected(client, &out);
            calls.sort();
            assert_eq!(calls.len(), ARGUMENTS.len(), "{name} {seed}: {out}");
            for (index, (function, arguments)) in calls.iter().enumerate() {
                assert_eq!(
                    (function.as_str(), value(arguments)),
                    (format!("f{index}").as_str(), value(ARGUMENTS[index])),
                    "{name} {seed}"
                );
            }
        }
    }
}
