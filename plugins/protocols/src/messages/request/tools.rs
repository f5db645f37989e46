//! What a client of Messages lets the model call.

use std::borrow::Cow;

use super::parse::cache_mark;
use crate::json::{Node, Object, Text};
use crate::model::{Refused, Tool, ToolKind};

/// Tools that Anthropic has trained and the client runs, with the arguments that models give them
/// (<https://platform.claude.com/docs/en/agents-and-tools/tool-use>, read 2026-11).
const RUN_BY_CLIENTS: [(&str, &str, &str); 4] = [
    ("bash_", "Runs a command in a shell that is kept between calls; `restart` begins a new one.", BASH),
    ("text_editor_", "Views, creates and edits text files.", EDITOR),
    ("memory_", "Reads and writes files that are kept between conversations, below /memories.", MEMORY),
    ("computer_", "Looks at a screen and moves its mouse and keyboard.", COMPUTER),
];

const BASH: &str =
    r#"{"type":"object","properties":{"command":{"type":"string"},"restart":{"type":"boolean"}}}"#;

const EDITOR: &str = r#"{"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert"]},"path":{"type":"string"},"view_range":{"type":"array","items":{"type":"integer"}},"file_text":{"type":"string"},"old_str":{"type":"string"},"new_str":{"type":"string"},"insert_line":{"type":"integer"},"insert_text":{"type":"string"}},"required":["command","path"]}"#;

const MEMORY: &str = r#"{"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert","delete","rename"]},"path":{"type":"string"},"view_range":{"type":"array","items":{"type":"integer"}},"file_text":{"type":"string"},"old_str":{"type":"string"},"new_str":{"type":"string"},"insert_line":{"type":"integer"},"insert_text":{"type":"string"},"old_path":{"type":"string"},"new_path":{"type":"string"}},"required":["command"]}"#;

const COMPUTER: &str = r#"{"type":"object","properties":{"action":{"type":"string","enum":["screenshot","key","type","mouse_move","left_click","right_click","middle_click","double_click","triple_click","left_click_drag","left_mouse_down","left_mouse_up","scroll","hold_key","wait","cursor_position","zoom"]},"coordinate":{"type":"array","items":{"type":"integer"}},"start_coordinate":{"type":"array","items":{"type":"integer"}},"region":{"type":"array","items":{"type":"integer"}},"text":{"type":"string"},"scroll_direction":{"type":"string","enum":["up","down","left","right"]},"scroll_amount":{"type":"integer"},"duration":{"type":"number"}},"required":["action"]}"#;

/// Adds a tool. One that Anthropic runs itself is left out; one that the client runs is a function to everyone else.
///
/// `eager_input_streaming` tells when pieces of arguments are sent, not what they are. Examples, and when a tool is
/// shown to the model or who else may call it, help a model to choose.
///
/// # Errors
/// It is no tool, or nothing may be left out.
pub(super) fn tool<'a>(node: &Node<'a, '_>, tools: &mut Vec<Tool<'a>>) -> Result<(), Refused> {
    let tool = node.object()?;
    let kind = tool.take("type").map_or(Ok(Cow::Borrowed("custom")), |kind| kind.string())?;
    let known = RUN_BY_CLIENTS.into_iter().find(|known| kind.starts_with(known.0));
    if kind != "custom" && known.is_none() {
        return node.hint("only Anthropic runs this tool");
    }
    tool.leave_out(&["eager_input_streaming"]);
    tool.hints(&["defer_loading", "input_examples", "allowed_callers"])?;
    let name = tool.need("name")?;
    let (description, schema) = match known {
        None => {
            let description = tool.take("description").map(|text| text.text()).transpose()?;
            (description, Some(tool.need("input_schema")?.object_text()?))
        }
        Some((_, what, schema)) => (Some(described(&tool, what)?), Some(Cow::Borrowed(schema))),
    };
    tools.push(Tool {
        name: name.string()?,
        path: name.place(),
        description,
        schema,
        strict: tool.take("strict").map(|strict| strict.boolean()).transpose()?,
        cache: cache_mark(&tool)?,
        kind: ToolKind::Function,
        within: None,
    });
    tool.finish()
}

/// What a tool is for, and the size of its screen where it has one.
fn described(tool: &Object<'_, '_>, what: &str) -> Result<Text<'static>, Refused> {
    tool.leave_out(&["max_characters", "display_number", "enable_zoom"]);
    let side = |name| tool.take(name).map(|side| side.whole()).transpose();
    Ok(Text::plain(&match (side("display_width_px")?, side("display_height_px")?) {
        (Some(width), Some(height)) => format!("{what} The screen has {width} x {height} pixels."),
        _ => what.to_owned(),
    }))
}
