//! A provider that speaks HTTP/2, frame by frame: the test sends every frame itself, and sees every frame of the
//! gateway.
//!
//! ```ignore
//! let provider = Provider::start().await;
//! let mut session = provider.session(100).await;     // the next connection, agreed on
//! let stream = session.request().await;              // a request has come whole
//! session.head(stream, "text/event-stream").await;
//! session.data(stream, "data: one\n\n", true).await;
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::patiently;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// The type of a frame (RFC 9113 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A piece of a body.
    Data,
    /// A head.
    Headers,
    /// The end of one stream.
    Reset,
    /// Settings of the connection.
    Settings,
    /// A ping.
    Ping,
    /// The end of the connection.
    GoAway,
    /// More room to send.
    WindowUpdate,
    /// Another one.
    Other(u8),
}

impl Kind {
    const fn of(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            3 => Self::Reset,
            4 => Self::Settings,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            other => Self::Other(other),
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Reset => 3,
            Self::Settings => 4,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::WindowUpdate => 8,
            Self::Other(byte) => byte,
        }
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// The number of its stream.
    pub stream: u32,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The number that a reset, or the end of a connection, gives for its reason.
    #[must_use]
    pub fn reason(&self) -> u32 {
        let at = if self.kind == Kind::GoAway { 4 } else { 0 };
        self.payload
            .get(at..at + 4)
            .map_or(0, |bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }
}

/// A provider on a loopback port.
pub struct Provider {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Provider {
    /// Starts one.
    ///
    /// # Panics
    /// When no loopback port can be bound.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port for the provider");
        let addr = listener.local_addr().expect("the address of a bound listener");
        Self { listener, addr }
    }

    /// `http://127.0.0.1:<port>`, for the configuration of a provider.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The next connection, which takes `streams` requests at a time.
    ///
    /// # Panics
    /// When none comes within a minute, or it does not begin as HTTP/2 does.
    pub async fn session(&self, streams: u32) -> Session {
        let accepted = patiently("a connection at the provider", self.listener.accept()).await;
        let (stream, _) = accepted.expect("a connection");
        stream.set_nodelay(true).expect("a socket option of a fresh connection");
        let mut session = Session { stream, bodies: HashMap::new() };
        let mut preface = [0; PREFACE.len()];
        patiently("a preface", session.stream.read_exact(&mut preface)).await.expect("a preface");
        assert_eq!(preface, PREFACE);
        session.settings(streams).await;
        session
    }

    /// Whether another connection waits to be accepted.
    pub async fn is_wanted(&self) -> bool {
        tokio::select! { biased; _ = self.listener.accept() => true, () = tokio::task::yield_now() => false }
    }
}

/// A connection of the gateway.
pub struct Session {
    stream: TcpStream,
    /// Bodies of requests that have come whole.
    bodies: HashMap<u32, Vec<u8>>,
}

impl Session {
    /// The next frame of the gateway; `None` when it has closed the connection. Settings are acknowledged and pings
    /// answered.
    ///
    /// # Panics
    /// When nothing comes within a minute.
    pub async fn frame(&mut self) -> Option<Frame> {
        let frame = patiently("a frame at the provider", self.read()).await?;
        if matches!(frame.kind, Kind::Settings | Kind::Ping) && frame.flags & ACK == 0 {
            let payload = if frame.kind == Kind::Ping { frame.payload.clone() } else { Vec::new() };
            self.send(frame.kind, ACK, 0, &payload).await;
        }
        Some(frame)
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind: Kind::of(kind), flags, stream: u32::from_be_bytes([d & 0x7f, e, f, g]), payload })
    }

    /// The next frame of this kind.
    ///
    /// # Panics
    /// When the gateway closes the connection before that.
    pub async fn next(&mut self, kind: Kind) -> Frame {
        loop {
            let frame =
                self.frame().await.unwrap_or_else(|| panic!("the end of the connection before {kind:?}"));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The stream of the next request, when it has come whole.
    ///
    /// # Panics
    /// When the gateway closes the connection before that.
    pub async fn request(&mut self) -> u32 {
        loop {
            let frame = self.frame().await.expect("a request before the end of the connection");
            match frame.kind {
                Kind::Data => self.bodies.entry(frame.stream).or_default().extend_from_slice(&frame.payload),
                Kind::Headers => {}
                _ => continue,
            }
            if frame.flags & END_STREAM != 0 {
                return frame.stream;
            }
        }
    }

    /// The body of a request that has come whole.
    #[must_use]
    pub fn body(&self, stream: u32) -> String {
        String::from_utf8_lossy(self.bodies.get(&stream).map_or(&[], Vec::as_slice)).into_owned()
    }

    /// Waits until the gateway has closed the connection.
    pub async fn closed(&mut self) {
        while self.frame().await.is_some() {}
    }

    /// Sends a frame. It is no failure here if the gateway has closed.
    pub async fn send(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a frame of bearable length").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind.byte(), flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        let _gone = self.stream.write_all(&frame).await;
    }

    /// Says how many requests the connection takes at a time.
    pub async fn settings(&mut self, streams: u32) {
        let payload = [&[0, 3][..], &streams.to_be_bytes()].concat();
        self.send(Kind::Settings, 0, 0, &payload).await;
    }

    /// Begins an answer of status 200.
    pub async fn head(&mut self, stream: u32, content_type: &str) {
        let length = u8::try_from(content_type.len()).expect("a short name");
        // `:status: 200` of the static table, then a literal value for the name `content-type` of it (RFC 7541).
        let block = [&[0x88, 0x0f, 0x10, length][..], content_type.as_bytes()].concat();
        self.send(Kind::Headers, END_HEADERS, stream, &block).await;
    }

    /// Begins an answer of status 200 with its length.
    pub async fn head_of(&mut self, stream: u32, content_type: &str, length: usize) {
        let (kind, digits) = (content_type.as_bytes(), length.to_string());
        let count = |bytes: &[u8]| u8::try_from(bytes.len()).expect("a short value");
        // As above, with a literal value for the name `content-length`.
        let lengths = [&[0x0f, 0x0d, count(digits.as_bytes())][..], digits.as_bytes()].concat();
        let block = [&[0x88, 0x0f, 0x10, count(kind)][..], kind, &lengths].concat();
        self.send(Kind::Headers, END_HEADERS, stream, &block).await;
    }

    /// Sends a piece of an answer, which may be the last.
    pub async fn data(&mut self, stream: u32, data: &str, last: bool) {
        self.send(Kind::Data, u8::from(last), stream, data.as_bytes()).await;
    }

    /// Ends a stream for this reason.
    pub async fn reset(&mut self, stream: u32, reason: u32) {
        self.send(Kind::Reset, 0, stream, &reason.to_be_bytes()).await;
    }

    /// Says that no stream after `last` was handled, and that the connection ends when the others do.
    pub async fn go_away(&mut self, last: u32) {
        self.send(Kind::GoAway, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }
}
