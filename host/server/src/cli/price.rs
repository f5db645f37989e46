//! `tollgate price`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;
use tollgate_core::points::Micropoints;

use super::output::Output;
use crate::config::Config;
use crate::desk::Desk;
use crate::pricefile;

/// What models cost.
#[derive(Debug, Subcommand)]
pub(super) enum Price {
    /// List the prices in force, in points per million tokens.
    List,
    /// Publish a price list as a new version. It replaces the one before as a whole; receipts keep theirs.
    Publish {
        /// The list: TOML, as the shipped `prices.toml`.
        file: PathBuf,
    },
}

impl Price {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let desk = Desk::open(config).await?;
        match self {
            Self::List => {
                let table = desk.prices().await?;
                let points = |micropoints: i64| Value::from(Micropoints::new(micropoints).to_string());
                let mut rows: Vec<_> = table
                    .models()
                    .map(|(model, price)| {
                        let base = &price.base;
                        vec![
                            model.into(),
                            price.provider.clone().into(),
                            points(base.input),
                            points(base.cache_read),
                            points(base.cache_write_short),
                            points(base.cache_write_long),
                            points(base.output),
                            price.long_prompt.map_or(Value::Null, |tier| tier.above_tokens.into()),
                        ]
                    })
                    .collect();
                rows.sort_by(|a: &Vec<Value>, b| a[0].as_str().cmp(&b[0].as_str()));
                let columns = [
                    "model",
                    "provider",
                    "input",
                    "cache_read",
                    "cache_write_short",
                    "cache_write_long",
                    "output",
                    "long_prompt_above",
                ];
                output.many(&columns, &rows)?;
            }
            Self::Publish { file } => {
                let text =
                    std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
                let prices = pricefile::parse(&text)
                    .map_err(anyhow::Error::msg)
                    .with_context(|| format!("{} is refused", file.display()))?;
                let models = prices.len();
                let version = desk.publish_prices(prices).await?;
                output.one(&[("version", version.into()), ("models", models.into())])?;
            }
        }
        desk.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
