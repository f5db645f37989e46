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
    /// Adds a route; the first of its names is the one that it is shown by.
    ///
    /// # Errors
    /// [`StoreError::Exists`] where one has one of these names, [`StoreError::Invalid`] for an empty name or a
    /// definition that is not JSON.
    async fn add_model_route(
        &self,
        names: &[&str],
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
        names: &[&str],
        definition: &str,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Deletes a route.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn remove_model_route(&self, id: RouteId, now: Timestamp) -> Result<(), StoreError>;

    /// One of these names that a route has, other than `but`.
    ///
    /// # Errors
    /// When the database fails.
    async fn taken_route_name(
        &self,
        names: &[&str],
        but: Option<RouteId>,
    ) -> Result<Option<String>, StoreError>;

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
