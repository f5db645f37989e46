//! The accept loop of a listener, and what happens to its connections at the end.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection;
use super::socket::{Socket, StallGuard};
use super::terms::{Door, Handler, Terms};

/// Pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until `stop` turns true, and ends when every connection has ended or the drain's time is over. Its tasks are
/// local ones, and are gone when it returns.
///
/// # Errors
/// When the listener is not usable.
pub(crate) async fn serve<H: Handler>(
    door: Door,
    handler: H,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let Door { socket, certificate, mut visitors, guards } = door;
    let listener = TcpListener::from_std(socket)?;
    let patience = guards.drain;
    let terms = Rc::new(Terms { certificate, guards, handler });
    let (mut connections, stopping) = (JoinSet::new(), stop.clone());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn_local(accepted_one(Rc::clone(&terms), stream, peer.ip(), stopping.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            visitor = next(&mut visitors) => {
                connections.spawn_local(visited(Rc::clone(&terms), visitor, stopping.clone()));
            }
            _ = stop.wait_for(|stop| *stop) => break,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let drained = timeout(patience, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(left = connections.len(), "connections were cut off at the end of the drain");
        connections.shutdown().await;
    }
    Ok(())
}

/// The next connection from within; never, where there can be none.
async fn next(visitors: &mut Option<mpsc::Receiver<DuplexStream>>) -> DuplexStream {
    if let Some(receiver) = visitors
        && let Some(visitor) = receiver.recv().await
    {
        return visitor;
    }
    *visitors = None;
    std::future::pending().await
}

/// Serves a connection that came by the socket. A stop does not wait for a connection that has not begun to speak HTTP.
async fn accepted_one<H: Handler>(
    terms: Rc<Terms<H>>,
    stream: TcpStream,
    from: IpAddr,
    mut stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a peer left at once");
        return;
    }
    let stream = StallGuard::new(stream, terms.guards.write);
    let opened = tokio::select! {
        opened = open(&terms, stream) => opened,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match opened {
        Ok((socket, true)) => connection::http2(&terms, socket, from, stop).await,
        Ok((socket, false)) => connection::http1(&terms, socket, from, stop).await,
        Err(error) => tracing::debug!(%error, %from, "a connection came to no request"),
    }
}

/// Serves a connection from within this process.
async fn visited<H: Handler>(terms: Rc<Terms<H>>, visitor: DuplexStream, stop: watch::Receiver<bool>) {
    connection::http1(&terms, Socket::Inside(visitor), Ipv4Addr::LOCALHOST.into(), stop).await;
}

/// Finds out what a peer speaks: by the handshake under TLS, else by its first bytes. True for HTTP/2.
async fn open<H>(terms: &Terms<H>, mut stream: StallGuard) -> io::Result<(Socket, bool)> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    match &terms.certificate {
        Some(certificate) => {
            let shaken = timeout(terms.guards.handshake, certificate.acceptor().accept(stream)).await;
            let stream = shaken.map_err(late)??;
            let http2 = stream.get_ref().1.alpn_protocol() == Some(super::tls::HTTP2);
            Ok((Socket::Tls(Box::new(stream)), http2))
        }
        None => {
            let http2 = timeout(terms.guards.head_read, stream.begins_http2()).await.map_err(late)??;
            Ok((Socket::Plain(stream), http2))
        }
    }
}
