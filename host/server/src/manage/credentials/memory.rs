//! Sealing what is kept in memory, as the store seals what it keeps.

use tollgate_core::id::CredentialId;
use tollgate_core::secret::Secret;
use tollgate_store::seal::SealContext;
use tollgate_store::{Credential, CredentialPlace, CredentialState, MasterKey, NewCredential};

use crate::auth::memory_keys::MemoryKeys;
use crate::clock::{now, random};
use crate::manage::ManageError;
use crate::manage::error::Which;

/// Seals a provider key and adds it.
pub(super) fn add(
    memory: &MemoryKeys,
    master: &MasterKey,
    new: &NewCredential<'_>,
    place: CredentialPlace<'_>,
) -> Result<CredentialId, ManageError> {
    let at = now();
    let id = CredentialId::new(at, random());
    let sealed = master.seal(&SealContext { id, owner: new.owner, provider: new.provider }, new.secret)?;
    memory.add(Credential {
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

/// Replaces the secret of a credential.
pub(super) fn renew(
    memory: &MemoryKeys,
    master: &MasterKey,
    row: &Credential,
    secret: &Secret,
) -> Result<(), ManageError> {
    let at = SealContext { id: row.id, owner: row.owner, provider: &row.provider };
    let sealed = master.seal(&at, secret)?;
    memory.edit(row.id, |row| row.sealed = sealed).which(row.id)
}
