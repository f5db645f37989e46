//! What one serving thread has for its requests: the state that all threads share, and its own upstream connections,
//! routing snapshot and settling task. Lanes share nothing but [`Shared`].

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tollgate_core::id::RequestId;
use tollgate_core::time::Timestamp;

use super::ticket::{Ending, Endings};
use super::{Arrival, on_behalf_of, settle};
use crate::clock::{now, random, steady};
use crate::routing::snapshot::RoutingSnapshot;
use crate::shared::Shared;
use crate::state::durable::DurableWaiters;
use crate::transport::{PRUNE_INTERVAL, Transports};

/// What one thread serves with.
pub(crate) struct Lane {
    /// What all lanes share.
    pub(crate) shared: Arc<Shared>,
    /// The ways to the providers.
    pub(crate) transports: Rc<Transports>,
    /// Where requests go when they end.
    pub(crate) endings: Endings,
    /// Tells holds when they are durable.
    pub(crate) durable: DurableWaiters,
    snapshot: RefCell<Rc<RoutingSnapshot>>,
}

/// The tasks that work for a lane's requests beside them.
pub(crate) struct Background {
    ended: UnboundedReceiver<Ending>,
    shared: Arc<Shared>,
    transports: Rc<Transports>,
    durable: DurableWaiters,
}

impl Lane {
    /// A lane, and what must run beside it.
    pub(crate) fn new(shared: Arc<Shared>) -> (Rc<Self>, Background) {
        let transports = Rc::new(Transports::new(&shared.transport));
        let snapshot = RefCell::new(new_snapshot(&shared));
        let durable = DurableWaiters::new(shared.writer.clone());
        let (endings, ended) = unbounded_channel();
        let background = Background {
            ended,
            shared: Arc::clone(&shared),
            transports: Rc::clone(&transports),
            durable: durable.clone(),
        };
        (Rc::new(Self { shared, transports, endings, durable, snapshot }), background)
    }

    /// The newest generation, joined with the configured providers.
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

    /// The time by a clock that nobody sets: for how long things last, which are waits, rests and windows.
    #[expect(clippy::unused_self, reason = "a request asks its lane for everything that is not data")]
    pub(crate) fn now(&self) -> Timestamp {
        steady()
    }

    /// The time by the calendar.
    #[expect(clippy::unused_self, reason = "a request asks its lane for everything that is not data")]
    pub(crate) fn date(&self) -> Timestamp {
        now()
    }
}

impl Background {
    /// Settles requests as they end, until the lane and every request are gone. Meanwhile idle connections are closed
    /// in time, and holds are told when the disk has kept them.
    pub(crate) async fn run(mut self) {
        let (transports, durable) = (self.transports, self.durable);
        let pruning = tokio::task::spawn_local(async move { prune(&transports).await });
        let acknowledging = tokio::task::spawn_local(async move { durable.run().await });
        let (mut settling, mut draining) = (JoinSet::new(), JoinSet::new());
        while let Some(ending) = self.ended.recv().await {
            while draining.try_join_next().is_some() {}
            let ended = match ending {
                Ending::Ended(ended) => ended,
                // It holds a ticket, so that this loop does not end before it.
                Ending::Draining(reading) => {
                    draining.spawn_local(reading);
                    continue;
                }
            };
            let behalf = ended.facts().request.behalf();
            let shared = Arc::clone(&self.shared);
            if self.shared.accounts.are_local() {
                on_behalf_of(behalf, pin!(settle::settle(&shared, ended))).await;
            } else {
                // So that none waits for the answer to another.
                settling.spawn_local(async move {
                    on_behalf_of(behalf, pin!(settle::settle(&shared, ended))).await;
                });
                while settling.try_join_next().is_some() {}
            }
        }
        while settling.join_next().await.is_some() {}
        acknowledging.abort();
        pruning.abort();
    }
}

/// Closes idle upstream connections in time, for ever.
async fn prune(transports: &Transports) {
    loop {
        tokio::time::sleep(PRUNE_INTERVAL).await;
        transports.prune();
    }
}

fn new_snapshot(shared: &Shared) -> Rc<RoutingSnapshot> {
    RoutingSnapshot::new(shared.runtime.current(), shared.upstreams.load_full())
}
