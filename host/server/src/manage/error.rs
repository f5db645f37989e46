//! Why management did not do what it was asked to. `admin/error.rs` turns it into a status and a code, the command line
//! into a text.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use tollgate_store::StoreError;
use tollgate_store::seal::SealError;

use crate::auth::master::MasterKeyError;

/// Why management did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// Nothing has this id or name.
    #[error("there is no such {what}{}", Named(.which))]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// The id or name that it was looked for by, where the caller gave one.
        which: Option<String>,
    },
    /// The name is taken.
    #[error("the {what}{} already exists", Named(.which))]
    Exists {
        /// What has the name.
        what: &'static str,
        /// The name.
        which: Option<String>,
    },
    /// There are as many as are allowed.
    #[error("no more than {max} {what} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        max: u32,
    },
    /// Without this admin nobody could manage anything.
    #[error("this is the last admin who is enabled: make another one first")]
    LastAdmin,
    /// Somebody has changed it since the caller looked at it.
    #[error("it was changed meanwhile: look at it again")]
    Stale,
    /// An argument is invalid.
    #[error("{reason}")]
    Invalid {
        /// The invalid field; empty where it is no particular one.
        field: &'static str,
        /// What is wrong with it, for the caller.
        reason: String,
    },
    /// The request makes sense but cannot be done as things are; the text says why.
    #[error("{0}")]
    Refused(String),
    /// There is no database, and nobody asked for one to be made.
    #[error(
        "there is no database in {}: a first start of the server makes one, or `tollgate user add`; \
         --data-dir names another directory", .0.display()
    )]
    NoData(PathBuf),
    /// A server runs on the data directory, and this must be done without one.
    #[error("another process serves from {}", .0.display())]
    Serving(PathBuf),
    /// The master key cannot be read or replaced.
    #[error(transparent)]
    MasterKey(MasterKeyError),
    /// A file beside the database could not be used.
    #[error("{doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The database could not be opened.
    #[error("opening {}", path.display())]
    Open {
        /// The database.
        path: PathBuf,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// What the store holds cannot be read by this version.
    #[error("reading {what}")]
    Unreadable {
        /// What was read.
        what: String,
        /// Why it cannot be.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Something could not be written as JSON or CSV.
    #[error("writing {what}")]
    Unwritable {
        /// What was written.
        what: &'static str,
        /// Why it cannot be.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The system gives no randomness, so nothing secret can be made.
    #[error("the system gives no randomness")]
    Randomness,
    /// A password could not be hashed.
    #[error("the password could not be hashed")]
    Hash,
    /// A thread that worked for management has panicked.
    #[error("a task of management ended early")]
    Ended,
}

impl ManageError {
    /// An invalid field.
    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }

    /// Nothing of this kind has this id or name.
    pub(crate) fn not_found(what: &'static str, which: impl fmt::Display) -> Self {
        Self::NotFound { what, which: Some(which.to_string()) }
    }

    /// Something that this version cannot read.
    pub(crate) fn unreadable(
        what: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Unreadable { what: what.into(), source: source.into() }
    }

    /// Something that cannot be written.
    pub(crate) fn unwritable(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unwritable { what, source: source.into() }
    }
}

/// The id or name of what is not there, or there already.
struct Named<'a>(&'a Option<String>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |name| write!(f, " `{name}`"))
    }
}

impl From<StoreError> for ManageError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::NotFound { what, which: None },
            StoreError::Exists(what) => Self::Exists { what, which: None },
            StoreError::TooMany { what, max } => Self::TooMany { what, max },
            StoreError::LastAdmin => Self::LastAdmin,
            StoreError::Stale => Self::Stale,
            StoreError::Invalid(reason) => Self::invalid("", reason),
            StoreError::Refused(reason) => Self::Refused(reason),
            StoreError::InUse(path) => Self::Serving(path),
            error => Self::Store(error),
        }
    }
}

impl From<SealError> for ManageError {
    fn from(error: SealError) -> Self {
        Self::Store(error.into())
    }
}

impl From<MasterKeyError> for ManageError {
    fn from(error: MasterKeyError) -> Self {
        match error {
            MasterKeyError::Store(error) => error.into(),
            error => Self::MasterKey(error),
        }
    }
}

/// Adds the name of what was looked for, which the store does not know.
pub(super) trait Which<T> {
    /// Names what is missing, or exists already.
    fn which(self, name: impl fmt::Display) -> Result<T, ManageError>;
}

impl<T> Which<T> for Result<T, StoreError> {
    fn which(self, name: impl fmt::Display) -> Result<T, ManageError> {
        self.map_err(|error| match ManageError::from(error) {
            ManageError::NotFound { what, .. } => ManageError::not_found(what, name),
            ManageError::Exists { what, .. } => ManageError::Exists { what, which: Some(name.to_string()) },
            error => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use tollgate_store::StoreError;

    use super::{ManageError, Which};

    #[test]
    fn what_is_not_there_is_named_where_the_caller_gave_a_name() {
        let check = |error: ManageError, expected: &str| assert_eq!(error.to_string(), expected);
        let missing = || Err::<(), _>(StoreError::NotFound("user"));
        check(missing().which("carol").unwrap_err(), "there is no such user `carol`");
        check(missing().unwrap_err().into(), "there is no such user");
        check(
            Err::<(), _>(StoreError::Exists("user")).which("carol").unwrap_err(),
            "the user `carol` already exists",
        );
        check(StoreError::LastAdmin.into(), &StoreError::LastAdmin.to_string());
    }
}
