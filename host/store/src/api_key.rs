//! API keys: stored as SHA-256 only. They are random, so no slow hash is called for.

use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::time::Timestamp;

use crate::entry::Digest;
use crate::error::{Doing, StoreError, is_duplicate, is_refusal};
use crate::open::{Store, random};
use crate::row::{Row, fields};
use crate::sql::{loaded, stored};

/// A key that Tollgate issued, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Who calls with it.
    pub user: UserId,
    /// What its user calls it.
    pub name: String,
    /// SHA-256 of the whole key.
    pub sha256: Digest,
    /// Its first characters, to tell keys apart.
    pub hint: String,
    /// False once it is revoked.
    pub enabled: bool,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// A key to be stored.
#[derive(Debug, Clone)]
pub struct NewApiKey<'a> {
    /// Who calls with it.
    pub user: UserId,
    /// What its user calls it.
    pub name: &'a str,
    /// SHA-256 of the whole key.
    pub sha256: Digest,
    /// Its first characters.
    pub hint: &'a str,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

pub(crate) const SELECT: &str =
    "SELECT id, user_id, name, sha256, hint, enabled, created_at, expires_at FROM api_key ORDER BY id";

pub(crate) fn api_key(row: &mut Row<'_>) -> Option<ApiKey> {
    Some(ApiKey {
        id: ApiKeyId::from_bytes(row.bytes()?),
        user: UserId::from_bytes(row.bytes()?),
        name: row.get()?,
        sha256: row.bytes()?,
        hint: row.get()?,
        enabled: row.get()?,
        created_at: Timestamp::from_millis(row.u64()?),
        expires_at: row.get::<Option<i64>>()?.map(|at| Timestamp::from_millis(loaded(at))),
    })
}

impl Store {
    /// Stores a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a user, [`StoreError::Exists`] for a key that is stored already.
    pub async fn create_api_key(&self, key: &NewApiKey<'_>, now: Timestamp) -> Result<ApiKeyId, StoreError> {
        let id = ApiKeyId::new(now, random()?);
        let inserted = sqlx::query(
            "INSERT INTO api_key (id, user_id, name, sha256, hint, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.as_bytes().as_slice())
        .bind(key.user.as_bytes().as_slice())
        .bind(key.name)
        .bind(key.sha256.as_slice())
        .bind(key.hint)
        .bind(stored(now.millis()))
        .bind(key.expires_at.map(|at| stored(at.millis())))
        .execute(self.pool())
        .await;
        match inserted {
            Ok(_) => Ok(id),
            Err(error) if is_duplicate(&error) => Err(StoreError::Exists("API key")),
            Err(error) if is_refusal(&error) => Err(StoreError::NotFound("user")),
            Err(error) => Err(error).doing("creating an API key"),
        }
    }

    /// All keys, revoked ones too, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let rows = sqlx::query(SELECT).fetch_all(self.pool()).await.doing("listing API keys")?;
        rows.iter().map(|row| fields("API key", row, api_key)).collect()
    }

    /// Stops a key from working. Its row stays, for the records that name it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn revoke_api_key(&self, key: ApiKeyId) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE api_key SET enabled = 0 WHERE id = ?")
            .bind(key.as_bytes().as_slice())
            .execute(self.pool())
            .await
            .doing("revoking an API key")?;
        if done.rows_affected() == 0 { Err(StoreError::NotFound("API key")) } else { Ok(()) }
    }
}
