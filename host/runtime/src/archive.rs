//! Keeps pricing policies and their configurations for as long as there are receipts of theirs: by digest, so that
//! the same is kept once and what was changed on the disk is noticed.
//!
//! A policy is kept before it can price anything: one that cannot be kept is refused.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// A directory of components and configurations, each named by the SHA-256 of its bytes.
#[derive(Debug, Clone)]
pub struct Archive {
    dir: PathBuf,
}

impl Archive {
    /// The archive in `dir`, which is made with the first thing that is kept.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where it is: components as `<digest>.wasm`, which a plugins directory may be.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The archive of what binaries carried that served here, beside this one: no receipt names it.
    #[must_use]
    pub fn carried(&self) -> Self {
        Self::new(self.dir.join("carried"))
    }

    /// Keeps a component and a configuration, durably.
    pub(crate) fn keep(&self, component: &[u8], config: &str) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        self.write(Digest::of(component), "wasm", component)?;
        self.write(Digest::of(config.as_bytes()), "json", config.as_bytes())
    }

    /// The same without waiting for the disk, and without a look at what is there already: for what nobody's receipt
    /// rests on. Whoever reads it finds out whether it is whole.
    pub(crate) fn keep_lightly(&self, component: &[u8], config: &str) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        for (bytes, extension) in [(component, "wasm"), (config.as_bytes(), "json")] {
            let path = self.path(Digest::of(bytes), extension);
            let is_there = fs::metadata(&path).is_ok_and(|is| is.len() == bytes.len() as u64);
            if !is_there {
                fs::write(path, bytes)?;
            }
        }
        Ok(())
    }

    /// A component that was kept.
    ///
    /// # Errors
    /// When it is not there, or is no longer what it was.
    pub fn component(&self, digest: Digest) -> io::Result<Vec<u8>> {
        self.read(digest, "wasm")
    }

    /// A configuration that was kept, as JSON text.
    ///
    /// # Errors
    /// When it is not there, or is no longer what it was.
    pub fn config(&self, digest: Digest) -> io::Result<String> {
        let bytes = self.read(digest, "json")?;
        String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    fn path(&self, digest: Digest, extension: &str) -> PathBuf {
        self.dir.join(format!("{digest}.{extension}"))
    }

    fn read(&self, digest: Digest, extension: &str) -> io::Result<Vec<u8>> {
        let bytes = fs::read(self.path(digest, extension))?;
        if Digest::of(&bytes) == digest {
            return Ok(bytes);
        }
        Err(io::Error::new(ErrorKind::InvalidData, "the file is not what it was when it was kept"))
    }

    /// Writes what is not there, or no longer whole, under another name first: a crash leaves no half of it.
    fn write(&self, digest: Digest, extension: &str, bytes: &[u8]) -> io::Result<()> {
        if self.read(digest, extension).is_ok() {
            return Ok(());
        }
        let path = self.path(digest, extension);
        let new = self.dir.join(format!(".{digest}.{extension}.{}", std::process::id()));
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;
    use crate::digest::Digest;

    #[test]
    fn what_is_kept_is_found_by_its_digest_until_someone_changes_it() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::new(dir.path().join("components"));
        let digest = Digest::of(b"component");
        archive.component(digest).unwrap_err();
        archive.keep(b"component", "{}").unwrap();
        archive.keep(b"component", "{}").unwrap();
        assert_eq!(archive.component(digest).unwrap(), b"component");
        assert_eq!(archive.config(Digest::of(b"{}")).unwrap(), "{}");
        assert_eq!(std::fs::read_dir(archive.dir()).unwrap().count(), 2, "nothing is left beside them");

        let path = archive.dir().join(format!("{digest}.wasm"));
        std::fs::write(&path, b"compromise").unwrap();
        archive.component(digest).unwrap_err();
        archive.keep(b"component", "{}").unwrap();
        assert_eq!(archive.component(digest).unwrap(), b"component", "it is made whole again");

        archive.carried().keep_lightly(b"component", "{}").unwrap();
        assert_eq!(archive.carried().component(digest).unwrap(), b"component");
    }
}
