//! The audit log, and calls that must happen once.

use tollgate_core::secret::Secret;
use tollgate_store::{AuditFilter, AuditRow, Keyed, Known, StoreError};

use super::{ManageError, Management};
use crate::clock::now;

impl Management {
    /// Rows of the audit log, newest first. The filter's actor may be a user's name too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(&self, mut filter: AuditFilter) -> Result<Vec<AuditRow>, ManageError> {
        if let Some(name) = &filter.actor {
            match self.store.catalogue.find_user(name).await {
                Ok(user) => filter.actor = Some(user.id.to_string()),
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.store.catalogue.audit(&filter).await?)
    }

    pub(crate) async fn begin_call(&self, call: &Keyed<'_>) -> Result<Known, ManageError> {
        Ok(self.store.sessions.begin_call(&self.master, call, now()).await?)
    }

    pub(crate) async fn keep_answer(
        &self,
        call: &Keyed<'_>,
        status: u16,
        body: &Secret,
    ) -> Result<(), ManageError> {
        Ok(self.store.sessions.keep_answer(&self.master, call, status, body).await?)
    }

    pub(crate) async fn forget_call(&self, call: &Keyed<'_>) -> Result<(), ManageError> {
        Ok(self.store.sessions.forget_call(call).await?)
    }
}
