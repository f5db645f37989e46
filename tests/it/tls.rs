//! TLS on both listeners: who may call how, what is refused at the start, and certificates that change while serving.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::Builder;
use http::Request;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::rustls::HandshakeKind;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_server::config::{Config, Millis, Tls};
use tollgate_tests::client::{self, Connection};
use tollgate_tests::curl::curl;
use tollgate_tests::gateway::{self, Rig};
use tollgate_tests::http2::{Http2, read_until, rest};
use tollgate_tests::process::{Process, config_file};
use tollgate_tests::tls::{Authority, handshake, shown};
use tollgate_tests::upstream::{Gate, Script, Upstream};
use tollgate_tests::{patiently, sdk};

use crate::sdk::demonstration;

const BINARY: &str = env!("CARGO_BIN_EXE_tollgate-under-test");
const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"gpt-4o","stream":true}"#;
const EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"12345678\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// A table of the configuration file.
fn table(name: &str, tls: &Tls) -> String {
    let (certificate, key) = (tls.certificate_file.display(), tls.key_file.display());
    format!("[server.{name}]\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"\n")
}

/// A rig whose clients must speak TLS.
async fn rig(tls: &Tls) -> Rig {
    Rig::with(|setup| {
        setup.users = vec![("alice", Micropoints::from_points(100_000))];
        setup.config.server.tls = Some(tls.clone());
    })
    .await
}

fn request(rig: &Rig) -> Request<Bytes> {
    let uri = format!("https://localhost{CHAT}");
    let bearer = format!("Bearer {}", rig.key("alice"));
    Request::post(uri).header("authorization", bearer).body(Bytes::from(BODY)).expect("a request")
}

/// The same as HTTP/1.1 writes it.
fn http1(rig: &Rig) -> Vec<u8> {
    client::Request::new("POST", CHAT).bearer(rig.key("alice")).body(BODY).encode("localhost")
}

#[tokio::test]
async fn curl_calls_clients_and_operators_by_every_version_of_tls_and_http() {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    let (tls, admin) = (authority.install("clients"), authority.install("operators"));
    let file = config_file(authority.dir(), &upstream, &(table("tls", &tls) + &table("admin_tls", &admin)));
    let config = Config::read(&file).expect("a configuration");
    let users = vec![("alice", Micropoints::from_points(1000))];
    let credentials = vec![("openai", None, "platform-openai", 100)];
    let keys = gateway::provision(&config, users, credentials).await.expect("users");
    let process = Process::start(BINARY, &file).await;
    upstream.respond(|_| Script::sse().chunk(EVENT).chunk(DONE).end());
    let (ca, bearer) = (authority.ca_file(), format!("authorization: Bearer {}", keys["alice"]));
    let ca = ca.to_str().expect("a path in UTF-8");
    let clients = format!("https://localhost:{}{CHAT}", process.addr.port());
    let operators = format!("https://127.0.0.1:{}/healthz", process.admin_addr.port());
    for version in [&["--tlsv1.3"][..], &["--tls-max", "1.2"]] {
        for (http, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let common = [version, &[http, "--cacert", ca]].concat();
            let call = [&common[..], &["--header", &bearer, "--data", BODY, &clients]].concat();
            let Some(answer) = curl(&call).await else { return };
            assert_eq!(answer.body, format!("{EVENT}{DONE}"), "{version:?} {http}: {}", answer.error);
            assert_eq!(answer.http_version, spoken, "{version:?}");
            let health = curl(&[&common[..], &[&operators]].concat()).await.expect("as before");
            assert_eq!((&*health.body, &*health.http_version), ("ok\n", spoken), "{}", health.error);
        }
    }
    // A client that does not trust the authority, or does not speak TLS, gets nothing.
    let stranger = curl(&[&clients]).await.expect("as before");
    assert!(!stranger.success && stranger.error.contains("certificate"), "{}", stranger.error);
    let plain = curl(&[&clients.replace("https", "http")]).await.expect("as before");
    assert!(!plain.success, "{}", plain.body);
    process.kill().await;
}

#[tokio::test]
async fn the_official_sdks_work_over_tls() {
    let authority = Authority::new();
    let tls = authority.install("clients");
    let ca = authority.ca_file();
    let ca = ca.to_str().expect("a path in UTF-8");
    demonstration(
        |config| config.server.tls = Some(tls),
        async |url, key| {
            let url = url.replace("127.0.0.1", "localhost");
            assert!(url.starts_with("https://"), "{url}");
            let variables = [
                ("BASE_URL", &*url),
                ("API_KEY", &*key),
                ("SSL_CERT_FILE", ca),
                ("REQUESTS_CA_BUNDLE", ca),
                ("NODE_EXTRA_CA_CERTS", ca),
            ];
            for script in ["openai_chat.py", "anthropic_messages.py", "google_genai.py"] {
                sdk::run_python(script, &variables).await.expect_passed();
            }
            sdk::run_javascript("tls.mjs", &variables).await.expect_passed();
        },
    )
    .await;
}

#[tokio::test]
async fn a_certificate_renewed_under_100_streams_breaks_none() {
    let authority = Authority::new();
    let tls = renewable(&authority);
    let rig = rig(&tls).await;
    let gate = Gate::new();
    let gated = gate.clone();
    rig.upstream.respond(move |_| Script::sse().chunk(EVENT).gate(&gated).chunk(DONE).end());
    let old = shown(&authority.connect(rig.addr(), &["h2"]).await);
    // 50 on five connections of HTTP/2, and 50 of HTTP/1.1 with one each.
    let (mut connections, mut streams, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let socket = authority.connect(rig.addr(), &["h2"]).await;
        let mut connection = Http2::over(socket, &Builder::new()).await;
        for _ in 0..10 {
            let mut body = connection.send(request(&rig)).await.head().await.into_body();
            read_until(&mut body, EVENT).await;
            streams.push(body);
        }
        connections.push(connection);
    }
    for _ in 0..50 {
        let mut socket = authority.connect(rig.addr(), &["http/1.1"]).await;
        socket.write_all(&http1(&rig)).await.expect("a server that reads");
        read_text(&mut socket, "12345678").await;
        plain.push(socket);
    }
    renew(&authority, "second");
    let renewed = async {
        while shown(&authority.connect(rig.addr(), &["h2"]).await) == old {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently("the new certificate", renewed).await;
    (0..100).for_each(|_| gate.open());
    for mut body in streams {
        assert_eq!(rest(&mut body).await.expect("a stream to its end"), DONE);
    }
    for mut socket in plain {
        read_text(&mut socket, "[DONE]\n\n\r\n0\r\n\r\n").await;
    }
    assert!(rig.records(100).await.iter().all(|record| record.outcome == Outcome::Ok));
    rig.stop().await;
}

/// Reads until `text` has come.
async fn read_text(socket: &mut (impl AsyncReadExt + Unpin), text: &str) {
    let (mut seen, mut part) = (String::new(), [0; 4096]);
    while !seen.contains(text) {
        let read = patiently("bytes of an answer", socket.read(&mut part)).await.expect("an open connection");
        assert!(read > 0, "the end before {text:?}, after {seen:?}");
        seen += &String::from_utf8_lossy(&part[..read]);
    }
}

/// Files as Kubernetes mounts them: links to files of a folder that is itself a link, which is replaced in one step.
fn renewable(authority: &Authority) -> Tls {
    renew(authority, "first");
    let file = |name: &str| authority.dir().join(name);
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), file(name)).expect("a link");
    }
    let handshake_timeout_ms = Millis::try_from(10_000).expect("a time within bounds");
    Tls { certificate_file: file("tls.crt"), key_file: file("tls.key"), handshake_timeout_ms }
}

fn renew(authority: &Authority, folder: &str) {
    let (certificate, key) = authority.pair();
    let file = |name: &str| authority.dir().join(name);
    fs::create_dir(file(folder)).expect("a folder");
    fs::write(file(folder).join("tls.crt"), certificate).expect("a file");
    fs::write(file(folder).join("tls.key"), key).expect("a file");
    symlink(folder, file("..new")).expect("a link");
    fs::rename(file("..new"), file("..data")).expect("a link in place");
}

#[tokio::test]
async fn a_pair_that_is_none_changes_nothing_and_is_told_once() {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    let tls = authority.install("clients");
    let logs = authority.dir().join("logs");
    let more =
        format!("{}[log.files]\ndir = \"{}\"\nrotate = \"never\"\n", table("tls", &tls), logs.display());
    let process = Process::start(BINARY, &config_file(authority.dir(), &upstream, &more)).await;
    let log = || fs::read_to_string(logs.join("application.log")).unwrap_or_default();
    let told = async |count: usize| {
        let enough = async {
            while log().matches("was refused").count() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        patiently("a word in the log", enough).await;
    };
    let old = shown(&authority.connect(process.addr, &[]).await);
    // Half of a pair: the key is another's.
    let (certificate, key) = authority.pair();
    fs::write(&tls.certificate_file, &certificate).expect("a file");
    told(1).await;
    assert!(log().contains(tls.key_file.to_str().expect("a path in UTF-8")), "{}", log());
    assert_eq!(shown(&authority.connect(process.addr, &[]).await), old);
    // An incomplete one, with another length than the one before.
    fs::write(&tls.key_file, &key[..key.len() / 2]).expect("a file");
    told(2).await;
    assert_eq!(shown(&authority.connect(process.addr, &[]).await), old);
    // The pair is whole again.
    fs::write(&tls.key_file, &key).expect("a file");
    let renewed = async {
        while shown(&authority.connect(process.addr, &[]).await) == old {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently("the new certificate", renewed).await;
    assert_eq!(log().matches("was refused").count(), 2, "{}", log());
    process.kill().await;
}

#[tokio::test]
async fn a_gateway_that_cannot_prove_itself_does_not_start_and_names_the_file() {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    let (good, other) = (authority.install("good"), authority.install("other"));
    let file = |name: &str, text: &str| {
        let path = authority.dir().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let (empty, noise) = (file("empty.pem", ""), file("noise.pem", "-----BEGIN CERTIFICATE-----\n?\n"));
    let locked = file(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let with = |certificate: &Path, key: &Path| {
        let handshake_timeout_ms = good.handshake_timeout_ms;
        Tls { certificate_file: certificate.into(), key_file: key.into(), handshake_timeout_ms }
    };
    let nowhere = authority.dir().join("nowhere.pem");
    let (certificate, key) = (&*good.certificate_file, &*good.key_file);
    let cases = [
        (with(&nowhere, key), "nowhere.pem", "No such file"),
        (with(certificate, &nowhere), "nowhere.pem", "No such file"),
        (with(&empty, key), "empty.pem", "no certificate"),
        (with(&noise, key), "noise.pem", "PEM"),
        (with(certificate, &empty), "empty.pem", "no private key"),
        (with(certificate, certificate), "good.pem", "no private key"),
        (with(certificate, &locked), "locked.key", "password"),
        (with(certificate, &other.key_file), "other.key", "is not that of"),
    ];
    for (listener, tls, name, reason) in cases
        .iter()
        .flat_map(|(tls, name, reason)| [("tls", tls, name, reason), ("admin_tls", tls, name, reason)])
    {
        let config = config_file(authority.dir(), &upstream, &table(listener, tls));
        let mut command = Command::new(BINARY);
        command.args(["serve", "--config"]).arg(config).stdin(Stdio::null()).kill_on_drop(true);
        let ended = patiently("the end of the gateway", command.output()).await.expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success(), "{name}");
        assert!(said.contains(name) && said.contains(reason), "{listener}, {name}: {said}");
    }
}

#[tokio::test]
async fn a_key_that_everyone_can_read_is_told() {
    let (authority, upstream) = (Authority::new(), Upstream::start().await);
    let (open, shut) = (authority.install("open"), authority.install("shut"));
    for (tls, mode) in [(&open, 0o644), (&shut, 0o640)] {
        fs::set_permissions(&tls.key_file, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let logs = authority.dir().join("logs");
    let tables = table("tls", &open) + &table("admin_tls", &shut);
    let more = format!("{tables}[log.files]\ndir = \"{}\"\nrotate = \"never\"\n", logs.display());
    let file = config_file(authority.dir(), &upstream, &more);
    let text = fs::read_to_string(&file).expect("a file").replace("level = \"error\"", "level = \"warn\"");
    fs::write(&file, text).expect("a file");
    let process = Process::start(BINARY, &file).await;
    let warned = async {
        loop {
            let log = fs::read_to_string(logs.join("application.log")).unwrap_or_default();
            if log.contains("open.key") {
                break log;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let log = patiently("a warning", warned).await;
    assert!(log.contains("644") && !log.contains("shut.key"), "{log}");
    process.kill().await;
}

#[tokio::test]
async fn a_peer_that_does_not_finish_its_handshake_or_its_head_is_closed_in_time() {
    let authority = Authority::new();
    let soon = Millis::try_from(100).expect("a time within bounds");
    let mut tls = authority.install("both");
    tls.handshake_timeout_ms = soon;
    let rig = Rig::with(|setup| {
        setup.config.limits.head_read_timeout_ms = soon;
        setup.config.server.tls = Some(tls.clone());
        setup.config.server.admin_tls = Some(tls);
    })
    .await;
    for addr in [rig.addr(), rig.admin_addr()] {
        // Nothing, half a hello, and HTTP where TLS is spoken.
        for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
            let mut connection = Connection::open(addr).await;
            connection.send_raw(beginning).await;
            connection.closed().await;
        }
        for protocol in ["http/1.1", "h2"] {
            let mut socket = authority.connect(addr, &[protocol]).await;
            let start = if protocol == "h2" { "PRI * HTTP/2.0\r\n" } else { "GET / HTTP/1.1\r\nhost:" };
            socket.write_all(start.as_bytes()).await.expect("an open connection");
            let mut said = Vec::new();
            // It is closed, in whatever way.
            let _ended = patiently("the server to close", socket.read_to_end(&mut said)).await;
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off_and_settled_under_tls_too() {
    let authority = Authority::new();
    let tls = authority.install("clients");
    let rig = Rig::with(|setup| {
        setup.config.limits.client_write_timeout_ms = Millis::try_from(100).expect("a time within bounds");
        setup.config.server.tls = Some(tls);
    })
    .await;
    let comment = format!(": {}\n\n", "x".repeat(1 << 20));
    let script = (0..64).fold(Script::sse().chunk(EVENT), |script, _| script.chunk(&comment));
    rig.upstream.enqueue(script.hang());
    let mut socket = authority.connect(rig.addr(), &["http/1.1"]).await;
    socket.write_all(&http1(&rig)).await.expect("an open connection");
    read_text(&mut socket, "12345678").await;
    rig.upstream.next().await.closed().await;
    assert_eq!(rig.record().await.outcome, Outcome::CancelledAfterFirstByte);
    drop(socket);
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_under_tls_leaves_the_upstream() {
    let authority = Authority::new();
    let rig = rig(&authority.install("clients")).await;
    for protocol in ["http/1.1", "h2"] {
        rig.upstream.enqueue(Script::sse().chunk(EVENT).hang());
        let mut socket = authority.connect(rig.addr(), &[protocol]).await;
        if protocol == "h2" {
            let mut client = Http2::over(socket, &Builder::new()).await;
            let mut body = client.send(request(&rig)).await.head().await.into_body();
            read_until(&mut body, EVENT).await;
            let upstream = rig.upstream.next().await;
            drop(client);
            upstream.closed().await;
            continue;
        }
        socket.write_all(&http1(&rig)).await.expect("an open connection");
        read_text(&mut socket, "12345678").await;
        let upstream = rig.upstream.next().await;
        drop(socket);
        upstream.closed().await;
    }
    for record in rig.records(2).await {
        assert_eq!(record.outcome, Outcome::CancelledAfterFirstByte);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_session_is_resumed_and_no_data_is_taken_before_the_handshake() {
    let authority = Authority::new();
    let rig = rig(&authority.install("clients")).await;
    let mut config = authority.client(&["http/1.1"]);
    config.enable_early_data = true;
    let config = Arc::new(config);
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        rig.upstream.enqueue(Script::sse().chunk(EVENT).chunk(DONE).end());
        let mut socket = handshake(rig.addr(), &config).await;
        assert_eq!(socket.get_ref().1.handshake_kind(), Some(expected));
        assert!(!socket.get_ref().1.is_early_data_accepted());
        // The tickets come with the answer.
        socket.write_all(&http1(&rig)).await.expect("an open connection");
        read_text(&mut socket, "[DONE]").await;
    }
    let socket = TcpStream::connect(rig.addr()).await.expect("a server that listens");
    let name = "localhost".try_into().expect("a name");
    let mut early = tokio_rustls::rustls::ClientConnection::new(Arc::clone(&config), name).expect("a client");
    assert!(early.early_data().is_none(), "the server offers to take data before the handshake");
    drop(socket);
    rig.stop().await;
}

#[tokio::test]
async fn an_admin_tries_a_request_where_clients_speak_tls() {
    let authority = Authority::new();
    let rig = rig(&authority.install("clients")).await;
    rig.upstream.enqueue(Script::json(
        200,
        r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
    ));
    let order = json!({"model": "gpt-4o", "prompt": "Reply with one word."});
    let ask = client::Request::post("/management/v1/proxy/test", &order).bearer(rig.admin_secret());
    let report = client::call(rig.admin_addr(), &ask).await;
    assert_eq!((report.status, &report.json()["status"]), (200, &json!(200)), "{}", report.text());
    rig.stop().await;
}
