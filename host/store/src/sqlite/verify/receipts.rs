//! Receipts against the rows beside them: what was charged, to whom, at which prices.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use sqlx::SqliteConnection;
use tollgate_core::price::Rates;
use tollgate_core::receipt::Receipt;

use crate::error::StoreError;
use crate::ledger::verify::{VIOLATIONS_MAX, Violation};
use crate::sqlite::error::Doing;
use crate::sqlite::row::{Row, readable, stored};

const RULE: &str = "a receipt says what its record says";
const PRICES: &str = "a receipt's prices stand in its version";
/// Records that are read at once.
const PAGE: u32 = 4096;

/// What a record says, in the columns that its receipt repeats.
struct Recorded {
    request: [u8; 16],
    user: [u8; 16],
    charge: i64,
    price_version: Option<i64>,
    outcome: String,
    receipt: Vec<u8>,
}

/// Decodes every receipt and compares.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<Vec<Violation>, StoreError> {
    let mut found = Violations::default();
    let mut published: HashMap<u64, HashSet<Rates>> = HashMap::new();
    let mut after = [0; 16];
    loop {
        let (page, more) = page(connection, after).await?;
        for recorded in &page {
            after = recorded.request;
            let receipt = match Receipt::decode(&recorded.receipt) {
                Ok(receipt) => receipt,
                Err(error) => {
                    found.add(RULE, recorded, &error.to_string());
                    continue;
                }
            };
            if let Some(what) = difference(recorded, &receipt) {
                found.add(RULE, recorded, what);
            }
            let version = receipt.price_version;
            let rates = match published.entry(version) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(slot) => slot.insert(rates(connection, version).await?),
            };
            if !rates.contains(&receipt.rates) {
                found.add(PRICES, recorded, &format!("version {version} has no such prices"));
            }
        }
        if !more {
            return Ok(found.0);
        }
    }
}

/// The violations so far, at most [`VIOLATIONS_MAX`] per rule.
#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn add(&mut self, rule: &'static str, recorded: &Recorded, what: &str) {
        if self.0.iter().filter(|violation| violation.rule == rule).count() < VIOLATIONS_MAX {
            let request: String = recorded.request.iter().map(|byte| format!("{byte:02X}")).collect();
            self.0.push(Violation { rule, detail: format!("request {request}: {what}") });
        }
    }
}

fn difference(recorded: &Recorded, receipt: &Receipt) -> Option<&'static str> {
    let same = [
        (*receipt.request.as_bytes() == recorded.request, "it is another request's"),
        (*receipt.user.as_bytes() == recorded.user, "it is another user's"),
        (receipt.charge.get() == recorded.charge, "the charge differs"),
        (Some(stored(receipt.price_version)) == recorded.price_version, "the price version differs"),
        (receipt.outcome.name() == recorded.outcome, "the outcome differs"),
    ];
    same.into_iter().find_map(|(same, what)| (!same).then_some(what))
}

/// Records after one, and whether there are more.
async fn page(
    connection: &mut SqliteConnection,
    after: [u8; 16],
) -> Result<(Vec<Recorded>, bool), StoreError> {
    let rows = sqlx::query(
        "SELECT request, user_id, charge, price_version, outcome, receipt FROM request_record \
         WHERE request > ? AND receipt IS NOT NULL ORDER BY request LIMIT ?",
    )
    .bind(after.as_slice())
    .bind(PAGE)
    .fetch_all(connection)
    .await
    .doing("verifying receipts")?;
    // Those that cannot be read are named by `unreadable.rs`.
    Ok((readable("record", &rows, recorded), rows.len() == PAGE as usize))
}

fn recorded(row: &mut Row<'_>) -> Option<Recorded> {
    Some(Recorded {
        request: row.bytes()?,
        user: row.bytes()?,
        charge: row.get()?,
        price_version: row.get()?,
        outcome: row.get()?,
        receipt: row.get()?,
    })
}

/// All prices of a version, of any model: a receipt names its model as the client did.
async fn rates(connection: &mut SqliteConnection, version: u64) -> Result<HashSet<Rates>, StoreError> {
    let table = crate::sqlite::price::table(connection, stored(version), 0).await?;
    Ok(table
        .entries()
        .flat_map(|(_, price)| [Some(price.base), price.long_prompt.map(|tier| tier.rates)])
        .flatten()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{Recorded, difference};
    use tollgate_core::id::{RequestId, UserId};
    use tollgate_core::outcome::Outcome;
    use tollgate_core::points::Micropoints;
    use tollgate_core::price::{PriceRate, Rates};
    use tollgate_core::protocol::Owner;
    use tollgate_core::receipt::Receipt;
    use tollgate_core::time::Timestamp;
    use tollgate_core::usage::Usage;

    #[test]
    fn a_receipt_of_anything_else_than_its_record_is_noticed() {
        let (request, user) = ([1; 16], [2; 16]);
        let receipt = Receipt {
            default_price: None,
            request: RequestId::from_bytes(request),
            user: UserId::from_bytes(user),
            model: "m".to_owned(),
            price_version: 3,
            pricing_component: [4; 32],
            config_digest: [5; 32],
            owner: Owner::Platform,
            rates: Rates::default(),
            usage: Usage::default(),
            outcome: Outcome::Ok,
            admitted_at: Timestamp::from_millis(6),
            charge: Micropoints::new(7),
            price_rate: PriceRate::FULL,
            tier_ppm: 1_000_000,
            held: None,
            reason: None,
        };
        let recorded = || Recorded {
            request,
            user,
            charge: 7,
            price_version: Some(3),
            outcome: "ok".to_owned(),
            receipt: Vec::new(),
        };
        assert_eq!(difference(&recorded(), &receipt), None);
        for (other, what) in [
            (Recorded { request: [9; 16], ..recorded() }, "request"),
            (Recorded { user: [9; 16], ..recorded() }, "user"),
            (Recorded { charge: 8, ..recorded() }, "charge"),
            (Recorded { price_version: None, ..recorded() }, "price version"),
            (Recorded { outcome: "empty".to_owned(), ..recorded() }, "outcome"),
        ] {
            let told = difference(&other, &receipt).unwrap_or_default();
            assert!(told.contains(what), "{what}: {told}");
        }
    }
}
