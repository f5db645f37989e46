//! Why a request gets no answer of a provider. Every error has two texts: [`ProxyError::message`], which is safe to
//! show, and the log line written where it is handled.

use tollgate_core::failure::FailureClass;
use tollgate_core::json;
use tollgate_core::limits::{Limit, RateStatus, Refused};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_runtime::Reply;

/// The wait that is advised where nobody knows a better one.
const SOON_MS: u64 = 1000;

/// Whether a refusal of this status is the request's own: no other try of it fares better.
pub(crate) const fn is_final(status: u16) -> bool {
    matches!(status, 400..=499) && !matches!(status, 408 | 409 | 425 | 429)
}

/// What a body may be packed in.
pub(crate) const ENCODINGS: &str = "gzip, deflate, br, zstd";

/// The upstream failed in the middle of its answer.
pub(crate) const UPSTREAM_BROKE: ProxyError =
    ProxyError::Upstream { class: FailureClass::Transient, retry_after_ms: None, own: false };

/// Why a request gets no answer of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// No API key came along.
    MissingKey,
    /// The API key is unknown, disabled or expired.
    InvalidKey,
    /// The API key may not be used in this protocol.
    ProtocolNotAllowed,
    /// The API key may not call this model.
    ModelNotAllowed(String),
    /// The API key may not use any provider of the model.
    ProviderNotAllowed,
    /// The caller's own credentials alone may serve, and there is none for the model.
    OwnOnly,
    /// The API key has reached one of its limits.
    LimitReached(Box<LimitReached>),
    /// Two API keys came along that are both valid: in these two places.
    TwoKeys(&'static str, &'static str),
    /// No such path; this one was probably meant.
    UnknownPath(Option<String>),
    /// The path exists with other methods: these.
    MethodNotAllowed(&'static str),
    /// The client asks for another protocol on this connection, which is not spoken there.
    UpgradeNotServed,
    /// The model is not offered here; whoever runs the gateway is told [`Self::Unpriced`].
    UnknownModel(String),
    /// The model has no price, so nobody can say what it would cost.
    Unpriced {
        /// Its name, as the price list would have it.
        model: String,
        /// The provider that would serve it, where the configuration leads to one.
        provider: Option<String>,
    },
    /// The request is not what the protocol asks for.
    BadRequest {
        /// What is wrong.
        message: String,
        /// The field at fault, where one is.
        field: Option<&'static str>,
    },
    /// The body is longer than the limit in bytes.
    BodyTooLarge(usize),
    /// The body came too slowly.
    BodyTimeout,
    /// The body is encoded in a way that is not understood.
    UnsupportedEncoding,
    /// The balance does not carry what the request may cost.
    InsufficientPoints {
        /// What it may cost.
        needed: Micropoints,
        /// What there is.
        available: Micropoints,
    },
    /// The content filter refused the request.
    Filtered,
    /// There is no credential for this request.
    NoCredential,
    /// The operator has not allowed the component of the provider to send keys where it would.
    NotPermitted,
    /// Every credential rests; the first is back in so many milliseconds.
    AllCooling(u64),
    /// Every credential is out of service: for so many milliseconds, where that is known.
    AllDown(Option<u64>),
    /// The gateway has as many requests under way as it may, and none ended in time.
    Busy,
    /// All exchanges together hold as many bytes as they may.
    Full,
    /// The provider's answer is longer than this limit in bytes, and must be seen whole.
    AnswerTooLarge(usize),
    /// Every attempt failed; the last one for this reason.
    Upstream {
        /// Why.
        class: FailureClass,
        /// Milliseconds until another try makes sense, where known.
        retry_after_ms: Option<u64>,
        /// Whether the credential was the caller's own.
        own: bool,
    },
    /// The upstream took too long.
    UpstreamTimeout,
    /// A component failed and its binding says so.
    Policy(&'static str),
    /// The ledger cannot take the request on now.
    Unavailable,
    /// The clock says a moment before the first prices: nothing can be priced, whatever the model.
    BeforePrices {
        /// What it says.
        now: Timestamp,
        /// The first prices' moment.
        first: Timestamp,
    },
    /// An adapter's answer in the caller's own protocol: to a request that cannot be said in its provider's, or in
    /// place of the provider's own.
    Translated {
        /// HTTP status.
        status: u16,
        /// JSON.
        body: String,
    },
    /// The request takes more to be said in its provider's protocol than an adapter has.
    TooMuch,
    /// The provider blames the request, in a shape that is not of the caller's protocol.
    Rejected(Rejected),
    /// The gateway is at fault.
    Internal,
}

impl ProxyError {
    /// Whether it is the gateway that keeps an answer from its client, and not who gave it.
    pub(super) const fn is_the_gateways(&self) -> bool {
        matches!(self, Self::Internal | Self::Full | Self::AnswerTooLarge(_) | Self::Policy(_))
    }
}

impl From<Reply> for ProxyError {
    fn from(reply: Reply) -> Self {
        Self::Translated { status: reply.status, body: String::from_utf8_lossy(&reply.body).into_owned() }
    }
}

/// What a provider says of a request that it does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Why.
    pub(crate) class: FailureClass,
    /// The provider's status.
    pub(crate) status: u16,
    message: String,
}

impl Rejected {
    /// Of an answer with this status and body.
    pub(crate) fn new(class: FailureClass, status: u16, body: &[u8]) -> Self {
        let message = said(body).unwrap_or_else(|| "The provider does not take this request.".to_owned());
        Self { class, status, message }
    }
}

/// Where servers put what they say of a failure.
const SAID: [&[&str]; 8] = [
    &["error", "message"],
    &["message"],
    &["Message"],
    &["error"],
    &["detail"],
    &["detail", "message"],
    &["msg"],
    &["error_msg"],
];
/// Longest words that are no JSON.
const PLAIN_BYTES_MAX: usize = 400;

/// What a body says of a failure: a member of JSON, or a line of text. A page says nothing.
fn said(body: &[u8]) -> Option<String> {
    let found = SAID.iter().find_map(|path| {
        let words = json::string(body, json::find(body, path)?)?;
        Some(words.into_owned()).filter(|words| !words.is_empty())
    });
    let plain = || {
        let text = std::str::from_utf8(body).ok()?.trim();
        let fits = !text.is_empty() && text.len() <= PLAIN_BYTES_MAX && !text.contains(char::is_control);
        (fits && !text.starts_with(['{', '[', '<', '"'])).then(|| text.to_owned())
    };
    found.or_else(plain)
}

/// A limit that a call met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitReached {
    /// Which, and for how long.
    pub(crate) refused: Refused,
    /// What is left of all of them.
    pub(crate) standing: RateStatus,
    /// When the call came.
    pub(crate) at: Timestamp,
}

impl ProxyError {
    /// A bad request.
    pub(crate) fn bad_request(message: impl Into<String>, field: Option<&'static str>) -> Self {
        Self::BadRequest { message: message.into(), field }
    }

    /// The text that the caller sees. Names no credential, address or component.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::MissingKey => "No API key was sent. Pass it as `Authorization: Bearer`, `x-api-key`, \
                                 `x-goog-api-key`, `api-key` or `?key=`."
                .to_owned(),
            Self::InvalidKey => "The API key is not valid.".to_owned(),
            Self::ProtocolNotAllowed => "This API key may not be used in this protocol.".to_owned(),
            Self::ModelNotAllowed(model) => format!("This API key may not call the model `{model}`."),
            Self::OwnOnly => {
                "Only your own provider keys may serve this API key's calls, and none is for this model."
                    .to_owned()
            }
            Self::ProviderNotAllowed => "This API key may not use any provider of this model.".to_owned(),
            Self::LimitReached(reached) => limit_message(reached.refused.limit).to_owned(),
            Self::TwoKeys(one, other) => {
                format!("Two API keys were sent, in `{one}` and in `{other}`: send one of them.")
            }
            Self::UnknownPath(None) => "There is nothing at this path.".to_owned(),
            Self::UnknownPath(Some(meant)) => {
                format!("There is nothing at this path. `{meant}` was probably meant.")
            }
            Self::MethodNotAllowed(allowed) => format!("This path takes {allowed}."),
            Self::UpgradeNotServed => {
                "No WebSocket is served at this path: send the request over HTTP.".to_owned()
            }
            Self::UnknownModel(model) => {
                format!("The model `{model}` does not exist or is not offered here.")
            }
            Self::Unpriced { model, provider } => unpriced_message(model, provider.as_deref()),
            Self::BadRequest { message, .. } => message.clone(),
            Self::BodyTooLarge(limit) => format!("The request body is larger than {limit} bytes."),
            Self::BodyTimeout => "The request body did not arrive in time.".to_owned(),
            Self::UnsupportedEncoding => {
                format!("The body is encoded in a way that is not known here: {ENCODINGS} are.")
            }
            Self::InsufficientPoints { needed, available } => format!(
                "The balance of {available} points does not cover this request, which may cost up to {needed}."
            ),
            Self::Filtered => "The request was refused by the content filter.".to_owned(),
            Self::NoCredential => "No provider credential can serve this request.".to_owned(),
            Self::NotPermitted => {
                "The operator has not allowed this provider's component to send keys to the \
                                   host that it names."
                    .to_owned()
            }
            Self::AllDown(_) => "All provider credentials for this request are out of service.".to_owned(),
            Self::Busy => "The gateway is at its limit of requests under way. Try again shortly.".to_owned(),
            Self::Full => {
                "The gateway holds as many bytes of requests as it may. Try again shortly.".to_owned()
            }
            Self::AnswerTooLarge(limit) => {
                format!("The provider's answer is larger than {limit} bytes, and cannot be translated.")
            }
            Self::AllCooling(_) => {
                "All provider credentials are at their limits. Try again later.".to_owned()
            }
            Self::Upstream { class, own, .. } => upstream_message(*class, *own).to_owned(),
            Self::UpstreamTimeout => "The provider did not answer in time.".to_owned(),
            Self::Policy(kind) => format!("The {kind} policy failed, so the request was not sent."),
            Self::Unavailable => "The gateway cannot take requests now. Try again shortly.".to_owned(),
            Self::BeforePrices { now, first } => format!(
                "The gateway's clock says {}, which is before its first prices ({}): it has to be set.",
                now.rfc3339(),
                first.rfc3339()
            ),
            Self::Translated { .. } => "The request does not suit the model's provider.".to_owned(),
            Self::TooMuch => {
                "The request is too large to be translated for this model's provider.".to_owned()
            }
            Self::Rejected(rejected) => rejected.message.clone(),
            Self::Internal => "The gateway failed.".to_owned(),
        }
    }

    /// How long the caller is asked to wait, where that is known.
    pub(crate) fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::AllCooling(ms) => Some(*ms),
            Self::LimitReached(reached) => Some(reached.refused.retry_after_ms),
            Self::Upstream { retry_after_ms, .. } => *retry_after_ms,
            Self::AllDown(until) => *until,
            Self::Unavailable | Self::Busy | Self::Full => Some(SOON_MS),
            _ => None,
        }
    }

    /// After how long another try of the same request may fare better; `None` where none can.
    pub(crate) fn try_again_ms(&self) -> Option<u64> {
        match self {
            Self::AllCooling(_) | Self::LimitReached(_) | Self::AllDown(_) => self.retry_after_ms(),
            Self::Upstream { class, own, .. } => {
                let final_for = match class {
                    FailureClass::Permission => true,
                    FailureClass::InvalidCredential => *own,
                    FailureClass::QuotaExhausted => *own && self.retry_after_ms().is_none(),
                    class => class.blames_request(),
                };
                (!final_for).then(|| self.retry_after_ms().unwrap_or(SOON_MS))
            }
            Self::Translated { status, .. } => (!is_final(*status)).then_some(SOON_MS),
            Self::Unavailable
            | Self::Busy
            | Self::Full
            | Self::BodyTimeout
            | Self::UpstreamTimeout
            | Self::Policy(_)
            | Self::Internal => Some(SOON_MS),
            _ => None,
        }
    }

    /// Whether the caller is told of what an `earlier` attempt met in place of this: of a rate limit before anything
    /// else, because it will be lifted, and of the one that is lifted first.
    pub(crate) fn yields_to(&self, earlier: &Self) -> bool {
        let lifted_ms = |error: &Self| match error {
            Self::Upstream { class: FailureClass::RateLimited, retry_after_ms, .. } => {
                Some(retry_after_ms.unwrap_or(u64::MAX))
            }
            _ => None,
        };
        match (lifted_ms(earlier), lifted_ms(self)) {
            (Some(first), last) => last.is_none_or(|last| first < last),
            (None, _) => false,
        }
    }
}

/// What those who run the gateway are told of a model without a price: what would give it one. Nothing that a client
/// calls a model becomes a part of a command, unless it looks like a name.
fn unpriced_message(model: &str, provider: Option<&str>) -> String {
    let is_name = |sign: char| sign.is_ascii_alphanumeric() || "-._:/@+".contains(sign);
    let name = if model.chars().all(is_name) { format!("'{model}'") } else { "NAME".to_owned() };
    match provider {
        Some(provider) => format!(
            "The model `{model}` of `{provider}` has no price, so it is not offered to anyone. Give it one: \
             `tollgate price set {name} --provider {provider} --input USD --output USD`, or `--free`; or all models of \
             `{provider}` at once: `tollgate price set '{provider}/*' --free`."
        ),
        None => format!(
            "The model `{model}` has no price, and no model route leads to it, so it is not offered to anyone. Name its \
             provider: `tollgate price set {name} --provider NAME --input USD --output USD`, or `--free`."
        ),
    }
}

const fn limit_message(limit: Limit) -> &'static str {
    match limit {
        Limit::RequestsPerMinute => "This API key has made as many requests as it may in a minute.",
        Limit::TokensPerMinute => "This API key has used as many tokens as it may in a minute.",
        Limit::TokensPerDay => "This API key has used as many tokens as it may in a day (UTC).",
        Limit::Concurrency => "This API key has as many requests under way as it may have at one time.",
    }
}

const fn upstream_message(class: FailureClass, own: bool) -> &'static str {
    match (class, own) {
        (FailureClass::InvalidCredential, true) => "The provider refused your own credential.",
        (FailureClass::QuotaExhausted, true) => "The quota of your own credential is used up.",
        (FailureClass::Permission, true) => "Your own credential lacks access to this model.",
        (FailureClass::Permission, false) => "The provider does not offer this model here.",
        (FailureClass::NotFound, _) => "The provider does not know this model, or does not offer it here.",
        (FailureClass::RateLimited | FailureClass::QuotaExhausted, _) => {
            "The provider's rate limit is reached. Try again later."
        }
        (FailureClass::Overloaded, _) => "The provider is overloaded. Try again later.",
        _ => "The provider failed to answer.",
    }
}
