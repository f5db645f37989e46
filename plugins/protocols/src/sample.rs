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

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn each_tap_has_its_line_and_an_empty_one_is_nothing() {
        assert_eq!(read::<u64>(b"1\n\n3", 0), Some(1));
        assert_eq!(read::<u64>(b"1\n\n3", 1), None);
        assert_eq!(read::<u64>(b"1\n\n3", 2), Some(3));
        assert_eq!(read::<u64>(b"1\n\n3", 3), None);
        assert_eq!(read::<u64>(b"1\n\"x\"", 1), None);
    }
}
