//! Entries as bytes of the journal.
//!
//! A frame is the length of its payload (4 bytes, little-endian), a CRC-32 of the segment's sequence number and the payload, and
//! the payload: a format byte and the entry. Segments are written over again and again, so what ends the entries of
//! one is not the end of the file but the first frame whose checksum is not of this sequence.

use postcard::ser_flavors::Flavor;

use crate::entry::Entry;

/// The layout of payloads that this build writes and reads.
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 8;

/// A frame that is whole, but not of this build's making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the journal holds an entry in format {0}, which this Tollgate does not read; start the one that wrote it once more"
)]
pub(crate) struct UnknownFormat(u8);

/// Appends the frame of `entry`.
pub(crate) fn push(out: &mut Vec<u8>, sequence: u64, entry: &Entry) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out.push(FORMAT);
    // A Vec takes everything, and an entry is made of types that all have a form.
    let written = postcard::serialize_with_flavor(entry, Tail(out));
    debug_assert!(written.is_ok());
    let payload = &out[start + HEADER_BYTES..];
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let checksum = checksum(sequence, payload);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// The entries at the beginning of `bytes` that belong to this sequence.
///
/// # Errors
/// See [`UnknownFormat`].
pub(crate) fn read(mut bytes: &[u8], sequence: u64) -> Result<Vec<Entry>, UnknownFormat> {
    let mut entries = Vec::new();
    while let Some((payload, rest)) = next(bytes, sequence) {
        let format = payload.first().copied().unwrap_or_default();
        let entry =
            payload.get(1..).filter(|_| format == FORMAT).and_then(|entry| postcard::from_bytes(entry).ok());
        entries.push(entry.ok_or(UnknownFormat(format))?);
        bytes = rest;
    }
    Ok(entries)
}

fn next(bytes: &[u8], sequence: u64) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (payload, rest) = rest.split_at_checked(length)?;
    // Zeros, as in a file that was never written, have the checksum of nothing: an empty payload is no frame.
    let whole = !payload.is_empty() && checksum(sequence, payload) == u32::from_le_bytes(*sum);
    whole.then_some((payload, rest))
}

fn checksum(sequence: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// Lets postcard write at the end of a buffer that holds other frames.
struct Tail<'a>(&'a mut Vec<u8>);

impl Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, UnknownFormat, checksum, push, read};
    use crate::entry::{Borrowed, Components, Entry, RequestRecord};
    use tollgate_core::id::{CredentialId, RequestId, UserId};
    use tollgate_core::ledger::Settlement;
    use tollgate_core::points::Micropoints;
    use tollgate_core::time::Timestamp;

    fn entries() -> Vec<Entry> {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let (request, user) = (RequestId::new(at, [7; 10]), UserId::new(at, [8; 10]));
        let held = Micropoints::new(9);
        let record = RequestRecord {
            receipt: Some(vec![1, 2, 3]),
            model: Some("modèle".into()),
            components: Components { pricing: Some([4; 32]), ..Components::default() },
            ..RequestRecord::new(request, user, at)
        };
        let settlement = Settlement { posted: held, ..Settlement::default() };
        vec![
            Entry::Hold { request, user, amount: held, model: "m".into(), at },
            Entry::Settle { request, user, held, settlement, at, record: Box::new(record.clone()) },
            Entry::Record(Box::new(record.clone())),
            Entry::Borrow(Box::new(Borrowed {
                request,
                attempt: 1,
                credential: CredentialId::new(at, [9; 10]),
                lender: user,
                model: "m".into(),
                at,
            })),
            Entry::Lent {
                settle: Box::new(Entry::Settle {
                    request,
                    user,
                    held,
                    settlement,
                    at,
                    record: Box::new(record),
                }),
                lender: user,
                earned: Micropoints::new(4),
            },
        ]
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

    #[test]
    fn an_unknown_format_is_an_error_and_not_an_end() {
        let mut bytes = framed(3);
        let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        bytes[HEADER_BYTES] = 2;
        let sum = checksum(3, &bytes[HEADER_BYTES..HEADER_BYTES + length]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(read(&bytes, 3), Err(UnknownFormat(2)));
    }
}
