//! What an author has at hand: a folder to begin with, a look at a file, cases, times; and for an operator the versions
//! that served, with the way back.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

/// A directory of an author's.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.display().to_string()
    }

    fn run(&self, args: &[&str]) -> Output {
        let data = self.0.path().join("data");
        let mut command = Command::new(BINARY);
        command.current_dir(self.0.path()).arg("--data-dir").arg(data).env_remove("TOLLGATE_CONFIG");
        command.args(args).output().expect("the binary runs")
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[&["--json"], args].concat());
        assert!(output.status.success(), "{args:?}: {}", both(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn both(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn component(name: &str) -> &'static [u8] {
    tollgate_components::find(name).expect("a component").bytes
}

fn guest(name: &str) -> &'static [u8] {
    tollgate_components::find_guest(name).expect("a guest").bytes
}

/// The same component under another digest.
fn rebuilt(bytes: &[u8], note: u8) -> Vec<u8> {
    [bytes, &[0, 6, 4, b'n', b'o', b't', b'e', note]].concat()
}

#[test]
fn a_look_at_a_file_tells_what_it_is_and_what_it_may_do() {
    let bench = Bench::new();
    for (name, kind) in [
        ("discount-points", "pricing-policy"),
        ("key-selection", "key-selector"),
        ("content-filter", "content-filter"),
        ("openai", "provider-adapter"),
    ] {
        let file = bench.file("own.wasm", component(name));
        for what in [file.as_str(), name] {
            let found = bench.json(&["plugin", "inspect", what]);
            assert_eq!(
                (&found["kind"], &found["contract"], &found["served"]),
                (&json!(kind), &json!("0.2.0"), &json!("current")),
                "{found}"
            );
            assert_eq!(found["bytes"], component(name).len(), "{found}");
            assert!(
                found["functions"].as_u64() > Some(10) && found["code_bytes"].as_u64() > Some(1000),
                "{found}"
            );
            let exports = found["exports"].to_string();
            assert!(exports.contains("tollgate:plugin/"), "{exports}");
            assert!(
                !found["shown"].as_array().expect("a list").is_empty()
                    && !found["may"].as_array().expect("a list").is_empty()
            );
            let is_called_alone = !found["imports"].to_string().contains("tollgate:plugin/host");
            let told = found["never"].to_string().contains("no function of the gateway");
            assert_eq!(told, is_called_alone, "{name}: {found}");
            assert!(is_called_alone || kind != "pricing-policy", "a policy that imports anything is refused");
        }
    }
    let shown = bench.run(&["plugin", "inspect", "openai"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("name hosts for keys"), "{}", both(&shown));
    // What is no component, and one of no kind.
    for (bytes, words) in [(&b"\0asm\x01\0\0\0"[..], "wasm32-wasip2"), (b"hello", "not a complete")] {
        let refused = bench.run(&["plugin", "inspect", &bench.file("odd.wasm", bytes)]);
        assert!(!refused.status.success() && both(&refused).contains(words), "{}", both(&refused));
    }
    let none = bench.json(&["plugin", "inspect", &bench.file("none.wasm", b"\0asm\x0d\0\x01\0")]);
    assert_eq!((&none["kind"], &none["served"]), (&Value::Null, &json!("none")));
    assert!(!bench.0.path().join("data").exists(), "a look leaves nothing behind");
}

#[test]
fn a_check_finds_the_kind_by_itself_and_shows_what_a_component_says() {
    let bench = Bench::new();
    let file = bench.file("filter.wasm", component("content-filter"));
    let settings = r#"{"words":["falcon","owl"],"responses":{"window_chars":9}}"#;
    let found = bench.json(&["plugin", "check", &file, "--config-json", settings]);
    assert_eq!((&found["kind"], &found["rules"]), (&json!("content-filter"), &json!(2)));
    assert_eq!(found["answer_window_chars"], 9);
    let wrong = bench.run(&["plugin", "check", &file, "--kind", "pricing-policy"]);
    assert!(!wrong.status.success() && both(&wrong).contains("not a pricing-policy"), "{}", both(&wrong));
    let chatter = bench.file("chatter.wasm", guest("chatter"));
    let heard = bench.run(&["plugin", "check", &chatter]);
    assert!(heard.status.success(), "{}", both(&heard));
    assert!(!String::from_utf8_lossy(&heard.stderr).is_empty(), "its lines are heard");
}

/// The cases that a new folder gets, asked of the component that its source makes.
fn template(bench: &Bench, file: &[u8], kind: &str) -> Output {
    let component = bench.file("made.wasm", file);
    let cases = format!("{REPOSITORY}/plugins/template/cases/{kind}.toml");
    bench.run(&["plugin", "test", &component, "--cases", &cases])
}

#[test]
fn what_a_new_folder_holds_answers_as_its_cases_say() {
    let bench = Bench::new();
    for (name, kind) in [
        ("selector-template", "key-selector"),
        ("filter-template", "content-filter"),
        ("adapter-template", "provider-adapter"),
    ] {
        let tested = template(&bench, guest(name), kind);
        assert!(tested.status.success() && both(&tested).contains("0 failed"), "{kind}: {}", both(&tested));
    }
    // The cases of another policy are not those of this one.
    let other = template(&bench, component("key-selection"), "key-selector");
    assert!(!other.status.success() && both(&other).contains("failed"), "{}", both(&other));
    let filter = template(&bench, guest("filter-template"), "key-selector");
    assert!(both(&filter).contains("a content-filter is not asked for `select`"), "{}", both(&filter));
}

#[test]
fn cases_without_an_answer_are_held_to_a_snapshot_that_somebody_accepted() {
    let bench = Bench::new();
    let policy = bench.file("price.wasm", component("discount-points"));
    let cases = bench.file(
        "cases.toml",
        "[[case]]\nname = \"own key\"\nbill = { owner = \"user\", units = { input = 1000 }, rates = { input = 5000000000 } }\n",
    );
    let test = |more: &[&str]| bench.run(&[&["plugin", "test", &policy, "--cases", &cases], more].concat());
    assert!(!test(&[]).status.success(), "nothing is known yet");
    assert!(test(&["--accept"]).status.success());
    assert!(test(&[]).status.success(), "{}", both(&test(&[])));
    let kept = std::fs::read_to_string(bench.0.path().join("cases.snapshot.json")).expect("a snapshot");
    assert!(kept.contains("500000"), "{kept}");
    let other = test(&["--config-json", r#"{"own_credential_ppm":200000}"#]);
    assert!(!other.status.success() && both(&other).contains("1000000"), "{}", both(&other));
    // Mistakes of the author are said with what there is.
    for (wrong, words) in [
        ("bill = { owner = \"nobody\" }", "user, platform, shared"),
        ("bill = { units = { inputs = 1 } }", "there is no `inputs`"),
        ("bill = { at = \"noon\" }", "noon"),
        (
            "translate = { client = \"x\", upstream = \"gemini\", body = \"\" }",
            "is not asked for `translate`",
        ),
    ] {
        let cases = bench.file("wrong.toml", format!("[[case]]\nname = \"wrong\"\n{wrong}\n"));
        let refused = bench.run(&["plugin", "test", &policy, "--cases", &cases]);
        assert!(!refused.status.success() && both(&refused).contains(words), "{wrong}: {}", both(&refused));
    }
}

#[test]
fn every_kind_is_timed_beside_the_built_in_one() {
    let bench = Bench::new();
    for name in ["discount-points", "key-selection", "content-filter", "claude"] {
        let file = bench.file("own.wasm", component(name));
        let told = bench.json(&["plugin", "bench", &file, "--calls", "20"]);
        let rows = told["rows"].as_array().expect("rows");
        assert!(rows.iter().any(|row| row["component"] == "built-in"), "{told}");
        for row in rows {
            assert_eq!(row["calls"], 20, "{name}: {told}");
            assert!(row["us_p50"].as_str().is_some_and(|us| us != "0.0"), "{told}");
            assert!(row["memory_bytes_peak"].as_u64() > Some(0), "{told}");
        }
    }
}

#[test]
fn a_new_folder_is_whole_and_nobody_s_is_overwritten() {
    let bench = Bench::new();
    for kind in ["pricing-policy", "key-selector", "content-filter", "provider-adapter"] {
        let name = format!("my-{kind}");
        let made = bench.json(&["plugin", "new", &name, "--kind", kind]);
        let folder = PathBuf::from(made["folder"].as_str().expect("a folder"));
        let there = |place: &str| bench.0.path().join(&folder).join(place).is_file();
        for place in [
            "Cargo.toml",
            "src/lib.rs",
            "cases.toml",
            "README.md",
            "vendor/wit/policy.wit",
            "vendor/wit/class.rs",
            "vendor/plugins/sdk/src/lib.rs",
        ] {
            assert!(there(place), "{kind}: {place}");
        }
        let again = bench.run(&["plugin", "new", &name, "--kind", kind]);
        assert!(!again.status.success() && both(&again).contains("is there already"));
    }
    for lang in ["javascript", "python"] {
        bench.json(&["plugin", "new", lang, "--kind", "key-selector", "--lang", lang]);
        let refused = bench.run(&["plugin", "new", "x", "--kind", "content-filter", "--lang", lang]);
        assert!(both(&refused).contains("key-selector to begin with"), "{}", both(&refused));
    }
    for name in ["../x", "X", "", "a/b", "-x", "9x"] {
        let refused = bench.run(&["plugin", "new", "--kind", "key-selector", "--", name]);
        assert!(!refused.status.success(), "{name}");
    }
}

#[test]
fn a_new_folder_builds_outside_of_the_repository() {
    let bench = Bench::new();
    bench.json(&["plugin", "new", "night-owl", "--kind", "content-filter"]);
    let folder = bench.0.path().join("night-owl");
    std::fs::copy(Path::new(REPOSITORY).join("Cargo.lock"), folder.join("Cargo.lock"))
        .expect("known versions");
    let target = std::env::temp_dir().join("tollgate-new-target");
    let built = Command::new("cargo")
        .args(["build", "--offline", "--release", "--target", "wasm32-wasip2"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "{}", both(&built));
    let made = target.join("wasm32-wasip2/release/night_owl.wasm").display().to_string();
    let cases = folder.join("cases.toml").display().to_string();
    let tested = bench.run(&["plugin", "test", &made, "--cases", &cases]);
    assert!(tested.status.success(), "{}", both(&tested));
}

async fn call(rig: &Rig) -> Reply {
    let chat = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]});
    rig.call(Request::post("/v1/chat/completions", &chat)).await
}

/// Asks for something to be done with a component; without a body where there is nothing to say.
async fn post(rig: &Rig, path: &str, body: Option<&Value>) -> Reply {
    let path = format!("/management/v1/plugins/{path}");
    let request = match body {
        Some(body) => Request::post(&path, body),
        None => Request::new("POST", &path),
    };
    client::call(rig.admin_addr(), &request.bearer(rig.admin_secret())).await
}

async fn versions(rig: &Rig) -> Vec<Value> {
    let listed = rig.admin("GET", "/management/v1/plugins/key-selection/versions").await.json();
    listed["data"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn every_version_that_served_is_kept_and_can_serve_again() {
    let rig = Rig::with(|setup| setup.users = vec![("alice", Micropoints::from_points(1000))]).await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let digest = async || rig.plugin("key-selection").await["digest"].as_str().expect("a digest").to_owned();
    let carried = digest().await;
    let mut digests = vec![carried.clone()];
    for note in 1..=2 {
        rig.install("key-selection", &rebuilt(component("key-selection"), note)).await;
        digests.push(digest().await);
    }
    let listed = versions(&rig).await;
    let newest: Vec<&str> = listed.iter().map(|it| it["digest"].as_str().expect("a digest")).collect();
    assert_eq!(newest, digests.iter().rev().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        (&listed[0]["until_ms"], &listed[0]["config"], &listed[2]["kept"]),
        (&Value::Null, &json!("{}"), &json!("binary"))
    );

    // One step back, and to a version by the beginning of its digest.
    assert_eq!(post(&rig, "key-selection/back", None).await.status, 200);
    assert_eq!(digest().await, digests[1]);
    let newest = json!({"digest": digests[2][..12]});
    assert_eq!(post(&rig, "key-selection/use", Some(&newest)).await.status, 200);
    assert_eq!(digest().await, digests[2]);
    assert_eq!(call(&rig).await.status, 200);
    // What the binary carries comes back without a file.
    assert_eq!(post(&rig, "key-selection/use", Some(&json!({"digest": carried}))).await.status, 200);
    let plugin = rig.plugin("key-selection").await;
    assert_eq!((plugin["digest"].as_str(), plugin["source"].as_str()), (Some(&*carried), Some("embedded")));
    assert!(!rig.config.plugins_dir().join("key-selection.wasm").exists());
    assert_eq!(call(&rig).await.status, 200);

    // What never served, several at once, and nothing at all are refused in words.
    for digest in ["ffffffffffff", ""] {
        let refused = post(&rig, "key-selection/use", Some(&json!({"digest": digest}))).await;
        assert!(matches!(refused.status, 400 | 404 | 422), "{digest}: {}", refused.text());
    }
    assert_eq!(post(&rig, "nowhere/back", None).await.status, 404);
    let looked = rig.admin("GET", "/management/v1/plugins/key-selection/inspection").await.json();
    assert_eq!((looked["kind"].as_str(), looked["digest"].as_str()), (Some("key-selector"), Some(&*carried)));
    rig.stop().await;
}

#[tokio::test]
async fn a_version_that_failed_its_trial_is_not_put_in_force_and_all_stays_as_it_was() {
    let rig = Rig::with(|setup| {
        setup.credentials = vec![("openai", None, "first", 100), ("openai", None, "second", 100)];
        setup.users = vec![("alice", Micropoints::from_points(1000))];
    })
    .await;
    // Every other attempt fails, and the second attempt of a request traps.
    let attempts = AtomicUsize::new(0);
    rig.upstream.respond(move |_| match attempts.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => Script::json(500, "{}"),
        _ => Script::json(200, ANSWER),
    });
    let carried = rig.plugin("key-selection").await["digest"].clone();
    rig.install("key-selection", guest("trap")).await;
    for _ in 0..3 {
        assert_eq!(call(&rig).await.status, 200, "the gateway chooses by itself");
    }
    tollgate_tests::patiently("the rollback", async {
        while rig.plugin("key-selection").await["state"] != "rolled-back" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let plugin = rig.plugin("key-selection").await;
    assert_eq!(plugin["digest"], carried);
    let failed = plugin["refused_digest"].as_str().expect("what was rolled back").to_owned();
    assert_ne!(failed, carried.as_str().expect("a digest"));
    let file = rig.config.plugins_dir().join("key-selection.wasm");
    let before = std::fs::read(&file).expect("the file that failed");
    let refused = post(&rig, "key-selection/use", Some(&json!({"digest": failed}))).await;
    assert!(refused.status == 422 && refused.text().contains("not taken up"), "{}", refused.text());
    assert_eq!(rig.plugin("key-selection").await["digest"], carried);
    assert_eq!(std::fs::read(&file).expect("as it was"), before);
    assert!(versions(&rig).await.iter().any(|it| it["rolled_back"].is_string()));
    rig.stop().await;
}
