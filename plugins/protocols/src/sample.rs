//! What the gateway's usage taps saw: one JSON value per line, in the order of the adapter's plan.

use memchr::memchr;
use serde::de::DeserializeOwned;

use crate::lenient;

/// The value that tap number `tap` saw, read into `T`. `None` when it saw nothing, or nothing of that shape.
#[must_use]
pub fn read<T: DeserializeOwned>(samples: &[u8], tap: usize) -> Option<T> {
    let mut rest = samples;
    for _ in 0..tap {
        rest = rest.get(memchr(b'\n', rest)? + 1..)?;
    }
    let line = rest.get(..memchr(b'\n', rest).unwrap_or(rest.len()))?;
    if line.is_empty() { None } else { lenient::read(line) }
}

/// The same, where a stream states what a whole answer does on the line after its own.
#[must_use]
pub fn either<T: DeserializeOwned>(samples: &[u8], whole: usize) -> Option<T> {
    read(samples, whole + 1).or_else(|| read(samples, whole))
}

/// Whether a count among these values cannot be one, so that not all that is read of them is exact.
#[must_use]
pub fn is_odd(samples: &[u8]) -> bool {
    let mut before = b' ';
    let (mut quoted, mut escaped) = (false, false);
    for &byte in samples {
        if quoted {
            (quoted, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        match byte {
            b'-' if before == b':' => return true,
            b'"' => quoted = true,
            b' ' => continue,
            _ => {}
        }
        before = byte;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{is_odd, read};

    #[test]
    fn a_count_below_nothing_is_odd_and_a_word_with_a_line_is_not() {
        assert!(is_odd(br#"{"a":{"b": -1}}"#) && is_odd(b"\n{\"a\":-7.5}\n"));
        assert!(!is_odd(br#"{"a":"-1","b":":-1\":-1","c":[1,-1],"d":7e-1}"#));
    }

    #[test]
    fn each_tap_has_its_line_and_an_empty_one_is_nothing() {
        assert_eq!(read::<u64>(b"1\n\n3", 0), Some(1));
        assert_eq!(read::<u64>(b"1\n\n3", 1), None);
        assert_eq!(read::<u64>(b"1\n\n3", 2), Some(3));
        assert_eq!(read::<u64>(b"1\n\n3", 3), None);
        assert_eq!(read::<u64>(b"1\n\"x\"", 1), None);
    }
}
