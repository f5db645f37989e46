//! A pricing policy that charges less than nothing for large requests, and holds by a rule or on demand: as its text says.

use tollgate_plugin::pricing::{Bill, Charge, Plan, Pricing, Quote, RatedHold, Reason};
use tollgate_plugin::types::Class;

/// Takes any configuration.
#[derive(Debug)]
pub struct Refund(Plan);

/// Tokens above which a request earns its caller money.
const LARGE: u64 = 1000;

impl Pricing for Refund {
    fn configure(config: &str) -> Result<Self, String> {
        let flat = |minimum| Plan::rated(RatedHold { own_ppm: 0, platform_ppm: 0, minimum });
        Ok(Self(match config {
            r#"{"hold":"rated"}"# => flat(7),
            r#"{"hold":"negative"}"# => flat(-1),
            _ => Plan::ASK,
        }))
    }

    fn plan(&self) -> Plan {
        self.0
    }

    fn hold(&self, quote: Quote) -> i64 {
        if quote.input_tokens > LARGE { -1 } else { 1 }
    }

    fn settle(&self, bill: Bill) -> Charge {
        let input = bill.items.iter().find(|item| item.class == Class::Input.code());
        let large = input.is_some_and(|item| item.units > LARGE);
        let amount = if large { i64::MIN } else { 1 };
        Charge { amount, reason: Reason::Full }
    }
}

tollgate_plugin::export_pricing!(Refund);
