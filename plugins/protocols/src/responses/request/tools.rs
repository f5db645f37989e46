//! What a client of Responses lets the model call.

use std::borrow::Cow;

use crate::custom;
use crate::json::{Node, Object};
use crate::model::{Allowed, Refused, Tool, ToolChoice, ToolKind, joined_name};
use crate::openai_terms;

/// What the function of a shell takes: as an action of OpenAI's.
const SHELL: &str = r#"{"type":"object","properties":{"command":{"type":"array","items":{"type":"string"}},"working_directory":{"type":"string"},"timeout_ms":{"type":"integer"}},"required":["command"]}"#;

/// Tools that the client runs, each in a way of its own that no function has.
const OTHERS_OF_CLIENTS: [&str; 5] =
    ["shell", "apply_patch", "computer", "computer_use_preview", "computer_use"];

const ONLY_FUNCTIONS: &str = "only functions can be called through the upstream's protocol";

/// Adds a tool, or those of a namespace. One that OpenAI runs itself is left out.
///
/// # Errors
/// It is no tool, or nothing may be left out.
pub(super) fn tool<'a>(
    node: &Node<'a, '_>,
    tools: &mut Vec<Tool<'a>>,
    namespace: Option<&str>,
) -> Result<(), Refused> {
    let tool = node.object()?;
    let kind = tool.need("type")?;
    let name = kind.string()?;
    if name == "namespace" && namespace.is_none() {
        return members(&tool, tools);
    }
    if OTHERS_OF_CLIENTS.contains(&&*name) {
        return Err(kind.refuse(ONLY_FUNCTIONS));
    }
    let known = ToolKind::named(&name).filter(|kind| match kind {
        ToolKind::Search => tool.take("execution").is_some_and(|execution| execution.is("client")),
        _ => true,
    });
    match known {
        None => node.hint(ONLY_FUNCTIONS),
        Some(kind) => {
            tools.push(declared(&tool, kind, namespace)?);
            tool.hints(&["defer_loading", "input_examples", "output_schema"])?;
            tool.finish()
        }
    }
}

/// Tools of a namespace are called by both names.
fn members<'a>(tool: &Object<'a, '_>, tools: &mut Vec<Tool<'a>>) -> Result<(), Refused> {
    tool.mention(&["description"]);
    tool.hints(&["defer_loading"])?;
    let namespace = tool.need("name")?.string()?;
    tool.need("tools")?.items(|node| self::tool(&node, tools, Some(&namespace)))?;
    tool.finish()
}

fn declared<'a>(tool: &Object<'a, '_>, kind: ToolKind, namespace: Option<&str>) -> Result<Tool<'a>, Refused> {
    let description = tool.take("description").map(|text| text.text()).transpose()?;
    let parameters = || tool.take("parameters").map(|schema| schema.object_text()).transpose();
    let (description, schema) = match kind {
        ToolKind::Function | ToolKind::Search => (description, parameters()?),
        ToolKind::Custom => {
            let format = tool.take("format");
            (custom::described(description, format.as_ref())?, Some(Cow::Borrowed(custom::SCHEMA)))
        }
        ToolKind::Shell => (description, Some(Cow::Borrowed(SHELL))),
    };
    let (name, path) = match tool.take("name") {
        Some(name) => (name.string()?, name.place()),
        None if matches!(kind, ToolKind::Search | ToolKind::Shell) => {
            (Cow::Borrowed(kind.name()), Box::default())
        }
        None => return Err(tool.lacks("name")),
    };
    Ok(Tool {
        within: namespace.map(|namespace| [Cow::Owned(namespace.to_owned()), name.clone()]),
        name: joined_name(namespace, name),
        path,
        description,
        schema,
        strict: tool.take("strict").map(|strict| strict.boolean()).transpose()?,
        cache: openai_terms::cache_mark(tool)?,
        kind,
    })
}

/// Which tools are to be called.
///
/// # Errors
/// The choice is of a tool that only OpenAI runs, or no choice.
pub(super) fn choice<'a>(node: &Node<'a, '_>) -> Result<ToolChoice<'a>, Refused> {
    if node.is_string() {
        return match &*node.string()? {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Any),
            _ => Err(node.refuse("is not a choice that Tollgate knows")),
        };
    }
    let choice = node.object()?;
    let Some(tools) = choice.take("tools") else {
        let kind = choice.need("type")?;
        let name = chosen(&kind, &choice)?.ok_or_else(|| kind.refuse(ONLY_FUNCTIONS))?;
        choice.finish()?;
        return Ok(ToolChoice::One(name));
    };
    choice.leave_out(&["type"]);
    let must = choice.need("mode")?.is("required");
    let mut names = Vec::new();
    tools.items(|node| {
        let tool = node.object()?;
        match chosen(&tool.need("type")?, &tool)? {
            Some(name) => names.push(name),
            None => node.hint(ONLY_FUNCTIONS)?,
        }
        Ok(())
    })?;
    choice.finish()?;
    Ok(ToolChoice::Only(Allowed { names, must }))
}

/// The name of a chosen tool; `None` for one that OpenAI runs.
fn chosen<'a>(kind: &Node<'_, '_>, choice: &Object<'a, '_>) -> Result<Option<Cow<'a, str>>, Refused> {
    Ok(match ToolKind::named(&kind.string()?) {
        Some(ToolKind::Function | ToolKind::Custom) => {
            let namespace = choice.take("namespace").map(|namespace| namespace.string()).transpose()?;
            Some(joined_name(namespace.as_deref(), choice.need("name")?.string()?))
        }
        Some(kind) => Some(Cow::Borrowed(kind.name())),
        None => None,
    })
}
