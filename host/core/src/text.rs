//! The text that a content filter looks at, and the way back from it to the bytes of the body.
//!
//! The filter is secure by default: in a request, every string *value* is text unless there is a reason to pass it
//! over, and what is not known is looked at. A string is passed over only when all three of these hold:
//!
//! 1. **The provider's own schema defines the place**: every name on the way down is one of `names::is_schema`. Below
//!    any other name (tool arguments, tool schemas, whatever comes next year) the model may read what it finds as text,
//!    so nothing is passed over there.
//! 2. **The name says that it is not prose**: bytes (`names::is_bytes`) or an identifier (`names::is_identifier`).
//! 3. **It is spelled like that**: base64, or a base64 `data:` URL; short and without spaces for an identifier.
//!
//! So media do not cost a scan or match by chance, an id is not masked, and prose under such a name is still seen.
//! Names of members are not text, and what is encoded (base64 of a text file) is not decoded.

mod names;

use crate::json::{self, JsonError, Kind, Scanner};
use memchr::memchr;
use std::borrow::Cow;
use std::ops::Range;

/// Identifiers are no longer than this, in bytes.
const IDENTIFIER_BYTES_MAX: usize = 256;

/// What comes before the comma of a `data:` URL is no longer than this, in bytes.
const DATA_URL_HEAD_BYTES_MAX: usize = 160;

/// Most requests have no more text than this, in bytes: so much is taken at once.
const TEXT_BYTES_USUAL: usize = 8 << 10;

/// What a body is, and so which of its strings are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What a client sends: every string value that is not passed over (see the module), joined by LF so that no
    /// match runs over two of them.
    Request,
    /// One event of a streamed answer: the strings under a name of `names::is_answer` and all those of tool arguments,
    /// joined by nothing, because a sentence goes on from one to the next.
    Event,
}

impl Scope {
    const fn separator(self) -> &'static str {
        match self {
            Self::Request => "\n",
            Self::Event => "",
        }
    }
}

/// One string of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where its text begins in [`Extract::text`], in bytes.
    pub at: usize,
    /// Where it is in the body: the bytes between its quotes.
    pub raw: Range<usize>,
}

/// The text of a body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extract {
    /// All parts without escapes, joined as their [`Scope`] says.
    pub text: String,
    /// Where they come from, in the order of `text`.
    pub parts: Vec<Part>,
    /// Places of separators in `text` between parts of one turn of a conversation, which are read as one.
    pub joins: Vec<usize>,
}

/// Takes the text out of a JSON document of any kind.
///
/// # Errors
/// When `body` is not one JSON document, UTF-8 and at most [`json::MAX_DEPTH`] deep.
pub fn extract(body: &[u8], scope: Scope) -> Result<Extract, JsonError> {
    let body = json::check_utf8(body)?;
    let mut scanner = Scanner::new(body.as_bytes());
    let mut walk = Walk::new(body, scope);
    walk.value(&mut scanner, Place { name: "", zone: Zone::Schema })?;
    scanner.end()?;
    Ok(walk.joined())
}

/// Replacements of ranges of `body`, in order and apart from each other, that put one `*` in place of each character
/// that `ranges`, byte ranges of `extract.text`, cover or touch.
///
/// An escape is one character, and so is a surrogate pair of two. `extract` must be that of the same `body`.
#[must_use]
pub fn mask(body: &[u8], extract: &Extract, ranges: &[Range<usize>]) -> Vec<(Range<usize>, Vec<u8>)> {
    let ranges = merge(ranges);
    let mut stars = Vec::new();
    for (index, part) in extract.parts.iter().enumerate() {
        let limit = extract.parts.get(index + 1).map_or(extract.text.len(), |next| next.at);
        let first = ranges.partition_point(|range| range.end <= part.at);
        let touching = ranges.iter().skip(first).take_while(|range| range.start < limit);
        let mut cursor =
            Cursor { raw: body.get(part.raw.clone()).unwrap_or_default(), at: 0, text_at: part.at };
        for range in touching {
            cursor.advance(range.start);
            let start = cursor.at;
            let count = cursor.pass(range.end);
            if count > 0 {
                stars.push((part.raw.start + start..part.raw.start + cursor.at, vec![b'*'; count]));
            }
        }
    }
    stars.sort_unstable_by_key(|(range, _)| range.start);
    stars
}

/// The same bytes as few ranges in order.
fn merge(ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    sorted.dedup_by(|next, last| {
        let joins = next.start <= last.end;
        if joins {
            last.end = last.end.max(next.end);
        }
        joins
    });
    sorted
}

/// A position in the raw bytes of a part and in the text that they stand for.
struct Cursor<'a> {
    raw: &'a [u8],
    at: usize,
    text_at: usize,
}

impl Cursor<'_> {
    /// Moves on to the character that byte `target` of the text belongs to.
    fn advance(&mut self, target: usize) {
        while self.text_at < target {
            let Some((raw_length, text_length)) = self.run(target - self.text_at) else {
                return;
            };
            self.at += raw_length;
            self.text_at += text_length;
        }
    }

    /// Moves past every character that begins before byte `end` of the text; returns how many.
    fn pass(&mut self, end: usize) -> usize {
        let mut count = 0;
        while self.text_at < end
            && let Some((raw_length, text_length)) = self.symbol()
        {
            self.at += raw_length;
            self.text_at += text_length;
            count += 1;
        }
        count
    }

    /// The raw and text length of as many whole characters as fit in `most` bytes of text: all those before the next
    /// escape, or the escape. `None` when none fits.
    fn run(&self, most: usize) -> Option<(usize, usize)> {
        let rest = self.raw.get(self.at..)?;
        let plain = memchr(b'\\', rest).unwrap_or(rest.len());
        if plain == 0 {
            return self.symbol().filter(|&(_, text_length)| text_length <= most);
        }
        let is_start = |&at: &usize| rest.get(at).is_none_or(|byte| byte & 0xC0 != 0x80);
        let length = (1..=plain.min(most)).rev().find(is_start)?;
        Some((length, length))
    }

    /// The raw and text length of the character here; `None` at the end.
    fn symbol(&self) -> Option<(usize, usize)> {
        let rest = self.raw.get(self.at..)?;
        if *rest.first()? == b'\\' {
            let (symbol, length) = json::escape(rest);
            return Some((length, symbol.len_utf8()));
        }
        let length = rest.iter().skip(1).take_while(|&&byte| byte & 0xC0 == 0x80).count() + 1;
        Some((length, length))
    }
}

/// Whose rules say what a string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zone {
    /// The provider's: names tell what is text.
    Schema,
    /// The user's: all of it may be text.
    Free,
}

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    /// The name of the nearest member around it; empty for the outermost value.
    name: &'a str,
    zone: Zone,
}

/// What is done with a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Text,
    Bytes,
    Nothing,
}

struct Walk<'a> {
    body: &'a str,
    scope: Scope,
    extract: Extract,
    /// Strings of the objects around the scanner that are bytes, unless their object turns out to hold text.
    held: Vec<Range<usize>>,
    /// How many objects are around the scanner.
    depth: usize,
    /// The turn of the conversation that each part is prose of; 0 for none.
    turns: Vec<usize>,
    /// The turn at hand.
    turn: usize,
    /// Who has spoken last, and in which turn.
    spoke: Option<(&'a str, usize)>,
}

impl<'a> Walk<'a> {
    fn new(body: &'a str, scope: Scope) -> Self {
        let text = String::with_capacity(body.len().min(TEXT_BYTES_USUAL));
        let extract = Extract { text, parts: Vec::with_capacity(8), joins: Vec::new() };
        let held = Vec::new();
        Self { body, scope, extract, held, depth: 0, turns: Vec::new(), turn: 1, spoke: None }
    }

    fn value(&mut self, scanner: &mut Scanner<'a>, place: Place<'_>) -> Result<(), JsonError> {
        match scanner.kind()? {
            Kind::Object => self.object(scanner, place.zone),
            Kind::Array => self.array(scanner, place),
            Kind::String => {
                let raw = scanner.string()?;
                self.string(raw, place);
                Ok(())
            }
            Kind::Number | Kind::Bool | Kind::Null => scanner.value().map(drop),
        }
    }

    /// A document of plain text looks like one of bytes but for its `type`, which may come after the data.
    fn object(&mut self, scanner: &mut Scanner<'a>, zone: Zone) -> Result<(), JsonError> {
        let held_before = self.held.len();
        let (first, mut role) = (self.extract.parts.len(), None);
        let mut holds_text = false;
        let mut more = scanner.open(Kind::Object)?;
        self.depth += 1;
        while more {
            if self.depth == 1 {
                // What stands under two names of the body is not one text.
                self.turn += 1;
                self.spoke = None;
            }
            let escapes = scanner.escapes();
            let name = self.slice(&scanner.key()?);
            let name = if scanner.escapes() == escapes { Cow::Borrowed(name) } else { unescaped(name) };
            let kind = scanner.kind()?;
            let start = scanner.at();
            self.value(scanner, Place { name: &name, zone: self.zone_of(&name, kind, zone) })?;
            let literal = self.slice(&(start..scanner.at()));
            holds_text |= name == "type" && kind == Kind::String && unescaped(literal) == "\"text\"";
            if name == "role" {
                role = Some(literal);
            }
            more = scanner.more(Kind::Object)?;
        }
        self.depth -= 1;
        if let Some(role) = role {
            self.spoken(role, first);
        }
        if holds_text {
            for raw in self.held.split_off(held_before) {
                self.add(raw, false);
            }
        }
        self.held.truncate(held_before);
        Ok(())
    }

    /// The parts from `first` on were said by `role`: in the turn of what came before, or in one of their own.
    fn spoken(&mut self, role: &'a str, first: usize) {
        let turn = match self.spoke {
            Some((before, turn)) if before == role => turn,
            _ => {
                self.turn += 1;
                self.turn
            }
        };
        self.spoke = Some((role, turn));
        self.turns.iter_mut().skip(first).filter(|part| **part > 0).for_each(|part| *part = turn);
    }

    /// The extract, with the places at which parts of one turn meet.
    fn joined(mut self) -> Extract {
        let Extract { parts, joins, .. } = &mut self.extract;
        if self.scope == Scope::Request {
            let meet = self.turns.windows(2).zip(parts.iter().skip(1));
            joins.extend(
                meet.filter(|(two, _)| two[0] > 0 && two[0] == two[1])
                    .map(|(_, part)| part.at.saturating_sub(1)),
            );
        }
        self.extract
    }

    fn array(&mut self, scanner: &mut Scanner<'a>, place: Place<'_>) -> Result<(), JsonError> {
        let mut more = scanner.open(Kind::Array)?;
        while more {
            self.value(scanner, place)?;
            more = scanner.more(Kind::Array)?;
        }
        Ok(())
    }

    fn string(&mut self, raw: Range<usize>, place: Place<'_>) {
        match self.usage(self.slice(&raw), place) {
            Use::Text => {
                self.add(raw, place.zone == Zone::Schema && matches!(place.name, "text" | "content"))
            }
            Use::Bytes => self.held.push(raw),
            Use::Nothing => {}
        }
    }

    fn usage(&self, raw: &str, place: Place<'_>) -> Use {
        match self.scope {
            _ if raw.is_empty() => Use::Nothing,
            _ if place.zone == Zone::Free => Use::Text,
            Scope::Event if names::is_answer(place.name) => Use::Text,
            Scope::Event => Use::Nothing,
            Scope::Request if names::is_bytes(place.name) && spells_bytes(raw) => Use::Bytes,
            Scope::Request if names::is_identifier(place.name) && spells_identifier(raw) => Use::Nothing,
            Scope::Request => Use::Text,
        }
    }

    /// The zone inside of a member's value.
    fn zone_of(&self, name: &str, kind: Kind, around: Zone) -> Zone {
        let leaves = match (kind, self.scope) {
            (Kind::Object | Kind::Array, Scope::Request) => !names::is_schema(name, kind),
            (Kind::Object | Kind::Array, Scope::Event) => names::is_arguments(name),
            _ => false,
        };
        if leaves { Zone::Free } else { around }
    }

    fn add(&mut self, raw: Range<usize>, is_prose: bool) {
        let text = &mut self.extract.text;
        if !self.extract.parts.is_empty() {
            text.push_str(self.scope.separator());
        }
        self.turns.push(if is_prose { self.turn } else { 0 });
        let at = text.len();
        json::unescape_into(text, self.body.get(raw.clone()).unwrap_or_default());
        self.extract.parts.push(Part { at, raw });
    }

    fn slice(&self, raw: &Range<usize>) -> &'a str {
        self.body.get(raw.clone()).unwrap_or_default()
    }
}

/// As [`json::unescape`], without a second look for UTF-8.
fn unescaped(raw: &str) -> Cow<'_, str> {
    match memchr(b'\\', raw.as_bytes()) {
        None => Cow::Borrowed(raw),
        Some(_) => json::unescape(raw.as_bytes()),
    }
}

/// Whether `raw` is base64 (either alphabet) or a base64 `data:` URL. Some clients escape each slash.
fn spells_bytes(raw: &str) -> bool {
    let raw = raw.as_bytes();
    if !raw.starts_with(b"data:") {
        return is_base64(raw);
    }
    let head = raw.get(..DATA_URL_HEAD_BYTES_MAX).unwrap_or(raw);
    let Some((head, payload)) = memchr(b',', head).map(|comma| raw.split_at(comma)) else {
        return false;
    };
    let is_plain = |byte: &u8| byte.is_ascii_graphic();
    head.ends_with(b";base64") && head.iter().all(is_plain) && is_base64(payload.get(1..).unwrap_or_default())
}

fn is_base64(raw: &[u8]) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    // Whole blocks without a branch inside: the compiler checks many bytes at a time.
    let is_plain = |block: &[u8]| block.iter().fold(true, |plain, &byte| plain & is_digit(byte));
    let is_slashed = |block: &[u8]| {
        let mut bytes = block.iter().copied();
        bytes.all(|byte| is_digit(byte) || byte == b'\\')
    };
    raw.chunks(64).all(|block| is_plain(block) || is_slashed(block))
        && memchr::memchr_iter(b'\\', raw).all(|at| raw.get(at + 1) == Some(&b'/'))
}

fn spells_identifier(raw: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/+".contains(&byte);
    raw.len() <= IDENTIFIER_BYTES_MAX && raw.bytes().all(is_sign)
}

#[cfg(test)]
mod tests;
