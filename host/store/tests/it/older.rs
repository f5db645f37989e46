//! What an older Tollgate left behind.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tollgate_core::failure::FailureClass;
use tollgate_core::id::{RequestId, UserId};
use tollgate_core::outcome::Outcome;
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Class;
use tollgate_store::Store;

use crate::{options, points};

/// The newest migration of 0.1.0.
const LAST_OF_0_1_0: i64 = 15;
/// What 0.1.0 wrote to its journal, in the segment of the sequence 7: frames with the names of their entries.
const JOURNAL: &str = include_str!("../../src/sqlite/journal/golden-1.hex");
const PAYER: UserId = UserId::from_bytes([0x22; 16]);
const LENDER: UserId = UserId::from_bytes([0x33; 16]);

/// A database as 0.1.0 leaves it when it is killed before it brought its journal into the tables.
async fn killed_0_1_0(database: &Path) {
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(true).foreign_keys(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::migrate!("src/sqlite/migrations").run_to(LAST_OF_0_1_0, &mut connection).await.unwrap();
    for (user, name) in [(PAYER, "payer"), (LENDER, "lender")] {
        add_user(&mut connection, user, name).await;
    }
    sqlx::raw_sql("UPDATE journal SET sequence = 7, position = 0").execute(&mut connection).await.unwrap();
    let digits = JOURNAL.lines().flat_map(|line| line.split_once(": ").unwrap().1.chars());
    let digits: Vec<_> = digits.map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    let frames: Vec<_> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    std::fs::write(database.with_extension("db.journal-1"), frames).unwrap();
}

async fn add_user(connection: &mut SqliteConnection, user: UserId, name: &str) {
    let id = user.as_bytes().as_slice();
    sqlx::query("INSERT INTO users (id, name, created_at) VALUES (?, ?, 0)")
        .bind(id)
        .bind(name)
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::query("INSERT INTO account (kind, owner) VALUES ('user', ?)")
        .bind(id)
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_journal_of_a_killed_0_1_0_is_read_into_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("t.db");
    killed_0_1_0(&database).await;
    let store = Store::open(&database, options()).await.unwrap();
    let balances = store.ledger.balances_of(&[PAYER, LENDER]).await.unwrap();
    let of = |user| balances.iter().find(|balance| balance.user == user).unwrap();
    // Two settlements, of which 7 and 30 are bad debts.
    assert_eq!(of(PAYER).posted, points(-(1_284_500 + 70) - (900 + 70)));
    assert_eq!((of(PAYER).pending, of(LENDER).posted), (points(0), points(300)));

    let settled = RequestId::new(Timestamp::from_millis(1_800_000_000_000), [1; 10]);
    let record = store.log.request(settled).await.unwrap();
    assert_eq!((record.outcome, record.charge), (Outcome::Partial, points(1_284_577)));
    assert_eq!(
        (record.usage[Class::CacheRead], record.usage[Class::AudioOutput]),
        (200, i64::MAX.cast_unsigned())
    );
    let attempts = store.log.attempts(settled).await.unwrap();
    assert_eq!(attempts[10].failure, Some(FailureClass::Unknown));
    drop(store);

    // Nothing is read twice, neither by the next start nor by the process that serves.
    let store = Store::open(&database, options()).await.unwrap();
    store.ledger.writer().await.unwrap().flush().await.unwrap();
    assert_eq!(store.ledger.balances_of(&[PAYER, LENDER]).await.unwrap(), balances);
}
