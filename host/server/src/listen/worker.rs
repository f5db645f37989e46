//! A serving thread: its own runtime, listener, upstream connections and component instances. Workers share nothing on the
//! road but [`Shared`].

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tollgate_core::id::RequestId;
use tollgate_core::time::Timestamp;
use tollgate_runtime::Runtime;

use crate::clock::{now, random};
use crate::listen::stall::StallGuard;
use crate::proxy::charge::{Ended, Pending};
use crate::proxy::{self, Arrival, record};
use crate::routing::snapshot::RoutingSnapshot;
use crate::shared::Shared;
use crate::state::durable::DurableWaiters;
use crate::transport::http1::Pool;

/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often idle upstream connections are looked at.
const PRUNE_INTERVAL: Duration = Duration::from_secs(10);

/// What one thread serves with.
pub(crate) struct Worker {
    /// What all workers share.
    pub(crate) shared: Arc<Shared>,
    /// Upstream connections.
    pub(crate) pool: Rc<Pool>,
    /// Where requests go when they end.
    pub(crate) ended: Ended,
    /// Tells holds when they are durable.
    pub(crate) durable: DurableWaiters,
    snapshot: RefCell<Rc<RoutingSnapshot>>,
}

impl Worker {
    fn new(shared: Arc<Shared>, ended: Ended) -> Rc<Self> {
        let pool = Pool::new(shared.settings.limits.upstream_connect_timeout_ms.duration());
        let snapshot = RefCell::new(new_snapshot(&shared));
        let durable = DurableWaiters::new(shared.writer.clone());
        Rc::new(Self { shared, pool, ended, durable, snapshot })
    }

    /// The newest generation, made ready for the road.
    pub(crate) fn snapshot(&self) -> Rc<RoutingSnapshot> {
        let mut snapshot = self.snapshot.borrow_mut();
        if !snapshot.current(&self.shared.runtime.current(), &self.shared.upstreams.load()) {
            *snapshot = new_snapshot(&self.shared);
        }
        Rc::clone(&snapshot)
    }

    /// A new request's id and times.
    pub(crate) fn arrival(&self) -> Arrival {
        let at = now();
        Arrival { id: RequestId::new(at, random()), started: Instant::now(), at }
    }

    /// The time by the calendar.
    #[expect(clippy::unused_self, reason = "the road asks its worker for everything that is not data")]
    pub(crate) fn now(&self) -> Timestamp {
        now()
    }
}

fn new_snapshot(shared: &Shared) -> Rc<RoutingSnapshot> {
    RoutingSnapshot::new(shared.runtime.current(), shared.upstreams.load_full())
}

/// Serves until `stop` turns true and every request has ended or the drain's time is over; then settles what is left.
///
/// # Errors
/// When the runtime or the listener cannot be set up.
pub(crate) fn run(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    // A runtime whose tasks are all local: a `LocalSet` inside of another runtime has a queue of its own, and a system call for each
    // task that is woken by a socket.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    Runtime::prepare_thread();
    runtime.block_on(async move {
        let (ended, endings) = unbounded_channel();
        let settling = tokio::task::spawn_local(settle(Arc::clone(&shared), endings));
        let worker = Worker::new(shared, ended);
        let pool = Rc::clone(&worker.pool);
        let pruning = tokio::task::spawn_local(async move { prune(&pool).await });
        let durable = worker.durable.clone();
        let acknowledging = tokio::task::spawn_local(async move { durable.run().await });
        let served = match TcpListener::from_std(listener) {
            Ok(listener) => serve(worker, listener, stop).await,
            Err(error) => Err(error),
        };
        // Every ticket is gone with its connection, and with them the last sender: this ends when all are settled.
        let _settled = settling.await;
        acknowledging.abort();
        pruning.abort();
        served
    })
}

/// Closes idle upstream connections in time, for ever.
async fn prune(pool: &Pool) {
    loop {
        tokio::time::sleep(PRUNE_INTERVAL).await;
        pool.prune();
    }
}

/// Settles requests one after the other as they end.
async fn settle(shared: Arc<Shared>, mut endings: UnboundedReceiver<Box<Pending>>) {
    while let Some(pending) = endings.recv().await {
        record::settle(&shared, pending);
    }
}

async fn serve(worker: Rc<Worker>, listener: TcpListener, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn_local(connection(Rc::clone(&worker), stream, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let patience = worker.shared.settings.server.drain_timeout_ms.duration();
    let drained = timeout(patience, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(left = connections.len(), "requests were cut off at the end of the drain");
        connections.shutdown().await;
    }
    Ok(())
}

/// Serves one client connection.
async fn connection(worker: Rc<Worker>, stream: TcpStream, mut stop: watch::Receiver<bool>) {
    let limits = &worker.shared.settings.limits;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client left at once");
        return;
    }
    let io = TokioIo::new(StallGuard::new(stream, limits.client_write_timeout_ms.duration()));
    let service = service_fn(|request| {
        let worker = Rc::clone(&worker);
        async move { Ok::<_, Infallible>(proxy::handle(worker, request).await) }
    });
    let serving = http1::Builder::new()
        // hyper's header timeout does nothing without a timer.
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_read_timeout_ms.duration())
        .max_buf_size(limits.request_head_bytes_max.0)
        .serve_connection(io, service);
    let mut serving = pin!(serving);
    let mut draining = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a client connection ended early");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop), if !draining => {
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
