//! The doors that clients try: paths as base addresses make them, keys in two places, bodies as shells and serializers
//! write them, lists in the shape of their path.

use bytes::Bytes;
use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_tests::client::{self, Connection, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::http2::Http2;
use tollgate_tests::upstream::Script;

pub(super) const CHAT: &str = "/v1/chat/completions";
const CHAT_ANSWER: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;
const MESSAGE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"x","stop_reason":"end_turn","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":10,"output_tokens":5}}"#;
const CANDIDATE: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}}"#;

fn answer(target: &str) -> Script {
    match target {
        _ if target.starts_with("/v1/chat") => Script::json(200, CHAT_ANSWER),
        _ if target.contains("generateContent") => Script::json(200, CANDIDATE),
        _ if target.contains("countTokens") => Script::json(200, r#"{"totalTokens":3}"#),
        _ => Script::json(200, MESSAGE),
    }
}

/// A gateway whose providers answer.
pub(super) async fn answering() -> Rig {
    let rig = Rig::start().await;
    rig.upstream.respond(|request| answer(&request.target));
    rig
}

pub(super) fn chat() -> Value {
    json!({"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
}

fn message() -> Value {
    json!({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
}

fn contents() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
}

#[tokio::test]
async fn a_path_is_found_however_a_base_address_spells_it() {
    let rig = answering().await;
    let (messages, flash) = ("/v1/messages", "/v1beta/models/gemini-2.5-flash:generateContent");
    for (path, body, target) in [
        ("/chat/completions", chat(), CHAT),
        ("/v1/chat/completions/", chat(), CHAT),
        ("//v1/chat/completions", chat(), CHAT),
        ("/v1//chat//completions", chat(), CHAT),
        ("/v1/v1/chat/completions", chat(), CHAT),
        ("/v1/chat/c%6Fmpletions", chat(), CHAT),
        ("/api/v1/chat/completions", chat(), CHAT),
        ("/openai/v1/chat/completions", chat(), CHAT),
        ("/v1beta/openai/chat/completions", chat(), CHAT),
        ("/messages", message(), messages),
        ("/v1/v1/messages", message(), messages),
        ("/anthropic/v1/messages?beta=true", message(), "/v1/messages?beta=true"),
        ("/v1beta/models/gemini-2.5-flash%3AgenerateContent", contents(), flash),
        ("/v1/v1beta/models/gemini-2.5-flash:generateContent", contents(), flash),
        ("/models/gemini-2.5-flash:generateContent", contents(), flash),
        ("/v1beta/models/gemini-2.5-fl%61sh%3agenerateContent/", contents(), flash),
        ("/v1/publishers/google/models/gemini-2.5-flash:generateContent", contents(), flash),
    ] {
        let reply = rig.call(Request::post(path, &body)).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert_eq!(rig.upstream.next().await.target, target, "{path}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_told_which_was_probably_meant() {
    let rig = answering().await;
    let told = |reply: &Reply| reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    for (path, meant) in [
        ("/v1/chat/completion", "`/v1/chat/completions`"),
        ("/v1/Chat/Completions", "`/v1/chat/completions`"),
        ("/llm/v1/messages", "`/v1/messages`"),
        ("/v1/chat/completions/v1/chat/completions", "`/v1/chat/completions`"),
        ("/v1beta/models/gemini-2.5-flash:generateContents", "`/v1beta/models/{model}:generateContent`"),
        ("/api/generate", "`/v1/chat/completions`"),
        ("/v1/response", "`/v1/responses`"),
    ] {
        let reply = rig.call(Request::post(path, &chat())).await;
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
        assert!(told(&reply).contains(meant), "{path}: {}", reply.text());
    }
    for path in ["/v1/threads", "/favicon.ico", "/v1/../admin", "/v1/%2e%2e/chat/completions/x"] {
        let reply = rig.call(Request::post(path, &chat())).await;
        assert_eq!((reply.status, &*told(&reply)), (404, "There is nothing at this path."), "{path}");
    }
    assert_eq!(rig.upstream.count(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn who_asks_for_a_head_gets_one_and_who_asks_what_a_path_takes_is_told() {
    let rig = answering().await;
    let full = rig.call(Request::get("/v1/models")).await;
    for (method, path, status, header) in [
        ("GET", "/", 200, ("content-length", "3".to_owned())),
        ("HEAD", "/", 200, ("content-length", "3".to_owned())),
        ("HEAD", "/health", 200, ("content-type", "text/plain".to_owned())),
        ("HEAD", "/v1/models", 200, ("content-length", full.body.len().to_string())),
        ("HEAD", "/v1/models/gpt-4o", 200, ("content-type", "application/json".to_owned())),
        ("HEAD", "/v1/models/gpt-0", 404, ("content-type", "application/json".to_owned())),
        ("HEAD", "/v1/messages", 405, ("allow", "POST".to_owned())),
        ("OPTIONS", "/v1/messages", 204, ("allow", "POST".to_owned())),
        ("OPTIONS", "/v1/models", 204, ("allow", "GET, HEAD".to_owned())),
        ("OPTIONS", "/chat/completions", 204, ("allow", "POST".to_owned())),
        ("OPTIONS", "/v1/nothing", 404, ("content-type", "application/json".to_owned())),
        ("PUT", "/v1/models", 405, ("allow", "GET, HEAD".to_owned())),
    ] {
        let mut connection = Connection::open(rig.addr()).await;
        connection.send(&Request::new(method, path).bearer(rig.key("alice"))).await;
        let head = connection.head().await;
        assert_eq!(head.word(1), status.to_string(), "{method} {path}");
        assert_eq!(head.header(header.0), Some(&*header.1), "{method} {path}");
        if method == "HEAD" {
            // What follows of the connection is the next answer, and no body.
            connection.send(&Request::get("/health")).await;
            assert_eq!(connection.head().await.word(1), "200", "{path}");
        }
    }
    // Without a key there is a greeting and nothing else.
    assert_eq!(client::call(rig.addr(), &Request::get("/health")).await.text(), "ok\n");
    assert_eq!(client::call(rig.addr(), &Request::get("/v1/models")).await.status, 401);
    rig.stop().await;
}

#[tokio::test]
async fn a_good_key_serves_beside_a_stale_one_and_two_good_ones_are_named() {
    let rig = Rig::with(|setup| setup.users.push(("bob", Micropoints::from_points(10)))).await;
    rig.upstream.respond(|request| answer(&request.target));
    let (alice, bob, stale) = (rig.key("alice"), rig.key("bob"), "sk-stale");
    let bearer = |key: &str| format!("Bearer {key}");
    let ask = |headers: &[(&str, &str)], query: &str| {
        let request = Request::post(&format!("/v1/messages{query}"), &message());
        headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    for (headers, query) in [
        (vec![("authorization", bearer(stale)), ("x-api-key", alice.to_owned())], String::new()),
        (vec![("authorization", bearer(alice)), ("x-api-key", stale.to_owned())], String::new()),
        (vec![("x-goog-api-key", stale.to_owned())], format!("?key={alice}")),
        (vec![("authorization", bearer(stale)), ("authorization", bearer(alice))], String::new()),
        (vec![("authorization", bearer(alice)), ("api-key", alice.to_owned())], String::new()),
        (vec![("authorization", alice.to_owned())], String::new()),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = client::call(rig.addr(), &ask(&headers, &query)).await;
        assert_eq!(reply.status, 200, "{headers:?}: {}", reply.text());
        let sent = rig.upstream.next().await;
        let head = format!("{} {:?}", sent.target, sent.head);
        assert!(!head.contains(stale) && !head.contains(alice), "no key goes up: {head}");
    }
    let both = [("authorization", bearer(alice)), ("x-api-key", bob.to_owned())];
    let both = both.each_ref().map(|(name, value)| (*name, value.as_str()));
    let reply = client::call(rig.addr(), &ask(&both, "")).await;
    let words = "Two API keys were sent, in `authorization` and in `x-api-key`: send one of them.";
    assert_eq!((reply.status, &reply.json()["error"]["message"]), (400, &json!(words)));
    let none = [("x-api-key", stale), ("api-key", "another")];
    assert_eq!(client::call(rig.addr(), &ask(&none, "")).await.status, 401);
    rig.stop().await;
}

#[tokio::test]
async fn a_body_is_read_as_shells_and_serializers_write_it() {
    let rig = answering().await;
    let body = r#"{"model":"gpt-4o","MAX":NUMBER,"messages":[{"role":"user","content":"1e3 or 256.0"}]}"#;
    let spelt = |name: &str, number: &str| body.replace("MAX", name).replace("NUMBER", number);
    for (sent, expected) in [
        (spelt("max_tokens", "256.0"), spelt("max_tokens", "256")),
        (spelt("max_completion_tokens", "1e3"), spelt("max_completion_tokens", "1000")),
        (spelt("n", "1.0"), spelt("n", "1")),
        (spelt("seed", "7.0"), spelt("seed", "7.0")),
        (spelt("temperature", "1.0"), spelt("temperature", "1.0")),
        (format!("\u{feff}{}", spelt("n", "1")), spelt("n", "1")),
        (
            format!("\u{feff}\r\n {}", spelt("max_tokens", "2e1")),
            format!("\r\n {}", spelt("max_tokens", "20")),
        ),
    ] {
        let reply = rig.call(Request::new("POST", CHAT).body(sent.clone())).await;
        assert_eq!(reply.status, 200, "{sent}: {}", reply.text());
        assert_eq!(String::from_utf8_lossy(&rig.upstream.next().await.body), expected, "{sent}");
    }
    // The same where the body is translated.
    let claude = spelt("max_tokens", "256.0").replace("gpt-4o", "claude-haiku-4-5");
    assert_eq!(rig.call(Request::new("POST", CHAT).body(claude)).await.status, 200);
    assert_eq!(rig.upstream.next().await.json()["max_tokens"], json!(256));
    for wrong in ["1.5", "-1.0", "1e400", "\"256\""] {
        let reply = rig.call(Request::new("POST", CHAT).body(spelt("max_tokens", wrong))).await;
        assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("max_tokens")), "{wrong}");
    }
    for garbage in [&b"\xff\xfe{\0}\0"[..], b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf{}"] {
        assert_eq!(rig.call(Request::new("POST", CHAT).body(garbage)).await.status, 400, "{garbage:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn one_object_stands_for_a_list_of_one_where_google_takes_it_so() {
    let rig = answering().await;
    let text = json!({"text": "hi"});
    let declared = json!({"functionDeclarations": {"name": "now", "parameters": {"type": "object"}}});
    for body in [
        json!({"contents": {"parts": {"text": "hi"}}}),
        json!({"contents": {"role": "user", "parts": [text]}}),
        json!({"contents": [{"parts": text}], "systemInstruction": {"parts": text}}),
        json!({"contents": contents()["contents"], "tools": declared}),
        json!({"contents": contents()["contents"], "generationConfig": {"stopSequences": "END"}}),
    ] {
        // In its own protocol as it is, and translated as the list that it stands for.
        for model in ["gemini-2.5-flash", "gpt-4o", "claude-haiku-4-5"] {
            let target = format!("/v1beta/models/{model}:generateContent");
            let reply = rig.call(Request::post(&target, &body)).await;
            assert_eq!(reply.status, 200, "{model} {body}: {}", reply.text());
            let sent = rig.upstream.next().await.json();
            if model.starts_with("gemini") {
                assert_eq!(sent, body);
            } else {
                let last = sent["messages"].as_array().and_then(|messages| messages.last().cloned());
                assert!(last.is_some_and(|last| last.to_string().contains("hi")), "{sent}");
            }
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_mark_of_a_long_context_is_no_part_of_a_models_name() {
    let rig = answering().await;
    for (path, body, plain) in [
        ("/v1/messages", message(), "claude-haiku-4-5"),
        (CHAT, chat(), "gpt-4o"),
        (CHAT, message(), "claude-haiku-4-5"),
    ] {
        for mark in ["[1m]", "[1M]"] {
            let mut marked = body.clone();
            marked["model"] = json!(format!("{plain}{mark}"));
            let beta = "context-1m-2025-08-07";
            let reply = rig.call(Request::post(path, &marked).header("anthropic-beta", beta)).await;
            assert_eq!(reply.status, 200, "{marked}: {}", reply.text());
            assert_eq!(rig.upstream.next().await.json()["model"], json!(plain));
        }
    }
    let records = rig.records(6).await;
    assert!(records.iter().all(|record| record.model.as_ref().is_some_and(|model| !model.contains('['))));
    let one = rig.call(Request::get("/v1/models/claude-haiku-4-5%5B1m%5D")).await;
    assert_eq!((one.status, &one.json()["id"]), (200, &json!("claude-haiku-4-5")));
    for unknown in ["claude-0[1m]", "gpt-4o[2m]", "[1m]", "gpt-4o[1m][1m]"] {
        let mut marked = chat();
        marked["model"] = json!(unknown);
        let reply = rig.call(Request::post(CHAT, &marked)).await;
        assert_eq!(reply.status, 404, "{unknown}: {}", reply.text());
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_list_of_models_has_the_shape_of_its_path() {
    let rig = answering().await;
    let anthropic = ("anthropic-version", "2023-06-01");
    for (path, header, member) in [
        ("/v1/models", ("x", "y"), "object"),
        ("/models", ("x", "y"), "object"),
        ("/openai/v1/models", anthropic, "object"),
        ("/v1beta/openai/models", ("x", "y"), "object"),
        ("/v1/models", anthropic, "first_id"),
        ("/anthropic/v1/models", ("x", "y"), "first_id"),
        ("/v1beta/models", anthropic, "models"),
        ("/v1beta/models", ("x", "y"), "models"),
        ("/v1/models?client_version=0.151.0", ("x", "y"), "models"),
    ] {
        let list = rig.call(Request::get(path).header(header.0, header.1)).await;
        assert_eq!(list.status, 200, "{path}");
        assert!(!list.json()[member].is_null(), "{path} {header:?}: {}", list.text());
    }
    for (path, header, member, value) in [
        ("/v1beta/models/gemini-2.5-flash", anthropic, "name", "models/gemini-2.5-flash"),
        ("/v1beta/models/gpt-4o", ("x", "y"), "name", "models/gpt-4o"),
        (
            "/v1beta/models/claude-haiku-4-5",
            ("user-agent", "OpenAI/Python"),
            "name",
            "models/claude-haiku-4-5",
        ),
        ("/v1/models/gemini-2.5-flash", ("x", "y"), "id", "gemini-2.5-flash"),
        ("/v1/models/gpt-4o", anthropic, "id", "gpt-4o"),
    ] {
        let one = rig.call(Request::get(path).header(header.0, header.1)).await;
        assert_eq!((one.status, &one.json()[member]), (200, &json!(value)), "{path}");
    }
    let missing = rig.call(Request::get("/v1beta/models/none").header(anthropic.0, anthropic.1)).await;
    assert_eq!((missing.status, &missing.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
    rig.stop().await;
}

#[tokio::test]
async fn codex_is_told_of_the_models_in_its_own_words() {
    let rig = answering().await;
    let list = rig.call(Request::get("/v1/models?client_version=0.151.0")).await.json();
    let models = list["models"].as_array().expect("a list");
    for name in ["gpt-4o", "claude-haiku-4-5", "gemini-2.5-flash"] {
        let model = models.iter().find(|model| model["slug"] == name).expect(name);
        // What its reader cannot do without.
        for member in ["display_name", "shell_type", "visibility", "base_instructions"] {
            assert!(model[member].as_str().is_some_and(|text| !text.is_empty()), "{name}: {member}");
        }
        for member in ["supported_reasoning_levels", "experimental_supported_tools"] {
            assert!(model[member].is_array(), "{name}: {member}");
        }
        assert_eq!(model["truncation_policy"], json!({"mode": "bytes", "limit": 10_000}));
        assert!(model["priority"].is_i64() && model["supported_in_api"] == true);
    }
    assert!(models.iter().all(|model| model["slug"] != "text-embedding-3-small"), "none that only embeds");
    rig.stop().await;
}

#[tokio::test]
async fn a_list_holds_what_the_caller_can_be_served_now() {
    let rig = Rig::with(|setup| {
        setup.users.push(("bob", Micropoints::from_points(10)));
        setup.credentials.retain(|(provider, ..)| *provider == "openai");
        setup.credentials.push(("anthropic", Some("bob"), "bobs-own", 100));
    })
    .await;
    let list = async |user: &str| {
        let list = client::call(rig.addr(), &Request::get("/v1/models").bearer(rig.key(user))).await.text();
        ["gpt-4o", "claude-haiku-4-5", "gemini-2.5-flash"].map(|name| list.contains(&format!("\"{name}\"")))
    };
    assert_eq!(list("alice").await, [true, false, false]);
    assert_eq!(list("bob").await, [true, true, false], "one's own credential counts");
    let one = rig.call(Request::get("/v1/models/claude-haiku-4-5")).await;
    assert_eq!(one.status, 404, "{}", one.text());
    rig.stop().await;
}

#[tokio::test]
async fn a_head_over_http2_has_no_body() {
    let rig = answering().await;
    let mut http2 = Http2::open(rig.addr()).await;
    for path in ["/", "/v1/models", "/v1/models/gpt-0"] {
        let uri = format!("http://{}{path}", rig.addr());
        let request = http::Request::head(uri).header("x-api-key", rig.key("alice")).body(Bytes::new());
        let answer = http2.send(request.expect("a request")).await.reply().await;
        let length = answer.headers.get("content-length").and_then(|length| length.to_str().ok());
        assert!(length.is_some_and(|length| length.parse::<u64>().is_ok_and(|length| length > 0)), "{path}");
        assert_eq!(answer.text, "", "{path}");
    }
    rig.stop().await;
}
