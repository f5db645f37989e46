//! Settings that management keeps in the database: text by name.

use async_trait::async_trait;
use tollgate_core::secret::Secret;

use crate::catalogue::setting::Settings;
use crate::error::StoreError;
use crate::seal::MasterKey;
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;

#[async_trait]
impl Settings for Database {
    async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT value FROM setting WHERE name = ?")
            .bind(name)
            .fetch_optional(self.pool())
            .await
            .doing("reading a setting")
    }

    async fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
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

    async fn secret_setting(
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
