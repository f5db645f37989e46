//! Provider keys that live in memory only, for a gateway whose keys come from its environment at each start. Edits work
//! until the process ends.
//!
//! They are sealed like those of the database, so that the road gets both in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tollgate_core::id::CredentialId;
use tollgate_store::{Credential, CredentialChange, CredentialFilter, StoreError};

/// The credentials of a gateway that keeps none in its database.
#[derive(Debug, Default)]
pub(crate) struct MemoryKeys(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rows: Vec<Credential>,
    /// How many changes there were.
    changes: u64,
    /// The number of the last change of each credential, deleted ones included.
    last: BTreeMap<CredentialId, u64>,
}

impl State {
    fn changed(&mut self, id: CredentialId) {
        self.changes += 1;
        self.last.insert(id, self.changes);
    }
}

impl MemoryKeys {
    fn state(&self) -> MutexGuard<'_, State> {
        // No change panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, oldest first, with how many changes there were until now.
    pub(crate) fn whole(&self) -> (u64, Vec<Credential>) {
        let state = self.state();
        (state.changes, state.rows.clone())
    }

    /// The credentials with these ids that exist.
    pub(crate) fn some(&self, ids: &BTreeSet<CredentialId>) -> Vec<Credential> {
        self.state().rows.iter().filter(|row| ids.contains(&row.id)).cloned().collect()
    }

    /// How many changes there were until now, and which credentials have changed after the first `changes` of them.
    pub(crate) fn changed_since(&self, changes: u64) -> (u64, Vec<CredentialId>) {
        let state = self.state();
        let later = state.last.iter().filter(|(_, last)| **last > changes);
        (state.changes, later.map(|(id, _)| *id).collect())
    }

    /// One of them.
    pub(crate) fn get(&self, id: CredentialId) -> Option<Credential> {
        self.state().rows.iter().find(|row| row.id == id).cloned()
    }

    /// Those that match a filter, oldest first.
    pub(crate) fn page(&self, filter: &CredentialFilter) -> Vec<Credential> {
        let wanted = |row: &&Credential| {
            filter.provider.as_ref().is_none_or(|name| *name == row.provider)
                && filter.owner.is_none_or(|owner| owner == row.owner)
                && filter.user.is_none_or(|user| row.user == Some(user))
                && filter.finds([&row.label, &row.provider, &row.hint])
                && filter.after.is_none_or(|after| row.id > after)
        };
        self.state().rows.iter().filter(wanted).take(filter.limit).cloned().collect()
    }

    /// Adds one.
    pub(crate) fn add(&self, credential: Credential) {
        let mut state = self.state();
        let id = credential.id;
        state.rows.push(credential);
        state.rows.sort_by_key(|row| row.id);
        state.changed(id);
    }

    /// Changes one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::Invalid`] for an invalid weight.
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

    /// Applies `edit` to one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub(crate) fn edit(
        &self,
        id: CredentialId,
        edit: impl FnOnce(&mut Credential),
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let row = state.rows.iter_mut().find(|row| row.id == id).ok_or(StoreError::NotFound("credential"))?;
        edit(row);
        state.changed(id);
        Ok(())
    }

    /// Removes one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub(crate) fn remove(&self, id: CredentialId) -> Result<(), StoreError> {
        let mut state = self.state();
        let before = state.rows.len();
        state.rows.retain(|row| row.id != id);
        if state.rows.len() == before {
            return Err(StoreError::NotFound("credential"));
        }
        state.changed(id);
        Ok(())
    }
}
