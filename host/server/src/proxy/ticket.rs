//! The promise that an admitted request ends exactly once.
//!
//! A [`Ticket`] holds a request in one of its states. It is exchanged for a ticket of the next state, or it ends and
//! hands what is known to the lane's settling task, which outlives the connection: by a call that takes the ticket, or
//! by being dropped, because the client left or the task was ended. Dropping only sends; all that settling does is done
//! by that task.

use std::ops::{Deref, DerefMut};
use std::pin::Pin;

use http::StatusCode;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tollgate_core::outcome::Outcome;

use super::error::ProxyError;
use super::meter::Meter;
use super::select::Lease;
use super::states::{Admitted, Answered, Attempting, Ended, Refused};

/// Where requests go when they end.
pub(crate) type Endings = UnboundedSender<Ending>;

/// What the settling task is handed.
pub(crate) enum Ending {
    /// A request that has ended.
    Ended(Ended),
    /// The reading of an answer whose client has left; the request ends with it.
    Draining(Pin<Box<dyn Future<Output = ()>>>),
}

/// A state in which a request can end.
pub(crate) trait State {
    /// The client left in this state.
    fn left(self) -> Ended;
}

impl State for Box<Admitted> {
    fn left(self) -> Ended {
        Attempting::from(self).left()
    }
}

impl State for Attempting {
    fn left(self) -> Ended {
        self.ended(None, Outcome::CancelledBeforeFirstByte)
    }
}

impl State for Answered {
    /// Who leaves when all has been said has had the answer.
    fn left(self) -> Ended {
        let outcome = if self.had_all && self.meter.is_complete() {
            Outcome::Ok
        } else {
            Outcome::CancelledAfterFirstByte
        };
        self.ended(outcome)
    }
}

/// An admitted request on its way.
pub(crate) struct Ticket<S: State> {
    /// `None` once the ticket has been taken, which is when it is gone for everyone but `drop`.
    live: Option<(S, Endings)>,
}

impl<S: State> Ticket<S> {
    fn take(mut self) -> (S, Endings) {
        self.live.take().unwrap_or_else(|| unreachable!("a ticket is taken once, by value"))
    }

    fn end(self, end: impl FnOnce(S) -> Ended) {
        let (state, endings) = self.take();
        send(&endings, end(state));
    }

    /// Where it goes when it ends.
    pub(super) fn endings(&self) -> Endings {
        let live = self.live.as_ref();
        live.map_or_else(|| unreachable!("a ticket that was taken is gone"), |(_, endings)| endings.clone())
    }

    fn become_with<T: State>(self, next: impl FnOnce(S) -> T) -> Ticket<T> {
        let (state, endings) = self.take();
        Ticket { live: Some((next(state), endings)) }
    }
}

impl<S: State> Deref for Ticket<S> {
    type Target = S;

    fn deref(&self) -> &S {
        self.live.as_ref().map_or_else(|| unreachable!("a ticket that was taken is gone"), |(state, _)| state)
    }
}

impl<S: State> DerefMut for Ticket<S> {
    fn deref_mut(&mut self) -> &mut S {
        self.live.as_mut().map_or_else(|| unreachable!("a ticket that was taken is gone"), |(state, _)| state)
    }
}

/// A ticket that is dropped belongs to a client that left.
impl<S: State> Drop for Ticket<S> {
    fn drop(&mut self) {
        if let Some((state, endings)) = self.live.take() {
            send(&endings, state.left());
        }
    }
}

fn send(endings: &Endings, ended: Ended) {
    hand_over(endings, Ending::Ended(ended));
}

/// Hands something to the settling task.
pub(super) fn hand_over(endings: &Endings, ending: Ending) {
    // The settling task ends after all tickets: nobody is left to tell if it is gone.
    let _gone = endings.send(ending);
}

/// Hands on a request that was refused. It never had a ticket: nothing was reserved for it.
pub(crate) fn refuse(endings: &Endings, refused: Refused) {
    send(endings, Box::new(refused).ended());
}

impl Ticket<Box<Admitted>> {
    /// Admits a request.
    pub(crate) fn new(admitted: Admitted, endings: Endings) -> Self {
        Self { live: Some((Box::new(admitted), endings)) }
    }

    /// Attempts at it begin.
    pub(crate) fn attempt(self) -> Ticket<Attempting> {
        self.become_with(Attempting::from)
    }
}

impl Ticket<Attempting> {
    /// Its answer begins.
    pub(crate) fn answer(
        self,
        lease: Lease,
        begins: (StatusCode, Instant),
        meter: Meter,
    ) -> Ticket<Answered> {
        self.become_with(|attempting| attempting.answered(lease, begins, meter))
    }

    /// It ends without an answer, and the client is told of this error.
    pub(crate) fn fail(self, error: &ProxyError, outcome: Outcome) {
        self.end(|attempting| attempting.ended(Some(error), outcome));
    }

    /// It ends with the provider's own refusal.
    pub(crate) fn pass_refusal(self, status: StatusCode) {
        self.end(|attempting| attempting.ended_with(status));
    }
}

impl Ticket<Answered> {
    /// Its answer has ended so.
    pub(crate) fn finish(self, outcome: Outcome) {
        self.end(|answered| answered.ended(outcome));
    }

    /// The answer came, but the client gets this error in its place.
    pub(crate) fn replace(mut self, error: &ProxyError, outcome: Outcome) {
        self.replaced(error);
        self.finish(outcome);
    }
}
