//! The canonical bytes of a receipt: a version byte, a fixed order, big-endian integers of fixed width, length-prefixed
//! text.
//!
//! Version 2 added the user's price rate, what was held and the reason. Version 3 names classes by their numbers, in
//! order, and only those with units or with a rate of their own; it also has the tier in which the request was served,
//! and what tokens cost there. Version 4 is the same with the entry of the price list at its end, and is written where
//! that is no price of the model's own. What an older version lacks reads as `None`, or as what was true of all
//! receipts then.

use super::{Reason, Receipt, ReceiptError};
use crate::id::{RequestId, UserId};
use crate::outcome::Outcome;
use crate::points::Micropoints;
use crate::price::{PriceRate, Rates, TierFactors};
use crate::protocol::Owner;
use crate::time::Timestamp;
use crate::usage::{Class, Quality, ServiceTier, Usage};

/// The layouts that are written; the first byte.
const VERSION_4: u8 = 4;
const VERSION_3: u8 = 3;
/// The first of the layouts before them, which are still read.
const VERSION_1: u8 = 1;

impl Receipt {
    /// The bytes that stand for this receipt everywhere.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(280 + self.model.len()));
        out.raw(&[if self.default_price.is_some() { VERSION_4 } else { VERSION_3 }]);
        out.raw(self.request.as_bytes());
        out.raw(self.user.as_bytes());
        out.text(&self.model);
        out.u64(self.price_version);
        out.raw(&self.pricing_component);
        out.raw(&self.config_digest);
        out.raw(&[owner_code(self.owner)]);
        let stated = self.rates.each().filter(|(class, _)| !self.rates.is_implied(*class));
        out.amounts(stated.map(|(class, rate)| (class, rate.to_be_bytes())));
        out.i64(self.rates.request);
        out.amounts(self.usage.amounts().map(|(class, units)| (class, units.to_be_bytes())));
        out.raw(&[quality_code(self.usage.quality)]);
        out.u16(self.usage.tier.code());
        out.u32(self.tier_ppm);
        out.raw(&[outcome_code(self.outcome)]);
        out.u64(self.admitted_at.millis());
        out.i64(self.charge.get());
        out.u64(u64::from(self.price_rate.ppm()));
        out.i64(self.held.map_or(UNKNOWN, Micropoints::get));
        out.raw(&[self.reason.map_or(NO_REASON, reason_code)]);
        if let Some(entry) = &self.default_price {
            out.text(entry);
        }
        out.0
    }

    /// Reads what [`Self::canonical_bytes`] wrote.
    ///
    /// # Errors
    /// Whatever is not exactly one receipt: see [`ReceiptError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let mut from = Reader(bytes);
        let version = from.u8()?;
        if !(VERSION_1..=VERSION_4).contains(&version) {
            return Err(ReceiptError::Version(version));
        }
        let mut receipt = Self {
            request: RequestId::from_bytes(from.array()?),
            user: UserId::from_bytes(from.array()?),
            model: from.text("model")?,
            default_price: None,
            price_version: from.u64()?,
            pricing_component: from.array()?,
            config_digest: from.array()?,
            owner: owner_of(from.u8()?)?,
            rates: if version >= VERSION_3 { from.rates()? } else { from.rates_2()? },
            usage: if version >= VERSION_3 { from.usage()? } else { from.usage_2()? },
            tier_ppm: if version >= VERSION_3 { from.u32()? } else { TierFactors::STANDARD_PPM },
            outcome: outcome_of(from.u8()?)?,
            admitted_at: Timestamp::from_millis(from.u64()?),
            charge: Micropoints::new(from.i64()?),
            price_rate: PriceRate::FULL,
            held: None,
            reason: None,
        };
        if version != VERSION_1 {
            receipt.price_rate = from.price_rate()?;
            receipt.held = Some(from.i64()?).filter(|held| *held != UNKNOWN).map(Micropoints::new);
            receipt.reason = reason_of(from.u8()?)?;
        }
        if version == VERSION_4 {
            receipt.default_price = Some(from.text("price")?);
        }
        if from.0.is_empty() { Ok(receipt) } else { Err(ReceiptError::Trailing) }
    }
}

/// The classes whose units versions 1 and 2 hold, in their order.
const USAGE_2: [Class; 8] = [
    Class::Input,
    Class::CacheRead,
    Class::CacheWriteShort,
    Class::CacheWriteLong,
    Class::Output,
    Class::Reasoning,
    Class::AudioInput,
    Class::AudioOutput,
];
/// The classes whose rates they hold; that of the request follows.
const RATES_2: [Class; 7] = [
    Class::Input,
    Class::CacheRead,
    Class::CacheWriteShort,
    Class::CacheWriteLong,
    Class::Output,
    Class::AudioInput,
    Class::AudioOutput,
];

// The codes are part of the layout and therefore spelt out: reordering an enum must not change old receipts.

const fn owner_code(owner: Owner) -> u8 {
    match owner {
        Owner::User => 0,
        Owner::Platform => 1,
        Owner::Shared => 2,
    }
}

fn owner_of(code: u8) -> Result<Owner, ReceiptError> {
    match code {
        0 => Ok(Owner::User),
        1 => Ok(Owner::Platform),
        2 => Ok(Owner::Shared),
        _ => Err(ReceiptError::Field("owner")),
    }
}

const fn quality_code(quality: Quality) -> u8 {
    match quality {
        Quality::Exact => 0,
        Quality::Estimated => 1,
        Quality::Missing => 2,
    }
}

fn quality_of(code: u8) -> Result<Quality, ReceiptError> {
    match code {
        0 => Ok(Quality::Exact),
        1 => Ok(Quality::Estimated),
        2 => Ok(Quality::Missing),
        _ => Err(ReceiptError::Field("quality")),
    }
}

const fn outcome_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Ok => 0,
        Outcome::Empty => 1,
        Outcome::Partial => 2,
        Outcome::CancelledBeforeFirstByte => 3,
        Outcome::CancelledAfterFirstByte => 4,
        Outcome::UpstreamError => 5,
        Outcome::Unknown => 6,
        Outcome::Refused => 7,
    }
}

fn outcome_of(code: u8) -> Result<Outcome, ReceiptError> {
    Outcome::ALL
        .into_iter()
        .find(|outcome| outcome_code(*outcome) == code)
        .ok_or(ReceiptError::Field("outcome"))
}

/// Stands for the missing hold where an older receipt is written again: no hold is below zero.
const UNKNOWN: i64 = -1;
/// Stands for the missing reason, likewise.
const NO_REASON: u8 = 0xff;

const fn reason_code(reason: Reason) -> u8 {
    match reason {
        Reason::Full => 0,
        Reason::OwnCredential => 1,
        Reason::Free => 2,
    }
}

fn reason_of(code: u8) -> Result<Option<Reason>, ReceiptError> {
    match code {
        0 => Ok(Some(Reason::Full)),
        1 => Ok(Some(Reason::OwnCredential)),
        2 => Ok(Some(Reason::Free)),
        NO_REASON => Ok(None),
        _ => Err(ReceiptError::Field("reason")),
    }
}

/// Appends fields.
struct Writer(Vec<u8>);

impl Writer {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// How many classes there are, and each with its eight bytes.
    fn amounts(&mut self, each: impl Iterator<Item = (Class, [u8; 8])>) {
        let (at, mut some) = (self.0.len(), 0_u8);
        self.raw(&[some]);
        for (class, bytes) in each {
            self.u16(class.code());
            self.raw(&bytes);
            // No table holds 256 classes.
            some = some.saturating_add(1);
        }
        if let Some(count) = self.0.get_mut(at) {
            *count = some;
        }
    }

    fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    /// Length in bytes as 64 bits, then UTF-8.
    fn text(&mut self, text: &str) {
        self.u64(text.len() as u64);
        self.raw(text.as_bytes());
    }
}

/// Takes fields off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReceiptError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(ReceiptError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, ReceiptError> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, ReceiptError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, ReceiptError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, ReceiptError> {
        self.array().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, ReceiptError> {
        self.array().map(i64::from_be_bytes)
    }

    fn text(&mut self, field: &'static str) -> Result<String, ReceiptError> {
        let len = usize::try_from(self.u64()?).map_err(|_| ReceiptError::Truncated)?;
        let (head, rest) = self.0.split_at_checked(len).ok_or(ReceiptError::Truncated)?;
        self.0 = rest;
        str::from_utf8(head).map(str::to_owned).map_err(|_| ReceiptError::Field(field))
    }

    /// What [`Writer::amounts`] wrote, in the order in which it writes.
    fn amounts(&mut self, mut take: impl FnMut(Class, [u8; 8])) -> Result<(), ReceiptError> {
        let mut before = 0;
        for _ in 0..self.u8()? {
            let (code, bytes) = (self.u16()?, self.array()?);
            let class = Class::of_code(code).filter(|_| code > before);
            take(class.ok_or(ReceiptError::Field("class"))?, bytes);
            before = code;
        }
        Ok(())
    }

    /// A class that is left out has its default rate, so a receipt keeps its meaning when later versions know more
    /// classes.
    fn rates(&mut self) -> Result<Rates, ReceiptError> {
        let mut stated = Vec::new();
        self.amounts(|class, bytes| stated.push((class, i64::from_be_bytes(bytes))))?;
        let rates = Rates::of(self.i64()?, &stated);
        // Different bytes must be different receipts.
        let said = stated.iter().all(|(class, _)| !rates.is_implied(*class));
        if said { Ok(rates) } else { Err(ReceiptError::Field("rates")) }
    }

    fn usage(&mut self) -> Result<Usage, ReceiptError> {
        let mut usage = Usage::default();
        let mut said = true;
        self.amounts(|class, bytes| {
            usage[class] = u64::from_be_bytes(bytes);
            said &= usage[class] > 0;
        })?;
        usage.quality = quality_of(self.u8()?)?;
        usage.tier = ServiceTier::of_code(self.u16()?).ok_or(ReceiptError::Field("service tier"))?;
        if said { Ok(usage) } else { Err(ReceiptError::Field("usage")) }
    }

    fn rates_2(&mut self) -> Result<Rates, ReceiptError> {
        let mut stated = [(Class::Input, 0); RATES_2.len()];
        for (place, class) in stated.iter_mut().zip(RATES_2) {
            *place = (class, self.i64()?);
        }
        Ok(Rates::of(self.i64()?, &stated))
    }

    fn price_rate(&mut self) -> Result<PriceRate, ReceiptError> {
        let ppm = u32::try_from(self.u64()?).ok();
        ppm.and_then(PriceRate::of_ppm).ok_or(ReceiptError::Field("price rate"))
    }

    fn usage_2(&mut self) -> Result<Usage, ReceiptError> {
        let mut usage = Usage::default();
        for class in USAGE_2 {
            usage[class] = self.u64()?;
        }
        usage.quality = quality_of(self.u8()?)?;
        Ok(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reason, Receipt, ReceiptError};
    use crate::id::{RequestId, UserId};
    use crate::outcome::Outcome;
    use crate::points::Micropoints;
    use crate::price::{PriceRate, Rates, TierFactors};
    use crate::protocol::Owner;
    use crate::time::Timestamp;
    use crate::usage::{Class, Quality, ServiceTier, Usage};

    /// A different value in each field, so that two swapped fields change the bytes.
    fn receipt() -> Receipt {
        Receipt {
            default_price: None,
            request: RequestId::from_bytes([0x11; 16]),
            user: UserId::from_bytes([0x22; 16]),
            model: "gpt-4o-é".into(),
            price_version: 3,
            pricing_component: [0x33; 32],
            config_digest: [0x44; 32],
            owner: Owner::Platform,
            rates: Rates::of(
                -8,
                &[
                    (Class::Input, 1),
                    (Class::CacheRead, 2),
                    (Class::CacheWriteShort, 3),
                    (Class::CacheWriteLong, 4),
                    (Class::Output, 5),
                    (Class::AudioInput, 6),
                    (Class::AudioOutput, 7),
                ],
            ),
            usage: Usage::of(
                Quality::Estimated,
                &[
                    (Class::Input, 9),
                    (Class::CacheRead, 10),
                    (Class::CacheWriteShort, 11),
                    (Class::CacheWriteLong, 12),
                    (Class::Output, 13),
                    (Class::Reasoning, 14),
                    (Class::AudioInput, 15),
                    (Class::AudioOutput, 16),
                ],
            )
            .at_tier(ServiceTier::Priority),
            outcome: Outcome::CancelledAfterFirstByte,
            admitted_at: Timestamp::from_millis(1_800_000_000_000),
            charge: Micropoints::new(123_456_789),
            price_rate: PriceRate::of_ppm(17).unwrap(),
            tier_ppm: 2_000_000,
            held: Some(Micropoints::new(18)),
            reason: Some(Reason::OwnCredential),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn the_bytes_of_version_three_never_change() {
        let golden = ["03", &HEAD.concat(), &CLASSES_3.concat(), &TAIL.concat(), &TAIL_2.concat()].concat();
        assert_eq!(hex(&receipt().canonical_bytes()), golden);
        assert_eq!(Receipt::decode(&bytes(&golden)), Ok(receipt()));
    }

    /// What older layouts lack was the same for all receipts then.
    #[test]
    fn receipts_of_older_versions_are_still_read() {
        let check = |bytes: &[u8], expected: Receipt| {
            let expected = Receipt {
                usage: expected.usage.at_tier(ServiceTier::Standard),
                tier_ppm: TierFactors::STANDARD_PPM,
                ..expected
            };
            let read = Receipt::decode(bytes).unwrap();
            assert_eq!(read, expected);
            assert_eq!(Receipt::decode(&read.canonical_bytes()), Ok(read));
        };
        let [head, classes, tail] = [HEAD.concat(), CLASSES_2.concat(), TAIL.concat()];
        let first = bytes(&["01", &head, &classes, &tail].concat());
        check(&first, Receipt { price_rate: PriceRate::FULL, held: None, reason: None, ..receipt() });
        check(&bytes(&["02", &head, &classes, &tail, &TAIL_2.concat()].concat()), receipt());
    }

    #[test]
    fn a_default_price_is_named_at_the_end() {
        let named = Receipt { default_price: Some("local/*".to_owned()), ..receipt() };
        let golden = ["04", &hex(&receipt().canonical_bytes())[2..], "0000000000000007", "6c6f63616c2f2a"];
        assert_eq!(hex(&named.canonical_bytes()), golden.concat());
        assert_eq!(Receipt::decode(&named.canonical_bytes()), Ok(named));
    }

    #[test]
    fn a_receipt_decodes_to_itself() {
        for outcome in Outcome::ALL {
            for owner in [Owner::User, Owner::Platform, Owner::Shared] {
                for reason in [Reason::Full, Reason::OwnCredential, Reason::Free] {
                    let receipt = Receipt { outcome, owner, reason: Some(reason), ..receipt() };
                    assert_eq!(Receipt::decode(&receipt.canonical_bytes()), Ok(receipt));
                }
            }
        }
    }

    /// Reasoning that is free, and a price that is what it would be without being named.
    #[test]
    fn what_goes_without_saying_is_not_said() {
        let free = Receipt { rates: receipt().rates.with(Class::Reasoning, 0), ..receipt() };
        assert_eq!(Receipt::decode(&free.canonical_bytes()), Ok(free.clone()));
        let mut bytes = free.canonical_bytes();
        let rates = HEAD.concat().len() / 2 + 1;
        // The sixth rate, which is that of reasoning: as that of output.
        bytes[rates + 1 + 5 * 10 + 9] = 5;
        assert_eq!(Receipt::decode(&bytes), Err(ReceiptError::Field("rates")));
    }

    #[test]
    fn bytes_that_are_not_one_receipt_are_refused() {
        let bytes = receipt().canonical_bytes();
        for len in 0..bytes.len() {
            assert_eq!(Receipt::decode(&bytes[..len]), Err(ReceiptError::Truncated), "{len}");
        }
        assert_eq!(Receipt::decode(&[&bytes[..], &[0]].concat()), Err(ReceiptError::Trailing));
        let check = |at: usize, byte: u8, expect: ReceiptError| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            assert_eq!(Receipt::decode(&bytes), Err(expect), "{at}");
        };
        check(0, 5, ReceiptError::Version(5));
        check(0, 4, ReceiptError::Truncated);
        check(33, 0xff, ReceiptError::Truncated);
        check(41, 0xff, ReceiptError::Field("model"));
        check(bytes.len() - 34, 8, ReceiptError::Field("outcome"));
        check(bytes.len() - 39, 0xff, ReceiptError::Field("service tier"));
        check(bytes.len() - 41, 3, ReceiptError::Field("quality"));
        // The last class: an unknown one, and one that stands before the other.
        check(bytes.len() - 50, 0xff, ReceiptError::Field("class"));
        check(bytes.len() - 50, 1, ReceiptError::Field("class"));
        check(bytes.len() - 17, 1, ReceiptError::Field("price rate"));
        check(bytes.len() - 1, 3, ReceiptError::Field("reason"));
    }

    /// All versions, after the first byte.
    const HEAD: [&str; 8] = [
        "11111111111111111111111111111111", // request
        "22222222222222222222222222222222", // user
        "0000000000000009",                 // length of the model
        "6770742d346f2dc3a9",               // model
        "0000000000000003",                 // price version
        "3333333333333333333333333333333333333333333333333333333333333333", // component
        "4444444444444444444444444444444444444444444444444444444444444444", // configuration
        "01",                               // owner
    ];
    /// Rates, usage and its quality in versions 1 and 2.
    const CLASSES_2: [&str; 9] = [
        "00000000000000010000000000000002", // rates
        "00000000000000030000000000000004",
        "00000000000000050000000000000006",
        "0000000000000007fffffffffffffff8",
        "0000000000000009000000000000000a", // usage
        "000000000000000b000000000000000c",
        "000000000000000d000000000000000e",
        "000000000000000f0000000000000010",
        "01", // quality
    ];
    /// The same in version 3, with the tier and its factor.
    const CLASSES_3: [&str; 14] = [
        "07", // rates: that of reasoning goes without saying
        "0001000000000000000100020000000000000002",
        "0003000000000000000300040000000000000004",
        "00050000000000000005",
        "0007000000000000000600080000000000000007",
        "fffffffffffffff8", // of the request
        "08",               // usage
        "00010000000000000009",
        "0002000000000000000a0003000000000000000b",
        "0004000000000000000c0005000000000000000d",
        "0006000000000000000e0007000000000000000f00080000000000000010",
        "01",       // quality
        "0003",     // tier
        "001e8480", // its factor
    ];
    /// All versions, after those.
    const TAIL: [&str; 3] = [
        "04",               // outcome
        "000001a3185c5000", // admitted at
        "00000000075bcd15", // charge
    ];
    /// What versions 2 and 3 have in addition.
    const TAIL_2: [&str; 3] = [
        "0000000000000011", // price rate
        "0000000000000012", // held
        "01",               // reason
    ];
}
