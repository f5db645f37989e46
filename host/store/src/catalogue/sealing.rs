//! Another master key for everything that is sealed.

use async_trait::async_trait;

use crate::catalogue::credential::Resealed;
use crate::error::StoreError;
use crate::seal::MasterKey;

/// The master key that everything is sealed with.
#[async_trait]
pub trait Sealing: Send + Sync {
    /// Whether the database is sealed with this key; `None` where nothing is sealed yet.
    ///
    /// # Errors
    /// When the database fails.
    async fn fits(&self, key: &MasterKey) -> Result<Option<bool>, StoreError>;

    /// Whether something in the database is sealed, with whatever key.
    ///
    /// # Errors
    /// When the database fails.
    async fn is_sealed(&self) -> Result<bool, StoreError>;

    /// Notes that the database is sealed with this key, where nothing says so yet.
    ///
    /// # Errors
    /// When the database fails.
    async fn note_key(&self, key: &MasterKey) -> Result<(), StoreError>;

    /// Seals everything with `new` that is sealed with `old`: all of it, or nothing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a server runs, which would go on with the old key, and [`StoreError::Seal`] when
    /// something does not open with `old`.
    async fn reseal(&self, old: &MasterKey, new: &MasterKey) -> Result<Resealed, StoreError>;
}
