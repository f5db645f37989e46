//! One component as one binding uses it: linked, configured, counted. Generations share units that did not change.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::Store;

use crate::breaker::Admission;
use crate::error::{CallError, Digest, Fault};
use crate::slot::{self, SlotIndex};
use crate::state::State;
use crate::vitals::Vitals;
use crate::world::World;

/// A linked component of world `W` with its place in every thread.
pub(crate) struct Unit<W: World> {
    pub(crate) pre: W::Pre,
    pub(crate) slot: SlotIndex,
    pub(crate) vitals: Arc<Vitals>,
}

impl<W: World> std::fmt::Debug for Unit<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name(), self.digest())
    }
}

impl<W: World> Unit<W> {
    pub(crate) fn name(&self) -> &str {
        &self.vitals.name
    }

    pub(crate) fn digest(&self) -> Digest {
        self.vitals.digest
    }

    pub(crate) fn config_digest(&self) -> Digest {
        self.vitals.config_digest
    }

    /// Whether a call could be made now. For what the host does on behalf of a component, without calling it.
    ///
    /// # Errors
    /// While the breaker refuses calls. Once its rest is over, the next call probes, and this stands in nobody's way.
    #[inline]
    pub(crate) fn awake(&self) -> Result<(), CallError> {
        if self.vitals.breaker.rests(Instant::now) { Err(self.vitals.refuse()) } else { Ok(()) }
    }

    /// Calls the component on this thread's instance.
    #[inline]
    pub(crate) fn call<R>(
        self: &Arc<Self>,
        call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<R, Fault>>,
    ) -> Result<R, CallError> {
        self.attempt(|| slot::run(self, call))
    }

    /// Does what counts as one call of the component, where its breaker lets it pass.
    #[inline]
    pub(crate) fn attempt<R>(&self, call: impl FnOnce() -> Result<R, Fault>) -> Result<R, CallError> {
        let admission = self.vitals.breaker.admit(Instant::now);
        if admission == Admission::Refuse {
            return Err(self.vitals.refuse());
        }
        self.vitals.count_call();
        match call() {
            Ok(answer) => {
                if admission == Admission::Probe {
                    self.vitals.recover();
                }
                Ok(answer)
            }
            Err(fault) => Err(self.vitals.fail(fault)),
        }
    }

    /// The plan, from a first instance that is dropped again.
    pub(crate) fn rehearse(
        self: &Arc<Self>,
        smoke: impl FnOnce(&W, &mut Store<State>, &W::Plan) -> wasmtime::Result<Result<(), Fault>>,
    ) -> Result<Result<W::Plan, String>, Fault> {
        let (mut instance, configured) = slot::Instance::make(self)?;
        if let Ok(plan) = &configured {
            instance.enter(|world, store| smoke(world, store, plan))?;
        }
        Ok(configured)
    }
}
