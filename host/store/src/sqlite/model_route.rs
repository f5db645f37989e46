//! Model routes that were made while the gateway ran. Only the server interprets a definition: here it is JSON.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::SqliteConnection;
use tollgate_core::id::RouteId;
use tollgate_core::time::Timestamp;

use crate::catalogue::audit::Note;
use crate::catalogue::model_route::{ModelRoute, ModelRoutes};
use crate::error::StoreError;
use crate::sqlite::error::{Doing, is_duplicate, is_refusal};
use crate::sqlite::open::{Database, random};
use crate::sqlite::row::{Row, fields, readable, stored};

/// A condition follows.
pub(crate) const COLUMNS: &str = "SELECT id, name, definition, created_at, updated_at FROM model_route";

pub(crate) fn model_route(row: &mut Row<'_>) -> Option<ModelRoute> {
    Some(ModelRoute {
        id: RouteId::from_bytes(row.bytes()?),
        name: row.get()?,
        definition: row.get()?,
        created_at: Timestamp::from_millis(row.u64()?),
        updated_at: Timestamp::from_millis(row.u64()?),
    })
}

#[async_trait]
impl ModelRoutes for Database {
    async fn add_model_route(
        &self,
        names: &[&str],
        definition: &str,
        now: Timestamp,
    ) -> Result<RouteId, StoreError> {
        const DOING: &str = "adding a model route";
        let id = RouteId::new(now, random()?);
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let query =
            "INSERT INTO model_route (id, name, definition, created_at, updated_at) VALUES (?, ?, ?, ?, ?)";
        let inserted = sqlx::query(query)
            .bind(id.as_bytes().as_slice())
            .bind(names.first().copied())
            .bind(definition)
            .bind(stored(now.millis()))
            .bind(stored(now.millis()))
            .execute(&mut *tx)
            .await;
        checked(inserted, DOING)?;
        call(&mut tx, id, names).await?;
        self.note(&mut tx, noted("model_route.create", id, told(definition)), now).await?;
        tx.commit().await.doing(DOING)?;
        Ok(id)
    }

    async fn change_model_route(
        &self,
        id: RouteId,
        names: &[&str],
        definition: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "changing a model route";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let query = "UPDATE model_route SET name = ?, definition = ?, updated_at = ? WHERE id = ?";
        let updated = sqlx::query(query)
            .bind(names.first().copied())
            .bind(definition)
            .bind(stored(now.millis()))
            .bind(id.as_bytes().as_slice())
            .execute(&mut *tx)
            .await;
        there(checked(updated, DOING)?)?;
        call(&mut tx, id, names).await?;
        self.note(&mut tx, noted("model_route.change", id, told(definition)), now).await?;
        tx.commit().await.doing(DOING)
    }

    async fn remove_model_route(&self, id: RouteId, now: Timestamp) -> Result<(), StoreError> {
        const DOING: &str = "removing a model route";
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let deleted = sqlx::query("DELETE FROM model_route WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .execute(&mut *tx)
            .await;
        there(checked(deleted, DOING)?)?;
        self.note(&mut tx, noted("model_route.delete", id, json!({})), now).await?;
        tx.commit().await.doing(DOING)
    }

    async fn taken_route_name(
        &self,
        names: &[&str],
        but: Option<RouteId>,
    ) -> Result<Option<String>, StoreError> {
        for name in names {
            let query = "SELECT name FROM model_route_name WHERE name = ? AND route <> ?";
            let taken = sqlx::query_scalar(query)
                .bind(name)
                .bind(but.as_ref().map_or(&[][..], |id| id.as_bytes().as_slice()))
                .fetch_optional(self.pool())
                .await
                .doing("finding a model route")?;
            if taken.is_some() {
                return Ok(taken);
            }
        }
        Ok(None)
    }

    async fn find_model_routes(
        &self,
        after: Option<RouteId>,
        limit: usize,
    ) -> Result<Vec<ModelRoute>, StoreError> {
        let query = "SELECT id, name, definition, created_at, updated_at FROM model_route \
                     WHERE id > ? ORDER BY id LIMIT ?";
        let rows = sqlx::query(query)
            .bind(after.as_ref().map_or(&[][..], |id| id.as_bytes().as_slice()))
            .bind(stored(limit as u64))
            .fetch_all(self.pool())
            .await
            .doing("listing model routes")?;
        Ok(readable("model route", &rows, model_route))
    }

    async fn model_route(&self, id: RouteId) -> Result<ModelRoute, StoreError> {
        let query = "SELECT id, name, definition, created_at, updated_at FROM model_route WHERE id = ?";
        let row = sqlx::query(query).bind(id.as_bytes().as_slice()).fetch_optional(self.pool()).await;
        let row = row.doing("finding a model route")?;
        fields("model route", &row.ok_or(StoreError::NotFound("model route"))?, model_route)
    }
}

/// Gives a route these names, each once, in place of those that it had.
async fn call(connection: &mut SqliteConnection, id: RouteId, names: &[&str]) -> Result<(), StoreError> {
    const DOING: &str = "naming a model route";
    let deleted = sqlx::query("DELETE FROM model_route_name WHERE route = ?")
        .bind(id.as_bytes().as_slice())
        .execute(&mut *connection)
        .await;
    checked(deleted, DOING)?;
    for name in names.iter().collect::<BTreeSet<_>>() {
        let inserted = sqlx::query("INSERT INTO model_route_name (name, route) VALUES (?, ?)")
            .bind(name)
            .bind(id.as_bytes().as_slice())
            .execute(&mut *connection)
            .await;
        checked(inserted, DOING)?;
    }
    Ok(())
}

/// How many rows were written.
fn checked(
    done: Result<sqlx::sqlite::SqliteQueryResult, sqlx::Error>,
    doing: &'static str,
) -> Result<u64, StoreError> {
    match done {
        Err(error) if is_duplicate(&error) => Err(StoreError::Exists("model route")),
        Err(error) if is_refusal(&error) => {
            Err(StoreError::Invalid("a model route has a name and a definition in JSON".to_owned()))
        }
        done => Ok(done.doing(doing)?.rows_affected()),
    }
}

const fn there(rows: u64) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::NotFound("model route")) } else { Ok(()) }
}

fn noted(action: &'static str, route: RouteId, detail: Value) -> Note<'static> {
    Note { action, kind: "model_route", target: route.to_string(), detail }
}

/// A definition as the audit log tells it.
fn told(definition: &str) -> Value {
    serde_json::from_str(definition).unwrap_or(Value::Null)
}
