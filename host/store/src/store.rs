//! The store as a server holds it: its parts may be kept in different places.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::catalogue::audit::Act;
use crate::feed::Feed;
use crate::ledger::Ledger;
use crate::log::RequestLog;
use crate::sessions::Sessions;

/// Everything that lasts, part by part. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    /// What operators and users make and change.
    pub catalogue: Arc<dyn Catalogue>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Records of requests.
    pub log: Arc<dyn RequestLog>,
    /// Logins, lock-outs, and calls that must happen once.
    pub sessions: Arc<dyn Sessions>,
    /// What a server follows.
    pub feed: Arc<dyn Feed>,
}

impl Store {
    /// The same store on someone's behalf: the audit log names them for every change.
    #[must_use]
    pub fn acting(&self, act: Arc<Act>) -> Self {
        let (catalogue, ledger) = (self.catalogue.acting(Arc::clone(&act)), self.ledger.acting(act));
        Self { catalogue, ledger, ..self.clone() }
    }

    /// Brings what was handed to the writer into the tables, where it was started, and closes every connection.
    ///
    /// Returns how many entries are lost, because neither journal nor tables could be written; 0 on an orderly end.
    pub async fn close(&self) -> usize {
        self.ledger.close().await
    }
}
