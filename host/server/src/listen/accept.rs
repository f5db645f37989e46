//! The accept loop of a listener, and what happens to its connections at the end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::connection::{self, Terms};
use super::desk::Desks;
use super::seats::{Places, Seat, Seated, Seats};
use super::socket::{Socket, StallGuard};
use super::terms::{Door, Handler};

/// Pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the same trouble is told.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Connections that are told at one time that there is no seat; more are closed without a word.
const TURNED_AWAY_MAX: usize = 32;
/// How long one of them is waited for.
const TURNED_AWAY_TIME: Duration = Duration::from_secs(1);
/// What they are told, before it is known what they speak: all clients find words in it.
const NO_SEAT: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n",
    "connection: close\r\ncontent-length: 156\r\n\r\n",
    r#"{"type":"error","error":{"type":"overloaded_error","code":503,"status":"UNAVAILABLE","#,
    r#""message":"The gateway has as many connections as it may. Try again."}}"#,
);

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
    let Door { socket, certificate, places, mut visitors, guards } = door;
    let listener = TcpListener::from_std(socket)?;
    let patience = guards.drain;
    let terms = Rc::new(Terms { certificate, guards, handler, desks: Desks::new() });
    let (mut connections, stopping) = (JoinSet::new(), stop.clone());
    let mut entrance = Entrance::new(places);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Some((stream, from, seated)) = entrance.admit(accepted).await {
                    connections.spawn_local(accepted_one(Rc::clone(&terms), stream, from, seated, stopping.clone()));
                }
            }
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

/// Lets connections in, as long as there are seats and descriptors.
struct Entrance {
    seats: Rc<Seats>,
    /// Those that are being told that there is no seat.
    turned_away: JoinSet<()>,
    told: Option<Instant>,
}

impl Entrance {
    fn new(places: Arc<Places>) -> Self {
        Self { seats: Seats::new(places), turned_away: JoinSet::new(), told: None }
    }

    /// What became of a connection: it gets a seat, or is turned away, or could not be accepted at all.
    async fn admit(
        &mut self,
        accepted: io::Result<(TcpStream, SocketAddr)>,
    ) -> Option<(TcpStream, IpAddr, Seated)> {
        match accepted {
            Ok((stream, from)) => match self.seats.take() {
                Some(seated) => return Some((stream, from.ip(), seated)),
                None => self.turn_away(stream),
            },
            Err(error) if is_the_peers(&error) => {
                tracing::debug!(%error, "a peer left before it was accepted")
            }
            Err(error) => {
                self.tell(|| tracing::warn!(%error, "connections cannot be accepted"));
                self.seats.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        None
    }

    fn turn_away(&mut self, mut stream: TcpStream) {
        self.tell(|| tracing::warn!("there are as many connections as there may be: new ones are refused"));
        while self.turned_away.try_join_next().is_some() {}
        if self.turned_away.len() >= TURNED_AWAY_MAX {
            return;
        }
        self.turned_away.spawn_local(async move {
            // Whoever does not take it in time is not waited for.
            let _told = timeout(TURNED_AWAY_TIME, async {
                stream.write_all(NO_SEAT.as_bytes()).await?;
                stream.shutdown().await?;
                let mut scratch = [0; 1024];
                while stream.read(&mut scratch).await? > 0 {}
                io::Result::Ok(())
            })
            .await;
        });
    }

    /// Tells of trouble, but not as often as it comes.
    fn tell(&mut self, words: impl FnOnce()) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            words();
        }
    }
}

/// Whether an accept failed for what one peer did, and not for want of anything here.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | WouldBlock)
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

/// Serves a connection that came by the socket, until it ends or its seat is needed while nothing is under way on it.
async fn accepted_one<H: Handler>(
    terms: Rc<Terms<H>>,
    stream: TcpStream,
    from: IpAddr,
    seated: Seated,
    stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a peer left at once");
        return;
    }
    tokio::select! {
        () = served(terms, stream, from, &seated.seat, stop) => {}
        () = seated.seat.is_needed() => tracing::debug!(%from, "an idle connection made room"),
    }
}

/// Serves a connection. At a stop, one that has not begun to speak HTTP is not waited for.
async fn served<H: Handler>(
    terms: Rc<Terms<H>>,
    stream: TcpStream,
    from: IpAddr,
    seat: &Rc<Seat>,
    mut stop: watch::Receiver<bool>,
) {
    let stream = StallGuard::new(stream, terms.guards.write, terms.guards.write_rate);
    let opened = tokio::select! {
        opened = open(&terms, stream) => opened,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match opened {
        Ok((socket, true)) => connection::http2(&terms, socket, from, seat, stop).await,
        Ok((socket, false)) => connection::http1(&terms, socket, from, seat, stop).await,
        Err(error) => tracing::debug!(%error, %from, "a connection came to no request"),
    }
}

/// Serves a connection from within this process.
async fn visited<H: Handler>(terms: Rc<Terms<H>>, visitor: DuplexStream, stop: watch::Receiver<bool>) {
    let from = Ipv4Addr::LOCALHOST.into();
    connection::http1(&terms, Socket::Inside(visitor), from, &Seat::apart(), stop).await;
}

/// Finds out what a peer speaks: by the handshake under TLS, else by its first bytes. True for HTTP/2.
async fn open<H: Handler>(terms: &Terms<H>, mut stream: StallGuard) -> io::Result<(Socket, bool)> {
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
