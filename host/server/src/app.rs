//! The gateway as a running thing: the only place where its parts are wired together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::watch;
use tollgate_core::id::RequestId;
use tollgate_runtime::Runtime;
use tollgate_store::{Store, Writer};

use crate::admin::{self, Admin};
use crate::allocator::Frugal;
use crate::bodies::{Bodies, Copied};
use crate::config::environment;
use crate::config::{BaseUrl, Config};
use crate::control::credential_monitor::CredentialMonitor;
use crate::control::directory_sync::{self, FirstStart};
use crate::control::{bodies as kept_bodies, config_watch, retention};
use crate::demo::Simulator;
use crate::listen::{listener, worker};
use crate::routing::components;
use crate::routing::table::Upstreams;
use crate::shared::Shared;
use crate::state::affinity::Conversations;
use crate::state::concurrency::Gates;
use crate::state::metrics::Metrics;
use crate::state::trace::Trials;
use crate::upstream::access_token::{self, Slot, Tokens};
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
    /// Whether to start the simulated provider and a user to try it with.
    pub demo: bool,
}

/// A running gateway. Dropping it without [`Gateway::stop`] leaves its threads running.
pub struct Gateway {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where operators connect.
    pub admin_address: SocketAddr,
    /// What a first start made up: shown once.
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
    /// Whatever keeps it from serving: the data directory, the database, a component, an address that is taken.
    pub fn start(mut options: Options) -> anyhow::Result<Self> {
        telemetry::start(&options.config.log)?;
        for wrong in environment::apply(&mut options.config, |name| std::env::var(name).ok()) {
            tracing::error!("{wrong}");
        }
        let _frugal = Frugal::begin();
        let simulator = options.demo.then(|| Simulator::start_thread(DEMO_PACE)).transpose()?;
        if let Some(simulator) = &simulator {
            point_to(&mut options.config, simulator)?;
        }
        let config = options.config;
        let workers = worker_count(&config);
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let opened = control.block_on(directory_sync::open(
            &config,
            options.demo,
            environment::keys(|name| std::env::var(name).ok()),
        ))?;
        let writer = control.block_on(opened.store.writer())?;
        let runtime = start_components(&config, workers, writer.clone())?;
        let listeners = listener::bind(config.server.listen, workers)
            .with_context(|| format!("listening on {}", config.server.listen))?;
        let admin_listener = listener::bind(config.server.admin_listen, 1)
            .with_context(|| format!("listening on {}", config.server.admin_listen))?;
        let (address, admin_address) = (address(&listeners)?, address(&admin_listener)?);
        let (tokens, tokens_wanted) = Tokens::new();
        let metrics = Metrics::new();
        let (bodies, copies) = Bodies::new(&config.requests.bodies, metrics.bodies_lost());
        let shared = Arc::new(Shared {
            runtime,
            directory: ArcSwap::new(Arc::new(opened.directory)),
            upstreams: ArcSwap::new(Upstreams::new(&config, opened.routes)),
            last_good: ArcSwapOption::empty(),
            gates: Gates::new(&config.limits),
            conversations: Conversations::new(),
            metrics,
            trials: Trials::default(),
            tokens,
            bodies,
            writer,
            settings: config,
        });
        let admin = Arc::new(Admin {
            shared: Arc::clone(&shared),
            secret: opened.admin_secret,
            logins: opened.logins,
            boot: *RequestId::new(clock::now(), clock::random()).as_bytes(),
            clients: address,
            ready: AtomicBool::new(true),
        });
        let (stop, stopping) = watch::channel(false);
        let (end_control, control_ending) = watch::channel(false);
        let tasks = Control {
            admin: Arc::clone(&admin),
            nurse: CredentialMonitor::new(shared.clone(), opened.books.management().clone(), opened.changed),
            books: opened.books,
            tokens_wanted,
            copies,
            config_file: options.config_path.filter(|_| !options.demo).map(known),
            end: control_ending,
        };
        let control = spawn("control", move || tasks.run(&control, admin_listener))?;
        let workers = start_workers(listeners, &shared, &stopping)?;
        tracing::info!(%address, %admin_address, workers = workers.len(), "serving");
        Ok(Self {
            address,
            admin_address,
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

    /// Takes no more connections, waits for what is under way (bounded by the drain's time), settles it, and closes the
    /// database. Blocks.
    ///
    /// # Errors
    /// When the last commits could not be written.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.admin.ready.store(false, Ordering::Relaxed);
        self.stop.send_replace(true);
        for worker in self.workers.drain(..) {
            match worker.join() {
                Ok(ended) => ended.context("serving")?,
                Err(_) => anyhow::bail!("a worker panicked"),
            }
        }
        self.end_control.send_replace(true);
        if let Some(control) = self.control.take() {
            // Its panic was logged where it happened.
            let _ended = control.join();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let lost = runtime.block_on(self.store.close());
        anyhow::ensure!(lost == 0, "the database did not take the last {lost} entries");
        tracing::info!("stopped");
        Ok(())
    }
}

/// What runs beside the road on a thread of its own.
struct Control {
    admin: Arc<Admin>,
    books: directory_sync::DirectorySync,
    nurse: CredentialMonitor,
    tokens_wanted: UnboundedReceiver<Arc<Slot>>,
    /// Bodies that wait to be stored.
    copies: mpsc::Receiver<Copied>,
    /// With what it holds: read before anyone is served, so that no later change goes unseen.
    config_file: Option<(PathBuf, Vec<u8>)>,
    end: watch::Receiver<bool>,
}

impl Control {
    fn run(mut self, runtime: &tokio::runtime::Runtime, mut listeners: Vec<std::net::TcpListener>) {
        let Some(listener) = listeners.pop() else { return };
        runtime.block_on(async move {
            let admin = Arc::clone(&self.admin);
            tokio::spawn(async move {
                if let Err(error) = admin::serve(admin, listener).await {
                    tracing::error!(%error, "the admin listener failed");
                }
            });
            tokio::spawn(access_token::serve(self.admin.logins.management().clone(), self.tokens_wanted));
            let shared = Arc::clone(&self.admin.shared);
            tokio::spawn(self.nurse.run());
            if let Some((path, known)) = self.config_file.take() {
                tokio::spawn(config_watch::watch(Arc::clone(&shared), path, known));
            }
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
                    tracing::error!(%error, "what has changed in the database could not be read");
                }
            }
            // Its panic was logged where it happened.
            let _kept = keeping.await;
        });
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(format!("tollgate-{name}")).spawn(body)
}

fn known(path: PathBuf) -> (PathBuf, Vec<u8>) {
    let bytes = std::fs::read(&path).unwrap_or_default();
    (path, bytes)
}

fn worker_count(config: &Config) -> usize {
    match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        count => count,
    }
}

fn address(listeners: &[std::net::TcpListener]) -> anyhow::Result<SocketAddr> {
    Ok(listeners.first().context("no listener")?.local_addr()?)
}

/// Points every provider to the simulator.
fn point_to(config: &mut Config, simulator: &Simulator) -> anyhow::Result<()> {
    let url = BaseUrl::try_from(simulator.base_url()).map_err(anyhow::Error::msg)?;
    for provider in config.providers.values_mut() {
        provider.base_url = url.clone();
    }
    Ok(())
}

/// A thread for each listener.
fn start_workers(
    listeners: Vec<std::net::TcpListener>,
    shared: &Arc<Shared>,
    stopping: &watch::Receiver<bool>,
) -> std::io::Result<Vec<JoinHandle<std::io::Result<()>>>> {
    let start = |listener| {
        let (shared, stopping) = (Arc::clone(shared), stopping.clone());
        spawn("worker", move || worker::run(shared, listener, stopping))
    };
    listeners.into_iter().map(start).collect()
}

fn start_components(config: &Config, workers: usize, writer: Writer) -> anyhow::Result<Runtime> {
    let dir = config.plugins_dir();
    create_dir(&dir)?;
    let settings = components::settings(config, workers);
    let runtime = Runtime::start(settings, components::bindings(config), move |event| {
        directory_sync::note(&writer, &event);
    })
    .context("starting the components")?;
    if config.plugins.watch {
        runtime.watch().context("watching the plugins directory")?;
    }
    Ok(runtime)
}

fn create_dir(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))
}
