//! Whether a request may be sent: somebody serves it, the filter passes it, and the caller's account carries what it
//! may cost.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tollgate_core::decisions::Screened;
use tollgate_core::hold::Quote;
use tollgate_core::line::{plain, shortened};
use tollgate_core::points::Micropoints;
use tollgate_core::price::{ModelPrice, PriceRate, rounded_up};
use tollgate_core::time::Timestamp;
use tollgate_runtime::{Kind, Pricing};

use super::error::ProxyError;
use super::extras::Extras;
use super::filter;
use super::form::Form;
use super::lane::Lane;
use super::limit;
use super::read::Inbound;
use super::refusal::{Refusal, refuse};
use super::request::{Priced, Request};
use super::reserve::{self, Cost, Output};
use super::select::{self, Owners};
use super::states::Admitted;
use super::ticket::Ticket;
use crate::routing::plan::{Destination, Target, Unserved};
use crate::routing::snapshot::RoutingSnapshot;
use crate::shared::Shared;
use crate::state::directory::Directory;
use crate::state::trace::{self, detail};

/// In this header a client is told of an output limit that the gateway has put in, in tokens.
const OUTPUT_LIMIT: HeaderName = HeaderName::from_static("x-tollgate-output-limit");
/// Bytes of a request that stand for one prompt token when a hold is estimated: low, so that the hold is rather too
/// large.
const BYTES_PER_PROMPT_TOKEN: u64 = 3;

/// Bytes of a model's name that are shown to those who run the gateway.
const MODEL_BYTES_SHOWN: usize = 256;

/// A request that may be sent, and who may serve it.
pub(super) struct Admission<'r> {
    pub(super) inbound: Inbound,
    pub(super) destination: Destination<'r>,
    pub(super) ticket: Ticket<Box<Admitted>>,
    /// The output limit that the gateway has put in.
    pub(super) output_limit: Option<u64>,
}

/// Decides about a request, and writes down what is reserved for it.
///
/// # Errors
/// Whatever speaks against it. The request has ended then.
pub(super) async fn admit<'r>(
    lane: &Lane,
    snapshot: &'r Rc<RoutingSnapshot>,
    directory: &'r Directory,
    mut request: Request,
    mut inbound: Inbound,
) -> Result<Admission<'r>, ProxyError> {
    let decided = decide(&lane.shared, snapshot, directory, &request, &mut inbound);
    let (destination, model, cost);
    (destination, model, cost, request.screened) = match decided {
        Ok(decided) => decided,
        Err(refusal) => return Err(refuse(lane, request, &inbound.model, refusal)),
    };
    let (ticket, output_limit) = match cost {
        None => (
            Ticket::new(
                Admitted { request, model, hold: None, stand_in: 0, left_out: None },
                lane.endings.clone(),
            ),
            None,
        ),
        Some(cost) => reserve::hold(lane, request, model, &cost).await?,
    };
    if let Some(tokens) = output_limit {
        inbound.limit_output(tokens);
    }
    Ok(Admission { inbound, destination, ticket, output_limit })
}

/// Tells the client of an output limit that the gateway has put in.
pub(super) fn tell(headers: &mut HeaderMap, output_limit: Option<u64>) {
    if let Some(tokens) = output_limit {
        headers.insert(OUTPUT_LIMIT, HeaderValue::from(tokens));
    }
}

type Decided<'r> = (Destination<'r>, Arc<str>, Option<Cost>, Screened);

/// Who serves the request, which model is paid, and what it may cost.
fn decide<'r>(
    shared: &Shared,
    snapshot: &'r RoutingSnapshot,
    directory: &'r Directory,
    request: &Request,
    inbound: &mut Inbound,
) -> Result<Decided<'r>, Refusal> {
    limit::model(&request.caller, &inbound.model)?;
    if let Some(kind) = request.policies.lacks {
        return Err(ProxyError::Policy(words(kind)).into());
    }
    let destination = destination(snapshot, directory, request, &inbound.model)?;
    let (tier, target) = destination.first().ok_or(ProxyError::NoCredential)?;
    let (model, priced) = (Arc::clone(&tier.model), Priced::of(request, directory, target));
    let price_version = priced.as_ref().map(|priced| priced.version);
    let refused = |error, filter_hash: Option<_>, screened| Refusal {
        error,
        model: Some(Arc::clone(&model)),
        price_version,
        filter_hash: filter_hash.map(Box::new),
        screened,
    };
    let screened = filter::screen(request.screen(), inbound)
        .map_err(|refusal| refused(refusal.error, refusal.hash, refusal.screened))?;
    trace::note(
        request.trace(),
        "filter",
        || detail!({"passed": true, "component": request.policies.filter.is_some()}),
    );
    let cost = match priced {
        None => None,
        Some(priced) => {
            let cost = dearest(shared, request, directory, &destination, inbound, priced);
            Some(cost.map_err(|error| refused(error, None, screened))?)
        }
    };
    Ok((destination, model, cost, screened))
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

/// What a request may cost, at the dearest price of those who may serve it.
///
/// # Errors
/// 400 for what has no price where it is asked for, and what the pricing policy's failure means.
fn dearest(
    shared: &Shared,
    request: &Request,
    directory: &Directory,
    destination: &Destination<'_>,
    inbound: &Inbound,
    priced: Priced,
) -> Result<Cost, ProxyError> {
    let pricing = request.policies.pricing.as_deref().ok_or(ProxyError::Policy("pricing"))?;
    let limits = &shared.settings.limits;
    let own_words = destination.targets().any(Target::is_in_own_words);
    for target in destination.targets().filter(|target| target.is_in_own_words()) {
        let Some(price) = target.price else { continue };
        inbound.extras.check(&inbound.model, price, &limits.unpriced_allowed)?;
    }
    let prices = || destination.targets().filter_map(|target| target.price);
    let model_max = prices().map(|price| price.output_tokens_max).max().unwrap_or(0);
    let output = Output::of(inbound, model_max, limits, shared.habits.expected(&inbound.model));
    let pricer = Pricer {
        rate: request.caller.price_rate,
        owners: select::owners(destination, directory, &request.caller),
        input_tokens: request
            .input_estimate
            .saturating_add(inbound.extras.unseen_tokens(limits.unseen_prompt_tokens, own_words)),
        output_tokens_max: output.most.saturating_mul(output.answers),
        extras: &inbound.extras,
        at: request.at,
    };
    Ok(Cost { priced, quote: pricer.dearest(pricing, prices())?, output })
}

/// Prompt tokens by the size of the body.
pub(super) fn input_estimate(inbound: &Inbound) -> u64 {
    // Of a form, files are no text.
    let bytes = inbound.form.as_ref().map_or(inbound.body.len(), Form::text_bytes);
    (bytes as u64).div_ceil(BYTES_PER_PROMPT_TOKEN)
}

/// What a hold follows from, but for the price.
struct Pricer<'a> {
    rate: PriceRate,
    owners: Owners,
    input_tokens: u64,
    output_tokens_max: u64,
    extras: &'a Extras,
    at: Timestamp,
}

impl Pricer<'_> {
    /// The quote of which most is held: by the rule that the pricing policy has declared; it is called only where it
    /// has none.
    ///
    /// # Errors
    /// As [`reserve::quoted`].
    fn dearest<'p>(
        &self,
        pricing: &Pricing,
        prices: impl Iterator<Item = &'p ModelPrice>,
    ) -> Result<Quote, ProxyError> {
        let mut seen: Vec<&ModelPrice> = Vec::with_capacity(1);
        let mut dearest: Option<(Micropoints, Quote)> = None;
        for price in prices {
            if seen.iter().any(|known| std::ptr::eq(*known, price)) {
                continue;
            }
            seen.push(price);
            let quote = self.quote(price);
            // Of one alone nothing has to be compared.
            let amount =
                if dearest.is_none() { Micropoints::ZERO } else { reserve::quoted(pricing, &quote)? };
            dearest = match dearest {
                Some((known, first)) if amount <= known.max(reserve::quoted(pricing, &first)?) => {
                    Some((known, first))
                }
                _ => Some((amount, quote)),
            };
        }
        dearest.map(|(_, quote)| quote).ok_or(ProxyError::NoCredential)
    }

    /// The most that a request may cost at one price.
    fn quote(&self, price: &ModelPrice) -> Quote {
        let mut rates = *price.rates(self.input_tokens);
        let tools = rounded_up(self.extras.cost(&rates));
        rates.request = rates.request.saturating_add(tools.get());
        Quote {
            rates: rates.at_factor(self.extras.tier_ppm(price)).charged_at(self.rate),
            input_tokens: self.input_tokens,
            output_tokens_max: self.output_tokens_max,
            own_credential: self.owners.own,
            platform_credential: self.owners.platform,
            at: self.at,
        }
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
        None => unserved_error(unserved, request, model),
    })?;
    destination.tiers.retain(|tier| limit::model(caller, &tier.model).is_ok());
    limit::providers(caller, &mut destination)?;
    if caller.own_only && !select::owners(&destination, directory, caller).own {
        return Err(ProxyError::OwnOnly);
    }
    if destination.tiers.is_empty() { Err(ProxyError::NoCredential) } else { Ok(destination) }
}

fn unserved_error(unserved: Unserved<'_>, request: &Request, model: &str) -> ProxyError {
    let Request { id, caller, call, .. } = request;
    match unserved {
        Unserved::Unknown | Unserved::Unpriced(_) => {
            let unpriced = unpriced(unserved, model);
            tracing::warn!(request = %id, "{}", unpriced.message());
            if caller.admin { unpriced } else { ProxyError::UnknownModel(model.to_owned()) }
        }
        Unserved::SwitchedOff => ProxyError::NoCredential,
        Unserved::Foreign => {
            let operation = call.operation.name();
            let words =
                format!("`{model}` cannot be called so: its provider has no {operation} for this protocol.");
            ProxyError::bad_request(words, Some("model"))
        }
    }
}

/// What those who run the gateway are told of a model that has no price: what would give it one.
fn unpriced(unserved: Unserved<'_>, model: &str) -> ProxyError {
    let provider = if let Unserved::Unpriced(provider) = unserved { Some(provider) } else { None };
    // What goes to a provider by the prefix of its name is priced by what follows.
    let rest = provider.and_then(|provider| model.strip_prefix(provider)?.strip_prefix('/'));
    let model = shortened(&plain(rest.unwrap_or(model)), MODEL_BYTES_SHOWN).into_owned();
    ProxyError::Unpriced { model, provider: provider.map(str::to_owned) }
}
