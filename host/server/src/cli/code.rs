//! `tollgate code`

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;
use tollgate_core::id::BatchId;
use tollgate_core::points::Micropoints;
use tollgate_core::secret::Secret;
use tollgate_core::time::{DAY_MS, Timestamp};

use super::output::{Output, line};
use super::{all, shown};
use crate::clock::now;
use crate::config::Config;
use crate::manage::{CodeOrder, Management, Opening};

/// Codes that are worth points.
#[derive(Debug, Subcommand)]
pub(super) enum Code {
    /// Make a batch of codes and print them, this once: only their hashes are kept.
    Create {
        /// What each is worth.
        #[arg(value_parser = super::points)]
        points: Micropoints,
        /// How many.
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// How many users may redeem each; a user redeems a code once.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// Days for which they are good; for ever without it.
        #[arg(long, value_name = "DAYS")]
        expires_in: Option<u64>,
        /// What they are for; stands in the statements of those who redeem them.
        #[arg(long, default_value = "code")]
        label: String,
    },
    /// List batches of codes, with how often they were redeemed.
    List,
    /// Take the codes of a batch no more.
    Disable {
        /// The batch.
        batch: BatchId,
    },
    /// Take them again.
    Enable {
        /// The batch.
        batch: BatchId,
    },
    /// Put what a code is worth on a user's account. The code is read from standard input.
    Redeem {
        /// The user.
        #[arg(long)]
        user: String,
    },
}

impl Code {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let opening = if matches!(self, Self::Create { .. }) { Opening::Make } else { Opening::Find };
        let management = Management::open_as(config, opening).await?;
        match self {
            Self::Create { points, count, uses, expires_in, label } => {
                let expires_at = expires_in.map(|days| now().plus_ms(days.saturating_mul(DAY_MS)));
                let order = CodeOrder { label, count, points, uses_max: uses, expires_at };
                let (batch, codes) = management.create_codes(&order).await?;
                if output.is_json() {
                    let codes: Vec<Value> = codes.iter().map(|code| code.expose().into()).collect();
                    output.one(&[("batch", batch.to_string().into()), ("codes", codes.into())])?;
                } else {
                    codes.iter().try_for_each(|code| line(code.expose()))?;
                }
            }
            Self::List => list(&management, output).await?,
            Self::Disable { batch } => management.set_codes_enabled(batch, false).await?,
            Self::Enable { batch } => management.set_codes_enabled(batch, true).await?,
            Self::Redeem { user } => {
                let mut text = String::new();
                std::io::stdin().read_line(&mut text).context("reading the code from standard input")?;
                let user_id = management.find_user(&user).await?;
                let granted = management.redeem_code(user_id, &Secret::new(text.trim().to_owned())).await?;
                output.one(&[("user", user.into()), ("points", granted.amount.to_string().into())])?;
            }
        }
        management.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(management: &Management, output: &Output) -> anyhow::Result<()> {
    let moment = |at: Option<Timestamp>| at.map_or(Value::Null, |at| shown(at).into());
    let rows: Vec<Vec<Value>> = all(|window| management.code_batches(window))
        .await?
        .into_iter()
        .map(|batch| {
            vec![
                batch.id.to_string().into(),
                batch.label.into(),
                batch.points.to_string().into(),
                batch.codes.into(),
                batch.uses_max.into(),
                batch.redeemed.into(),
                batch.disabled_at.is_none().into(),
                moment(batch.expires_at),
            ]
        })
        .collect();
    let columns = ["batch", "label", "points", "codes", "uses", "redeemed", "enabled", "expires_at"];
    output.many(&columns, &rows)
}
