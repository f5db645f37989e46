//! What is spoken over a WebSocket, as calls on the ordinary road: each has its own limits, hold, charge and record,
//! and each event of its answer is a message.
//!
//! In OpenAI's Responses each `response.create` is a call. One is under way at a time; what is asked meanwhile waits. A
//! client that goes on from the last answer (`previous_response_id`) sends what is new alone: a provider that has a
//! WebSocket itself remembers the rest, and any other is asked the whole.
//!
//! In Realtime both sides speak as they like. A call is what passes up to the next answer's end (`response.done`),
//! which states what it used; the next one begins at once, so that no answer is made for which nothing is held. Where
//! the balance carries no more, the client is told in its protocol's words, and the session ends.

mod turns;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tollgate_core::json;
use tollgate_core::sse::{self, Framer};

use self::turns::{Asked, Turns};
use super::carried::pairs;
use super::error::ProxyError;
use super::lane::Lane;
use super::mark;
use super::relay::Outgoing;
use super::taps::EVENT_BYTES_MAX;
use super::{forward, handle};
use crate::transport::websocket::{Kind, Session};

/// Calls that wait for the one under way.
const WAITING_MAX: usize = 16;

/// By this header the calls of a session are one conversation, which stays with its credential.
static CONVERSATION: HeaderName = HeaderName::from_static("session_id");

/// A connection that is no longer HTTP's.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

/// Serves a connection that has been switched, whose first bytes have been read already, until either side is done. It
/// is told when the server stops.
pub(crate) type Switched = Box<
    dyn for<'a> FnOnce(
        &'a mut dyn Wire,
        Bytes,
        watch::Receiver<bool>,
    ) -> Pin<Box<dyn Future<Output = ()> + 'a>>,
>;

/// A session that is about to begin.
pub(super) struct Opened {
    lane: Rc<Lane>,
    /// What each call has of the handshake.
    head: Parts,
    session: Session,
    /// The model of a Realtime session, and the answer to its first call.
    realtime: Option<(String, Outgoing)>,
}

impl Opened {
    /// Begins a session: Realtime with its first call, so that what speaks against it is told by its status.
    ///
    /// # Errors
    /// 400 without a model; or the answer to the call that was refused.
    pub(super) async fn new(
        lane: &Rc<Lane>,
        mut head: Parts,
        kind: Kind,
    ) -> Result<Result<Self, Response<Outgoing>>, ProxyError> {
        let model = pairs(head.uri.query().unwrap_or_default()).find(|(name, _)| name == "model");
        let model = model.map(|(_, model)| model.into_owned()).unwrap_or_default();
        if kind == Kind::Realtime && model.is_empty() {
            return Err(refused("`model` is missing from the query.", "model"));
        }
        let session = lane.transports.begin(kind);
        head.uri = Uri::from_static("/v1/responses");
        mark::put(&mut head.headers, session);
        if kind == Kind::Realtime || !head.headers.contains_key(&CONVERSATION) {
            let name = HeaderValue::try_from(lane.arrival().id.to_string());
            name.into_iter().for_each(|name| drop(head.headers.insert(&CONVERSATION, name)));
        }
        let mut opened = Self { lane: Rc::clone(lane), head, session, realtime: None };
        if kind == Kind::Realtime {
            let mut body = Full::new(slice(&model, PROMPT_TOKENS));
            let answer = handle(lane, opened.head.clone(), &mut body).await;
            if !is_answer(&answer) {
                return Ok(Err(answer));
            }
            opened.realtime = Some((model, answer.into_body()));
        }
        Ok(Ok(opened))
    }

    /// Serves it until either side is done.
    pub(super) async fn serve(self, wire: &mut dyn Wire, read: Bytes, stop: watch::Receiver<bool>) {
        let Self { lane, head, session, realtime } = self;
        let bytes_max = lane.shared.settings.limits.request_body_bytes_max;
        let config = WebSocketConfig::default()
            .max_message_size(Some(bytes_max))
            .max_frame_size(Some(bytes_max))
            .write_buffer_size(0);
        let socket =
            WebSocketStream::from_partially_read(wire, read.into(), Role::Server, Some(config)).await;
        let turns = Turns::new(bytes_max, lane.shared.memory.share());
        // However this ends, the provider's side ends with it.
        let _both = Both(Rc::clone(&lane), session);
        let mut speaking = Speaking { lane, head, session, socket, turns, waiting: VecDeque::new(), stop };
        let end = match realtime {
            None => speaking.responses().await,
            Some((model, first)) => speaking.realtime(&model, first).await,
        };
        speaking.close(end).await;
    }
}

/// Ends the provider's side of a session when it is dropped.
struct Both(Rc<Lane>, Session);

impl Drop for Both {
    fn drop(&mut self) {
        self.0.transports.end(self.1);
    }
}

/// Whether a call was answered by a stream.
fn is_answer(answer: &Response<Outgoing>) -> bool {
    answer.status() == StatusCode::OK && forward::is_event_stream(answer.headers())
}

/// What a session's prompt is taken for before its first answer says how long it was, in tokens.
const PROMPT_TOKENS: u64 = 1_024;
/// The most that it is taken for.
const PROMPT_TOKENS_MAX: u64 = 128 * 1024;

/// The body of a call of a Realtime session. It has blanks for the prompt that the provider remembers, so that as much
/// is held for it.
fn slice(model: &str, prompt_tokens: u64) -> Bytes {
    let blanks = usize::try_from(prompt_tokens.min(PROMPT_TOKENS_MAX) * 3).unwrap_or(0);
    format!("{{\"model\":{},\"stream\":true,{}\"input\":[]}}", json::quote(model), " ".repeat(blanks)).into()
}

/// The server stops.
const STOPPED: End = End::Said(CloseCode::Away, "The server stops.");

/// How a session ends.
enum End {
    /// The client has closed, or its connection broke.
    Left,
    /// It is told why.
    Said(CloseCode, &'static str),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(_) => Self::Said(CloseCode::Size, "The message is too large."),
            Error::Protocol(_) => Self::Said(CloseCode::Protocol, "That is no WebSocket."),
            Error::Utf8(_) => Self::Said(CloseCode::Invalid, "The message is no text."),
            _ => Self::Left,
        }
    }
}

/// A session under way.
struct Speaking<'w> {
    lane: Rc<Lane>,
    head: Parts,
    session: Session,
    socket: WebSocketStream<&'w mut dyn Wire>,
    turns: Turns,
    waiting: VecDeque<Utf8Bytes>,
    stop: watch::Receiver<bool>,
}

impl Speaking<'_> {
    /// Answers call after call.
    async fn responses(&mut self) -> End {
        loop {
            let next = match self.waiting.pop_front() {
                Some(text) => Ok(text),
                None => {
                    let mut stop = self.stop.clone();
                    tokio::select! {
                        message = self.next() => message,
                        _ = stop.wait_for(|stop| *stop) => Err(STOPPED),
                    }
                }
            };
            let done = match next {
                Ok(text) => Box::pin(self.take(&text)).await,
                Err(end) => Err(end),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Passes on what both sides say, one call after the other.
    async fn realtime(&mut self, model: &str, first: Outgoing) -> End {
        let (mut body, mut stop) = (first, self.stop.clone());
        loop {
            let passed = tokio::select! {
                passed = self.relay(body) => passed,
                _ = stop.wait_for(|stop| *stop) => Err(STOPPED),
            };
            if let Err(end) = passed {
                return end;
            }
            if self.lane.transports.link(self.session).is_none() {
                return End::Said(CloseCode::Away, "The provider has ended the session.");
            }
            let prompt = self.turns.prompt_tokens().unwrap_or(PROMPT_TOKENS);
            let answer = match self.ask(slice(model, prompt)).await {
                Ok(answer) => answer,
                Err(end) => return end,
            };
            if !is_answer(&answer) {
                return self.refuse(answer).await;
            }
            body = answer.into_body();
        }
    }

    /// Tells the client why there is no other call, which ends the session.
    async fn refuse(&mut self, answer: Response<Outgoing>) -> End {
        let status = answer.status();
        let told = match self.whole(answer.into_body()).await {
            Ok(body) => self.tell(error_event(status, &body).into()).await,
            Err(end) => Err(end),
        };
        told.err().unwrap_or(End::Said(CloseCode::Policy, "The session cannot go on."))
    }

    /// The next message of the client.
    async fn next(&mut self) -> Result<Utf8Bytes, End> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Binary(_))) => {
                    return Err(End::Said(CloseCode::Unsupported, "Messages are texts."));
                }
                Some(Ok(Message::Close(_))) | None => return Err(End::Left),
                // Pings are answered where they are read.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    async fn tell(&mut self, text: Utf8Bytes) -> Result<(), End> {
        Ok(self.socket.send(Message::Text(text)).await?)
    }

    /// Does what a message asks.
    async fn take(&mut self, text: &Utf8Bytes) -> Result<(), End> {
        // A provider that has a WebSocket of the session remembers what was said on it.
        let remembered = self.lane.transports.link(self.session).is_some();
        match self.turns.ask(&Bytes::copy_from_slice(text.as_bytes()), remembered) {
            Ok(Asked::Nothing) => Ok(()),
            Ok(Asked::Kept(events)) => {
                for event in events {
                    self.tell(event.into()).await?;
                }
                Ok(())
            }
            Ok(Asked::Call(body)) => {
                let answer = self.ask(body).await?;
                self.answer(answer).await
            }
            Err(error) => {
                let body = error.body(super::Protocol::OpenaiResponses.into(), "");
                let status = error.status(super::Protocol::OpenaiResponses);
                self.tell(error_event(status, body.as_bytes()).into()).await
            }
        }
    }

    /// Makes a call on the road.
    async fn ask(&mut self, body: Bytes) -> Result<Response<Outgoing>, End> {
        let (lane, head, mut body) = (Rc::clone(&self.lane), self.head.clone(), Full::new(body));
        let mut answering = Box::pin(async move { handle(&lane, head, &mut body).await });
        loop {
            tokio::select! {
                answer = &mut answering => return Ok(answer),
                message = self.next() => {
                    let message = message?;
                    self.hear(message).await?;
                }
            }
        }
    }

    /// Passes an answer on.
    async fn answer(&mut self, answer: Response<Outgoing>) -> Result<(), End> {
        if is_answer(&answer) {
            return self.relay(answer.into_body()).await;
        }
        let status = answer.status();
        let body = self.whole(answer.into_body()).await?;
        let event = match status {
            StatusCode::OK => self.turns.completed(&body),
            status => error_event(status, &body),
        };
        self.tell(event.into()).await
    }

    /// Takes in what the client says while a call is under way: in Realtime it is the provider's, else it waits.
    async fn hear(&mut self, text: Utf8Bytes) -> Result<(), End> {
        if self.session.kind == Kind::Realtime {
            let gone = || End::Said(CloseCode::Away, "The provider has ended the session.");
            let link = self.lane.transports.link(self.session).ok_or_else(gone)?;
            return link.send(Message::Text(text)).await.map_err(|_| gone());
        }
        let waiting: usize = self.waiting.iter().map(|text| text.len()).sum();
        let bytes_max = self.lane.shared.settings.limits.request_body_bytes_max;
        if self.waiting.len() >= WAITING_MAX || waiting + text.len() > bytes_max {
            return Err(End::Said(CloseCode::Policy, "Too many calls wait."));
        }
        self.waiting.push_back(text);
        Ok(())
    }

    /// The next piece of an answer, while the client is listened to.
    async fn piece(&mut self, body: &mut Outgoing) -> Result<Option<Bytes>, End> {
        loop {
            let frame = tokio::select! {
                frame = poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)) => frame,
                message = self.next() => {
                    let message = message?;
                    self.hear(message).await?;
                    continue;
                }
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }

    /// Passes each event on as a message.
    async fn relay(&mut self, mut body: Outgoing) -> Result<(), End> {
        let mut framer = Framer::new(EVENT_BYTES_MAX);
        while let Some(piece) = self.piece(&mut body).await? {
            let mut events: Vec<String> = Vec::new();
            let read = framer.push(&piece, |frame| events.extend(said(frame.bytes())));
            if read.is_err() {
                return Err(End::Said(CloseCode::Error, "An event is too long."));
            }
            for event in events {
                self.turns.see(event.as_bytes());
                self.tell(event.into()).await?;
            }
        }
        Ok(())
    }

    async fn whole(&mut self, mut body: Outgoing) -> Result<Bytes, End> {
        let mut all = Vec::new();
        while let Some(piece) = self.piece(&mut body).await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }

    async fn close(mut self, end: End) {
        let frame = match end {
            End::Left => None,
            End::Said(code, reason) => Some(CloseFrame { code, reason: reason.into() }),
        };
        // Whoever has gone hears nothing.
        let _told = self.socket.close(frame).await;
    }
}

/// What an event says; nothing where it is a comment.
fn said(event: &[u8]) -> Option<String> {
    let data = sse::data(event).filter(|data| data.starts_with(b"{"))?;
    String::from_utf8(data.into_owned()).ok()
}

/// An error that was no answer, as a message.
fn error_event(status: StatusCode, body: &[u8]) -> String {
    let error = json::find(body, &["error"]).filter(|error| error.kind == json::Kind::Object);
    let error = error.and_then(|error| std::str::from_utf8(&body[error.range()]).ok());
    let error =
        error.unwrap_or(r#"{"type":"server_error","code":null,"message":"The call failed.","param":null}"#);
    format!(r#"{{"type":"error","status":{},"error":{error}}}"#, status.as_u16())
}

/// What a message may not ask.
fn refused(words: impl Into<String>, field: &'static str) -> ProxyError {
    ProxyError::bad_request(words, Some(field))
}
