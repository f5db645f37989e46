//! Many callers, full queues, failing disks.

use tollgate_core::time::Timestamp;
use tollgate_store::{Entry, PluginEvent, WriteError};

use crate::{GRANTED, Rig, paid, points, request};

/// Refuses every commit that holds a transfer of request model `broken`, and only when it commits: a row that points
/// nowhere, which SQLite notices at the end of the transaction.
const BREAK_COMMITS: &str = "CREATE TABLE broken (account INTEGER REFERENCES account (id) DEFERRABLE INITIALLY DEFERRED); \
     CREATE TRIGGER breaks AFTER INSERT ON transfer BEGIN INSERT INTO broken VALUES (-1); END;";

#[test]
fn holders_on_many_runtimes_find_their_rows_durable() {
    let main = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rig = main.block_on(Rig::new());
    std::thread::scope(|scope| {
        for _ in 0..64 {
            let rig = &rig;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..8 {
                        let id = request();
                        rig.writer.commit(rig.hold(id, 3)).await.unwrap();
                        rig.writer.enqueue(rig.settle(id, 3, paid(2))).await.unwrap();
                    }
                });
            });
        }
    });
    main.block_on(async {
        rig.writer.flush().await.unwrap();
        assert_eq!(rig.count("SELECT COUNT(*) FROM transfer WHERE kind = 1").await, 512);
        assert_eq!(rig.count("SELECT COUNT(*) FROM request_record").await, 512);
        assert_eq!(rig.balance().await.posted, points(GRANTED.get() - 1024));
        rig.assert_books_are_right().await;
    });
}

#[tokio::test]
async fn a_failed_commit_refuses_the_hold_and_keeps_the_settlement() {
    let rig = Rig::new().await;
    let (settled, refused) = (request(), request());
    rig.writer.commit(rig.hold(settled, 10)).await.unwrap();
    rig.tamper(BREAK_COMMITS).await;
    rig.writer.enqueue(rig.settle(settled, 10, paid(6))).await.unwrap();
    assert_eq!(rig.writer.commit(rig.hold(refused, 10)).await, Err(WriteError::Unavailable));
    assert_eq!(rig.balance().await.pending, points(10));

    rig.tamper("DROP TRIGGER breaks").await;
    rig.writer.flush().await.unwrap();
    let balance = rig.balance().await;
    assert_eq!((balance.posted, balance.pending), (points(GRANTED.get() - 6), points(0)));
    assert_eq!(rig.count("SELECT COUNT(*) FROM transfer WHERE kind = 1").await, 1);
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_writer_that_cannot_write_says_how_much_it_lost() {
    let rig = Rig::new().await;
    let id = request();
    rig.writer.commit(rig.hold(id, 10)).await.unwrap();
    rig.tamper(BREAK_COMMITS).await;
    rig.writer.enqueue(rig.settle(id, 10, paid(6))).await.unwrap();
    assert_eq!(rig.writer.close().await, 1);
}

#[tokio::test]
async fn a_closed_writer_takes_nothing_and_closes_again() {
    let rig = Rig::new().await;
    let id = request();
    rig.writer.commit(rig.hold(id, 10)).await.unwrap();
    assert_eq!(rig.writer.close().await, 0);
    assert_eq!(rig.writer.close().await, 0);
    assert_eq!(rig.writer.enqueue(rig.void(id, 10)).await, Err(WriteError::Closed));
    assert_eq!(rig.writer.commit(rig.void(id, 10)).await, Err(WriteError::Closed));
    let returned = rig.writer.try_enqueue(rig.void(id, 10)).unwrap_err();
    assert!(matches!(*returned.0, Entry::Void { request, .. } if request == id));
}

#[tokio::test]
async fn plugin_events_are_kept() {
    let rig = Rig::new().await;
    let event = PluginEvent {
        at: Timestamp::from_millis(5),
        component: "filter".into(),
        kind: "content-filter".into(),
        digest: Some([9; 32]),
        event: "rolled-back".into(),
        detail: None,
    };
    rig.writer.commit(Entry::Event(event.clone())).await.unwrap();
    assert_eq!(rig.store.plugin_events(10).await.unwrap(), [event]);
}
