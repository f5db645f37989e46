//! The body of a request, on its way.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http_body::Body;

use crate::transport::body::Chained;

/// The body of a request on its way.
pub(super) struct Upload {
    /// `None` when there is no more to send, or the other side takes no more.
    pub(super) stream: Option<SendStream<Bytes>>,
    pub(super) body: Chained,
    /// What is left of the piece that is being sent.
    pub(super) piece: Bytes,
}

impl Upload {
    /// Sends what the other side has room for. Ready when there is no more to do; a failure shows in the answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(stream) = &mut self.stream {
            if self.piece.is_empty() {
                self.piece = self.body.pop().unwrap_or_default();
            }
            stream.reserve_capacity(self.piece.len());
            while stream.capacity() == 0 {
                match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => {
                        self.stream = None;
                        return Poll::Ready(());
                    }
                }
            }
            let part = self.piece.split_to(stream.capacity().min(self.piece.len()));
            let last = self.piece.is_empty() && self.body.is_end_stream();
            if stream.send_data(part, last).is_err() || last {
                self.stream = None;
            }
        }
        Poll::Ready(())
    }
}
