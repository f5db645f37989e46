//! Files that are named by people, and files that are nobody else's business.
//!
//! What is read is a regular file of a bounded size, so that reading it ends: whatever a path leads to, nobody waits
//! for the other end of a pipe or reads a device. What is made is for its owner's eyes alone, whatever the `umask` and
//! the folder say.

use std::fs::{File, FileType, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Who may read and write what Tollgate makes: its owner.
pub const PRIVATE: u32 = 0o600;
/// What everybody but the owner may do with a file.
const OTHERS: u32 = 0o077;

/// Reads a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// When there is none, when it is longer, or when the path leads to a pipe, a device, a socket or a folder.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let (file, is) = open(path)?;
    if is.len() > bytes_max {
        return Err(too_long(bytes_max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(is.len()).unwrap_or(0));
    // It may grow meanwhile, and some files say that they are empty.
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(too_long(bytes_max)) } else { Ok(bytes) }
}

/// The same as text.
///
/// # Errors
/// As for [`read`], and for what is no UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let bytes = read(path, bytes_max)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text (UTF-8)"))
}

/// Opens a regular file to be read, without ever waiting for somebody else.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // To open some devices does something already.
    regular(std::fs::metadata(path)?.file_type())?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let is = file.metadata()?;
    regular(is.file_type())?;
    Ok((file, is))
}

fn regular(kind: FileType) -> io::Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    let what = match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, and must be a file")))
}

fn too_long(bytes_max: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {bytes_max} bytes"))
}

/// How a file is made that is for its owner alone.
#[must_use]
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(PRIVATE);
    options
}

/// Whether anybody but the owner may do something with a file.
pub(crate) fn is_open(is: &Metadata) -> bool {
    is.permissions().mode() & OTHERS != 0
}

/// Takes the rights of everybody but the owner away, where there is such a file and they have any.
pub(crate) fn tighten(path: &Path) {
    let Ok(is) = std::fs::symlink_metadata(path) else { return };
    if !is.is_file() || !is_open(&is) {
        return;
    }
    let mode = is.permissions().mode();
    let (file, was) = (path.display(), format!("{:03o}", mode & 0o777));
    match std::fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        Ok(()) => tracing::warn!(%file, was, "others could open this file: it is for its owner alone now"),
        Err(error) => tracing::error!(%file, was, %error, "others may open this file"),
    }
}

#[cfg(test)]
mod tests {
    use super::{private, read, read_text, tighten};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    fn refused(path: &Path, why: &str) {
        let error = read(path, 10).unwrap_err().to_string();
        assert!(error.contains(why), "{}: {error}", path.display());
    }

    #[test]
    fn a_file_is_read_and_everything_else_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "ten bytes.").unwrap();
        assert_eq!(read_text(&at("file"), 10).unwrap(), "ten bytes.");
        symlink(at("file"), at("link")).unwrap();
        assert_eq!(read(&at("link"), 10).unwrap(), b"ten bytes.");
        std::fs::write(at("long"), "eleven byte").unwrap();
        refused(&at("long"), "longer than 10 bytes");
        refused(folder.path(), "a directory");
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        refused(&at("pipe"), "a pipe");
        symlink("/dev/zero", at("zero")).unwrap();
        refused(&at("zero"), "a device");
        let _listening = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        refused(&at("socket"), "a socket");
        refused(&at("nothing"), "No such file");
        std::fs::write(at("bytes"), [0xff]).unwrap();
        assert!(read_text(&at("bytes"), 10).unwrap_err().to_string().contains("no text"));
    }

    #[test]
    fn a_file_that_others_may_open_is_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        drop(private().write(true).create(true).open(&path).unwrap());
        assert_eq!(mode(), 0o600);
        for open in [0o644, 0o666, 0o640, 0o604, 0o777] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(open)).unwrap();
            tighten(&path);
            assert_eq!(mode(), open & 0o700);
        }
        tighten(&folder.path().join("nothing"));
    }
}
