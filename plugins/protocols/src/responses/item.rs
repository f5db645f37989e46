//! Items of an answer: what the model thinks and says, and the tools that it calls.

use crate::id;
use crate::json::{Node, Number, Raw, Text, Writer};
use crate::model::{Arguments, Body, Citation, Part, Signature, TokenLogprob, ToolKind};
use crate::openai_terms;
use crate::target::Context;
use tollgate_plugin::types::Protocol;

/// One item of `output`.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) content: Content,
}

/// What an item holds.
#[derive(Debug)]
pub(super) enum Content {
    /// The parts that the client reads.
    Message(Vec<Piece>),
    /// A summary, and what proves it.
    Reasoning {
        summary: Option<Text<'static>>,
        signature: Option<Signature<'static>>,
    },
    Call {
        call_id: String,
        called: Called,
        arguments: Text<'static>,
    },
}

/// What is called, as the client knows it.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) kind: ToolKind,
    name: String,
    namespace: Option<String>,
}

impl Called {
    /// The tool that the upstream knows by this name.
    pub(super) fn of(context: &Context, sent: &str) -> Self {
        let alias = context.alias(sent);
        Self {
            kind: context.kind_of(sent),
            name: context.client_name(sent).to_owned(),
            namespace: alias.and_then(|alias| alias.namespace.clone()),
        }
    }

    /// The beginning of an item's id.
    const fn prefix(&self) -> &'static str {
        match self.kind {
            ToolKind::Function => "fc",
            ToolKind::Custom => "ctc",
            ToolKind::Search => "tsc",
            ToolKind::Shell => "lsh",
        }
    }

    const fn item_type(&self) -> &'static str {
        match self.kind {
            ToolKind::Function => "function_call",
            ToolKind::Custom => "custom_tool_call",
            ToolKind::Search => "tool_search_call",
            ToolKind::Shell => "local_shell_call",
        }
    }

    pub(super) fn takes_object(&self) -> bool {
        self.kind != ToolKind::Custom
    }

    /// The events that bring its arguments and end them, and the member that these are in there.
    pub(super) const fn events(&self) -> Option<[&'static str; 3]> {
        match self.kind {
            ToolKind::Function => Some([
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "arguments",
            ]),
            ToolKind::Custom => Some([
                "response.custom_tool_call_input.delta",
                "response.custom_tool_call_input.done",
                "input",
            ]),
            ToolKind::Search | ToolKind::Shell => None,
        }
    }

    fn print(&self, w: &mut Writer, arguments: &Text<'_>) {
        match self.kind {
            ToolKind::Function => {
                w.field("name", &self.name);
                w.optional("namespace", self.namespace.as_ref());
                w.field("arguments", arguments);
            }
            ToolKind::Custom => {
                w.field("name", &self.name);
                w.optional("namespace", self.namespace.as_ref());
                w.field("input", arguments);
            }
            ToolKind::Search => {
                w.field("execution", "client");
                let arguments = Arguments::Encoded(arguments.borrowed());
                w.field("arguments", Raw(&arguments.object_or_wrapped()));
            }
            ToolKind::Shell => w.object_at("action", |w| print_action(w, arguments)),
        }
    }
}

/// The members of an action are the arguments, beside those that clients insist on.
fn print_action(w: &mut Writer, arguments: &Text<'_>) {
    w.field("type", "exec");
    let arguments = Arguments::Encoded(arguments.borrowed());
    let object = arguments.object_or_wrapped();
    let Ok(document) = Node::document(object.as_bytes()) else { return };
    let Ok(object) = document.object() else { return };
    object.leave_out(&["type"]);
    let environment = object.take("env").map_or(Raw("{}"), |environment| environment.raw());
    w.field("env", environment);
    let _never_refused = object.rest(|name, value| {
        w.field(name, value.raw());
        Ok(())
    });
}

/// A part of a message.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) text: Text<'static>,
    pub(super) refusal: bool,
    /// How many sources it names.
    pub(super) citations: u64,
    /// Elements of arrays, as JSON.
    annotations: String,
    pub(super) logprobs: String,
}

impl Piece {
    pub(super) const fn new(refusal: bool) -> Self {
        Self { text: Text::EMPTY, refusal, citations: 0, annotations: String::new(), logprobs: String::new() }
    }

    pub(super) fn cite(&mut self, citation: &Citation<'_>) {
        self.citations += 1;
        let mut writer = Writer::default();
        writer.literal(&self.annotations);
        print_annotation(&mut writer, citation);
        self.annotations = writer.take();
    }

    pub(super) fn print(&self, w: &mut Writer) {
        w.object(|w| {
            if self.refusal {
                w.field("type", "refusal");
                w.field("refusal", &self.text);
            } else {
                w.field("type", "output_text");
                w.field("text", &self.text);
                w.array_at("annotations", |w| w.literal(&self.annotations));
                w.array_at("logprobs", |w| w.literal(&self.logprobs));
            }
        });
    }
}

/// The elements of an array of logprobs.
pub(super) fn logprobs(tokens: &[TokenLogprob<'_>]) -> String {
    let mut writer = Writer::default();
    openai_terms::print_logprobs(&mut writer, tokens);
    writer.take()
}

impl Item {
    /// An item with an id derived from the request's; `index` is its place in `output`.
    pub(super) fn new(request_id: &str, index: usize, content: Content) -> Self {
        let prefix = match &content {
            Content::Message(_) => "msg",
            Content::Reasoning { .. } => "rs",
            Content::Call { called, .. } => called.prefix(),
        };
        Self { id: id::made(prefix, request_id, index as u64), content }
    }

    /// Prints the item; `status` is `in_progress`, `completed` or `incomplete`.
    pub(super) fn print(&self, w: &mut Writer, status: &str) {
        w.object(|w| {
            w.field("id", &self.id);
            match &self.content {
                Content::Message(pieces) => {
                    w.field("type", "message");
                    w.field("status", status);
                    w.field("role", "assistant");
                    w.array_at("content", |w| pieces.iter().for_each(|piece| piece.print(w)));
                }
                Content::Reasoning { summary, signature } => {
                    w.field("type", "reasoning");
                    w.array_at("summary", |w| summary.iter().for_each(|text| print_summary(w, text)));
                    let sealed = signature.as_ref().map(|proof| proof.sealed(Protocol::OpenaiResponses));
                    w.optional("encrypted_content", sealed);
                }
                Content::Call { call_id, called, arguments } => {
                    w.field("type", called.item_type());
                    w.field("status", status);
                    w.field("call_id", call_id);
                    called.print(w, arguments);
                }
            }
        });
    }
}

/// A piece of what the model thought.
pub(super) fn print_summary(w: &mut Writer, text: &Text<'_>) {
    w.object(|w| {
        w.field("type", "summary_text");
        w.field("text", text);
    });
}

/// A source.
pub(super) fn print_annotation(w: &mut Writer, citation: &Citation<'_>) {
    let zero = Number("0");
    w.object(|w| {
        w.field("type", "url_citation");
        w.field("start_index", citation.start.unwrap_or(zero));
        w.field("end_index", citation.end.unwrap_or(zero));
        w.field("title", citation.title.as_ref().unwrap_or(&Text::EMPTY));
        w.field("url", &citation.url);
    });
}

/// The items that the parts of a whole answer make.
pub(super) fn items(parts: Vec<Part<'_>>, tokens: &[TokenLogprob<'_>], context: &Context) -> Vec<Item> {
    let request_id = &context.request_id;
    let mut items: Vec<Item> = Vec::new();
    let mut tokens = logprobs(tokens);
    for part in parts {
        match part.body {
            Body::Text { text, citations } => {
                let mut piece = Piece { text: text.into_owned(), ..Piece::new(false) };
                citations.iter().for_each(|citation| piece.cite(citation));
                piece.logprobs = std::mem::take(&mut tokens);
                say(&mut items, piece, request_id);
            }
            Body::Refusal(text) => {
                say(&mut items, Piece { text: text.into_owned(), ..Piece::new(true) }, request_id);
            }
            Body::Thinking { text, signature } => {
                let summary = Some(text.into_owned()).filter(|text| !text.is_empty());
                push(&mut items, Content::thought(summary, signature), request_id);
            }
            Body::Call(call) => {
                if call.signature.is_some() {
                    push(&mut items, Content::thought(None, call.signature), request_id);
                }
                let called = Called::of(context, &call.name);
                let arguments = match call.arguments {
                    Arguments::Encoded(input) if called.kind == ToolKind::Custom => input.into_owned(),
                    other => other.encoded().into_owned(),
                };
                let call_id = call.id.into_owned();
                push(&mut items, Content::Call { call_id, called, arguments }, request_id);
            }
            _ => {}
        }
    }
    items
}

impl Content {
    /// What the model thought.
    pub(super) fn thought(summary: Option<Text<'static>>, signature: Option<Signature<'_>>) -> Self {
        Self::Reasoning { summary, signature: signature.map(Signature::into_owned) }
    }
}

fn push(items: &mut Vec<Item>, content: Content, request_id: &str) {
    items.push(Item::new(request_id, items.len(), content));
}

/// Adds to the open message, or begins one.
fn say(items: &mut Vec<Item>, piece: Piece, request_id: &str) {
    match items.last_mut() {
        Some(Item { content: Content::Message(pieces), .. }) => pieces.push(piece),
        _ => push(items, Content::Message(vec![piece]), request_id),
    }
}
