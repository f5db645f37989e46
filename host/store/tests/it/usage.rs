//! Usage counters and the request log: exact, filtered, and kept when records go.

use tollgate_core::failure::FailureClass;
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, UserId};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::{DAY_MS, Timestamp};
use tollgate_core::usage::{Class, Quality, Usage};
use tollgate_store::{
    Attempt, Components, EndedCall, Entry, NewApiKey, RequestFilter, RequestRecord, RequestSums, Retention,
    SumBy, UsageAfter, UsageBy, UsageOf, UsageQuery,
};

use crate::{NOW, Rig, points};

const CREDENTIAL: CredentialId = CredentialId::from_bytes([3; 16]);
const PRICING: [u8; 32] = [7; 32];

/// The `number`th request of a log in which every field varies at its own pace.
fn record(user: UserId, keys: &[ApiKeyId], number: u64) -> RequestRecord {
    let at = NOW.plus_ms(number * DAY_MS / 40);
    let mut random = [1; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    let pick = |every: u64| number.is_multiple_of(every);
    let usage = Usage::of(Quality::Exact, &[(Class::Input, number), (Class::Output, 2 * number)]);
    RequestRecord {
        api_key: keys.get(usize::try_from(number).unwrap() % (keys.len() + 1)).copied(),
        protocol: Some(if pick(5) { Protocol::Gemini } else { Protocol::OpenaiChat }),
        operation: Some(if pick(9) { Operation::CountTokens } else { Operation::Generate }),
        provider: Some(if pick(4) { "anthropic".into() } else { "openai".into() }),
        model: Some(if pick(3) { "small".into() } else { "large".into() }),
        credential: pick(2).then_some(CREDENTIAL),
        outcome: if pick(7) { Outcome::UpstreamError } else { Outcome::Ok },
        status: Some(if pick(7) { 502 } else { 200 }),
        attempts: 1 + u32::from(pick(11)),
        latency_ms: number * 10,
        ttft_ms: Some(number * 5),
        usage,
        charge: points(i64::try_from(number).unwrap()),
        components: Components { pricing: pick(6).then_some(PRICING), ..Components::default() },
        ..RequestRecord::new(RequestId::new(at, random), user, at)
    }
}

/// A log of `count` requests by one user with two keys.
async fn filled(rig: &Rig, count: u64) -> (Vec<ApiKeyId>, Vec<RequestRecord>) {
    let mut keys = Vec::new();
    for name in ["one", "two"] {
        let digest = [name.as_bytes()[0]; 32];
        let (user, hint, limits) = (rig.user, "tg_", Default::default());
        let new = NewApiKey { user, name, sha256: digest, hint, expires_at: None, limits, keys_max: 9 };
        keys.push(rig.store.catalogue.create_api_key(&new, NOW).await.unwrap());
    }
    let mut records: Vec<_> = (0..count).map(|number| record(rig.user, &keys, number)).collect();
    for record in &records {
        if record.attempts > 1 {
            let (status, failure, took_ms) = (Some(429), Some(FailureClass::RateLimited), 12);
            let missed = Attempt { credential: CREDENTIAL, status, failure, took_ms };
            let attempts = vec![missed.clone(), Attempt { status: Some(200), failure: None, ..missed }];
            rig.writer.post(Entry::Attempts { request: record.request, attempts }).unwrap();
        }
        rig.writer.post(Entry::Record(Box::new(record.clone()))).unwrap();
    }
    rig.flush().await;
    records.reverse();
    (keys, records)
}

fn tokens(usage: &Usage) -> u64 {
    usage.prompt_total() + usage.output_total()
}

#[tokio::test]
async fn counters_are_what_the_records_add_up_to() {
    let rig = Rig::new().await;
    let (keys, records) = filled(&rig, 200).await;
    let check = async |of: UsageOf, mine: &dyn Fn(&RequestRecord) -> bool| {
        let query = |by| UsageQuery::all(of, by);
        let mine: Vec<_> = records.iter().filter(|record| mine(record)).collect();
        let total = rig.store.log.usage(&query(UsageBy::Total)).await.unwrap()[0].used;
        let billed = mine.iter().filter(|record| record.operation.is_some_and(Operation::billed));
        assert_eq!(total.requests, mine.len() as u64);
        assert_eq!(total.failed, mine.iter().filter(|record| record.outcome != Outcome::Ok).count() as u64);
        assert_eq!(tokens(&total.usage), billed.map(|record| tokens(&record.usage)).sum::<u64>());
        assert_eq!(total.charge.get(), mine.iter().map(|record| record.charge.get()).sum::<i64>());
        assert_eq!(Some(total.last_at), mine.iter().map(|record| record.started_at).max());
        for by in [UsageBy::Day, UsageBy::Model, UsageBy::Key] {
            let mut sum = tollgate_store::Used::default();
            rig.store.log.usage(&query(by)).await.unwrap().iter().for_each(|row| sum.add(&row.used));
            assert_eq!(sum, total, "{of:?} {by:?}");
        }
    };
    check(UsageOf::Everyone, &|_| true).await;
    check(UsageOf::User(rig.user), &|_| true).await;
    check(UsageOf::Key(rig.user, keys[1]), &|record| record.api_key == Some(keys[1])).await;
    check(UsageOf::Credential(CREDENTIAL), &|record| record.credential.is_some()).await;
    let all = UsageQuery::all(UsageOf::User(rig.user), UsageBy::Total);
    let day = UsageQuery { from_day: NOW.day(), until_day: NOW.day(), ..all };
    let today = records.iter().filter(|record| record.started_at.day() == NOW.day()).count();
    assert_eq!(rig.store.log.usage(&day).await.unwrap()[0].used.requests, today as u64);
    assert_eq!(rig.store.ledger.verify_usage().await.unwrap(), []);
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn pages_of_usage_add_up_to_all_of_it() {
    let rig = Rig::new().await;
    filled(&rig, 200).await;
    for (of, by) in [
        (UsageOf::User(rig.user), UsageBy::Day),
        (UsageOf::User(rig.user), UsageBy::Model),
        (UsageOf::User(rig.user), UsageBy::Key),
        (UsageOf::Everyone, UsageBy::Day),
        (UsageOf::Everyone, UsageBy::Model),
        (UsageOf::Credential(CREDENTIAL), UsageBy::Model),
    ] {
        let mut query = UsageQuery::all(of, by);
        let all = rig.store.log.usage(&query).await.unwrap();
        assert!(all.len() > 1, "{of:?} {by:?}");
        let mut rows = Vec::new();
        query.limit = 1;
        while let [row] = rig.store.log.usage(&query).await.unwrap().as_slice() {
            rows.push(row.clone());
            match by {
                UsageBy::Model => {
                    query.after = Some(UsageAfter::Model(row.model.clone().unwrap_or_default()))
                }
                UsageBy::Key => query.after = Some(UsageAfter::Key(row.api_key)),
                UsageBy::Day | UsageBy::Total => query.from_day = row.day.unwrap() + 1,
            }
        }
        assert_eq!(rows, all, "{of:?} {by:?}");
    }
}

#[tokio::test]
async fn a_counter_that_is_wrong_is_named() {
    let rig = Rig::new().await;
    filled(&rig, 20).await;
    rig.tamper("UPDATE usage_counter SET charge = charge + 1 WHERE kind = 3 AND model = 'small'").await;
    let violations = rig.store.ledger.verify_usage().await.unwrap();
    assert!(violations[0].detail.contains("small"), "{violations:?}");
    assert_eq!(rig.store.ledger.verify().await.unwrap().violations, violations);
    rig.tamper("DELETE FROM usage_counter WHERE kind = 4").await;
    assert!(rig.store.ledger.verify_usage().await.unwrap().len() > violations.len());
}

#[tokio::test]
async fn what_is_written_twice_is_counted_once() {
    let rig = Rig::new().await;
    let (_, records) = filled(&rig, 3).await;
    // The second time each of them is refused, beside one that is new.
    for record in records.iter().chain([&record(rig.user, &[], 7)]) {
        rig.writer.post(Entry::Record(Box::new(record.clone()))).unwrap();
    }
    rig.flush().await;
    let query = UsageQuery::all(UsageOf::Everyone, UsageBy::Total);
    assert_eq!(rig.store.log.usage(&query).await.unwrap()[0].used.requests, 4);
    rig.assert_books_are_right().await;
}

/// What a filter must find.
type Wanted = Box<dyn Fn(&RequestRecord) -> bool>;

/// Filters by name, and by both ends of the time.
fn named_filters(user: UserId, key: ApiKeyId) -> Vec<(RequestFilter, Wanted)> {
    let all = RequestFilter::default();
    let (from, until) = (NOW.plus_ms(2 * DAY_MS), NOW.plus_ms(5 * DAY_MS));
    let both = RequestFilter {
        users: vec![user],
        credentials: vec![CREDENTIAL],
        outcomes: vec![Outcome::UpstreamError],
        ..all.clone()
    };
    let case = |filter, wanted: fn(&RequestRecord) -> bool| (filter, Box::new(wanted) as Wanted);
    vec![
        case(all.clone(), |_| true),
        case(RequestFilter { users: vec![user], ..all.clone() }, |_| true),
        (
            RequestFilter { api_keys: vec![key], ..all.clone() },
            Box::new(move |record: &RequestRecord| record.api_key == Some(key)),
        ),
        case(RequestFilter { credentials: vec![CREDENTIAL], ..all.clone() }, |it| it.credential.is_some()),
        case(RequestFilter { protocols: vec![Protocol::Gemini], ..all.clone() }, |it| {
            it.protocol == Some(Protocol::Gemini)
        }),
        case(RequestFilter { operations: vec![Operation::CountTokens], ..all.clone() }, |it| {
            it.operation == Some(Operation::CountTokens)
        }),
        case(RequestFilter { providers: vec!["anthropic".to_owned()], ..all.clone() }, |it| {
            it.provider.as_deref() == Some("anthropic")
        }),
        case(RequestFilter { models: vec!["small".to_owned()], ..all.clone() }, |it| {
            it.model.as_deref() == Some("small")
        }),
        case(RequestFilter { outcomes: vec![Outcome::UpstreamError], ..all.clone() }, |it| {
            it.status == Some(502)
        }),
        case(RequestFilter { statuses: vec![502], ..all.clone() }, |it| it.status == Some(502)),
        case(RequestFilter { model_part: Some("MAL".to_owned()), ..all.clone() }, |it| {
            it.model.as_deref() == Some("small")
        }),
        case(RequestFilter { statuses: vec![502, 418], models: both_models(), ..all.clone() }, |it| {
            it.status == Some(502)
        }),
        case(RequestFilter { providers: vec!["anthropic".into(), "openai".into()], ..all.clone() }, |_| true),
        case(RequestFilter { not_users: vec![UserId::from_bytes([9; 16])], ..all.clone() }, |_| true),
        case(both, |it| it.credential.is_some() && it.outcome == Outcome::UpstreamError),
        (
            RequestFilter { from: Some(from), until: Some(until), ..all },
            Box::new(move |record: &RequestRecord| (from..until).contains(&record.started_at)),
        ),
    ]
}

/// A call as those are told of it who look on.
fn ended(record: &RequestRecord) -> EndedCall {
    let failures = if record.attempts > 1 { vec![FailureClass::RateLimited] } else { Vec::new() };
    EndedCall { record: Box::new(record.clone()), failures }
}

fn both_models() -> Vec<String> {
    vec!["small".to_owned(), "large".to_owned()]
}

/// What the first attempt of those with two met.
fn failed() -> Vec<FailureClass> {
    vec![FailureClass::Overloaded, FailureClass::RateLimited]
}

/// Filters by amounts, and by what is looked up beside the record.
fn amount_filters(user: UserId) -> Vec<(RequestFilter, Wanted)> {
    let all = RequestFilter::default();
    let case = |filter, wanted: fn(&RequestRecord) -> bool| (filter, Box::new(wanted) as Wanted);
    vec![
        case(RequestFilter { components: vec![PRICING], ..all.clone() }, |it| {
            it.components.pricing.is_some()
        }),
        case(RequestFilter { attempts_min: Some(2), ..all.clone() }, |it| it.attempts >= 2),
        case(RequestFilter { components: vec![[8; 32], PRICING], failures: failed(), ..all.clone() }, |it| {
            it.components.pricing.is_some() && it.attempts >= 2
        }),
        case(RequestFilter { failures: failed(), ..all.clone() }, |it| it.attempts >= 2),
        case(RequestFilter { failures: failed(), users: vec![user], ..all.clone() }, |it| it.attempts >= 2),
        case(RequestFilter { latency_ms_min: Some(2500), ..all.clone() }, |it| it.latency_ms >= 2500),
        case(RequestFilter { ttft_ms_min: Some(1250), ..all.clone() }, |it| it.ttft_ms >= Some(1250)),
        case(RequestFilter { tokens_min: Some(600), ..all.clone() }, |it| tokens(&it.usage) >= 600),
        case(RequestFilter { charge_min: Some(points(200)), ..all }, |it| it.charge >= points(200)),
    ]
}

#[tokio::test]
async fn every_filter_finds_what_it_names_page_by_page() {
    let rig = Rig::new().await;
    let (keys, records) = filled(&rig, 300).await;
    for (filter, wanted) in named_filters(rig.user, keys[0]).into_iter().chain(amount_filters(rig.user)) {
        let wanted: Vec<_> = records.iter().filter(|it| wanted(it)).map(|it| it.request).collect();
        assert!(!wanted.is_empty(), "{filter:?} finds something");
        let told = records.iter().filter(|record| filter.lets_through(&ended(record)));
        assert_eq!(
            told.map(|it| it.request).collect::<Vec<_>>(),
            wanted,
            "the same without the tables: {filter:?}"
        );
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = RequestFilter { limit: 7, before, ..filter.clone() };
            let page = rig.store.log.request_page(&page).await.unwrap();
            assert!(page.records.len() == 7 || page.next.is_none(), "only the last page is short");
            found.extend(page.records.iter().map(|record| record.request));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(found, wanted, "{filter:?}");
    }
}

#[tokio::test]
async fn sums_of_a_filter_are_those_of_its_records_however_they_are_sliced() {
    let rig = Rig::new().await;
    let (_, records) = filled(&rig, 300).await;
    for (filter, wanted) in
        named_filters(rig.user, records[0].api_key.unwrap_or(ApiKeyId::from_bytes([4; 16])))
            .into_iter()
            .filter(|(filter, _)| filter.api_keys.is_empty())
            .chain(amount_filters(rig.user))
    {
        let wanted: Vec<_> = records.iter().filter(|it| wanted(it)).collect();
        let billed = wanted.iter().filter(|it| it.operation.is_some_and(Operation::billed));
        let expected = (
            wanted.len() as u64,
            wanted.iter().filter(|it| it.outcome != Outcome::Ok).count() as u64,
            wanted.iter().map(|it| it.charge.get()).sum::<i64>(),
            billed.map(|it| tokens(&it.usage)).sum::<u64>(),
        );
        for by in [SumBy::Total, SumBy::Minute, SumBy::Day, SumBy::Outcome, SumBy::Model, SumBy::Key] {
            let RequestSums { rows, next } = rig.store.log.request_sums(&filter, by).await.unwrap();
            let mut sum = tollgate_store::Used::default();
            rows.iter().for_each(|(_, used)| sum.add(used));
            let found = (sum.requests, sum.failed, sum.charge.get(), tokens(&sum.usage));
            assert_eq!((found, next), (expected, None), "{filter:?} {by:?}");
            let labels: std::collections::HashSet<_> =
                rows.iter().map(|(label, _)| format!("{label:?}")).collect();
            assert_eq!(labels.len(), rows.len(), "a row for each: {by:?}");
        }
    }
}

#[tokio::test]
async fn a_key_is_found_with_its_own_user_alone() {
    let rig = Rig::new().await;
    let (keys, _) = filled(&rig, 30).await;
    let of = |user| RequestFilter {
        users: vec![user],
        api_keys: vec![keys[0]],
        limit: 5,
        ..RequestFilter::default()
    };
    assert_eq!(rig.store.log.requests(&of(UserId::from_bytes([9; 16]))).await.unwrap(), []);
    assert_eq!(rig.store.log.requests(&of(rig.user)).await.unwrap().len(), 5);
}

#[tokio::test]
async fn attempts_are_kept_in_their_order() {
    let rig = Rig::new().await;
    let request = record(rig.user, &[], 1).request;
    let failed = Attempt {
        credential: CREDENTIAL,
        status: Some(429),
        failure: Some(FailureClass::RateLimited),
        took_ms: 12,
    };
    let done = Attempt { status: Some(200), failure: None, ..failed.clone() };
    let attempts = vec![failed, done];
    rig.writer.post(Entry::Attempts { request, attempts: attempts.clone() }).unwrap();
    rig.flush().await;
    assert_eq!(rig.store.log.attempts(request).await.unwrap(), attempts);
}

/// Removes what may be removed, three at a time, and returns it.
async fn prune(rig: &Rig, rule: Retention) -> Vec<RequestRecord> {
    let mut gone = Vec::new();
    loop {
        let batch = rig.store.log.expired(&rule, 3).await.unwrap();
        let Some(last) = batch.last() else { return gone };
        rig.store.log.remove_records(last.request).await.unwrap();
        gone.extend(batch);
    }
}

#[tokio::test]
async fn retention_takes_the_oldest_records_and_nothing_from_the_counters() {
    let rig = Rig::new().await;
    let (_, mut records) = filled(&rig, 100).await;
    records.reverse();
    let query = UsageQuery::all(UsageOf::User(rig.user), UsageBy::Day);
    let before = rig.store.log.usage(&query).await.unwrap();
    let horizon = records[20].started_at;
    assert_eq!(prune(&rig, Retention { before: Some(horizon), records_max: None }).await, records[..20]);
    assert_eq!(prune(&rig, Retention { before: None, records_max: Some(70) }).await, records[20..30]);
    assert_eq!(prune(&rig, Retention { before: Some(horizon), records_max: Some(70) }).await, []);
    assert_eq!(prune(&rig, Retention::default()).await, []);
    assert_eq!(rig.store.log.usage(&query).await.unwrap(), before);
    assert_eq!(rig.count("SELECT COUNT(*) FROM request_record").await, 70);
    rig.assert_books_are_right().await;
}

#[tokio::test]
async fn a_receipt_outlives_its_record() {
    let rig = Rig::new().await;
    let request = crate::request();
    rig.writer.commit(rig.hold(request, 50)).await.unwrap();
    let Entry::Settle { mut record, settlement, held, user, at, .. } =
        rig.settle(request, 50, crate::paid(30))
    else {
        panic!("a settlement")
    };
    record.receipt = Some(vec![1, 2, 3]);
    rig.writer.post(Entry::Settle { request, user, held, settlement, at, record }).unwrap();
    rig.flush().await;
    let rule = Retention { before: Some(Timestamp::from_millis(NOW.millis() + 1)), records_max: None };
    assert_eq!(prune(&rig, rule).await.len(), 1);
    assert_eq!(rig.store.log.receipt(request).await.unwrap(), Some(vec![1, 2, 3]));
    assert_eq!(rig.balance().await.posted, Micropoints::new(1_000_000 - 30));
    rig.assert_books_are_right().await;
}
