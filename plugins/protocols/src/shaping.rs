//! Answers in the shape that was asked for, where the upstream could not be asked for it in its own words.
//!
//! JSON that a model was asked for in words comes with what models put around it: only the object is passed on, as it
//! comes. An answer without any is passed on as it is. Arguments of a tool that takes a text are collected, and the
//! text is taken out of them.

use std::borrow::Cow;

use crate::custom;
use crate::json::Text;
use crate::model::{Alias, Arguments, Body, Delta, Event, Part, Response, ToolKind};
use crate::nesting::Nesting;
use crate::target::Context;

/// Shapes a stream.
#[derive(Debug, Default)]
pub(crate) struct Shaping {
    /// Functions that the client knows by other names alone.
    renamed: Vec<Alias>,
    /// Names of tools that take a text.
    custom: Vec<String>,
    /// Calls of them under way: candidate, number and arguments.
    open: Vec<(u64, u64, Text<'static>)>,
    object: Option<ObjectOnly>,
}

type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

impl Shaping {
    pub(crate) fn of(context: &Context) -> Self {
        let custom = context.aliases.iter().filter(|alias| alias.kind == ToolKind::Custom);
        let renamed = context.aliases.iter().filter(|alias| alias.is_plain());
        Self {
            renamed: renamed.cloned().collect(),
            custom: custom.map(|alias| alias.sent.clone()).collect(),
            open: Vec::new(),
            object: context.json_only.then(ObjectOnly::default),
        }
    }

    /// Passes on what an event becomes.
    pub(crate) fn pass(&mut self, event: Event<'_>, emit: Emit<'_>) {
        if self.custom.is_empty() && self.renamed.is_empty() && self.object.is_none() {
            return emit(event);
        }
        match event {
            Event::Delta { candidate, delta } => self.delta(candidate, delta, emit),
            Event::Finish { .. } | Event::End => {
                self.tell_rest(emit);
                emit(event);
            }
            other => emit(other),
        }
    }

    fn delta(&mut self, candidate: u64, delta: Delta<'_>, emit: Emit<'_>) {
        let delta = match (delta, &mut self.object) {
            (Delta::Text(text), Some(object)) => match object.take(&text.decode()) {
                "" => return,
                part => Delta::Text(Text::plain(part)),
            },
            (Delta::Call { call, id, name, signature }, _) => {
                self.tell_words(emit);
                if self.custom.iter().any(|custom| *custom == *name) {
                    self.open.push((candidate, call, Text::EMPTY));
                }
                let known = self.renamed.iter().find(|alias| alias.sent == *name);
                let name = known.map_or(name, |alias| Cow::Owned(alias.name.clone()));
                Delta::Call { call, id, name, signature }
            }
            (Delta::Arguments { call, text }, _) => match self.opened(candidate, call) {
                Some(at) => return self.open[at].2.append(&text),
                None => Delta::Arguments { call, text },
            },
            (Delta::CallEnd { call }, _) => {
                if let Some(at) = self.opened(candidate, call) {
                    let open = self.open.remove(at);
                    tell_input(open, emit);
                }
                Delta::CallEnd { call }
            }
            (other, _) => other,
        };
        emit(Event::Delta { candidate, delta });
    }

    fn opened(&self, candidate: u64, call: u64) -> Option<usize> {
        self.open.iter().position(|open| (open.0, open.1) == (candidate, call))
    }

    fn tell_rest(&mut self, emit: Emit<'_>) {
        self.tell_words(emit);
        for open in std::mem::take(&mut self.open) {
            tell_input(open, emit);
        }
    }

    /// What came before any object is the answer, if nothing follows.
    fn tell_words(&mut self, emit: Emit<'_>) {
        if let Some(words) = self.object.as_mut().and_then(ObjectOnly::words) {
            emit(Event::Delta { candidate: 0, delta: Delta::Text(Text::plain(&words)) });
        }
    }
}

fn tell_input((candidate, call, arguments): (u64, u64, Text<'static>), emit: Emit<'_>) {
    let delta = Delta::Arguments { call, text: custom::input(&arguments) };
    emit(Event::Delta { candidate, delta });
}

/// Shapes a whole answer.
pub(crate) fn shape(response: &mut Response<'_>, context: &Context) {
    for candidate in &mut response.candidates {
        if context.json_only {
            object_only(&mut candidate.parts);
        }
        for part in &mut candidate.parts {
            if let Body::Call(call) = &mut part.body
                && let Some(alias) = context.alias(&call.name)
            {
                if alias.kind == ToolKind::Custom {
                    call.arguments = Arguments::Encoded(custom::input(&call.arguments.encoded()));
                } else if alias.is_plain() {
                    call.name = Cow::Owned(alias.name.clone());
                }
            }
        }
    }
}

fn object_only(parts: &mut [Part<'_>]) {
    let mut object = ObjectOnly::default();
    let texts = parts.iter().filter_map(|part| match &part.body {
        Body::Text { text, .. } => Some(Text::plain(object.take(&text.decode())).into_owned()),
        _ => None,
    });
    let found: Vec<Text<'static>> = texts.collect();
    if object.words().is_some() {
        return;
    }
    let told = parts.iter_mut().filter_map(|part| match &mut part.body {
        Body::Text { text, .. } => Some(text),
        _ => None,
    });
    told.zip(found).for_each(|(text, found)| *text = found);
}

/// Lets the first object of a text pass.
#[derive(Debug, Default)]
struct ObjectOnly {
    /// Words before it, as long as there is none.
    before: String,
    nesting: Option<Nesting>,
}

impl ObjectOnly {
    /// What of the next piece belongs to the object.
    fn take<'p>(&mut self, piece: &'p str) -> &'p str {
        let piece = match (&self.nesting, piece.find('{')) {
            (Some(_), _) => piece,
            (None, Some(at)) => {
                self.before.clear();
                &piece[at..]
            }
            (None, None) => {
                self.before.push_str(piece);
                ""
            }
        };
        if piece.is_empty() {
            return piece;
        }
        let nesting = self.nesting.get_or_insert_default();
        if nesting.is_closed() { "" } else { nesting.push_to_end(piece) }
    }

    /// Words that no object follows.
    fn words(&mut self) -> Option<String> {
        Some(std::mem::take(&mut self.before)).filter(|words| !words.trim().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::ObjectOnly;

    fn passed(pieces: &[&str]) -> (String, Option<String>) {
        let mut object = ObjectOnly::default();
        let passed = pieces.iter().map(|piece| object.take(piece).to_owned()).collect();
        (passed, object.words())
    }

    #[test]
    fn only_the_object_passes_wherever_its_pieces_are_cut() {
        let text = "Here it is:\n```json\n{\"a\": \"} ```\", \"b\": [{}]}\n```\nAnything else? {}";
        let expected = "{\"a\": \"} ```\", \"b\": [{}]}".to_owned();
        for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            assert_eq!(passed(&[&text[..cut], &text[cut..]]), (expected.clone(), None), "{cut}");
        }
        assert_eq!(passed(&["{}"]), ("{}".to_owned(), None));
    }

    #[test]
    fn words_without_an_object_are_not_lost() {
        assert_eq!(passed(&["I can", "not."]), (String::new(), Some("I cannot.".to_owned())));
        assert_eq!(passed(&[" \n"]), (String::new(), None));
    }
}
