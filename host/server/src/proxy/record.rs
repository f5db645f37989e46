//! Step 10: what a request leaves behind. The hold before dispatch and the settlement with its record after it are the only
//! two things that the road hands to the database, and it waits for the first alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::RequestId;
use tollgate_core::ledger::Settlement;
use tollgate_core::lending;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{PriceRate, Rates};
use tollgate_core::protocol::Owner;
use tollgate_core::receipt::Receipt;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Usage;
use tollgate_runtime::Bill;
use tollgate_store::{Attempt, Borrowed, Components, Entry, RequestRecord, WriteError};

use super::charge::{self, Pending, Priced, Settled, Ticket};
use super::lane::Lane;
use super::select::Lease;
use crate::clock::now;
use crate::routing::snapshot::RoutingSnapshot;
use crate::shared::Shared;
use crate::state::directory::Caller;
use crate::state::trace::{self, Trial, detail};
use crate::telemetry;

/// Writes a hold and waits until it is durable.
///
/// # Errors
/// When it could not be written; the request must not be sent then.
pub(crate) async fn hold(
    lane: &Lane,
    model: &Arc<str>,
    caller: &Caller,
    request: RequestId,
    amount: Micropoints,
    at: Timestamp,
) -> Result<(), WriteError> {
    let entry = Entry::Hold { request, user: caller.user, amount, model: Arc::clone(model), at };
    lane.durable.commit(entry).await
}

/// Notes that a lent credential is about to be used, so that no use is forgotten, whatever becomes of this process. Does
/// nothing for others. Says whether it is written; the request must not be sent where it is not.
pub(crate) fn borrow(lane: &Lane, pending: &Pending, lease: &mut Lease) -> bool {
    if let Some(lender) = &lease.credential().lender {
        let borrowed = Borrowed {
            request: pending.id,
            attempt: pending.attempts,
            credential: lease.credential().id,
            lender: lender.user,
            model: Arc::clone(&pending.model),
            at: lease.taken_at(),
        };
        if let Err(error) = lane.shared.writer.append(Entry::Borrow(Box::new(borrowed))) {
            tracing::error!(%error, request = %pending.id, "the use of a lent credential could not be written");
            return false;
        }
    }
    lease.sent();
    true
}

/// What attempts met, in their order.
pub(crate) type Tries = Vec<Attempt>;

/// Notes how an attempt went, up to the first byte of its answer.
pub(crate) fn note_attempt(
    ticket: &mut Ticket,
    lease: &Lease,
    status: Option<u16>,
    failure: Option<FailureClass>,
    begun: Instant,
) {
    if let Some(pending) = ticket.pending() {
        let took_ms = millis(begun.elapsed());
        trace::note(
            "forward",
            || detail!({"status": status, "failure": failure.map(FailureClass::name), "first_byte_ms": took_ms}),
        );
        pending.tries.push(Attempt { credential: lease.credential().id, status, failure, took_ms });
    }
}

/// Settles a request that has ended: usage, charge, account, record, counters.
pub(crate) fn settle(shared: &Shared, mut pending: Box<Pending>) {
    let (outcome, usage) = charge::measured(&pending);
    if let Some(key_permit) = &mut pending.key_permit {
        key_permit.settle(pending.operation, &usage);
    }
    let billed = pending.operation.billed();
    if let Some(lease) = &mut pending.lease {
        lease.settle(if billed { usage.prompt_total().saturating_add(usage.output_total()) } else { 0 });
    }
    let mut record = record(&pending, outcome, usage);
    let user = pending.caller.user;
    let at = now();
    let entry = match (pending.hold, &pending.priced) {
        (Some(held), Some(priced)) if pending.lease.is_some() && outcome != Outcome::Refused => {
            let settlement = charged(shared, &pending, priced, held, &mut record);
            Entry::Settle { request: pending.id, user, held, settlement, at, record: Box::new(record) }
        }
        (Some(held), _) => {
            pending.caller.account.lock().void(held);
            Entry::Void { request: pending.id, user, held, at, record: Box::new(record) }
        }
        (None, _) => Entry::Record(Box::new(record)),
    };
    let charge = match &entry {
        Entry::Settle { record, .. } => record.charge,
        _ => Micropoints::ZERO,
    };
    if let Entry::Settle { record, .. } | Entry::Void { record, .. } | Entry::Record(record) = &entry {
        telemetry::transaction(record);
    }
    log(&pending, outcome, charge);
    shared.metrics.ended(outcome, &usage, charge, pending.started.elapsed(), pending.first_byte);
    let (id, attempts) = (pending.id, std::mem::take(&mut pending.tries));
    if let Some(trial) = &pending.trial {
        told(trial, &entry);
    }
    let entry = earning(shared, &pending, entry);
    // Instances, credential and generation are free before the wait.
    drop(pending);
    // One attempt that went well is told by the record itself.
    if (attempts.len() > 1 || attempts.iter().any(|attempt| attempt.failure.is_some()))
        && let Err(error) = shared.writer.post(Entry::Attempts { request: id, attempts })
    {
        tracing::error!(%error, request = %id, "the attempts of a request could not be written");
    }
    if let Err(error) = shared.writer.post(entry) {
        tracing::error!(%error, request = %id, "a settlement could not be written; the next start resolves its hold");
    }
}

/// Tells an admin what became of the request that he tried.
fn told(trial: &Trial, entry: &Entry) {
    let (record, settlement) = match entry {
        Entry::Settle { record, settlement, .. } => (record, Some(settlement)),
        Entry::Void { record, .. } | Entry::Record(record) => (record, None),
        _ => return,
    };
    let usage = &record.usage;
    trial.note(
        "relay",
        detail!({
            "status": record.status, "outcome": record.outcome.name(), "attempts": record.attempts,
            "ttft_ms": record.ttft_ms, "latency_ms": record.latency_ms, "error": record.error,
        }),
    );
    trial.note(
        "meter",
        detail!({
            "quality": usage.quality.name(), "prompt": usage.prompt_total(), "cache_read": usage.cache_read,
            "output": usage.output_total(), "reasoning": usage.reasoning,
        }),
    );
    let overrun = settlement.map(|settlement| settlement.overrun.to_string());
    trial.note(
        "charge",
        detail!({
            "held": record.hold.to_string(), "points": record.charge.to_string(), "overrun": overrun,
            "price_version": record.price_version, "account": trace::ACCOUNT,
        }),
    );
}

/// Puts what the lender of the credential earns beside the settlement, where one served.
fn earning(shared: &Shared, pending: &Pending, entry: Entry) -> Entry {
    let lender = pending.lease.as_ref().and_then(|lease| lease.credential().lender.as_ref());
    let (Some(lender), Some(pricing), Entry::Settle { record, held, .. }) =
        (lender, pending.snapshot.generation.pricing(), &entry)
    else {
        return entry;
    };
    let cost = published_charge(shared, pending, record, *held);
    let earned = lending::earned(cost, pricing.plan().rewards.lender_ppm);
    if earned <= Micropoints::ZERO {
        return entry;
    }
    if let Err(error) = lender.account.lock().credit(earned) {
        tracing::error!(%error, user = %lender.user, "a lender's earning does not fit his account");
        return entry;
    }
    Entry::Lent { settle: Box::new(entry), lender: lender.user, earned }
}

/// What a call costs somebody without a price rate of his own: what a lender earns a part of. He sees the tokens of each use
/// and what it earned him, and could tell the rate of whoever used his key if his part were one of that user's charge.
fn published_charge(
    shared: &Shared,
    pending: &Pending,
    record: &RequestRecord,
    held: Micropoints,
) -> Micropoints {
    match &pending.priced {
        Some(priced) if priced.rate != PriceRate::FULL => {
            let rates = *priced.price.rates(record.usage.prompt_total());
            price(shared, pending, &bill(pending, rates, record), held).charge.amount
        }
        _ => record.charge,
    }
}

/// What the pricing policy is told of a call that has ended.
fn bill(pending: &Pending, rates: Rates, record: &RequestRecord) -> Bill {
    let owner = pending.lease.as_ref().map_or(Owner::Platform, |lease| lease.credential().owner);
    Bill { rates, usage: record.usage, outcome: record.outcome, owner, at: pending.admitted_at }
}

/// Charges the account and completes the record with what the charge rests on.
fn charged(
    shared: &Shared,
    pending: &Pending,
    priced: &Priced,
    held: Micropoints,
    record: &mut RequestRecord,
) -> Settlement {
    let bill = bill(pending, priced.rates(record.usage.prompt_total()), record);
    let Settled { charge, component, config } = price(shared, pending, &bill, held);
    record.charge = charge.amount;
    record.components.pricing = Some(component);
    let receipt = Receipt {
        request: pending.id,
        user: pending.caller.user,
        model: pending.model.to_string(),
        price_version: priced.version,
        pricing_component: component,
        config_digest: config,
        owner: bill.owner,
        rates: *priced.price.rates(record.usage.prompt_total()),
        usage: bill.usage,
        outcome: bill.outcome,
        admitted_at: pending.admitted_at,
        charge: charge.amount,
        price_rate: priced.rate,
        held: Some(held),
        reason: Some(charge.reason),
    };
    record.receipt = Some(receipt.canonical_bytes());
    pending.caller.account.lock().settle(held, charge.amount)
}

/// Asks the request's own generation, then the last one that priced well.
fn price(shared: &Shared, pending: &Pending, bill: &Bill, held: Micropoints) -> Settled {
    let own = &pending.snapshot.generation;
    let last_good = shared.last_good.load();
    let other = last_good.as_ref().filter(|other| !Arc::ptr_eq(other, own));
    let settled = charge::settle(
        own.pricing().map(Arc::as_ref),
        other.and_then(|other| other.pricing()).map(Arc::as_ref),
        bill,
        held,
    );
    let by_own = own.pricing().is_some_and(|pricing| *pricing.digest().as_bytes() == settled.component);
    if by_own && last_good.as_ref().is_none_or(|known| !Arc::ptr_eq(known, own)) {
        shared.last_good.store(Some(Arc::clone(own)));
    }
    settled
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn record(pending: &Pending, outcome: Outcome, usage: Usage) -> RequestRecord {
    let lease = pending.lease.as_ref();
    RequestRecord {
        api_key: Some(pending.caller.api_key),
        protocol: Some(pending.protocol),
        operation: Some(pending.operation.recorded()),
        provider: lease.map(|lease| Arc::clone(&lease.upstream.name)),
        model: Some(Arc::clone(&pending.model)),
        credential: lease.map(|lease| lease.credential().id),
        outcome,
        status: Some(pending.status).filter(|status| *status != 0),
        attempts: pending.attempts,
        latency_ms: millis(pending.started.elapsed()),
        ttft_ms: pending.first_byte.map(millis),
        streamed: pending.streaming,
        usage,
        hold: pending.hold.unwrap_or_default(),
        price_version: pending.priced.as_ref().map(|priced| priced.version),
        components: components(&pending.snapshot, pending),
        filter_hash: pending.filter_hash.map(Vec::from),
        error: pending.error.clone(),
        ..RequestRecord::new(pending.id, pending.caller.user, pending.admitted_at)
    }
}

/// The components that took part.
fn components(snapshot: &RoutingSnapshot, pending: &Pending) -> Components {
    let generation = &snapshot.generation;
    Components {
        adapter: pending.lease.as_ref().map(|lease| *lease.upstream.adapter.digest().as_bytes()),
        selector: generation.selector().filter(|_| pending.attempts > 0).map(|s| *s.digest().as_bytes()),
        pricing: None,
        filter: generation.filter().map(|filter| *filter.digest().as_bytes()),
    }
}

/// The one line of a request. What went well is told at `debug`: the record keeps it, and a line costs more than all else
/// that the road adds to a request.
fn log(pending: &Pending, outcome: Outcome, charge: Micropoints) {
    let (id, model, status, attempts) = (pending.id, &*pending.model, pending.status, pending.attempts);
    let (protocol, outcome_name, ms) =
        (pending.protocol.name(), outcome.name(), pending.started.elapsed().as_millis());
    if matches!(outcome, Outcome::Ok | Outcome::Empty) {
        tracing::debug!(request = %id, protocol, model, status, attempts, outcome = outcome_name, ms, points = %charge, "request");
    } else {
        let error = pending.error.as_deref().unwrap_or("");
        tracing::warn!(request = %id, protocol, model, status, attempts, outcome = outcome_name, ms, points = %charge, error, "request");
    }
}
