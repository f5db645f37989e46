//! What components are, which versions of them served, and the way back to one.

use std::io;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_runtime::{ComponentState, ComponentStatus, Runtime};

use super::ask::{Ask, Caller, Nothing};
use super::error::Problem;
use super::plugins::{Plugins, running};
use crate::manage::ComponentFile;
use crate::manage::components::{
    Chosen, ComponentVersion, component_versions, inspect_component, version_before, version_to_use,
};

/// Versions that served, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Versions {
    data: Vec<ComponentVersion>,
}

/// Which version is to serve.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"digest": "0f4e"}))]
pub(super) struct Use {
    /// SHA-256 of a version that served before, or the beginning of it.
    digest: String,
}

/// `GET /management/v1/plugins/{component}/inspection`
pub(super) async fn inspect(ask: Ask<String>) -> Result<ComponentFile, Problem> {
    let shared = &ask.caller.admin.shared;
    let bytes = shared.runtime.bytes(&ask.path).ok_or_else(Problem::not_found)?;
    inspect_component(&shared.settings, &bytes).map_err(|error| Problem::refused(error.to_string()))
}

/// `GET /management/v1/plugins/{component}/versions`
pub(super) async fn list(ask: Ask<String>) -> Result<Versions, Problem> {
    let config = &ask.caller.admin.shared.settings;
    Ok(Versions { data: component_versions(config, Some(&ask.path)) })
}

/// `POST /management/v1/plugins/{component}/use`
pub(super) async fn put(ask: Ask<String, Nothing, Use>) -> Result<Plugins, Problem> {
    let chosen = version_to_use(&ask.caller.admin.shared.settings, &ask.path, &ask.body.digest)?;
    put_in_force(&ask.caller, ask.path, chosen).await
}

/// `POST /management/v1/plugins/{component}/back`
pub(super) async fn back(ask: Ask<String>) -> Result<Plugins, Problem> {
    let shared = &ask.caller.admin.shared;
    let status = serving(&shared.runtime, &ask.path).ok_or_else(Problem::not_found)?;
    let chosen = version_before(&shared.settings, &ask.path, &status.digest.to_string())?;
    put_in_force(&ask.caller, ask.path, chosen).await
}

/// Puts a version in force, and all as it was where it is refused.
async fn put_in_force(caller: &Caller, name: String, chosen: Chosen) -> Result<Plugins, Problem> {
    let runtime = caller.admin.shared.runtime.clone();
    let done = tokio::task::spawn_blocking(move || take_up(&runtime, &name, &chosen)).await;
    done.map_err(|_| Problem::internal())??;
    Ok(running(&caller.admin))
}

/// Takes up a version. What is wrong with it is in the status then, and told by that.
fn take_up(runtime: &Runtime, name: &str, chosen: &Chosen) -> Result<(), Problem> {
    let undo = chosen.put().map_err(|error| unwritable(&error))?;
    let _looked = if chosen.is_carried() { runtime.forget(&chosen.component) } else { runtime.rescan() };
    let Some(status) = serving(runtime, name) else { return Err(Problem::not_found()) };
    if status.digest.to_string() == chosen.digest {
        return Ok(());
    }
    let reason = match status.state {
        ComponentState::Refused { reason, .. } | ComponentState::RolledBack { reason, .. } => reason,
        ComponentState::Active | ComponentState::FileMissing | ComponentState::Tripped => {
            "another version serves".to_owned()
        }
    };
    undo.put().map_err(|error| unwritable(&error))?;
    let _looked = runtime.rescan();
    Err(Problem::refused(format!("{} is not taken up: {reason}", chosen.digest)))
}

/// It is the operator's to mend: a directory that is read only, or a full disk.
fn unwritable(error: &io::Error) -> Problem {
    Problem::refused(format!("the file of the component cannot be replaced: {error}"))
}

/// What serves under the name of a binding or of a file.
fn serving(runtime: &Runtime, name: &str) -> Option<ComponentStatus> {
    runtime.status().into_iter().find(|it| it.name == name || it.component == name)
}
