//! The receipt of a charge: every input of the price rule, frozen, with its result.
//!
//! Its canonical bytes ([`Receipt::canonical_bytes`]) can be hashed, chained and compared between machines. `tollgate
//! receipt verify` decodes them and asks the same component again. Operators see a receipt whole; its user sees the
//! [`lines`](Receipt::lines): what was charged for which tokens, from which neither list prices nor the price rate can
//! be told.

mod bytes;

use crate::id::{RequestId, UserId};
use crate::outcome::Outcome;
use crate::points::{CHARGE_MAX, Micropoints};
use crate::price::{PriceRate, Rates, rounded_up};
use crate::protocol::Owner;
use crate::time::Timestamp;
use crate::usage::{Class, Usage};

/// What was charged for one request, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The request.
    pub request: RequestId,
    /// Who pays.
    pub user: UserId,
    /// The model that was priced.
    pub model: String,
    /// The entry of the list that priced it, where that is the default of its provider; `None` for a price of its own.
    pub default_price: Option<String>,
    /// The price table in force at admission.
    pub price_version: u64,
    /// SHA-256 of the pricing component; zeros where none worked and the gateway's own rule was used.
    pub pricing_component: [u8; 32],
    /// SHA-256 of that component's configuration.
    pub config_digest: [u8; 32],
    /// Whose credential served the request.
    pub owner: Owner,
    /// The table's prices that applied, long-prompt tier resolved.
    pub rates: Rates,
    /// The tokens.
    pub usage: Usage,
    /// How the request ended.
    pub outcome: Outcome,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// The result.
    pub charge: Micropoints,
    /// What this user pays of the table's prices, as it was at admission.
    pub price_rate: PriceRate,
    /// What tokens cost in the tier that served, in millionths of the table's prices.
    pub tier_ppm: u32,
    /// What was reserved; `None` in a receipt of layout 1.
    pub held: Option<Micropoints>,
    /// The price rule's reason; `None` in a receipt of layout 1.
    pub reason: Option<Reason>,
}

/// Why a charge is what it is, by the pricing policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The platform's price.
    Full,
    /// The price of a call on the caller's own credential.
    OwnCredential,
    /// Nothing was delivered, or the rule forgives this outcome.
    Free,
}

impl Reason {
    /// The name used in receipts and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::OwnCredential => "own-credential",
            Self::Free => "free",
        }
    }
}

/// What was charged for one class of a request's usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The name of the [`Class`], or `request` for the request itself.
    pub class: &'static str,
    /// Tokens of the class, or 1 request.
    pub units: u64,
    /// Its part of the charge.
    pub amount: Micropoints,
    /// Why; `None` in a receipt of layout 1.
    pub reason: Option<Reason>,
}

/// Why bytes are not a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The version byte is unknown: a newer Tollgate wrote the receipt.
    #[error("receipt layout {0} is unknown")]
    Version(u8),
    /// The bytes end too early.
    #[error("the receipt is cut short")]
    Truncated,
    /// Bytes follow the last field.
    #[error("the receipt has bytes after its end")]
    Trailing,
    /// The named field holds no value of its type.
    #[error("the receipt's {0} is invalid")]
    Field(&'static str),
}

impl Receipt {
    /// The prices that the pricing policy was given: the table's in the tier that served, at the user's rate.
    #[must_use]
    pub fn charged_rates(&self) -> Rates {
        self.rates.at_factor(self.tier_ppm).charged_at(self.price_rate)
    }

    /// The charge, divided among the classes that were used in proportion to their prices. The amounts sum to the
    /// charge, to the micro-point; a charge that no price explains (a minimum, a flat price, a rule of the policy's
    /// own) is one for the request.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let mut weights = self.weights();
        if !self.is_of_prices() {
            weights.iter_mut().for_each(|(_, _, weight)| *weight = 0);
        }
        let total: u128 = weights.iter().map(|(_, _, weight)| weight).sum();
        let line = |class, units, amount| Line { class, units, amount, reason: self.reason };
        if total == 0 {
            let used = weights.iter().filter(|(class, units, _)| *units > 0 && *class != REQUEST);
            let mut lines: Vec<Line> =
                used.map(|(class, units, _)| line(class, *units, Micropoints::ZERO)).collect();
            if lines.is_empty() || self.charge != Micropoints::ZERO {
                lines.push(line(REQUEST, 1, self.charge));
            }
            return lines;
        }
        // Sums up to and including each class, so that the next line gets what rounding takes from this one.
        let charge = u128::try_from(self.charge.get()).unwrap_or(0);
        let (mut summed, mut shared) = (0, 0);
        let mut lines = Vec::new();
        for (class, units, weight) in weights {
            summed += weight;
            let until = i64::try_from(charge * summed / total).unwrap_or(i64::MAX);
            if units > 0 && (weight > 0 || class != REQUEST) {
                lines.push(line(class, units, Micropoints::new(until - shared)));
            }
            shared = until;
        }
        lines
    }

    /// Whether the charge is what the prices say, or that by one factor for all classes, in whole thousandths. Nothing
    /// tells a part of any other charge that belongs to a class.
    fn is_of_prices(&self) -> bool {
        // The gateway's own rule goes by the prices, and old receipts do not tell.
        if self.pricing_component == [0; 32] || self.reason.is_none() || self.charge >= CHARGE_MAX {
            return true;
        }
        let (cost, charge) = (self.charged_rates().cost(&self.usage), i128::from(self.charge.get()));
        if cost <= 0 {
            return true;
        }
        let factor = charge * THOUSANDTHS / cost;
        let says = |factor: i128| Some(rounded_up(cost.checked_mul(factor)? / 1000).get());
        // A policy of the first contract rounds what it has no words for by itself.
        [factor - 1, factor, factor + 1]
            .into_iter()
            .any(|factor| says(factor).is_none_or(|amount| amount.abs_diff(self.charge.get()) <= 1))
    }

    /// Each class with its units and what these cost at the prices charged, in a unit that is the same for all. The sum
    /// has 64 bits at most.
    fn weights(&self) -> Vec<(&'static str, u64, u128)> {
        let rates = self.charged_rates();
        let weight = |cost: i128| u128::try_from(cost).unwrap_or(0);
        let of = |class: Class| {
            let units = self.usage[class];
            (class.name(), units, weight(rates.cost_of(class, units)))
        };
        let mut weights: Vec<_> = Class::ALL.into_iter().map(of).collect();
        weights.push((REQUEST, 1, weight(rates.cost(&Usage::default()))));
        let bits = weights.iter().map(|(_, _, weight)| 128 - weight.leading_zeros()).max().unwrap_or(0);
        let shift = bits.saturating_sub(60);
        weights.iter_mut().for_each(|(_, _, weight)| *weight >>= shift);
        weights
    }
}

/// Thousandths, times the millionths of a micro-point in which costs are told.
const THOUSANDTHS: i128 = 1_000_000_000;

/// The class of what a request costs by itself.
const REQUEST: &str = "request";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Reason, Receipt};
    use crate::id::{RequestId, UserId};
    use crate::outcome::Outcome;
    use crate::points::Micropoints;
    use crate::price::{PriceRate, Rates, TierFactors};
    use crate::protocol::Owner;
    use crate::time::Timestamp;
    use crate::usage::{Class, Quality, Usage};

    fn receipt(usage: Usage, rates: Rates, charge: i64) -> Receipt {
        Receipt {
            default_price: None,
            request: RequestId::from_bytes([1; 16]),
            user: UserId::from_bytes([2; 16]),
            model: "m".into(),
            price_version: 1,
            pricing_component: [3; 32],
            config_digest: [4; 32],
            owner: Owner::User,
            rates,
            usage,
            outcome: Outcome::Ok,
            admitted_at: Timestamp::from_millis(0),
            charge: Micropoints::new(charge),
            price_rate: PriceRate::FULL,
            tier_ppm: TierFactors::STANDARD_PPM,
            held: Some(Micropoints::ZERO),
            reason: Some(Reason::OwnCredential),
        }
    }

    fn lines(receipt: &Receipt) -> Vec<(&'static str, u64, i64)> {
        receipt.lines().into_iter().map(|line| (line.class, line.units, line.amount.get())).collect()
    }

    #[test]
    fn lines_are_charged_points_and_sum_to_the_charge() {
        let usage = Usage::of(Quality::Exact, &[(Class::Input, 10), (Class::Output, 5)]);
        let rates = Rates::of(0, &[(Class::Input, 2_500_000_000), (Class::Output, 10_000_000_000)]);
        let at_a_tenth = receipt(usage, rates, 7_500);
        assert_eq!(lines(&at_a_tenth), [("input", 10, 2_500), ("output", 5, 5_000)]);
        assert!(at_a_tenth.lines().iter().all(|line| line.reason == Some(Reason::OwnCredential)));
        let mut with_request = rates;
        with_request.request = 25_000;
        let thirds = receipt(usage, with_request, 100);
        assert_eq!(lines(&thirds), [("input", 10, 25), ("output", 5, 50), ("request", 1, 25)]);
    }

    #[test]
    fn what_no_price_explains_is_a_line_of_the_request() {
        let usage = Usage::of(Quality::Missing, &[(Class::Input, 10)]);
        assert_eq!(lines(&receipt(Usage::default(), Rates::default(), 7)), [("request", 1, 7)]);
        assert_eq!(lines(&receipt(usage, Rates::default(), 7)), [("input", 10, 0), ("request", 1, 7)]);
        assert_eq!(lines(&receipt(usage, Rates::default(), 0)), [("input", 10, 0)]);
    }

    #[test]
    fn a_rule_of_the_policys_own_is_not_told_as_prices_of_classes() {
        let usage = Usage::of(Quality::Exact, &[(Class::Input, 2000), (Class::Output, 900)]);
        let rates = Rates::of(0, &[(Class::Input, 2_500_000_000), (Class::Output, 10_000_000_000)]);
        let charged = |charge, reason| Receipt { reason, ..receipt(usage, rates, charge) };
        // 14 points by the list: all of it, with a twentieth off, at a tenth.
        for charge in [14_000_000, 13_300_000, 1_400_000] {
            let told = lines(&charged(charge, Some(Reason::Full)));
            let by_price = [("input", 2000, charge * 5 / 14), ("output", 900, charge - charge * 5 / 14)];
            assert_eq!(told, by_price, "{charge}");
        }
        // A flat price, a minimum, a third: no part of it is anybody's.
        for charge in [125_007, 14_000_123, 4_666_667] {
            for reason in [Reason::Full, Reason::OwnCredential] {
                let told = lines(&charged(charge, Some(reason)));
                assert_eq!(told, [("input", 2000, 0), ("output", 900, 0), ("request", 1, charge)]);
            }
        }
        // What an old receipt does not tell, and what the gateway itself charged.
        assert_eq!(lines(&charged(125_007, None)).len(), 2);
        let own = Receipt { pricing_component: [0; 32], ..charged(125_007, Some(Reason::Full)) };
        assert_eq!(lines(&own).len(), 2);
    }

    proptest! {
        #[test]
        fn no_lines_lose_a_micro_point(
            counts in proptest::array::uniform4(prop_oneof![0..100_000_u64, any::<u64>()]),
            rates in proptest::array::uniform4(prop_oneof![0..100_000_000_i64, 0..=i64::MAX]),
            request in prop_oneof![0..100_000_000_i64, 0..=i64::MAX],
            charge in prop_oneof![0..1_000_i64, 0..=i64::MAX],
            ppm in 0..PriceRate::PPM_MAX,
        ) {
            let classes = [Class::Input, Class::CacheRead, Class::Output, Class::AudioOutput];
            let usage = Usage::of(Quality::Missing, &std::array::from_fn::<_, 4, _>(|at| (classes[at], counts[at])));
            let rates = Rates::of(request, &std::array::from_fn::<_, 4, _>(|at| (classes[at], rates[at])));
            let price_rate = PriceRate::of_ppm(ppm).unwrap();
            let receipt = Receipt { price_rate, ..receipt(usage, rates, charge) };
            let amounts: Vec<i64> = receipt.lines().iter().map(|line| line.amount.get()).collect();
            prop_assert!(amounts.iter().all(|amount| *amount >= 0));
            prop_assert_eq!(amounts.iter().map(|amount| i128::from(*amount)).sum::<i128>(), i128::from(charge));
        }
    }
}
