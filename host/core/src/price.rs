//! The price table: what a model costs before any policy looks at it.
//!
//! A table is complete for every class that a model can produce, or it is refused when it is published: a class that is
//! missing would be a class that is free.

use std::collections::HashMap;

/// Tokens that a rate is for.
pub const TOKENS_PER_RATE: u64 = 1_000_000;

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
    models: HashMap<String, ModelPrice>,
}

impl PriceTable {
    /// A table of these models. Names are the providers' own, without prefixes.
    #[must_use]
    pub fn new(version: u64, models: HashMap<String, ModelPrice>) -> Self {
        Self { version, models }
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
    use super::undated;

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
