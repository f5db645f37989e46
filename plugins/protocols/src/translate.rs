//! From one protocol to another: what a client asks, and what it gets.
//!
//! Any pair is one protocol's parser and another one's printer; no code knows of pairs. Where client and upstream speak
//! the same protocol, the original bytes pass and none of this is called.
//!
//! What would change the meaning of a request and cannot be expressed in the upstream's protocol is refused, with the
//! member's path. A *hint*, without which the answer is one as well (a seed, a speaker's name, a tool that only its own
//! provider runs), is left out and named to the client ([`Translated::left_out`]), or refused where the client wants
//! that ([`Target::strict`]). So is what is adjusted to a demand of the upstream's. A member at the value that changes
//! nothing asks for nothing (`n: 1`, a penalty of 0, `null`). What is bookkeeping of the client's protocol goes without
//! a word: ids and states of items, how events are padded, thoughts that another provider signed, whether a tool failed
//! where its text says so.
//!
//! An answer is never thrown away because of an unknown member: it was paid for. `COVERAGE.md` shows every pair.

use std::borrow::Cow;

use crate::halves::Halves;
use crate::json::{self, Node, Writer};
use crate::model::{
    self, Alias, Event, Failed, Gathered, LeftOut, Refused, Request, Response, Start, StreamReader,
    StreamWriter,
};
use crate::shaping::{self, Shaping};
use crate::share;
use crate::sse::{Data, Framer};
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
    /// Paths of what was left out or adjusted, the first of each kind, with commas between them.
    pub left_out: String,
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
        let notes = LeftOut::new(target.strict);
        let body = whole(body, &notes)?;
        let document = Node::document(body.as_bytes())?.noting(&notes);
        let mut request = match target.completion {
            true => completion::parse_request(&document)?,
            false => parse_request(self.client, &document)?,
        };
        let aliases = self.prepare(&mut request, &notes)?;
        request.limit_output(target.output_limit, &notes);
        request.stream |= target.streaming;
        let wants_object = request.format.as_ref().is_some_and(|format| format.value.is_any_object());
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
            aliases,
            json_only: wants_object && self.upstream == Protocol::AnthropicMessages,
        };
        let streaming = request.stream;
        request.left_out = notes;
        let body = print_request(self.upstream, &mut request, target)?.into_bytes();
        Ok(Translated { body, streaming, context, left_out: request.left_out.into_names() })
    }

    /// Makes of a request one that any provider may take, and says which tools get other names by that.
    ///
    /// # Errors
    /// It makes no sense to any provider, or forces what is not sent on.
    pub(crate) fn prepare(self, request: &mut Request<'_>, notes: &LeftOut) -> Result<Vec<Alias>, Refused> {
        request.join_pieces();
        request.put_outcomes_first();
        request.pair_outcomes(notes)?;
        request.mend_media(notes);
        request.check_choice(notes)?;
        Ok(request.name_tools(self.upstream))
    }

    /// Translates a whole answer with a status below 400.
    ///
    /// # Errors
    /// The upstream's answer is not of its protocol: a failure of the upstream, to be answered with 502.
    pub fn response(self, body: &[u8], context: &Context) -> Result<Vec<u8>, Refused> {
        if !is_one_object(body) {
            return self.gathered(body, context);
        }
        let document = Node::document(body)?;
        self.printed(parse_response(self.upstream, &document)?, context)
    }

    fn printed(self, mut response: Response<'_>, context: &Context) -> Result<Vec<u8>, Refused> {
        response.name_calls(&context.request_id);
        shaping::shape(&mut response, context);
        let printed = match context.completion {
            true => completion::print_response(response, context),
            false => print_response(self.client, response, context),
        };
        Ok(printed.into_bytes())
    }

    /// The same of a stream, which some servers send although nobody asked for one: as events, or in an array.
    fn gathered(self, body: &[u8], context: &Context) -> Result<Vec<u8>, Refused> {
        let mut reader = reader(self.upstream);
        let mut gathered = Gathered::default();
        let mut halves = Halves::default();
        each_event(body, &mut |event| {
            read_event(&mut *reader, event, &mut |mut event| {
                if halves.mend(&mut event) {
                    gathered.take(event);
                }
            });
        })?;
        self.printed(gathered.into_response(reader.is_complete())?, context)
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
        let reader = reader(self.upstream);
        let writer: Box<dyn StreamWriter> = match self.client {
            _ if context.completion => Box::new(completion::StreamWriter::new(context)),
            Protocol::OpenaiChat => Box::new(chat::StreamWriter::new(context)),
            Protocol::AnthropicMessages => Box::new(messages::StreamWriter::new(context)),
            Protocol::Gemini => Box::new(gemini::StreamWriter::new(context)),
            Protocol::OpenaiResponses => Box::new(responses::StreamWriter::new(context)),
        };
        let sink = Sink {
            writer,
            halves: Halves::default(),
            shaping: Shaping::of(context),
            out: Writer::default(),
            usage: Usage::MISSING,
            started: false,
            ended: false,
        };
        Stream { upstream: self.upstream, form: Form::Open(Vec::new()), reader, sink }
    }
}

fn reader(upstream: Protocol) -> Box<dyn StreamReader> {
    match upstream {
        Protocol::OpenaiChat => Box::new(chat::StreamReader::default()),
        Protocol::AnthropicMessages => Box::new(messages::StreamReader::default()),
        Protocol::Gemini => Box::new(gemini::StreamReader::default()),
        Protocol::OpenaiResponses => Box::new(responses::StreamReader::default()),
    }
}

/// The text of a request, in which every half of a character is one.
///
/// # Errors
/// It is no text.
pub(crate) fn whole<'b>(body: &'b [u8], notes: &LeftOut) -> Result<Cow<'b, str>, Refused> {
    let text = std::str::from_utf8(body).map_err(|_| Refused::new("", "the body is not UTF-8 text"))?;
    let (whole, first) = json::without_halves(text);
    if let Some(at) = first {
        notes.mention(&json::place_at(text, at));
    }
    Ok(whole)
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
    upstream: Protocol,
    form: Form,
    reader: Box<dyn StreamReader>,
    sink: Sink,
}

/// What comes, by its first bytes.
enum Form {
    /// Nothing but space has come yet, or a part of a byte order mark.
    Open(Vec<u8>),
    /// Events.
    Events(Framer),
    /// One answer, or an array of pieces of one: a server that does not stream sends everything at once.
    Whole(Vec<u8>),
}

/// What events are written to.
struct Sink {
    writer: Box<dyn StreamWriter>,
    halves: Halves,
    shaping: Shaping,
    out: Writer,
    usage: Usage,
    started: bool,
    ended: bool,
}

impl Stream {
    /// Takes the next bytes of the upstream and returns what they mean for the client; possibly nothing yet.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let held = match &mut self.form {
            Form::Open(held) => {
                held.extend_from_slice(bytes);
                let begin = if MARK.starts_with(held) { &[][..] } else { begin(held) };
                let form = match begin.first() {
                    None if held.len() <= Framer::MAX_EVENT_BYTES => return Vec::new(),
                    Some(b'{' | b'[') => Form::Whole(Vec::new()),
                    _ => Form::Events(Framer::default()),
                };
                let held = std::mem::take(held);
                self.form = form;
                held
            }
            _ => Vec::new(),
        };
        let bytes = if held.is_empty() { bytes } else { &held };
        let Self { form, reader, sink, .. } = self;
        match form {
            _ if sink.ended => {}
            Form::Open(_) => {}
            Form::Events(framer) => {
                if framer.push(bytes, |event| sink.read(&mut **reader, event)).is_err() {
                    sink.fail("the provider sent an event that is too long");
                }
            }
            Form::Whole(whole) if whole.len() + bytes.len() > Framer::MAX_EVENT_BYTES => {
                sink.fail("the provider sent an answer that is too long");
            }
            Form::Whole(whole) => whole.extend_from_slice(bytes),
        }
        self.sink.out.take().into_bytes()
    }

    /// Ends the stream. One that stopped before its end becomes a failure in the client's protocol.
    pub fn finish(&mut self) -> Vec<u8> {
        let Self { upstream, form, reader, sink } = self;
        match std::mem::replace(form, Form::Open(Vec::new())) {
            Form::Open(_) => {}
            Form::Events(mut framer) => framer.finish(|event| sink.read(&mut **reader, event)),
            Form::Whole(whole) if is_one_object(&whole) => sink.replay(*upstream, &whole),
            // What cannot be taken apart ended early.
            Form::Whole(whole) => drop(each_event(&whole, &mut |event| sink.read(&mut **reader, event))),
        }
        if self.reader.is_complete() {
            self.sink.emit(Event::End);
        } else {
            self.sink.fail("the provider's stream ended early");
        }
        self.sink.out.take().into_bytes()
    }
}

impl Sink {
    fn read(&mut self, reader: &mut dyn StreamReader, event: Data<'_>) {
        if !self.ended {
            read_event(reader, event, &mut |event| self.emit(event));
        }
    }

    /// Says a whole answer.
    fn replay(&mut self, upstream: Protocol, whole: &[u8]) {
        if self.ended {
            return;
        }
        let document = Node::document(whole);
        match document
            .as_ref()
            .map_err(Refused::clone)
            .and_then(|document| parse_response(upstream, document))
        {
            Ok(response) => model::replay_all(response, &mut |event| self.emit(event)),
            Err(refused) => {
                self.emit(Event::Failed(Failed::in_stream(FailureClass::Transient, refused.why.into_owned())))
            }
        }
    }

    /// Nothing comes before the start, and nothing after the end.
    fn emit(&mut self, mut event: Event<'_>) {
        if self.ended || !self.halves.mend(&mut event) {
            return;
        }
        match &mut event {
            Event::Start(_) if self.started => return,
            Event::Start(_) => self.started = true,
            Event::Failed(_) => self.ended = true,
            Event::Usage(usage) => {
                *usage = share::later(self.usage, *usage);
                self.usage = *usage;
                self.start();
            }
            _ => {
                self.ended = matches!(event, Event::End);
                self.start();
            }
        }
        let Self { writer, shaping, out, .. } = self;
        shaping.pass(event, &mut |event| writer.write(event, out));
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

/// The byte order mark that some servers begin with.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// What a body begins with, without the space before it.
fn begin(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes).trim_ascii_start()
}

/// Whether a body is one object, and not a stream: events, an array of pieces, or a line for each.
fn is_one_object(body: &[u8]) -> bool {
    let body = begin(body);
    body.starts_with(b"{") && (Node::document(body).is_ok() || lines(body).nth(1).is_none())
}

/// Lines that are objects.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| line.starts_with(b"{") && line.ends_with(b"}"))
}

/// Calls `each` for each event of a body that is a stream: of events, in an array, or a line for each.
///
/// # Errors
/// It is none of these.
fn each_event(body: &[u8], each: &mut dyn FnMut(Data<'_>)) -> Result<(), Refused> {
    let begin = begin(body);
    match begin.first() {
        Some(b'[') => Node::document(begin)?.items(|node| {
            each(Data { bytes: node.raw().0.as_bytes(), is_error: false });
            Ok(())
        }),
        Some(b'{') => {
            lines(begin).for_each(|bytes| each(Data { bytes, is_error: false }));
            Ok(())
        }
        _ => {
            let mut framer = Framer::default();
            let long = framer.push(body, &mut *each);
            framer.finish(&mut *each);
            long.map_err(|_| Refused::new("", "the provider sent an event that is too long"))
        }
    }
}

/// Reads one event. Servers say in events that are no JSON that they still work, or at the end that it is the end.
fn read_event(reader: &mut dyn StreamReader, event: Data<'_>, emit: &mut dyn FnMut(Event<'_>)) {
    let failed = |words: &str| Event::Failed(Failed::in_stream(FailureClass::Transient, words.to_owned()));
    let Ok(data) = std::str::from_utf8(event.bytes) else {
        return emit(failed("the provider sent an event that is not UTF-8 text"));
    };
    let mut told = false;
    let mut passed = |event: Event<'_>| {
        told |= matches!(event, Event::Failed(_));
        emit(event);
    };
    match data.trim_start().as_bytes() {
        _ if data.trim() == chat::DONE => reader.done(&mut passed),
        [b'{', ..] => reader.read(data, &mut passed),
        [b'[', ..] => {
            // What is no array says nothing.
            let _ = Node::document(event.bytes).and_then(|list| {
                list.items(|node| {
                    reader.read(node.raw().0, &mut passed);
                    Ok(())
                })
            });
        }
        _ => {}
    }
    if event.is_error && !told {
        let document = Node::document(event.bytes);
        let words = document.ok().and_then(|document| Some(chat::error_message(&document)?.into_owned()));
        emit(failed(&words.unwrap_or_else(|| data.trim().to_owned())));
    }
}
