//! What may be called, and under which names.

use std::borrow::Cow;

use super::{At, Body, CacheMark, LeftOut, Refused, Request};
use crate::id;
use crate::json::Text;
use tollgate_plugin::types::Protocol;

/// A tool that the client runs.
#[derive(Debug)]
pub(crate) struct Tool<'a> {
    /// As calls name it: behind the name of its namespace, where it has one.
    pub(crate) name: Cow<'a, str>,
    pub(crate) description: Option<Text<'a>>,
    /// JSON Schema of the arguments.
    pub(crate) schema: Option<Cow<'a, str>>,
    /// Whether the arguments must follow the schema.
    pub(crate) strict: Option<bool>,
    pub(crate) cache: Option<CacheMark>,
    /// Where its name stood in the client's request.
    pub(crate) path: Box<str>,
    pub(crate) kind: ToolKind,
    /// Its namespace, and its name in there.
    pub(crate) within: Option<[Cow<'a, str>; 2]>,
}

/// How a client knows a tool; everyone else knows functions only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ToolKind {
    #[default]
    Function,
    /// It takes a text and no object.
    Custom,
    /// It finds further tools, by the client's own means.
    Search,
    /// It runs commands.
    Shell,
}

impl ToolKind {
    const NAMES: [(Self, &'static str); 4] = [
        (Self::Function, "function"),
        (Self::Custom, "custom"),
        (Self::Search, "tool_search"),
        (Self::Shell, "local_shell"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|named| named.0 == self).map_or("function", |named| named.1)
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|named| named.1 == name).map(|named| named.0)
    }
}

impl Tool<'_> {
    /// Where it stood in the client's request.
    pub(crate) fn place(&self) -> &str {
        self.path.strip_suffix(".name").unwrap_or(&self.path)
    }
}

/// The name under which a tool of a namespace is called.
pub(crate) fn joined_name<'a>(namespace: Option<&str>, name: Cow<'a, str>) -> Cow<'a, str> {
    match namespace {
        None => name,
        Some(namespace) if namespace.ends_with("__") => Cow::Owned([namespace, &name].concat()),
        Some(namespace) => Cow::Owned([namespace, "__", &name].concat()),
    }
}

/// Whether tools are to be called.
#[derive(Debug)]
pub(crate) enum ToolChoice<'a> {
    Auto,
    None,
    /// At least one.
    Any,
    One(Cow<'a, str>),
    /// As if there were only these tools.
    Only(Allowed<'a>),
}

/// A choice among some of the tools.
#[derive(Debug)]
pub(crate) struct Allowed<'a> {
    pub(crate) names: Vec<Cow<'a, str>>,
    /// Whether one of them must be called.
    pub(crate) must: bool,
}

/// A tool that the client knows otherwise than the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alias {
    /// Its name upstream.
    pub(crate) sent: String,
    /// The client's.
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) kind: ToolKind,
}

impl Alias {
    /// Whether only its name is another one.
    pub(crate) fn is_plain(&self) -> bool {
        self.kind == ToolKind::Function && self.namespace.is_none()
    }
}

impl<'a> Request<'a> {
    /// Refuses to force a call of a tool that is not sent on.
    ///
    /// # Errors
    /// The client chose such a tool.
    pub(crate) fn check_choice(&mut self, notes: &LeftOut) -> Result<(), Refused> {
        let Self { tools, tool_choice: Some(choice), .. } = self else { return Ok(()) };
        let known = |name: &Cow<'a, str>| tools.iter().any(|tool| tool.name == *name);
        match &mut choice.value {
            ToolChoice::One(name) if !tools.is_empty() && !known(name) => {
                Err(choice.refuse("names no tool that can be called through the upstream's protocol"))
            }
            ToolChoice::Only(allowed) if !tools.is_empty() => {
                let asked = allowed.names.len();
                allowed.names.retain(known);
                if allowed.names.len() < asked {
                    notes.mention(&choice.path);
                }
                match (allowed.names.is_empty(), allowed.must) {
                    (false, _) => Ok(()),
                    (true, false) => {
                        choice.value = ToolChoice::None;
                        Ok(())
                    }
                    (true, true) => {
                        Err(choice.refuse("names no tool that can be called through the upstream's protocol"))
                    }
                }
            }
            _ => Ok(()),
        }
    }

    /// Gives every tool a name that the upstream takes, and tells which ones the client knows otherwise.
    pub(crate) fn name_tools(&mut self, upstream: Protocol) -> Vec<Alias> {
        let mut aliases = Vec::new();
        for tool in &mut self.tools {
            let sent = accepted(&tool.name, upstream);
            let renamed = sent != tool.name;
            if renamed || tool.within.is_some() || tool.kind != ToolKind::Function {
                let [namespace, name] = match &tool.within {
                    Some([namespace, name]) => [Some(namespace.to_string()), Some(name.to_string())],
                    None => [None, Some(tool.name.to_string())],
                };
                let name = name.unwrap_or_default();
                aliases.push(Alias { sent: sent.to_string(), name, namespace, kind: tool.kind });
            }
            if renamed {
                tool.name = Cow::Owned(sent.into_owned());
            }
        }
        let calls = self.turns.iter_mut().flat_map(|turn| &mut turn.parts);
        for part in calls {
            if let Body::Call(call) = &mut part.body {
                rename(&mut call.name, upstream);
            }
        }
        match &mut self.tool_choice {
            Some(At { value: ToolChoice::One(name), .. }) => rename(name, upstream),
            Some(At { value: ToolChoice::Only(allowed), .. }) => {
                allowed.names.iter_mut().for_each(|name| rename(name, upstream));
            }
            _ => {}
        }
        aliases
    }
}

fn rename(name: &mut Cow<'_, str>, upstream: Protocol) {
    if let Cow::Owned(other) = accepted(name, upstream) {
        *name = Cow::Owned(other);
    }
}

/// The name itself where the upstream takes it, or one in its place that differs from those of other tools.
fn accepted(name: &str, upstream: Protocol) -> Cow<'_, str> {
    let (max, more) = match upstream {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => (64, ""),
        Protocol::AnthropicMessages => (128, ""),
        Protocol::Gemini => (128, ".:"),
    };
    let fits =
        |symbol: char| symbol.is_ascii_alphanumeric() || "_-".contains(symbol) || more.contains(symbol);
    // Gemini wants a letter or a line at the beginning, which the others take as well.
    let begins = |name: &str| {
        upstream != Protocol::Gemini
            || name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
    };
    if (1..=max).contains(&name.len()) && name.chars().all(fits) && begins(name) {
        return Cow::Borrowed(name);
    }
    let fitting = id::fitting(name, max - 1);
    Cow::Owned(if begins(&fitting) && fitting != name { fitting.into_owned() } else { format!("_{fitting}") })
}

#[cfg(test)]
mod tests {
    use super::{Protocol, accepted, joined_name};
    use std::borrow::Cow;

    #[test]
    fn a_name_is_kept_where_it_fits_and_stays_apart_from_others_where_not() {
        let long = "mcp__server__".to_owned() + &"x".repeat(60);
        for (name, upstream, kept) in [
            ("weather", Protocol::OpenaiChat, true),
            ("a.b", Protocol::Gemini, true),
            ("a.b", Protocol::AnthropicMessages, false),
            ("7up", Protocol::Gemini, false),
            ("7up", Protocol::OpenaiChat, true),
            ("", Protocol::AnthropicMessages, false),
            ("größe", Protocol::OpenaiResponses, false),
            (&long, Protocol::OpenaiChat, false),
            (&long, Protocol::AnthropicMessages, true),
        ] {
            let sent = accepted(name, upstream);
            assert_eq!(sent == name, kept, "{name}");
            assert!(sent.len() <= 128 && accepted(&sent, upstream) == sent, "{sent}");
        }
        let chat = Protocol::OpenaiChat;
        assert_ne!(accepted(&format!("{long}a"), chat), accepted(&format!("{long}b"), chat));
        assert!(accepted(&long, chat).len() <= 64);
    }

    #[test]
    fn a_namespace_stands_before_the_name() {
        let joined = |namespace| joined_name(namespace, Cow::Borrowed("now"));
        assert_eq!(joined(None), "now");
        assert_eq!(joined(Some("mcp__demo")), "mcp__demo__now");
        assert_eq!(joined(Some("mcp__demo__")), "mcp__demo__now");
    }
}
