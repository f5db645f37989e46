//! Writing events: one block open at a time, and their indices dense.

use crate::id;
use crate::json::{Text, Writer};
use crate::messages::{error, response};
use crate::model::{self, Delta, Event, Finish, Signature, Start, Tier};
use crate::nesting::Nesting;
use crate::target::Context;
use tollgate_plugin::types::{Protocol, Usage};

/// Writes one answer.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    context: Context,
    open: Option<Block>,
    /// The index of the next block.
    next: u64,
    /// Calls that began while another one was open; the first of them is next.
    waiting: Vec<Call>,
    calls: bool,
    finish: Finish<'static>,
    usage: Usage,
    tier: Option<Tier>,
}

/// What the open block holds.
#[derive(Debug)]
enum Block {
    Text,
    Thinking,
    Call { number: u64, arguments: Nesting },
}

/// A call that has to wait for its turn.
#[derive(Debug)]
struct Call {
    number: u64,
    id: String,
    name: String,
    signature: Option<Signature<'static>>,
    arguments: Text<'static>,
}

impl model::StreamWriter for StreamWriter {
    fn write(&mut self, event: Event<'_>, out: &mut Writer) {
        match event {
            Event::Start(start) => self.start(start, out),
            // No client of this protocol can ask for more than one.
            Event::Delta { candidate: 0, delta } => self.delta(delta, out),
            Event::Finish { candidate: 0, finish } => self.finish = finish.into_owned(),
            Event::Delta { .. } | Event::Finish { .. } => {}
            Event::Usage(usage) => self.usage = usage,
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Failed(failed) => {
                event_of(out, "error", |w| error::print_members(w, &failed));
            }
            Event::End => self.end(out),
        }
    }
}

impl StreamWriter {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            open: None,
            next: 0,
            waiting: Vec::new(),
            calls: false,
            finish: Finish::Stop,
            usage: Usage::MISSING,
            tier: None,
        }
    }

    /// Most upstreams state their usage at the end, so that the counts here are zero; `message_delta` has them all.
    fn start(&mut self, start: Start<'_>, out: &mut Writer) {
        event_of(out, "message_start", |w| {
            w.object_at("message", |w| {
                w.field("id", self.context.answer_id("msg", start.id));
                w.field("type", "message");
                w.field("role", "assistant");
                w.field("model", self.context.answer_model(start.model));
                w.array_at("content", |_| ());
                w.null("stop_reason");
                w.null("stop_sequence");
                w.object_at("usage", |w| response::print_usage(w, &start.usage, None));
            });
        });
    }

    fn delta(&mut self, delta: Delta<'_>, out: &mut Writer) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => {
                if !text.is_empty() {
                    self.open_text(out);
                    self.block_delta(out, "text_delta", |w| w.field("text", text));
                }
            }
            Delta::Thinking(text) => {
                self.open_thinking(out);
                self.block_delta(out, "thinking_delta", |w| w.field("thinking", text));
            }
            Delta::Signature(signature) => self.signature(&signature, out),
            Delta::Citation(citation) => {
                self.open_text(out);
                self.block_delta(out, "citations_delta", |w| {
                    w.key("citation");
                    response::print_citation(w, &citation);
                });
            }
            // No client of this protocol can ask for them.
            Delta::Logprobs(_) => {}
            Delta::Call { call, id, name, signature } => {
                let call = Call {
                    number: call,
                    id: id.into_owned(),
                    name: name.into_owned(),
                    signature: signature.map(Signature::into_owned),
                    arguments: Text::EMPTY,
                };
                self.call(call, out);
            }
            Delta::Arguments { call, text } => self.arguments(call, text, out),
            Delta::CallEnd { call } => self.call_end(call, out),
        }
    }

    fn open_text(&mut self, out: &mut Writer) {
        if !matches!(self.open, Some(Block::Text)) {
            self.close_all(out);
            self.open(out, Block::Text, |w| {
                w.field("type", "text");
                w.field("text", "");
            });
        }
    }

    fn open_thinking(&mut self, out: &mut Writer) {
        if !matches!(self.open, Some(Block::Thinking)) {
            self.close_all(out);
            self.begin_thinking(out);
        }
    }

    fn begin_thinking(&mut self, out: &mut Writer) {
        self.open(out, Block::Thinking, |w| {
            w.field("type", "thinking");
            w.field("thinking", "");
            w.field("signature", "");
        });
    }

    /// Proves the open thoughts, or stands for hidden ones.
    fn signature(&mut self, signature: &Signature<'_>, out: &mut Writer) {
        if signature.redacted {
            self.close_all(out);
            self.open(out, Block::Thinking, |w| {
                w.field("type", "redacted_thinking");
                w.field("data", signature.sealed(Protocol::AnthropicMessages));
            });
            self.close(out);
        } else {
            self.open_thinking(out);
            self.prove(signature, out);
        }
    }

    fn prove(&mut self, signature: &Signature<'_>, out: &mut Writer) {
        let sealed = signature.sealed(Protocol::AnthropicMessages);
        self.block_delta(out, "signature_delta", |w| w.field("signature", sealed));
        self.close(out);
    }

    /// A call begins: at once when the one before it is complete, which its arguments tell.
    fn call(&mut self, call: Call, out: &mut Writer) {
        self.waiting.push(call);
        self.next_calls(out);
    }

    /// What Gemini wants back with a call travels in a thought before it.
    fn begin_call(&mut self, call: Call, out: &mut Writer) {
        self.close(out);
        if let Some(signature) = &call.signature {
            self.begin_thinking(out);
            self.prove(signature, out);
        }
        self.calls = true;
        let made = id::made("call", &self.context.request_id, call.number);
        let id = if call.id.is_empty() { &made } else { &call.id };
        let block = Block::Call { number: call.number, arguments: Nesting::default() };
        self.open(out, block, |w| {
            w.field("type", "tool_use");
            w.field("id", id::fitting(id, usize::MAX));
            w.field("name", &call.name);
            w.object_at("input", |_| ());
        });
        if !call.arguments.is_empty() {
            self.argue(call.arguments, out);
        }
    }

    /// More arguments of the open call.
    fn argue(&mut self, text: Text<'_>, out: &mut Writer) {
        if let Some(Block::Call { arguments, .. }) = &mut self.open {
            arguments.push(&text.decode());
        }
        self.block_delta(out, "input_json_delta", |w| w.field("partial_json", text));
    }

    fn arguments(&mut self, number: u64, text: Text<'_>, out: &mut Writer) {
        if matches!(self.open, Some(Block::Call { number: open, .. }) if open == number) {
            self.argue(text, out);
            self.next_calls(out);
        } else if let Some(call) = self.waiting.iter_mut().find(|call| call.number == number) {
            call.arguments.append(&text);
        }
    }

    fn call_end(&mut self, number: u64, out: &mut Writer) {
        if matches!(self.open, Some(Block::Call { number: open, .. }) if open == number) {
            self.close(out);
            self.next_calls(out);
        }
    }

    /// Begins waiting calls, as long as the open one is complete.
    fn next_calls(&mut self, out: &mut Writer) {
        while !self.waiting.is_empty() && !self.is_busy() {
            let call = self.waiting.remove(0);
            self.begin_call(call, out);
        }
    }

    fn is_busy(&self) -> bool {
        matches!(&self.open, Some(Block::Call { arguments, .. }) if !arguments.is_closed())
    }

    fn open(&mut self, out: &mut Writer, block: Block, members: impl FnOnce(&mut Writer)) {
        self.open = Some(block);
        let index = self.next;
        self.next += 1;
        event_of(out, "content_block_start", |w| {
            w.field("index", index);
            w.object_at("content_block", members);
        });
    }

    fn block_delta(&self, out: &mut Writer, kind: &str, members: impl FnOnce(&mut Writer)) {
        event_of(out, "content_block_delta", |w| {
            w.field("index", self.next - 1);
            w.object_at("delta", |w| {
                w.field("type", kind);
                members(w);
            });
        });
    }

    fn close(&mut self, out: &mut Writer) {
        if self.open.take().is_some() {
            event_of(out, "content_block_stop", |w| {
                w.field("index", self.next - 1);
            });
        }
    }

    /// Closes what is open and sends what waits: whatever comes next is something else.
    fn close_all(&mut self, out: &mut Writer) {
        self.close(out);
        while !self.waiting.is_empty() {
            let call = self.waiting.remove(0);
            self.begin_call(call, out);
            self.close(out);
        }
    }

    fn end(&mut self, out: &mut Writer) {
        self.close_all(out);
        event_of(out, "message_delta", |w| {
            w.object_at("delta", |w| response::print_finish(w, &self.finish, self.calls));
            w.object_at("usage", |w| response::print_usage(w, &self.usage, self.tier));
        });
        event_of(out, "message_stop", |_| ());
    }
}

/// One event; clients drop those without an `event:` line.
fn event_of(out: &mut Writer, name: &str, members: impl FnOnce(&mut Writer)) {
    out.literal("event: ");
    out.literal(name);
    out.literal("\ndata: ");
    out.object(|w| {
        w.field("type", name);
        members(w);
    });
    out.literal("\n\n");
}
