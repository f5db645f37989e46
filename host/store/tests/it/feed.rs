//! The feed of changes: what a running server follows.

use std::collections::{BTreeSet, HashMap};

use tollgate_core::id::{ApiKeyId, RouteId, UserId};
use tollgate_core::limits::{KeyLimits, RateLimits};
use tollgate_core::price::{ModelPrice, PriceRate, Rates, TierFactors};
use tollgate_core::protocol::Owner;
use tollgate_core::secret::Secret;
use tollgate_core::usage::Class;
use tollgate_store::{Changed, MasterKey, NewApiKey, NewCredential, News, Payers, Store, Wanted};

use crate::{NOW, Rig, points};

/// What has changed since; the feed must go back that far.
pub(crate) async fn changed_since(store: &Store, seq: u64) -> Vec<Changed> {
    match store.feed.changes_since(seq, 100).await.unwrap() {
        News::Changes(changes) => {
            let numbers: Vec<u64> = changes.iter().map(|change| change.seq).collect();
            assert_eq!(numbers, (seq + 1..).take(changes.len()).collect::<Vec<_>>(), "one after the other");
            changes.into_iter().map(|change| change.what).collect()
        }
        News::Gap => panic!("the feed does not go back to {seq}"),
    }
}

fn key_of(user: UserId) -> NewApiKey<'static> {
    let limits = KeyLimits::default();
    NewApiKey { user, name: "k", sha256: [1; 32], hint: "tg_", expires_at: None, limits, keys_max: 9 }
}

#[tokio::test]
async fn each_change_of_what_a_server_holds_is_in_the_feed_by_kind_and_id() {
    let rig = Rig::new().await;
    let (catalogue, ledger) = (&rig.store.catalogue, &rig.store.ledger);
    let mut seen = rig.store.feed.load(NOW).await.unwrap().change;
    macro_rules! expect {
        ($change:expr => $what:expr) => {{
            let made = $change.await.unwrap();
            let changed = changed_since(&rig.store, seen).await;
            seen += changed.len() as u64;
            let what: &dyn Fn(_) -> Changed = &$what;
            assert!(!changed.is_empty(), stringify!($change));
            assert!(changed.iter().all(|changed| *changed == what(made)), "{changed:?}");
            made
        }};
    }
    let master = MasterKey::from_hex(&Secret::new("a".repeat(64))).unwrap();
    let secret = Secret::new("sk-0123456789abcd".to_owned());
    let new = NewCredential {
        owner: Owner::User,
        user: Some(rig.user),
        provider: "openai",
        label: "main",
        weight: 100,
        secret: &secret,
        limits: RateLimits::default(),
        fingerprint: [9; 32],
    };
    let bob = expect!(catalogue.create_user("bob", NOW) => Changed::User);
    let of_bob = |()| Changed::User(bob);
    expect!(catalogue.set_user_enabled(bob, false, NOW) => of_bob);
    expect!(catalogue.set_floor(bob, points(-5), NOW) => of_bob);
    let rate = PriceRate::of_ppm(5).unwrap();
    expect!(catalogue.set_price_rate(Payers::Some(&[bob]), rate, "root", NOW) => |_| Changed::User(bob));
    let key = expect!(catalogue.create_api_key(&key_of(rig.user), NOW) => Changed::ApiKey);
    expect!(catalogue.set_keep_bodies(key, true, NOW) => |()| Changed::ApiKey(key));
    expect!(catalogue.revoke_api_key(key, NOW) => |()| Changed::ApiKey(key));
    let credential = expect!(catalogue.add_credential(&master, &new, NOW) => Changed::Credential);
    let of_it = Changed::Credential(credential);
    expect!(catalogue.set_credential_enabled(credential, true, None, NOW) => |()| of_it);
    let lent = catalogue.lend(credential, 5, "v1", "root", NOW).await.unwrap();
    assert_eq!(changed_since(&rig.store, seen).await, [of_it], "loan {}", lent.number);
    seen += 1;
    expect!(catalogue.withdraw(credential, NOW) => |_| of_it);
    expect!(catalogue.remove_credential(credential, NOW) => |()| of_it);
    let price = ModelPrice {
        provider: "openai".to_owned(),
        base: Rates::of(0, &[(Class::Input, 1)]),
        long_prompt: None,
        output_tokens_max: 100,
        tiers: TierFactors::default(),
    };
    let prices = HashMap::from([("m".to_owned(), price)]);
    expect!(catalogue.publish_prices(&prices, NOW) => |_| Changed::Prices);
    let route = RouteId::from_bytes([7; 16]);
    rig.tamper("INSERT INTO model_route VALUES (unhex('07070707070707070707070707070707'), 'r', '{}', 0, 0)")
        .await;
    assert_eq!(changed_since(&rig.store, seen).await, [Changed::ModelRoute(route)]);
    seen += 1;
    expect!(ledger.grant(bob, points(1), "", "root", NOW) => |_| Changed::Points(bob));

    // What no server holds in memory is not in the feed, and neither is what did not change.
    catalogue.set_setting("theme", "dark").await.unwrap();
    assert!(catalogue.set_user_enabled(UserId::from_bytes([9; 16]), true, NOW).await.is_err());
    assert_eq!(changed_since(&rig.store, seen).await, []);
}

#[tokio::test]
async fn a_feed_trims_itself_and_says_that_it_does_not_go_back_that_far() {
    let rig = Rig::new().await;
    let before = rig.store.feed.load(NOW).await.unwrap().change;
    rig.tamper(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 70000) \
         INSERT INTO change (kind, id) SELECT 'price', x'' FROM n",
    )
    .await;
    assert_eq!(rig.store.feed.changes_since(before, 10).await.unwrap(), News::Gap);
    let kept = rig.count("SELECT COUNT(*) FROM change").await;
    assert!((65_536..65_536 + 1024).contains(&kept), "{kept}");
    let last = rig.store.feed.load(NOW).await.unwrap().change;
    assert_eq!(last, before + 70_000);
    assert_eq!(changed_since(&rig.store, last).await, []);
    assert_eq!(changed_since(&rig.store, last - 2).await, [Changed::Prices; 2]);
    let News::Changes(some) = rig.store.feed.changes_since(last - 9, 4).await.unwrap() else { panic!() };
    assert_eq!(some.len(), 4, "no more than were asked for");
    // A server that is ahead, because the file was put back to an older state, must reload as well.
    assert_eq!(rig.store.feed.changes_since(last + 1, 10).await.unwrap(), News::Gap);
}

#[tokio::test]
async fn a_part_is_what_everything_says_of_it() {
    let rig = Rig::new().await;
    let store = &rig.store;
    let bob = store.catalogue.create_user("bob", NOW).await.unwrap();
    let key = store.catalogue.create_api_key(&key_of(rig.user), NOW).await.unwrap();
    let rate = PriceRate::of_ppm(5).unwrap();
    store.catalogue.set_price_rate(Payers::Some(&[rig.user]), rate, "root", NOW).await.unwrap();
    store.catalogue.add_model_route(&["fast"], "{}", NOW).await.unwrap();
    let route = store.catalogue.add_model_route(&["slow", "cheap"], "{}", NOW.plus_ms(1)).await.unwrap();
    let all = store.feed.load(NOW).await.unwrap();
    let alice = all.users.iter().find(|user| user.id == rig.user).unwrap();

    let wanted = Wanted { api_keys: BTreeSet::from([key]), ..Wanted::default() };
    let part = store.feed.read(&wanted, NOW).await.unwrap();
    assert_eq!((&part.api_keys, part.users.as_slice()), (&all.api_keys, std::slice::from_ref(alice)));
    assert_eq!((part.price_rates.get(&rig.user), part.balances.len()), (Some(&rate), 0));

    let (users, routes) = (BTreeSet::from([rig.user]), BTreeSet::from([route]));
    let wanted = Wanted { users, routes, ..Wanted::default() };
    let part = store.feed.read(&wanted, NOW).await.unwrap();
    assert_eq!((part.api_keys, part.users, part.seq), (all.api_keys, vec![alice.clone()], all.seq));
    let balance = all.balances.into_iter().find(|balance| balance.user == rig.user).unwrap();
    assert_eq!((part.balances, part.routes), (vec![balance], all.routes[1..].to_vec()));
    assert!(part.prices.is_none());

    // A deleted user is in no part.
    let (user, key) = (UserId::from_bytes([9; 16]), ApiKeyId::from_bytes([9; 16]));
    let (users, api_keys) = (BTreeSet::from([user]), BTreeSet::from([key]));
    let part = store.feed.read(&Wanted { users, api_keys, ..Wanted::default() }, NOW).await.unwrap();
    assert_eq!((part.users, part.api_keys, part.balances), (vec![], vec![], vec![]));
    assert_ne!(bob, rig.user);
}

#[tokio::test]
async fn a_key_and_a_user_are_read_alone_among_a_hundred_thousand_keys() {
    let rig = Rig::new().await;
    rig.tamper(
        "BEGIN; WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 10000) \
         INSERT INTO users (id, name, created_at) SELECT unhex(printf('%032x', n)), 'u' || n, 0 FROM n; \
         INSERT INTO account (kind, owner) SELECT 'user', id FROM users WHERE id NOT IN (SELECT owner FROM account \
         WHERE owner IS NOT NULL); \
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100000) \
         INSERT INTO api_key (id, user_id, name, sha256, hint, created_at) SELECT unhex(printf('%032x', n)), \
         unhex(printf('%032x', 1 + n % 10000)), 'k', unhex(printf('%064x', n)), 'h', 0 FROM n; COMMIT",
    )
    .await;
    let before = rig.store.feed.load(NOW).await.unwrap();
    let (key, user) = (before.api_keys[50_000].id, before.users[5000].id);
    rig.store.catalogue.revoke_api_key(key, NOW).await.unwrap();
    rig.store.catalogue.set_floor(user, points(-5), NOW).await.unwrap();
    let changed = changed_since(&rig.store, before.change).await;
    assert!(changed.starts_with(&[Changed::ApiKey(key), Changed::User(user)]), "{changed:?}");
    let wanted = Wanted { api_keys: BTreeSet::from([key]), ..Wanted::default() };
    let part = rig.store.feed.read(&wanted, NOW).await.unwrap();
    assert_eq!((part.api_keys.len(), part.users.len(), part.balances.len()), (1, 1, 0));
    let wanted = Wanted { users: BTreeSet::from([user]), ..Wanted::default() };
    let part = rig.store.feed.read(&wanted, NOW).await.unwrap();
    assert_eq!((part.api_keys.len(), part.users.len(), part.balances.len()), (10, 1, 1));
}
