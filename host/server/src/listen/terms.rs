//! The settings of a listener: where connections come in, what answers them, and what a peer may do.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body::Body;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::arriving::Arriving;
use super::seats::Places;
use super::tls::Certificate;
use crate::config::Config;
use crate::proxy::Switched;

/// What answers the requests of a listener: from which address a request came, and the request.
pub(crate) trait Handler: Clone + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static;
    /// Answers one request. What it leaves of the body is read and dropped behind the answer. What it returns is
    /// dropped when the peer leaves.
    fn answer(
        &self,
        from: IpAddr,
        head: Parts,
        body: &mut Arriving,
    ) -> impl Future<Output = Response<Self::Body>>;
    /// Switches a connection to another protocol, where its request asks for one that is served: the answer to the
    /// request, and what serves the connection behind it, if it is switched.
    fn switch(
        &self,
        _head: &mut Parts,
    ) -> impl Future<Output = Option<(Response<Self::Body>, Option<Switched>)>> {
        async { None }
    }
    /// Refuses one whose head is not as it should be, in these words.
    fn refuse(&self, head: &Parts, words: &'static str) -> Response<Self::Body>;
}

/// Time limits and size limits for a peer.
#[derive(Debug, Clone)]
pub(crate) struct Guards {
    /// Time for a request's head, and time without a request.
    pub(crate) head_read: Duration,
    /// Time in which a peer must take some bytes.
    pub(crate) write: Duration,
    /// Bytes a second that a peer must take, as long as it keeps an answer waiting; 0 for any.
    pub(crate) write_rate: u64,
    /// Time for a TLS handshake.
    pub(crate) handshake: Duration,
    /// Time for what is under way when the listener stops.
    pub(crate) drain: Duration,
    /// Bytes of a request's head.
    pub(crate) head_bytes_max: usize,
    /// Requests under way at one time on one HTTP/2 connection.
    pub(crate) streams_max: u32,
    /// Bytes of a body that are read and dropped behind an answer.
    pub(crate) leftover_bytes_max: u64,
    /// Time for that.
    pub(crate) leftover_time: Duration,
}

impl Guards {
    /// The terms of the configuration. `tls` is that of the listener.
    pub(crate) fn new(config: &Config, tls: Option<&crate::config::Tls>) -> Self {
        let limits = &config.limits;
        let head_read = limits.head_read_timeout_ms.duration();
        Self {
            head_read,
            write: limits.client_write_timeout_ms.duration(),
            write_rate: limits.client_rate_bytes_min,
            handshake: tls.map_or(head_read, |tls| tls.handshake_timeout_ms.duration()),
            drain: config.server.drain_timeout_ms.duration(),
            head_bytes_max: limits.request_head_bytes_max.0,
            streams_max: limits.http2_streams_max.get(),
            leftover_bytes_max: limits.refused_body_bytes_max,
            leftover_time: limits.refused_body_timeout_ms.duration(),
        }
    }
}

/// A socket and its terms.
pub(crate) struct Door {
    /// The listening socket.
    pub(crate) socket: std::net::TcpListener,
    /// With it, peers must speak TLS.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// How many connections there may be.
    pub(crate) places: Arc<Places>,
    /// Connections from within this process, which need no socket and no TLS.
    pub(crate) visitors: Option<mpsc::Receiver<DuplexStream>>,
    /// What a peer may do.
    pub(crate) guards: Guards,
}
