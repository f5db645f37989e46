//! What operators see: the state of each component.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crate::binding::Kind;
use crate::digest::Digest;
use crate::durations::Durations;
use crate::error::FaultKind;
use crate::generation::Member;
use crate::source::Source;
use crate::spec::Spec;

/// What a component is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentState {
    /// It serves.
    Active,
    /// It serves, but a newer file or configuration was refused; where its source is nowhere, nothing serves.
    Refused {
        /// Digest of what was refused, where it could be read.
        digest: Option<Digest>,
        /// Why, in words for the operator.
        reason: String,
    },
    /// It serves again, because a newer version failed on trial.
    RolledBack {
        /// Digest of the version that failed.
        from: Digest,
        /// Its last error.
        reason: String,
    },
    /// It serves, but its file is gone: what it held last goes on.
    FileMissing,
    /// Its breaker is open: calls fail at once.
    Tripped,
}

impl ComponentState {
    /// The name used in logs, metrics and records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Refused { .. } => "refused",
            Self::RolledBack { .. } => "rolled-back",
            Self::FileMissing => "file-missing",
            Self::Tripped => "tripped",
        }
    }
}

/// One component of the current generation.
#[derive(Debug, Clone)]
pub struct ComponentStatus {
    /// Name of the binding, with that of the variant behind a `/` where it has one.
    pub name: String,
    /// The share of all keys that it serves, in millionths; of a shadow, the share that it runs beside.
    pub share_ppm: u32,
    /// Whether it never serves.
    pub shadow: bool,
    /// What it is used as.
    pub kind: Kind,
    /// File stem or embedded name.
    pub component: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Where they came from.
    pub source: Source,
    /// The first generation that it was part of.
    pub generation: u64,
    /// What it is doing.
    pub state: ComponentState,
    /// Calls so far, by this version.
    pub calls: u64,
    /// Bytes of requests, answers and texts that these copied into it.
    pub bytes: u64,
    /// Faults so far, by this version, in the order of [`FaultKind::ALL`].
    pub faults: [u64; FaultKind::ALL.len()],
    /// How long the calls took that were timed.
    pub durations: Durations,
    /// Longest run of one call, in milliseconds.
    pub deadline_ms: u32,
    /// Most linear memory that one of its instances had, in bytes.
    pub memory_bytes_peak: u64,
    /// Most linear memory that an instance may have, in bytes.
    pub memory_bytes_max: u64,
    /// Instances alive now.
    pub instances: u64,
    /// Log lines that were dropped because there were too many.
    pub log_lines_dropped: u64,
    /// The last fault, in words for the operator.
    pub last_error: Option<String>,
    /// When this version was loaded.
    pub since: SystemTime,
}

impl ComponentStatus {
    pub(crate) fn new(member: &Member, verdict: Option<ComponentState>) -> Self {
        let vitals = member.vitals();
        let state = if vitals.breaker.is_open() { Some(ComponentState::Tripped) } else { verdict };
        Self {
            name: vitals.spec.name.clone(),
            share_ppm: member.share_ppm,
            shadow: member.shadow,
            kind: vitals.spec.kind,
            component: vitals.spec.component.clone(),
            digest: vitals.digest,
            source: vitals.source.clone(),
            generation: vitals.generation.load(Ordering::Relaxed),
            state: state.unwrap_or(ComponentState::Active),
            calls: vitals.calls(),
            bytes: vitals.bytes(),
            faults: vitals.faults(),
            durations: vitals.timer.durations(),
            deadline_ms: vitals.spec.deadline_ms,
            memory_bytes_peak: vitals.memory_bytes_peak(),
            memory_bytes_max: vitals.spec.memory_bytes_max as u64,
            instances: vitals.instances.load(Ordering::Relaxed),
            log_lines_dropped: vitals.log.dropped.load(Ordering::Relaxed),
            last_error: vitals.last_error(),
            since: vitals.loaded,
        }
    }

    /// What is bound, but could not be loaded, nor anything in its place.
    pub(crate) fn lacking(spec: &Spec, state: ComponentState) -> Self {
        Self {
            name: spec.name.clone(),
            share_ppm: 0,
            shadow: false,
            kind: spec.kind,
            component: spec.component.clone(),
            digest: Digest::from_bytes([0; 32]),
            source: Source::Nowhere,
            generation: 0,
            state,
            calls: 0,
            bytes: 0,
            faults: Default::default(),
            durations: Durations::default(),
            deadline_ms: spec.deadline_ms,
            memory_bytes_peak: 0,
            memory_bytes_max: spec.memory_bytes_max as u64,
            instances: 0,
            log_lines_dropped: 0,
            last_error: None,
            since: SystemTime::now(),
        }
    }

    /// Faults of one kind.
    #[must_use]
    pub const fn faults_of(&self, kind: FaultKind) -> u64 {
        self.faults[kind as usize]
    }
}
