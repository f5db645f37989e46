//! How Chat Completions and Responses say that something failed.

use std::borrow::Cow;

use crate::json::{Node, Writer};
use crate::model::Failed;
use crate::openai;
use tollgate_plugin::adapter::FailureClass;

/// The status that says that OpenAI is busy.
const OVERLOADED: u16 = 503;

/// Reads an answer with a status of 400 or more.
pub(crate) fn parse(status: u16, body: &[u8]) -> Failed<'_> {
    let failure = openai::classify(status, None, body);
    let message = Node::document(body).ok().and_then(|document| message(&document));
    Failed::of_answer(&failure, status, message)
}

/// The words of `{"error":{"message":…}}`, or of the `{"error":"…"}`, `{"message":…}` and `{"detail":…}` that some
/// servers send.
pub(crate) fn message<'a>(document: &Node<'a, '_>) -> Option<Cow<'a, str>> {
    let body = document.object().ok()?;
    let error = body.take("error");
    let inner = error.and_then(|error| error.members());
    let words = match (&inner, error) {
        (Some(inner), _) => inner.take("message").or_else(|| inner.take("code")),
        (None, Some(error)) => Some(error),
        (None, None) => body.take("message").or_else(|| body.take("detail")).or_else(|| body.take("msg")),
    };
    Some(words?.all_text().into_decoded()).filter(|words| !words.is_empty())
}

/// What a body with a good status, or an event, says of a failure: an `error` that is not empty, or an object that says
/// that it is one.
pub(crate) fn told<'a>(document: &Node<'a, '_>) -> Option<Cow<'a, str>> {
    let body = document.object().ok()?;
    let full = |node: &Node<'_, '_>| !matches!(node.raw().0, "{}" | "\"\"" | "false" | "[]" | "0");
    let is_error = |name: &'static str| body.take(name).is_some_and(|kind| kind.is("error"));
    let failed =
        body.take("error").is_some_and(|error| full(&error)) || is_error("object") || is_error("type");
    failed.then(|| message(document).unwrap_or_default())
}

/// The status and the body for a client.
pub(crate) fn print(failed: &Failed<'_>) -> (u16, String) {
    let mut writer = Writer::default();
    writer.object(|w| print_members(w, failed));
    (failed.public_status(OVERLOADED), writer.take())
}

/// The members of a failure, in streams and outside.
pub(crate) fn print_members(w: &mut Writer, failed: &Failed<'_>) {
    w.object_at("error", |w| {
        w.field("message", failed.public_message());
        w.field("type", kind(failed));
        match &failed.param {
            Some(param) => w.field("param", param),
            None => w.null("param"),
        }
        let lacking = failed.class == FailureClass::Permission && failed.status == 404;
        match code(if lacking { FailureClass::NotFound } else { failed.class }) {
            Some(code) => w.field("code", code),
            None => w.null("code"),
        }
    });
}

fn kind(failed: &Failed<'_>) -> &'static str {
    match failed.class {
        FailureClass::QuotaExhausted => "insufficient_quota",
        FailureClass::RateLimited => "rate_limit_error",
        FailureClass::Permission
        | FailureClass::BadRequest
        | FailureClass::ContextTooLong
        | FailureClass::ContentRefused
        | FailureClass::NotFound => "invalid_request_error",
        FailureClass::InvalidCredential
        | FailureClass::Overloaded
        | FailureClass::Transient
        | FailureClass::Unknown => "server_error",
    }
}

/// What OpenAI's own clients look for.
pub(crate) const fn code(class: FailureClass) -> Option<&'static str> {
    match class {
        FailureClass::QuotaExhausted => Some("insufficient_quota"),
        FailureClass::RateLimited => Some("rate_limit_exceeded"),
        FailureClass::Overloaded => Some("server_is_overloaded"),
        FailureClass::ContextTooLong => Some("context_length_exceeded"),
        FailureClass::ContentRefused => Some("content_filter"),
        FailureClass::NotFound => Some("model_not_found"),
        _ => None,
    }
}
