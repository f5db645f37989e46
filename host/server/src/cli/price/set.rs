//! `tollgate price set`

use clap::Args;
use serde_json::Value;

use super::Publishing;
use crate::cli::output::Output;
use crate::config::Config;
use crate::manage::{Here, Management};
use crate::prices::file::Prices;
use crate::prices::set::Setting;

/// What an entry of the prices says. What is not said stays as it was; of a new entry, caches and audio cost what text
/// does, and tools have no price.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The model, or `PROVIDER/*` for all models of a provider that have no price of their own.
    name: String,
    /// The provider that serves it, where no route and no price says so yet.
    #[arg(long)]
    provider: Option<String>,
    /// Everything costs nothing that is not said beside this.
    #[arg(long)]
    free: bool,
    /// US dollars for a million tokens of the prompt.
    #[arg(long, value_name = "USD")]
    input: Option<String>,
    /// US dollars for a million tokens of the answer.
    #[arg(long, value_name = "USD")]
    output: Option<String>,
    /// US dollars for another class of usage, as `cache_read=0.1`: for a million tokens, or for one of anything else
    /// (`web_search=0.01`, `image=0.04`, `request=0.001`); may be given several times.
    #[arg(long = "price", value_name = "CLASS=USD", value_parser = pair)]
    prices: Vec<(String, String)>,
    /// What tokens cost in another service tier, as a part of the prices: `flex=0.5`; may be given several times.
    #[arg(long = "tier", value_name = "TIER=PART", value_parser = pair)]
    tiers: Vec<(String, String)>,
    /// Prompt tokens above which the whole request costs the prices of long prompts.
    #[arg(long, value_name = "TOKENS")]
    long_prompt_above: Option<u64>,
    /// US dollars for a class of usage of a long prompt, as `input=2.5`; may be given several times.
    #[arg(long = "long-prompt-price", value_name = "CLASS=USD", value_parser = pair)]
    long_prompt: Vec<(String, String)>,
    /// The most output tokens of an answer, for which a call without a limit is held: 65536 where nothing is known, 0
    /// for embeddings.
    #[arg(long, value_name = "TOKENS")]
    output_tokens_max: Option<u64>,
    /// Points for a dollar.
    #[arg(long, default_value_t = 1000)]
    points_per_usd: u32,
    #[command(flatten)]
    publishing: Publishing,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give a name and its value, as `cache_read=0.1`")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Set {
    pub(super) async fn run(
        self,
        config: &Config,
        management: &Management,
        output: &Output,
    ) -> anyhow::Result<()> {
        let named = [("input", self.input), ("output", self.output)];
        let named = named.into_iter().filter_map(|(name, usd)| Some((name.to_owned(), usd?)));
        let setting = Setting {
            name: self.name,
            provider: self.provider,
            free: self.free,
            prices: named.chain(self.prices).collect::<Prices>(),
            long_prompt_above: self.long_prompt_above,
            long_prompt: self.long_prompt.into_iter().collect(),
            service_tiers: self.tiers.into_iter().collect(),
            output_tokens_max: self.output_tokens_max,
            points_per_usd: self.points_per_usd,
        };
        let here = Here { providers: &config.providers, models: &config.models };
        let changed = management.with_price(setting, self.publishing.effective_at, here).await?;
        let known = config.providers.contains_key(&changed.provider);
        let about: [(&str, Value); 3] = [
            ("name", changed.name.into()),
            ("provider", changed.provider.into()),
            ("provider_configured", known.into()),
        ];
        self.publishing.publish(management, changed.models, Some(changed.base), &about, output).await
    }
}
