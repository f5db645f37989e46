//! What a request leaves behind. The hold before it is sent and the settlement with its record after it are the only
//! two things that the way of a request hands to the database, and it waits for the first alone.

use std::sync::Arc;
use std::time::Duration;

use tollgate_core::decisions::{Decisions, Held, Screened, Verdict};
use tollgate_core::id::{RequestId, UserId};
use tollgate_core::ledger::Settlement;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::usage::{Class, Usage};
use tollgate_store::{Attempt, Borrowed, Components, Entry, RequestRecord};

use super::request::Hold;
use super::select::Lease;
use super::states::{Attempting, Facts, Tried};
use crate::clock::now;
use crate::shared::Shared;
use crate::state::trace::{self, Trace, detail};
use crate::telemetry;

/// Notes that a lent credential is about to be used, so that no use is forgotten, whatever becomes of this process.
/// Does nothing for others. Says whether it is written; the request must not be sent where it is not.
pub(crate) fn borrow(shared: &Shared, attempting: &Attempting, lease: &mut Lease) -> bool {
    if let Some(lender) = &lease.credential().lender {
        let id = attempting.request().id;
        let borrowed = Borrowed {
            request: id,
            attempt: attempting.attempts(),
            credential: lease.credential().id,
            lender: lender.user,
            model: Arc::clone(attempting.model()),
            at: lease.taken_at(),
        };
        if let Err(error) = shared.writer.append(Entry::Borrow(Box::new(borrowed))) {
            tracing::error!(%error, request = %id, "the use of a lent credential could not be written");
            return false;
        }
    }
    lease.sent();
    true
}

/// What became of what was reserved for a request.
pub(crate) enum Money {
    /// Nothing was reserved.
    Free,
    /// All of it was given back: nobody was asked.
    Voided(Micropoints),
    /// The call was charged.
    Charged(Charged),
}

/// The charge for a call.
pub(crate) struct Charged {
    /// What was reserved first, which is what the books know of.
    pub(crate) booked: Micropoints,
    /// What is charged.
    pub(crate) amount: Micropoints,
    /// How the account bore it.
    pub(crate) settlement: Settlement,
    /// Digest of the component that priced it; zeros when the gateway's own rule was used.
    pub(crate) component: [u8; 32],
    /// Everything that the charge rests on, in canonical bytes.
    pub(crate) receipt: Vec<u8>,
    /// Who lent the credential, and what that earned them.
    pub(crate) earned: Option<(UserId, Micropoints)>,
}

/// A request that has been told of, and waits to be written.
pub(super) struct Closed {
    request: RequestId,
    entry: Entry,
}

/// Tells logs, counters and the trace of a request that has ended, and makes its entry.
pub(super) fn close(
    shared: &Shared,
    facts: &Facts<'_>,
    outcome: Outcome,
    usage: Usage,
    mut money: Money,
) -> Closed {
    let request = facts.request;
    let took = request.started.elapsed();
    let record = record(facts, took, outcome, usage, &mut money);
    telemetry::transaction(&record);
    log(facts, &record);
    shared.metrics.ended(outcome, &usage, record.charge, took, facts.first_byte);
    if let Some(trace) = request.trace() {
        tell(trace, &record, &money);
    }
    let (request, user, at, record) = (request.id, request.caller.user, now(), Box::new(record));
    let entry = match money {
        Money::Free => Entry::Record(record),
        Money::Voided(held) => Entry::Void { request, user, held, at, record },
        Money::Charged(Charged { booked: held, settlement, earned, .. }) => {
            let settle = Entry::Settle { request, user, held, settlement, at, record };
            match earned {
                Some((lender, earned)) => Entry::Lent { settle: Box::new(settle), lender, earned },
                None => settle,
            }
        }
    };
    Closed { request, entry }
}

impl Closed {
    /// Hands it over to be written, with what its attempts met. One attempt that went well is told by the record
    /// itself.
    pub(super) fn post(self, shared: &Shared, tried: Vec<Tried>) {
        let Self { request, entry } = self;
        if (tried.len() > 1 || tried.iter().any(|tried| tried.failure.is_some()))
            && let Err(error) = shared.writer.post(attempts(request, tried))
        {
            tracing::error!(%error, request = %request, "the attempts of a request could not be written");
        }
        if let Err(error) = shared.writer.post(entry) {
            tracing::error!(%error, request = %request, "a settlement could not be written; the next start resolves its hold");
        }
    }
}

fn attempts(request: RequestId, tried: Vec<Tried>) -> Entry {
    let attempt = |Tried { credential, status, failure, took }| Attempt {
        credential,
        status,
        failure,
        took_ms: millis(took),
    };
    Entry::Attempts { request, attempts: tried.into_iter().map(attempt).collect() }
}

/// Tells an admin what became of a dry run.
fn tell(trace: &Trace, record: &RequestRecord, money: &Money) {
    let usage = &record.usage;
    trace.note(
        "relay",
        detail!({
            "status": record.status, "outcome": record.outcome.name(), "attempts": record.attempts,
            "ttft_ms": record.ttft_ms, "latency_ms": record.latency_ms, "error": record.error,
        }),
    );
    trace.note(
        "meter",
        detail!({
            "quality": usage.quality.name(), "prompt": usage.prompt_total(), "cache_read": usage[Class::CacheRead],
            "output": usage.output_total(), "reasoning": usage[Class::Reasoning],
        }),
    );
    let overrun = match money {
        Money::Charged(charged) => Some(charged.settlement.overrun.to_string()),
        Money::Free | Money::Voided(_) => None,
    };
    trace.note(
        "charge",
        detail!({
            "held": record.hold.to_string(), "points": record.charge.to_string(), "overrun": overrun,
            "price_version": record.price_version, "account": trace::ACCOUNT,
        }),
    );
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn record(
    facts: &Facts<'_>,
    took: Duration,
    outcome: Outcome,
    usage: Usage,
    money: &mut Money,
) -> RequestRecord {
    let Facts { request, lease, .. } = facts;
    let (receipt, charged) = match money {
        Money::Charged(charged) => (Some(std::mem::take(&mut charged.receipt)), Some(&*charged)),
        Money::Free | Money::Voided(_) => (None, None),
    };
    RequestRecord {
        api_key: Some(request.caller.api_key),
        protocol: Some(request.call.protocol),
        operation: Some(request.call.operation.recorded()),
        provider: lease.map(|lease| Arc::clone(&lease.upstream.name)),
        model: Some(Arc::clone(facts.model)),
        credential: lease.map(|lease| lease.credential().id),
        outcome,
        status: facts.status.map(|status| status.as_u16()),
        attempts: facts.attempts,
        latency_ms: millis(took),
        ttft_ms: facts.first_byte.map(millis),
        streamed: request.call.streaming,
        usage,
        hold: facts.hold.map(|hold| hold.granted.amount()).unwrap_or_default(),
        charge: charged.map(|charged| charged.amount).unwrap_or_default(),
        price_version: facts.price_version,
        components: components(facts, charged),
        receipt,
        filter_hash: facts.filter_hash.map(|hash| hash.digest.to_vec()),
        error: facts.error.as_deref().map(str::to_owned),
        left_out: facts.left_out.map(str::to_owned),
        decisions: decisions(facts),
        ..RequestRecord::new(request.id, request.caller.user, request.at)
    }
}

/// What was decided on the way.
fn decisions(facts: &Facts<'_>) -> Decisions {
    let held = |hold: &Hold| Held {
        input_tokens: hold.cover.quote.input_tokens,
        output_tokens: hold.cover.tokens,
        default_price: hold.priced.default_price.is_some(),
    };
    Decisions {
        screened: screened(facts),
        stand_in: u32::try_from(facts.stand_in).unwrap_or(u32::MAX),
        choice: facts.lease.map(|lease| lease.choice),
        held: facts.hold.map(held),
    }
}

/// What the filter said: of the answer, where it refused that.
fn screened(facts: &Facts<'_>) -> Screened {
    let asked = facts.request.screened;
    match facts.filter_hash {
        Some(hash) if asked.verdict != Verdict::Blocked => {
            Screened { verdict: Verdict::Blocked, rule: hash.rule, ..asked }
        }
        _ => asked,
    }
}

/// The components that took part.
fn components(facts: &Facts<'_>, charged: Option<&Charged>) -> Components {
    let policies = &facts.request.policies;
    Components {
        adapter: facts.lease.map(|lease| *lease.upstream.adapter.digest().as_bytes()),
        selector: policies
            .selector
            .as_ref()
            .filter(|_| facts.attempts > 0)
            .map(|selector| *selector.digest().as_bytes()),
        pricing: charged.map(|charged| charged.component),
        filter: policies.filter.as_ref().map(|filter| *filter.digest().as_bytes()),
    }
}

/// The one line of a request. What went well is told at `debug`: the record keeps it, and a line costs more than all
/// else that the gateway adds to a request.
fn log(facts: &Facts<'_>, record: &RequestRecord) {
    let (id, model, status, attempts) =
        (facts.request.id, &**facts.model, record.status.unwrap_or(0), facts.attempts);
    let (protocol, outcome, ms) =
        (facts.request.call.protocol.name(), record.outcome.name(), record.latency_ms);
    let points: Micropoints = record.charge;
    if matches!(record.outcome, Outcome::Ok | Outcome::Empty) {
        tracing::debug!(request = %id, protocol, model, status, attempts, outcome, ms, %points, "request");
    } else {
        let error = record.error.as_deref().unwrap_or("");
        tracing::warn!(request = %id, protocol, model, status, attempts, outcome, ms, %points, error, "request");
    }
}
