//! Prices over HTTP, for operators alone: what models cost, and what each user pays of it. No user's answer is made
//! here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_core::price::PriceRate;
use tollgate_core::time::Timestamp;

use super::ask::{Ask, Nothing, Page, window};
use super::error::Problem;
use crate::manage::{Here, Payer, PriceList, PriceVersion, Prices};
use crate::prices::set::Setting;
use crate::prices::{export, file};

/// Points for a dollar where nothing else is said, as in the shipped list.
const POINTS_PER_USD: u32 = 1000;

/// Which entries.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// Whose rates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichPayers {
    /// A part of the user's name, whatever its case.
    search: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// A price list to publish.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"list": "points_per_usd = 1000\n[[model]]\nname = \"m\"\nprovider = \"openai\"\noutput_tokens_max = 9\ninput = \"1\"\ncache_read = \"1\"\ncache_write_short = \"1\"\ncache_write_long = \"1\"\noutput = \"1\"\naudio_input = \"1\"\naudio_output = \"1\"\n", "effective_at_ms": 32_503_680_000_000_u64}))]
pub(super) struct NewPrices {
    /// The list as TOML, in the form of the shipped `prices.toml`. It replaces the one before as a whole.
    list: String,
    /// From when on it is in force; at once without it.
    effective_at_ms: Option<u64>,
    /// What for.
    note: Option<String>,
}

/// An entry of the prices to give or to change. What is not said stays as it was; of a new entry, caches and audio cost
/// what text does, and tools have no price.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"name": "m", "provider": "openai", "prices": {"input": "0.15", "output": "0.6"}}))]
pub(super) struct NewPrice {
    /// The model, or `provider/*` for all models of a provider that have no price of their own.
    name: String,
    /// The provider that serves it, where no route and no price says so yet.
    provider: Option<String>,
    /// Everything costs nothing that is not said beside this.
    #[serde(default)]
    free: bool,
    /// US dollars, as decimal numbers, by class of usage: for a million tokens, or for one of anything else, or of the
    /// `request`.
    #[serde(default)]
    prices: BTreeMap<String, String>,
    /// Prompt tokens above which other prices apply.
    long_prompt_above: Option<u64>,
    /// Those prices.
    #[serde(default)]
    long_prompt_prices: BTreeMap<String, String>,
    /// What tokens cost in other service tiers, as parts of the prices: `{"flex": "0.5"}`.
    #[serde(default)]
    service_tiers: BTreeMap<String, String>,
    /// The most output tokens of an answer; 0 for embeddings.
    output_tokens_max: Option<u64>,
    /// Points for a dollar; 1000 without it.
    points_per_usd: Option<u32>,
    /// From when on it is in force; at once without it.
    effective_at_ms: Option<u64>,
    /// What for.
    note: Option<String>,
}

/// A version of the prices as a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Exported {
    version: u64,
    /// The list as TOML, as it can be published.
    list: String,
}

/// A version of the prices.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Version {
    version: u64,
    /// How many models it prices.
    models: u64,
    created_at_ms: u64,
    /// From when on it is in force, until a later one is.
    effective_at_ms: u64,
    /// When it was withdrawn, before it took over.
    withdrawn_at_ms: Option<u64>,
    /// Who published it.
    actor: Option<String>,
    /// What for.
    note: Option<String>,
}

/// What a model costs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Model {
    model: String,
    provider: String,
    output_tokens_max: u64,
    /// Ordinary prices.
    prices: Prices,
    /// What tokens cost in other service tiers, in millionths of the prices.
    service_tiers_ppm: BTreeMap<&'static str, u32>,
    /// Prompt tokens above which other prices apply.
    long_prompt_above: Option<u64>,
    /// Those prices.
    long_prompt_prices: Option<Prices>,
}

/// What one user pays of the prices.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Rate {
    /// The user's id.
    user: String,
    name: String,
    /// Millionths of the prices.
    ppm: u32,
}

/// Rates to set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"ppm": 1_000_000, "all": true}))]
pub(super) struct NewRates {
    /// Millionths of the prices: 1,000,000 for the whole.
    ppm: u32,
    /// The names of the users; none of them changes when one does not exist.
    #[serde(default)]
    users: Vec<String>,
    /// All users that there are.
    #[serde(default)]
    all: bool,
}

/// Rates that were set.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Set {
    /// For how many users.
    users: u64,
}

/// `GET /management/v1/prices`
pub(super) async fn versions(ask: Ask<Nothing, Which>) -> Result<Page<Version>, Problem> {
    let window = window(ask.query.cursor.as_deref(), ask.query.limit)?;
    Ok(Page::shown(ask.caller.management.price_versions(window).await?, version))
}

/// `GET /management/v1/prices/{version}`
pub(super) async fn models(ask: Ask<u64, Which>) -> Result<Page<Model>, Problem> {
    let window = window(ask.query.cursor.as_deref(), ask.query.limit)?;
    let page = ask.caller.management.model_prices(ask.path, window).await?;
    Ok(Page::shown(page, |(model, price)| Model {
        model,
        provider: price.provider.clone(),
        output_tokens_max: price.output_tokens_max,
        prices: Prices(price.base),
        service_tiers_ppm: price.tiers.stated().map(|(tier, ppm)| (tier.name(), ppm)).collect(),
        long_prompt_above: price.long_prompt.map(|tier| tier.above_tokens),
        long_prompt_prices: price.long_prompt.map(|tier| Prices(tier.rates)),
    }))
}

/// `POST /management/v1/prices`
pub(super) async fn publish(ask: Ask<Nothing, Nothing, NewPrices>) -> Result<Version, Problem> {
    let (caller, new) = (&ask.caller, ask.body);
    let models = file::parse(&new.list).map_err(Problem::bad_request)?;
    let effective_at = new.effective_at_ms.map(Timestamp::from_millis);
    let list = PriceList { models, effective_at, note: new.note };
    let number = caller.management.publish_prices(&list).await?;
    Ok(version(caller.management.price_version(number).await?))
}

/// `PATCH /management/v1/prices`
pub(super) async fn set(ask: Ask<Nothing, Nothing, NewPrice>) -> Result<Version, Problem> {
    let (caller, new) = (&ask.caller, ask.body);
    let effective_at = new.effective_at_ms.map(Timestamp::from_millis);
    let setting = Setting {
        name: new.name,
        provider: new.provider,
        free: new.free,
        prices: new.prices,
        long_prompt_above: new.long_prompt_above,
        long_prompt: new.long_prompt_prices,
        service_tiers: new.service_tiers,
        output_tokens_max: new.output_tokens_max,
        points_per_usd: new.points_per_usd.unwrap_or(POINTS_PER_USD),
    };
    let upstreams = caller.admin.shared.upstreams.load_full();
    let here = Here { providers: &upstreams.providers, models: &upstreams.models };
    let changed = caller.management.with_price(setting, effective_at, here).await?;
    let list = PriceList { models: changed.models, effective_at, note: new.note };
    let number = caller.management.publish_changed(&list, changed.base).await?;
    Ok(version(caller.management.price_version(number).await?))
}

/// `GET /management/v1/prices/{version}/list`
pub(super) async fn list(ask: Ask<u64>) -> Result<Exported, Problem> {
    let table = ask.caller.management.prices(ask.path).await?;
    Ok(Exported { version: ask.path, list: export::list(&table, &[]) })
}

/// `DELETE /management/v1/prices/{version}`
pub(super) async fn withdraw(ask: Ask<u64>) -> Result<Nothing, Problem> {
    ask.caller.management.withdraw_prices(ask.path).await?;
    Ok(Nothing)
}

/// `GET /management/v1/price-rates`
pub(super) async fn rates(ask: Ask<Nothing, WhichPayers>) -> Result<Page<Rate>, Problem> {
    let part = ask.query.search.unwrap_or_default();
    let window = window(ask.query.cursor.as_deref(), ask.query.limit)?;
    let shown =
        |payer: Payer| Rate { user: payer.user_id.to_string(), name: payer.user, ppm: payer.rate.ppm() };
    Ok(Page::shown(ask.caller.management.price_rates(&part, window).await?, shown))
}

/// `PUT /management/v1/price-rates`
pub(super) async fn set_rates(ask: Ask<Nothing, Nothing, NewRates>) -> Result<Set, Problem> {
    let (caller, new) = (&ask.caller, ask.body);
    let rate = PriceRate::of_ppm(new.ppm);
    let rate = rate.ok_or_else(|| Problem::bad_request("a rate is at most 100000000"))?;
    if new.all != new.users.is_empty() {
        return Err(Problem::bad_request("give either `users` or `all`"));
    }
    let users = (!new.all).then_some(new.users.as_slice());
    Ok(Set { users: caller.management.set_price_rate(users, rate).await? })
}

fn version(known: PriceVersion) -> Version {
    Version {
        version: known.version,
        models: known.models,
        created_at_ms: known.created_at.millis(),
        effective_at_ms: known.effective_at.millis(),
        withdrawn_at_ms: known.withdrawn_at.map(Timestamp::millis),
        actor: known.actor,
        note: known.note,
    }
}
