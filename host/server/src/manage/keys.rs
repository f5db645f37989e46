//! API keys.

use serde_json::{Value, json};
use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::limits::KeyLimits;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::{KeyChange, KeyUse, NewApiKey};

use super::{ManageError, Management};
use crate::auth::keys;
use crate::clock::now;

/// Signs of an API key that stay visible.
const KEY_HINT_SIGNS: usize = 8;

/// An API key as it may be shown.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// Id.
    pub id: ApiKeyId,
    /// The first signs.
    pub hint: String,
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub user: String,
    /// The key's name.
    pub name: String,
    /// Whether it is taken.
    pub enabled: bool,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// What it may do.
    pub limits: KeyLimits,
    /// Whether the bodies of its calls are kept.
    pub keep_bodies: bool,
    /// What was used with it; `None` before the first call.
    pub used: Option<KeyUse>,
}

impl KeyRow {
    /// The limits as programs read them, on the command line and over HTTP.
    pub(crate) fn limits_json(&self) -> Value {
        let rates = self.limits.rates;
        json!({
            "protocols": self.limits.protocols.iter().map(|protocol| protocol.name()).collect::<Vec<_>>(),
            "providers": self.limits.providers,
            "models": self.limits.models,
            "requests_per_minute": rates.requests_per_minute,
            "tokens_per_minute": rates.tokens_per_minute,
            "tokens_per_day": rates.tokens_per_day,
            "concurrency": rates.concurrency,
            "enable_context_management": self.limits.context.enabled,
            "context_window": self.limits.context.window,
        })
    }
}

/// What changes of an API key: `None` for what stays.
#[derive(Debug, Clone, Default)]
pub struct KeyEdit {
    /// A new name.
    pub name: Option<String>,
    /// Whether it is taken.
    pub enabled: Option<bool>,
    /// When it ends; `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
    /// What it may do, as a whole.
    pub limits: Option<KeyLimits>,
}

impl Management {
    /// Makes an API key. Only its hash is stored: what is returned is all there will ever be of it.
    ///
    /// # Errors
    /// Without such a user, when he has as many as he may, or for limits that cannot be meant.
    pub async fn create_key(
        &self,
        user: &str,
        name: &str,
        expires_at: Option<Timestamp>,
        limits: KeyLimits,
    ) -> Result<(ApiKeyId, Secret), ManageError> {
        let user = self.user(user).await?;
        let key = keys::api_key().map_err(|_| ManageError::Randomness)?;
        let hint = key.expose().get(..KEY_HINT_SIGNS).unwrap_or_default();
        let sha256 = keys::digest(&key);
        let keys_max = self.keys_max;
        let new = NewApiKey { user, name, sha256, hint, expires_at, limits, keys_max };
        let id = self.store.catalogue.create_api_key(&new, now()).await?;
        Ok((id, key))
    }

    /// All API keys with what was used of them, by their counters.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, ManageError> {
        let names = self.user_names().await?;
        let used = self.store.catalogue.api_key_use().await?;
        let row = |key: tollgate_store::ApiKey| KeyRow {
            user: names.get(&key.user).cloned().unwrap_or_default(),
            user_id: key.user,
            id: key.id,
            hint: key.hint,
            name: key.name,
            enabled: key.enabled,
            expires_at: key.expires_at,
            limits: key.limits,
            keep_bodies: key.keep_bodies,
            used: used.get(&key.id).copied(),
        };
        Ok(self.store.catalogue.list_api_keys().await?.into_iter().map(row).collect())
    }

    /// An API key's limits.
    ///
    /// # Errors
    /// Without such a key.
    pub async fn key_limits(&self, id: ApiKeyId) -> Result<KeyLimits, ManageError> {
        Ok(self.stored_key(id).await?.limits)
    }

    pub(super) async fn stored_key(&self, id: ApiKeyId) -> Result<tollgate_store::ApiKey, ManageError> {
        let found = self.store.catalogue.list_api_keys().await?.into_iter().find(|key| key.id == id);
        found.ok_or_else(|| ManageError::not_found("API key", id))
    }

    /// Changes an API key.
    ///
    /// # Errors
    /// Without such a key, when it would be one more than its user may have, or for limits that cannot be meant.
    pub async fn change_key(&self, id: ApiKeyId, edit: KeyEdit) -> Result<(), ManageError> {
        let key = self.stored_key(id).await?;
        let change = KeyChange {
            name: edit.name.as_deref().unwrap_or(&key.name),
            enabled: edit.enabled.unwrap_or(key.enabled),
            expires_at: edit.expires_at.unwrap_or(key.expires_at),
            limits: edit.limits.as_ref().unwrap_or(&key.limits),
            keys_max: self.keys_max,
        };
        Ok(self.store.catalogue.change_api_key(id, &change, now()).await?)
    }

    /// Refuses an API key from now on.
    ///
    /// # Errors
    /// Without such a key.
    pub async fn revoke_key(&self, id: ApiKeyId) -> Result<(), ManageError> {
        Ok(self.store.catalogue.revoke_api_key(id, now()).await?)
    }
}
