//! `tollgate price rate`

use clap::{ArgGroup, Subcommand};
use tollgate_core::price::PriceRate;

use crate::cli::all;
use crate::cli::output::Output;
use crate::manage::{Management, Payer};

/// What users pay of the prices.
#[derive(Debug, Subcommand)]
pub(crate) enum Rate {
    /// Set the rate of some users, or of all: requests that come from now on cost it.
    #[command(group(ArgGroup::new("payers").required(true).args(["users", "all"])))]
    Set {
        /// Millionths of the prices: 1000000 for the whole, at most a hundred times that.
        #[arg(value_parser = ppm)]
        ppm: PriceRate,
        /// The users; none of them changes when one does not exist.
        users: Vec<String>,
        /// All users that there are.
        #[arg(long)]
        all: bool,
    },
    /// List what each user pays.
    List,
}

impl Rate {
    pub(super) async fn run(self, management: &Management, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Set { ppm, users, all } => {
                let users = (!all).then_some(users.as_slice());
                let count = management.set_price_rate(users, ppm).await?;
                output.one(&[("users", count.into()), ("ppm", ppm.ppm().into())])
            }
            Self::List => {
                let payers = all(|window| management.price_rates("", window)).await?;
                let row = |payer: Payer| vec![payer.user.into(), payer.rate.ppm().into()];
                let rows: Vec<_> = payers.into_iter().map(row).collect();
                output.many(&["user", "ppm"], &rows)
            }
        }
    }
}

fn ppm(text: &str) -> Result<PriceRate, String> {
    let rate = text.parse().ok().and_then(PriceRate::of_ppm);
    rate.ok_or_else(|| format!("give a whole number between 0 and {}", PriceRate::PPM_MAX))
}
