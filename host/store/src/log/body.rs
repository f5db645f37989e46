//! Bodies of calls that are kept.

use tollgate_core::id::{ApiKeyId, RequestId};
use tollgate_core::secret::Secret;

/// One half of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What is kept of it, redacted.
    pub text: Secret,
    /// How many bytes it had.
    pub bytes: u64,
    /// Whether less than that is kept.
    pub cut: bool,
}

/// What was asked and answered in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bodies {
    /// The call.
    pub request: RequestId,
    /// The key that it was called with.
    pub api_key: ApiKeyId,
    /// What the client sent.
    pub asked: Body,
    /// What the client got.
    pub answered: Body,
}
