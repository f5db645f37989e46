//! Tools that take one text: everyone but OpenAI calls them as functions whose only argument it is.

use crate::json::{Node, Text, Writer};
use crate::model::{Arguments, Refused};
use std::borrow::Cow;

/// The arguments of such a function.
pub(crate) const SCHEMA: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}"#;

/// What a client calls the tool, and the rules of its text, if it has any: nobody else can be made to follow them, so
/// they are told.
///
/// # Errors
/// The format is not one of OpenAI's, or nothing may be left out.
pub(crate) fn described<'a>(
    description: Option<Text<'a>>,
    format: Option<&Node<'a, '_>>,
) -> Result<Option<Text<'a>>, Refused> {
    let Some(format) = format else { return Ok(description) };
    let object = format.object()?;
    if !object.need("type")?.is("grammar") {
        return Ok(description);
    }
    let nested = object.take("grammar").map(|grammar| grammar.object()).transpose()?;
    let grammar = nested.as_ref().unwrap_or(&object);
    let rules = grammar.need("definition")?.text()?;
    let syntax = grammar.take("syntax").map_or(Ok(Cow::Borrowed("lark")), |syntax| syntax.string())?;
    format.hint("only OpenAI makes a model follow a grammar")?;
    let mut text = description.unwrap_or(Text::EMPTY).into_owned();
    let head = format!("\n\n`input` must be a text of this grammar ({syntax}):\n");
    text.append(&Text::plain(&head));
    text.append(&rules);
    Ok(Some(text))
}

/// A text as the arguments of the function.
pub(crate) fn arguments(input: &Text<'_>) -> Arguments<'static> {
    let mut writer = Writer::default();
    writer.object(|w| w.field("input", input));
    Arguments::Encoded(Text::plain(&writer.take()))
}

/// The text that the arguments of a call hold; other arguments are a text themselves.
pub(crate) fn input(arguments: &Text<'_>) -> Text<'static> {
    let json = arguments.decode();
    let held = Node::document(json.as_bytes()).and_then(|document| {
        let object = document.object()?;
        let input = object.need("input")?.text()?.into_owned();
        object.finish().map(|()| input)
    });
    let mut text = held.unwrap_or_else(|_| arguments.borrowed().into_owned());
    text.replace_halves();
    text
}

#[cfg(test)]
mod tests {
    use super::{Text, arguments, input};

    #[test]
    fn a_text_comes_back_as_it_went() {
        for text in ["", "*** Begin Patch\n\"é\\\" 😀\n", "{\"input\":1}", "plain"] {
            let there = arguments(&Text::plain(text));
            assert_eq!(input(&there.encoded()).decode(), text);
        }
    }

    #[test]
    fn other_arguments_are_the_text() {
        for text in [r#"{"input":1}"#, r#"{"patch":"x"}"#, "*** Begin Patch", r#"{"input":"a","b":"c"}"#] {
            assert_eq!(input(&Text::plain(text)).decode(), text);
        }
    }
}
