//! The simulated Gemini API: generateContent in its three forms, token counts, embeddings and models.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    Call, authenticate,
    fault::{Fault, Problem, RETRY_AFTER_SECONDS},
    reply::{Answer, Prompt, Reply, embedding, text_of, tokens},
};

/// Every model listed, with its display name. Others of the family answer as well: see [`known`].
const MODELS: [(&str, &str); 5] = [
    ("gemini-4-argon", "Gemini 4 Argon"),
    ("gemini-3.8-flash", "Gemini 3.8 Flash"),
    ("gemini-2.5-pro", "Gemini 2.5 Pro"),
    ("gemini-2.5-flash", "Gemini 2.5 Flash"),
    ("gemini-embedding-001", "Gemini Embedding 001"),
];

/// Length of an embedding when the request does not say, and at most.
const DIMENSIONS: usize = 3072;

/// Answers one call to `generativelanguage.googleapis.com`.
pub(super) fn handle(call: &Call) -> Reply {
    let in_array = call.path().ends_with(":streamGenerateContent") && call.query("alt") != Some("sse");
    route(call)
        .unwrap_or_else(|problem| refuse(&problem, in_array))
        .with("vary", "X-Origin, Referer, Origin,Accept-Encoding")
        .with("server", "scaffolding on HTTPServer2")
        .with("x-content-type-options", "nosniff")
        .with("server-timing", "gfet4t7; dur=5")
}

fn route(call: &Call) -> Result<Reply, Problem> {
    authenticate(call.header("x-goog-api-key").or(call.query("key")))?;
    let path = call.path();
    let path = path.strip_prefix("/v1beta/models").or_else(|| path.strip_prefix("/v1/models"));
    let rest = path.ok_or(Problem::NoRoute)?;
    if rest.is_empty() && call.method == Method::GET {
        return Ok(models());
    }
    let target = rest.strip_prefix('/').ok_or(Problem::NoRoute)?;
    match (&call.method, target.split_once(':')) {
        (&Method::GET, None) => model(target),
        (&Method::POST, Some((model, verb))) if known(model) => act(call, model, verb),
        (&Method::POST, Some((model, _))) => Err(Problem::UnknownModel(model.into())),
        _ => Err(Problem::NoRoute),
    }
}

fn act(call: &Call, model: &str, verb: &str) -> Result<Reply, Problem> {
    let body = call.json()?;
    match verb {
        "generateContent" => generate(call, model, &body),
        "streamGenerateContent" => stream(call, model, &body),
        "countTokens" => count_tokens(model, &body),
        "embedContent" => embed(model, &body),
        "batchEmbedContents" => embed_batch(model, &body),
        _ => Err(Problem::NoRoute),
    }
}

/// The refusal in Google's words; a stream that is a JSON array has its error in an array, too.
fn refuse(problem: &Problem, in_array: bool) -> Reply {
    let (status, name, message, details) = words(problem);
    let mut error = json!({"code": status, "message": message, "status": name});
    if !details.is_null() {
        error["details"] = json!([details]);
    }
    let body = json!({"error": error});
    let body = if in_array { json!([body]) } else { body };
    Reply::json(StatusCode::from_u16(status).unwrap_or_default(), &body)
}

/// Code, `status`, `message` and one detail (ai.google.dev, troubleshooting, read 2026-11). There is no
/// `retry-after` header: the wait is in the details.
fn words(problem: &Problem) -> (u16, &'static str, String, Value) {
    let (code, name, message) = match problem {
        Problem::NoCredential => (403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers."),
        Problem::BadCredential => {
            (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
        }
        Problem::Malformed(why) | Problem::Invalid(_, why) => (400, "INVALID_ARGUMENT", why.as_str()),
        Problem::UnknownModel(model) => {
            let message = format!("models/{model} is not found, or is not supported for this method.");
            return (404, "NOT_FOUND", message, Value::Null);
        }
        Problem::NoRoute => (404, "NOT_FOUND", "Requested entity was not found."),
        Problem::RateLimited => {
            (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted: requests per minute.")
        }
        Problem::Quota => (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota: requests per day."),
        Problem::ContextLength => {
            (400, "INVALID_ARGUMENT", "The input token count exceeds the maximum number of tokens allowed.")
        }
        Problem::Internal => (500, "INTERNAL", "An internal error has occurred."),
        Problem::Overloaded => (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    };
    (code, name, message.to_owned(), detail(problem))
}

fn detail(problem: &Problem) -> Value {
    match problem {
        Problem::BadCredential => json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        }),
        Problem::RateLimited => json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{RETRY_AFTER_SECONDS}s"),
        }),
        Problem::Quota => json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{
                "quotaMetric": "generativelanguage.googleapis.com/generate_requests",
                "quotaId": "GenerateRequestsPerDayPerProjectPerModel",
            }],
        }),
        _ => Value::Null,
    }
}

/// Whether a name is of one of Google's families.
fn known(model: &str) -> bool {
    model.starts_with("gemini-") || model.starts_with("demo-")
}

/// A field in either of the two spellings that proto JSON accepts.
fn field<'a>(body: &'a Value, camel: &str, snake: &str) -> &'a Value {
    if body[camel].is_null() { &body[snake] } else { &body[camel] }
}

fn read(model: &str, body: &Value, stream: bool) -> Result<Prompt, Problem> {
    let contents = &body["contents"];
    if text_of(contents).is_empty() && contents.as_array().is_none_or(Vec::is_empty) {
        let why = "* GenerateContentRequest.contents: contents is not specified";
        return Err(Problem::Invalid("contents", why.into()));
    }
    let config = field(body, "generationConfig", "generation_config");
    let bound = field(config, "maxOutputTokens", "max_output_tokens");
    let system = field(body, "systemInstruction", "system_instruction");
    Prompt::read(model, system, contents)?.at_most(bound).streamed(stream)
}

fn generate(call: &Call, model: &str, body: &Value) -> Result<Reply, Problem> {
    let prompt = read(model, body, false)?;
    let answer = prompt.answer();
    let whole = chunk(call, &prompt, &answer.text(), answer.tokens(), Some(&answer));
    Ok(json_utf8(&whole).spoil(prompt.fault, Bytes::new()))
}

/// Every piece is a whole `GenerateContentResponse` with the usage so far; the last carries the finish reason.
fn stream(call: &Call, model: &str, body: &Value) -> Result<Reply, Problem> {
    let prompt = read(model, body, true)?;
    let answer = prompt.answer();
    let mut chunks: Vec<Value> = answer
        .pieces
        .iter()
        .enumerate()
        .map(|(index, piece)| {
            let last = index + 1 == answer.tokens();
            chunk(call, &prompt, piece, index + 1, last.then_some(&answer))
        })
        .collect();
    if chunks.is_empty() {
        chunks.push(chunk(call, &prompt, "", 0, Some(&answer)));
    }
    let sse = call.query("alt") == Some("sse");
    let reply = if sse {
        Reply::stream("text/event-stream", chunks.iter().map(sse_event).collect())
    } else {
        Reply::stream("application/json; charset=UTF-8", json_array(&chunks))
    };
    Ok(reply.spoil(prompt.fault, error_chunk(sse)))
}

fn sse_event(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\r\n\r\n"))
}

/// The elements of one JSON array, split where Google's servers split it.
fn json_array(chunks: &[Value]) -> Vec<Bytes> {
    let mut frames: Vec<Bytes> = chunks
        .iter()
        .enumerate()
        .map(|(index, value)| Bytes::from(format!("{}{value}\n", if index == 0 { "[" } else { ",\r\n" })))
        .collect();
    frames.push(Bytes::from_static(b"]"));
    frames
}

/// An error once a stream has begun: the next element of the array, or the next event.
fn error_chunk(sse: bool) -> Bytes {
    let (code, status, message, _) = words(&Problem::Overloaded);
    let error = json!({"error": {"code": code, "message": message, "status": status}});
    if sse { sse_event(&error) } else { Bytes::from(format!(",\r\n{error}\n]")) }
}

/// One `GenerateContentResponse`. `finished` is the whole answer, on the last one only.
fn chunk(call: &Call, prompt: &Prompt, text: &str, output: usize, finished: Option<&Answer>) -> Value {
    let content = if text.is_empty() {
        json!({"role": "model"})
    } else {
        json!({"role": "model", "parts": [{"text": text}]})
    };
    let mut candidate = json!({"content": content, "index": 0});
    if let Some(answer) = finished {
        candidate["finishReason"] = json!(if answer.truncated { "MAX_TOKENS" } else { "STOP" });
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": prompt.input_tokens,
            "candidatesTokenCount": output,
            "totalTokenCount": prompt.input_tokens + output,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt.input_tokens}],
        },
        "modelVersion": prompt.model,
        "responseId": call.id(""),
    })
}

fn json_utf8(value: &Value) -> Reply {
    Reply::json(StatusCode::OK, value).with("content-type", "application/json; charset=UTF-8")
}

/// Counts `contents`, or those of a whole `generateContentRequest`.
fn count_tokens(model: &str, body: &Value) -> Result<Reply, Problem> {
    let inner = field(body, "generateContentRequest", "generate_content_request");
    let prompt = read(model, if inner.is_null() { body } else { inner }, true)?;
    let total = prompt.input_tokens;
    let details = json!([{"modality": "TEXT", "tokenCount": total}]);
    Ok(json_utf8(&json!({"totalTokens": total, "promptTokensDetails": details})))
}

fn embed(model: &str, body: &Value) -> Result<Reply, Problem> {
    let (values, tokens, fault) = embed_one(model, body)?;
    let reply = json!({"embedding": values, "usageMetadata": {"promptTokenCount": tokens}});
    Ok(json_utf8(&reply).spoil(fault, Bytes::new()))
}

fn embed_batch(model: &str, body: &Value) -> Result<Reply, Problem> {
    let requests = body["requests"].as_array().filter(|requests| !requests.is_empty());
    let requests = requests.ok_or_else(|| {
        Problem::Invalid("requests", "* BatchEmbedContentsRequest.requests: requests is not specified".into())
    })?;
    let each: Vec<_> = requests.iter().map(|request| embed_one(model, request)).collect::<Result<_, _>>()?;
    let tokens: usize = each.iter().map(|(_, tokens, _)| tokens).sum();
    let fault = each.iter().find_map(|(_, _, fault)| *fault);
    let embeddings: Vec<Value> = each.into_iter().map(|(values, ..)| values).collect();
    let reply = json!({"embeddings": embeddings, "usageMetadata": {"promptTokenCount": tokens}});
    Ok(json_utf8(&reply).spoil(fault, Bytes::new()))
}

/// The embedding of one request, its input tokens, and the fault that its text asks for.
fn embed_one(model: &str, request: &Value) -> Result<(Value, usize, Option<Fault>), Problem> {
    let content = &request["content"];
    if !content.is_object() {
        return Err(Problem::Invalid(
            "content",
            "* EmbedContentRequest.content: contents is not specified".into(),
        ));
    }
    let prompt = Prompt::read(model, &Value::Null, &json!([content]))?.streamed(false)?;
    let asked = field(request, "outputDimensionality", "output_dimensionality").as_u64();
    let dimensions = asked.and_then(|n| usize::try_from(n).ok()).unwrap_or(DIMENSIONS).clamp(1, DIMENSIONS);
    let text = text_of(content);
    let values = json!({"values": embedding(&text, dimensions)});
    Ok((values, tokens(&text).count(), prompt.fault))
}

fn model_entry((id, name): (&str, &str)) -> Value {
    let methods = if id.contains("embedding") {
        json!(["embedContent", "batchEmbedContents", "countTokens"])
    } else {
        json!(["generateContent", "streamGenerateContent", "countTokens"])
    };
    json!({
        "name": format!("models/{id}"),
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": methods,
    })
}

/// The list fits on one page, so there is no `nextPageToken`.
fn models() -> Reply {
    let models: Vec<Value> = MODELS.into_iter().map(model_entry).collect();
    json_utf8(&json!({"models": models}))
}

fn model(id: &str) -> Result<Reply, Problem> {
    let entry = MODELS.into_iter().find(|(name, _)| *name == id);
    Ok(json_utf8(&model_entry(entry.ok_or_else(|| Problem::UnknownModel(id.into()))?)))
}
