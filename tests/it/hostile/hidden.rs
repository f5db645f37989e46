//! Usage that a client would rather have hidden.

use serde_json::json;
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;

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
