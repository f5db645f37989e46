//! Where the master key is, and how another replaces it.
//!
//! The key is in `master.key` in the data directory, or in the environment. To change the one in the file, the next key
//! is written to `master.key.new` first, then everything is sealed with it in one transaction, and then the new file
//! replaces the old one. Wherever this is interrupted, the database tells which of the two keys it is sealed with, and
//! the next start continues from there: no key is deleted while anything needs it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tollgate_core::secret::Secret;
use tollgate_store::seal::SealError;
use tollgate_store::{MasterKey, Resealed, Store, StoreError};

/// The variable with the key that seals credentials: 64 hexadecimal digits.
const VARIABLE: &str = "TOLLGATE_MASTER_KEY";
/// The variable with the key that is to replace it.
const NEXT_VARIABLE: &str = "TOLLGATE_MASTER_KEY_NEW";

/// Why the master key cannot be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The environment gives an invalid key.
    #[error("loading the master key: reading {variable}")]
    Given {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        #[source]
        source: SealError,
    },
    /// The key is another than the one that the database is sealed with.
    #[error("loading the master key: the database is sealed with another master key than the one in {0}")]
    Other(String),
    /// The file of the key is gone.
    #[error(
        "loading the master key: there is no {}, and what the database holds is sealed with it. Put it back, or give \
         the key in {VARIABLE}; no new one was made", .0.display()
    )]
    Missing(PathBuf),
    /// The environment gives the key in force, and not the one that is to take its place.
    #[error("the key comes from {VARIABLE}: set {NEXT_VARIABLE} to the one that is to take its place")]
    NoNext,
    /// The file of the key could not be replaced.
    #[error("replacing {}", path.display())]
    Replace {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The file of the key, or the database, could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn path(dir: &Path) -> PathBuf {
    dir.join("master.key")
}

fn next_path(dir: &Path) -> PathBuf {
    dir.join("master.key.new")
}

fn given(variable: &'static str) -> Result<Option<MasterKey>, MasterKeyError> {
    let Ok(hex) = std::env::var(variable) else { return Ok(None) };
    let key = MasterKey::from_hex(&Secret::new(hex));
    key.map(Some).map_err(|source| MasterKeyError::Given { variable, source })
}

/// The key that the database is sealed with. A first start creates it; a start after an interrupted change completes
/// the change.
///
/// # Errors
/// When the key cannot be read, or is not the database's.
pub(crate) async fn load(dir: &Path, store: &Store) -> Result<MasterKey, MasterKeyError> {
    if let Some(key) = given(VARIABLE)? {
        return fitting(store, key).await?.ok_or_else(|| MasterKeyError::Other(VARIABLE.to_owned()));
    }
    let file = path(dir);
    let known = MasterKey::load(&file)?;
    let is_there = known.is_some();
    if let Some(known) = known
        && let Some(key) = fitting(store, known).await?
    {
        return Ok(key);
    }
    let other = || MasterKeyError::Other(file.display().to_string());
    let Some(next) = MasterKey::load(&next_path(dir))? else {
        return match (is_there, store.catalogue.is_sealed().await?) {
            (true, _) => Err(other()),
            (false, true) => Err(MasterKeyError::Missing(file)),
            // Another start may make it at the same moment.
            (false, false) => fitting(store, MasterKey::load_or_create(&file)?).await?.ok_or_else(other),
        };
    };
    let next = fitting(store, next).await?.ok_or_else(other)?;
    tracing::warn!("completing a change of the master key that was interrupted");
    replace(dir)?;
    Ok(next)
}

/// The key, if it is the database's. A database without a key takes this one.
async fn fitting(store: &Store, key: MasterKey) -> Result<Option<MasterKey>, StoreError> {
    match store.catalogue.fits(&key).await? {
        Some(fits) => Ok(fits.then_some(key)),
        None => {
            store.catalogue.note_key(&key).await?;
            Ok(Some(key))
        }
    }
}

/// Seals everything with a new key.
///
/// # Errors
/// While a server runs; when the new key cannot be written, or something does not open with the old one. Then the old
/// key stays in force.
pub(crate) async fn reseal(dir: &Path, store: &Store, old: &MasterKey) -> Result<Resealed, MasterKeyError> {
    if given(VARIABLE)?.is_some() {
        let next = given(NEXT_VARIABLE)?.ok_or(MasterKeyError::NoNext)?;
        return Ok(store.catalogue.reseal(old, &next).await?);
    }
    let next = MasterKey::load_or_create(&next_path(dir))?;
    sync(dir).map_err(|source| MasterKeyError::Replace { path: path(dir), source })?;
    let resealed = store.catalogue.reseal(old, &next).await?;
    replace(dir)?;
    Ok(resealed)
}

/// Replaces the previous key with the next one.
fn replace(dir: &Path) -> Result<(), MasterKeyError> {
    let renamed = match std::fs::rename(next_path(dir), path(dir)) {
        // Another process has completed the change meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    };
    let replaced = renamed.and_then(|()| sync(dir));
    replaced.map_err(|source| MasterKeyError::Replace { path: path(dir), source })
}

/// Syncs the directory.
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
