//! The sockets of the listeners. Each worker has a socket of its own on the same address (`SO_REUSEPORT`), so the
//! kernel spreads connections and no worker wakes for another's.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::descriptors::Shares;
use super::seats::Places;
use super::terms::{Door, Guards};
use super::tls::{Certificate, Certificates};
use crate::config::{Config, Tls};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Connections from within that may wait.
const VISITORS: usize = 16;
/// Longest drain of the listeners for management, which end after the clients' one.
const OFFICE_DRAIN_MAX: Duration = Duration::from_secs(5);

/// The sockets of a gateway, and their addresses.
pub(crate) struct Doors {
    /// Of clients: one for each worker.
    pub(crate) clients: Vec<Door>,
    /// Of operators.
    pub(crate) admin: Door,
    /// Of users, where they have one.
    pub(crate) users: Option<Door>,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Where operators connect.
    pub(crate) admin_address: SocketAddr,
    /// Where users connect.
    pub(crate) users_address: Option<SocketAddr>,
    /// Connects to the clients' listener from within the process.
    pub(crate) visits: mpsc::Sender<DuplexStream>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listening on {address}")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

impl Doors {
    /// Opens a clients' socket for each worker, one for operators, and one for users where they have an address.
    ///
    /// # Errors
    /// When an address is in use or not this machine's.
    pub(crate) fn open(
        config: &Config,
        workers: usize,
        certificates: &Certificates,
        shares: &Shares,
    ) -> Result<Self, ListenError> {
        let server = &config.server;
        let (address, sockets) = bind(server.listen, workers)?;
        let office =
            |address, tls: Option<&Tls>, certificate: &Option<Arc<Certificate>>, places: &Arc<Places>| {
                let (address, socket) = bind_one(address, false)?;
                let mut guards = Guards::new(config, tls);
                guards.drain = guards.drain.min(OFFICE_DRAIN_MAX);
                let (certificate, places) = (certificate.clone(), Arc::clone(places));
                Ok((Door { socket, certificate, places, visitors: None, guards }, address))
            };
        let (admin, admin_address) =
            office(server.admin_listen, server.admin_tls.as_ref(), &certificates.admin, &shares.operators)?;
        let users = server
            .users_listen
            .map(|address| office(address, server.users_tls.as_ref(), &certificates.users, &shares.users));
        let (users, users_address) = users.transpose()?.unzip();
        let (visits, visitors) = mpsc::channel(VISITORS);
        let mut visitors = Some(visitors);
        let door = |socket| Door {
            socket,
            certificate: certificates.clients.clone(),
            places: Arc::clone(&shares.clients),
            visitors: visitors.take(),
            guards: Guards::new(config, server.tls.as_ref()),
        };
        let clients = sockets.into_iter().map(door).collect();
        Ok(Self { clients, admin, users, address, admin_address, users_address, visits })
    }
}

/// Binds `count` sockets, at least one, to one address. With port 0 the first picks the port and the others follow.
fn bind(address: SocketAddr, count: usize) -> Result<(SocketAddr, Vec<TcpListener>), ListenError> {
    let (chosen, first) = bind_one(address, count > 1)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind_one(chosen, true)?.1);
    }
    Ok((chosen, sockets))
}

/// Binds a socket, and returns its address.
fn bind_one(address: SocketAddr, shared: bool) -> Result<(SocketAddr, TcpListener), ListenError> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        Ok((socket.local_addr()?, socket))
    };
    bound().map_err(|source| ListenError { address, source })
}
