//! The numbers of a stream's events: what the gateway adds to a stream of Responses counts on.

use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::{Finder, FinderRev};

const NAME: &str = "\"sequence_number\"";

/// What the client got last of a stream that numbers its events.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The last piece in which there is a number.
    piece: Bytes,
    /// The one after it, into which the number may reach.
    after: Bytes,
    /// The last piece.
    last: Bytes,
}

impl Numbers {
    /// Takes the next piece.
    pub(super) fn see(&mut self, piece: &Bytes) {
        static NEEDLE: LazyLock<FinderRev<'static>> = LazyLock::new(|| FinderRev::new(NAME));
        let last = std::mem::replace(&mut self.last, piece.clone());
        if NEEDLE.rfind(piece).is_some() {
            (self.piece, self.after) = (piece.clone(), Bytes::new());
            return;
        }
        // The name itself may be cut.
        let seam = [&last[last.len() - last.len().min(NAME.len())..], piece].concat();
        if NEEDLE.rfind(&seam).is_some() {
            (self.piece, self.after) = (seam.into(), Bytes::new());
        } else if self.after.is_empty() {
            self.after = piece.clone();
        }
    }

    /// The number of the event that comes next.
    pub(super) fn next(&self) -> u64 {
        let seen = [&self.piece[..], &self.after].concat();
        let name = Finder::new(NAME);
        let found = name.find_iter(&seen).filter_map(|at| number(&seen[at + NAME.len()..]));
        found.max().map_or(0, |number| number.saturating_add(1))
    }
}

/// The whole number that follows a name.
fn number(after: &[u8]) -> Option<u64> {
    let value = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Numbers;
    use bytes::Bytes;

    #[test]
    fn what_comes_next_counts_on_wherever_pieces_are_cut() {
        let stream = "data: {\"type\":\"a\",\"sequence_number\": 41}\n\n\
            data: {\"sequence_number\":142,\"delta\":\"\\\"sequence_number\\\":7\"}\n\ndata: {\"x\":1}\n\n";
        for cut in 0..=stream.len() {
            let mut numbers = Numbers::default();
            for piece in [&stream[..cut], &stream[cut..]] {
                numbers.see(&Bytes::copy_from_slice(piece.as_bytes()));
            }
            assert_eq!(numbers.next(), 143, "cut at {cut}");
        }
        assert_eq!(Numbers::default().next(), 0);
    }
}
