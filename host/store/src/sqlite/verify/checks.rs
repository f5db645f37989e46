//! The rules of the ledger as queries: each names the rows that break it.

use crate::sqlite::sums::{impossible, moved, sum};

/// A rule of the ledger.
pub(super) struct Check {
    pub(super) rule: &'static str,
    /// Selects one text per violation.
    pub(super) query: &'static str,
}

/// Columns of the sums over all of history: what each account holds.
macro_rules! fold {
    () => {
        concat!(
            "SELECT account, ",
            sum!("delta"),
            " AS posted FROM (SELECT debit AS account, -amount AS delta FROM transfer WHERE ",
            moved!(),
            " UNION ALL SELECT credit, amount FROM transfer WHERE ",
            moved!(),
            ") AS moves GROUP BY account"
        )
    };
}

pub(super) use fold;

/// All rules that a query can check, in the order in which they are reported.
pub(super) const CHECKS: &[Check] = &[
    Check {
        rule: "I1 debits equal credits",
        query: "SELECT 'transfer ' || hex(transfer.id) || ' moves between accounts that do not exist' FROM transfer \
                LEFT JOIN account AS debit ON debit.id = transfer.debit \
                LEFT JOIN account AS credit ON credit.id = transfer.credit \
                WHERE debit.id IS NULL OR credit.id IS NULL OR debit.id = credit.id",
    },
    Check {
        rule: "I2 balances equal the sum of their transfers",
        query: concat!(
            "SELECT 'account ' || account.id || ' holds ' || COALESCE(posted.posted, 0) || ', its transfers sum to ' \
             || COALESCE(folded.posted, 0) FROM account \
             LEFT JOIN (SELECT balance.account, balance.posted FROM balance) AS posted ON posted.account = account.id \
             LEFT JOIN (SELECT account, ",
            sum!("delta"),
            " AS posted FROM (SELECT debit AS account, -amount AS delta FROM transfer WHERE ",
            moved!(),
            " AND seq <= (SELECT seq FROM balance_snapshot) UNION ALL SELECT credit, amount FROM transfer WHERE ",
            moved!(),
            " AND seq <= (SELECT seq FROM balance_snapshot)) AS moves GROUP BY account) \
             AS folded ON folded.account = account.id \
             WHERE COALESCE(posted.posted, 0) <> COALESCE(folded.posted, 0)"
        ),
    },
    Check {
        rule: "I3 no account below its least floor",
        query: concat!(
            "SELECT 'account ' || account.id || ' has ' || COALESCE(folded.posted, 0) || ' with ' \
             || COALESCE(held.amount, 0) || ' held and never had a floor below ' || account.floor_least FROM account LEFT JOIN (",
            fold!(),
            ") AS folded ON folded.account = account.id \
             LEFT JOIN (SELECT debit, ",
            sum!("amount"),
            " AS amount FROM transfer AS hold WHERE kind = 1 \
             AND NOT EXISTS (SELECT 1 FROM transfer AS resolution WHERE resolution.resolves = hold.id) GROUP BY debit) \
             AS held ON held.debit = account.id WHERE account.kind = 'user' \
             AND COALESCE(folded.posted, 0) - COALESCE(held.amount, 0) < account.floor_least"
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
        // What no balance counts is what its record says all the same.
        query: concat!(
            "SELECT 'request ' || hex(record.request) || ' records ' || record.charge || ', its transfers sum to ' \
             || COALESCE(post.amount, 0) FROM request_record AS record \
             JOIN transfer AS done ON done.resolves = record.request \
             LEFT JOIN (SELECT COALESCE(request, resolves) AS request, ",
            sum!("amount"),
            " AS amount FROM transfer \
             WHERE kind = 2 OR (kind = 4 AND code IN (2, 3)) GROUP BY 1) AS post ON post.request = record.request \
             WHERE record.charge <> COALESCE(post.amount, 0)"
        ),
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
                SELECT 'transfer_keeps_rows' AS name UNION ALL SELECT 'transfer_keeps_values' \
                UNION ALL SELECT 'price_keeps_rows' UNION ALL SELECT 'price_keeps_values') AS expected \
                WHERE NOT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND sqlite_master.name = expected.name)",
    },
    Check {
        rule: "I14 no transfer is missing",
        query: "SELECT 'transfers after ' || before || ' up to ' || (seq - 1) || ' are gone' FROM (\
                SELECT seq, LAG(seq, 1, 0) OVER (ORDER BY seq) AS before FROM transfer \
                UNION ALL SELECT seq + 1, COALESCE((SELECT MAX(seq) FROM transfer), 0) FROM balance_snapshot \
                WHERE seq > COALESCE((SELECT MAX(seq) FROM transfer), 0)) AS neighbours WHERE seq <> before + 1",
    },
    Check {
        rule: "I8 a reference stands for one booking",
        query: "SELECT 'transfers of code ' || code || ' share the reference ' || reference FROM transfer \
                WHERE reference IS NOT NULL GROUP BY code, reference HAVING COUNT(*) > 1",
    },
    Check {
        rule: "I9 a hold is open only while it is served",
        query: "SELECT 'hold ' || hex(hold.id) || ' was left open by a process that is gone' FROM transfer AS hold \
                WHERE hold.kind = 1 AND hold.seq <= (SELECT swept FROM node WHERE number = COALESCE(hold.node, 1)) \
                AND NOT EXISTS (SELECT 1 FROM transfer AS resolution WHERE resolution.resolves = hold.id)",
    },
    Check {
        rule: "a transfer is of a node that is known",
        query: "SELECT 'transfer ' || hex(id) || ' is of node ' || node FROM transfer \
                WHERE node IS NOT NULL AND node NOT IN (SELECT number FROM node)",
    },
    Check {
        rule: "what management books comes from where it may",
        query: "SELECT 'transfer ' || hex(transfer.id) || ' of code ' || transfer.code || ' goes from account ' || debit \
                || ' to account ' || credit FROM transfer LEFT JOIN account ON account.id = transfer.credit \
                WHERE transfer.code IN (4, 5, 6, 7, 20) AND (transfer.kind <> 4 OR transfer.amount <= 0 OR account.kind IS NOT 'user' \
                OR transfer.debit <> CASE transfer.code WHEN 7 THEN 2 ELSE 1 END \
                OR (transfer.code IN (5, 6) AND transfer.reference IS NULL))",
    },
    Check {
        rule: "a refund gives back no more than was paid",
        query: concat!(
            "SELECT 'request ' || COALESCE(hex(refund.request), '(none)') || ' was refunded ' || refund.amount || ' of ' \
             || COALESCE(paid.amount, 0) FROM (SELECT request, credit, ",
            sum!("amount"),
            " AS amount FROM transfer WHERE code = 7 GROUP BY request, credit) AS refund LEFT JOIN (\
             SELECT COALESCE(request, resolves) AS request, debit, ",
            sum!("amount"),
            " AS amount FROM transfer WHERE kind = 2 OR (kind = 4 AND code = 2) GROUP BY 1, 2) AS paid \
             ON paid.request = refund.request AND paid.debit = refund.credit \
             WHERE refund.amount > COALESCE(paid.amount, 0)"
        ),
    },
    Check {
        rule: "a redeemed code has its booking",
        query: "SELECT 'code ' || hex(COALESCE(redemption.code, x'')) || ' and transfer ' || COALESCE(hex(transfer.id), '(none)') \
                || ' do not fit' FROM redemption JOIN redeem_code ON redeem_code.id = redemption.code \
                JOIN code_batch ON code_batch.id = redeem_code.batch \
                LEFT JOIN account ON account.owner = redemption.user_id \
                FULL JOIN (SELECT * FROM transfer WHERE code = 6) AS transfer ON transfer.id = redemption.transfer \
                AND transfer.credit = account.id AND transfer.amount = code_batch.points \
                WHERE redemption.code IS NULL OR transfer.id IS NULL",
    },
    Check {
        rule: "a code is used as often as it was redeemed",
        query: "SELECT 'code ' || hex(redeem_code.id) || ' counts ' || redeem_code.uses || ' uses of ' || code_batch.uses_max \
                || ', redeemed ' || COUNT(redemption.code) || ' times' FROM redeem_code \
                JOIN code_batch ON code_batch.id = redeem_code.batch \
                LEFT JOIN redemption ON redemption.code = redeem_code.id GROUP BY redeem_code.id \
                HAVING redeem_code.uses <> COUNT(redemption.code) OR redeem_code.uses > code_batch.uses_max",
    },
    Check {
        rule: "a price rate is a user's",
        query: "SELECT 'the rate of ' || hex(user_id) || ' is ' || ppm FROM price_rate \
                WHERE ppm NOT BETWEEN 0 AND 100000000 OR user_id NOT IN (SELECT id FROM users)",
    },
    Check {
        rule: "a lender earns once, by a request of somebody else that his credential served",
        // A record may have been removed since; the uses stay.
        query: "SELECT 'transfer ' || hex(earning.id) || ' of ' || earning.amount || ' pays ' \
                || COALESCE('for request ' || hex(earning.request), 'for nothing') FROM transfer AS earning \
                LEFT JOIN request_record AS record ON record.request = earning.request \
                LEFT JOIN transfer AS post ON post.resolves = earning.request AND post.kind = 2 \
                LEFT JOIN pool_use AS used ON used.request = earning.request AND used.attempt = \
                (SELECT MAX(attempt) FROM pool_use AS other WHERE other.request = earning.request) \
                LEFT JOIN account ON account.owner = used.lender \
                WHERE earning.code = 21 AND (earning.kind <> 4 OR earning.debit <> 2 OR post.id IS NULL \
                OR account.id IS NULL OR earning.credit <> account.id OR (record.request IS NOT NULL AND \
                (record.attempts <> used.attempt OR record.credential IS NOT used.credential \
                OR record.user_id = used.lender))) \
                UNION ALL SELECT 'request ' || hex(request) || ' is paid for ' || COUNT(*) || ' times' FROM transfer \
                WHERE code = 21 GROUP BY request HAVING COUNT(*) > 1",
    },
    Check {
        rule: "a reward is granted once, to who brought the key",
        query: "SELECT 'transfer ' || hex(granted.id) || ' of ' || granted.amount || ' rewards no key' FROM transfer AS granted \
                WHERE granted.code = 20 AND (granted.kind <> 4 OR granted.debit <> 1 OR NOT EXISTS (\
                SELECT 1 FROM credential_reward AS reward JOIN account ON account.owner = reward.user_id \
                WHERE reward.transfer = granted.id AND account.id = granted.credit)) \
                UNION ALL SELECT 'reward ' || hex(reward.transfer) || ' is in no transfer' FROM credential_reward AS reward \
                LEFT JOIN transfer AS granted ON granted.id = reward.transfer AND granted.code = 20 \
                WHERE reward.transfer IS NOT NULL AND granted.id IS NULL",
    },
    Check {
        rule: "a price table is complete",
        query: "SELECT 'price version ' || version || ' is empty' FROM price_version \
                WHERE NOT EXISTS (SELECT 1 FROM price WHERE price.version = price_version.version AND tier = 0)",
    },
];

/// What no balance counts, because it cannot be.
pub(super) const QUARANTINED: Check = Check {
    rule: "a movement that cannot be, which no balance counts",
    query: concat!(
        "SELECT 'transfer ' || hex(id) || ' of ' || amount || ' from account ' || debit || ' to account ' || credit \
         || COALESCE(' for request ' || hex(COALESCE(request, resolves)), '') FROM transfer WHERE ",
        impossible!(),
        " ORDER BY seq"
    ),
};

/// Every counter beside the sum of its records and of those that retention removed; then the units of each class.
pub(super) const USAGE: &str = concat!(
    "WITH facts AS (SELECT kind, subject, day, api_key, model, SUM(requests) AS requests, SUM(failed) AS failed, ",
    sum!("charge"),
    " AS charge, MAX(last_at) AS last_at \
    FROM (SELECT * FROM counted UNION ALL SELECT * FROM usage_removed) GROUP BY 1, 2, 3, 4, 5), \
    units AS (SELECT kind, subject, day, api_key, model, class, ",
    sum!("units"),
    " AS units FROM (\
    SELECT kind, subject, day, api_key, model, class, units FROM counted_units \
    UNION ALL SELECT * FROM usage_removed_units) GROUP BY 1, 2, 3, 4, 5, 6), \
    wrong AS (SELECT kind, subject, day, api_key, model FROM (SELECT * FROM usage_counter EXCEPT SELECT * FROM facts) \
    UNION SELECT kind, subject, day, api_key, model FROM (SELECT * FROM facts EXCEPT SELECT * FROM usage_counter) \
    UNION SELECT kind, subject, day, api_key, model FROM (\
    SELECT * FROM usage_counter_units EXCEPT SELECT * FROM units) \
    UNION SELECT kind, subject, day, api_key, model FROM (\
    SELECT * FROM units EXCEPT SELECT * FROM usage_counter_units)) \
    SELECT DISTINCT 'counter ' || kind || ' of ' || hex(subject) || ' on day ' || day || ' for key ' || hex(api_key) \
    || ' and model ' || model || ' is not what its records add up to' FROM wrong"
);
