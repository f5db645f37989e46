//! A stream of completions: `data: {piece}` again and again, then `data: [DONE]`.

use super::response::{OBJECT, print_end};
use crate::chat;
use crate::json::{Text, Writer};
use crate::model::{self, Delta, Event, Finish, Start};
use crate::target::Context;
use tollgate_plugin::types::{Quality, Usage};

/// Writes one answer, or several side by side.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    context: Context,
    /// The members that all pieces begin with, from `{` on.
    head: String,
    /// How each answer ended, as far as it has.
    finishes: Vec<Option<Finish<'static>>>,
    usage: Usage,
}

impl StreamWriter {
    pub(crate) fn new(context: &Context) -> Self {
        Self { context: context.clone(), head: String::new(), finishes: vec![None], usage: Usage::MISSING }
    }

    fn start(&mut self, start: Start<'_>) {
        let mut head = Writer::default();
        head.object(|w| {
            w.field("id", self.context.answer_id("cmpl", start.id));
            w.field("object", OBJECT);
            w.field("created", start.created.unwrap_or(self.context.now_s));
            w.field("model", self.context.answer_model(start.model));
        });
        self.head = head.take();
        self.head.pop();
    }

    /// The place of an answer. Providers give only a few at once; a larger number is an error of theirs.
    fn place(&mut self, candidate: u64) -> usize {
        let at = usize::try_from(candidate).unwrap_or(0).min(127);
        if self.finishes.len() <= at {
            self.finishes.resize(at + 1, None);
        }
        at
    }

    fn piece(&self, index: u64, text: Text<'_>, finish: Option<&Finish<'_>>, out: &mut Writer) {
        out.literal("data: ");
        out.literal(&self.head);
        out.array_at("choices", |w| {
            w.object(|w| {
                w.field("text", text);
                print_end(w, index, finish);
            });
        });
        if self.context.stream_usage {
            out.null("usage");
        }
        out.literal("}\n\n");
    }

    fn end(&self, out: &mut Writer) {
        for (index, finish) in (0_u64..).zip(&self.finishes) {
            self.piece(index, Text::EMPTY, Some(finish.as_ref().unwrap_or(&Finish::Stop)), out);
        }
        if self.context.stream_usage && self.usage.quality != Quality::Missing {
            out.literal("data: ");
            out.literal(&self.head);
            out.array_at("choices", |_| ());
            out.object_at("usage", |w| chat::print_usage(w, &self.usage));
            out.literal("}\n\n");
        }
        out.literal("data: [DONE]\n\n");
    }
}

impl model::StreamWriter for StreamWriter {
    fn write(&mut self, event: Event<'_>, out: &mut Writer) {
        match event {
            Event::Start(start) => self.start(start),
            Event::Delta { candidate, delta: Delta::Text(text) | Delta::Refusal(text) }
                if !text.is_empty() =>
            {
                self.place(candidate);
                self.piece(candidate, text, None, out);
            }
            Event::Delta { candidate, .. } => {
                self.place(candidate);
            }
            Event::Finish { candidate, finish } => {
                let at = self.place(candidate);
                self.finishes[at] = Some(finish.into_owned());
            }
            Event::Usage(usage) => self.usage = usage,
            Event::Tier(_) => {}
            Event::Failed(failed) => {
                out.literal("data: ");
                out.object(|w| chat::print_error_members(w, &failed));
                out.literal("\n\n");
            }
            Event::End => self.end(out),
        }
    }
}
