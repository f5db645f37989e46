//! How a stream of Responses says that something failed; outside of streams it is as in Chat Completions.

use crate::chat;
use crate::json::{Object, Writer};
use crate::model::Failed;
use crate::openai;
use tollgate_plugin::adapter::FailureClass;

/// Reads `code` and `message` of a failure, as far as it has them.
pub(super) fn parse<'a>(error: &Object<'a, '_>) -> Failed<'a> {
    let words = |name| error.take(name).map(|node| node.words().into_decoded()).unwrap_or_default();
    let (code, message) = (words("code"), words("message"));
    let class = match &*code {
        "server_error" => FailureClass::Transient,
        code => openai::by_code(code).unwrap_or(FailureClass::Unknown),
    };
    Failed::in_stream(class, message)
}

/// The members of the event, except its type and number.
pub(super) fn print_members(w: &mut Writer, failed: &Failed<'_>) {
    w.field("code", chat::error_code(failed.class).unwrap_or("server_error"));
    w.field("message", failed.public_message());
    w.null("param");
}
