//! Nobody consumes more than is held: whatever a request asks for and however many there are at one time, what
//! providers bill for them is no more than the balance; and nobody is kept out by what a call might cost but will not.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_store::RequestRecord;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::patiently;
use tollgate_tests::upstream::{self, Gate, Script};

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const FLASH: &str = "/v1beta/models/gemini-2.5-flash";
/// By this header a client is told of a limit that was put in.
const LIMIT: &str = "x-tollgate-output-limit";

async fn rig_of(points: i64) -> Rig {
    Rig::with(|setup| setup.users = vec![("alice", Micropoints::from_points(points))]).await
}

fn post(path: &str, body: &Value) -> Request {
    Request::new("POST", path).body(body.to_string())
}

async fn last(rig: &Rig, count: usize) -> RequestRecord {
    rig.records(count).await.pop().expect("a record")
}

/// What the request allows an answer, as its provider reads it.
fn limit(body: &Value, model_max: u64) -> u64 {
    let names = ["max_completion_tokens", "max_tokens", "max_output_tokens"];
    let named = names.iter().find_map(|name| body[name].as_u64());
    named.or_else(|| body["generationConfig"]["maxOutputTokens"].as_u64()).unwrap_or(model_max)
}

/// A provider that uses all that it is let, and bills for it: hidden, but for a word.
fn greedy(request: &upstream::Request, billed: &AtomicI64) -> Script {
    let body = request.json();
    let answers = body["n"].as_u64().or(body["generationConfig"]["candidateCount"].as_u64()).unwrap_or(1);
    let streams = body["stream"] == true;
    let (output, rate, usage) = if request.target.contains("gemini") {
        let output = limit(&body, 65_536) * answers;
        (
            output,
            2_500,
            json!({"candidates": [{"content": {"parts": [{"text": "word"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": output}}),
        )
    } else if request.target.contains("messages") {
        let output = limit(&body, 0);
        (
            output,
            15_000,
            json!({"content": [{"type": "text", "text": "word"}],
            "usage": {"input_tokens": 5, "output_tokens": output}}),
        )
    } else if request.target.contains("responses") {
        let output = limit(&body, 16_384);
        (output, 10_000, json!({"output": [], "usage": {"input_tokens": 5, "output_tokens": output}}))
    } else {
        let output = limit(&body, 16_384) * answers;
        let choices =
            json!([{"delta": {"content": "word"}, "message": {"content": "word"}, "finish_reason": "stop"}]);
        (
            output,
            10_000,
            json!({"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": output}}),
        )
    };
    billed.fetch_add(i64::try_from(output).expect("a count of a test") * rate, Ordering::Relaxed);
    if streams {
        let last = json!({"choices": [], "usage": usage["usage"]});
        let first = json!({"choices": usage["choices"]});
        return Script::sse().chunk(format!("data: {first}\n\ndata: {last}\n\ndata: [DONE]\n\n")).end();
    }
    Script::json(200, usage.to_string())
}

/// Sends 200 calls at once from an account of 430 points, and lets the provider answer when all are under way.
async fn crowd(path: &'static str, body: Value) {
    const CALLS: usize = 200;
    const POINTS: i64 = 430;
    let rig = rig_of(POINTS).await;
    let (billed, gate) = (Arc::new(AtomicI64::new(0)), Gate::new());
    let (bill, closed) = (Arc::clone(&billed), gate.clone());
    rig.upstream.respond(move |request| {
        let answer = greedy(request, &bill);
        Script::default().gate(&closed).followed_by(answer)
    });
    let (addr, request) = (rig.addr(), post(path, &body).bearer(rig.key("alice")));
    let ended = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (request, ended) = (request.clone(), Arc::clone(&ended));
        calls.spawn(async move {
            let status = client::call(addr, &request).await.status;
            ended.fetch_add(1, Ordering::Relaxed);
            status
        });
    }
    patiently("all calls to be under way or refused", async {
        while ended.load(Ordering::Relaxed) + rig.upstream.count() < CALLS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let served = rig.upstream.count();
    (0..served).for_each(|_| gate.open());
    let statuses = calls.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), served, "{path} {body}");
    assert!(statuses.iter().all(|status| [200, 402].contains(status)), "{path} {body}");
    assert!(served > 1, "{path} {body}: one call must not keep all others out");
    let billed = billed.load(Ordering::Relaxed);
    assert!(billed <= POINTS * 1_000_000, "{path} {body}: {billed} was billed for {served} calls");
    let charged: i64 = rig.records(CALLS).await.iter().map(|record| record.charge.get()).sum();
    assert_eq!(POINTS * 1_000_000 - rig.balance("alice").await.get(), charged, "nothing was lost");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_calls_at_once_are_billed_no_more_than_the_balance() {
    crowd(CHAT, json!({"model": "gpt-4o"})).await;
    crowd(CHAT, json!({"model": "gpt-4o", "stream": true, "max_tokens": 16_000})).await;
    crowd(CHAT, json!({"model": "gpt-4o", "n": 8, "max_completion_tokens": 4_000})).await;
    crowd(RESPONSES, json!({"model": "gpt-4o", "input": "a"})).await;
    crowd(MESSAGES, json!({"model": "claude-sonnet-4-5", "max_tokens": 64_000})).await;
    crowd(
        "/v1beta/models/gemini-2.5-flash:generateContent",
        json!({"generationConfig": {"candidateCount": 8}}),
    )
    .await;
}

/// 125 KB of a coding agent, which may write 32,000 tokens.
fn agent() -> Value {
    json!({
        "model": "claude-haiku-4-5", "max_tokens": 32_000, "stream": true,
        "system": [{"type": "text", "text": "x".repeat(125_000), "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "hello"}],
    })
}

/// A Messages stream of which a cache has most of the prompt: 30,000 tokens of it, and so much output.
fn messages_stream(output: u64) -> String {
    let usage = json!({"input_tokens": 1_000, "cache_read_input_tokens": 30_000, "output_tokens": 1});
    [
        json!({"type": "message_start", "message": {"id": "m", "usage": usage}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta",
            "text": "word".repeat(usize::try_from(output).expect("a count of a test"))}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output}}),
        json!({"type": "message_stop"}),
    ]
    .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().expect("a type")))
    .concat()
}

#[tokio::test]
async fn twenty_points_are_enough_for_a_coding_agent_until_they_are_spent() {
    let rig = rig_of(20).await;
    rig.upstream.respond(|_| Script::sse().chunk(messages_stream(600)).end());
    let mut charged = 0;
    for count in 1.. {
        let reply = rig.call(post(MESSAGES, &agent())).await;
        if reply.status == 402 {
            assert!(count > 2, "{}", reply.text());
            assert!(
                reply.text().contains("balance") && reply.text().contains("billing_error"),
                "{}",
                reply.text()
            );
            break;
        }
        assert_eq!(reply.status, 200, "{}", reply.text());
        let put_in: u64 = reply.header(LIMIT).expect("a limit was put in").parse().unwrap();
        assert_eq!(rig.upstream.next().await.json()["max_tokens"], put_in);
        assert!((256..32_000).contains(&put_in), "{put_in}");
        // 1,000 x 1 + 30,000 x 0.1 + 600 x 5.
        let record = last(&rig, count).await;
        assert_eq!((record.charge.get(), record.outcome), (7_000_000, Outcome::Ok));
        assert!(record.hold.get() <= 20_000_000 - charged, "{}", record.hold);
        charged += record.charge.get();
    }
    assert!(charged >= 14_000_000, "{charged}");
    rig.stop().await;
}

#[tokio::test]
async fn prompts_that_no_cache_has_after_all_are_let_in_as_far_as_may_stay_unsecured() {
    const CALLS: usize = 40;
    let rig = rig_of(100).await;
    let gate = Gate::new();
    let closed = gate.clone();
    let answer = json!({"content": [], "usage": {"input_tokens": 31_000, "output_tokens": 10}}).to_string();
    rig.upstream.respond(move |_| Script::default().gate(&closed).followed_by(Script::json(200, &answer)));
    let request = post(MESSAGES, &with(agent(), &json!({"stream": false}))).bearer(rig.key("alice"));
    let ended = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (addr, request, ended) = (rig.addr(), request.clone(), Arc::clone(&ended));
        calls.spawn(async move {
            let status = client::call(addr, &request).await.status;
            ended.fetch_add(1, Ordering::Relaxed);
            status
        });
    }
    patiently("all calls to be under way or refused", async {
        while ended.load(Ordering::Relaxed) + rig.upstream.count() < CALLS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let served = rig.upstream.count();
    // One is held in full; each of the others may cost some 80 points more than is held, and 250 is the most of that.
    assert!((2..=4).contains(&served), "{served}");
    (0..served).for_each(|_| gate.open());
    calls.join_all().await;
    let charged: i64 = rig.records(CALLS).await.iter().map(|record| record.charge.get()).sum();
    assert_eq!(charged, i64::try_from(served).unwrap() * 31_050_000);
    assert!(charged - 100_000_000 <= 250_000_000);
    rig.stop().await;
}

fn with(mut body: Value, more: &Value) -> Value {
    let members = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(members);
    body
}

#[tokio::test]
async fn an_answer_that_comes_whole_gets_a_limit_that_the_balance_pays() {
    let cases = [
        (CHAT, json!({"model": "gpt-4o"}), 10_000),
        (CHAT, json!({"model": "gpt-4o", "max_tokens": 16_000, "n": 2}), 20_000),
        (RESPONSES, json!({"model": "gpt-4o", "input": "a", "max_output_tokens": 16_000}), 10_000),
        (MESSAGES, json!({"model": "claude-sonnet-4-5", "max_tokens": 60_000}), 15_000),
        (concat!("/v1beta/models/gemini-2.5-flash", ":generateContent"), json!({"contents": []}), 2_500),
        ("/gemini/v1/chat", json!({"model": "gemini-2.5-flash", "contents": []}), 2_500),
    ];
    for (path, body, rate) in cases {
        let rig = rig_of(60).await;
        rig.upstream.respond(|_| Script::json(200, "{}"));
        let reply = rig.call(post(path, &body)).await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
        let told: u64 = reply.header(LIMIT).unwrap_or_else(|| panic!("{body}")).parse().unwrap();
        let sent = rig.upstream.next().await.json();
        assert_eq!(limit(&sent, 0), told, "{body} {sent}");
        let record = last(&rig, 1).await;
        assert!(record.hold.get() >= i64::try_from(told).unwrap() * rate, "{body}: {}", record.hold);
        assert!(record.hold.get() <= 60_000_000, "{body}: {}", record.hold);
        rig.stop().await;
    }
}

#[tokio::test]
async fn who_can_pay_for_all_of_it_is_sent_on_as_is() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, "{}"));
    for body in [json!({"model": "gpt-4o"}), json!({"model": "gpt-4o", "max_tokens": 16_000})] {
        let reply = rig.call(post(CHAT, &body)).await;
        assert_eq!((reply.status, reply.header(LIMIT)), (200, None));
        assert_eq!(rig.upstream.next().await.json(), body);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_limit_of_the_operators_own_is_put_in_where_a_request_names_none() {
    let rig = Rig::with(|setup| setup.config.limits.default_output_tokens_max = 2_000).await;
    rig.upstream.respond(|_| Script::json(200, "{}"));
    let reply = rig.call(post(CHAT, &json!({"model": "gpt-4o"}))).await;
    assert_eq!((reply.status, reply.header(LIMIT)), (200, Some("2000")));
    assert_eq!(rig.upstream.next().await.json()["max_completion_tokens"], 2_000);
    let reply = rig.call(post(CHAT, &json!({"model": "gpt-4o", "max_tokens": 3_000}))).await;
    assert_eq!((reply.status, reply.header(LIMIT)), (200, None));
    rig.stop().await;
}

#[tokio::test]
async fn what_a_request_only_names_is_held_for() {
    let rig = rig_of(2_000).await;
    rig.upstream.respond(|_| Script::json(200, "{}"));
    let file = json!([{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]);
    let document = json!([{"role": "user", "content": [{"type": "document",
        "source": {"type": "url", "url": "https://example.com/a.pdf"}}]}]);
    let cases = [
        (RESPONSES, json!({"model": "gpt-4o", "max_output_tokens": 9, "input": file}), 2_500),
        (
            RESPONSES,
            json!({"model": "gpt-4o", "max_output_tokens": 9, "previous_response_id": "resp_1"}),
            2_500,
        ),
        (
            RESPONSES,
            json!({"model": "gpt-4o", "max_output_tokens": 9, "conversation": {"id": "conv_1"}}),
            2_500,
        ),
        (RESPONSES, json!({"model": "gpt-4o", "max_output_tokens": 9, "prompt": {"id": "pmpt_1"}}), 2_500),
        (MESSAGES, json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": document}), 3_000),
        (
            concat!("/v1beta/models/gemini-2.5-flash", ":generateContent"),
            json!({"cachedContent": "cachedContents/1", "generationConfig": {"maxOutputTokens": 9}}),
            300,
        ),
        (
            concat!("/v1beta/models/gemini-2.5-flash", ":generateContent"),
            json!({"contents": [{"parts": [{"fileData": {"fileUri": "files/1"}}]}],
                "generationConfig": {"maxOutputTokens": 9}}),
            300,
        ),
    ];
    for (at, (path, body, rate)) in cases.into_iter().enumerate() {
        let reply = rig.call(post(path, &body)).await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
        let held = last(&rig, at + 1).await.hold.get();
        assert!(held >= 200_000 * rate, "{body}: {held}");
    }
    rig.stop().await;
}

/// A stream of pieces of 400 bytes of text, 100 tokens each, without an end.
fn endless(path: &str) -> Script {
    let text = "word".repeat(100);
    let piece = |piece: Value| format!("data: {piece}\n\n");
    let (first, each) = match path {
        CHAT => {
            (String::new(), piece(json!({"id": "c1", "choices": [{"index": 0, "delta": {"content": text}}]})))
        }
        RESPONSES => (
            piece(json!({"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}})),
            piece(json!({"type": "response.output_text.delta", "sequence_number": 7, "delta": text})),
        ),
        MESSAGES => (
            piece(
                json!({"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}),
            ),
            piece(
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            ),
        ),
        _ => (String::new(), piece(json!({"candidates": [{"content": {"parts": [{"text": text}]}}]}))),
    };
    let mut script = Script::sse().chunk(first.clone() + &each);
    for _ in 0..400 {
        script = script.chunk(&each);
    }
    script.hang()
}

/// Checks the end of an answer whose provider goes on beyond every limit.
fn check_ended_in_order(path: &str, reply: &Reply) {
    let text = reply.text();
    let tail = match path {
        CHAT => vec!["\"finish_reason\":\"length\"", "data: [DONE]\n\n"],
        RESPONSES => {
            vec!["event: response.incomplete\n", "\"reason\":\"max_output_tokens\"", "\"sequence_number\":8"]
        }
        MESSAGES => vec!["content_block_stop", "\"stop_reason\":\"max_tokens\"", "message_stop"],
        _ => vec!["\"finishReason\":\"MAX_TOKENS\""],
    };
    for words in tail {
        assert!(text.contains(words), "{path}: {words} in {:?}", &text[text.len().saturating_sub(900)..]);
    }
    assert!(text.ends_with("\n\n"));
    for event in text.split("\n\n").filter(|event| !event.is_empty()) {
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).expect("an event with data");
        assert!(data == "[DONE]" || serde_json::from_str::<Value>(data).is_ok(), "{path}: {data}");
    }
}

#[tokio::test]
async fn an_answer_that_the_balance_carries_no_further_ends_as_at_its_limit() {
    let cases = [
        (CHAT, CHAT.to_owned(), json!({"model": "gpt-4o", "stream": true, "max_tokens": 16_000})),
        (
            CHAT,
            CHAT.to_owned(),
            json!({"model": "gpt-4o", "stream": true, "stream_options": {"include_usage": true}}),
        ),
        (RESPONSES, RESPONSES.to_owned(), json!({"model": "gpt-4o", "stream": true, "input": "a"})),
        (
            MESSAGES,
            MESSAGES.to_owned(),
            json!({"model": "claude-sonnet-4-5", "stream": true, "max_tokens": 64_000}),
        ),
        (FLASH, format!("{FLASH}:streamGenerateContent?alt=sse"), json!({"contents": []})),
    ];
    for (path, target, body) in cases {
        let rig = rig_of(12).await;
        rig.upstream.enqueue(endless(path));
        let reply = rig.call(post(&target, &body)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        check_ended_in_order(path, &reply);
        rig.upstream.next().await.closed().await;
        let record = last(&rig, 1).await;
        assert_eq!(record.outcome, Outcome::Partial, "{path}");
        // A piece passes that nothing covers: 100 tokens.
        assert!(record.charge.get() <= 12_000_000 + 100 * 15_000, "{path}: {}", record.charge);
        assert!(record.charge.get() > 9_000_000, "{path}: {}", record.charge);
        assert!(record.hold.get() <= 12_000_000 && record.hold.get() > 9_000_000, "{path}: {}", record.hold);
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_hold_begins_with_a_typical_answer_and_grows_with_a_longer_one() {
    let rig = rig_of(300).await;
    let usage = |tokens: u64| {
        format!(
            "data: {}\n\ndata: [DONE]\n\n",
            json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": tokens}})
        )
    };
    let said = |words: usize| {
        format!("data: {}\n\n", json!({"choices": [{"delta": {"content": "word".repeat(words)}}]}))
    };
    let request = post(CHAT, &json!({"model": "gpt-4o", "stream": true, "max_tokens": 16_000}));
    rig.upstream.respond(move |_| Script::sse().chunk(said(500)).chunk(usage(500)).end());
    for count in 1..=4 {
        rig.call(request.clone()).await;
        rig.records(count).await;
    }
    // From now on the model is known to say what it uses: twice the mean of 500 is held for a beginning.
    let gate = Gate::new();
    let closed = gate.clone();
    let said = move |words: usize| {
        format!("data: {}\n\n", json!({"choices": [{"delta": {"content": "word".repeat(words)}}]}))
    };
    rig.upstream.respond(move |_| {
        let mut script = Script::sse().chunk(said(10)).gate(&closed);
        for _ in 0..40 {
            script = script.chunk(said(100));
        }
        script.chunk(usage(4_010)).end()
    });
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let (addr, request) = (rig.addr(), request.clone().bearer(rig.key("alice")));
        calls.spawn(async move { client::call(addr, &request).await });
    }
    for _ in 0..4 {
        gate.reached().await;
    }
    (0..4).for_each(|_| gate.open());
    for reply in calls.join_all().await {
        assert!(reply.status == 200 && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.status);
        assert!(!reply.text().contains("\"length\""));
    }
    let grown = rig.records(8).await.split_off(4);
    for record in grown {
        assert_eq!((record.outcome, record.usage.output_total()), (Outcome::Ok, 4_010));
        assert!(record.hold >= record.charge, "{} for {}", record.hold, record.charge);
    }
    rig.stop().await;
}
