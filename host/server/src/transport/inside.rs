//! A packed body, looked into as it comes: handed out plain, or as it is with what is in it beside it.
//!
//! What is handed out as it is cannot be covered, so it waits until what is in it has been searched for the secret, and
//! ends there.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http_body::Frame;
use tollgate_core::mask::Mask;

use super::broken::AnswerError;
use super::packed::{self, PackedError, Packing, Said, Step, Unpacker};

/// Pieces that are unpacked before others have their turn: a megabyte.
const TURN: u8 = 16;
/// Bytes of what may begin a secret for which a body waits.
const HELD_MIN: usize = 4;

pub(super) type Polled = Poll<Option<Result<Frame<Bytes>, AnswerError>>>;
/// Brings the next frame as it comes over the wire.
pub(super) type Wire<'w> = &'w mut dyn FnMut(&mut Context<'_>) -> Polled;

/// How a body is looked into.
pub(super) enum Inside {
    /// It is plain.
    Plain,
    /// Its first bytes will tell.
    Unknown { said: Said, open: bool },
    /// It is handed out plain.
    Open(Box<Packed>),
    /// It is handed out as it is.
    Watched(Box<Watched>),
}

/// A body that is unpacked.
pub(super) struct Packed {
    layers: Vec<Packing>,
    unpacker: Unpacker,
    /// Pieces since others had their turn.
    turn: u8,
    /// Whether all of it has come.
    ended: bool,
}

impl Packed {
    fn new(layers: Vec<Packing>, first: Bytes) -> Result<Self, PackedError> {
        let mut unpacker = Unpacker::new(&layers)?;
        unpacker.feed(first);
        Ok(Self { layers, unpacker, turn: 0, ended: false })
    }

    /// The next piece of what came; `None` where more has to come first. Waits once in a while, for others.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, PackedError>> {
        if self.turn == TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.turn += 1;
        Poll::Ready(match self.unpacker.step()? {
            Step::Piece(piece) => Ok(Some(piece)),
            Step::Wait | Step::End => Ok(None),
        })
    }

    /// Takes in what comes; `None` where all had come before.
    fn poll_wire(
        &mut self,
        cx: &mut Context<'_>,
        wire: Wire<'_>,
    ) -> Poll<Option<Result<Bytes, AnswerError>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            self.turn = 0;
            match ready!(wire(cx)) {
                // What follows a body says nothing of it.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.unpacker.feed(data.clone());
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.ended = true;
                    self.unpacker.finish();
                    return Poll::Ready(Some(Ok(Bytes::new())));
                }
            }
        }
    }
}

/// A body that is handed out as it is.
pub(super) struct Watched {
    packed: Packed,
    /// Finds the secret.
    mask: Option<Arc<Mask>>,
    /// What was found inside and not been asked for.
    seen: Bytes,
    /// The end of what was found, which may begin the secret.
    begun: Bytes,
    /// What came, and waits until what is in it has been searched.
    held: Bytes,
    /// Whether all that came has been unpacked.
    drained: bool,
    /// Whether it cannot be unpacked.
    broken: bool,
}

impl Watched {
    fn poll(&mut self, cx: &mut Context<'_>, wire: Wire<'_>) -> Polled {
        loop {
            if !self.drained && !self.broken {
                match ready!(self.packed.poll(cx)) {
                    Ok(Some(piece)) => {
                        self.search(&piece)?;
                        self.seen = piece;
                        return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
                    }
                    Ok(None) => self.drained = true,
                    Err(error @ PackedError::TooMuch(_)) => return Poll::Ready(Some(Err(error.into()))),
                    // The client may know better.
                    Err(PackedError::Broken(_)) => self.broken = true,
                }
            }
            if !self.held.is_empty() && (self.begun.len() < HELD_MIN || self.packed.ended || self.broken) {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.held)))));
            }
            match ready!(self.packed.poll_wire(cx, wire)) {
                Some(Ok(data)) => {
                    self.drained = false;
                    self.hold(data);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn hold(&mut self, data: Bytes) {
        self.held = match std::mem::take(&mut self.held) {
            held if held.is_empty() => data,
            held => [held, data].concat().into(),
        };
    }

    fn search(&mut self, piece: &Bytes) -> Result<(), AnswerError> {
        let Some(mask) = &self.mask else { return Ok(()) };
        let joined = match std::mem::take(&mut self.begun) {
            begun if begun.is_empty() => piece.clone(),
            begun => [&begun[..], piece].concat().into(),
        };
        if mask.is_in(&joined) {
            return Err(AnswerError::Repeats);
        }
        self.begun = joined.slice(joined.len() - mask.begins_in(&joined)..);
        Ok(())
    }

    fn unread(&mut self) -> Option<u64> {
        self.packed.unpacker.finish();
        let whole = !self.broken && matches!(self.packed.unpacker.step(), Ok(Step::End));
        (!whole).then(|| self.packed.unpacker.came())
    }
}

impl Inside {
    /// For a body of which a head says this.
    pub(super) fn of(headers: &HeaderMap, open: bool) -> Self {
        Self::Unknown { said: Said::by(headers), open }
    }

    /// The next frame.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, wire: Wire<'_>, mask: Option<&Arc<Mask>>) -> Polled {
        loop {
            match self {
                Self::Plain => return wire(cx),
                Self::Watched(watched) => return watched.poll(cx, wire),
                Self::Open(packed) => {
                    if let Some(piece) = ready!(packed.poll(cx))? {
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                    match ready!(packed.poll_wire(cx, wire)) {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                        None => return Poll::Ready(None),
                    }
                }
                Self::Unknown { said, open } => {
                    let frame = match ready!(wire(cx)) {
                        Some(Ok(frame)) => frame,
                        other => return Poll::Ready(other),
                    };
                    if frame.data_ref().is_none_or(Bytes::is_empty) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    let first = frame.into_data().unwrap_or_default();
                    match said.of(&first).filter(|layers| !layers.is_empty()) {
                        None => {
                            *self = Self::Plain;
                            return Poll::Ready(Some(Ok(Frame::data(first))));
                        }
                        Some(layers) => *self = Self::begun(layers, first, *open, mask)?,
                    }
                }
            }
        }
    }

    fn begun(
        layers: Vec<Packing>,
        first: Bytes,
        open: bool,
        mask: Option<&Arc<Mask>>,
    ) -> Result<Self, PackedError> {
        let packed = Packed::new(layers, first.clone())?;
        if open {
            return Ok(Self::Open(Box::new(packed)));
        }
        Ok(Self::Watched(Box::new(Watched {
            packed,
            mask: mask.cloned(),
            seen: Bytes::new(),
            begun: Bytes::new(),
            held: first,
            drained: false,
            broken: false,
        })))
    }

    /// Makes a head say what the body is, as far as that is known.
    pub(super) fn settle(&self, headers: &mut HeaderMap) {
        let named = packed::layers(headers).is_some_and(|layers| !layers.is_empty());
        match self {
            Self::Plain if named => drop(headers.remove(header::CONTENT_ENCODING)),
            Self::Unknown { open: true, .. } if named => drop_packing(headers),
            Self::Plain | Self::Unknown { .. } => {}
            Self::Open(_) => drop_packing(headers),
            Self::Watched(watched) => Said::tell(&watched.packed.layers, headers),
        }
    }

    /// What was found inside of the last frame, where that came as it is. Each is handed out once.
    pub(super) fn seen(&mut self) -> Option<Bytes> {
        if let Self::Watched(watched) = self { Some(std::mem::take(&mut watched.seen)) } else { None }
    }

    /// The same, which stays there.
    pub(super) fn peek(&self) -> Option<&Bytes> {
        if let Self::Watched(watched) = self { Some(&watched.seen) } else { None }
    }

    /// Bytes that came where what they are packed in could not be taken off. To be asked at the end.
    pub(super) fn unread(&mut self) -> Option<u64> {
        if let Self::Watched(watched) = self { watched.unread() } else { None }
    }

    /// Whether what comes out is what comes over the wire, byte for byte.
    pub(super) const fn passes(&self) -> bool {
        !matches!(self, Self::Open(_) | Self::Unknown { open: true, .. })
    }

    /// Whether nothing that came is still held.
    pub(super) fn is_drained(&self) -> bool {
        match self {
            Self::Plain | Self::Unknown { .. } => true,
            Self::Open(_) => false,
            Self::Watched(watched) => watched.held.is_empty() && (watched.drained || watched.broken),
        }
    }
}

/// What a head says of a body that is handed out in another form.
fn drop_packing(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
}
