//! A pricing policy: every delivered answer costs the same.
//!
//! Build and install:
//!
//! ```text
//! cargo build --release --target wasm32-wasip2
//! cp target/wasm32-wasip2/release/my_policy.wasm <data dir>/plugins/
//! ```
//!
//! For another kind of plugin, implement `Adapter`, `KeySelector` or `ContentFilter` instead and end the file with the
//! export macro of that kind; the SDK's first page has the table, `wit/README.md` the rules.

use serde::Deserialize;
use tollgate_plugin::config;
use tollgate_plugin::pricing::{Bill, Charge, Plan, Pricing, Quote, RatedHold, Reason};
use tollgate_plugin::types::Outcome;

/// The policy is its configuration. Amounts are micro-points: 1 point = 1,000,000.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlatRate {
    per_request: u32,
}

impl Pricing for FlatRate {
    fn configure(config: &str) -> Result<Self, String> {
        config::parse(config)
    }

    /// Every request holds the same, so the gateway need not ask. Without this method it calls `hold` each time.
    fn plan(&self) -> Plan {
        Plan::rated(RatedHold { own_ppm: 0, platform_ppm: 0, minimum: self.per_request.into() })
    }

    fn hold(&self, _quote: Quote) -> i64 {
        self.per_request.into()
    }

    fn settle(&self, bill: Bill) -> Charge {
        match bill.outcome {
            Outcome::Ok => Charge { amount: self.per_request.into(), reason: Reason::Full },
            _ => Charge { amount: 0, reason: Reason::Free },
        }
    }
}

tollgate_plugin::export_pricing!(FlatRate);

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_plugin::pricing::Item;
    use tollgate_plugin::types::{Class, Owner, Quality};

    /// What a request that used a thousand tokens costs with this outcome, at two points a million.
    fn settle(outcome: Outcome) -> i64 {
        let items = vec![Item { class: Class::Input.code(), units: 1_000, rate: 2_000_000 }];
        let (quality, owner) = (Quality::Exact, Owner::Platform);
        let policy = FlatRate::configure(r#"{"per_request": 250000}"#).unwrap();
        policy.settle(Bill { items, request_rate: 0, quality, outcome, owner, at_ms: 0 }).amount
    }

    #[test]
    fn only_a_delivered_answer_costs_something() {
        assert_eq!(settle(Outcome::Ok), 250_000);
        assert_eq!(settle(Outcome::UpstreamError), 0);
    }

    #[test]
    fn the_price_must_be_set() {
        assert!(FlatRate::configure("{}").is_err());
    }
}
