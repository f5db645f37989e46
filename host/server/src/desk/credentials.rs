//! Provider keys, the platform's and the users' own.

use tollgate_core::id::CredentialId;
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;

use super::Desk;
use crate::shared::now;

/// A credential as it may be shown.
#[derive(Debug, Clone)]
pub struct CredentialRow {
    /// Id.
    pub id: CredentialId,
    /// Provider.
    pub provider: String,
    /// Whose.
    pub owner: Owner,
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
}

impl Desk {
    /// Seals a provider key and stores it.
    ///
    /// # Errors
    /// Without such a user, or for a weight that is none.
    pub async fn add_credential(&self, new: NewCredential) -> anyhow::Result<CredentialId> {
        let user = match &new.user {
            Some(name) => Some(self.user(name).await?),
            None => None,
        };
        let owner = if user.is_some() { Owner::User } else { Owner::Platform };
        let new = tollgate_store::NewCredential {
            owner,
            user,
            provider: &new.provider,
            label: &new.label,
            weight: new.weight,
            secret: &new.secret,
        };
        Ok(self.store.add_credential(&self.master, &new, now()).await?)
    }

    /// All credentials, without their secrets.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn credentials(&self) -> anyhow::Result<Vec<CredentialRow>> {
        let names = self.user_names().await?;
        let row = |credential: tollgate_store::Credential| CredentialRow {
            user: credential.user.and_then(|user| names.get(&user).cloned()),
            id: credential.id,
            provider: credential.provider,
            owner: credential.owner,
            label: credential.label,
            hint: credential.hint,
            weight: credential.weight,
            enabled: credential.enabled,
        };
        Ok(self.store.list_credentials().await?.into_iter().map(row).collect())
    }

    /// Uses a credential or does not.
    ///
    /// # Errors
    /// Without such a credential.
    pub async fn set_credential_enabled(&self, id: CredentialId, enabled: bool) -> anyhow::Result<()> {
        Ok(self.store.set_credential_enabled(id, enabled, Some("disabled by the operator")).await?)
    }

    /// Forgets a credential.
    ///
    /// # Errors
    /// Without such a credential.
    pub async fn remove_credential(&self, id: CredentialId) -> anyhow::Result<()> {
        Ok(self.store.remove_credential(id).await?)
    }
}
