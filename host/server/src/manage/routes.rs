//! Model routes that are made while the gateway runs.

use serde_json::{Value, json};
use tollgate_core::id::RouteId;
use tollgate_core::time::Timestamp;

use super::{ManageError, Management};
use crate::clock::now;
use crate::config::Model;

/// A model route as it may be shown.
#[derive(Debug, Clone)]
pub struct RouteRow {
    /// Id.
    pub id: RouteId,
    /// What it says.
    pub model: Model,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Management {
    /// All routes, oldest first.
    ///
    /// # Errors
    /// When the database fails, or holds a route that this version cannot read.
    pub async fn routes(&self) -> Result<Vec<RouteRow>, ManageError> {
        let row = |row: tollgate_store::ModelRoute| {
            let model = serde_json::from_str(&row.definition);
            let unreadable =
                |error| ManageError::unreadable(format!("the model route `{}`", row.name), error);
            let model = model.map_err(unreadable)?;
            Ok(RouteRow { id: row.id, model, created_at: row.created_at, updated_at: row.updated_at })
        };
        self.store.catalogue.list_model_routes().await?.into_iter().map(row).collect()
    }

    /// Adds a route. A running gateway takes it up within a second.
    ///
    /// # Errors
    /// When a route has one of its names.
    pub async fn add_route(&self, model: &Model) -> Result<RouteId, ManageError> {
        self.check_names(model, None).await?;
        let definition = definition(model)?;
        let id = self.store.catalogue.add_model_route(&model.name, &definition.to_string(), now()).await?;
        self.note("model_route.create", id.to_string(), definition).await?;
        Ok(id)
    }

    /// Replaces a route.
    ///
    /// # Errors
    /// Without such a route, or when another has one of the names.
    pub async fn change_route(&self, id: RouteId, model: &Model) -> Result<(), ManageError> {
        self.check_names(model, Some(id)).await?;
        let definition = definition(model)?;
        self.store.catalogue.change_model_route(id, &model.name, &definition.to_string(), now()).await?;
        self.note("model_route.change", id.to_string(), definition).await
    }

    /// Forgets a route.
    ///
    /// # Errors
    /// Without such a route.
    pub async fn remove_route(&self, id: RouteId) -> Result<(), ManageError> {
        self.store.catalogue.remove_model_route(id).await?;
        self.note("model_route.delete", id.to_string(), json!({})).await
    }

    /// Two routes of one name would leave it to chance which is meant.
    async fn check_names(&self, model: &Model, but: Option<RouteId>) -> Result<(), ManageError> {
        let others = self.routes().await?;
        let taken = |name: &str| {
            others.iter().any(|row| Some(row.id) != but && row.model.names().any(|known| known == name))
        };
        match model.names().find(|name| taken(name)) {
            Some(name) => Err(ManageError::Exists { what: "model route", which: Some(name.to_owned()) }),
            None => Ok(()),
        }
    }
}

/// A route as it is stored and noted.
fn definition(model: &Model) -> Result<Value, ManageError> {
    serde_json::to_value(model).map_err(|error| ManageError::unwritable("a model route", error))
}
