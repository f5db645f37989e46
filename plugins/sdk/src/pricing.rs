//! Pricing policies: world `pricing-policy` of `wit/policy.wit`, which documents every field.
//!
//! Pricing is pure: no clock, no randomness, no log, no state between calls.

use crate::types::{Class, Side};

pub use crate::bindings::pricing_policy::exports::tollgate::plugin::pricing::{
    Bill, Charge, HoldRule, Item, Plan, Quote, Rate, RatedHold, Reason, Rewards,
};

/// Says what a request costs, in micro-points (1 point = 1,000,000).
pub trait Pricing: Sized + 'static {
    /// Makes a policy from the JSON text of the binding's `config` table (`{}` when there is none).
    ///
    /// # Errors
    /// What is wrong with the configuration, for the operator; then nothing changes in the gateway.
    fn configure(config: &str) -> Result<Self, String>;

    /// What the gateway does without asking. Called once, after `configure`. By default it asks for every hold; a
    /// policy that declares [`Plan::rated`] saves each request a call.
    fn plan(&self) -> Plan {
        Plan::ASK
    }

    /// The most that a request may cost, reserved on the caller's account. Called once, before dispatch, where
    /// [`plan`](Self::plan) says [`HoldRule::Ask`]; a policy that declares a rule states it here again, for native
    /// tests.
    fn hold(&self, quote: Quote) -> i64;

    /// What a request costs now that it has ended. Called once.
    fn settle(&self, bill: Bill) -> Charge;
}

impl Plan {
    /// [`Pricing::hold`] is called for every request.
    pub const ASK: Self = Self { hold: HoldRule::Ask, rewards: Rewards::NONE };

    /// Every hold is found by this rule, natively.
    #[must_use]
    pub const fn rated(rule: RatedHold) -> Self {
        Self { hold: HoldRule::Rated(rule), rewards: Rewards::NONE }
    }

    /// The same plan with rewards for the provider keys that users bring.
    #[must_use]
    pub const fn with_rewards(self, rewards: Rewards) -> Self {
        Self { rewards, ..self }
    }
}

/// Rates are micro-points for this many units.
pub const UNITS_PER_RATE: i128 = 1_000_000;

impl Bill {
    /// What was used, at its prices, plus the price of the request: in millionths of a micro-point, exact. Rates below
    /// zero count as zero. No product overflows (64 bits times 63), and the sum ends at the largest number.
    ///
    /// Where nothing is known of the usage there are no items, and what is left is the price of the request.
    #[must_use]
    pub fn price(&self) -> i128 {
        let request = i128::from(self.request_rate.max(0)) * UNITS_PER_RATE;
        let cost = |item: &Item| i128::from(item.units) * i128::from(item.rate.max(0));
        self.items.iter().fold(request, |sum, item| sum.saturating_add(cost(item)))
    }
}

impl Quote {
    /// The largest rate of the classes of tokens that arise on this side, 0 or more.
    #[must_use]
    pub fn dearest(&self, side: Side) -> i64 {
        let arises = |rate: &&Rate| Class::of_code(rate.class).is_some_and(|class| class.is_tokens_of(side));
        self.rates.iter().filter(arises).map(|rate| rate.rate).fold(0, i64::max)
    }

    /// The most that this request may turn out to cost, in millionths of a micro-point. A [`RatedHold`] is a part of
    /// it.
    #[must_use]
    pub fn price(&self) -> i128 {
        let at_rate = |units: u64, rate: i64| i128::from(units) * i128::from(rate);
        (i128::from(self.request_rate.max(0)) * UNITS_PER_RATE)
            .saturating_add(at_rate(self.input_tokens, self.dearest(Side::Prompt)))
            .saturating_add(at_rate(self.output_tokens_max, self.dearest(Side::Output)))
    }
}

impl Rewards {
    /// Nothing is granted, and lenders earn nothing.
    pub const NONE: Self = Self { first_credential: 0, lender_ppm: 0 };
}

/// Exports a type that implements [`Pricing`](crate::pricing::Pricing) as a component of world `pricing-policy`.
#[macro_export]
macro_rules! export_pricing {
    ($plugin:ty) => {
        $crate::__export_component!(
            $plugin,
            $crate::pricing::Pricing,
            __export_pricing_policy,
            pricing_policy
        );
    };
}
