//! `tollgate ledger`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;
use tollgate_core::id::RequestId;
use tollgate_core::points::Micropoints;
use tollgate_core::usage::Class;

use super::output::{Output, line};
use super::requests::last;
use super::{all, shown};
use crate::config::Config;
use crate::manage::{Granted, Management, Opening, RequestFilter, StatementLine, UserRow, Window, owner};

/// The ledger.
#[derive(Debug, Subcommand)]
pub(super) enum Ledger {
    /// Give a user points.
    Grant {
        /// The user.
        user: String,
        /// How many, as a decimal number with at most six places.
        #[arg(value_parser = super::points)]
        points: Micropoints,
        /// Why, for the statement.
        #[arg(long, default_value = "grant")]
        reason: String,
    },
    /// Book what a user has paid. The same payment is booked once, however often it is reported.
    TopUp {
        /// The user.
        user: String,
        /// How many points it is for.
        #[arg(value_parser = super::points)]
        points: Micropoints,
        /// The payment's own number.
        #[arg(long)]
        reference: String,
        /// Why, for the statement.
        #[arg(long, default_value = "top-up")]
        reason: String,
    },
    /// Give back what a request cost, in part or whole: never more than was paid for it.
    Refund {
        /// The request's id.
        request: RequestId,
        /// How many points; all that are left without it.
        #[arg(value_parser = super::points)]
        points: Option<Micropoints>,
        /// Why, for the statement.
        #[arg(long)]
        reason: String,
        /// What makes it happen once: a second refund of the request under the same key changes nothing.
        #[arg(long)]
        key: Option<String>,
    },
    /// Show what was taken from a user's account and put on it, newest first.
    Statement {
        /// The user.
        user: String,
        /// How many movements at most.
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Only those before this one.
        #[arg(long, value_name = "SEQ")]
        before: Option<i64>,
    },
    /// Show the balance of one user, or of all.
    Balance {
        /// The user.
        user: Option<String>,
    },
    /// Show what was called, newest first.
    Requests {
        /// Only this user's.
        #[arg(long)]
        user: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show what a charge rests on.
    Receipt {
        /// The request's id, as the answer's `x-tollgate-request-id` header names it.
        request: String,
    },
    /// Prove that the ledger is right: every rule checked over every row. Ends with 1 where one is broken.
    Verify,
}

impl Ledger {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let management = Management::open_as(config, Opening::Find).await?;
        let mut code = ExitCode::SUCCESS;
        match self {
            Self::Grant { user, points, reason } => {
                management.grant(management.find_user(&user).await?, points, &reason).await?;
                output.one(&[("user", user.into()), ("granted", points.to_string().into())])?;
            }
            Self::TopUp { user, points, reference, reason } => {
                let id = management.find_user(&user).await?;
                let booked = management.top_up(id, points, &reference, &reason).await?;
                booked_row("topped_up", &booked, output)?;
            }
            Self::Refund { request, points, reason, key } => {
                let booked = management.refund(request, points, &reason, key.as_deref()).await?;
                booked_row("refunded", &booked, output)?;
            }
            Self::Statement { user, limit, before } => {
                let user = management.find_user(&user).await?;
                let window = Window { after: before, limit: usize::try_from(limit).unwrap_or(usize::MAX) };
                statement(&management.statement(user, window).await?.rows, output)?;
            }
            Self::Balance { user } => balance(&management, user.as_deref(), output).await?,
            Self::Requests { user, limit } => requests(&management, user.as_deref(), limit, output).await?,
            Self::Receipt { request } => receipt(&management, &request, output).await?,
            Self::Verify => {
                let report = management.verify().await?;
                output.one(&[
                    ("transfers", report.transfers.into()),
                    ("outstanding_points", Micropoints::new(report.outstanding).to_string().into()),
                    ("violations", report.violations.len().into()),
                    ("quarantined", report.quarantined.len().into()),
                ])?;
                for violation in report.violations.iter().chain(&report.quarantined) {
                    line(&format!("{}: {}", violation.rule, violation.detail))?;
                }
                if !report.violations.is_empty() {
                    code = ExitCode::FAILURE;
                }
            }
        }
        management.close().await;
        Ok(code)
    }
}

fn booked_row(what: &'static str, booked: &Granted, output: &Output) -> anyhow::Result<()> {
    output.one(&[
        ("transfer", booked.transfer.to_string().into()),
        (what, booked.amount.to_string().into()),
        ("repeated", booked.repeated.into()),
    ])
}

fn statement(lines: &[StatementLine], output: &Output) -> anyhow::Result<()> {
    let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
    let rows: Vec<Vec<Value>> = lines
        .iter()
        .map(|line| {
            vec![
                line.seq.into(),
                shown(line.at).into(),
                line.kind.into(),
                line.amount.to_string().into(),
                text(&line.reason),
                text(&line.actor),
                line.request.map_or(Value::Null, |request| request.to_string().into()),
            ]
        })
        .collect();
    output.many(&["seq", "at", "kind", "points", "reason", "actor", "request"], &rows)
}

async fn balance(management: &Management, user: Option<&str>, output: &Output) -> anyhow::Result<()> {
    let users = match user {
        Some(name) => vec![management.user(management.find_user(name).await?).await?],
        None => all(|window| management.users("", window)).await?,
    };
    let row = |row: UserRow| vec![row.name.into(), row.balance.to_string().into()];
    let rows: Vec<_> = users.into_iter().map(row).collect();
    output.many(&["user", "points"], &rows)
}

async fn requests(
    management: &Management,
    user: Option<&str>,
    limit: u32,
    output: &Output,
) -> anyhow::Result<()> {
    let users = match user {
        Some(name) => vec![management.find_user(name).await?],
        None => Vec::new(),
    };
    let records = last(management, RequestFilter { users, ..RequestFilter::default() }, limit).await?;
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            vec![
                record.request.to_string().into(),
                text(record.protocol.map(|protocol| protocol.name())),
                text(record.model.as_deref()),
                record.outcome.name().into(),
                owner(record).map_or(Value::Null, Value::from),
                record.status.map_or(Value::Null, Value::from),
                record.attempts.into(),
                record.usage.prompt_total().into(),
                record.usage.output_total().into(),
                record.usage.quality.name().into(),
                record.charge.to_string().into(),
                record.latency_ms.into(),
            ]
        })
        .collect();
    let columns = [
        "request", "protocol", "model", "outcome", "owner", "status", "attempts", "prompt", "output",
        "quality", "points", "ms",
    ];
    output.many(&columns, &rows)
}

async fn receipt(management: &Management, request: &str, output: &Output) -> anyhow::Result<()> {
    let receipt = management.receipt(request.parse()?).await?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let usage = &receipt.usage;
    let mut fields = vec![
        ("request", receipt.request.to_string().into()),
        ("user", receipt.user.to_string().into()),
        ("model", receipt.model.clone().into()),
        ("outcome", receipt.outcome.name().into()),
        ("owner", receipt.owner.name().into()),
        ("price_version", receipt.price_version.into()),
        ("pricing_component", hex(&receipt.pricing_component).into()),
        ("pricing_config", hex(&receipt.config_digest).into()),
    ];
    fields.extend(Class::ALL.map(|class| (class.name(), usage[class].into())));
    fields.push(("quality", usage.quality.name().into()));
    fields.push(("charge", receipt.charge.to_string().into()));
    output.one(&fields)
}
