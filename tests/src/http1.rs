//! HTTP/1.1 as the harness reads it: by hand, so that a test sees the very bytes and where they stop.
//!
//! [`Reader`] serves both ends: [`crate::upstream`] reads requests with it, [`crate::client`] reads responses.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The first line and the headers of a message, in the order and spelling in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// `POST /v1/messages HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub first_line: String,
    /// Names and values; a name may come more than once.
    pub headers: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> io::Result<Self> {
        let mut lines = text.split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) =
                    line.split_once(':').ok_or_else(|| garbage("a header without a colon"))?;
                Ok((name.to_owned(), value.trim().to_owned()))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { first_line, headers })
    }

    /// The first value of a header, whatever the case of its name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The `n`th word of the first line, from 0; empty when there is none.
    #[must_use]
    pub fn word(&self, n: usize) -> &str {
        self.first_line.split(' ').nth(n).unwrap_or_default()
    }
}

/// The rest of a body.
#[derive(Debug, Clone, Copy)]
enum Rest {
    Nothing,
    /// Bytes of a body with a length.
    Length(usize),
    /// Bytes of the current chunk; with 0 a size line comes next.
    Chunked(usize),
    UntilClose,
}

/// Reads messages off one side of a connection.
#[derive(Debug)]
pub struct Reader<R> {
    stream: R,
    buffer: BytesMut,
    rest: Rest,
    /// What a message without a length means: no body for a request, the rest of the stream for a response.
    unframed: Rest,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads requests.
    pub fn requests(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new(), rest: Rest::Nothing, unframed: Rest::Nothing }
    }

    /// Reads responses.
    pub fn responses(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new(), rest: Rest::Nothing, unframed: Rest::UntilClose }
    }

    /// The stream itself, without what was read of it and not taken.
    pub fn into_inner(self) -> R {
        self.stream
    }

    /// The next head, or `None` when the peer closed instead of sending one.
    ///
    /// # Errors
    /// When the connection fails or ends within the head, or the head is not HTTP.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(text) = self.until(b"\r\n\r\n").await? else { return Ok(None) };
        let head = Head::parse(&text)?;
        self.rest = self.framing(&head)?;
        Ok(Some(head))
    }

    fn framing(&self, head: &Head) -> io::Result<Rest> {
        if matches!(head.word(1), "204" | "304") {
            return Ok(Rest::Nothing);
        }
        if head.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Ok(Rest::Chunked(0));
        }
        match head.header("content-length").map(str::parse) {
            Some(Ok(length)) => Ok(Rest::Length(length)),
            Some(Err(_)) => Err(garbage("a content-length that is no number")),
            None => Ok(self.unframed),
        }
    }

    /// The next bytes of the body as they come, or `None` at its end.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the peer closed before the end that it had promised.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.rest {
                Rest::Nothing | Rest::Length(0) => return Ok(None),
                Rest::Length(left) => return self.part(left, Rest::Length).await.map(Some),
                Rest::Chunked(0) => self.chunk_size().await?,
                Rest::Chunked(left) => {
                    let part = self.part(left, Rest::Chunked).await?;
                    if matches!(self.rest, Rest::Chunked(0)) {
                        self.until(b"\r\n").await?;
                    }
                    return Ok(Some(part));
                }
                Rest::UntilClose => {
                    let open = !self.buffer.is_empty() || self.fill().await?;
                    return Ok(open.then(|| self.buffer.split().freeze()));
                }
            }
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// As [`Self::chunk`]; what had come is lost.
    pub async fn body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Waits until the peer has closed. Bytes that come meanwhile are kept for the next message.
    pub async fn closed(&mut self) {
        while let Ok(true) = self.fill().await {}
    }

    /// Reads the size line of a chunk, and the end of the body when it is 0.
    async fn chunk_size(&mut self) -> io::Result<()> {
        let line = self.until(b"\r\n").await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let digits = line.split(';').next().unwrap_or_default();
        let size =
            usize::from_str_radix(digits, 16).map_err(|_| garbage("a chunk size that is no number"))?;
        self.rest = Rest::Chunked(size);
        if size == 0 {
            self.until(b"\r\n").await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.rest = Rest::Nothing;
        }
        Ok(())
    }

    /// Takes what has come of `left` bytes, waiting for at least one.
    async fn part(&mut self, left: usize, rest: fn(usize) -> Rest) -> io::Result<Bytes> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let part = self.buffer.split_to(left.min(self.buffer.len())).freeze();
        self.rest = rest(left - part.len());
        Ok(part)
    }

    /// The text up to `end`, which is consumed as well. `None` when the stream ended before its first byte.
    async fn until(&mut self, end: &[u8]) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                let text = self.buffer.split_to(at);
                let _ = self.buffer.split_to(end.len());
                return String::from_utf8(text.into())
                    .map(Some)
                    .map_err(|_| garbage("text that is no UTF-8"));
            }
            if !self.fill().await? {
                let clean = self.buffer.is_empty();
                return if clean { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads more into the buffer; false at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

fn garbage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::Reader;

    /// Reads one response and returns its body, or what went wrong.
    async fn read(bytes: &[u8]) -> Result<Vec<u8>, std::io::ErrorKind> {
        let mut reader = Reader::responses(bytes);
        reader.head().await.unwrap().unwrap();
        reader.body().await.map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn a_body_ends_where_its_head_says() {
        let length = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500";
        assert_eq!(read(length).await.unwrap(), b"ok");
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\nA;x\r\nk012345678\r\n0\r\n\r\n";
        assert_eq!(read(chunked).await.unwrap(), b"ok012345678");
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\nto the end").await.unwrap(), b"to the end");
    }

    #[tokio::test]
    async fn a_body_cut_anywhere_is_no_whole_body() {
        let whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let head = whole.len() - b"2\r\nok\r\n0\r\n\r\n".len();
        for at in head..whole.len() {
            assert_eq!(read(&whole[..at]).await, Err(std::io::ErrorKind::UnexpectedEof), "cut at {at}");
        }
    }
}
