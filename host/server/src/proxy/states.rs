//! The states of a request, each made of the one before:
//!
//! ```text
//! Request ──▶ Admitted ──▶ Attempting ──▶ Answered ──▶ Ended
//!        └──▶ Refused ────────┴────────────────────────▲
//! ```
//!
//! A state holds what is known once it is reached, so that nothing about a request is looked for before it is there.
//! The states up to the answer share one allocation, and a [`Ticket`](super::ticket::Ticket) sees to it that each
//! request ends once.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderValue;
use tokio::time::Instant;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::CredentialId;
use tollgate_core::outcome::Outcome;
use tollgate_core::usage::Usage;

use super::error::ProxyError;
use super::filter::TextHash;
use super::meter::Meter;
use super::request::{Hold, Priced, Request};
use super::select::Lease;
use crate::routing::plan::{Target, Tier};
use crate::state::directory::Directory;

/// What the record says of a stream whose connection ended in order, but without the last word of its protocol.
const ENDED_EARLY: &str = "the provider's stream ended early";

/// What one attempt met, up to the first byte of its answer.
pub(crate) struct Tried {
    /// By which credential.
    pub(crate) credential: CredentialId,
    /// The status of the answer, where there was one.
    pub(crate) status: Option<u16>,
    /// Why it failed, where it did.
    pub(crate) failure: Option<FailureClass>,
    /// How long that took.
    pub(crate) took: Duration,
}

/// A request that was refused before anything was sent or reserved.
pub(crate) struct Refused {
    /// The request.
    pub(crate) request: Request,
    /// The model that was asked for, or the one that would have been paid.
    pub(crate) model: Arc<str>,
    /// Version of the price table, where it had been looked at.
    pub(crate) price_version: Option<u64>,
    /// Hash of the text that the filter refused.
    pub(crate) filter_hash: Option<TextHash>,
    /// What the client was told.
    pub(crate) error: ProxyError,
}

/// A request that may be sent: the filter passed it, and what it may cost is reserved.
pub(crate) struct Admitted {
    /// The request.
    pub(crate) request: Request,
    /// The model that is paid: the one asked for, or the fallback that serves.
    pub(crate) model: Arc<str>,
    /// What is reserved, where it is billed.
    pub(crate) hold: Option<Hold>,
    /// Which model that is: 0 the one asked for, then those that stand in.
    pub(crate) stand_in: usize,
    /// What of it the last translation has left out.
    pub(crate) left_out: Option<HeaderValue>,
}

/// A request that is tried at one target after the other.
pub(crate) struct Attempting {
    admitted: Box<Admitted>,
    /// Attempts that have begun.
    attempts: u32,
    /// What those met that have ended.
    tried: Vec<Tried>,
    /// What the last one met, where it has failed.
    last: Option<Missed>,
    /// The one that is under way.
    current: Option<Underway>,
}

/// An attempt under way.
struct Underway {
    lease: Lease,
    begun: Instant,
    /// Set when the provider has all of the request.
    sent: Arc<AtomicBool>,
}

/// An attempt that failed.
struct Missed {
    lease: Lease,
    detail: String,
}

/// A request whose answer has begun.
pub(crate) struct Answered {
    admitted: Box<Admitted>,
    attempts: u32,
    tried: Vec<Tried>,
    /// The credential that serves.
    lease: Lease,
    status: StatusCode,
    /// From the start to the first byte of the answer.
    first_byte: Duration,
    /// What passes.
    pub(crate) meter: Meter,
    /// What went wrong last, for the operator.
    error: Option<String>,
    /// Hash of text that the filter refused.
    filter_hash: Option<TextHash>,
    /// Bytes of text that the client got, where the gateway is to blame that it got no more.
    delivered: Option<u64>,
    /// Whether the client had all that was said when it left.
    pub(crate) had_all: bool,
}

/// A request that is over, and how far it had come.
pub(crate) enum Ended {
    /// It was refused.
    Refused(Box<Refused>),
    /// It got no answer to relay.
    Unanswered {
        /// How far it had come.
        attempting: Box<Attempting>,
        /// The status that the client saw, if it still was there.
        status: Option<StatusCode>,
        /// What the client was told, where no attempt says more.
        error: Option<String>,
        /// How it ended.
        outcome: Outcome,
    },
    /// Its answer had begun.
    Answered {
        /// What is known of the answer.
        answered: Box<Answered>,
        /// How it ended.
        outcome: Outcome,
    },
}

impl Admitted {
    /// This target serves it, so far as is known: what is paid is its model at its price.
    fn serve_by(&mut self, directory: &Directory, tier: &Tier<'_>, target: &Target<'_>) {
        self.model = Arc::clone(&tier.model);
        self.stand_in = tier.order;
        if let Some(hold) = &mut self.hold
            && target.price.is_some_and(|price| *price != hold.priced.price)
                | (target.default_price != hold.priced.default_price.as_deref())
            && let Some(priced) = Priced::of(&self.request, directory, target)
        {
            hold.priced = priced;
        }
    }
}

impl From<Box<Admitted>> for Attempting {
    fn from(admitted: Box<Admitted>) -> Self {
        Self { admitted, attempts: 0, tried: Vec::new(), last: None, current: None }
    }
}

impl Attempting {
    /// Another attempt begins, at this target. Returns its number, counting from 1.
    pub(crate) fn begin(&mut self, directory: &Directory, tier: &Tier<'_>, target: &Target<'_>) -> u32 {
        self.attempts += 1;
        self.admitted.serve_by(directory, tier, target);
        self.attempts
    }

    /// The attempt that `begun` then is made with this credential. Returns what has to be set once the provider has the
    /// request.
    pub(crate) fn carry(&mut self, lease: Lease, begun: Instant) -> Arc<AtomicBool> {
        let sent = Arc::new(AtomicBool::new(false));
        self.current = Some(Underway { lease, begun, sent: Arc::clone(&sent) });
        sent
    }

    /// The credential of the attempt under way.
    pub(crate) fn carried(&self) -> Option<&Lease> {
        self.current.as_ref().map(|underway| &underway.lease)
    }

    /// The attempt has ended.
    pub(crate) fn land(&mut self) -> Option<Lease> {
        self.current.take().map(|underway| underway.lease)
    }

    /// For how long a provider has been at work on the request; `None` where none has it.
    pub(crate) fn worked(&self) -> Option<Duration> {
        let underway = self.current.as_ref().filter(|underway| underway.sent.load(Ordering::Relaxed))?;
        Some(underway.begun.elapsed())
    }

    /// The translation for this attempt has left out these members.
    pub(crate) fn leave_out(&mut self, names: Option<HeaderValue>) {
        self.admitted.left_out = names;
    }

    /// An attempt has met its first byte, or failed.
    pub(crate) fn tried(&mut self, tried: Tried) {
        self.tried.push(tried);
    }

    /// The last attempt failed. The credential is kept for the record until another attempt takes its place.
    pub(crate) fn failed(&mut self, lease: Lease, detail: String) {
        self.last = Some(Missed { lease, detail });
    }

    /// The request.
    pub(crate) const fn request(&self) -> &Request {
        &self.admitted.request
    }

    /// What is reserved, where it is billed.
    pub(crate) fn hold(&self) -> Option<&Hold> {
        self.admitted.hold.as_ref()
    }

    /// Attempts that have begun.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The model that is paid.
    pub(crate) const fn model(&self) -> &Arc<str> {
        &self.admitted.model
    }

    /// The answer begins, with what `came` then.
    pub(crate) fn answered(
        self,
        lease: Lease,
        (status, came): (StatusCode, Instant),
        meter: Meter,
    ) -> Answered {
        let Self { admitted, attempts, tried, last, .. } = self;
        let first_byte = came.saturating_duration_since(admitted.request.started);
        let error = last.map(|missed| missed.detail);
        let (filter_hash, delivered) = (None, None);
        Answered {
            admitted,
            attempts,
            tried,
            lease,
            status,
            first_byte,
            meter,
            error,
            filter_hash,
            delivered,
            had_all: false,
        }
    }

    /// It ends without an answer. The client was told of `error`, or had left.
    pub(crate) fn ended(mut self, error: Option<&ProxyError>, outcome: Outcome) -> Ended {
        let status = error.map(|error| error.status(self.admitted.request.call.protocol));
        let error = error.filter(|_| self.last.is_none()).map(ProxyError::message);
        self.leave();
        Ended::Unanswered { attempting: Box::new(self), status, error, outcome }
    }

    /// It ends with the provider's own refusal, whose status the client saw.
    pub(crate) fn ended_with(mut self, status: StatusCode) -> Ended {
        self.leave();
        let (status, error, outcome) = (Some(status), None, Outcome::UpstreamError);
        Ended::Unanswered { attempting: Box::new(self), status, error, outcome }
    }

    fn leave(&mut self) {
        self.admitted.request.leave();
        let missed = self.last.as_mut().map(|missed| &mut missed.lease);
        for lease in missed.into_iter().chain(self.current.as_mut().map(|underway| &mut underway.lease)) {
            lease.leave();
        }
    }
}

impl Answered {
    /// The request.
    pub(crate) const fn request(&self) -> &Request {
        &self.admitted.request
    }

    /// The model that is paid.
    pub(crate) const fn model(&self) -> &Arc<str> {
        &self.admitted.model
    }

    /// The credential that serves.
    pub(crate) const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// When its first byte came.
    pub(crate) fn came(&self) -> Instant {
        self.admitted.request.started + self.first_byte
    }

    /// What is reserved, where it is billed.
    pub(crate) fn hold(&self) -> Option<&Hold> {
        self.admitted.hold.as_ref()
    }

    /// The balance carries no more of the answer.
    pub(crate) fn spent(&mut self) {
        self.error = Some("the balance carried no more of the answer".to_owned());
    }

    /// An error that the client is told in other words; noted for the record.
    pub(crate) fn note(&mut self, error: &ProxyError) {
        self.error.get_or_insert_with(|| error.message());
    }

    /// The gateway failed when the client had so many bytes of its text: nobody pays for the rest.
    pub(crate) const fn undelivered(&mut self, text_bytes: u64) {
        self.delivered = Some(text_bytes);
    }

    /// Bytes of text that the client got, where the gateway is to blame that it got no more.
    pub(crate) const fn delivered(&self) -> Option<u64> {
        self.delivered
    }

    /// The filter refused part of the answer.
    pub(crate) fn filtered(&mut self, hash: Option<TextHash>) {
        self.filter_hash = hash;
        self.error = Some("the content filter cut the answer".to_owned());
    }

    /// The client gets this error in place of the answer.
    pub(crate) fn replaced(&mut self, error: &ProxyError) {
        self.note(error);
        if error.is_the_gateways() {
            self.undelivered(0);
        }
        self.status = error.status(self.admitted.request.call.protocol);
    }

    /// What went wrong with the answer, for the record alone.
    pub(crate) fn remark(&mut self, words: String) {
        self.error.get_or_insert(words);
    }

    /// An error as an event of the answer's stream, with this number where its events have one; also noted for the
    /// record.
    pub(crate) fn error_event(&mut self, error: &ProxyError, number: u64) -> Bytes {
        self.note(error);
        let request = &self.admitted.request;
        error.event(request.dialect(), &request.id.to_string(), number)
    }

    /// It ends so.
    pub(crate) fn ended(mut self, outcome: Outcome) -> Ended {
        self.admitted.request.leave();
        self.lease.leave();
        self.meter.read_kept();
        if outcome == Outcome::Ok && self.meter.ended_early() {
            self.error.get_or_insert_with(|| ENDED_EARLY.to_owned());
        }
        Ended::Answered { answered: Box::new(self), outcome }
    }
}

impl Refused {
    /// It ends so.
    pub(crate) fn ended(mut self: Box<Self>) -> Ended {
        self.request.leave();
        Ended::Refused(self)
    }
}

/// What is known of a request that is over, whatever its end was: what its record is made of.
pub(crate) struct Facts<'a> {
    /// The request.
    pub(crate) request: &'a Request,
    /// The model that is paid.
    pub(crate) model: &'a Arc<str>,
    /// What is reserved, and by what it is priced.
    pub(crate) hold: Option<&'a Hold>,
    /// Version of the price table.
    pub(crate) price_version: Option<u64>,
    /// Attempts that were made.
    pub(crate) attempts: u32,
    /// The credential that served, or failed last.
    pub(crate) lease: Option<&'a Lease>,
    /// The status that the client saw.
    pub(crate) status: Option<StatusCode>,
    /// From the start to the first byte of the answer.
    pub(crate) first_byte: Option<Duration>,
    /// Hash of text that the filter refused.
    pub(crate) filter_hash: Option<TextHash>,
    /// What went wrong, for the operator.
    pub(crate) error: Option<Cow<'a, str>>,
    /// What of it was not sent on.
    pub(crate) left_out: Option<&'a str>,
    /// Which model that is: 0 the one asked for, then those that stand in.
    pub(crate) stand_in: usize,
}

impl<'a> Facts<'a> {
    fn of(admitted: &'a Admitted) -> Self {
        let hold = admitted.hold.as_ref();
        Self {
            request: &admitted.request,
            model: &admitted.model,
            hold,
            price_version: hold.map(|hold| hold.priced.version),
            attempts: 0,
            lease: None,
            status: None,
            first_byte: None,
            filter_hash: None,
            error: None,
            stand_in: admitted.stand_in,
            left_out: admitted.left_out.as_ref().and_then(|names| names.to_str().ok()),
        }
    }
}

impl Ended {
    /// What is known of it.
    pub(crate) fn facts(&self) -> Facts<'_> {
        match self {
            Self::Refused(refused) => Facts {
                request: &refused.request,
                model: &refused.model,
                hold: None,
                price_version: refused.price_version,
                attempts: 0,
                lease: None,
                status: Some(refused.error.status(refused.request.call.protocol)),
                first_byte: None,
                filter_hash: refused.filter_hash,
                error: Some(refused.error.message().into()),
                left_out: None,
                stand_in: 0,
            },
            Self::Unanswered { attempting, status, error, .. } => Facts {
                attempts: attempting.attempts,
                lease: attempting.carried().or(attempting.last.as_ref().map(|missed| &missed.lease)),
                status: *status,
                error: attempting
                    .last
                    .as_ref()
                    .map(|missed| &missed.detail)
                    .or(error.as_ref())
                    .map(Into::into),
                ..Facts::of(&attempting.admitted)
            },
            Self::Answered { answered, .. } => Facts {
                attempts: answered.attempts,
                lease: Some(&answered.lease),
                status: Some(answered.status),
                first_byte: Some(answered.first_byte),
                filter_hash: answered.filter_hash,
                error: answered.error.as_ref().map(Into::into),
                ..Facts::of(&answered.admitted)
            },
        }
    }

    /// It used so many tokens of the limits of its API key and of its credential.
    pub(crate) fn used(&mut self, usage: &Usage) {
        let (request, lease) = match self {
            Self::Refused(refused) => (&mut refused.request, None),
            Self::Unanswered { attempting, .. } => {
                let Attempting { admitted, last, current, .. } = &mut **attempting;
                let current = current.as_mut().map(|underway| &mut underway.lease);
                let lease = current.or(last.as_mut().map(|missed| &mut missed.lease));
                (&mut admitted.request, lease)
            }
            Self::Answered { answered, .. } => {
                let Answered { admitted, lease, .. } = &mut **answered;
                (&mut admitted.request, Some(lease))
            }
        };
        let billed = request.call.operation.billed();
        let tokens = if billed { usage.prompt_total().saturating_add(usage.output_total()) } else { 0 };
        if let Some(key_permit) = &mut request.key_permit {
            key_permit.settle(tokens);
        }
        if let Some(lease) = lease {
            lease.settle(tokens);
        }
    }

    /// What its attempts met.
    pub(crate) fn take_tried(&mut self) -> Vec<Tried> {
        match self {
            Self::Refused(_) => Vec::new(),
            Self::Unanswered { attempting, .. } => std::mem::take(&mut attempting.tried),
            Self::Answered { answered, .. } => std::mem::take(&mut answered.tried),
        }
    }
}
