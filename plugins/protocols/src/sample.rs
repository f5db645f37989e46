//! What the gateway's usage taps saw: one JSON value per line, in the order of the adapter's plan.

use memchr::{memchr, memmem};
use serde::de::DeserializeOwned;

use crate::lenient;

/// The value that tap number `tap` saw, read into `T`. `None` when it saw nothing, or nothing of that shape.
#[must_use]
pub fn read<T: DeserializeOwned>(samples: &[u8], tap: usize) -> Option<T> {
    lenient::read(line(samples, tap)?)
}

/// What tap number `tap` saw; `None` when it saw nothing.
#[must_use]
pub fn line(samples: &[u8], tap: usize) -> Option<&[u8]> {
    let mut rest = samples;
    for _ in 0..tap {
        rest = rest.get(memchr(b'\n', rest)? + 1..)?;
    }
    let line = rest.get(..memchr(b'\n', rest).unwrap_or(rest.len()))?;
    if line.is_empty() { None } else { Some(line) }
}

/// The same, where a stream states what a whole answer does on the line after its own.
#[must_use]
pub fn either<T: DeserializeOwned>(samples: &[u8], whole: usize) -> Option<T> {
    read(samples, whole + 1).or_else(|| read(samples, whole))
}

/// Whether a count of tokens among these values is below nothing, so that not all that is read of them is exact. What
/// servers state beside them may be: a cost, a rank.
#[must_use]
pub fn is_odd(samples: &[u8]) -> bool {
    // Nearly all values are without the sign, and are not gone through.
    if memchr(b'-', samples).is_none() {
        return false;
    }
    let (mut name, mut start) = (0..0, 0);
    let (mut quoted, mut escaped, mut colon) = (false, false, false);
    for (at, &byte) in samples.iter().enumerate() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            if !quoted {
                name = start..at;
            }
            continue;
        }
        match byte {
            b'-' if colon && memmem::find(&samples[name.clone()], b"oken").is_some() => return true,
            b' ' => continue,
            b'"' => (quoted, start) = (true, at + 1),
            _ => {}
        }
        colon = byte == b':';
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{is_odd, read};

    #[test]
    fn a_count_below_nothing_is_odd_and_a_word_with_a_line_is_not() {
        assert!(is_odd(br#"{"a":{"cached_tokens": -1}}"#) && is_odd(b"\n{\"tokenCount\":-7.5}\n"));
        assert!(!is_odd(
            br#"{"tokens":"-1","b":"tokens:-1\"tokens\":-1","c":[1,-1],"tokens":7e-1,"cost":-1}"#
        ));
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
