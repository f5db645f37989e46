//! A connection's bytes on their way to hyper, past what reads them more strictly ([`super::framing`]).
//!
//! A head that came as one piece goes on as it lies; one that comes in pieces is kept until it is whole. A head that is
//! refused is replaced by one that says so, in a header that no client can send, and nothing behind it is read: so it
//! is answered in its turn and in its protocol, as any other.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::{Chunks, Fault, Framing, head_end, in_place_of, judge};
use super::socket::Socket;
use crate::proxy::Switched;

/// Says that a head was refused. No client can send it: names with an underscore are refused.
pub(super) const FAULT: &str = "x_tollgate_fault";

/// What serves a connection once it is HTTP's no longer.
#[derive(Clone, Default)]
pub(super) struct Switch(Rc<RefCell<Option<Switched>>>);

impl Switch {
    /// This does, if anything.
    pub(super) fn set(&self, switched: Option<Switched>) {
        *self.0.borrow_mut() = switched;
    }

    /// Takes it.
    pub(super) fn take(&self) -> Option<Switched> {
        self.0.borrow_mut().take()
    }

    /// Whether it is.
    pub(super) fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// A socket whose heads are looked at.
pub(super) struct Strict<'a> {
    socket: &'a mut Socket,
    at: At,
    /// A head that is not whole yet.
    kept: Vec<u8>,
    /// What is read before anything else of the socket.
    next: Bytes,
    head_bytes_max: usize,
    switch: Switch,
}

/// Where the bytes have come to.
enum At {
    /// In a head.
    Head,
    /// In a body with so many bytes to come.
    Body(u64),
    /// In a body in chunks.
    Chunks(Chunks),
    /// Behind what hyper itself will refuse.
    Anything,
    /// Behind a head that was refused.
    Refused,
    /// In a body that is none.
    Broken,
}

impl<'a> Strict<'a> {
    /// Looks at heads of at most so many bytes; hyper refuses longer ones.
    pub(super) const fn new(socket: &'a mut Socket, head_bytes_max: usize, switch: Switch) -> Self {
        Self { socket, at: At::Head, kept: Vec::new(), next: Bytes::new(), head_bytes_max, switch }
    }

    /// What has been read and not looked at, of a connection that is HTTP's no longer.
    pub(super) fn into_rest(self) -> Vec<u8> {
        [self.next.as_ref(), &self.kept].concat()
    }

    /// Looks at what has come, and says how much of it may be read. What follows is kept, or has another in its place.
    fn look(&mut self, bytes: &[u8]) -> usize {
        if self.switch.is_set() {
            return bytes.len();
        }
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.at {
                At::Head => match self.look_at_head(rest) {
                    Some(read) => at += read,
                    None => return at,
                },
                At::Body(left) => {
                    let some = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    at += some;
                    *left -= some as u64;
                    if *left == 0 {
                        self.at = At::Head;
                    }
                }
                At::Chunks(chunks) => match chunks.read(rest) {
                    Ok(read) => {
                        at += read;
                        if *chunks == Chunks::Over {
                            self.at = At::Head;
                        }
                    }
                    Err(_) => {
                        self.at = At::Broken;
                        return at;
                    }
                },
                At::Anything => return bytes.len(),
                At::Refused | At::Broken => return at,
            }
        }
        at
    }

    /// The length of a head that may be read; `None` where it is kept, or another stands in its place.
    fn look_at_head(&mut self, bytes: &[u8]) -> Option<usize> {
        match head_end(bytes, 0) {
            Ok(Some(end)) => match judge(&bytes[..end]) {
                Ok(framing) => {
                    self.at = match framing {
                        Framing::Bytes(0) => At::Head,
                        Framing::Bytes(length) => At::Body(length),
                        Framing::Chunks => At::Chunks(Chunks::new()),
                    };
                    Some(end)
                }
                Err(fault) => self.refuse(bytes, fault),
            },
            Ok(None) => {
                self.kept = bytes.to_vec();
                None
            }
            Err(fault) => self.refuse(bytes, fault),
        }
    }

    fn refuse(&mut self, head: &[u8], fault: Fault) -> Option<usize> {
        self.next = in_place_of(head, fault, FAULT).into();
        self.at = At::Refused;
        None
    }

    /// More of a head that was not whole; nothing where it ended early.
    fn go_on(&mut self, more: &[u8]) {
        let seen = self.kept.len();
        self.kept.extend_from_slice(more);
        let goes_on = head_end(&self.kept, seen) == Ok(None);
        if goes_on && !more.is_empty() && self.kept.len() <= self.head_bytes_max {
            return;
        }
        let mut kept = std::mem::take(&mut self.kept);
        if goes_on {
            // It ended early or is too long, and hyper says so.
            self.at = At::Anything;
            self.next = kept.into();
            return;
        }
        let read = self.look(&kept);
        kept.truncate(read);
        kept.extend_from_slice(&std::mem::take(&mut self.next));
        self.next = kept.into();
    }

    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.next.len().min(buf.remaining());
        buf.put_slice(&self.next.split_to(length));
    }
}

impl AsyncRead for Strict<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.next.is_empty() {
                this.give(buf);
                return Poll::Ready(Ok(()));
            }
            match this.at {
                // hyper closes when it has answered.
                At::Refused => return Poll::Pending,
                At::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                At::Head | At::Body(_) | At::Chunks(_) | At::Anything => {}
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut *this.socket).poll_read(cx, buf))?;
            let come = &buf.filled()[before..];
            if this.kept.is_empty() {
                if come.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let read = this.look(come);
                buf.set_filled(before + read);
                if read > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.go_on(come);
                buf.set_filled(before);
            }
        }
    }
}

impl AsyncWrite for Strict<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().socket).poll_shutdown(cx)
    }
}
