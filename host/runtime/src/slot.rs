//! Instances: kept per component and thread between calls, never shared, and held while a request waits by nothing but an
//! [`Exchange`](crate::Exchange).
//!
//! A component's unit has an index that no other living unit has, so a call finds its instance in a vector of the calling
//! thread without hashing or locking. An instance leaves its place for the time of a call or an exchange and comes back only
//! after success: whatever goes wrong, a panic of the host included, the next call takes another or makes a fresh one.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wasmtime::{Store, Trap};

use crate::deadline::Deadline;
use crate::error::{Fault, FaultKind};
use crate::state::State;
use crate::unit::Unit;
use crate::vitals::Vitals;
use crate::world::World;

/// Calls after which an instance is replaced, so that what leaks inside it stays bounded.
const CALLS_MAX: u32 = 50_000;
/// Growth since `configure` after which it is replaced, beside doubling: memory never shrinks.
const GROWTH_BYTES_MIN: usize = 1 << 20;
/// Bytes that lengthen the deadline of a translating call by a millisecond.
const BYTES_PER_MS: usize = 64 << 10;
/// What such a call may answer for each byte: JSON in a string of JSON has twice as many, a character escaped six.
const ANSWER_BYTES_PER_BYTE: usize = 6;
/// Instances of one component that a thread keeps: calls need one, exchanges that overlap one each.
const IDLE_MAX: usize = 4;
/// Handles to host resources that it may hold.
const HANDLES_MAX: usize = 1024;

/// Units dropped so far in this process: tells threads when to look for instances without one.
static DEPARTED: AtomicU64 = AtomicU64::new(0);
static INDEXES: Mutex<Indexes> = Mutex::new(Indexes { free: Vec::new(), next: 0 });

struct Indexes {
    free: Vec<usize>,
    next: usize,
}

/// The place of a unit in every thread's vector; free again when dropped.
#[derive(Debug)]
pub(crate) struct SlotIndex {
    at: usize,
    /// Never used twice: tells an instance of this unit from one that had the place before.
    id: u64,
}

impl SlotIndex {
    pub(crate) fn take() -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let mut indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
        let at = indexes.free.pop().unwrap_or_else(|| {
            indexes.next += 1;
            indexes.next - 1
        });
        Self { at, id: IDS.fetch_add(1, Ordering::Relaxed) }
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for SlotIndex {
    fn drop(&mut self) {
        INDEXES.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.at);
        DEPARTED.fetch_add(1, Ordering::Release);
    }
}

/// One thread's instances of one world.
pub(crate) struct Slots<W: World> {
    idle: RefCell<Vec<Vec<Box<Instance<W>>>>>,
    /// [`DEPARTED`] when this thread last swept.
    swept: Cell<u64>,
}

impl<W: World> Slots<W> {
    pub(crate) const fn new() -> Self {
        Self { idle: RefCell::new(Vec::new()), swept: Cell::new(0) }
    }

    fn take(&self, index: &SlotIndex) -> Option<Box<Instance<W>>> {
        let departed = DEPARTED.load(Ordering::Acquire);
        if self.swept.get() != departed {
            self.swept.set(departed);
            self.sweep();
        }
        let instance = self.idle.borrow_mut().get_mut(index.at)?.pop()?;
        (instance.id == index.id).then_some(instance)
    }

    fn put(&self, index: &SlotIndex, instance: Box<Instance<W>>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() <= index.at {
            idle.resize_with(index.at + 1, Vec::new);
        }
        if idle[index.at].len() < IDLE_MAX {
            idle[index.at].push(instance);
        }
    }

    /// Drops instances whose unit is gone. They go to the runtime's own thread: unmapping code takes a while.
    #[cold]
    fn sweep(&self) {
        for place in self.idle.borrow_mut().iter_mut() {
            for orphan in place.extract_if(.., |instance| instance.unit.strong_count() == 0) {
                let vitals = Arc::clone(&orphan.vitals);
                vitals.bury(orphan);
            }
        }
    }
}

/// Drops this thread's instances of components that no longer exist.
pub(crate) fn sweep<W: World>() {
    // A thread that is ending has dropped its instances already.
    let _ = W::slots().try_with(Slots::sweep);
}

/// One instance with its store.
pub(crate) struct Instance<W: World> {
    id: u64,
    unit: Weak<Unit<W>>,
    vitals: Arc<Vitals>,
    world: W,
    store: Store<State>,
    calls: u32,
    baseline_bytes: usize,
}

impl<W: World> Drop for Instance<W> {
    fn drop(&mut self) {
        self.vitals.instances.fetch_sub(1, Ordering::Relaxed);
        self.vitals.host.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a fresh instance said to its configuration.
pub(crate) type Configured<W> = Result<<W as World>::Plan, String>;

impl<W: World> Instance<W> {
    /// Makes and configures an instance. A component that refuses its configuration is the caller's to judge.
    pub(crate) fn make(unit: &Arc<Unit<W>>) -> Result<(Box<Self>, Configured<W>), Fault> {
        let vitals = Arc::clone(&unit.vitals);
        let host = &vitals.host;
        let deadline = Deadline::new(Arc::clone(&host.clock));
        let state = State::new(vitals.binding.memory_bytes_max, deadline, Arc::clone(&vitals.log));
        let mut store = Store::new(&host.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(host.limits.answer_bytes_max);
        store.set_max_component_handles(HANDLES_MAX);
        Deadline::install(&mut store);
        Deadline::arm(&mut store, host.limits.configure_ms);
        let world = guarded(&mut store, |store| W::instantiate(&unit.pre, store))?;
        vitals.instances.fetch_add(1, Ordering::Relaxed);
        host.instances.fetch_add(1, Ordering::Relaxed);
        let (id, alive) = (unit.slot.id(), Arc::downgrade(unit));
        let mut instance =
            Box::new(Self { id, unit: alive, vitals, world, store, calls: 0, baseline_bytes: 0 });
        let Self { world, store, vitals, .. } = &mut *instance;
        Deadline::arm(store, vitals.host.limits.configure_ms);
        let configured = guarded(store, |store| world.configure(store, &vitals.binding.config))?;
        instance.baseline_bytes = instance.store.data().limiter.memory_bytes;
        Ok((instance, configured))
    }

    /// Runs one call under the binding's deadline.
    pub(crate) fn enter<R>(
        &mut self,
        call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<R, Fault>>,
    ) -> Result<R, Fault> {
        self.calls += 1;
        let Self { world, store, vitals, .. } = self;
        Deadline::arm(store, vitals.binding.deadline_ms);
        guarded(store, |store| call(world, store))?
    }

    /// Runs one call that `bytes` go into: both its time and what it may answer grow with them.
    pub(crate) fn enter_with<R>(
        &mut self,
        bytes: usize,
        call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<R, Fault>>,
    ) -> Result<R, Fault> {
        self.calls += 1;
        let Self { world, store, vitals, .. } = self;
        vitals.count_bytes(bytes);
        let answer_bytes_max = vitals.host.limits.answer_bytes_max;
        store.set_hostcall_fuel(answer_bytes_max.saturating_add(bytes.saturating_mul(ANSWER_BYTES_PER_BYTE)));
        let extra_ms = u32::try_from(bytes / BYTES_PER_MS).unwrap_or(u32::MAX);
        Deadline::arm(store, vitals.binding.deadline_ms.saturating_add(extra_ms));
        let answer = guarded(store, |store| call(world, store))?;
        store.set_hostcall_fuel(answer_bytes_max);
        answer
    }

    fn worn_out(&self) -> bool {
        let memory = self.store.data().limiter.memory_bytes;
        let allowed = self.baseline_bytes.saturating_mul(2).max(self.baseline_bytes + GROWTH_BYTES_MIN);
        self.calls >= CALLS_MAX || memory > allowed
    }
}

/// Runs `call` on this thread's instance of `unit`, made now if there is none.
#[inline]
pub(crate) fn run<W: World, R>(
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
pub(crate) fn take<W: World>(unit: &Arc<Unit<W>>) -> Result<Box<Instance<W>>, Fault> {
    match W::slots().try_with(|slots| slots.take(&unit.slot)).ok().flatten() {
        Some(instance) => Ok(instance),
        None => fresh(unit),
    }
}

/// Keeps an instance that has not failed for this thread's next call.
#[inline]
pub(crate) fn give_back<W: World>(unit: &Arc<Unit<W>>, instance: Box<Instance<W>>) {
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

/// Runs guest code and names what went wrong. The store must not be used again after a fault.
fn guarded<R>(
    store: &mut Store<State>,
    run: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
) -> Result<R, Fault> {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(store)));
    store.data_mut().deadline.disarm();
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(name(store.data_mut(), &error)),
        Err(_) => Err(Fault::new(FaultKind::Host, "the host panicked during the call")),
    }
}

#[cold]
fn name(state: &mut State, error: &wasmtime::Error) -> Fault {
    let kind = match error.downcast_ref::<Trap>() {
        _ if state.limiter.refused => FaultKind::Memory,
        Some(Trap::Interrupt) => FaultKind::Deadline,
        Some(Trap::StackOverflow) => FaultKind::Stack,
        Some(_) => FaultKind::Trap,
        None if error.is::<wasmtime::PoolConcurrencyLimitError>() => FaultKind::Unavailable,
        // The engine has no type for this one.
        None if format!("{error:#}").contains("fuel allocated for hostcalls") => FaultKind::Oversize,
        None => FaultKind::Trap,
    };
    // The last cause is the shortest: what comes before it names frames of the component.
    let cause = error.root_cause().to_string();
    match state.last_words() {
        "" => Fault::new(kind, cause),
        words => Fault::new(kind, format!("{cause} ({words})")),
    }
}
