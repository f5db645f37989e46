//! Characters whose two halves come in different events.
//!
//! JSON may spell a character outside the first plane as two escapes, and a provider may send one half at the end of an
//! event and the other at the beginning of the next. Clients that decode characters fail on a half.

use crate::json::Text;
use crate::model::{Delta, Event};

/// Keeps first halves back until their second halves come; those that never do are left out.
#[derive(Debug, Default)]
pub(crate) struct Halves {
    kept: Vec<(Place, Text<'static>)>,
}

/// What a piece of text goes on with: a candidate's text, refusal, thoughts or the arguments of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    candidate: u64,
    kind: u8,
    call: u64,
}

impl Halves {
    /// Makes the text of an event whole. Returns `false` when nothing is left of it.
    pub(crate) fn mend(&mut self, event: &mut Event<'_>) -> bool {
        let Some((place, text)) = text(event) else { return true };
        if self.kept.is_empty() && !text.may_have_halves() {
            return true;
        }
        if let Some(at) = self.kept.iter().position(|kept| kept.0 == place) {
            let (_, mut whole) = self.kept.swap_remove(at);
            whole.append(text);
            *text = whole;
        }
        if let Some(half) = text.take_last_half() {
            self.kept.push((place, half));
        }
        text.replace_halves();
        !text.is_empty()
    }
}

fn text<'e, 'a>(event: &'e mut Event<'a>) -> Option<(Place, &'e mut Text<'a>)> {
    let Event::Delta { candidate, delta } = event else { return None };
    let (kind, call, text) = match delta {
        Delta::Text(text) => (0, 0, text),
        Delta::Refusal(text) => (1, 0, text),
        Delta::Thinking(text) => (2, 0, text),
        Delta::Arguments { call, text } => (3, *call, text),
        _ => return None,
    };
    Some((Place { candidate: *candidate, kind, call }, text))
}

#[cfg(test)]
mod tests {
    use super::{Delta, Event, Halves, Text};

    fn mended(pieces: &[&'static str]) -> Vec<String> {
        let mut halves = Halves::default();
        let mut texts = Vec::new();
        for piece in pieces {
            let mut event = Event::Delta { candidate: 0, delta: Delta::Text(Text::escaped(piece)) };
            if halves.mend(&mut event)
                && let Event::Delta { delta: Delta::Text(text), .. } = event
            {
                texts.push(text.as_escaped().to_owned());
            }
        }
        texts
    }

    #[test]
    fn halves_meet_and_lonely_ones_do_not_pass() {
        assert_eq!(mended(&[r"a\ud83d", r"\ude00b"]), ["a", r"\ud83d\ude00b"]);
        assert_eq!(mended(&[r"\uD83D", r"\uDE00"]), [r"\uD83D\uDE00"]);
        assert_eq!(mended(&[r"\ude00x"]), ["\u{fffd}\u{fffd}\u{fffd}x"]);
        assert_eq!(mended(&[r"\ud83d", "x"]), ["\u{fffd}\u{fffd}\u{fffd}x"]);
        assert_eq!(mended(&[r"\\ud83d", "x"]), [r"\\ud83d", "x"]);
        assert_eq!(mended(&[r"\u00e9", r"\ud83d\ude00"]), [r"\u00e9", r"\ud83d\ude00"]);
    }

    #[test]
    fn pieces_of_other_calls_do_not_come_between() {
        let mut halves = Halves::default();
        let mut arguments = |call, text| {
            let mut event =
                Event::Delta { candidate: 0, delta: Delta::Arguments { call, text: Text::escaped(text) } };
            halves.mend(&mut event);
            match event {
                Event::Delta { delta: Delta::Arguments { text, .. }, .. } => text.as_escaped().to_owned(),
                _ => String::new(),
            }
        };
        assert_eq!(arguments(0, r"\ud83d"), "");
        assert_eq!(arguments(1, r"\u0022"), r"\u0022");
        assert_eq!(arguments(0, r"\ude00"), r"\ud83d\ude00");
    }
}
