//! The audit log over HTTP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tollgate_core::time::Timestamp;

use super::ask::{Ask, Nothing, Page, window};
use super::error::Problem;
use crate::manage::{AuditFilter, AuditRow, Window};

/// Which changes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// A user's name or id, `operator` (the admin secret) or `cli`.
    actor: Option<String>,
    /// What was done, such as `key.create`; `key.*` is everything done to keys.
    action: Option<String>,
    /// The id or name of what it was done to.
    target: Option<String>,
    /// Not before this time.
    since_ms: Option<u64>,
    /// Before this time.
    until_ms: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// A change.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Change {
    /// Its place in the log.
    seq: u64,
    /// When.
    at_ms: u64,
    /// A user's id, `operator` (the admin secret) or `cli`.
    actor: String,
    /// What was done.
    action: String,
    /// The kind of thing that it was done to.
    target_kind: String,
    /// Its id or name.
    target: String,
    /// What else is to know.
    detail: Option<Value>,
    /// The call, as its answer named it.
    request_id: Option<String>,
    /// Where the call came from.
    address: Option<String>,
}

/// `GET /management/v1/audit`
pub(super) async fn list(ask: Ask<Nothing, Which>) -> Result<Page<Change>, Problem> {
    let Which { actor, action, target, since_ms, until_ms, cursor, limit } = ask.query;
    let Window { after: before, limit } = window(cursor.as_deref(), limit)?;
    let filter = AuditFilter {
        actor,
        action,
        target,
        since: since_ms.map(Timestamp::from_millis),
        until: until_ms.map(Timestamp::from_millis),
        before,
        limit,
    };
    Ok(Page::shown(ask.caller.management.audit(filter).await?, shown))
}

fn shown(row: AuditRow) -> Change {
    Change {
        seq: row.seq,
        at_ms: row.at.millis(),
        actor: row.actor,
        action: row.action,
        target_kind: row.kind,
        target: row.target,
        detail: row.detail,
        request_id: row.request.map(|request| request.to_string()),
        address: row.address,
    }
}
