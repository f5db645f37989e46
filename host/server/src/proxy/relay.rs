//! The answer's bytes on their way to the client, each when it comes, with the meter looking on. Where the client
//! speaks another protocol than the upstream they are translated on the way, after the meter and before the filter.
//!
//! The relay is the response body that hyper polls: there is no task and no channel between the two connections. It
//! ends in one of four ways, and each ends the [`Ticket`]: the upstream ended, the upstream broke, the balance carried
//! no more of it, or hyper dropped the relay because the client left.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};
use tollgate_core::outcome::Outcome;

use super::flow::{Flow, Piece};
use super::ticket::{self, Ending};
use crate::bodies::Copying;
use crate::transport::body::Chained;

/// Most bytes of an answer that are read for nobody.
const UNREAD_BYTES_MAX: usize = 32 << 20;

/// The body of an answer.
pub(crate) enum Outgoing {
    /// A body that is all there.
    Full(Option<Bytes>),
    /// The same in pieces.
    Chained(Chained),
    /// One that is relayed.
    Relay(Box<Relay>),
    /// One of the two, of which a copy is kept.
    Copied(Box<Copied>),
}

/// A body, and the copy that is made of it. Both end together, however that is.
pub(crate) struct Copied {
    pub(crate) body: Outgoing,
    pub(crate) copying: Box<Copying>,
}

impl Copied {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let piece = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &piece
            && let Some(data) = frame.data_ref()
        {
            self.copying.answered(data);
        }
        piece
    }
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self::Full(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

/// Why a relayed body ends early. hyper closes the connection on it, so that a client cannot take half for whole.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum Cut {
    /// The upstream's fault.
    #[error("the upstream broke off")]
    Upstream,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Chained(chained) => Poll::Ready(chained.pop().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relay(relay) => relay.poll(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Self::Copied(copied) => copied.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Chained(chained) => chained.is_end_stream(),
            Self::Relay(relay) => relay.has_ended(),
            Self::Copied(copied) => copied.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Chained(chained) => chained.size_hint(),
            Self::Relay(_) => SizeHint::default(),
            Self::Copied(copied) => copied.body.size_hint(),
        }
    }
}

/// An answer on its way to the client, until it has ended.
pub(crate) struct Relay {
    /// `None` once the answer has ended, however it did.
    flow: Option<Flow>,
    /// Whether the client is still to see that the upstream broke off.
    breaking: bool,
}

impl From<Relay> for Outgoing {
    fn from(relay: Relay) -> Self {
        Self::Relay(Box::new(relay))
    }
}

/// Ends an answer whose client has left.
fn leave(mut flow: Flow) {
    flow.catch_up();
    flow.left();
    if flow.is_complete() {
        return;
    }
    let Some(hold) = flow.hold() else { return };
    let patience =
        if flow.ended() { flow.patience().for_usage() } else { flow.patience().with(hold.cover.shown) };
    if !patience.is_zero() {
        let endings = flow.endings();
        ticket::hand_over(&endings, Ending::Draining(Box::pin(drain(flow, patience))));
    }
}

/// Reads on for so long. Dropped in the end, the answer is one whose client left.
async fn drain(mut flow: Flow, patience: Duration) {
    let deadline = Instant::now() + patience;
    let mut left = UNREAD_BYTES_MAX;
    while let Ok(Some(bytes)) = timeout_at(deadline, poll_fn(|cx| flow.poll_rest(cx))).await {
        left = left.saturating_sub(bytes);
        if left == 0 {
            break;
        }
    }
}

/// The client has left.
impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(flow) = self.flow.take() {
            leave(flow);
        }
    }
}

impl Relay {
    /// Relays a flow. One without a byte ends here: hyper does not ask for a body of which it knows that it is empty.
    pub(crate) fn new(mut flow: Flow) -> Self {
        let is_void = flow.end_void();
        let mut relay = Self { flow: Some(flow), breaking: false };
        if is_void {
            relay.end(Outcome::Ok);
        }
        relay
    }

    const fn has_ended(&self) -> bool {
        self.flow.is_none() && !self.breaking
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let Some(flow) = &mut self.flow else {
            return Poll::Ready(std::mem::take(&mut self.breaking).then_some(Err(Cut::Upstream)));
        };
        let mut behalf = flow.behalf();
        let last = match ready!(behalf.work(|| flow.poll(cx))) {
            Piece::Bytes(bytes) => return Poll::Ready(Some(Ok(bytes))),
            Piece::Last(bytes) => {
                self.end(Outcome::Ok);
                bytes
            }
            Piece::Spent(last) => {
                self.end(Outcome::Partial);
                last
            }
            Piece::Blocked { before, hash } => {
                let last = flow.blocked(&before, hash);
                self.end(Outcome::Partial);
                last
            }
            Piece::Broken(error) => {
                let told = flow.broken(&error);
                self.end(Outcome::Partial);
                let Some(told) = told else {
                    // An error here would make hyper drop what it has not flushed yet.
                    self.breaking = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                };
                told
            }
        };
        Poll::Ready(Some(last).filter(|bytes| !bytes.is_empty()).map(Ok))
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(flow) = self.flow.take() {
            flow.finish(outcome);
        }
    }
}
