//! Text of strangers, made fit to be shown on one line: what a component says, a provider, a client.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with whatever could begin a line, move the cursor, turn the direction of writing or hide spelt out.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    // Nearly all text is of letters that need no closer look.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !text.contains(is_unruly) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for sign in text.chars() {
        if is_unruly(sign) {
            // Writing to a string does not fail.
            let _ = write!(plain, "{}", sign.escape_default());
        } else {
            plain.push(sign);
        }
    }
    Cow::Owned(plain)
}

/// Text that is JSON, with the same signs spelt out as JSON does. They stand within strings alone.
#[must_use]
pub fn plain_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unruly) {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(json.len() + 16);
    for sign in json.chars() {
        if is_unruly(sign) {
            let units = &mut [0; 2];
            for unit in sign.encode_utf16(units) {
                let _ = write!(plain, "\\u{unit:04x}");
            }
        } else {
            plain.push(sign);
        }
    }
    Cow::Owned(plain)
}

/// The first of a text, by bytes, with a word of how much there was.
#[must_use]
pub fn shortened(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let kept = &text[..text.floor_char_boundary(bytes_max)];
    Cow::Owned(format!("{kept}… ({} bytes in all)", text.len()))
}

/// The first sign of a text that nobody sees as what it is, if any.
#[must_use]
pub fn unruly(text: &str) -> Option<char> {
    text.chars().find(|sign| is_unruly(*sign))
}

/// Whether a sign begins a line, moves a cursor, turns the direction of writing, or is not seen at all.
#[must_use]
pub fn is_unruly(sign: char) -> bool {
    sign.is_control()
        || matches!(
            sign,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fdd0}'..='\u{fdef}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}'
                | '\u{fffe}' | '\u{ffff}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::{plain, plain_json, shortened, unruly};

    #[test]
    fn nothing_that_a_stranger_says_begins_a_line_of_its_own() {
        assert_eq!(plain("größer: 100 %, 値段 ไทย हिन्दी"), "größer: 100 %, 値段 ไทย हिन्दी");
        let forged = "ok\n2026-11-30T03:00:00Z ERROR tollgate: keys leaked\r\u{1b}[2K\u{2028}\u{202e}x\u{85}";
        let shown = plain(forged);
        let safe =
            "ok\\n2026-11-30T03:00:00Z ERROR tollgate: keys leaked\\r\\u{1b}[2K\\u{2028}\\u{202e}x\\u{85}";
        assert_eq!(shown, safe);
        for sign in
            "\0\u{7}\u{8}\t\u{b}\u{c}\u{7f}\u{9b}\u{ad}\u{200b}\u{200e}\u{2029}\u{2066}\u{feff}\u{e0041}"
                .chars()
        {
            let text = format!("a{sign}b");
            assert!(plain(&text).is_ascii(), "{text:?}");
        }
    }

    #[test]
    fn json_stays_json() {
        let json = serde_json::to_string("a\n\u{2028}\u{202e}\u{e0041}\u{9b}ß").unwrap();
        let plain = plain_json(&json);
        assert_eq!(plain, "\"a\\n\\u2028\\u202e\\udb40\\udc41\\u009bß\"");
        assert_eq!(serde_json::from_str::<String>(&plain).unwrap(), "a\n\u{2028}\u{202e}\u{e0041}\u{9b}ß");
    }

    #[test]
    fn a_long_text_is_cut_between_two_signs() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("äöü", 3), "ä… (6 bytes in all)");
    }

    #[test]
    fn what_people_call_each_other_is_seen() {
        for name in [
            "alice",
            "Ana María",
            "李小龙",
            "فاطمة",
            "Ελένη",
            "नेहा",
            "한국어",
            "o'brien-2 (dev) 🚀",
            "a\u{301}",
        ] {
            assert_eq!(unruly(name), None, "{name}");
        }
        for sign in
            ['\0', '\t', '\u{7f}', '\u{ad}', '\u{34f}', '\u{200d}', '\u{202e}', '\u{2800}', '\u{3164}']
        {
            assert_eq!(unruly(&format!("ali{sign}ce")), Some(sign));
        }
    }
}
