//! What calls for pictures, speech, judgements and rankings state as usage, in the shape of OpenAI and its likes.

use serde::Deserialize;
use tollgate_plugin::types::{Class, Operation, Quality, Usage};

use crate::lenient::{count, member};
use crate::sample;
use crate::share::take;

/// `usage` of such an answer: tokens under one of two names, or seconds.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Stated {
    #[serde(default, alias = "prompt_tokens", deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(default, alias = "completion_tokens", deserialize_with = "count")]
    output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    total_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    seconds: Option<u64>,
    #[serde(default, alias = "input_token_details", deserialize_with = "member")]
    input_tokens_details: Option<Details>,
    #[serde(default, alias = "output_token_details", deserialize_with = "member")]
    output_tokens_details: Option<Details>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Details {
    #[serde(default, deserialize_with = "count")]
    text_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    image_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    audio_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    cached_tokens: Option<u64>,
}

/// What was used by an answer of one of these operations, by what tap number `tap` saw, and what is billed of a ranking
/// by what `units` did; `None` for other operations.
#[must_use]
pub fn usage(operation: Operation, samples: &[u8], (tap, units): (usize, usize)) -> Option<Usage> {
    let out = match operation {
        Operation::MakeImages | Operation::EditImages => Class::ImageOutput,
        Operation::Speak => Class::AudioOutput,
        Operation::Transcribe | Operation::TranslateSpeech | Operation::Moderate | Operation::Rerank => {
            Class::Output
        }
        _ => return None,
    };
    let mut usage = sample::read::<Stated>(samples, tap).map_or(Usage::MISSING, |stated| stated.classes(out));
    if operation == Operation::Rerank
        && let Some(billed) = sample::read::<Billed>(samples, units).and_then(|billed| billed.search_units)
    {
        usage[Class::SearchUnit] = billed;
        usage.quality = Quality::Exact;
    }
    Some(usage)
}

/// `meta.billed_units` of a ranking.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Billed {
    #[serde(default, deserialize_with = "count")]
    search_units: Option<u64>,
}

impl Stated {
    /// Disjoint classes; the output is of class `out`, but for what is said to be text.
    fn classes(&self, out: Class) -> Usage {
        let input = self.input_tokens.or(match self.output_tokens {
            None => self.total_tokens,
            Some(output) => self.total_tokens.map(|total| total.saturating_sub(output)),
        });
        if input.is_none() && self.output_tokens.is_none() && self.seconds.is_none() {
            return Usage::MISSING;
        }
        let details = self.input_tokens_details.unwrap_or_default();
        let mut input = input.unwrap_or(0);
        let image_input = take(&mut input, details.image_tokens);
        let audio_input = take(&mut input, details.audio_tokens);
        let cache_read = take(&mut input, details.cached_tokens);
        let mut output = self.output_tokens.unwrap_or(0);
        let text = self.output_tokens_details.and_then(|details| details.text_tokens);
        let text = if out == Class::Output { 0 } else { take(&mut output, text) };
        let amounts = [
            (Class::Input, input),
            (Class::CacheRead, cache_read),
            (Class::ImageInput, image_input),
            (Class::AudioInput, audio_input),
            (Class::AudioSecond, self.seconds.unwrap_or(0)),
        ];
        let mut usage = Usage::of(Quality::Exact, &amounts);
        usage[Class::Output] = text;
        usage[out] = output;
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, Operation, Quality, Usage, usage};

    fn check(operation: Operation, stated: &str, amounts: &[(Class, u64)]) {
        assert_eq!(
            usage(operation, stated.as_bytes(), (0, 1)),
            Some(Usage::of(Quality::Exact, amounts)),
            "{stated}"
        );
    }

    #[test]
    fn each_kind_of_answer_states_its_usage_in_its_own_way() {
        let image = r#"{"input_tokens":50,"output_tokens":4160,"total_tokens":4210,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}"#;
        check(
            Operation::EditImages,
            image,
            &[(Class::Input, 10), (Class::ImageInput, 40), (Class::ImageOutput, 4160)],
        );
        check(Operation::Transcribe, r#"{"type":"duration","seconds":8.2}"#, &[(Class::AudioSecond, 9)]);
        let tokens = r#"{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59,"input_token_details":{"text_tokens":0,"audio_tokens":14}}"#;
        check(Operation::TranslateSpeech, tokens, &[(Class::AudioInput, 14), (Class::Output, 45)]);
        check(
            Operation::Speak,
            r#"{"input_tokens":14,"output_tokens":101}"#,
            &[(Class::Input, 14), (Class::AudioOutput, 101)],
        );
        check(Operation::Rerank, r#"{"total_tokens":77}"#, &[(Class::Input, 77)]);
        check(Operation::Rerank, "\n{\"search_units\":3}", &[(Class::SearchUnit, 3)]);
        let both = "{\"total_tokens\":77}\n{\"search_units\":1.0,\"classifications\":0}";
        check(Operation::Rerank, both, &[(Class::Input, 77), (Class::SearchUnit, 1)]);
        check(
            Operation::Moderate,
            r#"{"prompt_tokens":7,"completion_tokens":0,"total_tokens":7}"#,
            &[(Class::Input, 7)],
        );
    }

    #[test]
    fn what_states_nothing_is_missing_and_other_calls_are_not_read_here() {
        assert_eq!(usage(Operation::Speak, b"", (0, 1)), Some(Usage::MISSING));
        assert_eq!(usage(Operation::Moderate, b"{\"x\":1}", (0, 1)), Some(Usage::MISSING));
        assert_eq!(usage(Operation::Embed, b"{\"prompt_tokens\":1}", (0, 1)), None);
    }
}
