//! The price table: what a model costs before any policy looks at it.
//!
//! A table is complete for every class that a model can produce, or it is refused when it is published: a class that is
//! missing would be a class that is free. Tables are versions of a [`PriceSchedule`]: each is in force from its own
//! moment on, until the next one's. What one user pays of it is a [`PriceRate`], applied before any policy is asked.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::points::Micropoints;
use crate::time::Timestamp;
use crate::usage::{Class, ServiceTier, Unit, Unpriced, Usage};

/// How many units a rate is for, in every class.
pub const UNITS_PER_RATE: i64 = 1_000_000;
/// Parts of a [`PriceRate`] that make a whole.
const PPM: i128 = 1_000_000;

/// Micro-points per million units of each class, by [`Class`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rates {
    by_class: [i64; Class::COUNT],
    /// Micro-points per request.
    pub request: i64,
}

impl Rates {
    /// These rates. A class that is not named costs as much as the class that it is priced like, or else nothing.
    #[must_use]
    pub const fn of(request: i64, stated: &[(Class, i64)]) -> Self {
        let mut by_class = [None; Class::COUNT];
        let mut at = 0;
        while at < stated.len() {
            by_class[stated[at].0.index()] = Some(stated[at].1);
            at += 1;
        }
        Self::filled(request, by_class)
    }

    /// The rates that `stated` knows. Each other class gets the rate of the class that it is priced like, or none.
    ///
    /// # Errors
    /// As `stated`.
    pub fn stated<E>(
        request: i64,
        mut stated: impl FnMut(Class) -> Result<Option<i64>, E>,
    ) -> Result<Self, E> {
        let mut by_class = [None; Class::COUNT];
        for class in Class::ALL {
            by_class[class.index()] = stated(class)?;
        }
        Ok(Self::filled(request, by_class))
    }

    const fn filled(request: i64, stated: [Option<i64>; Class::COUNT]) -> Self {
        let mut by_class = [0; Class::COUNT];
        let mut at = 0;
        while at < Class::COUNT {
            by_class[at] = match (stated[at], Class::ALL[at].unpriced()) {
                (Some(rate), _) => rate,
                // It stands before this one.
                (None, Unpriced::Like(other)) => by_class[other.index()],
                (None, Unpriced::Stated | Unpriced::Free) => 0,
            };
            at += 1;
        }
        Self { by_class, request }
    }

    /// The rate of a class, where an index cannot be used (in constants).
    #[must_use]
    pub const fn rate(&self, class: Class) -> i64 {
        self.by_class[class.index()]
    }

    /// The same with another rate of one class.
    #[must_use]
    pub const fn with(mut self, class: Class, rate: i64) -> Self {
        self.by_class[class.index()] = rate;
        self
    }

    /// Whether the rate of this class is at most the one that it would have if it were not stated.
    #[must_use]
    pub fn goes_without_saying(&self, class: Class) -> bool {
        match class.unpriced() {
            Unpriced::Stated => false,
            Unpriced::Like(other) => self[class] == self[other],
            Unpriced::Free => self[class] == 0,
        }
    }

    /// Whether the rate of this class equals the one that it would have if it were not stated.
    #[must_use]
    pub fn is_implied(&self, class: Class) -> bool {
        match class.unpriced() {
            Unpriced::Like(other) => self[class] == self[other],
            Unpriced::Stated | Unpriced::Free => self[class] == 0,
        }
    }

    /// Each class with its rate.
    pub fn each(&self) -> impl Iterator<Item = (Class, i64)> + '_ {
        Class::ALL.into_iter().zip(self.by_class)
    }

    /// What as many units of a class cost as people state its price for: see [`Unit::priced_units`].
    #[must_use]
    pub fn price_of(&self, class: Class) -> Micropoints {
        rounded_up(i128::from(self[class]) * i128::from(class.unit().priced_units()))
    }

    /// What a request costs, whatever it uses.
    #[must_use]
    pub const fn price_of_request(&self) -> Micropoints {
        Micropoints::new(self.request)
    }

    /// Whether any of them is below zero.
    #[must_use]
    pub fn any_negative(&self) -> bool {
        self.request < 0 || self.by_class.iter().any(|rate| *rate < 0)
    }

    /// What this many units of a class cost, in millionths of a micro-point. Rates below zero count as zero. No
    /// overflow: a 64-bit count times a 63-bit rate has 127 bits at most.
    #[must_use]
    pub fn cost_of(&self, class: Class, units: u64) -> i128 {
        i128::from(units) * i128::from(self[class].max(0))
    }

    /// What this usage costs, the price of the request included, in millionths of a micro-point: the only place where
    /// usage is multiplied by prices. It ends at the largest 128-bit number.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> i128 {
        let request = i128::from(self.request.max(0)) * i128::from(UNITS_PER_RATE);
        usage.amounts().fold(request, |sum, (class, units)| sum.saturating_add(self.cost_of(class, units)))
    }

    /// What a user with this rate pays: each price times the rate, rounded up to a whole micro-point. At a price per
    /// million tokens that is less than a micro-point for a million tokens, so that the one rounding that counts is
    /// still that of the charge. What 64 bits cannot hold sticks at their end.
    #[must_use]
    pub fn charged_at(&self, rate: PriceRate) -> Self {
        if rate == PriceRate::FULL {
            return *self;
        }
        let times_rate = |price| times(price, rate.0);
        Self { by_class: self.by_class.map(times_rate), request: times_rate(self.request) }
    }

    /// What is paid where the request was served in a tier with this factor, in millionths. The factor applies to
    /// tokens only: tools and images cost the same in every tier.
    #[must_use]
    pub fn at_factor(&self, ppm: u32) -> Self {
        if ppm == TierFactors::STANDARD_PPM {
            return *self;
        }
        let mut rates = *self;
        for class in Class::ALL.into_iter().filter(|class| class.unit() == Unit::Tokens) {
            rates[class] = times(self[class], ppm);
        }
        rates
    }
}

/// This many millionths of a price, rounded up; what 64 bits cannot hold sticks at their end.
fn times(price: i64, ppm: u32) -> i64 {
    let product = i128::from(price) * i128::from(ppm);
    i64::try_from((product + PPM - 1).div_euclid(PPM)).unwrap_or(i64::MAX)
}

impl Index<Class> for Rates {
    type Output = i64;

    fn index(&self, class: Class) -> &i64 {
        &self.by_class[class.index()]
    }
}

impl IndexMut<Class> for Rates {
    fn index_mut(&mut self, class: Class) -> &mut i64 {
        &mut self.by_class[class.index()]
    }
}

/// Whole micro-points for this many millionths of them, rounded up; what 64 bits cannot hold sticks at their end.
#[must_use]
pub fn rounded_up(millionths: i128) -> Micropoints {
    let divisor = i128::from(UNITS_PER_RATE);
    Micropoints::new(i64::try_from(millionths.saturating_add(divisor - 1) / divisor).unwrap_or(i64::MAX))
}

/// What one user pays of the price table, in millionths of it. Operators set it; users see what they are charged and
/// never this, so it is no field of anything that they are shown, and a log prints it as dots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PriceRate(u32);

impl PriceRate {
    /// The table's own prices.
    pub const FULL: Self = Self(1_000_000);
    /// The largest: a hundred times the table's prices.
    pub const PPM_MAX: u32 = 100_000_000;

    /// A rate of this many millionths; `None` above [`Self::PPM_MAX`].
    #[must_use]
    pub const fn of_ppm(ppm: u32) -> Option<Self> {
        if ppm <= Self::PPM_MAX { Some(Self(ppm)) } else { None }
    }

    /// The rate in millionths, for the database and for operators.
    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }
}

/// A user without a rate pays the table's prices.
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
    /// The prices that apply then.
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
    /// What tokens cost in other service tiers.
    pub tiers: TierFactors,
}

/// What tokens cost in each service tier, in millionths of a model's prices: all of them, where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierFactors([u32; ServiceTier::ALL.len()]);

impl TierFactors {
    /// The factor of a tier that changes nothing.
    pub const STANDARD_PPM: u32 = 1_000_000;

    /// These factors; that of the standard tier stays 1. A tier in a region of which nothing is said costs what the
    /// tier does, times what a region does.
    #[must_use]
    pub fn of(stated: &[(ServiceTier, u32)]) -> Self {
        let said =
            |tier: ServiceTier| stated.iter().rev().find(|(known, _)| *known == tier).map(|(_, ppm)| *ppm);
        let mut factors = Self::default();
        for tier in ServiceTier::ALL.into_iter().filter(|tier| *tier != ServiceTier::Standard) {
            // What a tier is made of stands before it.
            factors.0[tier as usize] = said(tier).unwrap_or_else(|| factors.composed(tier));
        }
        factors
    }

    /// The factor of a tier of which nothing is said.
    fn composed(&self, tier: ServiceTier) -> u32 {
        if tier == tier.anywhere() || tier == ServiceTier::Regional {
            return Self::STANDARD_PPM;
        }
        let product = times(i64::from(self.ppm(tier.anywhere())), self.ppm(ServiceTier::Regional));
        u32::try_from(product).unwrap_or(u32::MAX)
    }

    /// These factors, and over them what `other` states.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self::of(&self.stated().chain(other.stated()).collect::<Vec<_>>())
    }

    /// The factor of a tier.
    #[must_use]
    pub const fn ppm(&self, tier: ServiceTier) -> u32 {
        self.0[tier as usize]
    }

    /// The largest factor, that of the standard tier among them.
    #[must_use]
    pub fn dearest(&self) -> u32 {
        self.0.into_iter().fold(Self::STANDARD_PPM, u32::max)
    }

    /// The tiers with a factor that does not follow from the others.
    pub fn stated(&self) -> impl Iterator<Item = (ServiceTier, u32)> + '_ {
        ServiceTier::ALL.into_iter().zip(self.0).filter(|(tier, ppm)| *ppm != self.composed(*tier))
    }
}

impl Default for TierFactors {
    fn default() -> Self {
        Self([Self::STANDARD_PPM; ServiceTier::ALL.len()])
    }
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

/// What ends the name of an entry that is the default of a provider: `local/*` prices all models of `local` that have
/// no price of their own.
const ALL_OF: &str = "/*";

/// The name of the entry that prices all other models of a provider.
#[must_use]
pub fn default_name(provider: &str) -> String {
    [provider, ALL_OF].concat()
}

/// The provider whose default an entry of this name is.
#[must_use]
pub fn defaulted_provider(name: &str) -> Option<&str> {
    name.strip_suffix(ALL_OF)
}

/// One published version of the prices.
#[derive(Debug, Clone, Default)]
pub struct PriceTable {
    version: u64,
    effective_at: Timestamp,
    models: HashMap<String, ModelPrice>,
    /// Entries that are a provider's default, by their names.
    defaults: HashMap<String, ModelPrice>,
}

impl PriceTable {
    /// A table of these models, in force from `effective_at` on. Names are the providers' own, without prefixes, or
    /// those of providers' [defaults](default_name).
    #[must_use]
    pub fn new(version: u64, effective_at: Timestamp, models: HashMap<String, ModelPrice>) -> Self {
        let (defaults, models) = models.into_iter().partition(|(name, _)| defaulted_provider(name).is_some());
        Self { version, effective_at, models, defaults }
    }

    /// When it takes effect.
    #[must_use]
    pub const fn effective_at(&self) -> Timestamp {
        self.effective_at
    }

    /// The version, stored in each receipt.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// All models with a price of their own, in no order.
    pub fn models(&self) -> impl Iterator<Item = (&str, &ModelPrice)> {
        self.models.iter().map(|(name, price)| (name.as_str(), price))
    }

    /// The same with the defaults of providers: all that a list of prices holds.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &ModelPrice)> {
        self.models.iter().chain(&self.defaults).map(|(name, price)| (name.as_str(), price))
    }

    /// The price of a provider's models that have none of their own: the name of the entry, and what it says.
    #[must_use]
    pub fn default_of(&self, provider: &str) -> Option<(&str, &ModelPrice)> {
        let stems = || {
            self.defaults.iter().filter_map(|(name, price)| Some((defaulted_provider(name)?, name, price)))
        };
        stems().find(|(stem, ..)| *stem == provider).map(|(_, name, price)| (name.as_str(), price))
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
    /// By the moment at which they take effect; of two with the same one, the later version counts.
    tables: Vec<Arc<PriceTable>>,
    /// In force before the first one: nothing has a price.
    none: Arc<PriceTable>,
}

impl PriceSchedule {
    /// A schedule of these tables, in any order.
    #[must_use]
    pub fn new(mut tables: Vec<Arc<PriceTable>>) -> Self {
        tables.sort_by_key(|table| (table.effective_at, table.version));
        Self { tables, none: Arc::default() }
    }

    /// The table in force at `now`: the one whose moment came last. A request asks once, when it is admitted; its hold
    /// and its charge both follow that answer.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> &Arc<PriceTable> {
        let come = self.tables.partition_point(|table| table.effective_at <= now);
        come.checked_sub(1).and_then(|at| self.tables.get(at)).unwrap_or(&self.none)
    }

    /// The moment of the first prices, where it has not come at `now`: then nothing has a price, as by a clock that was
    /// never set.
    #[must_use]
    pub fn still_to_come(&self, now: Timestamp) -> Option<Timestamp> {
        self.tables.first().map(|table| table.effective_at).filter(|first| *first > now)
    }

    /// Those that are not in force yet at `now`, the next one first.
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
    use std::array;
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::{ModelPrice, PriceRate, PriceSchedule, PriceTable, Rates, TierFactors, rounded_up, undated};
    use crate::time::Timestamp;
    use crate::usage::{Class, Quality, ServiceTier, Usage};

    #[test]
    fn usage_costs_its_units_at_the_rates_of_their_classes_and_the_request() {
        let rates =
            Rates::of(7, &[(Class::Input, 2_000_000), (Class::Output, 10_000_001), (Class::CacheRead, -5)]);
        let used =
            |amounts: &[(Class, u64)]| rounded_up(rates.cost(&Usage::of(Quality::Exact, amounts))).get();
        assert_eq!(used(&[]), 7);
        assert_eq!(used(&[(Class::Input, 3)]), 7 + 6);
        // Reasoning is priced like output where nothing is said of it; rounded up once.
        assert_eq!(used(&[(Class::Output, 1), (Class::Reasoning, 1)]), 7 + 21);
        assert_eq!(used(&[(Class::CacheRead, 1_000_000)]), 7);
        let apart = Rates::of(0, &[(Class::Output, 10), (Class::Reasoning, 3)]);
        assert_eq!((apart[Class::Output], apart[Class::Reasoning]), (10, 3));
        assert!(!apart.goes_without_saying(Class::Reasoning) && rates.goes_without_saying(Class::Reasoning));
        let most = Rates::of(i64::MAX, &[(Class::Input, i64::MAX), (Class::Output, i64::MAX)]);
        let all = Usage::of(Quality::Exact, &[(Class::Input, u64::MAX), (Class::Output, u64::MAX)]);
        assert_eq!(rounded_up(most.cost(&all)).get(), i64::MAX);
    }

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
        // A clock that was never set is before all of them.
        let first = Some(Timestamp::from_millis(10));
        assert_eq!(schedule.still_to_come(Timestamp::from_millis(0)), first);
        assert_eq!(schedule.still_to_come(Timestamp::from_millis(9)), first);
        assert_eq!(schedule.still_to_come(Timestamp::from_millis(10)), None);
        assert_eq!(
            PriceSchedule::default().still_to_come(Timestamp::from_millis(0)),
            None,
            "there are no prices"
        );
    }

    #[test]
    fn a_default_is_no_model_and_prices_what_has_no_price() {
        let price = |input| ModelPrice {
            provider: "local".to_owned(),
            base: Rates::of(0, &[(Class::Input, input)]),
            long_prompt: None,
            output_tokens_max: 9,
            tiers: TierFactors::default(),
        };
        let models =
            [("m".to_owned(), price(1)), ("local/*".to_owned(), price(2)), ("loc/*".to_owned(), price(3))];
        let table = PriceTable::new(1, Timestamp::from_millis(0), models.into());
        assert_eq!(table.default_of("local"), Some(("local/*", &price(2))));
        assert_eq!((table.default_of("loca"), table.default_of("local/*")), (None, None));
        assert_eq!((table.find("m"), table.find("local/*")), (Some(&price(1)), None));
        assert_eq!((table.models().count(), table.entries().count()), (1, 3));
    }

    #[test]
    fn a_service_tier_is_a_factor_of_what_tokens_cost() {
        let base = Rates::of(9, &[(Class::Input, 3), (Class::Output, 1_000_000)]);
        let stated = [(ServiceTier::Flex, 500_000), (ServiceTier::Priority, 2_500_000)];
        let tiers = TierFactors::of(&stated);
        assert!(tiers.stated().eq(stated));
        assert_eq!((tiers.dearest(), TierFactors::default().dearest()), (2_500_000, 1_000_000));
        let check = |tier, input, output| {
            let rates = base.at_factor(tiers.ppm(tier));
            assert_eq!(
                (rates[Class::Input], rates[Class::Output], rates.request),
                (input, output, 9),
                "{tier:?}"
            );
        };
        check(ServiceTier::Standard, 3, 1_000_000);
        check(ServiceTier::Flex, 2, 500_000);
        check(ServiceTier::Priority, 8, 2_500_000);
        check(ServiceTier::Batch, 3, 1_000_000);
    }

    #[test]
    fn a_region_costs_beside_the_tier_unless_a_list_says_otherwise() {
        let stated = [(ServiceTier::Fast, 2_000_000), (ServiceTier::Regional, 1_100_000)];
        let tiers = TierFactors::of(&stated);
        assert!(tiers.stated().eq(stated), "what follows is not said");
        let ppm = |tier: ServiceTier| (tiers.ppm(tier), tiers.ppm(tier.in_region()));
        assert_eq!(ppm(ServiceTier::Standard), (1_000_000, 1_100_000));
        assert_eq!(ppm(ServiceTier::Fast), (2_000_000, 2_200_000));
        assert_eq!(ppm(ServiceTier::Batch), (1_000_000, 1_100_000));
        let said = TierFactors::of(&[(ServiceTier::FastRegional, 2_000_000)]);
        let both = tiers.with(&said);
        assert_eq!(
            (both.ppm(ServiceTier::FastRegional), both.ppm(ServiceTier::Regional)),
            (2_000_000, 1_100_000)
        );
        assert_eq!(TierFactors::of(&both.stated().collect::<Vec<_>>()), both);
        let only = TierFactors::of(&[(ServiceTier::Fast, 2_000_000)]);
        assert_eq!(only.ppm(ServiceTier::FastRegional), 2_000_000, "a region that costs nothing");
    }

    #[test]
    fn a_price_rate_is_rounded_up_in_each_class_and_never_overflows() {
        let classes =
            [Class::Input, Class::CacheRead, Class::CacheWriteLong, Class::Output, Class::AudioOutput];
        let rates = |prices: [i64; 5], request| {
            Rates::of(request, &array::from_fn::<_, 5, _>(|at| (classes[at], prices[at])))
        };
        let rate = |ppm| PriceRate::of_ppm(ppm).unwrap();
        let listed = rates([3, 1_000_000, i64::MAX, 7, 2_500_000_000], 500);
        assert_eq!(
            listed.charged_at(rate(1_500_000)),
            rates([5, 1_500_000, i64::MAX, 11, 3_750_000_000], 750)
        );
        let rates = listed;
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
