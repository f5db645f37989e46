//! A translated stream, a piece of work at a time. An upstream sends bytes as it likes: half an event, five thousand
//! events in one write, a picture of megabytes in one event. A component gets whole events, at most [`RUN_BYTES`] of
//! them in a call and none of their large values; between two calls that were work, others of the worker have their
//! turn, and one event that is large all the same is translated beside the worker.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tollgate_core::id::RequestId;
use tollgate_core::sse::{Framer, Taken};

use super::aside::{LARGE_BYTES, aside};
use super::error::{ProxyError, UPSTREAM_BROKE};
use super::exchange::{Translation, Words};
use super::taps::EVENT_BYTES_MAX;
use crate::state::memory::{Share, Spent};

/// Most bytes of events that one call translates; a single event may have more.
const RUN_BYTES: usize = 16 << 10;

/// Most bytes that are kept for one stream: some of its values come again at its end.
const KEPT_BYTES_MAX: usize = 128 << 20;

/// A stream on its way through a translation.
pub(super) struct Pieces {
    /// Away while it works beside the worker.
    translation: Option<Translation>,
    away: Option<Pin<Box<dyn Future<Output = Returned>>>>,
    framer: Framer,
    /// Whole events that wait for their turn.
    runs: VecDeque<Bytes>,
    /// Bytes translated since others had their turn.
    worked: usize,
    ended: bool,
    /// Room for what is held.
    held: Option<Share>,
}

/// A translation that comes back, with what it told.
type Returned = Result<(Translation, Result<Words, ProxyError>), ProxyError>;

impl Pieces {
    /// A stream that has not begun, with the room for what its translation holds already.
    pub(super) const fn new(translation: Translation, held: Option<Share>) -> Self {
        Self {
            translation: Some(translation),
            away: None,
            framer: Framer::new(EVENT_BYTES_MAX),
            runs: VecDeque::new(),
            worked: 0,
            ended: false,
            held,
        }
    }

    /// Takes the next bytes of the upstream.
    ///
    /// # Errors
    /// An event is too long, or there is no room for it.
    pub(super) fn push(&mut self, chunk: &Bytes) -> Result<(), ProxyError> {
        let (runs, mut run) = (&mut self.runs, 0..0);
        let read = self.framer.push_taking(chunk, |taken| match taken {
            Taken::Joined(event) => runs.push_back(std::mem::take(event).into()),
            Taken::Whole(event) => {
                if event.end - run.start > RUN_BYTES && !run.is_empty() {
                    runs.push_back(chunk.slice(run.clone()));
                    run.start = event.start;
                }
                run = if run.is_empty() { event } else { run.start..event.end };
            }
        });
        if !run.is_empty() {
            self.runs.push_back(chunk.slice(run));
        }
        read.map_err(|error| {
            tracing::debug!(%error, "the upstream's stream cannot be read");
            UPSTREAM_BROKE
        })?;
        self.hold()
    }

    /// Sees that there is room for what is held.
    fn hold(&mut self) -> Result<(), ProxyError> {
        let unfinished = self.framer.finish().map_or(0, <[u8]>::len);
        let kept = self.translation.as_ref().map_or(0, Translation::held_bytes);
        match &mut self.held {
            _ if kept > KEPT_BYTES_MAX => Err(ProxyError::Full),
            Some(held) => held.grow_to(unfinished + kept).map_err(|Spent| ProxyError::Full),
            None => Ok(()),
        }
    }

    /// The upstream has sent its last byte.
    pub(super) fn end(&mut self) {
        self.ended = true;
        let unfinished = self.unfinished();
        self.runs.extend(unfinished);
    }

    /// Everything has been translated that the upstream sent.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.runs.is_empty() && self.away.is_none()
    }

    /// What was not translated, where nobody wants that any more.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = Bytes> + '_ {
        let unfinished = self.unfinished();
        self.runs.drain(..).chain(unfinished)
    }

    /// The bytes of an event that did not end.
    fn unfinished(&mut self) -> Option<Bytes> {
        let unfinished = self.framer.finish().map(Bytes::copy_from_slice);
        self.framer = Framer::new(EVENT_BYTES_MAX);
        unfinished
    }

    /// The next events, once it is their turn; `None` where there are none.
    pub(super) fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.worked >= RUN_BYTES {
            // Whoever waits on this worker goes first.
            self.worked = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let run = self.runs.pop_front();
        self.worked += run.as_ref().map_or(0, Bytes::len);
        Poll::Ready(run)
    }

    /// Whether a translation is under way beside the worker.
    pub(super) const fn is_away(&self) -> bool {
        self.away.is_some()
    }

    /// Translates events, here or beside the worker: then [`poll_away`](Self::poll_away) tells, and this `None`.
    pub(super) fn translate(&mut self, events: &Bytes, id: RequestId) -> Option<Result<Words, ProxyError>> {
        let Some(mut translation) = self.translation.take() else { return Some(Err(ProxyError::Internal)) };
        let left = translation.without_values(events);
        if left.len() < LARGE_BYTES {
            let told = translation.part(&left);
            self.translation = Some(translation);
            return Some(told.and_then(|told| self.hold().map(|()| told)));
        }
        self.away = Some(Box::pin(aside(id, move || {
            let told = translation.part(&left);
            (translation, told)
        })));
        None
    }

    /// What was told beside the worker.
    pub(super) fn poll_away(&mut self, cx: &mut Context<'_>) -> Poll<Result<Words, ProxyError>> {
        let Some(away) = &mut self.away else { return Poll::Ready(Err(ProxyError::Internal)) };
        let returned = ready!(away.as_mut().poll(cx));
        self.away = None;
        let (translation, told) = returned?;
        self.translation = Some(translation);
        Poll::Ready(told.and_then(|told| self.hold().map(|()| told)))
    }

    /// The last words, where the translation is still able to say any.
    pub(super) fn last_words(&mut self) -> Option<Result<Words, ProxyError>> {
        self.translation.as_mut().filter(|translation| translation.is_sound()).map(Translation::end)
    }
}
