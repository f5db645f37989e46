//! API keys: what users call with.

use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::limits::KeyLimits;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::{ApiKey, KeyChange, KeyFilter, NewApiKey};

use super::error::Which;
use super::words::seen;
use super::{ManageError, Management, Page, Window};
use crate::auth::keys;
use crate::clock::now;

pub use tollgate_store::{KeyOrder, KeyUse};

/// Characters of an API key that stay visible.
const KEY_HINT_LENGTH: usize = 8;

/// An API key as it may be shown.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// Id.
    pub id: ApiKeyId,
    /// The first characters.
    pub hint: String,
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub user: String,
    /// The key's name.
    pub name: String,
    /// Whether it is accepted.
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

/// Changes to an API key; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct KeyEdit {
    /// A new name.
    pub name: Option<String>,
    /// Whether it is accepted.
    pub enabled: Option<bool>,
    /// When it ends; `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
    /// What it may do, as a whole.
    pub limits: Option<KeyLimits>,
}

impl Management {
    /// Makes an API key for a user, who is named by name or id. Only its hash is stored: the key is only in the answer.
    ///
    /// # Errors
    /// Without such a user, when they have as many as they may, or for invalid limits.
    pub async fn create_key(
        &self,
        user: &str,
        name: &str,
        expires_at: Option<Timestamp>,
        limits: KeyLimits,
    ) -> Result<(ApiKeyId, Secret), ManageError> {
        seen("name", name)?;
        let user = self.find_user(user).await?;
        let key = keys::api_key().map_err(|_| ManageError::Randomness)?;
        let hint = key.expose().get(..KEY_HINT_LENGTH).unwrap_or_default();
        let (sha256, keys_max) = (keys::digest(&key), self.keys_max);
        let new = NewApiKey { user, name, sha256, hint, expires_at, limits, keys_max };
        let id = self.store.catalogue.create_api_key(&new, now()).await?;
        Ok((id, key))
    }

    /// An API key with what was used of it.
    ///
    /// # Errors
    /// Without such a key.
    pub async fn key(&self, id: ApiKeyId) -> Result<KeyRow, ManageError> {
        let key = self.store.catalogue.api_key(id).await.which(id)?;
        let row = self.key_rows(vec![key]).await?.pop();
        row.ok_or_else(|| ManageError::not_found("API key", id))
    }

    /// API keys of one user, or of all, with what was used of them: oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(
        &self,
        of: Option<UserId>,
        window: Window<ApiKeyId>,
    ) -> Result<Page<KeyRow, ApiKeyId>, ManageError> {
        self.keys_found(of, "", window).await
    }

    /// The same of keys in another order; a page begins after so many of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys_by(
        &self,
        (user, search): (Option<UserId>, &str),
        order: KeyOrder,
        window: Window<usize>,
    ) -> Result<Page<KeyRow, usize>, ManageError> {
        let offset = window.after.unwrap_or_default();
        let (search, limit) = (search.to_owned(), window.limit_and_one());
        let filter = KeyFilter { user, search, order, after: None, offset, limit };
        let keys = self.store.catalogue.find_api_keys(&filter).await?;
        let Page { rows, next } = Page::new(keys, window.limit, |_| offset.saturating_add(window.limit));
        Ok(Page { rows: self.key_rows(rows).await?, next })
    }

    /// The same of those in whose names, or their user's, `search` stands.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys_found(
        &self,
        user: Option<UserId>,
        search: &str,
        window: Window<ApiKeyId>,
    ) -> Result<Page<KeyRow, ApiKeyId>, ManageError> {
        let (search, limit) = (search.to_owned(), window.limit_and_one());
        let filter = KeyFilter { user, search, after: window.after, limit, ..KeyFilter::default() };
        let keys = self.store.catalogue.find_api_keys(&filter).await?;
        let Page { rows, next } = Page::new(keys, window.limit, |key| key.id);
        Ok(Page { rows: self.key_rows(rows).await?, next })
    }

    /// Keys with their users' names and with what was used of them, by their counters.
    async fn key_rows(&self, keys: Vec<ApiKey>) -> Result<Vec<KeyRow>, ManageError> {
        let names = self.user_names(keys.iter().map(|key| key.user)).await?;
        let ids: Vec<ApiKeyId> = keys.iter().map(|key| key.id).collect();
        let used = self.store.catalogue.api_key_use_of(&ids).await?;
        let row = |key: ApiKey| KeyRow {
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
        Ok(keys.into_iter().map(row).collect())
    }

    /// Changes an API key.
    ///
    /// # Errors
    /// Without such a key, when it would be one more than its user may have, or for invalid limits.
    pub async fn change_key(&self, id: ApiKeyId, edit: KeyEdit) -> Result<(), ManageError> {
        seen("name", edit.name.as_deref().unwrap_or_default())?;
        let key = self.store.catalogue.api_key(id).await.which(id)?;
        let change = KeyChange {
            name: edit.name.as_deref().unwrap_or(&key.name),
            enabled: edit.enabled.unwrap_or(key.enabled),
            expires_at: edit.expires_at.unwrap_or(key.expires_at),
            limits: edit.limits.as_ref().unwrap_or(&key.limits),
            keys_max: self.keys_max,
        };
        self.store.catalogue.change_api_key(id, &change, now()).await.which(id)
    }

    /// Sets whether the bodies of a key's calls are kept from now on.
    ///
    /// # Errors
    /// Without such a key.
    pub async fn keep_bodies(&self, id: ApiKeyId, keep: bool) -> Result<(), ManageError> {
        self.store.catalogue.set_keep_bodies(id, keep, now()).await.which(id)
    }

    /// Refuses an API key from now on.
    ///
    /// # Errors
    /// Without such a key.
    pub async fn revoke_key(&self, id: ApiKeyId) -> Result<(), ManageError> {
        self.store.catalogue.revoke_api_key(id, now()).await.which(id)
    }
}
