//! Users, keys, credentials, prices, grants, and how a running server notices.

use std::collections::HashMap;

use tollgate_core::id::{ApiKeyId, RequestId, UserId};
use tollgate_core::limits::{ContextLimit, KeyLimits, RateLimits, Translation};
use tollgate_core::outcome::Outcome;
use tollgate_core::price::{ModelPrice, Rates, Tier, TierFactors};
use tollgate_core::protocol::{Operation, Owner, Protocol};
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_core::usage::{Class, Quality, Usage};
use tollgate_store::{
    Act, AuditFilter, Changed, Components, Credit, Entry, KeyChange, KeyFilter, KeyUse, Keyed, Known,
    MasterKey, NewApiKey, NewCredential, RequestFilter, RequestRecord, Rotated, Store, StoreError,
    TokenChange, UserChange,
};

use crate::feed::changed_since;
use crate::{GRANTED, NOW, Rig, options, paid, points, request};

fn key(digit: &str) -> MasterKey {
    MasterKey::from_hex(&Secret::new(digit.repeat(64))).unwrap()
}

fn api_key(user: UserId, sha256: [u8; 32]) -> NewApiKey<'static> {
    NewApiKey {
        user,
        name: "laptop",
        sha256,
        hint: "tg_abcd",
        expires_at: Some(NOW.plus_ms(1)),
        limits: KeyLimits::default(),
        keys_max: 10,
    }
}

fn limits() -> KeyLimits {
    KeyLimits {
        protocols: vec![Protocol::Gemini, Protocol::OpenaiChat],
        providers: vec!["google".to_owned(), "openai".to_owned()],
        models: vec!["gpt-*".to_owned(), "o3".to_owned()],
        context: ContextLimit { enabled: true, window: Some(5) },
        translation: Translation::Strict,
        own_only: true,
        rates: RateLimits {
            requests_per_minute: Some(1),
            tokens_per_minute: Some(2),
            tokens_per_day: Some(3),
            concurrency: Some(4),
        },
    }
}

fn price() -> ModelPrice {
    let base = Rates::of(0, &[(Class::Input, 1), (Class::Output, 2)]);
    let long_prompt = Some(Tier { above_tokens: 200_000, rates: base.with(Class::Input, 9) });
    ModelPrice {
        provider: "openai".into(),
        base,
        long_prompt,
        output_tokens_max: 100,
        tiers: TierFactors::default(),
    }
}

#[tokio::test]
async fn a_grant_of_another_process_is_seen_once_and_requests_are_not() {
    let rig = Rig::new().await;
    let loaded = rig.store.feed.load(NOW).await.unwrap();
    let id = request();
    rig.writer.commit(rig.hold(id, 10)).await.unwrap();
    rig.writer.commit(rig.settle(id, 10, paid(10))).await.unwrap();
    rig.flush().await;
    assert_eq!(changed_since(&rig.store, loaded.change).await, []);
    assert_eq!(rig.store.feed.transfers_since(loaded.seq).await.unwrap(), []);

    let other = Store::open(&rig.path(), options()).await.unwrap();
    let granted = other.ledger.grant(rig.user, points(7), "sorry", "bob", NOW).await.unwrap();
    assert_eq!(changed_since(&rig.store, loaded.change).await, [Changed::Points(rig.user)]);
    let credit = Credit { seq: granted.seq, user: rig.user, amount: points(7) };
    assert_eq!(rig.store.feed.transfers_since(loaded.seq).await.unwrap(), [credit]);
    assert_eq!(rig.store.feed.transfers_since(granted.seq).await.unwrap(), []);
}

#[tokio::test]
async fn a_grant_needs_points_and_a_user() {
    let rig = Rig::new().await;
    let nobody = UserId::from_bytes([9; 16]);
    let missing = rig.store.ledger.grant(nobody, points(1), "", "", NOW).await;
    assert!(matches!(missing, Err(StoreError::NotFound("user"))));
    for amount in [0, -1] {
        let refused = rig.store.ledger.grant(rig.user, points(amount), "", "", NOW).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))));
    }
    assert_eq!(rig.balance().await.posted, GRANTED);
}

#[tokio::test]
async fn a_load_has_everything_as_it_was_stored() {
    let rig = Rig::new().await;
    let secret = Secret::new("sk-0123456789abcd".into());
    let new = NewCredential {
        owner: Owner::User,
        user: Some(rig.user),
        provider: "openai",
        label: "mine",
        weight: 7,
        secret: &secret,
        limits: RateLimits::default(),
        fingerprint: [9; 32],
    };
    rig.store.catalogue.create_api_key(&api_key(rig.user, [1; 32]), NOW).await.unwrap();
    let id = rig.store.catalogue.add_credential(&key("a"), &new, NOW).await.unwrap();
    rig.store.catalogue.set_credential_enabled(id, false, Some("401"), NOW).await.unwrap();
    let version =
        rig.store.catalogue.publish_prices(&HashMap::from([("m".to_owned(), price())]), NOW).await.unwrap();

    let loaded = rig.store.feed.load(NOW).await.unwrap();
    assert_eq!((loaded.users[0].name.as_str(), loaded.users[0].enabled), ("alice", true));
    let stored = &loaded.api_keys[0];
    assert_eq!((stored.sha256, stored.expires_at, stored.enabled), ([1; 32], Some(NOW.plus_ms(1)), true));
    let credential = &loaded.credentials[0];
    assert_eq!((credential.user, credential.weight, credential.hint.as_str()), (Some(rig.user), 7, "abcd"));
    assert_eq!((credential.enabled, credential.disabled_reason.as_deref()), (false, Some("401")));
    assert_eq!(credential.open(&key("a")).unwrap().expose(), secret.expose());
    credential.open(&key("b")).unwrap_err();
    let prices = loaded.prices.at(NOW);
    assert_eq!((prices.version(), prices.find("m")), (version, Some(&price())));
    assert_eq!(loaded.balances, [rig.balance().await]);
}

#[tokio::test]
async fn no_secret_reaches_the_files() {
    let rig = Rig::new().await;
    let secret = Secret::new("sk-canary-0123456789".into());
    let new = NewCredential {
        owner: Owner::Platform,
        user: None,
        provider: "p",
        label: "",
        weight: 1,
        secret: &secret,
        limits: RateLimits::default(),
        fingerprint: [9; 32],
    };
    rig.store.catalogue.add_credential(&key("a"), &new, NOW).await.unwrap();
    for file in std::fs::read_dir(rig.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(9).any(|window| window == b"sk-canary"));
    }
}

#[tokio::test]
async fn a_price_table_that_bills_too_little_is_refused() {
    let rig = Rig::new().await;
    let check = async |price: ModelPrice| {
        let refused =
            rig.store.catalogue.publish_prices(&HashMap::from([("m".to_owned(), price)]), NOW).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    };
    check(ModelPrice { provider: String::new(), ..price() }).await;
    check(ModelPrice { output_tokens_max: 0, ..price() }).await;
    check(ModelPrice { base: price().base.with(Class::AudioOutput, -1), ..price() }).await;
    check(ModelPrice { long_prompt: Some(Tier { above_tokens: 0, rates: price().base }), ..price() }).await;
    assert!(matches!(
        rig.store.catalogue.publish_prices(&HashMap::new(), NOW).await,
        Err(StoreError::Invalid(_))
    ));
    assert_eq!(rig.store.catalogue.price_schedule(NOW).await.unwrap().at(NOW).version(), 0);
    assert!(matches!(rig.store.catalogue.prices(1).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn an_old_price_table_stays_as_it_was() {
    let rig = Rig::new().await;
    let publish = async |price: ModelPrice| {
        rig.store.catalogue.publish_prices(&HashMap::from([("m".to_owned(), price)]), NOW).await.unwrap()
    };
    let first = publish(price()).await;
    let second = publish(ModelPrice { output_tokens_max: 5, ..price() }).await;
    assert_eq!(rig.store.catalogue.prices(first).await.unwrap().find("m"), Some(&price()));
    assert_eq!(rig.store.catalogue.price_schedule(NOW).await.unwrap().at(NOW).version(), second);
}

#[tokio::test]
async fn names_and_keys_are_unique() {
    let rig = Rig::new().await;
    assert!(matches!(rig.store.catalogue.create_user("alice", NOW).await, Err(StoreError::Exists("user"))));
    assert!(matches!(rig.store.catalogue.create_user("", NOW).await, Err(StoreError::Invalid(_))));
    rig.store.catalogue.create_api_key(&api_key(rig.user, [1; 32]), NOW).await.unwrap();
    let again = rig.store.catalogue.create_api_key(&api_key(rig.user, [1; 32]), NOW).await;
    assert!(matches!(again, Err(StoreError::Exists(_))));
    let nobody =
        rig.store.catalogue.create_api_key(&api_key(UserId::from_bytes([9; 16]), [2; 32]), NOW).await;
    assert!(matches!(nobody, Err(StoreError::NotFound(_))));
    assert_eq!(rig.store.catalogue.find_user("alice").await.unwrap().id, rig.user);
}

#[tokio::test]
async fn what_a_key_is_limited_to_is_kept_and_changed_as_a_whole() {
    let rig = Rig::new().await;
    let new = NewApiKey { limits: limits(), ..api_key(rig.user, [1; 32]) };
    let id = rig.store.catalogue.create_api_key(&new, NOW).await.unwrap();
    assert_eq!(rig.store.catalogue.api_key(id).await.unwrap().limits, limits());
    let before = rig.store.feed.load(NOW).await.unwrap().change;
    let none = KeyLimits::default();
    let change = KeyChange { name: "desk", enabled: false, expires_at: None, limits: &none, keys_max: 10 };
    rig.store.catalogue.change_api_key(id, &change, NOW).await.unwrap();
    assert!(changed_since(&rig.store, before).await.contains(&Changed::ApiKey(id)), "a server must notice");
    let stored = rig.store.catalogue.api_key(id).await.unwrap();
    assert_eq!((stored.name.as_str(), stored.enabled, stored.expires_at), ("desk", false, None));
    assert!(stored.limits.is_empty());
    let nobody = rig.store.catalogue.change_api_key(ApiKeyId::from_bytes([9; 16]), &change, NOW).await;
    assert!(matches!(nobody, Err(StoreError::NotFound("API key"))));
    let zero = KeyLimits { rates: RateLimits { concurrency: Some(0), ..RateLimits::default() }, ..limits() };
    let refused = rig.store.catalogue.change_api_key(id, &KeyChange { limits: &zero, ..change }, NOW).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))));
}

#[tokio::test]
async fn a_refresh_token_is_replaced_once_and_a_second_use_ends_its_session() {
    let rig = Rig::new().await;
    let day = tollgate_core::time::DAY_MS;
    let begin =
        async || rig.store.sessions.begin_session(rig.user, [1; 32], NOW, NOW.plus_ms(day)).await.unwrap();
    let rotate = async |session, token, next, at: tollgate_core::time::Timestamp| {
        let change = TokenChange { token: [token; 32], next: [next; 32], grace_ms: 0 };
        rig.store.sessions.rotate_session(session, change, at, at.plus_ms(day)).await.unwrap()
    };
    let open = async |session, at| rig.store.sessions.session_user(session, at).await.unwrap().is_some();
    let (session, other) = (begin().await, begin().await);
    assert_eq!(rotate(session, 1, 2, NOW.plus_ms(day - 1)).await, Rotated::Replaced(rig.user));
    assert!(open(session, NOW.plus_ms(day)).await, "a refresh makes it last");
    assert_eq!(rotate(session, 1, 3, NOW).await, Rotated::Reused);
    assert_eq!(rotate(session, 2, 3, NOW).await, Rotated::Unknown);
    assert!(!open(session, NOW).await && open(other, NOW).await);
    assert_eq!(rotate(other, 1, 2, NOW.plus_ms(day)).await, Rotated::Unknown, "it is over");
    let hash = UserChange { password: Some("hash".to_owned()), ..UserChange::default() };
    rig.store.catalogue.change_user(rig.user, &hash, NOW).await.unwrap();
    assert!(!open(other, NOW).await, "a new password ends all of them");
    let third = begin().await;
    rig.store.catalogue.set_user_enabled(rig.user, false, NOW).await.unwrap();
    assert!(!open(third, NOW).await);
    assert_eq!(rig.store.catalogue.password("alice").await.unwrap(), None);
}

#[tokio::test]
async fn a_sealed_setting_is_made_once_and_opens_with_its_key_and_name_alone() {
    let rig = Rig::new().await;
    let secret = |text: &str| Secret::new(text.to_owned());
    let made = rig.store.catalogue.secret_setting(&key("a"), "token", &secret("first-canary")).await.unwrap();
    let again = rig.store.catalogue.secret_setting(&key("a"), "token", &secret("second")).await.unwrap();
    assert_eq!((made.expose(), again.expose()), ("first-canary", "first-canary"));
    rig.store.catalogue.secret_setting(&key("b"), "token", &secret("x")).await.unwrap_err();
    let sealed = rig.store.catalogue.setting("token").await.unwrap().unwrap();
    assert!(!sealed.contains("canary"));
    rig.store.catalogue.set_setting("other", &sealed).await.unwrap();
    rig.store.catalogue.secret_setting(&key("a"), "other", &secret("x")).await.unwrap_err();
    for damaged in ["", "a", "é0", &sealed[2..]] {
        rig.store.catalogue.set_setting("token", damaged).await.unwrap();
        rig.store.catalogue.secret_setting(&key("a"), "token", &secret("x")).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_user_has_no_more_keys_that_work_than_are_allowed() {
    let rig = Rig::new().await;
    let create = async |user, digit, expires_at| {
        let new = NewApiKey { keys_max: 2, expires_at, ..api_key(user, [digit; 32]) };
        rig.store.catalogue.create_api_key(&new, NOW).await
    };
    let first = create(rig.user, 1, None).await.unwrap();
    create(rig.user, 2, None).await.unwrap();
    let refused = create(rig.user, 3, None).await;
    assert!(matches!(refused, Err(StoreError::TooMany { max: 2, .. })), "{refused:?}");
    let other = rig.store.catalogue.create_user("bob", NOW).await.unwrap();
    create(other, 3, None).await.unwrap();
    // A key that is revoked or expired makes room, and may not come back into it.
    rig.store.catalogue.revoke_api_key(first, NOW).await.unwrap();
    let over = create(rig.user, 4, Some(NOW)).await.unwrap();
    create(rig.user, 5, None).await.unwrap();
    let none = KeyLimits::default();
    let back = KeyChange { name: "x", enabled: true, expires_at: None, limits: &none, keys_max: 2 };
    for key in [first, over] {
        let refused = rig.store.catalogue.change_api_key(key, &back, NOW).await;
        assert!(matches!(refused, Err(StoreError::TooMany { .. })), "{refused:?}");
    }
    rig.store.catalogue.change_api_key(first, &KeyChange { enabled: false, ..back }, NOW).await.unwrap();
}

#[tokio::test]
async fn what_was_used_with_a_key_is_the_sum_of_its_records() {
    let rig = Rig::new().await;
    let create =
        async |sha256| rig.store.catalogue.create_api_key(&api_key(rig.user, sha256), NOW).await.unwrap();
    let (key, other) = (create([2; 32]).await, create([3; 32]).await);
    let day = tollgate_core::time::DAY_MS;
    let post = async |api_key, at: tollgate_core::time::Timestamp, operation, charge| {
        let usage = Usage::of(
            Quality::Missing,
            &[(Class::Input, 1), (Class::CacheRead, 20), (Class::Output, 300), (Class::Reasoning, 4000)],
        );
        let (api_key, operation, charge) = (Some(api_key), Some(operation), points(charge));
        let request = RequestId::new(at, *request().as_bytes().last_chunk().unwrap());
        let record = RequestRecord::new(request, rig.user, at);
        let record = RequestRecord { api_key, operation, charge, usage, ..record };
        rig.writer.post(Entry::Record(Box::new(record))).unwrap();
    };
    let yesterday = tollgate_core::time::Timestamp::from_millis(NOW.millis() - day);
    post(key, yesterday, Operation::Generate, 7).await;
    post(key, NOW, Operation::Embed, 8).await;
    post(key, NOW.plus_ms(5), Operation::CountTokens, 0).await;
    post(other, yesterday, Operation::Generate, 9).await;
    rig.flush().await;
    let used = rig.store.catalogue.api_key_use_of(&[key, other]).await.unwrap();
    let expected = KeyUse { last_used: NOW.plus_ms(5), requests: 3, tokens: 2 * 4321, charge: points(15) };
    assert_eq!(used[&key], expected);
    assert_eq!((used.len(), used[&other].requests), (2, 1));
    let today = HashMap::from([(key, 4321)]);
    assert_eq!(rig.store.feed.api_key_tokens_today(None, NOW).await.unwrap(), today);
    assert_eq!(rig.store.feed.api_key_tokens_today(Some(&[key, other]), NOW).await.unwrap(), today);
    assert_eq!(rig.store.feed.api_key_tokens_today(Some(&[other]), NOW).await.unwrap(), HashMap::new());
    let of_other = HashMap::from([(other, used[&other])]);
    assert_eq!(rig.store.catalogue.api_key_use_of(&[other]).await.unwrap(), of_other);
}

#[tokio::test]
async fn a_record_reads_back_as_it_was_written_and_pages_are_newest_first() {
    let rig = Rig::new().await;
    let full = RequestRecord {
        api_key: Some(tollgate_core::id::ApiKeyId::from_bytes([2; 16])),
        protocol: Some(Protocol::AnthropicMessages),
        operation: Some(Operation::CountTokens),
        provider: Some("anthropic".into()),
        model: Some("m".into()),
        credential: Some(tollgate_core::id::CredentialId::from_bytes([3; 16])),
        outcome: Outcome::Refused,
        status: Some(403),
        attempts: 2,
        latency_ms: 30,
        ttft_ms: Some(20),
        streamed: true,
        usage: Usage::of(
            Quality::Estimated,
            &[
                (Class::Input, 1),
                (Class::CacheRead, 2),
                (Class::CacheWriteShort, 3),
                (Class::CacheWriteLong, 4),
                (Class::Output, 5),
                (Class::Reasoning, 6),
                (Class::AudioInput, 7),
                (Class::AudioOutput, 8),
            ],
        ),
        price_version: Some(4),
        components: Components {
            adapter: Some([1; 32]),
            selector: None,
            pricing: Some([2; 32]),
            filter: Some([3; 32]),
        },
        receipt: Some(vec![1, 2, 3]),
        filter_hash: Some(vec![4]),
        error: Some("refused".into()),
        ..RequestRecord::new(request(), rig.user, NOW)
    };
    let bare = RequestRecord::new(request(), rig.user, NOW);
    for record in [&full, &bare] {
        rig.writer.post(Entry::Record(Box::new(record.clone()))).unwrap();
        rig.flush().await;
    }
    let page = async |filter: RequestFilter| rig.store.log.requests(&filter).await.unwrap();
    let all = RequestFilter { limit: 10, ..RequestFilter::default() };
    assert_eq!(page(all.clone()).await, [bare.clone(), full.clone()]);
    assert_eq!(
        page(RequestFilter { before: Some(bare.request), ..all.clone() }).await,
        std::slice::from_ref(&full)
    );
    assert_eq!(
        page(RequestFilter { outcomes: vec![Outcome::Unknown], ..all.clone() }).await,
        std::slice::from_ref(&bare)
    );
    assert_eq!(page(RequestFilter { users: vec![UserId::from_bytes([9; 16])], ..all }).await, []);
    assert_eq!(rig.store.log.receipt(full.request).await.unwrap(), full.receipt);
    assert_eq!(rig.store.log.receipt(bare.request).await.unwrap(), None);
    assert!(matches!(rig.store.log.receipt(request()).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn a_database_of_a_newer_tollgate_is_refused() {
    let rig = Rig::new().await;
    rig.tamper(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .await;
    let refused = Store::open(&rig.path(), options()).await.unwrap_err();
    assert!(matches!(refused, StoreError::NewerSchema { found: 9999, .. }), "{refused}");
}

#[tokio::test]
async fn a_change_and_its_row_in_the_audit_log_are_one() {
    let rig = Rig::new().await;
    let act = Act::new("operator", None, Some([127, 0, 0, 1].into()));
    let store = rig.store.acting(act);
    let bob = store.catalogue.create_user("bob", NOW).await.unwrap();
    let key = store.catalogue.create_api_key(&api_key(bob, [9; 32]), NOW).await.unwrap();
    store.catalogue.revoke_api_key(key, NOW).await.unwrap();
    // What was refused has changed nothing, and is not in the log.
    store.catalogue.create_user("bob", NOW).await.unwrap_err();
    store.catalogue.create_api_key(&api_key(bob, [9; 32]), NOW).await.unwrap_err();
    let all = async |filter: AuditFilter| {
        rig.store.catalogue.audit(&AuditFilter { limit: 9, ..filter }).await.unwrap()
    };
    let rows = all(AuditFilter::default()).await;
    let said: Vec<_> = rows.iter().map(|row| (row.action.as_str(), row.target.clone())).collect();
    let expected =
        [("key.revoke", key.to_string()), ("key.create", key.to_string()), ("user.create", bob.to_string())];
    assert_eq!(said, expected);
    assert!(rows.iter().all(|row| row.actor == "operator" && row.address.as_deref() == Some("127.0.0.1")));
    let keys =
        AuditFilter { action: Some("key.*".to_owned()), before: Some(rows[0].seq), ..AuditFilter::default() };
    assert_eq!(all(keys).await, rows[1..2]);
    // A store without an actor notes nothing.
    rig.store.catalogue.create_user("eve", NOW).await.unwrap();
    assert_eq!(all(AuditFilter::default()).await.len(), 3);
}

#[tokio::test]
async fn the_last_admin_stays_one() {
    let rig = Rig::new().await;
    let change = |role, enabled| UserChange { role, enabled, ..UserChange::default() };
    let admin = change(Some(Role::Admin), None);
    rig.store.catalogue.change_user(rig.user, &admin, NOW).await.unwrap();
    for wrong in [change(Some(Role::User), None), change(None, Some(false))] {
        let refused = rig.store.catalogue.change_user(rig.user, &wrong, NOW).await;
        assert!(matches!(refused, Err(StoreError::LastAdmin)), "{refused:?}");
    }
    let bob = rig.store.catalogue.create_user("bob", NOW).await.unwrap();
    rig.store.catalogue.change_user(bob, &admin, NOW).await.unwrap();
    rig.store.catalogue.change_user(rig.user, &change(Some(Role::User), Some(false)), NOW).await.unwrap();
    assert!(!rig.store.catalogue.user(rig.user).await.unwrap().enabled);
}

#[tokio::test]
async fn a_keyed_call_is_made_once_and_its_answer_kept_sealed_for_a_day() {
    let rig = Rig::new().await;
    let master = key("a");
    let call =
        |digest: u8, boot: u8| Keyed { actor: "operator", key: "k", digest: [digest; 32], boot: [boot; 16] };
    let begin = |digest, boot, at| {
        let (store, master) = (rig.store.clone(), key("a"));
        async move { store.sessions.begin_call(&master, &call(digest, boot), at).await.unwrap() }
    };
    assert!(matches!(begin(1, 1, NOW).await, Known::New));
    assert!(matches!(begin(1, 1, NOW).await, Known::Running));
    assert!(matches!(begin(2, 1, NOW).await, Known::Other));
    assert!(matches!(begin(1, 2, NOW).await, Known::CutOff), "another run of the gateway took it");
    rig.store.sessions.forget_call(&call(1, 1)).await.unwrap();
    assert!(matches!(begin(1, 1, NOW).await, Known::New));
    let body = Secret::new("canary".to_owned());
    rig.store.sessions.keep_answer(&master, &call(1, 1), 201, &body).await.unwrap();
    rig.store.sessions.forget_call(&call(1, 1)).await.unwrap();
    let Known::Answered(201, kept) = begin(1, 2, NOW).await else { panic!("an answer is kept") };
    assert_eq!(kept.expose(), "canary");
    let other = Keyed { actor: "bob", ..call(1, 1) };
    assert!(
        matches!(rig.store.sessions.begin_call(&master, &other, NOW).await.unwrap(), Known::New),
        "keys are per actor"
    );
    assert!(matches!(begin(1, 1, NOW.plus_ms(86_400_000)).await, Known::New));
}

#[tokio::test]
async fn no_two_model_routes_have_one_name() {
    let rig = Rig::new().await;
    let routes = &rig.store.catalogue;
    let first = routes.add_model_route(&["house", "home"], "{}", NOW).await.unwrap();
    for names in [["house", "x"], ["x", "house"], ["home", "x"], ["x", "home"]] {
        let refused = routes.add_model_route(&names, "{}", NOW).await;
        assert!(matches!(refused, Err(StoreError::Exists("model route"))), "{names:?}");
        let taken = routes.taken_route_name(&names, None).await.unwrap();
        assert!(taken.is_some_and(|name| name.starts_with("ho")), "{names:?}");
        assert_eq!(routes.taken_route_name(&names, Some(first)).await.unwrap(), None, "its own names");
    }
    let second = routes.add_model_route(&["x", "y", "x"], "{}", NOW.plus_ms(1)).await.unwrap();
    let refused = routes.change_model_route(second, &["x", "home"], "{}", NOW).await;
    assert!(matches!(refused, Err(StoreError::Exists(_))));
    assert_eq!(routes.taken_route_name(&["y"], None).await.unwrap().as_deref(), Some("y"), "all or nothing");
    routes.change_model_route(first, &["house"], "{}", NOW).await.unwrap();
    routes.change_model_route(second, &["x", "home"], "{}", NOW).await.unwrap();
    assert_eq!(routes.taken_route_name(&["y"], None).await.unwrap(), None);
    routes.remove_model_route(second, NOW).await.unwrap();
    assert_eq!(routes.taken_route_name(&["x", "home"], None).await.unwrap(), None);
    assert!(matches!(routes.add_model_route(&[""], "{}", NOW).await, Err(StoreError::Invalid(_))));
    assert_eq!(routes.find_model_routes(None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn pages_of_users_keys_and_credentials_add_up_to_all_of_them() {
    let rig = Rig::new().await;
    let catalogue = &rig.store.catalogue;
    let bob = catalogue.create_user("bob", NOW).await.unwrap();
    for (number, user) in [rig.user, bob, bob].into_iter().enumerate() {
        let new = api_key(user, [u8::try_from(number).unwrap(); 32]);
        catalogue.create_api_key(&new, NOW).await.unwrap();
    }
    let all = rig.store.feed.load(NOW).await.unwrap();
    let (all, users) = (all.api_keys, all.users);
    let page = |user, after, limit| KeyFilter { user, after, limit, ..KeyFilter::default() };
    let first = catalogue.find_api_keys(&page(None, None, 2)).await.unwrap();
    let rest = catalogue.find_api_keys(&page(None, Some(first[1].id), 2)).await.unwrap();
    assert_eq!([first, rest].concat(), all);
    let of_bob = catalogue.find_api_keys(&page(Some(bob), None, 9)).await.unwrap();
    assert_eq!(of_bob, all.iter().filter(|key| key.user == bob).cloned().collect::<Vec<_>>());
    assert_eq!(catalogue.api_key(all[1].id).await.unwrap(), all[1]);
    let nobody = ApiKeyId::from_bytes([9; 16]);
    assert!(matches!(catalogue.api_key(nobody).await, Err(StoreError::NotFound("API key"))));
    assert_eq!(catalogue.users(&[bob, UserId::from_bytes([9; 16])]).await.unwrap().len(), 1);
    assert_eq!(catalogue.users(&[bob, rig.user]).await.unwrap(), users);
    assert_eq!(catalogue.users(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn balances_of_some_users_are_those_among_all() {
    let rig = Rig::new().await;
    let bob = rig.store.catalogue.create_user("bob", NOW).await.unwrap();
    rig.store.ledger.grant(bob, points(50), "welcome", "test", NOW).await.unwrap();
    for (held, charged) in [(100, Some(60)), (70, None)] {
        let request = request();
        rig.writer.commit(rig.hold(request, held)).await.unwrap();
        if let Some(charged) = charged {
            rig.writer.post(rig.settle(request, held, paid(charged))).unwrap();
        }
    }
    // Before and after the snapshot sums up the movements.
    for rig in [rig.killed().await, rig.reopen().await] {
        rig.flush().await;
        let mut all = rig.store.feed.load(NOW).await.unwrap().balances;
        all.sort_by_key(|balance| balance.user == bob);
        assert_eq!(all[0].posted, GRANTED.checked_sub(points(60)).unwrap());
        assert_eq!((all[0].pending, all[1].posted), (points(70), points(50)));
        let mut both = rig.store.ledger.balances_of(&[bob, rig.user]).await.unwrap();
        both.sort_by_key(|balance| balance.user == bob);
        assert_eq!(both, all);
        assert_eq!(rig.store.ledger.balances_of(&[bob]).await.unwrap(), all[1..]);
        assert_eq!(rig.store.ledger.balances_of(&[]).await.unwrap(), []);
    }
}
