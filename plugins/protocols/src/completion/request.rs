//! What a client of completions asks for.

use crate::json::{Node, Object, Text};
use crate::model::{Body, Part, Refused, Request, Role, Turn};
use crate::openai_terms::{self, option};

/// Parses a request. `user` tells OpenAI's own abuse detection apart who asks, and nobody else.
///
/// # Errors
/// What is not a request of this protocol, or cannot be said as a conversation.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Request<'a>, Refused> {
    let body = document.object()?;
    body.leave_out(&["model"]);
    body.mention(&["user"]);
    let mut request = Request::default();
    let prompt = body.need("prompt")?;
    let part = Part { body: Body::text(text(&prompt)?), cache: None, path: prompt.place() };
    request.turns = vec![Turn { role: Role::User, parts: vec![part] }];
    request.stream = body.take("stream").map_or(Ok(false), |stream| stream.boolean())?;
    if let Some(options) = body.take("stream_options") {
        let options = options.object()?;
        options.leave_out(&["include_obfuscation"]);
        request.stream_usage = options.take("include_usage").map_or(Ok(false), |usage| usage.boolean())?;
        options.finish()?;
    }
    sampling(&body, &mut request)?;
    refuse_others(&body)?;
    body.finish()?;
    Ok(request)
}

/// The text to go on with, or the only one of a list.
fn text<'a>(prompt: &Node<'a, '_>) -> Result<Text<'a>, Refused> {
    if prompt.is_string() {
        return prompt.text();
    }
    let mut texts = prompt.list(|one| {
        if one.is_string() { one.text() } else { Err(one.refuse("must be a text: tokens differ by model")) }
    })?;
    match (texts.pop(), texts.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(prompt.refuse("must be one text: ask once for each")),
    }
}

fn sampling<'a>(body: &Object<'a, '_>, request: &mut Request<'a>) -> Result<(), Refused> {
    let sampling = &mut request.sampling;
    sampling.max_tokens = option(body.take("max_tokens"), Node::whole)?;
    sampling.temperature = option(body.take("temperature"), |node| node.number())?;
    sampling.top_p =
        option(body.take("top_p"), |node| node.number())?.filter(|p| p.value.approximate() != 1.0);
    openai_terms::sampling(body, sampling)?;
    let asked = sampling.candidates.as_ref().and_then(|n| n.value.whole()).unwrap_or(1);
    match body.take("best_of") {
        Some(best) if best.whole()? != asked => Err(best.refuse("must be as many as are asked for (`n`)")),
        _ => Ok(()),
    }
}

/// Refuses what only a completion has, unless it asks for nothing.
fn refuse_others(body: &Object<'_, '_>) -> Result<(), Refused> {
    if let Some(echo) = body.take("echo").filter(|echo| !matches!(echo.boolean(), Ok(false))) {
        return Err(echo.refuse("cannot be had of a model that answers: put the prompt there yourself"));
    }
    if let Some(suffix) = body.take("suffix").filter(|suffix| !suffix.is("")) {
        return Err(suffix.refuse("cannot be said to a model that answers"));
    }
    if let Some(top) = body.take("logprobs").filter(|top| top.whole() != Ok(0)) {
        return Err(top.refuse("cannot be had here: ask in a conversation (`/v1/chat/completions`)"));
    }
    body.hints(&["logit_bias"])
}
