//! Server-sent events (WHATWG HTML section 9.2.6, read 2026-11) in whatever pieces they come.

use memchr::memchr2;

/// Finds the events of a stream and hands out what their `data:` lines held.
///
/// Names of events are not kept, but whether it is `error`: in all four protocols the data says what it is, and some
/// servers name an event so that says nothing else of it.
#[derive(Debug, Default)]
pub(crate) struct Framer {
    /// A line that has not ended.
    line: Vec<u8>,
    /// The data of an event that has not ended.
    data: Vec<u8>,
    has_data: bool,
    is_error: bool,
    /// The last line ended in CR, so that an LF still belongs to its end.
    after_cr: bool,
    /// A line was seen, so that no byte order mark can come.
    begun: bool,
}

/// What the `data:` lines of an event held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data<'e> {
    pub(crate) bytes: &'e [u8],
    /// Whether the event is named `error`.
    pub(crate) is_error: bool,
}

/// An event that is longer than [`Framer::MAX_EVENT_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Framer {
    /// Images come in single events.
    pub(crate) const MAX_EVENT_BYTES: usize = 64 << 20;

    /// Takes the next bytes and calls `event` for each event that they complete.
    ///
    /// # Errors
    /// An event is too long; nothing can be read after it.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut event: impl FnMut(Data<'_>)) -> Result<(), TooLong> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (piece, rest) = bytes.split_at(end);
            if self.line.is_empty() {
                self.line(piece, &mut event);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(piece);
                self.line(&line, &mut event);
                line.clear();
                self.line = line;
            }
            bytes = match rest {
                [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
                [] => rest,
            };
            self.after_cr = bytes.is_empty() && rest == b"\r";
            self.check_length(0)?;
        }
        self.line.extend_from_slice(bytes);
        if self.line.first() == Some(&b':') {
            // Of a comment nothing is kept but that it is one.
            self.line.truncate(1);
        }
        self.check_length(self.line.len())
    }

    /// Hands out the last event, if the stream ended without the blank line that should end it.
    pub(crate) fn finish(&mut self, mut event: impl FnMut(Data<'_>)) {
        let line = std::mem::take(&mut self.line);
        self.line(&line, &mut event);
        self.line(b"", &mut event);
    }

    fn line(&mut self, line: &[u8], event: &mut impl FnMut(Data<'_>)) {
        let line = if self.begun { line } else { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                event(Data { bytes: &self.data, is_error: self.is_error });
                self.data.clear();
            }
            self.is_error = false;
            return;
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', value @ ..]) => value.strip_prefix(b" ").unwrap_or(value),
            _ => {
                // Otherwise a comment, or another field.
                self.is_error |= matches!(line, b"event: error" | b"event:error");
                return;
            }
        };
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
    }

    const fn check_length(&self, unfinished: usize) -> Result<(), TooLong> {
        if self.data.len().saturating_add(unfinished) > Self::MAX_EVENT_BYTES { Err(TooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Data, Framer, TooLong};

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let mut framer = Framer::default();
        let mut events = Vec::new();
        for chunk in chunks {
            let take = |data: Data<'_>| events.push(String::from_utf8(data.bytes.to_vec()).unwrap());
            framer.push(chunk, take).unwrap();
        }
        framer.finish(|data| events.push(String::from_utf8(data.bytes.to_vec()).unwrap()));
        events
    }

    #[test]
    fn events_are_found_however_lines_end_and_wherever_bytes_part() {
        let stream = "\u{feff}: ping\r\n\r\nevent: x\ndata: é1\n\ndata:2\r\rid: 7\r\ndata:  3\r\ndata\r\n\r\n\n\ndata: 4";
        let expected = ["é1", "2", " 3\n", "4"];
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let bytes = stream.as_bytes();
                let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(events(&chunks), expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn an_endless_event_is_not_kept() {
        let mut framer = Framer::default();
        let chunk = vec![b'x'; 1 << 20];
        let pushed: Vec<_> = (0..65).map(|_| framer.push(&chunk, |_| ())).collect();
        assert_eq!(pushed.iter().filter(|pushed| **pushed == Err(TooLong)).count(), 1);
    }
}
