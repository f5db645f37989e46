//! Pictures, documents and sound, spelled as every provider reads them.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Body, LeftOut, Part, Request, Source};
use crate::json::Text;

/// What the bytes of pictures begin with, in base64.
const PICTURES: [(&str, &str); 4] =
    [("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];

/// Other names for types.
const OTHER_NAMES: [(&str, &str); 6] = [
    ("image/jpg", "image/jpeg"),
    ("image/pjpeg", "image/jpeg"),
    ("image/x-png", "image/png"),
    ("application/x-pdf", "application/pdf"),
    ("audio/x-wav", "audio/wav"),
    ("audio/wave", "audio/wav"),
];

impl Request<'_> {
    /// Spells base64 in its first alphabet, with its padding, and types by their usual names. A picture is of the type
    /// that it begins as.
    pub(crate) fn mend_media(&mut self, notes: &LeftOut) {
        for part in self.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
            mend(part, notes);
        }
    }
}

fn mend(part: &mut Part<'_>, notes: &LeftOut) {
    let Part { body, path, .. } = part;
    let mended = match body {
        Body::Outcome(outcome) => {
            outcome.parts.iter_mut().for_each(|part| mend(part, notes));
            return;
        }
        Body::Image { source: Source::Base64 { media, data }, .. } => {
            respell(data);
            let begins_as = PICTURES.into_iter().find(|known| data.as_escaped().starts_with(known.0));
            rename(media, begins_as.map(|known| known.1))
        }
        Body::File { source: Source::Base64 { media, data }, .. } | Body::Audio { media, data } => {
            respell(data);
            rename(media, None)
        }
        _ => return,
    };
    if mended {
        notes.mention(path);
    }
}

/// Says whether the type changes by more than its spelling.
fn rename(media: &mut Cow<'_, str>, known: Option<&'static str>) -> bool {
    let plain = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let usual = OTHER_NAMES.into_iter().find(|other| other.0 == plain).map(|other| other.1);
    let Some(name) = known.or(usual) else {
        if plain != **media {
            *media = Cow::Owned(plain);
        }
        return false;
    };
    let changed = name != &**media;
    if changed {
        *media = Cow::Borrowed(name);
    }
    changed
}

/// Base64 of the URL alphabet, without padding or over several lines, as everyone reads it. What is no base64 stays.
fn respell(data: &mut Text<'_>) {
    let spelled = data.as_escaped();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if spelled.len().is_multiple_of(4) && spelled.bytes().all(plain) {
        return;
    }
    let mut standard = String::with_capacity(spelled.len() + 3);
    for symbol in data.decode().chars() {
        match symbol {
            '-' => standard.push('+'),
            '_' => standard.push('/'),
            '=' | '\r' | '\n' | ' ' | '\t' => {}
            'A'..='Z' | 'a'..='z' | '0'..='9' | '+' | '/' => standard.push(symbol),
            _ => return,
        }
    }
    if standard.len() % 4 == 1 {
        return;
    }
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    *data = Text::plain(&standard);
}

impl Source<'_> {
    /// The text of a document that is one. Of a long one the gateway has taken the middle out, and put a mark in its
    /// place that no decoding may touch: such a document stays as it is.
    pub(crate) fn as_text(&self) -> Option<String> {
        let Self::Base64 { media, data } = self else { return None };
        if has_mark(data.as_escaped()) {
            return None;
        }
        let is_text =
            media.starts_with("text/") || matches!(&**media, "application/json" | "application/xml");
        let bytes = is_text.then(|| STANDARD.decode(data.as_escaped()).ok())??;
        String::from_utf8(bytes).ok()
    }
}

/// Whether so many small letters and digits follow each other as in a mark, which chance does not bring about.
fn has_mark(data: &str) -> bool {
    const MARK_BYTES: usize = 24;
    let mut run = 0;
    data.bytes().any(|byte| {
        run = if byte.is_ascii_lowercase() || byte.is_ascii_digit() { run + 1 } else { 0 };
        run >= MARK_BYTES
    })
}

#[cfg(test)]
mod tests {
    use super::{Cow, Source, Text, rename, respell};

    #[test]
    fn a_document_that_is_text_is_read_as_one_unless_its_middle_is_elsewhere() {
        let text = |media: &'static str, data: &'static str| {
            Source::Base64 { media: Cow::Borrowed(media), data: Text::escaped(data) }.as_text()
        };
        assert_eq!(text("text/csv", "YSxiCg=="), Some("a,b\n".to_owned()));
        assert_eq!(text("application/json", "e30="), Some("{}".to_owned()));
        assert_eq!(text("application/pdf", "YSxiCg=="), None);
        assert_eq!(text("text/csv", "/w=="), None);
        assert_eq!(text("text/csv", "YWFhYWFhYWFhYWFhabcdefghijkmnopq00000001YWFh"), None);
    }

    #[test]
    fn base64_is_spelled_in_one_way() {
        for (given, expected) in [
            ("_9j-", "/9j+"),
            ("aGk", "aGk="),
            ("aGk=", "aGk="),
            ("aGk=\\n", "aGk="),
            ("aG\\r\\nk", "aGk="),
            ("\\/9j\\/", "/9j/"),
            ("a", "a"),
            ("no base64!", "no base64!"),
            ("", ""),
        ] {
            let mut data = Text::escaped(given);
            respell(&mut data);
            assert_eq!(data.as_escaped(), expected, "{given}");
        }
    }

    #[test]
    fn a_type_has_its_usual_name() {
        for (given, known, expected, changed) in [
            ("image/jpg", None, "image/jpeg", true),
            ("IMAGE/PNG", None, "image/png", false),
            ("image/png", Some("image/jpeg"), "image/jpeg", true),
            ("image/jpeg", Some("image/jpeg"), "image/jpeg", false),
            ("", Some("image/gif"), "image/gif", true),
            ("audio/x-wav; codec=1", None, "audio/wav", true),
            ("application/pdf", None, "application/pdf", false),
        ] {
            let mut media = Cow::Borrowed(given);
            assert_eq!(rename(&mut media, known), changed, "{given}");
            assert_eq!(media, expected, "{given}");
        }
    }
}
