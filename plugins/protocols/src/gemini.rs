//! Google Gemini `generateContent`.

mod error;
mod proto;
mod request;
mod response;
mod schema;
mod signature;
mod stream;

pub(crate) use error::{parse as parse_error, print as print_error};
pub(crate) use proto::Proto;
pub(crate) use request::{parse as parse_request, print as print_request};
pub(crate) use response::{parse as parse_response, print as print_response};
pub(crate) use stream::{StreamReader, StreamWriter};

use serde::Deserialize;
use tollgate_plugin::adapter::{Failure, FailureClass};
use tollgate_plugin::types::{Class, Operation, Quality, ServiceTier, Usage};

use crate::lenient::{count, member, words};
use crate::share::take;
use crate::{delay, failure};

/// `usageMetadata`. Protocol Buffers leave zeros out of their JSON, so a count that is absent beside others may be
/// zero.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageMetadata {
    /// Contains what came from a cache.
    #[serde(default, deserialize_with = "count")]
    prompt_token_count: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    cached_content_token_count: Option<u64>,
    /// What tools put into the prompt; not part of the prompt's count.
    #[serde(default, deserialize_with = "count")]
    tool_use_prompt_token_count: Option<u64>,
    /// Visible output only.
    #[serde(default, deserialize_with = "count")]
    candidates_token_count: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    thoughts_token_count: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    total_token_count: Option<u64>,
    #[serde(default, deserialize_with = "member")]
    prompt_tokens_details: Option<Vec<ModalityCount>>,
    #[serde(default, deserialize_with = "member")]
    cache_tokens_details: Option<Vec<ModalityCount>>,
    #[serde(default, deserialize_with = "member")]
    candidates_tokens_details: Option<Vec<ModalityCount>>,
    #[serde(default, deserialize_with = "member")]
    service_tier: Option<String>,
    /// The same on Vertex AI: `ON_DEMAND_PRIORITY`.
    #[serde(default, deserialize_with = "member")]
    traffic_type: Option<String>,
    /// Only interactions count it; in other answers the sources tell.
    #[serde(skip)]
    searches: u64,
    /// The same of maps.
    #[serde(skip)]
    map_searches: u64,
}

/// What `serviceTier` says, or `trafficType`, in whichever case. Capacity that was bought costs what it cost.
#[must_use]
pub fn tier(name: &str) -> ServiceTier {
    let name = name.strip_prefix("ON_DEMAND_").unwrap_or(name);
    let tiers = [ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Batch];
    tiers.into_iter().find(|tier| name.eq_ignore_ascii_case(tier.name())).unwrap_or_default()
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModalityCount {
    #[serde(default)]
    modality: Modality,
    #[serde(default, deserialize_with = "count")]
    token_count: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum Modality {
    #[serde(rename = "AUDIO")]
    Audio,
    #[serde(rename = "IMAGE")]
    Image,
    #[default]
    #[serde(other)]
    Other,
}

impl UsageMetadata {
    /// Disjoint classes.
    ///
    /// Exact when everything that the operation bills was stated or follows from the grand total. Embeddings have no
    /// output.
    #[must_use]
    pub fn classes(&self, operation: Operation) -> Usage {
        let Some(prompt) = self.prompt_token_count else { return Usage::MISSING };
        let tools = self.tool_use_prompt_token_count.unwrap_or(0);
        let reasoning = self.thoughts_token_count.unwrap_or(0);
        let beside_candidates = prompt.saturating_add(tools).saturating_add(reasoning);
        let left_over = self.total_token_count.map(|total| total.saturating_sub(beside_candidates));
        let output = self.candidates_token_count.or(left_over);

        let mut input = prompt;
        let cache_read = take(&mut input, self.cached_content_token_count);
        let fresh = |modality| {
            let cached = tokens_of(&self.cache_tokens_details, modality);
            Some(tokens_of(&self.prompt_tokens_details, modality).saturating_sub(cached))
        };
        let audio_input = take(&mut input, fresh(Modality::Audio));
        let image_input = take(&mut input, fresh(Modality::Image));
        let generates = matches!(operation, Operation::Generate | Operation::Interact);
        let exact = output.is_some() || !generates;
        let mut output = output.unwrap_or(0);
        let made = |modality| Some(tokens_of(&self.candidates_tokens_details, modality));
        let audio_output = take(&mut output, made(Modality::Audio));
        let image_output = take(&mut output, made(Modality::Image));
        let usage = Usage::of(
            if exact { Quality::Exact } else { Quality::Estimated },
            &[
                (Class::Input, input.saturating_add(tools)),
                (Class::CacheRead, cache_read),
                (Class::Output, output),
                (Class::Reasoning, reasoning),
                (Class::AudioInput, audio_input),
                (Class::AudioOutput, audio_output),
                (Class::ImageInput, image_input),
                (Class::ImageOutput, image_output),
                (Class::WebSearch, self.searches),
                (Class::MapSearch, self.map_searches),
            ],
        );
        let told = self.service_tier.as_deref().or(self.traffic_type.as_deref());
        usage.at_tier(told.map(tier).unwrap_or_default())
    }
}

/// Searches that an answer's sources name. Each query is billed; models before version 3 bill a prompt with any query
/// once.
#[must_use]
pub fn searches(queries: &[Vec<String>], model: &str) -> u64 {
    let queries = queries.iter().map(Vec::len).max().unwrap_or(0) as u64;
    let by_prompt = ["gemini-1", "gemini-2"].iter().any(|old| model.starts_with(old));
    if by_prompt { queries.min(1) } else { queries }
}

/// The `usage` of an interaction. It counts as [`UsageMetadata`] does, under other names.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct InteractionUsage {
    /// Contains what came from a cache.
    #[serde(default, deserialize_with = "count")]
    total_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    total_cached_tokens: Option<u64>,
    /// What tools put into the prompt; not part of the input's count.
    #[serde(default, deserialize_with = "count")]
    total_tool_use_tokens: Option<u64>,
    /// Visible output only.
    #[serde(default, deserialize_with = "count")]
    total_output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    total_thought_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    total_tokens: Option<u64>,
    #[serde(default, deserialize_with = "member")]
    input_tokens_by_modality: Option<Vec<InteractionModality>>,
    #[serde(default, deserialize_with = "member")]
    cached_tokens_by_modality: Option<Vec<InteractionModality>>,
    #[serde(default, deserialize_with = "member")]
    output_tokens_by_modality: Option<Vec<InteractionModality>>,
    #[serde(default, deserialize_with = "member")]
    grounding_tool_count: Option<Vec<ToolCount>>,
}

#[derive(Debug, Clone, Deserialize)]
struct ToolCount {
    #[serde(rename = "type", default, deserialize_with = "member")]
    kind: Option<String>,
    #[serde(default, deserialize_with = "count")]
    count: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
struct InteractionModality {
    #[serde(default, deserialize_with = "member")]
    modality: Option<String>,
    #[serde(default, deserialize_with = "count")]
    tokens: Option<u64>,
}

impl From<InteractionUsage> for UsageMetadata {
    fn from(usage: InteractionUsage) -> Self {
        let details = |list: Option<Vec<InteractionModality>>| {
            Some(list?.into_iter().map(ModalityCount::from).collect())
        };
        let tools = usage.grounding_tool_count.unwrap_or_default();
        let grounded = |kind: &str| {
            let counts = tools.iter().filter(|tool| tool.kind.as_deref() == Some(kind));
            counts.fold(0, |sum: u64, tool| sum.saturating_add(tool.count.unwrap_or(0)))
        };
        Self {
            prompt_token_count: usage.total_input_tokens,
            cached_content_token_count: usage.total_cached_tokens,
            tool_use_prompt_token_count: usage.total_tool_use_tokens,
            candidates_token_count: usage.total_output_tokens,
            thoughts_token_count: usage.total_thought_tokens,
            total_token_count: usage.total_tokens,
            prompt_tokens_details: details(usage.input_tokens_by_modality),
            cache_tokens_details: details(usage.cached_tokens_by_modality),
            candidates_tokens_details: details(usage.output_tokens_by_modality),
            service_tier: None,
            traffic_type: None,
            searches: grounded("google_search"),
            map_searches: grounded("google_maps"),
        }
    }
}

impl From<InteractionModality> for ModalityCount {
    fn from(count: InteractionModality) -> Self {
        let modality = match count.modality.as_deref() {
            Some(name) if name.eq_ignore_ascii_case("audio") => Modality::Audio,
            Some(name) if name.eq_ignore_ascii_case("image") => Modality::Image,
            _ => Modality::Other,
        };
        Self { modality, token_count: count.tokens }
    }
}

fn tokens_of(details: &Option<Vec<ModalityCount>>, modality: Modality) -> u64 {
    let counts = details.iter().flatten().filter(|count| count.modality == modality);
    counts.fold(0, |sum, count| sum.saturating_add(count.token_count.unwrap_or(0)))
}

#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    #[serde(default, deserialize_with = "member")]
    error: Option<Status>,
}

#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default, deserialize_with = "words")]
    message: String,
    #[serde(default, deserialize_with = "words")]
    status: String,
    #[serde(default, deserialize_with = "member")]
    details: Option<Vec<Detail>>,
}

/// `ErrorInfo`, `RetryInfo` or `QuotaFailure`: each has one of these.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    #[serde(default, deserialize_with = "words")]
    reason: String,
    #[serde(default, deserialize_with = "words")]
    retry_delay: String,
    #[serde(default, deserialize_with = "member")]
    violations: Option<Vec<Violation>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Violation {
    #[serde(default, deserialize_with = "words")]
    quota_id: String,
}

/// What an answer with a status of 400 or more means. `retry_after_ms` is what the headers said; Google puts its delay
/// into the body.
#[must_use]
pub fn classify(status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> Failure {
    let error = parse(body).unwrap_or_default();
    let own = !error.status.is_empty();
    let class = by_reason(&error)
        .or_else(|| by_words(status, &error))
        .unwrap_or_else(|| failure::by_status_of(status, own));
    let retry_after_ms = match class {
        // The delay beside a daily quota is the minute quota's: the day is not over then.
        FailureClass::QuotaExhausted => None,
        _ => retry_after_ms.or_else(|| error.retry_delay_ms()),
    };
    Failure { class, retry_after_ms }
}

/// The error, or the first one of an array, in which a stream without `alt=sse` wraps it.
fn parse(body: &[u8]) -> Option<Status> {
    let body = if body.trim_ascii_start().starts_with(b"[") {
        let errors: Vec<ErrorBody> = serde_json::from_slice(body).ok()?;
        errors.into_iter().next()?
    } else {
        serde_json::from_slice::<ErrorBody>(body).ok()?
    };
    body.error
}

impl Status {
    fn retry_delay_ms(&self) -> Option<u64> {
        self.details.iter().flatten().find_map(|detail| delay::parse_duration_ms(&detail.retry_delay))
    }

    /// Whether the quota is a daily one, which comes back tomorrow and not in a minute.
    fn daily_quota_is_gone(&self) -> bool {
        let mut violations =
            self.details.iter().flatten().flat_map(|detail| detail.violations.iter().flatten());
        violations.any(|violation| violation.quota_id.contains("PerDay"))
    }
}

/// A machine-readable reason outweighs the status: a wrong key comes as 400.
fn by_reason(error: &Status) -> Option<FailureClass> {
    error.details.iter().flatten().find_map(|detail| match &*detail.reason {
        "API_KEY_INVALID"
        | "API_KEY_EXPIRED"
        | "CONSUMER_SUSPENDED"
        | "CONSUMER_INVALID"
        | "ACCESS_TOKEN_EXPIRED"
        | "ACCESS_TOKEN_TYPE_UNSUPPORTED"
        | "ACCOUNT_STATE_INVALID" => Some(FailureClass::InvalidCredential),
        "BILLING_DISABLED" => Some(FailureClass::QuotaExhausted),
        "SERVICE_DISABLED" | "IAM_PERMISSION_DENIED" => Some(FailureClass::Permission),
        _ => None,
    })
}

/// Sentences that say that there is no money left.
const GONE: [&str; 2] =
    ["Your prepayment credits are depleted", "Your project has exceeded its monthly spending cap"];

/// What is told in words only. Words may be the client's, so they only take blame off a key, but for whole sentences of
/// Google's own.
fn by_words(status: u16, error: &Status) -> Option<FailureClass> {
    let says = |words: &str| error.message.contains(words);
    let is = |words: &str| failure::is_sentence(&error.message, words);
    match (status, &*error.status) {
        (400, "FAILED_PRECONDITION") => Some(FailureClass::Permission),
        (400, _) if says("exceeds the maximum number of tokens") || says("model only supports up to") => {
            Some(FailureClass::ContextTooLong)
        }
        (400, _) if says("Responsible AI") => Some(FailureClass::ContentRefused),
        // `Your API key was reported as leaked.` A file that the key may not see is 403 too, and that is not the key's
        // fault.
        (403, _) if is("Your API key was reported as leaked") => Some(FailureClass::InvalidCredential),
        // A project may lack a model that others have.
        (404, _) if says("does not have access to it") => Some(FailureClass::Permission),
        (429, _) if error.daily_quota_is_gone() => Some(FailureClass::QuotaExhausted),
        (429, _) if GONE.iter().any(|words| is(words)) => Some(FailureClass::QuotaExhausted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, Failure, FailureClass, Operation, Quality, Usage, UsageMetadata, classify};

    fn usage(json: &str, operation: Operation) -> Usage {
        serde_json::from_str::<UsageMetadata>(json).unwrap().classes(operation)
    }

    fn generated(json: &str) -> Usage {
        usage(json, Operation::Generate)
    }

    #[test]
    fn the_prompt_contains_its_cache_and_candidates_do_not_contain_thoughts() {
        let usage = generated(
            r#"{"promptTokenCount":2000,"cachedContentTokenCount":1500,"toolUsePromptTokenCount":30,
                "candidatesTokenCount":100,"thoughtsTokenCount":400,"totalTokenCount":2530,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":2000}],"serviceTier":"standard"}"#,
        );
        assert_eq!(
            usage,
            Usage::of(
                Quality::Exact,
                &[
                    (Class::Input, 530),
                    (Class::CacheRead, 1500),
                    (Class::Output, 100),
                    (Class::Reasoning, 400)
                ]
            )
        );
    }

    #[test]
    fn audio_is_told_by_modality_and_cached_audio_is_cached() {
        let usage = generated(
            r#"{"promptTokenCount":1000,"cachedContentTokenCount":400,"candidatesTokenCount":90,"totalTokenCount":1090,
                "promptTokensDetails":[{"modality":"TEXT","tokenCount":300},{"modality":"AUDIO","tokenCount":700}],
                "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":400}],
                "candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":60},{"modality":"HOLOGRAM"}]}"#,
        );
        let expected = Usage::of(
            Quality::Exact,
            &[
                (Class::Input, 300),
                (Class::CacheRead, 400),
                (Class::AudioInput, 300),
                (Class::Output, 30),
                (Class::AudioOutput, 60),
            ],
        );
        assert_eq!(usage, expected);
    }

    #[test]
    fn a_zero_that_was_left_out_follows_from_the_total() {
        let silent = generated(r#"{"promptTokenCount":12,"totalTokenCount":12}"#);
        assert_eq!(silent, Usage::of(Quality::Exact, &[(Class::Input, 12)]));
        let unstated = generated(r#"{"promptTokenCount":12,"thoughtsTokenCount":5,"totalTokenCount":20}"#);
        assert_eq!(
            unstated,
            Usage::of(Quality::Exact, &[(Class::Input, 12), (Class::Reasoning, 5), (Class::Output, 3)])
        );
    }

    #[test]
    fn what_does_not_follow_is_an_estimate_or_missing() {
        assert_eq!(generated(r#"{"promptTokenCount":12}"#).quality, Quality::Estimated);
        assert_eq!(generated("{}"), Usage::MISSING);
        assert_eq!(
            usage(r#"{"promptTokenCount":12}"#, Operation::EmbedBatch),
            Usage::of(Quality::Exact, &[(Class::Input, 12)])
        );
    }

    fn class(status: u16, body: &str) -> FailureClass {
        classify(status, None, body.as_bytes()).class
    }

    fn error(code: u16, status: &str, message: &str, details: &str) -> String {
        format!(
            r#"{{"error":{{"code":{code},"message":"{message}","status":"{status}","details":[{details}]}}}}"#
        )
    }

    const KEY_INVALID: &str = r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID",
        "domain":"googleapis.com","metadata":{"service":"generativelanguage.googleapis.com"}}"#;

    #[test]
    fn a_wrong_key_comes_as_a_bad_request_and_is_still_a_wrong_key() {
        let body = error(400, "INVALID_ARGUMENT", "API key not valid.", KEY_INVALID);
        assert_eq!(class(400, &body), FailureClass::InvalidCredential);
        assert_eq!(class(400, &format!("[{body}]")), FailureClass::InvalidCredential);
        assert_eq!(class(401, &error(401, "UNAUTHENTICATED", "No.", "")), FailureClass::InvalidCredential);
        let leaked = error(403, "PERMISSION_DENIED", "Your API key was reported as leaked.", "");
        assert_eq!(class(403, &leaked), FailureClass::InvalidCredential);
    }

    #[test]
    fn a_file_that_a_key_may_not_see_does_not_condemn_the_key() {
        let body = error(403, "PERMISSION_DENIED", "You do not have permission to access the File x.", "");
        assert_eq!(class(403, &body), FailureClass::Permission);
    }

    #[test]
    fn a_region_or_an_account_that_lacks_the_model_is_a_matter_of_permission() {
        let body = error(400, "FAILED_PRECONDITION", "User location is not supported for the API use.", "");
        assert_eq!(class(400, &body), FailureClass::Permission);
    }

    #[test]
    fn a_minute_quota_names_its_delay() {
        let details = r#"{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":
            [{"quotaMetric":"m","quotaId":"GenerateRequestsPerMinutePerProjectPerModel"}]},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.84s"}"#;
        let body = error(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", details);
        let expected = Failure { class: FailureClass::RateLimited, retry_after_ms: Some(840) };
        assert_eq!(classify(429, None, body.as_bytes()), expected);
        assert_eq!(classify(429, None, format!("[{body}\n]").as_bytes()), expected);
        assert_eq!(class(429, ""), FailureClass::RateLimited);
    }

    #[test]
    fn a_daily_quota_is_gone_for_longer_than_the_delay_beside_it() {
        let details = r#"{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":
            [{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier","quotaValue":"50"}]},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"31s"}"#;
        let body = error(429, "RESOURCE_EXHAUSTED", "Quota exceeded.", details);
        let expected = Failure { class: FailureClass::QuotaExhausted, retry_after_ms: None };
        assert_eq!(classify(429, None, body.as_bytes()), expected);
        // Whatever stands in between may say so, too.
        assert_eq!(class(402, ""), FailureClass::Unknown);
    }

    #[test]
    fn a_busy_provider_blames_no_key() {
        assert_eq!(class(503, &error(503, "UNAVAILABLE", "Overloaded.", "")), FailureClass::Overloaded);
        assert_eq!(class(500, &error(500, "INTERNAL", "", "")), FailureClass::Transient);
        assert_eq!(class(504, &error(504, "DEADLINE_EXCEEDED", "", "")), FailureClass::Transient);
    }

    #[test]
    fn a_request_at_fault_is_told_by_its_words() {
        let told = |message| class(400, &error(400, "INVALID_ARGUMENT", message, ""));
        let long = "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).";
        assert_eq!(told(long), FailureClass::ContextTooLong);
        assert_eq!(told("Unknown name \\\"x\\\": Cannot find field."), FailureClass::BadRequest);
        assert_eq!(class(404, &error(404, "NOT_FOUND", "models/x is not found", "")), FailureClass::NotFound);
    }

    #[test]
    fn a_body_that_cannot_be_read_leaves_the_status() {
        for body in ["", "[]", "[{}]", "{\"error\":7}", "<html>"] {
            assert_eq!(class(429, body), FailureClass::RateLimited, "{body}");
        }
    }
}
