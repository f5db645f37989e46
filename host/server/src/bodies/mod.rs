//! Bodies of calls, for keys of which an operator wants them: copied on the road, redacted and sealed beside it.
//!
//! The road copies at most `[requests.bodies] bytes_max` of what the client sent and of what it got, and hands the copy
//! over when the answer is gone: to a queue of fixed length, without waiting. Copies that find it full are dropped and
//! counted (`bodies_lost`), so no answer is delayed. One task takes from the queue, redacts ([`redact`]) and stores.
//!
//! A key that keeps nothing costs one branch, before the answer's first byte.

pub(crate) mod redact;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tollgate_core::id::{ApiKeyId, RequestId};
use tollgate_core::secret::Secret;
use tollgate_store::Body;

use self::redact::Redactor;
use crate::config::KeepBodies;

/// Calls that may wait to be stored. With the bound of each copy this bounds memory.
const QUEUE: usize = 64;

/// Where the road leaves copies.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    queue: mpsc::Sender<Copied>,
    bytes_max: usize,
    /// Counts what could not be kept.
    pub(crate) lost: Counter,
}

impl Bodies {
    /// A queue, and its other end for [`crate::control::bodies`]. Lost copies are counted in `lost`.
    pub(crate) fn new(rule: &KeepBodies, lost: Counter) -> (Self, mpsc::Receiver<Copied>) {
        let (queue, copies) = mpsc::channel(QUEUE);
        (Self { queue, bytes_max: rule.bytes_max.0, lost }, copies)
    }

    /// Begins to copy a call.
    pub(crate) fn begin(&self, request: RequestId, api_key: ApiKeyId, asked: &[u8]) -> Box<Copying> {
        let mut copied =
            Copied { request, api_key, asked: Piece::default(), answered: Piece::default(), events: false };
        copied.asked.add(asked, self.bytes_max);
        Box::new(Copying { copied: Some(copied), bodies: self.clone() })
    }
}

/// The copies of a call.
#[derive(Debug)]
pub(crate) struct Copied {
    /// The call.
    pub(crate) request: RequestId,
    /// Its API key.
    pub(crate) api_key: ApiKeyId,
    /// What the client sent.
    pub(crate) asked: Piece,
    /// What the client got.
    pub(crate) answered: Piece,
    /// Whether the answer is a stream of events.
    pub(crate) events: bool,
}

/// The beginning of a body.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    bytes: Vec<u8>,
    /// Length of the whole body.
    length: u64,
}

impl Piece {
    fn add(&mut self, bytes: &[u8], bytes_max: usize) {
        self.length += bytes.len() as u64;
        let room = bytes_max.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
    }

    fn is_cut(&self) -> bool {
        self.length > self.bytes.len() as u64
    }

    /// The same, redacted.
    pub(crate) fn redacted(&self, redactor: &Redactor, events: bool) -> Body {
        let text = redactor.redact(&self.bytes, self.is_cut(), events);
        Body { text: Secret::new(text), bytes: self.length, cut: self.is_cut() }
    }
}

/// A call that is being copied. It is dropped, and thereby handed on, when its answer has ended, for whatever reason.
pub(crate) struct Copying {
    copied: Option<Copied>,
    bodies: Bodies,
}

impl Copying {
    /// The answer begins.
    pub(crate) fn answer(&mut self, events: bool) {
        if let Some(copied) = &mut self.copied {
            copied.events = events;
        }
    }

    /// Bytes of the answer.
    pub(crate) fn answered(&mut self, bytes: &[u8]) {
        if let Some(copied) = &mut self.copied {
            copied.answered.add(bytes, self.bodies.bytes_max);
        }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        if let Some(copied) = self.copied.take()
            && self.bodies.queue.try_send(copied).is_err()
        {
            self.bodies.lost.inc();
        }
    }
}
