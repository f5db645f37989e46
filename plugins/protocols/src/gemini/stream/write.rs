//! Writing chunks.

use crate::gemini::{error, response};
use crate::json::{Text, Writer};
use crate::model::{self, Arguments, Delta, Event, Finish, Signature, Start, Tier};
use crate::target::Context;
use tollgate_plugin::types::Usage;

/// Writes one answer, or several side by side.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    context: Context,
    /// The members that all chunks end with, from the comma on.
    tail: String,
    candidates: Vec<Candidate>,
    usage: Usage,
    tier: Option<Tier>,
    /// Whether something was written.
    begun: bool,
}

#[derive(Debug, Default)]
struct Candidate {
    /// Calls whose arguments are not complete: they are written whole.
    calls: Vec<Call>,
    finish: Option<Finish<'static>>,
}

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
            Event::Delta { candidate, delta } => self.delta(candidate, delta, out),
            Event::Finish { candidate, finish } => {
                self.candidate(candidate).finish = Some(finish.into_owned());
            }
            Event::Usage(usage) => self.usage = usage,
            Event::Tier(tier) => self.tier = Some(tier),
            Event::Failed(failed) => {
                self.chunk(out, |w| w.object(|w| error::print_members(w, &failed)));
                self.close(out);
            }
            Event::End => self.end(out),
        }
    }
}

impl StreamWriter {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            tail: String::new(),
            candidates: vec![Candidate::default()],
            usage: Usage::MISSING,
            tier: None,
            begun: false,
        }
    }

    /// The first chunk is empty: it tells the client that the answer has begun.
    fn start(&mut self, start: Start<'_>, out: &mut Writer) {
        let mut tail = Writer::default();
        tail.object(|w| {
            w.field("modelVersion", self.context.answer_model(start.model));
            w.field("responseId", self.context.answer_id("resp", start.id));
        });
        self.tail = tail.take().replacen('{', ",", 1);
        self.parts(0, out, |w| w.object(|w| w.field("text", "")));
    }

    fn candidate(&mut self, index: u64) -> &mut Candidate {
        // Providers give only a few answers at once; a larger number is an error of theirs.
        let at = usize::try_from(index).unwrap_or(0).min(127);
        if self.candidates.len() <= at {
            self.candidates.resize_with(at + 1, Candidate::default);
        }
        &mut self.candidates[at]
    }

    fn delta(&mut self, index: u64, delta: Delta<'_>, out: &mut Writer) {
        match delta {
            Delta::Text(text) | Delta::Refusal(text) => {
                if !text.is_empty() {
                    self.parts(index, out, |w| w.object(|w| w.field("text", text)));
                }
            }
            Delta::Thinking(text) => self.parts(index, out, |w| response::print_thought(w, &text, None)),
            Delta::Signature(signature) => {
                self.parts(index, out, |w| response::print_thought(w, &Text::EMPTY, Some(&signature)));
            }
            Delta::Citation(citation) => {
                self.candidate_chunk(index, out, |w| response::print_citations(w, &[&citation]));
            }
            Delta::Logprobs(tokens) => {
                self.candidate_chunk(index, out, |w| response::print_logprobs(w, &tokens));
            }
            Delta::Call { call, id, name, signature } => self.candidate(index).calls.push(Call {
                number: call,
                id: id.into_owned(),
                name: name.into_owned(),
                signature: signature.map(Signature::into_owned),
                arguments: Text::EMPTY,
            }),
            Delta::Arguments { call, text } => {
                let calls = &mut self.candidate(index).calls;
                if let Some(open) = calls.iter_mut().find(|open| open.number == call) {
                    open.arguments.append(&text);
                }
            }
            Delta::CallEnd { call } => {
                let calls = &mut self.candidate(index).calls;
                if let Some(at) = calls.iter().position(|open| open.number == call) {
                    let call = calls.remove(at);
                    self.call(index, call, out);
                }
            }
        }
    }

    fn call(&mut self, index: u64, call: Call, out: &mut Writer) {
        let arguments = Arguments::Encoded(call.arguments);
        self.parts(index, out, |w| {
            let arguments = arguments.object_or_wrapped();
            response::print_call(w, &call.id, &call.name, &arguments, call.signature.as_ref());
        });
    }

    fn parts(&mut self, index: u64, out: &mut Writer, parts: impl FnOnce(&mut Writer)) {
        self.candidate_chunk(index, out, |w| response::print_content(w, parts));
    }

    fn candidate_chunk(&mut self, index: u64, out: &mut Writer, members: impl FnOnce(&mut Writer)) {
        let tail = std::mem::take(&mut self.tail);
        self.chunk(out, |w| {
            w.literal("{");
            w.array_at("candidates", |w| {
                w.object(|w| {
                    members(w);
                    w.field("index", index);
                });
            });
            w.literal(&tail);
        });
        self.tail = tail;
    }

    /// One chunk, in the frame that the client asked for: an event, or an element of an array.
    fn chunk(&mut self, out: &mut Writer, chunk: impl FnOnce(&mut Writer)) {
        let first = !std::mem::replace(&mut self.begun, true);
        match (self.context.json_array, first) {
            (false, _) => out.literal("data: "),
            (true, true) => out.literal("["),
            (true, false) => out.literal(",\r\n"),
        }
        chunk(out);
        if !self.context.json_array {
            out.literal("\r\n\r\n");
        }
    }

    fn close(&self, out: &mut Writer) {
        if self.context.json_array {
            out.literal("]");
        }
    }

    fn end(&mut self, out: &mut Writer) {
        let candidates = std::mem::take(&mut self.candidates);
        let mut finishes = Vec::new();
        for (index, candidate) in (0_u64..).zip(candidates) {
            candidate.calls.into_iter().for_each(|call| self.call(index, call, out));
            finishes.push((index, candidate.finish.unwrap_or(Finish::Stop)));
        }
        let (usage, tier, tail) = (self.usage, self.tier, std::mem::take(&mut self.tail));
        self.chunk(out, |w| {
            w.literal("{");
            w.array_at("candidates", |w| {
                for (index, finish) in &finishes {
                    w.object(|w| {
                        response::print_content(w, |w| w.object(|w| w.field("text", "")));
                        w.field("finishReason", response::finish_name(finish));
                        w.field("index", *index);
                    });
                }
            });
            response::print_usage(w, &usage, tier);
            w.literal(&tail);
        });
        self.close(out);
    }
}
