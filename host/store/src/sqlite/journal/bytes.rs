//! The bytes of an entry: its kind, and its fields in the order below.
//!
//! Whole numbers are LEB128 varints, amounts zigzag before that; ids and digests are their own bytes; texts and byte
//! strings follow their length, and what may be missing follows a byte that says whether it is there. The numbers for
//! values of enums are in `code.rs`. Usage is a list of the classes that are not zero, by their own numbers, so that a
//! new class needs no new layout. The byte that says whether an answer was streamed has two more bits: what was left
//! out of the request, and what was decided about it, then end its record. Any other change of what is written here
//! needs a new format in `frame.rs`, and a reader that still reads this one.

use std::sync::Arc;

use tollgate_core::decisions::Decisions;
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::ledger::Settlement;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, ServiceTier, Usage};

use super::code::{Coded, EntryKind};
use crate::entry::{Attempt, Borrowed, Components, Digest, Entry, PluginEvent, RequestRecord};

/// A number of no class, in the list of a usage's classes: the service tier follows, where it is not the standard one.
const TIER: u64 = 0;

/// Why bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    /// A number that stands for nothing that this build knows.
    #[error("an entry holds the {what} {code}, which this Tollgate does not know")]
    Unknown {
        /// What the number is of.
        what: &'static str,
        /// The number.
        code: u64,
    },
    /// The bytes end before the entry does, or have no meaning.
    #[error("an entry is malformed")]
    Malformed,
}

/// Appends the bytes of `entry`.
pub(super) fn encode(out: &mut Vec<u8>, entry: &Entry) {
    Writer(out).entry(entry);
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// Whatever is not exactly one entry.
pub(super) fn decode(bytes: &[u8]) -> Result<Entry, EntryError> {
    let mut from = Reader(bytes);
    let entry = from.entry()?;
    if from.0.is_empty() { Ok(entry) } else { Err(EntryError::Malformed) }
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn entry(&mut self, entry: &Entry) {
        match entry {
            Entry::Hold { request, user, amount, model, at } => {
                self.start(EntryKind::Hold, *request, *user);
                self.amount(*amount);
                self.text(model);
                self.number(at.millis());
            }
            Entry::Settle { request, user, held, settlement, at, record } => {
                self.start(EntryKind::Settle, *request, *user);
                self.amount(*held);
                self.amount(settlement.posted);
                self.amount(settlement.overrun);
                self.amount(settlement.bad_debt);
                self.number(at.millis());
                self.record(record);
            }
            Entry::Void { request, user, held, at, record } => {
                self.start(EntryKind::Void, *request, *user);
                self.amount(*held);
                self.number(at.millis());
                self.record(record);
            }
            Entry::Record(record) => {
                self.code(&EntryKind::Record);
                self.record(record);
            }
            Entry::Event(event) => self.event(event),
            Entry::Attempts { request, attempts } => self.attempts(*request, attempts),
            Entry::Borrow(borrowed) => self.borrowed(borrowed),
            Entry::Lent { settle, lender, earned } => {
                self.code(&EntryKind::Lent);
                self.raw(lender.as_bytes());
                self.amount(*earned);
                self.entry(settle);
            }
        }
    }

    fn start(&mut self, kind: EntryKind, request: RequestId, user: UserId) {
        self.code(&kind);
        self.raw(request.as_bytes());
        self.raw(user.as_bytes());
    }

    fn record(&mut self, record: &RequestRecord) {
        self.raw(record.request.as_bytes());
        self.raw(record.user.as_bytes());
        self.maybe(record.api_key.as_ref(), |out, id| out.raw(id.as_bytes()));
        self.maybe(record.protocol.as_ref(), Self::code);
        self.maybe(record.operation.as_ref(), Self::code);
        self.maybe(record.provider.as_deref(), Self::text);
        self.maybe(record.model.as_deref(), Self::text);
        self.maybe(record.credential.as_ref(), |out, id| out.raw(id.as_bytes()));
        self.code(&record.outcome);
        self.maybe(record.status.as_ref(), |out, status| out.number(u64::from(*status)));
        self.number(u64::from(record.attempts));
        self.number(record.latency_ms);
        self.maybe(record.ttft_ms.as_ref(), |out, ms| out.number(*ms));
        let decided = !record.decisions.is_empty();
        let bits = u8::from(record.streamed) | (u8::from(record.left_out.is_some()) << 1);
        self.raw(&[bits | (u8::from(decided) << 2)]);
        self.usage(&record.usage);
        self.amount(record.hold);
        self.amount(record.charge);
        self.maybe(record.price_version.as_ref(), |out, version| out.number(*version));
        let Components { adapter, selector, pricing, filter } = &record.components;
        for digest in [adapter, selector, pricing, filter] {
            self.maybe(digest.as_ref(), |out, digest| out.raw(digest));
        }
        self.maybe(record.receipt.as_deref(), Self::bytes);
        self.maybe(record.filter_hash.as_deref(), Self::bytes);
        self.maybe(record.error.as_deref(), Self::text);
        self.number(record.started_at.millis());
        if let Some(left_out) = &record.left_out {
            self.text(left_out);
        }
        if decided {
            self.bytes(record.decisions.packed().bytes());
        }
    }

    fn usage(&mut self, usage: &Usage) {
        self.code(&usage.quality);
        let tier = (usage.tier != ServiceTier::Standard).then_some(u64::from(usage.tier.code()));
        self.number(usage.amounts().count() as u64 + u64::from(tier.is_some()));
        if let Some(tier) = tier {
            self.number(TIER);
            self.number(tier);
        }
        for (class, units) in usage.amounts() {
            self.number(class.code().into());
            self.number(units);
        }
    }

    fn event(&mut self, event: &PluginEvent) {
        self.code(&EntryKind::Event);
        self.number(event.at.millis());
        self.text(&event.component);
        self.text(&event.kind);
        self.maybe(event.digest.as_ref(), |out, digest| out.raw(digest));
        self.text(&event.event);
        self.maybe(event.detail.as_deref(), Self::text);
    }

    fn attempts(&mut self, request: RequestId, attempts: &[Attempt]) {
        self.code(&EntryKind::Attempts);
        self.raw(request.as_bytes());
        self.number(attempts.len() as u64);
        for attempt in attempts {
            self.raw(attempt.credential.as_bytes());
            self.maybe(attempt.status.as_ref(), |out, status| out.number(u64::from(*status)));
            self.maybe(attempt.failure.as_ref(), Self::code);
            self.number(attempt.took_ms);
        }
    }

    fn borrowed(&mut self, borrowed: &Borrowed) {
        self.code(&EntryKind::Borrow);
        self.raw(borrowed.request.as_bytes());
        self.number(u64::from(borrowed.attempt));
        self.raw(borrowed.credential.as_bytes());
        self.raw(borrowed.lender.as_bytes());
        self.text(&borrowed.model);
        self.number(borrowed.at.millis());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn code<T: Coded>(&mut self, value: &T) {
        self.0.push(value.code());
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            // The low seven bits, and a mark that more follow.
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// Small amounts take few bytes, whatever their sign.
    fn amount(&mut self, value: Micropoints) {
        let value = value.get();
        self.number((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn maybe<T: ?Sized>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.raw(&[u8::from(value.is_some())]);
        if let Some(value) = value {
            write(self, value);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn entry(&mut self) -> Result<Entry, EntryError> {
        let kind = self.code()?;
        Ok(match kind {
            EntryKind::Hold => Entry::Hold {
                request: self.request()?,
                user: self.user()?,
                amount: self.amount()?,
                model: self.shared_text()?,
                at: self.time()?,
            },
            EntryKind::Settle => self.settle()?,
            EntryKind::Void => Entry::Void {
                request: self.request()?,
                user: self.user()?,
                held: self.amount()?,
                at: self.time()?,
                record: Box::new(self.record()?),
            },
            EntryKind::Record => Entry::Record(Box::new(self.record()?)),
            EntryKind::Event => Entry::Event(self.event()?),
            EntryKind::Attempts => {
                Entry::Attempts { request: self.request()?, attempts: self.list(Self::attempt)? }
            }
            EntryKind::Borrow => Entry::Borrow(Box::new(self.borrowed()?)),
            EntryKind::Lent => {
                let (lender, earned) = (self.user()?, self.amount()?);
                match self.code()? {
                    EntryKind::Settle => Entry::Lent { settle: Box::new(self.settle()?), lender, earned },
                    _ => return Err(EntryError::Malformed),
                }
            }
        })
    }

    fn settle(&mut self) -> Result<Entry, EntryError> {
        Ok(Entry::Settle {
            request: self.request()?,
            user: self.user()?,
            held: self.amount()?,
            settlement: Settlement {
                posted: self.amount()?,
                overrun: self.amount()?,
                bad_debt: self.amount()?,
            },
            at: self.time()?,
            record: Box::new(self.record()?),
        })
    }

    fn record(&mut self) -> Result<RequestRecord, EntryError> {
        let (leaves_out, decided);
        let mut record = RequestRecord {
            request: self.request()?,
            user: self.user()?,
            api_key: self.maybe(|from| Ok(ApiKeyId::from_bytes(from.array()?)))?,
            protocol: self.maybe(Self::code)?,
            operation: self.maybe(Self::code)?,
            provider: self.maybe(Self::shared_text)?,
            model: self.maybe(Self::shared_text)?,
            credential: self.maybe(Self::credential)?,
            outcome: self.code()?,
            status: self.maybe(Self::small)?,
            attempts: self.small()?,
            latency_ms: self.number()?,
            ttft_ms: self.maybe(Self::number)?,
            streamed: {
                let bits = self.bits()?;
                (leaves_out, decided) = (bits & 2 != 0, bits & 4 != 0);
                bits & 1 != 0
            },
            usage: self.usage()?,
            hold: self.amount()?,
            charge: self.amount()?,
            price_version: self.maybe(Self::number)?,
            components: Components {
                adapter: self.maybe(Self::array)?,
                selector: self.maybe(Self::array)?,
                pricing: self.maybe(Self::array)?,
                filter: self.maybe(Self::array)?,
            },
            receipt: self.maybe(|from| Ok(from.bytes()?.to_vec()))?,
            filter_hash: self.maybe(|from| Ok(from.bytes()?.to_vec()))?,
            error: self.maybe(Self::text)?,
            started_at: self.time()?,
            left_out: None,
            decisions: Decisions::default(),
        };
        if leaves_out {
            record.left_out = Some(self.text()?);
        }
        if decided {
            let decisions = Decisions::unpacked(self.bytes()?).filter(|decisions| !decisions.is_empty());
            record.decisions = decisions.ok_or(EntryError::Malformed)?;
        }
        Ok(record)
    }

    /// Three of them.
    fn bits(&mut self) -> Result<u8, EntryError> {
        match self.array()? {
            [bits @ 0..=7] => Ok(bits),
            _ => Err(EntryError::Malformed),
        }
    }

    fn usage(&mut self) -> Result<Usage, EntryError> {
        let mut usage = Usage::of(self.code()?, &[]);
        for _ in 0..self.number()? {
            let code = self.number()?;
            if code == TIER {
                let code = self.number()?;
                let tier = u16::try_from(code).ok().and_then(ServiceTier::of_code);
                usage.tier = tier.ok_or(EntryError::Unknown { what: "service tier", code })?;
                continue;
            }
            let class = u16::try_from(code).ok().and_then(Class::of_code);
            usage[class.ok_or(EntryError::Unknown { what: "usage class", code })?] = self.number()?;
        }
        Ok(usage)
    }

    fn event(&mut self) -> Result<PluginEvent, EntryError> {
        Ok(PluginEvent {
            at: self.time()?,
            component: self.text()?,
            kind: self.text()?,
            digest: self.maybe(Self::array::<{ size_of::<Digest>() }>)?,
            event: self.text()?,
            detail: self.maybe(Self::text)?,
        })
    }

    fn attempt(&mut self) -> Result<Attempt, EntryError> {
        Ok(Attempt {
            credential: self.credential()?,
            status: self.maybe(Self::small)?,
            failure: self.maybe(Self::code)?,
            took_ms: self.number()?,
        })
    }

    fn borrowed(&mut self) -> Result<Borrowed, EntryError> {
        Ok(Borrowed {
            request: self.request()?,
            attempt: self.small()?,
            credential: self.credential()?,
            lender: self.user()?,
            model: self.shared_text()?,
            at: self.time()?,
        })
    }

    fn request(&mut self) -> Result<RequestId, EntryError> {
        self.array().map(RequestId::from_bytes)
    }

    fn user(&mut self) -> Result<UserId, EntryError> {
        self.array().map(UserId::from_bytes)
    }

    fn credential(&mut self) -> Result<CredentialId, EntryError> {
        self.array().map(CredentialId::from_bytes)
    }

    fn time(&mut self) -> Result<Timestamp, EntryError> {
        self.number().map(Timestamp::from_millis)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(EntryError::Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    fn code<T: Coded>(&mut self) -> Result<T, EntryError> {
        let [code] = self.array()?;
        T::of(code).ok_or(EntryError::Unknown { what: T::WHAT, code: u64::from(code) })
    }

    fn flag(&mut self) -> Result<bool, EntryError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(EntryError::Malformed),
        }
    }

    fn number(&mut self) -> Result<u64, EntryError> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            value |= bits << shift;
            if bits << shift >> shift != bits {
                break;
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(EntryError::Malformed)
    }

    /// A number that has fewer bits than the widest.
    fn small<T: TryFrom<u64>>(&mut self) -> Result<T, EntryError> {
        T::try_from(self.number()?).map_err(|_| EntryError::Malformed)
    }

    fn amount(&mut self) -> Result<Micropoints, EntryError> {
        let value = self.number()?;
        Ok(Micropoints::new((value >> 1).cast_signed() ^ -(value & 1).cast_signed()))
    }

    fn bytes(&mut self) -> Result<&'a [u8], EntryError> {
        let length = self.small()?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(EntryError::Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn str(&mut self) -> Result<&'a str, EntryError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| EntryError::Malformed)
    }

    fn text(&mut self) -> Result<String, EntryError> {
        self.str().map(str::to_owned)
    }

    fn shared_text(&mut self) -> Result<Arc<str>, EntryError> {
        self.str().map(Arc::from)
    }

    fn maybe<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, EntryError>,
    ) -> Result<Option<T>, EntryError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, EntryError>) -> Result<Vec<T>, EntryError> {
        (0..self.number()?).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{EntryError, decode, encode};
    use crate::entry::Entry;
    use crate::sqlite::journal::samples::{entries, hex, lines, samples};
    use proptest::prelude::*;

    fn bytes(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, entry);
        out
    }

    /// A change of these bytes is a change of the format: see the head of this file.
    #[test]
    fn the_bytes_of_every_kind_of_entry_are_as_they_were() {
        let golden = lines(include_str!("golden-2.hex"));
        let now: Vec<_> = samples().into_iter().map(|(name, entry)| (name, hex(&bytes(&entry)))).collect();
        assert_eq!(golden, now);
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_and_no_part_of_one_is_an_entry() {
        for (name, entry) in samples() {
            let whole = bytes(&entry);
            assert_eq!(decode(&whole), Ok(entry), "{name}");
            for end in 0..whole.len() {
                assert_eq!(decode(&whole[..end]), Err(EntryError::Malformed), "{name} up to {end}");
            }
            assert_eq!(decode(&[&whole[..], &[0]].concat()), Err(EntryError::Malformed), "{name}");
        }
    }

    #[test]
    fn a_number_that_stands_for_nothing_is_told_by_name() {
        let check = |at: usize, code: u8, what| {
            let mut record = bytes(&samples()[1].1);
            record[at] = code;
            assert_eq!(decode(&record), Err(EntryError::Unknown { what, code: u64::from(code) }), "{what}");
        };
        check(0, 0, "entry kind");
        check(0, 9, "entry kind");
        let record = bytes(&samples()[1].1);
        // After kind, ids, four amounts and the time: the record's two ids, then its API key.
        let key = record.windows(16).position(|window| window == [0x44; 16]).unwrap();
        check(key + 17, 4, "protocol");
        check(key + 19, 16, "operation");
        let credential = record.windows(16).position(|window| window == [0x55; 16]).unwrap();
        check(credential + 16, 8, "outcome");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2048) })]

        #[test]
        fn every_entry_comes_back(entry in entries()) {
            prop_assert_eq!(decode(&bytes(&entry)), Ok(entry));
        }

        // It ends on any input, and what it accepts as an entry is written as the same bytes again.
        #[test]
        fn bytes_of_a_broken_disk_are_refused_or_are_an_entry(
            entry in entries(), at: prop::sample::Index, byte: u8,
        ) {
            let mut broken = bytes(&entry);
            let at = at.index(broken.len());
            broken[at] = byte;
            if let Ok(read) = decode(&broken) {
                prop_assert_eq!(decode(&bytes(&read)), Ok(read));
            }
        }
    }
}
