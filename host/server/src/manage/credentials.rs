//! Provider keys, the platform's and the users' own.

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate_core::id::{CredentialId, UserId};
use tollgate_core::limits::RateLimits;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_store::seal::Place as SealedAt;
use tollgate_store::{
    CheckResult, CredentialChange, CredentialPlace, CredentialState, Loan, Reward, StoreError,
};

use super::{ManageError, Management};
use crate::auth::memory_keys::MemoryKeys;
use crate::clock::{now, random};
use crate::state::platform;
use crate::state::platform::Place;
use crate::upstream::check::{FirstCredential, Found, Subject};

/// A credential as it may be shown.
#[derive(Debug, Clone)]
pub struct CredentialRow {
    /// Id.
    pub id: CredentialId,
    /// Provider.
    pub provider: String,
    /// Whose.
    pub owner: Owner,
    /// The user, for a user's own.
    pub user_id: Option<UserId>,
    /// The user's name, for a user's own.
    pub user: Option<String>,
    /// Name.
    pub label: String,
    /// The last signs.
    pub hint: String,
    /// Weight.
    pub weight: u32,
    /// Whether it is used.
    pub enabled: bool,
    /// Why it is not, where someone switched it off.
    pub disabled_reason: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// How much and how often it may serve.
    pub limits: RateLimits,
    /// How it was when its state last changed.
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
    /// The user whose own it is; `None` for the platform's.
    pub user: Option<String>,
    /// Name.
    pub label: String,
    /// 1 to 1000.
    pub weight: u32,
    /// The key itself.
    pub secret: Secret,
    /// How much and how often it may serve.
    pub limits: RateLimits,
}

/// What changes of a credential: `None` for what stays.
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

impl Management {
    /// Seals a provider key and stores it.
    ///
    /// # Errors
    /// Without such a user, or for a weight or limits that are none.
    pub async fn add_credential(&self, new: NewCredential) -> Result<CredentialId, ManageError> {
        self.add_credential_at(new, None).await
    }

    /// The same for a key that is good on a platform. A secret of several parts is one text, in JSON.
    ///
    /// # Errors
    /// As [`Management::add_credential`], and for a place that cannot be meant.
    pub async fn add_credential_at(
        &self,
        new: NewCredential,
        place: Option<&Place>,
    ) -> Result<CredentialId, ManageError> {
        if let Some(place) = place {
            place.check(new.user.is_none()).map_err(|reason| ManageError::invalid("platform", reason))?;
        }
        let settings = place.map_or(Ok("{}".to_owned()), |place| serde_json::to_string(&place.settings));
        let settings =
            settings.map_err(|error| ManageError::unwritable("the settings of a platform", error))?;
        let at =
            CredentialPlace { platform: place.map(|place| place.platform.as_str()), settings: &settings };
        let user = match &new.user {
            Some(name) => Some(self.user(name).await?),
            None => None,
        };
        let owner = if user.is_some() { Owner::User } else { Owner::Platform };
        let row = tollgate_store::NewCredential {
            owner,
            user,
            provider: &new.provider,
            label: &new.label,
            weight: new.weight,
            secret: &new.secret,
            limits: new.limits,
            fingerprint: self.fingerprints.key(&new.provider, &new.secret),
        };
        let Some(memory) = &self.memory else {
            return Ok(self.store.catalogue.add_credential_at(&self.master, &row, at, now()).await?);
        };
        let id = self.remember(memory, &row, at)?;
        self.note("credential.add", id.to_string(), row.detail(at.platform)).await?;
        Ok(id)
    }

    /// Seals a provider key and keeps it in memory.
    fn remember(
        &self,
        memory: &MemoryKeys,
        new: &tollgate_store::NewCredential<'_>,
        place: CredentialPlace<'_>,
    ) -> Result<CredentialId, ManageError> {
        let at = now();
        let id = CredentialId::new(at, random());
        let sealed =
            self.master.seal(&SealedAt { id, owner: new.owner, provider: new.provider }, new.secret)?;
        memory.add(tollgate_store::Credential {
            id,
            owner: new.owner,
            user: new.user,
            provider: new.provider.to_owned(),
            label: new.label.to_owned(),
            sealed,
            hint: new.secret.hint().to_owned(),
            weight: new.weight,
            enabled: true,
            disabled_reason: None,
            created_at: at,
            limits: new.limits,
            fingerprint: Some(new.fingerprint),
            state: CredentialState::default(),
            check: None,
            platform: place.platform.map(str::to_owned),
            settings: place.settings.to_owned(),
            loan: None,
        });
        Ok(id)
    }

    /// Keeps what a provider has given in place of a credential's secret.
    pub(crate) async fn renew_credential(
        &self,
        id: CredentialId,
        secret: &Secret,
    ) -> Result<(), ManageError> {
        let Some(memory) = &self.memory else {
            return Ok(self.store.catalogue.set_credential_secret(&self.master, id, secret, now()).await?);
        };
        let row = self.stored_credential(id).await?;
        let at = SealedAt { id, owner: row.owner, provider: &row.provider };
        let sealed = self.master.seal(&at, secret)?;
        Ok(memory.edit(id, |row| row.sealed = sealed)?)
    }

    /// All credentials, without their secrets.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credentials(&self) -> Result<Vec<CredentialRow>, ManageError> {
        let names = self.user_names().await?;
        let row = |credential: tollgate_store::Credential| CredentialRow {
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
        Ok(self.kept().await?.into_iter().map(row).collect())
    }

    /// Keeps credentials in memory from now on: no longer in the database, and without those that are there.
    pub(crate) fn keep_in_memory(&mut self) {
        self.memory = Some(Arc::default());
    }

    /// All credentials, sealed, wherever they are kept.
    pub(crate) async fn kept(&self) -> Result<Vec<tollgate_store::Credential>, ManageError> {
        match &self.memory {
            Some(memory) => Ok(memory.all()),
            None => Ok(self.store.catalogue.list_credentials().await?),
        }
    }

    /// Where credentials are instead of the store, where they are kept in memory.
    pub(crate) fn memory(&self) -> Option<Arc<MemoryKeys>> {
        self.memory.clone()
    }

    async fn stored_credential(&self, id: CredentialId) -> Result<tollgate_store::Credential, ManageError> {
        let found = self.kept().await?.into_iter().find(|it| it.id == id);
        found.ok_or_else(|| ManageError::not_found("credential", id))
    }

    /// A credential, opened: to check it.
    pub(crate) async fn open_credential(&self, id: CredentialId) -> Result<Subject, ManageError> {
        let credential = self.stored_credential(id).await?;
        let unreadable = || ManageError::invalid("settings", "the settings of its platform cannot be read");
        let place = platform::place(&credential).ok_or_else(unreadable)?;
        let secret = credential.open(&self.master)?;
        Ok(Subject { provider: credential.provider, place, secret })
    }

    /// Changes a credential.
    ///
    /// # Errors
    /// Without such a credential, or for a weight or limits that cannot be meant.
    pub async fn change_credential(&self, id: CredentialId, edit: CredentialEdit) -> Result<(), ManageError> {
        let known = self.stored_credential(id).await?;
        let change = CredentialChange {
            label: edit.label.as_deref().unwrap_or(&known.label),
            weight: edit.weight.unwrap_or(known.weight),
            enabled: edit.enabled.unwrap_or(known.enabled),
            limits: edit.limits.unwrap_or(known.limits),
        };
        let Some(memory) = &self.memory else {
            return Ok(self.store.catalogue.change_credential(id, &change, now()).await?);
        };
        memory.change(id, &change)?;
        self.note("credential.change", id.to_string(), change.detail()).await
    }

    /// Uses a credential or does not.
    ///
    /// # Errors
    /// Without such a credential.
    pub async fn set_credential_enabled(&self, id: CredentialId, enabled: bool) -> Result<(), ManageError> {
        let Some(memory) = &self.memory else {
            let reason = Some("disabled by the operator");
            return Ok(self.store.catalogue.set_credential_enabled(id, enabled, reason, now()).await?);
        };
        memory.edit(id, |row| row.enabled = enabled)?;
        self.note("credential.change", id.to_string(), json!({"enabled": enabled})).await
    }

    /// Forgets a credential.
    ///
    /// # Errors
    /// Without such a credential.
    pub async fn remove_credential(&self, id: CredentialId) -> Result<(), ManageError> {
        let Some(memory) = &self.memory else {
            return Ok(self.store.catalogue.remove_credential(id, now()).await?);
        };
        memory.remove(id)?;
        self.note("credential.remove", id.to_string(), Value::Null).await
    }

    /// Keeps what a check of a credential found, and rewards who brought it where it is the first good one of its account.
    /// Returns what was granted.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn checked(
        &self,
        id: CredentialId,
        found: &Found,
        reward: &FirstCredential,
    ) -> Result<Option<Micropoints>, ManageError> {
        let Some(result) = &found.result else { return Ok(None) };
        self.keep_check(id, result).await?;
        if !found.is_good() {
            return Ok(None);
        }
        let credential = self.stored_credential(id).await?;
        // Of another platform's accounts nothing tells one from the next: many keys would be worth many rewards.
        if credential.platform.is_some() {
            return Ok(None);
        }
        let (Owner::User, Some(user), Some(print)) =
            (credential.owner, credential.user, credential.fingerprint)
        else {
            return Ok(None);
        };
        let provider = credential.provider.as_str();
        let account = found.account.as_deref().map(|name| self.fingerprints.account(provider, name));
        let fingerprints: Vec<[u8; 32]> = [Some(print), account].into_iter().flatten().collect();
        let reward = Reward { user, provider, fingerprints: &fingerprints, amount: reward.reward(user) };
        Ok(self.store.ledger.reward(&reward, now()).await?.map(|_| reward.amount))
    }

    /// Keeps what a check found.
    pub(crate) async fn keep_check(&self, id: CredentialId, check: &CheckResult) -> Result<(), ManageError> {
        match &self.memory {
            // One that is gone meanwhile needs no more than one of the database.
            Some(memory) => {
                Ok(memory.edit(id, |row| row.check = Some(*check)).or_else(|error| match error {
                    StoreError::NotFound(_) => Ok(()),
                    error => Err(error),
                })?)
            }
            None => Ok(self.store.catalogue.save_check(id, check).await?),
        }
    }

    /// Notes by what the credentials of an older Tollgate are known again.
    pub(super) async fn fingerprint_all(&self) -> Result<(), ManageError> {
        for credential in self.store.catalogue.list_credentials().await? {
            if credential.fingerprint.is_none()
                && let Ok(secret) = credential.open(&self.master)
            {
                let print = self.fingerprints.key(&credential.provider, &secret);
                self.store.catalogue.set_fingerprint(credential.id, &print).await?;
            }
        }
        Ok(())
    }
}
