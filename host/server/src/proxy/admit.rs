//! Whether a request may be sent: somebody serves it, the filter passes it, and the caller's account carries what it
//! may cost.

use std::rc::Rc;
use std::sync::Arc;

use tollgate_core::hold::Quote;
use tollgate_core::ledger::Insufficient;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{ModelPrice, PriceRate, TierFactors};
use tollgate_core::time::Timestamp;
use tollgate_runtime::{Kind, Pricing};

use super::error::ProxyError;
use super::filter::{self, TextHash};
use super::lane::Lane;
use super::limit;
use super::read::Inbound;
use super::request::{Hold, Priced, Request};
use super::select::{self, Owners};
use super::states::{Admitted, Refused};
use super::ticket::{self, Ticket};
use crate::routing::plan::{Destination, Unserved};
use crate::routing::snapshot::RoutingSnapshot;
use crate::state::accounts::{NotHeld, Order};
use crate::state::deciders::HoldRefused;
use crate::state::directory::Directory;
use crate::state::trace::{self, detail};
use crate::upstream::CallKind;

/// Bytes of a request that stand for one prompt token when a hold is estimated: low, so that the hold is rather too
/// large.
const BYTES_PER_PROMPT_TOKEN: u64 = 3;

/// A request that may be sent, and who may serve it.
pub(super) struct Admission<'r> {
    pub(super) inbound: Inbound,
    pub(super) destination: Destination<'r>,
    pub(super) ticket: Ticket<Box<Admitted>>,
}

/// Decides about a request, and writes down what is reserved for it.
///
/// # Errors
/// Whatever speaks against it. The request has ended then.
pub(super) async fn admit<'r>(
    lane: &Lane,
    snapshot: &'r Rc<RoutingSnapshot>,
    directory: &'r Directory,
    request: Request,
    mut inbound: Inbound,
) -> Result<Admission<'r>, ProxyError> {
    let default_output_max = lane.shared.settings.limits.default_output_tokens_max;
    let decided = decide(snapshot, directory, &request, &mut inbound, default_output_max);
    let (destination, model, cost) = match decided {
        Ok(decided) => decided,
        Err(refusal) => return Err(refuse(lane, request, &inbound.model, refusal)),
    };
    let ticket = match cost {
        None => Ticket::new(Admitted { request, model, hold: None }, lane.endings.clone()),
        Some(cost) => hold(lane, request, model, cost).await?,
    };
    Ok(Admission { inbound, destination, ticket })
}

/// What a request may cost at most, and by what that is priced.
struct Cost {
    amount: Micropoints,
    priced: Priced,
}

/// Keeps back what a request may cost. Its ticket exists before the wait for the disk: a client that leaves during it
/// gets its hold voided.
///
/// # Errors
/// 402 when the balance does not carry it, 503 when it could not be written. The request has ended then.
async fn hold(
    lane: &Lane,
    request: Request,
    model: Arc<str>,
    Cost { amount, priced }: Cost,
) -> Result<Ticket<Box<Admitted>>, ProxyError> {
    let order = Order {
        request: request.id,
        user: request.caller.user,
        account: Arc::clone(&request.caller.account),
        amount,
        model: Arc::clone(&model),
        at: request.at,
    };
    let own = |(mut request, model, priced): (Request, _, _), granted| {
        note_reserved(&request, amount, true);
        if let Some(key_permit) = &mut request.key_permit {
            key_permit.expect(request.input_estimate);
        }
        let hold = Some(Hold { granted, priced });
        Ticket::new(Admitted { request, model, hold }, lane.endings.clone())
    };
    let held = lane.shared.accounts.hold(order, &lane.durable, (request, model, priced), own).await;
    held.map_err(|not_held| match not_held {
        NotHeld::Refused((request, model, priced), refused) => {
            note_reserved(&request, amount, false);
            let error = match refused {
                HoldRefused::Insufficient(Insufficient { needed, available }) => {
                    ProxyError::InsufficientPoints { needed, available }
                }
                HoldRefused::Unavailable => ProxyError::Unavailable,
            };
            let (model, price_version) = (Some(model), Some(priced.version));
            refuse(lane, request, "", Refusal { error, model, price_version, filter_hash: None })
        }
        NotHeld::Unwritten(ticket, error) => {
            tracing::error!(%error, request = %ticket.request.id, "a hold could not be written");
            ticket.attempt().fail(&ProxyError::Unavailable, Outcome::Refused);
            ProxyError::Unavailable
        }
    })
}

fn note_reserved(request: &Request, amount: Micropoints, granted: bool) {
    let told = || detail!({"points": amount.to_string(), "granted": granted});
    trace::note(request.trace(), "reserve", told);
}

/// Ends a request that is not sent: `asked` is the model that it named.
fn refuse(lane: &Lane, request: Request, asked: &str, refusal: Refusal) -> ProxyError {
    let Refusal { error, model, price_version, filter_hash } = refusal;
    let model = model.unwrap_or_else(|| asked.into());
    let refused = Refused { request, model, price_version, filter_hash, error: error.clone() };
    ticket::refuse(&lane.endings, refused);
    error
}

/// Why a request is not sent, and what was known of it by then.
struct Refusal {
    error: ProxyError,
    model: Option<Arc<str>>,
    price_version: Option<u64>,
    filter_hash: Option<TextHash>,
}

impl From<ProxyError> for Refusal {
    fn from(error: ProxyError) -> Self {
        Self { error, model: None, price_version: None, filter_hash: None }
    }
}

type Decided<'r> = (Destination<'r>, Arc<str>, Option<Cost>);

/// Who serves the request, which model is paid, and what it may cost.
fn decide<'r>(
    snapshot: &'r RoutingSnapshot,
    directory: &'r Directory,
    request: &Request,
    inbound: &mut Inbound,
    default_output_max: u64,
) -> Result<Decided<'r>, Refusal> {
    limit::model(&request.caller, &inbound.model)?;
    if let Some(kind) = request.policies.lacks {
        return Err(ProxyError::Policy(words(kind)).into());
    }
    let destination = destination(snapshot, directory, request, &inbound.model)?;
    let (tier, target) = destination.first().ok_or(ProxyError::NoCredential)?;
    let (model, priced) = (Arc::clone(&tier.model), Priced::of(request, directory, target));
    let price_version = priced.as_ref().map(|priced| priced.version);
    let refused =
        |error, filter_hash| Refusal { error, model: Some(Arc::clone(&model)), price_version, filter_hash };
    filter::screen(request.screen(), inbound).map_err(|refusal| refused(refusal.error, refusal.hash))?;
    trace::note(
        request.trace(),
        "filter",
        || detail!({"passed": true, "component": request.policies.filter.is_some()}),
    );
    let cost = match priced {
        None => None,
        Some(priced) => {
            let amount = dearest(request, directory, &destination, inbound, default_output_max);
            let amount = amount.map_err(|error| refused(error, None))?;
            Some(Cost { amount, priced })
        }
    };
    Ok((destination, model, cost))
}

/// What a client is told of a policy.
const fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::ProviderAdapter => "provider",
        Kind::KeySelector => "key selection",
        Kind::PricingPolicy => "pricing",
        Kind::ContentFilter => "content filter",
    }
}

/// The most that a request may cost, whoever serves it.
///
/// # Errors
/// What the pricing policy's failure means.
fn dearest(
    request: &Request,
    directory: &Directory,
    destination: &Destination<'_>,
    inbound: &Inbound,
    default_output_max: u64,
) -> Result<Micropoints, ProxyError> {
    let pricing = request.policies.pricing.as_deref().ok_or(ProxyError::Policy("pricing"))?;
    let pricer = Pricer {
        pricing,
        rate: request.caller.price_rate,
        owners: select::owners(destination, directory, &request.caller),
        input_tokens: request.input_estimate,
        output_tokens_asked: inbound.output_tokens_max,
        hurried: inbound.hurried,
        default_output_max,
        at: request.at,
    };
    pricer.dearest(destination)
}

/// Prompt tokens by the size of the body.
pub(super) fn input_estimate(inbound: &Inbound) -> u64 {
    (inbound.body.len() as u64).div_ceil(BYTES_PER_PROMPT_TOKEN)
}

/// What a hold follows from, but for the price.
struct Pricer<'a> {
    pricing: &'a Pricing,
    rate: PriceRate,
    owners: Owners,
    input_tokens: u64,
    output_tokens_asked: Option<u64>,
    /// Whether a dearer service tier is asked for.
    hurried: bool,
    default_output_max: u64,
    at: Timestamp,
}

impl Pricer<'_> {
    /// The most that a request may cost whoever serves it: the hold of the dearest.
    ///
    /// # Errors
    /// As [`Pricer::quote`].
    fn dearest(&self, destination: &Destination<'_>) -> Result<Micropoints, ProxyError> {
        let mut seen: Vec<&ModelPrice> = Vec::with_capacity(1);
        let mut most = Micropoints::ZERO;
        for price in destination.targets().filter_map(|target| target.price) {
            if !seen.iter().any(|known| std::ptr::eq(*known, price)) {
                seen.push(price);
                most = most.max(self.quote(price)?);
            }
        }
        Ok(most)
    }

    /// The most that a request may cost at one price, by the rule that the pricing policy has declared; it is called
    /// only where it has none.
    ///
    /// # Errors
    /// A pricing fault always refuses, and so does a policy at rest after faults: what cannot be priced is not sent.
    fn quote(&self, price: &ModelPrice) -> Result<Micropoints, ProxyError> {
        // A model without output (embeddings) says so with 0.
        let unasked = self.default_output_max.min(price.output_tokens_max);
        let factor = if self.hurried { price.tiers.dearest() } else { TierFactors::STANDARD_PPM };
        let quote = Quote {
            rates: price.rates(self.input_tokens).at_factor(factor).charged_at(self.rate),
            input_tokens: self.input_tokens,
            output_tokens_max: self.output_tokens_asked.unwrap_or(unasked),
            own_credential: self.owners.own,
            platform_credential: self.owners.platform,
            at: self.at,
        };
        self.pricing.hold(&quote).map_err(|_| ProxyError::Policy("pricing"))
    }
}

/// Who may serve a request: of the models that may stand in, those that the caller's key may call.
///
/// # Errors
/// 404 for a model without a price, 503 where its provider is switched off, 400 where it takes no such calls in the
/// client's protocol.
fn destination<'r>(
    snapshot: &'r RoutingSnapshot,
    directory: &'r Directory,
    request: &Request,
    model: &str,
) -> Result<Destination<'r>, ProxyError> {
    let Request { caller, call, at, .. } = request;
    let found = Destination::find(snapshot, directory.prices.at(*at), *call, model);
    let mut destination = found.map_err(|unserved| match directory.prices.still_to_come(*at) {
        Some(first) => ProxyError::BeforePrices { now: *at, first },
        None => unserved_error(unserved, *call, model),
    })?;
    destination.tiers.retain(|tier| limit::model(caller, &tier.model).is_ok());
    limit::providers(caller, &mut destination)?;
    if destination.tiers.is_empty() { Err(ProxyError::NoCredential) } else { Ok(destination) }
}

fn unserved_error(unserved: Unserved, call: CallKind, model: &str) -> ProxyError {
    match unserved {
        Unserved::Unpriced => ProxyError::UnknownModel(model.to_owned()),
        Unserved::SwitchedOff => ProxyError::NoCredential,
        Unserved::Foreign => {
            let operation = call.operation.name();
            let words =
                format!("`{model}` cannot be called so: its provider has no {operation} for this protocol.");
            ProxyError::bad_request(words, Some("model"))
        }
    }
}
