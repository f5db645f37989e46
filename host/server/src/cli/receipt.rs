//! `tollgate receipt`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};
use tollgate_core::id::RequestId;
use tollgate_core::points::Micropoints;
use tollgate_core::receipt::Receipt as Receipted;
use tollgate_core::time::Timestamp;

use super::ago;
use super::output::{Output, line};
use crate::config::Config;
use crate::manage::{Management, Opening};
use crate::prices::diff;
use crate::prices::replay::{Policies, Priced};

/// Receipts that are read at once.
const PAGE: u32 = 1000;
/// Differing receipts that are named.
const NAMED_MAX: usize = 100;

/// What charges rest on.
#[derive(Debug, Subcommand)]
pub(super) enum Receipt {
    /// Show a receipt: what was charged for what, and every input of the price.
    Show {
        /// The request's id, as the answer's `x-tollgate-request-id` header names it.
        request: RequestId,
    },
    /// Compute charges again with the components that made them, as they were kept. Ends with 1 where one differs or
    /// cannot be computed.
    Verify {
        /// One request; all without it.
        request: Option<RequestId>,
        /// Only requests of this time: `30d`, `12h`.
        #[arg(long, value_parser = ago, conflicts_with = "request")]
        since: Option<Timestamp>,
    },
}

impl Receipt {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let management = Management::open_as(config, Opening::Find).await?;
        let code = match self {
            Self::Show { request } => {
                show(&management.receipt(request).await?, output)?;
                ExitCode::SUCCESS
            }
            Self::Verify { request, since } => verify(config, &management, request, since, output).await?,
        };
        management.close().await;
        Ok(code)
    }
}

fn show(receipt: &Receipted, output: &Output) -> anyhow::Result<()> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let lines: Vec<Value> = receipt
        .lines()
        .iter()
        .map(|line| json!({"class": line.class, "units": line.units, "points": line.amount.to_string()}))
        .collect();
    let prices: Vec<String> =
        diff::stated(&receipt.rates).map(|(class, price)| format!("{class} {price}")).collect();
    let mut fields: Vec<(&str, Value)> = vec![
        ("request", receipt.request.to_string().into()),
        ("user", receipt.user.to_string().into()),
        ("model", receipt.model.clone().into()),
        ("outcome", receipt.outcome.name().into()),
        ("owner", receipt.owner.name().into()),
        ("quality", receipt.usage.quality.name().into()),
        ("price_version", receipt.price_version.into()),
        ("default_price", receipt.default_price.clone().map_or(Value::Null, Value::from)),
        ("prices", prices.join(", ").into()),
        ("service_tier", receipt.usage.tier.name().into()),
        ("service_tier_ppm", receipt.tier_ppm.into()),
        ("price_rate_ppm", receipt.price_rate.ppm().into()),
        ("pricing_component", hex(&receipt.pricing_component).into()),
        ("pricing_config", hex(&receipt.config_digest).into()),
        ("held", receipt.held.map_or(Value::Null, |held| held.to_string().into())),
        ("reason", receipt.reason.map_or(Value::Null, |reason| reason.name().into())),
        ("charge", receipt.charge.to_string().into()),
    ];
    if output.is_json() {
        fields.push(("lines", lines.into()));
        return output.one(&fields);
    }
    output.one(&fields)?;
    receipt
        .lines()
        .iter()
        .try_for_each(|entry| line(&format!("  {} {}: {} points", entry.units, entry.class, entry.amount)))
}

async fn verify(
    config: &Config,
    management: &Management,
    request: Option<RequestId>,
    since: Option<Timestamp>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut policies = Policies::new(config);
    let mut found = Proof::default();
    let mut check =
        |receipt: &Receipted, held: Micropoints| found.add(receipt, policies.price(receipt, held));
    if let Some(request) = request {
        let (held, receipt) = management.held_receipt(request).await?;
        check(&receipt, held);
    } else {
        let mut after = RequestId::new(since.unwrap_or_default(), [0; 10]);
        loop {
            let page = management.held_receipts(after, PAGE).await?;
            let Some((_, last)) = page.last() else { break };
            after = last.request;
            page.iter().for_each(|(held, receipt)| check(receipt, *held));
        }
    }
    found.tell(output)?;
    Ok(if found.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of computing charges again.
#[derive(Default)]
struct Proof {
    receipts: u64,
    /// Computed, and the same.
    equal: u64,
    /// Computed, and something else: what was charged, and what comes out.
    differ: Vec<(RequestId, Micropoints, Micropoints)>,
    /// Not to be computed, and why.
    not_computable: Vec<(RequestId, Micropoints, String)>,
}

impl Proof {
    fn add(&mut self, receipt: &Receipted, priced: Result<Priced, String>) {
        self.receipts += 1;
        let (request, charged) = (receipt.request, receipt.charge);
        match priced {
            Err(why) => self.not_computable.push((request, charged, why)),
            Ok(priced)
                if priced.amount == charged
                    && receipt.reason.is_none_or(|reason| reason == priced.reason) =>
            {
                self.equal += 1;
            }
            Ok(priced) => self.differ.push((request, charged, priced.amount)),
        }
    }

    fn is_well(&self) -> bool {
        self.differ.is_empty() && self.not_computable.is_empty()
    }

    fn tell(&self, output: &Output) -> anyhow::Result<()> {
        let mut fields: Vec<(&str, Value)> = vec![
            ("receipts", self.receipts.into()),
            ("equal", self.equal.into()),
            ("differ", self.differ.len().into()),
            ("not_computable", self.not_computable.len().into()),
        ];
        let (differ, not_computable) =
            (self.differ.iter().take(NAMED_MAX), self.not_computable.iter().take(NAMED_MAX));
        if output.is_json() {
            let differing = differ.map(|(request, charged, computed)| {
                json!({"request": request.to_string(), "charged": charged.to_string(), "computed": computed.to_string()})
            });
            let uncomputed = not_computable.map(|(request, charged, why)| {
                json!({"request": request.to_string(), "charged": charged.to_string(), "why": why})
            });
            fields.push(("differing", differing.collect()));
            fields.push(("uncomputed", uncomputed.collect()));
            return output.one(&fields);
        }
        output.one(&fields)?;
        for (request, charged, computed) in differ {
            line(&format!("request {request}: charged {charged}, computed {computed}"))?;
        }
        for (request, charged, why) in not_computable {
            line(&format!("request {request}: charged {charged}, not computable: {why}"))?;
        }
        Ok(())
    }
}
