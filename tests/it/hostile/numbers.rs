//! Numbers that a provider states are a stranger's. None of them stops the gateway, and what cannot be is charged at a
//! bound that the request itself sets.
//!
//! A price of 1 USD a million tokens is 1,000 micro-points a token.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::usage::{Class, Quality};
use tollgate_tests::client::{self, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::patiently;
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

/// Whatever may stand where a count should, as JSON; the last few are none.
const NUMBERS: [&str; 30] = [
    "4611686018427387904",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999999999",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "2147483648",
    "1e19",
    "1e300",
    "1e999",
    "-1",
    "-9223372036854775808",
    "-0",
    "0.5",
    "7.0",
    "7e0",
    "\"7\"",
    "\"9223372036854775807\"",
    "\"NaN\"",
    "null",
    "true",
    "[]",
    "[9223372036854775807]",
    "{}",
    "{\"a\":1}",
    "NaN",
    "Infinity",
];

/// A protocol's calls, and the members of its usage.
struct Wire {
    name: &'static str,
    target: &'static str,
    streamed: &'static str,
    body: &'static str,
    /// What an honest answer states, to be spoilt at one of these paths.
    usage: &'static str,
    paths: &'static [&'static str],
    /// An answer around a usage, whole and as a stream.
    whole: fn(&str) -> String,
    stream: fn(&str) -> String,
}

const WIRES: [Wire; 4] = [
    Wire {
        name: "chat",
        target: "/v1/chat/completions",
        streamed: "/v1/chat/completions",
        body: r#"{"model":"gpt-4o","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}"#,
        usage: r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":2,"audio_tokens":1},"completion_tokens_details":{"reasoning_tokens":2}}"#,
        paths: &[
            "/prompt_tokens",
            "/completion_tokens",
            "/total_tokens",
            "/prompt_tokens_details",
            "/prompt_tokens_details/cached_tokens",
            "/completion_tokens_details/reasoning_tokens",
            "",
        ],
        whole: |usage| {
            format!(
                r#"{{"choices":[{{"message":{{"content":"hi"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
            )
        },
        stream: |usage| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"hi\"}}}}]}}\n\n\
                 data: {{\"choices\":[],\"usage\":{usage}}}\n\ndata: [DONE]\n\n"
            )
        },
    },
    Wire {
        name: "responses",
        target: "/v1/responses",
        streamed: "/v1/responses",
        body: r#"{"model":"gpt-4o","max_output_tokens":100,"input":"hi"}"#,
        usage: r#"{"input_tokens":10,"output_tokens":5,"total_tokens":15,"input_tokens_details":{"cached_tokens":2},"output_tokens_details":{"reasoning_tokens":2}}"#,
        paths: &[
            "/input_tokens",
            "/output_tokens",
            "/total_tokens",
            "/input_tokens_details/cached_tokens",
            "/output_tokens_details/reasoning_tokens",
            "",
        ],
        whole: |usage| {
            format!(
                r#"{{"status":"completed","output":[],"usage":{usage},"tool_usage":{{"web_search":{{"num_requests":{usage}}}}}}}"#
            )
        },
        stream: |usage| {
            format!(
                "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":\
                 {{\"status\":\"completed\",\"output\":[],\"usage\":{usage}}}}}\n\n"
            )
        },
    },
    Wire {
        name: "messages",
        target: "/v1/messages",
        streamed: "/v1/messages",
        body: r#"{"model":"claude-sonnet-4-5","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}"#,
        usage: r#"{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":3,"cache_creation_input_tokens":2,"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":1},"output_tokens_details":{"thinking_tokens":1},"server_tool_use":{"web_search_requests":1}}"#,
        paths: &[
            "/input_tokens",
            "/output_tokens",
            "/cache_read_input_tokens",
            "/cache_creation_input_tokens",
            "/cache_creation/ephemeral_1h_input_tokens",
            "/output_tokens_details/thinking_tokens",
            "/server_tool_use/web_search_requests",
            "",
        ],
        whole: |usage| {
            format!(
                r#"{{"type":"message","content":[{{"type":"text","text":"hi"}}],"stop_reason":"end_turn","usage":{usage}}}"#
            )
        },
        stream: |usage| {
            format!(
                "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"usage\":{usage}}}}}\n\n\
                 event: message_delta\ndata: {{\"type\":\"message_delta\",\"usage\":{usage}}}\n\n\
                 event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
            )
        },
    },
    Wire {
        name: "gemini",
        target: "/v1beta/models/gemini-2.5-flash:generateContent",
        streamed: "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        body: r#"{"contents":[{"parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":100}}"#,
        usage: r#"{"promptTokenCount":10,"cachedContentTokenCount":2,"candidatesTokenCount":5,"thoughtsTokenCount":2,"toolUsePromptTokenCount":1,"totalTokenCount":18,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":1}]}"#,
        paths: &[
            "/promptTokenCount",
            "/cachedContentTokenCount",
            "/candidatesTokenCount",
            "/thoughtsTokenCount",
            "/toolUsePromptTokenCount",
            "/totalTokenCount",
            "/promptTokensDetails/0/tokenCount",
            "",
        ],
        whole: |usage| {
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"text":"hi"}}]}},"finishReason":"STOP"}}],"usageMetadata":{usage}}}"#
            )
        },
        stream: |usage| {
            format!(
                "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"hi\"}}]}},\"finishReason\":\"STOP\"}}],\
                 \"usageMetadata\":{usage}}}\n\n"
            )
        },
    },
];

/// A usage with another text at a path; the empty path is all of it.
fn spoilt(usage: &str, path: &str, number: &str) -> String {
    const MARK: &str = "\"the place\"";
    if path.is_empty() {
        return number.to_owned();
    }
    let mut usage: Value = serde_json::from_str(usage).expect("JSON");
    *usage.pointer_mut(path).expect("a member of the usage") = json!("the place");
    usage.to_string().replace(MARK, number)
}

/// Whether every page that shows amounts answers.
async fn pages_answer(rig: &Rig) {
    let users = rig.admin("GET", "/management/v1/users").await;
    assert_eq!(users.status, 200, "{}", users.text());
    let user = users.json()["data"][0]["id"].as_str().expect("a user").to_owned();
    for page in [
        format!("users/{user}"),
        "keys".to_owned(),
        "credentials".to_owned(),
        "requests?limit=100".to_owned(),
        "requests?tokens_min=1".to_owned(),
        "requests/export.csv".to_owned(),
        "usage?by=day".to_owned(),
        "usage?by=model".to_owned(),
        format!("usage?by=key&user={user}"),
        "usage/summary".to_owned(),
        format!("transfers?user={user}"),
        "audit".to_owned(),
    ] {
        let reply = rig.admin("GET", &format!("/management/v1/{page}")).await;
        assert_eq!(reply.status, 200, "{page}: {}", reply.text());
    }
    for page in ["/metrics", "/readyz", "/healthz"] {
        assert_eq!(rig.admin("GET", page).await.status, 200, "{page}");
    }
}

/// Every number in every member of every protocol's usage, whole and streamed, in an order that chance makes.
fn lies() -> Vec<(&'static Wire, bool, &'static str, &'static str)> {
    let mut lies = Vec::new();
    for wire in &WIRES {
        for path in wire.paths {
            for number in NUMBERS {
                lies.extend([(wire, false, *path, number), (wire, true, *path, number)]);
            }
        }
    }
    fastrand::Rng::with_seed(10).shuffle(&mut lies);
    lies
}

#[tokio::test]
async fn no_number_in_any_usage_costs_more_than_its_hold_or_stops_anything() {
    let mut rig = Rig::with(|setup| setup.users = vec![("alice", Micropoints::from_points(1_000_000))]).await;
    let lies = lies();
    for (wire, streamed, path, number) in &lies {
        let usage = spoilt(wire.usage, path, number);
        let request = if *streamed {
            rig.upstream.enqueue(Script::sse().chunk((wire.stream)(&usage)).end());
            let body = wire.body.replacen('{', "{\"stream\":true,", usize::from(wire.name != "gemini"));
            Request::new("POST", wire.streamed).body(body)
        } else {
            rig.upstream.enqueue(Script::json(200, (wire.whole)(&usage)));
            Request::new("POST", wire.target).body(wire.body)
        };
        let reply = rig.call(request).await;
        assert_eq!(reply.status, 200, "{} {path} {number}: {}", wire.name, reply.text());
    }
    const SEARCHES: i64 = 7;
    let records = rig.records(lies.len()).await;
    let mut charged = 0;
    for record in &records {
        // A tool that a provider says it called is beyond the hold: seven times at most are believed here.
        let most = record.hold.get() + SEARCHES * 10_000_000;
        assert!(record.charge.get() <= most, "{record:?}");
        assert!(record.charge <= record.hold || record.usage[Class::WebSearch] > 0, "{record:?}");
        assert!(record.charge.get() >= 0, "{record:?}");
        charged += record.charge.get();
    }
    pages_answer(&rig).await;
    rig.restart().await;
    pages_answer(&rig).await;
    assert_eq!(1_000_000_000_000 - rig.balance("alice").await.get(), charged);
    rig.upstream.enqueue(Script::json(200, (WIRES[0].whole)(WIRES[0].usage)));
    assert_eq!(rig.call(Request::new("POST", WIRES[0].target).body(WIRES[0].body)).await.status, 200);
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_recorded_marked_and_charged_at_the_bound() {
    let rig = Rig::start().await;
    let chat = |usage: Value| json!({"choices": [{"message": {"content": "hi"}}], "usage": usage});
    let asked = r#"{"model":"gpt-4o","max_tokens":100}"#;
    let unasked = r#"{"model":"gpt-4o"}"#;
    const TWO_62: u64 = 1 << 62;
    // 35 bytes of a request are 12 tokens at most; a token costs 2,500 and 10,000.
    let cases = [
        (
            "completion",
            asked,
            json!({"prompt_tokens": 10, "completion_tokens": TWO_62}),
            10 * 2_500 + 100 * 10_000,
        ),
        (
            "2^32-1",
            asked,
            json!({"prompt_tokens": 10, "completion_tokens": 4_294_967_295_u64}),
            10 * 2_500 + 100 * 10_000,
        ),
        ("prompt", asked, json!({"prompt_tokens": TWO_62, "completion_tokens": 5}), 12 * 2_500 + 5 * 10_000),
        (
            "reasoning",
            asked,
            json!({"prompt_tokens": 10, "completion_tokens": TWO_62, "completion_tokens_details": {"reasoning_tokens": TWO_62}}),
            10 * 2_500 + 100 * 10_000,
        ),
        (
            "cached",
            asked,
            json!({"prompt_tokens": TWO_62, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": TWO_62}}),
            12 * 1_250 + 5 * 10_000,
        ),
        (
            "both",
            asked,
            json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX}),
            12 * 2_500 + 100 * 10_000,
        ),
        (
            "no limit",
            unasked,
            json!({"prompt_tokens": 10, "completion_tokens": TWO_62}),
            10 * 2_500 + 16_384 * 10_000,
        ),
    ];
    for (at, (name, body, usage, charge)) in cases.iter().enumerate() {
        rig.upstream.enqueue(Script::json(200, chat(usage.clone()).to_string()));
        let reply = rig.call(Request::new("POST", "/v1/chat/completions").body(*body)).await;
        assert_eq!(reply.status, 200);
        // What the provider said reaches the client as it is.
        assert_eq!(reply.json()["usage"], *usage, "{name}");
        let record = rig.records(at + 1).await.pop().expect("a record");
        assert_eq!((record.charge.get(), record.usage.quality), (*charge, Quality::Estimated), "{name}");
        let told = record.error.unwrap_or_default();
        assert!(told.contains("stated what cannot be") && told.contains("taken for"), "{name}: {told}");
        let stated = [TWO_62, u64::MAX, 4_294_967_295].iter().any(|lie| told.contains(&lie.to_string()));
        assert!(stated, "{name}: {told}");
    }
    let metrics = rig.admin("GET", "/metrics").await.text();
    assert!(metrics.contains(&format!("tollgate_usage_bounded_total {}", cases.len())), "{metrics}");
    rig.stop().await;
}

#[tokio::test]
async fn what_can_be_is_charged_as_it_was_stated() {
    let rig = Rig::start().await;
    // Beyond the request's own limit but not the model's, and a prompt that is longer than its body: files, tools,
    // earlier turns.
    let cases = [
        (json!({"prompt_tokens": 10, "completion_tokens": 101}), 10 * 2_500 + 101 * 10_000),
        (json!({"prompt_tokens": 10, "completion_tokens": 10_000}), 10 * 2_500 + 10_000 * 10_000),
        (json!({"prompt_tokens": 100_000, "completion_tokens": 5}), 100_000 * 2_500 + 5 * 10_000),
        (json!({"prompt_tokens": 7.0, "completion_tokens": "5"}), 7 * 2_500 + 5 * 10_000),
        (
            json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": "many", "cost": -1}),
            10 * 2_500 + 5 * 10_000,
        ),
    ];
    for (at, (usage, charge)) in cases.iter().enumerate() {
        let answer = json!({"choices": [{"message": {"content": "hi"}}], "usage": usage});
        rig.upstream.enqueue(Script::json(200, answer.to_string()));
        let body = r#"{"model":"gpt-4o","max_tokens":100}"#;
        assert_eq!(rig.call(Request::new("POST", "/v1/chat/completions").body(body)).await.status, 200);
        let record = rig.records(at + 1).await.pop().expect("a record");
        assert_eq!((record.charge.get(), record.usage.quality), (*charge, Quality::Exact), "{usage}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_count_of_calls_that_cannot_be_is_one() {
    let rig = Rig::with(|setup| setup.users = vec![("alice", Micropoints::from_points(1_000_000))]).await;
    for (at, (count, taken)) in
        [(3, 3), (256, 256), (257, 1), (1_u64 << 62, 1), (u64::MAX, 1)].into_iter().enumerate()
    {
        let usage = json!({"input_tokens": 10, "output_tokens": 5, "server_tool_use": {"web_search_requests": count}});
        let answer = json!({"type": "message", "content": [], "stop_reason": "end_turn", "usage": usage});
        rig.upstream.enqueue(Script::json(200, answer.to_string()));
        let request = Request::new("POST", WIRES[2].target).body(WIRES[2].body);
        assert_eq!(rig.call(request).await.status, 200);
        let record = rig.records(at + 1).await.pop().expect("a record");
        assert_eq!(record.usage[Class::WebSearch], taken, "{count}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_pricing_policy_that_takes_all_is_not_believed() {
    for takes in ["all", "more"] {
        let mut rig = Rig::with(|setup| {
            let guest = tollgate_components::find_guest("refund").expect("a guest of that name");
            setup.plugins = vec![("discount-points", guest.bytes.to_vec())];
            setup.config.policies.pricing.config =
                toml::from_str(&format!("takes = \"{takes}\"")).expect("a table");
        })
        .await;
        let usage = json!({"prompt_tokens": 2000, "completion_tokens": 5});
        let answer = json!({"choices": [{"message": {"content": "hi"}}], "usage": usage});
        rig.upstream.respond(move |_| Script::json(200, answer.to_string()));
        let request = Request::new("POST", WIRES[0].target).body(WIRES[0].body);
        assert_eq!(rig.call(request).await.status, 200);
        // No component could price it: the list price, bounded by the hold of one micro-point.
        assert_eq!(rig.record().await.charge.get(), 1);
        pages_answer(&rig).await;
        rig.restart().await;
        pages_answer(&rig).await;
        assert_eq!(rig.balance("alice").await.get(), 1_000_000_000 - 1);
        rig.stop().await;
    }
}

/// Runs a command beside the server and reads what it says.
fn said(config: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"));
    let output = command.arg("--config").arg(config).args(args).output().expect("the binary runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `fixtures/data-0.1.0-damaged.tar.gz` is the data directory of `upgrade.rs` after the fault of version 0.1.0: a
/// charge of 2^63-1 micro-points stands in its tables with the transfers that it made, counters have passed 64 bits,
/// and its lender has earned half.
#[tokio::test]
async fn a_directory_that_version_0_1_0_could_not_start_from_starts_and_can_be_corrected() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/data-0.1.0-damaged.tar.gz");
    let tar =
        Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(dir.path()).status().expect("tar runs");
    assert!(tar.success());
    let upstream = Upstream::start().await;
    upstream.respond(|_| Script::json(200, (WIRES[0].whole)(WIRES[0].usage)));
    let config = config_file(dir.path(), &upstream, "[requests]\nkeep_days = 0\n");
    let process = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &config).await;
    let ready = client::call(process.admin_addr, &Request::get("/readyz")).await;
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("movements cannot be"), "{}", ready.text());
    let key = "tg_Zf38bt6XoFyMU3yLibg3k8z8tu69";
    let request = Request::new("POST", WIRES[0].target).body(WIRES[0].body).bearer(key);
    assert_eq!(client::call(process.addr, &request).await.status, 200);
    let (_, verified) = said(&config, &["ledger", "verify"]);
    assert!(verified.contains("which no balance counts"), "{verified}");
    let booked = said(&config, &["ledger", "grant", "alice", "1", "--reason", "a correction"]);
    assert!(booked.0, "{}", booked.1);
    for args in [
        &["ledger", "balance"][..],
        &["ledger", "statement", "alice"],
        &["ledger", "statement", "demo"],
        &["requests", "list"],
        &["usage", "show"],
        &["user", "list"],
        &["key", "list"],
    ] {
        let (held, words) = said(&config, args);
        assert!(held, "{args:?}: {words}");
    }
    let id = process.id();
    patiently("the end by a kill", process.kill()).await;
    let again = Process::start(env!("CARGO_BIN_EXE_tollgate-under-test"), &config).await;
    assert_ne!(again.id(), id);
    assert_eq!(client::call(again.addr, &request).await.status, 200);
}
