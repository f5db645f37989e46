//! Provider keys, the platform's and the users' own, in the database or, where the environment gives them, in memory.

mod memory;
mod verdict;

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_core::id::{CredentialId, UserId};
use tollgate_core::limits::RateLimits;
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::{Credential, CredentialChange, CredentialFilter, CredentialPlace};

pub use tollgate_store::{CheckResult, CredentialState, Loan};

use super::error::Which;
use super::words::seen;
use super::{ManageError, Management, Page, Window};
use crate::auth::memory_keys::MemoryKeys;
use crate::clock::now;
use crate::state::platform::{self, Place};
use crate::upstream::check::Subject;

/// A credential as it may be shown.
#[derive(Debug, Clone)]
pub struct CredentialRow {
    /// Id.
    pub id: CredentialId,
    /// Provider.
    pub provider: String,
    /// Its owner.
    pub owner: Owner,
    /// The user, for a user's own.
    pub user_id: Option<UserId>,
    /// The user's name, for a user's own.
    pub user: Option<String>,
    /// Name.
    pub label: String,
    /// The last characters.
    pub hint: String,
    /// Weight.
    pub weight: u32,
    /// Whether it is used.
    pub enabled: bool,
    /// Why it is not, if someone switched it off.
    pub disabled_reason: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// How much and how often it may serve.
    pub limits: RateLimits,
    /// Its state when it last changed.
    pub state: CredentialState,
    /// What the last check found.
    pub check: Option<CheckResult>,
    /// Whether it is lent to others, and how.
    pub loan: Option<Loan>,
    /// Whether it is gone when the server ends.
    pub temporary: bool,
}

/// A credential to add.
#[derive(Debug)]
pub struct NewCredential {
    /// The configured provider.
    pub provider: String,
    /// The user whose own it is, by name or id; `None` for the platform's.
    pub user: Option<String>,
    /// Name.
    pub label: String,
    /// 1 to 1000.
    pub weight: u32,
    /// The key itself. A secret of several parts is one text, in JSON.
    pub secret: Secret,
    /// How much and how often it may serve.
    pub limits: RateLimits,
    /// Where it is valid, if not at the provider itself.
    pub place: Option<Place>,
}

/// Changes to a credential; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct CredentialEdit {
    /// A new name.
    pub label: Option<String>,
    /// 1 to 1000.
    pub weight: Option<u32>,
    /// Whether it is used.
    pub enabled: Option<bool>,
    /// How much and how often it may serve, as a whole.
    pub limits: Option<RateLimits>,
}

/// Which credentials are wanted.
#[derive(Debug, Clone, Default)]
pub struct WhichCredentials {
    /// Those for this provider.
    pub provider: Option<String>,
    /// Those of this owner.
    pub owner: Option<Owner>,
    /// This user's own.
    pub user: Option<UserId>,
    /// Those in whose name, provider or last characters this stands.
    pub search: String,
}

impl Management {
    /// Seals a provider key and stores it.
    ///
    /// # Errors
    /// Without such a user, and for an invalid weight, limit or platform.
    pub async fn add_credential(&self, new: NewCredential) -> Result<CredentialId, ManageError> {
        let NewCredential { provider, user, label, weight, secret, limits, place } = new;
        seen("label", &label)?;
        seen("provider", &provider)?;
        if let Some(place) = &place {
            place.check(user.is_none()).map_err(|reason| ManageError::invalid("platform", reason))?;
        }
        let settings =
            place.as_ref().map_or(Ok("{}".to_owned()), |place| serde_json::to_string(&place.settings));
        let settings =
            settings.map_err(|error| ManageError::unwritable("the settings of a platform", error))?;
        let platform = place.as_ref().map(|place| place.platform.as_str());
        let at = CredentialPlace { platform, settings: &settings };
        let user = match user {
            Some(name) => Some(self.find_user(&name).await?),
            None => None,
        };
        let row = tollgate_store::NewCredential {
            owner: if user.is_some() { Owner::User } else { Owner::Platform },
            user,
            provider: &provider,
            label: &label,
            weight,
            secret: &secret,
            limits,
            fingerprint: self.fingerprints.key(&provider, &secret),
        };
        let Some(memory) = &self.memory else {
            return Ok(self.store.catalogue.add_credential_at(&self.master, &row, at, now()).await?);
        };
        let id = memory::add(memory, &self.master, &row, at)?;
        self.note("credential.add", id.to_string(), row.detail(platform)).await?;
        Ok(id)
    }

    /// A credential, without its secret.
    ///
    /// # Errors
    /// Without such a credential.
    pub async fn credential(&self, id: CredentialId) -> Result<CredentialRow, ManageError> {
        let row = self.credential_rows(vec![self.sealed_credential(id).await?]).await?.pop();
        row.ok_or_else(|| ManageError::not_found("credential", id))
    }

    /// Credentials, without their secrets, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credentials(
        &self,
        which: &WhichCredentials,
        window: Window<CredentialId>,
    ) -> Result<Page<CredentialRow, CredentialId>, ManageError> {
        let (after, limit) = (window.after, window.limit_and_one());
        let WhichCredentials { provider, owner, user, search } = which.clone();
        let filter = CredentialFilter { provider, owner, user, search, after, limit };
        let sealed = match &self.memory {
            Some(memory) => memory.page(&filter),
            None => self.store.catalogue.find_credentials(&filter).await?,
        };
        let Page { rows, next } = Page::new(sealed, window.limit, |credential| credential.id);
        Ok(Page { rows: self.credential_rows(rows).await?, next })
    }

    async fn credential_rows(&self, sealed: Vec<Credential>) -> Result<Vec<CredentialRow>, ManageError> {
        let names = self.user_names(sealed.iter().filter_map(|credential| credential.user)).await?;
        let row = |credential: Credential| CredentialRow {
            user: credential.user.and_then(|user| names.get(&user).cloned()),
            user_id: credential.user,
            id: credential.id,
            provider: credential.provider,
            owner: credential.owner,
            label: credential.label,
            hint: credential.hint,
            weight: credential.weight,
            enabled: credential.enabled,
            disabled_reason: credential.disabled_reason,
            created_at: credential.created_at,
            limits: credential.limits,
            state: credential.state,
            check: credential.check,
            loan: credential.loan,
            temporary: self.memory.is_some(),
        };
        Ok(sealed.into_iter().map(row).collect())
    }

    /// A credential, opened: to check it.
    pub(crate) async fn open_credential(&self, id: CredentialId) -> Result<Subject, ManageError> {
        let credential = self.sealed_credential(id).await?;
        let unreadable = || ManageError::invalid("settings", "the settings of its platform cannot be read");
        let place = platform::place(&credential).ok_or_else(unreadable)?;
        let secret = credential.open(&self.master)?;
        Ok(Subject { provider: credential.provider, place, secret })
    }

    /// Changes a credential.
    ///
    /// # Errors
    /// Without such a credential, or for an invalid weight or limit.
    pub async fn change_credential(&self, id: CredentialId, edit: CredentialEdit) -> Result<(), ManageError> {
        seen("label", edit.label.as_deref().unwrap_or_default())?;
        let known = self.sealed_credential(id).await?;
        let change = CredentialChange {
            label: edit.label.as_deref().unwrap_or(&known.label),
            weight: edit.weight.unwrap_or(known.weight),
            enabled: edit.enabled.unwrap_or(known.enabled),
            limits: edit.limits.unwrap_or(known.limits),
        };
        let Some(memory) = &self.memory else {
            return self.store.catalogue.change_credential(id, &change, now()).await.which(id);
        };
        self.unchanged("credential.change", &id.to_string()).await?;
        memory.change(id, &change).which(id)?;
        self.note("credential.change", id.to_string(), change.detail()).await
    }

    /// Enables or disables a credential.
    ///
    /// # Errors
    /// Without such a credential.
    pub async fn set_credential_enabled(&self, id: CredentialId, enabled: bool) -> Result<(), ManageError> {
        let Some(memory) = &self.memory else {
            let reason = Some("disabled by the operator");
            return self.store.catalogue.set_credential_enabled(id, enabled, reason, now()).await.which(id);
        };
        memory.edit(id, |row| row.enabled = enabled).which(id)?;
        self.note("credential.change", id.to_string(), json!({"enabled": enabled})).await
    }

    /// Deletes a credential.
    ///
    /// # Errors
    /// Without such a credential.
    pub async fn remove_credential(&self, id: CredentialId) -> Result<(), ManageError> {
        let Some(memory) = &self.memory else {
            return self.store.catalogue.remove_credential(id, now()).await.which(id);
        };
        self.unchanged("credential.remove", &id.to_string()).await?;
        memory.remove(id).which(id)?;
        self.note("credential.remove", id.to_string(), Value::Null).await
    }

    /// Stores the secret that a provider has issued in place of a credential's.
    pub(crate) async fn renew_credential(
        &self,
        id: CredentialId,
        secret: &Secret,
    ) -> Result<(), ManageError> {
        let Some(memory) = &self.memory else {
            return self
                .store
                .catalogue
                .set_credential_secret(&self.master, id, secret, now())
                .await
                .which(id);
        };
        memory::renew(memory, &self.master, &self.sealed_credential(id).await?, secret)
    }

    /// Keeps credentials in memory from now on, and ignores those of the database.
    pub(crate) fn keep_in_memory(&mut self) {
        self.memory = Some(Arc::default());
    }

    /// Whether the database holds a credential.
    pub(crate) async fn database_has_credentials(&self) -> Result<bool, ManageError> {
        let any = CredentialFilter { limit: 1, ..CredentialFilter::default() };
        Ok(!self.store.catalogue.find_credentials(&any).await?.is_empty())
    }

    async fn sealed_credential(&self, id: CredentialId) -> Result<Credential, ManageError> {
        match &self.memory {
            Some(memory) => memory.get(id).ok_or_else(|| ManageError::not_found("credential", id)),
            None => self.store.catalogue.credential(id).await.which(id),
        }
    }

    /// The credentials in memory, if they are kept there and not in the store.
    pub(crate) fn memory(&self) -> Option<Arc<MemoryKeys>> {
        self.memory.clone()
    }

    /// Notes what the credentials of an older Tollgate are recognised by.
    pub(super) async fn fingerprint_all(&self) -> Result<(), ManageError> {
        for credential in self.store.catalogue.credentials_without_fingerprint().await? {
            if let Ok(secret) = credential.open(&self.master) {
                let print = self.fingerprints.key(&credential.provider, &secret);
                self.store.catalogue.set_fingerprint(credential.id, &print).await?;
            }
        }
        Ok(())
    }
}
