//! What a client of Messages asks for.

use super::tools;
use crate::json::{Node, Object, Text};
use crate::model::{
    Arguments, At, Body, Budget, CacheMark, Call, Citation, Effort, Format, Outcome, Part, Reasoning,
    Refused, Request, Role, Schema, Signature, Source, Tier, ToolChoice, Turn,
};
use crate::openai_terms::option;
use tollgate_plugin::types::Protocol;

/// Parses a request. `context_management` lets Anthropic clear old content to save tokens: it is left out, and
/// everything is sent. `diagnostics`, which asks why a cache was missed, is left out as well, and so are the servers
/// that Anthropic would call.
///
/// # Errors
/// What is not a request of this protocol, or cannot be expressed in any other.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Request<'a>, Refused> {
    let body = document.object()?;
    body.leave_out(&["model"]);
    body.mention(&["context_management", "diagnostics"]);
    body.hints(&["mcp_servers", "client_metadata", "betas"])?;
    let stream = body.take("stream").map_or(Ok(false), |node| node.boolean())?;
    let mut request = Request { stream, ..Request::default() };
    if let Some(system) = body.take("system") {
        request.turns.push(Turn { role: Role::System, parts: content(&system)? });
    }
    body.need("messages")?.items(|message| {
        request.turns.push(turn(&message)?);
        Ok(())
    })?;
    if let Some(tools) = body.take("tools") {
        tools.items(|node| tools::tool(&node, &mut request.tools))?;
    }
    if let Some(choice) = body.take("tool_choice") {
        tool_choice(&choice, &mut request)?;
    }
    if let Some(thinking) = body.take("thinking") {
        parse_thinking(&thinking, &mut request.reasoning)?;
    }
    if let Some(config) = body.take("output_config") {
        output_config(&config, &mut request)?;
    }
    if let Some(metadata) = body.take("metadata") {
        let metadata = metadata.object()?;
        request.user = option(metadata.take("user_id"), Node::text)?;
        metadata.rest(|_, label| label.hint("no other provider has labels"))?;
    }
    sampling(&body, &mut request)?;
    request.tier = option(body.take("service_tier"), tier)?;
    request.cache = cache_mark(&body)?;
    standard_speed(&body)?;
    body.finish()?;
    Ok(request)
}

fn standard_speed(body: &Object<'_, '_>) -> Result<(), Refused> {
    match body.take("speed") {
        Some(speed) if speed.string()? != "standard" => Err(speed.refuse("only Anthropic has other speeds")),
        _ => Ok(()),
    }
}

fn sampling<'a>(body: &Object<'a, '_>, request: &mut Request<'a>) -> Result<(), Refused> {
    let sampling = &mut request.sampling;
    sampling.max_tokens = option(body.take("max_tokens"), Node::whole)?;
    sampling.temperature = option(body.take("temperature"), |node| node.number())?;
    sampling.top_p =
        option(body.take("top_p"), |node| node.number())?.filter(|top_p| top_p.value.approximate() != 1.0);
    sampling.top_k = option(body.take("top_k"), |node| node.number())?;
    sampling.stop = option(body.take("stop_sequences"), |node| node.list(|stop| stop.text()))?
        .filter(|stop| !stop.value.is_empty());
    Ok(())
}

fn tier(node: &Node<'_, '_>) -> Result<Tier, Refused> {
    match &*node.string()? {
        "auto" => Ok(Tier::Auto),
        "standard_only" => Ok(Tier::Standard),
        _ => Err(node.refuse("is not a service tier that Tollgate knows")),
    }
}

fn turn<'a>(node: &Node<'a, '_>) -> Result<Turn<'a>, Refused> {
    let message = node.object()?;
    let role = message.need("role")?;
    let role = match &*role.string()? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(role.refuse("is not a role that Tollgate knows")),
    };
    let parts = content(&message.need("content")?)?;
    message.finish()?;
    Ok(Turn { role, parts })
}

fn content<'a>(node: &Node<'a, '_>) -> Result<Vec<Part<'a>>, Refused> {
    if node.is_string() {
        return Ok(vec![Part { body: Body::text(node.text()?), cache: None, path: node.place() }]);
    }
    node.list(|node| {
        let block = node.object()?;
        if block.take_if("type", |name| name == "type").is_some_and(|kind| kind.is("tool_result")) {
            return tool_result(&node);
        }
        part(&node)
    })
}

/// A tool that was found is one that can be called: all of them are declared upstream.
fn reference<'a>(node: &Node<'a, '_>) -> Result<Part<'a>, Refused> {
    let name = node.object()?.need("tool_name")?.string()?;
    let text = Text::plain(&format!("The tool {name} can be called."));
    Ok(Part { body: Body::text(text), cache: None, path: node.place() })
}

/// Parses a block that can stand anywhere, in a tool's result too.
fn part<'a>(node: &Node<'a, '_>) -> Result<Part<'a>, Refused> {
    let object = node.object()?;
    let kind = object.need("type")?;
    let cache = cache_mark(&object)?;
    let body = block(&kind.string()?, &object)?
        .ok_or_else(|| kind.refuse("is not a kind of block that another protocol has"))?;
    object.finish()?;
    Ok(Part { body, cache, path: node.place() })
}

/// Takes the content of a block of this kind; `None` for a kind that no other protocol has.
///
/// # Errors
/// The block has another shape.
fn block<'a>(kind: &str, block: &Object<'a, '_>) -> Result<Option<Body<'a>>, Refused> {
    let body = match kind {
        "text" => {
            let citations = block.take("citations").map_or(Ok(Vec::new()), |list| citations(&list))?;
            Body::Text { text: block.need("text")?.text()?, citations }
        }
        "image" => Body::Image { source: source(&block.need("source")?)?, detail: None },
        "document" => document(block)?,
        "tool_use" => Body::Call(tool_use(block)?),
        "thinking" => {
            let text = block.need("thinking")?.text()?;
            let signature = block.take("signature").map(|signature| signature.text()).transpose()?;
            let signature = signature.filter(|signature| !signature.is_empty());
            let open = |value| Signature::open(Protocol::AnthropicMessages, value);
            Body::Thinking { text, signature: signature.map(open) }
        }
        "redacted_thinking" => {
            let mut signature = Signature::open(Protocol::AnthropicMessages, block.need("data")?.text()?);
            signature.redacted = true;
            Body::Thinking { text: Text::EMPTY, signature: Some(signature) }
        }
        _ => return Ok(None),
    };
    Ok(Some(body))
}

/// The sources that have an address. Others point into documents of the request, which no other protocol can cite.
///
/// # Errors
/// They are not a list of objects.
fn citations<'a>(list: &Node<'a, '_>) -> Result<Vec<Citation<'a>>, Refused> {
    let mut citations = Vec::new();
    list.items(|node| {
        citations.extend(citation(&node)?);
        Ok(())
    })?;
    Ok(citations)
}

/// # Errors
/// It is not an object, or has no text where one belongs.
fn citation<'a>(node: &Node<'a, '_>) -> Result<Option<Citation<'a>>, Refused> {
    let object = node.object()?;
    let Some(url) = object.take("url") else { return Ok(None) };
    let title = object.take("title").map(|title| title.text()).transpose()?;
    Ok(Some(Citation { url: url.text()?, title, start: None, end: None }))
}

fn document<'a>(block: &Object<'a, '_>) -> Result<Body<'a>, Refused> {
    if let Some(citations) = block.take("citations") {
        let config = citations.object()?;
        if let Some(enabled) = config.take("enabled")
            && enabled.boolean()?
        {
            return Err(enabled.refuse("no other protocol can cite documents"));
        }
        config.finish()?;
    }
    let name = block.take("title").map(|title| title.text()).transpose()?;
    Ok(Body::File { source: source(&block.need("source")?)?, name })
}

fn source<'a>(node: &Node<'a, '_>) -> Result<Source<'a>, Refused> {
    let object = node.object()?;
    let kind = object.need("type")?;
    let source = match &*kind.string()? {
        "base64" => {
            let media = object.need("media_type")?.string()?;
            Source::Base64 { media, data: object.need("data")?.text()? }
        }
        "url" => Source::Url(object.need("url")?.text()?),
        "file" => Source::Id { origin: Protocol::AnthropicMessages, id: object.need("file_id")?.text()? },
        "text" => {
            object.leave_out(&["media_type"]);
            Source::Plain(object.need("data")?.text()?)
        }
        _ => return Err(kind.refuse("is not a source that another protocol has")),
    };
    object.finish()?;
    Ok(source)
}

/// `caller` says who may have made the call: the model itself, as everywhere.
fn tool_use<'a>(block: &Object<'a, '_>) -> Result<Call<'a>, Refused> {
    if let Some(caller) = block.take("caller")
        && !caller.object()?.need("type")?.is("direct")
    {
        return Err(caller.refuse("only the model itself calls tools through the upstream's protocol"));
    }
    let input = block.need("input")?;
    input.object()?;
    Ok(Call {
        id: block.need("id")?.string()?,
        name: block.need("name")?.string()?,
        arguments: Arguments::Object(input.raw()),
        signature: None,
    })
}

fn tool_result<'a>(node: &Node<'a, '_>) -> Result<Part<'a>, Refused> {
    let block = node.object()?;
    block.leave_out(&["type"]);
    let cache = cache_mark(&block)?;
    let id = block.need("tool_use_id")?.string()?;
    let failed = block.take("is_error").map_or(Ok(false), |failed| failed.boolean())?;
    let parts = match block.take("content") {
        None => Vec::new(),
        Some(text) if text.is_string() => content(&text)?,
        // Results do not nest.
        Some(list) => list.list(|inner| match inner.object()?.take("type") {
            Some(kind) if kind.is("tool_reference") => reference(&inner),
            _ => part(&inner),
        })?,
    };
    block.finish()?;
    Ok(Part { body: Body::Outcome(Outcome { id, parts, failed }), cache, path: node.place() })
}

/// How long what ends here should be cached.
///
/// # Errors
/// It is not an object, or has something new in it.
pub(crate) fn cache_mark(object: &Object<'_, '_>) -> Result<Option<CacheMark>, Refused> {
    let Some(control) = object.take("cache_control") else { return Ok(None) };
    let control = control.object()?;
    control.leave_out(&["type"]);
    let long = control.take("ttl").is_some_and(|ttl| ttl.is("1h"));
    control.hints(&["scope"])?;
    control.finish()?;
    Ok(Some(if long { CacheMark::Long } else { CacheMark::Short }))
}

fn tool_choice<'a>(node: &Node<'a, '_>, request: &mut Request<'a>) -> Result<(), Refused> {
    let choice = node.object()?;
    let kind = choice.need("type")?;
    let parsed = match &*kind.string()? {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "any" => ToolChoice::Any,
        "tool" => ToolChoice::One(choice.need("name")?.string()?),
        _ => return Err(kind.refuse("is not a choice that Tollgate knows")),
    };
    if let Some(disabled) = choice.take("disable_parallel_tool_use")
        && disabled.boolean()?
    {
        request.one_call = Some(disabled.at(()));
    }
    choice.finish()?;
    request.tool_choice = Some(node.at(parsed));
    Ok(())
}

/// How the model is to think.
///
/// # Errors
/// It has another shape.
pub(crate) fn parse_thinking(node: &Node<'_, '_>, reasoning: &mut Reasoning) -> Result<(), Refused> {
    let thinking = node.object()?;
    let kind = thinking.need("type")?;
    let budget = match &*kind.string()? {
        "enabled" => Budget::Tokens(thinking.need("budget_tokens")?.whole()?),
        "adaptive" => Budget::Adaptive,
        "disabled" => Budget::Off,
        _ => return Err(kind.refuse("is not a way of thinking that Tollgate knows")),
    };
    let hidden = thinking.take("display").is_some_and(|display| display.is("omitted"));
    thinking.finish()?;
    reasoning.budget = Some(node.at(budget));
    reasoning.visible = Some(budget != Budget::Off && !hidden);
    Ok(())
}

fn output_config<'a>(node: &Node<'a, '_>, request: &mut Request<'a>) -> Result<(), Refused> {
    let config = node.object()?;
    request.reasoning.effort = option(config.take("effort"), |node| {
        Effort::named(&node.string()?).ok_or_else(|| node.refuse("is not an effort that Tollgate knows"))
    })?;
    config.hints(&["task_budget"])?;
    if let Some(node) = config.take("format") {
        let format = node.object()?;
        format.leave_out(&["type"]);
        let schema = format.need("schema")?.object_text()?;
        format.finish()?;
        let schema = Schema { name: None, description: None, schema: Some(schema), strict: Some(true) };
        request.format = Some(At { value: Format::Schema(schema), path: node.place() });
    }
    config.finish()
}
