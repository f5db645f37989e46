//! Model routes that were made while the gateway ran. Only the server interprets a definition: here it is JSON.

use async_trait::async_trait;
use tollgate_core::id::RouteId;
use tollgate_core::time::Timestamp;

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
        name: &str,
        definition: &str,
        now: Timestamp,
    ) -> Result<RouteId, StoreError> {
        let id = RouteId::new(now, random()?);
        let query =
            "INSERT INTO model_route (id, name, definition, created_at, updated_at) VALUES (?, ?, ?, ?, ?)";
        let inserted = sqlx::query(query)
            .bind(id.as_bytes().as_slice())
            .bind(name)
            .bind(definition)
            .bind(stored(now.millis()))
            .bind(stored(now.millis()))
            .execute(self.pool())
            .await;
        checked(inserted, "adding a model route").map(|_| id)
    }

    async fn change_model_route(
        &self,
        id: RouteId,
        name: &str,
        definition: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let query = "UPDATE model_route SET name = ?, definition = ?, updated_at = ? WHERE id = ?";
        let updated = sqlx::query(query)
            .bind(name)
            .bind(definition)
            .bind(stored(now.millis()))
            .bind(id.as_bytes().as_slice())
            .execute(self.pool())
            .await;
        there(checked(updated, "changing a model route")?)
    }

    async fn remove_model_route(&self, id: RouteId) -> Result<(), StoreError> {
        let deleted = sqlx::query("DELETE FROM model_route WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .execute(self.pool())
            .await;
        there(checked(deleted, "removing a model route")?)
    }

    async fn list_model_routes(&self) -> Result<Vec<ModelRoute>, StoreError> {
        self.find_model_routes(None, usize::MAX).await
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
