//! What the journal knows of the tables: from time to time it notes what they held, so that a start can tell tables
//! that have lost something from those that were just not brought up to the journal's end.

use super::Position;

/// What the tables held, and the disk kept, at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Up to where they held the journal.
    pub(crate) position: Position,
    /// The last change of what a server follows.
    pub(crate) changes: u64,
    /// The last transfer.
    pub(crate) transfers: u64,
}

/// One such note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The turn that it was written in.
    pub(crate) sequence: u64,
    /// Since which start of the machine; 0 where that cannot be told.
    pub(crate) boot: u64,
    /// What the tables held.
    pub(crate) held: Held,
}

const FIELDS: usize = 6;
const BYTES: usize = FIELDS * 8;

impl Held {
    /// Whether tables that hold this lack something of `noted`.
    pub(crate) fn lacks(&self, noted: &Self) -> bool {
        self.position < noted.position || self.changes < noted.changes || self.transfers < noted.transfers
    }
}

impl Mark {
    pub(super) fn bytes(&self) -> [u8; BYTES] {
        let Held { position, changes, transfers } = self.held;
        let fields = [self.sequence, self.boot, position.sequence, position.offset, changes, transfers];
        let mut bytes = [0; BYTES];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (fields, []) = bytes.as_chunks::<8>() else { return None };
        let fields: &[[u8; 8]; FIELDS] = fields.try_into().ok()?;
        let [sequence, boot, turn, offset, changes, transfers] = fields.map(u64::from_le_bytes);
        let position = Position { sequence: turn, offset };
        Some(Self { sequence, boot, held: Held { position, changes, transfers } })
    }
}

/// Stands for this start of the machine; 0 where the system does not say.
pub(crate) fn boot() -> u64 {
    let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u64::from(crc32fast::hash(&id))
}
