//! Price lists from elsewhere: JSON in the format of the LiteLLM project's `model_prices_and_context_window.json`, US
//! dollars per token.
//!
//! Numbers are read as they are written, digit by digit: no float touches a price. What the price table cannot express
//! is not guessed but listed with its reason; what it has no field for (a tier with several factors, tools that nothing
//! counts, a second price of what has one) is left out, and reported. A class that a provider does not price apart has
//! the price that applies instead, as in the shipped list: an absent cache or audio price is that of plain text.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;
use tollgate_core::limits::matches;
use tollgate_core::price::{ModelPrice, PriceRate, Rates, Tier, TierFactors};
use tollgate_core::usage::{Class, ServiceTier};

use super::decimal::Decimal;

/// What to take from a list.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    /// Providers of the list, with the configured provider that each stands for.
    pub(crate) providers: Vec<(String, String)>,
    /// Patterns of model names; all where there is none.
    pub(crate) models: Vec<String>,
    /// Points for a dollar.
    pub(crate) points_per_usd: u32,
}

/// The result of an import.
#[derive(Debug, Default)]
pub(crate) struct Import {
    /// Prices by model.
    pub(crate) models: HashMap<String, ModelPrice>,
    /// Models that the price table cannot express: the list's own name, and why.
    pub(crate) refused: Vec<(String, String)>,
    /// What a model's price leaves out.
    pub(crate) left_out: Vec<(String, String)>,
}

type Entry<'a> = BTreeMap<String, &'a RawValue>;

/// The list's name for the price of a token of each class, and the class whose price applies where it has none.
const NAMES: [(Class, &str, Option<Class>); 10] = [
    (Class::Input, "input_cost_per_token", None),
    (Class::CacheRead, "cache_read_input_token_cost", Some(Class::Input)),
    (Class::CacheWriteShort, "cache_creation_input_token_cost", Some(Class::Input)),
    (Class::CacheWriteLong, "cache_creation_input_token_cost_above_1hr", Some(Class::CacheWriteShort)),
    (Class::Output, "output_cost_per_token", None),
    (Class::AudioInput, "input_cost_per_audio_token", Some(Class::Input)),
    (Class::AudioOutput, "output_cost_per_audio_token", Some(Class::Output)),
    (Class::Reasoning, "output_cost_per_reasoning_token", Some(Class::Output)),
    (Class::ImageInput, "input_cost_per_image_token", Some(Class::Input)),
    (Class::ImageOutput, "output_cost_per_image_token", Some(Class::Output)),
];
/// The list's names for the price of something else than a token, its class (`None` for the request itself), and for
/// how many as a power of ten.
const UNITS: [(&str, Option<Class>, i32); 9] = [
    ("output_cost_per_image", Some(Class::Image), 0),
    ("input_cost_per_second", Some(Class::AudioSecond), 0),
    ("output_cost_per_second", Some(Class::AudioSecond), 0),
    ("input_cost_per_character", Some(Class::Character), 0),
    ("google_maps_grounding_cost_per_query", Some(Class::MapSearch), 0),
    ("code_interpreter_cost_per_session", Some(Class::CodeInterpreter), 0),
    ("file_search_cost_per_1k_calls", Some(Class::FileSearch), 3),
    ("input_cost_per_query", Some(Class::SearchUnit), 0),
    ("input_cost_per_request", None, 0),
];
/// Prices of what has another one already: the list's name, and the name of the price that is charged.
const TWICE: [(&str, &str); 5] = [
    ("output_cost_per_image", "output_cost_per_image_token"),
    ("input_cost_per_image", "input_cost_per_token"),
    ("input_cost_per_second", "input_cost_per_token"),
    ("output_cost_per_second", "output_cost_per_token"),
    ("output_cost_per_second", "input_cost_per_second"),
];
/// The price of a web search, by how much of the results the model reads.
const SEARCHES: &str = "search_context_cost_per_query";
/// The same price as one of [`NAMES`], where they are equal; else the table cannot express it.
const SAME: [(&str, &str); 2] = [
    ("cache_read_input_image_token_cost", "cache_read_input_token_cost"),
    ("cache_read_input_audio_token_cost", "cache_read_input_token_cost"),
];
/// Ends of names that price another service tier.
const SERVICE_TIERS: [(&str, Option<ServiceTier>); 6] = [
    ("_batches", Some(ServiceTier::Batch)),
    ("_flex", Some(ServiceTier::Flex)),
    ("_priority", Some(ServiceTier::Priority)),
    ("_ultrafast", Some(ServiceTier::Ultrafast)),
    ("_balanced", None),
    ("_decisions", None),
];
/// Parts of names of prices for the use of a tool, which nothing meters.
const TOOLS: [&str; 6] =
    ["per_query", "per_session", "per_1k_calls", "per_gb_per_day", "1k_tokens", "per_1000_calls"];
/// Modes whose calls are metered by tokens.
const MODES: [&str; 4] = ["chat", "responses", "completion", "embedding"];
/// Modes whose calls are metered by tokens or by something else, where the list prices that.
const OTHER_MODES: [&str; 5] =
    ["image_generation", "audio_transcription", "audio_speech", "moderation", "rerank"];
/// The most output tokens of a call of those modes, where nothing is said: images of the largest kind.
const OTHER_OUTPUT_MAX: u64 = 32_768;
/// Factors of tiers that only some providers have.
const PARTICULAR: &str = "provider_specific_entry";
/// The entry that explains the format.
const SAMPLE: &str = "sample_spec";

/// Reads a list.
///
/// # Errors
/// Where it is not of the format: the place at fault.
pub(crate) fn read(text: &str, selection: &Selection) -> Result<Import, String> {
    let file: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut import = Import::default();
    for (name, raw) in file.iter().filter(|(name, _)| *name != SAMPLE) {
        let entry: Entry<'_> =
            serde_json::from_str(raw.get()).map_err(|error| format!("`{name}`: {error}"))?;
        let listed = text_of(&entry, "litellm_provider").unwrap_or_default();
        let Some((_, provider)) = selection.providers.iter().find(|(from, _)| *from == listed) else {
            continue;
        };
        let model = name.strip_prefix(&format!("{listed}/")).unwrap_or(name);
        let asked =
            selection.models.is_empty() || selection.models.iter().any(|pattern| matches(pattern, model));
        if asked {
            import.take(name, model, provider, &entry, selection.points_per_usd);
        }
    }
    Ok(import)
}

impl Import {
    fn take(&mut self, name: &str, model: &str, provider: &str, entry: &Entry<'_>, points_per_usd: u32) {
        let mut left_out = Vec::new();
        let price = price(entry, provider, points_per_usd, &mut left_out);
        match (price, self.models.get(model)) {
            (Err(reason), _) => self.refused.push((name.to_owned(), reason)),
            (Ok(price), Some(known)) if *known != price => {
                self.refused.push((name.to_owned(), format!("another entry prices `{model}` differently")));
            }
            (Ok(price), _) => {
                self.models.insert(model.to_owned(), price);
                self.left_out.extend(left_out.into_iter().map(|what| (name.to_owned(), what)));
            }
        }
    }
}

/// One entry as a price of the table.
fn price(
    entry: &Entry<'_>,
    provider: &str,
    points_per_usd: u32,
    left_out: &mut Vec<String>,
) -> Result<ModelPrice, String> {
    let mode = text_of(entry, "mode").unwrap_or_default();
    if !MODES.contains(&mode.as_str()) && !is_metered(entry, &mode) {
        return Err(format!("calls of mode `{mode}` are not metered by tokens, and it has no other price"));
    }
    let mut limits = Vec::new();
    for (name, raw) in entry.iter().filter(|(name, _)| name.contains("cost")) {
        limits.extend(known(entry, name, raw, left_out)?);
    }
    limits.sort_unstable();
    limits.dedup();
    let [base, tier] = match limits.as_slice() {
        [] => [rates(entry, "", &mode, points_per_usd)?, None],
        [limit] => {
            let suffix = format!("_above_{}k_tokens", limit / 1000);
            [rates(entry, "", &mode, points_per_usd)?, rates(entry, &suffix, &mode, points_per_usd)?]
        }
        _ => return Err("it has several tiers of long prompts".to_owned()),
    };
    let base = base.ok_or("it has no price")?;
    let output_tokens_max = output_tokens_max(entry, &mode, &base)?;
    let long_prompt = match (tier, limits.first()) {
        (Some(rates), Some(limit)) => Some(Tier { above_tokens: *limit, rates }),
        _ => None,
    };
    let tiers = service_tiers(entry, points_per_usd, left_out)?;
    Ok(ModelPrice { provider: provider.to_owned(), base, long_prompt, output_tokens_max, tiers })
}

/// Whether the list prices what calls of another mode than those of tokens are billed by.
fn is_metered(entry: &Entry<'_>, mode: &str) -> bool {
    let has = |name: &str| entry.get(name).is_some_and(|raw| raw.get() != "null");
    let by: &[&str] = match mode {
        "image_generation" => &["output_cost_per_image", "output_cost_per_image_token"],
        "audio_transcription" => {
            &["input_cost_per_second", "output_cost_per_second", "output_cost_per_token"]
        }
        "audio_speech" => {
            &["input_cost_per_character", "output_cost_per_audio_token", "output_cost_per_token"]
        }
        "moderation" => &["input_cost_per_token"],
        "rerank" => &["input_cost_per_query"],
        _ => &[],
    };
    by.iter().any(|name| has(name))
}

fn output_tokens_max(entry: &Entry<'_>, mode: &str, base: &Rates) -> Result<u64, String> {
    match number(entry, "max_output_tokens")?.or(number(entry, "max_tokens")?) {
        _ if mode == "embedding" => Ok(0),
        Some(max) if max > 0 => Ok(max),
        _ if OTHER_MODES.contains(&mode) => {
            let writes = base[Class::Output] > 0 || base[Class::ImageOutput] > 0;
            Ok(if writes { OTHER_OUTPUT_MAX } else { 0 })
        }
        Some(max) => Ok(max),
        None => Err("it has no bound on its output".to_owned()),
    }
}

/// Reads one price of an entry, and the limit of its tier, if it has one. Omissions are noted.
fn known(
    entry: &Entry<'_>,
    name: &str,
    raw: &RawValue,
    left_out: &mut Vec<String>,
) -> Result<Option<u64>, String> {
    if raw.get() == "null" || Decimal::read(raw.get()).is_some_and(|price| price.is_zero()) {
        // A price of zero for something unmetered loses nothing; the price of a class is read with its class.
        return Ok(None);
    }
    if name == SEARCHES {
        left_out.extend(searches(raw)?.is_none().then(|| name.to_owned()));
        return Ok(None);
    }
    if SERVICE_TIERS.iter().any(|(end, _)| name.ends_with(end)) {
        return Ok(None);
    }
    if TWICE.iter().any(|(second, charged)| *second == name && priced(entry, charged).is_some()) {
        left_out.push(name.to_owned());
        return Ok(None);
    }
    // Elsewhere a second is one of a machine or of a film.
    let heard = text_of(entry, "mode").is_some_and(|mode| mode.starts_with("audio_"));
    let unit = UNITS.iter().find(|(known, ..)| *known == name);
    if unit.is_some_and(|(_, class, _)| *class != Some(Class::AudioSecond) || heard) {
        return Ok(None);
    }
    if TOOLS.iter().any(|part| name.contains(part)) {
        left_out.push(name.to_owned());
        return Ok(None);
    }
    if let Some((_, same)) = SAME.iter().find(|(known, _)| *known == name) {
        let equal =
            entry.get(*same).is_some_and(|other| Decimal::read(other.get()) == Decimal::read(raw.get()));
        return if equal { Ok(None) } else { Err(format!("`{name}` differs from `{same}`")) };
    }
    if NAMES.iter().any(|(_, known, _)| *known == name) {
        return Ok(None);
    }
    let limit = NAMES.iter().find_map(|(_, class, _)| {
        let tokens = name.strip_prefix(class)?.strip_prefix("_above_")?.strip_suffix("k_tokens")?;
        tokens.parse::<u64>().ok()
    });
    limit
        .map(|thousands| Some(thousands * 1000))
        .ok_or_else(|| format!("`{name}` prices what is not metered"))
}

/// A price as it is written, where there is one.
fn priced<'e>(entry: &Entry<'e>, name: &str) -> Option<&'e str> {
    entry.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null")
}

/// The rates of the ordinary tier, or of the one whose names end in `suffix`; `None` where the entry has no such input
/// price.
fn rates(entry: &Entry<'_>, suffix: &str, mode: &str, points_per_usd: u32) -> Result<Option<Rates>, String> {
    let other = OTHER_MODES.contains(&mode);
    let priced = |name: &str| {
        let name = format!("{name}{suffix}");
        priced(entry, &name).map(|raw| rate(&name, raw, points_per_usd)).transpose()
    };
    // Without the suffix: whether a class costs the same as the other one.
    let as_ever = |name: &str, other: Class| {
        let number = |name: &str| entry.get(name).and_then(|raw| Decimal::read(raw.get()));
        let other = NAMES.iter().find(|(class, ..)| *class == other).and_then(|(_, name, _)| number(name));
        number(name).is_some() && number(name) == other
    };
    let mut rates = Rates::default();
    for (class, name, instead) in NAMES {
        rates[class] = match (priced(name)?, instead) {
            (Some(price), _) => price,
            (None, None) if other && suffix.is_empty() => 0,
            (None, None) if class == Class::Input && suffix.is_empty() => return Ok(None),
            (None, None) if class == Class::Output && mode == "embedding" => 0,
            (None, None) => return Err(format!("it has no {} price{suffix}", class.name())),
            // A price that only the ordinary tier has might stay the same beyond the limit, or follow plain text: this
            // cannot be known.
            (None, Some(other))
                if !suffix.is_empty() && entry.contains_key(name) && !as_ever(name, other) =>
            {
                return Err(format!("`{name}` has a price, and none{suffix}"));
            }
            (None, Some(other)) => rates[other],
        };
    }
    let stated: Vec<(Class, i64)> = NAMES.iter().map(|(class, ..)| (*class, rates[*class])).collect();
    let search = entry.get(SEARCHES).map(|raw| searches(raw)).transpose()?.flatten();
    // For a million searches, as for a million tokens.
    let search = search.map(|usd| rate(SEARCHES, &usd, points_per_usd)).transpose()?;
    let rates = Rates::of(0, &stated).with(Class::WebSearch, search.unwrap_or(0));
    Ok(Some(with_units(entry, rates, points_per_usd)?))
}

/// The same with the prices of what is no token, which the length of a prompt does not change.
fn with_units(entry: &Entry<'_>, mut rates: Rates, points_per_usd: u32) -> Result<Rates, String> {
    let twice = |name: &str| {
        TWICE.iter().any(|(second, charged)| *second == name && priced(entry, charged).is_some())
    };
    for (name, class, of) in UNITS {
        let Some(raw) = priced(entry, name).filter(|_| !twice(name)) else { continue };
        match class {
            Some(class) => rates[class] = rate_of(name, raw, 12 - of, points_per_usd)?,
            None => rates.request = rate_of(name, raw, 6, points_per_usd)?,
        }
    }
    Ok(rates)
}

/// The price of a search; `None` where it differs by how much the model reads.
fn searches(raw: &RawValue) -> Result<Option<String>, String> {
    let wrong = |_| format!("`{SEARCHES}` is {}, no prices", raw.get());
    let prices: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(raw.get()).map_err(wrong)?;
    let prices = prices.unwrap_or_default();
    let mut each = prices.values().map(|price| price.get());
    let first = each.next().map(str::to_owned);
    Ok(first.filter(|first| each.all(|price| price == first)))
}

/// What tokens cost in other tiers, where that is the same part of each price that the tier has; what differs is noted.
fn service_tiers(
    entry: &Entry<'_>,
    points_per_usd: u32,
    left_out: &mut Vec<String>,
) -> Result<TierFactors, String> {
    let priced = |name: &str| priced(entry, name).map(|raw| rate(name, raw, points_per_usd)).transpose();
    let mut factors = particular(entry);
    for (end, tier) in SERVICE_TIERS {
        let mut parts = Vec::new();
        let mut names = Vec::new();
        for (name, plain) in entry.keys().filter_map(|name| Some((name, name.strip_suffix(end)?))) {
            let Some(price) = priced(name)? else { continue };
            names.push(name.clone());
            parts.push(priced(plain)?.and_then(|plain| part(price, plain)));
        }
        let first = parts.first().copied().flatten();
        match tier.zip(first) {
            Some(factor) if parts.iter().all(|part| *part == first) => factors.push(factor),
            _ => left_out.extend(names),
        }
    }
    Ok(TierFactors::of(&factors))
}

/// What tokens cost in the fast mode, and where a region is asked for: as parts of the prices.
fn particular(entry: &Entry<'_>) -> Vec<(ServiceTier, u32)> {
    let known: Option<BTreeMap<String, &RawValue>> =
        entry.get(PARTICULAR).and_then(|raw| serde_json::from_str(raw.get()).ok());
    let known = known.unwrap_or_default();
    let names = [("fast", ServiceTier::Fast), ("us", ServiceTier::Regional)];
    let factor = |(name, tier): (&str, ServiceTier)| {
        let ppm = Decimal::read(known.get(name)?.get())?.times_power_of_ten(6, 1)?;
        Some((tier, u32::try_from(ppm).ok().filter(|ppm| *ppm <= PriceRate::PPM_MAX)?))
    };
    names.into_iter().filter_map(factor).collect()
}

/// One price as a part of another, in millionths, rounded up.
fn part(price: i64, whole: i64) -> Option<u32> {
    let scaled = i128::from(price).checked_mul(1_000_000)?;
    let whole = i128::from(whole).max(0);
    let ppm = if whole == 0 { return None } else { (scaled + whole - 1) / whole };
    u32::try_from(ppm).ok().filter(|ppm| *ppm <= PriceRate::PPM_MAX)
}

/// Dollars per token to micro-points per million tokens: a million tokens, a million micro-points in a point.
fn rate(name: &str, raw: &str, points_per_usd: u32) -> Result<i64, String> {
    rate_of(name, raw, 12, points_per_usd)
}

/// Dollars to micro-points, for ten to the power of `power - 6` of what they are the price of.
fn rate_of(name: &str, raw: &str, power: i32, points_per_usd: u32) -> Result<i64, String> {
    let price = Decimal::read(raw).filter(Decimal::is_price);
    let price = price.ok_or_else(|| format!("`{name}` is {raw}, no price"))?;
    let whole = price.times_power_of_ten(power, points_per_usd);
    whole.ok_or_else(|| format!("`{name}` is {raw}, no whole number of micro-points for a million tokens"))
}

fn text_of(entry: &Entry<'_>, name: &str) -> Option<String> {
    serde_json::from_str(entry.get(name)?.get()).ok()
}

fn number(entry: &Entry<'_>, name: &str) -> Result<Option<u64>, String> {
    let Some(raw) = entry.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null") else {
        return Ok(None);
    };
    let whole = Decimal::read(raw).and_then(|number| number.times_power_of_ten(0, 1));
    let whole = whole.and_then(|number| u64::try_from(number).ok());
    whole.map(Some).ok_or_else(|| format!("`{name}` is {raw}, no count"))
}

#[cfg(test)]
mod tests {
    use super::{Class, Import, NAMES, Selection, ServiceTier, read};

    fn import(text: &str) -> Import {
        let providers = [("openai", "openai"), ("gemini", "google")];
        let providers = providers.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec();
        read(text, &Selection { providers, models: vec!["m*".to_owned()], points_per_usd: 1000 }).unwrap()
    }

    fn refusal(fields: &str) -> String {
        let head = r#""litellm_provider":"openai","input_cost_per_token":1e-6"#;
        let import = import(&format!(r#"{{"m":{{{head},{fields}}}}}"#));
        assert!(import.models.is_empty(), "{fields}");
        import.refused.into_iter().next().unwrap().1
    }

    #[test]
    fn prices_are_exact_and_classes_without_one_cost_what_applies_instead() {
        let list = r#"{"sample_spec": {"mode": "one of"},
            "gemini/m1": {"litellm_provider": "gemini", "mode": "chat", "max_output_tokens": 65536,
             "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05, "output_cost_per_reasoning_token": 0.00001,
             "cache_read_input_token_cost": 1.25E-7, "input_cost_per_token_batches": 5e-7,
             "search_context_cost_per_query": {"search_context_size_low": 0.03},
             "input_cost_per_token_above_200k_tokens": 2.5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05,
             "cache_read_input_token_cost_above_200k_tokens": 2.5e-07},
            "other": {"litellm_provider": "openai", "mode": "chat"},
            "m2": {"litellm_provider": "elsewhere", "mode": "chat"},
            "m3": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 2e-08,
             "output_cost_per_token": 0.0}}"#;
        let import = import(list);
        assert_eq!(import.refused, []);
        let price = &import.models["m1"];
        assert_eq!((price.provider.as_str(), price.output_tokens_max), ("google", 65_536));
        let mega = |tenths: i64| tenths * 1_000_000;
        assert_eq!(
            NAMES.map(|(class, ..)| price.base[class]),
            [1_250, 125, 1_250, 1_250, 10_000, 1_250, 10_000, 10_000, 1_250, 10_000].map(mega)
        );
        let tier = price.long_prompt.unwrap();
        assert_eq!(
            (tier.above_tokens, tier.rates[Class::CacheRead], tier.rates[Class::Output]),
            (200_000, mega(250), mega(15_000))
        );
        let left: Vec<&str> = import.left_out.iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(left, [] as [&str; 0]);
        assert_eq!(price.base.price_of(Class::WebSearch).to_string(), "30", "three cents are 30 points");
        assert!(price.tiers.stated().eq([(ServiceTier::Batch, 400_000)]));
        assert_eq!(
            (import.models["m3"].base[Class::Input], import.models["m3"].output_tokens_max),
            (mega(20), 0)
        );
        assert_eq!(import.models.len(), 2);
    }

    #[test]
    fn a_tier_is_one_factor_or_is_left_out_and_said() {
        let list = r#"{"m1": {"litellm_provider": "openai", "mode": "chat", "max_output_tokens": 9,
            "input_cost_per_token": 2e-06, "output_cost_per_token": 8e-06, "cache_read_input_token_cost": 5e-07,
            "input_cost_per_token_priority": 3.5e-06, "output_cost_per_token_priority": 1.4e-05,
            "cache_read_input_token_cost_priority": 8.75e-07,
            "input_cost_per_token_flex": 1e-06, "output_cost_per_token_flex": 4e-06, "cache_read_input_token_cost_flex": 5e-07,
            "input_cost_per_image_token": 3e-06,
            "search_context_cost_per_query": {"search_context_size_low": 0.01, "search_context_size_high": 0.02}}}"#;
        let import = import(list);
        let price = &import.models["m1"];
        assert!(price.tiers.stated().eq([(ServiceTier::Priority, 1_750_000)]));
        let left: Vec<&str> = import.left_out.iter().map(|(_, what)| what.as_str()).collect();
        let expected = [
            "search_context_cost_per_query",
            "cache_read_input_token_cost_flex",
            "input_cost_per_token_flex",
            "output_cost_per_token_flex",
        ];
        assert_eq!(left, expected);
        assert_eq!((price.base[Class::ImageInput], price.base[Class::WebSearch]), (3_000_000_000, 0));
    }

    #[test]
    fn what_is_billed_beside_tokens_is_taken_over() {
        let priced = |fields: &str| {
            let import = import(&format!(r#"{{"m":{{"litellm_provider":"openai",{fields}}}}}"#));
            assert_eq!(import.refused, [], "{fields}");
            import.models["m"].clone()
        };
        let points = |fields: &str, class| priced(fields).base.price_of(class).to_string();
        let image = r#""mode":"image_generation","output_cost_per_image":0.04"#;
        assert_eq!(points(image, Class::Image), "40");
        let tokens = r#""mode":"image_generation","input_cost_per_token":5e-06,"input_cost_per_image_token":1e-05,
            "output_cost_per_image_token":4e-05,"output_cost_per_image":0.134"#;
        assert_eq!(
            (points(tokens, Class::Image), points(tokens, Class::ImageOutput)),
            ("0".into(), "40000".into())
        );
        assert_eq!(priced(tokens).output_tokens_max, 32_768);
        let whisper =
            r#""mode":"audio_transcription","input_cost_per_second":0.0001,"output_cost_per_second":0.0001"#;
        assert_eq!(points(whisper, Class::AudioSecond), "0.1");
        let heard = r#""mode":"audio_transcription","input_cost_per_second":0.0001,"input_cost_per_token":2.5e-06,
            "output_cost_per_token":1e-05"#;
        assert_eq!(
            (points(heard, Class::AudioSecond), points(heard, Class::Output)),
            ("0".into(), "10000".into())
        );
        let speech = r#""mode":"audio_speech","input_cost_per_character":1.5e-05"#;
        assert_eq!(points(speech, Class::Character), "15000", "for a million, as the provider says it");
        assert_eq!(points(r#""mode":"rerank","input_cost_per_query":0.002"#, Class::SearchUnit), "2");
        assert_eq!(points(r#""mode":"moderation","input_cost_per_token":0"#, Class::Input), "0");
        let chat =
            r#""mode":"chat","max_tokens":9,"input_cost_per_token":1e-06,"output_cost_per_token":2e-06"#;
        let tools = format!(
            r#"{chat},"google_maps_grounding_cost_per_query":0.025,"code_interpreter_cost_per_session":0.03,
            "file_search_cost_per_1k_calls":2.5"#
        );
        let tool = |class| points(&tools, class);
        assert_eq!(
            [Class::MapSearch, Class::CodeInterpreter, Class::FileSearch].map(tool),
            ["25", "30", "2.5"].map(str::to_owned)
        );
        let factors =
            priced(&format!(r#"{chat},"provider_specific_entry":{{"us":1.1,"fast":2.0,"x":{{}}}}"#)).tiers;
        assert!(factors.stated().eq([(ServiceTier::Fast, 2_000_000), (ServiceTier::Regional, 1_100_000)]));
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_its_reason() {
        let check = |fields: &str, words: &str| {
            let reason = refusal(fields);
            assert!(reason.contains(words), "{fields}: {reason}");
        };
        let chat =
            |more: &str| format!(r#""mode":"chat","max_tokens":9,"output_cost_per_token":1e-6,{more}"#);
        check(r#""mode":"image_generation""#, "not metered by tokens");
        check(r#""mode":"chat","max_tokens":9"#, "no output price");
        check(r#""mode":"chat","output_cost_per_token":1e-6"#, "no bound");
        check(r#""mode":"chat","max_tokens":9,"output_cost_per_token":1e-16"#, "no whole number");
        check(r#""mode":"chat","max_tokens":9,"output_cost_per_token":-1e-6"#, "no price");
        check(r#""mode":"chat","max_tokens":9,"output_cost_per_token":"cheap""#, "no price");
        check(&chat(r#""output_cost_per_pixel":0.01"#), "not metered");
        check(r#""mode":"video_generation","output_cost_per_second":0.1"#, "not metered by tokens");
        check(&chat(r#""cache_read_input_audio_token_cost":2e-6"#), "differs");
        check(&chat(r#""input_cost_per_token_above_100k_tokens":2e-6"#), "no output price_above_100k");
        let both =
            r#""input_cost_per_token_above_100k_tokens":2e-6,"input_cost_per_token_above_200k_tokens":2e-6"#;
        check(&chat(both), "several tiers");
        let cache = r#""cache_read_input_token_cost":1e-7,"input_cost_per_token_above_100k_tokens":2e-6,
            "output_cost_per_token_above_100k_tokens":2e-6"#;
        check(&chat(cache), "and none_above_100k");
        assert!(read("[]", &Selection { providers: vec![], models: vec![], points_per_usd: 1 }).is_err());
    }
}
