//! Rows that cannot be: they stay where they are, nothing counts them, everything else works, and a check names them.
//!
//! Version 0.1.0 believed any count of a provider. One answer with 2^62 tokens made a charge of 2^63-1 micro-points,
//! and after the next charge no sum of the books could be made.

use sqlx::Row as _;
use tollgate_core::id::UserId;
use tollgate_core::ledger::Settlement;
use tollgate_core::points::{MOVEMENT_MAX, Micropoints};
use tollgate_core::protocol::Operation;
use tollgate_core::usage::{Class, Quality, Usage};
use tollgate_store::{Entry, Refund, RequestFilter, StoreError, UsageBy, UsageOf, UsageQuery};

use crate::{NOW, Rig, paid, points, request};

/// What the books hold where everything that can be asked of them is asked.
async fn all_pages(rig: &Rig) {
    rig.flush().await;
    let store = &rig.store;
    store.feed.load(NOW).await.unwrap();
    store.feed.api_key_tokens_today(None, NOW).await.unwrap();
    store.feed.credential_tokens_today(NOW).await.unwrap();
    store.ledger.balances_of(&[rig.user]).await.unwrap();
    store.ledger.statement(rig.user, None, 100).await.unwrap();
    store.catalogue.find_users("", None, 100).await.unwrap();
    for tokens_min in [None, Some(1)] {
        let filter = RequestFilter { limit: 100, tokens_min, ..RequestFilter::default() };
        store.log.requests(&filter).await.unwrap();
    }
    for by in [UsageBy::Total, UsageBy::Day, UsageBy::Model, UsageBy::Key] {
        for of in [UsageOf::User(rig.user), UsageOf::Everyone] {
            let query = UsageQuery { until_day: u64::MAX >> 1, ..UsageQuery::all(of, by) };
            store.log.usage(&query).await.unwrap();
        }
    }
}

/// A charge of version 0.1.0: the hold and the balance pay what they can, and the rest is bad debt.
async fn impossible_charge(rig: &Rig, units: u64) {
    let id = request();
    rig.writer.commit(rig.hold(id, 1000)).await.unwrap();
    let settlement = Settlement {
        posted: points(1000),
        overrun: points(2000),
        bad_debt: Micropoints::new(i64::MAX - 3000),
    };
    let Entry::Settle { request, user, held, settlement, at, mut record } = rig.settle(id, 1000, settlement)
    else {
        unreachable!()
    };
    record.operation = Some(Operation::Generate);
    record.usage = Usage::of(Quality::Exact, &[(Class::Output, units), (Class::Input, units)]);
    rig.writer.post(Entry::Settle { request, user, held, settlement, at, record }).unwrap();
}

#[tokio::test]
async fn charges_that_no_sum_can_hold_stop_neither_a_page_nor_a_start() {
    let mut rig = Rig::new().await;
    for round in 1..=3 {
        impossible_charge(&rig, 1 << 62).await;
        impossible_charge(&rig, u64::MAX).await;
        let id = request();
        rig.writer.commit(rig.hold(id, 10)).await.unwrap();
        rig.writer.post(rig.settle(id, 10, paid(10))).unwrap();
        all_pages(&rig).await;
        rig = if round == 2 { rig.killed().await } else { rig.reopen().await };
        all_pages(&rig).await;
        let balance = rig.balance().await;
        assert_eq!(balance.posted.get(), 1_000_000 - round * (2 * 3000 + 10));
        let report = rig.store.ledger.verify().await.unwrap();
        assert_eq!(report.violations, []);
        assert_eq!(report.quarantined.len() as i64, 2 * round);
        assert!(report.quarantined[0].detail.contains("from account 3 to account 2"), "{report:?}");
        assert_eq!(rig.store.ledger.quarantined().await.unwrap() as i64, 2 * round);
    }
}

#[tokio::test]
async fn a_movement_that_cannot_be_is_counted_by_no_balance_whatever_it_says() {
    let insert = "INSERT INTO transfer (id, kind, debit, credit, amount, request, code, origin, at_ms) \
                  SELECT randomblob(16), 4, ";
    for (sides, code) in [("id, 2", 2), ("2, id", 21), ("1, id", 4), ("id, 3", 3), ("2, id", 7)] {
        for amount in ["9223372036854775807", "10000000000000001", "1e300", "'lots'"] {
            let rig = Rig::new().await;
            let sql =
                format!("{insert}{sides}, {amount}, NULL, {code}, 1, 1 FROM account WHERE owner IS NOT NULL");
            for _ in 0..2 {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql.clone())).execute(&mut rig.raw().await).await.unwrap();
            }
            let rig = rig.reopen().await;
            all_pages(&rig).await;
            assert_eq!(rig.balance().await.posted.get(), 1_000_000, "{sides} {amount}");
            assert!(rig.store.feed.transfers_since(1).await.unwrap().is_empty(), "{sides} {amount}");
            assert_eq!(rig.store.ledger.verify().await.unwrap().quarantined.len(), 2, "{sides} {amount}");
            // What an operator books on such an account counts.
            rig.store.ledger.grant(rig.user, points(5), "a correction", "test", NOW).await.unwrap();
            assert_eq!(rig.balance().await.posted.get(), 1_000_005);
        }
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_left_out_and_named() {
    for (damage, what) in [
        (
            "PRAGMA ignore_check_constraints = ON; UPDATE users SET role = 'emperor' WHERE name = 'bob'",
            "user",
        ),
        ("UPDATE users SET id = x'00' WHERE name = 'bob'", "user"),
        ("UPDATE users SET created_at = 'x' WHERE name = 'bob'", "user"),
        ("UPDATE request_record SET usage = '{\"output\":-1}'", "request"),
        ("UPDATE request_record SET outcome = 'fine'", "request"),
        ("UPDATE request_record SET charge = 1e300", "request"),
        (
            "INSERT INTO model_route (id, name, definition, created_at, updated_at) \
             VALUES (x'00', 'r', '{}', 1, 1)",
            "model route",
        ),
    ] {
        let rig = Rig::new().await;
        rig.store.catalogue.create_user("bob", NOW).await.unwrap();
        let id = request();
        rig.writer.commit(rig.hold(id, 10)).await.unwrap();
        rig.writer.post(rig.settle(id, 10, paid(10))).unwrap();
        rig.flush().await;
        rig.tamper(damage).await;
        let rig = rig.reopen().await;
        all_pages(&rig).await;
        assert_eq!(rig.balance().await.posted.get(), 1_000_000 - 10, "{damage}");
        let quarantined = rig.store.ledger.verify().await.unwrap().quarantined;
        assert!(quarantined.iter().any(|row| row.detail.starts_with(what)), "{damage}: {quarantined:?}");
    }
}

#[tokio::test]
async fn no_booking_fills_an_account_past_what_can_be_counted() {
    let rig = Rig::new().await;
    let ledger = &rig.store.ledger;
    let grant = async |amount| ledger.grant(rig.user, Micropoints::new(amount), "much", "test", NOW).await;
    for _ in 0..99 {
        grant(MOVEMENT_MAX.get()).await.unwrap();
    }
    assert!(matches!(grant(MOVEMENT_MAX.get() + 1).await, Err(StoreError::Invalid(_))));
    assert!(matches!(grant(MOVEMENT_MAX.get()).await, Err(StoreError::Invalid(_))));
    grant(1).await.unwrap();
    all_pages(&rig).await;
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn what_no_balance_counts_is_not_given_back() {
    let rig = Rig::new().await;
    let id = request();
    rig.writer.commit(rig.hold(id, 1000)).await.unwrap();
    let overrun = Micropoints::new(MOVEMENT_MAX.get() + 1);
    let settlement = Settlement { posted: points(1000), overrun, ..Settlement::default() };
    rig.writer.post(rig.settle(id, 1000, settlement)).unwrap();
    rig.flush().await;
    let refund = |amount| Refund { request: id, amount, reason: "a lie", actor: "test", key: None };
    let more = rig.store.ledger.refund(&refund(Some(points(1001))), NOW).await;
    assert!(matches!(more, Err(StoreError::Refused(_))), "{more:?}");
    assert_eq!(rig.store.ledger.refund(&refund(None), NOW).await.unwrap().amount, points(1000));
    assert_eq!(rig.balance().await.posted.get(), 1_000_000);
}

#[tokio::test]
async fn a_counter_sticks_at_its_end_and_stays_a_number() {
    let rig = Rig::new().await;
    for _ in 0..3 {
        impossible_charge(&rig, u64::MAX).await;
        rig.flush().await;
    }
    let row = sqlx::query("SELECT typeof(charge), charge FROM usage_counter WHERE kind = 3");
    let row = row.fetch_one(&mut rig.raw().await).await.unwrap();
    assert_eq!((row.get::<&str, _>(0), row.get::<i64, _>(1)), ("integer", i64::MAX));
    assert_eq!(rig.store.ledger.verify_usage().await.unwrap(), []);
}

#[tokio::test]
async fn a_user_is_rewarded_once_at_a_provider_that_names_no_account() {
    let rig = Rig::new().await;
    let bob = rig.store.catalogue.create_user("bob", NOW).await.unwrap();
    let reward = async |user: UserId, provider, prints: &[[u8; 32]], account_named| {
        let reward = tollgate_store::Reward {
            user,
            provider,
            fingerprints: prints,
            account_named,
            amount: points(100),
        };
        rig.store.ledger.reward(&reward, NOW).await.unwrap().is_some()
    };
    let alice = rig.user;
    assert!(reward(alice, "google", &[[1; 32]], false).await);
    // Four more keys of the same project, the first one again, and the first one of somebody else.
    for print in 2..=5 {
        assert!(!reward(alice, "google", &[[print; 32]], false).await);
    }
    assert!(!reward(alice, "google", &[[1; 32]], false).await);
    assert!(!reward(bob, "google", &[[1; 32]], false).await);
    // One that alice brought, and that was worth nothing to her, is worth nothing to others.
    assert!(!reward(bob, "google", &[[3; 32]], false).await);
    // A key of another provider; an account that is named; another user with a key of their own.
    assert!(reward(alice, "mistral", &[[6; 32]], false).await);
    assert!(!reward(alice, "mistral", &[[7; 32]], false).await);
    assert!(reward(alice, "openai", &[[8; 32], [18; 32]], true).await);
    assert!(!reward(alice, "openai", &[[9; 32], [18; 32]], true).await);
    assert!(reward(alice, "openai", &[[10; 32], [20; 32]], true).await);
    assert!(!reward(alice, "openai", &[[11; 32]], false).await);
    assert!(reward(bob, "google", &[[12; 32]], false).await);
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_reward_that_cannot_be_meant_is_refused() {
    let rig = Rig::new().await;
    let amount = Micropoints::new(i64::MAX);
    let fingerprints = &[[1; 32]];
    let reward =
        tollgate_store::Reward { user: rig.user, provider: "p", fingerprints, account_named: true, amount };
    assert!(matches!(rig.store.ledger.reward(&reward, NOW).await, Err(StoreError::Invalid(_))));
    assert_eq!(rig.balance().await.posted.get(), 1_000_000);
}
