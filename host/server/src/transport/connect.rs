//! Connections to providers, up to the point where HTTP begins.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::room::{Place, Room, is_starved};
use super::{Origin, SendError, Settings, Wire};

/// A connection.
pub(super) type Io = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Makes connections that are to speak one version of HTTP.
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    timeout: Duration,
    room: Arc<Room>,
}

impl Connector {
    /// Gives up in time, and where there is no room.
    pub(super) fn new(wire: Wire, settings: &Settings) -> Self {
        let https = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1();
        let https = match wire {
            Wire::Http1 => https.wrap_connector(tcp()),
            Wire::Http2 => https.enable_http2().wrap_connector(tcp()),
        };
        Self { https, timeout: settings.connect_timeout, room: Arc::clone(&settings.room) }
    }

    /// Speaks HTTP/2 with servers that `config` trusts.
    #[cfg(test)]
    pub(super) fn trusting(config: rustls::ClientConfig, timeout: Duration) -> Self {
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let https = https.enable_http1().enable_http2().wrap_connector(tcp());
        Self { https, timeout, room: Room::new(16) }
    }

    /// How long a connection may take.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Connects. The place is to be kept for as long as the connection.
    ///
    /// # Errors
    /// [`SendError::Connect`], [`SendError::ConnectTimeout`] and [`SendError::NoRoom`].
    pub(super) async fn connect(&self, origin: &Origin) -> Result<(Io, Place), SendError> {
        let no_room = || SendError::NoRoom { authority: origin.authority.clone() };
        let place = self.room.take().ok_or_else(no_room)?;
        let uri = Uri::builder()
            .scheme(origin.scheme.clone())
            .authority(origin.authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|error| failed(origin, error))?;
        match tokio::time::timeout(self.timeout, self.https.clone().call(uri)).await {
            Ok(Ok(io)) => Ok((io, place)),
            Ok(Err(error)) if is_starved(error.as_ref()) => Err(no_room()),
            Ok(Err(error)) => Err(failed(origin, error)),
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
