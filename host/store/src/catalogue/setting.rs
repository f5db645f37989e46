//! Settings that management keeps: text by name.

use async_trait::async_trait;
use tollgate_core::secret::Secret;

use crate::error::StoreError;
use crate::seal::MasterKey;

/// Settings: text by name.
#[async_trait]
pub trait Settings: Send + Sync {
    /// The value of a setting.
    ///
    /// # Errors
    /// When the database fails.
    async fn setting(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Sets a setting.
    ///
    /// # Errors
    /// When the database fails.
    async fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError>;

    /// A secret that is kept sealed: the stored one, or else `made`, which is then stored.
    ///
    /// # Errors
    /// When the database fails, or another master key sealed the stored one.
    async fn secret_setting(
        &self,
        master: &MasterKey,
        name: &str,
        made: &Secret,
    ) -> Result<Secret, StoreError>;
}
