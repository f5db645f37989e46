//! Checks the books against their invariants, from the rows alone.
//!
//! Each check is one query that names the offenders; none of them trusts what the server decided. I1 to I5 and I14 are numbered as
//! in the design of the ledger.

use sqlx::SqliteConnection;

use crate::error::{Doing, StoreError};
use crate::open::Store;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one, as a stable word.
    pub rule: &'static str,
    /// What broke it: ids and amounts.
    pub detail: String,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Transfers that were looked at.
    pub transfers: u64,
    /// Points in circulation: issued and not yet spent, in micro-points.
    pub outstanding: i64,
    /// What is wrong; empty when the books are right. At most [`VIOLATIONS_MAX`] per rule.
    pub violations: Vec<Violation>,
}

/// Violations of one rule that a report names.
pub const VIOLATIONS_MAX: usize = 20;

struct Check {
    rule: &'static str,
    /// Selects one text per violation.
    query: &'static str,
}

/// Columns of a fold over all of history: what each account holds.
macro_rules! fold {
    () => {
        "SELECT account, SUM(delta) AS posted FROM (\
         SELECT debit AS account, -amount AS delta FROM transfer WHERE kind IN (2, 4) \
         UNION ALL SELECT credit, amount FROM transfer WHERE kind IN (2, 4)) AS moves GROUP BY account"
    };
}

const CHECKS: [Check; 11] = [
    Check {
        rule: "I1 debits equal credits",
        query: "SELECT 'transfer ' || hex(transfer.id) || ' moves between accounts that do not exist' FROM transfer \
                LEFT JOIN account AS debit ON debit.id = transfer.debit \
                LEFT JOIN account AS credit ON credit.id = transfer.credit \
                WHERE debit.id IS NULL OR credit.id IS NULL OR debit.id = credit.id",
    },
    Check {
        rule: "I2 balances equal the sum of their transfers",
        query: "SELECT 'account ' || account.id || ' holds ' || COALESCE(posted.posted, 0) || ', its transfers sum to ' \
                || COALESCE(folded.posted, 0) FROM account \
                LEFT JOIN (SELECT balance.account, balance.posted FROM balance) AS posted ON posted.account = account.id \
                LEFT JOIN (SELECT account, SUM(delta) AS posted FROM (\
                SELECT debit AS account, -amount AS delta FROM transfer \
                WHERE kind IN (2, 4) AND seq <= (SELECT seq FROM balance_snapshot) \
                UNION ALL SELECT credit, amount FROM transfer \
                WHERE kind IN (2, 4) AND seq <= (SELECT seq FROM balance_snapshot)) AS moves GROUP BY account) \
                AS folded ON folded.account = account.id \
                WHERE COALESCE(posted.posted, 0) <> COALESCE(folded.posted, 0)",
    },
    Check {
        rule: "I3 no account below its floor",
        query: concat!(
            "SELECT 'account ' || account.id || ' has ' || COALESCE(folded.posted, 0) || ' with ' \
             || COALESCE(held.amount, 0) || ' held and a floor of ' || account.floor FROM account LEFT JOIN (",
            fold!(),
            ") AS folded ON folded.account = account.id \
             LEFT JOIN (SELECT debit, SUM(amount) AS amount FROM transfer AS hold WHERE kind = 1 \
             AND NOT EXISTS (SELECT 1 FROM transfer AS resolution WHERE resolution.resolves = hold.id) GROUP BY debit) \
             AS held ON held.debit = account.id WHERE account.kind = 'user' \
             AND COALESCE(folded.posted, 0) - COALESCE(held.amount, 0) < account.floor"
        ),
    },
    Check {
        rule: "I4 a hold is resolved at most once",
        query: "SELECT 'hold ' || hex(resolves) || ' is resolved ' || COUNT(*) || ' times' FROM transfer \
                WHERE resolves IS NOT NULL GROUP BY resolves HAVING COUNT(*) > 1",
    },
    Check {
        rule: "I4 a resolution has its hold and takes no more",
        query: "SELECT 'transfer ' || hex(done.id) || ' of ' || done.amount || ' resolves ' \
                || COALESCE('a hold of ' || hold.amount, 'nothing') FROM transfer AS done \
                LEFT JOIN transfer AS hold ON hold.id = done.resolves AND hold.kind = 1 \
                WHERE done.kind IN (2, 3) AND (hold.id IS NULL OR hold.debit <> done.debit OR done.amount > hold.amount)",
    },
    Check {
        rule: "I5 a charge has its request",
        query: "SELECT 'transfer ' || hex(extra.id) || ' charges request ' || COALESCE(hex(extra.request), '(none)') \
                || ' which no settlement resolves' FROM transfer AS extra \
                LEFT JOIN transfer AS post ON post.resolves = extra.request AND post.kind = 2 \
                WHERE extra.kind = 4 AND extra.code IN (2, 3) AND post.id IS NULL",
    },
    Check {
        rule: "I5 a record says what was charged",
        query: "SELECT 'request ' || hex(record.request) || ' records ' || record.charge || ', its transfers sum to ' \
                || COALESCE(post.amount, 0) FROM request_record AS record \
                JOIN transfer AS done ON done.resolves = record.request \
                LEFT JOIN (SELECT COALESCE(request, resolves) AS request, SUM(amount) AS amount FROM transfer \
                WHERE kind = 2 OR (kind = 4 AND code IN (2, 3)) GROUP BY 1) AS post ON post.request = record.request \
                WHERE record.charge <> COALESCE(post.amount, 0)",
    },
    Check {
        rule: "I6 a resolved request has its record",
        query: "SELECT 'request ' || hex(done.resolves) || ' was resolved without a record' FROM transfer AS done \
                LEFT JOIN request_record AS record ON record.request = done.resolves \
                WHERE done.kind IN (2, 3) AND record.request IS NULL \
                AND done.resolves > (SELECT request FROM request_horizon)",
    },
    Check { rule: "I7 usage counters equal the sum of their records", query: USAGE },
    Check {
        rule: "I14 transfers are append-only",
        query: "SELECT 'trigger ' || name || ' is missing' FROM (\
                SELECT 'transfer_keeps_rows' AS name UNION ALL SELECT 'transfer_keeps_values') AS expected \
                WHERE NOT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND sqlite_master.name = expected.name)",
    },
    Check {
        rule: "I14 no transfer is missing",
        query: "SELECT 'transfers after ' || before || ' up to ' || (seq - 1) || ' are gone' FROM (\
                SELECT seq, LAG(seq, 1, 0) OVER (ORDER BY seq) AS before FROM transfer \
                UNION ALL SELECT seq + 1, COALESCE((SELECT MAX(seq) FROM transfer), 0) FROM balance_snapshot \
                WHERE seq > COALESCE((SELECT MAX(seq) FROM transfer), 0)) AS neighbours WHERE seq <> before + 1",
    },
];

/// Every counter beside what its records, and those that retention removed, add up to.
const USAGE: &str = "WITH facts AS (SELECT kind, subject, day, api_key, model, SUM(requests) AS requests, \
    SUM(failed) AS failed, SUM(input) AS input, SUM(cache_read) AS cache_read, \
    SUM(cache_write_short) AS cache_write_short, SUM(cache_write_long) AS cache_write_long, SUM(output) AS output, \
    SUM(reasoning) AS reasoning, SUM(audio_input) AS audio_input, SUM(audio_output) AS audio_output, \
    SUM(charge) AS charge, MAX(last_at) AS last_at \
    FROM (SELECT * FROM counted UNION ALL SELECT * FROM usage_removed) GROUP BY 1, 2, 3, 4, 5), \
    wrong AS (SELECT * FROM (SELECT * FROM usage_counter EXCEPT SELECT * FROM facts) \
    UNION SELECT * FROM (SELECT * FROM facts EXCEPT SELECT * FROM usage_counter)) \
    SELECT DISTINCT 'counter ' || kind || ' of ' || hex(subject) || ' on day ' || day || ' for key ' || hex(api_key) \
    || ' and model ' || model || ' is not what its records add up to' FROM wrong";

impl Store {
    /// Recomputes the usage counters from the records, and compares: the part of [`Store::verify`] that is about them.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn verify_usage(&self) -> Result<Vec<Violation>, StoreError> {
        let mut connection = self.pool().acquire().await.doing("verifying usage")?;
        let check = Check { rule: "I7 usage counters equal the sum of their records", query: USAGE };
        run(&mut connection, &check).await
    }

    /// Recomputes the books and compares. Reads all of history; a server may go on serving meanwhile.
    ///
    /// # Errors
    /// When the database cannot be read. Broken invariants are no error: they are in the report.
    pub async fn verify(&self) -> Result<VerifyReport, StoreError> {
        // One transaction, so that all checks see the same moment.
        let mut tx = self.pool().begin().await.doing("verifying the ledger")?;
        let (transfers, outstanding): (i64, i64) = sqlx::query_as(concat!(
            "SELECT (SELECT COUNT(*) FROM transfer), COALESCE((SELECT SUM(folded.posted) FROM (",
            fold!(),
            ") AS folded JOIN account ON account.id = folded.account WHERE account.kind = 'user'), 0)"
        ))
        .fetch_one(&mut *tx)
        .await
        .doing("verifying the ledger")?;
        let mut violations = Vec::new();
        for check in &CHECKS {
            violations.extend(run(&mut tx, check).await?);
        }
        tx.commit().await.doing("verifying the ledger")?;
        Ok(VerifyReport { transfers: crate::sql::loaded(transfers), outstanding, violations })
    }
}

async fn run(connection: &mut SqliteConnection, check: &Check) -> Result<Vec<Violation>, StoreError> {
    let details: Vec<String> =
        sqlx::query_scalar(check.query).fetch_all(connection).await.doing("verifying the ledger")?;
    let named = details.into_iter().take(VIOLATIONS_MAX);
    Ok(named.map(|detail| Violation { rule: check.rule, detail }).collect())
}
