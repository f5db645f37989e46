//! How many requests may be under way at one time, in all and at one provider. Who finds a gate full waits in line, first come
//! first served, for a while; who leaves loses his place to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::config::Limits;

/// The gates, shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    whole: Option<Arc<Semaphore>>,
    providers: BTreeMap<String, Arc<Semaphore>>,
}

/// A place among the requests under way. Dropping it gives it to who waits longest.
#[derive(Debug, Default)]
pub(crate) struct Permit(Option<OwnedSemaphorePermit>);

impl Permit {
    /// Gives the place back. Later calls change nothing.
    pub(crate) fn leave(&mut self) {
        self.0 = None;
    }
}

/// Nobody made room in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Gates {
    /// Gates as configured; what is not limited has none.
    pub(crate) fn new(limits: &Limits) -> Self {
        let gate = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let per_provider = limits.provider_concurrency_max.iter().filter(|(_, permits)| **permits > 0);
        Self {
            whole: (limits.concurrency_max > 0).then(|| gate(limits.concurrency_max)),
            providers: per_provider.map(|(name, permits)| (name.clone(), gate(*permits))).collect(),
        }
    }

    /// A place among all requests.
    ///
    /// # Errors
    /// When there was none until the deadline.
    pub(crate) async fn enter(&self, deadline: Instant) -> Result<Permit, Full> {
        pass(self.whole.as_ref(), deadline).await
    }

    /// A place among a provider's requests.
    ///
    /// # Errors
    /// When there was none until the deadline.
    pub(crate) async fn enter_provider(&self, provider: &str, deadline: Instant) -> Result<Permit, Full> {
        pass(self.providers.get(provider), deadline).await
    }
}

async fn pass(gate: Option<&Arc<Semaphore>>, deadline: Instant) -> Result<Permit, Full> {
    let Some(gate) = gate else { return Ok(Permit(None)) };
    if let Ok(permit) = Arc::clone(gate).try_acquire_owned() {
        return Ok(Permit(Some(permit)));
    }
    match timeout_at(deadline, Arc::clone(gate).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(Permit(Some(permit))),
        // No gate is ever closed.
        Ok(Err(_)) | Err(_) => Err(Full),
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
        Arc::new(Gates::new(&limits))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_and_who_leaves_makes_room() {
        let gates = gates(1, 1);
        let mut first = gates.enter(soon()).await.unwrap();
        assert_eq!(gates.enter(Instant::now()).await.unwrap_err(), Full);
        first.leave();
        first.leave();
        gates.enter(soon()).await.unwrap();
        let provider = gates.enter_provider("openai", soon()).await.unwrap();
        gates.enter_provider("openai", Instant::now()).await.unwrap_err();
        gates.enter_provider("google", soon()).await.unwrap();
        drop(provider);
        gates.enter_provider("openai", soon()).await.unwrap();
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
