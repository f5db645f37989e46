//! Upstream connections of one worker: HTTP/1.1, kept alive, newest first, shared with nobody.
//!
//! HTTP/1.1 on purpose: one stream per connection, so that a slow client can hold up no one else's (h2 closes a shared
//! connection whose small frames sit unread). Dropping an [`Answer`] before its end closes the connection, which is how
//! a cancellation reaches the provider.
//!
//! A connection has no task of its own: whoever waits for its answer drives it. One task per exchange is woken where there would be
//! two that wake each other for every piece, and all pieces that one read of the socket brought are there before the
//! first of them is written on.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::frames::{AnswerError, Frames};
use crate::transport::body::Chained;

/// Idle connections kept per upstream and worker.
const IDLE_MAX: usize = 256;
/// An idle connection older than this is not used again: servers close theirs at 60 s and more.
const IDLE_AGE_MAX: Duration = Duration::from_secs(50);

/// Looks at a connection in one turn of its task; then others have theirs.
const TURNS_MAX: usize = 4;

type Connection = http1::Connection<MaybeHttpsStream<TokioIo<TcpStream>>, Chained>;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// `http` or `https`.
    pub(crate) scheme: Scheme,
    /// Host and port.
    pub(crate) authority: Authority,
}

/// Why there is no response head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No connection could be made: the upstream has seen nothing.
    #[error("connecting to {authority}")]
    Connect {
        /// Host and port.
        authority: Authority,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Connecting took too long.
    #[error("connecting to {authority} timed out")]
    ConnectTimeout {
        /// Host and port.
        authority: Authority,
    },
    /// The exchange broke after the request may have been seen.
    #[error("waiting for an answer of {authority}")]
    Exchange {
        /// Host and port.
        authority: Authority,
        /// Why.
        #[source]
        source: hyper::Error,
    },
}

/// A connection, and the way to send on it.
struct Link {
    sender: SendRequest<Chained>,
    connection: Pin<Box<Connection>>,
    ended: bool,
    waking: Arc<Waking>,
    /// Of `waking`.
    waker: Waker,
}

impl Link {
    fn new(sender: SendRequest<Chained>, connection: Connection) -> Self {
        let waking = Arc::new(Waking::default());
        let waker = Waker::from(Arc::clone(&waking));
        Self { sender, connection: Box::pin(connection), ended: false, waking, waker }
    }

    /// Drives the connection until `step`, which takes what it brings, is ready or there is no more to bring now.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.waking.begin(cx.waker());
        let waker = self.waker.clone();
        let mut own = Context::from_waker(&waker);
        let mut polled = step(&mut own);
        for _ in 0..TURNS_MAX {
            if polled.is_ready() {
                break;
            }
            self.drive(&mut own);
            polled = step(&mut own);
            if polled.is_ready() || !self.waking.again() {
                break;
            }
        }
        if self.waking.end() && polled.is_pending() {
            cx.waker().wake_by_ref();
        }
        polled
    }

    /// Reads and writes what can be read and written now.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.ended {
            return;
        }
        if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
            self.ended = true;
            if let Err(error) = ended {
                tracing::debug!(%error, "upstream connection ended");
            }
        }
    }

    /// Whether it can take a request, once it has seen what came since it was last driven: that the upstream closed it, say.
    fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        let _nothing: Poll<()> = self.poll(cx, |_| Poll::Pending);
        !self.ended && self.sender.is_ready()
    }
}

/// Wakes the task that drives a link, but not for what the link's two halves tell each other while it does: the task is
/// looking already.
#[derive(Default)]
struct Waking {
    task: AtomicWaker,
    looking: AtomicBool,
    again: AtomicBool,
}

impl Waking {
    fn begin(&self, task: &Waker) {
        self.task.register(task);
        self.looking.store(true, Relaxed);
    }

    /// Whether there was a reason to look again.
    fn again(&self) -> bool {
        self.again.swap(false, Relaxed)
    }

    /// The same; the next reason wakes the task.
    fn end(&self) -> bool {
        self.looking.store(false, Relaxed);
        self.again()
    }
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A link never leaves its thread, so that nothing comes between this look and the deed.
        if self.looking.load(Relaxed) {
            self.again.store(true, Relaxed);
        } else {
            self.task.wake();
        }
    }
}

struct Idle {
    link: Link,
    since: Instant,
}

/// The idle connections of one worker.
pub(crate) struct Pool {
    connector: HttpsConnector<HttpConnector>,
    connect_timeout: Duration,
    idle: RefCell<HashMap<Origin, Vec<Idle>>>,
}

/// The body of an answer, and the connection that brings it. At its end the connection goes back to the pool; dropped before that, it
/// is closed.
pub(crate) struct Answer {
    incoming: Incoming,
    link: Option<Link>,
    pool: Rc<Pool>,
    origin: Rc<Origin>,
    /// What makes events of it, where it comes in binary messages.
    frames: Option<Frames>,
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new(connect_timeout: Duration) -> Rc<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Rc::new(Self { connector, connect_timeout, idle: RefCell::default() })
    }

    /// Sends one request and waits for the head of its answer.
    ///
    /// A kept connection that turns out to be closed before it took the request is replaced without a word; a request that
    /// was taken is never sent twice.
    ///
    /// # Errors
    /// See [`SendError`]. Dropping the future closes the connection.
    pub(crate) async fn send(
        self: &Rc<Self>,
        origin: &Rc<Origin>,
        mut request: Request<Chained>,
    ) -> Result<Response<Answer>, SendError> {
        loop {
            let (mut link, kept) = match poll_fn(|cx| Poll::Ready(self.take(origin, cx))).await {
                Some(link) => (link, true),
                None => (self.connect(origin).await?, false),
            };
            match exchange(&mut link, request).await {
                Ok(response) => {
                    return Ok(response.map(|incoming| Answer {
                        incoming,
                        link: Some(link),
                        pool: Rc::clone(self),
                        origin: Rc::clone(origin),
                        frames: None,
                    }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => request = unsent,
                    _ => {
                        let authority = origin.authority.clone();
                        return Err(SendError::Exchange { authority, source: error.into_error() });
                    }
                },
            }
        }
    }

    /// A kept connection that is still good: one that the upstream closed says so when it is driven.
    fn take(&self, origin: &Origin, cx: &mut Context<'_>) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(origin)?;
        while let Some(Idle { mut link, since }) = list.pop() {
            if link.is_ready(cx) && since.elapsed() < IDLE_AGE_MAX {
                return Some(link);
            }
        }
        None
    }

    /// Closes what has been idle for too long. Nobody reads from an idle connection, so that nobody else would.
    pub(crate) fn prune(&self) {
        self.idle.borrow_mut().retain(|_, list| {
            list.retain(|idle| idle.since.elapsed() < IDLE_AGE_MAX);
            !list.is_empty()
        });
    }

    async fn connect(&self, origin: &Origin) -> Result<Link, SendError> {
        let authority = &origin.authority;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| SendError::Connect {
            authority: authority.clone(),
            source,
        };
        let uri = Uri::builder()
            .scheme(origin.scheme.clone())
            .authority(authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|error| failed(error.into()))?;
        let connecting = self.connector.clone().call(uri);
        let io = match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => return Err(SendError::ConnectTimeout { authority: authority.clone() }),
        };
        let (sender, connection) =
            http1::Builder::new().handshake(io).await.map_err(|error| failed(error.into()))?;
        Ok(Link::new(sender, connection))
    }

    fn keep(&self, origin: &Origin, link: Link) {
        let mut idle = self.idle.borrow_mut();
        let entry = Idle { link, since: Instant::now() };
        match idle.get_mut(origin) {
            Some(list) if list.len() >= IDLE_MAX => {}
            Some(list) => list.push(entry),
            None => {
                idle.insert(origin.clone(), vec![entry]);
            }
        }
    }
}

/// Drives the connection until it brings the head of the answer.
async fn exchange(
    link: &mut Link,
    request: Request<Chained>,
) -> Result<Response<Incoming>, TrySendError<Request<Chained>>> {
    let mut answered = pin!(link.sender.try_send_request(request));
    poll_fn(|cx| link.poll(cx, |cx| answered.as_mut().poll(cx))).await
}

impl Answer {
    /// Gives the connection back once the body has ended. It has to see that end itself before it can take a request.
    fn end(&mut self, cx: &mut Context<'_>) {
        let Some(mut link) = self.link.take() else { return };
        if link.is_ready(cx) {
            self.pool.keep(&self.origin, link);
        }
    }

    /// From now on, what comes is made into events.
    pub(crate) fn unframe(&mut self) {
        self.frames = Some(Frames::default());
    }

    /// The next frame as it comes over the wire.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let Self { incoming, link, .. } = self;
        let polled = match link {
            Some(link) => link.poll(cx, |cx| Pin::new(&mut *incoming).poll_frame(cx)),
            None => Pin::new(incoming).poll_frame(cx),
        };
        if matches!(polled, Poll::Ready(None)) || self.incoming.is_end_stream() {
            self.end(cx);
        }
        polled.map_err(AnswerError::Wire)
    }

    /// Closes the connection, whatever else it would bring.
    pub(crate) fn close(&mut self) {
        self.link = None;
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        loop {
            if let Some(error) = self.frames.as_mut().and_then(|frames| frames.failure(false)) {
                return Poll::Ready(Some(Err(error)));
            }
            let polled = self.poll_wire(cx);
            let Some(frames) = &mut self.frames else { return polled };
            match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    match frames.events(&data) {
                        Ok(events) if events.is_empty() => {}
                        Ok(events) => return Poll::Ready(Some(Ok(Frame::data(events)))),
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                }
                Poll::Ready(None) => return Poll::Ready(frames.failure(true).map(Err)),
                other => return other,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.frames.is_some() { SizeHint::default() } else { self.incoming.size_hint() }
    }
}
