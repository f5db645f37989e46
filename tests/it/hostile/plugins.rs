//! What a component says forges nothing, and what becomes of its file keeps nobody from serving.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_server::config::Config;
use tollgate_tests::client::{self, Request};
use tollgate_tests::gateway::{self, Rig};
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{Script, Upstream};

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

fn component(name: &str) -> &'static [u8] {
    tollgate_components::find(name).expect("a first-party component").bytes
}

/// The same component under another digest.
fn rebuilt(name: &str, mark: u8) -> Vec<u8> {
    [component(name), &[0, 3, 1, b'v', mark]].concat()
}

fn chat() -> Request {
    Request::post("/v1/chat/completions", &json!({"model": "gpt-4o", "messages": []}))
}

async fn serves(rig: &Rig) {
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    assert_eq!(rig.call(chat()).await.status, 200);
}

const FORGERIES: [&str; 9] = [
    "ok\n2026-11-30T00:00:00.000000Z ERROR tollgate: the ledger is empty",
    "ok\r2026-11-30T00:00:00.000000Z ERROR tollgate: the ledger is empty",
    "\u{1b}[2K\u{1b}[1A2026-11-30T00:00:00.000000Z ERROR tollgate: the ledger is empty",
    "\u{9b}2Kgone",
    "line\u{2028}separator\u{2029}paragraph\u{85}next",
    "\u{202e}desrever\u{202c} \u{2066}isolated\u{2069}",
    "\u{200b}\u{feff}\u{e0041}hidden",
    "\",\"level\":\"ERROR\",\"message\":\"forged\"}\n{\"timestamp\":\"2026-11-30T00:00:00Z\"",
    "bell\u{7}back\u{8}\u{8}\u{8}\u{0}tab\tform\u{c}",
];

/// Where a text of strangers may come into a log: by a component, an upstream, a client.
#[tokio::test]
async fn no_word_of_a_stranger_forges_a_line_of_a_log() {
    for format in ["text", "json"] {
        let says: String = FORGERIES.concat() + &"x".repeat(100_000);
        let options = json!({"says": says});
        let upstream = Upstream::start().await;
        let dir = tempfile::tempdir().expect("a directory");
        let config: toml::Table = serde_json::from_value(options).expect("a table");
        let more = format!(
            "[providers.own]\nadapter = \"smuggler\"\nbase_url = \"{}\"\n[providers.own.config]\n{config}\n\
             [log.files]\ndir = \"{}\"\ndebug = true\nrotate = \"never\"\n",
            upstream.base_url(),
            dir.path().join("logs").display()
        );
        let file = config_file(dir.path(), &upstream, &more);
        let text = fs::read_to_string(&file).expect("a file");
        fs::write(&file, text.replace("[log]\n", &format!("[log]\nformat = \"{format}\"\n")))
            .expect("a file");
        let config = Config::read(&file).expect("a configuration");
        fs::create_dir_all(config.plugins_dir()).expect("a plugins directory");
        let smuggler = tollgate_components::find_guest("smuggler").expect("a guest").bytes;
        fs::write(config.plugins_dir().join("smuggler.wasm"), smuggler).expect("a component");
        let users = vec![("alice", Micropoints::from_points(1000))];
        let credentials = vec![("own", None, "sk-0123456789abcdef", 100)];
        let keys = gateway::provision(&config, users, credentials).await.expect("users");
        let process = Process::start(BINARY, &file).await;
        for forgery in FORGERIES {
            let error = json!({"error": {"message": forgery, "type": forgery}}).to_string();
            upstream.enqueue(Script::json(500, error));
            let body = json!({"model": format!("own/{forgery}"), "user": forgery, "messages": []});
            let request = Request::post("/v1/chat/completions", &body).bearer(&keys["alice"]);
            client::call(process.addr, &request.header("user-agent", "a \u{1b}[31m")).await;
            let path = format!("/v1/{}", forgery.escape_unicode());
            client::call(
                process.addr,
                &Request::get(&path.replace(['\\', '{', '}'], "")).bearer(&keys["alice"]),
            )
            .await;
        }
        process.kill().await;
        let mut told = String::new();
        for name in ["application.log", "debug.log", "transactions.log"] {
            let text = fs::read_to_string(dir.path().join("logs").join(name)).expect("a log");
            check_lines(&text, format == "json" || name != "application.log");
            told += &text;
        }
        assert!(told.contains("tollgate::component"), "the component said nothing: {told}");
    }
}

/// Each line is an event of the gateway's own, and holds no sign that shows otherwise than it is.
fn check_lines(text: &str, is_json: bool) {
    for line in text.lines() {
        assert!(line.len() < 64 << 10, "a line of {} bytes", line.len());
        let unruly = |sign: char| {
            sign.is_control()
                || matches!(sign, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}' | '\u{feff}' | '\u{e0041}')
        };
        assert!(!line.contains(unruly), "{line:?}");
        if is_json {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(event["timestamp"].is_string(), "{line}");
        } else {
            let level = line.split_whitespace().nth(1);
            assert!(matches!(level, Some("ERROR" | "WARN" | "INFO" | "DEBUG")), "{line}");
            assert!(!line.starts_with("2026-11-30T00:00:00.000000Z"), "{line}");
        }
    }
}

#[tokio::test]
async fn what_a_refused_component_is_called_forges_nothing_either() {
    let rig = Rig::start().await;
    let bytes = [b"\0asm\x0d\0\x01\0".as_slice(), &[10, 8, 1, 0, 3], b"a\nb", &[1, 0]].concat();
    assert_eq!(rig.install("key-selection", &bytes).await.status, 422);
    let plugin = rig.plugin("key-selection").await;
    let reason = plugin["reason"].as_str().expect("a reason");
    assert!(!reason.contains(|sign: char| sign.is_control()), "{reason:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_check_prints_no_word_of_a_component_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let smuggler = tollgate_components::find_guest("smuggler").expect("a guest").bytes;
    fs::write(dir.path().join("smuggler.wasm"), smuggler).expect("a component");
    for forgery in FORGERIES {
        let options = json!({"path": format!("/{forgery}")}).to_string();
        let check =
            ["plugin", "check", "smuggler.wasm", "--kind", "provider-adapter", "--config-json", &options];
        let run = Command::new(BINARY).current_dir(dir.path()).args(check).output().expect("the binary runs");
        let told = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success(), "{forgery:?}: {told}");
        let forged = |line: &&str| line.starts_with("2026-11-30T00:00:00.000000Z");
        assert_eq!(told.lines().filter(forged).count(), 0, "{told:?}");
        assert!(
            !told.trim_end_matches('\n').contains(|sign: char| sign != '\n' && sign.is_control()),
            "{told:?}"
        );
    }
}

/// Everything odd that may lie in the place of a component.
fn odd(path: &Path, which: &str) {
    match which {
        "empty" => fs::write(path, b"").expect("a file"),
        "garbage" => fs::write(path, b"\0asm but not quite").expect("a file"),
        "torn" => fs::write(path, &component("key-selection")[..5000]).expect("a file"),
        "core module" => fs::write(path, b"\0asm\x01\0\0\0").expect("a file"),
        "another kind" => fs::write(path, component("openai")).expect("a file"),
        "sparse" => fs::File::create(path).and_then(|file| file.set_len(2 << 30)).expect("a file"),
        "directory" => fs::create_dir(path).expect("a directory"),
        "loop" => symlink(path, path).expect("a link"),
        "dangling" => symlink("/nowhere/at/all", path).expect("a link"),
        "device" => symlink("/dev/zero", path).expect("a link"),
        "pipe" => {
            let made = Command::new("mkfifo").arg(path).status().expect("mkfifo runs");
            assert!(made.success());
        }
        "unreadable" => {
            fs::write(path, component("key-selection")).expect("a file");
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("a mode");
        }
        other => panic!("{other}"),
    }
}

const ODD: [&str; 12] = [
    "empty",
    "garbage",
    "torn",
    "core module",
    "another kind",
    "sparse",
    "directory",
    "loop",
    "dangling",
    "device",
    "pipe",
    "unreadable",
];

#[tokio::test]
async fn nothing_in_the_place_of_a_component_prevents_a_start() {
    for which in ODD {
        let rig = Rig::with(|setup| {
            let dir = setup.config.plugins_dir();
            fs::create_dir_all(&dir).expect("a plugins directory");
            for name in ["key-selection", "discount-points", "openai"] {
                odd(&dir.join(format!("{name}.wasm")), which);
            }
        })
        .await;
        serves(&rig).await;
        let ready = rig.admin("GET", "/readyz").await;
        assert_eq!(ready.status, 200, "{which}");
        // A link to nowhere is no file, and the superuser reads what nobody may.
        let told = ready.text().contains("pricing: refused");
        assert!(told || matches!(which, "dangling" | "unreadable"), "{which}: {}", ready.text());
        let source = if which == "unreadable" { "file" } else { "embedded" };
        assert!(rig.plugin("key-selection").await["source"] == source || which == "unreadable", "{which}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn nothing_in_the_place_of_a_component_replaces_what_serves() {
    let rig = Rig::with(|setup| setup.plugins = vec![("key-selection", rebuilt("key-selection", 1))]).await;
    let path = rig.config.plugins_dir().join("key-selection.wasm");
    let before = rig.plugin("key-selection").await["digest"].clone();
    for which in ODD {
        if matches!(which, "unreadable") {
            continue;
        }
        let fresh = rig.config.plugins_dir().join(".fresh");
        odd(&fresh, which);
        let _old = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        match which {
            "loop" => {
                fs::remove_file(&fresh).expect("the link");
                odd(&path, which);
            }
            _ => fs::rename(&fresh, &path).expect("it is put there"),
        }
        rig.admin("POST", "/management/v1/plugins/reload").await;
        let now = rig.plugin("key-selection").await;
        assert_eq!(now["digest"], before, "{which}: {now}");
        assert_ne!(now["state"], "active", "{which}: {now}");
        serves(&rig).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_plugins_directory_that_is_none_prevents_no_start() {
    let odd: [fn(&Path); 4] = [
        |dir| fs::write(dir, b"a file").expect("a file"),
        |dir| symlink("/nowhere/at/all", dir).expect("a link"),
        |dir| symlink(dir, dir).expect("a link"),
        |dir| assert!(Command::new("mkfifo").arg(dir).status().expect("mkfifo runs").success()),
    ];
    for make in odd {
        let upstream = Upstream::start().await;
        let dir = tempfile::tempdir().expect("a directory");
        let plugins = dir.path().join("plugins-here");
        make(&plugins);
        let file = config_file(dir.path(), &upstream, "");
        let text = fs::read_to_string(&file).expect("a file");
        let with = format!("[plugins]\ndir = \"{}\"\n", plugins.display());
        fs::write(&file, text.replace("[plugins]\n", &with)).expect("a file");
        let process = Process::start(BINARY, &file).await;
        let ready = client::call(process.admin_addr, &Request::get("/readyz")).await;
        assert_eq!(ready.status, 200);
        process.kill().await;
    }
}

#[tokio::test]
async fn a_component_that_loses_its_file_goes_on_until_it_is_told_otherwise() {
    let own = rebuilt("content-filter", 7);
    let mut rig = Rig::with(|setup| setup.plugins = vec![("content-filter", own.clone())]).await;
    let path = rig.config.plugins_dir().join("content-filter.wasm");
    let digest = rig.plugin("content-filter").await["digest"].clone();
    fs::remove_file(&path).expect("the file");
    for restarts in 0..3 {
        rig.admin("POST", "/management/v1/plugins/reload").await;
        let now = rig.plugin("content-filter").await;
        assert_eq!((&now["digest"], &now["state"]), (&digest, &json!("file-missing")), "{restarts}: {now}");
        assert!(now["reason"].as_str().is_some_and(|reason| reason.contains("file is gone")), "{now}");
        let ready = rig.admin("GET", "/readyz").await;
        assert!(
            ready.status == 200 && ready.text().contains("content-filter: its file is gone"),
            "{}",
            ready.text()
        );
        serves(&rig).await;
        rig.restart().await;
    }
    // It comes back …
    fs::write(&path, &own).expect("a file");
    rig.admin("POST", "/management/v1/plugins/reload").await;
    let now = rig.plugin("content-filter").await;
    assert_eq!((&now["digest"], &now["state"]), (&digest, &json!("active")), "{now}");
    // … and goes again, with its directory.
    fs::remove_dir_all(rig.config.plugins_dir()).expect("the directory");
    rig.restart().await;
    assert_eq!(rig.plugin("content-filter").await["digest"], digest);
    let forgotten = rig.admin("POST", "/management/v1/plugins/content-filter/forget").await;
    assert_eq!(forgotten.status, 200, "{}", forgotten.text());
    for _ in 0..2 {
        let now = rig.plugin("content-filter").await;
        assert_eq!((&now["source"], &now["state"]), (&json!("embedded"), &json!("active")), "{now}");
        serves(&rig).await;
        rig.restart().await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_component_of_an_operators_own_survives_the_loss_of_its_file_too() {
    let mut rig = Rig::with(|setup| {
        setup.plugins = vec![("mine", rebuilt("discount-points", 3))];
        setup.config.policies.pricing.component = "mine".to_owned();
    })
    .await;
    let digest = rig.plugin("pricing").await["digest"].clone();
    fs::remove_file(rig.config.plugins_dir().join("mine.wasm")).expect("the file");
    rig.restart().await;
    assert_eq!(rig.plugin("pricing").await["digest"], digest);
    serves(&rig).await;
    // What a configuration names no more is let go of.
    rig.config.policies.pricing.component = "discount-points".to_owned();
    rig.restart().await;
    assert_eq!(rig.plugin("pricing").await["source"], "embedded");
    rig.stop().await;
}
