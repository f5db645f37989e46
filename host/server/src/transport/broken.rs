//! Why an answer broke off.

use tollgate_core::eventstream::FrameError;

use super::packed::PackedError;

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The connection broke.
    #[error("reading the answer")]
    Wire(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The bytes were not messages.
    #[error("framing the answer")]
    Frame(#[from] FrameError),
    /// What it is packed in cannot be taken off.
    #[error("unpacking the answer: {0}")]
    Packed(#[from] PackedError),
    /// It repeats a secret within its packing, where nothing can be covered.
    #[error("the answer repeats a secret")]
    Repeats,
    /// A message holds no event.
    #[error("a message holds no event")]
    Event,
    /// The connection ended within a message.
    #[error("the answer ended within a message")]
    Cut,
    /// The upstream says that it failed.
    #[error("the upstream broke off with `{kind}`")]
    Said {
        /// What it calls the failure.
        kind: String,
        /// What it says of it.
        words: Vec<u8>,
    },
}
