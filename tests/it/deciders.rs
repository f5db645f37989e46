//! Two nodes of one installation, which ask one hub for what each would otherwise decide alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tollgate_core::id::UserId;
use tollgate_core::limits::{KeyLimits, RateLimits};
use tollgate_core::points::Micropoints;
use tollgate_server::app::{Gateway, Options};
use tollgate_server::config::{Config, Millis};
use tollgate_server::manage::Management;
use tollgate_store::RequestRecord;
use tollgate_tests::client::{self, Connection, Reply, Request};
use tollgate_tests::gateway::{config, provision};
use tollgate_tests::hub::Hub;
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::upstream::{self, Script, Upstream};

const CHAT: &str = "/v1/chat/completions";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const LIMITED: &str = r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;

/// What a test may set for both nodes.
struct Setup {
    /// Secrets of platform credentials for `openai`.
    credentials: Vec<&'static str>,
    /// The limits of alice's key.
    rates: RateLimits,
    /// What alice has at the hub. A node alone would find 1,000 points.
    points: Micropoints,
    change: fn(&mut Config),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            credentials: vec!["one"],
            rates: RateLimits::default(),
            points: Micropoints::from_points(1000),
            change: |_| {},
        }
    }
}

/// Two gateways that began with the same database.
struct Nodes {
    upstream: Upstream,
    gateways: [Option<Gateway>; 2],
    configs: [Config; 2],
    key: String,
    alice: UserId,
    hub: Hub,
    _dir: tempfile::TempDir,
}

impl Nodes {
    async fn start(setup: Setup) -> Self {
        let upstream = Upstream::start().await;
        upstream.respond(|_| Script::json(200, ANSWER));
        let dir = tempfile::tempdir().expect("a directory");
        let configs = ["a", "b"].map(|node| {
            let mut config = config(&upstream, dir.path().join(node));
            (setup.change)(&mut config);
            config
        });
        let users = vec![("alice", Micropoints::from_points(1000))];
        let credentials = setup.credentials.into_iter().map(|secret| ("openai", None, secret, 100)).collect();
        provision(&configs[0], users, credentials).await.expect("an empty database takes users");
        let desk = Management::open(&configs[0]).await.expect("the database opens");
        let limits = KeyLimits { rates: setup.rates, ..KeyLimits::default() };
        let (_, key) = desk.create_key("alice", "both", None, limits).await.expect("a key");
        let alice = managed::users(&desk).await.expect("the database reads")[0].id;
        desk.close().await;
        copy(&dir.path().join("a"), &dir.path().join("b"));
        let hub = Hub::default();
        hub.fund(alice, setup.points);
        let [a, b] =
            configs.clone().map(|config| Options { config, deciders: hub.deciders(), ..Options::default() });
        let gateways = [Some(launch(a).await), Some(launch(b).await)];
        Self { upstream, gateways, configs, key: key.expose().to_owned(), alice, hub, _dir: dir }
    }

    fn request(&self, text: &str) -> Request {
        let messages = [json!({"role": "user", "content": text})];
        let body = json!({"model": "gpt-4o", "max_tokens": 100, "messages": messages});
        Request::post(CHAT, &body).bearer(&self.key)
    }

    fn address(&self, node: usize) -> std::net::SocketAddr {
        self.gateways[node].as_ref().expect("a node that runs").address
    }

    async fn chat(&self, node: usize, text: &str) -> Reply {
        client::call(self.address(node), &self.request(text)).await
    }

    /// The records of a node, once there are this many.
    async fn records(&self, node: usize, count: usize) -> Vec<RequestRecord> {
        let desk = Management::open(&self.configs[node]).await.expect("the database opens");
        let records = patiently("the records", async {
            loop {
                let records = managed::requests(&desk, u32::MAX).await.expect("the database reads");
                if records.len() >= count {
                    return records;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        desk.close().await;
        records
    }

    async fn stop(mut self) {
        for gateway in self.gateways.iter_mut().filter_map(Option::take) {
            let stopped = tokio::task::spawn_blocking(move || gateway.stop()).await;
            stopped.expect("the stop does not panic").expect("the gateway stops well");
        }
    }
}

async fn launch(options: Options) -> Gateway {
    let started = tokio::task::spawn_blocking(move || Gateway::start(options)).await;
    started.expect("the start does not panic").expect("the gateway starts")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for file in std::fs::read_dir(from).expect("a directory") {
        let file = file.expect("a file");
        if file.file_type().expect("a kind").is_file() {
            std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
        }
    }
}

fn secret(request: &upstream::Request) -> String {
    request.header("authorization").unwrap_or("none").replace("Bearer ", "")
}

#[tokio::test]
async fn two_nodes_count_a_keys_calls_together() {
    let rates = RateLimits { requests_per_minute: Some(5), ..RateLimits::default() };
    let nodes = Nodes::start(Setup { rates, ..Setup::default() }).await;
    let mut answers = Vec::new();
    for call in 0..10 {
        answers.push(nodes.chat(call % 2, "a").await.status);
    }
    assert_eq!(answers, [200, 200, 200, 200, 200, 429, 429, 429, 429, 429]);
    nodes.stop().await;
}

#[tokio::test]
async fn a_key_has_no_more_calls_under_way_at_two_nodes_than_at_one() {
    let rates = RateLimits { concurrency: Some(1), ..RateLimits::default() };
    let nodes = Nodes::start(Setup { rates, ..Setup::default() }).await;
    let gate = upstream::Gate::new();
    nodes.upstream.enqueue(Script::sse().gate(&gate).chunk("data: [DONE]\n\n").end());
    let mut streaming = Connection::open(nodes.address(0)).await;
    streaming.send(&nodes.request("b")).await;
    gate.reached().await;
    assert_eq!(nodes.chat(1, "c").await.status, 429);
    gate.open();
    streaming.reply().await;
    assert_eq!(nodes.chat(1, "d").await.status, 200);
    nodes.stop().await;
}

#[tokio::test]
async fn a_credential_that_one_node_lays_to_rest_serves_at_no_other() {
    let nodes = Nodes::start(Setup { credentials: vec!["one"], ..Setup::default() }).await;
    nodes.upstream.enqueue(Script::whole(429, &[("retry-after", "9")], LIMITED));
    assert_eq!(nodes.chat(0, "a").await.status, 429);
    let reply = nodes.chat(1, "a").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("9")), "{}", reply.text());
    assert_eq!(nodes.upstream.count(), 1, "nobody asks a provider in vain");
    nodes.stop().await;
}

#[tokio::test]
async fn another_credential_serves_where_the_first_rests_by_another_nodes_word() {
    let nodes = Nodes::start(Setup { credentials: vec!["one", "two"], ..Setup::default() }).await;
    nodes.upstream.enqueue(Script::whole(429, &[("retry-after", "9")], LIMITED));
    assert_eq!(nodes.chat(0, "a").await.status, 200);
    for _ in 0..6 {
        assert_eq!(nodes.chat(1, "a").await.status, 200);
    }
    let requests = nodes.upstream.requests();
    let rested = secret(&requests[0]);
    assert!(requests[1..].iter().all(|request| secret(request) != rested));
    nodes.stop().await;
}

#[tokio::test]
async fn a_conversation_goes_on_at_another_node_with_its_credential() {
    let nodes =
        Nodes::start(Setup { credentials: vec!["one", "two", "three", "four"], ..Setup::default() }).await;
    for conversation in ["a", "b", "c", "d", "e", "f"] {
        for node in [0, 1, 0, 1] {
            assert_eq!(nodes.chat(node, conversation).await.status, 200);
        }
    }
    let requests: Vec<Arc<upstream::Request>> = nodes.upstream.requests();
    for conversation in requests.chunks(4) {
        let first = secret(&conversation[0]);
        assert!(conversation.iter().all(|request| secret(request) == first));
    }
    nodes.stop().await;
}

#[tokio::test]
async fn two_nodes_share_the_places_at_a_provider_and_make_room_for_each_other() {
    let change = |config: &mut Config| {
        config.limits.provider_concurrency_max.insert("openai".to_owned(), 1);
        config.limits.concurrency_timeout_ms = Millis::try_from(300).expect("a time");
    };
    let nodes = Nodes::start(Setup { change, ..Setup::default() }).await;
    let gate = upstream::Gate::new();
    nodes.upstream.enqueue(Script::sse().gate(&gate).chunk("data: [DONE]\n\n").end());
    let mut first = Connection::open(nodes.address(0)).await;
    first.send(&nodes.request("a")).await;
    gate.reached().await;
    assert_eq!(nodes.chat(1, "b").await.status, 503, "the only place is taken at the other node");
    gate.open();
    first.reply().await;
    assert_eq!(nodes.chat(1, "c").await.status, 200);
    nodes.stop().await;
}

/// Both nodes at once, with more calls than the balance carries: what is granted in all is what one node alone would
/// have granted, and the one balance has lost what both databases say was paid.
#[tokio::test]
async fn two_nodes_that_spend_one_balance_never_take_it_below_its_floor() {
    const CALLS: usize = 24;
    const GRANTED: usize = 5;
    let nodes = Nodes::start(Setup::default()).await;
    // What one such call holds.
    assert_eq!(nodes.chat(0, "a").await.status, 200);
    let held = nodes.records(0, 1).await[0].hold.get();
    let points = Micropoints::new(held * 5 + held / 2);
    nodes.hub.fund(nodes.alice, points);

    let gate = upstream::Gate::new();
    let closed = gate.clone();
    nodes.upstream.respond(move |_| {
        Script::chunked(200, &[("content-type", "application/json")]).gate(&closed).chunk(ANSWER).end()
    });
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for call in 0..CALLS {
        let (address, request, tell) = (nodes.address(call % 2), nodes.request("a"), tell.clone());
        tokio::spawn(async move { tell.send(client::call(address, &request).await.status) });
    }
    for _ in GRANTED..CALLS {
        assert_eq!(told.recv().await, Some(402), "the balance carries no more than {GRANTED} such calls");
    }
    let account = nodes.hub.account(nodes.alice).await;
    assert_eq!((account.posted(), account.pending().get()), (points, held * 5));
    for _ in 0..GRANTED {
        gate.open();
        assert_eq!(told.recv().await, Some(200));
    }
    // Half of the calls each, and the first one at the one.
    let (first, second) = (nodes.records(0, CALLS / 2 + 1).await, nodes.records(1, CALLS / 2).await);
    let paid: i64 = first.iter().chain(&second).map(|record| record.charge.get()).sum();
    let (hub, alice) = (nodes.hub.clone(), nodes.alice);
    nodes.stop().await;
    let account = hub.account(alice).await;
    let before = first.iter().map(|record| record.charge.get()).find(|charge| *charge > 0).unwrap_or(0);
    assert_eq!(
        (account.posted().get(), account.pending()),
        (points.get() - (paid - before), Micropoints::ZERO)
    );
}

/// A hold that grows asks the balance that both nodes spend, and an answer that it carries no further ends in order.
#[tokio::test]
async fn an_answer_grows_no_further_than_the_balance_that_two_nodes_share() {
    let nodes = Nodes::start(Setup { points: Micropoints::from_points(12), ..Setup::default() }).await;
    let said = json!({"id": "c1", "choices": [{"index": 0, "delta": {"content": "word".repeat(100)}}]});
    let piece = format!("data: {said}\n\n");
    nodes.upstream.respond(move |_| (0..400).fold(Script::sse(), |script, _| script.chunk(&piece)).hang());
    let body = json!({"model": "gpt-4o", "max_tokens": 16_000, "stream": true, "messages": []});
    let reply = client::call(nodes.address(1), &Request::post(CHAT, &body).bearer(&nodes.key)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().contains("\"finish_reason\":\"length\"") && reply.text().ends_with("[DONE]\n\n"));
    let record = nodes.records(1, 1).await.remove(0);
    let account = nodes.hub.account(nodes.alice).await;
    assert_eq!(account.pending(), Micropoints::ZERO);
    let left = account.posted();
    assert!(left >= Micropoints::ZERO && left < Micropoints::from_points(3), "{left}");
    assert!(record.charge.get() > 9_000_000, "{}", record.charge);
    nodes.stop().await;
}
