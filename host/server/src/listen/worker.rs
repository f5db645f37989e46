//! A serving thread: its own runtime and socket, with a [`Lane`] for what its requests need.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::Response;
use http::request::Parts;
use tokio::runtime::LocalOptions;
use tokio::sync::watch;
use tollgate_runtime::Runtime;

use super::accept;
use super::arriving::Arriving;
use super::terms::{Door, Handler};
use crate::proxy::lane::Lane;
use crate::proxy::{self, Outgoing, Switched};
use crate::shared::Shared;

/// Clients' requests, which go to the road.
#[derive(Clone)]
struct Clients(Rc<Lane>);

impl Handler for Clients {
    type Body = Outgoing;

    fn answer(
        &self,
        _: IpAddr,
        head: Parts,
        body: &mut Arriving,
    ) -> impl Future<Output = Response<Outgoing>> {
        proxy::handle(&self.0, head, body)
    }

    fn switch(
        &self,
        head: &mut Parts,
    ) -> impl Future<Output = Option<(Response<Outgoing>, Option<Switched>)>> {
        proxy::switch(&self.0, head)
    }

    fn refuse(&self, head: &Parts, words: &'static str) -> Response<Outgoing> {
        proxy::refuse(&self.0, head, words)
    }
}

/// Serves until `stop` turns true and every request has ended or the drain's time is over; then settles what is left.
///
/// # Errors
/// When the runtime or the listener cannot be set up.
pub(crate) fn run(shared: Arc<Shared>, door: Door, stop: watch::Receiver<bool>) -> io::Result<()> {
    // A runtime whose tasks are all local: a `LocalSet` inside another runtime has a separate queue, and costs a system
    // call for each task that a socket wakes.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    Runtime::prepare_thread();
    runtime.block_on(async move {
        let (lane, background) = Lane::new(shared);
        let background = tokio::task::spawn_local(background.run());
        let served = accept::serve(door, Clients(lane), stop).await;
        // The tickets, and with them the last sender, have gone with their connections: this ends when all are settled.
        let _settled = background.await;
        served
    })
}
