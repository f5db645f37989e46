//! A change and its row in the audit log go together: what cannot be noted does not happen.

use std::collections::HashMap;

use tollgate_core::id::RequestId;
use tollgate_core::limits::RateLimits;
use tollgate_core::price::{ModelPrice, PriceRate, Rates, TierFactors};
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_core::usage::Class;
use tollgate_store::{
    Act, AuditFilter, CredentialChange, MasterKey, NewBatch, NewCredential, NewPrices, Payers, Refund, Store,
    StoreError,
};

use crate::{GRANTED, NOW, Rig, paid, points, request};

const CODE: [u8; 32] = [5; 32];

/// A request that paid 75.
async fn charged(rig: &Rig) -> RequestId {
    let id = request();
    rig.writer.commit(rig.hold(id, 100)).await.unwrap();
    rig.writer.commit(rig.settle(id, 100, paid(75))).await.unwrap();
    rig.flush().await;
    id
}

/// Changes that the audit log must name, each with the action that it is noted as.
async fn changes(store: &Store, rig: &Rig, mut seen: impl FnMut(&'static str, Result<(), StoreError>)) {
    let base = Rates::of(0, &[(Class::Input, 1), (Class::Output, 1)]);
    let price = ModelPrice {
        provider: "p".into(),
        base,
        long_prompt: None,
        output_tokens_max: 9,
        tiers: TierFactors::default(),
    };
    let models = HashMap::from([("m".to_owned(), price)]);
    let later = NewPrices {
        models: &models,
        base: None,
        effective_at: Some(NOW.plus_ms(9)),
        actor: "test",
        note: None,
    };
    seen("price.publish", store.catalogue.schedule_prices(&later, NOW).await.map(drop));
    let version = rig.store.catalogue.schedule_prices(&later, NOW).await.unwrap();
    seen("price.withdraw", store.catalogue.withdraw_prices(version, NOW).await);
    seen("user.grant", store.ledger.grant(rig.user, points(1), "why", "test", NOW).await.map(drop));
    seen("user.top-up", store.ledger.top_up(rig.user, points(1), "pay", "why", "test", NOW).await.map(drop));
    let rate = PriceRate::of_ppm(500_000).unwrap();
    seen("price-rate.set", store.catalogue.set_price_rate(Payers::All, rate, "test", NOW).await.map(drop));
    let refund =
        Refund { request: charged(rig).await, amount: None, reason: "why", actor: "test", key: None };
    seen("request.refund", store.ledger.refund(&refund, NOW).await.map(drop));
    let codes = [([6; 32], "tgc_6".to_owned())];
    let new = NewBatch {
        label: "l",
        points: points(7),
        uses_max: 1,
        expires_at: None,
        actor: "test",
        codes: &codes,
    };
    seen("code.create", store.ledger.create_codes(&new, NOW).await.map(drop));
    let codes = [(CODE, "tgc_5".to_owned())];
    rig.store.ledger.create_codes(&NewBatch { codes: &codes, ..new }, NOW).await.unwrap();
    let batch = rig.store.ledger.find_code_batches(None, 9).await.unwrap().pop().unwrap().id;
    seen("code.redeem", store.ledger.redeem(rig.user, CODE, NOW).await.map(drop));
    seen("code.change", store.ledger.set_codes_enabled(batch, false, NOW).await);
    let (secret, master) =
        (Secret::new("sk-0123456789abcd".into()), MasterKey::from_hex(&Secret::new("a".repeat(64))).unwrap());
    let new = NewCredential {
        owner: Owner::Platform,
        user: None,
        provider: "openai",
        label: "main",
        weight: 1,
        secret: &secret,
        limits: RateLimits::default(),
        fingerprint: [9; 32],
    };
    seen("credential.add", store.catalogue.add_credential(&master, &new, NOW).await.map(drop));
    let id = rig.store.catalogue.add_credential(&master, &new, NOW).await.unwrap();
    let change = CredentialChange { label: "x", weight: 2, enabled: true, limits: RateLimits::default() };
    seen("credential.change", store.catalogue.change_credential(id, &change, NOW).await);
    seen("credential.change", store.catalogue.set_credential_enabled(id, false, None, NOW).await);
    seen("credential.remove", store.catalogue.remove_credential(id, NOW).await);
}

#[tokio::test]
async fn each_change_of_points_prices_and_keys_is_noted_once() {
    let rig = Rig::new().await;
    let store = rig.store.acting(Act::new("operator", None, None));
    let mut made = Vec::new();
    changes(&store, &rig, |action, result| {
        result.unwrap();
        made.push(action);
    })
    .await;
    let rows = rig.store.catalogue.audit(&AuditFilter { limit: 99, ..AuditFilter::default() }).await.unwrap();
    let noted: Vec<&str> = rows.iter().rev().map(|row| row.action.as_str()).collect();
    assert_eq!(noted, made);
    // What is refused, or was done before, changes nothing and notes nothing.
    store.catalogue.withdraw_prices(1, NOW).await.unwrap();
    store.catalogue.withdraw_prices(2, NOW).await.unwrap();
    store.ledger.top_up(rig.user, points(1), "pay", "why", "test", NOW).await.unwrap();
    store.ledger.redeem(rig.user, CODE, NOW).await.unwrap_err();
    let rows = rig.store.catalogue.audit(&AuditFilter { limit: 99, ..AuditFilter::default() }).await.unwrap();
    assert_eq!(rows.len(), made.len() + 1, "the first version was still to come, the second is taken back");
}

#[tokio::test]
async fn what_cannot_be_noted_does_not_happen() {
    let rig = Rig::new().await;
    let store = rig.store.acting(Act::new("operator", None, None));
    rig.tamper("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END").await;
    changes(&store, &rig, |action, result| {
        assert!(result.is_err(), "{action} was made without a row in the audit log");
    })
    .await;
    // The data so far was made without an actor, so nothing is noted.
    let versions = rig.store.catalogue.find_price_versions(None, 9).await.unwrap();
    assert!(versions.len() == 1 && versions[0].withdrawn_at.is_none(), "{versions:?}");
    let batches = rig.store.ledger.find_code_batches(None, 9).await.unwrap();
    assert!(
        batches.len() == 1 && batches[0].redeemed == 0 && batches[0].disabled_at.is_none(),
        "{batches:?}"
    );
    let credentials = rig.store.feed.load(NOW).await.unwrap().credentials;
    assert_eq!(credentials.len(), 1);
    assert_eq!((credentials[0].label.as_str(), credentials[0].enabled), ("main", true));
    assert!(rig.store.feed.load(NOW).await.unwrap().price_rates.is_empty());
    // 75 were paid for the request that was not refunded.
    assert_eq!(rig.balance().await.posted, points(GRANTED.get() - 75));
    rig.assert_books_are_right().await;
}
