//! How Messages says that something failed.

use std::borrow::Cow;

use crate::anthropic;
use crate::chat;
use crate::json::{Node, Writer};
use crate::model::Failed;
use tollgate_plugin::adapter::FailureClass;

/// The status that says that Anthropic is busy.
const OVERLOADED: u16 = 529;

/// Reads an answer with a status of 400 or more.
pub(crate) fn parse(status: u16, body: &[u8]) -> Failed<'_> {
    let failure = anthropic::classify(status, None, "", body);
    let message = Node::document(body).ok().and_then(|document| message(&document));
    Failed::of_answer(&failure, status, message)
}

/// The words of `{"error":{"message":…}}`, or of the `{"message":…}` that Bedrock sends, and the `{"error":"…"}` and
/// `{"detail":…}` of relays.
fn message<'a>(document: &Node<'a, '_>) -> Option<Cow<'a, str>> {
    chat::error_message(document)
}

/// What a body with a good status says of a failure.
pub(in crate::messages) fn told<'a>(document: &Node<'a, '_>) -> Option<Cow<'a, str>> {
    chat::error_told(document)
}

/// The status and the body for a client.
pub(crate) fn print(failed: &Failed<'_>, request_id: &str) -> (u16, String) {
    let status = failed.public_status(OVERLOADED);
    let mut writer = Writer::default();
    writer.object(|w| {
        w.field("type", "error");
        print_members(w, failed);
        w.field("request_id", request_id);
    });
    (status, writer.take())
}

/// The members of a failure beside its type, in streams and outside.
pub(in crate::messages) fn print_members(w: &mut Writer, failed: &Failed<'_>) {
    w.object_at("error", |w| {
        w.field("type", kind(failed));
        w.field("message", failed.public_message());
    });
}

fn kind(failed: &Failed<'_>) -> &'static str {
    match failed.class {
        FailureClass::Permission if failed.status == 404 => "not_found_error",
        FailureClass::Permission => "permission_error",
        FailureClass::QuotaExhausted | FailureClass::RateLimited => "rate_limit_error",
        FailureClass::Overloaded => "overloaded_error",
        FailureClass::BadRequest if failed.status == 413 => "request_too_large",
        FailureClass::BadRequest | FailureClass::ContextTooLong | FailureClass::ContentRefused => {
            "invalid_request_error"
        }
        FailureClass::NotFound => "not_found_error",
        FailureClass::Transient if matches!(failed.status, 408 | 504) => "timeout_error",
        FailureClass::InvalidCredential | FailureClass::Transient | FailureClass::Unknown => "api_error",
    }
}
