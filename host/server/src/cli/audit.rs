//! `tollgate audit`

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use tollgate_core::time::{DAY_MS, Timestamp};

use super::output::Output;
use crate::clock::now;
use crate::config::Config;
use crate::manage::{AuditFilter, Management, Opening};

/// What was changed, by whom, newest first.
#[derive(Debug, Args)]
pub(super) struct Audit {
    /// Only what this one did: a user's name or id, `operator` (the admin secret) or `cli`.
    #[arg(long)]
    actor: Option<String>,
    /// Only this action, such as `key.create`; `key.*` is everything done to keys.
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to the thing of this id or name.
    #[arg(long)]
    target: Option<String>,
    /// Only the last so many days.
    #[arg(long, value_name = "DAYS")]
    days: Option<u64>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl Audit {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        const COLUMNS: [&str; 8] =
            ["at", "actor", "action", "target_kind", "target", "detail", "address", "request_id"];
        let management = Management::open_as(config, Opening::Find).await?;
        let ago = |days: u64| now().millis().saturating_sub(days.saturating_mul(DAY_MS));
        let filter = AuditFilter {
            actor: self.actor,
            action: self.action,
            target: self.target,
            since: self.days.map(|days| Timestamp::from_millis(ago(days))),
            limit: self.limit,
            ..AuditFilter::default()
        };
        let rows = management.audit(filter).await?.rows.into_iter().map(|row| {
            vec![
                row.at.rfc3339().into(),
                row.actor.into(),
                row.action.into(),
                row.kind.into(),
                row.target.into(),
                row.detail.unwrap_or(Value::Null),
                row.address.into(),
                row.request.map(|request| request.to_string()).into(),
            ]
        });
        output.many(&COLUMNS, &rows.collect::<Vec<_>>())?;
        management.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
