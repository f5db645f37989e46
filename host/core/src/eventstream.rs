//! Splits a byte stream into the messages of `application/vnd.amazon.eventstream`.
//!
//! A message is, in big-endian numbers: its length, the length of its headers, a CRC-32 of these eight bytes, the
//! headers, the payload, and a CRC-32 of all that came before.

use thiserror::Error;

/// Longest message that is taken: the format's own bound of 16 MiB for a payload, its headers and its frame.
pub const MESSAGE_BYTES_MAX: usize = (16 << 20) + HEADERS_BYTES_MAX + FRAME_BYTES;
/// Longest headers of a message, by the format.
const HEADERS_BYTES_MAX: usize = 128 << 10;
/// Lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
/// Prelude and the checksum at the end.
const FRAME_BYTES: usize = PRELUDE_BYTES + 4;

/// Why the bytes are not messages. Nothing that follows can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A checksum does not fit.
    #[error("a message's checksum is wrong")]
    Checksum,
    /// A message is longer than the format allows, or its parts are longer than itself.
    #[error("a message's length cannot be")]
    Length,
    /// The headers are not what they should be.
    #[error("a message's headers cannot be read")]
    Headers,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Headers whose values are text, by name; others are left out.
    pub headers: Vec<(String, String)>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Message {
    /// The text of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Takes bytes as they come, cut anywhere, and returns messages when they are complete.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been returned.
    given: usize,
}

impl Decoder {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.given == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..self.given);
        }
        self.given = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete message; `None` until more bytes come.
    ///
    /// # Errors
    /// When what came is no message. Every later call says the same.
    pub fn next_message(&mut self) -> Result<Option<Message>, FrameError> {
        let bytes = self.buffer.get(self.given..).unwrap_or_default();
        let Some((total, headers)) = prelude(bytes)? else { return Ok(None) };
        let Some(message) = bytes.get(..total) else { return Ok(None) };
        let (checked, crc) = message.split_at(total - 4);
        if number(crc) != crc32fast::hash(checked) {
            return Err(FrameError::Checksum);
        }
        let (headers, payload) = checked[PRELUDE_BYTES..].split_at(headers);
        let message = Message { headers: read_headers(headers)?, payload: payload.to_vec() };
        self.given += total;
        Ok(Some(message))
    }

    /// Whether all bytes so far were whole messages.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.given == self.buffer.len()
    }
}

/// The lengths of a message and of its headers, once both are there and right.
fn prelude(bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    let Some(prelude) = bytes.first_chunk::<PRELUDE_BYTES>() else { return Ok(None) };
    let (lengths, crc) = prelude.split_at(8);
    if number(crc) != crc32fast::hash(lengths) {
        return Err(FrameError::Checksum);
    }
    let length = |at: usize| usize::try_from(number(&lengths[at..])).map_err(|_| FrameError::Length);
    let (total, headers) = (length(0)?, length(4)?);
    let fits = headers <= HEADERS_BYTES_MAX && (headers + FRAME_BYTES..=MESSAGE_BYTES_MAX).contains(&total);
    if fits { Ok(Some((total, headers))) } else { Err(FrameError::Length) }
}

/// The first four bytes as a number; 0 where there are fewer.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn read_headers(mut bytes: &[u8]) -> Result<Vec<(String, String)>, FrameError> {
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let name = take(&mut bytes, 1).map(|length| usize::from(length[0]));
        let name = name.and_then(|length| take(&mut bytes, length)).ok_or(FrameError::Headers)?;
        let kind = take(&mut bytes, 1).ok_or(FrameError::Headers)?[0];
        let length = match kind {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            6 | 7 => take(&mut bytes, 2)
                .map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])))
                .ok_or(FrameError::Headers)?,
            9 => 16,
            _ => return Err(FrameError::Headers),
        };
        let value = take(&mut bytes, length).ok_or(FrameError::Headers)?;
        if kind == 7 {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| FrameError::Headers);
            headers.push((text(name)?, text(value)?));
        }
    }
    Ok(headers)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Writes a message, for tests that play the other side.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in &message.headers {
        headers.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        headers.extend_from_slice(&name.as_bytes()[..name.len().min(255)]);
        headers.push(7);
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        headers.extend_from_slice(&length.to_be_bytes());
        headers.extend_from_slice(&value.as_bytes()[..usize::from(length)]);
    }
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length(headers.len() + message.payload.len() + FRAME_BYTES));
    bytes.extend_from_slice(&length(headers.len()));
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend_from_slice(&headers);
    bytes.extend_from_slice(&message.payload);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Decoder, FrameError, Message, encode};
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    fn decode(pieces: &[&[u8]]) -> Result<Vec<Message>, FrameError> {
        let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
        for piece in pieces {
            decoder.feed(piece);
            while let Some(message) = decoder.next_message()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    fn message(payload: &str) -> Message {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![header(":message-type", "event"), header(":event-type", "chunk")];
        Message { headers, payload: payload.as_bytes().to_vec() }
    }

    /// The smallest message of the format's published test vectors: no headers, no payload.
    const EMPTY: [u8; 16] = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];

    #[test]
    fn the_published_empty_message_is_one() {
        assert_eq!(decode(&[&EMPTY]), Ok(vec![Message::default()]));
        assert_eq!(encode(&Message::default()), EMPTY);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = encode(&message("{\"bytes\":\"aGk=\"}"));
        for at in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[at / 8] ^= 1 << (at % 8);
            assert!(decode(&[&broken]).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_its_bytes_come() {
        for (total, headers) in [(15_u32, 0_u32), (16, 1), (0x0200_0000, 0), (0x0010_0000, 0x0004_0000)] {
            let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
            assert_eq!(decode(&[&bytes]), Err(FrameError::Length), "{total} {headers}");
        }
    }

    #[test]
    fn a_cut_message_is_none_and_leaves_something_behind() {
        let bytes = encode(&message("x"));
        let mut decoder = Decoder::default();
        decoder.feed(&bytes[..bytes.len() - 1]);
        assert_eq!(decoder.next_message(), Ok(None));
        assert!(!decoder.is_empty());
        decoder.feed(&bytes[bytes.len() - 1..]);
        assert_eq!(decoder.next_message(), Ok(Some(message("x"))));
        assert!(decoder.is_empty());
    }

    #[test]
    fn every_split_gives_the_same_messages() {
        let sent = [message("one"), Message::default(), message("two")];
        let bytes: Vec<u8> = sent.iter().flat_map(encode).collect();
        for first in 0..bytes.len() {
            for second in first..bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(decode(&pieces).as_deref(), Ok(&sent[..]), "{first} {second}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn what_is_written_is_read_again(
            headers in proptest::collection::vec(("[a-z:-]{1,20}", "\\PC{0,40}"), 0..4),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let message = Message { headers, payload };
            prop_assert_eq!(decode(&[&encode(&message)]), Ok(vec![message]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = decode(&[&bytes]);
        }
    }
}
