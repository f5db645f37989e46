//! OpenAI's `/v1/embeddings`.

use super::{Asked, Form, Inputs, Outputs, Vector};
use crate::json::{Node, Text, Writer};
use crate::model::Refused;
use crate::target::Target;

/// # Errors
/// What is not a request, or holds token numbers instead of text.
pub(super) fn parse<'a>(document: &Node<'a, '_>) -> Result<Inputs<'a>, Refused> {
    let body = document.object()?;
    body.leave_out(&["model", "user"]);
    let input = body.need("input")?;
    let texts = if input.is_string() { vec![input.text()?] } else { input.list(|node| text(&node))? };
    if texts.is_empty() {
        return Err(input.refuse("is empty"));
    }
    let form = match body.take("encoding_format") {
        None => Form::Numbers,
        Some(format) => match &*format.string()? {
            "float" => Form::Numbers,
            "base64" => Form::Base64,
            _ => return Err(format.refuse("must be `float` or `base64`")),
        },
    };
    let dimensions = body.take("dimensions").map(|node| Ok(node.at(node.number()?))).transpose()?;
    body.finish()?;
    Ok(Inputs { texts, dimensions, form })
}

fn text<'a>(node: &Node<'a, '_>) -> Result<Text<'a>, Refused> {
    if node.is_string() {
        node.text()
    } else {
        Err(node.refuse("tokens have other numbers there: send text"))
    }
}

/// Always asks for numbers: they are what Gemini's clients read.
pub(super) fn print(inputs: &Inputs<'_>, target: &Target<'_>) -> String {
    let mut writer = Writer::default();
    writer.object(|w| {
        w.field("model", target.model);
        w.array_at("input", |w| inputs.texts.iter().for_each(|text| w.value(text)));
        w.field("encoding_format", "float");
        w.optional("dimensions", inputs.dimensions.as_ref());
    });
    writer.take()
}

/// # Errors
/// It is not an answer of this protocol.
pub(super) fn read<'a>(document: &Node<'a, '_>) -> Result<Outputs<'a>, Refused> {
    let body = document.object()?;
    let mut vectors = body.need("data")?.list(|entry| {
        let entry = entry.object()?;
        let index = entry.take("index").map_or(Ok(0), |index| index.whole())?;
        Ok((index, Vector::read(&entry.need("embedding")?)?))
    })?;
    vectors.sort_by_key(|(index, _)| *index);
    let vectors = vectors.into_iter().map(|(_, vector)| vector).collect();
    let usage = body.take("usage").map(|usage| usage.object()).transpose()?;
    let tokens = usage.and_then(|usage| usage.take("prompt_tokens")?.whole().ok());
    Ok(Outputs { vectors, tokens })
}

/// Clients read the usage without checking whether it exists, so it is estimated where an upstream states none.
pub(super) fn write(outputs: &Outputs<'_>, asked: &Asked) -> Result<String, Refused> {
    let mut writer = Writer::default();
    writer.object(|w| {
        w.field("object", "list");
        w.array_at("data", |w| {
            (0_u64..).zip(&outputs.vectors).try_for_each(|(index, vector)| {
                w.object(|w| {
                    w.field("object", "embedding");
                    w.field("index", index);
                    if asked.form == Form::Base64 {
                        vector.base64(w, "embedding");
                        return Ok(());
                    }
                    vector.numbers(w, "embedding")
                })
            })
        })?;
        w.field("model", &asked.model);
        let tokens = outputs.tokens.unwrap_or(asked.tokens_estimate);
        w.object_at("usage", |w| {
            w.field("prompt_tokens", tokens);
            w.field("total_tokens", tokens);
        });
        Ok(())
    })?;
    Ok(writer.take())
}
