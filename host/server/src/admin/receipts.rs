//! What charges rest on. A user sees what was charged for which tokens; the prices and rates that this came from are
//! the operators' to see, and are another route's answer, so that none of them can slip into this one.

use schemars::JsonSchema;
use serde::Serialize;
use tollgate_core::id::RequestId;
use tollgate_core::receipt::{Line as Receipted, Reason, Receipt};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Usage;

use super::ask::{Ask, Caller};
use super::error::Problem;
use crate::manage::{Prices, Units};

/// What was charged for one request.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Charged {
    /// The request.
    request: String,
    /// The model that was priced.
    model: String,
    /// How the request ended.
    outcome: &'static str,
    /// Whose credential served it: `user`, `platform` or `shared`.
    owner: &'static str,
    /// When it was admitted.
    admitted_at_ms: u64,
    /// What was used.
    usage: Used,
    /// The version of the price table.
    price_version: u64,
    /// The entry of that table, where it is the default of a provider (`local/*`) and no price of the model's own.
    default_price: Option<String>,
    /// SHA-256 of the pricing component.
    pricing_component: String,
    /// What was charged for what. The points sum to the total.
    lines: Vec<Line>,
    /// The whole charge, in points.
    total: String,
}

/// Units in disjoint classes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Used {
    #[serde(flatten)]
    units: Units,
    /// `exact`, `estimated` or `missing`.
    quality: &'static str,
    /// How the request was served, where that changes its price.
    service_tier: &'static str,
}

/// A part of a charge.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Line {
    /// A class of usage, or `request`.
    class: &'static str,
    /// Units of the class, or 1 request.
    units: u64,
    /// Its part of the charge.
    points: String,
    /// `full`, `own-credential` or `free`; null in the oldest receipts.
    reason: Option<&'static str>,
}

/// What a charge was computed from.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Inputs {
    #[serde(flatten)]
    charged: Charged,
    /// The user.
    user: String,
    /// SHA-256 of the pricing component's configuration.
    pricing_config: String,
    /// The table's prices that applied.
    prices: Prices,
    /// What tokens cost in the tier that served, in millionths of them.
    service_tier_ppm: u32,
    /// What the user paid of them, in millionths.
    price_rate_ppm: u32,
    /// What was reserved, in points; null in the oldest receipts.
    held: Option<String>,
}

/// `GET /management/v1/receipts/{request}`
pub(super) async fn show(ask: Ask<RequestId>) -> Result<Charged, Problem> {
    Ok(charged(&find(&ask.caller, ask.path).await?))
}

/// `GET /management/v1/receipts/{request}/inputs`
pub(super) async fn inputs(ask: Ask<RequestId>) -> Result<Inputs, Problem> {
    let receipt = find(&ask.caller, ask.path).await?;
    Ok(Inputs {
        charged: charged(&receipt),
        user: receipt.user.to_string(),
        pricing_config: hex(&receipt.config_digest),
        prices: Prices(receipt.rates),
        service_tier_ppm: receipt.tier_ppm,
        price_rate_ppm: receipt.price_rate.ppm(),
        held: receipt.held.map(|held| held.to_string()),
    })
}

async fn find(caller: &Caller, request: RequestId) -> Result<Receipt, Problem> {
    caller.actor.own(caller.management.receipt(request).await, |receipt| receipt.user)
}

fn charged(receipt: &Receipt) -> Charged {
    Charged {
        request: receipt.request.to_string(),
        model: receipt.model.clone(),
        outcome: receipt.outcome.name(),
        owner: receipt.owner.name(),
        admitted_at_ms: Timestamp::millis(receipt.admitted_at),
        usage: used(&receipt.usage),
        price_version: receipt.price_version,
        default_price: receipt.default_price.clone(),
        pricing_component: hex(&receipt.pricing_component),
        lines: receipt.lines().iter().map(line).collect(),
        total: receipt.charge.to_string(),
    }
}

fn used(usage: &Usage) -> Used {
    Used { units: Units(*usage), quality: usage.quality.name(), service_tier: usage.tier.name() }
}

fn line(line: &Receipted) -> Line {
    Line {
        class: line.class,
        units: line.units,
        points: line.amount.to_string(),
        reason: line.reason.map(Reason::name),
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
