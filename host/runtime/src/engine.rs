//! The one engine, its pool of instances, and the clock that ends calls at their deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::error::StartError;

/// Real time between two ticks.
const TICK: Duration = Duration::from_millis(1);
/// Ticks that the clock goes on after the last deadline, so that steady traffic never has to wake it.
const TICKS_LINGER: u64 = 100;
/// Guest frames live on the caller's own stack: a fraction of the 2 MiB that a runtime thread has.
const STACK_BYTES_MAX: usize = 256 << 10;

/// Makes the engine: with a pool of instances where address space allows, without one where not.
pub(crate) fn make(instances: u32, memory_bytes_ceiling: usize) -> Result<Engine, StartError> {
    Engine::new(&config(pool(instances, memory_bytes_ceiling).into())).or_else(|refusal| {
        tracing::warn!(%refusal, instances, "no room for a pool of instances: each is made on demand");
        Engine::new(&config(InstanceAllocationStrategy::OnDemand))
            .map_err(|error| StartError::Engine(format!("{error:#}")))
    })
}

fn config(allocation: InstanceAllocationStrategy) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(STACK_BYTES_MAX)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        // Two machines must price alike, whatever bits their float units leave in a NaN.
        .cranelift_nan_canonicalization(true)
        .allocation_strategy(allocation);
    config
}

fn pool(instances: u32, memory_bytes_ceiling: usize) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(8))
        .total_memories(instances.saturating_mul(2))
        .total_tables(instances.saturating_mul(4))
        .max_memory_size(memory_bytes_ceiling)
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(16 << 10)
        .max_unused_warm_slots(instances);
    pool
}

/// Advances the engine's epoch once a millisecond while a call may be running, and sleeps otherwise.
///
/// Invariant: a call whose deadline is at epoch `d` meets it, because `run_until` reaches `d` before the call starts,
/// and the thread parks only at a tick past `run_until` while nobody holds it.
pub(crate) struct Clock {
    engine: Engine,
    /// Ticks so far; never ahead of the engine's epoch.
    ticks: AtomicU64,
    run_until: AtomicU64,
    /// Calls that are past their first alarm.
    held: AtomicU64,
    parked: AtomicBool,
    stop: AtomicBool,
    thread: std::sync::OnceLock<Thread>,
}

impl Clock {
    /// Starts the clock's thread. It ends after [`Clock::stop`].
    pub(crate) fn start(engine: Engine) -> std::io::Result<Arc<Self>> {
        let clock = Arc::new(Self {
            engine,
            ticks: AtomicU64::new(0),
            run_until: AtomicU64::new(0),
            held: AtomicU64::new(0),
            parked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            thread: std::sync::OnceLock::new(),
        });
        let own = Arc::clone(&clock);
        let handle = thread::Builder::new().name("tollgate-epoch".into()).spawn(move || own.run())?;
        // The cell was made three lines up and is filled nowhere else.
        let _ = clock.thread.set(handle.thread().clone());
        Ok(clock)
    }

    /// Makes sure that the clock runs for `ticks` more. Call it after the store's deadline was set, before the guest is
    /// entered. Two loads while traffic is steady.
    #[inline]
    pub(crate) fn keep_running(&self, ticks: u64) {
        let needed = self.ticks.load(Ordering::Acquire) + ticks + 2;
        if self.run_until.load(Ordering::Acquire) < needed {
            self.extend(needed + TICKS_LINGER);
        }
    }

    /// Keeps the clock running until [`Clock::release`]. It must be running already.
    pub(crate) fn hold(&self) {
        self.held.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn release(&self) {
        self.held.fetch_sub(1, Ordering::SeqCst);
    }

    #[cold]
    fn extend(&self, until: u64) {
        self.run_until.fetch_max(until, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn run(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            if self.is_idle() {
                self.park();
                continue;
            }
            thread::sleep(TICK);
            self.engine.increment_epoch();
            self.ticks.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Parks unless someone asked for ticks meanwhile: either the caller sees `parked`, or this sees `run_until`.
    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        if self.is_idle() && !self.stop.load(Ordering::SeqCst) {
            thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }

    fn is_idle(&self) -> bool {
        self.held.load(Ordering::SeqCst) == 0
            && self.ticks.load(Ordering::SeqCst) >= self.run_until.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Ends the thread. No component may be called afterwards.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, make};
    use std::sync::atomic::Ordering;

    #[test]
    fn an_engine_without_room_for_a_pool_still_starts() {
        assert!(make(u32::MAX / 16, 256 << 20).is_ok());
    }

    #[test]
    fn the_clock_ticks_while_asked_and_parks_afterwards() {
        let clock = Clock::start(make(4, 1 << 20).unwrap()).unwrap();
        for round in 1..=3 {
            clock.keep_running(1);
            let (ticks, until) =
                (|| clock.ticks.load(Ordering::SeqCst), clock.run_until.load(Ordering::SeqCst));
            assert!(until > round * super::TICKS_LINGER);
            while ticks() < until || !clock.parked.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            assert_eq!(ticks(), until, "it goes on without need");
        }
        clock.stop();
    }
}
