//! What can go wrong, at the two boundaries: managing the store, and writing to the ledger.

use std::path::PathBuf;

/// Why the store could not be opened, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database answered with an error.
    #[error("{doing}")]
    Database {
        /// What was being done, in the words of a log.
        doing: &'static str,
        /// What it answered.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file beside the database (its lock, the master key) could not be read or written.
    #[error("{doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: std::io::Error,
    },
    /// The database engine of this build may damage what it keeps; the text says why.
    #[error("{0}")]
    EngineTooOld(String),
    /// A newer Tollgate migrated the database.
    #[error("the database is at schema version {found}, written by a newer Tollgate; this one knows {known}")]
    NewerSchema {
        /// The newest migration in the database.
        found: i64,
        /// The newest that this build knows.
        known: i64,
    },
    /// A migration failed, or one that was already applied has changed.
    #[error("migrating the database")]
    Migrate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another process serves from this database.
    #[error("another process serves from {}", .0.display())]
    InUse(PathBuf),
    /// Nothing there can be locked, so a second process would go unnoticed.
    #[error(
        "the file system of {} has no locks, so nothing would keep a second server out: \
         the data directory belongs on a disk of this machine", .0.display()
    )]
    NoLocks(PathBuf),
    /// What was kept is not all there any more.
    #[error(
        "{}; nothing was changed. Put back what is missing, or start with --accept-loss to go on with what is left",
        .0.join("; ")
    )]
    Lost(Vec<String>),
    /// Nothing has this id or name.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The name is taken, or the key is already there.
    #[error("the {0} already exists")]
    Exists(&'static str),
    /// There are as many as are allowed.
    #[error("no more than {max} {what} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        max: u32,
    },
    /// They are the last enabled admin: without them nobody could manage anything.
    #[error("this is the last admin who is enabled: make another one first")]
    LastAdmin,
    /// Somebody has changed it since its actor looked at it.
    #[error("it was changed meanwhile: look at it again")]
    Stale,
    /// An argument makes no sense; the text says which.
    #[error("{0}")]
    Invalid(String),
    /// The request makes sense but cannot be done as things are; the text says why.
    #[error("{0}")]
    Refused(String),
    /// The sweep could not release a hold.
    #[error("releasing a hold that a crash left")]
    Sweep(#[source] WriteError),
    /// Stored bytes are not what their column promises.
    #[error("a stored {0} is damaged")]
    Damaged(&'static str),
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Why an entry is not in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The request has such an entry already: a hold taken twice, a hold resolved twice. Harmless.
    #[error("the ledger has this entry already")]
    Duplicate,
    /// The entry breaks a rule of the schema (no such hold, no such user) and will never be written.
    #[error("the ledger refuses the entry: {0}")]
    Refused(String),
    /// The database failed; the hold was not written.
    #[error("the ledger is unavailable")]
    Unavailable,
    /// The writer has been closed.
    #[error("the ledger is closed")]
    Closed,
}

/// Why a secret could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Another key sealed it, or it was changed or moved to another row.
    #[error("the credential cannot be opened with this master key")]
    Open,
    /// The cipher refused the text; it does so only past 256 GiB.
    #[error("the credential cannot be sealed")]
    Seal,
    /// The master key is not 64 hexadecimal digits.
    #[error("a master key is 64 hexadecimal digits")]
    Key,
    /// The system has no randomness to give.
    #[error("the system gave no random bytes")]
    Random,
}
