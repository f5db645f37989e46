//! OpenAI Chat Completions, Embeddings and Responses, and the many compatible servers.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_plugin::adapter::{Failure, FailureClass};
use tollgate_plugin::types::{Class, Operation, Quality, ServiceTier, Usage};

use crate::counts::Counts;
use crate::lenient::{self, count, member, words};
use crate::share::{self, take};
use crate::{delay, failure};

/// `usage` of a chat completion, its stream, or an embedding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct ChatUsage {
    #[serde(default, deserialize_with = "count")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    total_tokens: Option<u64>,
    /// Of audio, where it is billed by its length.
    #[serde(default, deserialize_with = "count")]
    seconds: Option<u64>,
    #[serde(default, deserialize_with = "member")]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(default, deserialize_with = "member")]
    completion_tokens_details: Option<OutputDetails>,
}

/// `usage` of a response, in a Realtime session too.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct ResponsesUsage {
    #[serde(default, deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    total_tokens: Option<u64>,
    /// Of audio, where it is billed by its length.
    #[serde(default, deserialize_with = "count")]
    seconds: Option<u64>,
    #[serde(default, deserialize_with = "member", alias = "input_token_details")]
    input_tokens_details: Option<InputDetails>,
    #[serde(default, deserialize_with = "member", alias = "output_token_details")]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
struct InputDetails {
    #[serde(default, deserialize_with = "count")]
    cached_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    cache_write_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    audio_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    image_tokens: Option<u64>,
    #[serde(default, deserialize_with = "member")]
    cached_tokens_details: Option<CachedDetails>,
}

/// What of a prompt a cache served, in a Realtime session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
struct CachedDetails {
    #[serde(default, deserialize_with = "count")]
    audio_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    image_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
struct OutputDetails {
    #[serde(default, deserialize_with = "count")]
    reasoning_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    audio_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    image_tokens: Option<u64>,
}

impl ChatUsage {
    /// What a statement says.
    #[must_use]
    pub fn read(json: &[u8]) -> Option<Self> {
        Self::plain(json).or_else(|| lenient::read(json))
    }

    /// The same, of one that is written as OpenAI does.
    fn plain(json: &[u8]) -> Option<Self> {
        let mut usage = Self::default();
        Counts::of(json, |counts| {
            counts.object(|counts, name| match name {
                b"prompt_tokens" => counts.count(&mut usage.prompt_tokens),
                b"completion_tokens" => counts.count(&mut usage.completion_tokens),
                b"total_tokens" => counts.count(&mut usage.total_tokens),
                b"seconds" => counts.count(&mut usage.seconds),
                b"prompt_tokens_details" => {
                    counts.within(&mut usage.prompt_tokens_details, InputDetails::plain)
                }
                b"completion_tokens_details" => {
                    counts.within(&mut usage.completion_tokens_details, OutputDetails::plain)
                }
                name => counts.other(name),
            })
        })?;
        Some(usage)
    }
}

impl InputDetails {
    fn plain(counts: &mut Counts<'_>) -> Option<Self> {
        let mut details = Self::default();
        counts.object(|counts, name| match name {
            b"cached_tokens" => counts.count(&mut details.cached_tokens),
            b"cache_write_tokens" => counts.count(&mut details.cache_write_tokens),
            b"audio_tokens" => counts.count(&mut details.audio_tokens),
            b"image_tokens" => counts.count(&mut details.image_tokens),
            b"cached_tokens_details" => {
                counts.within(&mut details.cached_tokens_details, CachedDetails::plain)
            }
            name => counts.other(name),
        })?;
        Some(details)
    }
}

impl CachedDetails {
    fn plain(counts: &mut Counts<'_>) -> Option<Self> {
        let mut details = Self::default();
        counts.object(|counts, name| match name {
            b"audio_tokens" => counts.count(&mut details.audio_tokens),
            b"image_tokens" => counts.count(&mut details.image_tokens),
            name => counts.other(name),
        })?;
        Some(details)
    }
}

impl OutputDetails {
    fn plain(counts: &mut Counts<'_>) -> Option<Self> {
        let mut details = Self::default();
        counts.object(|counts, name| match name {
            b"reasoning_tokens" => counts.count(&mut details.reasoning_tokens),
            b"audio_tokens" => counts.count(&mut details.audio_tokens),
            b"image_tokens" => counts.count(&mut details.image_tokens),
            name => counts.other(name),
        })?;
        Some(details)
    }
}

/// `tool_usage` of a response: what tools used beside the model.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct ToolUsage {
    #[serde(default, deserialize_with = "member")]
    image_gen: Option<ImageGen>,
    #[serde(default, deserialize_with = "member")]
    web_search: Option<WebSearch>,
}

/// Tokens of the model that made images. All of them count as tokens of images, even where some were text: the other
/// prices of a list are the language model's.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct ImageGen {
    #[serde(default, deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    output_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct WebSearch {
    /// Those that are billed.
    #[serde(default, deserialize_with = "count")]
    num_requests: Option<u64>,
}

/// What a response says of its tools, in any of its places.
#[derive(Debug, Default)]
pub struct Tools {
    /// `tool_usage`.
    pub stated: Option<ToolUsage>,
    /// The types of the items of its output.
    pub items: Vec<String>,
    /// The types of their actions: of a search of the web, `search` is billed and `open_page` is not.
    pub actions: Vec<String>,
}

impl Tools {
    /// Adds what they used.
    pub fn add_to(&self, usage: &mut Usage) {
        let of = |list: &[String], name: &str| list.iter().filter(|item| *item == name).count() as u64;
        let stated = self.stated.unwrap_or_default();
        let searches = stated.web_search.and_then(|search| search.num_requests);
        let searched = || of(&self.actions, "search").min(of(&self.items, "web_search_call"));
        usage[Class::WebSearch] = searches.unwrap_or_else(searched);
        usage[Class::FileSearch] = of(&self.items, "file_search_call");
        usage[Class::Image] = of(&self.items, "image_generation_call");
        let images = stated.image_gen.unwrap_or_default();
        usage[Class::ImageInput] = usage[Class::ImageInput].saturating_add(images.input_tokens.unwrap_or(0));
        usage[Class::ImageOutput] =
            usage[Class::ImageOutput].saturating_add(images.output_tokens.unwrap_or(0));
    }
}

/// The tier that an answer's `service_tier` names. Prepaid capacity (`scale`) has no separate price here.
#[must_use]
pub fn tier(name: &str) -> ServiceTier {
    match name {
        "flex" => ServiceTier::Flex,
        "priority" | "fast" => ServiceTier::Priority,
        "ultrafast" => ServiceTier::Ultrafast,
        "batch" => ServiceTier::Batch,
        _ => ServiceTier::Standard,
    }
}

/// What a chat used: by its own `usage` or, as some servers state it, by those of its choices, of which the last holds
/// the totals.
#[must_use]
pub fn chat_usage(own: Option<ChatUsage>, choices: Option<Vec<ChatUsage>>, operation: Operation) -> Usage {
    let classes = |usage: Option<ChatUsage>| {
        usage.map_or(Usage::MISSING, |usage| ResponsesUsage::from(usage).classes(operation))
    };
    share::later(classes(choices.and_then(|list| list.last().copied())), classes(own))
}

impl From<ChatUsage> for ResponsesUsage {
    fn from(usage: ChatUsage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens,
            output_tokens: usage.completion_tokens,
            total_tokens: usage.total_tokens,
            seconds: usage.seconds,
            input_tokens_details: usage.prompt_tokens_details,
            output_tokens_details: usage.completion_tokens_details,
        }
    }
}

impl ResponsesUsage {
    /// Disjoint classes. Both totals contain their details, which are subtracted here.
    ///
    /// Exact when everything that the operation bills was stated. Embeddings have no output.
    #[must_use]
    pub fn classes(&self, operation: Operation) -> Usage {
        let generates = matches!(operation, Operation::Generate | Operation::Complete);
        let quality = match (self.input_tokens, self.output_tokens) {
            (None, None) if self.seconds.is_some() => Quality::Exact,
            (None, None) => return Usage::MISSING,
            (Some(_), Some(_)) => Quality::Exact,
            (Some(_), None) if !generates => Quality::Exact,
            _ => Quality::Estimated,
        };
        let details = self.input_tokens_details.unwrap_or_default();
        let mut input = self.input_tokens.unwrap_or(0);
        let cache_read = take(&mut input, details.cached_tokens);
        let cache_write_short = take(&mut input, details.cache_write_tokens);
        let cached = details.cached_tokens_details.unwrap_or_default();
        let uncached = |all: Option<u64>, cached: Option<u64>| Some(all?.saturating_sub(cached.unwrap_or(0)));
        let audio_input = take(&mut input, uncached(details.audio_tokens, cached.audio_tokens));
        let image_input = take(&mut input, uncached(details.image_tokens, cached.image_tokens));

        let details = self.output_tokens_details.unwrap_or_default();
        let mut output = self.output_with_reasoning();
        let reasoning = take(&mut output, details.reasoning_tokens);
        let audio_output = take(&mut output, details.audio_tokens);
        let image_output = take(&mut output, details.image_tokens);
        Usage::of(
            quality,
            &[
                (Class::Input, input),
                (Class::CacheRead, cache_read),
                (Class::CacheWriteShort, cache_write_short),
                (Class::Output, output),
                (Class::Reasoning, reasoning),
                (Class::AudioInput, audio_input),
                (Class::AudioOutput, audio_output),
                (Class::ImageInput, image_input),
                (Class::ImageOutput, image_output),
                (Class::AudioSecond, self.seconds.unwrap_or(0)),
            ],
        )
    }

    /// All output. OpenAI counts reasoning within it; some servers count it separately, as their grand total shows.
    fn output_with_reasoning(&self) -> u64 {
        let output = self.output_tokens.unwrap_or(0);
        let reasoning = self.output_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0);
        let with_reasoning = output.saturating_add(reasoning);
        let grand_total = with_reasoning.saturating_add(self.input_tokens.unwrap_or(0));
        if self.total_tokens == Some(grand_total) { with_reasoning } else { output }
    }
}

#[derive(Debug, Default, Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorDetail<'a> {
    #[serde(default, deserialize_with = "words")]
    message: String,
    #[serde(default, rename = "type", deserialize_with = "words")]
    kind: String,
    /// A string at OpenAI; other servers put a number here.
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    /// Azure's, in place of an `error`.
    #[serde(borrow, default, rename = "statusCode")]
    status_code: Option<&'a RawValue>,
}

impl<'a> ErrorDetail<'a> {
    /// Whether it has the shape of such an error: many a network in between has JSON with a message, too.
    fn is_own(&self) -> bool {
        let named = !self.kind.is_empty() || self.code.is_some() || self.status_code.is_some();
        !self.message.is_empty() && named
    }

    /// The `error` of a body: an object or, at other servers, a sentence. Some have its members at the top.
    fn of(body: &'a [u8]) -> Option<Self> {
        let error = serde_json::from_slice::<ErrorBody<'a>>(body).ok()?.error;
        let Some(error) = error else { return serde_json::from_slice(body).ok() };
        let sentence = || Some(Self { message: serde_json::from_str(error.get()).ok()?, ..Self::default() });
        serde_json::from_str(error.get()).ok().or_else(sentence)
    }
}

/// What an answer with a status of 400 or more means. `retry_after_ms` is what the headers said.
#[must_use]
pub fn classify(status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> Failure {
    let error = ErrorDetail::of(body).unwrap_or_default();
    let (kind, message) = (&*error.kind, &*error.message);
    let code = error.code.map_or("", |code| code.get().trim_matches('"'));
    let class = by_message(status, message)
        .or_else(|| by_code(code))
        .or_else(|| by_code(kind))
        .unwrap_or_else(|| failure::by_status_of(status, error.is_own()));
    let told = || delay::find_in_sentence(message);
    let retry_after_ms = match class {
        FailureClass::RateLimited => retry_after_ms.or_else(told),
        _ => retry_after_ms,
    };
    Failure { class, retry_after_ms }
}

/// Codes and types that say more than the status does.
pub(crate) fn by_code(code: &str) -> Option<FailureClass> {
    match code {
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "organization_spend_limit_exceeded"
        | "project_spend_limit_exceeded"
        | "organization_usage_limit_exceeded"
        | "billing_hard_limit_reached"
        | "billing_not_active" => Some(FailureClass::QuotaExhausted),
        "rate_limit_exceeded" | "slow_down" => Some(FailureClass::RateLimited),
        "server_is_overloaded" | "NoCapacity" => Some(FailureClass::Overloaded),
        "context_length_exceeded" | "exceed_context_size_error" => Some(FailureClass::ContextTooLong),
        "content_filter" | "content_policy_violation" | "moderation_blocked" | "invalid_prompt" => {
            Some(FailureClass::ContentRefused)
        }
        "invalid_api_key" | "account_deactivated" | "access_terminated" | "AuthenticationTypeDisabled" => {
            Some(FailureClass::InvalidCredential)
        }
        // Another account may have the model, or a deployment by this name.
        "model_not_found"
        | "DeploymentNotFound"
        | "PermissionDenied"
        | "missing_scope"
        | "unsupported_country_region_territory" => Some(FailureClass::Permission),
        // The client named an organization that the key does not belong to.
        "mismatched_organization" | "mismatched_project" | "invalid_organization" | "invalid_project" => {
            Some(FailureClass::BadRequest)
        }
        _ => None,
    }
}

/// Failures that only the words tell, or where the words say more than the code.
/// What is told in words only, or in words that say more than the code beside them. Words may be the client's, so they
/// only take blame off a key, but for a whole sentence of the provider's.
fn by_message(status: u16, message: &str) -> Option<FailureClass> {
    let says = |words: &str| message.contains(words);
    match status {
        400 if says("maximum context length") => Some(FailureClass::ContextTooLong),
        401 | 403 if says("insufficient permissions") => Some(FailureClass::Permission),
        // Azure, about a quota that is refilled after days.
        403 if failure::is_sentence(message, "Out of call volume quota") => {
            Some(FailureClass::QuotaExhausted)
        }
        // The request is larger than this account may ever send in a minute: a rest would not help, another account
        // may.
        429 if message.starts_with("Request too large") => Some(FailureClass::Permission),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        ChatUsage, Class, Failure, FailureClass, Operation, Quality, ResponsesUsage, Tools, Usage, classify,
        lenient,
    };

    fn chat(json: &str, operation: Operation) -> Usage {
        ResponsesUsage::from(serde_json::from_str::<ChatUsage>(json).unwrap()).classes(operation)
    }

    fn responses(json: &str) -> Usage {
        serde_json::from_str::<ResponsesUsage>(json).unwrap().classes(Operation::Generate)
    }

    const EXACT: Usage = Usage::of(Quality::Exact, &[]);

    /// Some object, most of them as servers write them.
    fn object(random: &mut fastrand::Rng, depth: u32) -> String {
        let names = [
            "prompt_tokens",
            "completion_tokens",
            "total_tokens",
            "seconds",
            "prompt_tokens_details",
            "completion_tokens_details",
            "cached_tokens",
            "cache_write_tokens",
            "audio_tokens",
            "image_tokens",
            "cached_tokens_details",
            "reasoning_tokens",
            "accepted_prediction_tokens",
            "cost",
            r"cached\u005ftokens",
            "",
        ];
        let odd = [
            "-1",
            "1.5",
            "1e3",
            "01",
            "\"7\"",
            "true",
            "[]",
            "[1]",
            "18446744073709551616",
            r#""\"""#,
            "x",
            "",
        ];
        let space = |random: &mut fastrand::Rng| if random.u8(..) < 8 { " " } else { "" };
        let members: Vec<String> = (0..random.usize(..6))
            .map(|_| {
                let value = match random.u8(..) {
                    0..8 => odd[random.usize(..odd.len())].to_owned(),
                    8..24 => "null".to_owned(),
                    24..96 if depth < 3 => object(random, depth + 1),
                    _ => random.u32(..).to_string(),
                };
                let name = names[random.usize(..names.len())];
                format!("{}\"{name}\"{}:{}{value}", space(random), space(random), space(random))
            })
            .collect();
        format!("{{{}{}}}", members.join(","), space(random))
    }

    #[test]
    fn a_plain_statement_says_what_any_reader_says() {
        let random = &mut fastrand::Rng::with_seed(7);
        let mut plain = 0;
        for _ in 0..20_000 {
            let json = object(random, 0);
            if let Some(usage) = ChatUsage::plain(json.as_bytes()) {
                assert_eq!(lenient::read(json.as_bytes()), Some(usage), "{json}");
                plain += 1;
            }
        }
        assert!(plain > 5_000, "only {plain}");
        let usual = r#"{"prompt_tokens":20,"completion_tokens":3,"total_tokens":23,"prompt_tokens_details":
            {"cached_tokens":19,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":1,
            "accepted_prediction_tokens":0}}"#;
        assert!(ChatUsage::plain(usual.as_bytes()).is_some());
        for broken in
            ["", "{", "{}}", "{} x", r#"{"seconds":1,}"#, r#"{"seconds":1"seconds":1}"#, "null", "7"]
        {
            assert!(ChatUsage::plain(broken.as_bytes()).is_none(), "{broken}");
        }
    }

    #[test]
    fn chat_totals_are_split_into_disjoint_classes() {
        let usage = chat(
            r#"{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,
                "prompt_tokens_details":{"cached_tokens":1920,"cache_write_tokens":40,"audio_tokens":6},
                "completion_tokens_details":{"reasoning_tokens":192,"audio_tokens":8,
                    "accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#,
            Operation::Generate,
        );
        let expected = Usage::of(
            Quality::Exact,
            &[
                (Class::Input, 40),
                (Class::CacheRead, 1920),
                (Class::CacheWriteShort, 40),
                (Class::AudioInput, 6),
                (Class::Output, 100),
                (Class::Reasoning, 192),
                (Class::AudioOutput, 8),
            ],
        );
        assert_eq!(usage, expected);
    }

    #[test]
    fn responses_totals_are_split_alike() {
        let usage = responses(
            r#"{"input_tokens":1000,"input_tokens_details":{"cached_tokens":600,"cache_write_tokens":100},
                "output_tokens":50,"output_tokens_details":{"reasoning_tokens":20},"total_tokens":1050}"#,
        );
        let expected = Usage::of(
            Quality::Exact,
            &[
                (Class::Input, 300),
                (Class::CacheRead, 600),
                (Class::CacheWriteShort, 100),
                (Class::Output, 30),
                (Class::Reasoning, 20),
            ],
        );
        assert_eq!(usage, expected);
    }

    #[test]
    fn images_are_apart_and_tools_are_counted_where_they_are_stated() {
        let mut usage = chat(
            r#"{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"image_tokens":60},
                "completion_tokens_details":{"image_tokens":20}}"#,
            Operation::Generate,
        );
        let apart =
            [(Class::Input, 40), (Class::ImageInput, 60), (Class::Output, 30), (Class::ImageOutput, 20)];
        assert_eq!(usage, Usage::of(Quality::Exact, &apart));
        let list = |types: &[&str]| types.iter().map(|&kind| kind.to_owned()).collect();
        let items = list(&[
            "web_search_call",
            "web_search_call",
            "file_search_call",
            "image_generation_call",
            "message",
        ]);
        let mut tools = Tools { stated: None, items, actions: list(&["search", "open_page"]) };
        tools.add_to(&mut usage);
        let counts = [Class::WebSearch, Class::FileSearch, Class::Image].map(|class| usage[class]);
        assert_eq!(counts, [1, 1, 1], "a page that is opened is no search");
        tools.stated = serde_json::from_str(
            r#"{"image_gen":{"input_tokens":7,"output_tokens":9,"total_tokens":16},"web_search":{"num_requests":3}}"#,
        )
        .ok();
        tools.add_to(&mut usage);
        assert_eq!(
            (usage[Class::WebSearch], usage[Class::ImageInput], usage[Class::ImageOutput]),
            (3, 67, 29)
        );
    }

    #[test]
    fn reasoning_that_a_server_counts_apart_is_not_lost() {
        let usage = responses(
            r#"{"input_tokens":10,"output_tokens":5,"total_tokens":115,
                "output_tokens_details":{"reasoning_tokens":100}}"#,
        );
        assert_eq!(
            usage,
            Usage::of(Quality::Exact, &[(Class::Input, 10), (Class::Output, 5), (Class::Reasoning, 100)])
        );
    }

    #[test]
    fn audio_may_be_stated_by_its_length() {
        let heard = chat(r#"{"type":"duration","seconds":27}"#, Operation::Generate);
        assert_eq!(heard, Usage::of(Quality::Exact, &[(Class::AudioSecond, 27)]));
    }

    #[test]
    fn embeddings_have_no_output_to_state() {
        let json = r#"{"prompt_tokens":8,"total_tokens":8}"#;
        assert_eq!(chat(json, Operation::Embed), Usage::of(Quality::Exact, &[(Class::Input, 8)]));
        assert_eq!(chat(json, Operation::Generate).quality, Quality::Estimated);
    }

    #[test]
    fn zero_is_stated_and_absent_or_null_is_not() {
        assert_eq!(responses(r#"{"input_tokens":0,"output_tokens":0}"#), EXACT);
        assert_eq!(responses("{}"), Usage::MISSING);
        let nulls = r#"{"prompt_tokens":null,"completion_tokens":null,"prompt_tokens_details":null}"#;
        assert_eq!(chat(nulls, Operation::Generate), Usage::MISSING);
    }

    #[test]
    fn parts_larger_than_their_total_do_not_add_tokens() {
        let usage = responses(
            r#"{"input_tokens":10,"input_tokens_details":{"cached_tokens":99,"cache_write_tokens":5},
                "output_tokens":3,"output_tokens_details":{"reasoning_tokens":7}}"#,
        );
        assert_eq!(usage, Usage::of(Quality::Exact, &[(Class::CacheRead, 10), (Class::Reasoning, 3)]));
    }

    fn class(status: u16, body: &str) -> FailureClass {
        classify(status, None, body.as_bytes()).class
    }

    fn coded(kind: &str, code: &str) -> String {
        format!(r#"{{"error":{{"message":"Told \"so\"","type":"{kind}","param":null,"code":"{code}"}}}}"#)
    }

    #[test]
    fn a_refused_key_is_invalid_and_a_refused_region_is_not() {
        let body = coded("invalid_request_error", "invalid_api_key");
        assert_eq!(class(401, &body), FailureClass::InvalidCredential);
        assert_eq!(
            class(401, r#"{"error":{"code":"401","message":"Access denied"}}"#),
            FailureClass::InvalidCredential
        );
        let body = coded("request_forbidden", "unsupported_country_region_territory");
        assert_eq!(class(403, &body), FailureClass::Permission);
    }

    #[test]
    fn money_that_is_gone_is_no_rate_limit() {
        assert_eq!(
            class(429, &coded("insufficient_quota", "insufficient_quota")),
            FailureClass::QuotaExhausted
        );
        for code in [
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
        ] {
            assert_eq!(
                class(429, &coded("insufficient_quota", code)),
                FailureClass::QuotaExhausted,
                "{code}"
            );
            assert_eq!(class(429, &coded("other", code)), FailureClass::QuotaExhausted, "{code}");
        }
        let uncoded = r#"{"error":{"message":"Gone","type":"insufficient_quota","code":null}}"#;
        assert_eq!(class(429, uncoded), FailureClass::QuotaExhausted);
        assert_eq!(class(400, &coded("x", "billing_hard_limit_reached")), FailureClass::QuotaExhausted);
        assert_eq!(class(402, &coded("billing_error", "none")), FailureClass::QuotaExhausted);
        // Whatever stands in between may say so, too.
        assert_eq!(class(402, ""), FailureClass::Unknown);
    }

    #[test]
    fn a_rate_limit_tells_when_to_come_back() {
        let limited = |retry_after_ms| Failure { class: FailureClass::RateLimited, retry_after_ms };
        let body = coded("tokens", "rate_limit_exceeded");
        assert_eq!(classify(429, Some(1500), body.as_bytes()), limited(Some(1500)));
        assert_eq!(classify(429, None, body.as_bytes()), limited(None));
        assert_eq!(class(429, &coded("requests", "slow_down")), FailureClass::RateLimited);
        let said = br#"{"error":{"message":"Please try again in 120ms.","type":"tokens","code":null}}"#;
        assert_eq!(classify(429, None, said), limited(Some(120)));
        assert_eq!(classify(429, Some(7), said), limited(Some(7)));
    }

    #[test]
    fn a_busy_provider_blames_no_key() {
        assert_eq!(class(503, &coded("server_error", "server_is_overloaded")), FailureClass::Overloaded);
        assert_eq!(class(503, "upstream connect error"), FailureClass::Overloaded);
        for status in [500, 502, 504] {
            assert_eq!(class(status, "<html>"), FailureClass::Transient);
        }
    }

    #[test]
    fn a_request_at_fault_is_told_by_its_kind() {
        let kind = "invalid_request_error";
        assert_eq!(class(400, &coded(kind, "context_length_exceeded")), FailureClass::ContextTooLong);
        assert_eq!(class(400, &coded(kind, "content_filter")), FailureClass::ContentRefused);
        assert_eq!(class(400, &coded(kind, "unknown_parameter")), FailureClass::BadRequest);
        assert_eq!(class(404, &coded(kind, "model_not_found")), FailureClass::Permission);
        assert_eq!(class(404, &coded(kind, "none")), FailureClass::NotFound);
        for status in [400, 413, 422] {
            assert_eq!(class(status, ""), FailureClass::BadRequest, "{status}");
        }
    }

    #[test]
    fn what_is_no_error_of_the_provider_says_nothing_of_a_key() {
        assert_eq!(class(401, r#"{"error":{"message":"cut of"#), FailureClass::Unknown);
    }

    #[test]
    fn a_number_or_a_broken_body_does_not_hide_a_rate_limit() {
        assert_eq!(class(429, r#"{"error":{"code":429,"message":"slow"}}"#), FailureClass::RateLimited);
        assert_eq!(class(429, "[]"), FailureClass::RateLimited);
    }
}
