//! Usage that a client would rather have hidden.

use serde_json::json;
use tollgate_core::usage::Class;
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

#[tokio::test]
async fn a_mask_or_another_encoding_is_refused_by_name() {
    let rig = Rig::start().await;
    let before = rig.balance("alice").await;
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    for (query, name) in [
        ("fields=candidates", "fields"),
        ("$fields=candidates", "fields"),
        ("%24fields=candidates", "fields"),
        ("FIELDS=candidates", "fields"),
        ("%66ie%6Cds=candidates", "fields"),
        ("alt=sse&fields=candidates(content)", "fields"),
        ("alt=proto", "alt"),
        ("$alt=proto", "alt"),
        ("alt=sse&alt=proto", "alt"),
        ("ALT=Proto", "alt"),
        ("alt=media", "alt"),
        ("callback=f", "callback"),
    ] {
        for method in ["generateContent", "streamGenerateContent"] {
            let target = format!("/v1beta/models/gemini-2.5-flash:{method}?{query}");
            let reply = rig.call(Request::post(&target, &body)).await;
            let error = &reply.json()["error"];
            assert_eq!(
                (reply.status, &error["status"]),
                (400, &json!("INVALID_ARGUMENT")),
                "{query}: {error}"
            );
            assert!(
                error["message"].as_str().is_some_and(|words| words.contains(&format!("`{name}`"))),
                "{error}"
            );
        }
    }
    assert_eq!(rig.upstream.count(), 0);
    assert_eq!(rig.balance("alice").await, before);
    rig.stop().await;
}

/// Answers that state no usage, and in which nobody finds any text: media type, encoding, bytes, and whether those
/// count.
const UNREADABLE: [(&str, &str, &[u8], bool); 7] = [
    (
        "application/x-protobuf",
        "identity",
        b"\x0a\x2f\x0a\x2dhidden in a protocol buffer, forty bytes and more",
        true,
    ),
    ("application/octet-stream", "identity", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\xcb", true),
    ("application/json", "gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\xcb\xcf\x4f", true),
    ("application/msgpack", "identity", b"\x81\xa4data\xa6hidden", true),
    ("application/json", "identity", br#"{"candidates":[{"finishReason":"STOP"}]}"#, false),
    ("application/json", "identity", br#"{"data":"in a member that nobody knows"}"#, false),
    ("text/plain", "identity", b"no JSON at all", false),
];

#[tokio::test]
async fn an_answer_that_states_no_usage_is_paid_by_what_passed_both_ways() {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "x".repeat(4000)}]}]});
    for (kind, encoding, answer, counts) in UNREADABLE {
        let rig = Rig::start().await;
        let headers = [("content-type", kind), ("content-encoding", encoding)];
        rig.upstream.enqueue(Script::whole(200, &headers, answer));
        let target = "/v1beta/models/gemini-2.5-flash:generateContent";
        let reply = rig.call(Request::post(target, &body)).await;
        assert_eq!(reply.status, 200, "{kind}: {}", reply.text());
        let record = rig.record().await;
        let [input, output] = [Class::Input, Class::Output].map(|class| record.usage[class]);
        assert!(input >= 1000, "{kind}: {input} tokens of 4,000 bytes");
        let expected = if counts { answer.len() as u64 } else { 0 };
        assert_eq!(output, expected, "{kind}, {encoding}: a token for each byte");
        assert!(record.charge.get() > 0, "{kind}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn usage_that_can_be_hidden_is_asked_for() {
    let stream = concat!(
        "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":500}}\n\n",
        "data: [DONE]\n\n",
    );
    for options in [
        json!(null),
        json!({}),
        json!({"include_usage": false}),
        json!({"include_usage": null}),
        json!({"include_obfuscation": false}),
        json!({"include_usage": false, "include_obfuscation": true}),
    ] {
        let rig = Rig::start().await;
        rig.upstream.enqueue(Script::sse().chunk(stream).end());
        let body = json!({"model": "gpt-4o", "stream": true, "stream_options": options, "messages": []});
        let reply = rig.call(Request::post("/v1/chat/completions", &body)).await;
        assert!(!reply.text().contains("completion_tokens"), "{options}: nobody asked to see it");
        let asked = rig.upstream.next().await.json();
        assert_eq!(asked["stream_options"]["include_usage"], true, "{options}");
        assert_eq!(rig.record().await.usage[Class::Output], 500, "{options}");
        rig.stop().await;
    }
}
