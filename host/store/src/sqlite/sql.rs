//! Rows into SQL: one text per number of rows, so that hundreds of rows are one prepared call.
//!
//! A call to SQLite costs a hop to sqlx's worker thread and back. Entries are therefore inserted by the hundred —
//! transfers, then records, then uses of lent credentials — and the numbers of rows are rounded up to powers of two, so
//! that there are few texts and their statements stay prepared. The rows of padding are all NULL and a WHERE drops
//! them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Encode, Sqlite, Type};
use tollgate_core::id::RequestId;
use tollgate_core::usage::Class;

use crate::entry::{Borrowed, Entry, Movement, RequestRecord, transfer_id};
use crate::sqlite::amounts::units_json;
use crate::sqlite::row::stored;
use crate::sqlite::sums::added;
use crate::sqlite::tally::{Counter, Counts};

/// The accounts that every database has.
pub(crate) mod account {
    pub(crate) const ISSUANCE: i64 = 1;
    pub(crate) const REVENUE: i64 = 2;
    pub(crate) const BAD_DEBT: i64 = 3;
}

/// What a transfer does: see the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hold = 1,
    Post = 2,
    Void = 3,
    Single = 4,
}

/// Why a transfer was made: see the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Request = 1,
    Overrun = 2,
    BadDebt = 3,
    Grant = 4,
    TopUp = 5,
    Redeem = 6,
    Refund = 7,
    Reward = 20,
    Earning = 21,
}

/// Who wrote a transfer: see the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Writer = 0,
    Management = 1,
}

const TRANSFER_COLUMNS: &str =
    "id, kind, debit, credit, amount, resolves, request, code, memo, origin, at_ms";
const TRANSFER_WIDTH: usize = 11;

const RECORD_COLUMNS: &str = "request, user_id, api_key, protocol, operation, provider, model, credential, outcome, \
    status, attempts, latency_ms, ttft_ms, streamed, usage, quality, service_tier, hold, charge, price_version, components, receipt, filter_hash, error, \
    started_at, shape, left_out, decisions";
const RECORD_WIDTH: usize = 28;

const COUNTER_COLUMNS: &str = "kind, subject, day, api_key, model, requests, failed, charge, last_at";
const COUNTER_WIDTH: usize = 9;

const UNITS_COLUMNS: &str = "kind, subject, day, api_key, model, class, units";
const UNITS_WIDTH: usize = 7;

const USE_COLUMNS: &str = "request, attempt, credential, lender, model, at_ms";
const USE_WIDTH: usize = 6;

/// Rows of one insertion: with this many of each kind it has 31,232 arguments, of the 32,766 that SQLite allows.
const TRANSFERS_MAX: usize = 1024;
const OTHERS_MAX: usize = 512;
/// Most transfers of one entry: a settlement with an overrun, a bad debt and an earning.
const ENTRY_TRANSFERS_MAX: usize = 4;

/// A row of `transfer`, its sequence number aside.
#[derive(Debug, Clone)]
pub(crate) struct TransferRow {
    pub(crate) id: [u8; 16],
    pub(crate) kind: Kind,
    pub(crate) debit: i64,
    pub(crate) credit: i64,
    pub(crate) amount: i64,
    pub(crate) resolves: Option<[u8; 16]>,
    pub(crate) request: Option<[u8; 16]>,
    pub(crate) code: Code,
    pub(crate) memo: Option<Arc<str>>,
    pub(crate) origin: Origin,
    pub(crate) at_ms: i64,
}

/// The rows of some entries, in their order.
#[derive(Debug, Default)]
pub(crate) struct Rows<'a> {
    pub(crate) transfers: Vec<TransferRow>,
    pub(crate) records: Vec<(&'a RequestRecord, Known)>,
    pub(crate) uses: Vec<&'a Borrowed>,
}

/// Row numbers of what an entry refers to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    /// The account of its user.
    pub(crate) payer: i64,
    /// The account of the user who earns by it.
    pub(crate) lender: i64,
    /// The component set of its record, if it names any.
    pub(crate) components: Option<i64>,
    /// The shape of its record.
    pub(crate) shape: Option<i64>,
}

impl<'a> Rows<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.transfers.is_empty() && self.records.is_empty() && self.uses.is_empty()
    }

    /// Whether the rows of one more entry might have more arguments than SQLite allows.
    pub(crate) fn is_full(&self) -> bool {
        self.transfers.len() + ENTRY_TRANSFERS_MAX > TRANSFERS_MAX
            || self.records.len() >= OTHERS_MAX
            || self.uses.len() >= OTHERS_MAX
    }

    /// Adds the rows of `entry`.
    pub(crate) fn push(&mut self, entry: &'a Entry, known: Known) {
        let payer = known.payer;
        match entry {
            Entry::Hold { request, amount, model, at, .. } => self.transfers.push(TransferRow {
                kind: Kind::Hold,
                amount: amount.get(),
                resolves: None,
                memo: Some(Arc::clone(model)),
                ..movement(*request, Movement::Hold, payer, at.millis())
            }),
            Entry::Settle { request, settlement, at, record, .. } => {
                let mut add = |which, debit, amount: i64, kind, code| {
                    self.transfers.push(TransferRow {
                        kind,
                        amount,
                        code,
                        resolves: (kind == Kind::Post).then_some(*request.as_bytes()),
                        request: (kind == Kind::Single).then_some(*request.as_bytes()),
                        ..movement(*request, which, debit, at.millis())
                    });
                };
                add(Movement::Resolution, payer, settlement.posted.get(), Kind::Post, Code::Request);
                if settlement.overrun.get() != 0 {
                    add(Movement::Overrun, payer, settlement.overrun.get(), Kind::Single, Code::Overrun);
                }
                if settlement.bad_debt.get() != 0 {
                    add(
                        Movement::BadDebt,
                        account::BAD_DEBT,
                        settlement.bad_debt.get(),
                        Kind::Single,
                        Code::BadDebt,
                    );
                }
                self.records.push((record, known));
            }
            Entry::Void { request, held, at, record, .. } => {
                self.transfers.push(TransferRow {
                    kind: Kind::Void,
                    amount: held.get(),
                    ..movement(*request, Movement::Resolution, payer, at.millis())
                });
                self.records.push((record, known));
            }
            Entry::Record(record) => self.records.push((record, known)),
            Entry::Event(_) | Entry::Attempts { .. } => {}
            Entry::Borrow(borrowed) => self.uses.push(borrowed),
            Entry::Lent { settle, earned, .. } => {
                self.push(settle, known);
                if let Entry::Settle { request, at, .. } = &**settle {
                    self.transfers.push(TransferRow {
                        kind: Kind::Single,
                        credit: known.lender,
                        amount: earned.get(),
                        resolves: None,
                        request: Some(*request.as_bytes()),
                        code: Code::Earning,
                        memo: Some(Arc::clone(&LENT)),
                        ..movement(*request, Movement::Earning, account::REVENUE, at.millis())
                    });
                }
            }
        }
    }
}

/// The reason as the tables hold it.
static LENT: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("earned: a lent credential served"));

/// The transfer of a request from `debit` to revenue, as most are.
fn movement(request: RequestId, which: Movement, debit: i64, at_ms: u64) -> TransferRow {
    TransferRow {
        id: *transfer_id(request, which).as_bytes(),
        kind: Kind::Void,
        debit,
        credit: account::REVENUE,
        amount: 0,
        resolves: Some(*request.as_bytes()),
        request: None,
        code: Code::Request,
        memo: None,
        origin: Origin::Writer,
        at_ms: stored(at_ms),
    }
}

/// The texts, each made once.
#[derive(Debug)]
pub(crate) struct Texts {
    /// The node number of transfers: the same for all, so it is part of the text.
    node: String,
    inserts: HashMap<[usize; 3], Arc<str>>,
    counts: HashMap<usize, Arc<str>>,
    units: HashMap<usize, Arc<str>>,
}

impl Texts {
    /// Texts whose transfers carry the number of a node, if any.
    pub(crate) fn new(node: Option<i64>) -> Self {
        let node = node.map_or_else(|| "NULL".to_owned(), |number| number.to_string());
        Self { node, inserts: HashMap::new(), counts: HashMap::new(), units: HashMap::new() }
    }

    /// The text and the arguments that insert `rows`.
    pub(crate) fn insert(&mut self, rows: &Rows<'_>) -> (Arc<str>, SqliteArguments) {
        let transfers = padded(rows.transfers.len());
        let records = padded(rows.records.len());
        let uses = padded(rows.uses.len());
        let text = match self.inserts.entry([transfers, records, uses]) {
            Slot::Occupied(slot) => Arc::clone(slot.get()),
            Slot::Vacant(slot) => Arc::clone(slot.insert(text(transfers, records, uses, &self.node).into())),
        };
        let mut binds = Binds(SqliteArguments::default());
        binds.0.reserve(transfers * TRANSFER_WIDTH + records * RECORD_WIDTH + uses * USE_WIDTH, 0);
        for row in &rows.transfers {
            binds.transfer(row);
        }
        binds.nulls((transfers - rows.transfers.len()) * TRANSFER_WIDTH);
        for (record, known) in &rows.records {
            binds.record(record, *known);
        }
        if uses > 0 {
            binds.nulls((records - rows.records.len()) * RECORD_WIDTH);
        }
        for borrowed in &rows.uses {
            binds.borrowed(borrowed);
        }
        // The padding at the end is not bound: it is NULL.
        (text, binds.0)
    }

    /// The text and the arguments that add `rows` to the usage counters.
    pub(crate) fn count(&mut self, rows: &[(Counter<'_>, Counts)]) -> (Arc<str>, SqliteArguments) {
        let counters = padded(rows.len());
        let text = match self.counts.entry(counters) {
            Slot::Occupied(slot) => Arc::clone(slot.get()),
            Slot::Vacant(slot) => Arc::clone(slot.insert(count_text(counters).into())),
        };
        let mut binds = Binds(SqliteArguments::default());
        binds.0.reserve(counters * COUNTER_WIDTH, 0);
        for (counter, counts) in rows {
            binds.counter(counter, counts);
        }
        (text, binds.0)
    }

    /// The text and the arguments that add `rows` to the units of the usage counters.
    pub(crate) fn count_units(&mut self, rows: &[(Counter<'_>, Class, u64)]) -> (Arc<str>, SqliteArguments) {
        let padded = padded(rows.len());
        let text = match self.units.entry(padded) {
            Slot::Occupied(slot) => Arc::clone(slot.get()),
            Slot::Vacant(slot) => Arc::clone(slot.insert(units_text(padded).into())),
        };
        let mut binds = Binds(SqliteArguments::default());
        binds.0.reserve(padded * UNITS_WIDTH, 0);
        for (counter, class, units) in rows {
            binds.counter_key(counter);
            binds.add(class.name());
            binds.add(stored(*units));
        }
        (text, binds.0)
    }
}

/// Adds to the units of counters.
fn units_text(rows: usize) -> String {
    let mut text = String::new();
    insert(&mut text, "usage_counter_units", UNITS_COLUMNS, "*", UNITS_WIDTH, rows);
    text.pop();
    text.push_str(concat!(" ON CONFLICT DO UPDATE SET ", added!("units")));
    text
}

/// Adds to existing counters, and creates the others.
fn count_text(counters: usize) -> String {
    let mut text = String::new();
    insert(&mut text, "usage_counter", COUNTER_COLUMNS, "*", COUNTER_WIDTH, counters);
    text.pop();
    text.push_str(" ON CONFLICT (kind, subject, day, api_key, model) DO UPDATE SET ");
    text.push_str(concat!(
        added!("requests"),
        ", ",
        added!("failed"),
        ", ",
        added!("charge"),
        ", last_at = MAX(last_at, excluded.last_at)"
    ));
    text
}

fn padded(rows: usize) -> usize {
    if rows == 0 { 0 } else { rows.next_power_of_two() }
}

fn text(transfers: usize, records: usize, uses: usize, node: &str) -> String {
    let mut text = String::new();
    let (columns, values) = (format!("{TRANSFER_COLUMNS}, node"), format!("*, {node}"));
    insert(&mut text, "transfer", &columns, &values, TRANSFER_WIDTH, transfers);
    insert(&mut text, "request_record", RECORD_COLUMNS, "*", RECORD_WIDTH, records);
    insert(&mut text, "pool_use", USE_COLUMNS, "*", USE_WIDTH, uses);
    text
}

fn insert(text: &mut String, table: &str, columns: &str, selected: &str, width: usize, rows: usize) {
    if rows == 0 {
        return;
    }
    let row = format!("({})", vec!["?"; width].join(","));
    let values = vec![row; rows].join(",");
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "INSERT INTO {table} ({columns}) SELECT {selected} FROM (VALUES {values}) WHERE column1 IS NOT NULL;"
    );
}

/// Collects arguments in the order of the columns.
struct Binds(SqliteArguments);

impl Binds {
    fn add<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) {
        // Encoding fails only for types that hold no SQLite value; none of ours is such.
        let added = self.0.add(value);
        debug_assert!(added.is_ok());
    }

    fn nulls(&mut self, count: usize) {
        for _ in 0..count {
            self.add(None::<i64>);
        }
    }

    fn transfer(&mut self, row: &TransferRow) {
        self.add(row.id.as_slice());
        self.add(row.kind as i64);
        self.add(row.debit);
        self.add(row.credit);
        self.add(row.amount);
        self.add(row.resolves.as_ref().map(<[u8; 16]>::as_slice));
        self.add(row.request.as_ref().map(<[u8; 16]>::as_slice));
        self.add(row.code as i64);
        self.add(row.memo.clone());
        self.add(row.origin as i64);
        self.add(row.at_ms);
    }

    fn counter_key(&mut self, counter: &Counter<'_>) {
        self.add(counter.kind as i64);
        self.add(counter.subject);
        self.add(stored(counter.day));
        self.add(counter.api_key);
        self.add(counter.model);
    }

    fn counter(&mut self, counter: &Counter<'_>, counts: &Counts) {
        self.counter_key(counter);
        self.add(counts.requests);
        self.add(counts.failed);
        self.add(counts.charge);
        self.add(counts.last_at);
    }

    fn borrowed(&mut self, borrowed: &Borrowed) {
        self.add(borrowed.request.as_bytes().as_slice());
        self.add(i64::from(borrowed.attempt));
        self.add(borrowed.credential.as_bytes().as_slice());
        self.add(borrowed.lender.as_bytes().as_slice());
        self.add(Arc::clone(&borrowed.model));
        self.add(stored(borrowed.at.millis()));
    }

    fn record(&mut self, record: &RequestRecord, known: Known) {
        self.add(record.request.as_bytes().as_slice());
        self.add(record.user.as_bytes().as_slice());
        self.add(record.api_key.as_ref().map(|id| id.as_bytes().as_slice()));
        self.add(record.protocol.map(|protocol| protocol.name()));
        self.add(record.operation.map(|operation| operation.name()));
        self.add(record.provider.clone());
        self.add(record.model.clone());
        self.add(record.credential.as_ref().map(|id| id.as_bytes().as_slice()));
        self.add(record.outcome.name());
        self.add(record.status.map(i64::from));
        self.add(i64::from(record.attempts));
        self.add(stored(record.latency_ms));
        self.add(record.ttft_ms.map(stored));
        self.add(i64::from(record.streamed));
        self.add(units_json(&record.usage));
        self.add(record.usage.quality.name());
        self.add(record.usage.tier.name());
        self.add(record.hold.get());
        self.add(record.charge.get());
        self.add(record.price_version.map(stored));
        self.add(known.components);
        self.add(record.receipt.as_deref());
        self.add(record.filter_hash.as_deref());
        self.add(record.error.as_deref());
        self.add(stored(record.started_at.millis()));
        self.add(known.shape);
        self.add(record.left_out.as_deref());
        let decisions = Some(&record.decisions).filter(|decisions| !decisions.is_empty());
        self.add(decisions.map(|decisions| decisions.packed().bytes().to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::{
        COUNTER_COLUMNS, COUNTER_WIDTH, RECORD_COLUMNS, RECORD_WIDTH, TRANSFER_COLUMNS, TRANSFER_WIDTH,
    };

    #[test]
    fn each_column_has_its_argument() {
        assert_eq!(TRANSFER_COLUMNS.split(',').count(), TRANSFER_WIDTH);
        assert_eq!(RECORD_COLUMNS.split(',').count(), RECORD_WIDTH);
        assert_eq!(super::USE_COLUMNS.split(',').count(), super::USE_WIDTH);
        assert_eq!(COUNTER_COLUMNS.split(',').count(), COUNTER_WIDTH);
        assert_eq!(super::UNITS_COLUMNS.split(',').count(), super::UNITS_WIDTH);
    }
}
