//! Reading JSON in place: where the members of a body are, without building a tree.
//!
//! One `Scanner` walks the bytes once, checks the grammar (RFC 8259) on the way and hands out byte ranges, so that
//! the road can splice a body and still send all other bytes as they came. Nothing here changes a body, and nothing
//! here panics, whatever the bytes. The text that a filter looks at is taken out in [`crate::text`].
//!
//! Duplicate names are legal JSON: [`members`] reports each, and a caller that keeps one keeps the last, as most
//! parsers do.

mod scanner;

pub(crate) use scanner::Scanner;

use memchr::memchr;
use std::borrow::Cow;
use std::ops::{ControlFlow, Range};

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

/// Is told of what is inside a body: of the members of the objects in it, each when its own value has been read.
pub trait Nested {
    /// A member of an object that lies `depth` deep: the outermost one of the body is at 1.
    fn member(&mut self, depth: usize, name: &[u8], value: Value);

    /// The value of a member of the outermost object begins.
    fn begins(&mut self, _name: &[u8]) {}

    /// A string that is a value stands for so many bytes of text.
    fn string(&mut self, _bytes: usize) {}
}

/// Nobody listens.
impl Nested for () {
    fn member(&mut self, _: usize, _: &[u8], _: Value) {}
}

/// As [`members`], and tells `nested` of the members inside of each, before the one that they are in: all on one pass.
///
/// # Errors
/// As [`members`].
pub fn members_with(
    body: &[u8],
    nested: &mut impl Nested,
    mut visit: impl FnMut(&[u8], Value),
) -> Result<(), JsonError> {
    check_utf8(body)?;
    let mut scanner = Scanner::new(body);
    scanner.members_with(nested, &mut visit)?;
    scanner.end()
}

/// Calls `visit` for each member of `object`, a value that [`members`] or [`find`] found in `body`.
///
/// # Errors
/// When `object` is not an object of `body` after all.
pub fn members_of(body: &[u8], object: Value, mut visit: impl FnMut(&[u8], Value)) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(body);
    scanner.go_to(object.start);
    scanner.members(&mut visit)
}

/// Calls `visit` for each element of `array`, a value that was found in `body`, until `visit` asks to stop.
///
/// # Errors
/// When `array` is not an array of `body` after all.
pub fn elements_of(
    body: &[u8],
    array: Value,
    mut visit: impl FnMut(Value) -> ControlFlow<()>,
) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(body);
    scanner.go_to(array.start);
    let mut more = scanner.open(Kind::Array)?;
    while more {
        if visit(scanner.value()?).is_break() {
            return Ok(());
        }
        more = scanner.more(Kind::Array)?;
    }
    Ok(())
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

/// The value of the outermost object's member whose name, quotes included, stands at byte `at`. It is read from there
/// to the end of the body: nothing before it is looked at. `None` where what follows is not the rest of that object and
/// of the body, and where the quote at `at` may be inside a string.
#[must_use]
pub fn member_at(body: &[u8], at: usize) -> Option<Value> {
    // `\"` is inside a string; an unescaped quote before a name and a colon can only open that name.
    if at.checked_sub(1).is_some_and(|before| body.get(before) == Some(&b'\\')) {
        return None;
    }
    let mut scanner = Scanner::within(body, at);
    scanner.key().ok()?;
    let value = scanner.value().ok()?;
    while scanner.more(Kind::Object).ok()? {
        scanner.key().ok()?;
        scanner.value().ok()?;
    }
    scanner.end().ok().map(|()| value)
}

/// Whether `value` is an array without elements.
#[must_use]
pub fn is_empty_array(body: &[u8], value: Value) -> bool {
    let inside = value.bytes(body).strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inside.is_some_and(|bytes| bytes.iter().all(|&byte| scanner::is_space(byte)))
}

/// The text of a string; `None` for another kind.
#[must_use]
pub fn string(body: &[u8], value: Value) -> Option<Cow<'_, str>> {
    let raw = value.bytes(body).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    Some(unescape(raw))
}

/// A whole number without a sign, up to 64 bits, however it is spelt (`1000`, `1000.0`, `1e3`); `None` for anything
/// else.
#[must_use]
pub fn unsigned(body: &[u8], value: Value) -> Option<u64> {
    if value.kind != Kind::Number {
        return None;
    }
    let text = std::str::from_utf8(value.bytes(body)).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { whole(text) }
}

/// The number that a fraction or a power of ten is, where it is a whole one.
fn whole(text: &str) -> Option<u64> {
    let (digits, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
    let after = after.trim_end_matches('0');
    let digits = [before, after].concat();
    let mut number: u64 = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let mut power = power.parse::<i64>().ok()?.checked_sub(i64::try_from(after.len()).ok()?)?;
    while power < 0 && number > 0 {
        number = Some(number / 10).filter(|_| number.is_multiple_of(10))?;
        power += 1;
    }
    if number == 0 { Some(0) } else { number.checked_mul(10_u64.checked_pow(u32::try_from(power).ok()?)?) }
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
    let raw = String::from_utf8_lossy(raw);
    if memchr(b'\\', raw.as_bytes()).is_none() {
        return raw;
    }
    let mut text = String::new();
    unescape_into(&mut text, &raw);
    Cow::Owned(text)
}

/// Adds the text that `raw` stands for to `text`, as [`unescape`] does.
pub(crate) fn unescape_into(text: &mut String, raw: &str) {
    text.reserve(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest.as_bytes()) {
        let (symbol, length) = escape(&rest.as_bytes()[at..]);
        text.push_str(&rest[..at]);
        text.push(symbol);
        rest = &rest[at + length..];
    }
    text.push_str(rest);
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

#[cfg(test)]
mod tests;
