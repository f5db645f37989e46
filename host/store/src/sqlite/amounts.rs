//! Units and prices by class as the tables hold them: JSON, by the names of the classes.
//!
//! A record is written and read whole, but the database also adds units up by name; so SQL can look into the column,
//! unlike into the bytes of a receipt.

use std::sync::LazyLock;

use serde_json::{Map, Value};
use tollgate_core::price::{Rates, TierFactors};
use tollgate_core::usage::{Class, ServiceTier, Unit, Usage};

use crate::sqlite::sums::sum;

/// The units of each class that has any.
pub(crate) fn units_json(usage: &Usage) -> String {
    json(usage.amounts().map(|(class, units)| (class.name(), super::row::stored(units))))
}

/// The reverse of [`units_json`]; `None` for what it never writes.
pub(crate) fn units_of(text: &str) -> Option<Usage> {
    let mut usage = Usage::default();
    for (name, units) in &parse(text)? {
        usage[Class::named(name)?] = units.as_u64()?;
    }
    Some(usage)
}

/// The rate of each class, zeros included: what a list said of a class stays when a later version knows more classes.
pub(crate) fn rates_json(rates: &Rates) -> String {
    json(rates.each().map(|(class, rate)| (class.name(), rate)))
}

/// The reverse of [`rates_json`].
pub(crate) fn rates_of(request: i64, text: &str) -> Option<Rates> {
    let known = parse(text)?;
    let all = known.keys().all(|name| Class::named(name).is_some());
    let stated = |class: Class| known.get(class.name()).map(|rate| rate.as_i64().ok_or(())).transpose();
    Rates::stated(request, stated).ok().filter(|_| all)
}

/// Factors of service tiers.
pub(crate) fn tiers_json(tiers: &TierFactors) -> String {
    json(tiers.stated().map(|(tier, ppm)| (tier.name(), i64::from(ppm))))
}

/// The reverse of [`tiers_json`].
pub(crate) fn tiers_of(text: &str) -> Option<TierFactors> {
    let factor = |(name, ppm): (&String, &Value)| {
        Some((ServiceTier::named(name)?, u32::try_from(ppm.as_u64()?).ok()?))
    };
    let stated: Vec<_> = parse(text)?.iter().map(factor).collect::<Option<_>>()?;
    Some(TierFactors::of(&stated))
}

/// The names of the classes of tokens, as a list for SQL.
pub(crate) fn token_classes() -> &'static str {
    static NAMES: LazyLock<String> = LazyLock::new(|| {
        let tokens = Class::ALL.into_iter().filter(|class| class.unit() == Unit::Tokens);
        tokens.map(|class| format!("'{}'", class.name())).collect::<Vec<_>>().join(", ")
    });
    &NAMES
}

/// All tokens of a record, in SQL.
pub(crate) fn tokens_of_record() -> String {
    let classes = token_classes();
    let sum = sum!("value");
    format!("(SELECT COALESCE({sum}, 0) FROM json_each(usage) WHERE key IN ({classes}))")
}

/// Written by hand: names need no escapes, and there are many records.
fn json(values: impl Iterator<Item = (&'static str, i64)>) -> String {
    let mut text = String::with_capacity(64);
    for (name, value) in values {
        text.push_str(if text.is_empty() { "{\"" } else { ",\"" });
        text.push_str(name);
        text.push_str("\":");
        text.push_str(&value.to_string());
    }
    text.push_str(if text.is_empty() { "{}" } else { "}" });
    text
}

fn parse(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::{rates_json, rates_of, tiers_json, tiers_of, units_json, units_of};
    use tollgate_core::price::{Rates, TierFactors};
    use tollgate_core::usage::{Class, Quality, ServiceTier, Usage};

    #[test]
    fn what_is_written_is_what_is_read() {
        let usage = Usage::of(Quality::Missing, &[(Class::Input, 220), (Class::AudioOutput, 7)]);
        assert_eq!(units_json(&usage), r#"{"input":220,"audio_output":7}"#);
        assert_eq!(
            (units_of(&units_json(&usage)), units_json(&Usage::default())),
            (Some(usage), "{}".to_owned())
        );
        let rates = Rates::of(3, &[(Class::Output, 5), (Class::Reasoning, 0)]);
        assert_eq!(rates_of(3, &rates_json(&rates)), Some(rates));
        let tiers = TierFactors::of(&[(ServiceTier::Flex, 500_000), (ServiceTier::Priority, 2_000_000)]);
        assert_eq!(tiers_of(&tiers_json(&tiers)), Some(tiers));
    }

    #[test]
    fn a_name_that_nothing_has_is_damage() {
        for text in ["", "[]", r#"{"inputs":1}"#, r#"{"input":-1}"#, r#"{"input":"1"}"#] {
            assert_eq!(units_of(text), None, "{text}");
        }
        assert_eq!((rates_of(0, r#"{"inputs":1}"#), tiers_of(r#"{"slow":1}"#)), (None, None));
    }
}
