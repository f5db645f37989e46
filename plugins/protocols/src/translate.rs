//! From one protocol to another: what a client asks, and what it gets.
//!
//! Any pair is one protocol's parser and another one's printer; no code knows of pairs. Where client and upstream speak
//! the same protocol, the original bytes pass and none of this is called.
//!
//! A request is translated whole or not at all: what the upstream's protocol cannot express is refused, with the
//! member's path. A member at the value that changes nothing asks for nothing (`n: 1`, a penalty of 0, `null`). The
//! rest of what is left out is named where it is: by each parser if nobody else could mean it (`store`, `metadata`,
//! `obfuscation`, which concern what a provider keeps or how it pads), by each printer if its provider has no use for
//! it (cache marks where caching needs none, thoughts that another provider signed, whether a tool failed where its
//! text says so).
//!
//! An answer is never thrown away because of an unknown member: it was paid for. `COVERAGE.md` shows every pair.

use crate::halves::Halves;
use crate::json::{Node, Writer};
use crate::model::{Event, Failed, Refused, Request, Response, Start, StreamReader, StreamWriter};
use crate::sse::Framer;
use crate::target::{Context, Target};
use crate::{chat, completion, gemini, messages, responses};
use tollgate_plugin::adapter::FailureClass;
use tollgate_plugin::types::{Protocol, Usage};

/// Who speaks which protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The client's protocol.
    pub client: Protocol,
    /// The upstream's.
    pub upstream: Protocol,
}

/// A request for the upstream.
#[derive(Debug)]
pub struct Translated {
    /// JSON.
    pub body: Vec<u8>,
    /// Whether the client wants a stream: the upstream's address may depend on it.
    pub streaming: bool,
    /// What the translation of the answer needs.
    pub context: Context,
}

/// A failure for the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
    /// Milliseconds until another try may succeed, where the upstream's body told.
    pub retry_after_ms: Option<u64>,
}

impl Pair {
    /// Translates a request.
    ///
    /// # Errors
    /// The request is wrong, or cannot be expressed in the upstream's protocol: see [`Pair::refuse`].
    pub fn request(self, body: &[u8], target: &Target<'_>) -> Result<Translated, Refused> {
        let document = Node::document(body)?;
        let mut request = match target.completion {
            true => completion::parse_request(&document)?,
            false => parse_request(self.client, &document)?,
        };
        request.join_pieces();
        request.put_outcomes_first();
        request.stream |= target.streaming;
        let context = Context {
            model: target.model.to_owned(),
            request_id: target.request_id.to_owned(),
            now_s: target.now_s,
            stream_usage: request.stream_usage,
            json_array: target.json_array,
            completion: target.completion,
            echo: match self.client {
                Protocol::OpenaiResponses => responses::echo(&document),
                _ => String::new(),
            },
        };
        let streaming = request.stream;
        let body = print_request(self.upstream, &mut request, target)?.into_bytes();
        Ok(Translated { body, streaming, context })
    }

    /// Translates a whole answer with a status below 400.
    ///
    /// # Errors
    /// The upstream's answer is not of its protocol: a failure of the upstream, to be answered with 502.
    pub fn response(self, body: &[u8], context: &Context) -> Result<Vec<u8>, Refused> {
        let document = Node::document(body)?;
        let mut response = parse_response(self.upstream, &document)?;
        response.name_calls(&context.request_id);
        let printed = match context.completion {
            true => completion::print_response(response, context),
            false => print_response(self.client, response, context),
        };
        Ok(printed.into_bytes())
    }

    /// Translates an answer with a status of 400 or more. `request_id` is the gateway's name for the request.
    #[must_use]
    pub fn error(self, status: u16, body: &[u8], request_id: &str) -> Failure {
        let failed = match self.upstream {
            Protocol::OpenaiChat | Protocol::OpenaiResponses => chat::parse_error(status, body),
            Protocol::AnthropicMessages => messages::parse_error(status, body),
            Protocol::Gemini => gemini::parse_error(status, body),
        };
        self.fail(&failed, request_id)
    }

    /// The answer to a request that cannot be translated.
    #[must_use]
    pub fn refuse(self, refused: &Refused, request_id: &str) -> Failure {
        self.fail(&Failed::of_refused(refused), request_id)
    }

    fn fail(self, failed: &Failed<'_>, request_id: &str) -> Failure {
        let (status, body) = match self.client {
            Protocol::OpenaiChat | Protocol::OpenaiResponses => chat::print_error(failed),
            Protocol::AnthropicMessages => messages::print_error(failed, request_id),
            Protocol::Gemini => gemini::print_error(failed),
        };
        Failure { status, body: body.into_bytes(), retry_after_ms: failed.retry_after_ms }
    }

    /// Begins to translate a stream.
    #[must_use]
    pub fn stream(self, context: &Context) -> Stream {
        let reader: Box<dyn StreamReader> = match self.upstream {
            Protocol::OpenaiChat => Box::new(chat::StreamReader::default()),
            Protocol::AnthropicMessages => Box::new(messages::StreamReader::default()),
            Protocol::Gemini => Box::new(gemini::StreamReader::default()),
            Protocol::OpenaiResponses => Box::new(responses::StreamReader::default()),
        };
        let writer: Box<dyn StreamWriter> = match self.client {
            _ if context.completion => Box::new(completion::StreamWriter::new(context)),
            Protocol::OpenaiChat => Box::new(chat::StreamWriter::new(context)),
            Protocol::AnthropicMessages => Box::new(messages::StreamWriter::new(context)),
            Protocol::Gemini => Box::new(gemini::StreamWriter::new(context)),
            Protocol::OpenaiResponses => Box::new(responses::StreamWriter::new(context)),
        };
        let sink =
            Sink { writer, halves: Halves::default(), out: Writer::default(), started: false, ended: false };
        Stream { framer: Framer::default(), reader, sink }
    }
}

pub(crate) fn parse_request<'a>(protocol: Protocol, document: &Node<'a, '_>) -> Result<Request<'a>, Refused> {
    match protocol {
        Protocol::OpenaiChat => chat::parse_request(document),
        Protocol::AnthropicMessages => messages::parse_request(document),
        Protocol::Gemini => gemini::parse_request(document),
        Protocol::OpenaiResponses => responses::parse_request(document),
    }
}

pub(crate) fn print_request(
    protocol: Protocol,
    request: &mut Request<'_>,
    target: &Target<'_>,
) -> Result<String, Refused> {
    match protocol {
        Protocol::OpenaiChat => chat::print_request(request, target),
        Protocol::AnthropicMessages => messages::print_request(request, target),
        Protocol::Gemini => gemini::print_request(request, target),
        Protocol::OpenaiResponses => responses::print_request(request, target),
    }
}

fn parse_response<'a>(protocol: Protocol, document: &Node<'a, '_>) -> Result<Response<'a>, Refused> {
    match protocol {
        Protocol::OpenaiChat => chat::parse_response(document),
        Protocol::AnthropicMessages => messages::parse_response(document),
        Protocol::Gemini => gemini::parse_response(document),
        Protocol::OpenaiResponses => responses::parse_response(document),
    }
}

fn print_response(protocol: Protocol, response: Response<'_>, context: &Context) -> String {
    match protocol {
        Protocol::OpenaiChat => chat::print_response(response, context),
        Protocol::AnthropicMessages => messages::print_response(response, context),
        Protocol::Gemini => gemini::print_response(response, context),
        Protocol::OpenaiResponses => responses::print_response(response, context),
    }
}

/// An answer that is translated as it comes.
///
/// The output depends on the bytes only, not on how they are cut. After a failure there is no more output.
pub struct Stream {
    framer: Framer,
    reader: Box<dyn StreamReader>,
    sink: Sink,
}

/// What events are written to.
struct Sink {
    writer: Box<dyn StreamWriter>,
    halves: Halves,
    out: Writer,
    started: bool,
    ended: bool,
}

impl Stream {
    /// Takes the next bytes of the upstream and returns what they mean for the client; possibly nothing yet.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Self { framer, reader, sink } = self;
        if !sink.ended && framer.push(bytes, |data| sink.read(&mut **reader, data)).is_err() {
            sink.fail("the provider sent an event that is too long");
        }
        self.sink.out.take().into_bytes()
    }

    /// Ends the stream. One that stopped before its end becomes a failure in the client's protocol.
    pub fn finish(&mut self) -> Vec<u8> {
        let Self { framer, reader, sink } = self;
        framer.finish(|data| sink.read(&mut **reader, data));
        if self.reader.is_complete() {
            self.sink.emit(Event::End);
        } else {
            self.sink.fail("the provider's stream ended early");
        }
        self.sink.out.take().into_bytes()
    }
}

impl Sink {
    fn read(&mut self, reader: &mut dyn StreamReader, data: &[u8]) {
        match std::str::from_utf8(data) {
            _ if self.ended => {}
            Ok(data) => reader.read(data, &mut |event| self.emit(event)),
            Err(_) => self.fail("the provider sent an event that is not UTF-8 text"),
        }
    }

    /// Nothing comes before the start, and nothing after the end.
    fn emit(&mut self, mut event: Event<'_>) {
        if self.ended || !self.halves.mend(&mut event) {
            return;
        }
        match &event {
            Event::Start(_) if self.started => return,
            Event::Start(_) => self.started = true,
            Event::Failed(_) => self.ended = true,
            _ => {
                self.ended = matches!(event, Event::End);
                self.start();
            }
        }
        self.writer.write(event, &mut self.out);
    }

    fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            let start = Start { id: None, model: None, created: None, usage: Usage::MISSING };
            self.writer.write(Event::Start(start), &mut self.out);
        }
    }

    fn fail(&mut self, message: &'static str) {
        self.emit(Event::Failed(Failed::in_stream(FailureClass::Transient, message)));
    }
}
