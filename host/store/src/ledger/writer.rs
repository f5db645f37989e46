//! How entries get into the ledger.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::entry::Entry;
use crate::error::WriteError;
use crate::ledger::mark::{Mark, Synced};
use crate::log::ended::Ended;

/// Hands entries to the ledger. Cheap to clone, and usable from any runtime. Its threads end with its last clone.
pub type Writer = Arc<dyn EntryWriter>;

/// Takes entries in. [`EntryWriter::append`] and [`EntryWriter::post`] are called for each request and return at once,
/// so they are not futures.
#[async_trait]
pub trait EntryWriter: Debug + Send + Sync {
    /// Writes `entry` to the journal. From then on it survives the end of this process. Where
    /// [`EntryWriter::waits_for_disk`], only [`EntryWriter::synced`] tells whether it survives a loss of power.
    ///
    /// # Errors
    /// [`WriteError::Closed`], and for a hold [`WriteError::Unavailable`] when it could not be written or too many
    /// entries wait for the tables. Other entries are kept and retried.
    fn append(&self, entry: Entry) -> Result<Mark, WriteError>;

    /// Whether an appended entry is durable only when [`EntryWriter::synced`] says so.
    #[must_use]
    fn waits_for_disk(&self) -> bool;

    /// Tells how far the journal is on disk, after each sync.
    #[must_use]
    fn synced(&self) -> watch::Receiver<Synced>;

    /// Writes `entry` and waits until it is durable. The data path does so once per billed request, for the hold.
    ///
    /// Cancel-safe in this sense: a future that is dropped after its first poll may or may not have written the entry.
    ///
    /// # Errors
    /// As for [`EntryWriter::append`]; `Unavailable` also when the disk failed. A refused hold may be durable after
    /// all: release it.
    async fn commit(&self, entry: Entry) -> Result<(), WriteError> {
        let mark = self.append(entry)?;
        if !self.waits_for_disk() {
            return Ok(());
        }
        let mut synced = self.synced();
        let settled = synced.wait_for(|synced| synced.settles(mark).is_some()).await;
        settled.ok().and_then(|synced| synced.settles(mark)).unwrap_or(Err(WriteError::Closed))
    }

    /// Hands `entry` over without waiting for anything.
    ///
    /// # Errors
    /// [`WriteError::Closed`], and [`WriteError::Unavailable`] for an entry that resolves no hold while far too many
    /// entries wait for the tables. What becomes of an entry later is logged.
    fn post(&self, entry: Entry) -> Result<(), WriteError>;

    /// The calls that end from now on, once they are in the tables. While nobody has this, nothing is kept for it.
    #[must_use]
    fn ended(&self) -> Ended;

    /// Waits until everything handed over so far is in the tables.
    ///
    /// # Errors
    /// [`WriteError::Closed`] when the writer ended before that.
    async fn flush(&self) -> Result<(), WriteError>;

    /// Brings what was handed over into the tables, sums up the balances and ends the threads. Entries handed over
    /// later are refused.
    ///
    /// Returns how many entries are neither in the tables nor in the journal, because both failed; 0 on an orderly end.
    /// Closing twice is harmless.
    async fn close(&self) -> usize;
}
