//! A pricing policy that charges less than nothing for large requests.

use tollgate_plugin::pricing::{Bill, Charge, Pricing, Quote, Reason};

/// Takes any configuration.
#[derive(Debug)]
pub struct Refund;

/// Tokens above which a request earns its caller money.
const LARGE: u64 = 1000;

impl Pricing for Refund {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn hold(&self, quote: Quote) -> i64 {
        if quote.input_tokens > LARGE { -1 } else { 1 }
    }

    fn settle(&self, bill: Bill) -> Charge {
        let amount = if bill.usage.input > LARGE { i64::MIN } else { 1 };
        Charge { amount, reason: Reason::Full }
    }
}

tollgate_plugin::export_pricing!(Refund);
