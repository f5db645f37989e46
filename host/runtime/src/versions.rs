//! What is known of versions across restarts: which were good, and which failed their trial. A small file of text,
//! written anew and whole with each change.
//!
//! One line each: `good NAME COMPONENT CONFIGURATION`, `failed NAME COMPONENT SPEC REASON`, `taken NAME FILE
//! COMPONENT`, `ran NAME FILE COMPONENT CONFIGURATION MILLISECONDS`, fields parted by tabs, digests in hexadecimal.
//! Lines that say nothing are passed over, so a damaged file costs what it said and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::digest::Digest;

/// What tells two versions of a component apart: bytes and configuration.
pub(crate) type Version = (Digest, Digest);

/// By unit: what was good last, and what failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    /// What has stood its trial and came from a file.
    pub(crate) good: BTreeMap<String, Version>,
    /// What was rolled back.
    pub(crate) failed: BTreeMap<String, Failed>,
    /// What served of a file last: its name, and its bytes.
    pub(crate) taken: BTreeMap<String, (String, Digest)>,
    /// What served of each unit, one after the other, the last entries of each.
    pub(crate) ran: Vec<Ran>,
}

/// A version that served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The binding, with its variant.
    pub name: String,
    /// The file's name without `.wasm`, or that of the component which the binary carries.
    pub component: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// SHA-256 of its configuration.
    pub config: Digest,
    /// Milliseconds since 1970 at which it began to serve.
    pub at_ms: u64,
}

/// Entries of one unit that are kept.
const RAN_MAX: usize = 50;

/// What served so far, the oldest first, as the file at `path` says. Nothing where there is none.
#[must_use]
pub fn history(path: &Path) -> Vec<Ran> {
    Versions::read(path).ran
}

/// What is known against versions at `path`: the binding, the digest, and why it was rolled back.
#[must_use]
pub fn rolled_back(path: &Path) -> Vec<(String, Digest, String)> {
    let failed = Versions::read(path).failed.into_iter();
    failed.map(|(name, failed)| (name, failed.digest, failed.reason)).collect()
}

/// A component that was rolled back. With other bounds it may do better, so it is known by all that it runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// The component.
    pub(crate) digest: Digest,
    /// What it was to run with.
    pub(crate) spec: Digest,
    /// Its last error.
    pub(crate) reason: String,
}

impl Versions {
    /// Notes what serves from now on, where that is news.
    pub(crate) fn serves(&mut self, now: Ran) {
        let of_unit = |ran: &Ran| ran.name == now.name;
        let last = self.ran.iter().rfind(|ran| of_unit(ran));
        if last.is_some_and(|last| (last.digest, last.config) == (now.digest, now.config)) {
            return;
        }
        if self.ran.iter().filter(|ran| of_unit(ran)).count() >= RAN_MAX
            && let Some(oldest) = self.ran.iter().position(of_unit)
        {
            self.ran.remove(oldest);
        }
        self.ran.push(now);
    }

    /// What the file says; nothing where there is none.
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read(path).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(error),
        });
        match text {
            Ok(text) => Self::parse(&String::from_utf8_lossy(&text)),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "which components were good is not known");
                Self::default()
            }
        }
    }

    /// Writes the file, under another name first: a crash leaves the old one or the new one.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = NamedTempFile::new_in(dir)?;
        file.write_all(self.text().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        std::fs::File::open(dir)?.sync_all()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        for (name, (component, config)) in self.good.iter().filter(|(name, _)| is_field(name)) {
            let _ = writeln!(text, "good\t{name}\t{component}\t{config}");
        }
        let fields = |(name, (file, _)): &(&String, &(String, Digest))| is_field(name) && is_field(file);
        for (name, (file, component)) in self.taken.iter().filter(fields) {
            let _ = writeln!(text, "taken\t{name}\t{file}\t{component}");
        }
        for (name, Failed { digest, spec, reason }) in self.failed.iter().filter(|(name, _)| is_field(name)) {
            let reason = reason.replace(char::is_control, " ");
            let _ = writeln!(text, "failed\t{name}\t{digest}\t{spec}\t{reason}");
        }
        for Ran { name, component, digest, config, at_ms } in &self.ran {
            if is_field(name) && is_field(component) {
                let _ = writeln!(text, "ran\t{name}\t{component}\t{digest}\t{config}\t{at_ms}");
            }
        }
        text
    }

    fn parse(text: &str) -> Self {
        let mut versions = Self::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.splitn(5, '\t').collect();
            match fields.as_slice() {
                ["good", name, component, config] => {
                    let version = component.parse().ok().zip(config.parse().ok());
                    versions.good.extend(version.map(|version| ((*name).to_owned(), version)));
                }
                ["taken", name, file, component] => {
                    let taken = component.parse().ok().map(|digest| ((*file).to_owned(), digest));
                    versions.taken.extend(taken.map(|taken| ((*name).to_owned(), taken)));
                }
                ["failed", name, digest, spec, reason] => {
                    if let (Ok(digest), Ok(spec)) = (digest.parse(), spec.parse()) {
                        let failed = Failed { digest, spec, reason: (*reason).to_owned() };
                        versions.failed.insert((*name).to_owned(), failed);
                    }
                }
                ["ran", name, component, digest, rest] => {
                    versions.ran.extend(ran(name, component, digest, rest));
                }
                _ => tracing::warn!("a line of the file of component versions says nothing"),
            }
        }
        versions
    }
}

fn ran(name: &str, component: &str, digest: &str, rest: &str) -> Option<Ran> {
    let (config, at_ms) = rest.split_once('\t')?;
    Some(Ran {
        name: name.to_owned(),
        component: component.to_owned(),
        digest: digest.parse().ok()?,
        config: config.parse().ok()?,
        at_ms: at_ms.parse().ok()?,
    })
}

/// Whether a name fits into a line.
fn is_field(name: &str) -> bool {
    !name.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::{Digest, Failed, Ran, Versions};

    fn versions() -> Versions {
        let digest = |text: &str| Digest::of(text.as_bytes());
        let failed = Failed {
            digest: digest("bad"),
            spec: digest("spec"),
            reason: "it trapped\tat once\n".to_owned(),
        };
        Versions {
            good: [("pricing".to_owned(), (digest("good"), digest("{}")))].into(),
            failed: [("selection/new".to_owned(), failed)].into(),
            taken: [("pricing".to_owned(), ("own".to_owned(), digest("good")))].into(),
            ran: vec![served("good", 7), served("other", 8)],
        }
    }

    fn served(bytes: &str, at_ms: u64) -> Ran {
        let (digest, config) = (Digest::of(bytes.as_bytes()), Digest::of(b"{}"));
        Ran { name: "pricing".to_owned(), component: "own".to_owned(), digest, config, at_ms }
    }

    #[test]
    fn what_served_is_kept_in_order_once_and_not_without_end() {
        let mut versions = Versions::default();
        for at_ms in 0..3 {
            versions.serves(served("one", at_ms));
        }
        versions.serves(served("two", 3));
        versions.serves(served("one", 4));
        assert_eq!(versions.ran.iter().map(|ran| ran.at_ms).collect::<Vec<_>>(), [0, 3, 4]);
        versions.serves(Ran { name: "other".to_owned(), ..served("one", 5) });
        for at_ms in 10..200 {
            versions.serves(served(&at_ms.to_string(), at_ms));
        }
        assert_eq!((versions.ran.len(), versions.ran[0].at_ms), (super::RAN_MAX + 1, 5));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data").join("versions");
        assert_eq!(Versions::read(&path), Versions::default());
        versions().write(&path).unwrap();
        versions().write(&path).unwrap();
        let read = Versions::read(&path);
        assert_eq!((&read.good, &read.taken), (&versions().good, &versions().taken));
        assert_eq!((&read.ran, super::history(&path)), (&versions().ran, versions().ran));
        assert_eq!(read.failed["selection/new"].reason, "it trapped at once ");
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn a_damaged_file_costs_what_it_said_and_nothing_else() {
        let text = versions().text();
        for cut in 0..text.len() {
            Versions::parse(&text[..cut]);
        }
        let garbage = format!("good\tpricing\tnot hex\t00\n\u{fffd}\n{text}");
        assert_eq!(Versions::parse(&garbage).good, versions().good);
    }
}
