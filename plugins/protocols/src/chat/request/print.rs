//! Requests for a server of Chat Completions.
//!
//! Left out, because they mean nothing there: thoughts of earlier turns, whether a tool failed (its text says so), and
//! cache marks (OpenAI caches what repeats by itself).

use crate::id;
use crate::json::{Raw, Text, Writer};
use crate::model::{
    Allowed, Body, Call, Format, Outcome, Part, Refused, Request, Role, Schema, Source, Tool, ToolChoice,
    Turn,
};
use crate::openai_terms;
use crate::strict;
use crate::target::Target;

/// The longest id of a call that is accepted there.
const CALL_ID_MAX: usize = 40;

/// Prints a request.
///
/// # Errors
/// What cannot be expressed in this protocol.
pub(crate) fn print(request: &Request<'_>, target: &Target<'_>) -> Result<String, Refused> {
    request.leave(
        request.sampling.top_k.as_ref().filter(|_| target.abilities.sampling),
        "OpenAI has no top-k",
    )?;
    let mut writer = Writer::default();
    writer.object(|w| {
        w.field("model", target.model);
        w.array_at("messages", |w| request.turns.iter().try_for_each(|turn| print_turn(w, turn, target)))?;
        if request.stream {
            w.field("stream", true);
            // Whether or not the client asks for it: without it the stream could not be billed.
            w.object_at("stream_options", |w| w.field("include_usage", true));
        }
        print_tools(w, request)?;
        if let Some(format) = &request.format {
            w.object_at("response_format", |w| print_format(w, &format.value, strict::of_format(request)));
        }
        print_sampling(w, request, target)?;
        openai_terms::print_effort(w, "reasoning_effort", request, target);
        w.optional("verbosity", request.verbosity.as_ref());
        openai_terms::print_options(w, request, target);
        Ok(())
    })?;
    Ok(writer.take())
}

fn print_sampling(w: &mut Writer, request: &Request<'_>, target: &Target<'_>) -> Result<(), Refused> {
    let sampling = &request.sampling;
    w.optional("max_completion_tokens", sampling.max_tokens.as_ref());
    if target.abilities.sampling {
        w.optional("frequency_penalty", sampling.frequency_penalty.as_ref());
        w.optional("presence_penalty", sampling.presence_penalty.as_ref());
    }
    w.optional("seed", sampling.seed.as_ref());
    w.optional("n", sampling.candidates.as_ref());
    if let Some(stop) = &sampling.stop {
        if stop.value.len() > 4 {
            return Err(stop.refuse("OpenAI takes at most 4 stop sequences"));
        }
        w.array_at("stop", |w| stop.value.iter().for_each(|stop| w.value(stop)));
    }
    if let Some(logprobs) = &sampling.logprobs {
        w.field("logprobs", true);
        w.field("top_logprobs", logprobs.value);
    }
    Ok(())
}

fn print_tools(w: &mut Writer, request: &Request<'_>) -> Result<(), Refused> {
    if !request.tools.is_empty() {
        w.array_at("tools", |w| request.tools.iter().for_each(|tool| print_tool(w, tool)));
    }
    let Some(choice) = &request.tool_choice else { return Ok(()) };
    if request.tools.is_empty() {
        return match choice.value {
            ToolChoice::Auto | ToolChoice::None => Ok(()),
            _ => Err(choice.refuse("needs tools to choose from")),
        };
    }
    match &choice.value {
        ToolChoice::Auto => w.field("tool_choice", "auto"),
        ToolChoice::None => w.field("tool_choice", "none"),
        ToolChoice::Any => w.field("tool_choice", "required"),
        ToolChoice::One(name) => w.object_at("tool_choice", |w| print_function_name(w, name)),
        ToolChoice::Only(allowed) => w.object_at("tool_choice", |w| print_allowed(w, allowed)),
    }
    Ok(())
}

fn print_tool(w: &mut Writer, tool: &Tool<'_>) {
    w.object(|w| {
        w.field("type", "function");
        w.object_at("function", |w| {
            w.field("name", &tool.name);
            w.optional("description", tool.description.as_ref());
            let schema = tool.schema.as_deref().map(openai_terms::object_schema);
            w.optional("parameters", schema.as_deref().map(Raw));
            w.optional("strict", tool.strict);
        });
    });
}

fn print_function_name(w: &mut Writer, name: &str) {
    w.field("type", "function");
    w.object_at("function", |w| w.field("name", name));
}

fn print_allowed(w: &mut Writer, allowed: &Allowed<'_>) {
    w.field("type", "allowed_tools");
    w.object_at("allowed_tools", |w| {
        w.field("mode", if allowed.must { "required" } else { "auto" });
        w.array_at("tools", |w| {
            allowed.names.iter().for_each(|name| w.object(|w| print_function_name(w, name)));
        });
    });
}

fn print_format(w: &mut Writer, format: &Format<'_>, strict: Option<bool>) {
    match format {
        Format::Object => w.field("type", "json_object"),
        Format::Schema(schema) => {
            w.field("type", "json_schema");
            w.object_at("json_schema", |w| print_schema(w, schema, strict));
        }
    }
}

fn print_schema(w: &mut Writer, schema: &Schema<'_>, strict: Option<bool>) {
    let name = schema.name.as_ref().map_or(Text::escaped("answer"), Text::borrowed);
    w.field("name", name);
    w.optional("description", schema.description.as_ref());
    w.optional("schema", schema.schema.as_deref().map(Raw));
    w.optional("strict", strict);
}

fn print_turn(w: &mut Writer, turn: &Turn<'_>, target: &Target<'_>) -> Result<(), Refused> {
    match turn.role {
        Role::System => print_message(w, "system", &turn.parts.iter().collect::<Vec<_>>()),
        Role::User => print_user(w, &turn.parts),
        Role::Assistant => print_answer(w, &turn.parts, target),
    }
}

/// One message per answer of a tool, then one for the rest and for the images of the tools: tool messages hold text
/// only.
fn print_user(w: &mut Writer, parts: &[Part<'_>]) -> Result<(), Refused> {
    let mut rest = Vec::new();
    for part in parts {
        match &part.body {
            Body::Outcome(outcome) => print_outcome(w, outcome, &mut rest)?,
            _ => rest.push(part),
        }
    }
    if rest.is_empty() { Ok(()) } else { print_message(w, "user", &rest) }
}

fn print_outcome<'s, 'a>(
    w: &mut Writer,
    outcome: &'s Outcome<'a>,
    rest: &mut Vec<&'s Part<'a>>,
) -> Result<(), Refused> {
    let (texts, others): (Vec<_>, Vec<_>) =
        outcome.parts.iter().partition(|part| matches!(part.body, Body::Text { .. }));
    let attached = !others.is_empty();
    rest.extend(others);
    w.object(|w| {
        w.field("role", "tool");
        w.field("tool_call_id", id::fitting(&outcome.id, CALL_ID_MAX));
        match texts.as_slice() {
            [] if attached => w.field("content", "(attached to the next message)"),
            [] => w.field("content", ""),
            texts => return print_content(w, texts),
        }
        Ok(())
    })
}

fn print_message(w: &mut Writer, role: &str, parts: &[&Part<'_>]) -> Result<(), Refused> {
    w.object(|w| {
        w.field("role", role);
        print_content(w, parts)
    })
}

/// A single text as a string, which every server takes.
fn print_content(w: &mut Writer, parts: &[&Part<'_>]) -> Result<(), Refused> {
    if let [Part { body: Body::Text { text, .. } | Body::File { source: Source::Plain(text), .. }, .. }] =
        parts
    {
        w.field("content", text);
        return Ok(());
    }
    w.array_at("content", |w| parts.iter().try_for_each(|part| print_part(w, part)))
}

fn print_part(w: &mut Writer, part: &Part<'_>) -> Result<(), Refused> {
    w.object(|w| match &part.body {
        Body::Text { text, .. } | Body::File { source: Source::Plain(text), .. } => {
            w.field("type", "text");
            w.field("text", text);
            Ok(())
        }
        Body::Image { source, detail } => {
            w.field("type", "image_url");
            let url = openai_terms::url(source)
                .ok_or_else(|| part.refuse("Chat Completions takes images by URL or base64 only"))?;
            w.object_at("image_url", |w| {
                w.field("url", url);
                w.optional("detail", detail.as_ref());
            });
            Ok(())
        }
        Body::File { source, name } => {
            w.field("type", "file");
            w.object_at("file", |w| print_file(w, part, source, name.as_ref()))
        }
        Body::Audio { media, data } => {
            w.field("type", "input_audio");
            w.object_at("input_audio", |w| {
                w.field("data", data);
                w.field(
                    "format",
                    audio_format(media).ok_or_else(|| part.refuse("OpenAI takes audio as wav or mp3"))?,
                );
                Ok(())
            })
        }
        _ => Err(part.refuse("this kind of part cannot stand here in Chat Completions")),
    })
}

fn print_file(
    w: &mut Writer,
    part: &Part<'_>,
    source: &Source<'_>,
    name: Option<&Text<'_>>,
) -> Result<(), Refused> {
    if let Some(id) = openai_terms::file_id(source) {
        w.field("file_id", id);
        return Ok(());
    }
    let data = openai_terms::url(source).filter(|_| matches!(source, Source::Base64 { .. }));
    let data = data.ok_or_else(|| part.refuse("Chat Completions takes files as base64 only"))?;
    w.field("filename", name.map_or(Text::escaped("document.pdf"), Text::borrowed));
    w.field("file_data", data);
    Ok(())
}

/// OpenAI's word for a media type.
fn audio_format(media: &str) -> Option<&'static str> {
    match media {
        "audio/wav" | "audio/x-wav" | "audio/wave" => Some("wav"),
        "audio/mp3" | "audio/mpeg" => Some("mp3"),
        _ => None,
    }
}

/// What the model said before, as one message, with its thoughts where the server wants them back.
fn print_answer(w: &mut Writer, parts: &[Part<'_>], target: &Target<'_>) -> Result<(), Refused> {
    let (mut text, mut thoughts): (Option<Text<'_>>, Option<Text<'_>>) = (None, None);
    let mut refusal = None;
    let mut calls = Vec::new();
    for part in parts {
        match &part.body {
            Body::Text { text: piece, .. } => extend(&mut text, piece),
            Body::Thinking { text: piece, .. } => extend(&mut thoughts, piece),
            Body::Refusal(words) => refusal = Some(words),
            Body::Call(call) => calls.push(call),
            _ => return Err(part.refuse("OpenAI takes only text and calls from the model's earlier turns")),
        }
    }
    if text.is_none() && refusal.is_none() && calls.is_empty() {
        return Ok(());
    }
    w.object(|w| {
        w.field("role", "assistant");
        match text {
            Some(text) => w.field("content", text),
            None => w.null("content"),
        }
        w.optional("refusal", refusal);
        w.optional("reasoning_content", thoughts_back(thoughts, !calls.is_empty(), target));
        if !calls.is_empty() {
            w.array_at("tool_calls", |w| calls.iter().for_each(|call| print_call(w, call)));
        }
    });
    Ok(())
}

fn extend<'s>(whole: &mut Option<Text<'s>>, piece: &'s Text<'_>) {
    match whole {
        Some(whole) => whole.append(piece),
        None => *whole = Some(piece.borrowed()),
    }
}

/// Servers of DeepSeek and Kimi refuse calls in a history without the thoughts before them, empty or not
/// (<https://api-docs.deepseek.com/guides/thinking_mode>, read 2026-11); OpenAI knows no such member.
fn thoughts_back<'t>(thoughts: Option<Text<'t>>, calls: bool, target: &Target<'_>) -> Option<Text<'t>> {
    if !target.abilities.thoughts_back {
        return None;
    }
    let model = target.model.to_ascii_lowercase();
    let needs = calls && ["deepseek", "kimi"].iter().any(|family| model.contains(family));
    thoughts.filter(|thoughts| !thoughts.is_empty()).or_else(|| needs.then_some(Text::EMPTY))
}

fn print_call(w: &mut Writer, call: &Call<'_>) {
    w.object(|w| {
        w.field("id", id::fitting(&call.id, CALL_ID_MAX));
        w.field("type", "function");
        w.object_at("function", |w| {
            w.field("name", &call.name);
            w.field("arguments", call.arguments.encoded());
        });
    });
}
