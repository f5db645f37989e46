//! Entries as Tollgate 0.1.0 wrote them (format 1): postcard over the types of that time, in the order in which they
//! declared their fields and values.
//!
//! These types never change, whatever happens to the current entries, and nothing is written in this format any more.

use serde::{Deserialize, Deserializer};

use tollgate_core::decisions::Decisions;
use tollgate_core::failure::FailureClass;
use tollgate_core::ledger::Settlement;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Quality};

use super::bytes::EntryError;
use crate::entry::{self, Borrowed, Components, PluginEvent};

/// Reads an entry of 0.1.0.
///
/// # Errors
/// Whatever is not exactly one.
pub(super) fn decode(bytes: &[u8]) -> Result<entry::Entry, EntryError> {
    match postcard::take_from_bytes::<Entry>(bytes) {
        Ok((entry, [])) => Ok(entry.into()),
        Ok(_) | Err(_) => Err(EntryError::Malformed),
    }
}

/// 16 bytes with their number in front.
#[derive(Clone, Copy)]
struct Id([u8; 16]);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(from)?;
        bytes.try_into().map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize)]
enum Entry {
    Hold { request: Id, user: Id, amount: i64, model: String, at: u64 },
    Settle { request: Id, user: Id, held: i64, settlement: Settled, at: u64, record: Box<Record> },
    Void { request: Id, user: Id, held: i64, at: u64, record: Box<Record> },
    Record(Box<Record>),
    Event(Event),
    Attempts { request: Id, attempts: Vec<Attempt> },
    Borrow(Box<Borrow>),
    Lent { settle: Box<Self>, lender: Id, earned: i64 },
}

#[derive(Deserialize)]
struct Settled {
    posted: i64,
    overrun: i64,
    bad_debt: i64,
}

#[derive(Deserialize)]
struct Record {
    request: Id,
    user: Id,
    api_key: Option<Id>,
    protocol: Option<Spoken>,
    operation: Option<Asked>,
    provider: Option<String>,
    model: Option<String>,
    credential: Option<Id>,
    outcome: Ended,
    status: Option<u16>,
    attempts: u32,
    latency_ms: u64,
    ttft_ms: Option<u64>,
    streamed: bool,
    usage: Usage,
    hold: i64,
    charge: i64,
    price_version: Option<u64>,
    components: [Option<[u8; 32]>; 4],
    receipt: Option<Vec<u8>>,
    filter_hash: Option<Vec<u8>>,
    error: Option<String>,
    started_at: u64,
}

#[derive(Deserialize)]
struct Usage {
    input: u64,
    cache_read: u64,
    cache_write_short: u64,
    cache_write_long: u64,
    output: u64,
    reasoning: u64,
    audio_input: u64,
    audio_output: u64,
    quality: Trust,
}

#[derive(Deserialize)]
struct Attempt {
    credential: Id,
    status: Option<u16>,
    failure: Option<Failed>,
    took_ms: u64,
}

#[derive(Deserialize)]
struct Borrow {
    request: Id,
    attempt: u32,
    credential: Id,
    lender: Id,
    model: String,
    at: u64,
}

#[derive(Deserialize)]
struct Event {
    at: u64,
    component: String,
    kind: String,
    digest: Option<[u8; 32]>,
    event: String,
    detail: Option<String>,
}

/// An enum of 0.1.0, and what its values are today.
macro_rules! frozen {
    ($name:ident is $today:ty: $($value:ident),+) => {
        #[derive(Deserialize)]
        enum $name {
            $($value),+
        }

        impl From<$name> for $today {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$value => Self::$value),+
                }
            }
        }
    };
}

frozen!(Spoken is Protocol: OpenaiChat, OpenaiResponses, AnthropicMessages, Gemini);
frozen!(Asked is Operation: Generate, CountTokens, Embed, EmbedBatch, ListModels, Interact);
frozen!(Trust is Quality: Exact, Estimated, Missing);
frozen!(Ended is Outcome: Ok, Empty, Partial, CancelledBeforeFirstByte, CancelledAfterFirstByte, UpstreamError, Unknown,
    Refused);
frozen!(Failed is FailureClass: InvalidCredential, Permission, QuotaExhausted, RateLimited, Overloaded, BadRequest,
    ContextTooLong, ContentRefused, NotFound, Transient, Unknown);

impl From<Entry> for entry::Entry {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Hold { request, user, amount, model, at } => Self::Hold {
                request: request.into(),
                user: user.into(),
                amount: Micropoints::new(amount),
                model: model.into(),
                at: Timestamp::from_millis(at),
            },
            Entry::Settle { request, user, held, settlement, at, record } => Self::Settle {
                request: request.into(),
                user: user.into(),
                held: Micropoints::new(held),
                settlement: settlement.into(),
                at: Timestamp::from_millis(at),
                record: Box::new((*record).into()),
            },
            Entry::Void { request, user, held, at, record } => Self::Void {
                request: request.into(),
                user: user.into(),
                held: Micropoints::new(held),
                at: Timestamp::from_millis(at),
                record: Box::new((*record).into()),
            },
            Entry::Record(record) => Self::Record(Box::new((*record).into())),
            Entry::Event(event) => Self::Event(event.into()),
            Entry::Attempts { request, attempts } => Self::Attempts {
                request: request.into(),
                attempts: attempts.into_iter().map(entry::Attempt::from).collect(),
            },
            Entry::Borrow(borrow) => Self::Borrow(Box::new((*borrow).into())),
            Entry::Lent { settle, lender, earned } => Self::Lent {
                settle: Box::new((*settle).into()),
                lender: lender.into(),
                earned: Micropoints::new(earned),
            },
        }
    }
}

impl From<Record> for entry::RequestRecord {
    fn from(record: Record) -> Self {
        let [adapter, selector, pricing, filter] = record.components;
        Self {
            request: record.request.into(),
            user: record.user.into(),
            api_key: record.api_key.map(Id::into),
            protocol: record.protocol.map(Spoken::into),
            operation: record.operation.map(Asked::into),
            provider: record.provider.map(String::into),
            model: record.model.map(String::into),
            credential: record.credential.map(Id::into),
            outcome: record.outcome.into(),
            status: record.status,
            attempts: record.attempts,
            latency_ms: record.latency_ms,
            ttft_ms: record.ttft_ms,
            streamed: record.streamed,
            usage: record.usage.into(),
            hold: Micropoints::new(record.hold),
            charge: Micropoints::new(record.charge),
            price_version: record.price_version,
            components: Components { adapter, selector, pricing, filter },
            receipt: record.receipt,
            filter_hash: record.filter_hash,
            error: record.error,
            left_out: None,
            decisions: Decisions::default(),
            started_at: Timestamp::from_millis(record.started_at),
        }
    }
}

impl From<Settled> for Settlement {
    fn from(Settled { posted, overrun, bad_debt }: Settled) -> Self {
        let [posted, overrun, bad_debt] = [posted, overrun, bad_debt].map(Micropoints::new);
        Self { posted, overrun, bad_debt }
    }
}

impl From<Usage> for tollgate_core::usage::Usage {
    fn from(usage: Usage) -> Self {
        Self::of(
            usage.quality.into(),
            &[
                (Class::Input, usage.input),
                (Class::CacheRead, usage.cache_read),
                (Class::CacheWriteShort, usage.cache_write_short),
                (Class::CacheWriteLong, usage.cache_write_long),
                (Class::Output, usage.output),
                (Class::Reasoning, usage.reasoning),
                (Class::AudioInput, usage.audio_input),
                (Class::AudioOutput, usage.audio_output),
            ],
        )
    }
}

impl From<Attempt> for entry::Attempt {
    fn from(Attempt { credential, status, failure, took_ms }: Attempt) -> Self {
        Self { credential: credential.into(), status, failure: failure.map(Failed::into), took_ms }
    }
}

impl From<Borrow> for Borrowed {
    fn from(borrow: Borrow) -> Self {
        Self {
            request: borrow.request.into(),
            attempt: borrow.attempt,
            credential: borrow.credential.into(),
            lender: borrow.lender.into(),
            model: borrow.model.into(),
            at: Timestamp::from_millis(borrow.at),
        }
    }
}

impl From<Event> for PluginEvent {
    fn from(Event { at, component, kind, digest, event, detail }: Event) -> Self {
        Self { at: Timestamp::from_millis(at), component, kind, digest, event, detail }
    }
}

/// The kinds of ids that entries hold.
macro_rules! ids {
    ($($id:ident),+) => {
        $(impl From<Id> for tollgate_core::id::$id {
            fn from(Id(bytes): Id) -> Self {
                Self::from_bytes(bytes)
            }
        })+
    };
}

ids!(RequestId, UserId, ApiKeyId, CredentialId);

#[cfg(test)]
mod tests {
    use super::decode;
    use crate::sqlite::journal::samples::{bytes, lines, samples};

    /// The length and the checksum of a frame, and its format.
    const FRAME_HEAD: usize = 9;

    /// The bytes were made by 0.1.0.
    #[test]
    fn entries_of_0_1_0_are_read_as_they_were_written() {
        let golden = lines(include_str!("golden-1.hex"));
        assert_eq!(golden.len(), samples().len());
        for ((name, hex), (sample, entry)) in golden.into_iter().zip(samples()) {
            assert_eq!(name, sample);
            assert_eq!(decode(&bytes(&hex)[FRAME_HEAD..]), Ok(entry), "{name}");
        }
    }
}
