//! How Gemini says that something failed.

use super::classify;
use crate::json::{Node, Writer};
use crate::model::Failed;
use tollgate_plugin::adapter::FailureClass;

/// The status that says that Google is busy.
const OVERLOADED: u16 = 503;

/// Reads an answer with a status of 400 or more; some come in an array.
pub(crate) fn parse(status: u16, body: &[u8]) -> Failed<'_> {
    let failure = classify(status, None, body);
    let message = Node::document(body).ok().and_then(|document| {
        let mut first = document.is_object().then(|| message(&document)).flatten();
        // Not an array.
        let _ = document.items(|element| {
            first = first.take().or_else(|| message(&element));
            Ok(())
        });
        first
    });
    Failed::of_answer(&failure, status, message)
}

fn message<'a>(body: &Node<'a, '_>) -> Option<std::borrow::Cow<'a, str>> {
    crate::chat::error_message(body)
}

/// The status and the body for a client.
pub(crate) fn print(failed: &Failed<'_>) -> (u16, String) {
    let mut writer = Writer::default();
    writer.object(|w| print_members(w, failed));
    (failed.public_status(OVERLOADED), writer.take())
}

/// The members of a failure, in streams and outside.
pub(super) fn print_members(w: &mut Writer, failed: &Failed<'_>) {
    let code = failed.public_status(OVERLOADED);
    w.object_at("error", |w| {
        w.field("code", u64::from(code));
        w.field("message", failed.public_message());
        w.field("status", status_name(code));
        if let Some(ms) = failed.retry_after_ms.filter(|_| failed.class == FailureClass::RateLimited) {
            w.array_at("details", |w| {
                w.object(|w| {
                    w.field("@type", "type.googleapis.com/google.rpc.RetryInfo");
                    w.field("retryDelay", format!("{}.{:03}s", ms / 1000, ms % 1000));
                });
            });
        }
    });
}

/// Google's names of HTTP's statuses.
const fn status_name(code: u16) -> &'static str {
    match code {
        400 | 413 | 422 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        408 | 504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}
