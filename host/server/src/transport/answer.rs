//! An answer as it comes back over any transport: a head, and a body that is polled.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::HeaderMap;
use http::response::Parts;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tollgate_core::mask::Mask;

use super::broken::AnswerError;
use super::frames::Frames;
use super::inside::{Inside, Polled};
use super::veil::{self, Veil};
use super::{http1, http2, websocket};

/// An answer that has begun.
pub struct Answer {
    /// Status and headers.
    pub head: Parts,
    /// What follows.
    pub body: AnswerBody,
}

impl Answer {
    /// An answer that another transport brings.
    #[must_use]
    pub fn new<B>(response: http::Response<B>) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = response.into_parts();
        let body = body.map_err(|error| AnswerError::Wire(error.into())).boxed_unsync();
        Self { head, body: Source::Other(body).into() }
    }

    /// The same with stars wherever the mask finds something: in the head now, in the body as it comes.
    pub(crate) fn covered(mut self, mask: Arc<Mask>) -> Self {
        veil::cover_head(&mask, &mut self.head.headers);
        self.body.veil = Some(Veil::new(mask));
        self
    }
}

/// The body of an answer. Dropping it before its end cancels the call at the provider.
pub struct AnswerBody {
    source: Source,
    /// How it is packed.
    inside: Inside,
    /// Turns binary messages into events, where it comes in these.
    frames: Option<Frames>,
    /// What covers it, whatever framing it came in.
    veil: Option<Veil>,
}

/// What brings it.
pub(super) enum Source {
    /// A connection for it alone.
    Http1(http1::Incoming),
    /// A connection that it shares.
    Http2(http2::Incoming),
    /// A connection of a session.
    Session(websocket::Incoming),
    /// Another transport.
    Other(UnsyncBoxBody<Bytes, AnswerError>),
    /// Nothing: it has ended.
    Closed,
}

impl From<Source> for AnswerBody {
    fn from(source: Source) -> Self {
        Self { source, inside: Inside::Plain, frames: None, veil: None }
    }
}

impl AnswerBody {
    /// Turns what comes from now on into events.
    pub(crate) fn unframe(&mut self) {
        self.frames = Some(Frames::default());
    }

    /// Takes off what the body is packed in, whatever `headers` and its first bytes say of that. Where `open`, what
    /// comes from now on is plain; or else it comes as it is, and what is in it is [`seen`](Self::seen) beside it.
    pub(crate) fn look_inside(&mut self, headers: &HeaderMap, open: bool) {
        self.inside = Inside::of(headers, open);
    }

    /// Makes the head say what the body is, as far as that is known.
    pub(crate) fn settle(&self, headers: &mut HeaderMap) {
        self.inside.settle(headers);
    }

    /// What was found inside of the last frame, where that came as it is. Each is handed out once, and a frame may be
    /// empty beside it.
    pub(crate) fn seen(&mut self) -> Option<Bytes> {
        self.inside.seen()
    }

    /// The same, which stays there.
    pub(crate) fn peek(&self) -> Option<&Bytes> {
        self.inside.peek()
    }

    /// Bytes that came where what they are packed in could not be taken off. To be asked at the end.
    pub(crate) fn unread(&mut self) -> Option<u64> {
        self.inside.unread()
    }

    /// Cancels the call at the provider, even if more of the answer would come.
    pub(crate) fn close(&mut self) {
        self.source = Source::Closed;
    }

    /// The next frame as it is inside of its packing.
    fn poll_inside(&mut self, cx: &mut Context<'_>) -> Polled {
        let Self { source, inside, veil, .. } = self;
        if matches!(inside, Inside::Plain) {
            return source.poll_frame(cx);
        }
        inside.poll(cx, &mut |cx| source.poll_frame(cx), veil.as_ref().map(Veil::mask))
    }
}

impl Source {
    /// The next frame as it comes over the wire.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        match self {
            Self::Http1(incoming) => incoming.poll_frame(cx),
            Self::Http2(incoming) => incoming.poll_frame(cx),
            Self::Session(incoming) => incoming.poll_frame(cx),
            Self::Other(body) => Pin::new(body).poll_frame(cx),
            Self::Closed => Poll::Ready(None),
        }
    }
}

impl AnswerBody {
    /// The next frame before anything is covered in it.
    fn poll_framed(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            if let Some(error) = self.frames.as_mut().and_then(|frames| frames.failure(false)) {
                return Poll::Ready(Some(Err(error)));
            }
            let polled = self.poll_inside(cx);
            let Some(frames) = &mut self.frames else { return polled };
            match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    match frames.events(&data) {
                        Ok(events) if events.is_empty() => {}
                        Ok(events) => return Poll::Ready(Some(Ok(Frame::data(events)))),
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                }
                Poll::Ready(None) => return Poll::Ready(frames.failure(true).map(Err)),
                other => return other,
            }
        }
    }

    /// Whether the last frame was the last.
    fn is_framed_end(&self) -> bool {
        if self.frames.is_some() || !self.inside.is_drained() {
            return false;
        }
        match &self.source {
            Source::Http1(incoming) => incoming.is_end_stream(),
            Source::Http2(incoming) => incoming.is_end_stream(),
            Source::Session(incoming) => incoming.is_end_stream(),
            Source::Other(body) => body.is_end_stream(),
            Source::Closed => true,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        loop {
            let polled = ready!(self.poll_framed(cx));
            let last = self.is_framed_end();
            // What passes within its packing has been searched there.
            let covered = self.inside.peek().is_some();
            let Some(veil) = self.veil.as_mut().filter(|_| !covered) else { return Poll::Ready(polled) };
            let passed = match polled {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => veil.pass(data, last),
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(veil.failure(error)))),
                None if veil.held() == 0 => return Poll::Ready(None),
                None => veil.rest(),
            };
            if !passed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(passed))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_framed_end() && self.veil.as_ref().is_none_or(|veil| veil.held() == 0)
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.veil.as_ref().map_or(0, Veil::held) as u64;
        let hint = match &self.source {
            _ if self.frames.is_some() || !self.inside.passes() => SizeHint::default(),
            Source::Http1(incoming) => incoming.size_hint(),
            Source::Http2(incoming) => incoming.size_hint(),
            Source::Session(_) => SizeHint::default(),
            Source::Other(body) => body.size_hint(),
            Source::Closed => SizeHint::with_exact(0),
        };
        match hint.exact() {
            Some(exact) => SizeHint::with_exact(exact.saturating_add(held)),
            None => hint,
        }
    }
}
