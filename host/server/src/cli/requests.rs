//! `tollgate requests`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tollgate_core::failure::FailureClass;
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol;
use tollgate_core::time::Timestamp;

use super::output::{self, Output};
use super::points;
use crate::config::Config;
use crate::control::{bodies, retention};
use crate::manage::{
    Body, LogEntry, LogReader, LogShape, LogSums, ManageError, Management, Opening, RequestFilter,
    RequestRecord, SumName, SumSlice, Used, moment,
};

/// Records that are read at once.
const PAGE: u32 = 500;

/// The request log.
#[derive(Debug, Subcommand)]
pub(super) enum Requests {
    /// The last requests, newest first.
    List {
        #[command(flatten)]
        filter: Box<Filter>,
        /// How many.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// What the newest requests that the filter lets through come to.
    Sums {
        #[command(flatten)]
        filter: Box<Filter>,
        /// What they are told apart by.
        #[arg(long, value_enum, default_value = "total")]
        by: SumSlice,
    },
    /// One request, with its attempts.
    Show {
        /// Its id.
        request: RequestId,
    },
    /// What was asked and answered in a request, where it is kept. Every read is in the audit log.
    Bodies {
        /// Its id.
        request: RequestId,
    },
    /// All requests that the filter lets through, newest first, to standard output.
    Export {
        #[command(flatten)]
        filter: Box<Filter>,
        /// How they are written.
        #[arg(long, value_enum, default_value = "jsonl")]
        format: LogShape,
    },
    /// Archive and remove what the configuration does not keep, bodies included, now. A server does so by itself.
    Prune,
}

/// Which requests.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only those of this user. This one, and others below that name a value, may be given several times.
    #[arg(long)]
    user: Vec<String>,
    /// None of this user's.
    #[arg(long, value_name = "USER")]
    exclude_user: Vec<String>,
    /// None of those that `proxy/test` made.
    #[arg(long)]
    without_trials: bool,
    /// Only those called with this API key.
    #[arg(long, value_name = "ID")]
    key: Vec<ApiKeyId>,
    /// Only those that this credential served.
    #[arg(long, value_name = "ID")]
    credential: Vec<CredentialId>,
    /// Only those of this wire format.
    #[arg(long, value_parser = protocol)]
    protocol: Vec<Protocol>,
    /// Only those that went to this provider.
    #[arg(long)]
    provider: Vec<String>,
    /// Only those of this model.
    #[arg(long)]
    model: Vec<String>,
    /// Only those whose model has this in its name.
    #[arg(long, value_name = "TEXT")]
    model_part: Option<String>,
    /// Only those that ended so.
    #[arg(long, value_parser = outcome)]
    outcome: Vec<Outcome>,
    /// Only those that were answered with this status.
    #[arg(long)]
    status: Vec<u16>,
    /// Only those in which an attempt failed so.
    #[arg(long, value_parser = failure)]
    failure: Vec<FailureClass>,
    /// Only those with at least so many attempts.
    #[arg(long, value_name = "NUMBER")]
    attempts_min: Option<u32>,
    /// Only those that took at least so long.
    #[arg(long, value_name = "MS")]
    latency_ms_min: Option<u64>,
    /// Only those that cost at least so many points.
    #[arg(long, value_name = "POINTS", value_parser = points)]
    points_min: Option<Micropoints>,
    /// Only those since this date, or moment in milliseconds.
    #[arg(long, value_parser = moment)]
    from: Option<Timestamp>,
    /// Only those before this date, or moment in milliseconds.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let known = || format!("known are {}", Protocol::ALL.map(Protocol::name).join(", "));
    Protocol::ALL.into_iter().find(|protocol| protocol.name() == text).ok_or_else(known)
}

fn outcome(text: &str) -> Result<Outcome, String> {
    let known = || format!("known are {}", Outcome::ALL.map(Outcome::name).join(", "));
    Outcome::ALL.into_iter().find(|outcome| outcome.name() == text).ok_or_else(known)
}

fn failure(text: &str) -> Result<FailureClass, String> {
    let known = || format!("known are {}", FailureClass::ALL.map(FailureClass::name).join(", "));
    FailureClass::ALL.into_iter().find(|class| class.name() == text).ok_or_else(known)
}

impl Filter {
    async fn find(self, management: &Management) -> anyhow::Result<RequestFilter> {
        let (mut users, mut not_users) = (Vec::new(), Vec::new());
        for user in &self.user {
            users.push(management.find_user(user).await?);
        }
        for user in &self.exclude_user {
            not_users.push(management.find_user(user).await?);
        }
        if self.without_trials {
            not_users.extend(management.trials().await?);
        }
        Ok(RequestFilter {
            users,
            not_users,
            api_keys: self.key,
            credentials: self.credential,
            protocols: self.protocol,
            providers: self.provider,
            models: self.model,
            model_part: self.model_part,
            outcomes: self.outcome,
            statuses: self.status,
            failures: self.failure,
            attempts_min: self.attempts_min,
            latency_ms_min: self.latency_ms_min,
            charge_min: self.points_min,
            from: self.from,
            until: self.until,
            ..RequestFilter::default()
        })
    }
}

impl Requests {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let management = Management::open_as(config, Opening::Find).await?;
        match self {
            Self::List { filter, limit } => {
                let records = last(&management, filter.find(&management).await?, limit).await?;
                list(&management.entries(&records, LogReader::Operator).await?, output)?;
            }
            Self::Sums { filter, by } => {
                let filter = filter.find(&management).await?;
                sums(&management.log_sums(&filter, by, LogReader::Operator).await?, output)?;
            }
            Self::Show { request } => show(&management, request, output).await?,
            Self::Bodies { request } => show_bodies(&management, request, output).await?,
            Self::Export { filter, format } => {
                let mut export =
                    management.export(filter.find(&management).await?, format, LogReader::Operator);
                while let Some(lines) = export.next().await? {
                    output::write(&lines)?;
                }
            }
            Self::Prune => {
                let done = retention::prune(&management, &config.requests).await?;
                let file = done.file.map_or(Value::Null, |file| file.display().to_string().into());
                let bodies = bodies::prune(&management, &config.requests.bodies).await?;
                output.one(&[
                    ("removed", done.records.into()),
                    ("file", file),
                    ("bodies_removed", bodies.into()),
                ])?;
            }
        }
        management.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// The last requests that a filter lets through, at most `limit`.
pub(super) async fn last(
    management: &Management,
    mut filter: RequestFilter,
    limit: u32,
) -> Result<Vec<RequestRecord>, ManageError> {
    let mut records = Vec::new();
    loop {
        filter.limit = limit.saturating_sub(u32::try_from(records.len()).unwrap_or(u32::MAX)).min(PAGE);
        let page = management.requests(&filter).await?;
        records.extend(page.rows);
        filter.before = page.next;
        if filter.before.is_none() || records.len() as u64 >= u64::from(limit) {
            return Ok(records);
        }
    }
}

fn list(entries: &[LogEntry], output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return super::output::line(&serde_json::to_string(entries)?);
    }
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            [
                json!(entry.request),
                json!(entry.started_at),
                json!(entry.user),
                json!(entry.model),
                json!(entry.outcome),
                json!(entry.status),
                json!(entry.attempts),
                json!(entry.points),
                json!(entry.latency_ms),
            ]
            .to_vec()
        })
        .collect();
    output.many(
        &["request", "started", "user", "model", "outcome", "status", "attempts", "points", "ms"],
        &rows,
    )
}

fn sums((rows, next): &LogSums, output: &Output) -> anyhow::Result<()> {
    let row = |(label, used): &(SumName, Used)| {
        let tokens = used.usage.prompt_total().saturating_add(used.usage.output_total());
        let (name, id) = (json!(label.name), json!(label.id));
        vec![
            name,
            id,
            used.requests.into(),
            used.failed.into(),
            tokens.into(),
            json!(used.charge.to_string()),
        ]
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    output.many(&["name", "id", "requests", "failed", "tokens", "points"], &rows)?;
    if let Some(next) = next {
        output::remark(&format!("Only the newest requests are added up: those after {next}."));
    }
    Ok(())
}

async fn show_bodies(management: &Management, request: RequestId, output: &Output) -> anyhow::Result<()> {
    let kept = management.bodies(request).await?;
    let half = |body: &Body| json!({"text": body.text.expose(), "bytes": body.bytes, "cut": body.cut});
    output.one(&[
        ("request", kept.request.to_string().into()),
        ("key", kept.api_key.to_string().into()),
        ("asked", half(&kept.asked)),
        ("answered", half(&kept.answered)),
    ])
}

async fn show(management: &Management, request: RequestId, output: &Output) -> anyhow::Result<()> {
    let (_, call) = management.request(request, LogReader::Operator).await?;
    let call = serde_json::to_value(call)?;
    let fields = call.as_object().map(|call| call.iter()).into_iter().flatten();
    let fields: Vec<(&str, Value)> = fields.map(|(name, value)| (name.as_str(), value.clone())).collect();
    output.one(&fields)
}
