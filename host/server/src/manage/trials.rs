//! The account that pays for trials: one that nobody can call with.

use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::limits::KeyLimits;
use tollgate_core::points::Micropoints;
use tollgate_store::StoreError;

use super::{ManageError, Management};
use crate::clock::now;
use crate::state::trace::ACCOUNT;

/// The name of his key, which nobody has.
const TRIAL_KEY: &str = "trials";

impl Management {
    /// The user who pays for trials and his key, made where they are not there: disabled, so that no call but a trial is his, and
    /// with a key that is thrown away as soon as it is stored.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn trial_user(&self) -> Result<(UserId, ApiKeyId), ManageError> {
        match self.store.catalogue.create_user(ACCOUNT, now()).await {
            Ok(_) | Err(StoreError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let user = self.store.catalogue.find_user(ACCOUNT).await?;
        if user.enabled {
            self.store.catalogue.set_user_enabled(user.id, false, now()).await?;
        }
        let keys = self.store.catalogue.list_api_keys().await?;
        let known = keys.into_iter().find(|key| key.user == user.id && key.name == TRIAL_KEY);
        let key = match known {
            Some(key) => key.id,
            None => self.create_key(ACCOUNT, TRIAL_KEY, None, KeyLimits::default()).await?.0,
        };
        Ok((user.id, key))
    }

    /// Gives the user of trials points.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn top_up(&self, user: UserId, points: Micropoints) -> Result<(), ManageError> {
        self.store.ledger.grant(user, points, "trials of the proxy", self.actor(), now()).await?;
        Ok(())
    }
}
