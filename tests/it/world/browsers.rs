//! Web pages: what a browser asks before it lets a page call, and what it lets the page read.

use serde_json::json;
use tollgate_server::config::Origin;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

use super::doors::{CHAT, chat};

const EVENTS: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n";

async fn opened_to(origins: &[&str]) -> Rig {
    let rig = Rig::with(|setup| {
        let origins = origins.iter().map(|origin| Origin::try_from((*origin).to_owned()).expect("an origin"));
        setup.config.server.cors_origins = origins.collect();
    })
    .await;
    rig.upstream.respond(|request| {
        let foreign = ("access-control-allow-origin", "https://provider.example");
        let length = ("x-ratelimit-remaining-requests", "7");
        if request.json()["stream"] == true {
            let head = [("content-type", "text/event-stream"), foreign];
            return Script::chunked(200, &head).chunk(EVENTS).end();
        }
        let head = [("content-type", "application/json"), foreign, length];
        Script::whole(200, &head, r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#)
    });
    rig
}

fn preflight(path: &str, origin: &str) -> Request {
    Request::new("OPTIONS", path)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-stainless-os")
}

fn allowed(reply: &Reply) -> Option<&str> {
    reply.header("access-control-allow-origin")
}

#[tokio::test]
async fn a_page_that_may_call_is_told_so_before_and_after() {
    let rig = opened_to(&["https://chat.example.com", "http://localhost:*"]).await;
    for origin in ["https://chat.example.com", "http://localhost:5173"] {
        for path in [CHAT, "/v1/messages", "/v1beta/models/m:generateContent", "/v1/models", "/v1/nothing"] {
            let told = client::call(rig.addr(), &preflight(path, origin)).await;
            assert_eq!((told.status, allowed(&told)), (204, Some(origin)), "{path}");
            let headers = told.header("access-control-allow-headers");
            assert_eq!(headers, Some("authorization,content-type,x-stainless-os"));
            assert!(told.header("access-control-allow-methods").is_some_and(|it| it.contains("POST")));
            assert!(told.header("vary").is_some_and(|vary| vary.contains("origin")));
            assert_eq!(told.header("access-control-allow-credentials"), None);
        }
        // Answers, streams and every refusal can be read by the page.
        let mut streamed = chat();
        streamed["stream"] = json!(true);
        let (good, bad) = (rig.key("alice").to_owned(), "stale".to_owned());
        for (request, key, status) in [
            (Request::post(CHAT, &chat()), &good, 200),
            (Request::post(CHAT, &streamed), &good, 200),
            (Request::post(CHAT, &json!({})), &good, 400),
            (Request::post(CHAT, &chat()), &bad, 401),
            (Request::post("/v1/nothing", &chat()), &good, 404),
            (Request::get(CHAT), &good, 405),
            (Request::post(CHAT, &json!({"model": "none", "messages": []})), &good, 404),
            (Request::get("/v1/models"), &good, 200),
            (Request::new("POST", CHAT).header("x_api_key", "1"), &good, 400),
        ] {
            let reply = client::call(rig.addr(), &request.clone().header("origin", origin).bearer(key)).await;
            assert_eq!((reply.status, allowed(&reply)), (status, Some(origin)), "{request:?}");
            let exposed = reply.header("access-control-expose-headers").unwrap_or_default();
            assert!(exposed.contains("x-tollgate-request-id"), "{request:?}: {exposed}");
            assert!(reply.header("vary").is_some_and(|vary| vary.contains("origin")));
            if reply.header("x-ratelimit-remaining-requests").is_some() {
                assert!(exposed.contains("x-ratelimit-remaining-requests"), "{exposed}");
            }
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_page_that_may_not_call_is_told_nothing() {
    for (origins, origin) in [
        (&[][..], "https://chat.example.com"),
        (&["https://chat.example.com"], "https://evil.example"),
        (&["https://chat.example.com"], "https://chat.example.com.evil.example"),
        (&["https://chat.example.com"], "http://chat.example.com"),
        (&["https://*.example.com"], "https://example.com"),
        (&["http://localhost:*"], "null"),
    ] {
        let rig = opened_to(origins).await;
        let call = Request::post(CHAT, &chat()).bearer(rig.key("alice")).header("origin", origin);
        for request in [preflight(CHAT, origin), call] {
            let reply = client::call(rig.addr(), &request).await;
            assert!(reply.status < 300, "{}", reply.text());
            let head = format!("{:?}", reply.head).to_ascii_lowercase();
            assert!(!head.contains("access-control-"), "{origin}: {head}");
        }
        // What is told differs by page, and caches have to know.
        let vary = rig.call(Request::get("/v1/models")).await.header("vary").map(str::to_owned);
        assert_eq!(vary.is_some(), !origins.is_empty(), "{vary:?}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_gateway_that_is_open_to_all_pages_says_so_to_each() {
    let rig = opened_to(&["*"]).await;
    let private = preflight(CHAT, "null").header("access-control-request-private-network", "true");
    let told = client::call(rig.addr(), &private).await;
    assert_eq!((told.status, allowed(&told)), (204, Some("*")));
    assert_eq!(told.header("access-control-allow-private-network"), Some("true"));
    let reply = rig.call(Request::post(CHAT, &chat())).await;
    assert_eq!((reply.status, allowed(&reply)), (200, Some("*")), "also where nobody says whence");
    assert_eq!(
        reply.head.headers.iter().filter(|(name, _)| name.starts_with("access-control-allow")).count(),
        1
    );
    // A list that is none is not repeated.
    let odd = Request::new("OPTIONS", CHAT)
        .header("origin", "https://a.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "a; b=\"<script>\"");
    let told = client::call(rig.addr(), &odd).await;
    assert_eq!((told.status, told.header("access-control-allow-headers")), (204, None));
    // The operators' address is no page's.
    let request = preflight("/management/v1/me", "https://a.example");
    let told = client::call(rig.admin_addr(), &request).await;
    assert_eq!(allowed(&told), None);
    rig.stop().await;
}
