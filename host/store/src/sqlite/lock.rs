//! The lock of the one that serves. It lies on three things: on a file made for it, on the journal and on the folder.
//! None of them can be removed or replaced so that a second process finds all of them free.
//!
//! Older versions know the file alone, and some network file systems cannot lock a folder. The database itself is not
//! among the three: a process that closes it gives up whatever SQLite has locked in it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::StoreError;
use crate::file;
use crate::sqlite::journal::segment_path;

/// The lock. It is held as long as this value lives.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "open files hold locks")] Vec<File>);

/// Takes the lock of a database, unless another process has it.
pub(crate) fn take(database: &Path) -> Result<Option<Lock>, StoreError> {
    let failed = |source| StoreError::File { doing: "locking", path: database.to_owned(), source };
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut held = Vec::new();
    let own = file::private().write(true).create(true).truncate(false).open(beside(database));
    let journal = match file::open(&segment_path(database, 0)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => Some(opened.map(|(file, _)| file)),
    };
    for file in [Some(own), journal, Some(File::open(folder))].into_iter().flatten() {
        let file = file.map_err(failed)?;
        let is_folder = file.metadata().map_err(failed)?.is_dir();
        match file.try_lock() {
            Ok(()) => held.push(file),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) if is_folder && has_no_locks(&error) => {}
            Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                return Err(StoreError::NoLocks(database.to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    Ok(Some(Lock(held)))
}

/// `tollgate.db` has `tollgate.db.lock` beside it.
fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Whether the file system cannot lock such a thing at all.
fn has_no_locks(error: &io::Error) -> bool {
    let none = [Errno::NOSYS, Errno::NOLCK, Errno::OPNOTSUPP, Errno::INVAL, Errno::BADF];
    Errno::from_io_error(error).is_some_and(|error| none.contains(&error))
        || error.kind() == io::ErrorKind::Unsupported
}

#[cfg(test)]
mod tests {
    use super::{beside, has_no_locks, take};
    use rustix::io::Errno;

    #[test]
    fn whatever_is_removed_or_replaced_the_lock_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("t.db");
        std::fs::write(&database, "db").unwrap();
        let held = take(&database).unwrap();
        assert!(held.is_some());
        let taken = || take(&database).unwrap().is_some();
        assert!(!taken(), "as it is");
        std::fs::remove_file(beside(&database)).unwrap();
        assert!(!taken(), "without its file");
        std::fs::rename(&database, folder.path().join("old.db")).unwrap();
        std::fs::copy(folder.path().join("old.db"), &database).unwrap();
        std::fs::remove_file(beside(&database)).unwrap();
        assert!(!taken(), "with another database of the same content");
        let link = folder.path().with_extension("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(take(&link.join("t.db")).unwrap().is_none(), "by another path");
        std::fs::remove_file(&link).unwrap();
        drop(held);
        assert!(taken());
    }

    #[test]
    fn a_folder_that_was_moved_takes_its_lock_along() {
        let around = tempfile::tempdir().unwrap();
        let (old, new) = (around.path().join("old"), around.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        std::fs::write(old.join("t.db"), "db").unwrap();
        let _held = take(&old.join("t.db")).unwrap().unwrap();
        std::fs::rename(&old, &new).unwrap();
        std::fs::remove_file(new.join("t.db.lock")).unwrap();
        assert!(take(&new.join("t.db")).unwrap().is_none());
    }

    #[test]
    fn a_file_system_without_locks_is_known_by_what_it_says() {
        for errno in [Errno::NOSYS, Errno::NOLCK, Errno::OPNOTSUPP, Errno::BADF] {
            assert!(has_no_locks(&errno.into()), "{errno}");
        }
        assert!(!has_no_locks(&Errno::IO.into()));
        assert!(!has_no_locks(&Errno::ACCESS.into()));
    }
}
