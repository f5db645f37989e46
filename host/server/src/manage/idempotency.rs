//! Calls of the management API that must happen once.

use tollgate_core::secret::Secret;

pub(crate) use tollgate_store::{Keyed, Known};

use super::{ManageError, Management};
use crate::clock::now;

impl Management {
    /// Registers a call, or says what is known of it.
    pub(crate) async fn begin_call(&self, call: &Keyed<'_>) -> Result<Known, ManageError> {
        Ok(self.store.sessions.begin_call(&self.master, call, now()).await?)
    }

    /// Keeps the answer of a call, sealed: it may hold what is shown once.
    pub(crate) async fn keep_answer(
        &self,
        call: &Keyed<'_>,
        status: u16,
        body: &Secret,
    ) -> Result<(), ManageError> {
        Ok(self.store.sessions.keep_answer(&self.master, call, status, body).await?)
    }

    /// Forgets a call that was refused, so that it may be tried again.
    pub(crate) async fn forget_call(&self, call: &Keyed<'_>) -> Result<(), ManageError> {
        Ok(self.store.sessions.forget_call(call).await?)
    }
}
