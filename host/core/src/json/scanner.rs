//! The one pass over the bytes that all reading of JSON is made of.

use super::{JsonError, Kind, MAX_DEPTH, Nested, Value, code_unit, unescape};
use std::borrow::Cow;
use std::ops::Range;

/// A string is likely to end within so many words of eight bytes.
const SHORT_WORDS: usize = 4;
/// What is longer is read in blocks of so many bytes.
const BLOCK_BYTES: usize = 64;

/// A position in a body that moves over checked JSON.
///
/// To read an object or array, [`open`](Self::open) it, and as long as there is [`more`](Self::more), read a
/// [`key`](Self::key) (objects only) and a [`value`](Self::value), or open that too.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    body: &'a [u8],
    /// Never past the end of `body`.
    at: usize,
    depth: usize,
    /// Escapes that it has read over.
    escapes: usize,
    /// Bytes by which those are longer than what they stand for.
    surplus: usize,
}

impl<'a> Scanner<'a> {
    /// Stands before the first byte of `body`.
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0, depth: 0, escapes: 0, surplus: 0 }
    }

    /// Stands inside of the outermost object, before byte `at` of the body.
    pub(super) const fn within(body: &'a [u8], at: usize) -> Self {
        let mut scanner = Self::new(body);
        (scanner.at, scanner.depth) = (at, 1);
        scanner
    }

    /// Stands before byte `at` of the body, or at its end.
    pub(super) fn go_to(&mut self, at: usize) {
        self.at = at.min(self.body.len());
    }

    /// The offset of the next byte.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// Skips white space and tells what value begins there, without reading it.
    pub(crate) fn kind(&mut self) -> Result<Kind, JsonError> {
        match self.next_visible() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.expected("expected a value")),
        }
    }

    /// Reads over a value of any kind.
    pub(crate) fn value(&mut self) -> Result<Value, JsonError> {
        self.value_with(&mut ())
    }

    /// Reads over a value of any kind, and tells `nested` of the members inside it.
    pub(super) fn value_with(&mut self, nested: &mut impl Nested) -> Result<Value, JsonError> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::Object => self.nested_members(nested)?,
            Kind::Array => self.elements(nested)?,
            Kind::String => {
                let surplus = self.surplus;
                let raw = self.string()?;
                nested.string(raw.len() - (self.surplus - surplus));
            }
            Kind::Number => self.number()?,
            Kind::Bool => self.word(if self.peek() == Some(b't') { b"true" } else { b"false" })?,
            Kind::Null => self.word(b"null")?,
        }
        Ok(Value { start, end: self.at, kind })
    }

    /// Enters the object or array of this kind that begins here; tells whether anything is in it.
    pub(crate) fn open(&mut self, kind: Kind) -> Result<bool, JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(self.expected("nesting too deep"));
        }
        let (open, close, reason) = match kind {
            Kind::Object => (b'{', b'}', "expected an object"),
            _ => (b'[', b']', "expected an array"),
        };
        self.token(open, reason)?;
        let empty = self.next_visible() == Some(close);
        if empty {
            self.at += 1;
        } else {
            self.depth += 1;
        }
        Ok(!empty)
    }

    /// After a member or element: tells whether another follows, and leaves the object or array when none does.
    pub(crate) fn more(&mut self, kind: Kind) -> Result<bool, JsonError> {
        let (close, reason) = match kind {
            Kind::Object => (b'}', "expected a comma or the end of the object"),
            _ => (b']', "expected a comma or the end of the array"),
        };
        let more = match self.next_visible() {
            Some(b',') => true,
            Some(byte) if byte == close => false,
            _ => return Err(self.expected(reason)),
        };
        self.at += 1;
        self.depth -= usize::from(!more);
        Ok(more)
    }

    /// Reads a member's name and its colon; the range is what lies between the quotes.
    pub(crate) fn key(&mut self) -> Result<Range<usize>, JsonError> {
        if self.next_visible() != Some(b'"') {
            return Err(self.expected("expected a member name"));
        }
        let key = self.string()?;
        self.token(b':', "expected a colon")?;
        Ok(key)
    }

    /// Reads over a string; the range is what lies between the quotes.
    pub(crate) fn string(&mut self) -> Result<Range<usize>, JsonError> {
        self.token(b'"', "expected a string")?;
        let start = self.at;
        loop {
            self.at += plain_length(self.rest());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.skip_escape()?,
                Some(_) => return Err(self.expected("control character in a string")),
                None => return Err(self.expected("string without an end")),
            }
        }
        self.at += 1;
        Ok(start..self.at - 1)
    }

    /// Checks that only white space is left.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        match self.next_visible() {
            None => Ok(()),
            Some(_) => Err(self.expected("expected the end of the document")),
        }
    }

    /// Reads over the object that begins here, as [`members_of`](super::members_of) says.
    pub(super) fn members(&mut self, visit: &mut impl FnMut(&[u8], Value)) -> Result<(), JsonError> {
        self.members_with(&mut (), visit)
    }

    /// The same, and tells `nested` of the members inside of each, before the one that they are in.
    pub(super) fn members_with(
        &mut self,
        nested: &mut impl Nested,
        visit: &mut impl FnMut(&[u8], Value),
    ) -> Result<(), JsonError> {
        let mut more = self.open(Kind::Object)?;
        while more {
            let name = self.name()?;
            nested.begins(&name);
            let value = self.value_with(nested)?;
            visit(&name, value);
            more = self.more(Kind::Object)?;
        }
        Ok(())
    }

    fn nested_members(&mut self, nested: &mut impl Nested) -> Result<(), JsonError> {
        let mut more = self.open(Kind::Object)?;
        while more {
            let name = self.name()?;
            let value = self.value_with(nested)?;
            nested.member(self.depth, &name, value);
            more = self.more(Kind::Object)?;
        }
        Ok(())
    }

    fn elements(&mut self, nested: &mut impl Nested) -> Result<(), JsonError> {
        let mut more = self.open(Kind::Array)?;
        while more {
            self.value_with(nested)?;
            more = self.more(Kind::Array)?;
        }
        Ok(())
    }

    /// How many escapes it has read over so far: a string has some where reading it adds to them.
    pub(crate) const fn escapes(&self) -> usize {
        self.escapes
    }

    /// Reads a member's name and its colon: the name as it is meant, without quotes and escapes.
    fn name(&mut self) -> Result<Cow<'a, [u8]>, JsonError> {
        let escapes = self.escapes;
        let body = self.body;
        let name = body.get(self.key()?).unwrap_or_default();
        Ok(if self.escapes == escapes {
            Cow::Borrowed(name)
        } else {
            Cow::Owned(unescape(name).into_owned().into_bytes())
        })
    }

    /// Moves to the value of the first member called `name` of the object that begins here.
    pub(super) fn seek(&mut self, name: &str) -> Option<()> {
        let mut more = self.open(Kind::Object).ok()?;
        while more {
            let escapes = self.escapes;
            let key = self.body.get(self.key().ok()?)?;
            if key == name.as_bytes() || (self.escapes != escapes && unescape(key) == name) {
                return Some(());
            }
            self.value().ok()?;
            more = self.more(Kind::Object).ok()?;
        }
        None
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        match self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count() {
            0 => Err(self.expected("expected a digit")),
            count => {
                self.at += count;
                Ok(())
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.rest().starts_with(word) {
            return Err(self.expected("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn skip_escape(&mut self) -> Result<(), JsonError> {
        let (length, stands_for) = match (self.rest(), code_unit(self.rest())) {
            ([_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..], _) => (2, 1),
            (_, Some(unit)) => (6, utf8_bytes(unit)),
            _ => return Err(self.expected("unknown escape")),
        };
        self.escapes += 1;
        self.surplus += length - stands_for;
        self.at += length;
        Ok(())
    }

    fn token(&mut self, token: u8, reason: &'static str) -> Result<(), JsonError> {
        if self.next_visible() != Some(token) {
            return Err(self.expected(reason));
        }
        self.at += 1;
        Ok(())
    }

    /// Skips white space; the byte after it, still unread.
    fn next_visible(&mut self) -> Option<u8> {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
        self.peek()
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.body.get(self.at..).unwrap_or_default()
    }

    const fn expected(&self, reason: &'static str) -> JsonError {
        JsonError { offset: self.at, reason }
    }
}

/// How many bytes of UTF-8 a unit of UTF-16 stands for; of a character of two, each half has two.
const fn utf8_bytes(unit: u16) -> usize {
    match unit {
        0..=0x7f => 1,
        0x80..=0x7ff | 0xd800..=0xdfff => 2,
        _ => 3,
    }
}

pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// How many bytes at the start of `bytes` are plain string content: no quote, backslash or control character.
///
/// Most strings are short and end within a few words; what is longer is likely long, and is read in blocks, behind
/// which its end is a few words away again.
fn plain_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    let mut words = SHORT_WORDS;
    loop {
        while words > 0
            && let Some(word) = bytes.get(length..).and_then(<[u8]>::first_chunk)
        {
            let specials = specials(u64::from_le_bytes(*word));
            if specials != 0 {
                return length + specials.trailing_zeros() as usize / 8;
            }
            length += 8;
            words -= 1;
        }
        if words > 0 {
            return length + bytes.iter().skip(length).take_while(|&&byte| is_plain(byte)).count();
        }
        while let Some(block) = bytes.get(length..).and_then(<[u8]>::first_chunk::<BLOCK_BYTES>)
            // Without a branch per byte, so that the compiler compares many at once.
            && block.iter().fold(true, |plain, &byte| plain & is_plain(byte))
        {
            length += BLOCK_BYTES;
        }
        words = BLOCK_BYTES / 8;
    }
}

const fn is_plain(byte: u8) -> bool {
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\')
}

/// Eight bytes at once: the top bit of each byte that ends plain string content, exact up to the first of them.
///
/// A subtraction borrows from the byte after the one that it marks, so later marks may be wrong.
const fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let quotes = word ^ (ONES * b'"' as u64);
    let escapes = word ^ (ONES * b'\\' as u64);
    let quotes = quotes.wrapping_sub(ONES) & !quotes;
    let escapes = escapes.wrapping_sub(ONES) & !escapes;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | escapes | controls) & (ONES << 7)
}
