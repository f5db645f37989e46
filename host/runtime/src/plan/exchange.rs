//! What a translation is told beside the bodies.

use tollgate_core::protocol::{Operation, Protocol};

/// What stands in no body.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// What the client speaks.
    pub client: Protocol,
    /// What is spoken upstream.
    pub upstream: Protocol,
    /// What is asked.
    pub operation: Operation,
    /// The provider's name of the model.
    pub model: &'a str,
    /// The gateway's name for the request.
    pub request_id: &'a str,
    /// Seconds since 1970.
    pub now_s: u64,
    /// Whether the client wants a stream.
    pub streaming: bool,
    /// Whether that stream is one JSON array.
    pub json_array: bool,
    /// Tokens that no answer of the model can have more of.
    pub output_limit: u64,
    /// Whether hints that the upstream's protocol lacks are refused, and not left out.
    pub strict: bool,
}
