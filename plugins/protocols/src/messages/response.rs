//! A `message`: what `POST /v1/messages` answers.

use crate::anthropic::MessageUsage;
use crate::json::{Node, Object, Raw, Text, Writer};
use crate::messages::error;
use crate::model::{
    Arguments, Body, Call, Candidate, Citation, Finish, Part, Refused, Response, Signature, Tier,
};
use crate::target::Context;
use tollgate_plugin::types::{Class, Protocol, Side, Usage};

/// Parses an answer. Kinds of blocks that only a request for Anthropic's own tools brings are left out.
///
/// # Errors
/// It is not an answer of this protocol, or it says that it failed.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Response<'a>, Refused> {
    let message = document.object()?;
    let mut parts = Vec::new();
    let content = message.take("content");
    let usage = message.take("usage");
    if let Some(content) = content {
        content.each(|node| parts.extend(block(&node).map(Part::from)));
    } else if let Some(words) = error::told(document) {
        return Err(document.refuse(words.into_owned()));
    } else if usage.is_none() && !message.take("type").is_some_and(|kind| kind.is("message")) {
        return Err(message.lacks("content"));
    }
    let finish = finish(&message);
    parts.extend(explanation(&message));
    Ok(Response {
        id: message.take("id").map(|id| id.words()),
        model: message.take("model").map(|model| model.words()),
        created: None,
        candidates: vec![Candidate { parts, finish, logprobs: Vec::new() }],
        usage: usage.and_then(|usage| usage.shaped::<MessageUsage>()).unwrap_or_default().classes(true),
        tier: usage.and_then(|usage| tier(&usage)),
    })
}

/// A block of content. A text may stand for one, and one without a type is what it holds.
fn block<'a>(node: &Node<'a, '_>) -> Option<Body<'a>> {
    let Some(block) = node.members() else { return Some(Body::text(node.words())) };
    let text = |name| block.take(name).map_or(Text::EMPTY, |text| text.all_text());
    Some(match &*kind(&block).decode() {
        "text" => {
            let mut citations = Vec::new();
            if let Some(list) = block.take("citations") {
                list.each(|node| citations.extend(citation(&node)));
            }
            Body::Text { text: text("text"), citations }
        }
        "thinking" => {
            let signature = Some(text("signature")).filter(|signature| !signature.is_empty());
            let open = |value| Signature::open(Protocol::AnthropicMessages, value);
            Body::Thinking { text: text("thinking"), signature: signature.map(open) }
        }
        "redacted_thinking" => {
            let mut signature = Signature::open(Protocol::AnthropicMessages, text("data"));
            signature.redacted = true;
            Body::Thinking { text: Text::EMPTY, signature: Some(signature) }
        }
        "tool_use" => Body::Call(Call {
            id: text("id").into_decoded(),
            name: text("name").into_decoded(),
            arguments: block.take("input").map_or(Arguments::Object(Raw("{}")), |input| arguments(&input)),
            signature: None,
        }),
        _ => return None,
    })
}

/// What a block or a delta is: its type or, where it says none, what it holds.
pub(in crate::messages) fn kind<'a>(object: &Object<'a, '_>) -> Text<'a> {
    let holds = |name: &str| object.has(name);
    match object.take("type") {
        Some(kind) => kind.words(),
        None if holds("input") => Text::escaped("tool_use"),
        None if holds("thinking") => Text::escaped("thinking"),
        None if holds("text") => Text::escaped("text"),
        None => Text::EMPTY,
    }
}

/// The input of a call: an object or, at some relays, a string that holds it.
pub(in crate::messages) fn arguments<'a>(input: &Node<'a, '_>) -> Arguments<'a> {
    match input.text() {
        Ok(text) => Arguments::Encoded(text),
        Err(_) if input.is_object() => Arguments::Object(input.raw()),
        Err(_) => Arguments::Encoded(Text::plain(input.raw().0)),
    }
}

/// A source that has an address.
pub(in crate::messages) fn citation<'a>(node: &Node<'a, '_>) -> Option<Citation<'a>> {
    let source = node.members()?;
    let title = source.take("title").map(|title| title.words());
    Some(Citation { url: source.take("url")?.words(), title, start: None, end: None })
}

/// Takes the reason for the end; an answer without one, or with an unknown one, ended well.
pub(in crate::messages) fn finish<'a>(object: &Object<'a, '_>) -> Finish<'a> {
    let sequence = object.take("stop_sequence").map(|sequence| sequence.words());
    let reason = object.take("stop_reason").map_or(Text::EMPTY, |reason| reason.words());
    match &*reason.decode() {
        "stop_sequence" => Finish::StopSequence(sequence),
        "max_tokens" | "compaction" => Finish::Length,
        "model_context_window_exceeded" => Finish::ContextFull,
        "tool_use" => Finish::Calls,
        "pause_turn" => Finish::Pause,
        "refusal" => Finish::Filtered,
        _ => Finish::Stop,
    }
}

/// Why the provider would not say more, where it explains.
pub(in crate::messages) fn explanation<'a>(object: &Object<'a, '_>) -> Option<Part<'a>> {
    let text = object.take("stop_details")?.members()?.take("explanation")?.words();
    Some(Part::from(Body::Refusal(text)))
}

pub(in crate::messages) fn tier(usage: &Node<'_, '_>) -> Option<Tier> {
    match &*usage.object().ok()?.take("service_tier")?.string().ok()? {
        "standard" => Some(Tier::Standard),
        "priority" => Some(Tier::Priority),
        "batch" => Some(Tier::Batch),
        _ => None,
    }
}

/// Prints an answer; of several, the first one: no client of this protocol can ask for more.
pub(crate) fn print(response: Response<'_>, context: &Context) -> String {
    let mut writer = Writer::default();
    let candidate = response.candidates.into_iter().next();
    writer.object(|w| {
        w.field("id", context.answer_id("msg", response.id));
        w.field("type", "message");
        w.field("role", "assistant");
        w.field("model", context.answer_model(response.model));
        let (parts, finish) =
            candidate.map_or_else(|| (Vec::new(), Finish::Filtered), |one| (one.parts, one.finish));
        w.array_at("content", |w| parts.iter().for_each(|part| print_part(w, part)));
        let calls = parts.iter().any(|part| matches!(part.body, Body::Call(_)));
        print_finish(w, &finish, calls);
        w.object_at("usage", |w| print_usage(w, &response.usage, response.tier));
    });
    writer.take()
}

fn print_part(w: &mut Writer, part: &Part<'_>) {
    match &part.body {
        Body::Text { text, .. } | Body::Refusal(text) if text.is_empty() => {}
        Body::Text { text, citations } => w.object(|w| {
            w.field("type", "text");
            w.field("text", text);
            if !citations.is_empty() {
                w.array_at("citations", |w| {
                    citations.iter().for_each(|citation| print_citation(w, citation));
                });
            }
        }),
        Body::Refusal(text) => w.object(|w| {
            w.field("type", "text");
            w.field("text", text);
        }),
        Body::Call(call) => print_call(w, call),
        Body::Thinking { text, signature } => print_thinking(w, text, signature.as_ref()),
        // Models do not answer calls, and this protocol cannot carry images or sounds that they make.
        Body::Image { .. } | Body::File { .. } | Body::Audio { .. } | Body::Outcome(_) => {}
    }
}

/// A source on the web, as Anthropic's own search states it.
pub(in crate::messages) fn print_citation(w: &mut Writer, citation: &Citation<'_>) {
    w.object(|w| {
        w.field("type", "web_search_result_location");
        w.field("url", &citation.url);
        w.field("title", citation.title.as_ref().unwrap_or(&Text::EMPTY));
        w.field("cited_text", "");
        w.field("encrypted_index", "");
    });
}

/// What Gemini wants back with a call travels in a thought before it.
fn print_call(w: &mut Writer, call: &Call<'_>) {
    if let Some(signature) = &call.signature {
        print_thinking(w, &Text::EMPTY, Some(signature));
    }
    w.object(|w| {
        w.field("type", "tool_use");
        w.field("id", crate::id::fitting(&call.id, usize::MAX));
        w.field("name", &call.name);
        w.field("input", Raw(&call.arguments.object_or_wrapped()));
    });
}

fn print_thinking(w: &mut Writer, text: &Text<'_>, signature: Option<&Signature<'_>>) {
    w.object(|w| match signature {
        Some(signature) if signature.redacted => {
            w.field("type", "redacted_thinking");
            w.field("data", signature.sealed(Protocol::AnthropicMessages));
        }
        _ => {
            w.field("type", "thinking");
            w.field("thinking", text);
            let sealed = signature.map(|signature| signature.sealed(Protocol::AnthropicMessages));
            w.field("signature", sealed.unwrap_or(Text::EMPTY));
        }
    });
}

/// `calls` tells whether the answer has any: they have to be answered, whatever reason the upstream gives, and where
/// there is none nobody can answer one.
pub(in crate::messages) fn print_finish(w: &mut Writer, finish: &Finish<'_>, calls: bool) {
    let reason = match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Calls if calls => "tool_use",
        Finish::Stop | Finish::Calls => "end_turn",
        Finish::StopSequence(Some(_)) => "stop_sequence",
        Finish::StopSequence(None) => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ContextFull => "model_context_window_exceeded",
        Finish::Pause => "pause_turn",
        Finish::Filtered => "refusal",
    };
    w.field("stop_reason", reason);
    match finish {
        Finish::StopSequence(Some(text)) if !calls => w.field("stop_sequence", text),
        _ => w.null("stop_sequence"),
    }
}

/// The counts, which are disjoint here except for thoughts. A count that was not stated is 0, because there must be a
/// number.
pub(in crate::messages) fn print_usage(w: &mut Writer, usage: &Usage, tier: Option<Tier>) {
    let cached = [Class::CacheRead, Class::CacheWriteShort, Class::CacheWriteLong].map(|class| usage[class]);
    let cached = cached.into_iter().fold(0, u64::saturating_add);
    w.field("input_tokens", usage.tokens_of(Side::Prompt).saturating_sub(cached));
    w.field(
        "cache_creation_input_tokens",
        usage[Class::CacheWriteShort].saturating_add(usage[Class::CacheWriteLong]),
    );
    w.field("cache_read_input_tokens", usage[Class::CacheRead]);
    w.object_at("cache_creation", |w| {
        w.field("ephemeral_5m_input_tokens", usage[Class::CacheWriteShort]);
        w.field("ephemeral_1h_input_tokens", usage[Class::CacheWriteLong]);
    });
    let output = usage.tokens_of(Side::Output);
    w.field("output_tokens", output);
    if usage[Class::Reasoning] > 0 {
        w.object_at("output_tokens_details", |w| w.field("thinking_tokens", usage[Class::Reasoning]));
    }
    let tier = tier.and_then(|tier| match tier {
        Tier::Auto => None,
        Tier::Standard | Tier::Flex => Some("standard"),
        Tier::Priority => Some("priority"),
        Tier::Batch => Some("batch"),
    });
    w.optional("service_tier", tier);
}
