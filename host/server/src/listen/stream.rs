//! The streams of an HTTP/2 connection: each request is a task, which ends with the connection, and the peer must take
//! its answer.
//!
//! Where flow control stops a stream, the connection goes on and no write is pending, so the guard below does not
//! notice. Therefore an answer goes out in pieces, and its task watches how long a piece has been waiting.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};

/// Most bytes of an answer that are handed on at once: the rest of a piece waits in memory when the peer opens its
/// window by only one byte.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// The streams of one connection. Dropping it ends them.
pub(super) struct Streams(Rc<Inner>);

struct Inner {
    tasks: RefCell<JoinSet<()>>,
    /// The progress of the stream that begins: set by the call of the service, taken by the executor, which follows at
    /// once.
    begun: Cell<Option<Rc<Progress>>>,
    activity: Rc<Activity>,
    /// Time in which a peer must take some bytes.
    limit: Duration,
}

/// How many streams there are, and since when there have been none.
struct Activity {
    running: Cell<usize>,
    quiet_since: Cell<Instant>,
}

impl Streams {
    /// No streams yet. A stream whose peer takes nothing for `limit` is reset.
    pub(super) fn new(limit: Duration) -> Self {
        let activity = Activity { running: Cell::new(0), quiet_since: Cell::new(Instant::now()) };
        Self(Rc::new(Inner {
            tasks: RefCell::default(),
            begun: Cell::default(),
            activity: Rc::new(activity),
            limit,
        }))
    }

    /// Begins a stream; the next spawned future belongs to it.
    pub(super) fn begin(&self) -> Rc<Progress> {
        let progress = Rc::<Progress>::default();
        self.0.begun.set(Some(Rc::clone(&progress)));
        progress
    }

    /// The executor with which hyper spawns streams. It does not keep them alive, since each stream holds one.
    pub(super) fn spawn(&self) -> Spawn {
        Spawn(Rc::downgrade(&self.0))
    }

    /// Waits until there has been no stream for `time`, counted from now.
    pub(super) async fn quiet_for(&self, time: Duration) {
        let (activity, from) = (&self.0.activity, Instant::now());
        loop {
            let now = Instant::now();
            let busy = activity.running.get() > 0;
            let until = if busy { now } else { activity.quiet_since.get().max(from) } + time;
            if !busy && until <= now {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// Spawns the streams of one connection.
#[derive(Clone)]
pub(super) struct Spawn(Weak<Inner>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, stream: F) {
        let Some(streams) = self.0.upgrade() else { return };
        let progress = streams.begun.take().unwrap_or_default();
        let running = Running::new(Rc::clone(&streams.activity));
        let limit = streams.limit;
        let mut tasks = streams.tasks.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_local(async move {
            let _running = running;
            until_stalled(stream, &progress, limit).await;
        });
    }
}

/// Counts a stream as long as it exists.
struct Running(Rc<Activity>);

impl Running {
    fn new(activity: Rc<Activity>) -> Self {
        activity.running.update(|count| count + 1);
        Self(activity)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.update(|count| count - 1);
        self.0.quiet_since.set(Instant::now());
    }
}

/// Since when the last piece of an answer has waited to be taken.
#[derive(Default)]
pub(super) struct Progress(Cell<Option<Instant>>);

/// Runs a stream to its end, or until a piece of its answer has waited for `limit`. It is dropped then, which resets it
/// and frees what was waiting.
async fn until_stalled(stream: impl Future<Output = ()>, progress: &Progress, limit: Duration) {
    let mut stream = pin!(stream);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = progress.0.get() else { return Poll::Pending };
        let deadline = since + limit;
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        tracing::debug!("a stream whose bytes nobody takes is reset");
        Poll::Ready(())
    })
    .await;
}

/// A body in pieces, which notes when each was handed on. hyper asks for the next when the peer's window is open again.
pub(super) struct Paced<B> {
    body: B,
    /// What is left of the body's last frame.
    rest: Bytes,
    progress: Rc<Progress>,
}

impl<B> Paced<B> {
    /// Paces `body`.
    pub(super) fn new(body: B, progress: Rc<Progress>) -> Self {
        Self { body, rest: Bytes::new(), progress }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.progress.0.set(None);
        while self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES_MAX);
        let piece = self.rest.split_to(length);
        self.progress.0.set(Some(Instant::now()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}
