//! A component gets no provider key: not by where it puts one, not by where it sends one, and not by what a provider
//! repeats of it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_core::points::Micropoints;
use tollgate_server::config::Config;
use tollgate_server::manage::{Management, Place};
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{self, Rig, Setup};
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::upstream::{self, Script, Upstream};

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
const KEY: &str = "sk-proj-Zx81_qY/w+0123456789abcdefghijKLMN";

fn smuggler() -> Vec<u8> {
    tollgate_components::find_guest("smuggler").expect("a guest of that name").bytes.to_vec()
}

/// A provider whose component is the smuggler, with these words for it.
fn provider(setup: &mut Setup, options: &Value) {
    let base_url = setup.config.providers["openai"].base_url.clone();
    let text = format!("adapter = \"smuggler\"\nbase_url = \"{}\"", String::from(base_url));
    let mut provider: tollgate_server::config::Provider = toml::from_str(&text).expect("a provider");
    provider.config = serde_json::from_value(options.clone()).expect("a table");
    setup.config.providers.insert("openai".to_owned(), provider);
    setup.plugins = vec![("smuggler", smuggler())];
    setup.credentials = vec![("openai", None, KEY, 100)];
}

fn chat(stream: bool) -> Request {
    let body = json!({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": "hi"}]});
    Request::post("/v1/chat/completions", &body)
}

/// Ways in which a provider may repeat a key.
fn ways() -> Vec<String> {
    let escaped = |escape: fn(u8) -> String| KEY.bytes().map(escape).collect::<String>();
    vec![
        KEY.to_owned(),
        KEY.replace('/', "\\/"),
        KEY.replace('+', "\\u002b"),
        format!("\\u0073{}", &KEY[1..]),
        escaped(|byte| format!("\\u{byte:04x}")),
        escaped(|byte| format!("%{byte:02X}")),
        KEY.replace('/', "%2F").replace('+', "%2b"),
        escaped(|byte| format!("{byte:02x}")),
        STANDARD.encode(KEY),
        STANDARD.encode(format!("user:{KEY}")),
    ]
}

/// Fails where a text holds the key, or most of one way of writing it.
fn assert_keyless(what: &str, text: &str) {
    for way in ways() {
        let core = &way[way.len() / 4..way.len() * 3 / 4];
        assert!(!text.contains(core), "{what} shows {way}: {text}");
    }
}

/// A gateway as a process, whose log is at hand.
struct House {
    process: Process,
    upstream: Upstream,
    config: Config,
    alice: String,
    dir: TempDir,
}

impl House {
    async fn open(options: &str) -> Self {
        let upstream = Upstream::start().await;
        let dir = tempfile::tempdir().expect("a directory");
        let logs = dir.path().join("logs");
        let more = format!(
            "[providers.own]\nadapter = \"smuggler\"\nbase_url = \"{}\"\nconfig = {options}\n\
             [[models]]\nname = \"gpt-4o\"\ntargets = [{{ provider = \"own\" }}]\n\
             [log.files]\ndir = \"{}\"\ndebug = true\nrotate = \"never\"\n",
            upstream.base_url(),
            logs.display()
        );
        let file = config_file(dir.path(), &upstream, &more);
        let config = Config::read(&file).expect("a configuration");
        std::fs::create_dir_all(config.plugins_dir()).expect("a plugins directory");
        std::fs::write(config.plugins_dir().join("smuggler.wasm"), smuggler()).expect("a component");
        let users = vec![("alice", Micropoints::from_points(1000))];
        let keys = gateway::provision(&config, users, vec![("own", None, KEY, 100)]).await.expect("users");
        let process = Process::start(BINARY, &file).await;
        Self { process, upstream, config, alice: keys["alice"].clone(), dir }
    }

    async fn call(&self, request: Request) -> Reply {
        client::call(self.process.addr, &request.bearer(&self.alice)).await
    }

    /// Ends it. All that was logged, and all that was recorded.
    async fn left(self) -> String {
        self.process.kill().await;
        let mut left = String::new();
        for name in ["application.log", "debug.log", "transactions.log"] {
            left += &std::fs::read_to_string(self.dir.path().join("logs").join(name)).unwrap_or_default();
        }
        let desk = Management::open(&self.config).await.expect("the database opens");
        let records = tollgate_tests::managed::requests(&desk, 1000).await.expect("records");
        desk.close().await;
        left + &format!("{records:?}")
    }
}

#[tokio::test]
async fn what_a_provider_repeats_reaches_neither_client_nor_component_nor_log_nor_record() {
    let house = House::open("{}").await;
    let messages = |stream: bool| {
        let body = json!({"model": "gpt-4o", "max_tokens": 9, "stream": stream, "messages": []});
        Request::post("/v1/messages", &body)
    };
    let event =
        |way: &str| format!("data: {{\"choices\":[],\"echo\":\"{way}\",\"usage\":{{\"x\":\"{way}\"}}}}\n\n");
    for way in ways() {
        let body = format!("{{\"choices\":[],\"echo\":\"{way}\",\"usage\":{{\"echo\":\"{way}\"}}}}");
        let headers: [(&str, &str); 2] = [("content-type", "application/json"), ("x-echo", &way)];
        let whole = |status| Script::whole(status, &headers, &body);
        let said = format!("{{\"error\":{{\"message\":\"bad key {way}\",\"code\":\"{way}\"}}}}");
        let refused = |status| Script::whole(status, &headers, &said);
        for (request, script) in [
            (chat(false), whole(200)),
            (messages(false), whole(200)),
            (chat(false), refused(400)),
            (chat(false), refused(401)),
            (chat(false), refused(500)),
            (messages(false), refused(400)),
            (chat(true), Script::sse().chunk(event(&way)).chunk("data: [DONE]\n\n").end()),
            (chat(true), Script::sse().bytewise(event(&way)).end()),
            (messages(true), Script::sse().split(event(&way), event(&way).len() / 2).end()),
            (chat(true), refused(429)),
        ] {
            house.upstream.respond(move |_| script.clone());
            let reply = house.call(request).await;
            assert_keyless("the answer", &format!("{:?}{}", reply.head, reply.text()));
        }
    }
    let seen = house.upstream.requests();
    assert!(seen.len() > 20, "only {} calls went up", seen.len());
    assert!(seen.iter().all(|request| request.header("authorization") == Some(&format!("Bearer {KEY}"))));
    let left = house.left().await;
    assert!(left.contains("usage: ") && left.contains("refusal: "), "the component was told nothing: {left}");
    assert_keyless("a log or a record", &left);
}

#[tokio::test]
async fn an_answer_without_a_key_passes_byte_for_byte() {
    let rig = Rig::with(|setup| setup.credentials = vec![("openai", None, KEY, 100)]).await;
    let body =
        format!("{{\"choices\":[],\"n\":\"{} and \\u0073k-proj {}\"}}", &KEY[..10], KEY.to_uppercase());
    let events = format!("data: {body}\n\n: sk-pro\n\ndata: {}\n\ndata: [DONE]\n\n", &KEY[..KEY.len() - 30]);
    for cut in [1, 9, 40, events.len() - 1] {
        rig.upstream.enqueue(Script::sse().split(&events, cut).end());
        assert_eq!(rig.call(chat(true)).await.text(), events);
    }
    rig.upstream.enqueue(Script::json(200, &body));
    assert_eq!(rig.call(chat(false)).await.text(), body);
    rig.stop().await;
}

/// What starting with these options says of the component.
async fn refusal(options: Value) -> String {
    let rig = Rig::with(|setup| provider(setup, &options)).await;
    let plugin = rig.plugin("openai").await;
    rig.upstream.respond(|_| Script::json(200, "{}"));
    assert_ne!(rig.call(chat(false)).await.status, 200, "{options}");
    let ready = rig.admin("GET", "/readyz").await;
    assert!(ready.text().contains("openai: refused"), "{}", ready.text());
    assert_eq!(rig.upstream.count(), 0, "{options}");
    rig.stop().await;
    assert_eq!(plugin["state"], "refused", "{options}: {plugin}");
    plugin["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_secret_has_a_closed_set_of_places() {
    let places = [
        json!({"header": "openai-beta"}),
        json!({"header": "x-request-id", "value": "{credential}"}),
        json!({"header": "user-agent", "value": "{credential}"}),
        json!({"header": "anthropic-version", "value": "{credential}"}),
        json!({"header": "x-smuggled-key", "value": "{credential}"}),
        json!({"header": "idempotency-key", "value": "{credential}"}),
        json!({"value": "prefix {credential} suffix"}),
        json!({"value": "{credential}{credential}"}),
        json!({"extra": ["x-copy", "{credential}"]}),
        json!({"extra": ["accept-encoding", "gzip"]}),
        json!({"extra": ["transfer-encoding", "chunked"]}),
        json!({"extra": ["host", "evil.example"]}),
        json!({"path": "/v1/{credential}"}),
        json!({"path": "/v1?key={credential}"}),
        json!({"query": "prompt"}),
        json!({"base_url": "https://{credential}.evil.example"}),
    ];
    for options in places {
        let reason = refusal(options.clone()).await;
        assert!(reason.contains("its plan cannot be run"), "{options}: {reason}");
    }
}

#[tokio::test]
async fn an_address_of_a_component_hides_no_host() {
    for url in [
        "http://evil.example",
        "https://user@evil.example",
        "https://api.openai.com@evil.example",
        "https://evil.example?api.openai.com",
        "https://evil.example#api.openai.com",
        "https://evil.example\\.openai.com",
        "https://EVIL.example",
        "https://evil.example.",
        "https://ev\u{131}l.example",
        "https://{region}",
        "https://{region}.com",
        "https://api.openai.com:{region}",
        "https://*.evil.example",
    ] {
        for member in ["base_url", "check_base_url", "token_url"] {
            // One gateway for each would take long; the command asks the same.
            let reason = checked(&json!({member: url})).await;
            assert!(reason.contains("is no address"), "{member} {url}: {reason}");
        }
    }
}

/// What `tollgate plugin check` says.
async fn checked(options: &Value) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("smuggler.wasm"), smuggler()).expect("a component");
    let config = options.to_string();
    command(
        dir.path(),
        &["plugin", "check", "smuggler.wasm", "--kind", "provider-adapter", "--config-json", &config],
    )
    .await
}

/// What a command says, whatever comes of it.
async fn command(dir: &Path, args: &[&str]) -> String {
    let run = tokio::process::Command::new(BINARY)
        .current_dir(dir)
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(args)
        .output()
        .await
        .expect("the binary runs");
    format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr))
}

/// A credential of the smuggler's platform.
fn elsewhere(setup: &mut Setup, secret: &str) {
    let place = Place { platform: "elsewhere".to_owned(), settings: [].into() };
    setup.credentials.clear();
    setup.elsewhere.push(("openai", place, secret.to_owned()));
}

#[tokio::test]
async fn a_key_goes_to_no_host_that_only_a_component_names() {
    // `localhost` is where the upstream listens too, but nobody has allowed it.
    for (options, secret) in [
        (json!({"base_url": "https://evil.example"}), KEY),
        (json!({"base_url": "https://localhost:PORT"}), KEY),
        (json!({"base_url": "https://{region}.evil.example"}), KEY),
        (json!({"base_url": "https://xn--vil-ela.example"}), KEY),
        (json!({"base_url": "https://127.0.0.1:PORT", "query": "key"}), KEY),
        (
            json!({"base_url": "https://evil.example", "token_url": "https://localhost:PORT/token"}),
            r#"{"refresh_token":"refresh-0123456789"}"#,
        ),
    ] {
        let rig = Rig::with(|setup| {
            let port = setup.config.providers["openai"].base_url.authority.port_u16().unwrap_or_default();
            let options = options.to_string().replace("PORT", &port.to_string());
            provider(setup, &serde_json::from_str(&options).expect("JSON"));
            elsewhere(setup, secret);
        })
        .await;
        let connections = rig.upstream.connections();
        let reply = rig.call(chat(false)).await;
        assert_eq!(
            (reply.status, &reply.json()["error"]["code"]),
            (503, &json!("not_permitted")),
            "{options}"
        );
        assert_eq!(rig.upstream.connections(), connections, "{options}");
        let plugin = rig.plugin("openai").await;
        assert_eq!(plugin["hosts"][0]["permission"], "missing", "{plugin}");
        let ready = rig.admin("GET", "/readyz").await;
        assert_eq!(ready.status, 200);
        assert!(ready.text().contains("openai: may not send keys to "), "{}", ready.text());
        let credentials = rig.admin("GET", "/management/v1/credentials").await.json();
        let id = credentials["data"][0]["id"].as_str().expect("an id").to_owned();
        let checked = rig.admin("POST", &format!("/management/v1/credentials/{id}/check")).await;
        assert_eq!(rig.upstream.connections(), connections, "{options}: {}", checked.text());
        rig.stop().await;
    }
}

#[tokio::test]
async fn an_operator_allows_a_host_once_and_may_take_it_back() {
    let rig = Rig::with(|setup| {
        let port = setup.config.providers["openai"].base_url.authority.port_u16().unwrap_or_default();
        provider(setup, &json!({"base_url": format!("https://127.0.0.1:{port}")}));
        elsewhere(setup, KEY);
    })
    .await;
    let host = rig.plugin("openai").await["hosts"][0]["host"].as_str().expect("a host").to_owned();
    let path = format!("/management/v1/plugins/smuggler/hosts/{}", host.replace(':', "%3A"));
    assert_eq!(rig.call(chat(false)).await.json()["error"]["code"], "not_permitted");
    for wrong in ["smuggler/hosts/*.com", "smuggler/hosts/https%3A%2F%2Fa.example", "a%2Fb/hosts/a.example"] {
        let reply = rig.admin("PUT", &format!("/management/v1/plugins/{wrong}")).await;
        assert_eq!(reply.status, 400, "{wrong}: {}", reply.text());
    }
    let other = rig.admin("PUT", &path.replace("smuggler", "another")).await;
    assert_eq!(other.status, 200, "{}", other.text());
    assert_eq!(rig.call(chat(false)).await.json()["error"]["code"], "not_permitted");
    assert_eq!(rig.admin("PUT", &path).await.status, 200);
    assert_eq!(rig.plugin("openai").await["hosts"][0]["permission"], "granted");
    let listed = rig.admin("GET", "/management/v1/plugins/grants").await.json();
    assert!(listed["data"].as_array().is_some_and(|rows| rows.len() == 2), "{listed}");
    // The upstream speaks no TLS: that it was asked is enough.
    let before = rig.upstream.connections();
    assert_ne!(rig.call(chat(false)).await.json()["error"]["code"], "not_permitted");
    assert!(rig.upstream.connections() > before);
    let audit = rig.admin("GET", "/management/v1/audit").await.text();
    assert!(audit.contains("plugin.grant") && audit.contains(&host), "{audit}");
    assert_eq!(rig.admin("DELETE", &path).await.status, 204);
    assert_eq!(rig.admin("DELETE", &path).await.status, 404);
    assert_eq!(rig.call(chat(false)).await.json()["error"]["code"], "not_permitted");
    rig.stop().await;
}

#[tokio::test]
async fn a_setting_leads_to_no_other_host() {
    for (url, region) in [
        ("https://{region}.openai.azure.com", "x.evil.example"),
        ("https://a.{region}.amazonaws.com", "evil.com.b"),
        ("https://{region}-api.example.com", "-"),
    ] {
        let rig = Rig::with(|setup| {
            provider(setup, &json!({"base_url": url}));
            setup.config.plugins.grants =
                toml::from_str(r#"smuggler = ["*.openai.azure.com", "a.*.amazonaws.com"]"#).expect("grants");
            let settings = [("region".to_owned(), region.to_owned())].into();
            setup.credentials.clear();
            if region != "-" {
                setup.elsewhere.push((
                    "openai",
                    Place { platform: "elsewhere".to_owned(), settings },
                    KEY.to_owned(),
                ));
            }
        })
        .await;
        assert_eq!(rig.call(chat(false)).await.json()["error"]["code"], "no_credential", "{url} {region}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_component_in_the_place_of_a_built_in_one_is_not_trusted_with_its_hosts() {
    let rig = Rig::with(|setup| {
        provider(setup, &json!({"base_url": "https://api.anthropic.com"}));
        let provider = setup.config.providers.get_mut("openai").expect("a provider");
        provider.adapter = "claude".to_owned();
        setup.plugins = vec![("claude", smuggler())];
        setup.config.providers.remove("anthropic");
        elsewhere(setup, KEY);
    })
    .await;
    assert_eq!(rig.call(chat(false)).await.json()["error"]["code"], "not_permitted");
    rig.stop().await;
    // The same bytes as the binary's, as a file, are what they are.
    let built_in = tollgate_components::find("claude").expect("a component").bytes.to_vec();
    let rig = Rig::with(|setup| setup.plugins = vec![("claude", built_in)]).await;
    let plugin = rig.plugin("anthropic").await;
    assert_eq!(plugin["hosts"][0]["permission"], "built-in", "{plugin}");
    rig.stop().await;
}

#[tokio::test]
async fn a_redirect_takes_no_key_along() {
    let rig = Rig::with(|setup| provider(setup, &json!({}))).await;
    let other = Upstream::start().await;
    let url = other.base_url();
    for status in [301, 302, 303, 307, 308] {
        let to = format!("{url}/v1/chat/completions");
        let headers: [(&str, &str); 1] = [("location", &to)];
        rig.upstream.enqueue(Script::whole(status, &headers, ""));
        assert_ne!(rig.call(chat(false)).await.status, 200);
    }
    assert_eq!(other.count(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_check_shows_where_keys_would_go() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("smuggler.wasm"), smuggler()).expect("a component");
    let options =
        json!({"base_url": "https://api.own.example", "check_base_url": "https://{region}.own.example"});
    let config = options.to_string();
    let check = ["plugin", "check", "smuggler.wasm", "--kind", "provider-adapter", "--config-json", &config];
    let told = command(dir.path(), &check).await;
    assert!(told.contains("*.own.example (missing)") && told.contains("api.own.example (missing)"), "{told}");
    command(dir.path(), &["plugin", "grant", "smuggler", "*.own.example"]).await;
    let told = command(dir.path(), &check).await;
    assert!(told.contains("api.own.example (granted)") && !told.contains("missing"), "{told}");
    assert!(command(dir.path(), &["plugin", "grants"]).await.contains("*.own.example"));
    command(dir.path(), &["plugin", "revoke", "smuggler", "*.own.example"]).await;
    assert!(command(dir.path(), &check).await.contains("(missing)"));
}

#[tokio::test]
async fn an_operator_names_another_header_for_a_key() {
    let rig = Rig::with(|setup| {
        provider(setup, &json!({"header": "x-own-key", "value": "{credential}"}));
        let provider = setup.config.providers.get_mut("openai").expect("a provider");
        provider.secret_header = Some("x-own-key".to_owned());
    })
    .await;
    rig.upstream.respond(|_: &upstream::Request| Script::json(200, "{\"choices\":[]}"));
    assert_eq!(rig.call(chat(false)).await.status, 200);
    assert_eq!(rig.upstream.next().await.header("x-own-key"), Some(KEY));
    rig.stop().await;
}
