//! Large values do not go through components. A string from [`VALUE_BYTES`] on stays with the host. A component reads
//! it with its middle taken out and a short mark in that place; wherever it writes the mark, the host puts the middle
//! back ([`restore`](super::restore)). A picture of 20 MB is a few dozen bytes of what is translated.
//!
//! The beginning and the end of a string stay where they are, so that a component sees what it may ask of one: the
//! head of a `data:` URL, a seal, padding, blanks. What it must read as a whole goes through it: arguments of calls
//! that come in pieces, signatures, encrypted thoughts. Of arguments that are whole, the values inside are taken out.
//!
//! | a string that | is marked by letters and digits, and |
//! |---|---|
//! | is base64 | is as long as before, counted in groups of four |
//! | is base64 of the alphabet of URLs | the mark has letters of it: who puts others there has the host do so |
//! | is any other text | the mark has a quote: how often that is escaped tells how deep in strings it lies |

use bytes::Bytes;
use memchr::{memchr, memmem};
use tollgate_core::json;

use super::lean::string_length;
use crate::clock;
use crate::transport::body::{Chained, Splice};

/// Strings from this length on are taken out.
pub(super) const VALUE_BYTES: usize = 8 << 10;
/// Bytes of a text that stay before and behind the mark, at most.
const SEEN_BYTES: usize = 64;
/// Letters of base64 that stay before it.
const SEEN_LETTERS: usize = 32;
/// Longest head of a `data:` URL.
const HEAD_BYTES_MAX: usize = 256;
/// Letters of a mark before its number.
pub(super) const MARK_LETTERS: usize = 16;
/// Digits of that number.
pub(super) const MARK_DIGITS: usize = 8;
/// What a mark in the alphabet of URLs ends in.
pub(super) const URL_LETTERS: &[u8] = b"-_-_";

/// Members whose strings a component reads as a whole: proofs that go back to who made them.
const READ_WHOLE: [&[u8]; 4] =
    [b"signature", b"thoughtSignature", b"thought_signature", b"encrypted_content"];

/// How a string is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Text, in which something may be escaped.
    Text,
    /// Base64, or anything else of letters that nobody escapes.
    Base64,
    /// Base64 of the alphabet of URLs.
    UrlBase64,
}

/// The middle of a string.
#[derive(Debug)]
pub(super) struct Value {
    /// Its bytes, as they are spelt in a string of JSON.
    pub(super) bytes: Bytes,
    /// What they are.
    pub(super) form: Form,
    /// Where they stood.
    at: usize,
}

/// What an exchange has taken out.
#[derive(Debug)]
pub(super) struct Values {
    /// What every mark begins with: nobody outside can guess it.
    pub(super) mark: [u8; MARK_LETTERS],
    /// By their numbers.
    pub(super) taken: Vec<Value>,
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// A whole document.
    Document,
    /// One event of a stream, in which arguments may be a piece.
    Event,
}

impl Values {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        const LETTERS: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz0123456";
        let mut mark = [0; MARK_LETTERS];
        for half in mark.chunks_mut(MARK_LETTERS / 2) {
            let mut secret = clock::secret();
            for letter in half {
                *letter = LETTERS[usize::try_from(secret % 32).unwrap_or(0)];
                secret /= 32;
            }
        }
        Self { mark, taken: Vec::new() }
    }

    /// Bytes of what is kept.
    pub(super) fn bytes(&self) -> usize {
        self.taken.iter().map(|value| value.bytes.len()).sum()
    }

    /// Lets go of what stood in this part of the document, and of the document.
    pub(super) fn forget(&mut self, part: &std::ops::Range<usize>) {
        for value in &mut self.taken {
            let goes = part.contains(&value.at);
            value.bytes = if goes { Bytes::new() } else { Bytes::copy_from_slice(&value.bytes) };
        }
    }

    /// The document without its large values and with `splices` applied, which no value is taken out around.
    pub(super) fn take(&mut self, document: &Bytes, splices: &[Splice]) -> Bytes {
        let mut splices = splices.to_vec();
        if document.len() >= VALUE_BYTES {
            let mut taking =
                Taking { values: self, text: document, whole: Whole::Document, at: None, splices };
            taking.strings(0..document.len());
            splices = taking.splices;
        }
        Chained::spliced(document, &mut splices).joined()
    }

    /// The same for events of a stream; `None` where nothing large is in them.
    pub(super) fn take_events(&mut self, events: &Bytes) -> Option<Bytes> {
        if events.len() < VALUE_BYTES {
            return None;
        }
        let mut taking =
            Taking { values: self, text: events, whole: Whole::Event, at: None, splices: Vec::new() };
        let mut start = 0;
        while start < events.len() {
            let end = memchr(b'\n', &events[start..]).map_or(events.len(), |at| start + at + 1);
            if end - start >= VALUE_BYTES && events[start..].starts_with(b"data") {
                taking.strings(start..end);
            }
            start = end;
        }
        let mut splices = taking.splices;
        (!splices.is_empty()).then(|| Chained::spliced(events, &mut splices).joined())
    }
}

/// Takes values out of one text.
struct Taking<'a> {
    values: &'a mut Values,
    text: &'a Bytes,
    whole: Whole,
    /// Where the text stands, if it is not the document itself.
    at: Option<usize>,
    splices: Vec<Splice>,
}

impl Taking<'_> {
    /// Looks at every string in a part of the text that begins and ends outside of strings.
    fn strings(&mut self, part: std::ops::Range<usize>) {
        let text = self.text;
        let bytes = &text[..part.end];
        let (mut at, mut name) = (part.start, 0..0);
        while let Some(open) = memchr(b'"', &bytes[at..]) {
            let start = at + open + 1;
            let end = start + string_length(&bytes[start..]);
            at = (end + 1).min(bytes.len());
            let follows = bytes[at..].iter().find(|byte| !byte.is_ascii_whitespace());
            if follows == Some(&b':') {
                name = start..end;
                continue;
            }
            if end - start >= VALUE_BYTES && end < bytes.len() && !self.is_spliced(&(start..end)) {
                self.string(start..end, &bytes[name.clone()], &part);
            }
            name = 0..0;
        }
    }

    fn is_spliced(&self, string: &std::ops::Range<usize>) -> bool {
        self.splices.iter().any(|Splice { range, .. }| {
            range.start < string.end && string.start < range.end.max(range.start + 1)
        })
    }

    fn string(&mut self, string: std::ops::Range<usize>, name: &[u8], part: &std::ops::Range<usize>) {
        if READ_WHOLE.contains(&name) || self.is_sealed(&string, name, part) {
            return;
        }
        let raw = &self.text[string.clone()];
        if !spells_text(raw) {
            return;
        }
        match (name, self.whole) {
            (b"arguments", Whole::Document) => self.arguments(string),
            (b"arguments" | b"partial_json", Whole::Event) => {}
            (b"delta", Whole::Event) if self.is_piece_of_arguments(&string, part) => {}
            _ => self.value(string, matches!(name, b"data" | b"file_data")),
        }
    }

    /// Whether a string is thoughts that only their provider can read.
    fn is_sealed(&self, string: &std::ops::Range<usize>, name: &[u8], part: &std::ops::Range<usize>) -> bool {
        let before = part.start.max(string.start.saturating_sub(HEAD_BYTES_MAX));
        let after = part.end.min(string.end + HEAD_BYTES_MAX);
        let near =
            |range: std::ops::Range<usize>| memmem::find(&self.text[range], b"redacted_thinking").is_some();
        name == b"data" && (near(before..string.start) || near(string.end..after))
    }

    fn is_piece_of_arguments(&self, string: &std::ops::Range<usize>, part: &std::ops::Range<usize>) -> bool {
        [part.start..string.start, string.end..part.end].into_iter().any(|range| {
            let text = &self.text[range];
            [&b"arguments"[..], b"input.delta"].into_iter().any(|word| memmem::find(text, word).is_some())
        })
    }

    /// Takes out what is large inside of arguments that are whole.
    fn arguments(&mut self, string: std::ops::Range<usize>) {
        let inside = Bytes::from(json::unescape(&self.text[string.clone()]).into_owned());
        if json::members(&inside, |_, _| ()).is_err() {
            return;
        }
        let (values, whole, at) = (&mut *self.values, Whole::Document, Some(string.start));
        let mut taking = Taking { values, text: &inside, whole, at, splices: Vec::new() };
        taking.strings(0..inside.len());
        let mut splices = taking.splices;
        if splices.is_empty() {
            return;
        }
        let left = Chained::spliced(&inside, &mut splices).joined();
        let quoted = json::quote(&String::from_utf8_lossy(&left));
        let with = Bytes::from(quoted).slice(1..);
        self.splices.push(Splice { range: string, with: with.slice(..with.len() - 1) });
    }

    /// Takes the middle out of a string, which may be named as base64.
    fn value(&mut self, string: std::ops::Range<usize>, named: bool) {
        let raw = self.text.slice(string.clone());
        let (head, at) = (data_head(&raw), self.at.unwrap_or(string.start));
        match spelling(&raw[head..]) {
            Spelling::Base64(form) => {
                let middle = base64_middle(head, raw.len());
                let range = string.start + middle.start..string.start + middle.end;
                let with = self.keep(raw.slice(middle), form, at);
                self.splices.push(Splice { range, with });
            }
            // Some write `\/` for a slash, or break it into lines.
            Spelling::Escaped(form) if named || head > 0 => {
                let raw = without_escapes(&raw);
                let middle = base64_middle(data_head(&raw), raw.len());
                let mark = self.keep(raw.slice(middle.clone()), form, at);
                let with = [&raw[..middle.start], &mark, &raw[middle.end..]].concat().into();
                self.splices.push(Splice { range: string, with });
            }
            Spelling::Text | Spelling::Escaped(_) if head == 0 => {
                let middle = text_middle(&raw);
                let range = string.start + middle.start..string.start + middle.end;
                let with = self.keep(raw.slice(middle), Form::Text, at);
                self.splices.push(Splice { range, with });
            }
            // No base64 where there should be some: that is for the component to tell.
            Spelling::Text | Spelling::Escaped(_) => {}
        }
    }

    /// Keeps a value; the mark that stands for it.
    fn keep(&mut self, bytes: Bytes, form: Form, at: usize) -> Bytes {
        let number = format!("{:0width$x}", self.values.taken.len(), width = MARK_DIGITS);
        let ending: &[u8] = match form {
            Form::Text => b"\\\"",
            Form::Base64 => b"",
            Form::UrlBase64 => URL_LETTERS,
        };
        self.values.taken.push(Value { bytes, form, at });
        [&self.values.mark, number.as_bytes(), ending].concat().into()
    }
}

/// How base64 may be spelt.
enum Spelling {
    Base64(Form),
    /// Between escapes of slashes and line ends.
    Escaped(Form),
    Text,
}

const LETTER: u8 = 1;
const STANDARD: u8 = 2;
const URL: u8 = 4;
const ESCAPE: u8 = 8;
const OTHER: u8 = 16;

const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => LETTER,
            b'+' | b'/' => STANDARD,
            b'-' | b'_' => URL,
            b'\\' => ESCAPE,
            _ => OTHER,
        };
        byte += 1;
    }
    classes
};

/// How a string is spelt that may be base64.
fn spelling(raw: &[u8]) -> Spelling {
    let padding = raw.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let mut seen = 0;
    for piece in raw[..raw.len() - padding].chunks(4096) {
        seen = piece.iter().fold(seen, |seen, byte| seen | CLASSES[usize::from(*byte)]);
        if seen & OTHER != 0 {
            return Spelling::Text;
        }
    }
    let is_known = |at: usize| matches!(raw.get(at + 1), Some(b'/' | b'n' | b'r'));
    let form = if seen & URL == 0 { Form::Base64 } else { Form::UrlBase64 };
    match (seen & STANDARD != 0 && seen & URL != 0, seen & ESCAPE != 0) {
        (true, _) => Spelling::Text,
        (false, false) => Spelling::Base64(form),
        (false, true) if memchr::memchr_iter(b'\\', raw).all(is_known) => Spelling::Escaped(form),
        (false, true) => Spelling::Text,
    }
}

/// Base64 without the escapes in it.
fn without_escapes(raw: &[u8]) -> Bytes {
    let mut plain = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        plain.extend_from_slice(&rest[..at]);
        let is_slash = rest.get(at + 1) == Some(&b'/');
        rest = rest.get(if is_slash { at + 1 } else { at + 2 }..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    plain.into()
}

/// Length of the head of a `data:` URL that holds base64; 0 for anything else.
fn data_head(raw: &[u8]) -> usize {
    let head = &raw[..raw.len().min(HEAD_BYTES_MAX)];
    let is_data = head.first_chunk().is_some_and(|head: &[u8; 5]| head.eq_ignore_ascii_case(b"data:"));
    let comma = memchr(b',', head).filter(|comma| is_data && head[..*comma].ends_with(b";base64"));
    comma.map_or(0, |comma| comma + 1)
}

/// What is taken out of base64 that begins behind a head: whole groups of four letters, with some left on both sides.
const fn base64_middle(head: usize, end: usize) -> std::ops::Range<usize> {
    let start = head + SEEN_LETTERS;
    start..start + (end - start - 4) / 4 * 4
}

/// What is taken out of text: nothing is cut amid of a character, of an escape or of two that belong together.
fn text_middle(raw: &[u8]) -> std::ops::Range<usize> {
    let is_apart = |at: &usize| {
        let whole = raw.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
        whole && memchr(b'\\', &raw[at.saturating_sub(12)..*at]).is_none()
    };
    let start = (0..=SEEN_BYTES).rev().find(is_apart).unwrap_or(0);
    let end = (raw.len() - SEEN_BYTES..raw.len()).find(is_apart).unwrap_or(raw.len());
    start..end
}

/// Whether a string is JSON, and text without half a surrogate pair: what is put back is not looked at again.
fn spells_text(raw: &[u8]) -> bool {
    let lowest = raw.chunks(4096).all(|piece| piece.iter().fold(u8::MAX, |low, byte| low.min(*byte)) >= b' ');
    lowest && std::str::from_utf8(raw).is_ok() && escapes_are_whole(raw)
}

fn escapes_are_whole(raw: &[u8]) -> bool {
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        rest = &rest[at..];
        let length = match (rest.get(1), unit(rest)) {
            (Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't'), _) => 2,
            (_, Some(0xd800..0xdc00)) if matches!(rest.get(6..).and_then(unit), Some(0xdc00..0xe000)) => 12,
            (_, Some(0xd800..0xe000) | None) => return false,
            (_, Some(_)) => 6,
        };
        rest = &rest[length..];
    }
    true
}

/// The UTF-16 unit that `\uXXXX` names.
fn unit(raw: &[u8]) -> Option<u16> {
    let digits = raw.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}
