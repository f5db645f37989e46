//! What a caller is told when there is no answer: one error, said in each protocol's own words.
//!
//! The only place on the road that knows status codes. Every error has two texts: [`ProxyError::message`], which is safe to
//! show, and the log line written where it is handled.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use tollgate_core::failure::FailureClass;
use tollgate_core::json::{self, Kind};
use tollgate_core::limits::{Limit, RateStatus, Refused};
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;
use tollgate_runtime::Reply;

use super::{Outgoing, limit};

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
    /// The API key has reached one of its limits.
    LimitReached(Box<LimitReached>),
    /// No such path.
    UnknownPath,
    /// The path exists with other methods: these.
    MethodNotAllowed(&'static str),
    /// The model has no price, so nobody can say what it would cost.
    UnknownModel(String),
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
    /// Every credential rests; the first is back in so many milliseconds.
    AllCooling(u64),
    /// Every credential is out of service: for so many milliseconds, where that is known.
    AllDown(Option<u64>),
    /// The gateway has as many requests under way as it may, and none ended in time.
    Busy,
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
    /// An adapter's answer in the caller's own protocol: to a request that cannot be said in its provider's, or in place of
    /// the provider's own.
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

impl From<Reply> for ProxyError {
    fn from(reply: Reply) -> Self {
        Self::Translated { status: reply.status, body: String::from_utf8_lossy(&reply.body).into_owned() }
    }
}

/// What a provider says of a request that it does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    class: FailureClass,
    status: u16,
    message: String,
}

impl Rejected {
    /// Of an answer with this status and body.
    pub(crate) fn new(class: FailureClass, status: u16, body: &[u8]) -> Self {
        let paths: [&[&str]; 3] = [&["message"], &["Message"], &["error", "message"]];
        let found = paths.iter().find_map(|path| json::string(body, json::find(body, path)?));
        let message = found.filter(|words| !words.is_empty());
        let message = message.map_or("The provider does not take this request.".to_owned(), Into::into);
        Self { class, status, message }
    }
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

/// In whose words an error is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ErrorDialect {
    /// The caller's protocol.
    pub(crate) protocol: Protocol,
    /// Whether it is one of Gemini's interactions, which have words of their own.
    interaction: bool,
}

impl ErrorDialect {
    /// For a call.
    pub(crate) fn of(protocol: Protocol, operation: Operation) -> Self {
        Self { protocol, interaction: operation == Operation::Interact }
    }
}

impl From<Protocol> for ErrorDialect {
    fn from(protocol: Protocol) -> Self {
        Self { protocol, interaction: false }
    }
}

/// One error in the words of the three protocol families.
struct Words {
    status: u16,
    openai_type: &'static str,
    openai_code: Option<&'static str>,
    anthropic: &'static str,
    gemini: &'static str,
}

const fn words(
    status: u16,
    openai_type: &'static str,
    openai_code: Option<&'static str>,
    anthropic: &'static str,
    gemini: &'static str,
) -> Words {
    Words { status, openai_type, openai_code, anthropic, gemini }
}

impl ProxyError {
    /// A bad request.
    pub(crate) fn bad_request(message: impl Into<String>, field: Option<&'static str>) -> Self {
        Self::BadRequest { message: message.into(), field }
    }

    fn words(&self) -> Words {
        const INVALID: &str = "invalid_request_error";
        match self {
            Self::MissingKey | Self::InvalidKey => {
                words(401, INVALID, Some("invalid_api_key"), "authentication_error", "UNAUTHENTICATED")
            }
            Self::ProtocolNotAllowed | Self::ModelNotAllowed(_) | Self::ProviderNotAllowed => {
                words(403, INVALID, Some("permission_denied"), "permission_error", "PERMISSION_DENIED")
            }
            Self::UnknownPath => words(404, INVALID, Some("unknown_url"), "not_found_error", "NOT_FOUND"),
            Self::MethodNotAllowed(_) => {
                words(405, INVALID, Some("method_not_supported"), INVALID, "UNIMPLEMENTED")
            }
            Self::UnknownModel(_) => {
                words(404, INVALID, Some("model_not_found"), "not_found_error", "NOT_FOUND")
            }
            Self::BadRequest { .. } => words(400, INVALID, None, INVALID, "INVALID_ARGUMENT"),
            Self::BodyTooLarge(_) | Self::TooMuch => {
                words(413, INVALID, None, "request_too_large", "INVALID_ARGUMENT")
            }
            Self::BodyTimeout => words(408, INVALID, Some("request_timeout"), INVALID, "DEADLINE_EXCEEDED"),
            Self::UnsupportedEncoding => words(415, INVALID, None, INVALID, "INVALID_ARGUMENT"),
            Self::InsufficientPoints { .. } => words(
                402,
                "insufficient_quota",
                Some("insufficient_quota"),
                "billing_error",
                "RESOURCE_EXHAUSTED",
            ),
            Self::Filtered => words(400, INVALID, Some("content_filter"), INVALID, "INVALID_ARGUMENT"),
            Self::NoCredential | Self::AllDown(_) => {
                words(503, "server_error", Some("no_credential"), "api_error", "UNAVAILABLE")
            }
            Self::Busy => {
                words(503, "server_error", Some("server_is_overloaded"), "overloaded_error", "UNAVAILABLE")
            }
            Self::AllCooling(_) | Self::LimitReached(_) => words(
                429,
                "rate_limit_error",
                Some("rate_limit_exceeded"),
                "rate_limit_error",
                "RESOURCE_EXHAUSTED",
            ),
            Self::Upstream { class, own, .. } => upstream_words(*class, *own),
            Self::Rejected(rejected) => rejected_words(rejected),
            Self::UpstreamTimeout => {
                words(504, "server_error", Some("upstream_timeout"), "timeout_error", "DEADLINE_EXCEEDED")
            }
            Self::Policy(_) => words(503, "server_error", Some("policy_failed"), "api_error", "UNAVAILABLE"),
            Self::Unavailable => words(503, "server_error", Some("unavailable"), "api_error", "UNAVAILABLE"),
            Self::Translated { status, .. } => words(*status, INVALID, None, INVALID, "INVALID_ARGUMENT"),
            Self::Internal => words(500, "server_error", None, "api_error", "INTERNAL"),
        }
    }

    /// The status that the caller sees. Anthropic has one of its own for who is overloaded, and its clients know it by that.
    pub(crate) fn status(&self, protocol: Protocol) -> StatusCode {
        let words = self.words();
        let overloaded = protocol == Protocol::AnthropicMessages && words.anthropic == "overloaded_error";
        let status = if overloaded { 529 } else { words.status };
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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
            Self::ProviderNotAllowed => "This API key may not use any provider of this model.".to_owned(),
            Self::LimitReached(reached) => limit_message(reached.refused.limit).to_owned(),
            Self::UnknownPath => "There is nothing at this path.".to_owned(),
            Self::MethodNotAllowed(allowed) => format!("This path takes {allowed}."),
            Self::UnknownModel(model) => {
                format!("The model `{model}` does not exist or is not offered here.")
            }
            Self::BadRequest { message, .. } => message.clone(),
            Self::BodyTooLarge(limit) => format!("The request body is larger than {limit} bytes."),
            Self::BodyTimeout => "The request body did not arrive in time.".to_owned(),
            Self::UnsupportedEncoding => "Send the body without a content encoding.".to_owned(),
            Self::InsufficientPoints { needed, available } => format!(
                "The balance of {available} points does not cover this request, which may cost up to {needed}."
            ),
            Self::Filtered => "The request was refused by the content filter.".to_owned(),
            Self::NoCredential => "No provider credential can serve this request.".to_owned(),
            Self::AllDown(_) => "All provider credentials for this request are out of service.".to_owned(),
            Self::Busy => "The gateway is at its limit of requests under way. Try again shortly.".to_owned(),
            Self::AllCooling(_) => {
                "All provider credentials are at their limits. Try again later.".to_owned()
            }
            Self::Upstream { class, own, .. } => upstream_message(*class, *own).to_owned(),
            Self::UpstreamTimeout => "The provider did not answer in time.".to_owned(),
            Self::Policy(kind) => format!("The {kind} policy failed, so the request was not sent."),
            Self::Unavailable => "The gateway cannot take requests now. Try again shortly.".to_owned(),
            Self::Translated { .. } => "The request does not suit the model's provider.".to_owned(),
            Self::TooMuch => {
                "The request is too large to be translated for this model's provider.".to_owned()
            }
            Self::Rejected(rejected) => rejected.message.clone(),
            Self::Internal => "The gateway failed.".to_owned(),
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::BadRequest { field, .. } => *field,
            Self::UnknownModel(_) | Self::ModelNotAllowed(_) | Self::ProviderNotAllowed => Some("model"),
            _ => None,
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::AllCooling(ms) => Some(*ms),
            Self::LimitReached(reached) => Some(reached.refused.retry_after_ms),
            Self::Upstream { retry_after_ms, .. } => *retry_after_ms,
            Self::AllDown(until) => *until,
            Self::Unavailable | Self::Busy => Some(1000),
            _ => None,
        }
    }

    /// What the caller is told when this came after what an `earlier` attempt met: of a rate limit before anything else, because it
    /// will be lifted, and of the one that is lifted first.
    pub(crate) fn after(self, earlier: Option<Self>) -> Self {
        let lifted_ms = |error: &Self| match error {
            Self::Upstream { class: FailureClass::RateLimited, retry_after_ms, .. } => {
                Some(retry_after_ms.unwrap_or(u64::MAX))
            }
            _ => None,
        };
        let Some(earlier) = earlier else { return self };
        match (lifted_ms(&earlier), lifted_ms(&self)) {
            (Some(_), None) => earlier,
            (Some(first), Some(last)) if first < last => earlier,
            _ => self,
        }
    }

    /// The error body in the caller's words.
    pub(crate) fn body(&self, dialect: ErrorDialect, request_id: &str) -> String {
        if let Self::Translated { body, .. } = self {
            return body.clone();
        }
        let words = self.words();
        let message = json::quote(&self.message());
        match dialect.protocol {
            Protocol::OpenaiChat | Protocol::OpenaiResponses => {
                let text = |value: Option<&str>| value.map_or("null".to_owned(), |v| format!("\"{v}\""));
                let (code, param) = (text(words.openai_code), text(self.field()));
                let kind = words.openai_type;
                format!(
                    r#"{{"error":{{"message":{message},"type":"{kind}","param":{param},"code":{code}}}}}"#
                )
            }
            Protocol::AnthropicMessages => format!(
                r#"{{"type":"error","error":{{"type":"{}","message":{message}}},"request_id":"{request_id}"}}"#,
                words.anthropic
            ),
            Protocol::Gemini if dialect.interaction => {
                let code = interaction_code(words.gemini);
                format!(r#"{{"error":{{"code":"{code}","message":{message}}}}}"#)
            }
            Protocol::Gemini => {
                let details = self.retry_after_ms().map(retry_info).unwrap_or_default();
                format!(
                    r#"{{"error":{{"code":{},"message":{message},"status":"{}"{details}}}}}"#,
                    words.status, words.gemini
                )
            }
        }
    }

    /// The error as an event of a stream that has begun.
    pub(crate) fn event(&self, dialect: ErrorDialect, request_id: &str) -> Bytes {
        let body = self.body(dialect, request_id);
        let text = match dialect.protocol {
            Protocol::Gemini if dialect.interaction => {
                let members = body.strip_prefix('{').unwrap_or_default();
                format!("event: error\ndata: {{\"event_type\":\"error\",{members}\n\n")
            }
            Protocol::OpenaiChat | Protocol::Gemini => format!("data: {body}\n\n"),
            Protocol::AnthropicMessages => format!("event: error\ndata: {body}\n\n"),
            Protocol::OpenaiResponses => {
                let words = self.words();
                let message = json::quote(&self.message());
                let code = words.openai_code.unwrap_or(words.openai_type);
                format!(
                    "event: error\ndata: {{\"type\":\"error\",\"code\":\"{code}\",\"message\":{message},\"param\":null,\"sequence_number\":0}}\n\n"
                )
            }
        };
        Bytes::from(text)
    }

    /// The whole answer.
    pub(crate) fn response(&self, dialect: ErrorDialect, request_id: &str) -> Response<Outgoing> {
        let mut response = Response::new(Outgoing::from(Bytes::from(self.body(dialect, request_id))));
        *response.status_mut() = self.status(dialect.protocol);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(ms) = self.retry_after_ms() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
            if ms > PATIENCE_MS_MAX {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
        }
        if let Self::LimitReached(reached) = self {
            limit::tell(headers, &reached.standing, dialect.protocol, reached.at);
        }
        if let Self::MethodNotAllowed(allowed) = self {
            headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
        }
        if matches!(self, Self::MissingKey | Self::InvalidKey) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Clients that wait for as long as they are told would seem to hang for longer than this.
const PATIENCE_MS_MAX: u64 = 60_000;

/// By this header, OpenAI and Anthropic tell their clients whether to try again by themselves.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The wait where Google's clients look for it.
fn retry_info(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    format!(
        r#","details":[{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{seconds}.{ms:03}s"}}]"#
    )
}

/// What interactions call a status.
fn interaction_code(status: &str) -> String {
    if status == "INVALID_ARGUMENT" { "invalid_request".to_owned() } else { status.to_ascii_lowercase() }
}

const fn limit_message(limit: Limit) -> &'static str {
    match limit {
        Limit::RequestsPerMinute => "This API key has made as many requests as it may in a minute.",
        Limit::TokensPerMinute => "This API key has used as many tokens as it may in a minute.",
        Limit::TokensPerDay => "This API key has used as many tokens as it may in a day (UTC).",
        Limit::Concurrency => "This API key has as many requests under way as it may have at one time.",
    }
}

fn upstream_words(class: FailureClass, own: bool) -> Words {
    match class {
        FailureClass::QuotaExhausted if own => words(
            429,
            "insufficient_quota",
            Some("insufficient_quota"),
            "rate_limit_error",
            "RESOURCE_EXHAUSTED",
        ),
        FailureClass::NotFound => NOT_FOUND,
        FailureClass::RateLimited | FailureClass::QuotaExhausted => words(
            429,
            "rate_limit_error",
            Some("rate_limit_exceeded"),
            "rate_limit_error",
            "RESOURCE_EXHAUSTED",
        ),
        FailureClass::Overloaded => {
            words(503, "server_error", Some("server_is_overloaded"), "overloaded_error", "UNAVAILABLE")
        }
        FailureClass::Permission => words(
            403,
            "invalid_request_error",
            Some("permission_denied"),
            "permission_error",
            "PERMISSION_DENIED",
        ),
        _ => words(502, "server_error", Some("upstream_error"), "api_error", "UNAVAILABLE"),
    }
}

const NOT_FOUND: Words =
    words(404, "invalid_request_error", Some("model_not_found"), "not_found_error", "NOT_FOUND");

fn rejected_words(rejected: &Rejected) -> Words {
    const INVALID: &str = "invalid_request_error";
    match (rejected.class, rejected.status) {
        (FailureClass::NotFound, _) => NOT_FOUND,
        (FailureClass::ContextTooLong, _) => {
            words(400, INVALID, Some("context_length_exceeded"), INVALID, "INVALID_ARGUMENT")
        }
        (FailureClass::ContentRefused, _) => {
            words(400, INVALID, Some("content_filter"), INVALID, "INVALID_ARGUMENT")
        }
        (_, 413) => words(413, INVALID, None, "request_too_large", "INVALID_ARGUMENT"),
        (_, status @ 422) => words(status, INVALID, None, INVALID, "INVALID_ARGUMENT"),
        _ => words(400, INVALID, None, INVALID, "INVALID_ARGUMENT"),
    }
}

/// Whether an upstream's error has the shape that the clients of a protocol look for.
pub(crate) fn is_told_in(protocol: Protocol, body: &[u8]) -> bool {
    let object = |path: &[&str]| json::find(body, path).is_some_and(|value| value.kind == Kind::Object);
    match protocol {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => object(&["error"]),
        Protocol::AnthropicMessages => {
            let kind = json::find(body, &["type"]).and_then(|value| json::string(body, value));
            kind.is_some_and(|kind| kind == "error") && object(&["error"])
        }
        // In a stream without `alt=sse` it stands in an array.
        Protocol::Gemini => object(&["error"]) || body.trim_ascii_start().starts_with(b"["),
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

#[cfg(test)]
mod tests {
    use super::{ErrorDialect, ProxyError};
    use tollgate_core::protocol::{Operation, Protocol};

    #[test]
    fn every_protocol_gets_its_own_shape() {
        let error = ProxyError::UnknownModel("a\"b".to_owned());
        let parse = |protocol: Protocol| -> serde_json::Value {
            serde_json::from_str(&error.body(protocol.into(), "r1")).expect("an error body is JSON")
        };
        assert_eq!(parse(Protocol::OpenaiChat)["error"]["code"], "model_not_found");
        assert_eq!(parse(Protocol::OpenaiChat)["error"]["param"], "model");
        assert_eq!(parse(Protocol::AnthropicMessages)["error"]["type"], "not_found_error");
        assert_eq!(parse(Protocol::Gemini)["error"]["status"], "NOT_FOUND");
        assert_eq!(parse(Protocol::Gemini)["error"]["code"], 404);
    }

    #[test]
    fn an_error_inside_a_stream_is_one_event_of_its_protocol() {
        let event = |dialect| ProxyError::UpstreamTimeout.event(dialect, "r1").to_vec();
        let text = |protocol: Protocol| String::from_utf8(event(protocol.into())).unwrap();
        assert!(text(Protocol::OpenaiChat).starts_with("data: {\"error\""));
        assert!(text(Protocol::AnthropicMessages).starts_with("event: error\ndata: {\"type\":\"error\""));
        assert!(text(Protocol::OpenaiResponses).contains("\"type\":\"error\""));
        for protocol in Protocol::ALL {
            assert!(text(protocol).ends_with("}\n\n"));
        }
    }

    #[test]
    fn interactions_have_words_of_their_own() {
        let dialect = ErrorDialect::of(Protocol::Gemini, Operation::Interact);
        let error = ProxyError::bad_request("No.", None);
        assert_eq!(error.body(dialect, "r1"), r#"{"error":{"code":"invalid_request","message":"No."}}"#);
        let event = String::from_utf8(ProxyError::Busy.event(dialect, "r1").to_vec()).unwrap();
        assert!(event.starts_with(
            "event: error\ndata: {\"event_type\":\"error\",\"error\":{\"code\":\"unavailable\""
        ));
        assert!(event.ends_with("}}\n\n"));
    }
}
