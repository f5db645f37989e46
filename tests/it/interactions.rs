//! Gemini's interactions pass as they are, and are metered.

use serde_json::{Value, json};
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::usage::{Class, Quality};
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

/// 100 tokens in, of which 40 are cached, 10 thought and 5 said: 60 x 300 + 40 x 30 + 15 x 2500.
const CHARGE: i64 = 56_700;

fn usage() -> Value {
    json!({"total_input_tokens": 100, "total_cached_tokens": 40, "total_output_tokens": 5, "total_thought_tokens": 10,
        "total_tool_use_tokens": 0, "total_tokens": 115})
}

/// A request whose bytes are odd on purpose.
fn ask(path: &str, stream: bool) -> Request {
    let body =
        format!("{{ \"model\":\"gemini-2.5-flash\",\"input\" : \"Hi \\ud83d\\ude00\", \"stream\":{stream}}}");
    Request::new("POST", path).header("content-type", "application/json").body(body)
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["event_type"].as_str().expect("a type"))
}

/// The events of one answer, the one that completes it last.
fn events() -> Vec<String> {
    let begun = json!({"id": "v1_x", "status": "in_progress", "model": "gemini-2.5-flash"});
    let whole = json!({"id": "v1_x", "status": "completed", "model": "gemini-2.5-flash", "usage": usage()});
    let delta =
        |text: &str| json!({"index": 0, "delta": {"text": text, "type": "text"}, "event_type": "step.delta"});
    let all = [
        json!({"interaction": begun, "event_type": "interaction.created"}),
        json!({"index": 0, "step": {"type": "model_output"}, "event_type": "step.start"}),
        delta("Good "),
        delta("morning"),
        json!({"index": 0, "event_type": "step.stop"}),
        json!({"interaction": whole, "event_type": "interaction.completed"}),
    ];
    all.iter().map(event).collect()
}

fn stream<'a>(events: impl IntoIterator<Item = &'a String>) -> Script {
    events.into_iter().fold(Script::sse(), Script::chunk).end()
}

#[tokio::test]
async fn an_interaction_passes_as_it_is_and_costs_what_it_states() {
    let rig = Rig::start().await;
    let answer = format!(
        "{{\"id\":\"v1_x\", \"status\":\"completed\",\"steps\":[{{\"type\":\"model_output\",\
         \"content\":[{{\"type\":\"text\",\"text\":\"Good morning\"}}]}}],\"usage\":{}}}",
        usage()
    );
    for path in ["/v1/interactions", "/v1beta/interactions"] {
        rig.upstream.enqueue(Script::json(200, &answer));
        let reply = rig.call(ask(path, false)).await;
        assert_eq!((reply.status, reply.text()), (200, answer.clone()));
        let seen = rig.upstream.next().await;
        assert_eq!(seen.target, "/v1/interactions");
        assert_eq!(seen.header("x-goog-api-key"), Some("platform-google"));
        assert_eq!(
            seen.body,
            b"{ \"model\":\"gemini-2.5-flash\",\"input\" : \"Hi \\ud83d\\ude00\", \"stream\":false}"
        );
    }
    for record in rig.records(2).await {
        assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, CHARGE), "{record:?}");
        assert_eq!(record.operation, Some(Operation::Generate));
        assert_eq!((record.protocol, record.usage.quality), (Some(Protocol::Gemini), Quality::Exact));
        assert_eq!((record.usage[Class::CacheRead], record.usage[Class::Reasoning]), (40, 10));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_streamed_interaction_passes_as_it_is_and_costs_what_its_last_event_states() {
    let rig = Rig::start().await;
    rig.upstream.enqueue(stream(&events()));
    let reply = rig.call(ask("/v1/interactions", true)).await;
    assert_eq!(reply.text(), events().concat());
    let record = rig.record().await;
    assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, CHARGE), "{record:?}");
    assert!(record.streamed);
    rig.stop().await;
}

#[tokio::test]
async fn a_streamed_interaction_without_its_last_event_is_estimated_and_recorded_as_cut() {
    let rig = Rig::start().await;
    let events = events();
    rig.upstream.enqueue(stream(&events[..5]));
    let reply = rig.call(ask("/v1/interactions", true)).await;
    assert_eq!(reply.text(), events[..5].concat());
    let record = rig.record().await;
    assert_eq!((record.outcome, record.usage.quality), (Outcome::Partial, Quality::Estimated), "{record:?}");
    // `Good ` and `morning` are 12 bytes, four of which stand for a token.
    assert_eq!(record.usage[Class::Output], 3);
    rig.stop().await;
}

#[tokio::test]
async fn no_other_provider_is_asked_to_interact() {
    let rig = Rig::with(|setup| {
        setup.users.push(("bob", tollgate_core::points::Micropoints::from_points(10)));
        setup.credentials.retain(|(provider, ..)| *provider != "google");
        setup.credentials.push(("openai", Some("alice"), "of alice", 100));
    })
    .await;
    // A model of another provider.
    let body = json!({"model": "gpt-4o", "input": "Hi"});
    let reply = rig.call(Request::post("/v1/interactions", &body)).await;
    assert_eq!((reply.status, reply.json()["error"]["code"].clone()), (400, json!("invalid_request")));
    // A model of Google's, for whom only others' credentials are there.
    let reply = rig.call(ask("/v1/interactions", false)).await;
    assert_eq!((reply.status, reply.json()["error"]["code"].clone()), (503, json!("unavailable")));
    assert!(rig.upstream.requests().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn an_interaction_that_could_not_be_fetched_or_priced_is_refused_in_its_own_words() {
    let rig = Rig::start().await;
    let refused =
        |reply: tollgate_tests::client::Reply| (reply.status, reply.json()["error"]["code"].clone());
    let background = json!({"model": "gemini-2.5-flash", "input": "Hi", "background": true});
    let reply = rig.call(Request::post("/v1/interactions", &background)).await;
    assert!(reply.text().contains("`background`"), "{}", reply.text());
    assert_eq!(refused(reply), (400, json!("invalid_request")));
    let agent = json!({"agent": "deep-research", "input": "Hi"});
    assert_eq!(
        refused(rig.call(Request::post("/v1/interactions", &agent)).await),
        (400, json!("invalid_request"))
    );
    let unknown = json!({"model": "gemini-unheard-of", "input": "Hi"});
    assert_eq!(
        refused(rig.call(Request::post("/v1/interactions", &unknown)).await),
        (404, json!("not_found"))
    );
    let stranger = Request::post("/v1/interactions", &background);
    let reply = tollgate_tests::client::call(rig.addr(), &stranger).await;
    assert_eq!(refused(reply), (401, json!("unauthenticated")));
    assert!(rig.upstream.requests().is_empty());
    rig.stop().await;
}
