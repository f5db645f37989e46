//! Calls of a component as an author writes them, in TOML, and what it answers, as JSON.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::price::Rates;
use tollgate_core::protocol::{Operation, Owner, Protocol};
use tollgate_core::usage::{Class, Quality, Usage};
use tollgate_runtime::{
    Action, Begun, Bill, CallError, Candidate, Charge, Considered, Direction, Exchange, Failure, Found,
    Health, Refusal, Reply, SelectRequest, Terms, Verdict,
};

use crate::cli::moment;
use crate::routing::{matcher, snapshot};

/// One call, under the name of what is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) enum Call {
    /// Of a pricing policy: what a request costs that has ended.
    Bill(BillCall),
    /// Of a key selector: which credential serves.
    Select(SelectCall),
    /// Of a content filter: what becomes of a text.
    Text(TextCall),
    /// Of an adapter: what an answer used.
    Usage(UsageCall),
    /// Of an adapter: what a failure means.
    Failure(FailureCall),
    /// Of an adapter: a request, and perhaps an answer, in another protocol.
    Translate(TranslateCall),
}

/// Amounts are micro-points, prices micro-points for a million units, as the contract has them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BillCall {
    units: BTreeMap<String, u64>,
    rates: BTreeMap<String, i64>,
    request_rate: i64,
    quality: String,
    outcome: String,
    owner: String,
    at: String,
}

impl Default for BillCall {
    fn default() -> Self {
        Self {
            units: BTreeMap::new(),
            rates: BTreeMap::new(),
            request_rate: 0,
            quality: "exact".to_owned(),
            outcome: "ok".to_owned(),
            owner: "platform".to_owned(),
            at: "2026-01-01T00:00:00Z".to_owned(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SelectCall {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    attempt: u32,
    candidates: Vec<Offered>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Offered {
    handle: u32,
    #[serde(default = "platform")]
    owner: String,
    #[serde(default)]
    half_open: bool,
    #[serde(default = "hundred")]
    weight: u32,
    #[serde(default)]
    in_flight: u32,
    #[serde(default)]
    failures: u32,
    /// Without it, it never served.
    idle_ms: Option<u64>,
    #[serde(default)]
    affinity: u32,
}

fn platform() -> String {
    "platform".to_owned()
}

const fn hundred() -> u32 {
    100
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TextCall {
    text: String,
    #[serde(default)]
    answer: bool,
    /// What its rules find, where it is not to be searched.
    found: Option<Vec<Place>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    rule: u32,
    start: u32,
    end: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageCall {
    /// That of the adapter's first endpoint, where it is not given.
    protocol: Option<String>,
    operation: Option<String>,
    /// One line for each of the plan's usage taps.
    samples: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FailureCall {
    status: u16,
    #[serde(default)]
    kind: String,
    retry_after_ms: Option<u64>,
    #[serde(default)]
    body: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TranslateCall {
    client: String,
    upstream: String,
    operation: Option<String>,
    #[serde(default)]
    model: String,
    #[serde(default)]
    streaming: bool,
    #[serde(default)]
    strict: bool,
    body: String,
    /// What the provider answers: a whole answer, or, with `streaming`, events.
    answer: Option<String>,
}

impl Call {
    /// What is asked.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Bill(_) => "bill",
            Self::Select(_) => "select",
            Self::Text(_) => "text",
            Self::Usage(_) => "usage",
            Self::Failure(_) => "failure",
            Self::Translate(_) => "translate",
        }
    }

    /// Makes the call ready: whatever is wrong with it is its author's.
    pub(super) fn ready(&self, considered: &Considered) -> anyhow::Result<Ready<'_>> {
        let (adapter, policies) = (considered.adapter(), considered.policies());
        let fits = match self {
            Self::Bill(_) => policies.pricing.is_some(),
            Self::Select(_) => policies.selector.is_some(),
            Self::Text(_) => policies.filter.is_some(),
            Self::Usage(_) | Self::Failure(_) | Self::Translate(_) => adapter.is_some(),
        };
        if !fits {
            bail!("a {} is not asked for `{}`", considered.kind().name(), self.name());
        }
        Ok(match self {
            Self::Bill(call) => Ready::Bill(Box::new(bill(call)?)),
            Self::Select(call) => {
                let candidates = call.candidates.iter().map(candidate).collect::<Result<_, _>>()?;
                Ready::Select(SelectRequest { seed: call.seed, attempt: call.attempt }, candidates)
            }
            Self::Text(call) => Ready::Text(call, found(call, considered)?),
            Self::Usage(call) => {
                let first = adapter.and_then(|adapter| adapter.plan().endpoints.first());
                let stated = |name: Option<&str>| name.map(protocol).transpose();
                let protocol = stated(call.protocol.as_deref())?.or(first.map(|first| first.protocol));
                let asked = call.operation.as_deref().map(operation).transpose()?;
                let protocol = protocol.context("it names no endpoint: say the `protocol`")?;
                Ready::Usage(protocol, asked.unwrap_or(Operation::Generate), call.samples.as_bytes())
            }
            Self::Failure(call) => Ready::Failure(Refusal {
                status: call.status,
                retry_after_ms: call.retry_after_ms,
                kind: &call.kind,
                body: call.body.as_bytes(),
            }),
            Self::Translate(call) => {
                let asked = call.operation.as_deref().map(operation).transpose()?;
                let terms = Terms {
                    client: protocol(&call.client)?,
                    upstream: protocol(&call.upstream)?,
                    operation: asked.unwrap_or(Operation::Generate),
                    model: &call.model,
                    request_id: "request",
                    now_s: 1_767_225_600,
                    streaming: call.streaming,
                    json_array: false,
                    output_limit: u64::MAX,
                    strict: call.strict,
                };
                Ready::Translate(terms, call.body.as_bytes(), call.answer.as_deref())
            }
        })
    }
}

/// A call with all its values.
pub(super) enum Ready<'c> {
    Bill(Box<Bill>),
    Select(SelectRequest, Vec<Candidate>),
    Text(&'c TextCall, Vec<Found>),
    Usage(Protocol, Operation, &'c [u8]),
    Failure(Refusal<'c>),
    Translate(Terms<'c>, &'c [u8], Option<&'c str>),
}

/// What a component answered.
pub(super) enum Answer {
    Charge(Charge),
    Chosen(Option<u32>),
    Verdict(Verdict),
    Usage(Usage),
    Failure(Failure),
    Refused(Reply),
    TooMuch,
    Translated {
        body: Vec<u8>,
        left_out: String,
        answer: Option<Result<Vec<u8>, String>>,
    },
    /// It was not made for this.
    Nothing,
}

impl Ready<'_> {
    /// Makes the call.
    ///
    /// # Errors
    /// When the component fails.
    pub(super) fn make(&self, considered: &Considered) -> Result<Answer, CallError> {
        let policies = considered.policies();
        let of_adapter = considered.adapter();
        Ok(match (self, of_adapter) {
            (Self::Bill(bill), _) => match &policies.pricing {
                Some(pricing) => Answer::Charge(pricing.settle(bill)?),
                None => Answer::Nothing,
            },
            (Self::Select(request, candidates), _) => match &policies.selector {
                Some(selector) => Answer::Chosen(selector.select(*request, candidates)?),
                None => Answer::Nothing,
            },
            (Self::Text(call, found), _) => match &policies.filter {
                Some(filter) => {
                    let way = if call.answer { Direction::Response } else { Direction::Request };
                    Answer::Verdict(filter.inspect(way, &call.text, found)?)
                }
                None => Answer::Nothing,
            },
            (Self::Usage(protocol, operation, samples), Some(adapter)) => {
                Answer::Usage(adapter.read_usage(*protocol, *operation, samples)?)
            }
            (Self::Failure(refusal), Some(adapter)) => Answer::Failure(adapter.classify(refusal)?),
            (Self::Translate(terms, body, answer), Some(adapter)) => match adapter.begin(terms, body)? {
                Begun::Refused(reply) => Answer::Refused(reply),
                Begun::TooMuch => Answer::TooMuch,
                Begun::Translated(mut exchange, body) => {
                    let streams = terms.streaming;
                    let answer = answer.map(|answer| answered(&mut exchange, answer, streams)).transpose()?;
                    Answer::Translated { body, left_out: exchange.left_out().to_owned(), answer }
                }
            },
            (_, None) => Answer::Nothing,
        })
    }

    /// What a case says of an answer.
    pub(super) fn told(&self, answer: &Answer) -> Value {
        match answer {
            Answer::Charge(charge) => {
                json!({"charge": charge.amount.get(), "reason": charge.reason.name()})
            }
            Answer::Chosen(chosen) => json!({"chosen": chosen}),
            Answer::Verdict(verdict) => self.told_verdict(verdict),
            Answer::Usage(usage) => {
                let units: BTreeMap<&str, u64> =
                    usage.amounts().map(|(class, units)| (class.name(), units)).collect();
                json!({"units": units, "quality": usage.quality.name(), "tier": usage.tier.name()})
            }
            Answer::Failure(failure) => {
                json!({"class": failure.class.name(), "retry_after_ms": failure.retry_after_ms})
            }
            Answer::Refused(reply) => json!({"refused": reply.status, "body": body(&reply.body)}),
            Answer::TooMuch => json!({"refused": "it is more than the adapter has time or memory for"}),
            Answer::Translated { body: sent, left_out, answer } => {
                let answer = answer.as_ref().map(|answer| match answer {
                    Ok(answer) => body(answer),
                    Err(why) => json!({"refused": why}),
                });
                json!({"body": body(sent), "left_out": left_out, "answer": answer})
            }
            Answer::Nothing => Value::Null,
        }
    }

    fn told_verdict(&self, verdict: &Verdict) -> Value {
        let Self::Text(call, found) = self else { return Value::Null };
        match verdict.action {
            Action::Allow => json!({"action": "allow", "text": call.text}),
            Action::Block => json!({"action": "block", "rule": verdict.rule}),
            Action::Mask => {
                let covered: Vec<&Found> =
                    verdict.mask.iter().filter_map(|at| found.get(*at as usize)).collect();
                let is_covered =
                    |at: usize| covered.iter().any(|it| (it.start as usize..it.end as usize).contains(&at));
                let text: String = call
                    .text
                    .char_indices()
                    .map(|(at, sign)| if is_covered(at) { '*' } else { sign })
                    .collect();
                json!({"action": "mask", "rule": verdict.rule, "text": text})
            }
        }
    }
}

/// An answer of the provider, translated.
fn answered(
    exchange: &mut Exchange,
    answer: &str,
    streams: bool,
) -> Result<Result<Vec<u8>, String>, CallError> {
    if !streams {
        return exchange.answer(answer.as_bytes());
    }
    let mut told = exchange.part(answer.as_bytes())?;
    told.extend(exchange.end()?);
    Ok(Ok(told))
}

/// A body as JSON, or as the text that it is.
fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}

fn bill(call: &BillCall) -> anyhow::Result<Bill> {
    let mut units = Vec::new();
    for (class, count) in &call.units {
        units.push((named(class, Class::ALL, Class::name)?, *count));
    }
    let mut rates = Vec::new();
    for (class, rate) in &call.rates {
        rates.push((named(class, Class::ALL, Class::name)?, *rate));
    }
    let qualities = [Quality::Exact, Quality::Estimated, Quality::Missing];
    Ok(Bill {
        rates: Rates::of(call.request_rate, &rates),
        usage: Usage::of(named(&call.quality, qualities, Quality::name)?, &units),
        outcome: named(&call.outcome, Outcome::ALL, Outcome::name)?,
        owner: owner(&call.owner)?,
        at: moment(&call.at).map_err(|error| anyhow::anyhow!("at = {:?}: {error}", call.at))?,
    })
}

fn candidate(offered: &Offered) -> anyhow::Result<Candidate> {
    Ok(Candidate {
        handle: offered.handle,
        owner: owner(&offered.owner)?,
        health: if offered.half_open { Health::HalfOpen } else { Health::Available },
        weight: offered.weight,
        in_flight: offered.in_flight,
        failures: offered.failures,
        idle_ms: offered.idle_ms.unwrap_or(u64::MAX),
        affinity: offered.affinity,
    })
}

/// What a filter's rules find in a text, as the gateway searches it.
fn found(call: &TextCall, considered: &Considered) -> anyhow::Result<Vec<Found>> {
    if let Some(places) = &call.found {
        let found = |place: &Place| Found { rule: place.rule, start: place.start, end: place.end };
        return Ok(places.iter().map(found).collect());
    }
    let policies = considered.policies();
    let plan = policies.filter.as_ref().map(|filter| filter.plan()).context("it is no filter")?;
    let matcher = matcher::compiled(plan).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(snapshot::found_in(&matcher, &call.text))
}

fn protocol(name: &str) -> anyhow::Result<Protocol> {
    named(name, Protocol::ALL, Protocol::name)
}

fn operation(name: &str) -> anyhow::Result<Operation> {
    named(name, Operation::ALL, Operation::name)
}

fn owner(name: &str) -> anyhow::Result<Owner> {
    named(name, [Owner::User, Owner::Platform, Owner::Shared], Owner::name)
}

/// The value of a name, or what names there are.
fn named<T: Copy>(
    text: &str,
    all: impl IntoIterator<Item = T>,
    name: impl Fn(T) -> &'static str,
) -> anyhow::Result<T> {
    let mut known = Vec::new();
    for value in all {
        if name(value) == text {
            return Ok(value);
        }
        known.push(name(value));
    }
    bail!("there is no `{text}`: known are {}", known.join(", "))
}
