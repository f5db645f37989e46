//! The journal: an entry is in a file before anyone relies on it, and in the tables a moment later.
//!
//! One write at the end of a file is the least that durability can cost; a commit to tables and their indexes is many
//! times that, and far cheaper for a thousand requests at once than for one. So the road waits only for the former, and
//! the ledger's thread brings the entries into the tables in large commits, each of which also moves the position up to
//! which the journal has been read (table `journal`). A start reads what follows that position.
//!
//! Two files, the segments, are written in turn. Each turn has the next sequence number, and a segment is overwritten
//! only when the tables hold all of it.

mod bytes;
mod code;
mod frame;
mod held;
#[cfg(test)]
mod samples;
mod survey;
mod v0;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tollgate_core::id::NodeId;

pub(crate) use self::frame::{Found, Unreadable};
use self::held::Mark;
pub(crate) use self::held::{Held, boot};
pub(crate) use self::survey::{Survey, salvage, survey, turn};
use crate::entry::Entry;
use crate::file;

/// Bytes after which the other segment's turn begins.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Sequence numbers that a run of the process may have used beyond the one that the tables know.
pub(crate) const SEQUENCES_AHEAD: u64 = 2;

/// No segment is longer by far: what waits for the tables is bounded.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// Which turn.
    pub(crate) sequence: u64,
    /// Byte in its segment.
    pub(crate) offset: u64,
}

impl Position {
    /// Where to begin so that nothing written earlier can be taken for new.
    pub(crate) const fn after_restart(self) -> Self {
        Self { sequence: self.sequence + SEQUENCES_AHEAD, offset: 0 }
    }
}

/// The end of the journal.
#[derive(Debug)]
pub(crate) struct Journal {
    segments: [Arc<File>; 2],
    /// The position up to which frames are written.
    end: Position,
    /// Frames that are not written yet.
    buffer: Vec<u8>,
    /// Bytes written since the start.
    written: u64,
    /// The other segment, if it was left before it was synced.
    left: Option<Arc<File>>,
    /// The node whose entries these are.
    node: NodeId,
    /// What the tables are known to hold.
    held: Held,
    /// Which start of the machine this is.
    boot: u64,
}

impl Journal {
    /// Opens the segments beside `database` to write from where the tables hold it. `allocate` takes their room now, so
    /// that the disk has no more to keep track of than their bytes when it is told to keep them.
    pub(crate) fn open(database: &Path, held: Held, allocate: bool, node: NodeId) -> io::Result<Self> {
        let open = |index| -> io::Result<_> {
            let path = segment_path(database, index);
            file::tighten(&path);
            let file = file::private().read(true).write(true).create(true).truncate(false).open(path)?;
            if allocate && file.metadata()?.len() < SEGMENT_BYTES {
                file.write_all_at(&vec![0; usize::try_from(SEGMENT_BYTES).unwrap_or(0)], 0)?;
                file.sync_all()?;
            }
            Ok(Arc::new(file))
        };
        let segments = [open(0)?, open(1)?];
        if allocate && let Some(folder) = database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // After a loss of power, files without an entry in their folder would be lost.
            File::open(folder)?.sync_all()?;
        }
        let (end, boot) = (held.position, held::boot());
        Ok(Self { segments, end, buffer: Vec::new(), written: 0, left: None, node, held, boot })
    }

    /// A journal on a disk that accepts nothing.
    #[cfg(test)]
    pub(crate) fn unwritable(folder: &Path) -> Self {
        let file = folder.join("full");
        std::fs::write(&file, "").unwrap();
        let segments = [File::open(&file).unwrap(), File::open(&file).unwrap()].map(Arc::new);
        let end = Position { sequence: 1, offset: 0 };
        let node = NodeId::from_bytes([0; 16]);
        let held = Held { position: end, changes: 0, transfers: 0 };
        Self { segments, end, buffer: Vec::new(), written: 0, left: None, node, held, boot: 0 }
    }

    /// Adds an entry to what is written next. Returns how long the buffer was, for [`Journal::retract`].
    pub(crate) fn push(&mut self, entry: &Entry) -> usize {
        let before = self.buffer.len();
        self.head();
        frame::push(&mut self.buffer, self.end.sequence, entry);
        before
    }

    /// Adds a note of what the tables hold. Returns how long the buffer was.
    pub(crate) fn note(&mut self, held: Held) -> usize {
        self.held = held;
        let before = self.buffer.len();
        if !self.head() {
            self.push_mark();
        }
        before
    }

    /// Begins a segment: whose it is, and what the tables hold. Says whether it did.
    fn head(&mut self) -> bool {
        let begins = self.end.offset == 0 && self.buffer.is_empty();
        if begins {
            frame::push_node(&mut self.buffer, self.end.sequence, self.node);
            self.push_mark();
        }
        begins
    }

    fn push_mark(&mut self) {
        let Self { boot, held, .. } = *self;
        frame::push_mark(&mut self.buffer, &Mark { sequence: self.end.sequence, boot, held });
    }

    /// Forgets what was added since [`Journal::push`] returned `length`.
    pub(crate) fn retract(&mut self, length: usize) {
        self.buffer.truncate(length);
    }

    /// Bytes still to be written.
    pub(crate) const fn unwritten(&self) -> usize {
        self.buffer.len()
    }

    /// Writes the buffer. A failure leaves the buffer as it was, and the next try overwrites what the failed one may
    /// have left.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.segment().write_all_at(&self.buffer, self.end.offset)?;
        let length = self.buffer.len() as u64;
        self.end.offset += length;
        self.written += length;
        self.buffer.clear();
        Ok(())
    }

    /// The position up to which frames are written.
    pub(crate) const fn end(&self) -> Position {
        self.end
    }

    /// Bytes written since the start.
    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    /// Whether the segment is full.
    pub(crate) const fn is_full(&self) -> bool {
        self.end.offset >= SEGMENT_BYTES
    }

    /// Continues in the other segment, all of which must be in the tables. The buffer must be empty, because its frames
    /// carry this turn's number.
    pub(crate) fn turn(&mut self) {
        debug_assert!(self.buffer.is_empty());
        self.left = Some(Arc::clone(self.segment()));
        self.end = Position { sequence: self.end.sequence + 1, offset: 0 };
    }

    /// The files to sync so that everything written so far is durable.
    pub(crate) fn unsynced(&mut self) -> Vec<Arc<File>> {
        self.left.take().into_iter().chain([Arc::clone(self.segment())]).collect()
    }

    fn segment(&self) -> &Arc<File> {
        &self.segments[usize::from(self.end.sequence % 2 == 1)]
    }
}

/// What the files of the journal hold; `None` for one that is not there.
#[derive(Debug)]
pub(crate) struct Segments([Option<Vec<u8>>; 2]);

impl Segments {
    /// Reads the journal beside `database`.
    pub(crate) fn read(database: &Path) -> io::Result<Self> {
        let read = |index| match file::read(&segment_path(database, index), SEGMENT_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        };
        Ok(Self([read(0)?, read(1)?]))
    }

    /// Whether there is a file of the journal at all.
    pub(crate) fn any(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    /// The bytes of the segment that has a turn; `None` where there is no file.
    pub(crate) fn of(&self, sequence: u64) -> Option<&[u8]> {
        self.0[usize::from(sequence % 2 == 1)].as_deref()
    }

    /// What they hold from `start` on: the rest of one segment, and the other one if it had its next turn.
    pub(crate) fn replay(&self, start: Position) -> Result<[Found; 2], Unreadable> {
        let from = usize::try_from(start.offset).unwrap_or(usize::MAX);
        let next = start.sequence + 1;
        let rest = frame::read(self.of(start.sequence).unwrap_or_default(), from, start.sequence)?;
        Ok([rest, frame::read(self.of(next).unwrap_or_default(), 0, next)?])
    }
}

/// `tollgate.db` has `tollgate.db.journal-0` and `tollgate.db.journal-1` beside it.
pub(crate) fn segment_path(database: &Path, index: u8) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(format!(".journal-{index}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::{Held, Journal, Position, Segments};
    use crate::entry::{Entry, PluginEvent};
    use std::path::Path;
    use tollgate_core::id::NodeId;
    use tollgate_core::time::Timestamp;

    pub(super) const NODE: NodeId = NodeId::from_bytes([9; 16]);
    const START: Held = Held { position: Position { sequence: 4, offset: 0 }, changes: 0, transfers: 0 };

    pub(super) fn event(detail: &str) -> Entry {
        Entry::Event(PluginEvent {
            at: Timestamp::from_millis(5),
            component: "c".into(),
            kind: "pricing".into(),
            digest: None,
            event: "loaded".into(),
            detail: Some(detail.to_owned()),
        })
    }

    fn entries(database: &Path, from: Position) -> Vec<Entry> {
        let found = Segments::read(database).unwrap().replay(from).unwrap();
        assert!(found.iter().all(|found| found.entries.is_empty() || found.node == Some(NODE)));
        found.into_iter().flat_map(|found| found.entries).collect()
    }

    fn write(journal: &mut Journal, details: &[&str]) {
        for detail in details {
            journal.push(&event(detail));
        }
        journal.write().unwrap();
    }

    #[test]
    fn a_start_reads_what_lies_behind_the_position_over_a_turn_too() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("t.db");
        let mut journal = Journal::open(&database, START, false, NODE).unwrap();
        write(&mut journal, &["a"]);
        let position = journal.end();
        write(&mut journal, &["b", "c"]);
        journal.turn();
        write(&mut journal, &["d"]);
        let found = |from| entries(&database, from);
        assert_eq!(found(position), [event("b"), event("c"), event("d")]);
        assert_eq!(found(Position { sequence: 5, offset: 0 }), [event("d")]);
        assert_eq!(found(journal.end()), []);
        assert_eq!(found(position.after_restart()), []);
    }

    #[test]
    fn a_segment_that_is_written_over_gives_up_its_old_entries() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("t.db");
        let mut journal = Journal::open(&database, START, false, NODE).unwrap();
        write(&mut journal, &["a", "b", "c", "d"]);
        journal.turn();
        write(&mut journal, &["e"]);
        journal.turn();
        write(&mut journal, &["f"]);
        let third = Position { sequence: 6, offset: 0 };
        assert_eq!(entries(&database, third), [event("f")]);
    }

    #[test]
    fn what_is_retracted_was_never_there() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("t.db");
        let mut journal = Journal::open(&database, START, false, NODE).unwrap();
        journal.push(&event("a"));
        let before = journal.push(&event("b"));
        journal.retract(before);
        journal.push(&event("c"));
        journal.write().unwrap();
        assert_eq!(entries(&database, START.position), [event("a"), event("c")]);
    }
}
