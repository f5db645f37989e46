//! Compiled code, kept between starts.
//!
//! Loading compiled code runs it with the host's own rights, so a file counts only when it carries a tag made with a
//! key that never leaves this directory. Nothing is ever loaded from the plugins directory, and a file that is cut
//! short, altered, copied from elsewhere or made by another version is compiled anew.

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
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
/// Bytes that are read in one go.
const PIECE_BYTES: usize = 64 << 10;
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
        let file = File::open(self.path(digest)).ok()?;
        let code = match self.copy(digest, file) {
            Ok(code) => code,
            Err(error) => {
                tracing::warn!(%digest, %error, "compiled code cannot be read: compiling again");
                return None;
            }
        };
        let Some(code) = code else {
            tracing::warn!(%digest, "compiled code with a wrong tag: compiling again");
            return None;
        };
        deserialize(engine, &code)
            .inspect_err(|error| tracing::warn!(%digest, %error, "compiled code of no use: compiling again"))
            .ok()
    }

    /// The code of a kept file, in a file of its own; `None` where the tag is wrong.
    fn copy(&self, digest: &Digest, mut file: File) -> io::Result<Option<NamedTempFile>> {
        let (mut tag, mut mac) = ([0; TAG_BYTES], self.mac(digest));
        match file.read_exact(&mut tag) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let (mut code, mut piece) = (NamedTempFile::new_in(&self.dir)?, vec![0; PIECE_BYTES]);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                read => {
                    mac.update(&piece[..read]);
                    code.write_all(&piece[..read])?;
                }
            }
        }
        Ok(mac.verify_slice(&tag).is_ok().then_some(code))
    }

    /// Whether there is something for this digest. What it is worth shows when it is loaded.
    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Keeps a compiled component, and gives the kept one for it, which takes less memory. A failure costs the next
    /// start a compilation, nothing else.
    pub(crate) fn exchange(&self, engine: &Engine, digest: &Digest, component: Component) -> Component {
        let kept = component.serialize().map_err(io::Error::other).and_then(|code| self.write(digest, &code));
        if let Err(error) = kept {
            tracing::warn!(%digest, %error, "compiled code was not kept");
            return component;
        }
        self.prune();
        self.load(engine, digest).unwrap_or(component)
    }

    fn write(&self, digest: &Digest, code: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.dir)?;
        file.write_all(&self.mac(digest).chain_update(code).finalize().into_bytes())?;
        file.write_all(code)?;
        file.as_file().sync_all()?;
        file.persist(self.path(digest))?;
        Ok(())
    }

    /// What a tag is made of, but for the code.
    fn mac(&self, digest: &Digest) -> Hmac<Sha256> {
        Hmac::new((&self.key).into())
            .chain_update(digest.as_bytes())
            .chain_update(self.compatibility.to_le_bytes())
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

/// Maps the file: the parts of it that never run take no memory. Its name goes when the caller drops it, its bytes when
/// the component does.
#[expect(unsafe_code, reason = "compiled code can only be loaded this way")]
fn deserialize(engine: &Engine, code: &NamedTempFile) -> wasmtime::Result<Component> {
    // SAFETY: the tag proves that this host made these bytes, with this key, from `Component::serialize`; the engine
    // itself refuses code made by another version or for another configuration. The file is a copy, made for this alone
    // in a directory that only this user may write to, so a later change of the kept file cannot reach running code.
    unsafe { Component::deserialize_file(engine, code.path()) }
}
