//! Positions in the order of entries, and how far they are on disk.

use crate::error::WriteError;

/// A position in the order of entries: see [`crate::EntryWriter::append`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(crate) u64);

/// How far the journal is on disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Synced {
    pub(crate) kept: u64,
    pub(crate) lost: u64,
}

impl Synced {
    /// Whether an entry is durable; `None` while that is not known yet.
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
