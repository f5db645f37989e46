//! The audit log: what was changed, by whom and by which call.

use serde_json::Value;
use tollgate_store::{Note, StoreError};

pub use tollgate_store::{AuditFilter, AuditRow};

use super::{ManageError, Management, Page};
use crate::clock::now;

impl Management {
    /// Rows of the audit log, newest first. The filter's actor may be a user's name too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(&self, mut filter: AuditFilter) -> Result<Page<AuditRow, u64>, ManageError> {
        if let Some(name) = &filter.actor {
            match self.store.catalogue.find_user(name).await {
                Ok(user) => filter.actor = Some(user.id.to_string()),
                Err(StoreError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let limit = filter.limit;
        filter.limit = limit.saturating_add(1);
        let rows = self.store.catalogue.audit(&filter).await?;
        Ok(Page::new(rows, limit, |row| row.seq))
    }

    /// Notes in the audit log what no transaction of the store has noted.
    pub(crate) async fn note(&self, action: &str, target: String, detail: Value) -> Result<(), ManageError> {
        let kind = action.split('.').next().unwrap_or_default();
        Ok(self.store.catalogue.note_done(Note { action, kind, target, detail }, now()).await?)
    }
}
