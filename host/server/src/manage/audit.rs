//! The audit log: what was changed, by whom and by which call.

use serde_json::Value;
use tollgate_store::{Expected, Note, StoreError};

pub use tollgate_store::{AuditFilter, AuditRow, Edited};

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

    /// The version of something that is edited: it grows with each change.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) async fn version(&self, of: &Edited) -> Result<u64, ManageError> {
        Ok(self.store.catalogue.version(of).await?)
    }

    /// Whether what an act is about to change is as its actor saw it: for changes that no transaction of the store
    /// makes, which would find out.
    ///
    /// # Errors
    /// [`ManageError::Stale`], and when the database fails.
    pub(super) async fn unchanged(&self, action: &str, target: &str) -> Result<(), ManageError> {
        let Some(Expected { of, versions }) = &self.act.expected else { return Ok(()) };
        if of.is_changed_by(action, target) && !versions.contains(&self.version(of).await?) {
            return Err(ManageError::Stale);
        }
        Ok(())
    }

    /// Notes in the audit log what no transaction of the store has noted.
    pub(crate) async fn note(&self, action: &str, target: String, detail: Value) -> Result<(), ManageError> {
        let kind = action.split('.').next().unwrap_or_default();
        Ok(self.store.catalogue.note_done(Note { action, kind, target, detail }, now()).await?)
    }
}
