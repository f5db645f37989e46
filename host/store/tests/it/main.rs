//! The store through its public face, on real files; corruption is planted with a plain SQLite connection.
#![expect(clippy::unwrap_used, reason = "a test whose ground gives way has failed")]

mod damage;
mod feed;
mod ledger;
mod manage;
mod money;
mod nodes;
mod noted;
mod older;
mod sessions;
mod usage;
mod verify;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tempfile::TempDir;
use tollgate_core::id::{RequestId, UserId};
use tollgate_core::ledger::Settlement;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_store::{Balance, Components, Durability, Entry, Options, RequestRecord, Store, Writer};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const GRANTED: Micropoints = Micropoints::from_points(1);

/// A database in a folder of its own, with one user who has [`GRANTED`].
struct Rig {
    store: Store,
    writer: Writer,
    user: UserId,
    folder: TempDir,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("t.db"), options()).await.unwrap();
        let user = store.catalogue.create_user("alice", NOW).await.unwrap();
        store.ledger.grant(user, GRANTED, "welcome", "test", NOW).await.unwrap();
        Self { writer: store.ledger.writer().await.unwrap(), store, user, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("t.db")
    }

    /// The files as a kill would leave them now, opened by another process.
    async fn killed(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A kill happens between two commits, never between two files.
        let mut lock = self.raw().await;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
        for file in std::fs::read_dir(self.folder.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let store = Store::open(&folder.path().join("t.db"), options()).await.unwrap();
        Self { writer: store.ledger.writer().await.unwrap(), store, user: self.user, folder }
    }

    /// Ends the writer and opens the same file again.
    async fn reopen(self) -> Self {
        assert_eq!(self.writer.close().await, 0);
        let path = self.path();
        let Self { store, user, folder, .. } = self;
        drop(store);
        let store = Store::open(&path, options()).await.unwrap();
        Self { writer: store.ledger.writer().await.unwrap(), store, user, folder }
    }

    async fn raw(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path()).foreign_keys(false).connect().await.unwrap()
    }

    /// Runs statements that no code of the store would.
    async fn tamper(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.raw().await).await.unwrap();
    }

    /// Waits until the tables hold what was handed over.
    async fn flush(&self) {
        self.writer.flush().await.unwrap();
    }

    async fn count(&self, sql: &'static str) -> i64 {
        self.flush().await;
        sqlx::query_scalar(sql).fetch_one(&mut self.raw().await).await.unwrap()
    }

    async fn balance(&self) -> Balance {
        self.flush().await;
        self.store.ledger.balances_of(&[self.user]).await.unwrap().remove(0)
    }

    async fn assert_books_are_right(&self) {
        self.flush().await;
        assert_eq!(self.store.ledger.verify().await.unwrap().violations, []);
    }

    fn hold(&self, request: RequestId, amount: i64) -> Entry {
        Entry::Hold { request, user: self.user, amount: points(amount), model: "m".into(), at: NOW }
    }

    fn settle(&self, request: RequestId, held: i64, settlement: Settlement) -> Entry {
        let record = RequestRecord {
            outcome: Outcome::Ok,
            status: Some(200),
            hold: points(held),
            charge: settlement.charge(),
            components: Components { pricing: Some([7; 32]), ..Components::default() },
            ..RequestRecord::new(request, self.user, NOW)
        };
        let (user, held, record) = (self.user, points(held), Box::new(record));
        Entry::Settle { request, user, held, settlement, at: NOW, record }
    }

    fn void(&self, request: RequestId, held: i64) -> Entry {
        let record = RequestRecord { hold: points(held), ..RequestRecord::new(request, self.user, NOW) };
        Entry::Void { request, user: self.user, held: points(held), at: NOW, record: Box::new(record) }
    }
}

fn options() -> Options {
    // Nothing here loses power, and the tests are several times as fast.
    Options { sync: Durability::Normal, ..Options::default() }
}

fn points(value: i64) -> Micropoints {
    Micropoints::new(value)
}

fn paid(posted: i64) -> Settlement {
    Settlement { posted: points(posted), ..Settlement::default() }
}

/// A new id each time.
fn request() -> RequestId {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut random = [0; 10];
    random[2..].copy_from_slice(&count.to_be_bytes());
    RequestId::new(NOW, random)
}
