//! The body of an answer on a shared connection.
//!
//! A task takes every frame out of h2 as it comes and collects the bytes until they are read. The stream's window
//! bounds what waits; it opens again only by what was read, however small the frames were.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{FlowControl, RecvStream};
use http::header::{self, HeaderMap};
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::peer::Slot;
use super::upload::Upload;
use crate::transport::broken::AnswerError;

/// How long the end of a stream may take when all announced bytes have come.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// The body of an answer. Dropping it before its end resets the stream.
pub(in crate::transport) struct Incoming {
    inbox: Rc<RefCell<Inbox>>,
    /// Bytes that are still to come, where the head says how many.
    left: Option<u64>,
    task: JoinHandle<()>,
}

/// What has come and is not read.
struct Inbox {
    first: Bytes,
    /// How it ended.
    more: BytesMut,
    /// Bytes that are still to come over the wire, where the head says how many.
    missing: Option<u64>,
    ended: Option<Result<(), h2::Error>>,
    reader: Option<Waker>,
    window: FlowControl,
}

impl Incoming {
    /// Begins to receive a body, while the rest of the request is on its way. The place is given back at the end.
    pub(super) fn begin(slot: Slot, headers: &HeaderMap, mut body: RecvStream, upload: Upload) -> Self {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let left = length.and_then(|length| length.parse().ok());
        let inbox = Rc::new(RefCell::new(Inbox {
            first: Bytes::new(),
            more: BytesMut::new(),
            missing: left,
            ended: body.is_end_stream().then_some(Ok(())),
            reader: None,
            window: body.flow_control().clone(),
        }));
        let task = tokio::task::spawn_local(take_in(slot, body, upload, Rc::clone(&inbox)));
        Self { inbox, left, task }
    }

    /// The next bytes.
    pub(in crate::transport) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let mut inbox = self.inbox.borrow_mut();
        let data = inbox.take();
        if !data.is_empty() {
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut inbox.ended {
            Some(ended) => match std::mem::replace(ended, Ok(())) {
                Ok(()) => Poll::Ready(None),
                Err(error) => Poll::Ready(Some(Err(AnswerError::Wire(error.into())))),
            },
            None => {
                inbox.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether the last frame was the last. Where the head names a length, its last byte is the end: that of the stream
    /// may come in a frame of its own.
    pub(in crate::transport) fn is_end_stream(&self) -> bool {
        let inbox = self.inbox.borrow();
        let ended = matches!(inbox.ended, Some(Ok(()))) || (self.left == Some(0) && inbox.ended.is_none());
        ended && inbox.first.is_empty()
    }

    /// How much is still to come.
    pub(in crate::transport) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // A stream that lacks only its end is not reset: a server that counts resets could take it for an attack.
        if self.left != Some(0) {
            self.task.abort();
        }
    }
}

impl Inbox {
    fn put(&mut self, data: Bytes) {
        self.missing = self.missing.map(|missing| missing.saturating_sub(data.len() as u64));
        if self.first.is_empty() {
            self.first = data;
        } else {
            self.more.extend_from_slice(&data);
        }
    }

    /// Everything that has come; the window opens by as much.
    fn take(&mut self) -> Bytes {
        let data = std::mem::take(&mut self.first);
        self.first = self.more.split().freeze();
        // The window of an ended stream cannot be opened.
        let _ended = self.window.release_capacity(data.len());
        data
    }

    fn end(&mut self, ended: Result<(), h2::Error>) {
        self.ended = Some(ended);
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// Takes frames in until the last one.
async fn take_in(slot: Slot, mut body: RecvStream, mut upload: Upload, inbox: Rc<RefCell<Inbox>>) {
    let mut take = |cx: &mut Context<'_>| {
        let _sent = upload.poll(cx);
        let polled = poll_in(&mut body, &inbox, cx);
        inbox.borrow_mut().wake();
        polled
    };
    poll_fn(|cx| {
        if take(cx).is_ready() || inbox.borrow().missing == Some(0) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    if inbox.borrow().ended.is_none() {
        // A stream that does not end in time is reset with the task.
        let _in_time = timeout(END_PATIENCE, poll_fn(take)).await;
    }
    drop(slot);
}

fn poll_in(body: &mut RecvStream, inbox: &RefCell<Inbox>, cx: &mut Context<'_>) -> Poll<()> {
    loop {
        if body.is_end_stream() {
            inbox.borrow_mut().end(Ok(()));
            return Poll::Ready(());
        }
        match ready!(body.poll_data(cx)) {
            Some(Ok(data)) => inbox.borrow_mut().put(data),
            Some(Err(error)) => {
                inbox.borrow_mut().end(Err(error));
                return Poll::Ready(());
            }
            None => {
                inbox.borrow_mut().end(Ok(()));
                return Poll::Ready(());
            }
        }
    }
}
