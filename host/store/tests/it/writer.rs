//! Many callers, full queues, failing disks.

use tollgate_core::time::Timestamp;
use tollgate_store::{Durability, Entry, Options, PluginEvent, Store, WriteError};

use crate::{GRANTED, Rig, paid, points, request};

/// Lets every commit that holds a transfer fail, and only when it commits: a row that points nowhere, which SQLite
/// notices at the end of the transaction.
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
                        rig.writer.post(rig.settle(id, 3, paid(2))).unwrap();
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
async fn what_was_committed_survives_a_kill_at_any_moment() {
    let rig = Rig::new().await;
    let (early, late, open) = (request(), request(), request());
    rig.writer.commit(rig.hold(early, 10)).await.unwrap();
    rig.writer.post(rig.settle(early, 10, paid(6))).unwrap();
    rig.flush().await;
    // These are in the journal and nowhere else: the database takes no commit.
    rig.tamper(BREAK_COMMITS).await;
    rig.writer.commit(rig.hold(late, 10)).await.unwrap();
    rig.writer.post(rig.settle(late, 10, paid(7))).unwrap();
    rig.writer.commit(rig.hold(open, 20)).await.unwrap();
    rig.tamper("DROP TRIGGER breaks; DROP TABLE broken").await;

    let rig = rig.killed().await;
    let balance = rig.balance().await;
    assert_eq!((balance.posted, balance.pending), (points(GRANTED.get() - 13), points(20)));
    assert_eq!(rig.store.log.request(late).await.unwrap().charge, points(7));
    rig.assert_books_are_right().await;
    // The next start finds nothing left to do, and nothing twice.
    let rig = rig.killed().await;
    assert_eq!(rig.balance().await, balance);
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_database_that_fails_holds_up_nobody_and_loses_nothing() {
    let rig = Rig::new().await;
    let (before, meanwhile) = (request(), request());
    rig.writer.commit(rig.hold(before, 10)).await.unwrap();
    rig.flush().await;
    rig.tamper(BREAK_COMMITS).await;
    rig.writer.post(rig.settle(before, 10, paid(6))).unwrap();
    rig.writer.commit(rig.hold(meanwhile, 10)).await.unwrap();
    let unflushed = tokio::time::timeout(std::time::Duration::from_millis(100), rig.writer.flush()).await;
    assert!(unflushed.is_err(), "nothing is called written that is not");

    rig.tamper("DROP TRIGGER breaks").await;
    let balance = rig.balance().await;
    assert_eq!((balance.posted, balance.pending), (points(GRANTED.get() - 6), points(10)));
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_writer_that_closes_over_a_broken_database_leaves_the_rest_to_the_next_start() {
    let rig = Rig::new().await;
    let id = request();
    rig.writer.commit(rig.hold(id, 10)).await.unwrap();
    rig.flush().await;
    rig.tamper(BREAK_COMMITS).await;
    rig.writer.post(rig.settle(id, 10, paid(6))).unwrap();
    assert_eq!(rig.writer.close().await, 0, "the journal has it");
    rig.tamper("DROP TRIGGER breaks; DROP TABLE broken").await;
    let rig = rig.reopen().await;
    assert_eq!(rig.balance().await.posted, points(GRANTED.get() - 6));
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn the_journal_is_written_over_and_never_read_twice() {
    let mut rig = Rig::new().await;
    // A text of 64 KiB each: some eight turns of the segments.
    let model = "m".repeat(64 * 1024);
    for round in 1..=512_i64 {
        let id = request();
        let hold = Entry::Hold {
            request: id,
            user: rig.user,
            amount: points(1),
            model: model.as_str().into(),
            at: crate::NOW,
        };
        rig.writer.commit(hold).await.unwrap();
        let settle = rig.settle(id, 1, paid(1));
        if round % 64 != 0 {
            rig.writer.post(settle).unwrap();
        } else {
            // An entry that was only posted may reach the journal two milliseconds later.
            rig.writer.commit(settle).await.unwrap();
            rig = rig.killed().await;
            assert_eq!(rig.balance().await.pending, points(0));
        }
    }
    assert_eq!(rig.balance().await.posted, points(GRANTED.get() - 512));
    assert_eq!(rig.count("SELECT COUNT(*) FROM request_record").await, 512);
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn the_journal_stays_small() {
    let rig = Rig::new().await;
    let model: std::sync::Arc<str> = "m".repeat(64 * 1024).into();
    for round in 1..=512 {
        let model = std::sync::Arc::clone(&model);
        let at = crate::NOW;
        let hold = Entry::Hold { request: request(), user: rig.user, amount: points(1), model, at };
        rig.writer.commit(hold).await.unwrap();
        if round % 16 == 0 {
            rig.flush().await;
        }
    }
    for segment in 0..2 {
        let file = rig.folder.path().join(format!("t.db.journal-{segment}"));
        let bytes = std::fs::metadata(file).unwrap().len();
        assert!(
            (1..8 << 20).contains(&bytes),
            "32 MiB of entries passed, and segment {segment} has {bytes} bytes"
        );
    }
}

#[tokio::test]
async fn a_closed_writer_takes_nothing_and_closes_again() {
    let rig = Rig::new().await;
    let id = request();
    rig.writer.commit(rig.hold(id, 10)).await.unwrap();
    assert_eq!(rig.writer.close().await, 0);
    assert_eq!(rig.writer.close().await, 0);
    assert_eq!(rig.writer.post(rig.void(id, 10)), Err(WriteError::Closed));
    assert_eq!(rig.writer.commit(rig.hold(request(), 10)).await, Err(WriteError::Closed));
    assert_eq!(rig.writer.flush().await, Err(WriteError::Closed));
}

#[tokio::test]
async fn with_full_durability_a_hold_is_on_the_disk_before_it_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { sync: Durability::Full, ..Options::default() };
    let store = Store::open(&folder.path().join("t.db"), options).await.unwrap();
    let user = store.catalogue.create_user("alice", crate::NOW).await.unwrap();
    store.ledger.grant(user, GRANTED, "welcome", "test", crate::NOW).await.unwrap();
    let writer = store.ledger.writer().await.unwrap();
    let rig = Rig { store, writer, user, folder };
    assert!(rig.writer.waits_for_disk());
    let holds: Vec<_> = (0..32).map(|_| request()).collect();
    let commits = holds.iter().map(|&id| rig.writer.commit(rig.hold(id, 1)));
    for committed in futures_util::future::join_all(commits).await {
        committed.unwrap();
    }
    let mark = rig.writer.append(rig.hold(request(), 1)).unwrap();
    let mut synced = rig.writer.synced();
    let reached = *synced.wait_for(|synced| synced.settles(mark).is_some()).await.unwrap();
    assert_eq!(reached.settles(mark), Some(Ok(())));
    assert_eq!(rig.balance().await.pending, points(33));
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
    rig.writer.post(Entry::Event(event.clone())).unwrap();
    rig.flush().await;
    rig.writer.post(Entry::Event(PluginEvent { event: "loaded".into(), ..event.clone() })).unwrap();
    rig.flush().await;
    let all = rig.store.log.plugin_events(None, 10).await.unwrap();
    assert_eq!((all.len(), &all[1].1), (2, &event));
    assert_eq!(rig.store.log.plugin_events(None, 1).await.unwrap(), all[..1]);
    assert_eq!(rig.store.log.plugin_events(Some(all[0].0), 9).await.unwrap(), all[1..]);
}
