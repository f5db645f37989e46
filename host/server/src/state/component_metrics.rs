//! What metrics tell of each component: read off its state at each scrape.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use tollgate_runtime::{ComponentStatus, Durations, FaultKind};

/// The components as they are now.
#[derive(Debug)]
pub(crate) struct ComponentMetrics(pub(crate) Vec<ComponentStatus>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    component: String,
    kind: &'static str,
    digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fault {
    component: String,
    kind: &'static str,
    digest: String,
    fault: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    component: String,
    kind: &'static str,
    digest: String,
    state: &'static str,
}

/// A name, what it means, and where it stands.
type Number = (&'static str, &'static str, fn(&ComponentStatus) -> u64);

/// What only grows while a version runs.
const COUNTERS: [Number; 3] = [
    ("component_calls", "Calls of a component", |it| it.calls),
    ("component_bytes", "Bytes of requests, answers and texts copied into a component", |it| it.bytes),
    (
        "component_log_lines_dropped",
        "Lines of a component that were dropped because there were too many",
        |it| it.log_lines_dropped,
    ),
];

/// What goes up and down, and what it may not exceed.
const GAUGES: [Number; 4] = [
    ("component_instances", "Instances of a component", |it| it.instances),
    ("component_memory_peak_bytes", "Most memory that an instance of a component had", |it| {
        it.memory_bytes_peak
    }),
    ("component_memory_limit_bytes", "Most memory that an instance of a component may have", |it| {
        it.memory_bytes_max
    }),
    ("component_deadline_milliseconds", "Longest run of a call of a component", |it| it.deadline_ms.into()),
];

impl Collector for ComponentMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        for (name, help, number) in COUNTERS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for it in &self.0 {
                metric.encode_family(&of(it))?.encode_counter::<NoLabelSet, _, u64>(&number(it), None)?;
            }
        }
        for (name, help, number) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for it in &self.0 {
                metric.encode_family(&of(it))?.encode_gauge(&number(it))?;
            }
        }
        self.encode_faults(&mut encoder)?;
        self.encode_states(&mut encoder)?;
        self.encode_durations(&mut encoder)
    }
}

impl ComponentMetrics {
    fn encode_faults(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Faults of a component by their kind";
        let mut metric = encoder.encode_descriptor("component_faults", help, None, MetricType::Counter)?;
        for it in &self.0 {
            for (fault, count) in FaultKind::ALL.iter().zip(it.faults) {
                let Of { component, kind, digest } = of(it);
                let labels = Fault { component, kind, digest, fault: fault.name() };
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    /// The share of a component, by the state in which it is: what has no share serves nobody.
    fn encode_states(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Millionths of all keys that a component serves, with its state; none for a shadow";
        let mut metric = encoder.encode_descriptor("component_share_ppm", help, None, MetricType::Gauge)?;
        for it in &self.0 {
            let Of { component, kind, digest } = of(it);
            let labels = State { component, kind, digest, state: it.state.name() };
            let share = if it.shadow { 0 } else { it.share_ppm };
            metric.encode_family(&labels)?.encode_gauge(&share)?;
        }
        Ok(())
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let (name, help) = ("component_call_duration", "Calls of a component, one of sixteen of them timed");
        let mut metric =
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        let bounds = Durations::BOUNDS_US.iter().map(|us| seconds(*us)).chain([f64::MAX]);
        for it in &self.0 {
            let buckets: Vec<(f64, u64)> = bounds.clone().zip(it.durations.counts).collect();
            let (sum, count) = (seconds(it.durations.sum_us), it.durations.timed());
            metric.encode_family(&of(it))?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn of(status: &ComponentStatus) -> Of {
    Of { component: status.name.clone(), kind: status.kind.name(), digest: status.digest.to_string() }
}

/// Microseconds as metrics have them.
fn seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}
