//! `tollgate price import`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tollgate_core::price::ModelPrice;

use super::{LIST_BYTES_MAX, Publishing};
use crate::cli::output::{Output, line};
use crate::clock::now;
use crate::config::file::read_text;
use crate::manage::Management;
use crate::prices::import::{self, Selection};

/// A list to take prices from.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The list: JSON.
    file: PathBuf,
    /// A provider of the list and the configured provider that it stands for, as `gemini=google`, or one word where
    /// they are called the same; may be given several times.
    #[arg(long = "provider", value_name = "LISTED[=OURS]", default_values = ["openai", "anthropic", "gemini=google"])]
    providers: Vec<String>,
    /// Only models of this name, in which `*` stands for any characters; may be given several times.
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// Points for a dollar.
    #[arg(long, default_value_t = 1000)]
    points_per_usd: u32,
    /// Publish these models alone: those in force that the list does not name go.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    publishing: Publishing,
}

impl Import {
    pub(super) async fn run(self, management: &Management, output: &Output) -> anyhow::Result<()> {
        let text = read_text(&self.file, LIST_BYTES_MAX)
            .with_context(|| format!("reading {}", self.file.display()))?;
        let pair = |text: &String| {
            let (listed, ours) = text.split_once('=').unwrap_or((text, text));
            (listed.to_owned(), ours.to_owned())
        };
        let selection = Selection {
            providers: self.providers.iter().map(pair).collect(),
            models: self.models,
            points_per_usd: self.points_per_usd,
        };
        let import = import::read(&text, &selection)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("{} is refused", self.file.display()))?;
        if !output.is_json() {
            for (model, reason) in &import.refused {
                line(&format!("refused   {model}: {reason}"))?;
            }
            for (model, what) in &import.left_out {
                line(&format!("left out  {model}: {what}"))?;
            }
        }
        anyhow::ensure!(!import.models.is_empty(), "no model of the list was taken over");
        let mut models = import.models;
        if !self.replace {
            let moment = self.publishing.effective_at.unwrap_or_else(now);
            let schedule = management.price_schedule().await?;
            for (model, price) in schedule.at(moment).entries() {
                models.entry(model.to_owned()).or_insert_with(|| ModelPrice::clone(price));
            }
        }
        self.publishing.publish(management, models, None, &[], output).await
    }
}
