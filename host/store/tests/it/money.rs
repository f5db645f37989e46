//! What management books: top-ups, codes, refunds; what it sets: prices to come and price rates. And that a
//! verification notices when someone has tampered with it.

use std::collections::HashMap;

use tollgate_core::id::UserId;
use tollgate_core::ledger::Settlement;
use tollgate_core::price::{ModelPrice, PriceRate, Rates, TierFactors};
use tollgate_core::usage::Class;
use tollgate_store::{Changed, Granted, NewBatch, NewPrices, Payers, Refund, StoreError};

use crate::feed::changed_since;
use crate::{GRANTED, NOW, Rig, paid, points, request};

const CODE: [u8; 32] = [5; 32];

impl Rig {
    /// One code that is worth 7 micro-points, for this many users.
    async fn code(&self, uses_max: u32) {
        let codes = [(CODE, "tgc_0123".to_owned())];
        let expires_at = Some(NOW.plus_ms(100));
        let new = NewBatch {
            label: "spring",
            points: points(7),
            uses_max,
            expires_at,
            actor: "test",
            codes: &codes,
        };
        self.store.ledger.create_codes(&new, NOW).await.unwrap();
    }

    /// A request that paid 70 from its hold, 5 beyond it, and could not pay 20 more.
    async fn charged(&self) -> tollgate_core::id::RequestId {
        let id = request();
        self.writer.commit(self.hold(id, 70)).await.unwrap();
        let settlement = Settlement { posted: points(70), overrun: points(5), bad_debt: points(20) };
        self.writer.commit(self.settle(id, 70, settlement)).await.unwrap();
        self.flush().await;
        id
    }
}

fn refused(result: &Result<Granted, StoreError>) -> bool {
    matches!(result, Err(StoreError::Refused(_)))
}

#[tokio::test]
async fn a_payment_is_booked_once_and_its_number_stands_for_nothing_else() {
    let rig = Rig::new().await;
    let pay =
        async |amount| rig.store.ledger.top_up(rig.user, points(amount), "pay-1", "card", "root", NOW).await;
    let first = pay(40).await.unwrap();
    let again = pay(40).await.unwrap();
    assert_eq!((again.transfer, again.repeated, first.repeated), (first.transfer, true, false));
    assert!(matches!(pay(41).await, Err(StoreError::Exists(_))));
    assert!(rig.store.ledger.top_up(rig.user, points(1), "", "card", "root", NOW).await.is_err());
    assert_eq!(rig.balance().await.posted, points(GRANTED.get() + 40));
    assert_eq!(
        rig.store.feed.transfers_since(first.seq - 1).await.unwrap().len(),
        1,
        "a server hears of it once"
    );
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn of_all_who_race_for_a_code_as_many_get_it_as_it_is_for() {
    let rig = Rig::new().await;
    rig.code(3).await;
    let mut users = vec![rig.user];
    for n in 0..7 {
        users.push(rig.store.catalogue.create_user(&format!("u{n}"), NOW).await.unwrap());
    }
    let mut racers = tokio::task::JoinSet::new();
    for user in users {
        // Each tries twice at once.
        for _ in 0..2 {
            let store = rig.store.clone();
            racers.spawn(async move { store.ledger.redeem(user, CODE, NOW).await });
        }
    }
    let results = racers.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    assert!(results.iter().all(|result| result.is_ok() || refused(result)), "{results:?}");
    let batch = rig.store.ledger.find_code_batches(None, 9).await.unwrap().remove(0);
    assert_eq!((batch.codes, batch.redeemed), (1, 3));
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_code_is_redeemed_once_by_a_user_in_its_time_while_it_is_enabled() {
    let rig = Rig::new().await;
    rig.code(10).await;
    assert!(refused(&rig.store.ledger.redeem(rig.user, [6; 32], NOW).await), "it is none");
    assert!(refused(&rig.store.ledger.redeem(rig.user, CODE, NOW.plus_ms(100)).await), "it is over");
    let batch = rig.store.ledger.find_code_batches(None, 9).await.unwrap().remove(0).id;
    rig.store.ledger.set_codes_enabled(batch, false, NOW).await.unwrap();
    assert!(refused(&rig.store.ledger.redeem(rig.user, CODE, NOW).await), "it is disabled");
    rig.store.ledger.set_codes_enabled(batch, true, NOW).await.unwrap();
    assert_eq!(rig.store.ledger.redeem(rig.user, CODE, NOW).await.unwrap().amount, points(7));
    assert!(refused(&rig.store.ledger.redeem(rig.user, CODE, NOW).await), "once");
    let nobody = UserId::from_bytes([9; 16]);
    assert!(rig.store.ledger.redeem(nobody, CODE, NOW).await.is_err());
    assert_eq!(rig.balance().await.posted, points(GRANTED.get() + 7));
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_refund_gives_back_what_was_paid_and_bad_debt_was_not() {
    let rig = Rig::new().await;
    let id = rig.charged().await;
    let refund = async |amount: Option<i64>| {
        let amount = amount.map(points);
        let refund = Refund { request: id, amount, reason: "sorry", actor: "root", key: None };
        rig.store.ledger.refund(&refund, NOW).await
    };
    assert!(refused(&refund(Some(76)).await));
    refund(Some(30)).await.unwrap();
    assert!(refused(&refund(Some(46)).await));
    assert_eq!(refund(None).await.unwrap().amount, points(45));
    assert!(refused(&refund(None).await));
    assert_eq!(rig.balance().await.posted, GRANTED);
    let unknown = Refund { request: request(), amount: None, reason: "", actor: "", key: None };
    assert!(matches!(rig.store.ledger.refund(&unknown, NOW).await, Err(StoreError::NotFound(_))));
    let kinds: Vec<_> = rig.store.ledger.statement(rig.user, None, 9).await.unwrap();
    let kinds: Vec<_> = kinds.iter().map(|line| (line.kind, line.amount.get())).collect();
    assert_eq!(
        kinds,
        [("refund", 45), ("refund", 30), ("charge", -5), ("charge", -70), ("grant", GRANTED.get())]
    );
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_rate_is_set_for_all_of_them_or_for_none() {
    let rig = Rig::new().await;
    let rate = |ppm| PriceRate::of_ppm(ppm).unwrap();
    let bob = rig.store.catalogue.create_user("bob", NOW).await.unwrap();
    let nobody = UserId::from_bytes([9; 16]);
    let set = async |payers: Payers<'_>, ppm| {
        rig.store.catalogue.set_price_rate(payers, rate(ppm), "root", NOW).await
    };
    assert!(set(Payers::Some(&[bob, nobody]), 5).await.is_err());
    assert_eq!(rig.store.feed.load(NOW).await.unwrap().price_rates, HashMap::new());
    let before = rig.store.feed.load(NOW).await.unwrap().change;
    assert_eq!(set(Payers::Some(&[bob]), 5).await.unwrap(), 1);
    assert_eq!(changed_since(&rig.store, before).await, [Changed::User(bob)], "a server hears of it");
    assert_eq!(set(Payers::All, 1_200_000).await.unwrap(), 2);
    let rates = rig.store.feed.load(NOW).await.unwrap().price_rates;
    assert_eq!((rates.get(&bob), rates.len()), (Some(&rate(1_200_000)), 2));
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_version_to_come_is_loaded_ahead_and_can_be_withdrawn_until_then() {
    let rig = Rig::new().await;
    let models = |output| {
        let base = Rates::of(0, &[(Class::Input, 1), (Class::Output, output)]);
        let price = ModelPrice {
            provider: "p".into(),
            base,
            long_prompt: None,
            output_tokens_max: 9,
            tiers: TierFactors::default(),
        };
        HashMap::from([("m".to_owned(), price)])
    };
    let publish = async |output, at: u64| {
        let (models, effective_at) = (models(output), Some(NOW.plus_ms(at)));
        let new = NewPrices { models: &models, base: None, effective_at, actor: "root", note: Some("plan") };
        rig.store.catalogue.schedule_prices(&new, NOW).await.unwrap()
    };
    let (first, later, last) = (publish(1, 0).await, publish(2, 10).await, publish(3, 20).await);
    let versions = async |now: u64| {
        let schedule = rig.store.feed.load(NOW.plus_ms(now)).await.unwrap().prices;
        [now, 10, 20].map(|at| schedule.at(NOW.plus_ms(at)).version())
    };
    assert_eq!(versions(0).await, [first, later, last]);
    assert_eq!(versions(15).await, [later, later, last]);
    rig.store.catalogue.withdraw_prices(later, NOW.plus_ms(9)).await.unwrap();
    rig.store.catalogue.withdraw_prices(later, NOW.plus_ms(9)).await.unwrap();
    assert_eq!(versions(0).await, [first, first, last]);
    let late = rig.store.catalogue.withdraw_prices(last, NOW.plus_ms(20)).await;
    assert!(matches!(late, Err(StoreError::Refused(_))), "{late:?}");
    let past =
        NewPrices { models: &models(1), base: None, effective_at: Some(NOW), actor: "root", note: None };
    assert!(rig.store.catalogue.schedule_prices(&past, NOW.plus_ms(1)).await.is_err());
    assert_eq!(rig.store.catalogue.find_price_versions(None, 9).await.unwrap().len(), 3);
    let mut raw = rig.raw().await;
    for sql in ["UPDATE price SET input = 0", "DELETE FROM price"] {
        assert!(sqlx::raw_sql(sql).execute(&mut raw).await.is_err(), "{sql}");
    }
}

/// A ledger with a refunded request, a redeemed code, a top-up and a rate; then `tamper`, and the rule that must
/// notice.
async fn check(tamper: &'static str, rule: &str) {
    let rig = Rig::new().await;
    let id = rig.charged().await;
    let refund = Refund { request: id, amount: None, reason: "", actor: "", key: Some("k") };
    rig.store.ledger.refund(&refund, NOW).await.unwrap();
    rig.code(2).await;
    rig.store.ledger.redeem(rig.user, CODE, NOW).await.unwrap();
    rig.store.ledger.top_up(rig.user, points(1), "p", "", "", NOW).await.unwrap();
    rig.store.catalogue.set_price_rate(Payers::All, PriceRate::FULL, "", NOW).await.unwrap();
    rig.assert_books_are_right().await;
    rig.tamper("DROP TRIGGER transfer_keeps_rows; DROP TRIGGER transfer_keeps_values;").await;
    rig.tamper(tamper).await;
    let report = rig.store.ledger.verify().await.unwrap();
    assert!(report.violations.iter().any(|found| found.rule.starts_with(rule)), "{tamper}: {report:?}");
}

#[tokio::test]
async fn each_rule_of_what_management_books_notices_its_corruption() {
    check(
        "DROP INDEX transfer_reference; UPDATE transfer SET code = 5, reference = 'p' WHERE code = 6",
        "I8",
    )
    .await;
    check("UPDATE transfer SET debit = 1 WHERE code = 7", "what management").await;
    check("UPDATE transfer SET debit = 2 WHERE code = 4", "what management").await;
    check("UPDATE transfer SET amount = 76 WHERE code = 7", "a refund").await;
    check("UPDATE transfer SET request = NULL WHERE code = 7", "a refund").await;
    check("UPDATE transfer SET amount = 8 WHERE code = 6", "a redeemed").await;
    check("DELETE FROM redemption", "a redeemed").await;
    check("UPDATE redeem_code SET uses = 0", "a code is used").await;
    check("PRAGMA ignore_check_constraints = ON; UPDATE code_batch SET uses_max = 0", "a code is used").await;
    check("UPDATE price_rate SET user_id = x'00'", "a price rate").await;
    check("INSERT INTO price_version (version, created_at) VALUES (9, 0)", "a price table").await;
    check("UPDATE request_record SET receipt = x'0102'", "a receipt says").await;
    check("DROP TRIGGER price_keeps_rows", "I14").await;
}

#[tokio::test]
async fn a_hold_that_a_dead_process_left_open_is_noticed_once_another_has_swept() {
    let rig = Rig::new().await;
    let left = request();
    rig.writer.commit(rig.hold(left, 10)).await.unwrap();
    rig.flush().await;
    rig.assert_books_are_right().await;
    rig.store.ledger.sweep(NOW).await.unwrap();
    rig.assert_books_are_right().await;
    let open = request();
    rig.writer.commit(rig.hold(open, 10)).await.unwrap();
    rig.assert_books_are_right().await;
    // As though the sweep had missed it.
    rig.tamper("UPDATE node SET swept = (SELECT MAX(seq) FROM transfer)").await;
    let report = rig.store.ledger.verify().await.unwrap();
    assert!(report.violations.iter().any(|found| found.rule.starts_with("I9")), "{report:?}");
    rig.writer.commit(rig.settle(open, 10, paid(1))).await.unwrap();
    rig.assert_books_are_right().await;
}
