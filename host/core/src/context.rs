//! How a conversation is made to fit a window: the oldest turns are left out, and what stays is byte for byte what it
//! was.
//!
//! The rule, for `messages`, `contents` and `input` alike:
//!
//! - A *turn* begins with a user's message that is not the result of a tool, and goes on to the next one: answers, tool
//!   calls and their results belong to the turn in which they were asked for. What stands before the first turn is one
//!   too.
//! - Whole turns are left out, oldest first, until the rest fits the window. The last one always stays, and what stays
//!   begins with a user's message.
//! - System and developer messages stay wherever they stand.
//! - A tool call and its result are never separated: where a later turn answers a call of an earlier one, by its id,
//!   both stay or both go.
//! - A token is [`BYTES_PER_TOKEN`] bytes of text, of the whole body: system prompt and tools count, media do not. That
//!   is the text that a content filter would see ([`crate::text`]).
//!
//! A conversation that cannot be made to fit by this rule is made as short as the rule allows.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use crate::json::{self, Kind, Value};
use crate::protocol::Protocol;
use crate::text::{self, Scope};

/// Bytes of text that count as one token.
pub const BYTES_PER_TOKEN: u64 = 4;

/// What is left out of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// How many turns.
    pub turns: usize,
    /// Their bytes, in order and apart from each other, with the commas that separate them from what follows.
    pub cuts: Vec<Range<usize>>,
}

impl Fit {
    /// The body without what is left out.
    #[must_use]
    pub fn apply(&self, body: &[u8]) -> Vec<u8> {
        let mut kept = Vec::with_capacity(body.len());
        let mut from = 0;
        for cut in &self.cuts {
            kept.extend_from_slice(body.get(from..cut.start).unwrap_or_default());
            from = cut.end;
        }
        kept.extend_from_slice(body.get(from..).unwrap_or_default());
        kept
    }
}

/// The member that holds the turns of a request in this protocol.
#[must_use]
pub const fn turns_member(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::OpenaiChat | Protocol::AnthropicMessages => "messages",
        Protocol::OpenaiResponses => "input",
        Protocol::Gemini => "contents",
    }
}

/// What to leave out of `body` so that it fits `window` tokens; `None` when it fits, or nothing may be left out. `list`
/// is the value of its [`turns_member`].
#[must_use]
pub fn fit(protocol: Protocol, body: &[u8], list: Value, window: u64) -> Option<Fit> {
    if list.kind != Kind::Array {
        return None;
    }
    let weights = Weights::of(body)?;
    if tokens(weights.total) <= window {
        return None;
    }
    let mut messages = Vec::new();
    let read = |value| {
        messages.push(Message::read(protocol, body, value));
        ControlFlow::Continue(())
    };
    json::elements_of(body, list, read).ok()?;
    let begins: Vec<usize> = (0..messages.len()).filter(|&at| messages[at].part == Part::Begin).collect();
    let mut best = None;
    for (turn, &begin) in begins.iter().enumerate() {
        if parts_a_pair(&messages, begin) {
            continue;
        }
        let out = || messages[..begin].iter().filter(|message| message.part != Part::Stay);
        let gone: u64 = out().map(|message| weights.within(&message.range)).sum();
        best = out().next().is_some().then_some((turn, begin)).or(best);
        if tokens(weights.total - gone) <= window {
            break;
        }
    }
    let (turn, begin) = best?;
    let before = messages.iter().take_while(|message| message.part != Part::Begin);
    let prelude = before.filter(|message| message.part != Part::Stay).count().min(1);
    Some(Fit { turns: turn + prelude, cuts: cuts(&messages, begin) })
}

const fn tokens(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// The bytes of messages before `begin` that do not stay, each up to where the next one begins.
fn cuts(messages: &[Message], begin: usize) -> Vec<Range<usize>> {
    let mut cuts: Vec<Range<usize>> = Vec::new();
    for pair in messages[..=begin].windows(2) {
        let [message, next] = pair else { continue };
        if message.part == Part::Stay {
            continue;
        }
        match cuts.last_mut() {
            Some(last) if last.end == message.range.start => last.end = next.range.start,
            _ => cuts.push(message.range.start..next.range.start),
        }
    }
    cuts
}

/// Whether a result that stays belongs to a call that would go.
fn parts_a_pair(messages: &[Message], begin: usize) -> bool {
    let gone = messages[..begin].iter().filter(|message| message.part != Part::Stay);
    let calls: HashMap<&str, ()> =
        gone.flat_map(|message| message.calls.iter().map(|id| (id.as_str(), ()))).collect();
    !calls.is_empty()
        && messages[begin..]
            .iter()
            .flat_map(|message| &message.results)
            .any(|id| calls.contains_key(id.as_str()))
}

/// What a message is to its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It begins one.
    Begin,
    /// It belongs to the one before.
    Follow,
    /// It belongs to none and stays.
    Stay,
}

#[derive(Debug)]
struct Message {
    range: Range<usize>,
    part: Part,
    /// Ids of tool calls, and of other things that may be referred to.
    calls: Vec<String>,
    /// Ids of the tool calls whose results it holds.
    results: Vec<String>,
}

impl Message {
    fn read(protocol: Protocol, body: &[u8], value: Value) -> Self {
        let mut found = Links::default();
        if value.kind == Kind::Object {
            found.object(body, value);
        }
        let Links { role, kind, calls, results, answers } = found;
        // A Gemini client may leave out the role; a kind other than `message` is an item of the Responses API.
        let user = role
            .as_deref()
            .map_or(protocol == Protocol::Gemini && value.kind == Kind::Object, |role| role == "user");
        let message = kind.as_deref().is_none_or(|kind| kind == "message");
        let part = match role.as_deref() {
            Some("system" | "developer") => Part::Stay,
            _ if user && message && !answers => Part::Begin,
            _ => Part::Follow,
        };
        Self { range: value.range(), part, calls, results }
    }
}

/// What is looked for in a message.
#[derive(Debug, Default)]
struct Links {
    role: Option<String>,
    kind: Option<String>,
    calls: Vec<String>,
    results: Vec<String>,
    /// Whether it holds the result of a tool call.
    answers: bool,
}

impl Links {
    /// Looks at a message's own members, then at those of its blocks, parts and calls.
    fn object(&mut self, body: &[u8], object: Value) {
        let text = |value: Value| json::string(body, value).map(std::borrow::Cow::into_owned);
        let mut inner = Vec::new();
        // The whole body has been validated, so its parts cannot fail.
        let _valid = json::members_of(body, object, |name, value| match (name, value.kind) {
            (b"role", Kind::String) => self.role = text(value),
            (b"type", Kind::String) => self.kind = text(value),
            (b"content" | b"parts" | b"tool_calls", Kind::Array) => inner.push(value),
            _ => self.id(body, name, value),
        });
        for list in inner {
            let _valid = json::elements_of(body, list, |block| {
                if block.kind == Kind::Object {
                    let _valid = json::members_of(body, block, |name, value| self.block(body, name, value));
                }
                ControlFlow::Continue(())
            });
        }
    }

    /// A member of a block, part or call.
    fn block(&mut self, body: &[u8], name: &[u8], value: Value) {
        match (name, value.kind) {
            (b"functionCall" | b"function_call", Kind::Object) => self.calls.extend(id_of(body, value)),
            (b"functionResponse" | b"function_response", Kind::Object) => {
                self.answers = true;
                self.results.extend(id_of(body, value));
            }
            _ => self.id(body, name, value),
        }
    }

    /// A member that may tie a result to its call.
    fn id(&mut self, body: &[u8], name: &[u8], value: Value) {
        let ids: [Option<&mut Vec<String>>; 2] = match name {
            b"id" => [Some(&mut self.calls), None],
            // A tool call and its result in the Responses API.
            b"call_id" => [Some(&mut self.calls), Some(&mut self.results)],
            b"tool_call_id" | b"tool_use_id" | b"approval_request_id" => {
                self.answers = true;
                [None, Some(&mut self.results)]
            }
            _ => return,
        };
        if let Some(id) = json::string(body, value) {
            ids.into_iter().flatten().for_each(|list| list.push(id.clone().into_owned()));
        }
    }
}

fn id_of(body: &[u8], object: Value) -> Option<String> {
    let mut id = None;
    let _valid = json::members_of(body, object, |name, value| {
        if name == b"id" {
            id = json::string(body, value).map(std::borrow::Cow::into_owned);
        }
    });
    id
}

/// Where the text of a body is.
struct Weights {
    /// Bytes of text by where they stand, in the order of the body.
    parts: Vec<(usize, u64)>,
    total: u64,
}

impl Weights {
    fn of(body: &[u8]) -> Option<Self> {
        let extract = text::extract(body, Scope::Request).ok()?;
        let ends =
            extract.parts.iter().skip(1).map(|part| part.at.saturating_sub(1)).chain([extract.text.len()]);
        let mut parts: Vec<_> = extract
            .parts
            .iter()
            .zip(ends)
            .map(|(part, end)| (part.raw.start, end.saturating_sub(part.at) as u64))
            .collect();
        parts.sort_unstable();
        let total = parts.iter().map(|(_, bytes)| bytes).sum();
        Some(Self { parts, total })
    }

    /// Bytes of text in a range of the body.
    fn within(&self, range: &Range<usize>) -> u64 {
        let from = self.parts.partition_point(|(at, _)| *at < range.start);
        self.parts[from..].iter().take_while(|(at, _)| *at < range.end).map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests;
