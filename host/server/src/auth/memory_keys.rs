//! Provider keys that live in memory alone: for a gateway whose keys come from its environment at each start. Edits work, and
//! are gone with the process.
//!
//! They are kept sealed like those of the database, so that one way leads from either to the road.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tollgate_core::id::CredentialId;
use tollgate_store::{Credential, CredentialChange, StoreError};

/// The credentials of a gateway that keeps none in its database.
#[derive(Debug, Default)]
pub(crate) struct MemoryKeys {
    rows: Mutex<Vec<Credential>>,
    changes: AtomicI64,
}

impl MemoryKeys {
    fn rows(&self) -> MutexGuard<'_, Vec<Credential>> {
        // No change panics half-way.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// A number that changes with every change.
    pub(crate) fn revision(&self) -> i64 {
        self.changes.load(Ordering::Acquire)
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> Vec<Credential> {
        self.rows().clone()
    }

    /// Takes one in.
    pub(crate) fn add(&self, credential: Credential) {
        let mut rows = self.rows();
        rows.push(credential);
        rows.sort_by_key(|row| row.id);
        drop(rows);
        self.changed();
    }

    /// Changes one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::Invalid`] for a weight that is none.
    pub(crate) fn change(&self, id: CredentialId, change: &CredentialChange<'_>) -> Result<(), StoreError> {
        if !(1..=1000).contains(&change.weight) {
            return Err(StoreError::Invalid("a credential has a weight of 1 to 1000".to_owned()));
        }
        self.edit(id, |row| {
            change.label.clone_into(&mut row.label);
            (row.weight, row.enabled, row.limits) = (change.weight, change.enabled, change.limits);
            row.disabled_reason = (!row.enabled).then(|| "disabled by its owner".to_owned());
        })
    }

    /// Changes what `edit` changes of one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub(crate) fn edit(
        &self,
        id: CredentialId,
        edit: impl FnOnce(&mut Credential),
    ) -> Result<(), StoreError> {
        let mut rows = self.rows();
        let row = rows.iter_mut().find(|row| row.id == id).ok_or(StoreError::NotFound("credential"))?;
        edit(row);
        drop(rows);
        self.changed();
        Ok(())
    }

    /// Forgets one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub(crate) fn remove(&self, id: CredentialId) -> Result<(), StoreError> {
        let mut rows = self.rows();
        let before = rows.len();
        rows.retain(|row| row.id != id);
        if rows.len() == before {
            return Err(StoreError::NotFound("credential"));
        }
        drop(rows);
        self.changed();
        Ok(())
    }
}
