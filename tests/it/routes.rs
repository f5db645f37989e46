//! Every client endpoint reaches the address that its provider documents, the model list speaks each protocol, and a
//! client sees the headers of an answer that are meant for it.

use serde_json::{Value, json};
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

/// The header that carries the platform's credential, and that credential.
const OPENAI: (&str, &str) = ("authorization", "Bearer platform-openai");
const ANTHROPIC: (&str, &str) = ("x-api-key", "platform-anthropic");
const GOOGLE: (&str, &str) = ("x-goog-api-key", "platform-google");

const CHAT: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

/// A client's path and body, and what the upstream is to see: path, body, credential.
struct Endpoint {
    path: String,
    body: Value,
    upstream_path: String,
    upstream_body: Value,
    credential: (&'static str, &'static str),
}

/// A call whose body goes up as it is.
fn endpoint(
    path: &str,
    body: Value,
    upstream_path: &str,
    credential: (&'static str, &'static str),
) -> Endpoint {
    let (path, upstream_path, upstream_body) = (path.to_owned(), upstream_path.to_owned(), body.clone());
    Endpoint { path, body, upstream_path, upstream_body, credential }
}

fn endpoints() -> Vec<Endpoint> {
    let message = json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": []});
    let counted = json!({"model": "claude-sonnet-4-5", "messages": []});
    let mut all = vec![
        endpoint(
            "/v1/chat/completions",
            json!({"model": "gpt-4o", "messages": []}),
            "/v1/chat/completions",
            OPENAI,
        ),
        endpoint("/v1/responses", json!({"model": "gpt-4o", "input": "hi"}), "/v1/responses", OPENAI),
        endpoint(
            "/v1/embeddings",
            json!({"model": "text-embedding-3-small", "input": "hi"}),
            "/v1/embeddings",
            OPENAI,
        ),
        endpoint("/v1/messages", message.clone(), "/v1/messages", ANTHROPIC),
        endpoint("/api/v1/messages", message, "/v1/messages", ANTHROPIC),
        endpoint("/v1/messages/count_tokens", counted.clone(), "/v1/messages/count_tokens", ANTHROPIC),
        endpoint("/api/v1/messages/count_tokens", counted, "/v1/messages/count_tokens", ANTHROPIC),
    ];
    for version in ["v1", "v1beta"] {
        for (model, action) in [
            ("gemini-2.5-flash", "generateContent"),
            ("gemini-2.5-flash", "streamGenerateContent?alt=sse"),
            ("gemini-2.5-flash", "countTokens"),
            ("gemini-embedding-001", "embedContent"),
            ("gemini-embedding-001", "batchEmbedContents"),
        ] {
            let below = format!("models/{model}:{action}");
            let (path, upstream) = (format!("/{version}/{below}"), format!("/v1beta/{below}"));
            all.push(endpoint(&path, json!({"contents": []}), &upstream, GOOGLE));
        }
    }
    for (stream, action) in [(false, "generateContent"), (true, "streamGenerateContent?alt=sse")] {
        all.push(Endpoint {
            path: "/gemini/v1/chat".to_owned(),
            body: json!({"model": "models/gemini-2.5-flash", "stream": stream, "contents": []}),
            upstream_path: format!("/v1beta/models/gemini-2.5-flash:{action}"),
            upstream_body: json!({"contents": []}),
            credential: GOOGLE,
        });
    }
    all
}

#[tokio::test]
async fn every_endpoint_reaches_its_address_upstream_with_the_providers_credential() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, "{\"ok\":true}"));
    let endpoints = endpoints();
    for case in &endpoints {
        let reply = rig.call(Request::post(&case.path, &case.body)).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "{\"ok\":true}"), "{}", case.path);
        let seen = rig.upstream.next().await;
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", case.upstream_path.as_str()));
        assert_eq!(seen.json(), case.upstream_body, "{}", case.path);
        let (header, credential) = case.credential;
        assert_eq!(seen.header(header), Some(credential), "{}", case.path);
        let host = rig.upstream.addr().to_string();
        assert_eq!(seen.header("host"), Some(host.as_str()), "{}", case.path);
    }
    assert_eq!(rig.records(endpoints.len()).await.len(), endpoints.len(), "each call leaves one record");
    rig.stop().await;
}

#[tokio::test]
async fn counting_tokens_and_listing_models_cost_nothing() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, r#"{"input_tokens":14,"totalTokens":14}"#));
    let before = rig.balance("alice").await;
    let counted = json!({"model": "claude-sonnet-4-5", "messages": []});
    assert_eq!(rig.call(Request::post("/v1/messages/count_tokens", &counted)).await.status, 200);
    let gemini = "/v1beta/models/gemini-2.5-flash:countTokens";
    assert_eq!(rig.call(Request::post(gemini, &json!({"contents": []}))).await.status, 200);
    assert_eq!(rig.call(Request::get("/v1/models")).await.status, 200);
    for record in rig.records(2).await {
        assert_eq!((record.charge.get(), record.hold.get()), (0, 0));
    }
    assert_eq!(rig.balance("alice").await, before);
    rig.stop().await;
}

#[tokio::test]
async fn a_models_name_keeps_its_signs_on_the_way_up() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, "{}"));
    // Counting is not priced, so any name may go up.
    for (asked, sent) in [
        ("a%20b%2Fc", "a%20b%2Fc"),
        ("tuned:v1@2", "tuned:v1@2"),
        ("%E6%A8%A1", "%E6%A8%A1"),
        ("..%2F..%2Fadmin%3Fx", "..%2F..%2Fadmin%3Fx"),
    ] {
        let path = format!("/v1beta/models/{asked}:countTokens?x=%20&y");
        assert_eq!(rig.call(Request::post(&path, &json!({}))).await.status, 200, "{asked}");
        assert_eq!(rig.upstream.next().await.target, format!("/v1beta/models/{sent}:countTokens"));
    }
    rig.stop().await;
}

/// A model list, asked for in one protocol's way.
async fn list(rig: &Rig, target: &str, headers: &[(&str, &str)]) -> Reply {
    let request =
        headers.iter().fold(Request::get(target), |request, (name, value)| request.header(name, value));
    client::call(rig.addr(), &request).await
}

#[tokio::test]
async fn the_model_list_has_the_shape_that_the_headers_show() {
    let rig = Rig::start().await;
    let key = rig.key("alice").to_owned();
    let bearer = format!("Bearer {key}");
    let anthropic_version = ("anthropic-version", "2023-06-01");

    let openai = list(&rig, "/v1/models", &[("authorization", &bearer)]).await.json();
    assert_eq!(openai["object"], "list");
    let ids = |list: &Value, member: &str| -> Vec<String> {
        let all = list.as_array().expect("a list").iter();
        all.map(|model| model[member].as_str().expect("a name").to_owned()).collect()
    };
    let names = ids(&openai["data"], "id");
    // Models that generate can be called by every client, embeddings by those of two protocols.
    let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
    for model in
        ["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash", "text-embedding-3-small", "gemini-embedding-001"]
    {
        assert!(has(&names, model), "{model}: {names:?}");
    }
    for model in openai["data"].as_array().unwrap() {
        let owner = if model["id"].as_str().unwrap().starts_with("claude") { "anthropic" } else { "" };
        assert_eq!(model["object"], "model");
        assert!(model["owned_by"].as_str().unwrap().starts_with(owner), "{model}");
    }

    for headers in
        [vec![("x-api-key", key.as_str())], vec![("authorization", bearer.as_str()), anthropic_version]]
    {
        let anthropic = list(&rig, "/v1/models", &headers).await.json();
        let names = ids(&anthropic["data"], "id");
        assert!(has(&names, "claude-sonnet-4-5") && has(&names, "gpt-4o"), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("embedding")), "{names:?}");
        assert_eq!(anthropic["has_more"], false);
        assert_eq!(
            (&anthropic["first_id"], &anthropic["last_id"]),
            (&json!(names[0]), &json!(names[names.len() - 1]))
        );
        assert!(anthropic["data"].as_array().unwrap().iter().all(|model| model["type"] == "model"));
    }

    let by_query = format!("/v1/models?key={key}");
    for (target, headers) in [
        ("/v1beta/models", vec![("authorization", bearer.as_str())]),
        ("/v1/models", vec![("x-goog-api-key", key.as_str())]),
        (
            "/v1/models",
            vec![("authorization", bearer.as_str()), ("user-agent", "google-genai-sdk/1.9 gl-python/3.13")],
        ),
        (by_query.as_str(), vec![]),
    ] {
        let gemini = list(&rig, target, &headers).await.json();
        let names = ids(&gemini["models"], "name");
        assert!(has(&names, "models/gemini-embedding-001") && has(&names, "models/gpt-4o"), "{names:?}");
        assert!(has(&names, "models/text-embedding-3-small"), "{names:?}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn one_model_has_the_same_shapes_and_an_unknown_one_is_not_found() {
    let rig = Rig::start().await;
    let key = rig.key("alice").to_owned();
    let bearer = format!("Bearer {key}");
    let (openai, anthropic, google) = (
        [("authorization", bearer.as_str())],
        [("x-api-key", key.as_str())],
        [("x-goog-api-key", key.as_str())],
    );

    let model = list(&rig, "/v1/models/gpt-4o", &openai).await.json();
    assert_eq!((&model["id"], &model["object"]), (&json!("gpt-4o"), &json!("model")));
    let model = list(&rig, "/v1/models/claude-sonnet-4-5", &anthropic).await.json();
    assert_eq!((&model["id"], &model["type"]), (&json!("claude-sonnet-4-5"), &json!("model")));
    let model = list(&rig, "/v1beta/models/gemini-2.5-flash", &google).await.json();
    assert_eq!(model["name"], "models/gemini-2.5-flash");
    assert!(model["supportedGenerationMethods"].as_array().unwrap().contains(&json!("generateContent")));

    let missing = list(&rig, "/v1/models/none", &openai).await;
    assert_eq!((missing.status, &missing.json()["error"]["code"]), (404, &json!("model_not_found")));
    let missing = list(&rig, "/v1/models/none", &anthropic).await;
    assert_eq!((missing.status, &missing.json()["error"]["type"]), (404, &json!("not_found_error")));
    let missing = list(&rig, "/v1beta/models/none", &google).await;
    assert_eq!((missing.status, &missing.json()["error"]["status"]), (404, &json!("NOT_FOUND")));

    for (target, shape) in
        [("/v1/models", "code"), ("/v1beta/models", "status"), ("/v1/models/gpt-4o", "code")]
    {
        let stranger = client::call(rig.addr(), &Request::get(target)).await;
        assert_eq!(stranger.status, 401, "{target}");
        assert!(stranger.json()["error"][shape].is_string(), "{target}: {}", stranger.text());
    }
    assert!(rig.upstream.requests().is_empty(), "the list is the gateway's own");
    rig.stop().await;
}

#[tokio::test]
async fn every_answer_names_its_request_as_the_record_does() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::json(200, CHAT));
    rig.upstream.enqueue(Script::json(400, r#"{"error":{"message":"no"}}"#));
    let body = json!({"model": "gpt-4o", "messages": []});
    let mut ids = Vec::new();
    for status in [200, 400] {
        let reply = rig.call(Request::post("/v1/chat/completions", &body)).await;
        assert_eq!(reply.status, status);
        ids.push(reply.header("x-tollgate-request-id").expect("an id").to_owned());
    }
    let unknown = json!({"model": "none", "messages": []});
    let refused = rig.call(Request::post("/v1/messages", &unknown)).await;
    let id = refused.header("x-tollgate-request-id").expect("an id").to_owned();
    assert_eq!(refused.json()["request_id"], id);
    ids.push(id);
    let mut recorded: Vec<_> = rig.records(3).await.iter().map(|record| record.request.to_string()).collect();
    recorded.sort();
    ids.sort();
    assert_eq!(recorded, ids);
    // Neither a stranger nor a lost path leaves a record, but both get an id to ask about.
    for request in [Request::get("/nowhere"), Request::post("/v1/messages", &unknown)] {
        let id = client::call(rig.addr(), &request)
            .await
            .header("x-tollgate-request-id")
            .expect("an id")
            .to_owned();
        assert!(!ids.contains(&id));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_client_sees_limits_and_ids_of_the_provider_but_not_the_operators_account_or_connection() {
    let rig = Rig::start().await;
    let headers = [
        ("content-type", "application/json; charset=utf-8"),
        ("x-request-id", "req_123"),
        ("x-ratelimit-remaining-requests", "59"),
        ("anthropic-ratelimit-tokens-remaining", "7000"),
        ("x-custom", "one"),
        ("x-custom", "two"),
        ("set-cookie", "__cf_bm=secret"),
        ("openai-organization", "org-operator"),
        ("openai-project", "proj-operator"),
        ("anthropic-organization-id", "org-operator"),
        ("keep-alive", "timeout=5"),
        ("alt-svc", "h3=\":443\""),
        ("strict-transport-security", "max-age=1"),
        ("x-tollgate-request-id", "made-up"),
    ];
    rig.upstream.respond(move |request| match request.header("x-case") {
        Some("error") => Script::whole(400, &headers, r#"{"error":{"message":"no"}}"#),
        _ => Script::whole(200, &headers, CHAT),
    });
    for case in ["good", "error"] {
        let body = json!({"model": "gpt-4o", "messages": []});
        let reply = rig.call(Request::post("/v1/chat/completions", &body).header("x-case", case)).await;
        let everything = format!("{:?}", reply.head).to_ascii_lowercase();
        for kept in headers.iter().take(6) {
            let found =
                reply.head.headers.iter().any(|(name, value)| (name.as_str(), value.as_str()) == *kept);
            assert!(found, "{kept:?} is missing in {everything}");
        }
        for gone in ["set-cookie", "operator", "keep-alive", "alt-svc", "strict-transport", "made-up"] {
            assert!(!everything.contains(gone), "{gone} in {everything}");
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_a_client_says_of_its_own_connection_and_identity_stays_here() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(Script::json(200, CHAT));
    let request = Request::post("/v1/chat/completions", &json!({"model": "gpt-4o", "messages": []}))
        .header("connection", "keep-alive, x-mine")
        .header("x-mine", "hop")
        .header("te", "trailers")
        .header("cookie", "session=1")
        .header("origin", "http://page")
        .header("referer", "http://page/x")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-real-ip", "10.0.0.1")
        .header("accept-encoding", "gzip")
        .header("x-api-key", "spare")
        .header("openai-beta", "assistants=v2")
        .header("user-agent", "client/1");
    assert_eq!(rig.call(request).await.status, 200);
    let seen = rig.upstream.next().await;
    for gone in ["x-mine", "te", "cookie", "origin", "referer", "x-forwarded-for", "x-real-ip", "x-api-key"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!(seen.header("accept-encoding"), Some("identity"), "the answer is read on its way");
    assert_eq!(
        (seen.header("openai-beta"), seen.header("user-agent")),
        (Some("assistants=v2"), Some("client/1"))
    );
    rig.stop().await;
}
