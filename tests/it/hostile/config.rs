//! The configuration: half a file turns nothing off, what is no file is not read, and whoever means a removal says so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate_tests::client::{self, Request};
use tollgate_tests::patiently;
use tollgate_tests::process::Process;
use tollgate_tests::upstream::{Script, Upstream};

use super::install::{Install, finished, text};

/// A filter, and a provider of the house under a name that would lead to a public one.
const RULES: &str = "[[models]]\nname = \"house\"\nprovider = \"openai\"\nmodel = \"gpt-4o\"\n\
    [policies.content_filter]\nconfig = { words = [\"falcon\"], action = \"block\" }\n";

struct Running {
    install: Install,
    process: Process,
    key: String,
    secret: String,
    /// The file as it was at the start.
    whole: String,
}

impl Running {
    async fn start() -> Self {
        let (install, key) = Install::with_alice(RULES).await;
        let mut process = install.start().await;
        let said = process.says().await;
        let secret = said.rsplit(' ').next().expect("the admin secret").to_owned();
        let whole = fs::read_to_string(&install.config).expect("a configuration");
        Self { install, process, key, secret, whole }
    }

    /// Replaces the file in one step.
    fn put(&self, content: &str) {
        let new = self.install.dir.path().join("new.toml");
        fs::write(&new, content).expect("a file");
        fs::rename(new, &self.install.config).expect("in its place");
    }

    /// Has the file looked at; what became of it.
    async fn look(&self, accept: bool) -> Value {
        let path = "/management/v1/configuration/reload";
        let request = Request::post(path, &json!({"accept_removals": accept})).bearer(&self.secret);
        let reply = client::call(self.process.admin_addr, &request).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    async fn ready(&self) -> String {
        client::call(self.process.admin_addr, &Request::new("GET", "/readyz")).await.text()
    }

    /// Whether the filter is on and the provider of the house is called.
    async fn is_as_it_was(&self) -> bool {
        let chat = |model: &str, words: &str| {
            let body =
                json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": words}]});
            Request::post("/v1/chat/completions", &body).bearer(&self.key)
        };
        let count = self.install.upstream.count();
        let blocked = client::call(self.process.addr, &chat("house", "the falcon flies")).await.status != 200;
        let served = client::call(self.process.addr, &chat("house", "hello")).await.status == 200;
        blocked && served && self.install.upstream.count() == count + 1
    }

    fn said(&self, args: &[&str]) -> (bool, String) {
        let address = self.process.admin_addr.to_string();
        let common = ["--admin-listen", &address, "--admin-secret", &self.secret];
        let output = finished(self.install.command(&[args, &common].concat()), "");
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    }
}

#[tokio::test]
async fn a_file_that_lost_something_is_held_back_and_said_until_it_is_accepted() {
    let it = Running::start().await;
    assert!(it.is_as_it_was().await);
    let without = |what: &str| {
        assert!(it.whole.contains(what), "{what}");
        it.whole.replacen(what, "", 1)
    };
    let url = format!("base_url = \"{}\"\n", it.install.upstream.base_url());
    let filter = "[policies.content_filter]\nconfig = { words = [\"falcon\"], action = \"block\" }\n";
    let cases = [
        ("an empty file", String::new(), "providers"),
        ("blank lines", "\n\n".to_owned(), "policies"),
        ("the beginning alone", it.whole.lines().take(5).collect::<Vec<_>>().join("\n"), "providers"),
        ("no filter", without(filter), "policies"),
        ("no words", it.whole.replace("[\"falcon\"]", "[]"), "policies.content_filter.config.words"),
        ("no address", without(&url), "providers.openai.base_url"),
        ("no provider", without(&format!("[providers.openai]\n{url}")), "providers.openai"),
        ("no route", without(RULES.split_once("[policies").expect("two parts").0), "models.`house`"),
    ];
    for (what, content, removed) in &cases {
        it.put(content);
        let standing = it.look(false).await;
        let held = standing["held_back"].to_string();
        assert!(held.contains(removed), "{what}: {standing}");
        assert!(it.is_as_it_was().await, "{what}");
        let ready = it.ready().await;
        assert!(
            ready.starts_with("ready") && ready.contains("held back") && ready.contains(removed),
            "{ready}"
        );
    }
    let shown = it.look(false).await;
    let request = Request::new("GET", "/management/v1/configuration").bearer(&it.secret);
    assert_eq!(client::call(it.process.admin_addr, &request).await.json(), shown);
    // A whole file again, with more in it: nothing is held back, and what is new is taken up.
    it.put(&it.whole.replace("\"falcon\"", "\"falcon\", \"eagle\""));
    assert_eq!(it.look(false).await, json!({"followed": true, "held_back": [], "refused": null}));
    assert!(it.is_as_it_was().await && !it.ready().await.contains("held back"));
    // Whoever means it says so.
    it.put(&without(filter));
    let (taken, said) = it.said(&["reload"]);
    assert!(!taken && said.contains("policies"), "{said}");
    assert!(it.is_as_it_was().await);
    let (taken, said) = it.said(&["reload", "--accept-removals"]);
    assert!(taken, "{said}");
    assert!(!it.is_as_it_was().await, "the filter is gone now");
    let (taken, _) = it.said(&["reload"]);
    assert!(taken);
}

#[tokio::test]
async fn a_restart_takes_up_what_was_held_back() {
    let it = Running::start().await;
    it.put(&it.whole.replace("words = [\"falcon\"], ", ""));
    assert!(it.look(false).await["held_back"].to_string().contains("words"));
    let Running { install, process, key, secret, whole } = it;
    process.end().await;
    let process = install.start().await;
    let it = Running { install, process, key, secret, whole };
    assert!(!it.is_as_it_was().await);
    assert_eq!(it.look(false).await["held_back"], json!([]));
}

#[tokio::test]
async fn a_hangup_takes_up_no_removal() {
    let it = Running::start().await;
    it.put("");
    let told = Command::new("kill").args(["-HUP", &it.process.id().to_string()]).status();
    assert!(told.expect("kill runs").success());
    patiently("the file to be held back", async {
        while !it.ready().await.contains("held back") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(it.is_as_it_was().await);
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

/// Puts something in the place of the file that is none.
fn no_file(what: &str, path: &Path) {
    let _there = fs::remove_file(path);
    match what {
        "a pipe" => pipe(path),
        "a directory" => fs::create_dir(path).expect("a directory"),
        "a device" => symlink("/dev/zero", path).expect("a link"),
        "a socket" => drop(std::os::unix::net::UnixListener::bind(path).expect("a socket")),
        "longer than" => fs::write(path, vec![b'\n'; 5 << 20]).expect("a file"),
        _ => {}
    }
}

const NO_FILES: [&str; 6] = ["a pipe", "a directory", "a device", "a socket", "longer than", "No such file"];

#[tokio::test]
async fn what_is_no_file_is_not_read_and_nobody_waits_for_it() {
    let it = Running::start().await;
    for what in NO_FILES {
        no_file(what, &it.install.config);
        let standing = patiently("a look at what is no file", it.look(false)).await;
        assert!(standing["refused"].as_str().is_some_and(|why| why.contains(what)), "{what}: {standing}");
        assert!(it.is_as_it_was().await, "{what}");
        let _gone = fs::remove_file(&it.install.config).or_else(|_| fs::remove_dir(&it.install.config));
    }
    it.put(&it.whole);
    assert_eq!(it.look(false).await, json!({"followed": true, "held_back": [], "refused": null}));
}

#[tokio::test]
async fn no_start_and_no_command_reads_what_is_no_file() {
    let install = Install::empty("").await;
    for what in NO_FILES {
        no_file(what, &install.config);
        let said = install.refused(&["user", "add", "bob"]);
        assert!(said.contains(what) && said.contains("tollgate.toml"), "{what}: {said}");
        let said = install.refused_start().await;
        assert!(said.contains(what), "{what}: {said}");
        // Nor where nobody names it.
        let mut command = Command::new(super::install::BINARY);
        command.current_dir(install.dir.path()).args(["user", "list"]).env_remove("TOLLGATE_CONFIG");
        if what != "No such file" {
            let said = text(&finished(command, "").stderr);
            assert!(said.contains(what), "{what}: {said}");
        }
        let _gone = fs::remove_file(&install.config).or_else(|_| fs::remove_dir(&install.config));
    }
    assert!(!install.data().exists());
}

#[tokio::test]
async fn other_files_that_are_named_are_files_too() {
    let (install, _) = Install::with_alice("").await;
    let named = install.dir.path().join("named");
    let path = named.display().to_string();
    for what in ["a pipe", "a directory", "a device", "a socket"] {
        no_file(what, &named);
        for args in [
            &["price", "publish", &path][..],
            &["price", "import", &path],
            &["credential", "add", "--provider", "openai", "--secret-file", &path],
            &["plugin", "check", "--kind", "pricing-policy", &path],
        ] {
            let said = install.refused(args);
            assert!(said.contains(what), "{args:?}, {what}: {said}");
        }
        let tls = format!("[server.tls]\ncertificate_file = \"{path}\"\nkey_file = \"{path}\"\n");
        let upstream = Upstream::start().await;
        upstream.respond(|_| Script::json(200, "{}"));
        let with_tls = Install::empty(&tls).await;
        let said = with_tls.refused_start().await;
        assert!(said.contains(what), "{what}: {said}");
        let _gone = fs::remove_file(&named).or_else(|_| fs::remove_dir(&named));
    }
}
