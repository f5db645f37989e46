use proptest::prelude::*;

use super::{Fit, fit, turns_member};
use crate::json;
use crate::protocol::Protocol;

fn trimmed(protocol: Protocol, body: &str, window: u64) -> (String, Option<Fit>) {
    let list = json::find(body.as_bytes(), &[turns_member(protocol)]).expect("a list of turns");
    let fit = fit(protocol, body.as_bytes(), list, window);
    let kept = fit.as_ref().map_or_else(|| body.as_bytes().to_vec(), |fit| fit.apply(body.as_bytes()));
    (String::from_utf8(kept).expect("text"), fit)
}

/// What a window of this many tokens makes of a body.
#[track_caller]
fn check(protocol: Protocol, body: &str, window: u64, turns: usize, kept: &str) {
    let (text, fit) = trimmed(protocol, body, window);
    assert_eq!((text.as_str(), fit.map_or(0, |fit| fit.turns)), (kept, turns));
}

#[test]
fn what_fits_is_not_touched_and_the_last_turn_always_stays() {
    let body = r#"{"messages":[ {"role":"user","content":"aaaaaaaa"} , {"role":"assistant","content":"bbbbbbbb"},  {"role":"user","content":"cccccccc"}]}"#;
    check(Protocol::OpenaiChat, body, 1000, 0, body);
    let last = r#"{"messages":[ {"role":"user","content":"cccccccc"}]}"#;
    check(Protocol::OpenaiChat, body, 5, 1, last);
    check(Protocol::OpenaiChat, body, 1, 1, last);
    check(Protocol::OpenaiChat, last, 1, 0, last);
}

#[test]
fn system_messages_stay_wherever_they_stand() {
    let body = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"aaaaaaaaaaaaaaaa"},{"role":"developer","content":"d"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#;
    let kept = r#"{"messages":[{"role":"system","content":"s"},{"role":"developer","content":"d"},{"role":"user","content":"c"}]}"#;
    check(Protocol::OpenaiChat, body, 2, 1, kept);
}

#[test]
fn a_tool_call_and_its_result_go_or_stay_together() {
    let chat = r#"{"messages":[{"role":"user","content":"aaaaaaaaaaaa"},{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"r"},{"role":"user","content":"z"}]}"#;
    check(Protocol::OpenaiChat, chat, 1, 1, r#"{"messages":[{"role":"user","content":"z"}]}"#);
    let late = r#"{"messages":[{"role":"user","content":"aaaaaaaaaaaa"},{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"user","content":"z"},{"role":"tool","tool_call_id":"c1","content":"r"},{"role":"user","content":"y"}]}"#;
    let (_, fit) = trimmed(Protocol::OpenaiChat, late, 1);
    assert_eq!(fit.map(|fit| fit.turns), Some(2), "what answers the first turn's call goes with it");
    let claude = r#"{"messages":[{"role":"user","content":"aaaaaaaaaaaa"},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"r"}]},{"role":"assistant","content":"ok"}]}"#;
    check(Protocol::AnthropicMessages, claude, 1, 0, claude);
    let gemini = r#"{"contents":[{"role":"user","parts":[{"text":"aaaaaaaaaaaa"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"x":"r"}}}]},{"parts":[{"text":"z"}]}]}"#;
    check(Protocol::Gemini, gemini, 1, 1, r#"{"contents":[{"parts":[{"text":"z"}]}]}"#);
    let responses = r#"{"input":[{"role":"user","content":"aaaaaaaaaaaa"},{"type":"function_call","call_id":"k","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"k","output":"r"},{"type":"message","role":"user","content":"z"}]}"#;
    check(
        Protocol::OpenaiResponses,
        responses,
        1,
        1,
        r#"{"input":[{"type":"message","role":"user","content":"z"}]}"#,
    );
}

#[test]
fn what_stands_before_the_first_turn_goes_first() {
    let body =
        r#"{"messages":[{"role":"assistant","content":"bbbbbbbbbbbbbbbb"},{"role":"user","content":"c"}]}"#;
    check(Protocol::OpenaiChat, body, 1, 1, r#"{"messages":[{"role":"user","content":"c"}]}"#);
}

#[test]
fn what_is_no_list_of_turns_is_left_alone() {
    for body in [r#"{"input":"hello hello hello"}"#, r#"{"input":[]}"#, r#"{"input":[1,"x",null,{}]}"#] {
        check(Protocol::OpenaiResponses, body, 1, 0, body);
    }
}

/// A turn: bytes of the user's text, then tool calls with results and answers.
#[derive(Debug, Clone)]
struct Turn {
    user: usize,
    calls: Vec<usize>,
    answer: Option<usize>,
    system: bool,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn =
        (0..40_usize, prop::collection::vec(0..20_usize, 0..3), prop::option::of(0..40_usize), any::<bool>())
            .prop_map(|(user, calls, answer, system)| Turn {
                user,
                calls,
                answer,
                system: system && user % 3 == 0,
            });
    prop::collection::vec(turn, 1..8)
}

/// The messages of a conversation, each with the number of its turn; none for a system message.
fn messages(protocol: Protocol, turns: &[Turn]) -> Vec<(Option<usize>, String)> {
    let mut all = Vec::new();
    for (number, turn) in turns.iter().enumerate() {
        let text = |bytes: usize| "x".repeat(bytes);
        if turn.system && matches!(protocol, Protocol::OpenaiChat | Protocol::OpenaiResponses) {
            all.push((None, format!(r#"{{"role":"system","content":"{}"}}"#, text(5))));
        }
        let user = text(turn.user);
        all.push((
            Some(number),
            match protocol {
                Protocol::Gemini => format!(r#"{{"role":"user","parts":[{{"text":"{user}"}}]}}"#),
                _ => format!(r#"{{"role":"user", "content":"{user}"}}"#),
            },
        ));
        for (index, result) in turn.calls.iter().enumerate() {
            let (id, result) = (format!("c{number}x{index}"), text(*result));
            let pair = match protocol {
                Protocol::OpenaiChat => [
                    format!(
                        r#"{{"role":"assistant","tool_calls":[{{"id":"{id}","function":{{"name":"f","arguments":"{{}}"}}}}]}}"#
                    ),
                    format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"{result}"}}"#),
                ],
                Protocol::OpenaiResponses => [
                    format!(r#"{{"type":"function_call","call_id":"{id}","name":"f","arguments":"{{}}"}}"#),
                    format!(r#"{{"type":"function_call_output","call_id":"{id}","output":"{result}"}}"#),
                ],
                Protocol::AnthropicMessages => [
                    format!(
                        r#"{{"role":"assistant","content":[{{"type":"tool_use","id":"{id}","name":"f","input":{{}}}}]}}"#
                    ),
                    format!(
                        r#"{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"{id}","content":"{result}"}}]}}"#
                    ),
                ],
                Protocol::Gemini => [
                    format!(r#"{{"role":"model","parts":[{{"functionCall":{{"id":"{id}","name":"f"}}}}]}}"#),
                    format!(
                        r#"{{"role":"user","parts":[{{"functionResponse":{{"id":"{id}","response":{{"x":"{result}"}}}}}}]}}"#
                    ),
                ],
            };
            all.extend(pair.map(|message| (Some(number), message)));
        }
        if let Some(answer) = turn.answer {
            let answer = text(answer);
            all.push((
                Some(number),
                match protocol {
                    Protocol::Gemini => format!(r#"{{"role":"model","parts":[{{"text":"{answer}"}}]}}"#),
                    _ => format!(r#"{{"role":"assistant","content":"{answer}"}}"#),
                },
            ));
        }
    }
    all
}

fn body(protocol: Protocol, messages: &[&str], separator: &str) -> String {
    format!(r#"{{"model":"m", "{}":[{}],"stop":[]}}"#, turns_member(protocol), messages.join(separator))
}

proptest! {
    #[test]
    fn whole_turns_go_oldest_first_and_the_rest_is_byte_for_byte_what_it_was(
        turns in turns(),
        window in 0..120_u64,
        protocol in prop::sample::select(Protocol::ALL.to_vec()),
        separator in prop::sample::select(vec![",", " , ", ",\n  "]),
    ) {
        let all = messages(protocol, &turns);
        let texts: Vec<&str> = all.iter().map(|(_, text)| text.as_str()).collect();
        let (kept, fit) = trimmed(protocol, &body(protocol, &texts, separator), window);
        let gone = fit.as_ref().map_or(0, |fit| fit.turns);
        prop_assert!(gone < turns.len(), "the last turn stays");
        // The result is the same as when the first turns are left out by hand.
        let expected: Vec<&str> = all
            .iter()
            .filter(|(turn, _)| turn.is_none_or(|turn| turn >= gone))
            .map(|(_, text)| text.as_str())
            .collect();
        prop_assert_eq!(&kept, &body(protocol, &expected, separator));
        prop_assert_eq!(fit.is_some(), gone > 0);
        // It fits, or no more could go; and one turn fewer would not have fitted.
        let (_, again) = trimmed(protocol, &kept, window);
        prop_assert_eq!(again, None);
        if gone > 0 {
            let one_fewer: Vec<&str> = all
                .iter()
                .filter(|(turn, _)| turn.is_none_or(|turn| turn + 1 >= gone))
                .map(|(_, text)| text.as_str())
                .collect();
            let (_, more) = trimmed(protocol, &body(protocol, &one_fewer, separator), window);
            prop_assert_eq!(more.map(|fit| fit.turns), Some(1));
        }
    }
}
