//! How Chat Completions and Responses say that something failed.

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

/// The words of `{"error":{"message":…}}`, or of the `{"error":"…"}` that some servers send.
pub(crate) fn message<'a>(document: &Node<'a, '_>) -> Option<std::borrow::Cow<'a, str>> {
    let body = document.object().ok()?;
    let error = body.take("error")?;
    if error.is_string() {
        return error.string().ok();
    }
    error.object().ok()?.take("message")?.string().ok()
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
