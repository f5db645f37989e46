//! Where instances wait between calls: kept per component and thread, never shared, and held while a request waits by
//! nothing but an [`Exchange`](crate::Exchange).
//!
//! A component's unit has an index that no other living unit has, so a call finds its instance in a vector of the
//! calling thread without hashing or locking. An instance leaves its place for the time of a call or an exchange and
//! comes back only after success: whatever goes wrong, a panic of the host included, the next call takes another or
//! makes a fresh one.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::thread::LocalKey;

use wasmtime::Store;

use crate::bindings::adapter_world::ProviderAdapter;
use crate::bindings::filter_world::ContentFilter;
use crate::bindings::selector_world::KeySelector;
use crate::error::{CallError, Fault};
use crate::instance::Instance;
use crate::pricing::PricingWorld;
use crate::state::State;
use crate::unit::{self, SlotIndex, Unit};
use crate::world::World;

/// Instances of one component that a thread keeps: calls need one, exchanges that overlap one each.
const IDLE_MAX: usize = 4;

/// One thread's instances of one world.
pub(crate) struct Slots<W: World> {
    idle: RefCell<Vec<Vec<Box<Instance<W>>>>>,
    /// How many units had departed when this thread last swept.
    swept: Cell<u64>,
}

impl<W: World> Slots<W> {
    const fn new() -> Self {
        Self { idle: RefCell::new(Vec::new()), swept: Cell::new(0) }
    }

    fn take(&self, index: &SlotIndex) -> Option<Box<Instance<W>>> {
        let departed = unit::departed();
        if self.swept.get() != departed {
            self.swept.set(departed);
            self.sweep();
        }
        let instance = self.idle.borrow_mut().get_mut(index.at())?.pop()?;
        (instance.id() == index.id()).then_some(instance)
    }

    fn put(&self, index: &SlotIndex, instance: Box<Instance<W>>) {
        let mut idle = self.idle.borrow_mut();
        let at = index.at();
        if idle.len() <= at {
            idle.resize_with(at + 1, Vec::new);
        }
        if idle[at].len() < IDLE_MAX {
            idle[at].push(instance);
        }
    }

    /// Drops instances whose unit is gone.
    #[cold]
    fn sweep(&self) {
        for place in self.idle.borrow_mut().iter_mut() {
            place.extract_if(.., |instance| instance.is_orphan()).for_each(Instance::bury);
        }
    }
}

/// A world whose instances threads keep.
pub(crate) trait Slotted: World {
    /// This thread's instances.
    fn slots() -> &'static LocalKey<Slots<Self>>;
}

macro_rules! slotted {
    ($world:ident) => {
        impl Slotted for $world {
            fn slots() -> &'static LocalKey<Slots<Self>> {
                thread_local! { static SLOTS: Slots<$world> = const { Slots::new() } }
                &SLOTS
            }
        }
    };
}

slotted!(ProviderAdapter);
slotted!(KeySelector);
slotted!(PricingWorld);
slotted!(ContentFilter);

impl<W: Slotted> Unit<W> {
    /// Calls the component on this thread's instance.
    #[inline]
    pub(crate) fn call<R>(
        self: &Arc<Self>,
        call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<R, Fault>>,
    ) -> Result<R, CallError> {
        self.attempt(|| run(self, call))
    }

    /// Calls the component with so many bytes of strangers', which its time grows with. A fault over them counts
    /// against it only where it is not well.
    #[inline]
    pub(crate) fn call_with<R>(
        self: &Arc<Self>,
        bytes: usize,
        call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<R, Fault>>,
        well: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<(), Fault>>,
    ) -> Result<R, CallError> {
        let work = || {
            let mut instance = take(self)?;
            let answer = instance.enter_with(bytes, call)?;
            give_back(self, instance);
            Ok(answer)
        };
        Ok(self.judge(work, || run(self, well).is_ok())?)
    }

    /// Calls the component away from traffic: its breaker is not asked and not told, so that a fault over one input
    /// says nothing about the next.
    pub(crate) fn consult<R>(
        self: &Arc<Self>,
        call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<R, Fault>>,
    ) -> Result<R, CallError> {
        self.vitals.count_call();
        run(self, call).map_err(|fault| self.vitals.report(fault))
    }
}

/// Drops this thread's instances of components that no longer exist.
pub(crate) fn sweep<W: Slotted>() {
    // A thread that is ending has dropped its instances already.
    let _ = W::slots().try_with(Slots::sweep);
}

/// Runs `call` on this thread's instance of `unit`, made now if there is none.
#[inline]
fn run<W: Slotted, R>(
    unit: &Arc<Unit<W>>,
    call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<R, Fault>>,
) -> Result<R, Fault> {
    let mut instance = take(unit)?;
    let answer = instance.enter(call)?;
    give_back(unit, instance);
    Ok(answer)
}

/// An instance of `unit`: one of this thread's, or one that is made now.
#[inline]
pub(crate) fn take<W: Slotted>(unit: &Arc<Unit<W>>) -> Result<Box<Instance<W>>, Fault> {
    match W::slots().try_with(|slots| slots.take(&unit.slot)).ok().flatten() {
        Some(instance) => Ok(instance),
        None => fresh(unit),
    }
}

/// Keeps an instance that has not failed for this thread's next call.
#[inline]
pub(crate) fn give_back<W: Slotted>(unit: &Arc<Unit<W>>, instance: Box<Instance<W>>) {
    if !instance.worn_out() {
        // A thread that is ending keeps nothing.
        let _ = W::slots().try_with(|slots| slots.put(&unit.slot, instance));
    }
}

#[cold]
fn fresh<W: World>(unit: &Arc<Unit<W>>) -> Result<Box<Instance<W>>, Fault> {
    let (instance, configured) = Instance::make(unit)?;
    match configured {
        Ok(_) => Ok(instance),
        Err(words) => Err(Fault::guest(format!("it refused its configuration: {words}"))),
    }
}
