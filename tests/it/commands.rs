//! The command line: every command helps, does what it says to the database, writes JSON for programs, and refuses with
//! a reason.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A data directory with a command line.
struct Management {
    dir: TempDir,
}

impl Management {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path
    }

    fn run_with(&self, args: &[&str], input: &str) -> Output {
        let mut child = tollgate(self.dir.path())
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        // A command that does not read its input may have ended already.
        let _unread = child.stdin.take().expect("its input").write_all(input.as_bytes());
        child.wait_with_output().expect("it ends")
    }

    /// Runs a command that must succeed; its output as text.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run_with(args, "");
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The same as JSON.
    fn json(&self, args: &[&str]) -> Value {
        let output = self.ok(&[&["--json"], args].concat());
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{args:?}: {error} in {output:?}"))
    }

    /// Runs a command that must fail with 1; what it complains of.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run_with(args, "");
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stdout));
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The command, in a directory without a configuration file.
fn tollgate(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"));
    command.current_dir(dir);
    for variable in [
        "TOLLGATE_CONFIG",
        "TOLLGATE_DATA_DIR",
        "TOLLGATE_LOG",
        "TOLLGATE_MASTER_KEY",
        "TOLLGATE_ADMIN_SECRET",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Sub-commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    let words = names.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
    words.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Runs a command whose output nobody reads; how it ends, and what it complains of.
fn unread(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = tollgate(dir);
    command.arg("--data-dir").arg(dir.join("data")).args(args);
    let child = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn();
    let output = child.expect("the binary runs").wait_with_output().expect("it ends");
    (output.status.code(), text(&output.stderr))
}

#[test]
fn a_command_whose_output_nobody_reads_ends_quietly_as_by_sigpipe() {
    let desk = Management::new();
    desk.ok(&["user", "add", "alice", "--points", "5"]);
    for command in [
        "user list",
        "key list",
        "key create --user alice",
        "credential list",
        "price list",
        "price history",
        "price export",
        "price rate list",
        "code list",
        "ledger balance",
        "ledger statement alice",
        "ledger verify",
        "audit",
        "usage summary",
        "usage verify",
        "openapi",
        "user list --json",
    ] {
        let args: Vec<&str> = command.split(' ').collect();
        assert_eq!(unread(desk.dir.path(), &args), (Some(141), String::new()), "{command}");
    }
    assert_eq!(desk.json(&["key", "list"]).as_array().map(Vec::len), Some(1), "what it did is done");
    let refused = unread(desk.dir.path(), &["user", "disable", "nobody"]);
    assert!(refused.0 == Some(1) && refused.1.contains("nobody"), "a failure is one: {refused:?}");
}

#[test]
fn a_first_admin_is_made_with_a_password_that_nothing_shows() {
    let desk = Management::new();
    let add = ["user", "add", "root", "--role", "admin", "--password-stdin"];
    let short = desk.run_with(&add, "short\n");
    assert!(!short.status.success() && text(&short.stderr).contains("between 10 and 1024"));
    let added = desk.run_with(&add, "correct horse battery\n");
    assert!(added.status.success(), "{}", text(&added.stderr));
    assert!(!text(&added.stdout).contains("horse"));
    assert_eq!(desk.json(&["user", "list"])[0]["role"], "admin");
    assert!(desk.refused(&["user", "role", "root", "user"]).contains("last admin"));
    desk.ok(&["user", "add", "other", "--role", "admin"]);
    desk.ok(&["user", "role", "root", "user"]);
    assert_eq!(desk.json(&["user", "list"])[0]["role"], "user");
    assert!(desk.run_with(&["user", "password", "root"], "another password\n").status.success());
    assert!(!desk.run_with(&["user", "password", "nobody"], "another password\n").status.success());
}

#[test]
fn the_limits_of_a_key_are_set_changed_and_lifted() {
    let desk = Management::new();
    desk.ok(&["user", "add", "alice"]);
    let created = desk.json(&[
        "key",
        "create",
        "--user",
        "alice",
        "--model",
        "gpt-*",
        "--model",
        "o3",
        "--protocol",
        "gemini",
        "--requests-per-minute",
        "60",
    ]);
    let id = created["id"].as_str().expect("an id").to_owned();
    let update = |more: &[&str]| desk.ok(&[&["key", "update", &id], more].concat());
    update(&["--concurrency", "4", "--requests-per-minute", "none", "--name", "ci", "--enabled", "false"]);
    let key = || desk.json(&["key", "list"])[0].clone();
    let limits = json!({"protocols": ["gemini"], "providers": [], "models": ["gpt-*", "o3"], "requests_per_minute": null,
        "tokens_per_minute": null, "tokens_per_day": null, "concurrency": 4, "enable_context_management": false,
        "context_window": null, "translation": "lenient", "own_only": false});
    assert_eq!(key()["limits"], limits);
    assert_eq!((&key()["name"], &key()["enabled"]), (&json!("ci"), &json!(false)));
    let unused =
        [&key()["last_used_ms"], &key()["requests"], &key()["tokens"], &key()["points"]].map(Value::clone);
    assert_eq!(unused, [Value::Null, json!(0), json!(0), json!("0")]);
    update(&["--model", "none", "--protocol", "none", "--concurrency", "none"]);
    assert_eq!(key()["limits"]["models"], json!([]));
    assert_eq!(key()["limits"]["concurrency"], Value::Null);
    assert!(desk.refused(&["key", "update", &id, "--concurrency", "0"]).contains("between 1 and"));
    assert!(desk.refused(&["key", "update", &id, "--enable-context-management", "true"]).contains("window"));
    update(&["--enable-context-management", "true", "--context-window", "8000", "--provider", "openai"]);
    let limits = &key()["limits"];
    assert_eq!((&limits["context_window"], &limits["providers"]), (&json!(8000), &json!(["openai"])));
    update(&["--enable-context-management", "false", "--context-window", "none", "--provider", "none"]);
    assert_eq!(key()["limits"]["providers"], json!([]));
    let done: Vec<_> =
        desk.json(&["audit", "--actor", "cli", "--target", &id]).as_array().cloned().unwrap_or_default();
    assert!(done.len() >= 4 && done[0]["action"] == "key.change", "{done:?}");
}

#[test]
fn every_command_and_sub_command_explains_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut open, mut seen) = (vec![Vec::<String>::new()], Vec::new());
    while let Some(path) = open.pop() {
        let output = tollgate(dir.path()).args(&path).arg("--help").output().expect("the binary runs");
        assert!(output.status.success() && output.stderr.is_empty(), "{path:?}");
        let help = text(&output.stdout);
        assert!(help.contains("Usage:") && help.contains("--json"), "{path:?}: {help}");
        open.extend(listed(&help).into_iter().map(|name| [path.clone(), vec![name]].concat()));
        seen.push(path.join(" "));
    }
    for command in [
        "serve",
        "user add",
        "user disable",
        "user password",
        "user role",
        "key create",
        "key revoke",
        "key update",
        "credential add",
        "credential remove",
        "plugin check",
        "plugin reload",
        "price publish",
        "price set",
        "price export",
        "price import",
        "price history",
        "price withdraw",
        "price rate set",
        "ledger grant",
        "ledger receipt",
        "ledger verify",
    ] {
        assert!(seen.iter().any(|known| known == command), "{command} is missing in {seen:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0, "help leaves nothing behind");
}

#[test]
fn users_keys_and_points_are_added_listed_and_taken_away() {
    let desk = Management::new();
    let added = desk.json(&["user", "add", "alice", "--points", "12.5"]);
    assert_eq!((&added["name"], &added["points"]), (&json!("alice"), &json!("12.5")));
    assert!(desk.refused(&["user", "add", "alice"]).contains("alice"));
    assert!(desk.refused(&["user", "disable", "nobody"]).contains("nobody"));
    desk.ok(&["user", "disable", "alice"]);
    assert_eq!(desk.json(&["user", "list"])[0]["enabled"], false);
    desk.ok(&["user", "enable", "alice"]);
    assert_eq!(desk.json(&["user", "list"])[0]["enabled"], true);

    let made = desk.json(&["key", "create", "--user", "alice", "--name", "laptop", "--expires-in", "30"]);
    let (key, id) = (made["key"].as_str().expect("a key"), made["id"].as_str().expect("an id"));
    assert!(key.starts_with("tg_"));
    let listed = desk.ok(&["key", "list"]);
    assert!(listed.contains("laptop") && listed.contains(id) && !listed.contains(key), "{listed}");
    let row = desk.json(&["key", "list"])[0].clone();
    assert!(row["enabled"] == true && row["expires_at_ms"].is_u64());
    desk.ok(&["key", "revoke", id]);
    assert_eq!(desk.json(&["key", "list"])[0]["enabled"], false);
    assert!(desk.refused(&["key", "create", "--user", "nobody"]).contains("nobody"));
    desk.refused(&["key", "revoke", "no-id"]);

    desk.ok(&["ledger", "grant", "alice", "0.000001", "--reason", "because"]);
    assert_eq!(desk.json(&["ledger", "balance", "alice"]), json!([{"user": "alice", "points": "12.500001"}]));
    assert!(desk.ok(&["ledger", "balance"]).contains("12.500001"));
    assert!(desk.refused(&["ledger", "balance", "nobody"]).contains("nobody"));
    assert!(desk.refused(&["ledger", "grant", "nobody", "1"]).contains("nobody"));
    // The parser of arguments refuses what is not an amount, with its own code.
    for amount in ["1.0000001", "1e3", "many"] {
        assert_eq!(
            desk.run_with(&["ledger", "grant", "alice", amount], "").status.code(),
            Some(2),
            "{amount}"
        );
    }
    assert_eq!(desk.json(&["ledger", "requests"]), json!([]));
    assert_eq!(desk.json(&["ledger", "requests", "--user", "alice", "--limit", "5"]), json!([]));
    let unknown = "01890000-0000-7000-8000-000000000000";
    assert!(!desk.refused(&["ledger", "receipt", unknown]).is_empty());
    let report = desk.json(&["ledger", "verify"]);
    assert_eq!((&report["violations"], &report["outstanding_points"]), (&json!(0), &json!("12.500001")));
}

#[test]
fn a_provider_key_comes_by_standard_input_or_file_and_is_never_shown_again() {
    let desk = Management::new();
    let secret = "sk-plain-0123456789-tail";
    let added =
        desk.run_with(&["--json", "credential", "add", "--provider", "openai"], &format!("{secret}\n"));
    assert!(added.status.success(), "{}", text(&added.stderr));
    let added: Value = serde_json::from_slice(&added.stdout).expect("JSON");
    assert_eq!((&added["owner"], &added["provider"]), (&json!("platform"), &json!("openai")));
    desk.ok(&["user", "add", "alice"]);
    let file = desk.file("secret", secret).display().to_string();
    let own = [
        "credential",
        "add",
        "--provider",
        "google",
        "--user",
        "alice",
        "--label",
        "mine",
        "--weight",
        "7",
        "--secret-file",
        &file,
    ];
    let own = desk.json(&own)["id"].as_str().expect("an id").to_owned();
    let listed = desk.json(&["credential", "list"]);
    assert_eq!((listed.as_array().expect("a list").len(), listed.to_string().contains(secret)), (2, false));
    let mine = || {
        desk.json(&["credential", "list"])
            .as_array()
            .expect("a list")
            .iter()
            .find(|row| row["id"] == own)
            .cloned()
    };
    let row = mine().expect("its row");
    assert_eq!(
        (&row["owner"], &row["user"], &row["weight"], &row["enabled"]),
        (&json!("user"), &json!("alice"), &json!(7), &json!(true))
    );
    desk.ok(&["credential", "disable", &own]);
    assert_eq!(mine().expect("its row")["enabled"], false);
    desk.ok(&["credential", "enable", &own]);
    assert_eq!(mine().expect("its row")["enabled"], true);
    desk.ok(&["credential", "remove", &own]);
    assert!(mine().is_none());
    desk.refused(&["credential", "remove", &own]);
    assert!(
        desk.refused(&["credential", "add", "--provider", "nobody"]).contains("openai"),
        "names the known ones"
    );
    assert!(desk.refused(&["credential", "add", "--provider", "openai"]).contains("empty"));
    for bad in ["two words", "a\u{e9}"] {
        let output = desk.run_with(&["credential", "add", "--provider", "openai"], bad);
        assert_eq!(output.status.code(), Some(1), "{bad}");
        assert!(!text(&output.stderr).contains(bad));
    }
}

#[test]
fn prices_are_published_whole_or_refused_with_the_reason() {
    let desk = Management::new();
    desk.ok(&["user", "add", "alice"]);
    assert!(desk.json(&["price", "list"]).as_array().expect("a list").len() > 40, "shipped");
    let classes = [
        "input",
        "cache_read",
        "cache_write_short",
        "cache_write_long",
        "output",
        "audio_input",
        "audio_output",
    ];
    let list = |without: &str, usd: &str| {
        let rates: String = classes
            .iter()
            .filter(|class| **class != without)
            .map(|class| format!("{class} = \"{usd}\"\n"))
            .collect();
        format!(
            "points_per_usd = 2\n[[model]]\nname = \"m\"\nprovider = \"openai\"\noutput_tokens_max = 9\n{rates}"
        )
    };
    for (name, content, reason) in [
        ("a class is missing", list("cache_read", "1"), "cache_read"),
        ("no number", list("", "cheap"), "model `m`"),
        ("below zero", list("", "-1"), "model `m`"),
        ("an unknown member", list("", "1") + "discount = \"1\"\n", "discount"),
        ("no TOML", "[[".to_owned(), "line 1"),
        ("no model", "points_per_usd = 2\nmodel = []".to_owned(), "no model"),
        (
            "a model twice",
            format!("{0}{1}", list("", "1"), list("", "1").replace("points_per_usd = 2\n", "")),
            "twice",
        ),
    ] {
        let file = desk.file("bad.toml", content).display().to_string();
        let complaint = desk.refused(&["price", "publish", &file]);
        assert!(complaint.contains(reason) && complaint.contains("bad.toml"), "{name}: {complaint}");
    }
    assert!(desk.refused(&["price", "publish", "/nowhere/x.toml"]).contains("/nowhere/x.toml"));
    let file = desk.file("good.toml", list("", "1.5")).display().to_string();
    let published = desk.json(&["price", "publish", &file]);
    assert_eq!((&published["version"], &published["models"]), (&json!(2), &json!(1)));
    let row = desk.json(&["price", "list"])[0].clone();
    assert_eq!((&row["model"], &row["input"]), (&json!("m"), &json!("3")));
    assert!(desk.json(&["price", "list", "--version", "1"]).as_array().expect("a list").len() > 40);
}

#[test]
fn prices_to_come_are_planned_shown_and_taken_back() {
    let desk = Management::new();
    let list = "points_per_usd = 1\n[[model]]\nname = \"m\"\nprovider = \"p\"\noutput_tokens_max = 9\ninput = \"1\"\n\
                cache_read = \"1\"\ncache_write_short = \"1\"\ncache_write_long = \"1\"\noutput = \"1\"\naudio_input = \"1\"\n\
                audio_output = \"1\"\n";
    let file = desk.file("p.toml", list).display().to_string();
    let publish = |more: &[&str]| desk.json(&[&["price", "publish", &file], more].concat());
    let would = publish(&["--dry-run"]);
    assert!(would.as_array().expect("changes").iter().any(|change| change["change"] == "added"));
    let planned = publish(&["--effective-at", "2999-12-31", "--note", "the end"]);
    assert_eq!((&planned["version"], &planned["effective_at"]), (&json!(2), &json!("2999-12-31T00:00:00Z")));
    let states = || {
        let history = desk.json(&["price", "history"]);
        let rows = history.as_array().expect("versions").iter();
        rows.map(|row| row["state"].as_str().expect("a state").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states(), ["to come", "in force"], "a dry run publishes nothing");
    assert_eq!(desk.json(&["price", "history"])[0]["note"], "the end");
    assert!(desk.json(&["price", "list"]).as_array().expect("a list").len() > 40, "not yet");
    assert!(desk.refused(&["price", "withdraw", "1"]).contains("in force"));
    assert!(desk.refused(&["price", "withdraw", "9"]).contains("no such price version"));
    desk.ok(&["price", "withdraw", "2"]);
    assert_eq!(states(), ["withdrawn", "in force"]);
    let past = ["price", "publish", &file, "--effective-at", "2020-01-01T00:00:00Z"];
    assert!(desk.refused(&past).contains("charged already"));
}

#[test]
fn a_list_of_others_is_taken_over_exactly_and_what_cannot_be_is_named() {
    let desk = Management::new();
    let list = r#"{"gemini/gemini-9": {"litellm_provider": "gemini", "mode": "chat", "max_output_tokens": 9,
        "input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05},
        "painter": {"litellm_provider": "openai", "mode": "image_generation"},
        "gpt-9": {"litellm_provider": "openai", "mode": "chat", "max_tokens": 9, "input_cost_per_token": 1e-16}}"#;
    let file = desk.file("others.json", list).display().to_string();
    let shown = desk.ok(&["price", "import", &file, "--dry-run"]);
    assert!(shown.contains("painter: calls of mode `image_generation`"), "{shown}");
    assert!(shown.contains("gpt-9: `input_cost_per_token` is 1e-16"), "{shown}");
    assert!(shown.contains("gemini-9") && shown.contains("input none -> 1250"), "{shown}");
    let published = desk.json(&["price", "import", &file]);
    assert_eq!((&published["version"], &published["changes"]), (&json!(2), &json!(1)));
    let prices = desk.json(&["price", "list"]);
    let row = prices.as_array().expect("a list").iter().find(|row| row["model"] == "gemini-9").expect("it");
    assert_eq!(
        (&row["provider"], &row["input"], &row["output"]),
        (&json!("google"), &json!("1250"), &json!("10000"))
    );
    assert!(desk.refused(&["price", "import", &file, "--model", "claude-*"]).contains("no model"));
}

#[test]
fn price_rates_are_set_for_one_for_some_or_for_all() {
    let desk = Management::new();
    for name in ["alice", "bob", "carol"] {
        desk.ok(&["user", "add", name]);
    }
    let set = |args: &[&str]| desk.json(&[&["price", "rate", "set"], args].concat())["users"].clone();
    let rates = || {
        let rates = desk.json(&["price", "rate", "list"]);
        let rows = rates.as_array().expect("rates").iter();
        rows.map(|row| row["ppm"].as_u64().expect("a rate")).collect::<Vec<_>>()
    };
    assert_eq!(rates(), [1_000_000; 3]);
    assert_eq!(set(&["900000", "alice", "carol"]), 2);
    assert!(desk.refused(&["price", "rate", "set", "5", "bob", "nobody"]).contains("nobody"));
    assert_eq!(rates(), [900_000, 1_000_000, 900_000], "none changes where one does not exist");
    assert_eq!(set(&["1200000", "--all"]), 3);
    assert_eq!(rates(), [1_200_000; 3]);
    for wrong in ["100000001", "-1", "1.5"] {
        assert_eq!(desk.run_with(&["price", "rate", "set", "--all", "--", wrong], "").status.code(), Some(2));
    }
}

#[test]
fn a_component_is_checked_without_a_server() {
    let desk = Management::new();
    let good = tollgate_components::find("discount-points").expect("a component").bytes;
    let good = desk.file("good.wasm", good).display().to_string();
    let garbage = desk.file("garbage.wasm", b"\0asm but not really").display().to_string();
    let checked = desk.json(&["plugin", "check", &good, "--kind", "pricing-policy"]);
    assert_eq!(
        (&checked["kind"], checked["digest"].as_str().map(str::len)),
        (&json!("pricing-policy"), Some(64))
    );
    desk.ok(&[
        "plugin",
        "check",
        &good,
        "--kind",
        "pricing-policy",
        "--config-json",
        r#"{"platform_ppm":5}"#,
    ]);
    for (file, more) in [
        (&good, &["--kind", "content-filter"][..]),
        (&good, &["--kind", "pricing-policy", "--config-json", r#"{"platform_ppm":"x"}"#]),
        (&garbage, &["--kind", "pricing-policy"]),
    ] {
        let complaint = desk.refused(&[&["plugin", "check", file], more].concat());
        assert!(complaint.contains(file.as_str()) && complaint.contains("refused"), "{complaint}");
    }
    assert!(
        desk.refused(&["plugin", "check", "/nowhere.wasm", "--kind", "pricing-policy"])
            .contains("/nowhere.wasm")
    );
}

#[test]
fn a_wrong_configuration_is_refused_with_file_line_and_reason() {
    let desk = Management::new();
    for (content, line, reason) in [
        ("[server]\nlissten = \"127.0.0.1:1\"", "line 2", "unknown field `lissten`"),
        ("[limits]\n\nattempts_max = 99", "line 3", "between 1 and 16"),
        ("[server]\nlisten = 8080", "line 2", "invalid type"),
        ("[providers.openai]\nbase_url = \"api.openai.com\"", "line 2", "scheme"),
        ("[policies.pricing]\non_error = \"shrug\"", "line 2", "shrug"),
        ("nonsense", "line 1", "expected"),
    ] {
        let path = desk.file("wrong.toml", content).display().to_string();
        for command in [&["serve"][..], &["user", "list"]] {
            let complaint = desk.refused(&[&["--config", &path], command].concat());
            let told = complaint.contains(&path) && complaint.contains(line) && complaint.contains(reason);
            assert!(told, "{content:?}: {complaint}");
        }
    }
    assert!(desk.refused(&["--config", "/nowhere/t.toml", "serve"]).contains("/nowhere/t.toml"));
    // The component judges a policy's own configuration, at the start.
    let path = desk.file("policy.toml", "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[policies.pricing]\nconfig = { platform_ppm = \"x\" }");
    let complaint = desk.refused(&["--config", &path.display().to_string(), "serve"]);
    assert!(complaint.contains("pricing"), "{complaint}");
}

#[test]
fn the_management_api_is_printed_as_openapi() {
    let document = Management::new().json(&["openapi"]);
    assert_eq!(document["openapi"], "3.1.0");
    let create = &document["paths"]["/management/v1/keys"]["post"];
    assert_eq!(create["responses"]["201"]["description"], "Done.");
    assert!(create["requestBody"].to_string().contains("#/components/schemas/NewKey"), "{create}");
}

#[test]
fn codes_are_shown_once_redeemed_once_and_taken_no_more() {
    let desk = Management::new();
    desk.ok(&["user", "add", "alice"]);
    desk.ok(&["user", "add", "bob"]);
    let create =
        ["code", "create", "2.5", "--count", "2", "--uses", "2", "--expires-in", "30", "--label", "spring"];
    let made = desk.json(&create);
    let batch = made["batch"].as_str().expect("a batch");
    let codes: Vec<&str> =
        made["codes"].as_array().expect("codes").iter().filter_map(Value::as_str).collect();
    assert!(codes.len() == 2 && codes[0] != codes[1], "{made}");
    let listed = desk.json(&["code", "list"]);
    let row = &listed[0];
    assert_eq!(
        (&row["batch"], &row["label"], &row["points"]),
        (&json!(batch), &json!("spring"), &json!("2.5"))
    );
    assert_eq!((&row["codes"], &row["uses"], &row["redeemed"]), (&json!(2), &json!(2), &json!(0)));
    assert!(row["expires_at"].is_string() && row["enabled"] == true);
    assert!(codes.iter().all(|code| !listed.to_string().contains(code)), "a code was shown again");

    let redeem = |user: &str, code: &str| {
        let output = desk.run_with(&["--json", "code", "redeem", "--user", user], &format!("{code}\n"));
        assert!(!text(&output.stderr).contains(code), "a code reached an error");
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    };
    assert!(redeem("alice", codes[0]).expect("it is good").contains("\"2.5\""));
    assert!(redeem("alice", codes[0]).expect_err("once a user").contains("you have redeemed"));
    assert!(redeem("alice", "tgc_nothing").expect_err("no code").contains("no such code"));
    assert!(redeem("nobody", codes[0]).is_err());
    desk.ok(&["code", "disable", batch]);
    assert!(redeem("bob", codes[0]).expect_err("disabled").contains("not taken any more"));
    assert_eq!(desk.json(&["code", "list"])[0]["enabled"], false);
    desk.ok(&["code", "enable", batch]);
    redeem("bob", codes[0]).expect("it is good again");
    assert_eq!(desk.json(&["code", "list"])[0]["redeemed"], 2);
    assert_eq!(desk.json(&["ledger", "balance", "alice"])[0]["points"], "2.5");
    let statement = desk.json(&["ledger", "statement", "bob"]).to_string();
    assert!(statement.contains("spring") && statement.contains("2.5"), "{statement}");

    let unknown = "01890000-0000-7000-8000-000000000000";
    assert!(desk.refused(&["code", "disable", unknown]).contains("no such batch of codes"));
    assert!(!desk.refused(&["code", "create", "0"]).is_empty(), "a code of nothing");
    assert_eq!(desk.json(&["ledger", "verify"])["violations"], 0);
}
