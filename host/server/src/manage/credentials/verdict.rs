//! Keeps what a check of a credential found, and rewards the user who brought a good one.

use tollgate_core::id::CredentialId;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Owner;
use tollgate_store::{CheckResult, Reward, StoreError};

use crate::clock::now;
use crate::manage::{ManageError, Management};
use crate::upstream::check::{FirstCredential, Found};

impl Management {
    /// Keeps what a check of a credential found, and rewards its owner if it is the first good one of its account.
    /// Returns what was granted.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn keep_finding(
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
        let credential = self.sealed_credential(id).await?;
        // Accounts of other platforms cannot be distinguished: many keys would be worth many rewards.
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
        let (amount, account_named) = (reward.reward(user), account.is_some());
        let reward = Reward { user, provider, fingerprints: &fingerprints, account_named, amount };
        Ok(self.store.ledger.reward(&reward, now()).await?.map(|_| reward.amount))
    }

    /// Keeps what a check found. For a credential that is gone meanwhile, nothing is kept.
    pub(crate) async fn keep_check(&self, id: CredentialId, check: &CheckResult) -> Result<(), ManageError> {
        let Some(memory) = &self.memory else { return Ok(self.store.catalogue.save_check(id, check).await?) };
        match memory.edit(id, |row| row.check = Some(*check)) {
            Ok(()) | Err(StoreError::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
