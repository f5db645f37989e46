//! What has no price is not served: hosted tools, tiers of service and pictures are refused by their names before
//! anything is held, unless the price list or the operator says otherwise.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_tests::client::{Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";
const EMBEDDING: &str = "/v1beta/models/gemini-embedding-001:embedContent";
const GEMINI: &str = "/v1beta/models/gemini-unsearched:generateContent";
const INTERACTIONS: &str = "/v1/interactions";

/// A model of each provider without prices for anything but tokens, and one with them.
const PRICES: &str = r#"
points_per_usd = 1000
"#;

fn list() -> String {
    let model = |name: &str, provider: &str, more: &str| {
        format!(
            "[[model]]\nname = \"{name}\"\nprovider = \"{provider}\"\noutput_tokens_max = 1000\ninput = \"1\"\n\
             cache_read = \"1\"\ncache_write_short = \"1\"\ncache_write_long = \"1\"\noutput = \"2\"\n\
             audio_input = \"1\"\naudio_output = \"2\"\n{more}\n"
        )
    };
    let priced = "web_search = \"0.01\"\nfile_search = \"0.002\"\ncode_interpreter = \"0.03\"\nimage = \"0.04\"\n\
                  image_output = \"30\"\nservice_tiers = { priority = \"2\", fast = \"6\", flex = \"0.5\" }";
    [
        PRICES.to_owned(),
        model("gpt-plain", "openai", ""),
        model("gpt-full", "openai", priced),
        model("claude-plain", "anthropic", ""),
        model("claude-full", "anthropic", priced),
        model("gemini-unsearched", "google", ""),
        model("gemini-full", "google", priced),
    ]
    .concat()
}

/// A gateway with the prices of [`list`], which gives these away.
async fn rig(given_away: &[&str]) -> Rig {
    let names = given_away.iter().map(|name| (*name).to_owned()).collect();
    let rig = Rig::with(|setup| setup.config.limits.unpriced_allowed = names).await;
    let body = json!({"list": list()}).to_string();
    let publish = Request::new("POST", "/management/v1/prices").body(body).bearer(rig.admin_secret());
    let published = tollgate_tests::client::call(rig.admin_addr(), &publish).await;
    assert!([200, 201].contains(&published.status), "{}", published.text());
    tollgate_tests::patiently("the prices", async {
        while ask(&rig, CHAT, json!({"model": "gpt-plain", "plugins": [1]})).await.status == 404 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    rig
}

async fn ask(rig: &Rig, path: &str, body: Value) -> Reply {
    rig.call(Request::new("POST", path).body(body.to_string())).await
}

fn with(mut body: Value, more: &Value) -> Value {
    let members = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(members);
    body
}

/// Requests for what costs extra, and its name: at a model without such prices, and at one with them.
fn extras() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let tool =
        |kind: &str| json!({"tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": kind}]});
    let named = |name: &str| json!({"tools": [{"functionDeclarations": [{"name": "f"}]}, {name: {}}]});
    vec![
        (CHAT, "gpt", json!({"service_tier": "priority"}), "priority"),
        (CHAT, "gpt", json!({"service_tier": "flex"}), "flex"),
        (CHAT, "gpt", json!({"web_search_options": {"search_context_size": "low"}}), "web_search_options"),
        (CHAT, "gpt", json!({"modalities": ["text", "image"]}), "image"),
        (RESPONSES, "gpt", json!({"service_tier": "PRIORITY"}), "PRIORITY"),
        (RESPONSES, "gpt", tool("web_search"), "web_search"),
        (RESPONSES, "gpt", tool("web_search_preview_2025_03_11"), "web_search_preview_2025_03_11"),
        (RESPONSES, "gpt", tool("file_search"), "file_search"),
        (RESPONSES, "gpt", tool("code_interpreter"), "code_interpreter"),
        (RESPONSES, "gpt", tool("image_generation"), "image_generation"),
        (MESSAGES, "claude", json!({"speed": "fast"}), "fast"),
        (MESSAGES, "claude", tool("web_search_20250305"), "web_search_20250305"),
        (MESSAGES, "claude", tool("code_execution_20250825"), "code_execution_20250825"),
        (GEMINI, "gemini", named("google_search"), "google_search"),
        (GEMINI, "gemini", named("googleSearchRetrieval"), "googleSearchRetrieval"),
        (GEMINI, "gemini", named("urlContext"), "urlContext"),
        (GEMINI, "gemini", named("code_execution"), "code_execution"),
        (GEMINI, "gemini", json!({"generationConfig": {"responseModalities": ["IMAGE"]}}), "image"),
        (GEMINI, "gemini", json!({"serviceTier": "priority"}), "priority"),
    ]
}

fn plain(path: &str, model: &str) -> Value {
    match path {
        MESSAGES => json!({"model": model, "max_tokens": 9}),
        GEMINI => json!({}),
        _ => json!({"model": model}),
    }
}

fn path_of(path: &str, model: &str) -> String {
    path.replace("gemini-unsearched", model)
}

#[tokio::test]
async fn what_has_no_price_is_refused_by_name_and_nothing_is_held_or_sent() {
    let rig = rig(&[]).await;
    for (path, family, extra, name) in extras() {
        let model =
            if family == "gemini" { "gemini-unsearched".to_owned() } else { format!("{family}-plain") };
        let reply = ask(&rig, &path_of(path, &model), with(plain(path, &model), &extra)).await;
        assert_eq!(reply.status, 400, "{path} {extra}: {}", reply.text());
        assert!(reply.text().contains(&format!("`{name}`")), "{extra}: {}", reply.text());
    }
    // Types and members that no price list can know.
    for (path, body, name) in [
        (RESPONSES, json!({"model": "gpt-full", "tools": [{"type": "oracle"}]}), "oracle"),
        (CHAT, json!({"model": "gpt-full", "plugins": [{"id": "web"}]}), "plugins"),
        (CHAT, json!({"model": "gpt-full", "search_parameters": {"mode": "on"}}), "search_parameters"),
        (CHAT, json!({"model": "gpt-full", "service_tier": "scale"}), "scale"),
        (MESSAGES, json!({"model": "claude-full", "max_tokens": 9, "inference_geo": "us"}), "inference_geo"),
        (
            MESSAGES,
            json!({"model": "claude-full", "max_tokens": 9, "tools": [{"type": "advisor_1"}]}),
            "advisor_1",
        ),
        (
            INTERACTIONS,
            json!({"model": "gemini-full", "input": "a", "tools": [{"type": "google_maps"}]}),
            "google_maps",
        ),
    ] {
        let reply = ask(&rig, path, body.clone()).await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.text().contains(&format!("`{name}`")), "{body}: {}", reply.text());
    }
    assert_eq!(rig.upstream.count(), 0);
    for record in rig.records(1).await {
        assert_eq!((record.outcome, record.hold.get(), record.attempts), (Outcome::Refused, 0, 0));
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_has_a_price_is_served_and_its_price_is_held() {
    let rig = rig(&[]).await;
    rig.upstream.respond(|_| Script::json(200, "{}"));
    for (path, family, extra, _) in extras() {
        let model = format!("{family}-full");
        let before = rig.upstream.count();
        let reply = ask(&rig, &path_of(path, &model), with(plain(path, &model), &extra)).await;
        assert_eq!((reply.status, rig.upstream.count()), (200, before + 1), "{extra}: {}", reply.text());
    }
    let holds = async |extra: Value| {
        let count = rig.records(1).await.len();
        let body = with(json!({"model": "gpt-full", "max_output_tokens": 1}), &extra);
        assert_eq!(ask(&rig, RESPONSES, body).await.status, 200);
        rig.records(count + 1).await.pop().expect("a record").hold.get()
    };
    let none = holds(json!({"tools": [{"type": "custom", "name": "web_search"}]})).await;
    // A cent is 10 points; three uses unless the request says otherwise, each with what it finds.
    let searched = holds(json!({"tools": [{"type": "web_search"}]})).await;
    assert!(searched >= 3 * 10_000_000, "{searched}, and {none} without");
    let once = holds(json!({"tools": [{"type": "web_search"}], "max_tool_calls": 1})).await;
    assert!((10_000_000..20_000_000).contains(&once), "{once}");
    rig.stop().await;
}

#[tokio::test]
async fn what_the_client_runs_itself_and_what_an_operator_gives_away_is_served() {
    let rig = rig(&["oracle*", "scale", "web_search_20250305"]).await;
    rig.upstream.respond(|_| Script::json(200, "{}"));
    let served = [
        (RESPONSES, json!({"model": "gpt-plain", "tools": [{"type": "function", "name": "web_search"}]})),
        (RESPONSES, json!({"model": "gpt-plain", "tools": [{"type": "custom"}, {"type": "local_shell"}]})),
        (RESPONSES, json!({"model": "gpt-plain", "service_tier": "auto", "tools": [{"type": "mcp"}]})),
        (RESPONSES, json!({"model": "gpt-plain", "tools": [{"type": "oracle_2"}], "service_tier": "scale"})),
        (CHAT, json!({"model": "gpt-plain", "service_tier": "default", "web_search_options": null})),
        (
            MESSAGES,
            json!({"model": "claude-plain", "max_tokens": 9, "service_tier": "standard_only",
            "tools": [{"name": "a", "input_schema": {"type": "object"}}, {"type": "bash_20250124", "name": "bash"}]}),
        ),
        (
            MESSAGES,
            json!({"model": "claude-plain", "max_tokens": 9, "tools": [{"type": "web_search_20250305"}]}),
        ),
        (
            GEMINI,
            json!({"tools": [{"functionDeclarations": [{"name": "googleSearch"}]}, {"googleSearch": null}]}),
        ),
    ];
    for (path, body) in served {
        let reply = ask(&rig, path, body.clone()).await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
    }
    // Nothing of this concerns calls that generate nothing.
    let embed = json!({"content": {"parts": [{"text": "a"}]}});
    assert_eq!(ask(&rig, EMBEDDING, embed).await.status, 404, "it is not in this list");
    rig.stop().await;
}
