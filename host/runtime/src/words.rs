//! What a component says, made fit to be shown on one line.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with whatever could begin a line, move the cursor or turn the direction of writing spelt out.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unruly) {
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

fn is_unruly(sign: char) -> bool {
    sign.is_control()
        || matches!(sign, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn nothing_that_a_component_says_begins_a_line_of_its_own() {
        assert_eq!(plain("größer: 100 %, 値段"), "größer: 100 %, 値段");
        let forged = "ok\n2026-11-30T03:00:00Z ERROR tollgate: keys leaked\r\u{1b}[2K\u{2028}\u{202e}x\u{85}";
        let shown = plain(forged);
        let safe =
            "ok\\n2026-11-30T03:00:00Z ERROR tollgate: keys leaked\\r\\u{1b}[2K\\u{2028}\\u{202e}x\\u{85}";
        assert_eq!(shown, safe);
    }
}
