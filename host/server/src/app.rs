//! The gateway as a running thing: the only place where its parts are wired together.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::request::Parts;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tollgate_core::id::RequestId;
use tollgate_runtime::Runtime;
use tollgate_store::{Ledger, Store, StoreError, Writer};

use crate::admin::{self, Admin, Audience, Clients, House};
use crate::allocator::Frugal;
use crate::bodies::{Bodies, Copied};
use crate::config::environment;
use crate::config::{BaseUrl, Config, FILE_BYTES_MAX, Tls, file};
use crate::control::config_apart::ConfigApart;
use crate::control::config_watch::ConfigWatch;
use crate::control::credential_monitor::CredentialMonitor;
use crate::control::directory_sync::{self, FirstStart, Opened, SyncError};
use crate::control::{bodies as kept_bodies, lease, retention, tokens};
use crate::demo::Simulator;
use crate::listen::accept;
use crate::listen::arriving::Arriving;
use crate::listen::descriptors::{self, Shares};
use crate::listen::listener::{Doors, ListenError};
use crate::listen::terms::{Door, Handler};
use crate::listen::tls::{Certificates, TlsError};
use crate::listen::worker;
use crate::manage::Opening;
use crate::routing::components;
use crate::routing::table::Upstreams;
use crate::shared::Shared;
use crate::state::accounts::Accounts;
use crate::state::affinity::Conversations;
use crate::state::concurrency::Gates;
use crate::state::configuration::{FileInForce, Look};
use crate::state::credentials::Credentials;
use crate::state::deciders::Deciders;
use crate::state::habits::Habits;
use crate::state::limiter::Limiter;
use crate::state::memory::Memory;
use crate::state::metrics::Metrics;
use crate::state::tokens::{Slot, Tokens};
use crate::state::trace::DryRuns;
use crate::telemetry::{LogError, chain};
use crate::transport::{Settings, Transport};
use crate::{clock, telemetry};

/// Pace of the simulated provider: about as fast as a quick model writes.
const DEMO_PACE: Duration = Duration::from_millis(20);
/// How often the database is asked whether another process has changed something.
const REFRESH: Duration = Duration::from_millis(500);

/// How a gateway is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The configuration.
    pub config: Config,
    /// The file that it came from, watched for changes of providers and policies.
    pub config_path: Option<PathBuf>,
    /// Where the next start would look for it, so that it can be told that nobody follows it where nobody does.
    pub config_apart: Option<PathBuf>,
    /// Whether to start the simulated provider and a user to try it with.
    pub demo: bool,
    /// Whether to go on with what is left where something of the data is missing.
    pub accept_loss: bool,
    /// Deciders for several nodes; without any, this node decides alone.
    pub deciders: Deciders,
}

/// Why a gateway cannot serve, or could not end well.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The data directory or the database cannot be used.
    #[error(transparent)]
    Data(#[from] SyncError),
    /// The ledger cannot be written.
    #[error("opening the ledger")]
    Ledger(#[source] StoreError),
    /// The simulated provider's address is not valid.
    #[error("the simulated provider's address {0}")]
    Simulator(String),
    /// The plugins directory cannot be made or watched.
    #[error("{doing} {}", path.display())]
    Plugins {
        /// What was being done.
        doing: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// A component is refused, or components cannot run at all.
    #[error("starting the components")]
    Components(#[source] tollgate_runtime::StartError),
    /// A certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address is in use, or not this machine's.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system gives no thread, or a thread no event loop.
    #[error("starting a thread")]
    Thread(#[source] io::Error),
    /// A worker could not go on.
    #[error("serving")]
    Serve(#[source] io::Error),
    /// A worker has panicked; the log has the details.
    #[error("a worker panicked")]
    Panicked,
    /// The database did not accept what was left at the end.
    #[error("the database did not take the last {0} entries")]
    Lost(usize),
}

/// A running gateway. Dropping it without [`Gateway::stop`] leaves its threads running.
pub struct Gateway {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where operators connect.
    pub admin_address: SocketAddr,
    /// Where users manage what is theirs, if anywhere.
    pub users_address: Option<SocketAddr>,
    /// Secrets that a first start made; shown once.
    pub first_start: FirstStart,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<std::io::Result<()>>>,
    control: Option<JoinHandle<()>>,
    end_control: watch::Sender<bool>,
    admin: Arc<Admin>,
    store: Store,
    _simulator: Option<Simulator>,
}

impl Gateway {
    /// Starts everything and returns once clients are served.
    ///
    /// # Errors
    /// Whatever keeps it from serving: the data directory, the database, a component, an address that is in use.
    pub fn start(options: Options) -> Result<Self, StartError> {
        Self::start_with(options, None)
    }

    /// The same, with another transport for all requests to providers.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn start_with(mut options: Options, instead: Option<Arc<dyn Transport>>) -> Result<Self, StartError> {
        let _frugal = Frugal::begin();
        let simulator = prepare(&mut options)?;
        let (config, deciders) = (options.config, options.deciders);
        let shares = Shares::of(descriptors::raise(), &config);
        let certificates = Certificates::load(&config.server)?;
        let workers = worker_count(&config);
        let control = event_loop()?;
        let opened = open(&control, &config, options.accept_loss, options.demo)?;
        let writer = control.block_on(opened.store.ledger.writer()).map_err(StartError::Ledger)?;
        let runtime = start_components(&config, workers, writer.clone())?;
        let Doors { clients, admin: door, users, address, admin_address, users_address, visits } =
            Doors::open(&config, workers, &certificates, &shares)?;
        let (tokens, tokens_wanted) = Tokens::new();
        let transport = transport(&config, instead, &shares);
        let metrics = Metrics::new();
        let (bodies, copies) = Bodies::new(&config.requests.bodies, metrics.bodies_lost());
        let (configuration, looks) = FileInForce::new();
        let shared = Arc::new(Shared {
            configuration,
            runtime,
            directory: ArcSwap::new(Arc::new(opened.directory)),
            upstreams: ArcSwap::new(Upstreams::new(&config, opened.routes, &opened.granted, opened.text_key)),
            last_good: ArcSwapOption::empty(),
            accounts: Accounts::new(deciders.accounts),
            limiter: Limiter::new(deciders.limiter),
            credentials: Credentials::new(deciders.credentials),
            gates: Gates::new(&config.limits, deciders.gates),
            memory: Memory::new(config.limits.memory_bytes_max),
            conversations: Conversations::new(deciders.affinity),
            habits: Habits::default(),
            metrics,
            dry_runs: DryRuns::default(),
            tokens: Arc::new(tokens),
            transport,
            bodies,
            writer,
            quarantined: opened.quarantined,
            settings: config,
        });
        let admin = Arc::new(Admin {
            shared: Arc::clone(&shared),
            secret: opened.admin_secret,
            logins: opened.logins,
            boot: *RequestId::new(clock::now(), clock::random()).as_bytes(),
            clients: visits,
            house: House::new(clients_at(&shared.settings, address), options.demo),
            ready: AtomicBool::new(true),
        });
        let config_watch = followed(&shared, options.config_path.filter(|_| !options.demo), looks);
        let (stop, stopping) = watch::channel(false);
        let (end_control, control_ending) = watch::channel(false);
        let tasks = Control {
            admin: Arc::clone(&admin),
            nurse: CredentialMonitor::new(shared.clone(), opened.books.management().clone(), opened.changed),
            books: opened.books,
            tokens_wanted,
            ledger: Arc::clone(&opened.store.ledger),
            copies,
            config_apart: ConfigApart::unless(config_watch.is_some(), options.config_apart, options.demo),
            config_watch,
            certificates,
            end: control_ending,
        };
        let control =
            spawn("control", move || tasks.run(&control, door, users)).map_err(StartError::Thread)?;
        let workers = start_workers(clients, &shared, &stopping).map_err(StartError::Thread)?;
        tracing::info!(%address, %admin_address, workers = workers.len(), "serving");
        Ok(Self {
            address,
            admin_address,
            users_address,
            first_start: opened.first_start,
            stop,
            workers,
            control: Some(control),
            end_control,
            admin,
            store: opened.store,
            _simulator: simulator,
        })
    }

    /// The URL at which clients connect, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.admin.shared.settings.server.tls.as_ref(), self.address)
    }

    /// The URL at which operators connect, without a path.
    #[must_use]
    pub fn admin_url(&self) -> String {
        url(self.admin.shared.settings.server.admin_tls.as_ref(), self.admin_address)
    }

    /// The URL at which users manage what is theirs, without a path.
    #[must_use]
    pub fn users_url(&self) -> Option<String> {
        let tls = self.admin.shared.settings.server.users_tls.as_ref();
        self.users_address.map(|address| url(tls, address))
    }

    /// Accepts no more connections, waits for requests under way (at most for the drain's time), settles them, and
    /// closes the database. Blocks.
    ///
    /// # Errors
    /// When the last commits could not be written.
    pub fn stop(mut self) -> Result<(), StartError> {
        self.admin.ready.store(false, Ordering::Relaxed);
        self.stop.send_replace(true);
        for worker in self.workers.drain(..) {
            match worker.join() {
                Ok(ended) => ended.map_err(StartError::Serve)?,
                Err(_) => return Err(StartError::Panicked),
            }
        }
        self.end_control.send_replace(true);
        if let Some(control) = self.control.take() {
            // Its panic was logged where it happened.
            let _ended = control.join();
        }
        match event_loop()?.block_on(self.store.close()) {
            0 => tracing::info!("stopped"),
            lost => return Err(StartError::Lost(lost)),
        }
        Ok(())
    }
}

/// What runs beside the road on a separate thread.
struct Control {
    admin: Arc<Admin>,
    books: directory_sync::DirectorySync,
    nurse: CredentialMonitor,
    tokens_wanted: UnboundedReceiver<Arc<Slot>>,
    /// Where this node's lease is kept.
    ledger: Arc<dyn Ledger>,
    /// Bodies that wait to be stored.
    copies: mpsc::Receiver<Copied>,
    /// Follows the configuration file, from its content before anything is served, so that no later change goes unseen.
    config_watch: Option<ConfigWatch>,
    /// Tells that nobody does.
    config_apart: Option<ConfigApart>,
    certificates: Certificates,
    end: watch::Receiver<bool>,
}

impl Control {
    fn run(mut self, runtime: &tokio::runtime::Runtime, door: Door, users: Option<Door>) {
        LocalSet::new().block_on(runtime, async move {
            let managing = self.attend(door, Audience::Operators);
            let users = users.map(|door| self.attend(door, Audience::Users));
            for certificate in self.certificates.each() {
                tokio::spawn(certificate.watch());
            }
            let shared = Arc::clone(&self.admin.shared);
            let management = self.admin.logins.management();
            tokio::spawn(tokens::serve(management.clone(), shared.transport.clone(), self.tokens_wanted));
            tokio::spawn(self.nurse.run());
            if let Some(watch) = self.config_watch.take() {
                tokio::spawn(watch.run());
            }
            if let Some(apart) = self.config_apart.take() {
                tokio::spawn(apart.run());
            }
            tokio::spawn(lease::keep(self.ledger));
            tokio::spawn(retention::watch(
                self.admin.logins.management().clone(),
                shared.settings.requests.clone(),
            ));
            let management = self.admin.logins.management();
            tokio::spawn(kept_bodies::watch(management.clone(), shared.settings.requests.bodies.clone()));
            let keeping = tokio::spawn(kept_bodies::run(
                shared.clone(),
                management.clone(),
                self.copies,
                self.end.clone(),
            ));
            loop {
                tokio::select! {
                    () = tokio::time::sleep(REFRESH) => {}
                    _ = self.end.wait_for(|end| *end) => break,
                }
                if let Err(error) = self.books.refresh(&shared).await {
                    tracing::error!(
                        error = chain(&error),
                        "what has changed in the database could not be read"
                    );
                }
            }
            // Their panics were logged where they happened.
            let _ended = tokio::join!(keeping, managing);
            if let Some(users) = users {
                let _ended = users.await;
            }
        });
    }

    /// Serves a listener for management until the end.
    fn attend(&self, door: Door, audience: Audience) -> tokio::task::JoinHandle<()> {
        let (office, end) = (Office { admin: Arc::clone(&self.admin), audience }, self.end.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = accept::serve(door, office, end).await {
                tracing::error!(%error, ?audience, "a listener for management failed");
            }
        })
    }
}

/// Requests of operators or of users, which go to the management API.
#[derive(Clone)]
struct Office {
    admin: Arc<Admin>,
    audience: Audience,
}

impl Handler for Office {
    type Body = admin::Body;

    fn answer(&self, from: IpAddr, head: Parts, body: &mut Arriving) -> impl Future<Output = admin::Answer> {
        admin::answer(&self.admin, self.audience, from, head, body.plain())
    }

    fn refuse(&self, _: &Parts, words: &'static str) -> admin::Answer {
        admin::refuse(words)
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(format!("tollgate-{name}")).spawn(body)
}

/// How requests reach providers, unless something is `instead` of connections.
fn transport(config: &Config, instead: Option<Arc<dyn Transport>>, shares: &Shares) -> Settings {
    let connect_timeout = config.limits.upstream_connect_timeout_ms.duration();
    Settings { instead, ..Settings::new(connect_timeout, shares.providers) }
}

/// Opens the database, and what a server follows of it.
fn open(
    control: &tokio::runtime::Runtime,
    config: &Config,
    accept_loss: bool,
    demo: bool,
) -> Result<Opened, StartError> {
    let opening = if accept_loss { Opening::AcceptLoss } else { Opening::Make };
    let keys = environment::keys(|name| std::env::var(name).ok());
    Ok(control.block_on(directory_sync::open(config, opening, demo, keys))?)
}

/// Who follows the configuration file, from what it holds now.
fn followed(shared: &Arc<Shared>, path: Option<PathBuf>, looks: mpsc::Receiver<Look>) -> Option<ConfigWatch> {
    let path = path?;
    let known = file::read(&path, FILE_BYTES_MAX).unwrap_or_default();
    let in_force = Config::parse(&path, &known).map(|(_, written)| written).unwrap_or_default();
    Some(ConfigWatch { shared: Arc::clone(shared), path, known: Some(known), in_force, looks })
}

fn url(tls: Option<&Tls>, address: SocketAddr) -> String {
    format!("{}://{address}", if tls.is_some() { "https" } else { "http" })
}

/// Where clients call, as it is shown to them.
fn clients_at(config: &Config, address: SocketAddr) -> Clients {
    let tls = config.server.tls.as_ref();
    let own = || (!address.ip().is_unspecified()).then(|| url(tls, address));
    let url = config.server.public_url.clone().map(String::from).or_else(own);
    Clients { url, port: address.port(), tls: tls.is_some() }
}

fn worker_count(config: &Config) -> usize {
    match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        count => count,
    }
}

/// The runtime of a thread that mostly waits.
fn event_loop() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)
}

/// What comes before everything else: the log, the environment, and the simulated provider where one is asked for.
fn prepare(options: &mut Options) -> Result<Option<Simulator>, StartError> {
    begin_log(options)?;
    settle_config(&mut options.config);
    simulate(options)
}

/// Starts the log, with what is about to start.
fn begin_log(options: &Options) -> Result<(), LogError> {
    telemetry::start(&options.config.log)?;
    let data_dir = options.config.server.data_dir.display();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %data_dir, demo = options.demo, "starting");
    Ok(())
}

/// Applies the environment to the configuration, and logs what is wrong with either.
fn settle_config(config: &mut Config) {
    for wrong in environment::apply(config, |name| std::env::var(name).ok()) {
        tracing::error!("{wrong}");
    }
    for old in config.old_names() {
        tracing::warn!("{old}: the old name goes with the next version");
    }
}

/// Starts the simulated provider where one is asked for, and points every provider to it.
fn simulate(options: &mut Options) -> Result<Option<Simulator>, StartError> {
    let simulator = options.demo.then(|| Simulator::start_thread(DEMO_PACE)).transpose();
    let simulator = simulator.map_err(StartError::Thread)?;
    if let Some(simulator) = &simulator {
        point_to(&mut options.config, simulator)?;
    }
    Ok(simulator)
}

/// Points every provider to the simulator.
fn point_to(config: &mut Config, simulator: &Simulator) -> Result<(), StartError> {
    let url = BaseUrl::try_from(simulator.base_url()).map_err(StartError::Simulator)?;
    for provider in config.providers.values_mut() {
        provider.base_url = url.clone();
        provider.http2 = false;
    }
    Ok(())
}

/// A thread for each listening socket.
fn start_workers(
    doors: Vec<Door>,
    shared: &Arc<Shared>,
    stopping: &watch::Receiver<bool>,
) -> std::io::Result<Vec<JoinHandle<std::io::Result<()>>>> {
    let start = |door| {
        let (shared, stopping) = (Arc::clone(shared), stopping.clone());
        spawn("worker", move || worker::run(shared, door, stopping))
    };
    doors.into_iter().map(start).collect()
}

fn start_components(config: &Config, workers: usize, writer: Writer) -> Result<Runtime, StartError> {
    let dir = config.plugins_dir();
    let failed = |doing| {
        let path = dir.clone();
        move |source| StartError::Plugins { doing, path, source }
    };
    // Whatever is wrong there keeps nobody from serving with what the binary carries, or with what was good last.
    if let Err(error) = std::fs::create_dir_all(&dir).map_err(failed("creating")) {
        tracing::error!(error = chain(&error), "no components are looked for in the plugins directory");
    }
    let settings = components::settings(config, workers);
    let runtime = Runtime::serve(settings, components::bindings(config), move |event| {
        directory_sync::note(&writer, &event);
    })
    .map_err(StartError::Components)?;
    if config.plugins.watch
        && let Err(error) = runtime.watch().map_err(failed("watching"))
    {
        tracing::error!(error = chain(&error), "changed components take a reload");
    }
    Ok(runtime)
}
