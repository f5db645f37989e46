//! API keys, by which users are known.

use std::collections::HashMap;

use async_trait::async_trait;
use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::limits::KeyLimits;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::entry::Digest;
use crate::error::StoreError;

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
    /// What it may do.
    pub limits: KeyLimits,
    /// Whether the bodies of its calls are kept, as an operator decides.
    pub keep_bodies: bool,
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
    /// What it may do.
    pub limits: KeyLimits,
    /// How many keys its user may have that work.
    pub keys_max: u32,
}

/// What a key's user may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange<'a> {
    /// What its user calls it.
    pub name: &'a str,
    /// Whether it works.
    pub enabled: bool,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// What it may do.
    pub limits: &'a KeyLimits,
    /// How many keys its user may have that work.
    pub keys_max: u32,
}

/// What was used with a key since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyUse {
    /// When the last call came.
    pub last_used: Timestamp,
    /// Calls, refused ones too.
    pub requests: u64,
    /// Tokens of billed calls, prompt and output together.
    pub tokens: u64,
    /// What they cost.
    pub charge: Micropoints,
}

/// Which API keys; the default is none, because nobody wants all of them at once.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Only those in whose name, first characters or user's name this stands, in any case.
    pub search: String,
    /// In which order.
    pub order: KeyOrder,
    /// Younger than this one: where the page before ended. Of keys in another order than by age, it has no meaning.
    pub after: Option<ApiKeyId>,
    /// Keys that are passed over, in another order than by age.
    pub offset: usize,
    /// At most this many.
    pub limit: usize,
}

/// The order of a list of API keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyOrder {
    /// Oldest first.
    #[default]
    Age,
    /// By name.
    Name,
    /// The one that was used last first.
    LastUse,
    /// The one with most requests first.
    Requests,
    /// The one that cost most first.
    Charge,
}

/// API keys.
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Stores a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a user, [`StoreError::Exists`] for a key that is stored already,
    /// [`StoreError::TooMany`] when the user has as many as are allowed, [`StoreError::Invalid`] for limits that make
    /// no sense.
    async fn create_api_key(&self, key: &NewApiKey<'_>, now: Timestamp) -> Result<ApiKeyId, StoreError>;

    /// Changes what its user may change of a key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::TooMany`] when it would work again beside as many as are allowed, and
    /// [`StoreError::Invalid`] for limits that make no sense.
    async fn change_api_key(
        &self,
        key: ApiKeyId,
        change: &KeyChange<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Sets whether the bodies of a key's calls are kept from now on. Those already kept stay until their time is over.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn set_keep_bodies(&self, key: ApiKeyId, keep: bool, now: Timestamp) -> Result<(), StoreError>;

    /// The key of this id, revoked or not.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn api_key(&self, id: ApiKeyId) -> Result<ApiKey, StoreError>;

    /// A page of keys, revoked ones too, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    async fn find_api_keys(&self, filter: &KeyFilter) -> Result<Vec<ApiKey>, StoreError>;

    /// The names of these keys, of those that were revoked too.
    ///
    /// # Errors
    /// When the database fails.
    async fn api_key_names(&self, keys: &[ApiKeyId]) -> Result<HashMap<ApiKeyId, String>, StoreError>;

    /// What was used with these keys, by their counters. The last quarter of a second of a running server may be
    /// missing.
    ///
    /// # Errors
    /// When the database fails.
    async fn api_key_use_of(&self, keys: &[ApiKeyId]) -> Result<HashMap<ApiKeyId, KeyUse>, StoreError>;

    /// Stops a key from working. Its row stays, for the records that name it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn revoke_api_key(&self, key: ApiKeyId, now: Timestamp) -> Result<(), StoreError>;
}
