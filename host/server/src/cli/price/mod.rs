//! `tollgate price`

mod import;
mod rate;
mod replay;
mod set;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;
use tollgate_core::points::Micropoints;
use tollgate_core::price::{ModelPrice, PriceTable};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Class;

use super::output::{Output, line};
use super::{all, moment, shown};
use crate::clock::now;
use crate::config::Config;
use crate::config::file::read_text;
use crate::manage::{Management, Opening, PriceList};
use crate::prices::diff::{self, PriceChange};
use crate::prices::{export, file};

/// What models cost.
#[derive(Debug, Subcommand)]
pub(super) enum Price {
    /// List prices, in points per million tokens: those in force, or those of a version.
    List {
        /// The version.
        #[arg(long)]
        version: Option<u64>,
    },
    /// List the versions, the latest first: when each was published, and from when on it is in force.
    History,
    /// Publish a price list as a new version. It replaces the one before as a whole; receipts keep theirs.
    Publish {
        /// The list: TOML, as the shipped `prices.toml`.
        file: PathBuf,
        #[command(flatten)]
        publishing: Publishing,
    },
    /// Give a model its price, or all models of a provider at once, and publish it with the other prices in force.
    Set(set::Set),
    /// Write prices as a list that `publish` takes: those in force, or those of a version.
    Export {
        /// The version.
        #[arg(long)]
        version: Option<u64>,
        /// Only models of this name, in which `*` stands for any characters; may be given several times.
        #[arg(long = "model", value_name = "PATTERN")]
        models: Vec<String>,
    },
    /// Take back a version that is still to come.
    Withdraw {
        /// The version.
        version: u64,
    },
    /// Take prices of models over from a list in the format of LiteLLM's `model_prices_and_context_window.json`, and
    /// publish them with those in force. What the list says and the price table cannot is shown with its reason.
    Import(import::Import),
    /// Price what was called again with another component, and show who would have paid what more or less. Changes
    /// nothing.
    Replay(replay::Replay),
    /// What users pay of the prices, in millionths. Users see what they are charged, and never this.
    #[command(subcommand)]
    Rate(rate::Rate),
}

/// Bytes of a list of prices.
const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How a version is published.
#[derive(Debug, Args)]
pub(super) struct Publishing {
    /// From when on it is in force, as 2026-12-01 or 2026-12-01T00:00:00Z: at once without it.
    #[arg(long, value_parser = moment)]
    effective_at: Option<Timestamp>,
    /// What for, for the history.
    #[arg(long)]
    note: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Price {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let opening = if matches!(self, Self::Publish { .. } | Self::Import(_) | Self::Set(_)) {
            Opening::Make
        } else {
            Opening::Find
        };
        let management = Management::open_as(config, opening).await?;
        match self {
            Self::List { version } => match version {
                Some(version) => list(&management.prices(version).await?, output)?,
                None => list(management.price_schedule().await?.at(now()), output)?,
            },
            Self::History => history(&management, output).await?,
            Self::Publish { file, publishing } => {
                let text = read_text(&file, LIST_BYTES_MAX)
                    .with_context(|| format!("reading {}", file.display()))?;
                let prices = file::parse(&text)
                    .map_err(anyhow::Error::msg)
                    .with_context(|| format!("{} is refused", file.display()))?;
                publishing.publish(&management, prices, None, &[], output).await?;
            }
            Self::Set(set) => set.run(config, &management, output).await?,
            Self::Export { version, models } => {
                let text = match version {
                    Some(version) => export::list(&management.prices(version).await?, &models),
                    None => export::list(management.price_schedule().await?.at(now()), &models),
                };
                line(text.trim_end())?;
            }
            Self::Withdraw { version } => {
                management.withdraw_prices(version).await?;
                output.one(&[("version", version.into()), ("withdrawn", true.into())])?;
            }
            Self::Import(import) => import.run(&management, output).await?,
            Self::Replay(replay) => replay.run(config, &management, output).await?,
            Self::Rate(rate) => rate.run(&management, output).await?,
        }
        management.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl Publishing {
    /// Publishes `models`, or shows what that would change: unless another version than `base` is in force, where they
    /// are a change of that one. What it is `about` is told first.
    async fn publish(
        self,
        management: &Management,
        models: HashMap<String, ModelPrice>,
        base: Option<u64>,
        about: &[(&str, Value)],
        output: &Output,
    ) -> anyhow::Result<()> {
        let moment = self.effective_at.unwrap_or_else(now);
        let schedule = management.price_schedule().await?;
        let changes = diff::changes(schedule.at(moment), &models);
        let next = schedule.after(moment).next().map(|next| next.version());
        if self.dry_run {
            return show(&changes, output);
        }
        let (count, effective_at) = (models.len(), self.effective_at);
        let list = PriceList { models, effective_at, note: self.note };
        let version = match base {
            Some(base) => management.publish_changed(&list, base).await?,
            None => management.publish_prices(&list).await?,
        };
        let mut told = about.to_vec();
        told.extend([
            ("version", version.into()),
            ("models", count.into()),
            ("changes", changes.len().into()),
            ("effective_at", effective_at.map_or("now".into(), |at| shown(at).into())),
        ]);
        // A list replaces the one before as a whole, so what is published now ends with the next one.
        told.extend(next.map(|next| ("until_version", Value::from(next))));
        output.one(&told)
    }
}

fn show(changes: &[PriceChange], output: &Output) -> anyhow::Result<()> {
    let row = |change: &PriceChange| {
        vec![change.change.into(), change.model.clone().into(), change.details.join(", ").into()]
    };
    output.many(&["change", "model", "what"], &changes.iter().map(row).collect::<Vec<_>>())
}

fn list(table: &PriceTable, output: &Output) -> anyhow::Result<()> {
    let points = |price: Micropoints| Value::from(price.to_string());
    let mut rows: Vec<Vec<Value>> = table
        .entries()
        .map(|(model, price)| {
            let mut row = vec![model.into(), price.provider.clone().into()];
            row.extend(Class::ALL.map(|class| points(price.base.price_of(class))));
            row.push(points(price.base.price_of_request()));
            row.push(price.long_prompt.map_or(Value::Null, |tier| tier.above_tokens.into()));
            row
        })
        .collect();
    rows.sort_by(|a, b| a[0].as_str().cmp(&b[0].as_str()));
    let classes = Class::ALL.map(Class::name);
    let columns: Vec<&str> =
        ["model", "provider"].into_iter().chain(classes).chain(["request", "long_prompt_above"]).collect();
    output.many(&columns, &rows)
}

async fn history(management: &Management, output: &Output) -> anyhow::Result<()> {
    let in_force = management.price_schedule().await?.at(now()).version();
    let rows: Vec<Vec<Value>> = all(|window| management.price_versions(window))
        .await?
        .into_iter()
        .map(|version| {
            let state = match version.withdrawn_at {
                Some(_) => "withdrawn",
                None if version.version == in_force => "in force",
                None if version.effective_at > now() => "to come",
                None => "over",
            };
            vec![
                version.version.into(),
                state.into(),
                version.models.into(),
                shown(version.effective_at).into(),
                shown(version.created_at).into(),
                version.actor.map_or(Value::Null, Value::from),
                version.note.map_or(Value::Null, Value::from),
            ]
        })
        .collect();
    output.many(&["version", "state", "models", "effective_at", "published_at", "actor", "note"], &rows)
}
