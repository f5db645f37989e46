//! Both ends of a WebSocket: a provider that a test plays message by message, and a client of the gateway.

use std::io;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::patiently;

/// What is hashed behind the key of a handshake (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// One end of a connection.
pub struct Socket(WebSocketStream<TcpStream>);

/// A client's connection to the provider.
pub struct Visit {
    /// Path and query.
    pub target: String,
    /// What the handshake said.
    pub headers: HeaderMap,
    /// The connection.
    pub socket: Socket,
}

/// A provider that accepts every WebSocket. Dropping it closes the port.
pub struct Provider {
    addr: SocketAddr,
    visits: Mutex<mpsc::UnboundedReceiver<Visit>>,
    server: JoinHandle<()>,
}

impl Provider {
    /// Starts one on the current runtime.
    ///
    /// # Panics
    /// When no loopback port can be bound.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let addr = listener.local_addr().expect("the address of a bound listener");
        let (came, visits) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let came = came.clone();
                tokio::spawn(async move {
                    let visit = accept(stream).await.ok();
                    // A test may have dropped its side.
                    visit.is_some_and(|visit| came.send(visit).is_ok())
                });
            }
        });
        Self { addr, visits: visits.into(), server }
    }

    /// For the configuration of a provider.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The next connection.
    ///
    /// # Panics
    /// When none comes within a minute.
    pub async fn next(&self) -> Visit {
        let mut visits = self.visits.lock().await;
        patiently("a WebSocket at the provider", visits.recv()).await.expect("the provider lives")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Reads a head to its empty line.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn headers(head: &str) -> HeaderMap {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let header =
        |(name, value): (&str, &str)| Some((name.parse::<HeaderName>().ok()?, value.trim().parse().ok()?));
    lines.filter_map(header).collect()
}

async fn accept(mut stream: TcpStream) -> io::Result<Visit> {
    let head = String::from_utf8_lossy(&head(&mut stream).await?).into_owned();
    let (target, headers) = (head.split(' ').nth(1).unwrap_or_default().to_owned(), headers(&head));
    let key = headers.get("sec-websocket-key").ok_or(io::ErrorKind::InvalidData)?;
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {}\r\n\r\n",
        STANDARD.encode(sum)
    );
    stream.write_all(answer.as_bytes()).await?;
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    Ok(Visit { target, headers, socket: Socket(socket) })
}

/// Opens a WebSocket to the gateway, with these headers.
///
/// # Errors
/// Status and body, where it is refused.
///
/// # Panics
/// When nobody listens, or the answer is no HTTP.
pub async fn open(addr: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Result<Socket, (u16, String)> {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let asked = format!(
        "GET {target} HTTP/1.1\r\nhost: {addr}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    );
    let mut stream = TcpStream::connect(addr).await.expect("a server that listens");
    stream.write_all(asked.as_bytes()).await.expect("a server that reads");
    let read = patiently("a handshake", head(&mut stream)).await.expect("an answer");
    let read = String::from_utf8_lossy(&read).into_owned();
    let status: u16 = read.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let told = self::headers(&read);
    if status == 101 {
        assert_eq!(told["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "RFC 6455, section 1.3");
        return Ok(Socket(WebSocketStream::from_raw_socket(stream, Role::Client, None).await));
    }
    let length =
        told.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    patiently("a refusal", stream.read_exact(&mut body)).await.expect("a whole body");
    Err((status, String::from_utf8_lossy(&body).into_owned()))
}

impl Socket {
    /// Sends a message.
    ///
    /// # Panics
    /// When the other side has closed.
    pub async fn say(&mut self, message: &Value) {
        self.say_text(&message.to_string()).await;
    }

    /// Sends a message, to the byte.
    ///
    /// # Panics
    /// When the other side has closed.
    pub async fn say_text(&mut self, text: &str) {
        let sent = self.0.send(Message::text(text.to_owned()));
        patiently("a message to be taken", sent).await.expect("an open connection");
    }

    /// The next message, to the byte.
    ///
    /// # Panics
    /// When the other side closes instead.
    pub async fn hear_text(&mut self) -> String {
        loop {
            match patiently("a message", self.0.next()).await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?} in place of a message"),
            }
        }
    }

    /// The next message.
    ///
    /// # Panics
    /// When it is no JSON, or the other side closes instead.
    pub async fn hear(&mut self) -> Value {
        let text = self.hear_text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Waits until the other side has closed: the code that it gave, and its words.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            match patiently("the other side to close", self.0.next()).await {
                Some(Ok(Message::Close(frame))) => {
                    return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Closes in order.
    pub async fn close(mut self) {
        // The other side may have been faster.
        let _closed = patiently("a close to be taken", self.0.close(None)).await;
        self.closed().await;
    }
}
