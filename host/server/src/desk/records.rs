//! What was called.

use tollgate_store::{RequestFilter, RequestRecord};

use super::Desk;

impl Desk {
    /// What was called, newest first.
    ///
    /// # Errors
    /// Without such a user.
    pub async fn requests(&self, user: Option<&str>, limit: u32) -> anyhow::Result<Vec<RequestRecord>> {
        let user = match user {
            Some(name) => Some(self.user(name).await?),
            None => None,
        };
        Ok(self.store.requests(&RequestFilter { user, limit, ..RequestFilter::default() }).await?)
    }
}
