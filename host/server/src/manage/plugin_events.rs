//! What happened to components, page by page.

pub(crate) use tollgate_store::PluginEvent;

use super::{ManageError, Management, Page, Window};

impl Management {
    /// What happened to components, newest first, each event with its number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn plugin_events(
        &self,
        window: Window<u64>,
    ) -> Result<Page<(u64, PluginEvent), u64>, ManageError> {
        let events = self.store.log.plugin_events(window.after, window.limit_and_one()).await?;
        Ok(Page::new(events, window.limit, |(number, _)| *number))
    }
}
