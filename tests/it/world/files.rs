//! Files that Google keeps for its callers: they go up in pieces, are named by later calls, and are their owner's
//! alone, although all of them lie with the operator's keys.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tollgate_core::limits::KeyLimits;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Operation;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::upstream::{Request as Sent, Script};
use tollgate_tests::{patiently, sdk};

const FILES: &str = "/v1beta/files";
const UPLOAD: &str = "/upload/v1beta/files";
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

/// What lies at Google: by key, and within it by name.
#[derive(Default)]
struct Kept {
    files: BTreeMap<(String, String), Vec<u8>>,
    /// The uploads that have begun, with their key and the file's name.
    uploads: Vec<(String, String)>,
}

fn file(name: &str, bytes: &[u8]) -> Value {
    json!({
        "name": name, "uri": format!("https://generativelanguage.googleapis.com/v1beta/{name}"),
        "mimeType": "text/plain", "sizeBytes": bytes.len().to_string(), "state": "ACTIVE",
    })
}

fn denied() -> Script {
    Script::json(403, r#"{"error":{"code":403,"message":"no such file","status":"PERMISSION_DENIED"}}"#)
}

/// Google, as far as it keeps files.
fn google(kept: &Mutex<Kept>, sent: &Sent) -> Script {
    let mut kept = kept.lock().expect("no test panics with it");
    let key = sent.header("x-goog-api-key").expect("a key").to_owned();
    let (path, query) = sent.target.split_once('?').unwrap_or((&sent.target, ""));
    let name = path.strip_prefix("/v1beta/").unwrap_or_default().to_owned();
    match (sent.method.as_str(), path) {
        ("POST", UPLOAD) if query.is_empty() => begin(&mut kept, &key, sent),
        ("POST", UPLOAD) => piece(&mut kept, &key, query, sent),
        ("GET", FILES) => list(&kept, &key, query),
        ("GET", _) => kept
            .files
            .get(&(key, name.clone()))
            .map_or_else(denied, |bytes| Script::json(200, file(&name, bytes).to_string())),
        ("DELETE", _) => kept.files.remove(&(key, name)).map_or_else(denied, |_| Script::json(200, "{}")),
        (_, GENERATE) => {
            let body = sent.json();
            let parts = body["contents"][0]["parts"].as_array().cloned().unwrap_or_default();
            let uris = parts.iter().filter_map(|part| part["fileData"]["fileUri"].as_str());
            let mut names = uris.filter_map(|uri| Some(format!("files/{}", uri.rsplit_once("files/")?.1)));
            match names.all(|name| kept.files.contains_key(&(key.clone(), name))) {
                true => Script::json(
                    200,
                    r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"seen"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":1,"totalTokenCount":10}}"#,
                ),
                false => denied(),
            }
        }
        (method, path) => Script::json(404, format!(r#"{{"error":{{"message":"{method} {path}"}}}}"#)),
    }
}

fn begin(kept: &mut Kept, key: &str, sent: &Sent) -> Script {
    let told = ["protocol", "command"].map(|name| sent.header(&format!("x-goog-upload-{name}")));
    assert_eq!(told, [Some("resumable"), Some("start")]);
    kept.uploads.push((key.to_owned(), sent.json()["file"]["name"].as_str().expect("a name").to_owned()));
    let at = "https://generativelanguage.googleapis.com/upload/v1beta/files";
    let url = format!("{at}?key={key}&upload_id=up-{}&upload_protocol=resumable", kept.uploads.len() - 1);
    let headers = [
        ("x-goog-upload-status", "active"),
        ("x-goog-upload-chunk-granularity", "262144"),
        ("x-goog-upload-url", &url),
        ("x-goog-upload-control-url", &url),
    ];
    Script::whole(200, &headers, "")
}

fn piece(kept: &mut Kept, key: &str, query: &str, sent: &Sent) -> Script {
    let number =
        query.strip_prefix("upload_id=up-").and_then(|rest| rest.split('&').next()?.parse::<usize>().ok());
    let (owner, name) = kept.uploads[number.expect("an upload")].clone();
    assert_eq!((owner.as_str(), query.contains("tollgate")), (key, false), "{query}");
    let bytes = kept.files.entry((owner, name.clone())).or_default();
    assert_eq!(sent.header("x-goog-upload-offset"), Some(bytes.len().to_string().as_str()));
    bytes.extend(&sent.body);
    match sent.header("x-goog-upload-command").expect("a command").contains("finalize") {
        true => {
            let answer = json!({"file": file(&name, bytes)}).to_string();
            Script::whole(
                200,
                &[("content-type", "application/json"), ("x-goog-upload-status", "final")],
                answer,
            )
        }
        false => Script::whole(200, &[("x-goog-upload-status", "active")], ""),
    }
}

/// Two files a page.
fn list(kept: &Kept, key: &str, query: &str) -> Script {
    let of_key = kept.files.iter().filter(|((owner, _), _)| owner == key);
    let mut rest = of_key.map(|((_, name), bytes)| file(name, bytes));
    let begin = query.rsplit_once("pageToken=").map_or(0, |(_, at)| at.parse().expect("a place"));
    let page: Vec<Value> = rest.by_ref().skip(begin).take(2).collect();
    let mut answer = json!({"files": page});
    if rest.next().is_some() {
        answer["nextPageToken"] = json!((begin + 2).to_string());
    }
    Script::json(200, answer.to_string())
}

/// A gateway before Google, with two of the operator's keys and two users.
async fn rig(change: impl FnOnce(&mut Setup)) -> Rig {
    let rig = Rig::with(|setup| {
        setup.users.push(("bob", Micropoints::from_points(1000)));
        setup.credentials.push(("google", None, "another-google", 100));
        change(setup);
    })
    .await;
    let kept = Arc::new(Mutex::new(Kept::default()));
    rig.upstream.respond(move |sent| google(&kept, sent));
    rig
}

fn beginning(body: &str) -> Request {
    Request::new("POST", UPLOAD)
        .header("x-goog-upload-protocol", "resumable")
        .header("x-goog-upload-command", "start")
        .header("x-goog-upload-header-content-length", "8")
        .header("x-goog-upload-header-content-type", "text/plain")
        .body(body)
}

fn sending(target: &str, command: &str, offset: usize, bytes: &str) -> Request {
    sent_by("POST", target, command, offset, bytes)
}

fn sent_by(method: &str, target: &str, command: &str, offset: usize, bytes: &str) -> Request {
    Request::new(method, target)
        .header("x-goog-upload-command", command)
        .header("x-goog-upload-offset", &offset.to_string())
        .body(bytes)
}

/// Begins an upload and returns where its pieces go.
async fn begun(rig: &Rig, user: &str) -> String {
    let request = beginning(r#"{"file":{"mimeType":"text/plain"}}"#).bearer(rig.key(user));
    let reply = client::call(rig.addr(), &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-goog-upload-status"), Some("active"));
    assert_eq!(reply.header("x-goog-upload-control-url"), None);
    let url = reply.header("x-goog-upload-url").expect("an address").to_owned();
    let target = url.strip_prefix(&format!("http://{}", rig.addr())).expect("the gateway's own");
    assert!(!url.contains("google.com") && !url.contains(rig.key(user)), "{url}");
    target.to_owned()
}

/// A file of a user's, by its name.
async fn uploaded(rig: &Rig, user: &str) -> String {
    let target = begun(rig, user).await;
    let first = client::call(rig.addr(), &sending(&target, "upload", 0, "moin")).await;
    assert_eq!(
        (first.status, first.header("x-goog-upload-status")),
        (200, Some("active")),
        "{}",
        first.text()
    );
    let last = client::call(rig.addr(), &sending(&target, "upload, finalize", 4, " you")).await;
    assert_eq!((last.status, last.header("x-goog-upload-status")), (200, Some("final")), "{}", last.text());
    assert_eq!(last.json()["file"]["sizeBytes"], "8");
    last.json()["file"]["name"].as_str().expect("a name").to_owned()
}

async fn asked(rig: &Rig, user: &str, method: &str, target: &str) -> Reply {
    client::call(rig.addr(), &Request::new(method, target).bearer(rig.key(user))).await
}

fn naming(names: &[&str]) -> Request {
    let at = "https://generativelanguage.googleapis.com/v1beta";
    let part =
        |name: &&str| json!({"fileData": {"mimeType": "text/plain", "fileUri": format!("{at}/{name}")}});
    let parts: Vec<Value> = names.iter().map(part).collect();
    Request::post(GENERATE, &json!({"contents": [{"role": "user", "parts": parts}]}))
}

/// The names of all files that a user is shown: on one page, whatever lies between them.
async fn listed(rig: &Rig, user: &str) -> Vec<String> {
    let page = asked(rig, user, "GET", &format!("{FILES}?pageSize=1")).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let page = page.json();
    assert_eq!(page.get("nextPageToken"), None, "{page}");
    let files = page["files"].as_array().expect("a list").iter();
    let mut names: Vec<String> = files.filter_map(|file| Some(file["name"].as_str()?.to_owned())).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_file_goes_up_in_pieces_and_is_asked_about_with_the_key_that_keeps_it() {
    let rig = rig(|_| {}).await;
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(uploaded(&rig, "alice").await);
    }
    names.sort_unstable();
    // Two a page lie at Google: whole pages of them are another's.
    for _ in 0..5 {
        uploaded(&rig, "bob").await;
    }
    assert_eq!(listed(&rig, "alice").await, names);
    let (one, other) = (names[0].as_str(), names[1].as_str());
    // Often enough that the other key would have had its turn.
    for _ in 0..4 {
        let reply = rig.call(naming(&[one, other])).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(asked(&rig, "alice", "GET", &format!("/v1beta/{one}")).await.json()["name"], one);
    assert_eq!(asked(&rig, "alice", "DELETE", &format!("/v1beta/{one}")).await.status, 200);
    let gone = asked(&rig, "alice", "GET", &format!("/v1beta/{one}")).await;
    assert_eq!(gone.status, 403, "as Google says: {}", gone.text());
    assert_eq!(listed(&rig, "alice").await.len(), 2);
    let records = rig.records(3).await;
    let began: Vec<_> = records.iter().filter(|it| it.operation == Some(Operation::KeepFile)).collect();
    assert!(
        began
            .iter()
            .all(|record| record.outcome == Outcome::Ok && record.model.as_deref() == Some("gemini-files")),
        "{began:?}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn nobody_has_anothers_file_although_one_key_keeps_both() {
    let rig = rig(|setup| setup.credentials.retain(|(_, _, secret, _)| *secret != "another-google")).await;
    let (own, others) = (uploaded(&rig, "alice").await, uploaded(&rig, "bob").await);
    assert_eq!(listed(&rig, "alice").await, [own.as_str()]);
    assert_eq!(listed(&rig, "bob").await, [others.as_str()]);
    let before = rig.upstream.count();
    // With her own name put into his, and with the case changed.
    let forged = format!("{}{}", &own[..others.len() - 16], &others[others.len() - 16..]);
    for (name, status) in [(others.as_str(), 404), (&others.to_uppercase(), 404), ("files/abc-123", 404)] {
        for method in ["GET", "DELETE"] {
            let reply = asked(&rig, "alice", method, &format!("/v1beta/{name}")).await;
            assert_eq!(
                (reply.status, reply.header("x-should-retry")),
                (status, Some("false")),
                "{method} {name}"
            );
        }
    }
    for names in [&[others.as_str()][..], &[&own, &others], &[&others, &own]] {
        assert_eq!(rig.call(naming(names)).await.status, 404, "{names:?}");
    }
    assert_eq!(rig.upstream.count(), before, "nothing of it went up");
    assert_eq!(
        asked(&rig, "alice", "GET", &format!("/v1beta/{forged}")).await.status,
        403,
        "hers, and there is none"
    );
    assert_eq!(
        asked(&rig, "bob", "GET", &format!("/v1beta/{others}")).await.status,
        200,
        "it is still there"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_piece_is_taken_at_an_address_that_was_made_here() {
    let rig = rig(|_| {}).await;
    let (target, of_bob) = (begun(&rig, "alice").await, begun(&rig, "bob").await);
    let sender = |target: &str| target.rsplit_once('=').expect("a sender").1.to_owned();
    let before = rig.upstream.count();
    for wrong in [
        target.replace("up-0", "up-1"),
        target.replace(&sender(&target), &sender(&of_bob)),
        target.replace(&sender(&target), "AAAA"),
        target.replace(&sender(&target), ""),
        format!("{UPLOAD}?upload_id=up-0&upload_protocol=resumable"),
    ] {
        let reply = client::call(rig.addr(), &sending(&wrong, "upload, finalize", 0, "moin")).await;
        assert_eq!(reply.status, 401, "{wrong}: {}", reply.text());
    }
    assert_eq!(rig.upstream.count(), before);
    // PUT is as good, and so is a key beside it.
    let put = sent_by("PUT", &target, "upload, finalize", 0, "moin");
    let reply = client::call(rig.addr(), &put.bearer(rig.key("alice"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_kept_so_is_refused_by_name() {
    let rig = rig(|_| {}).await;
    let own = r#"{"file":{"name":"files/mine"}}"#;
    let plain = Request::new("POST", UPLOAD).header("x-goog-upload-protocol", "raw").body("moin");
    for (request, words) in [
        (beginning(own), "`file.name`"),
        (beginning(r#"{"file":[]}"#), "`file`"),
        (beginning("moin"), "JSON"),
        (plain, "X-Goog-Upload-Protocol: resumable"),
        (Request::new("POST", UPLOAD).body("{}"), "X-Goog-Upload-Command: start"),
        (Request::get(&format!("{FILES}?pageToken=x")), "pageToken"),
    ] {
        let reply = rig.call(request).await;
        assert_eq!((reply.status, reply.header("x-should-retry")), (400, Some("false")), "{words}");
        assert!(reply.text().contains(words), "{words}: {}", reply.text());
    }
    assert_eq!(rig.upstream.count(), 0);
    let reply = asked(&rig, "alice", "POST", FILES).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET")));
    assert_eq!(client::call(rig.addr(), &beginning("{}")).await.status, 401);
    rig.stop().await;
}

#[tokio::test]
async fn files_have_a_price_a_model_and_a_provider_or_are_refused() {
    let rig = rig(|setup| setup.credentials.retain(|(provider, ..)| *provider != "google")).await;
    let reply = rig.call(beginning("{}")).await;
    assert_eq!(reply.status, 503, "nobody keeps any: {}", reply.text());
    rig.stop().await;
    let rig = self::rig(|_| {}).await;
    let desk = rig.desk().await;
    let limits = KeyLimits { models: vec!["gemini-2.5-*".to_owned()], ..KeyLimits::default() };
    let (_, key) = desk.create_key("alice", "no files", None, limits).await.expect("a key");
    desk.close().await;
    patiently("the gateway to know the key", async {
        while client::call(rig.addr(), &Request::get("/v1/models").bearer(key.expose())).await.status == 401 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let reply = client::call(rig.addr(), &beginning("{}").bearer(key.expose())).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    let shown = asked(&rig, "alice", "GET", "/v1beta/models").await.text();
    assert!(shown.contains("gemini-2.5-flash") && !shown.contains("gemini-files"), "{shown}");
    // A list of prices without it.
    let list = "points_per_usd = 1000\n[[model]]\nname = \"gemini-2.5-flash\"\nprovider = \"google\"\n\
                output_tokens_max = 5000\ninput = \"1\"\ncache_read = \"1\"\ncache_write_short = \"1\"\n\
                cache_write_long = \"1\"\noutput = \"1\"\naudio_input = \"1\"\naudio_output = \"1\"\n";
    let body = json!({"list": list}).to_string();
    let publish = Request::new("POST", "/management/v1/prices").body(body).bearer(rig.admin_secret());
    let published = client::call(rig.admin_addr(), &publish).await;
    assert!([200, 201].contains(&published.status), "{}", published.text());
    patiently("the prices", async {
        while rig.call(beginning("{}")).await.status == 200 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let reply = rig.call(beginning("{}")).await;
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert!(reply.text().contains("`gemini-files`"), "{}", reply.text());
    rig.stop().await;
}

#[tokio::test]
async fn googles_sdk_keeps_a_file_asks_about_it_and_removes_it() {
    let rig = rig(|_| {}).await;
    let url = format!("http://{}", rig.addr());
    sdk::run("files.py", &url, rig.key("alice")).await.expect_passed();
    rig.stop().await;
}
