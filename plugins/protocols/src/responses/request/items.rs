//! The items of a conversation.

use std::borrow::Cow;

use super::tools;
use crate::custom;
use crate::json::{Node, Object, Raw, Text};
use crate::model::{
    Arguments, Body, Call, Outcome, Part, Refused, Request, Role, Signature, Source, Tool, ToolKind, Turn,
    joined_name,
};
use crate::openai_terms;
use tollgate_plugin::types::Protocol;

/// Parses the conversation, a string or items. Some items bring tools along.
///
/// # Errors
/// An item is not of this protocol, or of no other.
pub(super) fn input<'a>(node: &Node<'a, '_>, request: &mut Request<'a>) -> Result<(), Refused> {
    let Request { turns, tools, .. } = request;
    if node.is_string() {
        let part = Part { body: Body::text(node.text()?), cache: None, path: node.place() };
        turns.push(Turn { role: Role::User, parts: vec![part] });
        return Ok(());
    }
    node.items(|item| {
        let Some(turn) = turn(&item, tools)? else { return Ok(()) };
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

/// Items that are the client's or OpenAI's bookkeeping.
const BOOKKEEPING: [&str; 6] = ["id", "status", "phase", "end_turn", "created_by", "metadata"];

/// What tools of OpenAI's did in earlier turns: what came of it is in the answers.
const DONE_BY_OPENAI: [&str; 6] = [
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_list_tools",
    "mcp_call",
];

/// Parses an item; `None` for one that says nothing to others.
fn turn<'a>(node: &Node<'a, '_>, tools: &mut Vec<Tool<'a>>) -> Result<Option<Turn<'a>>, Refused> {
    let item = node.object()?;
    item.leave_out(&BOOKKEEPING);
    let kind = item.take("type");
    let mark = openai_terms::cache_mark(&item)?;
    // What is nothing but an id refers to another item.
    let usual = if item.has("role") || item.has("content") { "message" } else { "item_reference" };
    let name = kind.map_or(Ok(Cow::Borrowed(usual)), |kind| kind.string())?;
    if DONE_BY_OPENAI.contains(&&*name) {
        node.hint("only OpenAI runs this tool")?;
        return Ok(None);
    }
    let mut turn = match &*name {
        "message" => message(&item)?,
        "reasoning" => single(node, Role::Assistant, thought(&item)?),
        "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
            single(node, Role::User, Body::Outcome(outcome(&item)?))
        }
        "tool_search_output" => single(node, Role::User, Body::Outcome(found(&item, tools)?)),
        "additional_tools" => {
            item.leave_out(&["role"]);
            item.need("tools")?.items(|node| tools::tool(&node, tools, None))?;
            item.finish()?;
            return Ok(None);
        }
        "item_reference" => return Err(node.refuse(REFERENCE)),
        other => {
            let call = call(other, &item)?;
            let why = "is not an item that another protocol has";
            let refused = || kind.map_or_else(|| item.lacks("type"), |kind| kind.refuse(why));
            single(node, Role::Assistant, Body::Call(call.ok_or_else(refused)?))
        }
    };
    if let Some(last) = turn.parts.last_mut() {
        last.cache = last.cache.or(mark);
    }
    item.finish()?;
    Ok(Some(turn))
}

/// The way out for clients that let OpenAI keep their items, as the ai SDK does unless told otherwise.
const REFERENCE: &str = "is an item that only OpenAI keeps: send the items themselves, by setting `store` to false \
    (in the ai SDK: `providerOptions: {openai: {store: false}}`)";

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
    part.mention(&["detail"]);
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

/// What the model called; `None` for an item of another kind.
fn call<'a>(kind: &str, item: &Object<'a, '_>) -> Result<Option<Call<'a>>, Refused> {
    let (name, arguments) = match kind {
        "function_call" => (own_name(item)?, Arguments::Encoded(item.need("arguments")?.text()?)),
        "custom_tool_call" => (own_name(item)?, custom::arguments(&item.need("input")?.text()?)),
        "tool_search_call" => {
            item.leave_out(&["execution"]);
            let arguments = item.take("arguments").filter(Node::is_object);
            let arguments = arguments.map_or(Raw("{}"), |arguments| arguments.raw());
            (Cow::Borrowed(ToolKind::Search.name()), Arguments::Object(arguments))
        }
        "local_shell_call" => {
            let action = item.need("action")?;
            action.object()?;
            (Cow::Borrowed(ToolKind::Shell.name()), Arguments::Object(action.raw()))
        }
        _ => return Ok(None),
    };
    Ok(Some(Call { id: item.need("call_id")?.string()?, name, arguments, signature: None }))
}

/// The name by which everyone else knows a tool.
fn own_name<'a>(item: &Object<'a, '_>) -> Result<Cow<'a, str>, Refused> {
    let namespace = item.take("namespace").map(|namespace| namespace.string()).transpose()?;
    Ok(joined_name(namespace.as_deref(), item.need("name")?.string()?))
}

/// Tools that the client has found: from now on they can be called.
fn found<'a>(item: &Object<'a, '_>, tools: &mut Vec<Tool<'a>>) -> Result<Outcome<'a>, Refused> {
    item.leave_out(&["execution"]);
    let before = tools.len();
    item.need("tools")?.items(|node| tools::tool(&node, tools, None))?;
    let mut known: Vec<Tool<'a>> = tools.drain(before..).collect();
    let names: Vec<&str> = known.iter().map(|tool| &*tool.name).collect();
    let text = match names.as_slice() {
        [] => "No tool was found.".to_owned(),
        names => format!("These tools can be called now: {}.", names.join(", ")),
    };
    known.retain(|tool| tools.iter().all(|other| other.name != tool.name));
    tools.append(&mut known);
    let parts = vec![Part::from(Body::text(Text::plain(&text)))];
    Ok(Outcome { id: item.need("call_id")?.string()?, parts, failed: false })
}

/// The call is found by its id: its name is not needed.
fn outcome<'a>(item: &Object<'a, '_>) -> Result<Outcome<'a>, Refused> {
    item.leave_out(&["name", "namespace"]);
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
