//! Where a component's bytes come from: a file of the plugins directory, or the binary itself.

use std::borrow::Cow;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::binding::Embedded;
use crate::error::LoadError;

/// Tries at a file that changes while it is read.
const READS_MAX: u32 = 5;
/// Pause between them.
const READ_PAUSE: Duration = Duration::from_millis(50);

/// Where a component came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The binary carries it.
    Embedded,
    /// This file.
    File(PathBuf),
    /// A file that was good once, as it was kept.
    Kept,
    /// Nothing was found that could be loaded.
    Nowhere,
}

/// The bytes of `component`: the file of that name where there is one, else the embedded component.
pub(crate) fn find(
    component: &str,
    plugins_dir: Option<&Path>,
    embedded: &[Embedded],
    bytes_max: u64,
) -> Result<(Cow<'static, [u8]>, Source), LoadError> {
    if let Some(dir) = plugins_dir {
        let path = dir.join(format!("{component}.wasm"));
        if let Some(bytes) = read(&path, bytes_max)? {
            return Ok((bytes.into(), Source::File(path)));
        }
    }
    match embedded.iter().find(|candidate| candidate.name == component) {
        Some(found) => Ok((found.bytes.into(), Source::Embedded)),
        None => Err(LoadError::Missing { component: component.to_owned() }),
    }
}

/// Reads a file that others may be writing or replacing: only a copy that did not change meanwhile is taken. `None`
/// when there is no such file.
fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, LoadError> {
    for attempt in 0..READS_MAX {
        if attempt > 0 {
            thread::sleep(READ_PAUSE);
        }
        match read_once(path, bytes_max) {
            Ok(Some(bytes)) => return Ok(Some(bytes)),
            Ok(None) => {}
            Err(Refusal::Absent) => return Ok(None),
            Err(Refusal::Load(error)) => return Err(error),
        }
    }
    Err(LoadError::Torn { path: path.to_owned() })
}

enum Refusal {
    Absent,
    Load(LoadError),
}

/// One try; `None` when the file changed.
fn read_once(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, Refusal> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Refusal::Absent,
        _ => Refusal::Load(LoadError::Read { path: path.to_owned(), cause: error.to_string() }),
    };
    let irregular = || {
        let cause = "not a regular file".to_owned();
        Refusal::Load(LoadError::Read { path: path.to_owned(), cause })
    };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(irregular());
    }
    // Opening a pipe would wait for its writer, and what is opened may be another than what was looked at.
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    if !before.is_file() {
        return Err(irregular());
    }
    if before.len() > bytes_max {
        return Err(Refusal::Load(LoadError::TooLarge { size: before.len(), limit: bytes_max }));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    let after = fs::metadata(path).map_err(failed)?;
    let whole = bytes.len() as u64 == before.len() && identity(&before) == identity(&after);
    Ok(whole.then_some(bytes))
}

fn identity(file: &Metadata) -> (u64, u64, u64, i64, i64) {
    (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec())
}
