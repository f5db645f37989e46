//! Accidents on the way out: what a table of people would run, what a command of the operator would learn, and names
//! that nobody could tell apart.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tollgate_tests::client::{self, Request};
use tollgate_tests::patiently;
use tollgate_tests::process::Process;

use super::install::{BINARY, Install, text};

async fn ask(process: &Process, secret: &str, method: &str, path: &str, body: &Value) -> client::Reply {
    let target = format!("/management/v1{path}");
    let request = match method {
        "GET" => Request::get(&target),
        _ => Request::new(method, &target).header("content-type", "application/json").body(body.to_string()),
    };
    client::call(process.admin_addr, &request.bearer(secret)).await
}

#[tokio::test]
async fn an_export_holds_no_formula() {
    let (install, key) = Install::with_alice("").await;
    let mut process = install.start().await;
    let said = process.says().await;
    let secret = said.rsplit(' ').next().expect("the admin secret").to_owned();
    let models =
        ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "=HYPERLINK(\"http://evil\",\"x\")"];
    for model in models {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
        let request = Request::post("/v1/chat/completions", &body).bearer(&key);
        client::call(process.addr, &request).await;
    }
    let rows = async || {
        let reply = ask(&process, &secret, "GET", "/requests/export.csv", &Value::Null).await;
        assert_eq!(reply.status, 200);
        reply.text()
    };
    let lines = patiently("the records", async {
        loop {
            let lines = rows().await;
            if lines.lines().count() > models.len() {
                return lines;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let exported = install.ok(&["requests", "export", "--format", "csv"]);
    for lines in [lines, exported] {
        for begin in ['=', '+', '-', '@'] {
            assert!(!lines.contains(&format!(",{begin}")), "{lines}");
            assert!(!lines.contains(&format!(",\"{begin}")), "{lines}");
            assert!(!lines.contains(&format!("\n{begin}")), "{lines}");
        }
    }
    process.kill().await;
}

#[tokio::test]
async fn a_command_of_the_operator_learns_no_secret_and_holds_nothing_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let (saw, open) = (dir.path().join("saw"), dir.path().join("open"));
    let script = format!("env > {}; ls -l /proc/self/fd > {}; cat", saw.display(), open.display());
    let more = format!(
        "[requests]\nkeep_records = 1\narchive_dir = \"archive\"\narchive_command = [\"sh\", \"-c\", '{script}', \"x\"]\n"
    );
    let (install, key) = Install::with_alice(&more).await;
    let process = install.start().await;
    super::install::call(&process, &key, 5).await;
    process.end().await;
    let mut command = install.command(&["requests", "prune"]);
    let secrets = [
        ("TOLLGATE_MASTER_KEY", fs::read_to_string(install.file("master.key")).expect("a key")),
        ("TOLLGATE_ADMIN_SECRET", "admin-secret-word".to_owned()),
        ("OPENAI_API_KEYS", "sk-secret-word".to_owned()),
        ("ANTHROPIC_API_KEYS", "ant-secret-word".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "aws-secret-word".to_owned()),
        ("LD_PRELOAD_OF_MINE", "preload-secret-word".to_owned()),
    ];
    command.envs(secrets.iter().map(|(name, value)| (*name, value))).env("TZ", "UTC");
    let pruned = super::install::finished(command, "");
    assert!(pruned.status.success(), "{}", text(&pruned.stderr));
    let saw = fs::read_to_string(saw).expect("what it saw");
    assert!(saw.contains("PATH=") && saw.contains("TZ=UTC"), "{saw}");
    for (name, value) in &secrets {
        assert!(!saw.contains(name) && !saw.contains(value.as_str()), "{name}: {saw}");
    }
    let open = fs::read_to_string(open).expect("what was open");
    for ours in ["tollgate.db", "master.key", "journal", "socket:", "anon_inode"] {
        assert!(!open.contains(ours), "{open}");
    }
}

/// Signs that nobody sees, or that turn a line round.
const HIDDEN: [char; 9] =
    ['\n', '\t', '\0', '\u{1b}', '\u{7f}', '\u{85}', '\u{202e}', '\u{200b}', '\u{feff}'];

#[tokio::test]
async fn names_and_notes_hold_no_sign_that_nobody_sees() {
    let (install, _) = Install::with_alice("").await;
    let mut process = install.start().await;
    let said = process.says().await;
    let secret = said.rsplit(' ').next().expect("the admin secret").to_owned();
    let users = ask(&process, &secret, "GET", "/users", &Value::Null).await.json();
    let alice = users["data"][0]["id"].as_str().expect("an id").to_owned();
    let keys = ask(&process, &secret, "GET", "/keys", &Value::Null).await.json();
    let key = keys["data"][0]["id"].as_str().expect("an id").to_owned();
    let credentials = ask(&process, &secret, "GET", "/credentials", &Value::Null).await.json();
    let credential = credentials["data"][0]["id"].as_str().expect("an id").to_owned();
    let calls = |bad: &str| {
        let route = json!({"name": "m", "targets": [{"provider": "openai"}]});
        let with = |member: &str, value: Value| {
            let mut route = route.clone();
            route[member] = value;
            route
        };
        [
            ("POST", "/users".to_owned(), json!({"name": bad})),
            ("POST", "/keys".to_owned(), json!({"user": "alice", "name": bad})),
            ("PATCH", format!("/keys/{key}"), json!({"name": bad})),
            ("PATCH", format!("/keys/{key}"), json!({"limits": {"models": [bad]}})),
            ("PATCH", format!("/keys/{key}"), json!({"limits": {"providers": [bad]}})),
            ("PATCH", format!("/credentials/{credential}"), json!({"label": bad})),
            ("POST", "/codes".to_owned(), json!({"points": "1", "count": 1, "label": bad})),
            ("POST", format!("/users/{alice}/grants"), json!({"points": "1", "reason": bad})),
            ("POST", format!("/users/{alice}/top-ups"), json!({"points": "1", "reference": bad})),
            ("POST", "/models/routes".to_owned(), with("name", json!(bad))),
            ("POST", "/models/routes".to_owned(), with("aliases", json!([bad]))),
            ("POST", "/models/routes".to_owned(), with("fallbacks", json!([bad]))),
            (
                "POST",
                "/models/routes".to_owned(),
                with("targets", json!([{"provider": "openai", "credentials": [bad]}])),
            ),
        ]
    };
    // Each is taken as it stands here but for the sign.
    for (method, path, body) in calls("fine") {
        let reply = ask(&process, &secret, method, &path, &body).await;
        assert_ne!(reply.status, 400, "{method} {path} {body}: {}", reply.text());
    }
    for sign in HIDDEN {
        let bad = format!("a{sign}b");
        for (method, path, body) in calls(&bad) {
            let reply = ask(&process, &secret, method, &path, &body).await;
            assert_eq!(reply.status, 400, "{method} {path} {body}: {}", reply.text());
            assert!(!reply.text().contains(sign) || sign == '\n', "{}", reply.text());
        }
        let bad_provider = format!("[providers.\"a\\u{:04x}b\"]\n", u32::from(sign));
        let bad_provider = bad_provider + "adapter = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n";
        let other = Install::empty(&bad_provider).await;
        let said = other.refused(&["user", "add", "bob"]);
        assert!(said.contains("[providers]"), "{said}");
    }
    // What a command line can carry: no zero byte.
    for sign in HIDDEN.iter().filter(|sign| **sign != '\0') {
        let bad = format!("a{sign}b");
        for args in [
            &["user", "add", &bad][..],
            &["key", "create", "--user", "alice", "--name", &bad],
            &["ledger", "grant", "alice", "1", "--reason", &bad],
            &["code", "create", "1", "--label", &bad],
        ] {
            let said = install.refused(args);
            assert!(!said.trim_end().contains(*sign), "{said:?}");
        }
    }
    // What people write is taken.
    for name in ["Ana María", "李小龙", "فاطمة", "o'brien (dev)"] {
        assert_eq!(
            ask(&process, &secret, "POST", "/users", &json!({"name": name})).await.status,
            201,
            "{name}"
        );
    }
    process.kill().await;
}

#[tokio::test]
async fn what_strangers_wrote_is_shown_without_what_a_terminal_would_obey() {
    let (install, key) = Install::with_alice("").await;
    let process = install.start().await;
    let model = "gpt\u{1b}[2J\u{202e}4o";
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    client::call(process.addr, &Request::post("/v1/chat/completions", &body).bearer(&key)).await;
    process.end().await;
    let shown = install.ok(&["requests", "list"]);
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
    let program = Command::new(BINARY)
        .current_dir(install.dir.path())
        .arg("--config")
        .arg(&install.config)
        .args(["--json", "requests", "list"])
        .output()
        .expect("the binary runs");
    assert!(!text(&program.stdout).contains('\u{1b}'));
}
