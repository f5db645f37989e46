//! What providers state as usage, whatever it is: what can be read is read, and nothing breaks.

use tollgate_plugin::types::{Class, Operation, Quality, Usage};
use tollgate_protocols::anthropic::MessageUsage;
use tollgate_protocols::gemini::{InteractionUsage, UsageMetadata};
use tollgate_protocols::openai::{ChatUsage, ResponsesUsage, ToolUsage, Tools};
use tollgate_protocols::sample;

/// Values that may stand where a count should, and one that is none of JSON's.
const VALUES: [&str; 22] = [
    "0",
    "7",
    "4294967295",
    "4611686018427387904",
    "18446744073709551615",
    "18446744073709551616",
    "1e19",
    "1e300",
    "1e999",
    "-1",
    "-1e999",
    "0.5",
    "\"7\"",
    "\"NaN\"",
    "\"\"",
    "null",
    "true",
    "[]",
    "[[7]]",
    "{}",
    "{\"a\":{\"a\":7},\"a\":1}",
    "NaN",
];

/// Reads one line of usage by every reader, and adds up what each makes of it.
fn read(usage: &str) -> Vec<Usage> {
    let line = usage.as_bytes();
    let mut read = Vec::new();
    for operation in [Operation::Generate, Operation::Embed] {
        let chat = sample::read::<ChatUsage>(line, 0).map(ResponsesUsage::from);
        read.extend(chat.map(|usage| usage.classes(operation)));
        read.extend(sample::read::<ResponsesUsage>(line, 0).map(|usage| usage.classes(operation)));
        read.extend(sample::read::<UsageMetadata>(line, 0).map(|usage| usage.classes(operation)));
        let interaction = sample::read::<InteractionUsage>(line, 0).map(UsageMetadata::from);
        read.extend(interaction.map(|usage| usage.classes(operation)));
    }
    let message = sample::read::<MessageUsage>(line, 0);
    read.extend(message.map(|usage| usage.overridden_by(usage).classes(true)));
    let mut tools = Usage::MISSING;
    Tools { stated: sample::read::<ToolUsage>(line, 0), ..Tools::default() }.add_to(&mut tools);
    read.push(tools);
    read
}

/// A usage of any protocol with chance's values in it: members twice, others missing, some nested.
fn any_usage(random: &mut fastrand::Rng) -> String {
    const MEMBERS: [&str; 20] = [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
        "cached_tokens",
        "reasoning_tokens",
        "input_tokens",
        "output_tokens",
        "input_tokens_details",
        "cache_creation",
        "cache_creation_input_tokens",
        "ephemeral_1h_input_tokens",
        "server_tool_use",
        "web_search_requests",
        "promptTokenCount",
        "candidatesTokenCount",
        "promptTokensDetails",
        "total_input_tokens",
        "grounding_tool_count",
    ];
    fn object(random: &mut fastrand::Rng, depth: u32) -> String {
        let count = random.usize(..8);
        let members: Vec<String> = (0..count)
            .map(|_| {
                let name = MEMBERS[random.usize(..MEMBERS.len())];
                let value = match random.u8(..4) {
                    0 if depth > 0 => object(random, depth - 1),
                    1 if depth > 0 => format!("[{}]", object(random, depth - 1)),
                    _ => VALUES[random.usize(..VALUES.len())].to_owned(),
                };
                format!("\"{name}\":{value}")
            })
            .collect();
        format!("{{{}}}", members.join(","))
    }
    object(random, 4)
}

#[test]
fn no_usage_breaks_a_reader() {
    let mut random = fastrand::Rng::with_seed(10);
    for value in VALUES {
        read(value);
    }
    for _ in 0..20_000 {
        read(&any_usage(&mut random));
    }
}

#[test]
fn what_can_be_read_is_read_beside_what_cannot() {
    let check = |usage: &str, input: u64, output: u64| {
        let read = sample::read::<ChatUsage>(usage.as_bytes(), 0).map(ResponsesUsage::from);
        let read = read.unwrap().classes(Operation::Generate);
        assert_eq!(
            (read[Class::Input], read[Class::Output], read.quality),
            (input, output, Quality::Exact),
            "{usage}"
        );
    };
    check(r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":"many","cost":-1e999}"#, 10, 5);
    check(r#"{"prompt_tokens":"10","completion_tokens":5.0,"prompt_tokens_details":7}"#, 10, 5);
    check(r#"{"prompt_tokens":1,"prompt_tokens":10,"completion_tokens":4.2}"#, 10, 5);
    check(r#"{"prompt_tokens":10,"completion_tokens":1e999}"#, 10, u64::MAX);
    check(r#"{"prompt_tokens":10,"completion_tokens":99999999999999999999}"#, 10, u64::MAX);
    check(
        r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":[]},"completion_tokens_details":null}"#,
        10,
        5,
    );
    // What is no count was not stated.
    for nothing in ["-5", "\"x\"", "null", "[]", "{}"] {
        let usage = format!(r#"{{"prompt_tokens":10,"completion_tokens":{nothing}}}"#);
        let read = sample::read::<ChatUsage>(usage.as_bytes(), 0).map(ResponsesUsage::from);
        let read = read.unwrap().classes(Operation::Generate);
        assert_eq!((read[Class::Input], read.quality), (10, Quality::Estimated), "{usage}");
    }
}
