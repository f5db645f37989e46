//! A caller that a test controls to the byte: it sends and reads exactly what it is told, and leaves when it is
//! dropped.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    http1::{Head, Reader},
    patiently,
};

/// Sends one request on a connection of its own and reads the whole answer.
///
/// # Panics
/// When the server does not answer, or not to the end.
pub async fn call(addr: SocketAddr, request: &Request) -> Reply {
    let mut connection = Connection::open(addr).await;
    connection.send(request).await;
    connection.reply().await
}

/// A request to be sent. `host` and `content-length` are added on sending unless set here.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A request with a JSON body.
    #[must_use]
    pub fn post(target: &str, body: &Value) -> Self {
        Self::new("POST", target).header("content-type", "application/json").body(body.to_string())
    }

    /// A request with nothing in it yet.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header, after those added before.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds `Authorization: Bearer <key>`.
    #[must_use]
    pub fn bearer(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Sets the body, to the byte.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self, host: &str) -> Vec<u8> {
        let length = self.body.len().to_string();
        let has = |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let added =
            [("host", host), ("content-length", length.as_str())].into_iter().filter(|(name, _)| !has(name));
        for (name, value) in added.chain(own) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// 200.
    pub status: u16,
    /// Status line and headers, in order and as spelt.
    pub head: Head,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as text; bytes that are not UTF-8 show as replacement characters.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none, showing it.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

/// One connection to the server under test. Dropping it is how a caller leaves.
#[derive(Debug)]
pub struct Connection {
    reader: Reader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    host: String,
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("a server that listens");
        Self::over(stream, addr)
    }

    /// Connects from an address of this machine.
    ///
    /// # Panics
    /// When the address is not this machine's, or nobody listens.
    pub async fn open_from(from: SocketAddr, addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(from).expect("an address of this machine");
        Self::over(socket.connect(addr).await.expect("a server that listens"), addr)
    }

    fn over(stream: TcpStream, addr: SocketAddr) -> Self {
        stream.set_nodelay(true).expect("a socket option of a fresh connection");
        let (read, writer) = stream.into_split();
        Self { reader: Reader::responses(read), writer, host: addr.to_string() }
    }

    /// Sends a request.
    pub async fn send(&mut self, request: &Request) {
        let bytes = request.encode(&self.host);
        self.send_raw(&bytes).await;
    }

    /// Sends exactly these bytes. It is no failure here if the server has already refused and closed: its answer can
    /// still be read.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        let _ = patiently("the server to take what is sent", self.writer.write_all(bytes)).await;
    }

    /// The same, and says whether the server took them.
    ///
    /// # Errors
    /// When it has closed.
    pub async fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        patiently("the server to take what is sent", self.writer.write_all(bytes)).await
    }

    /// Closes the sending side, and goes on reading.
    pub async fn finish_sending(&mut self) {
        let _ = self.writer.shutdown().await;
    }

    /// The head of the next answer.
    ///
    /// # Panics
    /// When the server closes instead.
    pub async fn head(&mut self) -> Head {
        let head = patiently("the head of an answer", self.reader.head()).await;
        head.expect("a head that is HTTP").expect("an answer before the connection closes")
    }

    /// The head of the next answer, if the server sends one.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn try_head(&mut self) -> io::Result<Option<Head>> {
        patiently("the head of an answer", self.reader.head()).await
    }

    /// The next bytes of the body as they come, or `None` at its end.
    ///
    /// # Errors
    /// When the server breaks off before the end that it promised.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        patiently("the next bytes of a body", self.reader.chunk()).await
    }

    /// Reads on in the body until `text` has come, and returns everything that this call has read.
    ///
    /// # Panics
    /// When the body ends or breaks off before that.
    pub async fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let so_far = String::from_utf8_lossy(&seen);
            if so_far.contains(text) {
                return so_far.into_owned();
            }
            match self.chunk().await {
                Ok(Some(chunk)) => seen.extend_from_slice(&chunk),
                end => panic!("{end:?} before {text:?}, after {so_far:?}"),
            }
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub async fn body(&mut self) -> io::Result<Vec<u8>> {
        patiently("the end of a body", self.reader.body()).await
    }

    /// The next answer, whole.
    ///
    /// # Panics
    /// When the server does not answer, or not to the end.
    pub async fn reply(&mut self) -> Reply {
        let head = self.head().await;
        let status = head.word(1).parse().expect("a status that is a number");
        let body = self.body().await.expect("a body to its promised end");
        Reply { status, head, body }
    }

    /// Waits until the server has closed the connection. What it sent before is still to be read.
    pub async fn closed(&mut self) {
        patiently("the server to close", self.reader.closed()).await;
    }

    /// All bytes until the server closes, unparsed. To be called instead of the other reading methods, not after them.
    ///
    /// # Errors
    /// When the server resets the connection instead.
    pub async fn everything(self) -> io::Result<Vec<u8>> {
        let mut stream = self.reader.into_inner();
        let mut bytes = Vec::new();
        patiently("the server to close", stream.read_to_end(&mut bytes)).await?;
        Ok(bytes)
    }
}
