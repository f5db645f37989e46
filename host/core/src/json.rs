//! Reading JSON in place: where the members of a body are, without building a tree.
//!
//! One [`Scanner`] walks the bytes once, checks the grammar (RFC 8259) on the way and hands out byte ranges, so that
//! the road can splice a body and still send all other bytes as they came. Nothing here changes a body, and nothing
//! here panics, whatever the bytes. The text that a filter looks at is taken out in [`crate::text`].
//!
//! Duplicate names are legal JSON: [`members`] reports each, and a caller that keeps one keeps the last, as most
//! parsers do.

use memchr::memchr;
use std::borrow::Cow;
use std::ops::Range;

/// How deep objects and arrays may nest, the outermost included.
pub const MAX_DEPTH: usize = 128;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// `-1.5e3`
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// Where a value is: bytes `start..end` of the body it was found in, quotes and brackets included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Offset of its first byte.
    pub start: usize,
    /// Offset after its last byte.
    pub end: usize,
    /// What it is.
    pub kind: Kind,
}

impl Value {
    /// The bytes that it takes up, as a range of the body.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// The value's bytes; none when `body` is not the body that it was found in.
    fn bytes(self, body: &[u8]) -> &[u8] {
        body.get(self.range()).unwrap_or_default()
    }
}

/// Why bytes are not the JSON that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct JsonError {
    /// Where in the body, in bytes.
    pub offset: usize,
    /// What was expected or found there; names no content, so it may be shown to the client.
    pub reason: &'static str,
}

/// Checks a whole document, which must be one object, and calls `visit` for each of its own members in order.
///
/// A name is given without quotes and escapes. Members are reported while the bytes after them are still unread: what
/// was collected is worth something only when the result is `Ok`.
///
/// # Errors
/// The first place where `body` is not UTF-8, not RFC 8259, not an object or deeper than [`MAX_DEPTH`], or where
/// something other than white space follows the object.
pub fn members(body: &[u8], mut visit: impl FnMut(&[u8], Value)) -> Result<(), JsonError> {
    check_utf8(body)?;
    let mut scanner = Scanner::new(body);
    scanner.members(&mut visit)?;
    scanner.end()
}

/// Calls `visit` for each member of `object`, a value that [`members`] or [`find`] found in `body`.
///
/// # Errors
/// When `object` is not an object of `body` after all.
pub fn members_of(body: &[u8], object: Value, mut visit: impl FnMut(&[u8], Value)) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(body);
    scanner.at = object.start.min(body.len());
    scanner.members(&mut visit)
}

/// The value that a path of member names leads to, starting at the outermost object; an empty path is the whole value.
///
/// Stops as soon as it is found, and the first of several members with one name wins: this is for a quick look, and
/// [`members`] is for what decides. `None` when it is absent, or when the bytes up to its end are not JSON.
#[must_use]
pub fn find(body: &[u8], path: &[&str]) -> Option<Value> {
    let mut scanner = Scanner::new(body);
    for name in path {
        scanner.seek(name)?;
    }
    scanner.value().ok()
}

/// Whether `value` is an array without elements.
#[must_use]
pub fn is_empty_array(body: &[u8], value: Value) -> bool {
    let inside = value.bytes(body).strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inside.is_some_and(|bytes| bytes.iter().all(|&byte| is_space(byte)))
}

/// The text of a string; `None` for another kind.
#[must_use]
pub fn string(body: &[u8], value: Value) -> Option<Cow<'_, str>> {
    let raw = value.bytes(body).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Some(unescape(raw))
}

/// A whole number without sign, fraction or exponent, up to 64 bits; `None` for anything else.
#[must_use]
pub fn unsigned(body: &[u8], value: Value) -> Option<u64> {
    let digits = value.bytes(body);
    if value.kind != Kind::Number || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// `true` or `false`; `None` for anything else.
#[must_use]
pub fn boolean(body: &[u8], value: Value) -> Option<bool> {
    match value.bytes(body) {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// The text that `raw`, the bytes between the quotes of a string, stands for; borrowed when nothing is escaped.
///
/// Half a surrogate pair, and whatever is not UTF-8, becomes U+FFFD.
#[must_use]
pub fn unescape(raw: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr(b'\\', raw) else {
        return String::from_utf8_lossy(raw);
    };
    let mut text = String::with_capacity(raw.len());
    let (plain, mut rest) = raw.split_at(first);
    text.push_str(&String::from_utf8_lossy(plain));
    while !rest.is_empty() {
        let (symbol, length) = escape(rest);
        text.push(symbol);
        rest = rest.get(length..).unwrap_or_default();
        let (plain, escaped) = rest.split_at(memchr(b'\\', rest).unwrap_or(rest.len()));
        text.push_str(&String::from_utf8_lossy(plain));
        rest = escaped;
    }
    Cow::Owned(text)
}

/// `text` as a JSON string, with its quotes.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for symbol in text.chars() {
        match symbol {
            '"' => literal.push_str("\\\""),
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '\0'..'\x20' => literal.push_str(&format!("\\u{:04x}", u32::from(symbol))),
            _ => literal.push(symbol),
        }
    }
    literal.push('"');
    literal
}

/// The character that the escape at the start of `raw` stands for, and how many bytes of `raw` spell it.
pub(crate) fn escape(raw: &[u8]) -> (char, usize) {
    let symbol = match raw.get(1) {
        Some(&same @ (b'"' | b'\\' | b'/')) => char::from(same),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(raw),
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    (symbol, 2)
}

/// As [`escape`], for `\uXXXX` and for a pair of them.
fn unicode_escape(raw: &[u8]) -> (char, usize) {
    let Some(first) = code_unit(raw) else {
        return (char::REPLACEMENT_CHARACTER, 2);
    };
    let second = raw.get(6..).and_then(code_unit);
    match char::decode_utf16(std::iter::once(first).chain(second)).next() {
        Some(Ok(symbol)) => (symbol, 6 * symbol.len_utf16()),
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}

/// The UTF-16 code unit that `\uXXXX` at the start of `raw` names.
fn code_unit(raw: &[u8]) -> Option<u16> {
    let digits = raw.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, &digit| {
        let digit = u16::try_from(char::from(digit).to_digit(16)?).ok()?;
        Some(unit << 4 | digit)
    })
}

/// # Errors
/// The first byte that is not part of UTF-8 text.
pub(crate) fn check_utf8(body: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(body)
        .map_err(|error| JsonError { offset: error.valid_up_to(), reason: "text that is not UTF-8" })
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// How many bytes at the start of `bytes` are plain string content: no quote, backslash or control character.
///
/// Looks at eight bytes at a time. The borrow of each subtraction can only mark a byte too many *after* the first true
/// one, and only the first is used.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;
    let mut length = 0;
    while let Some(chunk) = bytes.get(length..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let quotes = zero_bytes(word ^ ONES * u64::from(b'"'));
        let escapes = zero_bytes(word ^ ONES * u64::from(b'\\'));
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let special = (quotes | escapes | controls) & TOPS;
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let tail = bytes.iter().skip(length);
    length + tail.take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\').count()
}

/// A position in a body that moves over checked JSON.
///
/// To read an object or array, [`open`](Self::open) it, and as long as there is [`more`](Self::more), read a
/// [`key`](Self::key) (objects only) and a [`value`](Self::value). Nested values are read the same way or skipped whole.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    body: &'a [u8],
    /// Never past the end of `body`.
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    /// Stands before the first byte of `body`.
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0, depth: 0 }
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
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::Object => self.members(&mut |_, _| ())?,
            Kind::Array => self.elements()?,
            Kind::String => drop(self.string()?),
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

    /// Reads the string that begins at this byte; the range is what lies between the quotes.
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

    fn members(&mut self, visit: &mut impl FnMut(&[u8], Value)) -> Result<(), JsonError> {
        let body = self.body;
        let mut more = self.open(Kind::Object)?;
        while more {
            let key = body.get(self.key()?).unwrap_or_default();
            let value = self.value()?;
            match memchr(b'\\', key) {
                None => visit(key, value),
                Some(_) => visit(unescape(key).as_bytes(), value),
            }
            more = self.more(Kind::Object)?;
        }
        Ok(())
    }

    fn elements(&mut self) -> Result<(), JsonError> {
        let mut more = self.open(Kind::Array)?;
        while more {
            self.value()?;
            more = self.more(Kind::Array)?;
        }
        Ok(())
    }

    /// Moves to the value of the first member called `name` of the object that begins here.
    fn seek(&mut self, name: &str) -> Option<()> {
        let mut more = self.open(Kind::Object).ok()?;
        while more {
            let key = self.body.get(self.key().ok()?)?;
            if key == name.as_bytes() || (memchr(b'\\', key).is_some() && unescape(key) == name) {
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
        let length = match self.rest() {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            escape if code_unit(escape).is_some() => 6,
            _ => return Err(self.expected("unknown escape")),
        };
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
