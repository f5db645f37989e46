//! The usage that providers state, in disjoint classes, and what it costs: each bill is worked out by hand beside its
//! case, and must be what the real pricing component says. A whole answer and a stream cost the same.
//!
//! Prices are those that ship, in micro-points a token: a dollar for a million tokens is 1,000 micro-points for one.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::usage::{Class, Quality, ServiceTier, Usage};
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

/// A call whose answer states a usage.
struct Case {
    protocol: &'static str,
    model: &'static str,
    /// What the answer states, or the end of its stream.
    stated: Value,
    /// What a stream states at its beginning, where that differs.
    begun: Option<Value>,
    /// Members beside it.
    beside: Value,
    usage: Usage,
    charge: i64,
}

/// What was stated, with zero for the other classes.
fn exact(amounts: &[(Class, u64)]) -> Usage {
    Usage::of(Quality::Exact, amounts)
}

fn case(protocol: &'static str, model: &'static str, stated: Value, usage: Usage, charge: i64) -> Case {
    Case { protocol, model, stated, begun: None, beside: json!({}), usage, charge }
}

/// From OpenAI's reference, guides on caching and reasoning, and its announcement of prices for writing to a cache.
fn openai() -> Vec<Case> {
    vec![
        // 19 x 2,500 + 10 x 10,000.
        case(
            "chat",
            "gpt-4o",
            json!({"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                    "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}}),
            exact(&[(Class::Input, 19), (Class::Output, 10)]),
            147_500,
        ),
        // (2,006 - 1,920 - 40) x 4,000 + 1,920 x 400 read + 40 x 5,000 written + 300 x 20,000, reasoning among them.
        case(
            "chat",
            "gpt-5.6",
            json!({"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
                "prompt_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 40},
                "completion_tokens_details": {"reasoning_tokens": 192}}),
            exact(&[
                (Class::Input, 46),
                (Class::CacheRead, 1920),
                (Class::CacheWriteShort, 40),
                (Class::Output, 108),
                (Class::Reasoning, 192),
            ]),
            7_152_000,
        ),
        // The last prompt of the first tier: 2,000 x 4,000 + 270,000 x 400 + 10 x 20,000.
        case(
            "chat",
            "gpt-5.6",
            json!({"prompt_tokens": 272_000, "completion_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 270_000}}),
            exact(&[(Class::Input, 2000), (Class::CacheRead, 270_000), (Class::Output, 10)]),
            116_200_000,
        ),
        // The first of the second, in which all of it costs more: 2,001 x 8,000 + 270,000 x 800 + 10 x 30,000.
        case(
            "chat",
            "gpt-5.6",
            json!({"prompt_tokens": 272_001, "completion_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 270_000}}),
            exact(&[(Class::Input, 2001), (Class::CacheRead, 270_000), (Class::Output, 10)]),
            232_308_000,
        ),
        // Audio has the price of text here: (60 + 40) x 2,500 + (20 + 60) x 10,000.
        case(
            "chat",
            "gpt-4o",
            json!({"prompt_tokens": 100, "completion_tokens": 80,
                "prompt_tokens_details": {"audio_tokens": 40, "text_tokens": 60},
                "completion_tokens_details": {"audio_tokens": 60, "text_tokens": 20}}),
            exact(&[
                (Class::Input, 60),
                (Class::AudioInput, 40),
                (Class::Output, 20),
                (Class::AudioOutput, 60),
            ]),
            1_050_000,
        ),
        // 75 x 4,000 + 1,186 x 20,000, of which 1,024 are reasoning.
        case(
            "responses",
            "gpt-5.6",
            json!({"input_tokens": 75, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 1186,
                "output_tokens_details": {"reasoning_tokens": 1024}, "total_tokens": 1261}),
            exact(&[(Class::Input, 75), (Class::Output, 162), (Class::Reasoning, 1024)]),
            24_020_000,
        ),
        // (1,000 - 600 - 100) x 4,000 + 600 x 400 + 100 x 5,000 + 50 x 20,000.
        case(
            "responses",
            "gpt-5.6",
            json!({"input_tokens": 1000, "output_tokens": 50, "total_tokens": 1050,
                "input_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 100,
                    "cache_write_tokens_details": {"ttl_30m_tokens": 100, "ttl_12h_tokens": 0}}}),
            exact(&[
                (Class::Input, 300),
                (Class::CacheRead, 600),
                (Class::CacheWriteShort, 100),
                (Class::Output, 50),
            ]),
            2_940_000,
        ),
    ]
}

/// What is billed beside text: from OpenAI's references of hosted tools, flex and priority processing.
fn besides() -> Vec<Case> {
    vec![
        // Flex: half of 1,000 x 4,000 + 100 x 20,000; two searches cost 10,000,000 each in every tier, a search of
        // files 2,500,000.
        Case {
            beside: json!({"service_tier": "flex", "tool_usage": {"web_search": {"num_requests": 2}, "image_gen":
                {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}},
                "output": [{"type": "web_search_call", "action": {"type": "search", "query": "a"}},
                    {"type": "web_search_call", "action": {"type": "open_page"}}, {"type": "file_search_call"},
                    {"type": "message"}]}),
            ..case(
                "responses",
                "gpt-5.6",
                json!({"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}),
                exact(&[
                    (Class::Input, 1000),
                    (Class::Output, 100),
                    (Class::WebSearch, 2),
                    (Class::FileSearch, 1),
                ])
                .at_tier(ServiceTier::Flex),
                25_500_000,
            )
        },
        // Where searches are not stated they are counted, and a page that was opened is none: 10 x 4,000 + 20 x 20,000
        // + 10,000,000.
        Case {
            beside: json!({"service_tier": "default",
                "output": [{"type": "web_search_call", "action": {"type": "search"}},
                    {"type": "web_search_call", "action": {"type": "open_page"}}]}),
            ..case(
                "responses",
                "gpt-5.6",
                json!({"input_tokens": 10, "output_tokens": 20}),
                exact(&[(Class::Input, 10), (Class::Output, 20), (Class::WebSearch, 1)]),
                10_440_000,
            )
        },
        // Code ran in two containers, in one of them twice: 10 x 4,000 + 20 x 20,000 + 2 x 30,000,000.
        Case {
            beside: json!({"service_tier": "default", "tool_usage": {"web_search": {"num_requests": 0}},
                "output": [{"type": "code_interpreter_call", "container_id": "cntr_1"},
                    {"type": "code_interpreter_call", "container_id": "cntr_1"},
                    {"type": "code_interpreter_call", "container_id": "cntr_2"}, {"type": "message"}]}),
            ..case(
                "responses",
                "gpt-5.6",
                json!({"input_tokens": 10, "output_tokens": 20}),
                exact(&[(Class::Input, 10), (Class::Output, 20), (Class::CodeInterpreter, 2)]),
                60_440_000,
            )
        },
        // Priority costs 1.7 times (60 + 40) x 2,500 + 10 x 10,000; images of a prompt cost what text does here.
        Case {
            beside: json!({"service_tier": "priority"}),
            ..case(
                "chat",
                "gpt-4o",
                json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
                    "prompt_tokens_details": {"image_tokens": 40, "text_tokens": 60}}),
                exact(&[(Class::Input, 60), (Class::ImageInput, 40), (Class::Output, 10)])
                    .at_tier(ServiceTier::Priority),
                595_000,
            )
        },
    ]
}

/// The same from Anthropic's page on prices, and Google's on grounding.
fn besides_elsewhere() -> Vec<Case> {
    vec![
        // In a batch half of 100 x 3,000 + 10 x 15,000, and three searches at 10,000,000.
        case(
            "messages",
            "claude-sonnet-4-5",
            json!({"input_tokens": 100, "output_tokens": 10, "service_tier": "batch",
                "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1}}),
            exact(&[(Class::Input, 100), (Class::Output, 10), (Class::WebSearch, 3)])
                .at_tier(ServiceTier::Batch),
            30_225_000,
        ),
        // Before version 3 a prompt that was searched for is billed once: 10 x 300 + 20 x 2,500 + 35,000,000.
        Case {
            beside: json!({"modelVersion": "gemini-2.5-flash",
                "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}, "finishReason": "STOP"}]}),
            ..case(
                "gemini",
                "gemini-2.5-flash",
                json!({"promptTokenCount": 10, "candidatesTokenCount": 20, "totalTokenCount": 30,
                    "serviceTier": "STANDARD"}),
                exact(&[(Class::Input, 10), (Class::Output, 20), (Class::WebSearch, 1)]),
                35_053_000,
            )
        },
        // Since then each query is: 10 x 750 + 20 x 3,750 + 2 x 14,000,000.
        Case {
            beside: json!({"modelVersion": "gemini-3.8-flash",
                "candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}, "finishReason": "STOP"}]}),
            ..case(
                "gemini",
                "gemini-3.8-flash",
                json!({"promptTokenCount": 10, "candidatesTokenCount": 20, "totalTokenCount": 30}),
                exact(&[(Class::Input, 10), (Class::Output, 20), (Class::WebSearch, 2)]),
                28_082_500,
            )
        },
    ]
}

/// From Anthropic's pages on caching, streaming and thinking.
fn anthropic() -> Vec<Case> {
    vec![
        // 2,048 x 3,000 + 1,800 x 300 read + 148 x 3,750 written for minutes + 100 x 6,000 for an hour + 503 x 15,000.
        // The page's own numbers contradict each other: the sum of the writes counts.
        case(
            "messages",
            "claude-sonnet-4-5",
            json!({"input_tokens": 2048, "cache_read_input_tokens": 1800, "cache_creation_input_tokens": 248,
                "output_tokens": 503, "cache_creation":
                {"ephemeral_5m_input_tokens": 456, "ephemeral_1h_input_tokens": 100}}),
            exact(&[
                (Class::Input, 2048),
                (Class::CacheRead, 1800),
                (Class::CacheWriteShort, 148),
                (Class::CacheWriteLong, 100),
                (Class::Output, 503),
            ]),
            15_384_000,
        ),
        // A stream's end overrides its beginning, its prompt included: 10,682 x 3,000 + 510 x 15,000 + 10,000,000 for a
        // search.
        Case {
            begun: Some(json!({"input_tokens": 2679, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0, "output_tokens": 3})),
            ..case(
                "messages",
                "claude-sonnet-4-5",
                json!({"input_tokens": 10_682, "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0, "output_tokens": 510,
                    "server_tool_use": {"web_search_requests": 1}}),
                exact(&[(Class::Input, 10_682), (Class::Output, 510), (Class::WebSearch, 1)]),
                49_696_000,
            )
        },
        // 44 x 4,000 + 520 x 20,000, of which 400 are thinking.
        case(
            "messages",
            "claude-opus-5-5",
            json!({"input_tokens": 44, "output_tokens": 520, "output_tokens_details": {"thinking_tokens": 400},
                "service_tier": "standard"}),
            exact(&[(Class::Input, 44), (Class::Output, 120), (Class::Reasoning, 400)]),
            10_576_000,
        ),
        // The last prompt of the first tier, what is cached counted: 1,000 x 100 + 99,000 x 10 + 10 x 500.
        case(
            "messages",
            "claude-haiku-5-5",
            json!({"input_tokens": 1000, "cache_read_input_tokens": 99_000, "output_tokens": 10}),
            exact(&[(Class::Input, 1000), (Class::CacheRead, 99_000), (Class::Output, 10)]),
            1_095_000,
        ),
        // The first of the second: 1,000 x 500 + 99,001 x 50 + 10 x 2,500.
        case(
            "messages",
            "claude-haiku-5-5",
            json!({"input_tokens": 1000, "cache_read_input_tokens": 99_001, "output_tokens": 10}),
            exact(&[(Class::Input, 1000), (Class::CacheRead, 99_001), (Class::Output, 10)]),
            5_475_050,
        ),
    ]
}

/// From Google's pages on counting tokens, caching and thinking.
fn google() -> Vec<Case> {
    vec![
        // (1,000 - 400 cached - 100 of audio + 50 of tools) x 300 + 100 x 1,000 + 400 x 30 + (20 + 50 of thought) x
        // 2,500.
        Case {
            begun: Some(
                json!({"promptTokenCount": 1000, "candidatesTokenCount": 1, "totalTokenCount": 1001}),
            ),
            ..case(
                "gemini",
                "gemini-2.5-flash",
                json!({"promptTokenCount": 1000, "cachedContentTokenCount": 400, "toolUsePromptTokenCount": 50,
                    "candidatesTokenCount": 20, "thoughtsTokenCount": 50, "totalTokenCount": 1120,
                    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 642},
                        {"modality": "IMAGE", "tokenCount": 258}, {"modality": "AUDIO", "tokenCount": 100}]}),
                exact(&[
                    (Class::Input, 292),
                    (Class::CacheRead, 400),
                    (Class::Output, 20),
                    (Class::Reasoning, 50),
                    (Class::AudioInput, 100),
                    (Class::ImageInput, 258),
                ]),
                452_000,
            )
        },
        // Over the threshold: 1 x 2,500 + 200,000 x 250 + 10 x 15,000.
        case(
            "gemini",
            "gemini-2.5-pro",
            json!({"promptTokenCount": 200_001, "cachedContentTokenCount": 200_000,
                "candidatesTokenCount": 10, "totalTokenCount": 200_011}),
            exact(&[(Class::Input, 1), (Class::CacheRead, 200_000), (Class::Output, 10)]),
            50_152_500,
        ),
    ]
}

fn ask(protocol: &str, model: &str, stream: bool) -> Request {
    let body = json!({"model": model, "stream": stream});
    match protocol {
        "chat" => Request::post("/v1/chat/completions", &body),
        "responses" => Request::post("/v1/responses", &body),
        "messages" => Request::post("/v1/messages", &body),
        _ => {
            let method = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            Request::post(&format!("/v1beta/models/{model}:{method}"), &json!({}))
        }
    }
}

fn whole(case: &Case) -> Script {
    let member = if case.protocol == "gemini" { "usageMetadata" } else { "usage" };
    Script::json(200, with(&case.beside, &json!({member: case.stated})).to_string())
}

/// The members of both.
fn with(beside: &Value, object: &Value) -> Value {
    let mut members = object.as_object().expect("an object").clone();
    members.extend(beside.as_object().expect("an object").clone());
    members.into()
}

/// Events of a protocol's stream: some text, and where it states usage at its beginning and at its end.
fn events(protocol: &str, begun: &Value, stated: Option<&Value>, beside: &Value) -> Vec<Value> {
    let text = "12345678";
    let mut events = match protocol {
        "chat" => vec![json!({"choices": [{"delta": {"content": text}}], "usage": null})],
        "responses" => vec![json!({"type": "response.output_text.delta", "delta": text})],
        "messages" => vec![
            json!({"type": "message_start", "message": {"usage": begun}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        ],
        _ => vec![json!({"candidates": [{"content": {"parts": [{"text": text}]}}], "usageMetadata": begun})],
    };
    events.extend(stated.into_iter().flat_map(|stated| match protocol {
        "chat" => vec![
            json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": null}),
            with(beside, &json!({"choices": [], "usage": stated})),
        ],
        "responses" => {
            vec![json!({"type": "response.completed", "response": with(beside, &json!({"usage": stated}))})]
        }
        "messages" => vec![
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": stated}),
            json!({"type": "message_stop"}),
        ],
        _ => {
            let candidates = json!([{"finishReason": "STOP"}]);
            vec![with(beside, &json!({"candidates": candidates, "usageMetadata": stated}))]
        }
    }));
    events
}

fn stream(events: &[Value]) -> Script {
    events.iter().fold(Script::sse(), |script, event| {
        let name = event["type"].as_str().map(|name| format!("event: {name}\n")).unwrap_or_default();
        script.chunk(format!("{name}data: {event}\n\n"))
    })
}

#[tokio::test]
async fn what_providers_document_is_billed_to_the_micropoint_streamed_or_not() {
    let rig = Rig::with(|setup| setup.users = vec![("alice", Micropoints::from_points(1_000_000))]).await;
    let before = rig.balance("alice").await.get();
    let (mut spent, mut calls) = (0, 0);
    for case in
        openai().into_iter().chain(anthropic()).chain(google()).chain(besides()).chain(besides_elsewhere())
    {
        let begun = case.begun.as_ref().unwrap_or(&case.stated);
        let streamed = stream(&events(case.protocol, begun, Some(&case.stated), &case.beside)).end();
        for (script, streams) in [(whole(&case), false), (streamed, true)] {
            rig.upstream.enqueue(script);
            let reply = rig.call(ask(case.protocol, case.model, streams)).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            calls += 1;
            let record = rig.records(calls).await.pop().expect("a record");
            let told = format!("{} {} stream {streams}: {}", case.protocol, case.model, case.stated);
            assert_eq!((record.usage, record.outcome), (case.usage, Outcome::Ok), "{told}");
            assert_eq!(record.charge.get(), case.charge, "{told}");
            spent += case.charge;
        }
    }
    assert_eq!(before - rig.balance("alice").await.get(), spent);
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_cut_is_billed_by_what_passed_and_marked_as_an_estimate() {
    for (protocol, model, begun, usage, charge) in [
        // Nothing was stated: four tokens around no text, eight bytes of text are 2. 4 x 2,500 + 2 x 10,000.
        (
            "chat",
            "gpt-4o",
            json!(null),
            Usage::of(Quality::Estimated, &[(Class::Input, 4), (Class::Output, 2)]),
            30_000,
        ),
        // 4 x 4,000 + 2 x 20,000.
        (
            "responses",
            "gpt-5.6",
            json!(null),
            Usage::of(Quality::Estimated, &[(Class::Input, 4), (Class::Output, 2)]),
            56_000,
        ),
        // The prompt was stated, and of the output its first token: 25 x 3,000 + 7 x 300 + 2 x 15,000.
        (
            "messages",
            "claude-sonnet-4-5",
            json!({"input_tokens": 25, "cache_read_input_tokens": 7, "output_tokens": 1}),
            Usage::of(Quality::Estimated, &[(Class::Input, 25), (Class::CacheRead, 7), (Class::Output, 2)]),
            107_100,
        ),
        // One token of thought was stated, and what passed makes two in all: 12 x 300 + 2 x 2,500.
        (
            "gemini",
            "gemini-2.5-flash",
            json!({"promptTokenCount": 12, "candidatesTokenCount": 0, "thoughtsTokenCount": 1}),
            Usage::of(Quality::Estimated, &[(Class::Input, 12), (Class::Output, 1), (Class::Reasoning, 1)]),
            8600,
        ),
    ] {
        let rig = Rig::start().await;
        rig.upstream.enqueue(stream(&events(protocol, &begun, None, &json!({}))).close());
        rig.call(ask(protocol, model, true)).await;
        let record = rig.record().await;
        assert_eq!((record.usage, record.outcome), (usage, Outcome::Partial), "{protocol}");
        assert_eq!(record.charge.get(), charge, "{protocol}");
        rig.stop().await;
    }
}
