//! The simulated OpenAI: chat completions, embeddings and models. Responses are in [`responses`].

mod responses;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Call, authenticate,
    fault::{Problem, RETRY_AFTER_SECONDS},
    reply::{Answer, Prompt, Reply, embedding, text_of, tokens},
};

/// Every model listed. Others of the same families answer as well: see [`known`].
const MODELS: [&str; 8] = [
    "gpt-6.1-sol",
    "gpt-6-luna",
    "gpt-5.6",
    "gpt-5.4-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "text-embedding-3-small",
    "text-embedding-3-large",
];

/// When the listed models were created, in seconds since the epoch.
const MODELS_CREATED: u64 = 1_790_000_000;

/// Answers one call to `api.openai.com`.
pub(super) fn handle(call: &Call) -> Reply {
    route(call)
        .unwrap_or_else(|problem| refuse(&problem))
        .with("x-request-id", call.id("req_"))
        .with("openai-organization", "demo")
        .with("openai-version", "2020-10-01")
        .with("openai-processing-ms", "5")
        .with("x-ratelimit-limit-requests", "10000")
        .with("x-ratelimit-limit-tokens", "2000000")
        .with("x-ratelimit-remaining-requests", "9999")
        .with("x-ratelimit-remaining-tokens", "1999000")
        .with("x-ratelimit-reset-requests", "6ms")
        .with("x-ratelimit-reset-tokens", "30ms")
}

fn route(call: &Call) -> Result<Reply, Problem> {
    authenticate(call.bearer())?;
    match (&call.method, call.path()) {
        (&Method::POST, "/v1/chat/completions") => chat(call),
        (&Method::POST, "/v1/responses") => responses::create(call),
        (&Method::POST, "/v1/responses/input_tokens") => responses::count(call),
        (&Method::POST, "/v1/embeddings") => embeddings(call),
        (&Method::GET, "/v1/models") => Ok(models()),
        (&Method::GET, path) => model(path.strip_prefix("/v1/models/").ok_or(Problem::NoRoute)?),
        _ => Err(Problem::NoRoute),
    }
}

/// The refusal in OpenAI's words.
fn refuse(problem: &Problem) -> Reply {
    let (status, kind, code, message) = words(problem);
    let param = if let Problem::Invalid(param, _) = problem { json!(param) } else { Value::Null };
    let error = json!({"error": {"message": message, "type": kind, "param": param, "code": code}});
    let reply = Reply::json(StatusCode::from_u16(status).unwrap_or_default(), &error);
    if *problem == Problem::RateLimited {
        return reply.with("retry-after", RETRY_AFTER_SECONDS.to_string());
    }
    reply
}

/// Status, `type`, `code` and `message` (developers.openai.com, error codes, read 2026-11).
fn words(problem: &Problem) -> (u16, &'static str, Option<&'static str>, String) {
    const INVALID: &str = "invalid_request_error";
    match problem {
        Problem::NoCredential => (
            401,
            INVALID,
            None,
            "You didn't provide an API key. You need to provide your API key in an Authorization header using \
             Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
                .into(),
        ),
        Problem::BadCredential => {
            (401, INVALID, Some("invalid_api_key"), "Incorrect API key provided.".into())
        }
        Problem::Malformed(why) => (400, INVALID, None, format!("We could not parse the JSON body: {why}")),
        Problem::Invalid(_, why) => (400, INVALID, None, why.clone()),
        Problem::UnknownModel(model) => (
            404,
            INVALID,
            Some("model_not_found"),
            format!("The model `{model}` does not exist or you do not have access to it."),
        ),
        Problem::NoRoute => (404, INVALID, None, "Invalid URL".into()),
        Problem::RateLimited => (
            429,
            "requests",
            Some("rate_limit_exceeded"),
            format!("Rate limit reached. Please try again in {RETRY_AFTER_SECONDS}s."),
        ),
        Problem::Quota => (
            429,
            "insufficient_quota",
            Some("credit_balance_exhausted"),
            "You exceeded your current quota, please check your plan and billing details.".into(),
        ),
        Problem::ContextLength => (
            400,
            INVALID,
            Some("context_length_exceeded"),
            "Your input exceeds the context window of this model.".into(),
        ),
        Problem::Internal => {
            (500, "server_error", None, "The server had an error while processing your request.".into())
        }
        Problem::Overloaded => (
            503,
            "server_error",
            Some("server_is_overloaded"),
            "Our servers are currently overloaded. Please try again later.".into(),
        ),
    }
}

/// The `model` of a request.
///
/// # Errors
/// When there is none, or it is not one of OpenAI's.
fn model_of(body: &Value) -> Result<&str, Problem> {
    let model = body["model"].as_str();
    let model =
        model.ok_or_else(|| Problem::Invalid("model", "you must provide a model parameter".into()))?;
    if known(model) { Ok(model) } else { Err(Problem::UnknownModel(model.into())) }
}

/// Whether a name is of one of OpenAI's families.
fn known(model: &str) -> bool {
    ["gpt-", "o1", "o3", "o4", "chatgpt-", "text-embedding-", "demo-"]
        .iter()
        .any(|family| model.starts_with(family))
}

/// One SSE event without a name.
pub(super) fn data(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

fn chat(call: &Call) -> Result<Reply, Problem> {
    let body = call.json()?;
    let model = model_of(&body)?;
    let turns = &body["messages"];
    if !turns.is_array() {
        return Err(Problem::Invalid("messages", "Missing required parameter: 'messages'.".into()));
    }
    let stream = body["stream"] == true;
    if !stream && !body["stream_options"].is_null() {
        let why = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Problem::Invalid("stream_options", why.into()));
    }
    let bound =
        if body["max_tokens"].is_null() { &body["max_completion_tokens"] } else { &body["max_tokens"] };
    let prompt = Prompt::read(model, &Value::Null, turns)?.at_most(bound).streamed(stream)?;
    let reply = if stream {
        let with_usage = body["stream_options"]["include_usage"] == true;
        Reply::stream("text/event-stream; charset=utf-8", chat_events(call, &prompt, with_usage))
    } else {
        Reply::json(StatusCode::OK, &chat_whole(call, &prompt))
    };
    Ok(reply.spoil(prompt.fault, error_event()))
}

/// An error once a stream has begun: the SDKs raise on any event with a truthy `error`.
fn error_event() -> Bytes {
    let (_, kind, code, message) = words(&Problem::Internal);
    data(&json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
}

fn finish_reason(answer: &Answer) -> &'static str {
    if answer.truncated { "length" } else { "stop" }
}

fn chat_whole(call: &Call, prompt: &Prompt) -> Value {
    let answer = prompt.answer();
    json!({
        "id": call.id("chatcmpl-"),
        "object": "chat.completion",
        "created": call.now,
        "model": prompt.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": answer.text(), "refusal": null, "annotations": []},
            "logprobs": null,
            "finish_reason": finish_reason(&answer),
        }],
        "usage": chat_usage(prompt, &answer),
        "service_tier": "default",
        "system_fingerprint": "fp_demo",
    })
}

fn chat_usage(prompt: &Prompt, answer: &Answer) -> Value {
    json!({
        "prompt_tokens": prompt.input_tokens,
        "completion_tokens": answer.tokens(),
        "total_tokens": prompt.input_tokens + answer.tokens(),
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

/// The stream: role, pieces, finish reason, usage when asked for, `[DONE]`.
fn chat_events(call: &Call, prompt: &Prompt, with_usage: bool) -> Vec<Bytes> {
    let answer = prompt.answer();
    let event = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": call.id("chatcmpl-"),
            "object": "chat.completion.chunk",
            "created": call.now,
            "model": prompt.model,
            "service_tier": "default",
            "system_fingerprint": "fp_demo",
            "choices": choices,
        });
        if with_usage {
            chunk["usage"] = usage;
        }
        data(&chunk)
    };
    let step = |delta: Value, finish: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        event(json!([choice]), Value::Null)
    };
    let mut events = vec![step(json!({"role": "assistant", "content": "", "refusal": null}), None)];
    events.extend(answer.pieces.iter().map(|piece| step(json!({"content": piece}), None)));
    events.push(step(json!({}), Some(finish_reason(&answer))));
    if with_usage {
        events.push(event(json!([]), chat_usage(prompt, &answer)));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

fn embeddings(call: &Call) -> Result<Reply, Problem> {
    let body = call.json()?;
    let model = model_of(&body)?;
    let inputs = embedding_inputs(&body["input"])?;
    let text = Value::from(inputs.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>());
    let prompt = Prompt::read(model, &Value::Null, &text)?.streamed(false)?;
    let native = if model == "text-embedding-3-large" { 3072 } else { 1536 };
    let asked = body["dimensions"].as_u64().and_then(|n| usize::try_from(n).ok());
    let dimensions = asked.unwrap_or(native).clamp(1, native);
    let base64 = body["encoding_format"] == "base64";
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, (text, _))| {
            let vector = embedding(text, dimensions);
            let vector = if base64 { json!(packed(&vector)) } else { json!(vector) };
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    let total: usize = inputs.iter().map(|(_, tokens)| tokens).sum();
    let usage = json!({"prompt_tokens": total, "total_tokens": total});
    let reply = json!({"object": "list", "data": data, "model": model, "usage": usage});
    Ok(Reply::json(StatusCode::OK, &reply).spoil(prompt.fault, Bytes::new()))
}

/// Each input as text with its tokens: a string, a list of token numbers, or a list of either.
fn embedding_inputs(input: &Value) -> Result<Vec<(String, usize)>, Problem> {
    let one = |item: &Value| match item {
        Value::Array(numbers) => (item.to_string(), numbers.len()),
        _ => (text_of(item), tokens(&text_of(item)).count()),
    };
    match input {
        Value::String(_) => Ok(vec![one(input)]),
        Value::Array(items) if items.iter().any(Value::is_number) => Ok(vec![one(input)]),
        Value::Array(items) if !items.is_empty() => Ok(items.iter().map(one).collect()),
        _ => Err(Problem::Invalid("input", "'$.input' is invalid. Please check the API reference.".into())),
    }
}

/// A vector as `encoding_format: "base64"` sends it: little-endian 32-bit floats.
fn packed(vector: &[f32]) -> String {
    BASE64.encode(vector.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

fn model_entry(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": MODELS_CREATED, "owned_by": "system"})
}

fn models() -> Reply {
    let data: Vec<Value> = MODELS.iter().map(|id| model_entry(id)).collect();
    Reply::json(StatusCode::OK, &json!({"object": "list", "data": data}))
}

fn model(id: &str) -> Result<Reply, Problem> {
    if MODELS.contains(&id) {
        Ok(Reply::json(StatusCode::OK, &model_entry(id)))
    } else {
        Err(Problem::UnknownModel(id.into()))
    }
}
