//! Request bodies on their way upstream: the client's own bytes, around the few places that were spliced.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A change to a body: these bytes of the original become those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splice {
    /// Bytes of the original; empty to insert.
    pub(crate) range: Range<usize>,
    /// The replacement.
    pub(crate) with: Bytes,
}

/// A body of a few shared pieces.
#[derive(Debug, Clone, Default)]
pub struct Chained {
    pieces: VecDeque<Bytes>,
    /// Told when the last piece is on its way.
    sent: Option<Arc<AtomicBool>>,
}

impl From<Bytes> for Chained {
    fn from(bytes: Bytes) -> Self {
        let mut pieces = VecDeque::new();
        if !bytes.is_empty() {
            pieces.push_back(bytes);
        }
        Self { pieces, sent: None }
    }
}

impl From<VecDeque<Bytes>> for Chained {
    fn from(pieces: VecDeque<Bytes>) -> Self {
        Self { pieces, sent: None }
    }
}

impl Chained {
    /// `original` with `splices` applied; nothing of it is copied. Of two overlapping ones the wider counts: the filter
    /// may cover text inside a member that the road takes out or replaces as a whole.
    pub(crate) fn spliced(original: &Bytes, splices: &mut [Splice]) -> Self {
        if splices.is_empty() {
            return Self::from(original.clone());
        }
        // At one position: insertions first, then the widest.
        splices.sort_by_key(|Splice { range, .. }| (range.start, !range.is_empty(), Reverse(range.end)));
        let mut pieces = VecDeque::with_capacity(splices.len() * 2 + 1);
        let mut push = |bytes: Bytes| {
            if !bytes.is_empty() {
                pieces.push_back(bytes);
            }
        };
        let mut at = 0;
        for splice in splices.iter() {
            if splice.range.start < at {
                continue;
            }
            push(original.slice(at..splice.range.start));
            push(splice.with.clone());
            at = splice.range.end;
        }
        push(original.slice(at..));
        Self { pieces, sent: None }
    }

    /// All pieces as one.
    pub(crate) fn joined(mut self) -> Bytes {
        match self.pieces.len() {
            0 | 1 => self.pieces.pop_front().unwrap_or_default(),
            _ => Vec::from(self.pieces).concat().into(),
        }
    }

    /// What it is made of.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// The next piece.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front();
        if self.pieces.is_empty()
            && let Some(sent) = &self.sent
        {
            sent.store(true, Ordering::Relaxed);
        }
        piece
    }

    /// Has `sent` set when the last piece is on its way to a provider.
    pub(crate) fn tell(&mut self, sent: Arc<AtomicBool>) {
        self.sent = Some(sent);
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

impl Body for Chained {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pop().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::{Chained, Splice};
    use bytes::Bytes;

    fn check(original: &'static str, splices: &[(std::ops::Range<usize>, &'static str)], expected: &str) {
        let mut splices: Vec<Splice> = splices
            .iter()
            .map(|(range, with)| Splice { range: range.clone(), with: Bytes::from_static(with.as_bytes()) })
            .collect();
        let chained = Chained::spliced(&Bytes::from_static(original.as_bytes()), &mut splices);
        assert_eq!(chained.len(), expected.len());
        assert_eq!(chained.joined(), expected.as_bytes());
    }

    #[test]
    fn splices_change_their_own_bytes_and_no_others() {
        check("abcdef", &[], "abcdef");
        check("abcdef", &[(2..4, "XYZ")], "abXYZef");
        check("abcdef", &[(6..6, "!"), (0..1, "")], "bcdef!");
        check("", &[(0..0, "x")], "x");
    }

    #[test]
    fn a_splice_inside_of_another_is_gone_with_it() {
        check("abcdef", &[(2..3, "*"), (1..5, "X")], "aXf");
        check("abcdef", &[(1..2, "*"), (1..5, ""), (5..5, "!")], "a!f");
        check("abcdef", &[(1..3, "X"), (1..1, "^")], "a^Xdef");
    }
}
