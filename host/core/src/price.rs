//! The price table: what a model costs before any policy looks at it.
//!
//! A table is complete for every class that a model can produce, or it is refused when it is published: a class that is
//! missing would be a class that is free. Tables are versions of a [`PriceSchedule`]: each is in force from its own moment on,
//! until the next one's. What one user pays of it is a [`PriceRate`], applied before any policy is asked.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::time::Timestamp;

/// Tokens that a rate is for.
pub const TOKENS_PER_RATE: u64 = 1_000_000;
/// Parts of a [`PriceRate`] that make a whole.
const PPM: i128 = 1_000_000;

/// Micro-points per million tokens of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Uncached prompt tokens.
    pub input: i64,
    /// Prompt tokens read from a cache.
    pub cache_read: i64,
    /// Prompt tokens written to a short-lived cache.
    pub cache_write_short: i64,
    /// Prompt tokens written to a long-lived cache.
    pub cache_write_long: i64,
    /// Output and reasoning tokens.
    pub output: i64,
    /// Audio prompt tokens.
    pub audio_input: i64,
    /// Audio output tokens.
    pub audio_output: i64,
    /// Micro-points per request.
    pub request: i64,
}

impl Rates {
    /// All of them, in the order of the fields: that of receipts and of the table `price`.
    #[must_use]
    pub const fn in_order(&self) -> [i64; 8] {
        let Self { input, cache_read, cache_write_short, cache_write_long, output, .. } = *self;
        let Self { audio_input, audio_output, request, .. } = *self;
        [input, cache_read, cache_write_short, cache_write_long, output, audio_input, audio_output, request]
    }

    /// The reverse of [`Self::in_order`].
    #[must_use]
    pub const fn of(in_order: [i64; 8]) -> Self {
        let [input, cache_read, cache_write_short, cache_write_long, output, rest @ ..] = in_order;
        let [audio_input, audio_output, request] = rest;
        Self {
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

    /// What a user with this rate pays: each price times the rate, rounded up to a whole micro-point. At a price per million
    /// tokens that is less than a micro-point for a million tokens, so that the one rounding that counts is still that of the
    /// charge. What 64 bits cannot hold sticks at their end.
    #[must_use]
    pub fn charged_at(&self, rate: PriceRate) -> Self {
        if rate == PriceRate::FULL {
            return *self;
        }
        let times_rate = |price: i64| {
            let product = i128::from(price) * i128::from(rate.0);
            i64::try_from((product + PPM - 1).div_euclid(PPM)).unwrap_or(i64::MAX)
        };
        Self::of(self.in_order().map(times_rate))
    }
}

/// What one user pays of the price table, in millionths of it. Operators set it; users see what they are charged and never
/// this, so it is no field of anything that they are shown, and a log prints it as dots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PriceRate(u32);

impl PriceRate {
    /// The table's own prices.
    pub const FULL: Self = Self(1_000_000);
    /// The largest: a hundred times the table's prices.
    pub const PPM_MAX: u32 = 100_000_000;

    /// A rate of so many millionths; `None` above [`Self::PPM_MAX`].
    #[must_use]
    pub const fn of_ppm(ppm: u32) -> Option<Self> {
        if ppm <= Self::PPM_MAX { Some(Self(ppm)) } else { None }
    }

    /// The rate in millionths, for the books and for operators.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }
}

/// Whoever has no rate pays the table's prices.
impl Default for PriceRate {
    fn default() -> Self {
        Self::FULL
    }
}

impl fmt::Debug for PriceRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PriceRate(..)")
    }
}

/// Prices that apply to the whole request once its prompt is longer than a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// Prompt tokens, cached ones included, above which the tier applies.
    pub above_tokens: u64,
    /// The prices then.
    pub rates: Rates,
}

/// What one model costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPrice {
    /// Name of the configured provider in whose model list it stands.
    pub provider: String,
    /// Prices of an ordinary request.
    pub base: Rates,
    /// Prices of a long one, where the provider has such a tier.
    pub long_prompt: Option<Tier>,
    /// The most output tokens that the model produces; bounds a hold whose request names no limit.
    pub output_tokens_max: u64,
}

impl ModelPrice {
    /// The prices for a prompt of this many tokens.
    #[must_use]
    pub fn rates(&self, prompt_tokens: u64) -> &Rates {
        match &self.long_prompt {
            Some(tier) if prompt_tokens > tier.above_tokens => &tier.rates,
            _ => &self.base,
        }
    }
}

/// One published version of the prices.
#[derive(Debug, Clone, Default)]
pub struct PriceTable {
    version: u64,
    effective_at: Timestamp,
    models: HashMap<String, ModelPrice>,
}

impl PriceTable {
    /// A table of these models, in force from `effective_at` on. Names are the providers' own, without prefixes.
    #[must_use]
    pub fn new(version: u64, effective_at: Timestamp, models: HashMap<String, ModelPrice>) -> Self {
        Self { version, effective_at, models }
    }

    /// When it takes over.
    #[must_use]
    pub const fn effective_at(&self) -> Timestamp {
        self.effective_at
    }

    /// The version, stored in each receipt.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// All models with a price, in no order.
    pub fn models(&self) -> impl Iterator<Item = (&str, &ModelPrice)> {
        self.models.iter().map(|(name, price)| (name.as_str(), price))
    }

    /// The price of `model`: by its own name, or by that without a date (`-2026-08-06`, `-20260806`) or `-latest`.
    #[must_use]
    pub fn find(&self, model: &str) -> Option<&ModelPrice> {
        self.models.get(model).or_else(|| self.models.get(undated(model)?))
    }
}

/// The version in force and those that are to come, for a server that runs through their moments.
#[derive(Debug, Clone, Default)]
pub struct PriceSchedule {
    /// By the moment at which they take over; of two with the same one, the later version counts.
    tables: Vec<Arc<PriceTable>>,
    /// What is in force before the first one: nothing has a price.
    none: Arc<PriceTable>,
}

impl PriceSchedule {
    /// A schedule of these tables, in any order.
    #[must_use]
    pub fn new(mut tables: Vec<Arc<PriceTable>>) -> Self {
        tables.sort_by_key(|table| (table.effective_at, table.version));
        Self { tables, none: Arc::default() }
    }

    /// The table in force at `now`: of those whose moment has come, the one whose moment came last. A request asks once, when
    /// it is admitted, and is held and settled by the answer.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> &Arc<PriceTable> {
        let come = self.tables.partition_point(|table| table.effective_at <= now);
        come.checked_sub(1).and_then(|at| self.tables.get(at)).unwrap_or(&self.none)
    }

    /// Those that have not taken over at `now`, the next one first.
    pub fn after(&self, now: Timestamp) -> impl Iterator<Item = &Arc<PriceTable>> {
        self.tables.iter().filter(move |table| table.effective_at > now)
    }
}

/// `model` without the date or `-latest` that ends it; `None` when nothing does.
fn undated(model: &str) -> Option<&str> {
    if let Some(stem) = model.strip_suffix("-latest") {
        return Some(stem);
    }
    ["-dddd-dd-dd", "-dddddddd"].into_iter().find_map(|shape| {
        let at = model.len().checked_sub(shape.len())?;
        let fits = |(byte, sign): (u8, u8)| if sign == b'd' { byte.is_ascii_digit() } else { byte == sign };
        let tail = model.as_bytes().get(at..)?;
        tail.iter().copied().zip(shape.bytes()).all(fits).then(|| model.get(..at)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::{PriceRate, PriceSchedule, PriceTable, Rates, undated};
    use crate::time::Timestamp;

    #[test]
    fn a_version_takes_over_at_its_moment_and_the_later_of_two_counts() {
        let table =
            |version, at| Arc::new(PriceTable::new(version, Timestamp::from_millis(at), HashMap::new()));
        // Published in this order: one for later, and then one for at once.
        let schedule = PriceSchedule::new(vec![table(3, 100), table(1, 10), table(4, 50), table(5, 100)]);
        let check = |at, version| {
            assert_eq!(schedule.at(Timestamp::from_millis(at)).version(), version, "at {at}");
        };
        for (at, version) in [(9, 0), (10, 1), (49, 1), (50, 4), (99, 4), (100, 5), (u64::MAX, 5)] {
            check(at, version);
        }
        let next = schedule.after(Timestamp::from_millis(50)).map(|table| table.version());
        assert_eq!(next.collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn a_price_rate_is_rounded_up_in_each_class_and_never_overflows() {
        let rates = Rates::of([3, 1_000_000, 0, i64::MAX, 7, 1, 2_500_000_000, 500]);
        let rate = |ppm| PriceRate::of_ppm(ppm).unwrap();
        let charged = rates.charged_at(rate(1_500_000)).in_order();
        assert_eq!(charged, [5, 1_500_000, 0, i64::MAX, 11, 2, 3_750_000_000, 750]);
        assert_eq!(rates.charged_at(rate(0)), Rates::default());
        assert_eq!(rates.charged_at(PriceRate::FULL), rates);
        assert_eq!(PriceRate::of_ppm(PriceRate::PPM_MAX + 1), None);
    }

    #[test]
    fn a_price_rate_is_not_in_what_a_log_would_print() {
        assert_eq!(format!("{:?}", PriceRate::of_ppm(1_234_567)), "Some(PriceRate(..))");
    }

    #[test]
    fn a_dated_name_finds_its_model() {
        let check = |name: &str, stem: Option<&str>| assert_eq!(undated(name), stem, "{name}");
        check("gpt-4o-2024-08-06", Some("gpt-4o"));
        check("claude-sonnet-4-5-20250929", Some("claude-sonnet-4-5"));
        check("gemini-2.5-pro-latest", Some("gemini-2.5-pro"));
        check("gpt-4o", None);
        check("日本-20250929", Some("日本"));
        check("x", None);
    }
}
