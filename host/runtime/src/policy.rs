//! Policies: key selection, pricing and content filtering, each behind a typed call that also checks what no type can.

use std::sync::Arc;

use tollgate_core::hold::{Quote, RatedHold};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::price::Rates;
use tollgate_core::protocol::Owner;
pub use tollgate_core::receipt::Reason;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Usage;

use crate::bindings::filter_world::ContentFilter;
use crate::bindings::pricing_world::PricingPolicy;
use crate::bindings::selector_world::KeySelector;
use crate::bindings::{wit_filter, wit_selector};
use crate::error::{CallError, Digest, Fault, FaultKind};
use crate::unit::Unit;

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
    /// Millionths of what a call costs at the published prices that the owner of the shared credential behind it earns.
    pub lender_ppm: u32,
}

/// Parts of a whole charge.
const PPM: u32 = 1_000_000;

impl PricingPlan {
    /// What cannot be run, in words for the operator.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.rewards.first_credential < Micropoints::ZERO || self.rewards.lender_ppm > PPM {
            return Err(format!("its rewards are out of range: {:?}", self.rewards));
        }
        match self.hold {
            HoldRule::Rated(RatedHold { minimum, .. }) if minimum < Micropoints::ZERO => {
                Err(format!("a minimum hold of {} micro-points is negative", minimum.get()))
            }
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

/// The key selector of a generation.
#[derive(Debug)]
pub struct Selector {
    pub(crate) unit: Arc<Unit<KeySelector>>,
}

impl Selector {
    /// Digest of the component.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.unit.digest()
    }

    /// The handle of the candidate to use, or `None` to refuse the request. Called once per attempt with one to 64
    /// candidates.
    ///
    /// # Errors
    /// When the component failed or named a handle that is not among the candidates.
    pub fn select(&self, request: SelectRequest, candidates: &[Candidate]) -> Result<Option<u32>, CallError> {
        let request = wit_selector::Request { seed: request.seed, attempt: request.attempt };
        self.unit.call(|world, store| {
            let list: Vec<wit_selector::Candidate> = candidates.iter().map(Into::into).collect();
            let chosen = world.tollgate_plugin_key_selection().call_select(store, request, &list)?;
            Ok(check_choice(chosen, candidates))
        })
    }
}

/// Lets a choice through only when it was offered.
pub(crate) fn check_choice(chosen: Option<u32>, candidates: &[Candidate]) -> Result<Option<u32>, Fault> {
    match chosen {
        Some(handle) if !candidates.iter().any(|candidate| candidate.handle == handle) => {
            Err(Fault::guest(format!("it chose handle {handle}, which is no candidate")))
        }
        chosen => Ok(chosen),
    }
}

/// The pricing policy of a generation.
#[derive(Debug)]
pub struct Pricing {
    pub(crate) unit: Arc<Unit<PricingPolicy>>,
    pub(crate) plan: PricingPlan,
}

impl Pricing {
    /// Digest of the component, stored in receipts.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.unit.digest()
    }

    /// Digest of its configuration, stored in receipts.
    #[must_use]
    pub fn config_digest(&self) -> Digest {
        self.unit.config_digest()
    }

    /// What the host does natively.
    #[must_use]
    pub const fn plan(&self) -> &PricingPlan {
        &self.plan
    }

    /// The most that a request may cost: by the plan's rule, or else by a call. Called once per request before dispatch.
    ///
    /// # Errors
    /// When the component failed or asked for a negative amount. Also while its breaker is open, whatever its plan: it
    /// could not settle what is admitted now.
    pub fn hold(&self, quote: &Quote) -> Result<Micropoints, CallError> {
        match self.plan.hold {
            HoldRule::Rated(rule) => self.unit.awake().map(|()| rule.amount(quote)),
            HoldRule::Ask => self.ask_hold(quote),
        }
    }

    fn ask_hold(&self, quote: &Quote) -> Result<Micropoints, CallError> {
        self.unit.call(|world, store| {
            let amount = world.tollgate_plugin_pricing().call_hold(store, quote.into())?;
            Ok(not_negative(amount).map(Micropoints::new))
        })
    }

    /// What a request cost. Called once per request after it ended. A request that the gateway refused is free without
    /// asking.
    ///
    /// # Errors
    /// When the component failed or charged a negative amount.
    pub fn settle(&self, bill: &Bill) -> Result<Charge, CallError> {
        if bill.outcome == Outcome::Refused {
            return Ok(Charge { amount: Micropoints::ZERO, reason: Reason::Free });
        }
        self.unit.call(|world, store| {
            let charge = world.tollgate_plugin_pricing().call_settle(store, bill.into())?;
            Ok(not_negative(charge.amount).map(|_| charge.into()))
        })
    }
}

fn not_negative(amount: i64) -> Result<i64, Fault> {
    if amount < 0 { Err(Fault::guest(format!("{amount} micro-points are negative"))) } else { Ok(amount) }
}

/// The content filter of a generation.
#[derive(Debug)]
pub struct Filter {
    pub(crate) unit: Arc<Unit<ContentFilter>>,
    pub(crate) plan: FilterPlan,
}

impl Filter {
    /// Digest of the component.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.unit.digest()
    }

    /// What the host searches natively.
    #[must_use]
    pub const fn plan(&self) -> &FilterPlan {
        &self.plan
    }

    /// What to do with `text`, in which `matches` were found (sorted by start, at most 256). Called as the plan's trigger
    /// says.
    ///
    /// # Errors
    /// When the component failed or its mask names matches that do not exist.
    pub fn inspect(&self, direction: Direction, text: &str, matches: &[Found]) -> Result<Verdict, CallError> {
        self.unit.vitals.count_bytes(text.len());
        self.unit.call(|world, store| {
            let list: Vec<wit_filter::Found> = matches.iter().map(Into::into).collect();
            let verdict =
                world.tollgate_plugin_filtering().call_inspect(store, direction.into(), text, &list)?;
            Ok(check_verdict(verdict, matches.len()))
        })
    }
}

fn check_verdict(verdict: wit_filter::Verdict, matches: usize) -> Result<Verdict, Fault> {
    if verdict.mask.len() > matches {
        let masks = verdict.mask.len();
        return Err(Fault::new(FaultKind::Oversize, format!("it masked {masks} of {matches} matches")));
    }
    match verdict.mask.iter().find(|&&index| index as usize >= matches) {
        Some(index) => Err(Fault::guest(format!("it masked match {index} of {matches}"))),
        None => Ok(verdict.into()),
    }
}
