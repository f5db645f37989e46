//! What Anthropic demands of a request beyond its syntax: met by small adjustments, each of which is noted.

use super::schema;
use crate::json::{Number, Text};
use crate::model::{
    Allowed, At, Body, Budget, Effort, Format, Part, Reasoning, Refused, Request, Role, Sampling, ToolChoice,
    Turn,
};
use crate::target::Target;
use tollgate_plugin::types::Protocol;

/// Asks for JSON where the protocol has no mode for it.
const JSON_ONLY: &str =
    "Answer with one JSON object and nothing else: no words before or after it, no fence around it.";

/// The smallest number of tokens to think with.
const BUDGET_MIN: u64 = 1024;

/// How the model is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It is not told.
    Unsaid,
    Off,
    Adaptive,
    Tokens(u64),
}

impl Thinking {
    const fn is_on(self) -> bool {
        matches!(self, Self::Adaptive | Self::Tokens(_))
    }
}

/// Makes of a request one that Anthropic takes, and says how its model is to think.
///
/// # Errors
/// There is no such request.
pub(super) fn meet(request: &mut Request<'_>, target: &Target<'_>) -> Result<Thinking, Refused> {
    ask_for_json(request)?;
    close_schema(request)?;
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        if is_blank(part) {
            part.body = Body::text(Text::EMPTY);
        }
    }
    request.drop_empty();
    if request.turns.is_empty() {
        return Err(Refused::new("", "the conversation is empty: Anthropic wants a message with content"));
    }
    request.begin_with_user();
    trim_end(request);
    let thinking = thinking(request, target);
    sampling(request, target, thinking)?;
    Ok(thinking)
}

fn ask_for_json(request: &mut Request<'_>) -> Result<(), Refused> {
    let Some(format) = request.format.take_if(|format| format.value.is_any_object()) else {
        return Ok(());
    };
    request.left_out.hint(&format.path, "Anthropic gives JSON by schema only: use json_schema")?;
    let at = request.turns.iter().position(|turn| turn.role != Role::System).unwrap_or(0);
    let part = Part::from(Body::text(Text::escaped(JSON_ONLY)));
    request.turns.insert(at, Turn { role: Role::System, parts: vec![part] });
    Ok(())
}

/// A place in a schema is one of the client's format.
fn close_schema(request: &mut Request<'_>) -> Result<(), Refused> {
    let Request { format: Some(At { value: Format::Schema(format), path }), left_out, .. } = request else {
        return Ok(());
    };
    if let Some(given) = &format.schema {
        let (closed, changed) =
            schema::closed(given).map_err(|refused| Refused::new(path.to_string(), refused.to_string()))?;
        if changed {
            left_out.mention(path);
        }
        format.schema = Some(closed.into());
    }
    Ok(())
}

/// Whether it is text without a sign that shows.
fn is_blank(part: &Part<'_>) -> bool {
    matches!(&part.body, Body::Text { text, .. } if text.is_blank())
}

/// An answer that is begun for the model must not end in blanks.
fn trim_end(request: &mut Request<'_>) {
    let Some(Turn { role: Role::Assistant, parts }) = request.turns.last_mut() else { return };
    let Some(Part { body: Body::Text { text, .. }, path, .. }) = parts.last_mut() else { return };
    let whole = text.decode();
    let trimmed = whole.trim_end();
    if trimmed.len() < whole.len() {
        let trimmed = Text::plain(trimmed);
        *text = trimmed;
        request.left_out.mention(path);
    }
}

/// Thinking is left out where it cannot be together with what was asked more plainly: a forced call, an answer that is
/// begun for the model, or calls under way before which no thought of its own stands.
fn thinking(request: &Request<'_>, target: &Target<'_>) -> Thinking {
    if !target.abilities.reasoning {
        request.mention_reasoning();
        return Thinking::Unsaid;
    }
    let wanted = wanted(request, target);
    let asks = !matches!(request.reasoning.as_budget(), None | Some(Budget::Off));
    if asks && wanted == Thinking::Unsaid {
        // There is no room for thoughts and an answer.
        request.mention_reasoning();
    }
    let fits = match wanted {
        Thinking::Unsaid | Thinking::Off => return wanted,
        Thinking::Adaptive => !forces_a_call(request),
        Thinking::Tokens(_) => !forces_a_call(request) && may_think_first(request),
    };
    if fits {
        return wanted;
    }
    let Reasoning { effort, budget, .. } = &request.reasoning;
    request.mention(budget.as_ref());
    if budget.is_none() {
        request.mention(effort.as_ref());
    }
    Thinking::Unsaid
}

fn wanted(request: &Request<'_>, target: &Target<'_>) -> Thinking {
    let reasoning = &request.reasoning;
    if target.abilities.thinking_budget {
        return match reasoning.as_budget() {
            Some(Budget::Tokens(tokens)) => within_limit(request, target, tokens),
            Some(Budget::Adaptive) => within_limit(request, target, 8192),
            Some(Budget::Off) => Thinking::Off,
            None => Thinking::Unsaid,
        };
    }
    let adaptive = reasoning.budget.as_ref().is_some_and(|budget| budget.value == Budget::Adaptive);
    match reasoning.as_effort() {
        Some(Effort::None) => Thinking::Off,
        None if !adaptive => Thinking::Unsaid,
        _ => Thinking::Adaptive,
    }
}

/// At most half of the limit, so that there is room for the answer; no thoughts where that is too little.
fn within_limit(request: &Request<'_>, target: &Target<'_>, tokens: u64) -> Thinking {
    let limit = request.sampling.max_tokens.as_ref().map_or(target.max_output_tokens, |limit| limit.value);
    let tokens = tokens.min(limit / 2);
    if tokens >= BUDGET_MIN { Thinking::Tokens(tokens) } else { Thinking::Unsaid }
}

fn forces_a_call(request: &Request<'_>) -> bool {
    let choice = request.tool_choice.as_ref().map(|choice| &choice.value);
    !request.tools.is_empty()
        && matches!(
            choice,
            Some(ToolChoice::Any | ToolChoice::One(_) | ToolChoice::Only(Allowed { must: true, .. }))
        )
}

/// Whether the last answer, which may go on, has thoughts of Anthropic's before its calls.
fn may_think_first(request: &Request<'_>) -> bool {
    let Some((last, before)) = request.turns.split_last() else { return true };
    if last.role == Role::Assistant {
        return false;
    }
    if !last.has_outcomes() {
        return true;
    }
    before.iter().rev().take_while(|turn| turn.role == Role::Assistant).any(|turn| {
        turn.parts.iter().any(|part| match &part.body {
            Body::Thinking { signature: Some(signature), .. } => {
                signature.origin == Protocol::AnthropicMessages
            }
            _ => false,
        })
    })
}

/// Temperatures end at 1, and are all but fixed beside thoughts; of temperature and top-p, new models take one: the one
/// that says more.
fn sampling(request: &mut Request<'_>, target: &Target<'_>, thinking: Thinking) -> Result<(), Refused> {
    if !target.abilities.sampling {
        request.mention_sampling();
        return Ok(());
    }
    let Request { sampling, left_out, .. } = request;
    let Sampling { temperature, top_p, top_k, .. } = sampling;
    let leave = |option: &mut Option<At<Number<'_>>>, is: &dyn Fn(f64) -> bool| {
        if let Some(dropped) = option.take_if(|option| is(option.value.approximate())) {
            left_out.mention(&dropped.path);
        }
    };
    if thinking.is_on() {
        leave(temperature, &|heat| heat != 1.0);
        leave(top_p, &|top_p| top_p < 0.95);
        leave(top_k, &|_| true);
    }
    if top_p.is_some() {
        leave(temperature, &|heat| heat == 1.0);
    }
    if temperature.is_some() {
        leave(top_p, &|_| true);
    }
    if let Some(hot) = temperature.as_mut().filter(|heat| heat.value.approximate() > 1.0) {
        left_out.hint(&hot.path, "Anthropic takes a temperature between 0 and 1")?;
        hot.value = Number("1");
    }
    Ok(())
}
