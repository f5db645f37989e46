//! Bodies of calls, for keys of which they are kept.

use serde_json::Value;
use tollgate_core::id::RequestId;
use tollgate_core::time::Timestamp;

pub use tollgate_store::{Bodies, Body};

use super::error::Which;
use super::{ManageError, Management};

impl Management {
    /// What was asked and answered in a call. The read is in the audit log before anything is shown.
    ///
    /// # Errors
    /// When nothing is kept of it, when it does not open, and when the read cannot be noted.
    pub async fn bodies(&self, request: RequestId) -> Result<Bodies, ManageError> {
        let bodies = self.store.log.bodies(&self.master, request).await.which(request)?;
        self.note("request.bodies.read", request.to_string(), Value::Null).await?;
        Ok(bodies)
    }

    /// Seals the bodies of a call and stores them.
    pub(crate) async fn store_bodies(&self, bodies: &Bodies) -> Result<(), ManageError> {
        Ok(self.store.log.keep_bodies(&self.master, bodies).await?)
    }

    /// Removes bodies of calls that came before `before`, at most `limit`. Returns the number of calls.
    pub(crate) async fn remove_bodies(&self, before: Timestamp, limit: u32) -> Result<u64, ManageError> {
        Ok(self.store.log.remove_bodies(before, limit).await?)
    }
}
