//! Price lists as they are written: the form of the shipped one, which `file` reads back to the micro-point.

use std::fmt::Write as _;

use tollgate_core::limits::matches;
use tollgate_core::price::{ModelPrice, PriceTable, Rates};
use tollgate_core::usage::{Class, Unit};

use super::decimal::shown;
use super::file::{REQUEST, power};

/// Points for a dollar in what is written: a power of ten, so that each price has an end.
const POINTS_PER_USD: u32 = 1000;
/// Its power.
const POINTS_POWER: i32 = 3;

/// The prices of a table as a list: all of them, or those of models whose names are like one of `patterns`.
pub(crate) fn list(table: &PriceTable, patterns: &[String]) -> String {
    let asked = |name: &str| patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name));
    let mut entries: Vec<(&str, &ModelPrice)> = table.entries().filter(|(name, _)| asked(name)).collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    let mut text = format!(
        "# Version {} of the prices: US dollars for a million tokens, or for one of anything else.\n\
         points_per_usd = {POINTS_PER_USD}\n",
        table.version()
    );
    for (name, price) in entries {
        // Writing to a string does not fail.
        let _ = write!(text, "{}", entry(name, price));
    }
    text
}

fn entry(name: &str, price: &ModelPrice) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    let mut lines = vec![
        "\n[[model]]".to_owned(),
        format!("name = {}", text(name)),
        format!("provider = {}", text(&price.provider)),
        format!("output_tokens_max = {}", price.output_tokens_max),
    ];
    lines.extend(classes(&price.base, |class| !price.base.goes_without_saying(class)));
    if price.base.request != 0 {
        lines.push(format!("{REQUEST} = \"{}\"", usd(price.base.request, None)));
    }
    let tiers: Vec<String> = price
        .tiers
        .stated()
        .map(|(tier, ppm)| format!("{} = \"{}\"", tier.name(), shown(i64::from(ppm), 6)))
        .collect();
    if !tiers.is_empty() {
        lines.push(format!("service_tiers = {{ {} }}", tiers.join(", ")));
    }
    if let Some(tier) = &price.long_prompt {
        lines.push(format!("\n[model.long_prompt]\nabove_tokens = {}", tier.above_tokens));
        lines.extend(classes(&tier.rates, |class| match class.unit() {
            Unit::Tokens => !tier.rates.goes_without_saying(class) || !price.base.goes_without_saying(class),
            _ => tier.rates[class] != price.base[class],
        }));
    }
    lines.join("\n") + "\n"
}

fn classes(rates: &Rates, said: impl Fn(Class) -> bool) -> Vec<String> {
    let line = |(class, rate): (Class, i64)| format!("{} = \"{}\"", class.name(), usd(rate, Some(class)));
    rates.each().filter(|(class, _)| said(*class)).map(line).collect()
}

fn usd(rate: i64, class: Option<Class>) -> String {
    shown(rate, usize::try_from(power(class) + POINTS_POWER).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tollgate_core::price::{ModelPrice, PriceTable, Rates, Tier, TierFactors};
    use tollgate_core::time::Timestamp;
    use tollgate_core::usage::{Class, ServiceTier};

    use super::list;
    use crate::prices::file;

    fn check(models: &HashMap<String, ModelPrice>) {
        let table = PriceTable::new(7, Timestamp::from_millis(0), models.clone());
        let text = list(&table, &[]);
        assert_eq!(file::parse(&text).as_ref(), Ok(models), "{text}");
    }

    #[test]
    fn what_is_written_is_read_back_to_the_micro_point() {
        check(&file::shipped().unwrap());
        // The smallest amounts, prices of their own where another's would do, and names that need quotes.
        let base = Rates::of(
            1,
            &[(Class::Input, 1), (Class::Output, 7), (Class::Reasoning, 0), (Class::WebSearch, 1)],
        );
        let rates = base.with(Class::Reasoning, 7).with(Class::WebSearch, 3);
        let price = ModelPrice {
            provider: "a \"b\"".to_owned(),
            base,
            long_prompt: Some(Tier { above_tokens: 9, rates }),
            output_tokens_max: 3,
            tiers: TierFactors::of(&[(ServiceTier::Flex, 1), (ServiceTier::Fast, 6_000_000)]),
        };
        let free = ModelPrice { base: Rates::default(), long_prompt: None, ..price.clone() };
        check(&HashMap::from([("m\\\"\n".to_owned(), price), ("local/*".to_owned(), free)]));
    }

    #[test]
    fn only_what_is_asked_for_is_written() {
        let table = PriceTable::new(1, Timestamp::from_millis(0), file::shipped().unwrap());
        let written = file::parse(&list(&table, &["claude-haiku-*".to_owned()])).unwrap();
        assert!(!written.is_empty() && written.keys().all(|name| name.starts_with("claude-haiku-")));
    }
}
