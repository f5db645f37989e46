//! A gateway between the test's own client and upstream: in this process, on ports of its own, with a fresh database.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tollgate_core::limits::{KeyLimits, RateLimits};
use tollgate_core::points::Micropoints;
use tollgate_core::secret::Secret;
use tollgate_server::app::{Gateway, Options};
use tollgate_server::config::{BaseUrl, Config, LogFilter};
use tollgate_server::manage::{Management, NewCredential, Place};
use tollgate_server::transport::Transport;
use tollgate_store::RequestRecord;

use crate::client::{self, Reply, Request};
use crate::managed;
use crate::patiently;
use crate::upstream::Upstream;

/// What a test may change before the gateway starts.
pub struct Setup {
    /// The configuration: ports are free ones, every provider points to the upstream.
    pub config: Config,
    /// Users and their points. Each gets one API key.
    pub users: Vec<(&'static str, Micropoints)>,
    /// Provider, owner (`None` for the platform), secret, weight.
    pub credentials: Vec<(&'static str, Option<&'static str>, &'static str, u32)>,
    /// Provider, platform and secret of platform credentials for another platform.
    pub elsewhere: Vec<(&'static str, Place, String)>,
    /// Files of the plugins directory: stem and bytes.
    pub plugins: Vec<(&'static str, Vec<u8>)>,
    /// The transport to use in place of connections.
    pub transport: Option<Arc<dyn Transport>>,
}

/// A running gateway with its surroundings.
pub struct Rig {
    /// The provider.
    pub upstream: Upstream,
    /// The configuration that it was started with.
    pub config: Config,
    transport: Option<Arc<dyn Transport>>,
    dir: TempDir,
    keys: HashMap<&'static str, String>,
    gateway: Option<Gateway>,
    addr: SocketAddr,
    admin_addr: SocketAddr,
    admin_secret: String,
}

impl Rig {
    /// A gateway with one user, `alice`, who has 1,000 points, and one platform credential for each provider, called
    /// `platform-openai`, `platform-anthropic` and `platform-google`.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same with changes.
    ///
    /// # Panics
    /// When the gateway does not start.
    pub async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let upstream = Upstream::start().await;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut setup = Setup {
            config: config(&upstream, dir.path().join("data")),
            users: vec![("alice", Micropoints::from_points(1000))],
            credentials: vec![
                ("openai", None, "platform-openai", 100),
                ("anthropic", None, "platform-anthropic", 100),
                ("google", None, "platform-google", 100),
            ],
            elsewhere: Vec::new(),
            plugins: Vec::new(),
            transport: None,
        };
        change(&mut setup);
        let Setup { config, users, credentials, elsewhere, plugins, transport } = setup;
        let keys = provision(&config, users, credentials).await.expect("an empty database takes users");
        provision_elsewhere(&config, elsewhere).await.expect("an empty database takes credentials");
        let plugins_dir = config.plugins_dir();
        std::fs::create_dir_all(&plugins_dir).expect("a plugins directory");
        for (stem, bytes) in plugins {
            std::fs::write(plugins_dir.join(format!("{stem}.wasm")), bytes).expect("a plugin file");
        }
        let gateway = launch(config.clone(), transport.clone()).await;
        let (addr, admin_addr) = (gateway.address, gateway.admin_address);
        let admin_secret = gateway.first_start.admin_secret.as_ref().map_or("", Secret::expose).to_owned();
        Self {
            upstream,
            config,
            transport,
            dir,
            keys,
            gateway: Some(gateway),
            addr,
            admin_addr,
            admin_secret,
        }
    }

    /// Where clients connect.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where operators connect.
    #[must_use]
    pub const fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// Where users manage what is theirs.
    ///
    /// # Panics
    /// Without such a listener.
    #[must_use]
    pub fn users_addr(&self) -> SocketAddr {
        self.gateway.as_ref().and_then(|gateway| gateway.users_address).expect("a listener for users")
    }

    /// The admin secret.
    #[must_use]
    pub fn admin_secret(&self) -> &str {
        &self.admin_secret
    }

    /// A user's API key.
    ///
    /// # Panics
    /// Without such a user.
    #[must_use]
    pub fn key(&self, user: &str) -> &str {
        self.keys.get(user).expect("a user of this rig")
    }

    /// Sends a request with `alice`'s key and waits for the whole answer.
    pub async fn call(&self, request: Request) -> Reply {
        client::call(self.addr, &request.bearer(self.key("alice"))).await
    }

    /// Sends a request to the operators' listener, with the admin secret.
    pub async fn admin(&self, method: &str, target: &str) -> Reply {
        client::call(self.admin_addr, &Request::new(method, target).bearer(&self.admin_secret)).await
    }

    /// The running components, as operators see them.
    pub async fn plugins(&self) -> Value {
        self.admin("GET", "/management/v1/plugins").await.json()
    }

    /// The status of one component.
    ///
    /// # Panics
    /// Without such a component.
    pub async fn plugin(&self, name: &str) -> Value {
        let all = self.plugins().await;
        let found = all["data"].as_array().and_then(|list| list.iter().find(|plugin| plugin["name"] == name));
        found.expect("a component of that name").clone()
    }

    /// Puts a file into the plugins directory in one step, as an operator's `mv` does, and has it looked at. Returns
    /// the answer to the reload.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub async fn install(&self, stem: &str, bytes: &[u8]) -> Reply {
        let dir = self.config.plugins_dir();
        let new = dir.join(format!(".{stem}.new"));
        std::fs::write(&new, bytes).expect("a plugin file");
        std::fs::rename(&new, dir.join(format!("{stem}.wasm"))).expect("a plugin file in place");
        self.admin("POST", "/management/v1/plugins/reload").await
    }

    /// The database, opened beside the gateway as the command line does.
    ///
    /// # Panics
    /// When the database cannot be opened.
    pub async fn desk(&self) -> Management {
        Management::open(&self.config).await.expect("the database opens")
    }

    /// The records of all requests, oldest first, once there are at least `count`: a record is written a moment after
    /// the answer's end.
    pub async fn records(&self, count: usize) -> Vec<RequestRecord> {
        let desk = self.desk().await;
        let all = patiently("the records", async {
            loop {
                let mut records = managed::requests(&desk, u32::MAX).await.expect("the database reads");
                if records.len() >= count {
                    records.reverse();
                    return records;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        desk.close().await;
        all
    }

    /// The record of the only request so far.
    ///
    /// # Panics
    /// When there are more.
    pub async fn record(&self) -> RequestRecord {
        let mut records = self.records(1).await;
        assert_eq!(records.len(), 1, "one request was made");
        records.remove(0)
    }

    /// A user's balance in the database, without what is reserved.
    ///
    /// # Panics
    /// Without such a user.
    pub async fn balance(&self, user: &str) -> Micropoints {
        let desk = self.desk().await;
        let users = managed::users(&desk).await.expect("the database reads");
        desk.close().await;
        users.into_iter().find(|row| row.name == user).expect("a user of this rig").balance
    }

    /// Stops the gateway as SIGTERM does and starts it again with the same configuration; the ports are others then.
    ///
    /// # Panics
    /// When it does not stop or start well.
    pub async fn restart(&mut self) {
        let gateway = self.gateway.take().expect("a rig that runs");
        let stopped = tokio::task::spawn_blocking(move || gateway.stop()).await;
        stopped.expect("the stop does not panic").expect("the gateway stops well");
        let gateway = launch(self.config.clone(), self.transport.clone()).await;
        (self.addr, self.admin_addr) = (gateway.address, gateway.admin_address);
        self.gateway = Some(gateway);
    }

    /// Stops the gateway as SIGTERM does and verifies the ledger.
    ///
    /// # Panics
    /// When it does not stop well, or an invariant of the ledger is broken.
    pub async fn stop(mut self) {
        let gateway = self.gateway.take().expect("a rig stops once");
        let stopped = tokio::task::spawn_blocking(move || gateway.stop()).await;
        stopped.expect("the stop does not panic").expect("the gateway stops well");
        let desk = self.desk().await;
        let report = desk.verify().await.expect("the database reads");
        assert!(report.violations.is_empty(), "{:?}", report.violations);
        desk.close().await;
    }

    /// The temporary directory that holds everything.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

/// A test that ends early leaves no threads behind.
impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            // Its own thread: the test's runtime may not block.
            std::thread::spawn(move || drop(gateway.stop()));
        }
    }
}

/// A configuration whose providers are `upstream`.
///
/// # Panics
/// Never: a loopback address is a URL.
#[must_use]
pub fn config(upstream: &Upstream, data_dir: PathBuf) -> Config {
    let mut config = Config::default();
    config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.server.admin_listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.server.workers = 1;
    config.server.data_dir = data_dir;
    // Shared by all tests: each would compile the same components.
    config.plugins.cache_dir = Some(std::env::temp_dir().join("tollgate-test-cache"));
    config.log.level = LogFilter("error".to_owned());
    for provider in config.providers.values_mut() {
        provider.base_url = BaseUrl::try_from(upstream.base_url()).expect("a loopback URL");
    }
    config
}

/// Fills an empty database and returns the API keys.
///
/// # Errors
/// When the database does not take it.
pub async fn provision(
    config: &Config,
    users: Vec<(&'static str, Micropoints)>,
    credentials: Vec<(&'static str, Option<&'static str>, &'static str, u32)>,
) -> anyhow::Result<HashMap<&'static str, String>> {
    let desk = Management::open(config).await?;
    let mut keys = HashMap::new();
    for (name, points) in users {
        managed::add_user(&desk, name, points).await?;
        let (_, key) = desk.create_key(name, "test", None, KeyLimits::default()).await?;
        keys.insert(name, key.expose().to_owned());
    }
    for (provider, user, secret, weight) in credentials {
        let (provider, user) = (provider.to_owned(), user.map(str::to_owned));
        let (label, secret) = ("test".to_owned(), Secret::new(secret.to_owned()));
        let limits = RateLimits::default();
        let place = None;
        desk.add_credential(NewCredential { provider, user, label, weight, secret, limits, place }).await?;
    }
    desk.close().await;
    Ok(keys)
}

async fn provision_elsewhere(
    config: &Config,
    credentials: Vec<(&'static str, Place, String)>,
) -> anyhow::Result<()> {
    let desk = Management::open(config).await?;
    for (provider, place, secret) in credentials {
        let (provider, label) = (provider.to_owned(), "elsewhere".to_owned());
        let new = NewCredential {
            provider,
            user: None,
            label,
            weight: 100,
            secret: Secret::new(secret),
            limits: RateLimits::default(),
            place: Some(place),
        };
        desk.add_credential(new).await?;
    }
    desk.close().await;
    Ok(())
}

async fn launch(config: Config, transport: Option<Arc<dyn Transport>>) -> Gateway {
    let options = Options { config, ..Options::default() };
    let start = move || Gateway::start_with(options, transport);
    let started = tokio::task::spawn_blocking(start).await;
    started.expect("the start does not panic").expect("the gateway starts")
}
