//! Pricing policies in either contract: that of now, and that of version 0.1.0 (`wit/v0.1`), for which receipts name
//! components that must be asked again for as long as the receipts are kept.
//!
//! The first contract has words for eight classes of usage. Whatever else was used it is told as a part of the
//! request's own price, rounded up to a whole micro-point: so the policy's factors and exceptions apply to it, and
//! nothing is free.

use tollgate_core::hold::Quote;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{Rates, rounded_up};
use tollgate_core::usage::{Class, Side, Usage};
use wasmtime::component::InstancePre;
use wasmtime::{Result, Store};

use crate::binding::Kind;
use crate::bindings::pricing_world::{PricingPolicy, PricingPolicyPre};
use crate::plan::policy::{Bill, Charge, PricingPlan};
use crate::state::State;
use crate::world::World;

mod first {
    wasmtime::component::bindgen!({ path: "../../wit/v0.1", world: "pricing-policy" });
}

use first::exports::tollgate::plugin::pricing as wit;
use first::tollgate::plugin::types;

/// A pricing policy.
pub(crate) enum PricingWorld {
    /// Of the contract of now.
    Current(PricingPolicy),
    /// Of that of version 0.1.0.
    First(first::PricingPolicy),
}

/// A linked one.
#[derive(Clone)]
pub(crate) enum PricingPre {
    Current(PricingPolicyPre<State>),
    First(first::PricingPolicyPre<State>),
}

impl World for PricingWorld {
    const KIND: Kind = Kind::PricingPolicy;
    type Pre = PricingPre;
    type Plan = PricingPlan;

    fn check(pre: InstancePre<State>) -> Result<Self::Pre> {
        match PricingPolicyPre::new(pre.clone()) {
            Ok(current) => Ok(PricingPre::Current(current)),
            // What is of neither is told what the contract of now asks for.
            Err(error) => first::PricingPolicyPre::new(pre).map(PricingPre::First).map_err(|_| error),
        }
    }

    fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> Result<Self> {
        match pre {
            PricingPre::Current(pre) => pre.instantiate(store).map(Self::Current),
            PricingPre::First(pre) => pre.instantiate(store).map(Self::First),
        }
    }

    fn configure(&self, store: &mut Store<State>, config: &str) -> Result<Result<Self::Plan, String>> {
        Ok(match self {
            Self::Current(world) => {
                world.tollgate_plugin_pricing().call_configure(store, config)?.map(Into::into)
            }
            Self::First(world) => world.tollgate_plugin_pricing().call_configure(store, config)?.map(plan),
        })
    }
}

impl PricingWorld {
    /// Micro-points to reserve, as the component says them.
    pub(crate) fn hold(&self, store: &mut Store<State>, quote: &Quote) -> Result<i64> {
        match self {
            Self::Current(world) => world.tollgate_plugin_pricing().call_hold(store, &quote.into()),
            Self::First(world) => world.tollgate_plugin_pricing().call_hold(store, first_quote(quote)),
        }
    }

    /// What it charges.
    pub(crate) fn settle(&self, store: &mut Store<State>, bill: &Bill) -> Result<Charge> {
        Ok(match self {
            Self::Current(world) => world.tollgate_plugin_pricing().call_settle(store, &bill.into())?.into(),
            Self::First(world) => {
                let charge = world.tollgate_plugin_pricing().call_settle(store, first_bill(bill))?;
                Charge { amount: Micropoints::new(charge.amount), reason: reason(charge.reason) }
            }
        })
    }
}

/// The same plan: what it can say has not changed.
fn plan(plan: wit::Plan) -> PricingPlan {
    use crate::plan::policy::{HoldRule, Rewards};
    let hold = match plan.hold {
        wit::HoldRule::Rated(wit::RatedHold { own_ppm, platform_ppm, minimum }) => {
            let minimum = Micropoints::new(minimum);
            HoldRule::Rated(tollgate_core::hold::RatedHold { own_ppm, platform_ppm, minimum })
        }
        wit::HoldRule::Ask => HoldRule::Ask,
    };
    let wit::Rewards { first_credential, lender_ppm } = plan.rewards;
    PricingPlan {
        hold,
        rewards: Rewards { first_credential: Micropoints::new(first_credential), lender_ppm },
    }
}

const fn reason(reason: wit::Reason) -> tollgate_core::receipt::Reason {
    use tollgate_core::receipt::Reason;
    match reason {
        wit::Reason::Full => Reason::Full,
        wit::Reason::OwnCredential => Reason::OwnCredential,
        wit::Reason::Free => Reason::Free,
    }
}

/// What a quote is to it: the dearest classes of a prompt and of an answer under the names that it knows.
fn first_quote(quote: &Quote) -> wit::Quote {
    let mut rates = quote.rates;
    for (side, known) in [(Side::Prompt, Class::Input), (Side::Output, Class::Output)] {
        let classes = Class::ALL.into_iter().filter(|class| class.is_tokens_of(side));
        rates[known] = classes.map(|class| quote.rates[class]).fold(quote.rates[known], i64::max);
    }
    wit::Quote {
        rates: first_rates(&rates),
        input_tokens: quote.input_tokens,
        output_tokens_max: quote.output_tokens_max,
        own_credential: quote.own_credential,
        platform_credential: quote.platform_credential,
        at_ms: quote.at.millis(),
    }
}

fn first_bill(bill: &Bill) -> wit::Bill {
    let (usage, rates) = told(&bill.usage, &bill.rates);
    let current = crate::bindings::wit_pricing::Bill::from(bill);
    wit::Bill {
        rates: first_rates(&rates),
        usage: first_usage(&usage),
        outcome: outcome(current.outcome),
        owner: owner(current.owner),
        at_ms: bill.at.millis(),
    }
}

/// The classes that the first contract has words for.
const KNOWN: [Class; 8] = [
    Class::Input,
    Class::CacheRead,
    Class::CacheWriteShort,
    Class::CacheWriteLong,
    Class::Output,
    Class::Reasoning,
    Class::AudioInput,
    Class::AudioOutput,
];

/// Usage in the classes that it knows, and prices in which the rest is a part of the request's. Reasoning has no
/// price of its own there, so where it is priced apart it belongs to the rest.
fn told(usage: &Usage, rates: &Rates) -> (Usage, Rates) {
    let (mut usage, mut rates, mut rest) = (*usage, *rates, Usage::default());
    for class in Class::ALL {
        let apart = class == Class::Reasoning && rates[class] != rates[Class::Output];
        if apart || !KNOWN.contains(&class) {
            (rest[class], usage[class]) = (usage[class], 0);
        }
    }
    if rest.amounts().next().is_some() {
        rates.request = rounded_up(rates.cost(&rest)).get();
    }
    (usage, rates)
}

const fn first_rates(rates: &Rates) -> wit::Rates {
    wit::Rates {
        input: rates.rate(Class::Input),
        cache_read: rates.rate(Class::CacheRead),
        cache_write_short: rates.rate(Class::CacheWriteShort),
        cache_write_long: rates.rate(Class::CacheWriteLong),
        output: rates.rate(Class::Output),
        audio_input: rates.rate(Class::AudioInput),
        audio_output: rates.rate(Class::AudioOutput),
        request: rates.request,
    }
}

fn first_usage(usage: &Usage) -> types::Usage {
    types::Usage {
        input: usage[Class::Input],
        cache_read: usage[Class::CacheRead],
        cache_write_short: usage[Class::CacheWriteShort],
        cache_write_long: usage[Class::CacheWriteLong],
        output: usage[Class::Output],
        reasoning: usage[Class::Reasoning],
        audio_input: usage[Class::AudioInput],
        audio_output: usage[Class::AudioOutput],
        quality: match usage.quality {
            tollgate_core::usage::Quality::Exact => types::Quality::Exact,
            tollgate_core::usage::Quality::Estimated => types::Quality::Estimated,
            tollgate_core::usage::Quality::Missing => types::Quality::Missing,
        },
    }
}

const fn outcome(outcome: crate::bindings::types::Outcome) -> types::Outcome {
    use crate::bindings::types::Outcome;
    match outcome {
        Outcome::Ok => types::Outcome::Ok,
        Outcome::Empty => types::Outcome::Empty,
        Outcome::Partial => types::Outcome::Partial,
        Outcome::CancelledBeforeFirstByte => types::Outcome::CancelledBeforeFirstByte,
        Outcome::CancelledAfterFirstByte => types::Outcome::CancelledAfterFirstByte,
        Outcome::UpstreamError => types::Outcome::UpstreamError,
        Outcome::Unknown => types::Outcome::Unknown,
    }
}

const fn owner(owner: crate::bindings::types::Owner) -> types::Owner {
    use crate::bindings::types::Owner;
    match owner {
        Owner::User => types::Owner::User,
        Owner::Platform => types::Owner::Platform,
        Owner::Shared => types::Owner::Shared,
    }
}

#[cfg(test)]
mod tests {
    use super::told;
    use tollgate_core::price::{Rates, rounded_up};
    use tollgate_core::usage::{Class, Quality, Usage};

    #[test]
    fn what_the_first_contract_has_no_word_for_is_a_part_of_the_requests_price() {
        let rates = Rates::of(7, &[(Class::Input, 2_000_000), (Class::Output, 10_000_000)]);
        let usage =
            Usage::of(Quality::Exact, &[(Class::Input, 3), (Class::Output, 4), (Class::Reasoning, 5)]);
        assert_eq!(told(&usage, &rates), (usage, rates));
        let apart = rates.with(Class::Reasoning, 1_500_000);
        let (left, with_rest) = told(&usage, &apart);
        assert_eq!((left[Class::Reasoning], with_rest.request), (0, 7 + 8));
        assert_eq!(rounded_up(with_rest.cost(&left)), rounded_up(apart.cost(&usage)));
    }
}
