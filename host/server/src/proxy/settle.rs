//! The end of a request: what it used, what that costs, who pays and who earns. A plain function in a task that
//! outlives the connection; [`record`] writes down what it found.

use std::borrow::Cow;
use std::sync::Arc;

use tollgate_core::ceiling::{Ceiling, cut};
use tollgate_core::id::UserId;
use tollgate_core::lending;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{PriceRate, Rates, rounded_up};
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::receipt::Receipt;
use tollgate_core::usage::{Class, Quality, Side, Usage};
use tollgate_runtime::{Bill, Charge, Pricing, Reason};

use super::guess;
use super::meter::BYTES_PER_TOKEN;
use super::record::{self, Charged, Money};
use super::request::{Hold, Request};
use super::select::Lease;
use super::states::{Answered, Ended, Facts};
use crate::shared::Shared;

/// Times that a failed settling call is made again, each on a fresh instance.
const SETTLE_TRIES: usize = 3;

/// Settles a request that has ended: usage, charge, accounts, record, counters.
pub(crate) async fn settle(shared: &Shared, mut ended: Ended) {
    let Measured { outcome, usage, beyond } = measured(shared, &ended);
    ended.used(&usage);
    learn(shared, &ended, outcome, &usage);
    let nothing_delivered = delivered(&ended) == Some(0);
    let mut facts = ended.facts();
    if let Some(stated) = beyond {
        tell_of(shared, &mut facts, &stated, &usage);
    }
    let money = if nothing_delivered { voided(&facts) } else { money(shared, &facts, outcome, usage).await };
    let closed = record::close(shared, &facts, outcome, usage, money);
    let tried = ended.take_tried();
    // Instances, credential and generation are free before the wait.
    drop(ended);
    closed.post(shared, tried);
}

/// Remembers how long a finished answer was, and how much of that showed, and how many tokens its prompt had.
fn learn(shared: &Shared, ended: &Ended, outcome: Outcome, usage: &Usage) {
    if let Ended::Answered { answered, .. } = ended
        && outcome == Outcome::Ok
        && usage.quality == Quality::Exact
        && answered.request().call.operation.generates()
    {
        let (model, request) = (answered.model(), answered.request());
        shared.habits.note(model, usage.output_total(), answered.meter.estimated_output());
        if request.prompt.is_all_text() {
            let (text, stated) = (request.prompt.text_tokens(), usage.prompt_total());
            shared.habits.note_prompt(request.caller.user, model, text, stated);
        }
    }
}

/// What a request came to.
struct Measured {
    outcome: Outcome,
    /// What it is charged for.
    usage: Usage,
    /// What its provider stated, where that cannot be.
    beyond: Option<Usage>,
}

/// How a request ended, and what it used: by what its answer said or, where it was cut, by what passed.
fn measured(shared: &Shared, ended: &Ended) -> Measured {
    let unanswered = |outcome, usage| Measured { outcome, usage, beyond: None };
    match ended {
        Ended::Refused(_) => unanswered(Outcome::Refused, Usage::default()),
        Ended::Unanswered { attempting, outcome, .. } => {
            unanswered(*outcome, guess::unawaited(shared, attempting, *outcome))
        }
        Ended::Answered { answered, outcome } => {
            let cut = *outcome == Outcome::Ok && (answered.meter.failed() || answered.meter.ended_early());
            let outcome = if cut { Outcome::Partial } else { *outcome };
            let stated = stated(answered);
            let ceiling = ceiling(answered);
            let bounded = stated.and_then(|stated| ceiling.bounded(&stated));
            let usage = usage(shared, answered, &ceiling, bounded.or(stated), outcome);
            let counted = answered.request().counted;
            let usage = counted.map_or(usage, |counted| counted.add_to(usage, outcome));
            let usage = answered.delivered().map_or(usage, |text| as_delivered(usage, text));
            let beyond = bounded.and(stated);
            Measured { outcome: refined(outcome, answered.request().call.operation, &usage), usage, beyond }
        }
    }
}

/// Bytes of text that the client got of an answer, where the gateway is to blame that it got no more.
fn delivered(ended: &Ended) -> Option<u64> {
    match ended {
        Ended::Answered { answered, .. } => answered.delivered(),
        Ended::Refused(_) | Ended::Unanswered { .. } => None,
    }
}

/// What the client got of an answer that the gateway failed to deliver: its prompt was of use for so much text. Nobody
/// pays for what of the answer was lost.
fn as_delivered(usage: Usage, text_bytes: u64) -> Usage {
    if text_bytes == 0 {
        return Usage::default();
    }
    let mut usage = usage;
    cut(&mut usage, Side::Output, &mut text_bytes.div_ceil(BYTES_PER_TOKEN));
    usage.quality = Quality::Estimated;
    usage
}

/// What the provider says that was used.
fn stated(answered: &Answered) -> Option<Usage> {
    let lease = answered.lease();
    let (adapter, call) = (&lease.upstream.adapter, lease.upstream_call);
    let read = |samples: Vec<u8>| adapter.read_usage(call.protocol, call.operation, &samples).ok();
    let stated = answered.meter.samples().and_then(read).filter(|usage| usage.quality != Quality::Missing)?;
    Some(with_unstated(stated, answered))
}

/// The same with what no answer states: that a model which searches by itself has done so, and that a region was chosen
/// with the credential.
fn with_unstated(mut usage: Usage, answered: &Answered) -> Usage {
    let (lease, searches) = (answered.lease(), answered.request().searches);
    if lease.upstream_call.protocol == Protocol::OpenaiChat {
        usage[Class::WebSearch] = usage[Class::WebSearch].max(searches);
    }
    let tier = if lease.regional { usage.tier.in_region() } else { usage.tier };
    usage.at_tier(tier)
}

/// What can have been used, by what passed.
fn ceiling(answered: &Answered) -> Ceiling {
    let (meter, request) = (&answered.meter, answered.request());
    Ceiling {
        request_bytes: request.body_bytes,
        prompt_estimate: request.input_estimate,
        output_limit: request.output_limit,
        model_max: answered
            .hold()
            .map(|hold| hold.priced.price.output_tokens_max.saturating_mul(hold.cover.answers)),
        answer_bytes: meter.bytes(),
        output_estimate: meter.estimated_output(),
    }
}

/// Says that a provider stated what cannot be: in the log, in the counters and in the request's record.
fn tell_of(shared: &Shared, facts: &mut Facts<'_>, stated: &Usage, charged: &Usage) {
    let differs = |class: &Class| stated[*class] != charged[*class];
    let told: Vec<String> = Class::ALL
        .into_iter()
        .filter(differs)
        .map(|class| format!("{} {}, taken for {}", class.name(), stated[class], charged[class]))
        .collect();
    let told = format!("the provider stated what cannot be: {}", told.join("; "));
    let provider = facts.lease.map_or("", |lease| &lease.upstream.name);
    tracing::warn!(request = %facts.request.id, provider, model = %facts.model, told);
    shared.metrics.usage_bounded();
    facts.error = Some(Cow::Owned(match facts.error.take() {
        Some(error) => format!("{error}; {told}"),
        None => told,
    }));
}

fn usage(
    shared: &Shared,
    answered: &Answered,
    ceiling: &Ceiling,
    stated: Option<Usage>,
    outcome: Outcome,
) -> Usage {
    let (meter, request, shown) = (&answered.meter, answered.request(), ceiling.made());
    let prompt = || guess::prompt(shared, request, answered.model());
    let unshown = || guess::unshown(shared, answered, outcome).min(ceiling.most() - shown);
    let cut = !matches!(outcome, Outcome::Ok | Outcome::Empty);
    match stated {
        Some(usage) if !cut => with_both_sides(usage, shown, prompt),
        Some(usage) => {
            // Where it said that it was whole, or what was hidden, what it stated is all of it; so is what stands in an
            // answer that is none of events.
            let all = !request.call.streaming || meter.ended() || usage[Class::Reasoning] > 0;
            let hidden = if all { 0 } else { unshown() };
            at_least_what_passed(with_both_sides(usage, shown, prompt), shown, hidden)
        }
        None if request.call.operation.generates()
            && meter.estimated_output() == 0
            && outcome != Outcome::CancelledAfterFirstByte =>
        {
            unread(answered, outcome, ceiling.most(), prompt)
        }
        // Embeddings have no text to tell by, and Gemini states no usage for them: what came back for them was paid by
        // its input.
        None => Usage::of(
            Quality::Estimated,
            &[(Class::Input, prompt()), (Class::Output, shown), (Class::Reasoning, unshown())],
        ),
    }
}

/// A side that was not stated is what passed of it: a provider that counts one side bills for both.
fn with_both_sides(mut usage: Usage, shown: u64, prompt: impl Fn() -> u64) -> Usage {
    if usage.quality == Quality::Estimated {
        if usage.prompt_total() == 0 {
            usage[Class::Input] = prompt();
        }
        if usage.output_total() == 0 {
            usage[Class::Output] = shown;
        }
    }
    usage
}

/// The usage of an answer that states none and in which no text was found. It was an answer all the same: its prompt
/// was taken, and in an encoding in which no text can be found its bytes bound its output. Of one that failed, or was
/// left, nothing is known, and nothing is made up.
fn unread(answered: &Answered, outcome: Outcome, most: u64, prompt: impl Fn() -> u64) -> Usage {
    let meter = &answered.meter;
    if !matches!(outcome, Outcome::Ok | Outcome::Partial) || meter.failed() {
        return Usage::default();
    }
    let output = (Class::Output, meter.illegible_output().min(most));
    Usage::of(Quality::Estimated, &[(Class::Input, prompt()), output])
}

/// A stream that was cut may have stated its output before it grew, and before what of it was `hidden`.
fn at_least_what_passed(usage: Usage, shown: u64, hidden: u64) -> Usage {
    let missing = shown.saturating_sub(usage.output_total());
    if missing == 0 && hidden == 0 {
        return usage;
    }
    let output = usage[Class::Output].saturating_add(missing);
    let reasoning = usage[Class::Reasoning].saturating_add(hidden);
    let mut usage = usage.with(Class::Output, output).with(Class::Reasoning, reasoning);
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
        (Some(hold), Some(lease)) if was_asked(outcome, &usage) => {
            let owner = lease.credential().owner;
            let rates = hold.priced.rates(&usage);
            let bill = Bill { rates, usage, outcome, owner, at: facts.request.at };
            Money::Charged(charged(shared, facts, hold, lease, &bill).await)
        }
        _ => voided(facts),
    }
}

/// Gives back what is held.
fn voided(facts: &Facts<'_>) -> Money {
    facts.hold.map_or(Money::Free, |hold| {
        hold.granted.void();
        Money::Voided(hold.granted.booked())
    })
}

/// Whether a provider was asked for anything that may cost something.
fn was_asked(outcome: Outcome, usage: &Usage) -> bool {
    match outcome {
        Outcome::Refused => false,
        Outcome::CancelledBeforeFirstByte => usage.quality != Quality::Missing,
        _ => true,
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
        default_price: hold.priced.default_price.as_deref().map(str::to_owned),
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
    let settlement = hold.granted.settle(charge.amount).await;
    Charged {
        booked: hold.granted.booked(),
        amount: charge.amount,
        settlement,
        component,
        receipt: receipt.canonical_bytes(),
        earned: earned(shared, request, hold, lease, bill, settlement.paid()),
    }
}

/// Credits whoever lent the credential with their part of what the call costs, and of what was paid for it where that
/// is less: what nobody paid nobody earns.
fn earned(
    shared: &Shared,
    request: &Request,
    hold: &Hold,
    lease: &Lease,
    bill: &Bill,
    paid: Micropoints,
) -> Option<(UserId, Micropoints)> {
    let lender = lease.credential().lender.as_ref()?;
    let pricing = request.policies.pricing.as_ref()?;
    let cost = published_charge(shared, request, hold, bill, paid);
    let earned = lending::earned(cost.min(paid), pricing.plan().rewards.lender_ppm);
    if earned <= Micropoints::ZERO {
        return None;
    }
    if let Err(error) = shared.accounts.credit(lender.user, &lender.account, earned) {
        tracing::error!(%error, user = %lender.user, "a lender's earning does not fit their account");
        return None;
    }
    Some((lender.user, earned))
}

/// What a call costs somebody without a price rate of their own, where the payer's rate is above it: what a lender
/// earns a part of. A lender sees the tokens of each use and what it earned them, and must not gain by what one payer
/// pays more.
fn published_charge(
    shared: &Shared,
    request: &Request,
    hold: &Hold,
    bill: &Bill,
    paid: Micropoints,
) -> Micropoints {
    if hold.priced.rate.ppm() <= PriceRate::FULL.ppm() {
        return paid;
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
