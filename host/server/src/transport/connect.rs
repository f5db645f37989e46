//! Connections to providers, up to the point where HTTP begins.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{Origin, SendError, Wire};

/// A connection.
pub(super) type Io = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Makes connections that are to speak one version of HTTP.
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

impl Connector {
    /// Gives up after `timeout`.
    pub(super) fn new(wire: Wire, timeout: Duration) -> Self {
        let https = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1();
        let https = match wire {
            Wire::Http1 => https.wrap_connector(tcp()),
            Wire::Http2 => https.enable_http2().wrap_connector(tcp()),
        };
        Self { https, timeout }
    }

    /// Speaks HTTP/2 with servers that `config` trusts.
    #[cfg(test)]
    pub(super) fn trusting(config: rustls::ClientConfig, timeout: Duration) -> Self {
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        Self { https: https.enable_http1().enable_http2().wrap_connector(tcp()), timeout }
    }

    /// How long a connection may take.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Connects.
    ///
    /// # Errors
    /// [`SendError::Connect`] and [`SendError::ConnectTimeout`].
    pub(super) async fn connect(&self, origin: &Origin) -> Result<Io, SendError> {
        let uri = Uri::builder()
            .scheme(origin.scheme.clone())
            .authority(origin.authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|error| failed(origin, error))?;
        match tokio::time::timeout(self.timeout, self.https.clone().call(uri)).await {
            Ok(connected) => connected.map_err(|error| failed(origin, error)),
            Err(_) => Err(SendError::ConnectTimeout { authority: origin.authority.clone() }),
        }
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    tcp
}

/// No connection, because of `error`.
pub(super) fn failed(
    origin: &Origin,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SendError {
    SendError::Connect { authority: origin.authority.clone(), source: Arc::from(error.into()) }
}

/// No answer, because of `error`, though the request may have been seen.
pub(super) fn broken(
    origin: &Origin,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SendError {
    SendError::Exchange { authority: origin.authority.clone(), source: Arc::from(error.into()) }
}

/// Whether the other side has agreed to speak HTTP/2. Without TLS there is no negotiation: the configuration decides.
pub(super) fn agrees_on_http2(io: &Io) -> bool {
    match io {
        MaybeHttpsStream::Http(_) => true,
        MaybeHttpsStream::Https(_) => io.connected().is_negotiated_h2(),
    }
}
