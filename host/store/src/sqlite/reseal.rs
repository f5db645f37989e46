//! Another master key for everything that is sealed, in one transaction: credentials, the gateway's own secrets, bodies
//! that are kept, and answers that are kept for calls that may come again.
//!
//! The database knows which key it is sealed with: a setting holds a word that only this key opens. It changes in the
//! same transaction, so a later start can tell which of two keys is the right one, whenever the change was interrupted.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use tollgate_core::secret::Secret;

use crate::catalogue::credential::Resealed;
use crate::catalogue::sealing::Sealing;
use crate::catalogue::setting::Settings;
use crate::error::StoreError;
use crate::seal::{MasterKey, SealContext};
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::row::fields;
use crate::sqlite::{body, credential, idempotency};

/// The setting that only the right key opens.
const KEY_CHECK: &str = "master_key_check";
const WORD: &str = "sealed";
const DOING: &str = "resealing";
const KNOWING: &str = "finding what is sealed";

#[async_trait]
impl Sealing for Database {
    async fn fits(&self, key: &MasterKey) -> Result<Option<bool>, StoreError> {
        if let Some(sealed) = self.setting(KEY_CHECK).await? {
            return Ok(Some(key.open_setting(KEY_CHECK, &sealed).is_ok()));
        }
        // Early databases hold no such word, and credentials all the same.
        let query = [credential::COLUMNS, " LIMIT 1"].concat();
        let row = sqlx::query(AssertSqlSafe(query)).fetch_optional(self.pool()).await.doing(KNOWING)?;
        let known = row.map(|row| fields("credential", &row, credential::credential)).transpose()?;
        Ok(known.map(|known| known.open(key).is_ok()))
    }

    async fn is_sealed(&self) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM setting WHERE name = ?) OR EXISTS (SELECT 1 FROM credential)",
        )
        .bind(KEY_CHECK)
        .fetch_one(self.pool())
        .await
        .doing(KNOWING)
    }

    async fn note_key(&self, key: &MasterKey) -> Result<(), StoreError> {
        self.secret_setting(key, KEY_CHECK, &Secret::new(WORD.to_owned())).await?;
        Ok(())
    }

    async fn reseal(&self, old: &MasterKey, new: &MasterKey) -> Result<Resealed, StoreError> {
        self.lock().await?;
        let mut resealed = Resealed::default();
        let mut tx = self.pool().begin_with("BEGIN IMMEDIATE").await.doing(DOING)?;
        let rows = sqlx::query(credential::COLUMNS).fetch_all(&mut *tx).await.doing(DOING)?;
        for row in &rows {
            let known = fields("credential", row, credential::credential)?;
            let place = SealContext { id: known.id, owner: known.owner, provider: &known.provider };
            let sealed = new.seal(&place, &known.open(old)?)?;
            sqlx::query("UPDATE credential SET nonce = ?, sealed = ? WHERE id = ?")
                .bind(sealed.nonce.as_slice())
                .bind(sealed.bytes)
                .bind(known.id.as_bytes().as_slice())
                .execute(&mut *tx)
                .await
                .doing(DOING)?;
            resealed.credentials += 1;
        }
        let settings: Vec<(String, String)> =
            sqlx::query_as("SELECT name, value FROM setting").fetch_all(&mut *tx).await.doing(DOING)?;
        for (name, value) in settings {
            // A value that opens is a sealed one: no other text carries this key's tag.
            let Ok(secret) = old.open_setting(&name, &value) else { continue };
            sqlx::query("UPDATE setting SET value = ? WHERE name = ?")
                .bind(new.seal_setting(&name, &secret)?)
                .bind(name)
                .execute(&mut *tx)
                .await
                .doing(DOING)?;
            resealed.settings += 1;
        }
        let answers: Vec<(String, String, String)> =
            sqlx::query_as("SELECT actor, key, answer FROM idempotency WHERE answer IS NOT NULL")
                .fetch_all(&mut *tx)
                .await
                .doing(DOING)?;
        for (actor, key, answer) in answers {
            let place = idempotency::place_of(&actor, &key);
            // An answer that an even older key sealed cannot be read now either.
            let Ok(answer) = old.open_setting(&place, &answer) else { continue };
            sqlx::query("UPDATE idempotency SET answer = ? WHERE actor = ? AND key = ?")
                .bind(new.seal_setting(&place, &answer)?)
                .bind(actor)
                .bind(key)
                .execute(&mut *tx)
                .await
                .doing(DOING)?;
        }
        resealed.bodies = body::reseal(&mut tx, old, new).await?;
        tx.commit().await.doing(DOING)?;
        Ok(resealed)
    }
}
