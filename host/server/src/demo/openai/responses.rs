//! The simulated OpenAI Responses API: one message item with one text part.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::model_of;
use crate::demo::Call;
use crate::demo::fault::Problem;
use crate::demo::reply::{Answer, Prompt, Reply};

/// `POST /v1/responses`.
pub(super) fn create(call: &Call) -> Result<Reply, Problem> {
    let body = call.json()?;
    let stream = body["stream"] == true;
    let prompt = read(&body)?.at_most(&body["max_output_tokens"]).streamed(stream)?;
    let answer = prompt.answer();
    let response = Response { call, prompt: &prompt, answer: &answer };
    let reply = if stream {
        Reply::stream("text/event-stream; charset=utf-8", response.events())
    } else {
        Reply::json(StatusCode::OK, &response.finished())
    };
    Ok(reply.spoil(prompt.fault, response.error_event()))
}

/// `POST /v1/responses/input_tokens`.
pub(super) fn count(call: &Call) -> Result<Reply, Problem> {
    let input_tokens = read(&call.json()?)?.input_tokens;
    let count = json!({"object": "response.input_tokens", "input_tokens": input_tokens});
    Ok(Reply::json(StatusCode::OK, &count))
}

fn read(body: &Value) -> Result<Prompt, Problem> {
    let model = model_of(body)?;
    let input = &body["input"];
    if !input.is_string() && !input.is_array() {
        return Err(Problem::Invalid("input", "Missing required parameter: 'input'.".into()));
    }
    Prompt::read(model, &body["instructions"], input)
}

/// One response, in its stages.
struct Response<'a> {
    call: &'a Call,
    prompt: &'a Prompt,
    answer: &'a Answer,
}

impl Response<'_> {
    /// `completed`, or `incomplete` when the caller's bound cut the answer short.
    fn status(&self) -> &'static str {
        if self.answer.truncated { "incomplete" } else { "completed" }
    }

    /// The response object without output, as the first events carry it.
    fn started(&self) -> Value {
        json!({
            "id": self.call.id("resp_"),
            "object": "response",
            "created_at": self.call.now,
            "status": "in_progress",
            "background": false,
            "error": null,
            "incomplete_details": null,
            "instructions": null,
            "max_output_tokens": null,
            "metadata": {},
            "model": self.prompt.model,
            "output": [],
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "service_tier": "default",
            "store": true,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": null,
            "user": null,
        })
    }

    /// The response object with output and usage.
    fn finished(&self) -> Value {
        let mut response = self.started();
        response["status"] = json!(self.status());
        response["output"] = json!([self.item(self.status(), &json!([part(&self.answer.text())]))]);
        response["usage"] = self.usage();
        if self.answer.truncated {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        response
    }

    fn usage(&self) -> Value {
        let (input, output) = (self.prompt.input_tokens, self.answer.tokens());
        json!({
            "input_tokens": input,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input + output,
        })
    }

    fn item_id(&self) -> String {
        self.call.id("msg_")
    }

    fn item(&self, status: &str, content: &Value) -> Value {
        json!({"id": self.item_id(), "type": "message", "status": status, "role": "assistant", "content": content})
    }

    /// The stream, in the order of the API reference; there is no `[DONE]`.
    fn events(&self) -> Vec<Bytes> {
        let text = self.answer.text();
        let mut events = Events::default();
        events.push("response.created", json!({"response": self.started()}));
        events.push("response.in_progress", json!({"response": self.started()}));
        let item = self.item("in_progress", &json!([]));
        events.push("response.output_item.added", json!({"output_index": 0, "item": item}));
        events.push("response.content_part.added", self.of_part(json!({"part": part("")})));
        for piece in &self.answer.pieces {
            let delta = json!({"delta": piece, "logprobs": []});
            events.push("response.output_text.delta", self.of_part(delta));
        }
        events.push("response.output_text.done", self.of_part(json!({"text": text, "logprobs": []})));
        events.push("response.content_part.done", self.of_part(json!({"part": part(&text)})));
        let item = self.item(self.status(), &json!([part(&text)]));
        events.push("response.output_item.done", json!({"output_index": 0, "item": item}));
        let last = if self.answer.truncated { "response.incomplete" } else { "response.completed" };
        events.push(last, json!({"response": self.finished()}));
        events.0
    }

    /// Adds what every event about the one text part carries.
    fn of_part(&self, mut event: Value) -> Value {
        event["item_id"] = json!(self.item_id());
        event["output_index"] = json!(0);
        event["content_index"] = json!(0);
        event
    }

    /// An error once the stream has begun. It takes the place of the event half-way.
    fn error_event(&self) -> Bytes {
        let mut events = Events::default();
        events.0.resize(self.events().len() / 2, Bytes::new());
        let message = "The server had an error while processing your request.";
        events.push("error", json!({"code": "server_error", "message": message, "param": null}));
        events.0.pop().unwrap_or_default()
    }
}

/// One output text part.
fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// Events with their growing sequence numbers.
#[derive(Default)]
struct Events(Vec<Bytes>);

impl Events {
    fn push(&mut self, kind: &str, mut event: Value) {
        event["type"] = json!(kind);
        event["sequence_number"] = json!(self.0.len());
        self.0.push(Bytes::from(format!("event: {kind}\ndata: {event}\n\n")));
    }
}
