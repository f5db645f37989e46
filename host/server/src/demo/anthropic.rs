//! The simulated Anthropic: messages, token counts and models.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Call, authenticate,
    fault::{Problem, RETRY_AFTER_SECONDS},
    reply::{Answer, Prompt, Reply},
};

/// Every model listed, with its display name. Others of the family answer as well: see [`known`].
const MODELS: [(&str, &str); 5] = [
    ("claude-opus-5-5", "Claude Opus 5.5"),
    ("claude-sonnet-5-5", "Claude Sonnet 5.5"),
    ("claude-haiku-5-5", "Claude Haiku 5.5"),
    ("claude-sonnet-4-6", "Claude Sonnet 4.6"),
    ("claude-haiku-4-5", "Claude Haiku 4.5"),
];

/// The API versions that exist, and the one from which on sampling parameters are refused.
const VERSIONS: [&str; 2] = ["2023-06-01", STRICT_VERSION];
const STRICT_VERSION: &str = "2026-10-21";

/// Answers one call to `api.anthropic.com`.
pub(super) fn handle(call: &Call) -> Reply {
    let request_id = call.id("req_");
    let reset = rfc3339(call.now + 60);
    route(call)
        .unwrap_or_else(|problem| refuse(&problem, &request_id))
        .with("request-id", request_id)
        .with("anthropic-organization-id", "00000000-0000-4000-8000-00000000demo")
        .with("anthropic-ratelimit-requests-limit", "4000")
        .with("anthropic-ratelimit-requests-remaining", "3999")
        .with("anthropic-ratelimit-requests-reset", reset.clone())
        .with("anthropic-ratelimit-tokens-limit", "480000")
        .with("anthropic-ratelimit-tokens-remaining", "479000")
        .with("anthropic-ratelimit-tokens-reset", reset)
}

fn route(call: &Call) -> Result<Reply, Problem> {
    authenticate(call.header("x-api-key").or(call.bearer()))?;
    check_version(call.header("anthropic-version"))?;
    match (&call.method, call.path()) {
        (&Method::POST, "/v1/messages") => messages(call),
        (&Method::POST, "/v1/messages/count_tokens") => count_tokens(call),
        (&Method::GET, "/v1/models") => Ok(models()),
        (&Method::GET, path) => model(path.strip_prefix("/v1/models/").ok_or(Problem::NoRoute)?),
        _ => Err(Problem::NoRoute),
    }
}

fn check_version(version: Option<&str>) -> Result<(), Problem> {
    const HEADER: &str = "anthropic-version";
    match version {
        None => Err(Problem::Invalid(HEADER, format!("{HEADER}: header is required"))),
        Some(version) if VERSIONS.contains(&version) => Ok(()),
        Some(version) => {
            Err(Problem::Invalid(HEADER, format!("{HEADER}: \"{version}\" is not a valid version")))
        }
    }
}

/// The refusal in Anthropic's words.
fn refuse(problem: &Problem, request_id: &str) -> Reply {
    let (status, kind, message) = words(problem);
    let error = json!({"type": kind, "message": message});
    let body = json!({"type": "error", "error": error, "request_id": request_id});
    let reply = Reply::json(StatusCode::from_u16(status).unwrap_or_default(), &body);
    match problem {
        Problem::RateLimited => {
            reply.with("retry-after", RETRY_AFTER_SECONDS.to_string()).with("x-should-retry", "true")
        }
        Problem::Internal | Problem::Overloaded => reply.with("x-should-retry", "true"),
        _ => reply.with("x-should-retry", "false"),
    }
}

/// Status, `type` and `message` (platform.claude.com, errors, read 2026-11).
fn words(problem: &Problem) -> (u16, &'static str, String) {
    const INVALID: &str = "invalid_request_error";
    match problem {
        Problem::NoCredential => (401, "authentication_error", "x-api-key header is required".into()),
        Problem::BadCredential => (401, "authentication_error", "invalid x-api-key".into()),
        Problem::Malformed(why) => (400, INVALID, format!("The request body is not valid JSON: {why}")),
        Problem::Invalid(_, why) => (400, INVALID, why.clone()),
        Problem::UnknownModel(model) => (404, "not_found_error", format!("model: {model}")),
        Problem::NoRoute => (404, "not_found_error", "Not Found".into()),
        Problem::RateLimited => {
            (429, "rate_limit_error", "This request would exceed your organization's rate limit.".into())
        }
        Problem::Quota => (
            402,
            "billing_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
                .into(),
        ),
        Problem::ContextLength => {
            (400, INVALID, "prompt is too long: 1200000 tokens > 1000000 maximum".into())
        }
        Problem::Internal => (500, "api_error", "Internal server error".into()),
        Problem::Overloaded => (529, "overloaded_error", "Overloaded".into()),
    }
}

/// Whether a name is of one of Anthropic's families.
fn known(model: &str) -> bool {
    model.starts_with("claude-") || model.starts_with("demo-")
}

/// Reads what `messages` and `count_tokens` have in common.
fn read(body: &Value) -> Result<Prompt, Problem> {
    let required = |name| Problem::Invalid(name, format!("{name}: Field required"));
    let model = body["model"].as_str().ok_or_else(|| required("model"))?;
    if !known(model) {
        return Err(Problem::UnknownModel(model.into()));
    }
    let turns = body["messages"].as_array().ok_or_else(|| required("messages"))?;
    if turns.is_empty() {
        return Err(Problem::Invalid("messages", "messages: at least one message is required".into()));
    }
    Prompt::read(model, &body["system"], &body["messages"])
}

fn messages(call: &Call) -> Result<Reply, Problem> {
    let body = call.json()?;
    refuse_sampling(call, &body)?;
    let prompt = read(&body)?;
    if !body["max_tokens"].is_u64() {
        return Err(Problem::Invalid("max_tokens", "max_tokens: Field required".into()));
    }
    let stream = body["stream"] == true;
    let prompt = prompt.at_most(&body["max_tokens"]).streamed(stream)?;
    let reply = if stream {
        Reply::stream("text/event-stream; charset=utf-8", events(call, &prompt))
    } else {
        Reply::json(StatusCode::OK, &whole(call, &prompt))
    };
    Ok(reply.spoil(prompt.fault, error_event()))
}

/// Version 2026-10-21 has no sampling parameters, not even at their defaults.
fn refuse_sampling(call: &Call, body: &Value) -> Result<(), Problem> {
    if call.header("anthropic-version") != Some(STRICT_VERSION) {
        return Ok(());
    }
    match ["temperature", "top_p", "top_k"].into_iter().find(|name| body.get(*name).is_some()) {
        Some(name) => Err(Problem::Invalid(name, format!("{name}: Extra inputs are not permitted"))),
        None => Ok(()),
    }
}

fn count_tokens(call: &Call) -> Result<Reply, Problem> {
    let prompt = read(&call.json()?)?;
    Ok(Reply::json(StatusCode::OK, &json!({"input_tokens": prompt.input_tokens})))
}

fn stop_reason(answer: &Answer) -> &'static str {
    if answer.truncated { "max_tokens" } else { "end_turn" }
}

fn usage(prompt: &Prompt, output_tokens: usize) -> Value {
    json!({
        "input_tokens": prompt.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    })
}

/// A message object. In a stream it starts out without content, stop reason and output.
fn message(call: &Call, prompt: &Prompt, content: &Value, stop: Option<&str>, output_tokens: usize) -> Value {
    json!({
        "id": call.id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": prompt.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": null,
        "usage": usage(prompt, output_tokens),
    })
}

fn whole(call: &Call, prompt: &Prompt) -> Value {
    let answer = prompt.answer();
    let text = json!({"type": "text", "text": answer.text()});
    let content = if answer.pieces.is_empty() { json!([]) } else { json!([text]) };
    message(call, prompt, &content, Some(stop_reason(&answer)), answer.tokens())
}

/// One SSE event; its name is the `type` of its data.
fn event(value: &Value) -> Bytes {
    let kind = value["type"].as_str().unwrap_or_default();
    Bytes::from(format!("event: {kind}\ndata: {value}\n\n"))
}

/// The stream: message start, one text block with a ping in it, cumulative usage, message stop.
fn events(call: &Call, prompt: &Prompt) -> Vec<Bytes> {
    let answer = prompt.answer();
    let start = message(call, prompt, &json!([]), None, 1);
    let mut events = vec![event(&json!({"type": "message_start", "message": start}))];
    if !answer.pieces.is_empty() {
        let block = json!({"type": "text", "text": ""});
        events.push(event(&json!({"type": "content_block_start", "index": 0, "content_block": block})));
        events.push(event(&json!({"type": "ping"})));
        events.extend(answer.pieces.iter().map(|piece| {
            let delta = json!({"type": "text_delta", "text": piece});
            event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
        }));
        events.push(event(&json!({"type": "content_block_stop", "index": 0})));
    }
    let delta = json!({"stop_reason": stop_reason(&answer), "stop_sequence": null});
    let usage = usage(prompt, answer.tokens());
    events.push(event(&json!({"type": "message_delta", "delta": delta, "usage": usage})));
    events.push(event(&json!({"type": "message_stop"})));
    events
}

/// An error once a stream has begun.
fn error_event() -> Bytes {
    let error = json!({"type": "overloaded_error", "message": "Overloaded"});
    event(&json!({"type": "error", "error": error}))
}

fn model_entry((id, name): (&str, &str)) -> Value {
    json!({
        "type": "model",
        "id": id,
        "display_name": name,
        "created_at": "2026-09-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
    })
}

/// The list fits on one page.
fn models() -> Reply {
    let data: Vec<Value> = MODELS.into_iter().map(model_entry).collect();
    let (first, last) = (data[0]["id"].clone(), data[data.len() - 1]["id"].clone());
    let list = json!({"data": data, "has_more": false, "first_id": first, "last_id": last});
    Reply::json(StatusCode::OK, &list)
}

fn model(id: &str) -> Result<Reply, Problem> {
    let entry = MODELS.into_iter().find(|(name, _)| *name == id);
    let entry = entry.ok_or_else(|| Problem::UnknownModel(id.into()))?;
    Ok(Reply::json(StatusCode::OK, &model_entry(entry)))
}

/// Seconds since the epoch as RFC 3339, by the civil-calendar arithmetic in which a year begins in March.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_826_099), "2000-02-29T12:08:19Z");
        assert_eq!(rfc3339(1_798_761_599), "2026-12-31T23:59:59Z");
    }
}
