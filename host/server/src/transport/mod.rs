//! How requests reach the providers and their answers come back. This room knows no credentials, users or plans.
//!
//! The road knows `Transports::send`, [`Answer`] and two errors; `http1`, `http2`, or another [`Transport`] in place of
//! both, decide which bytes go over which connection.

pub(crate) mod alone;
mod answer;
pub(crate) mod body;
mod broken;
mod connect;
mod frames;
mod http1;
mod http2;
mod inside;
pub(crate) mod packed;
mod room;
mod veil;
pub(crate) mod websocket;

use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};

use self::answer::Source;
pub use self::answer::{Answer, AnswerBody};
pub use self::body::Chained;
pub use self::broken::AnswerError;
pub use self::packed::PackedError;
use self::room::Room;
use self::websocket::{Kind, Link, Links, Session, Told};

/// How often idle connections are looked at.
pub(crate) const PRUNE_INTERVAL: Duration = Duration::from_secs(10);

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
}

impl Hash for Origin {
    /// Upper and lower case name one host, so that its name would be hashed letter by letter, twice a request. A worker
    /// knows few origins: to compare with those of one length costs less.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.authority.as_str().len());
    }
}

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wire {
    /// HTTP/1.1: a connection for each request that is under way.
    #[default]
    Http1,
    /// HTTP/2, where the other side agrees: many requests on one connection.
    Http2,
}

/// A request that is ready to be sent. It has no `Debug`, because it contains the secret.
pub struct Request {
    /// Where it goes.
    pub origin: Arc<Origin>,
    /// The protocol there.
    pub wire: Wire,
    /// The request: path and query as its target, and all headers.
    pub message: http::Request<Chained>,
}

/// A request under way, until the head of its answer is there. Dropping it cancels the call.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Answer, SendError>> + 'a>>;

/// Carries requests to providers.
pub trait Transport: Send + Sync {
    /// Sends a request. Called by every worker, for each attempt; a request that may have been seen is never sent
    /// twice.
    ///
    /// # Errors
    /// [`SendError`], where no answer has begun.
    fn send(&self, request: Request) -> Sending<'_>;
}

/// Why there is no answer. All that wait for one connection get the same failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// No connection could be made: the upstream has seen nothing.
    #[error("connecting to {authority}")]
    Connect {
        /// Host and port.
        authority: Authority,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Connecting took too long.
    #[error("connecting to {authority} timed out")]
    ConnectTimeout {
        /// Host and port.
        authority: Authority,
    },
    /// There is no descriptor for another connection: nothing was tried, and the upstream is not to blame.
    #[error("no room for another connection to {authority}")]
    NoRoom {
        /// Host and port.
        authority: Authority,
    },
    /// The exchange broke after the request may have been seen.
    #[error("waiting for an answer of {authority}")]
    Exchange {
        /// Host and port.
        authority: Authority,
        /// Why.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// How requests are carried, for all threads.
#[derive(Clone)]
pub(crate) struct Settings {
    /// How long a connection may take to be made.
    pub(crate) connect_timeout: Duration,
    /// How many there may be at one time.
    pub(crate) room: Arc<Room>,
    /// What carries everything, in place of connections from here.
    pub(crate) instead: Option<Arc<dyn Transport>>,
}

impl Settings {
    /// Connections from here, at most so many at one time.
    pub(crate) fn new(connect_timeout: Duration, connections_max: usize) -> Self {
        Self { connect_timeout, room: Room::new(connections_max), instead: None }
    }
}

/// The transports of one thread, with their connections.
pub(crate) struct Transports {
    http1: Rc<http1::Pool>,
    http2: Rc<http2::Pool>,
    links: Rc<Links>,
    instead: Option<Arc<dyn Transport>>,
}

impl Transports {
    /// No connection yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            http1: http1::Pool::new(settings),
            http2: http2::Pool::new(settings),
            links: Rc::default(),
            instead: settings.instead.clone(),
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`SendError`]. Dropping the future cancels the call.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, SendError> {
        if let Some(instead) = &self.instead {
            return instead.send(request).await;
        }
        let mut request = request;
        if let Some(session) = request.message.extensions().get::<Session>().copied()
            && let Some(told) = Box::pin(self.links.send(&self.http1, session, &mut request)).await?
        {
            return Ok(match told {
                Told::Events(head, incoming) => Answer { head, body: Source::Session(incoming).into() },
                Told::Refused(answer) => Answer::new(answer),
                Told::Error(answer) => Answer::new(answer),
            });
        }
        match request.wire {
            Wire::Http1 => self.alone(request).await,
            // Boxed, so that calls over HTTP/1.1 do not pay for its size.
            Wire::Http2 => Box::pin(self.agreed(request)).await,
        }
    }

    /// Over HTTP/1.1, on a connection for it alone.
    async fn alone(&self, request: Request) -> Result<Answer, SendError> {
        let (head, body) = self.http1.send(request).await?;
        Ok(Answer { head, body: Source::Http1(body).into() })
    }

    /// Over HTTP/2, if the other side speaks it.
    async fn agreed(&self, request: Request) -> Result<Answer, SendError> {
        match self.http2.reserve(&request.origin).await? {
            Some(slot) => {
                let (head, body) = self.http2.send(slot, request).await?;
                Ok(Answer { head, body: Source::Http2(body).into() })
            }
            None => self.alone(request).await,
        }
    }

    /// A new session of a client.
    pub(crate) fn begin(&self, kind: Kind) -> Session {
        self.links.begin(kind)
    }

    /// The connection to a provider that a session has, if it has one.
    pub(crate) fn link(&self, session: Session) -> Option<Rc<Link>> {
        self.links.find(session)
    }

    /// Ends a session, and its connection with it.
    pub(crate) fn end(&self, session: Session) {
        self.links.end(session);
    }

    /// Closes what has been idle for too long. No one reads from an idle connection, so no one else would. To be called
    /// every [`PRUNE_INTERVAL`].
    pub(crate) fn prune(&self) {
        self.http1.prune();
        self.http2.prune();
    }
}
