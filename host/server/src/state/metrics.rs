//! Counters in Prometheus' text format. Names follow its conventions; labels are few and their values bounded.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tollgate_core::health::Standing;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Unit as Counting, Usage};
use tollgate_runtime::{ComponentStatus, FaultKind};

use crate::state::component_metrics::ComponentMetrics;
use crate::state::directory::Directory;
use crate::telemetry;

/// Bucket bounds in seconds: from the gateway's own time to that of a long answer.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    protocol: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct End {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Counted {
    class: Label,
}

/// A class by its name in the style of Prometheus: `cache-read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Label(Class);

impl EncodeLabelValue for Label {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.0.name().chars().try_for_each(|sign| encoder.write_char(if sign == '_' { '-' } else { sign }))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Component {
    component: String,
    kind: &'static str,
    digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fault {
    component: String,
    fault: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Credentials {
    provider: String,
    owner: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stream {
    stream: &'static str,
}

/// Counters of a family by a number for their labels: found once, and not looked for by their labels each time. One
/// that was never found is not there, and no scrape shows it.
struct Known<const N: usize>([OnceLock<Counter>; N]);

impl<const N: usize> Known<N> {
    const fn new() -> Self {
        Self([const { OnceLock::new() }; N])
    }

    fn count(&self, number: usize, units: u64, find: impl FnOnce() -> Counter) {
        if let Some(known) = self.0.get(number) {
            known.get_or_init(find).inc_by(units);
        }
    }
}

/// The gateway's counters.
pub(crate) struct Metrics {
    registry: Registry,
    /// Of `answers`, those with status 200, by protocol.
    good_answers: Known<{ Protocol::ALL.len() }>,
    /// Of `ends`, by outcome.
    known_ends: Known<{ Outcome::ALL.len() }>,
    /// Of `tokens` and `units`, by class.
    known_usage: Known<{ Class::ALL.len() }>,
    answers: Family<AnswerLabels, Counter>,
    ends: Family<End, Counter>,
    tokens: Family<Counted, Counter>,
    units: Family<Counted, Counter>,
    charged: Counter,
    attempts_failed: Counter,
    duration: Histogram,
    first_byte: Histogram,
    plugin_calls: Family<Component, Gauge>,
    plugin_bytes: Family<Component, Gauge>,
    plugin_faults: Family<Fault, Gauge>,
    credentials: Family<Credentials, Gauge>,
    log_lines_lost: Family<Stream, Gauge>,
    log_file_lines_lost: Family<Stream, Counter>,
    bodies_lost: Counter,
    usage_bounded: Counter,
}

impl Metrics {
    /// All counters at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("tollgate");
        let histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            good_answers: Known::new(),
            known_ends: Known::new(),
            known_usage: Known::new(),
            answers: Family::default(),
            ends: Family::default(),
            tokens: Family::default(),
            units: Family::default(),
            charged: Counter::default(),
            attempts_failed: Counter::default(),
            duration: histogram(),
            first_byte: histogram(),
            plugin_calls: Family::default(),
            plugin_bytes: Family::default(),
            plugin_faults: Family::default(),
            credentials: Family::default(),
            log_lines_lost: Family::default(),
            log_file_lines_lost: Family::default(),
            bodies_lost: Counter::default(),
            usage_bounded: Counter::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Answers by protocol and status", metrics.answers.clone());
        registry.register("outcomes", "Ended calls by outcome", metrics.ends.clone());
        registry.register("tokens", "Tokens by usage class", metrics.tokens.clone());
        registry.register(
            "units",
            "Calls of tools, images, seconds and characters by usage class",
            metrics.units.clone(),
        );
        registry.register("charged_micropoints", "Micro-points charged", metrics.charged.clone());
        registry.register(
            "attempts_failed",
            "Attempts at an upstream that failed",
            metrics.attempts_failed.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "From a call's head to the end of its answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register_with_unit(
            "time_to_first_byte",
            "From a call's head to the first byte of its answer",
            Unit::Seconds,
            metrics.first_byte.clone(),
        );
        // The names of version 0.1 for what `component_metrics.rs` tells; they go with the next version.
        registry.register("plugin_calls", "Old name of component_calls", metrics.plugin_calls.clone());
        registry.register("plugin_bytes", "Old name of component_bytes", metrics.plugin_bytes.clone());
        registry.register("plugin_faults", "Old name of component_faults", metrics.plugin_faults.clone());
        registry.register("credentials", "Provider keys by state", metrics.credentials.clone());
        registry.register(
            "log_lines_lost",
            "Old name of log_file_lines_lost",
            metrics.log_lines_lost.clone(),
        );
        registry.register(
            "log_file_lines_lost",
            "Lines that no log file took, by stream",
            metrics.log_file_lines_lost.clone(),
        );
        registry.register(
            "bodies_lost",
            "Calls whose bodies were to be kept and are not",
            metrics.bodies_lost.clone(),
        );
        registry.register(
            "usage_bounded",
            "Answers whose provider stated more usage than can be",
            metrics.usage_bounded.clone(),
        );
        Self { registry, ..metrics }
    }

    /// Counts bodies that were to be kept and are not.
    pub(crate) fn bodies_lost(&self) -> Counter {
        self.bodies_lost.clone()
    }

    /// A provider stated usage that cannot be.
    pub(crate) fn usage_bounded(&self) {
        self.usage_bounded.inc();
    }

    /// A request was answered.
    pub(crate) fn answered(&self, protocol: Protocol, status: StatusCode) {
        let labels = AnswerLabels { protocol: protocol.name(), status: status.as_u16() };
        let find = || self.answers.get_or_create_owned(&labels);
        match status {
            StatusCode::OK => self.good_answers.count(protocol as usize, 1, find),
            _ => {
                find().inc();
            }
        }
    }

    /// An attempt failed.
    pub(crate) fn attempt_failed(&self) {
        self.attempts_failed.inc();
    }

    /// A call ended.
    pub(crate) fn ended(
        &self,
        outcome: Outcome,
        usage: &Usage,
        charge: Micropoints,
        took: Duration,
        first: Option<Duration>,
    ) {
        let end = End { outcome: outcome.name() };
        self.known_ends.count(outcome as usize, 1, || self.ends.get_or_create_owned(&end));
        self.duration.observe(took.as_secs_f64());
        if let Some(first) = first {
            self.first_byte.observe(first.as_secs_f64());
        }
        self.charged.inc_by(u64::try_from(charge.get()).unwrap_or(0));
        for (class, units) in usage.amounts() {
            self.known_usage.count(class.index(), units, || {
                let counted = if class.unit() == Counting::Tokens { &self.tokens } else { &self.units };
                counted.get_or_create_owned(&Counted { class: Label(class) })
            });
        }
    }

    /// Counts the credentials that are switched on by their state at `now`; lent ones also as `shared`.
    pub(crate) fn count_credentials(&self, directory: &Directory, now: Timestamp) {
        self.credentials.clear();
        let lent = directory.lent.iter().filter(|credential| credential.live.is_lent());
        for credential in directory.all().chain(lent) {
            let state = match credential.live.standing(now) {
                Standing::Available => "available",
                Standing::HalfOpen => "half-open",
                Standing::Cooling { .. } => "cooling",
                Standing::Disabled { .. } => "disabled",
            };
            let (provider, owner) = (credential.provider.clone(), credential.owner.name());
            self.credentials.get_or_create(&Credentials { provider, owner, state }).inc();
        }
    }

    /// The text that a scrape gets.
    pub(crate) fn text(&self, plugins: &[ComponentStatus]) -> String {
        self.plugin_calls.clear();
        self.plugin_bytes.clear();
        self.plugin_faults.clear();
        for plugin in plugins {
            let label = Component {
                component: plugin.name.clone(),
                kind: plugin.kind.name(),
                digest: plugin.digest.to_string(),
            };
            let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            self.plugin_calls.get_or_create(&label).set(count(plugin.calls));
            self.plugin_bytes.get_or_create(&label).set(count(plugin.bytes));
            for (fault, number) in FaultKind::ALL.iter().zip(plugin.faults) {
                let label = Fault { component: plugin.name.clone(), fault: fault.name() };
                self.plugin_faults.get_or_create(&label).set(count(number));
            }
        }
        self.log_file_lines_lost.clear();
        for (stream, lines) in telemetry::lost() {
            self.log_file_lines_lost.get_or_create(&Stream { stream }).inc_by(lines);
            let lines = i64::try_from(lines).unwrap_or(i64::MAX);
            self.log_lines_lost.get_or_create(&Stream { stream }).set(lines);
        }
        let mut components = Registry::with_prefix("tollgate");
        components.register_collector(Box::new(ComponentMetrics(plugins.to_vec())));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &components))
            .and_then(|()| encode_eof(&mut text));
        text
    }
}
