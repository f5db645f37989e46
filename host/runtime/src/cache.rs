//! Compiled code, kept between starts.
//!
//! Loading compiled code runs it with the host's own rights, so a file counts only when it carries a tag made with a
//! key that never leaves this directory. Nothing is ever loaded from the plugins directory, and a file that is cut
//! short, altered, copied from elsewhere or made by another version is compiled anew.

use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tempfile::NamedTempFile;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::digest::Digest;

/// Bytes of a tag.
const TAG_BYTES: usize = 32;
/// Bytes of the key: one block of the hash.
const KEY_BYTES: usize = 64;
/// Files kept; the oldest go first.
const FILES_MAX: usize = 64;
const KEY_FILE: &str = "key";

/// A directory of compiled components.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
    /// Distinguishes code made by other versions or for other machines.
    compatibility: u64,
}

impl Cache {
    /// Opens or makes the directory (mode 0700) and its key (mode 0600).
    pub(crate) fn open(dir: &Path, engine: &Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if fs::metadata(dir)?.permissions().mode() & 0o022 != 0 {
            return Err(io::Error::other("others may write to it"));
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { dir: dir.to_owned(), key: key(dir)?, compatibility: hasher.finish() })
    }

    /// The compiled form of the component with this digest.
    pub(crate) fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let bytes = fs::read(self.path(digest)).ok()?;
        let (tag, code) = bytes.split_at_checked(TAG_BYTES)?;
        if self.mac(digest, code).verify_slice(tag).is_err() {
            tracing::warn!(%digest, "compiled code with a wrong tag: compiling again");
            return None;
        }
        deserialize(engine, code)
            .inspect_err(|error| tracing::warn!(%digest, %error, "compiled code of no use: compiling again"))
            .ok()
    }

    /// Whether there is something for this digest. What it is worth shows when it is loaded.
    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Keeps a compiled component. A failure costs the next start a compilation, nothing else.
    pub(crate) fn store(&self, digest: &Digest, component: &Component) {
        let kept = component.serialize().map_err(io::Error::other).and_then(|code| self.write(digest, &code));
        match kept {
            Ok(()) => self.prune(),
            Err(error) => tracing::warn!(%digest, %error, "compiled code was not kept"),
        }
    }

    fn write(&self, digest: &Digest, code: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.dir)?;
        file.write_all(&self.mac(digest, code).finalize().into_bytes())?;
        file.write_all(code)?;
        file.as_file().sync_all()?;
        file.persist(self.path(digest))?;
        Ok(())
    }

    fn mac(&self, digest: &Digest, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::new((&self.key).into());
        mac.update(digest.as_bytes());
        mac.update(&self.compatibility.to_le_bytes());
        mac.update(code);
        mac
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}.cwasm", self.compatibility))
    }

    /// Removes the oldest files above the limit.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let compiled = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cwasm");
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(compiled)
            .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
            .collect();
        files.sort();
        for (_, path) in files.iter().rev().skip(FILES_MAX) {
            // Another process may have removed it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Reads the key, or makes one where there is none.
fn key(dir: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = dir.join(KEY_FILE);
    if !path.exists() {
        let mut fresh = [0; KEY_BYTES];
        getrandom::fill(&mut fresh).map_err(|error| io::Error::other(error.to_string()))?;
        let mut file = NamedTempFile::new_in(dir)?;
        file.write_all(&fresh)?;
        file.as_file().sync_all()?;
        // Another process may have been faster: its key is as good.
        let _ = file.persist_noclobber(&path);
    }
    let key = fs::read(&path)?;
    key.try_into().map_err(|_| io::Error::other("its key file is damaged"))
}

#[expect(unsafe_code, reason = "compiled code can only be loaded this way")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the tag proves that this host made these bytes, with this key, from `Component::serialize`; the engine
    // itself refuses code made by another version or for another configuration. The bytes are copied, so a later change
    // of the file cannot reach running code.
    unsafe { Component::deserialize(engine, code) }
}
