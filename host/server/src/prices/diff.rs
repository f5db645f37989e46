//! What a price list would change: model by model, class by class. For people who are about to publish one.

use std::collections::HashMap;

use tollgate_core::points::Micropoints;
use tollgate_core::price::{ModelPrice, PriceTable, Rates};

/// The classes, in the order of [`Rates::in_order`].
pub(crate) const CLASSES: [&str; 8] = [
    "input",
    "cache_read",
    "cache_write_short",
    "cache_write_long",
    "output",
    "audio_input",
    "audio_output",
    "request",
];

/// What becomes of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PriceChange {
    /// The model.
    pub(crate) model: String,
    /// `added`, `removed` or `changed`.
    pub(crate) change: &'static str,
    /// What, in points: `input 2500 -> 2000`.
    pub(crate) details: Vec<String>,
}

/// What `new` changes of `old`, by the names of the models.
pub(crate) fn changes(old: &PriceTable, new: &HashMap<String, ModelPrice>) -> Vec<PriceChange> {
    let before: HashMap<&str, &ModelPrice> = old.models().collect();
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
    let above = |price: &ModelPrice| price.long_prompt.map(|tier| tier.above_tokens);
    if above(old) != above(new) {
        let words = |above: Option<u64>| above.map_or("none".to_owned(), |above| above.to_string());
        details.push(format!("long_prompt.above_tokens {} -> {}", words(above(old)), words(above(new))));
    }
    let tier = |price: &ModelPrice| price.long_prompt.map(|tier| tier.rates);
    details.extend(rates("long_prompt.", tier(old).as_ref(), tier(new).as_ref()));
    details
}

/// Classes whose price differs.
fn rates(prefix: &str, old: Option<&Rates>, new: Option<&Rates>) -> Vec<String> {
    let each = |rates: Option<&Rates>, at: usize| rates.map(|rates| rates.in_order()[at]);
    let words =
        |price: Option<i64>| price.map_or("none".to_owned(), |price| Micropoints::new(price).to_string());
    (0..CLASSES.len())
        .filter(|at| each(old, *at) != each(new, *at))
        .filter(|at| old.is_some() || each(new, *at) != Some(0))
        .map(|at| format!("{prefix}{} {} -> {}", CLASSES[at], words(each(old, at)), words(each(new, at))))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tollgate_core::price::{ModelPrice, PriceTable, Rates, Tier};
    use tollgate_core::time::Timestamp;

    use super::changes;

    #[test]
    fn a_difference_names_each_class_that_changes_and_nothing_else() {
        let base = Rates { input: 2_000_000, output: 8_500_000, ..Rates::default() };
        let old = ModelPrice { provider: "p".into(), base, long_prompt: None, output_tokens_max: 10 };
        let models = [("same", &old), ("gone", &old), ("dearer", &old)];
        let table = models.map(|(name, price)| (name.to_owned(), price.clone())).into();
        let table = PriceTable::new(1, Timestamp::from_millis(0), table);
        let dearer = Rates { output: 9_000_000, ..base };
        let tier = Tier { above_tokens: 200, rates: Rates { request: 1, ..Rates::default() } };
        let new = HashMap::from([
            ("same".to_owned(), old.clone()),
            ("dearer".to_owned(), ModelPrice { base: dearer, long_prompt: Some(tier), ..old.clone() }),
            ("new".to_owned(), old),
        ]);
        let found: Vec<String> = changes(&table, &new)
            .into_iter()
            .map(|change| format!("{} {}: {}", change.change, change.model, change.details.join(", ")))
            .collect();
        assert_eq!(
            found,
            [
                "changed dearer: output 8.5 -> 9, long_prompt.above_tokens none -> 200, long_prompt.request none -> 0.000001",
                "removed gone: ",
                "added new: input none -> 2, output none -> 8.5",
            ]
        );
    }
}
