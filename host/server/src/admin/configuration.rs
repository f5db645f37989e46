//! The configuration file over HTTP: what became of it, and a look at it now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ask::{Ask, Nothing};
use super::error::Problem;
use crate::state::configuration::{FileInForce, Standing};

/// What became of the configuration file when it was last looked at.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Configuration {
    /// Whether there is a file. A server without one is as it was started.
    followed: bool,
    /// What the file leaves out of what is in force. It was not taken up for that.
    held_back: Vec<String>,
    /// Why the file was refused; null where it was not.
    refused: Option<String>,
}

/// How to look at it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"accept_removals": false}))]
pub(super) struct Reload {
    /// Whether the file may remove providers, policies and models that are in force.
    accept_removals: bool,
}

/// `GET /management/v1/configuration`
pub(super) async fn show(ask: Ask) -> Result<Configuration, Problem> {
    Ok(shown(&ask.caller.admin.shared.configuration))
}

/// `POST /management/v1/configuration/reload`
pub(super) async fn reload(ask: Ask<Nothing, Nothing, Reload>) -> Result<Configuration, Problem> {
    let file = &ask.caller.admin.shared.configuration;
    file.look(ask.body.accept_removals).await;
    Ok(shown(file))
}

/// It as it is shown.
pub(super) fn shown(file: &FileInForce) -> Configuration {
    let Standing { held_back, refused } = Standing::clone(&file.standing());
    Configuration { followed: file.is_followed(), held_back, refused }
}
