//! What a client still sends when it has its answer: a refusal comes before its body is read.
//!
//! A connection that is closed with bytes unread is reset by the kernel, and a reset takes the answer from a client
//! that has not read it yet. So the rest of a body is read and dropped while the answer is on its way, within bounds,
//! and the connection lives on. What is left after that (a body past the bounds, a head that cannot be read, a client
//! that asked whether to send and did not wait) is dropped below HTTP, behind a closed writing half.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use http::request::Parts;
use http::{Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use super::socket::Socket;
use super::terms::Guards;

/// Longest pause of a client that is still sending.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest silence of one that was told that nothing more comes.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes that are read at once when all of them are dropped.
const DROP_BYTES: usize = 16 * 1024;

/// Whether a connection has bytes to come that nobody wants.
#[derive(Clone, Default)]
pub(super) struct Unread(Rc<Cell<bool>>);

impl Unread {
    /// Nobody wants what comes next.
    pub(super) fn mark(&self) {
        self.0.set(true);
    }

    /// Whether that was said.
    pub(super) fn is_marked(&self) -> bool {
        self.0.get()
    }
}

/// Whether a client waits to be told to send its body.
pub(super) fn asks_first(head: &Parts) -> bool {
    head.version < Version::HTTP_2 && head.headers.contains_key(header::EXPECT)
}

/// Takes what is left of a body that was answered. Costs nothing where it was read to its end.
pub(super) fn take(mut body: Incoming, asks_first: bool, guards: &Guards, unread: &Unread) {
    if body.is_end_stream() {
        return;
    }
    if asks_first {
        // Reading would tell the client to send.
        unread.mark();
        return;
    }
    // A body in chunks says that it has ended only when it is asked once more.
    if let Some(None | Some(Err(_))) = body.frame().now_or_never() {
        return;
    }
    unread.mark();
    let (bytes, time, unread) = (guards.leftover_bytes_max, guards.leftover_time, unread.clone());
    tokio::task::spawn_local(async move {
        if drain(&mut body, bytes, Instant::now() + time).await {
            unread.0.set(false);
        }
    });
}

/// Reads a body and drops it. True where it has ended.
async fn drain(body: &mut Incoming, bytes_max: u64, deadline: Instant) -> bool {
    let mut left = bytes_max;
    while left > 0 {
        match timeout_at(deadline.min(Instant::now() + PAUSE_MAX), body.frame()).await {
            Ok(Some(Ok(frame))) => {
                left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64))
            }
            Ok(None) => return true,
            Ok(Some(Err(_))) | Err(_) => return false,
        }
    }
    false
}

/// Closes the writing half, and drops what still comes until the client closes too, falls silent, or has had enough
/// time.
pub(super) async fn linger(socket: &mut Socket, guards: &Guards) {
    // HTTP has closed it already, where it has come so far.
    let _closed = socket.shutdown().await;
    let deadline = Instant::now() + guards.leftover_time;
    let (mut left, mut scratch) = (guards.leftover_bytes_max, vec![0; DROP_BYTES]);
    while left > 0 {
        let until = deadline.min(Instant::now() + FAREWELL);
        match timeout_at(until, socket.drop_some(&mut scratch)).await {
            Ok(Ok(read)) if read > 0 => left = left.saturating_sub(read as u64),
            _ => return,
        }
    }
}
