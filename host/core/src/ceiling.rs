//! What a request can have used at most, by what the gateway itself has seen of it. A provider's counts are somebody
//! else's word: one that cannot be is not believed, and what it counts is charged as if it had not been stated.
//!
//! | side | believed up to | charged beyond it |
//! |---|---|---|
//! | prompt | a token for each byte of the request, and [`BESIDE`] for what it names and does not hold (files, pictures, earlier turns, what a provider's tools read) | the estimate by its bytes, which the hold covers |
//! | output | the request's own limit or the most that its model produces, whichever is more (some servers let thoughts pass a limit, or know none, and are paid for it), and an eighth more; or a token for each byte of the answer where that is more | the request's own limit, or else what the model produces |
//! | seconds of audio | [`AUDIO_BYTES_A_SECOND_MIN`] of the request or of the answer each, and [`CALLS_MAX`] beside | by [`AUDIO_BYTES_A_SECOND`] |
//! | characters spoken | a byte of the request each | a byte of it each |
//! | anything else | [`CALLS_MAX`] of a class | one |
//!
//! What nobody stated is estimated by the text that passed, and never at more than was asked for ([`Ceiling::made`]).
//!
//! What is believed is wide, so that no honest provider's count is cut. What is charged beyond it is narrow: who states
//! what cannot be is not paid the most that could.

use crate::usage::{Class, Quality, Side, Unit, Usage};

/// Prompt tokens that a request may have beside its own bytes: two windows of the largest models.
pub const BESIDE: u64 = 2 << 20;
/// Output tokens of a model of which nothing is known, and the largest limit that is taken at its word.
pub const OUTPUT_MAX: u64 = 16 << 20;
/// Calls of a provider's tools, or images, of one request.
pub const CALLS_MAX: u64 = 256;
/// Bytes of a second of the most compressed speech.
pub const AUDIO_BYTES_A_SECOND_MIN: u64 = 256;
/// Bytes of a second of speech as it is usually sent.
pub const AUDIO_BYTES_A_SECOND: u64 = 4_000;
/// Output tokens that a limit may be passed by, beside an eighth of it: tokenizers differ, and answers are closed.
const SLACK: u64 = 256;

/// What the gateway has seen of a request and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// Bytes of the request.
    pub request_bytes: u64,
    /// Its prompt tokens, by these bytes.
    pub prompt_estimate: u64,
    /// The most output tokens that it allows, where it says so.
    pub output_limit: Option<u64>,
    /// The most that its model produces, where that is known.
    pub model_max: Option<u64>,
    /// Bytes of the answer.
    pub answer_bytes: u64,
    /// Its output tokens, by the text that passed.
    pub output_estimate: u64,
}

impl Ceiling {
    /// What is charged for where `stated` cannot be; `None` where it can.
    #[must_use]
    pub fn bounded(&self, stated: &Usage) -> Option<Usage> {
        let mut usage = *stated;
        self.bound_prompt(&mut usage);
        self.bound_output(&mut usage);
        for class in Class::ALL {
            let (most, instead) = self.believed(class);
            if usage[class] > most {
                usage[class] = instead;
            }
        }
        if usage == *stated {
            return None;
        }
        usage.quality = Quality::Estimated;
        Some(usage)
    }

    /// How much of a class that counts no tokens is believed, and what is charged beyond.
    fn believed(&self, class: Class) -> (u64, u64) {
        let audio = self.request_bytes.max(self.answer_bytes);
        match class.unit() {
            Unit::Tokens => (u64::MAX, u64::MAX),
            Unit::Seconds => (
                (audio / AUDIO_BYTES_A_SECOND_MIN).saturating_add(CALLS_MAX),
                (audio / AUDIO_BYTES_A_SECOND).max(1),
            ),
            Unit::Characters => (self.request_bytes, self.request_bytes),
            Unit::Images | Unit::Calls => (CALLS_MAX, 1),
        }
    }

    /// The estimate of the output, which passes neither the request's limit nor what its model produces.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.output_estimate.min(self.most())
    }

    /// Output tokens that were asked for at most.
    #[must_use]
    pub fn most(&self) -> u64 {
        // A model that produces none is one of which no text is known.
        let model_max = self.model_max.filter(|max| *max > 0).unwrap_or(OUTPUT_MAX);
        self.output_limit.unwrap_or(model_max).min(model_max)
    }

    fn bound_prompt(&self, usage: &mut Usage) {
        if usage.prompt_total() > self.request_bytes.saturating_add(BESIDE) {
            let mut left = self.prompt_estimate;
            cut(usage, Side::Prompt, &mut left);
        }
    }

    fn bound_output(&self, usage: &mut Usage) {
        let model_max = self.model_max.unwrap_or(OUTPUT_MAX);
        let asked = self.output_limit.unwrap_or(model_max).min(OUTPUT_MAX);
        let most = with_slack(asked.max(model_max.min(OUTPUT_MAX))).max(self.answer_bytes);
        if usage.output_total() > most {
            let mut left = asked;
            cut(usage, Side::Output, &mut left);
        }
    }
}

const fn with_slack(tokens: u64) -> u64 {
    tokens.saturating_add(tokens / 8).saturating_add(SLACK)
}

/// Leaves so many tokens of a side in all, in the order of the classes.
pub fn cut(usage: &mut Usage, side: Side, left: &mut u64) {
    for class in Class::ALL.into_iter().filter(|class| class.is_tokens_of(side)) {
        usage[class] = usage[class].min(*left);
        *left -= usage[class];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BESIDE, CALLS_MAX, Ceiling, OUTPUT_MAX};
    use crate::usage::{Class, Quality, Usage};

    const CEILING: Ceiling = Ceiling {
        request_bytes: 90,
        prompt_estimate: 30,
        output_limit: Some(100),
        model_max: Some(4000),
        answer_bytes: 500,
        output_estimate: 20,
    };

    /// What is charged of one class, stated so.
    fn charged(ceiling: Ceiling, class: Class, stated: u64) -> u64 {
        let usage = Usage::of(Quality::Exact, &[(class, stated)]);
        ceiling.bounded(&usage).map_or(stated, |bounded| {
            assert_eq!(bounded.quality, Quality::Estimated);
            bounded[class]
        })
    }

    #[test]
    fn what_can_be_is_believed_to_the_last_unit_and_what_cannot_is_charged_at_the_bound() {
        let unlimited = Ceiling { output_limit: None, ..CEILING };
        let unknown = Ceiling { output_limit: None, model_max: None, ..CEILING };
        let long = Ceiling { answer_bytes: 9000, output_estimate: 1500, ..CEILING };
        let generous = Ceiling { output_limit: Some(u64::MAX), ..CEILING };
        for (ceiling, class, most, bound) in [
            (CEILING, Class::Input, 90 + BESIDE, 30),
            (CEILING, Class::CacheRead, 90 + BESIDE, 30),
            (CEILING, Class::CacheWriteLong, 90 + BESIDE, 30),
            (CEILING, Class::AudioInput, 90 + BESIDE, 30),
            (CEILING, Class::Output, 4756, 100),
            (CEILING, Class::ImageOutput, 4756, 100),
            (CEILING, Class::Reasoning, 4756, 100),
            (Ceiling { model_max: Some(0), ..CEILING }, Class::Output, 500, 100),
            (long, Class::Output, 9000, 100),
            (unlimited, Class::Output, 4756, 4000),
            (unknown, Class::Reasoning, OUTPUT_MAX / 8 * 9 + 256, OUTPUT_MAX),
            (generous, Class::Output, OUTPUT_MAX / 8 * 9 + 256, OUTPUT_MAX),
            (CEILING, Class::WebSearch, CALLS_MAX, 1),
            (CEILING, Class::CodeInterpreter, CALLS_MAX, 1),
        ] {
            assert_eq!(charged(ceiling, class, most), most, "{class:?}");
            for lie in [most + 1, 4_294_967_295, 1 << 62, i64::MAX as u64, u64::MAX] {
                assert_eq!(charged(ceiling, class, lie), bound, "{class:?} {lie}");
            }
        }
    }

    #[test]
    fn classes_that_only_together_cannot_be_are_cut_in_their_order() {
        let half = BESIDE / 2 + 80;
        let usage = Usage::of(
            Quality::Exact,
            &[
                (Class::Input, 10),
                (Class::CacheRead, half),
                (Class::CacheWriteShort, half),
                (Class::Output, 7),
            ],
        );
        let bounded = CEILING.bounded(&usage).unwrap();
        let left = [Class::Input, Class::CacheRead, Class::CacheWriteShort, Class::Output];
        assert_eq!(left.map(|class| bounded[class]), [10, 20, 0, 7]);
    }

    #[test]
    fn an_estimate_passes_neither_the_limit_nor_the_model() {
        let estimated = |output_limit, model_max| {
            let ceiling = Ceiling { output_limit, model_max, output_estimate: 15_000, ..CEILING };
            ceiling.made()
        };
        assert_eq!(estimated(Some(100), Some(4000)), 100);
        assert_eq!(estimated(Some(100), None), 100);
        assert_eq!(estimated(None, Some(4000)), 4000);
        assert_eq!(estimated(Some(9000), Some(4000)), 4000);
        assert_eq!(estimated(Some(20_000), None), 15_000);
        assert_eq!(estimated(None, None), 15_000);
        assert_eq!(estimated(None, Some(0)), 15_000, "nothing is known of such a model");
        assert_eq!(CEILING.made(), 20);
    }

    proptest! {
        #[test]
        fn nothing_that_is_stated_passes_the_ceiling(
            counts in proptest::collection::vec(prop_oneof![0..5000_u64, any::<u64>()], Class::COUNT),
            limit in proptest::option::of(any::<u64>()),
            model_max in proptest::option::of(any::<u64>()),
            bytes in proptest::array::uniform2(0..1_u64 << 26),
        ) {
            let ceiling = Ceiling {
                request_bytes: bytes[0],
                prompt_estimate: bytes[0] / 3,
                output_limit: limit,
                model_max,
                answer_bytes: bytes[1],
                output_estimate: bytes[1] / 4,
            };
            let mut stated = Usage::of(Quality::Exact, &[]);
            for (class, count) in Class::ALL.into_iter().zip(counts) {
                stated[class] = count;
            }
            let bounded = ceiling.bounded(&stated).unwrap_or(stated);
            prop_assert!(bounded.prompt_total() <= bytes[0] + BESIDE);
            prop_assert!(bounded.output_total() <= (OUTPUT_MAX / 8 * 9 + 256).max(bytes[1]));
            prop_assert!(Class::ALL.into_iter().all(|class| bounded[class] <= stated[class].max(1)));
            prop_assert_eq!(ceiling.bounded(&bounded), None);
        }
    }
}
