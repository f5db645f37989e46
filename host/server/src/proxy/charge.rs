//! Steps 4 and 9: what a request may cost is reserved before anything is sent, and settled once, whatever its end was.
//!
//! A [`Ticket`] stands for a request that has been admitted. However its road ends (answered, failed, client gone, task
//! dropped) the ticket hands what is known to the worker's settling task, which outlives the connection. Settling is a
//! plain function there; dropping a ticket only sends.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tollgate_core::hold::Quote;
use tollgate_core::id::RequestId;
use tollgate_core::ledger::Insufficient;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{ModelPrice, PriceRate, Rates};
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Quality, Usage};
use tollgate_runtime::{Bill, Charge, Pricing, Reason};

use super::error::{ErrorDialect, ProxyError};
use super::filter::TextHash;
use super::limit::KeyPermit;
use super::meter::Meter;
use super::read::Inbound;
use super::record::Tries;
use super::select::{Lease, Owners};
use crate::routing::plan::{Destination, Target, Tier};
use crate::routing::snapshot::RoutingSnapshot;
use crate::state::concurrency::Permit;
use crate::state::directory::{Caller, Directory};
use crate::state::trace::{self, Trial, detail};

/// Bytes of a request that stand for one prompt token when a hold is estimated: low, so that the hold is rather too large.
const BYTES_PER_PROMPT_TOKEN: u64 = 3;
/// What the record says of a stream whose connection ended in order, but without the last word of its protocol.
const ENDED_EARLY: &str = "the provider's stream ended early";
/// Times that a failed settling call is made again, each on a fresh instance.
const SETTLE_TRIES: usize = 3;

/// Where admitted requests go when they end.
pub(crate) type Ended = UnboundedSender<Box<Pending>>;

/// What a request is priced by, frozen at admission.
#[derive(Debug, Clone)]
pub(crate) struct Priced {
    /// Version of the price table.
    pub(crate) version: u64,
    /// The model's prices.
    pub(crate) price: ModelPrice,
    /// What the caller pays of them.
    pub(crate) rate: PriceRate,
}

impl Priced {
    /// What the caller pays for a prompt of so many tokens: what the pricing policy is given. The policy never sees what of it
    /// is the table's price and what the user's rate, so that no component has to know of rates, and none can tell.
    pub(crate) fn rates(&self, prompt_tokens: u64) -> Rates {
        self.price.rates(prompt_tokens).charged_at(self.rate)
    }
}

/// An admitted request: what is known of it, growing along the road.
pub(crate) struct Pending {
    /// Its id.
    pub(crate) id: RequestId,
    /// When it came, by the clock that cannot jump.
    pub(crate) started: Instant,
    /// When it came.
    pub(crate) admitted_at: Timestamp,
    /// Who pays.
    pub(crate) caller: Arc<Caller>,
    /// Its place among the calls of a limited key.
    pub(crate) key_permit: Option<KeyPermit>,
    /// The generation that it began with.
    pub(crate) snapshot: Rc<RoutingSnapshot>,
    /// The client's protocol.
    pub(crate) protocol: Protocol,
    /// What was asked.
    pub(crate) operation: Operation,
    /// The model that is paid: the one asked for, or the fallback that served.
    pub(crate) model: Arc<str>,
    /// Whether the answer streams.
    pub(crate) streaming: bool,
    /// Prices, for an operation that is billed.
    pub(crate) priced: Option<Priced>,
    /// What is reserved.
    pub(crate) hold: Option<Micropoints>,
    /// Prompt tokens by the size of the request.
    pub(crate) input_estimate: u64,
    /// Attempts made.
    pub(crate) attempts: u32,
    /// What those met that have ended.
    pub(crate) tries: Tries,
    /// The credential that serves or served.
    pub(crate) lease: Option<Lease>,
    /// Its place among all requests under way.
    pub(crate) permit: Permit,
    /// The status that the client saw.
    pub(crate) status: u16,
    /// From the start to the first byte of the answer.
    pub(crate) first_byte: Option<Duration>,
    /// What passed.
    pub(crate) meter: Option<Meter>,
    /// Hash of text that the filter refused.
    pub(crate) filter_hash: Option<TextHash>,
    /// What went wrong, for the operator.
    pub(crate) error: Option<String>,
    /// The trial that it is, if an admin tries it.
    pub(crate) trial: Option<Arc<Trial>>,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

impl Pending {
    /// This is who serves it, so far as is known: what is paid is the model and the price of whoever does.
    pub(crate) fn serve_by(&mut self, directory: &Directory, tier: &Tier<'_>, target: &Target<'_>) {
        self.model = Arc::clone(&tier.model);
        let version = directory.prices.at(self.admitted_at).version();
        let rate = self.caller.price_rate;
        if self.priced.as_ref().map(|priced| &priced.price) != target.price {
            self.priced = target.price.map(|price| Priced { version, price: price.clone(), rate });
        }
    }
}

/// An admitted request on its way. Ends exactly once: by [`Ticket::finish`] or by being dropped.
pub(crate) struct Ticket {
    id: RequestId,
    started: Instant,
    pending: Option<Box<Pending>>,
    ended: Ended,
}

impl Ticket {
    /// Admits a request.
    pub(crate) fn new(pending: Pending, ended: Ended) -> Self {
        Self { id: pending.id, started: pending.started, pending: Some(Box::new(pending)), ended }
    }

    /// What is known so far; `None` once it has ended.
    pub(crate) fn pending(&mut self) -> Option<&mut Pending> {
        self.pending.as_deref_mut()
    }

    /// The request's id.
    pub(crate) const fn id(&self) -> RequestId {
        self.id
    }

    /// When the request came.
    pub(crate) const fn started(&self) -> Instant {
        self.started
    }

    /// The request has ended so. Later calls change nothing.
    pub(crate) fn finish(&mut self, outcome: Outcome) {
        if let Some(mut pending) = self.pending.take() {
            pending.outcome = outcome;
            // Before the client can know that this call is over and begin another.
            if let Some(key_permit) = &mut pending.key_permit {
                key_permit.leave();
            }
            if let Some(lease) = &mut pending.lease {
                lease.leave();
            }
            pending.permit.leave();
            if let Some(meter) = &mut pending.meter {
                meter.read_kept();
                if outcome == Outcome::Ok && meter.ended_early() {
                    pending.error.get_or_insert_with(|| ENDED_EARLY.to_owned());
                }
            }
            // The settling task ends after all tickets: nobody is left to tell if it is gone.
            let _gone = self.ended.send(pending);
        }
    }

    /// The request has ended with this error, before its first byte.
    pub(crate) fn fail(mut self, error: &ProxyError, outcome: Outcome) {
        if let Some(pending) = self.pending() {
            pending.status = error.status(pending.protocol).as_u16();
            pending.error.get_or_insert_with(|| error.message());
        }
        self.finish(outcome);
    }

    /// The status of the answer.
    pub(crate) fn answered(&mut self, status: StatusCode, meter: Meter) {
        if let Some(pending) = self.pending() {
            pending.status = status.as_u16();
            pending.meter = Some(meter);
            pending.first_byte = Some(pending.started.elapsed());
        }
    }

    /// Passes bytes of the answer by the meter.
    pub(crate) fn meter_pass(&mut self, chunk: Bytes) -> Bytes {
        match self.pending.as_deref_mut().and_then(|pending| pending.meter.as_mut()) {
            Some(meter) => meter.pass(chunk),
            None => chunk,
        }
    }

    /// The answer is complete: what the meter still held back.
    pub(crate) fn meter_end(&mut self) -> Bytes {
        self.pending
            .as_deref_mut()
            .and_then(|pending| pending.meter.as_mut())
            .map(Meter::end)
            .unwrap_or_default()
    }

    /// Whether a comment may be put into the stream here.
    pub(crate) fn between_events(&self) -> bool {
        self.pending.as_deref().and_then(|pending| pending.meter.as_ref()).is_some_and(Meter::between_events)
    }

    /// The answer told the client of a failure, however its connection ends.
    pub(crate) fn told_failure(&mut self) {
        if let Some(meter) = self.pending().and_then(|pending| pending.meter.as_mut()) {
            meter.fail();
        }
    }

    /// An error that the client is told in other words; noted for the record.
    pub(crate) fn note(&mut self, error: &ProxyError) {
        if let Some(pending) = self.pending() {
            pending.error.get_or_insert_with(|| error.message());
        }
    }

    /// The filter refused part of the answer.
    pub(crate) fn filtered(&mut self, hash: Option<TextHash>) {
        if let Some(pending) = self.pending() {
            pending.filter_hash = hash;
            pending.error = Some("the content filter cut the answer".to_owned());
        }
    }

    /// The answer came and is paid for upstream, but the client gets this error instead.
    pub(crate) fn refused(&mut self, error: &ProxyError) {
        if let Some(pending) = self.pending() {
            pending.status = error.status(pending.protocol).as_u16();
        }
        self.finish(Outcome::Partial);
    }

    /// An error as an event of this request's stream; also noted for the record.
    pub(crate) fn error_event(&mut self, error: &ProxyError) -> Bytes {
        self.note(error);
        let Some(pending) = self.pending() else { return Bytes::new() };
        error.event(ErrorDialect::of(pending.protocol, pending.operation), &pending.id.to_string())
    }
}

/// A ticket that is dropped belongs to a client that left.
impl Drop for Ticket {
    fn drop(&mut self) {
        let delivered = self.pending.as_deref().is_some_and(|pending| pending.first_byte.is_some());
        self.finish(if delivered {
            Outcome::CancelledAfterFirstByte
        } else {
            Outcome::CancelledBeforeFirstByte
        });
    }
}

/// Prompt tokens by the size of the body.
pub(crate) fn input_estimate(inbound: &Inbound) -> u64 {
    (inbound.body.len() as u64).div_ceil(BYTES_PER_PROMPT_TOKEN)
}

/// The most that a request may cost whoever serves it: the hold of the dearest.
///
/// # Errors
/// As [`quote`].
pub(crate) fn dearest(
    pricing: &Pricing,
    destination: &Destination<'_>,
    rate: PriceRate,
    inbound: &Inbound,
    owners: Owners,
    default_output_max: u64,
    at: Timestamp,
) -> Result<Micropoints, ProxyError> {
    let mut seen: Vec<&ModelPrice> = Vec::with_capacity(1);
    let mut most = Micropoints::ZERO;
    for price in destination.targets().filter_map(|target| target.price) {
        if !seen.iter().any(|known| std::ptr::eq(*known, price)) {
            seen.push(price);
            most = most.max(quote(pricing, price, rate, inbound, owners, default_output_max, at)?);
        }
    }
    Ok(most)
}

/// The most that a request may cost at one price, by the rule that the pricing policy has declared; it is called only where it
/// has none.
///
/// # Errors
/// A pricing fault always refuses, and so does a policy at rest after faults: what cannot be priced is not sent.
fn quote(
    pricing: &Pricing,
    price: &ModelPrice,
    rate: PriceRate,
    inbound: &Inbound,
    owners: Owners,
    default_output_max: u64,
    at: Timestamp,
) -> Result<Micropoints, ProxyError> {
    let input_tokens = input_estimate(inbound);
    let known_max = price.output_tokens_max;
    let asked = inbound.output_tokens_max.unwrap_or(default_output_max);
    // A model without output (embeddings) says so with 0.
    let output_tokens_max = if inbound.output_tokens_max.is_some() { asked } else { asked.min(known_max) };
    let quote = Quote {
        rates: price.rates(input_tokens).charged_at(rate),
        input_tokens,
        output_tokens_max,
        own_credential: owners.own,
        platform_credential: owners.platform,
        at,
    };
    pricing.hold(&quote).map_err(|_| ProxyError::Policy("pricing"))
}

/// Reserves an amount on the caller's account, in memory.
///
/// # Errors
/// 402 when the balance does not carry it.
pub(crate) fn reserve(caller: &Caller, amount: Micropoints) -> Result<(), ProxyError> {
    let reserved = caller.account.lock().hold(amount);
    trace::note("reserve", || detail!({"points": amount.to_string(), "granted": reserved.is_ok()}));
    reserved
        .map_err(|Insufficient { needed, available }| ProxyError::InsufficientPoints { needed, available })
}

/// How a request ended, and what it used: by what its answer said or, where it was cut, by what passed.
pub(crate) fn measured(pending: &Pending) -> (Outcome, Usage) {
    let cut = |meter: &Meter| meter.failed() || meter.ended_early();
    let failed = pending.outcome == Outcome::Ok && pending.meter.as_ref().is_some_and(cut);
    let outcome = if failed { Outcome::Partial } else { pending.outcome };
    let usage = usage(pending, outcome);
    (refined(outcome, pending.operation, &usage), usage)
}

fn usage(pending: &Pending, outcome: Outcome) -> Usage {
    let (Some(meter), Some(lease)) = (&pending.meter, &pending.lease) else { return Usage::default() };
    let adapter = &lease.upstream.adapter;
    let stated = meter
        .samples()
        .and_then(|samples| {
            adapter.read_usage(lease.upstream_call.protocol, lease.upstream_call.operation, &samples).ok()
        })
        .filter(|usage| usage.quality != Quality::Missing);
    let cut = !matches!(outcome, Outcome::Ok | Outcome::Empty);
    match stated {
        Some(usage) if !cut => usage,
        Some(usage) => at_least_what_passed(usage, meter),
        // Nothing of what passed was an answer: nothing is known, and nothing is made up. Embeddings have no text to tell
        // by, and Gemini states no usage for them: what came back for them was paid by its input.
        None if pending.operation.generates() && meter.estimated_output() == 0 => Usage::default(),
        None => Usage {
            input: pending.input_estimate,
            output: meter.estimated_output(),
            quality: Quality::Estimated,
            ..Usage::default()
        },
    }
}

/// A stream that was cut may have stated its output before it grew.
fn at_least_what_passed(usage: Usage, meter: &Meter) -> Usage {
    let missing = meter.estimated_output().saturating_sub(usage.output_total());
    if missing == 0 {
        return usage;
    }
    Usage { output: usage.output + missing, quality: Quality::Estimated, ..usage }
}

/// What an answer that ended in order really was: one without content is empty, and one in which nothing could be read is
/// partial.
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

/// A charge, and the component that named it.
pub(crate) struct Settled {
    /// What is charged.
    pub(crate) charge: Charge,
    /// Digest of the component; zeros when the gateway's own rule was used.
    pub(crate) component: [u8; 32],
    /// Digest of its configuration.
    pub(crate) config: [u8; 32],
}

/// The charge for a request that has ended: by its own generation's component, then by the last one that worked, then by
/// the list price, but never more than was reserved in that last case.
pub(crate) fn settle(
    own: Option<&Pricing>,
    last_good: Option<&Pricing>,
    bill: &Bill,
    hold: Micropoints,
) -> Settled {
    for pricing in own.into_iter().flat_map(|own| std::iter::repeat_n(own, SETTLE_TRIES)).chain(last_good) {
        match pricing.settle(bill) {
            Ok(charge) => {
                let (component, config) = (*pricing.digest().as_bytes(), *pricing.config_digest().as_bytes());
                return Settled { charge, component, config };
            }
            Err(error) => tracing::error!(error = %error, "pricing failed after dispatch"),
        }
    }
    let charge = Charge { amount: fallback(&bill.rates, &bill.usage, hold), reason: Reason::Full };
    Settled { charge, component: [0; 32], config: [0; 32] }
}

/// What is charged where no component priced: the prices themselves, but never more than was reserved.
pub(crate) fn fallback(rates: &Rates, usage: &Usage, hold: Micropoints) -> Micropoints {
    list_price(rates, usage).min(hold)
}

/// Usage times rates, rounded up once.
fn list_price(rates: &Rates, usage: &Usage) -> Micropoints {
    let class = |tokens: u64, rate: i64| i128::from(tokens) * i128::from(rate);
    let per_million = class(usage.input, rates.input)
        + class(usage.cache_read, rates.cache_read)
        + class(usage.cache_write_short, rates.cache_write_short)
        + class(usage.cache_write_long, rates.cache_write_long)
        + class(usage.output.saturating_add(usage.reasoning), rates.output)
        + class(usage.audio_input, rates.audio_input)
        + class(usage.audio_output, rates.audio_output);
    let total = (per_million + 999_999) / 1_000_000 + i128::from(rates.request);
    Micropoints::new(i64::try_from(total).unwrap_or(i64::MAX))
}
