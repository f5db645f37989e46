//! Entries as bytes of the journal.
//!
//! A frame is the length of its payload (4 bytes, little-endian), a CRC-32 of the segment's sequence number and the
//! payload, and the payload: a format byte and the entry. Segments are written over again and again, so what ends the
//! entries of one is not the end of the file but the first frame whose checksum is not of this sequence.
//!
//! The first frame of a segment is its header: it names the node whose entries follow. One that 0.1.0 wrote has none.
//! Behind it, and here and there between entries, a mark says what the tables held.

use tollgate_core::id::NodeId;

use super::bytes::{self, EntryError};
use super::held::Mark;
use super::v0;
use crate::entry::Entry;

/// The layout of entries that is written: `bytes.rs`.
const FORMAT: u8 = 2;
/// The layout of 0.1.0, still read: `v0.rs`.
const FORMAT_1: u8 = 1;
const HEADER_BYTES: usize = 8;
/// Stands in a header's payload in place of an entry's kind; the node follows.
const NODE: u8 = 0;
/// What that of a mark has.
const MARK: u8 = 255;

/// A frame that is whole, but holds nothing that this build can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// A layout that this build does not know.
    #[error(
        "the journal holds an entry in format {0}, which this Tollgate does not read; \
         start the one that wrote it once more"
    )]
    Format(u8),
    /// A layout that it knows, with something in it that it does not.
    #[error("in the journal (format {format}), {error}; start the Tollgate that wrote it once more")]
    Entry {
        /// The layout.
        format: u8,
        /// What is wrong.
        error: EntryError,
    },
}

/// Appends the frame of `entry`.
pub(crate) fn push(out: &mut Vec<u8>, sequence: u64, entry: &Entry) {
    framed(out, sequence, |out| bytes::encode(out, entry));
}

/// Appends the header of a segment.
pub(crate) fn push_node(out: &mut Vec<u8>, sequence: u64, node: NodeId) {
    framed(out, sequence, |out| {
        out.push(NODE);
        out.extend_from_slice(node.as_bytes());
    });
}

/// Appends a note of what the tables held.
pub(crate) fn push_mark(out: &mut Vec<u8>, mark: &Mark) {
    framed(out, mark.sequence, |out| {
        out.push(MARK);
        out.extend_from_slice(&mark.bytes());
    });
}

fn framed(out: &mut Vec<u8>, sequence: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out.push(FORMAT);
    write(out);
    let payload = &out[start + HEADER_BYTES..];
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let checksum = checksum(sequence, payload);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// What a segment holds of one sequence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// The node whose entries they are, where the segment says so.
    pub(crate) node: Option<NodeId>,
    /// The entries, in order.
    pub(crate) entries: Vec<Entry>,
}

/// What the segment of these bytes holds of this sequence, from the byte `from` on.
///
/// # Errors
/// See [`Unreadable`]: a whole frame is read or refused, and never skipped.
pub(crate) fn read(segment: &[u8], from: usize, sequence: u64) -> Result<Found, Unreadable> {
    let mut found = Found { node: node_of(segment, sequence), entries: Vec::new() };
    let mut rest = segment.get(from..).unwrap_or_default();
    while let Some((payload, behind)) = next(rest, sequence) {
        if node(payload).is_none() && mark(payload).is_none() {
            found.entries.push(entry(payload)?);
        }
        rest = behind;
    }
    Ok(found)
}

/// The node that the header of a segment names, where it has one of this sequence.
pub(super) fn node_of(segment: &[u8], sequence: u64) -> Option<NodeId> {
    next(segment, sequence).and_then(|(payload, _)| node(payload))
}

/// What a mark says; `None` for everything else.
pub(super) fn mark(payload: &[u8]) -> Option<Mark> {
    match payload {
        [FORMAT, MARK, mark @ ..] => Mark::read(mark),
        _ => None,
    }
}

/// The node that a header names; `None` for an entry.
fn node(payload: &[u8]) -> Option<NodeId> {
    match payload {
        [FORMAT, NODE, id @ ..] => id.try_into().ok().map(NodeId::from_bytes),
        _ => None,
    }
}

fn entry(payload: &[u8]) -> Result<Entry, Unreadable> {
    let (format, entry) = payload.split_first().ok_or(Unreadable::Format(0))?;
    let read = match *format {
        FORMAT => bytes::decode(entry),
        FORMAT_1 => v0::decode(entry),
        unknown => return Err(Unreadable::Format(unknown)),
    };
    read.map_err(|error| Unreadable::Entry { format: *format, error })
}

/// The payload of the frame that begins here, where it is whole and of this sequence, and what follows it.
pub(super) fn next(bytes: &[u8], sequence: u64) -> Option<(&[u8], &[u8])> {
    let (payload, rest) = unchecked(bytes)?;
    let sum = bytes.get(4..HEADER_BYTES)?;
    (checksum(sequence, payload).to_le_bytes() == sum).then_some((payload, rest))
}

/// The same whatever its checksum says.
pub(super) fn unchecked(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    // Zeros, as in a file that was never written, have the checksum of nothing: an empty payload is no frame.
    rest.split_at_checked(length).filter(|(payload, _)| !payload.is_empty())
}

/// Whether a frame may begin here, before any checksum is computed.
pub(super) fn is_plausible(bytes: &[u8]) -> bool {
    bytes.get(HEADER_BYTES).is_some_and(|format| [FORMAT, FORMAT_1].contains(format))
        && unchecked(bytes).is_some()
}

fn checksum(sequence: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, Unreadable, checksum, push, push_node};
    use crate::entry::Entry;
    use crate::sqlite::journal::bytes::EntryError;
    use crate::sqlite::journal::samples::{bytes, hex, lines, samples};
    use tollgate_core::id::NodeId;

    fn entries() -> Vec<Entry> {
        samples().into_iter().map(|(_, entry)| entry).collect()
    }

    fn read(segment: &[u8], sequence: u64) -> Result<Vec<Entry>, Unreadable> {
        super::read(segment, 0, sequence).map(|found| found.entries)
    }

    fn framed(sequence: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        entries().iter().for_each(|entry| push(&mut bytes, sequence, entry));
        bytes
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        assert_eq!(read(&framed(3), 3), Ok(entries()));
    }

    #[test]
    fn a_torn_end_loses_the_torn_entry_only() {
        let bytes = framed(3);
        for end in 0..bytes.len() {
            let found = read(&bytes[..end], 3).unwrap();
            assert_eq!(found, entries()[..found.len()]);
            let mut zeroed = bytes[..end].to_vec();
            zeroed.resize(bytes.len() + 64, 0);
            assert_eq!(read(&zeroed, 3).unwrap(), found, "cut at {end}");
        }
    }

    #[test]
    fn what_an_older_sequence_left_in_the_file_is_not_read() {
        let mut bytes = framed(5);
        let length = bytes.len();
        bytes.extend(framed(3));
        assert_eq!(read(&bytes, 5).unwrap().len(), entries().len());
        assert_eq!(read(&bytes[length..], 5), Ok(vec![]));
    }

    /// The frames were made by 0.1.0, as its segment of the sequence 7.
    #[test]
    fn frames_of_0_1_0_are_read_and_this_build_goes_on_behind_them() {
        let mut frames: Vec<u8> =
            lines(include_str!("golden-1.hex")).iter().flat_map(|(_, hex)| bytes(hex)).collect();
        assert_eq!(read(&frames, 7), Ok(entries()));
        frames.extend(framed(7));
        assert_eq!(read(&frames, 7), Ok([entries(), entries()].concat()));
    }

    #[test]
    fn a_header_says_whose_entries_follow_wherever_reading_begins() {
        let node = NodeId::from_bytes([9; 16]);
        let mut segment = Vec::new();
        push_node(&mut segment, 3, node);
        assert_eq!(hex(&segment[HEADER_BYTES..]), "020009090909090909090909090909090909");
        let header = segment.len();
        segment.extend(framed(3));
        for from in [0, header] {
            let found = super::read(&segment, from, 3).unwrap();
            assert_eq!((found.node, found.entries), (Some(node), entries()));
        }
        assert_eq!(super::read(&segment, segment.len(), 3).unwrap().node, Some(node));
        assert_eq!(super::read(&framed(3), 0, 3).unwrap().node, None);
        assert_eq!(super::read(&segment, 0, 5), Ok(super::Found::default()));
    }

    /// Puts `byte` at `at` in the payload of the first frame, as if it had been written so.
    fn forged(at: usize, byte: u8) -> Vec<u8> {
        let mut bytes = framed(3);
        let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        bytes[HEADER_BYTES + at] = byte;
        let sum = checksum(3, &bytes[HEADER_BYTES..HEADER_BYTES + length]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn what_is_unknown_is_an_error_and_not_an_end() {
        assert_eq!(read(&forged(0, 3), 3), Err(Unreadable::Format(3)));
        let error = EntryError::Unknown { what: "entry kind", code: 99 };
        assert_eq!(read(&forged(1, 99), 3), Err(Unreadable::Entry { format: 2, error }));
        let told = "in the journal (format 2), an entry holds the entry kind 99, which this Tollgate does not know; \
            start the Tollgate that wrote it once more";
        assert_eq!(Unreadable::Entry { format: 2, error }.to_string(), told);
        // A current entry under the number of the old layout.
        let misnamed = Unreadable::Entry { format: 1, error: EntryError::Malformed };
        assert_eq!(read(&forged(0, 1), 3), Err(misnamed));
    }
}
