//! The account that pays for dry runs; nobody can call with it.

use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::limits::KeyLimits;
use tollgate_core::points::Micropoints;
use tollgate_store::StoreError;

use super::{ManageError, Management, Window};
use crate::clock::now;
use crate::state::trace::ACCOUNT;

/// The name of the account's key, which nobody has.
const KEY: &str = "trials";
/// Most keys of the account that are looked at.
const KEYS_MAX: usize = 100;
/// Why the account has points, for its statement.
const REASON: &str = "trials of the proxy";

impl Management {
    /// The user who pays for dry runs and that user's key, created if they are missing: disabled, so that only dry runs
    /// use them, and with a key that is discarded as soon as it is stored.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn trial_account(&self) -> Result<(UserId, ApiKeyId), ManageError> {
        match self.store.catalogue.create_user(ACCOUNT, now()).await {
            Ok(_) | Err(StoreError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let user = self.store.catalogue.find_user(ACCOUNT).await?;
        if user.enabled {
            self.store.catalogue.set_user_enabled(user.id, false, now()).await?;
        }
        // Nobody else makes keys for this user.
        let keys = self.keys(Some(user.id), Window::first(KEYS_MAX)).await?.rows;
        let key = match keys.into_iter().find(|key| key.name == KEY) {
            Some(key) => key.id,
            None => self.create_key(ACCOUNT, KEY, None, KeyLimits::default()).await?.0,
        };
        Ok((user.id, key))
    }

    /// The user who pays for dry runs, if there was one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn trials(&self) -> Result<Option<UserId>, ManageError> {
        match self.store.catalogue.find_user(ACCOUNT).await {
            Ok(user) => Ok(Some(user.id)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the account of dry runs points.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fund_trials(&self, account: UserId, points: Micropoints) -> Result<(), ManageError> {
        self.grant(account, points, REASON).await.map(drop)
    }
}
