//! Bodies of calls over HTTP, for admins: which keys' are kept, and what is. Every read is in the audit log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_core::id::{ApiKeyId, RequestId};

use super::ask::{Ask, Nothing};
use super::error::Problem;
use super::keys::{self, Key};
use crate::manage::Body;

/// Whether bodies are kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"keep": true}))]
pub(super) struct Keep {
    /// From now on. What is kept already stays until its time is over.
    keep: bool,
}

/// One half of a call. There is no `Debug`: it would show it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Half {
    /// What is kept of it, redacted.
    text: String,
    /// How many bytes it had.
    bytes: u64,
    /// Whether less than that is kept.
    cut: bool,
}

/// What was asked and answered. There is no `Debug`: it would show it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Both {
    /// The call.
    request: String,
    /// The id of the API key.
    key: String,
    /// What the client sent.
    asked: Half,
    /// What the client got: a whole answer, or the events of a stream.
    answered: Half,
}

impl From<Body> for Half {
    fn from(body: Body) -> Self {
        Self { text: body.text.expose().to_owned(), bytes: body.bytes, cut: body.cut }
    }
}

/// `GET /management/v1/requests/{request}/bodies`
pub(super) async fn show(ask: Ask<RequestId>) -> Result<Both, Problem> {
    let kept = ask.caller.management.bodies(ask.path).await?;
    Ok(Both {
        request: kept.request.to_string(),
        key: kept.api_key.to_string(),
        asked: kept.asked.into(),
        answered: kept.answered.into(),
    })
}

/// `PUT /management/v1/keys/{key}/keep-bodies`
pub(super) async fn keep(ask: Ask<ApiKeyId, Nothing, Keep>) -> Result<Key, Problem> {
    ask.caller.management.keep_bodies(ask.path, ask.body.keep).await?;
    keys::shown_of(&ask.caller, ask.path).await
}
