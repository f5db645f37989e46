//! Half a surrogate pair by itself, which stands for no character: some servers refuse a body that has one.

use std::borrow::Cow;

const ESCAPE_BYTES: usize = 6;

/// A text in which U+FFFD stands in the place of such halves, and where the first of them was.
pub(crate) fn without_halves(text: &str) -> (Cow<'_, str>, Option<usize>) {
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        let start = at + found;
        at = match (unit(text, start), unit(text, start + ESCAPE_BYTES)) {
            (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => start + 2 * ESCAPE_BYTES,
            (Some(0xD800..0xE000), _) => {
                places.push(start);
                start + ESCAPE_BYTES
            }
            // The sign behind a backslash is no backslash of its own; it may have more than one byte.
            _ => start + 1 + text[start + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    let Some(first) = places.first().copied() else { return (Cow::Borrowed(text), None) };
    let mut whole = text.to_owned();
    places.iter().for_each(|place| whole.replace_range(*place..place + ESCAPE_BYTES, "\\ufffd"));
    (Cow::Owned(whole), Some(first))
}

/// The number that is escaped at this byte.
fn unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + ESCAPE_BYTES)?.strip_prefix("\\u")?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::without_halves;

    #[test]
    fn only_lonely_halves_are_replaced() {
        let check = |text: &str, expected: &str, first| {
            let (whole, at) = without_halves(text);
            assert_eq!((&*whole, at), (expected, first), "{text}");
        };
        check(r#"{"a":"\ud83d\ude00 \u00e9 \n"}"#, r#"{"a":"\ud83d\ude00 \u00e9 \n"}"#, None);
        check(r"x\ud83d", r"x\ufffd", Some(1));
        check(r"\uDE00\ud83d\ud83d\ude00", r"\ufffd\ufffd\ud83d\ude00", Some(0));
        check(r"\\ud83d \\\ud83dé", r"\\ud83d \\\ufffdé", Some(10));
        check("\\", "\\", None);
        check("\\é\\ud", "\\é\\ud", None);
    }
}
