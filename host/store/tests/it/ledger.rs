//! Holds and their resolutions.

use tollgate_core::ledger::Settlement;
use tollgate_core::outcome::Outcome;
use tollgate_store::{Store, StoreError};

use crate::{GRANTED, NOW, Rig, options, paid, points, request};

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let rig = Rig::new().await;
    let id = request();
    rig.writer.commit(rig.hold(id, 100)).await.unwrap();
    assert_eq!(rig.balance().await.pending, points(100));
    rig.writer.post(rig.settle(id, 100, paid(70))).unwrap();

    let rig = rig.reopen().await;
    let balance = rig.balance().await;
    assert_eq!((balance.posted, balance.pending), (points(GRANTED.get() - 70), points(0)));
    let record = rig.store.log.request(id).await.unwrap();
    assert_eq!((record.charge, record.outcome), (points(70), Outcome::Ok));
    assert_eq!(record.components.pricing, Some([7; 32]));
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_hold_is_resolved_once() {
    let rig = Rig::new().await;
    let id = request();
    rig.writer.commit(rig.hold(id, 100)).await.unwrap();
    rig.writer.commit(rig.hold(id, 100)).await.unwrap();
    rig.writer.post(rig.settle(id, 100, paid(70))).unwrap();
    rig.flush().await;

    let overrun = Settlement { posted: points(100), overrun: points(5), bad_debt: points(5) };
    for again in [rig.settle(id, 100, paid(70)), rig.settle(id, 100, overrun), rig.void(id, 100)] {
        rig.writer.post(again).unwrap();
    }
    assert_eq!(rig.balance().await.posted, points(GRANTED.get() - 70));
    assert_eq!(rig.count("SELECT COUNT(*) FROM transfer WHERE code <> 4").await, 2);
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_refused_entry_takes_no_other_down() {
    let rig = Rig::new().await;
    let (first, second, never_held) = (request(), request(), request());
    rig.writer.commit(rig.hold(first, 10)).await.unwrap();
    rig.writer.post(rig.settle(first, 10, paid(1))).unwrap();
    rig.writer.post(rig.void(first, 10)).unwrap();
    rig.writer.post(rig.settle(never_held, 10, paid(1))).unwrap();
    rig.writer.commit(rig.hold(second, 10)).await.unwrap();
    let balance = rig.balance().await;
    assert_eq!((balance.posted, balance.pending), (points(GRANTED.get() - 1), points(10)));
    assert!(rig.store.log.request(never_held).await.is_err());
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn overrun_and_bad_debt_are_booked_and_nothing_is_lost() {
    let rig = Rig::new().await;
    let id = request();
    let held = GRANTED.get() - 5;
    rig.writer.commit(rig.hold(id, held)).await.unwrap();
    let settlement = Settlement { posted: points(held), overrun: points(5), bad_debt: points(30) };
    rig.writer.commit(rig.settle(id, held, settlement)).await.unwrap();
    assert_eq!(rig.balance().await.posted, points(0));
    let revenue = "SELECT SUM(amount) FROM transfer WHERE credit = 2 AND kind IN (2, 4)";
    assert_eq!(rig.count(revenue).await, GRANTED.get() + 30);
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_sweep_releases_what_a_crash_left_and_a_second_one_finds_nothing() {
    let rig = Rig::new().await;
    let (settled, left) = (request(), request());
    rig.writer.commit(rig.hold(settled, 10)).await.unwrap();
    rig.writer.commit(rig.settle(settled, 10, paid(10))).await.unwrap();
    rig.writer.commit(rig.hold(left, 400)).await.unwrap();

    let rig = rig.killed().await;
    let report = rig.store.ledger.sweep(NOW.plus_ms(50)).await.unwrap();
    assert_eq!((report.released, report.amount), (1, points(400)));
    assert_eq!(rig.store.ledger.sweep(NOW.plus_ms(60)).await.unwrap().released, 0);

    let record = rig.store.log.request(left).await.unwrap();
    assert_eq!((record.outcome, record.charge), (Outcome::Unknown, points(0)));
    assert_eq!((record.model.as_deref(), record.latency_ms), (Some("m"), 50));
    let balance = rig.balance().await;
    assert_eq!((balance.posted, balance.pending), (points(GRANTED.get() - 10), points(0)));
    rig.writer.post(rig.settle(left, 400, paid(400))).unwrap();
    assert_eq!(rig.balance().await.posted, points(GRANTED.get() - 10));
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn only_one_process_at_a_time_may_sweep() {
    let rig = Rig::new().await;
    rig.store.ledger.sweep(NOW).await.unwrap();
    let other = Store::open(&rig.path(), options()).await.unwrap();
    assert!(matches!(other.ledger.sweep(NOW).await, Err(StoreError::InUse(_))));
}

#[tokio::test]
async fn balances_outlive_their_snapshot() {
    let mut rig = Rig::new().await;
    let open = request();
    rig.writer.commit(rig.hold(open, 33)).await.unwrap();
    for round in 1..=3 {
        let id = request();
        rig.writer.commit(rig.hold(id, 10)).await.unwrap();
        rig.writer.commit(rig.settle(id, 10, paid(4))).await.unwrap();
        // The orderly end takes a snapshot; the next round adds to it.
        rig = rig.reopen().await;
        assert_eq!(rig.count("SELECT seq FROM balance_snapshot").await, 2 + 2 * round);
        let balance = rig.balance().await;
        assert_eq!((balance.posted, balance.pending), (points(GRANTED.get() - 4 * round), points(33)));
        rig.assert_books_are_right().await;
    }
}
