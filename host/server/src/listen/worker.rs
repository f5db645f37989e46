//! A serving thread: its own runtime and listener, with a [`Lane`] for what its requests need.

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
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tollgate_runtime::Runtime;

use crate::listen::stall::StallGuard;
use crate::proxy;
use crate::proxy::lane::Lane;
use crate::shared::Shared;

/// Pause after an accept that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
        let (lane, background) = Lane::new(shared);
        let background = tokio::task::spawn_local(background.run());
        let served = match TcpListener::from_std(listener) {
            Ok(listener) => serve(lane, listener, stop).await,
            Err(error) => Err(error),
        };
        // Every ticket is gone with its connection, and with them the last sender: this ends when all are settled.
        let _settled = background.await;
        served
    })
}

async fn serve(lane: Rc<Lane>, listener: TcpListener, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn_local(connection(Rc::clone(&lane), stream, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let patience = lane.shared.settings.server.drain_timeout_ms.duration();
    let drained = timeout(patience, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(left = connections.len(), "requests were cut off at the end of the drain");
        connections.shutdown().await;
    }
    Ok(())
}

/// Serves one client connection.
async fn connection(lane: Rc<Lane>, stream: TcpStream, mut stop: watch::Receiver<bool>) {
    let limits = &lane.shared.settings.limits;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client left at once");
        return;
    }
    let io = TokioIo::new(StallGuard::new(stream, limits.client_write_timeout_ms.duration()));
    let service = service_fn(|request| {
        let lane = Rc::clone(&lane);
        async move { Ok::<_, Infallible>(proxy::handle(lane, request).await) }
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
