//! What a page of a list costs, counted: it must depend on what the page shows, and not on how much there is.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, SqliteConnection};
use tollgate_core::id::{ApiKeyId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;

use crate::sqlite::{api_key, credential, row};
use crate::{CredentialFilter, Durability, KeyFilter, Options, Store};

const USERS: u64 = 10_000;
const NOW: Timestamp = Timestamp::from_millis(1_900_000_000_000);
/// A page as it is asked for: one more entry tells whether there is a next one.
const PAGE: usize = 101;

async fn open(folder: &tempfile::TempDir) -> (Store, SqliteConnection) {
    let path = folder.path().join("t.db");
    let store = Store::open(&path, Options { sync: Durability::Normal, ..Options::default() }).await.unwrap();
    (store, SqliteConnectOptions::new().filename(path).connect().await.unwrap())
}

/// A database with many users, each with an account, an API key and a credential. One of them has points.
async fn crowd(folder: &tempfile::TempDir) -> Store {
    let (store, mut raw) = open(folder).await;
    let mut tx = raw.begin().await.unwrap();
    for number in 0..USERS {
        let id = UserId::new(Timestamp::from_millis(number), [7; 10]);
        for sql in [
            "INSERT INTO users (id, name, created_at) VALUES (?1, ?2, 1)",
            "INSERT INTO account (kind, owner) VALUES ('user', ?1)",
            "INSERT INTO api_key (id, user_id, name, sha256, hint, created_at) \
             VALUES (?1, ?1, ?2, zeroblob(16) || ?1, 'tg_', 1)",
            "INSERT INTO credential (id, owner, user_id, provider, label, nonce, sealed, hint, weight, created_at) \
             VALUES (?1, 'user', ?1, 'openai', ?2, zeroblob(24), x'00', 'abcd', 100, 1)",
        ] {
            let query = sqlx::query(sql).bind(id.as_bytes().as_slice()).bind(format!("user-{number}"));
            query.execute(&mut *tx).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    let rich = UserId::new(Timestamp::from_millis(3), [7; 10]);
    store.ledger.grant(rich, Micropoints::from_points(5), "welcome", "test", NOW).await.unwrap();
    store
}

#[tokio::test]
async fn a_page_reads_what_it_shows_however_much_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = crowd(&folder).await;
    row::taken();
    let users = store.catalogue.find_users("", None, PAGE).await.unwrap();
    let ids: Vec<UserId> = users.iter().take(100).map(|user| user.id).collect();
    let balances = store.ledger.balances_of(&ids).await.unwrap();
    assert_eq!(row::taken(), 101 + 100, "rows of a page of users");
    let rich = balances.iter().find(|balance| balance.user == ids[3]).unwrap();
    assert_eq!(rich.posted, Micropoints::from_points(5));
    assert_eq!(store.feed.load(NOW).await.unwrap().balances.len() as u64, USERS);
    assert!(row::taken() >= 2 * USERS, "what a page took when it read all balances");

    let all = KeyFilter { limit: PAGE, ..KeyFilter::default() };
    let keys = store.catalogue.find_api_keys(&all).await.unwrap();
    let ids: Vec<ApiKeyId> = keys.iter().take(100).map(|key| key.id).collect();
    let owners: Vec<UserId> = keys.iter().take(100).map(|key| key.user).collect();
    store.catalogue.api_key_use_of(&ids).await.unwrap();
    assert_eq!(store.catalogue.users(&owners).await.unwrap().len(), 100);
    assert_eq!(row::taken(), 101 + 100, "rows of a page of keys");
    assert_eq!(store.catalogue.api_key(ids[9]).await.unwrap().id, ids[9]);
    let own = KeyFilter { user: Some(owners[7]), ..all };
    assert_eq!(store.catalogue.find_api_keys(&own).await.unwrap().len(), 1);
    assert_eq!(row::taken(), 2, "rows of one key, and of one user's keys");

    let all = CredentialFilter { limit: PAGE, ..CredentialFilter::default() };
    let first = store.catalogue.find_credentials(&all).await.unwrap();
    let next = CredentialFilter { after: Some(first[99].id), provider: Some("openai".to_owned()), ..all };
    assert_eq!(store.catalogue.find_credentials(&next).await.unwrap()[0].id, first[100].id);
    assert_eq!(row::taken(), 2 * 101, "rows of two pages of credentials");
    assert_eq!(store.catalogue.credentials_without_fingerprint().await.unwrap().len() as u64, USERS);
}

/// The rows counted above are those that reach this process: the database must not look at more either.
#[tokio::test]
async fn no_page_scans_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, mut raw) = open(&folder).await;
    for (columns, rest) in [
        (api_key::COLUMNS, "WHERE id > x'' AND 1 ORDER BY id LIMIT 9"),
        (api_key::COLUMNS, "WHERE id > x'' AND user_id = x'00' ORDER BY id LIMIT 9"),
        (credential::COLUMNS, "WHERE id > x'' ORDER BY id LIMIT 9"),
        (credential::COLUMNS, "WHERE id > x'' AND user_id = x'00' ORDER BY id LIMIT 9"),
        (credential::COLUMNS, "WHERE id > x'' AND provider = 'p' ORDER BY id LIMIT 9"),
    ] {
        let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {columns} {rest}"));
        let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(plan).fetch_all(&mut raw).await.unwrap();
        let scans = steps.iter().any(|(.., step)| step.starts_with("SCAN "));
        assert!(!scans && !steps.is_empty(), "{rest}: {steps:?}");
        let narrow = rest.contains("user_id") || rest.contains("provider");
        let by_index = steps.iter().any(|(.., step)| step.contains("_of_"));
        assert_eq!(narrow, by_index, "{rest}: {steps:?}");
    }
}
