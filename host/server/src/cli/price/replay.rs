//! `tollgate price replay`

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use serde_json::Value;
use tollgate_core::id::RequestId;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::cli::ago;
use crate::cli::output::Output;
use crate::config::Config;
use crate::manage::Management;
use crate::prices::replay::Policy;
use crate::telemetry::chain;

/// What is told of each user, each model and all.
const COLUMNS: [&str; 9] =
    ["what", "name", "requests", "equal", "differ", "not_computable", "charged", "replayed", "difference"];
/// Receipts that are read at once.
const PAGE: u32 = 1000;

/// Another pricing policy to try on what was called.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The component.
    #[arg(long)]
    component: PathBuf,
    /// Its configuration as JSON; that of the running one where it is not given.
    #[arg(long)]
    config_json: Option<String>,
    /// Requests of this time: `30d`, `12h`.
    #[arg(long, value_parser = ago, default_value = "30d")]
    since: Timestamp,
}

/// What some requests cost, and would have cost.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    /// Those that could be computed.
    requests: u64,
    /// Those of them that cost the same.
    equal: u64,
    /// Those that could not.
    not_computable: u64,
    charged: i128,
    replayed: i128,
}

impl Sum {
    fn add(&mut self, charged: Micropoints, replayed: Micropoints) {
        self.requests += 1;
        self.equal += u64::from(charged == replayed);
        self.charged += i128::from(charged.get());
        self.replayed += i128::from(replayed.get());
    }

    /// How many requests there were, both sums and their difference, in points.
    fn row(&self, what: &str, name: &str) -> Vec<Value> {
        let points = |sum: i128| {
            let within = sum.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
            Value::from(Micropoints::new(i64::try_from(within).unwrap_or_default()).to_string())
        };
        let difference = points(self.replayed - self.charged);
        vec![
            what.into(),
            name.into(),
            self.requests.into(),
            self.equal.into(),
            (self.requests - self.equal).into(),
            self.not_computable.into(),
            points(self.charged),
            points(self.replayed),
            difference,
        ]
    }
}

impl Replay {
    pub(super) async fn run(
        self,
        config: &Config,
        management: &Management,
        output: &Output,
    ) -> anyhow::Result<()> {
        let running = || serde_json::to_string(&config.policies.pricing.config);
        let config_json = self.config_json.map_or_else(running, Ok)?;
        let policy = Policy::of_file(config, &self.component, &config_json)?;
        let (mut users, mut models) = (BTreeMap::<String, Sum>::new(), BTreeMap::<String, Sum>::new());
        let (mut total, mut reasons) = (Sum::default(), BTreeMap::<String, u64>::new());
        let mut after = RequestId::new(self.since, [0; 10]);
        loop {
            let page = management.held_receipts(after, PAGE).await?;
            let Some((_, last)) = page.last() else { break };
            after = last.request;
            let names = management.user_names(page.iter().map(|(_, receipt)| receipt.user)).await?;
            for (_, receipt) in &page {
                let user = names.get(&receipt.user).cloned().unwrap_or_else(|| receipt.user.to_string());
                let sums = [
                    users.entry(user).or_default(),
                    models.entry(receipt.model.clone()).or_default(),
                    &mut total,
                ];
                match policy.price(receipt) {
                    Ok(replayed) => sums.map(|sum| sum.add(receipt.charge, replayed.amount)),
                    Err(error) => {
                        *reasons.entry(chain(&error)).or_default() += 1;
                        sums.map(|sum| sum.not_computable += 1)
                    }
                };
            }
        }
        let of = |what: &'static str, sums: &BTreeMap<String, Sum>| {
            sums.iter().map(|(name, sum)| sum.row(what, name)).collect::<Vec<_>>()
        };
        let mut rows = of("user", &users);
        rows.extend(of("model", &models));
        rows.push(total.row("total", "all"));
        output.many(&COLUMNS, &rows)?;
        if reasons.is_empty() {
            return Ok(());
        }
        let reasons: Vec<String> =
            reasons.iter().map(|(why, count)| format!("{count} times: {why}")).collect();
        bail!("{} requests could not be computed; {}", total.not_computable, reasons.join("; "))
    }
}
