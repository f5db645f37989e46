//! A `text_completion`: what `POST /v1/completions` answers.

use crate::chat;
use crate::json::{Text, Writer};
use crate::model::{Body, Candidate, Finish, Response};
use crate::target::Context;
use tollgate_plugin::types::Quality;

/// What kind of object it is, whole or in pieces.
pub(super) const OBJECT: &str = "text_completion";

/// Prints an answer: of its parts the text, and what a model says in place of one.
pub(crate) fn print(response: Response<'_>, context: &Context) -> String {
    let mut writer = Writer::default();
    writer.object(|w| {
        w.field("id", context.answer_id("cmpl", response.id));
        w.field("object", OBJECT);
        w.field("created", response.created.unwrap_or(context.now_s));
        w.field("model", context.answer_model(response.model));
        w.array_at("choices", |w| {
            for (index, candidate) in (0_u64..).zip(&response.candidates) {
                w.object(|w| {
                    w.field("text", text(candidate));
                    print_end(w, index, Some(&candidate.finish));
                });
            }
        });
        if response.usage.quality != Quality::Missing {
            w.object_at("usage", |w| chat::print_usage(w, &response.usage));
        }
    });
    writer.take()
}

/// What follows the text of a choice.
pub(super) fn print_end(w: &mut Writer, index: u64, finish: Option<&Finish<'_>>) {
    w.field("index", index);
    w.null("logprobs");
    match finish {
        Some(finish) => w.field("finish_reason", chat::finish_name(finish, false)),
        None => w.null("finish_reason"),
    }
}

fn text(candidate: &Candidate<'_>) -> Text<'static> {
    let texts = candidate.parts.iter().filter_map(|part| match &part.body {
        Body::Text { text, .. } | Body::Refusal(text) => Some(text.decode()),
        _ => None,
    });
    Text::plain(&texts.collect::<Vec<_>>().concat())
}
