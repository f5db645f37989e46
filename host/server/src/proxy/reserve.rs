//! What is kept back for a request before it is sent, and how long its answer may get for it.
//!
//! Where the balance carries it twice over, all that the request may cost is held, up to its own output limit or, where
//! it names none, its model's. Where the balance does not, the gateway puts in an output limit that it can pay, and
//! holds
//! - for an answer that comes whole, or whose hidden part may be large: all of that limit;
//! - for a stream of a model that is known to answer in the open: a typical answer, and more as it passes (`grow.rs`).
//!
//! A long prompt that the balance could pay only if a cache has most of it is let in at a cache's price, as far as the
//! account may leave calls unsecured ([`Claim`]). Nobody is refused for what a request might cost but will not.

use std::sync::Arc;

use tollgate_core::hold::Quote;
use tollgate_core::json;
use tollgate_core::ledger::{Claim, Insufficient};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::usage::{Class, Side};
use tollgate_runtime::Pricing;

use super::error::ProxyError;
use super::lane::Lane;
use super::read::Inbound;
use super::refusal::{Refusal, refuse};
use super::request::{Cover, Hold, Priced, Request};
use super::states::Admitted;
use super::ticket::Ticket;
use crate::config::Limits;
use crate::state::accounts::{NotHeld, Order};
use crate::state::deciders::HoldRefused;
use crate::state::habits::{Expected, Shown};
use crate::state::trace::{self, detail};

/// Times that a claim is made again because another request was faster.
const TRIES_MAX: usize = 4;
/// The shortest prompt of which a provider's cache may have a part.
const CACHED_TOKENS_MIN: u64 = 1_024;
/// A typical answer is taken for so many times the mean of those that came.
const TYPICAL_OVER_MEAN: u64 = 2;
/// The shortest answer for which a request is sent, unless it asks for a shorter one.
pub(super) const SHORT_ANSWER: u64 = 256;
/// The least thought that Claude can be allowed, where a request asks for it.
pub(super) const SHORT_THOUGHT: u64 = 1_024;

/// What a request may cost.
pub(super) struct Cost {
    /// By what it is priced.
    pub(super) priced: Priced,
    /// At the dearest of those who may serve, with its longest answer.
    pub(super) quote: Quote,
    /// What bounds its answer.
    pub(super) output: Output,
}

/// What bounds an answer, in tokens of one of the answers that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Output {
    /// Answers that are asked for at once.
    pub(super) answers: u64,
    /// The most that one may have, by the request or else by its model.
    pub(super) most: u64,
    /// Whether `most` is a limit of the gateway's, which has to be put in.
    pub(super) imposed: bool,
    /// The least that has to be let pass: a short answer, and a short thought where the request asks for it.
    pub(super) least: u64,
    /// What one typically has.
    pub(super) typical: u64,
    /// Whether more can be held as it passes.
    pub(super) grows: bool,
    /// How much of it shows.
    pub(super) shown: Shown,
}

/// What is claimed, and what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    claim: Claim,
    /// Output tokens that are covered, of all answers.
    covered: u64,
    /// The limit that is put in, for one answer.
    limit: Option<u64>,
}

impl Output {
    /// What bounds the answer to a request; `model_max` is the most that any model produces which may serve it.
    pub(super) fn of(inbound: &Inbound, model_max: u64, limits: &Limits, expected: Option<Expected>) -> Self {
        let answers = inbound.answers;
        if inbound.extras.counted().is_some() {
            // There is no limit that could be put in.
            let (most, typical, least) = (model_max, model_max, model_max);
            return Self { answers, most, imposed: false, least, typical, grows: false, shown: Shown::All };
        }
        let named = inbound.output_tokens_max.map(|all| all / answers);
        let own = Some(limits.default_output_tokens_max).filter(|own| *own > 0 && *own < model_max);
        let most = named.or(own).unwrap_or(model_max).min(model_max);
        let typical = expected.map_or(limits.typical_output_tokens, |expected| {
            expected.output.saturating_mul(TYPICAL_OVER_MEAN)
        });
        let shown = Shown::of(expected, inbound.extras.thinks);
        let splits = inbound.operation != Operation::Complete && !inbound.wants_array();
        let grows = shown == Shown::All && inbound.streaming && splits;
        let least = thought(inbound).map_or(0, |budget| budget.min(SHORT_THOUGHT));
        let least = least.saturating_add(SHORT_ANSWER).min(most);
        let typical = typical.max(least).min(most);
        Self { answers, most, imposed: named.is_none() && own.is_some(), least, typical, grows, shown }
    }
}

/// What a request to Claude allows for thought, which has to be less than its output limit.
fn thought(inbound: &Inbound) -> Option<u64> {
    if inbound.protocol != Protocol::AnthropicMessages {
        return None;
    }
    inbound.member("thinking")?;
    json::unsigned(&inbound.body, json::find(&inbound.body, &["thinking", "budget_tokens"])?)
}

impl Cost {
    /// All that the request may cost, where so much is left again.
    fn full(&self, pricing: &Pricing) -> Result<Terms, ProxyError> {
        let Output { most, imposed, .. } = self.output;
        let amount = self.amount(pricing, &self.quote, most)?;
        let claim = Claim { leave: amount, ..Claim::of(amount) };
        Ok(Terms { claim, covered: self.all(most), limit: Some(most).filter(|_| imposed) })
    }

    /// What an account that has so much left can carry of it; `None` where that is not even a short answer.
    fn within(
        &self,
        pricing: &Pricing,
        available: Micropoints,
        unsecured_max: Micropoints,
    ) -> Result<Option<Terms>, ProxyError> {
        if let Some(terms) = self.at(pricing, &self.quote, available)? {
            return Ok(Some(terms));
        }
        let Some(cached) = self.cached() else { return Ok(None) };
        let Some(terms) = self.at(pricing, &cached, available)? else { return Ok(None) };
        let dearest = Quote { output_tokens_max: terms.covered, ..self.quote };
        let dearest = quoted(pricing, &dearest)?;
        let unsecured = dearest.checked_sub(terms.claim.amount).unwrap_or(dearest);
        Ok(Some(Terms { claim: Claim { unsecured, unsecured_max, ..terms.claim }, ..terms }))
    }

    /// What can be carried of it where the prompt costs what `quote` says.
    fn at(
        &self,
        pricing: &Pricing,
        quote: &Quote,
        available: Micropoints,
    ) -> Result<Option<Terms>, ProxyError> {
        let Output { most, imposed, typical, least, grows, .. } = self.output;
        if self.amount(pricing, quote, least)? > available {
            return Ok(None);
        }
        let typically = self.amount(pricing, quote, typical)?;
        let room = if grows { available } else { half(available).max(typically.min(available)) };
        let fits = |tokens| self.amount(pricing, quote, tokens).map(|amount| amount <= room);
        let longest = longest(least, most, fits)?;
        let held = if grows { typical.min(longest) } else { longest };
        let claim = Claim::of(self.amount(pricing, quote, held)?);
        let limit = Some(longest).filter(|longest| imposed || *longest < most);
        Ok(Some(Terms { claim, covered: self.all(held), limit }))
    }

    /// The same request where a cache has its prompt: four bytes of its own text a token, at the price of what is read
    /// from a cache. `None` where no cache could make it cheaper.
    fn cached(&self) -> Option<Quote> {
        let Quote { mut rates, input_tokens, .. } = self.quote;
        if input_tokens < CACHED_TOKENS_MIN || rates[Class::CacheRead] >= rates[Class::Input] {
            return None;
        }
        for class in Class::ALL.into_iter().filter(|class| class.is_tokens_of(Side::Prompt)) {
            rates[class] = rates[Class::CacheRead];
        }
        Some(Quote { rates, input_tokens: input_tokens / 4 * 3, ..self.quote })
    }

    /// What is held for answers of so many tokens each.
    fn amount(&self, pricing: &Pricing, quote: &Quote, tokens: u64) -> Result<Micropoints, ProxyError> {
        quoted(pricing, &Quote { output_tokens_max: self.all(tokens), ..*quote })
    }

    /// What of the answer is covered by these terms.
    fn cover(&self, terms: Terms) -> Cover {
        let Output { answers, most, typical, shown, .. } = self.output;
        Cover {
            shown,
            quote: self.quote,
            tokens: terms.covered,
            slice: self.all(typical),
            grows: terms.covered < self.all(terms.limit.unwrap_or(most)),
            answers,
        }
    }

    const fn all(&self, tokens: u64) -> u64 {
        tokens.saturating_mul(self.output.answers)
    }

    /// The least for which the request would be let in.
    fn least(&self, pricing: &Pricing) -> Result<Micropoints, ProxyError> {
        self.amount(pricing, &self.quote, self.output.least)
    }
}

/// What is held for a quote.
///
/// # Errors
/// A pricing fault always refuses, and so does a policy at rest after faults: what cannot be priced is not sent.
pub(super) fn quoted(pricing: &Pricing, quote: &Quote) -> Result<Micropoints, ProxyError> {
    pricing.hold(quote).map_err(|_| ProxyError::Policy("pricing"))
}

const fn half(amount: Micropoints) -> Micropoints {
    Micropoints::new(amount.get() / 2)
}

/// The most tokens that fit, nearly; so many as `least` do.
fn longest(least: u64, most: u64, fits: impl Fn(u64) -> Result<bool, ProxyError>) -> Result<u64, ProxyError> {
    if least >= most || fits(most)? {
        return Ok(most);
    }
    let (mut low, mut high) = (least, most);
    while high - low > 1 + low / 256 {
        let middle = low + (high - low) / 2;
        if fits(middle)? { low = middle } else { high = middle }
    }
    Ok(low)
}

/// A request whose hold is durable, and the output limit that has to be put into it.
pub(super) type Reserved = (Ticket<Box<Admitted>>, Option<u64>);

/// Keeps back what a request may cost. Its ticket exists before the wait for the disk: a client that leaves during it
/// gets its hold voided.
///
/// # Errors
/// 402 when the balance does not carry it, 503 when it could not be written. The request has ended then.
pub(super) async fn hold(
    lane: &Lane,
    mut request: Request,
    model: Arc<str>,
    cost: &Cost,
) -> Result<Reserved, ProxyError> {
    let mut terms = match priced(&request, |pricing| cost.full(pricing)) {
        Ok(terms) => terms,
        Err(error) => return Err(not_sent(lane, request, model, cost, error)),
    };
    for _ in 0..TRIES_MAX {
        let (again, refused) = match claim(lane, request, &model, cost, terms).await {
            Ok(ticket) => return Ok((ticket, terms.limit)),
            Err(Unheld::Refused(request, refused)) => (request, refused),
            Err(Unheld::Ended(error)) => return Err(error),
        };
        request = again;
        match next(lane, &request, cost, terms, refused) {
            Ok(next) => terms = next,
            Err(error) => return Err(not_sent(lane, request, model, cost, error)),
        }
    }
    Err(not_sent(lane, request, model, cost, ProxyError::Unavailable))
}

/// What is claimed after a claim was refused.
///
/// # Errors
/// What the client is told where there is nothing else to claim.
fn next(
    lane: &Lane,
    request: &Request,
    cost: &Cost,
    terms: Terms,
    refused: HoldRefused,
) -> Result<Terms, ProxyError> {
    let HoldRefused::Insufficient(Insufficient { available, .. }) = refused else {
        return Err(ProxyError::Unavailable);
    };
    let points = lane.shared.settings.limits.unsecured_points_max;
    let unsecured_max = Micropoints::from_points(i64::try_from(points).unwrap_or(i64::MAX));
    let smaller = priced(request, |pricing| cost.within(pricing, available, unsecured_max))?;
    match smaller.filter(|smaller| *smaller != terms) {
        Some(smaller) => Ok(smaller),
        None => {
            let needed = priced(request, |pricing| cost.least(pricing))?;
            note_reserved(request, needed, false);
            Err(ProxyError::InsufficientPoints { needed, available })
        }
    }
}

fn priced<T>(
    request: &Request,
    ask: impl FnOnce(&Pricing) -> Result<T, ProxyError>,
) -> Result<T, ProxyError> {
    ask(request.policies.pricing.as_deref().ok_or(ProxyError::Policy("pricing"))?)
}

/// Why nothing is held.
#[expect(
    clippy::large_enum_variant,
    reason = "a claim that is refused is made again with the request as it was"
)]
enum Unheld {
    /// The account does not carry it; the request is as it was.
    Refused(Request, HoldRefused),
    /// The request has ended.
    Ended(ProxyError),
}

async fn claim(
    lane: &Lane,
    request: Request,
    model: &Arc<str>,
    cost: &Cost,
    terms: Terms,
) -> Result<Ticket<Box<Admitted>>, Unheld> {
    let order = Order {
        request: request.id,
        user: request.caller.user,
        account: Arc::clone(&request.caller.account),
        claim: terms.claim,
        model: Arc::clone(model),
        at: request.at,
    };
    let own = |mut request: Request, granted| {
        note_reserved(&request, terms.claim.amount, true);
        if let Some(key_permit) = &mut request.key_permit {
            key_permit.expect(request.input_estimate);
        }
        let cover = cost.cover(terms);
        let hold = Some(Hold { granted, priced: cost.priced.clone(), cover });
        Ticket::new(
            Admitted { request, model: Arc::clone(model), hold, stand_in: 0, left_out: None },
            lane.endings.clone(),
        )
    };
    lane.shared.accounts.hold(order, &lane.durable, request, own).await.map_err(|not_held| match not_held {
        NotHeld::Refused(request, refused) => Unheld::Refused(request, refused),
        NotHeld::Unwritten(ticket, error) => {
            tracing::error!(%error, request = %ticket.request.id, "a hold could not be written");
            ticket.attempt().fail(&ProxyError::Unavailable, Outcome::Refused);
            Unheld::Ended(ProxyError::Unavailable)
        }
    })
}

fn note_reserved(request: &Request, amount: Micropoints, granted: bool) {
    let told = || detail!({"points": amount.to_string(), "granted": granted});
    trace::note(request.trace(), "reserve", told);
}

fn not_sent(lane: &Lane, request: Request, model: Arc<str>, cost: &Cost, error: ProxyError) -> ProxyError {
    let (model, price_version) = (Some(model), Some(cost.priced.version));
    let screened = request.screened;
    refuse(lane, request, "", Refusal { error, model, price_version, filter_hash: None, screened })
}
