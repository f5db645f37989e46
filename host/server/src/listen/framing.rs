//! Where one request of an HTTP/1.1 connection ends and the next begins, read before hyper does and more strictly: what
//! two readers could take in two ways, one of them a proxy in front, is refused.
//!
//! hyper takes a bare line feed for the end of a line, `chunked` behind other encodings, and a length beside chunks or
//! repeated. None of that is known here without reading the heads' lines, so they are read: once, with vectors, and
//! bodies only are counted.

use memchr::{memchr, memchr_iter};

/// Longest line of a chunk's size or of a trailer.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A line that ends in a bare line feed, or a bare carriage return.
    Line,
    /// A control character.
    Control,
    /// A line that continues the one before.
    Folded,
    /// A header whose name is empty or ends in a space.
    Name,
    /// A `Transfer-Encoding` that is not `chunked` alone.
    Encoding,
    /// A length that is no number, or stands there twice.
    Length,
    /// A length beside an encoding.
    Both,
}

impl Fault {
    /// All of them.
    pub(super) const ALL: [Self; 7] =
        [Self::Line, Self::Control, Self::Folded, Self::Name, Self::Encoding, Self::Length, Self::Both];

    /// What it is called between the two readers.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Control => "control",
            Self::Folded => "folded",
            Self::Name => "name",
            Self::Encoding => "encoding",
            Self::Length => "length",
            Self::Both => "both",
        }
    }

    /// What the client is told.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Line => "Lines of a head end in CR LF.",
            Self::Control => "A head holds no control characters.",
            Self::Folded => "A header is one line.",
            Self::Name => "A header begins with its name and a colon.",
            Self::Encoding => "`Transfer-Encoding` may be `chunked` and nothing else.",
            Self::Length => "`Content-Length` is one number, once.",
            Self::Both => "A body has `Content-Length` or `Transfer-Encoding`, not both.",
        }
    }
}

/// How long the body behind a head is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Bytes(u64),
    /// As many as its chunks say.
    Chunks,
}

/// Where a head ends, its empty line included; `None` where it has not yet. Empty lines before it are part of it. Looks
/// at what is behind `seen` alone, and a little before it.
///
/// # Errors
/// [`Fault::Line`] at the first bare line feed: where the head ends is not certain then.
pub(super) fn head_end(bytes: &[u8], seen: usize) -> Result<Option<usize>, Fault> {
    let from = seen.saturating_sub(3);
    for at in memchr_iter(b'\n', &bytes[from..]).map(|at| at + from) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Fault::Line);
        }
        // An empty line behind another: but not where nothing else came before it.
        let empty = at >= 3 && bytes[at - 3..at] == *b"\r\n\r";
        if empty && bytes[..at].iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

/// Reads a whole head.
///
/// # Errors
/// What is wrong with it. A request line that is none is left to hyper.
pub(super) fn judge(head: &[u8]) -> Result<Framing, Fault> {
    let mut head = head;
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    if head.iter().fold(false, |odd, &byte| odd | is_control(byte)) {
        return Err(Fault::Control);
    }
    let (mut length, mut chunked, mut returns) = (None, false, 0);
    let mut start = None;
    for end in memchr_iter(b'\n', head) {
        returns += 1;
        // The first line is the request's.
        let Some(begun) = start.replace(end + 1) else { continue };
        let line = &head[begun..end.saturating_sub(1).max(begun)];
        match line.first() {
            None => {}
            Some(b' ' | b'\t') => return Err(Fault::Folded),
            Some(first) => {
                let colon = memchr(b':', line).ok_or(Fault::Name)?;
                let (name, value) = (&line[..colon], &line[colon + 1..]);
                if name.last().is_none_or(|last| matches!(last, b' ' | b'\t')) {
                    return Err(Fault::Name);
                }
                match first | 0x20 {
                    b'c' if name.eq_ignore_ascii_case(b"content-length") => {
                        let number = number(value).filter(|_| length.is_none());
                        length = Some(number.ok_or(Fault::Length)?);
                    }
                    b't' if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                        if chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                            return Err(Fault::Encoding);
                        }
                        chunked = true;
                    }
                    _ => {}
                }
            }
        }
    }
    if memchr_iter(b'\r', head).count() != returns {
        return Err(Fault::Line);
    }
    match (length, chunked) {
        (Some(_), true) => Err(Fault::Both),
        (length, false) => Ok(Framing::Bytes(length.unwrap_or(0))),
        (None, true) => Ok(Framing::Chunks),
    }
}

const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\r' && byte != b'\n' && byte != b'\t') || byte == 0x7f
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// A head in place of one that is refused: the same request as far as it can be read, without a body, and with what is
/// wrong in a header that no client can send.
pub(super) fn in_place_of(head: &[u8], fault: Fault, header: &str) -> Vec<u8> {
    let head = head.trim_ascii_start();
    let line = head.split(|&byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let usual = method.iter().all(u8::is_ascii_uppercase) && target.iter().all(u8::is_ascii_graphic);
    let (method, target) =
        if usual && target.starts_with(b"/") { (method, target) } else { (&b"POST"[..], &b"/"[..]) };
    let rest = format!(" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}: {}\r\n\r\n", fault.name());
    [method, b" ", target, rest.as_bytes()].concat()
}

/// Where a body in chunks has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In the line that says how long the next one is: what was read of the number, how many digits, how much of the
    /// line.
    Size { size: u64, digits: u8, read: usize },
    /// In what stands behind the number.
    Extension { size: u64, read: usize },
    /// Before the line feed behind a size.
    SizeEnd { size: u64 },
    /// So many bytes before its end.
    Data(u64),
    /// Before the CR LF behind a chunk.
    DataEnd,
    /// Before the LF of it.
    DataLf,
    /// In the lines behind the last chunk: how much of the line was read, and whether a CR was the last of it.
    Trailer { read: usize, lines: usize, cr: bool },
    /// Behind all of it.
    Over,
}

/// A body in chunks that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoChunks;

impl Chunks {
    /// At the beginning.
    pub(super) const fn new() -> Self {
        Self::Size { size: 0, digits: 0, read: 0 }
    }

    /// Reads on, and says how many bytes were the body's.
    ///
    /// # Errors
    /// [`NoChunks`].
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, NoChunks> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Over {
            if let Self::Data(left) = self {
                let some = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += some;
                *left -= some as u64;
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                continue;
            }
            *self = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(self, byte: u8) -> Result<Self, NoChunks> {
        Ok(match (self, byte) {
            (Self::Size { size, digits, read }, byte) if byte.is_ascii_hexdigit() && digits < 16 => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1, read: read + 1 }
            }
            (Self::Size { size, digits: 1.., .. } | Self::Extension { size, .. }, b'\r') => {
                Self::SizeEnd { size }
            }
            (Self::Size { size, digits: 1.., read }, b';' | b' ' | b'\t') => Self::Extension { size, read },
            (Self::Extension { size, read }, byte) if byte != b'\n' && read < LINE_BYTES_MAX => {
                Self::Extension { size, read: read + 1 }
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer { read: 0, lines: 0, cr: false },
            (Self::SizeEnd { size }, b'\n') => Self::Data(size),
            (Self::DataEnd, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::new(),
            (Self::Trailer { read, lines, cr }, byte) => return trailer(read, lines, cr, byte),
            _ => return Err(NoChunks),
        })
    }
}

fn trailer(read: usize, lines: usize, cr: bool, byte: u8) -> Result<Chunks, NoChunks> {
    match (cr, byte) {
        (true, b'\n') if read == 0 => Ok(Chunks::Over),
        (true, b'\n') if lines < 64 => Ok(Chunks::Trailer { read: 0, lines: lines + 1, cr: false }),
        (true, _) | (false, b'\n') => Err(NoChunks),
        (false, b'\r') => Ok(Chunks::Trailer { read, lines, cr: true }),
        (false, _) if read < LINE_BYTES_MAX => Ok(Chunks::Trailer { read: read + 1, lines, cr }),
        (false, _) => Err(NoChunks),
    }
}

#[cfg(test)]
mod tests {
    use super::{Chunks, Fault, Framing, NoChunks, head_end, in_place_of, judge};

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_comes() {
        let head = b"\r\nPOST / HTTP/1.1\r\na: b\r\n\r\nbody\r\n\r\n";
        let end = head.len() - "body\r\n\r\n".len();
        for split in 0..head.len() {
            let first = head_end(&head[..split], 0);
            assert_eq!(first, Ok((split >= end).then_some(end)), "{split}");
            assert_eq!(head_end(head, split.min(end - 1)), Ok(Some(end)), "{split}");
        }
        assert_eq!(head_end(b"POST / HTTP/1.1\r\na: b\n\r\n", 0), Err(Fault::Line));
        assert_eq!(head_end(b"POST / HTTP/1.1\n\n", 0), Err(Fault::Line));
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        let judge = |lines: &str| judge(format!("POST / HTTP/1.1\r\nhost: x\r\n{lines}\r\n\r\n").as_bytes());
        assert_eq!(judge("a: b"), Ok(Framing::Bytes(0)));
        assert_eq!(judge("Content-Length: 12"), Ok(Framing::Bytes(12)));
        assert_eq!(judge("transfer-encoding:  Chunked "), Ok(Framing::Chunks));
        for encoding in
            ["gzip", "gzip, chunked", "chunked, chunked", "chunked;x=y", "", "xchunked", "identity"]
        {
            assert_eq!(judge(&format!("Transfer-Encoding: {encoding}")), Err(Fault::Encoding), "{encoding}");
        }
        assert_eq!(judge("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), Err(Fault::Encoding));
        for length in ["", "-1", "+1", "1 2", "0x1", "1,1", "99999999999999999999"] {
            assert_eq!(judge(&format!("content-length: {length}")), Err(Fault::Length), "{length}");
        }
        assert_eq!(judge("content-length: 1\r\nContent-Length: 1"), Err(Fault::Length));
        assert_eq!(judge("content-length: 1\r\ntransfer-encoding: chunked"), Err(Fault::Both));
        assert_eq!(judge("transfer-encoding: chunked\r\ncontent-length: 1"), Err(Fault::Both));
        assert_eq!(judge("a: b\r\n c"), Err(Fault::Folded));
        assert_eq!(judge("a : b"), Err(Fault::Name));
        assert_eq!(judge(": b"), Err(Fault::Name));
        assert_eq!(judge("no colon"), Err(Fault::Name));
        assert_eq!(judge("a: b\rc: d"), Err(Fault::Line));
        assert_eq!(judge("a: \0"), Err(Fault::Control));
        assert_eq!(judge("a: \x7f"), Err(Fault::Control));
    }

    #[test]
    fn a_head_in_place_of_another_asks_for_the_same() {
        let other =
            |head: &str| String::from_utf8(in_place_of(head.as_bytes(), Fault::Line, "x_fault")).unwrap();
        let told = "connection: close\r\nx_fault: line\r\n\r\n";
        assert_eq!(
            other("POST /v1/messages?a HTTP/1.1\na: b\n\n"),
            format!("POST /v1/messages?a HTTP/1.1\r\nhost: x\r\n{told}")
        );
        for odd in ["", "POST", "po\u{1}st /a HTTP/1.1\r\n", "POST http://x/ HTTP/1.1\r\n"] {
            assert!(other(odd).starts_with("POST / HTTP/1.1\r\n"), "{odd:?}");
        }
    }

    #[test]
    fn chunks_are_followed_to_their_end_however_they_come() {
        let body = b"4;ext=\"a\"\r\nWiki\r\n05 \r\npedia\r\n0\r\ntrailer: x\r\n\r\nGET / HTTP/1.1\r\n";
        let end = body.len() - "GET / HTTP/1.1\r\n".len();
        for split in 0..=end {
            let mut chunks = Chunks::new();
            assert_eq!(chunks.read(&body[..split]), Ok(split));
            assert_eq!(chunks.read(&body[split..]), Ok(end - split), "{split}");
            assert_eq!(chunks, Chunks::Over);
        }
        for odd in [
            "zz\r\n",
            "\r\n",
            "-1\r\n",
            "4\nWiki\r\n",
            "4;a\nb\r\n",
            "4\r\nWikix",
            "4\r\nWiki\n",
            "fffffffffffffffff\r\n",
            "0\r\n\n",
            "0\r\na: b\n\r\n",
            "4\r\r\n",
        ] {
            assert_eq!(Chunks::new().read(odd.as_bytes()), Err(NoChunks), "{odd:?}");
        }
        let endless = format!("4;{}", "x".repeat(10_000));
        assert_eq!(Chunks::new().read(endless.as_bytes()), Err(NoChunks));
    }
}
