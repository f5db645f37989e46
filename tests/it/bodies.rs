//! Bodies of calls: kept only for keys for which an operator asks, without secrets, sealed, and for a limited time.

use std::process::Command;

use serde_json::{Value, json};
use tollgate_core::id::RequestId;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_server::manage::Place;
use tollgate_store::{Bodies, Body, MasterKey, Options, Store};
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

const ANSWER: &str = r#"{"choices":[{"message":{"content":"heard: platform-openai"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const ROOT: &str = "/management/v1";

async fn rig() -> Rig {
    let rig = Rig::with(|setup| {
        setup.config.requests.bodies.redact = vec!["email".to_owned()];
        setup.config.requests.bodies.bytes_max = 2048.try_into().expect("a bound");
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    rig
}

async fn call(rig: &Rig, words: &str) -> Reply {
    let body = json!({
        "model": "gpt-4o", "messages": [{"role": "user", "content": words}],
        "metadata": {"email": "alice@example.com"},
    });
    rig.call(Request::post("/v1/chat/completions", &body)).await
}

fn id(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("x-tollgate-request-id").expect("an id").to_owned()
}

/// The id of alice's only key.
async fn key(rig: &Rig) -> String {
    let keys = rig.admin("GET", &format!("{ROOT}/keys")).await.json();
    keys["data"][0]["id"].as_str().expect("an id").to_owned()
}

/// Switches keeping on or off, and waits until it takes effect for calls.
async fn keep(rig: &Rig, keep: bool) {
    let key = key(rig).await;
    let request = Request::new("PUT", &format!("{ROOT}/keys/{key}/keep-bodies"));
    let request = request.body(json!({"keep": keep}).to_string()).bearer(rig.admin_secret());
    let changed = client::call(rig.admin_addr(), &request).await;
    assert_eq!((changed.status, &changed.json()["keep_bodies"]), (200, &json!(keep)), "{}", changed.text());
    if keep {
        patiently("the road to keep bodies", async {
            loop {
                let request = id(&call(rig, "is it on?").await);
                if rig.admin("GET", &format!("{ROOT}/requests/{request}/bodies")).await.status == 200 {
                    break;
                }
            }
        })
        .await;
    }
}

async fn kept(rig: &Rig, request: &str) -> Value {
    patiently("the bodies of a call", async {
        loop {
            let reply = rig.admin("GET", &format!("{ROOT}/requests/{request}/bodies")).await;
            if reply.status == 200 {
                break reply.json();
            }
        }
    })
    .await
}

/// Everything that the database's files hold.
fn files(rig: &Rig) -> Vec<u8> {
    let entries = std::fs::read_dir(&rig.config.server.data_dir).expect("the data directory");
    let files = entries.map(|entry| entry.expect("an entry").path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tollgate.db"))
    });
    files.flat_map(|path| std::fs::read(path).unwrap_or_default()).collect()
}

fn holds(files: &[u8], text: &str) -> bool {
    files.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn nothing_is_kept_unless_an_operator_wants_it() {
    let rig = rig().await;
    let before = id(&call(&rig, "a private question").await);
    keep(&rig, true).await;
    assert_eq!(rig.admin("GET", &format!("{ROOT}/requests/{before}/bodies")).await.status, 404);
    let during = id(&call(&rig, "a second question").await);
    assert!(kept(&rig, &during).await["asked"]["text"].as_str().expect("text").contains("a second question"));
    keep(&rig, false).await;
    // Bodies that were kept stay until their time is over.
    kept(&rig, &during).await;
    let keys = rig.admin("GET", &format!("{ROOT}/keys")).await.json();
    assert_eq!(keys["data"][0]["keep_bodies"], json!(false));
    let audit = rig.admin("GET", &format!("{ROOT}/audit")).await.json();
    let actions: Vec<_> = audit["data"].as_array().expect("rows").iter().map(|row| &row["action"]).collect();
    assert_eq!(actions.iter().filter(|action| **action == "key.keep-bodies").count(), 2, "{actions:?}");
    rig.stop().await;
}

#[tokio::test]
async fn what_is_kept_is_sealed_and_without_secrets_and_every_read_is_audited() {
    let rig = rig().await;
    keep(&rig, true).await;
    let words = format!("my keys are {} and sk-proj-0123456789abcdef", rig.key("alice"));
    let request = id(&call(&rig, &words).await);
    let bodies = kept(&rig, &request).await;
    let (asked, answered) = (&bodies["asked"], &bodies["answered"]);
    let text = format!("{}{}", asked["text"], answered["text"]);
    for secret in ["sk-proj", "alice@example.com", "platform-openai", rig.key("alice")] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    assert!(text.contains("my keys are [redacted] and [redacted]") && text.contains("heard: [redacted]"));
    assert_eq!((&asked["cut"], &answered["cut"]), (&json!(false), &json!(false)));
    assert_eq!(answered["bytes"], json!(ANSWER.len()));
    let files = files(&rig);
    for open in ["my keys are", "heard: ", "alice@example.com"] {
        assert!(!holds(&files, open), "{open:?} lies open in the database");
    }
    let target = format!("{ROOT}/audit?action=request.bodies.read");
    let reads = async || {
        let rows = rig.admin("GET", &target).await.json();
        let rows = rows["data"].as_array().expect("rows").clone();
        rows.into_iter().filter(|row| row["target"] == json!(request)).count()
    };
    let read = reads().await;
    assert!(read >= 1, "the read above");
    kept(&rig, &request).await;
    assert_eq!(reads().await, read + 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_cut_and_says_so() {
    let rig = rig().await;
    keep(&rig, true).await;
    let request = id(&call(&rig, &"long ".repeat(1000)).await);
    let asked = kept(&rig, &request).await["asked"].clone();
    let text = asked["text"].as_str().expect("text");
    assert_eq!(asked["cut"], json!(true));
    assert!(asked["bytes"].as_u64().expect("a length") > 5000 && text.len() <= 2048, "{}", text.len());
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_is_kept_as_the_client_got_it_but_for_a_secret_that_it_says_in_pieces() {
    let rig = rig().await;
    keep(&rig, true).await;
    let event =
        |text: &str| format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}));
    let mut stream: String = ["say ", "plat", "form-", "openai", " now"].map(event).concat();
    stream.push_str(
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n",
    );
    let told = stream.clone();
    rig.upstream.respond(move |_| Script::whole(200, &[("content-type", "text/event-stream")], &told));
    let body = json!({"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "?"}]});
    let reply = rig.call(Request::post("/v1/chat/completions", &body)).await;
    assert!(reply.text().contains("openai"), "the client gets all of it");
    let answered = kept(&rig, &id(&reply)).await["answered"].clone();
    let text = answered["text"].as_str().expect("text");
    assert!(text.contains("say ") && text.contains(" now") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(text.contains("[redacted]") && !text.contains("form-") && !text.contains("openai"), "{text}");
    rig.stop().await;
}

#[tokio::test]
async fn bodies_go_when_their_time_is_over() {
    let rig = rig().await;
    keep(&rig, true).await;
    let fresh = id(&call(&rig, "fresh").await);
    let api_key = kept(&rig, &fresh).await["key"].as_str().expect("an id").parse().expect("an id");
    let data = &rig.config.server.data_dir;
    let master = MasterKey::load_or_create(&data.join("master.key")).expect("the master key");
    let store = Store::open(&data.join("tollgate.db"), Options::default()).await.expect("the database");
    let old = RequestId::new(Timestamp::from_millis(1_000), [1; 10]);
    let body = Body { text: Secret::new("old".to_owned()), bytes: 3, cut: false };
    let bodies = Bodies { request: old, api_key, asked: body.clone(), answered: body };
    store.log.keep_bodies(&master, &bodies).await.expect("an old body");
    kept(&rig, &old.to_string()).await;
    let config = format!("[server]\ndata_dir = \"{}\"\n", data.display());
    std::fs::write(rig.dir().join("bodies.toml"), config).expect("a configuration");
    let tollgate = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"));
        command.current_dir(rig.dir()).args(["--json", "--config", "bodies.toml"]).args(arguments);
        let output = command.output().expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    assert_eq!(tollgate(&["requests", "prune"])["bodies_removed"], json!(1));
    assert_eq!(rig.admin("GET", &format!("{ROOT}/requests/{old}/bodies")).await.status, 404);
    assert_eq!(tollgate(&["requests", "bodies", &fresh])["request"], json!(fresh));
    store.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn parts_of_a_secret_and_the_tokens_had_for_it_are_not_kept() {
    let rig = Rig::with(|setup| {
        setup.config.requests.bodies.bytes_max = 2048.try_into().expect("a bound");
        let base_url = String::from(setup.config.providers["anthropic"].base_url.clone());
        let settings =
            [("token_url".to_owned(), format!("{base_url}/token")), ("base_url".to_owned(), base_url)];
        let place = Place { platform: "oauth".to_owned(), settings: settings.into() };
        setup.credentials.retain(|(provider, ..)| *provider != "anthropic");
        setup.elsewhere.push(("anthropic", place, json!({"refresh_token": "renew-by-this"}).to_string()));
    })
    .await;
    let message = json!({"type": "message", "role": "assistant", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "heard: one-of-an-hour, renew-by-this"}],
        "usage": {"input_tokens": 10, "output_tokens": 5}});
    rig.upstream.respond(move |request| match request.target.as_str() {
        "/token" => Script::json(200, r#"{"access_token":"one-of-an-hour","expires_in":3600}"#),
        "/v1/messages" => Script::json(200, message.to_string()),
        _ => Script::json(200, ANSWER),
    });
    keep(&rig, true).await;
    let body = json!({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": []});
    let request = id(&rig.call(Request::post("/v1/messages", &body)).await);
    let kept = kept(&rig, &request).await;
    let answered = kept["answered"]["text"].as_str().expect("text");
    assert!(answered.contains("heard: [redacted], [redacted]"), "{answered}");
    rig.stop().await;
}
