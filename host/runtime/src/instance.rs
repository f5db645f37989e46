//! One instance of a component with its store: made and configured, entered by one call at a time, ended by its first
//! fault.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use wasmtime::{Store, Trap, WasmBacktrace};

use crate::deadline::Deadline;
use crate::durations::Timer;
use crate::error::{Fault, FaultKind};
use crate::state::State;
use crate::unit::Unit;
use crate::vitals::Vitals;
use crate::world::World;

/// Calls after which an instance is replaced, so that what leaks inside it stays bounded.
const CALLS_MAX: u32 = 50_000;
/// Growth since `configure` after which it is replaced, beside doubling: memory never shrinks.
const GROWTH_BYTES_MIN: usize = 1 << 20;
/// Bytes that lengthen the deadline of a call that they go into by a millisecond: many times what reading the densest
/// of them takes.
const BYTES_PER_MS: usize = 8 << 10;
/// What such a call may answer for each byte: JSON in a string of JSON has twice as many, a character escaped six.
const ANSWER_BYTES_PER_BYTE: usize = 6;
/// Longest list of functions in the text of a fault, in bytes.
const FRAMES_BYTES_MAX: usize = 1024;
/// Handles to host resources that it may hold.
const HANDLES_MAX: usize = 1024;

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
        // One that faulted was asked for nothing since.
        self.vitals.note_memory(self.memory_bytes());
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
        let state = State::new(vitals.spec.memory_bytes_max, deadline, Arc::clone(&vitals.log));
        let mut store = Store::new(&host.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(host.limits.answer_bytes_max);
        store.set_max_component_handles(HANDLES_MAX);
        State::install(&mut store);
        State::arm(&mut store, host.limits.configure_ms);
        let world = guarded(&mut store, |store| W::instantiate(&unit.pre, store))?;
        vitals.instances.fetch_add(1, Ordering::Relaxed);
        host.instances.fetch_add(1, Ordering::Relaxed);
        let (id, alive) = (unit.slot.id(), Arc::downgrade(unit));
        let mut instance =
            Box::new(Self { id, unit: alive, vitals, world, store, calls: 0, baseline_bytes: 0 });
        let Self { world, store, vitals, .. } = &mut *instance;
        State::arm(store, vitals.host.limits.configure_ms);
        let configured = guarded(store, |store| world.configure(store, &vitals.spec.config))?;
        instance.baseline_bytes = instance.store.data().limiter.memory_bytes;
        Ok((instance, configured))
    }

    /// Runs one call under the binding's deadline.
    pub(crate) fn enter<R>(
        &mut self,
        call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<R, Fault>>,
    ) -> Result<R, Fault> {
        self.calls += 1;
        let Self { world, store, vitals, calls, .. } = self;
        State::arm(store, vitals.spec.deadline_ms);
        timed(vitals, *calls, || guarded(store, |store| call(world, store)))?
    }

    /// Runs one call that `bytes` go into: both its time and what it may answer grow with them.
    pub(crate) fn enter_with<R>(
        &mut self,
        bytes: usize,
        call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<R, Fault>>,
    ) -> Result<R, Fault> {
        self.enter_after(0, bytes, call)
    }

    /// Runs one call that `bytes` go into, after `before` bytes that it may still have to tell of.
    pub(crate) fn enter_after<R>(
        &mut self,
        before: usize,
        bytes: usize,
        call: impl FnOnce(&W, &mut Store<State>) -> wasmtime::Result<Result<R, Fault>>,
    ) -> Result<R, Fault> {
        self.calls += 1;
        let Self { world, store, vitals, calls, .. } = self;
        vitals.count_bytes(bytes);
        let answer_bytes_max = vitals.host.limits.answer_bytes_max;
        let told = before.saturating_add(bytes).saturating_mul(ANSWER_BYTES_PER_BYTE);
        store.set_hostcall_fuel(answer_bytes_max.saturating_add(told));
        // To write again what was read before takes a part of what reading it does.
        let extra_ms = u32::try_from((before / 8).saturating_add(bytes) / BYTES_PER_MS).unwrap_or(u32::MAX);
        State::arm(store, vitals.spec.deadline_ms.saturating_add(extra_ms));
        let answer = timed(vitals, *calls, || guarded(store, |store| call(world, store)))?;
        store.set_hostcall_fuel(answer_bytes_max);
        answer
    }

    /// The unit that it was made for, by an id that is never used twice.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// Whether the unit that it was made for is gone.
    pub(crate) fn is_orphan(&self) -> bool {
        self.unit.strong_count() == 0
    }

    /// Goes to the runtime's own thread to be dropped: unmapping code takes a while.
    pub(crate) fn bury(self: Box<Self>) {
        let vitals = Arc::clone(&self.vitals);
        vitals.bury(self);
    }

    /// Bytes of its memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().limiter.memory_bytes
    }

    /// By how much that has grown since it was configured.
    pub(crate) fn growth_bytes(&self) -> usize {
        self.memory_bytes().saturating_sub(self.baseline_bytes)
    }

    /// Whether it has served long enough, or grown too much, to be replaced.
    pub(crate) fn worn_out(&self) -> bool {
        let memory = self.memory_bytes();
        self.vitals.note_memory(memory);
        let allowed = self.baseline_bytes.saturating_mul(2).max(self.baseline_bytes + GROWTH_BYTES_MIN);
        self.calls >= CALLS_MAX || memory > allowed
    }
}

/// Notes how long one call of some takes.
#[inline]
fn timed<R>(vitals: &Vitals, call: u32, run: impl FnOnce() -> R) -> R {
    let begun = Timer::times(call).then(Instant::now);
    let answer = run();
    if let Some(begun) = begun {
        vitals.timer.note(begun.elapsed());
    }
    answer
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
    let mut detail = error.root_cause().to_string();
    let said = state.said();
    if !said.is_empty() {
        detail += &format!(" ({said})");
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        detail += &frames(&backtrace.to_string());
    }
    Fault::new(kind, detail)
}

/// The functions that were under way, the innermost first, each with its place in the source where that is known.
/// `backtrace` has a line `N: ADDRESS - MODULE!NAME` for each, and one `at PLACE` after it.
fn frames(backtrace: &str) -> String {
    let mut frames = String::new();
    for line in backtrace.lines() {
        if let Some((_, name)) = line.split_once(" - ") {
            let name = name.split_once('!').map_or(name, |(_, name)| name);
            frames += if frames.is_empty() { "; in " } else { " < " };
            frames += name.trim();
        } else if let Some(place) = line.trim_start().strip_prefix("at ") {
            frames += &format!(" [{}]", place.trim());
        }
    }
    frames.truncate(frames.floor_char_boundary(FRAMES_BYTES_MAX));
    frames
}

#[cfg(test)]
mod tests {
    use super::frames;

    #[test]
    fn a_backtrace_is_told_on_one_line() {
        let text = "error while executing at wasm backtrace:\n    0:   0x3e - <unknown>!core::panicking::panic\n\
            \u{20}   1:  0x1af - <unknown>!policy::settle\n                    at src/lib.rs:12:9\n\
            \u{20}   2: 0x2 - a!<wasm function 7>";
        let told = "; in core::panicking::panic < policy::settle [src/lib.rs:12:9] < <wasm function 7>";
        assert_eq!(frames(text), told);
        assert_eq!(frames(""), "");
    }
}
