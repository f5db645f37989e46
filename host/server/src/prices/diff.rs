//! What a price list would change: model by model, class by class. It is shown to people who are about to publish one.

use std::collections::HashMap;

use tollgate_core::points::Micropoints;
use tollgate_core::price::{ModelPrice, PriceTable, Rates};
use tollgate_core::usage::{Class, ServiceTier};

/// The change of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PriceChange {
    /// The model.
    pub(crate) model: String,
    /// `added`, `removed` or `changed`.
    pub(crate) change: &'static str,
    /// The differences, in points: `input 2500 -> 2000`.
    pub(crate) details: Vec<String>,
}

/// The changes from `old` to `new`, by the names of the models.
pub(crate) fn changes(old: &PriceTable, new: &HashMap<String, ModelPrice>) -> Vec<PriceChange> {
    let before: HashMap<&str, &ModelPrice> = old.entries().collect();
    let mut changes: Vec<PriceChange> = new
        .iter()
        .filter_map(|(model, price)| change(model, before.get(model.as_str()).copied(), price))
        .collect();
    let gone = before.keys().filter(|model| !new.contains_key(**model));
    changes.extend(gone.map(|model| PriceChange {
        model: (*model).to_owned(),
        change: "removed",
        details: Vec::new(),
    }));
    changes.sort_by(|a, b| a.model.cmp(&b.model));
    changes
}

fn change(model: &str, old: Option<&ModelPrice>, new: &ModelPrice) -> Option<PriceChange> {
    let (change, details) = match old {
        Some(old) if old == new => return None,
        Some(old) => ("changed", differences(old, new)),
        None => ("added", rates("", None, Some(&new.base))),
    };
    Some(PriceChange { model: model.to_owned(), change, details })
}

fn differences(old: &ModelPrice, new: &ModelPrice) -> Vec<String> {
    let mut details = Vec::new();
    if old.provider != new.provider {
        details.push(format!("provider {} -> {}", old.provider, new.provider));
    }
    if old.output_tokens_max != new.output_tokens_max {
        details.push(format!("output_tokens_max {} -> {}", old.output_tokens_max, new.output_tokens_max));
    }
    details.extend(rates("", Some(&old.base), Some(&new.base)));
    for tier in ServiceTier::ALL {
        let [before, after] = [old, new].map(|price| price.tiers.ppm(tier));
        let said = [old, new].iter().any(|price| price.tiers.stated().any(|(known, _)| known == tier));
        // What follows of the other factors changes with them.
        if before != after && said {
            details.push(format!("service_tiers.{} {before} ppm -> {after} ppm", tier.name()));
        }
    }
    let above = |price: &ModelPrice| price.long_prompt.map(|tier| tier.above_tokens);
    if above(old) != above(new) {
        let words = |above: Option<u64>| above.map_or("none".to_owned(), |above| above.to_string());
        details.push(format!("long_prompt.above_tokens {} -> {}", words(above(old)), words(above(new))));
    }
    let tier = |price: &ModelPrice| price.long_prompt.map(|tier| tier.rates);
    details.extend(rates("long_prompt.", tier(old).as_ref(), tier(new).as_ref()));
    details
}

/// The prices that a list states, with their names; for a class that is priced like another, only if it differs.
pub(crate) fn stated(rates: &Rates) -> impl Iterator<Item = (&'static str, Micropoints)> + '_ {
    let classes = Class::ALL.into_iter().filter(|class| !rates.goes_without_saying(*class));
    let classes = classes.map(|class| (class.name(), rates.price_of(class)));
    classes.chain([("request", rates.price_of_request())])
}

/// Classes whose price differs, if one of the two lists states it.
fn rates(prefix: &str, old: Option<&Rates>, new: Option<&Rates>) -> Vec<String> {
    let names = Class::ALL.into_iter().map(Some).chain([None]);
    let priced = |rates: Option<&Rates>, class: Option<Class>| {
        rates.map(|rates| class.map_or_else(|| rates.price_of_request(), |class| rates.price_of(class)))
    };
    let said = |rates: Option<&Rates>, class: Option<Class>| {
        rates.is_some_and(|rates| class.is_none_or(|class| !rates.goes_without_saying(class)))
    };
    let words = |price: Option<Micropoints>| price.map_or("none".to_owned(), |price| price.to_string());
    names
        .filter(|class| said(old, *class) || said(new, *class))
        .map(|class| (class.map_or("request", Class::name), priced(old, class), priced(new, class)))
        .filter(|(_, before, after)| before != after)
        .filter(|(_, _, after)| old.is_some() || *after != Some(Micropoints::ZERO))
        .map(|(name, before, after)| format!("{prefix}{name} {} -> {}", words(before), words(after)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tollgate_core::price::{ModelPrice, PriceTable, Rates, Tier, TierFactors};
    use tollgate_core::time::Timestamp;
    use tollgate_core::usage::{Class, ServiceTier};

    use super::changes;

    #[test]
    fn a_difference_names_each_class_that_changes_and_nothing_else() {
        let base = Rates::of(0, &[(Class::Input, 2_000_000), (Class::Output, 8_500_000)]);
        let tiers = TierFactors::default();
        let old = ModelPrice { provider: "p".into(), base, long_prompt: None, output_tokens_max: 10, tiers };
        let models = [("same", &old), ("gone", &old), ("dearer", &old)];
        let table = models.map(|(name, price)| (name.to_owned(), price.clone())).into();
        let table = PriceTable::new(1, Timestamp::from_millis(0), table);
        let dearer = base.with(Class::Output, 9_000_000);
        let tier = Tier { above_tokens: 200, rates: Rates::of(1, &[]) };
        let new = HashMap::from([
            ("same".to_owned(), old.clone()),
            (
                "dearer".to_owned(),
                ModelPrice {
                    tiers: TierFactors::of(&[(ServiceTier::Flex, 500_000)]),
                    base: dearer,
                    long_prompt: Some(tier),
                    ..old.clone()
                },
            ),
            ("new".to_owned(), old),
        ]);
        let found: Vec<String> = changes(&table, &new)
            .into_iter()
            .map(|change| format!("{} {}: {}", change.change, change.model, change.details.join(", ")))
            .collect();
        assert_eq!(
            found,
            [
                "changed dearer: output 8.5 -> 9, service_tiers.flex 1000000 ppm -> 500000 ppm, long_prompt.above_tokens none -> 200, long_prompt.request none -> 0.000001",
                "removed gone: ",
                "added new: input none -> 2, output none -> 8.5",
            ]
        );
    }
}
