//! Price lists as files: TOML, US dollars per million tokens as decimal strings, so that no float touches a price.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{ModelPrice, PriceRate, Rates, Tier, TierFactors};
use tollgate_core::usage::{Class, ServiceTier, Unit, Unpriced};

use super::decimal::Decimal;

/// The name of the price of a request itself.
pub(super) const REQUEST: &str = "request";
/// The prefix, in errors, of prices for long prompts.
pub(super) const LONG_PROMPT: &str = "long_prompt.";
/// The list that a new database starts with.
const SHIPPED: &str = include_str!("../../prices.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    points_per_usd: u32,
    model: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    provider: String,
    output_tokens_max: u64,
    #[serde(default)]
    long_prompt: Option<LongPrompt>,
    /// The prices of tokens in other service tiers, as decimal fractions of the ordinary ones.
    #[serde(default)]
    service_tiers: BTreeMap<String, String>,
    /// Prices by the names of their classes, and that of a request.
    #[serde(flatten)]
    prices: Prices,
}

/// Decimal numbers of dollars.
pub(crate) type Prices = BTreeMap<String, String>;

#[derive(Deserialize)]
struct LongPrompt {
    above_tokens: u64,
    #[serde(flatten)]
    prices: Prices,
}

/// The shipped list.
///
/// # Errors
/// Never, as a test holds: the list is part of the binary.
pub(crate) fn shipped() -> Result<HashMap<String, ModelPrice>, String> {
    parse(SHIPPED)
}

/// Reads a list.
///
/// # Errors
/// The line, or the model and class, at fault. A class that is left out is an error: it would be free.
pub(crate) fn parse(text: &str) -> Result<HashMap<String, ModelPrice>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut prices = HashMap::with_capacity(file.model.len());
    for model in file.model {
        let name = model.name.clone();
        let price =
            price(model, file.points_per_usd).map_err(|reason| format!("model `{name}`: {reason}"))?;
        if prices.insert(name.clone(), price).is_some() {
            return Err(format!("model `{name}` stands twice"));
        }
    }
    if prices.is_empty() {
        return Err("there is no model in it".to_owned());
    }
    Ok(prices)
}

fn price(model: Model, points_per_usd: u32) -> Result<ModelPrice, String> {
    let request = model.prices.get(REQUEST);
    let request = request.map_or(Ok(0), |usd| rate(REQUEST, usd, None, points_per_usd))?;
    let base = rates(&model.prices, "", request, None, points_per_usd)?;
    let tier = |tier: &LongPrompt| -> Result<Tier, String> {
        if tier.prices.contains_key(REQUEST) {
            return Err(format!("`{LONG_PROMPT}{REQUEST}` is that of an ordinary request"));
        }
        let rates = rates(&tier.prices, LONG_PROMPT, request, Some(&base), points_per_usd)?;
        Ok(Tier { above_tokens: tier.above_tokens, rates })
    };
    let long_prompt = model.long_prompt.as_ref().map(tier).transpose()?;
    let tiers = tiers(&model.service_tiers)?;
    let Model { provider, output_tokens_max, .. } = model;
    Ok(ModelPrice { provider, base, long_prompt, output_tokens_max, tiers })
}

/// The factors of service tiers.
pub(super) fn tiers(factors: &Prices) -> Result<TierFactors, String> {
    let factor = |(name, part): (&String, &String)| {
        let wrong = || format!("`service_tiers.{name} = \"{part}\"` is no tier and its part of the price");
        let tier =
            ServiceTier::named(name).filter(|tier| *tier != ServiceTier::Standard).ok_or_else(wrong)?;
        let ppm = Micropoints::parse_points(part).and_then(|part| u32::try_from(part.get()).ok());
        Ok((tier, ppm.filter(|ppm| *ppm <= PriceRate::PPM_MAX).ok_or_else(wrong)?))
    };
    Ok(TierFactors::of(&factors.iter().map(factor).collect::<Result<Vec<_>, String>>()?))
}

/// The prices of an ordinary request, or of a long one beside `base`: all of them known and complete. The length of a
/// prompt does not change the price of a tool.
fn rates(
    prices: &Prices,
    prefix: &str,
    request: i64,
    base: Option<&Rates>,
    points_per_usd: u32,
) -> Result<Rates, String> {
    known(prices, prefix)?;
    Rates::stated(request, |class| {
        let name = format!("{prefix}{}", class.name());
        match prices.get(class.name()) {
            Some(usd) => rate(&name, usd, Some(class), points_per_usd).map(Some),
            None if class.unpriced() == Unpriced::Stated => Err(format!("missing field `{name}`")),
            None if class.unit() != Unit::Tokens => Ok(base.map(|base| base[class])),
            None if base.is_some_and(|base| !base.goes_without_saying(class)) => {
                Err(format!("missing field `{name}`: it has a price of its own"))
            }
            None => Ok(None),
        }
    })
}

/// Refuses names that no class has.
pub(super) fn known(prices: &Prices, prefix: &str) -> Result<(), String> {
    let unknown = prices.keys().find(|name| *name != REQUEST && Class::named(name).is_none());
    unknown.map_or(Ok(()), |name| Err(format!("unknown field `{prefix}{name}`")))
}

/// Dollars to micro-points: for a million units where it is the price of a class, which a list states for a million
/// tokens, or for one unit of anything else; or for the request.
pub(super) fn rate(name: &str, usd: &str, class: Option<Class>, points_per_usd: u32) -> Result<i64, String> {
    let wrong = || {
        format!(
            "`{name} = \"{usd}\"` is not a price: give a decimal number of dollars that comes to whole micro-points"
        )
    };
    let plain = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let is_number =
        usd.bytes().all(plain) && usd.starts_with(|sign: char| sign != '.') && !usd.ends_with('.');
    let number = Decimal::read(usd).filter(|_| is_number).ok_or_else(wrong)?;
    number.times_power_of_ten(power(class), points_per_usd).ok_or_else(wrong)
}

/// The power of ten between a point of the price and its rate.
pub(super) fn power(class: Option<Class>) -> i32 {
    if class.is_none_or(|class| class.unit().priced_units() > 1) { 6 } else { 12 }
}

#[cfg(test)]
mod tests {
    use super::{Class, ServiceTier, parse, shipped};

    #[test]
    fn the_shipped_prices_are_whole_and_in_micropoints() {
        let prices = shipped().unwrap();
        let sonnet = &prices["claude-sonnet-4-5"];
        assert_eq!(sonnet.provider, "anthropic");
        assert_eq!(sonnet.base[Class::Input], 3_000_000_000, "3 USD are 3,000 points a million tokens");
        assert_eq!(sonnet.base[Class::CacheRead], 300_000_000);
        let gpt = &prices["gpt-5.6"];
        assert_eq!(gpt.rates(272_000)[Class::Output], 20_000_000_000);
        assert_eq!(gpt.rates(272_001)[Class::Output], 30_000_000_000);
        let search = |model: &str| prices[model].base.price_of(Class::WebSearch).to_string();
        assert_eq!(
            [search("gpt-5.6"), search("claude-sonnet-4-5"), search("gemini-2.5-flash")],
            ["10", "10", "35"]
        );
        assert_eq!(gpt.tiers.ppm(ServiceTier::Flex), 500_000);
        assert_eq!(gpt.rates(272_001)[Class::WebSearch], gpt.base[Class::WebSearch]);
        assert_eq!(prices["text-embedding-3-small"].base[Class::Output], 0);
        assert!(prices.len() > 40);
    }

    #[test]
    fn tools_have_a_price_by_the_call_and_tiers_a_factor() {
        let priced = |more: &str| {
            let classes = "input = \"1\"\ncache_read = \"1\"\ncache_write_short = \"1\"\ncache_write_long = \"1\"\n\
                           output = \"2\"\naudio_input = \"1\"\naudio_output = \"2\"\n";
            let list = format!(
                "points_per_usd = 1000\n[[model]]\nname = \"m\"\nprovider = \"p\"\noutput_tokens_max = 1\n{classes}\
                 web_search = \"0.01\"\n{more}[model.long_prompt]\nabove_tokens = 9\n{classes}"
            );
            parse(&list).map(|models| models["m"].clone())
        };
        let price = priced("service_tiers = { flex = \"0.5\", priority = \"1.7\" }\n").unwrap();
        for rates in [price.rates(9), price.rates(10)] {
            assert_eq!(
                rates.price_of(Class::WebSearch).to_string(),
                "10",
                "a cent a call, whatever the prompt"
            );
            assert_eq!((rates[Class::Reasoning], rates[Class::ImageInput]), (2_000_000_000, 1_000_000_000));
        }
        assert!(price.tiers.stated().eq([(ServiceTier::Flex, 500_000), (ServiceTier::Priority, 1_700_000)]));
        assert!(priced("service_tiers = { slow = \"0.5\" }\n").unwrap_err().contains("service_tiers.slow"));
        assert!(priced("service_tiers = { flex = \"half\" }\n").unwrap_err().contains("service_tiers.flex"));
        assert!(priced("reasoning = \"3\"\n").unwrap_err().contains("long_prompt.reasoning"));
        assert!(priced("colour = \"3\"\n").unwrap_err().contains("unknown field `colour`"));
    }

    #[test]
    fn a_price_that_is_missing_or_no_number_is_refused() {
        let model = |line: &str| {
            format!(
                "points_per_usd = 1\n[[model]]\nname = \"m\"\nprovider = \"p\"\noutput_tokens_max = 1\ncache_read = \"1\"\n\
                 cache_write_short = \"1\"\ncache_write_long = \"1\"\noutput = \"1\"\naudio_input = \"1\"\n\
                 audio_output = \"1\"\n{line}\n"
            )
        };
        assert!(parse(&model("input = \"1\"")).is_ok());
        assert!(parse(&model("")).unwrap_err().contains("missing field `input`"));
        for bad in ["-1", "1e3", "", "0.0000001", ".5", "5.", "1.2.3", "+1"] {
            assert!(parse(&model(&format!("input = \"{bad}\""))).unwrap_err().contains("model `m`"), "{bad}");
        }
        assert!(parse("points_per_usd = 1\nmodel = []").unwrap_err().contains("no model"));
    }
}
