//! `tollgate usage`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;
use tollgate_core::id::{ApiKeyId, CredentialId};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Class;

use super::output::{Output, line};
use crate::config::Config;
use crate::manage::{
    Days, LogReader, ManageError, Management, Opening, Slice, UsageCell, UsageCells, UsageOf, Used,
};

/// What was used.
#[derive(Debug, Subcommand)]
pub(super) enum Usage {
    /// Today, this month, and since the beginning (UTC).
    Summary {
        #[command(flatten)]
        of: Of,
    },
    /// Row by row.
    Show {
        #[command(flatten)]
        of: Of,
        /// What rows are told apart by: one of these, or two with a comma between them.
        #[arg(long, value_enum, value_delimiter = ',', default_value = "day")]
        by: Vec<Slice>,
        /// The first day, such as 2027-01-31.
        #[arg(long, value_name = "DATE")]
        from: Option<String>,
        /// The last day.
        #[arg(long, value_name = "DATE")]
        until: Option<String>,
    },
    /// Compute the counters again from the records, and compare. `ledger verify` does this, too.
    Verify,
}

/// Whose usage; everyone's without any of these.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Of {
    /// A user's.
    #[arg(long)]
    user: Option<String>,
    /// That of an API key, by its id.
    #[arg(long, value_name = "ID")]
    key: Option<ApiKeyId>,
    /// What a credential served, by its id.
    #[arg(long, value_name = "ID")]
    credential: Option<CredentialId>,
}

impl Of {
    async fn find(&self, management: &Management) -> anyhow::Result<UsageOf> {
        Ok(match (&self.user, self.key, self.credential) {
            (Some(user), ..) => UsageOf::User(management.find_user(user).await?),
            (_, Some(key), _) => UsageOf::Key(management.key(key).await?.user_id, key),
            (.., Some(credential)) => UsageOf::Credential(credential),
            (None, None, None) => UsageOf::Everyone,
        })
    }
}

impl Usage {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let management = Management::open_as(config, Opening::Find).await?;
        let mut code = ExitCode::SUCCESS;
        match self {
            Self::Summary { of } => {
                let summary = management.usage_summary(of.find(&management).await?).await?;
                let rows = [("today", summary.today), ("month", summary.month), ("total", summary.total)];
                print("period", rows.map(|(name, used)| (name.to_owned(), used)).into(), output)?;
            }
            Self::Show { of, by, from, until } => {
                let days = Days::parse(from.as_deref(), until.as_deref()).map_err(anyhow::Error::msg)?;
                let of = of.find(&management).await?;
                let name = by.iter().map(|slice| slice.name()).collect::<Vec<_>>().join(",");
                let rows = match *by {
                    [by @ (Slice::Day | Slice::Month | Slice::Model | Slice::Key)] => {
                        super::all(|window| management.usage(of, days, by, window)).await?
                    }
                    _ => table(&management, of, days, &by).await?,
                };
                print(&name, rows, output)?;
            }
            Self::Verify => {
                let violations = management.verify_usage().await?;
                output.one(&[("violations", violations.len().into())])?;
                for violation in &violations {
                    line(&violation.detail)?;
                    code = ExitCode::FAILURE;
                }
            }
        }
        management.close().await;
        Ok(code)
    }
}

/// A table of usage, each row with the names of what it has of the slices.
async fn table(
    management: &Management,
    of: UsageOf,
    days: Days,
    by: &[Slice],
) -> Result<Vec<(String, Used)>, ManageError> {
    let rows = super::all(|window| management.usage_table(of, days, by, window, LogReader::Operator)).await?;
    let shown = |cell: UsageCell| cell.title.unwrap_or(cell.name);
    let named = |row: UsageCells| (row.cells.into_iter().map(shown).collect::<Vec<_>>().join(","), row.used);
    Ok(rows.into_iter().map(named).collect())
}

fn print(name: &str, rows: Vec<(String, Used)>, output: &Output) -> anyhow::Result<()> {
    let columns =
        [name, "requests", "failed", "prompt", "cached", "output", "reasoning", "points", "last_ms"];
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(label, used)| {
            let usage = &used.usage;
            let last = Some(used.last_at).filter(|_| used.requests > 0).map(Timestamp::millis);
            vec![
                label.into(),
                used.requests.into(),
                used.failed.into(),
                usage.prompt_total().into(),
                usage[Class::CacheRead].into(),
                usage.output_total().into(),
                usage[Class::Reasoning].into(),
                used.charge.to_string().into(),
                last.map_or(Value::Null, Value::from),
            ]
        })
        .collect();
    output.many(&columns, &rows)
}
