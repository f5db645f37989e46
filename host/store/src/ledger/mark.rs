//! Places in the order of entries, and how far the disk keeps them.

use crate::error::WriteError;

/// A place in the order of entries: see [`crate::EntryWriter::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(crate) u64);

/// How far the disk keeps the journal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Synced {
    pub(crate) kept: u64,
    pub(crate) lost: u64,
}

impl Synced {
    /// Whether an entry is durable; `None` when that is yet to be seen.
    ///
    /// # Errors
    /// [`WriteError::Unavailable`] when the disk failed.
    #[must_use = "an entry may not be durable yet"]
    pub fn settles(&self, Mark(mark): Mark) -> Option<Result<(), WriteError>> {
        if mark <= self.lost {
            Some(Err(WriteError::Unavailable))
        } else {
            (mark <= self.kept).then_some(Ok(()))
        }
    }
}
