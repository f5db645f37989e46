//! What one unit runs: a variant with the bounds of its binding. Its share is not part of it, so that a unit goes on
//! while shares change.

use crate::binding::{Binding, Kind, OnError, Variant};
use crate::digest::Digest;
use crate::plan::place::KeyPlace;

/// All that decides whether a unit that serves is still what is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// Unique among all units, and the same from one reload to the next.
    pub(crate) name: String,
    /// File stem or embedded name.
    pub(crate) component: String,
    /// What it is used as.
    pub(crate) kind: Kind,
    /// JSON text for `configure`.
    pub(crate) config: String,
    /// What to do when it fails.
    pub(crate) on_error: OnError,
    /// Longest run of one call, in milliseconds.
    pub(crate) deadline_ms: u32,
    /// Most linear memory of one instance, in bytes.
    pub(crate) memory_bytes_max: usize,
    /// Where the operator says that a provider takes its secret.
    pub(crate) key_place: KeyPlace,
}

impl Spec {
    /// What it is known by from one start to the next.
    pub(crate) fn digest(&self) -> Digest {
        let Self { name, component, kind, config, on_error, deadline_ms, memory_bytes_max, .. } = self;
        let (kind, on_error) = (kind.name(), on_error.name());
        let text =
            format!("{name}\n{component}\n{kind}\n{on_error}\n{deadline_ms}\n{memory_bytes_max}\n{config}");
        Digest::of(text.as_bytes())
    }

    /// What a variant of this binding runs.
    pub(crate) fn new(binding: &Binding, variant: &Variant) -> Self {
        Self {
            name: name(binding, variant),
            component: variant.component.clone(),
            kind: binding.kind,
            config: variant.config.clone(),
            on_error: binding.on_error,
            deadline_ms: binding.deadline_ms,
            memory_bytes_max: binding.memory_bytes_max,
            key_place: binding.key_place.clone(),
        }
    }
}

/// What a variant is called in logs, records and the status: the binding's name, and its own where it has one.
pub(crate) fn name(binding: &Binding, variant: &Variant) -> String {
    if variant.name.is_empty() { binding.name.clone() } else { format!("{}/{}", binding.name, variant.name) }
}
