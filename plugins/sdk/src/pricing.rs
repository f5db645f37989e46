//! Pricing policies: world `pricing-policy` of `wit/policy.wit`, which documents every field.
//!
//! Pricing is pure: no clock, no randomness, no log, no state between calls.

pub use crate::bindings::pricing_policy::exports::tollgate::plugin::pricing::{
    Bill, Charge, HoldRule, Plan, Quote, RatedHold, Rates, Reason, Rewards,
};

/// Says what a request costs, in micro-points (1 point = 1,000,000).
pub trait Pricing: Sized + 'static {
    /// Makes a policy from the JSON text of the binding's `config` table (`{}` when there is none).
    ///
    /// # Errors
    /// What is wrong with the configuration, in words for the operator; nothing changes in the gateway then.
    fn configure(config: &str) -> Result<Self, String>;

    /// What the gateway does without asking. Called once, after `configure`. The default has it ask for every hold; a
    /// policy that can say [`Plan::rated`] saves each request a call.
    fn plan(&self) -> Plan {
        Plan::ASK
    }

    /// The most that a request may cost, reserved on the caller's account. Called once, before dispatch, where
    /// [`plan`](Self::plan) says [`HoldRule::Ask`]; a policy that declares a rule states it here again, for native tests.
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
