//! `tollgate plugin test`: what a component answers, held to cases in a file, or to what was recorded.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::receipt::Receipt;
use tollgate_runtime::{Bill, Considered};

use super::calls::Call;
use super::look::{Bench, Tried};
use crate::cli::output::{Output, line};
use crate::config::{Config, FILE_BYTES_MAX, file};
use crate::manage::{Management, Opening, RequestFilter};
use crate::prices::replay::Policies;

/// Requests that are read at once.
const PAGE: u32 = 500;
/// Differences that are shown.
const SHOWN_MAX: usize = 20;

/// A file to test.
#[derive(Debug, Args)]
pub(crate) struct Test {
    #[command(flatten)]
    tried: Tried,
    /// Cases in TOML: calls, each with the answer that is expected or, without one, that of the snapshot beside the
    /// file.
    #[arg(long, value_name = "FILE", required_unless_present = "recorded")]
    cases: Option<PathBuf>,
    /// Take what it answers now as the snapshot.
    #[arg(long, requires = "cases")]
    accept: bool,
    /// Ask a pricing policy for the last N requests of the data directory, beside the versions that charged them.
    #[arg(long, value_name = "N")]
    recorded: Option<u32>,
}

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

/// A call, and what is expected of it.
#[derive(Debug, Deserialize)]
struct Case {
    /// Tells it from others.
    name: String,
    /// The component's settings, over those of the command line.
    settings: Option<toml::Table>,
    /// Members that the answer must have; others it may have.
    expect: Option<toml::Table>,
    /// What the component does instead of answering: a part of its words.
    fails: Option<String>,
    #[serde(flatten)]
    call: Call,
}

impl Test {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let bench = self.tried.bench(config)?;
        let mut is_well = true;
        if let Some(cases) = &self.cases {
            is_well &= self.cases(&bench, cases, output)?;
        }
        if let Some(count) = self.recorded {
            is_well &= recorded(config, &bench.consider(self.tried.settings())?, count, output).await?;
        }
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn cases(&self, bench: &Bench<'_>, path: &Path, output: &Output) -> anyhow::Result<bool> {
        let text = file::read_text(path, FILE_BYTES_MAX);
        let text = text.with_context(|| format!("reading {}", path.display()))?;
        let Cases { case: cases } =
            toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        let snapshot_path = path.with_extension("snapshot.json");
        let mut snapshot = snapshot(&snapshot_path)?;
        let mut loaded: HashMap<String, anyhow::Result<Considered>> = HashMap::new();
        let (mut rows, mut failed) = (Vec::new(), 0_u32);
        for case in &cases {
            let settings = match &case.settings {
                Some(table) => serde_json::to_string(table)?,
                None => self.tried.settings().to_owned(),
            };
            let considered = loaded.entry(settings).or_insert_with_key(|text| bench.consider(text));
            let outcome = case.outcome(considered, &mut snapshot, self.accept);
            failed += u32::from(outcome.is_err());
            let why = outcome.err().map(|error| format!("{error:#}"));
            let word = if why.is_none() { "passed" } else { "failed" };
            rows.push(vec![case.name.clone().into(), word.into(), why.into()]);
        }
        if self.accept {
            let text = serde_json::to_string_pretty(&Value::Object(snapshot))? + "\n";
            std::fs::write(&snapshot_path, text)
                .with_context(|| format!("writing {}", snapshot_path.display()))?;
        }
        output.many(&["case", "result", "why"], &rows)?;
        if !output.is_json() {
            line(&format!("{} cases, {failed} failed", cases.len()))?;
        }
        Ok(failed == 0)
    }
}

impl Case {
    /// Makes the call, and holds what comes of it to what is expected.
    fn outcome(
        &self,
        considered: &anyhow::Result<Considered>,
        snapshot: &mut Map<String, Value>,
        accept: bool,
    ) -> anyhow::Result<()> {
        let answer = considered.as_ref().map_err(|error| anyhow::anyhow!("{error:#}")).and_then(|it| {
            let ready = self.call.ready(it)?;
            Ok(ready.told(&ready.make(it)?))
        });
        let answer = match (answer, &self.fails) {
            (Err(error), Some(words)) if format!("{error:#}").contains(words.as_str()) => return Ok(()),
            (Ok(answer), Some(words)) => bail!("it was to fail with `{words}`, and answers {answer}"),
            (answer, _) => answer?,
        };
        if let Some(expected) = &self.expect {
            return match difference("", &serde_json::to_value(expected)?, &answer) {
                None => Ok(()),
                Some(difference) => bail!("{difference}"),
            };
        }
        if accept {
            snapshot.insert(self.name.clone(), answer);
            return Ok(());
        }
        match snapshot.get(&self.name) {
            Some(known) if *known == answer => Ok(()),
            Some(known) => bail!("the snapshot says {known}, and it answers {answer}"),
            None => bail!("it answers {answer}: expect that, or --accept it"),
        }
    }
}

/// Where an answer is not as expected: members that nobody expects may be there.
fn difference(path: &str, expected: &Value, answer: &Value) -> Option<String> {
    if let (Value::Object(expected), Value::Object(answer)) = (expected, answer) {
        return expected.iter().find_map(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            difference(&path, value, answer.get(name).unwrap_or(&Value::Null))
        });
    }
    (expected != answer).then(|| format!("{path} is {answer}, and was to be {expected}"))
}

fn snapshot(path: &Path) -> anyhow::Result<Map<String, Value>> {
    if !path.exists() {
        return Ok(Map::new());
    }
    let text = file::read_text(path, FILE_BYTES_MAX);
    let text = text.with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// What a policy would have charged for the last requests, beside what was charged by the versions in force then.
async fn recorded(
    config: &Config,
    considered: &Considered,
    count: u32,
    output: &Output,
) -> anyhow::Result<bool> {
    let Some(pricing) = considered.policies().pricing else {
        bail!("a {} leaves nothing that could be asked again: --cases tests it", considered.kind().name());
    };
    let management = Management::open_as(config, Opening::Find).await?;
    let mut policies = Policies::new(config);
    let (mut equal, mut differ, mut reasons) = (0_u64, Vec::new(), BTreeMap::<String, u64>::new());
    for (held, receipt) in receipts(&management, count).await? {
        let now = pricing.recompute(&bill_of(&receipt)).map_err(|error| error.to_string());
        let then = policies.price(&receipt, held).map(|priced| priced.amount);
        match (then, now) {
            (Ok(then), Ok(now)) if then == now.amount => equal += 1,
            (Ok(then), Ok(now)) => differ.push((receipt, then, now.amount)),
            (Err(why), _) => *reasons.entry(format!("the version in force: {why}")).or_default() += 1,
            (_, Err(why)) => *reasons.entry(why).or_default() += 1,
        }
    }
    management.close().await;
    let not_computable: u64 = reasons.values().sum();
    let shown: Vec<Value> = differ
        .iter()
        .take(SHOWN_MAX)
        .map(|(receipt, then, now)| {
            let request = receipt.request.to_string();
            json!({"request": request, "model": receipt.model, "in_force": then.to_string(), "this": now.to_string()})
        })
        .collect();
    let whys: Vec<String> = reasons.iter().map(|(why, count)| format!("{count} times: {why}")).collect();
    output.one(&[
        ("requests", (equal + differ.len() as u64 + not_computable).into()),
        ("equal", equal.into()),
        ("differ", differ.len().into()),
        ("not_computable", not_computable.into()),
        ("why", whys.join("; ").into()),
        ("examples", shown.into()),
    ])?;
    Ok(reasons.is_empty())
}

fn bill_of(receipt: &Receipt) -> Bill {
    Bill {
        rates: receipt.charged_rates(),
        usage: receipt.usage,
        outcome: receipt.outcome,
        owner: receipt.owner,
        at: receipt.admitted_at,
    }
}

/// The receipts of the last requests that have one, the newest first.
async fn receipts(management: &Management, count: u32) -> anyhow::Result<Vec<(Micropoints, Receipt)>> {
    let mut filter = RequestFilter { limit: PAGE, ..RequestFilter::default() };
    let mut receipts = Vec::new();
    loop {
        let page = management.requests(&filter).await?;
        for record in &page.rows {
            if let Some(receipt) = record.receipt.as_deref().and_then(|bytes| Receipt::decode(bytes).ok()) {
                receipts.push((record.hold, receipt));
            }
            if receipts.len() as u64 >= u64::from(count) {
                return Ok(receipts);
            }
        }
        filter.before = page.next;
        if filter.before.is_none() {
            return Ok(receipts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cases, difference};
    use serde_json::json;

    #[test]
    fn an_answer_may_say_more_than_is_expected_and_nothing_else() {
        let answer = json!({"charge": 7, "reason": "full", "more": {"a": 1, "b": [1, 2]}});
        assert_eq!(difference("", &json!({"charge": 7, "more": {"a": 1}}), &answer), None);
        let off = |expected| difference("", &expected, &answer).expect("a difference");
        assert_eq!(off(json!({"charge": 8})), "charge is 7, and was to be 8");
        assert_eq!(off(json!({"more": {"b": [1]}})), "more.b is [1,2], and was to be [1]");
        assert_eq!(off(json!({"gone": 1})), "gone is null, and was to be 1");
    }

    #[test]
    fn a_case_names_one_call() {
        let read = |text: &str| toml::from_str::<Cases>(text).map(|cases| cases.case.len());
        assert_eq!(
            read("[[case]]\nname = 'a'\nbill = { units = { input = 1 } }\nexpect = { charge = 1 }").ok(),
            Some(1)
        );
        let wrong = [
            "[[case]]\nname = 'a'",
            "[[case]]\nname = 'a'\nbills = {}",
            "[[case]]\nname = 'a'\nbill = { unit = 1 }",
            "[[case]]\nbill = {}",
        ];
        for text in wrong {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
