//! A pricing policy that charges less than nothing for large requests, and holds by a rule or on demand: as its text
//! says. It may also remember how many requests it has settled, and charge by that; or charge all that there is.

use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_plugin::pricing::{Bill, Charge, Plan, Pricing, Quote, RatedHold, Reason};
use tollgate_plugin::types::Class;

/// Takes any configuration.
#[derive(Debug)]
pub struct Refund {
    plan: Plan,
    /// Requests after which their number is what each costs.
    counts_after: u64,
    /// What each large request costs.
    takes: Option<i64>,
}

/// Tokens above which a request earns its caller money.
const LARGE: u64 = 1000;
static SETTLED: AtomicU64 = AtomicU64::new(0);

impl Pricing for Refund {
    fn configure(config: &str) -> Result<Self, String> {
        let flat = |minimum| Plan::rated(RatedHold { own_ppm: 0, platform_ppm: 0, minimum });
        let plan = match config {
            r#"{"hold":"rated"}"# => flat(7),
            r#"{"hold":"negative"}"# => flat(-1),
            _ => Plan::ASK,
        };
        let counts_after = match config {
            r#"{"counts":"always"}"# => 0,
            r#"{"counts":"later"}"# => 1500,
            _ => u64::MAX,
        };
        let takes = match config {
            r#"{"takes":"all"}"# => Some(i64::MAX),
            r#"{"takes":"most"}"# => Some(1_000_000_000_000_000),
            r#"{"takes":"more"}"# => Some(1_000_000_000_000_001),
            _ => None,
        };
        Ok(Self { plan, counts_after, takes })
    }

    fn plan(&self) -> Plan {
        self.plan
    }

    fn hold(&self, quote: Quote) -> i64 {
        if quote.input_tokens > LARGE { self.takes.unwrap_or(-1) } else { 1 }
    }

    fn settle(&self, bill: Bill) -> Charge {
        let settled = SETTLED.fetch_add(1, Ordering::Relaxed);
        let counted = if settled >= self.counts_after { settled.cast_signed() } else { 1 };
        let input = bill.items.iter().find(|item| item.class == Class::Input.code());
        let large = input.is_some_and(|item| item.units > LARGE);
        let amount = match self.takes {
            Some(takes) if large => takes,
            None if large && self.counts_after == u64::MAX => i64::MIN,
            _ => counted,
        };
        Charge { amount, reason: Reason::Full }
    }
}

tollgate_plugin::export_pricing!(Refund);
