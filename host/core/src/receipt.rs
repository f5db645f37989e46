//! The receipt of a charge: every input of the price rule, frozen, with its result.
//!
//! Its canonical bytes can be hashed, chained and compared between machines: a version byte, a fixed order, big-endian
//! integers of fixed width, length-prefixed text. `receipt verify` decodes them and asks the same component again.

use crate::id::{RequestId, UserId};
use crate::outcome::Outcome;
use crate::points::Micropoints;
use crate::price::Rates;
use crate::protocol::Owner;
use crate::time::Timestamp;
use crate::usage::{Quality, Usage};

/// The layout that [`Receipt::canonical_bytes`] writes; its first byte.
const VERSION: u8 = 1;

/// What was charged for one request, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The request.
    pub request: RequestId,
    /// Who pays.
    pub user: UserId,
    /// The model that was priced.
    pub model: String,
    /// The price table in force at admission.
    pub price_version: u64,
    /// SHA-256 of the pricing component.
    pub pricing_component: [u8; 32],
    /// SHA-256 of that component's configuration.
    pub config_digest: [u8; 32],
    /// Whose credential served the request.
    pub owner: Owner,
    /// The prices that applied, long-prompt tier resolved.
    pub rates: Rates,
    /// The tokens.
    pub usage: Usage,
    /// How the request ended.
    pub outcome: Outcome,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// The result.
    pub charge: Micropoints,
}

/// Why bytes are not a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The version byte is unknown: a newer Tollgate wrote the receipt.
    #[error("receipt layout {0} is unknown")]
    Version(u8),
    /// The bytes end too early.
    #[error("the receipt is cut short")]
    Truncated,
    /// Bytes follow the last field.
    #[error("the receipt has bytes after its end")]
    Trailing,
    /// The named field holds no value of its type.
    #[error("the receipt's {0} is invalid")]
    Field(&'static str),
}

impl Receipt {
    /// The bytes that stand for this receipt everywhere.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(280 + self.model.len()));
        out.raw(&[VERSION]);
        out.raw(self.request.as_bytes());
        out.raw(self.user.as_bytes());
        out.text(&self.model);
        out.u64(self.price_version);
        out.raw(&self.pricing_component);
        out.raw(&self.config_digest);
        out.raw(&[owner_code(self.owner)]);
        for rate in rates_in_order(&self.rates) {
            out.i64(rate);
        }
        for count in usage_in_order(&self.usage) {
            out.u64(count);
        }
        out.raw(&[quality_code(self.usage.quality), outcome_code(self.outcome)]);
        out.u64(self.admitted_at.millis());
        out.i64(self.charge.get());
        out.0
    }

    /// Reads what [`Self::canonical_bytes`] wrote.
    ///
    /// # Errors
    /// Whatever is not exactly one receipt: see [`ReceiptError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let mut from = Reader(bytes);
        match from.u8()? {
            VERSION => {}
            other => return Err(ReceiptError::Version(other)),
        }
        let receipt = Self {
            request: RequestId::from_bytes(from.array()?),
            user: UserId::from_bytes(from.array()?),
            model: from.text("model")?,
            price_version: from.u64()?,
            pricing_component: from.array()?,
            config_digest: from.array()?,
            owner: owner_of(from.u8()?)?,
            rates: from.rates()?,
            usage: from.usage()?,
            outcome: outcome_of(from.u8()?)?,
            admitted_at: Timestamp::from_millis(from.u64()?),
            charge: Micropoints::new(from.i64()?),
        };
        if from.0.is_empty() { Ok(receipt) } else { Err(ReceiptError::Trailing) }
    }
}

fn rates_in_order(rates: &Rates) -> [i64; 8] {
    [
        rates.input,
        rates.cache_read,
        rates.cache_write_short,
        rates.cache_write_long,
        rates.output,
        rates.audio_input,
        rates.audio_output,
        rates.request,
    ]
}

fn usage_in_order(usage: &Usage) -> [u64; 8] {
    [
        usage.input,
        usage.cache_read,
        usage.cache_write_short,
        usage.cache_write_long,
        usage.output,
        usage.reasoning,
        usage.audio_input,
        usage.audio_output,
    ]
}

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

/// Appends fields.
struct Writer(Vec<u8>);

impl Writer {
    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
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

    fn rates(&mut self) -> Result<Rates, ReceiptError> {
        Ok(Rates {
            input: self.i64()?,
            cache_read: self.i64()?,
            cache_write_short: self.i64()?,
            cache_write_long: self.i64()?,
            output: self.i64()?,
            audio_input: self.i64()?,
            audio_output: self.i64()?,
            request: self.i64()?,
        })
    }

    fn usage(&mut self) -> Result<Usage, ReceiptError> {
        Ok(Usage {
            input: self.u64()?,
            cache_read: self.u64()?,
            cache_write_short: self.u64()?,
            cache_write_long: self.u64()?,
            output: self.u64()?,
            reasoning: self.u64()?,
            audio_input: self.u64()?,
            audio_output: self.u64()?,
            quality: quality_of(self.u8()?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Receipt, ReceiptError};
    use crate::id::{RequestId, UserId};
    use crate::outcome::Outcome;
    use crate::points::Micropoints;
    use crate::price::Rates;
    use crate::protocol::Owner;
    use crate::time::Timestamp;
    use crate::usage::{Quality, Usage};

    /// A different value in each field, so that two swapped fields change the bytes.
    fn receipt() -> Receipt {
        Receipt {
            request: RequestId::from_bytes([0x11; 16]),
            user: UserId::from_bytes([0x22; 16]),
            model: "gpt-4o-é".into(),
            price_version: 3,
            pricing_component: [0x33; 32],
            config_digest: [0x44; 32],
            owner: Owner::Platform,
            rates: Rates {
                input: 1,
                cache_read: 2,
                cache_write_short: 3,
                cache_write_long: 4,
                output: 5,
                audio_input: 6,
                audio_output: 7,
                request: -8,
            },
            usage: Usage {
                input: 9,
                cache_read: 10,
                cache_write_short: 11,
                cache_write_long: 12,
                output: 13,
                reasoning: 14,
                audio_input: 15,
                audio_output: 16,
                quality: Quality::Estimated,
            },
            outcome: Outcome::CancelledAfterFirstByte,
            admitted_at: Timestamp::from_millis(1_800_000_000_000),
            charge: Micropoints::new(123_456_789),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_of_version_one_never_change() {
        assert_eq!(hex(&receipt().canonical_bytes()), GOLDEN.concat());
    }

    #[test]
    fn a_receipt_decodes_to_itself() {
        for outcome in Outcome::ALL {
            for owner in [Owner::User, Owner::Platform, Owner::Shared] {
                let receipt = Receipt { outcome, owner, ..receipt() };
                assert_eq!(Receipt::decode(&receipt.canonical_bytes()), Ok(receipt));
            }
        }
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
        check(0, 2, ReceiptError::Version(2));
        check(33, 0xff, ReceiptError::Truncated);
        check(41, 0xff, ReceiptError::Field("model"));
        check(bytes.len() - 17, 8, ReceiptError::Field("outcome"));
        check(bytes.len() - 18, 3, ReceiptError::Field("quality"));
    }

    const GOLDEN: [&str; 21] = [
        "01",                                                               // version
        "11111111111111111111111111111111",                                 // request
        "22222222222222222222222222222222",                                 // user
        "0000000000000009",                                                 // length of the model
        "6770742d346f2dc3a9",                                               // model
        "0000000000000003",                                                 // price version
        "3333333333333333333333333333333333333333333333333333333333333333", // component
        "4444444444444444444444444444444444444444444444444444444444444444", // configuration
        "01",                                                               // owner
        "00000000000000010000000000000002",                                 // rates
        "00000000000000030000000000000004",
        "00000000000000050000000000000006",
        "0000000000000007fffffffffffffff8",
        "0000000000000009000000000000000a", // usage
        "000000000000000b000000000000000c",
        "000000000000000d000000000000000e",
        "000000000000000f0000000000000010",
        "01",               // quality
        "04",               // outcome
        "000001a3185c5000", // admitted at
        "00000000075bcd15", // charge
    ];
}
