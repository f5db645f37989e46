//! Charges points by the price table, at a discount when the caller's own credential served.
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `platform_ppm` | `1000000` | millionths of the table's price on a platform or shared credential |
//! | `own_credential_ppm` | `100000` | the same on the caller's own credential: a tenth of the price |
//! | `free_outcomes` | `["upstream-error"]` | outcomes that cost nothing |
//! | `minimum_charge` | `0` | least charge of a request that is not free, in micro-points, after the discount |
//! | `first_credential_reward` | `0` | micro-points granted once for the first own credential of a provider account |
//! | `lender_ppm` | `500000` | millionths of a call's charge at the table's prices that the owner of the shared credential behind it earns |
//!
//! A request that is not free costs its units at the rates of their classes plus the rate per request, times the
//! factor, rounded up once at the end. Usage that is missing although something was delivered is charged the rate per
//! request alone (and the minimum): the gateway estimates before it asks, so this happens only when nothing was seen.
//!
//! The hold is the same sum over the dearest classes that the request may turn out to use, at the larger factor of
//! those that may apply. That rule is data (`rated`), so the gateway computes it and asks only for the charge.
//!
//! Sums are exact in 128 bits and the result is kept within `0..=i64::MAX`.

use serde::Deserialize;
use tollgate_plugin::config;
use tollgate_plugin::pricing::{
    Bill, Charge, Plan, Pricing, Quote, RatedHold, Reason, Rewards, UNITS_PER_RATE,
};
use tollgate_plugin::types::{Outcome, Owner, Quality};

/// Parts of a factor that make a whole.
const PPM: i128 = 1_000_000;

/// The policy and its configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscountPoints {
    platform_ppm: u32,
    own_credential_ppm: u32,
    free_outcomes: Vec<FreeOutcome>,
    minimum_charge: u32,
    first_credential_reward: u32,
    lender_ppm: u32,
}

impl Default for DiscountPoints {
    fn default() -> Self {
        Self {
            platform_ppm: 1_000_000,
            own_credential_ppm: 100_000,
            free_outcomes: vec![FreeOutcome::UpstreamError],
            minimum_charge: 0,
            first_credential_reward: 0,
            lender_ppm: 500_000,
        }
    }
}

/// An [`Outcome`] as configuration spells it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FreeOutcome {
    Ok,
    Empty,
    Partial,
    CancelledBeforeFirstByte,
    CancelledAfterFirstByte,
    UpstreamError,
    Unknown,
}

impl FreeOutcome {
    const fn outcome(self) -> Outcome {
        match self {
            Self::Ok => Outcome::Ok,
            Self::Empty => Outcome::Empty,
            Self::Partial => Outcome::Partial,
            Self::CancelledBeforeFirstByte => Outcome::CancelledBeforeFirstByte,
            Self::CancelledAfterFirstByte => Outcome::CancelledAfterFirstByte,
            Self::UpstreamError => Outcome::UpstreamError,
            Self::Unknown => Outcome::Unknown,
        }
    }
}

impl Pricing for DiscountPoints {
    fn configure(config: &str) -> Result<Self, String> {
        let policy: Self = config::parse(config)?;
        if policy.lender_ppm > 1_000_000 {
            return Err("configuration: lender_ppm is at most 1000000".to_owned());
        }
        Ok(policy)
    }

    fn plan(&self) -> Plan {
        Plan::rated(RatedHold {
            own_ppm: self.own_credential_ppm,
            platform_ppm: self.platform_ppm,
            minimum: self.minimum_charge.into(),
        })
        .with_rewards(Rewards {
            first_credential: self.first_credential_reward.into(),
            lender_ppm: self.lender_ppm,
        })
    }

    fn hold(&self, quote: Quote) -> i64 {
        let factor = match (quote.platform_credential, quote.own_credential) {
            (true, true) => self.platform_ppm.max(self.own_credential_ppm),
            (true, false) => self.platform_ppm,
            (false, _) => self.own_credential_ppm,
        };
        charge(quote.price(), factor).max(i64::from(self.minimum_charge))
    }

    fn settle(&self, bill: Bill) -> Charge {
        if self.free_outcomes.iter().any(|free| free.outcome() == bill.outcome) {
            return Charge { amount: 0, reason: Reason::Free };
        }
        let price = match bill.quality {
            Quality::Missing => i128::from(bill.request_rate.max(0)) * UNITS_PER_RATE,
            Quality::Exact | Quality::Estimated => bill.price(),
        };
        let (factor, reason) = match bill.owner {
            Owner::User => (self.own_credential_ppm, Reason::OwnCredential),
            Owner::Platform | Owner::Shared => (self.platform_ppm, Reason::Full),
        };
        Charge { amount: charge(price, factor).max(i64::from(self.minimum_charge)), reason }
    }
}

/// Micro-points at `factor` millionths of a price in millionths of a micro-point, rounded up.
fn charge(price: i128, factor: u32) -> i64 {
    let scaled = price.saturating_mul(i128::from(factor));
    let divisor = UNITS_PER_RATE * PPM;
    i64::try_from(scaled.saturating_add(divisor - 1) / divisor).unwrap_or(i64::MAX)
}

tollgate_plugin::export_pricing!(DiscountPoints);

#[cfg(test)]
mod tests;
