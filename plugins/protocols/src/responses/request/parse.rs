//! What a client of Responses asks for.

use std::borrow::Cow;

use crate::json::{Node, Object, Text};
use crate::model::{
    Allowed, Arguments, At, Body, Call, Format, Outcome, Part, Reasoning, Refused, Request, Role, Schema,
    Signature, Source, Tool, ToolChoice, Turn,
};
use crate::openai_terms::{self, option};
use tollgate_plugin::types::Protocol;

/// Parses a request. References to things that OpenAI keeps (`previous_response_id`, `conversation`, `prompt`) are
/// refused. `max_tool_calls` limits OpenAI's own tools, which are refused, so it is left out.
///
/// # Errors
/// What is not a request of this protocol, or cannot be expressed in any other.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Request<'a>, Refused> {
    let body = document.object()?;
    body.leave_out(&["max_tool_calls"]);
    let mut request = Request::default();
    openai_terms::parse_options(&body, &mut request)?;
    if let Some(instructions) = body.take("instructions") {
        let part = Part { body: Body::text(instructions.text()?), cache: None, path: instructions.place() };
        request.turns.push(Turn { role: Role::System, parts: vec![part] });
    }
    input(&body.need("input")?, &mut request.turns)?;
    if let Some(tools) = body.take("tools") {
        request.tools = tools.list(|node| tool(&node))?;
    }
    request.tool_choice = option(body.take("tool_choice"), tool_choice)?;
    if let Some(text) = body.take("text") {
        let text = text.object()?;
        request.verbosity = openai_terms::verbosity(text.take("verbosity"))?;
        request.format = text.take("format").map(|node| format(&node)).transpose()?.flatten();
        text.finish()?;
    }
    if let Some(reasoning) = body.take("reasoning") {
        parse_reasoning(&reasoning, &mut request.reasoning)?;
    }
    let limit = body.take("max_output_tokens");
    request.sampling.max_tokens = limit.map(|limit| limit.whole().and(limit.number())).transpose()?;
    logprobs(&body, &mut request)?;
    defaults(&body)?;
    body.finish()?;
    Ok(request)
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
            _ => Err(node.refuse("has no equivalent in the upstream's protocol")),
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
    object.finish()
}

fn input<'a>(node: &Node<'a, '_>, turns: &mut Vec<Turn<'a>>) -> Result<(), Refused> {
    if node.is_string() {
        let part = Part { body: Body::text(node.text()?), cache: None, path: node.place() };
        turns.push(Turn { role: Role::User, parts: vec![part] });
        return Ok(());
    }
    node.items(|item| {
        let turn = turn(&item)?;
        match turns.last_mut() {
            // In other protocols, the model's text and calls are one turn.
            Some(last) if last.role == Role::Assistant && turn.role == Role::Assistant => {
                last.parts.extend(turn.parts);
            }
            _ => turns.push(turn),
        }
        Ok(())
    })
}

/// Ids and states of items are OpenAI's bookkeeping, and so is the phase of an answer.
fn turn<'a>(node: &Node<'a, '_>) -> Result<Turn<'a>, Refused> {
    let item = node.object()?;
    item.leave_out(&["id", "status", "phase"]);
    let kind = item.take("type");
    let kind_name = kind.map_or(Ok(Cow::Borrowed("message")), |kind| kind.string())?;
    let turn = match &*kind_name {
        "message" => message(&item)?,
        "function_call" => single(node, Role::Assistant, Body::Call(call(&item)?)),
        "function_call_output" => single(node, Role::User, Body::Outcome(outcome(&item)?)),
        "reasoning" => single(node, Role::Assistant, thought(&item)?),
        _ => {
            return Err(kind.map_or_else(
                || item.lacks("type"),
                |kind| kind.refuse("is not an item that another protocol has"),
            ));
        }
    };
    item.finish()?;
    Ok(turn)
}

fn single<'a>(node: &Node<'a, '_>, role: Role, body: Body<'a>) -> Turn<'a> {
    Turn { role, parts: vec![Part { body, cache: None, path: node.place() }] }
}

fn message<'a>(item: &Object<'a, '_>) -> Result<Turn<'a>, Refused> {
    let role = item.need("role")?;
    let role = match &*role.string()? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" | "developer" => Role::System,
        _ => return Err(role.refuse("is not a role that Tollgate knows")),
    };
    Ok(Turn { role, parts: content(&item.need("content")?)? })
}

fn content<'a>(node: &Node<'a, '_>) -> Result<Vec<Part<'a>>, Refused> {
    if node.is_string() {
        return Ok(vec![Part { body: Body::text(node.text()?), cache: None, path: node.place() }]);
    }
    node.list(|node| part(&node))
}

/// Annotations and logprobs of earlier answers were for the reader.
fn part<'a>(node: &Node<'a, '_>) -> Result<Part<'a>, Refused> {
    let part = node.object()?;
    let cache = openai_terms::cache_mark(&part)?;
    let kind = part.need("type")?;
    let body = match &*kind.string()? {
        "input_text" => Body::text(part.need("text")?.text()?),
        "output_text" => {
            part.leave_out(&["annotations", "logprobs"]);
            Body::text(part.need("text")?.text()?)
        }
        "refusal" => Body::Refusal(part.need("refusal")?.text()?),
        "input_image" => image(&part)?,
        "input_file" => file(&part)?,
        "input_audio" => audio(&part)?,
        _ => return Err(kind.refuse("is not a part that Tollgate knows")),
    };
    part.finish()?;
    Ok(Part { body, cache, path: node.place() })
}

fn uploaded<'a>(part: &Object<'a, '_>) -> Result<Option<Source<'a>>, Refused> {
    let id = part.take("file_id").map(|id| id.text()).transpose()?;
    Ok(id.map(|id| Source::Id { origin: Protocol::OpenaiResponses, id }))
}

fn image<'a>(part: &Object<'a, '_>) -> Result<Body<'a>, Refused> {
    let url = part.take("image_url").map(|url| url.text()).transpose()?.map(Source::of_url);
    let source = uploaded(part)?.or(url).ok_or_else(|| part.lacks("image_url"))?;
    let detail = part.take("detail").map(|detail| detail.text()).transpose()?;
    Ok(Body::Image { source, detail })
}

fn file<'a>(part: &Object<'a, '_>) -> Result<Body<'a>, Refused> {
    part.leave_out(&["detail"]);
    let name = part.take("filename").map(|name| name.text()).transpose()?;
    let url = part.take("file_url").map(|url| url.text()).transpose()?.map(Source::Url);
    let data = part.take("file_data").map(|data| data.text()).transpose()?.map(Source::of_url);
    let source = uploaded(part)?.or(url).or(data).ok_or_else(|| part.lacks("file_data"))?;
    Ok(Body::File { source, name })
}

fn audio<'a>(part: &Object<'a, '_>) -> Result<Body<'a>, Refused> {
    let audio = part.need("input_audio")?.object()?;
    let data = audio.need("data")?.text()?;
    let media = Cow::Owned(["audio/", &audio.need("format")?.string()?].concat());
    audio.finish()?;
    Ok(Body::Audio { media, data })
}

fn call<'a>(item: &Object<'a, '_>) -> Result<Call<'a>, Refused> {
    Ok(Call {
        id: item.need("call_id")?.string()?,
        name: item.need("name")?.string()?,
        arguments: Arguments::Encoded(item.need("arguments")?.text()?),
        signature: None,
    })
}

/// The call is found by its id: its name is not needed.
fn outcome<'a>(item: &Object<'a, '_>) -> Result<Outcome<'a>, Refused> {
    item.leave_out(&["name"]);
    let id = item.need("call_id")?.string()?;
    Ok(Outcome { id, parts: content(&item.need("output")?)?, failed: false })
}

fn thought<'a>(item: &Object<'a, '_>) -> Result<Body<'a>, Refused> {
    let (text, signature) = reasoning_item(item)?;
    Ok(Body::Thinking { text, signature })
}

/// Parses a reasoning item: its content where it is shown, its summary otherwise, and its proof.
pub(in crate::responses) fn reasoning_item<'a>(
    item: &Object<'a, '_>,
) -> Result<(Text<'a>, Option<Signature<'a>>), Refused> {
    let summary = item.take("summary").map_or(Ok(Text::EMPTY), |list| texts(&list))?;
    let content = item.take("content").map_or(Ok(Text::EMPTY), |list| texts(&list))?;
    let proof = item.take("encrypted_content").map(|proof| proof.text()).transpose()?;
    let text = if content.is_empty() { summary } else { content };
    Ok((text, proof.map(|proof| Signature::open(Protocol::OpenaiResponses, proof))))
}

/// The texts of a list, a blank line between them.
fn texts<'a>(list: &Node<'a, '_>) -> Result<Text<'a>, Refused> {
    let mut whole: Option<Text<'a>> = None;
    list.items(|node| {
        let text = node.object()?.need("text")?.text()?;
        match &mut whole {
            Some(whole) => {
                whole.append(&Text::escaped("\\n\\n"));
                whole.append(&text);
            }
            None => whole = Some(text),
        }
        Ok(())
    })?;
    Ok(whole.unwrap_or(Text::EMPTY))
}

fn tool<'a>(node: &Node<'a, '_>) -> Result<Tool<'a>, Refused> {
    let tool = node.object()?;
    function_type(&tool)?;
    let name = tool.need("name")?;
    let parsed = Tool {
        name: name.string()?,
        path: name.place(),
        description: tool.take("description").map(|text| text.text()).transpose()?,
        schema: tool.take("parameters").map(|schema| schema.object_text()).transpose()?,
        strict: tool.take("strict").map(|strict| strict.boolean()).transpose()?,
        cache: openai_terms::cache_mark(&tool)?,
    };
    tool.finish()?;
    Ok(parsed)
}

/// # Errors
/// It is something that only OpenAI can run.
fn function_type(object: &Object<'_, '_>) -> Result<(), Refused> {
    let kind = object.need("type")?;
    if kind.is("function") {
        return Ok(());
    }
    Err(kind.refuse("only functions can be called through the upstream's protocol"))
}

fn tool_choice<'a>(node: &Node<'a, '_>) -> Result<ToolChoice<'a>, Refused> {
    if node.is_string() {
        return match &*node.string()? {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Any),
            _ => Err(node.refuse("is not a choice that Tollgate knows")),
        };
    }
    let choice = node.object()?;
    let parsed = match choice.take("tools") {
        None => ToolChoice::One(function_name(&choice)?),
        Some(tools) => {
            choice.leave_out(&["type"]);
            let must = choice.need("mode")?.is("required");
            let names = tools.list(|tool| function_name(&tool.object()?))?;
            ToolChoice::Only(Allowed { names, must })
        }
    };
    choice.finish()?;
    Ok(parsed)
}

fn function_name<'a>(object: &Object<'a, '_>) -> Result<Cow<'a, str>, Refused> {
    function_type(object)?;
    object.need("name")?.string()
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
