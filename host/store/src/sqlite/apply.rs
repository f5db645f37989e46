//! The ledger's thread: brings entries from the journal into the tables, in commits as large as
//! [`APPLY_INTERVAL`] makes them.
//!
//! A failed commit is tried again for as long as the process lives. The position that it moves says whether it
//! happened, so there is never a doubt. A writer that closes gives up in the end, and the next start finds the entries
//! in the journal.

use std::sync::Arc;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::{Instant, sleep, timeout};

use crate::entry::Entry;
use crate::error::WriteError;
use crate::sqlite::backlog::{Batch, Ledger};
use crate::sqlite::balance;
use crate::sqlite::commit::Tables;

/// How long entries may wait for the tables.
const APPLY_INTERVAL: Duration = Duration::from_millis(250);

/// How often the journal notes what others have changed in the tables.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// First and longest pause between tries at a database that fails.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Failed tries after which a writer that is closing gives up.
const CLOSING_TRIES_MAX: u32 = 5;
/// Entries after which balances are summed up again.
const SNAPSHOT_ENTRIES: u64 = 250_000;
/// The time after which they are, if there were any entries.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(300);

/// Serves until the writer is closed and the tables hold everything.
pub(crate) async fn run(ledger: Arc<Ledger>, options: SqliteConnectOptions, pool: SqlitePool, node: i64) {
    let mut applier = Applier { ledger: Arc::clone(&ledger), options, pool, node, tables: None, version: 0 };
    let given_up = tokio::select! {
        given_up = applier.run() => given_up,
        () = ledger.write_lingering() => None,
    };
    ledger.ended(given_up.as_ref());
}

struct Applier {
    ledger: Arc<Ledger>,
    options: SqliteConnectOptions,
    pool: SqlitePool,
    /// The number of the node, which transfers carry.
    node: i64,
    tables: Option<Tables>,
    /// The database as it was when the journal noted last what it holds.
    version: i64,
}

impl Applier {
    /// Returns a batch that was given up.
    async fn run(&mut self) -> Option<Batch> {
        let mut unsummed = 0;
        let mut summed_at = Instant::now();
        loop {
            let Some(batch) = self.ledger.take() else {
                if self.ledger.is_closed() {
                    break;
                }
                self.next().await;
                continue;
            };
            unsummed += batch.entries.len() as u64;
            if !self.apply(&batch).await {
                return Some(batch);
            }
            self.ledger.applied(batch);
            self.note().await;
            if unsummed >= SNAPSHOT_ENTRIES || summed_at.elapsed() >= SNAPSHOT_INTERVAL {
                tokio::spawn(refresh_balances(self.pool.clone()));
                (unsummed, summed_at) = (0, Instant::now());
            }
            self.next().await;
        }
        // All of the journal is in the tables: a start needs nothing of it.
        let end = Batch::nothing(self.ledger.end().after_restart());
        if !self.apply(&end).await {
            return Some(end);
        }
        if let Some(tables) = self.tables.take() {
            refresh_balances(self.pool.clone()).await;
            log_failure("closing the ledger", tables.close().await);
        }
        None
    }

    /// Waits for entries, and then for more of them or for a caller who cannot wait.
    async fn next(&mut self) {
        if self.ledger.is_closed() {
            return;
        }
        loop {
            tokio::select! {
                () = self.ledger.urgent.notified() => return,
                () = self.ledger.arrived.notified() => break,
                () = sleep(NOTE_INTERVAL) => self.note_others().await,
            }
        }
        // Whether late or early, there is work to do.
        let _urgent = timeout(APPLY_INTERVAL, self.ledger.urgent.notified()).await;
    }

    /// Brings a batch into the tables, however long the database takes to recover. Says whether it got there.
    async fn apply(&mut self, batch: &Batch) -> bool {
        let mut pause = BACKOFF.0;
        for tries in 1.. {
            match self.try_apply(batch, tries > 1).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, tries, "writing the ledger")
                }
            }
            // Whatever state the connection is in, it is not used again; dropping it rolls back.
            self.tables = None;
            if self.ledger.is_closed() && tries >= CLOSING_TRIES_MAX {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
        false
    }

    /// Has the journal say what the last commit left in the tables.
    async fn note(&mut self) {
        let Some(tables) = &mut self.tables else { return };
        if let Some(held) = tables.last {
            self.ledger.note(held);
        }
        self.version = tables.version().await.unwrap_or_default();
    }

    /// The same where somebody else has changed them: management books points too, and nothing of it is in the journal.
    async fn note_others(&mut self) {
        match self.commit_nothing().await {
            Ok(true) => self.note().await,
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(%error, "what the tables hold is noted later");
                self.tables = None;
            }
        }
    }

    /// An empty commit, after which the disk has what others have committed before; none where they have not.
    async fn commit_nothing(&mut self) -> Result<bool, sqlx::Error> {
        let known = self.version;
        let tables = self.open().await?;
        let changed = tables.version().await? != known;
        if changed {
            let position = tables.position().await?;
            tables.write(&[], position).await?;
        }
        Ok(changed)
    }

    async fn open(&mut self) -> Result<&mut Tables, sqlx::Error> {
        let tables = match self.tables.take() {
            Some(tables) => tables,
            None => Tables::open(&self.options, Some(self.node)).await?,
        };
        Ok(self.tables.insert(tables))
    }

    async fn try_apply(&mut self, batch: &Batch, in_doubt: bool) -> Result<(), sqlx::Error> {
        let tables = self.open().await?;
        if in_doubt && tables.position().await? == batch.position {
            return Ok(());
        }
        let answers = tables.write(&batch.entries, batch.position).await?;
        report(&batch.entries, answers);
        Ok(())
    }
}

/// Logs failures of entries that no caller waits for.
pub(crate) fn report(entries: &[Entry], answers: Vec<Result<(), WriteError>>) {
    for (entry, answer) in entries.iter().zip(answers) {
        match answer {
            Ok(()) => {}
            Err(WriteError::Duplicate) => tracing::debug!(?entry, "the ledger has this entry already"),
            Err(error) => tracing::error!(?entry, %error, "an entry was not written"),
        }
    }
}

async fn refresh_balances(pool: SqlitePool) {
    log_failure("summing up balances", balance::refresh(&pool).await);
}

fn log_failure<E: std::error::Error + 'static>(doing: &'static str, outcome: Result<(), E>) {
    if let Err(error) = outcome {
        tracing::warn!(error = &error as &dyn std::error::Error, doing);
    }
}
