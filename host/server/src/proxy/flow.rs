//! What an upstream sends, as it passes the meter, the translation and the filter, and the silence between two pieces
//! of it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::Protocol;
use tollgate_runtime::Behalf;

use super::error::{ProxyError, UPSTREAM_BROKE};
use super::exchange::{Translation, Words};
use super::filter::TextHash;
use super::grow::Coverage;
use super::leave::Patience;
use super::numbers::Numbers;
use super::pieces::Pieces;
use super::request::Hold;
use super::states::Answered;
use super::ticket::{Endings, Ticket};
use super::window::{Passed, Window};
use crate::config::Limits;
use crate::state::memory::{Share, Spent};
use crate::transport::{AnswerBody, AnswerError};

/// What a client's stream gets in a long silence, in its protocol's own words. OpenAI's clients get a comment line
/// without a blank line: some choke on an event that is nothing but a comment. Google's get nothing, because its SDK
/// for Go takes each line that is no data for a broken stream.
const fn keep_alive(protocol: Protocol) -> Option<&'static [u8]> {
    match protocol {
        Protocol::AnthropicMessages => Some(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
        Protocol::OpenaiChat | Protocol::OpenaiResponses => Some(b": ping\n"),
        Protocol::Gemini => None,
    }
}

/// How long an upstream has to close its connection after its last word.
const LINGER: Duration = Duration::from_secs(2);
/// An answer whose length nobody stated is moved as it grows up to here, and not beyond: one that moves is there twice.
const GROWN_BYTES: usize = 1 << 20;
/// Room that it gets then. What nothing comes for takes no memory.
const ROOM_BYTES: usize = 256 << 20;

/// What an upstream sends, as it passes the meter, the translation and the filter.
pub(crate) struct Flow {
    /// Goes back to the pool when the answer has ended well; dropped before that, it is closed.
    upstream: AnswerBody,
    first: Option<Bytes>,
    ticket: Ticket<Answered>,
    /// Translates a stream; kept after a fault, to tell that what the client has are whole events.
    pieces: Option<Pieces>,
    window: Option<Window>,
    /// Whether the client reads a stream of events.
    events: bool,
    silence: Silence,
    /// What the client gets in a long silence.
    keep_alive: &'static [u8],
    coverage: Coverage,
    patience: Patience,
    /// The first bytes that the client got, where the end of a stream needs them.
    begun: Bytes,
    /// What follows of what the client has in part.
    words: VecDeque<Bytes>,
    /// The numbers of its events, where they have some.
    numbers: Numbers,
    /// What was held back until the upstream's end; there once it has ended.
    rest: Option<Bytes>,
    /// Bytes of text that passed the translation.
    delivered: u64,
    /// Whether it is seen as a whole before anyone gets it, the meter too.
    collects: bool,
}

/// What comes of a flow.
pub(super) enum Piece {
    /// Bytes for the client, and more to come.
    Bytes(Bytes),
    /// The last ones, or none: the upstream has ended.
    Last(Bytes),
    /// The filter refused what comes next: clean events before it, and the hash of what decided.
    Blocked { before: Bytes, hash: Option<TextHash> },
    /// The upstream broke off, or took too long.
    Broken(ProxyError),
    /// The balance carries no more: the last bytes, with words that end the answer in order.
    Spent(Bytes),
}

impl Flow {
    /// The request that it answers.
    pub(crate) fn behalf(&self) -> Behalf {
        self.ticket.request().behalf()
    }

    /// `first` and then what `upstream` sends: a stream of events or not. `events` says whether the client reads one,
    /// in whose words an error can still be told.
    pub(crate) fn new(
        upstream: AnswerBody,
        first: Option<Bytes>,
        ticket: Ticket<Answered>,
        (streams, events): (bool, bool),
        limits: &Limits,
    ) -> Self {
        let words = keep_alive(ticket.request().call.protocol).filter(|_| events);
        let every = Duration::from_millis(limits.stream_keep_alive_ms);
        let every = words.map(|_| every).filter(|every| !every.is_zero());
        let deadline = ticket.request().started + limits.request_timeout_ms.duration();
        let mut silence =
            Silence::new(limits.upstream_idle_timeout_ms.duration(), every, deadline, ticket.came());
        silence.heard_now = first.is_some();
        let followed = (streams || events) && ticket.request().call.streaming;
        let coverage = Coverage::of(ticket.hold(), followed);
        let patience = Patience::new(limits, &ticket.lease().upstream.name);
        Self {
            upstream,
            first,
            ticket,
            pieces: None,
            window: None,
            events,
            silence,
            keep_alive: words.unwrap_or_default(),
            coverage,
            patience,
            begun: Bytes::new(),
            words: VecDeque::new(),
            numbers: Numbers::default(),
            rest: None,
            delivered: 0,
            collects: false,
        }
    }

    /// Puts a translation of the stream into its way, where there is one, with the room that it needs.
    pub(crate) fn translate(&mut self, translation: Option<Translation>, held: Option<Share>) {
        self.pieces = translation.map(|translation| Pieces::new(translation, held));
    }

    /// Puts the filter's window into its way, behind the translation, where there is one.
    pub(crate) fn screen(&mut self, window: Option<Window>) {
        self.window = window;
    }

    /// All of the answer, for a client that has yet to see a byte, as far as there is room for it. Whoever gets it says
    /// how it ended.
    ///
    /// # Errors
    /// When the upstream breaks off, and when there is no room. The request has ended then.
    pub(crate) async fn collect(
        mut self,
        bytes_max: usize,
        share: &mut Share,
    ) -> Result<(Bytes, Ticket<Answered>), ProxyError> {
        self.collects = true;
        let mut collected = BytesMut::new();
        let outcome = self.collect_into(&mut collected, bytes_max, share).await;
        // The meter sees it once and whole, so that there is one copy of it.
        let collected = collected.freeze();
        self.ticket.meter.pass(collected.clone());
        if let Err(error) = outcome {
            return Err(self.spoilt(error));
        }
        self.ticket.meter.end();
        Ok((collected, self.ticket))
    }

    async fn collect_into(
        &mut self,
        collected: &mut BytesMut,
        bytes_max: usize,
        share: &mut Share,
    ) -> Result<(), ProxyError> {
        let first = self.first.as_ref().map_or(0, Bytes::len);
        let rest = usize::try_from(self.upstream.size_hint().lower()).unwrap_or(usize::MAX);
        let announced = rest.saturating_add(first);
        if announced > bytes_max {
            return Err(ProxyError::AnswerTooLarge(bytes_max));
        }
        // Of what is announced, no more has room than what comes; but it need not move as it grows.
        collected.reserve(announced);
        loop {
            let (bytes, last) = match poll_fn(|cx| self.poll(cx)).await {
                Piece::Bytes(bytes) => (bytes, false),
                Piece::Last(bytes) => (bytes, true),
                // No window stands in the way of an answer that is collected: it is screened as a whole. None of its
                // end is told in events either.
                Piece::Blocked { .. } | Piece::Spent(_) => return Err(ProxyError::Internal),
                Piece::Broken(error) => return Err(error),
            };
            let length = collected.len() + bytes.len();
            if length > bytes_max {
                return Err(ProxyError::AnswerTooLarge(bytes_max));
            }
            share.grow_to(length).map_err(|Spent| ProxyError::Full)?;
            if length > collected.capacity() && length > GROWN_BYTES {
                collected.reserve((bytes_max - collected.len()).min(ROOM_BYTES));
            }
            collected.extend_from_slice(&bytes);
            if last {
                return Ok(());
            }
        }
    }

    /// The answer has ended so.
    pub(super) fn finish(self, outcome: Outcome) {
        self.ticket.finish(outcome);
    }

    /// What is reserved for its request.
    pub(super) fn hold(&self) -> Option<&Hold> {
        self.ticket.hold()
    }

    /// How long it is read after its client has left.
    pub(super) const fn patience(&self) -> Patience {
        self.patience
    }

    /// Ends an answer that has ended without a byte, where none is to be told. Says whether it is one.
    pub(super) fn end_void(&mut self) -> bool {
        let is_void =
            self.first.is_none() && !self.events && self.pieces.is_none() && self.upstream.is_end_stream();
        if is_void {
            self.meter_end();
        }
        is_void
    }

    /// Where its request goes when it ends.
    pub(super) fn endings(&self) -> Endings {
        self.ticket.endings()
    }

    /// Looks at what had come before anyone asked for it.
    pub(super) fn catch_up(&mut self) {
        let rest: Vec<Bytes> = self.pieces.iter_mut().flat_map(Pieces::rest).collect();
        for rest in rest {
            self.ticket.meter.pass(rest);
        }
        if let Some(first) = self.first.take() {
            self.meter(first);
        }
    }

    /// Its client has left, with all that was said or before.
    pub(super) fn left(&mut self) {
        self.ticket.had_all = self.ended();
    }

    /// Whether all has passed that the answer says.
    pub(super) fn is_complete(&self) -> bool {
        self.ticket.meter.is_complete()
    }

    /// Whether the answer said that it was whole, and may still say what it used.
    pub(super) fn ended(&self) -> bool {
        self.ticket.meter.ended()
    }

    /// Has the meter look at what came: inside of what it is packed in, where it passes as it is.
    fn meter(&mut self, data: Bytes) -> Bytes {
        let Some(seen) = self.upstream.seen() else { return self.ticket.meter.pass(data) };
        self.ticket.meter.pass(seen);
        data
    }

    /// The upstream has ended. Returns what was held back.
    fn meter_end(&mut self) -> Bytes {
        if let Some(bytes) = self.upstream.unread() {
            self.ticket.meter.unreadable(bytes);
        }
        self.ticket.meter.end()
    }

    /// Reads on for nobody: bytes that came, or `None` where nothing more does, or nothing more is covered.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<usize>> {
        let frame = match ready!(Pin::new(&mut self.upstream).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(None),
            None => {
                self.meter_end();
                return Poll::Ready(None);
            }
        };
        let Ok(data) = frame.into_data() else { return Poll::Ready(Some(0)) };
        let length = data.len();
        self.meter(data);
        // Nobody waits for what follows the last word.
        if self.is_complete() {
            return Poll::Ready(None);
        }
        self.coverage.poll(cx, self.ticket.hold());
        let due = self.coverage.is_due(self.ticket.meter.text_bytes());
        let spent = due && matches!(self.cover(&Bytes::new()), Some(Piece::Spent(_)));
        Poll::Ready(Some(length).filter(|_| !spent))
    }

    fn spoilt(mut self, error: ProxyError) -> ProxyError {
        self.upstream.close();
        self.ticket.replace(&error, Outcome::UpstreamError);
        error
    }

    /// What comes next.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        loop {
            if let Some(words) = self.words.pop_front() {
                return Poll::Ready(Piece::Bytes(words));
            }
            if let Some(rest) = self.rest.take() {
                return Poll::Ready(self.drain(&rest));
            }
            self.coverage.poll(cx, self.ticket.hold());
            if self.coverage.waits(self.ticket.meter.text_bytes()) {
                return self.poll_silence(cx);
            }
            let taken = match self.poll_run(cx) {
                Poll::Ready(Some(words)) => words.map(|words| self.say(words)),
                Poll::Ready(None) if self.pieces.as_ref().is_some_and(Pieces::is_done) => {
                    self.end().map(|rest| {
                        self.rest = Some(rest);
                        None
                    })
                }
                Poll::Ready(None) => match self.poll_frame(cx) {
                    Poll::Ready(frame) => self.take_in(frame),
                    Poll::Pending => return self.poll_silence(cx),
                },
                Poll::Pending => return self.poll_silence(cx),
            };
            match taken {
                Ok(None) => {}
                Ok(Some(piece)) => return Poll::Ready(piece),
                Err(error) => return Poll::Ready(Piece::Broken(error)),
            }
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.upstream).poll_frame(cx),
        }
    }

    /// What the translation says of the next events, where there is one and it has some.
    fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Words, ProxyError>>> {
        let id = self.ticket.request().id;
        let Self { pieces: Some(pieces), ticket, silence, .. } = self else { return Poll::Ready(None) };
        if !pieces.is_away() {
            let Some(run) = ready!(pieces.poll_run(cx)) else { return Poll::Ready(None) };
            let run = ticket.meter.pass(run);
            if ticket.meter.is_complete() {
                silence.linger();
            }
            if let Some(words) = pieces.translate(&run, id) {
                return Poll::Ready(Some(words));
            }
        }
        pieces.poll_away(cx).map(Some)
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        let between_events = self.between_events();
        self.silence.poll(cx, between_events).map(|told| match told {
            Told::KeepAlive => Piece::Bytes(Bytes::from_static(self.keep_alive)),
            // All was said, and the connection is only not closed.
            Told::TooLong if self.ended() => {
                let rest = self.end();
                self.upstream.close();
                rest.map_or_else(Piece::Broken, |rest| self.drain(&rest))
            }
            Told::TooLong => Piece::Broken(ProxyError::UpstreamTimeout),
        })
    }

    /// What the client gets of a frame of the upstream, or of its end: `None` for nothing yet.
    fn take_in(
        &mut self,
        frame: Option<Result<Frame<Bytes>, AnswerError>>,
    ) -> Result<Option<Piece>, ProxyError> {
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) if !self.ended() => return Err(self.broke(&error)),
            // After the last word it does not matter how the connection ends.
            _ => {
                match &mut self.pieces {
                    Some(pieces) => pieces.end(),
                    None => self.rest = Some(self.end()?),
                }
                return Ok(None);
            }
        };
        let Ok(data) = frame.into_data() else { return Ok(None) };
        if self.silence.heard() {
            return Err(ProxyError::UpstreamTimeout);
        }
        if let Some(pieces) = &mut self.pieces {
            pieces.push(&data)?;
            if self.upstream.is_end_stream() {
                pieces.end();
            }
            return Ok(None);
        }
        self.pass(data)
    }

    /// What goes on of a piece that nobody translates.
    fn pass(&mut self, data: Bytes) -> Result<Option<Piece>, ProxyError> {
        if self.collects {
            return Ok(Some(Piece::Bytes(data)));
        }
        let data = self.meter(data);
        self.delivered = self.ticket.meter.text_bytes();
        let passed = match self.screened(data) {
            Passed::On(bytes) => bytes,
            Passed::Blocked { before, hash } => return Ok(Some(Piece::Blocked { before, hash })),
        };
        if self.is_complete() {
            self.silence.linger();
        }
        // With a known length hyper stops polling at the last byte: the end is here, not at a next poll.
        if self.upstream.is_end_stream() {
            let rest = self.end()?;
            if rest.is_empty() && self.window.is_none() {
                return Ok(Some(Piece::Last(passed)));
            }
            self.rest = Some(rest);
        } else if let Some(last) = self.covered(&passed) {
            return Ok(Some(last));
        }
        Ok(self.spoken(passed))
    }

    /// What goes on of what the translation says.
    fn say(&mut self, mut words: Words) -> Option<Piece> {
        if words.failed {
            self.ticket.meter.fail();
        }
        self.delivered = self.ticket.meter.text_bytes();
        // What has to be looked at is looked at as a whole.
        if self.window.is_none() && !self.coverage.is_due(self.delivered) {
            let first = words.pieces.pop_front().unwrap_or_default();
            self.words = words.pieces;
            self.begin_with(&first);
            return self.spoken(first);
        }
        let passed = match self.screened(words.joined()) {
            Passed::On(bytes) => bytes,
            Passed::Blocked { before, hash } => return Some(Piece::Blocked { before, hash }),
        };
        let is_done = self.pieces.as_ref().is_some_and(Pieces::is_done);
        let last = if is_done { None } else { self.covered(&passed) };
        last.or_else(|| self.spoken(passed))
    }

    fn spoken(&mut self, passed: Bytes) -> Option<Piece> {
        if passed.is_empty() {
            return None;
        }
        self.silence.spoke();
        Some(Piece::Bytes(passed))
    }

    /// The answer's end, where that is due and the balance carries no more.
    fn covered(&mut self, passed: &Bytes) -> Option<Piece> {
        if self.coverage.is_due(self.ticket.meter.text_bytes()) { self.cover(passed) } else { None }
    }

    /// Notes why an upstream broke off, where that is more than a connection which ended.
    fn broke(&mut self, error: &AnswerError) -> ProxyError {
        tracing::debug!(%error, "the upstream broke off");
        if matches!(error, AnswerError::Packed(_) | AnswerError::Repeats) {
            self.ticket.remark(error.to_string());
        }
        UPSTREAM_BROKE
    }

    /// Sees that what comes next is covered; or the answer's end, where the balance carries no more.
    fn cover(&mut self, passed: &Bytes) -> Option<Piece> {
        let Self { ticket, coverage, .. } = self;
        let (hold, request) = (ticket.hold()?, ticket.request());
        let spent = coverage.advance(hold, request.policies.pricing.as_deref(), ticket.meter.text_bytes());
        coverage.see(request.call.protocol, passed);
        if !spent {
            return None;
        }
        if !self.events {
            // No words can be put behind what passes within its packing.
            self.ticket.spent();
            return Some(Piece::Broken(ProxyError::Internal));
        }
        // What is translated or screened is whole events; of other bytes a half one must not be the last.
        let passes = self.pieces.is_none() && self.window.is_none();
        let whole = passed.len().saturating_sub(if passes { self.ticket.meter.unfinished() } else { 0 });
        (whole > 0 || self.between_events()).then(|| self.spent(&passed.slice(..whole)))
    }

    /// The end of an answer of which the balance carries no more.
    fn spent(&mut self, passed: &Bytes) -> Piece {
        let words = self.coverage.last_words(self.ticket.request(), self.ticket.hold(), &self.begun);
        let last = match self.drain(&words) {
            Piece::Last(words) => [passed.as_ref(), &words].concat(),
            other => return other,
        };
        self.upstream.close();
        self.ticket.spent();
        Piece::Spent(last.into())
    }

    /// What the filter lets pass of a piece in the client's protocol.
    fn screened(&mut self, data: Bytes) -> Passed {
        self.begin_with(&data);
        match &mut self.window {
            None => Passed::On(data),
            Some(window) => window.push(&data),
        }
    }

    fn begin_with(&mut self, data: &Bytes) {
        if self.ticket.request().call.protocol == Protocol::OpenaiResponses {
            if self.begun.is_empty() {
                self.begun = data.clone();
            }
            self.numbers.see(data);
        }
    }

    /// Whether the last byte that the client got ended an event: what is translated or screened is whole events.
    fn between_events(&self) -> bool {
        self.pieces.is_some() || self.window.is_some() || self.ticket.meter.between_events()
    }

    /// The upstream has ended: what was held back until then, in the client's protocol.
    fn end(&mut self) -> Result<Bytes, ProxyError> {
        if self.collects {
            return Ok(Bytes::new());
        }
        let rest = self.meter_end();
        let Some(pieces) = &mut self.pieces else { return Ok(rest) };
        let words = pieces.last_words().unwrap_or(Err(ProxyError::Internal))?;
        if words.failed {
            self.ticket.meter.fail();
        }
        if self.window.is_some() || words.pieces.len() < 2 {
            return Ok(words.joined());
        }
        self.words = words.pieces;
        Ok(Bytes::new())
    }

    /// The last bytes, screened where the answer is.
    fn drain(&mut self, rest: &Bytes) -> Piece {
        let Some(mut window) = self.window.take() else { return Piece::Last(rest.clone()) };
        let held = window.held_text();
        match window.finish(rest) {
            Passed::On(bytes) => Piece::Last(bytes),
            Passed::Blocked { before, hash } => {
                self.delivered = self.delivered.saturating_sub(held);
                Piece::Blocked { before, hash }
            }
        }
    }

    /// The filter refused what comes next: the client gets what was clean, then an error.
    pub(super) fn blocked(&mut self, before: &Bytes, hash: Option<TextHash>) -> Bytes {
        self.upstream.close();
        if hash.is_none() {
            // It is the policy that failed.
            self.undelivered();
        }
        self.ticket.filtered(hash);
        let event = self.ticket.error_event(&ProxyError::Filtered, self.numbers.next());
        [before.as_ref(), &event].concat().into()
    }

    /// The gateway fails: what it had not passed on yet is not paid for.
    fn undelivered(&mut self) {
        let delivered = self.delivered.saturating_sub(self.window.as_ref().map_or(0, Window::held_text));
        self.ticket.undelivered(delivered);
    }

    /// The upstream failed after the first byte: an event tells, or `None` where the connection must be cut. The words
    /// are those of the translation, which knows how far it has come, or an event of the gateway's own. A half event
    /// before it is ended first, or the two would be read as one.
    pub(super) fn broken(&mut self, error: &ProxyError) -> Option<Bytes> {
        self.upstream.close();
        self.ticket.note(error);
        if error.is_the_gateways() {
            self.undelivered();
        }
        let ended = self.pieces.as_mut().and_then(Pieces::last_words);
        if let Some(Ok(words)) = ended
            && !words.pieces.is_empty()
        {
            return Some(words.joined());
        }
        if !self.events {
            return None;
        }
        let event = self.ticket.error_event(error, self.numbers.next());
        Some(if self.between_events() { event } else { [b"\n\n", event.as_ref()].concat().into() })
    }
}

enum Told {
    KeepAlive,
    TooLong,
}

/// Counts the time without a byte, and all of it. The timer is armed once and looks back when it fires, so that a byte
/// costs no timer.
struct Silence {
    /// The end of the request's time.
    deadline: Instant,
    limit: Duration,
    keep_alive: Option<Duration>,
    /// The last byte of the upstream.
    since: Instant,
    /// The last byte to the client.
    told: Instant,
    /// Whether that is what it sends next.
    heard_now: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn new(limit: Duration, keep_alive: Option<Duration>, deadline: Instant, now: Instant) -> Self {
        Self { deadline, limit, keep_alive, since: now, told: now, heard_now: false, timer: None }
    }

    /// The upstream has sent something. Says whether the request's time is over all the same.
    fn heard(&mut self) -> bool {
        if !std::mem::take(&mut self.heard_now) {
            self.since = Instant::now();
        }
        self.since >= self.deadline
    }

    /// The client gets something of it.
    fn spoke(&mut self) {
        self.told = self.since;
    }

    /// The last word came: nothing follows it but the end of the connection, for which nobody waits long.
    fn linger(&mut self) {
        if self.keep_alive.take().is_some() || self.limit > LINGER {
            self.limit = self.limit.min(LINGER);
            let next = self.next();
            self.rearm(next);
        }
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
