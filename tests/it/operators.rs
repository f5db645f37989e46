//! What operators see of a running gateway: health, readiness, metrics, logs, components, a changed configuration, a
//! drain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tollgate_core::points::Micropoints;
use tollgate_server::config::Config;
use tollgate_tests::client::{self, Connection, Request};
use tollgate_tests::gateway::{self, Rig};
use tollgate_tests::http2::Http2;
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::process::config_file;
use tollgate_tests::tls::Authority;
use tollgate_tests::upstream::{Gate, Script, Upstream};

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

/// A gateway as a process, with its log.
struct Served {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    addr: SocketAddr,
    admin_addr: SocketAddr,
    admin_secret: String,
    key: String,
    config: PathBuf,
    log: PathBuf,
}

impl Served {
    /// Alice has 1,000 points and the platform a key for OpenAI, which is `platform-openai`.
    async fn start(dir: &Path, upstream: &Upstream, level: &str, more: &str) -> Self {
        let config = config_file(dir, upstream, more);
        let read = Config::read(&config).expect("a configuration");
        let users = vec![("alice", Micropoints::from_points(1000))];
        let credentials = vec![("openai", None, "platform-openai", 100)];
        let keys =
            gateway::provision(&read, users, credentials).await.expect("an empty database takes users");
        let log = dir.join("log");
        let mut child = Command::new(BINARY)
            .args(["serve", "--config"])
            .arg(&config)
            .env("TOLLGATE_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a log file"))
            .kill_on_drop(true)
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut next = async || patiently("a line", lines.next_line()).await.expect("text").expect("a line");
        let (first, second) = (next().await, next().await);
        let mut words = first.split_whitespace().filter_map(|word| word.split_once("://")?.1.parse().ok());
        let (addr, admin_addr) = (words.next().expect("an address"), words.next().expect("another"));
        let admin_secret = second.rsplit(' ').next().expect("a secret").to_owned();
        let key = keys["alice"].clone();
        Self { child, lines, addr, admin_addr, admin_secret, key, config, log }
    }

    fn chat(&self) -> Request {
        Request::post(CHAT, &json!({"model": "gpt-4o", "messages": [], "stream": true})).bearer(&self.key)
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await.expect("kill runs");
        assert!(sent.success());
    }

    async fn ended(&mut self) -> ExitStatus {
        patiently("the process to end", self.child.wait()).await.expect("it is our child")
    }

    /// Everything that it has logged.
    fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).expect("its log")
    }

    /// Waits for a word in the log.
    async fn logs(&self, word: &str) {
        patiently(word, async {
            while !self.logged().contains(word) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    async fn get(&self, target: &str) -> client::Reply {
        client::call(self.admin_addr, &Request::get(target)).await
    }

    /// A `plugin` command against this gateway.
    async fn plugin(&self, command: &str, secret: &str) -> std::process::Output {
        let text = std::fs::read_to_string(&self.config).expect("its configuration");
        let own = format!("admin_listen = \"{}\"", self.admin_addr);
        let path = self.config.with_file_name("client.toml");
        std::fs::write(&path, text.replace("admin_listen = \"127.0.0.1:0\"", &own)).expect("a file");
        let args = ["--json", "plugin", command, "--admin-secret", secret, "--config"];
        Command::new(BINARY).args(args).arg(path).output().await.expect("the binary runs")
    }
}

#[tokio::test]
async fn health_and_readiness_are_open_and_management_is_not() {
    let rig = Rig::start().await;
    let get = async |target: &str| client::call(rig.admin_addr(), &Request::get(target)).await;
    assert_eq!((get("/healthz").await.status, get("/healthz").await.text().as_str()), (200, "ok\n"));
    assert_eq!(get("/readyz").await.status, 200);
    assert_eq!(get("/nothing").await.status, 404);
    for target in ["/management/v1/plugins", "/management/v1/nothing"] {
        for request in [
            Request::get(target),
            Request::get(target).bearer("tga_wrong"),
            Request::get(target).bearer(rig.key("alice")),
            Request::get(target).header("authorization", rig.admin_secret()),
            Request::get(target).header("x-api-key", rig.admin_secret()),
        ] {
            let refused = client::call(rig.admin_addr(), &request).await;
            assert_eq!(
                (refused.status, &refused.json()["error"]["code"]),
                (401, &json!("unauthorized")),
                "{target}"
            );
        }
    }
    assert_eq!(rig.admin("GET", "/management/v1/plugins").await.status, 200);
    assert_eq!(rig.admin("GET", "/management/v1/nothing").await.status, 404);
    // The clients' listener knows nothing of it.
    for target in ["/healthz", "/metrics", "/management/v1/plugins"] {
        let asked = client::call(rig.addr(), &Request::get(target).bearer(rig.admin_secret())).await;
        assert_eq!(asked.status, 404, "{target}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn metrics_are_openmetrics_and_count_what_happened() {
    let rig = Rig::start().await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let body = json!({"model": "gpt-4o", "messages": []});
    for _ in 0..3 {
        assert_eq!(rig.call(Request::post(CHAT, &body)).await.status, 200);
    }
    rig.call(Request::get("/v1/nowhere")).await;
    rig.records(3).await;
    let reply = client::call(rig.admin_addr(), &Request::get("/metrics")).await;
    assert!(
        reply.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    let text = reply.text();
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    let mut families = Vec::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            families.push(rest.split(' ').next().expect("a name"));
            continue;
        }
        if line.starts_with("# ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a series and its value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().expect("a name");
        assert!(families.iter().any(|family| name.starts_with(family)), "{name} has no type");
        assert!(series.contains('{') == series.ends_with('}'), "{line}");
    }
    let value = |series: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
        line.unwrap_or_else(|| panic!("{series} is missing in {text}"))
    };
    assert_eq!(value("tollgate_requests_total{protocol=\"openai-chat\",status=\"200\"}"), 3.0);
    assert_eq!(value("tollgate_requests_total{protocol=\"openai-chat\",status=\"404\"}"), 1.0);
    assert_eq!(value("tollgate_outcomes_total{outcome=\"ok\"}"), 3.0);
    assert_eq!(value("tollgate_tokens_total{class=\"output\"}"), 15.0);
    assert_eq!(value("tollgate_charged_micropoints_total"), 225_000.0);
    assert_eq!(value("tollgate_request_duration_seconds_count"), 3.0);
    rig.stop().await;
}

#[tokio::test]
async fn a_drain_takes_no_more_calls_finishes_those_under_way_and_ends_with_zero() {
    let (dir, upstream, gate) =
        (tempfile::tempdir().expect("a directory"), Upstream::start().await, Gate::new());
    let mut served = Served::start(dir.path(), &upstream, "info", "").await;
    assert_eq!(served.get("/readyz").await.status, 200);
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n";
    upstream.enqueue(Script::sse().chunk(event).gate(&gate).chunk("data: [DONE]\n\n").end());
    let mut stream = Connection::open(served.addr).await;
    stream.send(&served.chat()).await;
    assert_eq!(stream.head().await.word(1), "200");
    assert_eq!(stream.read_until("one").await, event);
    served.signal("TERM").await;
    served.logs("stopping").await;
    patiently("readiness to go", async {
        while served.get("/readyz").await.status != 503 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(served.get("/healthz").await.status, 200, "it is well, if not ready");
    patiently("new connections to be refused", async {
        while tokio::net::TcpStream::connect(served.addr).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    gate.open();
    assert_eq!(stream.body().await.expect("the stream to its end"), b"data: [DONE]\n\n");
    assert_eq!(served.ended().await.code(), Some(0));
    let desk =
        tollgate_server::manage::Management::open(&Config::read(&served.config).expect("a configuration"))
            .await;
    let desk = desk.expect("the database opens");
    assert_eq!(managed::requests(&desk, 9).await.expect("records").len(), 1, "it was settled before the end");
    assert!(desk.verify().await.expect("a report").violations.is_empty());
    desk.close().await;
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level_and_each_line_names_its_request() {
    let (dir, upstream) = (tempfile::tempdir().expect("a directory"), Upstream::start().await);
    // What the gateway is made of, too.
    let level = "trace,hyper=trace,hyper_util=trace,h2=trace,rustls=trace,sqlx=trace,tokio=trace,mio=trace";
    let mut served = Served::start(dir.path(), &upstream, level, "").await;
    upstream.respond(|_| Script::json(200, ANSWER));
    upstream.enqueue(Script::json(
        401,
        r#"{"error":{"code":"invalid_api_key","message":"platform-openai is wrong"}}"#,
    ));
    let mut ids = Vec::new();
    for request in [
        served.chat(),
        Request::new("POST", &format!("{CHAT}?key={}", served.key)).body("{}"),
        Request::new("POST", CHAT).header("x-api-key", &served.key).body("{\"model\":\"none\"}"),
        Request::new("POST", CHAT).header("api-key", &served.key).body("{\"model\":7}"),
    ] {
        let reply = client::call(served.addr, &request).await;
        ids.push(reply.header("x-tollgate-request-id").expect("an id").to_owned());
    }
    let with_secret = Request::get("/management/v1/plugins").bearer(&served.admin_secret);
    assert_eq!(client::call(served.admin_addr, &with_secret).await.status, 200);
    let by_http2 = http::Request::post(format!("http://{}{CHAT}", served.addr));
    let by_http2 = by_http2.header("authorization", format!("Bearer {}", served.key)).body("{}".into());
    let reply = Http2::open(served.addr).await.send(by_http2.expect("a request")).await.reply().await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    served.signal("TERM").await;
    assert_eq!(served.ended().await.code(), Some(0));
    let log = served.logged();
    assert!(log.contains("TRACE") && log.contains(&ids[0]), "the log is that of all levels");
    for secret in [served.key.as_str(), "platform-openai", &served.admin_secret] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} is logged: {line:?}");
    }
    let console = served.lines.next_line().await.expect("text").expect("a third line");
    assert_eq!(console, format!("Console: http://{}/console/", served.admin_addr));
    assert!(served.lines.next_line().await.expect("text").is_none(), "three lines are all that it prints");
}

#[tokio::test]
async fn components_are_listed_and_reloaded_from_the_command_line() {
    let (dir, upstream) = (tempfile::tempdir().expect("a directory"), Upstream::start().await);
    check_plugin_commands(&Served::start(dir.path(), &upstream, "error", "").await).await;
}

#[tokio::test]
async fn the_command_line_speaks_tls_where_operators_do_and_trusts_the_configured_certificate_alone() {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    let tls = authority.install("operators");
    let (certificate, key) = (tls.certificate_file.display(), tls.key_file.display());
    let more = format!("[server.admin_tls]\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"\n");
    let served = Served::start(authority.dir(), &upstream, "error", &more).await;
    check_plugin_commands(&served).await;
    // Another certificate of the same authority is another server.
    let text = std::fs::read_to_string(&served.config).expect("its configuration");
    let other = authority.install("other").certificate_file;
    let other = text.replace(&certificate.to_string(), &other.display().to_string());
    std::fs::write(&served.config, other).expect("a file");
    let refused = served.plugin("list", &served.admin_secret).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("does not prove itself"), "{said}");
}

/// Lists and reloads components, and is refused with another secret.
async fn check_plugin_commands(served: &Served) {
    let listed = served.plugin("list", &served.admin_secret).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let names: Vec<_> =
        listed.as_array().expect("a list").iter().map(|plugin| plugin["name"].clone()).collect();
    for name in ["openai", "anthropic", "google", "key-selection", "pricing", "content-filter"] {
        assert!(names.contains(&json!(name)), "{name} is missing in {names:?}");
    }
    assert!(served.plugin("reload", &served.admin_secret).await.status.success());
    let refused = served.plugin("list", "tga_wrong").await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("admin secret"));
}

#[tokio::test]
async fn models_get_another_provider_or_name_while_the_gateway_runs() {
    let (dir, upstream) = (tempfile::tempdir().expect("a directory"), Upstream::start().await);
    let served = Served::start(dir.path(), &upstream, "info", "").await;
    upstream.respond(|_| Script::json(200, ANSWER));
    let body = serde_json::json!({"model": "fast", "messages": []});
    let request = Request::post("/v1/chat/completions", &body).bearer(&served.key);
    assert_eq!(client::call(served.addr, &request).await.status, 404);
    let text = std::fs::read_to_string(&served.config).expect("its configuration");
    let entry = "[[models]]\nname = \"fa*\"\nprovider = \"openai\"\nmodel = \"gpt-4o\"\n";
    std::fs::write(&served.config, format!("{text}{entry}")).expect("a file");
    served.logs("the changed configuration is in force").await;
    assert_eq!(client::call(served.addr, &request).await.status, 200);
    assert_eq!(upstream.next().await.json()["model"], "gpt-4o");
}

#[tokio::test]
async fn a_changed_configuration_is_taken_up_and_a_wrong_one_is_not() {
    let (dir, upstream) = (tempfile::tempdir().expect("a directory"), Upstream::start().await);
    let served = Served::start(dir.path(), &upstream, "info", "").await;
    upstream.respond(|_| Script::json(200, ANSWER));
    let config = Config::read(&served.config).expect("a configuration");
    let desk = tollgate_server::manage::Management::open(&config).await.expect("the database opens");
    let charged = async |calls: usize| {
        assert_eq!(client::call(served.addr, &served.chat()).await.status, 200);
        patiently("the record", async {
            loop {
                let records = managed::requests(&desk, 99).await.expect("records");
                if records.len() == calls {
                    return records.iter().map(|record| record.charge.get()).sum::<i64>();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    };
    assert_eq!(charged(1).await, 75_000);
    let text = std::fs::read_to_string(&served.config).expect("its configuration");
    let change = |more: &str| std::fs::write(&served.config, format!("{text}{more}")).expect("a file");
    change("[policies.pricing]\nconfig = { platform_ppm = 500000 }\n");
    served.logs("the changed configuration is in force").await;
    assert_eq!(charged(2).await, 75_000 + 37_500);
    for (n, wrong) in
        ["[policies.pricing]\nconfig = { platform_ppm = \"x\" }\n", "[nonsense]\n"].iter().enumerate()
    {
        change(wrong);
        patiently("the refusal", async {
            while served.logged().matches("the changed configuration was refused").count() <= n {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(charged(3 + n).await, 75_000 + 37_500 * (2 + n as i64), "the one before stays in force");
    }
    desk.close().await;
}
