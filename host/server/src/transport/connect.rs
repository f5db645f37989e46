//! Connections to providers, up to where HTTP begins.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::{Origin, SendError};

/// A connection.
pub(super) type Io = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Makes connections.
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

impl Connector {
    /// Gives up after `timeout`.
    pub(super) fn new(timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        let https = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http();
        let https = https.enable_http1().wrap_connector(tcp);
        Self { https, timeout }
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
