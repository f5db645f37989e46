//! Model routes that are made while the gateway runs.

use serde_json::Value;
use tollgate_core::id::RouteId;
use tollgate_core::time::Timestamp;
use tollgate_store::ModelRoute;

use super::error::Which;
use super::words::all_seen;
use super::{ManageError, Management, Page, Window};
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
    /// A route.
    ///
    /// # Errors
    /// Without such a route, and for one that this version cannot read.
    pub async fn route(&self, id: RouteId) -> Result<RouteRow, ManageError> {
        read(&self.store.catalogue.model_route(id).await.which(id)?)
    }

    /// Routes, oldest first.
    ///
    /// # Errors
    /// When the database fails, or holds a route that this version cannot read.
    pub async fn routes(&self, window: Window<RouteId>) -> Result<Page<RouteRow, RouteId>, ManageError> {
        let rows = self.store.catalogue.find_model_routes(window.after, window.limit_and_one()).await?;
        let Page { rows, next } = Page::new(rows, window.limit, |row| row.id);
        Ok(Page { rows: rows.iter().map(read).collect::<Result<_, _>>()?, next })
    }

    /// Adds a route. A running gateway takes it up within a second.
    ///
    /// # Errors
    /// When a route has one of its names.
    pub async fn add_route(&self, model: &Model) -> Result<RouteId, ManageError> {
        named(model)?;
        self.check_names(model, None).await?;
        let definition = definition(model)?;
        let names: Vec<&str> = model.names().collect();
        let id = self.store.catalogue.add_model_route(&names, &definition.to_string(), now()).await;
        id.which(&model.name)
    }

    /// Replaces a route.
    ///
    /// # Errors
    /// Without such a route, or when another has one of the names.
    pub async fn change_route(&self, id: RouteId, model: &Model) -> Result<(), ManageError> {
        named(model)?;
        self.check_names(model, Some(id)).await?;
        let definition = definition(model)?;
        let names: Vec<&str> = model.names().collect();
        self.store.catalogue.change_model_route(id, &names, &definition.to_string(), now()).await.which(id)
    }

    /// Deletes a route.
    ///
    /// # Errors
    /// Without such a route.
    pub async fn remove_route(&self, id: RouteId) -> Result<(), ManageError> {
        self.store.catalogue.remove_model_route(id, now()).await.which(id)
    }

    /// Two routes of one name would leave it to chance which is meant.
    async fn check_names(&self, model: &Model, but: Option<RouteId>) -> Result<(), ManageError> {
        let names: Vec<&str> = model.names().collect();
        match self.store.catalogue.taken_route_name(&names, but).await? {
            Some(name) => Err(ManageError::Exists { what: "model route", which: Some(name) }),
            None => Ok(()),
        }
    }
}

fn read(row: &ModelRoute) -> Result<RouteRow, ManageError> {
    let unreadable = |error| ManageError::unreadable(format!("the model route `{}`", row.name), error);
    let model = serde_json::from_str(&row.definition).map_err(unreadable)?;
    Ok(RouteRow { id: row.id, model, created_at: row.created_at, updated_at: row.updated_at })
}

/// A route as it is stored and noted.
fn definition(model: &Model) -> Result<Value, ManageError> {
    serde_json::to_value(model).map_err(|error| ManageError::unwritable("a model route", error))
}

/// Refuses a route that names something which nobody could see.
fn named(model: &Model) -> Result<(), ManageError> {
    let texts = |list: &[String]| list.to_vec();
    let Model { name, aliases, targets, fallbacks } = model;
    let mut names = [vec![name.clone()], texts(aliases), texts(fallbacks)].concat();
    for target in targets {
        names.push(target.provider.clone());
        names.extend(target.model.clone());
        names.extend(target.credentials.iter().cloned());
    }
    all_seen("name", names.iter().map(String::as_str))
}
