//! Bills worked out by hand. One dollar is one point here, so a price per million tokens in dollars is a rate in
//! points.

use proptest::prelude::*;
use tollgate_core::hold;
use tollgate_core::points::Micropoints;
use tollgate_core::price::Rates;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Quality, Usage};
use tollgate_plugin::pricing::{Bill, Charge, HoldRule, Item, Plan, Pricing, Quote, Rate, RatedHold, Reason};
use tollgate_plugin::types::{Outcome, Owner, Quality as Told};

use super::DiscountPoints;

const FREE: Rates = Rates::of(0, &[]);

/// Claude Sonnet 5.5: 2 in, 0.1 read, 2.5 and 4 written, 10 out.
const SONNET: Rates = Rates::of(
    0,
    &[
        (Class::Input, 2_000_000),
        (Class::CacheRead, 100_000),
        (Class::CacheWriteShort, 2_500_000),
        (Class::CacheWriteLong, 4_000_000),
        (Class::Output, 10_000_000),
    ],
);

/// GPT-6 Luna: 0.1 in, 0.01 read, 0.125 written, 0.5 out.
const LUNA: Rates = Rates::of(
    0,
    &[
        (Class::Input, 100_000),
        (Class::CacheRead, 10_000),
        (Class::CacheWriteShort, 125_000),
        (Class::Output, 500_000),
    ],
);

/// Gemini 2.5 Flash: 0.3 in, 1 for audio, 0.03 read, 2.5 out.
const FLASH: Rates = Rates::of(
    0,
    &[
        (Class::Input, 300_000),
        (Class::AudioInput, 1_000_000),
        (Class::CacheRead, 30_000),
        (Class::Output, 2_500_000),
    ],
);

const EXACT: Usage = Usage::of(Quality::Exact, &[]);

fn policy(config: &str) -> DiscountPoints {
    DiscountPoints::configure(config).unwrap()
}

/// The same prices with another one for the request.
const fn with_request(mut rates: Rates, request: i64) -> Rates {
    rates.request = request;
    rates
}

/// What the gateway reports of a request that has ended.
fn bill(rates: Rates, usage: Usage) -> Bill {
    let item = |(class, units): (Class, u64)| Item { class: class.code(), units, rate: rates[class] };
    let quality = match usage.quality {
        Quality::Exact => Told::Exact,
        Quality::Estimated => Told::Estimated,
        Quality::Missing => Told::Missing,
    };
    let (outcome, owner) = (Outcome::Ok, Owner::Platform);
    let items = usage.amounts().map(item).collect();
    Bill { items, request_rate: rates.request, quality, outcome, owner, at_ms: 0 }
}

fn quote(rates: Rates, input_tokens: u64, output_tokens_max: u64) -> Quote {
    Quote {
        rates: rates.each().map(|(class, rate)| Rate { class: class.code(), rate }).collect(),
        request_rate: rates.request,
        input_tokens,
        output_tokens_max,
        own_credential: false,
        platform_credential: true,
        at_ms: 0,
    }
}

fn amount(config: &str, bill: Bill) -> i64 {
    policy(config).settle(bill).amount
}

#[test]
fn a_claude_bill_charges_each_class_at_its_rate() {
    let usage = Usage::of(
        Quality::Exact,
        &[
            (Class::Input, 1_200),           // 1,200 x 2    =  2,400
            (Class::CacheRead, 50_000),      // 50,000 x 0.1 =  5,000
            (Class::CacheWriteShort, 3_000), // 3,000 x 2.5  =  7,500
            (Class::CacheWriteLong, 1_000),  // 1,000 x 4    =  4,000
            (Class::Output, 700),            // 700 x 10     =  7,000
            (Class::Reasoning, 300),         // 300 x 10     =  3,000
        ],
    );
    let charge = policy("{}").settle(bill(SONNET, usage));
    assert_eq!(charge, Charge { amount: 28_900, reason: Reason::Full });
    let own = policy("{}").settle(Bill { owner: Owner::User, ..bill(SONNET, usage) });
    assert_eq!(own, Charge { amount: 2_890, reason: Reason::OwnCredential });
    assert_eq!(amount("{}", Bill { owner: Owner::Shared, ..bill(SONNET, usage) }), 28_900);
}

#[test]
fn what_a_policy_does_not_know_it_charges_for_all_the_same() {
    // 3 x 2 + 2 x 5: units times rate, whatever the class is.
    let known = bill(SONNET, Usage::of(Quality::Exact, &[(Class::Input, 3)]));
    let unknown = Item { class: u16::MAX, units: 2, rate: 5_000_000 };
    let items = [known.items.clone(), vec![unknown]].concat();
    assert_eq!(amount("{}", Bill { items, ..known }), 16);
}

#[test]
fn an_audio_bill_keeps_audio_apart() {
    // 1,000 x 0.3 + 2,000 x 1 + (10 + 500) x 2.5 = 300 + 2,000 + 1,275
    let usage = Usage::of(
        Quality::Exact,
        &[(Class::Input, 1_000), (Class::AudioInput, 2_000), (Class::Output, 10), (Class::Reasoning, 500)],
    );
    assert_eq!(amount("{}", bill(FLASH, usage)), 3_575);
}

#[test]
fn a_fraction_is_rounded_up_once_and_after_the_discount() {
    // 1 x 0.1 + 1 x 0.01 + 1 x 0.5 = 0.61: one micro-point, not three.
    let usage = Usage::of(Quality::Exact, &[(Class::Input, 1), (Class::CacheRead, 1), (Class::Output, 1)]);
    assert_eq!(amount("{}", bill(LUNA, usage)), 1);
    // 7 x 0.1 + 3 x 0.5 = 2.2; a tenth of it is 0.22, not a tenth of 3.
    let usage = Usage::of(Quality::Exact, &[(Class::Input, 7), (Class::Output, 3)]);
    assert_eq!(amount("{}", bill(LUNA, usage)), 3);
    assert_eq!(amount("{}", Bill { owner: Owner::User, ..bill(LUNA, usage) }), 1);
    // 20 x 0.1 = 2 exactly: nothing to round.
    assert_eq!(amount("{}", bill(LUNA, Usage::of(Quality::Exact, &[(Class::Input, 20)]))), 2);
}

#[test]
fn the_rate_per_request_is_discounted_with_the_rest() {
    let rates = with_request(LUNA, 500);
    let usage = Usage::of(Quality::Exact, &[(Class::Input, 100)]);
    assert_eq!(amount("{}", bill(rates, usage)), 510);
    assert_eq!(amount("{}", Bill { owner: Owner::User, ..bill(rates, usage) }), 51);
}

#[test]
fn missing_usage_is_charged_by_the_request_alone_and_zero_usage_is_not_missing() {
    let rates = with_request(SONNET, 500);
    let unseen = Usage::of(Quality::Missing, &[(Class::Input, 9_999)]);
    assert_eq!(amount("{}", bill(rates, unseen)), 500);
    assert_eq!(amount("{}", bill(rates, EXACT)), 500);
    assert_eq!(amount("{}", bill(SONNET, Usage::default())), 0);
}

#[test]
fn an_estimate_is_charged_like_an_exact_figure() {
    let usage = Usage::of(Quality::Estimated, &[(Class::Output, 10)]);
    let cut = Bill { outcome: Outcome::Partial, ..bill(SONNET, usage) };
    assert_eq!(amount("{}", cut), 100);
}

#[test]
fn a_failure_of_the_provider_is_free_and_the_list_is_the_operators() {
    let usage = Usage::of(Quality::Exact, &[(Class::Input, 1_000)]);
    let settle = |config, outcome| policy(config).settle(Bill { outcome, ..bill(SONNET, usage) });
    assert_eq!(settle("{}", Outcome::UpstreamError), Charge { amount: 0, reason: Reason::Free });
    assert_eq!(settle(r#"{"free_outcomes":[]}"#, Outcome::UpstreamError).amount, 2_000);
    // A provider bills the prompt of these, whatever came of it.
    let billed = [
        Outcome::Ok,
        Outcome::Empty,
        Outcome::Partial,
        Outcome::CancelledBeforeFirstByte,
        Outcome::CancelledAfterFirstByte,
        Outcome::Unknown,
    ];
    let given_away = r#"{"free_outcomes":["empty","cancelled-before-first-byte"]}"#;
    for outcome in billed {
        assert_eq!(settle("{}", outcome).amount, 2_000);
        let free = matches!(outcome, Outcome::Empty | Outcome::CancelledBeforeFirstByte);
        assert_eq!(settle(given_away, outcome).amount, if free { 0 } else { 2_000 });
    }
    let all =
        r#"{"free_outcomes":["ok","partial","cancelled-after-first-byte","unknown"],"minimum_charge":7}"#;
    assert_eq!(settle(all, Outcome::Ok), Charge { amount: 0, reason: Reason::Free });
    assert_eq!(settle(all, Outcome::Unknown), Charge { amount: 0, reason: Reason::Free });
}

#[test]
fn the_minimum_is_charged_for_what_is_not_free() {
    let config = r#"{"minimum_charge":50}"#;
    assert_eq!(amount(config, bill(SONNET, Usage::of(Quality::Exact, &[(Class::Output, 1)]))), 50);
    assert_eq!(amount(config, bill(SONNET, Usage::of(Quality::Exact, &[(Class::Output, 6)]))), 60);
    assert_eq!(amount(config, Bill { outcome: Outcome::UpstreamError, ..bill(SONNET, EXACT) }), 0);
    assert_eq!(policy(config).hold(quote(SONNET, 0, 0)), 50);
}

#[test]
fn a_hold_reserves_for_the_dearest_input_and_the_dearest_credential() {
    // 1,000 x 4 (written for an hour) + 128,000 x 10 + 500 = 1,284,500
    let asked = quote(with_request(SONNET, 500), 1_000, 128_000);
    let hold = |own_credential, platform_credential| {
        policy("{}").hold(Quote { own_credential, platform_credential, ..asked.clone() })
    };
    assert_eq!(hold(false, true), 1_284_500);
    assert_eq!(hold(true, true), 1_284_500);
    assert_eq!(hold(true, false), 128_450);
    let surcharge = r#"{"own_credential_ppm":2000000}"#;
    assert_eq!(policy(surcharge).hold(Quote { own_credential: true, ..asked }), 2_569_000);
}

#[test]
fn a_hold_covers_every_bill_within_its_quote() {
    for rates in [SONNET, LUNA, FLASH] {
        let reserved = policy("{}").hold(quote(rates, 1_000, 333));
        for classes in 0..5_u32 {
            let usage = Usage::of(
                Quality::Exact,
                &[
                    (Class::Input, if classes == 0 { 1_000 } else { 400 }),
                    (Class::CacheRead, if classes == 1 { 600 } else { 0 }),
                    (Class::CacheWriteShort, if classes == 2 { 600 } else { 0 }),
                    (Class::CacheWriteLong, if classes == 3 { 600 } else { 0 }),
                    (Class::AudioInput, if classes == 4 { 600 } else { 0 }),
                    (Class::Output, 100),
                    (Class::Reasoning, 233),
                ],
            );
            assert!(amount("{}", bill(rates, usage)) <= reserved, "{rates:?} {usage:?}");
        }
    }
}

#[test]
fn no_input_makes_a_charge_negative_or_panics() {
    let most = Rates::of(i64::MAX, &[(Class::Input, i64::MAX), (Class::Output, i64::MAX)]);
    let usage = Usage::of(
        Quality::Exact,
        &[(Class::Input, u64::MAX), (Class::Output, u64::MAX), (Class::Reasoning, u64::MAX)],
    );
    let dear = r#"{"platform_ppm":4294967294}"#;
    assert_eq!(amount(dear, bill(most, usage)), i64::MAX);
    assert_eq!(policy(dear).hold(quote(most, u64::MAX, u64::MAX)), i64::MAX);
    let negative = with_request(FREE.with(Class::Input, i64::MIN).with(Class::Output, -1), -5);
    assert_eq!(amount("{}", bill(negative, usage)), 0);
    assert_eq!(policy("{}").hold(quote(negative, u64::MAX, u64::MAX)), 0);
    let rebate = with_request(SONNET.with(Class::CacheRead, -1_000_000), -5);
    assert_eq!(
        amount("{}", bill(rebate, Usage::of(Quality::Exact, &[(Class::Input, 10), (Class::CacheRead, 10)]))),
        20
    );
}

#[test]
fn a_mistake_in_the_configuration_is_named() {
    let refused = |config: &str| DiscountPoints::configure(config).unwrap_err();
    assert!(refused(r#"{"discount":10}"#).contains("`discount`"));
    assert!(refused(r#"{"own_credential_ppm":0.1}"#).contains("0.1"));
    assert!(refused(r#"{"free_outcomes":["failed"]}"#).contains("`failed`"));
}

/// What the gateway reserves by the rule that the policy declares.
fn reserved(policy: &DiscountPoints, quote: &Quote) -> i64 {
    let Plan { hold: HoldRule::Rated(RatedHold { own_ppm, platform_ppm, minimum }), .. } = policy.plan()
    else {
        panic!("the rule is arithmetic: there is nothing to ask")
    };
    let stated: Vec<(Class, i64)> =
        quote.rates.iter().map(|rate| (Class::of_code(rate.class).unwrap(), rate.rate)).collect();
    let rates = Rates::of(quote.request_rate, &stated);
    let rule = hold::RatedHold { own_ppm, platform_ppm, minimum: Micropoints::new(minimum) };
    let quote = hold::Quote {
        rates,
        input_tokens: quote.input_tokens,
        output_tokens_max: quote.output_tokens_max,
        own_credential: quote.own_credential,
        platform_credential: quote.platform_credential,
        at: Timestamp::from_millis(quote.at_ms),
    };
    rule.amount(&quote).get()
}

/// Ordinary rates, in fractions of a micro-point a token, and the ends of their type.
fn rates() -> impl Strategy<Value = Rates> {
    let rate = prop_oneof![8 => 0..50_000_000_i64, 1 => any::<i64>(), 1 => Just(i64::MAX)];
    prop::array::uniform8(rate).prop_map(|[request, stated @ ..]| {
        let classes = Class::ALL.into_iter().filter(|class| *class != Class::Reasoning);
        Rates::of(request, &classes.zip(stated).collect::<Vec<_>>())
    })
}

fn tokens() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..2_000_000_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4096) })]

    #[test]
    fn the_declared_rule_reserves_what_the_policy_would_ask_for(
        rates in rates(),
        input_tokens in tokens(),
        output_tokens_max in tokens(),
        own_credential: bool,
        platform_credential: bool,
        factors: [u32; 2],
        minimum_charge in 0..100_000_u32,
    ) {
        let [platform_ppm, own_credential_ppm] = factors;
        let configured =
            DiscountPoints { platform_ppm, own_credential_ppm, minimum_charge, ..DiscountPoints::default() };
        let quote =
            Quote { own_credential, platform_credential, ..quote(rates, input_tokens, output_tokens_max) };
        for policy in [configured, DiscountPoints::default()] {
            prop_assert_eq!(reserved(&policy, &quote), policy.hold(quote.clone()));
        }
    }
}
