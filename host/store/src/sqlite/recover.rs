//! Reads what a run left in the journal into the tables.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;

use crate::error::StoreError;
use crate::sqlite::apply::report;
use crate::sqlite::commit::Tables;
use crate::sqlite::error::Doing;
use crate::sqlite::journal::{Found, Position, ReplayError, replay};

/// Brings the tables up to the end of the journal. The caller holds the lock of the database: nobody else
/// writes to the journal.
pub(crate) async fn catch_up(database: &Path, options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let mut left = LeftOver::find(database, options).await?;
    if !left.is_empty() {
        left.write().await?;
    }
    left.tables.close().await.doing("closing the ledger")
}

/// The same, and returns where a run that begins now may write.
pub(crate) async fn begin(database: &Path, options: &SqliteConnectOptions) -> Result<Position, StoreError> {
    let mut left = LeftOver::find(database, options).await?;
    left.write().await?;
    left.tables.close().await.doing("closing the ledger")?;
    Ok(left.read_up_to.after_restart())
}

/// What a run left in the journal, and the tables that it is for.
struct LeftOver {
    tables: Tables,
    read_up_to: Position,
    found: [Found; 2],
}

impl LeftOver {
    async fn find(database: &Path, options: &SqliteConnectOptions) -> Result<Self, StoreError> {
        let mut tables = Tables::open(options, None).await.doing("opening the ledger")?;
        let read_up_to = tables.position().await.doing("reading the journal's position")?;
        let found = replay(database, read_up_to).map_err(|error| failed(database, error))?;
        Ok(Self { tables, read_up_to, found })
    }

    fn is_empty(&self) -> bool {
        self.found.iter().all(|found| found.entries.is_empty())
    }

    /// Writes each segment's entries as those of the node that wrote them. The position moves beyond all of them.
    async fn write(&mut self) -> Result<(), StoreError> {
        let next = Position { sequence: self.read_up_to.sequence + 1, offset: 0 };
        let positions = [next, self.read_up_to.after_restart()];
        for (Found { node, entries }, position) in self.found.iter().zip(positions) {
            let written = self.tables.write_of(*node, entries, position).await;
            report(entries, written.doing("reading the journal into the tables")?);
            if !entries.is_empty() {
                tracing::info!(entries = entries.len(), "read the rest of the journal into the tables");
            }
        }
        Ok(())
    }
}

fn failed(database: &Path, error: ReplayError) -> StoreError {
    match error {
        ReplayError::File(source) => {
            StoreError::File { doing: "reading the journal of", path: database.to_owned(), source }
        }
        ReplayError::Format(error) => StoreError::Invalid(error.to_string()),
    }
}
