//! Bodies of calls that are kept.

use async_trait::async_trait;
use tollgate_core::id::{ApiKeyId, RequestId};
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;

use crate::error::StoreError;
use crate::seal::MasterKey;

/// One half of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What is kept of it, redacted.
    pub text: Secret,
    /// How many bytes it had.
    pub bytes: u64,
    /// Whether less than that is kept.
    pub cut: bool,
}

/// What was asked and answered in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bodies {
    /// The call.
    pub request: RequestId,
    /// The key that it was called with.
    pub api_key: ApiKeyId,
    /// What the client sent.
    pub asked: Body,
    /// What the client got.
    pub answered: Body,
}

/// Bodies of calls that are kept.
#[async_trait]
pub trait KeptBodies: Send + Sync {
    /// Keeps what was asked and answered. A second time for the same request changes nothing.
    ///
    /// # Errors
    /// When the database fails, or the system gives no nonce.
    async fn keep_bodies(&self, master: &MasterKey, bodies: &Bodies) -> Result<(), StoreError>;

    /// What was asked and answered in a call. The caller must note who reads it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] where nothing is kept (any more), [`StoreError::Seal`] when another master key sealed
    /// it.
    async fn bodies(&self, master: &MasterKey, request: RequestId) -> Result<Bodies, StoreError>;

    /// Removes bodies of calls that arrived before `before`, oldest first, at most `limit`. Returns how many went.
    ///
    /// # Errors
    /// When the database fails.
    async fn remove_bodies(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
