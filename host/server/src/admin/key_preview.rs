//! What a key may do: which models, by whom they would be served, at which prices. Of a key that is there, or of limits
//! that nobody has been given yet. Nothing is called and nothing is kept.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::limits::KeyLimits;
use tollgate_core::price::ModelPrice;
use tollgate_core::protocol::Protocol;

use super::ask::{Ask, Caller, Nothing, Page, window};
use super::error::Problem;
use super::usage::named;
use crate::manage::Prices;
use crate::shared::{Asker, ModelPreview, PlacePreview};

/// Of which key, or of which limits.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    /// A key, by its id: its user's, within its limits.
    key: Option<String>,
    /// Whose key it would be, by name or id, for an admin; one's own without it.
    user: Option<String>,
    /// Models that it might call, as patterns with `*`; in place of the key's own.
    allow_model: Vec<String>,
    /// Providers that might serve it; in place of the key's own.
    allow_provider: Vec<String>,
    /// Wire formats that it might speak; in place of the key's own.
    allow_protocol: Vec<String>,
    /// Whether its user's own provider keys alone might serve it.
    own_only: bool,
    /// Models to look at; all that there are without it.
    model: Vec<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Models of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// What would become of calls of a model.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Callable {
    /// As the client names it.
    model: String,
    /// Whether a call would be served now.
    served: bool,
    /// Why not: `model-not-allowed`, `protocol-not-allowed` or `provider-not-allowed` by the key, `unknown-model`,
    /// `unpriced`, `provider-off`, `no-such-calls`, `no-credential`, or `all-down` where all credentials rest or are
    /// disabled.
    why_not: Option<&'static str>,
    /// The wire formats in which it can be called.
    protocols: Vec<&'static str>,
    /// Who would serve it, in the order in which they are tried.
    places: Vec<Place>,
    /// What it costs; for admins alone.
    price: Option<Price>,
}

/// A place that may serve a model.
#[derive(Debug, Serialize, JsonSchema)]
struct Place {
    /// The provider; null for any that speaks the client's wire format.
    provider: Option<String>,
    /// The model that is paid: the one asked for, or one that stands in.
    paid: String,
    /// 0 for the model asked for, then counting those that stand in.
    stand_in: usize,
    /// What it is called there; for admins.
    called: Option<String>,
    /// Whether the request is translated.
    translated: bool,
    /// The caller's own credentials, those lent by others, and the operator's.
    credentials: BTreeMap<&'static str, Fit>,
}

/// Credentials of one kind of owner.
#[derive(Debug, Serialize, JsonSchema)]
struct Fit {
    /// Whether any is fit now.
    fit: bool,
    /// How many are; for admins, and for one's own.
    fit_count: Option<usize>,
    /// How many there are; for admins, and for one's own.
    count: Option<usize>,
}

/// What a model costs.
#[derive(Debug, Serialize, JsonSchema)]
struct Price {
    /// Whether it is the default of the provider.
    default: bool,
    /// The most output tokens of an answer.
    output_tokens_max: u64,
    /// Ordinary prices.
    prices: Prices,
}

/// `GET /management/v1/keys/dry-run`
pub(super) async fn show(ask: Ask<Nothing, Which>) -> Result<Page<Callable>, Problem> {
    let which = ask.query;
    let window = window::<String>(which.cursor.as_deref(), which.limit)?;
    let (user, limits) = asked(&ask.caller, &which).await?;
    let asker = Asker { user, limits: &limits };
    let wanted = (which.model.as_slice(), window.after.as_deref());
    let shared = &ask.caller.admin.shared;
    let found = shared.preview(&asker, wanted, window.limit + 1);
    let next_cursor = found.get(window.limit).and(found.get(window.limit - 1)).map(|last| last.model.clone());
    let admin = ask.caller.actor.is_admin();
    let data = found.into_iter().take(window.limit).map(|model| callable(model, admin)).collect();
    Ok(Page { data, next_cursor })
}

/// Whose key, and what it may do.
async fn asked(caller: &Caller, which: &Which) -> Result<(UserId, KeyLimits), Problem> {
    let (management, actor) = (&caller.management, &caller.actor);
    let (user, mut limits) = match which.key.as_deref() {
        Some(key) => {
            let id: ApiKeyId =
                key.parse().map_err(|_| Problem::bad_request("`key` is the id of an API key."))?;
            let key = actor.own(management.key(id).await, |key| key.user_id)?;
            (key.user_id, key.limits)
        }
        None if which.user.is_none() && actor.user().is_none() => {
            return Err(Problem::bad_request("`user` or `key` says whose it is."));
        }
        None => (named(management, actor, which.user.as_deref()).await?, KeyLimits::default()),
    };
    limits.own_only |= which.own_only || management.user(user).await?.own_only;
    if !which.allow_model.is_empty() {
        limits.models.clone_from(&which.allow_model);
    }
    if !which.allow_provider.is_empty() {
        limits.providers.clone_from(&which.allow_provider);
    }
    if !which.allow_protocol.is_empty() {
        let known = |name: &String| Protocol::ALL.into_iter().find(|protocol| protocol.name() == name);
        let protocols = which.allow_protocol.iter().map(known).collect::<Option<Vec<_>>>();
        limits.protocols = protocols.ok_or_else(|| Problem::bad_request("A protocol is not known."))?;
    }
    limits.check().map_err(Problem::bad_request)?;
    Ok((user, limits))
}

fn callable(model: ModelPreview, admin: bool) -> Callable {
    let ModelPreview { model, why_not, protocols, places, price } = model;
    let shown_price = |(price, default): (ModelPrice, bool)| Price {
        default,
        output_tokens_max: price.output_tokens_max,
        prices: Prices(price.base),
    };
    Callable {
        model,
        served: why_not.is_none(),
        why_not: why_not.map(|why| why.name()),
        protocols: protocols.into_iter().map(Protocol::name).collect(),
        places: places.into_iter().map(|place| shown(place, admin)).collect(),
        price: price.filter(|_| admin).map(shown_price),
    }
}

fn shown(place: PlacePreview, admin: bool) -> Place {
    let fit = |(owner, (fit, all)): (&'static str, (usize, usize))| {
        let known = admin || owner == "own";
        let count = |count| Some(count).filter(|_| known);
        (owner, Fit { fit: fit > 0, fit_count: count(fit), count: count(all) })
    };
    Place {
        provider: place.provider,
        paid: place.paid,
        stand_in: place.order,
        called: Some(place.called).filter(|_| admin),
        translated: !place.own_words,
        credentials: place.credentials.into_iter().map(fit).collect(),
    }
}
