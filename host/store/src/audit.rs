//! The audit log: who changed what, and by which call. A function that changes something notes it in the transaction of the
//! change, so that there is no change without its row and no row without its change.
//!
//! Who changes things is said once, by [`Store::acting`]; a store that nobody acts through (a server's own, a test's) notes
//! nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use tollgate_core::id::RequestId;
use tollgate_core::time::Timestamp;

use crate::error::{Doing, StoreError};
use crate::open::Store;
use crate::row::{Row, fields};
use crate::sql::{loaded, stored};

/// Someone who changes things, by one command or call.
#[derive(Debug)]
pub struct Act {
    /// A user's id, `operator` or `cli`.
    pub actor: String,
    /// The call over HTTP.
    pub request: Option<RequestId>,
    /// Where it came from.
    pub address: Option<IpAddr>,
    noted: AtomicBool,
}

impl Act {
    /// An act of `actor`: a user's id, `operator` or `cli`.
    #[must_use]
    pub fn new(actor: impl Into<String>, request: Option<RequestId>, address: Option<IpAddr>) -> Arc<Self> {
        Arc::new(Self { actor: actor.into(), request, address, noted: AtomicBool::new(false) })
    }

    /// Whether a change of this act has been noted.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.noted.load(Ordering::Relaxed)
    }
}

/// What was changed.
#[derive(Debug, Clone)]
pub struct Note<'a> {
    /// What was done, such as `key.create`.
    pub action: &'a str,
    /// The kind of thing, such as `key`.
    pub kind: &'a str,
    /// Its id or name.
    pub target: String,
    /// What else is to know; never a secret. [`Value::Null`] for nothing.
    pub detail: Value,
}

/// One row of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place in the log; only grows.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// A user's id, `operator` or `cli`.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// The kind of thing that it was done to.
    pub kind: String,
    /// Its id or name.
    pub target: String,
    /// What else is to know.
    pub detail: Option<Value>,
    /// The call over HTTP.
    pub request: Option<RequestId>,
    /// Where it came from.
    pub address: Option<String>,
}

/// Which rows of the audit log; the default is all of them.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// A user's id, `operator` or `cli`.
    pub actor: Option<String>,
    /// What was done; `key.*` is everything done to keys.
    pub action: Option<String>,
    /// The id or name of what it was done to.
    pub target: Option<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Older than this row.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl Store {
    /// The same store for someone: what is changed through it is put down to him.
    #[must_use]
    pub fn acting(&self, act: Arc<Act>) -> Self {
        let mut store = self.clone();
        store.act = Some(act);
        store
    }

    /// Notes a change in the transaction that makes it.
    ///
    /// # Errors
    /// When the database fails; the change must not be committed then.
    pub(crate) async fn note(
        &self,
        connection: &mut SqliteConnection,
        note: Note<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(act) = &self.act else { return Ok(()) };
        sqlx::query(
            "INSERT INTO audit (at_ms, actor, action, target_kind, target, detail, request, address) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(stored(now.millis()))
        .bind(&act.actor)
        .bind(note.action)
        .bind(note.kind)
        .bind(note.target)
        .bind(Some(note.detail).filter(|detail| !detail.is_null()).map(|detail| detail.to_string()))
        .bind(act.request.as_ref().map(|request| request.as_bytes().as_slice()))
        .bind(act.address.map(|address| address.to_string()))
        .execute(connection)
        .await
        .doing("writing to the audit log")?;
        act.noted.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Notes what has been done outside of a transaction, such as a reload.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_done(&self, note: Note<'_>, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.pool().acquire().await.doing("writing to the audit log")?;
        self.note(&mut connection, note, now).await
    }

    /// Rows of the audit log, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT seq, at_ms, actor, action, target_kind, target, detail, request, address FROM audit WHERE 1",
        );
        conditions(&mut query, filter);
        query.push(" ORDER BY seq DESC LIMIT ").push_bind(stored(filter.limit as u64));
        let rows = query.build().fetch_all(self.pool()).await.doing("reading the audit log")?;
        rows.iter().map(|row| fields("audit row", row, audit_row)).collect()
    }
}

fn conditions(query: &mut QueryBuilder<Sqlite>, filter: &AuditFilter) {
    if let Some(actor) = &filter.actor {
        query.push(" AND actor = ").push_bind(actor.clone());
    }
    match filter.action.as_deref().map(|action| (action, action.strip_suffix(".*"))) {
        Some((_, Some(kind))) => {
            query.push(" AND target_kind = ").push_bind(kind.to_owned());
        }
        Some((action, None)) => {
            query.push(" AND action = ").push_bind(action.to_owned());
        }
        None => {}
    }
    if let Some(target) = &filter.target {
        query.push(" AND target = ").push_bind(target.clone());
    }
    let numbers = [
        (" AND at_ms >= ", filter.since.map(Timestamp::millis)),
        (" AND at_ms < ", filter.until.map(Timestamp::millis)),
        (" AND seq < ", filter.before),
    ];
    for (condition, number) in numbers {
        if let Some(number) = number {
            query.push(condition).push_bind(stored(number));
        }
    }
}

fn audit_row(row: &mut Row<'_>) -> Option<AuditRow> {
    Some(AuditRow {
        seq: row.get().map(loaded)?,
        at: Timestamp::from_millis(row.u64()?),
        actor: row.get()?,
        action: row.get()?,
        kind: row.get()?,
        target: row.get()?,
        detail: match row.get::<Option<&str>>()? {
            Some(text) => Some(serde_json::from_str(text).ok()?),
            None => None,
        },
        request: row.bytes_or_null()?.map(RequestId::from_bytes),
        address: row.get()?,
    })
}
