//! What is in a segment beyond what a start reads of it: whether it is whole, what it says of the tables, and which
//! turn wrote it.
//!
//! What ends the entries of a turn is the first frame that is not of it. Where frames of the same turn follow, that was
//! no end: something in between was damaged.

use super::frame::{self, Found, Unreadable};
use super::held::Mark;

/// What the disk keeps or loses as one, at least.
const SECTOR: usize = 512;
const ZEROS: [u8; 4096] = [0; 4096];

/// What a segment holds of one turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Survey {
    /// Up to which byte it is whole.
    pub(crate) whole: usize,
    /// Where frames of the turn go on, when they do behind something that is none.
    pub(crate) goes_on: Option<usize>,
    /// Whether what is not whole may never have reached the disk, as when the power fails.
    pub(crate) is_unwritten: bool,
    /// The last note of what the tables held.
    pub(crate) mark: Option<Mark>,
}

/// Looks a segment through for what is of this turn.
pub(crate) fn survey(segment: &[u8], sequence: u64) -> Survey {
    let mut found = Survey { whole: follow(segment, 0, sequence, |_| {}), ..Survey::default() };
    let mut at = 0;
    loop {
        let end = follow(segment, at, sequence, |payload| {
            found.mark = frame::mark(payload).or(found.mark);
        });
        let Some(next) = resume(segment, end, sequence) else { break };
        found.goes_on = found.goes_on.or(Some(next));
        at = next;
    }
    let hole = segment.get(found.whole..found.goes_on.unwrap_or(segment.len())).unwrap_or_default();
    found.is_unwritten = hole.is_empty() || has_old_sector(segment, found.whole, hole.len(), sequence);
    found
}

/// The entries of a turn from the byte `from` on, those behind damaged places too.
pub(crate) fn salvage(segment: &[u8], from: usize, sequence: u64) -> Result<Found, Unreadable> {
    let mut found = Found { node: frame::node_of(segment, sequence), entries: Vec::new() };
    let mut at = Some(from);
    while let Some(begin) = at {
        let part = frame::read(segment, begin, sequence)?;
        found.node = found.node.or(part.node);
        found.entries.extend(part.entries);
        at = resume(segment, follow(segment, begin, sequence, |_| {}), sequence);
    }
    Ok(found)
}

/// The turn that wrote the beginning of a segment, by its own words.
pub(crate) fn turn(segment: &[u8]) -> Option<u64> {
    let (_, behind) = frame::unchecked(segment)?;
    let mark = frame::mark(frame::unchecked(behind)?.0)?;
    let is_true = follow(segment, 0, mark.sequence, |_| {}) > 0;
    is_true.then_some(mark.sequence)
}

/// Follows whole frames from `at` on; returns where they end.
fn follow<'b>(segment: &'b [u8], at: usize, sequence: u64, mut each: impl FnMut(&'b [u8])) -> usize {
    let mut rest = segment.get(at..).unwrap_or_default();
    while let Some((payload, behind)) = frame::next(rest, sequence) {
        each(payload);
        rest = behind;
    }
    segment.len().max(at) - rest.len()
}

/// Where the next whole frame of the turn begins, at `from` or behind it.
fn resume(segment: &[u8], from: usize, sequence: u64) -> Option<usize> {
    (from..content_end(segment)).find(|at| {
        let rest = &segment[*at..];
        frame::is_plausible(rest) && frame::next(rest, sequence).is_some()
    })
}

/// Behind it are zeros alone, so that nothing begins there: most of a segment is as it was made.
fn content_end(segment: &[u8]) -> usize {
    let mut end = segment.len();
    while let Some(begin) = end.checked_sub(ZEROS.len()).filter(|begin| segment[*begin..end] == ZEROS) {
        end = begin;
    }
    end
}

/// Whether a sector in this place holds what was there before this turn: zeros, or frames of an earlier one.
fn has_old_sector(segment: &[u8], from: usize, length: usize, sequence: u64) -> bool {
    let first = from.next_multiple_of(SECTOR);
    let blank = (first..)
        .step_by(SECTOR)
        .take_while(|at| at + SECTOR <= from + length)
        .any(|at| segment[at..at + SECTOR] == ZEROS[..SECTOR]);
    let earlier = sequence.checked_sub(2).filter(|earlier| *earlier > 0);
    blank || earlier.is_some_and(|earlier| resume(&segment[..from + length], from, earlier).is_some())
}

#[cfg(test)]
mod tests {
    use super::super::held::{Held, Mark};
    use super::super::tests::{NODE, event};
    use super::super::{Position, frame};
    use super::{Survey, salvage, survey, turn};

    const HELD: Held = Held { position: Position { sequence: 6, offset: 0 }, changes: 3, transfers: 5 };

    /// A segment of the turn 7 and where each of its frames ends.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        frame::push_node(&mut bytes, 7, NODE);
        frame::push_mark(&mut bytes, &Mark { sequence: 7, boot: 1, held: HELD });
        ends.push(bytes.len());
        for detail in ["a", "b", "c"] {
            frame::push(&mut bytes, 7, &event(detail));
            ends.push(bytes.len());
        }
        bytes.resize(8192, 0);
        (bytes, ends)
    }

    #[test]
    fn a_whole_segment_and_one_that_was_torn_are_whole_up_to_their_end() {
        let (bytes, ends) = segment();
        let Survey { whole, goes_on, mark, .. } = survey(&bytes, 7);
        assert_eq!((whole, goes_on, mark.map(|mark| mark.held)), (ends[3], None, Some(HELD)));
        assert_eq!(turn(&bytes), Some(7));
        for end in ends[0]..ends[3] {
            let mut torn = bytes.clone();
            torn[end..].fill(0);
            let found = survey(&torn, 7);
            let last = ends.iter().rev().find(|at| **at <= end).copied();
            assert_eq!((Some(found.whole), found.goes_on), (last, None), "torn at {end}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_but_in_the_last_frame_is_seen_and_the_rest_is_saved() {
        let (bytes, ends) = segment();
        for at in 0..ends[2] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            let found = survey(&flipped, 7);
            let (frame, next) = (
                ends.iter().rev().find(|end| **end <= at).copied().unwrap_or(0),
                ends.iter().find(|end| **end > at).copied().unwrap(),
            );
            assert!(found.whole <= at && found.goes_on.is_some(), "flipped at {at}");
            assert!(frame <= at && !found.is_unwritten);
            let saved = salvage(&flipped, 0, 7).unwrap();
            assert!(saved.entries.contains(&event("c")), "flipped at {at}, behind {next}");
        }
        assert_eq!(salvage(&bytes, ends[1], 7).unwrap().entries, [event("b"), event("c")]);
    }

    #[test]
    fn a_sector_that_never_reached_the_disk_is_told_from_one_that_was_changed() {
        let mut bytes = Vec::new();
        frame::push_node(&mut bytes, 7, NODE);
        while bytes.len() < 4096 {
            frame::push(&mut bytes, 7, &event("some words that fill a sector after the other"));
        }
        let mut lost = bytes.clone();
        lost[1024..1536].fill(0);
        let found = survey(&lost, 7);
        assert!(found.goes_on.is_some() && found.is_unwritten);
        let mut changed = bytes.clone();
        changed[1024..1536].fill(1);
        let found = survey(&changed, 7);
        assert!(found.goes_on.is_some() && !found.is_unwritten);
        let mut older = Vec::new();
        while older.len() < 4096 {
            frame::push(&mut older, 5, &event("an earlier turn"));
        }
        let mut kept = bytes;
        kept[1024..2048].copy_from_slice(&older[1024..2048]);
        assert!(survey(&kept, 7).is_unwritten);
    }

    #[test]
    fn a_segment_that_says_nothing_of_its_turn_is_not_guessed_at() {
        let mut old = Vec::new();
        frame::push(&mut old, 3, &event("a"));
        assert_eq!(turn(&old), None);
        assert_eq!(turn(&[0; 4096]), None);
        assert_eq!(turn(&[]), None);
    }
}
