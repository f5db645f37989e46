//! Upstream connections of one worker: HTTP/1.1, kept alive, newest first, shared with nobody.
//!
//! HTTP/1.1 on purpose: one stream per connection, so that a slow client can hold up no one else's (h2 closes a shared
//! connection whose small frames sit unread). Dropping a response body before its end closes the connection, which is how
//! a cancellation reaches the provider.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tower_service::Service;

use crate::body::Chained;

/// Idle connections kept per upstream and worker.
const IDLE_MAX: usize = 256;
/// An idle connection older than this is not used again: servers close theirs at 60 s and more.
const IDLE_AGE_MAX: Duration = Duration::from_secs(50);

type Sender = SendRequest<Chained>;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// `http` or `https`.
    pub(crate) scheme: Scheme,
    /// Host and port.
    pub(crate) authority: Authority,
}

/// Why there is no response head.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No connection could be made: the upstream has seen nothing.
    #[error("connecting to {authority}")]
    Connect {
        /// Host and port.
        authority: Authority,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Connecting took too long.
    #[error("connecting to {authority} timed out")]
    ConnectTimeout {
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
        source: hyper::Error,
    },
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// The idle connections of one worker.
pub(crate) struct Pool {
    connector: HttpsConnector<HttpConnector>,
    connect_timeout: Duration,
    idle: RefCell<HashMap<Origin, Vec<Idle>>>,
}

/// A connection that is serving a request. Give it back with [`Lent::put_back`] once the body has ended; dropped, it is
/// closed.
pub(crate) struct Lent {
    pool: Rc<Pool>,
    origin: Rc<Origin>,
    sender: Option<Sender>,
}

impl Pool {
    /// An empty pool.
    pub(crate) fn new(connect_timeout: Duration) -> Rc<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Rc::new(Self { connector, connect_timeout, idle: RefCell::default() })
    }

    /// Sends one request and waits for the head of its answer.
    ///
    /// A kept connection that turns out to be closed before it took the request is replaced without a word; a request that
    /// was taken is never sent twice.
    ///
    /// # Errors
    /// See [`SendError`]. Dropping the future closes the connection.
    pub(crate) async fn send(
        self: &Rc<Self>,
        origin: &Rc<Origin>,
        mut request: Request<Chained>,
    ) -> Result<(Response<Incoming>, Lent), SendError> {
        loop {
            let (mut sender, kept) = match self.take(origin) {
                Some(sender) => (sender, true),
                None => (self.connect(origin).await?, false),
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let lent =
                        Lent { pool: Rc::clone(self), origin: Rc::clone(origin), sender: Some(sender) };
                    return Ok((response, lent));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => request = unsent,
                    _ => {
                        let authority = origin.authority.clone();
                        return Err(SendError::Exchange { authority, source: error.into_error() });
                    }
                },
            }
        }
    }

    fn take(&self, origin: &Origin) -> Option<Sender> {
        let mut idle = self.idle.borrow_mut();
        let list = idle.get_mut(origin)?;
        while let Some(Idle { sender, since }) = list.pop() {
            if sender.is_ready() && since.elapsed() < IDLE_AGE_MAX {
                return Some(sender);
            }
        }
        None
    }

    async fn connect(&self, origin: &Origin) -> Result<Sender, SendError> {
        let authority = &origin.authority;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| SendError::Connect {
            authority: authority.clone(),
            source,
        };
        let uri = Uri::builder()
            .scheme(origin.scheme.clone())
            .authority(authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|error| failed(error.into()))?;
        let connecting = self.connector.clone().call(uri);
        let io = match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_) => return Err(SendError::ConnectTimeout { authority: authority.clone() }),
        };
        let (sender, connection) = http1::Builder::new()
            .handshake(io)
            .await
            .map_err(|error| failed(error.into()))?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(sender)
    }

    fn keep(&self, origin: &Origin, sender: Sender) {
        let mut idle = self.idle.borrow_mut();
        let entry = Idle { sender, since: Instant::now() };
        match idle.get_mut(origin) {
            Some(list) if list.len() >= IDLE_MAX => {}
            Some(list) => list.push(entry),
            None => {
                idle.insert(origin.clone(), vec![entry]);
            }
        }
    }
}

impl Lent {
    /// Returns the connection to the pool. Call it when the response body has ended.
    pub(crate) fn put_back(mut self) {
        let Some(sender) = self.sender.take() else { return };
        if sender.is_ready() {
            self.pool.keep(&self.origin, sender);
            return;
        }
        // The connection task has yet to see the end of the body; it will in its next turn.
        let mut sender = sender;
        tokio::task::spawn_local(async move {
            if sender.ready().await.is_ok() {
                self.pool.keep(&self.origin, sender);
            }
        });
    }
}
