//! Requests for a server of Responses, which is always asked to store nothing.
//!
//! Left out, because they mean nothing there: thoughts that OpenAI did not sign, whether a tool failed (its text says
//! so), and cache marks (OpenAI caches what repeats by itself).

use crate::id;
use crate::json::{Raw, Text, Writer};
use crate::model::{
    Allowed, Body, Effort, Format, Outcome, Part, Refused, Request, Role, Signature, Source, Tool,
    ToolChoice, Turn, refuse_given,
};
use crate::openai_terms;
use crate::strict;
use crate::target::Target;
use tollgate_plugin::types::Protocol;

/// The longest id of a call that is accepted there.
const CALL_ID_MAX: usize = 64;

/// Prints a request.
///
/// # Errors
/// What cannot be expressed in this protocol.
pub(crate) fn print(request: &Request<'_>, target: &Target<'_>) -> Result<String, Refused> {
    leave_foreign(request, target)?;
    let mut writer = Writer::default();
    writer.object(|w| {
        w.field("model", target.model);
        w.array_at("input", |w| request.turns.iter().try_for_each(|turn| print_turn(w, turn)))?;
        if request.stream {
            w.field("stream", true);
        }
        w.field("store", false);
        print_include(w, request, target);
        print_tools(w, request)?;
        print_text(w, request);
        print_reasoning(w, request, target);
        w.optional("max_output_tokens", request.sampling.max_tokens.as_ref());
        openai_terms::print_options(w, request, target);
        Ok(())
    })?;
    Ok(writer.take())
}

fn leave_foreign(request: &Request<'_>, target: &Target<'_>) -> Result<(), Refused> {
    let sampling = &request.sampling;
    if target.abilities.sampling {
        request.leave(sampling.top_k.as_ref(), "OpenAI has no top-k")?;
        request.leave(sampling.frequency_penalty.as_ref(), "the Responses API has no penalties")?;
        request.leave(sampling.presence_penalty.as_ref(), "the Responses API has no penalties")?;
    }
    request.leave(sampling.seed.as_ref(), "the Responses API has no seed")?;
    refuse_given(sampling.stop.as_ref(), "the Responses API has no stop sequences")?;
    refuse_given(sampling.candidates.as_ref(), "the Responses API gives one answer per request")
}

fn print_include(w: &mut Writer, request: &Request<'_>, target: &Target<'_>) {
    w.array_at("include", |w| {
        // Nothing is stored there, so the client has to carry the thoughts.
        if target.abilities.reasoning {
            w.value("reasoning.encrypted_content");
        }
        if request.sampling.logprobs.is_some() {
            w.value("message.output_text.logprobs");
        }
    });
    let top = request.sampling.logprobs.as_ref().map(|logprobs| logprobs.value);
    w.optional("top_logprobs", top.filter(|top| *top > 0));
}

fn print_reasoning(w: &mut Writer, request: &Request<'_>, target: &Target<'_>) {
    let effort = openai_terms::asked_effort(request, target);
    let visible = request.reasoning.visible == Some(true) && target.abilities.reasoning;
    if effort.is_none() && !visible {
        return;
    }
    w.object_at("reasoning", |w| {
        w.optional("effort", effort.map(Effort::name));
        w.optional("summary", visible.then_some("auto"));
    });
}

fn print_text(w: &mut Writer, request: &Request<'_>) {
    if request.format.is_none() && request.verbosity.is_none() {
        return;
    }
    w.object_at("text", |w| {
        if let Some(format) = &request.format {
            w.object_at("format", |w| print_format(w, &format.value, strict::of_format(request)));
        }
        w.optional("verbosity", request.verbosity.as_ref());
    });
}

fn print_format(w: &mut Writer, format: &Format<'_>, strict: Option<bool>) {
    let Format::Schema(schema) = format else {
        return w.field("type", "json_object");
    };
    w.field("type", "json_schema");
    w.field("name", schema.name.as_ref().map_or(Text::escaped("answer"), Text::borrowed));
    w.optional("description", schema.description.as_ref());
    w.field("schema", Raw(schema.schema.as_deref().unwrap_or("{}")));
    w.optional("strict", strict);
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
        ToolChoice::One(name) => w.object_at("tool_choice", |w| print_function(w, name)),
        ToolChoice::Only(allowed) => w.object_at("tool_choice", |w| print_allowed(w, allowed)),
    }
    Ok(())
}

/// Only there are schemas strict by default.
fn print_tool(w: &mut Writer, tool: &Tool<'_>) {
    w.object(|w| {
        print_function(w, &tool.name);
        w.optional("description", tool.description.as_ref());
        let schema = openai_terms::object_schema(tool.schema.as_deref().unwrap_or("{}"));
        w.field("parameters", Raw(&schema));
        w.field("strict", tool.strict.unwrap_or(false));
    });
}

fn print_function(w: &mut Writer, name: &str) {
    w.field("type", "function");
    w.field("name", name);
}

fn print_allowed(w: &mut Writer, allowed: &Allowed<'_>) {
    w.field("type", "allowed_tools");
    w.field("mode", if allowed.must { "required" } else { "auto" });
    w.array_at("tools", |w| {
        allowed.names.iter().for_each(|name| w.object(|w| print_function(w, name)));
    });
}

fn print_turn(w: &mut Writer, turn: &Turn<'_>) -> Result<(), Refused> {
    match turn.role {
        Role::System => print_message(w, "system", &turn.parts.iter().collect::<Vec<_>>()),
        Role::User => print_user(w, &turn.parts),
        Role::Assistant => turn.parts.iter().try_for_each(|part| print_answer(w, part)),
    }
}

fn print_user(w: &mut Writer, parts: &[Part<'_>]) -> Result<(), Refused> {
    let mut rest = Vec::new();
    for part in parts {
        match &part.body {
            Body::Outcome(outcome) => print_outcome(w, outcome)?,
            _ => rest.push(part),
        }
    }
    if rest.is_empty() { Ok(()) } else { print_message(w, "user", &rest) }
}

fn print_message(w: &mut Writer, role: &str, parts: &[&Part<'_>]) -> Result<(), Refused> {
    w.object(|w| {
        w.field("role", role);
        print_content(w, "content", parts)
    })
}

fn print_content(w: &mut Writer, name: &str, parts: &[&Part<'_>]) -> Result<(), Refused> {
    match parts {
        [] => w.field(name, ""),
        [Part { body: Body::Text { text, .. } | Body::File { source: Source::Plain(text), .. }, .. }] => {
            w.field(name, text);
        }
        parts => return w.array_at(name, |w| parts.iter().try_for_each(|part| print_part(w, part))),
    }
    Ok(())
}

fn print_outcome(w: &mut Writer, outcome: &Outcome<'_>) -> Result<(), Refused> {
    w.object(|w| {
        w.field("type", "function_call_output");
        w.field("call_id", id::fitting(&outcome.id, CALL_ID_MAX));
        print_content(w, "output", &outcome.parts.iter().collect::<Vec<_>>())
    })
}

/// What the model thought, said or called: an item each.
fn print_answer(w: &mut Writer, part: &Part<'_>) -> Result<(), Refused> {
    match &part.body {
        Body::Text { text, .. } | Body::Refusal(text) => w.object(|w| {
            w.field("role", "assistant");
            w.field("content", text);
        }),
        Body::Call(call) => w.object(|w| {
            w.field("type", "function_call");
            w.field("call_id", id::fitting(&call.id, CALL_ID_MAX));
            w.field("name", &call.name);
            w.field("arguments", call.arguments.encoded());
        }),
        Body::Thinking { text, signature } => print_thought(w, text, signature.as_ref()),
        _ => return Err(part.refuse("OpenAI takes only text and calls from the model's earlier turns")),
    }
    Ok(())
}

fn print_thought(w: &mut Writer, text: &Text<'_>, signature: Option<&Signature<'_>>) {
    let Some(signature) = signature.filter(|signature| signature.origin == Protocol::OpenaiResponses) else {
        return;
    };
    w.object(|w| {
        w.field("type", "reasoning");
        w.array_at("summary", |w| {
            if !text.is_empty() {
                w.object(|w| {
                    w.field("type", "summary_text");
                    w.field("text", text);
                });
            }
        });
        w.field("encrypted_content", &signature.value);
    });
}

fn print_part(w: &mut Writer, part: &Part<'_>) -> Result<(), Refused> {
    w.object(|w| match &part.body {
        Body::Text { text, .. } | Body::File { source: Source::Plain(text), .. } => {
            w.field("type", "input_text");
            w.field("text", text);
            Ok(())
        }
        Body::Image { source, detail } => {
            w.field("type", "input_image");
            w.field("detail", detail.as_ref().map_or(Text::escaped("auto"), Text::borrowed));
            print_source(w, part, source, "image_url")
        }
        Body::File { source, name } => {
            w.field("type", "input_file");
            if matches!(source, Source::Base64 { .. }) {
                w.field("filename", name.as_ref().map_or(Text::escaped("document.pdf"), Text::borrowed));
                return print_source(w, part, source, "file_data");
            }
            print_source(w, part, source, "file_url")
        }
        Body::Audio { .. } => Err(part.refuse("the Responses API takes no audio")),
        _ => Err(part.refuse("this kind of part cannot stand here in the Responses API")),
    })
}

fn print_source(w: &mut Writer, part: &Part<'_>, source: &Source<'_>, name: &str) -> Result<(), Refused> {
    if let Some(id) = openai_terms::file_id(source) {
        w.field("file_id", id);
        return Ok(());
    }
    let url = openai_terms::url(source)
        .ok_or_else(|| part.refuse("OpenAI cannot reach what was uploaded to another provider"))?;
    w.field(name, url);
    Ok(())
}
