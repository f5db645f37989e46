//! Components: what runs, and a reload on request.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use schemars::JsonSchema;
use serde::Serialize;
use tollgate_runtime::{ComponentState, ComponentStatus, FaultKind, Source};

use super::Admin;
use super::ask::Ask;
use super::error::Problem;

/// The components that run.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Plugins {
    /// The set that serves new requests.
    generation: u64,
    /// Its components.
    data: Vec<Plugin>,
}

/// A component.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Plugin {
    /// What the configuration calls it.
    name: String,
    /// What it does.
    kind: &'static str,
    /// The file that it is, without `.wasm`.
    component: String,
    /// SHA-256 of the file.
    digest: String,
    /// `embedded` in the binary, a `file` of the plugins directory, `kept` of one that was good, or `none` where
    /// nothing serves.
    source: &'static str,
    /// The first set that it was part of.
    generation: u64,
    /// Whether it runs, was refused, rolled back, or is let rest.
    state: &'static str,
    /// Why it was refused or rolled back.
    reason: Option<String>,
    /// Calls so far.
    calls: u64,
    /// Calls that failed, by kind.
    faults: BTreeMap<&'static str, u64>,
    /// Instances that are alive.
    instances: u64,
    /// What failed last.
    last_error: Option<String>,
    /// Since when it is in this state.
    since_ms: u64,
}

/// `GET /management/v1/plugins`
pub(super) async fn list(ask: Ask) -> Result<Plugins, Problem> {
    Ok(running(&ask.caller.admin))
}

/// `POST /management/v1/plugins/reload`: the same transaction that a changed file starts.
pub(super) async fn reload(ask: Ask) -> Result<Plugins, Problem> {
    let runtime = ask.caller.admin.shared.runtime.clone();
    match tokio::task::spawn_blocking(move || runtime.rescan()).await {
        Ok(Ok(_)) => Ok(running(&ask.caller.admin)),
        Ok(Err(error)) => Err(Problem::refused(error.to_string())),
        Err(_) => Err(Problem::internal()),
    }
}

fn running(admin: &Admin) -> Plugins {
    let runtime = &admin.shared.runtime;
    Plugins { generation: runtime.current().id(), data: runtime.status().iter().map(plugin).collect() }
}

fn plugin(status: &ComponentStatus) -> Plugin {
    let faults = FaultKind::ALL.iter().zip(status.faults).filter(|(_, count)| *count > 0);
    let reason = match &status.state {
        ComponentState::Refused { reason } | ComponentState::RolledBack { reason, .. } => {
            Some(reason.clone())
        }
        ComponentState::Active | ComponentState::Tripped => None,
    };
    let since = status.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    Plugin {
        name: status.name.clone(),
        kind: status.kind.name(),
        component: status.component.clone(),
        digest: status.digest.to_string(),
        source: match &status.source {
            Source::Embedded => "embedded",
            Source::File(_) => "file",
            Source::Kept => "kept",
            Source::Nowhere => "none",
        },
        generation: status.generation,
        state: status.state.name(),
        reason,
        calls: status.calls,
        faults: faults.map(|(kind, count)| (kind.name(), count)).collect(),
        instances: status.instances,
        last_error: status.last_error.clone(),
        since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    }
}
