//! A text as a person reads it, and the way back from there.
//!
//! Whoever wants a word past a filter writes it so that it looks like itself and is spelled in another way: with
//! characters that take no room, in wide or ornamental letters, with one letter of another script, in two parts of one
//! message. A filter therefore looks at a text twice: as it stands, and around each such spot as it reads.
//!
//! What is read as what: compatibility forms as the plain ones (NFKC: wide and narrow forms, letters of mathematics, in
//! circles, ligatures), ignorable characters and marks on letters as nothing, all spaces, hyphens and quotes as the
//! plain ones, letters that look like Latin ones as these where their word has Latin letters, and `\uXXXX` that is left
//! in a text (JSON within JSON) as its character. Letters with an accent of their own stay: a list may mean the one and
//! not the other.

mod reading;

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem;

pub use self::reading::is_unread;
use self::reading::{Reading, looks_like, reading};

/// Text around a spot that is read with it, in bytes.
const MARGIN: usize = 1024;
/// How much further it may go to begin and end between two words.
const WORD_BYTES_MAX: usize = 128;
/// Bytes that are looked at together.
const BLOCK_BYTES: usize = 64;
/// How far a letter is looked at to find out what script its word is in, in characters.
const WORD_CHARS_MAX: usize = 32;

/// What of a text reads otherwise than it is spelled, with its surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folded {
    text: String,
    pieces: Vec<Piece>,
    /// Where the text is spelled otherwise, in order.
    spots: Vec<Range<usize>>,
}

/// A run of the folded text, and the run of the original that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    folded: Range<usize>,
    original: Range<usize>,
    /// Whether each byte stands for one: the run is the same as there, or one character for one of its length.
    is_linear: bool,
}

/// A place where a text reads otherwise than it is spelled.
#[derive(Debug)]
struct Spot {
    range: Range<usize>,
    reads: Reading,
}

/// Folds a text; `None` where it reads as it is spelled. `joins` are places, in order, of single bytes that part what
/// is read as one.
#[must_use]
pub fn fold(text: &str, joins: &[usize]) -> Option<Folded> {
    let spots = spots(text, joins);
    if spots.is_empty() {
        return None;
    }
    let mut builder = Builder { source: text, text: String::new(), pieces: Vec::new() };
    let mut rest = spots.as_slice();
    while let Some((window, count)) = window(text, rest) {
        let (inside, after) = rest.split_at(count);
        builder.read(window, inside);
        rest = after;
    }
    let Builder { text, pieces, .. } = builder;
    Some(Folded { text, pieces, spots: spots.into_iter().map(|spot| spot.range).collect() })
}

/// How a short text reads as a whole; `None` where it is as it is spelled.
#[must_use]
pub fn read(text: &str) -> Option<String> {
    let spots = spots(text, &[]);
    let mut builder = Builder { source: text, text: String::new(), pieces: Vec::new() };
    (!spots.is_empty()).then(|| {
        builder.read(0..text.len(), &spots);
        builder.text
    })
}

impl Folded {
    /// What is to be searched.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where in the original a range of the text is; `None` where it is spelled there as it reads, so that a search of
    /// the original finds it.
    #[must_use]
    pub fn original(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let first = self.pieces.partition_point(|piece| piece.folded.end <= range.start);
        let last = self.pieces.partition_point(|piece| piece.folded.start < range.end).checked_sub(1)?;
        let pieces = self.pieces.get(first..=last)?;
        // Between two windows is text that nobody has read.
        if pieces.windows(2).any(|two| two[0].folded.end != two[1].folded.start) {
            return None;
        }
        let (first, last) = (pieces.first()?, pieces.last()?);
        let start = match first.is_linear {
            true => first.original.start + range.start.saturating_sub(first.folded.start),
            false => first.original.start,
        };
        let end = match last.is_linear {
            true => last.original.start + (range.end - last.folded.start).min(last.folded.len()),
            false => last.original.end,
        };
        let spot = self.spots.partition_point(|spot| spot.end <= start);
        let is_folded = self.spots.get(spot).is_some_and(|spot| spot.start < end);
        is_folded.then_some(start..end)
    }
}

/// All spots of a text, in order. A text of ASCII with nothing to join costs one look for each kind.
fn spots(text: &str, joins: &[usize]) -> Vec<Spot> {
    let joined = joins.iter().map(|&at| Spot { range: at..at + 1, reads: Reading::Nothing });
    let mut spots: Vec<Spot> = joined.collect();
    let mut next = 0;
    while let Some(at) = beyond_ascii(text.as_bytes(), next)
        && let Some(c) = text[at..].chars().next()
    {
        next = at + c.len_utf8();
        if let Some(reads) = reading(c).or_else(|| latin(text, at, c)) {
            spots.push(Spot { range: at..next, reads });
        }
    }
    static ESCAPE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("\\u"));
    for at in ESCAPE.find_iter(text.as_bytes()) {
        if let Some(c) = text.get(at + 2..at + 6).and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
            let reads = char::from_u32(c).map(|c| reading(c).unwrap_or(Reading::One(c)));
            spots.extend(reads.map(|reads| Spot { range: at..at + 6, reads }));
        }
    }
    spots.sort_by_key(|spot| spot.range.start);
    spots
}

/// Where the next character beyond ASCII begins. Most of a text is ASCII, and passes as blocks.
fn beyond_ascii(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    for block in bytes[from..].chunks(BLOCK_BYTES) {
        if !block.is_ascii() {
            return block.iter().position(|byte| !byte.is_ascii()).map(|inside| at + inside);
        }
        at += block.len();
    }
    None
}

/// The Latin letter that another looks like, where its word has a Latin letter.
fn latin(text: &str, at: usize, c: char) -> Option<Reading> {
    let letter = looks_like(c)?;
    let goes_on = |c: &char| c.is_alphanumeric() || is_unread(*c);
    let is_latin =
        |c: char| c.is_ascii_alphabetic() || matches!(c, '\u{ff21}'..='\u{ff3a}' | '\u{ff41}'..='\u{ff5a}');
    let mut before = text[..at].chars().rev().take(WORD_CHARS_MAX).take_while(goes_on);
    let mut after = text[at..].chars().skip(1).take(WORD_CHARS_MAX).take_while(goes_on);
    (before.any(is_latin) || after.any(is_latin)).then_some(Reading::One(letter))
}

/// The first spots that lie close together: the text around them, and how many they are.
fn window(text: &str, spots: &[Spot]) -> Option<(Range<usize>, usize)> {
    let first = spots.first()?;
    let start = word_start(text, first.range.start.saturating_sub(MARGIN));
    let mut end = first.range.end;
    let mut count = 0;
    for spot in spots {
        if count > 0 && spot.range.start > end + 2 * (MARGIN + WORD_BYTES_MAX) {
            break;
        }
        end = end.max(spot.range.end);
        count += 1;
    }
    Some((start..word_end(text, end.saturating_add(MARGIN).min(text.len())), count))
}

fn word_start(text: &str, at: usize) -> usize {
    let at = text.floor_char_boundary(at);
    let least = text.floor_char_boundary(at.saturating_sub(WORD_BYTES_MAX));
    if at == 0 {
        return 0;
    }
    text[least..at].rfind(char::is_whitespace).map_or(if least == 0 { 0 } else { at }, |space| least + space)
}

fn word_end(text: &str, at: usize) -> usize {
    let at = text.ceil_char_boundary(at);
    let most = text.ceil_char_boundary(at.saturating_add(WORD_BYTES_MAX).min(text.len()));
    text[at..most]
        .find(char::is_whitespace)
        .map_or(if most == text.len() { most } else { at }, |space| at + space)
}

struct Builder<'a> {
    source: &'a str,
    text: String,
    pieces: Vec<Piece>,
}

impl Builder<'_> {
    /// Reads a window of the text. Between two of them, and before one that is not at the beginning, is a line's end.
    fn read(&mut self, window: Range<usize>, spots: &[Spot]) {
        if window.start > 0 {
            self.text.push('\n');
        }
        let mut at = window.start;
        for Spot { range, reads } in spots {
            // One may lie within another: an escape has no characters of its own.
            if range.start < at {
                continue;
            }
            self.same(at..range.start);
            self.other(range, reads);
            at = range.end;
        }
        self.same(at..window.end);
    }

    fn same(&mut self, range: Range<usize>) {
        if let Some(run) = self.source.get(range.clone()).filter(|run| !run.is_empty()) {
            self.put_run(run, range, true);
        }
    }

    fn put(&mut self, run: &str, original: Range<usize>) {
        self.put_run(run, original, false);
    }

    fn put_run(&mut self, run: &str, original: Range<usize>, is_same: bool) {
        let start = self.text.len();
        self.text.push_str(run);
        // A ligature may be as long as its letters, and yet is none of them.
        let is_linear = run.len() == original.len() && (run.chars().nth(1).is_none() || is_same);
        self.pieces.push(Piece { folded: start..self.text.len(), original, is_linear });
    }

    fn other(&mut self, range: &Range<usize>, reads: &Reading) {
        match reads {
            Reading::Nothing => {}
            Reading::One(c) => self.put(c.encode_utf8(&mut [0; 4]), range.clone()),
            Reading::Many(text) => self.put(text, range.clone()),
            Reading::Mark(mark) => self.mark(*mark, range),
        }
    }

    /// A mark that makes another letter of the one before it; one that does not is not read.
    fn mark(&mut self, mark: char, range: &Range<usize>) {
        let Some(base) = self.text.chars().next_back() else { return };
        let Some(made) = reading::made_of(base, mark) else { return };
        let Some(piece) = self.pieces.last_mut() else { return };
        let original = match piece.is_linear {
            true => piece.original.end - base.len_utf8()..range.end,
            false => piece.original.start..range.end,
        };
        piece.folded.end -= base.len_utf8();
        piece.original.end = original.start;
        if piece.folded.is_empty() {
            self.pieces.pop();
        }
        self.text.truncate(self.text.len() - base.len_utf8());
        self.put(made.encode_utf8(&mut [0; 4]), original);
    }
}

#[cfg(test)]
mod tests;
