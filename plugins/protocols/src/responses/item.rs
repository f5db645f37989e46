//! Items of an answer: what the model thinks and says, and the tools that it calls.

use crate::id;
use crate::json::{Number, Text, Writer};
use crate::model::{Body, Citation, Part, Signature, TokenLogprob};
use crate::openai_terms;
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
        name: String,
        arguments: Text<'static>,
    },
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
        let prefix = match content {
            Content::Message(_) => "msg",
            Content::Reasoning { .. } => "rs",
            Content::Call { .. } => "fc",
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
                Content::Call { call_id, name, arguments } => {
                    w.field("type", "function_call");
                    w.field("status", status);
                    w.field("call_id", call_id);
                    w.field("name", name);
                    w.field("arguments", arguments);
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
pub(super) fn items(parts: Vec<Part<'_>>, tokens: &[TokenLogprob<'_>], request_id: &str) -> Vec<Item> {
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
                let arguments = call.arguments.encoded().into_owned();
                let (call_id, name) = (call.id.into_owned(), call.name.into_owned());
                push(&mut items, Content::Call { call_id, name, arguments }, request_id);
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
