//! Model routes that are made while the gateway runs.

use tollgate_core::id::RouteId;
use tollgate_core::time::Timestamp;

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
