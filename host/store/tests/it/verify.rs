//! A verification finds what was tampered with.

use crate::{GRANTED, Rig, paid, request};

/// A ledger with a settled, a void and an open request; then `tamper`, and the rule that must notice.
async fn check(tamper: &'static str, rule: &str) {
    let rig = Rig::new().await;
    let (settled, void, open) = (request(), request(), request());
    for id in [settled, void, open] {
        rig.writer.commit(rig.hold(id, 100)).await.unwrap();
    }
    rig.writer.commit(rig.settle(settled, 100, paid(70))).await.unwrap();
    rig.writer.commit(rig.void(void, 100)).await.unwrap();
    rig.flush().await;
    let rig = rig.reopen().await;
    rig.assert_books_are_right().await;

    rig.tamper("DROP TRIGGER transfer_keeps_rows; DROP TRIGGER transfer_keeps_values;").await;
    rig.tamper(tamper).await;
    rig.tamper(
        "CREATE TRIGGER transfer_keeps_rows BEFORE DELETE ON transfer BEGIN SELECT RAISE(ABORT, ''); END; \
         CREATE TRIGGER transfer_keeps_values BEFORE UPDATE ON transfer BEGIN SELECT RAISE(ABORT, ''); END;",
    )
    .await;
    let report = rig.store.ledger.verify().await.unwrap();
    assert!(report.violations.iter().any(|found| found.rule.starts_with(rule)), "{tamper}: {report:?}");
}

#[tokio::test]
async fn each_rule_notices_its_corruption() {
    const POST: &str = "UPDATE transfer SET credit = 77 WHERE kind = 2";
    check(POST, "I1").await;
    check("UPDATE transfer SET amount = amount + 1 WHERE code = 4", "I2").await;
    check("UPDATE balance SET posted = posted + 1 WHERE account = 4", "I2").await;
    check("UPDATE account SET floor_least = 999999999 WHERE kind = 'user'", "I3").await;
    check("UPDATE transfer SET amount = 101 WHERE kind = 2", "I4 a resolution").await;
    check("UPDATE transfer SET resolves = x'00' WHERE kind = 3", "I4 a resolution").await;
    check("UPDATE transfer SET kind = 4, code = 2, resolves = NULL WHERE kind = 2", "I5 a charge").await;
    check("UPDATE request_record SET charge = 0", "I5 a record").await;
    check("DELETE FROM request_record", "I6").await;
    check("UPDATE transfer SET node = 9 WHERE kind = 2", "a transfer is of a node").await;
    check("DELETE FROM transfer WHERE kind = 3", "I14 no transfer").await;
    check("DELETE FROM transfer WHERE kind = 1", "I14 no transfer").await;
}

#[tokio::test]
async fn transfers_can_be_neither_changed_nor_deleted_and_a_missing_trigger_is_noticed() {
    let rig = Rig::new().await;
    let mut raw = rig.raw().await;
    for sql in ["UPDATE transfer SET amount = 0", "DELETE FROM transfer"] {
        let error = sqlx::raw_sql(sql).execute(&mut raw).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    rig.tamper("DROP TRIGGER transfer_keeps_values").await;
    let report = rig.store.ledger.verify().await.unwrap();
    assert_eq!(report.violations.len(), 1);
    assert_eq!(report.violations[0].rule, "I14 transfers are append-only");
}

#[tokio::test]
async fn the_report_counts_what_is_outstanding() {
    let rig = Rig::new().await;
    let report = rig.store.ledger.verify().await.unwrap();
    assert_eq!((report.transfers, report.outstanding), (1, GRANTED.get()));
}
