//! Checks the ledger against its invariants, from the rows alone.
//!
//! Most checks are one query that names the offenders (`checks.rs`); receipts are decoded and compared (`receipts.rs`).
//! None of them trusts what the server decided. Where each invariant is asserted while entries are written, and where
//! it is checked:
//!
//! | | invariant | asserted | checked by |
//! |---|---|---|---|
//! | I1 | debits equal credits, posted and pending | each transfer is one row with both sides and one amount, `amount >= 0`, foreign keys to both accounts; `Settlement::charge` sums its parts | "I1 debits equal credits" |
//! | I2 | an account is the sum of its transfers | balances are sums of transfers, with a snapshot (`balance.rs`); a server's memory starts from them | "I2 balances equal the sum of their transfers" |
//! | I3 | no account is below its lowest floor ever, holds counted | `Account::hold` refuses, `Account::settle` takes no more than what is available (`host/core/src/ledger.rs`), property-tested | "I3 no account below its least floor" |
//! | I4 | a hold is resolved at most once | `resolves` is unique, and its id is derived from the request's (`entry.rs`); `Account::void` panics on a hold that was never taken | "I4 ..." |
//! | I5 | a request is settled at most once | its id is the hold's; the record's primary key is the request; a ticket ends once by its type (`proxy/ticket.rs`) | "I5 ..." |
//! | I6 | what was acknowledged is durable | a hold is in the journal before the request is sent (`writer.rs`), and what management books is committed before it is answered | "I6 a resolved request has its record"; `tests/it/crash.rs` |
//! | I7 | replaying a prefix again changes nothing | the journal's position moves in the commit of its entries (`commit.rs`); repeated entries meet their unique ids | `a_hold_is_resolved_once` and the tests of the journal |
//! | I8 | the same key for something else is refused | `grant::booked` compares; (code, reference) is unique | "I8 a reference stands for one booking" |
//! | I9 | an open hold has a living owner, or its request is `unknown` | `Store::sweep` runs under the lock of the process that serves, before it serves | "I9 a hold is open only while it is served" |
//! | I14 | nothing is changed or removed | triggers refuse it | "I14 ..." |
//!
//! (The numbers are those of the ledger's design; I10 to I13 are about agents, which do not exist yet.)

use async_trait::async_trait;

mod checks;
mod receipts;
mod unreadable;

use sqlx::SqliteConnection;

use self::checks::{CHECKS, Check, QUARANTINED, USAGE, fold};
use crate::error::StoreError;
use crate::ledger::verify::{VIOLATIONS_MAX, Verification, VerifyReport, Violation};
use crate::sqlite::error::Doing;
use crate::sqlite::open::Database;
use crate::sqlite::sums::{impossible, moved, sum};

#[async_trait]
impl Verification for Database {
    async fn verify_usage(&self) -> Result<Vec<Violation>, StoreError> {
        let mut connection = self.pool().acquire().await.doing("verifying usage")?;
        let check = Check { rule: "I7 usage counters equal the sum of their records", query: USAGE };
        run(&mut connection, &check).await
    }

    async fn verify(&self) -> Result<VerifyReport, StoreError> {
        // One transaction, so that all checks see the same moment.
        let mut tx = self.pool().begin().await.doing("verifying the ledger")?;
        let (transfers, outstanding): (i64, i64) = sqlx::query_as(concat!(
            "SELECT (SELECT COUNT(*) FROM transfer), COALESCE((SELECT ",
            sum!("folded.posted"),
            " FROM (",
            fold!(),
            ") AS folded JOIN account ON account.id = folded.account WHERE account.kind = 'user'), 0)"
        ))
        .fetch_one(&mut *tx)
        .await
        .doing("verifying the ledger")?;
        let mut violations = Vec::new();
        for check in CHECKS {
            violations.extend(run(&mut tx, check).await?);
        }
        violations.extend(receipts::check(&mut tx).await?);
        let mut quarantined = run(&mut tx, &QUARANTINED).await?;
        quarantined.extend(unreadable::check(&mut tx).await?);
        tx.commit().await.doing("verifying the ledger")?;
        let transfers = crate::sqlite::row::loaded(transfers);
        Ok(VerifyReport { transfers, outstanding, violations, quarantined })
    }

    async fn quarantined(&self) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar(concat!("SELECT COUNT(*) FROM transfer WHERE ", impossible!()))
            .fetch_one(self.pool())
            .await
            .doing("counting what is quarantined")?;
        Ok(crate::sqlite::row::loaded(count))
    }
}

async fn run(connection: &mut SqliteConnection, check: &Check) -> Result<Vec<Violation>, StoreError> {
    let details: Vec<String> =
        sqlx::query_scalar(check.query).fetch_all(connection).await.doing("verifying the ledger")?;
    let named = details.into_iter().take(VIOLATIONS_MAX);
    Ok(named.map(|detail| Violation { rule: check.rule, detail }).collect())
}
