//! WebSockets to providers. A session of a client has one, which is a connection of HTTP/1.1 that was switched; what is
//! asked on it is answered as if it had come over HTTP: the messages up to the last one of an answer are the events of
//! a stream.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Sink, Stream};
use http::header::{self, HeaderMap, HeaderValue};
use http::response::Parts;
use http::{Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tollgate_core::json;

use super::body::Chained;
use super::broken::AnswerError;
use super::connect::broken;
use super::room::Place;
use super::{Origin, Request, SendError, http1};

/// Longest message of a provider; pictures and sounds travel inside.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// What is hashed behind the key of a handshake (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Says that there is an answer before its first event: whoever opens a session may have to speak first.
const OPENED: &[u8] = b": opened\n\n";
/// Headers of a call over HTTP that a handshake does not have.
const OF_BODIES: [header::HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::ACCEPT];
/// Headers that hold a secret.
const SECRETS: [&str; 4] = ["authorization", "api-key", "x-api-key", "x-goog-api-key"];

/// What answers the key of a handshake.
pub(crate) fn accept(key: &[u8]) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

/// A client's session: calls of one share a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    /// Which.
    pub(crate) id: u64,
    /// What is spoken on it.
    pub(crate) kind: Kind,
}

/// What is spoken in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// OpenAI's Responses: each call is a message. A provider that has no WebSocket for it is asked over HTTP.
    Responses,
    /// OpenAI's Realtime: both sides speak as they like, and each answer of the model ends a call.
    Realtime,
}

/// The WebSockets of one thread.
#[derive(Default)]
pub(super) struct Links {
    links: RefCell<HashMap<u64, Rc<Link>>>,
    /// Who has said that there is none.
    without: RefCell<HashSet<Origin>>,
    last: Cell<u64>,
}

/// A connection of a session.
pub(crate) struct Link {
    socket: RefCell<WebSocketStream<TokioIo<Upgraded>>>,
    /// Where it leads, and by which secret.
    origin: Arc<Origin>,
    secrets: Vec<HeaderValue>,
    _place: Place,
}

/// What came of a handshake.
enum Shaken {
    Open(Rc<Link>),
    Refused(Response<hyper::body::Incoming>),
}

/// The answer to a call of a session.
pub(super) enum Told {
    /// Events.
    Events(Parts, Incoming),
    /// There is no session.
    Refused(Response<hyper::body::Incoming>),
    /// An error, as it would be over HTTP.
    Error(Response<Full<Bytes>>),
}

impl Links {
    /// A new session.
    pub(super) fn begin(&self, kind: Kind) -> Session {
        self.last.set(self.last.get() + 1);
        Session { id: self.last.get(), kind }
    }

    /// The connection of a session, where it has one.
    pub(super) fn find(&self, session: Session) -> Option<Rc<Link>> {
        self.links.borrow().get(&session.id).cloned()
    }

    /// Ends a session.
    pub(super) fn end(&self, session: Session) {
        let link = self.links.borrow_mut().remove(&session.id);
        if let Some(link) = link {
            // The provider is told, as far as it takes it at once.
            let mut cx = Context::from_waker(Waker::noop());
            let _told = link.poll_close(&mut cx);
        }
    }

    /// Sends a call of a session. `None` where its provider has no WebSocket: it is to be asked over HTTP.
    pub(super) async fn send(
        self: &Rc<Self>,
        pool: &http1::Pool,
        session: Session,
        request: &mut Request,
    ) -> Result<Option<Told>, SendError> {
        let origin = Arc::clone(&request.origin);
        if session.kind == Kind::Responses && self.without.borrow().contains(&*origin) {
            return Ok(None);
        }
        let secrets = secrets(request.message.headers());
        let known = self.find(session).filter(|link| {
            let same = link.origin == origin && link.secrets == secrets;
            // Nobody has read from it since the last answer.
            same && (session.kind == Kind::Realtime || link.is_open())
        });
        let link = match known {
            Some(link) => link,
            // What was said is known to the other end alone.
            None if session.kind == Kind::Realtime && self.find(session).is_some() => {
                return Err(broken(&origin, "the session's credential serves no longer"));
            }
            None => match open(pool, request).await? {
                Shaken::Open(link) => {
                    self.links.borrow_mut().insert(session.id, Rc::clone(&link));
                    link
                }
                Shaken::Refused(answer) if session.kind == Kind::Responses && is_without(answer.status()) => {
                    self.without.borrow_mut().insert((*origin).clone());
                    return Ok(None);
                }
                Shaken::Refused(answer) => return Ok(Some(Told::Refused(answer))),
            },
        };
        if session.kind == Kind::Responses {
            let body = std::mem::take(request.message.body_mut());
            let sent = link.send(Message::Text(create(body).await)).await;
            sent.map_err(|error| broken(&origin, error))?;
        }
        let mut incoming = Incoming { link, links: Rc::clone(self), session, first: None, ended: false };
        match session.kind {
            Kind::Realtime => incoming.first = Some(Bytes::from_static(OPENED)),
            Kind::Responses => match incoming.refusal().await {
                Ok(None) => {}
                Ok(Some(answer)) => return Ok(Some(Told::Error(answer))),
                Err(error) => return Err(broken(&origin, error)),
            },
        }
        let mut head = Response::new(());
        head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Ok(Some(Told::Events(head.into_parts().0, incoming)))
    }
}

/// Whether a refusal means that no WebSocket is spoken there at all.
fn is_without(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=299 | 400 | 404 | 405 | 426 | 500 | 501)
}

fn secrets(headers: &HeaderMap) -> Vec<HeaderValue> {
    SECRETS.iter().flat_map(|name| headers.get_all(*name)).cloned().collect()
}

/// The message that asks for what a body says.
async fn create(body: Chained) -> Utf8Bytes {
    // A chain of bytes cannot fail.
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let rest = memchr::memchr(b'{', &body).map_or(&b""[..], |at| &body[at + 1..]);
    let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
    format!("{{\"type\":\"response.create\"{comma}{}", String::from_utf8_lossy(rest)).into()
}

/// Asks for a WebSocket where a request would go.
async fn open(pool: &http1::Pool, request: &Request) -> Result<Shaken, SendError> {
    let origin = &request.origin;
    let mut key = [0; 16];
    fastrand::fill(&mut key);
    let key = STANDARD.encode(key);
    let mut message = http::Request::new(Chained::default());
    *message.method_mut() = Method::GET;
    *message.uri_mut() = request.message.uri().clone();
    *message.headers_mut() = request.message.headers().clone();
    let headers = message.headers_mut();
    OF_BODIES.iter().for_each(|name| drop(headers.remove(name)));
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, &*key),
    ] {
        headers.insert(name, HeaderValue::try_from(value).map_err(|error| broken(origin, error))?);
    }
    let (response, place) = pool.switch(origin, message).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Shaken::Refused(response));
    }
    let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
    if accepted != Some(accept(key.as_bytes()).as_bytes()) {
        return Err(broken(origin, "the handshake was answered by somebody else"));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| broken(origin, error))?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .write_buffer_size(0);
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config)).await;
    let secrets = secrets(request.message.headers());
    let link = Link { socket: socket.into(), origin: Arc::clone(origin), secrets, _place: place };
    Ok(Shaken::Open(Rc::new(link)))
}

impl Link {
    /// Sends a message.
    ///
    /// # Errors
    /// When the connection is closed or breaks.
    pub(crate) async fn send(&self, message: Message) -> Result<(), Error> {
        let mut message = Some(message);
        poll_fn(|cx| {
            let mut socket = self.socket.borrow_mut();
            let mut socket = Pin::new(&mut *socket);
            if message.is_some() {
                ready!(socket.as_mut().poll_ready(cx))?;
                if let Some(message) = message.take() {
                    socket.as_mut().start_send(message)?;
                }
            }
            socket.poll_flush(cx)
        })
        .await
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_next(cx)
    }

    fn poll_close(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_close(cx)
    }

    /// Whether the other side has not closed it. What it says unasked is dropped.
    fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match self.poll_next(&mut cx) {
                Poll::Pending => return true,
                Poll::Ready(Some(Ok(message))) if !message.is_close() => {}
                Poll::Ready(_) => return false,
            }
        }
    }
}

/// The answer to a call of a session, as events. The connection lives on behind the last one; dropped before that, it
/// is closed.
pub(super) struct Incoming {
    link: Rc<Link>,
    links: Rc<Links>,
    session: Session,
    /// What is passed on before anything else.
    first: Option<Bytes>,
    ended: bool,
}

impl Incoming {
    /// Waits for the first message of an answer: where that is an error, the answer that it would be over HTTP.
    async fn refusal(&mut self) -> Result<Option<Response<Full<Bytes>>>, AnswerError> {
        let first = poll_fn(|cx| self.poll_event(cx)).await.transpose()?;
        let text = first.as_ref().map_or(&b""[..], |text| text.as_bytes());
        let Some(error) = json::find(text, &["error"]).filter(|_| named(text, &["error"])) else {
            self.first = first.map(|text| event(&text));
            return Ok(None);
        };
        let told = ["status", "status_code"]
            .iter()
            .find_map(|name| json::unsigned(text, json::find(text, &[name])?));
        let status = told.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
        let body = [b"{\"error\":", &text[error.range()], b"}"].concat();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status.unwrap_or(StatusCode::BAD_REQUEST);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Some(response))
    }

    /// The next message that is a text.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Utf8Bytes, AnswerError>>> {
        while !self.ended {
            match ready!(self.link.poll_next(cx)) {
                Some(Ok(Message::Text(text))) => {
                    self.ended = is_last(self.session.kind, text.as_bytes());
                    return Poll::Ready(Some(Ok(text)));
                }
                Some(Ok(Message::Close(_))) | None => break,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(AnswerError::Wire(error.into())))),
            }
        }
        Poll::Ready(None)
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        self.poll_event(cx).map(|text| text.map(|text| text.map(|text| Frame::data(event(&text)))))
    }

    pub(super) const fn is_end_stream(&self) -> bool {
        self.ended && self.first.is_none()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.ended {
            self.links.end(self.session);
        }
    }
}

/// Whether a message is the last one of an answer.
fn is_last(kind: Kind, message: &[u8]) -> bool {
    match kind {
        Kind::Responses => {
            named(message, &["response.completed", "response.incomplete", "response.failed", "error"])
        }
        Kind::Realtime => named(message, &["response.done"]),
    }
}

/// Whether a message is of one of these types.
fn named(message: &[u8], types: &[&str]) -> bool {
    let named = json::find(message, &["type"]).and_then(|value| json::string(message, value));
    named.is_some_and(|named| types.contains(&&*named))
}

/// A message as an event of a stream.
fn event(text: &str) -> Bytes {
    format!("data: {}\n\n", text.replace('\n', "\ndata: ")).into()
}
