//! What charges rest on. A user sees what was charged for which tokens; the prices and rates that this came from are the
//! operators' to see, and are another route's answer, so that none of them can slip into this one.

use schemars::JsonSchema;
use serde::Serialize;
use tollgate_core::id::RequestId;
use tollgate_core::points::Micropoints;
use tollgate_core::receipt::{Line as Receipted, Reason, Receipt};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Usage;

use super::ask::{Ask, Caller};
use super::error::Problem;

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
    /// SHA-256 of the pricing component.
    pricing_component: String,
    /// What was charged for what. The points sum to the total.
    lines: Vec<Line>,
    /// The whole charge, in points.
    total: String,
}

/// Tokens in disjoint classes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Used {
    input: u64,
    cache_read: u64,
    cache_write_short: u64,
    cache_write_long: u64,
    output: u64,
    reasoning: u64,
    audio_input: u64,
    audio_output: u64,
    /// `exact`, `estimated` or `missing`.
    quality: &'static str,
}

/// A part of a charge.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Line {
    /// A class of tokens, or `request`.
    class: &'static str,
    /// Tokens, or 1 request.
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
    /// What the user paid of them, in millionths.
    price_rate_ppm: u32,
    /// What was reserved, in points; null in the oldest receipts.
    held: Option<String>,
}

/// Points per million tokens of each class, and per request.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Prices {
    input: String,
    cache_read: String,
    cache_write_short: String,
    cache_write_long: String,
    output: String,
    audio_input: String,
    audio_output: String,
    request: String,
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
        prices: prices(receipt.rates.in_order()),
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
        pricing_component: hex(&receipt.pricing_component),
        lines: receipt.lines().iter().map(line).collect(),
        total: receipt.charge.to_string(),
    }
}

fn used(usage: &Usage) -> Used {
    Used {
        input: usage.input,
        cache_read: usage.cache_read,
        cache_write_short: usage.cache_write_short,
        cache_write_long: usage.cache_write_long,
        output: usage.output,
        reasoning: usage.reasoning,
        audio_input: usage.audio_input,
        audio_output: usage.audio_output,
        quality: usage.quality.name(),
    }
}

fn line(line: &Receipted) -> Line {
    Line {
        class: line.class,
        units: line.units,
        points: line.amount.to_string(),
        reason: line.reason.map(Reason::name),
    }
}

pub(super) fn prices(in_order: [i64; 8]) -> Prices {
    let [input, cache_read, cache_write_short, cache_write_long, output, rest @ ..] =
        in_order.map(|price| Micropoints::new(price).to_string());
    let [audio_input, audio_output, request] = rest;
    Prices {
        input,
        cache_read,
        cache_write_short,
        cache_write_long,
        output,
        audio_input,
        audio_output,
        request,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
