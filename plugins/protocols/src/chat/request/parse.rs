//! What a client of Chat Completions asks for.

use std::borrow::Cow;

use crate::custom;
use crate::json::{Node, Object, Text};
use crate::messages;
use crate::model::{
    Allowed, Arguments, Body, Budget, Call, Format, Outcome, Part, Reasoning, Refused, Request, Role, Schema,
    Signature, Source, Tool, ToolChoice, ToolKind, Turn,
};
use crate::openai_terms::{self, option};
use tollgate_plugin::types::Protocol;

/// Parses a request.
///
/// # Errors
/// What is not a request of this protocol, or cannot be expressed in any other.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Request<'a>, Refused> {
    let body = document.object()?;
    let mut request = Request::default();
    openai_terms::parse_options(&body, &mut request)?;
    request.turns = body.need("messages")?.list(|message| turn(&message))?;
    if let Some(tools) = body.take("tools") {
        tools.items(|node| tool(&node, &mut request.tools))?;
    }
    request.tool_choice = option(body.take("tool_choice"), tool_choice)?;
    if let Some(node) = body.take("response_format") {
        request.format = format(&node)?.map(|format| node.at(format));
    }
    if let Some(options) = body.take("stream_options") {
        stream_options(&options, &mut request)?;
    }
    sampling(&body, &mut request)?;
    request.reasoning.effort = option(body.take("reasoning_effort"), openai_terms::effort)?;
    relayed_reasoning(&body, &mut request.reasoning)?;
    request.verbosity = openai_terms::verbosity(body.take("verbosity"))?;
    if let Some(modalities) = body.take("modalities") {
        modalities.items(only_text)?;
    }
    wishes(&body)?;
    body.finish()?;
    Ok(request)
}

/// How hard to think, in the words of Anthropic and of relays.
fn relayed_reasoning<'a>(body: &Object<'a, '_>, reasoning: &mut Reasoning) -> Result<(), Refused> {
    if let Some(thinking) = body.take("thinking") {
        messages::parse_thinking(&thinking, reasoning)?;
    }
    let Some(node) = body.take("reasoning") else { return Ok(()) };
    let object = node.object()?;
    if let Some(effort) = option(object.take("effort"), openai_terms::effort)? {
        reasoning.effort = Some(effort);
    }
    if let Some(budget) = option(object.take("max_tokens"), |node| Ok(Budget::Tokens(node.whole()?)))? {
        reasoning.budget = Some(budget);
    }
    object.leave_out(&["enabled", "exclude", "summary"]);
    object.finish()
}

/// Tokens have other numbers at another model, and searches are another provider's.
fn wishes(body: &Object<'_, '_>) -> Result<(), Refused> {
    if let Some(bias) = body.take("logit_bias") {
        let mut any = false;
        bias.object()?.rest(|_, _| {
            any = true;
            Ok(())
        })?;
        if any {
            bias.hint("tokens have other numbers at another model")?;
        }
    }
    body.hints(&["web_search_options"])
}

fn only_text(modality: Node<'_, '_>) -> Result<(), Refused> {
    match &*modality.string()? {
        "text" => Ok(()),
        _ => Err(modality.refuse("only text can be answered in the upstream's protocol")),
    }
}

/// Obfuscation pads events against eavesdroppers; translated events have other lengths anyway.
fn stream_options(node: &Node<'_, '_>, request: &mut Request<'_>) -> Result<(), Refused> {
    let options = node.object()?;
    options.leave_out(&["include_obfuscation"]);
    options.hints(&["continuous_usage_stats"])?;
    if let Some(usage) = options.take("include_usage") {
        request.stream_usage = usage.boolean()?;
    }
    options.finish()
}

fn sampling<'a>(body: &Object<'a, '_>, request: &mut Request<'a>) -> Result<(), Refused> {
    let sampling = &mut request.sampling;
    let deprecated = body.take("max_tokens");
    let limit = body.take("max_completion_tokens").or(deprecated);
    sampling.max_tokens = option(limit, Node::whole)?;
    openai_terms::sampling(body, sampling)?;
    let top = body.take("top_logprobs").map(|top| top.whole()).transpose()?.unwrap_or(0);
    sampling.logprobs = option(body.take("logprobs"), Node::boolean)?
        .filter(|wanted| wanted.value)
        .map(|wanted| crate::model::At { value: top, path: wanted.path });
    Ok(())
}

fn turn<'a>(node: &Node<'a, '_>) -> Result<Turn<'a>, Refused> {
    let message = node.object()?;
    let role = message.need("role")?;
    let mark = openai_terms::cache_mark(&message)?;
    let mut turn = match &*role.string()? {
        "system" | "developer" => Turn { role: Role::System, parts: content(message.need("content")?)? },
        "user" => Turn { role: Role::User, parts: content(message.need("content")?)? },
        "assistant" => Turn { role: Role::Assistant, parts: answer(&message)? },
        "tool" => Turn { role: Role::User, parts: vec![outcome(node, &message)?] },
        _ => return Err(role.refuse("is not a role that Tollgate knows")),
    };
    if let Some(last) = turn.parts.last_mut() {
        last.cache = last.cache.or(mark);
    }
    message.hints(&["name"])?;
    message.finish()?;
    Ok(turn)
}

/// The call is found by its id: its name, which old clients repeat, is not needed.
fn outcome<'a>(node: &Node<'a, '_>, message: &Object<'a, '_>) -> Result<Part<'a>, Refused> {
    message.leave_out(&["name"]);
    let id = message.need("tool_call_id")?.string()?;
    let parts = message.take("content").map_or(Ok(Vec::new()), content)?;
    let body = Body::Outcome(Outcome { id, parts, failed: false });
    Ok(Part { body, cache: None, path: node.place() })
}

/// What the model said before. Its annotations were for the reader; only OpenAI keeps its voice.
fn answer<'a>(message: &Object<'a, '_>) -> Result<Vec<Part<'a>>, Refused> {
    message.leave_out(&["annotations"]);
    let mut parts = thoughts(message)?;
    if let Some(node) = message.take("content") {
        parts.extend(content(node)?.into_iter().filter(|part| !part.is_empty_text()));
    }
    if let Some(node) = message.take("refusal") {
        parts.push(Part { body: Body::Refusal(node.text()?), cache: None, path: node.place() });
    }
    if let Some(calls) = message.take("tool_calls") {
        calls.items(|node| {
            parts.push(call(&node)?);
            Ok(())
        })?;
    }
    Ok(parts)
}

fn thoughts<'a>(message: &Object<'a, '_>) -> Result<Vec<Part<'a>>, Refused> {
    let plain = message.take("reasoning_content");
    let plain = message.take("reasoning").or(plain);
    if let Some(details) = message.take("reasoning_details") {
        return details.list(|node| thought(&node));
    }
    let Some(node) = plain else { return Ok(Vec::new()) };
    let body = Body::Thinking { text: node.text()?, signature: None };
    Ok(vec![Part { body, cache: None, path: node.place() }])
}

/// One of `reasoning_details`: `format`, `index` and `id` are bookkeeping of its writer.
fn thought<'a>(node: &Node<'a, '_>) -> Result<Part<'a>, Refused> {
    let detail = node.object()?;
    detail.leave_out(&["type", "format", "index", "id"]);
    let cache = openai_terms::cache_mark(&detail)?;
    let text = detail.take("text");
    let text = detail.take("summary").or(text).map_or(Ok(Text::EMPTY), |text| text.text())?;
    let signature = detail.take("signature");
    let signature = detail.take("data").or(signature).map(|proof| proof.text()).transpose()?;
    detail.finish()?;
    let signature = signature.map(|proof| Signature::open(Protocol::OpenaiChat, proof));
    Ok(Part { body: Body::Thinking { text, signature }, cache, path: node.place() })
}

fn call<'a>(node: &Node<'a, '_>) -> Result<Part<'a>, Refused> {
    let call = node.object()?;
    call.leave_out(&["index"]);
    let id = call.need("id")?.string()?;
    let cache = openai_terms::cache_mark(&call)?;
    if is_custom(&call)? {
        let custom = call.need("custom")?.object()?;
        let name = custom.need("name")?.string()?;
        let arguments = custom::arguments(&custom.need("input")?.text()?);
        call.finish()?;
        let body = Body::Call(Call { id, name, arguments, signature: None });
        return Ok(Part { body, cache, path: node.place() });
    }
    let signature = call.take("extra_content").map(|extra| google_signature(&extra)).transpose()?.flatten();
    let function = call.need("function")?.object()?;
    let name = function.need("name")?.string()?;
    let arguments = arguments(&function)?;
    let cache = cache.or(openai_terms::cache_mark(&function)?);
    function.finish()?;
    call.finish()?;
    let body = Body::Call(Call { id, name, arguments, signature });
    Ok(Part { body, cache, path: node.place() })
}

/// A string that holds an object, or what servers and clients make of it: the object itself, or nothing.
fn arguments<'a>(function: &Object<'a, '_>) -> Result<Arguments<'a>, Refused> {
    match function.take("arguments") {
        None => Ok(Arguments::Encoded(Text::EMPTY)),
        Some(object) if object.is_object() => Ok(Arguments::Object(object.raw())),
        Some(text) => Ok(Arguments::Encoded(text.text()?)),
    }
}

/// Whether it takes a text in place of an object.
///
/// # Errors
/// It is something that only OpenAI can run.
fn is_custom(object: &Object<'_, '_>) -> Result<bool, Refused> {
    match object.take("type") {
        None => Ok(false),
        Some(kind) => match &*kind.string()? {
            "function" => Ok(false),
            "custom" => Ok(true),
            _ => Err(kind.refuse("only functions can be called through the upstream's protocol")),
        },
    }
}

/// What Google's own layer for clients of this protocol puts on a call.
pub(in crate::chat) fn google_signature<'a>(extra: &Node<'a, '_>) -> Result<Option<Signature<'a>>, Refused> {
    let extra = extra.object()?;
    let Some(google) = extra.take("google") else { return Ok(None) };
    let google = google.object()?;
    let signature = google.take("thought_signature").map(|signature| signature.text()).transpose()?;
    Ok(signature.map(|value| Signature::own(Protocol::Gemini, value)))
}

fn content<'a>(node: Node<'a, '_>) -> Result<Vec<Part<'a>>, Refused> {
    if node.is_string() {
        return Ok(vec![Part { body: Body::text(node.text()?), cache: None, path: node.place() }]);
    }
    node.list(|node| part(&node))
}

fn part<'a>(node: &Node<'a, '_>) -> Result<Part<'a>, Refused> {
    let part = node.object()?;
    let cache = openai_terms::cache_mark(&part)?;
    let kind = part.need("type")?;
    let body = match &*kind.string()? {
        "text" => Body::text(part.need("text")?.text()?),
        "refusal" => Body::Refusal(part.need("refusal")?.text()?),
        "image_url" => image(part.need("image_url")?)?,
        "file" => file(part.need("file")?)?,
        "input_audio" => audio(part.need("input_audio")?)?,
        _ => return Err(kind.refuse("is not a part that Tollgate knows")),
    };
    part.finish()?;
    Ok(Part { body, cache, path: node.place() })
}

fn image<'a>(node: Node<'a, '_>) -> Result<Body<'a>, Refused> {
    let image = node.object()?;
    let source = Source::of_url(image.need("url")?.text()?);
    let detail = image.take("detail").map(|detail| detail.text()).transpose()?;
    image.finish()?;
    Ok(Body::Image { source, detail })
}

fn file<'a>(node: Node<'a, '_>) -> Result<Body<'a>, Refused> {
    let file = node.object()?;
    let name = file.take("filename").map(|name| name.text()).transpose()?;
    let source = match (file.take("file_data"), file.take("file_id")) {
        (Some(data), None) => match Source::of_url(data.text()?) {
            source @ Source::Base64 { .. } => source,
            _ => return Err(data.refuse("must be a data: URL with base64")),
        },
        (None, Some(id)) => Source::Id { origin: Protocol::OpenaiChat, id: id.text()? },
        _ => return Err(file.refuse("must have either file_data or file_id")),
    };
    file.finish()?;
    Ok(Body::File { source, name })
}

fn audio<'a>(node: Node<'a, '_>) -> Result<Body<'a>, Refused> {
    let audio = node.object()?;
    let data = audio.need("data")?.text()?;
    let media = Cow::Owned(["audio/", &audio.need("format")?.string()?].concat());
    audio.finish()?;
    Ok(Body::Audio { media, data })
}

/// Adds a tool. One that OpenAI or a relay runs itself is left out.
fn tool<'a>(node: &Node<'a, '_>, tools: &mut Vec<Tool<'a>>) -> Result<(), Refused> {
    let tool = node.object()?;
    let kind = tool.take("type").map_or(Ok(Cow::Borrowed("function")), |kind| kind.string())?;
    let known = [ToolKind::Function, ToolKind::Custom];
    let Some(kind) = ToolKind::named(&kind).filter(|kind| known.contains(kind)) else {
        return node.hint("only functions can be called through the upstream's protocol");
    };
    let cache = openai_terms::cache_mark(&tool)?;
    tool.hints(&["defer_loading", "input_examples"])?;
    let function = tool.need(if kind == ToolKind::Custom { "custom" } else { "function" })?.object()?;
    let function_cache = openai_terms::cache_mark(&function)?;
    let name = function.need("name")?;
    let description = function.take("description").map(|text| text.text()).transpose()?;
    let (description, schema) = match kind {
        ToolKind::Custom => {
            let format = function.take("format");
            (custom::described(description, format.as_ref())?, Some(Cow::Borrowed(custom::SCHEMA)))
        }
        _ => (description, function.take("parameters").map(|schema| schema.object_text()).transpose()?),
    };
    tools.push(Tool {
        name: name.string()?,
        path: name.place(),
        description,
        schema,
        strict: function.take("strict").map(|strict| strict.boolean()).transpose()?,
        cache: cache.or(function_cache),
        kind,
        within: None,
    });
    function.hints(&["defer_loading", "input_examples"])?;
    function.finish()?;
    tool.finish()
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
    let parsed = match choice.take("allowed_tools") {
        Some(allowed) => {
            choice.leave_out(&["type"]);
            ToolChoice::Only(allowed_tools(&allowed)?)
        }
        None => ToolChoice::One(function_name(&choice)?),
    };
    choice.finish()?;
    Ok(parsed)
}

fn allowed_tools<'a>(node: &Node<'a, '_>) -> Result<Allowed<'a>, Refused> {
    let allowed = node.object()?;
    let must = allowed.need("mode")?.string()? == "required";
    let names = allowed.need("tools")?.list(|tool| {
        let tool = tool.object()?;
        let name = function_name(&tool)?;
        tool.finish()?;
        Ok(name)
    })?;
    allowed.finish()?;
    Ok(Allowed { names, must })
}

fn function_name<'a>(object: &Object<'a, '_>) -> Result<Cow<'a, str>, Refused> {
    let custom = is_custom(object)?;
    let function = object.need(if custom { "custom" } else { "function" })?.object()?;
    let name = function.need("name")?.string()?;
    function.finish()?;
    Ok(name)
}

fn format<'a>(node: &Node<'a, '_>) -> Result<Option<Format<'a>>, Refused> {
    let format = node.object()?;
    let kind = format.need("type")?;
    let parsed = match &*kind.string()? {
        "text" => None,
        "json_object" => Some(Format::Object),
        "json_schema" => Some(Format::Schema(schema(&format.need("json_schema")?)?)),
        _ => return Err(kind.refuse("is not a format that Tollgate knows")),
    };
    format.finish()?;
    Ok(parsed)
}

fn schema<'a>(node: &Node<'a, '_>) -> Result<Schema<'a>, Refused> {
    let object = node.object()?;
    let schema = Schema {
        name: Some(object.need("name")?.text()?),
        description: object.take("description").map(|text| text.text()).transpose()?,
        schema: object.take("schema").map(|schema| schema.object_text()).transpose()?,
        strict: object.take("strict").map(|strict| strict.boolean()).transpose()?,
    };
    object.finish()?;
    Ok(schema)
}
