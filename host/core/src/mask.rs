//! What a secret looks like in bytes that come back from where it was sent, and a mark in its place.
//!
//! A provider may repeat what it was sent, in a header, an error or an answer, and not always as it stood: within JSON,
//! within an address, in base64 or hexadecimal digits. Each of these is a shape. One search looks for a piece from
//! the middle of each; where it is found, the rest is compared sign by sign, an escape of JSON or of an address
//! standing for the sign that it means. As many bytes stand in its place, so that no length changes.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::packed::Searcher;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::{memchr2, memmem};

/// What shorter secrets say would be found in ordinary text …
pub const SECRET_BYTES_MIN: usize = 8;
/// … and what is shorter than this and has no digit may be a word: `lm-studio` is what some servers take for a key.
const WORD_BYTES_MAX: usize = 12;
/// Longest piece that is searched for.
const PIECE_BYTES_MAX: usize = 16;
/// So much of a longer secret is covered too, wherever it was cut.
const PART_BYTES_MIN: usize = 16;
/// Longest end of a piece of a body that is looked through for the beginning of a secret.
const BEGINNING_BYTES_MAX: usize = 4096;
/// What stands in the place of a secret, with stars in it up to its length.
const MARK: &[u8; 10] = b"[redacted]";

/// Knows a secret by whatever shape it has.
#[derive(Debug)]
pub struct Mask {
    shapes: Vec<Shape>,
    search: Search,
    /// The shapes of each piece that is searched for: digits are the same in more than one.
    pieces: Vec<Vec<usize>>,
    /// The shortest piece.
    shortest: usize,
    /// Bytes that may stand within a shape.
    within: [bool; 256],
}

/// One way in which a secret may be written.
struct Shape {
    text: Vec<u8>,
    /// What of it is searched for.
    piece: Range<usize>,
}

/// No debug output shows what is looked for.
impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shape({} bytes)", self.text.len())
    }
}

/// Finds pieces: all at once where the machine can do that.
enum Search {
    Together(Searcher),
    Each(Vec<memmem::Finder<'static>>),
}

impl std::fmt::Debug for Search {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Search(…)")
    }
}

impl Search {
    fn new(pieces: &[Vec<u8>]) -> Self {
        let each = || pieces.iter().map(|piece| memmem::Finder::new(piece).into_owned()).collect();
        Searcher::new(pieces).map_or_else(|| Self::Each(each()), Self::Together)
    }

    /// The first piece from `at` on: which, and where.
    fn find(&self, bytes: &[u8], at: usize) -> Option<(usize, Range<usize>)> {
        match self {
            Self::Together(searcher) => {
                let found = searcher.find_in(bytes, (at..bytes.len()).into())?;
                Some((found.pattern().as_usize(), found.start()..found.end()))
            }
            Self::Each(finders) => {
                let found = finders.iter().enumerate().filter_map(|(which, finder)| {
                    let start = at + finder.find(bytes.get(at..)?)?;
                    Some((which, start..start + finder.needle().len()))
                });
                found.min_by_key(|(_, range)| range.start)
            }
        }
    }
}

impl Mask {
    /// Knows these texts. Those that are too short are left out.
    #[must_use]
    pub fn new<'t>(texts: impl Iterator<Item = &'t str>) -> Self {
        let (mut shapes, mut pieces) = (Vec::new(), BTreeMap::<Vec<u8>, Vec<usize>>::new());
        for text in texts.filter(|text| is_distinct(text)) {
            let shape = Shape::of(text.as_bytes());
            let piece = shape.text[shape.piece.clone()].to_vec();
            for piece in escaped(&piece).into_iter().chain([piece]) {
                pieces.entry(piece).or_default().push(shapes.len());
            }
            shapes.push(shape);
            for text in encoded(text.as_bytes()) {
                let shape = Shape::of(&text);
                pieces.entry(shape.text[shape.piece.clone()].to_vec()).or_default().push(shapes.len());
                shapes.push(shape);
            }
        }
        let mut within = [false; 256];
        let escapes = b"%\\u0123456789abcdefABCDEF";
        for byte in shapes.iter().flat_map(|shape| &shape.text).chain(escapes) {
            within[usize::from(*byte)] = true;
        }
        let (texts, pieces): (Vec<Vec<u8>>, Vec<Vec<usize>>) = pieces.into_iter().unzip();
        let shortest = texts.iter().map(Vec::len).min().unwrap_or(usize::MAX);
        Self { search: Search::new(&texts), shapes, pieces, shortest, within }
    }

    /// Whether the secret is anywhere in these bytes.
    #[must_use]
    #[inline]
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.find(bytes, 0).is_some()
    }

    /// Puts a mark in its place. Says whether there was any.
    pub fn cover(&self, bytes: &mut [u8]) -> bool {
        let mut at = 0;
        while let Some(found) = self.find(bytes, at) {
            at = found.end;
            mark(&mut bytes[found]);
        }
        at > 0
    }

    /// How many bytes at the end may be the beginning of the secret, whose rest is still to come.
    #[must_use]
    #[inline]
    pub fn begins_in(&self, bytes: &[u8]) -> usize {
        match bytes.last() {
            Some(last) if self.within[usize::from(*last)] => self.beginning(bytes),
            _ => 0,
        }
    }

    fn beginning(&self, bytes: &[u8]) -> usize {
        let end = bytes.iter().rev().take(BEGINNING_BYTES_MAX);
        let end = end.take_while(|byte| self.within[usize::from(**byte)]).count();
        let end = &bytes[bytes.len() - end..];
        let longest = |shape: &Shape| shape.begins_at(end).map_or(0, |at| end.len() - at);
        self.shapes.iter().map(longest).max().unwrap_or(0)
    }

    #[inline]
    fn find(&self, bytes: &[u8], mut at: usize) -> Option<Range<usize>> {
        if bytes.len() < self.shortest {
            return None;
        }
        while let Some((piece, found)) = self.search.find(bytes, at) {
            at = found.start + 1;
            let shapes = self.pieces.get(piece)?.iter().filter_map(|shape| self.shapes.get(*shape));
            let whole = shapes.filter_map(|shape| shape.around(bytes, found.clone()));
            if let Some(whole) = whole.max_by_key(Range::len) {
                return Some(whole);
            }
        }
        None
    }
}

impl Shape {
    fn of(text: &[u8]) -> Self {
        let piece = middle(&longest_run(text));
        Self { text: text.to_vec(), piece }
    }

    /// All of the secret around a piece of it, or enough of it.
    fn around(&self, bytes: &[u8], found: Range<usize>) -> Option<Range<usize>> {
        let (mut start, mut end) = (found.start, found.end);
        let mut signs = self.piece.len();
        for sign in self.text[..self.piece.start].iter().rev() {
            let Some(length) = written_before(&bytes[..start], *sign) else { break };
            (start, signs) = (start - length, signs + 1);
        }
        for sign in &self.text[self.piece.end..] {
            let Written::As(length) = written(&bytes[end..], *sign) else { break };
            (end, signs) = (end + length, signs + 1);
        }
        (signs >= self.text.len().min(PART_BYTES_MIN)).then_some(start..end)
    }

    /// Where the secret begins that these bytes end within.
    fn begins_at(&self, bytes: &[u8]) -> Option<usize> {
        let (first, mut from) = (*self.text.first()?, 0);
        loop {
            let rest = &bytes[from..];
            let plain = memchr2(first, b'%', rest);
            let at = match (plain, memchr::memchr(b'\\', rest)) {
                (Some(one), Some(other)) => one.min(other),
                (one, other) => one.or(other)?,
            };
            if self.runs_out(&rest[at..]) {
                return Some(from + at);
            }
            from += at + 1;
        }
    }

    /// Whether these bytes are the beginning of the secret and no more.
    fn runs_out(&self, mut bytes: &[u8]) -> bool {
        for sign in &self.text {
            match written(bytes, *sign) {
                Written::As(length) => bytes = &bytes[length..],
                Written::Cut => return true,
                Written::Otherwise => return false,
            }
        }
        false
    }
}

/// How a sign stands at the beginning of some bytes.
enum Written {
    /// In so many bytes.
    As(usize),
    /// The bytes end before that can be told.
    Cut,
    /// Not at all.
    Otherwise,
}

fn written(bytes: &[u8], sign: u8) -> Written {
    let Some(first) = bytes.first() else { return Written::Cut };
    if *first == sign {
        return Written::As(1);
    }
    let (length, digits) = match bytes {
        [b'%', ..] => (3, 1..3),
        [b'\\'] => return Written::Cut,
        [b'\\', b'u', ..] => (6, 2..6),
        [b'\\', escaped, ..] if meant(*escaped) == sign => return Written::As(2),
        _ => return Written::Otherwise,
    };
    match bytes.get(digits) {
        Some(digits) if number(digits) == Some(u32::from(sign)) => Written::As(length),
        Some(_) => Written::Otherwise,
        None => Written::Cut,
    }
}

/// In how many bytes a sign stands at the end of some bytes.
fn written_before(bytes: &[u8], sign: u8) -> Option<usize> {
    let escape = |length: usize| {
        let end = bytes.get(bytes.len().checked_sub(length)?..)?;
        // A sign that stands for itself would be found within the escape of another.
        matches!(end.first(), Some(b'%' | b'\\')).then_some(())?;
        matches!(written(end, sign), Written::As(all) if all == length).then_some(length)
    };
    let plain = || (bytes.last() == Some(&sign)).then_some(1);
    escape(6).or_else(|| escape(3)).or_else(|| escape(2)).or_else(plain)
}

/// What a sign after a backslash means.
const fn meant(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}

/// Whether a text is a secret that cannot be a word.
fn is_distinct(text: &str) -> bool {
    let digits = || text.bytes().any(|byte| byte.is_ascii_digit());
    text.len() >= WORD_BYTES_MAX || text.len() >= SECRET_BYTES_MIN && digits()
}

/// The longest run of letters and digits, which stand for themselves nearly everywhere; all of it where none is long.
fn longest_run(text: &[u8]) -> Range<usize> {
    let mut longest = 0..0;
    let mut start = 0;
    for (at, sign) in text.iter().chain([&b' ']).enumerate() {
        if !sign.is_ascii_alphanumeric() {
            if at - start > longest.len() {
                longest = start..at;
            }
            start = at + 1;
        }
    }
    if longest.len() < SECRET_BYTES_MIN { 0..text.len() } else { longest }
}

/// The middle of a range: what was cut or is escaped at either end still has it.
fn middle(run: &Range<usize>) -> Range<usize> {
    let length = PIECE_BYTES_MAX.min(run.len().saturating_sub(2));
    let start = run.start + (run.len() - length) / 2;
    start..start + length
}

/// Covers these bytes, however many.
fn mark(bytes: &mut [u8]) {
    bytes.fill(b'*');
    if let Some(stars) = bytes.len().checked_sub(MARK.len()) {
        let (begin, end) = MARK.split_at(MARK.len() - 1);
        bytes[..begin.len()].copy_from_slice(begin);
        bytes[begin.len() + stars..].copy_from_slice(end);
    }
}

/// Where a text was covered by a mask: all of these places, with their stars.
pub fn marks(text: &str) -> impl Iterator<Item = Range<usize>> {
    let begin = std::str::from_utf8(&MARK[..MARK.len() - 1]).unwrap_or_default();
    text.match_indices(begin).filter_map(move |(start, begin)| {
        let rest = &text[start + begin.len()..];
        let stars = rest.bytes().take_while(|sign| *sign == b'*').count();
        (stars > 0 && rest[stars..].starts_with(']')).then(|| start..start + begin.len() + stars + 1)
    })
}

/// A piece with every sign escaped, or every sign that is no letter and no digit: as JSON has it, and as an address has
/// it.
fn escaped(piece: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut write = |escape: &dyn Fn(u8) -> String| {
        all.push(piece.iter().flat_map(|sign| escape(*sign).into_bytes()).collect::<Vec<u8>>());
        if piece.iter().any(|sign| !sign.is_ascii_alphanumeric()) {
            let some = |sign: &u8| match sign.is_ascii_alphanumeric() {
                true => char::from(*sign).to_string(),
                false => escape(*sign),
            };
            all.push(piece.iter().flat_map(|sign| some(sign).into_bytes()).collect());
        }
    };
    write(&|sign| format!("%{sign:02X}"));
    write(&|sign| format!("%{sign:02x}"));
    write(&|sign| format!("\\u{sign:04x}"));
    write(&|sign| format!("\\u{sign:04X}"));
    all.sort_unstable();
    all.dedup();
    all
}

/// The text in base64, wherever it stands within what was encoded, and in hexadecimal digits.
fn encoded(text: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for before in 0..3 {
        let bytes = [&[0; 2][..before.min(2)], text].concat();
        // Signs that also tell of the bytes around it are left out.
        let signs = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            all.extend(engine.encode(&bytes).as_bytes().get(signs.clone()).map(<[u8]>::to_vec));
        }
    }
    all.push(text.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect());
    all.push(text.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect());
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests;
