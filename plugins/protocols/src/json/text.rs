//! Values that are carried as they were written.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error, Visitor};

/// The inside of a JSON string, with its escapes as they came.
///
/// Two texts with the same characters may be spelled differently: compare what [`Text::decode`] returns.
#[derive(Debug, Clone)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// No characters.
    pub(crate) const EMPTY: Text<'static> = Text(Cow::Borrowed(""));

    /// What stands between the quotes of a literal that a parser has accepted.
    pub(crate) const fn escaped(inside: &'a str) -> Self {
        Self(Cow::Borrowed(inside))
    }

    /// Spells `text` as JSON.
    pub(crate) fn plain(text: &str) -> Text<'static> {
        let mut inside = String::with_capacity(text.len());
        escape(text, &mut inside);
        Text(Cow::Owned(inside))
    }

    /// What stands between the quotes.
    pub(crate) fn as_escaped(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether no sign of it shows, without reading more of it than the first that does.
    pub(crate) fn is_blank(&self) -> bool {
        let mut rest = self.0.trim_start();
        while let Some(behind) = ["\\n", "\\r", "\\t"].iter().find_map(|escape| rest.strip_prefix(escape)) {
            rest = behind.trim_start();
        }
        rest.is_empty()
    }

    /// The characters. Half a surrogate pair becomes U+FFFD.
    pub(crate) fn decode(&self) -> Cow<'_, str> {
        if !self.0.contains('\\') {
            return Cow::Borrowed(&self.0);
        }
        let literal = self.literal();
        let mut json = serde_json::Deserializer::from_str(&literal);
        Cow::Owned(json.deserialize_bytes(Lossy).unwrap_or_default())
    }

    /// As [`Text::decode`]; borrows from where the text came from.
    pub(crate) fn into_decoded(self) -> Cow<'a, str> {
        match self.0 {
            Cow::Borrowed(inside) if !inside.contains('\\') => Cow::Borrowed(inside),
            _ => Cow::Owned(self.decode().into_owned()),
        }
    }

    /// Puts `next` behind these characters.
    pub(crate) fn append(&mut self, next: &Text<'_>) {
        self.0.to_mut().push_str(&next.0);
    }

    /// Whether it has an escape that could be half a surrogate pair.
    pub(crate) fn may_have_halves(&self) -> bool {
        self.0.contains("\\ud") || self.0.contains("\\uD")
    }

    /// Takes the first half of a surrogate pair off the end.
    pub(crate) fn take_last_half(&mut self) -> Option<Text<'static>> {
        let start = self.0.len().checked_sub(6)?;
        let (before, half) = self.0.split_at_checked(start)?;
        let unit = half.strip_prefix("\\u").and_then(|digits| u16::from_str_radix(digits, 16).ok())?;
        let backslashes = before.bytes().rev().take_while(|byte| *byte == b'\\').count();
        if !(0xD800..0xDC00).contains(&unit) || backslashes % 2 == 1 {
            return None;
        }
        let half = Text(Cow::Owned(half.to_owned()));
        self.0.to_mut().truncate(start);
        Some(half)
    }

    /// Spells the text again with U+FFFD in place of half a surrogate pair, if it has one.
    pub(crate) fn replace_halves(&mut self) {
        if self.may_have_halves() && serde_json::from_str::<String>(&self.literal()).is_err() {
            *self = Text::plain(&self.decode());
        }
    }

    fn literal(&self) -> String {
        ["\"", &self.0, "\""].concat()
    }

    /// What follows the first `bytes` of the spelling, which end a character there.
    pub(crate) fn after(self, bytes: usize) -> Self {
        match self.0 {
            Cow::Borrowed(inside) => Self(Cow::Borrowed(inside.get(bytes..).unwrap_or_default())),
            Cow::Owned(inside) => Self(Cow::Owned(inside.get(bytes..).unwrap_or_default().to_owned())),
        }
    }

    pub(crate) fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }

    /// A copy that borrows from this one.
    pub(crate) fn borrowed(&self) -> Text<'_> {
        Text(Cow::Borrowed(&self.0))
    }
}

/// Reads a string as bytes, which the parser does not ask to be whole characters.
struct Lossy;

impl Visitor<'_> for Lossy {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// Adds `text` to `out` as a string literal.
pub(crate) fn quote(text: &str, out: &mut String) {
    out.push('"');
    escape(text, out);
    out.push('"');
}

/// Adds `text` to `out` as it is spelled between quotes.
fn escape(text: &str, out: &mut String) {
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                out.push_str("\\u00");
                out.push(hex(byte >> 4));
                out.push(hex(byte & 15));
            }
        }
    }
    out.push_str(&text[plain..]);
}

/// A hexadecimal digit.
const fn hex(digit: u8) -> char {
    match digit {
        0..=9 => (b'0' + digit) as char,
        _ => (b'a' + digit - 10) as char,
    }
}

/// Any JSON value, as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a>(pub(crate) &'a str);

/// A number, with as many digits as it came with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a>(pub(crate) &'a str);

impl Number<'_> {
    /// The nearest value, for comparisons only: what is sent on is the text.
    pub(crate) fn approximate(self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// A whole number that is written as one.
    pub(crate) fn whole(self) -> Option<u64> {
        self.0.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn text_decodes_to_what_was_quoted() {
        for text in ["", "plain", "a\"b\\c\n\r\t\u{1}\u{1f}é😀", "\u{7f}\u{2028}"] {
            assert_eq!(Text::plain(text).decode(), text);
            let mut literal = String::new();
            super::quote(text, &mut literal);
            assert_eq!(serde_json::from_str::<String>(&literal).unwrap(), text);
        }
    }

    #[test]
    fn a_text_is_blank_as_long_as_nothing_shows() {
        for (text, expected) in [
            ("", true),
            (" \u{a0}\u{3000}", true),
            ("\\n \\r\\n\\t", true),
            ("\\n.", false),
            ("\\\\n", false),
        ] {
            assert_eq!(Text::escaped(text).is_blank(), expected, "{text}");
        }
    }

    #[test]
    fn halves_of_an_emoji_that_came_apart_join_again() {
        let mut text = Text::escaped(r"\ud83d");
        assert_eq!(text.decode(), "\u{fffd}\u{fffd}\u{fffd}");
        text.append(&Text::escaped(r"\ude00!"));
        assert_eq!(text.decode(), "😀!");
    }
}
