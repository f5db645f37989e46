//! One entry of every kind, and every value of every enum that an entry may hold: what the golden bytes were made of.

use proptest::prelude::*;
use tollgate_core::decisions::{Choice, Decisions, Held};
use tollgate_core::failure::FailureClass;
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::ledger::Settlement;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::{Class, Quality, ServiceTier, Usage};

use crate::entry::{Attempt, Borrowed, Components, Entry, PluginEvent, RequestRecord};

const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const OPERATIONS: [Operation; 6] = [
    Operation::Generate,
    Operation::CountTokens,
    Operation::Embed,
    Operation::EmbedBatch,
    Operation::ListModels,
    Operation::Interact,
];
const QUALITIES: [Quality; 3] = [Quality::Exact, Quality::Estimated, Quality::Missing];

fn user() -> UserId {
    UserId::from_bytes([0x22; 16])
}

fn request(number: u8) -> RequestId {
    RequestId::new(AT, [number; 10])
}

/// Samples in a fixed order, each with its name.
pub(super) fn samples() -> Vec<(String, Entry)> {
    let mut samples = vec![
        ("hold".to_owned(), hold(1, 1_284_500)),
        ("settle".to_owned(), settle(1, full_record(1))),
        ("hold of nothing".to_owned(), hold(2, 0)),
        ("void".to_owned(), void(2)),
        ("event".to_owned(), event()),
        ("attempts".to_owned(), attempts()),
        ("hold of a lent call".to_owned(), hold(3, 900)),
        ("borrow".to_owned(), borrow()),
        ("lent".to_owned(), lent()),
    ];
    samples.extend((0..8).map(|number| (format!("record {number}"), record(number))));
    samples
}

fn hold(number: u8, amount: i64) -> Entry {
    let (request, amount) = (request(number), Micropoints::new(amount));
    Entry::Hold { request, user: user(), amount, model: "modèle-4o".into(), at: AT.plus_ms(5) }
}

fn settle(number: u8, record: RequestRecord) -> Entry {
    let (request, held) = (request(number), record.hold);
    let settlement = Settlement {
        posted: record.hold,
        overrun: Micropoints::new(70),
        bad_debt: Micropoints::new(record.charge.get() - record.hold.get() - 70),
    };
    Entry::Settle { request, user: user(), held, settlement, at: AT.plus_ms(9_000), record: Box::new(record) }
}

fn void(number: u8) -> Entry {
    let record = RequestRecord {
        error: Some("the client left".to_owned()),
        ..RequestRecord::new(request(number), user(), AT)
    };
    let (request, held) = (request(number), Micropoints::ZERO);
    Entry::Void { request, user: user(), held, at: AT.plus_ms(70), record: Box::new(record) }
}

fn lent() -> Entry {
    let record = RequestRecord {
        outcome: Outcome::Ok,
        hold: Micropoints::new(900),
        charge: Micropoints::new(1_000),
        ..RequestRecord::new(request(3), user(), AT)
    };
    let lender = UserId::from_bytes([0x33; 16]);
    Entry::Lent { settle: Box::new(settle(3, record)), lender, earned: Micropoints::new(300) }
}

/// A record with every field set.
fn full_record(number: u8) -> RequestRecord {
    RequestRecord {
        api_key: Some(ApiKeyId::from_bytes([0x44; 16])),
        protocol: Some(Protocol::AnthropicMessages),
        operation: Some(Operation::Generate),
        provider: Some("anthropic".into()),
        model: Some("modèle-4o".into()),
        credential: Some(CredentialId::from_bytes([0x55; 16])),
        outcome: Outcome::Partial,
        status: Some(200),
        attempts: 3,
        latency_ms: 8_999,
        ttft_ms: Some(321),
        streamed: true,
        usage: usage(),
        hold: Micropoints::new(1_284_500),
        charge: Micropoints::new(1_284_577),
        price_version: Some(17),
        components: Components {
            adapter: Some([0xa1; 32]),
            selector: None,
            pricing: Some([0xa3; 32]),
            filter: Some([0xa4; 32]),
        },
        receipt: Some(vec![2, 0, 255, 7]),
        filter_hash: Some(vec![0xf1; 32]),
        error: Some("the provider’s stream ended early".to_owned()),
        ..RequestRecord::new(request(number), user(), AT)
    }
}

fn usage() -> Usage {
    Usage::of(
        Quality::Exact,
        &[
            (Class::Input, 1),
            (Class::CacheRead, 200),
            (Class::CacheWriteShort, 30_000),
            (Class::CacheWriteLong, 4_000_000),
            (Class::Output, 500_000_000),
            (Class::Reasoning, 60_000_000_000),
            (Class::AudioInput, 7_000_000_000_000),
            (Class::AudioOutput, u64::MAX),
        ],
    )
}

/// A record for each outcome; shorter enums start over.
fn record(number: usize) -> Entry {
    let id = request(u8::try_from(number).unwrap() + 16);
    Entry::Record(Box::new(RequestRecord {
        protocol: Some(Protocol::ALL[number % Protocol::ALL.len()]),
        operation: Some(OPERATIONS[number % OPERATIONS.len()]),
        outcome: Outcome::ALL[number],
        status: Some(429),
        usage: Usage::of(QUALITIES[number % QUALITIES.len()], &[(Class::Output, 7)]),
        ..RequestRecord::new(id, user(), AT)
    }))
}

fn event() -> Entry {
    Entry::Event(PluginEvent {
        at: AT,
        component: "openai".to_owned(),
        kind: "provider-adapter".to_owned(),
        digest: Some([0xd1; 32]),
        event: "rolled-back".to_owned(),
        detail: Some("it faulted".to_owned()),
    })
}

fn attempts() -> Entry {
    let credential = CredentialId::from_bytes([0x55; 16]);
    let failed = |(took_ms, class)| Attempt { credential, status: Some(503), failure: Some(class), took_ms };
    let mut attempts: Vec<_> = (0..).zip(FailureClass::ALL).map(failed).collect();
    attempts.push(Attempt { credential, status: None, failure: None, took_ms: u64::MAX });
    Entry::Attempts { request: request(1), attempts }
}

fn borrow() -> Entry {
    Entry::Borrow(Box::new(Borrowed {
        request: request(3),
        attempt: 2,
        credential: CredentialId::from_bytes([0x55; 16]),
        lender: UserId::from_bytes([0x33; 16]),
        model: "m".into(),
        at: AT,
    }))
}

/// Bytes as text.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a text.
pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16).unwrap().try_into().unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The names and bytes of a golden file.
pub(super) fn lines(golden: &str) -> Vec<(String, String)> {
    let line = |line: &str| line.split_once(": ").map(|(name, hex)| (name.to_owned(), hex.to_owned()));
    golden.lines().map(|text| line(text).unwrap()).collect()
}

/// Any entry.
pub(super) fn entries() -> impl Strategy<Value = Entry> {
    let ids = || (any::<[u8; 16]>(), any::<[u8; 16]>());
    let hold =
        (ids(), any::<i64>(), ".{0,9}", any::<u64>()).prop_map(|((request, user), amount, model, at)| {
            Entry::Hold {
                request: RequestId::from_bytes(request),
                user: UserId::from_bytes(user),
                amount: Micropoints::new(amount),
                model: model.into(),
                at: Timestamp::from_millis(at),
            }
        });
    let settle = (any::<[i64; 4]>(), records()).prop_map(|(amounts, record)| settled(amounts, record));
    let void = (any::<i64>(), any::<u64>(), records()).prop_map(|(held, at, record)| Entry::Void {
        request: record.request,
        user: record.user,
        held: Micropoints::new(held),
        at: Timestamp::from_millis(at),
        record: Box::new(record),
    });
    let lent = (any::<[i64; 4]>(), records(), any::<[u8; 16]>(), any::<i64>()).prop_map(
        |(amounts, record, lender, earned)| Entry::Lent {
            settle: Box::new(settled(amounts, record)),
            lender: UserId::from_bytes(lender),
            earned: Micropoints::new(earned),
        },
    );
    let record = records().prop_map(|record| Entry::Record(Box::new(record)));
    prop_oneof![hold, settle, void, lent, record, events(), attempt_lists(), borrows()]
}

fn settled([held, posted, overrun, bad_debt]: [i64; 4], record: RequestRecord) -> Entry {
    let [held, posted, overrun, bad_debt] = [held, posted, overrun, bad_debt].map(Micropoints::new);
    Entry::Settle {
        request: record.request,
        user: record.user,
        held,
        settlement: Settlement { posted, overrun, bad_debt },
        at: record.started_at,
        record: Box::new(record),
    }
}

/// Parts of the full record, present or absent by the bits of a number.
fn records() -> impl Strategy<Value = RequestRecord> {
    let numbers = any::<(u16, u32, u64, u64, u64, i64, i64)>();
    let texts = (".{0,20}", ".{0,200}", prop::collection::vec(any::<u8>(), 0..300));
    let values = (0..8_usize, any::<[u64; 8]>(), any::<u16>(), any::<[u8; 16]>());
    (numbers, texts, values).prop_map(|(numbers, texts, (value, tokens, there, id))| {
        let (status, attempts, latency_ms, ttft_ms, version, hold, charge) = numbers;
        let (name, error, blob) = texts;
        let has = |bit: u32| there >> bit & 1 == 1;
        let mut digests = (0_u8..4).map(|n| has(u32::from(n)).then_some([n; 32]));
        RequestRecord {
            api_key: has(4).then_some(ApiKeyId::from_bytes(id)),
            protocol: has(5).then_some(Protocol::ALL[value % Protocol::ALL.len()]),
            operation: has(6).then_some(OPERATIONS[value % OPERATIONS.len()]),
            provider: has(7).then(|| name.as_str().into()),
            model: has(8).then(|| name.as_str().into()),
            credential: has(9).then_some(CredentialId::from_bytes(id)),
            outcome: Outcome::ALL[value],
            status: has(10).then_some(status),
            attempts,
            latency_ms,
            ttft_ms: has(11).then_some(ttft_ms),
            streamed: has(12),
            usage: some_usage(tokens, value),
            hold: Micropoints::new(hold),
            charge: Micropoints::new(charge),
            price_version: has(13).then_some(version),
            components: Components {
                adapter: digests.next().flatten(),
                selector: digests.next().flatten(),
                pricing: digests.next().flatten(),
                filter: digests.next().flatten(),
            },
            receipt: has(14).then(|| blob.clone()),
            filter_hash: has(15).then_some(blob),
            error: has(3).then_some(error),
            left_out: has(2).then_some(name),
            decisions: if has(1) { decisions(tokens, value) } else { Decisions::default() },
            ..RequestRecord::new(RequestId::from_bytes(id), user(), Timestamp::from_millis(version))
        }
    })
}

fn decisions(numbers: [u64; 8], value: usize) -> Decisions {
    let held = Held { input_tokens: numbers[0], output_tokens: numbers[1], default_price: value == 1 };
    let others = [Some(CredentialId::from_bytes([7; 16])), None, None];
    let choice = Choice { fit: 2, others, half_open: value == 2, ..Choice::default() };
    Decisions { stand_in: 1, held: Some(held), choice: (value > 2).then_some(choice), ..Decisions::default() }
}

/// Some classes are zero, as most are.
fn some_usage(tokens: [u64; 8], value: usize) -> Usage {
    let tokens = tokens.map(|count| if count % 3 == 0 { 0 } else { count });
    let classes: [_; 8] = std::array::from_fn(|at| (Class::ALL[at], tokens[at]));
    let tier = ServiceTier::ALL[value % ServiceTier::ALL.len()];
    Usage::of(QUALITIES[value % QUALITIES.len()], &classes).at_tier(tier)
}

fn events() -> impl Strategy<Value = Entry> {
    let rest = (any::<Option<[u8; 32]>>(), prop::option::of(".{0,200}"));
    (any::<u64>(), ".{0,9}", ".{0,9}", ".{0,9}", rest).prop_map(|(at, component, kind, event, rest)| {
        let (at, (digest, detail)) = (Timestamp::from_millis(at), rest);
        Entry::Event(PluginEvent { at, component, kind, digest, event, detail })
    })
}

fn attempt_lists() -> impl Strategy<Value = Entry> {
    let attempt = (any::<[u8; 16]>(), any::<Option<u16>>(), prop::option::of(0..11_usize), any::<u64>());
    let attempt = attempt.prop_map(|(credential, status, class, took_ms)| Attempt {
        credential: CredentialId::from_bytes(credential),
        status,
        failure: class.map(|class| FailureClass::ALL[class]),
        took_ms,
    });
    (any::<[u8; 16]>(), prop::collection::vec(attempt, 0..5))
        .prop_map(|(request, attempts)| Entry::Attempts { request: RequestId::from_bytes(request), attempts })
}

fn borrows() -> impl Strategy<Value = Entry> {
    (any::<[[u8; 16]; 3]>(), any::<u32>(), ".{0,9}", any::<u64>()).prop_map(|(ids, attempt, model, at)| {
        Entry::Borrow(Box::new(Borrowed {
            request: RequestId::from_bytes(ids[0]),
            attempt,
            credential: CredentialId::from_bytes(ids[1]),
            lender: UserId::from_bytes(ids[2]),
            model: model.into(),
            at: Timestamp::from_millis(at),
        }))
    })
}
