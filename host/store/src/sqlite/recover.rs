//! Reads what a run left in the journal into the tables.

use std::path::Path;

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

use crate::error::StoreError;
use crate::sqlite::apply::report;
use crate::sqlite::commit::Tables;
use crate::sqlite::damage;
use crate::sqlite::error::Doing;
use crate::sqlite::journal::{Found, Held, Position, Segments, Unreadable, salvage, turn};

/// Brings the tables up to the end of the journal. Where something is missing everything stays as it is, so that the
/// next start sees it too. The caller holds the lock of the database: nobody else writes to the journal.
pub(crate) async fn catch_up(database: &Path, options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let mut left = LeftOver::find(database, options).await?;
    if left.lost.is_empty() && !left.is_empty() {
        left.write().await?;
    }
    if !left.lost.is_empty() {
        tracing::error!(lost = left.lost.join("; "), "the data is not whole");
    }
    left.tables.close().await.doing("closing the ledger")
}

/// The same, and says what a run that begins now finds in the tables, and from where on it may write. Where something
/// is missing, it is refused unless that was accepted; then everything is read that can be.
pub(crate) async fn begin(
    database: &Path,
    pool: &SqlitePool,
    options: &SqliteConnectOptions,
    accept_loss: bool,
) -> Result<Held, StoreError> {
    let mut left = LeftOver::find(database, options).await?;
    left.lost.extend(damage::of_node(database, pool).await?);
    left.lost.extend(damage::of_database(pool).await?);
    if !left.lost.is_empty() {
        if !accept_loss {
            return Err(StoreError::Lost(left.lost));
        }
        for lost in &left.lost {
            tracing::error!("accepted as lost: {lost}");
        }
        left.save().map_err(unreadable)?;
    }
    left.write().await?;
    let held = left.tables.held().await.doing("reading the journal's position")?;
    left.tables.close().await.doing("closing the ledger")?;
    Ok(held)
}

/// What a run left in the journal, and the tables that it is for.
struct LeftOver {
    tables: Tables,
    segments: Segments,
    read_up_to: Position,
    /// What is to be written, and what the tables have read once it is.
    found: Vec<(Found, Position)>,
    /// What is missing, in words.
    lost: Vec<String>,
}

impl LeftOver {
    async fn find(database: &Path, options: &SqliteConnectOptions) -> Result<Self, StoreError> {
        let mut tables = Tables::open(options, None).await.doing("opening the ledger")?;
        let held = tables.held().await.doing("reading the journal's position")?;
        let read_up_to = held.position;
        let segments = Segments::read(database).map_err(|source| StoreError::File {
            doing: "reading the journal of",
            path: database.to_owned(),
            source,
        })?;
        let lost = match damage::is_copy(database, &segments)? {
            true => Vec::new(),
            false => damage::of_journal(database, &segments, &held),
        };
        let [rest, next] = segments.replay(read_up_to).map_err(unreadable)?;
        let turned = Position { sequence: read_up_to.sequence + 1, offset: 0 };
        let found = vec![(rest, turned), (next, read_up_to.after_restart())];
        Ok(Self { tables, segments, read_up_to, found, lost })
    }

    fn is_empty(&self) -> bool {
        self.found.iter().all(|(found, _)| found.entries.is_empty())
    }

    /// Finds everything that can be read, behind damaged places and in later turns too.
    fn save(&mut self) -> Result<(), Unreadable> {
        let Position { sequence, offset } = self.read_up_to;
        let own = [sequence, sequence + 1];
        let later = own.into_iter().filter_map(|slot| turn(self.segments.of(slot)?));
        let mut turns: Vec<u64> = later.chain(own).filter(|turn| *turn >= sequence).collect();
        turns.sort_unstable();
        turns.dedup();
        // Nothing that was ever written may be taken for new.
        let newest = turns.last().copied().unwrap_or(sequence);
        let end = Position { sequence: newest, offset: 0 }.after_restart();
        self.found.clear();
        for turn in turns {
            let from = if turn == sequence { usize::try_from(offset).unwrap_or(usize::MAX) } else { 0 };
            let found = salvage(self.segments.of(turn).unwrap_or_default(), from, turn)?;
            // Until all of it is written, the next start has to find what this one found.
            self.found.push((found, if turn == newest { end } else { self.read_up_to }));
        }
        Ok(())
    }

    /// Writes each segment's entries as those of the node that wrote them. The position moves beyond all of them.
    async fn write(&mut self) -> Result<(), StoreError> {
        for (Found { node, entries }, position) in &self.found {
            let written = self.tables.write_of(*node, entries, *position).await;
            report(entries, written.doing("reading the journal into the tables")?);
            if !entries.is_empty() {
                tracing::info!(entries = entries.len(), "read the rest of the journal into the tables");
            }
        }
        Ok(())
    }
}

fn unreadable(error: Unreadable) -> StoreError {
    StoreError::Invalid(error.to_string())
}
