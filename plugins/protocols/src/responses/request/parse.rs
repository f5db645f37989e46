//! What a client of Responses asks for.

use super::{items, tools};
use crate::json::{Node, Object};
use crate::model::{At, Body, Format, Part, Reasoning, Refused, Request, Role, Schema, Turn};
use crate::openai_terms::{self, option};

/// Parses a request. References to things that OpenAI keeps (`previous_response_id`, `conversation`, `prompt`) are
/// refused. `max_tool_calls` limits OpenAI's own tools, which are left out, as it is.
///
/// # Errors
/// What is not a request of this protocol, or cannot be expressed in any other.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Request<'a>, Refused> {
    let body = document.object()?;
    kept(&body)?;
    body.mention(&["max_tool_calls"]);
    body.hints(&["context_management"])?;
    let mut request = Request::default();
    openai_terms::parse_options(&body, &mut request)?;
    if let Some(instructions) = body.take("instructions") {
        let part = Part { body: Body::text(instructions.text()?), cache: None, path: instructions.place() };
        request.turns.push(Turn { role: Role::System, parts: vec![part] });
    }
    if let Some(tools) = body.take("tools") {
        tools.items(|node| tools::tool(&node, &mut request.tools, None))?;
    }
    items::input(&body.need("input")?, &mut request)?;
    request.tool_choice = option(body.take("tool_choice"), tools::choice)?;
    if let Some(text) = body.take("text") {
        let text = text.object()?;
        request.verbosity = openai_terms::verbosity(text.take("verbosity"))?;
        request.format = text.take("format").map(|node| format(&node)).transpose()?.flatten();
        text.finish()?;
    }
    if let Some(reasoning) = body.take("reasoning") {
        parse_reasoning(&reasoning, &mut request.reasoning)?;
    }
    request.sampling.max_tokens = option(body.take("max_output_tokens"), Node::whole)?;
    logprobs(&body, &mut request)?;
    defaults(&body)?;
    body.finish()?;
    Ok(request)
}

/// # Errors
/// The request names something that only OpenAI keeps.
fn kept(body: &Object<'_, '_>) -> Result<(), Refused> {
    const WHY: &str = "only OpenAI keeps conversations: send all of it in `input`, and `\"store\": false`";
    let mut named = ["previous_response_id", "conversation"].into_iter().filter_map(|name| body.take(name));
    named.try_for_each(|node| Err(node.refuse(WHY)))
}

/// Options that no other protocol has are accepted at the value that changes nothing. Obfuscation pads events against
/// eavesdroppers; translated events have other lengths anyway.
fn defaults(body: &Object<'_, '_>) -> Result<(), Refused> {
    if let Some(background) = body.take("background")
        && background.boolean()?
    {
        return Err(background.refuse("an answer in the background cannot be kept"));
    }
    if let Some(truncation) = body.take("truncation")
        && !truncation.is("disabled")
    {
        return Err(truncation.refuse("only OpenAI shortens conversations by itself"));
    }
    if let Some(options) = body.take("stream_options") {
        let options = options.object()?;
        options.leave_out(&["include_obfuscation"]);
        options.finish()?;
    }
    Ok(())
}

/// `include` asks for what would be left out otherwise; signatures are always included.
fn logprobs<'a>(body: &Object<'a, '_>, request: &mut Request<'a>) -> Result<(), Refused> {
    let top = option(body.take("top_logprobs"), Node::whole)?.filter(|top| top.value > 0);
    let mut wanted = top;
    if let Some(include) = body.take("include") {
        include.items(|node| match &*node.string()? {
            "reasoning.encrypted_content" => Ok(()),
            "message.output_text.logprobs" => {
                if wanted.is_none() {
                    wanted = Some(node.at(0));
                }
                Ok(())
            }
            // What else there is belongs to tools that OpenAI runs.
            _ => node.hint("has no equivalent in the upstream's protocol"),
        })?;
    }
    request.sampling.logprobs = wanted;
    Ok(())
}

fn parse_reasoning(node: &Node<'_, '_>, reasoning: &mut Reasoning) -> Result<(), Refused> {
    let object = node.object()?;
    reasoning.effort = option(object.take("effort"), openai_terms::effort)?;
    let deprecated = object.take("generate_summary");
    if object.take("summary").or(deprecated).is_some() {
        reasoning.visible = Some(true);
    }
    object.hints(&["context", "mode"])?;
    object.finish()
}

fn format<'a>(node: &Node<'a, '_>) -> Result<Option<At<Format<'a>>>, Refused> {
    let format = node.object()?;
    let kind = format.need("type")?;
    let parsed = match &*kind.string()? {
        "text" => None,
        "json_object" => Some(Format::Object),
        "json_schema" => Some(Format::Schema(Schema {
            name: Some(format.need("name")?.text()?),
            description: format.take("description").map(|text| text.text()).transpose()?,
            schema: Some(format.need("schema")?.object_text()?),
            strict: format.take("strict").map(|strict| strict.boolean()).transpose()?,
        })),
        _ => return Err(kind.refuse("is not a format that Tollgate knows")),
    };
    format.finish()?;
    Ok(parsed.map(|parsed| node.at(parsed)))
}
