//! Two nodes on one database: neither touches the holds of the other while that one is alive.

use tollgate_core::id::NodeId;
use tollgate_store::{LEASE_MS, Options, Store};

use crate::{NOW, Rig, paid, points, request};

/// At this time, a node that was last heard of at [`NOW`] is dead.
fn after_the_lease() -> tollgate_core::time::Timestamp {
    NOW.plus_ms(LEASE_MS + 1)
}

impl Rig {
    /// The same database, as it is at a kill, opened by another installation.
    async fn killed_for(&self, node: &str) -> Self {
        let rig = self.killed().await;
        let path = rig.path();
        let Self { store, user, folder, writer } = rig;
        assert_eq!(writer.close().await, 0);
        drop(store);
        std::fs::write(path.with_extension("db.node"), node).unwrap();
        // A start would say that these files are not the database's.
        let options = Options { accept_loss: true, ..crate::options() };
        let store = Store::open(&path, options).await.unwrap();
        Self { writer: store.ledger.writer().await.unwrap(), store, user, folder }
    }
}

const OTHER: &str = "0190163d-8694-739b-aea5-966c26f8ad91\n";

#[tokio::test]
async fn a_node_is_the_same_after_a_restart_and_stands_in_what_it_writes() {
    let rig = Rig::new().await;
    let node = rig.store.ledger.node().await.unwrap();
    let id = request();
    rig.writer.commit(rig.hold(id, 5)).await.unwrap();
    rig.writer.post(rig.settle(id, 5, paid(5))).unwrap();
    let written = "SELECT COUNT(*) FROM transfer JOIN node ON node.number = transfer.node";
    assert_eq!(rig.count(written).await, 2);
    assert_eq!(rig.count("SELECT COUNT(*) FROM transfer WHERE node IS NULL").await, 1, "the grant");
    let rig = rig.reopen().await;
    assert_eq!(rig.store.ledger.node().await.unwrap(), node);
    let kept = std::fs::read_to_string(rig.path().with_extension("db.node")).unwrap();
    assert_eq!(kept.trim().parse::<NodeId>().unwrap(), node);
    // A database that is moved without its companions is still this node's.
    std::fs::remove_file(rig.path().with_extension("db.node")).unwrap();
    let rig = rig.reopen().await;
    assert_eq!(rig.store.ledger.node().await.unwrap(), node);
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_start_releases_nothing_that_a_living_node_holds_until_its_lease_is_over() {
    let rig = Rig::new().await;
    rig.store.ledger.sweep(NOW).await.unwrap();
    rig.writer.commit(rig.hold(request(), 400)).await.unwrap();

    let other = rig.killed_for(OTHER).await;
    let soon = NOW.plus_ms(1000);
    assert_eq!(other.store.ledger.sweep(soon).await.unwrap().released, 0);
    assert_eq!(other.balance().await.pending, points(400));
    // Its own earlier run left one too.
    other.writer.commit(other.hold(request(), 30)).await.unwrap();
    let again = other.killed().await;
    let report = again.store.ledger.sweep(soon).await.unwrap();
    assert_eq!((report.released, report.amount), (1, points(30)));
    assert_eq!(again.store.ledger.keep_lease(soon).await.unwrap().released, 0);
    again.assert_books_are_right().await;

    let served = request();
    again.writer.commit(again.hold(served, 7)).await.unwrap();
    again.flush().await;
    let report = again.store.ledger.keep_lease(after_the_lease()).await.unwrap();
    assert_eq!((report.released, report.amount), (1, points(400)), "the dead node's, and none of its own");
    assert_eq!(again.balance().await.pending, points(7));
    assert_eq!(again.store.ledger.keep_lease(after_the_lease()).await.unwrap().released, 0);
    again.writer.post(again.settle(served, 7, paid(7))).unwrap();
    again.assert_books_are_right().await;
}

#[tokio::test]
async fn a_node_that_ended_in_order_is_waited_for_by_nobody() {
    let rig = Rig::new().await;
    rig.store.ledger.sweep(NOW).await.unwrap();
    rig.writer.commit(rig.hold(request(), 400)).await.unwrap();
    rig.store.close().await;
    let other = rig.killed_for(OTHER).await;
    assert_eq!(other.store.ledger.sweep(NOW).await.unwrap().released, 1);
    other.assert_books_are_right().await;
}

#[tokio::test]
async fn what_a_killed_node_left_in_its_journal_is_booked_as_its_own() {
    let rig = Rig::new().await;
    rig.store.ledger.sweep(NOW).await.unwrap();
    rig.writer.commit(rig.hold(request(), 400)).await.unwrap();
    // Only in the journal: this test does not wait for the tables.
    let other = rig.killed_for(OTHER).await;
    let holds = "SELECT COUNT(*) FROM transfer JOIN node ON node.number = transfer.node \
        WHERE kind = 1 AND hex(node.id) <> '0190163D8694739BAEA5966C26F8AD91'";
    assert_eq!(other.count(holds).await, 1);
}

#[tokio::test]
async fn a_file_that_names_no_node_is_told_by_its_path() {
    let rig = Rig::new().await;
    assert_eq!(rig.writer.close().await, 0);
    let path = rig.path();
    std::fs::write(path.with_extension("db.node"), "nobody").unwrap();
    drop((rig.store, rig.writer));
    let store = Store::open(&path, crate::options()).await.unwrap();
    let error = store.ledger.writer().await.unwrap_err().to_string();
    assert!(error.contains("t.db.node") && error.contains("id of a node"), "{error}");
}
