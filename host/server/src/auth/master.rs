//! Where the master key is, and how another takes its place.
//!
//! The key is `master.key` in the data directory, or the environment gives it. To change the one in the file, the next key is
//! written to `master.key.new` first, then everything is sealed with it in one transaction, and then the file takes the place
//! of the other. Whatever is interrupted, the database says which of the two it is sealed with, and the next start goes on
//! from there: no key is deleted before nothing needs it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tollgate_core::secret::Secret;
use tollgate_store::{MasterKey, Resealed, Store};

/// The environment's way to give the key that seals credentials: 64 hexadecimal digits.
const VARIABLE: &str = "TOLLGATE_MASTER_KEY";
/// The same for the key that is to take its place.
const NEXT_VARIABLE: &str = "TOLLGATE_MASTER_KEY_NEW";

fn path(dir: &Path) -> PathBuf {
    dir.join("master.key")
}

fn next_path(dir: &Path) -> PathBuf {
    dir.join("master.key.new")
}

fn given(variable: &str) -> anyhow::Result<Option<MasterKey>> {
    let Ok(hex) = std::env::var(variable) else { return Ok(None) };
    let key = MasterKey::from_hex(&Secret::new(hex)).with_context(|| format!("reading {variable}"))?;
    Ok(Some(key))
}

/// The key that the database is sealed with. A first start makes it; one after an interrupted change completes that.
///
/// # Errors
/// When the key cannot be read, or is another than the database's.
pub(crate) async fn load(dir: &Path, store: &Store) -> anyhow::Result<MasterKey> {
    if let Some(key) = given(VARIABLE)? {
        return fitting(store, key).await?.context(WRONG);
    }
    let known = MasterKey::load_or_create(&path(dir))?;
    if let Some(key) = fitting(store, known).await? {
        return Ok(key);
    }
    if !next_path(dir).exists() {
        bail!(WRONG);
    }
    let next = MasterKey::load_or_create(&next_path(dir))?;
    let next = fitting(store, next).await?.context(WRONG)?;
    tracing::warn!("completing a change of the master key that was interrupted");
    replace(dir)?;
    Ok(next)
}

const WRONG: &str = "the database is sealed with another master key";

/// The key, where it is the database's. A database that has none takes it.
async fn fitting(store: &Store, key: MasterKey) -> anyhow::Result<Option<MasterKey>> {
    match store.fits(&key).await? {
        Some(fits) => Ok(fits.then_some(key)),
        None => {
            store.note_key(&key).await?;
            Ok(Some(key))
        }
    }
}

/// Seals everything with a new key.
///
/// # Errors
/// While a server runs; when the new key cannot be written, or something does not open with the old one. The old key is in
/// force then.
pub(crate) async fn reseal(dir: &Path, store: &Store, old: &MasterKey) -> anyhow::Result<Resealed> {
    if given(VARIABLE)?.is_some() {
        let next = given(NEXT_VARIABLE)?;
        let next = next.with_context(|| {
            format!("the key comes from {VARIABLE}: set {NEXT_VARIABLE} to the one that is to take its place")
        })?;
        return Ok(store.reseal(old, &next).await?);
    }
    let next = MasterKey::load_or_create(&next_path(dir))?;
    sync(dir)?;
    let resealed = store.reseal(old, &next).await?;
    replace(dir)?;
    Ok(resealed)
}

/// Puts the next key into the place of the one before.
fn replace(dir: &Path) -> anyhow::Result<()> {
    match std::fs::rename(next_path(dir), path(dir)) {
        Ok(()) => {}
        // Someone else has completed the change meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("replacing {}", path(dir).display())),
    }
    Ok(sync(dir)?)
}

/// Has the disk keep the directory's names.
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
