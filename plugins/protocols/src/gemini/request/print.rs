//! Requests for a server of Gemini.
//!
//! Left out, because they mean nothing there: thoughts that Gemini did not sign, ids of calls (names and order tell
//! which answer belongs to which call), names of files, how closely to look at an image, cache marks and keys (Gemini
//! caches what repeats by itself), and who the client's user is. Instructions in the middle of the conversation move to
//! its beginning.

use crate::gemini::signature;
use crate::json::{Raw, Text, Writer};
use crate::model::{
    Allowed, Body, Budget, Call, Effort, Format, Outcome, Part, Refused, Request, Role, Source, Tier, Tool,
    ToolChoice, Turn,
};
use crate::target::Target;
use tollgate_plugin::types::Protocol;

/// Prints a request. Model and streaming are in the address.
///
/// # Errors
/// What cannot be expressed in this protocol.
pub(crate) fn print(request: &mut Request<'_>, target: &Target<'_>) -> Result<String, Refused> {
    request.leave(request.verbosity.as_ref(), "Gemini has no verbosity")?;
    request.leave(
        request.one_call.as_ref().filter(|_| !request.tools.is_empty()),
        "Gemini cannot be told to make one call at a time",
    )?;
    request.mention(request.user.as_ref());
    request.mention(request.cache_key.as_ref());
    request.mention_caches();
    request.drop_empty();
    request.begin_with_user();
    let system = request.take_system();
    request.merge_turns();
    let request = &*request;
    let mut writer = Writer::default();
    writer.object(|w| {
        if !system.is_empty() {
            let parts = || system.iter().flat_map(|turn| &turn.parts);
            w.object_at("systemInstruction", |w| {
                w.array_at("parts", |w| parts().try_for_each(|part| print_part(w, part)))
            })?;
        }
        print_contents(w, request, target)?;
        print_tools(w, request)?;
        w.object_at("generationConfig", |w| print_config(w, request, target))?;
        match request.tier.as_ref().map(|tier| tier.value) {
            None | Some(Tier::Auto | Tier::Batch) => {}
            Some(Tier::Standard) => w.field("serviceTier", "standard"),
            Some(Tier::Flex) => w.field("serviceTier", "flex"),
            Some(Tier::Priority) => w.field("serviceTier", "priority"),
        }
        Ok(())
    })?;
    Ok(writer.take())
}

fn print_config(w: &mut Writer, request: &Request<'_>, target: &Target<'_>) -> Result<(), Refused> {
    let sampling = &request.sampling;
    w.optional("maxOutputTokens", sampling.max_tokens.as_ref());
    if target.abilities.sampling {
        w.optional("temperature", sampling.temperature.as_ref());
        w.optional("topP", sampling.top_p.as_ref());
        w.optional("topK", sampling.top_k.as_ref());
        w.optional("presencePenalty", sampling.presence_penalty.as_ref());
        w.optional("frequencyPenalty", sampling.frequency_penalty.as_ref());
    } else {
        request.mention_sampling();
    }
    w.optional("seed", sampling.seed.as_ref());
    w.optional("candidateCount", sampling.candidates.as_ref());
    if let Some(stop) = &sampling.stop {
        if stop.value.len() > 5 {
            return Err(stop.refuse("Gemini takes at most 5 stop sequences"));
        }
        w.array_at("stopSequences", |w| stop.value.iter().for_each(|stop| w.value(stop)));
    }
    if let Some(logprobs) = &sampling.logprobs {
        w.field("responseLogprobs", true);
        w.field("logprobs", logprobs.value);
    }
    if let Some(format) = &request.format {
        w.field("responseMimeType", "application/json");
        if let Format::Schema(schema) = &format.value {
            w.optional("responseJsonSchema", schema.schema.as_deref().map(Raw));
        }
    }
    print_thinking(w, request, target);
    Ok(())
}

/// Models before Gemini 3 are told how many tokens to think with, later ones how hard to think.
fn print_thinking(w: &mut Writer, request: &Request<'_>, target: &Target<'_>) {
    if !target.abilities.reasoning {
        request.mention_reasoning();
    }
    let reasoning = &request.reasoning;
    let counts = is_before_three(target.model);
    let budget = reasoning.as_budget().filter(|_| counts && target.abilities.reasoning);
    let level = reasoning.as_effort().filter(|_| !counts && target.abilities.reasoning);
    let visible = reasoning.visible.unwrap_or(false);
    if budget.is_none() && level.is_none() && !visible {
        return;
    }
    w.object_at("thinkingConfig", |w| {
        match budget {
            Some(Budget::Off) => w.field("thinkingBudget", 0_u64),
            Some(Budget::Adaptive) => w.field("thinkingBudget", Raw("-1")),
            Some(Budget::Tokens(tokens)) => w.field("thinkingBudget", tokens),
            None => {}
        }
        w.optional("thinkingLevel", level.map(level_name));
        if visible {
            w.field("includeThoughts", true);
        }
    });
}

/// These models cannot be told not to think at all.
const fn level_name(effort: Effort) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::High => "HIGH",
        Effort::Xhigh | Effort::Max => "XHIGH",
    }
}

fn is_before_three(model: &str) -> bool {
    ["gemini-1", "gemini-2"].iter().any(|old| model.contains(old))
}

fn print_tools(w: &mut Writer, request: &Request<'_>) -> Result<(), Refused> {
    if !request.tools.is_empty() {
        w.array_at("tools", |w| {
            w.object(|w| {
                w.array_at("functionDeclarations", |w| {
                    request.tools.iter().for_each(|tool| print_tool(w, tool));
                });
            });
        });
    }
    let choice = match &request.tool_choice {
        Some(choice) if request.tools.is_empty() => match choice.value {
            ToolChoice::Auto | ToolChoice::None => return Ok(()),
            _ => return Err(choice.refuse("needs tools to choose from")),
        },
        Some(choice) => &choice.value,
        None => &ToolChoice::Auto,
    };
    // The mode decides whether arguments must follow the schema; forced calls always do.
    let strict = request.tools.iter().any(|tool| tool.strict == Some(true));
    let (mode, names) = match choice {
        ToolChoice::Auto if !strict => return Ok(()),
        ToolChoice::Auto => ("VALIDATED", &[][..]),
        ToolChoice::None => ("NONE", &[][..]),
        ToolChoice::Any => ("ANY", &[][..]),
        ToolChoice::One(name) => ("ANY", std::slice::from_ref(name)),
        ToolChoice::Only(Allowed { names, must: true }) => ("ANY", &names[..]),
        ToolChoice::Only(Allowed { names, must: false }) => ("VALIDATED", &names[..]),
    };
    w.object_at("toolConfig", |w| {
        w.object_at("functionCallingConfig", |w| {
            w.field("mode", mode);
            if !names.is_empty() {
                w.array_at("allowedFunctionNames", |w| names.iter().for_each(|name| w.value(name)));
            }
        });
    });
    Ok(())
}

fn print_tool(w: &mut Writer, tool: &Tool<'_>) {
    w.object(|w| {
        w.field("name", &tool.name);
        w.optional("description", tool.description.as_ref());
        w.optional("parametersJsonSchema", tool.schema.as_deref().map(Raw));
    });
}

fn print_contents(w: &mut Writer, request: &Request<'_>, target: &Target<'_>) -> Result<(), Refused> {
    let calls: Vec<&Call<'_>> = request.turns.iter().flat_map(Turn::calls).collect();
    w.array_at("contents", |w| {
        for turn in &request.turns {
            if turn.parts.iter().all(is_silent) {
                continue;
            }
            w.object(|w| {
                w.field("role", if turn.role == Role::Assistant { "model" } else { "user" });
                w.array_at("parts", |w| match turn.role {
                    Role::Assistant => print_answer(w, &turn.parts, target),
                    _ => print_user(w, &turn.parts, &calls),
                })
            })?;
        }
        Ok(())
    })
}

/// Whether nothing of the part is sent.
fn is_silent(part: &Part<'_>) -> bool {
    match &part.body {
        Body::Thinking { signature, .. } => {
            signature.as_ref().is_none_or(|signature| signature.origin != Protocol::Gemini)
        }
        _ => part.is_empty_text(),
    }
}

/// The answers of tools in the order of their calls, then their media, then the rest.
fn print_user(w: &mut Writer, parts: &[Part<'_>], calls: &[&Call<'_>]) -> Result<(), Refused> {
    let place = |outcome: &Outcome<'_>| calls.iter().position(|call| call.id == outcome.id);
    let mut outcomes = Vec::new();
    for part in parts {
        if let Body::Outcome(outcome) = &part.body {
            let at = place(outcome).ok_or_else(|| part.refuse("answers no call"))?;
            outcomes.push((at, outcome));
        }
    }
    outcomes.sort_by_key(|(at, _)| *at);
    for (at, outcome) in &outcomes {
        print_outcome(w, &calls[*at].name, outcome);
    }
    let shown = outcomes.iter().flat_map(|(_, outcome)| &outcome.parts);
    let shown = shown.filter(|part| !matches!(part.body, Body::Text { .. }));
    let rest = parts.iter().filter(|part| !part.is_outcome() && !is_silent(part));
    shown.chain(rest).try_for_each(|part| print_part(w, part))
}

fn print_outcome(w: &mut Writer, name: &str, outcome: &Outcome<'_>) {
    let mut text: Option<Text<'_>> = None;
    for part in &outcome.parts {
        if let Body::Text { text: piece, .. } = &part.body {
            match &mut text {
                Some(text) => {
                    text.append(&Text::escaped("\\n"));
                    text.append(piece);
                }
                None => text = Some(piece.borrowed()),
            }
        }
    }
    w.object(|w| {
        w.object_at("functionResponse", |w| {
            w.field("name", name);
            w.object_at("response", |w| {
                let member = if outcome.failed { "error" } else { "output" };
                w.field(member, text.unwrap_or(Text::EMPTY));
            });
        });
    });
}

/// What the model said. A signature belongs to the next call, or stands at the end of a turn without one; the first
/// call of a turn must have one.
fn print_answer(w: &mut Writer, parts: &[Part<'_>], target: &Target<'_>) -> Result<(), Refused> {
    let mut loose: Option<&Text<'_>> = None;
    let mut first_call = true;
    for part in parts.iter().filter(|part| !is_silent(part)) {
        match &part.body {
            Body::Thinking { signature, .. } => loose = signature.as_ref().map(|signature| &signature.value),
            Body::Call(call) => {
                let own = call.signature.as_ref().filter(|signature| signature.origin == Protocol::Gemini);
                let own = own.map(|signature| &signature.value).or_else(|| loose.take());
                let skip = Text::escaped(signature::SKIP);
                let needs = first_call && !is_before_three(target.model);
                first_call = false;
                print_call(w, call, own.or_else(|| needs.then_some(&skip)));
            }
            _ => print_part(w, part)?,
        }
    }
    if let Some(signature) = loose {
        w.object(|w| {
            w.field("text", "");
            w.field("thoughtSignature", signature);
        });
    }
    Ok(())
}

fn print_call(w: &mut Writer, call: &Call<'_>, signature: Option<&Text<'_>>) {
    let arguments = call.arguments.object_or_wrapped();
    w.object(|w| {
        w.object_at("functionCall", |w| {
            w.field("name", &call.name);
            w.field("args", Raw(&arguments));
        });
        w.optional("thoughtSignature", signature);
    });
}

fn print_part(w: &mut Writer, part: &Part<'_>) -> Result<(), Refused> {
    w.object(|w| match &part.body {
        Body::Text { text, .. } | Body::Refusal(text) | Body::File { source: Source::Plain(text), .. } => {
            w.field("text", text);
            Ok(())
        }
        Body::Image { source: Source::Base64 { media, data }, .. }
        | Body::File { source: Source::Base64 { media, data }, .. }
        | Body::Audio { media, data } => {
            w.object_at("inlineData", |w| {
                w.field("mimeType", media);
                w.field("data", data);
            });
            Ok(())
        }
        Body::Image { source: Source::Url(url), .. } | Body::File { source: Source::Url(url), .. } => {
            print_url(w, part, url)
        }
        Body::Image { .. } | Body::File { .. } => {
            Err(part.refuse("Gemini cannot reach what was uploaded to another provider"))
        }
        Body::Call(_) | Body::Outcome(_) | Body::Thinking { .. } => {
            Err(part.refuse("this kind of part cannot stand here in Gemini"))
        }
    })
}

/// Gemini fetches what is at a public address, since 2026-01
/// (<https://ai.google.dev/gemini-api/docs/file-input-methods>, read 2026-11).
fn print_url(w: &mut Writer, part: &Part<'_>, url: &Text<'_>) -> Result<(), Refused> {
    let address = url.decode();
    if !address.starts_with("https://") {
        return Err(part.refuse("Gemini fetches from addresses that begin with https:// only"));
    }
    w.object_at("fileData", |w| {
        w.optional("mimeType", media_of(&address));
        w.field("fileUri", url);
    });
    Ok(())
}

/// The media type of an address, as far as its path tells; otherwise Gemini finds out itself.
fn media_of(address: &str) -> Option<&'static str> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let (_, file) = path.strip_prefix("https://")?.rsplit_once('/')?;
    let (_, ending) = file.rsplit_once('.')?;
    Some(match &*ending.to_ascii_lowercase() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::media_of;

    #[test]
    fn the_type_of_a_file_is_told_by_its_path_and_not_by_its_host() {
        assert_eq!(media_of("https://x.example/a/B.PNG?size=1.gif#x.pdf"), Some("image/png"));
        assert_eq!(media_of("https://x.example/a.b/c"), None);
        assert_eq!(media_of("https://x.pdf"), None);
        assert_eq!(media_of("https://x.example/report.pdf"), Some("application/pdf"));
    }
}
