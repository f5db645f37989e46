//! What can go wrong: by the request's own fault, or because the caller asked for it.
//!
//! A [`Problem`] is answered before any byte of an answer, in the provider's own words (`refuse` of each provider
//! file). A [`Fault`] is chosen by the caller: it is one of those problems, or it damages an answer
//! ([`super::reply::Reply::spoil`]).

/// Why a request gets an error instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// No credential where the provider looks for one.
    NoCredential,
    /// A credential that the provider does not know.
    BadCredential,
    /// The body is not a JSON object; the parser's words.
    Malformed(String),
    /// A field is missing or invalid: its name, and what is wrong in the provider's words.
    Invalid(&'static str, String),
    /// No such model.
    UnknownModel(String),
    /// No such path, or not with this method.
    NoRoute,
    /// Too many requests; the refusal says when to come back.
    RateLimited,
    /// The money is spent.
    Quota,
    /// The prompt is longer than the model can take.
    ContextLength,
    /// The provider broke.
    Internal,
    /// The provider is out of capacity.
    Overloaded,
}

/// Seconds that a [`Problem::RateLimited`] refusal asks the caller to wait. Short, so that a demonstration recovers
/// quickly.
pub(super) const RETRY_AFTER_SECONDS: u64 = 2;

/// What a caller can ask to go wrong, by model name or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `401`: the credential is refused.
    Unauthorized,
    /// `429`: rate limited, with a time to come back.
    RateLimited,
    /// `500`: an internal error.
    Internal,
    /// `529`: overloaded (503 where the provider has no 529).
    Overloaded,
    /// `quota`: the account's money is gone.
    Quota,
    /// `context`: the prompt is too long.
    ContextLength,
    /// `slow`: the answer comes, at [`super::reply::SLOW_PACE`].
    Slow,
    /// `cut`: the connection closes half-way through the body.
    Cut,
    /// `midstream-error`: an error event half-way through a stream; without a stream the same as `500`.
    MidstreamError,
    /// `empty`: a well-formed answer with no text in it.
    Empty,
    /// `hang`: no response head ever comes.
    Hang,
    /// `garbage`: status 200, and a body that is neither JSON nor an event stream.
    Garbage,
}

impl Fault {
    const NAMES: [(&'static str, Self); 12] = [
        ("401", Self::Unauthorized),
        ("429", Self::RateLimited),
        ("500", Self::Internal),
        ("529", Self::Overloaded),
        ("quota", Self::Quota),
        ("context", Self::ContextLength),
        ("slow", Self::Slow),
        ("cut", Self::Cut),
        ("midstream-error", Self::MidstreamError),
        ("empty", Self::Empty),
        ("hang", Self::Hang),
        ("garbage", Self::Garbage),
    ];

    /// The fault that the model name (`demo-429`) or else the message (`[[429]]`) asks for.
    pub(super) fn asked(model: &str, message: &str) -> Option<Self> {
        let named = |text: &str, open: &str, close: &str| {
            Self::NAMES.iter().find(|(name, _)| text.contains(&format!("{open}{name}{close}")))
        };
        named(model, "demo-", "").or_else(|| named(message, "[[", "]]")).map(|(_, fault)| *fault)
    }

    /// The problem to refuse with, for the faults that leave no answer at all.
    pub(super) fn problem(self) -> Option<Problem> {
        match self {
            Self::Unauthorized => Some(Problem::BadCredential),
            Self::RateLimited => Some(Problem::RateLimited),
            Self::Internal => Some(Problem::Internal),
            Self::Overloaded => Some(Problem::Overloaded),
            Self::Quota => Some(Problem::Quota),
            Self::ContextLength => Some(Problem::ContextLength),
            Self::Slow | Self::Cut | Self::MidstreamError | Self::Empty | Self::Hang | Self::Garbage => None,
        }
    }
}
