//! Server-sent events on bytes (WHATWG HTML section 9.2.6, read 2026-11): where events end, and what one carries.
//!
//! Nothing is decoded: a UTF-8 sequence or an escape may be split over chunks, and the bytes that go on to the client
//! are the bytes that came. Every byte of a stream is in exactly one frame, or in what [`Framer::finish`] returns.

use memchr::memchr2;
use std::borrow::Cow;
use std::ops::Range;

const BYTE_ORDER_MARK: &[u8; 3] = b"\xEF\xBB\xBF";

/// Why a stream cannot be framed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// One event is longer than the framer accepts.
    #[error("an event of the stream is longer than {max_event_bytes} bytes")]
    TooLong {
        /// The limit.
        max_event_bytes: usize,
    },
}

/// One complete event with the blank line that ends it.
///
/// A blank line that ends nothing (a second one in a row) is a frame too, and so is a byte order mark that begins the
/// stream; neither has [`data`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// It lies in the chunk as a whole: a host that holds the chunk as `Bytes` slices it by `range`.
    Whole {
        /// Where in the chunk.
        range: Range<usize>,
        /// The bytes there.
        bytes: &'a [u8],
    },
    /// It began in an earlier chunk and was put together.
    Joined {
        /// All of it.
        bytes: &'a [u8],
        /// Where in this chunk it ends; 0 when the chunk only showed that it had ended before.
        end: usize,
    },
}

impl<'a> Frame<'a> {
    /// The event's bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Whole { bytes, .. } | Self::Joined { bytes, .. } => bytes,
        }
    }

    /// The offset in the chunk after the event's last byte.
    #[must_use]
    pub const fn end(&self) -> usize {
        match self {
            Self::Whole { range, .. } => range.end,
            Self::Joined { end, .. } => *end,
        }
    }
}

/// One complete event, whose bytes may be kept without a copy.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<'a> {
    /// It lies in the chunk as a whole, there.
    Whole(Range<usize>),
    /// It began in an earlier chunk, and was put together in this.
    Joined(&'a mut Vec<u8>),
}

/// What the bytes of the unfinished event mean for the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of the stream was seen but this many bytes of a byte order mark.
    Mark(usize),
    /// A line begins: a line end here is a blank line.
    LineStart,
    /// Within a line.
    Line,
    /// A CR ended a line: an LF still belongs to that end.
    LineCr,
    /// A CR made a blank line: an LF still belongs to it, anything else comes after the event.
    BlankCr,
}

/// Finds the events in a stream of chunks.
///
/// Copies bytes only for an event that is split over chunks. A CR at the end of a chunk may be half a line end, so the
/// event that it may end is passed on once the next byte is known.
#[derive(Debug)]
pub struct Framer {
    carry: Vec<u8>,
    state: State,
    max_event_bytes: usize,
    failed: bool,
}

impl Framer {
    /// A framer at the start of a stream, which accepts events of at most this many bytes, blank line included.
    #[must_use]
    pub const fn new(max_event_bytes: usize) -> Self {
        Self { carry: Vec::new(), state: State::Mark(0), max_event_bytes, failed: false }
    }

    /// Takes the next chunk, calls `event` for each event that it completes, and returns how many bytes at its end
    /// belong to an event that is not complete.
    ///
    /// # Errors
    /// [`SseError::TooLong`] for this and every later chunk; events before the long one were passed on.
    pub fn push(&mut self, chunk: &[u8], mut event: impl FnMut(Frame<'_>)) -> Result<usize, SseError> {
        self.taking(chunk, |taken, end| match taken {
            Taken::Whole(range) => {
                let bytes = chunk.get(range.clone()).unwrap_or_default();
                event(Frame::Whole { range, bytes });
            }
            Taken::Joined(bytes) => event(Frame::Joined { bytes, end }),
        })
    }

    /// As [`push`](Self::push), and lets `event` keep the bytes of an event that was put together.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_taking(&mut self, chunk: &[u8], mut event: impl FnMut(Taken<'_>)) -> Result<usize, SseError> {
        self.taking(chunk, |taken, _| event(taken))
    }

    fn taking(&mut self, chunk: &[u8], mut event: impl FnMut(Taken<'_>, usize)) -> Result<usize, SseError> {
        self.check_length(0)?;
        let mut start = 0;
        while let Some(end) = self.event_end(chunk, start) {
            self.check_length(end - start)?;
            let bytes = chunk.get(start..end).unwrap_or_default();
            if self.carry.is_empty() {
                event(Taken::Whole(start..end), end);
            } else {
                self.carry.extend_from_slice(bytes);
                event(Taken::Joined(&mut self.carry), end);
                self.carry.clear();
            }
            start = end;
        }
        let unfinished = chunk.get(start..).unwrap_or_default();
        self.check_length(unfinished.len())?;
        self.carry.extend_from_slice(unfinished);
        Ok(unfinished.len())
    }

    /// What was left of an event when the stream ended: it lacks its blank line, or that ends in a CR. Browsers drop
    /// the former; some providers send their last event that way.
    #[must_use]
    pub fn finish(&self) -> Option<&[u8]> {
        (!self.carry.is_empty()).then_some(self.carry.as_slice())
    }

    /// Where the event ends whose bytes in `chunk` begin at `start`; `None` when all of the rest belongs to it.
    fn event_end(&mut self, chunk: &[u8], start: usize) -> Option<usize> {
        let mut at = start;
        while let Some(&byte) = chunk.get(at) {
            at += 1;
            self.state = match (self.state, byte) {
                (State::LineStart | State::BlankCr | State::Mark(0), b'\n') => return self.ended(at),
                (State::BlankCr, _) => return self.ended(at - 1),
                (State::Mark(seen), _) if BYTE_ORDER_MARK.get(seen) == Some(&byte) => match seen {
                    2 => return self.ended(at),
                    _ => State::Mark(seen + 1),
                },
                (State::LineStart | State::LineCr | State::Mark(0), b'\r') => State::BlankCr,
                (_, b'\r') => State::LineCr,
                (_, b'\n') => State::LineStart,
                _ => {
                    let rest = chunk.get(at..).unwrap_or_default();
                    at += memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                    State::Line
                }
            };
        }
        None
    }

    fn ended(&mut self, at: usize) -> Option<usize> {
        self.state = State::LineStart;
        Some(at)
    }

    fn check_length(&mut self, more: usize) -> Result<(), SseError> {
        self.failed |= self.carry.len() + more > self.max_event_bytes;
        if self.failed {
            return Err(SseError::TooLong { max_event_bytes: self.max_event_bytes });
        }
        Ok(())
    }
}

/// The data of one event: its `data` lines joined by LF, borrowed when there is one; `None` when there is none.
#[must_use]
pub fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut lines = Lines(event).filter_map(|line| field(line, b"data"));
    let first = lines.next()?;
    let Some(second) = lines.next() else {
        return Some(Cow::Borrowed(first));
    };
    let mut joined = first.to_vec();
    for line in std::iter::once(second).chain(lines) {
        joined.push(b'\n');
        joined.extend_from_slice(line);
    }
    Some(Cow::Owned(joined))
}

/// The name of one event: its last `event` line.
#[must_use]
pub fn event_name(event: &[u8]) -> Option<&[u8]> {
    Lines(event).filter_map(|line| field(line, b"event")).last()
}

/// The value of `line` when it is a field of this name: what follows the colon, without one space.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        [] => Some(&[]),
        _ => None,
    }
}

/// The lines of an event without their ends. A CRLF gives one empty line too many, which is no field.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let (line, rest) = self.0.split_at(memchr2(b'\n', b'\r', self.0).unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        Some(line)
    }
}

#[cfg(test)]
mod tests;
