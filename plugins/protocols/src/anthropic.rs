//! Anthropic Messages.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_plugin::adapter::{Failure, FailureClass};
use tollgate_plugin::types::{Class, Quality, ServiceTier, Usage};

use crate::lenient::{count, member, words};
use crate::share::take;
use crate::{amazon, failure, gemini};

/// `usage` of a message, of `message_start` or of `message_delta`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct MessageUsage {
    /// Neither read from a cache nor written to one.
    #[serde(default, deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    cache_read_input_tokens: Option<u64>,
    /// The sum over all lifetimes.
    #[serde(default, deserialize_with = "count")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "member")]
    cache_creation: Option<CacheCreation>,
    /// Contains thinking.
    #[serde(default, deserialize_with = "count")]
    output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "member")]
    output_tokens_details: Option<OutputDetails>,
    #[serde(default, deserialize_with = "member")]
    server_tool_use: Option<ServerToolUse>,
    #[serde(default, deserialize_with = "member")]
    service_tier: Option<Served>,
    #[serde(default, deserialize_with = "member")]
    speed: Option<Served>,
    #[serde(default, deserialize_with = "member")]
    inference_geo: Option<Geo>,
}

/// Where the message says that it was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Geo {
    Global,
    /// By a model that is served in one way only.
    NotAvailable,
    /// In the region that is named: `us`.
    #[serde(other)]
    Region,
}

/// Calls of tools that Anthropic runs. Tools without a field cost only their tokens.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct ServerToolUse {
    #[serde(default, deserialize_with = "count")]
    web_search_requests: Option<u64>,
}

/// How the message says that it was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Served {
    Batch,
    Priority,
    Fast,
    #[serde(other)]
    Standard,
}

impl Served {
    const fn tier(self) -> ServiceTier {
        match self {
            Self::Batch => ServiceTier::Batch,
            Self::Priority => ServiceTier::Priority,
            Self::Fast => ServiceTier::Fast,
            Self::Standard => ServiceTier::Standard,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct CacheCreation {
    #[serde(default, deserialize_with = "count")]
    ephemeral_5m_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct OutputDetails {
    #[serde(default, deserialize_with = "count")]
    thinking_tokens: Option<u64>,
}

impl MessageUsage {
    /// What a stream has stated: counts are cumulative, so each that `later` states replaces the one in `self`. A side
    /// that has fallen to nothing was not counted again.
    #[must_use]
    pub fn overridden_by(self, later: Self) -> Self {
        let prompt = if later.has_prompt() || !self.has_prompt() { later } else { self };
        let output = later.output_tokens.filter(|output| *output > 0 || self.output_tokens.is_none());
        let fallen = later.output_tokens.is_some() && output.is_none() && self.output_tokens > Some(0);
        Self {
            input_tokens: prompt.input_tokens.or(self.input_tokens),
            cache_read_input_tokens: prompt.cache_read_input_tokens.or(self.cache_read_input_tokens),
            cache_creation_input_tokens: prompt
                .cache_creation_input_tokens
                .or(self.cache_creation_input_tokens),
            cache_creation: prompt.cache_creation.or(self.cache_creation),
            // The output that `message_start` states is only its first token.
            output_tokens: if fallen { None } else { output.or(later.output_tokens).or(self.output_tokens) },
            output_tokens_details: later.output_tokens_details.or(self.output_tokens_details),
            server_tool_use: later.server_tool_use.or(self.server_tool_use),
            service_tier: later.service_tier.or(self.service_tier),
            speed: later.speed.or(self.speed),
            inference_geo: later.inference_geo.or(self.inference_geo),
        }
    }

    fn has_prompt(&self) -> bool {
        [self.input_tokens, self.cache_read_input_tokens, self.cache_creation_input_tokens]
            .into_iter()
            .any(|count| count > Some(0))
    }

    /// Disjoint classes. `finished` tells whether the message said how it ended: the output that `message_start` states
    /// is only its first token.
    #[must_use]
    pub fn classes(&self, finished: bool) -> Usage {
        if self.input_tokens.is_none() && self.output_tokens.is_none() {
            return Usage::MISSING;
        }
        let stated = self.input_tokens.is_some() && self.output_tokens.is_some();
        let creation = self.cache_creation.unwrap_or_default();
        let mut cache_write_short = self.cache_creation_input_tokens.unwrap_or_else(|| creation.total());
        let cache_write_long = take(&mut cache_write_short, creation.ephemeral_1h_input_tokens);
        let mut output = self.output_tokens.unwrap_or(0);
        let thinking = self.output_tokens_details.and_then(|details| details.thinking_tokens);
        let reasoning = take(&mut output, thinking);
        let searches = self.server_tool_use.and_then(|tools| tools.web_search_requests).unwrap_or(0);
        let usage = Usage::of(
            if stated && finished { Quality::Exact } else { Quality::Estimated },
            &[
                (Class::Input, self.input_tokens.unwrap_or(0)),
                (Class::CacheRead, self.cache_read_input_tokens.unwrap_or(0)),
                (Class::CacheWriteShort, cache_write_short),
                (Class::CacheWriteLong, cache_write_long),
                (Class::Output, output),
                (Class::Reasoning, reasoning),
                (Class::WebSearch, searches),
            ],
        );
        // The speed mode says more than the capacity that served the message.
        let speed = self.speed.filter(|speed| *speed != Served::Standard);
        let tier = speed.or(self.service_tier).map_or(ServiceTier::Standard, Served::tier);
        usage.at_tier(if self.inference_geo == Some(Geo::Region) { tier.in_region() } else { tier })
    }
}

impl CacheCreation {
    fn total(self) -> u64 {
        let of = |tokens: Option<u64>| tokens.unwrap_or(0);
        of(self.ephemeral_5m_input_tokens).saturating_add(of(self.ephemeral_1h_input_tokens))
    }
}

/// Anthropic's own has an `error`, Amazon's only a message, and Google's an `error` with a `status`.
#[derive(Debug, Default, Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default, alias = "Message", deserialize_with = "words")]
    message: String,
    #[serde(default, rename = "__type", deserialize_with = "words")]
    shape: String,
    #[serde(default, rename = "type", deserialize_with = "words")]
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorDetail {
    #[serde(default, rename = "type", deserialize_with = "words")]
    kind: String,
    #[serde(default, deserialize_with = "words")]
    message: String,
    #[serde(default, deserialize_with = "member")]
    details: Option<Details>,
}

/// Only Google's errors have it.
#[derive(Debug, Deserialize)]
struct Google<'a> {
    #[serde(borrow, rename = "status")]
    _status: Cow<'a, str>,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default, deserialize_with = "words")]
    error_code: String,
}

/// What an answer with a status of 400 or more means, at Anthropic or on another platform. `retry_after_ms` is what the
/// headers said, and `name` what Amazon calls the failure beside its body.
#[must_use]
pub fn classify(status: u16, retry_after_ms: Option<u64>, name: &str, body: &[u8]) -> Failure {
    let said: ErrorBody<'_> = serde_json::from_slice(body).unwrap_or_default();
    let googles = said.error.is_some_and(|error| serde_json::from_str::<Google<'_>>(error.get()).is_ok());
    if googles || body.trim_ascii_start().starts_with(b"[") {
        return gemini::classify(status, retry_after_ms, body);
    }
    let name = if name.is_empty() { &*said.shape } else { name };
    if !name.is_empty() || (said.error.is_none() && !said.message.is_empty()) {
        let class = amazon::classify(status, name, &said.message);
        return Failure {
            class: class.unwrap_or_else(|| failure::by_status_of(status, !name.is_empty())),
            retry_after_ms,
        };
    }
    let error = said.error.and_then(|error| serde_json::from_str(error.get()).ok()).unwrap_or_default();
    let is_own = said.kind == "error";
    let class = own_class(status, is_own, &error);
    Failure { class, retry_after_ms }
}

/// What an answer of Anthropic itself means. `is_own` tells whether it has all of the shape of its errors.
fn own_class(status: u16, is_own: bool, error: &ErrorDetail) -> FailureClass {
    let (kind, message) = (&*error.kind, &*error.message);
    let code = error.details.as_ref().map(|details| &*details.error_code);
    if let Some(class) = by_message(status, message) {
        return class;
    }
    match (status, kind) {
        (_, "overloaded_error") => FailureClass::Overloaded,
        (_, "billing_error") => FailureClass::QuotaExhausted,
        (429, _) if code == Some("enforced_spend_limit_reached") => FailureClass::QuotaExhausted,
        (_, "authentication_error") => FailureClass::InvalidCredential,
        (401 | 403, "permission_error") => FailureClass::Permission,
        // There is no status within a stream.
        (0, "rate_limit_error") => FailureClass::RateLimited,
        (0, "invalid_request_error") => FailureClass::BadRequest,
        (0, "api_error" | "timeout_error") => FailureClass::Transient,
        _ => failure::by_status_of(status, is_own && !kind.is_empty()),
    }
}

/// Sentences that say that there is no money left.
const GONE: [&str; 3] = [
    "Your credit balance is too low to access",
    "This request would exceed the spend limit you set",
    "You have reached your specified API usage limits",
];

/// Anthropic tells several failures apart in words only. Words may be the client's, so they only take blame off a key,
/// but for whole sentences of Anthropic's own.
fn by_message(status: u16, message: &str) -> Option<FailureClass> {
    let says = |words: &str| message.contains(words);
    let class = match status {
        400 if GONE.iter().any(|words| failure::is_sentence(message, words)) => FailureClass::QuotaExhausted,
        400 if failure::is_sentence(message, "This organization has been disabled") => {
            FailureClass::InvalidCredential
        }
        // A subscription's token, used for what its terms do not allow: the token is good, the request is not.
        400 if says("only authorized for use with Claude Code") => FailureClass::BadRequest,
        400 if says("prompt is too long") || says("exceed context limit") => FailureClass::ContextTooLong,
        400 if says("content filtering policy") => FailureClass::ContentRefused,
        // An `Origin` header was forwarded: no key is wrong.
        401 if says("CORS requests are not allowed") => FailureClass::BadRequest,
        403 if failure::is_sentence(message, "OAuth token has been revoked") => {
            FailureClass::InvalidCredential
        }
        404 if message.starts_with("model:") => FailureClass::Permission,
        _ => return None,
    };
    Some(class)
}

#[cfg(test)]
mod tests {
    use super::{Class, Failure, FailureClass, MessageUsage, Quality, ServiceTier, Usage, classify};

    const EXACT: Usage = Usage::of(Quality::Exact, &[]);

    fn usage(json: &str) -> MessageUsage {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn input_is_uncached_already_and_writes_are_split_by_lifetime() {
        let usage = usage(
            r#"{"input_tokens":2095,"cache_creation_input_tokens":1500,"cache_read_input_tokens":9000,
                "cache_creation":{"ephemeral_5m_input_tokens":500,"ephemeral_1h_input_tokens":1000},
                "output_tokens":503,"output_tokens_details":{"thinking_tokens":400},
                "server_tool_use":{"web_search_requests":1},"service_tier":"standard"}"#,
        );
        let expected = Usage::of(
            Quality::Exact,
            &[
                (Class::Input, 2095),
                (Class::CacheRead, 9000),
                (Class::CacheWriteShort, 500),
                (Class::CacheWriteLong, 1000),
                (Class::Output, 103),
                (Class::Reasoning, 400),
                (Class::WebSearch, 1),
            ],
        );
        assert_eq!(usage.classes(true), expected);
    }

    #[test]
    fn the_tier_is_the_one_that_served() {
        let tier = |more: &str| {
            usage(&format!(r#"{{"input_tokens":1,"output_tokens":1{more}}}"#)).classes(true).tier
        };
        assert_eq!(tier(""), ServiceTier::Standard);
        assert_eq!(tier(r#","service_tier":"priority","speed":"standard""#), ServiceTier::Priority);
        assert_eq!(tier(r#","service_tier":"standard","speed":"fast""#), ServiceTier::Fast);
        assert_eq!(tier(r#","service_tier":"batch""#), ServiceTier::Batch);
        assert_eq!(tier(r#","service_tier":"sooner""#), ServiceTier::Standard);
        assert_eq!(tier(r#","inference_geo":"us","service_tier":"standard""#), ServiceTier::Regional);
        assert_eq!(tier(r#","inference_geo":"eu","speed":"fast""#), ServiceTier::FastRegional);
        for anywhere in [r#""global""#, r#""not_available""#, "null", "7"] {
            assert_eq!(tier(&format!(r#","inference_geo":{anywhere}"#)), ServiceTier::Standard, "{anywhere}");
        }
    }

    #[test]
    fn writes_without_a_split_are_short_and_a_split_without_a_sum_is_summed() {
        let unsplit = usage(r#"{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":70}"#);
        let counted = |usage: Usage| [usage[Class::CacheWriteShort], usage[Class::CacheWriteLong]];
        assert_eq!(counted(unsplit.classes(true)), [70, 0]);
        let unsummed = usage(
            r#"{"input_tokens":1,"output_tokens":1,
                "cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":50}}"#,
        );
        assert_eq!(counted(unsummed.classes(true)), [20, 50]);
        let nulls = r#"{"input_tokens":1,"output_tokens":1,"cache_creation":null,"cache_creation_input_tokens":null}"#;
        assert_eq!(counted(usage(nulls).classes(true)), [0, 0]);
    }

    #[test]
    fn the_end_of_a_stream_overrides_its_start_and_never_adds() {
        let start = usage(r#"{"input_tokens":25,"cache_read_input_tokens":7,"output_tokens":1}"#);
        let end = usage(r#"{"output_tokens":15}"#);
        assert_eq!(
            start.overridden_by(end).classes(true),
            Usage::of(Quality::Exact, &[(Class::Input, 25), (Class::CacheRead, 7), (Class::Output, 15)])
        );
        let all = usage(r#"{"input_tokens":30,"cache_read_input_tokens":0,"output_tokens":15}"#);
        assert_eq!(
            start.overridden_by(all).classes(true),
            Usage::of(Quality::Exact, &[(Class::Input, 30), (Class::Output, 15)])
        );
    }

    #[test]
    fn what_falls_to_nothing_was_not_counted_again() {
        let start = usage(r#"{"input_tokens":25,"cache_read_input_tokens":7,"output_tokens":1}"#);
        let zeros = start.overridden_by(usage(r#"{"input_tokens":0,"output_tokens":15}"#)).classes(true);
        let expected = [(Class::Input, 25), (Class::CacheRead, 7), (Class::Output, 15)];
        assert_eq!(zeros, Usage::of(Quality::Exact, &expected));
        let nothing = usage(r#"{"input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}"#);
        let fallen = start.overridden_by(nothing).classes(true);
        assert_eq!(fallen, Usage::of(Quality::Estimated, &[(Class::Input, 25), (Class::CacheRead, 7)]));
        let empty =
            usage(r#"{"input_tokens":25,"output_tokens":0}"#).overridden_by(usage(r#"{"output_tokens":0}"#));
        assert_eq!(empty.classes(true), Usage::of(Quality::Exact, &[(Class::Input, 25)]));
    }

    #[test]
    fn a_stream_that_was_cut_is_an_estimate_and_nothing_at_all_is_missing() {
        let start = usage(r#"{"input_tokens":25,"output_tokens":1}"#);
        assert_eq!(
            start.classes(false),
            Usage::of(Quality::Estimated, &[(Class::Input, 25), (Class::Output, 1)])
        );
        assert_eq!(usage("{}").classes(true), Usage::MISSING);
        assert_eq!(usage(r#"{"input_tokens":0,"output_tokens":0}"#).classes(true), EXACT);
        assert_eq!(usage(r#"{"output_tokens":4}"#).classes(true).quality, Quality::Estimated);
    }

    fn body(kind: &str, message: &str) -> String {
        format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#
        )
    }

    fn class(status: u16, kind: &str, message: &str) -> FailureClass {
        classify(status, None, "", body(kind, message).as_bytes()).class
    }

    #[test]
    fn a_refused_key_is_invalid() {
        assert_eq!(class(401, "authentication_error", "invalid x-api-key"), FailureClass::InvalidCredential);
        let revoked = "OAuth token has been revoked. Please obtain a new token.";
        assert_eq!(class(403, "permission_error", revoked), FailureClass::InvalidCredential);
        let disabled = "This organization has been disabled.";
        assert_eq!(class(400, "invalid_request_error", disabled), FailureClass::InvalidCredential);
    }

    #[test]
    fn a_forwarded_origin_blames_no_key() {
        let message = "CORS requests are not allowed for this Organization";
        assert_eq!(class(401, "authentication_error", message), FailureClass::BadRequest);
    }

    #[test]
    fn money_that_is_gone_is_told_in_four_ways() {
        assert_eq!(class(402, "billing_error", "Payment required"), FailureClass::QuotaExhausted);
        for message in [
            "Your credit balance is too low to access the Anthropic API.",
            "This request would exceed the spend limit you set.",
            "You have reached your specified API usage limits.",
        ] {
            assert_eq!(
                class(400, "invalid_request_error", message),
                FailureClass::QuotaExhausted,
                "{message}"
            );
        }
        let enforced = br#"{"type":"error","error":{"type":"rate_limit_error","message":"Limit",
            "details":{"error_code":"enforced_spend_limit_reached"}}}"#;
        assert_eq!(classify(429, None, "", enforced).class, FailureClass::QuotaExhausted);
    }

    #[test]
    fn a_rate_limit_keeps_its_delay() {
        let limited = classify(429, Some(30_000), "", body("rate_limit_error", "Slow down").as_bytes());
        assert_eq!(limited, Failure { class: FailureClass::RateLimited, retry_after_ms: Some(30_000) });
    }

    #[test]
    fn a_busy_provider_blames_no_key() {
        assert_eq!(class(529, "overloaded_error", "Overloaded"), FailureClass::Overloaded);
        assert_eq!(class(500, "overloaded_error", "Overloaded"), FailureClass::Overloaded);
        assert_eq!(classify(529, None, "", b"").class, FailureClass::Overloaded);
        assert_eq!(class(500, "api_error", "Internal server error"), FailureClass::Transient);
        assert_eq!(class(504, "timeout_error", "Timed out"), FailureClass::Transient);
    }

    #[test]
    fn a_subscription_used_for_something_else_blames_no_key() {
        let message = "This credential is only authorized for use with Claude Code and cannot be used for other API requests.";
        assert_eq!(class(400, "invalid_request_error", message), FailureClass::BadRequest);
    }

    #[test]
    fn a_request_at_fault_is_told_by_its_words() {
        let told = |message| class(400, "invalid_request_error", message);
        assert_eq!(told("prompt is too long: 210000 tokens > 200000 maximum"), FailureClass::ContextTooLong);
        assert_eq!(told("Output blocked by content filtering policy"), FailureClass::ContentRefused);
        assert_eq!(told("messages: at least one message is required"), FailureClass::BadRequest);
        assert_eq!(class(413, "request_too_large", "Too large"), FailureClass::BadRequest);
        assert_eq!(class(422, "invalid_request_error", ""), FailureClass::BadRequest);
        assert_eq!(class(404, "not_found_error", "Not found"), FailureClass::NotFound);
    }

    #[test]
    fn a_key_without_the_model_is_not_a_bad_key() {
        assert_eq!(class(403, "permission_error", "No access to this resource"), FailureClass::Permission);
        assert_eq!(class(404, "not_found_error", "model: claude-mythos-5-1"), FailureClass::Permission);
    }
}
