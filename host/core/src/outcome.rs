//! How a request ended: an input of the price rule and a column of the record.

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The whole answer was delivered.
    Ok,
    /// The upstream answered without content.
    Empty,
    /// The upstream failed after part of the answer was delivered.
    Partial,
    /// The client left before the first byte of the answer.
    CancelledBeforeFirstByte,
    /// The client left after part of the answer was delivered.
    CancelledAfterFirstByte,
    /// The upstream failed before the first byte.
    UpstreamError,
    /// The gateway lost the request.
    Unknown,
    /// The gateway refused the request (filter, balance, a bad body): nothing was sent, so no price rule sees it.
    Refused,
}

impl Outcome {
    /// All of them: those of the WIT enum in its order, then [`Outcome::Refused`], which has no price.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::Empty,
        Self::Partial,
        Self::CancelledBeforeFirstByte,
        Self::CancelledAfterFirstByte,
        Self::UpstreamError,
        Self::Unknown,
        Self::Refused,
    ];

    /// The name used in logs, metrics and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Empty => "empty",
            Self::Partial => "partial",
            Self::CancelledBeforeFirstByte => "cancelled-before-first-byte",
            Self::CancelledAfterFirstByte => "cancelled-after-first-byte",
            Self::UpstreamError => "upstream-error",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }
}
