//! Settings that management keeps in the database: text by name.

use tollgate_core::secret::Secret;

use crate::error::StoreError;
use crate::seal::MasterKey;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Store;

impl Store {
    /// The value of a setting.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT value FROM setting WHERE name = ?")
            .bind(name)
            .fetch_optional(self.pool())
            .await
            .doing("reading a setting")
    }

    /// Sets a setting.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(self.pool())
        .await
        .doing("writing a setting")?;
        Ok(())
    }

    /// A secret that is kept sealed: the one that is there, or else `made`, which is kept from now on.
    ///
    /// # Errors
    /// When the database fails, or another master key sealed what is there.
    pub async fn secret_setting(
        &self,
        master: &MasterKey,
        name: &str,
        made: &Secret,
    ) -> Result<Secret, StoreError> {
        sqlx::query("INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(master.seal_setting(name, made)?)
            .execute(self.pool())
            .await
            .doing("writing a setting")?;
        let sealed = self.setting(name).await?.ok_or(StoreError::NotFound("setting"))?;
        Ok(master.open_setting(name, &sealed)?)
    }
}
