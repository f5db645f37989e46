//! Upstream connections of one worker that many requests share: HTTP/2, where a provider's configuration asks for it.
//!
//! What one stream does must not affect the others. A client that reads slowly closes only its own stream's window,
//! because a connection's window is large enough for all of its streams. Bytes are taken out of h2 at once
//! ([`incoming`]), because h2 closes a connection on which many small frames wait, and a stream of tokens consists of
//! small frames.
//!
//! A connection has a task of its own ([`peer`]). It takes at most [`STREAMS_MAX`] requests at a time, fewer where the
//! other side says so; the next one goes to another connection. A request that the other side has certainly not
//! processed is sent again, elsewhere.

mod exchange;
mod incoming;
mod peer;
#[cfg(test)]
mod tests;
mod upload;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use http::response::Parts;

use self::exchange::Broken;
pub(super) use self::incoming::Incoming;
use self::peer::{Peer, Slot};
use super::connect::{Connector, broken};
use super::{Origin, Request, SendError, Settings, Wire};

/// Most requests that one connection carries at a time, whatever the other side allows.
const STREAMS_MAX: u16 = 100;
/// An idle connection older than this is closed: servers close theirs at 60 s and more.
const IDLE_AGE_MAX: Duration = Duration::from_secs(50);
/// How long the gateway remembers that an origin does not speak HTTP/2.
const REFUSAL_AGE_MAX: Duration = Duration::from_secs(600);
/// How often a request is sent that was certainly not processed.
const SENDS_MAX: usize = 3;

/// The connections of one worker.
pub(super) struct Pool {
    connector: Connector,
    origins: RefCell<HashMap<Origin, Reached>>,
    /// For the tasks that connect.
    this: Weak<Self>,
}

/// The connections to one origin.
#[derive(Default)]
struct Reached {
    peers: Vec<Rc<Peer>>,
    /// Connections under way.
    attempts: Vec<Attempt>,
    /// Until when the origin counts as one without HTTP/2.
    refuses_until: Option<Instant>,
    /// How many requests the last new connection there accepted.
    room: Option<usize>,
}

/// The result of an attempt to connect, once there is one.
type Told = Option<Result<(), SendError>>;

/// A connection that is being made, and how many requests wait for it.
struct Attempt {
    done: watch::Receiver<Told>,
    waiting: usize,
}

/// The next step of a request.
enum Next {
    Send(Slot),
    Wait(watch::Receiver<Told>),
    /// HTTP/2 is not spoken there.
    Refused,
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(settings: &Settings) -> Rc<Self> {
        Self::with(Connector::new(Wire::Http2, settings))
    }

    fn with(connector: Connector) -> Rc<Self> {
        Rc::new_cyclic(|this| Self { connector, origins: RefCell::default(), this: this.clone() })
    }

    /// A place on a connection to `origin`; `None` where HTTP/2 is not spoken there.
    ///
    /// # Errors
    /// [`SendError::Connect`] and [`SendError::ConnectTimeout`]: nothing was sent.
    pub(super) async fn reserve(&self, origin: &Arc<Origin>) -> Result<Option<Slot>, SendError> {
        self.reserve_but(origin, None).await
    }

    /// The same, but not on the connection `but`.
    async fn reserve_but(
        &self,
        origin: &Arc<Origin>,
        but: Option<&Rc<Peer>>,
    ) -> Result<Option<Slot>, SendError> {
        loop {
            let next = std::future::poll_fn(|cx| Poll::Ready(self.next(origin, but, cx))).await;
            let mut done = match next {
                Next::Send(slot) => return Ok(Some(slot)),
                Next::Refused => return Ok(None),
                Next::Wait(done) => done,
            };
            // The attempt's task reports how it ended to all that wait for it.
            let ended = done.wait_for(Option::is_some).await;
            if let Ok(ended) = ended
                && let Some(Err(error)) = &*ended
            {
                return Err(error.clone());
            }
        }
    }

    fn next(&self, origin: &Arc<Origin>, but: Option<&Rc<Peer>>, cx: &mut Context<'_>) -> Next {
        let mut origins = self.origins.borrow_mut();
        let reached = origins.entry((**origin).clone()).or_default();
        reached.peers.retain(|peer| peer.is_open(cx));
        if reached.refuses_until.is_some_and(|until| Instant::now() < until) {
            return Next::Refused;
        }
        let mut peers = reached.peers.iter().filter(|peer| but.is_none_or(|but| !Rc::ptr_eq(peer, but)));
        if let Some(slot) = peers.find_map(Slot::take) {
            return Next::Send(slot);
        }
        let room = reached.room.unwrap_or(usize::from(STREAMS_MAX));
        if let Some(attempt) = reached.attempts.iter_mut().find(|attempt| attempt.waiting < room) {
            attempt.waiting += 1;
            return Next::Wait(attempt.done.clone());
        }
        let (told, done) = watch::channel(None);
        reached.attempts.push(Attempt { done: done.clone(), waiting: 1 });
        let (this, origin, own) = (self.this.clone(), Arc::clone(origin), done.clone());
        tokio::task::spawn_local(async move {
            let Some(pool) = this.upgrade() else { return };
            let made = peer::connect(&pool.connector, &origin).await;
            // Put into the pool before the result is announced: those who wait look there.
            told.send_replace(Some(pool.connected(&origin, &own, made)));
        });
        Next::Wait(done)
    }

    /// Adds a new connection to the others.
    fn connected(
        &self,
        origin: &Origin,
        attempt: &watch::Receiver<Told>,
        made: Result<Option<Rc<Peer>>, SendError>,
    ) -> Result<(), SendError> {
        let mut origins = self.origins.borrow_mut();
        let reached = origins.entry(origin.clone()).or_default();
        reached.attempts.retain(|other| !other.done.same_channel(attempt));
        match made? {
            Some(peer) => {
                reached.room = Some(peer.room());
                reached.refuses_until = None;
                reached.peers.push(peer);
            }
            None => {
                tracing::info!(authority = %origin.authority, "HTTP/2 is not spoken there: HTTP/1.1 serves");
                reached.refuses_until = Some(Instant::now() + REFUSAL_AGE_MAX);
            }
        }
        Ok(())
    }

    /// Sends one request and waits for the head of its answer. A request that was certainly not processed is sent again
    /// on another connection; any other never is.
    ///
    /// # Errors
    /// See [`SendError`]. Dropping the future resets the stream.
    pub(super) async fn send(&self, slot: Slot, request: Request) -> Result<(Parts, Incoming), SendError> {
        let Request { origin, message, .. } = request;
        let mut slot = slot;
        for _ in 1..SENDS_MAX {
            let peer = Rc::clone(slot.peer());
            match exchange::send(slot, &origin, message.clone()).await {
                Err(Broken::Untaken(error)) => {
                    tracing::debug!(%error, "a request was not taken");
                    match self.reserve_but(&origin, Some(&peer)).await? {
                        Some(other) => slot = other,
                        None => return Err(broken(&origin, error)),
                    }
                }
                ended => return answer(&origin, ended),
            }
        }
        answer(&origin, exchange::send(slot, &origin, message).await)
    }

    /// Closes what has been idle for too long.
    pub(super) fn prune(&self) {
        self.origins.borrow_mut().retain(|_, reached| {
            reached.peers.retain(|peer| peer.idle_for().is_none_or(|idle| idle < IDLE_AGE_MAX));
            let refuses = reached.refuses_until.is_some_and(|until| Instant::now() < until);
            !reached.peers.is_empty() || !reached.attempts.is_empty() || refuses
        });
    }
}

fn answer(origin: &Origin, ended: Result<(Parts, Incoming), Broken>) -> Result<(Parts, Incoming), SendError> {
    ended.map_err(|why| match why {
        // The level below has the name of the failure, which the log shows.
        Broken::Untaken(error) | Broken::Later(error) => broken(origin, error),
    })
}
