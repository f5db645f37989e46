//! Writing chunks.

use super::DONE;
use crate::chat::{error, response};
use crate::id;
use crate::json::{Text, Writer};
use crate::model::{self, Delta, Event, Finish, Signature, Start, Tier, ToolKind};
use crate::openai_terms;
use crate::target::Context;
use tollgate_plugin::types::{Quality, Usage};

/// Writes one answer, or several side by side.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    context: Context,
    /// The members that all chunks begin with, from `{` on.
    head: String,
    candidates: Vec<Candidate>,
    usage: Usage,
    tier: Option<Tier>,
}

#[derive(Debug, Default)]
struct Candidate {
    started: bool,
    /// The calls, in the order of this stream; each by its number in the events.
    calls: Vec<Call>,
    /// Thoughts with a proof.
    thoughts: u64,
    finish: Option<Finish<'static>>,
}

#[derive(Debug)]
struct Call {
    number: u64,
    /// Whether it has arguments yet.
    argued: bool,
    kind: ToolKind,
}

impl model::StreamWriter for StreamWriter {
    fn write(&mut self, event: Event<'_>, out: &mut Writer) {
        match event {
            Event::Start(start) => self.start(start, out),
            Event::Delta { candidate, delta } => self.delta(candidate, delta, out),
            Event::Finish { candidate, finish } => {
                self.candidate(candidate, out).finish = Some(finish.into_owned());
            }
            Event::Usage(usage) => self.usage = usage,
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Failed(failed) => {
                out.literal("data: ");
                out.object(|w| error::print_members(w, &failed));
                out.literal("\n\n");
            }
            Event::End => self.end(out),
        }
    }
}

impl StreamWriter {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            head: String::new(),
            candidates: Vec::new(),
            usage: Usage::MISSING,
            tier: None,
        }
    }

    fn start(&mut self, start: Start<'_>, out: &mut Writer) {
        let mut head = Writer::default();
        head.object(|w| {
            w.field("id", self.context.answer_id("chatcmpl", start.id));
            w.field("object", "chat.completion.chunk");
            w.field("created", start.created.unwrap_or(self.context.now_s));
            w.field("model", self.context.answer_model(start.model));
        });
        self.head = head.take();
        self.head.pop();
        self.candidate(0, out);
    }

    /// The candidate, after the chunk that states its role.
    fn candidate(&mut self, index: u64, out: &mut Writer) -> &mut Candidate {
        // Providers give only a few answers at once; a larger number is an error of theirs.
        let at = usize::try_from(index).unwrap_or(0).min(127);
        if self.candidates.len() <= at {
            self.candidates.resize_with(at + 1, Candidate::default);
        }
        if !self.candidates[at].started {
            self.candidates[at].started = true;
            self.chunk(index, out, |w| {
                w.field("role", "assistant");
                w.field("content", "");
            });
        }
        &mut self.candidates[at]
    }

    fn delta(&mut self, index: u64, delta: Delta<'_>, out: &mut Writer) {
        let candidate = self.candidate(index, out);
        let thought = candidate.thoughts;
        match delta {
            Delta::Text(text) if text.is_empty() => {}
            Delta::Text(text) => self.chunk(index, out, |w| w.field("content", text)),
            Delta::Refusal(text) => self.chunk(index, out, |w| w.field("refusal", text)),
            Delta::Thinking(text) => self.chunk(index, out, |w| {
                w.field("reasoning_content", &text);
                w.array_at("reasoning_details", |w| response::print_thought(w, thought, Some(&text), None));
            }),
            Delta::Signature(signature) => {
                candidate.thoughts += 1;
                self.chunk(index, out, |w| {
                    w.array_at("reasoning_details", |w| {
                        response::print_thought(w, thought, None, Some(&signature));
                    });
                });
            }
            Delta::Citation(citation) => self.chunk(index, out, |w| {
                w.array_at("annotations", |w| response::print_citation(w, &citation));
            }),
            Delta::Logprobs(tokens) => self.logprobs(index, out, |w| {
                w.object_at("logprobs", |w| response::print_content_logprobs(w, &tokens));
            }),
            Delta::Call { call, id, name, signature } => {
                self.call(index, call, [&id, &name], signature.as_ref(), out);
            }
            Delta::Arguments { call, text } => self.arguments(index, call, text, out),
            Delta::CallEnd { call } => self.call_end(index, call, out),
        }
    }

    fn call(
        &mut self,
        index: u64,
        number: u64,
        [id, name]: [&str; 2],
        signature: Option<&Signature<'_>>,
        out: &mut Writer,
    ) {
        let made = id::made("call", &self.context.request_id, number);
        let (kind, name) = (self.context.kind_of(name), self.context.client_name(name).to_owned());
        let calls = &mut self.candidate(index, out).calls;
        calls.push(Call { number, argued: false, kind });
        let at = calls.len() - 1;
        let (kind, arguments) = response::kind_members(kind);
        self.chunk(index, out, |w| {
            w.array_at("tool_calls", |w| {
                w.object(|w| {
                    w.field("index", at as u64);
                    w.field("id", if id.is_empty() { &made } else { id });
                    w.field("type", kind);
                    w.object_at(kind, |w| {
                        w.field("name", name);
                        w.field(arguments, "");
                    });
                    response::print_signature(w, signature);
                });
            });
        });
    }

    /// More arguments of a call; those of a call that never began are dropped.
    fn arguments(&mut self, index: u64, number: u64, text: Text<'_>, out: &mut Writer) {
        let calls = &mut self.candidate(index, out).calls;
        let Some(at) = calls.iter().rposition(|call| call.number == number) else { return };
        calls[at].argued = true;
        let (kind, arguments) = response::kind_members(calls[at].kind);
        self.chunk(index, out, |w| {
            w.array_at("tool_calls", |w| {
                w.object(|w| {
                    w.field("index", at as u64);
                    w.object_at(kind, |w| w.field(arguments, text));
                });
            });
        });
    }

    /// Clients of this protocol expect an empty object where there are no arguments.
    fn call_end(&mut self, index: u64, number: u64, out: &mut Writer) {
        let calls = &self.candidate(index, out).calls;
        if calls.iter().any(|call| call.number == number && !call.argued) {
            self.arguments(index, number, Text::escaped("{}"), out);
        }
    }

    fn chunk(&self, index: u64, out: &mut Writer, delta: impl FnOnce(&mut Writer)) {
        self.choice(index, out, |w| {
            w.object_at("delta", delta);
            w.null("logprobs");
            w.null("finish_reason");
        });
    }

    fn logprobs(&self, index: u64, out: &mut Writer, logprobs: impl FnOnce(&mut Writer)) {
        self.choice(index, out, |w| {
            w.object_at("delta", |_| ());
            logprobs(w);
            w.null("finish_reason");
        });
    }

    fn choice(&self, index: u64, out: &mut Writer, members: impl FnOnce(&mut Writer)) {
        out.literal("data: ");
        out.literal(&self.head);
        out.array_at("choices", |w| {
            w.object(|w| {
                w.field("index", index);
                members(w);
            });
        });
        if self.context.stream_usage {
            out.null("usage");
        }
        out.literal("}\n\n");
    }

    fn end(&mut self, out: &mut Writer) {
        for (index, candidate) in (0_u64..).zip(&self.candidates) {
            let finish = candidate.finish.as_ref().unwrap_or(&Finish::Stop);
            let reason = response::finish_name(finish, !candidate.calls.is_empty());
            self.choice(index, out, |w| {
                w.object_at("delta", |_| ());
                w.null("logprobs");
                w.field("finish_reason", reason);
            });
        }
        if self.context.stream_usage && self.usage.quality != Quality::Missing {
            self.usage_chunk(out);
        }
        out.literal("data: ");
        out.literal(DONE);
        out.literal("\n\n");
    }

    fn usage_chunk(&self, out: &mut Writer) {
        out.literal("data: ");
        out.literal(&self.head);
        out.array_at("choices", |_| ());
        out.object_at("usage", |w| response::print_usage(w, &self.usage));
        out.optional("service_tier", self.tier.map(openai_terms::tier_name));
        out.literal("}\n\n");
    }
}
