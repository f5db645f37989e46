//! Components: what runs, and a reload on request.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::StatusCode;
use serde_json::{Map, Value, json};
use tollgate_runtime::{ComponentState, ComponentStatus, FaultKind, Source};

use super::error::Problem;
use super::{Admin, Answer, respond};

/// `GET /management/v1/plugins`
pub(super) fn list(admin: &Admin) -> Answer {
    let plugins: Vec<Value> = admin.shared.runtime.status().iter().map(plugin).collect();
    respond(StatusCode::OK, &json!({"generation": admin.shared.runtime.current().id(), "data": plugins}))
}

/// `POST /management/v1/plugins/reload`: the same transaction that a changed file starts.
///
/// # Errors
/// When a component is refused; what ran before still runs then.
pub(super) async fn reload(admin: &Arc<Admin>) -> Result<Answer, Problem> {
    let runtime = admin.shared.runtime.clone();
    match tokio::task::spawn_blocking(move || runtime.rescan()).await {
        Ok(Ok(_)) => Ok(list(admin)),
        Ok(Err(error)) => Err(Problem::refused(error.to_string())),
        Err(_) => Err(Problem::internal()),
    }
}

fn plugin(status: &ComponentStatus) -> Value {
    let faults: Map<String, Value> = FaultKind::ALL
        .iter()
        .zip(status.faults)
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| (kind.name().to_owned(), count.into()))
        .collect();
    let reason = match &status.state {
        ComponentState::Refused { reason } | ComponentState::RolledBack { reason, .. } => Some(reason),
        ComponentState::Active | ComponentState::Tripped => None,
    };
    let since = status.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    json!({
        "name": status.name,
        "kind": status.kind.name(),
        "component": status.component,
        "digest": status.digest.to_string(),
        "source": match &status.source { Source::Embedded => "embedded", _ => "file" },
        "generation": status.generation,
        "state": status.state.name(),
        "reason": reason,
        "calls": status.calls,
        "faults": faults,
        "instances": status.instances,
        "last_error": status.last_error,
        "since_ms": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    })
}
