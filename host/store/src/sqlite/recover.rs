//! Reads what a run left in the journal into the tables.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;

use crate::entry::Entry;
use crate::error::StoreError;
use crate::sqlite::apply::report;
use crate::sqlite::commit::Tables;
use crate::sqlite::error::Doing;
use crate::sqlite::journal::{Position, ReplayError, replay};

/// Brings the tables up to the end of the journal. The caller holds the lock of the database: nobody else writes to the
/// journal.
pub(crate) async fn catch_up(database: &Path, options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let mut tables = Tables::open(options).await.doing("opening the ledger")?;
    let (entries, start) = left_over(database, &mut tables).await?;
    if !entries.is_empty() {
        write(&mut tables, &entries, start).await?;
    }
    tables.close().await.doing("closing the ledger")
}

/// The same, and says where a run that begins now may write.
pub(crate) async fn begin(database: &Path, options: &SqliteConnectOptions) -> Result<Position, StoreError> {
    let mut tables = Tables::open(options).await.doing("opening the ledger")?;
    let (entries, start) = left_over(database, &mut tables).await?;
    write(&mut tables, &entries, start).await?;
    tables.close().await.doing("closing the ledger")?;
    Ok(start)
}

async fn left_over(database: &Path, tables: &mut Tables) -> Result<(Vec<Entry>, Position), StoreError> {
    let read_up_to = tables.position().await.doing("reading the journal's position")?;
    let entries = replay(database, read_up_to).map_err(|error| failed(database, error))?;
    Ok((entries, read_up_to.after_restart()))
}

async fn write(tables: &mut Tables, entries: &[Entry], start: Position) -> Result<(), StoreError> {
    let answers = tables.write(entries, start).await.doing("reading the journal into the tables")?;
    if !entries.is_empty() {
        tracing::info!(entries = entries.len(), "read the rest of the journal into the tables");
    }
    report(entries, answers);
    Ok(())
}

fn failed(database: &Path, error: ReplayError) -> StoreError {
    match error {
        ReplayError::File(source) => {
            StoreError::File { doing: "reading the journal of", path: database.to_owned(), source }
        }
        ReplayError::Format(error) => StoreError::Invalid(error.to_string()),
    }
}
