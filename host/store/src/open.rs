//! Opens the database: settings, version check, migrations, and the lock of the one that serves.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlitePool};

use crate::error::{Doing, StoreError};
use crate::writer::Writer;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The first SQLite that does not corrupt a write-ahead log which two connections reset at once.
const SQLITE_MIN: [u32; 3] = [3, 51, 3];

/// When a commit counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once the disk has it: survives a loss of power.
    #[default]
    Full,
    /// Once the kernel has it: survives a crash of the process; a loss of power may take the last commits.
    Normal,
}

/// How to open a store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// When a commit counts as durable.
    pub sync: Durability,
}

/// The database. Cheap to clone, and usable from any tokio runtime with timers.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: SqlitePool,
    options: SqliteConnectOptions,
    path: PathBuf,
    writer: OnceLock<Writer>,
    /// Held from the first sweep on, by the process that serves.
    lock: OnceLock<File>,
}

impl Store {
    /// Opens the database at `path`, makes it where there is none, and migrates it.
    ///
    /// # Errors
    /// When the file cannot be opened, SQLite is older than 3.51.3, or a newer Tollgate migrated the database.
    pub async fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let options = connect_options(path, options);
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
        let (writer, lock) = Default::default();
        Ok(Self(Arc::new(Inner { pool, options, path: path.to_owned(), writer, lock })))
    }

    /// The writer, whose thread starts with the first call.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn writer(&self) -> Result<Writer, StoreError> {
        if let Some(writer) = self.0.writer.get() {
            return Ok(writer.clone());
        }
        let started = Writer::start(self.0.options.clone(), self.0.pool.clone());
        let writer = started.map_err(|source| self.file_error("starting the writer of", source))?;
        // When two callers start one each, the second one's thread ends with its last handle.
        Ok(self.0.writer.get_or_init(|| writer).clone())
    }

    /// Writes what was handed to the writer, where it was started, and closes every connection.
    ///
    /// Returns how many entries a failing database did not take; 0 on an orderly end.
    pub async fn close(&self) -> usize {
        let lost = match self.0.writer.get() {
            Some(writer) => writer.close().await,
            None => 0,
        };
        self.0.pool.close().await;
        lost
    }

    /// Connections for everything but the writer's entries.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.0.pool
    }

    /// Makes this process the one that serves from the database, until it ends.
    pub(crate) fn lock(&self) -> Result<(), StoreError> {
        if self.0.lock.get().is_some() {
            return Ok(());
        }
        let mut name = self.0.path.clone().into_os_string();
        name.push(".lock");
        let file = File::create(PathBuf::from(name)).map_err(|source| self.file_error("locking", source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StoreError::InUse(self.0.path.clone())),
            Err(std::fs::TryLockError::Error(source)) => return Err(self.file_error("locking", source)),
        }
        // Another thread may have been faster, but not with success: the lock is ours.
        let _ = self.0.lock.set(file);
        Ok(())
    }

    fn file_error(&self, doing: &'static str, source: std::io::Error) -> StoreError {
        StoreError::File { doing, path: self.0.path.clone(), source }
    }
}

fn connect_options(path: &Path, options: Options) -> SqliteConnectOptions {
    let synchronous = match options.sync {
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
    if parts.as_slice() < SQLITE_MIN.as_slice() { Err(StoreError::SqliteTooOld(version)) } else { Ok(()) }
}

async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    match MIGRATIONS.run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => {
            let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
            Err(StoreError::NewerSchema { found, known })
        }
        Err(error) => Err(StoreError::Migrate(error)),
    }
}

/// Ten random bytes for an id.
pub(crate) fn random() -> Result<[u8; 10], StoreError> {
    let mut bytes = [0; 10];
    getrandom::fill(&mut bytes).map_err(|_| crate::seal::SealError::Random)?;
    Ok(bytes)
}
