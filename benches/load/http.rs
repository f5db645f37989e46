//! As much of HTTP/1.1 as two ends that trust each other need: where a message ends.

use std::io::{self, ErrorKind};

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// A connection that carries one message at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A message that was read whole.
pub(crate) struct Message<'a> {
    /// Request or status line and headers, or more: its first bytes, at least to the end of the head.
    pub(crate) head: &'a [u8],
    /// Bytes after the head, with the framing of chunks.
    pub(crate) body_bytes: usize,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 << 10) })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next message; `None` when the peer closed before one began.
    pub(crate) async fn read(&mut self) -> io::Result<Option<Message<'_>>> {
        self.buffer.clear();
        let head = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let length = content_length(&self.buffer[..head])?;
        while !is_complete(&self.buffer, head, length) {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some(Message { head: &self.buffer, body_bytes: self.buffer.len() - head }))
    }
}

fn is_complete(message: &[u8], head: usize, length: Option<usize>) -> bool {
    match length {
        Some(length) => message.len() >= head + length,
        None => message.ends_with(LAST_CHUNK),
    }
}

/// The length that a head states; `None` when the body is chunked.
fn content_length(head: &[u8]) -> io::Result<Option<usize>> {
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        if line[..colon].eq_ignore_ascii_case(b"content-length") {
            let digits = str::from_utf8(line[colon + 1..].trim_ascii()).ok();
            let length = digits.and_then(|digits| digits.parse().ok());
            return length.map(Some).ok_or_else(|| ErrorKind::InvalidData.into());
        }
        if line[..colon].eq_ignore_ascii_case(b"transfer-encoding") {
            return Ok(None);
        }
    }
    Ok(Some(0))
}
