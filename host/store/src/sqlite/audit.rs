//! The audit log: who changed what, and by which call. A function that changes something notes it in the transaction of
//! the change, so that there is no change without its row and no row without its change.
//!
//! [`Store::acting`](crate::Store::acting) says once who changes things; a store without an actor (a server's own, a
//! test's) notes nothing.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite, SqliteConnection};
use tollgate_core::id::RequestId;
use tollgate_core::time::Timestamp;

use crate::catalogue::audit::{AuditFilter, AuditLog, AuditRow, Edited, Expected, Note};
use crate::error::StoreError;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::{Row, loaded, readable, stored};

#[async_trait]
impl AuditLog for Database {
    async fn note_done(&self, note: Note<'_>, now: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.pool().acquire().await.doing("writing to the audit log")?;
        self.note(&mut connection, note, now).await
    }

    async fn version(&self, of: &Edited) -> Result<u64, StoreError> {
        let mut connection = self.pool().acquire().await.doing("reading a version")?;
        version(&mut connection, of).await
    }

    async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT seq, at_ms, actor, action, target_kind, target, detail, request, address FROM audit WHERE 1",
        );
        conditions(&mut query, filter);
        query.push(" ORDER BY seq DESC LIMIT ").push_bind(stored(filter.limit as u64));
        let rows = query.build().fetch_all(self.pool()).await.doing("reading the audit log")?;
        Ok(readable("audit row", &rows, audit_row))
    }
}

impl Database {
    /// Notes a change in the transaction that makes it.
    ///
    /// # Errors
    /// When the database fails; then the change must not be committed.
    pub(crate) async fn note(
        &self,
        connection: &mut SqliteConnection,
        note: Note<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(act) = &self.act else { return Ok(()) };
        if let Some(Expected { of, versions }) = &act.expected
            && of.is_changed_by(note.action, &note.target)
        {
            let is = version(connection, of).await?;
            // One act may make several changes.
            if !versions.contains(&is) && (is == 0 || is != act.version()) {
                return Err(StoreError::Stale);
            }
        }
        let noted = sqlx::query(
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
        .execute(&mut *connection)
        .await
        .doing("writing to the audit log")?;
        act.noted.store(loaded(noted.last_insert_rowid()), Ordering::Relaxed);
        Ok(())
    }
}

async fn version(connection: &mut SqliteConnection, of: &Edited) -> Result<u64, StoreError> {
    let target = if of.target.is_some() { "target = ?2" } else { "?2 IS NULL" };
    let query = format!(
        "SELECT seq FROM audit WHERE {target} AND substr(action, 1, length(?1)) = ?1 AND action NOT LIKE '%.check' \
         ORDER BY seq DESC LIMIT 1"
    );
    let seq: Option<i64> = sqlx::query_scalar(AssertSqlSafe(query))
        .bind(of.actions)
        .bind(of.target.as_deref())
        .fetch_optional(connection)
        .await
        .doing("reading a version")?;
    Ok(seq.map_or(0, loaded))
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
