//! A client for HTTP/2, stream by stream: what a test does not read or answer stays unread and unanswered.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::patiently;

/// The window for all streams together that common clients give. A client that gives less takes a hundred small frames
/// at a time for an attack.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// One connection. Dropping it closes it.
pub struct Http2 {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
    freeze: Option<oneshot::Sender<()>>,
}

impl Http2 {
    /// Connects without TLS and without asking whether the server speaks HTTP/2.
    ///
    /// # Panics
    /// When nothing listens, or something without HTTP/2.
    pub async fn open(addr: SocketAddr) -> Self {
        Self::with(addr, Builder::new().initial_connection_window_size(CONNECTION_WINDOW)).await
    }

    /// The same with settings of one's own.
    ///
    /// # Panics
    /// As [`Self::open`].
    pub async fn with(addr: SocketAddr, builder: &Builder) -> Self {
        let stream = TcpStream::connect(addr).await.expect("a server that listens");
        stream.set_nodelay(true).expect("a socket option of a fresh connection");
        Self::over(stream, builder).await
    }

    /// Speaks HTTP/2 over `stream`.
    ///
    /// # Panics
    /// When the server does not.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        builder: &Builder,
    ) -> Self {
        let (requests, connection) = builder.handshake(stream).await.expect("a server that speaks HTTP/2");
        let (freeze, frozen) = oneshot::channel();
        let driver = tokio::spawn(async move {
            let mut connection = Box::pin(connection);
            tokio::select! {
                ended = connection.as_mut() => return ended,
                Ok(()) = frozen => {}
            }
            // The connection stays open without being polled.
            std::future::pending().await
        });
        Self { requests, driver, freeze: Some(freeze) }
    }

    /// Sends a request with a body that is all there.
    ///
    /// # Panics
    /// When the server takes no more requests on this connection.
    pub async fn send(&mut self, request: http::Request<Bytes>) -> Stream {
        let (parts, body) = request.into_parts();
        let mut stream = self.begin(http::Request::from_parts(parts, ())).await;
        stream.body.send_data(body, true).expect("a stream that takes a body");
        stream
    }

    /// Sends the head of a request whose body follows.
    ///
    /// # Panics
    /// When the server takes no more requests on this connection.
    pub async fn begin(&mut self, head: http::Request<()>) -> Stream {
        let requests = patiently("room for a stream", self.requests.clone().ready()).await;
        let sent = requests.expect("a server that takes requests").send_request(head, false);
        let (answer, body) = sent.expect("a request that HTTP/2 can carry");
        Stream { answer, body }
    }

    /// Another handle that sends requests.
    #[must_use]
    pub fn requests(&self) -> SendRequest<Bytes> {
        self.requests.clone()
    }

    /// Waits until the server takes no more requests on this connection.
    ///
    /// # Panics
    /// When it always does.
    pub async fn told_to_go(&self) {
        let refused = async {
            while self.requests.clone().ready().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        patiently("the server to refuse requests", refused).await;
    }

    /// Waits until the connection has ended.
    ///
    /// # Errors
    /// When either side reported an error. A server that is gone before it has read the client's last frames did not.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> Result<(), h2::Error> {
        let ended = patiently("the end of a connection", &mut self.driver).await;
        match ended.expect("a driver that does not panic") {
            Err(error) if !error.is_io() => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads and answers nothing from now on, and keeps the connection open.
    pub fn freeze(&mut self) {
        if let Some(freeze) = self.freeze.take() {
            // An ended connection needs nothing more.
            let _ = freeze.send(());
        }
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A request and its answer.
pub struct Stream {
    /// The answer's head, when it comes.
    pub answer: ResponseFuture,
    /// The request's body.
    pub body: SendStream<Bytes>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// 200.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub text: String,
}

impl Stream {
    /// Cancels the request.
    pub fn reset(&mut self) {
        self.body.send_reset(Reason::CANCEL);
    }

    /// The answer's head, and its body as it comes.
    ///
    /// # Panics
    /// When there is none.
    pub async fn head(self) -> http::Response<RecvStream> {
        patiently("the head of an answer", self.answer).await.expect("an answer")
    }

    /// The whole answer.
    ///
    /// # Panics
    /// When there is none, or not to its end.
    pub async fn reply(self) -> Answer {
        let (parts, mut body) = self.head().await.into_parts();
        let text = rest(&mut body).await.expect("a body to its end");
        Answer { status: parts.status, headers: parts.headers, text }
    }
}

/// The next bytes of a body, for which the server gets as much room again.
///
/// # Errors
/// When the stream was reset.
pub async fn chunk(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(data) = patiently("the next bytes of a body", body.data()).await.transpose()? else {
        return Ok(None);
    };
    body.flow_control().release_capacity(data.len())?;
    Ok(Some(data))
}

/// All that is left of a body.
///
/// # Errors
/// As [`chunk`].
pub async fn rest(body: &mut RecvStream) -> Result<String, h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = chunk(body).await? {
        all.extend_from_slice(&data);
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// Reads on until `text` has come.
///
/// # Panics
/// When the body ends before that.
pub async fn read_until(body: &mut RecvStream, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        match chunk(body).await {
            Ok(Some(data)) => seen += &String::from_utf8_lossy(&data),
            end => panic!("{end:?} before {text:?}, after {seen:?}"),
        }
    }
    seen
}
