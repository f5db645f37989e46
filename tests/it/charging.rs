//! What a request costs, to the micro-point, whatever its end: held before it is sent, settled once, never past the
//! balance.
//!
//! A price of 1 USD a million tokens is 1,000 micro-points a token.

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Owner};
use tollgate_core::receipt::Receipt;
use tollgate_core::usage::Class;
use tollgate_store::RequestRecord;
use tollgate_tests::client::{self, Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::upstream::{Gate, Script};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const FLASH: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const PRO: &str = "/v1beta/models/gemini-2.5-pro:generateContent";

/// 10 prompt and 5 output tokens: 75,000 micro-points on gpt-4o.
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const CHARGE: i64 = 75_000;

async fn rig_of(points: Micropoints) -> Rig {
    Rig::with(|setup| setup.users = vec![("alice", points)]).await
}

fn post(target: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", target).body(body)
}

fn chat() -> Request {
    post(CHAT, r#"{"model":"gpt-4o"}"#)
}

/// Sends a request, which is the `count`th, has it answered so, and returns its record.
async fn bill(rig: &Rig, count: usize, request: Request, answer: &Value) -> RequestRecord {
    rig.upstream.enqueue(Script::json(200, answer.to_string()));
    let reply = rig.call(request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let records = rig.records(count).await;
    assert_eq!(records.len(), count);
    records.into_iter().last().expect("a record")
}

#[tokio::test]
async fn bills_are_exact_in_every_class_of_every_provider() {
    let rig = Rig::start().await;
    let gemini = |usage: Value| json!({"candidates": [], "usageMetadata": usage});
    let sonnet = r#"{"model":"claude-sonnet-4-5","max_tokens":100}"#;
    let cases = [
        // 86 x 2,500 + 1,920 x 1,250 read from the cache + (108 + 192 of reasoning) x 10,000.
        (
            chat(),
            json!({"usage": {"prompt_tokens": 2006, "completion_tokens": 300,
                "prompt_tokens_details": {"cached_tokens": 1920},
                "completion_tokens_details": {"reasoning_tokens": 192}}}),
            5_615_000,
        ),
        // 400 x 2,500 + 600 x 1,250 + 50 x 10,000.
        (
            post(RESPONSES, r#"{"model":"gpt-4o-2024-08-06"}"#),
            json!({"usage": {"input_tokens": 1000, "output_tokens": 50,
                "input_tokens_details": {"cached_tokens": 600}}}),
            2_250_000,
        ),
        // 100 x 3,000 + 2,000 x 300 read + 200 x 3,750 and 300 x 6,000 written + 50 x 15,000.
        (
            post(MESSAGES, sonnet),
            json!({"usage": {"input_tokens": 100, "output_tokens": 50, "cache_read_input_tokens": 2000,
                "cache_creation_input_tokens": 500, "cache_creation":
                {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 300}}}),
            4_200_000,
        ),
        // 500 x 300 + 100 of audio x 1,000 + 400 x 30 read + (20 + 50 of thought) x 2,500.
        (
            post(FLASH, "{}"),
            gemini(
                json!({"promptTokenCount": 1000, "cachedContentTokenCount": 400, "candidatesTokenCount": 20,
                "thoughtsTokenCount": 50,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 100}]}),
            ),
            437_000,
        ),
        // The last token of the first tier: 200,000 x 1,250 + 10 x 10,000.
        (
            post(PRO, "{}"),
            gemini(json!({"promptTokenCount": 200_000, "candidatesTokenCount": 10})),
            250_100_000,
        ),
        // The first of the second, cached ones counted: 1 x 2,500 + 200,000 x 250 + 10 x 15,000.
        (
            post(PRO, "{}"),
            gemini(json!({"promptTokenCount": 200_001, "cachedContentTokenCount": 200_000,
                "candidatesTokenCount": 10})),
            50_152_500,
        ),
    ];
    let before = rig.balance("alice").await.get();
    let mut spent = 0;
    for (at, (request, answer, charge)) in cases.into_iter().enumerate() {
        let record = bill(&rig, at + 1, request, &answer).await;
        assert_eq!((record.charge.get(), record.outcome), (charge, Outcome::Ok), "{answer}");
        spent += charge;
    }
    assert_eq!(before - rig.balance("alice").await.get(), spent);
    rig.stop().await;
}

#[tokio::test]
async fn the_same_request_costs_a_tenth_on_an_own_credential_rounded_up_once() {
    let rig = Rig::with(|setup| {
        setup.users.push(("bob", Micropoints::from_points(1000)));
        setup.credentials.push(("openai", Some("alice"), "of alice", 100));
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    rig.call(chat()).await;
    assert_eq!(rig.upstream.next().await.header("authorization"), Some("Bearer of alice"));
    client::call(rig.addr(), &chat().bearer(rig.key("bob"))).await;
    assert_eq!(rig.upstream.next().await.header("authorization"), Some("Bearer platform-openai"));
    // Records of one millisecond are in no order.
    let mut charges: Vec<i64> = rig.records(2).await.iter().map(|record| record.charge.get()).collect();
    charges.sort_unstable();
    assert_eq!(charges, [CHARGE / 10, CHARGE]);
    // (1 x 75 read from the cache + 1 x 600) / 10 is 67.5.
    let usage =
        json!({"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}});
    let record = bill(&rig, 3, post(CHAT, r#"{"model":"gpt-4o-mini"}"#), &json!({"usage": usage})).await;
    assert_eq!(record.charge.get(), 68);
    rig.stop().await;
}

#[tokio::test]
async fn embeddings_cost_their_input_alone() {
    let rig = Rig::start().await;
    let small = post("/v1/embeddings", r#"{"model":"text-embedding-3-small","input":"x"}"#);
    let stated = json!({"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}});
    let record = bill(&rig, 1, small, &stated).await;
    // 8 x 20; held were 46 bytes of request, 16 tokens, and no output.
    assert_eq!((record.charge.get(), record.hold.get()), (160, 16 * 20));
    assert_eq!((record.operation, record.outcome), (Some(Operation::Embed), Outcome::Ok));
    let target = "/v1beta/models/gemini-embedding-001:embedContent";
    let stated = json!({"embedding": {}, "usageMetadata": {"promptTokenCount": 8}});
    assert_eq!(bill(&rig, 2, post(target, "{}"), &stated).await.charge.get(), 8 * 150);
    rig.stop().await;
}

#[tokio::test]
async fn counting_tokens_is_free_and_recorded() {
    let rig = rig_of(Micropoints::ZERO).await;
    let count = post("/v1/messages/count_tokens", r#"{"model":"claude-sonnet-4-5","messages":[]}"#);
    let gemini = post("/v1beta/models/gemini-2.5-flash:countTokens", "{}");
    for (at, request) in [count, gemini].into_iter().enumerate() {
        let record = bill(&rig, at + 1, request, &json!({"input_tokens": 8, "totalTokens": 8})).await;
        assert_eq!((record.operation, record.outcome), (Some(Operation::CountTokens), Outcome::Ok));
        assert_eq!((record.hold, record.charge), (Micropoints::ZERO, Micropoints::ZERO));
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_answer_without_content_costs_its_prompt() {
    let rig = Rig::start().await;
    let before = rig.balance("alice").await.get();
    let empty = json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 0}});
    let record = bill(&rig, 1, chat(), &empty).await;
    assert_eq!((record.outcome, record.charge.get()), (Outcome::Empty, 10 * 2_500));
    assert_eq!(before - rig.balance("alice").await.get(), 10 * 2_500);
    rig.stop().await;
}

#[tokio::test]
async fn a_balance_too_small_is_refused_in_the_protocols_words_and_nothing_is_sent() {
    let rig = rig_of(Micropoints::new(100)).await;
    let openai = json!({"type": "insufficient_quota", "code": "insufficient_quota"});
    let cases = [
        (chat(), openai.clone()),
        (post(RESPONSES, r#"{"model":"gpt-4o","stream":true}"#), openai),
        (post(MESSAGES, r#"{"model":"claude-sonnet-4-5","max_tokens":9}"#), json!({"type": "billing_error"})),
        (post(FLASH, "{}"), json!({"code": 402, "status": "RESOURCE_EXHAUSTED"})),
    ];
    for (at, (request, words)) in cases.into_iter().enumerate() {
        let reply = rig.call(request).await;
        assert_eq!(reply.status, 402);
        for (name, word) in words.as_object().unwrap() {
            assert_eq!(&reply.json()["error"][name], word, "{}", reply.text());
        }
        assert!(reply.text().contains("0.0001 points"), "{}", reply.text());
        let record = rig.records(at + 1).await.pop().unwrap();
        assert_eq!((record.outcome, record.status, record.attempts), (Outcome::Refused, Some(402), 0));
        assert_eq!((record.hold, record.charge), (Micropoints::ZERO, Micropoints::ZERO));
    }
    assert_eq!((rig.upstream.count(), rig.balance("alice").await.get()), (0, 100));
    rig.stop().await;
}

#[tokio::test]
async fn an_unknown_model_is_not_found_and_nothing_is_sent() {
    let rig = Rig::start().await;
    let cases = [
        (post(CHAT, r#"{"model":"gpt-0"}"#), "model_not_found"),
        (post(RESPONSES, r#"{"model":"gpt-0"}"#), "model_not_found"),
        (post(MESSAGES, r#"{"model":"claude-0"}"#), "not_found_error"),
        (post("/v1beta/models/gemini-0:generateContent", "{}"), "NOT_FOUND"),
    ];
    for (at, (request, word)) in cases.into_iter().enumerate() {
        let reply = rig.call(request).await;
        assert_eq!(reply.status, 404);
        assert!(reply.text().contains(word), "{}", reply.text());
        assert_eq!(rig.records(at + 1).await.pop().unwrap().outcome, Outcome::Refused);
    }
    assert_eq!(rig.upstream.count(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_hold_is_what_the_request_may_cost_at_most() {
    let rig = Rig::start().await;
    // Three bytes of a request stand for a prompt token. Claude's dearest prompt is one written to the long cache.
    let cases = [
        // No limit: all that the model can say, and that for each answer.
        (CHAT, r#"{"model":"gpt-4o"}"#, 6 * 2_500 + 16_384 * 10_000),
        (CHAT, r#"{"model":"gpt-4o","n":2}"#, 8 * 2_500 + 2 * 16_384 * 10_000),
        (CHAT, r#"{"model":"gpt-4o","max_tokens":7}"#, 11 * 2_500 + 7 * 10_000),
        (CHAT, r#"{"model":"gpt-4o","max_completion_tokens":7,"n":3}"#, 17 * 2_500 + 21 * 10_000),
        (RESPONSES, r#"{"model":"gpt-4o","max_output_tokens":7}"#, 14 * 2_500 + 7 * 10_000),
        (MESSAGES, r#"{"model":"claude-sonnet-4-5","max_tokens":7}"#, 15 * 6_000 + 7 * 15_000),
        // A request for a tier that costs 1.7 times as much.
        (CHAT, r#"{"model":"gpt-4o","max_tokens":7,"service_tier":"priority"}"#, 20 * 4_250 + 7 * 17_000),
        // Audio is the dearest prompt.
        (FLASH, r#"{"generationConfig":{"maxOutputTokens":7,"candidateCount":2}}"#, 21 * 1_000 + 14 * 2_500),
    ];
    for (at, (target, body, hold)) in cases.into_iter().enumerate() {
        let record = bill(&rig, at + 1, post(target, body), &json!({})).await;
        assert_eq!(record.hold.get(), hold, "{body} of {} bytes", body.len());
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_an_upstream_uses_beyond_the_hold_is_taken_from_the_balance() {
    let rig = Rig::start().await;
    let before = rig.balance("alice").await.get();
    let answer = json!({"usage": {"prompt_tokens": 10, "completion_tokens": 1000}});
    let record = bill(&rig, 1, post(CHAT, r#"{"model":"gpt-4o","max_tokens":1}"#), &answer).await;
    assert_eq!((record.hold.get(), record.charge.get()), (11 * 2_500 + 10_000, 10 * 2_500 + 1000 * 10_000));
    assert_eq!(before - rig.balance("alice").await.get(), record.charge.get());
    rig.stop().await;
}

#[tokio::test]
async fn what_the_balance_cannot_pay_is_recorded_and_the_balance_stops_at_zero() {
    let rig = rig_of(Micropoints::new(40_000)).await;
    let answer = json!({"usage": {"prompt_tokens": 10, "completion_tokens": 1000}});
    let record = bill(&rig, 1, post(CHAT, r#"{"model":"gpt-4o","max_tokens":1}"#), &answer).await;
    assert_eq!(record.charge.get(), 10_025_000);
    assert_eq!(rig.balance("alice").await, Micropoints::ZERO);
    assert_eq!(rig.call(chat()).await.status, 402);
    rig.stop().await;
}

#[tokio::test]
async fn no_crowd_overdraws_an_account() {
    const CALLS: usize = 64;
    const PAYABLE: usize = 10;
    let body = r#"{"model":"gpt-4o","max_tokens":100}"#;
    // 35 bytes are 12 tokens.
    let hold: i64 = 12 * 2_500 + 100 * 10_000;
    let points = Micropoints::new(hold * 11 - 1);
    let rig = Rig::with(|setup| {
        setup.users = vec![("alice", points)];
        setup.config.server.workers = 2;
    })
    .await;
    let gate = Gate::new();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    let script = Script::default().gate(&gate).write(answer);
    rig.upstream.respond(move |_| script.clone());
    let (addr, request) = (rig.addr(), post(CHAT, body).bearer(rig.key("alice")));
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let request = request.clone();
        calls.spawn(async move { client::call(addr, &request).await.status });
    }
    for _ in 0..PAYABLE {
        gate.reached().await;
    }
    // All requests that can be paid for wait upstream, so the ones answered now were refused.
    for _ in PAYABLE..CALLS {
        assert_eq!(calls.join_next().await.unwrap().unwrap(), 402);
    }
    (0..PAYABLE).for_each(|_| gate.open());
    assert_eq!(calls.join_all().await, [200; PAYABLE]);
    assert_eq!(rig.records(CALLS).await.len(), CALLS);
    let spent = CHARGE * i64::try_from(PAYABLE).unwrap();
    assert_eq!(points.get() - rig.balance("alice").await.get(), spent);
    assert_eq!(rig.upstream.count(), PAYABLE);
    rig.stop().await;
}

#[tokio::test]
async fn a_receipt_says_what_the_record_says() {
    let rig = Rig::start().await;
    let answer: Value = serde_json::from_str(ANSWER).unwrap();
    let record = bill(&rig, 1, chat(), &answer).await;
    let desk = rig.desk().await;
    let receipt = desk.receipt(record.request).await.unwrap();
    desk.close().await;
    assert_eq!(Some(receipt.canonical_bytes()), record.receipt);
    let rates = receipt.rates;
    assert_eq!(
        (rates[Class::Input], rates[Class::CacheRead], rates[Class::Output]),
        (2_500_000_000, 1_250_000_000, 10_000_000_000)
    );
    let of_record = Receipt {
        default_price: None,
        request: record.request,
        user: record.user,
        model: "gpt-4o".to_owned(),
        price_version: record.price_version.unwrap(),
        pricing_component: record.components.pricing.unwrap(),
        owner: Owner::Platform,
        usage: record.usage,
        outcome: record.outcome,
        admitted_at: record.started_at,
        charge: record.charge,
        ..receipt.clone()
    };
    assert_eq!(receipt, of_record);
    rig.stop().await;
}

/// Sends a stream request and leaves once `until` has come of its answer, or once the upstream has it.
async fn leave(rig: &Rig, until: Option<&str>) {
    let mut client = Connection::open(rig.addr()).await;
    client.send(&post(CHAT, r#"{"model":"gpt-4o","stream":true}"#).bearer(rig.key("alice"))).await;
    let upstream = rig.upstream.next().await;
    if let Some(text) = until {
        client.head().await;
        client.read_until(text).await;
    }
    drop(client);
    upstream.closed().await;
}

#[tokio::test]
async fn every_end_is_recorded_once_and_resolves_its_hold_once() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n";
    let rig = Rig::start().await;
    let before = rig.balance("alice").await.get();
    rig.upstream.enqueue(Script::silence());
    leave(&rig, None).await;
    rig.upstream.enqueue(Script::sse().chunk(event).hang());
    leave(&rig, Some(event)).await;
    let scripts = [
        Script::json(200, ANSWER),
        Script::json(200, r#"{"usage":{"prompt_tokens":10,"completion_tokens":0}}"#),
        Script::sse().chunk(event).close(),
        Script::json(400, "{}"),
        Script::json(500, "{}"),
    ];
    for script in scripts {
        rig.upstream.enqueue(script);
        rig.call(chat()).await;
    }
    rig.call(post(CHAT, r#"{"model":"gpt-0"}"#)).await;
    let expected = [
        Outcome::CancelledBeforeFirstByte,
        Outcome::CancelledAfterFirstByte,
        Outcome::Ok,
        Outcome::Empty,
        Outcome::Partial,
        Outcome::UpstreamError,
        Outcome::UpstreamError,
        Outcome::Refused,
    ];
    let records = rig.records(expected.len()).await;
    // Records of one millisecond are in no order.
    let mut outcomes: Vec<&str> = records.iter().map(|record| record.outcome.name()).collect();
    let mut expected = expected.map(Outcome::name);
    outcomes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(outcomes, expected);
    let desk = rig.desk().await;
    let transfers = desk.verify().await.unwrap().transfers;
    desk.close().await;
    // The first points, and a hold with its resolution for each but the one that was refused.
    assert_eq!(transfers, 1 + 2 * 7);
    let charged: i64 = records.iter().map(|record| record.charge.get()).sum();
    assert_eq!(before - rig.balance("alice").await.get(), charged);
    rig.stop().await;
}

#[tokio::test]
async fn a_running_server_takes_up_a_changed_floor() {
    let rig = rig_of(Micropoints::ZERO).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let desk = rig.desk().await;
    let user = managed::users(&desk).await.expect("the database reads")[0].id;
    let set_floor = async |floor: &str| {
        let path = format!("/management/v1/users/{user}");
        let body = json!({"floor": floor}).to_string();
        let request = Request::new("PATCH", &path).body(body).bearer(rig.admin_secret());
        let reply = client::call(rig.admin_addr(), &request).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    // The server looks for changes while it runs.
    let answers = async |status: u16| {
        patiently("the server to take it up", async {
            while rig.call(chat()).await.status != status {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    assert_eq!(rig.call(chat()).await.status, 402);
    set_floor("-1000").await;
    answers(200).await;
    // A floor above the balance takes nothing, and new holds are refused until the debt has been paid.
    set_floor("0").await;
    answers(402).await;
    assert_eq!(desk.verify().await.expect("the database reads").violations, []);
    managed::grant(&desk, "alice", Micropoints::from_points(1000), "paid").await.expect("a user");
    answers(200).await;
    desk.close().await;
    rig.stop().await;
}
