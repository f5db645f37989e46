//! Bodies of calls: which keys' are kept, and what is.

use serde_json::Value;
use tollgate_core::id::{ApiKeyId, RequestId};
use tollgate_store::Bodies;

use super::{ManageError, Management};
use crate::clock::now;

impl Management {
    /// Says whether the bodies of a key's calls are kept from now on.
    ///
    /// # Errors
    /// Without such a key.
    pub async fn keep_bodies(&self, key: ApiKeyId, keep: bool) -> Result<(), ManageError> {
        Ok(self.store.catalogue.set_keep_bodies(key, keep, now()).await?)
    }

    /// What was asked and answered in a call. Whoever reads it is in the audit log before he sees a word.
    ///
    /// # Errors
    /// When nothing is kept of it, when it does not open, and when the read cannot be noted.
    pub async fn bodies(&self, request: RequestId) -> Result<Bodies, ManageError> {
        let bodies = self.store.log.bodies(&self.master, request).await?;
        self.note("request.bodies.read", request.to_string(), Value::Null).await?;
        Ok(bodies)
    }
}
