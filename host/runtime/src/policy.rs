//! Policies: key selection, pricing and content filtering, each behind a typed call that also checks what no type can.

use std::sync::Arc;

use tollgate_core::hold::Quote;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::{CHARGE_MAX, Micropoints};
use tollgate_core::price::rounded_up;
use wasmtime::Store;

use crate::bindings::filter_world::ContentFilter;
use crate::bindings::selector_world::KeySelector;
use crate::bindings::{wit_filter, wit_selector};
use crate::digest::Digest;
use crate::error::{CallError, Fault, FaultKind};
use crate::plan::policy::{
    Bill, Candidate, Charge, Direction, FilterPlan, Found, HoldRule, PricingPlan, Reason, SelectRequest,
    Verdict,
};
use crate::pricing::PricingWorld;
use crate::purity;
use crate::state::State;
use crate::unit::Unit;

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
    pub(crate) unit: Arc<Unit<PricingWorld>>,
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

    /// The most that a request may cost: by the plan's rule, or else by a call. Called once per request before
    /// dispatch. It is [`CHARGE_MAX`] at most, as a charge is.
    ///
    /// # Errors
    /// When the component failed or asked for a negative amount. Also while its breaker is open, whatever its plan: it
    /// could not settle what is admitted now.
    pub fn hold(&self, quote: &Quote) -> Result<Micropoints, CallError> {
        let amount = match self.plan.hold {
            HoldRule::Rated(rule) => self.unit.awake().map(|()| rule.amount(quote)),
            HoldRule::Ask => self.ask_hold(quote),
        };
        amount.map(|amount| amount.min(CHARGE_MAX))
    }

    fn ask_hold(&self, quote: &Quote) -> Result<Micropoints, CallError> {
        self.unit.call(|world, store| {
            let amount = world.hold(store, quote)?;
            Ok(not_negative(amount).map(Micropoints::new))
        })
    }

    /// What a request cost. Called once per request after it ended. A request that the gateway refused is free without
    /// asking.
    ///
    /// # Errors
    /// When the component failed or charged a negative amount or more than [`CHARGE_MAX`], or is found to remember
    /// earlier requests.
    pub fn settle(&self, bill: &Bill) -> Result<Charge, CallError> {
        if bill.outcome == Outcome::Refused {
            return Ok(Charge { amount: Micropoints::ZERO, reason: Reason::Free });
        }
        let charge = self.unit.call(|world, store| {
            let charge = settle(world, store, bill)?;
            Ok(charge.and_then(|charge| bounded(charge, bill)))
        })?;
        // What was bounded is not what the component said.
        if charge.amount < CHARGE_MAX && purity::is_compared(&self.unit) {
            purity::compare(&self.unit, bill, &charge).map_err(|fault| self.unit.vitals.fail(fault))?;
        }
        Ok(charge)
    }

    /// What a request of an earlier time costs: for whoever computes a charge again. Faults of earlier bills have no
    /// say in it.
    ///
    /// # Errors
    /// As [`Pricing::settle`], for this bill alone.
    pub fn recompute(&self, bill: &Bill) -> Result<Charge, CallError> {
        if bill.outcome == Outcome::Refused {
            return Ok(Charge { amount: Micropoints::ZERO, reason: Reason::Free });
        }
        self.unit.consult(|world, store| settle(world, store, bill))
    }
}

/// Settles a bill on an instance.
fn settle(
    world: &PricingWorld,
    store: &mut Store<State>,
    bill: &Bill,
) -> wasmtime::Result<Result<Charge, Fault>> {
    let charge = world.settle(store, bill)?;
    Ok(not_negative(charge.amount.get()).map(|_| charge))
}

/// A charge that one call can cost. Where the prices themselves say more, the prices are at fault and not the
/// component.
fn bounded(charge: Charge, bill: &Bill) -> Result<Charge, Fault> {
    if charge.amount <= CHARGE_MAX {
        return Ok(charge);
    }
    if rounded_up(bill.rates.cost(&bill.usage)) >= CHARGE_MAX {
        return Ok(Charge { amount: CHARGE_MAX, ..charge });
    }
    Err(Fault::guest(format!("{} micro-points are more than one call can cost", charge.amount.get())))
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

    /// What to do with `text`, in which `matches` were found (sorted by start, at most 256). Called as the plan's
    /// trigger says.
    ///
    /// # Errors
    /// When the component failed or its mask names matches that do not exist.
    pub fn inspect(&self, direction: Direction, text: &str, matches: &[Found]) -> Result<Verdict, CallError> {
        let inspect = |world: &ContentFilter, store: &mut Store<State>, text: &str, matches: &[Found]| {
            let list: Vec<wit_filter::Found> = matches.iter().map(Into::into).collect();
            let verdict =
                world.tollgate_plugin_filtering().call_inspect(store, direction.into(), text, &list)?;
            Ok(check_verdict(verdict, matches.len()))
        };
        // A small text in which the same rule matched.
        let ordinary = matches.first().map(|first| Found { rule: first.rule, start: 0, end: 2 });
        self.unit.call_with(
            text.len(),
            |world, store| inspect(world, store, text, matches),
            |world, store| Ok(inspect(world, store, "hi", ordinary.as_slice())?.map(drop)),
        )
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
