//! Credentials: provider keys, sealed, and the state that they are in.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::{Value, json};
use tollgate_core::failure::FailureClass;
use tollgate_core::health::Condition;
use tollgate_core::id::{CredentialId, UserId};
use tollgate_core::limits::RateLimits;
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;

use crate::catalogue::lending::Loan;
use crate::entry::Digest;
use crate::error::StoreError;
use crate::seal::{MasterKey, SealContext, SealError, Sealed};

/// A provider key, still sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// Whose it is.
    pub owner: Owner,
    /// The user, unless it is the operator's.
    pub user: Option<UserId>,
    /// Name of the configured provider that it is for.
    pub provider: String,
    /// What its owner calls it.
    pub label: String,
    /// The key itself.
    pub sealed: Sealed,
    /// Its last characters, to tell keys apart.
    pub hint: String,
    /// How much of the traffic it should take: 1 to 1000.
    pub weight: u32,
    /// Whether it may serve.
    pub enabled: bool,
    /// Why not.
    pub disabled_reason: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// How much and how often it may serve.
    pub limits: RateLimits,
    /// What the key is recognised by; `None` for one of an older Tollgate that was not opened since.
    pub fingerprint: Option<Digest>,
    /// Its health when it last changed.
    pub state: CredentialState,
    /// What the last check found.
    pub check: Option<CheckResult>,
    /// The platform that it is for, where it is not for the provider itself.
    pub platform: Option<String>,
    /// What the platform needs to know: a JSON object.
    pub settings: String,
    /// Whether it is lent to others, and how.
    pub loan: Option<Loan>,
}

/// What a credential is called, and who may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialName {
    /// The user whose own it is, or was; `None` for the operator's.
    pub user: Option<UserId>,
    /// What its owner calls it.
    pub label: String,
}

/// The part of a credential's health that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CredentialState {
    /// Good, resting or disabled.
    pub condition: Condition,
    /// Failures in a row.
    pub failures: u32,
}

/// What a check of a credential found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckResult {
    /// When.
    pub at: Timestamp,
    /// What was wrong; `None` where the provider accepted it.
    pub failure: Option<FailureClass>,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
}

/// What may change of a credential.
#[derive(Debug, Clone, Copy)]
pub struct CredentialChange<'a> {
    /// What its owner calls it.
    pub label: &'a str,
    /// 1 to 1000.
    pub weight: u32,
    /// Whether it may serve.
    pub enabled: bool,
    /// How much and how often it may serve.
    pub limits: RateLimits,
}

/// Where a credential is valid.
#[derive(Debug, Clone, Copy)]
pub struct CredentialPlace<'a> {
    /// The platform, where it is not the provider itself.
    pub platform: Option<&'a str>,
    /// What it needs to know: a JSON object.
    pub settings: &'a str,
}

/// A provider key to be sealed and stored.
#[derive(Debug, Clone)]
pub struct NewCredential<'a> {
    /// Whose it is.
    pub owner: Owner,
    /// The user; required for [`Owner::User`].
    pub user: Option<UserId>,
    /// Name of the configured provider that it is for.
    pub provider: &'a str,
    /// What its owner calls it.
    pub label: &'a str,
    /// 1 to 1000.
    pub weight: u32,
    /// The key itself.
    pub secret: &'a Secret,
    /// How much and how often it may serve.
    pub limits: RateLimits,
    /// What the key is recognised by.
    pub fingerprint: Digest,
}

impl NewCredential<'_> {
    /// What the audit log says of it: nothing of the key.
    #[must_use]
    pub fn detail(&self, platform: Option<&str>) -> Value {
        let user = self.user.map(|user| user.to_string());
        json!({"provider": self.provider, "label": self.label, "user": user, "platform": platform})
    }
}

impl CredentialChange<'_> {
    /// What the audit log says of it.
    #[must_use]
    pub fn detail(&self) -> Value {
        json!({"label": self.label, "weight": self.weight, "enabled": self.enabled})
    }
}

impl Credential {
    /// The key itself.
    ///
    /// # Errors
    /// [`SealError::Open`] when another master key sealed it, or its row was tampered with.
    pub fn open(&self, key: &MasterKey) -> Result<Secret, SealError> {
        key.open(&SealContext { id: self.id, owner: self.owner, provider: &self.provider }, &self.sealed)
    }
}

/// How much was sealed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Provider keys.
    pub credentials: usize,
    /// The gateway's own secrets.
    pub settings: usize,
    /// Calls whose bodies are kept.
    pub bodies: usize,
}

/// Which credentials; the default is none, because nobody wants all of them at once.
#[derive(Debug, Clone, Default)]
pub struct CredentialFilter {
    /// Those for this provider.
    pub provider: Option<String>,
    /// Those of this owner.
    pub owner: Option<Owner>,
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Only those in whose name, provider or last characters this stands, in any case.
    pub search: String,
    /// Younger than this one: where the page before ended.
    pub after: Option<CredentialId>,
    /// At most this many.
    pub limit: usize,
}

impl CredentialFilter {
    /// Whether what is searched for stands in one of these, in any case.
    #[must_use]
    pub fn finds(&self, texts: [&str; 3]) -> bool {
        let search = self.search.to_lowercase();
        search.is_empty() || texts.into_iter().any(|text| text.to_lowercase().contains(&search))
    }
}

/// Provider keys.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Seals a provider key and stores it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a weight out of range or a user's key without a user.
    async fn add_credential(
        &self,
        key: &MasterKey,
        new: &NewCredential<'_>,
        now: Timestamp,
    ) -> Result<CredentialId, StoreError>;

    /// The same for a key that is valid elsewhere than at its provider.
    ///
    /// # Errors
    /// As [`Credentials::add_credential`].
    async fn add_credential_at(
        &self,
        key: &MasterKey,
        new: &NewCredential<'_>,
        place: CredentialPlace<'_>,
        now: Timestamp,
    ) -> Result<CredentialId, StoreError>;

    /// The credential of this id, still sealed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn credential(&self, id: CredentialId) -> Result<Credential, StoreError>;

    /// A page of credentials, oldest first, still sealed.
    ///
    /// # Errors
    /// When the database fails.
    async fn find_credentials(&self, filter: &CredentialFilter) -> Result<Vec<Credential>, StoreError>;

    /// What these credentials are called, or were when they were removed.
    ///
    /// # Errors
    /// When the database fails.
    async fn credential_names(
        &self,
        ids: &[CredentialId],
    ) -> Result<HashMap<CredentialId, CredentialName>, StoreError>;

    /// Credentials of an older Tollgate, which did not note what they are recognised by.
    ///
    /// # Errors
    /// When the database fails.
    async fn credentials_without_fingerprint(&self) -> Result<Vec<Credential>, StoreError>;

    /// Changes what may change of a credential.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::Invalid`] for a weight or limits that make no sense.
    async fn change_credential(
        &self,
        credential: CredentialId,
        change: &CredentialChange<'_>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Notes what a credential is recognised by: for those of an older Tollgate.
    ///
    /// # Errors
    /// When the database fails.
    async fn set_fingerprint(&self, credential: CredentialId, print: &Digest) -> Result<(), StoreError>;

    /// Keeps the health of a credential. A running server calls it when that has changed. One that is gone is left
    /// alone.
    ///
    /// # Errors
    /// When the database fails.
    async fn save_state(&self, credential: CredentialId, state: CredentialState) -> Result<(), StoreError>;

    /// Keeps what a check found. The check of a credential that is gone is dropped.
    ///
    /// # Errors
    /// When the database fails.
    async fn save_check(&self, credential: CredentialId, check: &CheckResult) -> Result<(), StoreError>;

    /// Lets a credential serve, or not, with the reason.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn set_credential_enabled(
        &self,
        credential: CredentialId,
        enabled: bool,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Replaces the secret of a credential, when a provider has issued a new one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn set_credential_secret(
        &self,
        key: &MasterKey,
        id: CredentialId,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Deletes a credential for good.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    async fn remove_credential(&self, credential: CredentialId, now: Timestamp) -> Result<(), StoreError>;
}
