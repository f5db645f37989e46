//! Takes what the road hands over: entries go to the journal here, and from there into the tables on a separate thread.
//!
//! A hold is in the journal when `commit` returns, and on disk with [`Durability::Full`]; it never waits for SQLite. No
//! caller waits for settlements and records: they share the next hold's write, or have their own after
//! [`LINGER`](crate::sqlite::backlog::LINGER). While the journal cannot be written holds are refused and everything
//! else is kept; a settlement is never dropped while the process lives.
//!
//! Two threads do this: `ledger` (see `apply.rs`) and, with [`Durability::Full`], `ledger-sync`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::watch;

use crate::entry::Entry;
use crate::error::WriteError;
use crate::ledger::mark::{Mark, Synced};
use crate::ledger::writer::EntryWriter;
use crate::log::ended::Ended;
use crate::options::Durability;
use crate::sqlite::apply;
use crate::sqlite::backlog::Ledger;
use crate::sqlite::journal::{Held, Journal};
use crate::sqlite::node::Node;

/// Hands entries to the journal. Its threads end with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct JournalWriter {
    ledger: Arc<Ledger>,
    _end: Arc<End>,
}

/// Ends the threads when the last writer is gone.
#[derive(Debug)]
struct End(Arc<Ledger>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl JournalWriter {
    /// Starts the threads. `database` is the file that `options` open, `held` what it holds, up to the first free place
    /// of its journal, and `pool` serves the sums of balances, which must not delay commits. Entries are written as
    /// those of `node`.
    pub(crate) fn start(
        database: &Path,
        durability: Durability,
        options: SqliteConnectOptions,
        pool: SqlitePool,
        held: Held,
        node: Node,
    ) -> io::Result<Self> {
        let full = durability == Durability::Full;
        let ledger = Arc::new(Ledger::new(Journal::open(database, held, full, node.id)?, full));
        // A start that finds tables which know nothing of this turn knows by this that they have lost something.
        ledger.note(held);
        let (applying, syncing) = (Arc::clone(&ledger), Arc::clone(&ledger));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || runtime.block_on(apply::run(applying, options, pool, node.number)))?;
        if full {
            std::thread::Builder::new().name("ledger-sync".to_owned()).spawn(move || syncing.sync())?;
        }
        Ok(Self { _end: Arc::new(End(Arc::clone(&ledger))), ledger })
    }
}

#[async_trait]
impl EntryWriter for JournalWriter {
    fn append(&self, entry: Entry) -> Result<Mark, WriteError> {
        self.ledger.append(entry)
    }

    fn waits_for_disk(&self) -> bool {
        self.ledger.to_sync.is_some()
    }

    fn synced(&self) -> watch::Receiver<Synced> {
        self.ledger.synced.subscribe()
    }

    fn post(&self, entry: Entry) -> Result<(), WriteError> {
        self.ledger.post(entry)
    }

    fn ended(&self) -> Ended {
        self.ledger.teller.ended()
    }

    async fn flush(&self) -> Result<(), WriteError> {
        let target = {
            let state = self.ledger.lock();
            if state.closed {
                return Err(WriteError::Closed);
            }
            state.accepted
        };
        self.ledger.urgent.notify_one();
        let mut applied = self.ledger.applied.subscribe();
        applied.wait_for(|applied| *applied >= target).await.map_err(|_| WriteError::Closed)?;
        if *applied.borrow() == u64::MAX { Err(WriteError::Closed) } else { Ok(()) }
    }

    async fn close(&self) -> usize {
        self.ledger.close();
        let mut applied = self.ledger.applied.subscribe();
        // The sender is part of `self`, so there is no error.
        let _ended = applied.wait_for(|applied| *applied == u64::MAX).await;
        self.ledger.lock().lost
    }
}
