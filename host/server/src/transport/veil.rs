//! A mark in the place of what may not come back with an answer: in its head, its body, and what it says of a failure.
//!
//! A piece of a body passes as it came, by reference, unless the mask finds something in it. Only an end that may be
//! the beginning of what is looked for waits for the next piece.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderValue};
use tollgate_core::mask::Mask;

use super::broken::AnswerError;

/// An end that is shorter goes on at once, and is remembered: nearly every text ends in what may begin something.
const HELD_MIN: usize = 4;

/// Covers one body.
pub(super) struct Veil {
    mask: Arc<Mask>,
    /// The end of what came, which may be the beginning of what is looked for.
    held: Bytes,
    /// Bytes of it that have gone on.
    gone: usize,
}

impl Veil {
    /// Nothing has come yet.
    pub(super) const fn new(mask: Arc<Mask>) -> Self {
        Self { mask, held: Bytes::new(), gone: 0 }
    }

    /// What finds what is covered.
    pub(super) const fn mask(&self) -> &Arc<Mask> {
        &self.mask
    }

    /// What of a piece may go on. After the `last` one nothing is held.
    #[inline]
    pub(super) fn pass(&mut self, piece: Bytes, last: bool) -> Bytes {
        let bytes = match std::mem::take(&mut self.held) {
            held if held.is_empty() => piece,
            held => [held, piece].concat().into(),
        };
        let gone = std::mem::take(&mut self.gone);
        let held = if last { 0 } else { self.mask.begins_in(&bytes) };
        let certain = bytes.len() - held;
        let end = if held < HELD_MIN { bytes.len() } else { certain };
        if held > 0 {
            self.held = bytes.slice(certain..);
            self.gone = end.max(gone) - certain;
        }
        let passed =
            if self.mask.is_in(&bytes[..end]) { self.covered(&bytes[..end]) } else { bytes.slice(..end) };
        passed.slice(gone.min(end)..)
    }

    /// What was held: the body has ended.
    pub(super) fn rest(&mut self) -> Bytes {
        self.pass(Bytes::new(), true)
    }

    /// Bytes that wait for the next piece.
    pub(super) const fn held(&self) -> usize {
        self.held.len() - self.gone
    }

    /// What an upstream says of a failure, covered.
    pub(super) fn failure(&self, error: AnswerError) -> AnswerError {
        let AnswerError::Said { kind, mut words } = error else { return error };
        self.mask.cover(&mut words);
        let mut kind = kind.into_bytes();
        self.mask.cover(&mut kind);
        // Only whole characters of ASCII are covered.
        AnswerError::Said { kind: String::from_utf8_lossy(&kind).into_owned(), words }
    }

    fn covered(&self, bytes: &[u8]) -> Bytes {
        let mut covered = BytesMut::from(bytes);
        self.mask.cover(&mut covered);
        covered.freeze()
    }
}

/// Covers the values of a head.
pub(super) fn cover_head(mask: &Mask, headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        if mask.is_in(value.as_bytes()) {
            let mut bytes = value.as_bytes().to_vec();
            mask.cover(&mut bytes);
            *value =
                HeaderValue::from_maybe_shared(Bytes::from(bytes)).unwrap_or(HeaderValue::from_static("*"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AnswerError, HeaderMap, Veil, cover_head};
    use bytes::Bytes;
    use tollgate_core::secret::Secret;

    fn veil() -> Veil {
        Veil::new(Secret::new("sk-0123456789abcdef".to_owned()).mask().clone())
    }

    #[test]
    fn what_holds_no_secret_is_neither_copied_nor_held() {
        let piece = Bytes::from_static(b"data: {\"text\":\"sk\"}\n\n");
        let passed = veil().pass(piece.clone(), false);
        assert_eq!((passed.as_ptr(), passed.len()), (piece.as_ptr(), piece.len()));
    }

    #[test]
    fn a_secret_between_two_pieces_waits_and_goes() {
        let mut veil = veil();
        assert_eq!(veil.pass(Bytes::from_static(b"a sk-0123"), false), "a ");
        assert_eq!(veil.held(), 7);
        assert_eq!(veil.pass(Bytes::from_static(b"456789abcdef."), false), "[redacted*********].");
        assert_eq!(veil.pass(Bytes::from_static(b"sk-01"), false), "");
        assert_eq!(veil.rest(), "sk-01");
    }

    #[test]
    fn a_few_bytes_do_not_wait_and_are_not_forgotten() {
        let mut veil = veil();
        assert_eq!(veil.pass(Bytes::from_static(b"a sk"), false), "a sk");
        assert_eq!(veil.held(), 0);
        assert_eq!(veil.pass(Bytes::from_static(b"-0"), false), "");
        assert_eq!(veil.pass(Bytes::from_static(b"123456789abcdef."), false), "edacted*********].");
        assert_eq!(veil.pass(Bytes::from_static(b"s"), false), "s");
        assert_eq!(veil.pass(Bytes::from_static(b"k-"), false), "k-");
        assert_eq!(veil.pass(Bytes::from_static(b"no"), false), "no");
        assert_eq!(veil.rest(), "");
    }

    #[test]
    fn heads_and_failures_are_covered() {
        let veil = veil();
        let mut headers = HeaderMap::new();
        headers.insert("x-echo", "Bearer sk-0123456789abcdef".parse().unwrap());
        cover_head(&veil.mask, &mut headers);
        assert_eq!(headers["x-echo"], "Bearer [redacted*********]");
        let said = AnswerError::Said {
            kind: "sk-0123456789abcdef".to_owned(),
            words: b"{\"m\":\"sk-0123456789abcdef\"}".to_vec(),
        };
        let told = format!("{:?}", veil.failure(said));
        assert!(!told.contains("0123") && told.contains("[redacted*********]"), "{told}");
    }
}
