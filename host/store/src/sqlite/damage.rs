//! What was kept and is not there any more: tables and journal, held against each other at a start.
//!
//! A crash leaves tables that lag behind the journal, and a journal whose last frame may be torn. Everything else is an
//! accident, or somebody's doing: a write-ahead log that was removed, a database that an older one has replaced, a
//! journal that is gone, shorter than it was, or damaged in its middle. A server does not go on from such data by
//! itself: what users have paid may be missing from it.

use std::path::Path;

use sqlx::{SqliteConnection, SqlitePool};

use crate::error::StoreError;
use crate::sqlite::error::Doing;
use crate::sqlite::journal::{Held, Segments, Survey, boot, segment_path, survey, turn};
use crate::sqlite::node;
use crate::sqlite::row::loaded;

/// Databases up to this size are looked through at each start; the check of a larger one takes too long for that.
const CHECKED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Findings about the database itself that are told.
const FINDINGS_MAX: usize = 3;

/// What journal and tables lack by each other's account: a sentence each, none where all is well.
pub(crate) fn of_journal(database: &Path, segments: &Segments, held: &Held) -> Vec<String> {
    let now = held.position.sequence;
    let [current, next] = [now, now + 1].map(|sequence| {
        let segment = segments.of(sequence).unwrap_or_default();
        Segment {
            sequence,
            database,
            exists: segments.of(sequence).is_some(),
            found: survey(segment, sequence),
        }
    });
    let mark = next.found.mark.or(current.found.mark);
    let rebooted = mark.is_some_and(|mark| mark.boot != boot() && mark.boot != 0);
    let mut lost = Vec::new();
    lost.extend(current.lacks(held.position.offset, rebooted));
    lost.extend(next.lacks(0, rebooted));
    let newest = [now, now + 1].into_iter().filter_map(|sequence| turn(segments.of(sequence)?)).max();
    if let Some(newest) = newest.filter(|newest| *newest > now + 1) {
        lost.push(format!(
            "the journal beside {} is at its turn {newest}, and the database knows of turn {now}: the database is an \
             older one, or its write-ahead log (-wal) was removed",
            database.display()
        ));
    } else if let Some(mark) = mark.filter(|mark| held.lacks(&mark.held)) {
        let noted = mark.held;
        lost.push(format!(
            "{} held {} transfers and {} changes when the journal noted it last, and holds {} and {}: it is an older \
             database, or its write-ahead log (-wal) was removed",
            database.display(),
            noted.transfers,
            noted.changes,
            held.transfers,
            held.changes,
        ));
    }
    lost
}

/// Whether the database stands alone, as a backup does: what its journal held beyond it is not to be had.
pub(crate) fn is_copy(database: &Path, segments: &Segments) -> Result<bool, StoreError> {
    Ok(!segments.any() && node::kept(database)?.is_none())
}

/// One segment, by what it should hold.
struct Segment<'a> {
    sequence: u64,
    database: &'a Path,
    exists: bool,
    found: Survey,
}

impl Segment<'_> {
    /// What it lacks when the tables have read it up to `read`.
    fn lacks(&self, read: u64, rebooted: bool) -> Option<String> {
        let path = segment_path(self.database, u8::from(self.sequence % 2 == 1));
        let (path, whole) = (path.display(), self.found.whole as u64);
        if read > 0 && !self.exists {
            return Some(format!("{path} is gone, of which the database holds {read} bytes"));
        }
        // A loss of power takes what the disk was not told to keep, sector by sector.
        if rebooted && self.found.is_unwritten {
            return None;
        }
        if let Some(next) = self.found.goes_on {
            return Some(format!("{path} is damaged between its bytes {whole} and {next}"));
        }
        (whole < read).then(|| {
            format!("{path} ends or is damaged at its byte {whole}, and the database has read {read}")
        })
    }
}

/// Whether the database knows this installation.
pub(crate) async fn of_node(database: &Path, pool: &SqlitePool) -> Result<Option<String>, StoreError> {
    let Some(id) = node::kept(database)? else { return Ok(None) };
    let (known, all): (bool, i64) =
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM node WHERE id = ?), (SELECT COUNT(*) FROM node)")
            .bind(id.as_bytes().as_slice())
            .fetch_one(pool)
            .await
            .doing("finding this node")?;
    let is_other = all > 0 && !known;
    let database = database.display();
    Ok(is_other.then(|| {
        format!("{database} belongs to another installation than the files beside it ({database}.node)")
    }))
}

/// What is wrong with the database as a file: pages that are not there or not what they should be.
pub(crate) async fn of_database(pool: &SqlitePool) -> Result<Vec<String>, StoreError> {
    let mut connection = pool.acquire().await.doing("checking the database")?;
    let pages: i64 = number(&mut connection, "PRAGMA page_count").await?;
    let bytes: i64 = number(&mut connection, "PRAGMA page_size").await?;
    if loaded(pages).saturating_mul(loaded(bytes)) > CHECKED_BYTES_MAX {
        return Ok(Vec::new());
    }
    let found = sqlx::query_scalar::<_, String>("PRAGMA quick_check").fetch_all(&mut *connection).await;
    Ok(match found {
        Ok(found) => {
            let wrong =
                found.into_iter().filter(|line| line != "ok" && !is_of_a_value(line)).take(FINDINGS_MAX);
            wrong.map(|line| format!("the database is damaged: {}", line.replace('\n', " "))).collect()
        }
        Err(error) => vec![format!("the database is damaged: {error}")],
    })
}

/// Whether a finding is of what stands in a row, and not of the file: such a row is left out by whoever reads it, and
/// keeps nobody from starting.
fn is_of_a_value(finding: &str) -> bool {
    finding.starts_with("CHECK constraint failed") || finding.contains(" value in ")
}

async fn number(connection: &mut SqliteConnection, query: &'static str) -> Result<i64, StoreError> {
    sqlx::query_scalar(query).fetch_one(connection).await.doing("checking the database")
}

/// What stands beside a database that is empty or not there, though a server ran from it.
pub(crate) fn of_missing(database: &Path) -> Result<Option<String>, StoreError> {
    let is_there = std::fs::metadata(database).is_ok_and(|is| is.len() > 0);
    if is_there || node::kept(database)?.is_none() {
        return Ok(None);
    }
    let database = database.display();
    Ok(Some(format!(
        "{database} is empty or gone, and the files beside it are those of a server that ran from it"
    )))
}
