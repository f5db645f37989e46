//! What was decided about a call, in words: why it got that credential, what the filter said, what its hold followed
//! from.

use schemars::JsonSchema;
use serde::Serialize;
use tollgate_core::decisions::{Choice, Decisions, Held, Screened, Verdict};
use tollgate_core::id::CredentialId;
use tollgate_store::RequestRecord;

use super::log_names::{LogNames, LogReader};

/// What was decided about a call on its way. What is null was not reached.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LogDecisions {
    /// What the content filter said of the request; null where none was in force.
    pub filter: Option<LogVerdict>,
    /// Which model served or was tried last: 0 the one that was asked for, then those that stand in for it.
    pub stand_in: u32,
    /// How the credential of the last attempt was chosen.
    pub choice: Option<LogChoice>,
    /// What the hold followed from; null for what is not billed.
    pub hold: Option<LogHold>,
}

/// What the content filter said of a request.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LogVerdict {
    /// `clean` where nothing was found and nobody was asked, `allowed`, `masked`, `blocked`, or `failed` where the
    /// filter did and nothing passes then.
    pub verdict: &'static str,
    /// The rule that decided, by the number that the component gave it; only for admins.
    pub rule: Option<u32>,
    /// Places that a rule matched.
    pub matches: u32,
}

/// How a credential was chosen.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LogChoice {
    /// What sets it apart from the others: `only` where there was none, `owner` (the caller's own before lent ones
    /// before the operator's), `conversation` that it began, `health` where the others' rest had just ended, `load`,
    /// `idle`, or `policy` where none of these tells them apart.
    pub because: &'static str,
    /// What the policy saw; only for admins.
    pub seen: Option<LogSeen>,
}

/// What the policy saw when it chose.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LogSeen {
    /// How many were fit.
    pub fit: u32,
    /// How many could have served but for their state: resting, at a limit, out of service.
    pub unfit: u32,
    /// Some of the fit ones that were not chosen.
    pub others: Vec<LogOther>,
    /// Share of the load of the chosen one.
    pub weight: u32,
    /// Calls that it was serving.
    pub in_flight: u32,
    /// Its failures in a row.
    pub failures: u32,
    /// How long it had been idle; null where it had not served since the gateway started.
    pub idle_ms: Option<u64>,
    /// Whether its rest was over and this call tried it.
    pub half_open: bool,
}

/// A credential that was not chosen.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LogOther {
    /// Its id.
    pub credential: String,
    /// What it is called, or was when it was removed.
    pub name: Option<String>,
}

/// What a hold followed from.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LogHold {
    /// Prompt tokens, by estimate.
    pub input_tokens: u64,
    /// Output tokens that were covered first.
    pub output_tokens: u64,
    /// Whose price: the `model`'s own, or the `default` of its provider.
    pub price: &'static str,
}

impl LogDecisions {
    /// Those of a record as its reader sees them; `None` for records of a Tollgate that kept none.
    pub(super) fn of(record: &RequestRecord, names: &LogNames) -> Option<Self> {
        let Decisions { screened, stand_in, choice, held } = record.decisions;
        let operator = names.reader() == LogReader::Operator;
        let verdict = |Screened { verdict, rule, matches }: Screened| LogVerdict {
            verdict: verdict.name(),
            rule: rule.filter(|_| operator),
            matches,
        };
        (!record.decisions.is_empty()).then(|| Self {
            filter: Some(screened).filter(|said| said.verdict != Verdict::None).map(verdict),
            stand_in,
            choice: choice.map(|choice| LogChoice {
                because: choice.because.name(),
                seen: operator.then(|| seen(&choice, names)),
            }),
            hold: held.map(|Held { input_tokens, output_tokens, default_price }| LogHold {
                input_tokens,
                output_tokens,
                price: if default_price { "default" } else { "model" },
            }),
        })
    }
}

fn seen(choice: &Choice, names: &LogNames) -> LogSeen {
    let other = |id: CredentialId| LogOther { credential: id.to_string(), name: names.credential(id) };
    LogSeen {
        fit: choice.fit,
        unfit: choice.unfit,
        others: choice.others.into_iter().flatten().map(other).collect(),
        weight: choice.weight,
        in_flight: choice.in_flight,
        failures: choice.failures,
        idle_ms: choice.idle_ms,
        half_open: choice.half_open,
    }
}
