//! What policies are asked and what they answer: candidates and choices, bills and charges, matches and verdicts.

use tollgate_core::hold::RatedHold;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::{CHARGE_MAX, MOVEMENT_MAX, Micropoints};
use tollgate_core::price::Rates;
use tollgate_core::protocol::Owner;
pub use tollgate_core::receipt::Reason;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Usage;

/// State of a candidate at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Available,
    /// Its cooldown has passed and no one has tried it since.
    HalfOpen,
}

/// One credential that may serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Valid for one call only; says nothing about the credential.
    pub handle: u32,
    /// Whose it is.
    pub owner: Owner,
    /// Its state.
    pub health: Health,
    /// The operator's weight, 1 to 1000.
    pub weight: u32,
    /// Requests that it is serving now.
    pub in_flight: u32,
    /// Failures in a row.
    pub failures: u32,
    /// Milliseconds since it last served; `u64::MAX` when it never did.
    pub idle_ms: u64,
    /// How much of the conversation it is likely to have cached: 0 to 1000.
    pub affinity: u32,
}

/// What a selector knows of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectRequest {
    /// Random, fresh for each call.
    pub seed: u64,
    /// 0 for the first attempt of a request.
    pub attempt: u32,
}

/// How a pricing policy finds the hold of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldRule {
    /// By a rule that the host computes.
    Rated(RatedHold),
    /// By a call.
    Ask,
}

/// What the host does natively on behalf of a pricing policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PricingPlan {
    /// How holds are found.
    pub hold: HoldRule,
    /// What own and lent credentials earn.
    pub rewards: Rewards,
}

/// What users get for the provider keys that they bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rewards {
    /// Granted once per provider account, for the first own credential that the provider takes.
    pub first_credential: Micropoints,
    /// Millionths of what was paid for a call that the owner of the shared credential behind it earns.
    pub lender_ppm: u32,
}

/// Parts of a whole charge.
const PPM: u32 = 1_000_000;

impl PricingPlan {
    /// What cannot be run, in words for the operator.
    pub(crate) fn check(&self) -> Result<(), String> {
        let first = self.rewards.first_credential;
        if first < Micropoints::ZERO || first > MOVEMENT_MAX || self.rewards.lender_ppm > PPM {
            return Err(format!("its rewards are out of range: {:?}", self.rewards));
        }
        match self.hold {
            HoldRule::Rated(RatedHold { minimum, .. }) if minimum < Micropoints::ZERO => {
                Err(format!("a minimum hold of {} micro-points is negative", minimum.get()))
            }
            HoldRule::Rated(RatedHold { minimum, .. }) if minimum > CHARGE_MAX => Err(format!(
                "a minimum hold of {} micro-points is more than one call can cost",
                minimum.get()
            )),
            HoldRule::Rated(_) | HoldRule::Ask => Ok(()),
        }
    }
}

/// A request that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bill {
    /// The model's price, as in the quote.
    pub rates: Rates,
    /// What was consumed.
    pub usage: Usage,
    /// How it ended.
    pub outcome: Outcome,
    /// Whose credential served it.
    pub owner: Owner,
    /// When it was admitted, as in the quote.
    pub at: Timestamp,
}

/// What a request cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// Never negative.
    pub amount: Micropoints,
    /// Why.
    pub reason: Reason,
}

/// Which way text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    Request,
    /// From the model.
    Response,
}

/// How a pattern is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// The characters themselves.
    Literal,
    /// A regular expression.
    Regex,
}

/// One pattern of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterRule {
    /// Chosen by the component; comes back in each match.
    pub id: u32,
    /// How `pattern` is read.
    pub syntax: Syntax,
    /// What to look for.
    pub pattern: String,
    /// Simple Unicode case folding.
    pub ignore_case: bool,
}

/// When a filter is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Only when a rule matched.
    OnMatch,
    /// For every request and every window.
    Always,
}

/// What the host searches natively on behalf of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterPlan {
    /// The patterns.
    pub rules: Vec<FilterRule>,
    /// When to call.
    pub trigger: Trigger,
    /// Characters of an answer that are held back; 0 leaves answers alone.
    pub response_window_chars: u32,
}

/// A rule found in a text: byte offsets, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The rule's id.
    pub rule: u32,
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

/// What to do with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Let it pass.
    Allow,
    /// Refuse the request, or end the answer.
    Block,
    /// Cover the matches that [`Verdict::mask`] names.
    Mask,
}

/// A filter's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// The rule that decided.
    pub rule: u32,
    /// With [`Action::Mask`]: indexes into the matches, each in range.
    pub mask: Vec<u32>,
}
