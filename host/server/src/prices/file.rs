//! Price lists as files: TOML, US dollars per million tokens as decimal strings, so that no float touches a price.

use std::collections::HashMap;

use serde::Deserialize;
use tollgate_core::points::{MICROPOINTS_PER_POINT, Micropoints};
use tollgate_core::price::{ModelPrice, Rates, Tier};

/// The list that a new database starts with.
const SHIPPED: &str = include_str!("../../prices.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    points_per_usd: u32,
    model: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
    provider: String,
    output_tokens_max: u64,
    input: String,
    cache_read: String,
    cache_write_short: String,
    cache_write_long: String,
    output: String,
    audio_input: String,
    audio_output: String,
    #[serde(default)]
    request: Option<String>,
    #[serde(default)]
    long_prompt: Option<LongPrompt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LongPrompt {
    above_tokens: u64,
    input: String,
    cache_read: String,
    cache_write_short: String,
    cache_write_long: String,
    output: String,
    audio_input: String,
    audio_output: String,
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
    let rate = |class: &str, usd: &str| rate(class, usd, points_per_usd);
    let base = Rates {
        input: rate("input", &model.input)?,
        cache_read: rate("cache_read", &model.cache_read)?,
        cache_write_short: rate("cache_write_short", &model.cache_write_short)?,
        cache_write_long: rate("cache_write_long", &model.cache_write_long)?,
        output: rate("output", &model.output)?,
        audio_input: rate("audio_input", &model.audio_input)?,
        audio_output: rate("audio_output", &model.audio_output)?,
        request: model.request.as_deref().map_or(Ok(0), |usd| rate("request", usd))?,
    };
    let tier = |tier: LongPrompt| -> Result<Tier, String> {
        let rates = Rates {
            input: rate("long_prompt.input", &tier.input)?,
            cache_read: rate("long_prompt.cache_read", &tier.cache_read)?,
            cache_write_short: rate("long_prompt.cache_write_short", &tier.cache_write_short)?,
            cache_write_long: rate("long_prompt.cache_write_long", &tier.cache_write_long)?,
            output: rate("long_prompt.output", &tier.output)?,
            audio_input: rate("long_prompt.audio_input", &tier.audio_input)?,
            audio_output: rate("long_prompt.audio_output", &tier.audio_output)?,
            request: base.request,
        };
        Ok(Tier { above_tokens: tier.above_tokens, rates })
    };
    let long_prompt = model.long_prompt.map(tier).transpose()?;
    Ok(ModelPrice { provider: model.provider, base, long_prompt, output_tokens_max: model.output_tokens_max })
}

/// Dollars to micro-points; the unit (per million tokens, or per request) stays.
fn rate(class: &str, usd: &str, points_per_usd: u32) -> Result<i64, String> {
    let wrong =
        || format!("`{class} = \"{usd}\"` is not a price: give a decimal number with at most six places");
    let millionths =
        Micropoints::parse_points(usd).filter(|amount| amount.get() >= 0).ok_or_else(wrong)?.get();
    // A dollar has a million millionths and so many points, each a million micro-points: the millions cancel out.
    debug_assert_eq!(MICROPOINTS_PER_POINT, 1_000_000);
    millionths.checked_mul(i64::from(points_per_usd)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{parse, shipped};

    #[test]
    fn the_shipped_prices_are_whole_and_in_micropoints() {
        let prices = shipped().unwrap();
        let sonnet = &prices["claude-sonnet-4-5"];
        assert_eq!(sonnet.provider, "anthropic");
        assert_eq!(sonnet.base.input, 3_000_000_000, "3 USD are 3,000 points a million tokens");
        assert_eq!(sonnet.base.cache_read, 300_000_000);
        let gpt = &prices["gpt-5.6"];
        assert_eq!(gpt.rates(272_000).output, 20_000_000_000);
        assert_eq!(gpt.rates(272_001).output, 30_000_000_000);
        assert_eq!(prices["text-embedding-3-small"].base.output, 0);
        assert!(prices.len() > 40);
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
        for bad in ["-1", "1e3", "", "0.0000001"] {
            assert!(parse(&model(&format!("input = \"{bad}\""))).unwrap_err().contains("model `m`"), "{bad}");
        }
        assert!(parse("points_per_usd = 1\nmodel = []").unwrap_err().contains("no model"));
    }
}
