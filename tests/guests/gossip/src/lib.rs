//! A pricing policy that tries to write to the log, which its world does not offer.

use tollgate_plugin::log;
use tollgate_plugin::pricing::{Bill, Charge, Pricing, Quote, Reason};

/// Takes any configuration.
#[derive(Debug)]
pub struct Gossip;

impl Pricing for Gossip {
    fn configure(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn hold(&self, quote: Quote) -> i64 {
        log!(Info, "someone asks for {} tokens", quote.input_tokens);
        1
    }

    fn settle(&self, _bill: Bill) -> Charge {
        Charge { amount: 1, reason: Reason::Full }
    }
}

tollgate_plugin::export_pricing!(Gossip);
