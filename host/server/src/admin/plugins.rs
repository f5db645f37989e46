//! Components: what runs, and a reload on request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::task::JoinError;
use tollgate_core::host::{HostPattern, NoHost};
use tollgate_runtime::{
    Adapter, ComponentState, ComponentStatus, FaultKind, Generation, ReloadError, Source,
};

use super::Admin;
use super::ask::{Ask, Caller, Nothing};
use super::error::Problem;
use crate::config::Grants;
use crate::upstream::permission::{Permission, permissions};

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
    /// SHA-256 of what was refused or rolled back, where that could be read.
    refused_digest: Option<String>,
    /// The share of all callers that it serves, in millionths; of a shadow, the share that it runs beside.
    share_ppm: u32,
    /// Whether it runs beside others and never serves.
    shadow: bool,
    /// Where it puts keys: headers, parameters of the query, signatures, calls for tokens.
    secret_places: Vec<String>,
    /// Hosts that it names for keys, beside those that the configuration names.
    hosts: Vec<Host>,
    /// Calls so far.
    calls: u64,
    /// Bytes of requests, answers and texts that were copied into it.
    bytes: u64,
    /// How long calls take, in microseconds, by one of sixteen: half of them not longer than this.
    call_us_p50: Option<u64>,
    /// And 99 of 100 not longer than this; null beyond 0.1 s.
    call_us_p99: Option<u64>,
    /// Longest run of one call, in milliseconds.
    deadline_ms: u32,
    /// Most memory that one of its instances had.
    memory_bytes_peak: u64,
    /// Most memory that an instance may have.
    memory_bytes_max: u64,
    /// Lines of its log that were dropped because there were too many.
    log_lines_dropped: u64,
    /// Calls that failed, by kind.
    faults: BTreeMap<&'static str, u64>,
    /// Instances that are alive.
    instances: u64,
    /// What failed last.
    last_error: Option<String>,
    /// Since when it is in this state.
    since_ms: u64,
}

/// A host that a component names.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Host {
    /// The host; a star stands for what the settings of credentials bring.
    host: String,
    /// Whether keys may go there: `built-in` of a component that the binary carries, `granted` by an operator, or
    /// `missing`.
    permission: &'static str,
}

/// Hosts that operators let components send keys to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HostGrants {
    data: Vec<HostGrant>,
}

/// A host that an operator lets a component send keys to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HostGrant {
    /// The file of the component, without `.wasm`.
    component: String,
    /// The host; a star stands for signs of one part of its name.
    host: String,
    /// `file` of the configuration, or `database`.
    source: &'static str,
}

/// `GET /management/v1/plugins`
pub(super) async fn list(ask: Ask) -> Result<Plugins, Problem> {
    Ok(running(&ask.caller.admin))
}

/// `POST /management/v1/plugins/reload`: the same transaction that a changed file starts.
pub(super) async fn reload(ask: Ask) -> Result<Plugins, Problem> {
    let runtime = ask.caller.admin.shared.runtime.clone();
    looked_at(&ask.caller.admin, tokio::task::spawn_blocking(move || runtime.rescan()).await)
}

/// `POST /management/v1/plugins/{component}/forget`: what was kept of a file that is gone ends here.
pub(super) async fn forget(ask: Ask<String>) -> Result<Plugins, Problem> {
    let (runtime, name) = (ask.caller.admin.shared.runtime.clone(), ask.path);
    looked_at(&ask.caller.admin, tokio::task::spawn_blocking(move || runtime.forget(&name)).await)
}

fn looked_at(
    admin: &Admin,
    done: Result<Result<Arc<Generation>, ReloadError>, JoinError>,
) -> Result<Plugins, Problem> {
    match done {
        Ok(Ok(_)) => Ok(running(admin)),
        Ok(Err(error)) => Err(Problem::refused(error.to_string())),
        Err(_) => Err(Problem::internal()),
    }
}

/// `GET /management/v1/plugins/grants`
pub(super) async fn grants(ask: Ask) -> Result<HostGrants, Problem> {
    let stored = ask.caller.management.grants().await?;
    let upstreams = ask.caller.admin.shared.upstreams.load();
    let of_file = upstreams.granted_by_file();
    let row = |source| {
        move |(component, host): (&str, &HostPattern)| HostGrant {
            component: component.to_owned(),
            host: host.to_string(),
            source,
        }
    };
    Ok(HostGrants {
        data: of_file.each().map(row("file")).chain(stored.each().map(row("database"))).collect(),
    })
}

/// `PUT /management/v1/plugins/{component}/hosts/{host}`
pub(super) async fn grant(ask: Ask<(String, String)>) -> Result<HostGrants, Problem> {
    let (component, host) = &ask.path;
    ask.caller.management.grant_host(component, &pattern(host)?).await?;
    in_force(&ask.caller).await?;
    grants(Ask { caller: ask.caller, path: Nothing, query: Nothing, body: Nothing }).await
}

/// `DELETE /management/v1/plugins/{component}/hosts/{host}`
pub(super) async fn revoke(ask: Ask<(String, String)>) -> Result<Nothing, Problem> {
    let (component, host) = &ask.path;
    ask.caller.management.revoke_host(component, &pattern(host)?).await?;
    in_force(&ask.caller).await?;
    Ok(Nothing)
}

fn pattern(host: &str) -> Result<HostPattern, Problem> {
    host.parse().map_err(|error: NoHost| Problem::bad_request(error.to_string()))
}

/// What was granted counts from the next call on.
async fn in_force(caller: &Caller) -> Result<(), Problem> {
    let granted = caller.management.grants().await?;
    let upstreams = &caller.admin.shared.upstreams;
    if let Some(changed) = upstreams.load().with_granted(&granted) {
        upstreams.store(changed);
    }
    Ok(())
}

/// What runs now.
pub(super) fn running(admin: &Admin) -> Plugins {
    let runtime = &admin.shared.runtime;
    let generation = runtime.current();
    let grants = Arc::clone(&admin.shared.upstreams.load().grants);
    let plugin = |status: &ComponentStatus| plugin(status, generation.adapter(&status.name), &grants);
    Plugins { generation: generation.id(), data: runtime.status().iter().map(plugin).collect() }
}

fn plugin(status: &ComponentStatus, adapter: Option<&Arc<Adapter>>, grants: &Grants) -> Plugin {
    let host = |permission: Permission| Host {
        host: permission.host.to_string(),
        permission: permission.word.name(),
    };
    let hosts = adapter.map(|adapter| permissions(adapter, adapter.component(), grants)).unwrap_or_default();
    let faults = FaultKind::ALL.iter().zip(status.faults).filter(|(_, count)| *count > 0);
    let reason = match &status.state {
        ComponentState::Refused { reason, .. } | ComponentState::RolledBack { reason, .. } => {
            Some(reason.clone())
        }
        ComponentState::FileMissing => Some(
            "its file is gone: what it held last serves, until it is forgotten or the file is back"
                .to_owned(),
        ),
        ComponentState::Active | ComponentState::Tripped => None,
    };
    let refused = match &status.state {
        ComponentState::Refused { digest, .. } => *digest,
        ComponentState::RolledBack { from, .. } => Some(*from),
        ComponentState::Active | ComponentState::Tripped | ComponentState::FileMissing => None,
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
        refused_digest: refused.map(|digest| digest.to_string()),
        share_ppm: status.share_ppm,
        shadow: status.shadow,
        secret_places: adapter.map(|adapter| adapter.plan().key_places()).unwrap_or_default(),
        hosts: hosts.into_iter().map(host).collect(),
        calls: status.calls,
        bytes: status.bytes,
        call_us_p50: status.durations.at_most_us(500),
        call_us_p99: status.durations.at_most_us(990),
        deadline_ms: status.deadline_ms,
        memory_bytes_peak: status.memory_bytes_peak,
        memory_bytes_max: status.memory_bytes_max,
        log_lines_dropped: status.log_lines_dropped,
        faults: faults.map(|(kind, count)| (kind.name(), count)).collect(),
        instances: status.instances,
        last_error: status.last_error.clone(),
        since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    }
}
