//! What each target does with its input: no panic, whatever the bytes, and what must hold beyond that.
//!
//! The first byte or two of an input choose between protocols, sizes and options; the rest is the untrusted input.

use serde::de::IgnoredAny;
use tollgate_core::eventstream::{Decoder, FrameError, Message, encode};
use tollgate_core::json::{self as members, MAX_DEPTH};
use tollgate_core::sse::Framer;
use tollgate_core::text::{self, Scope};
pub use tollgate_plugin::types::Protocol;
use tollgate_plugin::types::{Operation, Side, Usage};
use tollgate_protocols::target::{Abilities, Context, Target};
use tollgate_protocols::translate::{Failure, Pair};
use tollgate_protocols::{anthropic, gemini, openai, sample};

const PROTOCOLS: [Protocol; 4] =
    [Protocol::OpenaiChat, Protocol::OpenaiResponses, Protocol::AnthropicMessages, Protocol::Gemini];

/// One of the protocols that are not `protocol`.
fn other(protocol: Protocol, choice: u8) -> Protocol {
    let others = PROTOCOLS.into_iter().filter(|other| *other != protocol);
    others.cycle().nth(usize::from(choice % 3)).unwrap_or(protocol)
}

/// A target with this byte's options.
fn target(choice: u8) -> Target<'static> {
    let bit = |at: u8| choice & (1 << at) != 0;
    let abilities = Abilities {
        sampling: bit(2),
        thinking_budget: bit(3),
        system_turns: bit(4),
        reasoning: bit(5),
        thoughts_back: bit(1),
    };
    Target {
        abilities,
        streaming: bit(6),
        json_array: bit(7),
        request_id: "r1",
        now_s: 7,
        ..Target::new("m")
    }
}

/// Whether this is one JSON document, as far as a reader that goes 128 levels deep can tell. It may contain half of a
/// surrogate pair: some clients send that, and the provider decides what it means.
fn is_json(bytes: &[u8]) -> bool {
    match serde_json::from_slice::<IgnoredAny>(bytes) {
        Ok(_) => true,
        Err(error) => error.to_string().contains("recursion limit"),
    }
}

/// The text in place of an answer must be an error in JSON.
fn check_failure(failure: &Failure) {
    assert!((400..=599).contains(&failure.status), "{}", failure.status);
    assert!(is_json(&failure.body), "{}", String::from_utf8_lossy(&failure.body));
}

/// A client's request: it is translated into JSON, or refused by an error in JSON; and what is kept for its answer is
/// kept whole.
///
/// # Panics
/// Where that does not hold.
pub fn request(client: Protocol, input: &[u8]) {
    let Some((&choice, body)) = input.split_first() else { return };
    let (pair, target) = (Pair { client, upstream: other(client, choice) }, target(choice));
    match pair.request(body, &target) {
        Ok(translated) => {
            assert!(is_json(&translated.body), "{}", String::from_utf8_lossy(&translated.body));
            let kept = Context::from_json(&translated.context.to_json());
            assert_eq!(kept.as_ref(), Ok(&translated.context));
            // The other side's parser reads what this side prints, even if only to refuse it.
            let back = Pair { client: pair.upstream, upstream: client };
            let _said = back.request(&translated.body, &target);
        }
        Err(refused) => check_failure(&pair.refuse(&refused, "r1")),
    }
}

/// What is known about a request when its answer comes.
fn context(client: Protocol, json_array: bool) -> Context {
    let body = match client {
        Protocol::OpenaiChat => {
            r#"{"messages":[{"role":"user","content":"x"}],"stream":true,"stream_options":{"include_usage":true}}"#
        }
        Protocol::OpenaiResponses => r#"{"model":"m","input":"x"}"#,
        Protocol::AnthropicMessages => r#"{"max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#,
        Protocol::Gemini => r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}]}"#,
    };
    let target = Target { json_array, request_id: "r1", now_s: 7, ..Target::new("m") };
    let pair = Pair { client, upstream: other(client, 0) };
    pair.request(body.as_bytes(), &target).expect("a request that can be said anywhere").context
}

/// An upstream's stream: however it is cut, the output is the same, and consists of events of JSON.
///
/// # Panics
/// Where that does not hold.
pub fn stream(upstream: Protocol, input: &[u8]) {
    let [choice, cut, body @ ..] = input else { return };
    let pair = Pair { client: other(upstream, *choice), upstream };
    let json_array = choice & 128 != 0 && pair.client == Protocol::Gemini;
    let context = context(pair.client, json_array);
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut stream = pair.stream(&context);
        let mut out: Vec<u8> = pieces.flat_map(|piece| stream.feed(piece)).collect();
        out.extend(stream.finish());
        out
    };
    let whole = run(&mut std::iter::once(body));
    assert_eq!(run(&mut body.chunks(usize::from(*cut).max(1))), whole);
    if json_array {
        assert!(is_json(&whole), "{}", String::from_utf8_lossy(&whole));
    } else {
        check_events(&whole);
    }
}

fn check_events(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    for event in text.split("\n\n").filter(|event| !event.is_empty()) {
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event with data");
        assert!(data == "[DONE]" || is_json(data.as_bytes()), "{event}");
    }
}

/// An upstream's whole answer, or its failure: translated into JSON or refused, and never more tokens than it states.
///
/// # Panics
/// Where that does not hold.
pub fn answer(input: &[u8]) {
    let [choice, status, body @ ..] = input else { return };
    let upstream = PROTOCOLS[usize::from(choice % 4)];
    let pair = Pair { client: other(upstream, choice / 4), upstream };
    if let Ok(translated) = pair.response(body, &context(pair.client, false)) {
        assert!(is_json(&translated), "{}", String::from_utf8_lossy(&translated));
    }
    let status = 400 + u16::from(*status) % 200;
    check_failure(&pair.error(status, body, "r1"));
    let _classes = [
        openai::classify(status, None, body),
        anthropic::classify(status, None, "", body),
        gemini::classify(status, None, body),
    ];
    check_usage(body);
}

fn check_usage(sample: &[u8]) {
    let total = |usage: &Usage| usage.tokens_of(Side::Prompt);
    let stated = |names: &[&str]| {
        let value: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(sample).ok()?;
        names
            .iter()
            // Of counts in odd forms (`7.0`, `"7"`) this knows less than what is tried.
            .map(|name| {
                value.get(*name).filter(|tokens| !tokens.is_null()).map_or(Some(0), serde_json::Value::as_u64)
            })
            .try_fold(0_u64, |sum, tokens| Some(sum.saturating_add(tokens?)))
    };
    if let Some(usage) = sample::read::<openai::ResponsesUsage>(sample, 0)
        && let Some(input) = stated(&["input_tokens"])
        && !sample.contains(&b'\n')
    {
        assert_eq!(total(&usage.classes(Operation::Generate)), input);
    }
    if let Some(usage) = sample::read::<gemini::UsageMetadata>(sample, 0)
        && let Some(prompt) = stated(&["promptTokenCount", "toolUsePromptTokenCount"])
        && !sample.contains(&b'\n')
    {
        assert!(total(&usage.classes(Operation::Generate)) <= prompt);
    }
    if let Some(usage) = sample::read::<anthropic::MessageUsage>(sample, 0) {
        let _classes = usage.classes(true);
    }
}

/// An event stream: every byte is in one frame or left at the end, however it is cut.
///
/// # Panics
/// Where that does not hold.
pub fn sse(input: &[u8]) {
    let Some((&cut, body)) = input.split_first() else { return };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut framer = Framer::new(1 << 20);
        let mut frames: Vec<Vec<u8>> = Vec::new();
        for piece in pieces {
            framer.push(piece, |frame| frames.push(frame.bytes().to_vec())).expect("shorter than the limit");
        }
        frames.push(framer.finish().unwrap_or_default().to_vec());
        frames
    };
    let whole = run(&mut std::iter::once(body));
    assert_eq!(whole.concat(), body);
    let pieces = run(&mut body.chunks(usize::from(cut).max(1)));
    assert_eq!(pieces, whole);
    for frame in &whole {
        let _data = tollgate_core::sse::data(frame);
    }
    // A limit is kept, however the bytes come.
    let mut framer = Framer::new(64);
    let mut pieces = body.chunks(usize::from(cut).max(1));
    let _fits = pieces.all(|piece| framer.push(piece, |frame| assert!(frame.bytes().len() <= 64)).is_ok());
}

/// Binary messages: however they are cut, the same messages come out, and what is written can be read again.
///
/// # Panics
/// Where that does not hold.
pub fn event_stream(input: &[u8]) {
    let [choice, cut, body @ ..] = input else { return };
    // A fuzzer does not guess checksums, so every other input gets the right ones.
    let body = if choice & 1 == 0 { body.to_vec() } else { mended(body) };
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>| -> (Vec<Message>, Result<(), FrameError>) {
        let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
        for piece in pieces {
            decoder.feed(piece);
            loop {
                match decoder.next_message() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => return (messages, Err(error)),
                }
            }
        }
        (messages, Ok(()))
    };
    let whole = run(&mut std::iter::once(body.as_slice()));
    assert_eq!(run(&mut body.chunks(usize::from(*cut).max(1))), whole);
    for message in &whole.0 {
        assert_eq!(run(&mut std::iter::once(encode(message).as_slice())), (vec![message.clone()], Ok(())));
    }
}

/// Messages of these bytes, with checksums that fit.
fn mended(mut rest: &[u8]) -> Vec<u8> {
    let mut messages = Vec::new();
    while let [headers, payload, tail @ ..] = rest {
        let (headers, tail) = tail.split_at(usize::from(*headers).min(tail.len()));
        let (payload, tail) = tail.split_at(usize::from(*payload).min(tail.len()));
        // Lengths of 255 at most.
        let total = u32::try_from(16 + headers.len() + payload.len()).unwrap_or(u32::MAX);
        let mut message = total.to_be_bytes().to_vec();
        message.extend(u32::try_from(headers.len()).unwrap_or(u32::MAX).to_be_bytes());
        message.extend(crc32fast::hash(&message).to_be_bytes());
        message.extend_from_slice(headers);
        message.extend_from_slice(payload);
        message.extend(crc32fast::hash(&message).to_be_bytes());
        messages.extend(message);
        rest = tail;
    }
    messages
}

/// A body as the gateway itself reads it: the members that a parser finds are those that it finds, and a masked body is
/// still JSON.
///
/// # Panics
/// Where that does not hold.
pub fn json(body: &[u8]) {
    let mut names = Vec::new();
    let scanned = members::members(body, |name, _| names.push(String::from_utf8_lossy(name).into_owned()));
    if let Ok(serde_json::Value::Object(parsed)) = serde_json::from_slice(body) {
        // Too deep nesting is refused, and a lone surrogate is not text to the parser at all.
        if scanned.is_ok() {
            names.sort_unstable();
            names.dedup();
            let mut expected: Vec<String> = parsed.keys().cloned().collect();
            expected.sort_unstable();
            assert_eq!(names, expected);
        } else {
            assert!(depth(body) > MAX_DEPTH, "{scanned:?}");
        }
    }
    for scope in [Scope::Request, Scope::Event] {
        if let Ok(extract) = text::extract(body, scope) {
            let all = 0..extract.text.len();
            let mut masked = body.to_vec();
            for (range, stars) in text::mask(body, &extract, &[all]).into_iter().rev() {
                masked.splice(range, stars);
            }
            assert!(is_json(&masked) || !is_json(body), "{}", String::from_utf8_lossy(&masked));
        }
    }
}

/// How deep brackets go, those of strings included: an upper bound.
fn depth(body: &[u8]) -> usize {
    let mut depth = (0_usize, 0_usize);
    for byte in body {
        match byte {
            b'[' | b'{' => depth.0 += 1,
            b']' | b'}' => depth.0 = depth.0.saturating_sub(1),
            _ => {}
        }
        depth.1 = depth.1.max(depth.0);
    }
    depth.1
}
