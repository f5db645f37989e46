//! Requests for a server of Messages.
//!
//! Left out, because they mean nothing there: thoughts without Anthropic's signature, how closely to look at an image,
//! and another provider's hint about which requests share a cache. Instructions in the middle of the conversation move
//! to its beginning, unless the model accepts them where they are.

use super::demands::{self, Thinking};
use crate::id;
use crate::json::{Raw, Text, Writer};
use crate::model::{
    Allowed, Body, CacheMark, Call, Effort, Format, Outcome, Part, Refused, Request, Role, Signature, Source,
    Tier, Tool, ToolChoice, Turn, refuse_given,
};
use crate::openai_terms;
use crate::target::Target;
use tollgate_plugin::types::Protocol;

/// The types of pictures that are accepted there.
const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Prints a request.
///
/// # Errors
/// What cannot be expressed in this protocol.
pub(crate) fn print(request: &mut Request<'_>, target: &Target<'_>) -> Result<String, Refused> {
    leave_foreign(request, target)?;
    let thinking = demands::meet(request, target)?;
    let system = if target.abilities.system_turns { Vec::new() } else { request.take_system() };
    request.merge_turns();
    let request = &*request;
    let mut writer = Writer::default();
    writer.object(|w| {
        w.field("model", target.model);
        print_limit(w, request, target);
        if !system.is_empty() {
            let parts = || system.iter().flat_map(|turn| &turn.parts);
            w.array_at("system", |w| parts().try_for_each(|part| print_part(w, part)))?;
        }
        w.array_at("messages", |w| request.turns.iter().try_for_each(|turn| print_turn(w, turn)))?;
        print_tools(w, request)?;
        print_reasoning(w, request, target, thinking);
        print_sampling(w, request, target)?;
        if let Some(user) = &request.user {
            w.object_at("metadata", |w| w.field("user_id", &user.value));
        }
        if let Some(tier) = &request.tier {
            match tier.value {
                // Committed capacity is used when there is any, without being asked for.
                Tier::Auto | Tier::Priority => w.field("service_tier", "auto"),
                Tier::Standard => w.field("service_tier", "standard_only"),
                Tier::Flex | Tier::Batch => return Err(tier.refuse("Anthropic has no such tier")),
            }
        }
        print_cache_mark(w, request.cache);
        if request.stream {
            w.field("stream", true);
        }
        Ok(())
    })?;
    Ok(writer.take())
}

fn leave_foreign(request: &Request<'_>, target: &Target<'_>) -> Result<(), Refused> {
    let sampling = &request.sampling;
    if target.abilities.sampling {
        request.leave(sampling.frequency_penalty.as_ref(), "Anthropic has no penalties")?;
        request.leave(sampling.presence_penalty.as_ref(), "Anthropic has no penalties")?;
    }
    request.leave(sampling.seed.as_ref(), "Anthropic has no seed")?;
    request.leave(request.verbosity.as_ref(), "Anthropic has no verbosity")?;
    request.mention(request.cache_key.as_ref());
    refuse_given(sampling.candidates.as_ref(), "Anthropic gives one answer per request")?;
    refuse_given(sampling.logprobs.as_ref(), "Anthropic does not tell how likely tokens are")
}

/// The limit is required. Tokens to think with count within it.
fn print_limit(w: &mut Writer, request: &Request<'_>, target: &Target<'_>) {
    match &request.sampling.max_tokens {
        Some(limit) => w.field("max_tokens", limit.value),
        None => w.field("max_tokens", target.max_output_tokens),
    }
}

fn print_sampling(w: &mut Writer, request: &Request<'_>, target: &Target<'_>) -> Result<(), Refused> {
    let sampling = &request.sampling;
    if target.abilities.sampling {
        w.optional("temperature", sampling.temperature.as_ref());
        w.optional("top_p", sampling.top_p.as_ref());
        w.optional("top_k", sampling.top_k.as_ref());
    }
    if let Some(stop) = &sampling.stop {
        if stop.value.iter().any(|stop| stop.decode().trim().is_empty()) {
            return Err(stop.refuse("Anthropic takes no blank stop sequence"));
        }
        w.array_at("stop_sequences", |w| stop.value.iter().for_each(|stop| w.value(stop)));
    }
    Ok(())
}

/// How hard to think, and the shape of the answer, which share an object.
fn print_reasoning(w: &mut Writer, request: &Request<'_>, target: &Target<'_>, thinking: Thinking) {
    match thinking {
        Thinking::Unsaid => {}
        Thinking::Off => print_thinking(w, "disabled", None),
        Thinking::Adaptive => print_thinking(w, "adaptive", None),
        Thinking::Tokens(tokens) => print_thinking(w, "enabled", Some(tokens)),
    }
    let effort = request.reasoning.as_effort().filter(|_| !target.abilities.thinking_budget);
    let effort = effort.filter(|effort| *effort != Effort::None).map(|effort| effort.max(Effort::Low));
    // JSON without a schema is asked for in words.
    let format = request.format.as_ref().and_then(|format| match &format.value {
        Format::Schema(schema) => schema.schema.as_deref().map(Raw),
        Format::Object => None,
    });
    if effort.is_some() || format.is_some() {
        w.object_at("output_config", |w| {
            w.optional("effort", effort.map(Effort::name));
            if let Some(schema) = format {
                w.object_at("format", |w| {
                    w.field("type", "json_schema");
                    w.field("schema", schema);
                });
            }
        });
    }
}

fn print_thinking(w: &mut Writer, kind: &str, budget: Option<u64>) {
    w.object_at("thinking", |w| {
        w.field("type", kind);
        w.optional("budget_tokens", budget);
    });
}

fn print_tools(w: &mut Writer, request: &Request<'_>) -> Result<(), Refused> {
    if request.tools.is_empty() {
        return print_no_tools(w, request);
    }
    let choice = request.tool_choice.as_ref();
    let only = choice.and_then(|choice| match &choice.value {
        ToolChoice::Only(allowed) => Some(allowed),
        _ => None,
    });
    let may = |tool: &&Tool<'_>| only.is_none_or(|only| only.names.contains(&tool.name));
    w.array_at("tools", |w| {
        request.tools.iter().filter(may).for_each(|tool| print_tool(w, tool));
    });
    let one_call = request.one_call.is_some();
    if choice.is_none() && !one_call {
        return Ok(());
    }
    w.object_at("tool_choice", |w| {
        match choice.map(|choice| &choice.value) {
            Some(ToolChoice::None) => return w.field("type", "none"),
            Some(ToolChoice::Any | ToolChoice::Only(Allowed { must: true, .. })) => w.field("type", "any"),
            Some(ToolChoice::One(name)) => {
                w.field("type", "tool");
                w.field("name", name);
            }
            _ => w.field("type", "auto"),
        }
        if one_call {
            w.field("disable_parallel_tool_use", true);
        }
    });
    Ok(())
}

/// A conversation with calls needs their tools declared, even where none may be called any more.
fn print_no_tools(w: &mut Writer, request: &Request<'_>) -> Result<(), Refused> {
    if let Some(choice) = &request.tool_choice
        && !matches!(choice.value, ToolChoice::Auto | ToolChoice::None)
    {
        return Err(choice.refuse("needs tools to choose from"));
    }
    let called = request.called();
    if !called.is_empty() {
        w.array_at("tools", |w| {
            for name in called {
                w.object(|w| {
                    w.field("name", name);
                    w.field("input_schema", Raw("{\"type\":\"object\",\"properties\":{}}"));
                });
            }
        });
        w.object_at("tool_choice", |w| w.field("type", "none"));
    }
    Ok(())
}

fn print_tool(w: &mut Writer, tool: &Tool<'_>) {
    w.object(|w| {
        w.field("name", &tool.name);
        w.optional("description", tool.description.as_ref());
        let schema = openai_terms::object_schema(tool.schema.as_deref().unwrap_or("{}"));
        w.field("input_schema", Raw(&schema));
        w.optional("strict", tool.strict.filter(|strict| *strict));
        print_cache_mark(w, tool.cache);
    });
}

fn print_cache_mark(w: &mut Writer, mark: Option<CacheMark>) {
    let Some(mark) = mark else { return };
    w.object_at("cache_control", |w| {
        w.field("type", "ephemeral");
        if mark == CacheMark::Long {
            w.field("ttl", "1h");
        }
    });
}

/// A turn without content is left out: it would be refused, and it says nothing.
fn print_turn(w: &mut Writer, turn: &Turn<'_>) -> Result<(), Refused> {
    if !turn.parts.iter().any(is_sent) {
        return Ok(());
    }
    w.object(|w| {
        let role = match turn.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        w.field("role", role);
        w.array_at("content", |w| turn.parts.iter().try_for_each(|part| print_part(w, part)))
    })
}

/// Empty text is refused there, and so are thoughts without Anthropic's own signature.
fn is_sent(part: &Part<'_>) -> bool {
    match &part.body {
        Body::Thinking { signature, .. } => {
            signature.as_ref().is_some_and(|signature| signature.origin == Protocol::AnthropicMessages)
        }
        _ => !part.is_empty_text(),
    }
}

fn print_part(w: &mut Writer, part: &Part<'_>) -> Result<(), Refused> {
    if !is_sent(part) {
        return Ok(());
    }
    w.object(|w| {
        match &part.body {
            Body::Text { text, .. } | Body::Refusal(text) => {
                w.field("type", "text");
                w.field("text", text);
            }
            Body::Image { source, .. } => {
                check_media(part, source, &PICTURES, "Anthropic takes pictures as JPEG, PNG, GIF or WebP")?;
                w.field("type", "image");
                w.object_at("source", |w| print_source(w, part, source))?;
            }
            Body::File { source, name } => {
                let text = source.as_text().map(|text| Source::Plain(Text::plain(&text)));
                let source = text.as_ref().unwrap_or(source);
                check_media(part, source, &["application/pdf"], "Anthropic takes documents as PDF or text")?;
                w.field("type", "document");
                w.object_at("source", |w| print_source(w, part, source))?;
                w.optional("title", name.as_ref());
            }
            Body::Audio { .. } => return Err(part.refuse("Anthropic takes no audio")),
            Body::Call(call) => print_call(w, call),
            Body::Outcome(outcome) => print_outcome(w, outcome)?,
            Body::Thinking { text, signature } => print_thought(w, text, signature.as_ref()),
        }
        print_cache_mark(w, part.cache);
        Ok(())
    })
}

/// # Errors
/// What is sent is of none of these types.
fn check_media(
    part: &Part<'_>,
    source: &Source<'_>,
    types: &[&str],
    why: &'static str,
) -> Result<(), Refused> {
    match source {
        Source::Base64 { media, .. } if !types.contains(&&**media) => Err(part.refuse(why)),
        _ => Ok(()),
    }
}

fn print_source(w: &mut Writer, part: &Part<'_>, source: &Source<'_>) -> Result<(), Refused> {
    match source {
        Source::Url(url) => {
            w.field("type", "url");
            w.field("url", url);
        }
        Source::Base64 { media, data } => {
            w.field("type", "base64");
            w.field("media_type", media);
            w.field("data", data);
        }
        Source::Plain(text) => {
            w.field("type", "text");
            w.field("media_type", "text/plain");
            w.field("data", text);
        }
        Source::Id { .. } => {
            return Err(part.refuse("Anthropic cannot reach what was uploaded to another provider"));
        }
    }
    Ok(())
}

fn print_call(w: &mut Writer, call: &Call<'_>) {
    let input = call.arguments.object_or_wrapped();
    w.field("type", "tool_use");
    w.field("id", id::fitting(&call.id, usize::MAX));
    w.field("name", &call.name);
    w.field("input", Raw(&input));
}

fn print_outcome(w: &mut Writer, outcome: &Outcome<'_>) -> Result<(), Refused> {
    w.field("type", "tool_result");
    w.field("tool_use_id", id::fitting(&outcome.id, usize::MAX));
    if outcome.parts.iter().any(is_sent) {
        w.array_at("content", |w| outcome.parts.iter().try_for_each(|part| print_part(w, part)))?;
    }
    if outcome.failed {
        w.field("is_error", true);
    }
    Ok(())
}

fn print_thought(w: &mut Writer, text: &Text<'_>, signature: Option<&Signature<'_>>) {
    match signature {
        Some(signature) if signature.redacted => {
            w.field("type", "redacted_thinking");
            w.field("data", &signature.value);
        }
        _ => {
            w.field("type", "thinking");
            w.field("thinking", text);
            w.optional("signature", signature.map(|signature| &signature.value));
        }
    }
}
