//! What a network in between answers says nothing of a provider's keys, and what a provider says of a model that there
//! is not reaches the client.

use serde_json::json;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use tollgate_server::config::Attempts;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

use crate::translation::{answer, ask, foreign, model, rig};

/// Pages and words of networks: media type and body.
const FOREIGN: [(&str, &str); 9] = [
    ("text/html", "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head></html>"),
    ("application/json", "\n  <html><body>Sign in to the guest network</body></html>"),
    ("text/plain", "Forbidden"),
    ("text/plain", "error code: 1020"),
    ("application/json", r#"{"message":"Unauthorized"}"#),
    ("application/json", r#"{"error":"unauthorized","redirect":"https://login.example"}"#),
    ("application/json", r#"{"status":401,"title":"Unauthorized","detail":"No session."}"#),
    ("application/json", "[]"),
    ("", ""),
];

#[tokio::test]
async fn what_a_network_answers_rests_and_disables_no_key() {
    for upstream in [OpenaiChat, AnthropicMessages, Gemini] {
        let rig = rig(upstream).await;
        let (model, _) = model(upstream);
        for status in [401, 402, 403] {
            for (kind, body) in FOREIGN {
                // A check of the key meets the same.
                rig.upstream.respond(move |_| Script::whole(status, &[("content-type", kind)], body));
                for client in std::iter::once(upstream).chain(foreign(upstream).take(1)) {
                    let reply = rig.call(ask(client, model, false)).await;
                    assert!(reply.status >= 400, "{upstream:?} {status} {body}: {}", reply.text());
                    assert!(!reply.text().contains("guest network"), "{}", reply.text());
                }
            }
        }
        rig.upstream.respond(move |_| Script::json(200, answer(upstream)));
        let reply = rig.call(ask(upstream, model, false)).await;
        assert_eq!(reply.status, 200, "{upstream:?}: the key serves on: {}", reply.text());
        let records = rig.records(2 * 3 * FOREIGN.len() + 1).await;
        let refused = records.iter().filter(|record| record.outcome != Outcome::Ok);
        assert!(refused.clone().all(|record| record.charge == Micropoints::ZERO));
        assert_eq!(refused.count(), 2 * 3 * FOREIGN.len());
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_page_in_place_of_an_answer_is_none_and_costs_nothing() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let (model, _) = model(upstream);
        let mut count = 0;
        for client in std::iter::once(upstream).chain(foreign(upstream)) {
            for stream in [false, true] {
                for kind in ["text/html", "application/json", "text/event-stream"] {
                    let page = "<html><body>Welcome! Please accept our terms.</body></html>";
                    rig.upstream.enqueue(Script::whole(200, &[("content-type", kind)], page));
                    let reply = rig.call(ask(client, model, stream)).await;
                    assert_eq!(reply.status, 502, "{client:?} of {upstream:?}: {}", reply.text());
                    count += 1;
                }
            }
        }
        let records = rig.records(count).await;
        assert!(records.iter().all(|record| record.charge == Micropoints::ZERO));
        rig.upstream.enqueue(Script::json(200, answer(upstream)));
        assert_eq!(rig.call(ask(upstream, model, false)).await.status, 200, "{upstream:?}");
        rig.stop().await;
    }
}

/// Pages that a network in between has for "not now".
const BUSY: [(&str, &str); 3] = [
    ("text/html", "<!DOCTYPE html><html><title>Access denied | Error 1015 | rate limited</title></html>"),
    ("application/json", "\n<html><head><title>502 Bad Gateway</title></head><center>nginx</center></html>"),
    ("", "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code></Error>"),
];

#[tokio::test]
async fn a_page_of_a_network_that_is_busy_rests_no_key_and_sets_nobodys_wait() {
    for upstream in [OpenaiChat, AnthropicMessages, Gemini] {
        let rig = rig(upstream).await;
        let (model, _) = model(upstream);
        for status in [429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529] {
            for (kind, body) in BUSY {
                for client in std::iter::once(upstream).chain(foreign(upstream).take(1)) {
                    let headers = [("content-type", kind), ("retry-after", "86400")];
                    rig.upstream.enqueue(Script::whole(status, &headers, body));
                    let reply = rig.call(ask(client, model, false)).await;
                    let what = format!("{client:?} of {upstream:?}, {status} {kind}: {}", reply.text());
                    assert_eq!((reply.status, reply.header("retry-after")), (502, Some("1")), "{what}");
                    assert!(!reply.text().contains("1015"), "{what}");
                    rig.upstream.enqueue(Script::json(200, answer(upstream)));
                    assert_eq!(rig.call(ask(client, model, false)).await.status, 200, "{what}");
                }
            }
        }
        // The provider's own word counts as before.
        let own = r#"{"error":{"message":"Slow down.","type":"rate_limit_error","code":429,"status":"RESOURCE_EXHAUSTED"}}"#;
        let headers = [("content-type", "application/json"), ("retry-after", "40")];
        rig.upstream.enqueue(Script::whole(429, &headers, own));
        for _ in 0..2 {
            let reply = rig.call(ask(upstream, model, false)).await;
            let wait: u64 = reply.header("retry-after").and_then(|wait| wait.parse().ok()).expect("a wait");
            assert!(
                reply.status == 429 && (30..=40).contains(&wait),
                "{upstream:?}: {wait} {}",
                reply.text()
            );
        }
        rig.stop().await;
    }
}

/// What providers say of a model or a deployment that there is not.
const MISSING: [(Protocol, &str, &str); 7] = [
    (
        OpenaiChat,
        r#"{"error":{"message":"The model `nope` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
        "you do not have access to it",
    ),
    (
        OpenaiChat,
        r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#,
        "deployment for this resource",
    ),
    (OpenaiChat, r#"{"error":"model 'nope' not found, try pulling it first"}"#, "try pulling it first"),
    (
        OpenaiChat,
        r#"{"object":"error","message":"The model `nope` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
        "does not exist.",
    ),
    (OpenaiChat, r#"{"detail":"No such model is loaded"}"#, "No such model is loaded"),
    (
        AnthropicMessages,
        r#"{"type":"error","error":{"type":"not_found_error","message":"model: nope-5-1"},"request_id":"req_1"}"#,
        "model: nope-5-1",
    ),
    (
        Gemini,
        r#"{"error":{"code":404,"message":"models/nope is not found for API version v1beta.","status":"NOT_FOUND"}}"#,
        "not found for API version",
    ),
];

#[tokio::test]
async fn a_provider_that_does_not_know_a_model_says_so_in_its_own_words() {
    for credentials in [1, 2] {
        for (upstream, body, words) in MISSING {
            let rig = crate::translation::rig_with(upstream, |setup| {
                setup.config.limits.attempts_max = Attempts(3);
                let provider = match upstream {
                    AnthropicMessages => "anthropic",
                    Gemini => "google",
                    _ => "openai",
                };
                setup.credentials = (0..credentials).map(|_| (provider, None, "a key of it", 100)).collect();
            })
            .await;
            let (model, _) = model(upstream);
            rig.upstream.respond(move |_| Script::json(404, body));
            for client in std::iter::once(upstream).chain(foreign(upstream)) {
                for stream in [false, true] {
                    let reply = rig.call(ask(client, model, stream)).await;
                    assert_eq!(reply.status, 404, "{client:?} of {upstream:?}: {}", reply.text());
                    assert!(reply.text().contains(words), "{client:?} of {upstream:?}: {}", reply.text());
                    assert!(reply.json().is_object(), "{client:?}");
                    if client == upstream && body.contains("\"error\":{") {
                        assert_eq!(reply.text(), body, "word for word");
                    }
                }
            }
            rig.stop().await;
        }
    }
}

#[tokio::test]
async fn a_model_that_one_credential_lacks_is_served_by_another() {
    let rig = Rig::with(|setup| {
        setup.credentials = vec![("openai", None, "without", 100), ("openai", None, "with", 100)];
    })
    .await;
    let missing = MISSING[0].1;
    rig.upstream.respond(move |request| match request.header("authorization") {
        Some("Bearer with") => Script::json(200, answer(OpenaiChat)),
        _ => Script::json(404, missing),
    });
    for client in [OpenaiChat, OpenaiResponses, AnthropicMessages] {
        let reply = rig.call(ask(client, "gpt-4o", false)).await;
        if client == OpenaiResponses {
            // It speaks both of OpenAI's protocols, and answers in the wrong one here.
            continue;
        }
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    rig.stop().await;
}

#[tokio::test]
async fn plain_words_of_a_refusal_are_told_and_a_page_is_not() {
    let rig = Rig::start().await;
    for (kind, body, told) in [
        ("text/plain", "model nope is not loaded\n", "model nope is not loaded"),
        ("application/json", r#"{"msg":"no such engine"}"#, "no such engine"),
        ("application/json", r#"{"detail":{"message":"no such engine"}}"#, "no such engine"),
        ("text/html", "<h1>404 not here</h1>", "does not take this request"),
        ("text/plain", "", "does not take this request"),
    ] {
        rig.upstream.enqueue(Script::whole(404, &[("content-type", kind)], body));
        let body = json!({"model": "gpt-4o", "messages": []});
        let reply = rig.call(tollgate_tests::client::Request::post("/v1/chat/completions", &body)).await;
        assert_eq!(reply.status, 404, "{kind}");
        let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(told), "{kind} {body}: {message}");
        assert!(!message.contains('<'), "{message}");
    }
    rig.stop().await;
}
