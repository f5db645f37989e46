//! Gemini's `:embedContent` and `:batchEmbedContents`.

use super::{Asked, Form, Inputs, Outputs, Vector};
use crate::gemini::Proto as _;
use crate::json::{Node, Number, Object, Text, Writer};
use crate::model::{At, Refused};
use crate::target::Target;

/// The task that changes nothing.
const NO_TASK: &str = "TASK_TYPE_UNSPECIFIED";

/// One text and what is asked for it.
struct Input<'a> {
    text: Text<'a>,
    dimensions: Option<At<Number<'a>>>,
    /// Where the request itself is.
    path: Box<str>,
}

/// The two forms differ in what they hold.
///
/// # Errors
/// What is not a request, or cannot be expressed at OpenAI.
pub(super) fn parse<'a>(document: &Node<'a, '_>) -> Result<Inputs<'a>, Refused> {
    let body = document.object()?;
    let Some(requests) = body.take("requests") else {
        let Input { text, dimensions, .. } = input(&body, document)?;
        return Ok(Inputs { texts: vec![text], dimensions, form: Form::One });
    };
    body.leave_out(&["model"]);
    let inputs = requests.list_or_one(|request| input(&request.object()?, &request))?;
    body.finish()?;
    let mut texts = Vec::with_capacity(inputs.len());
    let mut dimensions: Option<At<Number<'a>>> = None;
    for (at, input) in inputs.into_iter().enumerate() {
        let wanted =
            |dimensions: &Option<At<Number<'_>>>| dimensions.as_ref().and_then(|it| it.value.whole());
        if at > 0 && wanted(&dimensions) != wanted(&input.dimensions) {
            let path = format!("{}.outputDimensionality", input.path);
            return Err(Refused::new(path, "OpenAI's embeddings of one request have the same length"));
        }
        dimensions = dimensions.or(input.dimensions);
        texts.push(input.text);
    }
    if texts.is_empty() {
        return Err(requests.refuse("is empty"));
    }
    Ok(Inputs { texts, dimensions, form: Form::Batch })
}

fn input<'a>(request: &Object<'a, '_>, node: &Node<'a, '_>) -> Result<Input<'a>, Refused> {
    request.leave_out(&["model"]);
    let text = text(&request.need("content")?)?;
    if let Some(task) = request.field("taskType")
        && !task.is(NO_TASK)
    {
        return Err(task.refuse("OpenAI's embeddings know no task"));
    }
    if let Some(title) = request.take("title") {
        return Err(title.refuse("OpenAI's embeddings know no title"));
    }
    let dimensions = request.field("outputDimensionality");
    let dimensions = dimensions.map(|node| Ok(node.at(node.number()?))).transpose()?;
    request.finish()?;
    Ok(Input { text, dimensions, path: node.place() })
}

/// The one text of a content.
fn text<'a>(node: &Node<'a, '_>) -> Result<Text<'a>, Refused> {
    let content = node.object()?;
    content.leave_out(&["role"]);
    let parts = content.need("parts")?;
    let texts = parts.list_or_one(|part| {
        let part = part.object()?;
        let text = part.need("text")?.text()?;
        part.finish()?;
        Ok(text)
    });
    content.finish()?;
    let mut texts = texts?.into_iter();
    match (texts.next(), texts.next()) {
        (Some(text), None) => Ok(text),
        _ => Err(parts.refuse("OpenAI makes an embedding of one text")),
    }
}

/// A batch, whatever the number of texts.
pub(super) fn print(inputs: &Inputs<'_>, target: &Target<'_>) -> String {
    let model = format!("models/{}", target.model);
    let mut writer = Writer::default();
    writer.object(|w| {
        w.array_at("requests", |w| {
            for text in &inputs.texts {
                w.object(|w| {
                    w.field("model", &model);
                    w.object_at("content", |w| {
                        w.array_at("parts", |w| w.object(|w| w.field("text", text)));
                    });
                    w.optional("outputDimensionality", inputs.dimensions.as_ref());
                });
            }
        });
    });
    writer.take()
}

/// # Errors
/// It is not an answer of this protocol.
pub(super) fn read<'a>(document: &Node<'a, '_>) -> Result<Outputs<'a>, Refused> {
    let body = document.object()?;
    let values = |node: &Node<'a, '_>| Vector::read(&node.object()?.need("values")?);
    let vectors = match body.take("embedding") {
        Some(one) => vec![values(&one)?],
        None => body.need("embeddings")?.list(|one| values(&one))?,
    };
    let usage = body.field("usageMetadata").map(|usage| usage.object()).transpose()?;
    let tokens = usage.and_then(|usage| usage.field("promptTokenCount")?.whole().ok());
    Ok(Outputs { vectors, tokens })
}

pub(super) fn write(outputs: &Outputs<'_>, asked: &Asked) -> Result<String, Refused> {
    let mut writer = Writer::default();
    writer.object(|w| {
        match outputs.vectors.as_slice() {
            [one] if asked.form == Form::One => w.object_at("embedding", |w| one.numbers(w, "values"))?,
            many => w.array_at("embeddings", |w| {
                many.iter().try_for_each(|vector| w.object(|w| vector.numbers(w, "values")))
            })?,
        }
        if let Some(tokens) = outputs.tokens {
            w.object_at("usageMetadata", |w| w.field("promptTokenCount", tokens));
        }
        Ok(())
    })?;
    Ok(writer.take())
}
