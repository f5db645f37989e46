//! What an upstream failure means: the class drives failover, the credential's state and the caller's answer.

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The credential is wrong, expired or revoked.
    InvalidCredential,
    /// The credential lacks this model, region or feature.
    Permission,
    /// The credential's money or long quota is gone.
    QuotaExhausted,
    /// Too many requests for now.
    RateLimited,
    /// The provider as a whole is busy.
    Overloaded,
    /// The request is at fault.
    BadRequest,
    /// The request does not fit the model's context.
    ContextTooLong,
    /// The provider refused the content.
    ContentRefused,
    /// No such model or resource.
    NotFound,
    /// A fault that another try may not meet.
    Transient,
    /// Nothing is known of the reason.
    Unknown,
}

impl FailureClass {
    /// All of them, in the order of the WIT enum.
    pub const ALL: [Self; 11] = [
        Self::InvalidCredential,
        Self::Permission,
        Self::QuotaExhausted,
        Self::RateLimited,
        Self::Overloaded,
        Self::BadRequest,
        Self::ContextTooLong,
        Self::ContentRefused,
        Self::NotFound,
        Self::Transient,
        Self::Unknown,
    ];

    /// The name used in logs, metrics and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidCredential => "invalid-credential",
            Self::Permission => "permission",
            Self::QuotaExhausted => "quota-exhausted",
            Self::RateLimited => "rate-limited",
            Self::Overloaded => "overloaded",
            Self::BadRequest => "bad-request",
            Self::ContextTooLong => "context-too-long",
            Self::ContentRefused => "content-refused",
            Self::NotFound => "not-found",
            Self::Transient => "transient",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the request itself is at fault, so that another credential cannot help and the caller should see the
    /// provider's own words.
    #[must_use]
    pub const fn blames_request(self) -> bool {
        matches!(self, Self::BadRequest | Self::ContextTooLong | Self::ContentRefused | Self::NotFound)
    }
}
