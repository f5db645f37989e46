//! Model routes that are made while the gateway runs.

use async_trait::async_trait;
use tollgate_core::id::RouteId;
use tollgate_core::time::Timestamp;

use crate::error::StoreError;

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRoute {
    /// Its id.
    pub id: RouteId,
    /// What clients call the model; may have stars.
    pub name: String,
    /// Where it leads, in JSON.
    pub definition: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Model routes that are made while the gateway runs.
#[async_trait]
pub trait ModelRoutes: Send + Sync {
    /// Adds a route.
    ///
    /// # Errors
    /// [`StoreError::Exists`] where one has this name, [`StoreError::Invalid`] for an empty name or a definition that
    /// is not JSON.
    async fn add_model_route(
        &self,
        name: &str,
        definition: &str,
        now: Timestamp,
    ) -> Result<RouteId, StoreError>;

    /// Replaces what a route is called and where it leads.
    ///
    /// # Errors
    /// As [`ModelRoutes::add_model_route`], and [`StoreError::NotFound`].
    async fn change_model_route(
        &self,
        id: RouteId,
        name: &str,
        definition: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Deletes a route.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn remove_model_route(&self, id: RouteId) -> Result<(), StoreError>;

    /// All routes, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    async fn list_model_routes(&self) -> Result<Vec<ModelRoute>, StoreError>;

    /// Routes after `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    async fn find_model_routes(
        &self,
        after: Option<RouteId>,
        limit: usize,
    ) -> Result<Vec<ModelRoute>, StoreError>;

    /// The route of this id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a route.
    async fn model_route(&self, id: RouteId) -> Result<ModelRoute, StoreError>;
}
