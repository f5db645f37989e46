//! A connection's bytes over any carrier; a peer that takes none is cut off. hyper has no write timeout of its own:
//! without this, a client that stops reading would hold a stream, its upstream connection and its hold for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The most that is read to find out what a peer speaks; as much as hyper reads at first.
const FIRST_READ_BYTES: usize = 8 * 1024;

/// The carrier of a connection: one type for all, so that there is one copy of hyper's code.
pub(super) enum Socket {
    /// TCP.
    Plain(StallGuard),
    /// TLS over TCP.
    Tls(Box<TlsStream<StallGuard>>),
    /// A pipe within this process.
    Inside(DuplexStream),
}

impl Socket {
    /// Reads bytes that nobody will look at, as they come over the wire.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn drop_some(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(scratch).await,
            Self::Tls(stream) => stream.get_mut().0.read(scratch).await,
            Self::Inside(stream) => stream.read(scratch).await,
        }
    }
}

/// Calls the same method of the carrier.
macro_rules! carrier {
    ($socket:expr, $carrier:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Plain($carrier) => $call,
            Socket::Tls($carrier) => $call,
            Socket::Inside($carrier) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        carrier!(self, carrier => Pin::new(carrier).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        carrier!(self, carrier => Pin::new(carrier).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        carrier!(self, carrier => Pin::new(carrier).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Inside(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carrier!(self, carrier => Pin::new(carrier).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        carrier!(self, carrier => Pin::new(carrier).poll_shutdown(cx))
    }
}

/// A TCP stream whose writes fail once the peer has taken nothing for `limit`, or has kept them waiting for longer than
/// what it took excuses. It stands below TLS, which buffers.
pub(super) struct StallGuard {
    stream: TcpStream,
    limit: Duration,
    /// Bytes that excuse a second of waiting; 0 where any number excuses all of it.
    rate: u64,
    /// What was read to find out what the peer speaks.
    first: Bytes,
    /// Set while a write is pending. Made on the first stall: most connections never have one.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when a write is pending.
    stalled: Option<Instant>,
    /// How long writes were pending before, less what the peer has taken since.
    owed: Duration,
}

impl StallGuard {
    /// Watches `stream`.
    pub(super) fn new(stream: TcpStream, limit: Duration, rate: u64) -> Self {
        let (timer, stalled, owed) = (None, None, Duration::ZERO);
        Self { stream, limit, rate, first: Bytes::new(), timer, stalled, owed }
    }

    /// Whether the peer's first bytes are those of HTTP/2; they stay unread. Waits until they tell, so the caller sets
    /// the time limit.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn begins_http2(&mut self) -> io::Result<bool> {
        let mut first = Vec::new();
        loop {
            // No memory for a silent peer.
            self.stream.readable().await?;
            first.reserve(FIRST_READ_BYTES);
            // Not `try_read`: after it, the next read would make a useless system call, though this one left nothing.
            let read = self.stream.read_buf(&mut first).await?;
            if read == 0 || first.len() >= PREFACE.len() || !PREFACE.starts_with(&first) {
                break;
            }
        }
        self.first = first.into();
        Ok(self.first.starts_with(PREFACE))
    }

    /// Passes a write's result on, keeping the time while it is pending.
    fn watch(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(ended) = &result {
            if self.stalled.is_some() || !self.owed.is_zero() {
                self.account(*ended.as_ref().unwrap_or(&0));
            }
            return result;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        let deadline = since + self.limit.saturating_sub(self.owed);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// A write has ended in which the peer took so many bytes.
    fn account(&mut self, bytes: usize) {
        let waited = self.stalled.take().map_or(Duration::ZERO, |since| since.elapsed());
        let excused = (bytes as u64).saturating_mul(1_000_000_000).checked_div(self.rate);
        self.owed = excused
            .map_or(Duration::ZERO, |nanos| (self.owed + waited).saturating_sub(Duration::from_nanos(nanos)));
    }
}

impl AsyncRead for StallGuard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let length = this.first.len().min(buf.remaining());
        buf.put_slice(&this.first[..length]);
        this.first.advance(length);
        if this.first.is_empty() {
            // An empty view would keep the memory for as long as the connection lives.
            this.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StallGuard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
