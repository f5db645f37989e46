//! What is reserved for a request before it is sent, where the pricing policy states its rule as data.
//!
//! Called once per billed request, for a quote that was made from the request and the price table. Exact in 128 bits;
//! what a balance cannot express saturates, so that an absurd quote reserves too much and never too little.

use crate::points::Micropoints;
use crate::price::{Rates, UNITS_PER_RATE};
use crate::time::Timestamp;
use crate::usage::{Class, Side, Usage};

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
        let dearest = |side, tokens| {
            let classes = Class::ALL.into_iter().filter(|class| class.is_tokens_of(side));
            classes.map(|class| self.rates.cost_of(class, tokens)).max().unwrap_or(0)
        };
        // The price of the request alone: nothing is known yet of its tokens.
        self.rates
            .cost(&Usage::default())
            .saturating_add(dearest(Side::Prompt, self.input_tokens))
            .saturating_add(dearest(Side::Output, self.output_tokens_max))
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
        let divisor = i128::from(UNITS_PER_RATE) * PPM;
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
    use crate::usage::{Class, Side};

    /// 2 points a million tokens in, 0.1 read, 2.5 and 4 written, 10 out, 500 micro-points a request.
    const RATES: Rates = Rates::of(
        500,
        &[
            (Class::Input, 2_000_000),
            (Class::CacheRead, 100_000),
            (Class::CacheWriteShort, 2_500_000),
            (Class::CacheWriteLong, 4_000_000),
            (Class::Output, 10_000_000),
        ],
    );
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
        let mut audio = RATES;
        (audio[Class::AudioInput], audio[Class::AudioOutput]) = (5_000_000, 20_000_000);
        check(TENTH, Quote { rates: audio, ..QUOTE }, 1_000 * 5 + 128_000 * 20 + 500);
        let each = |rates| check(TENTH, Quote { rates, output_tokens_max: 0, ..QUOTE }, 7_000);
        for class in Class::ALL.into_iter().filter(|class| class.is_tokens_of(Side::Prompt)) {
            each(Rates::of(0, &[(class, 7_000_000)]));
        }
        each(Rates::of(7_000, &[]));
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
        let rates = Rates::of(0, &[(Class::Input, 100_000), (Class::Output, 500_000)]);
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
        let most = Rates::of(i64::MAX, &[(Class::Input, i64::MAX), (Class::Output, i64::MAX)]);
        let endless = Quote { rates: most, input_tokens: u64::MAX, output_tokens_max: u64::MAX, ..QUOTE };
        check(RatedHold { platform_ppm: u32::MAX, ..TENTH }, endless, i64::MAX);
        let negative = Rates::of(-5, &[(Class::Input, i64::MIN), (Class::Output, -1)]);
        check(TENTH, Quote { rates: negative, ..endless }, 0);
        let mut rates = RATES;
        rates.request = -5;
        check(TENTH, Quote { rates, ..QUOTE }, 1_284_000);
    }

    /// The classes that every price list states.
    const STATED: [Class; 7] = [
        Class::Input,
        Class::CacheRead,
        Class::CacheWriteShort,
        Class::CacheWriteLong,
        Class::Output,
        Class::AudioInput,
        Class::AudioOutput,
    ];

    /// Counts and rates as they are, and at the ends of their types.
    fn quotes() -> impl Strategy<Value = Quote> {
        let rate = || prop_oneof![8 => 0..1_000_000_000_i64, 1 => any::<i64>(), 1 => Just(i64::MAX)];
        let tokens = || prop_oneof![8 => 0..2_000_000_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)];
        let rates = (proptest::array::uniform7(rate()), rate()).prop_map(|(by_class, request)| {
            let stated: Vec<(Class, i64)> = STATED.into_iter().zip(by_class).collect();
            Rates::of(request, &stated)
        });
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
            let on = |side| STATED.into_iter().filter(move |class| class.is_tokens_of(side));
            let (inputs, outputs) = (on(Side::Prompt), on(Side::Output));
            let prices = inputs.flat_map(|input| {
                let of = |output| list_price(&quote, quote.rates[input], quote.rates[output]);
                outputs.clone().map(of).collect::<Vec<_>>()
            });
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
