//! The nodes that write the ledger. An installation is a *node*: its id is made once and kept beside the database and
//! in it, its number stands in each transfer that it writes, and its *lease* says until when it counts as alive.
//!
//! Only the node itself, when it starts again, or another after the end of its lease may release its holds. Transfers
//! from before nodes had numbers carry none, and belong to the first node.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sqlx::{SqliteConnection, SqlitePool};
use tollgate_core::id::NodeId;
use tollgate_core::time::Timestamp;

use crate::error::StoreError;
use crate::file;
use crate::ledger::account::LEASE_MS;
use crate::sqlite::error::Doing;
use crate::sqlite::row::{Row, fields, stored};

/// More than an id in a file takes.
const BYTES_MAX: u64 = 4096;

/// A node as the tables know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its id.
    pub(crate) id: NodeId,
    /// The number that its transfers carry.
    pub(crate) number: i64,
}

/// This installation: the node in the file beside the database; without a file, the only node that the database knows;
/// else a new one. The caller holds the lock of the database.
pub(crate) async fn own(database: &Path, pool: &SqlitePool) -> Result<Node, StoreError> {
    let path = path(database);
    file::tighten(&path);
    let id = match read(&path)? {
        Some(id) => id,
        None => {
            let id = match only(pool).await? {
                Some(id) => id,
                None => NodeId::from_bytes(random()?),
            };
            keep(&path, id).map_err(|source| file_error("writing", &path, source))?;
            id
        }
    };
    let mut connection = pool.acquire().await.doing("finding this node")?;
    Ok(Node { id, number: number(&mut connection, id).await.doing("finding this node")? })
}

/// The number that the transfers of a node carry. A node that is not known yet is added.
pub(crate) async fn number(connection: &mut SqliteConnection, id: NodeId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "INSERT INTO node (id, lease_until, swept) VALUES (?, 0, 0) \
         ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING number",
    )
    .bind(id.as_bytes().as_slice())
    .fetch_one(connection)
    .await
}

/// The id that is kept beside the database: there is none where no server ran.
pub(crate) fn kept(database: &Path) -> Result<Option<NodeId>, StoreError> {
    read(&path(database))
}

fn random() -> Result<[u8; 16], StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| crate::seal::SealError::Random)?;
    Ok(bytes)
}

async fn only(pool: &SqlitePool) -> Result<Option<NodeId>, StoreError> {
    let rows = sqlx::query("SELECT id FROM node LIMIT 2").fetch_all(pool).await.doing("finding this node")?;
    let id = |row: &mut Row<'_>| row.bytes().map(NodeId::from_bytes);
    match rows.as_slice() {
        [row] => fields("node", row, id).map(Some),
        _ => Ok(None),
    }
}

/// Renews the node's lease from `now` on.
pub(crate) async fn keep_lease(pool: &SqlitePool, node: Node, now: Timestamp) -> Result<(), StoreError> {
    set_lease(pool, node, now.plus_ms(LEASE_MS)).await.doing("keeping this node's lease")
}

/// Notes that the node has ended in order.
pub(crate) async fn end_lease(pool: &SqlitePool, node: Node) -> Result<(), sqlx::Error> {
    set_lease(pool, node, Timestamp::from_millis(0)).await
}

async fn set_lease(pool: &SqlitePool, node: Node, until: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE node SET lease_until = ? WHERE number = ?")
        .bind(stored(until.millis()))
        .bind(node.number)
        .execute(pool)
        .await
        .map(drop)
}

/// Notes that no hold of `own` is open any more, and none of other nodes than `this` whose lease is over: they have no
/// lease now.
pub(crate) async fn note_sweep(
    pool: &SqlitePool,
    own: i64,
    this: Node,
    now: Timestamp,
) -> Result<(), StoreError> {
    let noted = sqlx::query(
        "UPDATE node SET swept = (SELECT COALESCE(MAX(seq), 0) FROM transfer), \
         lease_until = CASE number WHEN ?1 THEN lease_until ELSE 0 END \
         WHERE number = ?2 OR (number <> ?1 AND lease_until <= ?3)",
    )
    .bind(this.number)
    .bind(own)
    .bind(stored(now.millis()))
    .execute(pool)
    .await;
    noted.map(drop).doing("noting the sweep")
}

/// Whether the lease of another node is over, and its holds have not been released.
pub(crate) async fn is_any_dead(pool: &SqlitePool, own: Node, now: Timestamp) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM node WHERE number <> ? AND lease_until BETWEEN 1 AND ?)")
        .bind(own.number)
        .bind(stored(now.millis()))
        .fetch_one(pool)
        .await
        .doing("looking for dead nodes")
}

/// `tollgate.db` has `tollgate.db.node` beside it.
fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".node");
    name.into()
}

fn read(path: &Path) -> Result<Option<NodeId>, StoreError> {
    let text = match file::read_text(path, BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|source| file_error("reading", path, source))?,
    };
    let wrong = |_| StoreError::Invalid(format!("{} does not hold the id of a node", path.display()));
    text.trim().parse().map(Some).map_err(wrong)
}

/// Written whole or not at all, and before anything carries it.
fn keep(path: &Path, id: impl Display) -> io::Result<()> {
    let new = path.with_extension("node.new");
    let mut file = file::private().write(true).create(true).truncate(true).open(&new)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn file_error(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::File { doing, path: path.to_owned(), source }
}
