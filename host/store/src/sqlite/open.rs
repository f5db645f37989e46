//! Opens the database: settings, version check, migrations, and the lock of the process that serves.
//!
//! The holder of the lock may write to the journal, and read what a crashed run left in it. A server holds it for as
//! long as it lives; other processes only while they catch up with a journal that nobody writes to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlitePool};
use tokio::sync::OnceCell;
use tollgate_core::id::UserId;

use crate::catalogue::Catalogue;
use crate::catalogue::audit::Act;
use crate::error::StoreError;
use crate::file;
use crate::ledger::Ledger;
use crate::ledger::account::Balance;
use crate::ledger::writer::{EntryWriter, Writer};
use crate::log::RequestLog;
use crate::options::{Durability, Options};
use crate::sessions::Sessions;
use crate::sqlite::balance;
use crate::sqlite::error::Doing;
use crate::sqlite::lock::{self, Lock};
use crate::sqlite::node::{self, Node};
use crate::sqlite::writer::JournalWriter;
use crate::sqlite::{damage, recover};
use crate::store::Store;

static MIGRATIONS: Migrator = sqlx::migrate!("src/sqlite/migrations");

/// The first SQLite that does not corrupt a write-ahead log which two connections reset at once.
const SQLITE_MIN: [u32; 3] = [3, 51, 3];

/// The database. Cheap to clone, and usable from any tokio runtime with timers.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    inner: Arc<Inner>,
    /// Who changes things through it, for the audit log.
    pub(crate) act: Option<Arc<Act>>,
}

/// How long a server waits for a process that only catches up.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Inner {
    pool: SqlitePool,
    options: SqliteConnectOptions,
    durability: Durability,
    accept_loss: bool,
    path: PathBuf,
    /// Held from the first use of the writer on, by the process that serves.
    lock: OnceCell<Lock>,
    serving: OnceCell<Serving>,
}

/// What the process that serves has.
#[derive(Debug)]
pub(crate) struct Serving {
    /// Writes to the journal.
    pub(crate) writer: JournalWriter,
    /// The node as which it writes.
    pub(crate) node: Node,
}

impl Store {
    /// Opens the database at `path`, creates it if there is none, and migrates it. Where a process ended without
    /// bringing all of its journal into the tables, that is done now.
    ///
    /// # Errors
    /// When the file cannot be opened, SQLite is older than 3.51.3, a newer Tollgate migrated the database, or the
    /// database is gone from beside the files of a server.
    pub async fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let database = Arc::new(Database::open(path, options).await?);
        Ok(Self {
            catalogue: Arc::clone(&database) as _,
            ledger: Arc::clone(&database) as _,
            log: Arc::clone(&database) as _,
            sessions: Arc::clone(&database) as _,
            feed: database,
        })
    }
}

impl Catalogue for Database {
    fn acting(&self, act: Arc<Act>) -> Arc<dyn Catalogue> {
        Arc::new(self.clone().put_down_to(act))
    }
}

#[async_trait]
impl Ledger for Database {
    fn acting(&self, act: Arc<Act>) -> Arc<dyn Ledger> {
        Arc::new(self.clone().put_down_to(act))
    }

    async fn writer(&self) -> Result<Writer, StoreError> {
        Ok(Arc::new(self.serving().await?.writer.clone()))
    }

    async fn balances_of(&self, users: &[UserId]) -> Result<Vec<Balance>, StoreError> {
        let mut connection = self.pool().acquire().await.doing("reading balances")?;
        balance::of(&mut connection, users).await
    }

    async fn close(&self) -> usize {
        let lost = match self.inner.serving.get() {
            Some(Serving { writer, node }) => {
                let lost = writer.close().await;
                if let Err(error) = node::end_lease(self.pool(), *node).await {
                    tracing::warn!(%error, "this node's lease ends by itself: it could not be given up");
                }
                lost
            }
            None => 0,
        };
        self.inner.pool.close().await;
        lost
    }
}

impl RequestLog for Database {}

impl Sessions for Database {}

impl Database {
    async fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let Options { sync: durability, accept_loss } = options;
        make_private(path, accept_loss)?;
        let options = connect_options(path, durability);
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await
            .doing("opening the database")?;
        check_version(&pool).await?;
        migrate(&pool).await?;
        let (lock, serving) = Default::default();
        let inner =
            Arc::new(Inner { pool, options, durability, accept_loss, path: path.to_owned(), lock, serving });
        let store = Self { inner, act: None };
        if let Some(_lock) = lock::take(path)? {
            recover::catch_up(path, &store.ledger_options()).await?;
        }
        Ok(store)
    }

    /// What the process that serves has; the first call makes this process that one.
    pub(crate) async fn serving(&self) -> Result<&Serving, StoreError> {
        self.lock().await?;
        let started = self.inner.serving.get_or_try_init(async || {
            let Inner { path, durability, pool, accept_loss, .. } = &*self.inner;
            let options = self.ledger_options();
            let held = recover::begin(path, pool, &options, *accept_loss).await?;
            let node = node::own(path, pool).await?;
            let writer = JournalWriter::start(path, *durability, options, pool.clone(), held, node)
                .map_err(|source| self.file_error("starting the writer of", source))?;
            Ok(Serving { writer, node })
        });
        started.await
    }

    /// The same database on someone's behalf: the audit log names them for every change.
    fn put_down_to(self, act: Arc<Act>) -> Self {
        Self { act: Some(act), ..self }
    }

    /// Connections for everything but the writer's entries.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.inner.pool
    }

    /// How the writer's own connection is opened. Its commits allow the journal to be written over, so they wait for
    /// the disk.
    fn ledger_options(&self) -> SqliteConnectOptions {
        self.inner.options.clone().synchronous(SqliteSynchronous::Full)
    }

    /// Makes this process the one that serves from the database, until it ends.
    pub(crate) async fn lock(&self) -> Result<(), StoreError> {
        let locked = self.inner.lock.get_or_try_init(async || {
            let deadline = tokio::time::Instant::now() + LOCK_PATIENCE;
            loop {
                match lock::take(&self.inner.path)? {
                    Some(lock) => return Ok(lock),
                    None if tokio::time::Instant::now() >= deadline => {
                        return Err(StoreError::InUse(self.inner.path.clone()));
                    }
                    None => tokio::time::sleep(LOCK_PAUSE).await,
                }
            }
        });
        locked.await.map(drop)
    }

    fn file_error(&self, doing: &'static str, source: std::io::Error) -> StoreError {
        StoreError::File { doing, path: self.inner.path.clone(), source }
    }
}

/// Sees to it that nobody else may open the database, nor what SQLite puts beside it with the same rights.
///
/// An existing one is not opened for it: whoever closes a database gives up what SQLite has locked in it.
fn make_private(path: &Path, accept_loss: bool) -> Result<(), StoreError> {
    if let Some(missing) = damage::of_missing(path)? {
        if !accept_loss {
            return Err(StoreError::Lost(vec![missing]));
        }
        tracing::error!("accepted as lost: {missing}");
    }
    match file::private().write(true).create_new(true).open(path) {
        Ok(_made) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(StoreError::File { doing: "making", path: path.to_owned(), source }),
    }
    for ending in ["", "-wal", "-shm", ".lock"] {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        file::tighten(Path::new(&name));
    }
    Ok(())
}

fn connect_options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    let synchronous = match durability {
        Durability::Full => SqliteSynchronous::Full,
        Durability::Normal => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .pragma("mmap_size", "0")
        .disable_statement_logging()
}

async fn check_version(pool: &SqlitePool) -> Result<(), StoreError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(pool)
        .await
        .doing("asking SQLite for its version")?;
    let parts: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    if parts.as_slice() < SQLITE_MIN.as_slice() { Err(too_old(&version)) } else { Ok(()) }
}

fn too_old(version: &str) -> StoreError {
    StoreError::EngineTooOld(format!(
        "SQLite {version} can corrupt its write-ahead log; 3.51.3 or newer is needed"
    ))
}

async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    match MIGRATIONS.run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => {
            let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
            Err(StoreError::NewerSchema { found, known })
        }
        Err(error) => Err(StoreError::Migrate(Box::new(error))),
    }
}

/// Ten random bytes for an id.
pub(crate) fn random() -> Result<[u8; 10], StoreError> {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).map_err(|_| crate::seal::SealError::Random)?;
    Ok(bytes)
}
