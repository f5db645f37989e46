//! What is reserved for a request before it is sent, where the pricing policy has said so as data.
//!
//! Called once per billed request, for a quote that was made from the request and the price table. Exact in 128 bits;
//! what a balance cannot express saturates, so that an absurd quote reserves too much and never too little.

use crate::points::Micropoints;
use crate::price::{Rates, TOKENS_PER_RATE};
use crate::time::Timestamp;

/// Parts of a factor that make a whole.
const PPM: i128 = 1_000_000;

/// A request about to be dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The model's price.
    pub rates: Rates,
    /// Upper estimate of prompt tokens.
    pub input_tokens: u64,
    /// The most output tokens that the request allows.
    pub output_tokens_max: u64,
    /// Whether a credential of the caller's own may serve it.
    pub own_credential: bool,
    /// Whether a platform or shared credential may serve it.
    pub platform_credential: bool,
    /// When it was admitted.
    pub at: Timestamp,
}

impl Quote {
    /// The list price of the dearest bill that this request can end with, in millionths of a micro-point. Whether its
    /// prompt is read from a cache, written to one or neither is not known yet. Rates below zero count as zero.
    fn dearest(&self) -> i128 {
        let Rates { input, cache_read, cache_write_short, cache_write_long, audio_input, .. } = self.rates;
        let dearest_input =
            input.max(cache_read).max(cache_write_short).max(cache_write_long).max(audio_input);
        let dearest_output = self.rates.output.max(self.rates.audio_output);
        // No product overflows: a 64-bit count times a 63-bit rate has 127 bits at most.
        let at_rate = |tokens: u64, rate: i64| i128::from(tokens) * i128::from(rate.max(0));
        at_rate(TOKENS_PER_RATE, self.rates.request)
            .saturating_add(at_rate(self.input_tokens, dearest_input))
            .saturating_add(at_rate(self.output_tokens_max, dearest_output))
    }
}

/// A hold in proportion to the list price. Documented, with units, in `wit/policy.wit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RatedHold {
    /// Millionths of the list price where a credential of the caller's own may serve.
    pub own_ppm: u32,
    /// Millionths of the list price where a platform or shared credential may serve.
    pub platform_ppm: u32,
    /// The least that is reserved.
    pub minimum: Micropoints,
}

impl RatedHold {
    /// What is reserved for this request: never negative where the minimum is not.
    #[must_use]
    pub fn amount(&self, quote: &Quote) -> Micropoints {
        let scaled = quote.dearest().saturating_mul(i128::from(self.ppm(quote)));
        let divisor = i128::from(TOKENS_PER_RATE) * PPM;
        let rounded_up = scaled.saturating_add(divisor - 1) / divisor;
        Micropoints::new(i64::try_from(rounded_up).unwrap_or(i64::MAX)).max(self.minimum)
    }

    /// The larger factor of those whose credentials may serve; the own one where none may.
    fn ppm(&self, quote: &Quote) -> u32 {
        match (quote.own_credential, quote.platform_credential) {
            (true, true) => self.own_ppm.max(self.platform_ppm),
            (false, true) => self.platform_ppm,
            (_, false) => self.own_ppm,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Quote, RatedHold};
    use crate::points::Micropoints;
    use crate::price::Rates;
    use crate::time::Timestamp;

    /// 2 points a million tokens in, 0.1 read, 2.5 and 4 written, 10 out, 500 micro-points a request.
    const RATES: Rates = Rates {
        input: 2_000_000,
        cache_read: 100_000,
        cache_write_short: 2_500_000,
        cache_write_long: 4_000_000,
        output: 10_000_000,
        audio_input: 0,
        audio_output: 0,
        request: 500,
    };
    const TENTH: RatedHold =
        RatedHold { own_ppm: 100_000, platform_ppm: 1_000_000, minimum: Micropoints::ZERO };
    const QUOTE: Quote = Quote {
        rates: RATES,
        input_tokens: 1_000,
        output_tokens_max: 128_000,
        own_credential: false,
        platform_credential: true,
        at: Timestamp::from_millis(0),
    };

    fn check(rule: RatedHold, quote: Quote, micropoints: i64) {
        assert_eq!(rule.amount(&quote).get(), micropoints, "{rule:?} {quote:?}");
    }

    #[test]
    fn the_dearest_input_the_dearest_output_and_the_request_are_reserved() {
        // 1,000 x 4 (written for an hour) + 128,000 x 10 + 500.
        check(TENTH, QUOTE, 1_284_500);
        let audio = Rates { audio_input: 5_000_000, audio_output: 20_000_000, ..RATES };
        check(TENTH, Quote { rates: audio, ..QUOTE }, 1_000 * 5 + 128_000 * 20 + 500);
        let each = |rates| check(TENTH, Quote { rates, output_tokens_max: 0, ..QUOTE }, 7_000);
        each(Rates { input: 7_000_000, ..Rates::default() });
        each(Rates { cache_read: 7_000_000, ..Rates::default() });
        each(Rates { cache_write_short: 7_000_000, ..Rates::default() });
        each(Rates { cache_write_long: 7_000_000, ..Rates::default() });
        each(Rates { audio_input: 7_000_000, ..Rates::default() });
        each(Rates { request: 7_000, ..Rates::default() });
    }

    #[test]
    fn the_dearest_credential_that_may_serve_decides() {
        let of = |own_credential, platform_credential| Quote { own_credential, platform_credential, ..QUOTE };
        check(TENTH, of(true, false), 128_450);
        check(TENTH, of(true, true), 1_284_500);
        check(TENTH, of(false, false), 128_450);
        let surcharge = RatedHold { own_ppm: 2_000_000, ..TENTH };
        check(surcharge, of(true, true), 2_569_000);
        check(surcharge, of(false, true), 1_284_500);
    }

    #[test]
    fn a_fraction_is_rounded_up_once_and_after_the_factor() {
        let rates = Rates { input: 100_000, output: 500_000, ..Rates::default() };
        let small =
            |input_tokens, output_tokens_max| Quote { rates, input_tokens, output_tokens_max, ..QUOTE };
        // 7 x 0.1 + 3 x 0.5 = 2.2; a tenth of it is 0.22, not a tenth of 3.
        check(TENTH, small(7, 3), 3);
        check(TENTH, Quote { own_credential: true, platform_credential: false, ..small(7, 3) }, 1);
        check(TENTH, small(20, 0), 2);
        check(TENTH, small(0, 0), 0);
    }

    #[test]
    fn no_less_than_the_minimum_is_reserved() {
        let least = RatedHold { minimum: Micropoints::new(1_284_501), ..TENTH };
        check(least, QUOTE, 1_284_501);
        check(RatedHold { minimum: Micropoints::new(1_284_499), ..TENTH }, QUOTE, 1_284_500);
        // No factor and a minimum: the same for every request.
        check(RatedHold { own_ppm: 0, platform_ppm: 0, minimum: Micropoints::new(7) }, QUOTE, 7);
    }

    #[test]
    fn an_absurd_quote_saturates_and_a_rate_below_zero_takes_nothing_off() {
        let most = Rates { input: i64::MAX, output: i64::MAX, request: i64::MAX, ..RATES };
        let endless = Quote { rates: most, input_tokens: u64::MAX, output_tokens_max: u64::MAX, ..QUOTE };
        check(RatedHold { platform_ppm: u32::MAX, ..TENTH }, endless, i64::MAX);
        let negative = Rates { input: i64::MIN, output: -1, request: -5, ..Rates::default() };
        check(TENTH, Quote { rates: negative, ..endless }, 0);
        check(TENTH, Quote { rates: Rates { request: -5, ..RATES }, ..QUOTE }, 1_284_000);
    }

    /// Counts and rates as they are, and at the ends of their types.
    fn quotes() -> impl Strategy<Value = Quote> {
        let rate = || prop_oneof![8 => 0..1_000_000_000_i64, 1 => any::<i64>(), 1 => Just(i64::MAX)];
        let tokens = || prop_oneof![8 => 0..2_000_000_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)];
        let rates = (rate(), rate(), rate(), rate(), rate(), rate(), rate(), rate()).prop_map(
            |(
                input,
                cache_read,
                cache_write_short,
                cache_write_long,
                output,
                audio_input,
                audio_output,
                request,
            )| {
                Rates {
                    input,
                    cache_read,
                    cache_write_short,
                    cache_write_long,
                    output,
                    audio_input,
                    audio_output,
                    request,
                }
            },
        );
        (rates, tokens(), tokens(), any::<bool>(), any::<bool>()).prop_map(
            |(rates, input_tokens, output_tokens_max, own_credential, platform_credential)| Quote {
                rates,
                input_tokens,
                output_tokens_max,
                own_credential,
                platform_credential,
                at: Timestamp::from_millis(0),
            },
        )
    }

    /// What a bill of these tokens comes to at list price, in whole micro-points.
    fn list_price(quote: &Quote, input_rate: i64, output_rate: i64) -> i128 {
        let of = |tokens: u64, rate: i64| i128::from(tokens) * i128::from(rate.max(0));
        let tokens =
            of(quote.input_tokens, input_rate).saturating_add(of(quote.output_tokens_max, output_rate));
        tokens / 1_000_000 + i128::from(quote.rates.request.max(0))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

        // A balance ends at 64 bits, and so does what can be reserved.
        #[test]
        fn a_whole_factor_covers_every_class_and_is_reached_by_one(quote in quotes()) {
            let rule = RatedHold { own_ppm: 1_000_000, platform_ppm: 1_000_000, minimum: Micropoints::ZERO };
            let held = i128::from(rule.amount(&quote).get());
            let Rates { input, cache_read, cache_write_short, cache_write_long, audio_input, .. } = quote.rates;
            let inputs = [input, cache_read, cache_write_short, cache_write_long, audio_input];
            let outputs = [quote.rates.output, quote.rates.audio_output];
            let prices = inputs.into_iter().flat_map(|input| outputs.map(|output| list_price(&quote, input, output)));
            let dearest = prices.max().unwrap().min(i128::from(i64::MAX));
            // Rounded up once: less than one micro-point above.
            prop_assert!(dearest <= held && held <= dearest + 1, "{dearest} {held}");
        }

        #[test]
        fn a_larger_request_or_factor_never_holds_less(
            quote in quotes(), more in any::<u64>(), own_ppm: u32, platform_ppm: u32, minimum in 0..i64::MAX,
        ) {
            let rule = RatedHold { own_ppm, platform_ppm, minimum: Micropoints::new(minimum) };
            let held = rule.amount(&quote);
            prop_assert!(held.get() >= minimum);
            let input_tokens = quote.input_tokens.saturating_add(more);
            let longer = rule.amount(&Quote { input_tokens, ..quote });
            let output_tokens_max = quote.output_tokens_max.saturating_add(more);
            let wordier = rule.amount(&Quote { output_tokens_max, ..quote });
            prop_assert!(longer >= held && wordier >= held);
            let dearer = RatedHold {
                own_ppm: own_ppm.saturating_add(1),
                platform_ppm: platform_ppm.saturating_add(1),
                ..rule
            };
            prop_assert!(dearer.amount(&quote) >= held);
        }
    }
}
