//! An error in the words of each protocol: the only place that knows status codes.

use bytes::Bytes;
use http::StatusCode;
use tollgate_core::failure::FailureClass;
use tollgate_core::json::{self, Kind};
use tollgate_core::protocol::{Operation, Protocol};

use super::error::{ProxyError, Rejected};

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

    /// Whether it is that of Gemini's interactions.
    pub(crate) const fn is_interaction(self) -> bool {
        self.interaction
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
    fn words(&self) -> Words {
        const INVALID: &str = "invalid_request_error";
        match self {
            Self::MissingKey | Self::InvalidKey => {
                words(401, INVALID, Some("invalid_api_key"), "authentication_error", "UNAUTHENTICATED")
            }
            Self::ProtocolNotAllowed
            | Self::ModelNotAllowed(_)
            | Self::ProviderNotAllowed
            | Self::OwnOnly => {
                words(403, INVALID, Some("permission_denied"), "permission_error", "PERMISSION_DENIED")
            }
            Self::UnknownPath(_) => words(404, INVALID, Some("unknown_url"), "not_found_error", "NOT_FOUND"),
            Self::MethodNotAllowed(_) => {
                words(405, INVALID, Some("method_not_supported"), INVALID, "UNIMPLEMENTED")
            }
            Self::UpgradeNotServed => {
                words(426, INVALID, Some("upgrade_not_supported"), INVALID, "UNIMPLEMENTED")
            }
            Self::UnknownModel(_) | Self::Unpriced { .. } => {
                words(404, INVALID, Some("model_not_found"), "not_found_error", "NOT_FOUND")
            }
            Self::BadRequest { .. } | Self::TwoKeys(..) => {
                words(400, INVALID, None, INVALID, "INVALID_ARGUMENT")
            }
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
            Self::NotPermitted => {
                words(503, "server_error", Some("not_permitted"), "api_error", "UNAVAILABLE")
            }
            Self::Busy => {
                words(503, "server_error", Some("server_is_overloaded"), "overloaded_error", "UNAVAILABLE")
            }
            Self::Full => {
                words(503, "server_error", Some("server_is_overloaded"), "api_error", "UNAVAILABLE")
            }
            Self::AnswerTooLarge(_) => upstream_words(FailureClass::Transient, false),
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
            Self::BeforePrices { .. } => {
                words(503, "server_error", Some("clock_is_wrong"), "api_error", "UNAVAILABLE")
            }
            Self::Unavailable => words(503, "server_error", Some("unavailable"), "api_error", "UNAVAILABLE"),
            Self::Translated { status, .. } => words(*status, INVALID, None, INVALID, "INVALID_ARGUMENT"),
            Self::Internal => words(500, "server_error", None, "api_error", "INTERNAL"),
        }
    }

    /// The status that the caller sees. Anthropic has one of its own for who is overloaded, and its clients know it by
    /// that.
    pub(crate) fn status(&self, protocol: Protocol) -> StatusCode {
        let words = self.words();
        let overloaded = protocol == Protocol::AnthropicMessages && words.anthropic == "overloaded_error";
        let status = if overloaded { 529 } else { words.status };
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::BadRequest { field, .. } => *field,
            Self::UnknownModel(_)
            | Self::Unpriced { .. }
            | Self::ModelNotAllowed(_)
            | Self::ProviderNotAllowed
            | Self::OwnOnly => Some("model"),
            _ => None,
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

    /// The error as an event of a stream that has begun, with this number where its events are numbered.
    pub(crate) fn event(&self, dialect: ErrorDialect, request_id: &str, number: u64) -> Bytes {
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
                    "event: error\ndata: {{\"type\":\"error\",\"code\":\"{code}\",\"message\":{message},\"param\":null,\"sequence_number\":{number}}}\n\n"
                )
            }
        };
        Bytes::from(text)
    }
}

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

#[cfg(test)]
mod tests {
    use super::ErrorDialect;
    use crate::proxy::error::ProxyError;
    use tollgate_core::protocol::{Operation, Protocol};
    use tollgate_core::time::Timestamp;

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
    fn a_clock_that_was_never_set_is_said_in_every_protocol() {
        let [now, first] = [0, 1_800_000_000_000].map(Timestamp::from_millis);
        let error = ProxyError::BeforePrices { now, first };
        for protocol in Protocol::ALL {
            assert_eq!(error.status(protocol), 503);
            let body = error.body(protocol.into(), "r1");
            assert!(body.contains("1970-01-01T00:00:00Z") && body.contains("2027-01-15T08:00:00Z"), "{body}");
        }
    }

    #[test]
    fn an_error_inside_a_stream_is_one_event_of_its_protocol() {
        let event = |dialect| ProxyError::UpstreamTimeout.event(dialect, "r1", 7).to_vec();
        let text = |protocol: Protocol| String::from_utf8(event(protocol.into())).unwrap();
        assert!(text(Protocol::OpenaiChat).starts_with("data: {\"error\""));
        assert!(text(Protocol::AnthropicMessages).starts_with("event: error\ndata: {\"type\":\"error\""));
        assert!(text(Protocol::OpenaiResponses).contains("\"type\":\"error\""));
        assert!(text(Protocol::OpenaiResponses).contains("\"sequence_number\":7"));
        for protocol in Protocol::ALL {
            assert!(text(protocol).ends_with("}\n\n"));
        }
    }

    #[test]
    fn interactions_have_words_of_their_own() {
        let dialect = ErrorDialect::of(Protocol::Gemini, Operation::Interact);
        let error = ProxyError::bad_request("No.", None);
        assert_eq!(error.body(dialect, "r1"), r#"{"error":{"code":"invalid_request","message":"No."}}"#);
        let event = String::from_utf8(ProxyError::Busy.event(dialect, "r1", 7).to_vec()).unwrap();
        assert!(event.starts_with(
            "event: error\ndata: {\"event_type\":\"error\",\"error\":{\"code\":\"unavailable\""
        ));
        assert!(event.ends_with("}}\n\n"));
    }
}
