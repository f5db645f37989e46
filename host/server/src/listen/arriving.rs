//! A request's body as it arrives, and what its reader says to the connection that brings it.
//!
//! Whoever takes a piece of a body makes room for the next one, and hyper wakes the connection for that. Nearly every
//! body comes as one piece, behind which nothing follows: the connection would be polled once more for nothing, with
//! all that is under way on it. So the body's last piece is taken without a word.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// The body of a request.
pub(crate) struct Arriving {
    body: Incoming,
    /// Hears what is said to its connection, where that is for it alone.
    ear: Option<Arc<Ear>>,
}

/// Hears what wakes a connection, and passes it on but for what is said behind the end of a body.
#[derive(Default)]
pub(super) struct Ear {
    task: AtomicWaker,
    /// Whether a piece is being taken. A connection and its requests are one task, so nobody else speaks meanwhile.
    taking: AtomicBool,
    heard: AtomicBool,
}

impl Ear {
    /// The waker by which a connection hears with it.
    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// The task that is woken.
    pub(super) fn listens_for(&self, task: &Waker) {
        self.task.register(task);
    }
}

impl Wake for Ear {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.taking.load(Relaxed) {
            self.heard.store(true, Relaxed);
        } else {
            self.task.wake();
        }
    }
}

impl Arriving {
    /// A body of which `ear` hears.
    pub(super) const fn new(body: Incoming, ear: Option<Arc<Ear>>) -> Self {
        Self { body, ear }
    }

    /// The body itself.
    pub(crate) const fn plain(&mut self) -> &mut Incoming {
        &mut self.body
    }

    /// The same, for good.
    pub(super) fn into_plain(self) -> Incoming {
        self.body
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, ear } = &mut *self;
        let Some(ear) = ear else { return Pin::new(body).poll_frame(cx) };
        ear.taking.store(true, Relaxed);
        let polled = Pin::new(&mut *body).poll_frame(cx);
        ear.taking.store(false, Relaxed);
        if ear.heard.swap(false, Relaxed) && !body.is_end_stream() {
            ear.task.wake();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
