//! What the three providers share: the prompt as they all see it, the answer to it, and the reply on the wire.
//!
//! Nothing here knows a protocol; the provider files turn an [`Answer`] into frames of their own shape.

use std::{io, iter, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde_json::Value;

use super::fault::{Fault, Problem};

/// The pause between two chunks that the fault `slow` asks for.
pub(super) const SLOW_PACE: Duration = Duration::from_millis(500);

/// The least pause before a connection is cut.
const FLUSH_PAUSE: Duration = Duration::from_millis(1);

/// Most bytes of the user's message that are repeated.
const ECHO_BYTES_MAX: usize = 2_000;

/// The part of a request that decides the answer.
pub(super) struct Prompt {
    pub(super) model: String,
    /// Tokens of the system text and all turns together.
    pub(super) input_tokens: usize,
    /// The fault that the caller asked for, when it is one that damages an answer.
    pub(super) fault: Option<Fault>,
    message: String,
    output_tokens_max: Option<u64>,
}

impl Prompt {
    /// Reads a prompt from the system text and the turns, in any protocol's shape.
    ///
    /// # Errors
    /// The problem that the model name or the last user message asks for.
    pub(super) fn read(model: &str, system: &Value, turns: &Value) -> Result<Self, Problem> {
        let message = last_user_text(turns);
        let fault = Fault::asked(model, &message);
        if let Some(problem) = fault.and_then(Fault::problem) {
            return Err(problem);
        }
        Ok(Self {
            model: model.to_owned(),
            input_tokens: tokens(&text_of(system)).count() + tokens(&text_of(turns)).count(),
            fault,
            message,
            output_tokens_max: None,
        })
    }

    /// Bounds the answer, when the request says so.
    pub(super) fn at_most(self, output_tokens_max: &Value) -> Self {
        Self { output_tokens_max: output_tokens_max.as_u64(), ..self }
    }

    /// Sets whether the answer will be streamed.
    ///
    /// # Errors
    /// [`Problem::Internal`] when a mid-stream error was asked for and there is no stream to put it in.
    pub(super) fn streamed(self, stream: bool) -> Result<Self, Problem> {
        if self.fault == Some(Fault::MidstreamError) && !stream { Err(Problem::Internal) } else { Ok(self) }
    }

    /// The answer: always the same for the same message.
    pub(super) fn answer(&self) -> Answer {
        if self.fault == Some(Fault::Empty) {
            return Answer { pieces: Vec::new(), truncated: false };
        }
        let echo = &self.message[..self.message.floor_char_boundary(ECHO_BYTES_MAX)];
        let text = format!("Hello from the simulated provider. You said: {echo}");
        let all: Vec<String> = tokens(&text).map(str::to_owned).collect();
        let kept = self.output_tokens_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        let truncated = all.len() > kept;
        Answer { pieces: all.into_iter().take(kept).collect(), truncated }
    }
}

/// An answer, in the pieces in which it is streamed. One piece is one token.
pub(super) struct Answer {
    pub(super) pieces: Vec<String>,
    /// Whether the caller's bound cut it short.
    pub(super) truncated: bool,
}

impl Answer {
    /// The whole text.
    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }

    /// Output tokens.
    pub(super) fn tokens(&self) -> usize {
        self.pieces.len()
    }
}

/// Splits text into this provider's tokens: a word with the space after it, or one character of another script.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(|c: char| c.is_whitespace() || !c.is_ascii())
}

/// All text in a message, a part, or a list of them: the four protocols nest it under these three names.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(" "),
        Value::Object(fields) => {
            let inner = ["text", "content", "parts"].iter().find_map(|name| fields.get(*name));
            inner.map(text_of).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// The text of the last turn that the user spoke. A turn without a role is the user's.
fn last_user_text(turns: &Value) -> String {
    let is_user = |turn: &&Value| turn.get("role").is_none_or(|role| role == "user");
    match turns {
        Value::Array(list) => list.iter().rev().find(is_user).map(text_of).unwrap_or_default(),
        other => text_of(other),
    }
}

/// A unit vector that depends on the text alone.
pub(super) fn embedding(text: &str, dimensions: usize) -> Vec<f32> {
    let mut state = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let raw: Vec<f32> = iter::repeat_with(|| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let [high, low, ..] = state.to_be_bytes();
        f32::from(i16::from_be_bytes([high, low]))
    })
    .take(dimensions)
    .collect();
    let length = raw.iter().map(|v| v * v).sum::<f32>().sqrt().max(1.0);
    raw.into_iter().map(|v| v / length).collect()
}

/// The body of every response: frames with pauses between them.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A response before it is sent.
pub(super) struct Reply {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    frames: Vec<Bytes>,
    delivery: Delivery,
}

/// How the frames go out.
enum Delivery {
    /// With a length, at once.
    Whole,
    /// In chunks, at the simulator's pace.
    Stream,
    /// In chunks, at [`SLOW_PACE`].
    Slow,
    /// As far as the frames go, then the connection breaks.
    Cut,
    /// Never, not even a head.
    Hang,
}

impl Reply {
    /// Only a status, for cases without a provider's error.
    pub(super) fn status(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), frames: Vec::new(), delivery: Delivery::Whole }
    }

    /// A JSON document.
    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        let reply = Self::status(status).with("content-type", "application/json");
        Self { frames: vec![Bytes::from(value.to_string())], ..reply }
    }

    /// A stream of frames, each sent as a chunk of its own.
    pub(super) fn stream(content_type: &str, frames: Vec<Bytes>) -> Self {
        let reply = Self::status(StatusCode::OK).with("content-type", content_type);
        Self { frames, delivery: Delivery::Stream, ..reply }.with("cache-control", "no-cache")
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Applies the fault that the prompt asked for. `error_event` is how this protocol reports an error once a
    /// stream has begun.
    pub(super) fn spoil(mut self, fault: Option<Fault>, error_event: Bytes) -> Self {
        match fault {
            Some(Fault::Slow) => self.delivery = Delivery::Slow,
            Some(Fault::Hang) => self.delivery = Delivery::Hang,
            Some(Fault::Cut) => self.cut(),
            Some(Fault::MidstreamError) => {
                self.frames.truncate(self.frames.len() / 2);
                self.frames.push(error_event);
            }
            Some(Fault::Garbage) => {
                self.frames =
                    vec![Bytes::from_static(b"\x00\xff<html>\x80 this is not the answer\n\n{\"half\":")];
            }
            _ => {}
        }
        self
    }

    /// Announces the whole body and sends half of it: of the frames, or of the bytes when there is one frame.
    fn cut(&mut self) {
        if let [only] = self.frames.as_mut_slice() {
            self.headers.push(("content-length", only.len().to_string()));
            only.truncate(only.len() / 2);
        } else {
            self.frames.truncate(self.frames.len() / 2);
        }
        self.delivery = Delivery::Cut;
    }

    /// The response as hyper sends it. Never resolves for [`Delivery::Hang`].
    pub(super) async fn into_response(self, pace: Duration) -> Response<Body> {
        let length: usize = self.frames.iter().map(Bytes::len).sum();
        let body = match self.delivery {
            Delivery::Whole | Delivery::Stream => frames(self.frames, pace, false),
            Delivery::Cut => frames(self.frames, pace, true),
            Delivery::Slow => {
                tokio::time::sleep(SLOW_PACE).await;
                frames(self.frames, SLOW_PACE, false)
            }
            Delivery::Hang => std::future::pending().await,
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        if matches!(self.delivery, Delivery::Whole) {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// Sends the frames with a pause before each but the first, and breaks the connection after them when `cut`.
fn frames(frames: Vec<Bytes>, pace: Duration, cut: bool) -> Body {
    let end = cut.then(|| Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
    let items = frames.into_iter().map(Ok).chain(end).enumerate();
    let paced = stream::unfold(items, move |mut items| async move {
        let (index, item) = items.next()?;
        // hyper drops what it has buffered when a body fails: the break waits until that has been flushed.
        let pause = if item.is_err() { pace.max(FLUSH_PAUSE) } else { pace };
        if index > 0 && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Some((item.map(Frame::data), items))
    });
    StreamBody::new(paced).boxed_unsync()
}
