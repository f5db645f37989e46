//! What is billed beside tokens: searches, maps, containers, pictures and audio, the tier and the place that served,
//! long prompts, fast modes. Each bill is worked out by hand beside its case, in micro-points, at the shipped prices (a
//! dollar for a million tokens is 1,000 micro-points for one) or at those that the case sets.

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::usage::{Class, ServiceTier};
use tollgate_server::config::{Model, Target};
use tollgate_server::manage::Place;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";

/// A call, what its answer states, and what that costs.
struct Case {
    told: &'static str,
    path: &'static str,
    body: Value,
    answer: Value,
    tier: ServiceTier,
    charge: i64,
}

async fn rig() -> Rig {
    Rig::with(|setup| setup.users = vec![("alice", Micropoints::from_points(1_000_000))]).await
}

async fn ask(rig: &Rig, path: &str, body: &Value) -> Reply {
    rig.call(Request::new("POST", path).body(body.to_string())).await
}

/// Sets a price, and waits until it is in force: a price that nobody else has leads to a model that nobody asks for.
async fn price(rig: &Rig, setting: Value) {
    let name = setting["name"].as_str().expect("a name").to_owned();
    let request = Request::new("PATCH", "/management/v1/prices").body(setting.to_string());
    let set = client::call(rig.admin_addr(), &request.bearer(rig.admin_secret())).await;
    assert_eq!(set.status, 200, "{}", set.text());
    let models = Request::get("/v1/models");
    patiently("the price", async {
        while !rig.call(models.clone()).await.text().contains(&format!("\"{name}\"")) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn check(rig: &Rig, cases: Vec<Case>) {
    let mut calls = rig.records(0).await.len();
    for Case { told, path, body, answer, tier, charge } in cases {
        rig.upstream.enqueue(Script::json(200, answer.to_string()));
        let reply = ask(rig, path, &body).await;
        assert_eq!(reply.status, 200, "{told}: {}", reply.text());
        calls += 1;
        let record = rig.records(calls).await.pop().expect("a record");
        assert_eq!((record.usage.tier, record.charge.get()), (tier, charge), "{told}: {:?}", record.usage);
    }
}

fn chat(model: &str, more: &Value, usage: &Value, beside: &Value) -> (Value, Value) {
    let answer = json!({"choices": [{"message": {"content": "x"}}], "usage": usage});
    (joined(json!({"model": model, "messages": []}), more), joined(answer, beside))
}

fn message(model: &str, more: &Value, usage: &Value) -> (Value, Value) {
    let answer = json!({"type": "message", "content": [{"type": "text", "text": "x"}], "usage": usage});
    (joined(json!({"model": model, "max_tokens": 1000, "messages": []}), more), answer)
}

fn joined(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    body
}

fn case(
    told: &'static str,
    path: &'static str,
    (body, answer): (Value, Value),
    tier: ServiceTier,
    charge: i64,
) -> Case {
    Case { told, path, body, answer, tier, charge }
}

/// Anthropic's regions and its fast mode.
fn places(used: &Value) -> Vec<Case> {
    let served = |more: &Value| joined(used.clone(), more);
    vec![
        // (1,000 x 5,000 + 100 x 25,000) x 1.1.
        case(
            "a region",
            MESSAGES,
            message(
                "claude-opus-5",
                &json!({"inference_geo": "us"}),
                &served(&json!({"inference_geo": "us"})),
            ),
            ServiceTier::Regional,
            8_250_000,
        ),
        // The workspace's own setting may choose one, too; and a request for one may be served anywhere.
        case(
            "a region that nobody asked for",
            MESSAGES,
            message("claude-opus-5", &json!({}), &served(&json!({"inference_geo": "us"}))),
            ServiceTier::Regional,
            8_250_000,
        ),
        case(
            "anywhere",
            MESSAGES,
            message(
                "claude-opus-5",
                &json!({"inference_geo": "us"}),
                &served(&json!({"inference_geo": "global"})),
            ),
            ServiceTier::Standard,
            7_500_000,
        ),
        // (1,000 x 4,000 + 100 x 20,000) x 2, and x 1.1 in a region.
        case(
            "fast",
            MESSAGES,
            message("claude-opus-5-5", &json!({"speed": "fast"}), &served(&json!({"speed": "fast"}))),
            ServiceTier::Fast,
            12_000_000,
        ),
        case(
            "fast in a region",
            MESSAGES,
            message(
                "claude-opus-5-5",
                &json!({"speed": "fast", "inference_geo": "us"}),
                &served(&json!({"speed": "fast", "inference_geo": "us"})),
            ),
            ServiceTier::FastRegional,
            13_200_000,
        ),
        case(
            "fast was asked for, and was not to be had",
            MESSAGES,
            message("claude-opus-5-5", &json!({"speed": "fast"}), &served(&json!({"speed": "standard"}))),
            ServiceTier::Standard,
            6_000_000,
        ),
    ]
}

/// OpenAI's tiers.
fn tiers() -> Vec<Case> {
    let spent = json!({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100});
    vec![
        // 1,000 x 4,000 + 100 x 20,000, twice that, and half.
        case(
            "priority was asked for, and was not to be had",
            CHAT,
            chat(
                "gpt-5.6",
                &json!({"service_tier": "priority"}),
                &spent,
                &json!({"service_tier": "default"}),
            ),
            ServiceTier::Standard,
            6_000_000,
        ),
        case(
            "the project's own tier",
            CHAT,
            chat("gpt-5.6", &json!({"service_tier": "auto"}), &spent, &json!({"service_tier": "priority"})),
            ServiceTier::Priority,
            12_000_000,
        ),
        case(
            "flex",
            CHAT,
            chat("gpt-5.6", &json!({"service_tier": "flex"}), &spent, &json!({"service_tier": "flex"})),
            ServiceTier::Flex,
            3_000_000,
        ),
    ]
}

#[tokio::test]
async fn the_tier_and_the_place_that_served_are_charged_and_not_those_that_were_asked_for() {
    let rig = rig().await;
    let used = json!({"input_tokens": 1000, "output_tokens": 100});
    check(&rig, places(&used).into_iter().chain(tiers()).collect()).await;
    for (body, name) in [
        (message("claude-haiku-4-5", &json!({"inference_geo": "us"}), &used).0, "inference_geo"),
        (message("claude-sonnet-5", &json!({"speed": "fast"}), &used).0, "fast"),
    ] {
        let refused = ask(&rig, MESSAGES, &body).await;
        assert!(refused.status == 400 && refused.text().contains(&format!("`{name}`")), "{}", refused.text());
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_a_provider_does_beside_the_model_is_charged_by_the_call() {
    let rig = rig().await;
    let setting = |name: &str, provider: &str, prices: Value| {
        let text = json!({"input": "1", "output": "2"});
        json!({"name": name, "provider": provider, "prices": joined(text, &prices)})
    };
    price(&rig, setting("claude-x", "anthropic", json!({"code_interpreter": "0.05"}))).await;
    price(&rig, setting("heard-x", "openai", json!({"audio_second": "0.0001"}))).await;
    price(&rig, setting("gemini-x", "google", json!({"map_search": "0.025"}))).await;
    let spent = json!({"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13});
    let none = json!({});
    let ran = joined(
        message("claude-x", &none, &json!({"input_tokens": 8, "output_tokens": 5})).1,
        &json!({"container": {"id": "container_1", "expires_at": "2026-12-01T00:00:00Z"}}),
    );
    let tools = json!({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]});
    let places = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP",
        "groundingMetadata": {"groundingChunks": [{"maps": {"placeId": "places/1", "title": "a"}},
            {"maps": {"placeId": "places/2", "title": "b"}}]}}],
        "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 5, "totalTokenCount": 13}});
    let maps = json!({"contents": [], "tools": [{"googleMaps": {}}]});
    let pictured = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 1295, "totalTokenCount": 1303,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]}});
    let paint = json!({"contents": [], "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}});
    check(
        &rig,
        vec![
            // 8 x 1,250 + 5 x 10,000 + 10,000,000 for the search that such a model always makes.
            case(
                "a model that searches",
                CHAT,
                chat("gpt-5-search-api", &none, &spent, &none),
                ServiceTier::Standard,
                10_060_000,
            ),
            // 8 x 2,500 + 5 x 10,000 + 25,000,000.
            case(
                "a search that was asked for",
                CHAT,
                chat("gpt-4o-search-preview", &json!({"web_search_options": {"a": 1}}), &spent, &none),
                ServiceTier::Standard,
                25_070_000,
            ),
            // 8 x 1,000 + 5 x 2,000 + 50,000,000 for the container; the next one ran nothing.
            case(
                "a container",
                MESSAGES,
                (message("claude-x", &tools, &none).0, ran),
                ServiceTier::Standard,
                50_018_000,
            ),
            case(
                "no container",
                MESSAGES,
                message("claude-x", &tools, &json!({"input_tokens": 8, "output_tokens": 5})),
                ServiceTier::Standard,
                18_000,
            ),
            // 27 seconds at 100,000.
            case(
                "audio by its length",
                CHAT,
                chat("heard-x", &none, &json!({"type": "duration", "seconds": 26.4}), &none),
                ServiceTier::Standard,
                2_700_000,
            ),
            // 8 x 1,000 + 5 x 2,000 + 25,000,000, however many places were found.
            case(
                "maps",
                "/v1beta/models/gemini-x:generateContent",
                (maps, places),
                ServiceTier::Standard,
                25_018_000,
            ),
            // 8 x 300 + 5 x 2,500 + 1,290 x 30,000.
            case(
                "a picture",
                "/v1beta/models/gemini-2.5-flash-image:generateContent",
                (paint, pictured),
                ServiceTier::Standard,
                38_714_900,
            ),
        ],
    )
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn what_a_stream_states_at_its_end_is_charged_as_a_whole_answer_is() {
    let rig = rig().await;
    price(
        &rig,
        json!({"name": "claude-x", "provider": "anthropic",
            "prices": {"input": "1", "output": "2", "code_interpreter": "0.05"}, "service_tiers": {"regional": "1.1"}}),
    )
    .await;
    let events = [
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 8, "output_tokens": 1,
            "inference_geo": "us"}}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn",
            "container": {"id": "container_1", "expires_at": "2026-12-01T00:00:00Z"}}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    let script = events.iter().fold(Script::sse(), |script, event| {
        script.chunk(format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
    });
    rig.upstream.enqueue(script.end());
    let body = json!({"model": "claude-x", "max_tokens": 9, "stream": true, "messages": [], "inference_geo": "us",
        "tools": [{"type": "code_execution_20250825", "name": "code_execution"}]});
    assert_eq!(ask(&rig, MESSAGES, &body).await.status, 200);
    let record = rig.record().await;
    assert_eq!((record.usage.tier, record.usage[Class::CodeInterpreter]), (ServiceTier::Regional, 1));
    // (8 x 1,000 + 5 x 2,000) x 1.1; a container costs the same everywhere.
    assert_eq!(record.charge.get(), 50_019_800);
    rig.stop().await;
}

#[tokio::test]
async fn a_platforms_region_costs_what_the_list_says_and_all_regions_do_not() {
    let entry = |name: &str, there: &str| Model {
        name: name.to_owned(),
        aliases: Vec::new(),
        targets: vec![Target::new("anthropic", Some(there))],
        fallbacks: Vec::new(),
    };
    for (region, model, tier, charge) in [
        // 1,000 x 5,000 + 100 x 25,000, and a tenth more.
        ("eu-central-1", "eu.anthropic.claude-opus-5", ServiceTier::Regional, 8_250_000),
        ("eu-central-1", "global.anthropic.claude-opus-5", ServiceTier::Standard, 7_500_000),
    ] {
        let rig = Rig::with(|setup| {
            setup.credentials.clear();
            setup.config.models = vec![entry("claude-opus-5", model)];
            let base_url = String::from(setup.config.providers["anthropic"].base_url.clone());
            let settings =
                [("region".to_owned(), region.to_owned()), ("base_url".to_owned(), base_url)].into();
            let place = Place { platform: "bedrock-key".to_owned(), settings };
            setup.elsewhere.push(("anthropic", place, "key".to_owned()));
        })
        .await;
        let (body, answer) =
            message("claude-opus-5", &json!({}), &json!({"input_tokens": 1000, "output_tokens": 100}));
        rig.upstream.enqueue(Script::json(200, answer.to_string()));
        let reply = ask(&rig, MESSAGES, &body).await;
        assert_eq!(reply.status, 200, "{model}: {}", reply.text());
        let record = rig.record().await;
        assert_eq!((record.usage.tier, record.charge.get()), (tier, charge), "{model}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_long_prompt_costs_its_own_prices_in_every_class_and_times_its_tier() {
    let rig = rig().await;
    price(
        &rig,
        json!({"name": "long-x", "provider": "openai", "prices": {"input": "1", "output": "2", "cache_read": "0.1"},
            "long_prompt_above": 200_000, "long_prompt_prices": {"input": "2", "output": "3", "cache_read": "0.2"},
            "service_tiers": {"priority": "2"}}),
    )
    .await;
    let usage = |prompt: u64, cached: u64| {
        json!({"prompt_tokens": prompt, "completion_tokens": 10, "total_tokens": prompt + 10,
            "prompt_tokens_details": {"cached_tokens": cached}})
    };
    let none = json!({});
    check(
        &rig,
        vec![
            // 1,000 x 1,000 + 199,000 x 100 + 10 x 2,000: the last prompt that is not long.
            case(
                "not long",
                CHAT,
                chat("long-x", &none, &usage(200_000, 199_000), &none),
                ServiceTier::Standard,
                20_920_000,
            ),
            // 1,001 x 2,000 + 199,000 x 200 + 10 x 3,000.
            case(
                "long",
                CHAT,
                chat("long-x", &none, &usage(200_001, 199_000), &none),
                ServiceTier::Standard,
                41_832_000,
            ),
            case(
                "long, and before others",
                CHAT,
                chat("long-x", &none, &usage(200_001, 199_000), &json!({"service_tier": "priority"})),
                ServiceTier::Priority,
                83_664_000,
            ),
        ],
    )
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn images_that_a_tool_makes_are_priced_by_the_image_or_by_their_tokens() {
    let rig = rig().await;
    price(
        &rig,
        json!({"name": "paints-x", "provider": "openai", "prices": {"input": "1", "output": "2", "image": "0.04"}}),
    )
    .await;
    price(
        &rig,
        json!({"name": "tokens-x", "provider": "openai", "prices": {"input": "1", "output": "2", "image_output": "30"}}),
    )
    .await;
    let tools = json!({"tools": [{"type": "image_generation"}], "input": "a cat"});
    let answer = json!({"output": [{"type": "image_generation_call", "result": "aGk="}, {"type": "message"}],
        "tool_usage": {"image_gen": {"input_tokens": 0, "output_tokens": 1000, "total_tokens": 1000}},
        "usage": {"input_tokens": 8, "output_tokens": 5, "total_tokens": 13}});
    let body = |model: &str| joined(json!({"model": model}), &tools);
    check(
        &rig,
        vec![
            // 8 x 1,000 + 5 x 2,000 + 1,000 x 2,000 (its tokens cost what output does) + 40,000,000.
            case(
                "by the image",
                RESPONSES,
                (body("paints-x"), answer.clone()),
                ServiceTier::Standard,
                42_018_000,
            ),
            // 8 x 1,000 + 5 x 2,000 + 1,000 x 30,000.
            case("by tokens", RESPONSES, (body("tokens-x"), answer), ServiceTier::Standard, 30_018_000),
        ],
    )
    .await;
    rig.stop().await;
}
