//! Pictures, speech, judgements and rankings: they pass as they are, and are metered by what their answer states or by
//! what the gateway counts.

use serde_json::json;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Operation;
use tollgate_core::usage::{Class, Quality};
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::upstream::{Request as Sent, Script};
use tollgate_tests::{patiently, sdk};

fn list() -> String {
    let model = |name: &str, more: &str| {
        let zero = |class: &str| {
            if more.contains(&format!("\n{class} ")) { String::new() } else { format!("{class} = \"0\"\n") }
        };
        let tokens = [
            "input",
            "cache_read",
            "cache_write_short",
            "cache_write_long",
            "output",
            "audio_input",
            "audio_output",
        ];
        let zeros: String = tokens.into_iter().map(zero).collect();
        format!(
            "[[model]]\nname = \"{name}\"\nprovider = \"openai\"\noutput_tokens_max = 5000\n{zeros}{more}\n"
        )
    };
    [
        "points_per_usd = 1000\n".to_owned(),
        model("by-piece", "\nimage = \"0.04\""),
        model("by-token", "\ninput = \"5\"\nimage_input = \"10\"\nimage_output = \"40\""),
        model("by-second", "\naudio_second = \"0.0001\""),
        model("by-audio-token", "\naudio_input = \"6\"\noutput = \"10\""),
        model("by-letter", "\ncharacter = \"15\""),
        model("ranker", "\ninput = \"0.02\""),
        model("ranker-by-unit", "\nsearch_unit = \"0.002\""),
        model("omni-moderation-latest", ""),
        model("unpriced", ""),
    ]
    .concat()
}

/// A gateway with these prices whose provider answers.
async fn priced(change: impl FnOnce(&mut Setup)) -> Rig {
    let rig = Rig::with(change).await;
    rig.upstream.respond(answer);
    let body = json!({"list": list()}).to_string();
    let publish = Request::new("POST", "/management/v1/prices").body(body).bearer(rig.admin_secret());
    let published = client::call(rig.admin_addr(), &publish).await;
    assert!([200, 201].contains(&published.status), "{}", published.text());
    patiently("the prices", async {
        while rig.call(Request::get("/v1/models")).await.text().contains("gpt-4o") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    rig
}

fn answer(sent: &Sent) -> Script {
    let body = String::from_utf8_lossy(&sent.body).into_owned();
    match sent.target.as_str() {
        "/v1/images/generations" | "/v1/images/edits" if body.contains("by-token") => Script::json(
            200,
            r#"{"created":1,"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":50,"output_tokens":4160,"total_tokens":4210,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}"#,
        ),
        "/v1/images/generations" | "/v1/images/edits" => {
            Script::json(200, r#"{"created":1,"data":[{"url":"https://x/1.png"},{"url":"https://x/2.png"}]}"#)
        }
        "/v1/audio/speech" => Script::whole(200, &[("content-type", "audio/mpeg")], [0xff, 0xfb, 0, 1, 2]),
        "/v1/audio/transcriptions" if body.contains("by-audio-token") => Script::json(
            200,
            r#"{"text":"hello there","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":4,"total_tokens":18}}"#,
        ),
        "/v1/audio/transcriptions" if body.contains("verbose_json") => Script::json(
            200,
            r#"{"text":"hello there","duration":7.5,"segments":[],"usage":{"type":"duration","seconds":8}}"#,
        ),
        "/v1/audio/transcriptions" if body.contains("srt") => Script::whole(
            200,
            &[("content-type", "text/plain")],
            "1\n00:00:00,000 --> 00:00:03,000\nhello there\n",
        ),
        "/v1/audio/transcriptions" | "/v1/audio/translations" => {
            Script::json(200, r#"{"text":"hello there"}"#)
        }
        "/v1/moderations" => Script::json(
            200,
            r#"{"id":"modr-1","model":"omni-moderation-latest","results":[{"flagged":false,"categories":{},"category_scores":{},"category_applied_input_types":{}}]}"#,
        ),
        "/v1/rerank" if body.contains("stated") => Script::json(
            200,
            r#"{"id":"a","results":[{"index":0,"relevance_score":0.9}],"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":3}}}"#,
        ),
        "/v1/rerank" if body.contains("by-unit") => {
            Script::json(200, r#"{"results":[{"index":0,"relevance_score":0.9}]}"#)
        }
        "/v1/rerank" => Script::json(
            200,
            r#"{"results":[{"index":1,"relevance_score":0.9}],"usage":{"total_tokens":50000}}"#,
        ),
        other => Script::json(404, format!("{{\"error\":{{\"message\":\"{other}\"}}}}")),
    }
}

/// Three seconds of silence.
fn wave() -> Vec<u8> {
    let mut wave =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\x77\x01\0"
            .to_vec();
    wave.resize(wave.len() + 96_000, 0);
    wave
}

fn form(path: &str, fields: &[(&str, &str)], file: Option<(&str, &[u8])>) -> Request {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--b-1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .into_bytes(),
        );
    }
    if let Some((name, bytes)) = file {
        let head = format!(
            "--b-1\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a\"\r\nContent-Type: x/y\r\n\r\n"
        );
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend(b"--b-1--\r\n");
    Request::new("POST", path).header("content-type", "multipart/form-data; boundary=b-1").body(body)
}

/// Asks, and returns the answer, the charge in micro-points and what was recorded of one class.
async fn charged(rig: &Rig, request: Request, class: Class, count: usize) -> (Reply, i64, u64, Quality) {
    let reply = rig.call(request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let record = rig.records(count).await.pop().expect("a record");
    assert_eq!(record.outcome, Outcome::Ok, "{record:?}");
    (reply, record.charge.get(), record.usage[class], record.usage.quality)
}

#[tokio::test]
async fn pictures_are_charged_by_the_piece_or_by_the_tokens_that_their_answer_states() {
    let rig = priced(|_| {}).await;
    let make = |model: &str, n: u64| {
        Request::post(
            "/v1/images/generations",
            &json!({"model": model, "prompt": "a cat", "n": n, "size": "1024x1024"}),
        )
    };
    // Two at 0.04 dollars.
    let (reply, charge, images, _) = charged(&rig, make("by-piece", 2), Class::Image, 1).await;
    assert_eq!((charge, images), (80_000_000, 2));
    let record = rig.record().await;
    assert!(record.charge <= record.hold, "the hold covers what is counted: {record:?}");
    assert_eq!(reply.json()["data"][1]["url"], "https://x/2.png");
    assert_eq!(rig.upstream.next().await.json()["prompt"], "a cat");
    // 10 tokens at 5, 40 at 10 and 4160 at 40 dollars a million.
    let (_, charge, tokens, quality) = charged(&rig, make("by-token", 1), Class::ImageOutput, 2).await;
    assert_eq!((charge, tokens, quality), (10 * 5_000 + 40 * 10_000 + 4160 * 40_000, 4160, Quality::Exact));
    let edit = form(
        "/v1/images/edits",
        &[("model", "by-piece"), ("prompt", "a hat"), ("n", "3")],
        Some(("image", b"PNG")),
    );
    let (_, charge, images, _) = charged(&rig, edit, Class::Image, 3).await;
    assert_eq!((charge, images), (120_000_000, 3));
    let operations: Vec<_> = rig.records(3).await.into_iter().filter_map(|record| record.operation).collect();
    assert_eq!(operations, [Operation::MakeImages, Operation::MakeImages, Operation::EditImages]);
    // 26 would be more than is left.
    let reply = rig.call(make("by-piece", 26)).await;
    assert_eq!(reply.status, 402, "{}", reply.text());
    rig.stop().await;
}

#[tokio::test]
async fn a_recording_is_charged_by_the_second_however_little_its_answer_states() {
    let rig = priced(|_| {}).await;
    let path = "/v1/audio/transcriptions";
    let ask = |model: &str, shape: &str| {
        form(
            path,
            &[("model", model), ("response_format", shape), ("language", "en")],
            Some(("file", &wave())),
        )
    };
    let second = 100_000;
    // Stated; counted, because nothing is; counted, because it is no JSON.
    for (at, (shape, seconds)) in [("verbose_json", 8_i64), ("json", 3), ("srt", 3)].into_iter().enumerate() {
        let (reply, charge, found, _) =
            charged(&rig, ask("by-second", shape), Class::AudioSecond, at + 1).await;
        assert_eq!((charge, found), (seconds * second, seconds.cast_unsigned()), "{shape}");
        assert!(reply.text().contains("hello there"));
        let sent = rig.upstream.next().await;
        assert_eq!(sent.header("content-type"), Some("multipart/form-data; boundary=\"b-1\""));
        assert!(sent.body.windows(4).any(|window| window == b"WAVE"), "the file goes up");
    }
    let (_, charge, tokens, quality) =
        charged(&rig, ask("by-audio-token", "json"), Class::AudioInput, 4).await;
    assert_eq!((charge, tokens, quality), (14 * 6_000 + 4 * 10_000, 14, Quality::Exact));
    let translate = form("/v1/audio/translations", &[("model", "by-second")], Some(("file", &wave())));
    let (_, charge, _, _) = charged(&rig, translate, Class::AudioSecond, 5).await;
    assert_eq!(charge, 3 * second);
    rig.stop().await;
}

#[tokio::test]
async fn speech_is_charged_by_the_character_and_comes_as_it_is() {
    let rig = priced(|_| {}).await;
    let body = json!({"model": "by-letter", "voice": "alloy", "input": "Grüße\n😀"});
    let (reply, charge, letters, _) =
        charged(&rig, Request::post("/v1/audio/speech", &body), Class::Character, 1).await;
    assert_eq!((charge, letters), (7 * 15_000, 7));
    assert_eq!(
        (reply.header("content-type"), reply.body.as_slice()),
        (Some("audio/mpeg"), &[0xff, 0xfb, 0, 1, 2][..])
    );
    rig.stop().await;
}

#[tokio::test]
async fn judgements_and_rankings_are_charged_by_their_input() {
    let rig = priced(|_| {}).await;
    for body in [json!({"input": "hi"}), json!({"model": "omni-moderation-latest", "input": ["hi", "ho"]})] {
        let reply = rig.call(Request::post("/v1/moderations", &body)).await;
        assert_eq!(
            (reply.status, &reply.json()["results"][0]["flagged"]),
            (200, &json!(false)),
            "{}",
            reply.text()
        );
        assert_eq!(rig.upstream.next().await.json(), body);
    }
    let body = json!({"model": "ranker", "query": "which", "documents": ["a", "b"], "top_n": 1});
    let (_, charge, tokens, quality) =
        charged(&rig, Request::post("/v1/rerank", &body), Class::Input, 3).await;
    assert_eq!((charge, tokens, quality), (50_000 * 20, 50_000, Quality::Exact));
    rig.stop().await;
}

#[tokio::test]
async fn a_ranking_is_charged_by_the_unit_where_it_is_priced_so() {
    let rig = priced(|_| {}).await;
    let unit = 2_000_000;
    for (count, (documents, query, units)) in
        [(1, "which", 1), (100, "which", 1), (101, "which", 2), (7, "stated", 3)].into_iter().enumerate()
    {
        let body = json!({"model": "ranker-by-unit", "query": query, "documents": vec!["a"; documents]});
        let (_, charge, found, _) =
            charged(&rig, Request::post("/v1/rerank", &body), Class::SearchUnit, count + 1).await;
        assert_eq!(
            (charge, found),
            (unit * i64::try_from(units).expect("few"), units),
            "{documents} {query}"
        );
    }
    let records = rig.records(4).await;
    assert!(
        records.iter().all(|record| record.charge <= record.hold || record.usage[Class::SearchUnit] == 3)
    );
    let body = json!({"model": "unpriced", "query": "which", "documents": ["a"]});
    let (_, charge, ..) = charged(&rig, Request::post("/v1/rerank", &body), Class::SearchUnit, 5).await;
    assert_eq!(charge, 0, "one's own server");
    rig.stop().await;
}

#[tokio::test]
async fn what_has_no_price_is_refused_with_what_to_set_unless_it_is_given_away() {
    let speech = json!({"model": "unpriced", "voice": "alloy", "input": "hi"});
    let picture = json!({"model": "unpriced", "prompt": "hi"});
    let calls = |model: &str| {
        [
            ("image", Request::post("/v1/images/generations", &picture)),
            ("character", Request::post("/v1/audio/speech", &speech)),
            ("audio_second", form("/v1/audio/transcriptions", &[("model", model)], Some(("file", &wave())))),
        ]
    };
    let rig = priced(|_| {}).await;
    for (class, request) in calls("unpriced") {
        let reply = rig.call(request).await;
        let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(reply.status == 400 && message.contains(&format!("`{class}`")), "{class}: {message}");
        assert!(message.contains("price list"), "{message}");
    }
    let unknown = Request::post("/v1/images/generations", &json!({"model": "none", "prompt": "hi"}));
    assert_eq!(rig.call(unknown).await.status, 404);
    assert_eq!(rig.upstream.count(), 0, "nothing went up");
    assert_eq!(rig.balance("alice").await, Micropoints::from_points(1000));
    rig.stop().await;
    let names = ["image", "character", "audio_second"];
    let rig = priced(|setup| setup.config.limits.unpriced_allowed = names.map(str::to_owned).to_vec()).await;
    for (class, request) in calls("unpriced") {
        let reply = rig.call(request).await;
        assert_eq!(reply.status, 200, "{class}: {}", reply.text());
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_form_in_which_two_readers_could_find_two_models_is_refused() {
    let rig = priced(|_| {}).await;
    let path = "/v1/audio/transcriptions";
    let good = [("model", "by-second")];
    for request in [
        form(path, &[("model", "by-second"), ("model", "dear")], Some(("file", &wave()))),
        form(path, &[("model", "by-second"), ("Model", "dear")], Some(("file", &wave()))),
        form(path, &[("prompt", "no model")], Some(("file", &wave()))),
        form(path, &[("model", "by-second"), ("n", "many")], None),
        form(path, &good, None).header("content-type", "multipart/form-data; boundary=another"),
        Request::post(path, &json!({"model": "by-second"})),
        Request::new("POST", path).header("content-type", "multipart/form-data").body("--\r\n"),
    ] {
        let reply = rig.call(request).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
    }
    assert_eq!(rig.upstream.count(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_provider_without_such_calls_is_named() {
    let rig = Rig::start().await;
    let body = json!({"model": "claude-haiku-4-5", "input": "hi", "voice": "alloy"});
    let reply = rig.call(Request::post("/v1/audio/speech", &body)).await;
    assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!("model")), "{}", reply.text());
    rig.stop().await;
}

#[tokio::test]
async fn a_filter_sees_the_words_of_a_form() {
    let config = |action: &str| format!("words = [\"falcon\"]\naction = \"{action}\"");
    for action in ["block", "mask"] {
        let rig = priced(|setup| {
            setup.config.policies.content_filter.config = toml::from_str(&config(action)).expect("a table");
        })
        .await;
        let ask = |prompt: &str| {
            form("/v1/images/edits", &[("model", "by-piece"), ("prompt", prompt)], Some(("image", b"PNG")))
        };
        assert_eq!(rig.call(ask("a cat")).await.status, 200);
        let reply = rig.call(ask("a Falcon")).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]["code"]),
            (400, &json!("content_filter")),
            "{action}"
        );
        assert_eq!(rig.upstream.count(), 1);
        rig.stop().await;
    }
}

#[tokio::test]
async fn the_openai_sdk_makes_pictures_speaks_listens_and_judges() {
    let rig = priced(|_| {}).await;
    let url = format!("http://{}", rig.addr());
    sdk::run("media.py", &url, rig.key("alice")).await.expect_passed();
    let charged: i64 = rig.records(6).await.iter().map(|record| record.charge.get()).sum();
    assert!(charged > 0);
    rig.stop().await;
}
