//! How many requests may be under way at one time, in all and at one provider. A request that finds a
//! gate full waits in line for a while, first come first served; one that leaves gives its place to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::deciders::{Gate, SharedGates};
use crate::config::Limits;

/// The gates, in common for all workers.
#[derive(Default)]
pub(crate) struct Gates {
    whole: Option<Places>,
    providers: BTreeMap<String, Places>,
    /// Gives out the places of several nodes.
    shared: Option<Arc<dyn SharedGates>>,
}

/// The places behind one gate.
struct Places {
    count: usize,
    /// Those of this node.
    local: Arc<Semaphore>,
}

/// A place among the requests under way. Dropping it passes it to the request that has waited longest.
#[derive(Default)]
pub(crate) enum Permit {
    /// There is no gate, or the place was given back.
    #[default]
    Free,
    /// A place of this node.
    Local {
        /// Held for its drop.
        _held: OwnedSemaphorePermit,
    },
    /// A place of several nodes.
    Shared {
        /// Held for its drop.
        _held: Box<dyn Send>,
    },
}

impl Permit {
    /// Gives the place back. Later calls change nothing.
    pub(crate) fn leave(&mut self) {
        *self = Self::Free;
    }
}

/// No place became free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Gates {
    /// Gates as configured; without a limit there is none. `shared` gives the places out where there is one.
    pub(crate) fn new(limits: &Limits, shared: Option<Arc<dyn SharedGates>>) -> Self {
        let gate = |count: usize| Places {
            count,
            local: Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))),
        };
        let per_provider = limits.provider_concurrency_max.iter().filter(|(_, count)| **count > 0);
        Self {
            whole: (limits.concurrency_max > 0).then(|| gate(limits.concurrency_max)),
            providers: per_provider.map(|(name, count)| (name.clone(), gate(*count))).collect(),
            shared,
        }
    }

    /// A place among all requests.
    ///
    /// # Errors
    /// When there was none until the deadline.
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<Permit, Full> {
        self.pass(Gate::Whole, self.whole.as_ref(), deadline).await
    }

    /// A place among a provider's requests. The clock is read only where the provider has a limit.
    ///
    /// # Errors
    /// When there was none until the deadline.
    pub(crate) async fn enter_provider(
        &self,
        provider: &str,
        deadline: impl FnOnce() -> Instant,
    ) -> Result<Permit, Full> {
        match self.providers.get(provider) {
            None => Ok(Permit::Free),
            places => self.pass(Gate::Provider(provider), places, deadline()).await,
        }
    }

    async fn pass(&self, gate: Gate<'_>, places: Option<&Places>, deadline: Instant) -> Result<Permit, Full> {
        let Some(Places { count, local }) = places else { return Ok(Permit::Free) };
        if let Some(shared) = &self.shared {
            let patience = deadline.saturating_duration_since(Instant::now());
            let entered = shared.enter(gate, *count, patience).await;
            return entered.map(|held| Permit::Shared { _held: held }).ok_or(Full);
        }
        if let Ok(held) = Arc::clone(local).try_acquire_owned() {
            return Ok(Permit::Local { _held: held });
        }
        match timeout_at(deadline, Arc::clone(local).acquire_owned()).await {
            Ok(Ok(held)) => Ok(Permit::Local { _held: held }),
            // No gate is ever closed.
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Full, Gates};
    use crate::config::Limits;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::Instant;

    fn gates(whole: usize, openai: usize) -> Arc<Gates> {
        let mut limits = Limits { concurrency_max: whole, ..Limits::default() };
        limits.provider_concurrency_max.insert("openai".to_owned(), openai);
        Arc::new(Gates::new(&limits, None))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_and_who_leaves_makes_room() {
        let gates = gates(1, 1);
        let mut first = gates.enter(soon()).await.unwrap();
        assert!(matches!(gates.enter(Instant::now()).await, Err(Full)));
        first.leave();
        first.leave();
        gates.enter(soon()).await.unwrap();
        let provider = gates.enter_provider("openai", soon).await.unwrap();
        assert!(matches!(gates.enter_provider("openai", Instant::now).await, Err(Full)));
        gates.enter_provider("google", soon).await.unwrap();
        drop(provider);
        gates.enter_provider("openai", soon).await.unwrap();
    }

    #[tokio::test]
    async fn places_go_to_those_who_came_first_and_are_still_there() {
        let gates = gates(1, 0);
        let first = gates.enter(soon()).await.unwrap();
        let wait = |gates: &Arc<Gates>| {
            let gates = Arc::clone(gates);
            tokio::spawn(async move { gates.enter(soon()).await })
        };
        let (impatient, second, third) = (wait(&gates), wait(&gates), wait(&gates));
        tokio::task::yield_now().await;
        impatient.abort();
        drop(first);
        let permit = second.await.unwrap().unwrap();
        assert!(!third.is_finished());
        drop(permit);
        third.await.unwrap().unwrap();
    }
}
