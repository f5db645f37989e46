//! What happened to components: loaded, refused, faulted, rolled back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ask::{Ask, Nothing, Page, window};
use super::error::Problem;
use super::receipts::hex;
use crate::manage;

/// Which events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// Something that happened to a component.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PluginEvent {
    /// Tells events apart; later ones have larger numbers.
    number: u64,
    /// When.
    at_ms: u64,
    /// The component.
    component: String,
    /// What it does.
    kind: String,
    /// SHA-256 of its file, where there was one.
    digest: Option<String>,
    /// What happened, as one word.
    event: String,
    /// Details.
    detail: Option<String>,
}

/// `GET /management/v1/plugins/events`
pub(super) async fn list(ask: Ask<Nothing, Which>) -> Result<Page<PluginEvent>, Problem> {
    let window = window(ask.query.cursor.as_deref(), ask.query.limit)?;
    let page = ask.caller.management.plugin_events(window).await?;
    Ok(Page::shown(page, shown))
}

/// An event as it is shown.
pub(super) fn shown((number, event): (u64, manage::PluginEvent)) -> PluginEvent {
    PluginEvent {
        number,
        at_ms: event.at.millis(),
        component: event.component,
        kind: event.kind,
        digest: event.digest.map(|digest| hex(&digest)),
        event: event.event,
        detail: event.detail,
    }
}
