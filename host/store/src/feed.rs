//! What a server follows: everything at its start, and then each change.

use std::collections::HashMap;

use std::fmt::Debug;

use async_trait::async_trait;
use tollgate_core::id::{ApiKeyId, CredentialId};
use tollgate_core::time::Timestamp;

use crate::catalogue::snapshot::Snapshot;
use crate::error::StoreError;
use crate::ledger::booking::Credit;

/// What a server follows: everything at its start, and then each change.
#[async_trait]
pub trait Feed: Debug + Send + Sync {
    /// Tokens that each key has used since midnight UTC. A server asks at its start, to go on counting.
    ///
    /// # Errors
    /// When the database fails.
    async fn api_key_tokens_today(&self, now: Timestamp) -> Result<HashMap<ApiKeyId, u64>, StoreError>;

    /// Tokens that credentials have served since midnight UTC. A server asks at its start, to go on counting.
    ///
    /// # Errors
    /// When the database fails.
    async fn credential_tokens_today(&self, now: Timestamp)
    -> Result<HashMap<CredentialId, u64>, StoreError>;

    /// How often others have used each lent credential since midnight UTC. A server asks at its start, to go on counting.
    ///
    /// # Errors
    /// When the database fails.
    async fn lent_today(&self, now: Timestamp) -> Result<HashMap<CredentialId, u64>, StoreError>;

    /// What management moved on users' accounts after transfer `seq`, in order. A server calls it when
    /// [`Feed::revision`] has changed, with the last `seq` that it applied, first that of its [`crate::Snapshot`].
    ///
    /// # Errors
    /// When the database fails.
    async fn transfers_since(&self, seq: i64) -> Result<Vec<Credit>, StoreError>;

    /// A number that changes with every change of users, keys, credentials, prices, settings and grants. A server polls it.
    ///
    /// # Errors
    /// When the database fails.
    async fn revision(&self) -> Result<i64, StoreError>;

    /// Reads everything, prices as of `now`. A server calls it at its start, after [`crate::Ledger`]'s sweep, and when the revision changes.
    ///
    /// # Errors
    /// When the database fails or holds a damaged row.
    async fn load(&self, now: Timestamp) -> Result<Snapshot, StoreError>;
}
