//! Step 8: the answer's bytes to the client, each when it comes, with the meter looking on. Where the client speaks another
//! protocol than the upstream they are translated on the way, after the meter and before the filter.
//!
//! The relay is the response body that hyper polls: there is no task and no channel between the two connections. It ends in
//! one of three ways, and each hands the [`Ticket`] on exactly once: the upstream ended, the upstream broke, or hyper
//! dropped it because the client left.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tollgate_core::outcome::Outcome;
use tollgate_runtime::{CallError, Exchange};

use super::charge::Ticket;
use super::error::ProxyError;
use super::filter::TextHash;
use super::meter::any_failure;
use super::window::{Passed, Window};
use crate::bodies::Copying;
use crate::config::Limits;
use crate::transport::http1::Answer;

/// What a client's stream gets in a long silence. A comment line without a blank line: some clients choke on an event that
/// is nothing but a comment.
const KEEP_ALIVE: &[u8] = b": ping\n";

/// The body of an answer.
pub(crate) enum Outgoing {
    /// A body that is all there.
    Full(Option<Bytes>),
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
            Self::Relay(relay) => relay.poll(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Self::Copied(copied) => copied.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Relay(relay) => relay.state == State::Ended,
            Self::Copied(copied) => copied.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Relay(_) => SizeHint::default(),
            Self::Copied(copied) => copied.body.size_hint(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes come and go.
    Flowing,
    /// The upstream has ended; what the window holds goes out next.
    Draining,
    /// The upstream broke off, and the client is to see that; but first what it has of the answer.
    Breaking,
    /// Nothing more will come.
    Ended,
}

/// An answer under way.
pub(crate) struct Relay {
    /// Goes back to the pool when the answer has ended well; dropped with the relay otherwise, which closes it.
    upstream: Answer,
    first: Option<Bytes>,
    ticket: Ticket,
    /// Translates a stream; kept after a fault, to tell that what the client has are whole events.
    exchange: Option<Exchange>,
    window: Option<Window>,
    events: bool,
    silence: Silence,
    state: State,
    /// Whether someone else says how it ended, because the client has yet to see a byte.
    deferred: bool,
}

impl Relay {
    /// Relays `first` and then `upstream`. `events` says whether the client reads a stream of events, in whose words an
    /// error can still be told; past `deadline` the answer is cut.
    pub(crate) fn new(
        upstream: Answer,
        first: Option<Bytes>,
        ticket: Ticket,
        events: bool,
        limits: &Limits,
        deadline: Instant,
    ) -> Self {
        let keep_alive = Duration::from_millis(limits.stream_keep_alive_ms);
        let keep_alive = Some(keep_alive).filter(|every| events && !every.is_zero());
        let silence = Silence::new(limits.upstream_idle_timeout_ms.duration(), keep_alive, deadline);
        Self {
            upstream,
            first,
            ticket,
            exchange: None,
            window: None,
            events,
            silence,
            state: State::Flowing,
            deferred: false,
        }
    }

    /// Puts a translation of the stream into its way, where there is one.
    pub(crate) fn translate(&mut self, exchange: Option<Exchange>) {
        self.exchange = exchange;
    }

    /// Puts the filter's window into its way, behind the translation, where there is one.
    pub(crate) fn screen(&mut self, window: Option<Window>) {
        self.window = window;
    }

    /// Leaves it to [`Relay::settle`] or [`Relay::refuse`] to say how the answer ended.
    pub(crate) fn settle_later(&mut self) {
        self.deferred = true;
    }

    /// The collected answer goes to the client.
    pub(crate) fn settle(&mut self, outcome: Outcome) {
        self.ticket.finish(outcome);
    }

    /// The filter refused the collected answer.
    pub(crate) fn refuse(&mut self, hash: Option<TextHash>) {
        self.ticket.filtered(hash);
        self.ticket.refused(&ProxyError::Filtered);
    }

    /// The collected answer is of no use to the client, who gets this error instead.
    pub(crate) fn spoil(&mut self, error: &ProxyError) {
        self.ticket.note(error);
        self.ticket.refused(error);
    }

    fn ended_well(&mut self) {
        if !self.deferred {
            self.ticket.finish(Outcome::Ok);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            match self.state {
                State::Flowing => {}
                State::Breaking => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(Cut::Upstream)));
                }
                State::Draining | State::Ended => return Poll::Ready(self.drain()),
            }
            let piece = match self.first.take() {
                Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
                None => Pin::new(&mut self.upstream).poll_frame(cx),
            };
            match piece {
                Poll::Pending => match self.silence.poll(cx, self.between_events()) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Told::KeepAlive) => {
                        return Poll::Ready(Some(Ok(Bytes::from_static(KEEP_ALIVE))));
                    }
                    Poll::Ready(Told::TooLong) => return self.broken(cx, &ProxyError::UpstreamTimeout),
                },
                Poll::Ready(None) => {
                    if let Err(error) = self.end() {
                        return self.broken(cx, &error);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "the upstream broke off");
                    return self.broken(cx, &UPSTREAM_BROKE);
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if self.silence.heard() {
                        return self.broken(cx, &ProxyError::UpstreamTimeout);
                    }
                    let passed = match self.pass(data) {
                        Ok(passed) => passed,
                        Err(error) => return self.broken(cx, &error),
                    };
                    // With a known length hyper stops polling at the last byte: the end is here, not at a next poll.
                    if self.state == State::Flowing
                        && self.upstream.is_end_stream()
                        && let Err(error) = self.end()
                    {
                        return self.broken(cx, &error);
                    }
                    if !passed.is_empty() {
                        self.silence.spoke();
                        return Poll::Ready(Some(Ok(passed)));
                    }
                }
            }
        }
    }

    /// What of a piece may go on now.
    fn pass(&mut self, data: Bytes) -> Result<Bytes, ProxyError> {
        let data = self.ticket.meter_pass(data);
        let data = self.translated(data, Exchange::part)?;
        Ok(match &mut self.window {
            None => data,
            Some(window) => match window.push(&data) {
                Passed::On(bytes) => bytes,
                Passed::Blocked { before, hash } => self.blocked(&before, hash),
            },
        })
    }

    /// `data` in the client's protocol: itself, but where it is translated.
    fn translated(
        &mut self,
        data: Bytes,
        work: impl FnOnce(&mut Exchange, &[u8]) -> Result<Vec<u8>, CallError>,
    ) -> Result<Bytes, ProxyError> {
        let Some(exchange) = &mut self.exchange else { return Ok(data) };
        // What went wrong with the component has been logged where it happened.
        let told = work(exchange, &data).map_err(|_| ProxyError::Internal)?;
        if any_failure(&told) {
            self.ticket.told_failure();
        }
        Ok(told.into())
    }

    /// Whether the last byte that the client got ended an event: a translation says whole events only.
    fn between_events(&self) -> bool {
        self.exchange.is_some() || self.ticket.between_events()
    }

    /// The filter refused what comes next: the client gets what was clean, then an error.
    fn blocked(&mut self, before: &Bytes, hash: Option<TextHash>) -> Bytes {
        self.upstream.close();
        self.window = None;
        self.state = State::Ended;
        self.ticket.filtered(hash);
        let event = self.ticket.error_event(&ProxyError::Filtered);
        self.ticket.finish(Outcome::Partial);
        [before.as_ref(), &event].concat().into()
    }

    /// The upstream has ended. What is still held back follows in [`Relay::drain`].
    fn end(&mut self) -> Result<(), ProxyError> {
        let rest = self.ticket.meter_end();
        let rest = self.translated(rest, |exchange, _| exchange.end())?;
        self.state = if rest.is_empty() && self.window.is_none() { State::Ended } else { State::Draining };
        self.first = Some(rest);
        if self.state == State::Ended {
            self.ended_well();
        }
        Ok(())
    }

    /// What was held back until the end, once.
    fn drain(&mut self) -> Option<Result<Bytes, Cut>> {
        if self.state == State::Ended {
            return None;
        }
        self.state = State::Ended;
        let rest = self.first.take().unwrap_or_default();
        let passed = match self.window.take() {
            None => rest,
            Some(mut window) => match window.finish(&rest) {
                Passed::On(bytes) => bytes,
                Passed::Blocked { before, hash } => return Some(Ok(self.blocked(&before, hash))),
            },
        };
        self.ended_well();
        Some(passed).filter(|bytes| !bytes.is_empty()).map(Ok)
    }

    /// The upstream failed after the first byte: an event tells, or the connection is cut.
    fn broken(&mut self, cx: &Context<'_>, error: &ProxyError) -> Poll<Option<Result<Bytes, Cut>>> {
        self.state = State::Ended;
        self.upstream.close();
        let told = if self.deferred { None } else { self.told(error) };
        self.ticket.finish(if self.deferred { Outcome::UpstreamError } else { Outcome::Partial });
        if told.is_none() {
            // An error here would make hyper drop what it has not flushed yet.
            self.state = State::Breaking;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(told.map(Ok))
    }

    /// The error as the client's stream can tell it: in the words of the translation, which knows how far it has come, or as
    /// an event of its own. A half event before it is ended first, or the two would be read as one.
    fn told(&mut self, error: &ProxyError) -> Option<Bytes> {
        self.ticket.note(error);
        let ended = self.exchange.as_mut().filter(|exchange| exchange.is_sound()).map(Exchange::end);
        if let Some(Ok(words)) = ended
            && !words.is_empty()
        {
            return Some(words.into());
        }
        if !self.events {
            return None;
        }
        let event = self.ticket.error_event(error);
        Some(if self.between_events() { event } else { [b"\n\n", event.as_ref()].concat().into() })
    }
}

/// The upstream failed in the middle of its answer.
pub(crate) const UPSTREAM_BROKE: ProxyError = ProxyError::Upstream {
    class: tollgate_core::failure::FailureClass::Transient,
    retry_after_ms: None,
    own: false,
};

enum Told {
    KeepAlive,
    TooLong,
}

/// Counts the time without a byte, and all of it. The timer is armed once and looks back when it fires, so that a byte costs
/// no timer.
struct Silence {
    /// The end of the request's time.
    deadline: Instant,
    limit: Duration,
    keep_alive: Option<Duration>,
    /// The last byte of the upstream.
    since: Instant,
    /// The last byte to the client.
    told: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn new(limit: Duration, keep_alive: Option<Duration>, deadline: Instant) -> Self {
        let now = Instant::now();
        Self { deadline, limit, keep_alive, since: now, told: now, timer: None }
    }

    /// The upstream has sent something. Says whether the request's time is over all the same.
    fn heard(&mut self) -> bool {
        self.since = Instant::now();
        self.since >= self.deadline
    }

    /// The client gets something of it.
    fn spoke(&mut self) {
        self.told = self.since;
    }

    fn poll(&mut self, cx: &mut Context<'_>, between_events: bool) -> Poll<Told> {
        loop {
            let next = self.next();
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now >= self.deadline.min(self.since + self.limit) {
                return Poll::Ready(Told::TooLong);
            }
            if self.keep_alive.is_some_and(|every| now >= self.told + every) {
                self.told = now;
                let next = self.next();
                self.rearm(next);
                if between_events {
                    return Poll::Ready(Told::KeepAlive);
                }
                continue;
            }
            self.rearm(next);
        }
    }

    fn next(&self) -> Instant {
        let limit = self.deadline.min(self.since + self.limit);
        self.keep_alive.map_or(limit, |every| limit.min(self.told + every))
    }

    fn rearm(&mut self, at: Instant) {
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(at);
        }
    }
}
