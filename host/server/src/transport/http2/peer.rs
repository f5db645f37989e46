//! A connection that speaks HTTP/2, the task that drives it, and places on it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, timeout_at};

use super::STREAMS_MAX;
use crate::transport::connect::{Connector, agrees_on_http2, failed};
use crate::transport::room::Place;
use crate::transport::{Origin, SendError};

/// Bytes that may wait for the reader of one stream.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes that may wait for all readers together, so that no reader takes another's window.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;
/// How much h2 may hold in small frames between two polls, by its own count: 256 less the frame's bytes for each. This
/// is what one read of the socket can bring in frames of one byte.
const SMALL_FRAMES: usize = 64 * 1024 * 1024;
/// Streams of which late frames are still recognised after they were reset, and for how long.
const RESETS_MAX: usize = 512;
const RESET_AGE_MAX: Duration = Duration::from_secs(10);
/// Most bytes of a head.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// How a connection is checked for life.
const LIVENESS: Liveness = Liveness { silence: Duration::from_secs(20), patience: Duration::from_secs(20) };

/// When a silent connection counts as dead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Liveness {
    /// How long a connection may be silent before a ping is sent …
    pub(super) silence: Duration,
    /// … and how long any byte may take after that.
    pub(super) patience: Duration,
}

/// A connection.
pub(super) struct Peer {
    sender: SendRequest<Bytes>,
    /// The requests that it carries.
    carried: Cell<usize>,
    idle_since: Cell<Instant>,
    _place: Option<Place>,
}

impl Peer {
    /// Whether it takes requests: it has not ended, and the other side does not end it.
    pub(super) fn is_open(&self, cx: &mut Context<'_>) -> bool {
        !matches!(self.sender.clone().poll_ready(cx), Poll::Ready(Err(_)))
    }

    /// How many requests it takes at a time.
    pub(super) fn room(&self) -> usize {
        self.sender.current_max_send_streams().min(usize::from(STREAMS_MAX))
    }

    /// How long it has carried nothing; `None` while it carries something.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        (self.carried.get() == 0).then(|| self.idle_since.get().elapsed())
    }

    /// A handle that sends one request. It must be dropped before the request ends: h2 would keep the stream open for
    /// it.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }
}

/// A place on a connection. Dropping it gives the place back.
pub(in crate::transport) struct Slot(Rc<Peer>);

impl Slot {
    /// A place, if one is free.
    pub(super) fn take(peer: &Rc<Peer>) -> Option<Self> {
        let carried = peer.carried.get();
        (carried < peer.room()).then(|| {
            peer.carried.set(carried + 1);
            Self(Rc::clone(peer))
        })
    }

    /// Where it is.
    pub(super) const fn peer(&self) -> &Rc<Peer> {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.carried.set(self.0.carried.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

/// Connects, and waits until the other side has said how many requests it accepts; `None` where it does not speak
/// HTTP/2.
///
/// # Errors
/// [`SendError::Connect`] and [`SendError::ConnectTimeout`].
pub(super) async fn connect(connector: &Connector, origin: &Origin) -> Result<Option<Rc<Peer>>, SendError> {
    let until = Instant::now() + connector.timeout();
    let (io, place) = connector.connect(origin).await?;
    if !agrees_on_http2(&io) {
        return Ok(None);
    }
    match timeout_at(until, begin(TokioIo::new(io), LIVENESS, Some(place))).await {
        Ok(begun) => begun.map(Some).map_err(|error| failed(origin, NotSpoken(error))),
        Err(_) => Err(SendError::ConnectTimeout { authority: origin.authority.clone() }),
    }
}

/// A peer that was to speak HTTP/2 does not, or not as it should.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP/2 is spoken there, which `http2 = true` of the provider asks for")]
struct NotSpoken(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Begins to speak HTTP/2 on a connection.
pub(super) async fn begin<T: AsyncRead + AsyncWrite + Unpin + 'static>(
    io: T,
    liveness: Liveness,
    place: Option<Place>,
) -> Result<Rc<Peer>, Box<dyn std::error::Error + Send + Sync>> {
    let heard = Rc::new(Cell::new(Instant::now()));
    let io = Heard { io, at: Rc::clone(&heard) };
    let (sender, mut connection) = builder().handshake(io).await?;
    let (settled, agreed) = oneshot::channel();
    let pulse = connection.ping_pong().map(|ping| Pulse::new(ping, heard, liveness));
    tokio::task::spawn_local(drive(connection, pulse, settled));
    agreed.await.map_err(|_| "the connection ended before it was agreed on")?;
    let (carried, idle_since) = (Cell::new(0), Cell::new(Instant::now()));
    Ok(Rc::new(Peer { sender, carried, idle_since, _place: place }))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(SMALL_FRAMES)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_concurrent_reset_streams(RESETS_MAX)
        .reset_stream_duration(RESET_AGE_MAX)
        // None until the other side has said how many.
        .initial_max_send_streams(0)
        .enable_push(false);
    builder
}

/// Drives a connection to its end, which comes when no sender is left. Sends `settled` when it can be used.
async fn drive<T: AsyncRead + AsyncWrite + Unpin>(
    mut connection: Connection<Heard<T>, Bytes>,
    mut pulse: Option<Pulse>,
    settled: oneshot::Sender<()>,
) {
    let mut settled = Some(settled);
    let ended = std::future::poll_fn(|cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        if connection.max_concurrent_send_streams() > 0
            && let Some(settled) = settled.take()
        {
            // The receiver may have stopped waiting.
            let _gone = settled.send(());
        }
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(None),
            Poll::Ready(Err(error)) => Poll::Ready(Some(error.to_string())),
            Poll::Pending => match &mut pulse {
                Some(pulse) => pulse.poll(cx).map(|()| Some("nothing was heard of it".to_owned())),
                None => Poll::Pending,
            },
        }
    });
    if let Some(why) = ended.await {
        tracing::debug!(why, "upstream connection ended");
    }
}

/// Sends a ping when the connection is silent. Any byte counts as an answer: on a busy connection the pong may have to
/// queue.
struct Pulse {
    ping: PingPong,
    heard: Rc<Cell<Instant>>,
    liveness: Liveness,
    timer: Pin<Box<Sleep>>,
    asked: bool,
}

impl Pulse {
    fn new(ping: PingPong, heard: Rc<Cell<Instant>>, liveness: Liveness) -> Self {
        Self { ping, heard, liveness, timer: Box::pin(tokio::time::sleep(liveness.silence)), asked: false }
    }

    /// Ready when the other side is gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.asked && self.ping.poll_pong(cx).is_ready() {
            self.asked = false;
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let (heard, now) = (self.heard.get(), Instant::now());
            let due = heard + self.liveness.silence;
            let gone = due + self.liveness.patience;
            if now >= gone {
                return Poll::Ready(());
            }
            let asks = now >= due;
            if asks && !self.asked {
                // Wakes this task once more, to write it.
                self.asked = self.ping.send_ping(Ping::opaque()).is_ok();
            }
            self.timer.as_mut().reset(if asks { gone } else { due });
        }
    }
}

/// Notes when the last byte came.
struct Heard<T> {
    io: T,
    at: Rc<Cell<Instant>>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if polled.is_ready() {
            self.at.set(Instant::now());
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
