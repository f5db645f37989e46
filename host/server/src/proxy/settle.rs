//! The end of a request: what it used, what that costs, who pays and who earns. A plain function in a task that
//! outlives the connection; [`record`] writes down what it found.

use std::sync::Arc;

use tollgate_core::id::UserId;
use tollgate_core::lending;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{PriceRate, Rates, rounded_up};
use tollgate_core::protocol::Operation;
use tollgate_core::receipt::Receipt;
use tollgate_core::usage::{Class, Quality, Usage};
use tollgate_runtime::{Bill, Charge, Pricing, Reason};

use super::meter::Meter;
use super::record::{self, Charged, Money};
use super::request::{Hold, Request};
use super::select::Lease;
use super::states::{Answered, Ended, Facts};
use crate::shared::Shared;

/// Times that a failed settling call is made again, each on a fresh instance.
const SETTLE_TRIES: usize = 3;

/// Settles a request that has ended: usage, charge, accounts, record, counters.
pub(crate) async fn settle(shared: &Shared, mut ended: Ended) {
    let (outcome, usage) = measured(&ended);
    ended.used(&usage);
    let facts = ended.facts();
    let money = money(shared, &facts, outcome, usage).await;
    let closed = record::close(shared, &facts, outcome, usage, money);
    let tried = ended.take_tried();
    // Instances, credential and generation are free before the wait.
    drop(ended);
    closed.post(shared, tried);
}

/// How a request ended, and what it used: by what its answer said or, where it was cut, by what passed.
fn measured(ended: &Ended) -> (Outcome, Usage) {
    match ended {
        Ended::Refused(_) => (Outcome::Refused, Usage::default()),
        Ended::Unanswered { outcome, .. } => (*outcome, Usage::default()),
        Ended::Answered { answered, outcome } => {
            let cut = *outcome == Outcome::Ok && (answered.meter.failed() || answered.meter.ended_early());
            let outcome = if cut { Outcome::Partial } else { *outcome };
            let usage = usage(answered, outcome);
            (refined(outcome, answered.request().call.operation, &usage), usage)
        }
    }
}

fn usage(answered: &Answered, outcome: Outcome) -> Usage {
    let (meter, lease, request) = (&answered.meter, answered.lease(), answered.request());
    let (adapter, call) = (&lease.upstream.adapter, lease.upstream_call);
    let stated = meter
        .samples()
        .and_then(|samples| adapter.read_usage(call.protocol, call.operation, &samples).ok())
        .filter(|usage| usage.quality != Quality::Missing);
    let cut = !matches!(outcome, Outcome::Ok | Outcome::Empty);
    match stated {
        Some(usage) if !cut => usage,
        Some(usage) => at_least_what_passed(usage, meter),
        // Nothing of what passed was an answer: nothing is known, and nothing is made up. Embeddings have no text to
        // tell by, and Gemini states no usage for them: what came back for them was paid by its input.
        None if request.call.operation.generates() && meter.estimated_output() == 0 => Usage::default(),
        None => Usage::of(
            Quality::Estimated,
            &[(Class::Input, request.input_estimate), (Class::Output, meter.estimated_output())],
        ),
    }
}

/// A stream that was cut may have stated its output before it grew.
fn at_least_what_passed(usage: Usage, meter: &Meter) -> Usage {
    let missing = meter.estimated_output().saturating_sub(usage.output_total());
    if missing == 0 {
        return usage;
    }
    let mut usage = usage.with(Class::Output, usage[Class::Output] + missing);
    usage.quality = Quality::Estimated;
    usage
}

/// What an answer that ended in order really was: one without content is empty, and one in which nothing could be read
/// is partial.
fn refined(outcome: Outcome, operation: Operation, usage: &Usage) -> Outcome {
    if outcome != Outcome::Ok || !operation.billed() {
        return outcome;
    }
    match usage.quality {
        Quality::Missing => Outcome::Partial,
        Quality::Exact if operation.generates() && usage.output_total() == 0 => Outcome::Empty,
        Quality::Exact | Quality::Estimated => Outcome::Ok,
    }
}

/// Charges what a provider was asked for; all else is given back.
async fn money(shared: &Shared, facts: &Facts<'_>, outcome: Outcome, usage: Usage) -> Money {
    match (facts.hold, facts.lease) {
        (Some(hold), Some(lease)) if outcome != Outcome::Refused => {
            let owner = lease.credential().owner;
            let rates = hold.priced.rates(&usage);
            let bill = Bill { rates, usage, outcome, owner, at: facts.request.at };
            Money::Charged(charged(shared, facts, hold, lease, &bill).await)
        }
        (Some(hold), _) => {
            hold.granted.void();
            Money::Voided(hold.granted.amount())
        }
        (None, _) => Money::Free,
    }
}

/// Charges the caller's account, and credits whoever lent the credential.
async fn charged(shared: &Shared, facts: &Facts<'_>, hold: &Hold, lease: &Lease, bill: &Bill) -> Charged {
    let Facts { request, model, .. } = facts;
    let held = hold.granted.amount();
    let Priced { charge, component, config } = price(shared, request, bill, held);
    let receipt = Receipt {
        request: request.id,
        user: request.caller.user,
        model: model.to_string(),
        price_version: hold.priced.version,
        pricing_component: component,
        config_digest: config,
        owner: bill.owner,
        rates: *hold.priced.price.rates(bill.usage.prompt_total()),
        usage: bill.usage,
        outcome: bill.outcome,
        admitted_at: request.at,
        charge: charge.amount,
        price_rate: hold.priced.rate,
        tier_ppm: hold.priced.price.tiers.ppm(bill.usage.tier),
        held: Some(held),
        reason: Some(charge.reason),
    };
    Charged {
        held,
        amount: charge.amount,
        settlement: hold.granted.settle(charge.amount).await,
        component,
        receipt: receipt.canonical_bytes(),
        earned: earned(shared, request, hold, lease, bill, charge.amount),
    }
}

/// Credits whoever lent the credential with their part of what the call costs.
fn earned(
    shared: &Shared,
    request: &Request,
    hold: &Hold,
    lease: &Lease,
    bill: &Bill,
    charge: Micropoints,
) -> Option<(UserId, Micropoints)> {
    let lender = lease.credential().lender.as_ref()?;
    let pricing = request.policies.pricing.as_ref()?;
    let cost = published_charge(shared, request, hold, bill, charge);
    let earned = lending::earned(cost, pricing.plan().rewards.lender_ppm);
    if earned <= Micropoints::ZERO {
        return None;
    }
    if let Err(error) = shared.accounts.credit(lender.user, &lender.account, earned) {
        tracing::error!(%error, user = %lender.user, "a lender's earning does not fit their account");
        return None;
    }
    Some((lender.user, earned))
}

/// What a call costs somebody without a price rate of their own: what a lender earns a part of. A lender sees the
/// tokens of each use and what it earned them, and could tell the rate of whoever used the key if the part were one of
/// that user's charge.
fn published_charge(
    shared: &Shared,
    request: &Request,
    hold: &Hold,
    bill: &Bill,
    charge: Micropoints,
) -> Micropoints {
    if hold.priced.rate == PriceRate::FULL {
        return charge;
    }
    let rates = hold.priced.published(&bill.usage);
    price(shared, request, &Bill { rates, ..*bill }, hold.granted.amount()).charge.amount
}

/// A charge, and the component that named it.
struct Priced {
    charge: Charge,
    /// Digest of the component; zeros when the gateway's own rule was used.
    component: [u8; 32],
    /// Digest of its configuration.
    config: [u8; 32],
}

/// The charge for a call, by the component that was pinned for it, or else by the last one that priced well.
fn price(shared: &Shared, request: &Request, bill: &Bill, held: Micropoints) -> Priced {
    let own = request.policies.pricing.as_ref();
    let last_good = shared.last_good.load();
    let is_own = |other: &Arc<Pricing>| own.is_some_and(|own| Arc::ptr_eq(own, other));
    let other = last_good.as_ref().filter(|other| !is_own(other));
    let priced = charge(own.map(Arc::as_ref), other.map(Arc::as_ref), bill, held);
    let named = |own: &&Arc<Pricing>| {
        (own.digest().as_bytes(), own.config_digest().as_bytes()) == (&priced.component, &priced.config)
    };
    if let Some(own) = own.filter(named)
        && !last_good.as_ref().is_some_and(is_own)
    {
        shared.last_good.store(Some(Arc::clone(own)));
    }
    priced
}

/// The charge by the first of two components that names one, or else by the prices themselves.
fn charge(own: Option<&Pricing>, last_good: Option<&Pricing>, bill: &Bill, held: Micropoints) -> Priced {
    for pricing in own.into_iter().flat_map(|own| std::iter::repeat_n(own, SETTLE_TRIES)).chain(last_good) {
        match pricing.settle(bill) {
            Ok(charge) => {
                let (component, config) = (*pricing.digest().as_bytes(), *pricing.config_digest().as_bytes());
                return Priced { charge, component, config };
            }
            Err(error) => tracing::error!(error = %error, "pricing failed after dispatch"),
        }
    }
    let charge = Charge { amount: fallback(&bill.rates, &bill.usage, held), reason: Reason::Full };
    Priced { charge, component: [0; 32], config: [0; 32] }
}

/// What is charged where no component priced: the prices themselves, but never more than was reserved.
pub(crate) fn fallback(rates: &Rates, usage: &Usage, hold: Micropoints) -> Micropoints {
    rounded_up(rates.cost(usage)).min(hold)
}
