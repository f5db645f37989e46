//! Upstream connections of one worker: HTTP/1.1, kept alive, newest first, not shared with other workers.
//!
//! HTTP/1.1 on purpose: one request per connection, so that a slow client cannot delay others (h2 closes a shared
//! connection whose small frames stay unread). Dropping an [`Incoming`] before its end closes the connection, which is
//! how a cancellation reaches the provider.
//!
//! A connection has no task of its own: the task that waits for its answer drives it. So one task per exchange is woken
//! instead of two that wake each other for every piece, and all pieces of one read of the socket are there before the
//! first of them is written on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::Response;
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};

use super::body::Chained;
use super::broken::AnswerError;
use super::connect::{Connector, Io, broken, failed};
use super::room::Place;
use super::{Origin, Request, SendError, Settings, Wire};

/// Idle connections kept per upstream and worker.
const IDLE_MAX: usize = 256;
/// An idle connection that has seen so many prunings is not used again: it is 40 to 50 s old, and servers close theirs
/// at 60 s and more.
const IDLE_PRUNINGS_MAX: u64 = 5;

/// Polls of a connection in one turn of its task, before other tasks have theirs.
const TURNS_MAX: usize = 4;

type Connection = http1::Connection<Io, Chained>;

/// A connection, and the way to send on it.
struct Link {
    sender: SendRequest<Chained>,
    connection: Pin<Box<Connection>>,
    ended: bool,
    waking: Arc<Waking>,
    /// Of `waking`.
    waker: Waker,
    _place: Place,
}

impl Link {
    fn new(sender: SendRequest<Chained>, connection: Connection, place: Place) -> Self {
        let waking = Arc::new(Waking::default());
        let waker = Waker::from(Arc::clone(&waking));
        let connection = Box::pin(connection);
        Self { sender, connection, ended: false, waking, waker, _place: place }
    }

    /// Drives the connection until `step`, which takes what it brings, is ready, or the connection brings no more now.
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

    /// Whether it can take a request, after it has seen what came since it was last driven, such as the upstream's
    /// close.
    fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        let _nothing: Poll<()> = self.poll(cx, |_| Poll::Pending);
        !self.ended && self.sender.is_ready()
    }
}

/// Wakes the task that drives a link, except for messages between the link's two halves while the task is driving it.
#[derive(Default)]
struct Waking {
    task: AtomicWaker,
    looking: AtomicBool,
    again: AtomicBool,
}

impl Waking {
    /// The task is about to drive the link.
    fn look(&self) {
        self.looking.store(true, Relaxed);
    }

    /// The same. What there was to do before is done now.
    fn begin(&self, task: &Waker) {
        self.task.register(task);
        self.look();
        self.again.store(false, Relaxed);
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
        // A link never leaves its thread, so nothing happens between this check and the next line.
        if self.looking.load(Relaxed) {
            self.again.store(true, Relaxed);
        } else {
            self.task.wake();
        }
    }
}

struct Idle {
    link: Link,
    /// Prunings before it was idle.
    since: u64,
}

/// The idle connections of one worker.
pub(super) struct Pool {
    connector: Connector,
    idle: RefCell<HashMap<Origin, Vec<Idle>>>,
    /// How often it was pruned: a clock that is as exact as this needs, and costs nothing.
    prunings: Cell<u64>,
}

/// The body of an answer, and the connection that brings it. At its end the connection goes back to the pool; dropped
/// before that, it is closed.
pub(super) struct Incoming {
    body: hyper::body::Incoming,
    link: Option<Link>,
    pool: Rc<Pool>,
    origin: Arc<Origin>,
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(settings: &Settings) -> Rc<Self> {
        let connector = Connector::new(Wire::Http1, settings);
        Rc::new(Self { connector, idle: RefCell::default(), prunings: Cell::new(0) })
    }

    /// Sends one request and waits for the head of its answer.
    ///
    /// A kept connection that turns out to be closed before it took the request is replaced silently; a request that
    /// was taken is never sent twice.
    ///
    /// # Errors
    /// See [`SendError`]. Dropping the future closes the connection.
    pub(super) async fn send(self: &Rc<Self>, request: Request) -> Result<(Parts, Incoming), SendError> {
        let Request { origin, mut message, .. } = request;
        loop {
            let (mut link, kept) = match poll_fn(|cx| Poll::Ready(self.take(&origin, cx))).await {
                Some(link) => (link, true),
                // In a box: few requests need a new connection, and every request's future has room for what is not.
                None => (Box::pin(self.connect(&origin)).await?, false),
            };
            match exchange(&mut link, message).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let incoming = Incoming { body, link: Some(link), pool: Rc::clone(self), origin };
                    return Ok((head, incoming));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => message = unsent,
                    _ => return Err(broken(&origin, error.into_error())),
                },
            }
        }
    }

    /// Asks on a connection of its own for it to be switched to another protocol.
    pub(super) async fn switch(
        &self,
        origin: &Origin,
        message: http::Request<Chained>,
    ) -> Result<(Response<hyper::body::Incoming>, Place), SendError> {
        let (io, place) = self.connector.connect(origin).await?;
        let (mut sender, connection) =
            http1::Builder::new().handshake(io).await.map_err(|error| failed(origin, error))?;
        // It ends with the switch, or with the answer that there is none.
        tokio::task::spawn_local(connection.with_upgrades());
        let response = sender.send_request(message).await.map_err(|error| broken(origin, error))?;
        Ok((response, place))
    }

    /// A kept connection that still works: driving it shows whether the upstream has closed it.
    fn take(&self, origin: &Origin, cx: &mut Context<'_>) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(origin)?;
        while let Some(Idle { mut link, since }) = list.pop() {
            if link.is_ready(cx) && self.is_young(since) {
                return Some(link);
            }
        }
        None
    }

    fn is_young(&self, since: u64) -> bool {
        self.prunings.get() - since < IDLE_PRUNINGS_MAX
    }

    /// Closes what has been idle for too long. No one reads from an idle connection, so no one else would. Called every
    /// [`PRUNE_INTERVAL`](super::PRUNE_INTERVAL).
    pub(super) fn prune(&self) {
        self.prunings.set(self.prunings.get() + 1);
        self.idle.borrow_mut().retain(|_, list| {
            list.retain(|idle| self.is_young(idle.since));
            !list.is_empty()
        });
    }

    async fn connect(&self, origin: &Origin) -> Result<Link, SendError> {
        let (io, place) = match self.connector.connect(origin).await {
            Err(SendError::NoRoom { .. }) => {
                // Those that wait for nothing make room.
                self.idle.borrow_mut().clear();
                self.connector.connect(origin).await?
            }
            connected => connected?,
        };
        let (sender, connection) =
            http1::Builder::new().handshake(io).await.map_err(|error| failed(origin, error))?;
        Ok(Link::new(sender, connection, place))
    }

    fn keep(&self, origin: &Origin, link: Link) {
        let mut idle = self.idle.borrow_mut();
        let entry = Idle { link, since: self.prunings.get() };
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
    message: http::Request<Chained>,
) -> Result<Response<hyper::body::Incoming>, TrySendError<http::Request<Chained>>> {
    // It is handed over now, and written when the link is polled for the first time.
    link.waking.look();
    let mut answered = pin!(link.sender.try_send_request(message));
    poll_fn(|cx| link.poll(cx, |cx| answered.as_mut().poll(cx))).await
}

impl Incoming {
    /// Gives the connection back once the body has ended. The connection must see that end itself before it can take a
    /// request.
    fn end(&mut self, cx: &mut Context<'_>) {
        let Some(mut link) = self.link.take() else { return };
        if link.is_ready(cx) {
            self.pool.keep(&self.origin, link);
        }
    }

    /// The next frame as it comes over the wire.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let Self { body, link, .. } = self;
        let polled = match link {
            Some(link) => link.poll(cx, |cx| Pin::new(&mut *body).poll_frame(cx)),
            None => Pin::new(body).poll_frame(cx),
        };
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.end(cx);
        }
        polled.map_err(|error| AnswerError::Wire(error.into()))
    }

    /// Whether the last frame was the last.
    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    /// How many bytes are still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
