//! One entry of the prices, given or changed: what is not said stays as it was, or follows from what is.

use tollgate_core::price::{ModelPrice, Rates, Tier};
use tollgate_core::usage::{Class, Unit, Unpriced};

use super::file::{self, LONG_PROMPT, Prices, REQUEST, rate};

/// The most output tokens of a model of which nothing is said: more than most models write, since a hold is for them.
const OUTPUT_TOKENS_MAX: u64 = 65_536;

/// What is said of an entry. Prices are decimal numbers of dollars by class, or of the `request`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setting {
    /// The model, or `provider/*` for all others of a provider.
    pub(crate) name: String,
    /// The provider that serves it where no route says so.
    pub(crate) provider: Option<String>,
    /// Whether everything costs nothing that is not said.
    pub(crate) free: bool,
    /// Prices.
    pub(crate) prices: Prices,
    /// Prompt tokens above which other prices apply.
    pub(crate) long_prompt_above: Option<u64>,
    /// Those prices.
    pub(crate) long_prompt: Prices,
    /// What tokens cost in other tiers, as parts of the prices.
    pub(crate) service_tiers: Prices,
    /// The most output tokens of an answer.
    pub(crate) output_tokens_max: Option<u64>,
    /// Points for a dollar.
    pub(crate) points_per_usd: u32,
}

impl Setting {
    /// The entry after this, over what was `known` of it.
    ///
    /// # Errors
    /// What is wrong or missing, by its name.
    pub(crate) fn over(&self, known: Option<&ModelPrice>, provider: &str) -> Result<ModelPrice, String> {
        file::known(&self.prices, "")?;
        file::known(&self.long_prompt, LONG_PROMPT)?;
        let output_tokens_max = self.output_tokens_max.or(known.map(|known| known.output_tokens_max));
        let output_tokens_max = output_tokens_max.unwrap_or(OUTPUT_TOKENS_MAX);
        let free = Rates::default();
        let before = if self.free { Some(&free) } else { known.map(|known| &known.base) };
        let mut base = self.rates(&self.prices, "", before, output_tokens_max == 0)?;
        base.request = match self.prices.get(REQUEST) {
            Some(usd) => rate(REQUEST, usd, None, self.points_per_usd)?,
            None => before.map_or(0, |before| before.request),
        };
        let mut tiers = known.filter(|_| !self.free).map(|known| known.tiers).unwrap_or_default();
        tiers = tiers.with(&file::tiers(&self.service_tiers)?);
        let long_prompt = self.long_prompt(known.filter(|_| !self.free), &base)?;
        Ok(ModelPrice { provider: provider.to_owned(), base, long_prompt, output_tokens_max, tiers })
    }

    fn long_prompt(&self, known: Option<&ModelPrice>, base: &Rates) -> Result<Option<Tier>, String> {
        let before = known.and_then(|known| known.long_prompt);
        if self.long_prompt_above.is_none() && self.long_prompt.is_empty() {
            return Ok(before);
        }
        if self.long_prompt.contains_key(REQUEST) {
            return Err(format!("`{LONG_PROMPT}{REQUEST}` is that of an ordinary request"));
        }
        let above = self.long_prompt_above.or(before.map(|tier| tier.above_tokens));
        let above_tokens =
            above.ok_or("say above how many prompt tokens the prices of long prompts apply")?;
        let known = before.map_or(*base, |tier| tier.rates);
        let mut rates = self.rates(&self.long_prompt, LONG_PROMPT, Some(&known), false)?;
        rates.request = base.request;
        for class in Class::ALL.into_iter().filter(|class| class.unit() != Unit::Tokens) {
            if !self.long_prompt.contains_key(class.name()) {
                rates[class] = base[class];
            }
        }
        Ok(Some(Tier { above_tokens, rates }))
    }

    /// Each class at what is said, else at what its text costs where it cost the same before, else as it was.
    fn rates(
        &self,
        said: &Prices,
        prefix: &str,
        before: Option<&Rates>,
        no_output: bool,
    ) -> Result<Rates, String> {
        let mut rates = Rates::default();
        for class in Class::ALL {
            let name = class.name();
            rates[class] = match (said.get(name), before, followed(class)) {
                (Some(usd), ..) => rate(&format!("{prefix}{name}"), usd, Some(class), self.points_per_usd)?,
                (None, Some(before), Some(text)) if before[class] == before[text] => rates[text],
                (None, Some(before), _) => before[class],
                (None, None, Some(text)) => rates[text],
                (None, None, None) if class == Class::Output && no_output => 0,
                (None, None, None) if matches!(class, Class::Input | Class::Output) => {
                    return Err(format!(
                        "there is no price yet, so say `{prefix}{name}`, or that it is free"
                    ));
                }
                (None, None, None) => 0,
            };
        }
        Ok(rates)
    }
}

/// The class of text whose price a class has where nothing else is said.
fn followed(class: Class) -> Option<Class> {
    match class.unpriced() {
        Unpriced::Like(text) => Some(text),
        Unpriced::Free => None,
        Unpriced::Stated => match class {
            Class::Input | Class::Output => None,
            Class::AudioOutput => Some(Class::Output),
            _ => Some(Class::Input),
        },
    }
}

#[cfg(test)]
mod tests {
    use tollgate_core::usage::{Class, ServiceTier};

    use super::{Prices, Setting};

    fn prices(list: &[(&str, &str)]) -> Prices {
        list.iter().map(|(name, usd)| ((*name).to_owned(), (*usd).to_owned())).collect()
    }

    fn setting(list: &[(&str, &str)]) -> Setting {
        let name = "local/*".to_owned();
        Setting { name, prices: prices(list), points_per_usd: 1000, ..Setting::default() }
    }

    #[test]
    fn a_new_entry_needs_text_alone_and_the_rest_follows() {
        let new = setting(&[("input", "0.5"), ("output", "2"), ("web_search", "0.01")]);
        let made = new.over(None, "local").unwrap();
        let rate = |class| made.base[class] / 1_000_000;
        assert_eq!([Class::Input, Class::CacheRead, Class::CacheWriteLong].map(rate), [500; 3]);
        assert_eq!([Class::Output, Class::Reasoning, Class::AudioOutput].map(rate), [2000; 3]);
        assert_eq!(made.base.price_of(Class::WebSearch).to_string(), "10");
        let wrong = |list: &[(&str, &str)]| setting(list).over(None, "local").unwrap_err();
        assert!(wrong(&[("input", "1")]).contains("`output`"));
        assert!(wrong(&[("input", "1"), ("output", "1"), ("colour", "1")]).contains("colour"));
        assert!(wrong(&[("input", "cheap"), ("output", "1")]).contains("input"));
    }

    #[test]
    fn what_is_not_said_stays_and_what_cost_what_text_does_goes_on_so() {
        let first = setting(&[("input", "1"), ("output", "2"), ("cache_read", "0.1"), ("request", "0.5")]);
        let known = first.over(None, "local").unwrap();
        let changed = setting(&[("input", "3")]).over(Some(&known), "local").unwrap();
        let rate = |class| changed.base[class] / 1_000_000;
        assert_eq!([Class::Input, Class::CacheRead, Class::CacheWriteShort].map(rate), [3000, 100, 3000]);
        assert_eq!((rate(Class::Output), changed.base.request), (2000, known.base.request));
        let free = Setting { free: true, ..setting(&[]) }.over(Some(&known), "local").unwrap();
        assert!(free.base.each().all(|(_, rate)| rate == 0) && free.base.request == 0);
    }

    #[test]
    fn long_prompts_and_tiers_are_set_beside_what_is_there() {
        let known = setting(&[("input", "1"), ("output", "2")]).over(None, "p").unwrap();
        let long = Setting { long_prompt: prices(&[("input", "2")]), ..setting(&[]) };
        assert!(long.over(Some(&known), "p").unwrap_err().contains("above how many"));
        let long = Setting { long_prompt_above: Some(9), ..long };
        let tier = long.over(Some(&known), "p").unwrap().long_prompt.unwrap();
        assert_eq!(
            (tier.above_tokens, tier.rates[Class::Input], tier.rates[Class::Output]),
            (9, 2_000_000_000, 2_000_000_000)
        );
        let tiered = Setting { service_tiers: prices(&[("flex", "0.5")]), ..setting(&[]) };
        let first = tiered.over(Some(&known), "p").unwrap();
        let tiered = Setting { service_tiers: prices(&[("priority", "2")]), ..setting(&[]) };
        let both = tiered.over(Some(&first), "p").unwrap();
        assert!(both.tiers.stated().eq([(ServiceTier::Flex, 500_000), (ServiceTier::Priority, 2_000_000)]));
    }
}
